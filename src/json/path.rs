//! Where in the document the scanner is, and the name that a field has there.

use super::Error;
use super::keys::Keys;

/// Where in the document the scanner stands: the containers that are open, the keys that
/// their members have had so far, and the name under which a field would be reported.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// Outermost first.
    open: Vec<Container>,
    keys: Keys,
    /// The name of an open container's members starts with that of the container.
    name: String,
}

/// An open object or array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container {
    pub(super) is_array: bool,
    pub(super) is_empty: bool,
    /// How many keys the objects round it have.
    first_key: usize,
    /// The length of its own name.
    name: usize,
}

impl Path {
    /// Returns how many containers are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Returns whether the innermost container is an array.
    pub(super) fn is_in_array(&self) -> bool {
        self.open.last().is_some_and(|top| top.is_array)
    }

    /// Returns the name of the current field, or of its container where none has begun.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a container that opens here is part of its members' names (see the table in
    /// the module's documentation). Otherwise it is a field as a whole.
    pub(super) fn goes_into(&self, is_array: bool) -> bool {
        match self.open.as_slice() {
            [] | [_] => true,
            [_, parent] => parent.is_array && !is_array,
            _ => false,
        }
    }

    /// A container opens.
    pub(super) fn open(&mut self, is_array: bool) {
        self.open.push(Container {
            is_array,
            is_empty: true,
            first_key: self.keys.len(),
            name: self.name.len(),
        });
    }

    /// Returns the innermost container closes. `is_named` as in
    /// [`complete_key`](Self::complete_key).
    pub(super) fn close(&mut self, is_named: bool) -> Option<Container> {
        let closed = self.open.pop()?;
        self.keys.truncate(closed.first_key);
        if is_named {
            self.name.truncate(closed.name);
        }
        Some(closed)
    }

    /// Returns the key that is being read.
    pub(super) fn key(&self) -> &str {
        self.keys.current()
    }

    /// Adds a character to it.
    pub(super) fn push_key(&mut self, character: char) {
        self.keys.push(character);
    }

    /// Returns the key is complete. `is_named` says whether what is inside the innermost container
    /// has names of its own: not so inside a field that goes on raw as a whole.
    pub(super) fn complete_key(&mut self, is_named: bool, limit: usize) -> Result<(), Error> {
        let mut first_key = 0;
        if let Some(top) = self.open.last_mut() {
            top.is_empty = false;
            first_key = top.first_key;
            if is_named {
                self.name.truncate(top.name);
                // Only the outermost container has no name: no key is empty.
                let (before, behind) = if top.name == 0 { ("", "") } else { ("[", "]") };
                for part in [before, self.keys.current(), behind] {
                    self.name.push_str(part);
                }
            }
        }
        if self.keys.is_duplicate(first_key) {
            let field = self.name.clone();
            return Err(Error::DuplicateKey { field });
        }
        if self.keys.len() >= limit {
            return Err(Error::TooManyMembers { limit });
        }
        self.keys.complete_current();
        Ok(())
    }

    /// A value begins; in an array, an element. `is_named` as in
    /// [`complete_key`](Self::complete_key).
    pub(super) fn begin_value(&mut self, is_named: bool) {
        if let Some(top) = self.open.last_mut()
            && top.is_array
        {
            top.is_empty = false;
            if is_named {
                self.name.truncate(top.name);
                self.name.push_str("[]");
            }
        }
    }
}

//! The position in the document, and the name that a field has there.

use super::Error;
use super::keys::Keys;

/// The position of the scanner in the document: the containers that are open, the keys that their members
/// have had so far, and the name under which a field would be reported.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// The open containers, outermost first.
    open: Vec<Container>,
    keys: Keys,
    /// The name of the current field or container. It starts with the name of the container that holds
    /// it.
    name: String,
}

/// An open object or array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container {
    pub(super) is_array: bool,
    pub(super) is_empty: bool,
    /// The index in `Path::keys` of the container's first key: the number of keys before it, which belong to
    /// the objects around the container.
    first_key: usize,
    /// The length of the container's own name in bytes.
    name: usize,
}

impl Path {
    /// Returns the number of open containers.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Returns whether the innermost container is an array.
    pub(super) fn is_in_array(&self) -> bool {
        self.open.last().is_some_and(|top| top.is_array)
    }

    /// Returns the name of the current field; before the first field of the innermost container, the
    /// container's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the members of a container that opens here get names of their own (see the table
    /// in the documentation of [`crate::json`]). Otherwise the container is one field as a whole.
    pub(super) fn goes_into(&self, is_array: bool) -> bool {
        match self.open.as_slice() {
            [] | [_] => true,
            [_, parent] => parent.is_array && !is_array,
            _ => false,
        }
    }

    /// Opens a container.
    pub(super) fn open(&mut self, is_array: bool) {
        self.open.push(Container {
            is_array,
            is_empty: true,
            first_key: self.keys.len(),
            name: self.name.len(),
        });
    }

    /// Closes the innermost container, and returns it. `is_named` is as in
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

    /// Adds characters to the key that is being read.
    pub(super) fn push_key(&mut self, characters: &str) {
        self.keys.push(characters);
    }

    /// Completes the key that is being read. Fails if its object has the same key already, or if the open
    /// objects would have more than `limit` keys. `is_named` says whether the members of the innermost
    /// container get names of their own, which they do not inside a field that is reported raw as a whole.
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

    /// Begins a value, which in an array is an element. `is_named` is as in
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

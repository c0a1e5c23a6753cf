//! The fingerprint of a create: one digest for what it asks for, however it is written.
//!
//! The fingerprint covers each field's name, the kind of its value (text, a file or raw JSON)
//! and the value; for lists, also the order of the elements. It does not cover how the body is
//! encoded: boundary, part headers, filenames, JSON's escapes and the order of different
//! fields. Values are taken as written: a default that is spelt out differs from one left out,
//! a JSON `1` from a text `"1"`, and whitespace within nested JSON counts. A browser's empty
//! file input counts as absent, because it asks for nothing.
//!
//! The digests of the fields are summed, so that the order of the fields does not count and no digest is
//! stored. Somebody who chooses all the fields can make two sums equal, with much work. But a request is
//! compared only with earlier ones of the same client, so that a client can deceive only itself.

use crate::sha256::Sha256;

use crate::form::{Field, Kind};

/// The maximum number of members of one list element, so that memory is bounded. An element with more
/// members counts as several elements, so that the order of its members may make a difference.
const MEMBERS: usize = 16;

/// The version of the fingerprint, hashed before the sum. A change of the computation needs another
/// version, since fingerprints are stored.
const DOMAIN: &[u8] = b"tollgate fingerprint 1";

/// A computation of the fingerprint of a request's body from its fields, one after the other.
///
/// Its memory is bounded: the scanners' limits bound the number of lists in a body, and of each list only
/// the names of the members of the open element are kept.
#[derive(Default)]
pub(super) struct Fingerprint {
    /// The running digest of the field that is being read; `None` between fields, and if the field counts as
    /// absent.
    field: Option<Sha256>,
    /// The sum of the fields' digests, little-endian, modulo 2^256.
    sum: [u8; 32],
    fields: u64,
    lists: Vec<List>,
}

/// The state of one list that is being read.
struct List {
    name: Box<str>,
    /// The number of the open element, from 1.
    element: u64,
    /// The names of the members read so far in the open element.
    members: Vec<Box<str>>,
}

impl Fingerprint {
    pub(super) fn begin(&mut self, field: Field<'_>) {
        let kind = match field.kind {
            Kind::Text => b't',
            Kind::File => b'f',
            Kind::Json => b'j',
            Kind::EmptyFile => return,
        };
        let mut hash = Sha256::default();
        hash.update([kind]);
        hash.update((field.name.len() as u64).to_be_bytes());
        hash.update(field.name);
        hash.update(self.element(field.name).to_be_bytes());
        self.field = Some(hash);
    }

    pub(super) fn data(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.field {
            hash.update(bytes);
        }
    }

    /// Discards the field that is being read: it counts as absent.
    pub(super) fn skip(&mut self) {
        self.field = None;
    }

    pub(super) fn end(&mut self) {
        if let Some(hash) = self.field.take() {
            add(&mut self.sum, &hash.finish());
            self.fields += 1;
        }
    }

    /// Returns the fingerprint of the fields that have ended.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::default();
        hash.update(DOMAIN);
        hash.update(self.sum);
        hash.update(self.fields.to_be_bytes());
        hash.finish()
    }

    /// Returns the number of the list element that the field `name` belongs to: from 1, and 0 outside of
    /// lists.
    ///
    /// Neither a form nor the JSON scanner marks where an element ends. So an element ends where one of
    /// its members comes again, which is how form parsers read lists too. The name behind `[]` is that of
    /// the member. An element that is no object has no name there, and the field after it begins a new
    /// element. So `[{"a":"1"},{"b":"2"}]` and `[{"a":"1","b":"2"}]` are the same here.
    fn element(&mut self, name: &str) -> u64 {
        let Some((list, member)) = name.split_once("[]") else {
            return 0;
        };
        let at = self.lists.iter().position(|known| *known.name == *list);
        let at = at.unwrap_or_else(|| {
            self.lists.push(List {
                name: list.into(),
                element: 1,
                members: Vec::new(),
            });
            self.lists.len() - 1
        });
        let list = &mut self.lists[at];
        let mut members = list.members.iter().map(|known| &**known);
        if list.members.len() == MEMBERS || members.any(|known| known == member || known.is_empty())
        {
            list.element += 1;
            list.members.clear();
        }
        list.members.push(member.into());
        list.element
    }
}

/// Adds a digest to the sum, modulo 2^256. With exclusive or, a field that comes twice would vanish.
fn add(sum: &mut [u8; 32], digest: &[u8; 32]) {
    let mut carry = 0;
    for (byte, more) in sum.iter_mut().zip(digest) {
        let (partial, first) = byte.overflowing_add(*more);
        let (total, second) = partial.overflowing_add(carry);
        *byte = total;
        carry = u8::from(first || second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry() {
        let digest = |low: u128, high: u128| -> [u8; 32] {
            let halves = [low.to_le_bytes(), high.to_le_bytes()];
            halves.concat().try_into().unwrap()
        };
        let mut sum = digest(u128::MAX - 1, 5);
        add(&mut sum, &digest(3, 7));
        assert_eq!(sum, digest(1, 13));
        add(&mut sum, &digest(u128::MAX, u128::MAX));
        assert_eq!(sum, digest(0, 13));
    }

    /// A list of objects with ever new members must not make the fingerprint grow.
    #[test]
    fn a_long_list_takes_no_memory() {
        let mut fingerprint = Fingerprint::default();
        for member in 0..10_000 {
            let name = format!("metadata[][{member}]");
            let kind = Kind::Text;
            fingerprint.begin(Field { name: &name, kind });
            fingerprint.end();
        }
        assert_eq!(fingerprint.fields, 10_000);
        assert_eq!(fingerprint.lists.len(), 1);
        assert!(fingerprint.lists[0].members.capacity() <= MEMBERS);
    }
}

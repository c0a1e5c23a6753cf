//! The ids of reservations, and of the requests that they are made for.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use uuid::{NoContext, Uuid};

use crate::policy::Timestamp;

/// The id of a reservation: a UUID of version 7 (RFC 9562). It begins with the time, so a ledger adds new
/// ids at the end of its index; ids without order would each touch another page. The rest is random bits
/// of the process and a count of its ids, so gates need no common counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId(pub u128);

/// A random UUID of version 7 whose time is zero. All ids of this process share its bits, except the time
/// and the last 32 bits, which count up from those of this UUID.
static PROCESS: LazyLock<u128> =
    LazyLock::new(|| Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, 0, 0)).as_u128());

/// The number of ids that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The number of bits at the beginning of an id that hold its time.
const TIME_BITS: u32 = 48;

/// The prefix of a request's id.
const REQUEST: &str = "req_";

impl ReservationId {
    /// Generates an id that begins with the time `at` and that no other reservation has.
    ///
    /// The last 32 bits count up. The 42 random bits before them are the same for the whole process: asking
    /// the system for random bits for each id would cost more than everything else about a request's id.
    pub fn generate(at: Timestamp) -> Self {
        let time = u128::from(at.0) << (u128::BITS - TIME_BITS);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let low = (*PROCESS as u32).wrapping_add(number);
        Self(time | (*PROCESS >> u32::BITS << u32::BITS) | u128::from(low))
    }

    /// Returns `req_` and the reservation's id. This is the id of the request whose first reservation this
    /// is, where the client gave the request no id. So the index of reservation ids finds both.
    pub fn request_id(self) -> String {
        self.with_digits(|digits| [REQUEST, digits].concat())
    }

    /// Passes the 32 hexadecimal digits of the id to `use_digits`. Each request needs them: formatting with
    /// `{:032x}` takes ten times as long.
    pub(crate) fn with_digits<T>(self, use_digits: impl FnOnce(&str) -> T) -> T {
        let mut buffer = Uuid::encode_buffer();
        use_digits(Uuid::from_u128(self.0).simple().encode_lower(&mut buffer))
    }

    /// Parses an id as [`Display`](fmt::Display) or [`request_id`](Self::request_id) writes it; its digits
    /// may also be in upper case. Returns `None` for any other text.
    pub fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(REQUEST).unwrap_or(text);
        let is_id = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u128::from_str_radix(digits, 16).ok().map(Self);
        id.filter(|_| is_id)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_digits(|digits| f.pad(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_that_begin_with_the_time() {
        let at = Timestamp(0x0193_7000_0001);
        let ids = [at, at, Timestamp(at.0 + 1)].map(ReservationId::generate);
        for (id, time) in ids
            .iter()
            .zip(["019370000001", "019370000001", "019370000002"])
        {
            let uuid = Uuid::from_u128(id.0);
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert!(id.to_string().starts_with(time), "{id}");
        }
        assert_ne!(ids[0], ids[1]);
        assert!(ids[1] < ids[2]);
    }

    #[test]
    fn a_request_is_named_like_its_reservation() {
        let id = ReservationId(0x0193_7000_0001_7abc_8def_0000_0000_0010);
        assert_eq!(id.request_id(), format!("req_{id}"));
    }

    #[test]
    fn an_id_is_read_in_both_forms_and_in_no_other() {
        let id = ReservationId::generate(Timestamp(1));
        assert_eq!(ReservationId::read(&id.to_string()), Some(id));
        assert_eq!(ReservationId::read(&id.request_id()), Some(id));
        for text in [
            "",
            "req_",
            "req_1",
            "1",
            "req_req_",
            &format!("x{id}"),
            &format!("+{id}"),
        ] {
            assert_eq!(ReservationId::read(text), None, "{text}");
        }
    }
}

//! The public ids of jobs.

use std::sync::Arc;

use super::charge::ReservationId;

/// Generates the public id of a reservation's job whose upstream id cannot serve as one: `video_`
/// and the reservation's 32 hex digits. The same for every call.
pub fn generated_public_id(id: ReservationId) -> Arc<str> {
    format!("video_{id}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_public_ids_are_of_one_form() {
        let id = generated_public_id(ReservationId(0xab));
        assert_eq!(&*id, "video_000000000000000000000000000000ab");
    }
}

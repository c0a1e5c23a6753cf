//! The public ids of jobs.

use std::sync::Arc;

use super::charge::ReservationId;
use crate::sha256::Sha256;

/// Generates a public id for the job of reservation `id`, where `upstream_id` cannot be the public id too.
///
/// The public id is `video_` and 32 hex digits, a digest of both ids. So equal arguments give the same public
/// id, and no channel can compute it before the job is made and give it to another job.
pub fn generated_public_id(id: ReservationId, upstream_id: &str) -> Arc<str> {
    let mut digest = Sha256::default();
    digest.update(id.0.to_be_bytes());
    digest.update(upstream_id);
    let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest.finish();
    format!("video_{:032x}", u128::from_be_bytes(half)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_public_ids_are_of_one_form() {
        let id = generated_public_id(ReservationId(0xab), "task/1");
        assert_eq!(&*id, "video_3c34c8577998e0ce6b166bdd1a2a01aa");
        for other in [
            generated_public_id(ReservationId(0xac), "task/1"),
            generated_public_id(ReservationId(0xab), "task/2"),
        ] {
            assert_ne!(id, other);
        }
    }
}

//! Remembers which listed jobs belong to a reservation, so that the ledger is not asked about them again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::matching::ListedJob;
use crate::policy::Timestamp;

/// The maximum number of listed jobs that are remembered.
const MAX_OWNED: usize = 50_000;
/// The time after which all jobs are forgotten: one hour. A channel may use the id of a job again once the
/// record of that job is pruned, and the later job may belong to a reservation without a job.
const OWNED_FOR: Duration = Duration::from_secs(3600);

/// The listed jobs that are known to belong to a reservation, each by its upstream id and by its creation time
/// in the list: a later job with the same id has another time.
#[derive(Default)]
pub(super) struct OwnedJobs {
    jobs: HashSet<(Arc<str>, Option<Timestamp>)>,
    /// The time when the first of the jobs was added.
    since: Option<Instant>,
}

impl OwnedJobs {
    pub(super) fn contains(&self, job: &ListedJob) -> bool {
        self.jobs.contains(&(job.id.clone(), job.created))
    }

    /// Adds a job, unless [`MAX_OWNED`] jobs are remembered already.
    pub(super) fn add(&mut self, job: ListedJob) {
        if self.jobs.len() < MAX_OWNED {
            self.since.get_or_insert_with(Instant::now);
            self.jobs.insert((job.id, job.created));
        }
    }

    /// Forgets all jobs if the first of them was added an hour ago.
    pub(super) fn forget_old(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= OWNED_FOR) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(created: Option<u64>) -> ListedJob {
        ListedJob {
            id: "video_1".into(),
            created: created.map(Timestamp),
            ..ListedJob::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_job_with_the_same_id_is_asked_about() {
        let mut owned = OwnedJobs::default();
        owned.add(job(Some(1)));
        assert!(owned.contains(&job(Some(1))));
        assert!(!owned.contains(&job(Some(2))));
        // Without a time the two cannot be told apart: the earlier one is forgotten.
        owned.add(job(None));
        tokio::time::advance(OWNED_FOR - Duration::from_secs(1)).await;
        owned.forget_old();
        assert!(owned.contains(&job(None)));
        tokio::time::advance(Duration::from_secs(1)).await;
        owned.forget_old();
        assert!(!owned.contains(&job(None)) && !owned.contains(&job(Some(1))));
    }
}

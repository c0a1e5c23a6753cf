//! Resolves the charges of jobs that have ended, exactly once, whoever sees the end first.

use std::sync::Arc;
use std::time::Duration;

use super::job_cache::JobEntry;
use super::job_end::{JobEnd, duration, job_error};
use super::reserve::Billing;
use super::retry::LedgerCall;
use crate::config::Config;
use crate::dialect::JobAnswer;
use crate::ledger::{Job, JobError, Note, ReservationId, Resolution, Unavailable};
use crate::metrics::Event;

impl Billing {
    /// Resolves the charge of a job if `answer` says that the job has ended. An answer about another job
    /// changes nothing.
    pub(crate) async fn settle(&self, entry: &JobEntry, answer: &JobAnswer, config: &Config) {
        let about = answer.id.as_deref();
        if entry.is_resolved() || about.is_some_and(|id| id != &*entry.job.upstream_id) {
            return;
        }
        let end = answer
            .status
            .and_then(|s| JobEnd::of(s, config.jobs.charge_failed_jobs));
        if let Some(mut end) = end {
            end.lasted = duration(answer);
            let mut channels = config.channels.iter();
            let channel = channels.find(|channel| channel.name == entry.job.charge.channel);
            if let Some(error) = channel.and_then(|channel| job_error(answer, channel)) {
                self.note_job_error(&entry.job, error);
            }
            // If the ledger cannot be used, the call is retried.
            let _ = self.resolve_job(entry, end).await;
        }
    }

    /// Records that a job was deleted at its channel; the ledger must be known to have the job. Nobody can see
    /// the job's end any more, and the channel refunds nothing: the charge is posted, unless the job's end was
    /// seen before and has resolved it. If the ledger cannot be used, the call is retried.
    pub(crate) async fn note_deleted(&self, entry: &JobEntry) {
        let (id, ledger) = (entry.job.reservation, &self.ledger);
        if let Err(error) = ledger.mark_deleted(id, self.now()).await {
            let job = &entry.job.id;
            log::error!("job {job}, reservation {id}: not marked as deleted yet: {error}");
            let billing = self.clone();
            self.retries.start(id, LedgerCall::MarkDeleted, move || {
                let billing = billing.clone();
                async move { billing.ledger.mark_deleted(id, billing.now()).await }
            });
        }
        if !entry.is_resolved() {
            let _ = self.resolve_job(entry, JobEnd::DELETED).await;
        }
    }

    /// Resolves the charge of a job that has ended, now or as soon as the ledger can be used.
    pub(super) async fn resolve_job(
        &self,
        entry: &JobEntry,
        end: JobEnd,
    ) -> Result<(), Unavailable> {
        let id = entry.job.reservation;
        let resolved = self.resolve_once(&entry.job, Some(entry), end).await;
        if let Err(error) = &resolved {
            log::error!(
                "job {}, reservation {id}: not resolved yet: {error}",
                entry.job.id
            );
            let (billing, job) = (self.clone(), entry.job.clone());
            let call = move || {
                let (billing, job) = (billing.clone(), job.clone());
                async move {
                    let entry = billing.entry_for(&job);
                    billing.resolve_once(&job, entry.as_deref(), end).await
                }
            };
            (self.retries).start_for_job(&entry.job, LedgerCall::Resolve, call);
        }
        resolved
    }

    /// Records the error of a job that has ended without success, in the background and only for operators, now
    /// or as soon as the ledger can be used.
    fn note_job_error(&self, job: &Job, error: JobError) {
        let note = Arc::new(Note::JobError(error));
        let (billing, job) = (self.clone(), job.clone());
        self.spawn_write(async move {
            if billing.note_of_job_once(&job, &note).await.is_err() {
                let (again, ended) = (billing.clone(), job.clone());
                let call = move || {
                    let (billing, job, note) = (again.clone(), ended.clone(), note.clone());
                    async move { billing.note_of_job_once(&job, &note).await }
                };
                (billing.retries).start_for_job(&job, LedgerCall::NoteJobError, call);
            }
        });
    }

    async fn note_of_job_once(&self, job: &Job, note: &Note) -> Result<(), Unavailable> {
        let entry = self.entry_for(job);
        match self.reservation_of(job, entry.as_deref()).await? {
            Some(reservation) => self.ledger.note(reservation, note).await,
            None => Ok(()),
        }
    }

    /// Returns the cached entry of `job`; `None` if there is none, or if its id is cached for another job.
    fn entry_for(&self, job: &Job) -> Option<Arc<JobEntry>> {
        let entry = self.jobs.get(&job.id);
        entry.filter(|entry| entry.job.reservation == job.reservation)
    }

    /// Finds the reservation that has `job` in the ledger; `None` if there is none. A client is told of a job also
    /// while the ledger cannot be used. The reservation that `job` names may then be voided, or be given another
    /// job by reconciliation, and a new reservation is made for `job`.
    ///
    /// # Errors
    /// Fails if the ledger cannot be used. Also fails in two cases in which a confirmation is still to be
    /// written to it: if it is a confirmation of the reservation, since the ledger recognises a repetition
    /// only of the last call that confirmed or resolved a reservation; and if the ledger does not have the
    /// job, since the confirmation may be that of the job.
    async fn reservation_of(
        &self,
        job: &Job,
        entry: Option<&JobEntry>,
    ) -> Result<Option<ReservationId>, Unavailable> {
        let unknown = || Unavailable::transient("its confirmation is not known yet");
        if self.is_being_confirmed(job.reservation) {
            return Err(unknown());
        }
        if entry.is_some_and(JobEntry::is_confirmed) {
            return Ok(Some(job.reservation));
        }
        // Asked before the ledger: the confirmation may be written between the two.
        let is_confirming = self.retries.has_any_confirmation();
        let (channel, id) = (&job.charge.channel, &job.upstream_id);
        let recorded = self.ledger.job_of_channel(channel, id).await?;
        let recorded = recorded.filter(|recorded| is_same_job(recorded, job));
        match recorded.map(|recorded| recorded.reservation) {
            None if is_confirming => Err(unknown()),
            Some(id) if self.is_being_confirmed(id) => Err(unknown()),
            reservation => Ok(reservation),
        }
    }

    async fn resolve_once(
        &self,
        job: &Job,
        entry: Option<&JobEntry>,
        end: JobEnd,
    ) -> Result<(), Unavailable> {
        let Some(id) = self.reservation_of(job, entry).await? else {
            return Ok(());
        };
        let JobEnd {
            resolution,
            status,
            lasted,
        } = end;
        let now = self.now();
        let settled = self.ledger.settle(id, resolution, status, now);
        let Some(charge) = settled.await? else {
            // Resolved already, or the confirmation is still on its way to the ledger.
            let is_resolved = |now: Job| now.reservation == id && now.resolution.is_some();
            if self.ledger.job(&job.id).await?.is_some_and(is_resolved) {
                entry.map(JobEntry::set_resolved);
            }
            return Ok(());
        };
        entry.map(JobEntry::set_resolved);
        if entry.is_some_and(JobEntry::was_counted) {
            return Ok(());
        }
        let event = match resolution {
            Resolution::Posted => Event::Posted,
            Resolution::Voided => Event::Voided,
        };
        self.metrics.charge(event, &charge);
        // If the channel reports no times, the job counts as running until now: up to one poll interval too
        // long.
        let seen = || Duration::from_millis(self.now().since(job.created));
        let lasted = lasted.unwrap_or_else(seen);
        self.metrics.ended(&charge, status, lasted);
        Ok(())
    }

    /// Reopens the cached entry of a job whose charge was resolved here, if the ledger says that the job
    /// still runs: a database that took over from another may have missed the resolution. Returns whether
    /// the entry was reopened.
    pub(super) async fn reopen(&self, entry: &JobEntry) -> Result<bool, Unavailable> {
        let job = self.ledger.job(&entry.job.id).await?;
        let runs = job.is_some_and(|job| job.resolution.is_none());
        if runs {
            log::warn!(
                "job {}: the ledger has lost that it had ended, so its channel is asked again",
                entry.job.id
            );
            entry.reopen();
        }
        Ok(runs)
    }
}

/// Returns whether `recorded`, which has the upstream id of `job`, is the record of `job`: its reservation
/// is that of `job`, or is no older and for the same key and address. A channel may use an id again.
fn is_same_job(recorded: &Job, job: &Job) -> bool {
    let is_later = || {
        let [was, is] = [job, recorded].map(|job| (&job.charge.payer.key, &job.address));
        recorded.created >= job.created && is == was
    };
    recorded.reservation == job.reservation || is_later()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Timestamp;

    #[test]
    fn a_record_is_of_the_job_under_its_reservation_or_a_later_one_of_its_key() {
        let told = Job {
            created: Timestamp(1000),
            ..Job::numbered(1)
        };
        let other = |reservation: u128, created: u64| Job {
            reservation: ReservationId(reservation),
            created: Timestamp(created),
            ..told.clone()
        };
        let mut of_another_key = other(2, 2000);
        let charge = Arc::make_mut(&mut of_another_key.charge);
        charge.payer.key = "another".into();
        let elsewhere = Job {
            address: Some("b".into()),
            ..other(2, 2000)
        };
        for (recorded, is_same) in [
            (other(1, 1000), true),
            (other(2, 1000), true),
            (other(2, 2000), true),
            (other(2, 999), false),
            (of_another_key, false),
            (elsewhere, false),
        ] {
            assert_eq!(is_same_job(&recorded, &told), is_same, "{recorded:?}");
        }
    }
}

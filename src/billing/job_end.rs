//! Decides how the end of a job resolves its charge.

use std::time::Duration;

use crate::channel::Channel;
use crate::dialect::{JobAnswer, Status};
use crate::ledger::{self, JobError, Resolution};

/// The end of a job, and the resolution of its charge: posted or voided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobEnd {
    pub(crate) resolution: Resolution,
    /// The job's final status, as a word for operators and metric labels.
    pub(crate) status: &'static str,
    /// The time that the job took, by the channel's clock; `None` if the channel does not report it.
    pub(crate) lasted: Option<Duration>,
}

impl JobEnd {
    /// The end of a job that was deleted before its end was seen. Its charge is posted.
    pub(crate) const DELETED: Self = Self {
        resolution: Resolution::Posted,
        status: "deleted",
        lasted: None,
    };
    /// The end of a job that was not seen to end within `jobs.expire_after`. Its charge is posted.
    pub(crate) const EXPIRED: Self = Self {
        resolution: Resolution::Posted,
        status: "expired",
        lasted: None,
    };

    /// Returns the end of a job with the final status `status`; `None` if the status is not final. The
    /// charge of a completed job is posted. That of any other ended job is posted if `charge_failed_jobs`
    /// is set, and voided otherwise.
    pub(crate) fn of(status: Status, charge_failed_jobs: bool) -> Option<Self> {
        let owed = match status {
            Status::Completed => true,
            Status::Failed | Status::Cancelled | Status::Expired => charge_failed_jobs,
            Status::Queued | Status::InProgress => return None,
        };
        Some(Self {
            resolution: match owed {
                true => Resolution::Posted,
                false => Resolution::Voided,
            },
            status: status.end(),
            lasted: None,
        })
    }
}

/// Returns the error of a job that ended without success, with the channel's credential removed from its
/// text; `None` for any other job, and if the channel reports no error.
pub(super) fn job_error(answer: &JobAnswer, channel: &Channel) -> Option<JobError> {
    if !answer.is_unsuccessful() {
        return None;
    }
    let [code, message] = [&answer.error_code, &answer.error_message].map(|text| {
        text.as_deref()
            .and_then(|text| ledger::kept(&channel.redacted(text)))
    });
    let is_known = code.is_some() || message.is_some();
    is_known.then_some(JobError { code, message })
}

/// Returns the time from a job's creation to its completion, by its channel's clock; `None` if the answer
/// lacks one of these times, or the completion is the earlier one.
pub(super) fn duration(answer: &JobAnswer) -> Option<Duration> {
    let seconds = answer.completed?.checked_sub(answer.created?)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_words_are_kept_without_its_credential() {
        let channel = Channel {
            credential: Some(crate::key::Secret::new("sk-channel".to_owned())),
            ..Channel::named("east")
        };
        let answer = |status| JobAnswer {
            status: Some(status),
            error_code: Some("bad_key".into()),
            error_message: Some("no account for sk-channel\n".into()),
            ..JobAnswer::default()
        };
        let error = job_error(&answer(Status::Failed), &channel).unwrap();
        assert_eq!(error.code.as_deref(), Some("bad_key"));
        assert_eq!(
            error.message.as_deref(),
            Some("no account for [credential]")
        );
        assert_eq!(job_error(&answer(Status::Completed), &channel), None);
    }
}

//! The jobs of the mock, and their progress with time.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::body::hex;
use super::record::Stats;
use crate::sha256::Sha256;

/// The maximum number of jobs that are kept; the oldest are forgotten.
const KEPT: usize = 100_000;
/// The time from a job's completion to its `expires_at`. The mock itself never deletes the video.
const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

/// The way in which a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The job ends `completed`.
    Completed,
    /// The job ends `failed`.
    Failed,
    /// The job ends `failed` with the code `moderation_blocked`.
    Moderated,
    /// The job ends `cancelled`.
    Cancelled,
}

/// A job as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobView {
    /// The id of the job; `None` only under the fault `no-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The type of the object, always `video`.
    pub object: &'static str,
    /// The name of the model.
    pub model: String,
    /// The status: `queued`, `in_progress`, `completed`, `failed` or `cancelled`.
    pub status: &'static str,
    /// The progress of the job in percent; 0 for a job that failed or was cancelled.
    pub progress: u8,
    /// The time of the create, in seconds since 1970.
    pub created_at: u64,
    /// The time of the completion, in seconds since 1970; `None` unless the job is completed.
    pub completed_at: Option<u64>,
    /// The time at which the video expires, in seconds since 1970; `None` unless the job is completed.
    pub expires_at: Option<u64>,
    /// The prompt that the job was created with.
    pub prompt: String,
    /// The size of the video, `WIDTHxHEIGHT` in pixels.
    pub size: String,
    /// The length of the video in seconds, as the decimal string that the API writes.
    pub seconds: String,
    /// The id of the job that this job is a remix of; `None` if it is no remix.
    pub remixed_from_video_id: Option<String>,
    /// The reason why the job failed; `None` unless it failed.
    pub error: Option<JobError>,
}

/// The reason why a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct JobError {
    /// The error code, for programs.
    pub code: &'static str,
    /// The error message, for people.
    pub message: &'static str,
}

/// A job as the control routes show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobRecord {
    /// The job as the API shows it, or would show it if the job had not been deleted.
    #[serde(flatten)]
    pub job: JobView,
    /// The list cost of the job in US dollars, as an exact decimal.
    pub list_cost_usd: String,
    /// Whether a client deleted the job.
    pub deleted: bool,
}

/// The properties of a job that is about to be created.
#[derive(Debug, Clone)]
pub(super) struct NewJob {
    pub model: String,
    pub seconds: String,
    pub size: String,
    pub prompt: String,
    pub remixed_from: Option<String>,
    pub fate: Fate,
    pub queued: Duration,
    pub rendering: Duration,
    pub list_cost_micro_usd: u64,
    /// The length of the video in bytes; `None` for the clip that the mock ships.
    pub video_bytes: Option<u64>,
}

/// A job, with the time at which it was created.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub id: String,
    pub new: NewJob,
    created: Instant,
    /// The time of the create, since 1970.
    created_at: Duration,
    deleted: bool,
}

impl Job {
    pub(super) fn view(&self, now: Instant) -> JobView {
        let (status, progress) = self.status(now);
        let ended = !matches!(status, "queued" | "in_progress");
        let end = self.created_at + self.new.queued + self.new.rendering;
        let completed = ended && self.new.fate == Fate::Completed;
        JobView {
            id: Some(self.id.clone()),
            object: "video",
            model: self.new.model.clone(),
            status,
            progress,
            created_at: self.created_at.as_secs(),
            completed_at: completed.then_some(end.as_secs()),
            expires_at: completed.then(|| (end + EXPIRY).as_secs()),
            prompt: self.new.prompt.clone(),
            size: self.new.size.clone(),
            seconds: self.new.seconds.clone(),
            remixed_from_video_id: self.new.remixed_from.clone(),
            error: self.error().filter(|_| ended),
        }
    }

    /// Returns the job's status at `now`, and its progress in percent.
    pub(super) fn status(&self, now: Instant) -> (&'static str, u8) {
        let age = now.saturating_duration_since(self.created);
        let Some(rendered) = age.checked_sub(self.new.queued) else {
            return ("queued", 0);
        };
        if rendered < self.new.rendering {
            let percent = rendered.as_nanos() * 100 / self.new.rendering.as_nanos().max(1);
            return ("in_progress", u8::try_from(percent).unwrap_or(99).min(99));
        }
        match self.new.fate {
            Fate::Completed => ("completed", 100),
            Fate::Failed | Fate::Moderated => ("failed", 0),
            Fate::Cancelled => ("cancelled", 0),
        }
    }

    /// Returns the time from `now` until the job ends; zero where the job has ended.
    pub(super) fn remaining(&self, now: Instant) -> Duration {
        (self.new.queued + self.new.rendering)
            .saturating_sub(now.saturating_duration_since(self.created))
    }

    fn error(&self) -> Option<JobError> {
        match self.new.fate {
            Fate::Failed => Some(JobError {
                code: "video_generation_failed",
                message: "Video generation failed. Please try again.",
            }),
            Fate::Moderated => Some(JobError {
                code: "moderation_blocked",
                message: "Your request was blocked by our moderation system.",
            }),
            Fate::Completed | Fate::Cancelled => None,
        }
    }
}

/// One page of the list of jobs.
#[derive(Debug)]
pub(super) struct Page {
    pub jobs: Vec<Job>,
    pub has_more: bool,
}

/// The store of jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub ids: Ids,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    created: u64,
    by_number: BTreeMap<u64, Job>,
    by_id: HashMap<String, u64>,
    list_cost_micro_usd: u128,
}

impl Jobs {
    pub(super) fn create(&self, new: NewJob) -> Job {
        let mut store = self.lock();
        let number = store.created;
        let job = Job {
            id: self.ids.video(number),
            new,
            created: Instant::now(),
            created_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            deleted: false,
        };
        store.created += 1;
        store.list_cost_micro_usd += u128::from(job.new.list_cost_micro_usd);
        store.by_id.insert(job.id.clone(), number);
        store.by_number.insert(number, job.clone());
        if store.by_number.len() > KEPT
            && let Some((_, oldest)) = store.by_number.pop_first()
        {
            store.by_id.remove(&oldest.id);
        }
        job
    }

    pub(super) fn get(&self, id: &str) -> Option<Job> {
        let store = self.lock();
        let job = store.by_number.get(store.by_id.get(id)?)?;
        (!job.deleted).then(|| job.clone())
    }

    /// Deletes the job `id`. Returns whether there was such a job that had not been deleted before.
    pub(super) fn delete(&self, id: &str) -> bool {
        let mut store = self.lock();
        let Some(number) = store.by_id.get(id).copied() else {
            return false;
        };
        store
            .by_number
            .get_mut(&number)
            .is_some_and(|job| !std::mem::replace(&mut job.deleted, true))
    }

    /// Returns one page of the list: up to `limit` jobs that are not deleted, newest or oldest first.
    ///
    /// The page begins after the job `after`, or at the start of the list without it. `None` is returned if
    /// the job `after` is unknown.
    pub(super) fn page(
        &self,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Option<Page> {
        let store = self.lock();
        let cursor = match after {
            Some(id) => Some(*store.by_id.get(id)?),
            None => None,
        };
        let shown = |job: &&Job| !job.deleted;
        let take = |jobs: &mut dyn Iterator<Item = &Job>| {
            let page: Vec<Job> = jobs.take(limit).cloned().collect();
            Page {
                jobs: page,
                has_more: jobs.next().is_some(),
            }
        };
        Some(if newest_first {
            let end = cursor.unwrap_or(u64::MAX);
            let older = store.by_number.range(..end).rev().map(|(_, job)| job);
            take(&mut older.filter(shown))
        } else {
            let start = cursor.map_or(0, |cursor| cursor + 1);
            let newer = store.by_number.range(start..).map(|(_, job)| job);
            take(&mut newer.filter(shown))
        })
    }

    pub(super) fn all(&self) -> Vec<JobRecord> {
        let now = Instant::now();
        self.lock()
            .by_number
            .values()
            .map(|job| JobRecord {
                job: job.view(now),
                list_cost_usd: usd(job.new.list_cost_micro_usd.into()),
                deleted: job.deleted,
            })
            .collect()
    }

    pub(super) fn add_to(&self, stats: &mut Stats) {
        let now = Instant::now();
        let store = self.lock();
        let mut completed = 0;
        for job in store.by_number.values() {
            let (status, _) = job.status(now);
            *stats.jobs_by_status.entry(status).or_default() += 1;
            if status == "completed" {
                completed += u128::from(job.new.list_cost_micro_usd);
            }
        }
        stats.list_cost_usd_total = usd(store.list_cost_micro_usd);
        stats.list_cost_usd_completed = usd(completed);
    }

    /// Deletes all jobs. The ids of later jobs differ from those of the deleted ones.
    pub(super) fn clear(&self) {
        let mut store = self.lock();
        *store = Store {
            created: store.created,
            ..Store::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A generator of ids that cannot be guessed from other ids.
#[derive(Debug)]
pub(super) struct Ids {
    seed: [u8; 16],
    requests: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        let mut seed = [0; 16];
        let (left, right) = seed.split_at_mut(8);
        left.copy_from_slice(&RandomState::new().hash_one(0).to_be_bytes());
        right.copy_from_slice(&RandomState::new().hash_one(1).to_be_bytes());
        Ids {
            seed,
            requests: AtomicU64::new(0),
        }
    }
}

impl Ids {
    /// Makes a new id of a request: `req_` and 32 hex digits.
    pub(super) fn request(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("req_{}", hex(&self.digest(b"request", number)[..16]))
    }

    fn video(&self, number: u64) -> String {
        format!("video_{}", hex(&self.digest(b"video", number)[..24]))
    }

    fn digest(&self, kind: &[u8], number: u64) -> [u8; 32] {
        Sha256::default()
            .with(self.seed)
            .with(kind)
            .with(number.to_be_bytes())
            .finish()
    }
}

/// Formats micro-dollars as a decimal number of dollars without trailing zeros.
pub(super) fn usd(micro_usd: u128) -> String {
    let (whole, fraction) = (micro_usd / 1_000_000, micro_usd % 1_000_000);
    let text = format!("{whole}.{fraction:06}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

//! Where a gate is right though it does not find out what is true: each excuse, as narrow as its
//! reason.

use crate::channel::{Job, sends_date};
use crate::plan::{EXPIRE_AFTER, SIZES};
use crate::requests::Made;
use crate::row::Row;
use crate::world::World;

/// By how many milliseconds clocks may differ without consequences, less what a time in whole
/// seconds lacks.
const CLOCKS: u64 = 119_000;

/// How long channels list jobs late, and how long gates wait for that, in milliseconds.
pub const LATE: u64 = 100_000;
const GRACE: u64 = 180_000;
/// The time that passes in the end until all must be found out, less that.
const AHEAD: i64 = 500_000;

impl World<'_> {
    /// Whether the time that a list shows of a job cannot be that of its request: the clocks of
    /// its channel and its gate were too far apart, and the channel sends no date that corrects
    /// it, or a gate's clock has changed by as much since.
    pub fn is_out_of_time(&self, job: &Job) -> bool {
        let made = &self.made[job.request];
        let reserved = made.at.cast_signed() - made.true_at.cast_signed();
        let listed = job.created_at * 1000 - job.made.cast_signed();
        let is_apart = |clock: i64| clock.abs_diff(reserved) > CLOCKS;
        let is_corrected = sends_date(job.channel) && !self.skews.iter().any(|at| is_apart(*at));
        is_apart(listed) && !is_corrected
    }

    /// Whether a list without prompts tells too little of a job to say that it is a reservation's:
    /// it was rendered otherwise, or the clocks are not known to agree, or to have agreed when it was
    /// made.
    pub fn tells_too_little(&self, row: &Row, job: &Job) -> bool {
        let is_unlike = (row.seconds, &row.size) != (job.seconds, &job.size);
        let ahead = job.created_at * 1000 - job.made.cast_signed();
        let is_apart = self.skews.iter().any(|at| at.abs_diff(ahead) > CLOCKS);
        let is_known = sends_date(job.channel) && row.has_channel_clock;
        !self.has_prompts && (is_unlike || is_apart || !is_known)
    }

    /// Whether a list shows two jobs alike, if it shows both.
    fn are_alike(&self, one: &Job, other: &Job) -> bool {
        let shown = |job: &Job| {
            let prompt = self.has_prompts.then(|| job.prompt.clone());
            let rendered = (job.seconds, job.size.clone());
            (
                job.channel,
                job.model.clone(),
                job.source.clone(),
                rendered,
                prompt,
            )
        };
        shown(one) == shown(other)
    }

    /// Whether a request may have a job that another one asked for exactly: where another job
    /// looks the same that was not asked for exactly, each may have either.
    pub fn is_interchangeable(&self, job: &Job, truth: &[Job]) -> bool {
        let key = self.made[job.request].asked.key;
        let mut others = truth.iter().filter(|other| other.id != job.id);
        others.any(|other| {
            let maker = &self.made[other.request];
            maker.asked.key == key && !asked_exactly(maker, other) && self.are_alike(job, other)
        })
    }

    /// Whether a reservation whose outcome is unknown is held, with its Idempotency-Key: a job
    /// that was found to be another request's of the same key may be its own.
    pub fn is_held(&self, row: &Row, rows: &[Row], truth: &[Job]) -> bool {
        let request = |row: &Row| Some(&self.made[self.number_at(row.created)?]);
        let Some(made) = request(row).filter(|made| made.idem.is_some()) else {
            return false;
        };
        let of_key = rows
            .iter()
            .filter(|other| other.key == row.key && other.channel == row.channel);
        let found = of_key.filter_map(|other| {
            let owner = request(other).filter(|owner| owner.told().is_none())?;
            Some((owner, truth.iter().find(|job| other.has(job))?))
        });
        let mut found = found.filter(|(owner, _)| {
            let is_prompt = made.asked.prompt == owner.asked.prompt || !self.has_prompts;
            is_prompt && made.model == owner.model && made.source == owner.source
        });
        found.any(|(owner, job)| differences(made, job) == differences(owner, job))
    }

    /// Whether a reservation was made at a time that is still to come: a gate whose clock was
    /// wrong has died over it, and that it is lost is seen once its time is over.
    pub fn is_to_come(&self, row: &Row) -> bool {
        let times = self.gates.iter().map(|gate| gate.time_at(self.now()));
        times.into_iter().all(|now| row.created > now)
    }

    /// Whether some reservation was found to be unknown at a time that is still to come, when all
    /// gates' clocks are right again: the channel's time to list its job is not over.
    pub fn may_be_to_come(&self) -> bool {
        self.skews.iter().any(|skew| *skew > AHEAD)
    }

    /// Whether what was reserved then has expired by some gate's clock.
    pub fn has_expired(&self, created: u64) -> bool {
        let now = self.now();
        let mut clocks = self
            .skews
            .iter()
            .map(|skew| now.saturating_add_signed(*skew));
        clocks.any(|now| now.saturating_sub(created) >= EXPIRE_AFTER)
    }

    /// Whether a channel that lists its jobs late may not have listed this one by the time that
    /// gates of different clocks took for long enough.
    pub fn is_listed_late(&self, job: &Job) -> bool {
        let differ = self.skews.last().zip(self.skews.first());
        let differ = differ.map_or(0, |(last, first)| last.abs_diff(*first));
        let passed = self.now() - job.made;
        self.was_late[job.channel] && passed <= LATE && passed + differ >= GRACE
    }
}

/// In how many things a job is other than what was asked for.
fn differences(made: &Made, job: &Job) -> usize {
    let size = usize::from(SIZES[made.size] != job.size);
    size + usize::from(made.seconds != job.seconds)
}

pub fn asked_exactly(made: &Made, job: &Job) -> bool {
    let is_remix = made.source.is_some() == job.source.is_some();
    is_remix && differences(made, job) == 0
}

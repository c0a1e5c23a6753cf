//! Reservations, as they stand in a ledger of whatever kind.

use std::sync::Arc;

use tollgate::ledger::{Charge, Job as LedgerJob, ReservationId, State};
use tollgate::policy::Timestamp;

use crate::channel::Job;
use crate::requests::Made;

/// A reservation as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: String,
    pub created: u64,
    pub key: String,
    pub group: String,
    pub currency: String,
    pub multiplier: u64,
    pub channel: String,
    pub model: String,
    pub size: String,
    pub seconds: u64,
    pub list: u64,
    pub billed: u64,
    pub state: String,
    /// The job's public id.
    pub job: Option<String>,
    /// Its id at its channel.
    pub upstream: Option<String>,
    pub outcome: Option<String>,
    pub deleted: bool,
    /// Whether it is known what the channel's clock showed when it was made.
    pub has_channel_clock: bool,
}

/// A reservation in memory.
pub type Held = (
    ReservationId,
    Timestamp,
    State,
    Arc<Charge>,
    Option<LedgerJob>,
    Option<Timestamp>,
);

impl Row {
    pub fn of((id, created, state, charge, job, channel_clock): Held) -> Self {
        let Charge {
            payer,
            channel,
            model,
            size,
            seconds,
            list,
            billed,
            ..
        } = (*charge).clone();
        Self {
            id: id.to_string(),
            created: created.0,
            key: payer.key.to_string(),
            group: payer.group.to_string(),
            currency: payer.currency.to_string(),
            multiplier: payer.multiplier.thousandths(),
            channel: channel.to_string(),
            model: model.to_string(),
            size: size.to_string(),
            seconds: seconds.into(),
            list: list.nanos(),
            billed: billed.nanos(),
            state: state.name().to_owned(),
            job: job.as_ref().map(|job| job.id.to_string()),
            upstream: job.as_ref().map(|job| job.upstream_id.to_string()),
            outcome: job
                .as_ref()
                .and_then(|job| Some(job.end.as_ref()?.to_string())),
            deleted: job.as_ref().is_some_and(|job| job.deleted),
            has_channel_clock: channel_clock.is_some(),
        }
    }

    pub fn read(cells: Vec<String>) -> Self {
        let text = |i: usize| cells[i].clone();
        let number = |i: usize| cells[i].parse().unwrap();
        let optional = |i: usize| Some(text(i)).filter(|text| !text.is_empty());
        Self {
            created: number(0),
            key: text(1),
            group: text(2),
            currency: text(3),
            multiplier: number(4),
            channel: text(5),
            model: text(6),
            size: text(7),
            seconds: number(8),
            list: number(9),
            billed: number(10),
            state: text(11),
            job: optional(12),
            upstream: optional(13),
            outcome: optional(14),
            deleted: cells[15] == "1",
            id: text(16),
            has_channel_clock: cells[17] == "1",
        }
    }

    /// The reservation that a request asks for.
    pub fn of_request(made: &Made, group: usize, model: &str, list: u64, billed: u64) -> Self {
        Self {
            id: String::new(),
            created: made.at,
            key: made.key_name(),
            group: format!("g{group}"),
            currency: made.plan.currency(group).to_owned(),
            multiplier: made.plan.multiplier(group),
            channel: String::new(),
            model: model.to_owned(),
            size: crate::plan::SIZES[made.size].to_owned(),
            seconds: made.seconds,
            list,
            billed,
            state: "pending".to_owned(),
            job: None,
            upstream: None,
            outcome: None,
            deleted: false,
            has_channel_clock: false,
        }
    }

    /// Whether it has that job.
    pub fn has(&self, job: &Job) -> bool {
        let channel = self.channel.strip_prefix('c');
        channel.is_some_and(|n| n == job.channel.to_string())
            && self.upstream.as_ref() == Some(&job.id)
    }

    /// Whether the channel has named its job so, and the job got another public id.
    pub fn is_renamed_from(&self, id: &str) -> bool {
        self.upstream.as_deref() == Some(id) && self.job.as_deref().is_some_and(|job| job != id)
    }

    pub fn is_open(&self) -> bool {
        matches!(&*self.state, "pending" | "unknown" | "confirmed")
    }
}

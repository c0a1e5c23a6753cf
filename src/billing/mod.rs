//! The life of a charge: reserve, confirm, post, void. Uses none of Pingora's types.
//!
//! [`Billing`] moves money: it makes each step in the ledger and then counts it in the metrics, exactly
//! once, because the ledger reports which call changed something. [`matching`] decides, as a pure function,
//! which reservation a listed job belongs to. [`worker`] runs the work that no client waits for: it polls
//! jobs, reconciles unknown outcomes and prunes old entries.

mod channel_task;
mod charge;
mod confirm;
mod job_cache;
mod job_end;
mod job_status;
mod matching;
mod overdue;
mod pending_writes;
mod poller;
mod prune;
mod public_id;
mod reachability;
mod reconcile;
mod reservation;
mod reserve;
mod retry;
mod settle;
mod worker;

pub(crate) use charge::charge;
pub(crate) use confirm::NotConfirmed;
pub(crate) use job_cache::{AnswerDigest, JobEntry};
pub(crate) use job_status::fetch as fetch_status;
pub(crate) use job_status::fetch_and_settle as fetch_and_settle_status;
pub(crate) use public_id::{own_job, public_source, with_public_ids};
pub(crate) use reservation::Reservation;
pub(crate) use reserve::{Billing, ReserveOutcome, ReserveRequest};
pub(crate) use worker::Worker;

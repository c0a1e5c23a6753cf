//! What the gate asks channels by itself: about one job, and for pages of their lists.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::Value;

use super::answer::JobAnswer;
use super::asking::Asked;
use super::exchange::Answer;
use super::known::Known;
use super::route::{JobId, Route};
use super::{Gate, State};
use crate::channel::LiveChannel;

/// How many jobs one page of a channel is asked for.
pub(super) const PAGE: usize = 100;
/// A page holds up to a hundred jobs, each with its prompt: so many times an answer.
const PAGE_ANSWERS: usize = 8;

/// Why a channel told nothing. It has been counted and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mute {
    /// It cannot be reached, or gives no answer: there is no use in asking more now.
    Down,
    /// It answered with something else.
    Unclear,
}

/// What a channel says of one job.
pub(super) struct Told {
    /// What of it means something to the gate.
    job: JobAnswer,
    /// In its own words.
    pub(super) json: Value,
    /// When the channel wants to be asked again, in milliseconds from now.
    pub(super) poll_after_ms: Option<u64>,
}

/// A page of a channel's list.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Value>,
    /// Some channels do not say.
    pub(super) has_more: Option<bool>,
    /// The header `Date` of the answer.
    #[serde(skip)]
    pub(super) date: Option<String>,
}

impl Gate {
    /// Asks the job's channel how it stands, and settles its charge if it has ended.
    pub(super) async fn look(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        known: &Known,
    ) -> Result<Told, Mute> {
        let told = self.ask(state, channel, known).await?;
        self.heed(state, known, &told).await;
        Ok(told)
    }

    /// Settles the charge of a job that has ended, as its channel has told. Not to be given
    /// up half-way: the metrics would miss what the ledger does.
    pub(super) async fn heed(&self, state: &State, known: &Known, told: &Told) {
        let charge_failed = state.config.jobs.charge_failed_jobs;
        self.books.settle(known, &told.job, charge_failed).await;
    }

    /// Asks the job's channel how it stands.
    pub(super) async fn ask(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        known: &Known,
    ) -> Result<Told, Mute> {
        let id = JobId::new(&known.job.id).ok_or(Mute::Unclear)?;
        let most = state.config.bounds.answer_bytes;
        let route = Route::Retrieve(id);
        let answer = self.inquire(channel, &route, None, most).await?;
        let poll_after = answer.headers.get("openai-poll-after-ms");
        let poll_after = poll_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let json = serde_json::from_slice(&answer.body).ok();
        let told = json.and_then(|json: Value| {
            let job = JobAnswer::of(&json)?;
            let own = job.id.as_deref().is_none_or(|id| id == &*known.job.id);
            (own && job.status.is_some()).then_some((job, json))
        });
        let Some((job, json)) = told else {
            let what = format_args!("what it answers for job {} is no job", known.job.id);
            self.channel_failed(&channel.spec().name, "no_job", what);
            return Err(Mute::Unclear);
        };
        Ok(Told {
            job,
            json,
            poll_after_ms: poll_after,
        })
    }

    /// One page of everything that a channel's account has, newest first.
    pub(super) async fn page(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        after: Option<&JobId>,
    ) -> Result<Page, Mute> {
        let mut query = format!("limit={PAGE}&order=desc");
        if let Some(after) = after {
            query = format!("{query}&after={}", after.as_str());
        }
        let most = state
            .config
            .bounds
            .answer_bytes
            .saturating_mul(PAGE_ANSWERS);
        let query = Some(query.as_str());
        let answer = self.inquire(channel, &Route::List, query, most).await?;
        let date = answer.headers.get(header::DATE);
        let date = date.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let page: Result<Page, _> = serde_json::from_slice(&answer.body);
        page.map(|page| Page { date, ..page }).map_err(|_| {
            let what = "what it answers for a list is none";
            self.channel_failed(&channel.spec().name, "no_list", what);
            Mute::Unclear
        })
    }

    /// A job as its channel tells it, in the channel's own bytes.
    pub(super) async fn tell(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        id: &str,
    ) -> Option<Bytes> {
        let route = Route::Retrieve(JobId::new(id)?);
        let most = state.config.bounds.answer_bytes;
        let answer = self.inquire(channel, &route, None, most).await.ok()?;
        let job = JobAnswer::read(&answer.body)?;
        (job.id.as_deref() == Some(id)).then_some(answer.body)
    }

    /// A GET of the gate's own: the whole of a successful answer.
    async fn inquire(
        &self,
        channel: &Arc<LiveChannel>,
        route: &Route,
        query: Option<&str>,
        most: usize,
    ) -> Result<Answer, Mute> {
        let name = &channel.spec().name;
        let asked = Asked {
            method: Method::GET,
            route,
            query,
            headers: own_headers(),
        };
        let answer = self.ask_for(channel, asked, most).await;
        let answer = answer.map_err(|_| Mute::Down)?;
        let kind = match answer.status.as_u16() {
            200..=299 if !answer.cut => return Ok(answer),
            401..=403 => "account",
            429 => "rate_limited",
            _ => "status",
        };
        let (label, status) = (route.label(), answer.status);
        match route.job() {
            Some(id) => {
                let what = format_args!("{label} of job {id} was answered with {status}");
                self.channel_failed(name, kind, what);
            }
            None => {
                let what = format_args!("{label} was answered with {status}");
                self.channel_failed(name, kind, what);
            }
        }
        Err(match kind {
            "account" | "rate_limited" => Mute::Down,
            _ => Mute::Unclear,
        })
    }
}

/// The headers of the gate's own requests, besides those that say whose they are.
pub(super) fn own_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    let agent = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    headers
}

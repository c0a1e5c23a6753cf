//! What the gate asks channels by itself: about one job, and for pages of their lists.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::answer::JobAnswer;
use super::asking::{Asked, Silent};
use super::known::Known;
use super::route::{JobId, Route};
use super::{Gate, State, ids};
use crate::channel::LiveChannel;
use crate::dialect::{JobStatus, ListReader, Page, percent_encoded};

/// How many jobs one page of a channel is asked for: fewer, where a page cannot be read.
const PAGES: [usize; 4] = [100, 20, 5, 1];
/// How long a page may be, in answers. None of it is kept but what its jobs are recognised by.
const PAGE_ANSWERS: usize = 64;

/// Why a channel told nothing. It has been counted and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mute {
    /// It cannot be reached, or refuses to be asked: there is no use in asking more now.
    Down,
    /// It gave no whole answer in time, or broke off.
    Slow,
    /// It has no such job.
    Absent,
    /// It answered with something else.
    Unclear,
}

/// What a channel says of one job.
pub(super) struct Told {
    /// What of it means something to the gate.
    pub(super) job: JobAnswer,
    /// What it has written; of a job that is known, as clients are told it.
    pub(super) body: Bytes,
    /// When the channel wants to be asked again, in milliseconds from now.
    pub(super) poll_after_ms: Option<u64>,
}

/// A page of a channel's list.
pub(super) struct Listed {
    pub(super) page: Page,
    /// When it was written by the channel's clock, as the header `Date` says.
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
        let job = &known.job;
        let told = self.ask_about(state, channel, &job.id, &job.upstream_id);
        let mut told = told.await?;
        let source = self.public_source(&told.job, job.remix_of.as_deref()).await;
        told.body = ids::told(&told.job, &told.body, &job.id, source.as_deref());
        Ok(told)
    }

    /// Asks a channel how a job stands that may be in no ledger, and has that public id if it is
    /// in one.
    pub(super) async fn ask_about(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        id: &str,
        upstream_id: &str,
    ) -> Result<Told, Mute> {
        let id = JobId::new(id).ok_or(Mute::Unclear)?;
        let most = state.config.bounds.answer_bytes;
        let route = Route::Retrieve(id);
        let asked = Asked {
            job: Some(upstream_id),
            ..asked(&route, None)
        };
        let answer = self.ask_for(channel, asked, most).await?;
        let dialect = &channel.spec().dialect;
        let status = match answer.cut {
            true => JobStatus::Unclear,
            false => dialect.job_status(answer.status.as_u16(), &answer.body, upstream_id),
        };
        match status {
            JobStatus::Job(job) => {
                self.note_word(channel, &job);
                let poll_after = answer.headers.get("openai-poll-after-ms");
                let poll_after_ms = poll_after.and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(Told {
                    job,
                    body: answer.body,
                    poll_after_ms,
                })
            }
            JobStatus::Absent => {
                self.unclear(channel, &route, answer.status, "no_job");
                Err(Mute::Absent)
            }
            JobStatus::Unclear => Err(self.unclear(channel, &route, answer.status, "no_job")),
        }
    }

    /// Counts a status word of which nobody knows the meaning, and says it once: until it is
    /// mapped in the configuration, the job is taken to go on.
    pub(super) fn note_word(&self, channel: &LiveChannel, job: &JobAnswer) {
        let Some(word) = &job.unknown_word else {
            return;
        };
        let name = &channel.spec().name;
        self.metrics.channel_error(name, "status_word");
        if channel.is_new_word(word) {
            log::error!(
                "channel {name}: what the status `{word}` of a job means is not known, and the job \
                 is taken to go on: write it under the channel's `status_words`"
            );
        }
    }

    /// One page of everything that a channel's account has, newest first: what comes after that
    /// job. It is read as it comes, and its memory is bounded whatever it holds. Where a page is
    /// too long, too slow or breaks off, what it began with is taken, and the next one is asked
    /// to be smaller.
    pub(super) async fn page(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        after: Option<&str>,
    ) -> Result<Listed, Mute> {
        loop {
            let size = channel.page_size(&PAGES);
            let read = self.page_of(state, channel, after, size).await;
            match read {
                Ok(listed) if listed.page.whole => return Ok(listed),
                Ok(mut listed) if !listed.page.jobs.is_empty() => {
                    channel.ask_for_less(size);
                    listed.page.has_more = Some(true);
                    return Ok(listed);
                }
                Ok(_) | Err(Mute::Slow) if channel.ask_for_less(size) => {}
                Ok(_) => return Err(Mute::Unclear),
                Err(mute) => return Err(mute),
            }
        }
    }

    async fn page_of(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        after: Option<&str>,
        size: usize,
    ) -> Result<Listed, Mute> {
        let mut query = format!("limit={size}&order=desc");
        if let Some(after) = after {
            query = format!("{query}&after={}", percent_encoded(after));
        }
        let name = &channel.spec().name;
        let route = Route::List;
        let exchange = self
            .ask_for_head(channel, asked(&route, Some(&query)))
            .await?;
        let Some(head) = exchange.answered() else {
            return Err(Mute::Unclear);
        };
        let status = head.status;
        let date = head.headers.get(header::DATE);
        let date = date.and_then(|date| date.to_str().ok().map(str::to_owned));
        if !status.is_success() {
            exchange.discard(&self.pool).await;
            let mute = self.unclear(channel, &route, status, "no_list");
            // It may have its own idea of how many there may be on a page.
            let too_many = matches!(status.as_u16(), 400 | 413 | 422);
            return Err(if too_many { Mute::Slow } else { mute });
        }
        let most = state
            .config
            .bounds
            .answer_bytes
            .saturating_mul(PAGE_ANSWERS);
        let mut length = 0;
        let mut reader = ListReader::new(&channel.spec().dialect);
        let read = exchange.read_through(&self.pool, |piece| {
            length += piece.len();
            reader.push(piece) && length <= most
        });
        let ended = read.await;
        if let Err(no_answer) = ended {
            let _ = self.silent(channel, no_answer);
        }
        let Some(page) = reader.finish() else {
            self.channel_failed(name, "no_list", "what it answers for a list is none");
            // Where it breaks off before its first job, a shorter one may not.
            return Err(if ended.is_err() {
                Mute::Slow
            } else {
                Mute::Unclear
            });
        };
        let unreadable = page.unreadable();
        if !page.whole || unreadable > 0 {
            let (entries, whole) = (page.entries, page.whole);
            let end = if whole {
                ""
            } else {
                ", and it was not read to its end"
            };
            let what = format_args!(
                "of a page of its list {unreadable} of {entries} jobs could not be read{end}"
            );
            self.channel_failed(name, "no_list", what);
        }
        Ok(Listed { page, date })
    }

    /// Counts an answer that tells nothing.
    fn unclear(
        &self,
        channel: &LiveChannel,
        route: &Route,
        status: StatusCode,
        success: &'static str,
    ) -> Mute {
        let name = &channel.spec().name;
        let (kind, mute) = match status.as_u16() {
            200..=299 => (success, Mute::Unclear),
            401..=403 => ("account", Mute::Down),
            429 => ("rate_limited", Mute::Down),
            _ => ("status", Mute::Unclear),
        };
        let label = route.label();
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
        mute
    }
}

/// A GET of the gate's own.
fn asked<'a>(route: &'a Route, query: Option<&'a str>) -> Asked<'a> {
    Asked {
        method: Method::GET,
        route,
        job: None,
        query,
        path: None,
        headers: own_headers(),
    }
}

impl From<Silent> for Mute {
    fn from(silent: Silent) -> Self {
        match silent {
            Silent::Unreachable => Self::Down,
            Silent::Timeout | Silent::Broken => Self::Slow,
        }
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

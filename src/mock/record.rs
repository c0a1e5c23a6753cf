//! Counts requests and connections, and keeps records of the last 1000 requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::AUTHORIZATION;
use http::{StatusCode, request};
use serde::Serialize;

use super::options::{Options, Presented};
use super::route::Route;

/// The maximum number of requests that are kept.
const KEPT: usize = 1000;
/// The maximum number of characters of a prompt that are kept.
const PROMPT_CHARS: usize = 200;

/// Counters since the start or the last reset. Control routes are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The number of requests whose head arrived.
    pub requests_total: u64,
    /// The number of requests by method and route, such as `POST /v1/videos/{id}/remix`. Requests with an
    /// unknown path or method are counted under `other`.
    pub by_path: BTreeMap<String, u64>,
    /// The number of TCP connections accepted, those with requests to control routes too.
    pub connections_total: u64,
    /// The number of body bytes of requests whose message ended.
    pub body_bytes_total: u64,
    /// The number of creates whose head arrived and whose message has not ended; survives a reset.
    pub creates_in_flight: u64,
    /// The number of creates received whole, accepted or not.
    pub creates_complete: u64,
    /// The number of creates whose body failed or ended early.
    pub creates_broken: u64,
    /// The number of creates whose body the mock stopped reading ([`Outcome::Dropped`]).
    pub creates_dropped: u64,
    /// The number of creates that made a job.
    pub creates_accepted: u64,
    /// The number of remixes received whole, accepted or not.
    pub remixes_complete: u64,
    /// The number of remixes whose body failed or ended early.
    pub remixes_broken: u64,
    /// The number of remixes whose body the mock stopped reading ([`Outcome::Dropped`]).
    pub remixes_dropped: u64,
    /// The number of remixes that made a job.
    pub remixes_accepted: u64,
    /// The number of requests with the right credential.
    pub credentials_ok: u64,
    /// The number of requests with a wrong credential, or none.
    pub credentials_wrong: u64,
    /// The credential of the last request: `ok`, or `wrong` if it was wrong or missing; `None` before the
    /// first request.
    pub last_credential: Option<&'static str>,
    /// The number of requests answered with 401 for their credential.
    pub unauthorized: u64,
    /// The number of jobs by the status that they have now: of the last 100,000 jobs, deleted ones too.
    pub jobs_by_status: BTreeMap<&'static str, u64>,
    /// The list cost of all accepted jobs, however they ended, in US dollars, exact.
    pub list_cost_usd_total: String,
    /// The list cost of those of the last 100,000 jobs that are completed now, in US dollars, exact.
    pub list_cost_usd_completed: String,
}

/// The record of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The HTTP method of the request.
    pub method: String,
    /// The path of the request, without the query.
    pub path: String,
    /// The query of the request, without the question mark; `None` if there is none.
    pub query: Option<String>,
    /// The HTTP version: `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The headers, each as its lowercase name and its value. Headers of the same name stand together. A
    /// credential's value is replaced by `ok` or `wrong`.
    pub headers: Vec<(String, String)>,
    /// The number of body bytes received.
    pub body_bytes: u64,
    /// The SHA-256 of the body bytes received, in hexadecimal.
    pub body_sha256: String,
    /// Whether the whole message was received.
    pub complete: bool,
    /// The way in which the request's message ended.
    pub outcome: Outcome,
    /// The fields of the body, as the mock understood them.
    pub fields: Fields,
    /// The id of the job that the request created; `None` if it created none.
    pub job_id: Option<String>,
    /// The name of the fault that acted on the request, such as `drop-body`; `None` where no fault did.
    pub fault: Option<String>,
    /// The answer's status; `None` before the answer and where there is no answer.
    pub status: Option<u16>,
}

/// The way in which a request's message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The message was received whole.
    Complete,
    /// The body failed or ended early.
    Broken,
    /// The mock stopped reading: a fault acted, or a request with `Expect` had no right credential.
    Dropped,
}

/// The fields of a create or remix, as the mock understood them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// The value of the field `model`; `None` where the body has no such field.
    pub model: Option<String>,
    /// The value of the field `seconds`; `None` where the body has no such field.
    pub seconds: Option<String>,
    /// The value of the field `size`; `None` where the body has no such field.
    pub size: Option<String>,
    /// The first 200 characters of the prompt; `None` where the body has no such field.
    pub prompt: Option<String>,
}

impl Fields {
    pub(super) fn new(get: impl Fn(&str) -> Option<String>) -> Fields {
        Fields {
            model: get("model"),
            seconds: get("seconds"),
            size: get("size"),
            prompt: get("prompt").map(|prompt| prompt.chars().take(PROMPT_CHARS).collect()),
        }
    }
}

impl Record {
    /// Returns the value of the request's header `x-request-id`; `None` without it.
    pub fn name(&self) -> Option<&str> {
        let named = self.headers.iter().find(|(name, _)| name == "x-request-id");
        named.map(|(_, value)| value.as_str())
    }
}

/// A recorder of the counters and the requests.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    stats: Stats,
    ring: VecDeque<Record>,
    /// The sequence number of the oldest record in `ring`.
    first: u64,
    /// The values of `x-request-id` of the requests whose head arrived and whose message has not ended.
    in_progress: BTreeSet<String>,
}

impl Recorder {
    /// Records that a request's head arrived, and returns the writer of the request's record.
    pub(super) fn begin(
        self: &Arc<Self>,
        head: &request::Parts,
        route: Route<'_>,
        presented: Presented,
        options: &Options,
    ) -> Entry {
        let record = Record {
            method: head.method.to_string(),
            path: head.uri.path().into(),
            query: head.uri.query().map(String::from),
            version: format!("{:?}", head.version),
            headers: redacted(head, options),
            body_bytes: 0,
            body_sha256: String::new(),
            complete: false,
            outcome: Outcome::Broken,
            fields: Fields::default(),
            job_id: None,
            fault: None,
            status: None,
        };
        let family = match route {
            Route::Create => Family::Create,
            Route::Remix(_) => Family::Remix,
            _ => Family::Other,
        };
        let mut records = self.lock();
        records.in_progress.extend(record.name().map(String::from));
        let stats = &mut records.stats;
        stats.requests_total += 1;
        let path = match route.template() {
            Some(template) => format!("{} {template}", head.method),
            None => "other".into(),
        };
        *stats.by_path.entry(path).or_default() += 1;
        if family == Family::Create {
            stats.creates_in_flight += 1;
        }
        if presented == Presented::Right {
            stats.credentials_ok += 1;
            stats.last_credential = Some("ok");
        } else {
            stats.credentials_wrong += 1;
            stats.last_credential = Some("wrong");
        }
        drop(records);
        Entry {
            recorder: Arc::clone(self),
            family,
            place: Place::Ahead(Box::new(record)),
        }
    }

    pub(super) fn connected(&self) {
        self.lock().stats.connections_total += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    pub(super) fn is_in_progress(&self, name: &str) -> bool {
        self.lock().in_progress.contains(name)
    }

    pub(super) fn requests(&self) -> Vec<Record> {
        self.lock().ring.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        let mut records = self.lock();
        records.stats = Stats {
            creates_in_flight: records.stats.creates_in_flight,
            ..Stats::default()
        };
        records.first += records.ring.len() as u64;
        records.ring.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer of the record of one request.
#[derive(Debug)]
pub(super) struct Entry {
    recorder: Arc<Recorder>,
    family: Family,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Create,
    Remix,
    Other,
}

/// The place of a record: by itself until the request's message has ended, then in the ring of kept records.
#[derive(Debug)]
enum Place {
    Ahead(Box<Record>),
    Ring(u64),
}

impl Entry {
    /// Records that the request's message has ended: counts the body's bytes and the outcome of a create or
    /// remix, and makes the record visible. Calls after the first do nothing.
    pub(super) fn received(&mut self, outcome: Outcome, body_bytes: u64, body_sha256: String) {
        let Place::Ahead(record) = &mut self.place else {
            return;
        };
        record.outcome = outcome;
        record.complete = outcome == Outcome::Complete;
        record.body_bytes = body_bytes;
        record.body_sha256 = body_sha256;
        let mut records = self.recorder.lock();
        if let Some(name) = record.name() {
            records.in_progress.remove(name);
        }
        let stats = &mut records.stats;
        stats.body_bytes_total += body_bytes;
        match self.family {
            Family::Create => {
                stats.creates_in_flight = stats.creates_in_flight.saturating_sub(1);
                *match outcome {
                    Outcome::Complete => &mut stats.creates_complete,
                    Outcome::Broken => &mut stats.creates_broken,
                    Outcome::Dropped => &mut stats.creates_dropped,
                } += 1;
            }
            Family::Remix => {
                *match outcome {
                    Outcome::Complete => &mut stats.remixes_complete,
                    Outcome::Broken => &mut stats.remixes_broken,
                    Outcome::Dropped => &mut stats.remixes_dropped,
                } += 1;
            }
            Family::Other => (),
        }
        let number = records.first + records.ring.len() as u64;
        records.ring.push_back((**record).clone());
        if records.ring.len() > KEPT {
            records.ring.pop_front();
            records.first += 1;
        }
        drop(records);
        self.place = Place::Ring(number);
    }

    /// Records that the request created the job `job_id`.
    pub(super) fn accepted(&mut self, job_id: &str) {
        let mut records = self.recorder.lock();
        match self.family {
            Family::Create => records.stats.creates_accepted += 1,
            Family::Remix => records.stats.remixes_accepted += 1,
            Family::Other => (),
        }
        drop(records);
        self.write(|record| record.job_id = Some(job_id.into()));
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.write(|record| record.status = Some(status.as_u16()));
    }

    pub(super) fn unauthorized(&mut self) {
        self.recorder.lock().stats.unauthorized += 1;
    }

    pub(super) fn fields(&mut self, fields: Fields) {
        self.write(|record| record.fields = fields);
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.write(|record| record.fault = Some(fault));
    }

    /// Changes the record with `note`. Does nothing if the record has left the ring or was cleared.
    fn write(&mut self, note: impl FnOnce(&mut Record)) {
        match &mut self.place {
            Place::Ahead(record) => note(record),
            Place::Ring(number) => {
                let mut records = self.recorder.lock();
                let index = number.checked_sub(records.first);
                let record = index
                    .and_then(|index| usize::try_from(index).ok())
                    .and_then(|index| records.ring.get_mut(index));
                if let Some(record) = record {
                    note(record);
                }
            }
        }
    }
}

/// Returns the headers of a request. The value of each header that can carry a credential is replaced by
/// `ok` or `wrong`.
fn redacted(head: &request::Parts, options: &Options) -> Vec<(String, String)> {
    head.headers
        .iter()
        .map(|(name, value)| {
            let own = name == options.credential_header();
            let shown = if own && options.is_credential(value.as_bytes()) {
                "ok".into()
            } else if own || name == AUTHORIZATION || name == "api-key" || name == "x-api-key" {
                "wrong".into()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().into(), shown)
        })
        .collect()
}

//! Handles `GET /v1/videos` (the jobs of a key), `GET /v1/models` (the models that the key may use) and
//! `GET /v1/usage` (how much of its limits the key has used).
//!
//! The ledger decides which jobs a list has, and in which order: a channel lists every job of an account that
//! many keys share. The status of each job comes from its channel, a few jobs at a time. If the channel does
//! not return it, the ledger's record of the job is used, so that the failure of one channel does not make
//! the whole list fail.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use pingora::http::RequestHeader;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::refusal::{HeadFault, NotFound, Refusal, RequestError};
use super::response::Response;
use super::services::Services;
use crate::billing::fetch_status;
use crate::channel::ChannelState;
use crate::ledger::{Job, JobsAfter, Resolution, Scope, Unavailable, Usage};
use crate::money::Amount;
use crate::policy::{self, Group, Key, Measure, Offer, Terms, Timestamp};
use crate::route::JobId;
use crate::runtime::Snapshot;

/// The maximum number of jobs on a page, as in OpenAI's API.
const MAX_LIMIT: u32 = 100;
/// The number of jobs on a page if the request does not state a limit, as in OpenAI's API.
const DEFAULT_LIMIT: u32 = 20;
/// The maximum number of concurrent status requests for one page.
const MAX_CONCURRENT: usize = 8;
/// The maximum time for all status requests of one page together.
const WITHIN: Duration = Duration::from_secs(10);

/// The query parameters of a list request.
#[derive(Default)]
struct Query {
    limit: Option<u32>,
    ascending: bool,
    after: Option<JobId>,
}

impl Query {
    fn read(text: &str) -> Option<Self> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("limit", n) => query.limit = Some(n.parse().ok().filter(|n| *n <= MAX_LIMIT)?),
                ("order", "asc") => query.ascending = true,
                ("order", "desc") => query.ascending = false,
                ("order", _) => return None,
                ("after", id) => query.after = Some(JobId::read(id)?),
                _ => {}
            }
        }
        Some(query)
    }
}

/// Handles a list request: returns a page of the key's jobs.
pub(super) async fn handle(
    services: &Services,
    snapshot: &Snapshot,
    key: &Arc<Key>,
    client: &RequestHeader,
) -> Result<Response, RequestError> {
    let text = client.uri.query().unwrap_or_default();
    let query = Query::read(text).ok_or(Refusal::Head(HeadFault::BadQuery))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let mut page = JobsAfter {
        after: query.after.as_ref().map(JobId::as_str),
        ascending: query.ascending,
        // One job more than is shown is read, to know whether there are more.
        limit: limit + 1,
    };
    let ledger = services.billing.ledger();
    let mut jobs = ledger.jobs(&key.name, &page).await?;
    let after;
    if let (None, Some(told)) = (&jobs, page.after) {
        after = services.own_job(snapshot, key, told).await?;
        if !after.is_confirmed() {
            return Err(Unavailable::transient("the job is not confirmed yet").into());
        }
        page.after = Some(&after.job.id);
        jobs = ledger.jobs(&key.name, &page).await?;
    }
    let mut jobs = jobs.ok_or(Refusal::NotFound(NotFound::Job))?;
    let has_more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let data = describe(services, snapshot, &jobs).await;
    fn id(job: Option<&Job>) -> Option<&str> {
        job.map(|job| &*job.id)
    }
    let (first, last) = (Value::from(id(jobs.first())), Value::from(id(jobs.last())));
    // An empty page has no id after which a next page could begin.
    let has_more = has_more && !jobs.is_empty();
    let data = data.join(",");
    // Each job is inserted as its channel wrote it, byte for byte.
    let body = format!(
        "{{\"object\":\"list\",\"first_id\":{first},\"last_id\":{last},\
         \"has_more\":{has_more},\"data\":[{data}]}}"
    );
    Ok(Response::json(StatusCode::OK, body.into()))
}

/// Handles a request for the models that `key` may use, or for the model `name`. A model is left out if no
/// channel that the key may use serves it. The answer comes from the configuration, and no channel is
/// asked.
pub(super) fn models(
    snapshot: &Snapshot,
    key: &Key,
    name: Option<&str>,
) -> Result<Response, Refusal> {
    let channels = snapshot.channels.all();
    let is_served = |model: &str| {
        let mut specs = channels.iter().map(|channel| channel.spec());
        specs.any(|spec| key.may_use_channel(&spec.name) && spec.models.contains(model))
    };
    let offers = policy::offers(&snapshot.config.catalog, key).into_iter();
    let mut offers = offers.filter(|offer| is_served(offer.model.name()));
    let body = match name {
        Some(name) => {
            let offer = offers.find(|offer| **offer.model.name() == *name);
            let offer = offer.ok_or(Refusal::NotFound(NotFound::Model))?;
            described_model(&offer, &key.group.currency)
        }
        None => {
            let data = offers.map(|offer| described_model(&offer, &key.group.currency));
            json!({ "object": "list", "data": data.collect::<Vec<_>>() })
        }
    };
    Ok(Response::json(StatusCode::OK, body.to_string().into()))
}

/// Describes a model as OpenAI's API does, and adds the sizes and seconds that the key may request and their
/// prices. `created` is 0, since it is not known when a model was created.
fn described_model(offer: &Offer<'_>, currency: &str) -> Value {
    let model = offer.model;
    let sizes = offer.sizes.iter();
    let sizes = sizes.map(|(size, price)| (size.name.to_string(), price.to_string().into()));
    let seconds: Vec<_> = offer.seconds.iter().map(|s| &*s.text).collect();
    let (size, default) = (&model.default_size().name, &model.default_seconds().text);
    let may_size = offer.sizes.iter().any(|(allowed, _)| allowed.name == *size);
    let may_seconds = offer.seconds.iter().any(|allowed| allowed.text == *default);
    json!({
        "id": &**model.name(),
        "object": "model",
        "created": 0,
        "owned_by": "tollgate",
        "seconds": seconds,
        "default_seconds": may_seconds.then_some(&**default),
        "price_per_second": sizes.collect::<serde_json::Map<_, _>>(),
        "default_size": may_size.then_some(&**size),
        "currency": currency,
    })
}

/// Handles a request for the usage of the limits of a key and of its group, by one read of the ledger's
/// counters. The response contains nothing about other keys or about channels.
pub(super) async fn usage(services: &Services, key: &Key) -> Result<Response, Refusal> {
    let now = services.now();
    let usage = services.billing.ledger().usage(key, now).await?;
    let limits = usage.iter().filter_map(|usage| {
        let scope = match usage.scope {
            Scope::Key(_) => "key",
            Scope::Group(_) => "group",
            Scope::Channel(_) => return None,
        };
        Some(described_limit(usage, scope, &key.group, now))
    });
    let body = json!({
        "object": "usage",
        "key": &*key.name,
        "currency": &*key.group.currency,
        "multiplier": key.group.multiplier.to_string(),
        "as_of": now.seconds(),
        "limits": limits.collect::<Vec<_>>(),
    });
    Ok(Response::json(StatusCode::OK, body.to_string().into()))
}

/// Describes the state of a limit as JSON. For a budget at list price, the member `billed` has the same
/// amounts converted to what the client pays, at the present terms of `group`.
fn described_limit(usage: &Usage, scope: &str, group: &Group, now: Timestamp) -> Value {
    let (limit, used) = (usage.limit, usage.used);
    let (measure, remaining) = (limit.measure, limit.remaining(used));
    let amount = |nanos| Amount::from_nanos(nanos).unwrap_or(Amount::MAX);
    let value = |value: u64| match measure.is_budget() {
        true => Value::from(amount(value).to_string()),
        false => value.into(),
    };
    let terms = Terms::from(group);
    let billed = |nanos| terms.billed(nanos).map(|billed| billed.to_string());
    let billed = (measure == Measure::ListCost).then(|| {
        json!({
            "limit": billed(limit.max),
            "used": billed(used),
            "remaining": billed(remaining),
            "currency": &*terms.currency,
        })
    });
    let has_window = measure != Measure::InFlight;
    json!({
        "scope": scope,
        "measure": measure.name(),
        "window": has_window.then(|| limit.window.name()),
        "limit": value(limit.max),
        "used": value(used),
        "remaining": value(remaining),
        "currency": match measure {
            Measure::ListCost => Some("USD"),
            Measure::BilledCost => Some(&*group.currency),
            _ => None,
        },
        "billed": billed.filter(|billed| billed["limit"].is_string()),
        "resets_at": limit.window.end(now),
    })
}

/// Describes each job as JSON, in the order of `jobs`.
async fn describe(services: &Services, snapshot: &Snapshot, jobs: &[Job]) -> Vec<String> {
    let page = PageRequests {
        until: Instant::now() + WITHIN,
        permits: Semaphore::new(MAX_CONCURRENT),
        silent: Mutex::default(),
    };
    let mut described = Vec::with_capacity(jobs.len());
    for job in jobs {
        described.push(describe_one(services, snapshot, job, &page));
    }
    join_all(described).await
}

async fn describe_one(
    services: &Services,
    snapshot: &Snapshot,
    job: &Job,
    page: &PageRequests,
) -> String {
    let (billing, name) = (&services.billing, &job.charge.channel);
    let _permit = page.permits.acquire().await;
    if let Some(channel) = snapshot.channels.at(name, job.address.as_deref())
        && channel.state() != ChannelState::Off
        && !page.silent().contains(name)
    {
        let entry = billing.entry(job);
        let status = fetch_status(billing, &services.client, snapshot, channel, &entry);
        match timeout_at(page.until, status).await {
            Ok(Ok(report)) => {
                // Outside the timeout, which could stop a settlement between the ledger and the metrics.
                let config = &snapshot.config;
                billing.settle(&entry, &report.job, config).await;
                if let Some(json) = as_json(&report.body) {
                    return json;
                }
            }
            Ok(Err(error)) if !(error.is_channel_down() || error.is_slow()) => {}
            Ok(Err(_)) | Err(_) => {
                page.silent().insert(name.clone());
            }
        }
    }
    from_ledger(job).to_string()
}

/// Returns `body`, a job as its channel wrote it, if it is valid JSON and so can be part of another JSON
/// document. The gate's own reader accepts more than valid JSON.
fn as_json(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(text.to_owned())
}

/// The deadline, the limit of concurrency and the silent channels of the status requests for one page.
struct PageRequests {
    until: Instant,
    permits: Semaphore,
    /// The names of channels that failed or were too slow, and are not asked again for this page.
    silent: Mutex<HashSet<Arc<str>>>,
}

impl PageRequests {
    fn silent(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes a job as JSON from its record in the ledger alone, without an answer of its channel.
fn from_ledger(job: &Job) -> Value {
    let status = match (job.end.as_deref(), job.resolution) {
        (Some(end @ ("completed" | "failed" | "cancelled")), _) => end,
        (_, Some(Resolution::Posted)) => "completed",
        (_, Some(Resolution::Voided)) => "failed",
        (_, None) => "in_progress",
    };
    json!({
        "id": &*job.id,
        "object": "video",
        "model": &*job.charge.model,
        "status": status,
        "progress": if status == "completed" { 100 } else { 0 },
        "created_at": job.created.seconds(),
        "size": &*job.charge.size,
        "seconds": job.charge.seconds.to_string(),
        "remixed_from_video_id": job.remix_of.as_deref(),
    })
}

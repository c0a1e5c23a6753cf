//! `GET /v1/videos`: the jobs of one key, out of the lists of accounts that many keys share.
//!
//! A channel lists every job of its account. So its pages do not go through: they are read
//! here, and what the ledger does not know as this key's own is left out. A channel that
//! fails fails the list: a part of it would look like the whole.

use std::sync::Arc;

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Value, json};

use super::create::Reply;
use super::exchange::{Exchange, NoAnswer};
use super::head::{Framing, upstream_head};
use super::refusal::{Busy, ChannelFault, HeadFault, Refusal};
use super::route::{JobId, Route};
use super::upload::Stopped;
use super::{Gate, State, now};
use crate::channel::LiveChannel;
use crate::metrics::seconds;
use crate::policy::Key;

/// How many jobs one page of a channel is asked for, and one page for a client holds.
const PAGE: usize = 100;
/// How many pages of channels are read for one page of a client: a key with few jobs among
/// many others' gets a short page with `has_more`.
const PAGES: usize = 20;
const DEFAULT_LIMIT: usize = 20;

/// What a client asks for.
#[derive(Default)]
struct Query {
    limit: Option<usize>,
    ascending: bool,
    after: Option<JobId>,
}

/// A channel's page.
#[derive(Deserialize)]
struct Page {
    data: Vec<Value>,
    #[serde(default)]
    has_more: bool,
}

impl Query {
    fn read(text: &str) -> Option<Self> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("limit", n) => query.limit = Some(n.parse().ok().filter(|n| *n <= PAGE)?),
                ("order", "asc") => query.ascending = true,
                ("order", "desc") => query.ascending = false,
                ("after", id) => query.after = Some(JobId::new(id)?),
                _ => {}
            }
        }
        Some(query)
    }
}

impl Gate {
    /// The page that a client asks for.
    pub(super) async fn list(
        &self,
        state: &State,
        key: &Arc<Key>,
        client: &RequestHeader,
    ) -> Result<Reply, Stopped> {
        let text = client.uri.query().unwrap_or_default();
        let query = Query::read(text).ok_or(Refusal::Head(HeadFault::BadQuery))?;
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        let serves = |c: &&Arc<LiveChannel>| c.spec().models.iter().any(|m| key.allow.model(m));
        let mut channels = state.channels.all().iter().filter(serves).peekable();
        let mut after = None;
        if let Some(id) = query.after {
            let last = self.own_job(key, id.as_str()).await?;
            while channels
                .next_if(|c| c.spec().name != last.charge.channel)
                .is_some()
            {}
            after = Some(id);
        }
        let (mut own, mut more, mut pages) = (Vec::new(), false, 0);
        'channels: for channel in channels {
            loop {
                if own.len() >= limit || pages == PAGES {
                    more = true;
                    break 'channels;
                }
                pages += 1;
                let page = self
                    .page(state, client, channel, query.ascending, &after)
                    .await?;
                let last = page
                    .data
                    .last()
                    .and_then(|job| JobId::new(job["id"].as_str()?));
                for job in page.data {
                    if self.owns(key, channel, &job).await? {
                        if own.len() == limit {
                            more = true;
                            break 'channels;
                        }
                        own.push(job);
                    }
                }
                after = last.filter(|_| page.has_more);
                if after.is_none() {
                    break;
                }
            }
        }
        let id = |job: Option<&Value>| job.map_or(Value::Null, |job| job["id"].clone());
        let body = json!({
            "object": "list",
            "first_id": id(own.first()),
            "last_id": id(own.last()),
            // There is no way on from a page without an id.
            "has_more": more && !own.is_empty(),
            "data": own,
        });
        let body = Bytes::from(body.to_string());
        let failed = |error: Box<pingora::Error>| Stopped::Gone(error);
        let mut head = ResponseHeader::build(200, Some(3)).map_err(failed)?;
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "private, no-store"),
        ] {
            head.insert_header(name, value).map_err(failed)?;
        }
        head.insert_header("content-length", body.len())
            .map_err(failed)?;
        Ok(Reply {
            head: Box::new(head),
            body,
        })
    }

    async fn owns(&self, key: &Key, at: &LiveChannel, job: &Value) -> Result<bool, Stopped> {
        let Some(id) = job["id"].as_str() else {
            return Ok(false);
        };
        let job = self.ledger().job(id).await?;
        Ok(job.is_some_and(|job| {
            job.charge.payer.key == key.name && job.charge.channel == at.spec().name
        }))
    }

    /// One page of everything that a channel's account has.
    async fn page(
        &self,
        state: &State,
        client: &RequestHeader,
        channel: &Arc<LiveChannel>,
        ascending: bool,
        after: &Option<JobId>,
    ) -> Result<Page, Stopped> {
        let order = if ascending { "asc" } else { "desc" };
        let mut query = format!("limit={PAGE}&order={order}");
        if let Some(after) = after {
            query = format!("{query}&after={}", after.as_str());
        }
        let broken = || Refusal::Channel(ChannelFault::Broken { created: false });
        let mut head =
            RequestHeader::build("GET", Route::List.path("", Some(&query)).as_bytes(), None)
                .map_err(|_| broken())?;
        for name in ["user-agent", "x-request-id"] {
            if let Some(value) = client.headers.get(name) {
                let _ = head.insert_header(name, value.clone());
            }
        }
        upstream_head(&mut head, &Route::List, channel).map_err(|_| broken())?;
        let name = &channel.spec().name;
        let opened =
            Exchange::open(&self.connector, channel, head, Framing::Length(0), now()).await;
        let mut exchange = opened.map_err(|error| {
            log::warn!("channel {name}: {}", error.reason);
            self.metrics.channel_error(name, error.kind);
            channel.failed(now());
            Refusal::Busy(Busy::Channels)
        })?;
        let fault = |kind, fault| {
            self.metrics.channel_error(name, kind);
            Refusal::Channel(fault)
        };
        let created = false;
        if exchange.complete_without_body().await.is_err() {
            return Err(fault("broken", ChannelFault::Broken { created }).into());
        }
        // A page holds up to a hundred jobs, each with its prompt.
        let most = state.config.bounds.answer_bytes.saturating_mul(8);
        let within = channel.spec().answer_timeout;
        let answer = exchange.answer(&self.connector, most, within).await;
        let (answer, waited) = answer.map_err(|no_answer| match no_answer {
            NoAnswer::Timeout => fault("timeout", ChannelFault::Timeout { created }),
            NoAnswer::Broken => fault("broken", ChannelFault::Broken { created }),
        })?;
        let labels = [&**name, Route::List.label()];
        let histogram = &self.metrics.upstream_response;
        histogram
            .with_label_values(&labels)
            .observe(seconds(waited));
        if !answer.status().is_success() {
            // Where it is about the account, that is what the client hears.
            self.pass_on(name, answer)?;
            return Err(Refusal::Channel(ChannelFault::Broken { created }).into());
        }
        let page = serde_json::from_slice(&answer.body).ok();
        let page = page.filter(|_| !answer.cut);
        Ok(page.ok_or_else(|| fault("status", ChannelFault::Broken { created }))?)
    }
}

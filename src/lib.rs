#![forbid(unsafe_code)]
#![warn(missing_docs)]
//! Tollgate: a streaming gate for paid video generation.
//!
//! It stands in front of channels that speak the OpenAI Videos API (`/v1/videos`). It inspects the body
//! of a create as it streams, without buffering it; lets through what the client's key may request;
//! replaces the key by the channel's credential; charges the key exactly once for what is rendered; and
//! reports to Prometheus.
//!
//! # The path of a create
//!
//! ```text
//!  client ──head──▶ gate::request_head  type, length, cheap limits
//!         ──body──▶ inspect             scanner ▶ fields ▶ policy: safe bytes are forwarded at once
//!                   inspect::holdback   holds back all other bytes, and always the last ones
//!         ──end───▶ inspect.finish      ▶ Permit ▶ ledger.reserve ▶ the last bytes ──▶ channel
//!         ◀─answer─ gate::create_end    2xx with a job confirms, proof of no job voids, else unknown
//!  polls  ◀───────▶ gate::retrieve      completed posts, failed or cancelled voids
//!  videos ◀───────▶ gate::content       downloads as they come; gate::delete notes deletions
//!                   billing::poller     polls jobs that no client polls
//!                   billing::reconcile  looks in the channel's list for jobs of unanswered creates
//! ```
//!
//! # Layers
//!
//! Each module uses only modules that come earlier in this list; `tests/architecture.rs` checks it.
//!
//! | module | holds |
//! |---|---|
//! | `map`, `sha256` | hash maps for names and ids that clients cannot choose; SHA-256 digests |
//! | `in_progress` | counts of requests, connections and writes in progress, and the wait for their end |
//! | `calendar` | times in RFC 3339, as in the configuration and in channels' answers; calendar dates |
//! | `plural` | the text of a number with its noun in the singular or plural: `1 request`, `2 requests` |
//! | [`money`] | exact amounts |
//! | [`key`] | client key digests; secrets that cannot be printed |
//! | [`catalog`] | models, sizes, seconds, list prices; quotes: the costs of one request |
//! | [`certificate`] | X.509 certificates and private keys from PEM |
//! | [`policy`] | what a key may ask for, how much of it and until when; permits and refusals; CORS |
//! | [`clock`] | the time of day, which tests can set, and a monotonic time; deadlines use `Instant` |
//! | [`form`] | the interface by which the scanners report the fields of a create body, form or JSON |
//! | [`multipart`], [`json`] | the strict push scanners |
//! | [`image`] | the type and pixel size of a picture, from its first bytes |
//! | [`inspect`] | the inspector of a create request: scanners, image sizes and policy together |
//! | [`dialect`] | how channels spell the API: status words, where values are, error shapes |
//! | `route` | the known routes and their paths |
//! | [`ledger`] | charges, jobs, limits, idempotency keys, bills, disputes; in memory, SQLite or PostgreSQL |
//! | [`access_log`] | one line for each request: its id, client, status, job and times |
//! | [`channel`] | channels (upstream accounts) as configured |
//! | [`metrics`] | all metric families |
//! | [`config`] | the file format, and the validated configuration |
//! | [`upstream`] | a client of the channels: pool, exchange, health, choice, headers |
//! | [`runtime`] | the configuration in force |
//! | `billing` | the life of a charge: reserve, confirm, post, void; matching; poller, reconciler |
//! | [`gate`] | HTTP handlers |
//! | [`server`], [`admin`] | the listener for clients, without Pingora's proxy loop; the one for operators |
//! | `mock` | a faithful mock channel; uses none of the others but `sha256` |
//! | `cli` | the commands; the process: its log, systemd, files to watch |
//!
//! # Architecture invariants
//!
//! - The modules before [`ledger`] in the list do no IO, and except for [`clock`] read no clock: bytes and
//!   times are parameters.
//! - No upstream receives the last byte of a create before its permit and its reservation
//!   exist. One function completes a create (`upstream/exchange.rs`), and its callers hold
//!   both.
//! - A forwarded body is byte for byte what the client sent: slices of the input buffers,
//!   never rewritten.
//! - Memory for a request is bounded by constants, whatever its size or order of fields.
//! - Each charge is resolved once, whoever sees the end first: the ledger decides in one atomic step, and
//!   reports the change only to the call that made it, and only that call updates the metrics.
//! - Only headers on an allow list pass, in both directions.
//!
//! Absent on purpose: a request that may have created a job is never sent again, nor is a body that was
//! streamed (a body that is held whole goes to the next channel if one has proved that it created
//! nothing); no body is buffered to be parsed by a library; nothing about Sora is in the gate's code (the
//! mock channel has its models), all of it is in the configuration.
//!
//! # Embedding
//!
//! A Pingora proxy puts the gate in front of its Videos API by calling [`gate::Gate::filter`]. Other
//! requests go on as before:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use pingora::prelude::*;
//! use tollgate::gate::{Background, Gate};
//! use tollgate::ledger::SqliteLedger;
//! use tollgate::metrics::Metrics;
//!
//! /// A proxy with routes of its own, and the gate in it.
//! struct MyProxy {
//!     gate: Arc<Gate>,
//! }
//!
//! #[async_trait]
//! impl ProxyHttp for MyProxy {
//!     type CTX = ();
//!     fn new_ctx(&self) {}
//!     async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
//!         self.gate.filter(session).await
//!     }
//!     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
//!         Ok(Box::new(HttpPeer::new(("127.0.0.1", 3000), false, String::new())))
//!     }
//! }
//!
//! fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//!     let config = tollgate::config::load(Path::new("conf/tollgate.yaml"))?;
//!     let ledger = Arc::new(SqliteLedger::open(Path::new("tollgate.db"))?);
//!     let gate = Gate::new(config, ledger, Arc::new(Metrics::new()?));
//!
//!     let mut server = Server::new(None)?;
//!     server.bootstrap();
//!     let proxy = MyProxy { gate: gate.clone() };
//!     let mut proxy = http_proxy_service(&server.configuration, proxy);
//!     proxy.add_tcp("0.0.0.0:8080");
//!     server.add_service(proxy);
//!     server.add_service(background_service("tollgate", Background::new(gate)));
//!     server.run_forever();
//! }
//! ```
//!
//! [`gate::Background`] follows jobs to their end and reconciles requests that got no answer; without it,
//! charges wait for clients to poll.

pub mod access_log;
pub mod admin;
mod billing;
mod calendar;
pub mod catalog;
pub mod certificate;
pub mod channel;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod form;
pub mod gate;
pub mod image;
mod in_progress;
pub mod inspect;
pub mod json;
pub mod key;
pub mod ledger;
mod map;
pub mod metrics;
#[cfg(feature = "mock")]
pub mod mock;
pub mod money;
pub mod multipart;
mod plural;
pub mod policy;
mod route;
pub mod runtime;
pub mod server;
mod sha256;
pub mod upstream;

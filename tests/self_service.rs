//! What clients learn of their own limits: the usage, the headers of an answer, the words of a refusal.
#![forbid(unsafe_code)]

#[path = "self_service/cors.rs"]
mod cors;
#[path = "support/engines.rs"]
mod engines;
#[path = "self_service/headers.rs"]
mod headers;
mod support;
#[path = "self_service/usage.rs"]
mod usage;

use support::client::{Answer, Body, Request};
use support::{Setup, form_type, plain_form};
use tollgate::clock::Clock;
use tollgate::policy::Timestamp;

/// 2026-11-28T11:59:20Z: 40 s before the end of a minute and of an hour.
const NOON: Timestamp = Timestamp(1_795_867_160_000);

/// A gate whose time stands still at [`NOON`], so that no window ends while a test runs.
fn clock() -> Clock {
    Clock::manual(NOON)
}

/// The demonstration with these limits of the key `demo`, and of its group.
fn limited(own: &str, shared: &str) -> Setup {
    let key = "  - name: demo                    # sk-tollgate-demo\n";
    let group = "multiplier: 5, currency: CNY";
    Setup::default()
        .replacing(key, &format!("{key}    limits: {{ {own} }}\n"))
        .replacing(group, &format!("{group}, limits: {{ {shared} }}"))
}

/// The usual create: 4 seconds at a list price of 0.40 USD.
fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

/// The headers of an answer that tell how limits stand.
fn rate_limits(answer: &Answer) -> Vec<(&str, &str)> {
    let lines = answer.head.lines().skip(1);
    let headers = lines.filter_map(|line| line.split_once(": "));
    let mut told: Vec<_> = headers
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-ratelimit-"))
        .collect();
    told.sort_unstable();
    told
}

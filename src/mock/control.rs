//! Answers the control routes, which show the records and set the faults over HTTP.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use super::State;
use super::answer::{Answer, ApiError, json};
use super::body::read_short;
use super::fault::{Extent, Fault};

/// Answers a request below `/mock/`.
pub(super) async fn answer(state: &State, request: Request<Incoming>) -> Answer {
    let ok = StatusCode::OK;
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/mock/stats") => json(ok, &state.stats()),
        (&Method::GET, "/mock/requests") => json(ok, &state.recorder.requests()),
        (&Method::GET, "/mock/jobs") => json(ok, &state.jobs.all()),
        (&Method::GET, "/mock/fault") => faults(state),
        (&Method::POST, "/mock/fault") => {
            let body = read_short(request.into_body()).await.unwrap_or_default();
            match set_faults(state, &body) {
                Ok(()) => faults(state),
                Err(message) => ApiError::new(StatusCode::BAD_REQUEST, message).answer(),
            }
        }
        (&Method::POST, "/mock/reset") => {
            state.reset();
            json(ok, &state.stats())
        }
        (method, path) => {
            let message = format!("No control route: {method} {path}");
            ApiError::new(StatusCode::NOT_FOUND, message).answer()
        }
    }
}

fn faults(state: &State) -> Answer {
    let names = state.faults.names();
    json(StatusCode::OK, &serde_json::json!({ "faults": names }))
}

fn set_faults(state: &State, body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        fault: Option<String>,
        times: Option<u32>,
        seconds: Option<u32>,
        percent: Option<u8>,
    }
    let wanted: Wanted = serde_json::from_slice(body).map_err(|error| {
        format!(
            "send {{\"fault\": \"create:500\"}}, with \"times\", \"seconds\" and \"percent\" as you \
             like: {error}"
        )
    })?;
    let faults = Fault::parse_list(wanted.fault.as_deref().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    let extent = Extent {
        times: wanted.times,
        lasts: wanted
            .seconds
            .map(|seconds| Duration::from_secs(seconds.into())),
        percent: wanted.percent,
    };
    state.faults.set(faults, extent);
    Ok(())
}

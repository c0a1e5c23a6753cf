//! Triggers a reload of the configuration when an operator asks for it over HTTP.

use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::channels::JSON;
use super::{TEXT, answer};
use crate::calendar::format_rfc3339;
use crate::config::{self, ConfigChange};

/// The maximum time to wait for a reload: the process reads some files, and may be reloading already.
const WITHIN: Duration = Duration::from_secs(60);

/// The outcome of a reload that put a configuration in force.
#[derive(Debug)]
pub struct Reloaded {
    /// The differences from the configuration before.
    pub change: ConfigChange,
    /// The names of changed settings that take effect only at the next start.
    pub next_start: Vec<&'static str>,
    /// The end of the validity of the listener's new certificate, in seconds since 1970; `None` if there is
    /// no new certificate. The error is the reason why the old certificate stays.
    pub certificate: Result<Option<u64>, String>,
}

/// The outcome of a reload; an error if the new configuration is not valid, and the old one stays in force.
pub type ReloadOutcome = Result<Reloaded, config::Error>;

/// A handle that asks the process to reload its configuration.
#[derive(Debug, Clone)]
pub struct ReloadTrigger(mpsc::Sender<oneshot::Sender<ReloadOutcome>>);

/// The receiver of the reload requests of a [`ReloadTrigger`]. Each request is a sender for its outcome.
pub type ReloadRequests = mpsc::Receiver<oneshot::Sender<ReloadOutcome>>;

/// Makes a trigger and the receiver of its requests.
pub fn reload_trigger() -> (ReloadTrigger, ReloadRequests) {
    // Capacity 1: each caller waits for its outcome, and more requests at a time would read the same
    // files.
    let (sender, requests) = mpsc::channel(1);
    (ReloadTrigger(sender), requests)
}

/// Triggers a reload, and answers with the changes or the problems.
pub(super) async fn reload(trigger: Option<&ReloadTrigger>) -> Response<Vec<u8>> {
    let Some(trigger) = trigger else {
        let why = "this process does not read its configuration anew\n";
        return answer(StatusCode::NOT_IMPLEMENTED, TEXT, why);
    };
    let asked = async {
        let (reply, outcome) = oneshot::channel();
        trigger.0.send(reply).await.ok()?;
        outcome.await.ok()
    };
    match timeout(WITHIN, asked).await {
        Ok(Some(outcome)) => described(&outcome),
        _ => {
            let why = "the process stops, or is held up: see its log\n";
            answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why)
        }
    }
}

/// Describes the outcome of a reload as a response. Problems of the configuration or the listener's
/// certificate are listed, with the status 422 (unprocessable content, RFC 9110, section 15.5.21).
fn described(outcome: &ReloadOutcome) -> Response<Vec<u8>> {
    let (status, body) = match outcome {
        Ok(reloaded) => {
            let Reloaded {
                change,
                next_start,
                certificate,
            } = reloaded;
            let body = json!({
                "status": match certificate {
                    Ok(_) => "loaded",
                    Err(_) => "loaded, and the listener's old certificate stays",
                },
                "hash": change.now.to_hex(),
                "changed": !change.is_empty(),
                "change": change.to_string(),
                "at_next_start": next_start,
                "certificate_not_after": match certificate {
                    Ok(until) => until.map(format_rfc3339),
                    Err(_) => None,
                },
                "problems": certificate.as_ref().err().map(|problem| vec![problem]),
            });
            let status = match certificate {
                Ok(_) => StatusCode::OK,
                Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
            };
            (status, body)
        }
        Err(error) => {
            let text = error.to_string();
            let body = json!({
                "status": "refused, and the old configuration stays in force",
                "problems": text.lines().collect::<Vec<_>>(),
            });
            (StatusCode::UNPROCESSABLE_ENTITY, body)
        }
    };
    answer(status, JSON, &format!("{body:#}\n"))
}

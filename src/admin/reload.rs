//! Has the process read its configuration anew when an operator asks for it here.

use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::channels::JSON;
use super::{TEXT, answer};
use crate::calendar::format_rfc3339;
use crate::config::{self, ConfigChange};

/// How long the process is waited for: it reads some files, and may be at it already.
const WITHIN: Duration = Duration::from_secs(60);

/// A configuration that was put in force.
#[derive(Debug)]
pub struct Reloaded {
    /// What it changes.
    pub change: ConfigChange,
    /// What waits for the next start, by its keys.
    pub next_start: Vec<&'static str>,
    /// Until when the certificate is valid that replaces the listener's, in seconds since the epoch, where
    /// one does; or why the old one stays.
    pub certificate: Result<Option<u64>, String>,
}

/// What a reload came to.
pub type ReloadOutcome = Result<Reloaded, config::Error>;

/// Asks whoever reads the configuration to read it anew.
#[derive(Debug, Clone)]
pub struct ReloadTrigger(mpsc::Sender<oneshot::Sender<ReloadOutcome>>);

/// Receives the reloads that [`ReloadTrigger`] asks for, each with a channel for its outcome.
pub type ReloadRequests = mpsc::Receiver<oneshot::Sender<ReloadOutcome>>;

/// Makes a trigger and what it triggers.
pub fn reload_trigger() -> (ReloadTrigger, ReloadRequests) {
    // Each waits for its outcome: more at a time would only read the same files again.
    let (sender, requests) = mpsc::channel(1);
    (ReloadTrigger(sender), requests)
}

/// Has the configuration read anew, and answers what changed or what is wrong with it.
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

/// Describes what a reload came to. A configuration with problems is named with all of them, and is
/// unprocessable (RFC 9110, section 15.5.21).
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

//! Probes channels: sends a cheap request to a channel, whose answer shows whether creates can be sent there.

use std::sync::Arc;

use http::StatusCode;

use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::error::UpstreamError;
use super::fetch::FetchRequest;
use super::health::Event;
use crate::channel::Probe;
use crate::route::Route;

/// Requests one entry of a channel's list of jobs, which is the cheapest request there is. Returns the status
/// of the answer.
///
/// # Errors
/// The reason why the channel cannot be used, in words for operators.
pub async fn probe(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
) -> Result<StatusCode, String> {
    let status = status_of_list(client, channel).await?;
    let url = channel.spec().url.authority();
    match status.as_u16() {
        401..=403 => Err(format!(
            "{url} answers {status}: see the credential, and what its account may do"
        )),
        500.. => Err(format!("{url} answers {status}")),
        // A rate limit, or an unknown route: the server works, and has not refused the credential.
        _ => Ok(status),
    }
}

async fn status_of_list(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
) -> Result<StatusCode, String> {
    let url = channel.spec().url.authority();
    let request = FetchRequest::own(&Route::List, Some("limit=1"));
    let unreachable = |error| format!("{url} cannot be reached: {error}");
    let head = request.head(channel).map_err(unreachable)?;
    let exchange = client.send(channel, head, client.clock.now()).await;
    let mut exchange = exchange.map_err(unreachable)?;
    let answered = exchange.head(channel.spec().answer_timeout).await;
    let status = exchange.answered().map(|head| head.status);
    exchange.abort().await;
    match (answered, status) {
        (Ok(_), Some(status)) => Ok(status),
        (Err(UpstreamError::Connect(error)), _) => Err(format!("{url} cannot be reached: {error}")),
        _ => Err(format!("{url} gives no answer")),
    }
}

/// Sends the configured `probe` to a channel, and notes the outcome for the channel's health.
pub(crate) async fn probe_health(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
    probe: &Probe,
) {
    let path = format!("{}{}", channel.spec().url.base_path, probe.path);
    let request = FetchRequest {
        path: Some(&path),
        ..FetchRequest::own(&Route::List, None)
    };
    let began = client.clock.now();
    let event = match client.fetch_head(channel, request).await {
        Ok(exchange) => {
            let status = exchange.answered().map(|head| head.status);
            exchange.discard().await;
            status.and_then(shown_by)
        }
        // A failure to connect has been noted already, when the connection was tried.
        Err(UpstreamError::Connect(_)) => None,
        Err(UpstreamError::Timeout | UpstreamError::Broken { .. }) => Some(Event::ProbeFailed),
    };
    if let Some(event) = event {
        client.note(channel, event, began);
    }
}

/// Returns the health event that the status of a probe's answer shows; `None` for a status that shows none,
/// such as that of a rate limit or of a path that does not exist.
fn shown_by(status: StatusCode) -> Option<Event> {
    match status.as_u16() {
        200..=299 => Some(Event::Probed),
        401..=403 => Some(Event::Account),
        408 | 500.. => Some(Event::ProbeFailed),
        _ => None,
    }
}

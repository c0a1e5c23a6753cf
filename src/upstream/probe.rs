//! Asks a channel whether it can be used, before anybody depends on it.

use std::sync::Arc;

use http::StatusCode;

use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::fetch::FetchRequest;
use crate::route::Route;

/// Asks a channel for one entry of its list, as cheap a request as there is.
///
/// # Errors
/// Why it cannot be used, in words for operators.
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
        // A limit, or no such route: somebody is there who knows the account.
        _ => Ok(status),
    }
}

async fn status_of_list(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
) -> Result<StatusCode, String> {
    let url = channel.spec().url.authority();
    let request = FetchRequest::own(&Route::List, Some("limit=1"));
    let exchange = client.send(channel, &request).await;
    let mut exchange = exchange.map_err(|error| format!("{url} cannot be reached: {error}"))?;
    let answered = exchange.head(channel.spec().answer_timeout).await;
    let status = exchange.answered().map(|head| head.status);
    exchange.abort().await;
    match (answered, status) {
        (Ok(_), Some(status)) => Ok(status),
        _ => Err(format!("{url} gives no answer")),
    }
}

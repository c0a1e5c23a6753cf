//! Asks a channel whether it can be used, before anybody depends on it.

use std::sync::Arc;

use http::StatusCode;

use super::inquiry::own_headers;
use super::route::Route;
use super::{Gate, asking::Asked};
use crate::channel::LiveChannel;

impl Gate {
    /// Asks a channel for one entry of its list, as cheap a request as there is.
    ///
    /// # Errors
    /// Why it cannot be used, in words for operators.
    pub async fn probe(&self, channel: &Arc<LiveChannel>) -> Result<StatusCode, String> {
        let asked = Asked {
            method: http::Method::GET,
            route: &Route::List,
            job: None,
            query: Some("limit=1"),
            path: None,
            headers: own_headers(),
        };
        let head = self.send_once(channel, &asked).await?;
        let (status, url) = (head, channel.spec().url.authority());
        match status.as_u16() {
            401..=403 => Err(format!(
                "{url} answers {status}: see the credential, and what its account may do"
            )),
            // A limit, or no such route: somebody is there who knows the account.
            500.. => Err(format!("{url} answers {status}")),
            _ => Ok(status),
        }
    }

    async fn send_once(
        &self,
        channel: &Arc<LiveChannel>,
        asked: &Asked<'_>,
    ) -> Result<StatusCode, String> {
        let url = channel.spec().url.authority();
        let exchange = self.send(channel, asked).await;
        let mut exchange =
            exchange.map_err(|error| format!("{url} cannot be reached: {}", error.reason))?;
        let answered = exchange.head(channel.spec().answer_timeout).await;
        let status = exchange.answered().map(|head| head.status);
        exchange.abort().await;
        match (answered, status) {
            (Ok(_), Some(status)) => Ok(status),
            _ => Err(format!("{url} gives no answer")),
        }
    }
}

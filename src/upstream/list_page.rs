//! Fetches a page of a channel's list of jobs.

use std::sync::Arc;

use http::header;

use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::error::QueryError;
use super::fetch::FetchRequest;
use super::job_status::unreadable;
use crate::dialect::{ListReader, Page, percent_encoded};
use crate::route::Route;

/// The page sizes that the gate requests, in jobs, largest first. After a page that cannot be read, it
/// requests smaller pages of that channel.
const PAGES: [usize; 4] = [100, 20, 5, 1];
/// The maximum length of a page that is read, as a multiple of `bounds.answer_bytes`. Only the facts by
/// which the gate recognises jobs are kept of a page.
const PAGE_ANSWERS: usize = 64;

/// A page of a channel's list of jobs.
pub(crate) struct ListPage {
    pub(crate) page: Page,
    /// The header `Date` of the page: the time by the channel's clock.
    pub(crate) date: Option<String>,
}

/// The reason why a page was not read, and whether a page with fewer jobs may be readable.
struct Failure {
    error: QueryError,
    may_be_too_long: bool,
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self {
            may_be_too_long: error.is_slow(),
            error,
        }
    }
}

/// Fetches one page of the list of all jobs of a channel's account, newest first. The page begins after the
/// job `after`, or with the newest job. `answer_bytes` is the configured `bounds.answer_bytes`.
///
/// The page is read as it streams in, in bounded memory. If a page is too long, too slow or breaks off, the
/// jobs in its beginning are returned, and smaller pages are requested from then on.
///
/// # Errors
/// Where nothing of the page can be read. The error has been counted and logged.
pub(crate) async fn fetch(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
    after: Option<&str>,
    answer_bytes: usize,
) -> Result<ListPage, QueryError> {
    loop {
        let size = channel.page_size(&PAGES);
        match fetch_sized(client, channel, after, size, answer_bytes).await {
            Ok(listed) if listed.page.whole => return Ok(listed),
            Ok(mut listed) if !listed.page.jobs.is_empty() => {
                channel.reduce_page_size(size);
                listed.page.has_more = Some(true);
                return Ok(listed);
            }
            Ok(_) if channel.reduce_page_size(size) => {}
            Ok(_) => return Err(QueryError::Unreadable),
            Err(failure) if failure.may_be_too_long && channel.reduce_page_size(size) => {}
            Err(failure) => return Err(failure.error),
        }
    }
}

async fn fetch_sized(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
    after: Option<&str>,
    size: usize,
    answer_bytes: usize,
) -> Result<ListPage, Failure> {
    let mut query = format!("limit={size}&order=desc");
    if let Some(after) = after {
        query = format!("{query}&after={}", percent_encoded(after));
    }
    let name = &channel.spec().name;
    let route = Route::List;
    let request = FetchRequest::own(&route, Some(&query));
    let exchange = client.fetch_head(channel, request).await;
    let exchange = exchange.map_err(QueryError::from)?;
    let Some(head) = exchange.answered() else {
        return Err(QueryError::Unreadable.into());
    };
    let status = head.status;
    let date = head.headers.get(header::DATE);
    let date = date.and_then(|date| date.to_str().ok().map(str::to_owned));
    if !status.is_success() {
        exchange.discard().await;
        return Err(Failure {
            error: unreadable(client, channel, &route, status, "no_list"),
            // The channel may have its own maximum for the jobs on a page.
            may_be_too_long: matches!(status.as_u16(), 400 | 413 | 422),
        });
    }
    let max_bytes = answer_bytes.saturating_mul(PAGE_ANSWERS);
    let mut length = 0;
    let mut reader = ListReader::new(&channel.spec().dialect);
    let read = exchange.read_through(|piece| {
        length += piece.len();
        reader.push(piece) && length <= max_bytes
    });
    let ended = read.await;
    if let Err(error) = &ended {
        client.unanswered(channel, error);
    }
    let Some(page) = reader.finish() else {
        client.failed(name, "no_list", "what it answers for a list is none");
        return Err(Failure {
            error: QueryError::Unreadable,
            // Where a page breaks off before its first job, a shorter one may not.
            may_be_too_long: ended.is_err(),
        });
    };
    note_unreadable_jobs(client, name, &page);
    Ok(ListPage { page, date })
}

/// Counts and logs a page that could not be read as a whole, or that has unreadable jobs.
fn note_unreadable_jobs(client: &UpstreamClient, name: &str, page: &Page) {
    let unreadable = page.unreadable();
    if page.whole && unreadable == 0 {
        return;
    }
    let entries = page.entries;
    let end = match page.whole {
        true => "",
        false => ", and it was not read to its end",
    };
    let what =
        format_args!("of a page of its list {unreadable} of {entries} jobs could not be read{end}");
    client.failed(name, "no_list", what);
}

//! Converts a channel's list and the ledger's entries into the input of matching, and a listed job into
//! the answer to its request. It does no IO.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::list_reader::{Listing, Page};
use crate::billing::matching::{Candidate, ListedJob};
use crate::billing::public_id::with_public_ids;
use crate::catalog::Catalog;
use crate::dialect::{self, JobAnswer, Status};
use crate::ledger::{FirstAnswer, PromptDigest, Unmatched};
use crate::policy::Timestamp;
use crate::upstream::job_status::JobReport;

/// Converts a page of the channel's list into the jobs and fields that matching needs.
pub(super) fn read_page(page: dialect::Page, catalog: &Catalog) -> Page {
    let has_more = page.has_more.unwrap_or(page.entries > 0);
    let time = |seconds: u64| Timestamp(seconds.saturating_mul(1000));
    let to_listing = |answer: JobAnswer| {
        let id = answer.id.clone()?;
        let offered = answer.model.as_deref();
        let offered = offered.and_then(|name| model_of(catalog, name));
        let job = ListedJob {
            id,
            offered: offered.map(Arc::from),
            model: answer.model.as_deref().map(Arc::from),
            prompt: answer.prompt.map(PromptDigest),
            size: answer.size.as_deref().map(Arc::from),
            seconds: answer.seconds,
            source: answer.source.as_deref().map(Arc::from),
            created: answer.created.map(time),
        };
        Some(Listing { job, answer })
    };
    let nameless = page.nameless.iter().map(|job| job.created.map(time));
    Page {
        nameless: nameless.collect(),
        jobs: page.jobs.into_iter().filter_map(to_listing).collect(),
        last: page.last,
        has_more,
    }
}

/// Finds the catalog's model for a channel's model name: the name itself, or the model that the name is a
/// snapshot of (`sora-2-2025-10-06`, but `sora-2-pro` is a model of its own). `None` if the catalog has
/// neither.
fn model_of<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c str> {
    let is = |model: &str| {
        let rest = name.strip_prefix(model);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let models = catalog.models().map(|model| &**model.name());
    models
        .filter(|model| is(model))
        .max_by_key(|model| model.len())
}

/// Returns the creation time from which on reservations may be missing from `entries`, the result of a
/// query with `limit`; `None` if the query returned fewer entries than that.
pub(super) fn unseen_from(entries: &[Unmatched], limit: u32) -> Option<Timestamp> {
    (entries.len() >= limit as usize).then(|| entries.last().map(|last| last.created))?
}

/// Converts a reservation into a candidate, which states what its request asked for. `source` is the
/// upstream id of the job that was to be remixed.
pub(super) fn candidate(unmatched: &Unmatched, source: Option<Arc<str>>) -> Candidate {
    let charge = &unmatched.charge;
    let (size, seconds) = unmatched.asked_for();
    Candidate {
        id: unmatched.id,
        key: charge.payer.key.clone(),
        model: charge.model.clone(),
        prompt: unmatched.prompt,
        size: size.clone(),
        seconds,
        source,
        state: unmatched.state,
        fingerprint: unmatched.fingerprint,
        created: unmatched.created,
        since: unmatched.since,
        channel_clock: unmatched.channel_clock,
    }
}

/// Makes the answer that repetitions of a request get. It is the job of the channel's status report if
/// there is a report that names the job, and otherwise the job of the list. `id` and `source` are the
/// public ids of the job and of its source.
pub(super) fn first_answer(
    unknown: &Unmatched,
    listing: &Listing,
    report: Option<&JobReport>,
    id: &str,
    source: Option<&str>,
) -> FirstAnswer {
    let charge = &unknown.charge;
    let listed = || {
        let seconds = listing.answer.seconds.unwrap_or(charge.seconds);
        let job = json!({
            "id": id,
            "object": "video",
            "model": &*charge.model,
            "status": listing.answer.status.unwrap_or(Status::Queued).public_name(),
            "created_at": listing.job.created.unwrap_or(unknown.created).seconds(),
            "size": listing.answer.size.as_deref().unwrap_or(&charge.size),
            "seconds": seconds.to_string(),
            "remixed_from_video_id": unknown.remix_of.as_deref(),
        });
        Bytes::from(job.to_string())
    };
    let report = report.filter(|report| report.job.id.is_some());
    let report = report.map(|report| with_public_ids(&report.job, &report.body, id, source));
    FirstAnswer {
        status: 200,
        body: report.unwrap_or_else(listed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_on_offer_is_no_snapshot_of_another() {
        let conf = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let text = std::fs::read_to_string(conf.join("demo.yaml")).unwrap();
        let env = |_: &str| Some("credential".to_owned());
        let config = crate::config::parse(&text, "demo.yaml", &env, &conf).unwrap();
        for (name, model) in [
            ("sora-2", Some("sora-2")),
            ("sora-2-2025-10-06", Some("sora-2")),
            ("sora-2-pro", Some("sora-2-pro")),
            ("sora-2-pro-2025-10-06", Some("sora-2-pro")),
            ("sora-20", None),
            ("other", None),
        ] {
            assert_eq!(model_of(&config.catalog, name), model, "{name}");
        }
    }
}

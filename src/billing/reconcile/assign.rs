//! Confirms a reservation with the job of the list that it was matched with.

use super::evidence::first_answer;
use super::list_reader::Listing;
use crate::billing::channel_task::ChannelTask;
use crate::billing::charge::corrected;
use crate::billing::public_id::{public_id, public_source};
use crate::ledger::{
    ChannelAnswer, Confirmation, Confirmed, Unavailable, Unmatched, generated_public_id,
};
use crate::upstream::job_status;

/// Confirms a reservation with the listed job that was matched with it, even if the gate stops meanwhile.
pub(super) async fn assign_to_end(
    task: &ChannelTask,
    unknown: &Unmatched,
    listing: &Listing,
) -> Result<(), Unavailable> {
    let (of, unknown, listing) = (task.clone(), unknown.clone(), listing.clone());
    let assigned = task
        .billing
        .spawn_write(async move { assign(&of, &unknown, &listing).await });
    let assigned = assigned.await;
    assigned.unwrap_or_else(|_| Err(Unavailable::transient("a job was not assigned")))
}

async fn assign(
    task: &ChannelTask,
    unknown: &Unmatched,
    listing: &Listing,
) -> Result<(), Unavailable> {
    let (billing, config) = (&task.billing, &task.snapshot.config);
    let upstream_id = &listing.job.id;
    let public = public_id(upstream_id, unknown.id);
    let report = match unknown.fingerprint {
        Some(_) => {
            let (client, max_bytes) = (&task.client, config.bounds.answer_bytes);
            let report = job_status::fetch(client, &task.channel, &public, upstream_id, max_bytes);
            report.await.ok()
        }
        None => None,
    };
    let source = match &report {
        Some(report) => public_source(billing, &report.job, unknown.remix_of.as_deref()).await,
        None => None,
    };
    let answer = |id: &str| {
        let (report, source) = (report.as_ref(), source.as_deref());
        Some(first_answer(unknown, listing, report, id, source))
    };
    let mut confirmation = Confirmation {
        charge: corrected(&unknown.charge, &listing.answer, &config.catalog),
        answer: answer(&public),
        job: public,
        upstream_id: upstream_id.clone(),
        channel_answer: ChannelAnswer::default(),
    };
    let confirm = async |confirmation: &Confirmation| {
        let before = &unknown.charge;
        let confirmed = billing.confirm_reconciled(unknown.id, before, confirmation);
        confirmed.await
    };
    let mut confirmed = confirm(&confirmation).await?;
    if confirmed == Confirmed::IdTaken {
        confirmation.job = generated_public_id(unknown.id, &confirmation.upstream_id);
        confirmation.answer = answer(&confirmation.job);
        confirmed = confirm(&confirmation).await?;
    }
    if let Confirmed::Done { .. } = confirmed {
        let job = &confirmation.job;
        log::info!("reservation {}: job {job} came of it", unknown.id);
        billing.jobs.forget_others(job, unknown.id);
        if let Some(entry) = billing.job(job).await? {
            billing.settle(&entry, &listing.answer, config).await;
        }
    }
    Ok(())
}

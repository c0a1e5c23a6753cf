//! `tollgate job`: prints everything that the ledger knows of a charge, for disputes.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp as Time;
use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::json;

use super::beside::{self, IN_MEMORY, shown};
use crate::config::{self, LedgerUrl};
use crate::ledger::read_postgres_records;
use crate::ledger::{Author, DisputeRecord, JobError, MAX_RECORDS, RecordQuery};
use crate::ledger::{SqliteLedger, State};
use crate::policy::Timestamp;

/// The time before and after `--at` that is searched, in milliseconds.
const AROUND: u64 = 2 * 60 * 1000;

/// The arguments of `tollgate job`.
#[derive(Args)]
pub(super) struct Wanted {
    /// The id of a job (its public id or the channel's), of a request (x-request-id) or of a reservation,
    /// as the log names it.
    #[arg(required_unless_present = "key", conflicts_with_all = ["key", "at"])]
    id: Option<String>,
    /// The name of a key whose charges around the time --at are printed.
    #[arg(long, value_name = "NAME", requires = "at")]
    key: Option<String>,
    /// The time around which charges of --key are printed, two minutes before and after it:
    /// 2026-11-28T10:32:00Z, or 10:32 for today in UTC.
    #[arg(long, value_name = "TIME", requires = "key")]
    at: Option<String>,
    /// Print JSON: an object in each line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, wanted: &Wanted) -> ExitCode {
    let query = match query(wanted, Time::now()) {
        Ok(query) => query,
        Err(problem) => return super::fail(problem),
    };
    let ledger = match config::load_ledger(config) {
        Ok(ledger) => ledger,
        Err(error) => return super::fail(error),
    };
    let records = match beside::run(read(&ledger, &query)) {
        Ok(records) => records,
        Err(problem) => return super::fail(problem),
    };
    if let (true, Some(key)) = (records.is_empty(), &wanted.key) {
        return super::fail(none_of_key(config, key));
    }
    if records.is_empty() {
        return super::fail(
            "the ledger has no such charge: a refused request makes none, nor does a repetition under \
             an Idempotency-Key (see the log), and old ones are pruned (jobs.keep_days)",
        );
    }
    let mut out = std::io::stdout().lock();
    for record in &records {
        let written = match wanted.json {
            true => writeln!(out, "{}", to_json(record)),
            false => writeln!(out, "{}", to_text(record)),
        };
        // A closed pipe is no error: the reader, such as `head`, has what it wanted.
        if written.is_err() {
            return ExitCode::SUCCESS;
        }
    }
    if records.len() >= MAX_RECORDS as usize {
        eprintln!("there may be more: these are the first {MAX_RECORDS}");
    }
    ExitCode::SUCCESS
}

/// Returns the error message that the ledger has no charge of `key` around the requested time.
fn none_of_key(config: &Path, key: &str) -> String {
    // If the keys cannot be read, the ledger's answer is all that is known.
    let unknown = match config::has_key(config, key) {
        Ok(false) => "; the configuration has no key of that name: is it written as in `keys`?",
        Ok(true) | Err(_) => {
            "; a refused request makes no charge, and old ones are pruned (jobs.keep_days)"
        }
    };
    format!("the ledger has no charge of key {key:?} within two minutes of that time{unknown}")
}

fn query(wanted: &Wanted, now: Time) -> Result<RecordQuery, String> {
    match (&wanted.id, &wanted.key, &wanted.at) {
        (Some(id), None, None) => Ok(RecordQuery::Named(id.as_str().into())),
        (None, Some(key), Some(at)) => {
            let at = moment(at, now).ok_or("write --at as 2026-11-28T10:32:00Z or 10:32")?;
            Ok(RecordQuery::OfKey {
                key: key.as_str().into(),
                from: Timestamp(at.saturating_sub(AROUND)),
                to: Timestamp(at.saturating_add(AROUND)),
            })
        }
        _ => Err("name an id, or a key and a time".into()),
    }
}

/// Parses a time with a zone, or a time of day, which means today in UTC, into milliseconds since 1970.
fn moment(text: &str, now: Time) -> Option<u64> {
    let time = match text.parse::<Time>() {
        Ok(time) => time,
        Err(_) => {
            let time: civil::Time = text.parse().ok()?;
            let today = now.to_zoned(TimeZone::UTC).date();
            today
                .to_datetime(time)
                .to_zoned(TimeZone::UTC)
                .ok()?
                .timestamp()
        }
    };
    u64::try_from(time.as_millisecond()).ok()
}

async fn read(url: &LedgerUrl, query: &RecordQuery) -> Result<Vec<DisputeRecord>, String> {
    match url {
        LedgerUrl::Memory => Err(IN_MEMORY.into()),
        LedgerUrl::Sqlite(path) => {
            // This works while a gate runs, too: SQLite allows other processes to read.
            let path = path.clone();
            SqliteLedger::read_records(&path, query).map_err(|error| error.to_string())
        }
        LedgerUrl::Postgres(url) => {
            let found = read_postgres_records(url, query).await;
            found.map_err(|error| error.to_string())
        }
    }
}

/// Returns the steps of a charge in order, each with its time (`None` if not known) and a description.
fn steps(record: &DisputeRecord) -> Vec<(Option<Timestamp>, String)> {
    let charge = &record.charge;
    let mut steps = Vec::new();
    let (list, billed) = match &record.uncorrected {
        Some(before) => (before.list, before.billed),
        None => (charge.list, charge.billed),
    };
    let mut reserved = format!(
        "reserved {billed} {} for key {} (list cost {list} USD)",
        charge.payer.currency, charge.payer.key
    );
    let _ = write!(reserved, ", request {}", record.request_id);
    steps.push((Some(record.reserved), reserved));
    if let Some(refused) = &record.refused_by {
        steps.push((None, format!("refused by other channels before: {refused}")));
    }
    steps.extend(answer(record).map(|answer| (None, answer)));
    if let Some(at) = record.unknown {
        let text = match record.state {
            State::Unknown => "outcome unknown: a job is looked for in the channel's list",
            _ => "outcome unknown: a job was looked for in the channel's list",
        };
        let text = text.to_owned();
        steps.push((Some(at), text));
    }
    if let (Some(at), Some(job)) = (record.confirmed, &record.job) {
        let how = match record.unknown {
            Some(_) => "found in the channel's list",
            None => "confirmed by the channel's answer",
        };
        let upstream = record.upstream_id.as_deref().unwrap_or_default();
        let named = match upstream == &**job {
            true => String::new(),
            false => format!(", {upstream:?} at the channel"),
        };
        steps.push((Some(at), format!("job {job}{named}: {how}")));
        steps.extend(correction(record).map(|correction| (None, correction)));
    }
    if let Some(at) = record.resolved {
        let outcome = record.outcome.as_deref().unwrap_or("no reason known");
        let owed = match record.state {
            State::Posted => format!("posted: {} {} owed", charge.billed, charge.payer.currency),
            _ => "voided: nothing owed".to_owned(),
        };
        let why = match record.job {
            Some(_) => match outcome {
                "failed" => "the job failed".to_owned(),
                "expired" => "the end of the job was not seen in time".to_owned(),
                outcome => format!("the job was {outcome}"),
            },
            None => outcome.to_owned(),
        };
        steps.push((
            Some(at),
            format!("{owed}: {why}{}", failure(&record.job_error)),
        ));
    }
    if let Some(void) = &record.voided_by {
        let Author {
            at,
            made_by,
            reason,
        } = &void.author;
        let billed = charge.billed;
        let text = format!(
            "voided by {made_by}: {billed} {} not owed any more: {reason}",
            charge.payer.currency
        );
        steps.push((Some(*at), text));
    }
    if record.deleted {
        steps.push((None, "the job was deleted at its channel".to_owned()));
    }
    steps
}

/// Describes the correction of the charge; `None` if the charge was not corrected.
fn correction(record: &DisputeRecord) -> Option<String> {
    let (before, charge) = (record.uncorrected.as_ref()?, &record.charge);
    Some(format!(
        "corrected to {} {} (list cost {} USD): charged as {} {} s, where {} {} s was asked for",
        charge.billed,
        charge.payer.currency,
        charge.list,
        charge.size,
        charge.seconds,
        before.size,
        before.seconds,
    ))
}

/// Describes the channel's answer to the create; `None` if none is recorded.
fn answer(record: &DisputeRecord) -> Option<String> {
    let (answer, channel) = (&record.answer, &record.charge.channel);
    let mut text = match (answer.status, &answer.error) {
        (None, None) => return None,
        (None, Some(error)) => format!("channel {channel} did not answer: {error}"),
        (Some(status), None) => format!("channel {channel} answered {status}"),
        (Some(status), Some(error)) => format!("channel {channel} answered {status}: {error}"),
    };
    if let Some(id) = &answer.request_id {
        let _ = write!(text, " (its request id is {id})");
    }
    Some(text)
}

fn failure(error: &JobError) -> String {
    let parts = [error.code.as_deref(), error.message.as_deref()];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(": ")),
    }
}

fn to_text(record: &DisputeRecord) -> String {
    let charge = &record.charge;
    let mut text = String::new();
    let named = match &record.job {
        Some(job) => format!("job {job}"),
        None => format!("reservation {}, no job", record.id),
    };
    let mut state = record.state.name();
    if record.voided_by.is_some() {
        state = "posted, and voided later";
    }
    let mut write = |arguments: fmt::Arguments<'_>| {
        let _ = text.write_fmt(arguments);
    };
    write(format_args!("{named}: {state}\n"));
    write(format_args!(
        "  {} {} {} s on channel {}{}\n",
        charge.model,
        charge.size,
        charge.seconds,
        charge.channel,
        record
            .address
            .as_deref()
            .map_or_else(String::new, |at| format!(" ({at})")),
    ));
    if let Some(source) = &record.remix_of {
        write(format_args!("  a remix of {source}\n"));
    }
    write(format_args!(
        "  key {}, group {}, multiplier {}; reservation {}\n",
        charge.payer.key, charge.payer.group, charge.payer.multiplier, record.id
    ));
    if let Some(key) = &record.idempotency_key {
        write(format_args!("  Idempotency-Key {key:?}\n"));
    }
    if let Some(cost) = &charge.purchase {
        // A channel charges nothing for a create that it refused. For a failed job, this is not known.
        let verb = match record.state {
            State::Voided => "would have cost",
            _ => "costs",
        };
        write(format_args!(
            "  {verb} the account at the channel {} {}\n",
            cost.amount, cost.currency
        ));
    }
    for (at, step) in steps(record) {
        let at = at.map_or_else(|| " ".repeat(24), shown);
        write(format_args!("  {at}  {step}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

fn to_json(record: &DisputeRecord) -> serde_json::Value {
    let charge = &record.charge;
    let time = |at: Option<Timestamp>| at.map(shown);
    let before = record.uncorrected.as_ref();
    json!({
        "reservation": record.id.to_string(),
        "request_id": &*record.request_id,
        "key": &*charge.payer.key,
        "group": &*charge.payer.group,
        "currency": &*charge.payer.currency,
        "multiplier": charge.payer.multiplier.to_string(),
        "channel": &*charge.channel,
        "address": record.address.as_deref(),
        "model": &*charge.model,
        "size": &*charge.size,
        "seconds": charge.seconds,
        "list_cost_usd": charge.list.to_string(),
        "billed_cost": charge.billed.to_string(),
        "reserved_size": before.map_or(&*charge.size, |before| &before.size),
        "reserved_seconds": before.map_or(charge.seconds, |before| before.seconds),
        "reserved_list_cost_usd": before.map_or(charge.list, |before| before.list).to_string(),
        "reserved_billed_cost": before.map_or(charge.billed, |before| before.billed).to_string(),
        "purchase_cost": charge.purchase.as_ref().map(|cost| cost.amount.to_string()),
        "purchase_currency": charge.purchase.as_ref().map(|cost| &*cost.currency),
        "state": record.state.name(),
        "outcome": record.outcome.as_deref(),
        "reserved": shown(record.reserved),
        "refused_by": record.refused_by.as_deref(),
        "answer_status": record.answer.status,
        "answer_request_id": record.answer.request_id.as_deref(),
        "answer_error": record.answer.error.as_deref(),
        "unknown": time(record.unknown),
        "confirmed": time(record.confirmed),
        "job": record.job.as_deref(),
        "upstream_id": record.upstream_id.as_deref(),
        "remix_of": record.remix_of.as_deref(),
        "idempotency_key": record.idempotency_key.as_deref(),
        "resolved": time(record.resolved),
        "job_error_code": record.job_error.code.as_deref(),
        "job_error_message": record.job_error.message.as_deref(),
        "deleted": record.deleted,
        "voided_at": time(record.voided_by.as_ref().map(|void| void.author.at)),
        "voided_by": record.voided_by.as_ref().map(|void| &*void.author.made_by),
        "void_reason": record.voided_by.as_ref().map(|void| &*void.author.reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(id: Option<&str>, key: Option<&str>, at: Option<&str>) -> Wanted {
        Wanted {
            id: id.map(str::to_owned),
            key: key.map(str::to_owned),
            at: at.map(str::to_owned),
            json: false,
        }
    }

    #[test]
    fn a_time_of_day_is_one_of_today() {
        let now: Time = "2026-11-28T15:00:00Z".parse().unwrap();
        let of_key = |at| query(&wanted(None, Some("client-5"), Some(at)), now);
        let expected = RecordQuery::OfKey {
            key: "client-5".into(),
            from: Timestamp(1_795_861_800_000),
            to: Timestamp(1_795_862_040_000),
        };
        for at in [
            "10:32",
            "10:32:00",
            "2026-11-28T10:32:00Z",
            "2026-11-28T11:32:00+01:00",
        ] {
            assert_eq!(of_key(at).as_ref(), Ok(&expected), "{at}");
        }
        for at in ["", "25:00", "yesterday", "2026-11-28"] {
            assert!(of_key(at).is_err(), "{at}");
        }
        let named = query(&wanted(Some("video_1"), None, None), now);
        assert_eq!(named, Ok(RecordQuery::Named("video_1".into())));
    }
}

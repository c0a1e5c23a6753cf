//! `tollgate bill`: prints the bill of a month, also while gates run.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::beside::{self, IN_MEMORY, shown};
use crate::config::{self, LedgerUrl};
use crate::ledger::{
    BillLine, BillQuery, BillReading, BillSum, BillTotals, read_postgres_bill, read_sqlite_bill,
};
use crate::policy::Timestamp;

/// The arguments of `tollgate bill`.
#[derive(Args)]
pub(super) struct Wanted {
    /// The month, in UTC, such as 2026-11.
    #[arg(long, value_name = "MONTH")]
    month: String,
    /// The key whose bill is printed; without it, the bill of all keys.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Json,
    Table,
}

/// The rounding rule that every bill states.
const ROUNDING: &str = "list price per second (USD) x seconds x multiplier = billed cost. All amounts \
     are exact decimals, and nothing is rounded: round each total once, when it is invoiced.";

const PRUNED: &str = "Lines without a price are for jobs that an earlier version pruned: they are dated \
     by their reservations, and their amounts are exact.";

/// The time after the end of a month for which its bill may still get lines, in milliseconds. It allows
/// for clocks that differ, and for pending writes of gates.
const SETTLING: u64 = 3_600_000;

/// A time later than that of any entry in a ledger: the end of the year 9999.
const LAST: Timestamp = Timestamp(253_402_300_800_000);

pub(super) fn run(config: &Path, wanted: &Wanted) -> ExitCode {
    match print(config, wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => super::fail(problem),
    }
}

fn print(config: &Path, wanted: &Wanted) -> Result<(), String> {
    let (from, until) =
        month(&wanted.month).ok_or("write --month as a year and a month, such as 2026-11")?;
    let now = beside::now();
    if MonthState::at(now, from, until) == MonthState::Ahead {
        return Err(format!("{} has not begun yet (UTC)", wanted.month));
    }
    let ledger = config::load_ledger(config).map_err(|error| error.to_string())?;
    let key: Option<Arc<str>> = wanted.key.as_deref().map(Into::into);
    let of_key = |from, until| {
        let key = key.clone();
        read(ledger.clone(), BillQuery { from, until, key })
    };
    let BillReading { lines, replayed } = beside::run(of_key(from, until))?;
    if let Some(key) = &key
        && lines.is_empty()
        && beside::run(of_key(Timestamp(0), LAST))?.lines.is_empty()
        && !config::has_key(config, key).map_err(|error| error.to_string())?
    {
        return Err(format!(
            "there is no key named {key:?}: the configuration has none (see `keys` and `keys_from`), \
             and no bill has a line for one"
        ));
    }
    let state = MonthState::as_read(now, replayed, from, until);
    let totals = BillTotals::of(&lines).ok_or("the sums are larger than any number")?;
    let bill = Bill {
        month: &wanted.month,
        state,
        lines,
        totals,
    };
    let text = match wanted.format {
        Format::Csv => bill.to_csv(),
        Format::Json => format!("{:#}\n", bill.to_json()),
        Format::Table => bill.to_table(),
    };
    // A closed pipe is no error: the reader, such as `head`, has what it wanted.
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(format!("the bill was not written: {error}"));
        }
        _ => {}
    }
    if let Format::Csv = wanted.format {
        // To standard error, where no program takes the notes for lines of the bill.
        eprintln!("{}", bill.notes().join("\n"));
    }
    Ok(())
}

async fn read(ledger: LedgerUrl, query: BillQuery) -> Result<BillReading, String> {
    match ledger {
        LedgerUrl::Memory => Err(IN_MEMORY.into()),
        LedgerUrl::Sqlite(path) => {
            // In a thread of its own: it may take long, and must not keep the timeout from firing.
            let read = tokio::task::spawn_blocking(move || read_sqlite_bill(&path, &query));
            let lines = read.await.map_err(|error| error.to_string())?;
            let lines = lines.map_err(|error| error.to_string())?;
            let replayed = None;
            Ok(BillReading { lines, replayed })
        }
        LedgerUrl::Postgres(url) => {
            let reading = read_postgres_bill(&url, &query).await;
            reading.map_err(|error| error.to_string())
        }
    }
}

/// Parses a month such as `2026-11`, and returns its beginning and its end in UTC.
fn month(text: &str) -> Option<(Timestamp, Timestamp)> {
    let (year, month) = text.split_once('-')?;
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) {
        return None;
    }
    let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    let next = first.checked_add(1.month()).ok()?;
    let at = |date: Date| {
        let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        u64::try_from(start.as_millisecond()).ok().map(Timestamp)
    };
    Some((at(first)?, at(next)?))
}

/// The state of a month: whether its bill may still get lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MonthState {
    /// The month has not begun: there is no bill yet.
    Ahead,
    /// The month may get lines until this time.
    Open(Timestamp),
    /// The month gets no more lines, but the standby that was read has replayed writes only up to this
    /// time: lines may be missing.
    Behind(Timestamp),
    /// The month gets no more lines.
    Closed,
}

impl MonthState {
    fn at(now: Timestamp, from: Timestamp, until: Timestamp) -> Self {
        let closes = Timestamp(until.0.saturating_add(SETTLING));
        match now {
            now if now < from => Self::Ahead,
            now if now < closes => Self::Open(closes),
            _ => Self::Closed,
        }
    }

    /// Returns the state at `now` of a month as it was read. `replayed` is the time until which the standby
    /// that was read has all writes; `None` if no standby was read.
    fn as_read(
        now: Timestamp,
        replayed: Option<Timestamp>,
        from: Timestamp,
        until: Timestamp,
    ) -> Self {
        let closes = Timestamp(until.0.saturating_add(SETTLING));
        match (Self::at(now, from, until), replayed) {
            (Self::Closed, Some(replayed)) if replayed < closes => Self::Behind(replayed),
            (state, _) => state,
        }
    }
}

/// The columns of a CSV line.
const COLUMNS: [&str; 18] = [
    "line",
    "key",
    "group",
    "model",
    "size",
    "list_price_usd_per_second",
    "multiplier",
    "jobs",
    "video_seconds",
    "list_cost_usd",
    "billed_cost",
    "currency",
    "recorded_at",
    "recorded_by",
    "reason",
    "job",
    "adjustment",
    "month",
];

/// The number of columns that a table shows. The details of an adjustment follow its line as text.
const SHOWN: usize = 12;

struct Bill<'a> {
    month: &'a str,
    state: MonthState,
    lines: Vec<BillLine>,
    totals: BillTotals,
}

impl Bill<'_> {
    fn notes(&self) -> Vec<String> {
        let month = self.month;
        let mut notes = vec![match self.state {
            MonthState::Closed => format!("Bill for {month} (UTC). It gets no more lines."),
            MonthState::Open(until) => format!(
                "Bill for {month} (UTC) so far: it may get further lines until {}.",
                shown(until)
            ),
            MonthState::Behind(replayed) => format!(
                "Bill for {month} (UTC) so far: the standby that was read has what was written until {}, \
                 and lines may be missing: read the primary, or repeat this later.",
                shown(replayed)
            ),
            MonthState::Ahead => String::new(),
        }];
        notes.push(ROUNDING.to_owned());
        if self.lines.iter().any(BillLine::is_approximate) {
            notes.push(PRUNED.to_owned());
        }
        notes
    }

    /// Returns the lines and then the totals, as texts in the order of [`COLUMNS`].
    fn rows(&self) -> Vec<[String; 18]> {
        let lines = self.lines.iter().map(|line| {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let adjustment = line.adjustment.as_ref();
            [
                line.kind.name().to_owned(),
                line.key.to_string(),
                line.group.to_string(),
                text(line.model.as_deref()),
                text(line.size.as_deref()),
                line.list_price.map_or_else(String::new, |p| p.to_string()),
                line.multiplier.map_or_else(String::new, |m| m.to_string()),
                line.jobs.to_string(),
                line.video_seconds.to_string(),
                line.list.to_string(),
                line.billed.to_string(),
                line.currency.to_string(),
                adjustment.map_or_else(String::new, |of| shown(of.at)),
                text(adjustment.map(|of| &*of.made_by)),
                text(adjustment.map(|of| &*of.reason)),
                text(adjustment.and_then(|of| of.job.as_deref())),
                text(adjustment.map(|of| &*of.id)),
                self.month.to_owned(),
            ]
        });
        let by_key = self.totals.by_key.iter();
        let by_key = by_key.map(|((key, currency), sum)| ("total of key", &**key, currency, sum));
        let by_currency = self.totals.by_currency.iter();
        let by_currency = by_currency.map(|(currency, sum)| ("total", "", currency, sum));
        let totals = by_key.chain(by_currency).map(|(line, key, currency, sum)| {
            let mut row: [String; 18] = Default::default();
            let texts = [
                (0, line.to_owned()),
                (1, key.to_owned()),
                (7, sum.jobs.to_string()),
                (8, sum.video_seconds.to_string()),
                (9, sum.list.to_string()),
                (10, sum.billed.to_string()),
                (11, currency.to_string()),
                (17, self.month.to_owned()),
            ];
            for (at, text) in texts {
                if let Some(place) = row.get_mut(at) {
                    *place = text;
                }
            }
            row
        });
        lines.chain(totals).collect()
    }

    fn to_csv(&self) -> String {
        let mut csv = COLUMNS.join(",") + "\r\n";
        for row in self.rows() {
            csv.push_str(&row.map(quoted).join(","));
            csv.push_str("\r\n");
        }
        csv
    }

    fn to_table(&self) -> String {
        let rows = self.rows();
        let head = COLUMNS.map(str::to_owned);
        let all = || std::iter::once(&head).chain(&rows);
        let widths: Vec<usize> = (0..SHOWN)
            .map(|at| {
                let lengths = all().filter_map(|row| row.get(at));
                lengths.map(|text| text.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut table = self.notes().join("\n") + "\n\n";
        for row in all() {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(at, (text, width))| match (5..11).contains(&at) {
                true => format!("{text:>width$}"),
                false => format!("{text:<width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            table.push_str(line.trim_end());
            let [.., at, by, reason, job, id, _] = row;
            if !id.is_empty() && !std::ptr::eq(row, &head) {
                table.push_str(&format!("\n  {id}, {at} by {by}"));
                if !job.is_empty() {
                    table.push_str(&format!(", job {job}"));
                }
                table.push_str(&format!(": {reason}"));
            }
            table.push('\n');
        }
        table
    }

    fn to_json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let adjustment = line.adjustment.as_ref().map(|of| {
                json!({
                    "id": &*of.id,
                    "at": shown(of.at),
                    "by": &*of.made_by,
                    "reason": &*of.reason,
                    "job": of.job.as_deref(),
                })
            });
            json!({
                "line": line.kind.name(),
                "key": &*line.key,
                "group": &*line.group,
                "model": line.model.as_deref(),
                "size": line.size.as_deref(),
                "list_price_usd_per_second": line.list_price.map(|price| price.to_string()),
                "multiplier": line.multiplier.map(|multiplier| multiplier.to_string()),
                "jobs": line.jobs,
                "video_seconds": line.video_seconds,
                "list_cost_usd": line.list.to_string(),
                "billed_cost": line.billed.to_string(),
                "currency": &*line.currency,
                "adjustment": adjustment,
            })
        });
        let sum = |key: Option<&str>, currency: &str, sum: &BillSum| {
            json!({
                "key": key,
                "currency": currency,
                "jobs": sum.jobs,
                "video_seconds": sum.video_seconds,
                "list_cost_usd": sum.list.to_string(),
                "billed_cost": sum.billed.to_string(),
            })
        };
        let by_key = self.totals.by_key.iter();
        let by_key = by_key.map(|((key, currency), of)| sum(Some(key), currency, of));
        let by_currency = self.totals.by_currency.iter();
        let by_currency = by_currency.map(|(currency, of)| sum(None, currency, of));
        json!({
            "month": self.month,
            "time_zone": "UTC",
            "final": self.state == MonthState::Closed,
            "rounding": ROUNDING,
            "notes": self.notes(),
            "lines": lines.collect::<Vec<_>>(),
            "totals_by_key": by_key.collect::<Vec<_>>(),
            "totals_by_currency": by_currency.collect::<Vec<_>>(),
        })
    }
}

/// Formats a text as a field of CSV (RFC 4180), in quotes if it needs them.
fn quoted(text: String) -> String {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests;

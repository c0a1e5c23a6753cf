//! Sums up the reservations of windows that have no counters yet: those of a new limit, and those to which
//! a clock went back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::super::counters::{Scope, ScopedLimit};
use super::columns::{int, uint};
use super::state::{WriterState, locked};
use crate::policy::{Measure, Timestamp, Window};

impl WriterState {
    /// Sums up the reservations for the limits `missing`, whose counters are not known yet.
    pub(super) fn track(
        &mut self,
        db: &Connection,
        missing: Vec<ScopedLimit>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        for scoped in missing {
            let unknown = locked(&self.counters).unknown(&scoped, now);
            // Two limits may share one series.
            if unknown.is_empty() {
                continue;
            }
            let since = unknown.start;
            let sums = self.sums(db, &scoped, unknown)?;
            self.dirty.insert(scoped.scope.clone());
            locked(&self.counters).track(&scoped, since, sums);
        }
        Ok(())
    }

    /// Returns the sums that `scoped` counts in all windows that began within `span`, by the starts of the
    /// windows. All times are in seconds since the epoch.
    fn sums(
        &self,
        db: &Connection,
        scoped: &ScopedLimit,
        span: Range<u64>,
    ) -> rusqlite::Result<BTreeMap<u64, u64>> {
        let ScopedLimit {
            limit,
            scope,
            currency,
        } = scoped;
        let Some(Expressions {
            own,
            pruned,
            voided,
        }) = expressions(limit.measure)
        else {
            let open = self.open.values();
            let open = open.filter(|entry| scoped.counts(&entry.charge)).count();
            return Ok(BTreeMap::from([(span.start, open as u64)]));
        };
        let halves = |sum| [format!("{sum} / 1000000000"), format!("{sum} % 1000000000")];
        let (own, voided) = (halves(own), halves(voided));
        let (of, of_currency) = match scope {
            Scope::Channel(_) => ("channel", "purchase_currency"),
            Scope::Key(_) | Scope::Group(_) => ("\"group\"", "currency"),
        };
        // Amounts are added up in two parts, as the totals are, since SQLite fails where a sum exceeds 63
        // bits.
        let parts = |[whole, rest]: &[String; 2], start: &str, table, more| {
            format!(
                "SELECT {start} AS start, sum({whole}) AS units, sum({rest}) AS fraction
                 FROM {table} WHERE key = ?1 AND (?2 IS NULL OR {of} = ?2)
                     AND (?3 IS NULL OR {of_currency} = ?3) AND {more} GROUP BY 1"
            )
        };
        let starts = starts(limit.window);
        let recent = "created_ms >= ?4 AND created_ms < ?5 AND state <> 'voided'";
        let of = "reservation INDEXED BY reservation_key";
        let mut recent = db.prepare(&parts(&own, starts.of_time, of, recent))?;
        let of_days = "day >= date(?4 / 1000, 'unixepoch')
             AND (?5 = 9223372036854775807 OR day < date(?5 / 1000, 'unixepoch'))";
        let pruned = starts
            .of_day
            .map(|start| parts(&pruned.map(str::to_owned), start, "total", of_days));
        let mut pruned = pruned.map(|sql| db.prepare(&sql)).transpose()?;
        let voids = "created_ms >= ?4 AND created_ms < ?5";
        let mut voids = match scope {
            Scope::Channel(_) => None,
            _ => Some(db.prepare(&parts(&voided, starts.of_time, VOIDS, voids))?),
        };

        let (shared_by, keys) = self.keys_of(scope);
        let [from, to] = [span.start, span.end].map(|at| int(at.saturating_mul(1000)));
        let mut sums = BTreeMap::<u64, i128>::new();
        for key in keys {
            let read = [
                (Some(&mut recent), 1),
                (pruned.as_mut(), 1),
                (voids.as_mut(), -1),
            ];
            for (read, sign) in read {
                let Some(read) = read else { continue };
                let parameters = params![&**key, shared_by, currency.as_deref(), from, to];
                let mut found = read.query(parameters)?;
                while let Some(row) = found.next()? {
                    let sum = sums.entry(uint(row, "start")?).or_default();
                    *sum += sign * i128::from(uint(row, "units")?) * 1_000_000_000;
                    *sum += sign * i128::from(uint(row, "fraction")?);
                }
            }
        }
        let sums = sums.into_iter();
        let whole = |sum: i128| u64::try_from(sum.max(0)).unwrap_or(u64::MAX);
        Ok(sums.map(|(start, sum)| (start, whole(sum))).collect())
    }

    /// Returns the name of the scope, if several keys share it, and the keys whose charges count in it. The
    /// rows of each key are found by an index.
    fn keys_of<'a>(&'a self, scope: &'a Scope) -> (Option<&'a str>, BTreeSet<&'a Arc<str>>) {
        match scope {
            Scope::Key(key) => (None, BTreeSet::from([key])),
            Scope::Group(group) => {
                let keys = self.payers.get(group);
                (Some(&**group), keys.into_iter().flatten().collect())
            }
            Scope::Channel(channel) => {
                let keys = self.payers.values().flatten();
                (Some(&**channel), keys.collect())
            }
        }
    }
}

/// The subquery for the charges that were voided after they were posted, and that were already subtracted
/// from the existing counters.
const VOIDS: &str = "(SELECT *, reserved_ms AS created_ms FROM adjustment WHERE kind = 'void' \
     AND number <= (SELECT number FROM adjustment_counted)) AS void";

/// SQL expressions for the amount of one measure that a row adds to a counter.
struct Expressions {
    /// The amount of a reservation.
    own: &'static str,
    /// The amount of a line of the totals: its whole units, and the remainder in nanos.
    pruned: [&'static str; 2],
    /// The amount of a charge that was voided after it was posted, from the row of the adjustment.
    voided: &'static str,
}

/// Returns the expressions of a measure; `None` for jobs in flight, which are counted in memory.
fn expressions(measure: Measure) -> Option<Expressions> {
    let (own, pruned, voided) = match measure {
        Measure::InFlight => return None,
        Measure::Requests => ("1", ["0", "jobs"], "-jobs"),
        Measure::VideoSeconds => ("seconds", ["0", "video_seconds"], "-video_seconds"),
        Measure::ListCost => ("list_nanos", ["list_units", "list_fraction"], "-list_nanos"),
        Measure::BilledCost => (
            "billed_nanos",
            ["billed_units", "billed_fraction"],
            "-billed_nanos",
        ),
        Measure::Cost => (
            "ifnull(purchase_nanos, 0)",
            ["purchase_units", "purchase_fraction"],
            "0",
        ),
    };
    Some(Expressions {
        own,
        pruned,
        voided,
    })
}

/// SQL expressions for the start of a window, in seconds since the epoch.
struct Starts {
    /// The start of the window that contains the time of a reservation.
    of_time: &'static str,
    /// The start of the window that contains a day of the totals; `None` where the window is shorter than a
    /// day.
    of_day: Option<&'static str>,
}

/// Returns the SQL expressions for the start of a `window`. They give the same as [`Window::start`].
fn starts(window: Window) -> Starts {
    let (of_time, of_day) = match window {
        Window::Minute => ("created_ms / 60000 * 60", None),
        Window::Hour => ("created_ms / 3600000 * 3600", None),
        Window::Day => ("created_ms / 86400000 * 86400", Some("unixepoch(day)")),
        Window::Month => (
            "unixepoch(date(created_ms / 1000, 'unixepoch', 'start of month'))",
            Some("unixepoch(date(day, 'start of month'))"),
        ),
        Window::Total => ("0", Some("0")),
    };
    Starts { of_time, of_day }
}

//! The first sum of a limit that has asked for nothing yet.

use rusqlite::{Connection, params};

use super::super::counters::{Counter, Scope};
use super::books::{Books, locked};
use super::rows;
use crate::policy::{Limit, Measure, Timestamp, Window};

impl Books {
    /// Begins to keep counters, each with the sum of what there is.
    pub(super) fn track(
        &mut self,
        db: &Connection,
        missing: Vec<(Limit, Scope)>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        for (limit, scope) in missing {
            // Two limits may share one.
            if locked(&self.counters).find(limit, &scope).is_some() {
                continue;
            }
            let start = limit.window.start(now);
            let counter = Counter {
                measure: limit.measure,
                window: limit.window,
                start,
                used: self.sum(db, limit, &scope, start)?,
            };
            self.dirty.insert(scope.clone());
            locked(&self.counters).insert(scope, counter);
        }
        Ok(())
    }

    fn sum(
        &self,
        db: &Connection,
        limit: Limit,
        scope: &Scope,
        start: u64,
    ) -> rusqlite::Result<u64> {
        let (own, pruned) = match limit.measure {
            Measure::InFlight => {
                let open = self.open.values();
                return Ok(open.filter(|entry| scope.holds(&entry.charge)).count() as u64);
            }
            Measure::Requests => ("1", ["0", "jobs"]),
            Measure::VideoSeconds => ("seconds", ["0", "video_seconds"]),
            Measure::ListCost => ("list_nanos", ["list_units", "list_fraction"]),
            Measure::BilledCost => ("billed_nanos", ["billed_units", "billed_fraction"]),
        };
        let own = [
            &*format!("{own} / 1000000000"),
            &*format!("{own} % 1000000000"),
        ];
        // Added up in two parts, as the totals are, since SQLite fails where a sum exceeds 63
        // bits.
        let parts = |[whole, rest]: [&str; 2], table, more| {
            format!(
                "SELECT ifnull(sum({whole}), 0), ifnull(sum({rest}), 0)
                 FROM {table} WHERE key = ?1 AND (?2 IS NULL OR \"group\" = ?2) AND {more}"
            )
        };
        let recent = "created_ms >= ?3 AND state <> 'voided'";
        let recent = parts(own, "reservation INDEXED BY reservation_key", recent);
        let mut recent = db.prepare(&recent)?;
        let since = "day >= date(?3 / 1000, 'unixepoch')";
        let mut totals = db.prepare(&parts(pruned, "total", since))?;

        let (group, keys) = match scope {
            Scope::Key(key) => (None, vec![key]),
            Scope::Group(group) => {
                let keys = self.payers.get(group);
                (Some(&**group), keys.into_iter().flatten().collect())
            }
        };
        // Totals are of days: they say nothing about an hour.
        let days = !matches!(limit.window, Window::Minute | Window::Hour);
        let start_ms = rows::int(start.saturating_mul(1000));
        let mut sum = 0u128;
        for key in keys {
            let mut add = |read: &mut rusqlite::Statement<'_>| {
                read.query_row(params![&**key, group, start_ms], |row| {
                    sum += u128::from(rows::uint(row, 0)?) * 1_000_000_000;
                    sum += u128::from(rows::uint(row, 1)?);
                    Ok(())
                })
            };
            add(&mut recent)?;
            if days {
                add(&mut totals)?;
            }
        }
        Ok(u64::try_from(sum).unwrap_or(u64::MAX))
    }
}

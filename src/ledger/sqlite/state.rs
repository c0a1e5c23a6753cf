//! Keeps in memory what the writing thread needs for decisions: unresolved reservations and counters.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::{Connection, ToSql, params};

use super::super::charge::{Charge, ReservationId};
use super::super::counters::{Counter, Counters, Scope, Series};
use super::super::job::{Job, State};
use super::columns::{ChargeColumns, Columns as _, columns};
use super::columns::{id, int, state, text, time, uint, unreadable};
use super::writer_db::WriterDb;
use crate::map::{Map, Set};
use crate::policy::{Key, Measure, Timestamp, Window};

/// The part of the database that decisions need, with the changes of the current transaction. It is loaded
/// anew after a transaction that failed.
pub(super) struct WriterState {
    /// The random id of this opening of the database.
    pub(super) run: i64,
    /// The unresolved reservations, so that the calls of a job's life need no query to find them. They are
    /// boxed, since a map that grows moves its entries.
    pub(super) open: Map<ReservationId, Box<Entry>>,
    /// The keys with charges in each group, by the group's name.
    pub(super) payers: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    pub(super) counters: Arc<Mutex<Counters>>,
    pub(super) running: Arc<Running>,
    /// The reservations whose jobs the current transaction confirms.
    pub(super) confirmed: Vec<ReservationId>,
    /// The scopes whose counters are to be written with the current transaction.
    pub(super) dirty: Set<Scope>,
    pub(super) last_number: i64,
    pub(super) last_place: i64,
}

/// A reservation that is not resolved.
pub(super) struct Entry {
    /// The number of the reservation's row.
    pub(super) number: i64,
    pub(super) charge: Arc<Charge>,
    pub(super) created: Timestamp,
    pub(super) state: State,
    /// Whether the reservation was made since the database was opened.
    pub(super) own: bool,
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) job: Option<Arc<str>>,
    /// The job's upstream id, where it is not the public id.
    pub(super) upstream_id: Option<Arc<str>>,
    pub(super) remix_of: Option<Arc<str>>,
    /// The channel's address to which the request was sent, where the channel has several.
    pub(super) address: Option<Arc<str>>,
    pub(super) deleted: bool,
}

columns! {
    /// The columns of an [`Entry`], besides those of its charge.
    EntryColumns {
        number,
        id,
        created_ms,
        state,
        gate,
        idempotency_key,
        job,
        upstream_id,
        remix_of,
        address,
        deleted,
    }
}

/// The jobs that have not ended, as they are on disk, by their public ids. Clients that poll a job get it
/// from here, without a query. A job is added after the commit that confirmed it, and removed before the
/// commit that changes it. A job that is missing here is read from the database.
#[derive(Default)]
pub(super) struct Running(RwLock<Map<Arc<str>, Box<Job>>>);

impl Running {
    pub(super) fn get(&self, job: &str) -> Option<Job> {
        let jobs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        jobs.get(job).map(|job| Job::clone(job))
    }

    pub(super) fn remove(&self, job: Option<&Arc<str>>) {
        if let Some(job) = job {
            self.change(|jobs| jobs.remove(job));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Map<Arc<str>, Box<Job>>) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entry {
    /// Returns the entry's job, while the job runs and is not deleted.
    fn running(&self, id: ReservationId) -> Option<(Arc<str>, Box<Job>)> {
        let name = self.job.clone().filter(|_| !self.deleted)?;
        let upstream_id = self.upstream_id.as_ref().unwrap_or(&name);
        let job = Job {
            id: name.clone(),
            upstream_id: upstream_id.clone(),
            reservation: id,
            charge: self.charge.clone(),
            address: self.address.clone(),
            created: self.created,
            remix_of: self.remix_of.clone(),
            resolution: None,
            end: None,
            deleted: false,
        };
        Some((name, Box::new(job)))
    }
}

/// Copies the parts of a key that its limits need, to be sent to the writing thread.
pub(super) fn limits_of(key: &Key) -> Key {
    Key {
        name: key.name.clone(),
        group: key.group.clone(),
        allow: Default::default(),
        limits: key.limits.clone(),
        channels: None,
    }
}

/// Locks a mutex, even a poisoned one: no panic can leave the data that it guards half-written.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WriterState {
    pub(super) fn new(run: i64, counters: Arc<Mutex<Counters>>, running: Arc<Running>) -> Self {
        Self {
            run,
            open: Map::default(),
            payers: HashMap::new(),
            counters,
            running,
            confirmed: Vec::new(),
            dirty: Set::default(),
            last_number: 0,
            last_place: 0,
        }
    }

    /// Loads the whole state from the database.
    pub(super) fn load(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut names = Names::default();
        let mut open = Map::default();
        let list = <(ChargeColumns, EntryColumns)>::list();
        let mut read = db.prepare_cached(&format!(
            "SELECT {list} FROM reservation INDEXED BY reservation_open WHERE resolved_ms IS NULL",
        ))?;
        let (charge, own) = <(ChargeColumns, EntryColumns)>::find(&read)?;
        let mut found = read.query([])?;
        while let Some(row) = found.next()? {
            let entry = Entry {
                charge: charge.read(row, &mut |text| names.of(text))?,
                number: row.get(own.number)?,
                created: time(row, own.created_ms)?,
                state: state(row, own.state)?,
                own: row.get::<_, i64>(own.gate)? == self.run,
                idempotency_key: row.get(own.idempotency_key)?,
                job: row.get(own.job)?,
                remix_of: row.get(own.remix_of)?,
                address: row.get(own.address)?,
                deleted: row.get(own.deleted)?,
                upstream_id: row.get(own.upstream_id)?,
            };
            open.insert(id(row, own.id)?, Box::new(entry));
        }

        let mut payers = HashMap::<_, BTreeSet<_>>::new();
        let mut read = db.prepare_cached("SELECT \"group\", key FROM payer")?;
        let mut found = read.query([])?;
        while let Some(row) = found.next()? {
            let group = names.of(text(row, "group")?);
            let key = names.of(text(row, "key")?);
            payers.entry(group).or_default().insert(key);
        }

        let counters = read_counters(db, &mut names)?;
        self.last_number = last(db, "SELECT max(number) AS last FROM reservation")?;
        self.last_place = last(
            db,
            "SELECT max((SELECT max(place) FROM reservation AS r
                         WHERE r.key = payer.key AND r.place IS NOT NULL)) AS last FROM payer",
        )?;
        (self.open, self.payers) = (open, payers);
        self.dirty.clear();
        self.confirmed.clear();
        let jobs = self
            .open
            .iter()
            .filter_map(|(id, entry)| entry.running(*id));
        let jobs = jobs.collect();
        self.running.change(|running| *running = jobs);
        *locked(&self.counters) = counters;
        Ok(())
    }

    /// Adds the jobs that the committed transaction has confirmed to the running jobs.
    pub(super) fn show(&mut self) {
        if self.confirmed.is_empty() {
            return;
        }
        let (open, confirmed) = (&self.open, self.confirmed.drain(..));
        let jobs = confirmed.filter_map(|id| open.get(&id)?.running(id));
        self.running.change(|running| running.extend(jobs));
    }

    /// Marks the counters that count `charge` as changed, so that they are written with the transaction.
    pub(super) fn touch(&mut self, charge: &Charge) {
        let counters = locked(&self.counters);
        for scope in Scope::of(charge) {
            if !counters.of(&scope).is_empty() {
                self.dirty.insert(scope);
            }
        }
    }

    /// Writes the counters that have changed since they were last written, each one once.
    pub(super) fn write_counters(&mut self, db: &WriterDb<'_>) -> rusqlite::Result<()> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        let mut counters = locked(&self.counters);
        for scope in self.dirty.drain() {
            let (kind, name) = scope.parts();
            for series in counters.of_mut(&scope) {
                if series.since_moved {
                    write_since(db, &scope, series)?;
                    series.since_moved = false;
                }
                for counter in series.counters.iter_mut().filter(|c| c.moved) {
                    let parameters = params![
                        kind,
                        &**name,
                        series.measure.name(),
                        series.currency.as_deref().unwrap_or_default(),
                        series.window.name(),
                        int(counter.start),
                        int(counter.used),
                    ];
                    // Only the first charge of a window finds no row. An upsert, which first looks for the
                    // place to insert a row, costs a third more for all other charges.
                    if db.with(UPDATE_COUNTER, |update| update.execute(parameters))? == 0 {
                        insert_counter(db, parameters)?;
                    }
                    counter.moved = false;
                }
            }
        }
        Ok(())
    }
}

/// The statement that updates the row of a counter.
const UPDATE_COUNTER: &str =
    "UPDATE counter SET used = ?7 WHERE scope = ?1 AND name = ?2 AND measure = ?3
     AND currency = ?4 AND window = ?5 AND window_start = ?6";

/// Inserts the row of a counter, when it is written for the first time.
fn insert_counter(db: &Connection, parameters: &[&dyn ToSql]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO counter (scope, name, measure, currency, window, window_start, used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    insert.execute(parameters)?;
    Ok(())
}

/// Writes the time from which on a series is complete, and deletes the counters of earlier windows.
fn write_since(db: &Connection, scope: &Scope, series: &Series) -> rusqlite::Result<()> {
    let (kind, name) = scope.parts();
    let parameters = params![
        kind,
        &**name,
        series.measure.name(),
        series.currency.as_deref().unwrap_or_default(),
        series.window.name(),
        int(series.since),
    ];
    let mut write = db.prepare_cached(
        "INSERT INTO counted (scope, name, measure, currency, window, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET since = ?6",
    )?;
    write.execute(parameters)?;
    let mut forget = db.prepare_cached(
        "DELETE FROM counter WHERE scope = ?1 AND name = ?2 AND measure = ?3 AND currency = ?4
             AND window = ?5 AND window_start < ?6",
    )?;
    forget.execute(parameters)?;
    Ok(())
}

/// A set of names, each of which is stored once and shared by all reservations with that name.
#[derive(Default)]
struct Names(HashSet<Arc<str>>);

impl Names {
    fn of(&mut self, text: &str) -> Arc<str> {
        if let Some(name) = self.0.get(text) {
            return name.clone();
        }
        let name = Arc::<str>::from(text);
        self.0.insert(name.clone());
        name
    }
}

fn read_counters(db: &Connection, names: &mut Names) -> rusqlite::Result<Counters> {
    const MEASURES: [Measure; 6] = [
        Measure::Requests,
        Measure::VideoSeconds,
        Measure::ListCost,
        Measure::BilledCost,
        Measure::Cost,
        Measure::InFlight,
    ];
    let mut counters = Counters::default();
    let mut all =
        db.prepare_cached("SELECT scope, name, measure, window, currency, since FROM counted")?;
    let mut read = db.prepare_cached(
        "SELECT window_start, used FROM counter
         WHERE scope = ?1 AND name = ?2 AND measure = ?3 AND window = ?4 AND currency = ?5
         ORDER BY window_start",
    )?;
    let mut found = all.query([])?;
    while let Some(row) = found.next()? {
        let (kind, name) = (text(row, "scope")?, text(row, "name")?);
        let (of_measure, of_window) = (text(row, "measure")?, text(row, "window")?);
        let currency = text(row, "currency")?;
        let scope = match kind {
            "group" => Scope::Group(names.of(name)),
            "channel" => Scope::Channel(names.of(name)),
            _ => Scope::Key(names.of(name)),
        };
        let mut measures = MEASURES.into_iter();
        let measure = measures.find(|m| m.name() == of_measure);
        let measure = measure.ok_or_else(|| unreadable(row, "measure", "no measure of a limit"))?;
        let window = of_window.parse::<Window>();
        let window = window.map_err(|_| unreadable(row, "window", "no window of a limit"))?;
        let series = [kind, name, of_measure, of_window, currency];
        let sums = read.query_map(series, |row| {
            Ok(Counter {
                start: uint(row, "window_start")?,
                used: uint(row, "used")?,
                moved: false,
            })
        })?;
        let series = Series {
            measure,
            window,
            currency: measure.has_currency().then(|| names.of(currency)),
            since: uint(row, "since")?,
            since_moved: false,
            counters: sums.collect::<Result<_, _>>()?,
        };
        counters.insert(&scope, series);
    }
    Ok(counters)
}

/// Reads the column `last` of one row; 0 where it is null.
fn last(db: &Connection, sql: &str) -> rusqlite::Result<i64> {
    let last = db.query_row(sql, [], |row| row.get::<_, Option<i64>>("last"))?;
    Ok(last.unwrap_or(0))
}

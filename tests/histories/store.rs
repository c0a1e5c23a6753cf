//! The ledgers that histories run on, read by plain SQL, and the ways in which they fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio_postgres::NoTls;
use tollgate::key::Secret;
use tollgate::ledger::SqliteLedger;
use tollgate::ledger::{Ledger, MemoryLedger, PostgresLedger};

use crate::row::Row;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::until;
use crate::way::Way;

/// A line of the bill: jobs, seconds, list and billed cost, by key, currency, group, channel,
/// model and size.
pub type Bill = BTreeMap<[String; 6], [u64; 4]>;

/// A connection to SQLite, once the gate has made the file.
type Reader = Mutex<Option<Connection>>;

pub enum Store {
    Memory(Arc<MemoryLedger>),
    Sqlite(Folder, Reader),
    Postgres(Box<Database>),
}

/// A database of one worker, and the way to it that gates take.
pub struct Database {
    client: tokio_postgres::Client,
    way: Way,
    url: String,
}

/// Of SQLite in the order of `Row`'s fields; PostgreSQL's names differ in three.
const COLUMNS: &str = "created_ms; key; \"group\"; currency; multiplier; channel; model; size; seconds; list_nanos; billed_nanos; state; job; coalesce(upstream_id, job); outcome";
/// All tables but the schema's version, the leases, and those that commands write: nothing can be
/// deleted there.
const TABLES: &str = "SELECT string_agg(format('tollgate.%I', tablename), ',') FROM pg_tables \
                      WHERE schemaname = 'tollgate' AND tablename NOT IN \
                      ('schema_version', 'lease', 'adjustment', 'reload')";

impl Store {
    /// It outlives its gates, unlike in real life.
    pub fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub fn sqlite() -> Self {
        Self::Sqlite(Folder::new(), Reader::default())
    }

    pub async fn postgres(cluster: &Postgres) -> Self {
        let direct = cluster.create_database();
        let database = direct.rsplit('/').next().unwrap().to_owned();
        let way = Way::open(cluster.folder().join(".s.PGSQL.5432")).await;
        let (client, connection) = tokio_postgres::connect(&direct, NoTls).await.unwrap();
        tokio::spawn(connection);
        let address = way.address;
        let url = format!("postgres://postgres@{address}/{database}?sslmode=disable");
        let store = Box::new(Database { client, way, url });
        // Makes the schema.
        let store = Self::Postgres(store);
        store.open().ready().await.unwrap();
        store
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Sqlite(..) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// Forgets all histories before.
    pub async fn clear(&mut self) {
        match self {
            Self::Memory(_) => *self = Self::memory(),
            Self::Sqlite(..) => *self = Self::sqlite(),
            Self::Postgres(db) => {
                let tables = db.value(TABLES).await;
                let sql = format!("TRUNCATE {tables}, tollgate.lease");
                db.client.batch_execute(&sql).await.unwrap();
            }
        }
    }

    pub fn open(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Memory(ledger) => ledger.clone(),
            Self::Sqlite(..) => Arc::new(SqliteLedger::open(&self.file()).unwrap()),
            Self::Postgres(db) => {
                let url = Secret::new(db.url.clone());
                let connections = 4.try_into().unwrap();
                Arc::new(PostgresLedger::new(&url, connections).unwrap())
            }
        }
    }

    /// Waits until nobody has that ledger any more.
    pub async fn closed(&self, ledger: Weak<dyn Ledger>) {
        if let Self::Memory(_) = self {
            return;
        }
        until("the ledger is closed", async || ledger.strong_count() == 0).await;
        if let Self::Sqlite(..) = self {
            let free = async || SqliteLedger::open(&self.file()).is_ok();
            until("the ledger can be opened again", free).await;
        }
    }

    fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder, _) => folder.join("tollgate.db"),
            Self::Memory(_) | Self::Postgres(_) => panic!("no file"),
        }
    }

    fn sqlite_rows(&self, reader: &Reader, sql: &str) -> Vec<Vec<String>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let open = || Connection::open_with_flags(self.file(), flags).unwrap();
        let mut db = reader.lock().unwrap();
        let db = db.get_or_insert_with(open);
        let mut statement = db
            .prepare_cached(sql)
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cell = |i| Ok(row.get::<_, Option<String>>(i)?.unwrap_or_default());
            (0..columns).map(cell).collect()
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    async fn read(&self, sqlite: &str, postgres: &str) -> Vec<Vec<String>> {
        match self {
            Self::Memory(_) => vec![],
            Self::Sqlite(_, reader) => self.sqlite_rows(reader, sqlite),
            Self::Postgres(db) => db.rows(postgres).await,
        }
    }

    /// All reservations, in the order of their making.
    pub async fn rows(&self) -> Vec<Row> {
        if let Self::Memory(ledger) = self {
            return ledger.reservations().into_iter().map(Row::of).collect();
        }
        let cells = |columns: &str, text: &str| {
            let cast = |column| format!("CAST({column} AS {text})");
            columns.split(";").map(cast).collect::<Vec<_>>().join(",")
        };
        let sqlite = format!("{COLUMNS}; deleted; hex(id); channel_clock_ms IS NOT NULL");
        let sqlite = cells(&sqlite, "TEXT");
        let postgres = COLUMNS
            .replace("\"group\"", "group_name")
            .replace("multiplier", "multiplier_thousandths");
        let postgres = format!("{postgres}; deleted::int; id; (channel_clock_ms IS NOT NULL)::int");
        let postgres = cells(&postgres, "text");
        let from = |cells, table| format!("SELECT {cells} FROM {table} ORDER BY created_ms, id");
        let sqlite = from(sqlite, "reservation");
        let postgres = from(postgres, "tollgate.reservation");
        let rows = self.read(&sqlite, &postgres).await;
        rows.into_iter().map(Row::read).collect()
    }

    /// `None` where there is none.
    pub async fn bill(&self) -> Option<Bill> {
        if let Self::Memory(_) = self {
            return None;
        }
        let cells = |group: &str, list: &str, billed: &str| {
            format!(
                "SELECT CAST(key AS TEXT), CAST(currency AS TEXT), CAST({group} AS TEXT), \
                 CAST(channel AS TEXT), CAST(model AS TEXT), CAST(size AS TEXT), \
                 CAST(sum(jobs) AS TEXT), CAST(sum(video_seconds) AS TEXT), \
                 CAST(sum({list}) AS TEXT), CAST(sum({billed}) AS TEXT)"
            )
        };
        let sqlite = cells("\"group\"", "list_nanos", "billed_nanos");
        let sqlite = sqlite + " FROM bill GROUP BY 1, 2, 3, 4, 5, 6";
        let nanos = |cost: &str| format!("({cost} * 1000000000)::bigint");
        let postgres = cells("group_name", &nanos("list_cost_usd"), &nanos("billed_cost"));
        let postgres = postgres + " FROM tollgate.bill GROUP BY 1, 2, 3, 4, 5, 6";
        let rows = self.read(&sqlite, &postgres).await.into_iter();
        let lines = rows.map(|row| {
            let name = |i: usize| row[i].clone();
            let number = |i: usize| row[i + 6].parse().unwrap();
            (std::array::from_fn(name), std::array::from_fn(number))
        });
        // A line of what is open alone owes nothing.
        Some(lines.filter(|(_, sums)| *sums != [0; 4]).collect())
    }

    /// Lets another gate do what one does for all. Those that live are not taken for dead because the machine is
    /// slow: their heartbeats come with the rounds of the history, and leases end by the real clock.
    pub async fn end_leases(&self) {
        if let Self::Postgres(db) = self {
            let sql = "DELETE FROM tollgate.lease WHERE name NOT LIKE 'gate:%'; \
                UPDATE tollgate.lease SET until = now() + interval '1 hour'";
            db.client.batch_execute(sql).await.unwrap();
        }
    }

    /// The gates that are taken for living.
    pub async fn living(&self) -> Vec<String> {
        let Self::Postgres(db) = self else {
            return vec![];
        };
        let sql = "SELECT name FROM tollgate.lease WHERE name LIKE 'gate:%'";
        db.rows(sql).await.into_iter().flatten().collect()
    }

    /// Lets the time pass after which a gate is taken for dead.
    pub async fn bury(&self, gates: &[String]) {
        if let Self::Postgres(db) = self {
            for gate in gates {
                let sql = format!("DELETE FROM tollgate.lease WHERE name = '{gate}'");
                db.client.batch_execute(&sql).await.unwrap();
            }
        }
    }

    /// Breaks the connections of gates: now, or with the next answer, which is lost.
    pub fn cut(&self, with_an_answer: bool) {
        if let Self::Postgres(db) = self {
            match with_an_answer {
                true => db.way.loses_answer.store(true, Ordering::SeqCst),
                false => db.way.cuts.send_modify(|cuts| *cuts += 1),
            }
        }
    }

    /// Notes how the ledger stands.
    pub async fn note(&self) {
        let Self::Postgres(db) = self else { return };
        let mut sql = String::from("DROP SCHEMA IF EXISTS noted CASCADE; CREATE SCHEMA noted;");
        for table in db.value(TABLES).await.split(',') {
            let name = table.rsplit('.').next().unwrap();
            sql += &format!("CREATE TABLE noted.{name} AS TABLE {table};");
        }
        db.client.batch_execute(&sql).await.unwrap();
    }

    /// Loses all that has been written since.
    pub async fn lose(&self) {
        let Self::Postgres(db) = self else { return };
        let tables = db.value(TABLES).await;
        let mut sql = format!("TRUNCATE {tables};");
        for table in tables.split(',') {
            let name = table.rsplit('.').next().unwrap();
            sql +=
                &format!("INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM noted.{name};");
        }
        self.cut(false);
        db.client.batch_execute(&sql).await.unwrap();
    }
}

impl Database {
    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self.client.query(sql, &[]).await;
        let rows = rows.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let cell =
            |row: &tokio_postgres::Row, i| row.get::<_, Option<String>>(i).unwrap_or_default();
        let cells = |row: &tokio_postgres::Row| (0..row.len()).map(|i| cell(row, i)).collect();
        rows.iter().map(cells).collect()
    }

    async fn value(&self, sql: &str) -> String {
        self.rows(sql).await[0][0].clone()
    }
}

/// How long a step may take that waits for nothing by itself.
pub const PATIENCE: Duration = Duration::from_secs(60);

//! What stands in the ledger, read by plain SQL beside the gates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Where the gates keep their ledger.
#[derive(Clone)]
pub enum Books {
    Sqlite(PathBuf),
    Postgres(String),
}

/// A reservation.
#[derive(Debug)]
pub struct Row {
    pub key: String,
    pub state: String,
    pub outcome: String,
    pub job: Option<String>,
    pub list_nanos: u64,
    /// SHA-256, in hexadecimal.
    pub prompt: String,
}

impl Books {
    /// As the configuration names it.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// All reservations.
    pub async fn rows(&self) -> Vec<Row> {
        let (prefix, prompt) = match self {
            Self::Sqlite(_) => ("", "lower(hex(prompt_sha256))"),
            Self::Postgres(_) => ("tollgate.", "encode(prompt_sha256, 'hex')"),
        };
        let sql = format!(
            "SELECT key, state, coalesce(outcome, ''), job, list_nanos, {prompt} \
             FROM {prefix}reservation"
        );
        let rows = self.query(&sql).await.unwrap();
        let row = |mut row: Vec<Option<String>>| Row {
            prompt: row.remove(5).unwrap(),
            list_nanos: row.remove(4).unwrap().parse().unwrap(),
            job: row.remove(3),
            outcome: row.remove(2).unwrap(),
            state: row.remove(1).unwrap(),
            key: row.remove(0).unwrap(),
        };
        rows.into_iter().map(row).collect()
    }

    /// What each key owes or may come to owe, in nanos of USD. An error while the database
    /// is away.
    pub async fn owed(&self) -> Result<BTreeMap<String, u64>, String> {
        let prefix = match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => "tollgate.",
        };
        let sql = format!(
            "SELECT key, sum(list_nanos) FROM {prefix}reservation \
             WHERE state <> 'voided' GROUP BY key"
        );
        let rows = self.query(&sql).await?;
        let row = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter().flatten();
            let (key, sum) = (columns.next().unwrap(), columns.next().unwrap());
            (key, sum.parse().unwrap())
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// How many reservations have that state.
    pub async fn count(&self, state: &str) -> usize {
        let rows = self.rows().await;
        rows.iter().filter(|row| row.state == state).count()
    }

    /// How many reservations were unknown at any time.
    pub async fn were_unknown(&self) -> usize {
        let prefix = match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => "tollgate.",
        };
        let sql =
            format!("SELECT state FROM {prefix}reservation WHERE unknown_since_ms IS NOT NULL");
        self.query(&sql).await.unwrap().len()
    }

    /// Whether every reservation is posted or voided.
    pub async fn is_settled(&self) -> bool {
        let ends = ["posted", "voided"];
        let rows = self.rows().await;
        rows.iter().all(|row| ends.contains(&row.state.as_str()))
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        match self {
            Self::Sqlite(path) => {
                tokio::task::block_in_place(|| sqlite(path, sql)).map_err(|e| e.to_string())
            }
            Self::Postgres(url) => postgres(url, sql).await.map_err(|e| e.to_string()),
        }
    }
}

fn sqlite(path: &PathBuf, sql: &str) -> rusqlite::Result<Vec<Vec<Option<String>>>> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(5))?;
    let mut statement = db.prepare(sql)?;
    let columns = statement.column_count();
    let text = |value: rusqlite::types::Value| match value {
        rusqlite::types::Value::Null => None,
        rusqlite::types::Value::Integer(number) => Some(number.to_string()),
        rusqlite::types::Value::Text(text) => Some(text),
        other => panic!("{other:?} is no text"),
    };
    let rows = statement.query_map([], |row| {
        (0..columns).map(|i| row.get(i).map(text)).collect()
    })?;
    rows.collect()
}

async fn postgres(url: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await?;
    drop(client);
    let _ = connection.await;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let texts = rows.map(|row| {
        let columns = 0..row.len();
        columns.map(|i| row.get(i).map(str::to_owned)).collect()
    });
    Ok(texts.collect())
}

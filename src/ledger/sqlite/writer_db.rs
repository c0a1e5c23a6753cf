//! A connection that keeps the statements of each create prepared.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::{Connection, PrepFlags, Statement};

/// The connection of the writing thread, with statements that are found by the address of their text.
///
/// The cache of [`Connection::prepare_cached`] hashes the whole text of a statement before and after each
/// use. The texts of these statements are long, and each create uses them.
pub(super) struct WriterDb<'c> {
    connection: &'c Connection,
    /// The statements that are not in use, each with its text.
    idle: RefCell<Vec<(&'static str, Statement<'c>)>>,
}

impl<'c> WriterDb<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            idle: RefCell::default(),
        }
    }

    /// Runs `run` with the statement `sql`, which is prepared at its first use.
    ///
    /// # Errors
    /// Where the statement cannot be prepared, or `run` fails. After an error, its next use prepares it anew.
    pub(super) fn with<T>(
        &self,
        sql: &'static str,
        run: impl FnOnce(&mut Statement<'c>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut statement = match self.take(sql) {
            Some(statement) => statement,
            None => {
                let flags = PrepFlags::SQLITE_PREPARE_PERSISTENT;
                self.connection.prepare_with_flags(sql, flags)?
            }
        };
        let done = run(&mut statement)?;
        self.idle.borrow_mut().push((sql, statement));
        Ok(done)
    }

    fn take(&self, sql: &'static str) -> Option<Statement<'c>> {
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().position(|(text, _)| std::ptr::eq(*text, sql))?;
        Some(idle.swap_remove(at).1)
    }
}

impl Deref for WriterDb<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "INSERT INTO number VALUES (?1)";

    #[test]
    fn a_statement_is_prepared_once() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE number (value INTEGER UNIQUE) STRICT")
            .unwrap();
        let db = WriterDb::new(&connection);
        for value in 0..3 {
            let add = |statement: &mut Statement<'_>| statement.execute([value]);
            assert_eq!(db.with(ADD, add).unwrap(), 1);
            assert_eq!(db.idle.borrow().len(), 1);
        }
        // One that has failed is not used again.
        assert!(db.with(ADD, |add| add.execute([0])).is_err());
        assert!(db.idle.borrow().is_empty());
        // Within another one, a second is prepared.
        db.with(ADD, |outer| {
            db.with(ADD, |inner| inner.execute([3]))?;
            outer.execute([4])
        })
        .unwrap();
        assert_eq!(db.idle.borrow().len(), 2);
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let count = db.query_row("SELECT count(*) FROM number", [], count);
        assert_eq!(count.unwrap(), 5);
    }
}

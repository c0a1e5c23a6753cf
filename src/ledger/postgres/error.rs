//! Classifies the errors of the database: whether a connection is broken, whether a retry can help, and
//! how the error is described to operators.

use std::error::Error as _;

use tokio_postgres::error::{Error, SqlState};

use crate::ledger::Unavailable;

/// The consequence of an error for its statement.
pub(super) enum Kind {
    /// The connection broke and must not be used again. The statement may have been executed.
    Broken,
    /// The statement was not executed, for a reason that passes.
    Passing,
    /// The database refused the statement, for a reason that does not pass: the statement was not executed.
    Refused,
}

/// Returns the consequence of an error for its statement.
pub(super) fn kind(error: &Error) -> Kind {
    let Some(code) = error.code() else {
        // The server has not answered at all.
        return Kind::Broken;
    };
    let broken = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
        // The server became a standby: the URL's other hosts may have the primary.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    let passing = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // Two attempts of one call, or two gates with one job, wrote at the same time: the next attempt sees
        // what the other wrote.
        SqlState::UNIQUE_VIOLATION,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    // Class 08: connection exceptions, which poolers answer with too.
    if broken.contains(code) || code.code().starts_with("08") {
        Kind::Broken
    } else if passing.contains(code) {
        Kind::Passing
    } else {
        Kind::Refused
    }
}

/// Describes an error to operators by the server's message. The details of the message are left out, since
/// they may contain data of rows.
pub(super) fn explain(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) if *db.code() == SqlState::LOCK_NOT_AVAILABLE => {
            "another transaction holds the key's or group's counters for too long: see \
             pg_stat_activity for who does"
                .into()
        }
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => {
            let mut text = error.to_string();
            // The driver's message lacks what exactly has failed: the error's sources say that.
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
    }
}

/// The message of a server, without its details.
#[derive(Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {})", code.code())]
struct ServerError {
    message: String,
    code: SqlState,
}

/// Makes the error of a call from its reason and the driver's error.
pub(super) fn unavailable(reason: String, error: Error) -> Unavailable {
    let unavailable = match kind(&error) {
        Kind::Broken | Kind::Passing => Unavailable::transient(reason),
        Kind::Refused => Unavailable::permanent(reason),
    };
    match error.as_db_error() {
        Some(db) => unavailable.with_source(ServerError {
            message: db.message().to_owned(),
            code: db.code().clone(),
        }),
        None => unavailable.with_source(error),
    }
}

//! `tollgate void` and `tollgate credit`: record adjustments of a bill, also while gates run.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use nix::unistd::{Uid, User, getuid};
use uuid::Uuid;

use super::beside::{self, IN_MEMORY, WITHIN, shown};
use crate::config::{self, LedgerUrl};
use crate::ledger::{
    Adjustment, AdjustmentKind, Author, CreditDecision, VOID_ID, VoidDecision, credit_postgres,
    credit_sqlite, kept, void_postgres, void_sqlite,
};
use crate::money::SignedAmount;

/// The arguments of `tollgate void`.
#[derive(Args)]
pub(super) struct WantedVoid {
    /// The public id of the job, or the id of its reservation, which `tollgate job` prints.
    job: String,
    /// The reason, which the bill shows.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The name recorded as the author; by default the user who runs the command, at this host.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// The arguments of `tollgate credit`.
#[derive(Args)]
pub(super) struct WantedCredit {
    /// The name of the key.
    key: String,
    /// The amount that is taken off the key's bill, in the currency of its group, such as 12.50; a
    /// negative amount, such as -12.50, is added to it.
    #[arg(allow_hyphen_values = true)]
    amount: SignedAmount,
    /// The reason, which the bill shows.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The name recorded as the author; by default the user who runs the command, at this host.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// An id that you choose, such as a ticket's number. If the command is repeated with the same id,
    /// the credit is recorded once.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

pub(super) fn void(config: &Path, wanted: &WantedVoid) -> ExitCode {
    let voided = author(wanted.by.as_deref(), &wanted.reason).and_then(|author| {
        let ledger = config::load_ledger(config).map_err(|error| error.to_string())?;
        beside::run(void_in(ledger, wanted.job.clone(), author))
    });
    told(voided.and_then(|decision| tell_void(&decision)))
}

pub(super) fn credit(config: &Path, wanted: &WantedCredit) -> ExitCode {
    told(record_credit(config, wanted))
}

fn told(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => super::fail(problem),
    }
}

/// Returns the author of an adjustment that is made now for `reason`: `by`, or else the present user at this
/// host. The error says which argument is empty.
fn author(by: Option<&str>, reason: &str) -> Result<Author, String> {
    let by = match by {
        Some(by) => kept(by).ok_or("--by is empty: say who records this")?,
        None => {
            let user = user_of(&|name| std::env::var(name).ok(), getuid());
            kept(&format!("{user}@{}", beside::host())).unwrap_or_default()
        }
    };
    Ok(Author {
        at: beside::now(),
        made_by: by,
        reason: kept(reason).ok_or("--reason is empty: say why, for the bill")?,
    })
}

/// Returns the name of the user who runs the command or, under sudo, of the user who called sudo. The name
/// is read from environment variables. Services and containers often set none of them. Then the result is the
/// system's name of the user `uid`, or `uid` and the number if the user has no name.
fn user_of(variable: &dyn Fn(&str) -> Option<String>, uid: Uid) -> String {
    let set = |name: &&str| variable(name).filter(|user| !user.trim().is_empty());
    let users = ["SUDO_USER", "USER", "LOGNAME"];
    users
        .iter()
        .find_map(set)
        .unwrap_or_else(|| match User::from_uid(uid) {
            Ok(Some(user)) => user.name,
            Ok(None) | Err(_) => format!("uid {uid}"),
        })
}

async fn void_in(ledger: LedgerUrl, job: String, author: Author) -> Result<VoidDecision, String> {
    match ledger {
        LedgerUrl::Memory => Err(IN_MEMORY.into()),
        LedgerUrl::Sqlite(path) => {
            // The call has a time limit of its own, and does not end in the middle of a write.
            let voided = void_sqlite(&path, &job, &author, WITHIN / 2);
            voided.map_err(|error| error.to_string())
        }
        LedgerUrl::Postgres(url) => {
            let voided = void_postgres(&url, &job, &author).await;
            voided.map_err(|error| {
                format!("{error}; where it is not known whether this was done, repeat it")
            })
        }
    }
}

fn tell_void(decision: &VoidDecision) -> Result<String, String> {
    let of = |adjustment: &Adjustment| match &adjustment.kind {
        AdjustmentKind::Void(voided) => {
            let (charge, name) = (&voided.charge, voided.job.as_deref());
            let name = name.map_or_else(|| voided.reservation.to_string(), str::to_owned);
            let payer = &charge.payer;
            let (billed, currency, key) = (charge.billed, &payer.currency, &payer.key);
            format!("{name}: {billed} {currency} of key {key}")
        }
        AdjustmentKind::Credit { .. } => adjustment.id.to_string(),
    };
    match decision {
        VoidDecision::Record(void) => Ok(format!(
            "voided {}; the limits of the key and its group have room again within seconds",
            of(void)
        )),
        VoidDecision::Already(void) => Ok(format!(
            "already voided {}, {} by {}: {}",
            of(void),
            shown(void.author.at),
            void.author.made_by,
            void.author.reason
        )),
        VoidDecision::NothingOwed(id) => Ok(format!(
            "nothing is owed for reservation {id}: it was voided when it ended"
        )),
        VoidDecision::Refuse(refusal) => Err(refusal.to_string()),
    }
}

fn record_credit(config: &Path, wanted: &WantedCredit) -> Result<String, String> {
    let author = author(wanted.by.as_deref(), &wanted.reason)?;
    if wanted.amount == SignedAmount::ZERO {
        return Err("a credit of nothing: write an amount, such as 12.50".into());
    }
    let chosen = wanted.id.as_deref().map(usable_id).transpose()?;
    let (ledger, group) =
        config::load_key_group(config, &wanted.key).map_err(|error| error.to_string())?;
    let group = group.ok_or_else(|| {
        format!(
            "the configuration has no key named {:?}: the currency is that of its group (keep the \
             entry of a key that has ended, with `disabled: true`)",
            wanted.key
        )
    })?;
    if ledger == LedgerUrl::Memory {
        return Err(IN_MEMORY.into());
    }
    let id = chosen.unwrap_or_else(|| {
        let id = format!("adj_{}", Uuid::now_v7().simple());
        // Printed before the write: after an interruption nobody knows whether the write was made.
        eprintln!("credit {id}: repeat the command with --id {id} if it is interrupted");
        id.into()
    });
    let adjustment = Adjustment {
        id,
        author,
        kind: AdjustmentKind::Credit {
            group: group.name,
            key: wanted.key.as_str().into(),
            currency: group.currency,
            amount: wanted.amount,
        },
    };
    let decision = beside::run(credit_in(ledger, adjustment.clone()));
    let decision = decision.map_err(|problem| with_id(&problem, &adjustment.id))?;
    tell_credit(&adjustment, &decision)
}

/// Adds to an error message how to repeat the command so that its credit is recorded once.
fn with_id(problem: &str, id: &str) -> String {
    format!(
        "{problem}; where it is not known whether credit {id} was recorded, repeat the command with \
         --id {id}, which records it once"
    )
}

/// Checks the id that an operator chose for a credit: 1 to 128 visible ASCII characters that do not begin
/// with [`VOID_ID`]. A repetition of the command is recognised by this id.
fn usable_id(id: &str) -> Result<Arc<str>, String> {
    let visible = id.bytes().all(|byte| byte.is_ascii_graphic());
    match (1..=128).contains(&id.len()) && visible && !id.starts_with(VOID_ID) {
        true => Ok(id.into()),
        false => Err(format!(
            "write --id as 1 to 128 visible ASCII characters that do not begin with {VOID_ID}"
        )),
    }
}

async fn credit_in(ledger: LedgerUrl, wanted: Adjustment) -> Result<CreditDecision, String> {
    match ledger {
        LedgerUrl::Memory => Err(IN_MEMORY.into()),
        LedgerUrl::Sqlite(path) => {
            let recorded = credit_sqlite(&path, &wanted, WITHIN / 2);
            recorded.map_err(|error| error.to_string())
        }
        LedgerUrl::Postgres(url) => {
            let recorded = credit_postgres(&url, &wanted).await;
            recorded.map_err(|error| error.to_string())
        }
    }
}

fn tell_credit(wanted: &Adjustment, decision: &CreditDecision) -> Result<String, String> {
    let of = |adjustment: &Adjustment| match &adjustment.kind {
        AdjustmentKind::Credit {
            key,
            currency,
            amount,
            ..
        } => {
            let amount = if *amount < SignedAmount::ZERO {
                -*amount
            } else {
                *amount
            };
            let kind = adjustment.kind_name();
            format!(
                "{kind} of {amount} {currency} for key {key}, id {}",
                adjustment.id
            )
        }
        AdjustmentKind::Void(_) => format!("void, id {}", adjustment.id),
    };
    match decision {
        CreditDecision::Record => Ok(format!("recorded a {}", of(wanted))),
        CreditDecision::Already(found) => Ok(format!(
            "already recorded {} by {}: a {}",
            shown(found.author.at),
            found.author.made_by,
            of(found)
        )),
        CreditDecision::IdTaken(found) => Err(format!(
            "that id is the one of another adjustment, and nothing was recorded: a {}: {}",
            of(found),
            found.author.reason
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_records_something_has_a_name() {
        let named = author(Some(" ticket-bot "), "late").unwrap();
        assert_eq!(&*named.made_by, "ticket-bot");
        assert!(author(Some(" "), "late").is_err());
        // A service has none of the variables.
        let uid = nix::unistd::getuid();
        let name = user_of(&|_| None, uid);
        assert!(!name.is_empty() && name != "somebody", "{name}");
        let nameless = nix::unistd::Uid::from_raw(3_999_999_999);
        assert_eq!(user_of(&|_| None, nameless), "uid 3999999999");
        let empty = |name: &str| (name == "SUDO_USER").then(String::new);
        assert_eq!(user_of(&empty, nameless), "uid 3999999999");
        let sudo = |name: &str| Some(name.to_lowercase());
        assert_eq!(user_of(&sudo, uid), "sudo_user");
    }
}

//! Each expression of the rules and of the dashboard, asked of a Prometheus that scrapes a gate; and
//! the money of the dashboard beside the bill.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use tollgate::ledger::{Adjustment, AdjustmentKind, Author, credit_sqlite};

use crate::dashboard::{self, Target};
use crate::engines::Engine;
use crate::prometheus::Prometheus;
use crate::rules::{rules_of, selectors_in};
use crate::support::programs::find;
use crate::support::until;
use crate::traffic::Traffic;

/// The alerts that this run does not give a cause for, and why.
const QUIET: [(&str, &str); 18] = [
    ("TollgateCertificateNotLoaded", "no certificate is renewed"),
    ("TollgateNoneReady", "the gate is ready"),
    ("TollgateDown", "the gate is scraped"),
    ("TollgateNotReady", "the gate is ready"),
    ("TollgateRestarts", "the gate is started once"),
    ("TollgateRulesMissing", "the recording rules are loaded"),
    ("TollgateVersionsDiffer", "there is one gate"),
    ("TollgateLedgerDown", "the ledger can be used"),
    ("TollgateLedgerWalGrows", "nobody reads the ledger for long"),
    ("TollgateLedgersDiffer", "there is one gate"),
    (
        "TollgateReservationsHeld",
        "no reservation is held for six hours",
    ),
    ("TollgateRoundsLate", "the rounds are made"),
    ("TollgateManyAdjustments", "there is one adjustment"),
    ("TollgateJobsExpired", "no job is as old as a day"),
    ("TollgateJobsDoNotEnd", "jobs have ended within the hour"),
    ("TollgateJobsNotCharged", "no answer names a job too late"),
    ("TollgateUploadsNearLimit", "there are few uploads"),
    ("TollgateConnectionsNearLimit", "there are few clients"),
];
/// The alerts whose cause is the machine, and which.
const EITHER: [(&str, &str); 3] = [
    (
        "TollgateOpenFilesNearLimit",
        "how many files it lets a process open",
    ),
    ("TollgateSlow", "how fast it is"),
    ("TollgateLedgerSlow", "how fast its disk is"),
];
/// By key, channel and currency, in whole billionths.
type Money = BTreeMap<[String; 3], i128>;

/// What is billed, paid, and left where both are in one currency.
type Table = [Money; 3];

/// Adds up the documented statement for the margin, over the models.
fn by_sql(engine: &Engine) -> Table {
    let (_, section) = include_str!("../../docs/billing.md")
        .split_once("### Margin")
        .unwrap();
    let (_, sql) = section.split_once("sqlite3 conf/tollgate.db \"").unwrap();
    let (sql, _) = sql.split_once('"').unwrap();
    let mut table = Table::default();
    for row in engine.rows(sql) {
        let [key, _, channel, currency, billed, paid_in, paid, margin] = &row[..] else {
            panic!("{row:?}");
        };
        let columns = [(billed, currency), (paid, paid_in), (margin, currency)];
        for (sums, (amount, currency)) in table.iter_mut().zip(columns) {
            if let Ok(amount) = amount.parse::<i128>() {
                let line = [key, channel, currency].map(String::clone);
                *sums.entry(line).or_default() += amount;
            }
        }
    }
    without_zeros(table)
}

/// What the panel shows.
async fn by_dashboard(prometheus: &Prometheus, targets: &[Target]) -> Table {
    let mut table = Table::default();
    for (sums, target) in table.iter_mut().zip(targets) {
        for (labels, value) in prometheus.query(&target.expression).await {
            let line = ["key", "channel", "currency"].map(|name| labels[name].clone());
            // As far as a float tells: far below a cent, and these sums are not large.
            sums.insert(line, (value * 1e9).round() as i128);
        }
    }
    without_zeros(table)
}

/// Leaves out the lines of those whose jobs all failed, or who had none.
fn without_zeros(mut table: Table) -> Table {
    for sums in &mut table {
        sums.retain(|_, sum| *sum != 0);
    }
    table
}

/// Records an adjustment, as an operator does.
fn adjust(engine: &Engine) {
    let Engine::Sqlite(folder) = engine else {
        panic!("{} is not adjusted here", engine.name());
    };
    let adjustment = Adjustment {
        id: "ticket-1".into(),
        author: Author {
            at: tollgate::clock::now(),
            made_by: "kim@desk".into(),
            reason: "late".into(),
        },
        kind: AdjustmentKind::Credit {
            group: "sora2".into(),
            key: "demo".into(),
            currency: "CNY".into(),
            amount: "1.50".parse().unwrap(),
        },
    };
    let path = folder.join("tollgate.db");
    credit_sqlite(&path, &adjustment, Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_give_data_and_the_dashboard_shows_the_bill() {
    let Some(program) = find("prometheus", "TOLLGATE_PROMETHEUS") else {
        return;
    };
    let engine = Engine::sqlite();
    let traffic = Traffic::start(&engine).await;
    let admin = traffic.stand.admin;
    let prometheus = Prometheus::start(&program, admin).await;
    let data = async |expression: &str| {
        until(expression, async || prometheus.gives_data(expression).await).await;
    };
    // Counters are at zero when they are seen first.
    data("count_over_time(tollgate_ready[1m]) >= 2").await;
    traffic.run(data).await;
    adjust(&engine);

    let targets = dashboard::targets();
    for target in &targets {
        data(&target.expression).await;
    }
    let table: Vec<_> = targets
        .into_iter()
        .filter(|target| target.panel == "Billed, paid and margin by key and channel")
        .collect();
    let bill = by_sql(&engine);
    assert_eq!(table.len(), bill.len());
    assert!(bill.iter().all(|sums| sums.len() >= 6), "{bill:?}");
    // A counter moves right after the ledger has, and is scraped after that.
    let began = Instant::now();
    let mut shown = by_dashboard(&prometheus, &table).await;
    while shown != bill && began.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        shown = by_dashboard(&prometheus, &table).await;
    }
    assert_eq!(shown, bill);

    // The listener has no certificate: this is as if one ended tomorrow.
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let tomorrow = tomorrow.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let certificates = &traffic.stand.handle.metrics().certificates;
    certificates.set_listener(tomorrow.as_secs());
    for rule in rules_of("recording.yaml") {
        data(&rule.expr).await;
        data(&rule.record.unwrap()).await;
    }
    for rule in rules_of("alerts.yaml") {
        let alert = rule.alert.unwrap();
        for selector in selectors_in(&rule.expr) {
            data(&selector).await;
        }
        let is_in = |list: &[(&str, &str)]| list.iter().any(|(name, _)| *name == alert);
        if is_in(&EITHER) {
            prometheus.query(&rule.expr).await;
        } else if is_in(&QUIET) {
            let found = prometheus.query(&rule.expr).await;
            assert!(found.is_empty(), "{alert}: {found:?}");
        } else {
            data(&rule.expr).await;
            // Prometheus has the alert, at least as one that is pending.
            data(&format!("ALERTS{{alertname=\"{alert}\"}}")).await;
        }
    }
}

/// Names columns that there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statements_of_the_handbook_can_be_asked() {
    let handbook = include_str!("../../docs/operations.md");
    let (_, section) = handbook.split_once("\n## Alerts\n").unwrap();
    let statements = section
        .split('`')
        .filter(|text| text.starts_with("SELECT "));
    let statements: Vec<_> = statements.map(|text| text.replace('\n', " ")).collect();
    assert_eq!(statements.len(), 2);
    for engine in Engine::durable() {
        let ledger = engine.open();
        ledger.ready().await.unwrap();
        for sql in &statements {
            assert!(engine.rows(sql).is_empty(), "{}: {sql}", engine.name());
        }
    }
}

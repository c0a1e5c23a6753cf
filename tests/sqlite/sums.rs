//! Sums of more than 63 bits: of the bill, of pruned totals, and of limits.

use std::sync::Arc;

use rusqlite::Connection;
use tollgate::ledger::{BindingLimits, Charge, Confirmed, Ledger, ReservationId};
use tollgate::money::Amount;
use tollgate::policy::{Key, Measure};

use crate::folder::Folder;
use crate::suite::{NOW, charge, confirmation, key, limit, reserved};
use crate::{later, look, make, open, post, rows, used};

/// 8,400,000,000.7 units: three are 25.2e9, and their fractions are more than a unit.
const LARGE: u64 = 8_400_000_000_700_000_000;

fn large(key: &Key) -> Arc<Charge> {
    let amount = Amount::from_nanos(LARGE).unwrap();
    Arc::new(Charge {
        list: amount,
        billed: amount,
        ..(*charge(key, 4)).clone()
    })
}

async fn make_large(ledger: &dyn Ledger, key: &Key, id: u128) -> ReservationId {
    let charge = large(key);
    assert!(reserved(ledger, key, id, &charge, NOW).await);
    let (tie, limits) = (
        confirmation(&charge, &format!("video_{id}")),
        BindingLimits::default(),
    );
    let id = ReservationId(id);
    let confirmed = ledger.confirm(id, &tie, &limits, NOW).await.unwrap();
    assert!(matches!(confirmed, Confirmed::Done { .. }));
    id
}

const BILL: &str = "SELECT jobs, list_cost_usd, billed_cost, billed_nanos, billed_units,
    billed_fraction, open_jobs, open_billed_cost, typeof(billed_nanos), typeof(open_billed_nanos)
    FROM bill WHERE key = 'studio'";

#[tokio::test]
async fn a_bill_beyond_63_bits_is_exact_and_can_be_pruned() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![]);
    let bill = || rows(&look(&path), BILL);
    for id in 1..=6 {
        make_large(&ledger, &key, id).await;
    }
    for id in 1..=3 {
        post(&ledger, ReservationId(id), NOW).await;
    }
    let three = "3|25200000002.100000000|25200000002.100000000|25200000002100000000\
        |25200000002|100000000|3|25200000002.100000000|text|text";
    assert_eq!(bill(), [three]);
    // All at once, beside what is left, and added to what is there.
    assert_eq!(ledger.prune(later(1), NOW, 100).await, Ok(3));
    assert_eq!(bill(), [three]);
    post(&ledger, ReservationId(4), NOW).await;
    assert_eq!(ledger.prune(later(1), NOW, 100).await, Ok(1));
    let four = "4|33600000002.800000000|33600000002.800000000|33600000002800000000\
        |33600000002|800000000|2|16800000001.400000000|text|text";
    assert_eq!(bill(), [four]);
    for id in [5, 6] {
        post(&ledger, ReservationId(id), NOW).await;
    }
    let six = "6|50400000004.200000000|50400000004.200000000|50400000004200000000\
        |50400000004|200000000|0|0.000000000|text|integer";
    assert_eq!(bill(), [six]);
    for at_once in [1, 1] {
        assert_eq!(ledger.prune(later(1), NOW, at_once).await, Ok(1));
        assert_eq!(bill(), [six]);
    }
    let total = "SELECT list_nanos, billed_units, typeof(billed_nanos) FROM total";
    assert_eq!(
        rows(&look(&path), total),
        ["50400000004200000000|50400000004|text"]
    );
    // Whoever is not concerned is not concerned.
    make(&ledger, &key, 7, NOW).await;
}

#[tokio::test]
async fn a_bill_that_fits_is_in_whole_numbers_to_the_last() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![]);
    // The largest sum that fits, by one nano.
    for (id, nanos) in [(1, LARGE), (2, i64::MAX as u64 - LARGE)] {
        let amount = Amount::from_nanos(nanos).unwrap();
        let charge = Arc::new(Charge {
            list: amount,
            billed: amount,
            ..(*charge(&key, 4)).clone()
        });
        assert!(reserved(&ledger, &key, id, &charge, NOW).await);
    }
    let bill = "SELECT open_list_nanos, typeof(open_list_nanos), open_billed_cost FROM bill";
    let whole = "9223372036854775807|integer|9223372036.854775807";
    assert_eq!(rows(&look(&path), bill), [whole]);
}

/// What version 2 and version 1 of the ledger have written.
fn old(path: &std::path::Path, version: u32) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!(
        "../../src/ledger/schema/sqlite/001_ledger.sql"
    ))
    .unwrap();
    if version == 2 {
        let second = include_str!("../../src/ledger/schema/sqlite/002_ids_and_prices.sql");
        db.execute_batch(second).unwrap();
    }
    db.execute_batch(&format!(
        "INSERT INTO total VALUES
             ('2023-11-14', 'studio', 'sora2', 'CNY', 'official', 'sora-2', '1280x720', 3, 12,
              1200000000, 6000000000),
             ('2023-11-13', 'other', 'sora2', 'CNY', 'official', 'sora-2', '1280x720', 3, 12,
              9223372036854775806, {});
         PRAGMA application_id = 1953459308;
         PRAGMA user_version = {version};",
        i64::MAX
    ))
    .unwrap();
}

#[tokio::test]
async fn older_ledgers_are_brought_along() {
    for version in [1, 2] {
        let folder = Folder::new();
        let path = folder.join("tollgate.db");
        crate::files::logged(&folder);
        old(&path, version);
        let ledger = open(&path);
        // A total that was cut off cannot be mended, but it is said.
        let lines = crate::files::logged(&folder);
        let about = lines.iter().filter(|line| line.contains("too low"));
        let about: Vec<_> = about.collect();
        assert!(
            about.len() == 1 && about[0].contains("key other for 2023-11-13"),
            "{lines:?}"
        );

        let key = key(vec![]);
        let id = make(&ledger, &key, 1, NOW).await;
        let bill = || {
            let sql = "SELECT day, key, jobs, list_nanos, list_cost_usd, billed_nanos, billed_cost,
                          open_jobs FROM bill ORDER BY day";
            rows(&look(&path), sql)
        };
        let other = "2023-11-13|other|3|9223372036854775806|9223372036.854775806|\
            9223372036854775807|9223372036.854775807|0";
        let studio = "2023-11-14|studio|3|1200000000|1.200000000|6000000000|6.000000000|1";
        assert_eq!(bill(), [other, studio]);
        post(&ledger, id, NOW).await;
        assert_eq!(ledger.prune(later(1), NOW, 10).await, Ok(1));
        let studio = "2023-11-14|studio|4|1600000000|1.600000000|8000000000|8.000000000|0";
        assert_eq!(bill(), [other, studio]);
        let limited = crate::suite::key(vec![limit(Measure::BilledCost, "100/total")]);
        assert_eq!(used(&ledger, &limited, NOW).await, [8_000_000_000]);
        drop(ledger);
        open(&path);
        let lines = crate::files::logged(&folder);
        let again = lines.iter().filter(|line| line.contains("too low"));
        assert_eq!(again.count(), 1, "once");
    }
}

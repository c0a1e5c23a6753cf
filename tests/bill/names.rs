//! Which charge a name is that an operator voids: no client and no channel makes it another one's.

use std::time::Duration;

use tollgate::ledger::{Confirmation, Draft, Ledger, ReservationId, Resolution, VoidDecision};
use tollgate::policy::{Key, Timestamp};

use crate::engines::{self, Engine};
use crate::ledger::{Adjusting as _, author};
use crate::suite::{NOW, binding, charge, confirmation, draft, key};

const LATER: Timestamp = Timestamp(NOW.0 + 86_400_000);

/// Posts a job with the request id that its client chose, if any, and its two ids.
async fn posted(
    ledger: &dyn Ledger,
    key: &Key,
    id: u128,
    request: Option<&str>,
    [job, upstream]: [&str; 2],
) {
    let charge = charge(key, 4);
    let draft = Draft {
        request_id: request.map(Into::into),
        ..draft(id, &charge)
    };
    ledger.reserve(&draft, key, NOW).await.unwrap();
    let tie = Confirmation {
        upstream_id: upstream.into(),
        ..confirmation(&charge, job)
    };
    let (id, limits) = (ReservationId(id), binding(key));
    ledger.confirm(id, &tie, &limits, NOW).await.unwrap();
    let end = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_some());
}

/// Tries to void what has the name: `Ok` with the reservation that is or was voided.
async fn voided(engine: &Engine, name: &str) -> Result<(&'static str, String), String> {
    let of = |void: tollgate::ledger::Adjustment| void.id.to_string();
    match engine.void_at(name, author(LATER, "black")).await {
        VoidDecision::Record(void) => Ok(("recorded", of(void))),
        VoidDecision::Already(void) => Ok(("already", of(void))),
        VoidDecision::NothingOwed(id) => Ok(("nothing owed", id.to_string())),
        VoidDecision::Refuse(refusal) => Err(refusal.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_repeated_later_voids_no_other_charge() {
    engines::on(Engine::durable(), async |engine| {
        let (ledger, key) = (engine.open(), key(vec![]));
        let id = |id| ReservationId(id).to_string();
        let void = |id| format!("void_{}", ReservationId(id));
        posted(&*ledger, &key, 1, None, ["video_1", "video_1"]).await;
        assert_eq!(voided(&engine, "video_1").await, Ok(("recorded", void(1))));
        assert!(ledger.prune(LATER, LATER, 1000).await.unwrap() > 0);

        // Others are called what it was: by their clients, and by a channel.
        let names = [id(1), ReservationId(1).request_id()];
        posted(&*ledger, &key, 2, Some("video_1"), ["video_2", "video_2"]).await;
        posted(&*ledger, &key, 3, Some(&names[0]), ["video_3", "video_1"]).await;
        posted(&*ledger, &key, 4, Some(&names[1]), ["video_4", &names[0]]).await;
        for name in ["video_1", &names[0], &names[1]] {
            let again = voided(&engine, name).await;
            assert_eq!(
                again,
                Ok(("already", void(1))),
                "{name} on {}",
                engine.name()
            );
        }
        // Its channel gives a further job the same id.
        posted(&*ledger, &key, 5, None, ["video_1", "up_5"]).await;
        let refused = voided(&engine, "video_1").await.unwrap_err();
        assert!(
            refused.contains(&format!("{} of key studio", id(5))),
            "{refused}"
        );
        assert_eq!(voided(&engine, &id(5)).await, Ok(("recorded", void(5))));
        assert_eq!(voided(&engine, "video_1").await, Ok(("already", void(5))));
        assert_eq!(engine.rows("SELECT count(*) FROM adjustment"), [["2"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_or_a_channel_chose_names_no_charge_by_itself() {
    engines::on(Engine::durable(), async |engine| {
        let (ledger, key) = (engine.open(), key(vec![]));
        posted(&*ledger, &key, 1, Some("order-1"), ["video_1", "up_1"]).await;
        posted(&*ledger, &key, 2, Some("order-1"), ["video_2", "up_2"]).await;
        for (name, ids) in [("order-1", &[1, 2][..]), ("up_1", &[1])] {
            let refused = voided(&engine, name).await.unwrap_err();
            for id in ids {
                let named = format!("{} of key studio", ReservationId(*id));
                assert!(
                    refused.contains(&named),
                    "{name} on {}: {refused}",
                    engine.name()
                );
            }
        }
        assert_eq!(engine.rows("SELECT count(*) FROM adjustment"), [["0"]]);
        let own = ReservationId(1).request_id();
        let void = format!("void_{}", ReservationId(1));
        assert_eq!(voided(&engine, &own).await, Ok(("recorded", void)));
    })
    .await;
}

/// To search for a name takes a look at every row: no create waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_for_without_the_lock_of_sqlite() {
    let engine = Engine::sqlite();
    let Engine::Sqlite(folder) = &engine else {
        return;
    };
    let (ledger, key) = (engine.open(), key(vec![]));
    posted(&*ledger, &key, 1, Some("order-1"), ["video_1", "up_1"]).await;
    let path = folder.join("tollgate.db");
    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let void =
        |name| tollgate::ledger::void_sqlite(&path, name, &author(LATER, "black"), Duration::ZERO);
    for name in ["video_9", "order-1", "up_1"] {
        let refused = void(name).unwrap();
        assert!(
            matches!(refused, VoidDecision::Refuse(_)),
            "{name}: {refused:?}"
        );
    }
    let busy = void("video_1").unwrap_err();
    assert!(
        matches!(busy, tollgate::ledger::OpenError::Busy(_)),
        "{busy}"
    );
    holder.execute_batch("ROLLBACK").unwrap();
    let done = void("video_1").unwrap();
    assert!(matches!(done, VoidDecision::Record(_)), "{done:?}");
}

//! What counts in which window, in which currency, and for whom, in every ledger.

use std::sync::Arc;

use tollgate::ledger::{
    BindingLimits, Claimed, Confirmed, Ledger, ReservationId, Reserved, Resolution, Usage,
};
use tollgate::policy::{Allow, Group, Key, Limit, Measure, Timestamp};

use crate::suite::{
    NOW, binding, charge, claiming, confirmation, draft, group, key, key_in, limit, reserved,
};

/// 2023-11-30T23:59:30Z: half a minute before a minute, an hour, a day and a month end.
const EDGE: Timestamp = Timestamp(1_701_388_770_000);
const MINUTE: u64 = 60_000;
const MONTH: u64 = 30 * 86_400_000;

fn after(at: Timestamp, ms: u64) -> Timestamp {
    Timestamp(at.0 + ms)
}

async fn used(ledger: &dyn Ledger, key: &Key, now: Timestamp) -> Vec<u64> {
    let usage = ledger.usage(key, now).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

/// One measure in every window.
fn every_window(measure: Measure, max: u64) -> Vec<Limit> {
    let windows = ["min", "hour", "day", "month", "total"];
    windows
        .map(|window| limit(measure, &format!("{max}/{window}")))
        .to_vec()
}

/// Two gates whose clocks lie 90 seconds apart, at the edge of a month.
pub async fn clocks_that_differ_count_in_windows_of_their_own(ledger: Arc<dyn Ledger>) {
    let key = key(every_window(Measure::Requests, 10));
    let charge = charge(&key, 4);
    let (slow, fast) = (EDGE, after(EDGE, 90_000));
    for (id, at) in [(1, slow), (2, fast), (3, slow), (4, fast), (5, slow)] {
        assert!(reserved(&*ledger, &key, id, &charge, at).await);
    }
    assert_eq!(used(&*ledger, &key, slow).await, [3, 3, 3, 3, 5]);
    assert_eq!(used(&*ledger, &key, fast).await, [2, 2, 2, 2, 5]);
    // What the slow one made is given back where it was taken, whoever gives it back.
    for (id, at) in [(1, slow), (3, fast)] {
        let voided = ledger.void(ReservationId(id), "refused", at).await;
        assert!(voided.unwrap().is_some());
    }
    assert_eq!(used(&*ledger, &key, slow).await, [1, 1, 1, 1, 3]);
    assert_eq!(used(&*ledger, &key, fast).await, [2, 2, 2, 2, 3]);
}

/// One request from a clock that is a month ahead locks nobody out, and nobody in.
pub async fn a_clock_that_is_far_ahead_heals(ledger: Arc<dyn Ledger>) {
    let key = key(vec![
        limit(Measure::Requests, "2/min"),
        limit(Measure::Requests, "100/month"),
    ]);
    let charge = charge(&key, 4);
    assert!(reserved(&*ledger, &key, 1, &charge, NOW).await);
    let ahead = after(NOW, MONTH);
    assert!(reserved(&*ledger, &key, 2, &charge, ahead).await);
    ledger.prune(Timestamp(0), ahead, 100).await.unwrap();
    assert_eq!(used(&*ledger, &key, NOW).await, [1, 1]);
    assert!(reserved(&*ledger, &key, 3, &charge, NOW).await);
    let refused = ledger.reserve(&draft(4, &charge), &key, NOW).await;
    let Ok(Reserved::Refused(reached)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((reached.used, reached.resets), (2, Some(1_700_000_040)));
    assert!(reserved(&*ledger, &key, 5, &charge, after(NOW, MINUTE)).await);
    assert_eq!(used(&*ledger, &key, after(NOW, MINUTE)).await, [1, 3]);
    assert_eq!(used(&*ledger, &key, ahead).await, [1, 1]);
    // Likewise one that is behind.
    let behind = Timestamp(NOW.0 - MINUTE);
    assert!(reserved(&*ledger, &key, 6, &charge, behind).await);
    assert_eq!(used(&*ledger, &key, behind).await, [1, 4]);
    assert_eq!(used(&*ledger, &key, NOW).await, [2, 4]);
}

/// A limit that is configured later knows of the windows of all clocks.
pub async fn new_counters_know_of_windows_to_come(ledger: Arc<dyn Ledger>) {
    let free = key(vec![]);
    let charge = charge(&free, 4);
    let times = [EDGE, after(EDGE, 90_000), after(EDGE, MONTH)];
    for (id, at) in (1..).zip(times) {
        assert!(reserved(&*ledger, &free, id, &charge, at).await);
    }
    let limited = key(every_window(Measure::VideoSeconds, 100));
    assert_eq!(used(&*ledger, &limited, EDGE).await, [4, 4, 4, 4, 12]);
    let next = after(EDGE, 90_000);
    assert_eq!(used(&*ledger, &limited, next).await, [4, 4, 4, 8, 12]);
    // And of those that were before the first time that it was asked for.
    let other = key_in(
        &group(every_window(Measure::VideoSeconds, 100)),
        "studio",
        vec![],
    );
    assert_eq!(used(&*ledger, &other, next).await, [4, 4, 4, 8, 12]);
    assert_eq!(used(&*ledger, &other, EDGE).await, [4, 4, 4, 4, 12]);
}

/// A month of minutes, each with a request, and those that are looked at long afterwards.
pub async fn windows_that_are_over_are_forgotten_and_summed_up_again(ledger: Arc<dyn Ledger>) {
    let key = key(vec![
        limit(Measure::Requests, "10/min"),
        limit(Measure::Requests, "1000/hour"),
    ]);
    let charge = charge(&key, 4);
    for minute in 0..150_u64 {
        let at = after(NOW, minute * MINUTE);
        assert!(reserved(&*ledger, &key, u128::from(minute), &charge, at).await);
    }
    let last = after(NOW, 149 * MINUTE);
    ledger.prune(Timestamp(0), last, 100).await.unwrap();
    for minute in [149, 100, 20, 0] {
        let at = after(NOW, minute * MINUTE);
        let (hour, of_hour) = (at.0 / 3_600_000, |n: &u64| (NOW.0 + n * MINUTE) / 3_600_000);
        let in_hour = (0..150).filter(|n| of_hour(n) == hour).count() as u64;
        assert_eq!(used(&*ledger, &key, at).await, [1, in_hour], "{minute}");
        // Where a clock goes back, limits hold as they did.
        let id = 1000 + u128::from(minute);
        assert!(reserved(&*ledger, &key, id, &charge, at).await);
        assert_eq!(used(&*ledger, &key, at).await, [2, in_hour + 1], "{minute}");
        let voided = ledger.void(ReservationId(id), "refused", last).await;
        assert!(voided.unwrap().is_some());
    }
    let voided = ledger.void(ReservationId(0), "refused", last).await;
    assert!(voided.unwrap().is_some());
    assert_eq!(used(&*ledger, &key, NOW).await[0], 0);
}

fn group_in(name: &str, currency: &str, limits: Vec<Limit>) -> Arc<Group> {
    Arc::new(Group {
        name: name.into(),
        multiplier: "5".parse().unwrap(),
        currency: currency.into(),
        limits,
        channels: None,
    })
}

/// There is no sum of several currencies.
pub async fn limits_of_money_count_one_currency(ledger: Arc<dyn Ledger>) {
    let daily = limit(Measure::BilledCost, "20/day");
    let of = |group: &Arc<Group>| {
        Arc::new(Key {
            name: "studio".into(),
            group: group.clone(),
            allow: Allow::default(),
            limits: vec![daily, limit(Measure::ListCost, "100/day")],
            channels: None,
        })
    };
    let cny = of(&group_in("a", "CNY", vec![]));
    let usd = of(&group_in("b", "USD", vec![daily]));
    // 4 s are 2.00, 12 s are 6.00 of either currency.
    assert!(reserved(&*ledger, &cny, 1, &charge(&cny, 12), NOW).await);
    assert!(reserved(&*ledger, &usd, 2, &charge(&usd, 4), NOW).await);
    let units = |units: u64| units * 1_000_000_000;
    let list = 1_600_000_000;
    assert_eq!(used(&*ledger, &cny, NOW).await, [units(6), list]);
    assert_eq!(used(&*ledger, &usd, NOW).await, [units(2), list, units(2)]);
    for id in 3..6 {
        assert!(reserved(&*ledger, &usd, id, &charge(&usd, 12), NOW).await);
    }
    let refused = ledger.reserve(&draft(6, &charge(&usd, 4)), &usd, NOW).await;
    let Ok(Reserved::Refused(reached)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((reached.limit, reached.used), (daily, units(20)));
    assert_eq!(reached.currency.as_deref(), Some("USD"));
    // The other currency's budget is as it was, also where the group itself changes.
    let changed = of(&group_in("b", "CNY", vec![daily]));
    assert_eq!(used(&*ledger, &changed, NOW).await[..1], [units(6)]);
    assert_eq!(used(&*ledger, &changed, NOW).await[2..], [0]);
    assert!(reserved(&*ledger, &changed, 7, &charge(&changed, 12), NOW).await);
    let Usage { used, limit, .. } = ledger.usage(&changed, NOW).await.unwrap().remove(2);
    assert_eq!((used, limit), (units(6), daily));
    // A correction counts where its charge does.
    let tie = confirmation(&charge(&cny, 4), "video_1");
    let limits = BindingLimits::from(&*usd);
    let confirmed = ledger.confirm(ReservationId(1), &tie, &limits, NOW).await;
    assert!(matches!(confirmed, Ok(Confirmed::Done { .. })));
    let usage = ledger.usage(&cny, NOW).await.unwrap();
    assert_eq!(usage[0].used, units(2 + 6));
    let end = ledger.settle(ReservationId(1), Resolution::Voided, "failed", NOW);
    assert!(end.await.unwrap().is_some());
    assert_eq!(ledger.usage(&cny, NOW).await.unwrap()[0].used, units(6));
    assert_eq!(ledger.usage(&usd, NOW).await.unwrap()[0].used, units(20));
}

/// The losers of a race are told to come back for the winner's answer, never that a budget
/// is spent: that is what the winner has taken.
pub async fn repetitions_at_once_are_never_refused_by_a_limit(ledger: Arc<dyn Ledger>) {
    for round in 0..8 {
        let key = key_in(
            &group(vec![]),
            &format!("studio-{round}"),
            vec![limit(Measure::ListCost, "0.4/total")],
        );
        let charge = charge(&key, 4);
        let tasks = (0..12).map(|task| {
            let (ledger, charge, key) = (ledger.clone(), charge.clone(), key.clone());
            tokio::spawn(async move {
                let draft = claiming(round << 8 | task, &charge, "order-17", 1);
                ledger.reserve(&draft, &key, NOW).await.unwrap()
            })
        });
        let mut done = 0;
        for task in tasks.collect::<Vec<_>>() {
            match task.await.unwrap() {
                Reserved::Done => done += 1,
                other => assert_eq!(other, Reserved::Claimed(Claimed::InFlight)),
            }
        }
        assert_eq!(done, 1);
    }
}

/// What an idempotency key stands for, without a reservation.
pub async fn claims_are_told_by_what_was_asked(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let first = claiming(1, &charge(&key, 4), "order-17", 1);
    let claim = |fingerprint| {
        claiming(9, &charge(&key, 4), "order-17", fingerprint)
            .claim
            .unwrap()
    };
    let claimed = async |key: &str, fingerprint| {
        let claim = claim(fingerprint);
        ledger.claimed(key, &claim, NOW).await.unwrap()
    };
    assert_eq!(claimed("studio", 1).await, None);
    assert_eq!(ledger.reserve(&first, &key, NOW).await, Ok(Reserved::Done));
    assert_eq!(claimed("studio", 1).await, Some(Claimed::InFlight));
    assert_eq!(claimed("studio", 2).await, Some(Claimed::Other));
    assert_eq!(claimed("other", 1).await, None);
    let tie = confirmation(&first.charge, "video_1");
    let confirmed = ledger
        .confirm(ReservationId(1), &tie, &binding(&key), NOW)
        .await;
    assert!(matches!(confirmed, Ok(Confirmed::Done { .. })));
    let answer = tie.answer.unwrap();
    assert_eq!(claimed("studio", 1).await, Some(Claimed::Answered(answer)));
    assert_eq!(claimed("studio", 2).await, Some(Claimed::Other));
    let expired = ledger
        .claimed("studio", &claim(1), after(NOW, 86_400_000))
        .await;
    assert_eq!(expired, Ok(None));
}

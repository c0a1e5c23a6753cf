//! One suite for every ledger.

use std::sync::Arc;

use tollgate::ledger::{
    Charge, Confirmation, Ledger, MemoryLedger, ReservationId, Reserved, Usage,
};
use tollgate::money::Amount;
use tollgate::policy::{Allow, Group, Key, Limit, Measure, Timestamp};

/// 2023-11-14T22:13:20Z: in the middle of a minute, an hour, a day and a month.
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn limit(measure: Measure, text: &str) -> Limit {
    Limit::parse(measure, text).unwrap()
}

fn key_in(group: &Arc<Group>, name: &str, limits: Vec<Limit>) -> Arc<Key> {
    Arc::new(Key {
        name: name.into(),
        group: group.clone(),
        allow: Allow::default(),
        limits,
    })
}

fn group(limits: Vec<Limit>) -> Arc<Group> {
    Arc::new(Group {
        name: "sora2".into(),
        multiplier: "5".parse().unwrap(),
        currency: "CNY".into(),
        limits,
    })
}

fn key(limits: Vec<Limit>) -> Arc<Key> {
    key_in(&group(vec![]), "studio", limits)
}

fn charge(key: &Arc<Key>, seconds: u32) -> Charge {
    let list = "0.1".parse::<Amount>().unwrap().nanos() * u64::from(seconds);
    Charge {
        key: key.clone(),
        channel: "official".into(),
        model: "sora-2".into(),
        size: "1280x720".into(),
        seconds,
        list: Amount::from_nanos(list).unwrap(),
        billed: Amount::from_nanos(list * 5).unwrap(),
    }
}

fn confirmation(charge: &Charge, job: &str) -> Confirmation {
    Confirmation {
        job: job.into(),
        charge: charge.clone(),
    }
}

async fn reserved(ledger: &dyn Ledger, id: u128, charge: &Charge, now: Timestamp) -> bool {
    ledger
        .reserve(ReservationId(id), charge, now)
        .await
        .unwrap()
        == Reserved::Done
}

async fn used(ledger: &dyn Ledger, key: &Arc<Key>, now: Timestamp) -> Vec<u64> {
    let usage: Vec<Usage> = ledger.usage(key, now).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

/// Runs a test on every engine.
macro_rules! on_every_ledger {
    ($($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            suite::$name(Arc::new(MemoryLedger::default())).await;
        }
    )*};
}

on_every_ledger! {
    a_charge_is_resolved_once
    a_void_gives_back_what_was_taken
    limits_are_decided_in_one_step
    windows_pass
    a_clock_that_is_put_back_opens_no_limit
    groups_share_their_limits
    a_confirmation_ties_the_job_and_corrects_the_charge
    a_correction_counts_in_the_window_of_its_reservation
    unknown_outcomes_stay_pending
    a_job_id_is_taken_once
}

mod suite {
    use super::*;

    pub async fn a_charge_is_resolved_once(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::InFlight, "1")]);
        let charge = charge(&key, 4);
        let id = ReservationId(1);
        assert!(reserved(&*ledger, 1, &charge, NOW).await);
        assert!(
            reserved(&*ledger, 1, &charge, NOW).await,
            "repeating changes nothing"
        );
        assert_eq!(used(&*ledger, &key, NOW).await, [1]);
        let posted = ledger.post(id, NOW).await.unwrap().unwrap();
        assert_eq!(posted.list.to_string(), "0.40");
        assert!(ledger.post(id, NOW).await.unwrap().is_none());
        assert!(ledger.void(id, NOW).await.unwrap().is_none());
        assert_eq!(used(&*ledger, &key, NOW).await, [0]);
        assert!(ledger.void(ReservationId(2), NOW).await.unwrap().is_none());
    }

    pub async fn a_void_gives_back_what_was_taken(ledger: Arc<dyn Ledger>) {
        let key = key(vec![
            limit(Measure::Requests, "2/min"),
            limit(Measure::VideoSeconds, "12/hour"),
            limit(Measure::ListCost, "1.2/day"),
            limit(Measure::BilledCost, "6/total"),
        ]);
        let charge = charge(&key, 12);
        assert!(reserved(&*ledger, 1, &charge, NOW).await);
        assert!(!reserved(&*ledger, 2, &charge, NOW).await);
        ledger.void(ReservationId(1), NOW).await.unwrap().unwrap();
        assert_eq!(used(&*ledger, &key, NOW).await, [0, 0, 0, 0]);
        assert!(reserved(&*ledger, 3, &charge, NOW).await);
        ledger.post(ReservationId(3), NOW).await.unwrap().unwrap();
        let full = [1, 12, 1_200_000_000, 6_000_000_000];
        assert_eq!(used(&*ledger, &key, NOW).await, full);
    }

    pub async fn limits_are_decided_in_one_step(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::ListCost, "20/total")]);
        let charge = charge(&key, 4);
        let tasks = (0..200).map(|id| {
            let (ledger, charge) = (ledger.clone(), charge.clone());
            tokio::spawn(async move { reserved(&*ledger, id, &charge, NOW).await })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut done = 0;
        for task in tasks {
            done += u32::from(task.await.unwrap());
        }
        assert_eq!(done, 50, "20 USD are exactly 50 times 0.40 USD");
        let reached = ledger.check(&key, None, NOW).await.unwrap().unwrap();
        assert_eq!(
            (reached.resets, reached.limit.measure),
            (None, Measure::ListCost)
        );
    }

    pub async fn windows_pass(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::Requests, "1/min")]);
        let charge = charge(&key, 4);
        assert!(reserved(&*ledger, 1, &charge, NOW).await);
        let refused = ledger
            .reserve(ReservationId(2), &charge, NOW)
            .await
            .unwrap();
        let Reserved::Refused(reached) = refused else {
            panic!("{refused:?}");
        };
        let resets = reached.resets.unwrap();
        assert_eq!((reached.used, resets % 60), (1, 0));
        let next = Timestamp(resets * 1000);
        assert!(
            ledger
                .check(&key, Some(&charge), NOW)
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            ledger
                .check(&key, Some(&charge), next)
                .await
                .unwrap()
                .is_none()
        );
        assert!(reserved(&*ledger, 3, &charge, next).await);
        // What was taken in a window that has passed is not given back to this one.
        ledger.void(ReservationId(1), next).await.unwrap().unwrap();
        assert_eq!(used(&*ledger, &key, next).await, [1]);
    }

    pub async fn a_clock_that_is_put_back_opens_no_limit(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::Requests, "1/min")]);
        let charge = charge(&key, 4);
        assert!(reserved(&*ledger, 1, &charge, NOW).await);
        let before = Timestamp(NOW.0 - 60_000);
        assert!(!reserved(&*ledger, 2, &charge, before).await);
        assert!(!reserved(&*ledger, 2, &charge, NOW).await);
    }

    pub async fn groups_share_their_limits(ledger: Arc<dyn Ledger>) {
        let group = group(vec![limit(Measure::VideoSeconds, "8/hour")]);
        let keys = ["a", "b"].map(|name| key_in(&group, name, vec![]));
        assert!(reserved(&*ledger, 1, &charge(&keys[0], 4), NOW).await);
        assert!(reserved(&*ledger, 2, &charge(&keys[1], 4), NOW).await);
        let reached = ledger.check(&keys[0], None, NOW).await.unwrap().unwrap();
        assert!(reached.of_group);
        let other = key_in(&super::group(vec![]), "sora2", vec![]);
        assert!(reserved(&*ledger, 3, &charge(&other, 4), NOW).await);
    }

    pub async fn a_confirmation_ties_the_job_and_corrects_the_charge(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::VideoSeconds, "100/total")]);
        let (asked, rendered) = (charge(&key, 12), charge(&key, 8));
        let id = ReservationId(1);
        assert!(reserved(&*ledger, 1, &asked, NOW).await);
        assert!(ledger.job("video_1").await.unwrap().is_none());
        let tie = confirmation(&rendered, "video_1");
        let before = ledger.confirm(id, &tie, NOW).await.unwrap().unwrap();
        assert_eq!(before.seconds, 12);
        assert!(ledger.confirm(id, &tie, NOW).await.unwrap().is_none());
        assert_eq!(used(&*ledger, &key, NOW).await, [8]);

        let job = ledger.job("video_1").await.unwrap().unwrap();
        assert_eq!((job.reservation, job.charge.seconds), (id, 8));
        assert_eq!((&*job.charge.key.name, job.resolved), ("studio", false));
        let posted = ledger.post(id, NOW).await.unwrap().unwrap();
        assert_eq!(posted.list.to_string(), "0.80");
        assert!(ledger.job("video_1").await.unwrap().unwrap().resolved);
    }

    pub async fn a_correction_counts_in_the_window_of_its_reservation(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::VideoSeconds, "100/min")]);
        let (asked, rendered) = (charge(&key, 12), charge(&key, 8));
        assert!(reserved(&*ledger, 1, &asked, NOW).await);
        let later = Timestamp(NOW.0 + 60_000);
        assert!(reserved(&*ledger, 2, &asked, later).await);
        let tie = confirmation(&rendered, "video_1");
        ledger
            .confirm(ReservationId(1), &tie, later)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(used(&*ledger, &key, later).await, [12]);
    }

    pub async fn unknown_outcomes_stay_pending(ledger: Arc<dyn Ledger>) {
        let key = key(vec![limit(Measure::InFlight, "1")]);
        let charge = charge(&key, 4);
        assert!(reserved(&*ledger, 1, &charge, NOW).await);
        ledger.mark_unknown(ReservationId(1), NOW).await.unwrap();
        assert!(!reserved(&*ledger, 2, &charge, NOW).await);
        let tie = confirmation(&charge, "video_1");
        assert!(
            ledger
                .confirm(ReservationId(1), &tie, NOW)
                .await
                .unwrap()
                .is_some()
        );
        assert!(ledger.void(ReservationId(1), NOW).await.unwrap().is_some());
        assert!(reserved(&*ledger, 2, &charge, NOW).await);
    }

    /// A channel that names one job twice must not hand one key's job to another.
    pub async fn a_job_id_is_taken_once(ledger: Arc<dyn Ledger>) {
        let group = group(vec![]);
        let keys = ["a", "b"].map(|name| key_in(&group, name, vec![]));
        for (id, key) in [(1, &keys[0]), (2, &keys[1])] {
            let charge = charge(key, 4);
            assert!(reserved(&*ledger, id, &charge, NOW).await);
            let tie = confirmation(&charge, "video_1");
            let confirmed = ledger.confirm(ReservationId(id), &tie, NOW).await.unwrap();
            assert_eq!(confirmed.is_some(), id == 1);
        }
        let job = ledger.job("video_1").await.unwrap().unwrap();
        assert_eq!(&*job.charge.key.name, "a");
    }
}

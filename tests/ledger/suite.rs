//! What every ledger holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate::catalog::PriceList;
use tollgate::ledger::{
    BindingLimits, ChannelAnswer, Charge, Claim, ClaimState, Claimed, Confirmation, Confirmed,
    Draft, FirstAnswer, Job, JobsAfter, Ledger, NOT_CREATED, NOT_FOUND_OUT, Payer, Placement,
    PromptDigest, ReservationId, Reserved, Resolution, Scope, State, Uncorrected, Unmatched,
    generated_public_id,
};
use tollgate::money::Amount;
use tollgate::policy::{Allow, Group, Key, Limit, Measure, Timestamp};

/// 2023-11-14T22:13:20Z: in the middle of a minute, an hour, a day and a month.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
const DAY_MS: u64 = 86_400_000;

pub fn limit(measure: Measure, text: &str) -> Limit {
    Limit::parse(measure, text).unwrap()
}

pub fn key_in(group: &Arc<Group>, name: &str, limits: Vec<Limit>) -> Arc<Key> {
    Arc::new(Key {
        name: name.into(),
        group: group.clone(),
        allow: Allow::default(),
        limits,
        channels: None,
    })
}

pub fn group(limits: Vec<Limit>) -> Arc<Group> {
    Arc::new(Group {
        name: "sora2".into(),
        multiplier: "5".parse().unwrap(),
        currency: "CNY".into(),
        limits,
        channels: None,
    })
}

pub fn key(limits: Vec<Limit>) -> Arc<Key> {
    key_in(&group(vec![]), "studio", limits)
}

/// Of sora-2, at 0.10 USD a second.
pub fn charge(key: &Key, seconds: u32) -> Arc<Charge> {
    let list = "0.1".parse::<Amount>().unwrap().nanos() * u64::from(seconds);
    Arc::new(Charge {
        payer: Payer::from(key),
        channel: "official".into(),
        model: "sora-2".into(),
        size: "1280x720".into(),
        seconds,
        list: Amount::from_nanos(list).unwrap(),
        billed: Amount::from_nanos(list * 5).unwrap(),
        prices: PriceList::from_text("1280x720=0.10,720x1280=0.10"),
        purchase: None,
    })
}

/// What binds the corrections of a key that is configured as it was.
pub fn binding(key: &Key) -> BindingLimits {
    BindingLimits::from(key)
}

pub fn draft(id: u128, charge: &Arc<Charge>) -> Draft {
    Draft {
        id: ReservationId(id),
        request_id: None,
        charge: charge.clone(),
        prompt: PromptDigest([7; 32]),
        remix_of: None,
        claim: None,
        next_poll: NOW,
        placement: Placement::default(),
    }
}

pub fn claiming(id: u128, charge: &Arc<Charge>, name: &str, fingerprint: u8) -> Draft {
    Draft {
        claim: Some(Claim {
            idempotency_key: name.into(),
            fingerprint: [fingerprint; 32],
            expires: Timestamp(NOW.0 + DAY_MS),
        }),
        ..draft(id, charge)
    }
}

pub fn confirmation(charge: &Arc<Charge>, job: &str) -> Confirmation {
    Confirmation {
        channel_answer: ChannelAnswer::default(),
        job: job.into(),
        upstream_id: job.into(),
        charge: charge.clone(),
        answer: Some(FirstAnswer {
            status: 200,
            body: Bytes::from(format!("{{\"id\":\"{job}\"}}")),
        }),
    }
}

pub async fn reserved(
    ledger: &dyn Ledger,
    key: &Key,
    id: u128,
    charge: &Arc<Charge>,
    now: Timestamp,
) -> bool {
    let outcome = ledger.reserve(&draft(id, charge), key, now).await.unwrap();
    assert!(!matches!(outcome, Reserved::Claimed(_)));
    outcome == Reserved::Done
}

/// A job of that id, confirmed at `now`.
async fn with_job(ledger: &dyn Ledger, key: &Key, id: u128, now: Timestamp) -> ReservationId {
    let charge = charge(key, 4);
    assert!(reserved(ledger, key, id, &charge, now).await);
    let tie = confirmation(&charge, &format!("video_{id}"));
    let id = ReservationId(id);
    let confirmed = ledger.confirm(id, &tie, &binding(key), now).await.unwrap();
    assert!(matches!(confirmed, Confirmed::Done { .. }));
    id
}

async fn used(ledger: &dyn Ledger, key: &Key, now: Timestamp) -> Vec<u64> {
    let usage = ledger.usage(key, now).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

async fn page(ledger: &dyn Ledger, key: &str, after: Option<&str>, ascending: bool) -> Vec<String> {
    let page = JobsAfter {
        after,
        ascending,
        limit: 3,
    };
    let jobs = ledger.jobs(key, &page).await.unwrap().unwrap();
    jobs.iter().map(|job| job.id.to_string()).collect()
}

pub async fn a_charge_is_resolved_once(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::InFlight, "1")]);
    let id = with_job(&*ledger, &key, 1, NOW).await;
    assert!(
        reserved(&*ledger, &key, 1, &charge(&key, 4), NOW).await,
        "repeating changes nothing"
    );
    assert_eq!(used(&*ledger, &key, NOW).await, [1]);
    assert!(ledger.void(id, "refused", NOW).await.unwrap().is_none());
    let end = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert_eq!(end.await.unwrap().unwrap().list.to_string(), "0.40");
    for resolution in [Resolution::Posted, Resolution::Voided] {
        let again = ledger.settle(id, resolution, "failed", NOW);
        assert!(again.await.unwrap().is_none());
    }
    assert!(ledger.void(id, "refused", NOW).await.unwrap().is_none());
    assert_eq!(used(&*ledger, &key, NOW).await, [0]);
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(job.resolution, Some(Resolution::Posted));
    assert_eq!(job.end.as_deref(), Some("completed"));
    let nobody = ledger.void(ReservationId(2), "refused", NOW);
    assert!(nobody.await.unwrap().is_none());
}

fn every_measure() -> Vec<Limit> {
    vec![
        limit(Measure::Requests, "2/min"),
        limit(Measure::VideoSeconds, "12/hour"),
        limit(Measure::ListCost, "1.2/day"),
        limit(Measure::BilledCost, "6/month"),
        limit(Measure::ListCost, "1.2/total"),
        limit(Measure::InFlight, "1"),
    ]
}

pub async fn what_became_no_job_gives_back_what_was_taken(ledger: Arc<dyn Ledger>) {
    let key = key(every_measure());
    let charge = charge(&key, 12);
    let full = [1, 12, 1_200_000_000, 6_000_000_000, 1_200_000_000, 1];
    assert!(reserved(&*ledger, &key, 1, &charge, NOW).await);
    assert_eq!(used(&*ledger, &key, NOW).await, full);
    assert!(!reserved(&*ledger, &key, 2, &charge, NOW).await);
    let given = ledger.void(ReservationId(1), "refused", NOW);
    assert_eq!(given.await.unwrap().unwrap(), charge);
    assert_eq!(used(&*ledger, &key, NOW).await, [0; 6]);
    assert!(reserved(&*ledger, &key, 3, &charge, NOW).await);
    assert_eq!(used(&*ledger, &key, NOW).await, full);
    // Nothing can be settled that has no job.
    let end = ledger.settle(ReservationId(3), Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_none());
}

pub async fn a_failed_job_gives_back_what_was_taken(ledger: Arc<dyn Ledger>) {
    let key = key(every_measure());
    let id = with_job(&*ledger, &key, 1, NOW).await;
    let later = Timestamp(NOW.0 + 1000);
    let end = ledger.settle(id, Resolution::Voided, "failed", later);
    assert!(end.await.unwrap().is_some());
    assert_eq!(used(&*ledger, &key, later).await, [0; 6]);
    let id = with_job(&*ledger, &key, 2, later).await;
    let end = ledger.settle(id, Resolution::Posted, "completed", later);
    assert!(end.await.unwrap().is_some());
    let kept = [1, 4, 400_000_000, 2_000_000_000, 400_000_000, 0];
    assert_eq!(used(&*ledger, &key, later).await, kept);
}

pub async fn limits_are_decided_in_one_step(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::ListCost, "20/total")]);
    let charge = charge(&key, 4);
    let tasks = (0..200).map(|id| {
        let (ledger, charge, key) = (ledger.clone(), charge.clone(), key.clone());
        tokio::spawn(async move { reserved(&*ledger, &key, id, &charge, NOW).await })
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
    assert!(reserved(&*ledger, &key, 1, &charge, NOW).await);
    let refused = ledger.reserve(&draft(2, &charge), &key, NOW).await.unwrap();
    let Reserved::Refused(reached) = refused else {
        panic!("{refused:?}");
    };
    let resets = reached.resets.unwrap();
    assert_eq!((reached.used, resets % 60), (1, 0));
    let next = Timestamp(resets * 1000);
    let check = async |at| ledger.check(&key, Some(&charge), at).await.unwrap();
    assert!(check(NOW).await.is_some());
    assert!(check(next).await.is_none());
    assert!(reserved(&*ledger, &key, 3, &charge, next).await);
    // What was taken in a window that has passed is not given back to this one.
    let given = ledger.void(ReservationId(1), "refused", next).await;
    assert!(given.unwrap().is_some());
    assert_eq!(used(&*ledger, &key, next).await, [1]);
}

pub async fn groups_share_their_limits(ledger: Arc<dyn Ledger>) {
    let group = group(vec![limit(Measure::VideoSeconds, "8/hour")]);
    let keys = ["a", "b"].map(|name| key_in(&group, name, vec![]));
    for (id, key) in [(1, &keys[0]), (2, &keys[1])] {
        assert!(reserved(&*ledger, key, id, &charge(key, 4), NOW).await);
    }
    let reached = ledger.check(&keys[0], None, NOW).await.unwrap().unwrap();
    assert_eq!(reached.scope, Scope::Group("sora2".into()));
    let other = key_in(&self::group(vec![]), "sora2", vec![]);
    assert!(reserved(&*ledger, &other, 3, &charge(&other, 4), NOW).await);
}

/// Sums are counted up to 63 bits. A counter that has reached that does not know how much is
/// beyond, so it counts no less when something is given back.
pub async fn a_sum_beyond_what_is_counted_refuses(ledger: Arc<dyn Ledger>) {
    const MAX: u64 = i64::MAX as u64;
    let budget = || limit(Measure::ListCost, "9223372036.854775807/total");
    let group = group(vec![]);
    // Whether the counter was kept from the first charge on, or is summed up from all of them.
    for (first, name) in [(10, "kept"), (20, "summed up")] {
        let free = key_in(&group, name, vec![]);
        let limited = key_in(&group, name, vec![budget()]);
        let of = |nanos| {
            Arc::new(Charge {
                list: Amount::from_nanos(nanos).unwrap(),
                ..(*charge(&free, 4)).clone()
            })
        };
        if name == "kept" {
            assert_eq!(used(&*ledger, &limited, NOW).await, [0]);
        }
        for id in first..first + 3 {
            assert!(reserved(&*ledger, &free, id, &of(MAX - 7), NOW).await);
        }
        let is_refused = async || {
            let draft = draft(first + 5, &of(1));
            let outcome = ledger.reserve(&draft, &limited, NOW).await.unwrap();
            let Reserved::Refused(reached) = outcome else {
                panic!("{name}: {outcome:?}");
            };
            assert_eq!((reached.used, reached.limit), (MAX, budget()), "{name}");
        };
        is_refused().await;
        let given = ledger.void(ReservationId(first), "refused", NOW).await;
        assert!(given.unwrap().is_some());
        is_refused().await;
        let tie = confirmation(&of(1), &format!("video_{first}"));
        let id = ReservationId(first + 1);
        let confirmed = ledger.confirm(id, &tie, &binding(&free), NOW).await;
        assert!(matches!(confirmed, Ok(Confirmed::Done { .. })));
        is_refused().await;
    }
}

/// A limit is one on what was charged, not on what was charged since it was written down.
pub async fn a_limit_that_is_configured_later_counts_what_was_before(ledger: Arc<dyn Ledger>) {
    let free = key(vec![]);
    let yesterday = Timestamp(NOW.0 - DAY_MS);
    with_job(&*ledger, &free, 1, yesterday).await;
    let voided = with_job(&*ledger, &free, 2, NOW).await;
    let end = ledger.settle(voided, Resolution::Voided, "failed", NOW);
    assert!(end.await.unwrap().is_some());
    let posted = with_job(&*ledger, &free, 3, NOW).await;
    let end = ledger.settle(posted, Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_some());
    with_job(&*ledger, &free, 4, NOW).await;

    let limits = vec![
        limit(Measure::VideoSeconds, "100/day"),
        limit(Measure::VideoSeconds, "100/month"),
        limit(Measure::Requests, "100/total"),
        limit(Measure::InFlight, "100"),
    ];
    let limited = key(limits.clone());
    assert_eq!(used(&*ledger, &limited, NOW).await, [8, 12, 3, 2]);
    // Its group, too, and also where a reservation is what asks first.
    let grouped = key_in(&group(limits), "studio", vec![]);
    let charge = charge(&grouped, 4);
    assert!(reserved(&*ledger, &grouped, 5, &charge, NOW).await);
    assert_eq!(used(&*ledger, &grouped, NOW).await, [12, 16, 4, 3]);
    // While a limit is not configured, its counter is still kept.
    with_job(&*ledger, &free, 6, NOW).await;
    assert_eq!(used(&*ledger, &limited, NOW).await, [16, 20, 5, 4]);
}

pub async fn a_confirmation_ties_the_job_and_corrects_the_charge(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::VideoSeconds, "100/total")]);
    let (asked, rendered) = (charge(&key, 12), charge(&key, 8));
    let id = ReservationId(1);
    assert!(reserved(&*ledger, &key, 1, &asked, NOW).await);
    assert!(ledger.job("video_1").await.unwrap().is_none());
    let tie = confirmation(&rendered, "video_1");
    let confirmed = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    let done = Confirmed::Done {
        before: asked,
        after: rendered.clone(),
        limit_reached: None,
    };
    assert_eq!(confirmed, done);
    let again = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    let job = "video_1".into();
    assert_eq!(again, Confirmed::Already { job });
    let other = confirmation(&rendered, "video_2");
    let other = ledger
        .confirm(id, &other, &binding(&key), NOW)
        .await
        .unwrap();
    assert_eq!(other, Confirmed::Closed);
    assert_eq!(used(&*ledger, &key, NOW).await, [8]);

    let job = ledger.job("video_1").await.unwrap().unwrap();
    let expected = Job {
        id: "video_1".into(),
        upstream_id: "video_1".into(),
        reservation: id,
        charge: rendered,
        address: None,
        created: NOW,
        remix_of: None,
        resolution: None,
        end: None,
        deleted: false,
    };
    assert_eq!(job, expected);
    let end = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert_eq!(end.await.unwrap().unwrap().list.to_string(), "0.80");
}

pub async fn a_correction_counts_in_the_window_of_its_reservation(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::VideoSeconds, "100/min")]);
    let (asked, rendered) = (charge(&key, 12), charge(&key, 8));
    assert!(reserved(&*ledger, &key, 1, &asked, NOW).await);
    let later = Timestamp(NOW.0 + 60_000);
    assert!(reserved(&*ledger, &key, 2, &asked, later).await);
    let tie = confirmation(&rendered, "video_1");
    let confirmed = ledger
        .confirm(ReservationId(1), &tie, &binding(&key), later)
        .await;
    assert!(matches!(confirmed, Ok(Confirmed::Done { .. })));
    assert_eq!(used(&*ledger, &key, later).await, [12]);
}

/// A channel that renders more than was asked for must not spend more than was allowed.
pub async fn a_correction_never_exceeds_a_limit(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::ListCost, "1/total")]);
    let (asked, rendered) = (charge(&key, 4), charge(&key, 8));
    for id in [1, 2] {
        assert!(reserved(&*ledger, &key, id, &asked, NOW).await);
    }
    let confirm = async |id: u128, limits: BindingLimits| {
        let tie = confirmation(&rendered, &format!("video_{id}"));
        let confirmed = ledger.confirm(ReservationId(id), &tie, &limits, NOW).await;
        let Ok(Confirmed::Done {
            before,
            after,
            limit_reached,
        }) = confirmed
        else {
            panic!("{confirmed:?}");
        };
        assert_eq!(before.seconds, 4);
        (after.seconds, limit_reached)
    };
    let (seconds, limit_reached) = confirm(1, binding(&key)).await;
    let limit_reached = limit_reached.unwrap();
    assert_eq!((seconds, limit_reached.used), (4, 800_000_000));
    assert_eq!(limit_reached.limit, key.limits[0]);
    assert_eq!(limit_reached.scope, Scope::Key("studio".into()));
    assert_eq!(used(&*ledger, &key, NOW).await, [800_000_000]);
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(job.charge.seconds, 4);
    // A key that is not configured any more has no limits.
    assert_eq!(confirm(2, BindingLimits::default()).await, (8, None));
}

/// Corrects a charge of 4 s to 12 s at `at`: whether it was, or the limit that was in the way.
async fn corrected(
    ledger: &dyn Ledger,
    key: &Key,
    id: u128,
    limits: &BindingLimits,
    at: Timestamp,
) -> Option<Limit> {
    let tie = confirmation(&charge(key, 12), &format!("video_{id}"));
    let confirmed = ledger.confirm(ReservationId(id), &tie, limits, at).await;
    let Ok(Confirmed::Done {
        after,
        limit_reached,
        ..
    }) = confirmed
    else {
        panic!("{confirmed:?}");
    };
    assert_eq!(after.seconds, if limit_reached.is_some() { 4 } else { 12 });
    limit_reached.map(|reached| reached.limit)
}

/// It can refuse nothing any more: what the channel bills for is charged. Windows that run,
/// and totals, hold.
pub async fn a_window_that_has_passed_binds_no_correction(ledger: Arc<dyn Ledger>) {
    let minute = limit(Measure::VideoSeconds, "4/min");
    let limits = |max| vec![minute, limit(Measure::VideoSeconds, max)];
    let total = key(limits("20/total"));
    let daily = key_in(&group(vec![]), "daily", limits("10/day"));
    for (key, id) in [(&total, 1), (&total, 2), (&daily, 3), (&daily, 4)] {
        let at = Timestamp(NOW.0 + id as u64 * 60_000);
        assert!(reserved(&*ledger, key, id, &charge(key, 4), at).await);
    }
    let later = Timestamp(NOW.0 + 600_000);
    let corrected = async |key: &Key, id, at| corrected(&*ledger, key, id, &binding(key), at).await;
    let in_its_minute = Timestamp(NOW.0 + 60_000);
    assert_eq!(corrected(&total, 1, in_its_minute).await, Some(minute));
    assert_eq!(corrected(&total, 2, later).await, None);
    assert_eq!(used(&*ledger, &total, later).await, [0, 16]);
    assert_eq!(corrected(&daily, 3, later).await, Some(daily.limits[1]));
    let tomorrow = Timestamp(NOW.0 + DAY_MS);
    assert_eq!(corrected(&daily, 4, tomorrow).await, None);
    assert_eq!(used(&*ledger, &daily, tomorrow).await, [0, 0]);
}

/// Whatever became of the key since: its group's budget is the one that it was charged to.
pub async fn corrections_are_bound_by_the_limits_of_their_payer(ledger: Arc<dyn Ledger>) {
    let full = group(vec![limit(Measure::VideoSeconds, "8/total")]);
    let key = key_in(&full, "studio", vec![]);
    for id in [1, 2] {
        assert!(reserved(&*ledger, &key, id, &charge(&key, 4), NOW).await);
    }
    let gone = BindingLimits {
        key: vec![],
        group: full.limits.clone(),
    };
    let bound = corrected(&*ledger, &key, 1, &gone, NOW).await;
    assert_eq!(bound, Some(full.limits[0]));
    assert_eq!(used(&*ledger, &key, NOW).await, [8]);
}

pub async fn unknown_outcomes_stay_pending(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::InFlight, "1")]);
    let charge = charge(&key, 4);
    let id = ReservationId(1);
    assert!(reserved(&*ledger, &key, 1, &charge, NOW).await);
    let unmatched = async |channel| ledger.unmatched(channel, 10).await.unwrap();
    let pending = unmatched("official").await;
    assert_eq!((pending.len(), pending[0].id), (1, id));
    assert_eq!((pending[0].state, pending[0].since), (State::Pending, NOW));
    let later = Timestamp(NOW.0 + 5000);
    ledger.mark_unknown(id, later).await.unwrap();
    assert!(!reserved(&*ledger, &key, 2, &charge, NOW).await);
    let expected = Unmatched {
        id,
        charge: charge.clone(),
        uncorrected: None,
        prompt: PromptDigest([7; 32]),
        remix_of: None,
        fingerprint: None,
        state: State::Unknown,
        created: NOW,
        since: later,
        channel_clock: None,
        address: None,
    };
    assert_eq!(unmatched("official").await, std::slice::from_ref(&expected));
    assert!(unmatched("other").await.is_empty());

    let tie = confirmation(&charge, "video_1");
    let confirmed = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    assert!(matches!(confirmed, Confirmed::Done { .. }));
    assert!(unmatched("official").await.is_empty());
    // That it was reconciled stays known, with what it was matched by.
    let reconciled = async |id| ledger.reconciled("official", id).await.unwrap();
    let owner = reconciled("video_1").await.unwrap();
    assert_eq!(
        (owner.id, owner.prompt, owner.since),
        (id, expected.prompt, later)
    );
    assert_eq!(
        (owner.state, reconciled("video_2").await),
        (State::Confirmed, None)
    );
    // Too late: it is known.
    ledger.mark_unknown(id, later).await.unwrap();
    assert!(unmatched("official").await.is_empty());
    assert!(ledger.void(id, "lost", NOW).await.unwrap().is_none());
    let end = ledger.settle(id, Resolution::Voided, "failed", NOW);
    assert!(end.await.unwrap().is_some());
    assert_eq!(reconciled("video_1").await.unwrap().id, id);
    assert!(reserved(&*ledger, &key, 2, &charge, NOW).await);

    ledger.mark_unknown(ReservationId(2), NOW).await.unwrap();
    let voided = ledger.void(ReservationId(2), "lost", NOW).await.unwrap();
    assert_eq!(voided, Some(charge.clone()));
    let tie = confirmation(&charge, "video_2");
    let late = ledger
        .confirm(ReservationId(2), &tie, &binding(&key), NOW)
        .await;
    assert_eq!(late.unwrap(), Confirmed::Closed);
    assert!(ledger.job("video_2").await.unwrap().is_none());
}

pub async fn what_a_corrected_charge_was_before_stays_known(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::VideoSeconds, "12/total")]);
    let asked = charge(&key, 8);
    for (number, seconds, size, before) in [
        (1, 8, "1280x720", None),
        (2, 4, "1280x720", Some(8)),
        (3, 8, "720x1280", Some(8)),
        // The limit has no room for it: the charge stays as it was.
        (4, 20, "1280x720", None),
    ] {
        let rendered = Arc::new(Charge {
            size: size.into(),
            ..(*charge(&key, seconds)).clone()
        });
        let (id, job) = (ReservationId(number), format!("video_{number}"));
        assert!(reserved(&*ledger, &key, number, &asked, NOW).await);
        ledger.mark_unknown(id, NOW).await.unwrap();
        let tie = confirmation(&rendered, &job);
        let confirmed = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
        assert!(matches!(confirmed, Confirmed::Done { .. }), "{confirmed:?}");
        let again = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
        assert!(matches!(again, Confirmed::Already { .. }), "{again:?}");
        let settled = ledger.settle(id, Resolution::Voided, "failed", NOW).await;
        assert!(settled.unwrap().is_some());
        let owner = ledger.reconciled("official", &job).await.unwrap().unwrap();
        let before = before.map(|seconds| Uncorrected {
            size: "1280x720".into(),
            seconds,
            list: asked.list,
            billed: asked.billed,
        });
        assert_eq!(owner.uncorrected, before, "{job}");
        let asked_for = (&"1280x720".into(), 8);
        assert_eq!(owner.asked_for(), asked_for, "{job}");
    }
}

/// A channel that names one job twice must not hand one key's job to another.
pub async fn an_upstream_id_is_taken_once(ledger: Arc<dyn Ledger>) {
    let group = group(vec![]);
    let keys = ["a", "b"].map(|name| key_in(&group, name, vec![]));
    let of = |key: &Key| charge(key, 4);
    for (id, key) in [(1, &keys[0]), (2, &keys[1]), (3, &keys[0]), (4, &keys[1])] {
        assert!(reserved(&*ledger, key, id, &of(key), NOW).await);
    }
    let confirm = async |id, key: &Key, tie: &Confirmation| {
        let confirmed = ledger
            .confirm(ReservationId(id), tie, &binding(key), NOW)
            .await;
        confirmed.unwrap()
    };
    let with_ids = |key: &Key, job: &str, upstream_id: &str| Confirmation {
        upstream_id: upstream_id.into(),
        ..confirmation(&of(key), job)
    };
    let [a, b] = &keys;
    // The same id for both, and one that is not the public one.
    let is_done = |confirmed| matches!(confirmed, Confirmed::Done { .. });
    assert!(is_done(
        confirm(1, a, &with_ids(a, "video_1", "video_1")).await
    ));
    assert!(is_done(confirm(3, a, &with_ids(a, "video_3", "x=1")).await));
    for upstream_id in ["video_1", "x=1"] {
        for job in ["video_1", "video_2", "x=1"] {
            let taken = confirm(2, b, &with_ids(b, job, upstream_id)).await;
            assert_eq!(taken, Confirmed::Taken, "{job} {upstream_id}");
        }
    }
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(
        (&*job.charge.payer.key, &*job.upstream_id),
        ("a", "video_1")
    );
    // Another upstream id under a public id that is taken changes nothing.
    let id_taken = confirm(2, b, &with_ids(b, "video_3", "video_2")).await;
    assert_eq!(id_taken, Confirmed::IdTaken);
    let open = ledger.unmatched("official", 10).await.unwrap();
    assert_eq!(open.iter().map(|j| j.id.0).collect::<Vec<_>>(), [2, 4]);
    let public = generated_public_id(ReservationId(2), "video_2");
    assert!(is_done(
        confirm(2, b, &with_ids(b, &public, "video_2")).await
    ));
    // Whatever public id a repetition names, it learns the one that there is.
    for job in ["video_2", &public, "video_1"] {
        let again = confirm(2, b, &with_ids(b, job, "video_2")).await;
        let job = public.clone();
        assert_eq!(again, Confirmed::Already { job });
    }
    // A public id says nothing of an upstream one.
    let tie = with_ids(b, "video_4", &public);
    assert!(is_done(confirm(4, b, &tie).await));
}

/// Ids of two channels may be alike, and are any text.
pub async fn upstream_ids_are_opaque_and_of_their_channel(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let of = |channel: &str| {
        Arc::new(Charge {
            channel: channel.into(),
            ..(*charge(&key, 4)).clone()
        })
    };
    let longest = "\u{e9}".repeat(512);
    let ids = [
        "video_1",
        "",
        " ",
        "a/b?c#d%2F",
        "id:provider",
        "bGl0ZWxsbQ==",
        "'; --",
        "\0",
        "\u{1}0",
        "video_\u{1F408}",
        &longest,
    ];
    for (number, upstream_id) in (0..).zip(ids) {
        for (id, channel) in [(2 * number + 1, "east"), (2 * number + 2, "west")] {
            let id = ReservationId(id);
            let charge = of(channel);
            let draft = draft(id.0, &charge);
            assert_eq!(ledger.reserve(&draft, &key, NOW).await, Ok(Reserved::Done));
            let tie = Confirmation {
                upstream_id: upstream_id.into(),
                ..confirmation(&charge, &generated_public_id(id, upstream_id))
            };
            let confirmed = ledger.confirm(id, &tie, &binding(&key), NOW).await;
            assert!(
                matches!(confirmed, Ok(Confirmed::Done { .. })),
                "{confirmed:?}"
            );
        }
    }
    for (number, upstream_id) in (0..).zip(ids) {
        for (id, channel) in [(2 * number + 1, "east"), (2 * number + 2, "west")] {
            let public = generated_public_id(ReservationId(id), upstream_id);
            let found = ledger.job_of_channel(channel, upstream_id).await.unwrap();
            let found = found.unwrap();
            let job = ledger.job(&public).await.unwrap().unwrap();
            assert_eq!((&found, &*found.upstream_id), (&job, upstream_id));
            assert_eq!(job.reservation, ReservationId(id));
            let unknown = ledger.job_of_channel(channel, &public).await;
            assert_eq!(unknown, Ok(None));
        }
        assert_eq!(ledger.job_of_channel("north", upstream_id).await, Ok(None));
    }
    let due = ledger.due("east", NOW, 100).await.unwrap();
    let due: BTreeSet<_> = due.iter().map(|job| job.upstream_id.to_string()).collect();
    assert_eq!(due, ids.into_iter().map(str::to_owned).collect());
}

/// A job that turns up after its reservation was given up may still be that one's.
pub async fn what_was_voided_without_a_proof_stays_a_rival(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let charge = charge(&key, 4);
    let at = |seconds: u64| Timestamp(NOW.0 + 1000 * seconds);
    let whys = [
        "refused",
        NOT_CREATED,
        NOT_FOUND_OUT,
        NOT_CREATED,
        "unreachable",
    ];
    for (id, why) in (1..).zip(whys) {
        assert!(reserved(&*ledger, &key, id, &charge, at(id as u64)).await);
        let id = ReservationId(id);
        ledger.mark_unknown(id, at(10)).await.unwrap();
        let voided = ledger.void(id, why, at(18 + id.0 as u64)).await;
        assert!(voided.unwrap().is_some());
    }
    let recently_voided = async |channel, since, limit| {
        let voided = ledger
            .recently_voided(channel, at(since), limit)
            .await
            .unwrap();
        voided.iter().map(|voided| voided.id.0).collect::<Vec<_>>()
    };
    assert_eq!(recently_voided("official", 0, 10).await, [2, 3, 4]);
    assert_eq!(recently_voided("official", 0, 2).await, [2, 3]);
    assert_eq!(recently_voided("official", 21, 10).await, [3, 4]);
    assert_eq!(recently_voided("official", 23, 10).await, []);
    assert_eq!(recently_voided("other", 0, 10).await, []);
    let voided = ledger
        .recently_voided("official", at(22), 1)
        .await
        .unwrap()
        .remove(0);
    let expected = Unmatched {
        id: ReservationId(4),
        charge: charge.clone(),
        uncorrected: None,
        prompt: PromptDigest([7; 32]),
        remix_of: None,
        fingerprint: None,
        state: State::Voided,
        created: at(4),
        since: at(10),
        channel_clock: None,
        address: None,
    };
    assert_eq!(voided, expected);
}

pub async fn an_idempotency_key_stands_for_one_request(ledger: Arc<dyn Ledger>) {
    let group = group(vec![]);
    let [key, other] = ["a", "b"].map(|name| key_in(&group, name, vec![]));
    let charge_of = |key: &Key| charge(key, 4);
    let reserve = async |id, key: &Key, fingerprint, at| {
        let draft = claiming(id, &charge_of(key), "order-17", fingerprint);
        ledger.reserve(&draft, key, at).await.unwrap()
    };
    let claim = async |key: &str| ledger.claim(key, "order-17", NOW).await.unwrap();
    assert_eq!(claim("a").await, None);
    assert_eq!(reserve(1, &key, 1, NOW).await, Reserved::Done);
    assert_eq!(claim("a").await, Some(ClaimState::InFlight));
    let unmatched = ledger.unmatched("official", 10).await.unwrap();
    assert_eq!(unmatched[0].fingerprint, Some([1; 32]));
    assert_eq!(
        reserve(2, &key, 1, NOW).await,
        Reserved::Claimed(Claimed::InFlight)
    );
    let reused = Reserved::Claimed(Claimed::Other);
    assert_eq!(reserve(3, &key, 2, NOW).await, reused);
    // Each client key has its own, and the same call again is no repetition.
    assert_eq!(claim("b").await, None);
    assert_eq!(reserve(4, &other, 2, NOW).await, Reserved::Done);
    assert_eq!(reserve(1, &key, 1, NOW).await, Reserved::Done);

    ledger.mark_unknown(ReservationId(1), NOW).await.unwrap();
    assert_eq!(
        reserve(5, &key, 1, NOW).await,
        Reserved::Claimed(Claimed::InFlight)
    );
    let tie = confirmation(&charge_of(&key), "video_1");
    let confirmed = ledger
        .confirm(ReservationId(1), &tie, &binding(&key), NOW)
        .await;
    assert!(matches!(confirmed.unwrap(), Confirmed::Done { .. }));
    assert_eq!(claim("a").await, Some(ClaimState::Answered));
    let answered = Reserved::Claimed(Claimed::Answered(tie.answer.unwrap()));
    assert_eq!(reserve(6, &key, 1, NOW).await, answered);
    assert_eq!(reserve(7, &key, 2, NOW).await, reused);
    // Whatever becomes of the job.
    let end = ledger.settle(ReservationId(1), Resolution::Voided, "failed", NOW);
    assert!(end.await.unwrap().is_some());
    assert_eq!(reserve(8, &key, 1, NOW).await, answered);
}

pub async fn an_idempotency_key_is_free_again(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let charge = charge(&key, 4);
    let reserve = async |id, at| {
        let mut draft = claiming(id, &charge, "order-17", 1);
        draft.claim.as_mut().unwrap().expires = Timestamp(at + DAY_MS);
        ledger.reserve(&draft, &key, Timestamp(at)).await.unwrap()
    };
    // Where nothing came of the request.
    assert_eq!(reserve(1, NOW.0).await, Reserved::Done);
    let voided = ledger.void(ReservationId(1), "refused", NOW).await;
    assert!(voided.unwrap().is_some());
    assert_eq!(reserve(2, NOW.0).await, Reserved::Done);
    // And when its time has passed.
    let tie = confirmation(&charge, "video_1");
    let confirmed = ledger
        .confirm(ReservationId(2), &tie, &binding(&key), NOW)
        .await;
    assert!(matches!(confirmed.unwrap(), Confirmed::Done { .. }));
    let last = reserve(3, NOW.0 + DAY_MS - 1).await;
    assert!(matches!(last, Reserved::Claimed(Claimed::Answered(_))));
    let expired = Timestamp(NOW.0 + DAY_MS);
    let claim = ledger.claim("studio", "order-17", expired);
    assert_eq!(claim.await.unwrap(), None);
    assert_eq!(reserve(4, expired.0).await, Reserved::Done);
    // A request without an outcome keeps its key, however long that takes.
    let late = reserve(5, expired.0 + 2 * DAY_MS).await;
    assert_eq!(late, Reserved::Claimed(Claimed::InFlight));
    let claim = Timestamp(expired.0 + 2 * DAY_MS);
    let claim = ledger.claim("studio", "order-17", claim);
    assert_eq!(claim.await.unwrap(), Some(ClaimState::InFlight));
    // What is voided late frees no key that stands for another request by now.
    assert!(matches!(
        reserve(5, expired.0).await,
        Reserved::Claimed(Claimed::InFlight)
    ));
}

pub async fn a_repetition_takes_nothing_from_a_limit(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::Requests, "1/day")]);
    let charge = charge(&key, 4);
    let reserve = async |id, name| {
        let draft = claiming(id, &charge, name, 1);
        ledger.reserve(&draft, &key, NOW).await.unwrap()
    };
    assert_eq!(reserve(1, "first").await, Reserved::Done);
    let again = reserve(2, "first").await;
    assert_eq!(again, Reserved::Claimed(Claimed::InFlight));
    assert!(matches!(reserve(3, "second").await, Reserved::Refused(_)));
    // A refused request claims nothing.
    let claim = ledger.claim("studio", "second", NOW).await.unwrap();
    assert_eq!(claim, None);
    assert_eq!(used(&*ledger, &key, NOW).await, [1]);
}

pub async fn idempotency_keys_are_decided_in_one_step(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::Requests, "1000/day")]);
    let charge = charge(&key, 4);
    let tasks = (0..100).map(|id| {
        let (ledger, charge, key) = (ledger.clone(), charge.clone(), key.clone());
        tokio::spawn(async move {
            let draft = claiming(id, &charge, "order-17", 1);
            ledger.reserve(&draft, &key, NOW).await.unwrap()
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Reserved::Done => done += 1,
            other => assert_eq!(other, Reserved::Claimed(Claimed::InFlight)),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(used(&*ledger, &key, NOW).await, [1]);
}

pub async fn jobs_come_in_the_order_of_their_confirmation(ledger: Arc<dyn Ledger>) {
    let group = group(vec![]);
    let [key, other] = ["a", "b"].map(|name| key_in(&group, name, vec![]));
    // The sixth is confirmed last though it was reserved first.
    let late = charge(&key, 4);
    assert!(reserved(&*ledger, &key, 6, &late, NOW).await);
    for id in 1..6 {
        with_job(&*ledger, &key, id, NOW).await;
        with_job(&*ledger, &other, 100 + id, NOW).await;
    }
    let tie = confirmation(&late, "video_6");
    let confirmed = ledger
        .confirm(ReservationId(6), &tie, &binding(&key), NOW)
        .await;
    assert!(matches!(confirmed.unwrap(), Confirmed::Done { .. }));

    let page = async |after, ascending| page(&*ledger, "a", after, ascending).await;
    assert_eq!(page(None, true).await, ["video_1", "video_2", "video_3"]);
    assert_eq!(
        page(Some("video_3"), true).await,
        ["video_4", "video_5", "video_6"]
    );
    assert!(page(Some("video_6"), true).await.is_empty());
    assert_eq!(page(None, false).await, ["video_6", "video_5", "video_4"]);
    assert_eq!(page(Some("video_2"), false).await, ["video_1"]);
    // A page after what is not this key's is none.
    for after in ["video_101", "video_999"] {
        let page = JobsAfter {
            after: Some(after),
            ascending: true,
            limit: 3,
        };
        for key in ["a", "nobody"] {
            assert_eq!(ledger.jobs(key, &page).await.unwrap(), None);
        }
    }
    assert!(self::page(&*ledger, "nobody", None, true).await.is_empty());
}

pub async fn pages_miss_and_repeat_none_while_jobs_are_added(ledger: Arc<dyn Ledger>) {
    const JOBS: u128 = 120;
    let key = key(vec![]);
    let adding = (0..4).map(|task: u128| {
        let (ledger, key) = (ledger.clone(), key.clone());
        tokio::spawn(async move {
            for id in (0..JOBS).filter(|id| id % 4 == task) {
                with_job(&*ledger, &key, 1 + id, NOW).await;
            }
        })
    });
    let adding: Vec<_> = adding.collect();
    // Pages forwards until all of them have come.
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    while (seen.len() as u128) < JOBS {
        let page = page(&*ledger, "studio", after.as_deref(), true).await;
        if let Some(last) = page.last() {
            after = Some(last.clone());
        } else {
            tokio::task::yield_now().await;
        }
        seen.extend(page);
    }
    for task in adding {
        task.await.unwrap();
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!((unique.len() as u128, seen.len() as u128), (JOBS, JOBS));
}

pub async fn deleted_jobs_keep_their_charge_and_leave_the_list(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::Requests, "9/day")]);
    for id in 1..4 {
        with_job(&*ledger, &key, id, NOW).await;
    }
    let second = ReservationId(2);
    ledger.mark_deleted(second, NOW).await.unwrap();
    let page = async |after| page(&*ledger, "studio", after, true).await;
    assert_eq!(page(None).await, ["video_1", "video_3"]);
    assert_eq!(page(Some("video_2")).await, ["video_3"]);
    let job = ledger.job("video_2").await.unwrap().unwrap();
    assert_eq!((job.deleted, job.resolution), (true, None));
    assert_eq!(used(&*ledger, &key, NOW).await, [3]);
    let end = ledger.settle(second, Resolution::Posted, "deleted", NOW);
    assert!(end.await.unwrap().is_some());
}

pub async fn lost_reservations_become_unknown(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let charge = charge(&key, 4);
    let later = Timestamp(NOW.0 + 60_000);
    assert!(reserved(&*ledger, &key, 1, &charge, NOW).await);
    assert!(reserved(&*ledger, &key, 2, &charge, later).await);
    with_job(&*ledger, &key, 3, NOW).await;
    let span = Duration::from_secs(60);
    assert_eq!(ledger.heartbeat(later, span).await.unwrap(), 0);
    let later = Timestamp(later.0 + 1);
    assert_eq!(ledger.heartbeat(later, span).await.unwrap(), 1);
    assert_eq!(ledger.heartbeat(later, span).await.unwrap(), 0);
    let unmatched = ledger.unmatched("official", 10).await.unwrap();
    let stands: Vec<_> = unmatched
        .iter()
        .map(|j| (j.id.0, j.state, j.since))
        .collect();
    let second = Timestamp(NOW.0 + 60_000);
    assert_eq!(
        stands,
        [(1, State::Unknown, later), (2, State::Pending, second)]
    );
}

pub async fn due_jobs_are_found_until_they_end(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let mut ids = Vec::new();
    for id in 1..4 {
        ids.push(with_job(&*ledger, &key, id, NOW).await);
    }
    let due = async |at, limit| {
        let due = ledger.due("official", Timestamp(at), limit).await.unwrap();
        due.iter().map(|job| job.reservation.0).collect::<Vec<_>>()
    };
    assert_eq!(due(NOW.0, 10).await, [1, 2, 3]);
    assert_eq!(due(NOW.0, 2).await, [1, 2]);
    assert!(due(NOW.0 - 1, 10).await.is_empty());
    assert!(ledger.due("other", NOW, 10).await.unwrap().is_empty());
    let later = Timestamp(NOW.0 + 9000);
    ledger.set_next_poll(ids[0], later).await.unwrap();
    assert_eq!(due(NOW.0, 10).await, [2, 3]);
    assert_eq!(due(later.0, 10).await, [2, 3, 1]);
    // A day is the longest wait; what lies further ahead comes of a clock that was wrong.
    let hours = |hours: u64| Timestamp(NOW.0 + hours * 3_600_000);
    for (ahead, expected) in [(24, &[3][..]), (26, &[3, 2])] {
        ledger.set_next_poll(ids[1], hours(ahead)).await.unwrap();
        assert_eq!(due(NOW.0, 10).await, expected, "{ahead} h");
    }
    assert_eq!(due(NOW.0, 1).await, [3]);
    ledger.set_next_poll(ids[1], NOW).await.unwrap();
    let end = ledger.settle(ids[1], Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_some());
    assert_eq!(due(later.0, 10).await, [3, 1]);
}

pub async fn open_reservations_are_counted(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let charge = charge(&key, 4);
    for id in [1, 2] {
        assert!(reserved(&*ledger, &key, id, &charge, NOW).await);
    }
    with_job(&*ledger, &key, 3, NOW).await;
    ledger.mark_unknown(ReservationId(2), NOW).await.unwrap();
    // Of the same state, and younger.
    let later = Timestamp(NOW.0 + 5_000);
    assert!(reserved(&*ledger, &key, 4, &charge, later).await);
    ledger.mark_unknown(ReservationId(4), later).await.unwrap();
    let open = async || {
        let open = ledger.count_unresolved().await.unwrap();
        assert!(
            open.iter()
                .all(|o| &*o.key == "studio" && &*o.channel == "official")
        );
        assert!(open.iter().all(|o| o.oldest == NOW), "{open:?}");
        let mut open: Vec<_> = open.iter().map(|o| (o.state.name(), o.count)).collect();
        open.sort_unstable();
        open
    };
    let (pending, unknown, confirmed) = (State::Pending, State::Unknown, State::Confirmed);
    assert_eq!(
        open().await,
        [
            (confirmed.name(), 1),
            (pending.name(), 1),
            (unknown.name(), 2)
        ]
    );
    let gone = ledger.void(ReservationId(4), "lost", NOW).await;
    assert!(gone.unwrap().is_some());
    let end = ledger.settle(ReservationId(3), Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_some());
    assert!(
        ledger
            .void(ReservationId(2), "lost", NOW)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(open().await, [(pending.name(), 1)]);
}

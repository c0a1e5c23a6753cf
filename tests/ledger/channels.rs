//! The limits of channels, moves from one channel to another, and what channels are paid.

use std::sync::Arc;

use tollgate::catalog::PurchaseTerms;
use tollgate::ledger::{
    Charge, Draft, Ledger, Placement, PurchaseCost, Reroute, Rerouted, ReservationId, Reserved,
    Resolution, Scope, State,
};
use tollgate::policy::{Key, Limit, Measure, Timestamp};

use crate::suite::{
    NOW, binding, charge, claiming, confirmation, draft, group, key, key_in, limit, reserved,
};

/// Puts a charge on the channel of that name, which is paid 0.85 EUR for each USD of list cost.
pub fn on(channel: &str, charge: &Arc<Charge>) -> Arc<Charge> {
    let terms = PurchaseTerms::from_text("0.85").unwrap();
    Arc::new(Charge {
        channel: channel.into(),
        purchase: Some(PurchaseCost {
            amount: terms
                .cost(charge.list, &charge.size, charge.seconds)
                .unwrap(),
            currency: "EUR".into(),
            terms,
        }),
        ..(**charge).clone()
    })
}

fn placement(limits: &[Limit]) -> Placement {
    Placement {
        limits: limits.into(),
        ..Placement::default()
    }
}

fn placed(id: u128, charge: &Arc<Charge>, limits: &[Limit]) -> Draft {
    Draft {
        placement: placement(limits),
        ..draft(id, charge)
    }
}

fn to(charge: &Arc<Charge>, limits: &[Limit], refused_by: &str) -> Reroute {
    Reroute {
        charge: charge.clone(),
        placement: placement(limits),
        refused_by: refused_by.into(),
    }
}

async fn has_room(ledger: &dyn Ledger, charge: &Charge, limits: &[Limit]) -> bool {
    let reached = ledger.check_channel(charge, limits, NOW).await.unwrap();
    reached.is_none()
}

/// How much of the whole of a channel's limit of jobs in flight is left.
async fn in_flight(ledger: &dyn Ledger, charge: &Charge) -> u64 {
    for most in 1.. {
        let limits = [limit(Measure::InFlight, &most.to_string())];
        if has_room(ledger, charge, &limits).await {
            return most - 1;
        }
    }
    unreachable!()
}

async fn used(ledger: &dyn Ledger, key: &Key) -> Vec<u64> {
    let usage = ledger.usage(key, NOW).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

pub async fn channels_share_their_limits_among_keys(ledger: Arc<dyn Ledger>) {
    let group = group(vec![]);
    let [one, two] =
        ["one", "two"].map(|name| key_in(&group, name, vec![limit(Measure::Requests, "100/min")]));
    for (measure, text, later) in [
        (Measure::Requests, "2/min", true),
        (Measure::VideoSeconds, "8/hour", true),
        (Measure::Cost, "0.68/day", true),
        (Measure::InFlight, "2", false),
    ] {
        let channel = measure.name();
        let limits = [limit(measure, text)];
        let of = |key| on(channel, &charge(key, 4));
        let base = 100 * measure as u128;
        for (id, key) in [(1, &one), (2, &two)] {
            assert!(has_room(&*ledger, &of(key), &limits).await, "{channel}");
            let draft = placed(base + id, &of(key), &limits);
            let outcome = ledger.reserve(&draft, key, NOW).await.unwrap();
            assert_eq!(outcome, Reserved::Done, "{channel}");
        }
        assert!(!has_room(&*ledger, &of(&two), &limits).await, "{channel}");
        let before = used(&*ledger, &two).await;
        let draft = placed(base + 3, &of(&two), &limits);
        let Reserved::Refused(reached) = ledger.reserve(&draft, &two, NOW).await.unwrap() else {
            panic!("{channel} takes more than it may");
        };
        assert_eq!(reached.scope, Scope::Channel(channel.into()));
        assert_eq!(reached.limit, limits[0]);
        assert_eq!(reached.resets.is_some(), later);
        assert_eq!(used(&*ledger, &two).await, before, "nothing was taken");
        // Another channel has limits of its own.
        let elsewhere = placed(base + 4, &on("other", &charge(&two, 4)), &limits);
        let outcome = ledger.reserve(&elsewhere, &two, NOW).await.unwrap();
        assert_eq!(outcome, Reserved::Done);
        ledger
            .void(ReservationId(base + 4), "refused", NOW)
            .await
            .unwrap();
        // What is voided is given back to the channel.
        ledger
            .void(ReservationId(base + 1), "refused", NOW)
            .await
            .unwrap();
        let outcome = ledger.reserve(&draft, &two, NOW).await.unwrap();
        assert_eq!(outcome, Reserved::Done, "{channel}");
    }
}

pub async fn a_key_is_refused_before_its_channel(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::Requests, "1/min")]);
    let limits = [limit(Measure::Requests, "1/min")];
    let charge = on("a", &charge(&key, 4));
    let draft = placed(1, &charge, &limits);
    assert_eq!(
        ledger.reserve(&draft, &key, NOW).await.unwrap(),
        Reserved::Done
    );
    let draft = placed(2, &charge, &limits);
    let Reserved::Refused(reached) = ledger.reserve(&draft, &key, NOW).await.unwrap() else {
        panic!("both limits are reached");
    };
    assert_eq!(reached.scope, Scope::Key("studio".into()));
}

/// Of what was reserved before a channel had limits, its first limit knows.
pub async fn a_channels_first_limit_counts_what_was_before(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let charge = on("a", &charge(&key, 4));
    for id in 1..=3 {
        assert!(reserved(&*ledger, &key, id, &charge, NOW).await);
    }
    ledger.void(ReservationId(1), "refused", NOW).await.unwrap();
    let tie = confirmation(&charge, "video_2");
    let id = ReservationId(2);
    ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    let end = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_some());
    for (measure, used, window) in [
        (Measure::Requests, 2, "/min"),
        (Measure::VideoSeconds, 8, "/month"),
        (Measure::InFlight, 1, ""),
    ] {
        let full = limit(measure, &format!("{used}{window}"));
        let takes = charge.takes(measure);
        let fits = limit(measure, &format!("{}{window}", used + takes));
        assert!(!has_room(&*ledger, &charge, &[full]).await, "{measure:?}");
        assert!(has_room(&*ledger, &charge, &[fits]).await, "{measure:?}");
    }
    // Two of 0.34 EUR each.
    for (text, fits) in [
        ("0.68/total", false),
        ("1.01/total", false),
        ("1.02/total", true),
    ] {
        let limits = [limit(Measure::Cost, text)];
        assert_eq!(has_room(&*ledger, &charge, &limits).await, fits, "{text}");
    }
}

pub async fn a_reservation_moves_to_another_channel(ledger: Arc<dyn Ledger>) {
    let key = key(vec![
        limit(Measure::InFlight, "1"),
        limit(Measure::BilledCost, "2/day"),
    ]);
    let fours = |key: &Key| charge(key, 4);
    let charge = fours(&key);
    let [a, b, c] = ["a", "b", "c"].map(|channel| on(channel, &charge));
    let one = [limit(Measure::InFlight, "1")];
    let first = Draft {
        placement: placement(&one),
        ..claiming(1, &a, "again", 1)
    };
    assert_eq!(
        ledger.reserve(&first, &key, NOW).await.unwrap(),
        Reserved::Done
    );
    assert_eq!(in_flight(&*ledger, &a).await, 1);

    // b is full: it stays on a.
    let other = key_in(&group(vec![]), "other", vec![]);
    let fills = placed(2, &on("b", &fours(&other)), &one);
    assert_eq!(
        ledger.reserve(&fills, &other, NOW).await.unwrap(),
        Reserved::Done
    );
    let id = ReservationId(1);
    let refused = ledger.reroute(id, &to(&b, &one, "a:429")).await.unwrap();
    let Rerouted::Refused(reached) = refused else {
        panic!("b has no room: {refused:?}");
    };
    assert_eq!(reached.scope, Scope::Channel("b".into()));
    assert_eq!(in_flight(&*ledger, &a).await, 1);

    // c has room. What counts under the key's limits is as it was.
    let clock = Timestamp(NOW.0 + 5000);
    let moved = Reroute {
        placement: Placement {
            address: Some("http://c2:8000".into()),
            channel_clock: Some(clock),
            limits: one.as_slice().into(),
        },
        ..to(&c, &one, "a:429, b:full")
    };
    for _ in 0..2 {
        assert_eq!(ledger.reroute(id, &moved).await.unwrap(), Rerouted::Done);
        assert_eq!(used(&*ledger, &key).await, [1, 2_000_000_000]);
        assert_eq!(in_flight(&*ledger, &a).await, 0);
        assert_eq!(in_flight(&*ledger, &c).await, 1);
    }
    assert!(ledger.unmatched("a", 10).await.unwrap().is_empty());
    let found = ledger.unmatched("c", 10).await.unwrap();
    let [found] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (found.id, found.state, found.created),
        (id, State::Pending, NOW)
    );
    assert_eq!(found.charge, c);
    assert_eq!(found.channel_clock, Some(clock));
    assert_eq!(found.address.as_deref(), Some("http://c2:8000"));
    // Its idempotency key stands for it as before.
    let again = claiming(3, &b, "again", 1);
    let claimed = ledger.reserve(&again, &key, NOW).await.unwrap();
    assert!(matches!(claimed, Reserved::Claimed(_)), "{claimed:?}");

    let tie = confirmation(&c, "video_1");
    ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(job.address.as_deref(), Some("http://c2:8000"));
    assert_eq!(job.charge, c);
    // What has a job moves no more.
    let late = ledger.reroute(id, &to(&a, &one, "c:503")).await.unwrap();
    assert_eq!(late, Rerouted::Closed);
    let end = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert_eq!(end.await.unwrap(), Some(c.clone()));
    assert_eq!(in_flight(&*ledger, &c).await, 0);
    assert_eq!(used(&*ledger, &key).await, [0, 2_000_000_000]);
}

pub async fn what_is_not_pending_moves_no_more(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let charge = charge(&key, 4);
    let (a, b) = (on("a", &charge), on("b", &charge));
    for (id, is_voided) in [(1, true), (2, false)] {
        assert!(reserved(&*ledger, &key, id, &a, NOW).await);
        let id = ReservationId(id);
        match is_voided {
            true => drop(ledger.void(id, "refused", NOW).await.unwrap()),
            false => ledger.mark_unknown(id, NOW).await.unwrap(),
        }
        let late = ledger.reroute(id, &to(&b, &[], "a:429")).await.unwrap();
        assert_eq!(late, Rerouted::Closed);
    }
    let nothing = ledger
        .reroute(ReservationId(9), &to(&b, &[], "a:429"))
        .await;
    assert_eq!(nothing.unwrap(), Rerouted::Closed);
    assert_eq!(in_flight(&*ledger, &b).await, 0);
    assert_eq!(in_flight(&*ledger, &a).await, 1);
}

/// A move that was made and voided gives back to the channel that it ended on.
pub async fn a_moved_reservation_is_voided_where_it_is(ledger: Arc<dyn Ledger>) {
    let key = key(vec![limit(Measure::VideoSeconds, "4/day")]);
    let charge = charge(&key, 4);
    let (a, b) = (on("a", &charge), on("b", &charge));
    for (id, ends_on) in [(1, &b), (2, &a), (3, &b)] {
        assert!(reserved(&*ledger, &key, id, &a, NOW).await);
        let id = ReservationId(id);
        let moved = ledger.reroute(id, &to(&b, &[], "a:connect")).await;
        assert_eq!(moved.unwrap(), Rerouted::Done);
        if ends_on == &a {
            let back = ledger.reroute(id, &to(&a, &[], "a:connect, b:503")).await;
            assert_eq!(back.unwrap(), Rerouted::Done);
        }
        assert_eq!(in_flight(&*ledger, &a).await, u64::from(ends_on == &a));
        assert_eq!(in_flight(&*ledger, &b).await, u64::from(ends_on == &b));
        let voided = ledger.void(id, "refused", NOW).await.unwrap();
        assert_eq!(voided.as_ref(), Some(ends_on));
    }
    assert_eq!(used(&*ledger, &key).await, [0]);
    assert_eq!(in_flight(&*ledger, &a).await, 0);
    assert_eq!(in_flight(&*ledger, &b).await, 0);
}

/// A correction is one of what the channel is paid, too, and no limit of the channel forbids it: the
/// video is made.
pub async fn a_correction_changes_what_a_channel_is_paid(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let (a, rendered) = (on("a", &charge(&key, 4)), on("a", &charge(&key, 8)));
    let limits = [limit(Measure::Cost, "0.34/day")];
    let draft = placed(1, &a, &limits);
    assert_eq!(
        ledger.reserve(&draft, &key, NOW).await.unwrap(),
        Reserved::Done
    );
    let tie = confirmation(&rendered, "video_1");
    ledger
        .confirm(ReservationId(1), &tie, &binding(&key), NOW)
        .await
        .unwrap();
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(job.charge, rendered);
    let cost = job.charge.purchase.as_ref().unwrap();
    assert_eq!(cost.amount.to_string(), "0.68");
    for (text, fits) in [("1.01/day", false), ("1.02/day", true)] {
        assert_eq!(
            has_room(&*ledger, &a, &[limit(Measure::Cost, text)]).await,
            fits
        );
    }
}

/// A channel may charge more for a size that the list has at the same price: what it is paid is
/// corrected all the same, and given back as a whole.
pub async fn a_correction_may_change_only_what_a_channel_is_paid(ledger: Arc<dyn Ledger>) {
    let key = key(vec![]);
    let a = on("a", &charge(&key, 4));
    let cost = a.purchase.clone().unwrap();
    let rendered = Arc::new(Charge {
        size: "720x1280".into(),
        purchase: Some(PurchaseCost {
            amount: "0.5".parse().unwrap(),
            ..cost
        }),
        ..(*a).clone()
    });
    let cost_limit = |text| [limit(Measure::Cost, text)];
    let draft = placed(1, &a, &cost_limit("10/day"));
    assert_eq!(
        ledger.reserve(&draft, &key, NOW).await.unwrap(),
        Reserved::Done
    );
    let tie = confirmation(&rendered, "video_1");
    let binding = binding(&key);
    let confirmed = ledger.confirm(ReservationId(1), &tie, &binding, NOW);
    confirmed.await.unwrap();
    // Of another 0.34.
    for (text, fits) in [("0.83/day", false), ("0.84/day", true)] {
        assert_eq!(
            has_room(&*ledger, &a, &cost_limit(text)).await,
            fits,
            "{text}"
        );
    }
    let voided = ledger.settle(ReservationId(1), Resolution::Voided, "failed", NOW);
    assert_eq!(voided.await.unwrap(), Some(rendered));
    assert!(has_room(&*ledger, &a, &cost_limit("0.34/day")).await);
}

//! Tests what ejects a channel, for how long, and what ends the ejection.

use super::*;

const RULES: EjectionRules = EjectionRules {
    failures: 1,
    pause: Duration::from_secs(30),
    max_pause: Duration::from_secs(100),
};
const LASTS: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_000_000 + seconds * 1000)
}

fn resting(until: u64) -> Standing {
    Standing::Resting {
        until: Some(at(until)),
    }
}

const FOR_GOOD: Standing = Standing::Resting { until: None };

/// Notes an event of a request that began and ended at `seconds`.
fn note(health: &mut Health, event: Event, seconds: u64) -> Option<Change> {
    health.note(event, at(seconds), &RULES, at(seconds))
}

fn ejected_by(event: Event) -> Health {
    let mut health = Health::default();
    let change = note(&mut health, event, 0);
    assert!(matches!(change, Some(Change::Ejected(_))), "{event:?}");
    health
}

#[test]
fn what_a_channel_is_ejected_for_says_for_how_long() {
    let after = |seconds| Some(Duration::from_secs(seconds));
    for (event, standing) in [
        (Event::Account, FOR_GOOD),
        (Event::RateLimited(after(7)), resting(7)),
        (Event::RateLimited(after(0)), resting(1)),
        (Event::RateLimited(after(86_400)), resting(600)),
        (Event::RateLimited(None), resting(1)),
        (Event::Failed, resting(30)),
        (Event::TimedOut, resting(30)),
        (Event::ProbeFailed, resting(30)),
    ] {
        let health = ejected_by(event);
        assert_eq!(health.standing(at(0)), standing, "{event:?}");
        let Standing::Resting { until } = standing else {
            panic!("{standing:?}");
        };
        let later = match until {
            Some(until) => {
                let before = Timestamp(until.0 - 1);
                assert_eq!(health.standing(before), standing, "{event:?}");
                health.standing(until)
            }
            None => health.standing(at(1_000_000)),
        };
        let wanted = until.map_or(FOR_GOOD, |_| Standing::Trial);
        assert_eq!(later, wanted, "{event:?}");
    }
    for event in [
        Event::Connected,
        Event::Created,
        Event::Answered,
        Event::Probed,
    ] {
        let mut health = Health::default();
        assert_eq!(note(&mut health, event, 0), None);
        assert!(health.is_good());
    }
}

#[test]
fn a_channel_that_cannot_be_reached_needs_no_trial() {
    let mut health = ejected_by(Event::Unreachable);
    let mut now = at(0);
    for pause in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        let until = Timestamp(now.0 + pause);
        assert_eq!(
            health.standing(now),
            Standing::Resting { until: Some(until) }
        );
        assert_eq!(health.standing(until), Standing::Active);
        assert_eq!(health.begin_trial(until, LASTS), None);
        now = until;
        let change = health.note(Event::Unreachable, now, &RULES, now);
        assert!(matches!(change, Some(Change::Prolonged(_))), "{change:?}");
    }
    // Any connection ends the ejection, whenever it began.
    let change = health.note(Event::Connected, at(0), &RULES, now);
    assert_eq!(change, Some(Change::Returned(EjectionReason::Unreachable)));
    assert!(health.is_good());
}

#[test]
fn what_lets_a_channel_back() {
    use Event::*;
    let lets_back = |ejected: Event, event: Event, seconds: u64| {
        let mut health = ejected_by(ejected);
        note(&mut health, event, seconds);
        health.standing(at(seconds)) == Standing::Active
    };
    for (ejected, events) in [
        (Account, &[Created, Probed][..]),
        (RateLimited(None), &[Created, Answered]),
        (Failed, &[Created, Answered]),
        (TimedOut, &[Created, Answered]),
        (ProbeFailed, &[Created, Answered, Probed]),
    ] {
        for event in [Connected, Created, Answered, Probed] {
            for seconds in [1, 100] {
                let wanted = events.contains(&event);
                let found = lets_back(ejected, event, seconds);
                assert_eq!(found, wanted, "{ejected:?} {event:?} {seconds}");
            }
        }
        let mut health = ejected_by(ejected);
        assert!(matches!(health.restore(at(1)), Some(Change::Returned(_))));
        assert!(health.is_good());
    }
}

#[test]
fn requests_that_fail_together_are_one_ejection() {
    let mut health = ejected_by(Event::TimedOut);
    for event in [Event::TimedOut, Event::Failed, Event::Unreachable] {
        for seconds in [0, 1, 29, 31, 90] {
            let late = health.note(event, Timestamp(at(0).0 - 1), &RULES, at(seconds));
            assert_eq!(late, None, "{event:?} {seconds}");
        }
    }
    assert_eq!(health.standing(at(29)), resting(30));
    // A success of a request from before the ejection says nothing either.
    let late = health.note(Event::Created, Timestamp(at(0).0 - 1), &RULES, at(5));
    assert_eq!((late, health.standing(at(5))), (None, resting(30)));
    // After the ejection has ended, the failures of requests from before do not eject the channel again.
    assert!(note(&mut health, Event::Created, 40).is_some());
    let late = health.note(Event::TimedOut, at(0), &RULES, at(50));
    assert_eq!((late, health.standing(at(50))), (None, Standing::Active));
    let fresh = health.note(Event::TimedOut, at(41), &RULES, at(51));
    assert!(matches!(fresh, Some(Change::Ejected(_))));
}

#[test]
fn what_is_sent_to_a_resting_channel_for_want_of_another_makes_its_pause_no_longer() {
    let mut health = ejected_by(Event::Failed);
    for seconds in 1..30 {
        assert_eq!(note(&mut health, Event::Failed, seconds), None);
        assert_eq!(note(&mut health, Event::Unreachable, seconds), None);
    }
    assert_eq!(health.standing(at(29)), resting(30));
}

#[test]
fn a_stronger_reason_replaces_a_weaker_one() {
    let before = Timestamp(at(0).0 - 1);
    let wait = |seconds| Event::RateLimited(Some(Duration::from_secs(seconds)));
    let mut health = ejected_by(Event::Failed);
    assert_eq!(health.note(wait(5), before, &RULES, at(1)), None);
    assert_eq!(
        health.note(Event::RateLimited(None), before, &RULES, at(1)),
        None
    );
    assert_eq!(health.standing(at(1)), resting(30));
    let change = health.note(wait(60), before, &RULES, at(1));
    assert!(matches!(change, Some(Change::Ejected(e)) if e.reason == EjectionReason::RateLimited));
    assert_eq!(health.standing(at(1)), resting(61));
    // The ejection is the same, and ends later.
    assert_eq!(health.note(wait(70), before, &RULES, at(2)), None);
    assert_eq!(health.standing(at(2)), resting(72));
    let change = health.note(Event::Account, before, &RULES, at(3));
    assert!(matches!(change, Some(Change::Ejected(e)) if e.reason == EjectionReason::Account));
    for event in [
        Event::Account,
        wait(600),
        Event::Failed,
        Event::Unreachable,
        Event::ProbeFailed,
    ] {
        assert_eq!(note(&mut health, event, 500), None, "{event:?}");
    }
    assert_eq!(health.standing(at(500)), FOR_GOOD);
}

#[test]
fn one_trial_at_a_time_lets_it_back_or_doubles_its_pause() {
    let mut health = ejected_by(Event::Failed);
    let mut now = 0;
    for pause in [30, 60, 100, 100] {
        assert_eq!(health.begin_trial(at(now + pause - 1), LASTS), None);
        now += pause;
        assert_eq!(health.begin_trial(at(now), LASTS), Some(at(now + 60)));
        assert_eq!(health.begin_trial(at(now), LASTS), None);
        assert_eq!(health.standing(at(now + 59)), resting(now));
        // A trial that reported nothing is waited for no longer.
        assert_eq!(health.standing(at(now + 60)), Standing::Trial);
        let change = note(&mut health, Event::Failed, now);
        assert!(matches!(change, Some(Change::Prolonged(_))), "{change:?}");
    }
    now += 100;
    let ends = health.begin_trial(at(now), LASTS).unwrap();
    // The end of another trial than the one under way, such as one that took too long, changes nothing.
    health.end_trial(at(now));
    assert_eq!(health.begin_trial(at(now), LASTS), None);
    health.end_trial(ends);
    assert_eq!(health.begin_trial(at(now), LASTS), Some(ends));
    let change = note(&mut health, Event::Answered, now);
    assert_eq!(change, Some(Change::Returned(EjectionReason::Failed)));
    // The success resets the pauses.
    note(&mut health, Event::Failed, now + 1);
    assert_eq!(health.standing(at(now + 1)), resting(now + 31));
}

#[test]
fn so_many_failures_in_a_row_eject() {
    let rules = EjectionRules {
        failures: 3,
        ..RULES
    };
    let mut health = Health::default();
    let mut seen = |event, seconds| {
        let change = health.note(event, at(seconds), &rules, at(seconds));
        matches!(change, Some(Change::Ejected(_)))
    };
    for (event, ejects) in [
        (Event::Failed, false),
        (Event::TimedOut, false),
        (Event::Answered, false),
        (Event::TimedOut, false),
        (Event::ProbeFailed, false),
        // A list that works does not show that creates work.
        (Event::Probed, false),
        (Event::Connected, false),
        (Event::Failed, false),
        (Event::ProbeFailed, false),
        (Event::ProbeFailed, false),
        (Event::Failed, true),
    ] {
        assert_eq!(seen(event, 1), ejects, "{event:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_ends_pauses() {
    let mut health = ejected_by(Event::Failed);
    let back = Timestamp(at(0).0 - 1);
    assert_eq!(health.standing(back), Standing::Trial);
    assert!(health.begin_trial(back, LASTS).is_some());
    assert!(health.note(Event::Created, back, &RULES, back).is_some());
    assert!(health.is_good());
    // Failures count although the ejection ended at a time that now lies ahead.
    let earlier = Timestamp(back.0 - 1000);
    let change = health.note(Event::Failed, earlier, &RULES, earlier);
    assert!(matches!(change, Some(Change::Ejected(_))));
    let account = ejected_by(Event::Account);
    assert_eq!(account.standing(back), FOR_GOOD);
}

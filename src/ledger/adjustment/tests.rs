use super::*;
use crate::ledger::evidence::{ChannelAnswer, JobError};
use crate::money::Amount;

fn author(at: u64, reason: &str) -> Author {
    Author {
        at: Timestamp(at),
        made_by: "kim@desk".into(),
        reason: reason.into(),
    }
}

fn record(id: u128, state: State, voided_by: Option<Adjustment>) -> DisputeRecord {
    let mut charge = Charge::clone(&Charge::of_nothing());
    charge.billed = Amount::from_nanos(4_000_000_000).unwrap();
    DisputeRecord {
        id: ReservationId(id),
        request_id: "req_1".into(),
        charge: charge.into(),
        uncorrected: None,
        address: None,
        state,
        reserved: Timestamp(5),
        refused_by: None,
        answer: ChannelAnswer::default(),
        unknown: None,
        confirmed: None,
        job: Some("video_1".into()),
        upstream_id: None,
        remix_of: None,
        idempotency_key: None,
        resolved: None,
        outcome: None,
        job_error: JobError::default(),
        deleted: false,
        voided_by,
    }
}

fn void_of(id: u128) -> Adjustment {
    let record = record(id, State::Posted, None);
    match decide_void(Some(&record), None, author(9, "broken")) {
        VoidDecision::Record(void) => void,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_posted_charge_is_voided_once_and_no_other_at_all() {
    let void = void_of(7);
    assert_eq!(&*void.id, "void_00000000000000000000000000000007");
    assert_eq!(
        (void.kind_name(), void.billed().nanos()),
        ("void", -4_000_000_000)
    );
    let AdjustmentKind::Void(voided) = &void.kind else {
        panic!("{void:?}");
    };
    assert_eq!(
        (voided.reservation, voided.reserved),
        (ReservationId(7), Timestamp(5))
    );

    let decide = |record: Option<&_>, pruned| decide_void(record, pruned, author(10, "again"));
    let refuse = VoidDecision::Refuse;
    let already = VoidDecision::Already(void.clone());
    for (record, pruned, expected) in [
        (None, None, refuse(VoidRefusal::NotFound)),
        (None, Some(void.clone()), already.clone()),
        (
            Some(record(7, State::Posted, Some(void.clone()))),
            None,
            already,
        ),
        (
            Some(record(7, State::Voided, None)),
            None,
            VoidDecision::NothingOwed(ReservationId(7)),
        ),
    ] {
        assert_eq!(decide(record.as_ref(), pruned), expected, "{record:?}");
    }
    for state in [State::Pending, State::Unknown, State::Confirmed] {
        let open = refuse(VoidRefusal::Open(ReservationId(7)));
        let record = record(7, state, None);
        assert_eq!(decide(Some(&record), None), open, "{state:?}");
    }
}

/// Makes the record of a charge that was posted for the job `name`.
fn job(id: u128, name: &str, voided_by: Option<Adjustment>) -> DisputeRecord {
    let mut record = record(id, State::Posted, voided_by);
    record.job = Some(name.into());
    record
}

/// Makes the reference to the charge of reservation `id`, whose payer is the key `x`.
fn of_x(id: u128) -> ChargeOfKey {
    ChargeOfKey {
        reservation: ReservationId(id),
        key: "x".into(),
    }
}

/// Makes the refusal of a name that a client or a channel has given to the charges of the reservations `ids`.
fn not_its_id(ids: &[u128]) -> NamedCharge {
    let charges = ids.iter().map(|id| of_x(*id));
    NamedCharge::Refuse(VoidRefusal::NotItsId(charges.collect()))
}

/// Makes the record of a charge whose request has the id `name`, which its client has chosen.
fn of_request(id: u128, name: &str) -> DisputeRecord {
    let mut record = job(id, "video_other", None);
    record.request_id = name.into();
    record
}

/// Makes the record of a charge whose job has the id `name` at its channel.
fn at_channel(id: u128, name: &str) -> DisputeRecord {
    let mut record = job(id, "video_other", None);
    record.upstream_id = Some(name.into());
    record
}

#[test]
fn a_name_is_no_charge_that_its_client_or_channel_could_make_it() {
    // The void of reservation 1, whose job was video_1 and whose record has been pruned.
    let void = void_of(1);
    let first = ReservationId(1).to_string();
    let first_request = ReservationId(1).request_id();
    let found = |id| NamedCharge::Found(ReservationId(id));
    let pruned = || NamedCharge::Pruned(void.clone());
    let voided_before = NamedCharge::Refuse(VoidRefusal::VoidedBefore {
        void: void.id.clone(),
        other: of_x(2),
    });
    let some = Some(void.clone());
    for (name, records, void, expected) in [
        // The charge is found by its own ids, even if another charge has the same name.
        (&*first, vec![job(1, "a", None)], None, found(1)),
        (&first_request, vec![job(1, "a", None)], None, found(1)),
        (
            &first,
            vec![job(2, &first, None), job(1, "a", None)],
            None,
            found(1),
        ),
        ("video_2", vec![job(2, "video_2", None)], None, found(2)),
        (
            "video_2",
            vec![of_request(3, "video_2"), job(2, "video_2", None)],
            None,
            found(2),
        ),
        // The charge was voided and pruned.
        ("video_1", vec![], some.clone(), pruned()),
        (
            "video_1",
            vec![of_request(2, "video_1")],
            some.clone(),
            pruned(),
        ),
        (
            "video_1",
            vec![at_channel(2, "video_1")],
            some.clone(),
            pruned(),
        ),
        (&first, vec![of_request(2, &first)], some.clone(), pruned()),
        // The channel has given the id of the pruned job to another job since.
        (
            "video_1",
            vec![job(2, "video_1", None)],
            some.clone(),
            voided_before.clone(),
        ),
        (
            &first,
            vec![job(2, &first, None)],
            some.clone(),
            voided_before,
        ),
        (
            "video_1",
            vec![job(2, "video_1", Some(void_of(2)))],
            some.clone(),
            found(2),
        ),
        ("video_1", vec![job(1, "video_1", None)], some, found(1)),
    ] {
        assert_eq!(
            find_charge(name, &records, void),
            expected,
            "{name}: {records:?}"
        );
    }
}

#[test]
fn what_others_chose_names_no_charge() {
    let second = ReservationId(2).to_string();
    for (name, records, expected) in [
        ("order", vec![of_request(2, "order")], not_its_id(&[2])),
        (
            "order",
            vec![of_request(2, "order"), of_request(3, "order")],
            not_its_id(&[2, 3]),
        ),
        ("up", vec![at_channel(2, "up")], not_its_id(&[2])),
        (&*second, vec![of_request(3, &second)], not_its_id(&[3])),
        (
            "video_9",
            vec![],
            NamedCharge::Refuse(VoidRefusal::NotFound),
        ),
    ] {
        assert_eq!(
            find_charge(name, &records, None),
            expected,
            "{name}: {records:?}"
        );
    }
}

#[test]
fn a_refusal_names_the_charges_and_their_keys_in_bounds() {
    let charge = |id| ChargeOfKey {
        reservation: ReservationId(id),
        key: "studio".into(),
    };
    let one = VoidRefusal::NotItsId(vec![charge(7)]).to_string();
    let named = "00000000000000000000000000000007 of key studio";
    assert!(one.ends_with(&format!("id: {named}")), "{one}");
    let many = VoidRefusal::NotItsId((0..1000).map(charge).collect()).to_string();
    assert!(many.ends_with("13 of key studio, and more"), "{many}");
    let again = VoidRefusal::VoidedBefore {
        void: "void_1".into(),
        other: charge(7),
    };
    let again = again.to_string();
    assert!(
        again.contains("(void_1)") && again.ends_with(named),
        "{again}"
    );
}

#[test]
fn a_repeated_credit_is_known_and_another_one_of_its_id_is_refused() {
    let credit = |amount: &str, reason, at| Adjustment {
        id: "ticket-9".into(),
        author: author(at, reason),
        kind: AdjustmentKind::Credit {
            group: "video".into(),
            key: "studio".into(),
            currency: "CNY".into(),
            amount: amount.parse().unwrap(),
        },
    };
    let first = credit("2.5", "late", 9);
    assert_eq!(
        (first.kind_name(), first.billed().nanos()),
        ("credit", -2_500_000_000)
    );
    let debit = credit("-2.5", "late", 9);
    assert_eq!(
        (debit.kind_name(), debit.billed().nanos()),
        ("debit", 2_500_000_000)
    );
    assert_eq!(decide_credit(None, &first), CreditDecision::Record);
    let again = credit("2.5", "late", 70);
    let already = CreditDecision::Already(first.clone());
    assert_eq!(decide_credit(Some(first.clone()), &again), already);
    for other in [credit("2.6", "late", 9), credit("2.5", "early", 9), debit] {
        let taken = CreditDecision::IdTaken(first.clone());
        assert_eq!(decide_credit(Some(first.clone()), &other), taken);
    }
    let void = void_of(1);
    let taken = CreditDecision::IdTaken(void.clone());
    assert_eq!(decide_credit(Some(void), &first), taken);
}

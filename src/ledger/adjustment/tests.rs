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
    match decide_void(
        &[record(id, State::Posted, None)],
        None,
        author(9, "broken"),
    ) {
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

    let decide = |records: &[_], pruned| decide_void(records, pruned, author(10, "again"));
    let refuse = VoidDecision::Refuse;
    let already = VoidDecision::Already(void.clone());
    for (records, pruned, expected) in [
        (vec![], None, refuse(VoidRefusal::NotFound)),
        (vec![], Some(void.clone()), already.clone()),
        (
            vec![record(7, State::Posted, Some(void.clone()))],
            None,
            already,
        ),
        (
            vec![record(7, State::Voided, None)],
            None,
            VoidDecision::NothingOwed(ReservationId(7)),
        ),
        (
            vec![
                record(1, State::Posted, None),
                record(2, State::Voided, None),
            ],
            None,
            refuse(VoidRefusal::Several(vec![
                ReservationId(1),
                ReservationId(2),
            ])),
        ),
    ] {
        assert_eq!(decide(&records, pruned), expected, "{records:?}");
    }
    for state in [State::Pending, State::Unknown, State::Confirmed] {
        let open = refuse(VoidRefusal::Open(ReservationId(7)));
        assert_eq!(decide(&[record(7, state, None)], None), open, "{state:?}");
    }
}

#[test]
fn a_request_id_that_a_client_chose_stands_in_for_no_other_id() {
    let (mut first, mut second) = (
        record(7, State::Posted, None),
        record(8, State::Posted, None),
    );
    second.job = Some("video_2".into());
    first.request_id = "order-1".into();
    second.request_id = "order-1".into();
    let id = first.id.to_string();
    let both = vec![second.clone(), first.clone()];
    for (name, meant) in [
        (&*id, vec![first.clone()]),
        ("video_1", vec![first.clone()]),
        ("video_2", vec![second]),
        ("order-1", both.clone()),
    ] {
        assert_eq!(meant_by(name, both.clone()), meant, "{name}");
    }
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

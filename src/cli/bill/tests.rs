use super::*;
use crate::ledger::{AdjustmentLine, LineKind};
use crate::money::SignedAmount;

fn line(kind: LineKind, billed: &str) -> BillLine {
    let amount = |text: &str| text.parse::<SignedAmount>().unwrap();
    BillLine {
        kind,
        key: "studio-a".into(),
        group: "video".into(),
        currency: "CNY".into(),
        model: Some("sora-2".into()),
        size: Some("720x1280".into()),
        list_price: Some("0.1".parse().unwrap()),
        multiplier: Some("5".parse().unwrap()),
        jobs: 2,
        video_seconds: 8,
        list: amount("0.8"),
        billed: amount(billed),
        adjustment: None,
    }
}

fn bill() -> Bill<'static> {
    let credit = BillLine {
        model: None,
        size: None,
        list_price: None,
        multiplier: None,
        jobs: 0,
        video_seconds: 0,
        list: SignedAmount::ZERO,
        adjustment: Some(AdjustmentLine {
            id: "ticket-9".into(),
            at: Timestamp(1_795_844_433_000),
            job: None,
            reason: "late, \"very\" late".into(),
            made_by: "kim@desk".into(),
        }),
        ..line(LineKind::Credit, "-1.5")
    };
    let lines = vec![line(LineKind::Charge, "4"), credit];
    Bill {
        month: "2026-11",
        state: MonthState::Closed,
        totals: BillTotals::of(&lines).unwrap(),
        lines,
    }
}

#[test]
fn months_are_in_utc_and_written_in_one_way() {
    let (from, until) = month("2026-11").unwrap();
    assert_eq!(shown(from), "2026-11-01T00:00:00.000Z");
    assert_eq!(shown(until), "2026-12-01T00:00:00.000Z");
    assert_eq!(month("2026-12").unwrap().0, until);
    for text in [
        "",
        "2026",
        "2026-13",
        "2026-1",
        "26-11",
        "2026-11-01",
        "+026-11",
        "1969-11",
    ] {
        assert_eq!(month(text), None, "{text:?}");
    }
}

#[test]
fn a_month_is_closed_an_hour_after_its_end() {
    let (from, until) = month("2026-11").unwrap();
    let closes = Timestamp(until.0 + SETTLING);
    let open = MonthState::Open(closes);
    for (now, state) in [
        (from.0 - 1, MonthState::Ahead),
        (from.0, open),
        (until.0, open),
        (closes.0 - 1, open),
        (closes.0, MonthState::Closed),
    ] {
        assert_eq!(MonthState::at(Timestamp(now), from, until), state, "{now}");
    }
}

#[test]
fn a_month_is_not_closed_by_a_standby_that_lags() {
    let (from, until) = month("2026-11").unwrap();
    let closes = Timestamp(until.0 + SETTLING);
    let (open, closed) = (MonthState::Open(closes), MonthState::Closed);
    let behind = |at| MonthState::Behind(Timestamp(at));
    for (now, replayed, state) in [
        (closes.0, None, closed),
        (closes.0, Some(closes.0), closed),
        (closes.0, Some(closes.0 - 1), behind(closes.0 - 1)),
        (closes.0, Some(0), behind(0)),
        (until.0, Some(0), open),
        (until.0, Some(closes.0), open),
    ] {
        let replayed = replayed.map(Timestamp);
        let found = MonthState::as_read(Timestamp(now), replayed, from, until);
        assert_eq!(found, state, "{now} {replayed:?}");
    }
    let mut bill = bill();
    bill.state = behind(closes.0 - 1);
    assert_eq!(bill.to_json()["final"], false);
    let notes = bill.notes().join(" ");
    assert!(notes.contains("until 2026-12-01T00:59:59.999Z"), "{notes}");
}

#[test]
fn csv_has_all_columns_in_every_row() {
    let csv = bill().to_csv();
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(rows[0], COLUMNS.join(","));
    assert_eq!(
        rows[1],
        "charge,studio-a,video,sora-2,720x1280,0.10,5.00,2,8,0.80,4.00,CNY,,,,,,2026-11"
    );
    assert_eq!(
        rows[2],
        "credit,studio-a,video,,,,,0,0,0.00,-1.50,CNY,2026-11-28T05:40:33.000Z,kim@desk,\
         \"late, \"\"very\"\" late\",,ticket-9,2026-11"
    );
    assert_eq!(
        rows[3],
        "total of key,studio-a,,,,,,2,8,0.80,2.50,CNY,,,,,,2026-11"
    );
    assert_eq!(rows[4], "total,,,,,,,2,8,0.80,2.50,CNY,,,,,,2026-11");
    assert_eq!(rows[5..], [""]);
}

#[test]
fn a_table_and_json_say_how_amounts_are_rounded() {
    let mut bill = bill();
    let table = bill.to_table();
    assert!(
        table.contains(ROUNDING) && table.contains("no more lines"),
        "{table}"
    );
    let recorded = "\n  ticket-9, 2026-11-28T05:40:33.000Z by kim@desk: late, \"very\" late\n";
    assert!(table.contains(recorded), "{table}");
    assert!(!table.contains(PRUNED));
    let json = bill.to_json();
    assert_eq!(
        (&json["final"], &json["rounding"]),
        (&true.into(), &ROUNDING.into())
    );
    assert_eq!(json["totals_by_key"][0]["billed_cost"], "2.50");
    assert_eq!(json["lines"][1]["adjustment"]["id"], "ticket-9");
    // Unknown values are not made up.
    bill.lines[0].multiplier = None;
    bill.state = MonthState::Open(Timestamp(0));
    assert!(bill.to_table().contains(PRUNED));
    assert_eq!(bill.to_json()["final"], false);
}

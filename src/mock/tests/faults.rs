//! Tests that each fault does what the table says.

use std::time::Instant;

use http::StatusCode;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::mock::{Fault, FaultError, Kind, Scope};

fn ask() -> Ask {
    Ask::form(&[("prompt", "a cat"), ("seconds", "4")])
}

/// The faults of creates: the name, the status that comes back (0 for no answer), whether the answer
/// comes whole, and the number of jobs that it makes.
const CREATES: &[(&str, u16, bool, usize)] = &[
    ("fail", 200, true, 1),
    ("moderated", 200, true, 1),
    ("cancelled", 200, true, 1),
    ("400", 400, true, 0),
    ("401", 401, true, 0),
    ("429", 429, true, 0),
    ("quota", 429, true, 0),
    ("500", 500, true, 0),
    ("503", 503, true, 0),
    ("slow=5", 200, true, 1),
    ("trickle", 200, true, 1),
    ("early=503", 503, true, 0),
    ("drop-before", 0, false, 0),
    ("drop-body", 0, false, 0),
    ("drop-after", 0, false, 1),
    ("drop-answer", 200, false, 1),
    ("no-id", 200, true, 1),
    ("other-seconds", 200, true, 1),
    ("other-size", 200, true, 1),
    ("garbage", 200, true, 0),
    ("huge=300000", 200, true, 1),
    ("big=1000", 200, true, 1),
];

#[tokio::test]
async fn a_create_fails_as_told_by_header_process_or_prompt() {
    for &(fault, status, whole, jobs) in CREATES {
        for way in ["header", "process", "prompt"] {
            let mock = start(finished()).await;
            let told = match way {
                "header" => ask().fault(fault),
                "prompt" => Ask::form(&[("prompt", &format!("a cat [mock:nope] [mock:{fault}]"))]),
                _ => {
                    let body = json!({ "fault": format!("create:{fault}") }).to_string();
                    let set = Ask::new("POST /mock/fault").body(body.as_bytes());
                    assert_eq!(set.to(&mock).await.status, 200);
                    ask()
                }
            };
            let got = told.to(&mock).await;
            assert_eq!((got.status, got.whole), (status, whole), "{fault} by {way}");
            assert_eq!(mock.jobs().len(), jobs, "{fault} by {way}");
            until(&mock, |stats| stats.creates_in_flight == 0).await;
            let stats = mock.stats();
            let acts_early = matches!(fault, "drop-before" | "drop-body") && way != "prompt";
            assert_eq!(
                stats.creates_dropped,
                u64::from(acts_early),
                "{fault} by {way}"
            );
            assert_eq!(
                stats.creates_complete,
                u64::from(!acts_early),
                "{fault} by {way}"
            );
            assert_eq!(stats.creates_accepted, jobs as u64, "{fault} by {way}");
            let requests = mock.requests();
            assert_eq!(requests[0].fault.as_deref(), Some(fault));
            let shown = (status != 0).then_some(status);
            assert_eq!(requests[0].status, shown, "{fault} by {way}");
            assert_eq!(
                requests[0].job_id,
                mock.jobs().first().and_then(|job| job.job.id.clone())
            );
        }
    }
}

#[tokio::test]
async fn answers_say_what_their_faults_are() {
    let mock = start(finished()).await;
    let got = ask().fault("fail").to(&mock).await.json();
    assert_eq!(got["status"], "failed");
    assert!(got["error"]["code"].is_string());
    let got = ask().fault("moderated").to(&mock).await.json();
    assert_eq!(
        (&got["status"], &got["error"]["code"]),
        (&json!("failed"), &json!("moderation_blocked"))
    );
    assert_eq!(
        ask().fault("cancelled").to(&mock).await.json()["status"],
        "cancelled"
    );
    let got = ask().fault("429").to(&mock).await;
    assert_eq!(got.error().2.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(got.json()["error"]["type"], "requests");
    assert_eq!(got.header("retry-after"), Some("2"));
    assert_eq!(got.header("x-ratelimit-reset-requests"), Some("2s"));
    let got = ask().fault("quota").to(&mock).await;
    assert_eq!(got.error().2.as_deref(), Some("insufficient_quota"));
    assert_eq!(got.header("retry-after"), None);
    let got = ask().fault("401").to(&mock).await;
    assert_eq!(got.error().2.as_deref(), Some("invalid_api_key"));
    assert_eq!(ask().fault("no-id").to(&mock).await.json().get("id"), None);
    assert_eq!(
        ask().fault("other-seconds").to(&mock).await.json()["seconds"],
        "8"
    );
    assert_eq!(
        ask().fault("other-seconds=20").to(&mock).await.json()["seconds"],
        "20"
    );
    assert_eq!(
        ask().fault("other-size").to(&mock).await.json()["size"],
        "1280x720"
    );
    let got = ask().fault("garbage").to(&mock).await;
    assert_eq!(got.header("content-type"), Some("text/html"));
    let got = ask().fault("huge=300000").to(&mock).await;
    assert!(got.body.len() > 300_000 && got.json()["id"].is_string());
    let got = ask().fault("drop-answer").to(&mock).await;
    let half = got
        .header("content-length")
        .unwrap()
        .parse::<usize>()
        .unwrap()
        / 2;
    assert_eq!(got.body.len(), half);
    let began = Instant::now();
    ask().fault("slow=30").to(&mock).await;
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert_eq!(ask().fault("nope").to(&mock).await.status, 400);
}

#[tokio::test]
async fn the_cost_is_that_of_the_job_there_is() {
    let mock = start(finished()).await;
    ask().fault("other-seconds=12").to(&mock).await;
    assert_eq!(mock.stats().list_cost_usd_total, "1.2");
    ask().fault("drop-after").to(&mock).await;
    assert_eq!(mock.stats().list_cost_usd_total, "1.6");
    ask().fault("fail").to(&mock).await;
    let stats = mock.stats();
    assert_eq!(
        (
            stats.list_cost_usd_total.as_str(),
            stats.list_cost_usd_completed.as_str()
        ),
        ("2", "1.6")
    );
}

#[tokio::test]
async fn downloads_fail_and_grow() {
    let mock = start(finished()).await;
    let id = ask().fault("big=100000").to(&mock).await.id();
    let path = format!("/v1/videos/{id}/content");
    let got = get(&mock, &path).await;
    assert_eq!(got.body.len(), 100_000);
    let line = format!("GET {path}");
    let part = Ask::new(&line)
        .header("Range: bytes=70000-70099")
        .to(&mock)
        .await;
    assert_eq!(part.body, &got.body[70_000..70_100]);
    mock.set_faults(vec!["big=5".parse().unwrap()], None);
    assert_eq!(get(&mock, &path).await.body.len(), 5);
    mock.set_faults(vec!["content:drop-answer".parse().unwrap()], None);
    let cut = get(&mock, &path).await;
    assert_eq!(
        (cut.status, cut.whole, cut.body.len()),
        (200, false, 50_000)
    );
}

#[tokio::test]
async fn faults_of_the_process_have_scopes_and_ends() {
    let mock = start(Options {
        faults: vec!["list:500".parse().unwrap()],
        ..finished()
    })
    .await;
    let id = ask().to(&mock).await.id();
    let poll = format!("/v1/videos/{id}");
    assert_eq!(get(&mock, "/v1/videos").await.status, 500);
    assert_eq!(get(&mock, &poll).await.status, 200);
    let set = |body: &str| Ask::new("POST /mock/fault").body(body.as_bytes());
    let got = set(r#"{"fault":"poll:502, delete:garbage","times":2}"#)
        .to(&mock)
        .await;
    assert_eq!(
        got.json(),
        json!({"faults": ["poll:502", "delete:garbage"]})
    );
    let statuses = [
        get(&mock, &poll).await,
        get(&mock, &poll).await,
        get(&mock, &poll).await,
    ];
    assert_eq!(statuses.map(|got| got.status), [502, 502, 200]);
    assert_eq!(
        get(&mock, "/mock/fault").await.json(),
        json!({"faults": ["delete:garbage"]})
    );
    assert_eq!(get(&mock, "/v1/videos").await.status, 200);
    for wrong in [
        r#"{"fault":"nope"}"#,
        r#"{"faults":"500"}"#,
        "500",
        "",
        r#"{"fault":"up:500"}"#,
    ] {
        assert_eq!(set(wrong).to(&mock).await.status, 400, "{wrong}");
    }
    assert_eq!(
        set(r#"{"fault":null}"#).to(&mock).await.json(),
        json!({"faults": []})
    );
    mock.reset();
    assert_eq!(get(&mock, "/v1/videos").await.status, 500);
    mock.set_faults(vec!["any:500".parse().unwrap()], Some(1));
    assert_eq!(get(&mock, "/v1/models").await.status, 500);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    for wrong in [
        "", "nope", "200", "399", "600", "fail=1", "poll:", "4000", "quota=",
    ] {
        assert!(
            matches!(wrong.parse::<Fault>(), Err(FaultError::Kind(_))),
            "{wrong}"
        );
    }
    for wrong in [
        "slow",
        "slow=",
        "slow=x",
        "early",
        "early=200",
        "big",
        "huge=-1",
    ] {
        assert!(
            matches!(wrong.parse::<Fault>(), Err(FaultError::Value(_))),
            "{wrong}"
        );
    }
    assert_eq!(
        "up:500".parse::<Fault>(),
        Err(FaultError::Scope("up".into()))
    );
    assert_eq!("big=1".parse::<Fault>().unwrap().scope, Scope::Content);
    assert_eq!("500".parse::<Fault>().unwrap().scope, Scope::Create);
    assert_eq!(Fault::parse_list(" "), Ok(Vec::new()));
    for (prompt, kind) in [
        ("a cat", None),
        ("[mock:", None),
        ("[mock:nope]", None),
        ("[mock:[mock:quota]", Some(Kind::Quota)),
        ("x[mock:fail][mock:quota]", Some(Kind::Fail)),
    ] {
        assert_eq!(Kind::in_prompt(prompt), kind, "{prompt}");
    }
}

#[tokio::test]
async fn a_rate_limit_says_for_how_long_or_does_not() {
    let mock = start(finished()).await;
    for (fault, wait) in [
        ("429", Some("2")),
        ("429=20", Some("20")),
        ("429=none", None),
    ] {
        mock.set_faults(vec![fault.parse().unwrap()], Some(1));
        let got = ask().to(&mock).await;
        assert_eq!(got.status, 429, "{fault}");
        let mut lines = got.head.lines();
        let told = lines.find_map(|line| line.strip_prefix("retry-after: "));
        assert_eq!(told, wait, "{fault}");
    }
    assert!(mock.jobs().is_empty());
}

#[tokio::test]
async fn faults_act_on_a_part_of_the_requests() {
    let mock = start(finished()).await;
    let set = Ask::new("POST /mock/fault").body(br#"{"fault":"create:500","percent":30}"#);
    assert_eq!(set.to(&mock).await.status, 200);
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(ask().to(&mock).await.status == 500);
    }
    assert_eq!(failed, 6);
    let set = Ask::new("POST /mock/fault").body(br#"{"fault":"create:500","seconds":0}"#);
    assert_eq!(set.to(&mock).await.status, 200);
    assert_eq!(ask().to(&mock).await.status, 200, "its time is over");
}

fn fault() -> impl Strategy<Value = Fault> {
    let scope = prop_oneof![
        Just(Scope::Create),
        Just(Scope::Poll),
        Just(Scope::List),
        Just(Scope::Content),
        Just(Scope::Delete),
        Just(Scope::Any),
    ];
    let status = || (400u16..600).prop_map(|status| StatusCode::from_u16(status).unwrap());
    let kind = prop_oneof![
        Just(Kind::Fail),
        Just(Kind::Moderated),
        Just(Kind::Cancelled),
        status().prop_map(Kind::Status),
        proptest::option::of(any::<u64>()).prop_map(Kind::RateLimited),
        Just(Kind::Quota),
        Just(Kind::Hang),
        any::<u64>().prop_map(|ms| Kind::Slow(Duration::from_millis(ms))),
        Just(Kind::Trickle),
        status().prop_map(Kind::Early),
        Just(Kind::DropBefore),
        Just(Kind::DropBody),
        Just(Kind::DropAfter),
        Just(Kind::DropAnswer),
        Just(Kind::NoId),
        proptest::option::of("[0-9]{1,3}").prop_map(Kind::OtherSeconds),
        proptest::option::of("[0-9]{1,4}x[0-9]{1,4}").prop_map(Kind::OtherSize),
        Just(Kind::Garbage),
        any::<u64>().prop_map(Kind::Huge),
        any::<u64>().prop_map(Kind::Big),
    ];
    (scope, kind).prop_map(|(scope, kind)| Fault { scope, kind })
}

proptest! {
    #[test]
    fn a_fault_is_read_as_it_is_written(fault in fault()) {
        prop_assert_eq!(fault.to_string().parse(), Ok(fault));
    }
}

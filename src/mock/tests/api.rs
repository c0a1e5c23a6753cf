//! Tests what a well-behaved client sees.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::mock::Fate;
use crate::mock::jobs::{Jobs, NewJob, usd};

#[tokio::test]
async fn a_new_job_has_all_its_fields() {
    let mock = start(queued()).await;
    let fields = [
        ("prompt", "a cat"),
        ("model", "sora-2-pro"),
        ("seconds", "12"),
        ("size", "1024x1792"),
    ];
    let got = Ask::form(&fields).to(&mock).await;
    assert_eq!(got.status, 200);
    let mut job = got.json();
    assert!(
        job["created_at"]
            .take()
            .as_u64()
            .is_some_and(|at| at > 1_700_000_000)
    );
    let id = got.id();
    let hex = id.strip_prefix("video_").unwrap();
    assert!(hex.len() == 48 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let expected = json!({
        "id": id, "object": "video", "model": "sora-2-pro", "status": "queued", "progress": 0,
        "created_at": null, "completed_at": null, "expires_at": null, "prompt": "a cat",
        "size": "1024x1792", "seconds": "12", "remixed_from_video_id": null, "error": null,
    });
    assert_eq!(job, expected);
    assert_eq!(got.header("openai-poll-after-ms"), Some("1000"));
    assert!(got.header("x-request-id").unwrap().starts_with("req_"));
    assert_eq!(get(&mock, &format!("/v1/videos/{id}")).await.id(), id);
    assert_eq!(mock.stats().list_cost_usd_total, "6");
    assert_eq!(mock.stats().list_cost_usd_completed, "0");
}

#[tokio::test]
async fn json_and_defaults_serve_as_well() {
    let mock = start(finished()).await;
    let job = Ask::json(r#"{"prompt":"a dog"}"#).to(&mock).await.json();
    assert_eq!(job["status"], "completed");
    assert_eq!(job["progress"], 100);
    assert_eq!(
        (&job["model"], &job["seconds"], &job["size"]),
        (&json!("sora-2"), &json!("4"), &json!("720x1280"))
    );
    assert_eq!(
        job["expires_at"].as_u64(),
        job["completed_at"].as_u64().map(|at| at + 86_400)
    );
    assert_eq!(mock.stats().list_cost_usd_completed, "0.4");
}

#[test]
fn a_job_moves_with_time_alone() {
    let new = |fate| NewJob {
        model: "m".into(),
        seconds: "4".into(),
        size: "1x1".into(),
        prompt: "p".into(),
        remixed_from: None,
        fate,
        queued: Duration::from_secs(10),
        rendering: Duration::from_secs(100),
        list_cost_micro_usd: 1,
        video_bytes: None,
    };
    let jobs = Jobs::default();
    let job = jobs.create(new(Fate::Completed));
    let now = Instant::now();
    let at = |seconds| job.status(now + Duration::from_secs(seconds));
    assert_eq!([at(0), at(9)], [("queued", 0); 2]);
    assert_eq!(at(60), ("in_progress", 50));
    assert_eq!([at(110), at(9999)], [("completed", 100); 2]);
    assert_eq!(
        job.remaining(now + Duration::from_secs(9999)),
        Duration::ZERO
    );
    let ends = [
        (Fate::Failed, "failed", Some("video_generation_failed")),
        (Fate::Moderated, "failed", Some("moderation_blocked")),
        (Fate::Cancelled, "cancelled", None),
    ];
    for (fate, status, code) in ends {
        let job = jobs.create(new(fate));
        let now = Instant::now();
        let end = now + Duration::from_secs(110);
        assert_eq!(job.view(now).error, None);
        assert_eq!(job.view(end).status, status);
        assert_eq!(job.view(end).error.map(|error| error.code), code);
        assert_eq!(job.view(end).completed_at, None);
    }
}

#[tokio::test]
async fn pages_follow_each_other_in_both_orders() {
    let mock = start(finished()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(Ask::json(r#"{"prompt":"x"}"#).to(&mock).await.id());
    }
    let removed = ids.remove(2);
    let gone = Ask::new(&format!("DELETE /v1/videos/{removed}"));
    let deleted = json!({"id": removed, "object": "video.deleted", "deleted": true});
    assert_eq!(gone.to(&mock).await.json(), deleted);
    assert_eq!(gone.to(&mock).await.status, 404);
    assert_eq!(
        get(&mock, &format!("/v1/videos/{removed}")).await.status,
        404
    );
    for (order, expected) in [
        ("asc", ids.clone()),
        ("desc", ids.iter().rev().cloned().collect()),
    ] {
        let mut seen: Vec<String> = Vec::new();
        let mut path = format!("/v1/videos?limit=3&order={order}");
        loop {
            let page = get(&mock, &path).await.json();
            let data = page["data"].as_array().unwrap();
            assert_eq!(page["object"], "list");
            assert_eq!(page["first_id"], data[0]["id"]);
            assert_eq!(page["last_id"], data[data.len() - 1]["id"]);
            seen.extend(data.iter().map(|job| job["id"].as_str().unwrap().into()));
            if page["has_more"] == false {
                break;
            }
            path = format!(
                "/v1/videos?limit=3&order={order}&after={}",
                seen[seen.len() - 1]
            );
        }
        assert_eq!(seen, expected, "{order}");
    }
    let newest = get(&mock, "/v1/videos").await.json()["first_id"].clone();
    assert_eq!(newest, json!(ids[3]));
    let none = get(&mock, "/v1/videos?limit=0").await.json();
    assert_eq!(
        (&none["first_id"], &none["has_more"]),
        (&json!(null), &json!(true))
    );
    for wrong in ["limit=101", "limit=x", "order=up", "after=video_0"] {
        assert_eq!(
            get(&mock, &format!("/v1/videos?{wrong}")).await.status,
            400,
            "{wrong}"
        );
    }
    assert!(
        mock.jobs()
            .iter()
            .any(|job| job.deleted && job.job.id.as_deref() == Some(&removed))
    );
}

#[tokio::test]
async fn a_remix_inherits() {
    let mock = start(finished()).await;
    let source = Ask::form(&[("prompt", "x"), ("seconds", "8"), ("model", "sora-2-pro")]);
    let source = source.to(&mock).await.id();
    let line = format!("POST /v1/videos/{source}/remix");
    for ask in [
        Ask::json(r#"{"prompt":"again"}"#),
        Ask::form(&[("prompt", "again")]),
    ] {
        let job = ask.line(&line).to(&mock).await.json();
        assert_eq!(job["remixed_from_video_id"], json!(source));
        assert_eq!(
            (&job["seconds"], &job["model"]),
            (&json!("8"), &json!("sora-2-pro"))
        );
        assert_eq!(job["prompt"], "again");
    }
    let stats = mock.stats();
    assert_eq!((stats.remixes_complete, stats.remixes_accepted), (2, 2));
    assert_eq!((stats.creates_complete, stats.creates_accepted), (1, 1));
    assert_eq!(stats.list_cost_usd_total, "7.2");
    let refused = Ask::json(r#"{"prompt":"x","seconds":"4"}"#)
        .line(&line)
        .to(&mock)
        .await;
    assert_eq!(refused.error().1.as_deref(), Some("seconds"));
    let nowhere = Ask::json(r#"{"prompt":"x"}"#).line("POST /v1/videos/video_0/remix");
    assert_eq!(nowhere.to(&mock).await.status, 404);
}

#[tokio::test]
async fn only_a_completed_job_can_be_used() {
    let mock = start(queued()).await;
    let id = Ask::json(r#"{"prompt":"x"}"#).to(&mock).await.id();
    let remix = Ask::json(r#"{"prompt":"x"}"#).line(&format!("POST /v1/videos/{id}/remix"));
    assert_eq!(remix.to(&mock).await.status, 400);
    assert_eq!(
        get(&mock, &format!("/v1/videos/{id}/content")).await.status,
        404
    );
}

#[tokio::test]
async fn downloads_are_media_and_come_in_ranges() {
    let mock = start(finished()).await;
    let id = Ask::json(r#"{"prompt":"x"}"#).to(&mock).await.id();
    let path = format!("/v1/videos/{id}/content");
    let video = get(&mock, &path).await;
    assert_eq!(video.header("content-type"), Some("video/mp4"));
    assert_eq!(&video.body[4..8], b"ftyp");
    let whole = video.body.len();
    let thumbnail = get(&mock, &format!("{path}?variant=thumbnail")).await;
    assert_eq!(&thumbnail.body[8..12], b"WEBP");
    let spritesheet = get(&mock, &format!("{path}?variant=spritesheet")).await;
    assert_eq!(&spritesheet.body[..2], b"\xff\xd8");
    assert_eq!(get(&mock, &format!("{path}?variant=gif")).await.status, 400);

    let ask = |header: String| {
        let ask = Ask::new(&format!("GET {path}")).header(&header);
        let mock = &mock;
        async move { ask.to(mock).await }
    };
    for (range, first, last) in [
        ("4-7", 4, 7),
        ("0-0", 0, 0),
        ("1700-", 1700, whole - 1),
        ("-5", whole - 5, whole - 1),
        ("5-999999", 5, whole - 1),
        ("-999999", 0, whole - 1),
    ] {
        let part = ask(format!("Range: bytes={range}")).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.body, &video.body[first..=last], "{range}");
        let expected = format!("bytes {first}-{last}/{whole}");
        assert_eq!(part.header("content-range"), Some(expected.as_str()));
    }
    for range in ["999999-", "999999-9999999", "-0"] {
        let none = ask(format!("Range: bytes={range}")).await;
        assert_eq!(none.status, 416, "{range}");
        assert_eq!(
            none.header("content-range"),
            Some(format!("bytes */{whole}").as_str())
        );
    }
    for range in [
        "bytes=7-4",
        "bytes=0-1,3-4",
        "lines=1-2",
        "bytes=-",
        "bytes=a-b",
    ] {
        assert_eq!(ask(format!("Range: {range}")).await.status, 200, "{range}");
    }
    let etag = video.header("etag").unwrap();
    assert_eq!(ask(format!("If-None-Match: {etag}")).await.status, 304);
    assert_eq!(
        ask(format!("If-Range: {etag}\r\nRange: bytes=0-0"))
            .await
            .status,
        206
    );
    assert_eq!(
        ask("If-Range: \"x\"\r\nRange: bytes=0-0".into())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let mock = start(finished()).await;
    for (line, status, allow) in [
        ("GET /v1/models", 404, None),
        ("GET /v1/videosx", 404, None),
        ("GET /v1/videos/", 404, None),
        ("GET /v1/videos/video_0", 404, None),
        ("GET /v1/videos/video_0/content/x", 404, None),
        ("POST /v1/videos/edits", 404, None),
        ("GET /v1/videos/characters/char_0", 404, None),
        ("PUT /v1/videos", 405, Some("get, post")),
        ("POST /v1/videos/video_0", 405, Some("get, delete")),
        ("POST /v1/videos/video_0/content", 405, Some("get")),
        ("GET /v1/videos/video_0/remix", 405, Some("post")),
    ] {
        let got = Ask::new(line).to(&mock).await;
        assert_eq!(
            (got.error().0, got.header("allow")),
            (status, allow),
            "{line}"
        );
    }
    assert_eq!(mock.stats().by_path["other"], 10);
}

#[tokio::test]
async fn the_records_can_be_read_and_cleared() {
    let mock = start(finished()).await;
    let id = Ask::form(&[("prompt", &"é".repeat(300)), ("seconds", "8")])
        .to(&mock)
        .await
        .id();
    let stats = get(&mock, "/mock/stats").await.json();
    assert_eq!(stats["list_cost_usd_total"], "0.8");
    assert_eq!(stats["by_path"], json!({"POST /v1/videos": 1}));
    assert_eq!(stats["jobs_by_status"], json!({"completed": 1}));
    assert_eq!(
        stats,
        serde_json::to_value(Stats {
            connections_total: 2,
            ..mock.stats()
        })
        .unwrap()
    );
    let request = &get(&mock, "/mock/requests").await.json()[0];
    assert_eq!(request["job_id"], json!(id));
    assert_eq!(
        (&request["complete"], &request["status"]),
        (&json!(true), &json!(200))
    );
    let fields = json!({"model": null, "seconds": "8", "size": null, "prompt": "é".repeat(200)});
    assert_eq!(request["fields"], fields);
    let jobs = get(&mock, "/mock/jobs").await.json();
    assert_eq!(
        (&jobs[0]["id"], &jobs[0]["list_cost_usd"]),
        (&json!(id), &json!("0.8"))
    );
    assert_eq!(Ask::new("POST /mock/reset").to(&mock).await.status, 200);
    assert_eq!(
        (
            mock.stats().requests_total,
            mock.requests().len(),
            mock.jobs().len()
        ),
        (0, 0, 0)
    );
    assert_eq!(mock.stats().list_cost_usd_total, "0");
    assert_eq!(get(&mock, &format!("/v1/videos/{id}")).await.status, 404);
    assert_eq!(get(&mock, "/mock/nothing").await.status, 404);
}

#[tokio::test]
async fn the_last_thousand_requests_are_kept() {
    let mock = start(finished()).await;
    let mut socket = connect(mock.addr()).await;
    for number in 0..1005 {
        let ask = Ask::new(&format!("GET /v1/videos?limit=1&n={number}"));
        socket.write_all(&ask.bytes()).await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap().status, 200);
    }
    let requests = mock.requests();
    assert_eq!(requests.len(), 1000);
    assert_eq!(requests[0].query.as_deref(), Some("limit=1&n=5"));
    assert!(requests.iter().all(|request| request.status == Some(200)));
    assert_eq!(mock.stats().connections_total, 1);
}

proptest! {
    /// Checks that the decimal that `usd` returns, read back as a fraction, is the amount.
    #[test]
    fn dollars_are_exact(micro_usd in 0..u128::MAX / 10) {
        let text = usd(micro_usd);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        prop_assert!(fraction.len() <= 6 && !fraction.ends_with('0'));
        let back: u128 = format!("{whole}{fraction:0<6}").parse().unwrap();
        prop_assert_eq!(back, micro_usd);
    }
}

//! States in other words, other members and under other statuses.

use crate::upstream::{Upstream, json};
use crate::*;

/// A gate whose channel says that of its job, and what a client is told.
async fn told(lines: &str, status: u16, body: &'static str) -> (Stand, Answer) {
    let channel = Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => json(200, CREATED),
        _ => json(status, body),
    })
    .await;
    // The gate does not ask by itself.
    let setup = soon("  poll_after: 1h\n");
    let stand = channel.behind(setup, lines).start().await;
    created(&stand).await;
    let answer = send(&stand, "GET", JOB).await;
    (stand, answer)
}

fn status(answer: &Answer) -> String {
    answer.json()["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_in_other_words_are_ends() {
    for (body, word, end, cost) in [
        (
            r#"{"id":"video_1","status":"succeeded"}"#,
            "completed",
            "completed",
            [40, 40, 0],
        ),
        (
            r#"{"id":"video_1","status":"SUCCESS"}"#,
            "completed",
            "completed",
            [40, 40, 0],
        ),
        (
            r#"{"id":"video_1","status":"done"}"#,
            "completed",
            "completed",
            [40, 40, 0],
        ),
        (
            r#"{"id":"video_1","status":"canceled"}"#,
            "cancelled",
            "cancelled",
            [40, 0, 40],
        ),
        (
            r#"{"id":"video_1","status":"error"}"#,
            "failed",
            "failed",
            [40, 0, 40],
        ),
        (
            r#"{"id":"video_1","status":"expired"}"#,
            "failed",
            "timed_out",
            [40, 0, 40],
        ),
        (
            r#"{"task_id":"video_1","status":"FAILURE"}"#,
            "failed",
            "failed",
            [40, 0, 40],
        ),
    ] {
        let (stand, answer) = told("", 200, body).await;
        assert_eq!((answer.status, &*status(&answer)), (200, word), "{body}");
        until_cents(&stand, cost).await;
        until_ended(&stand, end, 1.0).await;
        assert_eq!(open(&stand, State::Confirmed).await, 0, "{body}");
        // A repetition is told the same.
        assert_eq!(status(&send(&stand, "GET", JOB).await), word, "{body}");
        assert_eq!(cents(&stand).await, cost, "{body}");
        assert_eq!(stand.channel_errors().await, [""; 0], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_in_a_failed_job_does_not_keep_it_from_failing() {
    let deep = format!(
        r#"{{"x":{}{},"id":"video_1","status":"failed"}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    let deep: &'static str = deep.leak();
    for body in [
        r#"{"id":"video_1","status":"failed","prompt":"\ud83d"}"#,
        r#"{"id":"video_1","x":1e400,"status":"failed"}"#,
        r#"{"id":"video_1","x":NaN,"status":"failed"}"#,
        r#"{"id":"video_1","x":1,"x":2,"status":"failed"}"#,
        deep,
    ] {
        let (stand, answer) = told("", 200, body).await;
        assert_eq!((answer.status, &*answer.body), (200, body.as_bytes()));
        until_cents(&stand, [40, 0, 40]).await;
        until_ended(&stand, "failed", 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_can_be_given_a_meaning() {
    let lines = "    status_words: { Melted: failed, completed: in_progress }\n";
    let (stand, answer) = told(lines, 200, r#"{"id":"video_1","status":"MELTED"}"#).await;
    assert_eq!(status(&answer), "failed");
    until_cents(&stand, [40, 0, 40]).await;
    let (stand, answer) = told(lines, 200, r#"{"id":"video_1","status":"completed"}"#).await;
    assert_eq!(status(&answer), "in_progress");
    assert_eq!(open(&stand, State::Confirmed).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_nobody_knows_ends_nothing_and_is_counted() {
    let (stand, answer) = told("", 200, r#"{"id":"video_1","status":"melting"}"#).await;
    assert_eq!(status(&answer), "melting");
    let counted = async || errors(&stand, "status_word").await == 1.0;
    stand.until("it is counted", counted).await;
    assert_eq!(open(&stand, State::Confirmed).await, 1);
    assert_eq!(cents(&stand).await, [40, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_job_under_the_status_of_its_failure_is_a_job() {
    let body =
        r#"{"id":"video_1","object":"video","status":"failed","error":{"code":500,"message":"m"}}"#;
    for code in [400, 422, 500, 503] {
        let (stand, answer) = told("", code, body).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (200, body.as_bytes()),
            "{code}"
        );
        until_cents(&stand, [40, 0, 40]).await;
        assert_eq!(stand.channel_errors().await, [""; 0], "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_absent_is_not_found() {
    let body = r#"{"code":"task_not_exist","message":"task_not_exist"}"#;
    let (stand, answer) = told("", 400, body).await;
    assert_eq!((answer.status, &*answer.code()), (404, "not_found"));
    assert_eq!(open(&stand, State::Confirmed).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_is_answered_in_other_words() {
    let channel = Upstream::start(|_| {
        json(
            200,
            r#"{"task_id":"video_1","status":"SUBMITTED","seconds":8.0,"x":"\ud83d"}"#,
        )
    })
    .await;
    let stand = channel.behind(soon("  poll_after: 1h\n"), "").start().await;
    let answer = create("a cat").send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 200);
    let expected = r#"{"task_id":"video_1","status":"queued","seconds":8.0,"x":"\ud83d"}"#;
    assert_eq!(&*answer.body, expected.as_bytes());
    // Eight seconds rather than four.
    until_cents(&stand, [120, 0, 40]).await;
    assert_eq!(open(&stand, State::Confirmed).await, 1);
}

/// What a create is answered with, and whether that proves that nothing was created.
async fn is_voided(status: u16, body: &'static str) -> bool {
    let channel = Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => json(status, body),
        _ => json(500, ""),
    })
    .await;
    let stand = channel
        .behind(soon("  unknown_grace: 1h\n"), "")
        .start()
        .await;
    let answer = create("a cat").send(stand.gate).await.unwrap();
    let unknown = open(&stand, State::Unknown).await;
    assert_eq!(
        cents(&stand).await,
        [40, 0, if unknown == 0 { 40 } else { 0 }]
    );
    if unknown == 1 {
        assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    } else {
        assert_eq!(answer.status, status);
    }
    unknown == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proves_that_nothing_was_created() {
    let envelope = r#"{"error":{"message":"m","code":"c"}}"#;
    let flat = r#"{"code":"fail_to_fetch_task","message":"m","data":null}"#;
    let detail = r#"{"detail":[{"msg":"field required"}]}"#;
    for (status, body, proves) in [
        (400, flat, true),
        (422, detail, true),
        (400, r#"{"error":"text"}"#, true),
        (501, envelope, true),
        (503, envelope, true),
        (409, envelope, false),
        (409, "<html>", false),
        (500, envelope, false),
        (500, flat, false),
        (500, detail, false),
        (501, flat, false),
        (502, envelope, false),
        (503, flat, false),
        (301, envelope, false),
        (302, "", false),
        (307, flat, false),
    ] {
        assert_eq!(is_voided(status, body).await, proves, "{status} {body}");
    }
}

//! Lists that cannot be read as a whole.

use crate::upstream::{Heard, Say, Upstream, json, with};
use crate::*;

/// A channel that loses the answers to creates, and gives these pages.
async fn lists(page: impl Fn(&Heard) -> Say + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => Say::Close(vec![]),
        _ if heard.target.starts_with("/v1/videos?") => page(heard),
        _ => json(200, CREATED),
    })
    .await
}

/// The job that a create has made.
fn ours() -> String {
    format!(
        r#"{{"id":"video_1","object":"video","model":"sora-2","status":"queued","prompt":"a cat","seconds":"4","size":"1280x720","created_at":{}}}"#,
        unix_time()
    )
}

async fn is_found(channel: Upstream, lines: &str) -> Stand {
    let setup = soon("  unknown_grace: 400ms\n  poll_after: 1h\n");
    let stand = channel.behind(setup, lines).start().await;
    let answer = create("a cat").send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    stand
        .until("the job is found", async || {
            open(&stand, State::Confirmed).await == 1
        })
        .await;
    assert_eq!(send(&stand, "GET", JOB).await.status, 200);
    assert_eq!(cents(&stand).await, [40, 0, 0]);
    stand
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_cannot_be_read_hide_no_others() {
    let deep = format!(
        r#"{{"id":"deep","prompt":"","x":{}{}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    let channel = lists(move |_| {
        let entries = [
            br#"{"id":"lone","prompt":"\ud83d"}"#.as_slice(),
            br#"{"id":"huge","prompt":"","seconds":1e400}"#,
            b"{\"id\":\"latin\",\"prompt\":\"\xe9\"}",
            deep.as_bytes(),
            b"null",
            ours().as_bytes(),
        ]
        .join(&b","[..]);
        let body = [
            br#"{"data":["#.as_slice(),
            &entries,
            br#"],"has_more":false}"#,
        ]
        .concat();
        json(200, body)
    })
    .await;
    is_found(channel, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_hundred_long_prompts_is_read() {
    let prompt = "\\u6f22".repeat(32_000);
    let mut page = String::from(r#"{"data":["#);
    for n in 0..99 {
        let time = unix_time();
        page += &format!(r#"{{"id":"other_{n}","created_at":{time},"prompt":"{prompt}"}},"#);
    }
    assert!(page.len() > 18_000_000);
    let channel =
        lists(move |_| json(200, format!(r#"{page}{}],"has_more":false}}"#, ours()))).await;
    is_found(channel, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_comes_too_slowly_is_asked_to_be_smaller() {
    let channel = lists(|heard| {
        let whole = format!(r#"{{"data":[{}],"has_more":false}}"#, ours());
        match heard.target.contains("limit=5&") {
            true => json(200, whole),
            // Before its first job.
            false => {
                let answer = with(200, "", whole);
                let (begins, drips) = answer.split_at(answer.len() - 100);
                Say::Drip(begins[..60].to_vec(), drips.to_vec(), SHORT)
            }
        }
    })
    .await;
    is_found(channel, "    read_timeout: 300ms\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beginning_of_a_page_that_breaks_off_counts() {
    let channel = lists(|heard| {
        let other = r#"{"id":"other","created_at":99999999999},"#;
        let body = match heard.target.contains("after=other") {
            true => format!(r#"{{"data":[{}],"has_more":false}}"#, ours()),
            false => {
                return Say::Close(with(200, "", format!(r#"{{"data":[{other}"#)).split_off(0));
            }
        };
        json(200, body)
    })
    .await;
    is_found(channel, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_may_take_smaller_limits_only() {
    let channel = lists(|heard| match heard.target.contains("limit=20&") {
        true => json(200, format!(r#"{{"data":[{}],"object":"list"}}"#, ours())),
        false if heard.target.contains("after=") => json(200, r#"{"data":[]}"#),
        false => json(422, r#"{"detail":"limit is at most 50"}"#),
    })
    .await;
    is_found(channel, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_an_id_that_can_be_read_keeps_its_reservation_held() {
    let nameless = || ours().replace("\"video_1\"", r#""\ud83d""#);
    let channel = lists(move |_| {
        json(
            200,
            format!(r#"{{"data":[{}],"has_more":false}}"#, nameless()),
        )
    })
    .await;
    let stand = channel
        .behind(
            soon("  unknown_grace: 200ms\n"),
            "    answer_timeout: 1s\n    read_timeout: 1s\n",
        )
        .start()
        .await;
    create("a cat").send(stand.gate).await.unwrap();
    stand
        .until("the list was read some times", async || {
            channel.heard().len() > 8
        })
        .await;
    assert_eq!(open(&stand, State::Unknown).await, 1);
    channel.says(|_| json(200, r#"{"data":[],"has_more":false}"#));
    until_cents(&stand, [40, 0, 40]).await;
}

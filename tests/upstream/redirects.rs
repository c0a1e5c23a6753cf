//! Redirects.

use crate::support::CREDENTIAL;
use crate::upstream::{Heard, Say, Upstream, json, with};
use crate::*;

const CONTENT: &str = "/v1/videos/video_1/content";

fn to(location: &str) -> Say {
    Say::Whole(with(302, &format!("Location: {location}\r\n"), "see there"))
}

/// A gate before a channel that redirects for content, and the store that it leads to.
async fn stored(
    lines: impl Fn(&Upstream) -> String,
    location: impl Fn(&Upstream) -> String,
    store: impl Fn(&Heard) -> Say + Send + Sync + 'static,
) -> (Upstream, Upstream, Stand) {
    let store = Upstream::start(store).await;
    let (lines, location) = (lines(&store), location(&store));
    let channel = Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => json(200, CREATED),
        _ => to(&location),
    })
    .await;
    let stand = channel
        .behind(soon("  poll_after: 1h\n"), &lines)
        .start()
        .await;
    created(&stand).await;
    (channel, store, stand)
}

fn hosts(store: &Upstream) -> String {
    format!(
        "    content_hosts: [\"*.example.com\", \"{}\"]\n",
        store.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_is_fetched_from_where_the_channel_says_without_the_credential() {
    let (channel, store, stand) = stored(
        hosts,
        |store| format!("http://{}/v/1.mp4?sig=a%2Fb", store.address),
        |heard| match heard.head.contains("range: bytes=4-7") {
            true => Say::Whole(with(206, "Content-Range: bytes 4-7/99\r\n", "ftyp")),
            false => Say::Whole(with(
                200,
                "Content-Type: video/mp4\r\nSet-Cookie: a=b\r\n",
                "video",
            )),
        },
    )
    .await;
    let answer = send(&stand, "GET", CONTENT).await;
    assert_eq!((answer.status, &*answer.body), (200, &b"video"[..]));
    assert_eq!(answer.header("content-type"), Some("video/mp4"));
    assert_eq!(
        (answer.header("set-cookie"), answer.header("location")),
        (None, None)
    );
    let part = Request::get(CONTENT).key(KEY).header("Range", "bytes=4-7");
    let part = part
        .header("X-Request-Id", "mine")
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!((part.status, &*part.body), (206, &b"ftyp"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 4-7/99"));
    for heard in store.heard() {
        assert!(heard.is("GET", "/v/1.mp4?sig=a%2Fb"), "{heard:?}");
        assert!(heard.head.contains(&format!("host: {}", store.address)));
        for secret in [CREDENTIAL, KEY, "authorization", "x-request-id"] {
            assert!(!heard.head.contains(secret), "{secret}: {heard:?}");
        }
    }
    assert!(channel.heard()[1].head.contains(CREDENTIAL));
    let head = send(&stand, "HEAD", CONTENT).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5"))
    );
    assert_eq!(stand.channel_errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_elsewhere_is_not_followed() {
    type At = fn(&Upstream) -> String;
    let named: At = hosts;
    let none: At = |_| String::new();
    let wild: At = |_| "    content_hosts: [\"*.example.com\"]\n".into();
    let store: At = |store| format!("http://{}/v", store.address);
    for (lines, location) in [
        (none, store),
        (wild, store),
        (named, (|_| "http://127.0.0.1:1/v".into()) as At),
        (named, |_| "http://localhost/v".into()),
        (named, |_| "/other/path".into()),
        (named, |_| "v.mp4".into()),
        (named, |_| "ftp://a.example.com/v".into()),
        (named, |_| "http://user:pass@a.example.com/v".into()),
    ] {
        let (_channel, store, stand) =
            stored(lines, location, |_| Say::Whole(with(200, "", "video"))).await;
        let answer = send(&stand, "GET", CONTENT).await;
        let message = answer.json()["error"]["message"].to_string();
        assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
        assert!(message.contains("redirect"), "{message}");
        assert_eq!(answer.header("location"), None);
        assert_eq!(store.heard().len(), 0);
        assert_eq!(stand.channel_errors().await, ["redirect"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_may_lead_on_three_times() {
    for (hops, status) in [(3, 200), (4, 502)] {
        let (_channel, store, stand) = stored(
            hosts,
            |store| format!("http://{}/1", store.address),
            move |heard| {
                let at: usize = heard.target[1..].parse().unwrap();
                match at < hops {
                    true => to(&format!("/{}", at + 1)),
                    false => Say::Whole(with(200, "", "video")),
                }
            },
        )
        .await;
        assert_eq!(send(&stand, "GET", CONTENT).await.status, status, "{hops}");
        assert_eq!(store.heard().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_refuses_is_none_of_the_clients_business() {
    for (status, told) in [(403, 502), (404, 502), (500, 502), (416, 416)] {
        let (_channel, _store, stand) = stored(
            hosts,
            |store| format!("http://{}/1", store.address),
            move |_| Say::Whole(with(status, "", "<Error>secret</Error>")),
        )
        .await;
        let answer = send(&stand, "GET", CONTENT).await;
        assert_eq!(answer.status, told, "{status}");
        if told == 502 {
            assert_eq!(answer.code(), "upstream_error");
            assert_eq!(stand.channel_errors().await, ["redirect"], "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_of_a_video_are_followed() {
    let (_channel, store, stand) = stored(
        hosts,
        |store| format!("http://{}/1", store.address),
        |_| json(200, CREATED),
    )
    .await;
    for method in ["GET", "DELETE"] {
        let answer = send(&stand, method, JOB).await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (502, "upstream_error"),
            "{method}"
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert_eq!(store.heard().len(), 0);
    assert_eq!(open(&stand, State::Confirmed).await, 1);
}

//! Web pages that use the gate from a browser.

use super::support::client::{Answer, Body, Connection, Request};
use super::support::{KEY, STUDIO, Setup, Stand, form_type, plain_form};
use super::{create, rate_limits};

const PAGE: &str = "https://app.example.com";

async fn stand(cors: &str) -> Stand {
    Setup::default().with(cors).start().await
}

fn preflight(path: &str, origin: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header(
            "Access-Control-Request-Headers",
            "authorization,content-type",
        )
}

async fn send(request: Request, to: &Stand) -> Answer {
    request.send(to.gate).await.unwrap()
}

/// Whether a page of [`PAGE`] may read the answer, as a browser decides it.
fn may_read(answer: &Answer) -> bool {
    matches!(
        answer.header("access-control-allow-origin"),
        Some("*" | PAGE)
    )
}

fn lists(answer: &Answer, header: &str, wanted: &str) -> bool {
    let list = answer.header(header).unwrap_or_default();
    list.split(',').any(|name| name.trim() == wanted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_configuration_no_page_may_use_the_gate() {
    let stand = Stand::start().await;
    let asked = send(preflight("/v1/videos", PAGE), &stand).await;
    assert_eq!(asked.status, 401);
    let made = send(create().header("Origin", PAGE), &stand).await;
    assert_eq!(made.status, 200);
    for answer in [asked, made] {
        let head = answer.head.to_ascii_lowercase();
        assert!(
            !head.contains("access-control-") && !head.contains("vary"),
            "{head}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_is_answered_without_a_key() {
    let stand = stand(
        "\ncors: { origins: [https://app.example.com], headers: [X-Tenant], max_age: 5min }\n",
    )
    .await;
    // On one connection, since browsers keep it for the request.
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let asked = connection
        .send(&preflight("/v1/videos", PAGE))
        .await
        .unwrap();
    assert_eq!((asked.status, asked.body.len()), (204, 0), "{}", asked.head);
    assert!(may_read(&asked));
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        assert!(
            lists(&asked, "access-control-allow-methods", method),
            "{method}"
        );
    }
    for header in [
        "authorization",
        "content-type",
        "idempotency-key",
        "x-stainless-os",
        "x-tenant",
    ] {
        assert!(
            lists(&asked, "access-control-allow-headers", header),
            "{header}"
        );
    }
    assert_eq!(asked.header("access-control-max-age"), Some("300"));
    assert_eq!(asked.header("vary"), Some("Origin"));
    let made = connection
        .send(&create().header("Origin", PAGE))
        .await
        .unwrap();
    assert_eq!(made.status, 200);
    assert!(may_read(&made));

    let other = send(preflight("/v1/videos", "https://evil.test"), &stand).await;
    assert_eq!(other.header("vary"), Some("Origin"));
    assert!(
        other.header("access-control-allow-origin").is_none(),
        "{}",
        other.head
    );
    // No preflight, so that it needs a key like any other request.
    let plain = Request::new("OPTIONS", "/v1/videos").header("Origin", PAGE);
    assert_eq!(send(plain.clone(), &stand).await.status, 401);
    assert_eq!(send(plain.key(KEY), &stand).await.status, 405);
    assert_eq!(stand.mock.stats().requests_total, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_may_read_every_answer() {
    let stand =
        stand("\ncors: { origins: [http://localhost:3000, https://app.example.com] }\n").await;
    let form = |fields: &[(&str, &[u8])]| {
        Request::create(
            &form_type(),
            Body::Length(super::support::form(fields), vec![]),
        )
    };
    let made = send(create().by(STUDIO).header("Origin", PAGE), &stand).await;
    assert_eq!(made.status, 200);
    for (name, _) in rate_limits(&made) {
        let name = name.to_ascii_lowercase();
        assert!(
            lists(&made, "access-control-expose-headers", &name),
            "{name}"
        );
    }
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let job = format!("/v1/videos/{id}");
    stand
        .until("the video is there", async || {
            let poll = Request::get(&job).key(STUDIO).header("Origin", PAGE);
            let polled = send(poll, &stand).await;
            assert!(may_read(&polled));
            polled.json()["status"] == "completed"
        })
        .await;
    let content = format!("{job}/content");
    let large = vec![b'x'; 200_000];
    for (what, request, status) in [
        ("a download", Request::get(&content).key(STUDIO), 200),
        (
            "a part of it",
            Request::get(&content)
                .key(STUDIO)
                .header("Range", "bytes=0-9"),
            206,
        ),
        ("a list", Request::get("/v1/videos").key(KEY), 200),
        ("the models", Request::get("/v1/models").key(KEY), 200),
        ("the usage", Request::get("/v1/usage").key(KEY), 200),
        (
            "no key",
            Request::create(&form_type(), Body::Length(plain_form(), vec![])).by("sk-x"),
            401,
        ),
        ("a foreign job", Request::get(&job).key(KEY), 404),
        ("no route", Request::get("/v1/files").key(KEY), 404),
        (
            "another method",
            Request::new("PUT", "/v1/videos").key(KEY),
            405,
        ),
        (
            "a refusal",
            form(&[("prompt", b"x"), ("model", b"none")]),
            400,
        ),
        (
            "a refusal amid an upload",
            form(&[("model", b"none"), ("prompt", &large)]),
            400,
        ),
        ("a deletion", Request::new("DELETE", &job).key(STUDIO), 200),
    ] {
        let answer = send(request.header("Origin", PAGE), &stand).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert!(may_read(&answer), "{what}: {}", answer.head);
        for header in [
            "x-request-id",
            "retry-after",
            "x-ratelimit-remaining-requests",
        ] {
            assert!(
                lists(&answer, "access-control-expose-headers", header),
                "{what}: {header}"
            );
        }
        assert!(answer.header("x-request-id").is_some(), "{what}");
        let varies = answer
            .head
            .lines()
            .filter(|line| line.eq_ignore_ascii_case("vary: origin"));
        assert_eq!(varies.count(), 1, "{what}: {}", answer.head);
    }
    // What no page has asked for is no page's, and a cache is told so.
    let plain = send(Request::get("/v1/models").key(KEY), &stand).await;
    assert!(plain.header("access-control-allow-origin").is_none());
    assert_eq!(plain.header("vary"), Some("Origin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_page_is_any_and_a_reload_ends_it() {
    let any = Setup::default().with("\ncors: { origins: any }\n");
    let without = Setup::default();
    let stand = any.start().await;
    let asked = send(preflight("/v1/videos", "null"), &stand).await;
    assert_eq!(
        (asked.status, asked.header("access-control-allow-origin")),
        (204, Some("*"))
    );
    assert!(asked.header("access-control-allow-credentials").is_none());
    let change = stand.handle.reload(without.config_for(stand.mock.addr()));
    assert_eq!(change.settings, ["cors"]);
    let asked = send(preflight("/v1/videos", "null"), &stand).await;
    assert_eq!(asked.status, 401);
}

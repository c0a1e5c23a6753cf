//! The gate in somebody else's proxy: its own routes go on as before, the Videos API is the
//! gate's, and look-alikes of it reach neither upstream.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::prelude::*;
use support::client::{Answer, Body, Connection, Request};
use support::host::host;
use support::{KEY, Setup, form_type, plain_form};
use tokio::io::AsyncWriteExt as _;
use tollgate::gate::Gate;
use tollgate::ledger::MemoryLedger;
use tollgate::metrics::Metrics;
use tollgate::mock::{Mock, Options};

/// A proxy with one upstream, which wants a header of every request, and the gate in it.
struct Host {
    upstream: SocketAddr,
    gate: Arc<Gate>,
}

#[async_trait]
impl ProxyHttp for Host {
    type CTX = bool;

    fn new_ctx(&self) -> bool {
        false
    }

    async fn request_filter(&self, session: &mut Session, seen: &mut bool) -> Result<bool> {
        *seen = true;
        // It serves the API of another version by the gate's.
        if session.req_header().uri.path() == "/old/jobs" {
            session.req_header_mut().set_raw_path(b"/v1/videos")?;
        }
        if session.get_header("x-tenant").is_none() {
            session.respond_error(418).await?;
            return Ok(true);
        }
        let edit = |head: &mut ResponseHeader| head.insert_header("x-host", "was here");
        self.gate.filter_with(session, edit).await
    }

    async fn upstream_peer(&self, _: &mut Session, seen: &mut bool) -> Result<Box<HttpPeer>> {
        assert!(*seen, "the hooks share one context");
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut bool,
    ) -> Result<()> {
        response.insert_header("x-host", "was here")
    }
}

async fn start_channel() -> Mock {
    let options = Options {
        queued: Duration::ZERO,
        rendering: Duration::ZERO,
        ..support::mock_options()
    };
    support::start_mock(options).await
}

/// A host with the gate in it: where it is, the gate's channel, and the host's own upstream.
async fn embedded() -> (SocketAddr, Mock, Mock) {
    let other = start_channel().await;
    let (to, channel) = embedded_before(other.addr()).await;
    (to, channel, other)
}

/// A host with that upstream and the gate in it: where it is, and the gate's channel.
async fn embedded_before(upstream: SocketAddr) -> (SocketAddr, Mock) {
    let channel = start_channel().await;
    let config = Setup::default().config_for(channel.addr());
    let ledger = Arc::new(MemoryLedger::default());
    let gate = Gate::new(config, ledger, Arc::new(Metrics::new().unwrap()));
    (host(Host { upstream, gate }), channel)
}

/// The answer to a request line as it stands.
async fn ask_raw(to: SocketAddr, line: &[u8]) -> Answer {
    let head = format!("\r\nHost: gate.test\r\nX-Tenant: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    let mut connection = Connection::open(to).await.unwrap();
    let request = [line, head.as_bytes()].concat();
    connection.stream.write_all(&request).await.unwrap();
    connection.answer(line.starts_with(b"HEAD")).await.unwrap()
}

/// Whatever a server behind the host could take for the Videos API is the gate's to answer,
/// and known routes alone go on to its channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_lines_are_judged_as_they_came() {
    // Nobody is there. A server of the mock channel's kind would refuse most of these lines as the
    // gate does, and what went there would not show.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let (to, channel) = embedded_before(nowhere).await;
    for line in [
        &b"GET  /v1/videos HTTP/1.1"[..],
        b"POST  /v1/videos HTTP/1.1",
        b"HEAD  /v1/videos/video_1 HTTP/1.1",
        b"GET   /v1/videos   HTTP/1.1",
        b"GET \t/v1/videos HTTP/1.1",
        b"GET\t/v1/videos HTTP/1.1",
        b"GET /v1/videos\t HTTP/1.1",
        b"GET v1/videos HTTP/1.1",
        b"GET /x HTTP/1.1 /v1/videos HTTP/1.1",
        b"GET /v1/videos /x HTTP/1.1",
        b"GET /v1/videos{} HTTP/1.1",
        b"GET \"/v1/videos\" HTTP/1.1",
        b"GET </v1/videos HTTP/1.1",
        b"GET http:/v1/videos HTTP/1.1",
        b"GET x:/v1/videos HTTP/1.1",
        b"GET http://gate.test/v1/videos/. HTTP/1.1",
        b"GET HTTP://gate.test//v1/videos HTTP/1.1",
        b"GET http:\\\\gate.test\\v1\\videos HTTP/1.1",
        b"GET \\v1\\videos HTTP/1.1",
        b"GET /v1\\videos HTTP/1.1",
        b"GET /%2576%2531/VIDEOS HTTP/1.1",
        b"GET /v1/videos;a=b HTTP/1.1",
        b"GET /v1%c0%afvideos HTTP/1.1",
        b"GET /v1/vid\xffeos HTTP/1.1",
        b"GET /v1/videos\xff HTTP/1.1",
        b"GET /v1/videos.json?a=b HTTP/1.1",
    ] {
        let answer = ask_raw(to, line).await;
        let line = line.escape_ascii();
        assert!(matches!(answer.status, 400 | 404), "{line}: {answer:?}");
    }
    assert_eq!(channel.stats().requests_total, 0);

    let (to, _channel, other) = embedded().await;
    // What the host makes of a target is the gate's as well.
    let list = ask_raw(to, b"GET /old/jobs HTTP/1.1").await;
    assert_eq!(
        (list.status, list.json()["object"].as_str()),
        (200, Some("list"))
    );
    assert_eq!(other.stats().requests_total, 0);

    // Its own routes stay its own, however they are written.
    let own: [&[u8]; 3] = [
        b"GET /v1/models?of=/v1/videos HTTP/1.1",
        b"GET /videos.html HTTP/1.1",
        b"GET /v1/vid%C3%A9os HTTP/1.1",
    ];
    for line in own {
        let answer = ask_raw(to, line).await;
        assert_eq!(answer.header("x-host"), Some("was here"), "{answer:?}");
    }
    assert_eq!(other.stats().requests_total, own.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_keeps_its_own_routes() {
    let (to, channel, other) = embedded().await;

    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    assert_eq!(
        create.send(to).await.unwrap().status,
        418,
        "the host's demands hold"
    );
    let created = create.header("X-Tenant", "a").send(to).await.unwrap();
    assert_eq!(
        (created.status, created.header("x-host")),
        (200, Some("was here")),
        "{created:?}"
    );
    assert_eq!(
        (
            channel.stats().creates_complete,
            other.stats().requests_total
        ),
        (1, 0)
    );
    let job = created.json()["id"].as_str().unwrap().to_owned();
    let poll = Request::get(&format!("/v1/videos/{job}")).key(KEY);
    let poll = poll.header("X-Tenant", "a").send(to).await.unwrap();
    assert_eq!(
        (poll.status, poll.header("x-host")),
        (200, Some("was here"))
    );

    let content = Request::get(&format!("/v1/videos/{job}/content")).key(KEY);
    let content = content.header("X-Tenant", "a").send(to).await.unwrap();
    assert_eq!(
        (content.status, content.header("x-host")),
        (200, Some("was here"))
    );
    assert_eq!(content.header("content-type"), Some("video/mp4"));
    assert_eq!(content.body[4..8], *b"ftyp");

    let own = Request::get("/v1/models").key(KEY).header("X-Tenant", "a");
    let own = own.send(to).await.unwrap();
    assert_eq!(own.header("x-host"), Some("was here"));
    assert_eq!(other.stats().requests_total, 1);
    let seen = &other.requests()[0];
    let credential = seen
        .headers
        .iter()
        .find(|(name, _)| name == "authorization");
    assert_eq!(
        credential.unwrap().1,
        "wrong",
        "the client's own key, not the channel's"
    );

    let before = channel.stats().requests_total;
    for path in [
        "//v1/videos",
        "/v1/videos/../models",
        "/v1/%76ideos",
        "/v1/videos/a/b/c",
    ] {
        let answer = Request::get(path)
            .key(KEY)
            .header("X-Tenant", "a")
            .send(to)
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (404, "not_found".into()),
            "{path}"
        );
    }
    assert_eq!(
        (channel.stats().requests_total, other.stats().requests_total),
        (before, 1)
    );
}

/// The one in the library's documentation is compiled; docs/embedding.md has the same.
#[test]
fn the_example_of_the_page_on_embedding_is_the_one_that_is_compiled() {
    let page = include_str!("../docs/embedding.md");
    let (_, example) = page.split_once("```rust\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let documentation: String = include_str!("../src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    assert!(documentation.contains(&format!("```no_run\n{example}```\n")));
}

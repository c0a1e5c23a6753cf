//! Only known routes go to a channel: its credential would open every other API.

use std::sync::Arc;
use std::time::Duration;

use crate::support::client::Request;
use crate::support::h2::Http2;
use crate::support::{KEY, Stand, is_embedded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
    "QUERY", "PURGE", "post", "get", "Get", "POSTX", "PRI",
];

const PATHS: &[&str] = &[
    "/",
    "*",
    "",
    "/v1",
    "/v1/",
    "/v2/videos",
    "/videos",
    "/videos/v1",
    "/v1/models",
    "/v1/usage",
    "/v1/usage/",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/files",
    "/v1/images/generations",
    "/v1/organization/admin_api_keys",
    "/v1/fine_tuning/jobs",
    "/mock/stats",
    "/mock/reset",
    "/mock/fault",
    "/metrics",
    "/livez",
    "/openai/v1/videos",
    "/openai/deployments/a/videos",
    "/v1/videos/",
    "//v1/videos",
    "/v1//videos",
    "///v1///videos",
    "/v1/videos//",
    "/./v1/videos",
    "/v1/./videos",
    "/v1/videos/.",
    "/v1/videos/./",
    "/v1/videos/..",
    "/v1/videos/../models",
    "/v1/videos/../chat/completions",
    "/v1/videos/../../v1/videos",
    "/v1/x/../videos",
    "/../v1/videos",
    "/v1/videos/video_1/../../models",
    "/v1/videos/video_1/content/../../../models",
    "/v1/videos/...",
    "/v1/videos/.video",
    "/v1/%76ideos",
    "/v1/%2576ideos",
    "/%761/videos",
    "/v1/videos%2f",
    "/v1/videos%2F..%2Fmodels",
    "/v1%2fvideos",
    "/v1/videos/%2e%2e/models",
    "/v1/videos/%2e%2e%2fmodels",
    "/v1/videos/%2e",
    "/v1/videos%00",
    "/v1/videos/%00",
    "/v1/videos%20",
    "/v1/videos%0d%0a",
    "/v1/videos%3fa=b",
    "/v1/videos%23",
    "/v1/videos%c0%af",
    "/v1/videos/%c0%ae%c0%ae/models",
    "/v1/videos/a%2fb",
    "/v1/videos/a%2fcontent",
    "/v1/videos;",
    "/v1/videos;a=b",
    "/v1;a=b/videos",
    "/v1/videos/;/models",
    "/v1/videos/..;/models",
    "/v1\\videos",
    "/v1/videos\\..\\models",
    "\\v1\\videos",
    "/V1/videos",
    "/v1/Videos",
    "/v1/VIDEOS",
    "/v1/videos.",
    "/v1/videos.json",
    "/v1/videosx",
    "/v1/video",
    "/v1/videos#",
    "/v1/videos/a.b",
    "/v1/videos/a b",
    "/v1/videos/~",
    "/v1/videos/edits",
    "/v1/videos/extensions",
    "/v1/videos/characters",
    "/v1/videos/characters/char_1",
    "/v1/videos/video_1",
    "/v1/videos/video_1/",
    "/v1/videos/video_1/content",
    "/v1/videos/video_1/content/",
    "/v1/videos/video_1/content/x",
    "/v1/videos/video_1/remix",
    "/v1/videos/video_1/remix/",
    "/v1/videos/video_1/cancel",
    "/v1/videos/video_1//content",
    "/v1/videos/video_1/Content",
    "/v1/videos//content",
    "/v1/v\u{131}deos",
    "/v1/\u{ff56}ideos",
    "/v1/vid\u{0435}os",
    "http://gate.test/v1/models",
    "http://gate.test//v1/videos",
    "https://other.test/v1/models",
    "http://gate.test/v1/videos/../models",
    "gate.test:443",
    "file:///v1/models",
    "/v1/videos?a=b/../../models",
    "/?/v1/videos",
    "/v1/models?/v1/videos",
    "/v1/models#/v1/videos",
];

/// What is a route after all: a list, and a create whose target has a fragment, which the
/// parser of targets drops (the path that goes on is built anew); and the models and the usage,
/// which the gate itself answers.
fn is_known(method: &str, path: &str) -> bool {
    let (_, from_authority) = path.split_once("://").unwrap_or(("", path));
    let own = from_authority
        .find('/')
        .map_or("", |at| &from_authority[at..]);
    if matches!(method, "GET" | "HEAD")
        && matches!(
            own.split(['?', '#']).next(),
            Some("/v1/models" | "/v1/usage")
        )
    {
        return true;
    }
    match path.split_once(['?', '#']) {
        Some(("/v1/videos", _)) if matches!(method, "GET" | "HEAD") => true,
        Some(("/v1/videos", "")) => method == "POST",
        _ => matches!(method, "GET" | "HEAD") && path == "/v1/videos",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_known_routes_reaches_a_channel() {
    let stand = Arc::new(Stand::start().await);
    let mut sent = JoinSet::new();
    for path in PATHS {
        for method in METHODS {
            if is_known(method, path) {
                continue;
            }
            let stand = stand.clone();
            sent.spawn(async move {
                for body in [None, Some(r#"{"prompt":"x","model":"sora-2"}"#)] {
                    let framing = body.map_or(String::new(), |body| {
                        let length = body.len();
                        format!("Content-Type: application/json\r\nContent-Length: {length}\r\n")
                    });
                    let request = format!(
                        "{method} {path} HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer {KEY}\r\n\
                         Connection: close\r\n{framing}\r\n{}",
                        body.unwrap_or_default()
                    );
                    let answer = exchange(&stand, request.as_bytes()).await;
                    let head = String::from_utf8_lossy(&answer).into_owned();
                    // Closed without a word, or refused. `*` and the like are bad requests.
                    let refused = head.is_empty() || head.starts_with("HTTP/1.1 4");
                    assert!(refused, "{method} {path}: {head}");
                }
            });
            if sent.len() >= 32 {
                sent.join_next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(done) = sent.join_next().await {
        done.unwrap();
    }
    assert_eq!(
        stand.mock.stats().requests_total,
        0,
        "{:?}",
        stand.mock.stats()
    );
}

/// Writes, and reads until the connection closes.
async fn exchange(stand: &Stand, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(stand.gate).await.unwrap();
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(30), socket.read_to_end(&mut answer));
    let _ = read.await.expect("it answers or closes");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_over_http2() {
    let stand = Stand::start().await;
    let mut client = Http2::open(stand.gate).await.unwrap();
    for path in PATHS.iter().filter(|path| path.starts_with('/')) {
        for method in METHODS {
            if is_known(method, path) || *method == "CONNECT" {
                continue;
            }
            let mut request = Request::new(method, path).key(KEY);
            request = request.header("Content-Type", "application/json");
            // Some of the paths cannot be written in HTTP/2 by this client.
            let Ok(mut stream) = client.begin(&request, false).await else {
                continue;
            };
            stream.data(br#"{"prompt":"x","model":"sora-2"}"#, true);
            match timeout(Duration::from_secs(30), stream.answer())
                .await
                .unwrap()
            {
                Ok(answer) => assert!((400..500).contains(&answer.status), "{method} {path}"),
                Err(_) => client = Http2::open(stand.gate).await.unwrap(),
            }
        }
    }
    assert_eq!(
        stand.mock.stats().requests_total,
        0,
        "{:?}",
        stand.mock.stats()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_opens_another_route() {
    let stand = Stand::start().await;
    for path in [
        "/v1/models",
        "/v1/usage",
        "/v1/videos",
        "/v1/videos/../models",
    ] {
        // In a host's proxy these are the host's.
        if is_embedded() && matches!(path, "/v1/models" | "/v1/usage") {
            continue;
        }
        for key in [
            None,
            Some(""),
            Some("other"),
            Some(crate::support::CREDENTIAL),
        ] {
            let mut request = Request::get(path);
            if let Some(key) = key {
                request = request.key(key);
            }
            let answer = request.send(stand.gate).await.unwrap();
            assert_eq!(answer.status, 401, "{path} with {key:?}");
        }
    }
    assert_eq!(stand.mock.stats().requests_total, 0);
}

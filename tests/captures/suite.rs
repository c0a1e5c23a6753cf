//! Requests of real clients, byte for byte as a socket received them, through the gate: each
//! gets the outcome it deserves, and the channel receives the very bytes, however they are
//! framed and cut.
//!
//! `tests/captures` holds them, with the path as the clients sent it. The reference images in
//! them are 2x2 pixels. `TOLLGATE_EVERY` says which offsets are tried as cuts: every n-th
//! (13), all of them with 1.

use crate::support::client::{Connection, Request};
use crate::support::{KEY, Setup, Stand, until};
use crate::wire::{FRAMINGS, Framing, Sending, crumbs, every, id, record, sha256};
use tokio::io::AsyncWriteExt;
use tollgate::mock::Record;

/// A captured request.
struct Capture {
    name: &'static str,
    raw: &'static [u8],
    /// Whether its reference image has another size than the one asked for.
    image: bool,
}

macro_rules! capture {
    ($name:literal, $image:literal) => {
        Capture {
            name: $name,
            raw: include_bytes!(concat!($name, ".http")),
            image: $image,
        }
    };
}

const CREATES: [Capture; 8] = [
    capture!("curl-7.88-form", true),
    capture!("curl-7.88-json", false),
    capture!("openai-node-7.57-file-first", true),
    capture!("openai-node-7.57-form", false),
    capture!("openai-node-7.57-stream-first-chunked", true),
    capture!("openai-python-2.24-json", false),
    capture!("openai-python-3.54-file-last", true),
    capture!("openai-python-3.54-form", false),
];
const CONTENT: Capture = capture!("openai-python-3.54-content", false);
const LIST: Capture = capture!("openai-python-3.54-list", false);
const REMIX: Capture = capture!("openai-python-3.54-remix", false);

impl Capture {
    fn head_end(&self) -> usize {
        let end = self.raw.windows(4).position(|four| four == b"\r\n\r\n");
        end.unwrap() + 4
    }

    /// The head without its framing, under a name of its own.
    fn request(&self, id: &str) -> Request {
        let head = std::str::from_utf8(&self.raw[..self.head_end()]).unwrap();
        let mut lines = head.trim_end().lines();
        let mut first = lines.next().unwrap().split(' ');
        let method = match first.next().unwrap() {
            "POST" => "POST",
            "GET" => "GET",
            other => panic!("{other}"),
        };
        let mut request = Request::new(method, first.next().unwrap());
        request.headers.clear();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let framing = ["content-length", "transfer-encoding"];
            if !framing.contains(&name.to_ascii_lowercase().as_str()) {
                request = request.header(name, value);
            }
        }
        request.header("X-Request-Id", id)
    }

    /// The body, out of its chunks where it has any.
    fn body(&self) -> Vec<u8> {
        let mut rest = &self.raw[self.head_end()..];
        let head = String::from_utf8_lossy(&self.raw[..self.head_end()]).to_lowercase();
        if !head.contains("transfer-encoding: chunked") {
            return rest.to_vec();
        }
        let mut body = Vec::new();
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
            let size = std::str::from_utf8(&rest[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&rest[end + 2..][..size]);
            rest = &rest[end + 2 + size + 2..];
        }
    }

    /// The request as it was captured, under a name of its own.
    fn raw(&self, id: &str) -> (Vec<u8>, usize) {
        let (head, body) = self.raw.split_at(self.head_end());
        let mut raw = head[..head.len() - 2].to_vec();
        raw.extend_from_slice(format!("X-Request-Id: {id}\r\n\r\n").as_bytes());
        let head = raw.len();
        raw.extend_from_slice(body);
        (raw, head)
    }
}

/// The keys of the captures become clients of the gate: `sk` and `sk-test`.
fn known() -> Setup {
    let key = |name: &str, key: &str| {
        let digest = sha256(key.as_bytes());
        format!("  - name: {name}\n    sha256: {digest}\n    group: sora2\n")
    };
    let keys = key("curl", "sk") + &key("sdk", "sk-test");
    Setup::default().replacing("\nkeys:\n", &format!("\nkeys:\n{keys}"))
}

fn any_image(setup: Setup) -> Setup {
    let sizes = "    sizes: { default: 720x1280, usd_per_second: { 720x1280: 0.10";
    setup.replacing(sizes, &format!("    check_image: false\n{sizes}"))
}

/// What the channel must have seen: these bytes, the channel's credential, and nothing of
/// what is between the client and the gate.
fn assert_forwarded(what: &str, record: Option<Record>, body: &[u8]) {
    let record = record.unwrap_or_else(|| panic!("{what}: the channel saw nothing"));
    assert!(record.complete, "{what}: {record:?}");
    assert_eq!(record.body_bytes, body.len() as u64, "{what}");
    assert_eq!(record.body_sha256, sha256(body), "{what}");
    assert_clean(what, &record);
}

fn assert_clean(what: &str, record: &Record) {
    let mut credentials = 0;
    for (name, value) in &record.headers {
        if name == "authorization" {
            credentials += 1;
            assert_eq!(value, "ok", "{what}");
        }
        let between = [
            "cookie",
            "api-key",
            "x-api-key",
            "openai-organization",
            "openai-project",
            "forwarded",
            "via",
            "x-real-ip",
            "proxy-authorization",
            "connection",
            "te",
            "upgrade",
        ];
        let name = name.as_str();
        assert!(!between.contains(&name), "{what}: {name}: {value}");
        assert!(!name.starts_with("x-forwarded"), "{what}: {name}: {value}");
        assert!(!value.contains("sk-"), "{what}: {name}: {value}");
    }
    assert_eq!(credentials, 1, "{what}: {record:?}");
}

/// Sends the bytes of a capture in two pieces, the second when the first has had its effect.
async fn replay(
    stand: &Stand,
    raw: &[u8],
    head: usize,
    at: usize,
) -> crate::support::client::Answer {
    let mut connection = Connection::open(stand.gate).await.unwrap();
    connection.stream.write_all(&raw[..at]).await.unwrap();
    // The size of a chunk has no effect before its first byte.
    let chunked = raw[..head].to_ascii_lowercase();
    let chunked = chunked.windows(8).any(|window| window == b": chunke");
    let size = raw[head..].windows(2).position(|pair| pair == b"\r\n");
    let first = head + size.filter(|_| chunked).map_or(0, |size| size + 2);
    if at > first && at < raw.len() {
        let begun = until("the first piece has its effect", async || {
            stand.mock.stats().creates_in_flight > 0
        });
        let mut byte = [0];
        tokio::select! {
            () = begun => {}
            _ = connection.stream.peek(&mut byte) => {}
        }
    }
    let _ = connection.stream.write_all(&raw[at..]).await;
    connection.answer(false).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_they_were_sent_they_get_what_they_deserve() {
    for setup in [known(), known().http2_upstream()] {
        let stand = setup.start().await;
        for capture in &CREATES {
            let name = capture.name;
            let cuts = (1..=capture.raw.len()).rev().step_by(every(13));
            for cut in cuts {
                let id = id();
                let (raw, head) = capture.raw(&id);
                let answer = replay(&stand, &raw, head, cut.min(raw.len())).await;
                let record = record(&stand, &id).await;
                if capture.image {
                    assert_eq!(answer.status, 400, "{name} cut at {cut}: {answer:?}");
                    assert_eq!(answer.code(), "image_size_mismatch", "{name} cut at {cut}");
                    let complete = record.is_some_and(|record| record.complete);
                    assert!(!complete, "{name} cut at {cut}");
                } else {
                    assert_eq!(answer.status, 200, "{name} cut at {cut}: {answer:?}");
                    assert_forwarded(&format!("{name} cut at {cut}"), record, &capture.body());
                }
            }
            stand.mock.reset();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_bytes_arrive_over_http1() {
    in_every_framing(any_image(known())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_bytes_arrive_over_http2() {
    in_every_framing(any_image(known()).http2_upstream()).await;
}

/// Each of them in each framing: whole, in crumbs, and cut at offsets.
async fn in_every_framing(setup: Setup) {
    let stand = setup.start().await;
    for capture in &CREATES {
        let body = capture.body();
        for framing in FRAMINGS {
            send(&stand, capture, &body, framing, &[]).await;
            let bytes = crumbs(framing, 0, body.len());
            send(&stand, capture, &body, framing, &bytes).await;
            for cut in (1..body.len()).rev().step_by(every(13)) {
                send(&stand, capture, &body, framing, &[cut]).await;
            }
            stand.mock.reset();
        }
    }
}

async fn send(stand: &Stand, capture: &Capture, body: &[u8], framing: Framing, cuts: &[usize]) {
    let id = id();
    let request = capture.request(&id);
    let sending = Sending::begin(stand, &request, framing, body.len()).await;
    let mut sending = sending.unwrap();
    let mut from = 0;
    for cut in cuts {
        sending.push(&body[from..*cut]).await;
        from = *cut;
        if cuts.len() == 1 {
            sending.begun(stand).await;
        }
    }
    sending.finish(stand, &body[from..]).await;
    let what = format!(
        "{} as {framing:?} in {} pieces",
        capture.name,
        cuts.len() + 1
    );
    let answer = sending.answer().await;
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    // The channel looks at the image by itself: its no comes after the whole request.
    let expected = if capture.image { (400, "") } else { (200, "") };
    let outcome = (answer.status, answer.code());
    assert_eq!(
        outcome,
        (expected.0, expected.1.to_owned()),
        "{what}, cut at {cuts:?}"
    );
    assert_forwarded(&what, record(stand, &id).await, body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_reaches_no_channel() {
    let stand = Stand::start().await;
    for capture in CREATES.iter().chain([&CONTENT, &LIST, &REMIX]) {
        let (raw, head) = capture.raw(&id());
        let answer = replay(&stand, &raw, head, raw.len()).await;
        assert_eq!(answer.status, 401, "{}", capture.name);
        assert_eq!(answer.code(), "invalid_api_key", "{}", capture.name);
    }
    assert_eq!(stand.mock.stats().requests_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_about_a_job_arrive_too() {
    for setup in [known(), known().http2_upstream()] {
        let stand = setup.start().await;
        let (raw, head) = CREATES[5].raw(&id());
        let answer = replay(&stand, &raw, head, raw.len()).await;
        let job = answer.json()["id"].as_str().unwrap().to_owned();
        let at_job = |capture: &Capture, id: &str| {
            let (raw, _) = capture.raw(id);
            let text = String::from_utf8(raw).unwrap();
            text.replace("/video_1/", &format!("/{job}/")).into_bytes()
        };
        let poll = Request::get(&format!("/v1/videos/{job}")).key("sk-test");
        until("the job is completed", async || {
            poll.send(stand.gate).await.unwrap().json()["status"] == "completed"
        })
        .await;
        // The jobs of another client, or nobody's, are not there.
        let (raw, _) = REMIX.raw(&id());
        assert_eq!(replay(&stand, &raw, raw.len(), raw.len()).await.status, 404);

        let own = id();
        let raw = at_job(&REMIX, &own);
        let answer = replay(&stand, &raw, raw.len(), raw.len()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_forwarded("remix", record(&stand, &own).await, b"{\"prompt\":\"x\"}");
        assert_eq!(stand.mock.stats().remixes_complete, 1);

        let own = id();
        let raw = at_job(&CONTENT, &own);
        let answer = replay(&stand, &raw, raw.len(), raw.len()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let record = record(&stand, &own).await.unwrap();
        assert_eq!(record.query.as_deref(), Some("variant=thumbnail"));
        assert_clean("content", &record);

        let (raw, _) = LIST.raw(&id());
        let answer = replay(&stand, &raw, raw.len(), raw.len()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["object"], "list");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_between_client_and_gate_reaches_the_channel() {
    let connection = [
        "keep-alive",
        "close",
        "Authorization",
        "close, authorization",
        "close, Authorization, content-type, content-length, host",
    ];
    for setup in [Setup::default(), Setup::default().http2_upstream()] {
        let stand = setup.start().await;
        let body = crate::support::plain_form();
        for framing in FRAMINGS {
            for nominated in connection {
                let id = id();
                let mut request = Request::new("POST", "/v1/videos").key(KEY);
                for (name, value) in [
                    ("Content-Type", crate::support::form_type().as_str()),
                    ("X-Request-Id", &id),
                    ("Connection", nominated),
                    ("Cookie", "session=sk-1"),
                    ("api-key", "sk-2"),
                    ("x-api-key", "sk-3"),
                    ("OpenAI-Organization", "org-1"),
                    ("OpenAI-Project", "proj-1"),
                    ("Proxy-Authorization", "Basic c2s="),
                    ("Forwarded", "for=10.0.0.1"),
                    ("Via", "1.1 elsewhere"),
                    ("X-Real-IP", "10.0.0.1"),
                    ("X-Forwarded-For", "10.0.0.1"),
                    ("X-Forwarded-Host", "elsewhere.test"),
                    ("X-Forwarded-Proto", "https"),
                    ("X-Forwarded-Authorization", "Bearer sk-4"),
                    ("X-Original-URL", "/v1/models"),
                    ("X-HTTP-Method", "GET"),
                    ("X-Mock-Fault", "fail"),
                ] {
                    request = request.header(name, value);
                }
                let sending = Sending::begin(&stand, &request, framing, body.len()).await;
                let mut sending = sending.unwrap();
                sending.finish(&stand, &body).await;
                let what = format!("{framing:?}, Connection: {nominated}");
                let answer = sending.answer().await.unwrap();
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                let record = record(&stand, &id).await;
                assert!(record.as_ref().is_some_and(|r| r.fault.is_none()), "{what}");
                assert_forwarded(&what, record, &body);
            }
        }
    }
}

//! Every bound is held, and says so.

mod support;

use std::time::Duration;

use support::client::{Body, Connection, Request};
use support::{KEY, STUDIO, Setup, Stand, form, form_type, plain_form, png};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

async fn stand(bounds: &str) -> Stand {
    Setup::default()
        .with(&format!("\nbounds:\n{bounds}"))
        .start()
        .await
}

fn create(body: Body) -> Request {
    Request::create(&form_type(), body)
}

fn plain() -> Body {
    Body::Length(plain_form(), vec![])
}

/// A create whose file makes the body so long.
fn upload(len: usize) -> Vec<u8> {
    form(&[
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("size", b"1280x720"),
        ("input_reference", &png(len)),
    ])
}

/// Sends the head and half of a create's body, and keeps the connection.
async fn half_a_create(stand: &Stand) -> Connection {
    // Made before the connection, from which on the gate's time for the head runs.
    let [head, body] = &create(Body::Length(upload(200_000), vec![])).pieces()[..] else {
        panic!("a head and a body");
    };
    let start = [&head[..], &body[..100_000]].concat();
    let mut connection = Connection::open(stand.gate).await.unwrap();
    connection.stream.write_all(&start).await.unwrap();
    connection
}

/// Reads to the end of the stream: the gate has closed it.
async fn is_closed(connection: &mut Connection) -> bool {
    let mut rest = Vec::new();
    let read = connection.stream.read_to_end(&mut rest);
    timeout(Duration::from_secs(20), read).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies() {
    let stand = stand("  body_bytes: 100 KiB\n").await;
    let long = upload(150_000);
    let declared = create(Body::Length(long.clone(), vec![]))
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!(
        (declared.status, declared.code()),
        (413, "request_too_large".into())
    );
    assert_eq!(stand.mock.stats().requests_total, 0, "refused by its head");
    let counted = create(Body::Chunked(long, vec![30_000; 5]))
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!(
        (counted.status, counted.code()),
        (413, "request_too_large".into())
    );
    assert_eq!(stand.mock.stats().creates_complete, 0);
    assert_eq!(
        create(Body::Length(upload(90_000), vec![]))
            .send(stand.gate)
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads() {
    let stand = stand("  head_bytes: 4 KiB\n  headers: 20\n").await;
    let long = create(plain()).header("X-Long", &"a".repeat(5000));
    let answer = long.send(stand.gate).await.unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (431, "headers_too_large".into())
    );
    let mut many = create(plain());
    for i in 0..30 {
        many = many.header(&format!("X-{i}"), "a");
    }
    assert_eq!(many.send(stand.gate).await.unwrap().status, 431);
    // What cannot be read as HTTP is refused in the API's words too, and counted.
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let nonsense = b"GET /v1/videos HTTP/1.1\r\nno header\r\n\r\n";
    connection.stream.write_all(nonsense).await.unwrap();
    let answer = connection.answer(false).await.unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (400, "invalid_header".into())
    );
    assert!(is_closed(&mut connection).await);
    let refused = "tollgate_refusals_total{key=\"\",reason=\"invalid_header\"}";
    assert_eq!(stand.metric(refused).await, 1.0);
    assert_eq!(create(plain()).send(stand.gate).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_and_prompts() {
    let stand = stand("  parts: 3\n  part_header_bytes: 100\n  prompt_chars: 10\n").await;
    let fields: [(&str, &[u8]); 4] = [
        ("model", b"sora-2"),
        ("prompt", b"a cat"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ];
    let four = create(Body::Length(form(&fields), vec![]));
    let four = four.send(stand.gate).await.unwrap();
    assert_eq!((four.status, four.code()), (400, "invalid_body".into()));
    let fields: [(&str, &[u8]); 2] = [("model", b"sora-2"), ("prompt", b"eleven char")];
    let long = create(Body::Length(form(&fields), vec![]))
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!((long.status, long.code()), (400, "invalid_value".into()));
    let text = String::from_utf8(form(&[("model", b"sora-2"), ("prompt", b"a cat")])).unwrap();
    let padded = text.replacen("form-data", &format!("form-data{}", " ".repeat(100)), 1);
    let padded = create(Body::Length(padded.into_bytes(), vec![]));
    assert_eq!(
        padded.send(stand.gate).await.unwrap().code(),
        "invalid_body"
    );
    let fields: [(&str, &[u8]); 2] = [("model", b"sora-2"), ("prompt", b"a cat")];
    let short = create(Body::Length(form(&fields), vec![]))
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!(short.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_falls_silent() {
    let stand = stand("  read_timeout: 1s\n").await;
    let mut upload = half_a_create(&stand).await;
    let answer = upload.answer(false).await.unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (408, "request_timeout".into())
    );
    assert!(is_closed(&mut upload).await);
    // Before a head is complete there is nobody to answer yet.
    for start in [
        &b""[..],
        b"POST /v1/vid",
        b"POST /v1/videos HTTP/1.1\r\nHost: a\r\nX-",
    ] {
        let mut connection = Connection::open(stand.gate).await.unwrap();
        connection.stream.write_all(start).await.unwrap();
        if start.len() < 24 {
            assert!(is_closed(&mut connection).await, "{start:?}");
        }
    }
    let stats = stand.mock.stats();
    assert_eq!((stats.creates_complete, stand.mock.jobs().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends() {
    let stand = stand("  read_timeout: 2s\n  keepalive_timeout: 2s\n").await;
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let list = Request::get("/v1/videos").key(KEY);
    for _ in 0..2 {
        assert_eq!(connection.send(&list).await.unwrap().status, 200);
    }
    // A byte now and then keeps every read short of its own deadline.
    let head = b"POST /v1/videos HTTP/1.1\r\nHost: a\r\nX-Long: ";
    let dripping = async {
        connection.stream.write_all(head).await?;
        loop {
            connection.stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended: Result<std::io::Result<()>, _> = timeout(Duration::from_secs(20), dripping).await;
    assert!(ended.expect("the connection goes on").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_never_ends() {
    let stand = stand("  upload_timeout: 300ms\n").await;
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let [head, body] = &create(Body::Length(upload(1_000_000), vec![])).pieces()[..] else {
        panic!("a head and a body");
    };
    connection.stream.write_all(head).await.unwrap();
    // A byte now and then keeps every read short of its own deadline.
    let (mut reader, mut writer) = connection.stream.into_split();
    let body = body.clone();
    let drip = tokio::spawn(async move {
        for byte in body.chunks(1) {
            if writer.write_all(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut start = [0; 12];
    timeout(Duration::from_secs(20), reader.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 408");
    drip.abort();
    assert_eq!(stand.mock.stats().creates_complete, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once() {
    let stand = stand("  concurrent_uploads: 2\n  uploads_per_key: 2\n").await;
    let held = [half_a_create(&stand).await, half_a_create(&stand).await];
    stand
        .until("both are at the channel", async || {
            stand.mock.stats().creates_in_flight == 2
        })
        .await;
    let large = create(Body::Length(upload(200_000), vec![])).by(STUDIO);
    let third = large.send(stand.gate).await.unwrap();
    assert_eq!((third.status, third.code()), (503, "unavailable".into()));
    assert_eq!(third.header("retry-after"), Some("1"));
    let list = Request::get("/v1/videos")
        .key(KEY)
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!(list.status, 200, "polls go on");
    let small = create(plain()).send(stand.gate).await.unwrap();
    assert_eq!(small.status, 200, "small creates go on");
    // Also one that comes in parts, and is counted while it does.
    let whole = create(plain()).by(STUDIO).pieces().concat();
    let (start, end) = whole.split_at(whole.len() - 1);
    let mut parts = Connection::open(stand.gate).await.unwrap();
    parts.stream.write_all(start).await.unwrap();
    let counted = "tollgate_uploads_in_flight{size=\"small\"}";
    stand
        .until("it is counted", async || stand.metric(counted).await == 1.0)
        .await;
    parts.stream.write_all(end).await.unwrap();
    assert_eq!(parts.answer(false).await.unwrap().status, 200);
    drop(held);
    stand
        .until("there is room again", async || {
            large.send(stand.gate).await.unwrap().status == 200
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_uploads_of_one_key_keep_nobody_else_out() {
    let stand = stand("  concurrent_uploads: 8\n").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(half_a_create(&stand).await);
    }
    stand
        .until("the key's share is at the channel", async || {
            stand.mock.stats().creates_in_flight == 2
        })
        .await;
    for _ in 0..10 {
        let answer = half_a_create(&stand).await.answer(false).await.unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (429, "rate_limit_exceeded".into())
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // Short by their heads, and never sent: counted apart.
    let [head, _] = &create(plain()).pieces()[..] else {
        panic!("a head and a body");
    };
    for _ in 0..2 {
        let mut connection = Connection::open(stand.gate).await.unwrap();
        connection.stream.write_all(head).await.unwrap();
        held.push(connection);
    }
    let small = "tollgate_uploads_in_flight{size=\"small\"}";
    stand
        .until("they are awaited", async || {
            stand.metric(small).await == 2.0
        })
        .await;
    let other = [plain(), Body::Length(upload(200_000), vec![])];
    for body in other {
        let answer = create(body).by(STUDIO).send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for (sample, value) in [
        ("uploads_in_flight{size=\"large\"}", 2.0),
        ("uploads_limit{size=\"large\"}", 8.0),
        ("uploads_limit{size=\"small\"}", 8.0),
    ] {
        assert_eq!(stand.metric(&format!("tollgate_{sample}")).await, value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_beyond_the_jobs_that_may_be_in_flight() {
    let setup = Setup::default().replacing("in_flight: 4", "in_flight: 1");
    let stand = setup.start().await;
    let body = Body::Length(upload(200_000), vec![]);
    let request = create(body).by(STUDIO);
    let pieces = request.pieces();
    let mut held = Connection::open(stand.gate).await.unwrap();
    held.stream.write_all(&pieces[0]).await.unwrap();
    held.stream.write_all(&pieces[1][..100_000]).await.unwrap();
    stand
        .until("it is at the channel", async || {
            stand.mock.stats().creates_in_flight == 1
        })
        .await;
    let second = request.send(stand.gate).await.unwrap();
    assert_eq!(
        (second.status, second.code()),
        (429, "rate_limit_exceeded".into())
    );
    let text = second.json()["error"]["message"].to_string();
    assert!(
        text.contains("may have 1 video under way at a time"),
        "{text}"
    );
    held.stream.write_all(&pieces[1][100_000..]).await.unwrap();
    assert_eq!(held.answer(false).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_drips() {
    let stand = stand("  upload_rate: 1 MiB\n  upload_rate_window: 100ms\n").await;
    let mut connection = half_a_create(&stand).await;
    let (mut reader, mut writer) = connection.stream.split();
    let drip = async {
        // Each byte keeps the read short of its own deadline.
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await
    };
    let mut start = [0; 12];
    tokio::select! {
        read = timeout(Duration::from_secs(20), reader.read_exact(&mut start)) => {
            read.unwrap().unwrap();
        }
        () = drip => {}
    }
    assert_eq!(&start, b"HTTP/1.1 408");
    assert_eq!(stand.mock.stats().creates_complete, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_at_once() {
    let stand = stand("  connections: 2\n").await;
    let list = Request::get("/v1/videos").key(KEY);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(stand.gate).await.unwrap();
        assert_eq!(connection.send(&list).await.unwrap().status, 200);
        held.push(connection);
    }
    for sample in ["tollgate_connections_open", "tollgate_connections_limit"] {
        assert_eq!(stand.metric(sample).await, 2.0, "{sample}");
    }
    let refused = Request::get("/v1/videos")
        .key(KEY)
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!(
        (refused.status, refused.code()),
        (503, "unavailable".into())
    );
    drop(held);
    stand
        .until("there is room again", async || {
            list.send(stand.gate).await.is_ok_and(|a| a.status == 200)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_one_connection() {
    let stand = stand("  keepalive_requests: 2\n").await;
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let list = Request::get("/v1/videos").key(KEY);
    let mut answered = 0;
    while let Ok(answer) = connection.send(&list).await {
        assert_eq!(answer.status, 200);
        answered += 1;
        assert!(answered <= 3, "the connection goes on for ever");
    }
    assert!(answered >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_on_after_a_refusal() {
    let stand = stand("  drain_bytes: 64 KiB\n").await;
    let fields: [(&str, &[u8]); 2] = [("model", b"sora-9"), ("input_reference", &png(30_000_000))];
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let pieces = create(Body::Length(form(&fields), vec![])).pieces();
    connection.stream.write_all(&pieces[0]).await.unwrap();
    // Beyond the bound the gate closes, so that the writing fails: it is not read for ever.
    let mut failed = false;
    for piece in pieces[1].chunks(65536) {
        failed = failed || connection.stream.write_all(piece).await.is_err();
    }
    assert!(failed, "30 MB were read on");
    assert_eq!(stand.mock.stats().creates_complete, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_and_budgets_of_a_key() {
    let setup = Setup::default().replacing(
        "limits: { requests: 60/min, in_flight: 4, list_cost_usd: 100/day }",
        "limits: { requests: 2/total, list_cost_usd: 100/day }",
    );
    let stand = setup.start().await;
    let request = create(plain()).by(STUDIO);
    for _ in 0..2 {
        assert_eq!(request.send(stand.gate).await.unwrap().status, 200);
    }
    let over = request.send(stand.gate).await.unwrap();
    assert_eq!(
        (over.status, over.code()),
        (429, "rate_limit_exceeded".into())
    );
    assert_eq!(over.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(over.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(stand.mock.stats().creates_complete, 2);

    let setup = Setup::default().replacing("list_cost_usd: 100/day", "list_cost_usd: 0.5/day");
    let stand = setup.start().await;
    assert_eq!(request.send(stand.gate).await.unwrap().status, 200);
    let spent = request.send(stand.gate).await.unwrap();
    assert_eq!(
        (spent.status, spent.code()),
        (429, "insufficient_quota".into())
    );
    assert_eq!(spent.header("x-should-retry"), Some("false"));
    assert_eq!(spent.header("retry-after"), None);
    let ratio =
        "tollgate_budget_spent_ratio{key=\"studio-a\",limit=\"list_cost_usd\",window=\"day\"}";
    assert_eq!(stand.metric(ratio).await, 0.8);
    assert_eq!(stand.mock.stats().creates_complete, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_has_spent_is_shown_besides_what_its_keys_have() {
    let setup = Setup::default().replacing(
        "sora2: { multiplier: 5, currency: CNY }",
        "sora2: { multiplier: 5, currency: CNY,\n    \
         limits: { billed_cost: 8/day, list_cost_usd: 4/total, requests: 9/day } }",
    );
    let stand = setup.start().await;
    let shown = async || {
        let metrics = stand.metrics().await;
        let ratios = metrics
            .into_iter()
            .filter(|(name, _)| name.contains("budget_spent_ratio"));
        let mut ratios: Vec<_> = ratios
            .map(|(name, ratio)| format!("{name} {ratio}"))
            .collect();
        ratios.sort();
        ratios
    };
    let expected = |day, total, own| {
        [
            format!("budget_spent_ratio{{key=\"studio-a\",limit=\"list_cost_usd\",window=\"day\"}} {own}"),
            format!("group_budget_spent_ratio{{group=\"sora2\",limit=\"billed_cost\",window=\"day\"}} {day}"),
            format!("group_budget_spent_ratio{{group=\"sora2\",limit=\"list_cost_usd\",window=\"total\"}} {total}"),
        ]
        .map(|line| format!("tollgate_{line}"))
    };
    assert_eq!(shown().await, expected("0", "0", "0"));
    // Of two keys: 0.40 USD and 2 CNY each.
    let of_demo = create(plain()).send(stand.gate).await.unwrap();
    assert_eq!(of_demo.status, 200);
    assert_eq!(shown().await, expected("0.25", "0.1", "0"));
    let of_studio = create(plain()).by(STUDIO).send(stand.gate).await.unwrap();
    assert_eq!(of_studio.status, 200);
    assert_eq!(shown().await, expected("0.5", "0.2", "0.004"));
}

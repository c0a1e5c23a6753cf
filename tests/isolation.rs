//! No request of one key shows, downloads, deletes, remixes or lists a job of another, and
//! none tells that it exists: the answer is that for an id that never was one.

#[path = "support/engines.rs"]
mod engines;
mod support;

use std::net::SocketAddr;

use engines::{Engine, on};
use support::client::{Answer, Body, Connection, Request};
use support::h2::Http2;
use support::postgres::Postgres;
use support::{KEY, STUDIO, Setup, Stand, form, form_type, plain_form};

/// The owner, and the one who is curious.
const OWNER: &str = KEY;
const OTHER: &str = STUDIO;

fn keyed(mut request: Request, key: &str) -> Request {
    request.headers.retain(|(name, _)| name != "Authorization");
    request.key(key)
}

async fn created(stand: &Stand, key: &str) -> String {
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let answer = keyed(create, key).send(stand.gate).await.unwrap();
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn completed(stand: &Stand, key: &str, id: &str) {
    let poll = keyed(Request::get(&format!("/v1/videos/{id}")), key);
    stand
        .until("it is completed", async || {
            let answer = poll.send(stand.gate).await.unwrap();
            answer.json()["status"] == "completed"
        })
        .await;
}

/// What is seen of an answer, but for the time of day and the request's own id, which tells of no
/// job.
fn seen(answer: &Answer) -> String {
    let is_own = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("date:") || line.starts_with("x-request-id:")
    };
    let head: Vec<_> = answer.head.lines().filter(|line| !is_own(line)).collect();
    format!(
        "{}\n\n{}",
        head.join("\n"),
        String::from_utf8_lossy(&answer.body)
    )
}

/// An id of the same shape that no job has.
fn never(id: &str) -> String {
    let last = if id.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &id[..id.len() - 1])
}

/// Other ways to write an id, that somebody on the way may read as the same.
fn spellings(id: &str) -> Vec<String> {
    let tail = id.strip_prefix("video_").unwrap();
    let all: String = id.bytes().map(|b| format!("%{b:02X}")).collect();
    let double: String = id.bytes().map(|b| format!("%25{b:02x}")).collect();
    vec![
        id.to_owned(),
        id.to_uppercase(),
        format!("Video_{tail}"),
        format!("video%5F{tail}"),
        format!("video%5f{tail}"),
        format!("video%255f{tail}"),
        all,
        double,
        format!("video_{}", tail.to_uppercase()),
        tail.to_owned(),
        format!("{id}."),
        format!("{id}.."),
        format!("{id}.json"),
        format!("{id}/"),
        format!("{id}//"),
        format!("{id}/."),
        format!("{id}/.."),
        format!("{id}/../{id}"),
        format!("./{id}"),
        format!("../videos/{id}"),
        format!("%2e/{id}"),
        format!("%2e%2e/videos/{id}"),
        format!("..%2fvideos%2f{id}"),
        format!("/{id}"),
        format!("%2f{id}"),
        format!("\\{id}"),
        format!("%5c{id}"),
        format!("{id}%00"),
        format!("{id}%0a"),
        format!("{id}%20"),
        format!("%20{id}"),
        format!("{id}+"),
        format!("+{id}"),
        format!("{id};"),
        format!("{id};a=b"),
        format!("{id},{id}"),
        format!("{id}&id={id}"),
        format!("{id}?"),
        format!("{id}?id={id}"),
        format!("{id}?video_id={id}&after={id}"),
        format!("{id}?variant=video"),
        format!("{id}?key=demo"),
        format!("{id}%3f"),
        format!("{id}%23"),
        format!("{id}\u{200b}"),
        format!("{id}%e2%80%8b"),
        format!("'{id}'"),
        format!("\"{id}\""),
        format!("{id}'--"),
        format!("%27{id}%27"),
        format!("*{id}"),
        "%".to_owned(),
        "_".repeat(id.len()),
        format!("{}_", &id[..id.len() - 1]),
        format!("{}%", &id[..id.len() - 1]),
        id[..id.len() - 1].to_owned(),
        format!("{id}{id}"),
        format!("{id}{}", "a".repeat(200)),
    ]
}

/// What can be done with a job, by one spelling of its id.
fn attempts(id: &str) -> Vec<Request> {
    let path = |tail: &str| match id.split_once('?') {
        Some((id, query)) => format!("/v1/videos/{id}{tail}?{query}"),
        None => format!("/v1/videos/{id}{tail}"),
    };
    let and = if id.contains('?') { '&' } else { '?' };
    let remix = |content_type: &str, body: Vec<u8>| {
        let mut request = Request::new("POST", &path("/remix"));
        request.body = Some(Body::Length(body, vec![]));
        request.header("Content-Type", content_type)
    };
    let mut attempts = vec![
        Request::get(&path("")),
        Request::get(&path("/content")),
        Request::get(&format!("{}{and}variant=thumbnail", path("/content"))),
        Request::get(&path("/content")).header("Range", "bytes=0-9"),
        Request::get(&path("")).header("If-None-Match", "*"),
        Request::new("DELETE", &path("")),
        Request::new("HEAD", &path("")),
        Request::new("HEAD", &path("/content")),
        Request::new("POST", &path("")),
        Request::new("PUT", &path("/content")),
        remix("application/json", br#"{"prompt":"a cat"}"#.to_vec()),
        remix(&form_type(), form(&[("prompt", b"a cat")])),
    ];
    let key = remix("application/json", br#"{"prompt":"a cat"}"#.to_vec());
    attempts.push(key.header("Idempotency-Key", "curious"));
    attempts
}

async fn ask(to: SocketAddr, request: Request) -> Answer {
    let request = keyed(request, OTHER);
    let mut connection = Connection::open(to).await.unwrap();
    connection.send(&request).await.unwrap()
}

/// Asks for a job of the owner and for one that never was, in every way.
async fn look_alike(stand: &Stand, id: &str) {
    let never = never(id);
    for (own, not) in spellings(id).into_iter().zip(spellings(&never)) {
        for (own, not) in attempts(&own).into_iter().zip(attempts(&not)) {
            let what = format!("{} {}", own.method, own.path);
            let head = own.method == "HEAD";
            let (own, not) = (ask(stand.gate, own).await, ask(stand.gate, not).await);
            assert_eq!(seen(&own), seen(&not), "{what}");
            assert!(matches!(own.status, 400..=499), "{what}: {own:?}");
            let text = seen(&own);
            assert!(
                !text.contains(id) && (head || own.json()["error"].is_object()),
                "{what}"
            );
        }
    }
}

/// Stands where the job is known to the gate, and where it is not.
async fn stands(engine: &Engine) -> [(Stand, String); 2] {
    let mut setup = Setup::default().with("jobs: { poll_after: 1h }\n");
    setup.ledger = engine.open();
    let first = setup.start().await;
    let id = created(&first, OWNER).await;
    completed(&first, OWNER, &id).await;
    // Another gate over the same ledger, which has never heard of the job.
    let mut setup = Setup::default().with("jobs: { poll_after: 1h }\n");
    setup.ledger = first.handle.ledger().clone();
    let second = setup.start().await;
    [(first, id.clone()), (second, id)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_job_is_as_one_that_never_was() {
    on(Engine::all(), async |engine| {
        for (stand, id) in stands(&engine).await {
            let before = stand.mock.stats();
            // The first of these meets a gate that does not know the job, the rest one
            // that does.
            look_alike(&stand, &id).await;
            // Nothing went to the channel.
            assert_eq!(stand.mock.stats(), before, "{}", engine.name());
            let ledger = stand.handle.ledger();
            let job = ledger.job(&id).await.unwrap().unwrap();
            assert_eq!(&*job.charge.payer.key, "demo", "{}", engine.name());
            assert!(!job.deleted, "{}", engine.name());
            let usage = ledger.count_unresolved().await.unwrap();
            assert!(usage.is_empty(), "nothing was reserved: {usage:?}");
        }
    })
    .await;
}

/// By HTTP/2; what this client cannot write is no answer.
async fn ask_http2(client: &mut Http2, request: Request) -> Option<Answer> {
    let request = keyed(request, OTHER);
    let body = request.body.clone();
    let mut stream = client.begin(&request, body.is_none()).await.ok()?;
    if let Some(Body::Length(body, _)) = body {
        stream.data(&body, true);
    }
    stream.answer().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_job_is_as_one_that_never_was_over_http2() {
    let [(stand, id), _] = stands(&Engine::Memory).await;
    let (before, never) = (stand.mock.stats(), never(&id));
    let mut answered = 0;
    for (own, not) in spellings(&id).into_iter().zip(spellings(&never)) {
        let mut client = Http2::open(stand.gate).await.unwrap();
        for (own, not) in attempts(&own).into_iter().zip(attempts(&not)) {
            let what = format!("{} {}", own.method, own.path);
            let own = ask_http2(&mut client, own).await;
            let not = ask_http2(&mut client, not).await;
            let [own, not] = [own, not].map(|answer| answer.as_ref().map(seen));
            assert_eq!(own, not, "{what}");
            if let Some(own) = own {
                assert!(
                    own.starts_with("HTTP/2 4") && !own.contains(&id),
                    "{what}: {own}"
                );
                answered += 1;
            }
        }
    }
    assert!(answered > 500, "{answered}");
    assert_eq!(stand.mock.stats(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_and_follow_ones_own_jobs_only() {
    on(Engine::all(), async |engine| {
        let [(stand, id), _] = stands(&engine).await;
        let mut own = vec![];
        for _ in 0..3 {
            own.push(created(&stand, OTHER).await);
            created(&stand, OWNER).await;
        }
        let list = async |query: &str| {
            let request = Request::get(&format!("/v1/videos{query}"));
            ask(stand.gate, request).await
        };
        let never = never(&id);
        for (foreign, unknown) in spellings(&id).into_iter().zip(spellings(&never)) {
            for query in ["after", "limit=2&after", "order=asc&after", "after=x&after"] {
                let [foreign, unknown] = [&foreign, &unknown].map(|id| {
                    // A second question mark would be part of the value.
                    format!("?{query}={}", id.replace('?', "&"))
                });
                let (got, same) = (list(&foreign).await, list(&unknown).await);
                assert_eq!(seen(&got), seen(&same), "{foreign}");
                assert!(matches!(got.status, 400 | 404), "{foreign}: {got:?}");
            }
        }
        // What is not understood changes nothing about whose jobs these are.
        for query in [
            String::new(),
            format!("?id={id}"),
            format!("?before={id}"),
            format!("?before={id}&user=demo&key=demo&group=sora2"),
            format!("?after={}&limit=100&order=asc", own[0]),
            "?limit=100&order=asc".into(),
        ] {
            let answer = list(&query).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains(&id), "{query}: {text}");
            for job in answer.json()["data"].as_array().unwrap() {
                let id = job["id"].as_str().unwrap();
                assert!(own.iter().any(|own| own == id), "{query}: {job}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_credentials_do_not_help() {
    let stand = Stand::start().await;
    let id = created(&stand, OWNER).await;
    completed(&stand, OWNER, &id).await;
    let before = stand.mock.stats();
    let [path, content] = ["", "/content"].map(|tail| format!("/v1/videos/{id}{tail}"));
    for path in [&path, &content] {
        for (name, value) in [
            ("Api-Key", OWNER),
            ("X-Api-Key", OWNER),
            ("OpenAI-Organization", "demo"),
            ("X-Forwarded-User", "demo"),
            ("X-Original-Url", path),
            ("X-Rewrite-Url", path),
            ("X-Http-Method-Override", "DELETE"),
            ("Cookie", "key=sk-tollgate-demo"),
        ] {
            let request = Request::get(path).header(name, value);
            let answer = ask(stand.gate, request).await;
            assert_eq!(answer.status, 404, "{name}: {answer:?}");
        }
        // Two keys are none.
        for [first, second] in [[OWNER, OTHER], [OTHER, OWNER]] {
            let both = Request::get(path).key(first).key(second);
            assert_eq!(both.send(stand.gate).await.unwrap().status, 400);
        }
    }
    assert_eq!(stand.mock.stats(), before);
}

/// What the gate remembers of foreign jobs shows no more while it cannot ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_job_is_as_one_that_never_was_without_a_ledger() {
    let Some(mut postgres) = tokio::task::block_in_place(Postgres::start) else {
        return;
    };
    let engine = Engine::Postgres(postgres.create_database());
    let [(stand, id), (stranger, _)] = stands(&engine).await;
    tokio::task::block_in_place(|| postgres.stop());
    for stand in [stand, stranger] {
        let never = never(&id);
        for (own, not) in attempts(&id).into_iter().zip(attempts(&never)) {
            let what = format!("{} {}", own.method, own.path);
            let (own, not) = tokio::join!(ask(stand.gate, own), ask(stand.gate, not));
            assert_eq!(seen(&own), seen(&not), "{what}");
        }
    }
}

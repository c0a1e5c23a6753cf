//! Job ids are another party's opaque tokens: whatever a channel names its jobs, each belongs
//! to its key, is charged once, and is reached by an id that stands in any path.

#[path = "ids/channel.rs"]
mod channel;
#[path = "support/engines.rs"]
mod engines;
mod support;

use std::sync::Arc;

use channel::{Channel, TAIL};
use engines::{Engine, on};
use support::client::{Answer, Body, Request};
use support::postgres::Postgres;
use support::{KEY, STUDIO, Setup, Stand, form, form_type, until};
use tollgate::ledger::{Ledger, State};

fn create(model: &str) -> Request {
    let body = form(&[
        ("prompt", b"a cat"),
        ("model", model.as_bytes()),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ]);
    let mut request = Request::create(&form_type(), Body::Length(body, vec![]));
    request.headers.retain(|(name, _)| name != "Authorization");
    request
}

async fn send(stand: &Stand, request: Request) -> Answer {
    request.key(KEY).send(stand.gate).await.unwrap()
}

async fn get(stand: &Stand, path: &str) -> Answer {
    send(stand, Request::get(path)).await
}

fn id(answer: &Answer) -> String {
    let body = String::from_utf8(answer.body.clone()).unwrap();
    let (_, rest) = body
        .split_once("\"id\":\"")
        .unwrap_or_else(|| panic!("{body}"));
    rest.split_once('"').unwrap().0.to_owned()
}

/// The channel's own bytes, but for what is said of ids.
fn is_the_channels(answer: &Answer, id: &str, source: &str) {
    let body = std::str::from_utf8(&answer.body).unwrap();
    let head = format!(r#"{{"object":"video","id":"{id}","remixed_from_video_id":{source},"#);
    assert!(body.starts_with(&head), "{body}");
    assert!(body.ends_with(&format!(",{TAIL}}}")), "{body}");
}

async fn start(engine: &Engine, channel: &Channel, jobs: &str) -> Stand {
    let setup = Setup {
        ledger: engine.open(),
        ..Setup::default()
    };
    let url = format!("url: http://{} # ", channel.address);
    let setup = setup.replacing("url: http://", &url);
    setup.with(&format!("jobs:\n{jobs}")).start().await
}

/// A gate that sends creates of `sora-2` to one channel, and of `sora-2-pro` to the other.
async fn start_before_two(ledger: Arc<dyn Ledger>, east: &Channel, west: &Channel) -> Stand {
    let other = format!(
        "channels:\n  west:\n    url: http://{}\n    auth: none\n    models: [sora-2-pro]\n",
        west.address
    );
    let setup = Setup {
        ledger,
        ..Setup::default()
    };
    let url = format!("url: http://{} # ", east.address);
    let setup = setup.replacing("url: http://", &url);
    let setup = setup.replacing("models: [sora-2, sora-2-pro]", "models: [sora-2]");
    setup.replacing("channels:\n", &other).start().await
}

/// What relays name their jobs.
fn names() -> Vec<String> {
    // LiteLLM's: 300 characters of Base64.
    let litellm = format!("video_{}/+8=", "bGl0ZWxsbTpjdXN0".repeat(18));
    let long = "i".repeat(1024);
    let plain = "a".repeat(128);
    [
        &litellm,
        "4711:openai",
        "operations/1/2",
        "a%2Fb",
        "..",
        ".",
        "a b?c#d&e=f;g",
        "\u{e4}\u{1f3ac}",
        "\"\\",
        "\u{1}\n\u{7f}",
        &plain,
        &long,
        "video_1",
    ]
    .map(String::from)
    .into()
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    name.len() <= 128 && name.bytes().all(plain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_reached_whatever_its_channel_calls_it() {
    on(Engine::all(), async |engine| {
        let names = names();
        let both = names.iter().enumerate();
        let both = both.flat_map(|(n, name)| [name.clone(), format!("remix/{n}")]);
        let channel = Channel::naming(both).await;
        let stand = start(&engine, &channel, "  poll_after: 1h\n").await;
        for name in names {
            let what = format!("{name} on {}", engine.name());
            let created = send(&stand, create("sora-2")).await;
            assert_eq!(created.status, 200, "{what}: {created:?}");
            let public = id(&created);
            match is_plain(&name) {
                true => assert_eq!(public, name),
                false => {
                    let hex = public.strip_prefix("video_").unwrap();
                    assert_eq!(hex.len(), 32, "{what}: {public}");
                    assert!(hex.bytes().all(|b| b.is_ascii_hexdigit()), "{public}");
                }
            }
            is_the_channels(&created, &public, "null");
            let path = format!("/v1/videos/{public}");
            let polled = get(&stand, &path).await;
            assert_eq!(polled.status, 200, "{what}: {polled:?}");
            is_the_channels(&polled, &public, "null");
            let content = get(&stand, &format!("{path}/content")).await;
            let film = format!("the film of {name}");
            assert_eq!(content.body, film.as_bytes(), "{what}");
            // A remix names its source as the client knows it.
            let mut remix = Request::new("POST", &format!("{path}/remix"));
            remix.body = Some(Body::Length(br#"{"prompt":"x"}"#.to_vec(), vec![]));
            let remix = send(&stand, remix.header("Content-Type", "application/json")).await;
            assert_eq!(remix.status, 200, "{what}: {remix:?}");
            let of = format!("\"{public}\"");
            is_the_channels(&remix, &id(&remix), &of);
            let remix = get(&stand, &format!("/v1/videos/{}", id(&remix))).await;
            is_the_channels(&remix, &id(&remix), &of);
            // In lists, too, and as the place that a page comes after.
            let list = get(&stand, "/v1/videos?limit=2").await.json();
            assert_eq!(list["last_id"], public, "{what}");
            assert_eq!(list["data"][1]["id"], public, "{what}");
            assert_eq!(list["data"][0]["remixed_from_video_id"], public, "{what}");
            let after = get(&stand, &format!("/v1/videos?limit=1&after={}", id(&remix))).await;
            assert_eq!(id(&after), public, "{what}");
            let deleted = send(&stand, Request::new("DELETE", &path)).await;
            let expected = format!(r#"{{"id":"{public}","deleted":true,{TAIL}}}"#);
            assert_eq!(deleted.body, expected.as_bytes(), "{what}: {deleted:?}");
            let foreign = Request::get(&path)
                .key(STUDIO)
                .send(stand.gate)
                .await
                .unwrap();
            assert_eq!(foreign.status, 404, "{what}");
        }
        let plain = |target: &String| {
            let path = target.split('?').next().unwrap();
            let mut bytes = path.bytes();
            let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
            !dots && bytes.all(|b| b.is_ascii_alphanumeric() || b"-._~%/".contains(&b))
        };
        assert!(
            channel.targets().iter().all(plain),
            "{:?}",
            channel.targets()
        );
        let open = stand.handle.ledger().count_unresolved().await.unwrap();
        assert!(
            open.iter().all(|open| open.state == State::Confirmed),
            "{open:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_cannot_be_kept_is_none() {
    let channel = Channel::naming(["i".repeat(1025), String::new()]).await;
    let stand = start(&Engine::Memory, &channel, "  poll_after: 1h\n").await;
    for _ in 0..2 {
        let answer = send(&stand, create("sora-2")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_error".into())
        );
    }
    let unresolved = "tollgate_unresolved_reservations{channel=\"mock\"}";
    assert_eq!(stand.metric(unresolved).await, 2.0);
    assert_eq!(stand.channel_errors().await, ["no_job"]);
}

/// Two channels need not know of each other: the same id from both is two jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_channels_may_give_the_same_id() {
    on(Engine::all(), async |engine| {
        for name in ["video_1", "4711:openai"] {
            let [east, west] = [Channel::naming([name]).await, Channel::naming([name]).await];
            let stand = start_before_two(engine.open(), &east, &west).await;
            let mut ids = vec![];
            for (model, channel) in [("sora-2", &east), ("sora-2-pro", &west)] {
                let created = send(&stand, create(model)).await;
                assert_eq!(created.status, 200, "{}: {created:?}", engine.name());
                let public = id(&created);
                let before = channel.targets().len();
                let polled = get(&stand, &format!("/v1/videos/{public}")).await;
                is_the_channels(&polled, &public, "null");
                assert!(
                    channel.targets().len() > before,
                    "the job's own channel is asked"
                );
                ids.push(public);
            }
            assert_ne!(ids[0], ids[1], "{}", engine.name());
            drop(stand);
            if matches!(engine, Engine::Sqlite(_)) {
                // Its file has one gate at a time.
                break;
            }
        }
    })
    .await;
}

/// While the ledger is away, a gate may not know that an id is that of another channel's job already: the client
/// reaches its own job by the id that it was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_told_while_the_ledger_is_away_leads_to_the_clients_job() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let engine = Engine::Postgres(postgres.create_database());
    let names = ["video_0", "video_1", "video_2"];
    let [east, west] = [Channel::naming(names).await, Channel::naming(names).await];
    let knows = start_before_two(engine.open(), &east, &west).await;
    let knows_not = start_before_two(engine.open(), &east, &west).await;
    // Both are connected to the ledger.
    for (gate, key, model) in [(&knows, KEY, "sora-2-pro"), (&knows_not, STUDIO, "sora-2")] {
        let created = create(model).key(key).send(gate.gate).await.unwrap();
        assert_eq!(created.status, 200, "{created:?}");
    }
    east.hold_answers(true);
    let mut held = Vec::new();
    for gate in [&knows, &knows_not] {
        let (address, before) = (gate.gate, east.targets().len());
        let sent = async move { create("sora-2").key(STUDIO).send(address).await.unwrap() };
        held.push(tokio::spawn(sent));
        until("it is held", async || east.targets().len() > before).await;
        let others = create("sora-2-pro").key(KEY).send(knows.gate).await;
        assert_eq!(others.unwrap().status, 200);
    }
    tokio::task::block_in_place(|| postgres.stop_hard());
    east.hold_answers(false);
    let mut told = Vec::new();
    for create in held {
        let created = create.await.unwrap();
        assert_eq!(created.status, 200, "{created:?}");
        told.push(id(&created));
    }
    assert!(
        told[0].len() == 38,
        "the first gate knows of the other job: {told:?}"
    );
    assert_eq!(told[1], "video_2");
    tokio::task::block_in_place(|| postgres.start_again());
    let polled = async |gate: &Stand, key: &str, id: &str| {
        let poll = Request::get(&format!("/v1/videos/{id}"));
        poll.key(key).send(gate.gate).await.unwrap().status
    };
    let cases = [
        (STUDIO, &*told[0], &east),
        (STUDIO, "video_2", &east),
        (KEY, "video_2", &west),
        (KEY, "video_1", &west),
    ];
    for gate in [&knows, &knows_not] {
        for (key, id, channel) in cases {
            until("the ledger is back", async || {
                let before = channel.targets().len();
                let status = polled(gate, key, id).await;
                status == 200 && channel.targets().len() > before
            })
            .await;
        }
        // 503 while this gate has its own confirmation to write.
        let is_unknown = async || polled(gate, KEY, &told[0]).await == 404;
        until("the confirmation is written", is_unknown).await;
        assert_eq!(polled(gate, STUDIO, "video_3").await, 404);
        let list = Request::get("/v1/videos?after=video_2").key(STUDIO);
        assert_eq!(list.send(gate.gate).await.unwrap().status, 200);
    }
    let sql = "SELECT key, channel, COALESCE(upstream_id, job) FROM reservation ORDER BY 1, 2, 3";
    let owned: Vec<_> = engine
        .rows(sql)
        .into_iter()
        .map(|row| row.join(" "))
        .collect();
    let expected = [
        "demo west video_0",
        "demo west video_1",
        "demo west video_2",
        "studio-a mock video_0",
        "studio-a mock video_1",
        "studio-a mock video_2",
    ];
    assert_eq!(owned, expected);
}

/// What a repetition is answered with names the job as its first answer did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_gets_the_public_id() {
    on(Engine::all(), async |engine| {
        let channel = Channel::naming(["4711:openai", "4712:openai"]).await;
        let jobs = "  poll_after: 1h\n  unknown_grace: 2s\n  polls_per_second: 100\n";
        let stand = start(&engine, &channel, jobs).await;
        let keyed = |name: &str| create("sora-2").header("Idempotency-Key", name);
        let first = send(&stand, keyed("a")).await;
        let again = send(&stand, keyed("a")).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.body, again.body, "{}", engine.name());
        is_the_channels(&again, &id(&again), "null");
        // Found on the list, it has one as well.
        channel.lose_answers(true);
        assert_eq!(send(&stand, keyed("b")).await.status, 502);
        stand
            .until("the job is found", async || {
                send(&stand, keyed("b")).await.status == 200
            })
            .await;
        let found = id(&send(&stand, keyed("b")).await);
        assert!(is_plain(&found) && found != id(&first), "{found}");
        let content = get(&stand, &format!("/v1/videos/{found}/content")).await;
        assert_eq!(
            content.body,
            b"the film of 4712:openai",
            "{}",
            engine.name()
        );
    })
    .await;
}

/// Other spellings of one path are one path (RFC 3986, section 6.2.2.2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_encode_more_than_it_must() {
    let channel = Channel::naming(["video_1"]).await;
    let stand = start(&Engine::Memory, &channel, "  poll_after: 1h\n").await;
    assert_eq!(id(&send(&stand, create("sora-2")).await), "video_1");
    for (path, status) in [
        ("/v1/videos/video%5F1", 200),
        ("/v1/videos/%76ideo_%31/content", 200),
        ("/v1/videos?after=video%5F1", 200),
        ("/v1/videos/video%255F1", 404),
        ("/v1/videos/video_1%2Fcontent", 404),
        ("/v1/videos/video_1%00", 404),
        ("/v1/videos/%zz", 404),
        ("/v1/videos/%5", 404),
    ] {
        assert_eq!(get(&stand, path).await.status, status, "{path}");
    }
    for target in channel.targets() {
        assert!(!target.contains('%'), "a path is built anew: {target}");
    }
}

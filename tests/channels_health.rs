//! Channels that fail, and channels that operators take out of use, behind a gate on real sockets.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::client::{Answer, Body, Request};
use support::{
    KEY, STUDIO, Setup, Stand, form, form_type, mock_options, plain_form, png, start_mock,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate::clock::{self, Clock};
use tollgate::mock::{Fault, Mock};
use tollgate::policy::Timestamp;

/// A gate with the channels `mock` and `other`, by a clock that is set by hand.
struct Two {
    stand: Stand,
    other: Mock,
    clock: Clock,
}

async fn two(lines: &str) -> Two {
    two_behind(Setup::default(), lines).await
}

async fn two_behind(setup: Setup, lines: &str) -> Two {
    let other = start_mock(mock_options()).await;
    let clock = Clock::manual(clock::now());
    let setup = setup.beside(lines, ("other", other.addr()), "");
    let stand = setup.start_with_clock(clock.clone()).await;
    Two {
        stand,
        other,
        clock,
    }
}

fn faults(text: &str) -> Vec<Fault> {
    Fault::parse_list(text).unwrap()
}

async fn create(stand: &Stand) -> Answer {
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    create.send(stand.gate).await.unwrap()
}

async fn control(stand: &Stand, action: &str) -> Answer {
    let request = Request::new("POST", &format!("/channels/{action}"));
    request.send(stand.admin).await.unwrap()
}

/// What the operators' listener says of a channel.
async fn shown(stand: &Stand, name: &str) -> Value {
    let answer = Request::get("/channels").send(stand.admin).await.unwrap();
    let channels = answer.json()["channels"].as_array().unwrap().clone();
    let mut channels = channels.into_iter();
    channels.find(|channel| channel["name"] == name).unwrap()
}

async fn state(stand: &Stand, name: &str) -> String {
    let states = ["active", "drain", "off", "resting", "trial"];
    let metrics = stand.metrics().await;
    let sample = |state: &str| {
        let sample = format!("tollgate_channel_state{{channel=\"{name}\",state=\"{state}\"}}");
        metrics[&sample]
    };
    let held: Vec<_> = states.into_iter().filter(|s| sample(s) == 1.0).collect();
    let [state] = held[..] else {
        panic!("{held:?}");
    };
    assert_eq!(shown(stand, name).await["state"], state);
    state.to_owned()
}

async fn ejections(stand: &Stand, reason: &str) -> f64 {
    let labels = format!("channel=\"mock\",reason=\"{reason}\"");
    let sample = format!("tollgate_channel_ejections_total{{{labels}}}");
    // It is there from the start.
    stand.metrics().await[&sample]
}

impl Two {
    fn pass(&self, span: Duration) {
        let now = self.clock.now().0 + u64::try_from(span.as_millis()).unwrap();
        self.clock.set(Timestamp(now));
    }

    /// Sends creates until the channel `mock` has had one more.
    async fn reach_mock(&self) {
        let before = self.stand.mock.stats().creates_complete;
        for _ in 0..2 {
            create(&self.stand).await;
        }
        assert_eq!(self.stand.mock.stats().creates_complete, before + 1);
    }

    /// Sends creates, all of which the channel `other` takes.
    async fn reach_other_only(&self) {
        let before = self.stand.mock.stats().creates_complete;
        for _ in 0..4 {
            let answer = create(&self.stand).await;
            assert_eq!(answer.status, 200, "{}", answer.json());
        }
        assert_eq!(self.stand.mock.stats().creates_complete, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_account_rests_until_an_operator_restores_it() {
    let two = two("").await;
    let mock = &two.stand.mock;
    assert_eq!(ejections(&two.stand, "account").await, 0.0);
    mock.set_faults(faults("create:401"), None);
    two.reach_mock().await;
    assert_eq!(state(&two.stand, "mock").await, "resting");
    assert_eq!(shown(&two.stand, "mock").await["reason"], "account");
    assert_eq!(shown(&two.stand, "mock").await["until"], Value::Null);
    assert_eq!(ejections(&two.stand, "account").await, 1.0);
    let up = "tollgate_channel_up{channel=\"mock\"}";
    assert_eq!(two.stand.metric(up).await, 0.0);

    // No time ends it.
    mock.set_faults(vec![], None);
    two.pass(Duration::from_secs(86_400));
    two.reach_other_only().await;

    let answer = control(&two.stand, "mock/restore").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["state"], "active");
    two.reach_mock().await;
    assert_eq!(state(&two.stand, "mock").await, "active");
    assert_eq!(two.stand.metric(up).await, 1.0);
    assert_eq!(ejections(&two.stand, "account").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_is_kept_for_as_long_as_it_says() {
    let two = two("").await;
    // The mock says `Retry-After: 2`.
    two.stand.mock.set_faults(faults("create:429"), Some(1));
    two.reach_mock().await;
    assert_eq!(shown(&two.stand, "mock").await["reason"], "rate_limited");
    two.pass(Duration::from_millis(1999));
    two.reach_other_only().await;
    two.pass(Duration::from_millis(1));
    assert_eq!(state(&two.stand, "mock").await, "trial");
    let before = two.stand.mock.stats().creates_complete;
    assert_eq!(create(&two.stand).await.status, 200);
    assert_eq!(two.stand.mock.stats().creates_complete, before + 1);
    assert_eq!(state(&two.stand, "mock").await, "active");
    two.reach_mock().await;
    assert_eq!(ejections(&two.stand, "rate_limited").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_rest_for_pauses_that_grow() {
    let two = two("    ejection: { failures: 2, pause: 10s }\n").await;
    let mock = &two.stand.mock;
    mock.set_faults(faults("create:500"), None);
    two.reach_mock().await;
    assert_eq!(state(&two.stand, "mock").await, "active");
    two.reach_mock().await;
    assert_eq!(state(&two.stand, "mock").await, "resting");
    two.pass(Duration::from_secs(9));
    two.reach_other_only().await;
    two.pass(Duration::from_secs(1));
    let before = mock.stats().creates_complete;
    create(&two.stand).await;
    assert_eq!(mock.stats().creates_complete, before + 1, "the trial");
    two.pass(Duration::from_secs(19));
    two.reach_other_only().await;
    mock.set_faults(vec![], None);
    two.pass(Duration::from_secs(1));
    assert_eq!(state(&two.stand, "mock").await, "trial");
    create(&two.stand).await;
    assert_eq!(state(&two.stand, "mock").await, "active");
    assert_eq!(ejections(&two.stand, "failed").await, 2.0);
}

/// A client that has reached its limit takes the trial of no channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_goes_nowhere_is_no_trial() {
    let setup = Setup::default().replacing("requests: 60/min", "requests: 1/total");
    let two = two_behind(setup, "").await;
    let studio = || {
        let mut create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
        create.headers.retain(|(name, _)| name != "Authorization");
        create.key(STUDIO)
    };
    assert_eq!(studio().send(two.stand.gate).await.unwrap().status, 200);
    two.stand.mock.set_faults(faults("create:429"), Some(1));
    two.reach_mock().await;
    two.pass(Duration::from_secs(2));
    assert_eq!(state(&two.stand, "mock").await, "trial");
    let before = two.stand.mock.stats().creates_complete;
    assert_eq!(studio().send(two.stand.gate).await.unwrap().status, 429);
    assert_eq!(two.stand.mock.stats().creates_complete, before);
    assert_eq!(create(&two.stand).await.status, 200);
    assert_eq!(two.stand.mock.stats().creates_complete, before + 1);
    assert_eq!(state(&two.stand, "mock").await, "active");
}

/// A create whose picture is long enough to be streamed.
fn upload() -> Request {
    let form = form(&[
        ("prompt", b"A calico cat playing a piano"),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
        ("input_reference", &png(4 << 20)),
    ]);
    Request::create(&form_type(), Body::Length(form, vec![1 << 20]))
}

/// Servers and proxies give up waiting for a body: a client that sends slowly ejects nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_too_slow_for_a_channel_ejects_it_not() {
    for (status, stands) in [
        (408, "active"),
        (502, "active"),
        (504, "active"),
        (503, "resting"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut some = [0; 1024];
                let _ = stream.read(&mut some).await;
                let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                tokio::spawn(
                    async move { while let Ok(1..) = stream.read(&mut [0; 65536]).await {} },
                );
            }
        });
        let setup = Setup::default();
        let setup = setup.replacing("url: http://", &format!("url: http://{address} # "));
        let stand = setup.start().await;
        let mut client = TcpStream::connect(stand.gate).await.unwrap();
        for piece in upload().pieces().iter().take(2) {
            client.write_all(piece).await.unwrap();
        }
        let mut head = [0; 12];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 503", "{status}");
        assert_eq!(state(&stand, "mock").await, stands, "{status}");
    }
}

/// The last place of a channel is taken while a body is streamed to it. Another channel may take the
/// create: it is not told to wait for this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_channel_is_full_by_its_end_is_tried_again_at_once() {
    // The other one is of the next tier.
    let setup = Setup::default().replacing("\n\ncatalog:", "\n    tier: 1\n\ncatalog:");
    let two = two_behind(setup, "    limits: { requests: 1/total }\n").await;
    let mut client = TcpStream::connect(two.stand.gate).await.unwrap();
    let pieces = upload().header("X-Request-Id", "upload").pieces();
    for piece in &pieces[..2] {
        client.write_all(piece).await.unwrap();
    }
    let mock = &two.stand.mock;
    two.stand
        .until("it is streamed", async || mock.is_in_progress("upload"))
        .await;
    assert_eq!(create(&two.stand).await.status, 200);
    assert_eq!(mock.jobs().len(), 1);
    for piece in &pieces[2..] {
        client.write_all(piece).await.unwrap();
    }
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 502");
    assert_eq!(mock.jobs().len(), 1);
}

/// Where no wait is known to help, the longest is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_no_window_ends_is_worth_no_quick_retry() {
    for (limit, wait) in [("in_flight: 1", "5"), ("requests: 1/total", "600")] {
        let models = "    models: [sora-2, sora-2-pro]";
        let limited = format!("{models}\n    limits: {{ {limit} }}");
        let setup = Setup::default().replacing(models, &limited);
        let stand = setup.with("\njobs: { poll_after: 1h }\n").start().await;
        assert_eq!(create(&stand).await.status, 200);
        let refused = create(&stand).await;
        assert_eq!(refused.status, 429, "{limit}");
        assert_eq!(refused.header("retry-after"), Some(wait), "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_ejects_nobody() {
    let two = two("").await;
    for fault in ["create:400", "create:404", "create:422"] {
        two.stand.mock.set_faults(faults(fault), None);
        two.reach_mock().await;
        assert_eq!(state(&two.stand, "mock").await, "active", "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_no_other_can_replace_is_tried_all_the_same() {
    let stand = Stand::start().await;
    stand.mock.set_faults(faults("create:401"), Some(1));
    assert_eq!(create(&stand).await.status, 502);
    assert_eq!(state(&stand, "mock").await, "resting");
    assert_eq!(create(&stand).await.status, 200);
    assert_eq!(state(&stand, "mock").await, "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_channel_takes_no_creates_and_its_jobs_go_on() {
    let two = two("").await;
    let mut polled = None;
    while two.stand.mock.stats().creates_accepted == 0 {
        polled = Some(create(&two.stand).await.json()["id"].clone());
    }
    let id = polled.unwrap().as_str().unwrap().to_owned();
    let answer = control(&two.stand, "mock/drain").await;
    assert_eq!(
        (answer.status, answer.json()["state"].clone()),
        (200, "drain".into())
    );
    assert_eq!(answer.json()["configured_state"], "active");
    two.reach_other_only().await;
    let path = format!("/v1/videos/{id}");
    let get = async |path: &str| {
        let request = Request::get(path).key(KEY);
        request.send(two.stand.gate).await.unwrap()
    };
    two.stand
        .until("the job is completed", async || {
            get(&path).await.json()["status"] == "completed"
        })
        .await;
    assert_eq!(get(&format!("{path}/content")).await.status, 200);

    assert_eq!(control(&two.stand, "mock/off").await.status, 200);
    assert_eq!(state(&two.stand, "mock").await, "off");
    let before = two.stand.mock.stats().requests_total;
    for path in [path.clone(), format!("{path}/content")] {
        let answer = get(&path).await;
        assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
        assert_eq!(answer.header("retry-after"), Some("30"));
    }
    assert_eq!(get("/v1/videos").await.status, 200);
    two.reach_other_only().await;
    assert_eq!(two.stand.mock.stats().requests_total, before);

    assert_eq!(control(&two.stand, "other/drain").await.status, 200);
    let answer = create(&two.stand).await;
    assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
    assert_eq!(control(&two.stand, "mock/activate").await.status, 200);
    assert_eq!(create(&two.stand).await.status, 200);
    assert_eq!(get(&path).await.status, 200);
    assert_eq!(two.other.stats().creates_broken, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_ejects_a_channel_before_a_create_does_and_lets_it_back() {
    let probed = "    models: [sora-2, sora-2-pro]\n    probe: { every: 1s }";
    let mut setup = Setup::default().replacing("    models: [sora-2, sora-2-pro]", probed);
    setup.mock.faults = faults("list:401");
    let stand = setup.start().await;
    stand
        .until("the probe was refused", async || {
            shown(&stand, "mock").await["state"] == "resting"
        })
        .await;
    assert_eq!(stand.mock.stats().creates_complete, 0);
    stand.mock.set_faults(vec![], None);
    stand
        .until("the probe was answered", async || {
            shown(&stand, "mock").await["state"] == "active"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_control_channels() {
    let stand = Stand::start().await;
    let get = Request::get("/channels/mock/drain");
    assert_eq!(get.send(stand.admin).await.unwrap().status, 405);
    let post = async |path: &str, origin: bool| {
        let mut request = Request::new("POST", path);
        if origin {
            request = request.header("Origin", "http://127.0.0.1:9090");
        }
        request.send(stand.admin).await.unwrap().status
    };
    assert_eq!(post("/channels/mock/drain", true).await, 403);
    for path in ["/channels/mock", "/channels/mock/dry", "/channels/x/drain"] {
        assert_eq!(post(path, false).await, 404, "{path}");
    }
    assert_eq!(state(&stand, "mock").await, "active");
    assert_eq!(post("/channels/mock/drain", false).await, 200);
    assert_eq!(state(&stand, "mock").await, "drain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_refuses_the_credential_ejects_as_well() {
    let stand = Stand::start().await;
    let id = create(&stand).await.json()["id"].clone();
    let poll = Request::get(&format!("/v1/videos/{}", id.as_str().unwrap())).key(KEY);
    for (fault, label) in [
        ("poll:500", "active"),
        ("poll:429", "active"),
        ("poll:401", "resting"),
    ] {
        stand.mock.set_faults(faults(fault), None);
        poll.send(stand.gate).await.unwrap();
        assert_eq!(state(&stand, "mock").await, label, "{fault}");
    }
    assert_eq!(ejections(&stand, "account").await, 1.0);
}

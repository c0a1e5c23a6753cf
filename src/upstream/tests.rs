//! Which channel a request goes to.

use std::sync::Arc;
use std::time::Duration;

use super::balance::Channels;
use super::channel::DOWN_FOR_MS;
use super::channel::LiveChannel;
use crate::channel::{Auth, Channel, ChannelState, EjectionRules, Http2, ServerUrl};
use crate::dialect::Dialect;
use crate::key::Secret;
use crate::policy::Timestamp;

fn channel(name: &str, models: &[&str]) -> Arc<Channel> {
    Arc::new(Channel {
        name: name.into(),
        url: ServerUrl {
            tls: false,
            host: "127.0.0.1".into(),
            port: 8081,
            base_path: String::new(),
        },
        credential: Some(Secret::new("sk-channel".into())),
        auth: Auth::Bearer,
        models: models.iter().map(|m| Arc::from(*m)).collect(),
        seconds_type: crate::inspect::SecondsType::default(),
        http2: Http2::Auto,
        ca: vec![],
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(120),
        read_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        min_download_rate: 1024,
        dialect: Dialect::default(),
        content_hosts: vec![],
        tier: 0,
        weight: 1,
        state: ChannelState::Active,
        limits: vec![],
        purchase: None,
        ejection: EjectionRules::default(),
        probe: None,
    })
}

fn names(channels: &[Arc<LiveChannel>]) -> Vec<&str> {
    channels.iter().map(|c| &*c.spec().name).collect()
}

#[test]
fn the_least_busy_channel_that_is_up_and_serves_most_comes_first() {
    let channels = Channels::new(&[
        channel("a", &["sora-2"]),
        channel("b", &["sora-2", "sora-2-pro"]),
        channel("c", &["sora-2", "sora-2-pro"]),
    ]);
    let now = Timestamp(1000);
    let pro = |c: &Channel| usize::from(c.models.contains("sora-2-pro"));
    assert_eq!(channels.choose(pro, now).len(), 2);

    let busy = channels.all()[1].enter();
    assert_eq!(names(&channels.choose(pro, now)), ["c", "b"]);
    drop(busy);

    channels.all()[2].failed(now);
    assert_eq!(names(&channels.choose(pro, now)), ["b", "c"]);
    assert!(channels.all()[2].is_up(Timestamp(1000 + DOWN_FOR_MS)));

    let both = |c: &Channel| c.models.len();
    assert_eq!(
        channels.choose(both, now).last().unwrap().spec().name,
        "a".into()
    );
}

#[test]
fn equals_take_turns() {
    let channels = Channels::new(&[channel("a", &["m"]), channel("b", &["m"])]);
    let first: Vec<_> = (0..4)
        .map(|_| channels.choose(|_| 1, Timestamp(0))[0].spec().name.clone())
        .collect();
    assert_ne!(first[0], first[1]);
    assert_eq!(first[..2], first[2..]);
}

#[tokio::test]
async fn a_channel_names_itself_by_its_host_and_credential() {
    let mut spec = Arc::into_inner(channel("a", &["m"])).unwrap();
    spec.auth = Auth::Header(http::HeaderName::from_static("api-key"));
    let live = LiveChannel::new(Arc::new(spec));
    let named = |name: &str| {
        let mut headers = live.identity().unwrap().iter();
        headers.find(|(own, _)| own == name).map(|(_, value)| value)
    };
    assert_eq!(named("authorization"), None);
    assert_eq!(named("api-key").unwrap(), "sk-channel");
    assert_eq!(named("host").unwrap(), "127.0.0.1:8081");
    assert!(!format!("{live:?} {:?}", live.identity()).contains("sk-channel"));

    let peer = live.peer(Timestamp(1)).await.unwrap();
    assert!(!peer.sni.is_empty());
}

#[tokio::test]
async fn the_address_that_works_is_kept() {
    let channels = Channels::new(&[channel("a", &["sora-2"])]);
    let (channel, now) = (&channels.all()[0], Timestamp(1000));
    let addresses = ["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap());
    let used = async || {
        channel.resolved_to(&addresses, now);
        channel.peer(now).await.unwrap().to_string()
    };
    let dead = used().await;
    channel.failed(now);
    let alive = used().await;
    assert_ne!(dead, alive);
    channel.succeeded();
    assert_eq!(used().await, alive, "one request in two would fail");
}

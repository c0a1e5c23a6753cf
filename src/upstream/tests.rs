//! Tests which channel a request goes to.

use std::sync::Arc;
use std::time::Duration;

use super::balance::Channels;
use super::channel::LiveChannel;
use super::choice::{Candidate, ChannelChoice, NoChannel};
use super::health::{EjectionReason, Event};
use super::operation::CHANNEL_STATES;
use crate::channel::{Auth, Channel, ChannelState};
use crate::key::Secret;
use crate::policy::{Allow, Group, Key, Timestamp};

fn channel(name: &str, models: &[&str]) -> Arc<Channel> {
    Arc::new(Channel {
        credential: Some(Secret::new("sk-channel".into())),
        auth: Auth::Bearer,
        models: models.iter().map(|m| Arc::from(*m)).collect(),
        ..Channel::named(name)
    })
}

/// Makes a key that may use `models`, and `channels`.
fn key(models: &[&str], channels: Option<&[&str]>) -> Key {
    let set = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    Key {
        name: "k".into(),
        group: Arc::new(Group {
            name: "g".into(),
            multiplier: "1".parse().unwrap(),
            currency: "USD".into(),
            limits: vec![],
            channels: None,
        }),
        allow: Allow {
            models: Some(set(models)),
            ..Allow::default()
        },
        limits: vec![],
        channels: channels.map(set),
    }
}

fn candidates(
    channels: &Channels,
    key: &Key,
    model: Option<&str>,
    whole: bool,
    now: Timestamp,
) -> Result<Vec<Candidate>, NoChannel> {
    let choice = ChannelChoice {
        channels,
        key,
        pinned: None,
    };
    choice.candidates(model, None, whole, now)
}

/// Returns the channels that a create of `key` may go to, best first.
fn chosen(
    channels: &Channels,
    key: &Key,
    model: Option<&str>,
    whole: bool,
    now: Timestamp,
) -> Result<Vec<String>, NoChannel> {
    let candidates = candidates(channels, key, model, whole, now)?;
    let names = candidates.iter().map(|(channel, _)| &*channel.spec().name);
    Ok(names.map(str::to_owned).collect())
}

#[test]
fn the_least_busy_channel_that_is_up_and_serves_most_comes_first() {
    let channels = Channels::new(&[
        channel("a", &["sora-2"]),
        channel("b", &["sora-2", "sora-2-pro"]),
        channel("c", &["sora-2", "sora-2-pro"]),
    ]);
    let now = Timestamp(1000);
    let key = key(&["sora-2", "sora-2-pro"], None);
    let pro = |now| chosen(&channels, &key, Some("sora-2-pro"), true, now).unwrap();
    assert_eq!(pro(now).len(), 2);

    let busy = channels.all()[1].enter();
    assert_eq!(pro(now), ["c", "b"]);
    drop(busy);

    channels.all()[2].failed(now, now);
    assert_eq!(pro(now), ["b", "c"]);
    assert!(!channels.all()[2].is_up(Timestamp(1499)));
    assert!(channels.all()[2].is_up(Timestamp(1500)));
    channels.all()[2].succeeded(now);

    let any = chosen(&channels, &key, None, false, now).unwrap();
    assert_eq!(any.last().unwrap(), "a");
}

#[test]
fn equals_take_turns() {
    let channels = Channels::new(&[channel("a", &["m"]), channel("b", &["m"])]);
    let key = key(&["m"], None);
    let first: Vec<_> = (0..4)
        .map(|_| chosen(&channels, &key, Some("m"), true, Timestamp(0)).unwrap()[0].clone())
        .collect();
    assert_ne!(first[0], first[1]);
    assert_eq!(first[..2], first[2..]);
}

#[test]
fn one_create_tries_a_channel_that_has_failed() {
    let channels = Channels::new(&[channel("a", &["m"]), channel("b", &["m"])]);
    let key = key(&["m"], None);
    let at = |seconds: u64| Timestamp(1_000_000 + seconds * 1000);
    let first = |whole, seconds| {
        let chosen = chosen(&channels, &key, Some("m"), whole, at(seconds)).unwrap();
        assert_eq!(chosen.len(), 2, "the last resort is there");
        chosen[0].clone()
    };
    let a = &channels.all()[0];
    a.note(Event::Failed, at(0), at(0)).unwrap();
    for seconds in [0, 1, 29] {
        assert_eq!(first(true, seconds), "b");
    }
    // A create whose body can go nowhere else is no trial.
    assert_eq!(first(false, 30), "b");
    let creates: Vec<_> = (0..10)
        .map(|_| candidates(&channels, &key, Some("m"), true, at(30)).unwrap())
        .collect();
    let of_a = |create: &&Vec<Candidate>| *create[0].0.spec().name == *"a";
    assert_eq!(creates.iter().filter(of_a).count(), 1);
    let trials = creates.iter().filter(|create| create[0].1.is_some());
    assert_eq!(trials.count(), 1);
    // The create has shown nothing, since it was refused before: the next one is the trial.
    drop(creates);
    a.note_full(at(30));
    assert_eq!(first(true, 30), "b");
    assert_eq!(first(true, 31), "a");
    a.note(Event::Created, at(31), at(32)).unwrap();
    let turns: Vec<_> = (0..2).map(|_| first(true, 33)).collect();
    assert_ne!(turns[0], turns[1]);
    // A channel whose limit was reached is tried last, and no longer than a second after.
    a.note_full(at(33));
    assert_eq!([first(true, 33), first(true, 33)], ["b", "b"]);
    assert_ne!(first(true, 34), first(true, 34));
    a.note_full(at(100));
    assert_ne!(first(true, 34), first(true, 34));
}

#[test]
fn creates_go_to_open_channels_of_their_key_only() {
    let channels = Channels::new(&[
        channel("a", &["m", "n"]),
        channel("b", &["m"]),
        channel("c", &["o"]),
    ]);
    let key = key(&["m", "n", "o"], Some(&["a", "b"]));
    let model = |model| chosen(&channels, &key, Some(model), true, Timestamp(0));
    assert_eq!(model("m").unwrap().len(), 2);
    assert_eq!(model("n").unwrap(), ["a"]);
    assert_eq!(model("o"), Err(NoChannel::NotForKey));
    assert_eq!(model("p"), Err(NoChannel::Unserved));
    for state in [ChannelState::Drain, ChannelState::Off] {
        channels.all()[0].set_state(state);
        assert_eq!(model("m").unwrap(), ["b"]);
        assert_eq!(model("n"), Err(NoChannel::Closed));
    }
    channels.all()[0].set_state(ChannelState::Active);
    assert_eq!(model("n").unwrap(), ["a"]);
}

#[test]
fn what_operators_set_outlives_a_reload_and_an_ejection_does_not() {
    let spec = channel("a", &["m"]);
    let before = Channels::new(std::slice::from_ref(&spec));
    before.all()[0].set_state(ChannelState::Drain);
    let now = Timestamp(1000);
    before.all()[0].note(Event::Account, now, now).unwrap();
    assert!(!before.all()[0].is_up(now));
    let after = Channels::replacing(std::slice::from_ref(&spec), &before);
    assert_eq!(after.all()[0].state(), ChannelState::Drain);
    assert!(after.all()[0].is_up(now));
    // The state stays unless the configuration says something new.
    let mut off = Arc::into_inner(channel("a", &["m"])).unwrap();
    off.state = ChannelState::Off;
    let after = Channels::replacing(&[Arc::new(off)], &after);
    assert_eq!(after.all()[0].state(), ChannelState::Off);
    assert!(!after.all()[0].is_up(now));
    let after = Channels::replacing(&[spec], &after);
    assert_eq!(after.all()[0].state(), ChannelState::Active);
}

#[test]
fn a_channel_is_seen_in_one_state_at_a_time() {
    let channels = Channels::new(&[channel("a", &["m"])]);
    let (channel, at) = (&channels.all()[0], |ms: u64| Timestamp(10_000 + ms));
    let label = |ms| channel.status(at(ms)).label;
    assert_eq!(label(0), "active");
    channel.note(Event::Unreachable, at(0), at(0)).unwrap();
    assert_eq!((label(0), label(500)), ("resting", "active"));
    channel.note(Event::Connected, at(0), at(0)).unwrap();
    let wait = Some(Duration::from_secs(5));
    channel
        .note(Event::RateLimited(wait), at(0), at(0))
        .unwrap();
    assert_eq!((label(4999), label(5000)), ("resting", "trial"));
    let status = channel.status(at(0));
    assert_eq!(status.reason, Some(EjectionReason::RateLimited));
    assert_eq!(status.until, Some(at(5000)));
    channel.set_state(ChannelState::Off);
    assert_eq!(label(0), "off");
    assert!(CHANNEL_STATES.contains(&label(0)));
}

#[tokio::test]
async fn a_channel_names_itself_by_its_host_and_credential() {
    let mut spec = Arc::into_inner(channel("a", &["m"])).unwrap();
    spec.auth = Auth::Header(http::HeaderName::from_static("api-key"));
    let live = LiveChannel::of(&Arc::new(spec)).remove(0);
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
    channel.failed(now, now);
    let alive = used().await;
    assert_ne!(dead, alive);
    // Requests that failed together with the first have tried the same address.
    channel.failed(Timestamp(999), now);
    assert_eq!(used().await, alive);
    channel.succeeded(now);
    assert_eq!(used().await, alive, "one request in two would fail");
}

//! Drills: of two channels one fails in every way there is, while creates go on. None is lost, none
//! is made twice, and the channel comes back once it works.
//!
//! `TOLLGATE_DRILL_CREATES=2000` makes as many creates in each drill, at fifty a second.

mod support;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use support::client::{Answer, Body, Request};
use support::{KEY, Setup, Stand, form, form_type, mock_options, png, start_mock};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tollgate::mock::{Fault, Mock};

/// How many creates a second.
const RATE: u32 = 50;

fn creates() -> usize {
    let asked = std::env::var("TOLLGATE_DRILL_CREATES");
    asked.map_or(100, |asked| asked.parse().unwrap())
}

/// A gate before two channels, `bad` and `good`.
struct Drill {
    stand: Stand,
    good: Mock,
}

impl Drill {
    /// `bad` has these lines in its configuration, and is at that address if at none of its own.
    async fn start(lines: &str, elsewhere: Option<SocketAddr>) -> Self {
        Self::start_with(lines, "", elsewhere).await
    }

    /// `good` has lines of its own, too.
    async fn start_with(lines: &str, of_good: &str, elsewhere: Option<SocketAddr>) -> Self {
        let good = start_mock(mock_options()).await;
        let lines = format!("    answer_timeout: 2s\n    read_timeout: 1s\n{lines}");
        let mut setup = Setup::default()
            .replacing("  mock:\n", "  bad:\n")
            .beside(&lines, ("good", good.addr()), of_good)
            .with("\njobs: { poll_after: 200ms, polls_per_second: 1000, unknown_grace: 10s }\n");
        if let Some(address) = elsewhere {
            setup = setup.replacing("    url: http://", &format!("    url: http://{address} # "));
        }
        Self {
            stand: setup.start().await,
            good,
        }
    }

    fn bad(&self) -> &Mock {
        &self.stand.mock
    }

    /// Sets the faults of the bad channel.
    fn fail(&self, faults: &str) {
        let faults = Fault::parse_list(faults).unwrap();
        self.bad().set_faults(faults, None);
    }

    /// How many jobs there are at both channels.
    fn jobs(&self) -> usize {
        self.bad().jobs().len() + self.good.jobs().len()
    }

    /// Makes creates at an even rate, and returns their answers.
    async fn creates(&self, count: usize, request: &Request, rate: u32) -> Vec<Answer> {
        let timed = self.timed_creates(count, request, rate).await;
        timed.into_iter().map(|(answer, _)| answer).collect()
    }

    /// The same, with when each began and was answered.
    async fn timed_creates(
        &self,
        count: usize,
        request: &Request,
        rate: u32,
    ) -> Vec<(Answer, Range<Instant>)> {
        let (began, gap) = (Instant::now(), Duration::from_secs(1) / rate);
        let request = Arc::new(request.clone());
        let mut answers = JoinSet::new();
        for number in 0..count {
            sleep_until(began + gap * u32::try_from(number).unwrap()).await;
            let (request, gate) = (request.clone(), self.stand.gate);
            answers.spawn(async move {
                let began = Instant::now();
                let answer = request.send(gate).await.unwrap();
                (answer, began..Instant::now())
            });
        }
        answers.join_all().await
    }

    /// Every job is charged once, and nothing else is.
    async fn audit(&self, answers: &[Answer]) {
        let created = answers.iter().filter(|answer| answer.status == 200);
        let created = created.count();
        assert_eq!(self.jobs(), created, "jobs at the channels and in answers");
        // What is unknown is looked for on the channel's list for some seconds.
        let began = Instant::now();
        while self.in_flight().await > 0.0 {
            assert!(began.elapsed() < Duration::from_secs(60), "never settled");
            sleep(Duration::from_millis(50)).await;
        }
        let metrics = self.stand.metrics().await;
        let sum = |event: &str| {
            let event = format!("event=\"{event}\"");
            let of = metrics.iter().filter(|(name, _)| {
                name.starts_with("tollgate_list_cost_usd_total") && name.contains(&event)
            });
            of.map(|(_, value)| value).sum::<f64>()
        };
        let expected = created as f64 * 0.4;
        assert!(
            (sum("posted") - expected).abs() < 1e-6,
            "posted {}",
            sum("posted")
        );
        let open = sum("reserved") - sum("voided") - sum("posted");
        assert!(open.abs() < 1e-6, "open {open}");
    }

    /// How often the bad channel was ejected.
    async fn ejections(&self) -> f64 {
        let metrics = self.stand.metrics().await.into_iter();
        let of_bad = metrics.filter(|(name, _)| {
            name.starts_with("tollgate_channel_ejections_total{channel=\"bad\"")
        });
        of_bad.map(|(_, count)| count).sum()
    }

    async fn in_flight(&self) -> f64 {
        let sample = "tollgate_jobs_in_flight{key=\"demo\"}";
        self.stand.metric(sample).await
    }

    /// The bad channel has been healed: it gets creates again, within its pause.
    async fn comes_back(&self) -> Vec<Answer> {
        let before = self.bad().jobs().len();
        let mut answers = Vec::new();
        let began = Instant::now();
        while self.bad().jobs().len() == before {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it does not come back"
            );
            answers.extend(self.creates(5, &small(), RATE).await);
        }
        assert_all_created(&answers);
        answers
    }
}

#[track_caller]
fn assert_all_created(answers: &[Answer]) {
    let failed = answers.iter().filter(|answer| answer.status != 200);
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}

fn small() -> Request {
    Request::create(&form_type(), Body::Length(support::plain_form(), vec![]))
}

/// With a picture of four megabytes, so that it is streamed.
fn large() -> Request {
    let form = form(&[
        ("prompt", b"A calico cat playing a piano"),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
        ("input_reference", &png(4 << 20)),
    ]);
    Request::create(&form_type(), Body::Length(form, vec![]))
}

/// A channel that rests for a second at first, and is probed where its account is refused.
const LINES: &str = "    ejection: { pause: 1s }\n";
const PROBED: &str =
    "    ejection: { pause: 1s }\n    probe: { path: '/v1/videos?limit=1', every: 1s }\n";
/// Long pauses, as by default: the drill is over before they end.
const RESTS: &str = "    ejection: { pause: 30s }\n";

/// The answer proves that nothing was created: no create fails at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_refuses_costs_no_create() {
    for (fault, lines) in [
        ("any:401", PROBED),
        ("any:403", PROBED),
        ("create:402", PROBED),
        ("create:429=1", LINES),
        ("create:429=none", LINES),
        ("create:quota", PROBED),
        ("create:503", LINES),
    ] {
        let drill = Drill::start(lines, None).await;
        drill.fail(fault);
        let mut answers = drill.creates(creates(), &small(), RATE).await;
        let failed: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
        assert!(failed.is_empty(), "{fault}: {failed:?}");
        assert!(drill.ejections().await > 0.0, "{fault} was met");
        drill.fail("");
        answers.extend(drill.comes_back().await);
        drill.audit(&answers).await;
    }
}

/// What became of the create that shows that the channel fails cannot be known: it may fail, and
/// none that comes after its answer. How many come before that depends on the machine; of thousands
/// no more than one in a thousand fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_fails_costs_one_create() {
    for (fault, lines) in [
        ("create:500", RESTS),
        ("create:hang", RESTS),
        ("create:drop-before", RESTS),
    ] {
        let drill = Drill::start(lines, None).await;
        drill.fail(fault);
        let answers = drill.timed_creates(creates(), &small(), RATE).await;
        let failed = answers.iter().filter(|(answer, _)| answer.status != 200);
        let failed: Vec<_> = failed.collect();
        let seen = failed.iter().map(|(_, time)| time.end).min();
        let began =
            |(_, time): &&&(Answer, Range<Instant>)| seen.is_some_and(|seen| time.start > seen);
        let after = failed.iter().filter(began).count();
        if creates() >= 1000 {
            // One before the channel is ejected, and the trial that ends its pause.
            let (before, most) = (failed.len() - after, creates() / 1000);
            let count = format!("{fault}: {before} before it was seen, {after} after that");
            assert!(before <= 1 && failed.len() <= most, "{count}: {failed:?}");
        } else {
            assert_eq!(after, 0, "{fault}: {failed:?}");
        }
        drill.fail("");
        let answers: Vec<_> = answers.into_iter().map(|(answer, _)| answer).collect();
        drill.audit(&answers).await;
    }
}

/// It comes back within its pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_healed_comes_back() {
    for fault in ["create:500", "create:hang"] {
        let drill = Drill::start(LINES, None).await;
        drill.fail(fault);
        let mut answers = drill.creates(10, &small(), RATE).await;
        drill.fail("");
        answers.extend(drill.comes_back().await);
        drill.audit(&answers).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_away_costs_no_create() {
    // Bound, so that nobody else gets the port, but not listening.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let drill = Drill::start(LINES, Some(nobody.local_addr().unwrap())).await;
    let answers = drill.creates(creates(), &small(), RATE).await;
    let failed: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
    assert!(failed.is_empty(), "{failed:?}");
    drill.audit(&answers).await;
}

/// Of bodies that are streamed, only those fail that had begun on the channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_fail_only_where_they_had_begun() {
    for fault in [
        "any:401",
        "create:429=20",
        "create:quota",
        "create:500",
        "create:503",
    ] {
        let drill = Drill::start(RESTS, None).await;
        drill.fail(fault);
        let answers = drill.creates(creates() / 10, &large(), 5).await;
        let failed = answers.iter().filter(|answer| answer.status != 200).count();
        let stats = drill.bad().stats();
        let begun = stats.creates_complete + stats.creates_broken + stats.creates_dropped;
        assert!(begun > 0, "{fault} was met");
        assert_eq!(failed as u64, begun, "{fault}: {answers:?}");
        drill.fail("");
        drill.audit(&answers).await;
    }
}

/// Drained under load: no create goes there any more, every poll is answered, and all of its jobs are
/// settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_drained_under_load() {
    let drill = Drill::start("", None).await;
    let mut answers = drill.creates(creates() / 2, &small(), RATE).await;
    let drain = Request::new("POST", "/channels/bad/drain");
    assert_eq!(drain.send(drill.stand.admin).await.unwrap().status, 200);
    let before = drill.bad().stats().creates_complete;
    assert!(before > 0, "it had creates");
    let create = small();
    let load = drill.creates(creates() / 2, &create, RATE);
    let polls = async {
        let mut failed = Vec::new();
        for job in drill.bad().jobs() {
            let poll = Request::get(&format!("/v1/videos/{}", job.job.id.unwrap())).key(KEY);
            let answer = poll.send(drill.stand.gate).await.unwrap();
            failed.extend((answer.status != 200).then_some(answer));
        }
        failed
    };
    let (more, failed) = tokio::join!(load, polls);
    answers.extend(more);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(
        drill.bad().stats().creates_complete,
        before,
        "creates after it was drained"
    );
    assert_all_created(&answers);
    drill.audit(&answers).await;
}

/// Within three points, over the creates of the drill (5,000 with `TOLLGATE_DRILL_CREATES=5000`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_share_creates_by_their_weights() {
    let drill = Drill::start_with("    weight: 20\n", "    weight: 80\n", None).await;
    let answers = drill.creates(creates(), &small(), 2 * RATE).await;
    assert_all_created(&answers);
    let of_heavy = drill.good.jobs().len() as f64 / answers.len() as f64;
    assert!((0.77..=0.83).contains(&of_heavy), "{of_heavy}");
    drill.audit(&answers).await;
}

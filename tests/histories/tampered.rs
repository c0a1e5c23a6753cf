//! Shows that the model finds faults: after a history without a difference, one thing at a time is
//! made wrong that a faulty gate or ledger could have got wrong, and the model must report it.

use crate::model::Model;
use crate::requests::Sent;
use crate::row::Row;
use crate::run::look;
use crate::step::{Asked, Create, History, Listing, Play, Polling, Render, Start, Status, Step};
use crate::store::Store;
use crate::world::World;

const START: Start = Start {
    time: 1_771_934_410_000,
    channel_skew: 0,
    // The list cost of the second key is limited, and so are the third key's requests.
    limits: [0, 3, 1],
    group_limits: [0, 0],
    listing: [Listing::Whole; 2],
    polling: [Polling::Whole; 2],
    ids: 0,
};

fn create(key: usize, seconds: usize, play: Play) -> Create {
    let asked = Asked {
        key,
        model: 0,
        seconds,
        size: 0,
        prompt: key,
        remix: None,
        idem: None,
    };
    Create {
        gate: 0,
        asked,
        play,
        render: Render::AsAsked,
        leaves: false,
    }
}

/// The requests, whose reservations stand in this order.
const CONFIRMED: usize = 0;
const POSTED: usize = 1;
const UNKNOWN: usize = 2;
const OTHER_KEYS: usize = 3;
const VOIDED: usize = 4;
const FOUND: [usize; 2] = [5, 6];
const LAST: usize = 7;
const STATES: [&str; 8] = [
    "confirmed",
    "posted",
    "unknown",
    "confirmed",
    "voided",
    "confirmed",
    "confirmed",
    "confirmed",
];

fn steps() -> Vec<Step> {
    let named = |mut create: Create| {
        create.asked.idem = Some(0);
        create
    };
    // Not to be taken for the others.
    let lost = |seconds: usize| {
        let mut create = create(0, seconds, Play::Lost);
        create.asked.prompt = 2;
        create
    };
    let corrected = Create {
        render: Render::Seconds(2),
        ..create(0, 0, Play::Answer)
    };
    vec![
        Step::Create(named(create(0, 0, Play::Answer))),
        Step::Create(create(0, 0, Play::Ended(Status::Completed))),
        Step::Create(create(1, 1, Play::Hold)),
        Step::Create(create(2, 0, Play::Answer)),
        Step::Create(create(0, 0, Play::Ended(Status::Failed))),
        Step::Create(lost(1)),
        Step::Create(lost(2)),
        Step::Round(0),
        Step::Release(0, Play::Lost),
        Step::Create(corrected),
    ]
}

/// What is made wrong, how, and how the model reports it.
type Tampering = (&'static str, fn(&mut Vec<Row>), &'static str);

fn swap_jobs(rows: &mut [Row], [one, other]: [usize; 2]) {
    let job = |row: &Row| (row.job.clone(), row.upstream.clone());
    let (of_one, of_other) = (job(&rows[one]), job(&rows[other]));
    (rows[one].job, rows[one].upstream) = of_other;
    (rows[other].job, rows[other].upstream) = of_one;
}

const ROWS: [Tampering; 28] = [
    (
        "a cost without a job",
        |rows| rows[UNKNOWN].billed += 1,
        "does not cost what was asked for",
    ),
    (
        "a cost with a job",
        |rows| rows[CONFIRMED].list += 1,
        "costs neither what was asked for nor",
    ),
    (
        "seconds",
        |rows| rows[CONFIRMED].seconds = 8,
        "costs neither what was asked for nor",
    ),
    (
        "a correction that is left out",
        |rows| {
            let asked = rows[CONFIRMED].clone();
            let last = &mut rows[LAST];
            (last.seconds, last.list, last.billed) = (asked.seconds, asked.list, asked.billed);
        },
        "a correction was left out for no limit",
    ),
    (
        "the key",
        |rows| rows[CONFIRMED].key = "k1".to_owned(),
        "not the payer",
    ),
    (
        "the group",
        |rows| rows[CONFIRMED].group = "g1".to_owned(),
        "not the payer",
    ),
    (
        "the currency",
        |rows| rows[OTHER_KEYS].currency = "USD".to_owned(),
        "not the payer",
    ),
    (
        "the multiplier",
        |rows| rows[CONFIRMED].multiplier = 2000,
        "not the payer",
    ),
    (
        "the model",
        |rows| rows[CONFIRMED].model = "beta".to_owned(),
        "another model",
    ),
    (
        "jobs of two keys",
        |rows| swap_jobs(rows, [CONFIRMED, OTHER_KEYS]),
        "a job of another key",
    ),
    (
        "jobs of one key",
        |rows| swap_jobs(rows, FOUND),
        "asked for something else than the job's request did",
    ),
    (
        "a job that there is not",
        |rows| rows[CONFIRMED].upstream = Some("video_9".to_owned()),
        "no such job",
    ),
    (
        "a job that is charged twice",
        |rows| {
            let twice = Row {
                id: "twice".to_owned(),
                ..rows[CONFIRMED].clone()
            };
            rows.push(twice);
        },
        "a job with two reservations",
    ),
    (
        "a request that is charged twice",
        |rows| rows[CONFIRMED].created = rows[POSTED].created,
        "a request with two reservations",
    ),
    (
        "a reservation that nobody asked for",
        |rows| rows[CONFIRMED].created += 1,
        "no request made this",
    ),
    (
        "an open reservation that is gone",
        |rows| drop(rows.remove(CONFIRMED)),
        "lost: Row",
    ),
    (
        "a client's job that is gone",
        |rows| (rows[CONFIRMED].job, rows[CONFIRMED].upstream) = (None, None),
        "which is not its own",
    ),
    (
        "an unknown reservation that is voided",
        |rows| rows[UNKNOWN].state = "voided".to_owned(),
        "charged to nobody",
    ),
    (
        "a request that stays pending",
        |rows| rows[UNKNOWN].state = "pending".to_owned(),
        "pending, and nobody waits for it",
    ),
    (
        "a job that is posted before its end",
        |rows| rows[CONFIRMED].state = "posted".to_owned(),
        "does not end as",
    ),
    (
        "a job that is voided before its end",
        |rows| rows[CONFIRMED].state = "voided".to_owned(),
        "does not end as",
    ),
    (
        "a failed job that is posted",
        |rows| rows[VOIDED].state = "posted".to_owned(),
        "does not end as",
    ),
    (
        "a completed job that is voided",
        |rows| rows[POSTED].state = "voided".to_owned(),
        "does not end as",
    ),
    (
        "what was posted and has changed",
        |rows| rows[POSTED].state = "confirmed".to_owned(),
        "was Row { id: ",
    ),
    (
        "a limit that is exceeded",
        |rows| rows[UNKNOWN].list = 1_700_000_000,
        "ListCost Total of 1600000000 was 800000000, is 1700000000",
    ),
    (
        "what a limit has counted",
        |rows| rows[OTHER_KEYS].state = "voided".to_owned(),
        "Requests Minute of 3: counted 1, summed 0",
    ),
    (
        "the metrics",
        |rows| rows[CONFIRMED].billed += 1,
        "reserved less voided: the metrics say",
    ),
    ("the bill", |rows| rows[POSTED].billed += 1, "the bill says"),
];

/// The same of what clients were told.
type Told = (&'static str, fn(&mut World<'_>), &'static str);

const TOLD: [Told; 6] = [
    (
        "a request that is refused for no limit",
        |world| tell(world, LAST, 429, None),
        "got 429 , expected 200",
    ),
    (
        "a request that gets no answer",
        |world| world.made[LAST].sent = Sent::Unanswered,
        "got no answer",
    ),
    (
        "an answer to who has left the configuration",
        |world| {
            let mut plan = (*world.made[LAST].plan).clone();
            plan.groups[0] = None;
            world.made[LAST].plan = plan.into();
        },
        "expected 401",
    ),
    (
        "a job that was another's",
        |world| tell(world, LAST, 200, Some("video_9")),
        "which is not its own",
    ),
    (
        "a second job under one Idempotency-Key",
        |world| world.made[LAST].idem = world.made[CONFIRMED].idem.clone(),
        "2 jobs, told of",
    ),
    (
        "an end that is not noted",
        |world| world.ended.push("video_0".to_owned()),
        "a gate was told that it has ended",
    ),
];

fn tell(world: &mut World<'_>, number: usize, status: u16, id: Option<&str>) {
    world.made[number].sent = Sent::Answered {
        status,
        code: String::new(),
        id: id.map(str::to_owned),
        replayed: false,
    };
}

fn assert_reported(what: &str, wrong: &[String], expected: &str) {
    let reports = |wrong: &String| wrong.contains(expected);
    assert!(
        wrong.iter().any(reports),
        "{what}: {expected:?} is not in {wrong:#?}"
    );
}

/// A history that was carried out, without a difference.
struct Played<'a> {
    world: World<'a>,
    model: Model,
    /// The model as it was before the last step.
    before: Model,
}

impl<'a> Played<'a> {
    /// After some steps that come first.
    async fn new(store: &'a Store, first: &[Step]) -> Self {
        let steps = first.iter().copied().chain(steps()).collect();
        let history = History {
            start: START,
            steps,
        };
        let mut world = World::start(store, &history, 1).await;
        let mut model = Model::default();
        let mut before = model.clone();
        for step in &history.steps {
            before = model.clone();
            world.take(*step).await;
            let wrong = look(&mut world, &mut model, Some(true)).await;
            assert_eq!(wrong, Vec::<String>::new(), "{step:?}");
        }
        let played = Self {
            world,
            model,
            before,
        };
        let states: Vec<_> = played.model.before.iter().map(|row| &*row.state).collect();
        assert_eq!(states, STATES);
        let rows = played.model.before.clone();
        assert_eq!(played.look_at(rows).await, Vec::<String>::new());
        played
    }

    /// What the model says after the last step, where these are the reservations.
    async fn look_at(&self, rows: Vec<Row>) -> Vec<String> {
        self.before.clone().check_rows(&self.world, rows).await
    }

    async fn assert_rows_are_checked(&self) {
        for (what, tamper, expected) in ROWS {
            let mut tampered = self.model.before.clone();
            tamper(&mut tampered);
            assert_reported(what, &self.look_at(tampered).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_reports_what_is_made_wrong() {
    let store = Store::sqlite();
    let mut played = Played::new(&store, &[]).await;
    played.assert_rows_are_checked().await;
    for (what, tamper, expected) in TOLD {
        let (made, ended) = (played.world.made.clone(), played.world.ended.clone());
        tamper(&mut played.world);
        let wrong = played.look_at(played.model.before.clone()).await;
        (played.world.made, played.world.ended) = (made, ended);
        assert_reported(what, &wrong, expected);
    }
    let Played {
        mut world, model, ..
    } = played;
    let owner = std::mem::replace(&mut world.made[CONFIRMED].asked.key, 2);
    let wrong = world.check_reach(true).await;
    for expected in ["404 instead of 200", "got the video of request"] {
        assert_reported("a job that another key reaches", &wrong, expected);
    }
    world.made[CONFIRMED].asked.key = owner;
    // What is open still is reported in the end.
    world.end_all();
    for (wrong, expected) in [
        (model.check_found_out(&world), "not found out"),
        (model.check_ended(&world), "its end was not seen"),
        (model.check_resolved(), "never resolved"),
    ] {
        assert_reported("what is open in the end", &wrong, expected);
    }
}

/// A clock that was wrong excuses nothing that comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_reports_what_is_made_wrong_after_a_wrong_clock() {
    let store = Store::sqlite();
    let wrong_clock = [Step::Skew(0, -3600), Step::Round(0), Step::Skew(0, 0)];
    let played = Played::new(&store, &wrong_clock).await;
    played.assert_rows_are_checked().await;
}

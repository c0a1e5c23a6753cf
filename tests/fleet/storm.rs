//! Load that goes on while something breaks, and the audit once the dust has settled.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::books::Row;
use crate::stage::{LIST_NANOS, Plan, Stage, create, hex};

pub const KEYS: [&str; 4] = ["amber", "birch", "cedar", "dune"];
const CLIENTS: usize = 16;
/// One create in so many asks for a job that fails, and is not charged for in the end.
const FAILS_EVERY: usize = 9;
/// One in so many is answered at once.
const SOON_EVERY: usize = 4;

/// How many times each thing is killed.
pub fn kills() -> usize {
    let kills = std::env::var("TOLLGATE_KILLS");
    kills.map_or(6, |kills| kills.parse().unwrap())
}

/// How many jobs a key has a budget for: one half of the keys spend theirs at once and are
/// refused from then on, the other half do not come to the end of it.
fn budget(key: &str) -> usize {
    let is_small = KEYS[..2].contains(&key);
    kills() * if is_small { 4 } else { 25 }
}

/// Keys with a budget each.
pub fn with_budgets(plan: Plan) -> Plan {
    let key = |name: &str| {
        let cents = budget(name) * 40;
        let limit = format!("list_cost_usd: {}.{:02}/total", cents / 100, cents % 100);
        (name.to_owned(), limit)
    };
    Plan {
        keys: KEYS.map(key).into(),
        ..plan
    }
}

/// A storm: clients that create without a pause, and what they were told.
pub struct Storm {
    pub stage: Arc<Stage>,
    numbers: AtomicUsize,
    over: AtomicBool,
    /// Whether clients go at random moments without their answer.
    fickle: bool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Jobs by their prompts.
    jobs: Vec<(String, String)>,
    /// Creates whose answer did not come, or told of no job.
    lost: usize,
    /// Creates that were refused for the budget.
    refused: usize,
}

impl Storm {
    pub fn new(stage: Stage, fickle: bool) -> Arc<Self> {
        Arc::new(Self {
            stage: Arc::new(stage),
            numbers: AtomicUsize::default(),
            over: AtomicBool::default(),
            fickle,
            told: Mutex::default(),
        })
    }

    /// Keeps the load on while `breaking` breaks things, which must cost some client its
    /// answer, and judges what is left. How many jobs no client was told of.
    pub async fn rage(self: Arc<Self>, breaking: impl Future<Output = ()>) -> usize {
        let storm = self.clone();
        let untold = storm.blow(breaking).await;
        assert!(self.told.lock().unwrap().lost > 0, "nothing was broken");
        untold
    }

    /// The same where all clients may get their answers in the end.
    pub async fn blow(self: Arc<Self>, breaking: impl Future<Output = ()>) -> usize {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let storm = self.clone();
            clients.spawn(async move { storm.client(client).await });
        }
        let storm = self.clone();
        let watching = tokio::spawn(async move { storm.watch_budgets().await });
        breaking.await;
        self.over.store(true, Ordering::Relaxed);
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        watching.await.unwrap();
        // Long enough for the leases of dead gates to end.
        self.stage.settled(Duration::from_secs(90)).await;
        self.audit().await;
        let (told, lost, refused) = {
            let told = self.told.lock().unwrap();
            (told.jobs.len(), told.lost, told.refused)
        };
        self.spend().await;
        self.audit().await;
        let jobs = self.stage.mock.jobs();
        let untold = jobs
            .iter()
            .filter(|job| job.job.prompt.contains(" n="))
            .count()
            - told;
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for row in self.stage.books.rows().await {
            *ends.entry(row.outcome).or_default() += 1;
        }
        println!("{told} jobs told and {untold} not; {lost} creates lost, {refused} refused");
        println!("{ends:?}");
        untold
    }

    async fn client(&self, client: usize) {
        let mut turn = client;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let key = KEYS[number % KEYS.len()];
            // Slow ones are under way whenever something breaks, of every key.
            let fault = match number / KEYS.len() {
                n if n.is_multiple_of(FAILS_EVERY) => " [mock:fail]",
                n if n.is_multiple_of(SOON_EVERY) => "",
                _ => " [mock:slow=100]",
            };
            let prompt = format!("key={key} n={number}{fault}");
            if self.fickle && !number.is_multiple_of(3) {
                self.send_and_go(turn, key, &prompt).await;
            } else if !self.create(turn, key, &prompt).await {
                // The budget is spent, or nobody answers: not as fast as possible again.
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Sends a create and notes what comes of it. Whether that is a job.
    async fn create(&self, turn: usize, key: &str, prompt: &str) -> bool {
        let gate = self.stage.gate(turn % self.stage.gates());
        let answer = create(key, prompt).send(gate).await;
        let mut told = self.told.lock().unwrap();
        match answer {
            Ok(answer) if answer.status == 200 => {
                let job = answer.json()["id"].as_str().unwrap().to_owned();
                told.jobs.push((prompt.into(), job));
                return true;
            }
            Ok(answer) if answer.status == 429 => {
                assert_eq!(answer.code(), "insufficient_quota");
                told.refused += 1;
            }
            Ok(answer) => {
                assert!((502..=504).contains(&answer.status), "{answer:?}");
                told.lost += 1;
            }
            Err(_) => told.lost += 1,
        }
        false
    }

    /// Sends a create, or a part of it, and goes.
    async fn send_and_go(&self, turn: usize, key: &str, prompt: &str) {
        let gate = self.stage.gate(turn % self.stage.gates());
        let bytes = create(key, prompt).pieces().concat();
        let Ok(mut stream) = TcpStream::connect(gate).await else {
            return;
        };
        // All of it, most of the time; its last byte is what counts.
        let sent = match random(4) {
            0 => random(bytes.len()),
            1 => bytes.len() - 1,
            _ => bytes.len(),
        };
        let _ = stream.write_all(&bytes[..sent]).await;
        sleep(Duration::from_millis(random(15) as u64)).await;
        self.told.lock().unwrap().lost += 1;
    }

    /// Looks again and again at what each key owes.
    async fn watch_budgets(&self) {
        let mut samples = 0;
        while samples < 10 || !self.over.load(Ordering::Relaxed) {
            // The database may be away, or its schema not there yet.
            if let Ok(owed) = self.stage.books.owed().await {
                samples += 1;
                for (key, nanos) in owed {
                    let max = budget(&key) as u64 * LIST_NANOS;
                    assert!(nanos <= max, "{key} owes {nanos} of {max} nanos");
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every job at the channel is one charge of the key that asked for it, and nothing
    /// else is owed.
    async fn audit(&self) {
        let (jobs, stats) = (self.stage.mock.jobs(), self.stage.mock.stats());
        assert_eq!(stats.creates_complete, stats.creates_accepted);
        assert_eq!(stats.creates_accepted as usize, jobs.len());
        let rows = self.stage.books.rows().await;
        let (charged, others): (Vec<Row>, _) = rows.into_iter().partition(|r| r.job.is_some());
        for row in others {
            assert_eq!(row.state, "voided", "{row:?}");
        }
        assert_eq!(charged.len(), jobs.len());
        let name = |row: Row| (row.job.clone().unwrap(), row);
        let charged: HashMap<String, Row> = charged.into_iter().map(name).collect();
        let mut owed: HashMap<&str, usize> = HashMap::new();
        for job in &jobs {
            let (id, prompt) = (job.job.id.as_ref().unwrap(), &job.job.prompt);
            let row = charged
                .get(id)
                .unwrap_or_else(|| panic!("{job:?} is charged to nobody"));
            assert_eq!(Some(row.key.as_str()), owner(prompt), "{job:?}: {row:?}");
            assert_eq!(row.prompt, hex(&Sha256::digest(prompt)), "{job:?}: {row:?}");
            assert_eq!(row.list_nanos, LIST_NANOS);
            let end = match job.job.status {
                "completed" => ("posted", "completed"),
                "failed" => ("voided", "failed"),
                other => panic!("{other}: {job:?}"),
            };
            assert_eq!((row.state.as_str(), row.outcome.as_str()), end, "{job:?}");
            if row.state == "posted" {
                *owed.entry(owner(prompt).unwrap()).or_default() += 1;
            }
        }
        for (key, count) in owed {
            let max = budget(key);
            assert!(count <= max, "{key} has {count} jobs of {max}");
        }
        for (prompt, id) in &self.told.lock().unwrap().jobs {
            let told = jobs.iter().find(|job| job.job.id.as_ref() == Some(id));
            assert_eq!(told.map(|job| &job.job.prompt), Some(prompt));
        }
    }

    /// Spends what is left: each key gets exactly what its budget allows, no job less for
    /// all that was lost.
    async fn spend(&self) {
        for key in KEYS {
            let mut clients = JoinSet::new();
            let count = self.stage.mock.jobs().len();
            for client in 0..CLIENTS {
                let stage = self.stage.clone();
                clients.spawn(async move {
                    for turn in 0.. {
                        let prompt = format!("key={key} last={count}-{client}-{turn}");
                        let gate = stage.gate((client + turn) % stage.gates());
                        let answer = create(key, &prompt).send(gate).await.unwrap();
                        match answer.status {
                            200 => {}
                            429 => return assert_eq!(answer.code(), "insufficient_quota"),
                            // A channel that was away is tried again after a while.
                            503 => sleep(Duration::from_millis(100)).await,
                            _ => panic!("{answer:?}"),
                        }
                    }
                });
            }
            while let Some(client) = clients.join_next().await {
                client.unwrap();
            }
        }
        self.stage.settled(Duration::from_secs(60)).await;
        let jobs = self.stage.mock.jobs();
        for key in KEYS {
            let of = |status| {
                let jobs = jobs.iter().filter(|job| job.job.status == status);
                jobs.filter(|job| owner(&job.job.prompt) == Some(key))
                    .count()
            };
            assert_eq!(of("completed"), budget(key), "{key}");
        }
    }
}

/// Whose job it is, by its prompt.
fn owner(prompt: &str) -> Option<&str> {
    prompt.strip_prefix("key=")?.split(' ').next()
}

/// Below `most`, by the keys that the standard library seeds its hash maps with.
pub fn random(below: usize) -> usize {
    use std::hash::{BuildHasher as _, RandomState};
    let number = RandomState::new().hash_one(below);
    usize::try_from(number % below.max(1) as u64).unwrap()
}

/// A random moment later.
pub async fn a_while(most_ms: usize) {
    sleep(Duration::from_millis(random(most_ms) as u64)).await;
}

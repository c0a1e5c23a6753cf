//! Mixed requests: whatever clients do, in an order that a seed decides.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tollgate::mock::Fault;

use crate::support::client::{Answer, Body, Connection, Request};
use crate::support::{KEY, STUDIO, Stand, form, form_type, png};

/// A client key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub name: &'static str,
    pub secret: &'static str,
}

const fn client(name: &'static str, secret: &'static str) -> Client {
    Client { name, secret }
}

pub const FREE: Client = client("export-a", "sk-tollgate-export-a");
pub const LIMITED: Client = client("export-b", "sk-tollgate-export-b");
pub const CLIENTS: [Client; 4] = [
    client("demo", KEY),
    FREE,
    client("studio-a", STUDIO),
    LIMITED,
];

/// How many clients there are at a time.
const CLIENTS_AT_ONCE: u64 = 12;

/// What a prompt makes the channel do. Those that render something else are dearer or
/// cheaper than what was asked for.
const FAULTS: &[&str] = &[
    "fail",
    "moderated",
    "cancelled",
    "400",
    "401",
    "429",
    "500",
    "502",
    "503",
    "quota",
    "slow=40",
    "slow=1500",
    "trickle",
    "early=400",
    "drop-before",
    "drop-body",
    "drop-after",
    "drop-answer",
    "no-id",
    "garbage",
    "huge=3000000",
];
const OTHERS: &[&str] = &["other-seconds", "other-size", "other-seconds=12"];

/// Faults of the whole channel, which come and go.
const WEATHER: &[&str] = &[
    "poll:500",
    "poll:garbage",
    "poll:401",
    "poll:drop-after",
    "poll:slow=30",
    "list:500",
    "list:garbage",
    "content:500",
    "delete:500",
    "content:drop-answer",
    "list:slow=50",
];

const SIZES: [&str; 4] = ["720x1280", "1280x720", "1024x1792", "1792x1024"];

/// The requests and what their clients were told.
pub struct Traffic {
    seed: u64,
    /// The jobs that a client was told of, and whose it is.
    pub told: Mutex<HashMap<String, Client>>,
    /// Those of which a deletion was tried.
    pub deleted: Mutex<Vec<String>>,
    statuses: Mutex<BTreeMap<u16, u64>>,
    count: AtomicU64,
}

impl Traffic {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            told: Mutex::default(),
            deleted: Mutex::default(),
            statuses: Mutex::default(),
            count: AtomicU64::new(0),
        }
    }

    /// How many answers of each status came; 0 stands for none.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        self.statuses.lock().unwrap().clone()
    }

    pub async fn run(&self, stand: &Stand, requests: u64) {
        let clients = (0..CLIENTS_AT_ONCE).map(|number| {
            let dice = Dice(
                self.seed
                    .wrapping_mul(CLIENTS_AT_ONCE)
                    .wrapping_add(number + 1),
            );
            self.play(stand, dice, requests / CLIENTS_AT_ONCE)
        });
        futures_util::future::join_all(clients).await;
    }

    async fn play(&self, stand: &Stand, mut dice: Dice, requests: u64) {
        for _ in 0..requests {
            // Those with limits are refused often: they get fewer turns.
            let client = match dice.below(6) {
                client @ 0..4 => CLIENTS[client as usize % 2],
                client => CLIENTS[client as usize - 2],
            };
            let one = One {
                traffic: self,
                stand,
                client,
                number: self.count.fetch_add(1, Ordering::Relaxed),
            };
            one.make(&mut dice).await;
        }
    }

    fn saw(&self, client: Client, answer: Option<&Answer>) {
        let status = answer.map_or(0, |answer| answer.status);
        *self.statuses.lock().unwrap().entry(status).or_default() += 1;
        assert_ne!(status, 499, "no client sees this status");
        let Some(answer) = answer.filter(|answer| answer.status == 200) else {
            return;
        };
        let job = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        if job["object"] == "video" && job["id"].is_string() {
            let id = job["id"].as_str().unwrap().to_owned();
            let before = self.told.lock().unwrap().insert(id.clone(), client);
            assert!(
                before.is_none_or(|before| before == client),
                "{id} has two owners"
            );
        }
    }

    /// A job that this client was told of.
    fn job(&self, client: Client, dice: &mut Dice) -> Option<String> {
        let told = self.told.lock().unwrap();
        let own = told.iter().filter(|(_, owner)| **owner == client);
        let own: Vec<_> = own.map(|(id, _)| id.clone()).collect();
        (!own.is_empty()).then(|| dice.pick(&own).clone())
    }
}

/// One request, or several that belong together.
struct One<'a> {
    traffic: &'a Traffic,
    stand: &'a Stand,
    client: Client,
    number: u64,
}

impl One<'_> {
    async fn make(&self, dice: &mut Dice) {
        match dice.below(100) {
            0..28 => self.send(self.create(dice, "")).await,
            28..46 => {
                let fault = *dice.pick(FAULTS);
                self.send(self.create(dice, fault)).await;
            }
            // A correction that a limit forbids is left out: not for keys with limits.
            46..50 if matches!(self.client.name, "demo" | "export-a") => {
                let fault = *dice.pick(OTHERS);
                self.send(self.create(dice, fault)).await;
            }
            46..54 => self.send(self.upload(dice)).await,
            54..60 => self.remix(dice).await,
            60..72 => self.about_a_job(dice).await,
            72..76 => self.delete(dice).await,
            76..80 => self.send(Request::get("/v1/videos?limit=5")).await,
            80..86 => self.repeat(dice).await,
            86..92 => self.be_refused(dice).await,
            92..99 => self.vanish(dice).await,
            _ => {
                let weather: Fault = dice.pick(WEATHER).parse().unwrap();
                self.stand.mock.set_faults(vec![weather], Some(3));
            }
        }
    }

    async fn send(&self, request: Request) {
        let answer = request.key(self.client.secret).send(self.stand.gate).await;
        self.traffic.saw(self.client, answer.as_ref().ok());
    }

    fn prompt(&self, fault: &str) -> String {
        let (name, number) = (self.client.name, self.number);
        match fault {
            "" => format!("key={name} n={number} café"),
            fault => format!("key={name} n={number} [mock:{fault}]"),
        }
    }

    /// What may be asked for; the smaller model knows two sizes.
    fn shape(&self, dice: &mut Dice) -> [&'static str; 3] {
        let pro = self.client.name != "studio-a" && dice.below(3) == 0;
        let model = if pro { "sora-2-pro" } else { "sora-2" };
        let size = SIZES[dice.below(if pro { 4 } else { 2 }) as usize];
        [model, size, *dice.pick(&["4", "8"])]
    }

    fn create(&self, dice: &mut Dice, fault: &str) -> Request {
        let ([model, size, seconds], prompt) = (self.shape(dice), self.prompt(fault));
        if dice.below(3) == 0 {
            let body = json!({"model": model, "prompt": prompt, "seconds": seconds, "size": size});
            return post(
                "/v1/videos",
                "application/json",
                body.to_string().into_bytes(),
                dice,
            );
        }
        let fields = [
            ("prompt", prompt.as_bytes()),
            ("model", model.as_bytes()),
            ("seconds", seconds.as_bytes()),
            ("size", size.as_bytes()),
        ];
        // What is left out has a default.
        let fields = &fields[..4 - dice.below(3) as usize];
        post("/v1/videos", &form_type(), form(fields), dice)
    }

    fn upload(&self, dice: &mut Dice) -> Request {
        let prompt = self.prompt("");
        let image = png(1000 + dice.below(300_000) as usize);
        let body = form(&[
            ("prompt", prompt.as_bytes()),
            ("input_reference", &image),
            ("model", b"sora-2"),
            ("size", b"1280x720"),
        ]);
        post("/v1/videos", &form_type(), body, dice)
    }

    async fn remix(&self, dice: &mut Dice) {
        if let Some(source) = self.traffic.job(self.client, dice) {
            let fault = if dice.below(4) == 0 {
                *dice.pick(FAULTS)
            } else {
                ""
            };
            let body = json!({"prompt": self.prompt(fault)})
                .to_string()
                .into_bytes();
            let path = format!("/v1/videos/{source}/remix");
            self.send(post(&path, "application/json", body, dice)).await;
        }
    }

    async fn about_a_job(&self, dice: &mut Dice) {
        if let Some(id) = self.traffic.job(self.client, dice) {
            let what = *dice.pick(&["", "", "/content", "/content?variant=thumbnail"]);
            self.send(Request::get(&format!("/v1/videos/{id}{what}")))
                .await;
        }
    }

    async fn delete(&self, dice: &mut Dice) {
        if let Some(id) = self.traffic.job(self.client, dice) {
            self.traffic.deleted.lock().unwrap().push(id.clone());
            self.send(Request::new("DELETE", &format!("/v1/videos/{id}")))
                .await;
        }
    }

    /// The same request under one idempotency key: at once, and once more.
    async fn repeat(&self, dice: &mut Dice) {
        let fault = if dice.below(3) == 0 {
            *dice.pick(FAULTS)
        } else {
            ""
        };
        let name = format!("{}-{}", self.client.name, self.number);
        let request = self.create(dice, fault).header("Idempotency-Key", &name);
        let again = request.clone();
        tokio::join!(self.send(request.clone()), self.send(again));
        self.send(request).await;
    }

    async fn be_refused(&self, dice: &mut Dice) {
        let prompt = self.prompt("");
        let fields = [("prompt", prompt.as_bytes()), ("model", &b"sora-2"[..])];
        let request = |extra| {
            let body = form(&[&fields[..], &[extra]].concat());
            Request::create(&form_type(), Body::Length(body, vec![]))
        };
        let mut request = match dice.below(4) {
            0 => request(("seconds", b"5")),
            1 => request(("quality", b"high")),
            2 => request(("size", b"1x1")),
            _ => {
                let other = CLIENTS.iter().find(|other| **other != self.client);
                let id = self.traffic.job(*other.unwrap(), dice);
                Request::get(&format!("/v1/videos/{}", id.unwrap_or("video_1".into())))
            }
        };
        request.headers.retain(|(name, _)| name != "Authorization");
        self.send(request).await;
    }

    /// A client that goes away: within its body, right after it, or within the answer.
    async fn vanish(&self, dice: &mut Dice) {
        let fault = *dice.pick(&["", "slow=50", "drop-after"]);
        let pieces = self.create(dice, fault).key(self.client.secret).pieces();
        let bytes = pieces.concat();
        let sent = match dice.below(3) {
            0 => dice.below(bytes.len() as u64) as usize,
            _ => bytes.len(),
        };
        let mut connection = Connection::open(self.stand.gate).await.unwrap();
        let _ = connection.stream.write_all(&bytes[..sent]).await;
        if dice.below(2) == 0 {
            // The gate has seen all of it, and may have answered.
            let _ = connection.stream.flush().await;
            tokio::task::yield_now().await;
        }
        self.traffic.saw(self.client, None);
    }
}

fn post(path: &str, content_type: &str, body: Vec<u8>, dice: &mut Dice) -> Request {
    let cuts: Vec<_> = (0..dice.below(4))
        .map(|_| 1 + dice.below(4000) as usize)
        .collect();
    let mut request = Request::new("POST", path).header("Content-Type", content_type);
    request.body = Some(match dice.below(3) {
        0 => Body::Chunked(body, cuts),
        _ => Body::Length(body, cuts),
    });
    request
}

/// A linear congruential generator: the same numbers for the same seed (Knuth, MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

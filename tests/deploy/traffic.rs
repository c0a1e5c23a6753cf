//! A gate before two channels with money in many states: what a run leaves on the meters.

use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tollgate::ledger::State;
use tollgate::mock::{Fault, Mock};

use crate::engines::Engine;
use crate::support::client::{Answer, Body, Request};
use crate::support::{KEY, STUDIO, Setup, Stand, form, form_type, mock_options, start_mock, until};

/// The keys whose jobs are the money: the secret of each, by its name.
const CLIENTS: [(&str, &str); 4] = [
    ("export-a", "sk-tollgate-export-a"),
    ("resale-a", "sk-tollgate-resale-a"),
    ("below-cost-a", "sk-tollgate-below-cost-a"),
    ("demo", KEY),
];
/// A key with a budget for one video, and one that may ask once.
const CAPPED: &str = "sk-tollgate-capped";
const LIMITED: &str = "sk-tollgate-limited";

/// What becomes of jobs: half of them fail.
const FATES: [&str; 4] = ["", "fail", "fail", "other-seconds=12"];
/// The last one costs more on `second` than the list price.
const VIDEOS: [(&str, &str); 3] = [
    ("sora-2", "720x1280"),
    ("sora-2", "1280x720"),
    ("sora-2-pro", "1792x1024"),
];

/// A stand whose second channel is beside it.
pub struct Traffic {
    pub stand: Stand,
    second: Mock,
}

impl Traffic {
    pub async fn start(engine: &Engine) -> Self {
        let second = start_mock(mock_options()).await;
        let ejection = "    ejection: { failures: 1000 }\n";
        let factor = format!("    purchase: {{ currency: USD, factor: 0.8 }}\n{ejection}");
        let table = format!(
            "    purchase:\n      currency: USD\n      prices:\n        \
             sora-2: {{ 720x1280: 0.07, 1280x720: 0.075 }}\n        \
             sora-2-pro: {{ 720x1280: 0.25, 1280x720: 0.26, 1024x1792: 0.42, 1792x1024: 0.55 }}\n\
             {ejection}  third:\n    url: http://127.0.0.1:9\n    auth: none\n    \
             models: [sora-3]\n    state: off\n"
        );
        // Its only channel is off.
        let catalog = "catalog:\n  sora-3:\n    seconds: { allowed: [\"4\"], default: \"4\" }\n    \
                       sizes: { default: 720x1280, usd_per_second: { 720x1280: 0.20 } }\n";
        let key = |name: &str, secret: &str, more: &str| {
            let digest = Sha256::digest(secret).into_iter();
            let digest: String = digest.map(|byte| format!("{byte:02x}")).collect();
            format!("  - {{ name: {name}, sha256: {digest}, {more} }}\n")
        };
        let lines = [
            key("export-a", CLIENTS[0].1, "group: export"),
            key("resale-a", CLIENTS[1].1, "group: resale"),
            key("below-cost-a", CLIENTS[2].1, "group: below-cost"),
            key(
                "capped",
                CAPPED,
                "group: resale, limits: { list_cost_usd: 0.42/total }",
            ),
            key(
                "limited",
                LIMITED,
                "group: export, limits: { requests: 1/total }",
            ),
            "jobs: { poll_after: 200ms, polls_per_second: 1000, unknown_grace: 1h }\n".into(),
        ];
        let groups = "groups:\n  \
                      export: { multiplier: 1.05, currency: USD, limits: { billed_cost: 1000/month } }\n  \
                      resale: { multiplier: 1.5, currency: USD }\n  \
                      below-cost: { multiplier: 0.5, currency: USD }\n";
        let mut setup = Setup::default()
            .replacing("  mock:\n", "  first:\n")
            .beside(&factor, ("second", second.addr()), &table)
            .replacing("groups:\n", groups)
            .replacing("catalog:\n", catalog)
            .with(&lines.concat());
        setup.ledger = engine.open();
        let stand = setup.start().await;
        // What is unknown stays so.
        for mock in [&stand.mock, &second] {
            mock.set_faults(Fault::parse_list("list:500").unwrap(), None);
        }
        Self { stand, second }
    }

    async fn create(&self, secret: &str, (model, size): (&str, &str), fault: &str) -> Answer {
        let prompt = format!("a cat [mock:{fault}]");
        let body = form(&[
            ("prompt", prompt.as_bytes()),
            ("model", model.as_bytes()),
            ("seconds", b"4"),
            ("size", size.as_bytes()),
        ]);
        let create = Request::create(&form_type(), Body::Length(body, vec![])).by(secret);
        create.send(self.stand.gate).await.unwrap()
    }

    async fn control(&self, action: &str) {
        let control = Request::new("POST", &format!("/channels/{action}"));
        let answer = control.send(self.stand.admin).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Waits until only reservations of unknown outcome are open.
    async fn settled(&self) {
        until("only unknown outcomes are open", async || {
            let open = self.stand.handle.ledger().count_unresolved().await.unwrap();
            open.iter().all(|open| open.state == State::Unknown)
        })
        .await;
    }

    /// A create of each kind by each client.
    async fn videos(&self) {
        let kinds = FATES.iter().flat_map(|fate| {
            let clients = CLIENTS.iter();
            clients
                .flat_map(move |(_, secret)| VIDEOS.iter().map(move |video| (secret, video, fate)))
        });
        let creates = kinds.map(|(secret, video, fate)| self.create(secret, *video, fate));
        for answer in join_all(creates).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        self.settled().await;
    }

    /// Has something of each kind happen but for what breaks the gate. `seen` waits until an
    /// expression gives a number: a series that begins with its first event shows only the next ones
    /// as an increase.
    pub async fn run(&self, seen: impl AsyncFn(&str)) {
        assert_eq!(self.create(KEY, VIDEOS[0], "500").await.status, 502);
        seen("tollgate_requests_total{code=\"502\"}").await;
        for _ in 0..60 {
            assert_eq!(self.create(KEY, VIDEOS[0], "500").await.status, 502);
        }
        self.videos().await;
        // The account of the first is refused, and the second takes everything from then on.
        self.control("second/drain").await;
        assert_eq!(self.create(KEY, VIDEOS[0], "402").await.status, 502);
        self.control("second/activate").await;
        self.videos().await;
        self.refusals().await;
        self.routes().await;
        assert_eq!(self.create(KEY, VIDEOS[0], "no-id").await.status, 502);
        self.stand.handle.reload_failed();
        let jobs = self.stand.mock.jobs().len() + self.second.jobs().len();
        assert!(jobs > 90, "{jobs}");
    }

    async fn refusals(&self) {
        let made = self.create(CAPPED, VIDEOS[0], "other-seconds=12").await;
        assert_eq!(made.status, 200);
        self.settled().await;
        let refused = self.create(CAPPED, VIDEOS[0], "").await;
        assert_eq!(refused.code(), "insufficient_quota");
        assert_eq!(self.create(LIMITED, VIDEOS[0], "").await.status, 200);
        for _ in 0..25 {
            let refused = self.create(LIMITED, VIDEOS[0], "").await;
            assert_eq!(refused.code(), "rate_limit_exceeded");
        }
        let refused = self.create(STUDIO, VIDEOS[2], "").await;
        assert_eq!(refused.code(), "model_not_allowed");
        for _ in 0..110 {
            let refused = Request::get("/v1/videos").send(self.stand.gate).await;
            assert_eq!(refused.unwrap().code(), "invalid_api_key");
        }
        self.settled().await;
    }

    /// A request on each route.
    async fn routes(&self) {
        let created = self.create(KEY, VIDEOS[0], "").await.json();
        let video = format!("/v1/videos/{}", created["id"].as_str().unwrap());
        let send = async |method, path: &str| {
            let request = Request::new(method, path).key(KEY);
            request.send(self.stand.gate).await.unwrap()
        };
        until("the video is completed", async || {
            send("GET", &video).await.json()["status"] == "completed"
        })
        .await;
        assert_eq!(send("GET", "/v1/videos").await.status, 200);
        assert_eq!(send("GET", &format!("{video}/content")).await.status, 200);
        let mut remix = Request::new("POST", &format!("{video}/remix")).key(KEY);
        remix = remix.header("Content-Type", "application/json");
        remix.body = Some(Body::Length(b"{\"prompt\":\"a dog\"}".to_vec(), vec![]));
        assert_eq!(remix.send(self.stand.gate).await.unwrap().status, 200);
        assert_eq!(send("DELETE", &video).await.status, 200);
        self.settled().await;
    }
}

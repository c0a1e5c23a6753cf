//! The configuration as values: what the gate gets as text, and what the model reckons with.

use std::fmt::Write as _;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use tollgate::config::{self, Config};

use crate::step::{Change, Start};

pub const KEYS: usize = 3;
pub const GROUPS: usize = 2;
/// Channel 2 is one that drips: it has little patience with it.
pub const CHANNELS: usize = 3;
/// Names, and the channels that serve them.
pub const MODELS: [(&str, &[usize]); 4] = [
    ("alpha", &[0]),
    ("beta", &[1]),
    ("gamma", &[0, 1]),
    ("drip", &[2]),
];
pub const DRIP: usize = 3;
pub const SECONDS: [u64; 3] = [4, 8, 12];
pub const SIZES: [&str; 2] = ["720x1280", "1280x720"];
pub const PROMPTS: [&str; 3] = ["a cat", "a dog", "two cats"];
/// List prices of the two sizes, in millionths of a USD for a second.
const PRICES: [[u64; 2]; 3] = [[100_000, 100_000], [200_000, 300_000], [50_000, 123_457]];
const MULTIPLIERS: [u64; 3] = [1000, 5000, 1333];
const CURRENCIES: [&str; 2] = ["USD", "CNY"];
const ALLOWED: [&str; 2] = ["", "allow: { seconds: [\"4\"] }, "];

pub const EXPIRE_AFTER: u64 = 86_400_000;

/// A measure, how much of it in its own smallest unit, and the window.
pub type Limit = (Measure, u64, Window);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    Requests,
    VideoSeconds,
    ListCost,
    BilledCost,
    InFlight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    Minute,
    Hour,
    Day,
    Month,
    Total,
}

const USD: u64 = 1_000_000_000;
pub const LIMITS: [&[Limit]; 8] = [
    &[],
    &[(Measure::Requests, 3, Window::Minute)],
    &[(Measure::InFlight, 2, Window::Total)],
    &[(Measure::ListCost, USD * 16 / 10, Window::Total)],
    &[(Measure::BilledCost, USD * 8, Window::Day)],
    &[
        (Measure::ListCost, USD * 8 / 10, Window::Minute),
        (Measure::ListCost, USD * 4, Window::Month),
    ],
    &[
        (Measure::VideoSeconds, 12, Window::Hour),
        (Measure::VideoSeconds, 40, Window::Day),
    ],
    &[
        (Measure::InFlight, 4, Window::Total),
        (Measure::BilledCost, USD * 3, Window::Minute),
    ],
];

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    prices: [usize; 4],
    multipliers: [usize; GROUPS],
    currencies: [usize; GROUPS],
    pub group_limits: [usize; GROUPS],
    /// The group of each key that is configured.
    pub groups: [Option<usize>; KEYS],
    pub limits: [usize; KEYS],
    allow: [usize; KEYS],
    pub charge_failed: bool,
    pub channels: [bool; CHANNELS],
}

impl Plan {
    pub fn new(start: &Start) -> Self {
        Self {
            prices: [0; 4],
            multipliers: [0, 1],
            currencies: if crate::enabled::Kind::Currencies.is_on() {
                [0, 1]
            } else {
                [0, 0]
            },
            group_limits: start.group_limits,
            groups: [Some(0), Some(0), Some(1)],
            limits: start.limits,
            allow: [0; KEYS],
            charge_failed: false,
            channels: [true; CHANNELS],
        }
    }

    pub fn change(&mut self, change: Change) {
        match change {
            Change::Price(model, to) => self.prices[model] = to,
            Change::Multiplier(group, to) => self.multipliers[group] = to,
            Change::Currency(group, to) => self.currencies[group] = to,
            Change::Move(key, to) => self.groups[key] = Some(to),
            Change::Remove(key) => self.groups[key] = None,
            Change::Return(key) => self.groups[key] = self.groups[key].or(Some(key % GROUPS)),
            Change::Limits(key, to) => self.limits[key] = to,
            Change::GroupLimits(group, to) => self.group_limits[group] = to,
            Change::Allow(key, to) => self.allow[key] = to,
            Change::ChargeFailed(to) => self.charge_failed = to,
            Change::Channel(channel, to) => self.channels[channel] = to,
        }
        // A configuration without a channel or a key is none.
        if self.channels[..2] == [false; 2] {
            self.channels[0] = true;
        }
        if self.groups == [None; KEYS] {
            self.groups[0] = Some(0);
        }
    }

    pub fn is_served(&self, model: usize) -> bool {
        MODELS[model]
            .1
            .iter()
            .any(|channel| self.channels[*channel])
    }

    pub fn allows(&self, key: usize, seconds: u64) -> bool {
        self.allow[key] == 0 || seconds == SECONDS[0]
    }

    /// In nanos of a USD for a second.
    pub fn price(&self, model: usize, size: usize) -> u64 {
        PRICES[self.prices[model]][size] * 1000
    }

    /// In thousandths.
    pub fn multiplier(&self, group: usize) -> u64 {
        MULTIPLIERS[self.multipliers[group]]
    }

    pub fn currency(&self, group: usize) -> &'static str {
        CURRENCIES[self.currencies[group]]
    }

    fn yaml(&self, channels: &[SocketAddr; CHANNELS]) -> String {
        let mut text = String::from(
            "listen: { address: 127.0.0.1:8080 }\nadmin: { address: 127.0.0.1:9090 }\n\
             ledger: memory\njobs:\n  poll_after: 20ms\n  polls_per_second: 1000\n  \
             unknown_grace: 3min\n  keep_days: 32\n",
        );
        let mut line = |line: String| writeln!(text, "{line}").unwrap();
        line(format!("  charge_failed_jobs: {}", self.charge_failed));
        line("channels:".into());
        for (number, address) in channels.iter().enumerate() {
            if !self.channels[number] {
                continue;
            }
            let models = MODELS
                .iter()
                .filter(|(_, channels)| channels.contains(&number));
            let models: Vec<_> = models.map(|(name, _)| *name).collect();
            let patience = match number {
                2 => "answer_timeout: 500ms, read_timeout: 500ms",
                _ => "answer_timeout: 20s, read_timeout: 10s",
            };
            line(format!(
                "  c{number}: {{ url: \"http://{address}\", credential: {{ env: CREDENTIAL }}, \
                 models: [{}], http2: never, {patience} }}",
                models.join(", ")
            ));
        }
        line("catalog:".into());
        for (number, (name, channels)) in MODELS.iter().enumerate() {
            if !channels.iter().any(|channel| self.channels[*channel]) {
                continue;
            }
            let [one, two] = PRICES[self.prices[number]].map(|price| format!("0.{price:06}"));
            line(format!(
                "  {name}:\n    seconds: {{ allowed: [\"4\", \"8\", \"12\"], default: \"4\" }}\n    \
                 sizes: {{ default: 720x1280, usd_per_second: {{ 720x1280: {one}, 1280x720: {two} }} }}"
            ));
        }
        line("groups:".into());
        for group in 0..GROUPS {
            let multiplier = self.multiplier(group);
            line(format!(
                "  g{group}: {{ multiplier: {}.{:03}, currency: {}, limits: {} }}",
                multiplier / 1000,
                multiplier % 1000,
                self.currency(group),
                limits(LIMITS[self.group_limits[group]])
            ));
        }
        line("keys:".into());
        for (key, group) in self.groups.iter().enumerate() {
            let Some(group) = group else { continue };
            let digest = Sha256::digest(secret(key));
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            line(format!(
                "  - {{ name: k{key}, sha256: {digest}, group: g{group}, {}limits: {} }}",
                ALLOWED[self.allow[key]],
                limits(LIMITS[self.limits[key]])
            ));
        }
        text
    }

    pub fn config(&self, channels: &[SocketAddr; CHANNELS]) -> Config {
        let text = self.yaml(channels);
        let env = |_: &str| Some("channel-credential".to_owned());
        config::parse(&text, "history.yaml", &env, std::path::Path::new("."))
            .unwrap_or_else(|e| panic!("{e}\n{text}"))
    }
}

pub fn secret(key: usize) -> String {
    format!("sk-history-{key}")
}

fn limits(limits: &[Limit]) -> String {
    let mut measures: Vec<(&str, Vec<String>)> = Vec::new();
    for (measure, max, window) in limits {
        let name = match measure {
            Measure::Requests => "requests",
            Measure::VideoSeconds => "video_seconds",
            Measure::ListCost => "list_cost_usd",
            Measure::BilledCost => "billed_cost",
            Measure::InFlight => "in_flight",
        };
        let max = match measure {
            Measure::ListCost | Measure::BilledCost => {
                format!("{}.{:06}", max / USD, max % USD / 1000)
            }
            _ => max.to_string(),
        };
        let text = match (measure, window) {
            (Measure::InFlight, _) => max,
            (_, Window::Minute) => max + "/min",
            (_, Window::Hour) => max + "/hour",
            (_, Window::Day) => max + "/day",
            (_, Window::Month) => max + "/month",
            (_, Window::Total) => max + "/total",
        };
        match measures.iter_mut().find(|(other, _)| *other == name) {
            Some((_, texts)) => texts.push(text),
            None => measures.push((name, vec![text])),
        }
    }
    let measures = measures.iter().map(|(name, texts)| match &texts[..] {
        [one] => format!("{name}: {one}"),
        several => format!("{name}: [{}]", several.join(", ")),
    });
    format!("{{ {} }}", measures.collect::<Vec<_>>().join(", "))
}

impl Window {
    /// When the window began that holds a moment, in milliseconds. By a calendar of its own: a
    /// history lasts from 2026 to 2027.
    pub fn start(self, at: u64) -> u64 {
        match self {
            Self::Minute => at - at % 60_000,
            Self::Hour => at - at % 3_600_000,
            Self::Day => at - at % 86_400_000,
            Self::Month => months().take_while(|start| *start <= at).last().unwrap(),
            Self::Total => 0,
        }
    }

    /// When it ends.
    pub fn end(self, at: u64) -> u64 {
        match self {
            Self::Minute => self.start(at) + 60_000,
            Self::Hour => self.start(at) + 3_600_000,
            Self::Day => self.start(at) + 86_400_000,
            Self::Month => months().find(|start| *start > at).unwrap(),
            Self::Total => u64::MAX,
        }
    }
}

/// When the months begin, from that of 2025-12 on.
fn months() -> impl Iterator<Item = u64> {
    // December has 31 days, and so on; no year here is a leap year but 2028.
    let years = (0..6).flat_map(|year: u64| {
        let february = if year == 2 { 29 } else { 28 };
        [31, 31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30]
    });
    years.scan(1_764_547_200_000, |next, days| {
        let start = *next;
        *next += days * 86_400_000;
        Some(start)
    })
}

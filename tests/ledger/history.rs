//! Random histories of a ledger, beside a model that counts anew each time.
//!
//! Clocks step and differ, keys move between groups, currencies change, charges are
//! corrected and moved from one channel to another, and what is old is pruned. A history is a seed: the same one replays it.

use std::sync::Arc;

use tollgate::ledger::{
    BindingLimits, Charge, Confirmed, Draft, Ledger, LimitReached, Placement, Reroute, Rerouted,
    ReservationId, Reserved, Resolution, Scope,
};
use tollgate::policy::{Allow, Group, Key, Limit, Measure, Timestamp};

use crate::channels::on;
use crate::suite::{charge, confirmation, draft, limit};

/// 2023-11-30T23:58:00Z: two minutes before a month ends.
const BEGIN: u64 = 1_701_388_680_000;
const HOUR: u64 = 3_600_000;
const KEYS: [&str; 3] = ["a", "b", "c"];
const CHANNELS: [&str; 2] = ["p", "q"];

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stands {
    Open,
    Confirmed,
    Posted,
    Voided,
}

struct Made {
    charge: Arc<Charge>,
    created: Timestamp,
    stands: Stands,
}

/// The configuration, and all that was ever reserved.
pub struct History {
    dice: Dice,
    seed: u64,
    clocks: [u64; 2],
    /// Of each key: its group, and its limits.
    keys: [usize; 3],
    limits: Vec<Vec<Limit>>,
    /// Of each channel.
    channel_limits: Vec<Vec<Limit>>,
    currencies: [&'static str; 2],
    made: Vec<Made>,
}

fn takes(charge: &Charge, measure: Measure) -> u64 {
    match measure {
        Measure::Requests | Measure::InFlight => 1,
        Measure::VideoSeconds => charge.seconds.into(),
        Measure::ListCost => charge.list.nanos(),
        Measure::BilledCost => charge.billed.nanos(),
        Measure::Cost => charge.purchase.as_ref().unwrap().amount.nanos(),
    }
}

impl History {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let all = [
            limit(Measure::Requests, "3/min"),
            limit(Measure::Requests, "40/hour"),
            limit(Measure::VideoSeconds, "60/min"),
            limit(Measure::VideoSeconds, "200/day"),
            limit(Measure::BilledCost, "30/hour"),
            limit(Measure::BilledCost, "120/total"),
            limit(Measure::ListCost, "8/day"),
            limit(Measure::ListCost, "20/month"),
            limit(Measure::InFlight, "9"),
        ];
        let limits = (0..5).map(|_| {
            let chosen = all.iter().filter(|_| dice.below(3) == 0);
            chosen.copied().collect()
        });
        let limits = limits.collect();
        let of_channels = [
            limit(Measure::Requests, "5/min"),
            limit(Measure::VideoSeconds, "150/hour"),
            limit(Measure::Cost, "6/day"),
            limit(Measure::Cost, "40/total"),
            limit(Measure::InFlight, "12"),
        ];
        let channel_limits = CHANNELS.map(|_| {
            let chosen = of_channels.iter().filter(|_| dice.below(3) == 0);
            chosen.copied().collect()
        });
        Self {
            limits,
            channel_limits: channel_limits.into(),
            seed,
            clocks: [BEGIN, BEGIN + dice.below(2) * 90_000],
            keys: [0, 0, 1],
            currencies: ["CNY", "USD"],
            made: Vec::new(),
            dice,
        }
    }

    fn group(&self, number: usize) -> Arc<Group> {
        Arc::new(Group {
            name: ["x", "y"][number].into(),
            multiplier: "5".parse().unwrap(),
            currency: self.currencies[number].into(),
            limits: self.limits[3 + number].clone(),
            channels: None,
        })
    }

    fn key(&self, number: usize) -> Key {
        Key {
            name: KEYS[number].into(),
            group: self.group(self.keys[number]),
            allow: Allow::default(),
            limits: self.limits[number].clone(),
            channels: None,
        }
    }

    /// What binds the corrections of a charge, as a configuration says it.
    fn binding(&self, charge: &Charge) -> BindingLimits {
        let payer = &charge.payer;
        let of = |limits: &[Limit], currency: &str| {
            let counts =
                |l: &&Limit| l.measure != Measure::BilledCost || currency == &*payer.currency;
            limits.iter().filter(counts).copied().collect()
        };
        let key = KEYS.iter().position(|name| *name == &*payer.key).unwrap();
        let group = usize::from(&*payer.group == "y");
        let (own, shared) = (self.key(key), self.group(group));
        BindingLimits {
            key: of(&own.limits, &own.group.currency),
            group: of(&shared.limits, &shared.currency),
        }
    }

    /// The recount: of all that stands in the window that holds `at`.
    fn used(&self, limit: Limit, scope: &Scope, currency: &str, at: Timestamp) -> u64 {
        let counts = |made: &&Made| {
            let payer = &made.charge.payer;
            let own = match scope {
                Scope::Key(name) => *name == payer.key,
                Scope::Group(name) => *name == payer.group,
                Scope::Channel(name) => *name == made.charge.channel,
            };
            let stands = match made.stands {
                Stands::Open | Stands::Confirmed => true,
                Stands::Posted => limit.measure != Measure::InFlight,
                Stands::Voided => false,
            };
            let currency = limit.measure != Measure::BilledCost || *payer.currency == *currency;
            own && stands && currency && limit.window.start(made.created) == limit.window.start(at)
        };
        let made = self.made.iter().filter(counts);
        made.map(|made| takes(&made.charge, limit.measure)).sum()
    }

    fn limits_of(key: &Key) -> Vec<(Limit, Scope)> {
        let own = key
            .limits
            .iter()
            .map(|l| (*l, Scope::Key(key.name.clone())));
        let group = &key.group;
        let shared = group
            .limits
            .iter()
            .map(|l| (*l, Scope::Group(group.name.clone())));
        own.chain(shared).collect()
    }

    /// The first limit of its channel that a charge would exceed there.
    fn channel_reached(&self, charge: &Charge, at: Timestamp) -> Option<(Limit, Scope, u64)> {
        let scope = Scope::Channel(charge.channel.clone());
        self.limits_of_channel(charge).iter().find_map(|limit| {
            let used = self.used(*limit, &scope, "", at);
            let exceeds = used + takes(charge, limit.measure) > limit.max;
            exceeds.then(|| (*limit, scope.clone(), used))
        })
    }

    fn limits_of_channel(&self, charge: &Charge) -> &[Limit] {
        let number = CHANNELS.iter().position(|name| *name == &*charge.channel);
        &self.channel_limits[number.unwrap()]
    }

    fn placement(&self, charge: &Charge) -> Placement {
        Placement {
            limits: self.limits_of_channel(charge).into(),
            ..Placement::default()
        }
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(*self.dice.one(&self.clocks))
    }

    /// One of those that stand so.
    fn any(&mut self, stands: Stands) -> Option<usize> {
        let those = 0..self.made.len();
        let those: Vec<_> = those.filter(|n| self.made[*n].stands == stands).collect();
        (!those.is_empty()).then(|| *self.dice.one(&those))
    }

    pub async fn run(&mut self, ledger: &dyn Ledger, steps: usize) {
        for step in 0..steps {
            let at = format!("seed {} step {step}", self.seed);
            self.step(ledger, &at).await;
            if step % 8 == 0 {
                self.compare(ledger, &at).await;
            }
        }
    }

    async fn step(&mut self, ledger: &dyn Ledger, at: &str) {
        match self.dice.below(22) {
            20..=21 => self.reroute(ledger, at).await,
            0..=6 => self.reserve(ledger, at).await,
            7..=9 => self.confirm(ledger, at).await,
            10 => self.void(ledger, at).await,
            11..=12 => self.settle(ledger, at).await,
            13..=15 => {
                let step = *self.dice.one(&[500, 7000, 31_000, 60_000, HOUR, 9 * HOUR]);
                self.clocks = self.clocks.map(|clock| clock + step);
            }
            // To the very edge of a minute, which may be that of a month.
            16 => self.clocks = self.clocks.map(|clock| clock - clock % 60_000 + 60_000),
            // One of the clocks goes wrong, by a little or a lot, or is put right.
            17 => {
                let right = self.clocks[0];
                let off = [0, 90_000, 5 * 60_000, 3 * HOUR, 40 * 24 * HOUR];
                let off = *self.dice.one(&off);
                self.clocks[1] = match self.dice.below(3) {
                    0 => right.saturating_sub(off.min(30 * HOUR)),
                    1 => right + off,
                    _ => right,
                };
            }
            18 => {
                let key = self.dice.below(3) as usize;
                match self.dice.below(3) {
                    0 => self.currencies = [self.currencies[1], self.currencies[0]],
                    _ => self.keys[key] = 1 - self.keys[key],
                }
            }
            _ => {
                // Whatever a window that is looked at may hold is kept.
                let before = self.clocks[0].min(self.clocks[1]) - 4 * 24 * HOUR;
                let now = self.now();
                ledger.prune(Timestamp(before), now, 1000).await.unwrap();
            }
        }
    }

    async fn reserve(&mut self, ledger: &dyn Ledger, at: &str) {
        let key = self.dice.below(3) as usize;
        let (key, now) = (self.key(key), self.now());
        let seconds = *self.dice.one(&[4, 8, 12]);
        let charge = on(self.dice.one::<&str>(&CHANNELS), &charge(&key, seconds));
        let reached = Self::limits_of(&key)
            .into_iter()
            .find_map(|(limit, scope)| {
                let used = self.used(limit, &scope, &key.group.currency, now);
                (used + takes(&charge, limit.measure) > limit.max).then_some((limit, scope, used))
            });
        let reached = reached.or_else(|| self.channel_reached(&charge, now));
        let id = self.made.len() as u128 + 1;
        let draft = Draft {
            placement: self.placement(&charge),
            ..draft(id, &charge)
        };
        let reserved = ledger.reserve(&draft, &key, now).await.unwrap();
        match (reserved, reached) {
            (Reserved::Done, None) => self.made.push(Made {
                charge,
                created: now,
                stands: Stands::Open,
            }),
            (Reserved::Refused(refused), Some(expected)) => {
                assert_eq!(parts(refused), expected, "{at}");
            }
            (reserved, expected) => panic!("{at}: {reserved:?}, expected {expected:?}"),
        }
    }

    async fn reroute(&mut self, ledger: &dyn Ledger, at: &str) {
        let Some(number) = self.any(Stands::Open) else {
            return;
        };
        let (before, created) = (self.made[number].charge.clone(), self.made[number].created);
        let after = on(self.dice.one::<&str>(&CHANNELS), &before);
        let moves = after.channel != before.channel;
        let reached = match moves {
            true => self.channel_reached(&after, created),
            false => None,
        };
        let to = Reroute {
            charge: after.clone(),
            placement: self.placement(&after),
            refused_by: format!("{}:429", before.channel).into(),
        };
        let rerouted = ledger.reroute(ReservationId(number as u128 + 1), &to);
        match (rerouted.await.unwrap(), reached) {
            (Rerouted::Done, None) => self.made[number].charge = after,
            (Rerouted::Refused(refused), Some(expected)) => {
                assert_eq!(parts(refused), expected, "{at}");
            }
            (rerouted, expected) => panic!("{at}: {rerouted:?}, expected {expected:?}"),
        }
    }

    async fn confirm(&mut self, ledger: &dyn Ledger, at: &str) {
        let Some(number) = self.any(Stands::Open) else {
            return;
        };
        let (now, seconds) = (self.now(), *self.dice.one(&[2, 4, 8, 12, 20]));
        let (before, created) = (self.made[number].charge.clone(), self.made[number].created);
        let list = u64::from(seconds) * 100_000_000;
        let after = Arc::new(Charge {
            seconds,
            list: tollgate::money::Amount::from_nanos(list).unwrap(),
            billed: tollgate::money::Amount::from_nanos(list * 5).unwrap(),
            ..(*before).clone()
        });
        let after = on(&before.channel, &after);
        let (limits, payer) = (self.binding(&before), &before.payer);
        let own = limits
            .key
            .iter()
            .map(|l| (*l, Scope::Key(payer.key.clone())));
        let shared = limits.group.iter();
        let shared = shared.map(|l| (*l, Scope::Group(payer.group.clone())));
        let exceeded = own.chain(shared).find_map(|(limit, scope)| {
            let measure = limit.measure;
            let adds = takes(&after, measure).saturating_sub(takes(&before, measure));
            let used = self.used(limit, &scope, &payer.currency, created);
            let runs = limit.window.start(created) >= limit.window.start(now);
            (adds > 0 && runs && used + adds > limit.max).then_some((limit, scope, used))
        });
        let id = ReservationId(number as u128 + 1);
        let tie = confirmation(&after, &format!("video_{number}"));
        let confirmed = ledger.confirm(id, &tie, &limits, now).await.unwrap();
        let Confirmed::Done {
            after: is,
            limit_reached,
            ..
        } = confirmed
        else {
            panic!("{at}: {confirmed:?}");
        };
        assert_eq!(limit_reached.map(parts), exceeded, "{at}");
        assert_eq!(is, if exceeded.is_some() { before } else { after }, "{at}");
        self.made[number].charge = is;
        self.made[number].stands = Stands::Confirmed;
    }

    async fn void(&mut self, ledger: &dyn Ledger, at: &str) {
        if let Some(number) = self.any(Stands::Open) {
            let (now, id) = (self.now(), ReservationId(number as u128 + 1));
            let voided = ledger.void(id, "refused", now).await.unwrap();
            assert_eq!(voided.as_ref(), Some(&self.made[number].charge), "{at}");
            self.made[number].stands = Stands::Voided;
        }
    }

    async fn settle(&mut self, ledger: &dyn Ledger, at: &str) {
        if let Some(number) = self.any(Stands::Confirmed) {
            let (now, id) = (self.now(), ReservationId(number as u128 + 1));
            let (resolution, stands) = match self.dice.below(2) {
                0 => (Resolution::Posted, Stands::Posted),
                _ => (Resolution::Voided, Stands::Voided),
            };
            let end = ledger.settle(id, resolution, "ended", now).await.unwrap();
            assert_eq!(end.as_ref(), Some(&self.made[number].charge), "{at}");
            self.made[number].stands = stands;
        }
    }

    /// Every limit of every key, by every clock, and as it was some hours ago.
    async fn compare(&mut self, ledger: &dyn Ledger, at: &str) {
        let back = self.dice.below(3 * HOUR);
        let times = [self.clocks[0], self.clocks[1], self.clocks[0] - back];
        for (number, now) in (0..3).flat_map(|key| times.map(|now| (key, Timestamp(now)))) {
            let key = self.key(number);
            let usage = ledger.usage(&key, now).await.unwrap();
            let usage: Vec<_> = usage.iter().map(|u| (u.limit, u.used)).collect();
            let recount = Self::limits_of(&key)
                .into_iter()
                .map(|(limit, scope)| (limit, self.used(limit, &scope, &key.group.currency, now)));
            let recount: Vec<_> = recount.collect();
            assert_eq!(usage, recount, "{at}, key {} at {}", key.name, now.0);
        }
        let probe = charge(&self.key(0), 4);
        for (channel, now) in CHANNELS
            .iter()
            .flat_map(|c| times.map(|now| (c, Timestamp(now))))
        {
            let probe = on(channel, &probe);
            let limits = self.limits_of_channel(&probe);
            let reached = ledger.check_channel(&probe, limits, now).await.unwrap();
            let expected = self.channel_reached(&probe, now);
            assert_eq!(
                reached.map(parts),
                expected,
                "{at}, channel {channel} at {}",
                now.0
            );
        }
    }
}

fn parts(reached: LimitReached) -> (Limit, Scope, u64) {
    (reached.limit, reached.scope, reached.used)
}

/// The seed of a failure, to be replayed alone.
fn seeds(many: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("LEDGER_SEED").ok();
    match asked.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..many,
    }
}

pub async fn random_histories_agree_with_a_recount(ledger: Arc<dyn Ledger>) {
    let seed = seeds(1).start;
    History::new(seed).run(&*ledger, 400).await;
}

/// Of a ledger that is opened anew every now and then.
#[tokio::test]
async fn histories_over_several_openings_agree_with_a_recount() {
    for seed in seeds(6) {
        let folder = crate::support::folder::Folder::new();
        let mut history = History::new(seed);
        for _ in 0..8 {
            let ledger = tollgate::ledger::SqliteLedger::open(&folder.join("tollgate.db"));
            history.run(&ledger.unwrap(), 60).await;
        }
    }
}

#[tokio::test]
async fn many_histories_in_memory_agree_with_a_recount() {
    for seed in seeds(100) {
        let ledger = tollgate::ledger::MemoryLedger::default();
        History::new(seed).run(&ledger, 300).await;
    }
}

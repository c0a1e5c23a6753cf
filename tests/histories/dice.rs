//! Histories out of seeds.

use crate::enabled::allows;
use crate::plan::{DRIP, GROUPS, KEYS, LIMITS, MODELS, PROMPTS, SECONDS, SIZES};
use crate::step::{Asked, Change, Create, Deletion, History, Listing, Play, Polling, Refusal};
use crate::step::{Render, Start, Status, Step};

/// SplitMix64: the same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// How a channel's list is at first: mostly as it should be.
fn listing(dice: &mut Dice) -> Listing {
    let odd = [Listing::Unreadable, Listing::Short, Listing::NoPrompts];
    let listing = dice.pick(&odd);
    let is_odd = dice.one_in(5) && allows(&Step::Listing(0, listing));
    if is_odd { listing } else { Listing::Whole }
}

/// Likewise, how it answers polls.
fn polling(dice: &mut Dice) -> Polling {
    let polling = dice.pick(&[Polling::OtherWords, Polling::Unreadable]);
    let is_odd = dice.one_in(4) && allows(&Step::Polling(0, polling));
    if is_odd { polling } else { Polling::Whole }
}

/// What can happen, besides what every history has.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Gates on one ledger.
    pub gates: usize,
    /// A gate may go and come back on the same ledger.
    pub restarts: bool,
    /// The way to the database may be cut.
    pub cuts: bool,
}

/// A minute before the end of a month, and other places of the calendar.
const TIMES: [u64; 4] = [
    1_769_903_940_000, // 2026-01-31T23:59:00Z
    1_771_977_540_000, // 2026-02-24T23:59:00Z
    1_771_934_385_000, // 2026-02-24T11:59:45Z
    1_771_934_410_000, // 2026-02-24T12:00:10Z
];

pub fn history(seed: u64, allowed: Allowed) -> History {
    let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x746f_6c6c);
    let dice = &mut dice;
    let limits = |dice: &mut Dice| match dice.one_in(2) {
        true => 0,
        false => dice.below(LIMITS.len()),
    };
    let start = Start {
        time: dice.pick(&TIMES) + dice.below(60_000) as u64,
        channel_skew: dice.pick(&[0, 0, 0, 1, -2, 60, -90]),
        limits: [limits(dice), limits(dice), limits(dice)],
        group_limits: [limits(dice), limits(dice)],
        listing: [listing(dice), listing(dice)],
        polling: [polling(dice), polling(dice)],
        ids: if crate::enabled::Kind::OddIds.is_on() {
            dice.below(4)
        } else {
            0
        },
    };
    // Few prompts and keys to a history, so that they meet.
    let world = World {
        allowed,
        keys: 1 + dice.below(KEYS),
        prompts: 1 + dice.below(PROMPTS.len()),
        temper: dice.below(if allowed.restarts { 5 } else { 4 }),
    };
    let length = 4 + dice.below(24);
    let mut steps: Vec<Step> = Vec::with_capacity(length);
    while steps.len() < length {
        let step = world.step(dice);
        if allows(&step) {
            steps.push(step);
        }
    }
    History { start, steps }
}

struct World {
    allowed: Allowed,
    keys: usize,
    prompts: usize,
    /// What this history is about: 0 everything, 1 lost answers, 2 limits and reloads, 3 time,
    /// 4 failures of gates and their ledger.
    temper: usize,
}

impl World {
    fn step(&self, dice: &mut Dice) -> Step {
        let about = match self.temper {
            _ if dice.one_in(3) => 0,
            temper => temper,
        };
        match (about, dice.below(100)) {
            (_, 0..30) => Step::Create(self.create(dice)),
            (1, 30..60) => Step::Create(self.lost(dice)),
            (2, 30..45) => Step::Reload(self.change(dice)),
            (3, 30..45) => self.time(dice),
            (4, 30..45) => self.failure(dice),
            (_, 30..34) => Step::Create(self.lost(dice)),
            (_, 34..38) => {
                let mut create = self.create(dice);
                create.asked.idem = Some(dice.below(3));
                Step::Together(create, 2 + dice.below(2))
            }
            (_, 38..43) => Step::Repeat(dice.below(8), self.play(dice)),
            (_, 43..47) => Step::Release(dice.below(4), self.play(dice)),
            (_, 47..54) => Step::Poll(self.gate(dice), dice.below(8)),
            (_, 54..58) => Step::Delete(self.gate(dice), dice.below(8), self.deletion(dice)),
            (_, 58..60) => Step::List(self.gate(dice), dice.below(self.keys)),
            (_, 60..70) => Step::Round(self.gate(dice)),
            (_, 70..77) => Step::End(dice.below(8), self.end(dice)),
            (_, 77..80) => Step::Listing(dice.below(2), self.listing(dice)),
            (_, 80..83) => Step::Polling(dice.below(2), self.polling(dice)),
            (_, 83..88) => Step::Reload(self.change(dice)),
            (_, 88..94) => self.time(dice),
            _ if self.allowed.restarts => self.failure(dice),
            _ => Step::Round(self.gate(dice)),
        }
    }

    fn failure(&self, dice: &mut Dice) -> Step {
        match dice.below(6) {
            0..3 if self.allowed.cuts => Step::Cut(dice.below(2)),
            3 if self.allowed.cuts => Step::MissedPoll(self.gate(dice), dice.below(8)),
            0..4 => Step::Restart(self.gate(dice)),
            _ => Step::Crash(self.gate(dice)),
        }
    }

    fn gate(&self, dice: &mut Dice) -> usize {
        dice.below(self.allowed.gates)
    }

    fn asked(&self, dice: &mut Dice) -> Asked {
        Asked {
            key: dice.below(self.keys),
            model: dice.below(DRIP),
            seconds: dice.below(SECONDS.len()),
            size: dice.below(SIZES.len()),
            prompt: dice.below(self.prompts),
            remix: dice.one_in(10).then(|| dice.below(8)),
            idem: dice.one_in(4).then(|| dice.below(3)),
        }
    }

    fn create(&self, dice: &mut Dice) -> Create {
        let play = match dice.one_in(3) {
            true => self.play(dice),
            false => Play::Answer,
        };
        self.create_with(dice, play)
    }

    fn lost(&self, dice: &mut Dice) -> Create {
        let play = dice.pick(&[Play::Lost, Play::Never, Play::Half, Play::Gateway(502)]);
        self.create_with(dice, play)
    }

    fn create_with(&self, dice: &mut Dice, play: Play) -> Create {
        let mut asked = self.asked(dice);
        if play == Play::Drip {
            (asked.model, asked.remix) = (DRIP, None);
        }
        Create {
            gate: self.gate(dice),
            asked,
            play,
            render: match dice.below(10) {
                0 => Render::Seconds(dice.below(SECONDS.len())),
                1 => Render::Size(dice.below(SIZES.len())),
                _ => Render::AsAsked,
            },
            leaves: dice.one_in(12),
        }
    }

    fn play(&self, dice: &mut Dice) -> Play {
        match dice.below(20) {
            0..3 => Play::Lost,
            3..5 => Play::Never,
            5 => Play::Half,
            6 => Play::NoId,
            7 => Play::Again,
            8..11 => Play::Refuse(dice.pick(&[
                Refusal::Invalid,
                Refusal::Account,
                Refusal::Rate,
                Refusal::Quota,
                Refusal::Internal,
            ])),
            11 => Play::Gateway(dice.pick(&[500, 502, 503, 504])),
            12 => Play::Redirect,
            13 => Play::Drip,
            14 => Play::Hold,
            15..17 => Play::HoldMade,
            17 => Play::Ended(self.end(dice)),
            _ => Play::Answer,
        }
    }

    fn end(&self, dice: &mut Dice) -> Status {
        let ends = [Status::Completed, Status::Failed, Status::Cancelled];
        dice.pick(&ends)
    }

    fn deletion(&self, dice: &mut Dice) -> Deletion {
        let deletions = [Deletion::Lost, Deletion::NoRoute, Deletion::Fails];
        match dice.one_in(2) {
            true => Deletion::Done,
            false => dice.pick(&deletions),
        }
    }

    fn listing(&self, dice: &mut Dice) -> Listing {
        dice.pick(&[
            Listing::Whole,
            Listing::Fails,
            Listing::Garbage,
            Listing::Short,
            Listing::Shuffled,
            Listing::NoPrompts,
            Listing::Unreadable,
            Listing::Late,
        ])
    }

    fn polling(&self, dice: &mut Dice) -> Polling {
        dice.pick(&[
            Polling::Whole,
            Polling::Fails,
            Polling::Garbage,
            Polling::OtherJob,
            Polling::Breaks,
            Polling::Unreadable,
            Polling::OtherWords,
        ])
    }

    fn change(&self, dice: &mut Dice) -> Change {
        let (key, group) = (dice.below(self.keys), dice.below(GROUPS));
        match dice.below(11) {
            0 => Change::Price(dice.below(MODELS.len()), dice.below(3)),
            1 => Change::Multiplier(group, dice.below(3)),
            2 => Change::Currency(group, dice.below(2)),
            3 => Change::Move(key, group),
            4 => Change::Remove(key),
            5 | 6 => Change::Return(key),
            7 => Change::Limits(key, dice.below(LIMITS.len())),
            8 => Change::GroupLimits(group, dice.below(LIMITS.len())),
            9 => Change::Allow(key, dice.below(2)),
            _ if dice.one_in(2) => Change::ChargeFailed(dice.one_in(2)),
            _ => Change::Channel(dice.below(2), dice.one_in(2)),
        }
    }

    fn time(&self, dice: &mut Dice) -> Step {
        match dice.below(8) {
            0 if self.allowed.gates > 1 => {
                Step::Skew(self.gate(dice), dice.pick(&[0, 0, 1, -2, 30, -90]))
            }
            0 | 1 => Step::Skew(
                self.gate(dice),
                dice.pick(&[0, 0, -2, 90, -3600, 2_592_000]),
            ),
            2..5 => Step::Pass(dice.pick(&[1, 5, 30, 61])),
            5..7 => Step::Pass(dice.pick(&[181, 200, 600, 3600])),
            _ => Step::Pass(dice.pick(&[86_401, 90_000, 3_456_000])),
        }
    }
}

//! The model: what the channels have made and clients were told is added up anew, and compared
//! with the ledger, its counters, the bill and the metrics.

use std::collections::BTreeSet;

use crate::channel::Job;
use crate::plan::{EXPIRE_AFTER, KEYS, LIMITS, Measure, SIZES, Window};
use crate::requests::Made;
use crate::row::Row;
use crate::step::Render;
use crate::store::Bill;
use crate::world::World;

/// What is remembered between two looks.
#[derive(Clone, Default)]
pub struct Model {
    /// The reservations after the step before.
    pub before: Vec<Row>,
    /// Those that the ledger has forgotten.
    pub pruned: Vec<Row>,
    /// Requests whose jobs nobody has to answer for: they came of what was given up in order.
    pub given_up: BTreeSet<usize>,
    /// How many requests' answers were looked at.
    judged: usize,
}

/// What a request costs that renders so much: list and billed cost, in nanos.
pub fn cost(made: &Made, seconds: u64, size: &str) -> (u64, u64) {
    let size = SIZES
        .iter()
        .position(|name| *name == size)
        .unwrap_or(made.size);
    let group = made.plan.groups[made.asked.key].unwrap_or(0);
    let list = made.plan.price(made.model, size) * seconds;
    (list, list * made.plan.multiplier(group) / 1000)
}

/// What a charge takes from a limit.
pub fn takes(row: &Row, measure: Measure) -> u64 {
    match measure {
        Measure::Requests => u64::from(row.state != "voided"),
        Measure::InFlight => u64::from(row.is_open()),
        _ if row.state == "voided" => 0,
        Measure::VideoSeconds => row.seconds,
        Measure::ListCost => row.list,
        Measure::BilledCost => row.billed,
    }
}

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Key(String),
    Group(String),
}

impl Scope {
    fn holds(&self, row: &Row) -> bool {
        match self {
            Self::Key(name) => row.key == *name,
            Self::Group(name) => row.group == *name,
        }
    }
}

/// The sum of one measure in the window that holds a moment. Of money, that in one currency.
pub fn sum<'r>(
    rows: impl Iterator<Item = &'r Row>,
    scope: &Scope,
    (measure, window, currency): (Measure, Window, &str),
    at: u64,
) -> u64 {
    let start = window.start(at);
    let own = rows.filter(|row| scope.holds(row) && window.start(row.created) == start);
    let own = own.filter(|row| measure != Measure::BilledCost || row.currency == currency);
    own.map(|row| takes(row, measure)).sum()
}

impl Model {
    /// All that is wrong now.
    pub async fn check(&mut self, world: &World<'_>) -> Vec<String> {
        let rows = world.store.rows().await;
        self.check_rows(world, rows).await
    }

    /// All that is wrong where these are the reservations.
    pub async fn check_rows(&mut self, world: &World<'_>, rows: Vec<Row>) -> Vec<String> {
        let truth = world.channels.truth().jobs.clone();
        let mut wrong = Vec::new();
        let pruned: Vec<_> = {
            let gone = |row: &&Row| !rows.iter().any(|now| now.id == row.id);
            self.before.iter().filter(gone).cloned().collect()
        };
        wrong.extend(
            pruned
                .iter()
                .filter(|row| row.is_open())
                .map(|row| format!("lost: {row:?}")),
        );
        self.pruned.extend(pruned);
        self.note_given_up(world, &rows, &truth);
        for (number, made) in world.made.iter().enumerate().skip(self.judged) {
            crate::answers::check(
                world,
                number,
                made,
                || self.before.iter().chain(&self.pruned),
                &mut wrong,
            );
        }
        self.judged = world.made.len();
        for row in &rows {
            self.check_row(world, row, (&rows, &truth), &mut wrong);
        }
        self.check_ownership(world, &rows, &truth, &mut wrong);
        self.check_idempotency(world, &truth, &mut wrong);
        let told = |row: &&Row| {
            row.job
                .as_ref()
                .is_some_and(|job| world.ended.contains(job))
        };
        let open = rows.iter().filter(told).filter(|row| row.is_open());
        wrong.extend(open.map(|row| format!("a gate was told that it has ended: {row:?}")));
        self.check_budgets(world, &rows, &mut wrong);
        self.check_bill(world, &rows, &mut wrong).await;
        if rows != self.before {
            crate::metered::check(world, rows.iter().chain(&self.pruned), &mut wrong);
        }
        self.check_counters(world, &rows, &mut wrong).await;
        self.before = rows;
        wrong
    }

    /// Goes on from a ledger that has missed something.
    pub fn fail_over(&mut self, rows: Vec<Row>) {
        self.before = rows;
    }

    /// What is unknown still, after the channels have told all they can: what could be another
    /// key's alone.
    pub fn check_found_out(&self, world: &World<'_>) -> Vec<String> {
        let truth = world.channels.truth().jobs.clone();
        let nobodys = |job: &&Job| !self.before.iter().any(|row| row.has(job));
        let wants = |row: &Row| Some(world.made[world.number_at(row.created)?].asked);
        // Without prompts, all are alike.
        let like = |a: &Row, b: &Row| {
            let (one, other) = (wants(a), wants(b));
            a.channel == b.channel
                && one
                    .zip(other)
                    .is_none_or(|(a, b)| a.prompt == b.prompt || !world.has_prompts)
        };
        let has_candidates_of_other_keys = |row: &Row| {
            let jobless = self.before.iter().filter(|other| other.job.is_none());
            let mut others = jobless.filter(|other| other.key != row.key);
            others.any(|other| like(other, row))
        };
        let of_channel = |row: &Row, job: &Job| format!("c{}", job.channel) == row.channel;
        let unclear = |row: &Row| {
            let jobs = truth.iter().filter(nobodys);
            let mut jobs = jobs.filter(|job| of_channel(row, job));
            jobs.any(|job| has_candidates_of_other_keys(row) || world.tells_too_little(row, job))
        };
        let open = self.before.iter().filter(|row| match &*row.state {
            "pending" => !world.is_to_come(row),
            "unknown" => {
                let is_held = world.is_held(row, &self.before, &truth);
                !unclear(row) && !is_held && !world.may_be_to_come()
            }
            _ => false,
        });
        open.map(|row| format!("not found out: {row:?}")).collect()
    }

    /// The ends of all jobs that are there are seen.
    pub fn check_ended(&self, world: &World<'_>) -> Vec<String> {
        let truth = world.channels.truth().jobs.clone();
        let is_there = |row: &&Row| {
            let mut jobs = truth.iter().filter(|job| !job.deleted);
            jobs.any(|job| row.has(job))
        };
        let open = self.before.iter().filter(|row| row.state == "confirmed");
        open.filter(is_there)
            .map(|row| format!("its end was not seen: {row:?}"))
            .collect()
    }

    /// Nothing stays open for ever.
    pub fn check_resolved(&self) -> Vec<String> {
        let open = self.before.iter().filter(|row| row.is_open());
        open.map(|row| format!("never resolved: {row:?}")).collect()
    }

    fn note_given_up(&mut self, world: &World<'_>, rows: &[Row], truth: &[Job]) {
        for row in rows
            .iter()
            .filter(|row| row.state == "voided" && row.job.is_none())
        {
            let was_open = self
                .before
                .iter()
                .any(|old| old.id == row.id && old.is_open());
            let Some(number) = world.number_at(row.created) else {
                continue;
            };
            let made = &world.made[number];
            let job = truth.iter().find(|job| job.request == number);
            let old = world.now() - made.true_at >= EXPIRE_AFTER || world.has_expired(row.created);
            // Of what was rendered otherwise than was asked for, a list without prompts tells
            // nothing.
            let is_unlike = !world.has_prompts && made.create.render != Render::AsAsked;
            // Without a job by now: one that is made later comes too late.
            let is_unseen = job.is_none_or(|job| world.is_listed_late(job));
            if was_open && (old || is_unseen || is_unlike) {
                self.given_up.insert(number);
            }
        }
    }

    /// No step raises a sum above its limit, in any window that runs.
    fn check_budgets(&self, world: &World<'_>, rows: &[Row], wrong: &mut Vec<String>) {
        let now: Vec<_> = world
            .gates
            .iter()
            .map(|gate| gate.time_at(world.now()))
            .collect();
        let earliest = *now.iter().min().unwrap();
        for (scope, (measure, max, window), currency) in all_limits(world) {
            let moments: BTreeSet<_> = rows.iter().map(|row| window.start(row.created)).collect();
            for at in moments.into_iter().filter(|at| window.end(*at) > earliest) {
                let measured = (measure, window, &*currency);
                let now = sum(rows.iter().chain(&self.pruned), &scope, measured, at);
                let before = sum(self.before.iter().chain(&self.pruned), &scope, measured, at);
                if now > max && now > before {
                    wrong.push(format!(
                        "{scope:?} {measure:?} {window:?} of {max} was {before}, is {now}"
                    ));
                }
            }
        }
    }

    /// The bill is the sum of what is posted.
    async fn check_bill(&self, world: &World<'_>, rows: &[Row], wrong: &mut Vec<String>) {
        let mut sums = Bill::new();
        for row in rows
            .iter()
            .chain(&self.pruned)
            .filter(|row| row.state == "posted")
        {
            let Row {
                key,
                currency,
                group,
                channel,
                model,
                size,
                ..
            } = row.clone();
            let line = sums
                .entry([key, currency, group, channel, model, size])
                .or_default();
            let charge = [1, row.seconds, row.list, row.billed];
            line.iter_mut()
                .zip(charge)
                .for_each(|(sum, part)| *sum += part);
        }
        let bill = world.store.bill().await;
        if let Some(bill) = bill.filter(|bill| *bill != sums) {
            wrong.push(format!("the bill says {bill:?}, and the sums are {sums:?}"));
        }
    }

    /// What the limits have counted is what stands in the reservations.
    async fn check_counters(&self, world: &World<'_>, rows: &[Row], wrong: &mut Vec<String>) {
        for gate in &world.gates {
            let at = gate.time_at(world.now());
            for key in (0..KEYS).filter(|key| world.plan.groups[*key].is_some()) {
                let used = world.usage(gate, key).await;
                for (scope, (measure, max, window), used) in used {
                    let currency = world.currency_of(key);
                    let measured = (measure, window, currency);
                    let sum = sum(rows.iter().chain(&self.pruned), &scope, measured, at);
                    if sum != used {
                        wrong.push(format!(
                            "{scope:?} {measure:?} {window:?} of {max}: counted {used}, summed {sum}"
                        ));
                    }
                }
            }
        }
    }
}

/// The limits in force that a charge counts in.
pub fn limits_of(world: &World<'_>, row: &Row) -> Vec<(Scope, crate::plan::Limit, String)> {
    let all = all_limits(world).into_iter();
    all.filter(|(scope, ..)| scope.holds(row)).collect()
}

/// All limits in force, and the currency that they count.
fn all_limits(world: &World<'_>) -> Vec<(Scope, crate::plan::Limit, String)> {
    let plan = &world.plan;
    let mut limits = Vec::new();
    for (key, group) in plan.groups.iter().enumerate() {
        let Some(group) = group else { continue };
        let scope = Scope::Key(format!("k{key}"));
        let own = LIMITS[plan.limits[key]].iter();
        limits.extend(own.map(|l| (scope.clone(), *l, plan.currency(*group).to_owned())));
    }
    for (group, set) in plan.group_limits.iter().enumerate() {
        let scope = Scope::Group(format!("g{group}"));
        let own = LIMITS[*set].iter();
        limits.extend(own.map(|l| (scope.clone(), *l, plan.currency(group).to_owned())));
    }
    limits
}

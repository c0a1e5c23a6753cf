//! The model: what the channels have made and clients were told is added up anew, and compared
//! with the ledger, its counters, the bill and the metrics.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::Job;
use crate::plan::{EXPIRE_AFTER, KEYS, LIMITS, MODELS, Measure, SIZES, Window};
use crate::requests::{Made, Sent};
use crate::step::{Render, Status};
use crate::store::{Bill, Row};
use crate::world::World;

/// What is remembered between two looks.
#[derive(Clone, Default)]
pub struct Model {
    /// The reservations after the step before.
    pub before: Vec<Row>,
    /// Those that the ledger has forgotten.
    pruned: Vec<Row>,
    /// Requests whose jobs nobody has to answer for: they came of what was given up in order.
    given_up: BTreeSet<usize>,
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
        let rivals = |row: &Row| {
            let jobless = self.before.iter().filter(|other| other.job.is_none());
            let mut rivals = jobless.filter(|other| other.key != row.key);
            rivals.any(|other| like(other, row))
        };
        let of_channel = |row: &Row, job: &Job| format!("c{}", job.channel) == row.channel;
        let unclear = |row: &Row| {
            let mut jobs = truth.iter().filter(nobodys);
            rivals(row) && jobs.any(|job| of_channel(row, job))
        };
        let open = self.before.iter().filter(|row| match &*row.state {
            "pending" => true,
            "unknown" => !unclear(row) && !world.was_far_off,
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
            let has_job = truth.iter().any(|job| job.request == number);
            let old = world.now() - made.true_at >= EXPIRE_AFTER;
            // Of what was rendered otherwise than was asked for, a list without prompts tells
            // nothing.
            let is_unlike = !world.has_prompts && made.create.render != Render::AsAsked;
            // Without a job by now: one that is made later comes too late.
            if was_open && (old || !has_job || is_unlike || world.was_far_off) {
                self.given_up.insert(number);
            }
        }
    }

    /// Each reservation is of one request, costs what that request costs, and its job is one
    /// that was made for its key.
    fn check_row(
        &self,
        world: &World<'_>,
        row: &Row,
        (rows, truth): (&[Row], &[Job]),
        wrong: &mut Vec<String>,
    ) {
        let mut say = |what: &str| wrong.push(format!("{what}: {row:?}"));
        let Some(number) = world.number_at(row.created) else {
            return say("no request made this");
        };
        let made = &world.made[number];
        let group = made.plan.groups[made.asked.key];
        let payer = (&*row.key, &*row.group, &*row.currency, row.multiplier);
        let expected = group.map(|group| {
            let currency = made.plan.currency(group);
            (
                made.key_name(),
                format!("g{group}"),
                currency,
                made.plan.multiplier(group),
            )
        });
        if expected
            .as_ref()
            .is_none_or(|(k, g, c, m)| payer != (&**k, &**g, *c, *m))
        {
            say(&format!("not the payer {expected:?}"));
        }
        if row.model != MODELS[made.model].0 {
            say("another model");
        }
        let costs = |seconds: u64, size: &str| {
            let (list, billed) = cost(made, seconds, size);
            (&*row.size, row.seconds, row.list, row.billed) == (size, seconds, list, billed)
        };
        let as_asked = costs(made.seconds, SIZES[made.size]);
        let job = row.job.as_ref().map(|id| {
            let found = truth.iter().find(|job| row.has(job));
            found.ok_or_else(|| format!("no such job: {id}"))
        });
        match job {
            None if !as_asked => say("does not cost what was asked for"),
            None => {}
            Some(Err(error)) => say(&error),
            Some(Ok(job)) => {
                let maker = &world.made[job.request];
                if maker.asked.key != made.asked.key {
                    say("a job of another key");
                } else if !costs(job.seconds, &job.size) {
                    let first = self.before.iter().find(|old| old.id == row.id);
                    let first = first.is_none_or(|old| old.job.is_none());
                    if !as_asked {
                        say(&format!("costs neither what was asked for nor {job:?}"));
                    } else if first && self.would_fit(world, (row, rows), cost_of(made, job), job) {
                        say(&format!("a correction was left out for no limit, {job:?}"));
                    }
                }
                self.check_match(world, made, job, &mut say);
                check_end(world, row, job, &mut say);
            }
        }
        let waits = matches!(made.sent, Sent::UnderWay | Sent::Crashed);
        if row.state == "pending" && !waits && !world.was_cut {
            say("pending, and nobody waits for it");
        }
        if let Some(old) = self.before.iter().find(|old| old.id == row.id) {
            let resolved = !old.is_open();
            let changed = (&old.state, &old.job, old.list, old.billed, old.seconds)
                != (&row.state, &row.job, row.list, row.billed, row.seconds);
            if (resolved || old.job.is_some() && old.list != row.list) && changed {
                say(&format!("was {old:?}"));
            }
        }
    }

    /// A job goes to the request that asked for exactly that, if there is one.
    fn check_match(&self, world: &World<'_>, made: &Made, job: &Job, say: &mut impl FnMut(&str)) {
        let maker = &world.made[job.request];
        let exact = |made: &Made| {
            let source = made.source.is_some() == maker.source.is_some();
            source && (made.seconds, SIZES[made.size]) == (job.seconds, &*job.size)
        };
        if made.at != maker.at && exact(maker) && !exact(made) {
            say(&format!(
                "asked for something else than the job's request did, {job:?}"
            ));
        }
    }

    /// Whether a correction would exceed no limit that binds it, by the reservations before or
    /// after it was made.
    fn would_fit(
        &self,
        world: &World<'_>,
        (row, rows): (&Row, &[Row]),
        (list, billed): (u64, u64),
        job: &Job,
    ) -> bool {
        let mut corrected = row.clone();
        (corrected.list, corrected.billed, corrected.seconds) = (list, billed, job.seconds);
        let binding = limits_of(world, row);
        world.gates.iter().all(|gate| {
            let at = gate.time_at(world.now());
            binding
                .iter()
                .all(|(scope, (measure, most, window), currency)| {
                    let measured = (*measure, *window, &**currency);
                    let fits = |rows: &[Row]| {
                        let others = rows.iter().filter(|other| other.id != row.id);
                        let others = others.chain(&self.pruned);
                        sum(others, scope, measured, at) + takes(&corrected, *measure) <= *most
                    };
                    let adds = takes(&corrected, *measure) > takes(row, *measure);
                    let runs = window.start(row.created) == window.start(at);
                    !adds || !runs || fits(&self.before) && fits(rows)
                })
        })
    }

    /// Each job that was made is somebody's, or held to be found out; each that a client was
    /// told of is that client's.
    fn check_ownership(
        &self,
        world: &World<'_>,
        rows: &[Row],
        truth: &[Job],
        wrong: &mut Vec<String>,
    ) {
        let all = || rows.iter().chain(&self.pruned);
        let mut owners = BTreeMap::new();
        for row in all().filter(|row| row.job.is_some()) {
            let job = (&row.channel, row.upstream.as_ref());
            if let Some(other) = owners.insert(job, row) {
                wrong.push(format!(
                    "a job with two reservations: {other:?} and {row:?}"
                ));
            }
        }
        for (number, made) in world.made.iter().enumerate() {
            let Some(id) = made.told() else { continue };
            let own =
                all().find(|row| row.job.as_deref() == Some(id) && row.key == made.key_name());
            if own.is_none() && !world.has_failed_over {
                wrong.push(format!(
                    "request {number} was told of {id}, which is not its own"
                ));
            }
        }
        // By key and channel: as many are held as are nobody's.
        let mut nobodys: BTreeMap<(String, String), Vec<&Job>> = BTreeMap::new();
        for job in truth {
            let channel = format!("c{}", job.channel);
            let is_owned = all().any(|row| row.has(job));
            if !is_owned && !self.given_up.contains(&job.request) {
                let key = world.made[job.request].key_name();
                nobodys.entry((key, channel)).or_default().push(job);
            }
        }
        for ((key, channel), jobs) in nobodys {
            let held = rows
                .iter()
                .filter(|row| row.key == key && row.channel == channel);
            let held = held
                .filter(|row| matches!(&*row.state, "pending" | "unknown"))
                .count();
            if jobs.len() > held && !world.was_far_off {
                wrong.push(format!(
                    "made for {key} on {channel}, charged to nobody: {jobs:?}"
                ));
            }
        }
    }

    /// Under one Idempotency-Key one job is made, and all are told of it.
    fn check_idempotency(&self, world: &World<'_>, truth: &[Job], wrong: &mut Vec<String>) {
        let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (number, made) in world.made.iter().enumerate() {
            if let Some(idem) = &made.idem {
                groups.entry((idem, made.wants())).or_default().push(number);
            }
        }
        for (group, numbers) in groups {
            let (first, last) = (numbers[0], *numbers.last().unwrap());
            let span = world.made[last].true_at - world.made[first].true_at;
            let of_group = truth.iter().filter(|job| numbers.contains(&job.request));
            let excused = |job: &&Job| self.given_up.contains(&job.request);
            let made = of_group.filter(|job| !excused(job)).count();
            let told: BTreeSet<_> = numbers
                .iter()
                .filter_map(|n| world.made[*n].told())
                .collect();
            let old = span >= EXPIRE_AFTER || world.was_far_off;
            if (made > 1 || told.len() > 1) && !old && !self.is_ambiguous(world, &numbers) {
                wrong.push(format!("{group:?}: {made} jobs, told of {told:?}"));
            }
        }
    }

    /// Whether what became of one of these requests could be what became of another one's: of
    /// two that asked the same of the same channel a list tells no difference.
    fn is_ambiguous(&self, world: &World<'_>, numbers: &[usize]) -> bool {
        let lost = |made: &&Made| !matches!(made.status(), Some(200..500));
        let wants = world.made[numbers[0]].wants();
        let others = world.made.iter().enumerate();
        let others = others.filter(|(number, _)| !numbers.contains(number));
        let mut others = others.map(|(_, made)| made).filter(lost);
        others.any(|other| other.wants().0 == wants.0 && other.wants().2[3] == wants.2[3])
    }

    /// No step raises a sum above its limit, in any window that runs.
    fn check_budgets(&self, world: &World<'_>, rows: &[Row], wrong: &mut Vec<String>) {
        let now: Vec<_> = world
            .gates
            .iter()
            .map(|gate| gate.time_at(world.now()))
            .collect();
        let earliest = *now.iter().min().unwrap();
        for (scope, (measure, most, window), currency) in all_limits(world) {
            let moments: BTreeSet<_> = rows.iter().map(|row| window.start(row.created)).collect();
            for at in moments.into_iter().filter(|at| window.end(*at) > earliest) {
                let measured = (measure, window, &*currency);
                let now = sum(rows.iter().chain(&self.pruned), &scope, measured, at);
                let before = sum(self.before.iter().chain(&self.pruned), &scope, measured, at);
                if now > most && now > before {
                    wrong.push(format!(
                        "{scope:?} {measure:?} {window:?} of {most} was {before}, is {now}"
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
                for (scope, (measure, most, window), used) in used {
                    let currency = world.currency_of(key);
                    let measured = (measure, window, currency);
                    let sum = sum(rows.iter().chain(&self.pruned), &scope, measured, at);
                    if sum != used {
                        wrong.push(format!(
                            "{scope:?} {measure:?} {window:?} of {most}: counted {used}, summed {sum}"
                        ));
                    }
                }
            }
        }
    }
}

fn cost_of(made: &Made, job: &Job) -> (u64, u64) {
    cost(made, job.seconds, &job.size)
}

/// A charge ends as its job did.
fn check_end(world: &World<'_>, row: &Row, job: &Job, say: &mut impl FnMut(&str)) {
    let age = world.now() - world.made[job.request].true_at;
    let charges_failed = world.charged_failed;
    let right = match (&*row.state, row.outcome.as_deref(), job.status) {
        ("posted", Some("deleted"), _) => job.deleted,
        ("posted", Some("expired"), _) => age > EXPIRE_AFTER || world.was_far_off,
        ("posted", _, Status::Completed) => true,
        ("posted", _, Status::Failed | Status::Cancelled) => charges_failed,
        ("voided", _, Status::Failed | Status::Cancelled) => true,
        ("confirmed", ..) => true,
        _ => false,
    };
    if !right {
        say(&format!("does not end as {job:?}"));
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

//! The model's first half: whose the jobs are, and what each costs.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::Job;
use crate::excuses::asked_exactly;
use crate::model::{Model, cost, limits_of, sum, takes};
use crate::plan::{EXPIRE_AFTER, MODELS, SIZES};
use crate::requests::{Made, Sent};
use crate::row::Row;
use crate::step::Status;
use crate::world::World;

impl Model {
    /// Each reservation is of one request, costs what that request costs, and its job is one
    /// that was made for its key.
    pub fn check_row(
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
                self.check_match(world, made, (job, truth), &mut say);
                check_end(world, row, job, &mut say);
            }
        }
        let waits = matches!(made.sent, Sent::InProgress | Sent::Crashed);
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
    fn check_match(
        &self,
        world: &World<'_>,
        made: &Made,
        (job, truth): (&Job, &[Job]),
        say: &mut impl FnMut(&str),
    ) {
        let maker = &world.made[job.request];
        let is_worse = asked_exactly(maker, job) && !asked_exactly(made, job);
        if made.at != maker.at && is_worse && !world.is_interchangeable(job, truth) {
            say(&format!(
                "asked for something else than the job's request did, {job:?}"
            ));
        }
    }

    /// Whether a correction would exceed no limit that binds it, by the reservations before or
    /// after it was made. What it ends as in the same step comes after that.
    fn would_fit(
        &self,
        world: &World<'_>,
        (row, rows): (&Row, &[Row]),
        (list, billed): (u64, u64),
        job: &Job,
    ) -> bool {
        let confirmed = Row {
            state: "confirmed".to_owned(),
            ..row.clone()
        };
        let corrected = Row {
            list,
            billed,
            seconds: job.seconds,
            ..confirmed.clone()
        };
        let binding = limits_of(world, row);
        world.gates.iter().all(|gate| {
            let at = gate.time_at(world.now());
            binding
                .iter()
                .all(|(scope, (measure, max, window), currency)| {
                    let measured = (*measure, *window, &**currency);
                    let fits = |rows: &[Row]| {
                        let others = rows.iter().filter(|other| other.id != row.id);
                        let others = others.chain(&self.pruned);
                        let used = sum(others, scope, measured, row.created);
                        used + takes(&corrected, *measure) <= *max
                    };
                    let adds = takes(&corrected, *measure) > takes(&confirmed, *measure);
                    // By a clock that was set back the window may be to come, and binds then, too.
                    let has_passed = window.start(row.created) < window.start(at);
                    !adds || has_passed || fits(&self.before) && fits(rows)
                })
        })
    }

    /// Each job that was made is somebody's, or held to be found out; each that a client was
    /// told of is that client's.
    pub fn check_ownership(
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
        let mut reserved = BTreeMap::new();
        for row in all().filter(|row| row.state != "voided" || row.job.is_some()) {
            let number = world.number_at(row.created);
            if let Some(other) = reserved.insert(number, row).filter(|_| number.is_some()) {
                wrong.push(format!(
                    "a request with two reservations: {other:?} and {row:?}"
                ));
            }
        }
        for (number, made) in world.made.iter().enumerate() {
            let Some(id) = made.told() else { continue };
            // While the ledger is away, a client may be told an id that another job has: see
            // `World::check_reach`.
            let by_id = |row: &Row| {
                row.job.as_deref() == Some(id) || world.was_cut && row.is_renamed_from(id)
            };
            let own = all().find(|row| row.key == made.key_name() && by_id(row));
            if own.is_none() && !world.has_failed_over {
                wrong.push(format!(
                    "request {number} was told of {id}, which is not its own"
                ));
            }
        }
        // By key and channel: as many are held as are nobody's, for whichever a request was given
        // up, another one may have its job.
        let mut nobodys: BTreeMap<(String, String), (Vec<&Job>, usize)> = BTreeMap::new();
        for job in truth {
            let key = world.made[job.request].key_name();
            let (nobodys, excused) = nobodys
                .entry((key, format!("c{}", job.channel)))
                .or_default();
            let owner = all().find(|row| row.has(job));
            if owner.is_none() {
                nobodys.push(job);
            }
            let is_own = owner.is_some_and(|row| world.number_at(row.created) == Some(job.request));
            let is_excused = self.given_up.contains(&job.request) || world.is_out_of_time(job);
            *excused += usize::from(is_excused && !is_own);
        }
        for ((key, channel), (jobs, excused)) in nobodys {
            let held = rows
                .iter()
                .filter(|row| row.key == key && row.channel == channel);
            let held = held
                .filter(|row| matches!(&*row.state, "pending" | "unknown"))
                .count();
            if jobs.len() > held + excused {
                wrong.push(format!(
                    "made for {key} on {channel}, charged to nobody: {jobs:?}"
                ));
            }
        }
    }

    /// Under one Idempotency-Key one job is made, and all are told of it.
    pub fn check_idempotency(&self, world: &World<'_>, truth: &[Job], wrong: &mut Vec<String>) {
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
            let excused =
                |job: &&Job| self.given_up.contains(&job.request) || world.is_out_of_time(job);
            let made = of_group.filter(|job| !excused(job)).count();
            let told: BTreeSet<_> = numbers
                .iter()
                .filter_map(|n| world.made[*n].told())
                .collect();
            let old = span >= EXPIRE_AFTER || world.has_expired(world.made[first].at);
            if (made > 1 || told.len() > 1) && !old && !self.is_ambiguous(world, &numbers) {
                wrong.push(format!("{group:?}: {made} jobs, told of {told:?}"));
            }
        }
    }

    /// Whether what became of one of these requests could be what became of another one's: of
    /// two that asked the same of the same channel a list tells no difference.
    fn is_ambiguous(&self, world: &World<'_>, numbers: &[usize]) -> bool {
        let lost = |made: &&Made| !matches!(made.status(), Some(200..500));
        let first = &world.made[numbers[0]];
        let others = world.made.iter().enumerate();
        let others = others.filter(|(number, _)| !numbers.contains(number));
        let mut others = others.map(|(_, made)| made).filter(lost);
        others.any(|other| {
            let asked = |made: &Made| (made.asked.key, made.asked.prompt, made.model);
            asked(other) == asked(first)
        })
    }
}

fn cost_of(made: &Made, job: &Job) -> (u64, u64) {
    cost(made, job.seconds, &job.size)
}

/// A charge ends as its job did.
fn check_end(world: &World<'_>, row: &Row, job: &Job, say: &mut impl FnMut(&str)) {
    let charges_failed = world.charged_failed;
    let right = match (&*row.state, row.outcome.as_deref(), job.status) {
        ("posted", Some("deleted"), _) => job.deleted,
        ("posted", Some("expired"), _) => world.has_expired(row.created),
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

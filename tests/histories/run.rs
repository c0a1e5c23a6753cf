//! Runs histories, and shrinks those that show a difference.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::dice::{self, Allowed};
use crate::model::Model;
use crate::row::Row;
use crate::step::{History, Step};
use crate::store::Store;
use crate::world::World;

/// A history with a difference, as short as it could be made.
pub struct Found {
    engine: &'static str,
    seed: u64,
    history: History,
    wrong: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}: TOLLGATE_HISTORY_SEED={}", self.engine, self.seed)?;
        writeln!(f, "{:?}", self.history.start)?;
        for step in &self.history.steps {
            writeln!(f, "    {step:?},")?;
        }
        self.wrong
            .iter()
            .try_for_each(|wrong| writeln!(f, "  -> {wrong}"))
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
    )
}

/// The seeds that have shown a fault, of the gate or of the model: they are played each time, before the
/// others.
const PAST: [u64; 16] = [
    14041, 33913, 34978, 35496, 32418, 40099, 100547, 311247, 321034, 321781, 351253, 360634,
    421474, 450909, 601689, 905535,
];

/// How many differences are shrunk before the rest is left alone.
const ENOUGH: usize = 8;

pub async fn run_all(allowed: Allowed, store: impl AsyncFn() -> Store) -> Vec<Found> {
    let only = number("TOLLGATE_HISTORY_SEED");
    let (first, count) = match only {
        Some(seed) => (seed, 1),
        None => (
            number("TOLLGATE_HISTORY_FIRST").unwrap_or(0),
            number("TOLLGATE_HISTORIES").unwrap_or(40),
        ),
    };
    let past: &[u64] = if only.is_some() { &[] } else { &PAST };
    let (next, past_count) = (AtomicU64::new(0), past.len() as u64);
    let began = std::time::Instant::now();
    let work = async || {
        let mut store = store().await;
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= past_count + count || found.len() >= ENOUGH {
                return (store.name(), found);
            }
            if number > 0 && number.is_multiple_of(100) {
                eprintln!("{number} histories so far, {:?}", began.elapsed());
            }
            let seed = match number.checked_sub(past_count) {
                Some(number) => first + number,
                None => past[number as usize],
            };
            let history = dice::history(seed, allowed);
            let wrong = run(&mut store, &history, allowed, only.is_some()).await;
            if !wrong.is_empty() {
                let (history, wrong) = shrink(&mut store, history, wrong, allowed).await;
                let engine = store.name();
                let found_one = Found {
                    engine,
                    seed,
                    history,
                    wrong,
                };
                eprintln!("{found_one}");
                found.push(found_one);
            }
        }
    };
    let workers = number("TOLLGATE_HISTORY_WORKERS").unwrap_or(2);
    let all = futures_util::future::join_all((0..workers).map(|_| work())).await;
    let engine = all[0].0;
    eprintln!("{count} histories on {engine} in {:?}", began.elapsed());
    all.into_iter().flat_map(|(_, found)| found).collect()
}

/// What is wrong after the first step after which anything is.
async fn run(store: &mut Store, history: &History, allowed: Allowed, tells: bool) -> Vec<String> {
    store.clear().await;
    let mut world = World::start(store, history, allowed.gates).await;
    let mut model = Model::default();
    for step in &history.steps {
        world.take(*step).await;
        if tells {
            eprintln!("{step:?}");
        }
        if let Step::MissedPoll(..) = step {
            model.fail_over(world.store.rows().await);
        }
        let reach = matches!(step, Step::Create(_) | Step::Release(..) | Step::Reload(_));
        let wrong = look(&mut world, &mut model, reach.then_some(false)).await;
        if tells {
            for row in &model.before {
                eprintln!("      {row:?}");
            }
            if let Some(made) = world.made.last() {
                eprintln!("      {:?} at {}", made.sent, made.at);
            }
        }
        if !wrong.is_empty() {
            return wrong;
        }
    }
    let mut wrong = end(&mut world, &mut model).await;
    if !wrong.is_empty() {
        wrong.push("when all was over".into());
    }
    wrong
}

/// The channels tell all they can, then everything ends or expires.
async fn end(world: &mut World<'_>, model: &mut Model) -> Vec<String> {
    // Before clocks are set right: what was answered was judged by the wrong ones.
    world.release_all().await;
    let mut wrong = look(world, model, None).await;
    world.finish();
    // However slow the machine is.
    world.written().await;
    wrong.extend(look(world, model, Some(true)).await);
    for seconds in [1, 300, 200, 200] {
        world.pass(seconds).await;
        world.written().await;
        wrong.extend(look(world, model, None).await);
        if !wrong.is_empty() {
            return wrong;
        }
    }
    wrong.extend(model.check_found_out(world));
    world.end_all();
    // What was reserved by a clock 30 days ahead is seen to be lost after those, and expires last.
    for seconds in [60, 700, 700, 90_000, 90_000, 2_700_000, 90_001, 60] {
        if seconds == 90_000 {
            wrong.extend(model.check_ended(world));
        }
        world.pass(seconds).await;
        world.written().await;
        wrong.extend(look(world, model, None).await);
        if !wrong.is_empty() {
            return wrong;
        }
    }
    wrong.extend(model.check_resolved());
    wrong
}

/// How often is looked before what is wrong is taken for wrong: a gate may still be about it. Before the last
/// time, the gates write what they owe: after its connections were cut, a gate asks its ledger again only later.
const LOOKS: u32 = 20;

/// All that is wrong after a step. `reach` says whether to ask for jobs too: for the last one, or
/// for all.
pub async fn look(world: &mut World<'_>, model: &mut Model, reach: Option<bool>) -> Vec<String> {
    let mut wrong = match reach {
        Some(all) => world.check_reach(all).await,
        None => vec![],
    };
    wrong.append(&mut world.faults);
    for looked in 0..LOOKS {
        let (before, mut found) = (model.clone(), model.check(world).await);
        if found.is_empty() {
            break;
        }
        if looked + 1 == LOOKS {
            wrong.append(&mut found);
            break;
        }
        *model = before;
        match looked + 2 == LOOKS {
            true => world.written().await,
            false => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    let had = std::mem::replace(&mut world.rows, model.before.clone());
    let is_there = |row: &Row| world.rows.iter().any(|now| now.id == row.id);
    let gone: Vec<_> = had.into_iter().filter(|row| !is_there(row)).collect();
    // The name of a job whose record is gone may become that of another job.
    let names: Vec<_> = gone.iter().filter_map(|row| row.job.as_ref()).collect();
    world.ended.retain(|job| !names.contains(&job));
    world.forgotten.extend(gone);
    wrong
}

/// By what words one difference is told from others.
fn kind(wrong: &str) -> String {
    let words = wrong
        .split([':', ' '])
        .filter(|word| word.chars().all(char::is_alphabetic));
    words.take(4).collect::<Vec<_>>().join(" ")
}

/// Leaves steps out as long as the same stays wrong: half of them, then a quarter, and so on.
async fn shrink(
    store: &mut Store,
    mut history: History,
    mut wrong: Vec<String>,
    allowed: Allowed,
) -> (History, Vec<String>) {
    let mut size = history.steps.len().div_ceil(2);
    let kinds: Vec<_> = wrong.iter().map(|wrong| kind(wrong)).collect();
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < history.steps.len() {
            let mut less = history.clone();
            let end = (at + size).min(less.steps.len());
            less.steps.drain(at..end);
            let still = run(store, &less, allowed, false).await;
            let same = still.iter().any(|still| kinds.contains(&kind(still)));
            if !same {
                at += size;
            } else {
                (history, wrong, shorter) = (less, still, true);
            }
        }
        if size == 1 && !shorter {
            return (history, wrong);
        }
        size = (size / 2).max(1);
    }
}

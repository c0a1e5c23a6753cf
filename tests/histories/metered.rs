//! The metrics are the ledger: what was reserved, posted and voided, over all gates, is what
//! stands in the reservations.

use std::collections::{BTreeMap, HashMap};

use crate::row::Row;
use crate::world::World;

/// Key, model, size and channel, and of what is billed group and currency: list and billed cost
/// in nanos, seconds.
type Sums = BTreeMap<String, [i128; 3]>;

fn add(sums: &mut Sums, line: String, at: usize, amount: i128) {
    let sum = sums.entry(line.clone()).or_default();
    sum[at] += amount;
    if *sum == [0; 3] {
        sums.remove(&line);
    }
}

/// What open and posted reservations, and posted ones alone, add up to.
fn summed<'r>(rows: impl Iterator<Item = &'r Row>) -> [Sums; 2] {
    let mut sums = [Sums::new(), Sums::new()];
    for row in rows.filter(|row| row.state != "voided") {
        let charge = format!("{} {} {} {}", row.key, row.model, row.size, row.channel);
        let billed = format!("{charge} {} {}", row.group, row.currency);
        let which = if row.state == "posted" { 2 } else { 1 };
        for sums in &mut sums[..which] {
            add(sums, charge.clone(), 0, row.list.into());
            add(sums, billed.clone(), 1, row.billed.into());
            add(sums, charge.clone(), 2, row.seconds.into());
        }
    }
    sums
}

type Sample = (String, HashMap<String, String>, f64);

/// The samples of all gates' metrics.
fn samples(world: &World<'_>) -> Vec<Sample> {
    let texts = world
        .metrics
        .iter()
        .map(|metrics| metrics.exposition().unwrap());
    let text: String = texts.collect();
    // What was not counted yet is as if it were not there.
    let read = |line: &&str| {
        let of = |family: &str| line.starts_with(family) && !line.ends_with(" 0");
        FAMILIES.iter().any(|(family, _)| of(family)) || of(JOBS)
    };
    let lines = text.lines().filter(read);
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let pairs = labels.trim_end_matches('}').split("\",");
        let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
        let labels = pairs.map(|(name, value)| (name.into(), value.trim_end_matches('"').into()));
        Some((name.to_owned(), labels.collect(), value.parse().ok()?))
    };
    lines.filter_map(sample).collect()
}

/// The families of charges, and what they count in parts of what is summed here.
const FAMILIES: [(&str, f64); 3] = [
    ("tollgate_list_cost_usd_total", 1e9),
    ("tollgate_billed_cost_total", 1e9),
    ("tollgate_video_seconds_total", 1.0),
];
const JOBS: &str = "tollgate_jobs_total";

fn counted(samples: &[Sample]) -> [Sums; 2] {
    let mut sums = [Sums::new(), Sums::new()];
    for (name, labels, value) in samples {
        let Some(at) = FAMILIES.iter().position(|(family, _)| family == name) else {
            continue;
        };
        let amount = (value * FAMILIES[at].1).round() as i128;
        if amount == 0 {
            // It was started, and nothing has come of it.
            continue;
        }
        let names = ["key", "model", "size", "channel", "group", "currency"];
        let names = if at == 1 { &names[..] } else { &names[..4] };
        let line: Vec<_> = names.iter().map(|name| &*labels[*name]).collect();
        let line = line.join(" ");
        match &*labels["event"] {
            "reserved" => add(&mut sums[0], line, at, amount),
            "voided" => add(&mut sums[0], line, at, -amount),
            "posted" => add(&mut sums[1], line, at, amount),
            _ => {}
        }
    }
    sums
}

pub fn check<'r>(
    world: &World<'_>,
    rows: impl Iterator<Item = &'r Row> + Clone,
    wrong: &mut Vec<String>,
) {
    if world.has_failed_over {
        return;
    }
    let samples = samples(world);
    let (counted, summed) = (counted(&samples), summed(rows.clone()));
    for (what, counted, summed) in [
        ("reserved less voided", &counted[0], &summed[0]),
        ("posted", &counted[1], &summed[1]),
    ] {
        if counted != summed {
            let only = |a: &Sums, b: &Sums| {
                let differs = a.iter().filter(|(line, sum)| b.get(*line) != Some(sum));
                differs
                    .map(|(line, sum)| format!("{line}: {sum:?}"))
                    .collect::<Vec<_>>()
            };
            let (metrics, ledger) = (only(counted, summed), only(summed, counted));
            wrong.push(format!(
                "{what}: the metrics say {metrics:?}, the ledger {ledger:?}"
            ));
        }
    }
    let jobs = samples.iter().filter(|(name, ..)| name == JOBS);
    let jobs: f64 = jobs.map(|(_, _, value)| value).sum();
    let ended = rows
        .filter(|row| row.job.is_some() && !row.is_open())
        .count();
    if jobs != ended as f64 {
        wrong.push(format!(
            "jobs that ended: the metrics say {jobs}, the ledger {ended}"
        ));
    }
}

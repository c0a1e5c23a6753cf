//! Compares the three books: SQL, counters, and the channel's.

use std::collections::BTreeMap;

use crate::engines::Engine;
use crate::support::Stand;
use crate::traffic::{CLIENTS, LIMITED, Traffic};
use tollgate::mock::JobRecord;

/// Whole billionths, so that sums are exact.
fn nanos(decimal: &str) -> i128 {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = format!("{whole}{fraction:0<9}");
    assert!(fraction.len() <= 9, "{decimal}");
    digits.parse().unwrap()
}

/// List cost, billed cost, video seconds.
type Sums = [i128; 3];

/// By key, model and size.
type Bill = BTreeMap<[String; 3], Sums>;

fn add(bill: &mut Bill, line: [String; 3], sums: Sums) {
    let line = bill.entry(line).or_default();
    for (sum, more) in line.iter_mut().zip(sums) {
        *sum += more;
    }
}

pub async fn compare(engine: &Engine, stand: &Stand, traffic: &Traffic) {
    let jobs = stand.mock.jobs();
    let jobs: BTreeMap<String, JobRecord> = jobs
        .into_iter()
        .map(|record| (record.job.id.clone().unwrap(), record))
        .collect();
    let charged = each_job_is_charged_once(engine, &jobs, traffic);
    let bill = bill(engine);
    assert_eq!(bill, charged, "the bill by SQL and the sum of the jobs");
    the_channel_agrees(engine, stand, &jobs, &bill);
    counters_agree(stand, engine, &bill).await;
}

/// Every job of the channel is one charge of its owner, of what it costs, and no other
/// reservation is owed. What is owed in the end.
fn each_job_is_charged_once(
    engine: &Engine,
    jobs: &BTreeMap<String, JobRecord>,
    traffic: &Traffic,
) -> Bill {
    let rows = engine.rows(
        "SELECT job, key, model, size, seconds, list_nanos, billed_nanos, state, outcome \
         FROM reservation",
    );
    let (mut seen, mut owed) = (BTreeMap::new(), Bill::new());
    for row in &rows {
        let [id, key, model, size, seconds, list, billed, state, outcome] = &row[..] else {
            panic!("{row:?}")
        };
        if id.is_empty() {
            assert_eq!(state, "voided", "nothing is owed without a job: {row:?}");
            continue;
        }
        let record = jobs
            .get(id)
            .unwrap_or_else(|| panic!("no such job: {row:?}"));
        assert_eq!(seen.insert(id.clone(), key.clone()), None, "{row:?}");
        let job = &record.job;
        assert!(
            job.prompt.starts_with(&format!("key={key} ")),
            "{row:?}: {job:?}"
        );
        assert_eq!(
            [&job.model, &job.size, &job.seconds],
            [model, size, seconds],
            "{row:?}"
        );
        let list: i128 = list.parse().unwrap();
        assert_eq!(list, nanos(&record.list_cost_usd), "{row:?}");
        let multiplier = match key.as_str() {
            "demo" | "studio-a" => 5000,
            _ => 1125,
        };
        let billed: i128 = billed.parse().unwrap();
        assert_eq!(billed * 1000, list * multiplier, "{row:?}");
        // Nobody can ask any more how a job would have ended that was deleted before.
        let cut_short = outcome == "deleted";
        if cut_short {
            assert!(
                record.deleted && traffic.deleted.lock().unwrap().contains(id),
                "{row:?}"
            );
        } else {
            assert_eq!(outcome, job.status, "{row:?}");
        }
        let posted = cut_short || job.status == "completed";
        assert_eq!(
            state,
            if posted { "posted" } else { "voided" },
            "{row:?}: {job:?}"
        );
        if posted {
            let line = [key.clone(), model.clone(), size.clone()];
            add(&mut owed, line, [list, billed, seconds.parse().unwrap()]);
        }
    }
    let charged: Vec<_> = seen.keys().collect();
    assert_eq!(
        charged,
        jobs.keys().collect::<Vec<_>>(),
        "each job is charged, and nothing else"
    );
    for (id, client) in traffic.told.lock().unwrap().iter() {
        assert_eq!(seen.get(id).map(String::as_str), Some(client.name), "{id}");
    }
    owed
}

/// What the view says, with nothing open.
fn bill(engine: &Engine) -> Bill {
    let mut bill = Bill::new();
    let rows = engine.rows(
        "SELECT key, model, size, list_cost_usd, billed_cost, video_seconds, jobs, \
         open_jobs, open_list_cost_usd, open_billed_cost FROM bill",
    );
    for row in rows {
        let open = [&row[7], &row[8], &row[9]].map(|column| nanos(column));
        assert_eq!(open, [0; 3], "{row:?}");
        let sums = [nanos(&row[3]), nanos(&row[4]), row[5].parse().unwrap()];
        if row[6] == "0" {
            assert_eq!(sums, [0; 3], "{row:?}");
            continue;
        }
        add(
            &mut bill,
            [row[0].clone(), row[1].clone(), row[2].clone()],
            sums,
        );
    }
    bill
}

fn the_channel_agrees(
    engine: &Engine,
    stand: &Stand,
    jobs: &BTreeMap<String, JobRecord>,
    bill: &Bill,
) {
    let stats = stand.mock.stats();
    let of = |bill: &Bill| bill.values().map(|sums| sums[0]).sum::<i128>();
    // Those that were deleted before they failed are owed all the same.
    let cut_short = engine.rows("SELECT job FROM reservation WHERE outcome = 'deleted'");
    let cut_short = cut_short.iter().map(|row| &jobs[&row[0]]);
    let failed = cut_short.filter(|record| record.job.status != "completed");
    let failed: i128 = failed.map(|record| nanos(&record.list_cost_usd)).sum();
    assert_eq!(
        of(bill),
        nanos(&stats.list_cost_usd_completed) + failed,
        "the channel's count"
    );
    let accepted = stats.creates_accepted + stats.remixes_accepted;
    assert_eq!(accepted, jobs.len() as u64);
    let limited = bill.iter().filter(|([key, ..], _)| key == LIMITED.name);
    let spent: i128 = limited.map(|(_, sums)| sums[0]).sum();
    assert!(spent <= nanos("30"), "{spent}");
}

/// Every counter: reserved = posted + voided, and posted is the bill.
async fn counters_agree(stand: &Stand, engine: &Engine, bill: &Bill) {
    // A counter moves right after the ledger has.
    stand
        .until("the counters say what was posted and voided", async || {
            let [reserved, posted, voided] = counters(stand).await;
            let mut resolved = posted;
            voided
                .into_iter()
                .for_each(|(line, sums)| add(&mut resolved, line, sums));
            reserved == resolved
        })
        .await;
    let [_, posted, _] = counters(stand).await;
    assert_eq!(&posted, bill, "the counters and the bill");
    let metrics = stand.metrics().await;
    for client in CLIENTS {
        let sample = format!("tollgate_jobs_in_flight{{key=\"{}\"}}", client.name);
        assert_eq!(metrics[&sample], 0.0, "{sample}");
    }
    let ended = engine.rows("SELECT count(*) FROM reservation WHERE job IS NOT NULL");
    let counted = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("tollgate_jobs_total"));
    let counted: f64 = counted.map(|(_, value)| value).sum();
    assert_eq!(counted.to_string(), ended[0][0], "jobs that ended");
}

/// What the counters say was reserved, posted and voided.
async fn counters(stand: &Stand) -> [Bill; 3] {
    let families = [
        ("tollgate_list_cost_usd_total{", 1e9),
        ("tollgate_billed_cost_total{", 1e9),
        ("tollgate_video_seconds_total{", 1.0),
    ];
    let mut bills = [Bill::new(), Bill::new(), Bill::new()];
    for (sample, value) in stand.metrics().await {
        let family = families
            .iter()
            .position(|(family, _)| sample.starts_with(family));
        let Some(family) = family.filter(|_| value != 0.0) else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = sample.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let event = ["reserved", "posted", "voided"];
        let event = event
            .iter()
            .position(|event| *event == label("event"))
            .unwrap();
        let mut sums = Sums::default();
        // As far as a float tells: far below a cent, and these sums are not large.
        sums[family] = (value * families[family].1).round() as i128;
        let line = ["key", "model", "size"].map(label);
        add(&mut bills[event], line, sums);
    }
    bills
}

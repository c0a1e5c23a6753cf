//! What the gate accepts, every real parser reads the same way.
//!
//! Bodies of real clients are broken in ways that parsers are known to forgive. Those that
//! the gate lets through all the same are read by independent parsers, and each must find
//! the model, seconds and size that the gate found, whether an application takes the first
//! or the last value of a name.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_MUTANTS` | how many bodies to try (20000) |
//! | `TOLLGATE_SEED` | other bodies (1) |
//! | `TOLLGATE_PYTHON` | an interpreter that has `tests/parsers/requirements.txt` |
//! | `TOLLGATE_NODE_MODULES` | the folder into which `tests/parsers/package.json` is installed |
#![forbid(unsafe_code)]

#[path = "parsers/attacks.rs"]
mod attacks;
#[path = "parsers/disposition.rs"]
mod disposition;
#[path = "parsers/fields.rs"]
mod fields;
#[path = "parsers/framing.rs"]
mod framing;
#[path = "parsers/gate.rs"]
mod gate;
#[path = "parsers/headers.rs"]
mod headers;
#[path = "parsers/json.rs"]
mod json;
#[path = "parsers/mutants.rs"]
mod mutants;
#[path = "parsers/oracle.rs"]
mod oracle;
#[path = "parsers/request.rs"]
mod request;
#[path = "parsers/rng.rs"]
mod rng;
#[path = "parsers/shapes.rs"]
mod shapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use mutants::Mutant;
use oracle::{Answer, Oracle, Record};
use rng::Rng;
use serde::Deserialize;

/// The fields that decide about the price, as somebody read them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Read {
    pub model: Option<String>,
    pub seconds: Option<String>,
    pub size: Option<String>,
}

impl Read {
    /// Where the value of the field `name` belongs, if it is one of these.
    pub fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "model" => Some(&mut self.model),
            "seconds" => Some(&mut self.seconds),
            "size" => Some(&mut self.size),
            _ => None,
        }
    }
}

/// A gate: what it reads out of a body that is cut at some offsets, or why it refuses.
type Gate = fn(&str, &[u8], &[usize]) -> Result<Read, String>;

#[test]
fn every_parser_reads_what_the_gate_reads() {
    let count = number("TOLLGATE_MUTANTS", 20_000);
    let report = compare(gate::gate_reads, count);
    say(&report.table("the gate"));
    assert!(report.accepted > count / 100, "hardly a mutant passes");
    assert!(report.disagreements.is_empty(), "{}", report.complaint());
}

/// The comparison would find something if there were something to find.
#[test]
fn a_lenient_gate_is_caught() {
    let report = compare(lenient_gate_reads, 2_000);
    say(&report.table("a gate built on multer"));
    // In this process there is only multer itself.
    if report.parsers.len() == 1 {
        return;
    }
    let attack = |found: &Disagreement| found.label.starts_with("attack");
    let attacks = report.disagreements.iter().filter(|d| attack(d)).count();
    let mutants = report.disagreements.len() - attacks;
    assert!(attacks > 100 && mutants > 10, "{attacks} and {mutants}");
}

/// The bodies that are not broken at all pass, and are understood by everybody.
#[test]
fn real_clients_pass() {
    let mut rng = Rng::new(7);
    let mut report = Report::default();
    let mut batch = Vec::new();
    for client in shapes::CLIENTS {
        for _ in 0..40 {
            let form = shapes::form(client, &mut rng);
            let mutant = Mutant {
                body: form.body(),
                content_type: form.content_type,
                label: client.name.to_owned(),
            };
            let read = gate::gate_reads(&mutant.content_type, &mutant.body, &[])
                .unwrap_or_else(|reason| panic!("{}: {reason}", client.name));
            batch.push((mutant, read, 0));
        }
    }
    let oracles = Oracle::all().0;
    report.ask(&oracles, &batch);
    assert!(report.disagreements.is_empty(), "{}", report.complaint());
    for (parser, tally) in &report.parsers {
        for (error, (_, client)) in &tally.reasons {
            let known = REFUSALS.contains(&(parser.as_str(), client.as_str()));
            assert!(known, "{parser} refuses a body of {client}: {error}");
        }
    }
}

/// Clients whose bodies a parser refuses. falcon takes no Content-Transfer-Encoding, undici
/// no backslash in a filename.
const REFUSALS: &[(&str, &str)] = &[("falcon", "httpmime"), ("undici", "go")];

/// What the gate says to an attack is the same in pieces of any size, up to the reason of a
/// refusal.
#[test]
fn attacks_are_judged_alike_in_pieces() {
    for Mutant {
        content_type,
        body,
        label,
    } in attacks::attacks()
    {
        let whole = gate::gate_reads(&content_type, &body, &[]);
        for size in [1, 2, 3, 5, 7, 64] {
            let cuts: Vec<usize> = (0..body.len()).step_by(size).collect();
            let cut = gate::gate_reads(&content_type, &body, &cuts);
            assert_eq!(whole, cut, "{label}, in pieces of {size}: {}", hex(&body));
        }
    }
}

/// How often a parser agreed with the gate.
#[derive(Debug, Default)]
struct Tally {
    agrees: usize,
    errors: usize,
    disagrees: usize,
    /// The errors by their text, each with the faults of one body that has it.
    reasons: BTreeMap<String, (usize, String)>,
}

/// A body that a parser reads in another way than the gate.
#[derive(Debug)]
struct Disagreement {
    parser: String,
    label: String,
    gate: Read,
    answer: Answer,
    record: Record,
}

/// What came out of a comparison.
#[derive(Debug, Default)]
struct Report {
    candidates: usize,
    accepted: usize,
    parsers: BTreeMap<String, Tally>,
    disagreements: Vec<Disagreement>,
}

/// Bodies that are broken, read and compared at a time.
const BATCH: usize = 20_000;

/// Tries the hand-made attacks and `count` mutants.
fn compare(gate: Gate, count: usize) -> Report {
    let (oracles, missing) = Oracle::all();
    for what in missing {
        say(&format!("SKIPPED: {what}\n"));
    }
    let mut rng = Rng::new(number("TOLLGATE_SEED", 1) as u64);
    let mut report = Report::default();
    let mut attacks = attacks::attacks();
    let mut left = count;
    while left > 0 || !attacks.is_empty() {
        let mutants = left.min(BATCH);
        left -= mutants;
        let mut candidates = std::mem::take(&mut attacks);
        candidates.extend((0..mutants).map(|_| {
            if rng.one_in(4) {
                json::mutant(&mut rng)
            } else {
                mutants::mutant(&mut rng)
            }
        }));
        report.candidates += candidates.len();
        let batch: Vec<_> = candidates
            .into_iter()
            .filter_map(|mutant| accepted(gate, mutant, &mut rng))
            .collect();
        report.accepted += batch.len();
        report.ask(&oracles, &batch);
    }
    report
}

/// The mutant and what the gate reads in it, if the gate lets it pass. It must do the same
/// however the body is cut; the reason of a refusal may be another.
fn accepted(gate: Gate, mutant: Mutant, rng: &mut Rng) -> Option<(Mutant, Read, u32)> {
    let length = mutant.body.len();
    let mut cuts: Vec<usize> = if rng.one_in(4) {
        (0..length).collect()
    } else {
        (0..rng.below(6)).map(|_| rng.below(length + 1)).collect()
    };
    cuts.sort_unstable();
    let whole = gate(&mutant.content_type, &mutant.body, &[]).ok();
    let cut = gate(&mutant.content_type, &mutant.body, &cuts).ok();
    assert_eq!(
        whole,
        cut,
        "the answer depends on the cuts {cuts:?}\n{}\n{}\n{}",
        mutant.label,
        mutant.content_type,
        hex(&mutant.body)
    );
    let step = rng.pick(&[0, 0, 1, 3, 17, 64]);
    Some((mutant, whole?, step))
}

impl Report {
    /// Has the bodies of `batch` read, each of which the gate accepted and read so.
    fn ask(&mut self, oracles: &[Oracle], batch: &[(Mutant, Read, u32)]) {
        let records: Vec<Record> = batch
            .iter()
            .map(|(mutant, _, step)| Record {
                content_type: mutant.content_type.clone(),
                body: mutant.body.clone(),
                step: *step,
            })
            .collect();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = oracles
                .iter()
                .map(|oracle| scope.spawn(|| oracle.ask(&records)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("an oracle fails"))
                .collect()
        });
        for of_oracle in answers {
            for (i, of_record) in of_oracle.into_iter().enumerate() {
                for (parser, answer) in of_record {
                    let (mutant, read, _) = &batch[i];
                    self.note(parser, mutant, read, answer, &records[i]);
                }
            }
        }
    }

    fn note(
        &mut self,
        parser: String,
        mutant: &Mutant,
        gate: &Read,
        answer: Answer,
        record: &Record,
    ) {
        let tally = self.parsers.entry(parser.clone()).or_default();
        match &answer {
            Answer::Refuses { error } => {
                tally.errors += 1;
                let reason = tally.reasons.entry(error.clone());
                reason.or_insert_with(|| (0, mutant.label.clone())).0 += 1;
            }
            Answer::Reads { first, last } if first == gate && last == gate => tally.agrees += 1,
            Answer::Reads { .. } => {
                tally.disagrees += 1;
                self.disagreements.push(Disagreement {
                    parser,
                    label: mutant.label.clone(),
                    gate: gate.clone(),
                    answer,
                    record: record.clone(),
                });
            }
        }
    }

    fn table(&self, title: &str) -> String {
        let mut table = format!(
            "{title}: {} candidates, {} accepted\n{:<28}{:>10}{:>10}{:>10}\n",
            self.candidates, self.accepted, "parser", "agrees", "errors", "disagrees"
        );
        for (parser, tally) in &self.parsers {
            let _ = writeln!(
                table,
                "{parser:<28}{:>10}{:>10}{:>10}",
                tally.agrees, tally.errors, tally.disagrees
            );
        }
        table
    }

    /// The first disagreements of each parser, with the bodies.
    fn complaint(&self) -> String {
        let mut text = format!("{} disagreements\n", self.disagreements.len());
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for found in &self.disagreements {
            let shown = shown.entry(&found.parser).or_default();
            *shown += 1;
            if *shown > 3 {
                continue;
            }
            let _ = writeln!(
                text,
                "{} ({}), in pieces of {}\n  gate   {:?}\n  parser {:?}\n  {}\n  {}",
                found.parser,
                found.label,
                found.record.step,
                found.gate,
                found.answer,
                found.record.content_type,
                hex(&found.record.body)
            );
        }
        text
    }
}

/// A gate as one would build it without a scanner of its own: a lenient parser and checks
/// around it.
fn lenient_gate_reads(content_type: &str, body: &[u8], _: &[usize]) -> Result<Read, String> {
    if content_type.to_lowercase().contains("json") {
        return Err("a form is wanted".to_owned());
    }
    let (first, last) = oracle::multer_reads(content_type, body)?;
    if first != last {
        return Err("a field is repeated".to_owned());
    }
    if first.model.is_none() {
        return Err("model is missing".to_owned());
    }
    Ok(first)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number"))
    })
}

/// Writes past the test harness, which keeps back what a passing test prints.
fn say(text: &str) {
    let mut to = std::io::stderr().lock();
    let _ = to.write_all(text.as_bytes());
}

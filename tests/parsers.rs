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
//! | `TOLLGATE_LARGE` | how many bodies with a part of 64 KiB to 2 MiB to try (150) |
//! | `TOLLGATE_SEED` | other bodies (1) |
//! | `TOLLGATE_PYTHON` | an interpreter that has `tests/parsers/requirements.txt` |
//! | `TOLLGATE_PYTHON_OLDER_PARSERS` | one that has `tests/parsers/requirements-older.txt` |
//! | `TOLLGATE_NODE_MODULES` | the folder into which `tests/parsers/package.json` is installed |
//! | `TOLLGATE_GO`, `TOLLGATE_RUBY`, `TOLLGATE_PERL`, `TOLLGATE_PHP_CGI` | these programs |
//!
//! `docs/parsers.md` says which parsers are covered, and what is not.
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
#[path = "parsers/large.rs"]
mod large;
#[path = "parsers/mutants.rs"]
mod mutants;
#[path = "parsers/oracle.rs"]
mod oracle;
#[path = "parsers/report.rs"]
mod report;
#[path = "parsers/request.rs"]
mod request;
#[path = "parsers/rng.rs"]
mod rng;
#[path = "parsers/shapes.rs"]
mod shapes;

use std::io::Write as _;

use mutants::Mutant;
use oracle::{Answer, Oracle};
use report::{Disagreement, Report, hex};
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

#[test]
fn every_parser_reads_large_bodies_as_the_gate_does() {
    let count = number("TOLLGATE_LARGE", 150);
    let report = compare_large(gate::gate_reads, count);
    say(&report.table("the gate, large bodies"));
    assert!(report.accepted > count / 2, "hardly a body passes");
    assert!(report.disagreements.is_empty(), "{}", report.complaint());
}

/// Without the rules that refuse them, these bodies show a parser another model.
#[test]
fn what_the_rules_refuse_is_read_differently() {
    let oracles = Oracle::all().0;
    if oracles.len() == 1 {
        return;
    }
    let known = large::known();
    let mut report = Report::default();
    let batch: Vec<_> = known
        .into_iter()
        .map(|mutant| {
            let refusal = gate::gate_reads(&mutant.content_type, &mutant.body, &[]);
            assert!(refusal.is_err(), "{} passes: {refusal:?}", mutant.label);
            let honest = Read {
                model: Some("sora-2".to_owned()),
                seconds: Some("4".to_owned()),
                size: Some("720x1280".to_owned()),
            };
            (mutant, honest, 0)
        })
        .collect();
    report.ask(&oracles, &batch);
    for (mutant, _, _) in &batch {
        let dear = Some("sora-2-pro".to_owned());
        let found = report.disagreements.iter().find(|found| {
            let reads = match &found.answer {
                Answer::Reads { first, last } => first.model == dear || last.model == dear,
                Answer::Refuses { .. } => false,
            };
            reads && found.record.body == mutant.body
        });
        let found = found.unwrap_or_else(|| panic!("{}: nobody reads sora-2-pro", mutant.label));
        say(&format!(
            "{}: {} reads sora-2-pro\n",
            mutant.label, found.parser
        ));
    }
    // So does the generator find them, if nothing is refused.
    let mut rng = Rng::new(5);
    for fault in large::FAULTS {
        let batch: Vec<_> = (0..16)
            .map(|_| {
                let large::Large { mutant, honest } = large::large(Some(fault), &mut rng);
                (mutant, honest, 0)
            })
            .collect();
        let mut report = Report::default();
        report.ask(&oracles, &batch);
        let found = report.disagreements.len();
        say(&format!(
            "{fault}: {found} differences in 16 large bodies\n"
        ));
        assert!(found > 0, "{fault}: not found in large bodies");
    }
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
    let mut unknown = Vec::new();
    for (parser, tally) in &report.parsers {
        for (error, (_, client)) in &tally.reasons {
            let of = |(refusing, of): &(&str, &str)| parser.starts_with(refusing) && client == of;
            if !REFUSALS.iter().any(of) {
                unknown.push(format!("{parser} refuses a body of {client}: {error}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Clients whose bodies a parser refuses. falcon takes no Content-Transfer-Encoding, undici no
/// backslash in a filename; parse-multipart-data wants a JSON string without `;` for one, and a
/// file's type; HTTP::Body and HTTP::Entity::Parser want one CRLF after the close delimiter.
const REFUSALS: &[(&str, &str)] = &[
    ("falcon", "httpmime"),
    ("falcon", "ruby"),
    ("perl HTTP::Body", "axios"),
    ("perl HTTP::Entity::Parser", "axios"),
    ("perl HTTP::Entity::Parser", "ruby"),
    ("undici", "go"),
    ("undici", "ruby"),
    ("undici", "curl on Windows"),
    ("undici", "lwp"),
    ("parse-multipart-data", "dotnet"),
    ("parse-multipart-data", "curl on Windows"),
    ("parse-multipart-data", "httpclient 5.2"),
];

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

/// Bytes in the large bodies that are read and compared at a time.
const BATCH_BYTES: usize = 64 << 20;

/// Tries `count` large bodies, one in four with a fault.
fn compare_large(gate: Gate, count: usize) -> Report {
    let oracles = Oracle::all().0;
    let mut rng = Rng::new(number("TOLLGATE_SEED", 1) as u64);
    let mut report = Report::default();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for left in (0..count).rev() {
        let fault = rng.one_in(4).then(|| rng.pick(&large::FAULTS));
        let large = large::large(fault, &mut rng);
        let step = rng.pick(&STEPS);
        report.candidates += 1;
        if let Some(accepted) = accepted_large(gate, large, step, &mut rng) {
            report.accepted += 1;
            bytes += accepted.0.body.len();
            batch.push(accepted);
        }
        if bytes > BATCH_BYTES || left == 0 {
            report.ask(&oracles, &batch);
            batch.clear();
            bytes = 0;
        }
    }
    report
}

/// The pieces in which large bodies come; 0 is whole.
const STEPS: [u32; 6] = [0, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

/// The body and what the gate reads in it, if the gate lets it pass.
fn accepted_large(
    gate: Gate,
    large: large::Large,
    step: u32,
    rng: &mut Rng,
) -> Option<(Mutant, Read, u32)> {
    let large::Large { mutant, honest } = large;
    let cuts: Vec<usize> = match step {
        0 => vec![rng.below(mutant.body.len())],
        _ => (0..mutant.body.len()).step_by(step as usize).collect(),
    };
    let whole = gate(&mutant.content_type, &mutant.body, &[]);
    let cut = gate(&mutant.content_type, &mutant.body, &cuts);
    assert_eq!(whole, cut, "{}, in pieces of {step}", mutant.label);
    let read = whole.ok()?;
    assert_eq!(read, honest, "{}", mutant.label);
    Some((mutant, read, step))
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

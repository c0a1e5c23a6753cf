//! What a comparison finds, and how it is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Read;
use crate::mutants::Mutant;
use crate::oracle::{Answer, Oracle, Record};

/// How often a parser agreed with the gate.
#[derive(Debug, Default)]
pub struct Tally {
    pub agrees: usize,
    pub errors: usize,
    pub disagrees: usize,
    /// Differences that are documented.
    pub not_covered: usize,
    /// The errors by their text, each with the faults of one body that has it.
    pub reasons: BTreeMap<String, (usize, String)>,
}

/// A body that a parser reads in another way than the gate.
#[derive(Debug)]
pub struct Disagreement {
    pub parser: String,
    pub label: String,
    pub gate: Read,
    pub answer: Answer,
    pub record: Record,
}

/// What came out of a comparison.
#[derive(Debug, Default)]
pub struct Report {
    pub candidates: usize,
    pub accepted: usize,
    pub parsers: BTreeMap<String, Tally>,
    pub disagreements: Vec<Disagreement>,
}

impl Report {
    /// Has the bodies of `batch` read, each of which the gate accepted and read so.
    pub fn ask(&mut self, oracles: &[Oracle], batch: &[(Mutant, Read, u32)]) {
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
            Answer::Reads { .. } if is_not_covered(&parser, record) => tally.not_covered += 1,
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

    pub fn table(&self, title: &str) -> String {
        let mut table = format!(
            "{title}: {} candidates, {} accepted\n{:<28}{:>10}{:>10}{:>10}{:>13}\n",
            self.candidates,
            self.accepted,
            "parser",
            "agrees",
            "errors",
            "disagrees",
            "not covered"
        );
        for (parser, tally) in &self.parsers {
            let _ = writeln!(
                table,
                "{parser:<28}{:>10}{:>10}{:>10}{:>13}",
                tally.agrees, tally.errors, tally.disagrees, tally.not_covered
            );
        }
        table
    }

    /// The first disagreements of each parser, with the bodies.
    pub fn complaint(&self) -> String {
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
                excerpt(&found.record.body)
            );
        }
        text
    }
}

/// Whether a parser is known to read a body differently that has to pass all the same, since
/// real clients send it: see `docs/parsers.md`.
fn is_not_covered(parser: &str, record: &Record) -> bool {
    // It loses the last field. Ruby's multipart-post ends its bodies so.
    parser.starts_with("streaming-form-data 2.1.0") && record.body.ends_with(b"--\r\n\r\n")
}

/// All of a small body; of a large one what tells most.
fn excerpt(body: &[u8]) -> String {
    match body.split_at_checked(2_000) {
        Some((head, rest)) => format!("{}... and {} bytes", hex(head), rest.len()),
        None => hex(body),
    }
}

/// The bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

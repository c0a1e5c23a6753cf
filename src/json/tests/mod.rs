//! Tests the JSON scanner, with bodies cut at every offset.

mod accepted;
mod agreement;
mod grammar;
mod release;

use serde_json::Value;

use super::{Error, Limits, Scanner};
use crate::form::{Field, Kind, Release, Sink, Stop};

/// One field that was seen, with its data in one piece.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    name: String,
    is_text: bool,
    data: Vec<u8>,
    ended: bool,
}

/// A sink that withholds fields whose names begin with `m` or `input_reference[f`, and refuses any field
/// named `refused`, and the 11th byte of a field named `short`.
#[derive(Debug, Default)]
struct Recorder {
    seen: Vec<Seen>,
    after_end: bool,
    is_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal(String);

impl Recorder {
    /// Returns whether a field is open whose bytes must all be withheld.
    fn withholds(&self) -> bool {
        self.after_end && self.seen.last().is_some_and(|seen| !seen.ended)
    }
}

impl Sink for Recorder {
    type Refusal = Refusal;

    fn begin(&mut self, field: Field<'_>) -> Result<Release, Refusal> {
        assert!(!self.is_over);
        assert!(self.seen.last().is_none_or(|last| last.ended));
        if field.name == "refused" {
            self.is_over = true;
            return Err(Refusal(field.name.to_owned()));
        }
        self.seen.push(Seen {
            name: field.name.to_owned(),
            is_text: field.kind == Kind::Text,
            data: Vec::new(),
            ended: false,
        });
        self.after_end = field.name.starts_with('m') || field.name.starts_with("input_reference[f");
        Ok(match self.after_end {
            true => Release::AfterEnd,
            false => Release::AtOnce,
        })
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        assert!(!self.is_over && !bytes.is_empty());
        let last = self.seen.last_mut().expect("data without begin");
        assert!(!last.ended);
        last.data.extend_from_slice(bytes);
        if last.name == "short" && last.data.len() > 10 {
            last.data.truncate(10);
            self.is_over = true;
            return Err(Refusal("short".to_owned()));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        assert!(!self.is_over);
        let last = self.seen.last_mut().expect("end without begin");
        assert!(!last.ended);
        last.ended = true;
        Ok(())
    }
}

type Answer = (Vec<Seen>, Result<(), Stop<Error, Refusal>>);

/// Scans `body`, cut at `cuts` (ascending), and checks what holds at every step.
fn scan(body: &[u8], cuts: &[usize]) -> Answer {
    let limits = Limits::default();
    let mut scanner = Scanner::new(limits);
    let mut recorder = Recorder::default();
    let mut start = 0;
    let mut safe = 0;
    let mut failure = None;
    for &end in cuts.iter().chain([&body.len()]) {
        let withheld = |recorder: &Recorder| recorder.withholds().then_some(recorder.seen.len());
        let withheld_before = withheld(&recorder);
        let outcome = scanner.push(&body[start..end], &mut recorder);
        let pushed = end as u64;
        assert!(scanner.safe() >= safe, "safe() fell");
        assert!(scanner.safe() <= pushed, "safe() ran ahead");
        // The withheld field is the same as before, not the next one.
        if withheld_before.is_some() && withheld(&recorder) == withheld_before {
            assert_eq!(scanner.safe(), safe, "a withheld field went out");
        }
        safe = scanner.safe();
        start = end;
        if let Err(stop) = outcome {
            // A later call returns the same error, or `Stopped`; and nothing more is safe.
            let again = scanner.push(b" ", &mut recorder).expect_err("went on");
            match &stop {
                Stop::Syntax(_) => assert_eq!(again, stop),
                Stop::Refused(_) => assert_eq!(again, Stop::Syntax(Error::Stopped)),
            }
            assert_eq!(scanner.finish(&mut recorder), Err(again));
            assert_eq!(scanner.safe(), safe);
            failure = Some(stop);
            break;
        }
        let value = match recorder.seen.last() {
            Some(last) if recorder.withholds() => 6 * last.data.len() + 14,
            _ => 0,
        };
        assert!(
            pushed - safe <= (limits.withheld_bytes() + value) as u64,
            "too much is withheld"
        );
    }
    let result = match failure {
        Some(stop) => Err(stop),
        None => scanner.finish(&mut recorder),
    };
    let released = &body[..safe as usize];
    assert!(
        serde_json::from_slice::<Value>(released).is_err(),
        "a complete body went out"
    );
    if result.is_ok() {
        let brace = body.iter().rposition(|&b| b == b'}').expect("accepted");
        assert!(safe <= brace as u64, "the closing brace went out");
    }
    (recorder.seen, result)
}

/// Scans `body` whole, byte by byte and cut in two at every offset, and returns the answer, which is the
/// same.
fn scan_every_way(body: &[u8]) -> Answer {
    let whole = scan(body, &[]);
    let bytes: Vec<usize> = (0..=body.len()).collect();
    assert_eq!(scan(body, &bytes), whole, "byte by byte");
    for cut in 0..=body.len() {
        assert_eq!(scan(body, &[cut]), whole, "cut at {cut}");
    }
    whole
}

fn text(name: &str, data: &str) -> Seen {
    Seen {
        name: name.to_owned(),
        is_text: true,
        data: data.as_bytes().to_vec(),
        ended: true,
    }
}

fn raw(name: &str, data: &str) -> Seen {
    Seen {
        is_text: false,
        ..text(name, data)
    }
}

//! Tests that each body has the same outcome when it is scanned whole, byte by byte, and cut at every
//! offset. Also checks what [`Scanner::safe`] promises.

mod content_types;
mod dispositions;
mod framing;
mod headers;
mod limits;
mod random;
mod shapes;

use memchr::memmem;

use super::{Boundary, Error, Limits, Scanner};
use crate::form::{Field, Kind, Release, Sink, Stop};

/// The boundary of the bodies that are written by hand.
const BOUNDARY: &str = "X.b-X";

/// The headers of a part whose field the policy judges.
const MODEL: &str = "Content-Disposition: form-data; name=\"model\"";

/// The maximum number of bytes of a field under [`Release::AfterEnd`].
const POLICY_BYTES: usize = 24;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    kind: Kind,
    value: Vec<u8>,
    complete: bool,
}

impl Seen {
    fn text(name: &str, value: &str) -> Self {
        Self::new(name, Kind::Text, value.as_bytes())
    }

    fn new(name: &str, kind: Kind, value: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            value: value.to_vec(),
            complete: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Unknown(String),
    Repeated(String),
    TooLong(String),
}

/// A sink that records the fields, and asserts the order of its calls.
#[derive(Debug, Default)]
struct Recorder {
    seen: Vec<Seen>,
    holding: bool,
    refused: bool,
}

impl Recorder {
    fn refuse<T>(&mut self, refusal: Refusal) -> Result<T, Refusal> {
        self.refused = true;
        Err(refusal)
    }
}

fn release(name: &str) -> Option<Release> {
    match name {
        "prompt" | "input_reference" => Some(Release::AtOnce),
        "model" | "seconds" | "size" | "input_reference[file_id]" | "characters[][id]" => {
            Some(Release::AfterEnd)
        }
        _ => None,
    }
}

impl Sink for Recorder {
    type Refusal = Refusal;

    fn begin(&mut self, field: Field<'_>) -> Result<Release, Refusal> {
        assert!(!self.refused);
        assert!(self.seen.last().is_none_or(|last| last.complete));
        let name = field.name.to_owned();
        let Some(release) = release(&name) else {
            return self.refuse(Refusal::Unknown(name));
        };
        if self.seen.iter().any(|seen| seen.name == name) && name != "characters[][id]" {
            return self.refuse(Refusal::Repeated(name));
        }
        self.holding = release == Release::AfterEnd;
        self.seen.push(Seen {
            name,
            kind: field.kind,
            value: Vec::new(),
            complete: false,
        });
        Ok(release)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        assert!(!self.refused);
        assert!(!bytes.is_empty());
        let holding = self.holding;
        let last = self.seen.last_mut().expect("data outside a field");
        assert!(!last.complete);
        if holding && last.value.len() + bytes.len() > POLICY_BYTES {
            let name = last.name.clone();
            // The content of a refused piece depends on the cut; what came before it does not matter any
            // more.
            last.value.clear();
            return self.refuse(Refusal::TooLong(name));
        }
        last.value.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        assert!(!self.refused);
        let last = self.seen.last_mut().expect("an end outside a field");
        assert!(!last.complete);
        last.complete = true;
        self.holding = false;
        Ok(())
    }
}

type Verdict = Result<(), Stop<Error, Refusal>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Seen>,
    verdict: Verdict,
}

/// One body, with the boundary and the limits that it is scanned with.
#[derive(Debug, Clone)]
struct Case {
    boundary: Boundary,
    limits: Limits,
    body: Vec<u8>,
}

impl Case {
    fn new(body: impl Into<Vec<u8>>) -> Self {
        Self::with_type(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    fn with_type(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            boundary: Boundary::from_content_type(content_type).expect(content_type),
            limits: Limits::default(),
            body: body.into(),
        }
    }

    /// Scans the body in every way of cutting it, and returns the outcome, which is the same for each.
    fn check(&self) -> Outcome {
        let (expected, safe) = self.byte_by_byte();
        let length = self.body.len();
        let step = 1 + length / 700;
        for cut in (0..=length).step_by(step) {
            assert_eq!(self.cut_at(&[cut], &safe), expected, "cut at {cut}");
        }
        for size in [2, 3, 7, 64] {
            let cuts: Vec<usize> = (size..length).step_by(size).collect();
            assert_eq!(self.cut_at(&cuts, &safe), expected, "pieces of {size}");
        }
        if expected.verdict.is_ok() {
            self.check_release(&expected, &safe);
        }
        expected
    }

    /// Scans the body byte by byte. Returns the outcome, and the value of `safe` after each byte.
    fn byte_by_byte(&self) -> (Outcome, Vec<u64>) {
        let mut scanner = Scanner::new(self.boundary.clone(), self.limits);
        let mut sink = Recorder::default();
        let mut safe = vec![scanner.safe()];
        for (at, byte) in self.body.iter().enumerate() {
            let before = scanner.safe();
            let verdict = scanner.push(std::slice::from_ref(byte), &mut sink);
            assert!(scanner.safe() >= before);
            assert!(scanner.safe() <= at as u64 + 1);
            if sink.holding {
                assert_eq!(scanner.safe(), before, "released before it was judged");
            }
            safe.push(scanner.safe());
            if verdict.is_err() {
                return (poisoned(scanner, sink, verdict), safe);
            }
        }
        let verdict = scanner.finish(&mut sink);
        (poisoned(scanner, sink, verdict), safe)
    }

    /// Scans the body in pieces that end at `cuts` and at the end, and returns the outcome.
    fn cut_at(&self, cuts: &[usize], safe: &[u64]) -> Outcome {
        let mut scanner = Scanner::new(self.boundary.clone(), self.limits);
        let mut sink = Recorder::default();
        let mut start = 0;
        for &end in cuts.iter().chain([&self.body.len()]) {
            let verdict = scanner.push(&self.body[start..end], &mut sink);
            if verdict.is_err() {
                let at_the_error = safe[safe.len() - 1];
                if matches!(verdict, Err(Stop::Refused(_))) {
                    assert!(scanner.safe() <= at_the_error);
                } else {
                    assert_eq!(scanner.safe(), at_the_error);
                }
                return poisoned(scanner, sink, verdict);
            }
            assert_eq!(
                scanner.safe(),
                safe[end],
                "safe depends on the cut at {end}"
            );
            start = end;
        }
        let verdict = scanner.finish(&mut sink);
        poisoned(scanner, sink, verdict)
    }

    /// Checks the values of `safe` against the offsets of the parts, which are found in another way.
    fn check_release(&self, outcome: &Outcome, safe: &[u64]) {
        let delimiter = [b"\r\n--", self.boundary.as_bytes()].concat();
        let ends: Vec<usize> = memmem::find_iter(&self.body, &delimiter)
            .filter(|&at| at > 0)
            .collect();
        assert_eq!(ends.len(), outcome.seen.len());

        let (mut before, mut judged) = (0, 0);
        for (seen, end) in outcome.seen.iter().zip(ends) {
            let start = end - seen.value.len();
            assert_eq!(self.body[start..end], seen.value);
            let at_once = release(&seen.name) == Some(Release::AtOnce);
            let next = end + delimiter.len() + 2;
            for (pushed, &safe) in safe.iter().enumerate().take(next).skip(judged) {
                let safe = usize::try_from(safe).expect("a short body");
                if at_once && pushed >= start {
                    let held = delimiter.len() - 1;
                    let low = start.max(pushed.saturating_sub(held).min(end));
                    assert!(
                        (low..=end.min(pushed)).contains(&safe),
                        "{safe} of {pushed}"
                    );
                } else {
                    assert_eq!(safe, before, "of {pushed}, in `{}`", seen.name);
                }
            }
            (before, judged) = (end, next);
        }
        let close = before as u64;
        assert!(safe[judged..].iter().all(|&safe| safe == close));
    }
}

/// Makes the outcome of a scan that ended with `verdict`, and asserts that later calls do not change it.
fn poisoned(mut scanner: Scanner, mut sink: Recorder, verdict: Verdict) -> Outcome {
    let later = match &verdict {
        Ok(()) => Err(Stop::Syntax(Error::Epilogue)),
        Err(Stop::Syntax(error)) => Err(Stop::Syntax(error.clone())),
        Err(Stop::Refused(_)) => Err(Stop::Syntax(Error::Stopped)),
    };
    let safe = scanner.safe();
    if verdict.is_ok() {
        assert_eq!(scanner.push(b"", &mut sink), Ok(()));
        assert_eq!(scanner.finish(&mut sink), Ok(()));
        assert_eq!(scanner.push(b"\r\n", &mut sink), later);
    }
    assert_eq!(scanner.push(b"", &mut sink), later);
    assert_eq!(scanner.finish(&mut sink), later);
    assert_eq!(scanner.push(b"--X.b-X--", &mut sink), later);
    assert_eq!(scanner.finish(&mut sink), later);
    assert_eq!(scanner.safe(), safe);
    Outcome {
        seen: sink.seen,
        verdict,
    }
}

fn syntax(error: Error) -> Verdict {
    Err(Stop::Syntax(error))
}

#[track_caller]
fn refused(body: impl Into<Vec<u8>>, error: Error) {
    let case = Case::new(body);
    let text = String::from_utf8_lossy(&case.body).into_owned();
    assert_eq!(case.check().verdict, syntax(error), "{text:?}");
}

/// Makes a body of parts from their header lines and values.
fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (headers, value) in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{headers}\r\n\r\n{value}\r\n").as_bytes());
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

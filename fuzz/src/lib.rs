//! What the fuzz targets run: each reader of foreign bytes, and what must hold for any input.
//! `tests/fuzz.rs` runs the same on stable.

use std::convert::Infallible;
use std::fmt::Debug;

use tollgate::form::{Field, Kind, Release, Sink, Stop};
use tollgate::image::Probe;
use tollgate::multipart::Boundary;
use tollgate::{dialect, json, multipart as form};

/// Runs a target with the input cut at these offsets, which ascend. Returns what it made of the
/// input, which must not depend on the cuts.
pub type Target = fn(&[u8], &[usize]) -> Reading;

/// What a target made of an input.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether the input is what the target reads, from its first byte to its last.
    pub is_accepted: bool,
    /// All else that must be the same however the input is cut.
    pub details: String,
}

/// Asserts that a target makes the same of an input whole, byte by byte and cut in two. Where it is
/// cut in two depends on the input alone.
pub fn check(target: Target, input: &[u8]) {
    let whole = target(input, &[]);
    let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
    check_cut(target, input, &whole, sum % (input.len() + 1));
    let every: Vec<usize> = (0..=input.len()).collect();
    assert_eq!(target(input, &every), whole, "byte by byte");
}

/// Asserts that a target makes the same of an input that is cut in two as of the whole.
pub fn check_cut(target: Target, input: &[u8], whole: &Reading, cut: usize) {
    assert_eq!(target(input, &[cut]), *whole, "cut at {cut}");
}

/// Scans a form. Its first line, without the dashes, is the boundary.
pub fn multipart(input: &[u8], cuts: &[usize]) -> Reading {
    let line = input.split(|byte| *byte == b'\r').next();
    let line = line.and_then(|line| line.strip_prefix(b"--"));
    let boundary = line.and_then(|line| {
        let boundary = std::str::from_utf8(line).ok()?;
        Boundary::from_content_type(&format!("multipart/form-data; boundary={boundary}")).ok()
    });
    let Some(boundary) =
        boundary.or_else(|| Boundary::from_content_type("multipart/form-data; boundary=X").ok())
    else {
        unreachable!("a valid boundary");
    };
    let scanner = form::Scanner::new(boundary, form::Limits::default());
    scan(input, cuts, Form(scanner))
}

/// Scans a JSON body.
pub fn json(input: &[u8], cuts: &[usize]) -> Reading {
    let scanner = json::Scanner::new(json::Limits::default());
    scan(input, cuts, Document(scanner))
}

/// Reads the format and the size of an image.
pub fn image(input: &[u8], cuts: &[usize]) -> Reading {
    let mut probe = Probe::new();
    for piece in pieces(input, cuts) {
        probe.push(piece);
    }
    let found = probe.finish();
    if let Ok(image) = &found {
        assert!(image.width > 0 && image.height > 0, "no size");
    }
    Reading {
        is_accepted: found.is_ok(),
        details: format!("{found:?}"),
    }
}

/// Reads a channel's answer as a job, as an error and as a list. The first cut is where it comes in
/// two pieces.
pub fn answer(input: &[u8], cuts: &[usize]) -> Reading {
    dialect::read_anything(input, cuts.first().copied().unwrap_or(input.len()));
    let dialect = dialect::Dialect::default();
    let job = dialect::JobAnswer::read(input, &dialect);
    let mut list = dialect::ListReader::new(&dialect);
    for piece in pieces(input, cuts) {
        if !list.push(piece) {
            break;
        }
    }
    let list = list.finish();
    Reading {
        is_accepted: job.is_some() || list.as_ref().is_some_and(|page| page.whole),
        details: format!("{job:?} {list:?}"),
    }
}

/// The input in pieces that end at these offsets.
fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        let to = cut.clamp(from, input.len());
        pieces.push(input.get(from..to).unwrap_or_default());
        from = to;
    }
    pieces
}

/// One of the two scanners.
trait Scanner {
    type Error: Debug;
    fn push(
        &mut self,
        chunk: &[u8],
        fields: &mut Fields,
    ) -> Result<(), Stop<Self::Error, Infallible>>;
    fn finish(&mut self, fields: &mut Fields) -> Result<(), Stop<Self::Error, Infallible>>;
    fn safe(&self) -> u64;
}

struct Form(form::Scanner);
struct Document(json::Scanner);

macro_rules! scanner {
    ($name:ident, $error:ty) => {
        impl Scanner for $name {
            type Error = $error;
            fn push(
                &mut self,
                chunk: &[u8],
                fields: &mut Fields,
            ) -> Result<(), Stop<$error, Infallible>> {
                self.0.push(chunk, fields)
            }
            fn finish(&mut self, fields: &mut Fields) -> Result<(), Stop<$error, Infallible>> {
                self.0.finish(fields)
            }
            fn safe(&self) -> u64 {
                self.0.safe()
            }
        }
    };
}

scanner!(Form, form::Error);
scanner!(Document, json::Error);

/// The fields of a body, each with its kind, its data in one piece, and whether it ended.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Kind, Vec<u8>, bool)>);

impl Sink for Fields {
    type Refusal = Infallible;

    fn begin(&mut self, field: Field<'_>) -> Result<Release, Infallible> {
        assert!(
            self.0.last().is_none_or(|last| last.3),
            "a field in a field"
        );
        self.0
            .push((field.name.to_owned(), field.kind, Vec::new(), false));
        Ok(match field.name {
            "model" | "size" | "seconds" => Release::AfterEnd,
            _ => Release::AtOnce,
        })
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(!bytes.is_empty(), "data of no bytes");
        match self.0.last_mut() {
            Some((.., data, false)) => data.extend_from_slice(bytes),
            _ => panic!("data outside of a field"),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        match self.0.last_mut() {
            Some((.., ended)) if !*ended => *ended = true,
            _ => panic!("an end outside of a field"),
        }
        Ok(())
    }
}

fn scan(input: &[u8], cuts: &[usize], mut scanner: impl Scanner) -> Reading {
    let mut fields = Fields::default();
    let (mut pushed, mut safe) = (0, 0);
    let mut verdict = Ok(());
    for piece in pieces(input, cuts) {
        verdict = scanner.push(piece, &mut fields);
        pushed += piece.len() as u64;
        assert!(scanner.safe() >= safe, "what is safe stays safe");
        safe = scanner.safe();
        assert!(safe <= pushed, "what was not pushed is safe");
        if verdict.is_err() {
            break;
        }
    }
    let verdict = verdict.and_then(|()| scanner.finish(&mut fields));
    assert!(
        verdict.is_err() || scanner.safe() < pushed,
        "a complete body is safe"
    );
    Reading {
        is_accepted: verdict.is_ok(),
        details: format!("{verdict:?} {fields:?}"),
    }
}

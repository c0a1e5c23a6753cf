//! The state machine that follows a body from its first delimiter to its last.

use std::ops::Range;

use super::boundary::MAX_DELIMITER;
use super::header::{Block, Header};
use super::search::{Found, FoundKind, Search};
use super::{Boundary, Error, Limits};
use crate::form::{Field, Kind, Release, Sink, Stop};

/// A scanner of one body, which is pushed in pieces of any size.
///
/// The scanner stores at most one header block ([`Limits::header_bytes`]). Of a boundary that the end of a
/// piece cuts in two, it stores only offsets. It does no IO and reads no clock.
///
/// # What may be released
///
/// The body may be released up to the offset [`safe`](Self::safe). Until a part's headers are accepted,
/// this is the end of the data before them. Then it is the end of the part's data accepted so far or, under
/// [`Release::AfterEnd`], still the old offset until the part has ended. So at most a delimiter line and a
/// header block are withheld and, under [`Release::AfterEnd`], a value, whose length the sink bounds.
#[derive(Debug)]
pub struct Scanner {
    search: Search,
    limits: Limits,
    state: State,
    /// The number of bytes of the body that were scanned.
    taken: u64,
    /// The number of bytes that may go to the upstream: see [`Scanner::safe`].
    safe: u64,
    /// The number of parts that have begun.
    parts: usize,
    block: Block,
    part: Part,
}

/// The state of a scanner: its position in the body.
#[derive(Debug)]
enum State {
    /// The scanner is in the first delimiter, which may lack its CRLF. `matched` is the offset of the next
    /// byte in the delimiter, or 0 before the first byte.
    Start { matched: usize },
    /// The scanner is behind a delimiter. The next two bytes show whether it is the last. `first` is the
    /// first of the two, if it has been read.
    Suffix { first: Option<u8> },
    /// The scanner is in a part's header block.
    Headers,
    /// The scanner is in a part's data. The last bytes may begin a delimiter or may still be data. `held` is
    /// the range of the delimiter with the same bytes, empty if there are none: see [`Found::held`].
    Data { held: Range<usize> },
    /// The scanner is behind the close delimiter, and has read `matched` bytes of CRLF CRLF.
    Epilogue { matched: usize },
    /// The end of the body was accepted.
    Finished,
    /// The scanner has stopped with an error, which every later call returns.
    Failed(Error),
}

/// The current part.
#[derive(Debug)]
struct Part {
    name: String,
    kind: Kind,
    release: Release,
    /// The length of the data that the part's header declares.
    declared: Option<u64>,
    /// The offset in the body at which the part's data begin.
    start: u64,
    /// The number of bytes of data that were given to the sink.
    received: u64,
}

impl Scanner {
    /// Creates a scanner for one body.
    pub fn new(boundary: Boundary, limits: Limits) -> Self {
        Self {
            search: Search::new(boundary),
            limits,
            state: State::Start { matched: 0 },
            taken: 0,
            safe: 0,
            parts: 0,
            block: Block::default(),
            part: Part {
                name: String::new(),
                kind: Kind::Text,
                release: Release::AfterEnd,
                declared: None,
                start: 0,
                received: 0,
            },
        }
    }

    /// Reads the next piece of the body, which may be empty.
    ///
    /// # Errors
    ///
    /// The first rule that the body breaks, or the sink's refusal, whichever comes first in
    /// the body. Every later call fails too: with the same error, or with
    /// [`Error::Stopped`] after a refusal.
    pub fn push<S: Sink>(
        &mut self,
        chunk: &[u8],
        sink: &mut S,
    ) -> Result<(), Stop<Error, S::Refusal>> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let used = self.step(rest, sink).inspect_err(|stop| {
                self.state = State::Failed(match stop {
                    Stop::Syntax(error) => error.clone(),
                    Stop::Refused(_) => Error::Stopped,
                });
            })?;
            self.taken += used as u64;
            rest = &rest[used..];
        }
        match &self.state {
            State::Failed(error) => Err(Stop::Syntax(error.clone())),
            _ => Ok(()),
        }
    }

    /// Ends the body. Returns `Ok` only if the whole body follows the grammar. Bytes that are pushed after
    /// that are refused.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if there is no close delimiter, [`Error::Epilogue`] if half a CRLF follows it, or
    /// the error of an earlier call.
    pub fn finish<S: Sink>(&mut self, _sink: &mut S) -> Result<(), Stop<Error, S::Refusal>> {
        let error = match &self.state {
            State::Epilogue { matched } if matched % 2 == 0 => {
                self.state = State::Finished;
                return Ok(());
            }
            State::Finished => return Ok(()),
            State::Epilogue { .. } => Error::Epilogue,
            State::Failed(error) => error.clone(),
            State::Start { .. } | State::Suffix { .. } | State::Headers | State::Data { .. } => {
                Error::Truncated
            }
        };
        self.state = State::Failed(error.clone());
        Err(Stop::Syntax(error))
    }

    /// Returns the number of bytes from the body's start that may go to the upstream.
    ///
    /// The number never decreases, never exceeds what was pushed, and does not change after an error. It
    /// includes a part, with the delimiter line before it, only after the sink's `begin` has accepted the
    /// part, and under [`Release::AfterEnd`] only after the sink's `end`. It never includes the close
    /// delimiter, its CRLF, or the bytes after it: the caller releases these after
    /// [`finish`](Self::finish) has returned `Ok`.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// Scans at least one byte of `rest`, and returns the number of bytes that were scanned.
    fn step<S: Sink>(
        &mut self,
        rest: &[u8],
        sink: &mut S,
    ) -> Result<usize, Stop<Error, S::Refusal>> {
        match &self.state {
            State::Start { matched } => self.start(*matched, rest).map_err(Stop::Syntax),
            State::Suffix { first } => self.suffix(*first, rest[0], sink),
            State::Headers => self.headers(rest, sink),
            State::Data { held } => self.data(held.clone(), rest, sink),
            State::Epilogue { matched } => {
                let matched = *matched;
                if b"\r\n\r\n".get(matched) != rest.first() {
                    return Err(Stop::Syntax(Error::Epilogue));
                }
                self.state = State::Epilogue {
                    matched: matched + 1,
                };
                Ok(1)
            }
            State::Finished => Err(Stop::Syntax(Error::Epilogue)),
            State::Failed(error) => Err(Stop::Syntax(error.clone())),
        }
    }

    fn start(&mut self, matched: usize, rest: &[u8]) -> Result<usize, Error> {
        let at = match (matched, rest) {
            (0, [b'-', ..]) => b"\r\n".len(),
            _ => matched,
        };
        let wanted = self.search.delimiter().get(at..).unwrap_or_default();
        let used = wanted.len().min(rest.len());
        if rest[..used] != wanted[..used] {
            return Err(Error::Preamble);
        }
        self.state = if used == wanted.len() {
            State::Suffix { first: None }
        } else {
            State::Start { matched: at + used }
        };
        Ok(used)
    }

    fn suffix<S: Sink>(
        &mut self,
        first: Option<u8>,
        byte: u8,
        sink: &mut S,
    ) -> Result<usize, Stop<Error, S::Refusal>> {
        match (first, byte) {
            (None, b'\r' | b'-') => self.state = State::Suffix { first: Some(byte) },
            (Some(b'\r'), b'\n') => {
                self.end_part(sink)?;
                if self.parts >= self.limits.parts {
                    return Err(Stop::Syntax(Error::TooManyParts {
                        max: self.limits.parts,
                    }));
                }
                self.parts += 1;
                self.block.clear();
                self.state = State::Headers;
            }
            (Some(b'-'), b'-') => {
                if self.parts == 0 {
                    return Err(Stop::Syntax(Error::NoParts));
                }
                self.end_part(sink)?;
                self.state = State::Epilogue { matched: 0 };
            }
            _ => return Err(Stop::Syntax(Error::DelimiterLine)),
        }
        Ok(1)
    }

    /// Ends the part before a delimiter. Does nothing at the first delimiter, which has no part before it.
    fn end_part<S: Sink>(&mut self, sink: &mut S) -> Result<(), Stop<Error, S::Refusal>> {
        if self.parts == 0 {
            return Ok(());
        }
        let received = self.part.received;
        if let Some(declared) = self.part.declared
            && declared != received
        {
            return Err(Stop::Syntax(Error::LengthMismatch {
                field: self.part.name.clone(),
                declared,
                received,
            }));
        }
        sink.end().map_err(Stop::Refused)?;
        self.safe = self.part.start + received;
        Ok(())
    }

    fn headers<S: Sink>(
        &mut self,
        rest: &[u8],
        sink: &mut S,
    ) -> Result<usize, Stop<Error, S::Refusal>> {
        let (used, complete) = self.block.take(rest, &self.limits).map_err(Stop::Syntax)?;
        if complete {
            self.begin_part(self.taken + used as u64, sink)?;
        }
        Ok(used)
    }

    /// Begins the part whose header block is complete and whose data begin at `start`.
    fn begin_part<S: Sink>(
        &mut self,
        start: u64,
        sink: &mut S,
    ) -> Result<(), Stop<Error, S::Refusal>> {
        if self.search.occurs_in(self.block.bytes()) {
            return Err(Stop::Syntax(Error::StrayBoundary { field: None }));
        }
        let Header { name, kind, length } =
            Header::parse(&self.block, &self.limits).map_err(Stop::Syntax)?;
        let release = sink.begin(Field { name, kind }).map_err(Stop::Refused)?;
        self.part.name.clear();
        self.part.name.push_str(name);
        self.part.kind = kind;
        self.part.release = release;
        self.part.declared = length;
        self.part.start = start;
        self.part.received = 0;
        if release == Release::AtOnce {
            self.safe = start;
        }
        self.search.start();
        self.state = State::Data { held: 0..0 };
        Ok(())
    }

    fn data<S: Sink>(
        &mut self,
        held: Range<usize>,
        rest: &[u8],
        sink: &mut S,
    ) -> Result<usize, Stop<Error, S::Refusal>> {
        if held.is_empty() {
            let found = self.search.look(rest);
            self.emit(&rest[..found.data], sink)?;
            return self.settle(found, rest.len());
        }

        // A boundary that began in an earlier piece ends within these bytes.
        let mut buffer = [0; 2 * MAX_DELIMITER];
        let before = held.len();
        let fresh = rest.len().min(self.search.delimiter().len() - 1);
        let seam = &mut buffer[..before + fresh];
        seam[..before].copy_from_slice(&self.search.delimiter()[held]);
        seam[before..].copy_from_slice(&rest[..fresh]);
        let found = self.search.look(seam);

        self.emit(&seam[..found.data.min(before)], sink)?;
        if found.kind == FoundKind::Nothing && fresh < rest.len() {
            // The held bytes are data. The rest is searched without copying it.
            self.state = State::Data { held: 0..0 };
            return self.data(0..0, rest, sink);
        }
        self.emit(&rest[..found.data.saturating_sub(before)], sink)?;
        Ok(self.settle(found, seam.len())? - before)
    }

    /// Sets the state after a search in a window of `window` bytes, and returns how many of them are scanned.
    fn settle<R>(&mut self, found: Found, window: usize) -> Result<usize, Stop<Error, R>> {
        match found.kind {
            FoundKind::Nothing => {
                self.state = State::Data { held: found.held };
                Ok(window)
            }
            FoundKind::Delimiter { end } => {
                self.state = State::Suffix { first: None };
                Ok(end)
            }
            FoundKind::Stray => Err(Stop::Syntax(Error::StrayBoundary {
                field: Some(self.part.name.clone()),
            })),
        }
    }

    /// Passes data of the current part to the sink, and counts them.
    fn emit<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), Stop<Error, S::Refusal>> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.part.kind == Kind::EmptyFile {
            return Err(Stop::Syntax(Error::EmptyFilename {
                field: self.part.name.clone(),
            }));
        }
        self.search.pass(bytes);
        sink.data(bytes).map_err(Stop::Refused)?;
        self.part.received += bytes.len() as u64;
        if self.part.release == Release::AtOnce {
            self.safe = self.part.start + self.part.received;
        }
        Ok(())
    }
}

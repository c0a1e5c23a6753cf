//! The scanner of one document: a push state machine over its bytes.

mod scalar;

use super::number::Number;
use super::path::Path;
use super::string::Text;
use super::{Error, Expected, Limits};
use crate::form::{Field, Kind, Release, Sink, Stop};

/// A scanner of one JSON body, which is pushed in pieces of any size. It reports the body's fields to a
/// [`Sink`].
///
/// Invariant: the bytes before [`safe`](Self::safe) are never a complete body, and never contain the name
/// of a field that the sink has not accepted.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    state: State,
    path: Path,
    field: Option<OpenField>,
    text: Text,
    /// The number of bytes of whitespace since the last scalar.
    whitespace: usize,
    /// The absolute offset of the current chunk in the body.
    base: u64,
    /// The index of the current byte in the chunk. An error is raised while this byte is the offending
    /// one.
    at: usize,
    /// The index in the chunk of the first byte of the current raw field that the sink has not got yet.
    handed: usize,
    /// The offset in the body from which on no byte is safe; `None` if all bytes scanned so far are safe.
    hold: Option<u64>,
    failed: Option<Error>,
}

type Outcome<S> = Result<(), Stop<Error, <S as Sink>::Refusal>>;

#[derive(Debug, Clone, Copy)]
enum State {
    /// The scanner is before the body's first token.
    Start,
    /// The scanner is behind an opening brace.
    FirstKey,
    /// The scanner is behind a comma in an object.
    NextKey,
    /// The scanner is in a key.
    Key,
    /// The scanner is behind a key, before its colon.
    Colon,
    /// The scanner is behind an opening bracket.
    FirstElement,
    /// The scanner is behind a colon, or a comma in an array.
    Value,
    /// The scanner is in a string value.
    Text,
    /// The scanner is in a number.
    Number(Number),
    /// The scanner is in a literal, of which these bytes are still to come.
    Literal(&'static [u8]),
    /// The scanner is behind a value.
    AfterValue,
    /// The scanner is behind the outermost object.
    Done,
}

#[derive(Debug, Clone, Copy)]
struct OpenField {
    kind: Kind,
    /// The number of containers that were open when the field began.
    depth: usize,
}

impl Scanner {
    /// Creates a scanner for one body.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start,
            path: Path::default(),
            field: None,
            text: Text::default(),
            whitespace: 0,
            base: 0,
            at: 0,
            handed: 0,
            hold: Some(0),
            failed: None,
        }
    }

    /// Reads the next bytes of the body.
    ///
    /// # Errors
    ///
    /// The first rule that the body breaks, or the sink's refusal. Later calls repeat the
    /// syntax error, or after a refusal give [`Error::Stopped`].
    pub fn push<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        if let Some(error) = &self.failed {
            return Err(Stop::Syntax(error.clone()));
        }
        (self.at, self.handed) = (0, 0);
        let mut outcome = self.scan(chunk, sink);
        if !matches!(outcome, Err(Stop::Refused(_))) {
            // Also before a syntax error, so that the sink has seen the same bytes, and has
            // had the same chance to refuse them first, however the input was cut.
            outcome = self.hand_on(chunk, sink).and(outcome);
        }
        match &outcome {
            Ok(()) => {
                self.base += chunk.len() as u64;
                self.at = 0;
            }
            Err(Stop::Syntax(error)) => self.fail(error.clone()),
            Err(Stop::Refused(_)) => self.fail(Error::Stopped),
        }
        outcome
    }

    /// Ends the body. Returns `Ok` only if the body was one complete object.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`], or the error of an earlier call.
    pub fn finish<S: Sink>(&mut self, _sink: &mut S) -> Outcome<S> {
        if self.failed.is_none() && !matches!(self.state, State::Done) {
            self.fail(Error::Incomplete);
        }
        match &self.failed {
            Some(error) => Err(Stop::Syntax(error.clone())),
            None => Ok(()),
        }
    }

    /// Returns the offset in the body up to which the body may be released.
    ///
    /// It never decreases, and never exceeds what was pushed. The bytes before a field's value, from the end
    /// of the field before it (comma, keys, brackets), are withheld until the sink's `begin` has
    /// returned; under [`Release::AfterEnd`], they and the value are withheld until `end` has. Everything
    /// behind the last field is always withheld, the outermost object's closing brace in particular.
    /// The bytes that are withheld outside of values are bounded by [`Limits::withheld_bytes`].
    pub fn safe(&self) -> u64 {
        self.hold.unwrap_or(self.position())
    }

    fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    fn fail(&mut self, error: Error) {
        self.hold = Some(self.safe());
        self.failed = Some(error);
    }

    fn scan<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        while let Some(&byte) = chunk.get(self.at) {
            match self.state {
                State::Text => self.text(chunk, sink)?,
                State::Key => self.key(chunk)?,
                State::Number(number) => self.number(number, byte, chunk, sink)?,
                State::Literal(rest) => self.literal(rest, byte, chunk, sink)?,
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => self.space()?,
                _ => self.token(byte, chunk, sink)?,
            }
        }
        Ok(())
    }

    fn space<R>(&mut self) -> Result<(), Stop<Error, R>> {
        let limit = self.limits.whitespace_bytes;
        if self.whitespace >= limit {
            return syntax(Error::WhitespaceTooLong { limit });
        }
        self.whitespace += 1;
        self.at += 1;
        Ok(())
    }

    /// Reads the first byte of a token.
    fn token<S: Sink>(&mut self, byte: u8, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        let at = self.position();
        let in_array = self.path.is_in_array();
        match (self.state, byte) {
            (State::Start, b'{') => return self.open(byte, sink),
            (State::Start, 0xEF | 0xFE | 0xFF) if at == 0 => return syntax(Error::ByteOrderMark),
            (State::Start, _) => return syntax(Error::NotAnObject),
            (State::FirstKey | State::NextKey, b'"') => self.state = State::Key,
            (State::FirstKey, b'}') => return self.close(chunk, sink),
            (State::NextKey, b'}') => return syntax(Error::TrailingComma { at }),
            (State::FirstKey, _) => return unexpected(at, Expected::KeyOrEnd),
            (State::NextKey, _) => return unexpected(at, Expected::Key),
            (State::Colon, b':') => self.state = State::Value,
            (State::Colon, _) => return unexpected(at, Expected::Colon),
            (State::FirstElement, b']') => return self.close(chunk, sink),
            (State::Value, b']') if in_array => return syntax(Error::TrailingComma { at }),
            (State::AfterValue, b',') if in_array => self.state = State::Value,
            (State::AfterValue, b',') => self.state = State::NextKey,
            (State::AfterValue, b']') if in_array => return self.close(chunk, sink),
            (State::AfterValue, b'}') if !in_array => return self.close(chunk, sink),
            (State::AfterValue, _) if in_array => return unexpected(at, Expected::CommaOrBracket),
            (State::AfterValue, _) => return unexpected(at, Expected::CommaOrBrace),
            (State::Done, _) => return syntax(Error::AfterDocument { at }),
            // Behind a colon or in an array; the states within a token never come here.
            _ => return self.value(byte, sink),
        }
        self.at += 1;
        Ok(())
    }

    /// Reads the characters of a key up to its end, or up to the end of the chunk.
    fn key<R>(&mut self, chunk: &[u8]) -> Result<(), Stop<Error, R>> {
        let rest = &chunk[self.at..];
        let len = rest.iter().position(|byte| !is_of_key(*byte));
        let run = &rest[..len.unwrap_or(rest.len())];
        let limit = self.limits.key_bytes;
        let room = limit.saturating_sub(self.path.key().len());
        let (fits, beyond) = run.split_at(run.len().min(room));
        // This cannot fail, since the characters of a key are ASCII.
        let Ok(characters) = std::str::from_utf8(fits) else {
            let at = self.position();
            return syntax(Error::KeyByte { at });
        };
        self.path.push_key(characters);
        self.at += fits.len();
        if !beyond.is_empty() {
            return syntax(Error::KeyTooLong { limit });
        }
        let at = self.position();
        match chunk.get(self.at) {
            None => return Ok(()),
            Some(b'"') => self.key_end()?,
            Some(b'\\') => return syntax(Error::KeyEscape { at }),
            Some(_) => return syntax(Error::KeyByte { at }),
        }
        self.at += 1;
        Ok(())
    }

    fn key_end<R>(&mut self) -> Result<(), Stop<Error, R>> {
        if self.path.key().is_empty() {
            let at = self.position();
            return syntax(Error::KeyEmpty { at });
        }
        self.path
            .complete_key(self.field.is_none(), self.limits.members)
            .map_err(Stop::Syntax)?;
        self.state = State::Colon;
        Ok(())
    }

    /// Reads the first byte of a value.
    fn value<S: Sink>(&mut self, byte: u8, sink: &mut S) -> Outcome<S> {
        self.path.begin_value(self.field.is_none());
        let next = match byte {
            b'{' | b'[' => return self.open(byte, sink),
            b'"' => State::Text,
            b'-' | b'0'..=b'9' => State::Number(Number::start(byte)),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return unexpected(self.position(), Expected::Value),
        };
        if self.field.is_none() {
            let is_text = matches!(next, State::Text);
            self.begin(if is_text { Kind::Text } else { Kind::Json }, sink)?;
        }
        self.text = Text::default();
        self.state = next;
        self.at += 1;
        Ok(())
    }

    fn open<S: Sink>(&mut self, byte: u8, sink: &mut S) -> Outcome<S> {
        let limit = self.limits.depth;
        if self.path.depth() >= limit {
            let field = self.field_name();
            return syntax(Error::TooDeep { field, limit });
        }
        let is_array = byte == b'[';
        if self.field.is_none() && !self.path.goes_into(is_array) {
            self.begin(Kind::Json, sink)?;
        }
        self.path.open(is_array);
        self.state = if is_array {
            State::FirstElement
        } else {
            State::FirstKey
        };
        self.at += 1;
        Ok(())
    }

    fn close<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        let Some(closed) = self.path.close(self.field.is_none()) else {
            return unexpected(self.position(), Expected::Value);
        };
        if self.path.depth() == 0 {
            self.state = State::Done;
            self.at += 1;
            return Ok(());
        }
        if self.field.is_none() && closed.is_empty {
            self.begin(Kind::Json, sink)?;
            let empty: &[u8] = if closed.is_array { b"[]" } else { b"{}" };
            sink.data(empty).map_err(Stop::Refused)?;
            self.handed = self.at + 1;
        }
        self.at += 1;
        self.value_end(closed.is_empty, chunk, sink)
    }

    /// Ends a value, and perhaps its field, before the current byte.
    fn value_end<S: Sink>(&mut self, is_scalar: bool, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        if is_scalar {
            self.whitespace = 0;
        }
        self.state = State::AfterValue;
        let depth = self.path.depth();
        if self.field.is_some_and(|field| field.depth == depth) {
            self.hand_on(chunk, sink)?;
            sink.end().map_err(Stop::Refused)?;
            self.field = None;
            self.hold = Some(self.position());
        }
        Ok(())
    }

    /// Begins a field at the current byte.
    fn begin<S: Sink>(&mut self, kind: Kind, sink: &mut S) -> Outcome<S> {
        let name = self.path.name();
        let release = sink.begin(Field { name, kind }).map_err(Stop::Refused)?;
        if release == Release::AtOnce {
            self.hold = None;
        }
        self.handed = self.at;
        let depth = self.path.depth();
        self.field = Some(OpenField { kind, depth });
        Ok(())
    }

    fn field_name(&self) -> String {
        self.path.name().to_owned()
    }

    /// Passes the bytes of a raw field before the current byte to the sink.
    fn hand_on<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        let is_raw = self.field.is_some_and(|field| field.kind == Kind::Json);
        if is_raw && self.handed < self.at {
            let bytes = &chunk[self.handed..self.at];
            if let Err(refusal) = sink.data(bytes) {
                // Bytes that were refused are not safe.
                self.at = self.handed;
                return Err(Stop::Refused(refusal));
            }
            self.handed = self.at;
        }
        Ok(())
    }
}

/// Returns whether a key may have this byte.
fn is_of_key(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'[' | b']')
}

fn syntax<R>(error: Error) -> Result<(), Stop<Error, R>> {
    Err(Stop::Syntax(error))
}

fn unexpected<R>(at: u64, expected: Expected) -> Result<(), Stop<Error, R>> {
    syntax(Error::Unexpected { at, expected })
}

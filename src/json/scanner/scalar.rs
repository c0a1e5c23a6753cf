//! Scans values that have no members: strings, numbers and literals.

use super::{Outcome, Scanner, State, syntax, unexpected};
use crate::form::{Kind, Sink, Stop};
use crate::json::number::{Number, Step};
use crate::json::string::{EscapeError, Next};
use crate::json::{Error, Expected};

impl Scanner {
    pub(super) fn text<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Outcome<S> {
        let is_field = self.field.is_some_and(|field| field.kind == Kind::Text);
        if self.text.in_escape() {
            match self.text.escape(chunk[self.at]) {
                Ok(Some(character)) if is_field => {
                    let mut buffer = [0; 4];
                    sink.data(character.encode_utf8(&mut buffer).as_bytes())
                        .map_err(Stop::Refused)?;
                }
                Ok(_) => {}
                Err(error) => return syntax(self.escape_error(error)),
            }
            self.at += 1;
            return Ok(());
        }
        let (len, next) = self.text.run(&chunk[self.at..]);
        if is_field && len > 0 {
            sink.data(&chunk[self.at..self.at + len])
                .map_err(Stop::Refused)?;
        }
        self.at += len;
        match next {
            Next::More => {}
            Next::Quote => {
                self.at += 1;
                self.value_end(true, chunk, sink)?;
            }
            Next::Backslash => {
                self.text.start_escape();
                self.at += 1;
            }
            Next::Control => {
                return syntax(Error::ControlCharacter {
                    field: self.field_name(),
                });
            }
            Next::NotUtf8 => {
                return syntax(Error::InvalidUtf8 {
                    field: self.field_name(),
                });
            }
        }
        Ok(())
    }

    fn escape_error(&self, error: EscapeError) -> Error {
        let field = self.field_name();
        match error {
            EscapeError::Bad => Error::BadEscape { field },
            EscapeError::LoneSurrogate => Error::LoneSurrogate { field },
            EscapeError::Nul => Error::NulEscape { field },
        }
    }

    pub(super) fn number<S: Sink>(
        &mut self,
        mut number: Number,
        byte: u8,
        chunk: &[u8],
        sink: &mut S,
    ) -> Outcome<S> {
        let limit = self.limits.number_bytes;
        match number.step(byte, limit) {
            Step::Goes => {
                self.state = State::Number(number);
                self.at += 1;
                Ok(())
            }
            Step::Ended => self.value_end(true, chunk, sink),
            Step::Bad => syntax(Error::BadNumber {
                field: self.field_name(),
            }),
            Step::TooLong => syntax(Error::NumberTooLong {
                field: self.field_name(),
                limit,
            }),
        }
    }

    pub(super) fn literal<S: Sink>(
        &mut self,
        rest: &'static [u8],
        byte: u8,
        chunk: &[u8],
        sink: &mut S,
    ) -> Outcome<S> {
        match rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.at += 1;
                if rest.is_empty() {
                    return self.value_end(true, chunk, sink);
                }
                self.state = State::Literal(rest);
                Ok(())
            }
            _ => unexpected(self.position(), Expected::Value),
        }
    }
}

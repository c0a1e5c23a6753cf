//! JSON numbers, RFC 8259 section 6, within bounds that every parser can hold.

/// The most digits in an exponent. With [`super::Limits::number_bytes`] at its default of 64, no
/// number overflows or underflows a double, where parsers would differ (infinity, zero or an error).
const EXPONENT_DIGITS: u8 = 2;

/// How far the reading of one number has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    part: Part,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits(u8),
}

/// What one byte does to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The byte belongs to it.
    Goes,
    /// The number was complete before the byte.
    Ended,
    /// No number is written so.
    Bad,
    /// Over a bound.
    TooLong,
}

impl Number {
    /// A number that begins with `byte`, a minus sign or a digit.
    pub(super) fn start(byte: u8) -> Self {
        let part = match byte {
            b'-' => Part::Minus,
            b'0' => Part::Zero,
            _ => Part::Integer,
        };
        Self { part, bytes: 1 }
    }

    pub(super) fn step(&mut self, byte: u8, limit: usize) -> Step {
        let next = match (self.part, byte) {
            (Part::Minus, b'0') => Part::Zero,
            (Part::Minus, b'1'..=b'9') | (Part::Integer, b'0'..=b'9') => Part::Integer,
            (Part::Zero | Part::Integer, b'.') => Part::Point,
            (Part::Point | Part::Fraction, b'0'..=b'9') => Part::Fraction,
            (Part::Zero | Part::Integer | Part::Fraction, b'e' | b'E') => Part::Exponent,
            (Part::Exponent, b'+' | b'-') => Part::ExponentSign,
            (Part::Exponent | Part::ExponentSign, b'0'..=b'9') => Part::ExponentDigits(1),
            (Part::ExponentDigits(EXPONENT_DIGITS), b'0'..=b'9') => return Step::TooLong,
            (Part::ExponentDigits(n), b'0'..=b'9') => Part::ExponentDigits(n + 1),
            (Part::Zero, b'0'..=b'9')
            | (Part::Minus | Part::Point | Part::Exponent | Part::ExponentSign, _) => {
                return Step::Bad;
            }
            _ => return Step::Ended,
        };
        if self.bytes >= limit {
            return Step::TooLong;
        }
        self.bytes += 1;
        self.part = next;
        Step::Goes
    }
}

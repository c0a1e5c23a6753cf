//! Reads JSON numbers (RFC 8259 section 6) within bounds that every parser supports.

/// The maximum number of digits in an exponent. With [`super::Limits::number_bytes`] at its default of
/// 64, no number overflows or underflows a double, where parsers would differ (infinity, zero or an
/// error).
const EXPONENT_DIGITS: u8 = 2;

/// The state of reading one number.
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

/// The result of reading one byte of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The byte belongs to the number.
    Goes,
    /// The number was complete before the byte.
    Ended,
    /// The byte makes the number invalid.
    Bad,
    /// The number is longer than a limit allows.
    TooLong,
}

impl Number {
    /// Starts a number with its first `byte`, a minus sign or a digit.
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

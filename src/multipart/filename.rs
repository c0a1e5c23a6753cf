//! Parses the filename of a part, and checks that no server reads it differently or as empty.

use super::header::{is_token, split_unquoted};

/// The reason why a filename is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Servers may read the filename differently.
    Ambiguous,
    /// Nothing is left of the filename after a server has cleaned it.
    Blank,
}

/// Parses the value of the parameter `filename` at the start of `value`. Returns the length in bytes of the
/// filename without escapes, which may be 0, and the bytes after the filename.
pub(super) fn parse_filename(value: &[u8]) -> Result<(usize, &[u8]), Fault> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let (name, rest) = split_unquoted(value);
        if name.is_empty() || !name.iter().all(is_token) {
            return Err(Fault::Ambiguous);
        }
        return judge(name).map(|()| (name.len(), rest));
    };
    let (raw, rest) = split_quoted(quoted).ok_or(Fault::Ambiguous)?;
    if raw.is_empty() {
        return Ok((0, rest));
    }
    if !raw.contains(&b'\\') {
        return judge(raw).map(|()| (raw.len(), rest));
    }
    if raw.contains(&b';') {
        return Err(Fault::Ambiguous);
    }
    let name = unescaped(raw);
    judge(&name).map(|()| (name.len(), rest))
}

/// Splits a filename at its closing quote. Returns the filename, still with its escapes, and the bytes
/// after the quote; `None` if the filename is refused.
///
/// `\"` and `\\` are escapes. A backslash before another byte stands for itself, as libcurl writes
/// `C:\tmp\a.png`; all servers find the same closing quote there. But no client writes both such a
/// backslash and `\"`, so a filename with both is refused.
fn split_quoted(quoted: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut at, mut raw_backslash, mut escaped_quote) = (0, false, false);
    loop {
        match quoted.get(at)? {
            b'"' => break,
            b'\\' => {
                match quoted.get(at + 1)? {
                    b'"' => escaped_quote = true,
                    b'\\' => {}
                    _ => raw_backslash = true,
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
    (!(raw_backslash && escaped_quote)).then(|| (&quoted[..at], &quoted[at + 1..]))
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = match byte {
            b'\\' => bytes.next_if(|next| matches!(next, b'"' | b'\\')),
            _ => None,
        };
        name.push(escaped.unwrap_or(byte));
    }
    name
}

/// Parses a `filename*` (RFC 8187), which must be `utf-8''NAME`. Returns the decoded NAME's length in bytes.
pub(super) fn parse_extended(value: &[u8]) -> Result<usize, Fault> {
    let encoded = value.strip_prefix(b"utf-8''").ok_or(Fault::Ambiguous)?;
    let attribute = |byte: &u8| is_token(byte) && !b"*'".contains(byte);
    let decoded = decode_percent(encoded).ok_or(Fault::Ambiguous)?;
    if encoded.is_empty() || !encoded.iter().all(attribute) {
        return Err(Fault::Ambiguous);
    }
    judge(&decoded).map(|()| decoded.len())
}

/// Decodes percent-encoded bytes such as `%41`; `None` if a percent sign is not followed by two hex digits.
fn decode_percent(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return None;
        };
        decoded.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
        rest = tail;
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Checks a filename that is not empty, given without its quotes and escapes.
///
/// A filename that contains a semicolon and also `=` or a backslash, anywhere, is refused: some servers
/// take the semicolon for the end of the filename.
fn judge(name: &[u8]) -> Result<(), Fault> {
    let ambiguous = name.contains(&b';') && (name.contains(&b'=') || name.contains(&b'\\'));
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let text = std::str::from_utf8(name).map_err(|_| Fault::Ambiguous)?;
    if ambiguous || text.contains(breaks) {
        return Err(Fault::Ambiguous);
    }
    if !names_something(text) {
        return Err(Fault::Blank);
    }
    // Some servers decode percent signs too.
    match decode_percent(name) {
        Some(decoded) if name.contains(&b'%') => {
            match names_something(&String::from_utf8_lossy(&decoded)) {
                true => Ok(()),
                false => Err(Fault::Blank),
            }
        }
        _ => Ok(()),
    }
}

/// Returns whether anything is left of a filename after a server has cleaned it.
///
/// Django (4.2 to 6.0) unescapes HTML entities, removes everything up to the last slash or backslash, and
/// removes what is not printable. If nothing, `.` or `..` is left, it skips the file without reading it,
/// and continues to read part headers in the middle of the file's bytes.
///
/// This function is stricter. Whatever looks like an entity removes what is before it, as a slash does.
/// Spaces, dots, quotes and all characters that are not [visible](is_visible) count as removed.
fn names_something(name: &str) -> bool {
    let mut visible = false;
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (length, effect) = match c {
            '/' | '\\' => (1, Effect::Cuts),
            '&' => entity(rest),
            c if is_visible(c) => (c.len_utf8(), Effect::Shows),
            c => (c.len_utf8(), Effect::Vanishes),
        };
        match effect {
            Effect::Cuts => visible = false,
            Effect::Vanishes => {}
            Effect::Shows => visible = true,
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    visible
}

/// The effect of a piece of a filename when a server cleans the filename.
enum Effect {
    /// The piece is removed, with everything before it.
    Cuts,
    /// The piece is removed.
    Vanishes,
    /// The piece stays.
    Shows,
}

/// Parses the HTML entity at the beginning of a text, if there is one. Returns the length in bytes of the
/// entity, or of the `&` alone, and its effect.
///
/// A numeric entity needs no semicolon. Of the named entities that need none, two stand for invisible
/// characters: `&nbsp` and `&shy`.
fn entity(text: &str) -> (usize, Effect) {
    let bytes = text.as_bytes();
    let semicolon = |end: usize| end + usize::from(bytes.get(end) == Some(&b';'));
    let run = |from: usize, is: fn(&u8) -> bool| {
        let tail = bytes.get(from..).unwrap_or_default();
        from + tail.iter().take_while(|byte| is(byte)).count()
    };
    if let [b'&', b'#', tail @ ..] = bytes {
        let (from, end) = match tail {
            [b'x' | b'X', ..] => (3, run(3, u8::is_ascii_hexdigit)),
            _ => (2, run(2, u8::is_ascii_digit)),
        };
        return match end > from {
            true => (semicolon(end), Effect::Cuts),
            false => (1, Effect::Shows),
        };
    }
    let end = run(1, |byte| !b" <&#;".contains(byte));
    if end > 1 && semicolon(end) > end {
        return (semicolon(end), Effect::Cuts);
    }
    let named = |name: &str| {
        let prefix = bytes.get(1..=name.len());
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(name.as_bytes()))
    };
    match ["nbsp", "shy"].into_iter().find(|name| named(name)) {
        Some(name) => (1 + name.len(), Effect::Vanishes),
        None => (1, Effect::Shows),
    }
}

/// Returns whether a character counts as visible in a filename: no server removes it as unprintable.
///
/// These are the printable ASCII characters except spaces, dots, quotes, slashes and backslashes, and letters
/// that have been in Unicode for so long that all tables in use contain them. A filename in another script
/// is accepted because of the ASCII letters of its extension.
fn is_visible(c: char) -> bool {
    const LETTERS: &[(char, char)] = &[
        ('\u{c0}', '\u{2af}'),    // Latin
        ('\u{3a3}', '\u{481}'),   // Greek and Cyrillic
        ('\u{48a}', '\u{52f}'),   // Cyrillic
        ('\u{531}', '\u{556}'),   // Armenian
        ('\u{561}', '\u{587}'),   // Armenian
        ('\u{5d0}', '\u{5ea}'),   // Hebrew
        ('\u{620}', '\u{64a}'),   // Arabic
        ('\u{671}', '\u{6d3}'),   // Arabic
        ('\u{904}', '\u{939}'),   // Devanagari
        ('\u{e01}', '\u{e30}'),   // Thai
        ('\u{1000}', '\u{102a}'), // Myanmar
        ('\u{10d0}', '\u{10fa}'), // Georgian
        ('\u{1780}', '\u{17b3}'), // Khmer
        ('\u{1e00}', '\u{1eff}'), // Latin
        ('\u{3041}', '\u{3096}'), // Hiragana
        ('\u{30a1}', '\u{30fa}'), // Katakana
        ('\u{3400}', '\u{4db5}'), // CJK
        ('\u{4e00}', '\u{9fa5}'), // CJK
        ('\u{ac00}', '\u{d7a3}'), // Hangul
        ('\u{ff21}', '\u{ff3a}'), // fullwidth Latin
        ('\u{ff41}', '\u{ff5a}'), // fullwidth Latin
    ];
    if c.is_ascii() {
        return c.is_ascii_graphic() && !matches!(c, '.' | '"' | '\'' | '/' | '\\');
    }
    LETTERS
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&c))
}

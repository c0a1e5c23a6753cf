//! The header block of a part: collecting it, and the grammar of its four headers.

use super::filename::{Fault, parse_extended, parse_filename};
use super::{Error, Limits, MAX_HEADER_BYTES};
use crate::form::Kind;

/// A collection of the lines of one header block, up to the empty line that ends it.
///
/// An exceeded limit or a wrong line end is found at the same byte, however the input is cut.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The bytes of the block: at most [`Limits::header_bytes`].
    bytes: Vec<u8>,
    /// The offset of the beginning of the current line.
    line: usize,
    /// The number of complete lines.
    lines: usize,
}

impl Block {
    /// Clears the block for the next part; the memory is kept.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.line = 0;
        self.lines = 0;
    }

    /// Adds bytes up to the end of the block. Returns the number of bytes that were added, and whether the
    /// block has ended.
    pub(super) fn take(&mut self, bytes: &[u8], limits: &Limits) -> Result<(usize, bool), Error> {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            let plain = self.take_plain(&bytes[used..], limits);
            used += plain;
            if plain == 0 {
                used += 1;
                if self.push(byte, limits)? {
                    return Ok((used, true));
                }
            }
        }
        Ok((used, false))
    }

    /// Adds the bytes before the next one that [`push`](Self::push) must check, and returns their number.
    fn take_plain(&mut self, bytes: &[u8], limits: &Limits) -> usize {
        if self.bytes.last() == Some(&b'\r') {
            return 0;
        }
        let room = max_bytes(limits).saturating_sub(self.bytes.len());
        let bytes = &bytes[..bytes.len().min(room)];
        // Most lines have no control character before their end: this is checked many bytes at a time.
        let line = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
        let controls = |line: &[u8]| line.iter().fold(false, |any, b| any | b.is_ascii_control());
        let plain = match controls(&bytes[..line]) {
            false => line,
            true => bytes.iter().take_while(|b| !b.is_ascii_control()).count(),
        };
        self.bytes.extend_from_slice(&bytes[..plain]);
        plain
    }

    /// Checks and adds one byte. Returns whether the byte ends the block.
    fn push(&mut self, byte: u8, limits: &Limits) -> Result<bool, Error> {
        let max = max_bytes(limits);
        if self.bytes.len() >= max {
            return Err(Error::HeadersTooLong { max });
        }
        let after_cr = self.bytes.last() == Some(&b'\r');
        if after_cr != (byte == b'\n') {
            return Err(Error::HeaderLineEnding);
        }
        if byte.is_ascii_control() && byte != b'\r' && byte != b'\n' {
            return Err(Error::HeaderControl);
        }
        self.bytes.push(byte);
        if byte != b'\n' {
            return Ok(false);
        }
        if self.bytes.len() == self.line + 2 {
            return Ok(true);
        }
        if self.lines >= limits.header_lines {
            return Err(Error::TooManyHeaders {
                max: limits.header_lines,
            });
        }
        self.lines += 1;
        self.line = self.bytes.len();
        Ok(false)
    }

    /// Returns all bytes so far, line ends included.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the value of `Content-Disposition` if it is the only header of the part and is spelt with
    /// these capitals, as in most parts; otherwise `None`.
    fn only_disposition(&self) -> Option<&[u8]> {
        let line = self.bytes[..self.line].strip_suffix(b"\r\n")?;
        let value = line.strip_prefix(b"Content-Disposition: ")?;
        let bare = !value.is_empty() && !value.starts_with(b" ") && !value.ends_with(b" ");
        (self.lines == 1 && bare).then_some(value)
    }

    /// Returns the complete lines, without their CRLF.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes[..self.line]
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\r\n"))
    }
}

fn max_bytes(limits: &Limits) -> usize {
    limits.header_bytes.min(MAX_HEADER_BYTES)
}

/// The name, kind and length that a part's headers declare.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// The field's name.
    pub(super) name: &'a str,
    /// The kind of the part: text, file or empty file.
    pub(super) kind: Kind,
    /// The length of the value in bytes, where the part declares it.
    pub(super) length: Option<u64>,
}

impl<'a> Header<'a> {
    /// Parses a complete header block.
    pub(super) fn parse(block: &'a Block, limits: &Limits) -> Result<Self, Error> {
        if let Some(disposition) = block.only_disposition() {
            let (name, kind) = parse_disposition(disposition, limits)?;
            let length = None;
            return Ok(Self { name, kind, length });
        }
        let mut values = [None; KNOWN.len()];
        for line in block.lines() {
            let (name, value) = split_line(line).ok_or(Error::HeaderLine)?;
            let known = KNOWN
                .iter()
                .position(|known| is_spelt(name, known.as_bytes()))
                .ok_or_else(|| match name.iter().all(is_token) {
                    true => Error::UnknownHeader,
                    false => Error::HeaderLine,
                })?;
            if values[known].replace(value).is_some() {
                return Err(Error::DuplicateHeader {
                    header: KNOWN[known],
                });
            }
        }
        let [disposition, media_type, encoding, length] = values;

        let disposition = disposition.ok_or(Error::MissingDisposition)?;
        let (name, kind) = parse_disposition(disposition, limits)?;
        let field = || name.to_owned();
        match (kind, media_type) {
            (_, None) => {}
            (Kind::Text, Some(value)) if is_plain_text(value) => {}
            (Kind::Text, Some(value)) if OCTET_TEXTS.contains(&name) && is_octets(value) => {}
            (Kind::File | Kind::EmptyFile, Some(value)) if is_image_or_octets(value) => {}
            (Kind::Text, Some(_)) => return Err(Error::TextType { field: field() }),
            (_, Some(_)) => return Err(Error::FileType { field: field() }),
        }
        if encoding.is_some_and(|value| !is_one_of(value, &["7bit", "8bit", "binary"])) {
            return Err(Error::TransferEncoding { field: field() });
        }
        let length = match length {
            None => None,
            Some(value) => {
                Some(parse_length(value).ok_or_else(|| Error::PartLength { field: field() })?)
            }
        };
        Ok(Self { name, kind, length })
    }
}

/// The headers that a part may have, each at most once.
const KNOWN: [&str; 4] = [
    "Content-Disposition",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Length",
];

/// The text fields that may be of the type application/octet-stream without a filename. The official Java
/// SDK sends them so. Node's busboy reads such parts as files, so no field here may decide about the price.
const OCTET_TEXTS: [&str; 2] = ["input_reference[image_url]", "input_reference[file_id]"];

/// Returns whether `name` is spelt like `known`, with a capital at the beginning of each word, or like
/// `known` in lower case. Perl's CGI and HTTP::Body recognize no other spelling.
fn is_spelt(name: &[u8], known: &[u8]) -> bool {
    name == known || name.iter().eq(known.to_ascii_lowercase().iter())
}

/// Splits a line `Name: value`; `None` if it has another form. The caller must check that the name is a
/// token, which also excludes folded lines.
fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, rest) = line.split_at(colon);
    let value = rest.strip_prefix(b": ")?;
    let bare = !value.is_empty() && !value.starts_with(b" ") && !value.ends_with(b" ");
    (!name.is_empty() && bare).then_some((name, value))
}

/// Parses the value of `Content-Disposition`, and returns the field's name and the kind of the part.
fn parse_disposition<'a>(value: &'a [u8], limits: &Limits) -> Result<(&'a str, Kind), Error> {
    let value = value
        .strip_prefix(b"form-data; name=")
        .ok_or(Error::Disposition)?;
    let (name, rest) = parse_name(value)?;
    let field = || name.to_owned();
    let refused = |fault, ambiguous| match fault {
        Fault::Ambiguous => ambiguous,
        Fault::Blank => Error::BlankFilename { field: field() },
    };
    let bounded = |length| match length > limits.filename_bytes {
        true => Err(Error::FilenameTooLong {
            field: field(),
            max: limits.filename_bytes,
        }),
        false => Ok(()),
    };
    let extended = || Error::ExtendedFilename { field: field() };
    if rest.is_empty() {
        return Ok((name, Kind::Text));
    }
    if rest.starts_with(b"; filename*=") {
        return Err(extended());
    }
    let rest = rest
        .strip_prefix(b"; filename=")
        .ok_or(Error::Disposition)?;
    let (length, rest) =
        parse_filename(rest).map_err(|fault| refused(fault, Error::Filename { field: field() }))?;
    bounded(length)?;
    let kind = if length == 0 {
        Kind::EmptyFile
    } else {
        Kind::File
    };
    if rest.is_empty() {
        return Ok((name, kind));
    }
    let rest = rest
        .strip_prefix(b"; filename*=")
        .ok_or(Error::Disposition)?;
    let length = parse_extended(rest).map_err(|fault| refused(fault, extended()))?;
    if kind == Kind::EmptyFile {
        return Err(extended());
    }
    bounded(length)?;
    Ok((name, kind))
}

/// Parses a field name, in quotes or as a token, at the start of `value`. Returns the name, and the bytes
/// after it.
///
/// The allowed characters exclude each name that some server would change by unescaping, trimming or
/// decoding it (RFC 2047, percent signs).
fn parse_name(value: &[u8]) -> Result<(&str, &[u8]), Error> {
    let (name, rest, brackets) = match value.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = memchr::memchr(b'"', quoted).ok_or(Error::FieldName)?;
            (&quoted[..end], &quoted[end + 1..], true)
        }
        None => {
            let (name, rest) = split_unquoted(value);
            (name, rest, false)
        }
    };
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-' | b'.')
            || (brackets && matches!(byte, b'[' | b']'))
    };
    if name.is_empty() || !name.iter().all(allowed) {
        return Err(Error::FieldName);
    }
    let name = std::str::from_utf8(name).map_err(|_| Error::FieldName)?;
    Ok((name, rest))
}

/// Returns whether a media type is `text/plain`, alone or with the charset utf-8, us-ascii or iso-8859-1.
fn is_plain_text(value: &[u8]) -> bool {
    let (media_type, rest) = split_unquoted(value);
    if !media_type.eq_ignore_ascii_case(b"text/plain") {
        return false;
    }
    let charset = rest
        .strip_prefix(b"; charset=")
        .or_else(|| rest.strip_prefix(b";charset="));
    rest.is_empty()
        || charset.is_some_and(|value| is_one_of(value, &["utf-8", "us-ascii", "iso-8859-1"]))
}

/// Returns whether a media type is `image/*` or `application/octet-stream`, without parameters.
fn is_image_or_octets(value: &[u8]) -> bool {
    if is_octets(value) {
        return true;
    }
    match value.split_at_checked(b"image/".len()) {
        Some((top, sub)) => {
            top.eq_ignore_ascii_case(b"image/") && !sub.is_empty() && sub.iter().all(is_token)
        }
        None => false,
    }
}

fn is_octets(value: &[u8]) -> bool {
    is_one_of(value, &["application/octet-stream"])
}

/// Parses a decimal number without a sign and without leading zeros; `None` for anything else.
fn parse_length(value: &[u8]) -> Option<u64> {
    let plain = value.iter().all(u8::is_ascii_digit) && (value == b"0" || !value.starts_with(b"0"));
    if !plain {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns whether a value is one of `tokens`, regardless of case.
fn is_one_of(value: &[u8], tokens: &[&str]) -> bool {
    tokens
        .iter()
        .any(|token| value.eq_ignore_ascii_case(token.as_bytes()))
}

/// Splits a value before its first `;`, which stays with the rest.
pub(super) fn split_unquoted(value: &[u8]) -> (&[u8], &[u8]) {
    value.split_at(memchr::memchr(b';', value).unwrap_or(value.len()))
}

/// Returns whether a byte is a `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: &u8) -> bool {
    const TOKEN: [bool; 256] = {
        let (mut table, mut byte) = ([false; 256], 0);
        while byte < 128 {
            table[byte as usize] = matches!(
                byte,
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&'
                    | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
            byte += 1;
        }
        table
    };
    TOKEN[usize::from(*byte)]
}

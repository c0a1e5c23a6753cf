//! The boundary that the request's `Content-Type` declares.

use super::Error;

/// The bytes before the boundary in each delimiter. The first delimiter of a body may lack the CRLF.
pub(super) const LEAD: &[u8] = b"\r\n--";

/// The maximum length of a boundary in bytes (RFC 2046, section 5.1.1).
pub(super) const MAX_BOUNDARY: usize = 70;

/// The maximum length of a delimiter in bytes.
pub(super) const MAX_DELIMITER: usize = LEAD.len() + MAX_BOUNDARY;

/// The boundary between the parts of one body: 1 to 70 bytes, not all of them dashes.
///
/// The bytes are letters, digits and `_ . + -`; also `/` if the boundary was quoted, since Qt puts Base64
/// in it. `=` is not allowed, because npm parse-multipart-data 1.5.0 takes it for the boundary's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// The delimiter: `CRLF "--" boundary`.
    delimiter: Vec<u8>,
}

impl Boundary {
    /// Parses the boundary from the value of a request's `Content-Type` header.
    ///
    /// The value must be `multipart/form-data` in lower case, with the parameter `boundary` and optionally
    /// `charset` (utf-8, us-ascii or iso-8859-1), each once and after `;` or `; `. RFC 9110, section 8.3.1,
    /// also allows upper case and other parameters. Both are refused, because servers do not agree on what
    /// they mean.
    ///
    /// # Errors
    ///
    /// [`Error::MediaType`], [`Error::ContentTypeParameter`], [`Error::RequestCharset`],
    /// [`Error::MissingBoundary`] or [`Error::Boundary`].
    pub fn from_content_type(value: &str) -> Result<Self, Error> {
        let end = value.find(';').unwrap_or(value.len());
        let (media_type, mut rest) = value.split_at(end);
        if media_type != "multipart/form-data" {
            return Err(Error::MediaType);
        }
        let mut boundary = None;
        let mut charset = None;
        while !rest.is_empty() {
            rest = rest.strip_prefix(';').ok_or(Error::ContentTypeParameter)?;
            rest = rest.strip_prefix(' ').unwrap_or(rest);
            let (name, value) = rest.split_once('=').ok_or(Error::ContentTypeParameter)?;
            match name {
                "boundary" if boundary.is_none() => {
                    let (found, after) = boundary_value(value)?;
                    boundary = Some(found);
                    rest = after;
                }
                "charset" if charset.is_none() => {
                    let (found, after) = unquoted(value);
                    charset = Some(found);
                    rest = after;
                }
                _ => return Err(Error::ContentTypeParameter),
            }
        }
        if let Some(charset) = charset
            && !["utf-8", "us-ascii", "iso-8859-1"]
                .iter()
                .any(|known| charset.eq_ignore_ascii_case(known))
        {
            return Err(Error::RequestCharset);
        }
        let boundary = boundary.ok_or(Error::MissingBoundary)?;
        Ok(Self {
            delimiter: [LEAD, boundary.as_bytes()].concat(),
        })
    }

    /// Returns the boundary's bytes, without the CRLF and the two dashes of a delimiter.
    pub fn as_bytes(&self) -> &[u8] {
        &self.delimiter[LEAD.len()..]
    }

    /// Returns the delimiter, `CRLF "--" boundary`, which ends the value before it.
    pub(super) fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }
}

/// Checks the boundary at the start of `value`. Returns it without quotes, and the text after it.
fn boundary_value(value: &str) -> Result<(&str, &str), Error> {
    let (boundary, rest, also) = match value.strip_prefix('"') {
        Some(quoted) => {
            let (boundary, rest) = quoted.split_once('"').ok_or(Error::Boundary)?;
            (boundary, rest, b"/".as_slice())
        }
        None => {
            let (boundary, rest) = unquoted(value);
            (boundary, rest, b"".as_slice())
        }
    };
    let allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte) || also.contains(byte);
    // In `CRLF "--" boundary` a boundary of dashes alone begins in more than one place.
    let unique = boundary.bytes().any(|byte| byte != b'-');
    if boundary.len() <= MAX_BOUNDARY && unique && boundary.as_bytes().iter().all(allowed) {
        Ok((boundary, rest))
    } else {
        Err(Error::Boundary)
    }
}

/// Splits `value` before its first `;`, where a parameter value without quotes ends. Returns both pieces.
fn unquoted(value: &str) -> (&str, &str) {
    value.split_at(value.find(';').unwrap_or(value.len()))
}

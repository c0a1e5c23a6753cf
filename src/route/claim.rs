//! Decides which requests the gate claims, by the request target as it was on the wire.
//!
//! A proxy that embeds the gate has upstreams of its own. If the gate leaves a target to the proxy, no
//! server behind the proxy may read it as a target of the Videos API, whatever that server decodes, folds,
//! trims or resolves. So the gate claims every target that resembles the API, and refuses all but its known
//! routes.

use std::borrow::Cow;

const VIDEOS: &[u8] = b"/v1/videos";

/// The maximum number of layers of percent-encoding that are decoded. A target with more layers is claimed
/// in any case.
const LAYERS: usize = 4;

/// Returns whether a server could read a request target (RFC 9112, section 3.2) as one of the Videos API.
/// It could if some segment of the path is `videos` after decoding, folding and trimming. Behind a segment
/// `v1`, the segment may also have a suffix: `videos.json`, `videos:create`.
///
/// The query is not examined, nor is the authority of a target in absolute form. Of Unicode's compatibility
/// letters, only the fullwidth forms and those whose other case is ASCII are folded.
pub(crate) fn is_claimed(target: &[u8]) -> bool {
    if let Some(rest) = target.strip_prefix(VIDEOS)
        && matches!(rest.first(), None | Some(b'/' | b'?'))
    {
        return true;
    }
    let Some(decoded) = decode(path(target)) else {
        return true;
    };
    let text: String = Characters(&decoded).map(fold).collect();
    let mut versioned = false;
    text.split('/').any(|segment| {
        let trimmed = segment.replace(BLANK, "");
        let readings = [segment, trimmed.as_str()];
        versioned |= readings.iter().any(|reading| name(reading) == "v1");
        readings.iter().any(|reading| {
            let bare = reading.split([';', BLANK]).next().unwrap_or_default();
            bare == "videos" || versioned && name(reading) == "videos"
        })
    })
}

/// Truncates a segment at the first character that cannot be in a name.
fn name(segment: &str) -> &str {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    segment.split(|c| !is_name(c)).next().unwrap_or_default()
}

/// The placeholder for characters that a server may leave out, or at which it may end the target.
const BLANK: char = '\0';

/// Returns the path of a target, without the query, and without scheme and authority.
fn path(target: &[u8]) -> &[u8] {
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let in_scheme = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let scheme = path.iter().take_while(|b| in_scheme(b)).count();
    match path.get(scheme..).and_then(|p| p.strip_prefix(b"://")) {
        Some(rest) if scheme > 0 => {
            let authority = rest.iter().take_while(|b| !matches!(b, b'/' | b'\\'));
            rest.get(authority.count()..).unwrap_or_default()
        }
        _ => path,
    }
}

/// Percent-decodes a path until nothing is left to decode; `None` where it has more than `LAYERS` layers.
fn decode(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut decoded = Cow::Borrowed(path);
    for _ in 0..LAYERS {
        match decode_once(&decoded) {
            Some(next) => decoded = Cow::Owned(next),
            None => return Some(decoded),
        }
    }
    decode_once(&decoded).is_none().then_some(decoded)
}

/// Decodes one layer of percent-encoding, `%76` and also `%u0076`, which some servers decode; `None` where
/// nothing is encoded.
fn decode_once(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |range: &[u8]| {
        let digit = |sum: u32, b: &u8| Some(sum * 16 + char::from(*b).to_digit(16)?);
        range.iter().try_fold(0, digit)
    };
    let mut decoded: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escape = match (byte, text.get(at + 1)) {
            (b'%', Some(b'u' | b'U')) => text.get(at + 2..at + 6).map(|digits| (digits, 6)),
            (b'%', _) => text.get(at + 1..at + 3).map(|digits| (digits, 3)),
            _ => None,
        };
        let code = escape.and_then(|(digits, length)| Some((hex(digits)?, length)));
        if let Some((code, length)) = code {
            let decoded =
                decoded.get_or_insert_with(|| text.get(..at).unwrap_or_default().to_vec());
            match (length, u8::try_from(code), char::from_u32(code)) {
                (3, Ok(byte), _) => decoded.push(byte),
                (_, _, Some(character)) => {
                    decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => {}
            }
            at += length;
        } else {
            if let Some(decoded) = &mut decoded {
                decoded.push(byte);
            }
            at += 1;
        }
    }
    decoded
}

/// An iterator over the characters of a text in UTF-8, as the most lenient decoder reads it: overlong forms
/// count (`C0 AF` is a slash), and bytes that form no character are left out.
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let (&lead, rest) = self.0.split_first()?;
            self.0 = rest;
            let (more, first) = match lead {
                0x00..=0x7F => return Some(char::from(lead)),
                0xC0..=0xDF => (1, lead & 0x1F),
                0xE0..=0xEF => (2, lead & 0x0F),
                0xF0..=0xF7 => (3, lead & 0x07),
                _ => continue,
            };
            let follow = rest
                .get(..more)
                .filter(|f| f.iter().all(|b| b & 0xC0 == 0x80));
            let Some(follow) = follow else { continue };
            self.0 = rest.get(more..).unwrap_or_default();
            let code = |code, byte: &u8| code << 6 | u32::from(byte & 0x3F);
            let character = char::from_u32(follow.iter().fold(u32::from(first), code));
            if character.is_some() {
                return character;
            }
        }
    }
}

/// Returns the character that a server may read in place of `character`: an ASCII letter in lower case, `/`,
/// or [`BLANK`]. Other characters are returned as they are.
fn fold(character: char) -> char {
    let character = match character {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(character) - 0xFEE0),
        other => Some(other),
    };
    let character = character.unwrap_or(BLANK);
    match character {
        '\\' | '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29F8}' | '\u{FE68}' => '/',
        // These are no ASCII letters, but their upper-case or lower-case forms are.
        '\u{130}' | '\u{131}' => 'i',
        '\u{17F}' => 's',
        c if c.is_control() || c.is_whitespace() => BLANK,
        '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}' => BLANK,
        c => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_the_api_to_anybody_is_claimed() {
        for target in [
            "/v1/videos",
            "/v1/videos?a=b",
            "/v1/videos/x",
            "//v1/videos",
            "/v1//videos",
            "%20/v1/videos",
            " /v1/videos",
            "/v1/videos%20HTTP/1.1",
            "\t/v1/videos",
            "v1/videos",
            "./v1/videos",
            "/v1/videos/../models",
            "/v1/models/../videos",
            "/./v1/./videos/.",
            "/v1/%76ideos/x",
            "/v1/%2576ideos",
            "/v1/%25252576ideos",
            "/%25252525252525",
            "/v1/%u0076ideos",
            "/v1%u2215videos",
            "/v1%2fvideos",
            "/v1%5cvideos",
            "/v1%c0%afvideos",
            "/v1%e0%80%afvideos",
            "/v1/vi%ffdeos",
            "/v1/VIDEOS",
            "/V1/Videos",
            "/v1/videos;a=b/x",
            "/v1;a=b/videos",
            "/v1/videos%3fa",
            "/v1/videos%23a",
            "/v1/videos%00",
            "/v1/vid%09eos",
            "/v1/ videos",
            "/v1 /videos",
            "/x/videos%20y",
            "/v1/vid\u{200b}eos",
            "/v1/v\u{131}deos",
            "/v1/video\u{17f}",
            "/v1/\u{ff56}ideos",
            "/v1\u{ff0f}videos",
            "/v1/videos.json",
            "/v1/videos:create",
            "/v1/videos.",
            "/v1\\videos",
            "\\v1\\videos",
            "/v1/%2e/videos%2fx",
            "http://gate.test/v1/videos",
            "HTTP://gate.test//v1/videos",
            "http:/v1/videos",
            "http:/\\gate.test/v1/videos",
            "http:\\\\gate.test\\v1\\videos",
            "%20http://gate.test/v1/videos",
            "x://a\\v1\\videos",
            "/v1/videos://a/b",
        ] {
            assert!(is_claimed(target.as_bytes()), "{target}");
        }
        assert!(is_claimed(b"/v1/vid\xffeos"));
    }

    #[test]
    fn the_hosts_own_routes_are_not() {
        for target in [
            "",
            "*",
            "/",
            "/v1/models",
            "/v1/chat/completions",
            "/videos.html",
            "/v1/videosx",
            "/v1/videos-old",
            "/v1/video",
            "/v1/vid\u{e9}os",
            "/?/v1/videos",
            "/v1/models?next=/v1/videos",
            "/%",
            "/%2",
            "/100%/%zz",
            "/%u00",
            "/%25",
            "http://videos/v1/models",
            "http://videos",
            "http://videos?a",
            "gate.test:443",
        ] {
            assert!(!is_claimed(target.as_bytes()), "{target}");
        }
    }
}

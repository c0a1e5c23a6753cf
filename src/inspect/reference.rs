//! The reference image of a create: a file, a data URL, a plain URL or a file's id. The pixel size of files
//! and data URLs is read from their first bytes as they stream through.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Base64Fault, Refusal};
use crate::image::{Image, Probe, Progress, Reason};

/// The maximum length of the `data:…;base64,` before an image, in bytes.
const DATA_URL_HEAD: usize = 128;

/// A reader of the pixel size of one reference image.
pub(super) struct Reference {
    source: Source,
    probe: Probe,
    verdict: Option<Result<Image, Reason>>,
}

/// The kind of source that the image's bytes come from.
enum Source {
    File,
    /// The first bytes of an `image_url`, until its scheme and the head of a data URL have been read.
    UrlHead(Vec<u8>),
    /// A URL of the web or a file's id: the channel fetches the image, whose size cannot be known here.
    Elsewhere,
    DataUrl(Base64),
}

/// A decoder of Base64 that comes in pieces. It decodes four characters at a time, so that its result does
/// not depend on where the text was cut.
///
/// Once the size of an image is known, further characters are no longer decoded, but still checked: they
/// must be in the alphabet, with padding only at the end, however early the size is known.
#[derive(Default)]
struct Base64 {
    quad: [u8; 4],
    len: usize,
    /// Whether the padding was read, after which nothing may follow.
    padded: bool,
    /// Whether no more decoded bytes are wanted, so that further characters are only checked.
    known: bool,
}

impl Reference {
    pub(super) fn file() -> Self {
        Self::from(Source::File)
    }

    pub(super) fn file_id() -> Self {
        Self::from(Source::Elsewhere)
    }

    pub(super) fn url() -> Self {
        Self::from(Source::UrlHead(Vec::new()))
    }

    fn from(source: Source) -> Self {
        Self {
            source,
            probe: Probe::new(),
            verdict: None,
        }
    }

    /// Returns whether the value is a file's bytes rather than a text.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.source, Source::File)
    }

    /// Returns the type and size of the image, or the reason why they cannot be known; `None` until enough
    /// bytes have been read, and always for an image that the channel fetches.
    pub(super) fn verdict(&self) -> Option<&Result<Image, Reason>> {
        self.verdict.as_ref()
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        if let Source::UrlHead(head) = &mut self.source {
            let missing = DATA_URL_HEAD.saturating_sub(head.len());
            let comma = bytes.iter().take(missing).position(|b| *b == b',');
            let taken = comma.map_or(bytes.len().min(missing), |at| at + 1);
            head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            match scheme(head) {
                Scheme::Unknown => return Err(Refusal::UrlScheme),
                Scheme::Web => self.source = Source::Elsewhere,
                Scheme::Open => {}
                Scheme::Data if comma.is_some() => {
                    if !is_image_head(head) {
                        return Err(Refusal::BadDataUrl);
                    }
                    self.source = Source::DataUrl(Base64::default());
                }
                Scheme::Data if head.len() >= DATA_URL_HEAD => return Err(Refusal::BadDataUrl),
                Scheme::Data => {}
            }
        }
        match &mut self.source {
            Source::File if self.verdict.is_none() => {
                settle(&mut self.verdict, self.probe.push(bytes));
            }
            Source::File | Source::UrlHead(_) | Source::Elsewhere => {}
            Source::DataUrl(base64) => {
                let (probe, verdict) = (&mut self.probe, &mut self.verdict);
                base64.push(bytes, |decoded| {
                    settle(verdict, probe.push(decoded));
                    verdict.is_none()
                })?;
            }
        }
        Ok(())
    }

    /// Ends the value. Refuses an incomplete URL scheme, an incomplete head of a data URL, and Base64 that is
    /// cut off.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        match &self.source {
            Source::UrlHead(head) => {
                return Err(match scheme(head) {
                    Scheme::Data => Refusal::BadDataUrl,
                    _ => Refusal::UrlScheme,
                });
            }
            Source::Elsewhere => return Ok(()),
            Source::DataUrl(base64) if base64.len > 0 => {
                return Err(Refusal::BadBase64(Base64Fault::End));
            }
            Source::File | Source::DataUrl(_) => {}
        }
        if self.verdict.is_none() {
            self.verdict = Some(self.probe.finish());
        }
        Ok(())
    }
}

fn settle(verdict: &mut Option<Result<Image, Reason>>, progress: Progress) {
    *verdict = match progress {
        Progress::More => None,
        Progress::Known(image) => Some(Ok(image)),
        Progress::Unknown(reason) => Some(Err(reason)),
    };
}

/// The scheme of a URL, as far as it is known.
enum Scheme {
    /// The scheme is not complete yet.
    Open,
    Data,
    Web,
    /// Any other scheme, or none. It is refused, since a channel might read it as, for example, a file of its
    /// own.
    Unknown,
}

/// Reads the scheme of a URL regardless of case, such as `DATA:` (RFC 3986 section 3.1).
fn scheme(head: &[u8]) -> Scheme {
    let begins = |scheme: &[u8]| {
        let known = head.len().min(scheme.len());
        head.iter()
            .zip(scheme)
            .all(|(a, b)| a.eq_ignore_ascii_case(b))
            .then_some(known)
    };
    let schemes: [(&[u8], Scheme); 3] = [
        (b"data:", Scheme::Data),
        (b"http://", Scheme::Web),
        (b"https://", Scheme::Web),
    ];
    let mut open = false;
    for (text, scheme) in schemes {
        match begins(text) {
            Some(known) if known == text.len() => return scheme,
            Some(_) => open = true,
            None => {}
        }
    }
    if open { Scheme::Open } else { Scheme::Unknown }
}

/// Returns whether `head` is `data:image/TYPE;base64,`, the one form in which the bytes can be read for
/// sure.
fn is_image_head(head: &[u8]) -> bool {
    let subtype = head
        .strip_prefix(b"data:image/")
        .and_then(|rest| rest.strip_suffix(b";base64,"));
    subtype.is_some_and(|subtype| {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        !subtype.is_empty() && subtype.iter().all(plain)
    })
}

impl Base64 {
    /// Decodes `text` and passes the bytes to `on` until `on` returns false. Then only checks the characters.
    fn push(&mut self, text: &[u8], mut on: impl FnMut(&[u8]) -> bool) -> Result<(), Refusal> {
        let mut text = text.iter();
        while !self.known
            && let Some(byte) = text.next()
        {
            self.quad[self.len] = *byte;
            self.len += 1;
            if !is_in_alphabet(*byte) && *byte != b'=' {
                return Err(fault(*byte));
            }
            if self.len < self.quad.len() {
                continue;
            }
            self.len = 0;
            let mut decoded = [0; 3];
            let len = STANDARD.decode_slice(self.quad, &mut decoded);
            let len = len.map_err(|_| fault(b'='))?;
            if self.padded {
                return Err(fault(b'='));
            }
            self.padded = len < decoded.len();
            self.known = !on(&decoded[..len]);
        }
        self.check(text.as_slice())
    }

    fn check(&mut self, text: &[u8]) -> Result<(), Refusal> {
        // No branch for each byte: the picture may be long.
        let plain = text
            .iter()
            .fold(true, |plain, b| plain & is_in_alphabet(*b));
        if plain && !self.padded {
            self.len = (self.len + text.len()) % 4;
            return Ok(());
        }
        for byte in text {
            let padding = *byte == b'=' && self.len >= 2;
            if !(padding || is_in_alphabet(*byte) && !self.padded) {
                return Err(fault(*byte));
            }
            self.padded |= padding;
            self.len = (self.len + 1) % 4;
        }
        Ok(())
    }
}

fn is_in_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/')
}

fn fault(byte: u8) -> Refusal {
    Refusal::BadBase64(match byte {
        b'\r' | b'\n' => Base64Fault::LineBreak,
        b'=' => Base64Fault::End,
        byte if is_in_alphabet(byte) => Base64Fault::End,
        _ => Base64Fault::Character,
    })
}

//! The reference image: a file, a data URL, a plain URL or a file's id. Of the first two
//! the pixel size is read from the first bytes, as they pass.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Refusal;
use crate::image::{Image, Probe, Progress, Reason};

/// The longest `data:…;base64,` that is waited for, in bytes.
const DATA_URL_HEAD: usize = 128;

/// Reads the pixel size of one reference image.
pub(super) struct Reference {
    source: Source,
    probe: Probe,
    verdict: Option<Result<Image, Reason>>,
}

/// Where the image's bytes come from.
enum Source {
    File,
    /// An `image_url` of which the beginning is not known yet.
    UrlHead(Vec<u8>),
    /// A plain URL or a file's id: the channel fetches it, its size cannot be known here.
    Elsewhere,
    DataUrl(Base64),
}

/// Decodes Base64 that comes in pieces, four characters at a time, so that its verdict does
/// not depend on the pieces.
#[derive(Default)]
struct Base64 {
    quad: [u8; 4],
    len: usize,
    /// Whether the padding has come, after which nothing may.
    padded: bool,
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

    /// Whether the value is a file's bytes rather than a text.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.source, Source::File)
    }

    /// What the image is, as soon as that can be told.
    pub(super) fn verdict(&self) -> Option<&Result<Image, Reason>> {
        self.verdict.as_ref()
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        if self.verdict.is_some() {
            return Ok(());
        }
        if let Source::UrlHead(head) = &mut self.source {
            let missing = DATA_URL_HEAD.saturating_sub(head.len());
            let comma = bytes.iter().take(missing).position(|b| *b == b',');
            let taken = comma.map_or(bytes.len().min(missing), |at| at + 1);
            head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if !could_be_data_url(head) {
                self.source = Source::Elsewhere;
            } else if comma.is_some() {
                if !is_image_head(head) {
                    return Err(Refusal::BadDataUrl);
                }
                self.source = Source::DataUrl(Base64::default());
            } else if head.len() >= DATA_URL_HEAD {
                return Err(Refusal::BadDataUrl);
            }
        }
        match &mut self.source {
            Source::File => settle(&mut self.verdict, self.probe.push(bytes)),
            Source::UrlHead(_) | Source::Elsewhere => {}
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

    /// The value has ended.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        match &self.source {
            Source::UrlHead(head) if starts_as_data_url(head) => return Err(Refusal::BadDataUrl),
            Source::UrlHead(_) | Source::Elsewhere => return Ok(()),
            Source::File | Source::DataUrl(_) => {}
        }
        if self.verdict.is_none() {
            if matches!(&self.source, Source::DataUrl(base64) if base64.len > 0) {
                return Err(Refusal::BadDataUrl);
            }
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

/// URL schemes are read in any case (RFC 3986 section 3.1), so `DATA:` is one too.
fn could_be_data_url(head: &[u8]) -> bool {
    let scheme = b"data:";
    let known = head.len().min(scheme.len());
    head[..known].eq_ignore_ascii_case(&scheme[..known])
}

fn starts_as_data_url(head: &[u8]) -> bool {
    head.len() >= 5 && could_be_data_url(head)
}

/// `data:image/TYPE;base64,`: the one form in which the bytes can be read for sure.
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
    /// Hands the decoded bytes on until told to stop.
    fn push(&mut self, text: &[u8], mut on: impl FnMut(&[u8]) -> bool) -> Result<(), Refusal> {
        for byte in text {
            self.quad[self.len] = *byte;
            self.len += 1;
            if self.len < self.quad.len() {
                continue;
            }
            self.len = 0;
            let mut decoded = [0; 3];
            let len = STANDARD.decode_slice(self.quad, &mut decoded);
            let len = len.map_err(|_| Refusal::BadDataUrl)?;
            if self.padded {
                return Err(Refusal::BadDataUrl);
            }
            self.padded = len < decoded.len();
            if !on(&decoded[..len]) {
                return Ok(());
            }
        }
        Ok(())
    }
}

//! Reads the type and pixel size of a PNG, JPEG or WebP image from its first bytes as they stream in.
//!
//! A [`Probe`] does no IO and holds a few dozen bytes, whatever the input is: it does not keep the segments
//! of a JPEG before its frame header (EXIF with a preview, colour profiles).
//!
//! The size is that of the encoded picture: EXIF orientation is reported, not applied, and for a WebP in
//! the extended format the size is that of the canvas. Headers that the common decoders (libpng, libjpeg,
//! libwebp) reject give a [`Reason`], never a guessed size. The first `IHDR` or frame header decides; a
//! second one is an error to those decoders.

mod exif;
mod jpeg;
mod png;
#[cfg(test)]
mod tests;
mod webp;

use std::fmt;

/// The maximum number of bytes of a picture that are read to find its size.
pub const HEAD_BYTES: u64 = 8 * 1024 * 1024;

/// A push parser that finds the type and pixel size of one picture.
///
/// The answer does not depend on how the input is cut into chunks, nor on what follows the size.
#[derive(Debug, Clone)]
pub struct Probe {
    state: State,
    /// The number of bytes that were read, at most [`HEAD_BYTES`].
    read: u64,
}

/// The progress of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The size is not known yet: push more bytes.
    More,
    /// The type and size of the picture are known.
    Known(Image),
    /// The type and size cannot be known, for this reason.
    Unknown(Reason),
}

/// The type and size of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// The encoding of the picture.
    pub format: Format,
    /// The number of columns of the encoded picture, in pixels; never 0.
    pub width: u32,
    /// The number of rows of the encoded picture, in pixels; never 0.
    pub height: u32,
    /// Whether the EXIF orientation of a JPEG makes viewers rotate the picture by 90 degrees, so that they
    /// swap width and height.
    pub turned: bool,
}

/// The encoding of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PNG (RFC 2083 and its W3C successors).
    Png,
    /// JPEG (ITU-T T.81), of any coding process, such as baseline or progressive.
    Jpeg,
    /// WebP (RFC 9649): lossy, lossless or extended.
    WebP,
}

/// The reason why the size of a picture cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The picture is no PNG, JPEG or WebP.
    #[error("The image is no PNG, JPEG or WebP; convert it to one of them.")]
    UnknownFormat,
    /// The picture begins like this format, but its header is invalid.
    #[error("The image looks like a {0} but has an invalid header; encode it anew.")]
    Malformed(Format),
    /// The header gives a width or height of 0.
    #[error("The {0} image's header gives no width or no height; encode it anew.")]
    ZeroSize(Format),
    /// The size has not come within [`HEAD_BYTES`].
    #[error(
        "The {format} image has more than {max} MiB of metadata before its size; remove the metadata.",
        format = .0,
        max = HEAD_BYTES / (1024 * 1024)
    )]
    HeadTooLong(Format),
    /// The picture ended before its size.
    #[error("The image ends before its size; send the whole file.")]
    Truncated,
}

#[derive(Debug, Clone)]
enum State {
    /// The probe is within the bytes that tell the formats apart, or within the header of a PNG or WebP.
    Head {
        bytes: [u8; HEAD],
        len: usize,
    },
    /// The probe is among the marker segments of a JPEG.
    Jpeg(jpeg::Segments),
    Done(Result<Image, Reason>),
}

/// The maximum number of bytes that are kept: a PNG's signature and first chunk.
const HEAD: usize = png::HEADER;

/// The result of examining the first bytes of a picture.
enum Judgement {
    /// More bytes of the header are needed.
    More,
    /// The marker segments of a JPEG follow.
    Jpeg,
    Done(Result<Image, Reason>),
}

impl Probe {
    /// Makes a probe for one picture.
    pub fn new() -> Self {
        Self {
            state: State::Head {
                bytes: [0; HEAD],
                len: 0,
            },
            read: 0,
        }
    }

    /// Reads the picture's next bytes. Once the answer is known, it does not change, and bytes are ignored.
    pub fn push(&mut self, bytes: &[u8]) -> Progress {
        let left = HEAD_BYTES - self.read;
        let mut rest = match usize::try_from(left) {
            Ok(left) => &bytes[..bytes.len().min(left)],
            Err(_) => bytes,
        };
        self.read += rest.len() as u64;
        while !rest.is_empty() {
            match &mut self.state {
                State::Head { bytes: head, len } => {
                    head[*len] = rest[0];
                    *len += 1;
                    rest = &rest[1..];
                    match judge(&head[..*len]) {
                        Judgement::More => {}
                        Judgement::Jpeg => self.state = State::Jpeg(jpeg::Segments::new()),
                        Judgement::Done(answer) => self.state = State::Done(answer),
                    }
                }
                State::Jpeg(segments) => match segments.push(rest) {
                    None => rest = &[],
                    Some(answer) => self.state = State::Done(answer),
                },
                State::Done(_) => break,
            }
        }
        if self.read == HEAD_BYTES && matches!(self.state, State::Jpeg(_)) {
            self.state = State::Done(Err(Reason::HeadTooLong(Format::Jpeg)));
        }
        match self.state {
            State::Done(Ok(image)) => Progress::Known(image),
            State::Done(Err(reason)) => Progress::Unknown(reason),
            _ => Progress::More,
        }
    }

    /// Ends the picture and returns its type and size.
    ///
    /// # Errors
    ///
    /// The reason why the size is not known; [`Reason::Truncated`] if more bytes would have been needed.
    pub fn finish(&self) -> Result<Image, Reason> {
        match self.state {
            State::Done(answer) => answer,
            _ => Err(Reason::Truncated),
        }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        })
    }
}

/// Recognises the format by the first bytes, and examines the header of a PNG or WebP once it is complete.
fn judge(head: &[u8]) -> Judgement {
    if agrees(head, &png::SIGNATURE) {
        png::judge(head)
    } else if agrees(head, &jpeg::START) {
        match head.len() < jpeg::START.len() {
            true => Judgement::More,
            false => Judgement::Jpeg,
        }
    } else if agrees(head, webp::RIFF) && agrees(head.get(8..).unwrap_or(&[]), webp::WEBP) {
        webp::judge(head)
    } else {
        Judgement::Done(Err(Reason::UnknownFormat))
    }
}

/// Returns whether `head` and `signature` agree up to the end of the shorter one.
fn agrees(head: &[u8], signature: &[u8]) -> bool {
    head.iter().zip(signature).all(|(a, b)| a == b)
}

fn sized(format: Format, width: u32, height: u32) -> Result<Image, Reason> {
    match width == 0 || height == 0 {
        true => Err(Reason::ZeroSize(format)),
        false => Ok(Image {
            format,
            width,
            height,
            turned: false,
        }),
    }
}

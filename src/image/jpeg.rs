//! JPEG (ITU-T T.81, annex B): the marker segments up to the frame header.

use super::exif::{self, Exif};
use super::{Format, Image, Reason, sized};

/// The marker that starts an image, and the first byte of the next marker.
pub(super) const START: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// A parser of the marker segments of a JPEG, up to the frame header.
#[derive(Debug, Clone)]
pub(super) struct Segments {
    at: At,
    /// Whether any EXIF segment so far swaps the picture's width and height.
    turned: bool,
}

/// The position of the input among the marker segments.
#[derive(Debug, Clone)]
enum At {
    /// The parser is before a marker's 0xFF. Other bytes are skipped, as libjpeg skips them.
    Marker,
    /// The parser is behind a marker's 0xFF: before the marker's code, or before another 0xFF as padding.
    Code,
    /// The parser is before the length of a segment.
    LengthHigh { code: u8 },
    /// The parser is in the middle of the length of a segment.
    LengthLow { code: u8, high: u8 },
    /// The parser is within a segment that does not matter.
    Skip { left: usize },
    /// The parser is within a segment that may hold EXIF.
    Exif { left: usize, exif: Exif },
    /// The parser is within a frame header.
    Frame {
        code: u8,
        length: u16,
        bytes: [u8; FRAME],
        len: usize,
    },
}

/// The number of bytes of a frame header up to the number of components: precision, height, width,
/// number.
const FRAME: usize = 1 + 2 + 2 + 1;

const MALFORMED: Result<Image, Reason> = Err(Reason::Malformed(Format::Jpeg));

impl Segments {
    /// Creates a parser whose first byte is the one behind [`START`].
    pub(super) fn new() -> Self {
        Self {
            at: At::Code,
            turned: false,
        }
    }

    /// Reads bytes until the size is known, or is known to be invalid. Returns this answer; `None` where more
    /// bytes are needed.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Option<Result<Image, Reason>> {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            self.at = match &mut self.at {
                At::Marker if byte == 0xFF => At::Code,
                At::Marker => {
                    let stray = bytes.iter().take_while(|b| **b != 0xFF);
                    bytes = &bytes[stray.count()..];
                    At::Marker
                }
                At::Code => match byte {
                    0xFF => At::Code,
                    // A stuffed byte, or a restart: both have no segment, and are skipped.
                    0x00 | 0xD0..=0xD7 => At::Marker,
                    code if has_segment(code) => At::LengthHigh { code },
                    _ => return Some(MALFORMED),
                },
                At::LengthHigh { code } => At::LengthLow {
                    code: *code,
                    high: byte,
                },
                At::LengthLow { code, high } => {
                    match behind_length(*code, u16::from_be_bytes([*high, byte])) {
                        Some(at) => at,
                        None => return Some(MALFORMED),
                    }
                }
                At::Skip { left } => {
                    // The byte at hand is the first of those left.
                    let skipped = (*left - 1).min(bytes.len());
                    bytes = &bytes[skipped..];
                    behind(*left - 1 - skipped)
                }
                At::Exif { left, exif } => {
                    let left = *left - 1;
                    match exif.push(byte) {
                        exif::Step::More if left > 0 => At::Exif {
                            left,
                            exif: exif.clone(),
                        },
                        exif::Step::Orientation(turned) => {
                            self.turned |= turned;
                            behind(left)
                        }
                        exif::Step::More | exif::Step::None => behind(left),
                    }
                }
                At::Frame {
                    code,
                    length,
                    bytes: header,
                    len,
                } => {
                    header[*len] = byte;
                    *len += 1;
                    if *len == FRAME {
                        return Some(size(*code, *length, *header, self.turned));
                    }
                    continue;
                }
            };
        }
        None
    }
}

/// Returns the position that follows the length of a segment; `None` where the length is too short.
fn behind_length(code: u8, length: u16) -> Option<At> {
    // The length counts its own two bytes.
    let left = usize::from(length).checked_sub(2)?;
    Some(match code {
        _ if is_frame(code) => At::Frame {
            code,
            length,
            bytes: [0; FRAME],
            len: 0,
        },
        APP1 if left > 0 => At::Exif {
            left,
            exif: Exif::new(),
        },
        _ => behind(left),
    })
}

/// Returns the position of the parser if `left` bytes of a segment are still to be skipped.
fn behind(left: usize) -> At {
    match left {
        0 => At::Marker,
        left => At::Skip { left },
    }
}

/// The code of the marker APP1, whose segments hold EXIF or XMP.
const APP1: u8 = 0xE1;

/// Returns whether a marker code is a start of frame, which begins a frame header. Three codes in the same
/// range are other markers: Huffman tables, an extension and arithmetic conditioning.
fn is_frame(code: u8) -> bool {
    matches!(code, 0xC0..=0xCF) && !matches!(code, 0xC4 | 0xC8 | 0xCC)
}

/// Returns whether a marker code begins the frame header or a segment that may stand before it: tables, a
/// restart interval, application data or a comment.
fn has_segment(code: u8) -> bool {
    is_frame(code) || matches!(code, 0xC4 | 0xCC | 0xDB | 0xDD | 0xE0..=0xEF | 0xFE)
}

fn size(code: u8, length: u16, header: [u8; FRAME], turned: bool) -> Result<Image, Reason> {
    let [precision, h0, h1, w0, w1, components] = header;
    let has_precision = match code & 0x03 {
        // In the order of the arms: baseline, sequential and progressive, lossless.
        0 if code == 0xC0 => precision == 8,
        0..=2 => matches!(precision, 8 | 12),
        _ => matches!(precision, 2..=16),
    };
    if !has_precision || !matches!(components, 1..=4) || length != 8 + 3 * u16::from(components) {
        return MALFORMED;
    }
    // With a height of 0, the height would follow behind the first scan, in a segment of its own.
    let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
    let image = sized(Format::Jpeg, u32::from(width), u32::from(height));
    image.map(|image| Image { turned, ..image })
}

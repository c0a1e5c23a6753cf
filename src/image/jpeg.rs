//! JPEG (ITU-T T.81, annex B): the marker segments up to the frame header.

use super::{Format, Image, Reason, sized};

/// The marker that starts an image, and the first byte of the next marker.
pub(super) const START: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// Where among the marker segments the input stands.
#[derive(Debug, Clone)]
pub(super) enum Segments {
    /// Before a marker's 0xFF.
    Marker,
    /// Behind it: a marker's code, or another 0xFF to fill.
    Code,
    /// Before the length of a segment.
    LengthHigh { code: u8 },
    /// In the middle of it.
    LengthLow { code: u8, high: u8 },
    /// Within a segment that does not matter.
    Skip { left: usize },
    /// Within a frame header.
    Frame {
        code: u8,
        length: u16,
        bytes: [u8; FRAME],
        len: usize,
    },
}

/// Bytes of a frame header up to the number of components: precision, height, width, number.
const FRAME: usize = 1 + 2 + 2 + 1;

const MALFORMED: Result<Image, Reason> = Err(Reason::Malformed(Format::Jpeg));

impl Segments {
    /// Behind [`START`].
    pub(super) fn new() -> Self {
        Self::Code
    }

    /// Reads bytes up to the answer.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Option<Result<Image, Reason>> {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            *self = match *self {
                Self::Marker if byte == 0xFF => Self::Code,
                Self::Marker => return Some(MALFORMED),
                Self::Code => match byte {
                    0xFF => Self::Code,
                    code if has_segment(code) => Self::LengthHigh { code },
                    _ => return Some(MALFORMED),
                },
                Self::LengthHigh { code } => Self::LengthLow { code, high: byte },
                Self::LengthLow { code, high } => {
                    let length = u16::from_be_bytes([high, byte]);
                    match length {
                        // It counts its own two bytes.
                        0 | 1 => return Some(MALFORMED),
                        _ if is_frame(code) => Self::Frame {
                            code,
                            length,
                            bytes: [0; FRAME],
                            len: 0,
                        },
                        2 => Self::Marker,
                        _ => Self::Skip {
                            left: usize::from(length) - 2,
                        },
                    }
                }
                Self::Skip { left } => {
                    // The byte at hand is the first of those left.
                    let skipped = (left - 1).min(bytes.len());
                    bytes = &bytes[skipped..];
                    match left - 1 - skipped {
                        0 => Self::Marker,
                        left => Self::Skip { left },
                    }
                }
                Self::Frame {
                    code,
                    length,
                    bytes: mut header,
                    len,
                } => {
                    header[len] = byte;
                    if len + 1 == FRAME {
                        return Some(size(code, length, header));
                    }
                    Self::Frame {
                        code,
                        length,
                        bytes: header,
                        len: len + 1,
                    }
                }
            };
        }
        None
    }
}

/// Whether it is a start of frame. Among their codes are three of other markers: Huffman tables,
/// an extension and arithmetic conditioning.
fn is_frame(code: u8) -> bool {
    matches!(code, 0xC0..=0xCF) && !matches!(code, 0xC4 | 0xC8 | 0xCC)
}

/// Whether a segment with this marker can come up to the frame header: a frame header itself,
/// tables, a restart interval, application data or a comment.
fn has_segment(code: u8) -> bool {
    is_frame(code) || matches!(code, 0xC4 | 0xCC | 0xDB | 0xDD | 0xE0..=0xEF | 0xFE)
}

fn size(code: u8, length: u16, header: [u8; FRAME]) -> Result<Image, Reason> {
    let [precision, h0, h1, w0, w1, components] = header;
    let has_precision = match code & 0x03 {
        // Baseline; sequential and progressive; lossless.
        0 if code == 0xC0 => precision == 8,
        0..=2 => matches!(precision, 8 | 12),
        _ => matches!(precision, 2..=16),
    };
    if !has_precision || !matches!(components, 1..=4) || length != 8 + 3 * u16::from(components) {
        return MALFORMED;
    }
    // A height of 0 would come behind the first scan, in a segment of its own.
    let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
    sized(Format::Jpeg, u32::from(width), u32::from(height))
}

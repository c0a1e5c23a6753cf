//! WebP (RFC 9649): the RIFF header and the header of the first chunk.

use super::{Format, Judgement, Reason, sized};

pub(super) const RIFF: &[u8] = b"RIFF";
/// The bytes behind the RIFF file size, which say that the RIFF file is a WebP.
pub(super) const WEBP: &[u8] = b"WEBP";

/// The number of bytes of the RIFF header and the first chunk's type and length.
const CHUNK: usize = 12 + 8;

/// Examines the bytes of a WebP that have been read. `head` agrees with [`RIFF`] and [`WEBP`].
pub(super) fn judge(head: &[u8]) -> Judgement {
    let Some((header, payload)) = head.split_at_checked(CHUNK) else {
        return Judgement::More;
    };
    let read = match &header[12..16] {
        b"VP8 " => lossy,
        b"VP8L" => lossless,
        b"VP8X" => extended,
        _ => return Judgement::Done(Err(Reason::Malformed(Format::WebP))),
    };
    let length = little_endian(&header[16..20]);
    let file = little_endian(&header[4..8]);
    // The file's length counts `WEBP` and the chunk's header, and the padding of an odd chunk.
    if u64::from(file) < 12 + u64::from(length) + u64::from(length % 2) {
        return Judgement::Done(Err(Reason::Malformed(Format::WebP)));
    }
    match read(payload, length) {
        Read::More => Judgement::More,
        Read::Malformed => Judgement::Done(Err(Reason::Malformed(Format::WebP))),
        Read::Size(width, height) => Judgement::Done(sized(Format::WebP, width, height)),
    }
}

enum Read {
    More,
    Malformed,
    Size(u32, u32),
}

/// Reads the size from the frame header of VP8, RFC 6386 section 9.1.
fn lossy(payload: &[u8], length: u32) -> Read {
    let &[t0, t1, t2, s0, s1, s2, w0, w1, h0, h1, ..] = payload else {
        return Read::More;
    };
    let tag = little_endian(&[t0, t1, t2]);
    let is_key_frame = tag & 1 == 0;
    let version = tag >> 1 & 7;
    let is_shown = tag >> 4 & 1 == 1;
    let first_partition = tag >> 5;
    if !is_key_frame
        || version > 3
        || !is_shown
        || first_partition >= length
        || [s0, s1, s2] != [0x9D, 0x01, 0x2A]
    {
        return Read::Malformed;
    }
    // The upper two bits are a scale that decoders leave to the viewer.
    let side = |low, high| little_endian(&[low, high]) & 0x3FFF;
    Read::Size(side(w0, w1), side(h0, h1))
}

/// Reads the size from the header of VP8L, RFC 9649 section 3.4.
fn lossless(payload: &[u8], length: u32) -> Read {
    let &[signature, b0, b1, b2, b3, ..] = payload else {
        return Read::More;
    };
    let bits = little_endian(&[b0, b1, b2, b3]);
    let version = bits >> 29;
    if signature != 0x2F || version != 0 || length < 5 {
        return Read::Malformed;
    }
    Read::Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
}

/// Reads the size of the canvas of the extended format, RFC 9649 section 2.7.
fn extended(payload: &[u8], length: u32) -> Read {
    if length != 10 {
        return Read::Malformed;
    }
    let &[_, _, _, _, w0, w1, w2, h0, h1, h2, ..] = payload else {
        return Read::More;
    };
    let side = |a, b, c| little_endian(&[a, b, c]) + 1;
    let (width, height) = (side(w0, w1, w2), side(h0, h1, h2));
    // RFC 9649: the product of width and height must fit 32 bits.
    match width.checked_mul(height) {
        Some(_) => Read::Size(width, height),
        None => Read::Malformed,
    }
}

/// Returns the little-endian number of up to four bytes.
fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

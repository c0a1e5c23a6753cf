//! PNG: the signature, and the `IHDR` chunk behind it.

use super::{Format, Image, Judgement, Reason, sized};

pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The number of bytes of the signature and the whole first chunk: length, type, 13 bytes, CRC.
pub(super) const HEADER: usize = 8 + 4 + 4 + 13 + 4;

/// Examines the bytes of a PNG that have been read. `head` agrees with the signature and is no longer than
/// [`HEADER`].
pub(super) fn judge(head: &[u8]) -> Judgement {
    match <&[u8; HEADER]>::try_from(head) {
        Ok(header) => Judgement::Done(size(header)),
        Err(_) => Judgement::More,
    }
}

fn size(header: &[u8; HEADER]) -> Result<Image, Reason> {
    let malformed = Err(Reason::Malformed(Format::Png));
    let [
        ..,
        depth,
        color,
        compression,
        filter,
        interlace,
        c0,
        c1,
        c2,
        c3,
    ] = *header;
    let [w0, w1, w2, w3, h0, h1, h2, h3] = header[16..24] else {
        return malformed;
    };
    let (width, height) = (
        u32::from_be_bytes([w0, w1, w2, w3]),
        u32::from_be_bytes([h0, h1, h2, h3]),
    );
    let has_depth = match color {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        3 => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    let is_valid = header[8..16] == *b"\0\0\0\x0dIHDR"
        && has_depth
        && compression == 0
        && filter == 0
        && interlace <= 1
        && width <= MAX_SIDE
        && height <= MAX_SIDE
        && crc(&header[12..29]) == u32::from_be_bytes([c0, c1, c2, c3]);
    match is_valid {
        true => sized(Format::Png, width, height),
        false => malformed,
    }
}

/// The maximum width or height.
const MAX_SIDE: u32 = i32::MAX.cast_unsigned();

/// Computes the CRC-32 of the PNG specification, annex D. It works bit by bit, without a table, since it is
/// computed over only 17 bytes of a file.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| match crc & 1 {
            1 => (crc >> 1) ^ 0xEDB8_8320,
            _ => crc >> 1,
        })
    })
}

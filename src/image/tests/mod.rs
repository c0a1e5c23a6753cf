//! Tests pictures of real encoders and broken pictures, cut at every offset.

mod encoded;
mod jpeg;

use proptest::prelude::*;

use super::{Format, Image, Probe, Progress, Reason};
use encoded::ENCODED;

/// Returns the answer of a probe about `file`, cut at `cuts` (ascending).
fn probe(file: &[u8], cuts: &[usize]) -> Result<Image, Reason> {
    let mut probe = Probe::new();
    let mut start = 0;
    let mut answer = Progress::More;
    for &end in cuts.iter().chain([&file.len()]) {
        let progress = probe.push(&file[start..end]);
        assert!(answer == Progress::More || answer == progress, "it changed");
        answer = progress;
        start = end;
    }
    let end = probe.finish();
    let expected = match answer {
        Progress::More => Err(Reason::Truncated),
        Progress::Known(image) => Ok(image),
        Progress::Unknown(reason) => Err(reason),
    };
    assert_eq!(end, expected);
    end
}

/// Returns the answer of a probe about `file`, and checks that it is the same whole, byte by byte and cut
/// in two at every offset.
fn probe_every_way(file: &[u8]) -> Result<Image, Reason> {
    let whole = probe(file, &[]);
    let bytes: Vec<usize> = (0..=file.len()).collect();
    assert_eq!(probe(file, &bytes), whole, "byte by byte");
    for cut in 0..=file.len() {
        assert_eq!(probe(file, &[cut]), whole, "cut at {cut}");
    }
    whole
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |d: u8| char::from(d).to_digit(16).expect("hex") as u8;
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|d| digit(d[0]) << 4 | digit(d[1])).collect()
}

/// Returns the bytes of the picture `name` in the table.
fn encoded(name: &str) -> Vec<u8> {
    let found = ENCODED.iter().find(|(n, ..)| *n == name);
    from_hex(found.expect("in the table").4)
}

/// Makes a JPEG with `segments` behind its start, before all others.
fn with_segments(segments: &[u8]) -> Vec<u8> {
    let jpeg = encoded("jpeg baseline");
    [&jpeg[..2], segments, &jpeg[2..]].concat()
}

/// Makes a PNG with `bytes` from `at` on, and a correct checksum.
fn png_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut png = encoded("png RGB");
    png[at..at + bytes.len()].copy_from_slice(bytes);
    // The remainder of the division by the generator, as in the specification's annex.
    let mut crc = u32::MAX;
    for byte in &png[12..29] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
        }
    }
    png[29..].copy_from_slice(&(!crc).to_be_bytes());
    png
}

/// Makes a copy of another picture of the table with `bytes` from `at` on.
fn with(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = encoded(name);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn pictures_of_real_encoders() {
    for &(name, format, width, height, hex) in ENCODED {
        let file = from_hex(hex);
        let image = Image {
            format,
            width,
            height,
            turned: name.contains("rotated by EXIF"),
        };
        assert_eq!(probe_every_way(&file), Ok(image), "{name}");
        let followed = [&file[..], b"\x00\xff\xc0RIFF\x89PNG"].concat();
        assert_eq!(probe_every_way(&followed), Ok(image), "{name}");
        // A prefix of the file has the same size or is too short, and never another size.
        let mut known = false;
        for len in 0..file.len() {
            match probe(&file[..len], &[]) {
                Ok(found) => {
                    assert_eq!(found, image, "{name}");
                    known = true;
                }
                Err(reason) => {
                    assert_eq!(reason, Reason::Truncated, "{name}");
                    assert!(!known, "{name}");
                }
            }
        }
    }
}

#[test]
fn a_webp_whose_first_partition_is_longer_than_its_chunk() {
    let file = encoded("webp lossy");
    let length = u32::from_le_bytes([file[16], file[17], file[18], file[19]]);
    for (partition, is_valid) in [(length - 1, true), (length, false)] {
        // A key frame to be shown, in the simple profile.
        let tag = partition << 5 | 0x10;
        let file = with("webp lossy", 20, &tag.to_le_bytes()[..3]);
        assert_eq!(probe_every_way(&file).is_ok(), is_valid);
    }
}

#[test]
fn pictures_that_are_refused() {
    let png = Err(Reason::Malformed(Format::Png));
    let jpeg = Err(Reason::Malformed(Format::Jpeg));
    let webp = Err(Reason::Malformed(Format::WebP));
    let unknown = Err(Reason::UnknownFormat);
    let table: Vec<(Vec<u8>, Result<Image, Reason>)> = vec![
        (b"".to_vec(), Err(Reason::Truncated)),
        (b"GIF89a".to_vec(), unknown),
        (b"\0\0\0\x1cftypavif".to_vec(), unknown),
        (b"BM".to_vec(), unknown),
        (b"<svg".to_vec(), unknown),
        (b"\x89PNG\n".to_vec(), unknown),
        (b"\xff\xd8\x00".to_vec(), unknown),
        (b"RIFF\x24\0\0\0WAVE".to_vec(), unknown),
        // PNG: length and type of the first chunk, then each of its values.
        (png_with(11, &[14]), png),
        (png_with(12, b"CgBI"), png),
        (
            png_with(16, &[0, 0, 0, 0]),
            Err(Reason::ZeroSize(Format::Png)),
        ),
        (
            png_with(20, &[0, 0, 0, 0]),
            Err(Reason::ZeroSize(Format::Png)),
        ),
        (png_with(16, &[0x80, 0, 0, 0]), png),
        (png_with(20, &[0xFF; 4]), png),
        (png_with(24, &[4]), png),
        (png_with(24, &[3, 0]), png),
        (png_with(24, &[16, 3]), png),
        (png_with(25, &[1]), png),
        (png_with(25, &[7]), png),
        (png_with(26, &[1]), png),
        (png_with(27, &[1]), png),
        (png_with(28, &[2]), png),
        (with("png RGB", 18, &[3]), png),
        (with("png RGB", 32, &[0]), png),
        // JPEG: what cannot stand before a frame header.
        (with_segments(b"\xff\x01"), jpeg),
        (with_segments(b"\xff\xd8"), jpeg),
        (with_segments(b"\xff\xd9"), jpeg),
        (with_segments(b"\xff\xda\x00\x08"), jpeg),
        (with_segments(b"\xff\xdc\x00\x04\x02\xd0"), jpeg),
        (with_segments(b"\xff\xde\x00\x08"), jpeg),
        (with_segments(b"\xff\xf0\x00\x02"), jpeg),
        (with_segments(b"\xff\xe0\x00\x00"), jpeg),
        (with_segments(b"\xff\xe0\x00\x01"), jpeg),
        // WebP: the first chunk's type, the lengths, then the headers of each kind.
        (with("webp lossy", 12, b"ALPH"), webp),
        (with("webp lossy", 12, b"VP8x"), webp),
        (with("webp lossy", 4, &[12, 0, 0, 0]), webp),
        (with("webp lossy", 16, &[0xFF; 4]), webp),
        (with("webp lossy", 20, &[0x11]), webp),
        (with("webp lossy", 20, &[0x18]), webp),
        (with("webp lossy", 20, &[0x00]), webp),
        (with("webp lossy", 20, &[0xF0, 0xFF, 0xFF]), webp),
        (with("webp lossy", 23, &[0x9C]), webp),
        (
            with("webp lossy", 26, &[0, 0]),
            Err(Reason::ZeroSize(Format::WebP)),
        ),
        (
            with("webp lossy", 28, &[0, 0xC0]),
            Err(Reason::ZeroSize(Format::WebP)),
        ),
        (with("webp lossless", 20, &[0x2E]), webp),
        (with("webp lossless", 24, &[0x20]), webp),
        (with("webp lossless", 16, &[4, 0, 0, 0]), webp),
        (with("webp extended, EXIF", 16, &[12]), webp),
        (with("webp extended, EXIF", 24, &[0xFF; 6]), webp),
    ];
    for (i, (file, answer)) in table.into_iter().enumerate() {
        // The file is followed by bytes that would make it whole if it were only short.
        let followed = [&file[..], &[0; 40]].concat();
        if answer != Err(Reason::Truncated) {
            assert_eq!(probe_every_way(&followed), answer, "row {i}: {file:x?}");
        }
        assert_eq!(probe_every_way(&file), answer, "row {i}: {file:x?}");
    }
}

#[test]
fn reasons_say_what_to_do() {
    assert_eq!(
        Reason::HeadTooLong(Format::Jpeg).to_string(),
        "The JPEG image has more than 8 MiB of metadata before its size; remove the metadata."
    );
    assert_eq!(
        Reason::Malformed(Format::WebP).to_string(),
        "The image looks like a WebP but has an invalid header; encode it anew."
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_pictures_are_judged_alike_however_cut(
        pick in any::<prop::sample::Index>(),
        mutations in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        seeds in prop::collection::vec(any::<u16>(), 0..6),
    ) {
        let mut file = from_hex(ENCODED[pick.index(ENCODED.len())].4);
        for (at, byte) in mutations {
            let at = usize::from(at) % file.len();
            file[at] = byte;
        }
        let mut cuts: Vec<usize> = seeds.iter().map(|&s| usize::from(s) % (file.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = probe(&file, &[]);
        prop_assert_eq!(probe(&file, &cuts), whole);
        if let Ok(image) = whole {
            prop_assert!(image.width > 0 && image.height > 0);
        }
    }
}

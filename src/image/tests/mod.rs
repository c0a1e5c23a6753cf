//! Pictures of real encoders and broken ones, cut at every offset.

mod encoded;

use proptest::prelude::*;

use super::{Format, HEAD_BYTES, Image, Probe, Progress, Reason};
use encoded::ENCODED;

/// What a probe says of `file`, cut at `cuts` (ascending).
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

/// The same whole, byte by byte and cut in two at every offset.
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

/// The picture of this name in the table.
fn encoded(name: &str) -> Vec<u8> {
    let found = ENCODED.iter().find(|(n, ..)| *n == name);
    from_hex(found.expect("in the table").4)
}

/// A JPEG with `segments` behind its start, before all others.
fn with_segments(segments: &[u8]) -> Vec<u8> {
    let jpeg = encoded("jpeg baseline");
    [&jpeg[..2], segments, &jpeg[2..]].concat()
}

/// An application segment of the greatest length: 65537 bytes with its marker. It is full of
/// what looks like a frame header.
fn largest_segment() -> Vec<u8> {
    let mut segment = b"\xff\xe2\xff\xff".to_vec();
    let decoy = b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01\x03";
    segment.extend(decoy.iter().cycle().take(65533));
    segment
}

/// A PNG with `bytes` from `at` on, and the check sum put right.
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

/// Another picture of the table with `bytes` from `at` on.
fn with(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = encoded(name);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn jpeg_size() -> Result<Image, Reason> {
    Ok(Image {
        format: Format::Jpeg,
        width: 1280,
        height: 720,
        turned: false,
    })
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
        // Cut short, it is the same or too short, never another.
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
fn jpeg_metadata_is_skipped_by_counting() {
    let segment = largest_segment();
    assert_eq!(segment.len(), 65537);
    let file = with_segments(&segment.repeat(4));
    for chunk in [1, 7, 4096, 65536, file.len()] {
        let cuts: Vec<usize> = (0..file.len()).step_by(chunk).collect();
        assert_eq!(probe(&file, &cuts), jpeg_size());
    }
    for segments in [
        &b"\xff\xfe\x00\x02"[..],
        b"\xff\xe1\x00\x03\xff",
        b"\xff\xff\xff\xff\xfe\x00\x04\xff\xc0",
        b"\xff\xdb\x00\x02\xff\xdd\x00\x04\x00\x01\xff\xcc\x00\x04\x00\x00",
    ] {
        assert_eq!(probe_every_way(&with_segments(segments)), jpeg_size());
    }
    assert!(size_of::<Probe>() <= 64, "it holds the metadata");
}

/// As libjpeg-turbo 3.2 reads them (and refuses `FF 01`).
#[test]
fn stray_bytes_between_jpeg_segments_are_skipped() {
    for stray in [
        &b"\xff\x00"[..],
        b"\xff\xd0",
        b"\xff\xd7\xff\xff\x00",
        b"\xff\xe0\x00\x03\x00\x00",
        b"\xff\xfe\x00\x02garbage\x00 with \xff\x00 stuffing",
        b"\xff\xfe\x00\x04..\r\n",
    ] {
        assert_eq!(probe_every_way(&with_segments(stray)), jpeg_size());
    }
    let stray = [&b"\xff\xfe\x00\x02"[..], &[0xAA; 100_000]].concat();
    let file = with_segments(&stray);
    for chunk in [1, 4096, file.len()] {
        let cuts: Vec<usize> = (0..file.len()).step_by(chunk).collect();
        assert_eq!(probe(&file, &cuts), jpeg_size());
    }
    // Within the same bound as all else before the size.
    let endless = [&stray[..4], &vec![0xAA; 9 << 20]].concat();
    let too_long = Err(Reason::HeadTooLong(Format::Jpeg));
    assert_eq!(probe(&with_segments(&endless), &[]), too_long);
}

/// An EXIF segment with these directory entries, in either byte order.
fn exif(is_little: bool, gap: usize, entries: &[(u16, u16, u16)]) -> Vec<u8> {
    let short = |n: u16| {
        if is_little {
            n.to_le_bytes()
        } else {
            n.to_be_bytes()
        }
    };
    let long = |n: u32| {
        if is_little {
            n.to_le_bytes()
        } else {
            n.to_be_bytes()
        }
    };
    let mut tiff = if is_little {
        b"II".to_vec()
    } else {
        b"MM".to_vec()
    };
    tiff.extend(short(42));
    tiff.extend(long(8 + gap as u32));
    tiff.extend(vec![0x12; gap]);
    tiff.extend(short(entries.len() as u16));
    for (tag, kind, value) in entries {
        tiff.extend([short(*tag), short(*kind)].concat());
        tiff.extend(long(1));
        tiff.extend([short(*value), short(0)].concat());
    }
    let length = (2 + 6 + tiff.len() as u16).to_be_bytes();
    [b"\xff\xe1", &length[..], b"Exif\0\0", &tiff].concat()
}

#[test]
fn exif_tells_whether_a_jpeg_is_turned() {
    let turned = |segments: &[u8]| {
        let image = probe_every_way(&with_segments(segments)).expect("a size");
        assert_eq!((image.width, image.height), (1280, 720));
        image.turned
    };
    for is_little in [false, true] {
        for orientation in 0..=9 {
            let entries = [(0x010F, 2, 7), (0x0112, 3, orientation), (0x0131, 2, 6)];
            let is_turned = (5..=8).contains(&orientation);
            assert_eq!(turned(&exif(is_little, 0, &entries)), is_turned);
            assert_eq!(turned(&exif(is_little, 5, &entries)), is_turned);
        }
        assert!(!turned(&exif(is_little, 0, &[(0x0112, 4, 6)])), "no short");
        assert!(!turned(&exif(is_little, 0, &[])));
    }
    // XMP first, as some cameras have it; then one that is cut off by its segment.
    let rotated = exif(true, 0, &[(0x0112, 3, 6)]);
    let xmp = b"\xff\xe1\x00\x08http:/";
    assert!(turned(&[&xmp[..], &rotated].concat()));
    let mut cut = rotated[..24].to_vec();
    cut[2..4].copy_from_slice(&22_u16.to_be_bytes());
    assert!(!turned(&cut));
    assert!(turned(&[cut, rotated].concat()));
}

#[test]
fn every_jpeg_process() {
    let file = encoded("jpeg baseline");
    let frame = file
        .windows(4)
        .position(|w| w == [0xFF, 0xC0, 0x00, 0x11])
        .expect("a frame header");
    for code in 0xC0..=0xCF_u8 {
        let mut file = file.clone();
        file[frame + 1] = code;
        match code {
            // Tables: skipped as a segment, and then nothing more comes.
            0xC4 | 0xCC => assert_eq!(probe_every_way(&file), Err(Reason::Truncated)),
            0xC8 => {
                let reason = Reason::Malformed(Format::Jpeg);
                assert_eq!(probe_every_way(&file), Err(reason));
            }
            _ => assert_eq!(probe_every_way(&file), jpeg_size(), "{code:x}"),
        }
    }
    for (code, precision, is_valid) in [
        (0xC0, 12, false),
        (0xC1, 12, true),
        (0xC2, 12, true),
        (0xC2, 16, false),
        (0xC3, 16, true),
        (0xC3, 17, false),
        (0xC3, 1, false),
        (0xCE, 16, false),
        (0xCF, 2, true),
    ] {
        let mut file = file.clone();
        file[frame + 1] = code;
        file[frame + 4] = precision;
        assert_eq!(probe_every_way(&file) == jpeg_size(), is_valid, "{code:x}");
    }
    // Precision, height, width and the number of components.
    let malformed = Err(Reason::Malformed(Format::Jpeg));
    let zero = Err(Reason::ZeroSize(Format::Jpeg));
    for (at, bytes, answer) in [
        (2, &[0x00, 0x10][..], malformed),
        (2, &[0x00, 0x01], malformed),
        (4, &[12], malformed),
        (5, &[0, 0], zero),
        (7, &[0, 0], zero),
        (9, &[0], malformed),
        (9, &[4], malformed),
    ] {
        let mut file = file.clone();
        file[frame + at..][..bytes.len()].copy_from_slice(bytes);
        assert_eq!(probe_every_way(&file), answer, "{at}");
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
fn a_jpeg_with_too_much_before_its_size() {
    let too_long = Err(Reason::HeadTooLong(Format::Jpeg));
    let segment = largest_segment();
    let file = with_segments(&segment.repeat(128));
    assert!(file.len() as u64 > HEAD_BYTES);
    let limit = usize::try_from(HEAD_BYTES).expect("fits");
    for cuts in [
        vec![],
        vec![limit - 1],
        vec![limit],
        vec![limit + 1],
        (0..file.len()).step_by(60_000).collect(),
    ] {
        assert_eq!(probe(&file, &cuts), too_long);
    }
    assert_eq!(probe(&file[..limit], &[]), too_long);
    assert_eq!(probe(&file[..limit - 1], &[]), Err(Reason::Truncated));

    // The frame header's sixth byte is the last that counts, in byte 8 Mi and no later.
    let size_at = encoded("jpeg baseline")
        .windows(4)
        .position(|w| w == [0xFF, 0xC0, 0x00, 0x11])
        .expect("a frame header")
        + 10;
    let fill = limit - size_at;
    assert_eq!(probe(&with_segments(&vec![0xFF; fill]), &[]), jpeg_size());
    assert_eq!(probe(&with_segments(&vec![0xFF; fill + 1]), &[]), too_long);
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
        // Followed by what would make it whole if it were only short.
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

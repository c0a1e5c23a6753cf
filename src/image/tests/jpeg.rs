//! Tests which segments may stand before the frame header of a JPEG, and what a frame header must hold.

use super::super::{Format, HEAD_BYTES, Image, Probe, Reason};
use super::{encoded, probe, probe_every_way, with_segments};

/// Makes an application segment of the greatest length: 65537 bytes with its marker. It is full of bytes
/// that look like a frame header.
fn largest_segment() -> Vec<u8> {
    let mut segment = b"\xff\xe2\xff\xff".to_vec();
    let decoy = b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01\x03";
    segment.extend(decoy.iter().cycle().take(65533));
    segment
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

/// The stray bytes are read as libjpeg-turbo 3.2 reads them (which refuses `FF 01`).
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
    // Stray bytes are within the same bound as all else before the size.
    let endless = [&stray[..4], &vec![0xAA; 9 << 20]].concat();
    let too_long = Err(Reason::HeadTooLong(Format::Jpeg));
    assert_eq!(probe(&with_segments(&endless), &[]), too_long);
}

/// Makes an EXIF segment with `entries` in its directory, in either byte order.
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

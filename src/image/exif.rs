//! EXIF in a JPEG: whether viewers rotate the picture by 90 degrees (CIPA DC-008, tag 274).

/// A parser of one APP1 segment, byte by byte, up to the orientation in its first directory (list of tags).
/// An invalid segment counts as one without an orientation: EXIF only improves an error message.
#[derive(Debug, Clone)]
pub(super) struct Exif {
    /// The number of bytes of the segment that were read, not counting its two length bytes.
    at: u16,
    /// The offset of the directory, counted like `at`.
    directory: u16,
    /// The number of directory entries that are still to be read; 0 until this number has been read.
    entries: u16,
    is_little_endian: bool,
    /// The bytes read so far of the current record: the TIFF header, the number of entries, or one entry.
    record: [u8; ENTRY],
    len: u8,
}

/// The result of reading one byte more.
pub(super) enum Step {
    /// The orientation is not known yet.
    More,
    /// The segment has an orientation. The value is whether it swaps the picture's width and height.
    Orientation(bool),
    /// The segment has no orientation.
    None,
}

/// The identifier at the beginning of an EXIF segment, which tells it from XMP.
const NAME: &[u8; 6] = b"Exif\0\0";
/// The number of bytes up to the end of the TIFF header, which has the byte order, 42 and an offset.
const HEADER: u16 = 6 + 8;
/// The number of bytes of a directory entry: tag, type, count, and value or offset.
const ENTRY: usize = 12;
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

impl Exif {
    /// Creates a parser whose first byte is the one behind the segment's length.
    pub(super) fn new() -> Self {
        Self {
            at: 0,
            directory: 0,
            entries: 0,
            is_little_endian: false,
            record: [0; ENTRY],
            len: 0,
        }
    }

    pub(super) fn push(&mut self, byte: u8) -> Step {
        let at = self.at;
        self.at = at.saturating_add(1);
        if let Some(expected) = NAME.get(usize::from(at)) {
            return match byte == *expected {
                true => Step::More,
                false => Step::None,
            };
        }
        if at >= HEADER && at < self.directory {
            return Step::More;
        }
        if let Some(place) = self.record.get_mut(usize::from(self.len)) {
            *place = byte;
        }
        self.len += 1;
        let read = match (at < HEADER, self.entries) {
            (true, _) if self.len == 8 => Self::header,
            (false, 0) if self.len == 2 => Self::count,
            (false, 1..) if usize::from(self.len) == ENTRY => Self::entry,
            _ => return Step::More,
        };
        self.len = 0;
        read(self)
    }

    fn header(&mut self) -> Step {
        self.is_little_endian = self.record.starts_with(b"II");
        let is_tiff = self.is_little_endian || self.record.starts_with(b"MM");
        let [high, low] = match self.is_little_endian {
            true => [self.short(6), self.short(4)],
            false => [self.short(4), self.short(6)],
        };
        let directory = low.checked_add(HEADER - 8);
        match directory {
            Some(directory) if is_tiff && self.short(2) == 42 && high == 0 && low >= 8 => {
                self.directory = directory;
                Step::More
            }
            _ => Step::None,
        }
    }

    fn count(&mut self) -> Step {
        self.entries = self.short(0);
        match self.entries {
            0 => Step::None,
            _ => Step::More,
        }
    }

    fn entry(&mut self) -> Step {
        if self.short(0) == ORIENTATION {
            // From orientation 5 on, rows of the picture are columns of what is shown.
            let turned = self.short(2) == SHORT && matches!(self.short(8), 5..=8);
            return Step::Orientation(turned);
        }
        self.entries -= 1;
        match self.entries {
            0 => Step::None,
            _ => Step::More,
        }
    }

    /// Returns the 16-bit number at the offset `at` of the record.
    fn short(&self, at: usize) -> u16 {
        let bytes = match self.record.get(at..at + 2) {
            Some(&[a, b]) => [a, b],
            _ => [0; 2],
        };
        match self.is_little_endian {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        }
    }
}

//! Reads a page of a channel's list as it streams in. Keeps the members by which jobs are recognised, but
//! of prompts only the digests.

use std::ops::Range;
use std::sync::Arc;

use super::Dialect;
use super::job::JobAnswer;
use super::pointers::Selection;
use super::reader::{Events, Progress, Reader};

/// The maximum number of jobs of one page that are kept. The gate requests a hundred at most; a page with
/// this many entries is not read to its end.
pub const MAX_ENTRIES: usize = 10_000;

/// A page of a channel's list.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Page {
    /// The jobs in the order of the page, without those whose id is missing or cannot be read.
    pub jobs: Vec<JobAnswer>,
    /// The jobs whose id is missing or cannot be read: nobody can ask for such a job, but a create may
    /// have made it.
    pub nameless: Vec<JobAnswer>,
    /// The number of entries on the page, readable or not.
    pub entries: usize,
    /// Whether the page was read to its end; if not, `jobs` has only the jobs of its beginning.
    pub whole: bool,
    /// Whether more pages follow; `None` if the channel does not say.
    pub has_more: Option<bool>,
    /// The id after which the next page begins: the page's `last_id`, or else the id of its last job that has
    /// one.
    pub last: Option<Arc<str>>,
}

impl Page {
    /// Returns the number of entries that are not in `jobs`: without a readable id, or beyond
    /// [`MAX_ENTRIES`].
    pub fn unreadable(&self) -> usize {
        self.entries.saturating_sub(self.jobs.len())
    }
}

/// A reader of one page, pushed in pieces of any size. Its memory is bounded whatever the input is: a few
/// kilobytes, and for each job what [`JobAnswer`] keeps of it.
#[derive(Debug)]
pub struct ListReader<'d> {
    reader: Reader,
    page: Listing<'d>,
}

/// The listener that collects the members of a page.
#[derive(Debug)]
struct Listing<'d> {
    dialect: &'d Dialect,
    page: Page,
    last_id: String,
    /// The number of open objects and arrays, not counting those in the entry.
    depth: usize,
    /// The value of `depth` in the array of entries; 0 until that array has begun.
    list_depth: usize,
    place: Place,
    /// The entry that is being read, and the number of objects and arrays that are open in it.
    entry: Option<(Selection<'d>, usize)>,
}

/// The member of the page that is being read, outside of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Data,
    HasMore,
    LastId,
    Other,
}

impl<'d> ListReader<'d> {
    /// Creates a reader of one page.
    pub fn new(dialect: &'d Dialect) -> Self {
        Self {
            reader: Reader::default(),
            page: Listing {
                dialect,
                page: Page::default(),
                last_id: String::new(),
                depth: 0,
                list_depth: 0,
                // A list may be a plain array, without an object with `data`.
                place: Place::Data,
                entry: None,
            },
        }
    }

    /// Reads the next piece. Returns false if no more are needed: the page is broken, or too long.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        self.reader.push(bytes, &mut self.page);
        self.reader.progress() != Progress::Broken && self.page.page.entries < MAX_ENTRIES
    }

    /// Ends the input, and returns the page, or what was read of a page that was cut; `None` if the input
    /// is not a list.
    pub fn finish(mut self) -> Option<Page> {
        let whole = self.reader.finish(&mut self.page) == Progress::Whole;
        let mut listing = self.page;
        let mut page = listing.page;
        page.whole = whole;
        page.last = page.jobs.last().and_then(|job| job.id.clone());
        // If the page was cut, its `last_id` would skip the jobs that were not read.
        if whole && !listing.last_id.is_empty() {
            page.last = Some(std::mem::take(&mut listing.last_id).into());
        }
        (listing.list_depth > 0).then_some(page)
    }
}

impl Listing<'_> {
    /// Adds an entry that has ended to the page.
    fn push(&mut self, entry: &Selection<'_>) {
        let mut job = JobAnswer::of(entry, self.dialect);
        // The ranges refer to a document that is gone.
        (job.status_span, job.id_spans, job.source_span) = (None, [None, None], None);
        let jobs = match job.id {
            Some(_) => &mut self.page.jobs,
            None => &mut self.page.nameless,
        };
        if jobs.len() < MAX_ENTRIES {
            jobs.push(job);
        }
    }

    fn is_among_entries(&self) -> bool {
        self.place == Place::Data && self.list_depth > 0 && self.depth == self.list_depth
    }
}

impl Events for Listing<'_> {
    fn key(&mut self, key: Option<&str>) -> bool {
        if let Some((entry, _)) = &mut self.entry {
            return entry.key(key);
        }
        self.place = match key {
            _ if self.depth != 1 => Place::Other,
            Some("data") => Place::Data,
            Some("has_more") => Place::HasMore,
            Some("last_id") => Place::LastId,
            _ => Place::Other,
        };
        self.place != Place::Other
    }

    fn element(&mut self) -> bool {
        if let Some((entry, _)) = &mut self.entry {
            return entry.element();
        }
        let is_entry = self.is_among_entries();
        self.page.entries += usize::from(is_entry);
        is_entry
    }

    fn open(&mut self, object: bool) {
        if let Some((entry, depth)) = &mut self.entry {
            *depth += 1;
            entry.open(object);
        } else if self.is_among_entries() && object {
            let mut entry = Selection::new(&self.dialect.listed);
            entry.open(true);
            self.entry = Some((entry, 1));
        } else {
            self.depth += 1;
            if self.place == Place::Data && !object && self.depth <= 2 {
                self.list_depth = self.depth;
            }
        }
    }

    fn close(&mut self) {
        let Some((entry, depth)) = &mut self.entry else {
            self.depth = self.depth.saturating_sub(1);
            return;
        };
        *depth = depth.saturating_sub(1);
        entry.close();
        if *depth == 0
            && let Some((entry, _)) = self.entry.take()
        {
            self.push(&entry);
        }
    }

    fn text(&mut self, piece: &str) {
        match &mut self.entry {
            Some((entry, _)) => entry.text(piece),
            None if self.place == Place::LastId && self.last_id.len() <= super::MAX_ID => {
                self.last_id.push_str(piece);
            }
            None => {}
        }
    }

    fn text_end(&mut self, readable: bool, span: Range<usize>) {
        match &mut self.entry {
            Some((entry, _)) => entry.text_end(readable, span),
            None if self.place != Place::LastId => {}
            None if readable && self.last_id.len() <= super::MAX_ID => {}
            None => self.last_id.clear(),
        }
    }

    fn word(&mut self, word: Option<&str>, span: Range<usize>) {
        match &mut self.entry {
            Some((entry, _)) => entry.word(word, span),
            None if self.place == Place::HasMore => {
                self.page.has_more = word.and_then(|word| word.parse().ok());
            }
            None => {}
        }
    }
}

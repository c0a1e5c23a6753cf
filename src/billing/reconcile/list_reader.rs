//! Reads a channel's list, newest first, until the time of the channel's oldest reservation whose outcome is
//! unknown, over as many rounds as that takes.

use std::sync::Arc;
use std::time::SystemTime;

use crate::billing::matching::{ListedJob, ReconciledJob};
use crate::clock::millis;
use crate::dialect::JobAnswer;
use crate::policy::Timestamp;

/// The maximum number of jobs that are kept because they may belong to a reservation.
const MAX_JOBS: usize = 10_000;
/// The number of consecutive failures of a page after which the list is read from its beginning again: the
/// job after which the page begins may have been deleted.
const MAX_PAGE_FAILURES: u32 = 3;

/// A job of the list, in the form for matching and with the channel's full answer.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    pub(super) job: ListedJob,
    pub(super) answer: JobAnswer,
}

/// A page of the list.
pub(super) struct Page {
    pub(super) jobs: Vec<Listing>,
    /// The creation times of the listed jobs whose id cannot be read; `None` for a job whose time cannot be
    /// read either. One of these jobs may belong to a reservation, though no channel can be asked for it.
    pub(super) nameless: Vec<Option<Timestamp>>,
    /// The id of the last job, after which the next page begins.
    pub(super) last: Option<Arc<str>>,
    /// Whether the page says that more pages follow; if it does not say, whether the page has entries.
    pub(super) has_more: bool,
}

/// The state of reading a list page by page, over several rounds.
#[derive(Debug)]
pub(super) struct ListReader {
    /// The time when the first page was requested, by the gate's clock. The request may have been made
    /// several rounds ago.
    pub(super) began: Timestamp,
    /// The listed jobs that may belong to a reservation.
    pub(super) jobs: Vec<Listing>,
    /// The listed jobs that reconciliation has matched with a reservation before.
    pub(super) reconciled: Vec<ReconciledJob>,
    /// Milliseconds by which the channel's clock is ahead, by the `Date` of its answers; `None` if no
    /// answer has one.
    pub(super) clock_ahead: Option<i64>,
    /// The earliest creation time of reservations that may have been missing from the candidates while the
    /// list was read; `None` if none was missing.
    pub(super) unseen_from: Option<Timestamp>,
    after: Option<Arc<str>>,
    pages: u64,
    /// The id of the last job of an earlier page, replaced each time that the number of pages has doubled. If
    /// the id comes again, the pages repeat themselves, and reading ends.
    checkpoint: Option<Arc<str>>,
    /// The creation time of the last job read, to check that newer jobs are listed first.
    sorted_to: Option<Timestamp>,
    is_sorted: bool,
    /// Whether all jobs that may belong to a reservation were kept and could be read.
    has_all: bool,
    failures: u32,
}

/// The next step after a page of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read the next page.
    Page,
    /// Stop: all relevant pages were read (`complete`), or the list cannot be read further.
    End { complete: bool },
}

impl ListReader {
    pub(super) fn new(began: Timestamp) -> Self {
        Self {
            began,
            jobs: Vec::new(),
            reconciled: Vec::new(),
            clock_ahead: None,
            unseen_from: None,
            after: None,
            pages: 0,
            checkpoint: None,
            sorted_to: None,
            is_sorted: true,
            has_all: true,
            failures: 0,
        }
    }

    /// Returns the id of the job after which the next page begins.
    pub(super) fn after(&self) -> Option<&Arc<str>> {
        self.after.as_ref()
    }

    /// Updates the offset of the channel's clock from an answer's `Date` header, received at `now`.
    pub(super) fn note_date(&mut self, date: Option<&str>, now: Timestamp) {
        let date = date.and_then(|text| httpdate::parse_http_date(text).ok());
        let since = date.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(since) = since {
            // A `Date` has whole seconds: half a second is added.
            let date = i64::try_from(millis(since)).unwrap_or(i64::MAX);
            let now = i64::try_from(now.0).unwrap_or(i64::MAX);
            self.clock_ahead = Some(date.saturating_add(500).saturating_sub(now));
        }
    }

    /// Records that reservations made at `from` or later may be missing from the candidates of this round;
    /// `None` if none is missing.
    pub(super) fn note_unseen(&mut self, from: Option<Timestamp>) {
        self.unseen_from = match (self.unseen_from, from) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Adds a page, keeps those of its jobs for which `wanted` returns true, and returns the next step. The
    /// list is read back to jobs of the time `from`, by the gates' clock.
    pub(super) fn add(
        &mut self,
        page: Page,
        from: Timestamp,
        mut wanted: impl FnMut(&ListedJob) -> bool,
    ) -> Next {
        self.failures = 0;
        let mut latest = self.sorted_to;
        for listing in page.jobs {
            if let Some(created) = listing.job.created {
                self.is_sorted &= latest.is_none_or(|latest| created <= latest);
                latest = Some(created);
            }
            if wanted(&listing.job) {
                match self.jobs.len() < MAX_JOBS {
                    true => self.jobs.push(listing),
                    false => self.has_all = false,
                }
            }
        }
        self.sorted_to = latest;
        // A channel may sort its list in another order. And the channel's clock may be wrong, or the
        // clock of the machine that dates its answers.
        let is_beyond = |at: Timestamp| {
            let by_ours = at.0.saturating_add_signed(-self.clock_ahead.unwrap_or(0));
            at.0.max(by_ours) < from.0
        };
        for created in page.nameless {
            self.has_all &= created.is_some_and(is_beyond);
        }
        if !page.has_more || (self.is_sorted && latest.is_some_and(is_beyond)) {
            let complete = self.has_all;
            return Next::End { complete };
        }
        // A channel may ignore the parameter that says where a page begins.
        if page.last.is_none() || page.last == self.after || page.last == self.checkpoint {
            return Next::End { complete: false };
        }
        self.pages += 1;
        if self.pages.is_power_of_two() {
            self.checkpoint.clone_from(&page.last);
        }
        self.after = page.last;
        Next::Page
    }

    /// Keeps a job that reconciliation has matched with a reservation before; a job that is listed twice
    /// is kept once.
    pub(super) fn note_reconciled(&mut self, found: ReconciledJob) {
        if self
            .reconciled
            .iter()
            .any(|known| known.job.id == found.job.id)
        {
            return;
        }
        match self.reconciled.len() < MAX_JOBS {
            true => self.reconciled.push(found),
            false => self.has_all = false,
        }
    }

    /// Records that a page could not be read.
    pub(super) fn note_failure(&mut self) {
        self.failures += 1;
    }

    /// Returns whether to request the next page; `false` if the list must be read from its beginning.
    pub(super) fn has_next_page(&self) -> bool {
        self.after.is_some() && self.failures < MAX_PAGE_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn listing(n: u64, created: Option<u64>) -> Listing {
        Listing {
            job: ListedJob {
                id: format!("j{n}").into(),
                created: created.map(|second| Timestamp(second * 1000)),
                ..ListedJob::default()
            },
            answer: JobAnswer::default(),
        }
    }

    fn page(jobs: &[Option<u64>], last: Option<&str>, has_more: bool) -> Page {
        let jobs = jobs.iter().enumerate();
        Page {
            jobs: jobs.map(|(n, at)| listing(n as u64, *at)).collect(),
            nameless: vec![],
            last: last.map(Arc::from),
            has_more,
        }
    }

    fn add(reader: &mut ListReader, page: Page) -> Next {
        reader.add(page, Timestamp(HOUR * 1000), |_| true)
    }

    #[test]
    fn a_list_is_read_until_it_is_old_enough_or_ends() {
        let reader = || ListReader::new(Timestamp(2 * HOUR * 1000));
        let new = [Some(HOUR + 9), Some(HOUR)];
        let old = [Some(HOUR + 9), Some(HOUR - 1)];
        let unsorted = [Some(HOUR - 9), Some(HOUR + 1), Some(HOUR - 1)];
        let end = |complete| Next::End { complete };
        for (what, jobs, last, has_more, next) in [
            ("more", &new[..], Some("a"), true, Next::Page),
            ("the last page", &new, Some("a"), false, end(true)),
            ("beyond the oldest", &old, Some("a"), true, end(true)),
            ("in no order", &unsorted, Some("a"), true, Next::Page),
            ("no times", &[None, None], Some("a"), true, Next::Page),
            ("no way on", &new, None, true, end(false)),
        ] {
            let next_is = add(&mut reader(), page(jobs, last, has_more));
            assert_eq!(next_is, next, "{what}");
        }
        let mut reader = reader();
        for second in (HOUR..HOUR + 500).rev() {
            let last = format!("at {second}");
            let next = add(&mut reader, page(&[Some(second)], Some(&last), true));
            assert_eq!(next, Next::Page, "more than a hundred pages");
            assert_eq!(reader.after().map(|id| &**id), Some(&*last));
        }
        let again = page(&[Some(HOUR)], Some(&format!("at {HOUR}")), true);
        assert_eq!(add(&mut reader, again), end(false), "the same page again");
    }

    #[test]
    fn a_list_that_goes_round_in_a_circle_ends() {
        for length in 2..40 {
            let mut reader = ListReader::new(Timestamp(2 * HOUR * 1000));
            let mut pages = (0..length).cycle().map(|n| format!("page {n}"));
            let mut pages_read = 0;
            while add(&mut reader, page(&[None], pages.next().as_deref(), true)) == Next::Page {
                pages_read += 1;
                assert!(
                    pages_read < 4 * length,
                    "a circle of {length} is not noticed"
                );
            }
            assert!(pages_read >= length, "a circle of {length} is read once");
        }
    }

    #[test]
    fn order_is_checked_across_pages() {
        let mut reader = ListReader::new(Timestamp(0));
        add(&mut reader, page(&[Some(HOUR + 1)], Some("a"), true));
        add(&mut reader, page(&[Some(HOUR + 2)], Some("b"), true));
        let next = add(&mut reader, page(&[Some(1)], Some("c"), true));
        assert_eq!(next, Next::Page);
    }

    #[test]
    fn how_far_back_is_judged_by_both_clocks() {
        for (ahead, second, next) in [
            (-(HOUR as i64), HOUR - 1, Next::Page),
            (-(HOUR as i64), 9, Next::Page),
            (HOUR as i64, HOUR - 1, Next::End { complete: true }),
            (HOUR as i64, HOUR + 1, Next::Page),
        ] {
            let mut reader = ListReader::new(Timestamp(0));
            reader.clock_ahead = Some(ahead * 1000);
            let page = page(&[Some(second)], Some("a"), true);
            assert_eq!(add(&mut reader, page), next, "{ahead} {second}");
        }
    }

    #[test]
    fn what_is_too_much_to_keep_is_not_complete() {
        let mut reader = ListReader::new(Timestamp(0));
        let many = vec![Some(2 * HOUR); MAX_JOBS + 1];
        let next = add(&mut reader, page(&many, Some("a"), false));
        assert_eq!(next, Next::End { complete: false });
        assert_eq!(reader.jobs.len(), MAX_JOBS);
    }

    #[test]
    fn a_recent_job_without_an_id_that_can_be_read_leaves_the_list_incomplete() {
        for (created, complete) in [
            (None, false),
            (Some(HOUR + 1), false),
            (Some(HOUR - 1), true),
        ] {
            let mut page = page(&[Some(HOUR)], Some("a"), false);
            page.nameless = vec![created.map(|second| Timestamp(second * 1000))];
            let next = add(&mut ListReader::new(Timestamp(0)), page);
            assert_eq!(next, Next::End { complete }, "{created:?}");
        }
    }

    #[test]
    fn dates_tell_how_far_the_clock_is_ahead() {
        let mut reader = ListReader::new(Timestamp(0));
        // 2026-11-28T05:40:33Z
        let now = Timestamp(1_795_844_433_500);
        for (date, ahead) in [
            (None, None),
            (Some("yesterday"), None),
            (Some("Sat, 28 Nov 2026 05:40:33 GMT"), Some(0)),
            (Some("Sat, 28 Nov 2026 05:30:33 GMT"), Some(-600_000)),
            (Some("yesterday"), Some(-600_000)),
            (Some("Sat, 28 Nov 2026 06:40:33 GMT"), Some(3_600_000)),
        ] {
            reader.note_date(date, now);
            assert_eq!(reader.clock_ahead, ahead, "{date:?}");
        }
    }

    #[test]
    fn a_page_is_asked_for_a_few_times() {
        let mut reader = ListReader::new(Timestamp(0));
        reader.note_failure();
        assert!(!reader.has_next_page(), "the first page is the beginning");
        add(&mut reader, page(&[Some(2 * HOUR)], Some("a"), true));
        for has_next in [true, true, false] {
            reader.note_failure();
            assert_eq!(reader.has_next_page(), has_next);
        }
    }
}

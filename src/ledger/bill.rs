//! The bill of a span of time: its lines, as read from the ledger, and their totals.
//!
//! Every charge and every adjustment has one date, which decides the bill that it is on: the time at which
//! the charge was posted, or the adjustment recorded. So a month that is over gets no more lines, even if
//! its charges are voided later.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::money::{Amount, Multiplier, SignedAmount};
use crate::policy::Timestamp;

/// A query for the lines of a bill, by a span of time and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillQuery {
    /// The beginning of the span, which is part of it.
    pub from: Timestamp,
    /// The end of the span, which is not part of it.
    pub until: Timestamp,
    /// The name of the key whose bill is read; `None` for all keys.
    pub key: Option<Arc<str>>,
}

/// The lines of a bill, as read from a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillReading {
    /// The lines.
    pub lines: Vec<BillLine>,
    /// The time up to which the standby that was read has followed its primary: lines from then on may be
    /// missing. `None` where the lines were read from a primary, or from a ledger without standbys.
    pub replayed: Option<Timestamp>,
}

/// The kind of a line of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineKind {
    /// A line for jobs whose charges were posted: the amount that the key owes for videos.
    Charge,
    /// A line that takes one posted charge off the bill, since an operator has voided the charge.
    Void,
    /// A line for an operator's credit: an amount, for no particular job, by which the key owes less.
    Credit,
    /// A line for an operator's debit: an amount, for no particular job, by which the key owes more.
    Debit,
}

impl LineKind {
    const ALL: [Self; 4] = [Self::Charge, Self::Void, Self::Credit, Self::Debit];

    /// Returns the name of the kind: `charge`, `void`, `credit` or `debit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Void => "void",
            Self::Credit => "credit",
            Self::Debit => "debit",
        }
    }

    /// Returns the kind with this [`name`](Self::name); `None` where no kind has it.
    pub(in crate::ledger) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A line of a bill. It is for one adjustment, or for jobs whose key, group, currency, model, size, list
/// price and multiplier are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillLine {
    /// The kind of the line.
    pub kind: LineKind,
    /// The name of the key that pays for the line.
    pub key: Arc<str>,
    /// The key's group at the time of the reservation, or of the adjustment.
    pub group: Arc<str>,
    /// The currency of `billed`.
    pub currency: Arc<str>,
    /// The model of the jobs; `None` where the line is for no job.
    pub model: Option<Arc<str>>,
    /// The size of the videos; `None` where the line is for no job.
    pub size: Option<Arc<str>>,
    /// The list price of one second of video, in USD. `None` where the line is for no job, or for jobs that
    /// an earlier version pruned, or where one second costs no whole number of nanos (billionths of a USD).
    pub list_price: Option<Amount>,
    /// The payer's multiplier: the billed cost of one USD of list cost. `None` where the line is for no job,
    /// or for jobs that an earlier version pruned.
    pub multiplier: Option<Multiplier>,
    /// The number of jobs; negative for a void, zero for a credit or debit.
    pub jobs: i64,
    /// The total length of the videos in seconds; negative for a void, zero for a credit or debit.
    pub video_seconds: i64,
    /// The list cost of the jobs in USD; negative for a void, zero for a credit or debit.
    pub list: SignedAmount,
    /// The amount that the line adds to what the key owes; negative for a void and a credit.
    pub billed: SignedAmount,
    /// The details of the adjustment, where the line is for one.
    pub adjustment: Option<AdjustmentLine>,
}

/// The details of an adjustment in a line of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentLine {
    /// The id of the adjustment.
    pub id: Arc<str>,
    /// The time at which the adjustment was recorded.
    pub at: Timestamp,
    /// The public id of the job whose charge the line takes off the bill; `None` for a credit or debit.
    pub job: Option<Arc<str>>,
    /// The reason for the adjustment, in the operator's words.
    pub reason: Arc<str>,
    /// The operator who recorded the adjustment.
    pub made_by: Arc<str>,
}

impl BillLine {
    /// Returns whether the line is for jobs that an earlier version pruned. Their prices and the times of
    /// their postings are not known, so the date of the line is that of their reservations.
    pub fn is_approximate(&self) -> bool {
        self.kind == LineKind::Charge && self.multiplier.is_none()
    }
}

/// The sum of some lines of a bill, which have the same currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BillSum {
    /// The number of jobs.
    pub jobs: i64,
    /// The total length of the videos in seconds.
    pub video_seconds: i64,
    /// The total list cost in USD.
    pub list: SignedAmount,
    /// The total amount owed, in the currency of the lines.
    pub billed: SignedAmount,
}

impl BillSum {
    fn add(&mut self, line: &BillLine) -> Option<()> {
        self.jobs = self.jobs.checked_add(line.jobs)?;
        self.video_seconds = self.video_seconds.checked_add(line.video_seconds)?;
        self.list = self.list.checked_add(line.list)?;
        self.billed = self.billed.checked_add(line.billed)?;
        Some(())
    }
}

/// The totals of a bill.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BillTotals {
    /// The sums by the name of the key and the currency.
    pub by_key: BTreeMap<(Arc<str>, Arc<str>), BillSum>,
    /// The sums by currency.
    pub by_currency: BTreeMap<Arc<str>, BillSum>,
}

impl BillTotals {
    /// Adds up the lines of a bill. Returns `None` where a sum exceeds the range of its type.
    pub fn of(lines: &[BillLine]) -> Option<Self> {
        let mut totals = Self::default();
        for line in lines {
            let key = (line.key.clone(), line.currency.clone());
            totals.by_key.entry(key).or_default().add(line)?;
            let currency = line.currency.clone();
            totals.by_currency.entry(currency).or_default().add(line)?;
        }
        Some(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: LineKind, key: &str, currency: &str, nanos: i128, jobs: i64) -> BillLine {
        BillLine {
            kind,
            key: key.into(),
            group: "video".into(),
            currency: currency.into(),
            model: None,
            size: None,
            list_price: None,
            multiplier: Multiplier::from_thousandths(1000),
            jobs,
            video_seconds: jobs * 4,
            list: SignedAmount::from_nanos(nanos / 2),
            billed: SignedAmount::from_nanos(nanos),
            adjustment: None,
        }
    }

    #[test]
    fn totals_keep_currencies_apart_and_take_off_what_is_taken_back() {
        let lines = [
            line(LineKind::Charge, "a", "USD", 10, 2),
            line(LineKind::Void, "a", "USD", -4, -1),
            line(LineKind::Credit, "b", "USD", -20, 0),
            line(LineKind::Charge, "a", "CNY", 7, 1),
        ];
        let totals = BillTotals::of(&lines).unwrap();
        let sums = totals.by_key.iter();
        let sums: Vec<_> = sums
            .map(|((key, currency), sum)| (&**key, &**currency, sum.billed.nanos(), sum.jobs))
            .collect();
        assert_eq!(
            sums,
            [("a", "CNY", 7, 1), ("a", "USD", 6, 1), ("b", "USD", -20, 0)]
        );
        let usd = &totals.by_currency["USD"];
        assert_eq!((usd.billed.nanos(), usd.list.nanos()), (-14, -7));
        assert_eq!((usd.jobs, usd.video_seconds), (1, 4));

        let most = [
            line(LineKind::Charge, "a", "USD", i128::MAX, 1),
            line(LineKind::Charge, "a", "USD", i128::MAX, 1),
        ];
        assert_eq!(BillTotals::of(&most), None);
    }

    #[test]
    fn kinds_have_words() {
        for kind in LineKind::ALL {
            assert_eq!(LineKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(LineKind::from_name("refund"), None);
    }
}

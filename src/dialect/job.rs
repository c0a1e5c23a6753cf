//! Reads a job from a channel's answer, and rewrites the answer for clients.

use std::ops::Range;
use std::sync::Arc;

use super::Dialect;
use super::pointers::{Field, Found, Pointers, Selection, Value};
use super::reader::{Events, Progress, Reader};
use super::words::{Status, printable};
use crate::calendar::parse_rfc3339;
use crate::catalog::MAX_SECONDS;

/// The maximum length of an id, in bytes. A longer id counts as one that cannot be read.
pub const MAX_ID: usize = super::pointers::MAX_TEXT;

/// The value of [`JobAnswer::prompt`] for a listed prompt that is not valid Unicode. No prompt has this
/// digest. The gate refuses such prompts, so a job that is listed with one was not created through the gate.
/// (A job that is listed without any prompt may have been created through the gate.)
pub const UNREADABLE_PROMPT: [u8; 32] = [0; 32];

/// A job as a channel describes it. A member that the channel leaves out, or writes in a form that cannot
/// be read, is `None`, and does not affect the other members.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct JobAnswer {
    /// The job's id at the channel: any text that is not empty, or a whole number's digits.
    pub id: Option<Arc<str>>,
    /// The job's status, translated from the channel's word.
    pub status: Option<Status>,
    /// The channel's status word if its meaning is not known, in printable characters.
    pub unknown_word: Option<Arc<str>>,
    /// The size of the rendered video.
    pub size: Option<String>,
    /// The length of the rendered video, in seconds.
    pub seconds: Option<u32>,
    /// The model's name at the channel. Read in lists only, like the prompt.
    pub model: Option<Box<str>>,
    /// The SHA-256 of the prompt; [`UNREADABLE_PROMPT`] for a prompt that is not valid Unicode.
    pub prompt: Option<[u8; 32]>,
    /// The time when the job was created, in seconds since 1970.
    pub created: Option<u64>,
    /// The time when the job was completed, in seconds since 1970.
    pub completed: Option<u64>,
    /// The id of the job that this job is a remix of.
    pub source: Option<Box<str>>,
    /// The code of the job's error, if the job failed.
    pub error_code: Option<Box<str>>,
    /// The message of the job's error, or the beginning of a long one.
    pub error_message: Option<Box<str>>,
    /// Whether the channel says that the job is deleted (`true`), or is not (`false`).
    pub deleted: Option<bool>,
    /// The byte range of the status in the document, with its quotes, if clients get another word than the
    /// channel's; otherwise `None`.
    pub(crate) status_span: Option<Range<usize>>,
    /// The byte ranges of the id in the document, with its quotes, in the members `id` and `task_id`.
    pub(crate) id_spans: [Option<Range<usize>>; 2],
    /// The byte range of the source in the document, with its quotes.
    pub(crate) source_span: Option<Range<usize>>,
}

/// The pointers to the members of a single job that are read.
pub(super) const JOB: &[(Field, &str)] = &[
    (Field::Id, "/id"),
    (Field::Id, "/task_id"),
    (Field::Status, "/status"),
    (Field::Size, "/size"),
    (Field::Seconds, "/seconds"),
    (Field::Created, "/created_at"),
    (Field::Completed, "/completed_at"),
    (Field::Deleted, "/deleted"),
    (Field::Source, "/remixed_from_video_id"),
    (Field::ErrorCode, "/error/code"),
    (Field::ErrorMessage, "/error/message"),
    (Field::ErrorMessage, "/error"),
    (Field::ErrorMessage, "/fail_reason"),
];

/// The further pointers to the members of a listed job, by which it is recognised.
pub(super) const LISTED: &[(Field, &str)] = &[(Field::Model, "/model"), (Field::Prompt, "/prompt")];

impl JobAnswer {
    /// Reads a job; `None` if the body is not exactly one whole JSON object.
    pub fn read(body: &[u8], dialect: &Dialect) -> Option<Self> {
        let selection = select(body, &dialect.job)?;
        Some(Self::of(&selection, dialect))
    }

    pub(super) fn of(selection: &Selection<'_>, dialect: &Dialect) -> Self {
        let boxed = |field| selection.text_of(field).map(Box::from);
        let mut job = Self {
            id: selection.value(Field::Id).and_then(id),
            size: selection.text_of(Field::Size).map(str::to_owned),
            // A length that no catalog can offer is not believed: it would use up a budget at once.
            seconds: whole(selection, Field::Seconds)
                .and_then(|seconds| u32::try_from(seconds).ok())
                .filter(|seconds| (1..=MAX_SECONDS).contains(seconds)),
            model: boxed(Field::Model),
            prompt: match selection.value(Field::Prompt) {
                Some(Value::Digest(digest)) => Some(*digest),
                Some(Value::Unreadable) => Some(UNREADABLE_PROMPT),
                _ => None,
            },
            created: time(selection, Field::Created),
            completed: time(selection, Field::Completed),
            source: boxed(Field::Source),
            error_code: boxed(Field::ErrorCode),
            error_message: boxed(Field::ErrorMessage),
            deleted: match selection.value(Field::Deleted) {
                Some(Value::Word(word)) => word.parse().ok(),
                _ => None,
            },
            ..Self::default()
        };
        let mut spans = selection.spans(Field::Id);
        job.id_spans = [spans.next(), spans.next()];
        drop(spans);
        let source = selection.spans(Field::Source).next();
        job.source_span = source.filter(|_| job.source.is_some());
        if let (Some(word), Some(found)) = (
            selection.text_of(Field::Status),
            selection.found(Field::Status),
        ) {
            job.stands(word, found, dialect);
        }
        job
    }

    fn stands(&mut self, word: &str, found: &Found, dialect: &Dialect) {
        self.status = dialect.words.find(word);
        match self.status {
            Some(status) if status.public_name() != word => {
                self.status_span = Some(found.span.clone())
            }
            Some(_) => {}
            None => self.unknown_word = Some(printable(word)),
        }
    }

    /// Returns whether the answer can be about the job `id`: it names that id, or none.
    pub fn is_about(&self, id: &str) -> bool {
        self.id.as_deref().is_none_or(|own| own == id)
    }

    /// Returns whether the answer has a status, in a known word or not.
    pub fn has_status(&self) -> bool {
        self.status.is_some() || self.unknown_word.is_some()
    }

    /// Rewrites the document `body`, which the job was read from, for a client; `None` if nothing changes.
    ///
    /// The status becomes the public word. `id` and `source`, if they are given, replace the channel's ids.
    /// All other bytes stay.
    pub fn rewritten(
        &self,
        body: &[u8],
        id: Option<&str>,
        source: Option<&str>,
    ) -> Option<Vec<u8>> {
        let mut changes = Vec::new();
        if let (Some(span), Some(status)) = (&self.status_span, self.status) {
            changes.push((span, format!("\"{}\"", status.public_name())));
        }
        if let Some(id) = id.filter(|id| self.id.as_deref() != Some(id)) {
            let id = serde_json::Value::from(id).to_string();
            let spans = self.id_spans.iter().flatten();
            changes.extend(spans.map(|span| (span, id.clone())));
        }
        if let (Some(span), Some(source)) = (&self.source_span, source) {
            changes.push((span, serde_json::Value::from(source).to_string()));
        }
        changes.sort_by_key(|(span, _)| span.start);
        let mut rewritten = Vec::with_capacity(body.len() + 64);
        let mut from = 0;
        for (span, text) in &changes {
            rewritten.extend_from_slice(body.get(from..span.start)?);
            rewritten.extend_from_slice(text.as_bytes());
            from = span.end;
        }
        rewritten.extend_from_slice(body.get(from..)?);
        (!changes.is_empty()).then_some(rewritten)
    }
}

/// Reads the values that `pointers` lead to from a document; `None` if it is not one whole JSON object.
pub(super) fn select<'p>(body: &[u8], pointers: &'p Pointers) -> Option<Selection<'p>> {
    /// A listener that also notes whether the document is an object.
    struct Root<'p>(Selection<'p>, bool);

    impl Events for Root<'_> {
        fn key(&mut self, key: Option<&str>) -> bool {
            self.0.key(key)
        }
        fn element(&mut self) -> bool {
            self.0.element()
        }
        fn open(&mut self, object: bool) {
            self.1 |= object;
            self.0.open(object);
        }
        fn close(&mut self) {
            self.0.close();
        }
        fn text(&mut self, piece: &str) {
            self.0.text(piece);
        }
        fn text_end(&mut self, readable: bool, span: Range<usize>) {
            self.0.text_end(readable, span);
        }
        fn word(&mut self, word: Option<&str>, span: Range<usize>) {
            self.0.word(word, span);
        }
    }

    let mut reader = Reader::default();
    let mut root = Root(Selection::new(pointers), false);
    reader.push(body, &mut root);
    let is_object = reader.finish(&mut root) == Progress::Whole && root.1;
    is_object.then_some(root.0)
}

/// Returns an id as text: a non-empty string, or the digits of a whole number.
fn id(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Text(text) if !text.is_empty() => Some((&**text).into()),
        Value::Word(word) if word.bytes().all(|b| b.is_ascii_digit()) => Some((&**word).into()),
        _ => None,
    }
}

/// Returns a time in seconds since 1970, from a number or from an RFC 3339 text.
fn time(selection: &Selection<'_>, field: Field) -> Option<u64> {
    whole(selection, field).or_else(|| parse_rfc3339(selection.text_of(field)?))
}

/// Returns the whole number of a field, written as a number or as a text; `None` for other values. A
/// fraction must consist of zeros; only the fraction of a time may have other digits, and is dropped.
fn whole(selection: &Selection<'_>, field: Field) -> Option<u64> {
    let (Value::Text(text) | Value::Word(text)) = selection.value(field)? else {
        return None;
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_whole = matches!(field, Field::Created | Field::Completed)
        || fraction.bytes().all(|digit| digit == b'0');
    (digits(whole) && digits(fraction) && is_whole)
        .then(|| whole.parse().ok())
        .flatten()
}

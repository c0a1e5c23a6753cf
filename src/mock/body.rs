//! Reads request bodies: hashes them while they stream, and parses them as a form or as JSON.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Version, request};
use http_body_util::{BodyDataStream, BodyExt};
use hyper::body::{Body, Frame, Incoming};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::record::{Entry, Outcome};
use crate::sha256::Sha256;

/// The maximum number of bytes that are kept of one text field. Every valid prompt is shorter.
const TEXT_BYTES: usize = 256 * 1024;
/// The maximum number of bytes that are kept of one file: enough to find the size of a JPEG behind its
/// metadata.
const FILE_BYTES: usize = 256 * 1024;
/// The maximum number of bytes that are kept of all fields and files of a form together.
const FORM_BYTES: usize = 4 * 1024 * 1024;
/// The maximum number of bytes that the form parser may read without returning field data.
const STALL_BYTES: usize = 4 * 1024 * 1024;
/// The maximum length of a JSON body, in bytes. It leaves room for a data URL of 20 MiB, the API's maximum.
const JSON_BYTES: usize = 64 * 1024 * 1024;

/// The body of a request while it is received, with the writer of the request's record.
pub(super) struct Upload {
    body: Incoming,
    version: Version,
    declared: Option<u64>,
    hash: Sha256,
    bytes: u64,
    outcome: Option<Outcome>,
    /// The writer of the request's record.
    pub entry: Entry,
}

impl Upload {
    pub(super) fn new(body: Incoming, head: &request::Parts, entry: Entry) -> Self {
        Upload {
            declared: head
                .headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse().ok()),
            body,
            version: head.version,
            hash: Sha256::default(),
            bytes: 0,
            outcome: None,
            entry,
        }
    }

    /// Returns the next data of the body; `None` when the message has ended, whole or not.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        while self.outcome.is_none() {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.hash.update(&data);
                        self.bytes += data.len() as u64;
                        return Some(data);
                    }
                }
                Some(Err(_)) => self.end(Outcome::Broken),
                None if self.ended_whole() => self.end(Outcome::Complete),
                None => self.end(Outcome::Broken),
            }
        }
        None
    }

    /// Reads the message to its end. Returns whether it was received whole.
    pub(super) async fn drain(&mut self) -> bool {
        while self.next().await.is_some() {}
        self.is_complete()
    }

    /// Reads half of the body's declared length, or its first chunk if no length is declared.
    pub(super) async fn read_half(&mut self) {
        let half = self.declared.map_or(1, |declared| declared.div_ceil(2));
        while self.bytes < half && self.next().await.is_some() {}
    }

    /// Records that the mock itself stops reading the body ([`Outcome::Dropped`]).
    pub(super) fn abandon(&mut self) {
        self.end(Outcome::Dropped);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.outcome == Some(Outcome::Complete)
    }

    /// Returns whether the message was received whole; call it after the last frame. The end of the frames is
    /// no proof: HTTP/2 also ends them at a reset with NO_ERROR, and HTTP/1.1 when the connection closes
    /// before the declared length.
    fn ended_whole(&self) -> bool {
        if self.version == Version::HTTP_2 {
            self.body.is_end_stream()
        } else {
            self.declared.is_none_or(|declared| declared == self.bytes)
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            let digest = std::mem::take(&mut self.hash).finish();
            self.entry.received(outcome, self.bytes, hex(&digest));
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.end(Outcome::Broken);
    }
}

/// The fields and files of a request body.
#[derive(Debug, Default)]
pub(super) struct Submission {
    /// The fields of a form, or the members of a JSON object. Of duplicates, the last is kept.
    pub fields: Map<String, Value>,
    /// The files of a form.
    pub files: Vec<File>,
}

/// A file in a form.
#[derive(Debug)]
pub(super) struct File {
    pub field: String,
    pub content_type: Option<String>,
    /// The first bytes of the file, at most 256 KiB.
    pub head: Vec<u8>,
}

/// The reason why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadBody {
    /// The message was not received whole. It gets no answer.
    Incomplete,
    /// The `Content-Type`, held here, names neither a form nor JSON. It is empty if the header is missing.
    ContentType(String),
    /// The form cannot be parsed; the text is the parser's message.
    Form(String),
    /// The JSON cannot be parsed, or is not an object.
    Json,
    /// The JSON body is longer than 64 MiB.
    TooLong,
}

/// Reads a body to its end, and parses it as a form or as JSON, as the `Content-Type` in `headers` says.
pub(super) async fn read(upload: &mut Upload, headers: &HeaderMap) -> Result<Submission, BadBody> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let submission = if let Ok(boundary) = multer::parse_boundary(&content_type) {
        read_form(upload, boundary).await
    } else if essence.eq_ignore_ascii_case("application/json") {
        read_json(upload).await
    } else {
        upload.drain().await;
        Err(BadBody::ContentType(content_type))
    };
    if upload.is_complete() {
        submission
    } else {
        Err(BadBody::Incomplete)
    }
}

async fn read_json(upload: &mut Upload) -> Result<Submission, BadBody> {
    let mut text = Vec::new();
    while let Some(data) = upload.next().await {
        if text.len() + data.len() > JSON_BYTES {
            upload.drain().await;
            return Err(BadBody::TooLong);
        }
        text.extend_from_slice(&data);
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(fields)) => Ok(Submission {
            fields,
            files: Vec::new(),
        }),
        _ => Err(BadBody::Json),
    }
}

/// Reads the body to its end, and parses it as a form.
///
/// An [`mpsc`] channel of capacity 1 feeds the parser. So the body is received to its end even if the
/// parser gives up, and no more than one chunk waits for the parser.
async fn read_form(upload: &mut Upload, boundary: String) -> Result<Submission, BadBody> {
    let (sender, receiver) = mpsc::channel(1);
    let receive = async {
        let mut sender = Some(sender);
        while let Some(data) = upload.next().await {
            if let Some(open) = &sender
                && open.send(data).await.is_err()
            {
                sender = None;
            }
        }
        drop(sender);
    };
    let (submission, ()) = tokio::join!(parse_form(receiver, boundary), receive);
    submission.map_err(|error| BadBody::Form(error.to_string()))
}

async fn parse_form(
    receiver: mpsc::Receiver<Bytes>,
    boundary: String,
) -> Result<Submission, multer::Error> {
    let held = Arc::new(AtomicUsize::new(0));
    let feed = Feed {
        receiver,
        held: Arc::clone(&held),
    };
    let mut form = multer::Multipart::new(BodyDataStream::new(feed), boundary);
    let mut submission = Submission::default();
    let mut room = FORM_BYTES;
    while let Some(mut field) = form.next_field().await? {
        let name = String::from(field.name().unwrap_or_default());
        let is_file = field.file_name().is_some();
        let limit = if is_file { FILE_BYTES } else { TEXT_BYTES };
        let content_type = field.content_type().map(ToString::to_string);
        let mut kept = Vec::new();
        loop {
            held.store(0, Ordering::Relaxed);
            let Some(data) = field.chunk().await? else {
                break;
            };
            let wanted = data.len().min(limit - kept.len()).min(room);
            kept.extend_from_slice(&data[..wanted]);
            room -= wanted;
        }
        room = room.saturating_sub(name.len() + 64);
        if room == 0 {
            continue;
        }
        if is_file {
            submission.files.push(File {
                field: name,
                content_type,
                head: kept,
            });
        } else {
            let value = String::from_utf8_lossy(&kept).into_owned();
            insert(&mut submission.fields, &name, value);
        }
    }
    Ok(submission)
}

/// Inserts a form's field at the place that it has in the same request as JSON: `a[b]` becomes
/// `{"a":{"b":..}}`, and `a[][b]` becomes `{"a":[{"b":..}]}`.
fn insert(fields: &mut Map<String, Value>, name: &str, value: String) {
    let value = Value::String(value);
    let Some((base, rest)) = name.split_once('[') else {
        fields.insert(name.into(), value);
        return;
    };
    let member = |key: &str, value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    let place = fields.entry(base);
    if let Some((_, key)) = rest.split_once("][") {
        let member = member(key.trim_end_matches(']'), value);
        match place.or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(members) => members.push(member),
            other => *other = Value::Array(vec![member]),
        }
    } else {
        let key = rest.trim_end_matches(']');
        match place.or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(members) => drop(members.insert(key.into(), value)),
            other => *other = member(key, value),
        }
    }
}

/// The body that the form parser reads from.
struct Feed {
    receiver: mpsc::Receiver<Bytes>,
    /// The number of bytes that the parser has read since it was last asked for field data.
    held: Arc<AtomicUsize>,
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Stalled;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stalled>>> {
        let Some(data) = ready!(self.receiver.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        let held = self.held.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        Poll::Ready(Some(if held > STALL_BYTES {
            Err(Stalled)
        } else {
            Ok(Frame::data(data))
        }))
    }
}

/// The error for a form of which the parser reads more than [`STALL_BYTES`] bytes without returning data.
#[derive(Debug, thiserror::Error)]
#[error("no part of the form begins or ends in {STALL_BYTES} bytes")]
struct Stalled;

/// Reads the body of a control request; `None` if it is broken or longer than 64 KiB.
pub(super) async fn read_short(body: Incoming) -> Option<Bytes> {
    let body = http_body_util::Limited::new(body, 64 * 1024);
    Some(body.collect().await.ok()?.to_bytes())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

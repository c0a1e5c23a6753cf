//! The HTTP answers of the mock channel: their bodies, and the errors of the Videos API.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// An HTTP answer of the mock.
pub(super) type Answer = Response<AnswerBody>;

/// Makes an answer with this status and with `value` as its JSON body.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).unwrap_or_default();
    with_type(status, "application/json", AnswerBody::from(text))
}

/// Makes an answer with `content_type` as its `Content-Type`.
pub(super) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: AnswerBody,
) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, content_type);
    answer
}

/// Sets a header of an answer, unless `value` has characters that a header cannot have.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// An error of the Videos API: the status, the fields of the error envelope, and `Retry-After`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub message: String,
    pub kind: &'static str,
    pub param: Option<String>,
    pub code: Option<&'static str>,
    /// The value of the header `Retry-After`, in seconds; `None` for no header. Only an error whose `kind` is
    /// `requests` is sent with the header.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError {
            status,
            message: message.into(),
            kind: "invalid_request_error",
            param: None,
            code: None,
            retry_after: None,
        }
    }

    /// Makes an error of status 400 about the parameter `param`.
    pub(super) fn parameter(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            param: Some(param.into()),
            code: Some(code),
            ..ApiError::new(StatusCode::BAD_REQUEST, message)
        }
    }

    /// Makes the 401 for the credential `presented`, which is wrong, or missing for `None`.
    ///
    /// Like the real API, the message shows the first 8 and last 4 characters of the key. A key of up to 12
    /// characters, or with characters outside ASCII, is masked whole.
    pub(super) fn credential(presented: Option<&str>) -> Self {
        let Some(key) = presented else {
            return ApiError::new(
                StatusCode::UNAUTHORIZED,
                "You didn't provide an API key. You need to provide your API key in an \
                 Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). \
                 You can obtain an API key from https://platform.openai.com/account/api-keys.",
            );
        };
        let shown = match (key.get(..8), key.len().checked_sub(4)) {
            (Some(start), Some(end)) if end > 8 && key.is_ascii() => {
                format!("{start}{}{}", "*".repeat(end - 8), &key[end..])
            }
            _ => "*".repeat(key.len()),
        };
        ApiError {
            code: Some("invalid_api_key"),
            ..ApiError::new(
                StatusCode::UNAUTHORIZED,
                format!(
                    "Incorrect API key provided: {shown}. You can find your API key at \
                     https://platform.openai.com/account/api-keys."
                ),
            )
        }
    }

    pub(super) fn quota() -> Self {
        ApiError {
            kind: "insufficient_quota",
            code: Some("insufficient_quota"),
            ..ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "You exceeded your current quota, please check your plan and billing details. \
                 For more information on this error, read the docs: \
                 https://platform.openai.com/docs/guides/error-codes/api-errors.",
            )
        }
    }

    /// Makes the 429 for a rate limit. `wait` is the value of `Retry-After` in seconds; `None` for no header.
    pub(super) fn rate_limited(wait: Option<u64>) -> Self {
        ApiError {
            kind: "requests",
            code: Some("rate_limit_exceeded"),
            retry_after: wait,
            ..ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Rate limit reached for sora-2 in organization org-mock on requests per min \
                 (RPM): Limit 5, Used 5, Requested 1. Please try again in 2s.",
            )
        }
    }

    /// Makes an error with this status and the message that the API has for it, or else a general message.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => ApiError::parameter(
                "prompt",
                "invalid_value",
                "Invalid value for 'prompt': the request was rejected.",
            ),
            StatusCode::UNAUTHORIZED => ApiError::credential(Some("sk-proj-rejected-by-a-fault")),
            StatusCode::FORBIDDEN => ApiError::new(
                status,
                "You have insufficient permissions for this operation. Check that you have the \
                 correct role in your organization, and if you're using a restricted API key, that \
                 it has the necessary scopes.",
            ),
            StatusCode::TOO_MANY_REQUESTS => ApiError::rate_limited(Some(2)),
            _ if status.is_server_error() => ApiError {
                kind: "server_error",
                ..ApiError::new(
                    status,
                    "The server had an error while processing your request. Sorry about that!",
                )
            },
            _ => ApiError::new(status, "The request was refused."),
        }
    }

    pub(super) fn answer(&self) -> Answer {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            message: &'a str,
            r#type: &'a str,
            param: Option<&'a str>,
            code: Option<&'a str>,
        }
        let error = Inner {
            message: &self.message,
            r#type: self.kind,
            param: self.param.as_deref(),
            code: self.code,
        };
        let mut answer = json(self.status, &Envelope { error });
        if self.kind == "requests" {
            let limits = [
                ("x-ratelimit-limit-requests", "5"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "2s"),
            ];
            if let Some(wait) = self.retry_after {
                set(&mut answer, RETRY_AFTER, &wait.to_string());
            }
            for (name, value) in limits {
                set(&mut answer, HeaderName::from_static(name), value);
            }
        }
        answer
    }
}

/// Makes the answer of a server that is not the API: 200 with a page in HTML.
pub(super) fn page() -> Answer {
    let page = Bytes::from_static(b"<html><body><h1>It works!</h1></body></html>\n");
    with_type(StatusCode::OK, "text/html", page.into())
}

/// The body of an answer. A fault can make the body arrive in small pieces, or break it off.
#[derive(Debug, Default)]
pub(super) struct AnswerBody {
    pieces: VecDeque<Piece>,
    left: u64,
    /// The maximum length of one piece of the body, in bytes; `None` for no maximum. With a maximum, the
    /// connection writes each piece before it gets the next.
    trickle: Option<usize>,
    /// Whether the next poll returns `Pending` once, so that the connection writes the previous piece.
    must_yield: bool,
    /// The number of bytes that go out before the body breaks; `None` where the body goes out whole.
    cut: Option<u64>,
    /// The timer of the pause before the break, in which the connection sends the last bytes; `None` before
    /// the pause begins.
    linger: Option<Pin<Box<Sleep>>>,
    /// The sender for the receiver that [`AnswerBody::gone`] returned. It never sends anything: it is dropped
    /// with the body, which wakes the receiver.
    gone: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// The next `left` letters of the alphabet, repeated endlessly, from the offset `from` on.
    Filler {
        from: u64,
        left: u64,
    },
}

/// The alphabet, repeated until a piece of [`FILLER_BYTES`] bytes can begin with any letter.
static FILLER: LazyLock<Bytes> = LazyLock::new(|| {
    let letters = (b'a'..=b'z').cycle();
    letters.take(FILLER_BYTES + 26).collect::<Vec<u8>>().into()
});
const FILLER_BYTES: usize = 64 * 1024;

/// The pause between the last byte of a body that breaks off on purpose and the break.
const LINGER: Duration = Duration::from_millis(10);

impl AnswerBody {
    /// Makes a body of `bytes` letters of the alphabet, repeated endlessly, from the offset `from` on.
    pub(super) fn filler(from: u64, bytes: u64) -> Self {
        let mut body = AnswerBody::default();
        body.push(Piece::Filler { from, left: bytes });
        body
    }

    /// Makes a body of the JSON `object`, with a member `padding` of `bytes` letters before the others.
    pub(super) fn padded(object: &[u8], bytes: u64) -> Self {
        let mut body = AnswerBody::default();
        body.push(Piece::Bytes(Bytes::from_static(b"{\"padding\":\"")));
        body.push(Piece::Filler {
            from: 0,
            left: bytes,
        });
        body.push(Piece::Bytes(Bytes::from_static(b"\",")));
        let members = object.strip_prefix(b"{").unwrap_or(object);
        body.push(Piece::Bytes(Bytes::copy_from_slice(members)));
        body
    }

    /// Makes the body go out in pieces of a 512th of it, but at least 1 byte and at most 64 KiB each.
    pub(super) fn trickle(&mut self) {
        let piece = usize::try_from(self.left / 512).unwrap_or(usize::MAX);
        self.trickle = Some(piece.clamp(1, FILLER_BYTES));
    }

    /// Makes the body break after half of its bytes.
    pub(super) fn break_in_half(&mut self) {
        self.cut = Some(self.left / 2);
    }

    /// Returns a receiver that resolves, always with an error, when the body is dropped: the answer has
    /// gone out, or can no longer go out.
    pub(super) fn gone(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.gone = Some(sender);
        receiver
    }

    fn push(&mut self, piece: Piece) {
        self.left += match &piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Filler { left, .. } => *left,
        };
        self.pieces.push_back(piece);
    }

    /// Takes the next bytes of the body, at most `limit`; `None` when none are left.
    fn take(&mut self, limit: usize) -> Option<Bytes> {
        let data = match self.pieces.front_mut()? {
            Piece::Bytes(bytes) => bytes.split_to(bytes.len().min(limit)),
            Piece::Filler { from, left } => {
                let length = limit.min(FILLER_BYTES);
                let length = usize::try_from(*left).map_or(length, |left| left.min(length));
                // Below 26, so the conversion holds.
                let start = (*from % 26) as usize;
                *from += length as u64;
                *left -= length as u64;
                FILLER.slice(start..start + length)
            }
        };
        if matches!(self.pieces.front(), Some(Piece::Bytes(bytes)) if bytes.is_empty())
            || matches!(self.pieces.front(), Some(Piece::Filler { left: 0, .. }))
        {
            self.pieces.pop_front();
        }
        self.left -= data.len() as u64;
        Some(data)
    }
}

impl From<Vec<u8>> for AnswerBody {
    fn from(bytes: Vec<u8>) -> Self {
        AnswerBody::from(Bytes::from(bytes))
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        let mut body = AnswerBody::default();
        if !bytes.is_empty() {
            body.push(Piece::Bytes(bytes));
        }
        body
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if self.cut == Some(0) {
            let linger = self
                .linger
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
            ready!(linger.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Closed)));
        }
        if self.trickle.is_some() {
            if self.must_yield {
                self.must_yield = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.must_yield = true;
        }
        let cut = self
            .cut
            .map_or(usize::MAX, |cut| usize::try_from(cut).unwrap_or(usize::MAX));
        let limit = self.trickle.unwrap_or(usize::MAX).min(cut);
        let data = self.take(limit);
        if let (Some(cut), Some(data)) = (&mut self.cut, &data) {
            *cut -= data.len() as u64;
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The error by which the mock closes the connection (HTTP/2: resets the stream), on purpose.
#[derive(Debug, thiserror::Error)]
#[error("closed by a fault, or because the request was broken")]
pub(super) struct Closed;

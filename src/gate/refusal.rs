//! Every answer that the gate gives by itself, and the one place that maps them to HTTP.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use pingora::http::ResponseHeader;
use serde_json::json;

use crate::inspect;
use crate::ledger::{LimitReached, Scope};
use crate::policy::{self, Measure, Timestamp};

/// Why the gate answers a request by itself.
#[derive(Debug)]
pub enum Refusal {
    /// Faults of the request's head.
    Head(HeadFault),
    /// No key, or one that is not known.
    Key {
        /// Whether a key came at all.
        presented: bool,
    },
    /// No such route, or no such job of this key.
    NotFound(NotFound),
    /// The route exists for other methods.
    Method {
        /// Which ones.
        allowed: &'static str,
    },
    /// The body, or what it asks for.
    Body(inspect::Refusal),
    /// The body is longer than the longest allowed one.
    TooLarge {
        /// The longest, in bytes.
        most: u64,
    },
    /// The body came too slowly.
    Slow,
    /// A limit of the key or its group.
    Limit {
        /// Which one.
        reached: LimitReached,
        /// When it was found to be reached.
        at: Timestamp,
    },
    /// As many uploads of this key as allowed are under way.
    UploadsOfKey {
        /// How many are allowed.
        most: usize,
    },
    /// The first request under this idempotency key has no answer yet.
    IdempotencyInFlight,
    /// This idempotency key stands for another request.
    IdempotencyKeyReused,
    /// The gate itself cannot take the request now.
    Busy(Busy),
    /// The channel.
    Channel(ChannelFault),
}

/// A head that cannot be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// No HTTP, or not as it should be.
    Malformed,
    /// A header that must stand once.
    Repeated(&'static str),
    /// A header that must not stand at all.
    Forbidden(&'static str),
    /// A header whose value cannot be read.
    Unreadable(&'static str),
    /// No Content-Type on a request with a body.
    NoContentType,
    /// A query string on a route that has none.
    Query,
    /// A query string that cannot be read.
    BadQuery,
    /// A body on a route that has none.
    Body,
    /// No body on a route that needs one.
    NoBody,
    /// More bytes or more header fields than allowed.
    TooLarge,
}

/// What was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// The route.
    Route,
    /// The job: unknown, or another key's.
    Job,
}

/// Why the gate cannot take a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// As many uploads as allowed are under way.
    Uploads,
    /// The ledger cannot be used.
    Ledger,
    /// The gate stood still between the reservation and the end of the request.
    Stalled,
    /// No channel can be reached.
    Channels,
    /// No channel serves the model.
    NoChannel,
    /// The channel that made the video is not in the configuration any more.
    ChannelGone,
}

/// What is wrong with the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelFault {
    /// It broke off, or answered what is no answer. `created` where it may have created a
    /// job all the same.
    Broken {
        /// Whether a job may exist.
        created: bool,
    },
    /// It took too long.
    Timeout {
        /// Whether a job may exist.
        created: bool,
    },
    /// It answered a create with a job after that was given up, and no limit has room for it any
    /// more: nobody is charged for it, and nobody can reach it.
    TooLate,
    /// It does not accept the gate's credential, or its account is spent.
    Account {
        /// Whether another channel may take the request.
        elsewhere: bool,
    },
    /// It answered with a redirect that is not followed.
    Redirect,
    /// Where its redirect leads, there is no video.
    Content,
    /// It has not deleted the video, and cannot.
    NotDeleted,
    /// The model came after the file, and the channel that had been chosen before it was
    /// known does not serve it.
    ModelTooLate,
    /// The seconds came after the file, and the channel that had been chosen before they were
    /// known takes them in another JSON type.
    SecondsTooLate,
}

impl From<inspect::Refusal> for Refusal {
    fn from(refusal: inspect::Refusal) -> Self {
        Self::Body(refusal)
    }
}

/// An answer in the shape of the API's errors.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    param: Option<String>,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
    /// The head and the body, with all headers but those of the connection.
    pub(super) fn into_response(self) -> pingora::Result<(Box<ResponseHeader>, Bytes)> {
        let error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        });
        let body = Bytes::from(json!({ "error": error }).to_string());
        let mut head = ResponseHeader::build(self.status, Some(8))?;
        head.insert_header("content-type", "application/json")?;
        head.insert_header("content-length", body.len())?;
        head.insert_header("cache-control", "private, no-store")?;
        for (name, value) in self.headers {
            head.insert_header(name, value)?;
        }
        Ok((Box::new(head), body))
    }
}

const INVALID: &str = "invalid_request_error";
const NO_RETRY: (&str, &str) = ("x-should-retry", "false");

impl Refusal {
    /// **The** mapping of reasons to HTTP.
    pub(super) fn answer(&self) -> Answer {
        use StatusCode as S;
        let (status, kind, code) = match self {
            Self::Head(fault) => match fault {
                HeadFault::NoContentType | HeadFault::Forbidden("content-encoding") => {
                    (S::UNSUPPORTED_MEDIA_TYPE, INVALID, "unsupported_media_type")
                }
                HeadFault::TooLarge => (
                    S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    INVALID,
                    "headers_too_large",
                ),
                HeadFault::Query | HeadFault::BadQuery => {
                    (S::BAD_REQUEST, INVALID, "invalid_query")
                }
                HeadFault::Body | HeadFault::NoBody => (S::BAD_REQUEST, INVALID, "invalid_body"),
                _ => (S::BAD_REQUEST, INVALID, "invalid_header"),
            },
            Self::Key { .. } => (S::UNAUTHORIZED, INVALID, "invalid_api_key"),
            Self::NotFound(_) => (S::NOT_FOUND, INVALID, "not_found"),
            Self::Method { .. } => (S::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed"),
            Self::Body(refusal) => body_answer(refusal),
            Self::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, INVALID, "request_too_large"),
            Self::Slow => (S::REQUEST_TIMEOUT, INVALID, "request_timeout"),
            Self::Limit { reached, .. } if reached.limit.measure.is_budget() => (
                S::TOO_MANY_REQUESTS,
                "insufficient_quota",
                "insufficient_quota",
            ),
            Self::Limit { .. } | Self::UploadsOfKey { .. } => {
                (S::TOO_MANY_REQUESTS, "requests", "rate_limit_exceeded")
            }
            Self::IdempotencyInFlight => (S::CONFLICT, INVALID, "idempotency_conflict"),
            Self::IdempotencyKeyReused => {
                (S::UNPROCESSABLE_ENTITY, INVALID, "idempotency_key_reused")
            }
            Self::Busy(_) => (S::SERVICE_UNAVAILABLE, "server_error", "unavailable"),
            Self::Channel(ChannelFault::Timeout { .. }) => {
                (S::GATEWAY_TIMEOUT, "server_error", "upstream_timeout")
            }
            Self::Channel(ChannelFault::ModelTooLate) => {
                (S::BAD_REQUEST, INVALID, "model_after_file")
            }
            Self::Channel(ChannelFault::SecondsTooLate) => {
                (S::BAD_REQUEST, INVALID, "seconds_after_file")
            }
            Self::Channel(ChannelFault::NotDeleted) => {
                (S::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed")
            }
            Self::Channel(_) => (S::BAD_GATEWAY, "server_error", "upstream_error"),
        };
        Answer {
            status,
            kind,
            code,
            param: self.param().map(str::to_owned),
            message: self.to_string(),
            headers: self.headers(),
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Body(refusal) => refusal.param(),
            Self::Channel(ChannelFault::ModelTooLate) => Some("model"),
            Self::Channel(ChannelFault::SecondsTooLate) => Some("seconds"),
            _ => None,
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let no_retry = || (NO_RETRY.0, NO_RETRY.1.to_owned());
        match self {
            Self::Method { allowed } => vec![("allow", (*allowed).to_owned())],
            Self::Key { .. } => vec![("www-authenticate", "Bearer".to_owned())],
            // Nothing of an upload that came too slowly is worth trying at once again.
            Self::Slow => vec![no_retry()],
            Self::Limit { reached, at } => limit_headers(reached, *at),
            Self::IdempotencyInFlight | Self::UploadsOfKey { .. } => {
                vec![("retry-after", "1".to_owned())]
            }
            Self::Busy(Busy::NoChannel | Busy::ChannelGone) => vec![no_retry()],
            Self::Busy(_) => vec![("retry-after", "1".to_owned())],
            Self::Channel(fault) => match fault {
                ChannelFault::Broken { created: true }
                | ChannelFault::Timeout { created: true } => {
                    vec![no_retry()]
                }
                ChannelFault::NotDeleted => vec![("allow", "GET, HEAD".to_owned())],
                ChannelFault::TooLate
                | ChannelFault::Account { elsewhere: false }
                | ChannelFault::Redirect => {
                    vec![no_retry()]
                }
                _ => vec![],
            },
            _ => vec![],
        }
    }
}

fn body_answer(refusal: &inspect::Refusal) -> (StatusCode, &'static str, &'static str) {
    use inspect::Refusal as R;
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        R::UnsupportedMediaType => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            INVALID,
            "unsupported_media_type",
        ),
        R::Multipart(_) | R::Json(_) => (bad, INVALID, "invalid_body"),
        R::UnknownField { .. } => (bad, INVALID, "unknown_field"),
        R::DuplicateField { .. } => (bad, INVALID, "duplicate_field"),
        R::Missing { .. } | R::Policy(policy::Refusal::NoModel { .. }) => {
            (bad, INVALID, "missing_required_parameter")
        }
        R::ImageSizeMismatch { .. } => (bad, INVALID, "image_size_mismatch"),
        R::Policy(policy::Refusal::NotAllowed { param, .. }) => {
            let code = match param {
                policy::Param::Model => "model_not_allowed",
                policy::Param::Size => "size_not_allowed",
                policy::Param::Seconds => "seconds_not_allowed",
            };
            (StatusCode::FORBIDDEN, INVALID, code)
        }
        _ => (bad, INVALID, "invalid_value"),
    }
}

/// What the SDKs read: when to come back, or that it is no use.
fn limit_headers(reached: &LimitReached, at: Timestamp) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    let wait = reached
        .resets
        .map(|end| end.saturating_sub(at.seconds()).max(1));
    match (reached.limit.measure, wait) {
        (Measure::InFlight, _) => headers.push(("retry-after", "5".to_owned())),
        (measure, Some(wait)) if !measure.is_budget() => {
            headers.push(("retry-after", wait.to_string()));
        }
        _ => headers.push((NO_RETRY.0, NO_RETRY.1.to_owned())),
    }
    if reached.limit.measure == Measure::Requests {
        let remaining = reached.limit.most.saturating_sub(reached.used);
        headers.push(("x-ratelimit-limit-requests", reached.limit.most.to_string()));
        headers.push(("x-ratelimit-remaining-requests", remaining.to_string()));
        if let Some(wait) = wait {
            headers.push(("x-ratelimit-reset-requests", format!("{wait}s")));
        }
    }
    headers
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(fault) => fault.fmt(f),
            Self::Key { presented: false } => {
                f.write_str("No API key. Send it in the header 'Authorization: Bearer YOUR_KEY'.")
            }
            Self::Key { presented: true } => {
                f.write_str("Incorrect API key. Check the key that this service gave you.")
            }
            Self::NotFound(NotFound::Route) => f.write_str(
                "No such route. Here are /v1/videos, /v1/videos/{id}, \
                 /v1/videos/{id}/content and /v1/videos/{id}/remix.",
            ),
            Self::NotFound(NotFound::Job) => f.write_str("No such video."),
            Self::Method { allowed } => {
                write!(
                    f,
                    "This route does not take that method. It takes: {allowed}."
                )
            }
            Self::Body(refusal) => refusal.fmt(f),
            Self::TooLarge { most } => {
                write!(f, "The request body is too large: at most {most} bytes.")
            }
            Self::Slow => f.write_str("The request body came too slowly."),
            Self::Limit { reached, .. } => {
                let whose = if matches!(reached.scope, Scope::Group(_)) {
                    "this key's group"
                } else {
                    "this key"
                };
                let LimitReached {
                    limit, currency, ..
                } = reached;
                if limit.measure.is_budget() {
                    f.write_str("You exceeded your current quota: ")?;
                } else {
                    f.write_str("Rate limit reached: ")?;
                }
                match limit.measure {
                    Measure::InFlight => {
                        write!(f, "{whose} may have {limit} under way at a time.")
                    }
                    measure => {
                        write!(f, "{whose} may use {limit} of {}", measure.name())?;
                        if let Some(currency) = currency {
                            write!(f, " in {currency}")?;
                        }
                        f.write_str(".")
                    }
                }
            }
            Self::UploadsOfKey { most } => write!(
                f,
                "Too many uploads of this key are under way: it may have {most} at a time. Try \
                 again when one has ended."
            ),
            Self::IdempotencyInFlight => f.write_str(
                "The first request with this Idempotency-Key is still under way, or its outcome \
                 is not known yet. Try again in a moment: you will get its answer.",
            ),
            Self::IdempotencyKeyReused => f.write_str(
                "This Idempotency-Key was used for another request. Use a new key for each \
                 request, and the same key only to repeat it.",
            ),
            Self::Busy(busy) => f.write_str(match busy {
                Busy::Uploads => "Too many uploads are under way. Try again in a moment.",
                Busy::Stalled => {
                    "This service was held up, and nothing has been created. Try again."
                }
                Busy::Ledger => "Charges cannot be recorded at the moment. Try again in a moment.",
                Busy::Channels => "No channel can be reached at the moment. Try again in a moment.",
                Busy::NoChannel => "No channel serves this model. Ask whoever runs this service.",
                Busy::ChannelGone => {
                    "The channel of this video is not configured any more. \
                     Ask whoever runs this service."
                }
            }),
            Self::Channel(fault) => f.write_str(match fault {
                ChannelFault::Broken { created: false } => {
                    "The channel failed, and nothing has been created. Try again."
                }
                ChannelFault::Broken { created: true } => {
                    "The channel failed after it had the whole request, so the video may have \
                     been created. If it was, it appears in your list of videos within minutes; \
                     if not, its charge is given back. Look there before you try again."
                }
                ChannelFault::Timeout { created: false } => {
                    "The channel took too long, and nothing has been created. Try again."
                }
                ChannelFault::Timeout { created: true } => {
                    "The channel took too long to answer, so the video may have been created. \
                     If it was, it appears in your list of videos within minutes; if not, its \
                     charge is given back. Look there before you try again."
                }
                ChannelFault::Account { elsewhere: true } => {
                    "A channel refused this service's account, and nothing has been created. Try \
                     again: another channel may take the request."
                }
                ChannelFault::Account { elsewhere: false } => {
                    "The channel refused this service's account. Tell whoever runs this service."
                }
                ChannelFault::SecondsTooLate => {
                    "Write this type of 'seconds' before the image: put the field 'seconds' first."
                }
                ChannelFault::TooLate => {
                    "The channel answered after this request had been given up. It is not \
                     charged, and if a video was created, it cannot be reached. Send the request \
                     again if you still want one."
                }
                ChannelFault::Redirect => {
                    "The channel answered with a redirect to where this service may not follow. \
                     Tell whoever runs this service."
                }
                ChannelFault::Content => {
                    "The video could not be fetched from where the channel keeps it. Try again."
                }
                ChannelFault::NotDeleted => {
                    "The channel of this video does not delete videos: it is still there."
                }
                ChannelFault::ModelTooLate => {
                    "This model must be named before the file: put the field 'model' first."
                }
            }),
        }
    }
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated(name) => write!(f, "Send the header '{name}' once."),
            Self::Forbidden(name) => write!(f, "Leave out the header '{name}'."),
            Self::Unreadable("idempotency-key") => f.write_str(
                "Write 'Idempotency-Key' as 1 to 255 visible ASCII characters, without spaces.",
            ),
            Self::Unreadable(name) => write!(f, "The header '{name}' cannot be read."),
            Self::NoContentType => f.write_str(
                "Send a Content-Type: 'multipart/form-data; boundary=...' or 'application/json'.",
            ),
            Self::Query => f.write_str("This route takes no query string: put fields in the body."),
            Self::BadQuery => f.write_str(
                "Write 'limit' as 0 to 100, 'order' as asc or desc, 'after' as a video's id.",
            ),
            Self::Malformed => f.write_str("The request's head is not HTTP as it should be."),
            Self::Body => f.write_str("This route takes no body."),
            Self::NoBody => f.write_str("This route needs a body."),
            Self::TooLarge => f.write_str(
                "The request's head is too large: send fewer headers, or a shorter query string.",
            ),
        }
    }
}

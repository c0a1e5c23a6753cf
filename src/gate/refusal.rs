//! Names every reason for which the gate answers a request by itself, with its message.

use std::fmt;

use crate::inspect;
use crate::ledger::{LimitReached, Scope, Unavailable};
use crate::policy::{Exceeded, Key, KeyFault, Measure, Param, Terms, Timestamp};
use crate::upstream::{NoChannel, NoneLeft, UpstreamError};

/// Why the gate answers a request by itself.
#[derive(Debug)]
pub enum Refusal {
    /// Faults of the request's head.
    Head(HeadFault),
    /// No key, or one that does not let its client in.
    Key(KeyFault),
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
        max: u64,
    },
    /// The body came too slowly.
    Slow,
    /// A limit of the key or its group.
    Limit(Box<Exceeded>),
    /// As many uploads of this key as allowed are under way.
    UploadsOfKey {
        /// How many are allowed.
        max: usize,
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

/// Why a request's head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// No HTTP, or not as it should be.
    Malformed,
    /// A header that occurs more than once, where only one is allowed.
    Repeated(&'static str),
    /// A header that may not occur here.
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
    /// The model, likewise.
    Model,
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
    /// No channel has room before `wait` seconds have passed.
    ChannelLimits {
        /// At least one.
        wait: u64,
    },
    /// No channel serves the model.
    NoChannel,
    /// No channel that serves the model takes creates: each is drained, or switched off.
    ChannelsClosed,
    /// The channel that made the video is switched off.
    ChannelOff,
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
    Account,
    /// It did not take an upload for a reason of its own, and another channel may.
    Declined,
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

impl Refusal {
    /// Makes the refusal of a request of that key that exceeds a limit. `is_priced` where it is known
    /// what the request asks for.
    pub(super) fn limit(reached: LimitReached, key: &Key, at: Timestamp, is_priced: bool) -> Self {
        let is_one = matches!(reached.limit.measure, Measure::Requests | Measure::InFlight);
        Self::Limit(Box::new(Exceeded {
            limit: reached.limit,
            is_shared: matches!(reached.scope, Scope::Group(_)),
            used: reached.used,
            takes: Some(reached.takes).filter(|_| is_priced || is_one),
            resets: reached.resets,
            at,
            terms: Terms::from(&*key.group),
        }))
    }
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Self {
        Self::Key(fault)
    }
}

impl From<inspect::Refusal> for Refusal {
    fn from(refusal: inspect::Refusal) -> Self {
        Self::Body(refusal)
    }
}

impl From<UpstreamError> for Refusal {
    /// Maps the error of a request that creates nothing.
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Connect(_) => Self::Busy(Busy::Channels),
            UpstreamError::Timeout => Self::Channel(ChannelFault::Timeout { created: false }),
            UpstreamError::Broken { .. } => Self::Channel(ChannelFault::Broken { created: false }),
        }
    }
}

impl From<NoneLeft> for Refusal {
    fn from(none: NoneLeft) -> Self {
        match none {
            NoneLeft::Failing => Self::Busy(Busy::Channels),
            NoneLeft::Limited { wait } => Self::Busy(Busy::ChannelLimits { wait }),
            NoneLeft::Account => Self::Channel(ChannelFault::Account),
        }
    }
}

impl From<NoChannel> for Refusal {
    fn from(no: NoChannel) -> Self {
        match no {
            NoChannel::Unserved | NoChannel::NotForKey => Self::Busy(Busy::NoChannel),
            NoChannel::Closed => Self::Busy(Busy::ChannelsClosed),
            NoChannel::OtherSecondsType(wanted) => Self::Body(inspect::Refusal::WrongKind {
                name: Param::Seconds.name().into(),
                wanted: wanted.wanted(),
            }),
            NoChannel::ModelTooLate => Self::Channel(ChannelFault::ModelTooLate),
            NoChannel::SecondsTooLate => Self::Channel(ChannelFault::SecondsTooLate),
        }
    }
}

/// Names why a handler has no response for a request.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The gate refuses it.
    Refused(Refusal),
    /// The client is gone: nobody is left to answer.
    Disconnected(Box<pingora::Error>),
}

impl<R> From<R> for RequestError
where
    Refusal: From<R>,
{
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        // Logged once, where it was noticed: it is the same for every request.
        log::debug!("{error}");
        Self::Busy(Busy::Ledger)
    }
}

const NO_ROUTE: &str = "No such route. Here are /v1/videos, /v1/videos/{id}, \
    /v1/videos/{id}/content, /v1/videos/{id}/remix, /v1/models and /v1/usage.";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(fault) => fault.fmt(f),
            Self::Key(fault) => fault.fmt(f),
            Self::NotFound(NotFound::Route) => f.write_str(NO_ROUTE),
            Self::NotFound(NotFound::Job) => f.write_str("No such video."),
            Self::NotFound(NotFound::Model) => f.write_str("No such model: see /v1/models."),
            Self::Method { allowed } => {
                write!(
                    f,
                    "This route does not take that method. It takes: {allowed}."
                )
            }
            Self::Body(refusal) => refusal.fmt(f),
            Self::TooLarge { max } => {
                write!(f, "The request body is too large: at most {max} bytes.")
            }
            Self::Slow => f.write_str("The request body came too slowly."),
            Self::Limit(exceeded) => exceeded.fmt(f),
            Self::UploadsOfKey { max } => write!(
                f,
                "Too many uploads of this key are under way: it may have {max} at a time. Try \
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
            Self::Busy(busy) => f.write_str(busy.message()),
            Self::Channel(fault) => f.write_str(fault.message()),
        }
    }
}

impl Busy {
    fn message(self) -> &'static str {
        match self {
            Self::Uploads => "Too many uploads are under way. Try again in a moment.",
            Self::Stalled => "This service was held up, and nothing has been created. Try again.",
            Self::Ledger => "Charges cannot be recorded at the moment. Try again in a moment.",
            Self::Channels => "No channel can be reached at the moment. Try again in a moment.",
            Self::ChannelLimits { .. } => {
                "No channel has room for this request at the moment, and nothing has been \
                 created. Try again when the time in 'Retry-After' has passed."
            }
            Self::NoChannel => "No channel serves this model. Ask whoever runs this service.",
            Self::ChannelsClosed => {
                "No channel takes this request at the moment. Try again in some minutes, or ask \
                 whoever runs this service."
            }
            Self::ChannelOff => {
                "The channel of this video is switched off at the moment. Try again in some \
                 minutes, or ask whoever runs this service."
            }
            Self::ChannelGone => {
                "The channel of this video is not configured any more. \
                 Ask whoever runs this service."
            }
        }
    }
}

impl ChannelFault {
    fn message(self) -> &'static str {
        match self {
            Self::Broken { created: false } => {
                "The channel failed, and nothing has been created. Try again."
            }
            Self::Broken { created: true } => {
                "The channel failed after it had the whole request, so the video may have \
                 been created. If it was, it appears in your list of videos within minutes; \
                 if not, its charge is given back. Look there before you try again."
            }
            Self::Timeout { created: false } => {
                "The channel took too long, and nothing has been created. Try again."
            }
            Self::Timeout { created: true } => {
                "The channel took too long to answer, so the video may have been created. \
                 If it was, it appears in your list of videos within minutes; if not, its \
                 charge is given back. Look there before you try again."
            }
            Self::Account => {
                "The channel refused this service's account. Tell whoever runs this service."
            }
            Self::Declined => {
                "The channel that this request was sent to did not take it, and nothing has been \
                 created. Try again: another one may take it."
            }
            Self::SecondsTooLate => {
                "Write this type of 'seconds' before the image: put the field 'seconds' first."
            }
            Self::TooLate => {
                "The channel answered after this request had been given up. It is not \
                 charged, and if a video was created, it cannot be reached. Send the request \
                 again if you still want one."
            }
            Self::Redirect => {
                "The channel answered with a redirect to where this service may not follow. \
                 Tell whoever runs this service."
            }
            Self::Content => {
                "The video could not be fetched from where the channel keeps it. Try again."
            }
            Self::NotDeleted => {
                "The channel of this video does not delete videos: it is still there."
            }
            Self::ModelTooLate => {
                "This model must be named before the file: put the field 'model' first."
            }
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

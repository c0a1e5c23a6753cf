//! The reasons for which the gate answers a request with an error of its own, and their messages.

use std::fmt;

use crate::inspect;
use crate::ledger::{LimitReached, Scope, Unavailable};
use crate::policy::{Exceeded, Key, KeyFault, Measure, Param, Terms, Timestamp};
use crate::upstream::{NoChannel, NoneLeft, UpstreamError};

/// The reason for which the gate answers a request with an error of its own.
#[derive(Debug)]
pub enum Refusal {
    /// A fault in the request's head.
    Head(HeadFault),
    /// The client key is missing, unknown or not valid now.
    Key(KeyFault),
    /// The route, job or model that the request names does not exist, or is not available to this key.
    NotFound(NotFound),
    /// The route exists, but not for this method.
    Method {
        /// The methods of the route, as in the `Allow` header.
        allowed: &'static str,
    },
    /// The body is malformed, or asks for what is not allowed.
    Body(inspect::Refusal),
    /// The body is longer than allowed.
    TooLarge {
        /// The maximum length of a body, in bytes.
        max: u64,
    },
    /// The body exceeded the read timeout or the upload timeout, or arrived at less than the minimum rate.
    Slow,
    /// A limit of the key or of its group is exceeded.
    Limit(Box<Exceeded>),
    /// This key has `max` uploads of this size class under way already.
    UploadsOfKey {
        /// The maximum number of concurrent uploads of the key.
        max: usize,
    },
    /// The first request under this idempotency key has no answer yet.
    IdempotencyInFlight,
    /// This idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The gate cannot accept the request now.
    Busy(Busy),
    /// The channel failed, or refused the request.
    Channel(ChannelFault),
}

/// The reason for which a request's head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// The head is not HTTP, or not valid HTTP.
    Malformed,
    /// The header with this name occurs more than once, where only one is allowed.
    Repeated(&'static str),
    /// The header with this name is not allowed on this request.
    Forbidden(&'static str),
    /// The value of the header with this name breaks the header's syntax, or is not one that the gate
    /// supports.
    Unreadable(&'static str),
    /// A request with a body has no Content-Type.
    NoContentType,
    /// The request has a query string, which its route does not allow.
    Query,
    /// The query string of a list has a malformed pair, or a bad `limit`, `order` or `after`.
    BadQuery,
    /// The request has a body, which its route does not allow.
    Body,
    /// The request has no body, and its route needs one.
    NoBody,
    /// The head has more bytes or more header fields than allowed.
    TooLarge,
}

/// The kind of resource that a request names and that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// The path belongs to no route of the gate.
    Route,
    /// The job is unknown, or belongs to another key.
    Job,
    /// The model is unknown, or not available to this key.
    Model,
}

/// The reason for which the gate cannot accept a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// `bounds.concurrent_uploads` uploads of this size class are under way already.
    Uploads,
    /// The ledger does not answer, or answers with an error: nothing can be charged.
    Ledger,
    /// The gate stood still after the reservation for so long that the request may not be completed any
    /// more: `jobs.unknown_grace` has passed, or the reservation is not pending any more.
    Stalled,
    /// The channel of the request cannot be reached, or no channel accepts the create and at least one fails.
    Channels,
    /// At least one channel is at a limit, and none fails. Another attempt may succeed after `wait` seconds.
    ChannelLimits {
        /// The time to wait, in seconds: at least one.
        wait: u64,
    },
    /// No channel that the key may use serves the model.
    NoChannel,
    /// Each channel that could take the create is drained, switched off or not allowed for this key.
    ChannelsClosed,
    /// The channel that made the video is switched off.
    ChannelOff,
    /// The channel that made the video, or its address, is in no configuration that this process has had.
    ChannelGone,
}

/// The fault of a channel because of which a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelFault {
    /// The channel broke off the request or its answer, or sent an answer that cannot be used.
    Broken {
        /// Whether the channel may have created a job in spite of the fault.
        created: bool,
    },
    /// The channel's answer, or the rest of the answer, did not arrive within the channel's timeouts.
    Timeout {
        /// Whether the channel may have created a job in spite of the fault.
        created: bool,
    },
    /// The channel answered a create with a job after the create's reservation had been voided, and the job
    /// would now exceed a limit: nobody is charged for the job, and nobody can reach it.
    TooLate,
    /// The channel does not accept the gate's credential, or the gate's account there has no credit left.
    Account,
    /// The channel did not accept an upload, for a reason that does not lie in the request. Another channel
    /// may accept it.
    Declined,
    /// The channel answered with a redirect that the gate does not follow.
    Redirect,
    /// The target of the channel's redirect did not return the video.
    Content,
    /// The channel has not deleted the video: it does not support deletion.
    NotDeleted,
    /// The model came after the file in the body, and the channel, chosen before the model was known, does
    /// not serve this model.
    ModelTooLate,
    /// The seconds came after the file in the body, and the channel, chosen before they were known, accepts
    /// seconds only in another JSON type.
    SecondsTooLate,
}

impl Refusal {
    /// Makes the refusal of a request of `key` that exceeds a limit. `is_priced` is set if the cost of
    /// the request is known.
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
    /// Maps the upstream error of a request that creates nothing.
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

/// The reason for which a handler returns no response.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The gate refuses the request.
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
        // Only at debug level: the ledger logs it once where it was noticed, and it is the same for every
        // request.
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
            Self::Ledger => {
                "The records of this service cannot be used at the moment. Try again in a moment."
            }
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

//! Faults on demand: their names, and the faults set for the whole process.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

/// A fault and the requests that it applies to, written `poll:slow=50`; see the table of [`mock`](super).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The requests that the fault applies to when it is set for the whole process.
    pub scope: Scope,
    /// The kind of the fault: what goes wrong.
    pub kind: Kind,
}

/// The requests that a fault applies to when it is set for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Creates and remixes.
    Create,
    /// Retrievals of one job.
    Poll,
    /// Requests for the list of jobs.
    List,
    /// Downloads.
    Content,
    /// Deletions.
    Delete,
    /// All requests, those of unknown routes too, but not those of control routes.
    Any,
}

/// The kind of a fault: what goes wrong. See the table of [`mock`](super).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The job ends `failed`.
    Fail,
    /// The job ends `failed` with the code `moderation_blocked`.
    Moderated,
    /// The job ends `cancelled`.
    Cancelled,
    /// An answer with this error status, 400 to 599, after the request's body was read.
    Status(StatusCode),
    /// An answer of 429 with this many seconds in `Retry-After`; for `None`, without the header.
    RateLimited(Option<u64>),
    /// An answer of 429 with the code `insufficient_quota`.
    Quota,
    /// No answer is ever sent. The connection stays open.
    Hang,
    /// A wait of this length before the answer.
    Slow(Duration),
    /// The body of the answer comes in tiny pieces.
    Trickle,
    /// An answer with this error status, 400 to 599, before the request's body is read.
    Early(StatusCode),
    /// The connection is closed after the head of the request.
    DropBefore,
    /// The connection is closed in the middle of the request's body.
    DropBody,
    /// The connection is closed after the whole body, instead of an answer. The job is created.
    DropAfter,
    /// The connection is closed in the middle of the answer.
    DropAnswer,
    /// The answer's job has no id.
    NoId,
    /// The job has this length in seconds; for `None`, the first in the catalog other than the requested one.
    OtherSeconds(Option<String>),
    /// The job has this size; for `None`, the first in the catalog other than the requested one.
    OtherSize(Option<String>),
    /// An answer of 200 with an HTML page.
    Garbage,
    /// An answer with this many bytes of padding before the job's own fields.
    Huge(u64),
    /// The video of the job, or of this download, has this many bytes.
    Big(u64),
}

const HUGE: u64 = 16 * 1024 * 1024;

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let text = text.trim();
        let (scope, kind) = match text.split_once(':') {
            Some((scope, kind)) => (Some(scope.parse()?), kind.parse()?),
            None => (None, text.parse()?),
        };
        let default = match kind {
            Kind::Big(_) => Scope::Content,
            _ => Scope::Create,
        };
        Ok(Fault {
            scope: scope.unwrap_or(default),
            kind,
        })
    }
}

impl Fault {
    /// Parses faults that are separated by commas. An empty text gives an empty list.
    ///
    /// # Errors
    ///
    /// If a fault is unknown or has an invalid value: the error about the first such fault.
    pub fn parse_list(text: &str) -> Result<Vec<Fault>, FaultError> {
        text.split(',')
            .map(str::trim)
            .filter(|fault| !fault.is_empty())
            .map(str::parse)
            .collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, self.kind)
    }
}

impl FromStr for Scope {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Scope, FaultError> {
        Ok(match text {
            "create" => Scope::Create,
            "poll" => Scope::Poll,
            "list" => Scope::List,
            "content" => Scope::Content,
            "delete" => Scope::Delete,
            "any" => Scope::Any,
            _ => return Err(FaultError::Scope(text.into())),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Create => "create",
            Scope::Poll => "poll",
            Scope::List => "list",
            Scope::Content => "content",
            Scope::Delete => "delete",
            Scope::Any => "any",
        })
    }
}

impl FromStr for Kind {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Kind, FaultError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let bad = || FaultError::Value(text.into());
        let number = |value: Option<&str>| value.and_then(|value| value.parse().ok());
        let status = |value: Option<&str>| {
            value
                .and_then(|value| value.parse::<StatusCode>().ok())
                .filter(|status| status.is_client_error() || status.is_server_error())
        };
        let kind = match name {
            "slow" => Kind::Slow(Duration::from_millis(number(value).ok_or_else(bad)?)),
            "early" => Kind::Early(status(value).ok_or_else(bad)?),
            "big" => Kind::Big(number(value).ok_or_else(bad)?),
            "huge" if value.is_some() => Kind::Huge(number(value).ok_or_else(bad)?),
            "huge" => Kind::Huge(HUGE),
            "other-seconds" => Kind::OtherSeconds(value.map(String::from)),
            "other-size" => Kind::OtherSize(value.map(String::from)),
            "429" if value == Some("none") => Kind::RateLimited(None),
            "429" if value.is_some() => Kind::RateLimited(Some(number(value).ok_or_else(bad)?)),
            _ if value.is_some() => return Err(FaultError::Kind(text.into())),
            "fail" => Kind::Fail,
            "moderated" => Kind::Moderated,
            "cancelled" => Kind::Cancelled,
            "quota" => Kind::Quota,
            "hang" => Kind::Hang,
            "trickle" => Kind::Trickle,
            "drop-before" => Kind::DropBefore,
            "drop-body" => Kind::DropBody,
            "drop-after" => Kind::DropAfter,
            "drop-answer" => Kind::DropAnswer,
            "no-id" => Kind::NoId,
            "garbage" => Kind::Garbage,
            _ => match status(Some(name)) {
                Some(status) => Kind::Status(status),
                None => return Err(FaultError::Kind(text.into())),
            },
        };
        Ok(kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = |f: &mut fmt::Formatter<'_>, name, value: &Option<String>| match value {
            Some(value) => write!(f, "{name}={value}"),
            None => f.write_str(name),
        };
        match self {
            Kind::Fail => f.write_str("fail"),
            Kind::Moderated => f.write_str("moderated"),
            Kind::Cancelled => f.write_str("cancelled"),
            Kind::Status(status) => write!(f, "{}", status.as_u16()),
            Kind::RateLimited(Some(wait)) => write!(f, "429={wait}"),
            Kind::RateLimited(None) => f.write_str("429=none"),
            Kind::Quota => f.write_str("quota"),
            Kind::Hang => f.write_str("hang"),
            Kind::Slow(wait) => write!(f, "slow={}", wait.as_millis()),
            Kind::Trickle => f.write_str("trickle"),
            Kind::Early(status) => write!(f, "early={}", status.as_u16()),
            Kind::DropBefore => f.write_str("drop-before"),
            Kind::DropBody => f.write_str("drop-body"),
            Kind::DropAfter => f.write_str("drop-after"),
            Kind::DropAnswer => f.write_str("drop-answer"),
            Kind::NoId => f.write_str("no-id"),
            Kind::OtherSeconds(seconds) => optional(f, "other-seconds", seconds),
            Kind::OtherSize(size) => optional(f, "other-size", size),
            Kind::Garbage => f.write_str("garbage"),
            Kind::Huge(bytes) => write!(f, "huge={bytes}"),
            Kind::Big(bytes) => write!(f, "big={bytes}"),
        }
    }
}

impl Kind {
    /// Returns the fault of the first directive in `prompt`, such as `[mock:fail]`, that names a fault.
    /// Directives that name none are ignored, because a prompt may contain any text.
    pub(super) fn in_prompt(prompt: &str) -> Option<Kind> {
        prompt
            .split("[mock:")
            .skip(1)
            .filter_map(|rest| rest.split_once(']'))
            .find_map(|(directive, _)| directive.parse().ok())
    }
}

/// The reason why a text cannot be parsed as a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The scope is unknown.
    #[error("no requests are called '{0}': say create, poll, list, content, delete or any")]
    Scope(String),
    /// The fault is unknown, or has a value but must not have one.
    #[error(
        "no fault is called '{0}': say fail, moderated, cancelled, a status from 400 to 599, \
         429=SECONDS, 429=none, quota, hang, slow=MS, trickle, early=STATUS, drop-before, drop-body, drop-after, drop-answer, no-id, \
         other-seconds[=N], other-size[=WxH], garbage, huge[=BYTES] or big=BYTES"
    )]
    Kind(String),
    /// The value is missing, or is not a number that is valid for the fault.
    #[error("'{0}' needs a number: slow=MS, early=STATUS (400 to 599), huge=BYTES, big=BYTES")]
    Value(String),
}

/// The faults that are set for the whole process.
#[derive(Debug)]
pub(super) struct Faults(Mutex<Vec<Armed>>);

/// The extent of a fault: how often, for how long and on how many of its requests it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// The number of times that the fault acts; `None` for no limit.
    pub times: Option<u32>,
    /// The time for which the fault acts, from the moment it is set; `None` for no limit.
    pub lasts: Option<Duration>,
    /// The percentage of the requests that the fault acts on, evenly spread; `None` for all. More than 100
    /// counts as 100.
    pub percent: Option<u8>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    /// The number of times that the fault still acts; `None` for no limit.
    left: Option<u32>,
    /// The time at which the fault ends; `None` for never.
    until: Option<Instant>,
    percent: u64,
    /// The number of requests that were counted by [`Armed::acts`].
    seen: u64,
}

impl Armed {
    /// Counts a request in the fault's scope, and returns whether the fault acts on it. The fault acts on
    /// `percent` of every 100 requests, evenly spread.
    fn acts(&mut self) -> bool {
        let acted = |seen: u64| seen * self.percent / 100;
        let acts = acted(self.seen + 1) > acted(self.seen);
        self.seen += 1;
        acts
    }
}

impl Faults {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        let armed = Faults(Mutex::default());
        armed.set(faults, Extent::default());
        armed
    }

    pub(super) fn set(&self, faults: Vec<Fault>, extent: Extent) {
        let armed = faults.into_iter().map(|fault| Armed {
            fault,
            left: extent.times,
            until: extent.lasts.map(|lasts| Instant::now() + lasts),
            percent: extent.percent.unwrap_or(100).min(100).into(),
            seen: 0,
        });
        *self.lock() = armed.filter(|armed| armed.left != Some(0)).collect();
    }

    /// Returns the first fault that acts on a request of this scope, and counts that it acted once.
    pub(super) fn take(&self, scope: Scope) -> Option<Kind> {
        let mut armed = self.lock();
        let now = Instant::now();
        armed.retain(|armed| armed.until.is_none_or(|until| now < until));
        let applies = |fault: &Fault| fault.scope == scope || fault.scope == Scope::Any;
        let mut all = armed.iter_mut();
        let index = all.position(|armed| applies(&armed.fault) && armed.acts())?;
        let kind = armed[index].fault.kind.clone();
        match &mut armed[index].left {
            Some(1) => drop(armed.remove(index)),
            Some(left) => *left -= 1,
            None => (),
        }
        Some(kind)
    }

    /// Returns the texts of the faults that are set, such as `poll:slow=50`.
    pub(super) fn names(&self) -> Vec<String> {
        self.lock()
            .iter()
            .map(|armed| armed.fault.to_string())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

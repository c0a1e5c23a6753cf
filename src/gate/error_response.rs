//! Maps refusals to HTTP responses, in the shape of the API's errors.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::refusal::{Busy, ChannelFault, HeadFault, NotFound, Refusal};
use crate::inspect;
use crate::policy::{self, Exceeded, Measure, RateLimit};

/// An HTTP response in the shape of the API's errors.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    param: Option<String>,
    message: String,
    /// The headers that this error adds to those of all responses, such as `Retry-After`.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl ErrorResponse {
    /// Makes the body: OpenAI's error envelope.
    pub(super) fn body(&self) -> Bytes {
        let error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        });
        json!({ "error": error }).to_string().into()
    }
}

const INVALID: &str = "invalid_request_error";
const NO_RETRY: (&str, &str) = ("x-should-retry", "false");

impl ErrorResponse {
    /// Maps a refusal to its HTTP status, error code and headers. This is **the** one place that does so.
    pub(super) fn of(refusal: &Refusal) -> Self {
        use StatusCode as S;
        let (status, kind, code) = match refusal {
            Refusal::Head(fault) => match fault {
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
            Refusal::Key(_) => (S::UNAUTHORIZED, INVALID, "invalid_api_key"),
            Refusal::NotFound(NotFound::Model) => (S::NOT_FOUND, INVALID, "model_not_found"),
            Refusal::NotFound(_) => (S::NOT_FOUND, INVALID, "not_found"),
            Refusal::Method { .. } => (S::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed"),
            Refusal::Body(refusal) => body_error(refusal),
            Refusal::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, INVALID, "request_too_large"),
            Refusal::Slow => (S::REQUEST_TIMEOUT, INVALID, "request_timeout"),
            Refusal::Limit(exceeded) if exceeded.limit.measure.is_budget() => (
                S::TOO_MANY_REQUESTS,
                "insufficient_quota",
                "insufficient_quota",
            ),
            Refusal::Limit(_) | Refusal::UploadsOfKey { .. } => {
                (S::TOO_MANY_REQUESTS, "requests", "rate_limit_exceeded")
            }
            Refusal::IdempotencyInFlight => (S::CONFLICT, INVALID, "idempotency_conflict"),
            Refusal::IdempotencyKeyReused => {
                (S::UNPROCESSABLE_ENTITY, INVALID, "idempotency_key_reused")
            }
            Refusal::Busy(Busy::ChannelLimits { .. }) => {
                (S::TOO_MANY_REQUESTS, "requests", "rate_limit_exceeded")
            }
            Refusal::Busy(_) => (S::SERVICE_UNAVAILABLE, "server_error", "unavailable"),
            Refusal::Channel(ChannelFault::Timeout { .. }) => {
                (S::GATEWAY_TIMEOUT, "server_error", "upstream_timeout")
            }
            Refusal::Channel(ChannelFault::ModelTooLate) => {
                (S::BAD_REQUEST, INVALID, "model_after_file")
            }
            Refusal::Channel(ChannelFault::SecondsTooLate) => {
                (S::BAD_REQUEST, INVALID, "seconds_after_file")
            }
            Refusal::Channel(ChannelFault::NotDeleted) => {
                (S::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed")
            }
            Refusal::Channel(_) => (S::BAD_GATEWAY, "server_error", "upstream_error"),
        };
        Self {
            status,
            kind,
            code,
            param: param(refusal).map(str::to_owned),
            message: refusal.to_string(),
            headers: headers(refusal),
        }
    }
}

fn param(refusal: &Refusal) -> Option<&str> {
    match refusal {
        Refusal::Body(refusal) => refusal.param(),
        Refusal::Channel(ChannelFault::ModelTooLate) | Refusal::NotFound(NotFound::Model) => {
            Some("model")
        }
        Refusal::Channel(ChannelFault::SecondsTooLate) => Some("seconds"),
        _ => None,
    }
}

fn headers(refusal: &Refusal) -> Vec<(&'static str, String)> {
    let no_retry = || (NO_RETRY.0, NO_RETRY.1.to_owned());
    match refusal {
        Refusal::Method { allowed } => vec![("allow", (*allowed).to_owned())],
        Refusal::Key(_) => vec![("www-authenticate", "Bearer".to_owned())],
        // An immediate retry of an upload that came too slowly would fail again.
        Refusal::Slow => vec![no_retry()],
        Refusal::Limit(exceeded) => limit_headers(exceeded),
        Refusal::IdempotencyInFlight | Refusal::UploadsOfKey { .. } => {
            vec![("retry-after", "1".to_owned())]
        }
        Refusal::Busy(Busy::NoChannel | Busy::ChannelGone) => vec![no_retry()],
        Refusal::Busy(Busy::ChannelLimits { wait }) => vec![("retry-after", wait.to_string())],
        // Only an operator reopens the channel: a retry after a second would come too early.
        Refusal::Busy(Busy::ChannelsClosed | Busy::ChannelOff) => {
            vec![("retry-after", "30".to_owned())]
        }
        Refusal::Busy(_) => vec![("retry-after", "1".to_owned())],
        Refusal::Channel(fault) => match fault {
            ChannelFault::Broken { created: true } | ChannelFault::Timeout { created: true } => {
                vec![no_retry()]
            }
            ChannelFault::NotDeleted => vec![("allow", "GET, HEAD".to_owned())],
            ChannelFault::TooLate | ChannelFault::Account | ChannelFault::Redirect => {
                vec![no_retry()]
            }
            _ => vec![],
        },
        _ => vec![],
    }
}

fn body_error(refusal: &inspect::Refusal) -> (StatusCode, &'static str, &'static str) {
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

/// Makes the headers that tell SDKs when to retry, or not to retry, after a limit was exceeded.
fn limit_headers(exceeded: &Exceeded) -> Vec<(&'static str, String)> {
    let limit = exceeded.limit;
    let mut headers = vec![match (limit.measure, exceeded.wait()) {
        (Measure::InFlight, _) => ("retry-after", "5".to_owned()),
        (measure, Some(wait)) if !measure.is_budget() => ("retry-after", wait.to_string()),
        _ => (NO_RETRY.0, NO_RETRY.1.to_owned()),
    }];
    let mut values = RateLimitValues::default();
    values.add(&RateLimit::new(limit, Some(exceeded.used), exceeded.at));
    headers.extend(values.pairs());
    headers
}

/// The names of the rate limit headers. Each measure has three: the maximum, the remaining amount, and the time
/// until the whole maximum is available again. The names are OpenAI's for requests, and similar ones for other
/// measures. Budgets have no headers: `/v1/usage` shows them.
static RATE_LIMITS: [HeaderName; 9] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-limit-video-seconds"),
    HeaderName::from_static("x-ratelimit-remaining-video-seconds"),
    HeaderName::from_static("x-ratelimit-reset-video-seconds"),
    HeaderName::from_static("x-ratelimit-limit-in-flight"),
    HeaderName::from_static("x-ratelimit-remaining-in-flight"),
    HeaderName::from_static("x-ratelimit-reset-in-flight"),
];

/// The values of the rate limit headers of a response.
#[derive(Default)]
pub(super) struct RateLimitValues {
    /// The text of all values, one after the other. The headers of a response share its memory.
    text: String,
    /// The byte range in `text` of the value of each of [`RATE_LIMITS`]; empty where the response lacks the
    /// header.
    values: [Range<usize>; RATE_LIMITS.len()],
}

/// The initial capacity for the values of a response, in bytes: enough for most responses.
const VALUE_BYTES: usize = 72;

impl RateLimitValues {
    /// Adds the header values of a limit.
    pub(super) fn add(&mut self, told: &RateLimit) {
        let first = match told.limit.measure {
            Measure::Requests => 0,
            Measure::VideoSeconds => 3,
            Measure::InFlight => 6,
            Measure::ListCost | Measure::BilledCost | Measure::Cost => return,
        };
        if self.text.is_empty() {
            self.text.reserve(VALUE_BYTES);
        }
        let numbers = [
            (Some(told.limit.max), ""),
            (told.remaining, ""),
            (told.resets_in, "s"),
        ];
        for (value, (number, unit)) in self.values[first..].iter_mut().zip(numbers) {
            let begin = self.text.len();
            if let Some(number) = number {
                self.text.push_str(itoa::Buffer::new().format(number));
                self.text.push_str(unit);
            }
            *value = begin..self.text.len();
        }
    }

    /// Returns the names and values of the headers.
    fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let pairs = RATE_LIMITS.iter().zip(&self.values);
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        pairs.map(|(name, value)| (name.as_str(), self.text[value.clone()].to_owned()))
    }

    /// Returns the headers in a map, which has room for the other headers of a response to a create.
    pub(super) fn into_map(self) -> HeaderMap {
        let has = |bits: usize, value: &Range<_>| bits << 1 | usize::from(!value.is_empty());
        let template = &TEMPLATES[self.values.iter().fold(0, has)];
        let template = template.get_or_init(|| self.template());
        let mut map = template.map.clone();
        let text = Bytes::from(self.text);
        for (to, place) in map.values_mut().zip(&template.places) {
            let value = text.slice(self.values[*place].clone());
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                *to = value;
            }
        }
        map
    }

    /// Makes the template of a map with these headers.
    fn template(&self) -> Template {
        let mut map = HeaderMap::with_capacity(MAX_HEADERS);
        let named = RATE_LIMITS.iter().zip(&self.values);
        for (name, _) in named.filter(|(_, value)| !value.is_empty()) {
            map.insert(name, HeaderValue::from_static(""));
        }
        let place = |name: &HeaderName| RATE_LIMITS.iter().position(|other| other == name);
        let places = map.keys().filter_map(place).collect();
        Template { map, places }
    }
}

/// The maximum number of headers of a response to a create, apart from those of CORS.
const MAX_HEADERS: usize = 18;

/// A map of rate limit headers without their values. To copy it takes half as long as to make such a map, for
/// which the long names have to be hashed.
struct Template {
    map: HeaderMap,
    /// The place in [`RATE_LIMITS`] of each header of `map`, in the order of `map`.
    places: Vec<usize>,
}

/// The templates. The index has one bit for each of [`RATE_LIMITS`], set if the response has that header.
static TEMPLATES: [OnceLock<Template>; 1 << RATE_LIMITS.len()] =
    [const { OnceLock::new() }; 1 << RATE_LIMITS.len()];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Limit, Timestamp};

    /// Limits without what is left of them and without an end, in any order, and responses of one template.
    #[test]
    fn each_rate_limit_header_has_its_own_value() {
        let told = |measure, limit: &str, used| {
            let limit = Limit::parse(measure, limit).unwrap();
            RateLimit::new(limit, used, Timestamp(1_700_000_010_000))
        };
        for (used, remaining) in [(Some(3), Some("7")), (Some(5), Some("5")), (None, None)] {
            let mut values = RateLimitValues::default();
            values.add(&told(Measure::InFlight, "4", None));
            values.add(&told(Measure::ListCost, "9/day", Some(1)));
            values.add(&told(Measure::Requests, "10/min", used));
            let expected = [
                Some(("x-ratelimit-limit-requests", "10")),
                remaining.map(|remaining| ("x-ratelimit-remaining-requests", remaining)),
                Some(("x-ratelimit-reset-requests", "30s")),
                Some(("x-ratelimit-limit-in-flight", "4")),
            ];
            let expected: Vec<_> = expected.into_iter().flatten().collect();
            let pairs: Vec<_> = values.pairs().collect();
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            assert_eq!(pairs, expected);
            let map = values.into_map();
            assert_eq!(map.len(), expected.len(), "{map:?}");
            for (name, value) in expected {
                assert_eq!(map[name], value);
            }
        }
        assert!(RateLimitValues::default().into_map().is_empty());
    }
}

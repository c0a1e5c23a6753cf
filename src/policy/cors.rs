//! Decides which web pages may use the gate from a browser: CORS, as the Fetch standard defines it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The web pages that may use the gate from a browser, and the headers that their requests may have.
///
/// The gate accepts no cookies, so `access-control-allow-credentials` is absent on purpose: a page must
/// itself know the key that it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The origins of the pages, such as `https://app.example.com`; `None` for any.
    pub origins: Option<BTreeSet<Arc<str>>>,
    /// Headers that requests may have besides those that the SDKs send, in lower case.
    pub headers: Vec<Arc<str>>,
    /// The time for which a browser remembers the answer to a preflight request.
    pub max_age: Duration,
}

const METHODS: &str = "GET, HEAD, POST, DELETE";
/// The headers that the SDKs and other clients of the API send. `*` would not include `authorization`.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, if-match, if-modified-since, \
    if-none-match, if-range, if-unmodified-since, openai-beta, openai-organization, openai-project, range, \
    traceparent, tracestate, user-agent, x-client-request-id, x-request-id, x-stainless-arch, \
    x-stainless-async, x-stainless-custom-poll-interval, x-stainless-helper-method, x-stainless-lang, \
    x-stainless-os, x-stainless-package-version, x-stainless-poll-helper, x-stainless-read-timeout, \
    x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout";
/// The headers of an answer that the script of a page may read.
const RESPONSE_HEADERS: &str = "accept-ranges, allow, content-disposition, content-range, etag, \
    idempotent-replayed, openai-poll-after-ms, openai-processing-ms, openai-version, retry-after, \
    retry-after-ms, x-ratelimit-limit-in-flight, x-ratelimit-limit-requests, \
    x-ratelimit-limit-video-seconds, x-ratelimit-remaining-in-flight, x-ratelimit-remaining-requests, \
    x-ratelimit-remaining-video-seconds, x-ratelimit-reset-requests, x-ratelimit-reset-video-seconds, \
    x-request-id, x-should-retry";

/// A header of an answer, by name and value.
type Header = (&'static str, String);

impl Cors {
    /// Returns the CORS headers of an answer. `origin` is the request's `Origin`; `None` if it has none.
    pub fn headers(&self, origin: Option<&str>) -> Vec<Header> {
        let mut headers = Vec::with_capacity(3);
        let Some(origins) = &self.origins else {
            // The headers are the same for each origin: a cache may keep the answer for all of them.
            headers.push(("access-control-allow-origin", "*".to_owned()));
            headers.push(("access-control-expose-headers", RESPONSE_HEADERS.to_owned()));
            return headers;
        };
        headers.push(("vary", "Origin".to_owned()));
        if let Some(origin) = origin.filter(|origin| origins.contains(*origin)) {
            headers.push(("access-control-allow-origin", origin.to_owned()));
            headers.push(("access-control-expose-headers", RESPONSE_HEADERS.to_owned()));
        }
        headers
    }

    /// Returns the headers of the answer to a preflight request besides those of every answer.
    pub fn preflight_headers(&self) -> Vec<Header> {
        let own = self.headers.iter().map(|name| format!(", {name}"));
        let headers = own.fold(REQUEST_HEADERS.to_owned(), |all, name| all + &name);
        vec![
            ("access-control-allow-methods", METHODS.to_owned()),
            ("access-control-allow-headers", headers),
            ("access-control-max-age", self.max_age.as_secs().to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: Option<&[&str]>) -> Cors {
        Cors {
            origins: origins
                .map(|origins| origins.iter().map(|origin| Arc::from(*origin)).collect()),
            headers: vec!["x-tenant".into()],
            max_age: Duration::from_secs(600),
        }
    }

    #[test]
    fn an_origin_is_allowed_by_its_very_name() {
        let cors = cors(Some(&["https://a.test", "http://b.test:8000"]));
        for (origin, allowed) in [
            (Some("https://a.test"), Some("https://a.test")),
            (Some("http://b.test:8000"), Some("http://b.test:8000")),
            (Some("http://b.test"), None),
            (Some("http://a.test"), None),
            (Some("https://a.test.evil.test"), None),
            (Some("https://x.a.test"), None),
            (Some("HTTPS://A.TEST"), None),
            (Some("null"), None),
            (Some(""), None),
            (None, None),
        ] {
            let headers = cors.headers(origin);
            let found = |wanted| headers.iter().find(|(name, _)| *name == wanted);
            let got = found("access-control-allow-origin").map(|(_, value)| &**value);
            assert_eq!(got, allowed, "{origin:?}");
            let is_exposed = found("access-control-expose-headers").is_some();
            assert_eq!(is_exposed, allowed.is_some(), "{origin:?}");
            // A cache must not give one page the answer of another.
            assert_eq!(found("vary").map(|(_, value)| &**value), Some("Origin"));
            assert!(found("access-control-allow-credentials").is_none());
        }
    }

    #[test]
    fn any_origin_is_any_without_its_name() {
        for origin in [Some("https://a.test"), Some("null"), None] {
            let headers = cors(None).headers(origin);
            assert_eq!(headers[0], ("access-control-allow-origin", "*".to_owned()));
            assert!(headers.iter().all(|(name, _)| *name != "vary"));
        }
    }

    #[test]
    fn a_preflight_allows_further_headers() {
        let headers = cors(None).preflight_headers();
        let value = |name| &headers.iter().find(|(found, _)| *found == name).unwrap().1;
        assert!(value("access-control-allow-headers").ends_with("x-stainless-timeout, x-tenant"));
        assert_eq!(value("access-control-max-age"), "600");
        assert!(!value("access-control-allow-headers").contains("  "));
    }
}

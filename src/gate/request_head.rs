//! Checks the head of a request, before any of its body is read.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;

use super::refusal::{HeadFault, Refusal};
use crate::config::Bounds;
use crate::inspect::Syntax;
use crate::key::KeyDigest;
use crate::policy::KeyFault;
use crate::upstream::Framing;

// The header names that are looked up in every head, as statics so that no name is parsed each time.
static AUTHORIZATION: HeaderName = header::AUTHORIZATION;
static CONTENT_LENGTH: HeaderName = header::CONTENT_LENGTH;
static CONTENT_TYPE: HeaderName = header::CONTENT_TYPE;
static EXPECT: HeaderName = header::EXPECT;
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static TRANSFER_ENCODING: HeaderName = header::TRANSFER_ENCODING;

/// The headers that a create must not have.
static FORBIDDEN: [HeaderName; 2] = [
    header::CONTENT_ENCODING,
    HeaderName::from_static("x-http-method-override"),
];

/// Returns the value of the header `name`, which may occur at most once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::Head(HeadFault::Repeated(name.as_str())));
    }
    Ok(first)
}

/// Returns the digest of the client key that the request presents as a Bearer token.
pub(super) fn presented_key(headers: &HeaderMap) -> Result<KeyDigest, Refusal> {
    let value = single(headers, &AUTHORIZATION)?;
    let value = value.ok_or(KeyFault::Missing)?;
    let (scheme, key) = value.as_bytes().split_at(value.len().min(7));
    // At least one space separates scheme and key (RFC 9110, section 11.4).
    let spaces = key.iter().take_while(|b| **b == b' ').count();
    let key = key.get(spaces..).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer ") || key.is_empty() {
        return Err(KeyFault::Missing.into());
    }
    Ok(KeyDigest::of(key))
}

/// The maximum length of a request's target, in bytes, even if the configuration allows longer heads. The
/// crate `http` limits a URI to 64 KiB, and the URI of the request to the channel has the channel's own path
/// before the client's.
const TARGET_BYTES: usize = 32 << 10;

/// Checks the size of a head against the bounds that hold for every request.
pub(super) fn check_size(request: &RequestHeader, bounds: &Bounds) -> Result<(), Refusal> {
    let headers = &request.headers;
    let fields = headers.iter();
    let bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let target = request.raw_path().len();
    let fits = target <= TARGET_BYTES && bytes + target <= bounds.head_bytes;
    if headers.len() > bounds.headers || !fits {
        return Err(Refusal::Head(HeadFault::TooLarge));
    }
    Ok(())
}

/// Reads the framing of the request; `None` if the head shows that there is no body.
fn framing(request: &RequestHeader) -> Result<Option<Framing>, Refusal> {
    let headers = &request.headers;
    let length = single(headers, &CONTENT_LENGTH)?;
    let coding = single(headers, &TRANSFER_ENCODING)?;
    if let Some(coding) = coding {
        if length.is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Head(HeadFault::Unreadable("transfer-encoding")));
        }
        return Ok(Some(Framing::Open));
    }
    match length {
        None if request.version == http::Version::HTTP_2 => Ok(Some(Framing::Open)),
        None => Ok(None),
        Some(length) => {
            let text = length.to_str().ok();
            let digits = text.filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
            let length = digits.and_then(|t| t.parse().ok());
            match length {
                Some(0) => Ok(None),
                Some(length) => Ok(Some(Framing::Length(length))),
                None => Err(Refusal::Head(HeadFault::Unreadable("content-length"))),
            }
        }
    }
}

/// The facts that the head states about a body that will be inspected.
#[derive(Debug)]
pub(super) struct BodyHead {
    pub(super) syntax: Syntax,
    pub(super) framing: Framing,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects_continue: bool,
}

/// Checks the head of a create or remix, and returns what it states about the body.
pub(super) fn body_head(request: &RequestHeader, bounds: &Bounds) -> Result<BodyHead, Refusal> {
    let headers = &request.headers;
    // Some frameworks merge the query string into the form.
    if request.uri.query().is_some() {
        return Err(Refusal::Head(HeadFault::Query));
    }
    if let Some(name) = FORBIDDEN.iter().find(|name| headers.contains_key(*name)) {
        return Err(Refusal::Head(HeadFault::Forbidden(name.as_str())));
    }
    let framing = framing(request)?.ok_or(Refusal::Head(HeadFault::NoBody))?;
    let content_type = single(headers, &CONTENT_TYPE)?;
    let content_type = content_type.ok_or(Refusal::Head(HeadFault::NoContentType))?;
    let content_type = content_type
        .to_str()
        .map_err(|_| Refusal::Head(HeadFault::Unreadable("content-type")))?;
    let syntax = Syntax::from_content_type(content_type)?;
    let max_body_bytes = bounds.body_bytes;
    if matches!(framing, Framing::Length(length) if length > max_body_bytes) {
        return Err(Refusal::TooLarge {
            max: max_body_bytes,
        });
    }
    Ok(BodyHead {
        syntax,
        framing,
        expects_continue: expects_continue(headers)?,
    })
}

/// Returns whether the client waits for `100 Continue` before it sends its body.
fn expects_continue(headers: &HeaderMap) -> Result<bool, Refusal> {
    match single(headers, &EXPECT)? {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(Refusal::Head(HeadFault::Unreadable("expect"))),
    }
}

/// Checks the head of a request that must have no body or an empty one. Returns whether the client waits
/// for `100 Continue` before it sends the end of an empty body. An empty body is allowed because HTTP/2
/// marks an absent body by END_STREAM only, which is no header, and some proxies frame an absent body in
/// chunks.
pub(super) fn no_body(request: &RequestHeader) -> Result<bool, Refusal> {
    match framing(request)? {
        None => Ok(false),
        Some(Framing::Open) => expects_continue(&request.headers),
        Some(Framing::Length(_)) => Err(Refusal::Head(HeadFault::Body)),
    }
}

/// The maximum length of the value of `Idempotency-Key`, in characters.
const IDEMPOTENCY_KEY_CHARS: usize = 255;

/// Reads the header `Idempotency-Key`, 1 to 255 visible ASCII characters; `None` without the header.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Refusal> {
    let Some(value) = single(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    if !visible || !(1..=IDEMPOTENCY_KEY_CHARS).contains(&text.len()) {
        return Err(Refusal::Head(HeadFault::Unreadable("idempotency-key")));
    }
    Ok(Some(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::error_response::ErrorResponse;

    fn request(version: http::Version, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("POST", b"/v1/videos", None).unwrap();
        request.set_version(version);
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn h1(headers: &[(&'static str, &str)]) -> RequestHeader {
        request(http::Version::HTTP_11, headers)
    }

    fn code(refusal: &Refusal) -> (u16, &'static str) {
        let answer = ErrorResponse::of(refusal);
        (answer.status.as_u16(), answer.code)
    }

    #[test]
    fn one_bearer_key() {
        let key = |headers: &[(&'static str, &str)]| presented_key(&h1(headers).headers);
        let digest = KeyDigest::of(b"sk-1");
        assert_eq!(key(&[("authorization", "Bearer sk-1")]).unwrap(), digest);
        assert_eq!(key(&[("authorization", "bearer sk-1")]).unwrap(), digest);
        assert_eq!(key(&[("authorization", "Bearer   sk-1")]).unwrap(), digest);
        for headers in [
            &[][..],
            &[("authorization", "Basic c2s=")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer   ")],
            &[("authorization", "Bearer\tsk-1")],
            &[("authorization", "sk-1")],
            &[("api-key", "sk-1")],
        ] {
            assert_eq!(code(&key(headers).unwrap_err()), (401, "invalid_api_key"));
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(code(&key(&twice).unwrap_err()), (400, "invalid_header"));
    }

    #[test]
    fn heads_of_creates() {
        let bounds = Bounds::default();
        let json = ("content-type", "application/json");
        let judge = |headers: &[(&'static str, &str)]| {
            body_head(&h1(headers), &bounds).map(|head| (head.framing, head.expects_continue))
        };
        let length = Framing::Length(5);
        assert_eq!(
            judge(&[json, ("content-length", "5")]).unwrap(),
            (length, false)
        );
        let chunked = ("transfer-encoding", "chunked");
        let expects = ("expect", "100-continue");
        assert_eq!(
            judge(&[json, chunked, expects]).unwrap(),
            (Framing::Open, true)
        );

        let refused = |headers: &[(&'static str, &str)]| code(&judge(headers).unwrap_err());
        let five = ("content-length", "5");
        assert_eq!(refused(&[json]), (400, "invalid_body"));
        assert_eq!(
            refused(&[json, ("content-length", "0")]),
            (400, "invalid_body")
        );
        assert_eq!(refused(&[five]), (415, "unsupported_media_type"));
        assert_eq!(refused(&[json, json, five]), (400, "invalid_header"));
        assert_eq!(refused(&[json, five, five]), (400, "invalid_header"));
        assert_eq!(refused(&[json, five, chunked]), (400, "invalid_header"));
        assert_eq!(
            refused(&[json, ("transfer-encoding", "gzip, chunked")]),
            (400, "invalid_header")
        );
        assert_eq!(
            refused(&[json, ("content-length", "+5")]),
            (400, "invalid_header")
        );
        let gzip = ("content-encoding", "gzip");
        assert_eq!(
            refused(&[json, five, gzip]),
            (415, "unsupported_media_type")
        );
        assert_eq!(
            refused(&[json, five, ("expect", "202-maybe")]),
            (400, "invalid_header")
        );
        let large = ("content-length", "67108865");
        assert_eq!(refused(&[json, large]), (413, "request_too_large"));
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
            "Application/JSON",
        ] {
            let content_type = ("content-type", other);
            assert_eq!(
                refused(&[content_type, five]),
                (415, "unsupported_media_type"),
                "{other}"
            );
        }
    }

    #[test]
    fn a_body_where_none_belongs() {
        assert!(no_body(&h1(&[("content-type", "application/json")])).is_ok());
        assert!(no_body(&h1(&[("content-length", "0")])).is_ok());
        assert!(no_body(&h1(&[("content-length", "1")])).is_err());
        let chunked = ("transfer-encoding", "chunked");
        assert!(!no_body(&h1(&[chunked])).unwrap());
        assert!(no_body(&h1(&[chunked, ("expect", "100-continue")])).unwrap());
        assert!(no_body(&h1(&[chunked, ("expect", "else")])).is_err());
    }

    #[test]
    fn heads_are_bounded() {
        let bounds = Bounds {
            headers: 2,
            head_bytes: 60,
            ..Bounds::default()
        };
        let judge = |headers: &[(&'static str, &str)]| check_size(&h1(headers), &bounds).is_ok();
        assert!(judge(&[("a", "b"), ("c", "d")]));
        assert!(!judge(&[("a", "b"), ("c", "d"), ("e", "f")]));
        assert!(!judge(&[("a", &"b".repeat(60))]));

        let bounds = Bounds {
            head_bytes: 1 << 20,
            ..Bounds::default()
        };
        let target = |query: usize| {
            let path = format!("/?{}", "q".repeat(query));
            RequestHeader::build("GET", path.as_bytes(), None).unwrap()
        };
        assert!(check_size(&target(TARGET_BYTES - 2), &bounds).is_ok());
        assert!(check_size(&target(TARGET_BYTES - 1), &bounds).is_err());
    }
}

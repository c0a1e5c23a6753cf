//! Reads the id of the trace that a request belongs to: W3C Trace Context.

use http::{HeaderMap, HeaderName};

/// The header's name, as a static so that it is not parsed for each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Reads the trace id from the header `traceparent`: 32 hexadecimal digits in lower case, not all zero (W3C
/// Trace Context, section 3.2.2).
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(&TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits| {
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.len() == digits && text.bytes().all(lower)
    };
    let valid = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && trace.bytes().any(|b| b != b'0');
    valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_where_it_is_one() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let find = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            trace_id(&headers).map(str::to_owned)
        };
        let parent = "b7ad6b7169203331";
        assert_eq!(
            find(&format!("00-{trace}-{parent}-01")).as_deref(),
            Some(trace)
        );
        // A later version may have more parts.
        assert_eq!(
            find(&format!("01-{trace}-{parent}-01-x")).as_deref(),
            Some(trace)
        );
        for bad in [
            String::new(),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{trace}"),
            format!("00-{trace}-sk-secret-01"),
        ] {
            assert_eq!(find(&bad), None, "{bad}");
        }
    }
}

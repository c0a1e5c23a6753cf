//! Decides whether a request to the operators' listener is allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::config::Admin;
use crate::key::Secret;

/// Returns whether a request for `path` with these headers is allowed. Every request is allowed if no token
/// is configured.
///
/// The paths that load balancers and orchestrators probe stay open: their answers are `ok`, or the reason why
/// the gate is not ready, without a secret. The metrics name keys and their spending, so they are open only
/// if the configuration says so.
pub(super) fn is_allowed(configured: &Admin, path: &str, query: &str, headers: &HeaderMap) -> bool {
    let Some(token) = &configured.token else {
        return true;
    };
    let is_open = match path {
        "/livez" => true,
        "/readyz" => !is_verbose(query),
        "/metrics" => configured.open_metrics,
        _ => false,
    };
    is_open || shows(token, headers)
}

/// Returns whether the query of `/readyz` asks for details.
pub(super) fn is_verbose(query: &str) -> bool {
    let mut words = query.split('&');
    words.any(|word| word == "verbose" || word.starts_with("verbose="))
}

/// Returns whether a request presents the token, either as a Bearer token (RFC 6750) or as the Basic
/// password of any user (RFC 7617). A browser can ask a person for the latter.
fn shows(token: &Secret, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let value = value.to_str().unwrap_or_default();
    let (scheme, shown) = value.split_once(' ').unwrap_or_default();
    let shown = shown.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return token.is_same(shown.as_bytes());
    }
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let Some(decoded) = STANDARD.decode(shown).ok().filter(|_| is_basic) else {
        return false;
    };
    let mut parts = decoded.splitn(2, |byte| *byte == b':');
    let (_user, password) = (parts.next(), parts.next());
    password.is_some_and(|password| token.is_same(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values.iter();
        let values = values.map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        values.collect()
    }

    fn admin(token: Option<&str>, open_metrics: bool) -> Admin {
        Admin {
            token: token.map(|token| Secret::new(token.into())),
            open_metrics,
            ..Admin::default()
        }
    }

    const TOKEN: &str = "a-token-of-operators";

    #[test]
    fn the_token_is_shown_by_one_header_in_one_of_two_ways() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let admin = admin(Some(TOKEN), false);
        for (values, allowed) in [
            (vec![format!("Bearer {TOKEN}")], true),
            (vec![format!("bearer   {TOKEN}")], true),
            (vec![basic(&format!("anybody:{TOKEN}"))], true),
            (vec![basic(&format!(":{TOKEN}"))], true),
            (vec![], false),
            (vec![TOKEN.to_owned()], false),
            (vec!["Bearer ".to_owned()], false),
            (vec![format!("Bearer {TOKEN}x")], false),
            (vec![format!("Bearer {}", &TOKEN[..19])], false),
            (vec![format!("Token {TOKEN}")], false),
            (vec![basic(TOKEN)], false),
            (vec![basic(&format!("{TOKEN}:x"))], false),
            (vec![format!("Basic {TOKEN}")], false),
            (
                vec![format!("Bearer {TOKEN}"), "Bearer x".to_owned()],
                false,
            ),
        ] {
            let shown: Vec<_> = values.iter().map(String::as_str).collect();
            let is_allowed = is_allowed(&admin, "/config", "", &headers(&shown));
            assert_eq!(is_allowed, allowed, "{values:?}");
        }
    }

    #[test]
    fn probes_stay_open_and_metrics_by_configuration() {
        for (path, query, with_token, with_open_metrics) in [
            ("/livez", "", true, true),
            ("/readyz", "", true, true),
            ("/readyz", "verbose", false, false),
            ("/readyz", "a&verbose=1", false, false),
            ("/metrics", "", false, true),
            ("/channels", "", false, false),
            ("/config", "", false, false),
            ("/status", "", false, false),
            ("/reload", "", false, false),
            ("/", "", false, false),
            ("/livez/", "", false, false),
        ] {
            let none = HeaderMap::new();
            let allowed = |admin| is_allowed(&admin, path, query, &none);
            assert_eq!(
                allowed(admin(Some(TOKEN), false)),
                with_token,
                "{path}?{query}"
            );
            assert_eq!(
                allowed(admin(Some(TOKEN), true)),
                with_open_metrics,
                "{path}"
            );
            assert!(
                allowed(admin(None, false)),
                "{path}: nothing is asked for without a token"
            );
        }
    }
}

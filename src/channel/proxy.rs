//! The egress proxy of a channel.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::url::{parse_port, split_port};
use crate::key::Secret;

/// An HTTP proxy through which a channel is reached, by CONNECT (RFC 9110, section 9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressProxy {
    /// A host name in lower case, or an IP address without brackets.
    pub host: String,
    /// The port, which the URL must name: there is no default.
    pub port: u16,
    /// The value of `Proxy-Authorization`, if the URL has a user, with or without a password.
    pub authorization: Option<Secret>,
}

/// The reason why a text is not a valid proxy URL. The error does not repeat the text, which could contain
/// a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseProxyError {
    /// The URL does not begin with `http://`.
    #[error("a proxy's URL begins with http://, whatever the channel's begins with")]
    Scheme,
    /// The user or password is badly escaped, or cannot be sent as Basic credentials: the user is empty or
    /// has a colon, or either has a control character.
    #[error(
        "the user and password before `@` are not USER:PASSWORD: write what has another meaning \
         in a URL as %XX"
    )]
    UserInfo,
    /// The URL has no valid host name or IP address.
    #[error("the proxy's URL names no valid host: write http://HOST:PORT")]
    Host,
    /// The URL has no port from 1 to 65535.
    #[error("the proxy's URL names no port from 1 to 65535: write http://HOST:PORT")]
    Port,
    /// The URL has a path, a query or a fragment.
    #[error("end the proxy's URL after the port")]
    Path,
}

impl EgressProxy {
    /// Parses `http://[USER[:PASSWORD]@]HOST:PORT[/]`.
    pub fn parse(url: &str) -> Result<Self, ParseProxyError> {
        let (scheme, rest) = url.split_once("://").ok_or(ParseProxyError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(ParseProxyError::Scheme);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A password may contain an `@` by mistake: the host begins after the last `@`.
        let (user_info, authority) = match rest.rsplit_once('@') {
            Some((user_info, authority)) => (Some(user_info), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(ParseProxyError::Path);
        }
        let authorization = user_info.map(basic).transpose()?;
        let (host, port) = split_port(authority).map_err(|_| ParseProxyError::Host)?;
        let port = port.ok_or(ParseProxyError::Port)?;
        Ok(Self {
            host,
            port: parse_port(port).map_err(|_| ParseProxyError::Port)?,
            authorization,
        })
    }
}

/// Encodes the `USER:PASSWORD` of a URL, which is percent-encoded, as Basic credentials (RFC 7617).
fn basic(user_info: &str) -> Result<Secret, ParseProxyError> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (user, password) = (decode(user)?, decode(password)?);
    // The receiver would take all after the first colon for the password.
    if user.is_empty() || user.contains(&b':') {
        return Err(ParseProxyError::UserInfo);
    }
    let joined = [&user[..], b":", &password].concat();
    Ok(Secret::new(format!("Basic {}", STANDARD.encode(joined))))
}

/// Decodes the `%XX` escapes of a user or password. Fails for an invalid escape, for a control character, and
/// for an `@`, `/` or space that is not escaped.
fn decode(text: &str) -> Result<Vec<u8>, ParseProxyError> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).ok_or(ParseProxyError::UserInfo)?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseProxyError::UserInfo);
        }
        decoded.push(u8::from_str_radix(hex, 16).map_err(|_| ParseProxyError::UserInfo)?);
        decoded.extend_from_slice(rest.as_bytes());
    }
    match decoded.iter().any(u8::is_ascii_control) || text.contains(['@', '/', ' ']) {
        true => Err(ParseProxyError::UserInfo),
        false => Ok(decoded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, sent) in [
            ("http://proxy.internal:3128", "proxy.internal", 3128, None),
            ("HTTP://Proxy.Internal:3128/", "proxy.internal", 3128, None),
            ("http://[::1]:8080", "::1", 8080, None),
            ("http://u:p@10.0.0.7:80", "10.0.0.7", 80, Some("u:p")),
            ("http://u@a.example:80", "a.example", 80, Some("u:")),
            ("http://u:p:q@a.example:80", "a.example", 80, Some("u:p:q")),
            (
                "http://u:%40%2f%25@a.example:80",
                "a.example",
                80,
                Some("u:@/%"),
            ),
        ] {
            let proxy = EgressProxy::parse(url).unwrap();
            assert_eq!((&*proxy.host, proxy.port), (host, port), "{url}");
            let sent = sent.map(|sent| format!("Basic {}", STANDARD.encode(sent)));
            let authorization = proxy.authorization.as_ref().map(Secret::expose);
            assert_eq!(authorization, sent.as_deref(), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        use ParseProxyError::*;
        for (url, error) in [
            ("proxy.internal:3128", Scheme),
            ("https://proxy.internal:3128", Scheme),
            ("socks5://proxy.internal:1080", Scheme),
            ("http://proxy.internal", Port),
            ("http://proxy.internal:0", Port),
            ("http://proxy.internal:x", Port),
            ("http://:3128", Host),
            ("http://a b:3128", Host),
            ("http://proxy.internal:3128/path", Path),
            ("http://proxy.internal:3128?x", Path),
            ("http://:secret@proxy.internal:3128", UserInfo),
            ("http://u:secret@1@proxy.internal:3128", UserInfo),
            ("http://u:secret%4@proxy.internal:3128", UserInfo),
            ("http://u:secret%zz@proxy.internal:3128", UserInfo),
            ("http://u:secret%0d%0a@proxy.internal:3128", UserInfo),
            ("http://u%3Av:secret@proxy.internal:3128", UserInfo),
        ] {
            assert_eq!(EgressProxy::parse(url), Err(error), "{url}");
            assert!(!error.to_string().contains("secret"));
        }
        let proxy = EgressProxy::parse("http://u:secret@proxy.internal:3128").unwrap();
        let shown = format!("{proxy:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("Basic"),
            "{shown}"
        );
    }
}

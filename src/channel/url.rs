//! The URL of a channel, parsed strictly.

use std::net::{IpAddr, Ipv6Addr};

/// The parsed URL of a channel. The path of an API call is `base_path` followed by `/v1/videos...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// A host name in lower case, or an IP address without brackets.
    pub host: String,
    /// The port; 443 or 80 if the URL names none.
    pub port: u16,
    /// The path before `/v1/videos`: empty, or such as `/openai`, without a slash at the end.
    pub base_path: String,
}

/// The reason why a text is not a valid channel URL. The error does not repeat the text, which could contain
/// a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseUrlError {
    /// The URL does not begin with `https://` or `http://`.
    #[error("a URL begins with https:// or http://")]
    Scheme,
    /// The URL has a user or a password.
    #[error(
        "no user or password in a URL: use `credential: {{ env: NAME }}` for what opens \
         the channel"
    )]
    UserInfo,
    /// The URL has a query or a fragment.
    #[error("end the URL before `?` or `#`: only a path can follow the host")]
    Query,
    /// The URL has no valid host name or IP address.
    #[error("the URL names no valid host: write one such as api.openai.com")]
    Host,
    /// The URL's port is not from 1 to 65535.
    #[error("the URL's port is no number from 1 to 65535")]
    Port,
    /// The URL's path has a segment that is empty, `.` or `..`, or that has characters other than letters,
    /// digits and `.-_~`.
    #[error(
        "the URL's path may hold segments of letters, digits, dots, dashes, \
         underscores and tildes only, such as /openai"
    )]
    Path,
    /// The URL ends with `/v1` or `/v1/videos`, which the gate adds itself.
    #[error(
        "end the URL before /v1: the gate adds /v1/videos itself, as in \
         https://api.openai.com"
    )]
    ApiPath,
}

impl ServerUrl {
    /// Parses `https://HOST[:PORT][/PATH]` or the same with `http://`.
    pub fn parse(url: &str) -> Result<Self, ParseUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(ParseUrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(ParseUrlError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(ParseUrlError::Query);
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(ParseUrlError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            host,
            port,
            base_path: parse_path(path)?,
        })
    }

    /// Returns the URL as ledgers keep it: always in the same spelling, without the default port and without
    /// a slash at the end.
    pub fn text(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.base_path)
    }

    /// Returns `HOST[:PORT]` as in a `Host` header: without the default port, an IPv6 address in brackets
    /// (RFC 9110, section 7.2).
    pub fn authority(&self) -> String {
        let bracketed = self.host.contains(':');
        let host = match bracketed {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

pub(super) fn split_port(authority: &str) -> Result<(String, Option<&str>), ParseUrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(ParseUrlError::Host)?;
        let host: Ipv6Addr = host.parse().map_err(|_| ParseUrlError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host.to_string(), Some(port))),
            None if rest.is_empty() => Ok((host.to_string(), None)),
            None => Err(ParseUrlError::Host),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if !is_host(host) {
        return Err(ParseUrlError::Host);
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// Returns whether `host` is a valid host name (RFC 1123, section 2.1; underscores occur in container
/// networks), or an IPv4 address. A host whose last label is a number must be a whole IPv4 address, since
/// resolvers would read `127.1` or `2130706433` as an address.
fn is_host(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or("");
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        return host.parse::<IpAddr>().is_ok();
    }
    let label = |label: &str| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(word)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

pub(super) fn parse_port(port: &str) -> Result<u16, ParseUrlError> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or(ParseUrlError::Port)
}

fn parse_path(path: &str) -> Result<String, ParseUrlError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(String::new());
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~');
    let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(plain);
    if !path[1..].split('/').all(segment) {
        return Err(ParseUrlError::Path);
    }
    if path.ends_with("/v1") || path.ends_with("/v1/videos") {
        return Err(ParseUrlError::ApiPath);
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (bool, String, u16, String) {
        let url = ServerUrl::parse(url).unwrap();
        (url.tls, url.host, url.port, url.base_path)
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            parts("https://API.openai.com"),
            (true, "api.openai.com".into(), 443, String::new())
        );
        assert_eq!(
            parts("http://127.0.0.1:8081/"),
            (false, "127.0.0.1".into(), 8081, String::new())
        );
        assert_eq!(
            parts("https://r.openai.azure.com/openai/"),
            (true, "r.openai.azure.com".into(), 443, "/openai".into())
        );
        assert_eq!(
            parts("http://[::1]:80/a/b"),
            (false, "::1".into(), 80, "/a/b".into())
        );
        assert_eq!(parts("http://mock_1:8000").1, "mock_1");
    }

    #[test]
    fn the_authority_leaves_out_the_default_port() {
        for (url, authority) in [
            ("https://a.example:443", "a.example"),
            ("https://a.example:80", "a.example:80"),
            ("http://[::1]", "[::1]"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(ServerUrl::parse(url).unwrap().authority(), authority);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use ParseUrlError::*;
        for (url, error) in [
            ("", Scheme),
            ("api.openai.com", Scheme),
            ("ftp://a.example", Scheme),
            ("https://u:p@a.example", UserInfo),
            ("https://a.example?x=1", Query),
            ("https://a.example/p#f", Query),
            ("https://", Host),
            ("https:///p", Host),
            ("https://a..b", Host),
            ("https://-a.example", Host),
            ("https://a b", Host),
            ("https://ä.example", Host),
            ("https://256.1.1.1", Host),
            ("https://127.1", Host),
            ("https://0x7f000001", Host),
            ("https://::1", Host),
            ("https://[::1", Host),
            ("https://[::1]x", Host),
            ("https://[a.example]", Host),
            ("https://a.example:", Port),
            ("https://a.example:0", Port),
            ("https://a.example:65536", Port),
            ("https://a.example:+80", Port),
            ("https://a.example:80:80", Port),
            ("https://a.example//", Path),
            ("https://a.example/a//b", Path),
            ("https://a.example/../b", Path),
            ("https://a.example/%2e", Path),
            ("https://a.example/a b", Path),
            ("https://api.openai.com/v1", ApiPath),
            ("https://api.openai.com/v1/", ApiPath),
            ("https://api.openai.com/v1/videos", ApiPath),
            ("https://r.example/openai/v1/videos/", ApiPath),
        ] {
            assert_eq!(ServerUrl::parse(url), Err(error), "{url}");
        }
    }
}

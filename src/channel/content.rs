//! Decides to which hosts a channel may redirect the gate for a video's bytes.
//!
//! A channel that keeps its videos in a file store answers a download with a redirect. The gate follows
//! it for the client, since a client could not reach such a store, or would learn its address. The
//! configuration limits the targets. The host must be covered by the channel's `content_hosts`. The target
//! must use TLS, unless the channel itself does not. A host that only a wildcard covers must have a public
//! address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Channel;
use super::url::{ParseUrlError, ServerUrl, parse_port, split_port};

/// A host, or a wildcard of hosts, that videos may be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHost {
    /// The host name in lower case; for a wildcard, the part after `*.`.
    name: String,
    /// Whether all subdomains of `name` are meant, at any depth, and not `name` itself.
    is_wildcard: bool,
    /// The port; `None` for the default port of the URL's scheme.
    port: Option<u16>,
}

/// Writes the host as in the configuration.
impl fmt::Display for ContentHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.is_wildcard { "*." } else { "" };
        write!(f, "{wildcard}{}", self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The reason why a text is not a valid content host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseContentHostError {
    /// The text is no host name or IP address, or has more than a host and a port.
    #[error(
        "this is no host: write one such as cdn.example.com, *.example.com or \
         10.0.0.7:9000, without https://"
    )]
    Host,
    /// The port is not from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// The wildcard covers a whole top-level domain, or stands before an IP address.
    #[error("a wildcard needs a domain of at least two labels, as *.example.com")]
    TooWide,
}

impl ContentHost {
    /// Parses `HOST[:PORT]` or `*.DOMAIN[:PORT]`.
    pub fn parse(text: &str) -> Result<Self, ParseContentHostError> {
        if text.contains(['/', '@']) {
            return Err(ParseContentHostError::Host);
        }
        let (is_wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let parts = split_port(rest).and_then(|(name, port)| {
            let port = port.map(parse_port).transpose()?;
            Ok((name, port))
        });
        let (name, port) = parts.map_err(|error| match error {
            ParseUrlError::Port => ParseContentHostError::Port,
            _ => ParseContentHostError::Host,
        })?;
        let is_address = name.parse::<IpAddr>().is_ok();
        if is_wildcard && (is_address || !name.contains('.')) {
            return Err(ParseContentHostError::TooWide);
        }
        Ok(Self {
            name,
            is_wildcard,
            port,
        })
    }

    fn covers(&self, url: &ServerUrl) -> bool {
        let default = if url.tls { 443 } else { 80 };
        let host = match self.is_wildcard {
            true => url
                .host
                .strip_suffix(self.name.as_str())
                .is_some_and(|labels| labels.len() > 1 && labels.ends_with('.')),
            false => url.host == self.name,
        };
        host && url.port == self.port.unwrap_or(default)
    }
}

/// The target of a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentUrl {
    /// The server, with an empty `base_path`.
    pub server: ServerUrl,
    /// The path and query, as they stand in the redirect.
    pub path: String,
    /// Whether the server must have a public address.
    pub public_only: bool,
}

/// The reason why a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// The `Location` is missing, or is neither an absolute path nor a valid `http(s)` URL, or has a user.
    #[error("its Location is no http or https URL")]
    Unreadable,
    /// The channel's `content_hosts` do not cover the target's host and port.
    #[error("it leads to a host that is not in the channel's content_hosts")]
    Host,
    /// The target is plain HTTP, and the channel uses TLS.
    #[error("it leads to http://, from a channel that is spoken to by https://")]
    Plain,
    /// The download has been redirected too often.
    #[error("it leads on too often")]
    TooMany,
}

impl ContentUrl {
    /// Resolves `location`, a redirect's `Location`, against the URL `from` of the server that sent it.
    ///
    /// # Errors
    /// If `location` is neither an absolute path nor a valid `http(s)` URL, or has a user; if `channel` uses
    /// TLS and the target does not; or if `content_hosts` do not cover the target's host and port.
    pub fn resolve(
        location: &str,
        from: &ServerUrl,
        channel: &Channel,
    ) -> Result<Self, NotFollowed> {
        let (server, path) = split(location, from).ok_or(NotFollowed::Unreadable)?;
        // A channel without TLS, on a network of its own, may have its store there, too.
        if !server.tls && channel.url.tls {
            return Err(NotFollowed::Plain);
        }
        let covering = channel
            .content_hosts
            .iter()
            .filter(|host| host.covers(&server));
        let is_named = covering.clone().any(|host| !host.is_wildcard);
        if !is_named && covering.count() == 0 {
            return Err(NotFollowed::Host);
        }
        Ok(Self {
            server,
            path,
            public_only: !is_named,
        })
    }
}

/// Splits `location` into a server, and a path with the query. `None` if it is neither an absolute path (its
/// server is that of `from`) nor a valid `http(s)` URL (with or without the scheme), or if it has a user.
fn split(location: &str, from: &ServerUrl) -> Option<(ServerUrl, String)> {
    let location = location.split('#').next()?;
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if !location.bytes().all(visible) {
        return None;
    }
    let scheme = |name: &str| {
        let length = name.len();
        let found = location.get(..length)?.eq_ignore_ascii_case(name);
        found.then(|| location.get(length..)).flatten()
    };
    let (tls, rest) = match (scheme("https://"), scheme("http://"), scheme("//")) {
        (Some(rest), ..) => (true, rest),
        (_, Some(rest), _) => (false, rest),
        (.., Some(rest)) => (from.tls, rest),
        _ if location.starts_with('/') => {
            let server = ServerUrl {
                base_path: String::new(),
                ..from.clone()
            };
            return Some((server, location.to_owned()));
        }
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // A URL with a user asks for a password: it is not followed.
    if authority.contains('@') {
        return None;
    }
    let (host, port) = split_port(authority).ok()?;
    let port = match port {
        None | Some("") => {
            if tls {
                443
            } else {
                80
            }
        }
        Some(port) => parse_port(port).ok()?,
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let server = ServerUrl {
        tls,
        host,
        port,
        base_path: String::new(),
    };
    Some((server, format!("{slash}{path}")))
}

/// Returns whether an address is public: not loopback, private, link-local, of carrier-grade NAT or reserved.
/// Servers at addresses that are not public often trust everybody who can reach them.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, loopback, multicast and reserved.
        (0 | 127 | 224.., ..) => true,
        // Carrier-grade NAT, protocol assignments, benchmarks.
        (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) => true,
        _ => false,
    };
    !(special || address.is_private() || address.is_link_local() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match (a, b) {
        // Mapped, translated (RFC 6052) and 6to4 addresses embed the IPv4 address that is reached, so that
        // address decides. Other addresses in `::/32`, such as compatible ones, are not public.
        (0, 0) => (c, d, e) == (0, 0, 0) && f == 0xFFFF && v4(g, h),
        (0x64, 0xFF9B) => (c, d, e, f) == (0, 0, 0, 0) && v4(g, h),
        (0x2002, _) => v4(b, c),
        // Used by protocols such as Teredo and ORCHID; documentation.
        (0x2001, ..0x200 | 0xDB8) | (0x3FFF, ..0x1000) => false,
        // The range of global unicast.
        (0x2000..=0x3FFF, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> ContentHost {
        ContentHost::parse(text).unwrap()
    }

    fn url(text: &str) -> ServerUrl {
        ServerUrl::parse(text).unwrap()
    }

    #[test]
    fn hosts_are_named_or_covered() {
        for (pattern, covered, others) in [
            (
                "*.Example.com",
                &["https://a.example.com", "https://a.b.example.com"][..],
                &[
                    "https://example.com",
                    "https://badexample.com",
                    "https://a.example.com:8443",
                    "https://a.example.com.evil.test",
                ][..],
            ),
            (
                "cdn.example.com",
                &["https://cdn.example.com", "http://cdn.example.com"],
                &["https://a.cdn.example.com", "https://cdn.example.com:444"],
            ),
            (
                "10.0.0.7:9000",
                &["http://10.0.0.7:9000"],
                &["http://10.0.0.7", "http://10.0.0.8:9000"],
            ),
            ("[::1]:80", &["http://[::1]"], &["http://[::2]"]),
        ] {
            for text in covered {
                assert!(host(pattern).covers(&url(text)), "{pattern} {text}");
            }
            for text in others {
                assert!(!host(pattern).covers(&url(text)), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        use ParseContentHostError::*;
        for (text, error) in [
            ("", Host),
            ("*", Host),
            ("https://a.example", Host),
            ("a.example/path", Host),
            ("a.*.example", Host),
            ("user@a.example", Host),
            ("*.com", TooWide),
            ("*.10.0.0.1", TooWide),
            ("a.example:0", Port),
            ("a.example:x", Port),
        ] {
            assert_eq!(ContentHost::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn locations_are_split() {
        let from = url("https://api.example/base");
        let split = |location: &str| {
            let (server, path) = split(location, &from)?;
            let scheme = if server.tls { "https" } else { "http" };
            Some(format!("{scheme} {} {path}", server.authority()))
        };
        for (location, read) in [
            (
                "https://cdn.example/v/1.mp4?sig=a%2Fb#t",
                "https cdn.example /v/1.mp4?sig=a%2Fb",
            ),
            ("HTTP://cdn.example:8080?x=1", "http cdn.example:8080 /?x=1"),
            ("//cdn.example", "https cdn.example /"),
            ("/v/1.mp4?a=b", "https api.example /v/1.mp4?a=b"),
            ("https://[::1]:9/x", "https [::1]:9 /x"),
        ] {
            assert_eq!(split(location).as_deref(), Some(read), "{location}");
        }
        for location in [
            "",
            "v/1.mp4",
            "?a=b",
            "ftp://a.example/",
            "javascript:alert(1)",
            "https://",
            "https://u:p@a.example/",
            "https://a b/",
            "https://a.example/\r\nx: y",
            "https://a.example\\@b.example/",
            "https://ä.example/",
            "https://a.example:99999/",
            "https://127.1/",
            "https://0x7f000001/",
        ] {
            assert_eq!(split(location), None, "{location}");
        }
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("8.8.8.8", true),
            ("172.15.0.1", true),
            ("100.63.0.1", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("192.0.0.8", false),
            ("198.18.0.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:2800:220:1::1", true),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::8.8.8.8", true),
            ("::1", false),
            ("::", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::8.8.8.8", false),
            ("2002:7f00:1::", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}

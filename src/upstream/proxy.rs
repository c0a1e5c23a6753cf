//! Connects to a channel through its egress proxy, by CONNECT (RFC 9110, section 9.3.6).
//!
//! Pingora 0.9.1 has CONNECT over Unix sockets only, so this module replaces the way in which it connects. No
//! byte of a request leaves before the proxy has answered that it is connected. Any other answer or failure
//! of the proxy therefore proves that the channel has received nothing.

use std::fmt;
use std::io;
use std::net::SocketAddr as InetAddr;
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::{ConnectProxyFailure, Error};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::channel::{EgressProxy, ServerUrl};
use crate::key::Secret;

/// The maximum length of the head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// The reason why there is no connection through a proxy. Its text repeats nothing that was sent or
/// received, except a status.
#[derive(Debug, Error)]
pub(super) enum ProxyError {
    /// The proxy cannot be reached.
    #[error("its proxy cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// The proxy has not connected in time.
    #[error("its proxy has not connected in time")]
    Timeout,
    /// The proxy refuses the user or the password.
    #[error("its proxy refuses the user or password (407): see `proxy` in the configuration")]
    Unauthorized,
    /// The proxy does not connect: it answers with this status.
    #[error("its proxy does not connect: it answers {0}")]
    Refused(u16),
    /// The proxy closed the connection without an answer.
    #[error("its proxy closes the connection without an answer")]
    Closed,
    /// The proxy's answer is no HTTP/1.1, or too long.
    #[error("its proxy's answer is no HTTP/1.1, or longer than 8 KiB")]
    Unreadable,
}

/// A connector to one server through one proxy.
pub(super) struct Tunnel {
    /// The head of the CONNECT request. Never to be printed: it may hold the proxy's password.
    request: Secret,
    /// The maximum time to connect to the proxy and to read its answer.
    limit: Duration,
}

/// Prints no field, since `request` is secret: Pingora prints a tunnel with the options of a peer.
impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Makes a connector to `server` through `proxy`, which connects within `limit` or fails.
    pub(super) fn new(proxy: &EgressProxy, server: &ServerUrl, limit: Duration) -> Self {
        let (host, port) = (&server.host, server.port);
        // The target always names a port, and an IPv6 address is in brackets (RFC 9112, section 3.2.3).
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let authorization = match &proxy.authorization {
            Some(value) => format!("Proxy-Authorization: {}\r\n", value.expose()),
            None => String::new(),
        };
        Self {
            request: Secret::new(format!(
                "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n"
            )),
            limit,
        }
    }

    async fn open(&self, proxy: InetAddr) -> Result<Stream, ProxyError> {
        let socket = TcpStream::connect(proxy).await;
        // The stream has a read buffer: bytes behind the proxy's head stay in it, for the channel.
        let mut stream = Stream::from(socket.map_err(ProxyError::Unreachable)?);
        let asked = async {
            stream.write_all(self.request.expose().as_bytes()).await?;
            stream.flush().await
        };
        asked.await.map_err(|_| ProxyError::Closed)?;
        match read_status(&mut stream).await? {
            200..=299 => Ok(stream),
            407 => Err(ProxyError::Unauthorized),
            status => Err(ProxyError::Refused(status)),
        }
    }
}

#[async_trait]
impl Connect for Tunnel {
    async fn connect(&self, proxy: &SocketAddr) -> pingora::Result<Stream> {
        let opened = match proxy.as_inet() {
            Some(proxy) => timeout(self.limit, self.open(*proxy)).await,
            None => Ok(Err(ProxyError::Closed)),
        };
        let opened = opened.unwrap_or(Err(ProxyError::Timeout));
        opened.map_err(|error| Error::because(ConnectProxyFailure, "", error))
    }
}

/// Reads up to the end of the head of the proxy's final answer, and not a byte more. Returns its status.
async fn read_status(stream: &mut (impl AsyncRead + Unpin)) -> Result<u16, ProxyError> {
    let mut room = MAX_HEAD;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            room = room.checked_sub(1).ok_or(ProxyError::Unreadable)?;
            head.push(stream.read_u8().await.map_err(|_| ProxyError::Closed)?);
        }
        match status_of(&head).ok_or(ProxyError::Unreadable)? {
            // An interim answer: another one follows.
            100..=199 => {}
            status => return Ok(status),
        }
    }
}

/// Returns the status in the first line of an answer; `None` where the line is not valid HTTP/1.x.
fn status_of(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let (version, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(b" ")?;
    let (digits, rest) = rest.split_at_checked(3)?;
    let ends = matches!(rest.first(), Some(b' ' | b'\r'));
    if !version.is_ascii_digit() || !digits.iter().all(u8::is_ascii_digit) || !ends {
        return None;
    }
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..=599).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_final_answer_is_read_and_nothing_behind_it() {
        for (said, found, left) in [
            ("HTTP/1.1 200 OK\r\n\r\nhello", Some(200), "hello"),
            ("HTTP/1.0 200\r\nA: b\r\n\r\n", Some(200), ""),
            (
                "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 407 P\r\n\r\nno",
                Some(407),
                "no",
            ),
            (
                "HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\nno",
                Some(502),
                "no",
            ),
            ("HTTP/1.1 2000 OK\r\n\r\n", None, ""),
            ("HTTP/2 200 OK\r\n\r\n", None, ""),
            ("SSH-2.0-x\r\n\r\n", None, ""),
            ("HTTP/1.1 200 OK\r\n", None, ""),
            ("", None, ""),
        ] {
            let mut stream = said.as_bytes();
            let status = read_status(&mut stream).await;
            assert_eq!(status.ok(), found, "{said:?}");
            if found.is_some() {
                assert_eq!(stream, left.as_bytes(), "{said:?}");
            }
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(MAX_HEAD));
        let status = read_status(&mut long.as_bytes()).await;
        assert!(matches!(status, Err(ProxyError::Unreadable)));
    }

    #[test]
    fn the_server_is_asked_for_by_name_and_port() {
        let proxy = EgressProxy::parse("http://u:secret@proxy.internal:3128").unwrap();
        for (url, target) in [
            ("https://api.example.com", "api.example.com:443"),
            ("http://[::1]:8081", "[::1]:8081"),
        ] {
            let server = ServerUrl::parse(url).unwrap();
            let tunnel = Tunnel::new(&proxy, &server, Duration::from_secs(1));
            assert_eq!(
                tunnel.request.expose(),
                format!(
                    "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\
                     Proxy-Authorization: Basic dTpzZWNyZXQ=\r\n\r\n"
                )
            );
            assert_eq!(format!("{tunnel:?}"), "Tunnel { .. }");
        }
    }
}

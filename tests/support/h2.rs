//! An HTTP/2 client (prior knowledge) that sends frames as told.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::{Answer, Request};

/// A connection. Dropped, it is closed as a vanished client closes it.
pub struct Http2 {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A request under way.
pub struct Stream {
    data: SendStream<Bytes>,
    answer: ResponseFuture,
    head: Option<http::Response<h2::RecvStream>>,
}

impl Http2 {
    pub async fn open(to: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(to).await?;
        socket.set_nodelay(true)?;
        let handshake = h2::client::handshake(socket).await;
        let (send, connection) = handshake.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { send, driver })
    }

    /// Sends the head. The request's body is left aside: its frames are sent one by one.
    pub async fn begin(&mut self, request: &Request, end: bool) -> io::Result<Stream> {
        let mut head = http::Request::builder()
            .method(request.method)
            .version(http::Version::HTTP_2)
            .uri(format!("http://gate.test{}", request.path));
        for (name, value) in &request.headers {
            // What HTTP/2 says in pseudo headers, or must not say.
            let own = ["host", "connection", "transfer-encoding", "keep-alive"];
            if !own.contains(&name.to_ascii_lowercase().as_str()) {
                head = head.header(name, value);
            }
        }
        let head = head.body(()).map_err(io::Error::other)?;
        let send = self.send.clone().ready().await.map_err(io::Error::other)?;
        self.send = send;
        let (answer, data) = self
            .send
            .send_request(head, end)
            .map_err(io::Error::other)?;
        Ok(Stream {
            data,
            answer,
            head: None,
        })
    }
}

/// A connection whose client does not read while it has nothing to ask, as pools do that are
/// not driven by a task of their own.
pub struct Undriven {
    send: SendRequest<Bytes>,
    connection: h2::client::Connection<TcpStream, Bytes>,
}

impl Undriven {
    pub async fn open(to: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(to).await?;
        let handshake = h2::client::handshake(socket).await;
        let (send, connection) = handshake.map_err(io::Error::other)?;
        Ok(Self { send, connection })
    }

    /// The status of a request's answer. Nothing is read or written after it.
    pub async fn status(&mut self, request: http::Request<()>) -> io::Result<u16> {
        let Self { send, connection } = self;
        let answered = async {
            let (answer, _) = send.send_request(request, true).map_err(io::Error::other)?;
            let (head, mut body) = answer.await.map_err(io::Error::other)?.into_parts();
            while let Some(chunk) = body.data().await {
                chunk.map_err(io::Error::other)?;
            }
            Ok(head.status.as_u16())
        };
        tokio::select! {
            answered = answered => answered,
            _ = connection => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl Stream {
    /// One DATA frame (more, where it is longer than a frame may be). `false` where the
    /// other side takes no more.
    pub fn data(&mut self, piece: &[u8], end: bool) -> bool {
        self.data
            .send_data(Bytes::copy_from_slice(piece), end)
            .is_ok()
    }

    /// Ends the request with trailers.
    pub fn trailers(&mut self, trailers: HeaderMap) -> bool {
        self.data.send_trailers(trailers).is_ok()
    }

    pub fn reset(&mut self, reason: Reason) {
        self.data.send_reset(reason);
    }

    /// Waits until an answer has begun, or the stream has failed. Cancel safe.
    pub async fn answered(&mut self) {
        if self.head.is_none()
            && let Ok(head) = (&mut self.answer).await
        {
            self.head = Some(head);
        }
    }

    /// The answer to its end.
    pub async fn answer(mut self) -> io::Result<Answer> {
        let head = match self.head.take() {
            Some(head) => head,
            None => self.answer.await.map_err(io::Error::other)?,
        };
        let (head, mut stream) = head.into_parts();
        let mut text = format!("HTTP/2 {}\r\n", head.status.as_u16());
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or("?")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk.map_err(io::Error::other)?;
            let _ = stream.flow_control().release_capacity(chunk.len());
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            head: text,
            body,
        })
    }
}

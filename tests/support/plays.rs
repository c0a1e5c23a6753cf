//! A channel that the test plays itself, connection by connection, and the gate before it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::client::{Body, Request};
use crate::support::{Setup, Stand, form_type, plain_form};

/// What the channel does with one request.
pub enum Play {
    /// Writes this, and goes on with the connection.
    Answer(Vec<u8>),
    /// Writes this once it is told to.
    AnswerWhen(Arc<Notify>, Vec<u8>),
    /// Writes this and closes the connection.
    Break(Vec<u8>),
    /// Writes this and nothing else until the gate hangs up.
    Hold(Vec<u8>),
}

/// An answer with that status, these headers and that body, told by its length.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The job `video_1`, as it stands.
pub fn job(status: &str) -> Play {
    let job = format!(
        "{{\"id\":\"video_1\",\"object\":\"video\",\"status\":\"{status}\",\
         \"model\":\"sora-2\",\"seconds\":\"4\",\"size\":\"1280x720\"}}"
    );
    Play::Answer(answer("200 OK", "Content-Type: application/json\r\n", &job))
}

/// A gate that has created `video_1` on a channel of that kind.
pub struct Played {
    pub stand: Stand,
    /// What the channel's reads have brought: the beginning of each request, and `gone` where
    /// the gate has hung up.
    pub reads: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Played {
    /// The connections that the channel plays, one after the other. The first request is the
    /// create.
    pub async fn start(connections: Vec<Vec<Play>>) -> Self {
        Self::start_with("", connections).await
    }

    /// The same, with this line in the channel's configuration.
    pub async fn start_with(line: &str, connections: Vec<Vec<Play>>) -> Self {
        let reads = Arc::default();
        let address = channel(connections, Arc::clone(&reads)).await;
        // What stands behind the sharp sign is the mock channel's address, unused here.
        let url = format!("url: http://{address} # ");
        let setup = Setup::default().replacing("url: http://", &url);
        let credential = "    credential: ";
        let setup = setup.replacing(credential, &format!("{line}{credential}"));
        let stand = setup.start().await;
        let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
        let created = create.send(stand.gate).await.unwrap();
        assert_eq!(created.status, 200, "{created:?}");
        Self { stand, reads }
    }

    /// Waits until the channel has read so often.
    pub async fn has_read(&self, times: usize) {
        let what = format!("the channel reads {times} times");
        let read = async || self.reads.lock().unwrap().len() == times;
        self.stand.until(&what, read).await;
    }

    /// One of its reads, as text.
    pub fn read(&self, at: usize) -> String {
        String::from_utf8(self.reads.lock().unwrap()[at].clone()).unwrap()
    }

    /// The kinds of errors that are counted against the channel.
    pub async fn errors(&self) -> Vec<String> {
        self.stand.channel_errors().await
    }
}

/// A channel that plays these connections, and notes what it reads.
pub async fn channel(connections: Vec<Vec<Play>>, reads: Arc<Mutex<Vec<Vec<u8>>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for plays in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for play in plays {
                let mut chunk = vec![0; 64 * 1024];
                let length = stream.read(&mut chunk).await.unwrap();
                reads.lock().unwrap().push(chunk[..length].to_vec());
                match play {
                    Play::Answer(answer) => stream.write_all(&answer).await.unwrap(),
                    Play::AnswerWhen(told, answer) => {
                        told.notified().await;
                        stream.write_all(&answer).await.unwrap();
                    }
                    Play::Break(answer) => {
                        stream.write_all(&answer).await.unwrap();
                        break;
                    }
                    Play::Hold(answer) => {
                        stream.write_all(&answer).await.unwrap();
                        let _ = stream.read(&mut chunk).await;
                        reads.lock().unwrap().push(b"gone".to_vec());
                        break;
                    }
                }
            }
        }
        std::future::pending::<()>().await;
    });
    address
}

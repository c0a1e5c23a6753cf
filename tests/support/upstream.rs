//! A channel that answers each request as a function says, drips and silences included.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Setup;

/// A request that has come.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    pub target: String,
    /// The head, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn is(&self, method: &str, target: &str) -> bool {
        self.method == method && self.target == target
    }
}

/// What is written.
pub enum Say {
    /// This, and the connection goes on.
    Whole(Vec<u8>),
    /// This, and then one byte of the rest after each pause.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// This, and the connection closes.
    Close(Vec<u8>),
    /// Nothing, for ever.
    Nothing,
}

/// An answer with that status and JSON.
pub fn json(status: u16, body: impl AsRef<[u8]>) -> Say {
    Say::Whole(with(status, "Content-Type: application/json\r\n", body))
}

/// The same, and these lines of its head.
pub fn with(status: u16, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\n{lines}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

type Script = Arc<dyn Fn(&Heard) -> Say + Send + Sync>;

/// The channel.
pub struct Upstream {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Upstream {
    pub async fn start(script: impl Fn(&Heard) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Arc::new(script)));
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let (says, notes) = (script.clone(), heard.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, says.clone(), notes.clone()));
            }
        });
        Self {
            address,
            script,
            heard,
        }
    }

    /// Answers in another way from now on.
    pub fn says(&self, script: impl Fn(&Heard) -> Say + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Puts it in the place of the mock channel, with these lines in its configuration.
    pub fn behind(&self, setup: Setup, lines: &str) -> Setup {
        let setup = setup.replacing("url: http://", &format!("url: http://{} # ", self.address));
        let credential = "    credential: ";
        setup.replacing(credential, &format!("{lines}{credential}"))
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub fn times(&self, method: &str, target: &str) -> usize {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|heard| heard.is(method, target))
            .count()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    notes: Arc<Mutex<Vec<Heard>>>,
) -> std::io::Result<()> {
    let mut received = Vec::new();
    while let Some(heard) = read(&mut stream, &mut received).await? {
        notes.lock().unwrap().push(heard.clone());
        let script = script.lock().unwrap().clone();
        match script(&heard) {
            Say::Whole(bytes) => stream.write_all(&bytes).await?,
            Say::Drip(begins, drips, pause) => {
                stream.write_all(&begins).await?;
                for byte in drips {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&[byte]).await?;
                }
            }
            Say::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return Ok(());
            }
            Say::Nothing => std::future::pending().await,
        }
    }
    Ok(())
}

/// The next request, by its Content-Length.
async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<Option<Heard>> {
    loop {
        let end = received.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = end {
            let text = String::from_utf8(received[..end].to_vec()).unwrap();
            let head = text.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if received.len() >= end + 4 + length {
                let mut words = text.split(' ');
                let heard = Heard {
                    method: words.next().unwrap().to_owned(),
                    target: words.next().unwrap().to_owned(),
                    body: received[end + 4..end + 4 + length].to_vec(),
                    head,
                };
                received.drain(..end + 4 + length);
                return Ok(Some(heard));
            }
        }
        let mut chunk = vec![0; 64 * 1024];
        match stream.read(&mut chunk).await? {
            0 => return Ok(None),
            n => received.extend_from_slice(&chunk[..n]),
        }
    }
}

//! An egress proxy that is asked by CONNECT, and does as it is told.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What it does when it is asked to connect.
#[derive(Clone)]
pub enum Does {
    /// It connects to this address, whatever name it was told.
    Connects(SocketAddr),
    /// It writes this and closes.
    Answers(&'static str),
    /// It writes a byte of this after each pause.
    Drips(&'static str, Duration),
    /// Nothing, for ever.
    Hangs,
}

/// The proxy.
pub struct Proxy {
    pub address: SocketAddr,
    does: Arc<Mutex<Does>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let does = Arc::new(Mutex::new(does));
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (doing, heard) = (does.clone(), heads.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, doing.clone(), heard.clone()));
            }
        });
        Self {
            address,
            does,
            heads,
        }
    }

    /// Does something else from now on.
    pub fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    does: Arc<Mutex<Does>>,
    heads: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    let does = does.lock().unwrap().clone();
    match does {
        Does::Connects(to) => {
            let mut channel = TcpStream::connect(to).await?;
            // A body that is announced is none here (RFC 9110, section 9.3.6).
            let answer = b"HTTP/1.1 200 Connected\r\nContent-Length: 7\r\nVia: 1.1 test\r\n\r\n";
            stream.write_all(answer).await?;
            copy_bidirectional(&mut stream, &mut channel).await?;
        }
        Does::Answers(text) => stream.write_all(text.as_bytes()).await?,
        Does::Drips(text, pause) => {
            for byte in text.bytes().cycle() {
                tokio::time::sleep(pause).await;
                stream.write_all(&[byte]).await?;
            }
        }
        Does::Hangs => std::future::pending().await,
    }
    Ok(())
}

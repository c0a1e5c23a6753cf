//! A way to the database that can be cut.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

/// A way to a Unix socket that can be cut.
pub struct Way {
    pub address: SocketAddr,
    pub cuts: Arc<watch::Sender<u64>>,
    pub loses_answer: Arc<AtomicBool>,
}

impl Way {
    pub async fn open(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self {
            address: listener.local_addr().unwrap(),
            cuts: Arc::default(),
            loses_answer: Arc::default(),
        };
        let (cuts, loses) = (way.cuts.clone(), way.loses_answer.clone());
        tokio::spawn(async move {
            while let Ok((mut gate, _)) = listener.accept().await {
                let (socket, mut cut, loses) = (socket.clone(), cuts.subscribe(), loses.clone());
                tokio::spawn(async move {
                    let Ok(mut server) = UnixStream::connect(socket).await else {
                        return;
                    };
                    let (mut up, mut down) = ([0; 16384], [0; 16384]);
                    loop {
                        tokio::select! {
                            _ = cut.changed() => return,
                            read = gate.read(&mut up) => match read {
                                Ok(n @ 1..) if server.write_all(&up[..n]).await.is_ok() => {}
                                _ => return,
                            },
                            read = server.read(&mut down) => match read {
                                Ok(_) if loses.swap(false, Ordering::SeqCst) => return,
                                Ok(n @ 1..) if gate.write_all(&down[..n]).await.is_ok() => {}
                                _ => return,
                            },
                        }
                    }
                });
            }
        });
        way
    }
}

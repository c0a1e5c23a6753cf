//! A way between gates and their channel that can be cut, so that answers are lost and the
//! channel's books are not.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

/// Passes connections on. Dropped, it ends with its runtime.
pub struct Forwarder {
    pub address: SocketAddr,
    to: SocketAddr,
    way: Mutex<Option<(AbortHandle, JoinHandle<()>)>>,
}

impl Forwarder {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forwarder = Self {
            address: listener.local_addr().unwrap(),
            to,
            way: Mutex::default(),
        };
        forwarder.open_on(listener);
        forwarder
    }

    /// Breaks every connection, and takes no more.
    pub async fn cut(&self) {
        let way = self.way.lock().unwrap().take();
        let (abort, task) = way.unwrap();
        abort.abort();
        // Its sockets are closed then.
        let _ = task.await;
    }

    /// Takes connections again, at the same address.
    pub async fn mend(&self) {
        self.open_on(TcpListener::bind(self.address).await.unwrap());
    }

    fn open_on(&self, listener: TcpListener) {
        let to = self.to;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        *self.way.lock().unwrap() = Some((task.abort_handle(), task));
    }
}

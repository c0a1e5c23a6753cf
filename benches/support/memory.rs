//! How much memory an upload takes that is under way.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::load::{Client, count};
use super::process::Server;
use super::works::{File, upload};

/// How many uploads are under way.
pub const UPLOADS: usize = 200;

/// KiB of resident memory for each of many uploads that stop half-way, in a process that
/// has served one upload before.
pub async fn per_upload(role: &str) -> f64 {
    let sink = Server::start("sink", None);
    let server = Server::start(role, Some(sink.address));
    let bytes = upload(File::Last);
    Client::open(server.address).await.send(&bytes).await;
    let (before, seen) = (server.memory("VmRSS:"), received(&sink).await);
    let half = bytes.len() / 2;
    let mut clients = Vec::new();
    for _ in 0..UPLOADS {
        let mut stream = TcpStream::connect(server.address).await.expect("a client");
        stream.write_all(&bytes[..half]).await.expect("a write");
        clients.push(stream);
    }
    // The gate may keep back what it has to, which is far less than this.
    let least = (half - 64 * 1024) as u64 * UPLOADS as u64;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut last = seen;
    loop {
        sleep(Duration::from_millis(50)).await;
        let now = received(&sink).await;
        if now - seen >= least && now == last {
            break;
        }
        last = now;
        assert!(Instant::now() < deadline, "uploads stand still at {now}");
    }
    let after = server.memory("VmRSS:");
    (count(after) - count(before)) / count(UPLOADS as u64)
}

async fn received(sink: &Server) -> u64 {
    let request = Bytes::from_static(b"GET /received HTTP/1.1\r\nHost: sink\r\n\r\n");
    let mut client = Client::open(sink.address).await;
    let text = client.send(&request).await;
    let text = std::str::from_utf8(text).expect("digits");
    text.parse().expect("a count")
}

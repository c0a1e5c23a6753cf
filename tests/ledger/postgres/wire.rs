//! A wire between a ledger and its server that counts round trips and can be cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

pub struct Wire {
    folder: PathBuf,
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    round_trips: AtomicU64,
    cut: AtomicBool,
}

impl Wire {
    /// A wire to the server whose socket is in that folder.
    pub fn to(server: &std::path::Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tollgate-wire-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let watch = Arc::new(Watch::default());
        let (server, shared) = (server.join(".s.PGSQL.5432"), watch.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&server).await else {
                    continue;
                };
                tokio::spawn(join(client, server, shared.clone()));
            }
        });
        Self { folder, watch }
    }

    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://postgres@{folder}:5432/{database}")
    }

    /// How often the client has said that it waits for an answer.
    pub fn round_trips(&self) -> u64 {
        self.watch.round_trips.load(Ordering::SeqCst)
    }

    /// Cuts the connection on which the next answer comes, in place of that answer.
    pub fn cut_next_answer(&self) {
        self.watch.cut.store(true, Ordering::SeqCst);
    }

    /// Whether it was cut since.
    pub fn was_cut(&self) -> bool {
        !self.watch.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn join(client: UnixStream, server: UnixStream, watch: Arc<Watch>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = ask(from_client, to_server, &watch) => {}
        _ = answer(from_server, to_client, &watch) => {}
    }
}

/// Messages of the frontend: a type (but for the first), a length that counts itself, and
/// the rest. The answer is waited for after Sync, Query and Flush.
async fn ask(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    watch: &Watch,
) -> std::io::Result<()> {
    let mut first = true;
    loop {
        let mut message = Vec::new();
        if !first {
            message.push(client.read_u8().await?);
        }
        let length = client.read_u32().await?;
        message.extend(length.to_be_bytes());
        let mut rest = vec![0; length as usize - 4];
        client.read_exact(&mut rest).await?;
        message.extend(rest);
        if !first && b"SQH".contains(&message[0]) {
            watch.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        first = false;
        server.write_all(&message).await?;
    }
}

async fn answer(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    watch: &Watch,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 65536];
    loop {
        let length = server.read(&mut buffer).await?;
        // ReadyForQuery comes after the commit.
        let ready = buffer[..length].ends_with(b"Z\0\0\0\x05I");
        if length == 0 || ready && watch.cut.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        client.write_all(&buffer[..length]).await?;
    }
}

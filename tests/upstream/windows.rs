//! A channel that speaks HTTP/2 and takes a create a few bytes at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use crate::*;

/// How many bytes it takes at a time.
const WINDOW: u32 = 256;

/// What it has taken.
#[derive(Default)]
struct Taken {
    bytes: AtomicUsize,
    whole: AtomicBool,
}

async fn serve(stream: TcpStream, taken: Arc<Taken>) {
    let mut server = h2::server::Builder::new();
    let server = server.initial_window_size(WINDOW);
    let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let taken = taken.clone();
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(piece)) = body.data().await {
                taken.bytes.fetch_add(piece.len(), Ordering::Relaxed);
                tokio::time::sleep(SHORT).await;
                let _ = body.flow_control().release_capacity(piece.len());
            }
            if body.is_end_stream() {
                taken.whole.store(true, Ordering::Relaxed);
                let mut stream = respond
                    .send_response(http::Response::new(()), false)
                    .unwrap();
                stream.send_data(CREATED.into(), true).unwrap();
            }
        });
    }
}

/// Whatever it takes is taken soon, and all of it would take a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_is_taken_byte_by_byte_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::<Taken>::default();
    let notes = taken.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, notes.clone()));
        }
    });
    let setup = soon("  poll_after: 1h\n")
        .http2_upstream()
        .replacing("url: http://", &format!("url: http://{address} # "))
        .replacing("    credential: ", "    read_timeout: 3s\n    credential: ");
    let stand = setup.start().await;
    // Until a connection has told its window, a client may send what the protocol's own allows.
    created(&stand).await;
    taken.bytes.store(0, Ordering::Relaxed);
    taken.whole.store(false, Ordering::Relaxed);
    let prompt = "a cat ".repeat(5_000);
    let answer = create(&prompt).send(stand.gate).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"));
    let bytes = taken.bytes.load(Ordering::Relaxed);
    assert!(bytes > WINDOW as usize, "{bytes}: it goes on taking");
    assert!(!taken.whole.load(Ordering::Relaxed), "it was complete");
}

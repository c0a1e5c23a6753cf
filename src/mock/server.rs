//! Serves connections: HTTP/1.1 and HTTP/2 on one port, plain or TLS.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::State;
use super::answer::Closed;
use super::api;

/// The maximum time of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The maximum time for which a connection stays open after its handshake has failed.
const LINGER: Duration = Duration::from_secs(2);
/// The pause after a failed accept, such as one that fails because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stopped` completes. Then stops listening, closes all connections, and returns.
pub(super) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    stopped: impl Future<Output = ()>,
) {
    let (mut connections, mut stopped) = (JoinSet::new(), pin!(stopped));
    loop {
        tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    state.recorder.connected();
                    connections.spawn(connection(socket, Arc::clone(&state)));
                }
                Err(error) => {
                    log::warn!(target: super::LOG, "accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => (),
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(socket: TcpStream, state: Arc<State>) {
    // An error is ignored: the option only affects speed, and the first read of a closed socket fails anyway.
    let _ = socket.set_nodelay(true);
    let Some(tls) = &state.options.tls else {
        return exchange(socket, state).await;
    };
    let handshake = TlsAcceptor::from(Arc::clone(&tls.0)).accept(socket);
    match tokio::time::timeout(HANDSHAKE, handshake.into_fallible()).await {
        Ok(Ok(socket)) => exchange(socket, state).await,
        Ok(Err((error, socket))) => {
            log::debug!(target: super::LOG, "TLS handshake: {error}");
            // The time limit is all that matters here.
            let _ = tokio::time::timeout(LINGER, linger(socket)).await;
        }
        Err(_) => log::debug!(target: super::LOG, "TLS handshake: too slow"),
    }
}

/// Stops sending after the alert that ends a handshake, and discards what the client still sends. To close
/// the connection with data unread would reset it, and the client might not get the alert.
async fn linger(mut socket: TcpStream) -> std::io::Result<()> {
    socket.shutdown().await?;
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn exchange(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| {
        // Each request runs in a task of its own. So a create makes its job even if the client goes away
        // after it has sent the whole request.
        let answer = tokio::spawn(api::handle(Arc::clone(&state), request));
        async move { answer.await.unwrap_or(Err(Closed)) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().half_close(true);
    if let Err(error) = server.serve_connection(TokioIo::new(socket), service).await {
        log::debug!(target: super::LOG, "connection: {error}");
    }
}

//! What runs in the processes of their own: the gate, the bare pass-through, the sink.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::upstreams::peer::HttpPeer;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tollgate::config::{self, LedgerUrl};
use tollgate::gate::{Background, Gate};
use tollgate::ledger::{Ledger, MemoryLedger, PostgresLedger, SqliteLedger};
use tollgate::metrics::Metrics;
use tollgate::server;

use super::process::announce;

/// Runs the server that the arguments name, for ever; returns false where they name none.
pub fn run(arguments: &[String]) -> bool {
    let (role, upstream, ledger) = match arguments {
        [role] => (role, None, "memory"),
        [role, upstream] => (role, upstream.parse().ok(), "memory"),
        [role, upstream, ledger] => (role, upstream.parse().ok(), ledger.as_str()),
        _ => return false,
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    match (role.as_str(), upstream) {
        ("gate", Some(upstream)) => runtime.block_on(gate(upstream, ledger)),
        ("pass-through", Some(upstream)) => runtime.block_on(pass_through(upstream)),
        ("sink", None) => runtime.block_on(sink()),
        _ => return false,
    }
    true
}

fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    listener
}

/// The gate as it ships, with a key whose limits count and are never reached.
async fn gate(upstream: SocketAddr, ledger: &str) {
    let text = CONFIG.replace("UPSTREAM", &upstream.to_string());
    let text = text.replace("LEDGER", ledger);
    let env = |_: &str| Some("channel-key".to_owned());
    let config = config::parse(&text, "bench.yaml", &env, Path::new("."));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let (socket, bounds) = (config.listen.clone(), config.bounds.clone());
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let ledger: Arc<dyn Ledger> = match &config.ledger {
        LedgerUrl::Sqlite(path) => Arc::new(SqliteLedger::open(path).expect("a ledger")),
        LedgerUrl::Postgres(url) => {
            let ledger = PostgresLedger::new(url, PostgresLedger::CONNECTIONS);
            Arc::new(ledger.expect("a ledger"))
        }
        _ => Arc::new(MemoryLedger::default()),
    };
    let gate = Gate::new(config, ledger, metrics);
    let background = Background::new(gate.clone());
    tokio::spawn(async move { background.run().await });
    let server = server::serve(gate, listen(), &socket, &bounds);
    let server = server.expect("a server");
    announce(server.address());
    std::future::pending().await
}

const CONFIG: &str = r#"
listen: { address: 127.0.0.1:0 }
admin: off
ledger: LEDGER
channels:
  sink:
    url: http://UPSTREAM
    credential: { env: CHANNEL_KEY }
    models: [sora-2]
catalog:
  sora-2:
    seconds: { allowed: ["4", "8", "12"], default: "4" }
    sizes: { default: 720x1280, usd_per_second: { 720x1280: 0.10, 1280x720: 0.10 } }
groups:
  sora2: { multiplier: 5, currency: CNY }
keys:
  - name: demo                    # sk-tollgate-demo
    sha256: 179510ee3e248a7bfae1a518d344461ddef0e32bbf53b40845f2d3e157c5973f
    group: sora2
    limits:
      requests: 1000000000/min
      video_seconds: 1000000000/hour
      in_flight: 1000000000
      list_cost_usd: 1000000000/day
"#;

/// Pingora and nothing else.
struct PassThrough(SocketAddr);

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        (): &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

async fn pass_through(upstream: SocketAddr) {
    let listener = listen();
    let address = listener.local_addr().expect("an address");
    let conf = Arc::new(ServerConf::default());
    let mut service = http_proxy_service(&conf, PassThrough(upstream));
    service.add_tcp(&address.to_string());
    let mut fds = Fds::new();
    fds.add(address.to_string(), listener.into_raw_fd());
    let (_running, stopped) = watch::channel(false);
    announce(address);
    let fds = Some(Arc::new(fds.into()));
    tokio::spawn(async move { service.start_service(fds, stopped, 1).await })
        .await
        .expect("a service");
}

/// A channel that does as little as it can: reads a body, answers with a job.
async fn sink() {
    let listener = tokio::net::TcpListener::from_std(listen()).expect("a socket");
    announce(listener.local_addr().expect("an address"));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(job));
            // A client that goes away in mid-upload is one of the works.
            let _ = connection.await;
        });
    }
}

/// Body bytes that all requests together have brought so far.
static RECEIVED: AtomicU64 = AtomicU64::new(0);
static JOBS: AtomicU64 = AtomicU64::new(0);

async fn job(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/received" {
        let received = RECEIVED.load(Ordering::Relaxed).to_string();
        return Ok(Response::new(Full::from(received)));
    }
    let id = match *request.method() {
        Method::POST => format!("video_{:016x}", JOBS.fetch_add(1, Ordering::Relaxed)),
        _ => request.uri().path()["/v1/videos/".len()..].to_owned(),
    };
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        RECEIVED.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    let job = format!(
        "{{\"id\":\"{id}\",\"object\":\"video\",\"model\":\"sora-2\",\"status\":\"queued\",\
         \"progress\":0,\"created_at\":1758941485,\"completed_at\":null,\"expires_at\":null,\
         \"prompt\":\"A calico cat playing a piano\",\"size\":\"1280x720\",\"seconds\":\"4\",\
         \"remixed_from_video_id\":null,\"error\":null}}"
    );
    let mut response = Response::new(Full::from(job));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    Ok(response)
}

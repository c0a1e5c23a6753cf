//! Further gates before the mock channel of a test: started, stopped, and started again.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tollgate::gate::{Background, Gate};
use tollgate::ledger::Ledger;
use tollgate::metrics::Metrics;
use tollgate::mock::{Mock, Options};
use tollgate::server::{self, Server};

use crate::support::{CREDENTIAL, Setup};

/// A mock channel alone, whose jobs take that long.
pub async fn channel(rendering: Duration) -> Mock {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        credential: CREDENTIAL.into(),
        queued: Duration::ZERO,
        rendering,
        ..Options::default()
    };
    Mock::start(listener, options)
}

/// A gate with its background, before a channel that stays when it goes.
pub struct OneGate {
    pub address: SocketAddr,
    pub handle: Arc<Gate>,
    server: Server,
    background: JoinHandle<()>,
}

impl OneGate {
    pub fn start(setup: &Setup, mock: &Mock, ledger: Arc<dyn Ledger>) -> Self {
        let config = setup.config_for(mock.addr());
        let (listen, bounds) = (config.listen.clone(), config.bounds.clone());
        let handle = Gate::new(config, ledger, Arc::new(Metrics::new().unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = server::serve(handle.clone(), listener, &listen, &bounds).unwrap();
        let background = Background::new(handle.clone());
        Self {
            address: server.address(),
            handle,
            server,
            background: tokio::spawn(async move { background.run().await }),
        }
    }

    /// One sample of its metrics, 0 where it is not there yet.
    pub async fn metric(&self, sample: &str) -> f64 {
        tollgate::admin::refresh_metrics(&self.handle).await;
        let text = self.handle.metrics().exposition().unwrap();
        let line = text.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == sample).then(|| value.parse().unwrap())
        });
        line.unwrap_or(0.0)
    }

    /// Ends it, with its background. Its connections have to be closed by then.
    pub async fn stop(self) {
        self.background.abort();
        let _ = self.background.await;
        self.server.stop(Duration::from_secs(20)).await.unwrap();
    }
}

//! Runs what no client waits for, as a service of a Pingora server.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::billing::Worker;

/// Follows jobs to their end, finds out what became of requests without an answer, and
/// prunes what is old. One for each gate; the ledger sees to it that of the gates that
/// share it one does each task.
///
/// A Pingora service, for servers that embed the gate:
/// `server.add_service(background_service("tollgate", Background::new(gate)))`.
pub struct Background {
    pub(super) worker: Arc<Worker>,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl Background {
    /// Runs until it is dropped.
    pub async fn run(&self) {
        self.worker.run().await;
    }

    /// Does once what [`run`](Self::run) does again and again: for tests that say when.
    #[doc(hidden)]
    pub async fn round(&self) {
        self.worker.round().await;
    }
}

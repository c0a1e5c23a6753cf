//! Finds out whether a gate can serve anything, and what of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::gate::Gate;

/// How long the ledger is waited for: a probe wants an answer, and a ledger that gives none
/// in that time is away.
const LEDGER_WITHIN: Duration = Duration::from_secs(2);

/// What works.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether the gate's server stops.
    pub stopping: bool,
    /// Whether the ledger can be used, or why not.
    pub ledger: Result<(), String>,
    /// Whether there are jobs that can be polled without the ledger.
    pub knows_jobs: bool,
    /// The channels, and whether each could be reached when it was last tried.
    pub channels: Vec<(Arc<str>, bool)>,
    /// The models, and whether a channel for each could be reached.
    pub models: Vec<(Arc<str>, bool)>,
}

impl Readiness {
    /// Finds out what of a gate works, the ledger included.
    pub async fn of(gate: &Gate) -> Self {
        let mut readiness = by_channels(gate);
        readiness.ledger = ledger_works(gate).await;
        readiness
    }

    /// Says why a load balancer should send no request here: the gate stops, or nothing at all can
    /// be served. What can is served: other models while one has no channel, and polls and
    /// downloads of known jobs while the ledger is away.
    pub fn why_not(&self) -> Option<&str> {
        if self.stopping {
            return Some("stopping");
        }
        if !self.channels.iter().any(|(_, up)| *up) {
            return Some("no channel can be reached");
        }
        match &self.ledger {
            Err(reason) if !self.knows_jobs => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why_not() {
            None => writeln!(f, "ready")?,
            Some(reason) => writeln!(f, "not ready: {reason}")?,
        }
        match &self.ledger {
            Ok(()) => writeln!(f, "ledger: ok")?,
            Err(reason) => writeln!(f, "ledger: {reason}")?,
        }
        for (name, up) in &self.channels {
            let state = if *up { "ok" } else { "cannot be reached" };
            writeln!(f, "channel {name}: {state}")?;
        }
        for (name, available) in &self.models {
            let state = if *available {
                "ok"
            } else {
                "no channel for it can be reached"
            };
            writeln!(f, "model {name}: {state}")?;
        }
        Ok(())
    }
}

/// Says why a load balancer should send no request to a gate. The ledger is waited for only where
/// it decides: a balancer's patience may be shorter than the gate's.
pub async fn why_not_ready(gate: &Gate) -> Option<String> {
    let mut readiness = by_channels(gate);
    if readiness.why_not().is_none() && !readiness.knows_jobs {
        readiness.ledger = ledger_works(gate).await;
    }
    readiness.why_not().map(str::to_owned)
}

async fn ledger_works(gate: &Gate) -> Result<(), String> {
    match timeout(LEDGER_WITHIN, gate.ledger().ready()).await {
        Ok(ready) => ready.map_err(|error| error.to_string()),
        Err(_) => Err("the ledger does not answer in time".into()),
    }
}

fn by_channels(gate: &Gate) -> Readiness {
    let (snapshot, now) = (gate.snapshot(), gate.now());
    let channels = snapshot.channels.all().iter();
    let available = |model: &str| {
        let mut channels = snapshot.channels.all().iter();
        channels.any(|channel| channel.spec().models.contains(model) && channel.is_up(now))
    };
    let models = snapshot.config.catalog.models();
    Readiness {
        stopping: gate.is_stopping(),
        ledger: Ok(()),
        knows_jobs: gate.has_cached_jobs(),
        channels: channels
            .map(|channel| (channel.spec().name.clone(), channel.is_up(now)))
            .collect(),
        models: models
            .map(|model| (model.name().clone(), available(model.name())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_ready_while_it_can_serve_anything() {
        let readiness = |stopping, ledger: bool, knows_jobs, up: &[bool]| Readiness {
            stopping,
            ledger: ledger.then_some(()).ok_or_else(|| "away".into()),
            knows_jobs,
            channels: up.iter().map(|up| ("c".into(), *up)).collect(),
            models: vec![("m".into(), up[0])],
        };
        let why_not = |r: Readiness| r.why_not().map(str::to_owned);
        for (readiness, wanted) in [
            (readiness(false, true, false, &[true]), None),
            (readiness(false, true, false, &[false, true]), None),
            (readiness(false, false, true, &[true]), None),
            (readiness(false, false, false, &[true]), Some("away")),
            (
                readiness(false, true, true, &[false, false]),
                Some("no channel can be reached"),
            ),
            (readiness(true, true, true, &[true]), Some("stopping")),
        ] {
            assert_eq!(why_not(readiness).as_deref(), wanted);
        }
        let text = readiness(false, false, true, &[false, true]).to_string();
        assert_eq!(
            text,
            "ready\nledger: away\nchannel c: cannot be reached\nchannel c: ok\n\
             model m: no channel for it can be reached\n"
        );
    }
}

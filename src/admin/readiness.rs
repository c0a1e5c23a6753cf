//! Determines whether a gate can serve requests, and which of its parts work.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::channel::ChannelState;
use crate::gate::Gate;
use crate::policy::Timestamp;
use crate::upstream::{ChannelStatus, EjectionReason, LiveChannel};

/// The maximum time to wait for the ledger. A ledger that does not answer in that time counts as
/// unavailable, since a probe must be answered soon.
const LEDGER_WITHIN: Duration = Duration::from_secs(2);

/// The state of the parts of a gate: ledger, channels and models.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether the gate's server is stopping.
    pub stopping: bool,
    /// `Ok` if the ledger can be used; otherwise the reason why not, in words for operators.
    pub ledger: Result<(), String>,
    /// Whether the gate has cached jobs, which can be polled without the ledger.
    pub knows_jobs: bool,
    /// The channels, with an entry for each of their addresses.
    pub channels: Vec<ChannelReadiness>,
    /// The models, and for each whether its creates can be sent to a channel.
    pub models: Vec<(Arc<str>, ModelReadiness)>,
}

/// Whether creates of a model can be sent to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelReadiness {
    /// At least one active channel of the model works, or is due to be tried again.
    Available,
    /// All active channels of the model are ejected. A create is still sent to one of them.
    Ejected,
    /// No channel of the model is active: each is drained or off.
    Closed,
}

impl ModelReadiness {
    fn of(model: &str, channels: &[Arc<LiveChannel>], now: Timestamp) -> Self {
        let takes = channels.iter().filter(|channel| {
            channel.state() == ChannelState::Active && channel.spec().models.contains(model)
        });
        let best = takes.map(|channel| match channel.is_up(now) {
            true => Self::Available,
            false => Self::Ejected,
        });
        best.min_by_key(|of| *of != Self::Available)
            .unwrap_or(Self::Closed)
    }

    /// Returns the state in words for operators.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Available => "ok",
            Self::Ejected => "only ejected channels, which are tried all the same",
            Self::Closed => "no channel takes it: each is drained or off",
        }
    }
}

/// The state of a channel at one of its addresses.
#[derive(Debug, Clone)]
pub struct ChannelReadiness {
    /// The channel's name.
    pub name: Arc<str>,
    /// The address, if the channel has several.
    pub address: Option<Arc<str>>,
    /// Whether the channel is up: not switched off, and either not ejected or due to be tried again.
    pub is_up: bool,
    /// The status of the channel.
    pub status: ChannelStatus,
}

impl ChannelReadiness {
    fn of(channel: &LiveChannel, now: Timestamp) -> Self {
        Self {
            name: channel.spec().name.clone(),
            address: channel.address().cloned(),
            is_up: channel.is_up(now),
            status: channel.status(now),
        }
    }

    /// Returns whether the channel can be asked about jobs, even if no creates are sent to it.
    fn can_be_reached(&self) -> bool {
        self.is_up || !self.is_off() && !self.is_unreachable()
    }

    /// Returns whether an operator or the configuration has switched the channel off.
    fn is_off(&self) -> bool {
        self.status.label == "off"
    }

    fn is_unreachable(&self) -> bool {
        self.status.reason == Some(EjectionReason::Unreachable)
    }
}

impl fmt::Display for ChannelReadiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, status, .. } = self;
        match &self.address {
            Some(address) => write!(f, "channel {name} ({address}): ")?,
            None => write!(f, "channel {name}: ")?,
        }
        match (status.label, status.reason) {
            ("active", _) => f.write_str("ok"),
            ("resting", Some(EjectionReason::Unreachable)) => f.write_str("cannot be reached"),
            (label, Some(reason)) => write!(f, "{label} ({})", reason.name()),
            (label, None) => f.write_str(label),
        }
    }
}

impl Readiness {
    /// Determines the state of all parts of a gate, including the ledger.
    pub async fn of(gate: &Gate) -> Self {
        let mut readiness = by_channels(gate);
        readiness.ledger = ledger_works(gate).await;
        readiness
    }

    /// Returns the reason why a load balancer should send no request here: the gate is stopping, or can
    /// serve nothing at all. A gate that works in part is ready: it serves other models while one has no
    /// channel, and polls and downloads of cached jobs while the ledger is unavailable.
    pub fn why_not(&self) -> Option<&str> {
        if self.stopping {
            return Some("stopping");
        }
        if self.channels.iter().all(ChannelReadiness::is_off) {
            return Some("each channel is off");
        }
        if !self.channels.iter().any(ChannelReadiness::can_be_reached) {
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
        for channel in &self.channels {
            writeln!(f, "{channel}")?;
        }
        for (name, model) in &self.models {
            writeln!(f, "model {name}: {}", model.text())?;
        }
        Ok(())
    }
}

/// Returns the reason why a load balancer should send no request to a gate. Asks the ledger only if the
/// result depends on it, since a load balancer may wait for a shorter time than the gate does.
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
    let models = snapshot.config.catalog.models().map(|model| {
        let readiness = ModelReadiness::of(model.name(), snapshot.channels.all(), now);
        (model.name().clone(), readiness)
    });
    Readiness {
        stopping: gate.is_stopping(),
        ledger: Ok(()),
        knows_jobs: gate.has_cached_jobs(),
        channels: channels
            .map(|channel| ChannelReadiness::of(channel, now))
            .collect(),
        models: models.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(label: &'static str, reason: Option<EjectionReason>) -> ChannelReadiness {
        ChannelReadiness {
            address: None,
            name: "c".into(),
            is_up: !matches!(label, "resting" | "off"),
            status: ChannelStatus {
                label,
                reason,
                until: None,
                in_flight: 0,
            },
        }
    }

    fn readiness(
        stopping: bool,
        ledger: bool,
        knows_jobs: bool,
        channels: &[ChannelReadiness],
    ) -> Readiness {
        Readiness {
            stopping,
            ledger: ledger.then_some(()).ok_or_else(|| "away".into()),
            knows_jobs,
            channels: channels.to_vec(),
            models: vec![
                ("a".into(), ModelReadiness::Available),
                ("b".into(), ModelReadiness::Ejected),
                ("c".into(), ModelReadiness::Closed),
            ],
        }
    }

    #[test]
    fn a_gate_is_ready_while_it_can_serve_anything() {
        let up = || channel("active", None);
        let dead = || channel("resting", Some(EjectionReason::Unreachable));
        let resting = || channel("resting", Some(EjectionReason::Account));
        let (drained, off) = (|| channel("drain", None), || channel("off", None));
        let unreachable = Some("no channel can be reached");
        for (readiness, wanted) in [
            (readiness(false, true, false, &[up()]), None),
            (readiness(false, true, false, &[dead(), up()]), None),
            (readiness(false, false, true, &[up()]), None),
            (readiness(false, false, false, &[up()]), Some("away")),
            (readiness(false, true, true, &[dead(), dead()]), unreachable),
            (readiness(false, true, true, &[dead(), off()]), unreachable),
            (
                readiness(false, true, true, &[off(), off()]),
                Some("each channel is off"),
            ),
            // Jobs of a drained channel can be polled and downloaded.
            (readiness(false, true, true, &[drained()]), None),
            (readiness(false, true, true, &[resting(), dead()]), None),
            (readiness(true, true, true, &[up()]), Some("stopping")),
        ] {
            assert_eq!(readiness.why_not(), wanted, "{readiness}");
        }
        let text = readiness(false, false, true, &[dead(), up(), drained(), resting()]).to_string();
        assert_eq!(
            text,
            "ready\nledger: away\nchannel c: cannot be reached\nchannel c: ok\nchannel c: drain\n\
             channel c: resting (account)\nmodel a: ok\n\
             model b: only ejected channels, which are tried all the same\n\
             model c: no channel takes it: each is drained or off\n"
        );
    }
}

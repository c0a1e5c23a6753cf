//! Shows operators the states of channels, and applies the changes that operators make to channels.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{TEXT, answer};
use crate::channel::ChannelState;
use crate::gate::Gate;
use crate::policy::Timestamp;
use crate::upstream::{ChannelControl, LiveChannel};

pub(super) const JSON: &str = "application/json";

/// Lists the channels with their configuration and their state.
pub(super) fn list(gate: &Gate) -> Response<Vec<u8>> {
    let (snapshot, now) = (gate.snapshot(), gate.now());
    let channels = snapshot.channels.all().iter();
    let channels: Vec<_> = channels.map(|channel| describe(channel, now)).collect();
    answer_json(&json!({ "channels": channels }))
}

/// Applies `action`, a text of the form `NAME/ACTION`, to the channel with that name, and answers with the
/// channel's new state.
pub(super) fn control(gate: &Gate, action: &str) -> Response<Vec<u8>> {
    let (name, action) = action.split_once('/').unwrap_or((action, ""));
    let control = match action {
        "drain" => ChannelControl::Set(ChannelState::Drain),
        "off" => ChannelControl::Set(ChannelState::Off),
        "activate" => ChannelControl::Set(ChannelState::Active),
        "restore" => ChannelControl::Restore,
        _ => {
            let known = "POST /channels/NAME/drain, off, activate or restore\n";
            return answer(StatusCode::NOT_FOUND, TEXT, known);
        }
    };
    let done = gate.control_channel(name, control);
    let snapshot = gate.snapshot();
    match done.and_then(|()| snapshot.channels.get(name)) {
        Some(channel) => answer_json(&describe(channel, gate.now())),
        None => {
            let channels = snapshot.channels.all().iter();
            let names: Vec<_> = channels.map(|channel| &*channel.spec().name).collect();
            let text = format!("no such channel; there are: {}\n", names.join(", "));
            answer(StatusCode::NOT_FOUND, TEXT, &text)
        }
    }
}

fn describe(channel: &LiveChannel, now: Timestamp) -> Value {
    let (spec, status) = (channel.spec(), channel.status(now));
    json!({
        "name": &*spec.name,
        "url": spec.url.text(),
        "state": status.label,
        "configured_state": match channel.is_removed() {
            true => "removed",
            false => spec.state.name(),
        },
        "reason": status.reason.map(|reason| reason.name()),
        "until": status.until.map(Timestamp::seconds),
        "in_flight": status.in_flight,
        "tier": spec.tier,
        "weight": spec.weight,
    })
}

pub(super) fn answer_json(value: &Value) -> Response<Vec<u8>> {
    answer(StatusCode::OK, JSON, &format!("{value:#}\n"))
}

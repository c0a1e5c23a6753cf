//! Builds the limits of keys, groups and channels.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use crate::policy::{Limit, Measure};

use super::error::{Problems, Reported};
use super::file::{self, OneOrMany, Text};
use super::scalar::parsed;

/// Builds the limits of a key or a group.
pub(super) fn build(
    file: Option<&file::Limits>,
    problems: &mut Problems,
) -> Result<Vec<Limit>, Reported> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let windowed = [
        (Measure::Requests, &file.requests),
        (Measure::VideoSeconds, &file.video_seconds),
        (Measure::ListCost, &file.list_cost_usd),
        (Measure::BilledCost, &file.billed_cost),
    ];
    build_all(&windowed, file.in_flight.as_ref(), problems)
}

/// Builds the limits of a channel. A limit of cost is a problem unless the channel has a purchase price.
pub(super) fn build_of_channel(
    file: Option<&file::ChannelLimits>,
    has_purchase: bool,
    problems: &mut Problems,
) -> Result<Vec<Limit>, Reported> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let windowed = [
        (Measure::Requests, &file.requests),
        (Measure::VideoSeconds, &file.video_seconds),
        (Measure::Cost, &file.cost),
    ];
    let limits = build_all(&windowed, file.in_flight.as_ref(), problems);
    match &file.cost {
        Some(cost) if !has_purchase => Err(problems.report_hint(
            cost.referenced,
            "what this channel charges is not known, so that its cost cannot be limited",
            "write `purchase: { currency: USD, factor: 1 }`, with what it charges",
        )),
        _ => limits,
    }
}

fn build_all(
    windowed: &[(Measure, &Option<Spanned<OneOrMany>>)],
    in_flight: Option<&Text>,
    problems: &mut Problems,
) -> Result<Vec<Limit>, Reported> {
    let mut limits = Vec::new();
    for (measure, entry) in windowed {
        build_measure(*measure, entry, &mut limits, problems);
    }
    if let Some(text) = in_flight {
        limits.push(parsed(
            text,
            |text| Limit::parse(Measure::InFlight, text),
            problems,
        ));
    }
    limits.into_iter().collect()
}

/// Adds to `limits` the limits of one measure from `entry`: one text, or several with different windows.
fn build_measure(
    measure: Measure,
    entry: &Option<Spanned<OneOrMany>>,
    limits: &mut Vec<Result<Limit, Reported>>,
    problems: &mut Problems,
) {
    let Some(entry) = entry else {
        return;
    };
    let texts = match &entry.value {
        OneOrMany::One(word) => {
            let text = Spanned::new(word.clone(), entry.referenced, entry.defined);
            vec![text]
        }
        OneOrMany::Many(texts) => texts.clone(),
        OneOrMany::Other => {
            let message = "this is no limit: write one such as 10/min, or a list of them";
            limits.push(Err(problems.report(entry.referenced, message)));
            return;
        }
    };
    let mut windows = BTreeSet::new();
    for text in &texts {
        let limit = parsed(text, |text| Limit::parse(measure, text), problems);
        let limit = limit.and_then(|limit| match windows.insert(limit.window) {
            true => Ok(limit),
            false => Err(problems.report_hint(
                text.referenced,
                format!(
                    "`{}` has two limits for the window `{}`",
                    measure.name(),
                    limit.window.name()
                ),
                "keep the smaller one",
            )),
        });
        limits.push(limit);
    }
}

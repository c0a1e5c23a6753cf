//! What a create is answered, where that is certain: what fits its limits is taken, and what does
//! not is refused.

use crate::model::{cost, limits_of, sum, takes};
use crate::plan::{MODELS, SIZES};
use crate::requests::{Made, Sent};
use crate::row::Row;
use crate::step::Play;
use crate::world::World;

/// Compares an answer with the reservations as they stood before the request.
pub fn check<'r, I: Iterator<Item = &'r Row>>(
    world: &World<'_>,
    number: usize,
    made: &Made,
    before: impl Fn() -> I,
    wrong: &mut Vec<String>,
) {
    let Sent::Answered { status, code, .. } = &made.sent else {
        if made.sent == Sent::Unanswered {
            wrong.push(format!("request {number} got no answer"));
        }
        return;
    };
    let mut earlier = world.made.iter().take(number);
    let same = |other: &Made| other.idem == made.idem && other.asked.key == made.asked.key;
    let is_repetition = made.idem.is_some() && earlier.any(same);
    // What is found out later is no answer to these.
    let held = matches!(made.create.play, Play::Hold | Play::HoldMade);
    if is_repetition || held || made.together.is_some() || world.was_cut {
        return;
    }
    let mut expect = |expected: &str, is_so: bool| {
        if !is_so {
            wrong.push(format!(
                "request {number} got {status} {code}, expected {expected}: {made:?}"
            ));
        }
    };
    let Some(group) = made.plan.groups[made.asked.key] else {
        return expect("401", *status == 401);
    };
    if made.source.is_some() {
        return;
    }
    if !made.plan.is_served(made.model) {
        return expect("400", *status == 400);
    }
    if !made.plan.allows(made.asked.key, made.seconds) {
        return expect("403", *status == 403);
    }
    if world.was_skewed {
        return;
    }
    let (list, billed) = cost(made, made.seconds, SIZES[made.size]);
    let row = Row::of_request(made, group, MODELS[made.model].0, list, billed);
    let exceeded =
        limits_of(world, &row)
            .into_iter()
            .any(|(scope, (measure, max, window), currency)| {
                let used = sum(before(), &scope, (measure, window, &currency), made.at);
                used + takes(&row, measure) > max
            });
    match made.create.play {
        _ if exceeded => expect("429", *status == 429),
        Play::Answer | Play::Ended(_) => expect("200", *status == 200),
        // Where nothing was made before, that is said.
        Play::Again => expect("an error", *status >= 400),
        Play::Refuse(_) => expect("a refusal", *status >= 400),
        _ => expect("an error", *status >= 500),
    }
}

//! What histories hold besides the usual, by its name, so that it can be tried by itself or
//! left out.

use std::sync::LazyLock;

use crate::step::{Change, Create, Deletion, Listing, Play, Polling, Render, Step};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers that are lost.
    Lost,
    /// Answers that come late, if at all.
    Held,
    /// Answers that never end.
    Drips,
    Redirects,
    /// Channels that render something else.
    Corrections,
    /// Several of one request at once.
    Together,
    /// Deletions that a channel has no route for.
    NoDeleteRoute,
    /// Lists without prompts, in pieces, in no order.
    Lists,
    /// Values that many parsers refuse.
    Unreadable,
    /// The ends of jobs in other words.
    OtherWords,
    /// Ids that stand in no path, or on several channels.
    OddIds,
    /// Prices and multipliers that change.
    Prices,
    /// Keys that leave or change their group.
    Moves,
    /// Groups of different currencies.
    Currencies,
    /// What keys may ask for changes.
    Policies,
    /// Clocks that are wrong by seconds.
    Skews,
    /// Clocks that are wrong by days.
    WrongClocks,
    /// Connections to the database that break.
    Cuts,
    /// A database that has missed something.
    Failovers,
}

/// What is left out.
const OFF: &[Kind] = &[];

impl Kind {
    pub fn is_on(self) -> bool {
        /// Others than the usual ones are tried by their names.
        static TRIED: LazyLock<Option<String>> =
            LazyLock::new(|| std::env::var("TOLLGATE_HISTORY_KINDS").ok());
        match &*TRIED {
            None => !OFF.contains(&self),
            Some(names) => {
                names == "all" || names.split(',').any(|name| name == format!("{self:?}"))
            }
        }
    }
}

/// Whether a step may be in a history.
pub fn allows(step: &Step) -> bool {
    match step {
        Step::Create(create) => allows_create(create),
        Step::Together(create, _) => Kind::Together.is_on() && allows_create(create),
        Step::Repeat(_, play) | Step::Release(_, play) => allows_play(*play),
        Step::Delete(_, _, Deletion::NoRoute) => Kind::NoDeleteRoute.is_on(),
        Step::Listing(_, listing) => match listing {
            Listing::Unreadable => Kind::Unreadable.is_on(),
            Listing::Short | Listing::Shuffled | Listing::NoPrompts => Kind::Lists.is_on(),
            _ => true,
        },
        Step::Polling(_, Polling::Unreadable) => Kind::Unreadable.is_on(),
        Step::Polling(_, Polling::OtherWords) => Kind::OtherWords.is_on(),
        Step::Reload(change) => match change {
            Change::Price(..) | Change::Multiplier(..) => Kind::Prices.is_on(),
            Change::Currency(..) => Kind::Currencies.is_on(),
            Change::Move(..) | Change::Remove(_) => Kind::Moves.is_on(),
            Change::Allow(..) => Kind::Policies.is_on(),
            _ => true,
        },
        Step::Skew(_, seconds) if seconds.abs() > 100 => Kind::WrongClocks.is_on(),
        Step::Skew(..) => Kind::Skews.is_on(),
        Step::Cut(_) => Kind::Cuts.is_on(),
        Step::MissedPoll(..) => Kind::Failovers.is_on(),
        _ => true,
    }
}

fn allows_create(create: &Create) -> bool {
    let rendered = create.render == Render::AsAsked || Kind::Corrections.is_on();
    rendered && allows_play(create.play)
}

fn allows_play(play: Play) -> bool {
    match play {
        Play::Drip => Kind::Drips.is_on(),
        Play::Redirect => Kind::Redirects.is_on(),
        Play::Hold | Play::HoldMade => Kind::Held.is_on(),
        Play::Lost | Play::Half | Play::NoId | Play::Gateway(_) => Kind::Lost.is_on(),
        _ => true,
    }
}

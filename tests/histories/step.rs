//! What a history is made of. Numbers that name a job or a request are taken modulo how many
//! there are, so that a step means something whatever was left out before it.

/// What a create asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    pub key: usize,
    pub model: usize,
    pub seconds: usize,
    pub size: usize,
    pub prompt: usize,
    /// A job that it is to be a remix of.
    pub remix: Option<usize>,
    /// Its Idempotency-Key.
    pub idem: Option<usize>,
}

/// What the channel makes of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// A job, and says so.
    Answer,
    /// A job that has ended by the time of the answer.
    Ended(Status),
    /// A job, and breaks off before its answer.
    Lost,
    /// A job, and breaks off within its answer.
    Half,
    /// Nothing, and breaks off.
    Never,
    /// A job, and answers with what names none.
    NoId,
    /// Nothing, and answers with the id of a job that it made before.
    Again,
    /// Nothing, and says so.
    Refuse(Refusal),
    /// A job, and a gateway in between answers with an error.
    Gateway(u16),
    /// A job, and a redirect.
    Redirect,
    /// A job, and a body that never ends.
    Drip,
    /// Nothing yet: a later step says what.
    Hold,
    /// A job, of which a later step says how it is answered.
    HoldMade,
}

impl Play {
    /// Whether it makes a job, at once.
    pub fn makes(self) -> bool {
        !matches!(
            self,
            Self::Never | Self::Refuse(_) | Self::Again | Self::Hold
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Invalid,
    Account,
    Rate,
    Quota,
    Internal,
}

/// How a job stands at the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Queued,
    Completed,
    Failed,
    Cancelled,
}

/// What the channel does where it renders something else than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Render {
    AsAsked,
    Seconds(usize),
    Size(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create {
    pub gate: usize,
    pub asked: Asked,
    pub play: Play,
    pub render: Render,
    /// The client is gone before the answer.
    pub leaves: bool,
}

/// What the channel does with a deletion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deletion {
    #[default]
    Done,
    /// Deletes, and breaks off before its answer.
    Lost,
    /// 404, and the job goes on.
    NoRoute,
    Fails,
}

/// How the channel's list is, until another step says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listing {
    #[default]
    Whole,
    Fails,
    Garbage,
    /// Two jobs to a page, however many are asked for.
    Short,
    /// In no order.
    Shuffled,
    /// Without prompts.
    NoPrompts,
    /// With entries that cannot be read.
    Unreadable,
    /// Without the jobs that were made last.
    Late,
}

/// How the channel answers polls, until another step says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Polling {
    #[default]
    Whole,
    Fails,
    Garbage,
    /// Another job than was asked for.
    OtherJob,
    Breaks,
    /// With a value that many parsers refuse.
    Unreadable,
    /// In other words for the same ends.
    OtherWords,
}

/// A change of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Price(usize, usize),
    Multiplier(usize, usize),
    Currency(usize, usize),
    Move(usize, usize),
    Remove(usize),
    Return(usize),
    Limits(usize, usize),
    GroupLimits(usize, usize),
    Allow(usize, usize),
    ChargeFailed(bool),
    Channel(usize, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Create(Create),
    /// The same several times at once, under one Idempotency-Key.
    Together(Create, usize),
    /// An earlier request with its Idempotency-Key.
    Repeat(usize, Play),
    /// The channel goes on with a create that it held.
    Release(usize, Play),
    Poll(usize, usize),
    Delete(usize, usize, Deletion),
    List(usize, usize),
    /// One round of a gate's background.
    Round(usize),
    End(usize, Status),
    Listing(usize, Listing),
    Polling(usize, Polling),
    Reload(Change),
    /// Seconds that pass.
    Pass(u64),
    /// By how many seconds a gate's clock is wrong.
    Skew(usize, i64),
    Restart(usize),
    /// It dies with all that is under way.
    Crash(usize),
    /// The connections to the database break: 0 at once, 1 before an answer comes back.
    Cut(usize),
    /// The database is replaced by a standby that has missed the poll of a job.
    MissedPoll(usize, usize),
}

/// What a history starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Milliseconds since 1970.
    pub time: u64,
    /// By how many seconds the channel's clock is wrong.
    pub channel_skew: i64,
    pub limits: [usize; 3],
    pub group_limits: [usize; 2],
    pub listing: [Listing; 2],
    pub polling: [Polling; 2],
    /// How channels name their jobs.
    pub ids: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub start: Start,
    pub steps: Vec<Step>,
}

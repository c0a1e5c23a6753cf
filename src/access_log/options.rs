//! What is logged, and how.

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text, with the values of a request as `key=value`.
    #[default]
    Text,
    /// A JSON object in each line.
    Json,
}

/// Which requests get a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoggedRequests {
    /// Each.
    #[default]
    All,
    /// Those that were answered with 400 or more, or not at all.
    Errors,
    /// None.
    Off,
}

impl LoggedRequests {
    /// Tests whether a request that was answered with this status gets a line.
    pub const fn includes(self, status: u16) -> bool {
        match self {
            Self::All => true,
            Self::Errors => status >= 400,
            Self::Off => false,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// How lines are written. For the binary: a host has its own logger.
    pub format: LogFormat,
    /// Which requests get a line.
    pub requests: LoggedRequests,
}

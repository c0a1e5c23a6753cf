//! The settings of the log: its format, and which requests get a line.

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text, with the values of a request as `key=value`.
    #[default]
    Text,
    /// A JSON object in each line.
    Json,
}

/// The requests that get a line in the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoggedRequests {
    /// All requests.
    #[default]
    All,
    /// Requests that were answered with status 400 or above, and requests whose client was gone before an
    /// answer was written (status 499 in the log).
    Errors,
    /// No requests.
    Off,
}

impl LoggedRequests {
    /// Returns whether a request that was answered with `status` gets a line.
    pub const fn includes(self, status: u16) -> bool {
        match self {
            Self::All => true,
            Self::Errors => status >= 400,
            Self::Off => false,
        }
    }
}

/// The settings of the log: its format, and which requests get a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The format of all log lines of the binary. A host that embeds the gate has its own logger.
    pub format: LogFormat,
    /// The requests that get a line in the access log.
    pub requests: LoggedRequests,
}

//! Builds the settings of the log (its format, and which requests get a line), and the networks of the
//! trusted proxies.

use super::error::{Problems, Reported};
use super::file;
use super::scalar::parsed_or;
use crate::access_log::{LogFormat, LogOptions, LoggedRequests, Network};

/// Builds the settings of the log from its section: text or JSON, and which requests get a line.
pub(super) fn build(
    file: Option<file::Log>,
    problems: &mut Problems,
) -> Result<LogOptions, Reported> {
    let file = file.unwrap_or_default();
    let or = LogOptions::default();
    let format = parsed_or(&file.format, format, or.format, problems);
    let requests = parsed_or(&file.requests, requests, or.requests, problems);
    Ok(LogOptions {
        format: format?,
        requests: requests?,
    })
}

fn format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write `text` or `json`"),
    }
}

fn requests(text: &str) -> Result<LoggedRequests, &'static str> {
    match text {
        "all" => Ok(LoggedRequests::All),
        "errors" => Ok(LoggedRequests::Errors),
        "off" => Ok(LoggedRequests::Off),
        _ => Err("write `all`, `errors` or `off`"),
    }
}

/// Builds the networks of the proxies whose header `X-Forwarded-For` is trusted for a client's address.
pub(super) fn build_trusted(
    file: &file::Listen,
    problems: &mut Problems,
) -> Result<Vec<Network>, Reported> {
    let mut trusted = Vec::new();
    let mut wrong = None;
    for text in file.trusted_proxies.iter().flatten() {
        match text.value.parse() {
            Ok(network) => trusted.push(network),
            Err(error) => {
                let error: crate::access_log::ParseNetworkError = error;
                wrong = Some(problems.report(text.referenced, error.to_string()));
            }
        }
    }
    wrong.map_or(Ok(trusted), Err)
}

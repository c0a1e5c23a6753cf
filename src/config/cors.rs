//! Builds the CORS settings: which web pages may use the gate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Problems, Reported};
use super::file::{self, OneOrMany, Text};
use super::scalar::{duration, parsed, parsed_or};
use crate::policy::Cors;

const MAX_AGE: Duration = Duration::from_secs(600);

/// Builds the CORS settings from the file. `None` means that there is no `cors` section, so no web page may
/// use the gate.
pub(super) fn build(
    file: &Option<file::Cors>,
    problems: &mut Problems,
) -> Result<Option<Cors>, Reported> {
    let Some(file) = file else { return Ok(None) };
    let origins = match &file.origins.value {
        OneOrMany::One(word) if word == "any" => Ok(None),
        OneOrMany::Many(list) if !list.is_empty() => {
            all(list, origin, problems).map(|list| Some(BTreeSet::from_iter(list)))
        }
        _ => {
            let message = "write a list of origins, or the word any";
            let hint = "such as [https://app.example.com]";
            Err(problems.report_hint(file.origins.referenced, message, hint))
        }
    };
    let headers = all(
        file.headers.as_deref().unwrap_or_default(),
        header,
        problems,
    );
    let max_age = parsed_or(&file.max_age, duration, MAX_AGE, problems);
    Ok(Some(Cors {
        origins: origins?,
        headers: headers?,
        max_age: max_age?,
    }))
}

/// Parses each text of a list with `read`, and reports a problem for each text that is invalid.
fn all(
    list: &[Text],
    read: fn(&str) -> Result<Arc<str>, &'static str>,
    problems: &mut Problems,
) -> Result<Vec<Arc<str>>, Reported> {
    let read: Vec<_> = list
        .iter()
        .map(|text| parsed(text, read, problems))
        .collect();
    read.into_iter().collect()
}

/// Checks that a text is an origin in the form that browsers send: a scheme, a host and, unless it is the
/// scheme's default, a port, all in lower case. Any other form would never match the origin of a page.
fn origin(text: &str) -> Result<Arc<str>, &'static str> {
    let wrong = "this is no origin: write the scheme, the host and its port where it is not the usual \
                 one, such as https://app.example.com, without a path and in lower case";
    let (scheme, host) = text.split_once("://").ok_or(wrong)?;
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(wrong),
    };
    let uri: http::Uri = text.parse().map_err(|_| wrong)?;
    let is_host = |b: u8| {
        b.is_ascii_digit()
            || b.is_ascii_lowercase()
            || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
    };
    let is_whole = uri.host().is_some_and(|host| !host.is_empty());
    if !is_whole
        || !host.bytes().all(is_host)
        || host.ends_with([':', '.'])
        || host.ends_with(usual)
    {
        return Err(wrong);
    }
    Ok(text.into())
}

/// Parses the name of a header, and returns it in lower case.
fn header(text: &str) -> Result<Arc<str>, &'static str> {
    let name = http::HeaderName::from_bytes(text.as_bytes());
    name.map(|name| name.as_str().into())
        .map_err(|_| "this is no name of a header: write it as x-tenant")
}

//! Builds the channels of the configuration: the upstream accounts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header;
use serde_saphyr::Spanned;

use crate::catalog::Catalog;
use crate::channel::{Auth, Channel, ContentHost, Http2, ServerUrl};
use crate::dialect::{Dialect, MAX_WORD, Status, StatusWords, WordError};
use crate::inspect::SecondsType;

use super::error::{Problems, Reported};
use super::file::{self, Entries, Text, WordOr};
use super::scalar::{bytes, duration, name, parsed, parsed_or};
use super::sources::Sources;
use super::{connection, models, operation, yaml};

/// The headers that describe a message's body or its route. A credential must not be sent in them.
const NO_CREDENTIAL_IN: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Builds the channels, in the order of the file. Also reports each model that no channel offers.
pub(super) fn build(
    file: &Spanned<Entries<file::Channel>>,
    offer: (&Entries<file::Model>, &Result<Catalog, Reported>),
    sources: Sources<'_>,
    problems: &mut Problems,
) -> Result<Vec<Arc<Channel>>, Reported> {
    let mut channels = Vec::new();
    for (name, channel) in &file.value.0 {
        channels.push(build_one(name, channel, offer, sources, problems).map(Arc::new));
    }
    if channels.is_empty() {
        return Err(problems.report(file.referenced, "no channel: name at least one"));
    }
    for (model, _) in &offer.0.0 {
        let mut served = file.value.0.iter().flat_map(|(_, c)| &c.models.value);
        if !served.any(|served| served.value == model.value) {
            problems.report_hint(
                model.referenced,
                format!("no channel serves the model `{}`", model.value),
                "list it under a channel's `models`, or remove it here",
            );
        }
    }
    channels.into_iter().collect()
}

fn build_one(
    name_text: &Text,
    file: &file::Channel,
    (listed, catalog): (&Entries<file::Model>, &Result<Catalog, Reported>),
    sources: Sources<'_>,
    problems: &mut Problems,
) -> Result<Channel, Reported> {
    let p = problems;
    let name = parsed(name_text, name, p);
    let urls = build_urls(name_text, file, p);
    let url = urls.as_ref().map(|(url, _)| url);
    let credential = match &file.credential {
        Some(c) => sources.credential(&c.value, c.referenced, p).map(Some),
        None => Ok(None),
    };
    let auth = build_auth(name_text, file, p);
    let models = build_models(&file.models, listed, p);
    let seconds_type = build_seconds_type(&file.seconds_type, p);
    let http2 = build_http2(&file.http2, p);
    let ca = match &file.ca {
        Some(text) if url.is_ok_and(|url| !url.tls) => Err(p.report_hint(
            text.referenced,
            "`ca` is of no use to a channel without TLS",
            "remove it, or write https:// in `url`",
        )),
        Some(text) => sources.certificates(text, p),
        None => Ok(vec![]),
    };
    let is_plain = url.is_ok_and(|url| !url.tls);
    let client_cert = connection::build_client_cert(file, is_plain, sources, p);
    let proxy = connection::build_proxy(file, sources, p);
    let timeout = |text, seconds, p: &mut Problems| {
        parsed_or(text, duration, Duration::from_secs(seconds), p)
    };
    let connect_timeout = timeout(&file.connect_timeout, 5, p);
    let answer_timeout = timeout(&file.answer_timeout, 120, p);
    let read_timeout = timeout(&file.read_timeout, 60, p);
    let idle_timeout = timeout(&file.idle_timeout, 60, p);
    let min_download_rate = parsed_or(&file.min_download_rate, bytes, 1024, p);
    let words = build_words(file.status_words.as_ref(), p);
    let content_hosts = build_content_hosts(file, p);
    let operation = operation::build(file, &models, catalog, p);
    // Every part was checked above, so all problems are reported before the first one ends this function.
    let (models, operation, (url, replicas)) = (models?, operation?, urls?);
    Ok(Channel {
        name: name?,
        url,
        replicas,
        credential: credential?,
        auth: auth?,
        models,
        seconds_type: seconds_type?,
        http2: http2?,
        ca: ca?,
        client_cert: client_cert?,
        proxy: proxy?,
        connect_timeout: connect_timeout?,
        answer_timeout: answer_timeout?,
        read_timeout: read_timeout?,
        idle_timeout: idle_timeout?,
        min_download_rate: min_download_rate?,
        dialect: Dialect::new(words?),
        content_hosts: content_hosts?,
        tier: operation.tier,
        weight: operation.weight,
        state: operation.state,
        limits: operation.limits,
        purchase: operation.purchase,
        ejection: operation.ejection,
        probe: operation.probe,
    })
}

/// Builds the addresses of a channel: the first one, and a list of the others.
fn build_urls(
    name: &Text,
    file: &file::Channel,
    problems: &mut Problems,
) -> Result<(ServerUrl, Vec<ServerUrl>), Reported> {
    let texts: Vec<&Text> = match (&file.url, &file.urls) {
        (Some(url), None) => vec![url],
        (None, Some(urls)) if !urls.value.is_empty() => urls.value.iter().collect(),
        (Some(_), Some(urls)) => {
            return Err(problems.report_hint(
                urls.referenced,
                "`url` and `urls` exclude each other",
                "write all addresses under `urls`",
            ));
        }
        (None, urls) => {
            return Err(problems.report_hint(
                urls.as_ref()
                    .map_or(name.referenced, |urls| urls.referenced),
                "this channel has no address",
                "write `url: https://HOST`, or `urls` with several",
            ));
        }
    };
    let mut urls: Vec<ServerUrl> = Vec::new();
    let mut wrong = None;
    for text in texts {
        match parsed(text, ServerUrl::parse, problems) {
            Ok(url) if urls.contains(&url) => {
                wrong = Some(problems.report_hint(
                    text.referenced,
                    format!("`{}` stands here twice", text.value),
                    "remove one",
                ));
            }
            Ok(url) if urls.first().is_some_and(|first| first.tls != url.tls) => {
                wrong = Some(problems.report(
                    text.referenced,
                    "the addresses of one channel are all https:// or all http://",
                ));
            }
            Ok(url) => urls.push(url),
            Err(reported) => wrong = Some(reported),
        }
    }
    match (wrong, urls.is_empty()) {
        (Some(wrong), _) => Err(wrong),
        (None, true) => Err(problems.report(name.referenced, "this channel has no address")),
        (None, false) => Ok((urls.remove(0), urls)),
    }
}

/// Builds the method of sending a channel's credential. The default is a Bearer token.
///
/// A channel without a credential must have `auth: none`. Otherwise a forgotten credential would be
/// noticed only when the channel refuses requests.
fn build_auth(
    name: &Text,
    file: &file::Channel,
    problems: &mut Problems,
) -> Result<Auth, Reported> {
    let Some(auth) = &file.auth else {
        return match &file.credential {
            Some(_) => Ok(Auth::Bearer),
            None => Err(problems.report_hint(
                name.referenced,
                "this channel has no credential",
                "write `credential: { env: NAME }`, or `auth: none` if it needs none",
            )),
        };
    };
    let at = auth.referenced;
    let parsed = match &auth.value {
        WordOr::Word(word) if word == "bearer" => Auth::Bearer,
        WordOr::Word(word) if word == "none" => Auth::None,
        WordOr::Section(file::AuthHeader { header: Some(name) }) => {
            Auth::Header(auth_header(name, problems)?)
        }
        _ => {
            return Err(problems.report(
                at,
                "this is no way to show a credential: write bearer, none or { header: NAME }",
            ));
        }
    };
    match (&file.credential, parsed) {
        (Some(_), Auth::None) => Err(problems.report_hint(
            at,
            "`auth: none` and a credential exclude each other",
            "remove one of the two",
        )),
        (None, Auth::Bearer | Auth::Header(_)) => Err(problems.report_hint(
            at,
            "there is no credential to show",
            "write `credential: { env: NAME }`, or `auth: none`",
        )),
        (_, parsed) => Ok(parsed),
    }
}

fn auth_header(name: &Text, problems: &mut Problems) -> Result<HeaderName, Reported> {
    match HeaderName::from_bytes(name.value.as_bytes()) {
        Ok(header) if NO_CREDENTIAL_IN.contains(&header) => Err(problems.report_hint(
            name.referenced,
            format!("the header `{header}` has another duty"),
            "name the one in which the channel looks for its key, such as api-key",
        )),
        Ok(header) => Ok(header),
        Err(_) => Err(problems.report_hint(
            name.referenced,
            "this is no name of a header",
            "write one such as api-key",
        )),
    }
}

fn build_models(
    file: &Spanned<Vec<Text>>,
    catalog: &Entries<file::Model>,
    problems: &mut Problems,
) -> Result<BTreeSet<Arc<str>>, Reported> {
    let mut served = BTreeSet::new();
    let mut wrong = None;
    for model in &file.value {
        if models::find(catalog, &model.value).is_none() {
            wrong = Some(models::unknown(catalog, model, problems));
        } else if !served.insert(model.value.as_str().into()) {
            wrong = Some(problems.report_hint(
                model.referenced,
                format!("`{}` stands here twice", model.value),
                "remove one",
            ));
        }
    }
    if file.value.is_empty() {
        wrong = Some(problems.report(file.referenced, "no models: name at least one"));
    }
    wrong.map_or(Ok(served), Err)
}

fn build_seconds_type(
    file: &Option<Text>,
    problems: &mut Problems,
) -> Result<SecondsType, Reported> {
    let words = [
        ("string", SecondsType::String),
        ("number", SecondsType::Number),
        ("either", SecondsType::Either),
    ];
    choice("seconds_type", file, &words, problems)
}

fn build_http2(file: &Option<Text>, problems: &mut Problems) -> Result<Http2, Reported> {
    let words = [
        ("auto", Http2::Auto),
        ("never", Http2::Never),
        ("always", Http2::Always),
    ];
    choice("http2", file, &words, problems)
}

/// Returns the value that is paired in `words` with the word in `file`, or the default value if `file` is
/// `None`. Any other word is reported as a problem of the setting `name`.
pub(super) fn choice<T: Copy + Default>(
    name: &str,
    file: &Option<Text>,
    words: &[(&str, T); 3],
    problems: &mut Problems,
) -> Result<T, Reported> {
    let Some(text) = file else {
        return Ok(T::default());
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Ok(*value);
    }
    let [first, second, third] = words.map(|(word, _)| word);
    let hint = match yaml::nearest(&text.value, &[first, second, third]) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write {first}, {second} or {third}"),
    };
    let problem = format!("this is no choice for `{name}`");
    Err(problems.report_hint(text.referenced, problem, hint))
}

/// Builds the status words that the channel uses, each with the job status that it means.
fn build_words(
    file: Option<&Entries<Text>>,
    problems: &mut Problems,
) -> Result<StatusWords, Reported> {
    let (mut words, mut wrong) = (StatusWords::default(), None);
    for (word, means) in file.iter().flat_map(|entries| &entries.0) {
        let names = Status::ALL.map(Status::name);
        let Some(status) = Status::from_name(&means.value) else {
            let hint = match yaml::nearest(&means.value, &names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("write one of {}", names.join(", ")),
            };
            let message = "this is no state of a job";
            wrong = Some(problems.report_hint(means.referenced, message, hint));
            continue;
        };
        wrong = match words.add(&word.value, status) {
            Ok(()) => wrong,
            Err(WordError::Unfit) => Some(problems.report(
                word.referenced,
                format!("this is no word: write 1 to {MAX_WORD} visible ASCII characters"),
            )),
            Err(WordError::Repeated) => Some(problems.report_hint(
                word.referenced,
                format!("`{}` stands here twice", word.value),
                "remove one: words are compared without regard to case, `-` and spaces",
            )),
        };
    }
    wrong.map_or(Ok(words), Err)
}

fn build_content_hosts(
    file: &file::Channel,
    problems: &mut Problems,
) -> Result<Vec<ContentHost>, Reported> {
    let hosts = file.content_hosts.iter().flatten();
    let hosts: Vec<_> = hosts
        .map(|host| parsed(host, ContentHost::parse, problems))
        .collect();
    hosts.into_iter().collect()
}

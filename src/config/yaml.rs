//! Reads YAML into the types of `file.rs`, and explains YAML errors in plain words.

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, NonFiniteFloatPolicy};

use super::error::{Problems, Reported};

/// Deserializes a YAML text. Reports only the first error of syntax or structure, because the text after it
/// may not mean what it seems to mean.
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    problems: &mut Problems,
) -> Result<T, Reported> {
    // The file's length is limited where it is read, and its aliases by the number of events that they
    // replay. These limits allow a hundred thousand keys that share one anchor. The parser's defaults,
    // meant for files from strangers, allow fewer.
    let budget = serde_saphyr::budget! {
        max_events: 20_000_000,
        max_nodes: 5_000_000,
        max_aliases: 500_000,
        max_merge_keys: 500_000,
        enforce_alias_anchor_ratio: false,
    };
    let alias_limits = serde_saphyr::alias_limits! {
        max_total_replayed_events: 5_000_000,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        alias_limits: alias_limits,
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // A snippet of the file could show a secret that stands in it by mistake.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| problems.report_yaml(&e))
}

/// Returns the message and the hint for a YAML error. They contain no value of the file, which could be a
/// secret in the wrong place.
pub(super) fn explain(error: &Error) -> (String, Option<String>) {
    let (message, hint): (&str, &str) = match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => {
            return explain(error);
        }
        Error::SerdeUnknownField {
            field, expected, ..
        } => return unknown_key(field, expected),
        Error::SerdeMissingField { field, .. } => {
            return (
                format!("the key `{field}` is missing from this mapping"),
                None,
            );
        }
        Error::ExternalMessage { msg, .. } => return (format!("this is not YAML: {msg}"), None),
        Error::DuplicateMappingKey { .. } => ("this key stands here twice", "remove one"),
        Error::NullIntoString { .. } => ("a value is missing here", "write one"),
        Error::Unexpected { expected, .. } => match *expected {
            "mapping start" => ("a mapping is expected here", "write `key: value`"),
            "sequence start" => ("a list is expected here", "write `[a, b]`"),
            _ => ("a single value is expected here", ""),
        },
        Error::InvalidBooleanStrict { .. } => ("this is no switch", "write true or false"),
        Error::InvalidScalar { .. } => ("this value has another type than its key", ""),
        Error::Eof { .. } => ("the file holds no configuration", ""),
        Error::MultipleDocuments { .. } => ("a second document begins here", "a file holds one"),
        Error::UnknownAnchor { .. } => ("there is no anchor of this name above", ""),
        Error::UnsupportedTag { .. } | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            ("tags have no meaning here", "remove the `!...`")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            ("the file is too large or too deeply nested", "split it")
        }
        _ => ("this is not what belongs here", ""),
    };
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    (message.to_owned(), hint.map(str::to_owned))
}

fn unknown_key(found: &str, known: &[&'static str]) -> (String, Option<String>) {
    let hint = match nearest(found, known) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    let a_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let message = if found.len() <= 24 && found.bytes().all(a_word) {
        format!("unknown key `{found}`")
    } else {
        "unknown key".to_owned()
    };
    (message, Some(hint))
}

/// Returns the word of `known` that `found` is most likely a misspelling of: at most a third of the word's
/// letters (rounded up), and at most three, differ. `None` if no word is that similar.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    // The time to compute the distance grows with the product of the lengths.
    if found.len() > 64 {
        return None;
    }
    let found = found.to_lowercase().replace('-', "_");
    let close = known.iter().map(|word| (distance(&found, word), *word));
    let close = close.filter(|(far, word)| *far <= word.len().div_ceil(3).min(3));
    close.min().map(|(_, word)| word)
}

/// Returns the Levenshtein distance of two texts, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

//! The configuration file's own form: the types that its YAML is deserialized into.
//!
//! Every number is kept as the text that the file has: `0.10` stays these four characters, and never
//! becomes a float before it is an exact amount. Each text has its place in the file, so that a later check
//! can report a problem there.
//!
//! No type here derives `Debug`, because a file can contain, by mistake, a secret that must not be printed.

mod channel;

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

pub(super) use channel::{AuthHeader, Channel, ChannelLimits, Ejection, Probe, Purchase};

/// The text of a YAML scalar, quoted or not, with its place in the file.
pub(super) type Text = Spanned<String>;

/// The main configuration file, with all its sections.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub listen: Listen,
    pub admin: Option<Spanned<WordOr<Admin>>>,
    pub cors: Option<Cors>,
    pub server: Option<Server>,
    pub log: Option<Log>,
    pub ledger: Option<Spanned<WordOr<Credential>>>,
    pub jobs: Option<Jobs>,
    pub channels: Spanned<Entries<Channel>>,
    pub catalog: Spanned<Entries<Model>>,
    pub fields: Option<Spanned<Vec<Text>>>,
    pub groups: Entries<Group>,
    pub keys: Option<Vec<Key>>,
    pub keys_from: Option<Spanned<OneOrMany>>,
    pub reload: Option<Reload>,
    pub metrics: Option<Metrics>,
    pub bounds: Option<Bounds>,
}

/// A file that `keys_from` names. It contains client keys only.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    pub keys: Vec<Key>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub address: Text,
    pub tls: Option<Tls>,
    pub h2c: Option<Spanned<bool>>,
    pub trusted_proxies: Option<Vec<Text>>,
    pub grace: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub cert: Text,
    pub key: Text,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub address: Option<Text>,
    pub control: Option<bool>,
    pub token: Option<Spanned<Credential>>,
    pub open_metrics: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    pub origins: Spanned<OneOrMany>,
    pub headers: Option<Vec<Text>>,
    pub max_age: Option<Text>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub format: Option<Text>,
    pub requests: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub threads: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub seconds: ModelSeconds,
    pub sizes: ModelSizes,
    pub check_image: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSeconds {
    pub allowed: Spanned<Vec<Text>>,
    pub default: Text,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSizes {
    pub default: Text,
    pub usd_per_second: Spanned<Entries<Text>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub multiplier: Text,
    pub currency: Text,
    pub limits: Option<Limits>,
    pub channels: Option<Spanned<Vec<Text>>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub name: Text,
    pub sha256: Option<Text>,
    pub digests: Option<Spanned<Vec<Digest>>>,
    pub not_after: Option<Text>,
    pub disabled: Option<bool>,
    pub group: Text,
    pub allow: Option<Allow>,
    pub limits: Option<Limits>,
    pub channels: Option<Spanned<Vec<Text>>>,
}

/// A digest of a client key. `until` is the time at which the digest expires; `None` for no such time.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    pub sha256: Text,
    pub until: Option<Text>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    pub models: Option<Spanned<Vec<Text>>>,
    pub sizes: Option<Spanned<Vec<Text>>>,
    pub seconds: Option<Spanned<Vec<Text>>>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub requests: Option<Spanned<OneOrMany>>,
    pub video_seconds: Option<Spanned<OneOrMany>>,
    pub list_cost_usd: Option<Spanned<OneOrMany>>,
    pub billed_cost: Option<Spanned<OneOrMany>>,
    pub in_flight: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    pub watch: Option<Text>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub cost_labels: Option<Vec<Text>>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Bounds {
    pub body_bytes: Option<Text>,
    pub head_bytes: Option<Text>,
    pub headers: Option<Text>,
    pub parts: Option<Text>,
    pub part_header_bytes: Option<Text>,
    pub prompt_chars: Option<Text>,
    pub read_timeout: Option<Text>,
    pub upload_timeout: Option<Text>,
    pub keepalive_timeout: Option<Text>,
    pub keepalive_requests: Option<Text>,
    pub concurrent_uploads: Option<Text>,
    pub uploads_per_key: Option<Text>,
    pub upload_rate: Option<Text>,
    pub upload_rate_window: Option<Text>,
    pub connections: Option<Text>,
    pub drain_bytes: Option<Text>,
    pub drain_timeout: Option<Text>,
    pub answer_bytes: Option<Text>,
    pub shutdown_timeout: Option<Text>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Jobs {
    pub charge_failed_jobs: Option<bool>,
    pub poll_after: Option<Text>,
    pub polls_per_second: Option<Text>,
    pub expire_after: Option<Text>,
    pub unknown_grace: Option<Text>,
    pub idempotency_for: Option<Text>,
    pub keep_days: Option<Text>,
}

/// A YAML mapping whose keys are not fixed by the file's format, in the order of the file.
pub(super) struct Entries<V>(pub Vec<(Text, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// Implements the scalar methods of a [`Visitor`] by passing the scalar's text to `$answer`.
///
/// The text can differ from the file, because YAML first guesses the type: a number or boolean is read
/// and written again. So use this only where neither a number nor a boolean is valid.
macro_rules! visit_scalars {
    ($answer:expr) => {
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok($answer(text.to_owned()))
        }

        fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
            Ok($answer(value.to_string()))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
            Ok($answer(value.to_string()))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
            Ok($answer(value.to_string()))
        }

        fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
            Ok($answer(value.to_string()))
        }
    };
}

/// A section of the file, or a single word as the section's short form.
pub(super) enum WordOr<T> {
    Word(String),
    Section(T),
    /// A list. It is never valid, but kept so that it can be reported with its place.
    Other,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WordOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for WordVisitor<T> {
            type Value = WordOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a mapping")
            }

            visit_scalars!(WordOr::Word);

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(WordOr::Section)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(WordOr::Other)
            }
        }

        deserializer.deserialize_any(WordVisitor(PhantomData))
    }
}

/// A text, or a list of texts.
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Text>),
    /// A mapping. It is never valid, but kept so that it can be reported with its place.
    Other,
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            visit_scalars!(OneOrMany::One);

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(OneOrMany::Other)
            }
        }

        deserializer.deserialize_any(TextsVisitor)
    }
}

/// The source of a secret. The secret is a channel's credential, the admin token, or the URL of the ledger
/// or of an egress proxy.
pub(super) enum Credential {
    /// The name of the environment variable that holds the secret.
    Env(Text),
    /// The path of the file that contains the secret and nothing else.
    File(Text),
    /// Any other value. It may be the secret itself, so its text is dropped.
    Other,
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CredentialVisitor;

        impl<'de> Visitor<'de> for CredentialVisitor {
            type Value = Credential;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ env: NAME } or { file: PATH }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    let source = match key.as_str() {
                        "env" => Credential::Env(map.next_value()?),
                        "file" => Credential::File(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            Credential::Other
                        }
                    };
                    found = Some(match found {
                        None => source,
                        Some(_) => Credential::Other,
                    });
                }
                Ok(found.unwrap_or(Credential::Other))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Credential::Other)
            }

            visit_scalars!(|_| Credential::Other);
        }

        deserializer.deserialize_any(CredentialVisitor)
    }
}

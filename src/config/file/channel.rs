//! The types that a channel's section of the configuration file is deserialized into.

use serde_saphyr::Spanned;

use super::{Credential, Entries, OneOrMany, Text, Tls, WordOr};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Channel {
    pub url: Option<Text>,
    pub urls: Option<Spanned<Vec<Text>>>,
    pub credential: Option<Spanned<Credential>>,
    pub auth: Option<Spanned<WordOr<AuthHeader>>>,
    pub models: Spanned<Vec<Text>>,
    pub seconds_type: Option<Text>,
    pub http2: Option<Text>,
    pub ca: Option<Text>,
    pub client_cert: Option<Spanned<Tls>>,
    pub proxy: Option<Spanned<WordOr<Credential>>>,
    pub connect_timeout: Option<Text>,
    pub answer_timeout: Option<Text>,
    pub read_timeout: Option<Text>,
    pub idle_timeout: Option<Text>,
    pub min_download_rate: Option<Text>,
    pub status_words: Option<Entries<Text>>,
    pub content_hosts: Option<Vec<Text>>,
    pub tier: Option<Text>,
    pub weight: Option<Text>,
    pub state: Option<Text>,
    pub limits: Option<ChannelLimits>,
    pub purchase: Option<Spanned<Purchase>>,
    pub ejection: Option<Ejection>,
    pub probe: Option<Probe>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AuthHeader {
    pub header: Option<Text>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ChannelLimits {
    pub requests: Option<Spanned<OneOrMany>>,
    pub video_seconds: Option<Spanned<OneOrMany>>,
    pub cost: Option<Spanned<OneOrMany>>,
    pub in_flight: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Purchase {
    pub currency: Text,
    pub factor: Option<Text>,
    pub prices: Option<Spanned<Entries<Spanned<Entries<Text>>>>>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Ejection {
    pub failures: Option<Text>,
    pub pause: Option<Text>,
    pub max_pause: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Probe {
    pub path: Option<Text>,
    pub every: Option<Text>,
}

//! Tests which settings of channels are accepted and which are refused.

use super::*;
use crate::channel::ServerUrl;

#[test]
fn channels_have_a_plain_url_and_one_way_to_authenticate() {
    let credential = "credential: { env: CRED }";
    refused(&[
        (
            "https://a.example",
            "§https://u:SECRET@a.example",
            &["no user or password in a URL"],
        ),
        (
            "https://a.example",
            "§https://a.example?key=SECRET",
            &["end the URL before `?`"],
        ),
        ("  one:", "  §\"one 1\":", &["this is no name"]),
        (
            "  one:",
            &format!("  §{}:", "x".repeat(65)),
            &["this is no name"],
        ),
        (
            "  one:\n    url: https://a.example\n    credential",
            "  §one:\n    url: https://a.example\n    # ",
            &["auth: none"],
        ),
        (
            credential,
            &format!("{credential}\n    auth: §none"),
            &["exclude each other"],
        ),
        (
            credential,
            "auth: §bearer",
            &["there is no credential to show"],
        ),
        (
            credential,
            "auth: §{ header: api-key }",
            &["there is no credential to show"],
        ),
        (
            credential,
            &format!("{credential}\n    auth: §basic"),
            &["write bearer, none or"],
        ),
        (
            credential,
            &format!("{credential}\n    auth: §{{}}"),
            &["write bearer, none or"],
        ),
        (
            credential,
            &format!("{credential}\n    auth: {{ header: §a b }}"),
            &["no name of a header"],
        ),
        (
            credential,
            &format!("{credential}\n    auth: {{ header: §Host }}"),
            &["`host` has another duty"],
        ),
    ]);
}

#[test]
fn channels_have_one_address_or_several_that_differ() {
    let url = "    url: https://a.example\n";
    let urls = "    urls: [https://a.example, \"https://b.example:8443/x\"]\n";
    let channel = accepted(&changed(&[(url, urls)])).channels[0].clone();
    let parsed = |url| ServerUrl::parse(url).unwrap();
    assert_eq!(channel.url, parsed("https://a.example"));
    assert_eq!(channel.replicas, [parsed("https://b.example:8443/x")]);
    let one = accepted(&changed(&[(url, "    urls: [http://a.example]\n")]));
    assert_eq!(one.channels[0].url, parsed("http://a.example"));
    assert!(one.channels[0].replicas.is_empty());

    let without = changed(&[("  one:\n    url: https://a.example\n", "  §one:\n")]);
    let wanted = "this channel has no address (write `url: https://HOST`, or `urls` with several)";
    refused_in(Path::new("/nonexistent"), &without, &[wanted]);

    let mixed = "are all https:// or all http://";
    for (lines, wanted) in [
        (
            "    url: https://a.example\n    urls: §[https://b.example]\n",
            &["`url` and `urls` exclude each other"][..],
        ),
        (
            "    url: https://a.example\n    urls: §[]\n",
            &["`url` and `urls` exclude each other"],
        ),
        ("    urls: §[]\n", &["this channel has no address"]),
        (
            "    urls:\n      - https://a.example\n      - §https://a.example\n",
            &["`https://a.example` stands here twice"],
        ),
        // The same address, written in another way.
        (
            "    urls: [https://a.example, §\"https://A.example:443/\"]\n",
            &["stands here twice"],
        ),
        (
            "    urls: [https://a.example, §http://b.example, https://c.example]\n",
            &[mixed],
        ),
        (
            "    urls: [http://a.example, §https://a.example]\n",
            &[mixed],
        ),
        (
            "    urls: [§a.example, http://b.example, §https://c.example, \
             §https://u:SECRET@d.example, §http://b.example]\n",
            &[
                "begins with https:// or http://",
                mixed,
                "no user or password",
                "stands here twice",
            ],
        ),
        ("    urls: §https://a.example\n", &["expected"]),
    ] {
        let text = changed(&[(url, lines)]);
        refused_in(Path::new("/nonexistent"), &text, wanted);
    }
}

#[test]
fn channels_have_settings_that_hold_together() {
    refused(&[
        ("[m, n]", "[m, n, §m]", &["`m` stands here twice"]),
        (
            "[m, n]",
            "[m, n]\n    http2: §nevr",
            &["did you mean `never`?"],
        ),
        (
            "[m, n]",
            "[m, n]\n    http2: §maybe so",
            &["write auto, never or always"],
        ),
        (
            "[m, n]",
            "[m, n]\n    seconds_type: §numbre",
            &["no choice for `seconds_type` (did you mean `number`?)"],
        ),
        (
            "[m, n]",
            "[m, n]\n    ca: §ca.pem",
            &["cannot read `/nonexistent/ca.pem`"],
        ),
        (
            "https://a.example",
            "http://a.example\n    client_cert: §{ cert: a.pem, key: b.pem }",
            &["of no use to a channel without TLS"],
        ),
        (
            "https://a.example",
            "https://a.example\n    client_cert: { cert: §a.pem, key: §b.pem }",
            &[
                "cannot read `/nonexistent/a.pem`",
                "cannot read `/nonexistent/b.pem`",
            ],
        ),
        (
            "https://a.example",
            "https://a.example\n    proxy: §http://u:SECRET@proxy.example:3128",
            &["do not stand in the configuration (write http://HOST:PORT, or { env: NAME }"],
        ),
        (
            "https://a.example",
            "https://a.example\n    proxy: §http://u:SECRET@proxy.example:none",
            &["names no port"],
        ),
        (
            "https://a.example",
            "https://a.example\n    proxy: §socks5://u:SECRET@proxy.example:1",
            &["begins with http://"],
        ),
        (
            "https://a.example",
            "https://a.example\n    proxy: §[http://proxy.example:1]",
            &["this is no proxy"],
        ),
        (
            "https://a.example",
            "https://a.example\n    proxy: { env: §NOT_SET }",
            &["the environment variable `NOT_SET` is not set"],
        ),
        (
            "https://a.example",
            "http://a.example\n    ca: §ca.pem",
            &["without TLS"],
        ),
        (
            "[m, n]",
            "[m, n]\n    read_timeout: §5",
            &["this is no duration"],
        ),
        (
            "[m, n]",
            "[m, n]\n    read_timeout: §25h",
            &["this is no duration"],
        ),
    ]);
}

#[test]
fn channels_and_models_are_needed() {
    let text = changed(&[(
        "  one:\n    url: https://a.example\n    credential: { env: CRED }\n    models: [m, n]\n",
        "",
    )]);
    refused_in(
        Path::new("/"),
        &text.replace("channels:", "channels: §{}"),
        &["name at least one"],
    );
    // Without models, the catalog is not served either.
    let text = changed(&[("[m, n]", "§[]"), ("  m:", "  §m:"), ("  n:", "  §n:")]);
    refused_in(
        Path::new("/"),
        &text,
        &["no models", "no channel serves", "no channel serves"],
    );
}

#[test]
fn a_channels_words_and_content_hosts_must_mean_something() {
    let at = "[m, n]";
    refused(&[
        (
            at,
            "[m, n]\n    status_words: { a: §complete }",
            &["this is no state of a job (did you mean `completed`?)"],
        ),
        (
            at,
            "[m, n]\n    status_words: { §\"\": failed, In-Use: queued, §in_use: failed }",
            &["this is no word", "stands here twice"],
        ),
        (
            at,
            "[m, n]\n    content_hosts: [a.example, §\"*.com\", §\"https://b.example\"]",
            &["at least two labels", "without https://"],
        ),
        (
            at,
            "[m, n]\n    min_download_rate: §0",
            &["write at least 1"],
        ),
    ]);
    let more = "[m, n]\n    content_hosts: [\"*.b.example\"]\n    min_download_rate: 2 KiB";
    let config = accepted(&changed(&[(at, more)]));
    let channel = &config.channels[0];
    assert_eq!(channel.min_download_rate, 2048);
    assert_eq!(channel.content_hosts.len(), 1);
}

//! Channels behind an egress proxy.

use crate::proxy::{Does, Proxy};
use crate::support::CREDENTIAL;
use crate::support::folder::Folder;
use crate::support::tls::Authority;
use crate::upstream::{Upstream, json, with};
use crate::*;

/// `u:p@ss` in Base64.
const AUTHORIZATION: &str = "Proxy-Authorization: Basic dTpwQHNz";
const PASSWORD: &str = "p@ss";

/// Lines that lead a channel through the proxy, whose URL with its password is in a file.
fn through(proxy: &Proxy, folder: &Folder) -> String {
    let file = folder.join("proxy");
    std::fs::write(&file, format!("http://u:p%40ss@{}\n", proxy.address)).unwrap();
    format!("    proxy: {{ file: {} }}\n", file.display())
}

/// Puts that in the place of the mock channel's address, which no resolver knows.
fn named(setup: Setup, url: &str, lines: &str) -> Setup {
    setup
        .replacing("url: http://", &format!("url: {url} # "))
        .replacing("    credential: ", &format!("{lines}    credential: "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_asked_of_a_channel_goes_through_its_proxy() {
    let (folder, authority) = (Folder::new(), Authority::new("proxied"));
    let issued = authority.issue();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let ca = format!("    ca: {}\n", folder.join("ca.pem").display());
    for (url, target, more) in [
        ("http://channel.invalid", "channel.invalid:80", ""),
        ("https://localhost:1", "localhost:1", &*ca),
        (
            "http://channel.invalid:81",
            "channel.invalid:81",
            "    http2: always\n",
        ),
    ] {
        let proxy = Proxy::start(Does::Hangs).await;
        let probe = "    probe: { every: 1s }\n";
        let lines = format!("{more}{probe}{}", through(&proxy, &folder));
        let mut setup = named(soon("  poll_after: 50ms\n"), url, &lines);
        if url.starts_with("https") {
            let (pem, key) = (issued.pem.as_bytes(), issued.key.as_bytes());
            setup.mock.tls = Some(tollgate::mock::Tls::from_pem(pem, key).unwrap());
        }
        let stand = setup.start().await;
        proxy.does(Does::Connects(stand.mock.addr()));
        let answer = create("a cat").send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 200, "{url}: {answer:?}");
        let job = format!("/v1/videos/{}", answer.json()["id"].as_str().unwrap());
        // The gate's own polls settle it.
        stand.until_resolved().await;
        let polled = send(&stand, "GET", &job).await;
        assert_eq!(polled.json()["status"], "completed", "{url}");
        let video = send(&stand, "GET", &format!("{job}/content")).await;
        assert_eq!(video.status, 200, "{url}: {video:?}");
        assert_eq!(send(&stand, "DELETE", &job).await.status, 200, "{url}");
        let listed = |method: &str, path: &str| {
            let requests = stand.mock.requests();
            let mut requests = requests.iter();
            requests.any(|seen| seen.method == method && seen.path.starts_with(path))
        };
        stand
            .until("it is probed", async || listed("GET", "/v1/videos"))
            .await;
        // Counted before the heads: each connection through the proxy has its head by then.
        let connections = usize::try_from(stand.mock.stats().connections_total).unwrap();
        let heads = proxy.heads();
        let wanted =
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{AUTHORIZATION}\r\n\r\n");
        for head in &heads {
            assert_eq!(*head, wanted);
        }
        // Nothing goes past it, and what the proxy is told is told to nobody else.
        assert!(connections <= heads.len(), "{connections} {heads:?}");
        for seen in stand.mock.requests() {
            assert!(!format!("{seen:?}").to_lowercase().contains("proxy-auth"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_elsewhere_is_fetched_through_the_proxy_too() {
    let folder = Folder::new();
    let channel = Upstream::start(|heard| match (&*heard.method, &*heard.target) {
        ("POST", _) => json(200, CREATED),
        (_, "/v/1.mp4") => upstream::Say::Whole(with(200, "Content-Type: video/mp4\r\n", "video")),
        _ => upstream::Say::Whole(with(302, "Location: http://cdn.invalid/v/1.mp4\r\n", "")),
    })
    .await;
    let proxy = Proxy::start(Does::Connects(channel.address)).await;
    let lines = format!(
        "    content_hosts: [\"cdn.invalid\"]\n{}",
        through(&proxy, &folder)
    );
    let setup = soon("  poll_after: 1h\n");
    let stand = named(setup, "http://channel.invalid", &lines).start().await;
    created(&stand).await;
    let video = send(&stand, "GET", "/v1/videos/video_1/content").await;
    assert_eq!((video.status, &*video.body), (200, &b"video"[..]));
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with("CONNECT channel.invalid:80 "),
        "{heads:?}"
    );
    let to_cdn = heads.last().unwrap();
    assert!(to_cdn.starts_with("CONNECT cdn.invalid:80 "), "{heads:?}");
    let heard = channel.heard();
    let at_cdn = heard.iter().find(|heard| heard.target == "/v/1.mp4");
    assert!(!at_cdn.unwrap().head.contains(CREDENTIAL));
}

/// What a proxy does other than to connect proves that nothing was created: the charge is not held,
/// and another channel gets the create.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_does_not_connect_is_a_channel_that_cannot_be_reached() {
    let folder = Folder::new();
    let proxy = Proxy::start(Does::Hangs).await;
    let lines = format!("    connect_timeout: 200ms\n{}", through(&proxy, &folder));
    let drip = Duration::from_millis(20);
    let long = "HTTP/1.1 200 Connected\r\nA: b\r\n";
    for (does, failed) in [
        (
            Does::Answers("HTTP/1.1 407 Who\r\nContent-Length: 2\r\n\r\nno"),
            "407",
        ),
        (Does::Answers("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "502"),
        (Does::Answers(""), "closed"),
        (Does::Answers("HTTP/1.1 200 Conn"), "half"),
        (Does::Answers("SSH-2.0-OpenSSH\r\n\r\n"), "no HTTP"),
        (Does::Hangs, "hangs"),
        (Does::Drips(long, drip), "drips"),
        // More than is read of a head.
        (Does::Drips(long, Duration::ZERO), "never ends"),
    ] {
        proxy.does(does);
        let setup = named(soon("  poll_after: 1h\n"), "http://channel.invalid", &lines);
        let stand = setup.start().await;
        let answer = create("a cat").send(stand.gate).await.unwrap();
        let code = answer.code();
        assert_eq!((answer.status, &*code), (503, "unavailable"), "{failed}");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(!answer.head.contains(PASSWORD), "{}", answer.head);
        // Not in the head, where the request's random id may have these digits.
        assert!(!body.contains(PASSWORD) && !body.contains("407"), "{body}");
        assert!(!stand.has_open().await, "{failed}");
        assert_eq!(stand.channel_errors().await, ["connect"], "{failed}");
        assert_eq!(stand.mock.stats().requests_total, 0, "{failed}");
        assert_eq!(
            stand.metric("tollgate_channel_up{channel=\"mock\"}").await,
            0.0
        );
    }
    let other = crate::support::start_mock(crate::support::mock_options()).await;
    let setup = named(soon("  poll_after: 1h\n"), "http://channel.invalid", &lines);
    let setup = setup.beside("", ("other", other.addr()), "    tier: 1\n");
    let stand = setup.start().await;
    proxy.does(Does::Answers("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
    created(&stand).await;
    assert_eq!(other.stats().creates_complete, 1);
}

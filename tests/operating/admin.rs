//! The operators' listener: who is let in, the configuration, a reload, and the page for a browser.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::gate::{Gate, configuration};
use crate::support::client::{Answer, Body, Request};
use crate::support::folder::Folder;
use crate::support::programs::find;
use crate::support::{CREDENTIAL, KEY, STUDIO, Setup, Stand, form_type, plain_form};

const TOKEN: &str = "token-of-the-operators";
const ADMIN: &str = "admin: { address: 127.0.0.1:9090 }";

/// A gate whose operators have a token, and further settings of the listener.
async fn guarded(folder: &Folder, settings: &str) -> Stand {
    let file = folder.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let admin = format!(
        "admin: {{ address: 127.0.0.1:9090, token: {{ file: {} }}{settings} }}",
        file.display()
    );
    Setup::default().replacing(ADMIN, &admin).start().await
}

async fn send(request: Request, stand: &Stand) -> Answer {
    request.send(stand.admin).await.unwrap()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_all_and_probes_need_none() {
    let folder = Folder::new();
    let stand = guarded(&folder, "").await;
    let drain = || Request::new("POST", "/channels/mock/drain");
    for (request, without) in [
        (Request::get("/livez"), 200),
        (Request::get("/readyz"), 200),
        (Request::get("/readyz?verbose"), 401),
        (Request::get("/metrics"), 401),
        (Request::get("/channels"), 401),
        (Request::get("/config"), 401),
        (Request::get("/status"), 401),
        (Request::get("/"), 401),
        (drain(), 401),
    ] {
        let what = request.path.clone();
        let refused = send(request.clone(), &stand).await;
        assert_eq!(refused.status, without, "{what}");
        if without == 401 {
            let head = refused.head.to_ascii_lowercase();
            for scheme in ["bearer", "basic"] {
                let asked = format!("www-authenticate: {scheme} realm=\"tollgate\"");
                assert!(head.contains(&asked), "{head}");
            }
            let wrong = request.clone().key("token-of-the-operator");
            assert_eq!(send(wrong, &stand).await.status, 401, "{what}");
        }
        assert_eq!(send(request.key(TOKEN), &stand).await.status, 200, "{what}");
    }
    let page = drain().key(TOKEN).header("Origin", "https://evil.test");
    assert_eq!(
        send(page, &stand).await.status,
        403,
        "a page has the browser's password"
    );
    let config = text(&send(Request::get("/config").key(TOKEN), &stand).await);
    assert!(!config.contains(TOKEN), "{config}");
    // A client key opens nothing here, and the token nothing at the gate.
    assert_eq!(
        send(Request::get("/config").key(KEY), &stand).await.status,
        401
    );
    let client = Request::get("/v1/videos").key(TOKEN).send(stand.gate).await;
    assert_eq!(client.unwrap().status, 401);

    let open = guarded(&folder, ", open_metrics: true").await;
    assert_eq!(send(Request::get("/metrics"), &open).await.status, 200);
    assert_eq!(send(Request::get("/config"), &open).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_shown_without_secrets() {
    let limits = "    limits: { requests: 60/min, in_flight: 4, list_cost_usd: 100/day }";
    let stand = Setup::default()
        .replacing("    models: [sora-2, sora-2-pro]\n", "    models: [sora-2, sora-2-pro]\n    limits: { requests: 9/min, in_flight: 3 }\n    content_hosts: [\"*.cdn.example.com:8443\"]\n")
        .replacing(limits, "    limits: { requests: [60/min, 90/hour] }\n    not_after: 2030-01-01T00:00:00Z")
        .with("\ncors: { origins: [https://app.example.com] }\n")
        .start()
        .await;
    let answer = send(Request::get("/config"), &stand).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    let shown = answer.json();
    let hash = stand.handle.snapshot().config.hash.to_hex();
    for (path, expected) in [
        ("/hash", json!(hash)),
        ("/ledger", json!("memory")),
        ("/channels/mock/credential", json!("set")),
        (
            "/channels/mock/url",
            json!(format!("http://{}", stand.mock.addr())),
        ),
        (
            "/channels/mock/limits",
            json!({ "requests": ["9/min"], "in_flight": ["3"] }),
        ),
        (
            "/channels/mock/content_hosts",
            json!(["*.cdn.example.com:8443"]),
        ),
        (
            "/catalog/sora-2/sizes/usd_per_second/1280x720",
            json!("0.10"),
        ),
        ("/groups/sora2/multiplier", json!("5.00")),
        ("/keys/studio-a/digests", json!(1)),
        ("/keys/studio-a/not_after", json!("2030-01-01T00:00:00Z")),
        (
            "/keys/studio-a/limits",
            json!({ "requests": ["60/min", "90/hour"] }),
        ),
        ("/keys/studio-a/allow/models", json!(["sora-2"])),
        ("/keys/demo/allow/models", Value::Null),
        ("/admin/token", json!("not set")),
        ("/cors/origins", json!(["https://app.example.com"])),
        ("/bounds/read_timeout", json!("30s")),
        ("/jobs/keep_days", json!(400)),
        ("/reload/watch", Value::Null),
    ] {
        assert_eq!(shown.pointer(path), Some(&expected), "{path}: {shown:#}");
    }
    let text = text(&answer);
    for digest in ["179510ee", "d5508fcf"] {
        assert!(!text.contains(digest), "{text}");
    }
    for secret in [CREDENTIAL, KEY, STUDIO] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_answers_what_changed_or_what_is_wrong() {
    let folder = Folder::new();
    let config = configuration(&folder, &[]);
    let gate = Gate::start(&config, "");
    let reload = async || {
        let post = Request::new("POST", "/reload")
            .send(gate.admin)
            .await
            .unwrap();
        (post.status, post.json())
    };
    assert_eq!(
        Request::get("/reload")
            .send(gate.admin)
            .await
            .unwrap()
            .status,
        405
    );
    let (status, same) = reload().await;
    assert_eq!(
        (status, &same["status"], &same["changed"]),
        (200, &json!("loaded"), &json!(false))
    );

    edit(&config, "multiplier: 5", "multiplier: 6");
    edit(&config, "ledger: memory", "ledger: sqlite:new.db");
    let (status, changed) = reload().await;
    assert_eq!(status, 200, "{changed:#}");
    let line = changed["change"].as_str().unwrap();
    assert!(line.contains("prices changed of groups: sora2"), "{line}");
    assert_eq!(changed["at_next_start"], json!(["ledger"]));
    assert_ne!(changed["hash"], same["hash"]);
    gate.logged("prices changed of groups: sora2").await;
    let shown = Request::get("/config")
        .send(gate.admin)
        .await
        .unwrap()
        .json();
    assert_eq!(shown["hash"], changed["hash"]);
    assert_eq!(shown["groups"]["sora2"]["multiplier"], "6.00");

    edit(&config, "multiplier: 6", "multiplier: -6");
    let (status, refused) = reload().await;
    assert_eq!(status, 422, "{refused:#}");
    let problem = refused["problems"][0].as_str().unwrap();
    assert!(
        problem.contains("gate.yaml:") && problem.contains("this is negative"),
        "{problem}"
    );
    gate.logged("the old one stays in force").await;
    let shown = Request::get("/config")
        .send(gate.admin)
        .await
        .unwrap()
        .json();
    assert_eq!(shown["hash"], changed["hash"]);
    let page = Request::get("/status").send(gate.admin).await.unwrap();
    assert!(
        text(&page).contains("the last attempt failed"),
        "{}",
        text(&page)
    );
    // A token holds from the reload that brings it on.
    edit(&config, "multiplier: -6", "multiplier: 6");
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    edit(&config, "admin: { ", "admin: { token: { file: token }, ");
    let (status, changed) = reload().await;
    assert_eq!(
        (status, &changed["at_next_start"]),
        (200, &json!(["ledger"])),
        "{changed:#}"
    );
    let post = Request::new("POST", "/reload");
    assert_eq!(post.send(gate.admin).await.unwrap().status, 401);
    let post = post.key(TOKEN);
    assert_eq!(post.send(gate.admin).await.unwrap().status, 200);
    // The listener stays open until the next start, and so does what protects it.
    let text = std::fs::read_to_string(&config).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("admin: ") {
        true => "admin: off",
        false => line,
    });
    let off: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(off.contains("admin: off"), "{off}");
    std::fs::write(&config, off).unwrap();
    let answer = post.send(gate.admin).await.unwrap();
    assert_eq!(answer.status, 200);
    let waiting = &answer.json()["at_next_start"];
    assert!(waiting.to_string().contains("admin"), "{waiting}");
    let shown = Request::get("/config");
    assert_eq!(shown.send(gate.admin).await.unwrap().status, 401);
    assert_eq!(shown.key(TOKEN).send(gate.admin).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_answers_for_the_certificate_too() {
    let folder = Folder::new();
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    };
    renew();
    let listen = "listen: { address: 127.0.0.1:0, tls: { cert: cert.pem, key: key.pem } }";
    let config = configuration(&folder, &[("listen: { address: 127.0.0.1:8080 }", listen)]);
    let gate = Gate::start(&config, "");
    let reload = async || {
        let post = Request::new("POST", "/reload").send(gate.admin).await;
        let post = post.unwrap();
        (post.status, post.json())
    };
    let (status, same) = reload().await;
    assert_eq!(
        (status, &same["certificate_not_after"]),
        (200, &Value::Null),
        "{same:#}"
    );
    renew();
    let (status, renewed) = reload().await;
    assert_eq!((status, &renewed["status"]), (200, &json!("loaded")));
    assert!(renewed["certificate_not_after"].is_string(), "{renewed:#}");
    std::fs::write(folder.join("cert.pem"), "junk").unwrap();
    let (status, junk) = reload().await;
    assert_eq!(status, 422, "{junk:#}");
    let problem = junk["problems"][0].as_str().unwrap();
    assert!(problem.contains("cert.pem"), "{junk:#}");
}

fn edit(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(config, text.replacen(from, to, 1)).unwrap();
}

/// A gate with a channel that is off, a job under way, and a channel's name and address to look for.
async fn busy() -> Stand {
    let stand = Setup {
        mock: tollgate::mock::Options {
            rendering: std::time::Duration::from_secs(3600),
            ..crate::support::mock_options()
        },
        ..Setup::default()
    };
    let stand = stand
        .replacing(
            "    models: [sora-2, sora-2-pro]\n",
            "    models: [sora-2]\n  dead:\n    url: http://127.0.0.1:1/under\n    auth: none\n    models: [sora-2-pro]\n",
        )
        .start()
        .await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    assert_eq!(create.send(stand.gate).await.unwrap().status, 200);
    let off = Request::new("POST", "/channels/dead/off");
    assert_eq!(off.send(stand.admin).await.unwrap().status, 200);
    stand
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_shows_how_the_gate_stands() {
    let stand = busy().await;
    let answer = send(Request::get("/status"), &stand).await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    shows_the_gate(&text(&answer), &stand);
}

fn shows_the_gate(page: &str, stand: &Stand) {
    let hash = stand.handle.snapshot().config.hash.to_hex();
    let mock = format!("http://{}", stand.mock.addr());
    for wanted in [
        &*hash,
        &mock,
        ">ready</span>",
        env!("CARGO_PKG_VERSION"),
        "<th>Jobs under way</th><td>1</td>",
        "<th>Keys</th><td>2 in 1 group</td>",
        "in memory, gone with this process",
        "<td>dead</td><td><code>http://127.0.0.1:1/under</code></td>",
        "<td class=\"bad\">off</td>",
        ">active</td>",
        "no channel takes it: each is drained or off",
    ] {
        assert!(page.contains(wanted), "{wanted}\n{page}");
    }
    for secret in [CREDENTIAL, KEY, STUDIO, "<script"] {
        assert!(!page.contains(secret), "{secret}\n{page}");
    }
}

/// What a real browser makes of the page: all of it, with its style, which the policy lets through by its
/// hash alone. `TOLLGATE_SCREENSHOT` names a file for a picture.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_the_page() {
    let Some(browser) = find("chromium", "TOLLGATE_BROWSER") else {
        return;
    };
    let stand = busy().await;
    let folder = Folder::new();
    let url = format!("http://{}/status", stand.admin);
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let common = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--window-size=1000,1000",
    ];
    let run = async |further: Vec<String>| {
        let mut command = Command::new(&browser);
        command.args(common).arg(&profile).args(further).arg(&url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        // Of what a policy forbids, the console tells.
        assert!(!said.contains("Content Security Policy"), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let page = run(vec!["--dump-dom".into()]).await;
    shows_the_gate(&page, &stand);
    if let Ok(file) = std::env::var("TOLLGATE_SCREENSHOT") {
        run(vec![format!("--screenshot={file}")]).await;
    }
}

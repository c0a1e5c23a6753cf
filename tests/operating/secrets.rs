//! What opens a channel and its proxy is printed nowhere.

use crate::gate::{Gate, configuration, run};
use crate::proxy::{Does, Proxy};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::tls::Authority;
use crate::support::{form_type, plain_form};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_of_a_proxy_and_no_private_key_is_printed() {
    let refuses = Does::Answers("HTTP/1.1 407 Who\r\n\r\n");
    let (proxy, folder) = (Proxy::start(refuses).await, Folder::new());
    let shown = Authority::new("secrets").issue();
    std::fs::write(folder.join("cert.pem"), &shown.pem).unwrap();
    std::fs::write(folder.join("key.pem"), &shown.key).unwrap();
    let url = format!("http://egress:hunter2@{}", proxy.address);
    std::fs::write(folder.join("proxy"), url).unwrap();
    let channel = "https://channel.invalid\n    proxy: { file: proxy }\n    \
                   client_cert: { cert: cert.pem, key: key.pem }";
    let replace = [("http://127.0.0.1:8081", channel)];
    let config = configuration(&folder, &replace);
    let gate = Gate::start(&config, "export RUST_LOG=trace");
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let answer = create.send(gate.address).await.unwrap();
    assert_eq!(answer.status, 503);
    gate.logged("channel mock fails (connect): its proxy refuses the user or password (407)")
        .await;
    gate.signal("HUP");
    gate.logged("configuration loaded anew").await;
    let mut said = gate.log();
    for path in ["/metrics", "/channels", "/readyz?verbose"] {
        let answer = Request::get(path).send(gate.admin).await.unwrap();
        said += &String::from_utf8_lossy(&answer.body);
    }
    said += &String::from_utf8_lossy(&answer.body);
    let checked = run(&["check", "--online"], &config);
    said += &String::from_utf8_lossy(&checked.stderr);
    assert!(
        said.contains("cannot be reached: its proxy refuses the user"),
        "{said}"
    );
    // A key in the place of its certificate is not repeated either.
    std::fs::copy(folder.join("key.pem"), folder.join("cert.pem")).unwrap();
    let checked = run(&["check"], &config);
    said += &String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("holds no certificate"), "{said}");
    assert!(proxy.heads()[0].contains("ZWdyZXNzOmh1bnRlcjI="));
    let key = shown.key.lines().nth(1).unwrap();
    for secret in ["hunter2", "ZWdyZXNzOmh1bnRlcjI=", key] {
        assert!(!said.contains(secret), "{said}");
    }
}

//! A channel's credential gets into no log, not even when the channel sends it back.

mod support;

use std::sync::Mutex;

use support::client::{Body, Request};
use support::{CREDENTIAL, KEY, Setup, form_type, plain_form};
use tokio::net::TcpListener;

/// Keeps what is logged.
struct Kept(Mutex<String>);

static LOG: Kept = Kept(Mutex::new(String::new()));

impl log::Log for Kept {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // As `tollgate serve` has it: the HTTP libraries at `warn`.
        metadata.target().starts_with("tollgate") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}\n", record.target(), record.args());
            self.0.lock().unwrap().push_str(&line);
        }
    }

    fn flush(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_echo_sends_back_is_not_logged() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let setup = Setup::default().replacing("url: http://", &format!("url: http://{channel} # "));
    let stand = setup.start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    assert_eq!(create.send(stand.gate).await.unwrap().status, 502);
    let list = Request::get("/v1/videos?after=sk-secret").key(KEY);
    assert!(list.send(stand.gate).await.unwrap().status >= 404);
    let kept = LOG.0.lock().unwrap();
    assert!(kept.contains("channel mock"), "{kept}");
    for secret in [CREDENTIAL, KEY, "sk-secret"] {
        assert!(!kept.contains(secret), "{kept}");
    }
}

//! The limit of open files.

use tokio::io::AsyncReadExt as _;

use crate::gate::{Gate, configuration};
use crate::support::KEY;
use crate::support::client::{Connection, Request};
use crate::support::folder::Folder;

/// The soft and the hard limit of a process.
fn limits(process: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap().split_whitespace().skip(3).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_soft_limit_is_raised() {
    let folder = Folder::new();
    let gate = Gate::start(&configuration(&folder, &[]), "ulimit -Sn 200");
    let (soft, hard) = limits(gate.id());
    assert_eq!(soft, hard);
    assert_ne!(soft, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_hard_limit_is_told_and_no_connection_hangs() {
    let folder = Folder::new();
    let mut gate = Gate::start(&configuration(&folder, &[]), "ulimit -n 160");
    // (160 - 64) / 2
    gate.logged("only 48 client connections are kept open at once")
        .await;
    let list = Request::get("/v1/videos").key(KEY);
    let mut kept = Vec::new();
    for _ in 0..48 {
        let mut connection = Connection::open(gate.address).await.unwrap();
        assert_eq!(connection.send(&list).await.unwrap().status, 200);
        kept.push(connection);
    }
    for _ in 0..200 {
        let mut connection = Connection::open(gate.address).await.unwrap();
        let mut refused = Vec::new();
        let _ = connection.stream.read_to_end(&mut refused).await;
        let refused = String::from_utf8_lossy(&refused);
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    }
    drop(kept);
    crate::support::until("there is room again", async || {
        let answer = list.send(gate.address).await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    let log = gate.whole_log().await;
    assert!(!log.contains("os error 24"), "{log}");
}

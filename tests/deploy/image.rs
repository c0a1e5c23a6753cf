//! The image: its file system, made as the Dockerfile makes it, with a gate that runs in it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::gate::{Gate, configuration};
use crate::gates::channel;
use crate::rules::repository;
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::programs::skip;
use crate::support::{KEY, form_type, plain_form, until};

fn dockerfile() -> String {
    fs::read_to_string(repository().join("Dockerfile")).unwrap()
}

/// What follows an instruction in the last stage.
fn instruction(name: &str) -> String {
    let text = dockerfile();
    let (_, stage) = text.split_once("\nFROM scratch\n").unwrap();
    let mut lines = stage.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").output().unwrap();
    asked.stdout == b"0\n"
}

fn sh(script: &str, arguments: &[&Path]) {
    let mut command = Command::new("sh");
    let ran = command
        .args(["-euc", script, "sh"])
        .args(arguments)
        .output();
    let ran = ran.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{script}: {said}");
}

#[test]
fn the_image_runs_what_the_manifests_ask_for() {
    assert_eq!(instruction("USER"), "65532:65532");
    assert_eq!(instruction("ENTRYPOINT"), "[\"/usr/bin/tollgate\"]");
    let command: Vec<String> = serde_json::from_str(&instruction("CMD")).unwrap();
    assert_eq!(
        command,
        ["serve", "--config", "/etc/tollgate/tollgate.yaml"]
    );
    assert_eq!(instruction("STOPSIGNAL"), "SIGTERM");
    let deployment =
        fs::read_to_string(repository().join("conf/kubernetes/deployment.yaml")).unwrap();
    assert!(deployment.contains(&format!("args: [{}]", command.join(", "))));
    assert!(deployment.contains("runAsUser: 65532\n"));
}

/// SQLite is built with flags of `.cargo`: without them each decision costs twice as many writes.
#[test]
fn the_build_is_given_all_that_it_reads() {
    let ignore = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let given = ignore.lines().filter_map(|line| line.strip_prefix('!'));
    let given: Vec<_> = given.collect();
    for wanted in [
        ".cargo",
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "benches",
        "conf/docker",
    ] {
        assert!(given.contains(&wanted), "{wanted}");
        assert!(repository().join(wanted).exists(), "{wanted}");
    }
    assert_eq!(given.len(), 6, "{given:?}");
    assert!(ignore.lines().any(|line| line == "*"));
    assert!(dockerfile().contains("RUN conf/docker/rootfs.sh /tollgate /rootfs\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_runs_in_the_file_system_of_the_image() {
    if !is_root() {
        skip("the image's file system: only root can change to it");
        return;
    }
    let mock = channel(Duration::from_millis(20)).await;
    let folder = Folder::new();
    let root = folder.join("root");
    let binary = Path::new(env!("CARGO_BIN_EXE_tollgate"));
    let script = repository().join("conf/docker/rootfs.sh");
    let configured = configuration(
        &folder,
        &[
            (
                "ledger: memory",
                "ledger: sqlite:/var/lib/tollgate/tollgate.db",
            ),
            // By its name, which the image's own libraries resolve.
            (
                "127.0.0.1:8081",
                &format!("localhost:{}", mock.addr().port()),
            ),
        ],
    );
    // What Docker does: the owner of the ledger's folder, and the name of this machine.
    sh(
        "chmod 755 \"$4\"; \"$1\" \"$2\" \"$3\"; chown 65532:65532 \"$3/var/lib/tollgate\"; \
         cp \"$5\" \"$3/etc/tollgate/\"; chmod 644 \"$3/etc/tollgate/gate.yaml\"; \
         echo '127.0.0.1 localhost' > \"$3/etc/hosts\"",
        &[&script, binary, &root, &folder, &configured],
    );
    let entry = format!(
        "exec chroot --userspec=65532:65532 '{}' /usr/bin/tollgate serve --config /etc/tollgate/gate.yaml",
        root.display()
    );
    let mut gate = Gate::start(&configured, &entry);
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(gate.address).await.unwrap();
    assert_eq!(created.status, 200, "{created:?}");
    let created = created.json();
    let video = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    until("the video is completed", async || {
        let poll = Request::get(&video).key(KEY).send(gate.address).await;
        poll.unwrap().json()["status"] == "completed"
    })
    .await;
    assert!(root.join("var/lib/tollgate/tollgate.db").exists());
    gate.signal("TERM");
    assert!(gate.ended().await.success());

    // There is nothing else to run.
    let programs = fs::read_dir(root.join("usr/bin")).unwrap();
    let programs: Vec<_> = programs.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(programs, ["tollgate"]);
}

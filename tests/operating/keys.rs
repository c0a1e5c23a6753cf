//! The life of a client key: made by a command, replaced while clients use it, and ended.

use std::process::{Command, Output};

use crate::gate::{configuration, run};
use crate::support::folder::Folder;

fn key_new(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["key", "new"])
        .args(arguments)
        .output()
        .unwrap()
}

/// A key that the command has made, and the lines that let it in.
fn made(arguments: &[&str]) -> (String, String) {
    let output = key_new(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(output.stderr, b"", "the log has nothing of it");
    let key = text.lines().find(|line| line.starts_with("sk-tollgate-"));
    let (_, entry) = text.split_once("  - name: ").unwrap();
    (key.unwrap().to_owned(), format!("  - name: {entry}"))
}

#[test]
fn the_entry_of_a_new_key_is_pasted_as_it_is() {
    let (key, entry) = made(&["fresh", "--group", "sora2"]);
    assert_ne!(made(&["fresh", "--group", "sora2"]).0, key);
    assert!(!entry.contains(&key), "{entry}");
    let folder = Folder::new();
    std::fs::write(folder.join("keys.yaml"), format!("keys:\n{entry}")).unwrap();
    let keys_from = [("", "\nkeys_from: [keys.yaml]\n")];
    let checked = run(&["check"], &configuration(&folder, &keys_from));
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("keys: 3"), "{said}");

    // What is left out has to be filled in.
    std::fs::write(folder.join("keys.yaml"), format!("keys:\n{}", made(&[]).1)).unwrap();
    let checked = run(&["check"], &configuration(&folder, &keys_from));
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.contains("keys.yaml:2:11: this is no name"), "{said}");
    assert!(said.contains("keys.yaml:4:12: there is no group"), "{said}");

    let refused = key_new(&["two words"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
}

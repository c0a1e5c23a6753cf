//! The layers of `src`: each module uses only modules that come earlier in `LAYERS`, and within
//! `upstream`, `billing` and `gate` only files that come earlier in `ROOMS`. Comments do not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate from the lowest up, those of one layer in one line. Modules of one
/// layer do not use each other.
const LAYERS: &[&[&str]] = &[
    &["map", "sha256", "calendar", "plural", "in_progress"],
    &["money", "key", "form"],
    &["catalog", "certificate"],
    &["policy"],
    &["clock", "multipart", "json", "image"],
    &["inspect"],
    &["dialect"],
    &["route"],
    &["ledger"],
    &["access_log", "channel", "metrics"],
    &["config"],
    &["upstream"],
    &["runtime"],
    &["billing"],
    &["gate"],
    &["server"],
    &["admin"],
    &["mock"],
    &["cli"],
];

/// The files of rooms whose inner order matters, from the lowest up. A room's `mod.rs` declares
/// all of them; what it says for itself stands where it is listed.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "upstream",
        &[
            "proxy",
            "peer",
            "error",
            "framing",
            "timeout",
            "min_rate",
            "answer",
            "attempts",
            "channel_clock",
            "load",
            "health",
            "routing",
            "operation",
            "channel",
            "balance",
            "trial",
            "choice",
            "headers",
            "cork",
            "pool",
            "exchange",
            "failures",
            "client",
            "report",
            "fetch",
            "job_status",
            "list_page",
            "redirect",
            "probe",
            "mod",
        ],
    ),
    (
        "billing",
        &[
            "charge",
            "job_end",
            "job_cache",
            "pending_writes",
            "retry",
            "reservation",
            "reserve",
            "public_id",
            "settle",
            "confirm",
            "matching",
            "channel_task",
            "job_status",
            "poller",
            "prune",
            "reconcile",
            "overdue",
            "reachability",
            "worker",
            "mod",
        ],
    ),
    (
        "gate",
        &[
            "client",
            "refusal",
            "error_response",
            "upload_slots",
            "services",
            "request_head",
            "upload",
            "response",
            "idempotency",
            "create_end",
            "create",
            "retrieve",
            "list",
            "content",
            "delete",
            "mod",
        ],
    ),
];

/// The gate has at most so many files.
const GATE_FILES: usize = 16;
/// The inherent impls of one type stand in at most so many files.
const FILES_OF_A_TYPE: usize = 3;
/// The longest file and the longest function, in lines.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 80;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All Rust files under a folder, with their text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn name_of(path: &Path) -> String {
    let relative = path.strip_prefix(src()).unwrap();
    let first = relative.components().next().unwrap();
    let name = Path::new(first.as_os_str()).file_stem().unwrap();
    name.to_str().unwrap().to_owned()
}

fn is_test(path: &Path) -> bool {
    let parts = path.strip_prefix(src()).unwrap().components();
    let mut names = parts.map(|part| part.as_os_str().to_str().unwrap().to_owned());
    names.any(|name| name == "tests" || name == "tests.rs")
}

/// The modules that a text names behind a path, in a group or alone.
fn names_behind(path: &str, code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for rest in code.split(path).skip(1) {
        let group = rest
            .strip_prefix('{')
            .and_then(|group| group.split('}').next());
        let names = group.unwrap_or(rest).split(',');
        for name in names.take(if group.is_some() { usize::MAX } else { 1 }) {
            let ident = |c: char| !(c.is_alphanumeric() || c == '_');
            let name = name.trim().split(ident).next().unwrap();
            used.push(name.to_owned());
        }
    }
    used
}

#[test]
fn modules_use_lower_layers_only() {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut wrong = Vec::new();
    for (path, text) in files(&src()) {
        let name = name_of(&path);
        if matches!(&*name, "lib" | "main") || is_test(&path) {
            continue;
        }
        let Some(own) = layer(&name) else {
            panic!("{name} has no layer: put it into LAYERS");
        };
        for other in names_behind("crate::", &code(&text)) {
            let below = layer(&other).is_some_and(|layer| layer < own);
            if other != name && !below {
                wrong.push(format!("{} uses crate::{other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_of_a_room_use_lower_files_only() {
    let mut wrong = Vec::new();
    for (room, order) in ROOMS {
        let place = |name: &str| order.iter().position(|file| *file == name);
        for (path, text) in files(&src().join(room)) {
            if is_test(&path) {
                continue;
            }
            let inside = path.strip_prefix(src().join(room)).unwrap();
            let depth = inside.components().count();
            let is_file = depth == 1 || (depth == 2 && inside.ends_with("mod.rs"));
            let name = inside.components().next().unwrap();
            let name = Path::new(name.as_os_str()).file_stem().unwrap();
            let name = name.to_str().unwrap();
            let Some(own) = place(name) else {
                panic!("{room}/{name} has no place: put it into ROOMS");
            };
            let code = code(&text);
            // Of other files of a folder in the room, `super` is the folder.
            let by_super = if is_file {
                names_behind("super::", &code)
            } else {
                vec![]
            };
            let by_crate = names_behind(&format!("crate::{room}::"), &code);
            for other in by_super.into_iter().chain(by_crate) {
                let below = place(&other).is_some_and(|place| place < own);
                if other != name && !below {
                    wrong.push(format!("{} uses {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_gate_has_few_files() {
    let files = files(&src().join("gate"));
    assert!(files.len() <= GATE_FILES, "{} files", files.len());
}

#[test]
fn the_inherent_impls_of_a_type_stand_together() {
    let mut homes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (path, text) in files(&src()).iter().filter(|(path, _)| !is_test(path)) {
        for line in code(text).lines() {
            let Some(rest) = line.strip_prefix("impl") else {
                continue;
            };
            if rest.contains(" for ") || !rest.contains('{') {
                continue;
            }
            let rest = match rest.strip_prefix('<') {
                Some(generic) => generic.split_once("> ").map_or("", |(_, rest)| rest),
                None => rest.trim_start(),
            };
            let ident = |c: char| !(c.is_alphanumeric() || c == '_');
            let of = rest.split(ident).next().unwrap().to_owned();
            let file = path.display().to_string();
            let homes = homes.entry((name_of(path), of)).or_default();
            if !homes.contains(&file) {
                homes.push(file);
            }
        }
    }
    homes.retain(|_, homes| homes.len() > FILES_OF_A_TYPE);
    assert!(homes.is_empty(), "{homes:#?}");
}

#[test]
fn files_and_functions_can_be_read_at_once() {
    let mut long = Vec::new();
    for (path, text) in files(&src()) {
        let lines = text.lines().count();
        if lines > FILE_LINES {
            long.push(format!("{}: {lines} lines", path.display()));
        }
        // rustfmt ends a function at the indent that it began with.
        let mut begun: Option<(usize, &str, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_head = head.split(' ').any(|word| word == "fn")
                && !head.starts_with("//")
                && (head.starts_with("pub") || head.starts_with("fn ") || head.contains(" fn "));
            match begun {
                None if is_head => begun = Some((indent, line, number)),
                Some((at, head, from)) if indent == at && line.trim_start().starts_with('}') => {
                    if number - from + 1 > FUNCTION_LINES {
                        long.push(format!("{}: {}", path.display(), head.trim()));
                    }
                    begun = None;
                }
                // A declaration without a body.
                Some((at, ..)) if indent == at && line.trim_end().ends_with(';') => begun = None,
                _ => {}
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

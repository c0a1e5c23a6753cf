//! The fuzz targets on stable: over their corpus, cut at every offset, and over mutations of it.
//! `fuzz/README.md` says how to run them with a fuzzer.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;
use std::{env, fs};

use targets::{Reading, Target, check, check_cut};

/// How many mutations are tried for a target, unless `TOLLGATE_FUZZ_ROUNDS` says another number.
const ROUNDS: u32 = 2000;

/// Pieces that mean something to one of the readers.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"--",
    b"--X",
    b"\r\n--X\r\n",
    b"\r\n--X--\r\n",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\0",
    b"\xff",
    b"\xff\xc0\x00\x11\x08",
    b"RIFF",
    b"WEBP",
    b"name=\"model\"",
    b"; filename=\"a\"",
    b"\"id\":\"video_1\"",
    b"\"status\":\"completed\"",
    b"1e99",
];

/// The corpus of a target: names and contents, in a fixed order.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("fuzz/corpus").join(name);
    let mut corpus: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    corpus.sort();
    corpus
}

/// Runs a target over its corpus, and over mutations of it.
fn run(name: &str, target: Target) {
    let corpus = corpus(name);
    for verdict in ["valid", "bad"] {
        let has = corpus.iter().any(|(file, _)| file.starts_with(verdict));
        assert!(has, "{name} has no input that is {verdict}");
    }
    for (file, input) in &corpus {
        let whole = target(input, &[]);
        assert_eq!(
            whole.is_accepted,
            file.starts_with("valid"),
            "{file}: {whole:?}"
        );
        check(target, input);
        for cut in 0..=input.len() {
            check_cut(target, input, &whole, cut);
            // Cut short.
            target(&input[..cut], &[]);
        }
    }
    let rounds = match env::var("TOLLGATE_FUZZ_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("TOLLGATE_FUZZ_ROUNDS is no number"),
        Err(_) => ROUNDS,
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..rounds {
        let input = mutated(&corpus, &mut random);
        let outcome = std::panic::catch_unwind(|| check(target, &input));
        assert!(outcome.is_ok(), "round {round}: {}", input.escape_ascii());
    }
}

/// One input of the corpus with one to four mutations.
fn mutated(corpus: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let to = (at + random.below(16)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.below(256) as u8,
            2 => drop(input.drain(at..to)),
            3 => {
                let again = input[at..to].to_vec();
                drop(input.splice(at..at, again));
            }
            4 => {
                let token = TOKENS[random.below(TOKENS.len())];
                drop(input.splice(at..at, token.iter().copied()));
            }
            _ => {
                let other = &corpus[random.below(corpus.len())].1;
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}

/// Xorshift: a fixed sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }
}

#[test]
fn multipart() {
    run("multipart", targets::multipart);
}

#[test]
fn json() {
    run("json", targets::json);
}

#[test]
fn image() {
    run("image", targets::image);
}

#[test]
fn answer() {
    run("answer", targets::answer);
}

/// A reader whose answer depends on how its input is cut does not pass.
#[test]
#[should_panic(expected = "cut at 3")]
fn a_reader_that_minds_the_cuts_fails() {
    let minds_the_cuts: Target = |_, cuts| Reading {
        is_accepted: true,
        details: format!("{cuts:?}"),
    };
    check(minds_the_cuts, b"\0\0\0\x03");
}

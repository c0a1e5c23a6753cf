//! Tests that reading any text neither panics nor prints a secret.

use proptest::prelude::*;

use super::*;

/// Pieces of YAML and of configurations, to be joined at random.
const TOKENS: &[&str] = &[
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    ": ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "'",
    "\"",
    "#",
    "&a ",
    "*a ",
    "<<: *a",
    "!t ",
    "|",
    ">",
    "---\n",
    "...\n",
    "~",
    "null",
    "off",
    "true",
    "0",
    "-1",
    "1e999",
    ".nan",
    "0.10",
    "\t",
    "\u{feff}",
    "\0",
    "ä",
    "listen",
    "admin",
    "address",
    "channels",
    "catalog",
    "groups",
    "keys",
    "limits",
    "credential",
    "env",
    "CRED",
    "4/min",
    "64 MiB",
    "\r\n",
    "%YAML 1.2",
    "? ",
    "prompt",
    "usd_per_second",
    "allow",
];

fn heap() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(TOKENS), 0..80)
}

/// Generates changes that damage a text: for each, the place and length of the piece that is cut out, and
/// the replacement.
fn damages() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, &'static str)>> {
    let token = prop::sample::select(TOKENS);
    prop::collection::vec((any::<prop::sample::Index>(), 0..12usize, token), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        no_secret(&parse_in(Path::new("/nonexistent"), &text));
    }

    #[test]
    fn no_heap_of_tokens_panics(tokens in heap()) {
        no_secret(&parse_in(Path::new("/nonexistent"), &tokens.concat()));
    }

    #[test]
    fn no_damaged_configuration_panics(damages in damages()) {
        let mut text: Vec<char> = BASE.chars().collect();
        for (at, length, token) in damages {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, token.chars());
        }
        let text: String = text.into_iter().collect();
        no_secret(&parse_in(Path::new("/nonexistent"), &text));
    }
}

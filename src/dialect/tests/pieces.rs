//! The events of a document do not depend on how it is cut: what is read in one step from one piece is read
//! by its states from several.

use std::ops::Range;

use crate::dialect::reader::{Events, Progress, Reader};

/// A listener that records each event. Pieces of one text are joined.
#[derive(Debug, Default, PartialEq)]
struct Recorded {
    events: Vec<Event>,
    text: String,
}

#[derive(Debug, PartialEq)]
enum Event {
    Key(Option<String>),
    Element,
    Open(bool),
    Close,
    Text(String, bool, Range<usize>),
    Word(Option<String>, Range<usize>),
}

impl Events for Recorded {
    fn key(&mut self, key: Option<&str>) -> bool {
        self.events.push(Event::Key(key.map(str::to_owned)));
        key.is_none_or(|key| !key.starts_with("skip"))
    }

    fn element(&mut self) -> bool {
        self.events.push(Event::Element);
        // Each third element is unwanted.
        !self.events.len().is_multiple_of(3)
    }

    fn open(&mut self, object: bool) {
        self.events.push(Event::Open(object));
    }

    fn close(&mut self) {
        self.events.push(Event::Close);
    }

    fn text(&mut self, piece: &str) {
        self.text.push_str(piece);
    }

    fn text_end(&mut self, readable: bool, span: Range<usize>) {
        let text = std::mem::take(&mut self.text);
        // What of an unreadable text was decodable does depend on the pieces.
        let text = if readable { text } else { String::new() };
        self.events.push(Event::Text(text, readable, span));
    }

    fn word(&mut self, word: Option<&str>, span: Range<usize>) {
        self.events.push(Event::Word(word.map(str::to_owned), span));
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Recorded, Progress) {
    let (mut reader, mut recorded) = (Reader::default(), Recorded::default());
    for piece in pieces {
        reader.push(piece, &mut recorded);
    }
    let progress = reader.finish(&mut recorded);
    (recorded, progress)
}

/// Documents with what the step and the states could read differently.
fn documents() -> Vec<Vec<u8>> {
    let key = |length: usize| format!(r#"{{"{}":1}}"#, "k".repeat(length));
    let wide = |count: usize| format!(r#"{{"{}":"{}"}}"#, "é".repeat(count), "é".repeat(count));
    let mut documents: Vec<Vec<u8>> = [
        r#"{"id":"a","status" : "queued" ,"n":12,"":"","skip":"x","skip2":{"a":"}"},"o":{"k":"v"}}"#,
        "{\"a\"\n\t\r :\n\"b\"\r,\"c\":null\t}",
        r#"[{"a":"1"},"two",[3,"x","y"],"","w\"q",{"e\u0041":"\u00e9\\"},"z"]"#,
        r#"{"a":"\ud83d\ude00","b":"\ud83d","c":"é😀","d\n":"e","f":"\q"}"#,
        "{\"raw\":\"a\u{1}b\u{0}c\",\"\u{1}\":true}",
        r#""text""#,
        "\u{feff}{\"a\":\"b\"}",
        r#"{"skip":12,"b":true,"skip2":null}"#,
        "12",
        " NaN ",
        // Broken or incomplete ones.
        r#"{"a" "b"}"#,
        r#"{"a","b"}"#,
        r#"{"a":"b""c":1}"#,
        r#"{"a":"b"#,
        r#"{"a"  "#,
        r#"{"a"  :"#,
        r#"{"a":1]"#,
        r#"{"a":1"b"}"#,
        r#"{"a":1:2}"#,
        r#"[1[2]]"#,
        r#"[1{"a":2}]"#,
        r#"{"a":12"#,
        r#"{"a":"x"}}"#,
        r#"{"a":"x"} "y""#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    documents.extend([0, 1, 63, 64, 65, 66].map(|length| key(length).into_bytes()));
    let word = |length: usize| format!(r#"{{"a":{},"b":1}}"#, "7".repeat(length));
    documents.extend([1, 63, 64, 65, 66].map(|length| word(length).into_bytes()));
    documents.extend([31, 32, 33].map(|count| wide(count).into_bytes()));
    // Invalid UTF-8 in a key, in a text, and before both.
    for text in [
        &b"{\"k\xff\":\"a\",\"b\":\"c\"}"[..],
        b"{\"a\":\"\xc3\",\"b\":\"c\"}",
        b"{\"a\":\"x\xe2\x82\",\"b\":\"\xe2\x82\xac\",\"\xc3\xa9\":\"d\"}",
        b"{\"a\":\xff,\"b\":\"c\"}",
    ] {
        documents.push(text.to_vec());
    }
    documents
}

#[test]
fn a_document_has_the_same_events_however_it_is_cut() {
    for document in documents() {
        let shown = String::from_utf8_lossy(&document);
        let by_byte = read(document.chunks(1));
        assert_eq!(read([&*document]), by_byte, "{shown}");
        for cut in 0..=document.len() {
            let (head, tail) = document.split_at(cut);
            assert_eq!(read([head, tail]), by_byte, "{shown}, cut at {cut}");
        }
    }
}

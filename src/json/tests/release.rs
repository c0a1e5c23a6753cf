//! Tests when bytes are released, and what happens when the sink refuses.

use super::{Recorder, Refusal, scan_every_way};
use crate::form::{Field, Release, Sink, Stop};
use crate::json::{Error, Limits, Scanner};

#[test]
fn the_sink_stops_the_body() {
    for (body, name) in [
        (r#"{"a":"b","refused":"c"}"#, "refused"),
        (r#"{"a":"b","refused":{}}"#, "refused"),
        (r#"{"a":"b","short":"0123456789X"}"#, "short"),
        (r#"{"a":"b","short":"012345678\u00e9"}"#, "short"),
        (r#"{"a":"b","short":12345678901}"#, "short"),
        // The sink had its reason before the syntax error came.
        (r#"{"short":123456789012z}"#, "short"),
        ("{\"short\":\"0123456789X\n\"}", "short"),
    ] {
        let (_, result) = scan_every_way(body.as_bytes());
        assert_eq!(
            result,
            Err(Stop::Refused(Refusal(name.to_owned()))),
            "{body}"
        );
    }
    // Here the syntax error came first.
    let (_, result) = scan_every_way(b"{\"short\":\"0123456789\n\"}");
    let field = "short".to_owned();
    assert_eq!(result, Err(Stop::Syntax(Error::ControlCharacter { field })));
}

#[test]
fn what_was_refused_is_not_safe() {
    for (body, safe) in [
        // The value's opening quote was permitted with the field.
        (r#"{"a":"b","short":"0123456789X""#, 18),
        (r#"{"a":"b","short":12345678901"#, 17),
        (r#"{"a":"b","refused":"x""#, 8),
    ] {
        let mut scanner = Scanner::new(Limits::default());
        let outcome = scanner.push(body.as_bytes(), &mut Recorder::default());
        assert!(matches!(outcome, Err(Stop::Refused(_))), "{body}");
        assert_eq!(scanner.safe(), safe, "{body}");
    }
}

/// Covers wrong bytes and excess length of a key, also in a field whose bytes are released at once.
#[test]
fn a_wrong_key_ends_what_is_safe_however_the_body_is_cut() {
    let limits = Limits {
        key_bytes: 2,
        ..Limits::default()
    };
    let too_long = Error::KeyTooLong { limit: 2 };
    for (body, safe, expected) in [
        (r#"{"p":[[{"ab\"#, 11, Error::KeyEscape { at: 11 }),
        (r#"{"p":[[{"ab["#, 11, Error::KeyByte { at: 11 }),
        (r#"{"p":[[{"é"#, 9, Error::KeyByte { at: 9 }),
        (r#"{"p":[[{""#, 9, Error::Incomplete),
        (r#"{"p":[[{"abc"#, 11, too_long.clone()),
        (r#"{"p":1,"abc"#, 6, too_long),
    ] {
        for cut in 0..=body.len() {
            let (head, tail) = body.as_bytes().split_at(cut);
            let (mut scanner, mut recorder) = (Scanner::new(limits), Recorder::default());
            let pieces = [head, tail].into_iter();
            let pushed = pieces.map(|piece| scanner.push(piece, &mut recorder));
            let pushed = pushed.collect::<Result<(), _>>();
            let outcome = pushed.and_then(|()| scanner.finish(&mut recorder));
            assert_eq!(
                outcome,
                Err(Stop::Syntax(expected.clone())),
                "{body}, {cut}"
            );
            assert_eq!(scanner.safe(), safe, "{body}, cut at {cut}");
        }
    }
}

/// Returns the changes of `safe()` while `body` comes byte by byte: the number of bytes that were pushed,
/// and that are safe.
fn trace(body: &str) -> Vec<(usize, usize)> {
    let mut scanner = Scanner::new(Limits::default());
    let mut recorder = Recorder::default();
    let mut moves = Vec::new();
    for (i, byte) in body.bytes().enumerate() {
        let before = scanner.safe();
        scanner.push(&[byte], &mut recorder).expect("valid");
        if scanner.safe() != before {
            moves.push((i + 1, scanner.safe() as usize));
        }
    }
    scanner.finish(&mut recorder).expect("complete");
    moves
}

#[test]
fn what_is_withheld() {
    // `p` goes on at once, from its opening quote on.
    assert_eq!(
        trace(r#"{"p":"ab","q":7}"#),
        [(6, 6), (7, 7), (8, 8), (9, 9), (15, 15)]
    );
    // `m` is withheld until its closing quote; the rest of the body for good.
    assert_eq!(trace(r#" {"m":"ab" } "#), [(10, 10)]);
    assert_eq!(trace(r#"{"m":12 ,"p":""}"#), [(8, 7), (14, 14), (15, 15)]);
    // In an object each member has its own decision.
    assert_eq!(
        trace(r#"{"input_reference":{"f":"x","u":"y"}}"#),
        [(27, 27), (33, 33), (34, 34), (35, 35)]
    );
    // An empty object goes out when it turns out to be empty and was accepted.
    assert_eq!(trace(r#"{"p":{ },"m":[]}"#), [(8, 8), (15, 15)]);
}

#[test]
fn a_long_value_is_handed_on_in_the_buffers_that_came() {
    struct Slices<'a>(Vec<&'a [u8]>, usize);
    impl Sink for Slices<'_> {
        type Refusal = ();
        fn begin(&mut self, _: Field<'_>) -> Result<Release, ()> {
            Ok(Release::AtOnce)
        }
        fn data(&mut self, bytes: &[u8]) -> Result<(), ()> {
            let is_inside = |chunk: &&[u8]| {
                let chunk = chunk.as_ptr_range();
                let bytes = bytes.as_ptr_range();
                chunk.start <= bytes.start && bytes.end <= chunk.end
            };
            assert!(self.0.iter().any(is_inside));
            self.1 += bytes.len();
            Ok(())
        }
        fn end(&mut self) -> Result<(), ()> {
            Ok(())
        }
    }
    let url = "data:image/png;base64,".to_owned() + &"iVBORw0KGgo/".repeat(100_000);
    let body = format!("{{\"input_reference\":{{\"image_url\":\"{url}\"}}}}");
    let chunks: Vec<&[u8]> = body.as_bytes().chunks(16 * 1024).collect();
    let mut sink = Slices(chunks.clone(), 0);
    let mut scanner = Scanner::new(Limits::default());
    let mut pushed = 0;
    for chunk in chunks {
        scanner.push(chunk, &mut sink).expect("valid");
        pushed += chunk.len() as u64;
        assert!(pushed - scanner.safe() <= 2);
    }
    scanner.finish(&mut sink).expect("complete");
    assert_eq!(sink.1, url.len());
}

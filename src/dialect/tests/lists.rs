//! Tests how pages of a list are read.

use super::*;
use crate::sha256::Sha256;

fn ids(page: &Page) -> Vec<&str> {
    page.jobs
        .iter()
        .filter_map(|job| job.id.as_deref())
        .collect()
}

#[test]
fn a_page_is_read_entry_by_entry() {
    let body = r#"{"object":"list","data":[
        {"id":"a","model":"sora-2","prompt":"A \u00e9 cat","created_at":1795373043,
         "seconds":"4","size":"1280x720","status":"queued","remixed_from_video_id":"z"},
        {"id":"b","prompt":null,"data":[{"id":"inner"}]}],
        "first_id":"a","last_id":"b","has_more":true}"#;
    let page = page(body).unwrap();
    assert_eq!(ids(&page), ["a", "b"]);
    let [a, b] = &*page.jobs else { panic!() };
    assert_eq!(a.prompt, Some(Sha256::of("A é cat")));
    assert_eq!(
        (a.model.as_deref(), a.source.as_deref()),
        (Some("sora-2"), Some("z"))
    );
    assert_eq!((a.created, a.seconds), (Some(1_795_373_043), Some(4)));
    assert_eq!((b.prompt, b.created), (None, None));
    assert_eq!(
        (page.whole, page.has_more, page.unreadable()),
        (true, Some(true), 0)
    );
    assert_eq!(page.last.as_deref(), Some("b"));
}

#[test]
fn entries_that_cannot_be_read_are_skipped_one_by_one() {
    let deep = format!(
        "{{\"id\":\"deep\",\"x\":{}{}}}",
        "[".repeat(500),
        "]".repeat(500)
    );
    let body = format!(
        r#"{{"data":[null,7,"text",[{{"id":"nested"}}],{{}},{{"id":"a","id":"b"}},
        {{"id":"lone","prompt":"\ud83d"}},{{"id":"huge","x":1e400}},{deep},
        {{"id":"long","prompt":"{}"}}],"has_more":false}}"#,
        "x".repeat(1000)
    );
    let page = page(body).unwrap();
    assert_eq!(ids(&page), ["lone", "huge", "deep", "long"]);
    assert_eq!((page.entries, page.unreadable()), (10, 6));
    // An empty object, and an object with two ids: the other entries are not jobs at all.
    assert_eq!(page.nameless.len(), 2);
    assert_eq!(page.jobs[0].prompt, Some(UNREADABLE_PROMPT));
    assert_eq!(page.jobs[3].prompt, Some(Sha256::of("x".repeat(1000))));
    assert_eq!((page.whole, page.has_more), (true, Some(false)));
}

#[test]
fn broken_utf8_breaks_its_value_only() {
    let page =
        page(b"{\"data\":[{\"id\":\"a\",\"prompt\":\"\xe9\"},{\"id\":\"\xff\"},{\"id\":\"c\"}]}");
    let page = page.unwrap();
    assert_eq!(ids(&page), ["a", "c"]);
    assert_eq!((page.entries, page.has_more), (3, None));
}

#[test]
fn lists_have_several_shapes() {
    assert_eq!(
        ids(&page(r#"[{"id":"a"},{"id":"b"}]"#).unwrap()),
        ["a", "b"]
    );
    let empty = page(r#"{"data":[]}"#).unwrap();
    assert_eq!((empty.entries, empty.whole, empty.last), (0, true, None));
    for none in [
        "",
        "{}",
        "<html>",
        r#"{"data":{"id":"a"}}"#,
        r#"{"data":null}"#,
        "null",
    ] {
        assert_eq!(page(none), None, "{none}");
    }
    // Arrays in other members are not entries.
    let odd = page(r#"{"has_more":[{"id":"x"}],"data":[{"id":"a"}],"last_id":[{"id":"y"}]}"#);
    assert_eq!(ids(&odd.unwrap()), ["a"]);
}

#[test]
fn of_a_page_that_breaks_off_the_beginning_is_there() {
    let body = r#"{"last_id":"c","has_more":true,"data":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#;
    for end in 0..body.len() {
        let Some(cut) = page(&body[..end]) else {
            continue;
        };
        assert!(!cut.whole);
        assert_eq!(cut.last.as_deref(), ids(&cut).last().copied(), "{end}");
    }
    assert_eq!(ids(&page(&body[..60]).unwrap()), ["a", "b"]);
    assert_eq!(page(body).unwrap().last.as_deref(), Some("c"));
}

#[test]
fn long_prompts_cost_no_memory() {
    let prompt = "\u{6f22}".repeat(32_000);
    let escaped = "\\u6f22".repeat(32_000);
    let dialect = Dialect::default();
    let mut reader = ListReader::new(&dialect);
    let mut bytes = 0;
    let mut push = |text: &str, reader: &mut ListReader<'_>| {
        for piece in text.as_bytes().chunks(8192) {
            bytes += piece.len();
            assert!(reader.push(piece));
        }
    };
    push("{\"data\":[", &mut reader);
    for n in 0..100 {
        let comma = if n == 0 { "" } else { "," };
        let prompt = if n % 2 == 0 { &prompt } else { &escaped };
        let entry = format!("{comma}{{\"prompt\":\"{prompt}\",\"id\":\"video_{n}\"}}");
        push(&entry, &mut reader);
    }
    push("]}", &mut reader);
    assert!(bytes > 14_000_000);
    let page = reader.finish().unwrap();
    assert!(page.whole);
    assert_eq!(page.jobs.len(), 100);
    let digest = Sha256::of(prompt);
    assert!(page.jobs.iter().all(|job| job.prompt == Some(digest)));
}

#[test]
fn no_more_entries_are_kept_than_agreed() {
    let dialect = Dialect::default();
    let mut reader = ListReader::new(&dialect);
    assert!(reader.push(b"["));
    let mut pushed = 0;
    while reader.push(b"{\"id\":\"a\"},") {
        pushed += 1;
    }
    assert_eq!(pushed + 1, MAX_ENTRIES);
    reader.push(b"{\"id\":\"a\"},");
    let page = reader.finish().unwrap();
    assert_eq!((page.jobs.len(), page.whole), (MAX_ENTRIES, false));
}

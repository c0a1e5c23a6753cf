//! Tests delimiters that some server reads differently from another.

use super::*;

/// Returns a body that is accepted.
fn good() -> String {
    format!("--X.b-X\r\n{MODEL}\r\n\r\nsora-2\r\n--X.b-X--\r\n")
}

/// Returns a body with `end` behind the value of its only part.
fn part(end: &str) -> String {
    format!("--X.b-X\r\n{MODEL}\r\n\r\nsora-2{end}")
}

#[test]
fn the_body_that_the_others_alter_is_accepted() {
    assert_eq!(Case::new(good()).check().verdict, Ok(()));
}

#[test]
fn before_the_first_delimiter() {
    let good = good();
    for (body, error) in [
        (String::new(), Error::Truncated),
        (format!("x{good}"), Error::Preamble),
        (format!("\n{good}"), Error::Preamble),
        (format!("\r{good}"), Error::Preamble),
        (format!("\r\n\r\n{good}"), Error::Preamble),
        (format!(" {good}"), Error::Preamble),
        (format!("\u{feff}{good}"), Error::Preamble),
        (
            format!("{MODEL}\r\n\r\nsora-2-pro\r\n{good}"),
            Error::Preamble,
        ),
        (good.replace("--X.b-X", "--x.B-x"), Error::Preamble),
        (good.replace("--X.b-X", "-X.b-X"), Error::Preamble),
        (good.replace("--X.b-X", "X.b-X"), Error::Preamble),
        ("--X.b-X--\r\n".to_owned(), Error::NoParts),
        (format!("--X.b-X--\r\n{good}"), Error::NoParts),
    ] {
        refused(body, error);
    }
}

#[test]
fn delimiter_lines() {
    let good = good();
    for (body, error) in [
        (
            good.replacen("--X.b-X\r\n", "--X.b-X\n", 1),
            Error::DelimiterLine,
        ),
        (
            good.replacen("--X.b-X\r\n", "--X.b-X\r", 1),
            Error::DelimiterLine,
        ),
        (
            good.replacen("--X.b-X\r\n", "--X.b-X \r\n", 1),
            Error::DelimiterLine,
        ),
        (
            good.replacen("--X.b-X\r\n", "--X.b-X\t\r\n", 1),
            Error::DelimiterLine,
        ),
        (
            good.replacen("--X.b-X\r\n", "--X.b-X-\r\n", 1),
            Error::DelimiterLine,
        ),
        (
            good.replacen("--X.b-X\r\n", "--X.b-Xa\r\n", 1),
            Error::DelimiterLine,
        ),
        (good.replace('\n', ""), Error::DelimiterLine),
        (good.replace("\r\n", "\n"), Error::DelimiterLine),
        (part("\r\n--X.b-X--\r\n--X.b-X\r\n"), Error::Epilogue),
        (part("\r\n--X.b-X \r\n"), Error::DelimiterLine),
        (part("\r\n--X.b-X "), Error::DelimiterLine),
        (part("\r\n--X.b-X\n"), Error::DelimiterLine),
        (part("\r\n--X.b-X- -\r\n"), Error::DelimiterLine),
        (
            part("\r\n--X.b-Xsuffix\r\nvalue\r\n--X.b-X--\r\n"),
            Error::DelimiterLine,
        ),
    ] {
        refused(body, error);
    }
}

#[test]
fn boundaries_where_no_delimiter_is() {
    let stray = |field: &str| Error::StrayBoundary {
        field: Some(field.to_owned()),
    };
    let good = good();
    for (body, error) in [
        (part("\n--X.b-X--\r\n"), stray("model")),
        (part("\r--X.b-X--\r\n"), stray("model")),
        (part("--X.b-X--\r\n"), stray("model")),
        (part("\r\n-X.b-X--\r\n"), stray("model")),
        (part("\r\nX.b-X--\r\n"), stray("model")),
        (part("\r\n --X.b-X--\r\n"), stray("model")),
        (part("\r\n---X.b-X--\r\n"), stray("model")),
        (
            part(" in --X.b-X mid-line\r\n--X.b-X--\r\n"),
            stray("model"),
        ),
        (good.replace("sora-2\r\n", ""), stray("model")),
        // Boundaries that are interrupted by line breaks.
        (part("\r\n--X.\rb-X\r\n--X.b-X--\r\n"), stray("model")),
        (part("\r\n--X\n.b-X\r\n--X.b-X--\r\n"), stray("model")),
        (part("X.\r\nb-X\r\n--X.b-X--\r\n"), stray("model")),
        (part("X\r.\nb\r\r-\n\nX\r\n--X.b-X--\r\n"), stray("model")),
        (part("X.b-X.\nb-X\r\n--X.b-X--\r\n"), stray("model")),
        (
            format!("--X.b-X\r\n{MODEL}\r\n--X.b-X\r\n{MODEL}\r\n\r\nsora-2\r\n--X.b-X--\r\n"),
            Error::StrayBoundary { field: None },
        ),
        (
            good.replace("name=\"model\"", "name=\"prompt\"; filename=\"X.b-X\""),
            Error::StrayBoundary { field: None },
        ),
        (
            good.replace("\r\n\r\n", "\r\nX-X.b-X: a\r\n\r\n"),
            Error::StrayBoundary { field: None },
        ),
    ] {
        refused(body, error);
    }
}

#[test]
fn the_end_of_the_body() {
    let good = good();
    for (body, error) in [
        (part(""), Error::Truncated),
        (part("\r\n"), Error::Truncated),
        (part("\r\n--X.b-X"), Error::Truncated),
        (part("\r\n--X.b-X-"), Error::Truncated),
        (part("\r\n--X.b-X\r\n"), Error::Truncated),
        (format!("--X.b-X\r\n{MODEL}\r\n"), Error::Truncated),
        (format!("{good}{good}"), Error::Epilogue),
        (format!("{good}\r\n\r\n"), Error::Epilogue),
        (format!("{good}x"), Error::Epilogue),
        (format!("{good}\n"), Error::Epilogue),
        (format!("{good}\r"), Error::Epilogue),
        (format!("{good}\0"), Error::Epilogue),
        (part("\r\n--X.b-X-- \r\n"), Error::Epilogue),
        (part("\r\n--X.b-X--\n"), Error::Epilogue),
        (part("\r\n--X.b-X---\r\n"), Error::Epilogue),
    ] {
        refused(body, error);
    }
}

#[test]
fn the_sink_has_the_last_word_on_fields() {
    for (parts, refusal) in [
        (
            vec![(MODEL, "sora-2"), (MODEL, "sora-2-pro")],
            Refusal::Repeated("model".to_owned()),
        ),
        (
            vec![
                (MODEL, "sora-2"),
                ("Content-Disposition: form-data; name=\"Model\"", "a"),
            ],
            Refusal::Unknown("Model".to_owned()),
        ),
        (
            vec![(MODEL, "a value that is much longer than any model's name")],
            Refusal::TooLong("model".to_owned()),
        ),
        (
            vec![(
                MODEL,
                "a value too long, with \r\n X.b-X a stray boundary behind it",
            )],
            Refusal::TooLong("model".to_owned()),
        ),
    ] {
        let outcome = Case::new(form(&parts)).check();
        assert_eq!(outcome.verdict, Err(Stop::Refused(refusal)));
    }
}

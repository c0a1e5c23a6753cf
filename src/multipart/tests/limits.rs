//! Tests each limit at its edge.

use super::*;

fn verdict(limits: Limits, body: Vec<u8>) -> Verdict {
    Case {
        limits,
        ..Case::new(body)
    }
    .check()
    .verdict
}

#[test]
fn parts() {
    let id = "Content-Disposition: form-data; name=\"characters[][id]\"";
    let max = Limits::default().parts;
    assert_eq!(max, 32);
    let limits = Limits::default();
    assert_eq!(verdict(limits, form(&vec![(id, "a"); max])), Ok(()));
    assert_eq!(
        verdict(limits, form(&vec![(id, "a"); max + 1])),
        syntax(Error::TooManyParts { max }),
    );
}

#[test]
fn header_bytes() {
    let filename = |length: usize| {
        let name = "n".repeat(length);
        format!("{MODEL}; filename=\"{name}\"")
    };
    let fixed = filename(0).len() + "\r\n\r\n".len();
    let max = Limits::default().header_bytes;
    assert_eq!(max, 1022);
    // A higher limit has no effect.
    let limits = Limits {
        header_bytes: 4096,
        ..Limits::default()
    };
    let at_the_edge = form(&[(&filename(max - fixed), "a")]);
    assert_eq!(verdict(limits, at_the_edge), Ok(()));
    let beyond = form(&[(&filename(max - fixed + 1), "a")]);
    assert_eq!(
        verdict(limits, beyond),
        syntax(Error::HeadersTooLong { max })
    );
    let endless = form(&[(&filename(3 * max), "a")]);
    assert_eq!(
        verdict(limits, endless),
        syntax(Error::HeadersTooLong { max })
    );
}

#[test]
fn header_lines() {
    let body = form(&[(&format!("{MODEL}\r\nContent-Length: 1"), "a")]);
    let limits = |header_lines| Limits {
        header_lines,
        ..Limits::default()
    };
    assert_eq!(Limits::default().header_lines, 8);
    assert_eq!(verdict(limits(2), body.clone()), Ok(()));
    assert_eq!(
        verdict(limits(1), body),
        syntax(Error::TooManyHeaders { max: 1 })
    );
    let nine = form(&[(&["X-A: b"; 9].join("\r\n"), "a")]);
    assert_eq!(
        verdict(limits(8), nine),
        syntax(Error::TooManyHeaders { max: 8 })
    );
}

#[test]
fn filename_bytes() {
    let max = 256;
    let limits = Limits {
        filename_bytes: max,
        ..Limits::default()
    };
    let too_long = syntax(Error::FilenameTooLong {
        field: "model".to_owned(),
        max,
    });
    for (unit, bytes) in [("n", 1), ("é", 2), ("a\\\"", 2), ("%41", 3)] {
        let file = |units: usize| {
            form(&[(
                &format!("{MODEL}; filename=\"{}\"", unit.repeat(units)),
                "a",
            )])
        };
        assert_eq!(verdict(limits, file(max / bytes)), Ok(()));
        assert_eq!(verdict(limits, file(max / bytes + 1)), too_long);
    }
    let extended = |length: usize| {
        let name = "%61".repeat(length);
        form(&[(
            &format!("{MODEL}; filename=a; filename*=utf-8''{name}"),
            "a",
        )])
    };
    assert_eq!(verdict(limits, extended(max)), Ok(()));
    assert_eq!(verdict(limits, extended(max + 1)), too_long);
}

#[test]
fn what_is_withheld_is_bounded() {
    let mut scanner = Scanner::new(
        Boundary::from_content_type("multipart/form-data; boundary=X.b-X").expect("valid"),
        Limits::default(),
    );
    let mut sink = Recorder::default();
    let header = "--X.b-X\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n";
    scanner.push(header.as_bytes(), &mut sink).expect("valid");
    let mut pushed = header.len();
    // Beginnings of a delimiter, again and again.
    for piece in ["\r\n--X.b-", "\r", "\n-", "-X.b", "X.b-", "\r\n\r\n--"].repeat(50) {
        scanner.push(piece.as_bytes(), &mut sink).expect("valid");
        pushed += piece.len();
        assert!(pushed as u64 - scanner.safe() < "\r\n--X.b-X".len() as u64);
    }
}

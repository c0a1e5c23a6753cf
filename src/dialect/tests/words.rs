//! Tests the meaning of status words.

use super::*;

#[test]
fn words_of_many_channels_are_known() {
    use Status::*;
    let words = StatusWords::default();
    for (status, spelled) in [
        (
            Queued,
            "queued pending submitted unknown NOT_START SUBMITTED THROTTLED waiting IN_QUEUE",
        ),
        (
            InProgress,
            "in_progress IN_PROGRESS in-progress running Processing generating RUNNING",
        ),
        (
            Completed,
            "completed succeeded success succeed done SUCCESS SUCCEEDED Completed",
        ),
        (Failed, "failed failure fail error FAILED FAILURE Error"),
        (Cancelled, "cancelled canceled deleted CANCELED"),
        (Expired, "expired timeout Expired TIMED_OUT"),
    ] {
        for word in spelled.split(' ') {
            assert_eq!(words.find(word), Some(status), "{word}");
        }
    }
    assert_eq!(words.find("In Progress"), Some(InProgress));
    for word in ["", "melting", "completed!", &"x".repeat(100)] {
        assert_eq!(words.find(word), None, "{word}");
    }
}

#[test]
fn a_channels_own_words_come_first() {
    let mut words = StatusWords::default();
    words.add("Melted", Status::Failed).unwrap();
    words.add("unknown", Status::Expired).unwrap();
    words.add("completed", Status::InProgress).unwrap();
    assert_eq!(
        words.add("MELTED", Status::Queued),
        Err(WordError::Repeated)
    );
    for word in ["", "  ", "é", "a\nb", &"x".repeat(MAX_WORD + 1)] {
        assert_eq!(
            words.add(word, Status::Queued),
            Err(WordError::Unfit),
            "{word}"
        );
    }
    assert_eq!(words.find("melted"), Some(Status::Failed));
    assert_eq!(words.find("UNKNOWN"), Some(Status::Expired));
    assert_eq!(words.find("completed"), Some(Status::InProgress));
    assert_eq!(words.find("failed"), Some(Status::Failed));
    let dialect = Dialect::new(words);
    let job = JobAnswer::read(br#"{"status":"completed"}"#, &dialect).unwrap();
    let respelled = job.rewritten(br#"{"status":"completed"}"#, None, None);
    assert_eq!(respelled.unwrap(), br#"{"status":"in_progress"}"#);
}

#[test]
fn a_word_that_is_shown_is_short_and_printable() {
    let read = job("{\"status\":\"a\\nb\\u001b[2J\u{202e}\"}").unwrap();
    assert_eq!(read.unknown_word.as_deref(), Some("a?b?[2J?"));
    let long = job(format!("{{\"status\":\"{}\"}}", "x".repeat(500))).unwrap();
    assert_eq!(long.unknown_word.unwrap().len(), MAX_WORD);
    assert_eq!(job("{\"status\":\"\"}").unwrap().unknown_word, None);
}

#[test]
fn every_status_has_its_name() {
    for status in Status::ALL {
        assert_eq!(Status::from_name(status.name()), Some(status));
        assert_eq!(StatusWords::default().find(status.name()), Some(status));
        assert_eq!(
            status.public_name() == status.name(),
            status != Status::Expired
        );
    }
    assert_eq!(Status::Expired.end(), "timed_out");
}

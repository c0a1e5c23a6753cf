//! Tests the shapes of errors, and the evidence in answers.

use super::*;

const ENVELOPE: &str = r#"{"error":{"message":"m","type":"t","param":null,"code":null}}"#;
const TEXT: &str = r#"{"error":"no credits"}"#;
const FLAT: &str = r#"{"code":"fail_to_fetch_task","message":"m","data":null}"#;
const DETAIL: &str = r#"{"detail":[{"loc":["body","prompt"],"msg":"field required"}]}"#;
const PAGE: &str = "<html>502 Bad Gateway</html>";

fn error(body: &str) -> Option<ApiError> {
    ApiError::read(body.as_bytes(), &Dialect::default())
}

#[test]
fn errors_of_apis_are_told_from_pages() {
    use ErrorShape::*;
    for (body, shape, code, message) in [
        (ENVELOPE, Envelope, None, Some("m")),
        (r#"{"error":{"code":404}}"#, Envelope, Some("404"), None),
        (
            r#"{"error":{"code":"\ud800","message":"\ud800"}}"#,
            Envelope,
            None,
            Some(""),
        ),
        (TEXT, Text, None, Some("no credits")),
        (r#"{"code":"c","error":"e"}"#, Text, Some("c"), Some("e")),
        (FLAT, Flat, Some("fail_to_fetch_task"), Some("m")),
        (
            r#"{"code":1301,"message":"m"}"#,
            Flat,
            Some("1301"),
            Some("m"),
        ),
        (DETAIL, Detail, None, None),
        (r#"{"detail":"Not Found"}"#, Detail, None, Some("Not Found")),
    ] {
        let read = error(body).unwrap_or_else(|| panic!("{body}"));
        assert_eq!(read.shape, shape, "{body}");
        assert_eq!(
            (read.code.as_deref(), read.message.as_deref()),
            (code, message),
            "{body}"
        );
    }
    for body in [
        PAGE,
        "",
        "{}",
        "[]",
        r#"{"error":null}"#,
        r#"{"error":""}"#,
        r#"{"error":false}"#,
        r#"{"message":"m"}"#,
        r#"{"code":"c"}"#,
        r#"{"detail":null}"#,
        r#"{"error":{}"#,
    ] {
        assert_eq!(error(body), None, "{body}");
    }
    assert!(
        error(r#"{"error":{"code":"insufficient_quota"}}"#)
            .unwrap()
            .is_spent_account()
    );
    assert!(
        !error(r#"{"error":{"code":"rate_limit_exceeded"}}"#)
            .unwrap()
            .is_spent_account()
    );
}

#[test]
fn what_proves_that_nothing_was_created() {
    let dialect = Dialect::default();
    // For each status, the evidence: with each of the shapes above, and without one.
    for (status, proofs) in [
        (100, "-----"),
        (200, "-----"),
        (202, "-----"),
        (301, "-----"),
        (302, "-----"),
        (307, "-----"),
        (304, "-----"),
        (400, "EEEEE"),
        (401, "EEEEE"),
        (402, "EEEEE"),
        (403, "EEEEE"),
        (404, "EEEEE"),
        (408, "-----"),
        (405, "EEEEE"),
        (406, "EEEE-"),
        (407, "EEEEE"),
        (409, "-----"),
        (410, "EEEEE"),
        (411, "EEEEE"),
        (412, "EEEE-"),
        (413, "EEEEE"),
        (415, "EEEEE"),
        (422, "EEEEE"),
        (423, "EEEE-"),
        (424, "-----"),
        (425, "EEEE-"),
        (429, "EEEEE"),
        (431, "EEEEE"),
        (444, "-----"),
        (451, "EEEEE"),
        (455, "EEEE-"),
        (460, "-----"),
        (498, "EEEE-"),
        (499, "-----"),
        (500, "-----"),
        (501, "E----"),
        (502, "-----"),
        (503, "E----"),
        (504, "-----"),
        (505, "-----"),
        (507, "-----"),
        (519, "-----"),
        (520, "-----"),
        (524, "-----"),
        (599, "-----"),
        (600, "-----"),
        (999, "-----"),
    ] {
        for (body, proof) in [ENVELOPE, TEXT, FLAT, DETAIL, PAGE]
            .iter()
            .zip(proofs.chars())
        {
            let proves = dialect.proves_nothing_created(status, body.as_bytes());
            assert_eq!(proves, proof == 'E', "{status} {body}");
        }
    }
}

#[test]
fn a_failed_job_under_any_status_is_a_job() {
    let dialect = Dialect::default();
    let status = |status, body: &str| dialect.job_status(status, body.as_bytes(), "v");
    let stands = |code, body: &str| match status(code, body) {
        JobStatus::Job(job) => job.status,
        _ => None,
    };
    let failed = r#"{"id":"v","status":"failed","error":{"code":500,"message":"\ud800"}}"#;
    for code in [200, 400, 404, 422, 500, 502, 503] {
        assert_eq!(stands(code, failed), Some(Status::Failed), "{code}");
    }
    for code in [401, 403, 429] {
        assert_eq!(stands(code, failed), None, "{code}");
    }
    // An answer that does not name the job, or says that it goes on, is the channel's own failure.
    assert_eq!(
        status(500, r#"{"status":"error","error":"x"}"#),
        JobStatus::Unclear
    );
    assert_eq!(
        status(500, r#"{"id":"w","status":"failed"}"#),
        JobStatus::Unclear
    );
    assert_eq!(
        status(503, r#"{"id":"v","status":"queued"}"#),
        JobStatus::Unclear
    );
    assert_eq!(status(302, failed), JobStatus::Unclear);
    assert_eq!(stands(200, r#"{"status":"done"}"#), Some(Status::Completed));
    assert_eq!(
        status(200, r#"{"id":"w","status":"done"}"#),
        JobStatus::Unclear
    );
    assert_eq!(status(200, r#"{"id":"v"}"#), JobStatus::Unclear);
    let JobStatus::Job(job) = status(200, r#"{"id":"v","status":"melting"}"#) else {
        panic!()
    };
    assert_eq!(
        (job.status, job.unknown_word.as_deref()),
        (None, Some("melting"))
    );
}

#[test]
fn an_absent_job_is_told_from_a_route_that_is_missing() {
    let dialect = Dialect::default();
    let status = |status, body: &str| dialect.job_status(status, body.as_bytes(), "v");
    let not_exist = r#"{"code":"task_not_exist","message":"m"}"#;
    let in_envelope = r#"{"error":{"code":"task_not_exist"}}"#;
    for (code, body) in [
        (404, ENVELOPE),
        (404, DETAIL),
        (404, ""),
        (410, ENVELOPE),
        (400, not_exist),
        (400, in_envelope),
    ] {
        assert_eq!(status(code, body), JobStatus::Absent, "{code} {body}");
    }
    for (code, body) in [
        (404, PAGE),
        (400, ENVELOPE),
        (500, not_exist),
        (200, ""),
        (403, ""),
    ] {
        assert_eq!(status(code, body), JobStatus::Unclear, "{code} {body}");
    }
}

#[test]
fn a_deletion_is_done_where_the_answer_says_so_of_this_job() {
    use Deletion::*;
    let dialect = Dialect::default();
    for (status, body, proves) in [
        (
            200,
            r#"{"id":"v","object":"video.deleted","deleted":true}"#,
            Done,
        ),
        (200, r#"{"deleted":true}"#, Done),
        (200, r#"{"id":"v","status":"deleted"}"#, Done),
        (200, r#"{"id":"v","status":"cancelled"}"#, Done),
        (204, "", Done),
        (200, "", Unproven),
        (202, r#"{"id":"v","status":"cancelling"}"#, Unproven),
        (200, r#"{"id":"w","deleted":true}"#, Unproven),
        (200, r#"{"id":"v","deleted":false}"#, Unproven),
        (
            200,
            r#"{"id":"v","deleted":false,"status":"deleted"}"#,
            Unproven,
        ),
        (200, r#"{"id":"v","status":"in_progress"}"#, Unproven),
        (200, r#"{"error":{"message":"m"}}"#, Unproven),
        (200, "<html>", Unproven),
        (404, ENVELOPE, Unproven),
        (404, PAGE, Unproven),
        (410, "", Unproven),
        (400, r#"{"code":"task_not_exist","message":"m"}"#, Unproven),
        (405, DETAIL, Unsupported),
        (501, "", Unsupported),
        (400, ENVELOPE, Refused),
        (409, ENVELOPE, Refused),
        (429, ENVELOPE, Refused),
        (500, PAGE, Refused),
        (302, "", Refused),
    ] {
        assert_eq!(
            dialect.deletion(status, body.as_bytes(), "v"),
            proves,
            "{status} {body}"
        );
    }
}

//! Tests which cause is found for each error.

use super::*;
use crate::dialect::Blame;

fn envelope(code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"t","param":null,"code":{code}}}}}"#)
}

#[test]
fn errors_are_about_the_request_or_the_channel() {
    use Blame::*;
    let none = || String::new();
    let page = || "<html>403 Forbidden: account blocked</html>".to_owned();
    let code = |code: &str| envelope(&format!("\"{code}\""), "m");
    let message = |message: &str| envelope("null", message);
    let flat = |code: &str| format!(r#"{{"code":"{code}","message":"m","data":null}}"#);
    for (status, body, wanted) in [
        (401, none(), Account),
        (401, code("invalid_api_key"), Account),
        (402, none(), Account),
        (402, r#"{"error":"no credits"}"#.to_owned(), Account),
        (407, none(), Account),
        // About a credential, an account, its bill or its permissions.
        (403, code("insufficient_user_quota"), Account),
        (403, flat("pre_consume_token_quota_failed"), Account),
        (403, code("unsupported_country_region_territory"), Account),
        (403, code("permission_denied"), Account),
        (
            403,
            message("You have insufficient permissions for this operation."),
            Account,
        ),
        (
            403,
            r#"{"detail":"Your API key has expired"}"#.to_owned(),
            Account,
        ),
        // About what is asked for, or about nothing known.
        (403, none(), Request),
        (403, page(), Request),
        (403, code("content_policy_violation"), Request),
        (403, code("moderation_blocked"), Request),
        (
            403,
            message("The prompt about a bank account violates our policy."),
            Request,
        ),
        (403, message("no"), Request),
        (429, none(), RateLimited),
        (429, code("rate_limit_exceeded"), RateLimited),
        (429, page(), RateLimited),
        (429, code("insufficient_quota"), Account),
        (429, code("Insufficient_Quota"), Account),
        (429, flat("budget_exceeded"), Account),
        (400, code("billing_hard_limit_reached"), Account),
        (400, code("invalid_value"), Request),
        (400, none(), Request),
        (404, none(), Request),
        // The channel serves other models.
        (404, code("model_not_found"), Request),
        (409, none(), Request),
        (413, page(), Request),
        (422, code("content_filtered"), Request),
        (408, none(), Failing),
        (500, none(), Failing),
        (500, code("server_error"), Failing),
        (500, message("the prompt broke us"), Failing),
        (500, code("content_policy_violation"), Request),
        (501, code("unsupported"), Request),
        (502, page(), Failing),
        (503, code("unavailable"), Failing),
        (504, none(), Failing),
        (302, none(), Request),
    ] {
        let blame = Dialect::default().blame(status, body.as_bytes());
        assert_eq!(blame, wanted, "{status} {body}");
    }
}

//! Decides who is to blame for a create that a channel answered with an error: the request, or the
//! channel, and which part of it. Pure.

use super::{ApiError, Dialect};

/// The party that an error is to blame on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request: every channel would refuse it, and other requests to the same channel may succeed.
    Request,
    /// The channel's account: its credential is refused, or lacks the permission, or its balance is
    /// spent.
    Account,
    /// The channel's rate limit: too much was sent to it.
    RateLimited,
    /// The channel itself, which fails: neither the request nor the account is the cause.
    Failing,
}

/// The error codes by which APIs say that an account is spent, blocked or not paid for. Some use them
/// with status 400 or 429.
const SPENT: &[&str] = &[
    "account_deactivated",
    "account_suspended",
    "arrearage",
    "billing_hard_limit_reached",
    "billing_not_active",
    "budget_exceeded",
    "insufficient_balance",
    "insufficient_credit",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_quota",
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    "quota_exceeded",
];

/// Words in the codes and messages of content filters: such a request may be refused under any status,
/// also as a failure.
const CONTENT: &[&str] = &[
    "content",
    "filter",
    "moderat",
    "policy",
    "prohibited",
    "prompt",
    "safety",
    "sensitive",
];

/// Words in the codes and messages of errors about an account.
const ACCOUNT: &[&str] = &[
    "access_denied",
    "account",
    "api key",
    "api_key",
    "apikey",
    "authenticat",
    "balance",
    "billing",
    "country",
    "credential",
    "credit",
    "organization",
    "payment",
    "permission",
    "quota",
    "subscription",
    "token",
    "unauthorized",
];

impl Dialect {
    /// Decides who is to blame for a create that was answered with an error, by the answer's status and
    /// body.
    ///
    /// Blaming the channel takes it out of routing, and a client must not be able to cause that by what
    /// it asks for: unless an error says that it is about the channel, a 4xx is about the request; and if
    /// a content filter says that the error is about the request, so is any other status.
    pub fn blame(&self, status: u16, body: &[u8]) -> Blame {
        let error = ApiError::read(body, self);
        let error = error.as_ref();
        let code = error.and_then(|error| error.code.as_deref()).unwrap_or("");
        let code = code.to_ascii_lowercase();
        if SPENT.contains(&&*code) {
            return Blame::Account;
        }
        let message = error.and_then(|error| error.message.as_deref());
        let message = message.unwrap_or("").to_ascii_lowercase();
        let says = |words: &[&str]| {
            let mut words = words.iter();
            words.any(|word| code.contains(word) || message.contains(word))
        };
        match status {
            401 | 402 | 407 => Blame::Account,
            403 if says(ACCOUNT) && !says(CONTENT) => Blame::Account,
            429 => Blame::RateLimited,
            408 => Blame::Failing,
            // A feature that is not implemented is one that the request asks for.
            501 => Blame::Request,
            500.. if CONTENT.iter().any(|word| code.contains(word)) => Blame::Request,
            500.. => Blame::Failing,
            _ => Blame::Request,
        }
    }
}

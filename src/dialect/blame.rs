//! Finds the cause of a channel's error answer to a create: the request, or the channel, and which part of
//! the channel. Does no IO.

use super::{ApiError, Dialect};

/// The cause of an error with which a channel answered a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request: every channel would refuse it, and other requests to the same channel may succeed.
    Request,
    /// The channel's account: its credential is refused, or lacks the permission, or its balance is
    /// spent.
    Account,
    /// The channel's rate limit: too many requests were sent to the channel.
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

/// Words in the error codes and messages of content filters. Such a filter may refuse a request with any
/// status, even with that of a server failure.
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
    /// Returns the cause of a channel's error answer to a create, by the answer's status and body.
    ///
    /// A channel that is the cause may be ejected (get no creates for a while), and a client must not be able
    /// to bring that about by the content of its request. So a 4xx is blamed on the request unless its status
    /// or its error shows that the channel is the cause. A 5xx is blamed on the request, too, if it is 501 or
    /// its error code is that of a content filter. An error code in `SPENT` is always blamed on the account.
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

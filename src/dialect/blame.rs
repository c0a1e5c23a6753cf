//! Who is to blame for a create that a channel has answered with an error: the request, or the channel
//! and what of it. Pure.

use super::{ApiError, Dialect};

/// Who is to blame for an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request: every channel would refuse it, and others of the same channel fare better.
    Request,
    /// The channel's account: its credential is refused, or may not do this, or nothing is left on
    /// it.
    Account,
    /// Too much was asked of the channel.
    RateLimited,
    /// The channel fails.
    Failing,
}

/// Codes by which APIs say that an account is spent, blocked or not paid for. Some use them under
/// 400 or 429.
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

/// What the codes and messages of filters have in them: such a request may be refused under any
/// status, also as a failure.
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

/// What codes and messages about an account have in them.
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
    /// Judges who is to blame for a create that was answered with an error.
    ///
    /// To blame the channel takes it out of the choice, and a client must not be able to bring that
    /// about by what it asks for: where it is not said that an error is about the channel, a 4xx is
    /// about the request; and where a filter says that it is about the request, so is any other.
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
            // What is not implemented is what the request asks for.
            501 => Blame::Request,
            500.. if CONTENT.iter().any(|word| code.contains(word)) => Blame::Request,
            500.. => Blame::Failing,
            _ => Blame::Request,
        }
    }
}

//! One create request out of a body in either syntax, judged as it passes.
//!
//! An [`Inspector`] is pushed the body as it comes. It says how far the input is safe to
//! release ([`Inspector::safe`]) and, at the end, turns the request into a
//! [`Permit`]. It holds no more of the body than the values of the policy's fields, what
//! tells the pixel size of a reference image, and digests: one of the prompt and, where it
//! is asked for, one of all that the request says ([`Inspector::fingerprinting`]). The caller
//! holds what is not safe yet.
//!
//! **Invariant**: the end of a well-written body (its close delimiter, its closing brace) is
//! never safe. It goes out when the caller holds the permit that [`Inspector::finish`]
//! gives, and a reservation. All of a body that merely stops may be safe, since nothing
//! tells yet that it has stopped: whoever forwards by a declared length must keep the last
//! byte of that length back as well.

mod digest;
mod form;
mod holdback;
mod names;
mod raw;
mod reference;
mod refusal;
mod seconds;
mod text;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) use holdback::Holdback;
pub use refusal::{Base64Fault, Refusal};
pub use seconds::{SecondsType, Written};

use crate::catalog::Catalog;
use crate::form::Stop;
use crate::policy::{Asked, Key, Permit};
use crate::{json, multipart};
use form::Form;

/// What all bodies are inspected by. Made once for a configuration.
#[derive(Debug)]
pub struct Plan {
    /// What is on offer.
    pub catalog: Arc<Catalog>,
    /// The allowed fields besides `model`, `size` and `seconds`. A name without brackets
    /// admits its members too, `metadata` admits `metadata[shot]`; but those of `prompt` and
    /// `input_reference` must be listed themselves.
    pub fields: BTreeSet<Arc<str>>,
    /// The longest prompt, in characters.
    pub prompt_chars: u64,
    /// How a JSON body may write `seconds`: what at least one channel takes.
    pub seconds_type: SecondsType,
    /// Bounds of the multipart scanner.
    pub multipart: multipart::Limits,
    /// Bounds of the JSON scanner.
    pub json: json::Limits,
}

/// The job that a remix is made from: what it asks for, instead of the body.
#[derive(Debug)]
pub struct Source {
    /// The source's model.
    pub model: Arc<str>,
    /// The source's size.
    pub size: Arc<str>,
    /// The source's duration.
    pub seconds: Arc<str>,
}

/// How a body is written, as its Content-Type says.
#[derive(Debug, Clone)]
pub enum Syntax {
    /// `multipart/form-data`
    Multipart(multipart::Boundary),
    /// `application/json`
    Json,
}

impl Syntax {
    /// Reads the value of a Content-Type header.
    ///
    /// # Errors
    /// Where it is neither of the two, or written in a way that parsers read differently.
    pub fn from_content_type(value: &str) -> Result<Self, Refusal> {
        let essence = value.split(';').next().unwrap_or_default().trim_end();
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = multipart::Boundary::from_content_type(value);
            return boundary.map(Self::Multipart).map_err(Refusal::Multipart);
        }
        let rest = value.strip_prefix("application/json");
        match rest.map(str::to_ascii_lowercase).as_deref() {
            Some("" | ";charset=utf-8" | "; charset=utf-8") => Ok(Self::Json),
            _ => Err(Refusal::UnsupportedMediaType),
        }
    }
}

/// Inspects the body of one create request.
pub struct Inspector {
    scanner: Scanner,
    form: Form,
    fingerprint: Option<[u8; 32]>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one per upload in flight, and the larger one is a few hundred bytes"
)]
enum Scanner {
    Multipart(multipart::Scanner),
    Json(json::Scanner),
}

impl Inspector {
    /// Creates an inspector for a body in that syntax, sent by that key. With a source it is the
    /// body of a remix: it may hold a prompt only, and is judged by what the source asked for.
    pub fn new(plan: Arc<Plan>, key: Arc<Key>, syntax: Syntax, source: Option<Source>) -> Self {
        let is_json = matches!(syntax, Syntax::Json);
        let scanner = match syntax {
            Syntax::Multipart(boundary) => {
                Scanner::Multipart(multipart::Scanner::new(boundary, plan.multipart))
            }
            Syntax::Json => Scanner::Json(json::Scanner::new(plan.json)),
        };
        Self {
            scanner,
            form: Form::new(plan, key, is_json, source),
            fingerprint: None,
        }
    }

    /// Computes the request's fingerprint too. To be called before the first byte is pushed:
    /// what has passed is not seen again. Every byte of the body's values is hashed then,
    /// those of a file included; otherwise only the prompt is.
    ///
    /// What the policy refuses is told by [`judged`](Self::judged) then: the fingerprint is
    /// there for such a request too, which may repeat one that was permitted once.
    #[must_use]
    pub fn fingerprinting(mut self) -> Self {
        self.form.start_fingerprint();
        self
    }

    /// Reads the next bytes of the body.
    ///
    /// # Errors
    /// The reason why the request cannot be permitted, at the earliest moment that it is
    /// known. Every later call fails as well.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        match &mut self.scanner {
            Scanner::Multipart(scanner) => scanner
                .push(chunk, &mut self.form)
                .map_err(|stop| refusal(stop, Refusal::Multipart)),
            Scanner::Json(scanner) => scanner
                .push(chunk, &mut self.form)
                .map_err(|stop| refusal(stop, Refusal::Json)),
        }
    }

    /// Returns whether the policy refuses what has been pushed so far, where a fingerprint is
    /// computed.
    ///
    /// # Errors
    /// The refusal.
    pub fn judged(&self) -> Result<(), Refusal> {
        let refused = self.form.refused().cloned();
        refused.map_or(Ok(()), |refusal| Err(Refusal::Policy(refusal)))
    }

    /// Returns the offset, from the body's start, below which the input may go on. Never falls,
    /// and never covers the end of a well-written body.
    pub fn safe(&self) -> u64 {
        match &self.scanner {
            Scanner::Multipart(scanner) => scanner.safe(),
            Scanner::Json(scanner) => scanner.safe(),
        }
    }

    /// Returns what is known of the request so far.
    pub fn asked(&self) -> Asked<'_> {
        self.form.asked()
    }

    /// Returns how the body has written its `seconds`, where it is JSON and they are known.
    pub fn written_seconds(&self) -> Option<Written> {
        self.form.written_seconds()
    }

    /// Returns the SHA-256 of the prompt's text in UTF-8, whichever syntax carried it: there once
    /// the prompt has ended and was accepted.
    pub fn prompt_digest(&self) -> Option<[u8; 32]> {
        self.form.prompt()
    }

    /// Returns what makes two bodies the same request for an `Idempotency-Key`: there once
    /// [`finish`](Self::finish) has permitted the request, or only its policy has not, if it was
    /// asked for.
    ///
    /// Equal for the same fields with the same values and the same bytes of a file, be they written
    /// as a form or as JSON, and in whatever order different fields come; boundary, filenames and
    /// part headers do not count. The elements of a list count in their order, the members of an
    /// element in any. A `filename=""` without bytes counts as absent, and so does the `null` of a
    /// field that is known here. A default that is spelt out, a JSON value that is no string and a
    /// data URL in place of a file are other values. It covers the body only: neither the key nor
    /// the route, nor the source of a remix.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
    }

    /// Ends the body and judges the whole of it.
    ///
    /// # Errors
    /// The reason why the request is not permitted.
    pub fn finish(&mut self) -> Result<Permit, Refusal> {
        match &mut self.scanner {
            Scanner::Multipart(scanner) => scanner
                .finish(&mut self.form)
                .map_err(|stop| refusal(stop, Refusal::Multipart))?,
            Scanner::Json(scanner) => scanner
                .finish(&mut self.form)
                .map_err(|stop| refusal(stop, Refusal::Json))?,
        }
        let permit = self.form.finish();
        if matches!(permit, Ok(_) | Err(Refusal::Policy(_))) {
            self.fingerprint = self.form.fingerprint();
        }
        permit
    }
}

fn refusal<S>(stop: Stop<S, Refusal>, syntax: impl FnOnce(S) -> Refusal) -> Refusal {
    match stop {
        Stop::Syntax(error) => syntax(error),
        Stop::Refused(refusal) => refusal,
    }
}

#[cfg(test)]
mod tests;

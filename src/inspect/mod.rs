//! Inspects the body of a create request, a form or JSON, and judges it as it streams through.
//!
//! An [`Inspector`] is pushed the body as it arrives. [`Inspector::safe`] returns the offset up to which
//! the body may be forwarded, and [`Inspector::finish`] returns a [`Permit`] for the request. Of the body
//! the inspector stores only field names, the values of model, size and seconds, the bytes that show the
//! pixel size of a reference image, and digests: of the prompt and, if requested, of all that the request
//! asks for ([`Inspector::fingerprinting`]). The caller holds back the bytes that must not be forwarded yet.
//!
//! **Invariant**: the end of a well-formed body (its close delimiter, its closing brace) is never safe.
//! The caller forwards this end after it has the permit of [`Inspector::finish`] and a reservation.
//! All bytes of a truncated body may be safe, since the inspector cannot know that no more will come.
//! So a caller that forwards with a declared length must hold back the last byte of that length as well.

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

/// The rules by which all bodies are inspected. Each configuration has one plan.
#[derive(Debug)]
pub struct Plan {
    /// The catalog: what is on offer.
    pub catalog: Arc<Catalog>,
    /// The names of the allowed fields besides `model`, `size` and `seconds`. A name without brackets also
    /// allows its members: `metadata` allows `metadata[shot]`. But the members of `prompt` and
    /// `input_reference` must be listed by their own names.
    pub fields: BTreeSet<Arc<str>>,
    /// The maximum length of a prompt, in characters.
    pub prompt_chars: u64,
    /// The types in which a JSON body may write `seconds`: those that at least one channel accepts.
    pub seconds_type: SecondsType,
    /// The limits of the multipart scanner.
    pub multipart: multipart::Limits,
    /// The limits of the JSON scanner.
    pub json: json::Limits,
}

/// The job that a remix is made from. The remix is judged by the model, size and seconds of this job.
#[derive(Debug)]
pub struct Source {
    /// The name of the model of the source.
    pub model: Arc<str>,
    /// The name of the size of the source.
    pub size: Arc<str>,
    /// The duration of the source in seconds, as requests write it.
    pub seconds: Arc<str>,
}

/// The syntax of a body, as its Content-Type says.
#[derive(Debug, Clone)]
pub enum Syntax {
    /// A form: `multipart/form-data`.
    Multipart(multipart::Boundary),
    /// A JSON object: `application/json`.
    Json,
}

impl Syntax {
    /// Parses the value of a Content-Type header.
    ///
    /// # Errors
    /// If it is neither `multipart/form-data` nor `application/json`, or parsers may read it differently.
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

/// An inspector of the body of one create request.
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
    /// Creates an inspector for a body in `syntax`, sent by `key`. With a `source`, the body is that of a
    /// remix: it may contain only a prompt, and the policy judges the model, size and seconds of the source.
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

    /// Turns on the computation of the request's fingerprint. Call it before the first byte is pushed: the
    /// fingerprint does not cover earlier bytes. Every byte of the body's values is then hashed, a file's
    /// included; otherwise only the prompt is.
    ///
    /// A refusal of the policy is then returned by [`judged`](Self::judged), not by [`push`](Self::push). So
    /// a refused request has a fingerprint too: it may repeat a request that was permitted earlier.
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

    /// Checks whether the policy refuses what was pushed so far. Always returns `Ok` if no fingerprint is
    /// computed: then [`push`](Self::push) returns the refusal.
    ///
    /// # Errors
    /// The refusal.
    pub fn judged(&self) -> Result<(), Refusal> {
        let refused = self.form.refused().cloned();
        refused.map_or(Ok(()), |refusal| Err(Refusal::Policy(refusal)))
    }

    /// Returns the offset in the body up to which the input may be forwarded. It never decreases, and never
    /// includes the end of a well-formed body.
    pub fn safe(&self) -> u64 {
        match &self.scanner {
            Scanner::Multipart(scanner) => scanner.safe(),
            Scanner::Json(scanner) => scanner.safe(),
        }
    }

    /// Returns the model, size and seconds of the request that are known so far.
    pub fn asked(&self) -> Asked<'_> {
        self.form.asked()
    }

    /// Returns the type in which a JSON body has written its `seconds`; `None` for a form, and while a JSON
    /// body has shown no `seconds`.
    pub fn written_seconds(&self) -> Option<Written> {
        self.form.written_seconds()
    }

    /// Returns the SHA-256 of the prompt's text in UTF-8, which is the same in a form and in JSON; `None`
    /// until the prompt has ended and was accepted.
    pub fn prompt_digest(&self) -> Option<[u8; 32]> {
        self.form.prompt()
    }

    /// Returns the fingerprint of the body, by which requests with one `Idempotency-Key` are compared.
    ///
    /// It is `Some` only if [`fingerprinting`](Self::fingerprinting) has turned it on, and if
    /// [`finish`](Self::finish) has returned a permit or [`Refusal::Policy`].
    ///
    /// The fingerprint is equal for the same fields with the same values and the same bytes of a file,
    /// whether they are written as a form or as JSON, and in whatever order different fields come;
    /// boundary, filenames and part headers do not count. The order of the elements of a list counts, that
    /// of an element's members does not. A `filename=""` without bytes counts as absent, and so does `null`
    /// for a field that expects a string or a file. A default that is spelt out differs from one left out,
    /// a JSON `1` from a string `"1"`, and a data URL from a file. The fingerprint covers the body only:
    /// not the key, the route or the source of a remix.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
    }

    /// Ends the body and judges the whole request.
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

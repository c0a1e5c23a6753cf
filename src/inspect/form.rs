//! The rules for the fields of a create: which are allowed, how often, and with which values.

use std::borrow::Cow;
use std::sync::Arc;

use super::digest::Fingerprint;
use super::names::{self, PROMPT, REFERENCE, REFERENCE_ID, REFERENCE_URL};
use super::raw::Raw;
use super::reference::Reference;
use super::seconds::Written;
use super::text::Counter;
use super::{Plan, Refusal, Source};
use crate::form::{Field, Kind, Release, Sink};
use crate::policy::{self, Asked, Key, Param, Permit};
use crate::sha256::Sha256;

/// The maximum length of the value of model, size or seconds, in bytes: the maximum length of a model's
/// name. A longer value cannot be on offer.
const VALUE_BYTES: usize = 128;
/// The kinds of value that a reference image may have, for a message.
const REFERENCE_KINDS: &str = "a file, or an object with a file_id or an image_url";
/// The maximum number of characters of an unknown field's name that a message repeats.
const NAME_CHARS: usize = 64;
/// The maximum length of an `image_url`, in characters, as the API documents it.
const IMAGE_URL_CHARS: u64 = 20_971_520;

/// A sink for the fields of one create body, which judges them.
pub(super) struct Form {
    plan: Arc<Plan>,
    key: Arc<Key>,
    values: [Option<Arc<str>>; 3],
    is_json: bool,
    written_seconds: Option<Written>,
    is_remix: bool,
    /// The names of the fields read so far, except those that may come several times.
    seen: Vec<Cow<'static, str>>,
    current: Current,
    /// The buffer for the value of the next field that the policy judges. It has no content: while such a
    /// value is read, it is in `current`.
    value: Vec<u8>,
    /// The digest of the prompt's text, once the prompt has ended.
    prompt: Option<[u8; 32]>,
    reference: Option<Reference>,
    /// The computation of the fingerprint; `None` unless requested, as it hashes every byte of a file.
    fingerprint: Option<Fingerprint>,
    /// The policy's first refusal, stored instead of returned if a fingerprint of the body is computed.
    refused: Option<policy::Refusal>,
}

/// The field that is being read.
enum Current {
    None,
    Policy(Param, Vec<u8>),
    Prompt(Counter, Box<Sha256>),
    Reference(Counter),
    EmptyFile,
    /// A JSON value that is no string, of a field that expects a string or a file: see [`Raw::push`].
    Raw(Raw),
    /// A text or raw JSON value that is only checked to be UTF-8, with the name of its field.
    Other(Counter, Box<str>),
}

impl Form {
    pub(super) fn new(
        plan: Arc<Plan>,
        key: Arc<Key>,
        is_json: bool,
        source: Option<Source>,
    ) -> Self {
        Self {
            plan,
            key,
            is_json,
            written_seconds: None,
            is_remix: source.is_some(),
            values: match source {
                Some(source) => [source.model, source.size, source.seconds].map(Some),
                None => [None, None, None],
            },
            seen: Vec::new(),
            current: Current::None,
            value: Vec::new(),
            prompt: None,
            reference: None,
            fingerprint: None,
            refused: None,
        }
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        let [model, size, seconds] = &self.values;
        Asked {
            model: model.as_deref(),
            size: size.as_deref(),
            seconds: seconds.as_deref(),
        }
    }

    pub(super) fn written_seconds(&self) -> Option<Written> {
        self.written_seconds
    }

    pub(super) fn prompt(&self) -> Option<[u8; 32]> {
        self.prompt
    }

    pub(super) fn start_fingerprint(&mut self) {
        self.fingerprint = Some(Fingerprint::default());
    }

    /// Returns the fingerprint of the fields that have ended, if it was started.
    pub(super) fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint.as_ref().map(Fingerprint::digest)
    }

    /// Returns the policy's refusal of the fields that have ended, if there is one.
    pub(super) fn refused(&self) -> Option<&policy::Refusal> {
        self.refused.as_ref()
    }

    /// Decides whether the whole request is permitted, once the body has ended and is well-formed.
    pub(super) fn finish(&self) -> Result<Permit, Refusal> {
        let permit = match self.is_remix {
            true => policy::permit_remix,
            false => policy::permit,
        };
        let permit = permit(&self.plan.catalog, &self.key, self.asked())?;
        if self.prompt.is_none() {
            return Err(Refusal::Missing { name: PROMPT });
        }
        self.judge_image(Some(&permit))?;
        Ok(permit)
    }

    fn judge(&mut self) -> Result<(), Refusal> {
        if let Err(refusal) = policy::judge(&self.plan.catalog, &self.key, self.asked()) {
            if self.fingerprint.is_none() {
                return Err(refusal.into());
            }
            self.refused.get_or_insert(refusal);
        }
        self.judge_image(None)
    }

    /// Compares the reference image with the requested size as soon as both are known. Refuses another size,
    /// and an image that cannot be read. Does nothing if the model does not check images.
    ///
    /// `permit`, given at the end of the body, has the default size for a request that names no size.
    fn judge_image(&self, permit: Option<&Permit>) -> Result<(), Refusal> {
        let Some(verdict) = self.reference.as_ref().and_then(Reference::verdict) else {
            return Ok(());
        };
        let asked = self.asked();
        let model = asked.model.and_then(|name| self.plan.catalog.get(name));
        let Some(model) = model.filter(|model| model.check_image()) else {
            return Ok(());
        };
        let image = match verdict {
            Ok(image) => image,
            Err(reason) => return Err(Refusal::UnreadableImage(*reason)),
        };
        let size = match permit {
            Some(permit) => Some(permit.size()),
            None => asked.size.and_then(|name| model.find_size(name)),
        };
        match size {
            Some(size) if (size.width, size.height) != (image.width, image.height) => {
                Err(Refusal::ImageSizeMismatch {
                    image: *image,
                    wanted: size.name.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, name: &str) -> Result<(), Refusal> {
        // The elements of a list come under one name.
        if name.as_bytes().windows(2).any(|pair| pair == b"[]") {
            return Ok(());
        }
        if self.seen.iter().any(|seen| *seen == name) {
            return Err(Refusal::DuplicateField { name: name.into() });
        }
        self.seen.push(match names::known(name) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(name.to_owned()),
        });
        Ok(())
    }

    fn set_reference(&mut self, reference: Reference) -> Result<Current, Refusal> {
        if self.reference.replace(reference).is_some() {
            return Err(Refusal::SeveralReferences);
        }
        Ok(Current::Reference(Counter::default()))
    }

    fn set(&mut self, param: Param, value: &str) -> Result<(), Refusal> {
        self.values[match param {
            Param::Model => 0,
            Param::Size => 1,
            Param::Seconds => 2,
        }] = Some(value.into());
        self.judge()
    }

    fn set_written(&mut self, written: Written) -> Result<(), Refusal> {
        self.written_seconds = Some(written);
        match self.plan.seconds_type.takes(self.written_seconds) {
            true => Ok(()),
            false => Err(Refusal::WrongKind {
                name: Param::Seconds.name().into(),
                wanted: self.plan.seconds_type.wanted(),
            }),
        }
    }

    fn begin_known(&mut self, name: &str, kind: Kind) -> Result<Current, Refusal> {
        let wrong = |wanted| {
            let name = name.to_owned();
            Err(Refusal::WrongKind { name, wanted })
        };
        let param = names::policy_param(name);
        let raw = |wanted| Ok(Current::Raw(Raw::new(name, param, wanted)));
        if let Some(param) = param {
            return match kind {
                Kind::Text => Ok(Current::Policy(param, std::mem::take(&mut self.value))),
                Kind::Json if param == Param::Seconds => raw(self.plan.seconds_type.wanted()),
                Kind::Json => raw("a string, in quotes"),
                Kind::File | Kind::EmptyFile => wrong("a plain field, without a filename"),
            };
        }
        match (name, kind) {
            (PROMPT, Kind::Text) => Ok(Current::Prompt(Counter::default(), Box::default())),
            (REFERENCE, Kind::File) => self.set_reference(Reference::file()),
            (REFERENCE, Kind::EmptyFile) => Ok(Current::EmptyFile),
            (REFERENCE, Kind::Json) => raw(REFERENCE_KINDS),
            (REFERENCE, _) => wrong(REFERENCE_KINDS),
            (REFERENCE_ID, Kind::Text) => {
                self.set_reference(Reference::file_id())?;
                Ok(Current::Other(Counter::default(), name.into()))
            }
            (REFERENCE_URL, Kind::Text) => self.set_reference(Reference::url()),
            (PROMPT | REFERENCE_ID | REFERENCE_URL, Kind::Json) => raw("a string, in quotes"),
            (PROMPT | REFERENCE_ID | REFERENCE_URL, _) => wrong("text, without a filename"),
            (_, Kind::File | Kind::EmptyFile) => wrong("a plain field, without a filename"),
            (_, Kind::Text | Kind::Json) => Ok(Current::Other(Counter::default(), name.into())),
        }
    }
}

impl Sink for Form {
    type Refusal = Refusal;

    fn begin(&mut self, field: Field<'_>) -> Result<Release, Refusal> {
        let name = field.name;
        if !names::is_allowed(name, &self.plan.fields, self.is_remix) {
            return Err(Refusal::UnknownField {
                name: name.chars().take(NAME_CHARS).collect(),
                allowed: names::allowed(&self.plan.fields, self.is_remix),
            });
        }
        self.note(name)?;
        self.current = self.begin_known(name, field.kind)?;
        if let Some(fingerprint) = &mut self.fingerprint {
            fingerprint.begin(field);
        }
        Ok(match self.current {
            Current::Policy(..) | Current::Raw(..) => Release::AfterEnd,
            _ => Release::AtOnce,
        })
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if let Some(fingerprint) = &mut self.fingerprint {
            fingerprint.data(bytes);
        }
        match &mut self.current {
            Current::Policy(param, value) => {
                if value.len() + bytes.len() > VALUE_BYTES {
                    return Err(Refusal::TooLong {
                        name: param.name().into(),
                        max: VALUE_BYTES as u64,
                    });
                }
                value.extend_from_slice(bytes);
                Ok(())
            }
            Current::Prompt(counter, hash) => {
                hash.update(bytes);
                count(counter, bytes, PROMPT, self.plan.prompt_chars)
            }
            Current::Reference(counter) => {
                if let Some(reference) = &mut self.reference {
                    if !reference.is_file() {
                        count(counter, bytes, REFERENCE_URL, IMAGE_URL_CHARS)?;
                    }
                    let known = reference.verdict().is_some();
                    reference.push(bytes)?;
                    if known != reference.verdict().is_some() {
                        return self.judge_image(None);
                    }
                }
                Ok(())
            }
            Current::Raw(raw) => {
                let numbers = self.plan.seconds_type.takes(Some(Written::Number));
                raw.push(bytes, numbers)
            }
            Current::Other(counter, name) => count(counter, bytes, name, u64::MAX),
            Current::EmptyFile | Current::None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        if let Some(fingerprint) = &mut self.fingerprint {
            if matches!(&self.current, Current::Raw(raw) if raw.is_null()) {
                fingerprint.skip();
            }
            fingerprint.end();
        }
        match std::mem::replace(&mut self.current, Current::None) {
            Current::Policy(param, mut value) => {
                let name = || param.name().to_owned();
                if value.is_empty() {
                    return Err(Refusal::Empty { name: name() });
                }
                if param == Param::Seconds && self.is_json {
                    self.set_written(Written::String)?;
                }
                let text = std::str::from_utf8(&value);
                self.set(param, text.map_err(|_| Refusal::NotUtf8 { name: name() })?)?;
                value.clear();
                self.value = value;
                Ok(())
            }
            Current::Raw(raw) => match raw.into_number() {
                Some((param, digits)) => {
                    if param == Param::Seconds {
                        self.set_written(Written::Number)?;
                    }
                    self.set(param, &digits)
                }
                // `null` counts as a field that was left out.
                None => Ok(()),
            },
            Current::Prompt(counter, hash) => {
                let name = || PROMPT.to_owned();
                match counter.finish() {
                    Ok(0) => Err(Refusal::Empty { name: name() }),
                    Ok(_) => {
                        self.prompt = Some(hash.finish());
                        Ok(())
                    }
                    Err(_) => Err(Refusal::NotUtf8 { name: name() }),
                }
            }
            Current::Reference(_) => {
                if let Some(reference) = &mut self.reference {
                    reference.end()?;
                }
                self.judge_image(None)
            }
            Current::Other(counter, name) => match counter.finish() {
                Ok(_) => Ok(()),
                Err(_) => Err(Refusal::NotUtf8 { name: name.into() }),
            },
            Current::EmptyFile | Current::None => Ok(()),
        }
    }
}

fn count(counter: &mut Counter, bytes: &[u8], name: &str, max: u64) -> Result<(), Refusal> {
    let pushed = counter.push(bytes);
    if counter.chars() > max {
        return Err(Refusal::TooLong {
            name: name.into(),
            max,
        });
    }
    pushed.map_err(|_| Refusal::NotUtf8 { name: name.into() })
}

//! What a create body is made of, whichever syntax carries it.
//!
//! The two scanners ([`crate::multipart`], [`crate::json`]) push what they read into a
//! [`Sink`]; the sink decides what the fields mean. Neither side copies a value: data
//! arrives as slices of the buffers that came in, cut wherever the input was cut.
//!
//! A JSON body is reported under the names that a form would use, so that a sink needs
//! one vocabulary: `{"input_reference":{"file_id":"f"}}` is the field
//! `input_reference[file_id]`, `{"characters":[{"id":"a"}]}` is `characters[][id]`.

/// The start of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's name, decoded: `model`, `input_reference[file_id]`.
    pub name: &'a str,
    /// What sort of value follows.
    pub kind: Kind,
}

/// What sort of value a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text: a form field without a filename, or a JSON string (handed on unescaped).
    Text,
    /// A form part with a filename.
    File,
    /// An empty file input of a browser: `filename=""`. Its data must be empty too.
    EmptyFile,
    /// A JSON value that is no string (number, literal, array or object), handed on raw.
    /// Objects whose members the sink knows by bracket names do not come this way.
    Json,
}

/// Whether the bytes of a field may go on before the field has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// As they come: nothing is decided by this field's value.
    AtOnce,
    /// From the field's first byte of syntax on, nothing goes on until [`Sink::end`] has
    /// accepted the value. A sink that answers this must bound the value's length.
    AfterEnd,
}

/// Receives the fields of one body in the order in which they came.
///
/// The scanner guarantees: `begin`, any number of `data` (possibly none, never an empty
/// slice), `end`, for each field in turn; and no call after the first refusal.
/// How the input was cut changes only how the data is cut.
pub trait Sink {
    /// Why the sink stops the body.
    type Refusal;

    /// A field begins.
    fn begin(&mut self, field: Field<'_>) -> Result<Release, Self::Refusal>;
    /// A piece of the field's value.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Refusal>;
    /// Returns the field is complete.
    fn end(&mut self) -> Result<(), Self::Refusal>;
}

/// Why a scanner stopped: the syntax broke a rule, or the sink refused a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop<S, R> {
    /// The body is not written as it must be.
    Syntax(S),
    /// The sink's own reason.
    Refused(R),
}

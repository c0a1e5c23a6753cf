//! The interface by which the body scanners report the fields of a create body, whether it is a form or JSON.
//!
//! The scanners ([`crate::multipart`], [`crate::json`]) push what they read into a [`Sink`]; the sink
//! decides what the fields mean. A scanner buffers no value: the value arrives in pieces, most of them slices
//! of the input buffers, cut wherever the input was cut.
//!
//! The fields of a JSON body get the names that they would have in a form, so that a sink knows one set:
//! `{"input_reference":{"file_id":"f"}}` is the field `input_reference[file_id]`,
//! `{"characters":[{"id":"a"}]}` is `characters[][id]`.

/// The start of a field: its name and the kind of its value, before the value has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's name, decoded: `model`, `input_reference[file_id]`.
    pub name: &'a str,
    /// The kind of the value that follows.
    pub kind: Kind,
}

/// The kind of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text: a form field without a filename, or a JSON string (passed on with its escapes decoded).
    Text,
    /// A form part with a filename.
    File,
    /// An empty file input of a browser: `filename=""`. Its data must be empty too.
    EmptyFile,
    /// A JSON value that is not a string (number, literal, array or object), passed on raw. An array or
    /// object is reported in this way only if it is empty or deeply nested. Otherwise its elements or
    /// members are fields of their own, under bracket names.
    Json,
}

/// Whether the bytes of a field may be forwarded before the field has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The bytes may be forwarded as they arrive. The sink may still refuse the value: the last bytes of a
    /// body are always held back, so no channel gets a complete request before it is accepted.
    AtOnce,
    /// Nothing is forwarded from the first byte of the field's syntax on, until [`Sink::end`] has accepted
    /// the value. A sink that returns this must limit the length of the value.
    AfterEnd,
}

/// A receiver of the fields of one body, in the order of the body.
///
/// For each field in turn, the scanner calls `begin`, then `data` any number of times (perhaps never, and
/// never with an empty slice), then `end`. It makes no call after the first refusal. The places where the
/// input was cut affect only the places where the data is cut.
pub trait Sink {
    /// The reason why the sink refuses a field, and with it the whole body.
    type Refusal;

    /// Begins a field. Returns whether the field's bytes may be forwarded at once or only after its end.
    fn begin(&mut self, field: Field<'_>) -> Result<Release, Self::Refusal>;
    /// Receives the next piece of the field's value.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Refusal>;
    /// Ends the field, whose value is now complete, and accepts or refuses the value.
    fn end(&mut self) -> Result<(), Self::Refusal>;
}

/// The reason why a scanner stopped: the syntax broke a rule, or the sink refused a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop<S, R> {
    /// The body breaks a rule of its syntax.
    Syntax(S),
    /// The sink refused a field for this reason.
    Refused(R),
}

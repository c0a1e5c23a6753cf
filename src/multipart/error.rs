//! The errors of a multipart body that breaks the grammar.

/// The reason why a body, or the `Content-Type` that announces it, is refused.
///
/// The text of each error is meant for the developer of the client that sent the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The `Content-Type` is not `multipart/form-data` in lower case.
    #[error("Content-Type must be multipart/form-data, in lower case, with its boundary after `;`")]
    MediaType,
    /// A parameter of the `Content-Type` is unknown, repeated or malformed.
    #[error(
        "Content-Type may have the parameters boundary and charset only, each once, in lower case and separated by `; `"
    )]
    ContentTypeParameter,
    /// The `Content-Type` names a charset other than utf-8, us-ascii or iso-8859-1.
    #[error("the charset in Content-Type must be utf-8, us-ascii or iso-8859-1")]
    RequestCharset,
    /// The `Content-Type` has no boundary.
    #[error("Content-Type has no boundary; let the HTTP client write this header itself")]
    MissingBoundary,
    /// The boundary is empty, too long, all dashes, or contains bytes that are not allowed.
    #[error(
        "the boundary in Content-Type must have 1 to 70 letters, digits or `_ . + -` (if quoted, also `/`) and not be all dashes"
    )]
    Boundary,
    /// The body does not begin with the first delimiter.
    #[error("the body must begin with `--`, the boundary that Content-Type declares, and CRLF")]
    Preamble,
    /// The first delimiter is also the close delimiter, so the body has no parts.
    #[error("the form has no fields; send at least one")]
    NoParts,
    /// A delimiter is followed by bytes other than CRLF or two dashes.
    #[error("a boundary in the body must be followed by CRLF, or by `--` if it is the last")]
    DelimiterLine,
    /// The boundary's bytes occur outside of a delimiter.
    #[error("{}", stray_boundary(.field.as_deref()))]
    StrayBoundary {
        /// The part whose value contains the bytes; `None` when they are in part headers.
        field: Option<String>,
    },
    /// The body ends before its close delimiter.
    #[error("the body ends without its last line, the boundary between `--` and `--`")]
    Truncated,
    /// Bytes other than one or two CRLF follow the close delimiter.
    #[error("nothing but CRLF may follow the last boundary of the body")]
    Epilogue,
    /// The body has too many parts.
    #[error("the form has too many fields; at most {max} are allowed")]
    TooManyParts {
        /// The maximum number of parts.
        max: usize,
    },
    /// The header block of a part is too long.
    #[error(
        "the headers of a part are too long; at most {max} bytes are allowed, and an empty line must end them"
    )]
    HeadersTooLong {
        /// The maximum number of bytes.
        max: usize,
    },
    /// A part has too many header lines.
    #[error("a part has too many headers; at most {max} are allowed")]
    TooManyHeaders {
        /// The maximum number of header lines.
        max: usize,
    },
    /// Part headers contain a CR or LF by itself.
    #[error("lines in the headers of a part must end with CRLF")]
    HeaderLineEnding,
    /// Part headers contain a control character (a TAB too).
    #[error("the headers of a part contain a control character; remove it (tabs too)")]
    HeaderControl,
    /// A part header line is not `Name: value`.
    #[error(
        "each header of a part must be one line `Name: value`, with one space after the colon and none at the end"
    )]
    HeaderLine,
    /// A part has a header other than the four that are allowed.
    #[error(
        "a part may have the headers Content-Disposition, Content-Type, Content-Transfer-Encoding and Content-Length only, spelt so or in lower case"
    )]
    UnknownHeader,
    /// A part header comes twice.
    #[error("a part has the header {header} twice; send it once")]
    DuplicateHeader {
        /// The name of the header that comes twice.
        header: &'static str,
    },
    /// A part has no `Content-Disposition`.
    #[error(
        "a part has no Content-Disposition; send `Content-Disposition: form-data; name=\"...\"` with each"
    )]
    MissingDisposition,
    /// A `Content-Disposition` is not in the one form that is accepted.
    #[error(
        "the Content-Disposition of a part must be `form-data; name=\"...\"`, with `; filename=\"...\"` after it for a file, and no other parameter"
    )]
    Disposition,
    /// A field name is empty or contains characters that are not allowed.
    #[error(
        "a field name must not be empty and may have letters, digits, `_ - .` and, within quotes, `[ ]` only"
    )]
    FieldName,
    /// A filename is not UTF-8, or has characters that servers read differently.
    #[error(
        "the filename of `{field}` cannot be read safely: it must be UTF-8 without control characters, without \\\" beside other backslashes, and without `;` beside `=` or a backslash; send a simpler one"
    )]
    Filename {
        /// The part's name.
        field: String,
    },
    /// A filename would be empty after a server has cleaned it.
    #[error(
        "the filename of `{field}` names nothing: a letter or digit must follow its last slash, backslash or HTML entity; send a name such as image.png"
    )]
    BlankFilename {
        /// The part's name.
        field: String,
    },
    /// A `filename*` is malformed, comes without a `filename` before it, or comes after an empty one.
    #[error(
        "the filename* of `{field}` must follow a filename that is not empty and be utf-8'' and the percent-encoded name; filename alone is enough"
    )]
    ExtendedFilename {
        /// The part's name.
        field: String,
    },
    /// A filename is too long.
    #[error("the filename of `{field}` is too long; at most {max} bytes are allowed")]
    FilenameTooLong {
        /// The part's name.
        field: String,
        /// The maximum number of bytes.
        max: usize,
    },
    /// A part without a filename has a type other than `text/plain` in UTF-8, US-ASCII or ISO-8859-1.
    #[error(
        "the Content-Type of `{field}` must be text/plain, in utf-8, us-ascii or iso-8859-1, or left out; a file needs a filename"
    )]
    TextType {
        /// The part's name.
        field: String,
    },
    /// The type of a part with a filename is not `image/*` or `application/octet-stream`, without parameters.
    #[error(
        "`{field}` came as a file whose Content-Type is no image type. If it is a text field, send it without a filename (with curl: `{field}=<FILE`, not `{field}=@FILE`); if it is an image, its Content-Type must be an image type or application/octet-stream, without parameters, or left out"
    )]
    FileType {
        /// The part's name.
        field: String,
    },
    /// A `Content-Transfer-Encoding` is not 7bit, 8bit or binary.
    #[error(
        "the Content-Transfer-Encoding of `{field}` must be 7bit, 8bit or binary; send the bytes as they are"
    )]
    TransferEncoding {
        /// The part's name.
        field: String,
    },
    /// The `Content-Length` of a part is not a decimal number, or has a sign or leading zeros.
    #[error("the Content-Length of `{field}` must be a decimal number of bytes")]
    PartLength {
        /// The part's name.
        field: String,
    },
    /// A part is shorter or longer than its `Content-Length`.
    #[error(
        "the Content-Length of `{field}` is {declared}, but its value has {received} bytes; correct it or leave it out"
    )]
    LengthMismatch {
        /// The part's name.
        field: String,
        /// The number of bytes that the part's `Content-Length` declares.
        declared: u64,
        /// The number of bytes that the part's value has.
        received: u64,
    },
    /// A part with an empty filename has a value.
    #[error("`{field}` has an empty filename and yet a value; give the file a name")]
    EmptyFilename {
        /// The part's name.
        field: String,
    },
    /// An earlier call failed because the sink refused a field. No more of the body is read.
    #[error("the body was refused for one of its fields and is not read further")]
    Stopped,
}

impl Error {
    /// Returns the name of the part at fault; `None` if no single part is at fault or its name is unknown.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::StrayBoundary { field } => field.as_deref(),
            Self::Filename { field }
            | Self::BlankFilename { field }
            | Self::ExtendedFilename { field }
            | Self::FilenameTooLong { field, .. }
            | Self::TextType { field }
            | Self::FileType { field }
            | Self::TransferEncoding { field }
            | Self::PartLength { field }
            | Self::LengthMismatch { field, .. }
            | Self::EmptyFilename { field } => Some(field),
            Self::MediaType
            | Self::ContentTypeParameter
            | Self::RequestCharset
            | Self::MissingBoundary
            | Self::Boundary
            | Self::Preamble
            | Self::NoParts
            | Self::DelimiterLine
            | Self::Truncated
            | Self::Epilogue
            | Self::TooManyParts { .. }
            | Self::HeadersTooLong { .. }
            | Self::TooManyHeaders { .. }
            | Self::HeaderLineEnding
            | Self::HeaderControl
            | Self::HeaderLine
            | Self::UnknownHeader
            | Self::DuplicateHeader { .. }
            | Self::MissingDisposition
            | Self::Disposition
            | Self::FieldName
            | Self::Stopped => None,
        }
    }
}

/// Describes where the boundary's bytes are and how to avoid them.
fn stray_boundary(field: Option<&str>) -> String {
    match field {
        Some(field) => format!("the value of `{field}` contains the boundary, or no CRLF comes before the boundary that ends it; use a boundary that occurs in no value"),
        None => "the headers of a part contain the boundary; end them with an empty line and use a boundary that occurs in no header".to_owned(),
    }
}

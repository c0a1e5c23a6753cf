//! Why a body is not written as it must be.

use std::fmt;

/// Why a body, or the `Content-Type` that announces it, is refused.
///
/// The text of each is meant for the developer of the client that sent the body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The request is no `multipart/form-data`, or does not write it in lower case.
    MediaType,
    /// A `Content-Type` parameter that is unknown, repeated or malformed.
    ContentTypeParameter,
    /// The `Content-Type` names a charset other than utf-8, us-ascii or iso-8859-1.
    RequestCharset,
    /// The `Content-Type` has no boundary.
    MissingBoundary,
    /// The boundary is empty, too long, all dashes, or has bytes that it may not have.
    Boundary,
    /// Something comes before the first delimiter.
    Preamble,
    /// The first delimiter closes the body.
    NoParts,
    /// A delimiter is followed by something else than CRLF or two dashes.
    DelimiterLine,
    /// The boundary's bytes occur where no delimiter is.
    StrayBoundary {
        /// The part whose value they are in; none when they are in part headers.
        field: Option<String>,
    },
    /// The body ends before its close delimiter.
    Truncated,
    /// Something other than one or two CRLF follows the close delimiter.
    Epilogue,
    /// The body has too many parts.
    TooManyParts {
        /// How many it may have.
        max: usize,
    },
    /// The header block of a part is too long.
    HeadersTooLong {
        /// How many bytes it may have.
        max: usize,
    },
    /// A part has too many header lines.
    TooManyHeaders {
        /// How many it may have.
        max: usize,
    },
    /// A CR or LF by itself in part headers.
    HeaderLineEnding,
    /// A control character (a TAB too) in part headers.
    HeaderControl,
    /// A part header line that is not `Name: value`.
    HeaderLine,
    /// A part header other than the four that are known.
    UnknownHeader,
    /// A part header that comes twice.
    DuplicateHeader {
        /// Its name.
        header: &'static str,
    },
    /// A part has no `Content-Disposition`.
    MissingDisposition,
    /// A `Content-Disposition` that is not in the one form that is accepted.
    Disposition,
    /// A field name that is empty or has characters that it may not have.
    FieldName,
    /// A filename that is not UTF-8, or has characters that servers read differently.
    Filename {
        /// The part's name.
        field: String,
    },
    /// A filename of which nothing is left once a server has cleaned it.
    BlankFilename {
        /// The part's name.
        field: String,
    },
    /// A `filename*` that stands alone or is malformed.
    ExtendedFilename {
        /// The part's name.
        field: String,
    },
    /// A filename that is too long.
    FilenameTooLong {
        /// The part's name.
        field: String,
        /// How many bytes it may have.
        max: usize,
    },
    /// A part without a filename that is typed as something other than plain text.
    TextType {
        /// The part's name.
        field: String,
    },
    /// A part with a filename that is typed as something other than an image.
    FileType {
        /// The part's name.
        field: String,
    },
    /// A `Content-Transfer-Encoding` that alters bytes.
    TransferEncoding {
        /// The part's name.
        field: String,
    },
    /// A `Content-Length` of a part that is no number.
    PartLength {
        /// The part's name.
        field: String,
    },
    /// A part is shorter or longer than its `Content-Length`.
    LengthMismatch {
        /// The part's name.
        field: String,
        /// Bytes that its header announced.
        declared: u64,
        /// Bytes that came.
        received: u64,
    },
    /// A part with an empty filename that has a value.
    EmptyFilename {
        /// The part's name.
        field: String,
    },
    /// The sink refused a field earlier; nothing more of the body is read.
    Stopped,
}

impl Error {
    /// The name of the part that is at fault, where it is known.
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MediaType => f.write_str(
                "Content-Type must be multipart/form-data, in lower case, with its boundary \
                 after `;`",
            ),
            Self::ContentTypeParameter => f.write_str(
                "Content-Type may have the parameters boundary and charset only, each once, \
                 in lower case and separated by `; `",
            ),
            Self::RequestCharset => {
                f.write_str("the charset in Content-Type must be utf-8, us-ascii or iso-8859-1")
            }
            Self::MissingBoundary => f.write_str(
                "Content-Type has no boundary; let the HTTP client write this header itself",
            ),
            Self::Boundary => f.write_str(
                "the boundary in Content-Type must have 1 to 70 letters, digits or `_ . + -` \
                 (if quoted, also `/`) and not be all dashes",
            ),
            Self::Preamble => f.write_str(
                "the body must begin with `--`, the boundary that Content-Type declares, and \
                 CRLF",
            ),
            Self::NoParts => f.write_str("the form has no fields; send at least one"),
            Self::DelimiterLine => f.write_str(
                "a boundary in the body must be followed by CRLF, or by `--` if it is the last",
            ),
            Self::StrayBoundary { field: Some(field) } => write!(
                f,
                "the value of `{field}` contains the boundary, or no CRLF comes before the \
                 boundary that ends it; use a boundary that occurs in no value"
            ),
            Self::StrayBoundary { field: None } => f.write_str(
                "the headers of a part contain the boundary; end them with an empty line and \
                 use a boundary that occurs in no header",
            ),
            Self::Truncated => f.write_str(
                "the body ends without its last line, the boundary between `--` and `--`",
            ),
            Self::Epilogue => {
                f.write_str("nothing but CRLF may follow the last boundary of the body")
            }
            Self::TooManyParts { max } => {
                write!(f, "the form has too many fields; at most {max} are allowed")
            }
            Self::HeadersTooLong { max } => write!(
                f,
                "the headers of a part are too long; at most {max} bytes are allowed, and an \
                 empty line must end them"
            ),
            Self::TooManyHeaders { max } => {
                write!(f, "a part has too many headers; at most {max} are allowed")
            }
            Self::HeaderLineEnding => {
                f.write_str("lines in the headers of a part must end with CRLF")
            }
            Self::HeaderControl => f.write_str(
                "the headers of a part contain a control character; remove it (tabs too)",
            ),
            Self::HeaderLine => f.write_str(
                "each header of a part must be one line `Name: value`, with one space after \
                 the colon and none at the end",
            ),
            Self::UnknownHeader => f.write_str(
                "a part may have the headers Content-Disposition, Content-Type, \
                 Content-Transfer-Encoding and Content-Length only, spelt so or in lower case",
            ),
            Self::DuplicateHeader { header } => {
                write!(f, "a part has the header {header} twice; send it once")
            }
            Self::MissingDisposition => f.write_str(
                "a part has no Content-Disposition; send `Content-Disposition: form-data; \
                 name=\"...\"` with each",
            ),
            Self::Disposition => f.write_str(
                "the Content-Disposition of a part must be `form-data; name=\"...\"`, with \
                 `; filename=\"...\"` after it for a file, and no other parameter",
            ),
            Self::FieldName => f.write_str(
                "a field name must not be empty and may have letters, digits, `_ - .` and, \
                 within quotes, `[ ]` only",
            ),
            Self::Filename { field } => write!(
                f,
                "the filename of `{field}` cannot be read safely: it must be UTF-8 without \
                 control characters, without \\\" beside other backslashes, and without `;` beside \
                 `=` or a backslash; send a simpler one"
            ),
            Self::BlankFilename { field } => write!(
                f,
                "the filename of `{field}` names nothing: a letter or digit must follow its last \
                 slash, backslash or HTML entity; send a name such as image.png"
            ),
            Self::ExtendedFilename { field } => write!(
                f,
                "the filename* of `{field}` must follow a filename that is not empty and be \
                 utf-8'' and the percent-encoded name; filename alone is enough"
            ),
            Self::FilenameTooLong { field, max } => write!(
                f,
                "the filename of `{field}` is too long; at most {max} bytes are allowed"
            ),
            Self::TextType { field } => write!(
                f,
                "the Content-Type of `{field}` must be text/plain, in utf-8, us-ascii or \
                 iso-8859-1, or left out; a file needs a filename"
            ),
            Self::FileType { field } => write!(
                f,
                "`{field}` came as a file whose Content-Type is no image type. If it is a text \
                 field, send it without a filename (with curl: `{field}=<FILE`, not \
                 `{field}=@FILE`); if it is an image, its Content-Type must be an image type or \
                 application/octet-stream, without parameters, or left out"
            ),
            Self::TransferEncoding { field } => write!(
                f,
                "the Content-Transfer-Encoding of `{field}` must be 7bit, 8bit or binary; \
                 send the bytes as they are"
            ),
            Self::PartLength { field } => write!(
                f,
                "the Content-Length of `{field}` must be a decimal number of bytes"
            ),
            Self::LengthMismatch {
                field,
                declared,
                received,
            } => write!(
                f,
                "the Content-Length of `{field}` is {declared}, but its value has {received} \
                 bytes; correct it or leave it out"
            ),
            Self::EmptyFilename { field } => write!(
                f,
                "`{field}` has an empty filename and yet a value; give the file a name"
            ),
            Self::Stopped => {
                f.write_str("the body was refused for one of its fields and is not read further")
            }
        }
    }
}

impl std::error::Error for Error {}

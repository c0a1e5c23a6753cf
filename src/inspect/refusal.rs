//! Why a body is refused.

use std::fmt;
use std::sync::Arc;

use crate::image::{Image, Reason};
use crate::{json, multipart, policy};

/// Why the body of a create request is refused. Displayed, it tells the client's
/// developer what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The Content-Type is neither of the two that are read.
    UnsupportedMediaType,
    /// The multipart syntax, or the Content-Type's boundary.
    Multipart(multipart::Error),
    /// The JSON syntax.
    Json(json::Error),
    /// A field that is not in the configured list.
    UnknownField {
        /// Its name, cut to a bounded length.
        name: String,
        /// Every field that is.
        allowed: Vec<Arc<str>>,
    },
    /// A field that came before.
    DuplicateField {
        /// Its name.
        name: String,
    },
    /// A text where a file belongs, a file where a text belongs, a number for a string.
    WrongKind {
        /// The field.
        name: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// A value that must not be empty.
    Empty {
        /// The field.
        name: String,
    },
    /// A value that is longer than the longest allowed one.
    TooLong {
        /// The field.
        name: String,
        /// The longest, in characters.
        max: u64,
    },
    /// A text that is not UTF-8.
    NotUtf8 {
        /// The field.
        name: String,
    },
    /// A field that must be there.
    Missing {
        /// The field.
        name: &'static str,
    },
    /// More than one of a file, a `file_id` and an `image_url`.
    SeveralReferences,
    /// An `image_url` that is no `http:`, `https:` or `data:` URL.
    UrlScheme,
    /// A data URL that is not `data:image/…;base64,…`.
    BadDataUrl,
    /// A data URL whose Base64 strict decoders refuse.
    BadBase64(Base64Fault),
    /// A reference image of which the pixel size cannot be told.
    UnreadableImage(Reason),
    /// A reference image of another pixel size than the one that is asked for.
    ImageSizeMismatch {
        /// What it is.
        image: Image,
        /// The size that is asked for.
        wanted: Arc<str>,
    },
    /// The policy's verdict.
    Policy(policy::Refusal),
}

/// What is wrong with the Base64 of a data URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base64Fault {
    /// A line break, as in MIME.
    LineBreak,
    /// Another character that is not in the alphabet.
    Character,
    /// Its end, or its padding.
    End,
}

impl Refusal {
    /// Returns the field that the refusal is about.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::UnsupportedMediaType => None,
            Self::Multipart(error) => error.field(),
            Self::Json(error) => error.field(),
            Self::UnknownField { name, .. }
            | Self::DuplicateField { name }
            | Self::WrongKind { name, .. }
            | Self::Empty { name }
            | Self::TooLong { name, .. }
            | Self::NotUtf8 { name } => Some(name),
            Self::Missing { name } => Some(name),
            Self::SeveralReferences
            | Self::UrlScheme
            | Self::BadDataUrl
            | Self::BadBase64(_)
            | Self::UnreadableImage(_)
            | Self::ImageSizeMismatch { .. } => Some("input_reference"),
            Self::Policy(refusal) => refusal.param().map(policy::Param::name),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedMediaType => f.write_str(
                "Send the request as 'multipart/form-data; boundary=...' or 'application/json', \
                 in UTF-8.",
            ),
            Self::Multipart(error) => error.fmt(f),
            Self::Json(error) => error.fmt(f),
            Self::UnknownField { name, allowed } => {
                write!(
                    f,
                    "Unknown field '{name}'. Known fields: {}.",
                    allowed.join(", ")
                )
            }
            Self::DuplicateField { name } => {
                write!(f, "The field '{name}' came more than once. Send it once.")
            }
            Self::WrongKind { name, wanted } => write!(f, "The field '{name}' must be {wanted}."),
            Self::Empty { name } => {
                write!(
                    f,
                    "The field '{name}' is empty. Give it a value, or leave it out if it is optional."
                )
            }
            Self::TooLong { name, max } => {
                write!(
                    f,
                    "The field '{name}' is too long: at most {max} characters."
                )
            }
            Self::NotUtf8 { name } => write!(f, "The field '{name}' must be UTF-8."),
            Self::Missing { name } => write!(f, "The field '{name}' is required."),
            Self::SeveralReferences => {
                f.write_str("Give one reference only: a file, a file_id or an image_url.")
            }
            Self::UrlScheme => f.write_str(
                "Write an image_url as an 'https://...', 'http://...' or 'data:image/...' URL.",
            ),
            Self::BadBase64(Base64Fault::LineBreak) => f.write_str(
                "The data URL of the image has a line break in its Base64. Write it in one line \
                 ('base64 -w0', or Python's base64.b64encode).",
            ),
            Self::BadBase64(Base64Fault::Character) => f.write_str(
                "The data URL of the image has a character that is not in Base64's alphabet: \
                 A to Z, a to z, 0 to 9, '+' and '/'.",
            ),
            Self::BadBase64(Base64Fault::End) => f.write_str(
                "The Base64 in the data URL of the image is cut off, or has no proper padding: its \
                 length must be a multiple of four, with '=' only at its end.",
            ),
            Self::BadDataUrl => f.write_str(
                "Write a data URL as 'data:image/png;base64,...' (or image/jpeg, image/webp).",
            ),
            Self::UnreadableImage(reason) => reason.fmt(f),
            Self::ImageSizeMismatch { image, wanted } => {
                let Image {
                    format,
                    width,
                    height,
                    turned,
                } = image;
                write!(
                    f,
                    "Inpaint image must match the requested width and height: \
                     this {format} is {width}x{height}, the requested size is {wanted}."
                )?;
                match turned {
                    true => write!(
                        f,
                        " Its EXIF data say that viewers rotate it to {height}x{width}, which \
                         does not count here: rotate its pixels before you send it."
                    ),
                    false => Ok(()),
                }
            }
            Self::Policy(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<policy::Refusal> for Refusal {
    fn from(refusal: policy::Refusal) -> Self {
        Self::Policy(refusal)
    }
}

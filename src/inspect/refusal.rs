//! Why a body is refused.

use std::sync::Arc;

use crate::image::{Image, Reason};
use crate::{json, multipart, policy};

/// Why the body of a create request is refused. Displayed, it tells the client's
/// developer what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The Content-Type is neither of the two that are read.
    #[error(
        "Send the request as 'multipart/form-data; boundary=...' or 'application/json', in UTF-8."
    )]
    UnsupportedMediaType,
    /// The multipart syntax, or the Content-Type's boundary.
    #[error("{0}")]
    Multipart(multipart::Error),
    /// The JSON syntax.
    #[error("{0}")]
    Json(json::Error),
    /// A field that is not in the configured list.
    #[error("Unknown field '{name}'. Known fields: {}.", allowed.join(", "))]
    UnknownField {
        /// Its name, cut to a bounded length.
        name: String,
        /// Every field that is.
        allowed: Vec<Arc<str>>,
    },
    /// A field that came before.
    #[error("The field '{name}' came more than once. Send it once.")]
    DuplicateField {
        /// Its name.
        name: String,
    },
    /// A text where a file belongs, a file where a text belongs, a number for a string.
    #[error("The field '{name}' must be {wanted}.")]
    WrongKind {
        /// The field.
        name: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// A value that must not be empty.
    #[error("The field '{name}' is empty. Give it a value, or leave it out if it is optional.")]
    Empty {
        /// The field.
        name: String,
    },
    /// A value that is longer than the longest allowed one.
    #[error("The field '{name}' is too long: at most {max} characters.")]
    TooLong {
        /// The field.
        name: String,
        /// The longest, in characters.
        max: u64,
    },
    /// A text that is not UTF-8.
    #[error("The field '{name}' must be UTF-8.")]
    NotUtf8 {
        /// The field.
        name: String,
    },
    /// A field that must be there.
    #[error("The field '{name}' is required.")]
    Missing {
        /// The field.
        name: &'static str,
    },
    /// More than one of a file, a `file_id` and an `image_url`.
    #[error("Give one reference only: a file, a file_id or an image_url.")]
    SeveralReferences,
    /// An `image_url` that is no `http:`, `https:` or `data:` URL.
    #[error("Write an image_url as an 'https://...', 'http://...' or 'data:image/...' URL.")]
    UrlScheme,
    /// A data URL that is not `data:image/…;base64,…`.
    #[error("Write a data URL as 'data:image/png;base64,...' (or image/jpeg, image/webp).")]
    BadDataUrl,
    /// A data URL whose Base64 strict decoders refuse.
    #[error("{0}")]
    BadBase64(Base64Fault),
    /// A reference image of which the pixel size cannot be told.
    #[error("{0}")]
    UnreadableImage(Reason),
    /// A reference image of another pixel size than the one that is asked for.
    #[error(
        "Inpaint image must match the requested width and height: this {} is {}x{}, the requested \
         size is {wanted}.{}",
        image.format,
        image.width,
        image.height,
        rotation_note(image)
    )]
    ImageSizeMismatch {
        /// What it is.
        image: Image,
        /// The size that is asked for.
        wanted: Arc<str>,
    },
    /// The policy's verdict.
    #[error("{0}")]
    Policy(policy::Refusal),
}

/// What is wrong with the Base64 of a data URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Base64Fault {
    /// A line break, as in MIME.
    #[error(
        "The data URL of the image has a line break in its Base64. Write it in one line \
         ('base64 -w0', or Python's base64.b64encode)."
    )]
    LineBreak,
    /// Another character that is not in the alphabet.
    #[error(
        "The data URL of the image has a character that is not in Base64's alphabet: \
         A to Z, a to z, 0 to 9, '+' and '/'."
    )]
    Character,
    /// Its end, or its padding.
    #[error(
        "The Base64 in the data URL of the image is cut off, or has no proper padding: its \
         length must be a multiple of four, with '=' only at its end."
    )]
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

/// Explains an image whose EXIF data rotate it, which the size of its pixels ignores.
fn rotation_note(image: &Image) -> String {
    let Image { width, height, .. } = image;
    match image.turned {
        true => format!(
            " Its EXIF data say that viewers rotate it to {height}x{width}, which does not count \
             here: rotate its pixels before you send it."
        ),
        false => String::new(),
    }
}

impl From<policy::Refusal> for Refusal {
    fn from(refusal: policy::Refusal) -> Self {
        Self::Policy(refusal)
    }
}

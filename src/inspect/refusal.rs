//! The reasons for refusing a body.

use std::sync::Arc;

use crate::image::{Image, Reason};
use crate::{json, multipart, policy};

/// The reason why the body of a create request is refused. Its text tells the client's developer what to
/// change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The Content-Type is neither a form's nor `application/json`, alone or with `charset=utf-8`.
    #[error(
        "Send the request as 'multipart/form-data; boundary=...' or 'application/json', in UTF-8."
    )]
    UnsupportedMediaType,
    /// A form, or its Content-Type, breaks a rule of the multipart scanner.
    #[error("{0}")]
    Multipart(multipart::Error),
    /// A JSON body breaks a rule of the JSON scanner.
    #[error("{0}")]
    Json(json::Error),
    /// A field is not allowed. In a create, it is neither `model`, `size` or `seconds` nor allowed by the
    /// configuration; in a remix, it is not `prompt`.
    #[error("Unknown field '{name}'. Known fields: {}.", allowed.join(", "))]
    UnknownField {
        /// The name of the field; a long name is cut.
        name: String,
        /// The names of all allowed fields.
        allowed: Vec<Arc<str>>,
    },
    /// A field came more than once.
    #[error("The field '{name}' came more than once. Send it once.")]
    DuplicateField {
        /// The name of the field.
        name: String,
    },
    /// A value has the wrong kind: a text for a file, a file for a text, a number for a string.
    #[error("The field '{name}' must be {wanted}.")]
    WrongKind {
        /// The name of the field.
        name: String,
        /// The kind of value that the field expects, in words for the message.
        wanted: &'static str,
    },
    /// A value that must not be empty is empty.
    #[error("The field '{name}' is empty. Give it a value, or leave it out if it is optional.")]
    Empty {
        /// The name of the field.
        name: String,
    },
    /// A value is longer than the maximum.
    #[error("The field '{name}' is too long: at most {max} characters.")]
    TooLong {
        /// The name of the field.
        name: String,
        /// The maximum: in characters for a prompt or an `image_url`, in bytes for model, size and seconds.
        max: u64,
    },
    /// A text is not UTF-8.
    #[error("The field '{name}' must be UTF-8.")]
    NotUtf8 {
        /// The name of the field.
        name: String,
    },
    /// A required field is missing.
    #[error("The field '{name}' is required.")]
    Missing {
        /// The name of the field.
        name: &'static str,
    },
    /// The request has more than one of a file, a `file_id` and an `image_url`.
    #[error("Give one reference only: a file, a file_id or an image_url.")]
    SeveralReferences,
    /// An `image_url` is not an `http:`, `https:` or `data:` URL.
    #[error("Write an image_url as an 'https://...', 'http://...' or 'data:image/...' URL.")]
    UrlScheme,
    /// A data URL is not `data:image/…;base64,…`.
    #[error("Write a data URL as 'data:image/png;base64,...' (or image/jpeg, image/webp).")]
    BadDataUrl,
    /// A data URL has Base64 that strict decoders refuse.
    #[error("{0}")]
    BadBase64(Base64Fault),
    /// The pixel size of a reference image cannot be determined.
    #[error("{0}")]
    UnreadableImage(Reason),
    /// A reference image has another pixel size than the requested one.
    #[error(
        "Inpaint image must match the requested width and height: this {} is {}x{}, the requested \
         size is {wanted}.{}",
        image.format,
        image.width,
        image.height,
        rotation_note(image)
    )]
    ImageSizeMismatch {
        /// The type and size of the image.
        image: Image,
        /// The requested size.
        wanted: Arc<str>,
    },
    /// The policy refuses the request.
    #[error("{0}")]
    Policy(policy::Refusal),
}

/// The fault in the Base64 of a data URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Base64Fault {
    /// The Base64 has a line break, as in MIME.
    #[error(
        "The data URL of the image has a line break in its Base64. Write it in one line \
         ('base64 -w0', or Python's base64.b64encode)."
    )]
    LineBreak,
    /// The Base64 has another character that is not in the alphabet.
    #[error(
        "The data URL of the image has a character that is not in Base64's alphabet: \
         A to Z, a to z, 0 to 9, '+' and '/'."
    )]
    Character,
    /// The Base64 is cut off, or its padding is wrong.
    #[error(
        "The Base64 in the data URL of the image is cut off, or has no proper padding: its \
         length must be a multiple of four, with '=' only at its end."
    )]
    End,
}

impl Refusal {
    /// Returns the name of the field at fault; `None` if no single field is at fault or its name is unknown.
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

/// Returns a note that the EXIF data of an image make viewers swap its width and height, which the gate
/// does not; empty for other images.
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

//! Answers downloads with a video, thumbnail or spritesheet, or a byte range of it (RFC 9110, section 14).

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, StatusCode};

use super::answer::{Answer, AnswerBody, ApiError, set, with_type};

static CLIP: &[u8] = include_bytes!("media/clip.mp4");
static THUMBNAIL: &[u8] = include_bytes!("media/thumb.webp");
static SPRITESHEET: &[u8] = include_bytes!("media/sprite.jpg");

/// The file that a download sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// A file that the mock ships: its media type and bytes.
    File(&'static str, &'static [u8]),
    /// A video of this many bytes. It consists of letters, so no player can play it.
    Filler(u64),
}

impl Content {
    /// Returns the content that the query parameter `variant` names (`None`: the video), or the error for an
    /// unknown variant. With `video_bytes`, the video is filler of that many bytes; else it is the clip that
    /// the mock ships.
    pub(super) fn of(variant: Option<&str>, video_bytes: Option<u64>) -> Result<Content, ApiError> {
        match (variant, video_bytes) {
            (None | Some("video"), Some(bytes)) => Ok(Content::Filler(bytes)),
            (None | Some("video"), None) => Ok(Content::File("video/mp4", CLIP)),
            (Some("thumbnail"), _) => Ok(Content::File("image/webp", THUMBNAIL)),
            (Some("spritesheet"), _) => Ok(Content::File("image/jpeg", SPRITESHEET)),
            (Some(other), _) => Err(ApiError::parameter(
                "variant",
                "invalid_value",
                format!(
                    "Invalid value: '{other}'. Supported values are: 'video', 'thumbnail', and \
                     'spritesheet'."
                ),
            )),
        }
    }

    /// Answers a download of the job `id` with the whole content, or as its `headers` demand: with a range of
    /// it (206), 416 for a range outside it, or 304 if the client has it already.
    pub(super) fn answer(self, id: &str, headers: &HeaderMap) -> Answer {
        let (content_type, length) = match self {
            Content::File(content_type, bytes) => (content_type, bytes.len() as u64),
            Content::Filler(bytes) => ("video/mp4", bytes),
        };
        let etag = format!("\"{id}-{}-{length}\"", &content_type[6..]);
        let get = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if get(IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.contains(&etag)) {
            let mut answer = Answer::default();
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            set(&mut answer, ETAG, &etag);
            return answer;
        }
        let same = get(IF_RANGE).is_none_or(|tag| tag == etag);
        let asked = get(RANGE)
            .filter(|_| same)
            .map(|range| parse(range, length));
        let mut answer = match asked {
            Some(Range::Of(first, last)) => {
                let body = self.slice(first, last - first + 1);
                let mut answer = with_type(StatusCode::PARTIAL_CONTENT, content_type, body);
                let range = format!("bytes {first}-{last}/{length}");
                set(&mut answer, CONTENT_RANGE, &range);
                answer
            }
            Some(Range::Nowhere) => {
                let message = "The requested range cannot be satisfied.";
                let mut answer = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, message).answer();
                set(&mut answer, CONTENT_RANGE, &format!("bytes */{length}"));
                answer
            }
            Some(Range::Whole) | None => {
                with_type(StatusCode::OK, content_type, self.slice(0, length))
            }
        };
        set(&mut answer, ACCEPT_RANGES, "bytes");
        set(&mut answer, ETAG, &etag);
        answer
    }

    /// Returns `length` bytes of the content from the offset `first` on. The part must lie in the content.
    fn slice(self, first: u64, length: u64) -> AnswerBody {
        match self {
            Content::Filler(_) => AnswerBody::filler(first, length),
            Content::File(_, bytes) => {
                let skip = usize::try_from(first).unwrap_or(usize::MAX);
                let take = usize::try_from(length).unwrap_or(usize::MAX);
                let part = bytes.get(skip..).unwrap_or_default();
                let part = part.get(..take).unwrap_or(part);
                Bytes::from_static(part).into()
            }
        }
    }
}

/// The outcome of reading a Range header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// The range from the first to the last byte, both included.
    Of(u64, u64),
    /// The range begins at or behind the end of the content, or is empty. The answer is 416.
    Nowhere,
    /// The header is not a single valid range of bytes. It is ignored, and the answer is the whole content.
    Whole,
}

fn parse(header: &str, length: u64) -> Range {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if last.is_empty() && first < length => Range::Of(first, length - 1),
        (Ok(first), Ok(last)) if first <= last && first < length => {
            Range::Of(first, last.min(length - 1))
        }
        (Ok(first), Ok(last)) if first > last => Range::Whole,
        (Ok(_), Ok(_)) => Range::Nowhere,
        (Ok(_), _) if last.is_empty() => Range::Nowhere,
        (_, Ok(0)) if first.is_empty() => Range::Nowhere,
        (_, Ok(_)) if first.is_empty() && length == 0 => Range::Nowhere,
        (_, Ok(suffix)) if first.is_empty() => Range::Of(length.saturating_sub(suffix), length - 1),
        _ => Range::Whole,
    }
}

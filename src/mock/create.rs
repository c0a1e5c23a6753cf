//! Checks creates and remixes as the real API does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::Value;

use super::answer::ApiError;
use super::body::{BadBody, Submission};
use super::fault::Kind;
use super::jobs::{Fate, NewJob};
use super::options::{Model, Options};
use super::record::Fields;

/// The maximum length of a prompt, in characters.
const PROMPT_CHARS: usize = 32_000;
/// The maximum number of base64 characters of a data URL that are decoded to find the image's size.
const IMAGE_URL_CHARS: usize = 256 * 1024;

/// Checks the body of a create, and makes a new job from it.
pub(super) fn create(submission: &Submission, options: &Options) -> Result<NewJob, ApiError> {
    known_only(
        submission,
        &[
            "prompt",
            "model",
            "seconds",
            "size",
            "input_reference",
            "characters",
        ],
    )?;
    let prompt = prompt(submission)?;
    let names = options.catalog.iter().map(|model| model.name.as_str());
    let names: Vec<&str> = names.collect();
    let name = choice(submission, "model", &names)?;
    // Never fails: `choice` returned one of `names`, or an error for an empty catalog.
    let model = options
        .model(name)
        .ok_or_else(|| one_of("model", name, &[]))?;
    let seconds: Vec<&str> = model.seconds.iter().map(String::as_str).collect();
    let seconds = choice(submission, "seconds", &seconds)?;
    let sizes: Vec<&str> = model.sizes.iter().map(|size| size.name.as_str()).collect();
    let size = choice(submission, "size", &sizes)?;
    input_reference(submission, size)?;
    characters(submission)?;
    Ok(new_job(options, name, seconds, size, prompt, None))
}

/// Checks the body of a remix, and makes a new job from it and from `source`, the job that is remixed.
pub(super) fn remix(
    submission: &Submission,
    source_id: &str,
    source: &NewJob,
    options: &Options,
) -> Result<NewJob, ApiError> {
    known_only(submission, &["prompt"])?;
    let prompt = prompt(submission)?;
    let (model, seconds, size) = (&source.model, &source.seconds, &source.size);
    let of = Some(source_id.into());
    Ok(new_job(options, model, seconds, size, prompt, of))
}

/// Changes the fate, seconds, size or video bytes of a new job as `fault` demands, and its cost accordingly.
pub(super) fn apply_fault(job: &mut NewJob, fault: &Kind, options: &Options) {
    let model = options.model(&job.model);
    match fault {
        Kind::Fail => job.fate = Fate::Failed,
        Kind::Moderated => job.fate = Fate::Moderated,
        Kind::Cancelled => job.fate = Fate::Cancelled,
        Kind::Big(bytes) => job.video_bytes = Some(*bytes),
        Kind::OtherSeconds(seconds) => {
            let mut offered = model.iter().flat_map(|model| &model.seconds);
            let other = offered.find(|offered| **offered != job.seconds);
            if let Some(seconds) = seconds.as_ref().or(other) {
                job.seconds.clone_from(seconds);
            }
        }
        Kind::OtherSize(size) => {
            let sizes = model.iter().flat_map(|model| &model.sizes);
            let other = sizes.map(|size| &size.name).find(|name| **name != job.size);
            if let Some(size) = size.as_ref().or(other) {
                job.size.clone_from(size);
            }
        }
        _ => return,
    }
    job.list_cost_micro_usd = model.map_or(0, |model| cost(model, job));
}

/// Returns those fields of a body that are shown in the records.
pub(super) fn fields(submission: &Submission) -> Fields {
    Fields::new(|name| match submission.fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    })
}

/// Returns the error for a body that cannot be read.
pub(super) fn bad_body(bad: &BadBody) -> ApiError {
    let message = match bad {
        BadBody::Incomplete => "The request was not received whole.".into(),
        BadBody::ContentType(content_type) => {
            return ApiError {
                code: Some("unsupported_content_type"),
                ..ApiError::new(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "Unsupported content type: '{content_type}'. This API method only \
                         accepts 'multipart/form-data' or 'application/json' requests."
                    ),
                )
            };
        }
        BadBody::Form(error) => format!("Could not parse multipart form: {error}"),
        BadBody::Json => "We could not parse the JSON body of your request. The API expects a \
                          JSON payload that is an object."
            .into(),
        BadBody::TooLong => {
            return ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The JSON body is too large; send the image as a file of a form.",
            );
        }
    };
    ApiError::new(StatusCode::BAD_REQUEST, message)
}

fn new_job(
    options: &Options,
    model: &str,
    seconds: &str,
    size: &str,
    prompt: &str,
    remixed_from: Option<String>,
) -> NewJob {
    let mut job = NewJob {
        model: model.into(),
        seconds: seconds.into(),
        size: size.into(),
        prompt: prompt.into(),
        remixed_from,
        fate: Fate::Completed,
        queued: options.queued,
        rendering: options.rendering,
        list_cost_micro_usd: 0,
        video_bytes: None,
    };
    job.list_cost_micro_usd = options.model(model).map_or(0, |model| cost(model, &job));
    job
}

fn cost(model: &Model, job: &NewJob) -> u64 {
    model.list_cost_micro_usd(&job.size, &job.seconds)
}

fn known_only(submission: &Submission, known: &[&str]) -> Result<(), ApiError> {
    let names = submission.fields.keys();
    let names = names.chain(submission.files.iter().map(|file| &file.field));
    for name in names {
        if !known.contains(&name.as_str()) {
            let message = format!("Unknown parameter: '{name}'.");
            return Err(ApiError::parameter(name, "unknown_parameter", message));
        }
    }
    for file in &submission.files {
        if file.field != "input_reference" {
            return Err(wrong_type(&file.field, "a string", "a file"));
        }
    }
    Ok(())
}

fn prompt(submission: &Submission) -> Result<&str, ApiError> {
    let Some(prompt) = text(submission, "prompt")? else {
        return Err(ApiError::parameter(
            "prompt",
            "missing_required_parameter",
            "Missing required parameter: 'prompt'.",
        ));
    };
    let length = prompt.chars().count();
    if length == 0 {
        return Err(ApiError::parameter(
            "prompt",
            "string_below_min_length",
            "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got \
             an empty string instead.",
        ));
    }
    if length > PROMPT_CHARS {
        return Err(ApiError::parameter(
            "prompt",
            "string_above_max_length",
            format!(
                "Invalid 'prompt': string too long. Expected a string with maximum length \
                 {PROMPT_CHARS}, but got a string with length {length} instead."
            ),
        ));
    }
    Ok(prompt)
}

/// Returns the text of the field `name`, or the first of `offered` if the body has no such field. A text
/// that is not in `offered` is an error.
fn choice<'a>(
    submission: &'a Submission,
    name: &str,
    offered: &[&'a str],
) -> Result<&'a str, ApiError> {
    match (text(submission, name)?, offered.first()) {
        (Some(value), _) if offered.contains(&value) => Ok(value),
        (None, Some(default)) => Ok(default),
        (value, _) => Err(one_of(name, value.unwrap_or_default(), offered)),
    }
}

fn text<'a>(submission: &'a Submission, name: &str) -> Result<Option<&'a str>, ApiError> {
    match submission.fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(name, "a string", type_name(other))),
    }
}

/// Checks the reference image. If its size can be read, it must be `size`, the size of the video.
fn input_reference(submission: &Submission, size: &str) -> Result<(), ApiError> {
    const NAME: &str = "input_reference";
    let mut head = None;
    for file in &submission.files {
        let content_type = file.content_type.as_deref();
        match content_type.unwrap_or("application/octet-stream") {
            "image/jpeg" | "image/png" | "image/webp" | "application/octet-stream" => (),
            other => {
                return Err(ApiError::parameter(
                    NAME,
                    "unsupported_file_mimetype",
                    format!(
                        "Invalid file '{NAME}': unsupported mimetype ('{other}'). Supported \
                         file formats are 'image/jpeg', 'image/png', and 'image/webp'."
                    ),
                ));
            }
        }
        head = Some(file.head.clone());
    }
    match submission.fields.get(NAME) {
        None | Some(Value::Null) => (),
        Some(Value::Object(members)) if head.is_none() && members.len() == 1 => {
            match (members.get("file_id"), members.get("image_url")) {
                (Some(Value::String(_)), _) => (),
                (_, Some(Value::String(url))) => head = data_url(url),
                _ => return Err(reference_shape()),
            }
        }
        Some(_) => return Err(reference_shape()),
    }
    match head.as_deref().and_then(pixel_size) {
        Some((width, height)) if format!("{width}x{height}") != size => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "Inpaint image must match the requested width and height",
        )),
        _ => Ok(()),
    }
}

fn reference_shape() -> ApiError {
    ApiError::parameter(
        "input_reference",
        "invalid_value",
        "Invalid 'input_reference': expected a file, or exactly one of 'file_id' and 'image_url'.",
    )
}

fn characters(submission: &Submission) -> Result<(), ApiError> {
    const NAME: &str = "characters";
    let members = match submission.fields.get(NAME) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(members)) => members,
        Some(other) => return Err(wrong_type(NAME, "an array", type_name(other))),
    };
    match members.iter().find(|member| !member["id"].is_string()) {
        None => Ok(()),
        Some(_) => Err(ApiError::parameter(
            NAME,
            "invalid_value",
            "Invalid 'characters': expected objects with a string 'id'.",
        )),
    }
}

/// Decodes the first bytes of the image in a data URL; `None` if `url` is no valid data URL in base64.
fn data_url(url: &str) -> Option<Vec<u8>> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(',')?;
    media_type.strip_suffix(";base64")?;
    let length = data.len().min(IMAGE_URL_CHARS);
    STANDARD.decode(data.get(..length / 4 * 4)?).ok()
}

/// Reads the width and height of a PNG or JPEG from its first bytes; `None` if they do not contain them.
fn pixel_size(head: &[u8]) -> Option<(u32, u32)> {
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        let side = |at: usize| Some(u32::from_be_bytes(*head.get(at..)?.first_chunk()?));
        return Some((side(16)?, side(20)?));
    }
    let mut rest = head.strip_prefix(b"\xff\xd8")?;
    loop {
        let &[0xff, marker, high, low, ref segment @ ..] = rest else {
            return None;
        };
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            let &[_, h1, h0, w1, w0, ..] = segment else {
                return None;
            };
            return Some((
                u16::from_be_bytes([w1, w0]).into(),
                u16::from_be_bytes([h1, h0]).into(),
            ));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        rest = segment.get(length.checked_sub(2)?..)?;
    }
}

fn one_of(name: &str, value: &str, offered: &[&str]) -> ApiError {
    let quoted: Vec<String> = offered.iter().map(|value| format!("'{value}'")).collect();
    let list = match quoted.as_slice() {
        [first, second] => format!("{first} and {second}"),
        [start @ .., last] if !start.is_empty() => format!("{}, and {last}", start.join(", ")),
        other => other.concat(),
    };
    ApiError::parameter(
        name,
        "invalid_value",
        format!("Invalid value: '{value}'. Supported values are: {list}."),
    )
}

fn wrong_type(name: &str, expected: &str, got: &str) -> ApiError {
    ApiError::parameter(
        name,
        "invalid_type",
        format!("Invalid type for '{name}': expected {expected}, but got {got} instead."),
    )
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

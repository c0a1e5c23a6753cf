//! Finds the route of a request, and decides which requests the gate claims from a proxy that embeds it.
//! A request without a known route never goes upstream: the channel's credential would give it access to
//! every other API of the channel's account.

mod claim;

use std::borrow::Cow;

use http::Method;

use crate::dialect::percent_encoded;
use crate::sha256::Sha256;
pub(crate) use claim::is_claimed;

/// The route of a request: the operation that its method and path ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Create,
    List,
    Retrieve(JobId),
    Delete(JobId),
    Content(JobId),
    Remix(JobId),
    /// The list of the models that a key may use, which the gate answers itself.
    Models,
    /// One of the models that a key may use, which the gate answers itself. The value is the model's name as
    /// the client has written it.
    Model(String),
    /// The usage of a key's limits, which the gate answers itself.
    Usage,
}

/// An id by which clients name jobs: 1 to 128 characters of `[A-Za-z0-9_-]`, so that it needs no encoding in a
/// path and cannot leave its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobId(String);

/// The reason why a request has no route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No route has the path.
    Path,
    /// The path has routes, but none for the method. The value lists its methods, for the header `Allow`.
    Method(&'static str),
}

const VIDEOS: &str = "/v1/videos";
const MODELS: &str = "/v1/models";
/// The path of the usage route. It is no path of OpenAI's API, whose usage is below `/v1/organization`.
const USAGE: &str = "/v1/usage";

/// The maximum length in bytes of the name in `/v1/models/{name}`: a longer path has no route.
const MODEL_BYTES: usize = 128;

impl Route {
    /// Finds the route of a method and path. HEAD has the routes of GET. The path is compared as it was sent:
    /// nothing is folded or normalised, so `//v1/videos`, `/v1/videos/`, `/v1/%76ideos` and
    /// `/v1/videos/../models` are other paths. Only a job's id may be percent-encoded, since the path that
    /// goes upstream is built anew.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, NoRoute> {
        let Some(rest) = path.strip_prefix(VIDEOS) else {
            return Self::find_own(method, path);
        };
        let mut segments = rest.split('/');
        if segments.next() != Some("") {
            return Err(NoRoute::Path);
        }
        let id = match segments.next() {
            None => {
                return match *method {
                    Method::POST => Ok(Self::Create),
                    Method::GET | Method::HEAD => Ok(Self::List),
                    _ => Err(NoRoute::Method("GET, HEAD, POST")),
                };
            }
            Some(id) => JobId::read(id).ok_or(NoRoute::Path)?,
        };
        match (segments.next(), segments.next()) {
            (None, _) => match *method {
                Method::GET | Method::HEAD => Ok(Self::Retrieve(id)),
                Method::DELETE => Ok(Self::Delete(id)),
                // POST /v1/videos/edits and the like are APIs of their own.
                Method::POST => Err(NoRoute::Path),
                _ => Err(NoRoute::Method("DELETE, GET, HEAD")),
            },
            (Some("content"), None) => match *method {
                Method::GET | Method::HEAD => Ok(Self::Content(id)),
                _ => Err(NoRoute::Method("GET, HEAD")),
            },
            (Some("remix"), None) => match *method {
                Method::POST => Ok(Self::Remix(id)),
                _ => Err(NoRoute::Method("POST")),
            },
            _ => Err(NoRoute::Path),
        }
    }

    /// Finds the routes of models and usage, which the gate answers itself. A model's name is compared as
    /// in the catalog: an encoded name is not found.
    fn find_own(method: &Method, path: &str) -> Result<Self, NoRoute> {
        let route = match path.strip_prefix(MODELS) {
            None if path == USAGE => Self::Usage,
            Some("") => Self::Models,
            Some(rest) => match rest.strip_prefix('/') {
                Some(name) if (1..=MODEL_BYTES).contains(&name.len()) && !name.contains('/') => {
                    Self::Model(name.into())
                }
                _ => return Err(NoRoute::Path),
            },
            None => return Err(NoRoute::Path),
        };
        match *method {
            Method::GET | Method::HEAD => Ok(route),
            _ => Err(NoRoute::Method("GET, HEAD")),
        }
    }

    /// Returns the name of the route in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::List => "list",
            Self::Retrieve(_) => "retrieve",
            Self::Delete(_) => "delete",
            Self::Content(_) => "content",
            Self::Remix(_) => "remix",
            Self::Models | Self::Model(_) => "models",
            Self::Usage => "usage",
        }
    }

    /// Returns the id of the job that the route names, as the client has written it until
    /// [`set_job`](Self::set_job) replaces it; `None` for a route without a job.
    pub(crate) fn job(&self) -> Option<&str> {
        match self {
            Self::Create | Self::List | Self::Models | Self::Model(_) | Self::Usage => None,
            Self::Retrieve(id) | Self::Delete(id) | Self::Content(id) | Self::Remix(id) => {
                Some(&id.0)
            }
        }
    }

    /// Replaces the id of the job that the route names by the job's public id. The client may have written
    /// the job's upstream id.
    pub(crate) fn set_job(&mut self, public: &str) {
        if let Self::Retrieve(id) | Self::Delete(id) | Self::Content(id) | Self::Remix(id) = self
            && id.0 != public
        {
            id.0 = public.to_owned();
        }
    }

    /// Returns the public id of the job that a remix is made from; `None` for a route that is no remix.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Remix(id) => Some(&id.0),
            _ => None,
        }
    }

    /// Computes the fingerprint of a request from `body`, the fingerprint of its body. The fingerprint of a
    /// remix also depends on the public id of its source job.
    pub(crate) fn fingerprint(&self, body: [u8; 32]) -> [u8; 32] {
        let Some(source) = self.source() else {
            return body;
        };
        Sha256::default().with(body).with(source).finish()
    }

    /// Builds the path of the route at a channel, rather than copying the client's path. `base` is the base
    /// path of the channel's URL. `job` is the upstream id of the route's job, if it differs from the public
    /// id.
    pub(crate) fn path(&self, base: &str, job: Option<&str>, query: Option<&str>) -> String {
        let under = match self {
            Self::Content(_) => "/content",
            Self::Remix(_) => "/remix",
            // No request for models or usage leaves the gate.
            _ => "",
        };
        let id = self.job().map(|public| segment(job.unwrap_or(public)));
        let (slash, id) = id.as_deref().map_or(("", ""), |id| ("/", id));
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        [base, VIDEOS, slash, id, under, mark, query].concat()
    }
}

impl JobId {
    pub(crate) fn new(text: &str) -> Option<Self> {
        Self::fits(text).then(|| Self(text.into()))
    }

    /// Parses the id in the path of a client's request, percent-encoded or not; `None` if it is no public id.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text.contains('%') {
            true => Self::new(&decoded(text)?),
            false => Self::new(text),
        }
    }

    /// Returns whether a text can be a public id.
    pub(crate) fn fits(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        (1..=128).contains(&text.len()) && text.bytes().all(plain)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Encodes a job's upstream id for a path segment. The ids `.` and `..` are encoded as well, since servers
/// would read them as relative segments. Some servers do so even with encoded dots.
fn segment(id: &str) -> Cow<'_, str> {
    match id {
        id if JobId::fits(id) => Cow::Borrowed(id),
        "." => Cow::Borrowed("%2E"),
        ".." => Cow::Borrowed("%2E%2E"),
        id => Cow::Owned(percent_encoded(id)),
    }
}

/// Decodes a percent-encoded text; `None` where an escape is invalid, or the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: Method, path: &str) -> Result<&'static str, NoRoute> {
        Route::find(&method, path).map(|route| route.label())
    }

    #[test]
    fn the_documented_routes_are_known() {
        assert_eq!(find(Method::POST, "/v1/videos"), Ok("create"));
        assert_eq!(find(Method::GET, "/v1/videos"), Ok("list"));
        assert_eq!(find(Method::GET, "/v1/videos/video_1"), Ok("retrieve"));
        assert_eq!(find(Method::DELETE, "/v1/videos/video_1"), Ok("delete"));
        assert_eq!(
            find(Method::GET, "/v1/videos/video_1/content"),
            Ok("content")
        );
        assert_eq!(find(Method::HEAD, "/v1/videos"), Ok("list"));
        assert_eq!(find(Method::HEAD, "/v1/videos/video_1"), Ok("retrieve"));
        assert_eq!(
            find(Method::HEAD, "/v1/videos/video_1/content"),
            Ok("content")
        );
        assert_eq!(find(Method::POST, "/v1/videos/video_1/remix"), Ok("remix"));
    }

    #[test]
    fn models_and_usage_are_read_and_nothing_else() {
        assert_eq!(find(Method::GET, "/v1/models"), Ok("models"));
        assert_eq!(find(Method::HEAD, "/v1/models/sora-2"), Ok("models"));
        for method in [Method::POST, Method::DELETE] {
            let found = find(method, "/v1/models/sora-2");
            assert_eq!(found, Err(NoRoute::Method("GET, HEAD")));
        }
        assert_eq!(find(Method::GET, "/v1/usage"), Ok("usage"));
        let found = find(Method::POST, "/v1/usage");
        assert_eq!(found, Err(NoRoute::Method("GET, HEAD")));
        let long = format!("/v1/models/{}", "a".repeat(129));
        assert_eq!(find(Method::GET, &long), Err(NoRoute::Path));
    }

    #[test]
    fn nothing_else_is() {
        for path in [
            "/",
            "*",
            "/v1",
            "/v1/models/",
            "/v1/models/a/b",
            "/v1/modelsx",
            "/v1/usage/",
            "/v1/usage/x",
            "/v1/usages",
            "/v1/chat/completions",
            "/v1/videos/",
            "//v1/videos",
            "/v1//videos",
            "/v1/videos//",
            "/v1/videosx",
            "/V1/videos",
            "/v1/Videos",
            "/v1/videos/../models",
            "/v1/videos/..",
            "/v1/videos/./x",
            "/v1/%76ideos",
            "/v1/videos%2f..%2fmodels",
            "/v1/videos/%2e%2e/models",
            "/v1/videos/a%2fb",
            "/v1/videos/a.b",
            "/v1/videos/a/content/",
            "/v1/videos/a/content/b",
            "/v1/videos/a/remix/b",
            "/v1/videos/a/other",
            "/v1/videos;x=1",
            "/v1\\videos",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                assert_eq!(find(method, path), Err(NoRoute::Path), "{path}");
            }
        }
        assert_eq!(find(Method::POST, "/v1/videos/edits"), Err(NoRoute::Path));
        let long = format!("/v1/videos/{}", "a".repeat(129));
        assert_eq!(find(Method::GET, &long), Err(NoRoute::Path));
    }

    #[test]
    fn other_methods_are_named() {
        assert_eq!(
            find(Method::PUT, "/v1/videos"),
            Err(NoRoute::Method("GET, HEAD, POST"))
        );
        assert_eq!(
            find(Method::POST, "/v1/videos/a/content"),
            Err(NoRoute::Method("GET, HEAD"))
        );
        assert_eq!(
            find(Method::GET, "/v1/videos/a/remix"),
            Err(NoRoute::Method("POST"))
        );
    }

    #[test]
    fn paths_are_built_anew() {
        let route = Route::find(&Method::GET, "/v1/videos/a/content").unwrap();
        let path = route.path("/openai", None, Some("variant=thumbnail"));
        assert_eq!(path, "/openai/v1/videos/a/content?variant=thumbnail");
        for (job, segment) in [
            ("a", "a"),
            ("4711:openai", "4711%3Aopenai"),
            ("a/../b", "a%2F..%2Fb"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("...", "..."),
            ("\u{e4} ?#%", "%C3%A4%20%3F%23%25"),
        ] {
            let path = route.path("", Some(job), None);
            assert_eq!(path, format!("/v1/videos/{segment}/content"));
        }
    }

    #[test]
    fn a_clients_id_may_be_encoded() {
        for (text, id) in [
            ("video_1", Some("video_1")),
            ("video%5F1", Some("video_1")),
            ("%76%69deo_1", Some("video_1")),
            ("video%255F1", None),
            ("a%2Fb", None),
            ("%2e%2e", None),
            ("a%00", None),
            ("a%", None),
            ("a%4", None),
            ("a%+1", None),
            ("a%\u{e4}", None),
            ("a%C3%A4", None),
        ] {
            let read = JobId::read(text);
            assert_eq!(read.as_ref().map(JobId::as_str), id, "{text}");
        }
    }
}

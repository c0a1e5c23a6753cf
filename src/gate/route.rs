//! The known routes. Whatever is not here never goes upstream: the channel's credential
//! would open every other API of its account.

use http::Method;

use crate::sha256::Sha256;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Create,
    List,
    Retrieve(JobId),
    Delete(JobId),
    Content(JobId),
    Remix(JobId),
}

/// A job's id as it stands in a path: 1 to 128 of `[A-Za-z0-9_-]`, so that it has one
/// spelling and cannot leave its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobId(String);

/// Why a request has no route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// No route has that path.
    Path,
    /// The path has routes, for these methods.
    Method(&'static str),
}

const VIDEOS: &str = "/v1/videos";

impl Route {
    /// Finds the route. HEAD is GET without the answer's body. The path is compared as it was sent: nothing is decoded, folded or
    /// normalised, so `//v1/videos`, `/v1/videos/`, `/v1/%76ideos` and
    /// `/v1/videos/../models` are other paths.
    pub(super) fn find(method: &Method, path: &str) -> Result<Self, NoRoute> {
        let rest = path.strip_prefix(VIDEOS).ok_or(NoRoute::Path)?;
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
            Some(id) => JobId::new(id).ok_or(NoRoute::Path)?,
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

    /// The label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::List => "list",
            Self::Retrieve(_) => "retrieve",
            Self::Delete(_) => "delete",
            Self::Content(_) => "content",
            Self::Remix(_) => "remix",
        }
    }

    /// The job that it is about.
    pub(super) fn job(&self) -> Option<&str> {
        match self {
            Self::Create | Self::List => None,
            Self::Retrieve(id) | Self::Delete(id) | Self::Content(id) | Self::Remix(id) => {
                Some(&id.0)
            }
        }
    }

    /// The job that a remix is made from.
    pub(super) fn source(&self) -> Option<&str> {
        match self {
            Self::Remix(id) => Some(&id.0),
            _ => None,
        }
    }

    /// What makes two requests the same: what their bodies ask for, and what of.
    pub(super) fn fingerprint(&self, body: [u8; 32]) -> [u8; 32] {
        let Some(source) = self.source() else {
            return body;
        };
        Sha256::default().with(body).with(source).finish()
    }

    /// The path at a channel, built anew rather than copied.
    pub(super) fn path(&self, base: &str, query: Option<&str>) -> String {
        let under = match self {
            Self::Content(_) => "/content",
            Self::Remix(_) => "/remix",
            Self::Create | Self::List | Self::Retrieve(_) | Self::Delete(_) => "",
        };
        let (slash, id) = self.job().map_or(("", ""), |id| ("/", id));
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        [base, VIDEOS, slash, id, under, mark, query].concat()
    }
}

impl JobId {
    pub(super) fn new(text: &str) -> Option<Self> {
        Self::fits(text).then(|| Self(text.into()))
    }

    /// Whether a text can be asked for as a job's id.
    pub(super) fn fits(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        (1..=128).contains(&text.len()) && text.bytes().all(plain)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
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
    fn nothing_else_is() {
        for path in [
            "/",
            "*",
            "/v1",
            "/v1/models",
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
        let path = route.path("/openai", Some("variant=thumbnail"));
        assert_eq!(path, "/openai/v1/videos/a/content?variant=thumbnail");
    }
}

//! The routes of the Videos API.

use http::Method;

use super::fault::Scope;

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Create,
    List,
    Poll(&'a str),
    Delete(&'a str),
    Content(&'a str),
    Remix(&'a str),
    /// A known path with a method that it does not support. The text lists the methods that it supports.
    Method(&'static str),
    Unknown,
}

impl<'a> Route<'a> {
    pub(super) fn of(method: &Method, path: &'a str, prefix: &str) -> Self {
        let Some(path) = path
            .strip_prefix(prefix)
            .and_then(|path| path.strip_prefix("/v1/videos"))
        else {
            return Route::Unknown;
        };
        let mut segments = path.split('/');
        let start = segments.next();
        let rest = (segments.next(), segments.next(), segments.next());
        match (start, rest, method) {
            (Some(""), (None, ..), &Method::POST) => Route::Create,
            (Some(""), (None, ..), &Method::GET) => Route::List,
            (Some(""), (None, ..), _) => Route::Method("GET, POST"),
            (_, (Some("" | "edits" | "extensions" | "characters"), ..), _) => Route::Unknown,
            (Some(""), (Some(id), None, _), &Method::GET) => Route::Poll(id),
            (Some(""), (Some(id), None, _), &Method::DELETE) => Route::Delete(id),
            (Some(""), (Some(_), None, _), _) => Route::Method("GET, DELETE"),
            (Some(""), (Some(id), Some("content"), None), &Method::GET) => Route::Content(id),
            (Some(""), (Some(_), Some("content"), None), _) => Route::Method("GET"),
            (Some(""), (Some(id), Some("remix"), None), &Method::POST) => Route::Remix(id),
            (Some(""), (Some(_), Some("remix"), None), _) => Route::Method("POST"),
            _ => Route::Unknown,
        }
    }

    /// Returns the path of the route, with `{id}` for a job's id; `None` for an unknown path or method.
    pub(super) fn template(self) -> Option<&'static str> {
        match self {
            Route::Create | Route::List => Some("/v1/videos"),
            Route::Poll(_) | Route::Delete(_) => Some("/v1/videos/{id}"),
            Route::Content(_) => Some("/v1/videos/{id}/content"),
            Route::Remix(_) => Some("/v1/videos/{id}/remix"),
            Route::Method(_) | Route::Unknown => None,
        }
    }

    /// Returns the scope that the route belongs to; `Any` for an unknown path or method.
    pub(super) fn scope(self) -> Scope {
        match self {
            Route::Create | Route::Remix(_) => Scope::Create,
            Route::List => Scope::List,
            Route::Poll(_) => Scope::Poll,
            Route::Delete(_) => Scope::Delete,
            Route::Content(_) => Scope::Content,
            Route::Method(_) | Route::Unknown => Scope::Any,
        }
    }
}

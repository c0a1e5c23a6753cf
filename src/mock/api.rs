//! Answers the requests of the Videos API.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, EXPECT, HeaderName};
use http::{Method, Request, StatusCode, request};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;

use super::State;
use super::answer::{Answer, AnswerBody, ApiError, Closed, json, page, set};
use super::body::{self, BadBody, Upload};
use super::content::Content;
use super::fault::{Fault, Kind};
use super::jobs::{Job, JobView};
use super::options::Presented;
use super::route::Route;
use super::{control, create};

const FAULT: HeaderName = HeaderName::from_static("x-mock-fault");
const POLL_AFTER: HeaderName = HeaderName::from_static("openai-poll-after-ms");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VERSION: HeaderName = HeaderName::from_static("openai-version");

/// The minimum and maximum of `openai-poll-after-ms`, the wait before the next poll in milliseconds.
const POLL_MS: RangeInclusive<u128> = 10..=1000;
/// The number of jobs on a page of the list, if the request has no `limit`. [`MAX_PAGE`] is the maximum.
const PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// Answers one request. The error [`Closed`] closes its connection (HTTP/2: resets its stream).
pub(super) async fn handle(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Answer, Closed> {
    if request.uri().path().starts_with("/mock/") {
        return Ok(control::answer(&state, request).await);
    }
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let route = Route::of(&head.method, head.uri.path(), &state.options.prefix);
    let presented = state.options.check(&head.headers);
    let entry = state
        .recorder
        .begin(&head, route, presented, &state.options);
    let exchange = Exchange {
        upload: Upload::new(body, &head, entry),
        state: &state,
        head: &head,
        route,
        presented,
        fault: None,
    };
    let mut answer = exchange.run().await?;
    set(&mut answer, REQUEST_ID, &state.jobs.ids.request());
    set(&mut answer, VERSION, "2020-10-01");
    let elapsed = began.elapsed().as_millis().to_string();
    set(&mut answer, PROCESSING, &elapsed);
    Ok(answer)
}

/// A request that is being answered, with the state of its handling.
struct Exchange<'a> {
    upload: Upload,
    state: &'a State,
    head: &'a request::Parts,
    route: Route<'a>,
    presented: Presented,
    fault: Option<Kind>,
}

/// The reason why a request gets an error, or no answer.
enum Failure {
    Refused(ApiError),
    Closed,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure::Refused(error)
    }
}

impl Exchange<'_> {
    async fn run(mut self) -> Result<Answer, Closed> {
        let found = self.find_fault();
        match self.fault {
            Some(Kind::Early(status)) => return Ok(self.early(status)),
            Some(Kind::DropBefore) => {
                self.upload.abandon();
                return Err(Closed);
            }
            Some(Kind::DropBody) => {
                self.upload.read_half().await;
                self.upload.abandon();
                return Err(Closed);
            }
            _ => (),
        }
        let answered = match found {
            Ok(()) if self.presented == Presented::Right => self.answer().await,
            Ok(()) => self.unauthorized().await,
            Err(error) => {
                self.upload.drain().await;
                Err(error.into())
            }
        };
        let mut answer = match answered {
            Ok(answer) => answer,
            Err(Failure::Refused(error)) => error.answer(),
            Err(Failure::Closed) => return Err(Closed),
        };
        match self.fault {
            Some(Kind::Slow(wait)) => tokio::time::sleep(wait).await,
            Some(Kind::Hang) => std::future::pending().await,
            Some(Kind::DropAfter) => return Err(Closed),
            Some(Kind::DropAnswer) => answer.body_mut().break_in_half(),
            Some(Kind::Trickle) => answer.body_mut().trickle(),
            _ => (),
        }
        self.upload.entry.answered(answer.status());
        Ok(answer)
    }

    /// Sets the request's fault to that of its header `x-mock-fault`, or else to one of those set for the
    /// whole process. A header that names no fault is an error.
    fn find_fault(&mut self) -> Result<(), ApiError> {
        let fault = match self.head.headers.get(FAULT) {
            None => self.state.faults.take(self.route.scope()),
            Some(name) => {
                let fault = name.to_str().unwrap_or_default().parse::<Fault>();
                let refused =
                    |error| ApiError::new(StatusCode::BAD_REQUEST, format!("{FAULT}: {error}"));
                Some(fault.map_err(refused)?.kind)
            }
        };
        self.note(fault);
        Ok(())
    }

    fn note(&mut self, fault: Option<Kind>) {
        if let Some(fault) = &fault {
            self.upload.entry.fault(fault.to_string());
        }
        self.fault = fault;
    }

    /// Answers with an error of this status at once, and reads the request's body after the answer was sent.
    /// With `Expect: 100-continue` it reads no body, because the client then sends none.
    fn early(mut self, status: StatusCode) -> Answer {
        let mut answer = ApiError::of_status(status).answer();
        self.upload.entry.answered(status);
        if self.head.headers.contains_key(EXPECT) {
            self.upload.abandon();
            return answer;
        }
        let gone = answer.body_mut().gone();
        let mut upload = self.upload;
        tokio::spawn(async move {
            // Always returns an error: the sender sends nothing, and is dropped with the answer's body.
            let _ = gone.await;
            upload.drain().await;
        });
        answer
    }

    async fn unauthorized(&mut self) -> Result<Answer, Failure> {
        if self.head.headers.contains_key(EXPECT) {
            self.upload.abandon();
        } else {
            self.upload.drain().await;
        }
        self.upload.entry.unauthorized();
        let header = self.state.options.credential_header();
        let presented = self.head.headers.get(header);
        let presented = presented.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let key = presented
            .as_deref()
            .and_then(|value| value.split_whitespace().last());
        Err(ApiError::credential(key).into())
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        match self.route {
            Route::Create => return self.submit(None).await,
            Route::Remix(id) => return self.submit(Some(id)).await,
            _ => (),
        }
        if !self.upload.drain().await {
            return Err(Failure::Closed);
        }
        if let Some(answer) = self.instead()? {
            return Ok(answer);
        }
        let path = self.head.uri.path();
        match self.route {
            Route::Poll(id) => Ok(self.job(&self.find(id)?)),
            Route::List => Ok(self.list()?),
            Route::Content(id) => Ok(self.download(id)?),
            Route::Delete(id) if self.state.jobs.delete(id) => Ok(deleted(id)),
            Route::Delete(id) => Err(no_job(id).into()),
            Route::Method(allowed) => {
                let mut answer = method_not_allowed(&self.head.method, path).answer();
                set(&mut answer, ALLOW, allowed);
                Ok(answer)
            }
            Route::Unknown | Route::Create | Route::Remix(_) => {
                let message = format!("Invalid URL ({} {path})", self.head.method);
                Err(ApiError::new(StatusCode::NOT_FOUND, message).into())
            }
        }
    }

    /// Answers a create or, with `source`, a remix of the job that has this id.
    async fn submit(&mut self, source: Option<&str>) -> Result<Answer, Failure> {
        let read = body::read(&mut self.upload, &self.head.headers).await;
        if let Err(BadBody::Incomplete) = read {
            return Err(Failure::Closed);
        }
        if let Ok(submission) = &read {
            let prompt = submission.fields.get("prompt").and_then(Value::as_str);
            if self.fault.is_none() {
                self.note(prompt.and_then(Kind::in_prompt));
            }
            self.upload.entry.fields(create::fields(submission));
        }
        if let Some(answer) = self.instead()? {
            return Ok(answer);
        }
        let submission = read.map_err(|bad| create::bad_body(&bad))?;
        let options = &self.state.options;
        let mut new = match source {
            None => create::create(&submission, options)?,
            Some(id) => {
                let source = self.find(id)?;
                if source.status(Instant::now()).0 != "completed" {
                    let message = "Video must be completed before it can be remixed.";
                    return Err(ApiError::new(StatusCode::BAD_REQUEST, message).into());
                }
                create::remix(&submission, id, &source.new, options)?
            }
        };
        if let Some(fault) = &self.fault {
            create::apply_fault(&mut new, fault, options);
        }
        let job = self.state.jobs.create(new);
        self.upload.entry.accepted(&job.id);
        Ok(self.job(&job))
    }

    /// Returns the answer or failure of a fault that prevents the request's execution; `None` without one.
    fn instead(&self) -> Result<Option<Answer>, Failure> {
        match self.fault {
            Some(Kind::Status(status) | Kind::Early(status)) => {
                Err(ApiError::of_status(status).into())
            }
            Some(Kind::RateLimited(wait)) => Err(ApiError::rate_limited(wait).into()),
            Some(Kind::Quota) => Err(ApiError::quota().into()),
            Some(Kind::DropBefore | Kind::DropBody) => Err(Failure::Closed),
            // This answer is never sent: the caller then waits for ever.
            Some(Kind::Hang) => Err(ApiError::of_status(StatusCode::GATEWAY_TIMEOUT).into()),
            Some(Kind::Garbage) => Ok(Some(page())),
            _ => Ok(None),
        }
    }

    fn find(&self, id: &str) -> Result<Job, ApiError> {
        self.state.jobs.get(id).ok_or_else(|| no_job(id))
    }

    fn job(&self, job: &Job) -> Answer {
        let now = Instant::now();
        let mut view = job.view(now);
        if self.fault == Some(Kind::NoId) {
            view.id = None;
        }
        let mut answer = json(StatusCode::OK, &view);
        if let Some(Kind::Huge(bytes)) = self.fault {
            let object = serde_json::to_vec(&view).unwrap_or_default();
            *answer.body_mut() = AnswerBody::padded(&object, bytes);
        }
        let wait = job.remaining(now).as_millis();
        let wait = wait.clamp(*POLL_MS.start(), *POLL_MS.end()).to_string();
        set(&mut answer, POLL_AFTER, &wait);
        answer
    }

    fn list(&self) -> Result<Answer, ApiError> {
        #[derive(Serialize)]
        struct List<'a> {
            object: &'a str,
            data: &'a [JobView],
            first_id: Option<&'a str>,
            last_id: Option<&'a str>,
            has_more: bool,
        }
        let query = self.head.uri.query();
        let limit = match parameter(query, "limit") {
            None => PAGE,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| *limit <= MAX_PAGE)
                .ok_or_else(|| {
                    let message = "Invalid 'limit': expected an integer from 0 to 100.";
                    ApiError::parameter("limit", "invalid_value", message)
                })?,
        };
        let newest_first = match parameter(query, "order") {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => {
                let message = "Invalid 'order': supported values are 'asc' and 'desc'.";
                return Err(ApiError::parameter("order", "invalid_value", message));
            }
        };
        let after = parameter(query, "after");
        let page = self.state.jobs.page(after, newest_first, limit);
        let page = page.ok_or_else(|| {
            let message = format!("No such video: '{}'.", after.unwrap_or_default());
            ApiError::parameter("after", "invalid_value", message)
        })?;
        let now = Instant::now();
        let data: Vec<JobView> = page.jobs.iter().map(|job| job.view(now)).collect();
        let list = List {
            object: "list",
            first_id: data.first().and_then(|job| job.id.as_deref()),
            last_id: data.last().and_then(|job| job.id.as_deref()),
            data: &data,
            has_more: page.has_more,
        };
        Ok(json(StatusCode::OK, &list))
    }

    fn download(&self, id: &str) -> Result<Answer, ApiError> {
        let job = self.find(id)?;
        let video_bytes = match self.fault {
            Some(Kind::Big(bytes)) => Some(bytes),
            _ => job.new.video_bytes,
        };
        let variant = parameter(self.head.uri.query(), "variant");
        let content = Content::of(variant, video_bytes)?;
        if job.status(Instant::now()).0 != "completed" {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "Video is not ready yet, use GET /v1/videos/{video_id} to check status.",
            ));
        }
        Ok(content.answer(id, &self.head.headers))
    }
}

fn deleted(id: &str) -> Answer {
    #[derive(Serialize)]
    struct Deleted<'a> {
        id: &'a str,
        object: &'a str,
        deleted: bool,
    }
    let object = "video.deleted";
    let deleted = true;
    json(
        StatusCode::OK,
        &Deleted {
            id,
            object,
            deleted,
        },
    )
}

fn no_job(id: &str) -> ApiError {
    let message = format!("Video with id '{id}' not found.");
    ApiError::new(StatusCode::NOT_FOUND, message)
}

fn method_not_allowed(method: &Method, path: &str) -> ApiError {
    ApiError {
        code: Some("method_not_supported"),
        ..ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!(
                "Not allowed to {method} on {path}. \
                 (HINT: Perhaps you meant to use a different HTTP method?)"
            ),
        )
    }
}

/// Returns the value of the query parameter `name` without decoding it: the valid values need no escapes.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

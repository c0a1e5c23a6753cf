//! A faithful mock channel: a server of the Videos API that renders nothing.
//!
//! It is for demos, staging and tests, so it does two things that a real channel does not:
//! it keeps exact records of what reached it, and it misbehaves on demand.
//!
//! # Records
//!
//! A create counts as *complete* the moment its whole message was received (the declared length, the last
//! chunk, or END_STREAM), whether or not it parses or is accepted afterwards; as *broken* when the body fails
//! or ends early; as *dropped* when the mock itself stops reading (for a fault, or a wrong credential sent
//! with `Expect`). Bodies are hashed as they stream. At most 4 MiB of a form, or 64 MiB of JSON, are kept.
//!
//! | control route | answer |
//! |---|---|
//! | `GET /mock/stats` | [`Stats`] |
//! | `GET /mock/requests` | the last 1000 requests whose message ended, as [`Record`]s, oldest first |
//! | `GET /mock/jobs` | the last 100,000 jobs, deleted ones too, as [`JobRecord`]s, oldest first |
//! | `GET /mock/fault` | the faults that are set |
//! | `POST /mock/fault` | sets the faults: `{"fault": "create:500,poll:slow=50", "times": 2}`; `null` or `""` clears them; optional are `times` (how often each acts), `seconds` (for how long) and `percent` (on what percentage of the requests) |
//! | `POST /mock/reset` | clears records and jobs, and sets the faults back to [`Options::faults`] |
//!
//! Control routes need no credential and are not counted.
//!
//! # Faults
//!
//! A fault comes from the request header `x-mock-fault`, else from the faults that are set
//! for the whole process, else from a directive in the prompt: `a cat [mock:fail]`.
//! A fault that is set for the process may name the requests that it applies to, as
//! `poll:500` does: `create` (remixes too; the default), `poll`, `list`, `content` (the
//! default of `big`), `delete`, `any`. A prompt is known only when the whole body has been
//! read. A fault from a prompt that would act earlier (`early`, `drop-before`, `drop-body`)
//! acts at that moment, and no job is created.
//!
//! | fault | effect | job is created |
//! |---|---|---|
//! | `fail` | the job ends `failed` | yes |
//! | `moderated` | the job ends `failed` with the code `moderation_blocked` | yes |
//! | `cancelled` | the job ends `cancelled` | yes |
//! | `400` ... `599` | that status after the body, with a body like the real API's for 400, 401, 403, 429, 500; 429 carries `Retry-After: 2` and `x-ratelimit-*` | no |
//! | `429=SECONDS`, `429=none` | 429 with that `Retry-After`, or without | no |
//! | `quota` | 429 `insufficient_quota` | no |
//! | `hang` | no answer, for as long as the connection stays | no |
//! | `slow=MS` | waits before the answer | yes |
//! | `trickle` | the answer's body in tiny pieces | yes |
//! | `early=STATUS` | answers first, then reads the body (but not with `Expect: 100-continue`) | no |
//! | `drop-before` | closes after the head | no |
//! | `drop-body` | closes after half of the body's declared length; without one, after the first data | no |
//! | `drop-after` | closes after the whole body, instead of an answer | **yes** |
//! | `drop-answer` | closes after the answer's head and half of its body | yes |
//! | `no-id` | the answer's job has no `id` | yes |
//! | `other-seconds[=N]` | the job has N seconds, or the first other seconds of the catalog | yes |
//! | `other-size[=WxH]` | the job has this size, or the first other size of the catalog | yes |
//! | `garbage` | 200 with an HTML page | no |
//! | `huge[=BYTES]` | the job's answer has this much padding (default 16 MiB) before the job's fields | yes |
//! | `big=BYTES` | the job's video (or this download) has that many bytes | yes |
//!
//! *Closes* means that HTTP/1.1 closes the connection, and that HTTP/2 sends RST_STREAM.
//!
//! # Prices
//!
//! Every accepted job adds its list cost, by [`Options::catalog`], to
//! [`Stats::list_cost_usd_total`], as an exact decimal. A size that the catalog does not
//! price costs nothing; the fault `other-size` can give a job such a size.

mod answer;
mod api;
mod body;
mod content;
mod control;
mod create;
mod fault;
mod jobs;
mod options;
mod record;
mod route;
mod server;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use fault::{Extent, Fault, FaultError, Kind, Scope};
pub use jobs::{Fate, JobError, JobRecord, JobView};
pub use options::{Auth, Model, Options, Size, Tls, TlsError};
pub use record::{Fields, Outcome, Record, Stats};

/// The log target of the mock. It distinguishes the mock's lines from those of a gate in the same process.
pub const LOG: &str = "mock";

/// A mock channel that runs in this process, for as long as this value lives.
#[derive(Debug)]
pub struct Mock {
    addr: SocketAddr,
    state: Arc<State>,
    /// The sender that stops the server when it is dropped.
    running: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Mock {
    /// Starts a mock that accepts connections on `listener`, in tasks of the current Tokio runtime.
    ///
    /// # Panics
    ///
    /// If called outside a Tokio runtime, or if the system cannot return the listener's address.
    #[must_use]
    pub fn start(listener: TcpListener, options: Options) -> Mock {
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        let state = Arc::new(State::new(options));
        let (running, stopped) = oneshot::channel();
        let server = server::serve(listener, Arc::clone(&state), async move {
            // The sender sends nothing: it is dropped.
            let _ = stopped.await;
        });
        Mock {
            addr,
            state,
            running,
            server: tokio::spawn(server),
        }
    }

    /// Returns the address that the mock listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the counters since the start or the last reset.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Returns whether a request with the `x-request-id` `name` is being received: its head has arrived, and
    /// its message has not ended.
    #[must_use]
    pub fn is_in_progress(&self, name: &str) -> bool {
        self.state.recorder.is_in_progress(name)
    }

    /// Returns the last 1000 requests whose message ended, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        self.state.recorder.requests()
    }

    /// Returns the last 100,000 jobs, deleted ones too, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobRecord> {
        self.state.jobs.all()
    }

    /// Replaces the faults of the whole process by `faults`. Each acts `times` times; for `None`, until the
    /// faults are replaced or reset.
    pub fn set_faults(&self, faults: Vec<Fault>, times: Option<u32>) {
        let extent = Extent {
            times,
            ..Extent::default()
        };
        self.set_faults_for(faults, extent);
    }

    /// Replaces the faults of the whole process by `faults`, each of which acts within `extent`: a number of
    /// times, a time, and a percentage of the requests.
    pub fn set_faults_for(&self, faults: Vec<Fault>, extent: Extent) {
        self.state.faults.set(faults, extent);
    }

    /// Clears records and jobs, and sets the faults back to [`Options::faults`].
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Stops listening and closes every connection, then returns.
    pub async fn stop(self) {
        drop(self.running);
        // The result is ignored: a server that has panicked has closed all connections too.
        let _ = self.server.await;
    }
}

/// Runs a mock on `listener` for ever. To stop it, drop the future.
pub async fn run(listener: TcpListener, options: Options) {
    let state = Arc::new(State::new(options));
    server::serve(listener, state, std::future::pending()).await;
}

/// The state that all connections share.
#[derive(Debug)]
struct State {
    options: Options,
    jobs: jobs::Jobs,
    recorder: Arc<record::Recorder>,
    faults: fault::Faults,
}

impl State {
    fn new(options: Options) -> Self {
        State {
            jobs: jobs::Jobs::default(),
            recorder: Arc::default(),
            faults: fault::Faults::new(options.faults.clone()),
            options,
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.recorder.stats();
        self.jobs.add_to(&mut stats);
        stats
    }

    fn reset(&self) {
        self.jobs.clear();
        self.recorder.clear();
        let faults = self.options.faults.clone();
        self.faults.set(faults, Extent::default());
    }
}

//! The channels: they do with each request what the script says, and know what they have made.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::plan::{CHANNELS, SECONDS, SIZES};
use crate::said::{create, delete, list, poll};
use crate::step::{Deletion, Listing, Play, Polling, Render, Status};

/// A job that was made.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: String,
    pub channel: usize,
    /// The number of the request that it was made for.
    pub request: usize,
    pub seconds: u64,
    pub size: String,
    /// When, by the true time.
    pub made: u64,
    pub status: Status,
    pub deleted: bool,
    /// Whether a create was answered with it.
    pub told: bool,
    /// As its request names them.
    pub model: String,
    pub prompt: String,
    pub source: Option<String>,
    /// In seconds, by the channel's clock.
    pub created_at: i64,
}

/// What the channels know, and what they are to do.
#[derive(Default)]
pub struct Truth {
    pub jobs: Vec<Job>,
    /// The true time, in milliseconds.
    pub now: u64,
    /// By how many seconds the channels' clock is wrong.
    pub skew: i64,
    /// The request that comes next, and what is made of it.
    pub next: Option<(usize, Play, Render)>,
    /// Creates that wait to be told how they go on.
    pub held: HashMap<usize, oneshot::Sender<Play>>,
    pub listing: [Listing; CHANNELS],
    pub polling: [Polling; CHANNELS],
    pub deletion: Deletion,
    pub ids: usize,
}

pub struct Channels {
    pub addresses: [SocketAddr; CHANNELS],
    truth: Arc<Mutex<Truth>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Channels {
    pub async fn start(truth: Truth) -> Self {
        let truth = Arc::new(Mutex::new(truth));
        let (mut addresses, mut tasks) = (Vec::new(), Vec::new());
        for channel in 0..CHANNELS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let truth = truth.clone();
            tasks.push(tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, channel, truth.clone()));
                }
            }));
        }
        Self {
            addresses: addresses.try_into().unwrap(),
            truth,
            tasks,
        }
    }

    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }
}

pub struct Request {
    method: String,
    path: String,
    pub body: Value,
}

/// What the connection does after a request.
pub enum Then {
    Write(u16, String),
    WriteAndBreak(Vec<u8>),
    Drip(Vec<u8>),
}

pub fn json(status: u16, body: impl Into<String>) -> Then {
    Then::Write(status, body.into())
}

/// The head of an answer. `date` is a header line, or nothing.
pub fn head(status: u16, length: usize, date: &str) -> String {
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nLocation: /elsewhere\r\n\
         {date}Content-Length: {length}\r\n\r\n"
    )
}

/// Whether a channel's answers say what time it is there.
pub fn sends_date(channel: usize) -> bool {
    channel != 1
}

async fn serve(mut stream: TcpStream, channel: usize, truth: Arc<Mutex<Truth>>) {
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    while let Some(request) = next(&mut stream, &mut read).await {
        match answer(&request, channel, &truth).await {
            Then::Write(status, body) => {
                let date = truth.lock().unwrap().date(channel);
                let text = head(status, body.len(), &date) + &body;
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Then::WriteAndBreak(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Then::Drip(bytes) => {
                let _ = stream.write_all(&bytes).await;
                // Until the gate has had enough of it.
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
        }
    }
}

/// The next request on a connection.
async fn next(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Request> {
    let mut chunk = [0; 16384];
    loop {
        let end = read.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let found = name.eq_ignore_ascii_case("content-length");
                found.then(|| value.trim().parse::<usize>().unwrap())
            });
            let whole = end + 4 + length.unwrap_or(0);
            if read.len() >= whole {
                let body = serde_json::from_slice(&read[end + 4..whole]).unwrap_or(Value::Null);
                read.drain(..whole);
                let mut words = head.split(' ');
                return Some(Request {
                    method: words.next()?.to_owned(),
                    path: words.next()?.to_owned(),
                    body,
                });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(n @ 1..) => read.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

async fn answer(request: &Request, channel: usize, truth: &Mutex<Truth>) -> Then {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let rest: Vec<_> = path
        .strip_prefix("/v1/videos")
        .unwrap_or("")
        .split('/')
        .collect();
    let id = rest.get(1).map(|id| decoded(id));
    match (&*request.method, id, rest.get(2)) {
        ("POST", None, None) => create(request, None, channel, truth).await,
        ("POST", id, Some(&"remix")) => create(request, id, channel, truth).await,
        ("GET", None, None) => list(query, channel, &truth.lock().unwrap()),
        ("GET", Some(id), None) => poll(&id, channel, &truth.lock().unwrap()),
        ("GET", Some(id), Some(&"content")) => {
            // The video names the request that it was made for.
            let made_for = truth
                .lock()
                .unwrap()
                .find(channel, &id)
                .map(|job| job.request);
            match made_for {
                Some(request) => json(200, request.to_string()),
                None => json(404, "{}"),
            }
        }
        ("DELETE", Some(id), None) => delete(&id, channel, &mut truth.lock().unwrap()),
        _ => json(404, "{}"),
    }
}

impl Truth {
    /// The header that says what time it is at a channel, if it sends one.
    pub fn date(&self, channel: usize) -> String {
        if !sends_date(channel) {
            return String::new();
        }
        let by_its_clock = self.now.saturating_add_signed(self.skew * 1000);
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(by_its_clock));
        format!("Date: {date}\r\n")
    }

    /// A job that is there.
    pub fn find(&self, channel: usize, id: &str) -> Option<&Job> {
        let mut jobs = self.jobs.iter();
        jobs.find(|job| job.channel == channel && job.id == id && !job.deleted)
    }

    fn new_id(&self, channel: usize) -> String {
        let here = self.jobs.iter().filter(|job| job.channel == channel);
        let (all, here) = (self.jobs.len(), here.count());
        match self.ids {
            // Each channel counts for itself.
            1 => format!("video_{here}"),
            2 => format!("video_{}=={all}", "bGl0ZWxsbTpjdXN0b21fbGxt".repeat(8)),
            3 => format!("vid/{all}:provider é"),
            _ => format!("video_{all}"),
        }
    }

    /// Makes a job where it is to be made, and tells its place.
    pub fn make_if(
        &mut self,
        play: Play,
        (number, request, source): (usize, &Request, Option<&String>),
        channel: usize,
        render: Render,
    ) -> Option<usize> {
        if !play.makes() {
            return None;
        }
        let source_job = source.and_then(|id| self.find(channel, id)).cloned();
        let text = |name: &str| request.body[name].as_str().map(str::to_owned);
        let of_source = |pick: fn(&Job) -> String| source_job.as_ref().map(pick);
        let seconds = text("seconds").or(of_source(|job| job.seconds.to_string()));
        let size = text("size").or(of_source(|job| job.size.clone()));
        let job = Job {
            id: self.new_id(channel),
            channel,
            request: number,
            seconds: match render {
                Render::Seconds(other) => SECONDS[other],
                _ => seconds.and_then(|s| s.parse().ok()).unwrap_or(4),
            },
            size: match render {
                Render::Size(other) => SIZES[other].to_owned(),
                _ => size.unwrap_or_else(|| SIZES[0].to_owned()),
            },
            made: self.now,
            status: Status::Queued,
            deleted: false,
            told: false,
            model: text("model")
                .or(of_source(|job| job.model.clone()))
                .unwrap_or_default(),
            prompt: text("prompt").unwrap_or_default(),
            source: source.cloned(),
            created_at: (self.now as i64).div_euclid(1000) + self.skew,
        };
        self.jobs.push(job);
        Some(self.jobs.len() - 1)
    }
}

/// A part of a path, or a value of a query.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap_or(0));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

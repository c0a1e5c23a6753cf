//! The channels: they do with each request what the script says, and know what they have made.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::plan::{CHANNELS, SECONDS, SIZES};
use crate::step::{Deletion, Listing, Play, Polling, Refusal, Render, Status};

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
    told: bool,
    /// As its request names them.
    model: String,
    prompt: String,
    source: Option<String>,
    /// In seconds, by the channel's clock.
    created_at: i64,
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

struct Request {
    method: String,
    path: String,
    body: Value,
}

/// What the connection does after a request.
enum Then {
    Write(u16, String),
    WriteAndBreak(Vec<u8>),
    Drip(Vec<u8>),
}

fn json(status: u16, body: impl Into<String>) -> Then {
    Then::Write(status, body.into())
}

fn head(status: u16, length: usize) -> String {
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nLocation: /elsewhere\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

async fn serve(mut stream: TcpStream, channel: usize, truth: Arc<Mutex<Truth>>) {
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    while let Some(request) = next(&mut stream, &mut read).await {
        match answer(&request, channel, &truth).await {
            Then::Write(status, body) => {
                let text = head(status, body.len()) + &body;
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
            let found = truth.lock().unwrap().find(channel, &id).is_some();
            json(if found { 200 } else { 404 }, "{}")
        }
        ("DELETE", Some(id), None) => delete(&id, channel, &mut truth.lock().unwrap()),
        _ => json(404, "{}"),
    }
}

fn decoded(text: &str) -> String {
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

impl Truth {
    /// A job that is there.
    fn find(&self, channel: usize, id: &str) -> Option<&Job> {
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
    fn make_if(
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

async fn create(
    request: &Request,
    source: Option<String>,
    channel: usize,
    truth: &Mutex<Truth>,
) -> Then {
    let (number, play, render, made, told) = {
        let mut truth = truth.lock().unwrap();
        let (number, play, render) = truth.next.expect("a create that nobody made");
        let made = truth.make_if(play, (number, request, source.as_ref()), channel, render);
        let held = matches!(play, Play::Hold | Play::HoldMade);
        let told = held.then(oneshot::channel).map(|(tell, told)| {
            truth.held.insert(number, tell);
            told
        });
        (number, play, render, made, told)
    };
    let Some(told) = told else {
        return say(&mut truth.lock().unwrap(), play, made, channel);
    };
    // Dropped, it breaks off.
    let then = told.await.unwrap_or(Play::Never);
    let mut truth = truth.lock().unwrap();
    if play == Play::HoldMade {
        let then = if then.makes() { then } else { Play::Lost };
        return say(&mut truth, then, made, channel);
    }
    let then = if then == Play::HoldMade {
        Play::Lost
    } else {
        then
    };
    let made = truth.make_if(then, (number, request, source.as_ref()), channel, render);
    say(&mut truth, then, made, channel)
}

/// How a create is answered, once its job (if any) is made.
fn say(truth: &mut Truth, play: Play, made: Option<usize>, channel: usize) -> Then {
    let error = |status: u16, code: &str| {
        let body = format!(r#"{{"error":{{"message":"No.","type":"x","code":"{code}"}}}}"#);
        json(status, body)
    };
    if let (Play::Ended(status), Some(made)) = (play, made) {
        truth.jobs[made].status = status;
    }
    let job = |truth: &Truth| {
        let job = &truth.jobs[made.expect("a job")];
        described(job, false, false)
    };
    match play {
        Play::Answer | Play::Ended(_) => {
            truth.jobs[made.expect("a job")].told = true;
            json(200, job(truth))
        }
        Play::Lost | Play::Never | Play::Hold | Play::HoldMade => Then::WriteAndBreak(vec![]),
        Play::Half => {
            let text = job(truth);
            let whole = head(200, text.len()) + &text;
            Then::WriteAndBreak(whole.as_bytes()[..whole.len() - text.len() / 2].to_vec())
        }
        Play::Drip => Then::Drip((head(200, 1 << 20) + &job(truth)).into_bytes()),
        Play::NoId => json(200, r#"{"object":"video","status":"queued"}"#),
        Play::Again => {
            let earlier = truth
                .jobs
                .iter()
                .find(|job| job.channel == channel && job.told);
            match earlier {
                Some(job) => json(200, described(job, false, false)),
                None => error(400, "invalid_value"),
            }
        }
        Play::Refuse(refusal) => match refusal {
            Refusal::Invalid => error(400, "invalid_value"),
            Refusal::Account => error(401, "invalid_api_key"),
            Refusal::Rate => error(429, "rate_limit_exceeded"),
            Refusal::Quota => error(429, "insufficient_quota"),
            Refusal::Internal => error(500, "internal_error"),
        },
        Play::Gateway(status) => json(status, "<html>Bad gateway</html>"),
        Play::Redirect => json(302, "{}"),
    }
}

fn described(job: &Job, other_words: bool, unreadable: bool) -> String {
    let status = match (job.status, other_words) {
        (Status::Queued, false) => "queued",
        (Status::Completed, false) => "completed",
        (Status::Failed, false) => "failed",
        (Status::Cancelled, false) => "cancelled",
        (Status::Queued, true) => "PROCESSING",
        (Status::Completed, true) => "succeeded",
        (Status::Failed, true) => "error",
        (Status::Cancelled, true) => "canceled",
    };
    let source = match &job.source {
        Some(id) => format!(r#","remixed_from_video_id":"{id}""#),
        None => String::new(),
    };
    let odd = if unreadable {
        r#","odd":[1e400,"\ud800"]"#
    } else {
        ""
    };
    format!(
        r#"{{"id":"{}","object":"video","status":"{status}","model":"{}","prompt":"{}","seconds":"{}","size":"{}","created_at":{}{source}{odd}}}"#,
        job.id, job.model, job.prompt, job.seconds, job.size, job.created_at
    )
}

fn poll(id: &str, channel: usize, truth: &Truth) -> Then {
    let Some(job) = truth.find(channel, id) else {
        return json(
            404,
            r#"{"error":{"message":"No such video.","code":"not_found"}}"#,
        );
    };
    match truth.polling[channel] {
        Polling::Whole => json(200, described(job, false, false)),
        Polling::OtherWords => json(200, described(job, true, false)),
        Polling::Unreadable => json(200, described(job, false, true)),
        Polling::Fails => json(500, r#"{"error":{"message":"Oh.","code":"internal"}}"#),
        Polling::Garbage => json(200, "<html>Welcome</html>"),
        Polling::OtherJob => {
            let mut other = job.clone();
            other.id.push('x');
            json(200, described(&other, false, false))
        }
        Polling::Breaks => Then::WriteAndBreak(vec![]),
    }
}

fn delete(id: &str, channel: usize, truth: &mut Truth) -> Then {
    let deletion = truth.deletion;
    let gone = r#"{"error":{"message":"No such video.","code":"not_found"}}"#;
    let found = truth.jobs.iter_mut();
    let found = { found }.find(|job| job.channel == channel && job.id == id && !job.deleted);
    let Some(job) = found else {
        return json(404, gone);
    };
    match deletion {
        Deletion::Done | Deletion::Lost => job.deleted = true,
        Deletion::NoRoute => return json(404, "<html>Not found</html>"),
        Deletion::Fails => return json(500, "<html>Oh</html>"),
    }
    match deletion {
        Deletion::Lost => Then::WriteAndBreak(vec![]),
        _ => json(
            200,
            format!(r#"{{"id":"{id}","object":"video.deleted","deleted":true}}"#),
        ),
    }
}

fn list(query: &str, channel: usize, truth: &Truth) -> Then {
    let listing = truth.listing[channel];
    match listing {
        Listing::Fails => return json(500, r#"{"error":{"message":"Oh.","code":"internal"}}"#),
        Listing::Garbage => return json(200, "<html>Welcome</html>"),
        _ => {}
    }
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(n, _)| *n == name)
            .map(|(_, value)| decoded(value))
    };
    let hidden_from = truth.now.saturating_sub(100_000);
    let late = |job: &&Job| listing != Listing::Late || job.made < hidden_from;
    let jobs = truth
        .jobs
        .iter()
        .filter(|job| job.channel == channel && !job.deleted);
    let mut jobs: Vec<_> = jobs.filter(late).collect();
    jobs.reverse();
    if listing == Listing::Shuffled {
        let half = jobs.len() / 2;
        jobs.rotate_left(half);
    }
    if let Some(after) = value("after") {
        let place = jobs.iter().position(|job| job.id == after);
        jobs.drain(..place.map_or(0, |place| place + 1));
    }
    let most = match listing {
        Listing::Short => 2,
        _ => value("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(20),
    };
    let has_more = jobs.len() > most;
    jobs.truncate(most);
    let mut entries: Vec<_> = jobs
        .iter()
        .map(|job| described(job, false, false))
        .collect();
    match listing {
        Listing::NoPrompts => {
            for (entry, job) in entries.iter_mut().zip(&jobs) {
                let prompt = format!(r#""prompt":"{}","#, job.prompt);
                *entry = entry.replace(&prompt, "");
            }
        }
        Listing::Unreadable => {
            entries.insert(0, r#"{"id":"odd","prompt":"\ud800"}"#.into());
            entries.push(r#"{"id":"large","seconds":1e400}"#.into());
        }
        _ => {}
    }
    let entries = entries.join(",");
    json(
        200,
        format!(r#"{{"object":"list","data":[{entries}],"has_more":{has_more}}}"#),
    )
}

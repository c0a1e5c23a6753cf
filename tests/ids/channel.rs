//! A channel that names its jobs as it is told to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What no reader of numbers keeps, and members in an order of their own.
pub const TAIL: &str = r#""zeta":123456789012345678901234567890.10,"alpha":[1.50e10]"#;

/// What it has made, and what it was asked.
#[derive(Default)]
struct Jobs {
    names: VecDeque<String>,
    /// By id: the source, if it is a remix, and the prompt's name.
    jobs: HashMap<String, Option<String>>,
    newest_first: VecDeque<String>,
    targets: Vec<String>,
    loses_answers: bool,
}

#[derive(Clone)]
pub struct Channel {
    pub address: SocketAddr,
    jobs: Arc<Mutex<Jobs>>,
    holds_answers: watch::Sender<bool>,
}

impl Channel {
    /// Its jobs get these ids, in turn.
    pub async fn naming<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jobs = Jobs {
            names: names.into_iter().map(Into::into).collect(),
            ..Jobs::default()
        };
        let channel = Self {
            address: listener.local_addr().unwrap(),
            jobs: Arc::new(Mutex::new(jobs)),
            holds_answers: watch::Sender::new(false),
        };
        let server = channel.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        channel
    }

    /// Creates are carried out and not answered.
    pub fn lose_answers(&self, yes: bool) {
        self.jobs.lock().unwrap().loses_answers = yes;
    }

    /// Creates are carried out, and answered once this is over.
    pub fn hold_answers(&self, yes: bool) {
        self.holds_answers.send_replace(yes);
    }

    /// The targets of all requests, as they came.
    pub fn targets(&self) -> Vec<String> {
        self.jobs.lock().unwrap().targets.clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let mut chunk = vec![0; 65536];
        while let Ok(n @ 1..) = stream.read(&mut chunk).await {
            request.extend_from_slice(&chunk[..n]);
            let Some((head, length)) = complete(&request) else {
                continue;
            };
            request.drain(..length);
            let mut words = head.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let Some((status, body)) = self.answer(method, target, &head) else {
                return;
            };
            if method == "POST" {
                let mut holds = self.holds_answers.subscribe();
                holds.wait_for(|holds| !holds).await.unwrap();
            }
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = [head.as_bytes(), body.as_bytes()].concat();
            stream.write_all(&answer).await.unwrap();
        }
    }

    fn answer(&self, method: &str, target: &str, _: &str) -> Option<(u16, String)> {
        let mut jobs = self.jobs.lock().unwrap();
        jobs.targets.push(target.to_owned());
        let path = target.split('?').next().unwrap();
        let segments: Vec<_> = path.split('/').skip(3).map(decoded).collect();
        let segments: Vec<_> = segments.iter().map(String::as_str).collect();
        let create = |jobs: &mut Jobs, source: Option<&str>| {
            let id = jobs.names.pop_front().expect("a name for each job");
            jobs.jobs.insert(id.clone(), source.map(String::from));
            jobs.newest_first.push_front(id.clone());
            (!jobs.loses_answers).then(|| (200, job(&id, source, "queued")))
        };
        match (method, &segments[..]) {
            ("POST", []) => create(&mut jobs, None),
            ("POST", [source, "remix"]) if jobs.jobs.contains_key(*source) => {
                let source = (*source).to_owned();
                create(&mut jobs, Some(&source))
            }
            ("GET", []) => {
                let listed = jobs.newest_first.iter();
                let listed = listed.map(|id| job(id, jobs.jobs[id].as_deref(), "completed"));
                let data = listed.collect::<Vec<_>>().join(",");
                Some((200, format!(r#"{{"data":[{data}],"has_more":false}}"#)))
            }
            ("GET", [id]) if jobs.jobs.contains_key(*id) => {
                Some((200, job(id, jobs.jobs[*id].as_deref(), "completed")))
            }
            ("GET", [id, "content"]) if jobs.jobs.contains_key(*id) => {
                Some((200, format!("the film of {id}")))
            }
            ("DELETE", [id]) if jobs.jobs.remove(*id).is_some() => {
                let id = Value::from(*id);
                Some((200, format!(r#"{{"id":{id},"deleted":true,{TAIL}}}"#)))
            }
            _ => Some((
                404,
                r#"{"error":{"message":"no such video","code":"x"}}"#.into(),
            )),
        }
    }
}

/// A job in the channel's own words.
fn job(id: &str, source: Option<&str>, status: &str) -> String {
    let (id, source) = (Value::from(id), json!(source));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    format!(
        r#"{{"object":"video","id":{id},"remixed_from_video_id":{source},"model":"sora-2","status":"{status}","prompt":"a cat","seconds":"4","size":"1280x720","created_at":{now},{TAIL}}}"#
    )
}

/// The head and the length of the first request, if all of it is there.
fn complete(request: &[u8]) -> Option<(String, usize)> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        (name.eq_ignore_ascii_case("content-length")).then(|| value.parse::<usize>().unwrap())
    });
    let length = end + length.unwrap_or(0);
    (request.len() >= length).then_some((head, length))
}

fn decoded(segment: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), segment.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let hex = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

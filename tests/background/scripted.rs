//! A channel that says what it is told to say.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::Setup;

/// What it answers to a GET of this target: a status and a body.
type Script = Box<dyn Fn(&str) -> (u16, String) + Send>;

/// Creates are answered with the job `video_1`, or not at all.
pub struct Scripted {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// The targets of all GETs.
    pub asked: Arc<Mutex<Vec<String>>>,
    /// By how many seconds its clock is behind.
    behind: Arc<AtomicU64>,
}

impl Scripted {
    pub async fn start(answers_creates: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Script = Box::new(|_| (500, String::new()));
        let script = Arc::new(Mutex::new(script));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (says, notes) = (script.clone(), asked.clone());
        let behind = Arc::<AtomicU64>::default();
        let clock = behind.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (says, notes) = (says.clone(), notes.clone());
                let clock = clock.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let mut chunk = vec![0; 65536];
                    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                        request.extend_from_slice(&chunk[..n]);
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let (status, body) = if text.starts_with("GET ") {
                            if !text.ends_with("\r\n\r\n") {
                                continue;
                            }
                            let target = text.split(' ').nth(1).unwrap().to_owned();
                            notes.lock().unwrap().push(target.clone());
                            says.lock().unwrap()(&target)
                        } else if !text.ends_with("--\r\n") {
                            continue;
                        } else if answers_creates {
                            let job = r#"{"id":"video_1","object":"video","status":"queued"}"#;
                            (200, job.into())
                        } else {
                            return;
                        };
                        request.clear();
                        let behind = Duration::from_secs(clock.load(Ordering::Relaxed));
                        let date = httpdate::fmt_http_date(SystemTime::now() - behind);
                        let answer = format!(
                            "HTTP/1.1 {status} Said\r\nDate: {date}\r\nContent-Length: \
                             {}\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self {
            address,
            script,
            asked,
            behind,
        }
    }

    /// Sets its clock, which dates its answers, back.
    pub fn is_behind_by(&self, span: Duration) {
        self.behind.store(span.as_secs(), Ordering::Relaxed);
    }

    /// Puts it in the place of the mock channel.
    pub fn behind(&self, setup: Setup) -> Setup {
        setup.replacing("url: http://", &format!("url: http://{} # ", self.address))
    }

    pub fn says(&self, script: impl Fn(&str) -> (u16, String) + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

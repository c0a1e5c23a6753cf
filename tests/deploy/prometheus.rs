//! A Prometheus that scrapes the gate of a test, and answers its questions.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::rules::repository;
use crate::support::client::Request;
use crate::support::folder::Folder;
use crate::support::until;

/// A sample: its labels and its value.
pub type Sample = (BTreeMap<String, String>, f64);

/// A server of its own, which ends with the test.
pub struct Prometheus {
    server: Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Prometheus {
    /// Starts the server with what `conf/prometheus` has, scraping this admin address several times a
    /// second.
    pub async fn start(program: &Path, admin: SocketAddr) -> Self {
        let prometheus = tokio::task::block_in_place(|| Self::spawn(program, admin));
        until("Prometheus is ready", async || {
            let asked = Request::get("/-/ready").send(prometheus.address).await;
            asked.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        prometheus
    }

    fn spawn(program: &Path, admin: SocketAddr) -> Self {
        let (folder, conf) = (Folder::new(), repository().join("conf/prometheus"));
        for file in ["recording.yaml", "alerts.yaml"] {
            std::fs::copy(conf.join(file), folder.join(file)).unwrap();
        }
        let mut config = std::fs::read_to_string(conf.join("prometheus.yaml")).unwrap();
        for (from, to) in [
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 200ms"),
            ("127.0.0.1:9090", &admin.to_string()),
        ] {
            assert!(config.contains(from), "{from}");
            config = config.replacen(from, to, 1);
        }
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let log = BufReader::new(server.stderr.take().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut said = String::new();
        let address = loop {
            let Ok(line) = told.recv_timeout(Duration::from_secs(30)) else {
                let _ = server.kill();
                panic!("Prometheus does not listen: {said}");
            };
            if let Some(address) = listens_on(&line) {
                break address;
            }
            said.push_str(&line);
            said.push('\n');
        };
        Self {
            server,
            address,
            _folder: folder,
        }
    }

    /// Evaluates an expression now.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let path = format!("/api/v1/query?query={}", encode(expression));
        let answer = Request::get(&path).send(self.address).await.unwrap();
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        assert_eq!(answer["warnings"], serde_json::Value::Null, "{expression}");
        let samples = answer["data"]["result"].as_array().unwrap().iter();
        let sample = |sample: &serde_json::Value| {
            let labels = sample["metric"].as_object().unwrap().iter();
            let labels = labels.map(|(name, value)| (name.clone(), text(value)));
            (labels.collect(), text(&sample["value"][1]).parse().unwrap())
        };
        samples.map(sample).collect()
    }

    /// Whether an expression gives any number.
    pub async fn gives_data(&self, expression: &str) -> bool {
        let samples = self.query(expression).await;
        samples.iter().any(|(_, value)| !value.is_nan())
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The address that a line of the server's log says it listens on.
fn listens_on(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("Listening on")?;
    let (_, address) = rest.split_once("address=")?;
    address.split_whitespace().next()?.parse().ok()
}

fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

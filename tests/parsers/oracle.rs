//! The parsers that the gate is compared with, in this process and in others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use serde::Deserialize;

use crate::Read;

/// One body to be read.
#[derive(Debug, Clone)]
pub struct Record {
    pub content_type: String,
    pub body: Vec<u8>,
    /// The size of the pieces in which streaming parsers get it; 0 is whole.
    pub step: u32,
}

/// What a parser says to a body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// It reads this, by the first and by the last value of each name.
    Reads { first: Read, last: Read },
    /// It refuses the body.
    Refuses { error: String },
}

/// The answers to one body by the parsers' names.
pub type Answers = BTreeMap<String, Answer>;

/// Where parsers run.
#[derive(Debug)]
pub enum Oracle {
    /// multer and serde_json.
    Here,
    /// A program that speaks the protocol of `oracle.py`.
    Program(OsString, Vec<OsString>),
}

/// The parsers of which older versions are asked too.
const OLDER: [&str; 3] = ["django", "werkzeug", "tornado"];

impl Oracle {
    /// The oracles that this machine can run, and what is missing for the others.
    pub fn all() -> (Vec<Self>, Vec<String>) {
        let script = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parsers/");
            OsString::from(format!("{folder}{name}"))
        };
        let mut oracles = vec![Self::Here];
        let mut missing = Vec::new();
        let named = |name: &str| OsString::from(name);
        for (variable, what, arguments) in [
            (
                "TOLLGATE_PYTHON",
                "an interpreter with tests/parsers/requirements.txt",
                vec![script("oracle.py")],
            ),
            (
                "TOLLGATE_PYTHON_OLDER_PARSERS",
                "an interpreter with tests/parsers/requirements-older.txt",
                [script("oracle.py")]
                    .into_iter()
                    .chain(OLDER.map(named))
                    .collect(),
            ),
            (
                "TOLLGATE_GO",
                "the go command",
                vec![named("run"), script("oracle.go")],
            ),
            (
                "TOLLGATE_RUBY",
                "a ruby with Rack 2.2",
                vec![script("oracle.rb")],
            ),
            (
                "TOLLGATE_PERL",
                "a perl with CGI, HTTP::Body and HTTP::Entity::Parser",
                vec![script("oracle.pl")],
            ),
        ] {
            match std::env::var_os(variable) {
                Some(program) => oracles.push(Self::Program(program, arguments)),
                None => missing.push(format!("some parsers: {variable} does not name {what}")),
            }
        }
        match std::env::var_os("TOLLGATE_PHP_CGI") {
            Some(php) => oracles.push(Self::Program(
                "python3".into(),
                vec![script("oracle_php.py"), php],
            )),
            None => missing.push("PHP: TOLLGATE_PHP_CGI does not name php-cgi".to_owned()),
        }
        match std::env::var_os("TOLLGATE_NODE_MODULES") {
            Some(modules) => oracles.push(Self::Program(
                "node".into(),
                vec![script("oracle.mjs"), modules],
            )),
            None => missing.push(
                "the Node parsers: TOLLGATE_NODE_MODULES names no node_modules of tests/parsers/package.json"
                    .to_owned(),
            ),
        }
        (oracles, missing)
    }

    /// Its answers to `records`, in their order.
    pub fn ask(&self, records: &[Record]) -> Vec<Answers> {
        match self {
            Self::Here => records.iter().map(here).collect(),
            Self::Program(program, arguments) => elsewhere(program, arguments, records),
        }
    }
}

fn elsewhere(program: &OsString, arguments: &[OsString], records: &[Record]) -> Vec<Answers> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
    let stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let answers: Vec<Answers> = std::thread::scope(|scope| {
        scope.spawn(move || {
            // If the program ends early, the count of its answers tells.
            let _ = write(BufWriter::new(stdin), records);
        });
        BufReader::new(stdout)
            .lines()
            .map(|line| {
                let line = line.expect("the program writes text");
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    });
    let status = child.wait().expect("it was started");
    assert!(status.success(), "{}: {status}", program.display());
    assert_eq!(answers.len(), records.len(), "{}", program.display());
    answers
}

fn write(mut to: impl Write, records: &[Record]) -> std::io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_be_bytes);
    for record in records {
        to.write_all(&record.step.to_be_bytes())?;
        for bytes in [record.content_type.as_bytes(), &record.body] {
            to.write_all(&length(bytes).map_err(std::io::Error::other)?)?;
            to.write_all(bytes)?;
        }
    }
    to.flush()
}

fn here(record: &Record) -> Answers {
    let (name, read) = if record.content_type.to_lowercase().contains("json") {
        ("serde_json", serde_json_reads(&record.body))
    } else {
        ("multer", multer_reads(&record.content_type, &record.body))
    };
    let answer = match read {
        Ok((first, last)) => Answer::Reads { first, last },
        Err(error) => Answer::Refuses { error },
    };
    Answers::from([(name.to_owned(), answer)])
}

fn serde_json_reads(body: &[u8]) -> Result<(Read, Read), String> {
    let document: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut read = Read::default();
    for (name, value) in document {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        if let Some(place) = read.place(&name) {
            *place = Some(text);
        }
    }
    Ok((read.clone(), read))
}

/// What an application built on multer reads: by the first and by the last of each name.
pub fn multer_reads(content_type: &str, body: &[u8]) -> Result<(Read, Read), String> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| error.to_string())?;
    let stream = BodyDataStream::new(Full::new(Bytes::copy_from_slice(body)));
    let mut form = multer::Multipart::new(stream, boundary);
    let (mut first, mut last) = (Read::default(), Read::default());
    at_once(async {
        while let Some(field) = form.next_field().await? {
            let name = field.name().unwrap_or_default().to_owned();
            let is_file = field.file_name().is_some();
            let bytes = field.bytes().await?;
            let value = if is_file {
                "<file>".to_owned()
            } else {
                String::from_utf8_lossy(&bytes).into_owned()
            };
            if let Some(place) = first.place(&name) {
                place.get_or_insert_with(|| value.clone());
            }
            if let Some(place) = last.place(&name) {
                *place = Some(value);
            }
        }
        Ok::<(), multer::Error>(())
    })
    .map_err(|error| error.to_string())?;
    Ok((first, last))
}

/// Runs a future whose input is all there, so that it never has to wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the parser waits for more input")
}

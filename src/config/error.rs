//! The problems of a configuration, with their places.

use std::fmt;
use std::sync::Arc;

use serde_saphyr::Location;

use super::yaml;

/// The error of an invalid configuration: at least one problem, sorted by file and place. It is printed
/// with one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct Error {
    problems: Vec<Problem>,
}

/// A problem of a configuration. Never contains the text of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the file that has the problem: the configuration file, or a file of client keys.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 for a problem of the file as a whole.
    pub line: u64,
    /// The column in characters, counted from 1; 0 for a problem of the file as a whole.
    pub column: u64,
    /// The description of the problem.
    pub message: String,
    /// The advice on how to correct the problem; `None` if the message suffices.
    pub hint: Option<String>,
}

impl Error {
    /// Returns all problems: those of the main file first, those of one file from top to bottom.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Writes `file:line:column: message (hint)`, on one line.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The proof that a problem was reported. A function that cannot build its value must return this, so
/// that no part of a configuration is left out without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported(());

/// The collection of problems that are found while a configuration is built, file by file.
pub(super) struct Problems {
    files: Vec<Arc<str>>,
    found: Vec<(usize, Problem)>,
}

impl Problems {
    /// Makes an empty list of problems. Later reports name `file`, until the next [`enter`](Self::enter).
    pub fn new(file: &str) -> Self {
        Self {
            files: vec![file.into()],
            found: Vec::new(),
        }
    }

    /// Changes the current file: later reports name `file`.
    pub fn enter(&mut self, file: &str) {
        self.files.push(file.into());
    }

    /// Returns the place `at` in the current file as messages write it: `file:line:column`.
    pub fn place(&self, at: Location) -> String {
        let file = self.files.last().map_or("", |file| file);
        format!("{file}:{}:{}", at.line(), at.column())
    }

    /// Reports a problem at the place `at`. The message says what to do.
    pub fn report(&mut self, at: Location, message: impl Into<String>) -> Reported {
        self.push(at, message.into(), None)
    }

    /// Reports a problem at the place `at`, with a hint that says what to do.
    pub fn report_hint(
        &mut self,
        at: Location,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Reported {
        self.push(at, message.into(), Some(hint.into()))
    }

    /// Reports a problem of the current file as a whole.
    pub fn report_file(&mut self, message: impl Into<String>) -> Reported {
        self.push(Location::UNKNOWN, message.into(), None)
    }

    /// Reports the error that ended the reading of the current file's YAML.
    pub fn report_yaml(&mut self, error: &serde_saphyr::Error) -> Reported {
        let (message, hint) = yaml::explain(error);
        let at = error.location().unwrap_or(Location::UNKNOWN);
        self.push(at, message, hint)
    }

    fn push(&mut self, at: Location, message: String, hint: Option<String>) -> Reported {
        let index = self.files.len() - 1;
        let problem = Problem {
            file: self.files[index].clone(),
            line: at.line(),
            column: at.column(),
            message: one_line(message),
            hint: hint.map(one_line),
        };
        self.found.push((index, problem));
        Reported(())
    }

    /// Returns the value if no problem was reported; otherwise an error with all problems, sorted by place.
    pub fn finish<T>(mut self, value: Result<T, Reported>) -> Result<T, Error> {
        match value {
            Ok(value) if self.found.is_empty() => Ok(value),
            _ => {
                self.found
                    .sort_by_key(|(index, p)| (*index, p.line, p.column));
                let problems = self.found.into_iter().map(|(_, p)| p).collect();
                Err(Error { problems })
            }
        }
    }
}

/// Escapes the control characters of a message, such as line breaks and terminal escapes, which a value
/// quoted from the file can contain.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

//! The problems of a configuration, with their places.

use std::fmt;
use std::sync::Arc;

use serde_saphyr::Location;

use super::yaml;

/// The error of a configuration that was refused: at least one problem, sorted by file and place. Printed
/// with one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct Error {
    problems: Vec<Problem>,
}

/// A problem of a configuration. Never holds the text of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the file, as it was given to the program.
    pub file: Arc<str>,
    /// The line, from 1; 0 if the problem is the file as a whole.
    pub line: u64,
    /// The column in characters, from 1; 0 if the problem is the file as a whole.
    pub column: u64,
    /// The problem, in words.
    pub message: String,
    /// The remedy, if the message does not tell it already.
    pub hint: Option<String>,
}

impl Error {
    /// Returns the problems: those of the main file first, each file from top to bottom.
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

/// The proof that a problem was reported. A function that has no value to return returns this, so that no
/// part of a configuration can be lost silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported(());

/// The collection of problems that are found while a configuration is built, file by file.
pub(super) struct Problems {
    files: Vec<Arc<str>>,
    found: Vec<(usize, Problem)>,
}

impl Problems {
    /// Makes an empty list of problems; the following reports are about `file`.
    pub fn new(file: &str) -> Self {
        Self {
            files: vec![file.into()],
            found: Vec::new(),
        }
    }

    /// Makes the following reports about `file`.
    pub fn enter(&mut self, file: &str) {
        self.files.push(file.into());
    }

    /// Returns a place in the present file in the form of messages: `file:line:column`.
    pub fn place(&self, at: Location) -> String {
        let file = self.files.last().map_or("", |file| file);
        format!("{file}:{}:{}", at.line(), at.column())
    }

    /// Reports a problem whose message says what to do.
    pub fn report(&mut self, at: Location, message: impl Into<String>) -> Reported {
        self.push(at, message.into(), None)
    }

    /// Reports a problem and what to do about it.
    pub fn report_hint(
        &mut self,
        at: Location,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Reported {
        self.push(at, message.into(), Some(hint.into()))
    }

    /// Reports a problem of the present file as a whole.
    pub fn report_file(&mut self, message: impl Into<String>) -> Reported {
        self.push(Location::UNKNOWN, message.into(), None)
    }

    /// Reports the error at which reading the file's YAML stopped.
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

    /// Returns the value if no problem was reported; otherwise an error with all problems, sorted.
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

/// Escapes control characters: a value from the file can hold line breaks or terminal escapes, and a
/// message must not.
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

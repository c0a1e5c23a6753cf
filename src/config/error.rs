//! What is wrong with a configuration, and where.

use std::fmt;
use std::sync::Arc;

use serde_saphyr::Location;

use super::yaml;

/// Why a configuration was refused: at least one problem, by file and place.
/// Printed with one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct Error {
    problems: Vec<Problem>,
}

/// One thing that is wrong. Never holds the text of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to the program.
    pub file: Arc<str>,
    /// The line, from 1; 0 where the problem is the file as a whole.
    pub line: u64,
    /// The column in characters, from 1; 0 where the problem is the file as a whole.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to do, where the message does not say it already.
    pub hint: Option<String>,
}

impl Error {
    /// Lists the problems: those of the main file first, each file from top to bottom.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// `file:line:column: message (hint)`, on one line.
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

/// The proof that a problem was reported. Whoever has no value to hand on has this, so
/// that no part can get lost without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported(());

/// Collects what is found while a configuration is built.
pub(super) struct Problems {
    files: Vec<Arc<str>>,
    found: Vec<(usize, Problem)>,
}

impl Problems {
    /// Starts an empty list of problems with the file of that name.
    pub fn new(file: &str) -> Self {
        Self {
            files: vec![file.into()],
            found: Vec::new(),
        }
    }

    /// Makes what is reported from now on about the file of that name.
    pub fn enter(&mut self, file: &str) {
        self.files.push(file.into());
    }

    /// Writes the place as messages have it.
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

    /// Reports why the file as a whole cannot be used.
    pub fn report_file(&mut self, message: impl Into<String>) -> Reported {
        self.push(Location::UNKNOWN, message.into(), None)
    }

    /// Reports what stopped the reading of the file's YAML.
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

    /// Returns the value if nothing was reported, or else the problems.
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

/// A value from the file can hold line breaks or terminal escapes, and a message must not.
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

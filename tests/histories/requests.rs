//! What clients have asked for, and what they were told.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use crate::plan::{MODELS, Plan, SECONDS, SIZES};
use crate::step::{Asked, Create};
use crate::support::client::Answer;
use crate::world::World;

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    InProgress,
    Answered {
        status: u16,
        code: String,
        id: Option<String>,
        replayed: bool,
    },
    /// The client is gone.
    Left,
    /// The gate died over it.
    Crashed,
    /// No answer came, and the gate lives.
    Unanswered,
}

/// A create that was made.
#[derive(Debug, Clone)]
pub struct Made {
    pub create: Create,
    pub asked: Asked,
    pub idem: Option<String>,
    pub source: Option<String>,
    /// When, by the gate's clock.
    pub at: u64,
    /// When, by the true time.
    pub true_at: u64,
    /// When its channel went on with it, by the gate's clock, if it was held.
    pub released_at: Option<u64>,
    /// The configuration in force.
    pub plan: Arc<Plan>,
    pub model: usize,
    pub seconds: u64,
    pub size: usize,
    pub sent: Sent,
    /// The first of those that were made at once.
    pub together: Option<usize>,
}

impl Made {
    pub fn new(
        create: Create,
        idem: Option<String>,
        source: Option<String>,
        world: &World<'_>,
    ) -> Self {
        let asked = create.asked;
        // A remix renders what its source is.
        let of = source.as_ref().and_then(|id| world.source(id));
        let (model, seconds, size) = match of {
            Some(of) => of,
            None => (asked.model, SECONDS[asked.seconds], asked.size),
        };
        let gate = &world.gates[create.gate];
        Self {
            create,
            asked,
            idem,
            source,
            at: gate.time_at(world.now()),
            true_at: world.now(),
            released_at: None,
            plan: world.plan.clone(),
            model,
            seconds,
            size,
            sent: Sent::InProgress,
            together: None,
        }
    }

    /// The job that its client was told of.
    pub fn told(&self) -> Option<&str> {
        match &self.sent {
            Sent::Answered {
                status: 200, id, ..
            } => id.as_deref(),
            _ => None,
        }
    }

    pub fn status(&self) -> Option<u16> {
        match &self.sent {
            Sent::Answered { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What makes two requests under one Idempotency-Key the same.
    pub fn wants(&self) -> (usize, Option<&str>, [usize; 4]) {
        let Asked {
            key,
            model,
            seconds,
            size,
            prompt,
            ..
        } = self.asked;
        let fields = match self.source {
            Some(_) => [0, 0, 0, prompt],
            None => [model, seconds, size, prompt],
        };
        (key, self.source.as_deref(), fields)
    }
}

impl World<'_> {
    /// Model, seconds and size of a job that a client was told of, as they stand in its charge. A gate may
    /// still know a job that its ledger has forgotten.
    fn source(&self, id: &str) -> Option<(usize, u64, usize)> {
        let mut rows = self.rows.iter().chain(&self.forgotten);
        let row = rows.find(|row| row.job.as_deref() == Some(id))?;
        let size = SIZES.iter().position(|size| *size == row.size)?;
        let model = MODELS.iter().position(|(name, _)| *name == row.model)?;
        Some((model, row.seconds, size))
    }

    pub fn note_answer(&mut self, number: usize, answer: io::Result<Answer>) {
        self.made[number].sent = match answer {
            Ok(answer) => {
                let body: serde_json::Value =
                    serde_json::from_slice(&answer.body).unwrap_or_default();
                let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
                Sent::Answered {
                    status: answer.status,
                    code: text(&body["error"]["code"]).unwrap_or_default(),
                    id: text(&body["id"]),
                    replayed: answer.header("idempotent-replayed").is_some(),
                }
            }
            Err(_) => Sent::Unanswered,
        };
    }
}

/// An id as it stands in a path.
pub fn encoded(id: &str) -> String {
    let mut path = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(byte.into());
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

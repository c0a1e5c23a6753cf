//! The table.

use super::load::{Done, count};
use super::works::Work;

/// The middle, and the quarter and three quarter points.
pub struct Spread {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| values[(values.len() - 1) * quarters / 4];
        Self {
            low: at(1),
            middle: at(2),
            high: at(3),
        }
    }

    fn text(&self) -> String {
        format!("{:.3} ({:.3} to {:.3})", self.middle, self.low, self.high)
    }
}

/// The rounds of one work: the gate's and the pass-through's, side by side.
pub struct Rounds {
    pub work: Work,
    pub gate: Vec<Done>,
    pub bare: Vec<Done>,
}

impl Rounds {
    fn ratio(&self, of: impl Fn(&Done) -> f64) -> Spread {
        let pairs = self.gate.iter().zip(&self.bare);
        Spread::of(pairs.map(|(gate, bare)| of(gate) / of(bare)).collect())
    }

    /// A row: what the gate does for a CPU second, beside the pass-through.
    fn row(&self) -> String {
        let cost = |done: &[Done]| {
            let costs = done.iter().map(|done| 1e6 / done.per_cpu_second());
            Spread::of(costs.collect()).middle
        };
        let by_cpu = self.ratio(Done::per_cpu_second);
        let by_clock = self.ratio(Done::per_second);
        format!(
            "| {} | {} | {} | {} | {:.1} | {:.1} |",
            self.work.name,
            target(
                by_cpu.text(),
                self.work.target.is_none_or(|t| by_cpu.middle >= t)
            ),
            self.work.target.map_or(String::new(), |t| t.to_string()),
            by_clock.text(),
            cost(&self.gate),
            cost(&self.bare),
        )
    }
}

fn target(text: String, reached: bool) -> String {
    if reached { text } else { format!("**{text}**") }
}

pub const MORE_KIB: f64 = 16.0;
pub const SCANNER: f64 = 0.8;

/// Everything, in Markdown.
pub fn table(rounds: &[Rounds], kib: &[(f64, f64)], scanner: Spread) -> String {
    let mut text = String::from(
        "| gate / pass-through | per CPU second | target | per second | CPU us each: gate | \
         pass-through |\n|---|---|---|---|---|---|\n",
    );
    for rounds in rounds {
        text.push_str(&rounds.row());
        text.push('\n');
    }
    let middle = |of: fn(&(f64, f64)) -> f64| Spread::of(kib.iter().map(of).collect()).middle;
    let (gate, bare) = (middle(|kib| kib.0), middle(|kib| kib.1));
    let more = Spread::of(kib.iter().map(|(gate, bare)| gate - bare).collect()).middle;
    text.push_str(&format!(
        "\n| resident memory for an upload in flight | gate | pass-through | more | target |\n\
         |---|---|---|---|---|\n| KiB, {} uploads of 4 MiB half-way | {gate:.1} | {bare:.1} | {} \
         | at most {MORE_KIB} |\n\n| scanner | share of memmem's speed | target |\n|---|---|---|\n\
         | 4 MiB file, 64 KiB chunks | {} | {SCANNER} |",
        super::memory::UPLOADS,
        target(format!("{more:.1}"), more <= MORE_KIB),
        target(scanner.text(), scanner.middle >= SCANNER),
    ));
    let requests: u64 = rounds
        .iter()
        .flat_map(|rounds| rounds.gate.iter().chain(&rounds.bare))
        .map(|done| done.requests)
        .sum();
    format!("{text}\n\nRequests in all: {:.0}.", count(requests))
}

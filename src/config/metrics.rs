//! The settings of the metrics: which labels the cost metrics have.

use super::error::{Problems, Reported};
use super::file;
use crate::metrics::CostLabels;

/// The settings of the metrics: which labels the cost metrics have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsOptions {
    /// The optional labels of the cost metrics. The labels `event` and `currency` cannot be left out.
    pub cost_labels: CostLabels,
}

impl MetricsOptions {
    /// Builds the settings from the file. Without `cost_labels`, the cost metrics have all labels.
    pub(super) fn build(
        file: Option<file::Metrics>,
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let Some(names) = file.and_then(|metrics| metrics.cost_labels) else {
            return Ok(Self::default());
        };
        let mut cost_labels = CostLabels::NONE;
        let mut wrong = None;
        for name in &names {
            match cost_labels.by_name(&name.value) {
                Some(shown) => *shown = true,
                None => {
                    let message = "this is no label of costs that can be left out";
                    let hint = format!("write some of {}", CostLabels::NAMES.join(", "));
                    wrong = Some(problems.report_hint(name.referenced, message, hint));
                }
            }
        }
        wrong.map_or(Ok(Self { cost_labels }), Err)
    }
}

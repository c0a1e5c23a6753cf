//! The labels of the cost metrics. Each family has a series for every combination of values that occurs:
//! a thousand keys with a few models, sizes and channels make a hundred thousand series.

/// The choice of the labels that the cost metrics show: `true` for each of them. A label that is left out has
/// an empty value, which Prometheus treats as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostLabels {
    /// Shows the key's name.
    pub key: bool,
    /// Shows the model.
    pub model: bool,
    /// Shows the size.
    pub size: bool,
    /// Shows the channel.
    pub channel: bool,
    /// Shows the group, which only the billed cost has.
    pub group: bool,
}

impl Default for CostLabels {
    fn default() -> Self {
        Self {
            key: true,
            model: true,
            size: true,
            channel: true,
            group: true,
        }
    }
}

impl CostLabels {
    /// The settings that leave out all five labels.
    pub const NONE: Self = Self {
        key: false,
        model: false,
        size: false,
        channel: false,
        group: false,
    };

    /// The names of the labels that a configuration can choose to show.
    pub const NAMES: [&str; 5] = ["key", "model", "size", "channel", "group"];

    /// Returns the names of the labels that are shown.
    pub fn names(&self) -> Vec<&'static str> {
        let shown = [self.key, self.model, self.size, self.channel, self.group];
        let names = Self::NAMES.into_iter().zip(shown);
        names
            .filter_map(|(name, is_shown)| is_shown.then_some(name))
            .collect()
    }

    /// Returns the field of the label `name`, for the caller to set; `None` if there is no such label.
    pub fn by_name(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "key" => Some(&mut self.key),
            "model" => Some(&mut self.model),
            "size" => Some(&mut self.size),
            "channel" => Some(&mut self.channel),
            "group" => Some(&mut self.group),
            _ => None,
        }
    }

    /// Returns `labels` with empty values for those that are left out. `labels` are the values of key, model,
    /// size, channel, event, group and currency.
    pub(super) fn shown<'a>(&self, labels: [&'a str; 7]) -> [&'a str; 7] {
        let [key, model, size, channel, event, group, currency] = labels;
        let shown = |is_shown, label| if is_shown { label } else { "" };
        [
            shown(self.key, key),
            shown(self.model, model),
            shown(self.size, size),
            shown(self.channel, channel),
            event,
            shown(self.group, group),
            currency,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_left_out_by_its_name() {
        let labels = ["a", "b", "c", "d", "posted", "f", "CNY"];
        assert_eq!(CostLabels::default().shown(labels), labels);
        assert_eq!(
            CostLabels::NONE.shown(labels),
            ["", "", "", "", "posted", "", "CNY"]
        );
        for (name, at) in CostLabels::NAMES.into_iter().zip([0, 1, 2, 3, 5]) {
            let mut one = CostLabels::NONE;
            *one.by_name(name).unwrap() = true;
            let shown = one.shown(labels);
            assert_eq!(shown[at], labels[at]);
            assert_eq!(one.names(), [name]);
            assert_eq!(shown.iter().filter(|label| !label.is_empty()).count(), 3);
        }
        assert!(CostLabels::default().by_name("event").is_none());
    }
}

//! What a figure is to be, and whether it is.

use serde::{Deserialize, Serialize};

/// A target, and how far beyond it would be excellent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "kebab-case")]
pub(crate) enum Goal {
    /// The more the better; the target itself is enough.
    AtLeast { target: f64, beyond: Option<f64> },
    /// The less the better; the target itself is too much.
    Under { target: f64, beyond: Option<f64> },
}

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    NotMet,
    Met,
    Beyond,
}

impl Goal {
    pub(crate) fn target(self) -> f64 {
        match self {
            Goal::AtLeast { target, .. } | Goal::Under { target, .. } => target,
        }
    }

    pub(crate) fn beyond(self) -> Option<f64> {
        match self {
            Goal::AtLeast { beyond, .. } | Goal::Under { beyond, .. } => beyond,
        }
    }

    pub(crate) fn verdict(self, value: f64) -> Verdict {
        let is_so = |wanted: f64| match self {
            Goal::AtLeast { .. } => value >= wanted,
            Goal::Under { .. } => value < wanted,
        };
        match (is_so(self.target()), self.beyond().is_some_and(is_so)) {
            (false, _) => Verdict::NotMet,
            (true, false) => Verdict::Met,
            (true, true) => Verdict::Beyond,
        }
    }

    /// A wanted value, as it stands in a table.
    pub(crate) fn text(self, wanted: f64, unit: &str) -> String {
        match self {
            Goal::AtLeast { .. } => format!("at least {}", quantity(wanted, unit)),
            Goal::Under { .. } => format!("under {}", quantity(wanted, unit)),
        }
    }
}

impl Verdict {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Verdict::NotMet => "not met",
            Verdict::Met => "met",
            Verdict::Beyond => "met, beyond",
        }
    }
}

/// A value with as many digits as tell something.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let space = if unit.is_empty() { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_a_minimum_is_met_from_itself_on() {
        let goal = Goal::AtLeast {
            target: 0.6,
            beyond: Some(0.77),
        };
        assert_eq!(goal.verdict(0.599), Verdict::NotMet);
        assert_eq!(goal.verdict(0.6), Verdict::Met);
        assert_eq!(goal.verdict(0.77), Verdict::Beyond);
        assert_eq!(goal.verdict(f64::NAN), Verdict::NotMet);
        assert_eq!(goal.text(0.6, ""), "at least 0.60");
    }

    #[test]
    fn a_target_that_is_a_maximum_is_met_below_it_only() {
        let goal = Goal::Under {
            target: 1.5,
            beyond: Some(1.1),
        };
        assert_eq!(goal.verdict(1.5), Verdict::NotMet);
        assert_eq!(goal.verdict(1.49), Verdict::Met);
        assert_eq!(goal.verdict(1.1), Verdict::Met);
        assert_eq!(goal.verdict(1.09), Verdict::Beyond);
        assert_eq!(goal.verdict(f64::NAN), Verdict::NotMet);
        assert_eq!(goal.text(400.0, "MB"), "under 400 MB");
        let only = Goal::Under {
            target: 400.0,
            beyond: None,
        };
        assert_eq!(only.verdict(1.0), Verdict::Met);
    }

    #[test]
    fn quantities_have_as_many_digits_as_tell_something() {
        let texts = [0.123, 12.34, 1_234.5].map(|value| quantity(value, "B"));
        assert_eq!(texts, ["0.12 B", "12.3 B", "1234 B"]);
    }
}

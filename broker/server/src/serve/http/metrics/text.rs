//! The text format of Prometheus, version 0.0.4.
//!
//! Written by hand: the figures are gathered anew for each scrape, so a registry that keeps them
//! would be a second copy of them, and the format is three kinds of lines.

use std::fmt::{self, Write};

/// What a figure does over time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A sum and a count.
    Summary,
}

/// Text in the making.
#[derive(Default)]
pub(super) struct Text {
    out: String,
    family: &'static str,
}

impl Text {
    /// Begins a family of samples.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A sample of the family that was begun; `suffix` is `_sum` or `_count` in a summary.
    pub(super) fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl fmt::Display,
    ) {
        let family = self.family;
        self.put(format_args!("{family}{suffix}"));
        for (index, (name, label)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let label = Escaped(label);
            self.put(format_args!("{before}{name}=\"{label}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{after} {value}\n"));
    }

    /// A family of one sample without labels.
    pub(super) fn one(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &str,
        value: impl fmt::Display,
    ) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn put(&mut self, arguments: fmt::Arguments<'_>) {
        self.out
            .write_fmt(arguments)
            .expect("writing to a string does not fail");
    }
}

/// A label's value as it stands between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        let mut text = Text::default();
        text.family("a", Kind::Gauge, "A.");
        text.sample("", &[("x", "a\"b\\c\nd"), ("y", "")], 0.5);
        let lines = "# HELP a A.\n# TYPE a gauge\na{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.5\n";
        assert_eq!(text.finish(), lines);
    }
}

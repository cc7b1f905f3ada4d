//! Pages with results: one file each that needs nothing else, no network, no script.
//!
//! Everything that comes from a result is escaped; charts are drawn as inline SVG, coloured by the
//! page's style, which knows light and dark.

mod axis;
mod bullet;
mod chart;
mod run_page;
mod suite_page;

use std::fmt::{self, Display, Write};

pub(crate) use self::run_page::run_page;
pub(crate) use self::suite_page::suite_page;
use crate::charts::Charts;
use crate::report::origin::Origin;

const STYLE: &str = include_str!("html/style.css");

/// A page around its content.
fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{content}\
         </main>\n</body>\n</html>\n",
        Escaped(title)
    )
}

/// What was measured with, when and where.
fn facts(origin: &Origin, further: &[(&str, String)]) -> String {
    let machine = &origin.machine;
    let own = [
        ("Version", origin.build()),
        ("Measured", origin.date.clone()),
        (
            "Machine",
            format!(
                "{}, {} cores, {} GiB",
                machine.cpu,
                machine.cores,
                machine.memory_bytes >> 30
            ),
        ),
        ("Kernel", format!("Linux {}", machine.kernel)),
    ];
    let facts = further.iter().chain(&own).map(|(name, text)| {
        format!(
            "<div class=\"fact\"><b>{}</b><span>{}</span></div>\n",
            Escaped(name),
            Escaped(text)
        )
    });
    format!(
        "<div class=\"facts\">\n{}</div>\n",
        facts.collect::<String>()
    )
}

/// The charts of a run, side by side; empty when there is nothing to draw.
fn charts(charts: &Charts) -> String {
    let mut parts = String::new();
    if charts.series.iter().any(|series| series.per_s.len() > 1) {
        parts += "<div><h3>Messages a second</h3>\n";
        parts += &chart::rates(&charts.series);
        parts += "</div>\n";
    }
    if !charts.curves.is_empty() {
        parts += "<div><h3>Latency, by the share of messages that took no longer</h3>\n";
        parts += &chart::latencies(&charts.curves);
        parts += "</div>\n";
    }
    if parts.is_empty() {
        return parts;
    }
    format!("<div class=\"charts\">\n{parts}</div>\n")
}

/// Text between tags or quotes.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that needs nothing but itself.
    pub(super) fn assert_is_self_contained(page: &str) {
        for word in [
            "http://", "https://", "src=", "@import", "url(", "<link", "<script",
        ] {
            assert!(!page.contains(word), "the page has {word}");
        }
        assert!(page.len() < 1 << 20, "{} bytes", page.len());
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    }

    #[test]
    fn text_cannot_break_out_of_its_place() {
        let text = Escaped("<a href=\"x\">&").to_string();
        assert_eq!(text, "&lt;a href=&quot;x&quot;&gt;&amp;");
        let page = page("a < b", "");
        assert!(page.contains("<title>a &lt; b</title>"));
        assert_is_self_contained(&page);
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        assert_eq!(charts(&Charts::default()), "");
    }
}

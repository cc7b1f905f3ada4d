//! The page of one run: its table and its charts.

use super::{Escaped, charts, facts, page};
use crate::charts::Charts;
use crate::report::origin::Origin;

/// The whole page; `rows`: names and texts of the table.
pub(crate) fn run_page(
    name: &str,
    origin: &Origin,
    rows: &[(&'static str, String)],
    drawn: &Charts,
) -> String {
    let title = format!("Sampan: {name}");
    let mut content = format!("<h1>{}</h1>\n", Escaped(&title));
    content += &facts(origin, &[]);
    let lines = rows.iter().map(|(name, text)| {
        format!(
            "<tr><td>{}</td><td>{}</td></tr>\n",
            Escaped(name.trim()),
            Escaped(text)
        )
    });
    content += &format!(
        "<div class=\"card\"><table>\n{}</table></div>\n",
        lines.collect::<String>()
    );
    let drawn = charts(drawn);
    if !drawn.is_empty() {
        content += &format!("<div class=\"card\">\n{drawn}</div>\n");
    }
    page(&title, &content)
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_is_self_contained;
    use super::*;
    use crate::charts::Series;

    #[test]
    fn the_page_has_the_table_and_the_charts() {
        let rows = [("rate", "5 msg/s".to_owned()), ("load", "a < b".to_owned())];
        let drawn = Charts::default().with_series(Series {
            name: "produce".to_owned(),
            interval_s: 0.1,
            per_s: vec![1, 2, 3],
        });
        let page = run_page("produce", &Origin::here(), &rows, &drawn);
        assert_is_self_contained(&page);
        for text in ["<td>rate</td><td>5 msg/s</td>", "a &lt; b", "<polyline"] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }
}

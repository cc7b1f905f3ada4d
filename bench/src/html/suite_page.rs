//! The page of a suite: the table of targets, and what is behind each row.

use serde_json::Value;

use super::bullet::{bullet, class};
use super::{Escaped, charts, facts, page};
use crate::charts::Charts;
use crate::suite::{Figure, Results, Row, Sample};

/// The whole page.
pub(crate) fn suite_page(results: &Results) -> String {
    let title = "Sampan: performance targets";
    let mut content = format!("<h1>{title}</h1>\n");
    let (met, count) = results.met();
    content += "<p class=\"sub\">Medians, with the spread of all turns. The thick mark of a bar \
                is the target, the short one what would be excellent.</p>\n";
    if let Some(latest) = results.rows.iter().max_by_key(|row| &row.origin.date) {
        let further = [("Targets met", format!("{met} of {count}"))];
        content += &facts(&latest.origin, &further);
    }
    if results.rows.iter().any(|row| row.quick) {
        content += "<p class=\"note\">Some rows were measured with <code>--quick</code>: too few \
                    and too short to say anything.</p>\n";
    }
    content += &table(results);
    content += "<h2>Behind the figures</h2>\n";
    content += &results.rows.iter().map(details).collect::<String>();
    content += "<footer>Charts are those of a turn in the middle. Ratios are those of two steps \
                that followed each other.</footer>\n";
    page(title, &content)
}

fn table(results: &Results) -> String {
    let rows = results.rows.iter();
    let lines = rows.flat_map(|row| row.figures.iter().map(|figure| line(row, figure)));
    format!(
        "<div class=\"card\"><table>\n<tr><th>Row</th><th class=\"n\">Measured</th><th></th>\
         <th class=\"n\">Spread</th><th class=\"n\">Target</th><th class=\"n\">Beyond</th>\
         <th></th></tr>\n{}</table></div>\n",
        lines.collect::<String>()
    )
}

fn line(row: &Row, figure: &Figure) -> String {
    let Figure { goal, unit, .. } = figure;
    let name = match figure.name.as_str() {
        "ratio" => row.id.clone(),
        name => format!("{}: {name}", row.id),
    };
    let beyond = goal.beyond().map(|beyond| goal.text(beyond, unit));
    format!(
        "<tr><td><a href=\"#{}\">{}</a><small>{}</small></td>\
         <td class=\"n\"><b>{}</b></td><td>{}</td>\
         <td class=\"n\">{} to {}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td><span class=\"tag {}\">{}</span></td></tr>\n",
        Escaped(&row.id),
        Escaped(name),
        Escaped(&row.what),
        Escaped(figure.text(figure.median)),
        bullet(figure),
        figure.text(figure.min),
        figure.text(figure.max),
        Escaped(goal.text(goal.target(), unit)),
        Escaped(beyond.unwrap_or_default()),
        class(figure.verdict),
        figure.verdict.text()
    )
}

fn details(row: &Row) -> String {
    let mut all = Charts::default();
    for sample in &row.samples {
        // A result without charts has nothing to draw.
        let found = serde_json::from_value::<Charts>(sample.result.clone()).unwrap_or_default();
        all = all.and(match row.samples.len() {
            1 => found,
            _ => found.within(&sample.name),
        });
    }
    let turns: Vec<_> = row.figures.iter().map(turns).collect();
    format!(
        "<div class=\"card\" id=\"{}\"><h3>{}</h3>\n<p class=\"sub\">{}. {}. {}, {}.</p>\n{}\
         {}</div>\n",
        Escaped(&row.id),
        Escaped(&row.id),
        Escaped(&row.what),
        turns.join("; "),
        Escaped(row.origin.build()),
        Escaped(&row.origin.date),
        charts(&all),
        steps(row)
    )
}

/// What the steps of that turn measured, and how to repeat them.
fn steps(row: &Row) -> String {
    let number = |sample: &Sample, pointer| {
        let number = sample.result.pointer(pointer).and_then(Value::as_u64);
        number.map(|number| number.to_string()).unwrap_or_default()
    };
    let lines = row.samples.iter().map(|sample| {
        format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td><code>{}</code></td></tr>\n",
            Escaped(&sample.name),
            number(sample, "/msgs_per_s"),
            number(sample, "/send_us/p50"),
            number(sample, "/send_us/p99"),
            Escaped(&sample.command)
        )
    });
    format!(
        "<table class=\"steps\">\n<tr><th>Step</th><th class=\"n\">msg/s</th>\
         <th class=\"n\">send p50, us</th><th class=\"n\">send p99, us</th><th>Command</th>\
         </tr>\n{}</table>\n",
        lines.collect::<String>()
    )
}

fn turns(figure: &Figure) -> String {
    let values: Vec<_> = figure
        .values
        .iter()
        .map(|value| figure.text(*value))
        .collect();
    format!("{} by turn: {}", Escaped(&figure.name), values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_is_self_contained;
    use super::*;
    use crate::suite::tests::results;

    #[test]
    fn the_page_needs_nothing_else_and_has_every_row() {
        let page = suite_page(&results());
        assert_is_self_contained(&page);
        for text in [
            "produce-1",
            "sends &lt;on&gt; one node",
            "class=\"tag met\">met<",
            "class=\"tag not-met\">not met<",
            "<polyline",
            "1 of 2",
            "0.50 to 0.80",
            ">400000<",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
        assert!(!page.contains("<on>"));
    }

    #[test]
    fn a_suite_with_many_long_rows_stays_below_a_mebibyte() {
        let mut results = results();
        let row = &mut results.rows[0];
        let per_s: Vec<u64> = (0..300).map(|number| 400_000 + number).collect();
        let points: Vec<_> = (0..22)
            .map(|number| (f64::from(number) * 4.5, 1_000))
            .collect();
        let result = serde_json::json!({
            "series": [{"name": "a", "interval_s": 0.1, "per_s": per_s}],
            "curves": [{"name": "a", "points": points}, {"name": "b", "points": points}],
        });
        row.samples[0].result = result;
        row.samples.push(row.samples[0].clone());
        let row = row.clone();
        results.rows.resize(30, row);
        assert_is_self_contained(&suite_page(&results));
    }
}

//! A bar that shows a figure beside its goal: the median, the spread, and marks for target and
//! beyond.

use crate::suite::{Figure, Verdict};

const WIDTH: f64 = 150.0;
const HEIGHT: f64 = 16.0;

/// What a verdict is called in the style.
pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotMet => "not-met",
        Verdict::Met => "met",
        Verdict::Beyond => "beyond",
    }
}

pub(super) fn bullet(figure: &Figure) -> String {
    let goal = figure.goal;
    let largest = [goal.target(), goal.beyond().unwrap_or(0.0), figure.median];
    let full = largest.into_iter().fold(f64::MIN_POSITIVE, f64::max) * 1.15;
    let place = |value: f64| (value / full * WIDTH).clamp(0.0, WIDTH);
    let mark = |value: f64, from: f64| {
        let x = place(value);
        format!("<line class=\"goal\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{HEIGHT}\"/>")
    };
    let beyond = goal.beyond().map(|beyond| mark(beyond, 9.0));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" style=\"width:{WIDTH}px\" aria-hidden=\"true\">\
         <rect class=\"track\" x=\"0\" y=\"4\" width=\"{WIDTH}\" height=\"8\" rx=\"2\"/>\
         <rect class=\"fill-{}\" x=\"0\" y=\"4\" width=\"{:.1}\" height=\"8\" rx=\"2\"/>\
         <line class=\"range\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"8\" y2=\"8\"/>{}{}</svg>",
        class(figure.verdict),
        place(figure.median),
        place(figure.min),
        place(figure.max),
        mark(goal.target(), 0.0),
        beyond.unwrap_or_default()
    )
}

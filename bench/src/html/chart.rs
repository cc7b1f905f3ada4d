//! Line charts: rates over time, and latencies over the share of messages.

use std::fmt::Write;

use super::Escaped;
use super::axis::{count_text, log_ticks, short, ticks, time_text};
use crate::charts::{Curve, Series};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 230.0;
/// Room for what stands beside the lines.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 36.0;
/// Lines have so many colours; further ones share the last.
const COLOUR_COUNT: usize = 6;
/// Shares that are named at the axis, in percent.
const SHARES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// From values to places.
#[derive(Clone, Copy, Debug)]
struct Frame {
    x_max: f64,
    y_min: f64,
    y_max: f64,
}

impl Frame {
    fn x(self, value: f64) -> f64 {
        LEFT + value / self.x_max.max(1e-9) * (WIDTH - LEFT - RIGHT)
    }

    fn y(self, value: f64) -> f64 {
        let share = (value - self.y_min) / (self.y_max - self.y_min).max(1e-9);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// A chart in the making.
struct Drawing {
    frame: Frame,
    svg: String,
    legend: String,
    line_count: usize,
}

impl Drawing {
    fn new(frame: Frame, label: &str) -> Self {
        Drawing {
            frame,
            svg: format!(
                "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
                Escaped(label)
            ),
            legend: String::new(),
            line_count: 0,
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.svg
            .write_fmt(text)
            .expect("writing to a string does not fail");
    }

    /// A horizontal line and what it stands for.
    fn y_tick(&mut self, value: f64, text: &str) {
        let (y, right) = (self.frame.y(value), WIDTH - RIGHT);
        let at = LEFT - 7.0;
        self.put(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{at}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
            y + 4.0
        ));
    }

    /// A mark at the bottom and what it stands for.
    fn x_tick(&mut self, value: f64, text: &str) {
        let (x, y) = (self.frame.x(value), HEIGHT - BOTTOM);
        self.put(format_args!(
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>\n",
            y + 4.0,
            y + 17.0
        ));
    }

    fn x_axis(&mut self, title: &str) {
        let (y, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        self.put(format_args!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{title}</text>\n",
            HEIGHT - 4.0
        ));
    }

    fn line(&mut self, name: &str, points: impl Iterator<Item = (f64, f64)>) {
        let colour = self.line_count.min(COLOUR_COUNT - 1);
        self.line_count += 1;
        let frame = self.frame;
        let points: Vec<_> = points
            .map(|(x, y)| format!("{:.1},{:.1}", frame.x(x), frame.y(y)))
            .collect();
        let (points, name) = (points.join(" "), Escaped(name));
        self.put(format_args!(
            "<polyline class=\"curve c{colour}\" points=\"{points}\"><title>{name}</title>\
             </polyline>\n"
        ));
        self.legend += &format!("<span><i class=\"c{colour}\"></i>{name}</span>");
    }

    fn finish(self) -> String {
        format!(
            "{}</svg>\n<div class=\"legend\">{}</div>\n",
            self.svg, self.legend
        )
    }
}

/// Rates over time.
pub(super) fn rates(series: &[Series]) -> String {
    // Counts are far below 2^52, where f64 is exact.
    let end = |series: &Series| series.per_s.len() as f64 * series.interval_s;
    let most = |series: &Series| series.per_s.iter().copied().max().unwrap_or(0) as f64;
    let y_ticks = ticks(series.iter().map(most).fold(1.0, f64::max), 4.0);
    let x_max = series.iter().map(end).fold(0.0, f64::max);
    let mut drawing = Drawing::new(
        Frame {
            x_max,
            y_min: 0.0,
            y_max: y_ticks.last().copied().unwrap_or(1.0),
        },
        "messages a second over time",
    );
    for tick in y_ticks {
        drawing.y_tick(tick, &count_text(tick));
    }
    drawing.x_axis("seconds");
    for tick in ticks(x_max, 6.0) {
        if tick <= x_max * 1.001 {
            drawing.x_tick(tick, &short(tick));
        }
    }
    for series in series {
        let rates = (1_u32..).zip(&series.per_s);
        let points = rates.map(|(number, rate)| {
            // In the middle of its interval.
            let at = (f64::from(number) - 0.5) * series.interval_s;
            (at, *rate as f64)
        });
        drawing.line(&series.name, points);
    }
    drawing.finish()
}

/// Latencies over the share of messages: each further nine of the share takes the same room.
pub(super) fn latencies(curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let us = |(_, us): &(f64, u64)| (*us).max(1) as f64;
    let y_ticks = log_ticks(
        points().map(us).fold(f64::INFINITY, f64::min),
        points().map(us).fold(1.0, f64::max),
    );
    let ends = curves.iter().map(|curve| last_place(&curve.points));
    let x_max = ends.fold(1.0, f64::max);
    let first = y_ticks.first().copied().unwrap_or(1.0);
    let last = y_ticks.last().copied().unwrap_or(10.0);
    let mut drawing = Drawing::new(
        Frame {
            x_max,
            y_min: first.log10(),
            y_max: last.log10(),
        },
        "latency by the share of messages",
    );
    for tick in y_ticks {
        drawing.y_tick(tick.log10(), &time_text(tick));
    }
    drawing.x_axis("");
    for share in SHARES {
        if place(share) < x_max - 0.5 {
            drawing.x_tick(place(share), &format!("{share} %"));
        }
    }
    drawing.x_tick(x_max, "max");
    for curve in curves {
        let end = last_place(&curve.points);
        let points = curve.points.iter().map(|point| {
            let place = if point.0 >= 100.0 {
                end
            } else {
                place(point.0)
            };
            (place, us(point).log10())
        });
        drawing.line(&curve.name, points);
    }
    drawing.finish()
}

/// 0 % is at 0, 90 % at 1, 99 % at 2, and so on.
fn place(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).max(1e-9).log10()
}

/// The longest of all stands a little behind the last share that is told apart.
fn last_place(points: &[(f64, u64)]) -> f64 {
    let shares = points.iter().map(|(percent, _)| *percent);
    let last = shares
        .filter(|percent| *percent < 100.0)
        .fold(0.0, f64::max);
    place(last) + 0.6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_takes_the_same_room() {
        for (percent, wanted) in [(0.0, 0.0), (90.0, 1.0), (99.0, 2.0), (99.9, 3.0)] {
            assert!((place(percent) - wanted).abs() < 1e-9, "{percent}");
        }
        assert!(last_place(&[(99.0, 5), (100.0, 9)]) > 2.0);
    }

    #[test]
    fn lines_stay_within_the_chart_and_are_named() {
        let series = Series {
            name: "a & b".to_owned(),
            interval_s: 0.1,
            per_s: vec![0, 1_000, 500],
        };
        let svg = rates(&[series.clone(), series]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &amp; b") && svg.contains("class=\"curve c1\""));
        let curve = Curve {
            name: "send".to_owned(),
            points: vec![(0.0, 0), (50.0, 100), (99.0, 2_000), (100.0, 2_000_000)],
        };
        let svg = latencies(&[curve]);
        assert!(svg.contains(">99 %<") && svg.contains(">max<"), "{svg}");
        assert!(svg.contains(">10 ms<") && !svg.contains("NaN") && !svg.contains("inf"));
    }
}

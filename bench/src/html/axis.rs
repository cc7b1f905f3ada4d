//! Where the ticks of an axis are, and what they say.

/// Round steps from 0 to at least `max`, about `count` of them.
pub(super) fn ticks(max: f64, count: f64) -> Vec<f64> {
    let rough = max.max(1e-9) / count;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let last = (max / step).ceil().max(1.0) as u64;
    // A handful: far below 2^52, where f64 is exact.
    (0..=last).map(|number| number as f64 * step).collect()
}

/// 1, 2 and 5 of each power of ten within the range, and one to either side; only the powers where
/// the range is wide.
pub(super) fn log_ticks(min: f64, max: f64) -> Vec<f64> {
    let (low, high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
    let parts: &[f64] = if high - low > 3 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let powers = (low..=high).map(|power| 10_f64.powi(power));
    let all: Vec<f64> = powers
        .flat_map(|power| parts.iter().map(move |part| part * power))
        .collect();
    let first = all.iter().rposition(|tick| *tick <= min).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= max);
    all[first..=last.unwrap_or(all.len() - 1)].to_vec()
}

/// A count in short.
pub(super) fn count_text(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{} M", short(count / 1e6)),
        count if count >= 1e3 => format!("{} k", short(count / 1e3)),
        count => short(count),
    }
}

/// Microseconds in short.
pub(super) fn time_text(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", short(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", short(us / 1e3)),
        us => format!("{} us", short(us)),
    }
}

/// At most two decimals, and none that are 0.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_over_the_largest_value() {
        assert_eq!(ticks(730_000.0, 4.0), [0.0, 2e5, 4e5, 6e5, 8e5]);
        assert_eq!(ticks(1.0, 4.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(0.0, 4.0).len(), 2);
    }

    #[test]
    fn ticks_of_a_wide_range_are_powers_of_ten() {
        assert_eq!(
            log_ticks(30.0, 900.0),
            [20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]
        );
        let wide = log_ticks(5.0, 2e6);
        assert_eq!(wide, [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn texts_are_short() {
        assert_eq!(count_text(1_250_000.0), "1.25 M");
        assert_eq!(
            (count_text(200_000.0), count_text(0.0)),
            ("200 k".into(), "0".into())
        );
        assert_eq!(
            (time_text(20.0), time_text(2_500.0)),
            ("20 us".into(), "2.5 ms".into())
        );
        assert_eq!(time_text(3e6), "3 s");
    }
}

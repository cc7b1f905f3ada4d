//! Numbers that look random and are the same in every run: splitmix64 of a counter.

/// A number's place among all u64, evenly spread.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number's place from 0 to 1, evenly spread.
pub(crate) fn fraction(number: u64) -> f64 {
    // 53 bits, which f64 holds exactly.
    (mixed(number) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_the_whole_range() {
        let mut counts = [0; 10];
        for number in 0..10_000 {
            counts[(fraction(number) * 10.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)));
    }
}

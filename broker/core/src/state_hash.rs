//! The state hash: one number that replicas compare to notice that they parted ways.
//!
//! It is a hash of what happened, not of what there is: every outcome is folded in as it comes
//! about, so it costs a few instructions per command and nothing per message that is at rest. Since
//! every outcome follows from the state, states that differ show as soon as the difference matters.
//!
//! Multiply and rotate, as FxHash does, with the multiplier of SplitMix64: for a given word a step
//! is one-to-one in the hash, and for a given hash one-to-one in the word. So a difference never
//! fades away while what follows is equal, which a hash of better spread does not promise. It is no
//! defence against somebody who wants two states to collide.
//!
//! Invariant: the value depends on the applied entries only, not on freezes, restores, pages in
//! memory, or how entries came to be applied. Spec: spec/state.md, "State hash".

/// 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const ROTATION: u32 = 29;

/// A hash under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateHash(u64);

/// Before anything happened. Not 0: from there a word of 0 would lead to 0 again.
impl Default for StateHash {
    fn default() -> Self {
        StateHash(MULTIPLIER)
    }
}

impl StateHash {
    pub(crate) fn new(value: u64) -> Self {
        StateHash(value)
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }

    pub(crate) fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(ROTATION) ^ word).wrapping_mul(MULTIPLIER);
    }

    /// Ids that lie side by side, as one word.
    pub(crate) fn fold_run(&mut self, first: u64, count: u64) {
        self.fold(first ^ count.rotate_left(48));
    }

    /// Their length, then the bytes as little-endian words, the last one filled up with zeros.
    pub(crate) fn fold_bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.fold(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(words: &[u64]) -> u64 {
        let mut hash = StateHash::default();
        words.iter().for_each(|word| hash.fold(*word));
        hash.value()
    }

    #[test]
    fn a_word_the_order_and_the_length_all_count() {
        let hashes = [
            hash_of(&[]),
            hash_of(&[1]),
            hash_of(&[1, 0]),
            hash_of(&[0, 1]),
            hash_of(&[1, 2]),
            hash_of(&[2, 1]),
        ];
        for (place, hash) in hashes.iter().enumerate() {
            assert!(!hashes[place + 1..].contains(hash), "at {place}");
        }
    }

    #[test]
    fn a_difference_never_fades_while_what_follows_is_equal() {
        let mut pair = [StateHash::new(7), StateHash::new(7)];
        pair[0].fold(1 << 63);
        pair[1].fold(0);
        for word in 0..100_000 {
            pair.iter_mut().for_each(|hash| hash.fold(word * word));
            assert_ne!(pair[0], pair[1], "after {word}");
        }
    }

    #[test]
    fn bytes_of_other_lengths_differ() {
        let mut hashes: Vec<u64> = Vec::new();
        for len in 0..20 {
            let mut hash = StateHash::default();
            hash.fold_bytes(&[0; 20][..len]);
            assert!(!hashes.contains(&hash.value()));
            hashes.push(hash.value());
        }
    }
}

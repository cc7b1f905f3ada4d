//! One page: which of 4,096 ids are ready again, and how often they were received before.
//!
//! Readiness is one bit each. What is known of an earlier receive is kept in runs, because the
//! messages of one receive mostly come back together; a page of messages that were received one by
//! one costs 16 bytes each until it is evicted.
//!
//! Nearly everything leaves from the low end (a receive takes the lowest id, expiry the oldest), so
//! runs are cut at the front; only a redrive takes from the middle, and may cut one in two.
//!
//! Invariants: runs rise, do not overlap, and cover only ready ids. Spec: spec/state.md, "Pages".

use sampan_protocol::Timestamp;

use crate::fields::{FieldError, Fields, put_varint, unzigzag, zigzag};
use crate::limits::PAGE_COUNT;

const VERSION: u8 = 1;
const WORD_COUNT: usize = PAGE_COUNT as usize / 64;

/// What earlier receives left with a message that is ready again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) receive_count: u32,
    pub(crate) first_received_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u16,
    count: u16,
    received: Received,
}

impl Run {
    fn end(&self) -> u16 {
        self.first + self.count
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    ready: [u64; WORD_COUNT],
    runs: Vec<Run>,
}

impl Page {
    pub(crate) fn new() -> Self {
        Page {
            ready: [0; WORD_COUNT],
            runs: Vec::new(),
        }
    }

    pub(crate) fn ready_count(&self) -> u16 {
        let count: u32 = self.ready.iter().map(|word| word.count_ones()).sum();
        u16::try_from(count).expect("a page has 4,096 ids")
    }

    /// The lowest ready place.
    pub(crate) fn first(&self) -> Option<u16> {
        let word = self.ready.iter().position(|word| *word != 0)?;
        Some(place(word, self.ready[word].trailing_zeros()))
    }

    /// Makes a place ready; false when it was already.
    pub(crate) fn insert(&mut self, place: u16, received: Option<Received>) -> bool {
        let (word, bit) = (usize::from(place / 64), 1 << (place % 64));
        if self.ready[word] & bit != 0 {
            return false;
        }
        self.ready[word] |= bit;
        if let Some(received) = received {
            self.insert_received(place, received);
        }
        true
    }

    fn insert_received(&mut self, place: u16, received: Received) {
        let at = self.runs.partition_point(|run| run.first < place);
        let joins_next = self
            .runs
            .get(at)
            .is_some_and(|next| next.first == place + 1 && next.received == received);
        if at > 0 && self.runs[at - 1].end() == place && self.runs[at - 1].received == received {
            self.runs[at - 1].count += 1;
            if joins_next {
                self.runs[at - 1].count += self.runs[at].count;
                self.runs.remove(at);
            }
        } else if joins_next {
            self.runs[at].first = place;
            self.runs[at].count += 1;
        } else {
            self.runs.insert(
                at,
                Run {
                    first: place,
                    count: 1,
                    received,
                },
            );
        }
    }

    /// The ready places from `first` on, and what is known of each.
    pub(crate) fn ready_from(
        &self,
        first: u64,
    ) -> impl Iterator<Item = (u16, Option<Received>)> + '_ {
        let places = (0..PAGE_COUNT).filter_map(|place| u16::try_from(place).ok());
        let places = places.skip_while(move |place| u64::from(*place) < first);
        let ready = places.filter(|place| self.is_ready(*place));
        ready.map(|place| {
            let at = self.runs.partition_point(|run| run.end() <= place);
            let run = self.runs.get(at).filter(|run| run.first <= place);
            (place, run.map(|run| run.received))
        })
    }

    fn is_ready(&self, place: u16) -> bool {
        self.ready[usize::from(place / 64)] >> (place % 64) & 1 != 0
    }

    /// Takes up to `count_max` ready places below `until`, the lowest first.
    pub(crate) fn take_lowest(
        &mut self,
        until: u16,
        count_max: u64,
        mut each: impl FnMut(u16, Option<Received>),
    ) -> u16 {
        let mut taken = 0u16;
        let mut end = 0;
        let mut run_index = 0;
        'words: for (index, word) in self.ready.iter_mut().enumerate() {
            while *word != 0 {
                let place = place(index, word.trailing_zeros());
                if place >= until || u64::from(taken) == count_max {
                    break 'words;
                }
                *word &= *word - 1;
                taken += 1;
                end = place + 1;
                while self
                    .runs
                    .get(run_index)
                    .is_some_and(|run| run.end() <= place)
                {
                    run_index += 1;
                }
                let run = self.runs.get(run_index).filter(|run| run.first <= place);
                each(place, run.map(|run| run.received));
            }
        }
        self.cut_runs_below(end);
        taken
    }

    /// Takes a ready place from anywhere; what is known of it.
    pub(crate) fn take(&mut self, place: u16) -> Option<Option<Received>> {
        if !self.is_ready(place) {
            return None;
        }
        self.ready[usize::from(place / 64)] &= !(1 << (place % 64));
        let at = self.runs.partition_point(|run| run.end() <= place);
        let run = self.runs.get(at).filter(|run| run.first <= place).copied();
        if let Some(run) = run {
            let before = Run {
                count: place - run.first,
                ..run
            };
            let behind = Run {
                first: place + 1,
                count: run.end() - place - 1,
                ..run
            };
            let rest = [before, behind].into_iter().filter(|run| run.count > 0);
            self.runs.splice(at..=at, rest);
        }
        Some(run.map(|run| run.received))
    }

    fn cut_runs_below(&mut self, end: u16) {
        let whole = self.runs.partition_point(|run| run.end() <= end);
        self.runs.drain(..whole);
        if let Some(run) = self.runs.first_mut()
            && run.first < end
        {
            run.count = run.end() - end;
            run.first = end;
        }
        if self.runs.len() * 4 < self.runs.capacity() {
            self.runs.shrink_to_fit();
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let used: u64 = (0..WORD_COUNT)
            .filter(|word| self.ready[*word] != 0)
            .map(|word| 1 << word)
            .sum();
        out.extend_from_slice(&used.to_le_bytes());
        for word in self.ready.iter().filter(|word| **word != 0) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let (mut end, mut at) = (0, 0i64);
        for run in &self.runs {
            let first_received_at = run.received.first_received_at.0.cast_signed();
            put_varint(out, u64::from(run.first - end));
            put_varint(out, u64::from(run.count));
            put_varint(out, u64::from(run.received.receive_count));
            put_varint(out, zigzag(first_received_at.wrapping_sub(at)));
            (end, at) = (run.end(), first_received_at);
        }
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let used = fields.u64()?;
        let mut page = Page::new();
        for word in (0..WORD_COUNT).filter(|word| used >> word & 1 != 0) {
            page.ready[word] = fields.u64()?;
        }
        let (mut end, mut at) = (0u64, 0i64);
        while !fields.is_empty() {
            let first = end.saturating_add(fields.varint()?);
            let count = fields.varint()?;
            let receive_count = u32::try_from(fields.varint()?).map_err(|_| FieldError::Range)?;
            at = at.wrapping_add(unzigzag(fields.varint()?));
            end = first.saturating_add(count);
            if count == 0 || end > PAGE_COUNT || receive_count == 0 {
                return Err(FieldError::Range);
            }
            let first_received_at = Timestamp(at.cast_unsigned());
            let received = Received {
                receive_count,
                first_received_at,
            };
            let narrow = |value: u64| u16::try_from(value).map_err(|_| FieldError::Range);
            page.runs.push(Run {
                first: narrow(first)?,
                count: narrow(count)?,
                received,
            });
        }
        page.check()?;
        Ok(page)
    }

    /// A page has something ready, and its runs cover only that.
    fn check(&self) -> Result<(), FieldError> {
        let covered = self
            .runs
            .iter()
            .all(|run| (run.first..run.end()).all(|place| self.is_ready(place)));
        if covered && self.first().is_some() {
            Ok(())
        } else {
            Err(FieldError::Range)
        }
    }
}

fn place(word: usize, bit: u32) -> u16 {
    u16::try_from(word * 64 + bit as usize).expect("a page has 64 words")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(receive_count: u32, at: u64) -> Option<Received> {
        Some(Received {
            receive_count,
            first_received_at: Timestamp(at),
        })
    }

    #[test]
    fn neighbours_with_the_same_past_share_a_run_in_whatever_order_they_come() {
        let mut page = Page::new();
        for place in [5, 3, 4, 9, 7, 8, 6] {
            assert!(page.insert(place, received(2, 70)));
        }
        assert!(!page.insert(5, None));
        assert_eq!(page.runs.len(), 1);
        assert_eq!((page.runs[0].first, page.runs[0].count), (3, 7));
    }

    #[test]
    fn the_lowest_leave_first_and_take_their_past_along() {
        let mut page = Page::new();
        (0..4_096).for_each(|place| {
            page.insert(place, received(1, 5).filter(|_| place % 100 >= 50));
        });
        let mut seen = Vec::new();
        assert_eq!(
            page.take_lowest(4_096, 75, |place, past| seen.push((place, past))),
            75
        );
        assert_eq!(seen[49], (49, None));
        assert_eq!(seen[50], (50, received(1, 5)));
        assert_eq!((page.first(), page.runs[0].first), (Some(75), 75));
        assert_eq!(page.take_lowest(80, 75, |_, _| ()), 5);
        assert_eq!(page.ready_count(), 4_096 - 80);
    }

    #[test]
    fn one_may_leave_from_the_middle_and_cuts_its_run() {
        let mut page = Page::new();
        (10..20).for_each(|place| assert!(page.insert(place, received(2, 7))));
        page.insert(30, None);
        assert_eq!(page.take(9), None);
        assert_eq!(page.take(15), Some(received(2, 7)));
        assert_eq!(page.take(15), None, "taken once");
        assert_eq!(page.take(10), Some(received(2, 7)));
        assert_eq!(page.take(19), Some(received(2, 7)));
        assert_eq!(page.take(30), Some(None));
        let runs: Vec<_> = page.runs.iter().map(|run| (run.first, run.count)).collect();
        assert_eq!(runs, [(11, 4), (16, 3)]);
        let mut row = Vec::new();
        page.encode(&mut row);
        assert_eq!(Page::decode(&row), Ok(page));
    }

    #[test]
    fn a_page_row_comes_back_and_the_worst_stays_below_64_kib() {
        let mut page = Page::new();
        for place in 0..4_096u16 {
            let at = if place % 2 == 0 {
                1 << 40
            } else {
                (1 << 40) + 1_400_000_000
            };
            page.insert(place, received(u32::MAX - u32::from(place), at));
        }
        let mut row = Vec::new();
        page.encode(&mut row);
        assert!(row.len() < 65_472, "{}", row.len());
        assert_eq!(Page::decode(&row), Ok(page));
    }

    #[test]
    fn a_page_of_whole_receives_takes_a_small_row() {
        let mut page = Page::new();
        (0..4_096u16).for_each(|place| {
            page.insert(place, received(1, 1_000_000 + u64::from(place / 256)));
        });
        let mut row = Vec::new();
        page.encode(&mut row);
        assert!(row.len() < 700, "{}", row.len());
    }

    #[test]
    fn a_row_whose_runs_cover_what_is_not_ready_is_refused() {
        let mut page = Page::new();
        page.insert(7, received(1, 9));
        page.ready[0] = 1 << 8;
        let mut row = Vec::new();
        page.encode(&mut row);
        assert_eq!(Page::decode(&row), Err(FieldError::Range));
    }
}

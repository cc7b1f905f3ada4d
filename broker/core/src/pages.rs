//! Messages that are ready and were not always: they came back, or fell due. By pages of ids.
//!
//! The directory (page number to ready count) is always here; a page itself may be evicted after a
//! checkpoint, and comes back through `Need` and `supply` before anything touches it. So memory
//! grows by some 50 bytes per 4,096 such messages.
//!
//! A page with nothing ready does not exist: what is in flight keeps its own past in its lease.
//!
//! Pages of what was purged are buried: out of sight for everything but `take_buried`.
//!
//! Invariants: the directory counts what the pages hold; only a page whose row is stored and equal
//! is evicted; `ready_count` is the sum of the directory without what is buried; no page is both.
//! Spec: spec/state.md, "Pages"; spec/semantics.md, "Purge".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_protocol::MessageId;

use crate::fields::{FieldError, Fields};
use crate::limits::PAGE_COUNT;
use crate::page::{Page, Received};
use crate::row_changes::RowChanges;

const VERSION: u8 = 1;
/// Pages of one directory row.
const DIRECTORY_PAGE_COUNT: u64 = 256;
/// The end of the places of a page.
const PLACE_END: u16 = PAGE_COUNT as u16;
const RESIDENT: &str = "the pages an entry touches were made resident before it is applied";

#[derive(Debug)]
struct Held {
    ready_count: u16,
    /// `None` while evicted.
    page: Option<Arc<Page>>,
    /// Listed in `changes`: no freeze has seen it as it is.
    changed: bool,
    /// Some freeze has seen it, so its row may exist.
    stored: bool,
    /// In the last freeze, which is not durable yet.
    frozen: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Pages {
    held: BTreeMap<u64, Held>,
    ready_count: u64,
    evicted_count: usize,
    buried: BTreeMap<u64, Held>,
    buried_evicted_count: usize,
    changes: RowChanges,
    directory_changes: BTreeSet<u64>,
}

impl Pages {
    pub(crate) fn ready_count(&self) -> u64 {
        self.ready_count
    }

    /// Pages that are not in memory, buried ones included.
    pub(crate) fn evicted_count(&self) -> usize {
        self.evicted_count + self.buried_evicted_count
    }

    /// Pages in memory, without buried ones: these go soon.
    pub(crate) fn resident_count(&self) -> usize {
        self.held.len() - self.evicted_count
    }

    pub(crate) fn is_evicted(&self, page_number: u64) -> bool {
        let held = self.held.get(&page_number);
        held.or_else(|| self.buried.get(&page_number))
            .is_some_and(|held| held.page.is_none())
    }

    /// Page numbers and ready counts, lowest first, of the pages that lie below id `until`.
    pub(crate) fn directory_below(&self, until: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let pages = self.held.range(..until.div_ceil(PAGE_COUNT));
        pages.map(|(number, held)| (*number, u64::from(held.ready_count)))
    }

    /// Number, ready count and page, if it is in memory, of those with ids from `from` up to
    /// `until`.
    pub(crate) fn range(
        &self,
        from: u64,
        until: u64,
    ) -> impl Iterator<Item = (u64, u64, Option<&Page>)> + '_ {
        let pages = self
            .held
            .range(from / PAGE_COUNT..until.div_ceil(PAGE_COUNT));
        pages.map(|(number, held)| {
            let page = held.page.as_deref();
            (*number, u64::from(held.ready_count), page)
        })
    }

    /// The lowest ready id at or after `from`; of an evicted page, where that page begins.
    pub(crate) fn lowest_from(&self, from: u64) -> Option<u64> {
        let (number, held) = self.held.range(from / PAGE_COUNT..).next()?;
        let place = held
            .page
            .as_ref()
            .and_then(|page| page.first())
            .unwrap_or(0);
        Some((number * PAGE_COUNT + u64::from(place)).max(from))
    }

    /// Every ready id, ascending. Only pages in memory may be asked for.
    pub(crate) fn ready_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.iter().flat_map(|(number, held)| {
            let page = held.page.as_ref().expect(RESIDENT);
            let places = page.ready_from(0).map(|(place, _)| u64::from(place));
            places.map(move |place| number * PAGE_COUNT + place)
        })
    }

    /// Makes a message ready.
    pub(crate) fn put(&mut self, id: MessageId, received: Option<Received>) {
        let (number, place) = split(id.0);
        let held = self.held.entry(number).or_insert_with(|| Held {
            ready_count: 0,
            page: Some(Arc::new(Page::new())),
            changed: false,
            stored: false,
            frozen: false,
        });
        let page = Arc::make_mut(held.page.as_mut().expect(RESIDENT));
        if page.insert(place, received) {
            held.ready_count += 1;
            self.ready_count += 1;
        }
        self.settle(number);
    }

    /// Takes up to `count_max` ready messages of the lowest page, below id `until`.
    pub(crate) fn take_lowest(
        &mut self,
        from: u64,
        until: u64,
        count_max: u64,
        mut each: impl FnMut(MessageId, Option<Received>),
    ) -> u64 {
        let Some((&number, held)) = self.held.range_mut(from / PAGE_COUNT..).next() else {
            return 0;
        };
        let first = number * PAGE_COUNT;
        if until <= first {
            return 0;
        }
        let until = u16::try_from((until - first).min(PAGE_COUNT)).expect("a page is small");
        let page = held.page.as_mut().expect(RESIDENT);
        if page.first().is_none_or(|place| place >= until) {
            return 0;
        }
        let taken = Arc::make_mut(page).take_lowest(until, count_max, |place, received| {
            each(MessageId(first + u64::from(place)), received);
        });
        held.ready_count -= taken;
        self.ready_count -= u64::from(taken);
        if taken > 0 {
            self.settle(number);
        }
        u64::from(taken)
    }

    /// Takes one message, if it is ready and not buried; what is known of it.
    pub(crate) fn take(&mut self, id: MessageId) -> Option<Option<Received>> {
        let (number, place) = split(id.0);
        let held = self.held.get_mut(&number)?;
        let taken = Arc::make_mut(held.page.as_mut().expect(RESIDENT)).take(place)?;
        held.ready_count -= 1;
        self.ready_count -= 1;
        self.settle(number);
        Some(taken)
    }

    /// Buries every page. None of them may hold an id that is given later.
    pub(crate) fn bury(&mut self) {
        let pages = std::mem::take(&mut self.held);
        if self.buried.is_empty() {
            self.buried = pages;
        } else {
            self.buried.extend(pages);
        }
        self.buried_evicted_count += std::mem::take(&mut self.evicted_count);
        self.ready_count = 0;
    }

    pub(crate) fn has_buried(&self) -> bool {
        !self.buried.is_empty()
    }

    /// Page numbers and counts of buried messages, lowest first.
    pub(crate) fn buried(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let pages = self.buried.iter();
        pages.map(|(number, held)| (*number, u64::from(held.ready_count)))
    }

    /// Takes buried messages, the lowest page first, until `work` is used up.
    pub(crate) fn take_buried(&mut self, work: &mut u64, mut each: impl FnMut(MessageId)) {
        while *work > 0
            && let Some((&number, held)) = self.buried.iter_mut().next()
        {
            let first = number * PAGE_COUNT;
            let page = Arc::make_mut(held.page.as_mut().expect(RESIDENT));
            let taken = page.take_lowest(PLACE_END, *work, |place, _| {
                each(MessageId(first + u64::from(place)));
            });
            held.ready_count -= taken;
            *work -= u64::from(taken);
            self.settle(number);
        }
    }

    /// After a change of one page: drops it when empty, lists it and its directory row as changed.
    fn settle(&mut self, number: u64) {
        let pages = match self.held.contains_key(&number) {
            true => &mut self.held,
            false => &mut self.buried,
        };
        let Some(held) = pages.get_mut(&number) else {
            return;
        };
        self.directory_changes.insert(number / DIRECTORY_PAGE_COUNT);
        if held.ready_count == 0 {
            self.changes.on_removal(number, held.stored);
            pages.remove(&number);
        } else if !held.changed {
            held.changed = true;
            self.changes.on_change(number);
        }
    }

    /// Takes in the row of an evicted page. A page that is here, or gone by now, stays as it is.
    pub(crate) fn supply(&mut self, number: u64, row: &[u8]) -> Result<(), FieldError> {
        let (held, evicted_count) = match self.held.get_mut(&number) {
            None => (self.buried.get_mut(&number), &mut self.buried_evicted_count),
            held => (held, &mut self.evicted_count),
        };
        let Some(held) = held.filter(|held| held.page.is_none()) else {
            return Ok(());
        };
        let page = Page::decode(row)?;
        if page.ready_count() != held.ready_count {
            return Err(FieldError::Range);
        }
        held.page = Some(Arc::new(page));
        *evicted_count -= 1;
        Ok(())
    }

    /// The last freeze is durable: what it saw may be evicted.
    pub(crate) fn on_checkpoint(&mut self) {
        self.held.values_mut().for_each(|held| held.frozen = false);
    }

    /// Evicts up to `count_max` pages, the highest first, and keeps the lowest `kept`.
    pub(crate) fn evict(&mut self, count_max: usize, kept: usize) -> usize {
        let resident = self
            .held
            .values_mut()
            .filter(|held| held.page.is_some())
            .skip(kept);
        let clean: Vec<&mut Held> = resident
            .filter(|held| held.stored && !held.changed && !held.frozen)
            .collect();
        let evicted = clean.len().min(count_max);
        clean
            .into_iter()
            .rev()
            .take(evicted)
            .for_each(|held| held.page = None);
        self.evicted_count += evicted;
        evicted
    }

    /// Hands over the pages that changed since the last freeze; `None` for those that are gone.
    pub(crate) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Arc<Page>>)) {
        let (changed, gone) = self.changes.take();
        gone.into_iter().for_each(|number| each(number, None));
        for number in changed {
            let held = match self.held.get_mut(&number) {
                None => self.buried.get_mut(&number),
                held => held,
            };
            let held = held.expect("what is listed as changed exists");
            held.changed = false;
            held.stored = true;
            held.frozen = true;
            each(number, held.page.clone());
        }
    }

    /// Hands over the directory rows that changed since the last freeze.
    pub(crate) fn freeze_directory(&mut self, mut each: impl FnMut(u64, Option<Directory>)) {
        for row in std::mem::take(&mut self.directory_changes) {
            let directory = self.directory(row);
            each(row, (!directory.0.is_empty()).then_some(directory));
        }
    }

    fn directory(&self, row: u64) -> Directory {
        let pages = row * DIRECTORY_PAGE_COUNT..(row + 1) * DIRECTORY_PAGE_COUNT;
        let entry = |(number, held): (&u64, &Held)| (number.to_le_bytes()[0], held.ready_count);
        // What is buried lies below what is not.
        let buried = self.buried.range(pages.clone());
        Directory(buried.chain(self.held.range(pages)).map(entry).collect())
    }

    /// Numbers of all directory rows that may be stored.
    pub(crate) fn directory_numbers(&self) -> BTreeSet<u64> {
        let all = self.held.keys().chain(self.buried.keys());
        let here = all.map(|number| number / DIRECTORY_PAGE_COUNT);
        here.chain(self.directory_changes.iter().copied()).collect()
    }

    /// Numbers of all pages whose row may be stored.
    pub(crate) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let all = self.held.iter().chain(&self.buried);
        let stored = all.filter(|(_, held)| held.stored);
        stored.map(|(number, _)| *number).chain(self.changes.gone())
    }

    pub(crate) fn restore_directory(
        &mut self,
        row: u64,
        bytes: &[u8],
        is_buried: impl Fn(u64) -> bool,
    ) -> Result<(), FieldError> {
        if row > u64::MAX / PAGE_COUNT / DIRECTORY_PAGE_COUNT {
            return Err(FieldError::Range);
        }
        for (low, ready_count) in Directory::decode(bytes)?.0 {
            let number = row * DIRECTORY_PAGE_COUNT + u64::from(low);
            let held = Held {
                ready_count,
                page: None,
                changed: false,
                stored: true,
                frozen: false,
            };
            let pages = match is_buried(number) {
                true => &mut self.buried,
                false => &mut self.held,
            };
            if pages.insert(number, held).is_some() {
                return Err(FieldError::Range);
            }
            if is_buried(number) {
                self.buried_evicted_count += 1;
            } else {
                self.ready_count += u64::from(ready_count);
                self.evicted_count += 1;
            }
        }
        Ok(())
    }
}

fn split(id: u64) -> (u64, u16) {
    let place = u16::try_from(id % PAGE_COUNT).expect("a page is small");
    (id / PAGE_COUNT, place)
}

/// One directory row: the low byte of each page's number, and its ready count.
#[derive(Debug)]
pub(crate) struct Directory(Vec<(u8, u16)>);

impl Directory {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        for (low, ready_count) in &self.0 {
            out.push(*low);
            out.extend_from_slice(&ready_count.to_le_bytes());
        }
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let mut entries = Vec::new();
        while !fields.is_empty() {
            let (low, ready_count) = (fields.u8()?, fields.u16()?);
            if ready_count == 0 || u64::from(ready_count) > PAGE_COUNT {
                return Err(FieldError::Range);
            }
            entries.push((low, ready_count));
        }
        Ok(Directory(entries))
    }
}

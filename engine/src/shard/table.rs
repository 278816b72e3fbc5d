//! The connections of a shard: slots with generations.

pub(crate) use crate::sys::id::{ConnectionId, GENERATION_MAX};

/// Slots per page; pages are never moved, so growth costs no copying and little slack.
const PAGE: usize = 64;

#[derive(Debug)]
struct Cell<T> {
    generation: u32,
    value: Option<T>,
}

/// A table whose keys go stale when their value is removed.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pages: Vec<Box<[Cell<T>]>>,
    free: Vec<u32>,
    len: usize,
    max: usize,
    /// The first generation of slots in new pages: no earlier page in their place had one so high.
    first: u32,
    /// Values were removed since pages were last given back.
    untidy: bool,
}

impl<T> Table<T> {
    /// A table of at most `max` values; memory grows with use.
    pub(crate) const fn new(max: usize) -> Self {
        Self { pages: Vec::new(), free: Vec::new(), len: 0, max, first: 0, untidy: false }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a value, or gives it back when the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<ConnectionId, T> {
        if self.len >= self.max {
            return Err(value);
        }
        if self.free.is_empty() {
            self.grow();
        }
        let Some(slot) = self.free.pop() else { return Err(value) };
        let place = &mut self.pages[slot as usize / PAGE][slot as usize % PAGE];
        place.value = Some(value);
        self.len += 1;
        Ok(ConnectionId::new(slot, place.generation))
    }

    #[inline]
    pub(crate) fn find(&mut self, id: ConnectionId) -> Option<&mut T> {
        let slot = id.slot() as usize;
        let place = self.pages.get_mut(slot / PAGE)?.get_mut(slot % PAGE)?;
        if place.generation == id.generation() { place.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let slot = id.slot() as usize;
        let place = self.pages.get_mut(slot / PAGE)?.get_mut(slot % PAGE)?;
        if place.generation != id.generation() {
            return None;
        }
        let value = place.value.take()?;
        // A slot without a generation left stays empty, so that no name that somebody kept comes to
        // mean another connection. That takes four billion connections, and then costs one slot.
        if place.generation < GENERATION_MAX {
            place.generation += 1;
            self.free.push(id.slot());
        }
        self.len -= 1;
        self.untidy = true;
        Some(value)
    }

    /// All values.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flatten().filter_map(|place| place.value.as_mut())
    }

    /// All values with their ids.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.pages.iter().flat_map(|page| page.iter()).zip(0..).filter_map(|(place, slot)| {
            let value = place.value.as_ref()?;
            Some((ConnectionId::new(slot, place.generation), value))
        })
    }

    /// The ids of all connections.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.pages.iter().flat_map(|page| page.iter()).zip(0..).filter_map(|(place, slot)| {
            place.value.as_ref().map(|_| ConnectionId::new(slot, place.generation))
        })
    }

    /// Whether there are far more slots than values, and pages may be empty.
    pub(crate) const fn keeps_much(&self) -> bool {
        let full = if self.len > PAGE { self.len } else { PAGE };
        self.untidy && self.pages.len() * PAGE > 4 * full
    }

    /// Gives back the pages at the end that are empty, says how many bytes that are, and has the lowest
    /// slots used first, so that there will be more such pages.
    pub(crate) fn tidy(&mut self) -> usize {
        if !self.keeps_much() {
            return 0;
        }
        self.untidy = false;
        let before = self.pages.len();
        while let Some(page) = self.pages.last()
            && page.iter().all(|place| place.value.is_none())
        {
            // A name that somebody kept must not come to mean a value in a new page.
            let next = page.iter().map(|place| place.generation).max().unwrap_or(0) + 1;
            if next > GENERATION_MAX {
                break;
            }
            self.first = self.first.max(next);
            self.pages.pop();
        }
        let slots = self.pages.len() * PAGE;
        self.free.retain(|slot| (*slot as usize) < slots);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.free.shrink_to(2 * self.free.len());
        self.pages.shrink_to(2 * self.pages.len());
        (before - self.pages.len()) * PAGE * size_of::<Cell<T>>()
    }

    fn grow(&mut self) {
        let Ok(first) = u32::try_from(self.pages.len() * PAGE) else { return };
        self.pages.push((0..PAGE).map(|_| Cell { generation: self.first, value: None }).collect());
        // Reversed, so that the lowest slot is used first.
        self.free.extend((first..).take(PAGE).collect::<Vec<_>>().into_iter().rev());
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionId, GENERATION_MAX, PAGE, Table};

    #[test]
    fn a_removed_key_finds_nothing_even_when_its_slot_lives_again() {
        let mut table = Table::new(100);
        let first = table.insert("first").expect("room");
        assert_eq!(table.find(first), Some(&mut "first"));
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second").expect("room");
        assert_eq!(second.slot(), first.slot());
        assert_eq!(table.find(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.find(second), Some(&mut "second"));
        assert_eq!(table.ids().collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn a_slot_that_has_used_up_its_generations_is_not_used_again() {
        let mut table = Table::new(100);
        let first = table.insert(0).expect("room");
        table.remove(first);
        // As after four billion connections.
        table.pages[0][0].generation = GENERATION_MAX;
        let last = table.insert(1).expect("room");
        assert_eq!(last, ConnectionId::new(first.slot(), GENERATION_MAX));
        assert_eq!(table.remove(last), Some(1));
        let ids: Vec<_> = (0..64).map(|n| table.insert(n).expect("room")).collect();
        assert!(ids.iter().all(|id| id.slot() != first.slot()), "the slot is out of use");
        assert_eq!(table.find(first), None);
        assert_eq!(table.find(last), None);
    }

    #[test]
    fn a_name_means_the_same_after_sixteen_million_others() {
        let mut table = Table::new(1);
        let kept = table.insert(0).expect("room");
        table.remove(kept);
        table.pages[0][kept.slot() as usize].generation = (1 << 24) + kept.generation();
        let other = table.insert(1).expect("room");
        assert_eq!(other.slot(), kept.slot());
        assert_eq!(table.find(kept), None);
    }

    #[test]
    fn empty_pages_are_given_back_and_no_key_comes_to_mean_another_value() {
        let mut table = Table::new(10_000);
        let mut ids: Vec<_> = (0..5000).map(|n| table.insert(n).expect("room")).collect();
        let stale = ids.split_off(100);
        let middle = stale[1000];
        for id in stale.iter().filter(|id| **id != middle) {
            table.remove(*id);
        }
        assert!(table.keeps_much());
        assert!(table.tidy() > 0 && !table.keeps_much());
        // One value in the middle keeps the pages before it, and the lowest slots come first.
        assert_eq!(table.pages.len(), middle.slot() as usize / PAGE + 1);
        assert_eq!(table.insert(7).map(|id| id.slot()), Ok(100));
        assert_eq!(table.find(middle), Some(&mut 1100));
        table.remove(middle);
        assert!(table.tidy() > 0);
        assert_eq!(table.pages.len(), 2);
        let again: Vec<_> = (0..5000).map(|n| table.insert(n).expect("room")).collect();
        assert!(stale.iter().all(|id| table.find(*id).is_none()));
        assert!(ids.iter().chain(&again).all(|id| table.find(*id).is_some()));
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut table = Table::new(65);
        for n in 0..65 {
            assert_eq!(table.insert(n).map(ConnectionId::slot), Ok(n));
        }
        assert_eq!(table.insert(65), Err(65));
        assert_eq!(table.len(), 65);
    }
}

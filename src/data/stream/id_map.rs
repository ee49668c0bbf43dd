//! A map from ids in their order, made for ids that come at the end and go anywhere.
//!
//! ```text
//!   chunks: BTreeMap<Id, Vec<(Id, V)>>     by an id that is not behind any of the chunk's
//! ```
//!
//! What is put in at the end fills one chunk after the other, so that nearly all of the memory is
//! in use; a map whose nodes are split in halves uses little more than half. What goes makes its
//! chunk smaller, and a small one is joined with the next.
//!
//! Invariant: no chunk is empty; the ids of a chunk ascend and are before the next chunk's key.

use super::id::Id;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Entries of a full chunk.
const FULL: usize = 64;
/// Chunks with fewer entries are joined with the next, if both fit in half a chunk.
const SMALL: usize = 8;

#[derive(Clone, Debug)]
pub struct IdMap<V> {
    chunks: BTreeMap<Id, Vec<(Id, V)>>,
    len: usize,
}

impl<V> Default for IdMap<V> {
    fn default() -> IdMap<V> {
        IdMap { chunks: BTreeMap::new(), len: 0 }
    }
}

impl<V: Copy> IdMap<V> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory behind the map, roughly.
    pub fn allocated(&self) -> usize {
        // A B-tree's nodes are about two thirds full, chunks mostly full.
        self.chunks.len() * size_of::<(Id, Vec<(Id, V)>)>() * 3 / 2
            + self.len * size_of::<(Id, V)>()
    }

    /// Puts a value in; gives the one that was there.
    #[inline]
    pub fn insert(&mut self, id: Id, value: V) -> Option<V> {
        let Some((_, chunk)) = self.chunks.range_mut(..=id).next_back() else {
            self.insert_first(id, value);
            return None;
        };
        let at = match chunk.last() {
            Some((last, _)) if *last < id => chunk.len(),
            _ => match chunk.binary_search_by_key(&id, |(own, _)| *own) {
                Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, value)),
                Err(at) => at,
            },
        };
        self.len += 1;
        if chunk.len() < FULL {
            chunk.insert(at, (id, value));
        } else if at == FULL {
            self.chunks.insert(id, vec![(id, value)]);
        } else {
            let mut upper = chunk.split_off(FULL / 2);
            match at.checked_sub(FULL / 2) {
                Some(at) => upper.insert(at, (id, value)),
                None => chunk.insert(at, (id, value)),
            }
            self.chunks.insert(upper[0].0, upper);
        }
        None
    }

    /// Puts in what is before all that is there.
    fn insert_first(&mut self, id: Id, value: V) {
        self.len += 1;
        let chunk = match self.chunks.first_entry() {
            Some(first) if first.get().len() < FULL => {
                let mut chunk = first.remove();
                chunk.insert(0, (id, value));
                chunk
            }
            _ => vec![(id, value)],
        };
        self.chunks.insert(id, chunk);
    }

    #[inline]
    pub fn get(&self, id: Id) -> Option<&V> {
        let (_, chunk) = self.chunks.range(..=id).next_back()?;
        let at = chunk.binary_search_by_key(&id, |(own, _)| *own).ok()?;
        Some(&chunk[at].1)
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut V> {
        let (_, chunk) = self.chunks.range_mut(..=id).next_back()?;
        let at = chunk.binary_search_by_key(&id, |(own, _)| *own).ok()?;
        Some(&mut chunk[at].1)
    }

    #[inline]
    pub fn remove(&mut self, id: Id) -> Option<V> {
        let (key, chunk) = self.chunks.range_mut(..=id).next_back()?;
        let at = chunk.binary_search_by_key(&id, |(own, _)| *own).ok()?;
        let (_, value) = chunk.remove(at);
        self.len -= 1;
        if chunk.len() < SMALL {
            let key = *key;
            self.join(key);
        }
        Some(value)
    }

    /// Removes a chunk if it is empty, or joins it with one beside it if that is small as well.
    fn join(&mut self, key: Id) {
        let Some(chunk) = self.chunks.get_mut(&key) else { return };
        if chunk.is_empty() {
            self.chunks.remove(&key);
            return;
        }
        if chunk.capacity() > 2 * SMALL {
            chunk.shrink_to(2 * SMALL);
        }
        if !self.take_next(key)
            && let Some((before, _)) = self.chunks.range(..key).next_back()
        {
            self.take_next(*before);
        }
    }

    /// Adds the next chunk to one if both together are small; whether that is so.
    fn take_next(&mut self, key: Id) -> bool {
        let mut chunks = self.chunks.range_mut(key..);
        let (Some((_, chunk)), Some((next, more))) = (chunks.next(), chunks.next()) else {
            return false;
        };
        let joined = chunk.len() + more.len() <= FULL / 2;
        if joined {
            chunk.append(more);
            let next = *next;
            self.chunks.remove(&next);
        }
        joined
    }

    /// What has ids in the range, in their order.
    pub fn range(&self, range: RangeInclusive<Id>) -> impl Iterator<Item = (Id, V)> {
        let (start, end) = range.into_inner();
        let from = self.chunks.range(..=start).next_back().map_or(start, |(key, _)| *key);
        self.chunks
            .range(from..)
            .flat_map(move |(_, chunk)| &chunk[chunk.partition_point(|(id, _)| *id < start)..])
            .map(|(id, value)| (*id, *value))
            .take_while(move |(id, _)| *id <= end)
    }

    /// The first and the last id.
    pub fn ends(&self) -> Option<(Id, Id)> {
        let (_, first) = self.chunks.first_key_value()?;
        let (_, last) = self.chunks.last_key_value()?;
        Some((first.first()?.0, last.last()?.0))
    }

    /// Frees chunks, each at the cost of one; whether none is left. Only to be dropped then.
    pub fn free_some(&mut self, budget: &mut usize) -> bool {
        while *budget > 0 {
            let Some(first) = self.chunks.first_entry() else { return true };
            first.remove();
            *budget -= 1;
        }
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(map: &IdMap<u32>, model: &BTreeMap<Id, u32>) {
        assert_eq!(map.len(), model.len());
        let all: Vec<(Id, u32)> = map.range(Id::MIN..=Id::MAX).collect();
        assert_eq!(all, model.iter().map(|(id, value)| (*id, *value)).collect::<Vec<_>>());
        let ends = model.keys().next().copied().zip(model.keys().next_back().copied());
        assert_eq!(map.ends(), ends);
        let keys: Vec<Id> = map.chunks.keys().copied().collect();
        for (at, (key, chunk)) in map.chunks.iter().enumerate() {
            assert!(!chunk.is_empty() && chunk.len() <= FULL);
            assert!(chunk[0].0 >= *key);
            assert!(keys.get(at + 1).is_none_or(|next| chunk[chunk.len() - 1].0 < *next));
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u8..10, 0u64..400), 1..700),
                       removes in 1u8..9) {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            let mut next = 1000;
            for (at, (kind, ms)) in steps.into_iter().enumerate() {
                let id = Id::new(ms, 7);
                if kind < removes {
                    prop_assert_eq!(map.remove(id), model.remove(&id));
                } else if kind == 9 {
                    next += 1;
                    map.insert(Id::new(next, 0), next as u32);
                    model.insert(Id::new(next, 0), next as u32);
                } else {
                    prop_assert_eq!(map.insert(id, at as u32), model.insert(id, at as u32));
                }
                prop_assert_eq!(map.get(id), model.get(&id));
                if let Some(value) = map.get_mut(id) {
                    *value += 1;
                    model.entry(id).and_modify(|value| *value += 1);
                }
                if at % 16 == 0 {
                    check(&map, &model);
                    let (a, b) = (Id::new(ms / 2, 3), Id::new(ms, 7));
                    let range: Vec<_> = map.range(a..=b).map(|(id, _)| id).collect();
                    let expected: Vec<_> = model.range(a..=b).map(|(id, _)| *id).collect();
                    prop_assert_eq!(range, expected);
                    prop_assert_eq!(map.range(b..=a).count(), usize::from(a == b && map.get(a).is_some()));
                }
            }
            check(&map, &model);
        }
    }

    #[test]
    fn what_comes_at_the_end_fills_chunks() {
        let mut map = IdMap::default();
        for ms in 0..6400 {
            map.insert(Id::new(ms, 0), ms);
        }
        assert_eq!(map.chunks.len(), 100);
        assert!(map.chunks.values().all(|chunk| chunk.capacity() == FULL));
        // Few that stay here and there are put together.
        for ms in (0..6400).filter(|ms| ms % 64 != 9) {
            map.remove(Id::new(ms, 0));
        }
        assert_eq!(map.len(), 100);
        assert!(map.chunks.len() < 40, "{} chunks", map.chunks.len());
        let mut budget = 2;
        assert!(!map.free_some(&mut budget));
        assert_eq!(budget, 0);
        budget = 1000;
        assert!(map.free_some(&mut budget));
    }
}

//! A consumer group: how far it has read, its consumers, and what they have not acknowledged.
//!
//! ```text
//!   Group ── names:     name -> number                    in the order of the names
//!         ├─ consumers: number -> Consumer ── pending: ids    its own pending entries
//!         └─ pending:   id -> Pending                     of all consumers
//! ```
//!
//! Invariant: an id is in the group's pending entries exactly if it is in those of one consumer,
//! the one that its [`Pending`] names. The entry itself may be gone from the stream.

use super::id::Id;
use super::id_map::IdMap;
use super::log::Log;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

/// A consumer's number, as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub consumer: ConsumerId,
    /// When it was delivered last, milliseconds since the epoch.
    pub delivered_at: i64,
    pub deliveries: u64,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it was heard of last, milliseconds since the epoch.
    pub seen_at: i64,
    /// When it got or claimed an entry last.
    pub active_at: Option<i64>,
    pending: IdMap<()>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The entries that it has not acknowledged.
    pub fn pending(&self, range: RangeInclusive<Id>) -> impl Iterator<Item = Id> {
        self.pending.range(range).map(|(id, ())| id)
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    /// The last entry that was delivered as new.
    pub last_id: Id,
    /// How many entries of all that were ever added it has read; `None` if that is not known.
    pub entries_read: Option<i64>,
    pending: IdMap<Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    consumers: Vec<Option<Consumer>>,
    /// Numbers that are free again.
    free: Vec<ConsumerId>,
}

impl Group {
    pub fn new(last_id: Id, entries_read: Option<i64>) -> Group {
        Group {
            last_id,
            entries_read,
            pending: IdMap::default(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number of the consumer with this name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// The number of the consumer with this name, which is made if there is none; and whether it
    /// was made.
    pub fn find_or_make(&mut self, name: &[u8], now: i64) -> (ConsumerId, bool) {
        if let Some(id) = self.find(name) {
            return (id, false);
        }
        let name: Box<[u8]> = name.into();
        let consumer = Consumer {
            name: name.clone(),
            seen_at: now,
            active_at: None,
            pending: IdMap::default(),
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            ConsumerId(self.consumers.len() as u32 - 1)
        });
        self.consumers[id.0 as usize] = Some(consumer);
        self.names.insert(name, id);
        (id, true)
    }

    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id.0 as usize].as_ref().expect("a number is used while the consumer exists")
    }

    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id.0 as usize].as_mut().expect("a number is used while the consumer exists")
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.names.values().map(|id| self.consumer(*id))
    }

    /// The first consumer whose name comes behind this one; the first of all without one.
    pub fn consumer_after(&self, name: Option<&[u8]>) -> Option<&Consumer> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let mut names = self.names.range::<[u8], _>((from, Bound::Unbounded));
        names.next().map(|(_, id)| self.consumer(*id))
    }

    /// Removes a consumer with its pending entries, and answers how many those were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.consumers[id.0 as usize].take()?;
        self.free.push(id);
        for id in consumer.pending(Id::MIN..=Id::MAX) {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// How many entries are not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The entries that are not acknowledged.
    pub fn pending(&self, range: RangeInclusive<Id>) -> impl Iterator<Item = (Id, Pending)> {
        self.pending.range(range)
    }

    /// The first and the last of the entries that are not acknowledged.
    pub fn pending_ends(&self) -> Option<(Id, Id)> {
        self.pending.ends()
    }

    /// What is known of an entry that is not acknowledged.
    #[inline]
    pub fn pending_of(&self, id: Id) -> Option<&Pending> {
        self.pending.get(id)
    }

    /// As [`Group::pending_of`], to be changed; but not the consumer, see [`Group::assign`].
    pub fn pending_mut(&mut self, id: Id) -> Option<&mut Pending> {
        self.pending.get_mut(id)
    }

    /// Makes an entry a pending one of `consumer`, whoever had it before.
    #[inline]
    pub fn assign(&mut self, id: Id, pending: Pending) {
        match self.pending.insert(id, pending) {
            Some(old) if old.consumer == pending.consumer => return,
            Some(old) => {
                self.consumer_mut(old.consumer).pending.remove(id);
            }
            None => {}
        }
        self.consumer_mut(pending.consumer).pending.insert(id, ());
    }

    /// An entry is no longer pending; `false` if it was not.
    #[inline]
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(pending) = self.pending.remove(id) else { return false };
        self.consumer_mut(pending.consumer).pending.remove(id).is_some()
    }

    /// An entry of `log`, the next one behind those read so far, is delivered as new.
    #[inline]
    pub fn read(&mut self, id: Id, log: &Log) {
        self.entries_read = match self.entries_read {
            Some(read) if !log.has_gap_from(id) => Some(read.wrapping_add(1)),
            read if log.added == 0 => read,
            _ => log.added_up_to(id).map(|read| read as i64),
        };
        self.last_id = id;
    }

    /// How many entries of `log` are still to be delivered, if that can be told without counting.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        if log.added == 0 {
            return Some(0);
        }
        let read = match self.entries_read {
            Some(read) if !log.has_gap_from(self.last_id) => Some(read),
            _ => log.added_up_to(self.last_id).map(|read| read as i64),
        };
        read.map(|read| (log.added as i64).wrapping_sub(read))
    }

    /// Bytes of memory behind the group, roughly: a B-tree's nodes are about two thirds full.
    pub fn allocated(&self) -> usize {
        let of_consumers: usize = self
            .consumers()
            .map(|consumer| 2 * consumer.name.len() + consumer.pending.allocated())
            .sum();
        of_consumers
            + self.pending.allocated()
            + self.names.len() * size_of::<(Box<[u8]>, ConsumerId)>() * 3 / 2
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
    }

    /// Frees chunks of pending entries and consumers, each at the cost of one; whether nothing is
    /// left. Only to be dropped then.
    pub fn free_some(&mut self, budget: &mut usize) -> bool {
        if !self.pending.free_some(budget) {
            return false;
        }
        while let Some(consumer) = self.consumers.last_mut() {
            let freed = consumer.as_mut().is_none_or(|consumer| consumer.pending.free_some(budget));
            if !freed || *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.consumers.pop();
            self.names.pop_first();
        }
        true
    }
}

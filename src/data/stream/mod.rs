//! A log of entries with consumer groups.
//!
//! ```text
//!   Stream ── log:    nodes of packed entries in the order of their ids      log.rs, node.rs
//!          └─ groups: name -> how far it has read, consumers, pending entries   group.rs, id_map.rs
//! ```
//!
//! An entry takes its values, one byte for the length of each, and some five bytes more: ids are
//! differences to the first one of the node, field names are those of its first entry.
//!
//! What clients can see of Redis' data structures is the same here: which entries are in one node
//! (trimming by `~` removes whole nodes) and how many nodes Redis' radix tree would have.
//!
//! Deliberately absent: ids as text, replies, the clock, and who waits for entries.

mod group;
mod id;
mod id_map;
mod log;
mod node;
mod packed;
mod radix;
#[cfg(test)]
mod tests;

pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::Id;
pub use log::{Log, NewId, Range, RangeBack, Refused, Trim};
pub use node::{MAX_BYTES, Message, Node, NodeLimits};
pub use packed::Value;

use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub log: Log,
    groups: BTreeMap<Box<[u8]>, Group>,
}

impl Stream {
    pub fn duplicate(&self) -> Stream {
        self.clone()
    }

    /// Bytes of memory behind the stream.
    pub fn allocated(&self) -> usize {
        let places = self.groups.len() * size_of::<(Box<[u8]>, Group)>() * 3 / 2;
        let groups = self.groups.iter().map(|(name, group)| name.len() + group.allocated());
        self.log.allocated() + places + groups.sum::<usize>()
    }

    /// Entries.
    #[allow(clippy::len_without_is_empty)] // an empty one is a value like any other
    pub fn len(&self) -> usize {
        self.log.len() as usize
    }

    /// The groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// The first group whose name comes behind this one; the first of all without one.
    pub fn group_after(&self, name: Option<&[u8]>) -> Option<(&[u8], &Group)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let mut groups = self.groups.range::<[u8], _>((from, Bound::Unbounded));
        groups.next().map(|(name, group)| (&**name, group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The log, and the group with this name.
    #[inline]
    pub fn group_mut(&mut self, name: &[u8]) -> Option<(&Log, &mut Group)> {
        Some((&self.log, self.groups.get_mut(name)?))
    }

    /// Adds a group; `false` when there is one with this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let free = !self.groups.contains_key(name);
        if free {
            self.groups.insert(name.into(), group);
        }
        free
    }

    /// Takes a group away.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }

    /// Frees up to `max` nodes, consumers, and chunks of pending entries, of a stream that nobody
    /// will use again; whether there are more.
    pub fn free_some(&mut self, max: usize) -> bool {
        let mut budget = max;
        while let Some(mut group) = self.groups.first_entry() {
            if !group.get_mut().free_some(&mut budget) {
                return true;
            }
            group.remove();
        }
        self.log.free_some(budget)
    }
}

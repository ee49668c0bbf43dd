//! The entries of a stream in the order of their ids, and what is recorded of those that were.
//!
//! ```text
//!   sealed: BTreeMap<Id, Node>   all nodes but the last, by their first ids
//!   tail:   Option<(Id, Node)>   the last node, to which entries are appended
//! ```
//!
//! Appending touches the tail alone. Node boundaries are where Redis has them: nodes fill up by
//! the same rule, and a node goes when its last entry is deleted one by one, but one that an exact
//! trimming by id has emptied may stay (see [`Log::trim`]).

use super::id::Id;
use super::node::{Backward, Forward, MAX_BYTES, Message, Node, NodeLimits};
use super::radix;
use std::collections::{BTreeMap, btree_map};
use std::iter::{Chain, Rev};
use std::ops::Bound;
use std::option;

/// Up to where a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// So many entries stay.
    MaxLen(u64),
    /// The entries from this id on stay.
    MinId(Id),
}

/// The id, or what is known of it, of an entry to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// The next one at this time, milliseconds.
    Now(u64),
    /// The next one with these milliseconds.
    Within(u64),
    Given(Id),
}

/// Why an entry is not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NotGreater,
    TooLarge,
}

#[derive(Clone, Debug)]
pub struct Log {
    sealed: BTreeMap<Id, Node>,
    tail: Option<(Id, Node)>,
    len: u64,
    /// The id that was given last, by whatever means.
    pub last_id: Id,
    /// The first entry's, 0-0 without entries.
    first_id: Id,
    /// The greatest of those that were deleted, but not trimmed; or what it was set to.
    pub max_deleted: Id,
    /// How many entries there ever were, or what that was set to.
    pub added: u64,
    radix_nodes: usize,
    /// Bytes behind the nodes.
    allocated: usize,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            sealed: BTreeMap::new(),
            tail: None,
            len: 0,
            last_id: Id::MIN,
            first_id: Id::MIN,
            max_deleted: Id::MIN,
            added: 0,
            radix_nodes: radix::EMPTY,
            allocated: 0,
        }
    }
}

impl Log {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first entry's id, 0-0 when there is none.
    pub fn first_id(&self) -> Id {
        self.first_id
    }

    /// Packed nodes.
    pub fn nodes(&self) -> usize {
        self.sealed.len() + usize::from(self.tail.is_some())
    }

    /// Nodes of the radix tree that Redis would have.
    pub fn radix_nodes(&self) -> usize {
        self.radix_nodes
    }

    /// Bytes of memory behind the log, to within some percent.
    pub fn allocated(&self) -> usize {
        // A B-tree's nodes are about two thirds full.
        self.allocated + self.sealed.len() * (size_of::<(Id, Node)>() * 3 / 2)
    }

    /// The id of the last entry.
    pub fn last_live(&self) -> Option<Id> {
        self.nodes_to(Id::MAX).rev().find_map(|(first, node)| node.last_live(*first))
    }

    fn first_live(&self) -> Id {
        self.nodes_from(Id::MIN)
            .find_map(|(first, node)| node.first_live(*first))
            .unwrap_or_default()
    }

    /// Appends an entry of `pairs`, where fields and values take turns; answers its id.
    pub fn append(
        &mut self,
        id: NewId,
        pairs: &[&[u8]],
        limits: NodeLimits,
    ) -> Result<Id, Refused> {
        let last = self.last_id;
        let id = match id {
            NewId::Now(ms) if ms > last.ms => Some(Id::new(ms, 0)),
            NewId::Now(_) => last.next(),
            NewId::Within(ms) if ms == last.ms => {
                last.seq.checked_add(1).map(|seq| Id::new(ms, seq))
            }
            NewId::Within(ms) => Some(Id::new(ms, 0)),
            NewId::Given(id) => Some(id),
        };
        let id = id.filter(|id| *id > last).ok_or(Refused::NotGreater)?;
        let bytes: usize = pairs.iter().map(|part| part.len()).sum();
        if bytes > MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        self.prepare_tail(id, pairs, bytes, limits);
        if let Some((first, node)) = &mut self.tail {
            let before = node.allocated();
            node.append(*first, id, pairs);
            self.allocated += node.allocated() - before;
        }
        self.len += 1;
        self.added = self.added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// Sees to it that the tail is a node with room for an entry.
    #[inline]
    fn prepare_tail(&mut self, id: Id, pairs: &[&[u8]], bytes: usize, limits: NodeLimits) {
        let used = match &self.tail {
            Some((first, node)) if node.live() == 0 && id < *first => {
                // XSETID went back behind what was once in this node.
                self.drop_tail();
                return self.prepare_tail(id, pairs, bytes, limits);
            }
            Some((_, node)) if !node.is_full(bytes, limits) => return,
            Some((_, node)) => node.used(),
            None => 0,
        };
        self.radix_nodes = radix::appended(self, self.radix_nodes, id.number());
        let node = Node::new(id, pairs, used + used / 16);
        self.allocated += node.allocated();
        if let Some((first, mut full)) = self.tail.replace((id, node)) {
            self.allocated -= full.allocated();
            full.seal();
            self.allocated += full.allocated();
            self.sealed.insert(first, full);
        }
    }

    /// Adds a node behind all others, as it was elsewhere; `false` if its ids are not behind
    /// theirs. [`Log::load_counts`] must follow before anything else.
    pub fn load_node(&mut self, first: Id, node: Node) -> bool {
        if let Some((last, node)) = &self.tail
            && first <= node.last_live(*last).unwrap_or(*last).max(*last)
        {
            return false;
        }
        self.radix_nodes = radix::appended(self, self.radix_nodes, first.number());
        self.len += node.live() as u64;
        self.allocated += node.allocated();
        if let Some((first, mut full)) = self.tail.replace((first, node)) {
            self.allocated -= full.allocated();
            full.seal();
            self.allocated += full.allocated();
            self.sealed.insert(first, full);
        }
        true
    }

    /// Says what the nodes do not tell; `false` if the last id is before one that an entry has.
    pub fn load_counts(&mut self, last_id: Id, max_deleted: Id, added: u64) -> bool {
        self.first_id = self.first_live();
        (self.last_id, self.max_deleted, self.added) = (last_id, max_deleted, added);
        self.last_live().is_none_or(|last| last <= last_id)
    }

    /// The first node whose first id is greater than this one, with that id; the first of all
    /// without one.
    pub fn node_after(&self, id: Option<Id>) -> Option<(Id, &Node)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let tail = self.tail.iter().filter(|(first, _)| id.is_none_or(|id| *first > id));
        let sealed = self.sealed.range((from, Bound::Unbounded));
        sealed.chain(tail.map(|(first, node)| (first, node))).next().map(|(id, node)| (*id, node))
    }

    fn drop_tail(&mut self) {
        let Some((first, node)) = self.tail.take() else { return };
        self.tail = self.sealed.pop_last();
        self.forget(first, &node);
    }

    fn drop_first(&mut self) {
        match self.sealed.pop_first() {
            Some((first, node)) => self.forget(first, &node),
            None => self.drop_tail(),
        }
    }

    /// Accounts for a node that is gone.
    fn forget(&mut self, first: Id, node: &Node) {
        self.allocated -= node.allocated();
        self.radix_nodes = radix::removed(self, self.radix_nodes, first.number());
    }

    /// The node where an entry with this id would be.
    fn node_mut(&mut self, id: Id) -> Option<(Id, &mut Node)> {
        match &mut self.tail {
            Some((first, node)) if *first <= id => Some((*first, node)),
            _ => self.sealed.range_mut(..=id).next_back().map(|(first, node)| (*first, node)),
        }
    }

    /// Deletes the entry with this id, if there is one.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some((first, node)) = self.node_mut(id) else { return false };
        let before = node.allocated();
        if !node.delete(first, id) {
            return false;
        }
        let (after, gone) = (node.allocated(), node.live() == 0);
        self.allocated = self.allocated + after - before;
        if gone {
            match self.tail.as_ref().is_some_and(|(tail, _)| *tail == first) {
                true => self.drop_tail(),
                false => {
                    if let Some(node) = self.sealed.remove(&first) {
                        self.forget(first, &node);
                    }
                }
            }
        }
        self.len -= 1;
        self.max_deleted = self.max_deleted.max(id);
        if id == self.first_id || self.len == 0 {
            self.first_id = self.first_live();
        }
        true
    }

    /// Deletes entries from the front; `approximately` only whole nodes, and no more than `limit`
    /// entries unless that is 0. Answers how many.
    ///
    /// A node whose last id, though deleted, is not before a minimal id stays even without entries.
    pub fn trim(&mut self, trim: Trim, approximately: bool, limit: u64) -> u64 {
        let mut trimmed = 0;
        loop {
            let excess = match trim {
                Trim::MaxLen(max) => self.len.saturating_sub(max),
                Trim::MinId(_) => u64::MAX,
            };
            let front = match self.sealed.first_entry() {
                Some(front) => Some((*front.key(), front.into_mut())),
                None => self.tail.as_mut().map(|(first, node)| (*first, node)),
            };
            let Some((first, node)) = front.filter(|_| excess > 0) else { break };
            let live = node.live() as u64;
            if limit > 0 && trimmed + live > limit {
                break;
            }
            let whole = match trim {
                Trim::MaxLen(_) => live <= excess,
                Trim::MinId(min) => node.last() < min,
            };
            if whole {
                self.drop_first();
                self.len -= live;
                trimmed += live;
                continue;
            }
            if !approximately {
                let before = node.allocated();
                let until = if let Trim::MinId(min) = trim { min } else { Id::MAX };
                let count = node.trim(first, excess.min(live) as usize, until) as u64;
                self.allocated = self.allocated + node.allocated() - before;
                self.len -= count;
                trimmed += count;
            }
            break;
        }
        if trimmed > 0 || self.len == 0 {
            self.first_id = self.first_live();
        }
        trimmed
    }

    fn nodes_from(&self, start: Id) -> Nodes<'_> {
        let tail = self.tail.as_ref().map(|(first, node)| (first, node));
        let from = match tail {
            Some((first, _)) if *first <= start => Id::MAX,
            _ => self.sealed.range(..=start).next_back().map_or(Id::MIN, |(first, _)| *first),
        };
        self.sealed.range(from..).chain(tail)
    }

    fn nodes_to(&self, end: Id) -> Nodes<'_> {
        let tail = self.tail.as_ref().map(|(first, node)| (first, node));
        self.sealed.range(..=end).chain(tail.filter(|(first, _)| **first <= end))
    }

    /// The entries from `start` to `end`, both included, in this order.
    pub fn range(&self, start: Id, end: Id) -> Range<'_> {
        Range { nodes: self.nodes_from(start), current: None, start, end }
    }

    /// The entries from `end` to `start`, both included, in this order.
    pub fn range_back(&self, start: Id, end: Id) -> RangeBack<'_> {
        RangeBack { nodes: self.nodes_to(end).rev(), current: None, start, end }
    }

    /// How many entries there are from `start` to `end`; counted up to `most` only.
    pub fn count(&self, start: Id, end: Id, most: usize) -> usize {
        let mut count = 0;
        for (first, node) in self.nodes_from(start).take_while(|(first, _)| **first <= end) {
            count += node.count(*first, start, end);
            if count >= most {
                return most;
            }
        }
        count
    }

    /// The entry with this id.
    pub fn get(&self, id: Id) -> Option<Message<'_>> {
        self.range(id, id).next()
    }

    /// Whether entries may be missing behind `id`: one that is not before it was deleted, and an
    /// entry that is not behind that one is still there.
    pub fn has_gap_from(&self, id: Id) -> bool {
        self.len > 0
            && self.max_deleted != Id::MIN
            && self.first_id <= self.max_deleted
            && id <= self.max_deleted
    }

    /// How many entries were ever added up to `id`, if that can be told without counting.
    pub fn added_up_to(&self, id: Id) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if (self.len == 0 && id <= self.last_id) || id == self.last_id {
            return Some(self.added);
        }
        let gap = self.max_deleted != Id::MIN && self.max_deleted >= self.first_id;
        if id > self.last_id || gap {
            return None;
        }
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(self.added.wrapping_sub(self.len)),
            std::cmp::Ordering::Equal => Some(self.added.wrapping_sub(self.len).wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Frees up to `max` nodes; whether there are more. Of what is left nothing is accounted for.
    pub fn free_some(&mut self, max: usize) -> bool {
        for _ in 0..max {
            if self.sealed.pop_first().is_none() {
                self.tail = None;
                return false;
            }
        }
        true
    }
}

impl radix::Keys for Log {
    fn at_least(&self, bound: u128) -> Option<u128> {
        let bound = Id::of_number(bound);
        let tail = || self.tail.as_ref().map(|(first, _)| first).filter(|first| **first >= bound);
        let sealed = self.sealed.range(bound..).next().map(|(first, _)| first);
        sealed.or_else(tail).map(|first| first.number())
    }

    fn at_most(&self, bound: u128) -> Option<u128> {
        let bound = Id::of_number(bound);
        let tail = self.tail.as_ref().map(|(first, _)| first).filter(|first| **first <= bound);
        let sealed = || self.sealed.range(..=bound).next_back().map(|(first, _)| first);
        tail.or_else(sealed).map(|first| first.number())
    }
}

type Nodes<'a> = Chain<btree_map::Range<'a, Id, Node>, option::IntoIter<(&'a Id, &'a Node)>>;

/// Entries in ascending order.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    nodes: Nodes<'a>,
    current: Option<Forward<'a>>,
    start: Id,
    end: Id,
}

impl<'a> Iterator for Range<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            if let Some(message) = self.current.as_mut().and_then(Iterator::next) {
                return Some(message).filter(|message| message.id <= self.end);
            }
            let (first, node) = self.nodes.next().filter(|(first, _)| **first <= self.end)?;
            self.current = Some(node.from(*first, self.start));
        }
    }
}

/// Entries in descending order.
#[derive(Clone, Debug)]
pub struct RangeBack<'a> {
    nodes: Rev<Nodes<'a>>,
    current: Option<Backward<'a>>,
    start: Id,
    end: Id,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            let end = self.end;
            let found = self.current.as_mut().and_then(|entries| entries.find(|it| it.id <= end));
            if let Some(message) = found {
                return Some(message).filter(|message| message.id >= self.start);
            }
            let (first, node) = self.nodes.next()?;
            self.current = Some(node.backward(*first));
        }
    }
}

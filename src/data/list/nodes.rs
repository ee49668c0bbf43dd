//! The big form of a list: blocks in a ring buffer, with the number of all their elements.

use super::{End, Limit};
use crate::data::entry::allocation_size;
use crate::data::packed::{Element, Packed};
use std::collections::VecDeque;

/// A block that a replaced element makes longer than this is cut in pieces, whatever the limit is.
const REPLACED_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Default, Clone)]
pub struct Nodes {
    blocks: VecDeque<Packed>,
    len: usize,
}

impl Nodes {
    pub(super) fn of(block: Packed) -> Nodes {
        let mut nodes = Nodes { len: block.len(), blocks: VecDeque::new() };
        if !block.is_empty() {
            nodes.blocks.push_back(block);
        }
        nodes
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Frees about `max` elements of a list that nobody will use again; `true` when none is left.
    pub(super) fn free_some(&mut self, max: usize) -> bool {
        let mut freed = 0;
        while freed < max {
            let Some(block) = self.blocks.pop_back() else { return true };
            freed += block.len();
            self.len -= block.len();
        }
        self.blocks.is_empty()
    }

    pub(super) fn allocated(&self) -> usize {
        let blocks = self.blocks.iter().map(Packed::allocated).sum::<usize>();
        blocks + allocation_size(self.blocks.capacity() * size_of::<Packed>())
    }

    pub(super) fn slices(&self) -> (&[Packed], &[Packed]) {
        self.blocks.as_slices()
    }

    pub(super) fn end(&self, end: End) -> Option<&Packed> {
        match end {
            End::Front => self.blocks.front(),
            End::Back => self.blocks.back(),
        }
    }

    /// The block if there is only one and it `suits`, or if there is none.
    pub(super) fn take_single(&mut self, suits: impl Fn(&Packed) -> bool) -> Option<Packed> {
        match self.blocks.len() {
            0 => Some(Packed::new()),
            1 if suits(&self.blocks[0]) => self.blocks.pop_front(),
            _ => None,
        }
    }

    /// Block and index within it of the element with this index, counted from the nearer end; the
    /// number of blocks if there is no such element.
    pub(super) fn locate(&self, index: usize) -> (usize, usize) {
        if index >= self.len {
            return (self.blocks.len(), 0);
        }
        if index <= self.len / 2 {
            let mut left = index;
            for (at, block) in self.blocks.iter().enumerate() {
                if left < block.len() {
                    return (at, left);
                }
                left -= block.len();
            }
        }
        let mut behind = self.len - index;
        for (at, block) in self.blocks.iter().enumerate().rev() {
            if behind <= block.len() {
                return (at, block.len() - behind);
            }
            behind -= block.len();
        }
        (self.blocks.len(), 0)
    }

    pub(super) fn find(&self, index: usize) -> Option<(&Packed, usize)> {
        let (at, within) = self.locate(index);
        Some((self.blocks.get(at)?, within))
    }

    pub(super) fn push(&mut self, end: End, element: Element, limit: Limit) {
        self.len += 1;
        let cost = Packed::cost_of(element);
        let block = match end {
            End::Front => self.blocks.front_mut(),
            End::Back => self.blocks.back_mut(),
        };
        match (block, end) {
            (Some(block), End::Front) if limit.has_room(block, cost, 1) => {
                return block.push_front(element);
            }
            (Some(block), End::Back) if limit.has_room(block, cost, 1) => {
                return block.push_back(element);
            }
            (Some(full), _) => full.shrink_to_fit(),
            (None, _) => {}
        }
        let fresh = Packed::from_iter([element]);
        match end {
            End::Front => self.blocks.push_front(fresh),
            End::Back => self.blocks.push_back(fresh),
        }
    }

    pub(super) fn drop_end(&mut self, end: End) {
        let block = match end {
            End::Front => self.blocks.front_mut(),
            End::Back => self.blocks.back_mut(),
        };
        let Some(block) = block else { return };
        self.len -= 1;
        match (block.len(), end) {
            (1, End::Front) => drop(self.blocks.pop_front()),
            (1, End::Back) => drop(self.blocks.pop_back()),
            (_, End::Front) => block.pop_front(),
            (_, End::Back) => block.pop_back(),
        }
        self.give_back();
    }

    /// Keeps the ring buffer from staying as long as it once was.
    fn give_back(&mut self) {
        let (len, capacity) = (self.blocks.len(), self.blocks.capacity());
        if capacity > 16 && len < capacity / 4 {
            self.blocks.shrink_to(len * 2);
        }
    }

    pub(super) fn set(&mut self, index: usize, element: Element, limit: Limit) {
        let (at, within) = self.locate(index);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Some(place) = block.seek(within) else { return };
        let cost = Packed::cost_of(element);
        let new_len = block.byte_len() - Packed::cost_of(block.get(place)) + cost;
        if new_len <= REPLACED_BYTES_MAX || block.len() == 1 {
            block.replace(place, element);
            return;
        }
        let tail = block.split_off(within + 1);
        block.pop_back();
        let mut at = at;
        match block.is_empty() {
            true => self.blocks[at] = Packed::from_iter([element]),
            false => {
                at += 1;
                self.blocks.insert(at, Packed::from_iter([element]));
            }
        }
        if !tail.is_empty() {
            self.blocks.insert(at + 1, tail);
        }
        self.merge_around(at, limit);
    }

    /// Inserts next to an element: in its block, in the one beside it, or between the two parts
    /// into which a full block is cut.
    pub(super) fn insert(&mut self, index: usize, behind: bool, element: Element, limit: Limit) {
        let (at, within) = self.locate(index);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Some(place) = block.seek(within) else { return };
        self.len += 1;
        let cost = Packed::cost_of(element);
        let has_room = |block: &Packed| limit.has_room(block, cost, 1);
        let edge = if behind { within + 1 == block.len() } else { within == 0 };
        if has_room(block) {
            match behind {
                true => block.insert_after(place, element),
                false => block.insert_before(place, element),
            }
        } else if edge && behind {
            match self.blocks.get_mut(at + 1).filter(|next| has_room(next)) {
                Some(next) => next.push_front(element),
                None => self.blocks.insert(at + 1, Packed::from_iter([element])),
            }
        } else if edge {
            let prev = at.checked_sub(1).and_then(|prev| self.blocks.get_mut(prev));
            match prev.filter(|prev| has_room(prev)) {
                Some(prev) => prev.push_back(element),
                None => self.blocks.insert(at, Packed::from_iter([element])),
            }
        } else {
            let mut tail = block.split_off(within + usize::from(behind));
            match behind {
                true if has_room(&tail) => tail.push_front(element),
                false if has_room(block) => block.push_back(element),
                _ => {
                    self.blocks.insert(at + 1, tail);
                    tail = Packed::from_iter([element]);
                }
            }
            self.blocks.insert(at + 1, tail);
            self.merge_around(at + usize::from(!behind), limit);
        }
    }

    /// Joins the block at `center` and its neighbours where two fit in one, as Redis does after
    /// cutting one: first the pairs on either side, then the block with either neighbour.
    fn merge_around(&mut self, mut center: usize, limit: Limit) {
        if center >= 2 && self.merge(center - 2, limit) {
            center -= 1;
        }
        self.merge(center + 1, limit);
        if center >= 1 && self.merge(center - 1, limit) {
            center -= 1;
        }
        self.merge(center, limit);
    }

    /// Joins the block at `at` and the next one if they fit in one.
    fn merge(&mut self, at: usize, limit: Limit) -> bool {
        let (Some(block), Some(next)) = (self.blocks.get(at), self.blocks.get(at + 1)) else {
            return false;
        };
        if !limit.has_room(block, next.byte_len() - 1, next.len()) {
            return false;
        }
        if let Some(next) = self.blocks.remove(at + 1) {
            self.blocks[at].append(&next);
        }
        true
    }

    pub(super) fn remove_range(&mut self, first: usize, count: usize) {
        let mut left = count.min(self.len.saturating_sub(first));
        let (mut at, within) = self.locate(first);
        self.len -= left;
        if within > 0 {
            let block = &mut self.blocks[at];
            let here = left.min(block.len() - within);
            block.remove_range(within, here);
            left -= here;
            at += 1;
        }
        let mut end = at;
        while left > 0 && self.blocks[end].len() <= left {
            left -= self.blocks[end].len();
            end += 1;
        }
        if left > 0 {
            self.blocks[end].remove_range(0, left);
        }
        self.blocks.drain(at..end);
        self.give_back();
    }

    pub(super) fn remove_equal(&mut self, element: Element, from: End, max: usize) -> usize {
        let mut removed = 0;
        let mut one = |block: &mut Packed| {
            if removed < max {
                removed += remove_equal(block, element, from, max - removed);
            }
        };
        match from {
            End::Front => self.blocks.iter_mut().for_each(&mut one),
            End::Back => self.blocks.iter_mut().rev().for_each(&mut one),
        }
        if removed > 0 {
            self.len -= removed;
            self.blocks.retain(|block| !block.is_empty());
            self.give_back();
        }
        removed
    }
}

/// Takes up to `max` elements that are `element` out of a block, searched from an end; how many.
pub(super) fn remove_equal(block: &mut Packed, element: Element, from: End, max: usize) -> usize {
    let present = block.count_of(element);
    let removed = present.min(max);
    if removed > 0 {
        block.remove_equal(
            element,
            match from {
                End::Front => 0..removed,
                End::Back => present - removed..present,
            },
        );
    }
    removed
}

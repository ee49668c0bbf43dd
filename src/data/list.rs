//! A list: one packed block while it is small, else a sequence of them.
//!
//! ```text
//!   Small   | Packed |                                        encoding listpack
//!   Big     | Packed | Packed | ... | Packed |   + length     encoding quicklist
//!             front                    back
//! ```
//!
//! Both ends work in O(1). An index is found by adding up the lengths of the blocks from the
//! nearer end, then walking within one block: in a list of a million elements, some two thousand
//! blocks of 32 bytes each, one after the other in memory.
//!
//! When a list changes its form, and how many elements a block of it takes at most, follows
//! Redis 7.2 (`list-max-listpack-size`); sizes are compared as Redis' listpacks would have them where
//! that decides on the form, and as they are here where it only decides how full a block gets.
//!
//! Invariants: no block of a big list is empty; a list that is empty is small.

mod nodes;
#[cfg(test)]
mod tests;

use super::entry::allocation_size;
use super::packed::{Element, Packed};
use super::value::Encoding;
use nodes::Nodes;

/// A listpack of which Redis fears that it will not be able to grow.
const LISTPACK_SAFE: usize = 1 << 30;
/// Bytes of a block that is limited by the number of its elements.
const COUNTED_BLOCK_BYTES: usize = 8192;

/// The end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Front,
    Back,
}

/// What `list-max-listpack-size` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of a listpack, when that is the limit.
    listpack: Option<usize>,
    /// Elements, when they are the limit.
    count: usize,
}

impl Limit {
    /// Elements when the option is positive, else -1 to -5 for 4 to 64 kB.
    pub fn new(option: i32) -> Limit {
        match option {
            0.. => Limit { listpack: None, count: option.max(1) as usize },
            _ => {
                let level = option.unsigned_abs().min(5);
                Limit { listpack: Some(2048 << level), count: usize::MAX }
            }
        }
    }

    /// Whether so many elements with so many bytes are too much for one listpack.
    fn exceeded(self, listpack: usize, count: usize) -> bool {
        match self.listpack {
            Some(bytes) => listpack > bytes,
            None => listpack > COUNTED_BLOCK_BYTES || count > self.count,
        }
    }

    /// Whether a big list of one such block is to be small, now that it `shrinks` or at its birth.
    fn is_small(self, block: &Packed, shrinks: bool) -> bool {
        let part = if shrinks { 2 } else { 1 };
        let bytes = self.listpack.map_or(LISTPACK_SAFE, |bytes| bytes / part);
        block.listpack_len() <= bytes && block.len() <= self.count / part
    }

    /// Bytes of a block of a big list.
    fn block_bytes(self) -> usize {
        self.listpack.unwrap_or(COUNTED_BLOCK_BYTES)
    }

    /// Whether a block of a big list with so many bytes and elements may take as many more.
    fn has_room(self, block: &Packed, bytes: usize, count: usize) -> bool {
        block.byte_len() + bytes <= self.block_bytes() && block.len() + count <= self.count
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub enum List {
    Small(Packed),
    Big(Box<Nodes>),
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// Longest element.
    pub const ELEMENT_MAX: usize = Packed::ELEMENT_MAX;

    /// An empty list, which is for filling: nobody stores one.
    pub fn new() -> List {
        List::Small(Packed::new())
    }

    /// A list of these elements, in the form that suits it.
    pub fn of<'a>(elements: impl Iterator<Item = Element<'a>>, limit: Limit) -> List {
        let mut list = List::to_fill();
        elements.for_each(|element| list.push(End::Back, element, limit));
        list.filled(limit)
    }

    /// A list to be filled by [`List::push`] at the back alone, and then [`List::filled`].
    pub fn to_fill() -> List {
        List::Big(Box::default())
    }

    /// Takes the form that suits what was pushed.
    pub fn filled(mut self, limit: Limit) -> List {
        self.settle(limit, false);
        self
    }

    pub fn encoding(&self) -> Encoding {
        match self {
            List::Small(_) => Encoding::Listpack,
            List::Big(_) => Encoding::Quicklist,
        }
    }

    pub fn duplicate(&self) -> List {
        match self {
            List::Small(block) => List::Small(block.clone()),
            List::Big(nodes) => List::Big(nodes.clone()),
        }
    }

    /// Frees about `max` elements; `true` when the rest goes with the list in no time. It is of no
    /// other use from then on.
    pub fn free_some(&mut self, max: usize) -> bool {
        match self {
            List::Small(_) => true,
            List::Big(nodes) => nodes.free_some(max),
        }
    }

    /// Bytes of memory behind the list.
    pub fn allocated(&self) -> usize {
        match self {
            List::Small(block) => block.allocated(),
            List::Big(nodes) => allocation_size(size_of::<Nodes>()) + nodes.allocated(),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self {
            List::Small(block) => block.len(),
            List::Big(nodes) => nodes.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the big form if `count` more texts with `bytes` in all may be too much for the small
    /// one. To be called before elements are added or replaced.
    #[inline]
    pub fn prepare(&mut self, bytes: usize, count: usize, limit: Limit) {
        if let List::Small(block) = self
            && limit.exceeded(block.listpack_len() + bytes, block.len() + count)
        {
            *self = List::Big(Box::new(Nodes::of(std::mem::take(block))));
        }
    }

    /// Takes the small form if it suits by now: below half of its limit when the list `shrinks`,
    /// so that it does not change to and fro.
    #[inline]
    fn settle(&mut self, limit: Limit, shrinks: bool) {
        if let List::Big(nodes) = self
            && let Some(block) = nodes.take_single(|block| limit.is_small(block, shrinks))
        {
            *self = List::Small(block);
        }
    }

    /// Adds an element at an end. [`List::prepare`] has been called for it.
    #[inline]
    pub fn push(&mut self, end: End, element: Element, limit: Limit) {
        match self {
            List::Small(block) => match end {
                End::Front => block.push_front(element),
                End::Back => block.push_back(element),
            },
            List::Big(nodes) => nodes.push(end, element, limit),
        }
    }

    /// The element at an end.
    #[inline]
    pub fn peek(&self, end: End) -> Option<Element<'_>> {
        let block = match self {
            List::Small(block) => block,
            List::Big(nodes) => nodes.end(end)?,
        };
        let place = match end {
            End::Front => block.first(),
            End::Back => block.last(),
        };
        place.map(|place| block.get(place))
    }

    /// Takes the element at an end away.
    #[inline]
    pub fn drop_end(&mut self, end: End, limit: Limit) {
        match self {
            List::Small(block) => match end {
                End::Front => block.pop_front(),
                End::Back => block.pop_back(),
            },
            List::Big(nodes) => {
                nodes.drop_end(end);
                self.settle(limit, true);
            }
        }
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        match self {
            List::Small(block) => block.seek(index).map(|place| block.get(place)),
            List::Big(nodes) => {
                let (block, within) = nodes.find(index)?;
                block.seek(within).map(|place| block.get(place))
            }
        }
    }

    /// Puts another element in the place of the one with this index; whether there is one.
    /// [`List::prepare`] has been called for it.
    pub fn set(&mut self, index: usize, element: Element, limit: Limit) -> bool {
        if index >= self.len() {
            return false;
        }
        match self {
            List::Small(block) => {
                if let Some(place) = block.seek(index) {
                    block.replace(place, element);
                }
            }
            List::Big(nodes) => {
                nodes.set(index, element, limit);
                self.settle(limit, true);
            }
        }
        true
    }

    /// Inserts an element in front of the one with this index, or behind it.
    /// [`List::prepare`] has been called for it.
    pub fn insert(&mut self, index: usize, behind: bool, element: Element, limit: Limit) {
        match self {
            List::Small(block) => match block.seek(index) {
                Some(place) if behind => block.insert_after(place, element),
                Some(place) => block.insert_before(place, element),
                None => {}
            },
            List::Big(nodes) => nodes.insert(index, behind, element, limit),
        }
    }

    /// Takes out `count` elements from index `first` on; those of them that exist.
    pub fn remove_range(&mut self, first: usize, count: usize, limit: Limit) {
        match self {
            List::Small(block) => block.remove_range(first, count),
            List::Big(nodes) => {
                nodes.remove_range(first, count);
                self.settle(limit, true);
            }
        }
    }

    /// Takes out up to `max` elements that are `element`, searched from an end; how many.
    pub fn remove_equal(&mut self, element: Element, from: End, max: usize, limit: Limit) -> usize {
        match self {
            List::Small(block) => nodes::remove_equal(block, element, from, max),
            List::Big(nodes) => {
                let removed = nodes.remove_equal(element, from, max);
                self.settle(limit, true);
                removed
            }
        }
    }

    /// The index of the first element that is `element`.
    pub fn position(&self, element: Element) -> Option<usize> {
        let mut before = 0;
        for block in self.blocks() {
            if let Some(index) = block.position(element) {
                return Some(before + index);
            }
            before += block.len();
        }
        None
    }

    /// The blocks in their order.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = &Packed> {
        let (first, second) = match self {
            List::Small(block) => (std::slice::from_ref(block), &[][..]),
            List::Big(nodes) => nodes.slices(),
        };
        first.iter().chain(second)
    }

    /// Block and index within it of the element with this index; the end if there is none.
    fn locate(&self, index: usize) -> (usize, usize) {
        match self {
            List::Small(_) => (0, index),
            List::Big(nodes) => nodes.locate(index),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        self.blocks().flat_map(Packed::iter)
    }

    /// The elements from index `first` to the end.
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = Element<'_>> {
        let (block, within) = self.locate(first);
        let mut blocks = self.blocks().skip(block);
        let head = blocks.next().into_iter().flat_map(move |block| block.iter_from(within));
        head.chain(blocks.flat_map(Packed::iter))
    }

    /// The elements before index `end`, the last one first.
    pub fn iter_back_from(&self, end: usize) -> impl Iterator<Item = Element<'_>> {
        let end = end.min(self.len());
        let (block, within) = match end.checked_sub(1) {
            Some(last) => self.locate(last),
            None => (0, 0),
        };
        let count = if end == 0 { 0 } else { within + 1 };
        let after = self.blocks().count() - block;
        let mut blocks = self.blocks().rev().skip(after.saturating_sub(1));
        let head = blocks.next().into_iter().flat_map(move |block| block.iter_to(count).rev());
        head.chain(blocks.flat_map(|block| block.iter().rev()))
    }
}

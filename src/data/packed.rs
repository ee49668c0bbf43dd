//! A packed block: a sequence of strings and integers in one allocation, walkable in both
//! directions; the small form of lists, hashes and sets, and what the big form of a list is made of.
//!
//! ```text
//!   capacity  |<------------------------------------------------------->|
//!             | free | b0 | payload 0 | b1 | payload 1 | ... | bn | free |
//!                    ^ start                                      ^ end
//!   b(i) = tag of element i-1  XOR  tag of element i; there is no element -1 or n: tag 0
//! ```
//!
//! A tag tells kind and length of an element (`element.rs`). As in a linked list with XORed
//! pointers, one byte between two elements serves both directions: who knows the tag on one side
//! learns the one on the other. So an element of up to 127 bytes costs one byte more than its
//! text, where Redis' listpack takes two, and integers up to 111 cost nothing else.
//!
//! The content lies anywhere in the allocation, so that both ends grow and shrink without moving
//! the rest. Capacities are the allocator's sizes; less than half full, a block is moved to a
//! smaller one.
//!
//! Invariants: `count` elements between `start` and `end`; an empty block has no bytes;
//! `listpack` is the sum of the elements' sizes in Redis' format.

mod element;
#[cfg(test)]
mod tests;

pub use element::Element;

use super::entry::allocation_size;
use element::{Code, payload_len, payload_len_before, read};

/// Bytes of a listpack without elements.
const LISTPACK_EMPTY: usize = 7;
/// A block of this capacity is not worth moving to a smaller one.
const KEPT_CAPACITY: usize = 64;

/// See the module's documentation.
#[derive(Default, Clone)]
pub struct Packed {
    bytes: Box<[u8]>,
    start: u32,
    end: u32,
    count: u32,
    listpack: u32,
}

const _: () = assert!(size_of::<Packed>() == 32);

/// Where an element is, until the block is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The boundary byte in front of it, counted from `start`.
    at: u32,
    tag: u8,
}

impl Packed {
    /// Longest string that an element can be.
    pub const ELEMENT_MAX: usize = u32::MAX as usize - 64;

    pub fn new() -> Packed {
        Packed::default()
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the content.
    #[inline]
    pub fn byte_len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Bytes by which `element` would make it longer (one less than that in an empty block).
    #[inline]
    pub fn cost_of(element: Element) -> usize {
        Code::new(element).payload_len() + 1
    }

    /// Bytes that a listpack of the same elements would have.
    #[inline]
    pub fn listpack_len(&self) -> usize {
        LISTPACK_EMPTY + self.listpack as usize
    }

    /// Bytes of memory behind the block.
    pub fn allocated(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn content(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    #[inline]
    fn content_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start as usize..self.end as usize]
    }

    #[inline]
    pub fn first(&self) -> Option<Place> {
        let tag = *self.content().first()?;
        Some(Place { at: 0, tag })
    }

    #[inline]
    pub fn last(&self) -> Option<Place> {
        let (tag, before) = self.content().split_last()?;
        let at = before.len() - payload_len_before(*tag, before) - 1;
        Some(Place { at: at as u32, tag: *tag })
    }

    /// The boundary behind an element.
    #[inline]
    fn behind(&self, place: Place) -> usize {
        let from = place.at as usize + 1;
        from + payload_len(place.tag, &self.content()[from..])
    }

    #[inline]
    pub fn next(&self, place: Place) -> Option<Place> {
        let at = self.behind(place);
        let content = self.content();
        (at + 1 < content.len()).then(|| Place { at: at as u32, tag: content[at] ^ place.tag })
    }

    #[inline]
    pub fn prev(&self, place: Place) -> Option<Place> {
        let (boundary, before) = self.content()[..=place.at as usize].split_last()?;
        if before.is_empty() {
            return None;
        }
        let tag = boundary ^ place.tag;
        let at = before.len() - payload_len_before(tag, before) - 1;
        Some(Place { at: at as u32, tag })
    }

    #[inline]
    pub fn get(&self, place: Place) -> Element<'_> {
        read(place.tag, &self.content()[place.at as usize + 1..])
    }

    /// The element with this index, found from the nearer end.
    pub fn seek(&self, index: usize) -> Option<Place> {
        if index >= self.len() {
            return None;
        }
        if index <= self.len() / 2 {
            let mut place = self.first();
            for _ in 0..index {
                place = self.next(place?);
            }
            return place;
        }
        let mut place = self.last();
        for _ in index + 1..self.len() {
            place = self.prev(place?);
        }
        place
    }

    /// The first of the elements `from`, `from + step`, `from + 2 * step`, ... that is `element`:
    /// with a step of 2 the fields of a sequence of fields and values.
    pub fn find(&self, element: Element, from: Option<Place>, step: usize) -> Option<Place> {
        let code = Code::new(element);
        let content = self.content();
        let mut place = from;
        while let Some(at) = place {
            if code.is(at.tag, &content[at.at as usize + 1..]) {
                return place;
            }
            for _ in 0..step {
                place = self.next(place?);
            }
        }
        None
    }

    /// The index of the first element that is `element`.
    pub fn position(&self, element: Element) -> Option<usize> {
        let code = Code::new(element);
        self.places().position(|place| self.holds(place, &code))
    }

    /// How many elements are `element`.
    pub fn count_of(&self, element: Element) -> usize {
        let code = Code::new(element);
        self.places().filter(|place| self.holds(*place, &code)).count()
    }

    fn holds(&self, place: Place, code: &Code) -> bool {
        code.is(place.tag, &self.content()[place.at as usize + 1..])
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::successors(self.first(), |place| self.next(*place))
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { block: self, front: self.first(), back: self.last(), left: self.len() }
    }

    /// The elements from index `first` to the end.
    pub fn iter_from(&self, first: usize) -> Iter<'_> {
        let left = self.len().saturating_sub(first);
        Iter { block: self, front: self.seek(first), back: self.last(), left }
    }

    /// The elements before index `end`.
    pub fn iter_to(&self, end: usize) -> Iter<'_> {
        let left = end.min(self.len());
        let back = left.checked_sub(1).and_then(|last| self.seek(last));
        Iter { block: self, front: self.first(), back, left }
    }

    pub fn push_back(&mut self, element: Element) {
        self.insert_at(self.byte_len().saturating_sub(1), 0, element);
    }

    pub fn push_front(&mut self, element: Element) {
        let next = self.first().map_or(0, |first| first.tag);
        self.insert_at(0, next, element);
    }

    pub fn insert_before(&mut self, place: Place, element: Element) {
        self.insert_at(place.at as usize, place.tag, element);
    }

    pub fn insert_after(&mut self, place: Place, element: Element) {
        let at = self.behind(place);
        let next = self.content()[at] ^ place.tag;
        self.insert_at(at, next, element);
    }

    /// Inserts at the boundary `at`, in front of an element with the tag `next`.
    fn insert_at(&mut self, at: usize, next: u8, element: Element) {
        let code = Code::new(element);
        let len = code.payload_len();
        if self.is_empty() {
            let from = self.open(0, len + 2, false);
            self.bytes[from] = code.tag;
            self.bytes[from + len + 1] = code.tag;
            code.write(&mut self.bytes[from + 1..=from + len]);
        } else {
            let boundary = self.content()[at];
            // Room in front of the old boundary byte or behind it: two new ones in any case.
            let from = self.open(at, len + 1, at == 0);
            self.bytes[from] = boundary ^ next ^ code.tag;
            self.bytes[from + len + 1] = code.tag ^ next;
            code.write(&mut self.bytes[from + 1..=from + len]);
        }
        self.count += 1;
        self.listpack += element.listpack_len() as u32;
    }

    /// Puts another element in the place of one, and gives its new place.
    pub fn replace(&mut self, place: Place, element: Element) -> Place {
        let code = Code::new(element);
        let at = place.at as usize;
        let (old, new) = (self.behind(place) - at - 1, code.payload_len());
        self.listpack -= self.get(place).listpack_len() as u32;
        self.listpack += element.listpack_len() as u32;
        let change = place.tag ^ code.tag;
        if new > old {
            self.open(at + 1, new - old, false);
        } else if new < old {
            self.close(at + 1, old - new);
        }
        let content = self.content_mut();
        content[at] ^= change;
        content[at + 1 + new] ^= change;
        code.write(&mut content[at + 1..at + 1 + new]);
        self.shrink();
        Place { at: place.at, tag: code.tag }
    }

    /// Takes an element out, and gives the place of the one that followed it.
    pub fn remove(&mut self, place: Place) -> Option<Place> {
        let behind = self.behind(place);
        let next = self.content()[behind] ^ place.tag;
        let listpack = self.get(place).listpack_len();
        let is_last = behind + 1 == self.byte_len();
        self.cut(place.at as usize, behind, place.tag, next, (1, listpack));
        (!is_last).then_some(Place { at: place.at, tag: next })
    }

    pub fn pop_front(&mut self) {
        if let Some(first) = self.first() {
            self.remove(first);
        }
    }

    pub fn pop_back(&mut self) {
        if let Some(last) = self.last() {
            self.remove(last);
        }
    }

    /// Takes out `count` elements from index `first` on; those of them that exist.
    pub fn remove_range(&mut self, first: usize, count: usize) {
        let count = count.min(self.len().saturating_sub(first));
        if count == self.len() {
            return self.clear();
        }
        let Some(start) = self.seek(first).filter(|_| count > 0) else { return };
        let mut listpack = 0;
        let (mut last, mut place) = (start, Some(start));
        for _ in 0..count {
            let Some(here) = place else { break };
            listpack += self.get(here).listpack_len();
            last = here;
            place = self.next(here);
        }
        let next = place.map_or(0, |place| place.tag);
        let behind = self.behind(last);
        self.cut(start.at as usize, behind, start.tag, next, (count, listpack));
    }

    /// Takes out what is between two boundaries, given the tags of the first element taken out
    /// and of the one that follows, and how many there are with their size in a listpack.
    fn cut(&mut self, from: usize, to: usize, first: u8, next: u8, taken: (usize, usize)) {
        if taken.0 == self.len() {
            return self.clear();
        }
        self.content_mut()[to] = self.content()[from] ^ first ^ next;
        self.close(from, to - from);
        self.count -= taken.0 as u32;
        self.listpack -= taken.1 as u32;
        self.shrink();
    }

    /// Keeps the elements for which `keep` says so, asked in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(Element) -> bool) {
        let mut kept = Packed::new();
        kept.reserve(self.byte_len());
        for element in self.iter() {
            if keep(element) {
                kept.push_back(element);
            }
        }
        kept.shrink();
        *self = kept;
    }

    /// Takes out those elements equal to `element` whose number, counted from 0, is in `which`.
    pub fn remove_equal(&mut self, element: Element, which: std::ops::Range<usize>) {
        let mut seen = 0;
        self.retain(|other| {
            let equal = other == element;
            let taken = equal && which.contains(&seen);
            seen += usize::from(equal);
            !taken
        });
    }

    /// Cuts the block in two in front of index `at` and gives the second part.
    pub fn split_off(&mut self, at: usize) -> Packed {
        let mut tail = Packed::new();
        let Some(place) = self.seek(at) else { return tail };
        tail.reserve(self.byte_len() - place.at as usize);
        let mut next = Some(place);
        while let Some(here) = next {
            tail.push_back(self.get(here));
            next = self.next(here);
        }
        self.remove_range(at, tail.len());
        tail.shrink();
        tail
    }

    /// Adds all elements of another block at the end.
    pub fn append(&mut self, other: &Packed) {
        let Some(first) = other.first() else { return };
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        let (len, more) = (self.byte_len(), other.byte_len() - 1);
        let last = self.content()[len - 1];
        let from = self.open(len, more, false);
        self.bytes[from - 1] = last ^ first.tag;
        self.bytes[from..from + more].copy_from_slice(&other.content()[1..]);
        self.count += other.count;
        self.listpack += other.listpack;
    }

    pub fn clear(&mut self) {
        *self = Packed::new();
    }

    /// Gives back the memory that is free, once nothing more is to come.
    pub fn shrink_to_fit(&mut self) {
        if allocation_size(self.byte_len()) < self.bytes.len() {
            self.move_to(self.byte_len(), 0);
        }
    }

    /// Makes sure that so many bytes in all fit without another allocation.
    fn reserve(&mut self, bytes: usize) {
        if bytes > self.bytes.len() {
            self.move_to(bytes, 0);
        }
    }

    /// Less than half full, moves the content to a smaller allocation.
    #[inline]
    fn shrink(&mut self) {
        let len = self.byte_len();
        if len < self.bytes.len() / 2 && self.bytes.len() > KEPT_CAPACITY {
            self.move_to(len, 0);
        }
    }

    /// Moves the content to offset `start` of an allocation of at least `capacity` bytes.
    #[cold]
    fn move_to(&mut self, capacity: usize, start: usize) {
        let len = self.byte_len();
        let mut bytes = vec![0; allocation_size(capacity)].into_boxed_slice();
        bytes[start..start + len].copy_from_slice(self.content());
        self.bytes = bytes;
        self.place(start, len);
    }

    fn place(&mut self, start: usize, len: usize) {
        self.start = start as u32;
        self.end = u32::try_from(start + len).expect("blocks are shorter than 4 GiB");
    }

    /// Makes room for `len` bytes at offset `at` of the content and says where that is in the
    /// allocation. Room that is gained beyond goes to the front if more is expected there.
    #[inline]
    fn open(&mut self, at: usize, len: usize, at_front: bool) -> usize {
        let (start, end) = (self.start as usize, self.end as usize);
        let behind = self.bytes.len() - end;
        let less_behind = end - start - at <= at;
        if len <= behind && (less_behind || len > start) {
            self.bytes.copy_within(start + at..end, start + at + len);
            self.place(start, end - start + len);
        } else if len <= start {
            self.bytes.copy_within(start..start + at, start - len);
            self.place(start - len, end - start + len);
        } else {
            self.open_elsewhere(at, len, at_front);
        }
        self.start as usize + at
    }

    /// As [`Packed::open`], when neither side has room: the content moves, in this allocation if
    /// the two sides together have it, else to a greater one.
    fn open_elsewhere(&mut self, at: usize, len: usize, at_front: bool) {
        let total = self.byte_len() + len;
        if total > self.bytes.len() {
            let capacity = allocation_size(total);
            let mut bytes = vec![0; capacity].into_boxed_slice();
            let start = if at_front { capacity - total } else { 0 };
            let (head, tail) = self.content().split_at(at);
            bytes[start..start + at].copy_from_slice(head);
            bytes[start + at + len..start + total].copy_from_slice(tail);
            self.bytes = bytes;
            return self.place(start, total);
        }
        let (old, old_end) = (self.start as usize, self.end as usize);
        let start = if at_front { self.bytes.len() - total } else { 0 };
        // The part that moves towards the other one's old place goes second.
        if at_front {
            self.bytes.copy_within(old + at..old_end, start + at + len);
            self.bytes.copy_within(old..old + at, start);
        } else {
            self.bytes.copy_within(old..old + at, start);
            self.bytes.copy_within(old + at..old_end, start + at + len);
        }
        self.place(start, total);
    }

    /// Takes `len` bytes at offset `at` of the content away.
    #[inline]
    fn close(&mut self, at: usize, len: usize) {
        let (start, end) = (self.start as usize, self.end as usize);
        if at < end - start - at - len {
            self.bytes.copy_within(start..start + at, start + len);
            self.place(start + len, end - start - len);
        } else {
            self.bytes.copy_within(start + at + len..end, start + at);
            self.place(start, end - start - len);
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<Element<'a>> for Packed {
    fn from_iter<I: IntoIterator<Item = Element<'a>>>(elements: I) -> Packed {
        let mut block = Packed::new();
        elements.into_iter().for_each(|element| block.push_back(element));
        block
    }
}

/// The elements of a block, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    block: &'a Packed,
    front: Option<Place>,
    back: Option<Place>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        self.left = self.left.checked_sub(1)?;
        let place = self.front?;
        self.front = self.block.next(place);
        Some(self.block.get(place))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let place = self.back?;
        self.back = self.block.prev(place);
        Some(self.block.get(place))
    }
}

impl ExactSizeIterator for Iter<'_> {}

//! One bucket: a cache line, and the chain of overflow lines behind it.
//!
//! ```text
//!  byte  0      1      2      3      4      5      6      7        8 .. 63
//!      +------+------+------+------+------+------+------+------+-----------------+
//!      | tag0 | tag1 | tag2 | tag3 | tag4 | tag5 | tag6 | meta | 7 slots × 8     |
//!      +------+------+------+------+------+------+------+------+-----------------+
//!  tag   0: the slot is free; else 8 bits of the hash of its element (never 0)
//!  meta  bits 0..6: the element of that slot is marked; bit 7: the bucket is chained
//! ```
//!
//! A chained bucket has six elements; its slot 6 holds the pointer to an overflow bucket of the
//! same form, tag 6 is 0 and mark 6 is clear. The pointer's low six bits, free by alignment, are
//! a filter of the tags further down, so that most misses end in the first line.
//!
//! Invariants, on which every `unsafe` block here stands:
//!
//! 1. tag ≠ 0 ⇔ the slot holds a live element;
//! 2. chained ⇔ slot 6 holds a pointer to an overflow bucket that nothing else points to;
//! 3. in a chain, every bucket but the last has six elements, and the last has at least two
//!    (one would fit in the slot of the pointer).
//!
//! Functions take the raw head of a chain. Their common contract, "`head` is sound": it points to
//! an initialised bucket that is the first of its chain; nobody else uses the chain meanwhile, or
//! only reads while this function only reads.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

pub(super) const SLOTS: usize = 7;
const CHILD: usize = SLOTS - 1;
const CHAINED: u64 = 1 << 63;
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;
const LOW_7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// The top bit of each of the seven tag bytes.
const TAG_TOPS: u64 = 0x0080_8080_8080_8080;
const FILTER_BITS: usize = 6;
const FILTER: usize = (1 << FILTER_BITS) - 1;

/// The first eight bytes of a bucket as one word; tag 0 is the lowest byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Control(u64);

impl Control {
    pub(super) const EMPTY: Self = Self(0);

    /// The top bits of the hash: the bottom ones are the address.
    #[inline(always)]
    pub(super) fn tag_of(hash: u64) -> u8 {
        ((hash >> 56) as u8).max(1)
    }

    /// Slots whose tag is `tag`, exactly.
    #[inline(always)]
    fn matching(self, tag: u8) -> Slots {
        let zero_where_equal = self.0 ^ (EVERY_BYTE * u64::from(tag));
        let nonzero = ((zero_where_equal & LOW_7) + LOW_7) | zero_where_equal;
        Slots(!nonzero & TAG_TOPS)
    }

    #[inline(always)]
    pub(super) fn occupied(self) -> Slots {
        Slots((((self.0 & LOW_7) + LOW_7) | self.0) & TAG_TOPS)
    }

    #[inline(always)]
    fn first_free(self) -> Option<usize> {
        let free = !self.occupied().0 & TAG_TOPS & !((self.0 & CHAINED) >> 8);
        Slots(free).next()
    }

    /// Occupied slots whose element is marked.
    #[inline]
    fn marked(self) -> impl Iterator<Item = usize> {
        let marks = (self.0 >> 56) as u8;
        (0..SLOTS).filter(move |slot| marks & (1 << slot) != 0)
    }

    #[inline(always)]
    fn has_marks(self) -> bool {
        self.0 & (0x7f << 56) != 0
    }

    #[inline(always)]
    fn is_chained(self) -> bool {
        self.0 & CHAINED != 0
    }

    #[inline(always)]
    fn tag(self, slot: usize) -> u8 {
        (self.0 >> (8 * slot)) as u8
    }

    #[inline(always)]
    fn is_marked(self, slot: usize) -> bool {
        self.0 & (1 << (56 + slot)) != 0
    }

    #[inline(always)]
    fn put(&mut self, slot: usize, tag: u8, marked: bool) {
        self.clear(slot);
        self.0 |= (u64::from(tag) << (8 * slot)) | (u64::from(marked) << (56 + slot));
    }

    #[inline(always)]
    fn clear(&mut self, slot: usize) {
        self.0 &= !((0xff << (8 * slot)) | (1 << (56 + slot)));
    }

    #[inline(always)]
    fn set_mark(&mut self, slot: usize, marked: bool) {
        self.0 = (self.0 & !(1 << (56 + slot))) | (u64::from(marked) << (56 + slot));
    }
}

/// A set of slots, as the top bits of their tag bytes.
#[derive(Clone, Copy)]
pub(super) struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

union Slot<E> {
    element: ManuallyDrop<E>,
    child: *mut Bucket<E>,
    free: (),
}

#[repr(C, align(64))]
pub(super) struct Bucket<E> {
    control: Control,
    slots: [Slot<E>; SLOTS],
}

pub(super) type Link<E> = NonNull<Bucket<E>>;

impl<E> Bucket<E> {
    /// Evaluated by the table's constructor: an element fills one slot and no more.
    pub(super) const ONE_LINE: () = assert!(size_of::<E>() == 8 && size_of::<Self>() == 64);

    pub(super) fn empty() -> Self {
        Self { control: Control::EMPTY, slots: [const { Slot { free: () } }; SLOTS] }
    }
}

/// Where an element is.
pub(super) struct Place<E> {
    pub(super) bucket: Link<E>,
    pub(super) slot: usize,
}

impl<E> Place<E> {
    /// # Safety
    /// The place must be occupied, and the table untouched for as long as the reference lives.
    #[inline(always)]
    pub(super) unsafe fn element<'a>(&self) -> &'a E {
        // SAFETY: occupied (caller), so the slot is an element by invariant 1.
        unsafe { &(*self.bucket.as_ptr()).slots[self.slot].element }
    }

    /// # Safety
    /// As for [`Self::element`], and no other reference to the element may exist.
    #[inline(always)]
    pub(super) unsafe fn element_mut<'a>(&self) -> &'a mut E {
        // SAFETY: occupied and exclusive (caller).
        unsafe { &mut (*self.bucket.as_ptr()).slots[self.slot].element }
    }

    /// Sets the mark and gives its former state.
    ///
    /// # Safety
    /// The place must be occupied, the table exclusively the caller's.
    #[inline(always)]
    pub(super) unsafe fn set_mark(&self, marked: bool) -> bool {
        // SAFETY: a live bucket, exclusive (caller).
        let control = unsafe { &mut (*self.bucket.as_ptr()).control };
        let was = control.is_marked(self.slot);
        control.set_mark(self.slot, marked);
        was
    }

    /// # Safety
    /// The place must be occupied, the table not being written.
    #[inline(always)]
    pub(super) unsafe fn is_marked(&self) -> bool {
        // SAFETY: a live bucket (caller).
        unsafe { (*self.bucket.as_ptr()).control }.is_marked(self.slot)
    }
}

fn filter_bit(tag: u8) -> usize {
    1 << ((usize::from(tag) * FILTER_BITS) >> 8)
}

fn filter_of(control: Control) -> usize {
    control.occupied().fold(0, |filter, slot| filter | filter_bit(control.tag(slot)))
}

/// The child pointer of a bucket, with its filter.
///
/// # Safety
/// `at` is sound and chained.
#[inline(always)]
unsafe fn child_of<E>(at: Link<E>) -> (Link<E>, usize) {
    // SAFETY: chained, so slot 6 is a child pointer by invariant 2.
    let tagged = unsafe { (*at.as_ptr()).slots[CHILD].child };
    let child = tagged.map_addr(|address| address & !FILTER);
    // SAFETY: invariant 2: it points to a bucket, hence is not null.
    (unsafe { NonNull::new_unchecked(child) }, tagged.addr() & FILTER)
}

/// # Safety
/// `at` is live and exclusively the caller's, `child` is or becomes its only child.
unsafe fn set_child<E>(at: Link<E>, child: Link<E>, filter: usize) {
    let tagged = child.as_ptr().map_addr(|address| address | filter);
    // SAFETY: exclusive (caller); the caller accounts for what slot 6 held.
    unsafe { (*at.as_ptr()).slots[CHILD].child = tagged }
}

/// The bucket after `at` in its chain.
///
/// # Safety
/// `at` is a live bucket of a sound chain.
#[inline(always)]
pub(super) unsafe fn next_of<E>(at: Link<E>) -> Option<Link<E>> {
    // SAFETY: live (caller).
    if !unsafe { (*at.as_ptr()).control }.is_chained() {
        return None;
    }
    // SAFETY: chained.
    Some(unsafe { child_of(at) }.0)
}

/// # Safety
/// `at` is a live bucket.
#[inline(always)]
pub(super) unsafe fn control_of<E>(at: Link<E>) -> Control {
    // SAFETY: live (caller).
    unsafe { (*at.as_ptr()).control }
}

/// Finds the element with this tag for which `is` holds.
///
/// # Safety
/// `head` is sound.
#[inline(always)]
pub(super) unsafe fn find<E>(
    head: Link<E>,
    tag: u8,
    mut is: impl FnMut(&E) -> bool,
) -> Option<Place<E>> {
    let mut bucket = head;
    loop {
        // SAFETY: `bucket` is live: the head or reached by child pointers.
        let control = unsafe { control_of(bucket) };
        for slot in control.matching(tag) {
            let place = Place { bucket, slot };
            // SAFETY: its tag is not 0.
            if is(unsafe { place.element() }) {
                return Some(place);
            }
        }
        if !control.is_chained() {
            return None;
        }
        // SAFETY: chained.
        let (child, filter) = unsafe { child_of(bucket) };
        if filter & filter_bit(tag) == 0 {
            return None;
        }
        bucket = child;
    }
}

/// The first element of the head line with this tag, or else the line where the search for it
/// would go on: what to prefetch.
///
/// # Safety
/// `head` is sound.
#[inline]
pub(super) unsafe fn candidate<E>(head: Link<E>, tag: u8) -> Result<Place<E>, Option<Link<E>>> {
    // SAFETY: `head` is sound, and `next_of` only reads it.
    unsafe {
        match control_of(head).matching(tag).next() {
            Some(slot) => Ok(Place { bucket: head, slot }),
            None => Err(next_of(head)),
        }
    }
}

/// Adds an element. Gives the depth of the bucket that it went to (1 is the head).
///
/// # Safety
/// `head` is sound.
#[inline]
pub(super) unsafe fn push<E>(
    head: Link<E>,
    tag: u8,
    marked: bool,
    element: E,
    overflows: &mut usize,
) -> usize {
    let mut at = head;
    let mut depth = 1;
    loop {
        // SAFETY: `at` is live and exclusively ours.
        let bucket = unsafe { &mut *at.as_ptr() };
        if let Some(slot) = bucket.control.first_free() {
            bucket.control.put(slot, tag, marked);
            bucket.slots[slot].element = ManuallyDrop::new(element);
            return depth;
        }
        if !bucket.control.is_chained() {
            extend(bucket);
            *overflows += 1;
        }
        // SAFETY: chained, or has just become so.
        unsafe {
            let (child, filter) = child_of(at);
            set_child(at, child, filter | filter_bit(tag));
            at = child;
        }
        depth += 1;
    }
}

/// Chains a full bucket to a new one, which takes the element of the slot of the pointer.
#[cold]
fn extend<E>(bucket: &mut Bucket<E>) {
    let (tag, marked) = (bucket.control.tag(CHILD), bucket.control.is_marked(CHILD));
    let mut child = Box::new(Bucket::empty());
    // SAFETY: the bucket is full, so slot 6 is an element; it is overwritten below.
    child.slots[0].element = unsafe { std::ptr::read(&bucket.slots[CHILD].element) };
    child.control.put(0, tag, marked);
    bucket.control.clear(CHILD);
    bucket.control.0 |= CHAINED;
    let child = NonNull::from(Box::leak(child));
    // SAFETY: the child is new, so nothing else points to it, and `bucket` is exclusive.
    unsafe { set_child(NonNull::from(bucket), child, filter_bit(tag)) }
}

/// Takes an element out and closes the gap from the end of the chain.
///
/// # Safety
/// `head` is sound and `place` an occupied place in its chain.
pub(super) unsafe fn take<E>(head: Link<E>, place: &Place<E>, overflows: &mut usize) -> E {
    let mut parent = None;
    let mut last = head;
    // SAFETY: all buckets of the chain are live; nothing is freed in this walk.
    while let Some(child) = unsafe { next_of(last) } {
        parent = Some(last);
        last = child;
    }
    // SAFETY: occupied (caller), hence an element; its slot is overwritten or cleared next.
    let taken = unsafe { std::ptr::read(&(*place.bucket.as_ptr()).slots[place.slot].element) };
    // SAFETY: the buckets named are live and exclusively ours; the references made do not overlap.
    // The victim is occupied because the last bucket is never empty when it is not `place.bucket`.
    unsafe {
        if place.bucket == last {
            (*last.as_ptr()).control.clear(place.slot);
        } else if let Some(victim) = control_of(last).occupied().last() {
            let (tag, marked, element) = lift(last, victim);
            let gap = &mut *place.bucket.as_ptr();
            gap.control.put(place.slot, tag, marked);
            gap.slots[place.slot].element = element;
        }
        if let Some(parent) = parent {
            shorten(parent, last, overflows);
        }
    }
    ManuallyDrop::into_inner(taken)
}

/// Moves an element out of its slot, which becomes free.
///
/// # Safety
/// The bucket is live and exclusively the caller's, the slot occupied.
unsafe fn lift<E>(at: Link<E>, slot: usize) -> (u8, bool, ManuallyDrop<E>) {
    // SAFETY: exclusive and occupied (caller), so an element; the slot is free afterwards.
    unsafe {
        let bucket = &mut *at.as_ptr();
        let (tag, marked) = (bucket.control.tag(slot), bucket.control.is_marked(slot));
        let element = std::ptr::read(&bucket.slots[slot].element);
        bucket.control.clear(slot);
        (tag, marked, element)
    }
}

/// Restores invariant 3 after the last bucket of a chain lost an element.
///
/// # Safety
/// `last` is the child of `parent` and the end of the chain; both are exclusively the caller's.
unsafe fn shorten<E>(parent: Link<E>, last: Link<E>, overflows: &mut usize) {
    // SAFETY: live and exclusive (caller). When one element is left, it moves to the slot of
    // the child pointer and the child, which came from a Box, is freed with nothing in it.
    unsafe {
        let control = control_of(last);
        let mut left = control.occupied();
        match (left.next(), left.next()) {
            (Some(slot), None) => {
                let (tag, marked, element) = lift(last, slot);
                drop(Box::from_raw(last.as_ptr()));
                *overflows -= 1;
                let parent = &mut *parent.as_ptr();
                parent.control.0 &= !CHAINED;
                parent.control.put(CHILD, tag, marked);
                parent.slots[CHILD].element = element;
            }
            _ => set_child(parent, last, filter_of(control)),
        }
    }
}

/// Empties a chain, frees its overflow buckets and hands out (tag, marked, element) each.
/// `each` may add to the emptied head.
///
/// # Safety
/// `head` is sound.
pub(super) unsafe fn drain<E>(
    head: Link<E>,
    overflows: &mut usize,
    mut each: impl FnMut(u8, bool, E, &mut usize),
) {
    // SAFETY: the head's line is copied out and the head marked empty, so each element has one
    // owner. A bucket has no drop glue: should `each` panic, the rest leaks and nothing worse.
    let mut line = unsafe { std::ptr::replace(head.as_ptr(), Bucket::empty()) };
    loop {
        for slot in line.control.occupied() {
            // SAFETY: occupied, and handed out once.
            let element = unsafe { ManuallyDrop::take(&mut line.slots[slot].element) };
            each(line.control.tag(slot), line.control.is_marked(slot), element, overflows);
        }
        // SAFETY: `line` is a bucket copied out whole, so its child pointer is now only here.
        let Some(child) = (unsafe { next_of(NonNull::from(&mut line)) }) else { return };
        *overflows -= 1;
        // SAFETY: overflow buckets come from a Box, and nothing else points to this one.
        line = *unsafe { Box::from_raw(child.as_ptr()) };
    }
}

/// Visits the elements of a chain; with `marked_only`, the marked ones, without touching others.
///
/// # Safety
/// `head` is sound.
#[inline]
pub(super) unsafe fn visit<'a, E: 'a>(
    head: Link<E>,
    marked_only: bool,
    each: &mut dyn FnMut(&'a E),
) {
    let mut at = Some(head);
    while let Some(bucket) = at {
        // SAFETY: live: the head or reached by child pointers.
        let control = unsafe { control_of(bucket) };
        let mut show = |slot| {
            // SAFETY: the slot is occupied: it has a tag, or a mark, which only elements have.
            each(unsafe { Place { bucket, slot }.element() })
        };
        if !marked_only {
            control.occupied().for_each(&mut show);
        } else if control.has_marks() {
            control.marked().for_each(&mut show);
        }
        // SAFETY: live.
        at = unsafe { next_of(bucket) };
    }
}

/// As [`visit`] of all elements, for changes that leave their marks and their keys as they are.
///
/// # Safety
/// `head` is sound.
pub(super) unsafe fn visit_mut<E>(head: Link<E>, each: &mut dyn FnMut(&mut E)) {
    let mut at = Some(head);
    while let Some(bucket) = at {
        // SAFETY: live: the head or reached by child pointers.
        let control = unsafe { control_of(bucket) };
        for slot in control.occupied() {
            // SAFETY: the slot has a tag, and each element is shown once, alone.
            each(unsafe { Place { bucket, slot }.element_mut() });
        }
        // SAFETY: live.
        at = unsafe { next_of(bucket) };
    }
}

/// Element number `n` of a chain; with `marked_only`, number `n` of the marked ones.
///
/// # Safety
/// `head` is sound.
pub(super) unsafe fn nth<E>(head: Link<E>, mut n: usize, marked_only: bool) -> Option<Place<E>> {
    let mut at = Some(head);
    while let Some(bucket) = at {
        // SAFETY: live: the head or reached by child pointers.
        let control = unsafe { control_of(bucket) };
        for slot in control.occupied() {
            if marked_only && !control.is_marked(slot) {
                continue;
            }
            if n == 0 {
                return Some(Place { bucket, slot });
            }
            n -= 1;
        }
        // SAFETY: live.
        at = unsafe { next_of(bucket) };
    }
    None
}

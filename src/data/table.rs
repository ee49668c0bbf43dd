//! The hash table of a keyspace: linear hashing over cache-line buckets.
//!
//! Buckets are numbered from 0. With 2^L ≤ count < 2^(L+1), the bucket of a hash is its low L+1
//! bits if there is such a bucket, else its low L bits (Litwin, 1980). Growing adds one bucket and
//! splits one other; shrinking merges the last one back. So there is never a second table, never
//! a directory to double, never a pause: an insert costs one split at most, a removal one merge.
//!
//! ```text
//!   chunks ─► [ 1024 buckets of 64 bytes ] [ 1024 buckets ] [ 1024, the last ones not yet live ]
//!               │
//!               └─► bucket: 7 tags + meta, 7 elements ──► overflow bucket (see `bucket.rs`)
//! ```
//!
//! The first chunk doubles from one bucket up to its full size; a table that never held anything
//! has allocated nothing. Memory of a bucket is first touched when the bucket comes to life.
//!
//! **Positions.** The low 48 bits of a hash, reversed, are the position of its element. A bucket
//! then covers one interval of positions, and splitting or merging buckets splits or merges
//! intervals. A walk in order of positions that remembers only how far it came therefore sees each
//! element that stays, however the table grows and shrinks meanwhile. That position is the
//! cursor of SCAN; what comes or goes during the walk may be seen or not, and some elements twice.
//!
//! **Fill.** More elements per bucket cost fewer bytes and more overflow lines. Between two
//! doublings, on average (the filters in `bucket.rs` keep most misses to the first line):
//!
//! | elements per bucket | bytes per element | lines per hit | lines per miss |
//! |---|---|---|---|
//! | 4.5 | 15.9 | 1.09 | 1.07 |
//! | 5.0 | 15.0 | 1.12 | 1.10 |
//! | **5.5** | 14.3 | 1.15 | 1.13 |
//! | 6.0 | 13.8 | 1.19 | 1.16 |
//! | 6.5 | 13.4 | 1.22 | 1.20 |
//!
//! **Marks.** One bit per element in its bucket says whether it [is marked](Keyed::marked) (has
//! an expiry), so a search for marked elements reads bucket lines only.
//!
//! Deliberately absent: a choice of hash function (the caller's), which comes in with every call
//! because the caller needs it earlier, to prefetch; order; changing while iterating; atomics.

mod bucket;
mod buckets;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};
use std::ops::{Deref, DerefMut};

use super::prefetch::prefetch;
use bucket::{Control, Link, Place};
use buckets::Buckets;

/// The table grows while it has more than 11 elements to 2 buckets, and shrinks below 5 to 2: far
/// enough apart that no mix of inserts and removals splits and merges the same bucket in turn.
const GROW: (usize, usize) = (11, 2);
const SHRINK: (usize, usize) = (5, 2);
/// Elements of the bucket to be split next are asked for this many inserts ahead.
const SPLIT_NOTICE: usize = 2;
/// How many buckets ahead a scan asks for.
const SCAN_NOTICE: u64 = 4;
/// After how many rejections in a row [`Table::random`] takes the nearest element instead.
const RANDOM_TRIES: usize = 4096;

/// Positions, the cursors of [`Table::scan`], are below 2 to this power.
pub const POSITION_BITS: u32 = 48;

/// What a table can hold. The key of an element must not change while it is in a table.
pub trait Keyed {
    fn key(&self) -> &[u8];

    /// Where the memory starts that [`Self::key`] reads: worth a prefetch before the look.
    fn address(&self) -> *const u8;

    fn marked(&self) -> bool {
        false
    }

    /// Marked only because parts of it are, not as a whole. Such elements are also counted apart.
    fn marked_in_part(&self) -> bool {
        false
    }
}

pub struct Table<E, S = ahash::RandomState> {
    buckets: Buckets<E>,
    len: usize,
    marked: usize,
    /// Of the marked elements, those that are in part.
    in_part: usize,
    /// Overflow buckets.
    overflows: usize,
    /// The longest chain since the table was last empty, in buckets.
    deepest: usize,
    hasher: S,
}

// SAFETY: the table owns its buckets and elements as a Vec does; nothing is shared.
unsafe impl<E: Send, S: Send> Send for Table<E, S> {}

impl<E: Keyed> Table<E> {
    pub fn new() -> Self {
        Self::default()
    }
}

impl<E: Keyed, S: BuildHasher + Default> Default for Table<E, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<E, S> Table<E, S> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many elements are marked.
    pub fn marked_len(&self) -> usize {
        self.marked
    }

    /// How many elements are marked only in part.
    pub fn marked_in_part_len(&self) -> usize {
        self.in_part
    }

    /// Buckets, overflow buckets not counted: how many steps a full scan takes.
    pub fn buckets(&self) -> usize {
        self.buckets.count()
    }

    /// Bytes of the table's own memory, without its elements'.
    pub fn memory(&self) -> usize {
        self.buckets.memory() + self.overflows * size_of::<bucket::Bucket<E>>()
    }

    pub fn hasher(&self) -> &S {
        &self.hasher
    }

    /// Shows all elements of the bucket at `position` and gives the position of the next bucket,
    /// 0 when that was the last. Start with 0. Any number is a valid position.
    pub fn scan<'a>(&'a self, position: u64, each: &mut dyn FnMut(&'a E)) -> u64 {
        self.visit(position, false, each)
    }

    /// As [`Self::scan`], but shows marked elements only, and touches no others.
    pub fn scan_marked<'a>(&'a self, position: u64, each: &mut dyn FnMut(&'a E)) -> u64 {
        self.visit(position, true, each)
    }

    /// As [`Self::scan`], for changes that leave keys and marks as they are. Asks for the elements of
    /// the next bucket.
    pub fn scan_mut(&mut self, position: u64, each: &mut dyn FnMut(&mut E)) -> u64
    where
        E: Keyed,
    {
        if self.len == 0 {
            return 0;
        }
        let (index, next) = self.interval(position);
        let following = self.buckets.head(self.buckets.interval(next).0);
        // SAFETY: two live heads, maybe the same, one after the other, the second exclusively ours.
        unsafe {
            bucket::visit(following, false, &mut |element: &E| prefetch(element.address()));
            bucket::visit_mut(self.buckets.head(index), each);
        }
        next
    }

    fn visit<'a>(&'a self, position: u64, marked_only: bool, each: &mut dyn FnMut(&'a E)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let (index, next) = self.interval(position);
        // SAFETY: a live head; the elements are borrowed with the table.
        unsafe { bucket::visit(self.buckets.head(index), marked_only, each) }
        next
    }

    /// The bucket at a position and the position after it. Asks for a bucket further ahead.
    fn interval(&self, position: u64) -> (usize, u64) {
        let (index, next) = self.buckets.interval(position);
        let ahead = next.wrapping_add(next.wrapping_sub(position).wrapping_mul(SCAN_NOTICE));
        prefetch(self.buckets.head(self.buckets.interval(ahead).0).as_ptr().cast());
        (index, next)
    }

    /// All elements, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        let lines = (0..self.buckets.count()).flat_map(|index| {
            let head = self.buckets.head(index);
            // SAFETY: the head and what it leads to are live while the table is borrowed.
            std::iter::successors(Some(head), |&at| unsafe { bucket::next_of(at) })
        });
        lines.flat_map(|bucket| {
            // SAFETY: live, as above.
            let occupied = unsafe { bucket::control_of(bucket) }.occupied();
            // SAFETY: occupied; the element is borrowed with the table.
            occupied.map(move |slot| unsafe { Place { bucket, slot }.element() })
        })
    }

    /// How many buckets have 0, 1, 2, ... elements, overflow included.
    pub fn fill_histogram(&self) -> Vec<usize> {
        let mut histogram = Vec::new();
        for index in 0..self.buckets.count() {
            let mut elements = 0;
            // SAFETY: a live head, only read.
            unsafe { bucket::visit(self.buckets.head(index), false, &mut |_| elements += 1) };
            if histogram.len() <= elements {
                histogram.resize(elements + 1, 0);
            }
            histogram[elements] += 1;
        }
        histogram
    }

    /// Frees buckets from the end until `max` elements or empty buckets are gone; true when
    /// nothing is left. In between, this is a valid table of the rest.
    pub fn clear_step(&mut self, max: usize) -> bool
    where
        E: Keyed,
    {
        self.drain_step(max, &mut drop)
    }

    /// As [`Self::clear_step`], but hands the elements out.
    pub fn drain_step(&mut self, max: usize, taken: &mut dyn FnMut(E)) -> bool
    where
        E: Keyed,
    {
        self.drain(max, E::marked_in_part, taken)
    }

    /// As [`Self::drain_step`], given what says whether a marked element is so in part.
    fn drain(
        &mut self,
        max: usize,
        is_in_part: impl Fn(&E) -> bool,
        taken: &mut dyn FnMut(E),
    ) -> bool {
        let mut budget = max.max(1);
        while self.buckets.count() > 0 && budget > 0 {
            let last = self.buckets.head(self.buckets.count() - 1);
            let (mut gone, mut marked, mut in_part) = (0, 0, 0);
            // SAFETY: a live head, exclusively ours.
            unsafe {
                bucket::drain(last, &mut self.overflows, |_, mark, element, _| {
                    gone += 1;
                    marked += usize::from(mark);
                    in_part += usize::from(mark && is_in_part(&element));
                    taken(element);
                });
            }
            self.len -= gone;
            self.marked -= marked;
            self.in_part -= in_part;
            self.buckets.drop_last();
            budget = budget.saturating_sub(gone.max(1));
        }
        if self.len == 0 {
            self.deepest = 0;
        }
        self.buckets.count() == 0
    }

    /// Takes out what is at `place`, which is in the chain of `head`.
    ///
    /// # Safety
    /// The place is occupied and in the chain of `head`, a live head of this table.
    unsafe fn take(&mut self, head: Link<E>, place: &Place<E>) -> E
    where
        E: Keyed,
    {
        // SAFETY: as the caller promises.
        let (marked, element) =
            unsafe { (place.is_marked(), bucket::take(head, place, &mut self.overflows)) };
        self.len -= 1;
        self.marked -= usize::from(marked);
        self.in_part -= usize::from(marked && element.marked_in_part());
        element
    }

    /// Merges the last bucket back if the table has become too sparse. At most one merge per
    /// removal is enough: it takes more than one removal to call for the next.
    fn shrink(&mut self) {
        let count = self.buckets.count();
        if count <= 1 || self.len * SHRINK.1 >= count * SHRINK.0 {
            if self.len == 0 {
                self.deepest = 0;
            }
            return;
        }
        let heir = self.buckets.head(self.buckets.heir_of_last());
        let last = self.buckets.head(count - 1);
        let mut deepest = self.deepest;
        // SAFETY: two live heads, not the same, exclusively ours.
        unsafe {
            bucket::drain(last, &mut self.overflows, |tag, marked, element, overflows| {
                let depth = bucket::push(heir, tag, marked, element, overflows);
                deepest = deepest.max(depth);
            });
        }
        self.deepest = deepest;
        self.buckets.drop_last();
    }
}

impl<E: Keyed, S: BuildHasher> Table<E, S> {
    /// An empty table, which allocates nothing. Tables with the same hasher share their hashes.
    pub fn with_hasher(hasher: S) -> Self {
        const { bucket::Bucket::<E>::ONE_LINE };
        Self {
            buckets: Buckets::new(),
            len: 0,
            marked: 0,
            in_part: 0,
            overflows: 0,
            deepest: 0,
            hasher,
        }
    }

    /// The hash of a key, as all other calls want it.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_with(&self.hasher, key)
    }

    /// Asks for the bucket's cache line, some time before the look-up.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if self.buckets.count() != 0 {
            prefetch(self.buckets.head_of(hash).as_ptr().cast());
        }
    }

    /// Asks for the element that a look-up will probably read. Reads the bucket's line itself.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        if self.buckets.count() == 0 {
            return;
        }
        // SAFETY: a live head, only read.
        match unsafe { bucket::candidate(self.buckets.head_of(hash), Control::tag_of(hash)) } {
            Ok(place) => {
                // SAFETY: a place just found.
                let address = unsafe { place.element() }.address();
                // The key is in the first line, and a small value reaches into the second.
                prefetch(address);
                prefetch(address.wrapping_add(64));
            }
            Err(Some(child)) => prefetch(child.as_ptr().cast()),
            Err(None) => {}
        }
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<(Link<E>, Place<E>)> {
        self.find_where(hash, |element| element.key() == key)
    }

    /// As [`Self::find`], for whatever `is` holds.
    #[inline(always)]
    fn find_where(&self, hash: u64, is: impl FnMut(&E) -> bool) -> Option<(Link<E>, Place<E>)> {
        if self.buckets.count() == 0 {
            return None;
        }
        let head = self.buckets.head_of(hash);
        // SAFETY: a live head, only read.
        let place = unsafe { bucket::find(head, Control::tag_of(hash), is) }?;
        Some((head, place))
    }

    #[inline]
    pub fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.find(hash, key).is_some()
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&E> {
        let (_, place) = self.find(hash, key)?;
        // SAFETY: just found; the reference borrows the table.
        Some(unsafe { place.element() })
    }

    /// Any element for which `is` holds, of those that may have this hash.
    pub fn get_where(&self, hash: u64, is: impl FnMut(&E) -> bool) -> Option<&E> {
        let (_, place) = self.find_where(hash, is)?;
        // SAFETY: just found; the reference borrows the table.
        Some(unsafe { place.element() })
    }

    /// As [`Self::get_where`], taking the element out.
    pub fn remove_where(&mut self, hash: u64, is: impl FnMut(&E) -> bool) -> Option<E> {
        let (head, place) = self.find_where(hash, is)?;
        Some(Occupied::new(self, head, place).remove())
    }

    /// The element, for changing, replacing or removing it. Its mark is brought up to date when
    /// the returned guard goes.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<Occupied<'_, E, S>> {
        let (head, place) = self.find(hash, key)?;
        Some(Occupied::new(self, head, place))
    }

    /// Changes an element in place; gives what `change` gives, or None if the key is absent.
    pub fn update<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        change: impl FnOnce(&mut E) -> R,
    ) -> Option<R> {
        self.get_mut(hash, key).map(|mut found| change(&mut found))
    }

    /// Adds an element whose key is known to be absent.
    #[inline]
    pub fn insert(&mut self, hash: u64, element: E) {
        debug_assert!(!self.contains(hash, element.key()), "insert of a key that is present");
        debug_assert_eq!(hash, self.hash(element.key()), "insert with another key's hash");
        if self.buckets.count() == 0 {
            self.buckets.add();
        }
        let (head, marked) = (self.buckets.head_of(hash), element.marked());
        self.in_part += usize::from(marked && element.marked_in_part());
        let tag = Control::tag_of(hash);
        // SAFETY: a live head, exclusively ours.
        let depth = unsafe { bucket::push(head, tag, marked, element, &mut self.overflows) };
        self.deepest = self.deepest.max(depth);
        self.len += 1;
        self.marked += usize::from(marked);
        let room = (self.buckets.count() * GROW.0).checked_sub(self.len * GROW.1);
        match room {
            None => self.split(),
            Some(room) if room < SPLIT_NOTICE * GROW.1 => self.prefetch_split(),
            Some(_) => {}
        }
    }

    /// Whether the next [`Self::insert`] will make the table grow.
    #[inline]
    pub fn next_insert_splits(&self) -> bool {
        (self.len + 1) * GROW.1 > self.buckets.count().max(1) * GROW.0
    }

    /// Adds an element or replaces the one that has its key, which is returned.
    pub fn insert_or_replace(&mut self, hash: u64, element: E) -> Option<E> {
        if let Some(mut found) = self.get_mut(hash, element.key()) {
            return Some(std::mem::replace(&mut *found, element));
        }
        self.insert(hash, element);
        None
    }

    #[inline]
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        self.get_mut(hash, key).map(Occupied::remove)
    }

    /// As [`Self::scan_marked`], but takes out those elements for which `wanted` holds.
    pub fn extract_marked(
        &mut self,
        position: u64,
        wanted: &mut dyn FnMut(&E) -> bool,
        taken: &mut dyn FnMut(E),
    ) -> u64 {
        if self.marked == 0 {
            return 0;
        }
        let (index, next) = self.interval(position);
        let head = self.buckets.head(index);
        let (mut passed, before) = (0, self.len);
        // What fills a gap comes from behind, so what is not yet passed stays not yet passed.
        // SAFETY: a live head, exclusively ours.
        while let Some(place) = unsafe { bucket::nth(head, passed, true) } {
            // SAFETY: just found.
            if wanted(unsafe { place.element() }) {
                // SAFETY: just found in the chain of `head`.
                taken(unsafe { self.take(head, &place) });
            } else {
                passed += 1;
            }
        }
        for _ in self.len..before {
            self.shrink();
        }
        next
    }

    /// An element chosen by `random`, all being equally likely.
    pub fn random(&self, random: &mut impl FnMut() -> u64) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        // Any bucket, then any of as many places as the longest chain has: if there is nothing,
        // again.
        let places = (bucket::SLOTS - 1) * self.deepest + 1;
        let count = self.buckets.count();
        let mut index = 0;
        for _ in 0..RANDOM_TRIES {
            index = below(random(), count);
            // SAFETY: a live head, only read.
            let place =
                unsafe { bucket::nth(self.buckets.head(index), below(random(), places), false) };
            if let Some(place) = place {
                // SAFETY: just found; the reference borrows the table.
                return Some(unsafe { place.element() });
            }
        }
        // Next to impossible, unless `random` is far from random.
        (0..count).find_map(|step| {
            let head = self.buckets.head((index + step) % count);
            // SAFETY: a live head, only read; a place just found.
            unsafe { bucket::nth(head, 0, false).map(|place| place.element()) }
        })
    }

    /// Adds a bucket and moves its share of another bucket's elements there.
    fn split(&mut self) {
        let (from, bit) = self.buckets.next_split();
        self.buckets.add();
        let (from, new) = (self.buckets.head(from), self.buckets.head(self.buckets.count() - 1));
        let (hasher, mut deepest) = (&self.hasher, self.deepest);
        // SAFETY: two live heads, not the same, exclusively ours.
        unsafe {
            bucket::drain(from, &mut self.overflows, |tag, marked, element, overflows| {
                let moves = hash_with(hasher, element.key()) & bit != 0;
                let to = if moves { new } else { from };
                let depth = bucket::push(to, tag, marked, element, overflows);
                deepest = deepest.max(depth);
            });
        }
        self.deepest = deepest;
        let next = self.buckets.head(self.buckets.next_split().0);
        prefetch(next.as_ptr().cast());
    }

    /// Asks for the elements whose keys the next split will have to hash.
    fn prefetch_split(&self) {
        let head = self.buckets.head(self.buckets.next_split().0);
        // SAFETY: a live head, only read.
        unsafe { bucket::visit(head, false, &mut |element: &E| prefetch(element.address())) }
    }
}

impl<E, S> Drop for Table<E, S> {
    fn drop(&mut self) {
        self.drain(usize::MAX, |_| false, &mut drop);
    }
}

/// An element found by [`Table::get_mut`]. Dereferences to the element, which may be replaced by
/// another one with the same key.
pub struct Occupied<'t, E: Keyed, S: BuildHasher> {
    table: &'t mut Table<E, S>,
    head: Link<E>,
    place: Place<E>,
    was_in_part: bool,
}

impl<'t, E: Keyed, S: BuildHasher> Occupied<'t, E, S> {
    /// The guard of an occupied place in the chain of `head`, a live head of `table`.
    #[inline(always)]
    fn new(table: &'t mut Table<E, S>, head: Link<E>, place: Place<E>) -> Self {
        // SAFETY: occupied, and only read.
        let was_in_part = unsafe { place.element() }.marked_in_part();
        Self { table, head, place, was_in_part }
    }

    /// The element for as long as the table is borrowed, for changes that leave its mark as it is.
    #[inline]
    pub fn into_mut(self) -> &'t mut E {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: occupied, and the guard, which had the table to itself, is no more.
        unsafe { this.place.element_mut() }
    }

    /// Takes the element out.
    #[inline]
    pub fn remove(self) -> E {
        let mut this = std::mem::ManuallyDrop::new(self);
        let Self { table, head, place, .. } = &mut *this;
        // SAFETY: found in the chain of `head` in this exclusively borrowed table, and not used
        // again, as the guard's own drop does not run.
        let element = unsafe { table.take(*head, place) };
        table.shrink();
        element
    }
}

impl<E: Keyed, S: BuildHasher> Deref for Occupied<'_, E, S> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        // SAFETY: the place stays occupied while the guard borrows the table.
        unsafe { self.place.element() }
    }
}

impl<E: Keyed, S: BuildHasher> DerefMut for Occupied<'_, E, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        // SAFETY: as for `deref`, and the guard is borrowed exclusively.
        unsafe { self.place.element_mut() }
    }
}

impl<E: Keyed, S: BuildHasher> Drop for Occupied<'_, E, S> {
    #[inline]
    fn drop(&mut self) {
        let (marked, in_part) = (self.marked(), self.marked_in_part());
        // SAFETY: occupied, the table exclusively borrowed.
        let was = unsafe { self.place.set_mark(marked) };
        let (table, was_in_part) = (&mut *self.table, self.was_in_part);
        table.marked = table.marked + usize::from(marked) - usize::from(was);
        table.in_part = table.in_part + usize::from(in_part) - usize::from(was_in_part);
    }
}

#[inline]
fn hash_with(hasher: &impl BuildHasher, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Scales a random number to 0..limit.
fn below(random: u64, limit: usize) -> usize {
    ((u128::from(random) * limit as u128) >> 64) as usize
}

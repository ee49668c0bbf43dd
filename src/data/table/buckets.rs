//! The bucket heads of a table: where they are stored and which one a hash belongs to.
//!
//! A growable array of buckets in chunks, addressed by linear hashing. It knows nothing of
//! elements: who adds a bucket splits another into it, who drops the last has emptied it.
//!
//! Invariants: buckets 0..count are initialised; all chunks but the last are full-sized; the
//! only chunk of a small table has `first_capacity(count)` buckets.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::hint::select_unpredictable;
use std::ptr::NonNull;

use super::POSITION_BITS;
use super::bucket::{Bucket, Link};

/// Buckets per chunk: 64 KiB.
const CHUNK: usize = 1024;

pub(super) struct Buckets<E> {
    chunks: Vec<Link<E>>,
    count: usize,
    /// 2^L - 1 and 2^(L+1) - 1, where 2^L ≤ count < 2^(L+1).
    mask: usize,
    wide_mask: usize,
}

impl<E> Buckets<E> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), count: 0, mask: 0, wide_mask: 1 }
    }

    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        let buckets = if self.count <= CHUNK {
            first_capacity(self.count)
        } else {
            self.chunks.len() * CHUNK
        };
        buckets * size_of::<Bucket<E>>() + self.chunks.capacity() * size_of::<Link<E>>()
    }

    /// The bucket of a hash. There must be a bucket at all.
    #[inline(always)]
    pub(super) fn index(&self, hash: u64) -> usize {
        let wide = hash as usize & self.wide_mask;
        select_unpredictable(wide < self.count, wide, wide & self.mask)
    }

    #[inline(always)]
    pub(super) fn head(&self, index: usize) -> Link<E> {
        debug_assert!(index < self.count);
        // SAFETY: index < count, as all callers take it from `index`, `interval` or a range up to
        // `count`; so its chunk exists and has a bucket of that number.
        unsafe { self.chunks.get_unchecked(index / CHUNK).add(index % CHUNK) }
    }

    #[inline(always)]
    pub(super) fn head_of(&self, hash: u64) -> Link<E> {
        self.head(self.index(hash))
    }

    /// The bucket that the next one added will take its share from, and the bit of the hash
    /// that decides. There must be a bucket at all.
    #[inline(always)]
    pub(super) fn next_split(&self) -> (usize, u64) {
        (self.count & self.mask, self.mask as u64 + 1)
    }

    /// Adds an empty bucket at the end.
    pub(super) fn add(&mut self) {
        if self.count.is_multiple_of(CHUNK) {
            let buckets = if self.count == 0 { 1 } else { CHUNK };
            self.chunks.push(allocate(buckets));
        } else if self.count < CHUNK && self.count.is_power_of_two() {
            self.chunks[0] = resize(self.chunks[0], self.count, 2 * self.count);
        }
        self.count += 1;
        if self.count > self.wide_mask {
            self.mask = self.wide_mask;
            self.wide_mask = 2 * self.wide_mask + 1;
        }
        // SAFETY: the chunk has room for it, and nobody knows of it yet.
        unsafe { self.head(self.count - 1).write(Bucket::empty()) }
    }

    /// The bucket that takes over when the last one goes. There must be two at least.
    pub(super) fn heir_of_last(&self) -> usize {
        let last = self.count - 1;
        last & if last > self.mask { self.mask } else { self.mask >> 1 }
    }

    /// Drops the last bucket, which must be empty.
    pub(super) fn drop_last(&mut self) {
        self.count -= 1;
        if self.count <= self.mask && self.mask > 0 {
            self.wide_mask = self.mask;
            self.mask >>= 1;
        }
        if self.count.is_multiple_of(CHUNK) {
            let buckets = if self.count == 0 { 1 } else { CHUNK };
            if let Some(chunk) = self.chunks.pop() {
                // SAFETY: a chunk of that size, in which no bucket is alive any more.
                unsafe { dealloc(chunk.as_ptr().cast(), layout::<E>(buckets)) }
            }
            if self.chunks.is_empty() {
                self.chunks = Vec::new();
            }
        } else if self.count < CHUNK && self.count.is_power_of_two() {
            self.chunks[0] = resize(self.chunks[0], 2 * self.count, self.count);
        }
    }

    /// The bucket that covers a position, and the first position after it (0 after the last).
    /// There must be a bucket at all.
    pub(super) fn interval(&self, position: u64) -> (usize, u64) {
        let position = position & ((1 << POSITION_BITS) - 1);
        let hash = (position << (u64::BITS - POSITION_BITS)).reverse_bits();
        let index = self.index(hash);
        let level = (self.mask + 1).ilog2();
        // Bucket numbers that differ only in bit L are the halves of a bucket that was split.
        let split = (index & self.mask) + self.mask + 1 < self.count;
        let width = 1 << (POSITION_BITS - level - u32::from(split));
        let next = (position & !(width - 1)) + width;
        (index, next & ((1 << POSITION_BITS) - 1))
    }
}

impl<E> Drop for Buckets<E> {
    fn drop(&mut self) {
        // The table has emptied the buckets; if it could not because an element's drop
        // panicked, elements leak.
        while self.count > 0 {
            self.drop_last();
        }
    }
}

fn first_capacity(count: usize) -> usize {
    if count == 0 { 0 } else { count.next_power_of_two() }
}

fn layout<E>(buckets: usize) -> Layout {
    Layout::array::<Bucket<E>>(buckets).expect("at most 64 KiB")
}

fn allocate<E>(buckets: usize) -> Link<E> {
    let layout = layout::<E>(buckets);
    // SAFETY: the size is not 0.
    let chunk = unsafe { alloc(layout) };
    NonNull::new(chunk.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Moves the first chunk into one of another size, with as many buckets as fit.
fn resize<E>(chunk: Link<E>, from: usize, to: usize) -> Link<E> {
    let bytes = layout::<E>(to).size();
    // SAFETY: allocated by `allocate` or `resize` with `from` buckets; the new size is not 0.
    let moved = unsafe { realloc(chunk.as_ptr().cast(), layout::<E>(from), bytes) };
    NonNull::new(moved.cast()).unwrap_or_else(|| handle_alloc_error(layout::<E>(to)))
}

//! What a shard keeps to use it again: buffers for replies, and batches.
//!
//! There is a bound for the number and one for the bytes: what is kept counts as used memory, and what has once
//! held a large reply is as large from then on.

use super::conn::KEPT_BUFFER;
use crate::route::Batch;

/// Buffers or batches.
const COUNT: usize = 256;
/// Bytes that they may have room for, together; less when memory is limited.
const BYTES: usize = 2 << 20;

/// Something with room to be used again.
pub(super) trait Reusable: Default {
    /// Bytes.
    fn room(&self) -> usize;

    /// Has it empty, with no more room than is to be kept.
    fn empty(&mut self);
}

pub(super) struct Pool<T> {
    kept: Vec<T>,
    bytes: usize,
    most: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { kept: Vec::new(), bytes: 0, most: BYTES }
    }
}

impl<T: Reusable> Pool<T> {
    pub fn take(&mut self) -> T {
        let Some(item) = self.kept.pop() else { return T::default() };
        self.bytes -= item.room();
        item
    }

    /// Keeps no more than a small part of the memory that there is; 0 is no limit.
    pub fn limit(&mut self, memory: u64, shards: usize) {
        let part = usize::try_from(memory / 256).unwrap_or(usize::MAX) / shards;
        self.most = if memory == 0 { BYTES } else { part.min(BYTES) };
        while self.bytes > self.most {
            drop(self.take());
        }
    }

    pub fn keep(&mut self, mut item: T) {
        item.empty();
        let room = item.room();
        if room > 0 && self.kept.len() < COUNT && self.bytes + room <= self.most {
            self.bytes += room;
            self.kept.push(item);
        }
    }
}

impl Reusable for Vec<u8> {
    fn room(&self) -> usize {
        self.capacity()
    }

    fn empty(&mut self) {
        match self.capacity() > KEPT_BUFFER {
            true => *self = Vec::new(),
            false => self.clear(),
        }
    }
}

impl Reusable for Box<Batch> {
    fn room(&self) -> usize {
        self.capacity()
    }

    fn empty(&mut self) {
        self.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_bounds() {
        let mut pool = Pool::default();
        (0..1000).for_each(|_| pool.keep(Vec::with_capacity(100)));
        assert_eq!((pool.kept.len(), pool.bytes), (COUNT, 100 * COUNT));
        assert_eq!((pool.take().capacity(), pool.bytes), (100, 100 * (COUNT - 1)));
        let mut pool = Pool::default();
        (0..1000).for_each(|_| pool.keep(vec![1; KEPT_BUFFER]));
        assert_eq!((pool.kept.len(), pool.bytes), (BYTES / KEPT_BUFFER, BYTES));
        assert!(pool.take().is_empty());
        pool.limit(1 << 26, 2);
        assert_eq!(pool.bytes, 1 << 17);
        let mut pool = Pool::default();
        pool.keep(vec![1; KEPT_BUFFER + 1]);
        pool.keep(Vec::new());
        assert!(pool.kept.is_empty(), "one is too large, the other is not worth it");
        assert_eq!(pool.take().capacity(), 0);
    }
}

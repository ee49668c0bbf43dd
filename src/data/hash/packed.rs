//! The small form of a hash: all its records in one block, in the order in which they came.
//!
//! ```text
//!   [ record ][ record ] ...        see `record.rs`; never with an expiry
//! ```
//!
//! The block is allocated in the allocator's own sizes, so that what it would round up to is ours
//! to grow into. An empty hash has no block, and one that is about to be filled gets all of it at
//! once.

use super::record::{Draft, FieldValue, Head};
use crate::data::entry::allocation_size;

/// Blocks stay below this, and the number of records in them then fits in 32 bits.
pub(super) const BLOCK_MAX: usize = 1 << 30;

#[derive(Debug, Default)]
pub(super) struct Packed {
    block: Vec<u8>,
    len: u32,
}

/// A record in a block: where it begins, and its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    at: usize,
    head: Head,
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of the block.
    pub(super) fn bytes(&self) -> usize {
        self.block.len()
    }

    /// Bytes of memory of the block.
    pub(super) fn allocated(&self) -> usize {
        allocation_size(self.block.capacity())
    }

    pub(super) fn duplicate(&self) -> Packed {
        let mut block = Vec::with_capacity(allocation_size(self.block.len()));
        block.extend_from_slice(&self.block);
        Packed { block, len: self.len }
    }

    /// Makes room for about so many bytes more of records.
    pub(super) fn expect(&mut self, bytes: usize) {
        let needed = self.block.len() + bytes;
        if needed > self.block.capacity() {
            self.block.reserve_exact(allocation_size(needed) - self.block.len());
        }
    }

    /// Gives back room that was made for more than has come.
    pub(super) fn fit(&mut self) {
        let needed = allocation_size(self.block.len());
        if needed < self.block.capacity() {
            self.block.shrink_to(needed);
        }
    }

    #[inline]
    pub(super) fn find(&self, field: &[u8]) -> Option<Spot> {
        let block = self.block.as_slice();
        let mut at = 0;
        while at < block.len() {
            let head = Head::read(&block[at..]);
            // Fields of one hash tend to begin alike, so look at the end first.
            if head.field == field.len() {
                let stored = head.field(&block[at..]);
                if stored.last() == field.last() && stored == field {
                    return Some(Spot { at, head });
                }
            }
            at += head.total();
        }
        None
    }

    #[inline]
    pub(super) fn value(&self, spot: Spot) -> FieldValue<'_> {
        spot.head.value(&self.block[spot.at..])
    }

    pub(super) fn iter(&self) -> Records<'_> {
        Records { rest: &self.block }
    }

    /// Writes a record in place of another one, or at the end.
    #[inline]
    pub(super) fn put(&mut self, spot: Option<Spot>, draft: &Draft) {
        let at = match spot {
            Some(spot) => {
                self.resize(spot.at, spot.head.total(), draft.total());
                spot.at
            }
            None => {
                self.len += 1;
                let at = self.block.len();
                self.resize(at, 0, draft.total());
                at
            }
        };
        let mut room = &mut self.block[at..];
        for part in draft.parts() {
            let (to, rest) = room.split_at_mut(part.len());
            to.copy_from_slice(part);
            room = rest;
        }
    }

    pub(super) fn remove(&mut self, spot: Spot) {
        self.resize(spot.at, spot.head.total(), 0);
        self.len -= 1;
    }

    /// Makes the bytes of a record at `at` more or fewer; what they are then is up to the caller.
    #[inline]
    fn resize(&mut self, at: usize, from: usize, to: usize) {
        let old = self.block.len();
        let new = old - from + to;
        if to > from {
            if new > self.block.capacity() {
                self.block.reserve_exact(allocation_size(new) - old);
            }
            self.block.resize(new, 0);
            self.block.copy_within(at + from..old, at + to);
        } else if to < from {
            self.block.copy_within(at + from.., at + to);
            self.block.truncate(new);
            // A quarter may go to waste before the block moves.
            if allocation_size(new) * 4 < self.block.capacity() * 3 {
                self.block.shrink_to(allocation_size(new));
            }
        }
    }
}

/// The records of a block, in order.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = (&'a [u8], FieldValue<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (bytes, head) = (self.rest, Head::read(self.rest));
        self.rest = &bytes[head.total()..];
        Some((head.field(bytes), head.value(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(packed: &mut Packed, field: &str, value: &str) {
        let spot = packed.find(field.as_bytes());
        let value = FieldValue::of(value.as_bytes());
        packed.put(spot, &Draft::new(field.as_bytes(), value, None));
    }

    fn shown(packed: &Packed) -> String {
        let record = |(field, value): (&[u8], FieldValue)| {
            let value = match value {
                FieldValue::Int(int) => format!("#{int}"),
                FieldValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            };
            format!("{}={value}", String::from_utf8_lossy(field))
        };
        packed.iter().map(record).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn records_keep_their_place_when_values_change() {
        let mut packed = Packed::default();
        assert_eq!((packed.len(), packed.allocated(), shown(&packed).as_str()), (0, 0, ""));
        for (field, value) in [("a", "x"), ("b", "12"), ("", "y"), ("b", "long text"), ("a", "-7")]
        {
            put(&mut packed, field, value);
        }
        assert_eq!((packed.len(), shown(&packed).as_str()), (3, "a=#-7 b=long text =y"));
        assert!(packed.find(b"c").is_none());
        let spot = packed.find(b"b").unwrap();
        assert_eq!(packed.value(spot), FieldValue::Bytes(b"long text"));
        packed.remove(spot);
        assert_eq!(shown(&packed.duplicate()), "a=#-7 =y");
        let spot = packed.find(b"").unwrap();
        packed.remove(spot);
        let spot = packed.find(b"a").unwrap();
        packed.remove(spot);
        assert_eq!((packed.len(), shown(&packed).as_str()), (0, ""));
    }

    #[test]
    fn memory_follows_the_contents() {
        let mut packed = Packed::default();
        for n in 0..100 {
            put(&mut packed, &format!("field:{n:03}"), &format!("value:{n:03}"));
            assert_eq!(packed.allocated(), allocation_size(packed.bytes()));
        }
        assert_eq!(packed.bytes(), 100 * 20);
        for n in 0..100 {
            let spot = packed.find(format!("field:{n:03}").as_bytes()).unwrap();
            packed.remove(spot);
            assert!(packed.allocated() * 3 <= allocation_size(packed.bytes()) * 4);
        }
        assert_eq!(packed.allocated(), 0);
        packed.expect(1000);
        assert_eq!(packed.allocated(), 1024);
        put(&mut packed, "field", "value");
        packed.fit();
        assert_eq!((packed.allocated(), shown(&packed).as_str()), (16, "field=value"));
    }
}

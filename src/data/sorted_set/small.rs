//! A small sorted set: its elements one after another in one block, in order.
//!
//! ```text
//!   +-----+---------------+--------+-------+-----+---------------+--------+-------+---
//!   | tag | rest of score | length | bytes | tag | rest of score | length | bytes | ...
//!   +-----+---------------+--------+-------+-----+---------------+--------+-------+---
//!   tag      0..=239      the score itself, an integer
//!            240..=243    an integer of 2, 3, 4 or 6 bytes follows
//!            244, 245     a float of 4 or 8 bytes follows
//!   length   seven bits a byte, the lowest first; the top bit says that there are more
//! ```
//!
//! All numbers are little-endian. An element with a small integer as score takes two bytes more
//! than its text. Minus zero is stored as zero, as Redis' listpack does it.
//!
//! Everything is a walk from the front, which is why such a set is kept small by its owner.
//!
//! Invariants: `len` elements in strictly ascending order fill the block; members differ.

use crate::data::entry::allocation_size;
use smallvec::SmallVec;
use std::ops::Range;

/// Integers up to here are their own tags.
const PLAIN_MAX: u8 = 239;
const INT_16: u8 = 240;
const INT_24: u8 = 241;
const INT_32: u8 = 242;
const INT_48: u8 = 243;
const FLOAT_32: u8 = 244;
const FLOAT_64: u8 = 245;

/// Bytes of the score behind its tag.
const fn score_len(tag: u8) -> usize {
    match tag {
        0..=PLAIN_MAX => 0,
        INT_16 => 2,
        INT_24 => 3,
        INT_32 | FLOAT_32 => 4,
        INT_48 => 6,
        _ => 8,
    }
}

#[derive(Clone, Default)]
pub(super) struct Small {
    block: Vec<u8>,
    len: u32,
}

/// One element, and where it is in the block.
#[derive(Clone, Copy)]
struct Element<'b> {
    member: &'b [u8],
    score: f64,
    start: usize,
    end: usize,
}

fn encode_score(score: f64) -> SmallVec<[u8; 9]> {
    let int = score as i64;
    let mut bytes = SmallVec::new();
    if int as f64 == score && int.unsigned_abs() < 1 << 47 {
        let (tag, len) = match int {
            0..=239 => (int as u8, 0),
            -0x8000..=0x7fff => (INT_16, 2),
            -0x80_0000..=0x7f_ffff => (INT_24, 3),
            -0x8000_0000..=0x7fff_ffff => (INT_32, 4),
            _ => (INT_48, 6),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&int.to_le_bytes()[..len]);
    } else if f64::from(score as f32) == score {
        bytes.push(FLOAT_32);
        bytes.extend_from_slice(&(score as f32).to_le_bytes());
    } else {
        bytes.push(FLOAT_64);
        bytes.extend_from_slice(&score.to_le_bytes());
    }
    bytes
}

#[inline]
fn decode_score(tag: u8, rest: &[u8]) -> f64 {
    let int = |len: usize| {
        let mut bytes = [0; 8];
        bytes[8 - len..].copy_from_slice(&rest[..len]);
        (i64::from_le_bytes(bytes) >> (64 - 8 * len)) as f64
    };
    let mut bytes = [0; 8];
    match tag {
        0..=PLAIN_MAX => f64::from(tag),
        FLOAT_32 => {
            bytes[..4].copy_from_slice(&rest[..4]);
            f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        }
        FLOAT_64 => {
            bytes.copy_from_slice(&rest[..8]);
            f64::from_le_bytes(bytes)
        }
        tag => int(score_len(tag)),
    }
}

fn encode_len(mut len: usize) -> SmallVec<[u8; 5]> {
    let mut bytes = SmallVec::new();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes
}

/// The length at the front of `bytes`, and how many bytes it takes.
#[inline]
fn decode_len(bytes: &[u8]) -> (usize, usize) {
    if bytes[0] < 0x80 {
        return (usize::from(bytes[0]), 1);
    }
    let (mut len, mut at) = (0, 0);
    loop {
        len |= usize::from(bytes[at] & 0x7f) << (7 * at);
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (len, at);
        }
    }
}

impl Small {
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of all elements.
    pub fn byte_len(&self) -> usize {
        self.block.len()
    }

    pub fn allocated(&self) -> usize {
        allocation_size(self.block.capacity())
    }

    /// The element that starts at an offset of the block.
    #[inline]
    fn read(&self, start: usize) -> Element<'_> {
        let bytes = &self.block[start..];
        let rest = score_len(bytes[0]);
        let score = decode_score(bytes[0], &bytes[1..]);
        let (len, taken) = decode_len(&bytes[1 + rest..]);
        let from = 1 + rest + taken;
        Element { member: &bytes[from..from + len], score, start, end: start + from + len }
    }

    fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let element = (at < self.block.len()).then(|| self.read(at))?;
            at = element.end;
            Some(element)
        })
    }

    /// A member with its rank.
    fn find(&self, member: &[u8]) -> Option<(usize, Element<'_>)> {
        let mut at = 0;
        for rank in 0..self.len() {
            // The score only of the one that is found.
            let bytes = &self.block[at..];
            let rest = score_len(bytes[0]);
            let (len, taken) = decode_len(&bytes[1 + rest..]);
            let from = 1 + rest + taken;
            if len == member.len() && &bytes[from..from + len] == member {
                return Some((rank, self.read(at)));
            }
            at += from + len;
        }
        None
    }

    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        self.find(member).map(|(rank, element)| (rank, element.score))
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(member).map(|(_, element)| element.score)
    }

    /// Adds a member that is known to be absent.
    pub fn insert(&mut self, member: &[u8], score: f64) {
        let behind = |e: &Element| e.score > score || (e.score == score && e.member > member);
        let at = self.elements().find(behind).map_or(self.block.len(), |element| element.start);
        self.insert_at(at, member, score);
    }

    /// Adds an element that comes after all others.
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.insert_at(self.block.len(), member, score);
    }

    fn insert_at(&mut self, at: usize, member: &[u8], score: f64) {
        let (score, len) = (encode_score(score), encode_len(member.len()));
        let (old, size) = (self.block.len(), score.len() + len.len() + member.len());
        if old + size > self.block.capacity() {
            self.block.reserve_exact(allocation_size(old + size) - old);
        }
        self.block.resize(old + size, 0);
        self.block.copy_within(at..old, at + size);
        let parts = [&score[..], &len[..], member];
        let mut to = at;
        for part in parts {
            self.block[to..to + part.len()].copy_from_slice(part);
            to += part.len();
        }
        self.len += 1;
    }

    /// Gives a member that is present another score.
    pub fn rescore(&mut self, member: &[u8], score: f64) {
        if self.remove(member).is_some() {
            self.insert(member, score);
        }
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let (_, Element { score, start, end, .. }) = self.find(member)?;
        self.cut(start, end, 1);
        Some(score)
    }

    pub fn remove_ranks(&mut self, ranks: Range<usize>, each: &mut dyn FnMut(&[u8], f64)) {
        let (mut start, mut end) = (0, 0);
        for (rank, element) in self.elements().enumerate().take(ranks.end) {
            if rank < ranks.start {
                start = element.end;
            } else {
                each(element.member, element.score);
            }
            end = element.end;
        }
        self.cut(start, end, ranks.len());
    }

    fn cut(&mut self, start: usize, end: usize, count: usize) {
        self.block.drain(start..end);
        self.len -= count as u32;
        if self.block.len() < self.block.capacity() / 2 {
            self.block.shrink_to(allocation_size(self.block.len()));
        }
    }

    /// All elements in ascending order.
    pub fn walk(&self) -> Walk<'_> {
        Walk { set: self, at: 0, left: self.len() }
    }

    /// The elements at some ranks, in ascending order.
    pub fn range(&self, ranks: Range<usize>) -> Walk<'_> {
        let left = ranks.end.min(self.len()).saturating_sub(ranks.start);
        let at = self.elements().take(ranks.start).last().map_or(0, |element| element.end);
        Walk { set: self, at, left }
    }

    /// The elements at some ranks, in descending order.
    pub fn range_back(&self, ranks: Range<usize>) -> WalkBack<'_> {
        let mut at = 0;
        let starts = self.range(ranks.clone()).at;
        let mut offsets = SmallVec::new();
        for rank in 0..ranks.end.min(self.len()).saturating_sub(ranks.start) {
            if rank == 0 {
                at = starts;
            }
            offsets.push(at as u32);
            at = self.read(at).end;
        }
        WalkBack { set: self, offsets }
    }
}

/// See [`Small::range`].
#[derive(Clone)]
pub(super) struct Walk<'s> {
    set: &'s Small,
    at: usize,
    left: usize,
}

impl<'s> Iterator for Walk<'s> {
    type Item = (&'s [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let element = self.set.read(self.at);
        self.at = element.end;
        Some((element.member, element.score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// See [`Small::range_back`].
pub(super) struct WalkBack<'s> {
    set: &'s Small,
    /// Where the elements start that are yet to be shown.
    offsets: SmallVec<[u32; 16]>,
}

impl<'s> Iterator for WalkBack<'s> {
    type Item = (&'s [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let element = self.set.read(self.offsets.pop()? as usize);
        Some((element.member, element.score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.offsets.len(), Some(self.offsets.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_back_in_few_bytes() {
        for (score, len) in [
            (0.0, 1),
            (-0.0, 1),
            (239.0, 1),
            (240.0, 3),
            (-1.0, 3),
            (-32768.0, 3),
            (40_000.0, 4),
            (-8_388_608.0, 4),
            (8_388_608.0, 5),
            (2_147_483_648.0, 7),
            (-140_737_488_355_327.0, 7),
            (140_737_488_355_328.0, 5),
            (4e15 + 1.0, 9),
            (0.5, 5),
            (0.1, 9),
            (1e300, 9),
            (f64::MAX, 9),
            (f64::INFINITY, 5),
            (f64::NEG_INFINITY, 5),
        ] {
            let bytes = encode_score(score);
            assert_eq!(bytes.len(), len, "{score}");
            assert_eq!(decode_score(bytes[0], &bytes[1..]), score);
            assert_eq!(score_len(bytes[0]), len - 1);
        }
    }

    #[test]
    fn members_may_be_long() {
        let mut set = Small::default();
        for len in [0, 1, 127, 128, 300, 20_000] {
            set.insert(&vec![b'a'; len], 1.0);
        }
        let lens: Vec<usize> = set.walk().map(|(member, _)| member.len()).collect();
        assert_eq!(lens, [0, 1, 127, 128, 300, 20_000]);
        assert_eq!(set.range_back(1..5).map(|e| e.0.len()).collect::<Vec<_>>(), [300, 128, 127, 1]);
        assert_eq!(set.rank(&[b'a'; 300]), Some((4, 1.0)));
    }

    #[test]
    fn memory_follows_the_content() {
        let mut set = Small::default();
        for n in 0..100 {
            set.insert(format!("member:{n:09}").as_bytes(), f64::from(n));
        }
        assert_eq!(set.byte_len(), 100 * 18);
        assert_eq!(set.allocated(), 2048);
        set.remove_ranks(0..90, &mut |_, _| ());
        assert_eq!((set.byte_len(), set.allocated()), (180, 192));
    }
}

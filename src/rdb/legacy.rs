//! Packed collections as they were before Redis 7, which are read only.
//!
//! ```text
//!   ziplist   [ bytes in all, u32 ][ offset of the last element, u32 ][ elements, u16, 65535: many ]
//!             element ... [ FF ]
//!   element   [ bytes of the one before: u8, or FE and u32 ]
//!             00nnnnnn  bytes                    string of n bytes
//!             01nnnnnn nnnnnnnn  bytes           string of n bytes
//!             10......  n, u32 BE  bytes         string of n bytes
//!             C0 D0 E0                           integer of 2, 4, 8 bytes
//!             F0 FE                              integer of 3, 1 bytes
//!             F1 to FD                           the integer 0 to 12
//!
//!   zipmap    [ pairs, u8, 254: many ] pair ... [ FF ]
//!   pair      length  field  length  [ free bytes, u8 ]  value  free bytes
//!             where a length is a byte below 254, or 254 and u32
//!
//!   intset    [ bytes of each, u32: 2, 4, 8 ][ how many, u32 ] integers, ascending
//! ```
//!
//! Numbers are little endian where nothing else is said.

use super::listpack::little_endian;
use super::{Corrupt, Result};
use crate::data::packed::Element;

const END: u8 = 0xff;
const BIG: u8 = 0xfe;
const BROKEN_ZIPLIST: Corrupt = Corrupt::Wrong("a ziplist is not one");
const BROKEN_ZIPMAP: Corrupt = Corrupt::Wrong("a zipmap is not one");
const BROKEN_INTSET: Corrupt = Corrupt::Wrong("an intset is not one");

/// The elements of a ziplist. After an error there is nothing more.
pub struct Ziplist<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of the element before.
    previous: usize,
    left: Option<usize>,
    last: usize,
    done: bool,
}

const ZIPLIST_HEAD: usize = 10;

/// The elements of what should be a ziplist.
pub fn ziplist(bytes: &[u8]) -> Result<Ziplist<'_>> {
    let u32_at = |at: usize| Some(little_endian(bytes.get(at..at + 4)?) as u32 as usize);
    let (len, last) = (u32_at(0), u32_at(4));
    let count = bytes.get(8..ZIPLIST_HEAD).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match (len, last, count, bytes.get(ZIPLIST_HEAD..).and_then(<[u8]>::last)) {
        (Some(len), Some(last), Some(count), Some(&END)) if len == bytes.len() => Ok(Ziplist {
            bytes,
            at: ZIPLIST_HEAD,
            previous: 0,
            left: (count != u16::MAX).then_some(count.into()),
            last,
            done: false,
        }),
        _ => Err(BROKEN_ZIPLIST),
    }
}

impl<'a> Ziplist<'a> {
    fn step(&mut self) -> Result<Option<Element<'a>>> {
        // The end mark is counted among the bytes, so there always is one more.
        let rest = self.bytes.get(self.at..).ok_or(BROKEN_ZIPLIST)?;
        if rest == [END] {
            let right = self.left.unwrap_or(0) == 0 && self.last == self.at - self.previous;
            return if right { Ok(None) } else { Err(BROKEN_ZIPLIST) };
        }
        let (previous, skipped) = match *rest {
            [BIG, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 5),
            [len, ..] if len < BIG => (len.into(), 1),
            _ => return Err(BROKEN_ZIPLIST),
        };
        if previous != self.previous || self.left == Some(0) {
            return Err(BROKEN_ZIPLIST);
        }
        let (element, size) = ziplist_element(&rest[skipped..])?;
        self.previous = skipped + size;
        self.at += self.previous;
        self.left = self.left.map(|left| left - 1);
        Ok(Some(element))
    }
}

impl<'a> Iterator for Ziplist<'a> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Result<Element<'a>>> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// The element behind the length of the one before, and how many bytes it takes.
fn ziplist_element(bytes: &[u8]) -> Result<(Element<'_>, usize)> {
    let byte = |at: usize| bytes.get(at).copied().ok_or(BROKEN_ZIPLIST);
    let string = |from: usize, len: usize| {
        let end = from.checked_add(len).ok_or(BROKEN_ZIPLIST)?;
        Ok((Element::new(bytes.get(from..end).ok_or(BROKEN_ZIPLIST)?), end))
    };
    let int = |len: usize| {
        let bytes = bytes.get(1..=len).ok_or(BROKEN_ZIPLIST)?;
        Ok((Element::Int(little_endian(bytes)), 1 + len))
    };
    match byte(0)? {
        first @ 0..0x40 => string(1, first.into()),
        first @ 0x40..0x80 => string(2, u16::from_be_bytes([first & 0x3f, byte(1)?]).into()),
        0x80..0xc0 => {
            string(5, u32::from_be_bytes([byte(1)?, byte(2)?, byte(3)?, byte(4)?]) as usize)
        }
        0xc0 => int(2),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf0 => int(3),
        0xfe => int(1),
        first @ 0xf1..=0xfd => Ok((Element::Int(i64::from(first) - 0xf1), 1)),
        _ => Err(BROKEN_ZIPLIST),
    }
}

/// The pairs of what should be a zipmap, a field and a value at a time.
pub struct Zipmap<'a> {
    rest: &'a [u8],
    /// How many the head says are left, if it does.
    left: Option<usize>,
    is_value: bool,
    done: bool,
}

pub fn zipmap(bytes: &[u8]) -> Result<Zipmap<'_>> {
    let (&count, rest) = bytes.split_first().ok_or(BROKEN_ZIPMAP)?;
    let left = (count < BIG).then_some(count.into());
    Ok(Zipmap { rest, left, is_value: false, done: false })
}

impl<'a> Zipmap<'a> {
    fn length(&mut self) -> Result<usize> {
        let (len, rest) = match *self.rest {
            [BIG, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
            [len, ref rest @ ..] if len < BIG => (len.into(), rest),
            _ => return Err(BROKEN_ZIPMAP),
        };
        self.rest = rest;
        Ok(len)
    }

    fn step(&mut self) -> Result<Option<Element<'a>>> {
        if !self.is_value && self.rest == [END] {
            return if self.left.unwrap_or(0) == 0 { Ok(None) } else { Err(BROKEN_ZIPMAP) };
        }
        let len = self.length()?;
        let mut free = 0;
        if self.is_value {
            let (&first, rest) = self.rest.split_first().ok_or(BROKEN_ZIPMAP)?;
            (free, self.rest) = (usize::from(first), rest);
            self.left = match self.left {
                Some(left) => Some(left.checked_sub(1).ok_or(BROKEN_ZIPMAP)?),
                None => None,
            };
        }
        let (text, rest) = self.rest.split_at_checked(len).ok_or(BROKEN_ZIPMAP)?;
        self.rest = rest.get(free..).ok_or(BROKEN_ZIPMAP)?;
        self.is_value = !self.is_value;
        Ok(Some(Element::new(text)))
    }
}

impl<'a> Iterator for Zipmap<'a> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Result<Element<'a>>> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// The integers of what should be an intset.
pub fn intset(bytes: &[u8]) -> Result<impl Iterator<Item = Result<Element<'_>>>> {
    let (head, all) = bytes.split_at_checked(8).ok_or(BROKEN_INTSET)?;
    let width = little_endian(&head[..4]) as usize;
    let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width) != Some(all.len()) {
        return Err(BROKEN_INTSET);
    }
    let mut last = None;
    Ok(all.chunks_exact(width).map(move |bytes| {
        let int = little_endian(bytes);
        if last.replace(int).is_some_and(|last| last >= int) {
            return Err(BROKEN_INTSET);
        }
        Ok(Element::Int(int))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well_formed() -> Vec<u8> {
        let elements: [&[u8]; 7] = [
            &[0, 0x02, b'a', b'b'],
            &[4, 0xc0, 0x2c, 0x01],
            &[4, 0xf0, 0x60, 0x79, 0xfe],
            &[5, 0xf3],
            &[2, 0x40, 0x03, b'x', b'y', b'z'],
            &[6, 0xfe, 0xf9],
            &[3, 0xe0, 1, 0, 0, 0, 0, 0, 0, 0x80],
        ];
        let body = elements.concat();
        let len = 10 + body.len() + 1;
        let last = 10 + body.len() - elements[6].len();
        let head = [(len as u32).to_le_bytes(), (last as u32).to_le_bytes()].concat();
        [&head[..], &[7, 0], &body, &[0xff]].concat()
    }

    #[test]
    fn a_ziplist_is_read_as_drawn() {
        let bytes = well_formed();
        let all: Vec<Element> = ziplist(&bytes).unwrap().collect::<Result<_>>().unwrap();
        let expected = [
            Element::Bytes(b"ab"),
            Element::Int(300),
            Element::Int(-100_000),
            Element::Int(2),
            Element::Bytes(b"xyz"),
            Element::Int(-7),
            Element::Int(i64::MIN + 1),
        ];
        assert_eq!(all, expected);
    }

    fn refused(mut read: impl FnMut(&[u8]) -> bool, bytes: &[u8], certain: &[usize]) {
        assert!(!read(bytes));
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]), "cut at {at}");
            for bit in 0..8 {
                let mut wrong = bytes.to_vec();
                wrong[at] ^= 1 << bit;
                let refused = read(&wrong);
                assert!(refused || !certain.contains(&at), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_broken_ziplist_is_refused() {
        let all: Vec<usize> = (0..11).chain([14, 18, 23, 25]).collect();
        let broken = |bytes: &[u8]| ziplist(bytes).map_or(true, |mut all| all.any(|e| e.is_err()));
        refused(broken, &well_formed(), &all);
        let empty = [11, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0xff];
        assert!(!broken(&empty));
        let big = [&[0x0f, 0, 0, 0, 10, 0, 0, 0, 1, 0][..], &[0, 0x80, 0xff, 0xff, 0xff]].concat();
        assert!(broken(&big));
    }

    #[test]
    fn a_zipmap_is_read_as_drawn() {
        let bytes = [
            2, // pairs
            3, b'f', b'o', b'o', 2, 1, b'1', b'2', 0, // foo: 12, and one byte free
            254, 1, 0, 0, 0, b'k', 0, 0, // k: nothing, its length in 4 bytes
            255,
        ];
        let all: Vec<Element> = zipmap(&bytes).unwrap().collect::<Result<_>>().unwrap();
        let expected =
            [Element::Bytes(b"foo"), Element::Int(12), Element::Bytes(b"k"), Element::Bytes(b"")];
        assert_eq!(all, expected);
        let broken = |bytes: &[u8]| zipmap(bytes).map_or(true, |mut all| all.any(|e| e.is_err()));
        refused(broken, &bytes, &[]);
        assert!(broken(&[1, 0xff]) && broken(&[0, 0, 0, 0, 0xff]) && !broken(&[0, 0xff]));
        assert!(!broken(&[254, 0xff]) && broken(&[255]));
    }

    #[test]
    fn an_intset_is_read_as_drawn() {
        let bytes = [2, 0, 0, 0, 3, 0, 0, 0, 0xfe, 0xff, 5, 0, 0, 1];
        let all: Vec<Element> = intset(&bytes).unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(all, [Element::Int(-2), Element::Int(5), Element::Int(256)]);
        let broken = |bytes: &[u8]| intset(bytes).map_or(true, |mut all| all.any(|e| e.is_err()));
        refused(broken, &bytes, &[0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(broken(&[2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 5, 0]), "twice the same");
        assert!(broken(&[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
    }
}

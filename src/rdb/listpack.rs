//! Listpack: Redis' packed sequence of strings and integers.
//!
//! ```text
//!   [ bytes in all, u32 ][ elements, u16, 65535: many ] element ... [ FF ]
//!
//!   element   0nnnnnnn                    integer, 0 to 127
//!             10nnnnnn  bytes             string of n bytes
//!             110nnnnn nnnnnnnn           integer of 13 bits with its sign
//!             1110nnnn nnnnnnnn  bytes    string of n bytes
//!             F0  n, u32  bytes           string of n bytes
//!             F1 F2 F3 F4                 integer of 2, 3, 4, 8 bytes
//!   and behind each its length, to be read from behind: 7 bits a byte, all but the first marked
//! ```
//!
//! Numbers are little endian, but for those with bits in the first byte.

use super::{Corrupt, Result};
use crate::data::packed::Element;

const HEAD: usize = 6;
const END: u8 = 0xff;
const MANY: u16 = u16::MAX;
/// A scratch buffer is kept up to this size.
const KEPT: usize = 64 << 10;
const BROKEN: Corrupt = Corrupt::Wrong("a listpack is not one");

/// A listpack being written.
#[derive(Default)]
pub struct Listpack {
    bytes: Vec<u8>,
    count: usize,
}

impl Listpack {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEAD, 0);
        self.count = 0;
    }

    pub fn push_int(&mut self, int: i64) {
        self.push(Element::Int(int));
    }

    #[inline]
    pub fn push(&mut self, element: Element) {
        let start = self.bytes.len();
        match element {
            Element::Int(int) => put_int(int, &mut self.bytes),
            Element::Bytes(string) => {
                match string.len() {
                    len @ 0..64 => self.bytes.push(0x80 | len as u8),
                    len @ 64..4096 => {
                        self.bytes.extend_from_slice(&(0xe000 | len as u16).to_be_bytes());
                    }
                    len => {
                        self.bytes.push(0xf0);
                        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
                    }
                }
                self.bytes.extend_from_slice(string);
            }
        }
        put_back_len(self.bytes.len() - start, &mut self.bytes);
        self.count += 1;
    }

    /// The whole of it. Nothing may be added afterwards.
    pub fn finish(&mut self) -> &[u8] {
        self.bytes.push(END);
        let len = self.bytes.len() as u32;
        let count = u16::try_from(self.count).unwrap_or(MANY);
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[4..HEAD].copy_from_slice(&count.to_le_bytes());
        &self.bytes
    }

    /// Gives the memory of a long one back.
    pub fn forget_long(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

fn put_int(int: i64, out: &mut Vec<u8>) {
    let width = match int {
        0..=127 => return out.push(int as u8),
        -4096..=4095 => {
            return out.extend_from_slice(&(0xc000 | int as u16 & 0x1fff).to_be_bytes());
        }
        -0x8000..=0x7fff => 2,
        -0x80_0000..=0x7f_ffff => 3,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    };
    out.push(if width == 8 { 0xf4 } else { 0xef + width as u8 });
    out.extend_from_slice(&int.to_le_bytes()[..width]);
}

/// How many bytes the length of an element takes behind it. The bounds are Redis' own.
fn back_len_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

fn put_back_len(len: usize, out: &mut Vec<u8>) {
    let size = back_len_size(len);
    for at in (0..size).rev() {
        let mark = if at + 1 < size { 0x80 } else { 0 };
        out.push((len >> (7 * at)) as u8 & 0x7f | mark);
    }
}

/// The elements of a listpack, as strings that are no integers and integers. After an error there
/// is nothing more.
pub struct Elements<'a> {
    rest: &'a [u8],
    /// How many the head says are left, if it does.
    left: Option<usize>,
    done: bool,
}

/// The elements of what should be a listpack.
pub fn elements(bytes: &[u8]) -> Result<Elements<'_>> {
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or(BROKEN)?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let count = u16::from_le_bytes([head[4], head[5]]);
    if len as usize != bytes.len() || rest.last() != Some(&END) {
        return Err(BROKEN);
    }
    let left = (count != MANY).then_some(count.into());
    Ok(Elements { rest, left, done: false })
}

impl<'a> Elements<'a> {
    /// The next element, which must be there.
    pub fn expect(&mut self) -> Result<Element<'a>> {
        self.next().unwrap_or(Err(Corrupt::Wrong("a listpack lacks elements")))
    }

    /// The next element, which must be an integer.
    pub fn expect_int(&mut self) -> Result<i64> {
        match self.expect()? {
            Element::Int(int) => Ok(int),
            Element::Bytes(_) => Err(Corrupt::Wrong("a listpack has a string for an integer")),
        }
    }

    /// Whether no element is left.
    pub fn is_at_end(&self) -> bool {
        self.rest == [END]
    }

    /// No element may be left.
    pub fn expect_end(&mut self) -> Result<()> {
        match self.next() {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Err(Corrupt::Wrong("a listpack has too many elements")),
        }
    }

    /// At most so many elements are left.
    pub fn at_most(&self) -> usize {
        self.rest.len() / 2
    }

    fn step(&mut self) -> Result<Option<Element<'a>>> {
        if self.rest == [END] {
            return if self.left.unwrap_or(0) == 0 { Ok(None) } else { Err(BROKEN) };
        }
        if self.left == Some(0) {
            return Err(BROKEN);
        }
        let (element, size) = read(self.rest)?;
        let mut back = [0; 5];
        let back = &mut back[..back_len_size(size)];
        write_back_len(size, back);
        let rest = self.rest[size..].strip_prefix(back).ok_or(BROKEN)?;
        if rest.is_empty() {
            return Err(BROKEN);
        }
        self.rest = rest;
        self.left = self.left.map(|left| left - 1);
        Ok(Some(element))
    }
}

fn write_back_len(len: usize, out: &mut [u8]) {
    let size = out.len();
    for (at, byte) in out.iter_mut().rev().enumerate() {
        *byte = (len >> (7 * at)) as u8 & 0x7f | if at + 1 < size { 0x80 } else { 0 };
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Result<Element<'a>>> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// The element that `bytes` begin with, and how many of them it takes.
#[inline]
fn read(bytes: &[u8]) -> Result<(Element<'_>, usize)> {
    let byte = |at: usize| bytes.get(at).copied().ok_or(BROKEN);
    let string = |from: usize, len: usize| {
        let end = from.checked_add(len).ok_or(BROKEN)?;
        Ok((Element::new(bytes.get(from..end).ok_or(BROKEN)?), end))
    };
    let int = |len: usize| {
        let bytes = bytes.get(1..=len).ok_or(BROKEN)?;
        Ok((Element::Int(little_endian(bytes)), 1 + len))
    };
    match byte(0)? {
        first @ 0..0x80 => Ok((Element::Int(first.into()), 1)),
        first @ 0x80..0xc0 => string(1, usize::from(first & 0x3f)),
        first @ 0xc0..0xe0 => {
            let bits = u16::from_be_bytes([first & 0x1f, byte(1)?]);
            Ok((Element::Int(i64::from((bits << 3) as i16 >> 3)), 2))
        }
        first @ 0xe0..0xf0 => string(2, u16::from_be_bytes([first & 0x0f, byte(1)?]).into()),
        0xf0 => string(5, u32::from_le_bytes([byte(1)?, byte(2)?, byte(3)?, byte(4)?]) as usize),
        first @ 0xf1..=0xf3 => int(usize::from(first - 0xef)),
        0xf4 => int(8),
        _ => Err(BROKEN),
    }
}

/// An integer of up to 8 bytes with its sign.
pub(super) fn little_endian(bytes: &[u8]) -> i64 {
    let spare = 64 - 8 * bytes.len() as u32;
    let bits = bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    bits.checked_shl(spare).unwrap_or(0) as i64 >> spare.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listpack(elements: &[Element]) -> Vec<u8> {
        let mut listpack = Listpack::default();
        listpack.clear();
        elements.iter().for_each(|element| listpack.push(*element));
        listpack.finish().to_vec()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Element<'_>>> {
        elements(bytes)?.collect()
    }

    #[test]
    fn it_is_written_as_drawn() {
        assert_eq!(listpack(&[]), [7, 0, 0, 0, 0, 0, 0xff]);
        let all =
            [Element::Int(1), Element::Bytes(b"ab"), Element::Int(-1), Element::Int(-300_000)];
        let bytes = [
            &[21, 0, 0, 0, 4, 0][..],
            &[1, 1],
            &[0x82, b'a', b'b', 3],
            &[0xdf, 0xff, 2],
            &[0xf2, 0x20, 0x6c, 0xfb, 4],
            &[0xff],
        ];
        assert_eq!(listpack(&all), bytes.concat());
    }

    #[test]
    fn every_size_is_read_back() {
        let mut all = Vec::new();
        for bits in 0..64 {
            for int in [1i64 << bits, (1i64 << bits).wrapping_sub(1), -(1i64 << (bits % 63))] {
                all.extend([Element::Int(int), Element::Int(!int)]);
            }
        }
        let long = vec![b'x'; 70_000];
        for len in [0, 1, 63, 64, 124, 125, 126, 127, 4095, 4096, 16_377, 16_378, 16_379, 70_000] {
            all.push(Element::Bytes(&long[..len]));
        }
        let bytes = listpack(&all);
        assert_eq!(read_all(&bytes).unwrap(), all);
        let sizes: usize = all.iter().map(|element| element.listpack_len()).sum();
        assert_eq!(bytes.len(), sizes + 7);
    }

    #[test]
    fn many_elements_are_not_counted() {
        let all = vec![Element::Int(5); 70_000];
        let bytes = listpack(&all);
        assert_eq!(bytes[4..6], [0xff, 0xff]);
        assert_eq!(read_all(&bytes).unwrap().len(), 70_000);
    }

    #[test]
    fn a_number_written_as_a_string_is_a_number() {
        let bytes = [10, 0, 0, 0, 1, 0, 0x81, b'7', 2, 0xff];
        assert_eq!(read_all(&bytes).unwrap(), [Element::Int(7)]);
    }

    #[test]
    fn whatever_is_changed_is_noticed_or_harmless() {
        let all = [
            Element::Int(1),
            Element::Bytes(b"abc"),
            Element::Int(4096),
            Element::Bytes(&[b'y'; 70]),
        ];
        let bytes = listpack(&all);
        for at in 0..bytes.len() {
            assert!(read_all(&bytes[..at]).is_err());
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                let _ = read_all(&wrong);
            }
        }
        for at in 0..6 {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(read_all(&wrong).is_err(), "byte {at} of the head");
        }
    }
}

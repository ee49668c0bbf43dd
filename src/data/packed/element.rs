//! An element of a packed block: what it is to its users, and how it is written.
//!
//! ```text
//!   tag        payload between the two boundary bytes
//!   0-127      a string of so many bytes
//!   128-239    nothing: the integers 0 to 111
//!   240-247    an integer in 1 to 8 bytes, little endian, two's complement
//!   248        length - 128 (u8), string, length - 128 (u8)
//!   249        length (u16), string, length (u16)
//!   250        length (u32), string, length (u32)
//! ```
//!
//! A long string has its length at both ends, so that it can be stepped over from either side.

use crate::data::number::{Decimal, MAX_DECIMAL_LEN, decimal_len, parse_i64};

/// A string or an integer. A string that is the canonical form of an integer is that integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    #[inline]
    pub fn new(text: &'a [u8]) -> Element<'a> {
        if text.len() <= MAX_DECIMAL_LEN
            && let Some(int) = parse_i64(text)
        {
            return Element::Int(int);
        }
        Element::Bytes(text)
    }

    /// Length of the text.
    pub fn text_len(self) -> usize {
        match self {
            Element::Int(int) => decimal_len(int),
            Element::Bytes(bytes) => bytes.len(),
        }
    }

    /// Gives the text to `read`.
    #[inline]
    pub fn with_text<R>(self, read: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Element::Int(int) => read(&Decimal::new(int)),
            Element::Bytes(bytes) => read(bytes),
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.with_text(<[u8]>::to_vec)
    }

    /// Bytes that this element takes in a listpack, Redis' format, which the limits of packed
    /// encodings and RDB files are about.
    #[inline]
    pub fn listpack_len(self) -> usize {
        let own = match self {
            Element::Int(0..=127) => 1,
            Element::Int(-4096..=4095) => 2,
            Element::Int(-0x8000..=0x7fff) => 3,
            Element::Int(-0x80_0000..=0x7f_ffff) => 4,
            Element::Int(-0x8000_0000..=0x7fff_ffff) => 5,
            Element::Int(_) => 9,
            Element::Bytes(bytes) => match bytes.len() {
                len @ 0..64 => 1 + len,
                len @ 64..4096 => 2 + len,
                len => 5 + len,
            },
        };
        // The length again, seven bits a byte, for walking backwards.
        own + match own {
            0..=127 => 1,
            128..16_383 => 2,
            16_383..2_097_151 => 3,
            2_097_151..268_435_455 => 4,
            _ => 5,
        }
    }
}

/// Longest string whose length is its tag.
const SHORT_MAX: usize = 127;
const SMALL_INT: u8 = 128;
const SMALL_INT_MAX: i64 = 111;
/// Plus the number of bytes that it takes, the tag of any other integer.
const INT: u8 = 239;
const INT_1: u8 = INT + 1;
const INT_8: u8 = INT + 8;
const LONG_1: u8 = 248;
const LONG_2: u8 = 249;
const LONG_4: u8 = 250;

/// How an element is written: its tag, and what comes around a string.
#[derive(Clone, Copy)]
pub(super) struct Code<'a> {
    pub(super) tag: u8,
    edge: [u8; 8],
    edge_len: u8,
    string: Option<&'a [u8]>,
}

impl<'a> Code<'a> {
    #[inline]
    pub(super) fn new(element: Element<'a>) -> Code<'a> {
        let (tag, edge, edge_len, string) = match element {
            Element::Int(int @ 0..=SMALL_INT_MAX) => (SMALL_INT + int as u8, [0; 8], 0, None),
            Element::Int(int) => {
                // Bits without those that repeat the sign.
                let bits = 65 - (int ^ (int >> 63)).leading_zeros();
                let bytes = bits.div_ceil(8) as u8;
                (INT + bytes, int.to_le_bytes(), bytes, None)
            }
            Element::Bytes(string) => {
                let long = |n: usize| (n as u64).to_le_bytes();
                let (tag, edge, edge_len) = match string.len() {
                    n @ 0..=SHORT_MAX => (n as u8, [0; 8], 0),
                    n @ 128..=383 => (LONG_1, long(n - 128), 1),
                    n @ 384..=0xffff => (LONG_2, long(n), 2),
                    n => (LONG_4, long(n), 4),
                };
                (tag, edge, edge_len, Some(string))
            }
        };
        Code { tag, edge, edge_len, string }
    }

    fn edge(&self) -> &[u8] {
        &self.edge[..usize::from(self.edge_len)]
    }

    /// Bytes between the boundaries.
    #[inline]
    pub(super) fn payload_len(&self) -> usize {
        match self.string {
            Some(string) => string.len() + 2 * usize::from(self.edge_len),
            None => usize::from(self.edge_len),
        }
    }

    /// Writes the payload into exactly as many bytes as it has.
    #[inline]
    pub(super) fn write(&self, payload: &mut [u8]) {
        match self.string {
            None => payload.copy_from_slice(self.edge()),
            Some(string) => {
                let edge = self.edge();
                let end = edge.len() + string.len();
                payload[..edge.len()].copy_from_slice(edge);
                payload[edge.len()..end].copy_from_slice(string);
                payload[end..].copy_from_slice(edge);
            }
        }
    }

    /// Whether the element with this tag and payload, or with more bytes behind the payload, is
    /// the same.
    #[inline]
    pub(super) fn is(&self, tag: u8, payload: &[u8]) -> bool {
        if tag != self.tag {
            return false;
        }
        let edge = self.edge();
        match self.string {
            None => payload[..edge.len()] == *edge,
            Some(string) => {
                payload[..edge.len()] == *edge
                    && payload[edge.len()..edge.len() + string.len()] == *string
            }
        }
    }
}

fn read_edge(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte))
}

/// The length of a string from the bytes at one of its ends, and their number.
fn long_len(tag: u8, edge: impl Fn(usize) -> usize) -> (usize, usize) {
    match tag {
        LONG_1 => (edge(1) + 128, 1),
        LONG_2 => (edge(2), 2),
        _ => (edge(4), 4),
    }
}

/// Length of the payload at the beginning of `from`.
#[inline]
pub(super) fn payload_len(tag: u8, from: &[u8]) -> usize {
    match tag {
        0..SMALL_INT => usize::from(tag),
        SMALL_INT..=INT => 0,
        INT_1..=INT_8 => usize::from(tag - INT),
        _ => {
            let (len, edge) = long_len(tag, |n| read_edge(&from[..n]));
            len + 2 * edge
        }
    }
}

/// Length of the payload at the end of `to`.
#[inline]
pub(super) fn payload_len_before(tag: u8, to: &[u8]) -> usize {
    match tag {
        0..LONG_1 => payload_len(tag, &[]),
        _ => {
            let (len, edge) = long_len(tag, |n| read_edge(&to[to.len() - n..]));
            len + 2 * edge
        }
    }
}

/// The element whose payload is at the beginning of `from`.
#[inline]
pub(super) fn read(tag: u8, from: &[u8]) -> Element<'_> {
    match tag {
        0..SMALL_INT => Element::Bytes(&from[..usize::from(tag)]),
        SMALL_INT..=INT => Element::Int(i64::from(tag - SMALL_INT)),
        INT_1..=INT_8 => {
            let len = usize::from(tag - INT);
            let mut bytes = [0; 8];
            bytes[8 - len..].copy_from_slice(&from[..len]);
            Element::Int(i64::from_le_bytes(bytes) >> (64 - 8 * len))
        }
        _ => {
            let (len, edge) = long_len(tag, |n| read_edge(&from[..n]));
            Element::Bytes(&from[edge..edge + len])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_as_drawn() {
        fn payload(element: Element) -> (u8, Vec<u8>) {
            let code = Code::new(element);
            let mut bytes = vec![0; code.payload_len()];
            code.write(&mut bytes);
            (code.tag, bytes)
        }
        assert_eq!(payload(Element::Bytes(b"")), (0, vec![]));
        assert_eq!(payload(Element::Bytes(b"ab")), (2, b"ab".to_vec()));
        assert_eq!(payload(Element::Int(0)), (128, vec![]));
        assert_eq!(payload(Element::Int(111)), (239, vec![]));
        assert_eq!(payload(Element::Int(112)), (240, vec![112]));
        assert_eq!(payload(Element::Int(-1)), (240, vec![255]));
        assert_eq!(payload(Element::Int(128)), (241, vec![128, 0]));
        assert_eq!(payload(Element::Int(-129)), (241, vec![0x7f, 0xff]));
        assert_eq!(payload(Element::Int(i64::MIN)), (247, i64::MIN.to_le_bytes().to_vec()));
        for (len, tag, edge) in [
            (128, 248, vec![0]),
            (383, 248, vec![255]),
            (384, 249, vec![128, 1]),
            (65_536, 250, vec![0, 0, 1, 0]),
        ] {
            let string = vec![b'x'; len];
            let expected = [&edge[..], &string, &edge].concat();
            assert_eq!(payload(Element::Bytes(&string)), (tag, expected), "{len}");
        }
    }

    #[test]
    fn every_length_and_magnitude_is_read_back() {
        fn check(element: Element) {
            let code = Code::new(element);
            let mut bytes = vec![0xaa; code.payload_len() + 9];
            let len = code.payload_len();
            code.write(&mut bytes[..len]);
            assert_eq!(payload_len(code.tag, &bytes), len);
            assert_eq!(payload_len_before(code.tag, &bytes[..len]), len);
            assert_eq!(read(code.tag, &bytes), element);
            assert!(code.is(code.tag, &bytes));
        }
        for bits in 0..64 {
            for int in [1i64 << bits, (1i64 << bits).wrapping_sub(1), -(1i64 << (bits % 63))] {
                check(Element::Int(int));
                check(Element::Int(!int));
            }
        }
        for len in (0..1000).chain([65_535, 65_536, 100_000]) {
            check(Element::Bytes(&vec![b'x'; len]));
        }
    }

    /// The sizes that Redis' source gives for its format.
    #[test]
    fn listpack_sizes_are_those_of_redis() {
        for (int, size) in [
            (0, 2),
            (127, 2),
            (128, 3),
            (-1, 3),
            (-4096, 3),
            (4095, 3),
            (4096, 4),
            (-4097, 4),
            (32_768, 5),
            (8_388_608, 6),
            (2_147_483_648, 10),
            (i64::MIN, 10),
        ] {
            assert_eq!(Element::Int(int).listpack_len(), size, "{int}");
        }
        for (len, size) in [
            (0, 2),
            (63, 65),
            (64, 67),
            (125, 128),
            (126, 130),
            (4095, 4099),
            (4096, 4103),
            (16_377, 16_384),
            (16_378, 16_386),
        ] {
            assert_eq!(Element::Bytes(&vec![b'x'; len]).listpack_len(), size, "{len}");
        }
    }
}

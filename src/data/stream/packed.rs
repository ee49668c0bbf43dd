//! Numbers and texts as a node packs them, and how long Redis' listpack of the same would be.
//!
//! ```text
//!   00..7F                 the integer 0 to 127
//!   80..BF  bytes          a text of up to 63 bytes
//!   C0..DF  1 byte         an integer of 13 bits with its sign
//!   E0..EF  1 byte, bytes  a text of up to 4095 bytes
//!   F0      4 bytes, bytes a longer text
//!   F1..F5  2 to 8 bytes   an integer of 16, 24, 32, 48 or 64 bits, the lowest byte first
//! ```
//!
//! A text is an integer exactly if it is what printing the integer gives.
//!
//! Redis packs streams in listpacks, whose length decides when a node is full. That is visible to
//! clients (trimming by `~` removes whole nodes), so nodes count that length too; the listpack
//! itself, with a length behind every element, is never made.

use crate::data::number::parse_i64;

/// A text, perhaps stored as the integer that it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// How the text is stored.
    #[inline]
    pub fn of(text: &'a [u8]) -> Value<'a> {
        match parse_i64(text) {
            Some(int) => Value::Int(int),
            None => Value::Bytes(text),
        }
    }

    /// Appends the packed value.
    #[inline]
    pub fn put(self, out: &mut Vec<u8>) {
        match self {
            Value::Int(int) => put_int(out, int),
            Value::Bytes(text) => {
                match text.len() {
                    len @ 0..=63 => out.push(0x80 | len as u8),
                    len @ 64..=4095 => out.extend_from_slice(&[0xE0 | (len >> 8) as u8, len as u8]),
                    len => {
                        out.push(0xF0);
                        out.extend_from_slice(&(len as u32).to_le_bytes());
                    }
                }
                out.extend_from_slice(text);
            }
        }
    }

    /// The value at `at`, and where the next one begins.
    #[inline]
    pub fn get(bytes: &'a [u8], at: usize) -> (Value<'a>, usize) {
        let tag = bytes[at];
        let text = |from: usize, len: usize| (Value::Bytes(&bytes[from..from + len]), from + len);
        match tag {
            0x00..=0x7F => (Value::Int(i64::from(tag)), at + 1),
            0x80..=0xBF => text(at + 1, usize::from(tag & 0x3F)),
            0xC0..=0xDF => {
                let bits = u16::from_be_bytes([tag & 0x1F, bytes[at + 1]]);
                (Value::Int(i64::from((bits << 3) as i16 >> 3)), at + 2)
            }
            0xE0..=0xEF => {
                text(at + 2, usize::from(u16::from_be_bytes([tag & 0x0F, bytes[at + 1]])))
            }
            0xF0 => text(at + 5, little(&bytes[at + 1..at + 5]) as usize),
            _ => {
                let width = WIDE[usize::from(tag & 0x0F).min(WIDE.len()) - 1];
                let spare = 64 - 8 * width as u32;
                let bits = little(&bytes[at + 1..at + 1 + width]);
                (Value::Int((bits << spare) as i64 >> spare), at + 1 + width)
            }
        }
    }

    /// Bytes of a listpack's element.
    pub fn listpack_len(self) -> usize {
        let len = match self {
            Value::Int(int) => return listpack_int_len(int),
            Value::Bytes(text) => text.len(),
        };
        let len = len
            + match len {
                0..=63 => 1,
                64..=4095 => 2,
                _ => 5,
            };
        // The length once more behind the element; the limits are Redis' own.
        len + match len {
            0..=127 => 1,
            128..16_383 => 2,
            16_383..2_097_151 => 3,
            2_097_151..268_435_455 => 4,
            _ => 5,
        }
    }
}

/// Widths of the tags F1 to F5, bytes.
const WIDE: [usize; 5] = [2, 3, 4, 6, 8];

fn put_int(out: &mut Vec<u8>, int: i64) {
    match int {
        0..=0x7F => out.push(int as u8),
        -0x1000..=0xFFF => {
            let [high, low] = (int as u16).to_be_bytes();
            out.extend_from_slice(&[0xC0 | (high & 0x1F), low]);
        }
        _ => {
            // With the sign; the bits of a negative number are counted as those of its complement.
            let bits = 65 - (int ^ (int >> 63)).leading_zeros();
            let class = WIDE.iter().position(|&width| 8 * width as u32 >= bits);
            let class = class.unwrap_or(WIDE.len() - 1);
            out.push(0xF1 + class as u8);
            out.extend_from_slice(&int.to_le_bytes()[..WIDE[class]]);
        }
    }
}

#[inline]
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Bytes of an integer in a listpack.
#[inline]
pub fn listpack_int_len(int: i64) -> usize {
    match int {
        0..=0x7F => 2,
        -0x1000..=0xFFF => 3,
        -0x8000..=0x7FFF => 4,
        -0x80_0000..=0x7F_FFFF => 5,
        -0x8000_0000..=0x7FFF_FFFF => 6,
        _ => 10,
    }
}

/// Appends a number in groups of seven bits, the lowest first; all but the last are marked.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number at `at`, and what comes behind it.
#[inline]
pub fn get_varint(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return (number, at);
        }
        shift += 7;
    }
}

pub fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends a number that is read from its end: the groups of a varint in reverse.
#[inline]
pub fn put_backwards(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    put_varint(out, number);
    out[start..].reverse();
}

/// The number that ends before `end`, and where it begins.
#[inline]
pub fn get_backwards(bytes: &[u8], mut end: usize) -> (u64, usize) {
    let (mut number, mut shift) = (0, 0);
    loop {
        end -= 1;
        let byte = bytes[end];
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return (number, end);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut out = vec![0xEE];
        Value::of(text).put(&mut out);
        let end = out.len();
        out.push(0xEE);
        let (value, next) = Value::get(&out, 1);
        assert_eq!((value, next), (Value::of(text), end), "{text:?}");
        out[1..end].to_vec()
    }

    #[test]
    fn integers_take_as_few_bytes_as_they_need() {
        for (int, len, listpack) in [
            (0i64, 1, 2),
            (127, 1, 2),
            (128, 2, 3),
            (-1, 2, 3),
            (4095, 2, 3),
            (-4096, 2, 3),
            (4096, 3, 4),
            (-4097, 3, 4),
            (32_767, 3, 4),
            (-32_768, 3, 4),
            (32_768, 4, 5),
            (-32_769, 4, 5),
            (8_388_607, 4, 5),
            (-8_388_608, 4, 5),
            (8_388_608, 5, 6),
            (2_147_483_647, 5, 6),
            (-2_147_483_648, 5, 6),
            (2_147_483_648, 7, 10),
            (1_700_000_000_000, 7, 10),
            (-140_737_488_355_328, 7, 10),
            (140_737_488_355_328, 9, 10),
            (i64::MAX, 9, 10),
            (i64::MIN, 9, 10),
        ] {
            assert_eq!(packed(int.to_string().as_bytes()).len(), len, "{int}");
            assert_eq!(Value::Int(int).listpack_len(), listpack, "{int}");
        }
    }

    #[test]
    fn texts_have_the_shortest_length_in_front() {
        for (len, header, listpack) in [
            (0usize, 1, 2),
            (1, 1, 3),
            (63, 1, 65),
            (64, 2, 67),
            (125, 2, 128),
            (126, 2, 130),
            (4095, 2, 4099),
            (4096, 5, 4103),
            (16_377, 5, 16_384),
            (16_378, 5, 16_386),
            (70_000, 5, 70_008),
        ] {
            let text = vec![b'x'; len];
            assert_eq!(packed(&text).len(), len + header, "{len}");
            assert_eq!(Value::Bytes(&text).listpack_len(), listpack, "{len}");
        }
        for text in ["-0", "007", "1.5", "+1", "9223372036854775808", " 1", "-"] {
            assert_eq!(packed(text.as_bytes()).len(), text.len() + 1, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_from_both_ends() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 40, u64::MAX] {
            let mut out = vec![0xFF];
            put_varint(&mut out, number);
            assert_eq!(out.len() - 1, varint_len(number), "{number}");
            assert_eq!(get_varint(&out, 1), (number, out.len()));
            let mut out = vec![0xFF];
            put_backwards(&mut out, number);
            assert_eq!(get_backwards(&out, out.len()), (number, 1));
        }
    }
}

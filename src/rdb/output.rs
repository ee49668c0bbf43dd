//! The words of the format, written: lengths, strings, integers, doubles.
//!
//! ```text
//!   00nnnnnn                     a length of 6 bits
//!   01nnnnnn nnnnnnnn            of 14 bits, the highest first
//!   10000000  4 bytes            of 32 bits, the highest byte first
//!   10000001  8 bytes            of 64 bits, the highest byte first
//!   11000000  1 byte             in place of a string: an integer that it is the text of
//!   11000001  2 bytes, LE        the same
//!   11000010  4 bytes, LE        the same
//!   11000011  length, length     a compressed string: its bytes here, its bytes unpacked
//! ```
//!
//! A string is its length and its bytes. Doubles, and times in milliseconds, are 8 bytes, little endian.

use super::listpack::Listpack;
use super::lzf::Compressor;
use crate::data::number::{Decimal, parse_i64};
use crate::data::packed::Element;

pub(super) const LEN_14: u8 = 0x40;
pub(super) const LEN_32: u8 = 0x80;
pub(super) const LEN_64: u8 = 0x81;
pub(super) const ENCODED: u8 = 0xc0;
pub(super) const INT_8: u8 = 0;
pub(super) const INT_16: u8 = 1;
pub(super) const INT_32: u8 = 2;
pub(super) const LZF: u8 = 3;

/// Longer texts are no integers of 32 bits.
const INT_TEXT_MAX: usize = 11;
/// Up to here compression gains nothing.
const UNCOMPRESSED_MAX: usize = 20;
/// So many bytes it must gain.
pub const GAIN_MIN: usize = 4;

/// Where values are written to. Whoever writes much takes `bytes` away in between.
#[derive(Default)]
pub struct Output {
    pub bytes: Vec<u8>,
    /// Strings stay as they are (`rdbcompression no`).
    pub uncompressed: bool,
    compressor: Compressor,
    packed: Vec<u8>,
    listpack: Listpack,
}

impl Output {
    pub fn put_byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn put_len(&mut self, len: u64) {
        match len {
            0..0x40 => self.bytes.push(len as u8),
            0x40..0x4000 => self.bytes.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.bytes.push(LEN_32);
                self.bytes.extend_from_slice(&(len as u32).to_be_bytes());
            }
            _ => {
                self.bytes.push(LEN_64);
                self.bytes.extend_from_slice(&len.to_be_bytes());
            }
        }
    }

    /// The text of an integer.
    pub fn put_int(&mut self, int: i64) {
        if let Ok(int) = i8::try_from(int) {
            self.bytes.extend_from_slice(&[ENCODED | INT_8, int as u8]);
        } else if let Ok(int) = i16::try_from(int) {
            self.bytes.push(ENCODED | INT_16);
            self.bytes.extend_from_slice(&int.to_le_bytes());
        } else if let Ok(int) = i32::try_from(int) {
            self.bytes.push(ENCODED | INT_32);
            self.bytes.extend_from_slice(&int.to_le_bytes());
        } else {
            self.put_plain(&Decimal::new(int));
        }
    }

    fn put_plain(&mut self, string: &[u8]) {
        self.put_len(string.len() as u64);
        self.bytes.extend_from_slice(string);
    }

    /// A string in its shortest form.
    pub fn put_string(&mut self, string: &[u8]) {
        if string.len() <= INT_TEXT_MAX
            && let Some(int) = parse_i64(string)
        {
            return self.put_int(int);
        }
        if string.len() > UNCOMPRESSED_MAX && !self.uncompressed {
            self.packed.clear();
            let max = string.len() - GAIN_MIN;
            if self.compressor.compress(string, max, &mut self.packed) {
                self.put_packed_head(self.packed.len(), string.len());
                self.bytes.extend_from_slice(&self.packed);
                return;
            }
        }
        self.put_plain(string);
    }

    /// What stands in front of a compressed string: its bytes, and those of the string.
    pub fn put_packed_head(&mut self, packed: usize, len: usize) {
        self.bytes.push(ENCODED | LZF);
        self.put_len(packed as u64);
        self.put_len(len as u64);
    }

    pub fn put_element(&mut self, element: Element) {
        match element {
            Element::Int(int) => self.put_int(int),
            Element::Bytes(bytes) => self.put_string(bytes),
        }
    }

    /// A listpack of what `fill` puts in it, as a string.
    pub fn put_listpack(&mut self, fill: impl FnOnce(&mut Listpack)) {
        let mut listpack = std::mem::take(&mut self.listpack);
        listpack.clear();
        fill(&mut listpack);
        self.put_string(listpack.finish());
        // A long one is not kept for the next.
        listpack.forget_long();
        self.listpack = listpack;
    }

    pub fn put_i64(&mut self, number: i64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub fn put_double(&mut self, double: f64) {
        self.bytes.extend_from_slice(&double.to_le_bytes());
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Output)) -> Vec<u8> {
        let mut out = Output::default();
        put(&mut out);
        out.bytes
    }

    #[test]
    fn words_are_written_as_drawn() {
        assert_eq!(written(|o| o.put_len(63)), [63]);
        assert_eq!(written(|o| o.put_len(64)), [0x40, 64]);
        assert_eq!(written(|o| o.put_len(16_383)), [0x7f, 0xff]);
        assert_eq!(written(|o| o.put_len(16_384)), [0x80, 0, 0, 0x40, 0]);
        assert_eq!(written(|o| o.put_len(1 << 32)), [0x81, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(written(|o| o.put_string(b"-128")), [0xc0, 0x80]);
        assert_eq!(written(|o| o.put_string(b"128")), [0xc1, 0x80, 0]);
        assert_eq!(written(|o| o.put_string(b"-2147483648")), [0xc2, 0, 0, 0, 0x80]);
        assert_eq!(written(|o| o.put_string(b"2147483648")), *b"\x0a2147483648");
        assert_eq!(written(|o| o.put_string(b"+1")), *b"\x02+1");
        assert_eq!(written(|o| o.put_int(1 << 40)), *b"\x0d1099511627776");
        assert_eq!(written(|o| o.put_string(&[b'x'; 20])).len(), 21);
        assert_eq!(written(|o| o.put_string(&[b'x'; 21])), *b"\xc3\x05\x15\x00x\xe0\x0b\x00");
        let mut plain = Output { uncompressed: true, ..Output::default() };
        plain.put_string(&[b'x'; 21]);
        assert_eq!((plain.bytes.len(), plain.bytes[0]), (22, 21));
    }
}

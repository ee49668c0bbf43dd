//! How a field and its value lie in memory: in a packed block as in an allocation of their own.
//!
//! ```text
//!   byte 0   length of the field, 0 to 126; 127: see below; bit 7: EXPIRES
//!   byte 1   the value: 0 to 247 so many bytes; 248 to 251 an integer of 1, 2, 4 or 8 bytes;
//!            255: see below
//!   i64      expiry, milliseconds since the epoch    if EXPIRES
//!   u32      length of the field                     if byte 0 says 127
//!   u32      length of the value                     if byte 1 says 255
//!   field
//!   value
//! ```
//!
//! Numbers are little-endian and not aligned. A value that is the canonical form of an integer is
//! always stored as one: `1700000000` takes four bytes. So a field of 15 bytes with a value of 15
//! takes 32.
//!
//! Absent: memory. This is arithmetic on slices, the same for every place that holds a record.

use crate::data::number::{MAX_DECIMAL_LEN, decimal_len, parse_i64};

const EXPIRES: u8 = 0x80;
const LONG_FIELD: u8 = 0x7f;
const SHORT_VALUE_MAX: usize = 247;
const INT_1: u8 = 248;
const INT_8: u8 = 251;
const LONG_VALUE: u8 = 255;

/// Bytes of which every record has at least so many.
pub(super) const FIRST: usize = 2;
const EXPIRY: usize = 8;
const LONG: usize = 4;
const HEAD_MAX: usize = FIRST + EXPIRY + LONG + LONG;

/// A value as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// An integer, which stands for its canonical decimal form.
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> FieldValue<'a> {
    /// What looks like an integer is one.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        if bytes.len() <= MAX_DECIMAL_LEN
            && let Some(int) = parse_i64(bytes)
        {
            return Self::Int(int);
        }
        Self::Bytes(bytes)
    }

    /// Bytes of the value's text.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            Self::Int(int) => decimal_len(int),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// What the head of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head itself: where the field begins.
    pub(super) len: usize,
    pub(super) field: usize,
    /// Bytes of the value as it is stored.
    pub(super) value: usize,
    is_int: bool,
    expires: bool,
}

/// The length of the head that begins with these bytes.
#[inline(always)]
pub(super) fn head_len(first: [u8; FIRST]) -> usize {
    if first[0] < LONG_FIELD && first[1] != LONG_VALUE {
        return FIRST;
    }
    let expiry = if first[0] & EXPIRES != 0 { EXPIRY } else { 0 };
    let field = if first[0] & LONG_FIELD == LONG_FIELD { LONG } else { 0 };
    let value = if first[1] == LONG_VALUE { LONG } else { 0 };
    FIRST + expiry + field + value
}

/// Whether the record that begins with these bytes has an expiry.
#[inline(always)]
pub(super) fn expires(first: [u8; FIRST]) -> bool {
    first[0] & EXPIRES != 0
}

impl Head {
    /// Reads the head at the beginning of `bytes`, which must be all there.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8]) -> Head {
        let first = [bytes[0], bytes[1]];
        let len = head_len(first);
        let is_int = (INT_1..=INT_8).contains(&first[1]);
        let value = if is_int { 1 << (first[1] - INT_1) } else { usize::from(first[1]) };
        if len == FIRST {
            return Head { len, field: usize::from(first[0]), value, is_int, expires: false };
        }
        Head::read_long(bytes, Head { len, field: 0, value, is_int, expires: false })
    }

    /// The rest of [`Head::read`], for records with more than the first bytes.
    fn read_long(bytes: &[u8], known: Head) -> Head {
        let expires = bytes[0] & EXPIRES != 0;
        let mut at = FIRST + if expires { EXPIRY } else { 0 };
        let mut field = usize::from(bytes[0] & !EXPIRES);
        if field == usize::from(LONG_FIELD) {
            field = long_at(bytes, at);
            at += LONG;
        }
        let value = if bytes[1] == LONG_VALUE { long_at(bytes, at) } else { known.value };
        Head { field, value, expires, ..known }
    }

    /// Bytes of the whole record.
    #[inline(always)]
    pub(super) fn total(&self) -> usize {
        self.len + self.field + self.value
    }

    /// The field of the record that `bytes` begin with.
    #[inline(always)]
    pub(super) fn field<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.len..self.len + self.field]
    }

    #[inline(always)]
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> FieldValue<'a> {
        let value = &bytes[self.len + self.field..self.total()];
        if self.is_int { FieldValue::Int(int_of(value)) } else { FieldValue::Bytes(value) }
    }

    #[inline(always)]
    pub(super) fn expire_at(&self, bytes: &[u8]) -> Option<i64> {
        self.expires.then(|| int_of(&bytes[FIRST..FIRST + EXPIRY]))
    }
}

fn long_at(bytes: &[u8], at: usize) -> usize {
    let mut long = [0; LONG];
    long.copy_from_slice(&bytes[at..at + LONG]);
    u32::from_le_bytes(long) as usize
}

/// An integer of 1, 2, 4 or 8 bytes.
#[inline]
fn int_of(bytes: &[u8]) -> i64 {
    match *bytes {
        [a] => i64::from(a as i8),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("no integer is stored in {} bytes", bytes.len()),
    }
}

/// How many bytes, as a power of two, an integer needs.
#[inline]
fn int_width(int: i64) -> u8 {
    match int {
        -0x80..=0x7f => 0,
        -0x8000..=0x7fff => 1,
        -0x8000_0000..=0x7fff_ffff => 2,
        _ => 3,
    }
}

/// A record on its way to where it will lie.
pub(super) struct Draft<'a> {
    head: [u8; HEAD_MAX],
    head_len: u8,
    int: [u8; 8],
    /// Bytes of `int` that are stored; not an integer if 0.
    int_len: u8,
    field: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Draft<'a> {
    #[inline]
    pub(super) fn new(field: &'a [u8], value: FieldValue<'a>, expire_at: Option<i64>) -> Self {
        let mut head = [0; HEAD_MAX];
        let mut head_len = FIRST;
        let mut push = |head: &mut [u8; HEAD_MAX], bytes: &[u8]| {
            head[head_len..head_len + bytes.len()].copy_from_slice(bytes);
            head_len += bytes.len();
        };
        if let Some(at) = expire_at {
            head[0] = EXPIRES;
            push(&mut head, &at.to_le_bytes());
        }
        if field.len() < usize::from(LONG_FIELD) {
            head[0] |= field.len() as u8;
        } else {
            head[0] |= LONG_FIELD;
            push(&mut head, &long(field.len()).to_le_bytes());
        }
        let (mut int, mut int_len, mut bytes) = ([0; 8], 0, &[][..]);
        match value {
            FieldValue::Int(value) => {
                let width = int_width(value);
                head[1] = INT_1 + width;
                (int, int_len) = (value.to_le_bytes(), 1 << width);
            }
            FieldValue::Bytes(value) => {
                bytes = value;
                if value.len() <= SHORT_VALUE_MAX {
                    head[1] = value.len() as u8;
                } else {
                    head[1] = LONG_VALUE;
                    push(&mut head, &long(value.len()).to_le_bytes());
                }
            }
        }
        Self { head, head_len: head_len as u8, int, int_len, field, bytes }
    }

    /// The parts of the record, in order.
    #[inline(always)]
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        let value = match self.int_len {
            0 => self.bytes,
            len => &self.int[..usize::from(len)],
        };
        [&self.head[..usize::from(self.head_len)], self.field, value]
    }

    /// Bytes of the whole record.
    #[inline(always)]
    pub(super) fn total(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

/// Strings are at most as long as the protocol's longest one.
fn long(len: usize) -> u32 {
    u32::try_from(len).expect("fields and values are shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(field: &[u8], value: FieldValue, expire_at: Option<i64>) -> Vec<u8> {
        let draft = Draft::new(field, value, expire_at);
        let bytes = draft.parts().concat();
        assert_eq!(bytes.len(), draft.total());
        bytes
    }

    fn check(field: &[u8], value: FieldValue, expire_at: Option<i64>) -> usize {
        let bytes = stored(field, value, expire_at);
        let len = head_len([bytes[0], bytes[1]]);
        let head = Head::read(&bytes[..len]);
        assert_eq!((head.len, head.total()), (len, bytes.len()));
        assert_eq!(head.field(&bytes), field);
        assert_eq!(head.value(&bytes), value);
        assert_eq!(head.expire_at(&bytes), expire_at);
        bytes.len()
    }

    #[test]
    fn every_shape_is_read_as_it_was_written() {
        for field in [0, 1, 126, 127, 128, 255, 256, 70_000] {
            let field = vec![b'f'; field];
            for expire_at in [None, Some(0), Some(-1), Some(i64::MAX)] {
                for value in [0, 1, 247, 248, 251, 255, 256, 70_000] {
                    check(&field, FieldValue::Bytes(&vec![b'v'; value]), expire_at);
                }
                for shift in 0..64 {
                    check(&field, FieldValue::Int(i64::MAX >> shift), expire_at);
                    check(&field, FieldValue::Int(i64::MIN >> shift), expire_at);
                }
            }
        }
    }

    #[test]
    fn the_common_case_is_tight() {
        assert_eq!(check(&[b'f'; 15], FieldValue::Bytes(&[b'v'; 15]), None), 32);
        assert_eq!(check(b"age", FieldValue::Int(42), None), 6);
        assert_eq!(check(b"at", FieldValue::Int(1_700_000_000), Some(5)), 16);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 500 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn integers_are_known_by_their_canonical_form(int: i64, shift in 0u32..64) {
            let text = (int >> shift).to_string();
            prop_assert_eq!(FieldValue::of(text.as_bytes()), FieldValue::Int(int >> shift));
            let padded = format!("0{text}");
            let padded = padded.as_bytes();
            prop_assert_eq!(FieldValue::of(padded), FieldValue::Bytes(padded));
        }
    }
}

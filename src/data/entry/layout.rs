//! Where the parts of an entry lie in its allocation, and which sizes allocations have.
//!
//! Plain arithmetic, no memory: everything here is safe and tested on its own.

use crate::data::value::Object;

/// What an entry holds. The numbers are bits of the header, not a file format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// A string that is a canonical integer: an i64.
    Int = 0,
    /// A string whose bytes follow the key.
    Embedded = 1,
    /// A string in a `Vec<u8>` of its own.
    Heap = 2,
    /// An `Object`.
    Object = 3,
}

impl Kind {
    pub(super) const MASK: u8 = 0x03;

    #[inline(always)]
    pub(super) fn from_bits(bits: u8) -> Self {
        match bits & Self::MASK {
            0 => Self::Int,
            1 => Self::Embedded,
            2 => Self::Heap,
            _ => Self::Object,
        }
    }

    /// Bytes of the fixed part.
    #[inline(always)]
    const fn fixed(self) -> usize {
        match self {
            Self::Int => size_of::<i64>(),
            Self::Embedded => 0,
            Self::Heap => size_of::<Vec<u8>>(),
            Self::Object => size_of::<Object>(),
        }
    }
}

pub(super) const HEADER: usize = 8;
pub(super) const EXPIRY: usize = 8;
/// In the header's one-byte key length: the length is a u32 in front of the key.
pub(super) const LONG_KEY: u8 = u8::MAX;
const LONG_KEY_LEN: usize = 4;

/// Offsets into an entry's allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// The fixed part: integer, vector or object.
    pub(super) fixed: usize,
    /// The length of a long key, else the key.
    pub(super) long: usize,
    pub(super) key: usize,
    /// Embedded bytes.
    pub(super) data: usize,
    pub(super) total: usize,
}

impl Shape {
    #[inline]
    pub(super) fn new(kind: Kind, expires: bool, key_len: usize, value_len: usize) -> Self {
        let fixed = HEADER + if expires { EXPIRY } else { 0 };
        let long = fixed + kind.fixed();
        let key = long + if is_long(key_len) { LONG_KEY_LEN } else { 0 };
        let data = key + key_len;
        Self { fixed, long, key, data, total: data + value_len }
    }
}

#[inline]
pub(super) fn is_long(key_len: usize) -> bool {
    key_len >= usize::from(LONG_KEY)
}

/// The offset of the key, or of the length of a long key, by the low bits of the header's first
/// byte: kind and [`EXPIRES`](super::EXPIRES).
pub(super) static KEY_OFFSET: [u8; 8] = {
    let mut table = [0; 8];
    let kinds = [Kind::Int, Kind::Embedded, Kind::Heap, Kind::Object];
    let mut bits = 0;
    while bits < 8 {
        let expiry = if bits & super::EXPIRES as usize != 0 { EXPIRY } else { 0 };
        table[bits] = (HEADER + expiry + kinds[bits & Kind::MASK as usize].fixed()) as u8;
        bits += 1;
    }
    table
};

/// Allocation sizes: multiples of 16 up to 128, then four to each doubling, which is how both
/// jemalloc and mimalloc round. Asking for the whole of it makes the slack ours to use.
/// A size is known by its number, which fits in the header.
#[inline]
pub(super) fn class_of(bytes: usize) -> u8 {
    if bytes <= 128 {
        return bytes.div_ceil(16).max(1) as u8;
    }
    let last = bytes - 1;
    let log = last.ilog2();
    let quarter = (last >> (log - 2)) & 3;
    (8 + 4 * (log as usize - 7) + quarter + 1) as u8
}

/// Bytes of a class.
#[inline]
pub(super) fn class_size(class: u8) -> usize {
    let class = usize::from(class);
    if class <= 8 {
        return class * 16;
    }
    let (log, quarter) = ((class - 9) / 4 + 7, (class - 9) % 4);
    (5 + quarter) << (log - 2)
}

/// What an allocator gives for a request of so many bytes.
pub(in crate::data) fn rounded(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { class_size(class_of(bytes)) }
}

/// May a block of class `present` stay in use for so many bytes? Not if more than a quarter
/// would be wasted, unless a new block would be no smaller.
#[inline]
pub(super) fn fits(present: u8, bytes: usize) -> bool {
    let size = class_size(present);
    bytes <= size && (4 * bytes >= 3 * size || class_of(bytes) == present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_every_size_with_little_waste() {
        for bytes in (1..5000).chain((13..49).flat_map(|log| {
            let base = 1usize << log;
            [base - 1, base, base + 1, base + base / 4, base + base / 4 + 1, base + base / 2]
        })) {
            let class = class_of(bytes);
            let size = class_size(class);
            assert!(size >= bytes, "{bytes} in {size}");
            assert!(size - bytes < 16.max(bytes / 4), "{bytes} in {size}");
            assert_eq!(class_of(size), class);
            assert!(class == 1 || class_size(class - 1) < bytes, "{bytes}: a smaller one does");
            assert!(fits(class, bytes));
        }
        assert_eq!(rounded(0), 0);
        assert_eq!([rounded(1), rounded(16), rounded(17), rounded(96)], [16, 16, 32, 96]);
        assert_eq!(
            [rounded(129), rounded(160), rounded(161), rounded(1025)],
            [160, 160, 192, 1280]
        );
    }

    #[test]
    fn a_block_is_kept_unless_a_quarter_is_wasted() {
        let class = class_of(128);
        assert!(fits(class, 96) && !fits(class, 95) && !fits(class, 129));
        assert!(fits(class_of(17), 17));
    }

    #[test]
    fn the_common_case_is_tight() {
        assert_eq!(Shape::new(Kind::Embedded, false, 16, 64).total, 88);
        assert_eq!(Shape::new(Kind::Embedded, true, 16, 64).total, 96);
        assert_eq!(Shape::new(Kind::Int, false, 16, 0).total, 32);
    }
}

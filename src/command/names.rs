//! The names of commands, found in any case.
//!
//! A name of up to 16 bytes is two words: its first and its last bytes, which may overlap, so that it is
//! read by two loads whatever its length. Words are folded to lower case at once, eight bytes at a time
//! (<https://graphics.stanford.edu/~seander/bithacks.html> shows the manner), and compared as numbers.

use super::registry::CommandId;

/// A power of two, and so many that at most half of them are taken.
const SLOTS: usize = 1024;
const LONGEST: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    len: u32,
}

/// Names by hash, open addressing; those that are too long for that one after the other.
pub(super) struct Names {
    slots: Box<[Option<(Key, CommandId)>; SLOTS]>,
    /// In lower case.
    all: Vec<(Box<[u8]>, CommandId)>,
}

impl Names {
    /// `names` are all different, whatever their case.
    pub(super) fn new(names: impl IntoIterator<Item = (String, CommandId)>) -> Names {
        let mut made = Names { slots: Box::new([None; SLOTS]), all: Vec::new() };
        for (name, id) in names {
            let name = name.to_ascii_lowercase().into_bytes();
            if let Some(key) = Key::of(&name) {
                let mut at = key.slot();
                while made.slots[at].is_some() {
                    at = (at + 1) % SLOTS;
                }
                made.slots[at] = Some((key, id));
            }
            made.all.push((name.into(), id));
        }
        assert!(made.all.len() <= SLOTS / 2, "the table of names is too small");
        made.all.sort_by_key(|(_, id)| id.0);
        made
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<CommandId> {
        let Some(key) = Key::of(name) else { return self.find_long(name) };
        let mut at = key.slot();
        loop {
            let (own, id) = self.slots[at]?;
            if own == key {
                return Some(id);
            }
            at = (at + 1) % SLOTS;
        }
    }

    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<CommandId> {
        let found = self.all.iter().find(|(own, _)| name.eq_ignore_ascii_case(own));
        found.map(|&(_, id)| id)
    }

    /// In lower case, in the order of their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], CommandId)> {
        self.all.iter().map(|(name, id)| (&name[..], *id))
    }
}

impl Key {
    /// `None` for an empty name and a long one.
    #[inline]
    fn of(name: &[u8]) -> Option<Key> {
        let len = name.len();
        let (first, last) = match len {
            8..=LONGEST => {
                (u64::from_le_bytes(*name.first_chunk()?), u64::from_le_bytes(*name.last_chunk()?))
            }
            4..8 => {
                let (first, last) = (name.first_chunk()?, name.last_chunk()?);
                (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
            }
            1..4 => {
                let ends = u16::from_le_bytes([name[0], name[len - 1]]);
                (ends.into(), name[len / 2].into())
            }
            _ => return None,
        };
        Some(Key { first: in_lower_case(first), last: in_lower_case(last), len: len as u32 })
    }

    /// By multiplication (Fibonacci hashing; Knuth, The Art of Computer Programming 3, 6.4).
    #[inline]
    fn slot(self) -> usize {
        let word = (self.first ^ self.last.rotate_left(29)).wrapping_add(u64::from(self.len));
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

/// Its eight bytes, with `A` to `Z` as `a` to `z` and all others as they are.
#[inline]
fn in_lower_case(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH * 0x80;
    // No byte carries into the next: seven bits of each are added to less than 128.
    let low = word & !TOP;
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let above_z = low + EACH * (0x80 - b'Z' as u64 - 1);
    let upper = from_a & !above_z & !word & TOP;
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_folded_as_in_ascii() {
        for byte in 0..=255u8 {
            for at in 0..8 {
                let mut bytes = *b"aZ[`@{\xc1\x00";
                bytes[at] = byte;
                let folded = in_lower_case(u64::from_le_bytes(bytes)).to_le_bytes();
                assert_eq!(folded, bytes.to_ascii_lowercase()[..], "{bytes:?}");
            }
        }
    }

    #[test]
    fn names_of_every_length_are_found_and_no_others() {
        let name = |len: usize| -> String { ('a'..='z').cycle().take(len).collect() };
        let names = Names::new((1..40).map(|len| (name(len), CommandId(len as u16))));
        assert_eq!(names.find(b""), None);
        for len in 1..40 {
            let known = name(len);
            assert_eq!(names.find(known.as_bytes()), Some(CommandId(len as u16)));
            assert_eq!(names.find(known.to_uppercase().as_bytes()), Some(CommandId(len as u16)));
            for at in 0..len {
                for other in [0, b'_', b'a' ^ 0x40, 0xff] {
                    let mut bytes = known.clone().into_bytes();
                    bytes[at] = other;
                    let same = bytes.eq_ignore_ascii_case(known.as_bytes());
                    assert_eq!(names.find(&bytes).is_some(), same, "{bytes:?}");
                }
            }
            let longer = [known.as_bytes(), b"\0"].concat();
            assert_eq!(names.find(&longer), None, "{known}");
        }
        assert_eq!(names.all().count(), 39);
    }
}

//! LZF, the compression of strings in RDB files.
//!
//! ```text
//!   000nnnnn  n + 1 bytes                          literals
//!   lllooooo  oooooooo                             l + 2 bytes from o + 1 bytes back, l from 1 to 6
//!   111ooooo  llllllll  oooooooo                   l + 9 bytes from there
//! ```
//!
//! The compressor looks for the last place where the same three bytes began, in a table of hashes. That the
//! places of earlier inputs are still in it does no harm: they lie before the base of this one.

use super::{Corrupt, Result};

const LITERALS_MAX: usize = 32;
const OFFSET_MAX: usize = 1 << 13;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
/// So many bytes of output can three bytes of input stand for.
const GROWTH: usize = MATCH_MAX;
const TABLE_BITS: u32 = 14;
/// Longer inputs are not compressed.
const INPUT_MAX: usize = 1 << 30;

/// Longest string that is compressed at all.
pub const LEN_MAX: usize = INPUT_MAX;

/// How far the compression of one string is.
#[derive(Debug)]
pub struct Run {
    at: usize,
    /// From here on nothing is written yet.
    literals: usize,
    /// Where the output begins, and where it must end.
    start: usize,
    limit: usize,
}

/// Compresses one string after another.
#[derive(Default)]
pub struct Compressor {
    /// Where three bytes with this hash began last, plus the base of the input where it was.
    table: Vec<u32>,
    base: u32,
}

impl Compressor {
    /// Appends the compressed form of `input` to `out`, unless that takes more than `max` bytes;
    /// whether it did.
    pub fn compress(&mut self, input: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
        if input.len() > INPUT_MAX {
            return false;
        }
        let mut run = self.begin(input.len(), max, out);
        self.go_on(&mut run, input, usize::MAX, out).unwrap_or(false)
    }

    /// Begins to append the compressed form of a string of `len` bytes, no more than [`LEN_MAX`], to `out`. No
    /// other is compressed meanwhile.
    pub fn begin(&mut self, len: usize, max: usize, out: &[u8]) -> Run {
        self.prepare(len);
        let start = out.len();
        Run { at: 0, literals: 0, start, limit: start + max }
    }

    /// Compresses `input` up to about byte `until`. When all is done, whether it takes no more bytes than it may;
    /// else nothing is left of it.
    pub fn go_on(
        &mut self,
        run: &mut Run,
        input: &[u8],
        until: usize,
        out: &mut Vec<u8>,
    ) -> Option<bool> {
        let Run { start, limit, .. } = *run;
        let (mut at, mut literals) = (run.at, run.literals);
        let end = (input.len() + 1).saturating_sub(MATCH_MIN);
        let mut is_full = false;
        while at < end.min(until) {
            let Some(from) = self.exchange(input, at) else {
                at += 1;
                continue;
            };
            let len = match_len(input, from, at);
            if !put_literals(&input[literals..at], limit, out) {
                is_full = true;
                break;
            }
            put_match(at - from - 1, len, out);
            // The last places within the match are likely beginnings of what comes next.
            let end = at + len;
            for inside in end.saturating_sub(2)..end {
                self.exchange(input, inside);
            }
            at = end;
            literals = end;
        }
        (run.at, run.literals) = (at, literals);
        if at < end && !is_full {
            return None;
        }
        self.base += input.len() as u32;
        let fits = !is_full && put_literals(&input[literals..], limit, out) && out.len() <= limit;
        if !fits {
            out.truncate(start);
        }
        Some(fits)
    }

    /// Makes the table such that no place in it is one of an input of `len` bytes.
    fn prepare(&mut self, len: usize) {
        let fresh = self.table.is_empty();
        if fresh || self.base > u32::MAX - 2 * INPUT_MAX as u32 {
            self.table.clear();
            self.table.resize(1 << TABLE_BITS, 0);
            self.base = 1;
        }
        debug_assert!(len <= INPUT_MAX);
    }

    /// Remembers the place `at`, and gives the last one where the same three bytes began, if it
    /// can be referred to.
    #[inline(always)]
    fn exchange(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let three = three_at(input, at)?;
        let hash = three.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS);
        let slot = self.table.get_mut(hash as usize)?;
        let place = std::mem::replace(slot, self.base + at as u32);
        let from = place.checked_sub(self.base)? as usize;
        let near = from < at && at - from <= OFFSET_MAX;
        (near && three_at(input, from) == Some(three)).then_some(from)
    }
}

/// The three bytes at a place, if they are there.
#[inline(always)]
fn three_at(input: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = *input.get(at..)?.first_chunk::<3>()?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

/// How many bytes are the same from two places on, as far as one reference reaches.
#[inline]
fn match_len(input: &[u8], from: usize, at: usize) -> usize {
    let most = MATCH_MAX.min(input.len() - at);
    let (old, new) = (&input[from..from + most], &input[at..at + most]);
    let (old_eights, old_rest) = old.as_chunks::<8>();
    let (new_eights, new_rest) = new.as_chunks::<8>();
    for (index, (a, b)) in old_eights.iter().zip(new_eights).enumerate() {
        let difference = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if difference != 0 {
            return index * 8 + difference.trailing_zeros() as usize / 8;
        }
    }
    let rest = old_rest.iter().zip(new_rest).take_while(|(a, b)| a == b).count();
    old_eights.len() * 8 + rest
}

/// Appends literals; `false` when that goes beyond `limit`.
fn put_literals(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
    for run in bytes.chunks(LITERALS_MAX) {
        if out.len() + run.len() >= limit {
            return false;
        }
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
    out.len() <= limit
}

fn put_match(offset: usize, len: usize, out: &mut Vec<u8>) {
    let (high, low) = ((offset >> 8) as u8, offset as u8);
    match len - 2 {
        short @ 0..=6 => out.extend_from_slice(&[(short as u8) << 5 | high, low]),
        long => out.extend_from_slice(&[7 << 5 | high, (long - 7) as u8, low]),
    }
}

/// Replaces what is in `out` by the `len` bytes of which `input` is the compressed form.
pub fn decompress(input: &[u8], len: usize, out: &mut Vec<u8>) -> Result<()> {
    const BROKEN: Corrupt = Corrupt::Wrong("a string is not compressed as it says");
    out.clear();
    if len > input.len().saturating_mul(GROWTH) / MATCH_MIN + GROWTH {
        return Err(BROKEN);
    }
    out.reserve_exact(len);
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        rest = tail;
        if usize::from(control) < LITERALS_MAX {
            let (run, tail) = rest.split_at_checked(usize::from(control) + 1).ok_or(BROKEN)?;
            if out.len() + run.len() > len {
                return Err(BROKEN);
            }
            out.extend_from_slice(run);
            rest = tail;
            continue;
        }
        let mut count = usize::from(control >> 5) + 2;
        if control >> 5 == 7 {
            let (&more, tail) = rest.split_first().ok_or(BROKEN)?;
            count += usize::from(more);
            rest = tail;
        }
        let (&low, tail) = rest.split_first().ok_or(BROKEN)?;
        rest = tail;
        let offset = usize::from(control & 0x1f) << 8 | usize::from(low);
        let from = out.len().checked_sub(offset + 1).ok_or(BROKEN)?;
        if out.len() + count > len {
            return Err(BROKEN);
        }
        copy_within(from, count, out);
    }
    if out.len() == len { Ok(()) } else { Err(BROKEN) }
}

/// Appends `count` bytes from place `from` on, which may run into those that are being appended.
fn copy_within(from: usize, mut count: usize, out: &mut Vec<u8>) {
    while count > 0 {
        let part = count.min(out.len() - from);
        out.extend_from_within(from..from + part);
        count -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(compressor: &mut Compressor, input: &[u8], max: usize) -> Option<usize> {
        let mut packed = b"before".to_vec();
        if !compressor.compress(input, max, &mut packed) {
            assert_eq!(packed, b"before");
            return None;
        }
        let packed = &packed[6..];
        assert!(packed.len() <= max);
        let mut back = b"junk".to_vec();
        decompress(packed, input.len(), &mut back).unwrap();
        assert_eq!(back, input);
        for wrong in [input.len() + 1, input.len().wrapping_sub(1), usize::MAX] {
            assert!(decompress(packed, wrong, &mut back).is_err());
        }
        Some(packed.len())
    }

    #[test]
    fn repetitions_become_short() {
        let mut compressor = Compressor::default();
        assert_eq!(round_trip(&mut compressor, &[b'a'; 100], 96), Some(5));
        assert_eq!(round_trip(&mut compressor, &b"abc".repeat(10_000), 29_996), Some(346));
        let numbers: Vec<u8> = (0..1000).flat_map(|n| format!("field:{n};").into_bytes()).collect();
        assert!(round_trip(&mut compressor, &numbers, numbers.len()).unwrap() < numbers.len() / 2);
    }

    #[test]
    fn what_does_not_become_shorter_is_left_alone() {
        let mut compressor = Compressor::default();
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
        assert_eq!(round_trip(&mut compressor, &noise, noise.len() - 4), None);
        assert_eq!(round_trip(&mut compressor, &noise, 2 * noise.len()), Some(10_313));
        assert_eq!(round_trip(&mut compressor, b"", 10), Some(0));
        assert_eq!(round_trip(&mut compressor, b"ab", 1), None);
        assert_eq!(round_trip(&mut compressor, b"ab", 3), Some(3));
    }

    #[test]
    fn what_is_not_compressed_data_is_refused() {
        for (input, len) in [
            (&b"\x05abc"[..], 6),
            (b"\x20\x00", 3),
            (b"\x00a\x20", 4),
            (b"\x00a\xe0\xff", 300),
            (b"\x00a\x20\x01", 4),
            (b"", 1),
            (b"\x00a", usize::MAX),
        ] {
            assert!(decompress(input, len, &mut Vec::new()).is_err(), "{input:?}");
        }
        let mut out = Vec::new();
        decompress(b"\x00a\x20\x00", 4, &mut out).unwrap();
        assert_eq!(out, b"aaaa");
    }

    proptest! {
        #[test]
        fn every_string_comes_back(parts in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), 1usize..40), 0..40)) {
            let input: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
            let mut compressor = Compressor::default();
            for _ in 0..3 {
                prop_assert!(round_trip(&mut compressor, &input, 2 * input.len() + 1).is_some());
                round_trip(&mut compressor, &input, input.len().saturating_sub(4));
            }
        }

        #[test]
        fn no_input_does_harm(input in proptest::collection::vec(any::<u8>(), 0..200), len in 0usize..5000) {
            let mut out = Vec::new();
            if decompress(&input, len, &mut out).is_ok() {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}

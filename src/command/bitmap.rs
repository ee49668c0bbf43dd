//! Strings as arrays of bits; bit 0 is the highest bit of the first byte.

use super::spec::*;
use super::value::{integer, read_string, resolve_range, string_of};
use crate::data::Entry;
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx, Keys, Settings};

const WRITE_OOM: Flags = WRITE.with(DENYOOM);

pub const COMMANDS: &[Command] = &[
    shard("setbit", 4, WRITE_OOM, &[KeySpec::one(1, RW_ACCESS_UPDATE)], setbit).doc(
        Group::Bitmap,
        "2.2.0",
        "O(1), plus the zero bytes that the string grows by.",
        "key offset value:integer",
        "Sets one bit of the string at a key and answers what it was.",
    ),
    shard("getbit", 3, READONLY.with(FAST), &[KeySpec::one(1, RO_ACCESS)], getbit).doc(
        Group::Bitmap,
        "2.2.0",
        "O(1)",
        "key offset",
        "Answers one bit of the string at a key.",
    ),
    shard("bitcount", -2, READONLY, &[KeySpec::one(1, RO_ACCESS)], bitcount).doc(
        Group::Bitmap,
        "2.6.0",
        "O(N) where N is the number of bytes looked at.",
        "key [start end [BYTE | BIT]]",
        "Counts the bits set in the string at a key or in a part of it.",
    ),
    shard("bitpos", -3, READONLY, &[KeySpec::one(1, RO_ACCESS)], bitpos).doc(
        Group::Bitmap,
        "2.8.7",
        "O(N) where N is the number of bytes looked at.",
        "key bit [start [end [BYTE | BIT]]]",
        "Finds the first bit set or clear in the string at a key or in a part of it.",
    ),
    shard(
        "bitop",
        -4,
        WRITE_OOM,
        &[KeySpec::one(2, OW_UPDATE), KeySpec::range(3, -1, 1, RO_ACCESS)],
        bitop,
    )
    .doc(
        Group::Bitmap,
        "2.6.0",
        "O(N) where N is the length of all strings together.",
        "<AND | OR | XOR | NOT> destkey key [key ...]",
        "Combines the bits of several strings and stores the result.",
    ),
];

/// A bit's place; no value may reach further.
pub fn bit_offset(settings: &Settings, offset: Option<i64>) -> Result<usize, CmdError> {
    offset
        .and_then(|offset| usize::try_from(offset).ok())
        .filter(|offset| offset >> 3 < settings.bulk_len_max)
        .ok_or(CmdError::fixed("ERR bit offset is not an integer or out of range"))
}

/// The string at `key`, made or grown with zero bytes so that it has the bit at `last_bit`;
/// and whether that changed it.
pub fn room_for_bit<'a>(
    keys: &'a mut Keys,
    key: &[u8],
    last_bit: usize,
) -> Result<(&'a mut [u8], bool), CmdError> {
    let (entry, _) = keys.get_or_make(key);
    string_of(entry)?;
    let len = (last_bit >> 3) + 1;
    let grows = entry.string_len() < len;
    Ok((entry.grow(len), grows))
}

fn setbit(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let offset = bit_offset(cx.settings, parse_i64(args.at(2)))?;
    let on = match parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CmdError::fixed("ERR bit is not an integer or out of range")),
    };
    let (bytes, grown) = room_for_bit(&mut cx.keys, args.at(1), offset)?;
    let (byte, mask) = (&mut bytes[offset >> 3], 0x80 >> (offset & 7));
    let was = *byte & mask != 0;
    *byte = if on { *byte | mask } else { *byte & !mask };
    if grown || was != on {
        cx.keys.notify(Class::String, "setbit", args.at(1));
        cx.keys.changed(1);
    }
    cx.out.int(i64::from(was));
    Ok(())
}

fn getbit(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let offset = bit_offset(cx.settings, parse_i64(args.at(2)))?;
    read_string(cx, args.at(1), |bytes, out| {
        let byte = bytes.get(offset >> 3).copied().unwrap_or(0);
        out.int(i64::from(byte >> (7 - (offset & 7)) & 1));
    })
}

/// Reads `BYTE` or `BIT`; whether it is `BIT`.
fn is_bit_unit(args: Args, at: usize) -> Result<bool, CmdError> {
    match (args.is(at, "BIT"), args.is(at, "BYTE")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(CmdError::SYNTAX),
    }
}

/// First and last bit of a range of bytes or bits.
fn bit_range(start: i64, end: i64, len: usize, in_bits: bool) -> Option<(usize, usize)> {
    match in_bits {
        true => resolve_range(start, end, len * 8),
        false => resolve_range(start, end, len).map(|(first, last)| (first * 8, last * 8 + 7)),
    }
}

/// A key that is not there answers 0 before any range is looked at.
fn bitcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Some(entry) = cx.keys.get(args.at(1)) else {
        cx.out.int(0);
        return Ok(());
    };
    let mut digits = itoa::Buffer::new();
    let bytes = string_of(entry)?.bytes(&mut digits);
    let range = match args.len() {
        2 => bit_range(0, -1, bytes.len(), false),
        4 | 5 => {
            let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
            if start < 0 && end < 0 && start > end {
                None
            } else {
                let in_bits = args.len() == 5 && is_bit_unit(args, 4)?;
                bit_range(start, end, bytes.len(), in_bits)
            }
        }
        _ => return Err(CmdError::SYNTAX),
    };
    let count = range.map_or(0, |(first, last)| count_bits(bytes, first, last));
    cx.out.int(count as i64);
    Ok(())
}

/// The bits from `first` on in the byte that has it, and up to `last` in the byte that has it.
fn edge_masks(first: usize, last: usize) -> (u8, u8) {
    (0xff >> (first & 7), 0xff << (7 - (last & 7)))
}

fn count_bits(bytes: &[u8], first: usize, last: usize) -> usize {
    let (head, tail) = edge_masks(first, last);
    let bytes = &bytes[first >> 3..=last >> 3];
    let (words, rest) = bytes.as_chunks::<8>();
    let all: usize = words.iter().map(|w| u64::from_ne_bytes(*w).count_ones() as usize).sum();
    let all = all + rest.iter().map(|b| b.count_ones() as usize).sum::<usize>();
    let outside = |byte: u8, mask: u8| (byte & !mask).count_ones() as usize;
    all - outside(bytes[0], head) - outside(bytes[bytes.len() - 1], tail)
}

/// A key that is not there is endless zero bits, whatever the range.
fn bitpos(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let wanted = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(CmdError::fixed("ERR The bit argument must be 1 or 0.")),
    };
    let Some(entry) = cx.keys.get(args.at(1)) else {
        cx.out.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let mut digits = itoa::Buffer::new();
    let bytes = string_of(entry)?.bytes(&mut digits);
    if args.len() > 6 {
        return Err(CmdError::SYNTAX);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let in_bits = args.len() == 6 && is_bit_unit(args, 5)?;
    let end = args.get(4).map_or(Ok(-1), integer)?;
    let place = bit_range(start, end, bytes.len(), in_bits).and_then(|(first, last)| {
        // Without an end the string counts as followed by zero bits.
        let beyond = (!wanted && args.len() < 5).then_some(bytes.len() * 8);
        find_bit(bytes, wanted, first, last).or(beyond)
    });
    cx.out.int(place.map_or(-1, |place| place as i64));
    Ok(())
}

/// The first bit from `first` to `last` that is as `wanted`.
fn find_bit(bytes: &[u8], wanted: bool, first: usize, last: usize) -> Option<usize> {
    let flip = if wanted { 0 } else { 0xff };
    let (head, tail) = edge_masks(first, last);
    let (start, end) = (first >> 3, last >> 3);
    let in_byte = |at: usize, mask: u8| {
        let hits = (bytes[at] ^ flip) & mask;
        (hits != 0).then(|| at * 8 + hits.leading_zeros() as usize)
    };
    if start == end {
        return in_byte(start, head & tail);
    }
    in_byte(start, head)
        .or_else(|| {
            let middle = &bytes[start + 1..end];
            let uniform = [flip; 8];
            let (words, _) = middle.as_chunks::<8>();
            let skipped = words.iter().position(|w| *w != uniform).unwrap_or(words.len()) * 8;
            let at = middle[skipped..].iter().position(|b| *b != flip)?;
            in_byte(start + 1 + skipped + at, 0xff)
        })
        .or_else(|| in_byte(end, tail))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BitOp {
    And,
    Or,
    Xor,
    Not,
}

fn bitop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    const OPERATIONS: [(&str, BitOp); 4] =
        [("AND", BitOp::And), ("OR", BitOp::Or), ("XOR", BitOp::Xor), ("NOT", BitOp::Not)];
    let operation = OPERATIONS.iter().find(|(name, _)| args.is(1, name));
    let operation = operation.ok_or(CmdError::SYNTAX)?.1;
    if operation == BitOp::Not && args.len() != 4 {
        return Err(CmdError::fixed("ERR BITOP NOT must be called with a single source key."));
    }
    let mut result = Vec::new();
    for (at, key) in args.from(3).iter().enumerate() {
        read_string(cx, key, |bytes, _| match at {
            0 => result = bytes.to_vec(),
            _ => combine(operation, &mut result, bytes),
        })?;
    }
    if operation == BitOp::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let len = result.len();
    let target = args.at(2);
    if len > 0 {
        store(cx, target, result);
        cx.keys.notify(Class::String, "set", target);
        cx.keys.changed(1);
    } else if cx.keys.replace_by_nothing(target) {
        cx.keys.changed(1);
    }
    cx.out.int(len as i64);
    Ok(())
}

/// Combines `bytes` into `result`, the shorter of the two followed by zero bytes.
fn combine(operation: BitOp, result: &mut Vec<u8>, bytes: &[u8]) {
    if result.len() < bytes.len() {
        result.resize(bytes.len(), 0);
    }
    let (common, rest) = result.split_at_mut(bytes.len());
    let pairs = common.iter_mut().zip(bytes);
    match operation {
        BitOp::And => {
            pairs.for_each(|(a, b)| *a &= b);
            rest.fill(0);
        }
        BitOp::Or => pairs.for_each(|(a, b)| *a |= b),
        BitOp::Xor => pairs.for_each(|(a, b)| *a ^= b),
        BitOp::Not => {}
    }
}

/// Makes `key` hold `bytes` as they are, never as an integer, whatever it held before.
fn store(cx: &mut Cx, key: &[u8], bytes: Vec<u8>) {
    /// Longer ones are moved rather than copied to where short values live.
    const COPY_MAX: usize = 512;
    cx.keys.insert(Entry::string(key, b"", None));
    let (entry, _) = cx.keys.get_or_make(key);
    match bytes.len() {
        ..=COPY_MAX => entry.grow(bytes.len()).copy_from_slice(&bytes),
        _ => *entry.bytes_mut() = bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;

    fn bench(key: &[u8], value: &[u8]) -> Bench {
        let mut bench = Bench::new();
        bench.run_args(&[b"set", key, value]);
        bench
    }

    #[test]
    fn bits_are_set_and_read() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("setbit b 7 1"), ":0\r\n");
        assert_eq!(bench.run("setbit b 7 0"), ":1\r\n");
        assert_eq!(bench.run("setbit b 17 1"), ":0\r\n");
        assert_eq!(bench.run("getbit b 17"), ":1\r\n");
        assert_eq!(bench.run("getbit b 16"), ":0\r\n");
        assert_eq!(bench.run("getbit b 1000"), ":0\r\n");
        assert_eq!(bench.run("getbit none 0"), ":0\r\n");
        assert_eq!(bench.run_args(&[b"get", b"b"]), b"$3\r\n\0\0\x40\r\n");
        bench.run("set n 1");
        assert_eq!(bench.run("setbit n 6 1"), ":0\r\n");
        assert_eq!(bench.run("get n"), "$1\r\n3\r\n");
    }

    #[test]
    fn bit_arguments_are_checked() {
        let mut bench = Bench::new();
        let offset = "-ERR bit offset is not an integer or out of range\r\n";
        for words in ["setbit b -1 1", "setbit b x 1", "setbit b 4294967296 1", "getbit b -1"] {
            assert_eq!(bench.run(words), offset, "{words}");
        }
        let bit = "-ERR bit is not an integer or out of range\r\n";
        assert_eq!(bench.run("setbit b 0 2"), bit);
        assert_eq!(bench.run("setbit b 0 x"), bit);
        assert_eq!(bench.run("bitpos b 2"), "-ERR The bit argument must be 1 or 0.\r\n");
        assert_eq!(bench.run("bitcount b x"), ":0\r\n");
        bench.run("set b v");
        assert_eq!(bench.run("bitcount b 0"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("bitcount b 0 1 what"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("bitpos b 1 0 1 bit more"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("bitop nand d a b"), "-ERR syntax error\r\n");
        let not = "-ERR BITOP NOT must be called with a single source key.\r\n";
        assert_eq!(bench.run("bitop not d a b"), not);
    }

    /// Every range of a few strings against the plain definition, bit by bit.
    #[test]
    fn counts_and_finds_in_every_range() {
        let mut random = fastrand::Rng::with_seed(3);
        for len in [1, 2, 3, 9, 26] {
            let sparse: Vec<u8> = (0..len).map(|_| random.u8(..4).saturating_sub(2)).collect();
            let dense = sparse.iter().map(|byte| !byte).collect();
            for bytes in [sparse, dense, vec![0; len], vec![0xff; len]] {
                let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
                for first in 0..len * 8 {
                    for last in first..len * 8 {
                        let count = (first..=last).filter(|&at| bit(at)).count();
                        assert_eq!(count_bits(&bytes, first, last), count);
                        for wanted in [false, true] {
                            let place = (first..=last).find(|&at| bit(at) == wanted);
                            assert_eq!(find_bit(&bytes, wanted, first, last), place);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_count_bytes_or_bits() {
        let mut bench = bench(b"b", b"foobar");
        assert_eq!(bench.run("bitcount b"), ":26\r\n");
        assert_eq!(bench.run("bitcount b 0 0"), ":4\r\n");
        assert_eq!(bench.run("bitcount b 1 1 byte"), ":6\r\n");
        assert_eq!(bench.run("bitcount b 5 30 bit"), ":17\r\n");
        assert_eq!(bench.run("bitcount b -1 -2 what"), ":0\r\n");
        let mut bench = self::bench(b"b", b"\xff\xf0\x00");
        assert_eq!(bench.run("bitpos b 0"), ":12\r\n");
        assert_eq!(bench.run("bitpos b 1 2"), ":-1\r\n");
        assert_eq!(bench.run("bitpos b 1 7 15 bit"), ":7\r\n");
        let mut bench = self::bench(b"b", b"\xff\xff");
        assert_eq!(bench.run("bitpos b 0"), ":16\r\n");
        assert_eq!(bench.run("bitpos b 0 1"), ":16\r\n");
        assert_eq!(bench.run("bitpos b 0 0 -1"), ":-1\r\n");
        assert_eq!(bench.run("bitpos b 0 2"), ":-1\r\n");
        assert_eq!(bench.run("bitpos none 0"), ":0\r\n");
        assert_eq!(bench.run("bitpos none 1"), ":-1\r\n");
    }

    #[test]
    fn strings_are_combined_bit_by_bit() {
        let mut bench = bench(b"a", b"\x0f\xf0\xff");
        bench.run_args(&[b"set", b"b", b"\xff\x10"]);
        for (operation, expected) in
            [("and", b"\x0f\x10\x00"), ("or", b"\xff\xf0\xff"), ("xor", b"\xf0\xe0\xff")]
        {
            assert_eq!(bench.run(&format!("bitop {operation} d a b none")), ":3\r\n");
            let expected = match operation {
                "and" => b"\0\0\0",
                _ => expected,
            };
            assert_eq!(bench.run_args(&[b"get", b"d"])[4..7], expected[..]);
        }
        assert_eq!(bench.run("bitop and d b a"), ":3\r\n");
        assert_eq!(bench.run_args(&[b"get", b"d"]), b"$3\r\n\x0f\x10\0\r\n");
        assert_eq!(bench.run("bitop not d b"), ":2\r\n");
        assert_eq!(bench.run_args(&[b"get", b"d"]), b"$2\r\n\0\xef\r\n");
        assert_eq!(bench.run("bitop or d none"), ":0\r\n");
        assert_eq!(bench.run("get d"), "$-1\r\n");
        bench.run("set d v px 1000");
        bench.run("bitop or d a");
        bench.now += 1001;
        assert_eq!(bench.run("strlen d"), ":3\r\n");
    }
}

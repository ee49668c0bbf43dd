//! BITFIELD: integers of 1 to 64 bits at any bit of a string, highest bit first.

use super::bitmap::{bit_offset, room_for_bit};
use super::spec::*;
use super::string::RW_ACCESS_UPDATE_VARIABLE;
use super::value::{integer, read_string};
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx, Settings};
use smallvec::SmallVec;

pub const COMMANDS: &[Command] = &[
    shard(
        "bitfield",
        -2,
        WRITE.with(DENYOOM),
        &[KeySpec::one(1, RW_ACCESS_UPDATE_VARIABLE)],
        bitfield,
    )
    .doc(
        Group::Bitmap,
        "3.2.0",
        "O(1) for each operation.",
        "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
         <SET encoding offset value:integer | INCRBY encoding offset increment>> ...]",
        "Reads, sets and increments integers of any width in the string at a key.",
    )
    .key_flags(key_use),
    shard("bitfield_ro", -2, READONLY.with(FAST), &[KeySpec::one(1, RO_ACCESS)], bitfield_ro).doc(
        Group::Bitmap,
        "6.0.0",
        "O(1) for each operation.",
        "key [GET encoding offset [GET encoding offset ...]]",
        "Reads integers of any width in the string at a key.",
    ),
];

/// The width of an integer and whether it has a sign; unsigned ones have at most 63 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn parse(arg: &[u8]) -> Result<Width, CmdError> {
        const INVALID: CmdError = CmdError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. \
             Note that u64 is not supported but i64 is.",
        );
        let (signed, bits_max) = match arg.first() {
            Some(b'i') => (true, 64),
            Some(b'u') => (false, 63),
            _ => return Err(INVALID),
        };
        match parse_i64(&arg[1..]) {
            Some(bits) if (1..=bits_max).contains(&bits) => Ok(Width { signed, bits: bits as u32 }),
            _ => Err(INVALID),
        }
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }

    /// The integer whose lowest bits are those of `value`.
    fn wrap(self, value: i128) -> i64 {
        let unused = 64 - self.bits;
        match self.signed {
            true => (value as i64) << unused >> unused,
            false => ((value as u64) << unused >> unused) as i64,
        }
    }

    /// Reads the integer at bit `offset`; beyond the end there are zero bits.
    fn read(self, bytes: &[u8], offset: usize) -> i64 {
        let mut window = [0; 16];
        let available = bytes.get(offset >> 3..).unwrap_or(&[]);
        let len = available.len().min(9);
        window[..len].copy_from_slice(&available[..len]);
        let shift = 128 - self.bits - (offset & 7) as u32;
        self.wrap((u128::from_be_bytes(window) >> shift) as i128)
    }

    /// Writes the lowest bits of `value` at bit `offset`, which `bytes` has room for.
    fn write(self, bytes: &mut [u8], offset: usize, value: i64) {
        let end = (offset + self.bits as usize).div_ceil(8);
        let target = &mut bytes[offset >> 3..end];
        let mut window = [0; 16];
        window[..target.len()].copy_from_slice(target);
        let shift = 128 - self.bits - (offset & 7) as u32;
        let mask = (u128::MAX >> (128 - self.bits)) << shift;
        let value = (u128::from(value as u64) << shift) & mask;
        let merged = (u128::from_be_bytes(window) & !mask | value).to_be_bytes();
        target.copy_from_slice(&merged[..target.len()]);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    IncrBy(i64, Overflow),
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    width: Width,
    offset: usize,
    action: Action,
}

type Operations = SmallVec<[Operation; 4]>;

fn parse(args: Args, settings: &Settings) -> Result<Operations, CmdError> {
    let mut operations = Operations::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let more = args.len() - at - 1;
        let is_get = args.is(at, "GET") && more >= 2;
        let is_set = args.is(at, "SET") && more >= 3;
        if args.is(at, "OVERFLOW") && more >= 1 {
            overflow = parse_overflow(args, at + 1)?;
            at += 2;
            continue;
        }
        let is_incrby = args.is(at, "INCRBY") && more >= 3;
        if !(is_get || is_set || is_incrby) {
            return Err(CmdError::SYNTAX);
        }
        let width = Width::parse(args.at(at + 1))?;
        let offset = parse_offset(args.at(at + 2), width, settings)?;
        let action = if is_get {
            Action::Get
        } else {
            let operand = integer(args.at(at + 3))?;
            if is_set { Action::Set(operand, overflow) } else { Action::IncrBy(operand, overflow) }
        };
        operations.push(Operation { width, offset, action });
        at += if is_get { 3 } else { 4 };
    }
    Ok(operations)
}

fn parse_overflow(args: Args, at: usize) -> Result<Overflow, CmdError> {
    const KINDS: [(&str, Overflow); 3] =
        [("WRAP", Overflow::Wrap), ("SAT", Overflow::Saturate), ("FAIL", Overflow::Fail)];
    let kind = KINDS.iter().find(|(name, _)| args.is(at, name));
    kind.map(|(_, kind)| *kind).ok_or(CmdError::fixed("ERR Invalid OVERFLOW type specified"))
}

/// A bit's place, or behind `#` the place of the n-th integer of this width.
fn parse_offset(arg: &[u8], width: Width, settings: &Settings) -> Result<usize, CmdError> {
    let offset = match arg {
        [b'#', index @ ..] => parse_i64(index).and_then(|n| n.checked_mul(width.bits.into())),
        _ => parse_i64(arg),
    };
    bit_offset(settings, offset)
}

/// Reads only while each operation is a GET.
fn key_use(args: &Args) -> &'static [&'static str] {
    let mut at = 2;
    while at < args.len() {
        let more = args.len() - at - 1;
        at += match () {
            () if args.is(at, "get") && more >= 2 => 3,
            () if args.is(at, "overflow") && more >= 1 => 2,
            () => return RW_ACCESS_UPDATE,
        };
    }
    RO_ACCESS
}

fn bitfield(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let operations = parse(args, cx.settings)?;
    match last_written_bit(&operations) {
        None => reply_reads(cx, args.at(1), &operations),
        Some(last) => change(cx, args, &operations, last),
    }
}

fn bitfield_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let operations = parse(args, cx.settings)?;
    match last_written_bit(&operations) {
        None => reply_reads(cx, args.at(1), &operations),
        Some(_) => Err(CmdError::fixed("ERR BITFIELD_RO only supports the GET subcommand")),
    }
}

/// The last bit that any of the operations writes; `None` when all only read.
fn last_written_bit(operations: &[Operation]) -> Option<usize> {
    let writes = operations.iter().filter(|o| !matches!(o.action, Action::Get));
    writes.map(|o| o.offset + o.width.bits as usize - 1).max()
}

fn reply_reads(cx: &mut Cx, key: &[u8], operations: &[Operation]) -> Result<(), CmdError> {
    read_string(cx, key, |bytes, out| {
        out.array(operations.len());
        for operation in operations {
            out.int(operation.width.read(bytes, operation.offset));
        }
    })
}

/// Runs all operations. As in Redis the string grows to what they address even when every one
/// of them fails by overflow.
fn change(cx: &mut Cx, args: Args, operations: &[Operation], last: usize) -> Result<(), CmdError> {
    let key = args.at(1);
    let (bytes, grown) = room_for_bit(&mut cx.keys, key, last)?;
    let mut changes = 0;
    cx.out.array(operations.len());
    for operation in operations {
        changes += u64::from(run(*operation, bytes, grown, &mut cx.out));
    }
    if changes > 0 {
        cx.keys.notify(Class::String, "setbit", key);
        cx.keys.changed(changes);
    } else if grown && cx.keys.is_recorded() {
        // That it has grown counts as no change, but it has.
        let words: Vec<&[u8]> = args.iter().collect();
        cx.keys.effect(key, &words);
    }
    Ok(())
}

/// Runs one operation on a string that has room for it; whether it changed something.
///
/// Saturation means the bound on the value's side but for one corner, which is as in Redis: SET
/// of a value so far below zero that its distance to the maximum overflows 64 bits stores the
/// maximum.
fn run(operation: Operation, bytes: &mut [u8], grown: bool, out: &mut Encoder) -> bool {
    let Operation { width, offset, action } = operation;
    let old = width.read(bytes, offset);
    let (value, overflow) = match action {
        Action::Get => {
            out.int(old);
            return false;
        }
        Action::Set(value, overflow) if width.signed => (i128::from(value), overflow),
        Action::Set(value, overflow) => (i128::from(value as u64), overflow),
        Action::IncrBy(value, overflow) => (i128::from(old) + i128::from(value), overflow),
    };
    let new = match overflow {
        _ if (width.min()..=width.max()).contains(&value) => value as i64,
        Overflow::Wrap => width.wrap(value),
        Overflow::Saturate => {
            let is_far_below = i64::try_from(width.max() - value).is_err();
            match action {
                Action::Set(..) if is_far_below => width.max() as i64,
                _ => value.clamp(width.min(), width.max()) as i64,
            }
        }
        Overflow::Fail => {
            out.null();
            return false;
        }
    };
    width.write(bytes, offset, new);
    out.int(if matches!(action, Action::Set(..)) { old } else { new });
    grown || old != new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;

    #[test]
    fn every_width_fits_at_every_bit() {
        let mut random = fastrand::Rng::with_seed(5);
        for bits in 1..=64 {
            for signed in [false, true] {
                let width = Width { signed, bits };
                if !signed && bits == 64 {
                    continue;
                }
                for offset in 0..17 {
                    let mut bytes: Vec<u8> = (0..11).map(|_| random.u8(..)).collect();
                    let before = bytes.clone();
                    let value = width.wrap(i128::from(random.u64(..)));
                    width.write(&mut bytes, offset, value);
                    assert_eq!(width.read(&bytes, offset), value);
                    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
                    for at in (0..offset).chain(offset + bits as usize..88) {
                        assert_eq!(bit(&bytes, at), bit(&before, at));
                    }
                    let highest = value as u64 >> (bits - 1) & 1;
                    assert_eq!(u64::from(bit(&bytes, offset)), highest);
                }
            }
        }
    }

    #[test]
    fn integers_are_read_set_and_added_to() {
        let mut bench = Bench::new();
        let reply = bench.run("bitfield k set i8 #0 -5 incrby i5 100 1 get u4 0 get i8 0");
        assert_eq!(reply, "*4\r\n:0\r\n:1\r\n:15\r\n:-5\r\n");
        assert_eq!(bench.run("bitfield_ro k get i5 100 get u8 100000"), "*2\r\n:1\r\n:0\r\n");
        assert_eq!(bench.run("bitfield none get u8 0"), "*1\r\n:0\r\n");
        assert_eq!(bench.run("bitfield k"), "*0\r\n");
        assert_eq!(bench.run("strlen k"), ":14\r\n");
    }

    #[test]
    fn overflow_wraps_saturates_or_fails() {
        let mut bench = Bench::new();
        bench.run("bitfield k set u2 0 3 set i2 2 1");
        let reply = bench.run("bitfield k incrby u2 0 1 incrby i2 2 1");
        assert_eq!(reply, "*2\r\n:0\r\n:-2\r\n");
        let reply = bench.run("bitfield k overflow sat incrby u2 0 9 incrby i2 2 -9 set u2 0 -1");
        assert_eq!(reply, "*3\r\n:3\r\n:-2\r\n:3\r\n");
        let reply = bench.run("bitfield k overflow fail incrby u2 0 1 set i2 2 2 incrby u2 0 -1");
        assert_eq!(reply, "*3\r\n$-1\r\n$-1\r\n:2\r\n");
        assert_eq!(
            bench.run("bitfield far overflow sat set i8 0 -9223372036854775808 get i8 0"),
            "*2\r\n:0\r\n:127\r\n"
        );
        let reply = bench.run("bitfield new overflow fail set u2 8 4");
        assert_eq!(reply, "*1\r\n$-1\r\n");
        assert_eq!(bench.run("strlen new"), ":2\r\n");
        let reply = bench.run("bitfield m set i64 0 9223372036854775807 incrby i64 0 1");
        assert_eq!(reply, "*2\r\n:0\r\n:-9223372036854775808\r\n");
    }

    #[test]
    fn wrong_operations_change_nothing() {
        let mut bench = Bench::new();
        let width = "-ERR Invalid bitfield type. Use something like i16 u8. \
                     Note that u64 is not supported but i64 is.\r\n";
        let offset = "-ERR bit offset is not an integer or out of range\r\n";
        for (words, expected) in [
            ("set u8 0", "-ERR syntax error\r\n"),
            ("what u8 0 1", "-ERR syntax error\r\n"),
            ("set u8 0 1 get u64 0", width),
            ("set u8 0 1 get i65 0", width),
            ("set u8 0 1 get s8 0", width),
            ("set u8 0 1 get i0 0", width),
            ("set u8 -1 1", offset),
            ("set u8 #x 1", offset),
            ("set u8 #536870912 1", offset),
            ("set u8 0 x", "-ERR value is not an integer or out of range\r\n"),
            ("overflow what set u8 0 1", "-ERR Invalid OVERFLOW type specified\r\n"),
        ] {
            assert_eq!(bench.run(&format!("bitfield k {words}")), expected, "{words}");
        }
        let only_get = "-ERR BITFIELD_RO only supports the GET subcommand\r\n";
        assert_eq!(bench.run("bitfield_ro k get u8 0 set u8 0 1"), only_get);
        assert_eq!(bench.run("get k"), "$-1\r\n");
    }
}

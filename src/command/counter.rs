//! Strings as numbers: INCR and its kin on 64-bit integers, INCRBYFLOAT on extended precision.

use super::extended::Extended;
use super::spec::*;
use super::value::{Text, integer, string_of};
use crate::data::Entry;
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};

const FLAGS: Flags = WRITE.with(DENYOOM).with(FAST);
const KEY: &[KeySpec] = &[KeySpec::one(1, RW_ACCESS_UPDATE)];

pub const COMMANDS: &[Command] = &[
    shard("incr", 2, FLAGS, KEY, incr).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key",
        "Adds one to the integer at a key, 0 when missing.",
    ),
    shard("decr", 2, FLAGS, KEY, decr).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key",
        "Takes one from the integer at a key, 0 when missing.",
    ),
    shard("incrby", 3, FLAGS, KEY, incrby).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key increment",
        "Adds an integer to the integer at a key, 0 when missing.",
    ),
    shard("decrby", 3, FLAGS, KEY, decrby).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key decrement",
        "Takes an integer from the integer at a key, 0 when missing.",
    ),
    shard("incrbyfloat", 3, FLAGS, KEY, incrbyfloat).doc(
        Group::String,
        "2.6.0",
        "O(1)",
        "key increment:double",
        "Adds a floating-point number to the number at a key, 0 when missing.",
    ),
];

fn incr(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, args.at(1), 1)
}

fn decr(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, args.at(1), -1)
}

fn incrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let increment = integer(args.at(2))?;
    add(cx, args.at(1), increment)
}

fn decrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let decrement = integer(args.at(2))?;
    let increment =
        decrement.checked_neg().ok_or(CmdError::fixed("ERR decrement would overflow"))?;
    add(cx, args.at(1), increment)
}

fn add(cx: &mut Cx, key: &[u8], increment: i64) -> Result<(), CmdError> {
    let value = match cx.keys.get_mut(key) {
        None => {
            cx.keys.insert(Entry::int(key, increment, None));
            increment
        }
        Some(entry) => {
            let old = match string_of(entry)? {
                Text::Int(n) => n,
                Text::Bytes(bytes) => parse_i64(bytes).ok_or(CmdError::NOT_AN_INTEGER)?,
            };
            let value = old.checked_add(increment).ok_or(CmdError::OVERFLOW)?;
            entry.set_int(value);
            value
        }
    };
    cx.keys.notify(Class::String, "incrby", key);
    cx.keys.changed(1);
    cx.out.int(value);
    Ok(())
}

fn incrbyfloat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let entry = cx.keys.get_mut(key);
    let old = match entry.as_deref().map(string_of).transpose()? {
        None => Extended::from(0),
        Some(Text::Int(n)) => Extended::from(n),
        Some(Text::Bytes(bytes)) => Extended::parse(bytes).ok_or(CmdError::NOT_A_FLOAT)?,
    };
    let increment = Extended::parse(args.at(2)).ok_or(CmdError::NOT_A_FLOAT)?;
    let sum = old.add(increment);
    let sum = sum.ok_or(CmdError::fixed("ERR increment would produce NaN or Infinity"))?.to_text();
    match entry {
        // Not as an integer even if it is one, as OBJECT ENCODING shows.
        Some(entry) => entry.set_bytes(sum.as_bytes()),
        None => cx.keys.insert(Entry::bytes(key, sum.as_bytes(), None)),
    }
    cx.keys.effect(key, &[b"SET", key, sum.as_bytes(), b"KEEPTTL"]);
    cx.keys.notify(Class::String, "incrbyfloat", key);
    cx.keys.changed(1);
    cx.out.bulk(sum.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn integers_count_up_and_down() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("incr n"), ":1\r\n");
        assert_eq!(bench.run("incrby n 41"), ":42\r\n");
        assert_eq!(bench.run("decr n"), ":41\r\n");
        assert_eq!(bench.run("decrby n -9"), ":50\r\n");
        assert_eq!(bench.run("decrby new 5"), ":-5\r\n");
        assert_eq!(bench.run("get n"), "$2\r\n50\r\n");
    }

    #[test]
    fn only_integers_in_range_count() {
        let mut bench = Bench::new();
        bench.run("mset max 9223372036854775807 min -9223372036854775808 text 1a lead 01");
        let overflow = "-ERR increment or decrement would overflow\r\n";
        assert_eq!(bench.run("incr max"), overflow);
        assert_eq!(bench.run("decr min"), overflow);
        let not_an_integer = "-ERR value is not an integer or out of range\r\n";
        for words in ["incr text", "incr lead", "incrby max 1.5", "incrby max 9223372036854775808"]
        {
            assert_eq!(bench.run(words), not_an_integer, "{words}");
        }
        let words = "decrby max -9223372036854775808";
        assert_eq!(bench.run(words), "-ERR decrement would overflow\r\n");
        assert_eq!(bench.run("get max"), "$19\r\n9223372036854775807\r\n");
    }

    #[test]
    fn a_count_keeps_its_time_to_live() {
        let mut bench = Bench::new();
        bench.run("set n 1 px 100");
        bench.run("incr n");
        bench.run("incrbyfloat n 0.5");
        bench.now += 101;
        assert_eq!(bench.run("get n"), "$-1\r\n");
    }

    #[test]
    fn floats_are_added_and_printed_for_people() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("incrbyfloat f 10.50"), "$4\r\n10.5\r\n");
        assert_eq!(bench.run("incrbyfloat f 0.1"), "$4\r\n10.6\r\n");
        assert_eq!(bench.run("incrbyfloat f -10.6"), "$1\r\n0\r\n");
        assert_eq!(bench.run("incr f"), ":1\r\n");
        assert_eq!(bench.run("incrbyfloat f 5.0e3"), "$4\r\n5001\r\n");
        let not_a_float = "-ERR value is not a valid float\r\n";
        assert_eq!(bench.run("incrbyfloat f nan"), not_a_float);
        assert_eq!(bench.run("incrbyfloat f 1.x"), not_a_float);
        let infinite = "-ERR increment would produce NaN or Infinity\r\n";
        assert_eq!(bench.run("incrbyfloat f inf"), infinite);
        bench.run("set text a");
        assert_eq!(bench.run("incrbyfloat text 1"), not_a_float);
    }
}

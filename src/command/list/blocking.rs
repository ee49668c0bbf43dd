//! Popping and moving for clients that wait until there is something: one attempt, and what is
//! waited for when it finds nothing.

use super::ends::{Several, end_of, move_one, pop_command, pop_one};
use crate::command::extended::Extended;
use crate::data::Type;
use crate::data::list::End;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Cx, TimedOut, Wait};
use std::ops::Range;

const NOT_A_TIMEOUT: CmdError = CmdError::fixed("ERR timeout is not a float or out of range");
const TIMEOUT_TOO_LARGE: CmdError = CmdError::fixed("ERR timeout is out of range");
const TIMEOUT_NEGATIVE: CmdError = CmdError::fixed("ERR timeout is negative");

/// Until when a client waits that gives this timeout in seconds; for ever if it is 0.
pub fn deadline(seconds: &[u8], now: i64) -> Result<Option<i64>, CmdError> {
    let seconds = Extended::parse(seconds).ok_or(NOT_A_TIMEOUT)?;
    match seconds.times_rounded_up(1000).ok_or(TIMEOUT_TOO_LARGE)? {
        ..0 => Err(TIMEOUT_NEGATIVE),
        0 => Ok(None),
        ms => now.checked_add(ms).map(Some).ok_or(TIMEOUT_TOO_LARGE),
    }
}

/// Has the client wait for a list at one of the keys, or answers `nothing` at once.
fn wait(cx: &mut Cx, keys: Range<usize>, until: Option<i64>, nothing: TimedOut) {
    match nothing {
        _ if cx.may_wait => {
            // Whoever has waited in vain is told so by an array, whatever else is answered.
            let timed_out = TimedOut::NullArray;
            cx.wait = Some(Wait { until, keys, kind: Type::List, retry: None, timed_out });
        }
        TimedOut::NullArray => cx.out.null_array(),
        TimedOut::Null => cx.out.null(),
    }
}

pub fn blpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Front)
}

pub fn brpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Back)
}

fn pop(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let last = args.len() - 1;
    let until = deadline(args.at(last), cx.now())?;
    for at in 1..last {
        let key = args.at(at);
        let name_it = |out: &mut Encoder| {
            out.array(2);
            out.bulk(key);
        };
        if pop_one(cx, key, end, name_it)? {
            cx.keys.effect(key, &[pop_command(end), key]);
            return Ok(());
        }
    }
    wait(cx, 1..last, until, TimedOut::NullArray);
    Ok(())
}

pub fn blmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let several = Several::parse(&args, 2)?;
    let until = deadline(args.at(1), cx.now())?;
    if !several.pop(cx, &args)? {
        wait(cx, several.keys, until, TimedOut::NullArray);
    }
    Ok(())
}

pub fn blmove(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to) = (end_of(args.at(3))?, end_of(args.at(4))?);
    let until = deadline(args.at(5), cx.now())?;
    let words: [&[u8]; 5] = [b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)];
    move_or_wait(cx, (args.at(1), from), (args.at(2), to), until, &words)
}

pub fn brpoplpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let until = deadline(args.at(3), cx.now())?;
    let words: [&[u8]; 3] = [b"RPOPLPUSH", args.at(1), args.at(2)];
    move_or_wait(cx, (args.at(1), End::Back), (args.at(2), End::Front), until, &words)
}

/// `words` are the command that moves without waiting.
fn move_or_wait(
    cx: &mut Cx,
    source: (&[u8], End),
    target: (&[u8], End),
    until: Option<i64>,
    words: &[&[u8]],
) -> Result<(), CmdError> {
    if !move_one(cx, source, target)? {
        wait(cx, 1..2, until, TimedOut::Null);
    } else if cx.keys.is_recorded() && cx.keys.are_together(&[source.0, target.0]) {
        cx.keys.effect(source.0, words);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;

    #[test]
    fn a_timeout_is_seconds_or_part_of_them() {
        let now = 1_000_000;
        let at = |text: &str| deadline(text.as_bytes(), now).unwrap();
        assert_eq!([at("0"), at("0.0"), at("-0.0004")], [None; 3]);
        assert_eq!([at("1"), at("0.1"), at("0.0001")], [1000, 100, 1].map(|ms| Some(now + ms)));
        let error = |text: &str| deadline(text.as_bytes(), now).unwrap_err().to_string();
        for text in ["", "x", "nan", " 1", "1 ", "1e5000"] {
            assert_eq!(error(text), "ERR timeout is not a float or out of range", "{text:?}");
        }
        for text in ["inf", "1e400", "9223372036854775.808", "9223372036854775.8"] {
            assert_eq!(error(text), "ERR timeout is out of range", "{text:?}");
        }
        for text in ["-1", "-0.01", "-inf", "-1e400"] {
            assert_eq!(error(text), "ERR timeout is negative", "{text:?}");
        }
    }

    #[test]
    fn there_is_an_answer_at_once_when_there_is_something() {
        let mut bench = Bench::new();
        bench.caller.may_wait = true;
        bench.run("RPUSH l a b c d e");
        assert_eq!(bench.run("BLPOP none l 0"), "*2\r\n$1\r\nl\r\n$1\r\na\r\n");
        assert_eq!(bench.run("BRPOP l 0"), "*2\r\n$1\r\nl\r\n$1\r\ne\r\n");
        assert_eq!(bench.run("BLMOVE l m LEFT LEFT 0"), "$1\r\nb\r\n");
        assert_eq!(bench.run("BRPOPLPUSH l m 0"), "$1\r\nd\r\n");
        let popped = "*2\r\n$1\r\nm\r\n*2\r\n$1\r\nd\r\n$1\r\nb\r\n";
        assert_eq!(bench.run("BLMPOP 0 2 m l LEFT COUNT 9"), popped);
        assert_eq!(bench.run("BLPOP l x"), "-ERR timeout is not a float or out of range\r\n");
        bench.run("SET s 1");
        assert!(bench.run("BLPOP s l 0").starts_with("-WRONGTYPE"));
        assert!(bench.run("BLMOVE l s LEFT LEFT 0").starts_with("-WRONGTYPE"));
        assert!(bench.run("BLMOVE s none LEFT LEFT 0").starts_with("-WRONGTYPE"));
    }

    #[test]
    fn who_may_not_wait_is_told_that_there_is_nothing() {
        let mut bench = Bench::new();
        bench.run("SET s 1");
        assert_eq!(bench.run("BLPOP a b 5"), "*-1\r\n");
        assert_eq!(bench.run("BLMPOP 5 1 a LEFT"), "*-1\r\n");
        assert_eq!(bench.run("BLMOVE a s LEFT LEFT 5"), "$-1\r\n");
        assert_eq!(bench.run("BRPOPLPUSH a b 5"), "$-1\r\n");
    }

    #[test]
    fn who_may_waits_for_a_list() {
        let mut bench = Bench::new();
        bench.caller.may_wait = true;
        let now = bench.now;
        for (command, until, keys) in [
            ("BLPOP a b 1.5", Some(now + 1500), 1..3),
            ("BRPOP a 0", None, 1..2),
            ("BLMOVE a b LEFT LEFT 1", Some(now + 1000), 1..2),
            ("BRPOPLPUSH a b 0", None, 1..2),
            ("BLMPOP 0 2 a b LEFT COUNT 3", None, 3..5),
        ] {
            assert_eq!(bench.run(command), "", "{command}");
            let timed_out = TimedOut::NullArray;
            let expected = Wait { until, keys, kind: Type::List, retry: None, timed_out };
            assert_eq!(bench.wait, Some(expected), "{command}");
        }
    }
}

//! Taking the least or the greatest members; one attempt of the blocking commands, and what is
//! waited for when it finds nothing.

use super::{find_mut, write_score};
use crate::command::extended::Extended;
use crate::command::value::integer;
use crate::data::Type;
use crate::data::sorted_set::{Direction, SortedSet};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::shard::{Class, Cx, Keys, TimedOut, Wait};
use std::ops::Range;

const NOT_POSITIVE: CmdError = CmdError::fixed("ERR value is out of range, must be positive");
const NO_KEYS: CmdError = CmdError::fixed("ERR numkeys should be greater than 0");
const NO_COUNT: CmdError = CmdError::fixed("ERR count should be greater than 0");
const NOT_A_TIMEOUT: CmdError = CmdError::fixed("ERR timeout is not a float or out of range");
const TIMEOUT_TOO_LARGE: CmdError = CmdError::fixed("ERR timeout is out of range");
const TIMEOUT_NEGATIVE: CmdError = CmdError::fixed("ERR timeout is negative");

/// Which members are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Least,
    Greatest,
}

/// How the members taken are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Members and scores in one array.
    Flat,
    /// An array of arrays of a member and its score.
    Nested,
    /// The key before a member and its score.
    FlatWithKey,
    /// The key and an array of arrays.
    NestedWithKey,
}

/// Takes up to `count` members of a set that has some, and answers them.
fn take(
    out: &mut Encoder,
    set: &mut SortedSet,
    key: &[u8],
    (end, count, form): (End, usize, Form),
) -> usize {
    let (len, count) = (set.len(), count.min(set.len()));
    let (ranks, direction) = match end {
        End::Least => (0..count, Direction::Ascending),
        End::Greatest => (len - count..len, Direction::Descending),
    };
    match form {
        Form::Flat => out.array(count * 2),
        Form::Nested => out.array(count),
        Form::FlatWithKey => {
            out.array(count * 2 + 1);
            out.bulk(key);
        }
        Form::NestedWithKey => {
            out.array(2);
            out.bulk(key);
            out.array(count);
        }
    }
    for (member, score) in set.range(ranks.clone(), direction) {
        if matches!(form, Form::Nested | Form::NestedWithKey) {
            out.array(2);
        }
        out.bulk(member);
        write_score(out, score);
    }
    set.remove_ranks(ranks, &mut |_, _| ());
    count
}

/// Takes members from the set at a key, if there is one, and answers them; `false` if there is none.
fn take_from(cx: &mut Cx, key: &[u8], what: (End, usize, Form)) -> Result<bool, CmdError> {
    let Cx { keys, out, .. } = cx;
    let Some(set) = find_mut(keys, key)? else { return Ok(false) };
    if what.1 == 0 {
        out.array(0);
        return Ok(true);
    }
    let taken = take(out, set, key, what);
    let is_empty = set.is_empty();
    let event = if what.0 == End::Least { "zpopmin" } else { "zpopmax" };
    keys.notify(Class::SortedSet, event, key);
    if is_empty {
        keys.delete(key);
    }
    keys.changed(taken as u64);
    record(keys, key, what, taken);
    Ok(true)
}

/// Records what was taken as taken from this key without waiting; how many only where it was asked.
fn record(keys: &mut Keys, key: &[u8], (end, _, form): (End, usize, Form), taken: usize) {
    let name: &[u8] = if end == End::Least { b"ZPOPMIN" } else { b"ZPOPMAX" };
    match form {
        Form::FlatWithKey => keys.effect(key, &[name, key]),
        Form::NestedWithKey if keys.is_recorded() => {
            let mut count = itoa::Buffer::new();
            keys.effect(key, &[name, key, count.format(taken).as_bytes()]);
        }
        // ZPOPMIN and ZPOPMAX themselves.
        _ => {}
    }
}

pub fn zpopmin(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Least)
}

pub fn zpopmax(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Greatest)
}

fn pop(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    if args.len() > 3 {
        return Err(CmdError::SYNTAX);
    }
    let count = match args.get(2) {
        None => None,
        Some(text) => Some(positive(text, 0, NOT_POSITIVE)?),
    };
    let form = match cx.out.protocol {
        Protocol::Resp3 if count.is_some() => Form::Nested,
        _ => Form::Flat,
    };
    if !take_from(cx, args.at(1), (end, count.unwrap_or(1), form))? {
        cx.out.array(0);
    }
    Ok(())
}

/// An integer that is no less than `least`.
fn positive(text: &[u8], least: usize, error: CmdError) -> Result<usize, CmdError> {
    let number = integer(text).ok().and_then(|n| usize::try_from(n).ok());
    number.filter(|&n| n >= least).ok_or(error)
}

/// The arguments of ZMPOP and BZMPOP.
struct Several {
    keys: Range<usize>,
    end: End,
    count: usize,
}

impl Several {
    /// Reads `numkeys key [key ...] <MIN | MAX> [COUNT count]` from `args[at]` on.
    fn parse(args: &Args, at: usize) -> Result<Several, CmdError> {
        let numkeys = positive(args.at(at), 1, NO_KEYS)?;
        let first = at + 1;
        let end_at = first.saturating_add(numkeys);
        let end = match () {
            _ if args.is(end_at, "min") => End::Least,
            _ if args.is(end_at, "max") => End::Greatest,
            _ => return Err(CmdError::SYNTAX),
        };
        let mut count = None;
        let mut at = end_at + 1;
        while at < args.len() {
            if count.is_some() || !args.is(at, "count") || at + 1 == args.len() {
                return Err(CmdError::SYNTAX);
            }
            count = Some(positive(args.at(at + 1), 1, NO_COUNT)?);
            at += 2;
        }
        Ok(Several { keys: first..end_at, end, count: count.unwrap_or(1) })
    }

    /// Takes from the first of the keys that exists; `false` if there is none.
    fn take(&self, cx: &mut Cx, args: &Args) -> Result<bool, CmdError> {
        for at in self.keys.clone() {
            if take_from(cx, args.at(at), (self.end, self.count, Form::NestedWithKey))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub fn zmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !Several::parse(&args, 1)?.take(cx, &args)? {
        cx.out.null_array();
    }
    Ok(())
}

pub fn bzmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let several = Several::parse(&args, 2)?;
    let until = deadline(args.at(1), cx.now())?;
    if !several.take(cx, &args)? {
        wait(cx, several.keys, until);
    }
    Ok(())
}

pub fn bzpopmin(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    blocking_pop(cx, args, End::Least)
}

pub fn bzpopmax(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    blocking_pop(cx, args, End::Greatest)
}

fn blocking_pop(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let last = args.len() - 1;
    let until = deadline(args.at(last), cx.now())?;
    for at in 1..last {
        if take_from(cx, args.at(at), (end, 1, Form::FlatWithKey))? {
            return Ok(());
        }
    }
    wait(cx, 1..last, until);
    Ok(())
}

/// Until when a client waits that gives this timeout in seconds; for ever if it is 0.
fn deadline(seconds: &[u8], now: i64) -> Result<Option<i64>, CmdError> {
    let seconds = Extended::parse(seconds).ok_or(NOT_A_TIMEOUT)?;
    match seconds.times_rounded_up(1000).ok_or(TIMEOUT_TOO_LARGE)? {
        ..0 => Err(TIMEOUT_NEGATIVE),
        0 => Ok(None),
        ms => now.checked_add(ms).map(Some).ok_or(TIMEOUT_TOO_LARGE),
    }
}

/// Has the client wait for a sorted set at one of the keys, or answers at once that there is none.
fn wait(cx: &mut Cx, keys: Range<usize>, until: Option<i64>) {
    if !cx.may_wait {
        return cx.out.null_array();
    }
    let timed_out = TimedOut::NullArray;
    cx.wait = Some(Wait { until, keys, kind: Type::SortedSet, retry: None, timed_out });
}

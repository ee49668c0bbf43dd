//! Several sets together: intersection, union, difference.
//!
//! All keys are looked up before the first member is, so that a wrong type is told whatever the
//! sets before it hold, and an expired key has gone.

use super::{limits, new_entry, set_of, write_member, write_set};
use crate::data::packed::Element;
use crate::data::set::{Limits, Set};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx, Keys};
use smallvec::SmallVec;

/// The sets of several keys; `None` for a key that does not exist.
type Sets<'k> = SmallVec<[Option<&'k Set>; 8]>;

fn sets<'k>(keys: &'k mut Keys<'_>, names: Args) -> Result<Sets<'k>, CmdError> {
    for name in names.iter() {
        keys.get(name).map(set_of).transpose()?;
    }
    let keys = &*keys;
    names.iter().map(|name| keys.find_any(name).map(set_of).transpose()).collect()
}

/// The same set, not only an equal one.
fn is_same(a: Option<&Set>, b: Option<&Set>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if std::ptr::eq(a, b))
}

/// The sets in ascending order of their sizes; `None` if one of them is missing, and with it
/// everything.
fn ascending<'k>(sets: Sets<'k>) -> Option<SmallVec<[&'k Set; 8]>> {
    let mut sets = sets.into_iter().collect::<Option<SmallVec<[&Set; 8]>>>()?;
    sets.sort_by_key(|set| set.len());
    Some(sets)
}

/// The members of the first set that all have.
fn common<'k>(sets: &'k [&'k Set]) -> impl Iterator<Item = Element<'k>> {
    let first = sets[0];
    let others = sets[1..].iter().filter(move |set| !std::ptr::eq(**set, first));
    first.iter().filter(move |&member| others.clone().all(|set| set.holds(member)))
}

pub(super) fn sinter(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Cx { keys, out, .. } = cx;
    let Some(sets) = ascending(sets(keys, args.from(1))?) else {
        out.set(0);
        return Ok(());
    };
    if let [only] = sets[..] {
        write_set(out, only);
        return Ok(());
    }
    let (mut found, mut count) = (Vec::new(), 0);
    let mut reply = Encoder::new(&mut found, out.protocol);
    for member in common(&sets) {
        write_member(&mut reply, member);
        count += 1;
    }
    out.set(count);
    out.raw(&found);
    Ok(())
}

pub(super) fn sintercard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    const NUMKEYS: CmdError = CmdError::fixed("ERR numkeys should be greater than 0");
    const TOO_MANY: CmdError =
        CmdError::fixed("ERR Number of keys can't be greater than number of args");
    const LIMIT: CmdError = CmdError::fixed("ERR LIMIT can't be negative");
    let number = |at: usize| crate::command::number::integer(args.at(at)).ok();
    let numkeys = number(1).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let numkeys = numkeys.ok_or(NUMKEYS)?;
    if numkeys > args.len() - 2 {
        return Err(TOO_MANY);
    }
    let (mut limit, mut at) = (0, 2 + numkeys);
    while at < args.len() {
        if !args.is(at, "limit") || at + 1 == args.len() {
            return Err(CmdError::SYNTAX);
        }
        limit = number(at + 1).and_then(|n| usize::try_from(n).ok()).ok_or(LIMIT)?;
        at += 2;
    }
    let sets = ascending(sets(&mut cx.keys, args.range(2, 2 + numkeys))?);
    let most = if limit == 0 { usize::MAX } else { limit };
    let count = sets.map_or(0, |sets| common(&sets).take(most).count());
    cx.out.int(count as i64);
    Ok(())
}

pub(super) fn sinterstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx);
    let result = ascending(sets(&mut cx.keys, args.from(2))?).map(|sets| {
        let ints = sets[0].encoding() == crate::data::Encoding::Intset;
        let mut result = if ints { Set::new() } else { Set::packed() };
        for member in common(&sets) {
            result.adopt(member, &limits);
        }
        result.prefer_ints(&limits);
        result
    });
    store(cx, args.at(1), result, "sinterstore");
    Ok(())
}

pub(super) fn sunion(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx);
    let union = union(&sets(&mut cx.keys, args.from(1))?, &limits);
    write_set(&mut cx.out, &union);
    Ok(())
}

pub(super) fn sunionstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx);
    let union = union(&sets(&mut cx.keys, args.from(2))?, &limits);
    store(cx, args.at(1), Some(union), "sunionstore");
    Ok(())
}

pub(super) fn sdiff(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx);
    let difference = difference(&mut sets(&mut cx.keys, args.from(1))?, &limits);
    write_set(&mut cx.out, &difference);
    Ok(())
}

pub(super) fn sdiffstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx);
    let difference = difference(&mut sets(&mut cx.keys, args.from(2))?, &limits);
    store(cx, args.at(1), Some(difference), "sdiffstore");
    Ok(())
}

fn union(sets: &Sets, limits: &Limits) -> Set {
    let mut union = Set::new();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        union.adopt(member, limits);
    }
    union
}

/// What the first set has and none of the others.
///
/// Either each member of the first set is looked for in the others, or the members of all others
/// are taken out of a copy: whichever is less work, as in Redis.
fn difference(sets: &mut Sets, limits: &Limits) -> Set {
    let mut rest = Set::new();
    let Some((Some(first), others)) = sets.split_first_mut() else { return rest };
    if others.iter().any(|set| is_same(*set, Some(first))) {
        return rest;
    }
    let len = |set: &Option<&Set>| set.map_or(0, Set::len);
    let there = 1 + others.iter().flatten().count();
    let all: usize = first.len() + others.iter().map(len).sum::<usize>();
    if first.len() * there / 2 <= all {
        // What is to go is likely to be found in a big one.
        others.sort_by_key(|set| std::cmp::Reverse(len(set)));
        for member in first.iter() {
            if !others.iter().flatten().any(|set| set.holds(member)) {
                rest.adopt(member, limits);
            }
        }
        return rest;
    }
    for member in first.iter() {
        rest.adopt(member, limits);
    }
    for member in others.iter().flatten().flat_map(|set| set.iter()) {
        if rest.discard(member) && rest.is_empty() {
            break;
        }
    }
    rest
}

/// Puts a result in the place of whatever `key` holds, and answers its size; an empty result is no
/// key.
fn store(cx: &mut Cx, key: &[u8], result: Option<Set>, event: &'static str) {
    match result.filter(|set| !set.is_empty()) {
        Some(set) => {
            let len = set.len();
            cx.keys.insert(new_entry(key, set));
            cx.keys.notify(Class::Set, event, key);
            cx.keys.changed(1);
            cx.out.int(len as i64);
        }
        None => {
            let deleted = cx.keys.replace_by_nothing(key);
            cx.keys.changed(u64::from(deleted));
            cx.out.int(0);
        }
    }
}

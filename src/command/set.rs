//! Sets: one at a time here, several together in `set/algebra.rs`, by chance in `set/random.rs`.

mod algebra;
mod random;
#[cfg(test)]
mod tests;

use super::scan::{ScanOptions, fits, reply_found, scan_cursor};
use super::spec::*;
use crate::data::packed::Element;
use crate::data::set::{Limits, Set};
use crate::data::{Entry, Object, ValueRef};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx};

const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const READ_FAST: Flags = READONLY.with(FAST);
const RW_DELETE: &[&str] = &["RW", "delete"];
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];
const ANY_OUTPUT: &[&str] = &["nondeterministic_output"];
/// Of the commands that store what they find.
const STORE_KEYS: &[KeySpec] = &[KeySpec::one(1, OW_UPDATE), KeySpec::range(2, -1, 1, RO_ACCESS)];
/// The same, as Redis has it for this one.
const SINTERSTORE_KEYS: &[KeySpec] =
    &[KeySpec::one(1, RW_UPDATE), KeySpec::range(2, -1, 1, RO_ACCESS)];
const ALL_KEYS: &[KeySpec] = &[KeySpec::range(1, -1, 1, RO_ACCESS)];
const COUNTED_KEYS: &[KeySpec] = &[KeySpec {
    flags: RO_ACCESS,
    begin: Begin::Index(1),
    find: Find::Count { count_at: 0, first: 1, step: 1 },
}];

pub const COMMANDS: &[Command] = &[
    shard("sadd", -3, WRITE_OOM.with(FAST), &[KeySpec::one(1, RW_INSERT)], sadd).doc(
        Group::Set,
        "1.0.0",
        "O(1) for each member.",
        "key member [member ...]",
        "Adds members to a set, which is made if there is none.",
    ),
    shard("srem", -3, WRITE.with(FAST), &[KeySpec::one(1, RW_DELETE)], srem).doc(
        Group::Set,
        "1.0.0",
        "O(1) for each member.",
        "key member [member ...]",
        "Removes members from a set; an empty set is removed itself.",
    ),
    shard(
        "smove",
        4,
        WRITE.with(FAST),
        &[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)],
        smove,
    )
    .doc(
        Group::Set,
        "1.0.0",
        "O(1)",
        "source destination member",
        "Moves a member from one set to another.",
    ),
    shard("sismember", 3, READ_FAST, &[KeySpec::one(1, RO)], sismember).doc(
        Group::Set,
        "1.0.0",
        "O(1)",
        "key member",
        "Tells whether something is a member of a set.",
    ),
    shard("smismember", -3, READ_FAST, &[KeySpec::one(1, RO_ACCESS)], smismember).doc(
        Group::Set,
        "6.2.0",
        "O(1) for each member.",
        "key member [member ...]",
        "Tells of several things whether they are members of a set.",
    ),
    shard("scard", 2, READ_FAST, &[KeySpec::one(1, RO)], scard).doc(
        Group::Set,
        "1.0.0",
        "O(1)",
        "key",
        "Counts the members of a set.",
    ),
    shard("smembers", 2, READONLY, &[KeySpec::one(1, RO_ACCESS)], smembers).tips(ANY_ORDER).doc(
        Group::Set,
        "1.0.0",
        "O(N) where N is the number of members.",
        "key",
        "Returns all members of a set.",
    ),
    shard("sscan", -3, READONLY, &[KeySpec::one(1, RO_ACCESS)], sscan).tips(ANY_OUTPUT).doc(
        Group::Set,
        "2.8.0",
        "O(1) for each call, O(N) for a whole walk of N members.",
        "key cursor [MATCH pattern] [COUNT count]",
        "Walks the members of a set, some with each call.",
    ),
    shard("spop", -2, WRITE.with(FAST), &[KeySpec::one(1, RW_ACCESS_DELETE)], random::spop)
        .tips(ANY_OUTPUT)
        .doc(
            Group::Set,
            "1.0.0",
            "O(N) where N is the count, 1 without one.",
            "key [count]",
            "Removes members chosen at random and returns them.",
        ),
    shard("srandmember", -2, READONLY, &[KeySpec::one(1, RO_ACCESS)], random::srandmember)
        .tips(ANY_OUTPUT)
        .doc(
            Group::Set,
            "1.0.0",
            "O(N) where N is the count without its sign, 1 without one.",
            "key [count]",
            "Returns members chosen at random: each once, or with a negative count again and again.",
        ),
    shard("sinter", -2, READONLY, ALL_KEYS, algebra::sinter).tips(ANY_ORDER).doc(
        Group::Set,
        "1.0.0",
        "O(N*M) where N is the size of the smallest set and M the number of sets.",
        "key [key ...]",
        "Returns the members that several sets have in common.",
    ),
    shard("sintercard", -3, READONLY, COUNTED_KEYS, algebra::sintercard).doc(
        Group::Set,
        "7.0.0",
        "O(N*M) where N is the size of the smallest set and M the number of sets.",
        "numkeys key [key ...] [LIMIT limit]",
        "Counts the members that several sets have in common, up to a limit.",
    ),
    shard("sinterstore", -3, WRITE_OOM, SINTERSTORE_KEYS, algebra::sinterstore).doc(
        Group::Set,
        "1.0.0",
        "O(N*M) where N is the size of the smallest set and M the number of sets.",
        "destination key [key ...]",
        "Stores the members that several sets have in common.",
    ),
    shard("sunion", -2, READONLY, ALL_KEYS, algebra::sunion).tips(ANY_ORDER).doc(
        Group::Set,
        "1.0.0",
        "O(N) where N is the number of members of all sets.",
        "key [key ...]",
        "Returns the members of several sets.",
    ),
    shard("sunionstore", -3, WRITE_OOM, STORE_KEYS, algebra::sunionstore).doc(
        Group::Set,
        "1.0.0",
        "O(N) where N is the number of members of all sets.",
        "destination key [key ...]",
        "Stores the members of several sets.",
    ),
    shard("sdiff", -2, READONLY, ALL_KEYS, algebra::sdiff).tips(ANY_ORDER).doc(
        Group::Set,
        "1.0.0",
        "O(N) where N is the number of members of all sets.",
        "key [key ...]",
        "Returns the members of the first set that are in none of the others.",
    ),
    shard("sdiffstore", -3, WRITE_OOM, STORE_KEYS, algebra::sdiffstore).doc(
        Group::Set,
        "1.0.0",
        "O(N) where N is the number of members of all sets.",
        "destination key [key ...]",
        "Stores the members of the first set that are in none of the others.",
    ),
];

/// The set that `entry` holds.
fn set_of(entry: &Entry) -> Result<&Set, CmdError> {
    match entry.value() {
        ValueRef::Object(Object::Set(set)) => Ok(set),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// The set that `entry` holds, for changing it.
fn set_mut(entry: &mut Entry) -> Result<&mut Set, CmdError> {
    match entry.object_mut() {
        Some(Object::Set(set)) => Ok(set),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

fn new_entry(key: &[u8], set: Set) -> Entry {
    Entry::object(key, Box::new(Object::Set(set)), None)
}

pub(super) fn limits(cx: &Cx) -> Limits {
    let encodings = &cx.settings.encodings;
    Limits {
        intset_entries: encodings.set_max_intset_entries,
        listpack_entries: encodings.set_max_listpack_entries,
        listpack_value: encodings.set_max_listpack_value,
        hasher: cx.keys.hasher().clone(),
    }
}

fn write_member(out: &mut Encoder, member: Element) {
    match member {
        Element::Int(int) => out.bulk_int(int),
        Element::Bytes(bytes) => out.bulk(bytes),
    }
}

/// Writes all members as one reply.
fn write_set(out: &mut Encoder, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|member| write_member(out, member));
}

fn sadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, members) = (args.at(1), args.from(2));
    let limits = limits(cx);
    let add_all = |set: &mut Set| members.iter().filter(|member| set.add(member, &limits)).count();
    let added = match cx.keys.get_mut(key) {
        Some(entry) => {
            let set = set_mut(entry)?;
            set.expect(members.len(), &limits);
            add_all(set)
        }
        None => {
            let mut set = Set::for_members(members.at(0), members.len(), &limits);
            let added = add_all(&mut set);
            cx.keys.insert(new_entry(key, set));
            added
        }
    };
    if added > 0 {
        cx.keys.notify(Class::Set, "sadd", key);
    }
    cx.keys.changed(added as u64);
    cx.out.int(added as i64);
    Ok(())
}

fn srem(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let (mut removed, mut empty) = (0, false);
    if let Some(entry) = cx.keys.get_mut(key) {
        let set = set_mut(entry)?;
        for member in args.from(2).iter() {
            removed += u64::from(set.remove(member));
            if set.is_empty() {
                empty = true;
                break;
            }
        }
    }
    if removed > 0 {
        cx.keys.notify(Class::Set, "srem", key);
    }
    if empty {
        cx.keys.delete(key);
    }
    cx.keys.changed(removed);
    cx.out.int(removed as i64);
    Ok(())
}

fn smove(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to, member) = (args.at(1), args.at(2), args.at(3));
    // Of no interest, right or wrong, if there is nothing to move.
    let there = cx.keys.peek(to).map(|entry| set_of(entry).map(|set| set.contains(member)));
    let Some(entry) = cx.keys.get_mut(from) else {
        cx.out.int(0);
        return Ok(());
    };
    let set = set_mut(entry)?;
    let there = there.transpose()?;
    let found = if from == to { set.contains(member) } else { set.remove(member) };
    if !found || from == to {
        cx.out.int(i64::from(found));
        return Ok(());
    }
    let is_empty = set.is_empty();
    cx.keys.notify(Class::Set, "srem", from);
    if is_empty {
        cx.keys.delete(from);
    }
    let limits = limits(cx);
    match there {
        None => {
            let mut set = Set::for_members(member, 1, &limits);
            set.add(member, &limits);
            cx.keys.insert(new_entry(to, set));
        }
        Some(false) => {
            let entry = cx.keys.get_mut(to).ok_or(CmdError::NO_SUCH_KEY)?;
            set_mut(entry)?.add(member, &limits);
        }
        Some(true) => {}
    }
    if there != Some(true) {
        cx.keys.notify(Class::Set, "sadd", to);
    }
    if cx.keys.is_recorded() && !cx.keys.are_together(&[from, to]) {
        cx.keys.effect(from, &[b"SREM", from, member]);
        cx.keys.effect(to, &[b"SADD", to, member]);
    }
    cx.keys.changed(1 + u64::from(there != Some(true)));
    cx.out.int(1);
    Ok(())
}

fn sismember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = match cx.keys.get(args.at(1)) {
        Some(entry) => set_of(entry)?.contains(args.at(2)),
        None => false,
    };
    cx.out.int(i64::from(found));
    Ok(())
}

fn smismember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let members = args.from(2);
    let set = cx.keys.get(args.at(1)).map(set_of).transpose()?;
    cx.out.array(members.len());
    for member in members.iter() {
        cx.out.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn scard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.get(args.at(1)).map(set_of).transpose()?.map_or(0, Set::len);
    cx.out.int(len as i64);
    Ok(())
}

fn smembers(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.get(args.at(1)) {
        Some(entry) => write_set(&mut cx.out, set_of(entry)?),
        None => cx.out.set(0),
    }
    Ok(())
}

fn sscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut position = scan_cursor(args.at(2))?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut reply = Encoder::new(&mut found, cx.out.protocol);
    if let Some(entry) = cx.keys.get(args.at(1)) {
        let set = set_of(entry)?;
        let options = ScanOptions::of_members(args.from(3))?;
        let (mut seen, mut buckets_left) = (0, options.count.saturating_mul(10));
        loop {
            position = set.scan(position, &mut |member| {
                seen += 1;
                if member.with_text(|text| fits(options.pattern, text)) {
                    write_member(&mut reply, member);
                    count += 1;
                }
            });
            buckets_left -= 1;
            if position == 0 || seen >= options.count || buckets_left == 0 {
                break;
            }
        }
    } else {
        position = 0;
    }
    reply_found(&mut cx.out, position, count, &found);
    Ok(())
}

//! Sorted sets: the rows, and what all of their handlers share.
//!
//! | file | what it has |
//! |---|---|
//! | `single` | adding, removing and asking about members |
//! | `range` | what goes by rank, score or member: reading, storing, counting, removing |
//! | `pop` | taking the least or the greatest, also for clients that wait until there is something |
//! | `combine` | unions, intersections, differences |
//! | `random` | members chosen at random |
//!
//! A sorted set that has become empty is removed: no key ever holds one.

mod combine;
mod pop;
mod random;
mod range;
mod single;
#[cfg(test)]
mod tests;

use super::spec::*;
use super::undo;
use crate::data::sorted_set::{Element, Limits, SortedSet};
use crate::data::{Entry, Object, ValueRef, double};
use crate::error::CmdError;
use crate::resp::{Encoder, Protocol};
use crate::shard::{Class, Cx, Keys, Settings};
use combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
use random::zrandmember;
use range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex,
    zremrangebyrank, zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};
pub(super) use single::{Conditions, add_all};
use single::{zadd, zcard, zincrby, zmscore, zrank, zrem, zrevrank, zscan, zscore};

const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const READ_FAST: Flags = READONLY.with(FAST);
const POP: Flags = WRITE.with(FAST).with(BLOCKING);
const RW_DELETE: &[&str] = &["RW", "delete"];
const ANY_OUTPUT: &[&str] = &["nondeterministic_output"];

/// Keys behind their number, which is at `index`.
const fn counted(index: i32, flags: &'static [&'static str]) -> KeySpec {
    let find = Find::Count { count_at: 0, first: 1, step: 1 };
    KeySpec { flags, begin: Begin::Index(index), find }
}

const READ: &[KeySpec] = &[KeySpec::one(1, RO_ACCESS)];
const REMOVE: &[KeySpec] = &[KeySpec::one(1, RW_DELETE)];
const TAKE: &[KeySpec] = &[KeySpec::one(1, RW_ACCESS_DELETE)];
const STORE_RANGE: &[KeySpec] = &[KeySpec::one(1, OW_UPDATE), KeySpec::one(2, RO_ACCESS)];
const COMBINE: &[KeySpec] = &[counted(1, RO_ACCESS)];
const STORE_COMBINED: &[KeySpec] = &[KeySpec::one(1, OW_UPDATE), counted(2, RO_ACCESS)];

const LOG: &str = "O(log N) where N is the number of members.";
const LOG_EACH: &str = "O(log N) for each member, where N is the number of members.";
const LOG_AND_ANSWERED: &str =
    "O(log N + M) where N is the number of members and M that of those answered.";
const LOG_AND_REMOVED: &str =
    "O(log N + M) where N is the number of members and M that of those removed.";
const UNION: &str =
    "O(N) + O(M log M) where N is the number of all members and M that of the result's.";
const INTERSECTION: &str = "O(N*K) + O(M log M) where N is the size of the smallest set, K the \
                            number of sets and M the size of the result.";
const DIFFERENCE: &str = "O(N*K) + O(M log M) where N is the size of the first set, K the number \
                          of sets and M the size of the result.";

/// A row of this family.
const fn row(
    name: &'static str,
    arity: i32,
    (flags, keys): (Flags, &'static [KeySpec]),
    run: ShardFn,
    (since, complexity): (&'static str, &'static str),
    (syntax, summary): (&'static str, &'static str),
) -> Command {
    let row = shard(name, arity, flags, keys, run);
    row.doc(Group::SortedSet, since, complexity, syntax, summary)
}

pub const COMMANDS: &[Command] = &[
    row(
        "zadd",
        -4,
        (WRITE_OOM.with(FAST), &[KeySpec::one(1, RW_UPDATE)]),
        zadd,
        ("1.2.0", LOG_EACH),
        (
            "key [NX | XX] [GT | LT] [CH] [INCR] score:double member [score:double member ...]",
            "Adds members with their scores, or gives members other scores.",
        ),
    ),
    row(
        "zincrby",
        4,
        (WRITE_OOM.with(FAST), &[KeySpec::one(1, RW_ACCESS_UPDATE)]),
        zincrby,
        ("1.2.0", LOG),
        ("key increment member", "Adds to the score of a member, 0 when it is missing."),
    ),
    row(
        "zrem",
        -3,
        (WRITE.with(FAST), REMOVE),
        zrem,
        ("1.2.0", LOG_EACH),
        ("key member [member ...]", "Removes members; an empty sorted set is removed itself."),
    ),
    row(
        "zcard",
        2,
        (READ_FAST, &[KeySpec::one(1, RO)]),
        zcard,
        ("1.2.0", "O(1)"),
        ("key", "Counts the members."),
    ),
    row(
        "zscore",
        3,
        (READ_FAST, READ),
        zscore,
        ("1.2.0", "O(1)"),
        ("key member", "Answers the score of a member."),
    ),
    row(
        "zmscore",
        -3,
        (READ_FAST, READ),
        zmscore,
        ("6.2.0", "O(1) for each member."),
        ("key member [member ...]", "Answers the scores of members."),
    ),
    row(
        "zrank",
        -3,
        (READ_FAST, READ),
        zrank,
        ("2.0.0", LOG),
        ("key member [WITHSCORE]", "Answers how many members come before one."),
    ),
    row(
        "zrevrank",
        -3,
        (READ_FAST, READ),
        zrevrank,
        ("2.0.0", LOG),
        ("key member [WITHSCORE]", "Answers how many members come after one."),
    ),
    row(
        "zcount",
        4,
        (READ_FAST, READ),
        zcount,
        ("2.0.0", LOG),
        ("key min:double max:double", "Counts the members with scores in a range."),
    ),
    row(
        "zlexcount",
        4,
        (READ_FAST, READ),
        zlexcount,
        ("2.8.9", LOG),
        ("key min max", "Counts the members in a range, when all scores are equal."),
    ),
    row(
        "zrange",
        -4,
        (READONLY, READ),
        zrange,
        ("1.2.0", LOG_AND_ANSWERED),
        (
            "key start:string stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
            "Answers the members in a range of ranks, scores or members.",
        ),
    ),
    row(
        "zrangestore",
        -5,
        (WRITE_OOM, STORE_RANGE),
        zrangestore,
        ("6.2.0", "O(log N + M log M) where N is the number of members and M that of those stored."),
        (
            "destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            "Stores the members in a range of ranks, scores or members.",
        ),
    ),
    row(
        "zrangebyscore",
        -4,
        (READONLY, READ),
        zrangebyscore,
        ("1.0.5", LOG_AND_ANSWERED),
        (
            "key min:double max:double [WITHSCORES] [LIMIT offset count]",
            "Answers the members with scores in a range.",
        ),
    )
    .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    row(
        "zrevrangebyscore",
        -4,
        (READONLY, READ),
        zrevrangebyscore,
        ("2.2.0", LOG_AND_ANSWERED),
        (
            "key max:double min:double [WITHSCORES] [LIMIT offset count]",
            "Answers the members with scores in a range, the greatest first.",
        ),
    )
    .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    row(
        "zrangebylex",
        -4,
        (READONLY, READ),
        zrangebylex,
        ("2.8.9", LOG_AND_ANSWERED),
        (
            "key min max [LIMIT offset count]",
            "Answers the members in a range, when all scores are equal.",
        ),
    )
    .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    row(
        "zrevrangebylex",
        -4,
        (READONLY, READ),
        zrevrangebylex,
        ("2.8.9", LOG_AND_ANSWERED),
        (
            "key max min [LIMIT offset count]",
            "Answers the members in a range, the greatest first, when all scores are equal.",
        ),
    )
    .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    row(
        "zrevrange",
        -4,
        (READONLY, READ),
        zrevrange,
        ("1.2.0", LOG_AND_ANSWERED),
        (
            "key start stop:integer [WITHSCORES]",
            "Answers the members in a range of ranks, which count from the greatest.",
        ),
    )
    .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    row(
        "zremrangebyrank",
        4,
        (WRITE, REMOVE),
        zremrangebyrank,
        ("2.0.0", LOG_AND_REMOVED),
        ("key start stop:integer", "Removes the members in a range of ranks."),
    ),
    row(
        "zremrangebyscore",
        4,
        (WRITE, REMOVE),
        zremrangebyscore,
        ("1.2.0", LOG_AND_REMOVED),
        ("key min:double max:double", "Removes the members with scores in a range."),
    ),
    row(
        "zremrangebylex",
        4,
        (WRITE, REMOVE),
        zremrangebylex,
        ("2.8.9", LOG_AND_REMOVED),
        ("key min max", "Removes the members in a range, when all scores are equal."),
    ),
    row(
        "zpopmin",
        -2,
        (WRITE.with(FAST), TAKE),
        zpopmin,
        ("5.0.0", LOG_AND_REMOVED),
        ("key [count]", "Removes the members with the least scores and answers them."),
    ),
    row(
        "zpopmax",
        -2,
        (WRITE.with(FAST), TAKE),
        zpopmax,
        ("5.0.0", LOG_AND_REMOVED),
        ("key [count]", "Removes the members with the greatest scores and answers them."),
    ),
    row(
        "zmpop",
        -4,
        (WRITE, &[counted(1, RW_ACCESS_DELETE)]),
        zmpop,
        ("7.0.0", LOG_AND_REMOVED),
        (
            "numkeys:integer key [key ...] <MIN | MAX> [COUNT count]",
            "Removes members from the first of several sorted sets that exists and answers them.",
        ),
    ),
    row(
        "bzpopmin",
        -3,
        (POP, &[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]),
        bzpopmin,
        ("5.0.0", LOG),
        (
            "key [key ...] timeout:double",
            "Removes the member with the least score and answers it; waits until there is one.",
        ),
    )
    .undo(undo::add_scores),
    row(
        "bzpopmax",
        -3,
        (POP, &[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]),
        bzpopmax,
        ("5.0.0", LOG),
        (
            "key [key ...] timeout:double",
            "Removes the member with the greatest score and answers it; waits until there is one.",
        ),
    )
    .undo(undo::add_scores),
    row(
        "bzmpop",
        -5,
        (WRITE.with(BLOCKING), &[counted(2, RW_ACCESS_DELETE)]),
        bzmpop,
        ("7.0.0", LOG_AND_REMOVED),
        (
            "timeout:double numkeys:integer key [key ...] <MIN | MAX> [COUNT count]",
            "Removes members from the first of several sorted sets that exists and answers them; \
             waits until there is one.",
        ),
    )
    .undo(undo::add_scores),
    row(
        "zrandmember",
        -2,
        (READONLY, READ),
        zrandmember,
        ("6.2.0", "O(N log M) where N is the count without its sign and M the number of members."),
        (
            "key [count [WITHSCORES]]",
            "Answers members chosen at random: each once, or with a negative count again and again.",
        ),
    )
    .tips(ANY_OUTPUT),
    row(
        "zscan",
        -3,
        (READONLY, READ),
        zscan,
        ("2.8.0", "O(1) for each call, O(N) for a whole walk of N members."),
        (
            "key cursor [MATCH pattern] [COUNT count]",
            "Walks the members and their scores, some with each call.",
        ),
    )
    .tips(ANY_OUTPUT),
    row(
        "zunion",
        -3,
        (READONLY, COMBINE),
        zunion,
        ("6.2.0", UNION),
        (
            "numkeys:integer key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
            "Answers the members of several sets.",
        ),
    ),
    row(
        "zunionstore",
        -4,
        (WRITE_OOM, STORE_COMBINED),
        zunionstore,
        ("2.0.0", UNION),
        (
            "destination numkeys:integer key [key ...] \
             [WEIGHTS weight:integer [weight:integer ...]] [AGGREGATE <SUM | MIN | MAX>]",
            "Stores the members of several sets.",
        ),
    ),
    row(
        "zinter",
        -3,
        (READONLY, COMBINE),
        zinter,
        ("6.2.0", INTERSECTION),
        (
            "numkeys:integer key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
            "Answers the members that several sets have in common.",
        ),
    ),
    row(
        "zinterstore",
        -4,
        (WRITE_OOM, STORE_COMBINED),
        zinterstore,
        ("2.0.0", INTERSECTION),
        (
            "destination numkeys:integer key [key ...] \
             [WEIGHTS weight:integer [weight:integer ...]] [AGGREGATE <SUM | MIN | MAX>]",
            "Stores the members that several sets have in common.",
        ),
    ),
    row(
        "zintercard",
        -3,
        (READONLY, COMBINE),
        zintercard,
        ("7.0.0", INTERSECTION),
        (
            "numkeys:integer key [key ...] [LIMIT limit:integer]",
            "Counts the members that several sets have in common, up to a limit.",
        ),
    ),
    row(
        "zdiff",
        -3,
        (READONLY, COMBINE),
        zdiff,
        ("6.2.0", DIFFERENCE),
        (
            "numkeys:integer key [key ...] [WITHSCORES]",
            "Answers the members of the first set that are in none of the others.",
        ),
    ),
    row(
        "zdiffstore",
        -4,
        (WRITE_OOM, STORE_COMBINED),
        zdiffstore,
        ("6.2.0", DIFFERENCE),
        (
            "destination numkeys:integer key [key ...]",
            "Stores the members of the first set that are in none of the others.",
        ),
    ),
];

/// The sorted set that `entry` holds.
fn set_of(entry: &Entry) -> Result<&SortedSet, CmdError> {
    match entry.value() {
        ValueRef::Object(Object::SortedSet(set)) => Ok(set),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// The sorted set that `entry` holds, for changing it.
fn set_mut(entry: &mut Entry) -> Result<&mut SortedSet, CmdError> {
    match entry.object_mut() {
        Some(Object::SortedSet(set)) => Ok(set),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// The sorted set at a key, for reading it.
pub(super) fn find<'k>(keys: &'k mut Keys, key: &[u8]) -> Result<Option<&'k SortedSet>, CmdError> {
    keys.get(key).map(set_of).transpose()
}

/// The sorted set at a key, for changing it.
pub(super) fn find_mut<'k>(
    keys: &'k mut Keys,
    key: &[u8],
) -> Result<Option<&'k mut SortedSet>, CmdError> {
    keys.get_mut(key).map(set_mut).transpose()
}

pub(super) fn limits(settings: &Settings) -> Limits {
    let encodings = &settings.encodings;
    Limits {
        entries: encodings.zset_max_listpack_entries,
        value: encodings.zset_max_listpack_value,
    }
}

pub(super) fn new_entry(key: &[u8], set: SortedSet) -> Entry {
    Entry::object(key, Box::new(Object::SortedSet(set)), None)
}

/// Puts a set in the place of what is at `key`; an empty one takes it away.
pub(super) fn store(cx: &mut Cx, key: &[u8], set: SortedSet, event: &'static str) -> bool {
    let changed = if set.is_empty() {
        cx.keys.replace_by_nothing(key)
    } else {
        cx.keys.insert(new_entry(key, set));
        cx.keys.notify(Class::SortedSet, event, key);
        true
    };
    cx.keys.changed(u64::from(changed));
    changed
}

fn write_score(out: &mut Encoder, score: f64) {
    out.double(&double::shortest(score));
}

/// Writes elements as one array; with scores, RESP3 has an array for each of them.
fn write_elements<'e>(
    out: &mut Encoder,
    elements: impl ExactSizeIterator<Item = Element<'e>>,
    with_scores: bool,
) {
    let nested = out.protocol == Protocol::Resp3;
    out.array(elements.len() * if with_scores && !nested { 2 } else { 1 });
    for (member, score) in elements {
        if with_scores && nested {
            out.array(2);
        }
        out.bulk(member);
        if with_scores {
            write_score(out, score);
        }
    }
}

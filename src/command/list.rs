//! Lists: the rows, and what all of their handlers share.
//!
//! | file | what it has |
//! |---|---|
//! | `ends` | pushing, popping, moving from an end to an end |
//! | `inner` | what goes by index or by element |
//! | `blocking` | popping and moving for clients that wait until there is something |
//!
//! A list that has become empty is removed: no key ever holds one.

mod blocking;
mod ends;
mod inner;

use super::spec::*;
use super::undo;
use crate::data::list::{End, Limit, List};
use crate::data::packed::Element;
use crate::data::{Entry, Object, ValueRef};
use crate::error::CmdError;
use crate::resp::Encoder;
use crate::shard::{Class, Cx};
use blocking::{blmove, blmpop, blpop, brpop, brpoplpush};
use ends::{llen, lmove, lmpop, lpop, lpush, lpushx, rpop, rpoplpush, rpush, rpushx};
use inner::{lindex, linsert, lpos, lrange, lrem, lset, ltrim};

const RW_DELETE: &[&str] = &["RW", "delete"];
const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.with(FAST);
const SOURCE_AND_TARGET: &[KeySpec] =
    &[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)];

/// Keys behind their number, which is at `index`.
const fn counted(index: i32) -> KeySpec {
    let find = Find::Count { count_at: 0, first: 1, step: 1 };
    KeySpec { flags: RW_ACCESS_DELETE, begin: Begin::Index(index), find }
}

const EACH_ADDED: &str = "O(1) for each element that is added.";
const EACH_ANSWERED: &str = "O(N) where N is the number of elements answered.";
const KEYS_AND_ANSWERED: &str = "O(N+M) where N is the number of keys and M that of the elements \
                                 answered.";

pub const COMMANDS: &[Command] = &[
    shard("lpush", -3, WRITE_OOM_FAST, &[KeySpec::one(1, RW_INSERT)], lpush).doc(
        Group::List,
        "1.0.0",
        EACH_ADDED,
        "key element [element ...]",
        "Adds elements at the front of a list, which is made when missing.",
    ),
    shard("rpush", -3, WRITE_OOM_FAST, &[KeySpec::one(1, RW_INSERT)], rpush).doc(
        Group::List,
        "1.0.0",
        EACH_ADDED,
        "key element [element ...]",
        "Adds elements at the back of a list, which is made when missing.",
    ),
    shard("lpushx", -3, WRITE_OOM_FAST, &[KeySpec::one(1, RW_INSERT)], lpushx).doc(
        Group::List,
        "2.2.0",
        EACH_ADDED,
        "key element [element ...]",
        "Adds elements at the front of a list that exists.",
    ),
    shard("rpushx", -3, WRITE_OOM_FAST, &[KeySpec::one(1, RW_INSERT)], rpushx).doc(
        Group::List,
        "2.2.0",
        EACH_ADDED,
        "key element [element ...]",
        "Adds elements at the back of a list that exists.",
    ),
    shard("lpop", -2, WRITE.with(FAST), &[KeySpec::one(1, RW_ACCESS_DELETE)], lpop).doc(
        Group::List,
        "1.0.0",
        EACH_ANSWERED,
        "key [count]",
        "Takes one element, or several, from the front of a list.",
    ),
    shard("rpop", -2, WRITE.with(FAST), &[KeySpec::one(1, RW_ACCESS_DELETE)], rpop).doc(
        Group::List,
        "1.0.0",
        EACH_ANSWERED,
        "key [count]",
        "Takes one element, or several, from the back of a list.",
    ),
    shard("llen", 2, READONLY.with(FAST), &[KeySpec::one(1, RO)], llen).doc(
        Group::List,
        "1.0.0",
        "O(1)",
        "key",
        "Answers how many elements a list has.",
    ),
    shard("lindex", 3, READONLY, &[KeySpec::one(1, RO_ACCESS)], lindex).doc(
        Group::List,
        "1.0.0",
        "O(N/B) where N is the distance from the nearer end and B how many elements a block has.",
        "key index",
        "Answers the element of a list with an index.",
    ),
    shard("lset", 4, WRITE_OOM, &[KeySpec::one(1, RW_UPDATE)], lset).doc(
        Group::List,
        "1.0.0",
        "O(N/B) where N is the distance from the nearer end and B how many elements a block has.",
        "key index element",
        "Puts another element in the place of one of a list.",
    ),
    shard("lrange", 4, READONLY, &[KeySpec::one(1, RO_ACCESS)], lrange).doc(
        Group::List,
        "1.0.0",
        "O(S/B+N) where S is the distance of the first element from the nearer end, B how many \
         elements a block has, and N the number of elements answered.",
        "key start stop",
        "Answers a range of a list's elements.",
    ),
    shard("lrem", 4, WRITE, &[KeySpec::one(1, RW_DELETE)], lrem).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the length of the list.",
        "key count element",
        "Takes elements of one value out of a list.",
    ),
    shard("ltrim", 4, WRITE, &[KeySpec::one(1, RW_DELETE)], ltrim).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the number of elements that go.",
        "key start stop",
        "Takes all elements out of a list that are not in a range.",
    ),
    shard("linsert", 5, WRITE_OOM, &[KeySpec::one(1, RW_INSERT)], linsert).doc(
        Group::List,
        "2.2.0",
        "O(N) where N is the number of elements up to the one that is looked for.",
        "key <BEFORE | AFTER> pivot element",
        "Inserts an element next to another one of a list.",
    ),
    shard("lpos", -3, READONLY, &[KeySpec::one(1, RO_ACCESS)], lpos).doc(
        Group::List,
        "6.0.6",
        "O(N) where N is the number of elements compared.",
        "key element [RANK rank:integer] [COUNT num-matches:integer] [MAXLEN len]",
        "Answers where in a list an element is.",
    ),
    shard("lmove", 5, WRITE_OOM, SOURCE_AND_TARGET, lmove).doc(
        Group::List,
        "6.2.0",
        "O(1)",
        "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        "Takes an element from an end of a list and adds it at an end of another one.",
    ),
    shard("rpoplpush", 3, WRITE_OOM, SOURCE_AND_TARGET, rpoplpush)
        .doc(
            Group::List,
            "1.2.0",
            "O(1)",
            "source destination",
            "Takes the last element of a list and adds it at the front of another one.",
        )
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    shard("lmpop", -4, WRITE, &[counted(1)], lmpop).doc(
        Group::List,
        "7.0.0",
        KEYS_AND_ANSWERED,
        "numkeys:integer key [key ...] <LEFT | RIGHT> [COUNT count]",
        "Takes elements from an end of the first of several lists that exists.",
    ),
    shard("blpop", -3, WRITE.with(BLOCKING), &[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)], blpop)
        .doc(
            Group::List,
            "2.0.0",
            "O(N) where N is the number of keys.",
            "key [key ...] timeout:double",
            "Takes the first element of the first of several lists that exists, or waits for one.",
        )
    .undo(undo::push_front),
    shard("brpop", -3, WRITE.with(BLOCKING), &[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)], brpop)
        .doc(
            Group::List,
            "2.0.0",
            "O(N) where N is the number of keys.",
            "key [key ...] timeout:double",
            "Takes the last element of the first of several lists that exists, or waits for one.",
        )
    .undo(undo::push_back),
    shard("blmove", 6, WRITE_OOM.with(BLOCKING), SOURCE_AND_TARGET, blmove).doc(
        Group::List,
        "6.2.0",
        "O(1)",
        "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout:double",
        "Moves an element from an end of a list to an end of another one, or waits for it.",
    ),
    shard("brpoplpush", 4, WRITE_OOM.with(BLOCKING), SOURCE_AND_TARGET, brpoplpush)
        .doc(
            Group::List,
            "2.2.0",
            "O(1)",
            "source destination timeout:double",
            "Moves the last element of a list to the front of another one, or waits for it.",
        )
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    shard("blmpop", -5, WRITE.with(BLOCKING), &[counted(2)], blmpop).doc(
        Group::List,
        "7.0.0",
        KEYS_AND_ANSWERED,
        "timeout:double numkeys:integer key [key ...] <LEFT | RIGHT> [COUNT count]",
        "Takes elements from an end of the first of several lists that exists, or waits for them.",
    )
    .undo(undo::push_where),
];

/// When lists are small, as the configuration says.
pub(super) fn limit(cx: &Cx) -> Limit {
    Limit::new(cx.settings.encodings.list_max_listpack_size)
}

/// The list that `entry` holds.
pub fn list_of(entry: &Entry) -> Result<&List, CmdError> {
    match entry.value() {
        ValueRef::Object(Object::List(list)) => Ok(list),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// The list that `entry` holds, for changing it.
fn list_of_mut(entry: &mut Entry) -> Result<&mut List, CmdError> {
    match entry.object_mut() {
        Some(Object::List(list)) => Ok(list),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// The list at `key`, for reading.
fn read_list<'c>(cx: &'c mut Cx, key: &[u8]) -> Result<Option<&'c List>, CmdError> {
    cx.keys.get(key).map(list_of).transpose()
}

/// The list at `key`, for changing it.
fn change_list<'c>(cx: &'c mut Cx, key: &[u8]) -> Result<Option<&'c mut List>, CmdError> {
    cx.keys.get_mut(key).map(list_of_mut).transpose()
}

/// Stores a new list, whatever `key` held before.
pub fn store_list(cx: &mut Cx, key: &[u8], list: List) {
    cx.keys.insert(Entry::object(key, Box::new(Object::List(list)), None));
}

fn push_event(end: End) -> &'static str {
    match end {
        End::Front => "lpush",
        End::Back => "rpush",
    }
}

fn pop_event(end: End) -> &'static str {
    match end {
        End::Front => "lpop",
        End::Back => "rpop",
    }
}

/// Tells of the changes to the list at `key` and counts them; it goes when it is empty.
fn list_changed(cx: &mut Cx, key: &[u8], event: &'static str, (is_empty, changes): (bool, usize)) {
    cx.keys.notify(Class::List, event, key);
    if is_empty {
        cx.keys.delete(key);
    }
    cx.keys.changed(changes as u64);
}

pub fn write_element(out: &mut Encoder, element: Element) {
    match element {
        Element::Int(int) => out.bulk_int(int),
        Element::Bytes(bytes) => out.bulk(bytes),
    }
}

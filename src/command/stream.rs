//! Streams: the rows, and what the files below share.
//!
//! | file | what it is about |
//! |---|---|
//! | `id.rs` | ids as text |
//! | `add.rs` | XADD, XTRIM, XDEL, XSETID |
//! | `range.rs` | XRANGE, XREVRANGE, XLEN, and how an entry is replied |
//! | `read.rs` | XREAD, XREADGROUP |
//! | `group.rs` | XGROUP, XACK |
//! | `claim.rs` | XPENDING, XCLAIM, XAUTOCLAIM |
//! | `info.rs` | XINFO |
//!
//! What a group knows changes without those noticing who watch the key, as in Redis.

mod add;
mod claim;
mod group;
mod id;
mod info;
mod range;
mod read;
mod record;
#[cfg(test)]
mod tests;

use super::spec::*;
use crate::data::stream::{NodeLimits, Stream};
use crate::data::{Entry, Object, ValueRef};
use crate::error::{CmdError, shown};
use crate::resp::Args;
use crate::shard::Cx;

const KEY_READ: &[KeySpec] = &[KeySpec::one(1, RO_ACCESS)];
const KEY_UPDATE: &[KeySpec] = &[KeySpec::one(1, RW_UPDATE)];
const KEY_DELETE: &[KeySpec] = &[KeySpec::one(1, RW_DELETE)];
const KEY_2_READ: &[KeySpec] = &[KeySpec::one(2, RO_ACCESS)];
const KEY_2_DELETE: &[KeySpec] = &[KeySpec::one(2, RW_DELETE)];
const KEY_2_INSERT: &[KeySpec] = &[KeySpec::one(2, RW_INSERT)];

const RW_DELETE: &[&str] = &["RW", "delete"];
const CHANGING: &[&str] = &["nondeterministic_output"];
const WRITE_FAST: Flags = WRITE.with(FAST);
const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const STARTING: Flags = LOADING.with(STALE);

/// The keys behind the word STREAMS, searched from the argument at `from` on.
const fn streams(from: i32) -> KeySpec {
    KeySpec {
        flags: RO_ACCESS,
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range { last: -1, step: 1, limit: 2 },
    }
}

/// A row with its documentation.
const fn row(
    (name, arity, flags, keys): (&'static str, i32, Flags, &'static [KeySpec]),
    run: ShardFn,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    shard(name, arity, flags, keys, run).doc(Group::Stream, since, complexity, syntax, summary)
}

pub const COMMANDS: &[Command] = &[
    row(
        ("xadd", -5, WRITE_OOM.with(FAST), KEY_UPDATE),
        add::xadd,
        "5.0.0",
        "O(1); with trimming O(N) where N is the number of entries that go.",
        "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> \
         field value [field value ...]",
        "Appends an entry to a stream, which is made when missing.",
    )
    .tips(CHANGING),
    row(
        ("xlen", 2, READONLY.with(FAST), &[KeySpec::one(1, RO)]),
        range::xlen,
        "5.0.0",
        "O(1)",
        "key",
        "Answers how many entries a stream has.",
    ),
    row(
        ("xrange", -4, READONLY, KEY_READ),
        range::xrange,
        "5.0.0",
        "O(log(M) + N) where M is the number of entries and N that of those answered.",
        "key start end [COUNT count]",
        "Answers the entries between two ids.",
    ),
    row(
        ("xrevrange", -4, READONLY, KEY_READ),
        range::xrevrange,
        "5.0.0",
        "O(log(M) + N) where M is the number of entries and N that of those answered.",
        "key end start [COUNT count]",
        "Answers the entries between two ids, the last one first.",
    ),
    row(
        ("xdel", -3, WRITE_FAST, KEY_DELETE),
        add::xdel,
        "5.0.0",
        "O(log(M)) for each id where M is the number of entries.",
        "key id [id ...]",
        "Deletes entries.",
    ),
    row(
        ("xtrim", -4, WRITE, KEY_DELETE),
        add::xtrim,
        "5.0.0",
        "O(N) where N is the number of entries that go.",
        "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        "Deletes the oldest entries.",
    )
    .tips(CHANGING),
    row(
        ("xsetid", -3, WRITE_OOM.with(FAST), KEY_UPDATE),
        add::xsetid,
        "5.0.0",
        "O(1)",
        "key last-id [ENTRIESADDED entries-added:integer] [MAXDELETEDID max-deleted-id]",
        "Sets the last id of a stream, as a replica needs it.",
    ),
    row(
        ("xread", -4, READONLY.with(BLOCKING), &[streams(1)]),
        read::xread,
        "5.0.0",
        "O(N) where N is the number of entries answered.",
        "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        "Answers the entries of streams behind given ids, or waits for some.",
    )
    .find_keys(read::keys),
    // Whoever waits is tried again when the stream or the group goes, and then told so.
    row(
        ("xreadgroup", -7, WRITE.with(BLOCKING).with(SERVED_WHOLE), &[streams(4)]),
        read::xreadgroup,
        "5.0.0",
        "O(N log(M)) where N is the number of entries answered and M that of the pending ones.",
        "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] \
         STREAMS key [key ...] id [id ...]",
        "Answers new entries of streams to a consumer of a group, or its pending ones, or waits.",
    )
    .find_keys(read::keys),
    row(
        ("xack", -4, WRITE_FAST, KEY_UPDATE),
        group::xack,
        "5.0.0",
        "O(log(N)) for each id where N is the number of pending entries.",
        "key group id [id ...]",
        "Acknowledges pending entries of a group.",
    ),
    row(
        ("xpending", -3, READONLY, KEY_READ),
        claim::xpending,
        "5.0.0",
        "O(N) where N is the number of entries looked at, or of consumers for the summary.",
        "key group [[IDLE min-idle-time:integer] start:string end:string count [consumer]]",
        "Tells of a group's pending entries.",
    )
    .tips(CHANGING),
    row(
        ("xclaim", -6, WRITE_FAST, KEY_UPDATE),
        claim::xclaim,
        "5.0.0",
        "O(log(N)) for each id where N is the number of pending entries.",
        "key group consumer min-idle-time id [id ...] [IDLE ms:integer] \
         [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        "Gives pending entries to another consumer.",
    )
    .tips(CHANGING),
    row(
        ("xautoclaim", -6, WRITE_FAST, KEY_DELETE),
        claim::xautoclaim,
        "6.2.0",
        "O(log(N)) for each entry looked at where N is the number of pending entries.",
        "key group consumer min-idle-time start:string [COUNT count] [JUSTID]",
        "Gives pending entries that have been idle for long to a consumer.",
    )
    .tips(CHANGING),
    container("xgroup", -2, XGROUP).doc(
        Group::Stream,
        "5.0.0",
        "Depends on the subcommand.",
        "",
        "Changes the groups of a stream.",
    ),
    container("xinfo", -2, XINFO).doc(
        Group::Stream,
        "5.0.0",
        "Depends on the subcommand.",
        "",
        "Tells what is known of a stream.",
    ),
];

const XGROUP: &[Command] = &[
    row(
        ("xgroup|create", -5, WRITE_OOM, KEY_2_INSERT),
        group::create,
        "5.0.0",
        "O(log(N)) where N is the number of groups.",
        "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read:integer]",
        "Makes a group.",
    ),
    row(
        ("xgroup|createconsumer", 5, WRITE_OOM, KEY_2_INSERT),
        group::create_consumer,
        "6.2.0",
        "O(log(N)) where N is the number of consumers.",
        "key group consumer",
        "Makes a consumer.",
    ),
    row(
        ("xgroup|delconsumer", 5, WRITE, KEY_2_DELETE),
        group::delete_consumer,
        "5.0.0",
        "O(N) where N is the number of the consumer's pending entries.",
        "key group consumer",
        "Removes a consumer and its pending entries.",
    ),
    row(
        ("xgroup|destroy", 4, WRITE, KEY_2_DELETE),
        group::destroy,
        "5.0.0",
        "O(N) where N is the number of the group's pending entries.",
        "key group",
        "Removes a group.",
    ),
    row(
        ("xgroup|setid", -5, WRITE, &[KeySpec::one(2, RW_UPDATE)]),
        group::set_id,
        "5.0.0",
        "O(log(N)) where N is the number of groups.",
        "key group <id | $> [ENTRIESREAD entries-read:integer]",
        "Sets the id behind which a group reads on.",
    ),
    row(
        ("xgroup|help", 2, STARTING, &[]),
        group::group_help,
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

const XINFO: &[Command] = &[
    row(
        ("xinfo|consumers", 4, READONLY, KEY_2_READ),
        info::consumers,
        "5.0.0",
        "O(N) where N is the number of consumers.",
        "key group",
        "Lists the consumers of a group.",
    )
    .tips(CHANGING),
    row(
        ("xinfo|groups", 3, READONLY, KEY_2_READ),
        info::groups,
        "5.0.0",
        "O(N) where N is the number of groups.",
        "key",
        "Lists the groups of a stream.",
    ),
    row(
        ("xinfo|stream", -3, READONLY, KEY_2_READ),
        info::stream,
        "5.0.0",
        "O(1); with FULL O(N) where N is the number of entries, groups, consumers shown.",
        "key [FULL [COUNT count]]",
        "Tells about a stream.",
    ),
    row(
        ("xinfo|help", 2, STARTING, &[]),
        info::info_help,
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// The stream that an entry holds.
#[inline]
fn stream_of(entry: &Entry) -> Result<&Stream, CmdError> {
    match entry.value() {
        ValueRef::Object(Object::Stream(stream)) => Ok(stream),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// As [`stream_of`], to be changed.
#[inline]
fn stream_of_mut(entry: &mut Entry) -> Result<&mut Stream, CmdError> {
    match entry.object_mut() {
        Some(Object::Stream(stream)) => Ok(stream),
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// Makes `key` hold a stream.
fn insert(cx: &mut Cx, key: &[u8], stream: Box<Stream>) {
    cx.keys.insert(Entry::object(key, Box::new(Object::Stream(stream)), None));
}

fn node_limits(cx: &Cx) -> NodeLimits {
    let encodings = &cx.settings.encodings;
    NodeLimits {
        bytes: encodings.stream_node_max_bytes,
        entries: encodings.stream_node_max_entries,
    }
}

fn no_group_or_key(key: &[u8], group: &[u8], tail: &[u8]) -> CmdError {
    let (key, group) = (shown(key, usize::MAX), shown(group, usize::MAX));
    let parts =
        [b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'", tail].concat();
    CmdError::of_bytes(parts)
}

fn no_such_group(key: &[u8], group: &[u8]) -> CmdError {
    let (key, group) = (shown(key, usize::MAX), shown(group, usize::MAX));
    let parts = [b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"];
    CmdError::of_bytes(parts.concat())
}

/// A subcommand's words make no sense.
fn wrong_words(args: &Args) -> CmdError {
    CmdError::err_of(&[
        b"unknown subcommand or wrong number of arguments for '",
        shown(args.at(1), 128),
        b"'. Try ",
        &shown(args.at(0), usize::MAX).to_ascii_uppercase(),
        b" HELP.",
    ])
}

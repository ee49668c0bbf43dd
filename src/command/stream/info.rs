//! What is known of a stream, its groups and its consumers: XINFO.

use super::range::write_message;
use super::{id, no_such_group, stream_of, wrong_words};
use crate::command::help::help;
use crate::command::number::integer;
use crate::data::stream::{Consumer, Group, Id, Log, Stream};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::Cx;

pub fn info_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "CONSUMERS <key> <group>",
        "    Lists the consumers of <group>.",
        "GROUPS <key>",
        "    Lists the groups of a stream.",
        "STREAM <key> [FULL [COUNT <count>]]",
        "    Tells about a stream: in short, or (FULL) with its first <count> entries, groups and",
        "    consumers.",
    ];
    help(&mut cx.out, "XINFO", &lines);
    Ok(())
}

fn existing<'c>(keys: &'c mut crate::shard::Keys, key: &[u8]) -> Result<&'c Stream, CmdError> {
    stream_of(keys.get(key).ok_or(CmdError::NO_SUCH_KEY)?)
}

pub fn consumers(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name, now) = (args.at(2), args.at(3), cx.now());
    let group = existing(&mut cx.keys, key)?.group(name).ok_or_else(|| no_such_group(key, name))?;
    let out = &mut cx.out;
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(consumer.name());
        field(out, "pending", consumer.pending_len() as i64);
        field(out, "idle", now.wrapping_sub(consumer.seen_at).max(0));
        field(out, "inactive", consumer.active_at.map_or(-1, |at| now.wrapping_sub(at)));
    }
    Ok(())
}

pub fn groups(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let stream = existing(&mut cx.keys, args.at(2))?;
    let out = &mut cx.out;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        field(out, "consumers", group.consumers().len() as i64);
        field(out, "pending", group.pending_len() as i64);
        write_progress(out, &stream.log, group);
    }
    Ok(())
}

fn field(out: &mut Encoder, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn id_field(out: &mut Encoder, name: &str, id: Id) {
    out.bulk(name.as_bytes());
    id::write(out, id);
}

fn optional_field(out: &mut Encoder, name: &str, value: Option<i64>) {
    out.bulk(name.as_bytes());
    match value {
        Some(value) => out.int(value),
        None => out.null(),
    }
}

/// How far a group has come.
fn write_progress(out: &mut Encoder, log: &Log, group: &Group) {
    id_field(out, "last-delivered-id", group.last_id);
    optional_field(out, "entries-read", group.entries_read);
    optional_field(out, "lag", group.lag(log));
}

pub fn stream(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let stream = existing(&mut cx.keys, args.at(2))?;
    let most = match args.len() {
        3 => None,
        4 | 6 if !args.is(3, "FULL") => return Err(wrong_words(&args)),
        4 => Some(10),
        6 if args.is(4, "COUNT") => Some(match integer(args.at(5))? {
            ..0 => 10,
            0 => usize::MAX,
            count => count as usize,
        }),
        _ => return Err(wrong_words(&args)),
    };
    let (out, log) = (&mut cx.out, &stream.log);
    out.map(if most.is_some() { 9 } else { 10 });
    field(out, "length", log.len() as i64);
    field(out, "radix-tree-keys", log.nodes() as i64);
    field(out, "radix-tree-nodes", log.radix_nodes() as i64);
    id_field(out, "last-generated-id", log.last_id);
    id_field(out, "max-deleted-entry-id", log.max_deleted);
    field(out, "entries-added", log.added as i64);
    id_field(out, "recorded-first-entry-id", log.first_id());
    match most {
        None => {
            field(out, "groups", stream.groups().len() as i64);
            let edges = [
                ("first-entry", log.range(Id::MIN, Id::MAX).next()),
                ("last-entry", log.range_back(Id::MIN, Id::MAX).next()),
            ];
            for (name, message) in edges {
                out.bulk(name.as_bytes());
                match message {
                    Some(message) => write_message(out, &message),
                    None => out.null(),
                }
            }
        }
        Some(most) => {
            out.bulk(b"entries");
            out.array(log.count(Id::MIN, Id::MAX, most));
            let entries = log.range(Id::MIN, Id::MAX).take(most);
            entries.for_each(|message| write_message(out, &message));
            out.bulk(b"groups");
            out.array(stream.groups().len());
            stream.groups().for_each(|(name, group)| write_group(out, log, name, group, most));
        }
    }
    Ok(())
}

/// A group with up to `most` of its pending entries, and its consumers with theirs.
fn write_group(out: &mut Encoder, log: &Log, name: &[u8], group: &Group, most: usize) {
    out.map(7);
    out.bulk(b"name");
    out.bulk(name);
    write_progress(out, log, group);
    field(out, "pel-count", group.pending_len() as i64);
    out.bulk(b"pending");
    out.array(group.pending_len().min(most));
    for (id, pending) in group.pending(Id::MIN..=Id::MAX).take(most) {
        out.array(4);
        id::write(out, id);
        out.bulk(group.consumer(pending.consumer).name());
        out.int(pending.delivered_at);
        out.int(pending.deliveries as i64);
    }
    out.bulk(b"consumers");
    out.array(group.consumers().len());
    group.consumers().for_each(|consumer| write_consumer(out, group, consumer, most));
}

fn write_consumer(out: &mut Encoder, group: &Group, consumer: &Consumer, most: usize) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(consumer.name());
    field(out, "seen-time", consumer.seen_at);
    field(out, "active-time", consumer.active_at.unwrap_or(-1));
    field(out, "pel-count", consumer.pending_len() as i64);
    out.bulk(b"pending");
    out.array(consumer.pending_len().min(most));
    for id in consumer.pending(Id::MIN..=Id::MAX).take(most) {
        let Some(pending) = group.pending_of(id) else { continue };
        out.array(3);
        id::write(out, id);
        out.int(pending.delivered_at);
        out.int(pending.deliveries as i64);
    }
}

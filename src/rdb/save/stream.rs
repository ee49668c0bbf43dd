//! A stream, written node by node, and its groups some pending entries at a time. The format is drawn in
//! [`super::super::load`]'s part about streams.

use super::super::output::Output;
use crate::data::packed::Element;
use crate::data::stream::{Consumer, Group, Id, Message, Node, Stream, Value};

/// Pending entries between two looks at how much has been written.
const PENDING: usize = 32;
const NAMES_OF_NODE: i64 = 2;
const NO_FLAGS: i64 = 0;

type Name = Box<[u8]>;

/// Where the writing of a stream is.
#[derive(Debug)]
pub enum Place {
    /// The node with this first id is written.
    Node(Id),
    Counts,
    /// The group with this name is written.
    Group(Option<Name>),
    /// The group's pending entries before this one are written.
    Pending(Name, Id),
    /// The group's consumer with this name is written.
    Consumer(Name, Option<Name>),
    /// The consumer's pending entries before this one are written.
    ConsumerPending(Name, Name, Id),
}

/// Writes some more of a stream; where to go on, unless all is written.
pub fn part(stream: &Stream, place: Option<Place>, out: &mut Output) -> Option<Place> {
    match place {
        None => {
            out.put_len(stream.log.nodes() as u64);
            Some(next_node(stream, None, out))
        }
        Some(Place::Node(id)) => Some(next_node(stream, Some(id), out)),
        Some(Place::Counts) => {
            counts(stream, out);
            Some(Place::Group(None))
        }
        Some(Place::Group(name)) => next_group(stream, name.as_deref(), out),
        Some(Place::Pending(name, from)) => {
            let group = stream.group(&name)?;
            let mut pending = group.pending(from..=Id::MAX);
            for (id, pending) in pending.by_ref().take(PENDING) {
                put_id(id, out);
                out.put_i64(pending.delivered_at);
                out.put_len(pending.deliveries);
            }
            if let Some((next, _)) = pending.next() {
                return Some(Place::Pending(name, next));
            }
            out.put_len(group.consumers().len() as u64);
            Some(Place::Consumer(name, None))
        }
        Some(Place::Consumer(name, consumer)) => {
            let group = stream.group(&name)?;
            Some(next_consumer(name, group, consumer.as_deref(), out))
        }
        Some(Place::ConsumerPending(name, consumer, from)) => {
            let group = stream.group(&name)?;
            let mut pending = group.consumer(group.find(&consumer)?).pending(from..=Id::MAX);
            pending.by_ref().take(PENDING).for_each(|id| put_id(id, out));
            Some(match pending.next() {
                Some(next) => Place::ConsumerPending(name, consumer, next),
                None => Place::Consumer(name, Some(consumer)),
            })
        }
    }
}

fn next_node(stream: &Stream, after: Option<Id>, out: &mut Output) -> Place {
    let Some((first, node)) = stream.log.node_after(after) else { return Place::Counts };
    out.put_len(16);
    put_id(first, out);
    out.put_listpack(|listpack| {
        listpack.push_int(node.live() as i64);
        // What was deleted is not there.
        listpack.push_int(0);
        listpack.push_int(node.names().count() as i64);
        node.names().for_each(|name| listpack.push(element(name)));
        listpack.push_int(0);
        messages(node, first).for_each(|message| put_message(&message, first, listpack));
    });
    Place::Node(first)
}

fn messages(node: &Node, first: Id) -> impl Iterator<Item = Message<'_>> {
    node.from(first, Id::MIN)
}

fn put_message(message: &Message, first: Id, listpack: &mut super::super::listpack::Listpack) {
    let shares_names = message.has_names_of_node();
    listpack.push_int(if shares_names { NAMES_OF_NODE } else { NO_FLAGS });
    listpack.push_int(message.id.ms.wrapping_sub(first.ms) as i64);
    listpack.push_int(message.id.seq.wrapping_sub(first.seq) as i64);
    let count = message.len() as i64;
    if !shares_names {
        listpack.push_int(count);
    }
    for (name, value) in message.pairs() {
        if !shares_names {
            listpack.push(element(name));
        }
        listpack.push(element(value));
    }
    listpack.push_int(if shares_names { 3 + count } else { 4 + 2 * count });
}

fn counts(stream: &Stream, out: &mut Output) {
    let log = &stream.log;
    out.put_len(log.len());
    for id in [log.last_id, log.first_id(), log.max_deleted] {
        out.put_len(id.ms);
        out.put_len(id.seq);
    }
    out.put_len(log.added);
    out.put_len(stream.groups().len() as u64);
}

fn next_group(stream: &Stream, after: Option<&[u8]>, out: &mut Output) -> Option<Place> {
    let (name, group) = stream.group_after(after)?;
    out.put_string(name);
    out.put_len(group.last_id.ms);
    out.put_len(group.last_id.seq);
    out.put_len(group.entries_read.unwrap_or(-1) as u64);
    out.put_len(group.pending_len() as u64);
    Some(Place::Pending(name.into(), Id::MIN))
}

fn next_consumer(name: Name, group: &Group, after: Option<&[u8]>, out: &mut Output) -> Place {
    let Some(consumer) = group.consumer_after(after) else { return Place::Group(Some(name)) };
    put_consumer(consumer, out);
    Place::ConsumerPending(name, consumer.name().into(), Id::MIN)
}

fn put_consumer(consumer: &Consumer, out: &mut Output) {
    out.put_string(consumer.name());
    out.put_i64(consumer.seen_at);
    out.put_i64(consumer.active_at.unwrap_or(-1));
    out.put_len(consumer.pending_len() as u64);
}

/// 16 bytes, the highest first.
fn put_id(id: Id, out: &mut Output) {
    out.put_bytes(&id.ms.to_be_bytes());
    out.put_bytes(&id.seq.to_be_bytes());
}

fn element(value: Value) -> Element {
    match value {
        Value::Int(int) => Element::Int(int),
        Value::Bytes(bytes) => Element::Bytes(bytes),
    }
}

//! A stream: its nodes, what is recorded of it, its groups.
//!
//! ```text
//!   nodes, each  [ first id, 16 bytes ][ listpack ]
//!   entries, last id                                  lengths, an id being two
//!   first id, greatest deleted id, entries ever added      from STREAM_2 on
//!   groups, each
//!     name, last id
//!     entries read                                         from STREAM_2 on
//!     pending entries, each  [ id, 16 bytes ][ delivered at, i64 ][ deliveries ]
//!     consumers, each
//!       name, seen at, i64
//!       active at, i64, -1: never                          from STREAM_3 on
//!       pending entries, each  [ id, 16 bytes ]
//!
//!   listpack of a node   entries, deleted ones, names, name ..., 0
//!     entry              flags, milliseconds - first's, sequence - first's,
//!                          value ...                       flag 2: the names of the node
//!                          pairs, name, value, ...         else
//!                        how many elements before this one
//! ```

use super::super::input::{Input, Source};
use super::super::listpack::{self, Elements};
use super::super::{Corrupt, Result, kind};
use crate::data::packed::Element;
use crate::data::stream::{Group, Id, MAX_BYTES, Node, Pending, Stream};
use crate::data::value::Object;
use smallvec::SmallVec;

const DELETED: i64 = 1;
const NAMES_OF_NODE: i64 = 2;
const WRONG_COUNT: Corrupt = Corrupt::Wrong("a stream has not as much as it says");
const WRONG_ORDER: Corrupt = Corrupt::Wrong("the ids of a stream do not ascend");

pub fn stream<S: Source>(input: &mut Input<S>, kind: u8) -> Result<Object> {
    let mut stream = Box::<Stream>::default();
    let nodes = input.number()?;
    let mut scratch = Vec::new();
    for _ in 0..nodes {
        let first = node_id(input.string(&mut scratch)?)?;
        let node = node(first, input.string(&mut scratch)?)?;
        if !stream.log.load_node(first, node) {
            return Err(WRONG_ORDER);
        }
    }
    let len = input.number()?;
    if len != stream.log.len() {
        return Err(WRONG_COUNT);
    }
    let last_id = length_id(input)?;
    let (mut max_deleted, mut added) = (Id::MIN, len);
    if kind != kind::STREAM_1 {
        // The first entry's id, which the nodes tell.
        length_id(input)?;
        max_deleted = length_id(input)?;
        added = input.number()?;
    }
    if !stream.log.load_counts(last_id, max_deleted, added) {
        return Err(WRONG_ORDER);
    }
    for _ in 0..input.number()? {
        group(input, kind, &mut stream)?;
    }
    Ok(Object::Stream(stream))
}

fn node_id(bytes: &[u8]) -> Result<Id> {
    let (mut rest, wrong) = (bytes, Corrupt::Wrong("a node of a stream has no id"));
    let (ms, seq) = Input::new(&mut rest as &mut &[u8], 0).big_endian_pair().map_err(|_| wrong)?;
    if rest.is_empty() { Ok(Id::new(ms, seq)) } else { Err(wrong) }
}

fn length_id<S: Source>(input: &mut Input<S>) -> Result<Id> {
    Ok(Id::new(input.number()?, input.number()?))
}

fn raw_id<S: Source>(input: &mut Input<S>) -> Result<Id> {
    let (ms, seq) = input.big_endian_pair()?;
    Ok(Id::new(ms, seq))
}

/// Texts one behind the other, in the memory of those before them.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, element: Element) {
        element.with_text(|text| self.bytes.extend_from_slice(text));
        self.ends.push(self.bytes.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}

fn node(first: Id, block: &[u8]) -> Result<Node> {
    if block.len() > MAX_BYTES {
        return Err(Corrupt::Wrong("a node of a stream is too long"));
    }
    let mut elements = listpack::elements(block)?;
    let (live, deleted) = (elements.expect_int()?, elements.expect_int()?);
    let mut names = Texts::default();
    for _ in 0..count_of_names(&mut elements)? {
        names.push(elements.expect()?);
    }
    if elements.expect_int()? != 0 {
        return Err(WRONG_COUNT);
    }
    // Names and values take turns here; there are no values yet.
    let pairs: Vec<&[u8]> = (0..names.ends.len()).flat_map(|at| [names.get(at), b""]).collect();
    let mut node = Node::new(first, &pairs, 0);
    let mut texts = Texts::default();
    let (mut met, mut gone) = (0, 0);
    while !elements.is_at_end() {
        let is_live = entry(&mut node, first, &mut elements, &names, &mut texts)?;
        met += i64::from(is_live);
        gone += i64::from(!is_live);
    }
    if (met, gone) != (live, deleted) {
        return Err(WRONG_COUNT);
    }
    elements.expect_end()?;
    Ok(node)
}

/// How many names or pairs follow: one at least.
fn count_of_names(elements: &mut Elements) -> Result<usize> {
    let count = usize::try_from(elements.expect_int()?).map_err(|_| WRONG_COUNT)?;
    if (1..=elements.at_most()).contains(&count) { Ok(count) } else { Err(WRONG_COUNT) }
}

/// Appends the next entry to its node; whether it is not deleted.
fn entry(
    node: &mut Node,
    first: Id,
    elements: &mut Elements,
    names: &Texts,
    texts: &mut Texts,
) -> Result<bool> {
    let flags = elements.expect_int()?;
    let (ms, seq) = (elements.expect_int()?, elements.expect_int()?);
    let id = Id::new(first.ms.wrapping_add(ms as u64), first.seq.wrapping_add(seq as u64));
    texts.clear();
    let own_names = flags & NAMES_OF_NODE == 0;
    let count = if own_names { count_of_names(elements)? } else { names.ends.len() };
    let parts = if own_names { 2 * count } else { count };
    for _ in 0..parts {
        texts.push(elements.expect()?);
    }
    let before = 3 + parts + usize::from(own_names);
    if elements.expect_int()? != before as i64 {
        return Err(WRONG_COUNT);
    }
    let mut pairs: SmallVec<[&[u8]; 16]> = SmallVec::new();
    match own_names {
        true => pairs.extend((0..parts).map(|at| texts.get(at))),
        false => pairs.extend((0..count).flat_map(|at| [names.get(at), texts.get(at)])),
    }
    if flags & DELETED != 0 {
        node.append_deleted(first, id, &pairs);
        return Ok(false);
    }
    let last = node.last_live(first);
    if id < first || id == Id::MIN || last.is_some_and(|last| id <= last) {
        return Err(WRONG_ORDER);
    }
    node.append(first, id, &pairs);
    Ok(true)
}

fn group<S: Source>(input: &mut Input<S>, kind: u8, stream: &mut Stream) -> Result<()> {
    let mut name = Vec::new();
    input.string_into(&mut name)?;
    let last_id = length_id(input)?;
    let read = match kind {
        kind::STREAM_1 => stream.log.added_up_to(last_id).map(|read| read as i64),
        _ => Some(input.number()? as i64).filter(|read| *read != -1),
    };
    let mut group = Group::new(last_id, read);
    let mut pending = pending_of_group(input)?;
    for _ in 0..input.number()? {
        consumer(input, kind, &mut group, &mut pending)?;
    }
    if !pending.iter().all(|pending| pending.is_assigned) {
        return Err(Corrupt::Wrong("a pending entry has no consumer"));
    }
    match stream.add_group(&name, group) {
        true => Ok(()),
        false => Err(Corrupt::Wrong("a group is there twice")),
    }
}

/// A pending entry of a group that is to be found at one of its consumers.
struct Unassigned {
    id: Id,
    delivered_at: i64,
    deliveries: u64,
    is_assigned: bool,
}

fn pending_of_group<S: Source>(input: &mut Input<S>) -> Result<Vec<Unassigned>> {
    let mut all: Vec<Unassigned> = Vec::new();
    for _ in 0..input.number()? {
        let id = raw_id(input)?;
        let (delivered_at, deliveries) = (input.i64()?, input.number()?);
        if all.last().is_some_and(|last| last.id >= id) {
            return Err(WRONG_ORDER);
        }
        all.push(Unassigned { id, delivered_at, deliveries, is_assigned: false });
    }
    Ok(all)
}

fn consumer<S: Source>(
    input: &mut Input<S>,
    kind: u8,
    group: &mut Group,
    pending: &mut [Unassigned],
) -> Result<()> {
    let mut scratch = Vec::new();
    let name = input.string(&mut scratch)?;
    let (number, is_new) = group.find_or_make(name, 0);
    if !is_new {
        return Err(Corrupt::Wrong("a consumer is there twice"));
    }
    let seen_at = input.i64()?;
    let active_at = match kind {
        kind::STREAM_3 => Some(input.i64()?).filter(|at| *at != -1),
        _ => Some(seen_at),
    };
    let consumer = group.consumer_mut(number);
    (consumer.seen_at, consumer.active_at) = (seen_at, active_at);
    for _ in 0..input.number()? {
        let id = raw_id(input)?;
        let found = pending.binary_search_by_key(&id, |pending| pending.id);
        let found = found.ok().map(|at| &mut pending[at]).filter(|pending| !pending.is_assigned);
        let found = found.ok_or(Corrupt::Wrong("a consumer has what is not pending"))?;
        found.is_assigned = true;
        let Unassigned { delivered_at, deliveries, .. } = *found;
        group.assign(id, Pending { consumer: number, delivered_at, deliveries });
    }
    Ok(())
}

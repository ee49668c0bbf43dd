//! A packed node: entries whose ids are near each other, in one allocation.
//!
//! ```text
//!   +-------------+- - - -+-------+-------+-----+-------+
//!   | field names |  gap  | entry | entry | ... | entry |
//!   +-------------+- - - -+-------+-------+-----+-------+
//!                         ^ begin
//!   field names   how many, and those of the node's first entry
//!   gap           where entries were that have been trimmed
//!
//!   entry    +------+----------+--------------+--------+------+-----------+
//!            | head | sequence | milliseconds | length | body | size back |
//!            +------+----------+--------------+--------+------+-----------+
//!   head          bit 0: it has field names of its own; else those of the node's first entry
//!                 bits 1-7: the sequence, or 127 and the sequence follows
//!   sequence      what to add to the first id's if the milliseconds are the same, else itself
//!   milliseconds  what to add to the first id's
//!   body          the values; with names of its own how many pairs, then names and values in turn
//!   size back     how many bytes from the head on, to be read from behind
//! ```
//!
//! Deleted entries leave no trace but in the counts: how many they were, and how long a listpack
//! with all of them would be, decide when the node is full, as in Redis.
//!
//! Invariants: the ids of the entries ascend, from the node's first id on, which the owner of the
//! node knows; `begin` is where the first one of `live` entries begins.

use super::id::Id;
use super::packed::{
    Value, get_backwards, get_varint, listpack_int_len, put_backwards, put_varint, varint_len,
};

/// What a node may hold; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Bytes, as a listpack counts them.
    pub bytes: usize,
    pub entries: usize,
}

/// No node gets bigger, whatever the limits say. Nor may an entry be.
pub const MAX_BYTES: usize = 1 << 30;

/// Room that a new node takes in advance, at most.
const MAX_PREPARED: usize = 4096;

/// So much unused room is kept whatever has been deleted.
const SPARE: usize = 128;

/// What a listpack has around its elements.
const LISTPACK_FRAME: usize = 7;

#[derive(Clone, Debug)]
pub struct Node {
    bytes: Vec<u8>,
    begin: u32,
    live: u32,
    deleted: u32,
    /// Bytes of the listpack without its counts of live and deleted entries.
    listpack: u32,
    /// The id that was appended last, even if it is deleted.
    last: Id,
}

/// An entry as it lies in its node.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub id: Id,
    /// How many pairs there are.
    len: usize,
    /// The names, when they are apart from the values.
    names: Option<&'a [u8]>,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Whether its fields have the names that its node has.
    pub fn has_names_of_node(&self) -> bool {
        self.names.is_some()
    }

    /// How many pairs of a field and a value there are.
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn pairs(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let Message { len, names, body, .. } = *self;
        let (mut name_at, mut value_at) = (0, 0);
        (0..len).map(move |_| {
            let name = match names {
                Some(names) => {
                    let (name, next) = Value::get(names, name_at);
                    name_at = next;
                    name
                }
                None => {
                    let (name, next) = Value::get(body, value_at);
                    value_at = next;
                    name
                }
            };
            let (value, next) = Value::get(body, value_at);
            value_at = next;
            (name, value)
        })
    }
}

/// Where the parts of an entry are.
struct Parts {
    id: Id,
    own_names: bool,
    body: usize,
    body_end: usize,
    /// Behind the entry.
    end: usize,
}

impl Node {
    /// A node without entries for ids from `first` on and the names in `pairs`, where names and
    /// values take turns.
    pub fn new(first: Id, pairs: &[&[u8]], prepared: usize) -> Node {
        let own = pairs.iter().map(|part| part.len() + 2).sum::<usize>() + 16;
        let mut bytes = Vec::with_capacity(prepared.min(MAX_PREPARED).max(own));
        let count = pairs.len() / 2;
        put_varint(&mut bytes, count as u64);
        let mut listpack = LISTPACK_FRAME + listpack_int_len(count as i64) + listpack_int_len(0);
        for name in pairs.iter().step_by(2) {
            let name = Value::of(name);
            name.put(&mut bytes);
            listpack += name.listpack_len();
        }
        let begin = bytes.len() as u32;
        Node { bytes, begin, live: 0, deleted: 0, listpack: listpack as u32, last: first }
    }

    /// Entries, without the deleted ones.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    /// The id that was appended last, even if it is deleted.
    pub fn last(&self) -> Id {
        self.last
    }

    /// Bytes of memory behind the node.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes in use, which tell how much the next node will need.
    pub fn used(&self) -> usize {
        self.bytes.len()
    }

    /// How long Redis' listpack would be.
    fn listpack_len(&self) -> usize {
        let counts = [self.live, self.deleted].map(|count| listpack_int_len(i64::from(count)));
        self.listpack as usize + counts[0] + counts[1]
    }

    /// Whether an entry of so many bytes must go to another node.
    #[inline]
    pub fn is_full(&self, added: usize, limits: NodeLimits) -> bool {
        let bytes_max = match limits.bytes {
            0 => MAX_BYTES,
            bytes => bytes.min(MAX_BYTES),
        };
        self.listpack_len() + added >= bytes_max
            || (limits.entries > 0 && (self.live + self.deleted) as usize >= limits.entries)
    }

    /// Gives unused room back; nothing is going to be appended.
    pub fn seal(&mut self) {
        if self.bytes.capacity() - self.bytes.len() > self.bytes.len() / 8 {
            self.bytes.shrink_to_fit();
        }
    }

    /// Appends an entry with an id that is greater than all before.
    pub fn append(&mut self, first: Id, id: Id, pairs: &[&[u8]]) {
        debug_assert!(id >= first, "an id before the node's first");
        let start = self.bytes.len();
        let own_names = !self.has_names(pairs);
        let head = u8::from(own_names);
        let seq = if id.ms == first.ms { id.seq - first.seq } else { id.seq };
        match seq {
            0..127 => self.bytes.push(head | (seq as u8) << 1),
            _ => {
                self.bytes.push(head | 127 << 1);
                put_varint(&mut self.bytes, seq);
            }
        }
        put_varint(&mut self.bytes, id.ms - first.ms);
        let mut listpack = self.put_body(own_names, pairs);
        // Flags, and the two differences, which may be negative there.
        listpack += listpack_int_len(0);
        listpack += listpack_int_len(id.ms.wrapping_sub(first.ms) as i64);
        listpack += listpack_int_len(id.seq.wrapping_sub(first.seq) as i64);
        let size = self.bytes.len() - start;
        put_backwards(&mut self.bytes, size as u64);
        self.listpack += listpack as u32;
        self.live += 1;
        self.last = id;
    }

    /// As if an entry had been appended and deleted; its id may be any.
    pub fn append_deleted(&mut self, first: Id, id: Id, pairs: &[&[u8]]) {
        let begin = self.bytes.len();
        // The differences in a listpack wrap around; those here must not.
        let own = if id >= first { id } else { first };
        self.append(first, own, pairs);
        self.bytes.truncate(begin);
        self.live -= 1;
        self.deleted += 1;
        self.last = own.max(self.last_live(first).unwrap_or(first));
    }

    /// The names of the fields of the node's first entry.
    pub fn names(&self) -> impl Iterator<Item = Value<'_>> {
        let (count, mut at) = get_varint(&self.bytes, 0);
        (0..count).map(move |_| {
            let (name, next) = Value::get(&self.bytes, at);
            at = next;
            name
        })
    }

    /// Appends a body with its length in front. Answers what a listpack needs for it.
    fn put_body(&mut self, own_names: bool, pairs: &[&[u8]]) -> usize {
        let bytes = &mut self.bytes;
        let count = pairs.len() / 2;
        let length_at = bytes.len();
        bytes.push(0);
        let mut elements = 3 + count;
        let mut listpack = 0;
        if own_names {
            put_varint(bytes, count as u64);
            elements += count + 1;
            listpack += listpack_int_len(count as i64);
        }
        let (from, step) = if own_names { (0, 1) } else { (1, 2) };
        for part in pairs[from..].iter().step_by(step) {
            let value = Value::of(part);
            value.put(bytes);
            listpack += value.listpack_len();
        }
        let len = (bytes.len() - length_at - 1) as u64;
        match varint_len(len) {
            1 => bytes[length_at] = len as u8,
            _ => {
                // Few entries are so long that the room for their length is too short.
                let mut length = Vec::new();
                put_varint(&mut length, len);
                bytes.splice(length_at..=length_at, length);
            }
        }
        listpack + listpack_int_len(elements as i64)
    }

    /// Whether the names in `pairs` are those of the node.
    fn has_names(&self, pairs: &[&[u8]]) -> bool {
        let (count, mut at) = get_varint(&self.bytes, 0);
        count as usize * 2 == pairs.len()
            && pairs.iter().step_by(2).all(|name| {
                let (own, next) = Value::get(&self.bytes, at);
                at = next;
                match own {
                    Value::Bytes(own) => own == *name,
                    Value::Int(_) => own == Value::of(name),
                }
            })
    }

    #[inline]
    fn parts(&self, first: Id, at: usize) -> Parts {
        let bytes = &self.bytes;
        let head = bytes[at];
        let (seq, next) = match head >> 1 {
            127 => get_varint(bytes, at + 1),
            seq => (u64::from(seq), at + 1),
        };
        let (ms, next) = get_varint(bytes, next);
        let seq = if ms == 0 { first.seq + seq } else { seq };
        let (len, body) = get_varint(bytes, next);
        let body_end = body + len as usize;
        let end = body_end + varint_len((body_end - at) as u64);
        Parts { id: Id::new(first.ms + ms, seq), own_names: head & 1 != 0, body, body_end, end }
    }

    /// The entry at `at`, and what is behind it.
    #[inline]
    fn message(&self, first: Id, at: usize) -> (Message<'_>, usize) {
        let Parts { id, own_names, body, body_end, end } = self.parts(first, at);
        let (len, names, body) = match own_names {
            true => {
                let (count, next) = get_varint(&self.bytes, body);
                (count, None, next)
            }
            false => {
                let (count, names) = get_varint(&self.bytes, 0);
                (count, Some(&self.bytes[names..]), body)
            }
        };
        (Message { id, len: len as usize, names, body: &self.bytes[body..body_end] }, end)
    }

    /// Where the entry begins that ends at `end`.
    #[inline]
    fn before(&self, end: usize) -> usize {
        let (size, body_end) = get_backwards(&self.bytes, end);
        body_end - size as usize
    }

    /// The id of the last entry that is not deleted.
    pub fn last_live(&self, first: Id) -> Option<Id> {
        (self.live > 0).then(|| self.parts(first, self.before(self.bytes.len())).id)
    }

    /// The id of the first entry that is not deleted.
    pub fn first_live(&self, first: Id) -> Option<Id> {
        (self.live > 0).then(|| self.parts(first, self.begin as usize).id)
    }

    /// How many entries are neither before `start` nor behind `end`.
    pub fn count(&self, first: Id, start: Id, end: Id) -> usize {
        if start <= first && self.last <= end {
            return self.live();
        }
        let (mut at, mut count) = (self.begin as usize, 0);
        while at < self.bytes.len() {
            let parts = self.parts(first, at);
            if parts.id > end {
                break;
            }
            count += usize::from(parts.id >= start);
            at = parts.end;
        }
        count
    }

    /// Deletes an entry; `false` when there is none with this id.
    pub fn delete(&mut self, first: Id, id: Id) -> bool {
        let mut at = self.begin as usize;
        while at < self.bytes.len() {
            let parts = self.parts(first, at);
            if parts.id >= id {
                if parts.id > id {
                    return false;
                }
                match at == self.begin as usize {
                    true => self.begin = parts.end as u32,
                    false => drop(self.bytes.drain(at..parts.end)),
                }
                self.deleted(1);
                return true;
            }
            at = parts.end;
        }
        false
    }

    /// Deletes entries from the front: at most `most`, and only those before `until`.
    /// Answers how many.
    pub fn trim(&mut self, first: Id, most: usize, until: Id) -> usize {
        let mut count = 0;
        while count < most && (self.begin as usize) < self.bytes.len() {
            let parts = self.parts(first, self.begin as usize);
            if parts.id >= until {
                break;
            }
            self.begin = parts.end as u32;
            count += 1;
        }
        self.deleted(count as u32);
        count
    }

    fn deleted(&mut self, count: u32) {
        self.live -= count;
        self.deleted += count;
        if self.begin as usize > self.bytes.len() / 2 {
            self.close_gap();
        }
        if self.bytes.capacity() > 2 * self.bytes.len() + SPARE {
            self.bytes.shrink_to_fit();
        }
    }

    /// Moves the entries to the names.
    fn close_gap(&mut self) {
        let (count, mut names_end) = get_varint(&self.bytes, 0);
        for _ in 0..count {
            names_end = Value::get(&self.bytes, names_end).1;
        }
        self.bytes.drain(names_end..self.begin as usize);
        self.begin = names_end as u32;
    }

    /// The entries whose ids are not smaller than `start`.
    #[inline]
    pub fn from(&self, first: Id, start: Id) -> Forward<'_> {
        let mut at = self.begin as usize;
        if start > first {
            while at < self.bytes.len() {
                let parts = self.parts(first, at);
                if parts.id >= start {
                    break;
                }
                at = parts.end;
            }
        }
        Forward { node: self, first, at }
    }

    /// All entries, the last one first.
    pub fn backward(&self, first: Id) -> Backward<'_> {
        Backward { node: self, first, end: self.bytes.len() }
    }
}

/// Entries of a node in ascending order.
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    node: &'a Node,
    first: Id,
    at: usize,
}

impl<'a> Iterator for Forward<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        if self.at >= self.node.bytes.len() {
            return None;
        }
        let (message, end) = self.node.message(self.first, self.at);
        self.at = end;
        Some(message)
    }
}

/// Entries of a node in descending order.
#[derive(Clone, Debug)]
pub struct Backward<'a> {
    node: &'a Node,
    first: Id,
    end: usize,
}

impl<'a> Iterator for Backward<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        if self.end <= self.node.begin as usize {
            return None;
        }
        self.end = self.node.before(self.end);
        Some(self.node.message(self.first, self.end).0)
    }
}

//! What groups' commands are recorded as: who has which entry since when, not how it came to that.
//!
//! A claim is recorded as XCLAIM with FORCE, which makes an entry pending whoever had it, or nobody.
//! Entries that were delivered at the same time for the same time share one.
//!
//! To a replay a consumer was active when what it has claimed was delivered. Where that is not so, XCLAIM of
//! 0-0, which no stream has, follows: its TIME is when the consumer was active, -1 if never. To Redis that is
//! nothing.

use super::id::Text;
use crate::data::stream::{Group, Id, Pending};
use crate::shard::Keys;

/// Entries that one recorded command names.
const IDS_MAX: usize = 128;

/// A group of the stream at a key.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    pub key: &'a [u8],
    pub group: &'a [u8],
}

/// An entry that a consumer has got.
#[derive(Clone, Copy)]
pub struct Claimed {
    pub id: Id,
    pub delivered_at: i64,
    pub deliveries: u64,
}

impl Claimed {
    pub fn new(id: Id, pending: &Pending) -> Claimed {
        let Pending { delivered_at, deliveries, .. } = *pending;
        Claimed { id, delivered_at, deliveries }
    }

    fn likeness(&self) -> (i64, u64) {
        (self.delivered_at, self.deliveries)
    }
}

/// A consumer was made.
pub fn made(keys: &mut Keys, of: Of, consumer: &[u8]) {
    keys.effect(of.key, &[b"XGROUP", b"CREATECONSUMER", of.key, of.group, consumer]);
}

/// The entry whose claim tells when a consumer was active.
pub const NO_ENTRY: Id = Id::MIN;

/// A consumer, which was `active_at` some time, has got entries, when the group had read up to `last_id`.
pub fn claimed(
    keys: &mut Keys,
    of: Of,
    (consumer, active_at): (&[u8], Option<i64>),
    entries: &[Claimed],
    last_id: Id,
) {
    let last_id = Text::new(last_id);
    for like in entries.chunk_by(|a, b| a.likeness() == b.likeness()) {
        let (at, deliveries) = like[0].likeness();
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        let options: [&[u8]; 8] = [
            b"TIME",
            time.format(at).as_bytes(),
            b"RETRYCOUNT",
            count.format(deliveries.min(i64::MAX as u64)).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last_id.as_bytes(),
        ];
        for part in like.chunks(IDS_MAX) {
            let ids: Vec<Text> = part.iter().map(|entry| Text::new(entry.id)).collect();
            let head = [b"XCLAIM", of.key, of.group, consumer, b"0"];
            let ids: Vec<&[u8]> = ids.iter().map(Text::as_bytes).collect();
            keys.effect(of.key, &[&head, &ids[..], &options].concat());
        }
    }
    let Some(last) = entries.last().filter(|last| active_at != Some(last.delivered_at)) else {
        return;
    };
    debug_assert!(last.id != NO_ENTRY);
    let (id, mut time) = (Text::new(NO_ENTRY), itoa::Buffer::new());
    let time = time.format(active_at.unwrap_or(-1)).as_bytes();
    let head = [b"XCLAIM", of.key, of.group, consumer, b"0", id.as_bytes()];
    keys.effect(of.key, &[&head[..], &[b"TIME", time, b"JUSTID"]].concat());
}

/// Entries are no longer pending.
pub fn dropped(keys: &mut Keys, of: Of, ids: &[Id]) {
    for part in ids.chunks(IDS_MAX) {
        let ids: Vec<Text> = part.iter().map(|id| Text::new(*id)).collect();
        let ids: Vec<&[u8]> = ids.iter().map(Text::as_bytes).collect();
        keys.effect(of.key, &[&[b"XACK", of.key, of.group], &ids[..]].concat());
    }
}

/// How far a group has read.
#[derive(Clone, Copy)]
pub struct Position {
    pub last_id: Id,
    entries_read: Option<i64>,
}

impl Position {
    pub fn of(group: &Group) -> Position {
        Position { last_id: group.last_id, entries_read: group.entries_read }
    }
}

/// A group has read on.
pub fn moved(keys: &mut Keys, of: Of, to: Position) {
    let (id, mut read) = (Text::new(to.last_id), itoa::Buffer::new());
    let read = read.format(to.entries_read.unwrap_or(-1)).as_bytes();
    let id = id.as_bytes();
    keys.effect(of.key, &[b"XGROUP", b"SETID", of.key, of.group, id, b"ENTRIESREAD", read]);
}

//! Client tracking: which clients have read which keys of a shard, and which prefixes somebody follows.
//!
//! ```text
//!   a read by a client that tracks ──> read: key ─> clients
//!   a change of a key ──┬─ takes the key's clients out ──> stale ───┐
//!                       ├─ has a prefix somebody follows ─> changed ─┼──> net sends it (net::tracking)
//!   a flush ────────────┴─ forgets all that was read ────> flushed ──┘
//! ```
//!
//! - A key stands here under its name alone, whatever its database, as in Redis.
//! - What a client has read stands at the key's owner. It travels with a key that is lent, as its
//!   entry does, so that reads and changes at the borrower find it there and no other place has to know.
//! - What counts as a change is what counts as one for WATCH.
//! - A client that is gone, or tracks no more, is left in until the key changes: nobody looks for it
//!   at all the keys that it has read. When nobody tracks any more, everything is forgotten.
//!
//! A shard that knows of no reads and no prefixes has none of this and pays one branch for a change,
//! and one for a command.

use super::keyspace::{Keys, Keyspace};
use crate::data::prefixes::Prefixes;
use crate::data::table::{self, Keyed};
use crate::metrics::ShardStats;
use crate::session::ClientRef;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::Arc;

/// More clients of one key are looked up by hash.
const FEW: usize = 8;

/// The clients that have read a key.
enum Clients {
    Few(SmallVec<[ClientRef; 2]>),
    Many(HashSet<ClientRef, ahash::RandomState>),
}

impl Clients {
    /// `false` when it was there.
    fn add(&mut self, client: ClientRef) -> bool {
        match self {
            Clients::Few(few) if few.contains(&client) => return false,
            Clients::Few(few) if few.len() < FEW => few.push(client),
            Clients::Few(few) => {
                let all = few.iter().copied().chain([client]);
                *self = Clients::Many(all.collect());
            }
            Clients::Many(many) => return many.insert(client),
        }
        true
    }

    fn len(&self) -> usize {
        match self {
            Clients::Few(few) => few.len(),
            Clients::Many(many) => many.len(),
        }
    }

    /// In the order of their shards.
    fn sorted(self) -> Vec<ClientRef> {
        let mut all: Vec<ClientRef> = match self {
            Clients::Few(few) => few.into_vec(),
            Clients::Many(many) => many.into_iter().collect(),
        };
        all.sort_unstable();
        all
    }
}

/// A key and who has read it.
struct Reading {
    key: Box<[u8]>,
    clients: Clients,
}

/// The same in the one word that a table has for it.
pub(super) struct Readings(Box<Reading>);

impl Keyed for Readings {
    fn key(&self) -> &[u8] {
        &self.0.key
    }

    fn address(&self) -> *const u8 {
        (&raw const *self.0).cast()
    }
}

/// What clients have read.
pub(super) struct ReadKeys {
    table: table::Table<Readings, ahash::RandomState>,
    /// Clients of all keys together.
    items: usize,
    /// All keys were flushed, and the clients of the shard are not told yet.
    flushed: bool,
    /// Its shard wants to know that.
    wanted: bool,
}

impl ReadKeys {
    pub(super) fn new(hasher: &ahash::RandomState) -> ReadKeys {
        let table = table::Table::with_hasher(hasher.clone());
        ReadKeys { table, items: 0, flushed: false, wanted: false }
    }

    fn is_empty(&self) -> bool {
        self.table.is_empty() && !self.flushed
    }

    fn take(&mut self, hash: u64, key: &[u8]) -> Option<Readings> {
        let readings = self.table.remove(hash, key)?;
        self.items -= readings.0.clients.len();
        Some(readings)
    }
}

/// A key that clients have read is not what they have read any more.
#[derive(Debug)]
pub struct Stale {
    pub key: Box<[u8]>,
    /// In the order of their shards.
    pub clients: Vec<ClientRef>,
    /// Who has changed it.
    pub by: ClientRef,
}

impl Stale {
    pub fn bytes(&self) -> usize {
        self.key.len() + size_of_val(&*self.clients)
    }
}

/// A key with prefixes that somebody follows has changed.
#[derive(Debug)]
pub struct Changed {
    pub key: Arc<[u8]>,
    pub by: ClientRef,
    /// The shards whose clients follow one of them.
    pub shards: SmallVec<[u16; 4]>,
}

/// How many clients follow a prefix, by shard.
type Followers = SmallVec<[(u16, u32); 2]>;

/// What a shard knows of clients that track keys.
pub struct Tracking {
    pub(super) read: ReadKeys,
    prefixes: Prefixes<Followers>,
    /// Whose command runs.
    by: ClientRef,
    /// Keys that the running command may be changing in place.
    looked_at: Vec<Box<[u8]>>,
    stale: Vec<Stale>,
    /// Bytes of them.
    stale_bytes: usize,
    changed: Vec<Changed>,
    /// What was forgotten at once and is freed bit by bit.
    gone: Vec<table::Table<Readings, ahash::RandomState>>,
    /// Keys have been added since somebody looked.
    grown: bool,
    stats: Arc<ShardStats>,
}

impl Tracking {
    fn new(hasher: &ahash::RandomState, stats: Arc<ShardStats>) -> Tracking {
        Tracking {
            read: ReadKeys { wanted: true, ..ReadKeys::new(hasher) },
            prefixes: Prefixes::default(),
            by: ClientRef::NOBODY,
            looked_at: Vec::new(),
            stale: Vec::new(),
            stale_bytes: 0,
            changed: Vec::new(),
            gone: Vec::new(),
            grown: false,
            stats,
        }
    }

    /// A key has changed, or is about to; `hash` is its.
    pub(super) fn touch(&mut self, hash: u64, key: &[u8], by: ClientRef) {
        if !self.prefixes.is_empty() {
            let mut shards = SmallVec::new();
            self.prefixes.each_of(key, &mut |_, followers| {
                let new = followers.iter().map(|(shard, _)| *shard);
                let new: SmallVec<[u16; 4]> = new.filter(|shard| !shards.contains(shard)).collect();
                shards.extend(new);
            });
            if !shards.is_empty() {
                self.changed.push(Changed { key: key.into(), by, shards });
            }
        }
        if let Some(readings) = self.read.take(hash, key) {
            self.note_size();
            self.let_down(readings, by);
        }
    }

    /// As [`Tracking::touch`], by the command that runs.
    #[inline]
    pub(super) fn touch_by_command(&mut self, hash: u64, key: &[u8]) {
        if !self.read.table.is_empty() || !self.prefixes.is_empty() {
            self.touch(hash, key, self.by);
        }
    }

    fn let_down(&mut self, Readings(reading): Readings, by: ClientRef) {
        let Reading { key, clients } = *reading;
        let stale = Stale { key, clients: clients.sorted(), by };
        self.stale_bytes += stale.bytes();
        self.stale.push(stale);
    }

    fn note_size(&self) {
        self.stats.tracked_keys.set(self.read.table.len() as u64);
        self.stats.tracked_items.set(self.read.items as u64);
    }

    /// All keys are others.
    pub(super) fn flush(&mut self) {
        self.read.flushed = true;
        self.forget();
    }

    fn forget(&mut self) {
        let fresh = table::Table::with_hasher(self.read.table.hasher().clone());
        let old = std::mem::replace(&mut self.read.table, fresh);
        if !old.is_empty() {
            self.gone.push(old);
        }
        self.read.items = 0;
        self.note_size();
    }

    fn is_idle(&self) -> bool {
        self.read.is_empty() && self.prefixes.is_empty() && !self.has_mail() && self.gone.is_empty()
    }

    /// How many keys clients are to be told of: those that they have read, and those with their prefixes.
    pub(super) fn mail(&self) -> (usize, usize) {
        (self.stale.len(), self.changed.len())
    }

    fn has_mail(&self) -> bool {
        !self.stale.is_empty() || !self.changed.is_empty() || self.read.flushed
    }
}

impl Keyspace {
    pub(super) fn tracking(&mut self) -> &mut Tracking {
        let Keyspace { tracking, hasher, stats, .. } = self;
        tracking.get_or_insert_with(|| Box::new(Tracking::new(hasher, stats.clone())))
    }

    /// The commands that run from now on are this client's.
    pub fn run_for(&mut self, client: ClientRef) {
        if let Some(tracking) = &mut self.tracking {
            tracking.by = client;
            tracking.looked_at.clear();
        }
    }

    /// Remembers that a client has read a key.
    pub fn remember_read(&mut self, key: &[u8], client: ClientRef) {
        let hash = self.hash(key);
        let tracking = self.tracking();
        let known = tracking.read.table.update(hash, key, |own| own.0.clients.add(client));
        let added = known.unwrap_or_else(|| {
            let clients = Clients::Few(SmallVec::from_slice(&[client]));
            let reading = Reading { key: key.into(), clients };
            tracking.read.table.insert(hash, Readings(Box::new(reading)));
            tracking.grown = true;
            true
        });
        tracking.read.items += usize::from(added);
        tracking.note_size();
    }

    /// One client more on `shard` follows all keys with a prefix, or one less.
    pub fn follow(&mut self, prefix: &[u8], shard: usize, more: bool) {
        let tracking = self.tracking();
        let followers = tracking.prefixes.get_or_default(prefix);
        super::channels::count(followers, shard, more);
        if followers.is_empty() {
            tracking.prefixes.remove(prefix);
        }
        tracking.stats.tracking_prefixes.set(tracking.prefixes.len() as u64);
    }

    /// A client of this shard tracks keys, which is to hear of flushes.
    pub fn expect_tracking(&mut self) {
        self.tracking();
    }

    /// Whether clients are to be told of something.
    #[inline]
    pub fn has_invalidations(&self) -> bool {
        self.tracking.as_ref().is_some_and(|tracking| tracking.has_mail())
    }

    /// What clients are to be told of: keys that they have read, and keys with prefixes that they follow.
    pub fn take_invalidations(&mut self) -> (Vec<Stale>, Vec<Changed>) {
        match &mut self.tracking {
            Some(t) => {
                t.stale_bytes = 0;
                (std::mem::take(&mut t.stale), std::mem::take(&mut t.changed))
            }
            None => Default::default(),
        }
    }

    /// Bytes of what clients are to be told of.
    pub fn invalidation_bytes(&self) -> usize {
        self.tracking.as_ref().map_or(0, |tracking| tracking.stale_bytes)
    }

    /// Clients are to be told of so many keys, the first ones; the others are as they have read them.
    pub(super) fn take_back_invalidations(&mut self, stale: usize, changed: usize) {
        let Some(tracking) = &mut self.tracking else { return };
        tracking.changed.truncate(changed);
        if tracking.stale.len() > stale {
            let taken = tracking.stale.split_off(stale);
            tracking.stale_bytes -= taken.iter().map(Stale::bytes).sum::<usize>();
            for Stale { key, clients, .. } in taken {
                clients.into_iter().for_each(|client| self.remember_read(&key, client));
            }
        }
    }

    /// Whether all keys were flushed since the last call.
    pub fn take_flushed(&mut self) -> bool {
        let tracking = self.tracking.as_mut();
        tracking.is_some_and(|tracking| std::mem::take(&mut tracking.read.flushed))
    }

    /// Whether keys that clients have read have been added since the last call.
    pub fn has_more_tracked(&mut self) -> bool {
        self.tracking.as_mut().is_some_and(|tracking| std::mem::take(&mut tracking.grown))
    }

    /// How many keys clients have read.
    pub fn tracked_keys(&self) -> usize {
        self.tracking.as_ref().map_or(0, |tracking| tracking.read.table.len())
    }

    /// Gives up keys chosen at random, whose clients are told as if they had changed.
    pub fn give_up_tracked(&mut self, keys: usize) {
        let Keyspace { tracking: Some(tracking), random, .. } = self else { return };
        for _ in 0..keys {
            let table = &tracking.read.table;
            let Some(key) = table.random(&mut || random.u64(..)).map(|r| r.0.key.clone()) else {
                break;
            };
            let hash = table.hash(&key);
            if let Some(readings) = tracking.read.take(hash, &key) {
                tracking.let_down(readings, ClientRef::NOBODY);
            }
        }
        tracking.note_size();
    }

    /// Nobody tracks keys any more: forgets what was read.
    pub fn forget_tracked(&mut self) {
        if let Some(tracking) = &mut self.tracking {
            tracking.forget();
            tracking.read.flushed = false;
            if tracking.is_idle() {
                self.tracking = None;
            }
        }
    }

    /// Whether anything is known about clients that track keys.
    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.tracking.is_some()
    }

    /// Frees up to `max` keys of what was forgotten; whether some remain.
    pub fn free_tracked(&mut self, max: usize) -> bool {
        let Some(tracking) = &mut self.tracking else { return false };
        let Some(mut table) = tracking.gone.pop() else { return false };
        if !table.clear_step(max) {
            tracking.gone.push(table);
        }
        !tracking.gone.is_empty()
    }

    /// Takes out who has read keys that are lent, or that go back.
    pub(super) fn pack_readers(&mut self, keys: &[Box<[u8]>], packed: &mut Vec<Readings>) {
        if self.tracking.as_ref().is_none_or(|tracking| tracking.read.table.is_empty()) {
            return;
        }
        let hashes: Vec<u64> = keys.iter().map(|key| self.hash(key)).collect();
        let tracking = self.tracking();
        let readers = keys.iter().zip(hashes);
        packed.extend(readers.filter_map(|(key, hash)| tracking.read.take(hash, key)));
        tracking.note_size();
    }

    /// Puts in who has read keys that have come.
    pub(super) fn unpack_readers(&mut self, packed: &mut Vec<Readings>) {
        for readings in packed.drain(..) {
            let hash = self.hash(readings.key());
            let tracking = self.tracking();
            tracking.read.items += readings.0.clients.len();
            tracking.read.table.insert(hash, readings);
            tracking.grown = true;
            tracking.note_size();
        }
    }

    /// Has what was read of the own keys stand aside for what was read of others, or come back.
    pub(super) fn swap_read(&mut self, other: &mut ReadKeys) {
        if self.tracking.is_some() || other.wanted || !other.is_empty() {
            let tracking = self.tracking();
            std::mem::swap(&mut tracking.read, other);
            tracking.note_size();
        }
    }
}

impl Keys<'_> {
    /// All keys are others: whoever has read some is to be told.
    pub(super) fn touch_all(&mut self) {
        if let Some(tracking) = &mut self.space.tracking {
            tracking.flush();
        }
    }

    /// The command that runs has changed a key, or is about to.
    #[inline]
    pub(super) fn touch_tracked(&mut self, key: &[u8]) {
        if self.space.tracking.is_some() {
            let hash = self.hash(key);
            self.space.tracking().touch_by_command(hash, key);
        }
    }

    /// A key is in the hand of a command that may change it in place and then says so.
    #[inline]
    pub(super) fn look_tracked(&mut self, key: &[u8]) {
        if self.space.tracking.is_some() {
            let hash = self.hash(key);
            let tracking = self.space.tracking();
            if tracking.read.table.contains(hash, key) || tracking.prefixes.has_of(key) {
                tracking.looked_at.push(key.into());
            }
        }
    }

    /// The command that runs has changed what it had in hand.
    #[inline]
    pub(super) fn touch_looked_at(&mut self) {
        if let Some(tracking) = &mut self.space.tracking {
            let keys = std::mem::take(&mut tracking.looked_at);
            keys.iter().for_each(|key| self.touch_tracked(key));
        }
    }
}

#[cfg(test)]
mod tests;

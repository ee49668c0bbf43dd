//! Keys on their way to another shard and back: some of them, or all.
//!
//! ```text
//!   owner     pack ──────────────────────────────> accept
//!   borrower         unpack, commands, repack ──────^
//! ```
//!
//! Who has read a key, to be told when it changes, travels with it (see `tracking`).
//!
//! The running snapshot has a key before it leaves; when all keys leave, it goes with them.
//!
//! Lending is no change, so those who watch a key must not see it. What happens to the key at the
//! borrower they must see: there a tracker watches in their place, and the parcel brings back what it saw.

use super::keyspace::{Coming, Keys, Keyspace, Table};
use super::snapshot::{Holding, Saving};
use super::tracking::{ReadKeys, Readings};
use super::watch::Watches;
use super::{Channels, Shard};
use crate::data::entry::Entry;

/// Keys of one shard in the hands of another.
#[derive(Default)]
pub struct Parcel {
    pub keys: Vec<Box<[u8]>>,
    /// The entries of these keys with their databases.
    entries: Vec<(usize, Entry)>,
    tracked: Vec<Tracked>,
    /// Who has read these keys.
    readers: Vec<Readings>,
}

/// A key that is watched at its owner.
struct Tracked {
    db: usize,
    key: Box<[u8]>,
    /// Who watches it at the borrower.
    tracker: u64,
    changed: bool,
}

/// All that a shard owns, in the hands of another.
pub struct Everything {
    tables: Tables,
    channels: Channels,
}

impl Shard {
    /// Gives all keys and channels away. Until they are back no command may run here.
    pub fn lend_all(&mut self) -> Everything {
        let channels = self.keyspace.channels.lend();
        Everything { tables: self.keyspace.lend_all(), channels }
    }

    /// Has commands run on what another shard owns instead of the own, or again on the own.
    pub fn exchange(&mut self, everything: &mut Everything) {
        self.keyspace.exchange(&mut everything.tables);
        std::mem::swap(&mut self.keyspace.channels, &mut everything.channels);
    }

    /// All is back; what was published meanwhile stands in the outbox.
    pub fn accept_all(&mut self, everything: Everything) {
        self.keyspace.accept_all(everything.tables);
        self.keyspace.channels.accept(everything.channels);
    }
}

/// All keys of one shard, with those who watch them.
pub(super) struct Tables {
    dbs: Vec<Table>,
    hasher: ahash::RandomState,
    watches: Option<Box<Watches>>,
    read: ReadKeys,
    active_expire: bool,
    parity: bool,
    saving: Option<Box<Saving>>,
}

impl Parcel {
    pub fn new(keys: Vec<Box<[u8]>>) -> Parcel {
        Parcel { keys, ..Parcel::default() }
    }
}

impl Keyspace {
    /// At the owner: the entries leave.
    pub fn pack(&mut self, parcel: &mut Parcel, now: i64) {
        self.take_out(parcel, now);
        if self.watches_any() {
            for db in 0..self.dbs.len() {
                let watched = parcel.keys.iter().filter(|key| self.is_watched(db, key));
                parcel.tracked.extend(watched.map(|key| Tracked {
                    db,
                    key: key.clone(),
                    tracker: 0,
                    changed: false,
                }));
            }
        }
    }

    /// At the borrower: the entries are as if they were its own, until [`Keyspace::repack`].
    pub fn unpack(&mut self, parcel: &mut Parcel, now: i64) {
        self.put_in(parcel, now);
        for tracked in &mut parcel.tracked {
            self.trackers += 1;
            // Clients' ids begin at the other end.
            tracked.tracker = u64::MAX - self.trackers;
            let watches = self.watches.get_or_insert_default();
            watches.add(tracked.tracker, tracked.db, &tracked.key);
        }
    }

    /// At the borrower: what has become of the entries is ready to go back, or to be unpacked again.
    pub fn repack(&mut self, parcel: &mut Parcel, now: i64) {
        for tracked in &mut parcel.tracked {
            tracked.changed |= self.unwatch(tracked.tracker, now);
        }
        self.take_out(parcel, now);
    }

    /// At the owner: the entries are back.
    pub fn accept(&mut self, parcel: &mut Parcel, now: i64) {
        self.put_in(parcel, now);
        if let Some(watches) = &mut self.watches {
            let changed = parcel.tracked.iter().filter(|tracked| tracked.changed);
            changed.for_each(|tracked| watches.touch(tracked.db, &tracked.key));
        }
    }

    fn take_out(&mut self, parcel: &mut Parcel, now: i64) {
        for db in 0..self.dbs.len() {
            let mut own = self.keys(db, now, false);
            if !own.is_empty() {
                let lent = parcel.keys.iter().filter_map(|key| Some((db, own.lend(key)?)));
                parcel.entries.extend(lent);
            }
        }
        self.pack_readers(&parcel.keys, &mut parcel.readers);
    }

    fn put_in(&mut self, parcel: &mut Parcel, now: i64) {
        self.unpack_readers(&mut parcel.readers);
        for (db, entry) in parcel.entries.drain(..) {
            self.keys(db, now, false).take_back(entry);
        }
    }

    pub(super) fn lend_all(&mut self) -> Tables {
        let empty = |_| Table::with_hasher(self.hasher.clone());
        let mut tables = Tables {
            dbs: (0..self.dbs.len()).map(empty).collect(),
            hasher: self.hasher.clone(),
            watches: None,
            read: ReadKeys::new(&self.hasher),
            active_expire: false,
            parity: self.parity,
            saving: None,
        };
        self.swap_parts(&mut tables);
        self.holding = Holding::Nothing;
        tables
    }

    pub(super) fn exchange(&mut self, tables: &mut Tables) {
        self.swap_parts(tables);
        self.holding = match self.holding {
            Holding::Own => Holding::Foreign,
            Holding::Foreign | Holding::Nothing => Holding::Own,
        };
        (0..self.dbs.len()).for_each(|db| self.publish(db));
    }

    pub(super) fn accept_all(&mut self, mut tables: Tables) {
        self.exchange(&mut tables);
        self.tables_are_back();
        (0..self.dbs.len()).for_each(|db| self.changed_all(db));
    }

    fn swap_parts(&mut self, tables: &mut Tables) {
        std::mem::swap(&mut self.dbs, &mut tables.dbs);
        std::mem::swap(&mut self.hasher, &mut tables.hasher);
        std::mem::swap(&mut self.watches, &mut tables.watches);
        self.swap_read(&mut tables.read);
        std::mem::swap(&mut self.active_expire, &mut tables.active_expire);
        std::mem::swap(&mut self.parity, &mut tables.parity);
        std::mem::swap(&mut self.saving, &mut tables.saving);
    }
}

impl Keys<'_> {
    /// Takes an entry out that will come back by [`Keys::take_back`], also one whose time is over:
    /// nobody takes it for a change.
    pub fn lend(&mut self, key: &[u8]) -> Option<Entry> {
        let mut entry = self.pull_any(key)?;
        if let Some(saving) = &mut self.space.saving {
            saving.save(self.db, &mut entry);
        }
        Some(entry)
    }

    /// Puts an entry back that was lent.
    pub fn take_back(&mut self, entry: Entry) {
        self.put(entry, Coming::Back);
    }
}

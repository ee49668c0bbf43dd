//! The databases of one shard: tables of entries, lazy expiry, access statistics.
//!
//! ```text
//!   Keyspace ── dbs[0..16]: Table<Entry>, all with one hasher ── Keys: one database, one command
//!            └─ graveyard: what is on its way out (free.rs)
//! ```
//!
//! Invariants: an entry is marked in its table exactly while it has an expiry, and marked in part
//! while only parts of its value may have one; `stats.per_db` has the lengths of the tables at the
//! end of every command; the snapshot bit of what comes in is `parity`, and nothing changes or goes
//! before `saving` was asked (`snapshot`). An entry is expired from the first millisecond *after*
//! its time on, and then no command sees it.

use super::access::Access;
use super::channels::Channels;
use super::events::{Event, raise_expired};
use super::free::Graveyard;
use super::hot_keys::HotKeys;
use super::record::Recorder;
use super::snapshot::{Holding, Saving};
use super::tracking::Tracking;
use super::waited::Waited;
use super::watch::Watches;
use crate::clock;
use crate::config::EventClass;
use crate::data::entry::Entry;
use crate::data::table;
use crate::metrics::ShardStats;
use crate::resp::Args;
use crate::session::ClientRef;
use smallvec::SmallVec;
use std::sync::Arc;

/// Keys of one command that are looked up in one go: their cache misses overlap.
const GROUP: usize = 16;

pub(super) type Table = table::Table<Entry, ahash::RandomState>;
type Occupied<'t> = table::Occupied<'t, Entry, ahash::RandomState>;

/// What becomes of a key's time to live when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Clear,
    Keep,
    /// Milliseconds since the epoch.
    At(i64),
}

/// A key's address and length with its hash. The address is a number, only compared.
type Memo = (usize, usize, u64);

/// No key is at address 0.
const NO_MEMO: Memo = (0, 0, 0);

/// The hash of a key by this hasher.
#[inline]
pub(super) fn hash_of(hasher: &ahash::RandomState, key: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// All databases of one shard.
pub struct Keyspace {
    pub(super) dbs: Vec<Table>,
    pub(super) graveyard: Graveyard,
    pub(super) hasher: ahash::RandomState,
    pub(super) random: fastrand::Rng,
    memo: Memo,
    pub access: Access,
    /// Small integers count as shared, as those are in Redis unless it evicts by use.
    pub shares_integers: bool,
    /// Whether keys that have expired stay, out of sight (`CLIENT PAUSE`).
    pub keeps_expired: bool,
    /// Whether keys are expired without being asked for (`DEBUG SET-ACTIVE-EXPIRE`).
    pub active_expire: bool,
    pub(super) stats: Arc<ShardStats>,
    /// Nothing while no key is watched.
    pub(super) watches: Option<Box<Watches>>,
    /// Nothing while no client tracks keys.
    pub(super) tracking: Option<Box<Tracking>>,
    /// Nothing while nobody wants to know which keys are used most.
    pub hot_keys: Option<Box<HotKeys>>,
    /// Nothing while nobody waits for a key.
    pub waited: Option<Box<Waited>>,
    /// Trackers that have watched borrowed keys so far.
    pub(super) trackers: u64,
    /// Who listens to this shard's channels, and what commands and events have published.
    pub channels: Channels,
    /// Whether any keyspace event is wanted.
    pub(super) notifies: bool,
    pub recorder: Recorder,
    /// The snapshot bit of entries that come in.
    pub(super) parity: bool,
    /// Nothing while no snapshot runs.
    pub(super) saving: Option<Box<Saving>>,
    pub(super) holding: Holding,
    /// A snapshot is to be given up when the tables are back.
    pub(super) aborts: bool,
}

impl Keyspace {
    pub fn new(seed: u64, access: Access, stats: Arc<ShardStats>) -> Keyspace {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 7);
        let empty = |_| Table::with_hasher(hasher.clone());
        let dbs = (0..stats.per_db.len()).map(empty).collect();
        Keyspace {
            dbs,
            graveyard: Graveyard::new(stats.clone()),
            hasher,
            random: fastrand::Rng::with_seed(seed.rotate_left(17)),
            memo: NO_MEMO,
            access,
            shares_integers: true,
            keeps_expired: false,
            active_expire: true,
            stats,
            watches: None,
            tracking: None,
            hot_keys: None,
            waited: None,
            trackers: 0,
            channels: Channels::default(),
            notifies: false,
            recorder: Recorder::default(),
            parity: false,
            saving: None,
            holding: Holding::Own,
            aborts: false,
        }
    }

    /// The hash of a key, the same in all databases.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_of(&self.hasher, key)
    }

    /// Starts loading what a lookup of a key with this hash reads first.
    #[inline]
    pub fn prefetch_bucket(&self, db: usize, hash: u64) {
        self.dbs[db].prefetch_bucket(hash);
    }

    /// Starts loading the entry itself; pays when its bucket was prefetched some time before.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, hash: u64) {
        self.dbs[db].prefetch_entry(hash);
    }

    /// Saves the next command from hashing this very argument again.
    ///
    /// `key` must be the slice that the command will see, and stay as it is until then.
    #[inline]
    pub fn remember(&mut self, key: &[u8], hash: u64) {
        debug_assert_eq!(hash, self.hash(key), "another key's hash is remembered");
        self.memo = (key.as_ptr().addr(), key.len(), hash);
    }

    /// The keys of one database as one command sees them.
    #[inline]
    pub fn keys(&mut self, db: usize, now: i64, touch: bool) -> Keys<'_> {
        let memo = std::mem::replace(&mut self.memo, NO_MEMO);
        Keys { space: self, memo, db, now, touch, looked: false }
    }

    /// Bytes of the tables of all databases, without their entries.
    pub fn table_memory(&self) -> usize {
        let flushed = self.saving.as_ref().map_or(0, |saving| saving.table_memory());
        let own = self.dbs.iter().map(Table::memory).sum::<usize>();
        own + flushed + self.graveyard.table_memory()
    }

    /// Shows how big the tables are.
    pub fn publish_memory(&self) {
        for (table, stats) in self.dbs.iter().zip(&self.stats.per_db) {
            stats.table_bytes.set(table.memory() as u64);
        }
    }

    /// Much has changed in a database: whoever waits there is to look.
    pub(super) fn changed_all(&mut self, db: usize) {
        if let Some(waited) = &mut self.waited {
            waited.changed_all(db);
        }
    }

    pub(super) fn publish(&self, db: usize) {
        let (table, stats) = (&self.dbs[db], &self.stats.per_db[db]);
        stats.keys.set(table.len() as u64);
        stats.expires.set((table.marked_len() - table.marked_in_part_len()) as u64);
    }
}

/// One database at one instant, in the hands of one command.
pub struct Keys<'a> {
    pub(super) space: &'a mut Keyspace,
    memo: Memo,
    pub(super) db: usize,
    pub(super) now: i64,
    /// Whether reading a key counts as using it (`CLIENT NO-TOUCH`).
    touch: bool,
    /// A watched key may have been in hand, to be changed in place.
    pub(super) looked: bool,
}

/// What looking for a key leaves behind.
#[derive(Clone, Copy)]
struct Lookup {
    /// The use is recorded in the entry.
    touch: bool,
    /// A hit or a miss is counted.
    count: bool,
    /// A miss that is counted is also an event.
    tell: bool,
}

/// How an entry gets into its table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    New,
    /// It was lent, and has been there all the time.
    Back,
}

impl Keys<'_> {
    pub fn now(&self) -> i64 {
        self.now
    }

    pub fn db_index(&self) -> usize {
        self.db
    }

    /// How many databases there are.
    pub fn db_count(&self) -> usize {
        self.space.dbs.len()
    }

    /// How this shard hashes.
    pub fn hasher(&self) -> &ahash::RandomState {
        &self.space.hasher
    }

    /// The same view of another database.
    pub fn in_db(&mut self, db: usize) -> Keys<'_> {
        Keys {
            space: self.space,
            memo: self.memo,
            db,
            now: self.now,
            touch: self.touch,
            looked: self.looked,
        }
    }

    /// For a command that is about to look up one key after the other, of which this is the `n`-th
    /// look: starts loading what the next [`GROUP`] looks will read. Their keys are every `step`-th
    /// of `keys`.
    #[inline]
    pub fn look_ahead(&self, keys: &Args, n: usize, step: usize) {
        if n.is_multiple_of(GROUP) && keys.len() > (n + 1) * step {
            self.prefetch_group(keys.from(n * step), step);
        }
    }

    fn prefetch_group(&self, keys: Args, step: usize) {
        let group = keys.iter().step_by(step).take(GROUP);
        let hashes: SmallVec<[u64; GROUP]> = group.map(|key| self.space.hash(key)).collect();
        hashes.iter().for_each(|&hash| self.space.prefetch_bucket(self.db, hash));
        hashes.iter().for_each(|&hash| self.space.prefetch_entry(self.db, hash));
    }

    /// Keys in this database, those that have expired but not yet gone among them.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of the keys have an expiry, for themselves or for parts of their values.
    pub fn expiring_len(&self) -> usize {
        self.table().marked_len()
    }

    /// The entry of `key` for a command that reads its value: counts a hit or a miss, marks the use.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Option<&Entry> {
        let lookup = Lookup { touch: self.touch, count: true, tell: true };
        self.live(key, lookup).map(|entry| &*entry)
    }

    /// As [`Keys::get`], for a command that reads something else than the value: TTL, TYPE, OBJECT.
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        self.live(key, Lookup { touch: false, count: true, tell: true }).map(|entry| &*entry)
    }

    /// As [`Keys::inspect`], for OBJECT and its like: a miss is no event.
    pub fn inspect_quietly(&mut self, key: &[u8]) -> Option<&Entry> {
        self.live(key, Lookup { touch: false, count: true, tell: false }).map(|entry| &*entry)
    }

    /// Marks the use of `key`, also for a client that has chosen otherwise; `false` if there is none.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        self.live(key, Lookup { touch: true, count: true, tell: true }).is_some()
    }

    /// The entry of `key` without any trace of having looked.
    #[inline]
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        self.live(key, Lookup { touch: false, count: false, tell: false }).map(|entry| &*entry)
    }

    /// The entry of `key` for a command that changes its value in place.
    ///
    /// Its expiry is changed by [`Keys::set_expire`] only, which keeps the table informed.
    #[inline]
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.look(key);
        self.save_first(key);
        let lookup = Lookup { touch: self.touch, count: false, tell: false };
        self.live(key, lookup)
    }

    /// As [`Keys::get_mut`], for a command that changes in place what those who watch the key do not
    /// take for a change: the groups of a stream.
    pub fn get_mut_unwatched(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.save_first(key);
        self.live(key, Lookup { touch: self.touch, count: false, tell: false })
    }

    /// As [`Keys::get_mut_unwatched`], for a command that also reads.
    #[inline]
    pub fn read_mut_unwatched(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.save_first(key);
        self.live(key, Lookup { touch: self.touch, count: true, tell: true })
    }

    /// As [`Keys::get_mut`], but makes an empty string without expiry where there is nothing;
    /// and whether it was made.
    pub fn get_or_make(&mut self, key: &[u8]) -> (&mut Entry, bool) {
        let made = !self.contains(key);
        if made {
            self.insert(Entry::string(key, b"", None));
        }
        self.look(key);
        self.save_first(key);
        let lookup = Lookup { touch: self.touch && !made, count: false, tell: false };
        (self.live(key, lookup).expect("it was found or made just now"), made)
    }

    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The entry of `key` even if it has expired, for those who look under the surface.
    pub fn find_any(&self, key: &[u8]) -> Option<&Entry> {
        self.table().get(self.hash(key), key)
    }

    /// Makes `key` hold the string `value`, whatever it held before.
    pub fn set_string(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.touch_watched(key);
        self.ready(key);
        let (hash, now) = (self.hash(key), self.now);
        let Keyspace {
            dbs, access, random, graveyard, channels, notifies, recorder, saving, ..
        } = &mut *self.space;
        let Some(mut entry) = dbs[self.db].get_mut(hash, key) else {
            let expire_at = if let Expiry::At(at) = expiry { Some(at) } else { None };
            let mut entry = Entry::string(key, value, expire_at);
            entry.set_access(access.fresh(now));
            self.add(hash, entry);
            self.space.publish(self.db);
            return self.notify(EventClass::New, "new", key);
        };
        let old = entry.expire_at();
        let expired = entry.is_expired(now);
        let new = match expiry {
            Expiry::Clear => None,
            Expiry::Keep => old.filter(|_| !expired),
            Expiry::At(at) => Some(at),
        };
        if expired && *notifies {
            raise_expired(channels, (self.db, hash), &entry, now);
        }
        if expired && recorder.is_on() {
            recorder.expired(self.db, key);
        }
        if let Some(saving) = saving {
            saving.give_up(self.db, &mut entry);
        }
        graveyard.bury_value(&mut entry);
        entry.assign(value, new);
        if expired {
            entry.set_access(access.fresh(now));
        } else if self.touch || *access == Access::Lru {
            // Under LRU a new value counts as a use whoever sets it.
            access.record(&mut entry, now, random);
        }
        drop(entry);
        if expired {
            self.space.stats.expired_keys.add(1);
            self.notify(EventClass::New, "new", key);
        }
        if old.is_some() != new.is_some() {
            self.space.publish(self.db);
        }
    }

    /// Puts a new entry in, in place of the one with the same key if there is one.
    pub fn insert(&mut self, mut entry: Entry) {
        self.touch_watched(entry.key());
        entry.set_access(self.space.access.fresh(self.now));
        self.put(entry, Coming::New);
    }

    /// As [`Keys::insert`], for an entry that takes nobody's place: what its key held before is
    /// taken out first.
    pub fn insert_anew(&mut self, entry: Entry) {
        self.remove(entry.key());
        self.insert(entry);
    }

    /// As [`Keys::insert_anew`], for an entry that keeps its history of access: RENAME, MOVE.
    pub fn adopt(&mut self, entry: Entry) {
        self.remove(entry.key());
        self.touch_watched(entry.key());
        self.put(entry, Coming::New);
    }

    /// Says that something may have come, or gone, that clients wait for at `key`: what puts a
    /// whole value in says so by itself.
    #[inline]
    pub fn ready(&mut self, key: &[u8]) {
        if let Some(waited) = &mut self.space.waited {
            waited.changed(self.db, key);
        }
    }

    /// Sets or takes away the time to live; `false` when there is no such key.
    pub fn set_expire(&mut self, key: &[u8], at: Option<i64>) -> bool {
        self.save_first(key);
        let Some(mut entry) = self.find(key, Lookup { touch: false, count: false, tell: false })
        else {
            return false;
        };
        entry.set_expire(at);
        drop(entry);
        self.touch_watched(key);
        self.space.publish(self.db);
        true
    }

    /// To be called after parts of a value may have got expiries or lost the last one.
    pub fn note_parts(&mut self, key: &[u8]) {
        if let Some(mut entry) = self.find(key, Lookup { touch: false, count: false, tell: false })
        {
            entry.note_parts();
        }
    }

    /// Takes out parts of a value that have expired, up to `max`; whether some are left.
    pub(super) fn purge_parts(&mut self, key: &[u8], max: usize) -> bool {
        self.save_first(key);
        let (now, is_recorded) = (self.now, self.space.recorder.is_on());
        let Some(mut entry) = self.find(key, Lookup { touch: false, count: false, tell: false })
        else {
            return false;
        };
        if !entry.has_expired_parts(now) {
            return false;
        }
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut name = |part: &[u8]| {
            if is_recorded {
                names.push(part.into());
            }
        };
        let gone = entry.object_mut().map_or(0, |object| object.purge_parts(now, max, &mut name));
        entry.note_parts();
        let more = entry.has_expired_parts(now);
        drop(entry);
        if is_recorded {
            self.space.recorder.expired_fields(self.db, key, &names);
        }
        self.space.stats.expired_fields.add(gone as u64);
        self.touch_watched(key);
        self.notify(EventClass::Hash, "hexpired", key);
        more
    }

    /// Records that the command changed `n` things; every change is counted, none twice.
    pub fn changed(&mut self, n: u64) {
        self.space.stats.changes.add(n);
        if self.looked
            && n > 0
            && let Some(watches) = &mut self.space.watches
        {
            watches.touch_looked_at();
        }
        if n > 0 {
            self.touch_looked_at();
        }
    }

    /// Shows one bucket of entries, expired ones too, and gives the next position, 0 after the last.
    pub fn scan<'k>(&'k self, position: u64, each: &mut dyn FnMut(&'k Entry)) -> u64 {
        self.table().scan(position, each)
    }

    pub fn is_expired(&self, entry: &Entry) -> bool {
        entry.is_expired(self.now)
    }

    /// Any key, all being equally likely; expired ones that turn up are removed.
    pub fn random_key(&mut self, random: &mut fastrand::Rng) -> Option<Box<[u8]>> {
        loop {
            let entry = self.table().random(&mut || random.u64(..))?;
            let key: Box<[u8]> = entry.key().into();
            if !self.is_expired(entry) {
                return Some(key);
            }
            self.remove(&key);
        }
    }

    /// Bytes of the table that fall to one of its entries.
    pub fn table_share(&self) -> usize {
        self.table().memory().checked_div(self.len()).unwrap_or(0)
    }

    /// Empties a database in no time: the memory is given back later, see
    /// [`Keyspace::free_step`]. Gives how many keys there were.
    pub fn flush(&mut self, db: usize) -> usize {
        if self.space.watches.is_some() {
            self.touch_present(db, db);
        }
        self.touch_all();
        let fresh = Table::with_hasher(self.space.hasher.clone());
        let old = std::mem::replace(&mut self.space.dbs[db], fresh);
        let keys = old.len();
        self.space.throw_away_table(db, old);
        self.space.changed_all(db);
        self.space.publish(db);
        keys
    }

    /// Each of two databases gets the keys of the other.
    pub fn swap(&mut self, a: usize, b: usize) {
        if self.space.watches.is_some() && a != b {
            self.touch_present(a, b);
            self.touch_present(b, a);
        }
        if a != b {
            self.touch_all();
        }
        self.space.dbs.swap(a, b);
        if let Some(saving) = &mut self.space.saving {
            saving.swap(a, b);
        }
        self.space.changed_all(a);
        self.space.changed_all(b);
        self.space.publish(a);
        self.space.publish(b);
    }

    pub fn shares_integers(&self) -> bool {
        self.space.shares_integers
    }

    pub fn hot_keys(&mut self) -> &mut Option<Box<HotKeys>> {
        &mut self.space.hot_keys
    }

    pub fn set_active_expire(&mut self, on: bool) {
        self.space.active_expire = on;
    }

    #[inline]
    fn table(&self) -> &Table {
        &self.space.dbs[self.db]
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        match self.memo {
            (at, len, hash) if at == key.as_ptr().addr() && len == key.len() => hash,
            _ => self.space.hash(key),
        }
    }

    #[inline]
    fn live(&mut self, key: &[u8], lookup: Lookup) -> Option<&mut Entry> {
        self.find(key, lookup).map(Occupied::into_mut)
    }

    /// Where `key` is, unless it has expired: then it goes.
    #[inline]
    fn find(&mut self, key: &[u8], lookup: Lookup) -> Option<Occupied<'_>> {
        let (hash, db, now) = (self.hash(key), self.db, self.now);
        let Keyspace {
            dbs,
            access,
            random,
            stats,
            watches,
            tracking,
            waited,
            graveyard,
            channels,
            notifies,
            recorder,
            saving,
            keeps_expired,
            ..
        } = &mut *self.space;
        let mut found = dbs[db].get_mut(hash, key);
        if let Some(entry) = found.take_if(|entry| entry.is_expired(now))
            && !*keeps_expired
        {
            let mut gone = entry.remove();
            stats.per_db[db].keys.sub(1);
            stats.per_db[db].expires.sub(u64::from(gone.expire_at().is_some()));
            if *notifies {
                raise_expired(channels, (db, hash), &gone, now);
            }
            if recorder.is_on() {
                recorder.expired(db, key);
            }
            if let Some(saving) = saving {
                saving.give_up(db, &mut gone);
            }
            graveyard.bury(gone);
            stats.expired_keys.add(1);
            if let Some(watches) = watches {
                watches.touch(db, key);
            }
            if let Some(tracking) = tracking {
                tracking.touch(hash, key, ClientRef::NOBODY);
            }
            if let Some(waited) = waited {
                waited.changed(db, key);
            }
        }
        if let Some(entry) = &mut found
            && lookup.touch
        {
            access.record(entry, now, random);
        }
        if lookup.count {
            match found.is_some() {
                true => stats.keyspace_hits.add(1),
                false => {
                    stats.keyspace_misses.add(1);
                    if *notifies && lookup.tell {
                        let (class, name) = (EventClass::KeyMiss, "keymiss");
                        channels.raise(Event { class, name, db, key, hash });
                    }
                }
            }
        }
        found
    }

    pub(super) fn put(&mut self, mut entry: Entry, coming: Coming) {
        self.ready(entry.key());
        let hash = self.hash(entry.key());
        // For the event, which comes when the entry is in its place.
        let key = (self.space.notifies && coming == Coming::New).then(|| entry.key().to_vec());
        let old = match self.space.dbs[self.db].get_mut(hash, entry.key()) {
            Some(mut place) => {
                entry.set_snapshot_bit(self.space.parity);
                Ok(std::mem::replace(&mut *place, entry))
            }
            None => Err(entry),
        };
        let mut new = true;
        match old {
            Ok(old) => {
                new = old.is_expired(self.now);
                if new {
                    self.space.stats.expired_keys.add(1);
                    if self.space.notifies {
                        raise_expired(&mut self.space.channels, (self.db, hash), &old, self.now);
                    }
                    if self.space.recorder.is_on() {
                        self.space.recorder.expired(self.db, old.key());
                    }
                }
                self.space.throw_away(self.db, old);
            }
            Err(entry) => self.add(hash, entry),
        }
        self.space.publish(self.db);
        if let Some(key) = key.filter(|_| new) {
            self.notify(EventClass::New, "new", &key);
        }
    }

    /// Puts an entry in whose key is known to be absent; the longest of those insertions that
    /// make the table grow is recorded.
    pub(super) fn add(&mut self, hash: u64, mut entry: Entry) {
        entry.set_snapshot_bit(self.space.parity);
        let table = &mut self.space.dbs[self.db];
        if !table.next_insert_splits() {
            return table.insert(hash, entry);
        }
        let start = clock::monotonic();
        table.insert(hash, entry);
        let taken = clock::monotonic().duration_since(start);
        self.space.stats.insert_ns_max.raise(taken.as_nanos() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace() -> Keyspace {
        Keyspace::new(1, Access::Lru, Arc::new(ShardStats::new(1, 16)))
    }

    #[test]
    fn counts_follow_every_change_of_an_expiry() {
        let mut space = keyspace();
        let stats = space.stats.clone();
        let counts = || (stats.per_db[2].keys.get(), stats.per_db[2].expires.get());
        let mut keys = space.keys(2, 1000, true);
        keys.set_string(b"a", b"1", Expiry::At(2000));
        keys.set_string(b"b", b"1", Expiry::Clear);
        assert_eq!(counts(), (2, 1));
        keys.set_string(b"a", b"2", Expiry::Keep);
        assert_eq!(keys.peek(b"a").unwrap().expire_at(), Some(2000));
        keys.set_string(b"a", b"3", Expiry::Clear);
        assert_eq!(counts(), (2, 0));
        keys.set_expire(b"b", Some(1500));
        keys.insert(Entry::string(b"a", b"4", Some(1500)));
        assert_eq!(counts(), (2, 2));
        let mut keys = space.keys(2, 1501, true);
        assert!(!keys.set_expire(b"b", None));
        assert_eq!(counts(), (1, 1));
        // A value written over one that has expired has nothing of it.
        keys.set_string(b"a", b"5", Expiry::Keep);
        assert_eq!(keys.peek(b"a").unwrap().expire_at(), None);
        assert_eq!((counts(), stats.expired_keys.get()), ((1, 0), 2));
    }

    #[test]
    fn a_remembered_hash_serves_one_command() {
        let mut space = keyspace();
        let key = b"key".to_vec();
        let hash = space.hash(&key);
        space.remember(&key, hash);
        let mut keys = space.keys(0, 0, true);
        assert_eq!((keys.memo.2, keys.hash(&key)), (hash, hash));
        assert_ne!(keys.hash(b"kez"), hash);
        keys.set_string(&key, b"v", Expiry::Clear);
        assert!(space.keys(0, 0, true).memo == NO_MEMO);
        assert!(space.keys(0, 0, true).contains(&key));
    }

    #[test]
    fn the_longest_growing_insert_is_recorded() {
        let mut space = keyspace();
        let mut keys = space.keys(0, 0, true);
        for n in 0..5 {
            keys.set_string(&[n], b"v", Expiry::Clear);
        }
        assert_eq!(keys.space.stats.insert_ns_max.get(), 0, "one bucket holds them");
        for n in 5..100 {
            keys.set_string(&[n], b"v", Expiry::Clear);
        }
        assert!(keys.space.stats.insert_ns_max.get() > 0);
    }

    #[test]
    fn hits_and_misses_are_counted_for_readers_only() {
        let mut space = keyspace();
        let mut keys = space.keys(0, 0, true);
        keys.set_string(b"a", b"v", Expiry::Clear);
        keys.get(b"a");
        keys.inspect(b"a");
        keys.get(b"none");
        keys.peek(b"a");
        keys.get_mut(b"none");
        assert!(keys.get_or_make(b"new").1 && !keys.get_or_make(b"new").1);
        let stats = &keys.space.stats;
        assert_eq!((stats.keyspace_hits.get(), stats.keyspace_misses.get()), (2, 1));
    }
}

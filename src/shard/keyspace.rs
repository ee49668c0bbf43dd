//! The keys of one shard: 16 databases, lazy expiry, access statistics.

use crate::data::entry::Entry;
use crate::data::table::Table;
use crate::metrics::ShardStats;
use std::sync::Arc;

/// What the access field of an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The time of the last access: seconds, 24 bits.
    Lru,
    /// A logarithmic counter (8 bits) and the minute of its last decay (16 bits).
    Lfu { log_factor: u32, decay_minutes: u32 },
}

/// What becomes of a key's time to live when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Clear,
    Keep,
    /// Milliseconds since the epoch.
    At(i64),
}

/// All databases of one shard.
pub struct Keyspace {
    dbs: Vec<Table>,
    hasher: ahash::RandomState,
    pub access: Access,
    stats: Arc<ShardStats>,
}

impl Keyspace {
    pub fn new(seed: u64, access: Access, stats: Arc<ShardStats>) -> Keyspace {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 7);
        let dbs = (0..stats.per_db.len()).map(|_| Table::default()).collect();
        Keyspace { dbs, hasher, access, stats }
    }

    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Starts loading what a lookup of a key with this hash reads first.
    pub fn prefetch_bucket(&self, db: usize, hash: u64) {
        self.dbs[db].prefetch_bucket(hash);
    }

    /// Starts loading the entry itself; pays when its bucket was prefetched some time before.
    pub fn prefetch_entry(&self, db: usize, hash: u64) {
        self.dbs[db].prefetch_entry(hash);
    }

    /// The keys of one database as one command sees them.
    pub fn keys(&mut self, db: usize, now: i64, touch: bool) -> Keys<'_> {
        Keys { space: self, db, now, touch }
    }
}

/// One database at one instant, in the hands of one command.
pub struct Keys<'a> {
    space: &'a mut Keyspace,
    db: usize,
    now: i64,
    /// Whether reading a key counts as using it (`CLIENT NO-TOUCH`).
    touch: bool,
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

    /// The same view of another database.
    pub fn in_db(&mut self, db: usize) -> Keys<'_> {
        Keys { space: self.space, db, now: self.now, touch: self.touch }
    }

    /// Keys in this database, those that have expired but not yet gone among them.
    pub fn len(&self) -> usize {
        self.space.dbs[self.db].len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of `key` for a command that reads its value: counts a hit or a miss, marks the use.
    pub fn get(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.space.hash(key);
        if self.gone(hash, key) {
            self.space.stats.keyspace_misses.add(1);
            return None;
        }
        self.space.stats.keyspace_hits.add(1);
        let (access, now, touch) = (self.space.access, self.now, self.touch);
        let entry = self.space.dbs[self.db].get_mut(hash, key)?;
        if touch {
            use_entry(entry, access, now);
        }
        Some(entry)
    }

    /// The entry of `key` without any trace of having looked.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.space.hash(key);
        if self.gone(hash, key) {
            return None;
        }
        self.space.dbs[self.db].get(hash, key)
    }

    /// The entry of `key` for a command that changes its value in place.
    ///
    /// Its expiry is changed by [`Keys::set_expire`] only, which keeps the table informed.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let hash = self.space.hash(key);
        if self.gone(hash, key) {
            return None;
        }
        let (access, now, touch) = (self.space.access, self.now, self.touch);
        let entry = self.space.dbs[self.db].get_mut(hash, key)?;
        if touch {
            use_entry(entry, access, now);
        }
        Some(entry)
    }

    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// Makes `key` hold the string `value`, whatever it held before.
    pub fn set_string(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        todo_table(self, key, value, expiry)
    }

    /// Puts an entry in, in place of the one with the same key if there is one.
    pub fn insert(&mut self, entry: Entry) {
        let hash = self.space.hash(entry.key());
        self.space.dbs[self.db].insert(hash, entry);
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.space.hash(key);
        match self.gone(hash, key) {
            true => None,
            false => self.space.dbs[self.db].remove(hash, key),
        }
    }

    /// Sets or takes away the time to live; `false` when there is no such key.
    pub fn set_expire(&mut self, key: &[u8], at: Option<i64>) -> bool {
        let hash = self.space.hash(key);
        if self.gone(hash, key) {
            return false;
        }
        let Some(entry) = self.space.dbs[self.db].get_mut(hash, key) else { return false };
        entry.set_expire(at);
        true
    }

    /// Records that the command changed `n` things; every change is counted, none twice.
    pub fn changed(&mut self, n: u64) {
        self.space.stats.changes.add(n);
    }

    /// Whether `key` is absent, removing it when its time has come.
    fn gone(&mut self, hash: u64, key: &[u8]) -> bool {
        let table = &mut self.space.dbs[self.db];
        match table.get(hash, key) {
            None => true,
            Some(entry) => match entry.expire_at() {
                Some(at) if self.now > at => {
                    table.remove(hash, key);
                    self.space.stats.expired_keys.add(1);
                    true
                }
                _ => false,
            },
        }
    }
}

fn todo_table(keys: &mut Keys<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    let hash = keys.space.hash(key);
    let now = keys.now;
    let table = &mut keys.space.dbs[keys.db];
    if let Some(entry) = table.get_mut(hash, key) {
        let old = entry.expire_at().filter(|&at| now <= at);
        entry.set_string(value);
        entry.set_expire(match expiry { Expiry::Clear => None, Expiry::Keep => old, Expiry::At(at) => Some(at) });
    } else {
        table.insert(hash, Entry::string(key, value, match expiry { Expiry::At(at) => Some(at), _ => None }));
    }
}

/// Marks the use of an entry.
fn use_entry(entry: &mut Entry, access: Access, now: i64) {
    if access == Access::Lru {
        entry.set_access((now / 1000) as u32 & 0x00ff_ffff);
    }
}

impl Keys<'_> {
    /// The entry of `key` for a command that changes its value in place, made with an empty string
    /// and no expiry when there is none; and whether it was made.
    pub fn get_or_make(&mut self, key: &[u8]) -> (&mut Entry, bool) {
        let hash = self.space.hash(key);
        let made = self.gone(hash, key);
        if made {
            self.insert(Entry::string(key, b"", None));
        }
        let (access, now, touch) = (self.space.access, self.now, self.touch);
        let entry = self.space.dbs[self.db].get_mut(hash, key);
        let entry = entry.expect("it was found or made just now");
        if touch {
            use_entry(entry, access, now);
        }
        (entry, made)
    }
}

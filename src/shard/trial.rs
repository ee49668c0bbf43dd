//! Running commands that may have to be undone, so that nobody can tell that they ran.
//!
//! ```text
//!   begin ── keep(key), a command that may write to it ── keep, command ──┬─ end
//!                                                                         └─ undo: all is as at `begin`
//! ```
//!
//! Before a command runs that may write to a key, the key's entries are copied, once. To undo is to put the
//! copies back, and to take back what the commands have left for others:
//!
//! | what | how |
//! |---|---|
//! | clients who watch a key | those that were found to see a change only now are clean again |
//! | clients who have read a key | they stand at the key again |
//! | keys that clients wait for, messages, events | what came to the queues since is cut off |
//! | counters | set back |
//! | random numbers | drawn again |
//!
//! What was recorded for the journal is in a unit of its caller's, who drops it. The running snapshot has
//! what it needs: an entry that comes back has been saved before it was changed.
//!
//! A copy must not cost more than the command: an entry that is too big is not kept, and then the
//! command must not run ([`Trial::keep`] says so).
//!
//! Deliberately absent: the time of a key's last use, and who has read what in vain: they stay. Keys whose
//! time was over before must be gone before ([`Shard::settle`]), since that is no effect of the commands.

use super::Shard;
use super::keyspace::{Keys, Keyspace};
use crate::data::Entry;
use crate::data::value::ValueRef;
use crate::metrics::{Counter, ERROR_CODES, ShardStats};
use smallvec::SmallVec;

/// Longest string that is copied, bytes.
const STRING_MAX: usize = 16 << 10;
/// Most elements of a value that is copied, and most bytes.
const ELEMENTS_MAX: usize = 512;
const BYTES_MAX: usize = 16 << 10;
/// Of all copies together, bytes.
const ALL_MAX: usize = 1 << 20;

/// Counters that commands count in, beside their own.
const COUNTERS: usize = 7;

fn counters(stats: &ShardStats) -> [&Counter; COUNTERS] {
    [
        &stats.commands_processed,
        &stats.keyspace_hits,
        &stats.keyspace_misses,
        &stats.expired_keys,
        &stats.expired_fields,
        &stats.error_replies,
        &stats.changes,
    ]
}

/// A key as it was: what it held, by database.
struct Kept {
    key: Box<[u8]>,
    entries: SmallVec<[(usize, Entry); 1]>,
}

/// How many are in the queues of what others are told.
struct Queues {
    ready: usize,
    stale: usize,
    changed: usize,
    outbox: usize,
    foreign: usize,
}

/// What it takes to undo the commands that run.
pub struct Trial {
    kept: Vec<Kept>,
    bytes: usize,
    queues: Queues,
    random: fastrand::Rng,
    counters: [u64; COUNTERS],
    /// By command that has run: its number, and its counters before.
    commands: SmallVec<[(u16, [u64; 3]); 16]>,
    errors: [u64; ERROR_CODES.len() + 1],
    /// Something was recorded before that nobody has asked for yet.
    wrote: bool,
}

impl Shard {
    /// Lets a key go whose time is over, before commands are tried on it.
    pub fn settle(&mut self, db: usize, now: i64, key: &[u8]) {
        self.keyspace.keys(db, now, false).peek(key);
    }

    /// From now on commands may have to be undone.
    pub fn begin_trial(&mut self) -> Trial {
        let Shard { keyspace, stats, random, .. } = self;
        if let Some(watches) = &mut keyspace.watches {
            watches.begin_log();
        }
        let wrote = keyspace.recorder.effects.take_wrote();
        Trial {
            kept: Vec::new(),
            bytes: 0,
            queues: keyspace.queues(),
            random: random.clone(),
            counters: counters(stats).map(Counter::get),
            commands: SmallVec::new(),
            errors: std::array::from_fn(|at| stats.per_error[at].get()),
            wrote,
        }
    }
}

impl Trial {
    /// Keeps what a key holds, for a command that may write to it; `false` when that is too much.
    pub fn keep(&mut self, shard: &mut Shard, key: &[u8]) -> bool {
        if self.kept.iter().any(|kept| *kept.key == *key) {
            return true;
        }
        let hash = shard.keyspace.hash(key);
        let mut entries = SmallVec::new();
        for (db, table) in shard.keyspace.dbs.iter().enumerate().filter(|(_, dbs)| !dbs.is_empty())
        {
            let Some(entry) = table.get(hash, key) else { continue };
            let Some(bytes) = cost(entry) else { return false };
            self.bytes += bytes;
            entries.push((db, entry.clone()));
        }
        self.kept.push(Kept { key: key.into(), entries });
        self.bytes <= ALL_MAX
    }

    /// A command is about to be counted.
    pub fn counts(&mut self, stats: &ShardStats, command: u16) {
        let own = &stats.per_command[usize::from(command)];
        let before = [own.calls.get(), own.rejected.get(), own.failed.get()];
        self.commands.push((command, before));
    }

    /// What was done stays.
    pub fn end(self, shard: &mut Shard) {
        if let Some(watches) = &mut shard.keyspace.watches {
            watches.end_log();
        }
        if self.wrote {
            shard.keyspace.recorder.effects.set_wrote();
        }
    }

    /// Nothing was done.
    pub fn undo(self, shard: &mut Shard, now: i64) {
        let space = &mut shard.keyspace;
        for Kept { key, entries } in self.kept {
            for db in 0..space.dbs.len() {
                if !space.dbs[db].is_empty() {
                    space.keys(db, now, false).replace(&key, None);
                }
            }
            for (db, entry) in entries {
                space.keys(db, now, false).replace(&key, Some(entry));
            }
        }
        if let Some(watches) = &mut space.watches {
            watches.take_back();
        }
        space.cut_off(&self.queues);
        space.recorder.effects.take_wrote();
        if self.wrote {
            space.recorder.effects.set_wrote();
        }
        shard.random = self.random;
        let stats = &shard.stats;
        counters(stats).iter().zip(self.counters).for_each(|(counter, n)| counter.set(n));
        stats.per_error.iter().zip(self.errors).for_each(|(counter, n)| counter.set(n));
        for (command, [calls, rejected, failed]) in self.commands.into_iter().rev() {
            let own = &stats.per_command[usize::from(command)];
            own.calls.set(calls);
            own.rejected.set(rejected);
            own.failed.set(failed);
        }
    }
}

/// Bytes of a copy, if it is not too dear.
fn cost(entry: &Entry) -> Option<usize> {
    match entry.value() {
        ValueRef::Int(_) => Some(8),
        ValueRef::Bytes(bytes) => (bytes.len() <= STRING_MAX).then_some(bytes.len()),
        ValueRef::Object(object) => {
            let few = object.elements() <= ELEMENTS_MAX;
            few.then(|| object.allocated()).filter(|bytes| *bytes <= BYTES_MAX)
        }
    }
}

impl Keyspace {
    /// Whether there is a key in any database whose time is over.
    pub fn has_expired(&self, key: &[u8], now: i64) -> bool {
        let hash = self.hash(key);
        let mut dbs = self.dbs.iter().filter(|table| !table.is_empty());
        dbs.any(|table| table.get(hash, key).is_some_and(|entry| entry.is_expired(now)))
    }

    fn queues(&self) -> Queues {
        let (stale, changed) = self.tracking.as_ref().map_or((0, 0), |tracking| tracking.mail());
        let (outbox, foreign) = self.channels.mail();
        let ready = self.waited.as_ref().map_or(0, |waited| waited.ready_len());
        Queues { ready, stale, changed, outbox, foreign }
    }

    fn cut_off(&mut self, at: &Queues) {
        self.take_back_invalidations(at.stale, at.changed);
        self.channels.take_back(at.outbox, at.foreign);
        if let Some(waited) = &mut self.waited {
            waited.take_back(at.ready);
        }
    }
}

impl Keys<'_> {
    /// Puts something, or nothing, in the place of what is at a key, without its being a change.
    fn replace(&mut self, key: &[u8], entry: Option<Entry>) {
        if let Some(old) = self.pull_any(key) {
            self.space.throw_away(self.db, old);
        }
        if let Some(entry) = entry {
            let hash = self.hash(key);
            self.add(hash, entry);
            self.space.publish(self.db);
        }
    }
}

#[cfg(test)]
mod tests;

//! Snapshots of a shard without a fork: all entries as they are at one instant, the cut, written in steps
//! between commands.
//!
//! ```text
//!   begin: the parity flips ──> all that is there is unsaved
//!     │
//!     ├─ the walk, in steps ──────────── an unsaved entry: written ──────┐
//!     ├─ an unsaved entry is about to change ── written first ───────────┼──> lanes ──> take_output
//!     └─ a big one, or a table, is thrown away ── kept until the walk ───┘
//!        has written it
//! ```
//!
//! - One bit of each entry says whether the snapshot has it: it does if the bit is the keyspace's parity.
//!   What comes into a table gets that bit, so that what is new, or comes back, is not written.
//!   Without a snapshot the bits of all entries in the tables are the parity.
//! - Whoever changes an entry, or takes it out of its table, has [`Saving::save`] called before, and who
//!   throws one away [`Saving::give_up`]. `Keys::get_mut` and its like do so.
//! - The order of the walk is that of SCAN, which meets all that stays, however tables grow and shrink.
//! - A table knows the number that its database had at the cut, since databases can be swapped.
//! - When all tables are lent, the snapshot and what it has written goes with them and comes back with
//!   them. Meanwhile no step is done.
//! - A snapshot that was given up still goes to the end of its walk, writing nothing, for the sake
//!   of the bits. Until then no other can begin.
//!
//! What changes without being saved: the record of uses, which may be younger than the cut.
//!
//! Absent: the head and the end of the file, and the file (`rdb`, `persist`); threads; a look at the
//! clock.

mod lanes;
mod saving;
#[cfg(test)]
mod tests;
mod writing;

use super::keyspace::{Keys, Keyspace, Table};
use saving::Cut;
pub(super) use saving::Saving;

/// Whose tables are in a keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    Own,
    /// None: another shard has the own ones.
    Nothing,
    /// Another shard's, in place of the own ones.
    Foreign,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotStats {
    /// At the cut.
    pub keys: u64,
    /// Keys that are written.
    pub saved: u64,
    /// Keys that are not, because all parts of their values had expired at the cut.
    pub left_out: u64,
    /// Keys that were written, or kept to be written, because they were about to change or to go.
    pub copied: u64,
    /// Written so far.
    pub bytes: u64,
    /// Of these, those that wait to be taken.
    pub pending: usize,
    /// Of the format, which readers have to know.
    pub version: u16,
    /// All is written.
    pub done: bool,
}

impl Keyspace {
    /// Begins a snapshot of what is there now, at `cut`, the time; `false` while another one runs or
    /// is being cleaned up. `with_usage`: how entries were used is written, too.
    pub fn begin_snapshot(&mut self, cut: i64, with_usage: bool) -> bool {
        if self.saving.is_some() || self.holding == Holding::Nothing {
            return false;
        }
        self.parity = !self.parity;
        let cut = Cut { now: cut, access: with_usage.then_some(self.access) };
        self.saving = Some(Box::new(Saving::new(self.parity, cut, &self.dbs)));
        true
    }

    /// Whether long strings of the snapshot that has just begun are compressed; they are if nothing is said.
    pub fn compress_snapshot(&mut self, compress: bool) {
        if let Some(saving) = &mut self.saving {
            saving.lanes.compress(compress);
        }
    }

    /// Whether [`Keyspace::begin_snapshot`] would begin one.
    pub fn can_begin_snapshot(&self) -> bool {
        self.saving.is_none() && self.holding != Holding::Nothing
    }

    /// Saves entries until `time_is_up` or no more is to do; `true` when it was the time, and another
    /// call should follow soon.
    pub fn snapshot_step(&mut self, time_is_up: &mut dyn FnMut() -> bool) -> bool {
        let Keyspace { saving, dbs, graveyard, holding: Holding::Own, .. } = self else {
            return false;
        };
        let Some(running) = saving.as_mut().filter(|saving| !saving.is_done()) else {
            return false;
        };
        while running.advance(dbs, graveyard) {
            if time_is_up() {
                return true;
            }
        }
        if running.aborted {
            *saving = None;
        }
        false
    }

    /// The next bytes, as they come to lie in the file; nothing when all that can be taken was.
    pub fn take_output(&mut self) -> Option<Vec<u8>> {
        self.running_mut()?.lanes.take()
    }

    /// How far the snapshot is; nothing when none runs or the tables are in other hands.
    pub fn snapshot_stats(&self) -> Option<SnapshotStats> {
        let saving = self.saving.as_ref().filter(|saving| !saving.aborted)?;
        (self.holding == Holding::Own).then(|| saving.stats())
    }

    /// Ends a snapshot that is done and whose output was taken.
    pub fn end_snapshot(&mut self) -> Option<SnapshotStats> {
        let stats = self.snapshot_stats().filter(|stats| stats.done && stats.pending == 0)?;
        debug_assert_eq!(stats.saved + stats.left_out, stats.keys, "each key is saved once");
        self.saving = None;
        Some(stats)
    }

    /// Gives a snapshot up, if the tables are in other hands when they are back;
    /// [`Keyspace::snapshot_step`] is to be called until it has nothing to do.
    pub fn abort_snapshot(&mut self) {
        if self.holding == Holding::Nothing {
            self.aborts = true;
        } else if let Some(saving) = &mut self.saving {
            saving.abort(&mut self.graveyard);
            if saving.is_done() {
                self.saving = None;
            }
        }
    }

    fn running_mut(&mut self) -> Option<&mut Saving> {
        let running = self.saving.as_deref_mut().filter(|saving| !saving.aborted)?;
        (self.holding == Holding::Own).then_some(running)
    }

    /// The own tables are here again.
    pub(super) fn tables_are_back(&mut self) {
        if std::mem::take(&mut self.aborts) {
            self.abort_snapshot();
        }
    }
}

impl Keys<'_> {
    /// What is at `key` is about to be changed in place.
    #[inline]
    pub(super) fn save_first(&mut self, key: &[u8]) {
        if self.space.saving.is_some() {
            self.save_present(key);
        }
    }

    #[cold]
    fn save_present(&mut self, key: &[u8]) {
        let (hash, now) = (self.hash(key), self.now);
        let Keyspace { saving, dbs, .. } = &mut *self.space;
        if let Some(saving) = saving
            && let Some(mut entry) = dbs[self.db].get_mut(hash, key)
            && !entry.is_expired(now)
        {
            saving.save(self.db, &mut entry);
        }
    }
}

impl Keyspace {
    /// Has the running snapshot do as little as it can in a step, for tests.
    pub fn save_in_small_pieces(&mut self) {
        self.snapshot_sizes([1, 1, 16, 2]);
    }

    /// Has the running snapshot work in smaller pieces: of so many buckets, of so many bytes, longer
    /// strings not compressed, and values with more elements kept when they go.
    pub(crate) fn snapshot_sizes(&mut self, [buckets, bytes, text, elements]: [usize; 4]) {
        if let Some(saving) = &mut self.saving {
            saving.sizes = saving::Sizes { buckets, bytes, text, elements };
        }
    }

    /// Whether all entries have the bit that they have without a snapshot.
    #[cfg(test)]
    pub(crate) fn snapshot_bits_are_even(&self) -> bool {
        let mut entries = self.dbs.iter().flat_map(Table::iter);
        entries.all(|entry| entry.snapshot_bit() == self.parity)
    }
}

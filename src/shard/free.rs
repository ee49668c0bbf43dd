//! Giving memory back, a bounded piece at a time, so that no removal stops the shard.
//!
//! ```text
//!   a value removed, replaced or expired ──┬─ few elements: freed at once
//!                                          └─ many ──────> objects ─┐
//!   a database flushed ──────────────────────────────────> tables ──┴─> Graveyard::free_step
//! ```
//!
//! A table's entries are freed one by one, and those among them that have many elements go to the
//! objects first. Whoever has a shard calls [`Keyspace::free_piece`] while there is something left.
//!
//! What the running snapshot does not have yet goes by way of it (`throw_away`), see `snapshot`.
//!
//! Absent: threads that free. Freeing belongs to the shard whose memory it is, in pieces that no
//! client notices; and the more there is, the longer the pieces, so that it does not pile up.

use super::events::raise_expired;
use super::keyspace::{Keys, Keyspace, Table};
use crate::clock;
use crate::data::{Entry, Object};
use crate::metrics::ShardStats;
use std::sync::Arc;
use std::time::Duration;

/// Values with more elements are not freed at once.
const AT_ONCE_MAX: usize = 64;
/// Entries of a table that are freed between two looks at what they came to.
const TABLE_PIECE: usize = 16;
/// Elements in a piece: at least so many, and one in so many of what there is, unless that takes too
/// long, which is looked at every so often.
const PIECE_MIN: usize = 512;
const PIECE_PART: usize = 256;
const PIECE_TIME: Duration = Duration::from_micros(250);
const STEP: usize = 128;

/// What is gone but not freed yet.
pub(super) struct Graveyard {
    objects: Vec<Box<Object>>,
    tables: Vec<Table>,
    /// Elements of the objects and entries of the tables.
    pending: usize,
    stats: Arc<ShardStats>,
}

impl Graveyard {
    pub(super) fn new(stats: Arc<ShardStats>) -> Graveyard {
        Graveyard { objects: Vec::new(), tables: Vec::new(), pending: 0, stats }
    }

    /// Frees an entry, its value later if it is big.
    pub(super) fn bury(&mut self, mut entry: Entry) {
        self.bury_value(&mut entry);
    }

    /// Takes the value out of an entry that is about to get another one, unless it is a string;
    /// gives how many elements were freed at once.
    #[inline]
    pub(super) fn bury_value(&mut self, entry: &mut Entry) -> usize {
        entry.take_object().map_or(0, |object| self.bury_object(object))
    }

    fn bury_object(&mut self, object: Box<Object>) -> usize {
        let elements = object.elements();
        if elements <= AT_ONCE_MAX {
            return elements;
        }
        self.pending += elements;
        self.stats.lazyfree_pending.add(1);
        self.objects.push(object);
        0
    }

    pub(super) fn bury_table(&mut self, table: Table) {
        if !table.is_empty() {
            self.pending += table.len();
            self.stats.lazyfree_pending.add(table.len() as u64);
            self.tables.push(table);
        }
    }

    /// Bytes of the tables, without their entries.
    pub(super) fn table_memory(&self) -> usize {
        self.tables.iter().map(Table::memory).sum()
    }

    /// Frees about `max` elements or entries; whether some remain.
    fn free_step(&mut self, max: usize) -> bool {
        let mut left = max;
        while left > 0 {
            let freed = if let Some(object) = self.objects.last_mut() {
                let before = object.elements();
                if !object.free_some(left) {
                    self.pending -= before.saturating_sub(object.elements());
                    return true;
                }
                self.objects.pop();
                self.pending -= before;
                self.stats.lazyfree_pending.sub(1);
                self.stats.lazyfreed_objects.add(1);
                before
            } else if let Some(table) = self.tables.pop() {
                self.free_entries(table, left.min(TABLE_PIECE))
            } else {
                return false;
            };
            left = left.saturating_sub(freed.max(1));
        }
        !self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.tables.is_empty()
    }

    /// Frees about `max` entries of a table; gives what they came to, elements included.
    fn free_entries(&mut self, mut table: Table, max: usize) -> usize {
        let (mut entries, mut elements, pending) = (0, 0, self.objects.len());
        let done = table.drain_step(max, &mut |mut entry| {
            entries += 1;
            elements += self.bury_value(&mut entry);
        });
        let freed = (entries - (self.objects.len() - pending)) as u64;
        self.pending -= entries;
        self.stats.lazyfree_pending.sub(entries as u64);
        self.stats.lazyfreed_objects.add(freed);
        if !done {
            self.tables.push(table);
        }
        entries + elements
    }
}

impl Keyspace {
    /// Frees about `max` elements or entries of what is gone; whether some remain.
    pub fn free_step(&mut self, max: usize) -> bool {
        self.graveyard.free_step(max)
    }

    /// Frees an entry that was in a database until now, when the running snapshot has it.
    #[inline]
    pub(super) fn throw_away(&mut self, db: usize, mut entry: Entry) {
        if let Some(saving) = &mut self.saving {
            saving.give_up(db, &mut entry);
        }
        self.graveyard.bury(entry);
    }

    /// As [`Keyspace::throw_away`], the table that a database had.
    pub(super) fn throw_away_table(&mut self, db: usize, table: Table) {
        let buried = match &mut self.saving {
            Some(saving) => saving.flush(db, table),
            None => Some(table),
        };
        if let Some(table) = buried {
            self.graveyard.bury_table(table);
        }
    }

    /// Whether something is gone that is not freed yet.
    pub fn has_garbage(&self) -> bool {
        !self.graveyard.is_empty()
    }

    /// As [`Keyspace::free_step`], as many as fit in between commands.
    pub fn free_piece(&mut self) -> bool {
        if self.graveyard.is_empty() {
            return false;
        }
        let start = clock::monotonic();
        let steps = PIECE_MIN.max(self.graveyard.pending / PIECE_PART) / STEP;
        let in_time = |_: &usize| start.elapsed() < PIECE_TIME;
        (0..steps).take_while(in_time).all(|_| self.free_step(STEP))
    }
}

impl Keys<'_> {
    /// As [`Keyspace::free_step`].
    pub fn free_step(&mut self, max: usize) -> bool {
        self.space.free_step(max)
    }

    /// Takes a key out with all it has; [`Keys::remove`] is for those who do not want it.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let mut entry = self.pull(key)?;
        if let Some(saving) = &mut self.space.saving {
            saving.save(self.db, &mut entry);
        }
        Some(entry)
    }

    /// As [`Keys::take`], but the running snapshot may not have it yet.
    #[inline]
    pub(super) fn pull(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.pull_any(key)?;
        if entry.is_expired(self.now) {
            self.touch_expired(key);
            let hash = self.hash(key);
            self.space.stats.expired_keys.add(1);
            if self.space.notifies {
                raise_expired(&mut self.space.channels, (self.db, hash), &entry, self.now);
            }
            if self.space.recorder.is_on() {
                self.space.recorder.expired(self.db, key);
            }
            self.space.throw_away(self.db, entry);
            return None;
        }
        self.touch_watched(key);
        self.ready(key);
        Some(entry)
    }

    /// Takes an entry out of its table, also one whose time is over, whether the running snapshot
    /// has it or not.
    #[inline]
    pub(super) fn pull_any(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        let entry = self.space.dbs[self.db].remove(hash, key)?;
        self.space.publish(self.db);
        Some(entry)
    }

    /// As [`Keys::remove`], also of a key whose time is over: for those who do not look at what they
    /// replace.
    pub fn clear(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.pull_any(key) else { return false };
        self.space.throw_away(self.db, entry);
        self.touch_watched(key);
        self.ready(key);
        true
    }

    /// Removes a key; whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.pull(key) else { return false };
        self.space.throw_away(self.db, entry);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::STEP;
    use crate::data::set::{Limits, Set};
    use crate::data::{Entry, Object};
    use crate::metrics::ShardStats;
    use crate::shard::{Access, Expiry, Keys, Keyspace};
    use std::sync::Arc;

    fn keyspace() -> Keyspace {
        Keyspace::new(1, Access::Lru, Arc::new(ShardStats::new(1, 16)))
    }

    fn add_set(keys: &mut Keys, key: &[u8], members: usize, expire_at: Option<i64>) {
        let hasher = keys.hasher().clone();
        let limits = Limits { intset_entries: 0, listpack_entries: 0, listpack_value: 0, hasher };
        let mut set = Set::new();
        for n in 0..members {
            set.add(format!("a member of the set, {n}").as_bytes(), &limits);
        }
        keys.insert(Entry::object(key, Box::new(Object::Set(set)), expire_at));
    }

    fn counts(space: &Keyspace) -> (usize, u64, u64) {
        let stats = &space.stats;
        (space.graveyard.pending, stats.lazyfree_pending.get(), stats.lazyfreed_objects.get())
    }

    type Way = (&'static str, fn(&mut Keyspace));

    /// Every way for a value to go.
    const WAYS: [Way; 6] = [
        ("removed", |space| assert!(space.keys(0, 0, true).remove(b"k"))),
        ("overwritten", |space| space.keys(0, 0, true).set_string(b"k", b"v", Expiry::Clear)),
        ("replaced", |space| space.keys(0, 0, true).insert(Entry::string(b"k", b"v", None))),
        ("found expired", |space| assert!(!space.keys(0, 2000, true).contains(b"k"))),
        ("overwritten after its time", |space| {
            space.keys(0, 2000, true).set_string(b"k", b"v", Expiry::Keep)
        }),
        ("removed after its time", |space| assert!(!space.keys(0, 2000, true).remove(b"k"))),
    ];

    #[test]
    fn a_big_value_goes_in_steps_however_it_goes() {
        for (way, go) in WAYS {
            let mut space = keyspace();
            add_set(&mut space.keys(0, 0, true), b"k", 1000, Some(1000));
            go(&mut space);
            assert_eq!(counts(&space), (1000, 1, 0), "{way}");
            let mut steps = 1;
            while space.free_step(100) {
                steps += 1;
                assert!(space.graveyard.pending <= 1000 - steps.min(9) * 50);
            }
            assert!((10..40).contains(&steps), "{way}: {steps} steps");
            assert_eq!(counts(&space), (0, 0, 1), "{way}");
        }
    }

    #[test]
    fn a_small_value_goes_at_once() {
        for (way, go) in WAYS {
            let mut space = keyspace();
            add_set(&mut space.keys(0, 0, true), b"k", 64, Some(1000));
            go(&mut space);
            assert_eq!(counts(&space), (0, 0, 0), "{way}");
            assert!(!space.free_step(1));
        }
    }

    #[test]
    fn a_flushed_table_gives_up_its_big_values_first() {
        let mut space = keyspace();
        let mut keys = space.keys(3, 0, true);
        for n in 0..100 {
            keys.set_string(format!("small {n}").as_bytes(), b"v", Expiry::Clear);
        }
        add_set(&mut keys, b"of a few", 60, None);
        add_set(&mut keys, b"big", 1000, None);
        assert_eq!(keys.flush(3), 102);
        assert_eq!(counts(&space), (102, 102, 0));
        let (mut steps, mut most) = (1, 0);
        while space.free_step(50) {
            steps += 1;
            most = most.max(space.graveyard.pending);
        }
        assert!((20..40).contains(&steps), "{steps} steps");
        assert!(most > 1000, "the big set's members were counted: {most}");
        assert_eq!(counts(&space), (0, 0, 102));
        assert_eq!(space.table_memory(), 0);
    }

    #[test]
    fn pieces_grow_with_what_there_is() {
        let mut space = keyspace();
        add_set(&mut space.keys(0, 0, true), b"k", 300_000, None);
        space.keys(0, 0, true).remove(b"k");
        assert!(space.free_piece());
        let piece = 300_000 - space.graveyard.pending;
        assert!((STEP..1300).contains(&piece), "{piece}");
        let pieces = (1..).find(|_| !space.free_piece()).unwrap();
        assert!(pieces <= 300_000 / STEP, "{pieces}");
    }
}

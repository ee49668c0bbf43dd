//! A snapshot that runs: which entries it has, and the walk that gets it the others.

use super::lanes::{Lanes, Usage};
use super::writing::Writing;
use super::{SnapshotStats, Table};
use crate::data::{Entry, Object, ValueRef};
use crate::rdb::output::Output;
use crate::shard::Access;
use crate::shard::free::Graveyard;
use std::collections::VecDeque;

/// How much is done at a time.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Sizes {
    /// Buckets between two looks at the clock.
    pub(in crate::shard) buckets: usize,
    /// Bytes written between two looks at the clock.
    pub(in crate::shard) bytes: usize,
    /// Longer strings are compressed and written in pieces.
    pub(in crate::shard) text: usize,
    /// The value of an entry that goes is kept, to be written in steps, if it has more elements.
    pub(in crate::shard) elements: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { buckets: 32, bytes: 16 << 10, text: 64 << 10, elements: 512 }
    }
}

/// The instant that a snapshot is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) now: i64,
    /// How uses are recorded, if they are to be written.
    pub(super) access: Option<Access>,
}

/// How far the walk has come in a table.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// The number of the database at the cut.
    db: usize,
    position: u64,
    /// All entries are saved. Then the table may also be one that was not there at the cut.
    done: bool,
}

/// An entry that is written in steps.
struct Current {
    /// The number of its database at the cut.
    db: usize,
    key: Box<[u8]>,
    /// Where the value is once it has left its table.
    kept: Option<Entry>,
    writing: Writing,
}

pub(in crate::shard) struct Saving {
    /// Of an entry that is saved.
    parity: bool,
    cut: Cut,
    pub(super) sizes: Sizes,
    /// One for each database as they are numbered now.
    walks: Vec<Walk>,
    /// Tables that were flushed before all their entries were saved.
    flushed: Vec<(Walk, Table)>,
    /// Entries that have left their tables, with the numbers of their databases at the cut.
    kept: VecDeque<(usize, Entry)>,
    current: Option<Current>,
    pub(super) lanes: Lanes,
    /// Nothing is written any more, but all entries still get the same bit.
    pub(super) aborted: bool,
    keys: usize,
    saved: u64,
    left_out: u64,
    copied: u64,
}

impl Saving {
    pub(super) fn new(parity: bool, cut: Cut, dbs: &[Table]) -> Saving {
        let walk = |(db, table): (usize, &Table)| Walk { db, position: 0, done: table.is_empty() };
        Saving {
            parity,
            cut,
            sizes: Sizes::default(),
            walks: dbs.iter().enumerate().map(walk).collect(),
            flushed: Vec::new(),
            kept: VecDeque::new(),
            current: None,
            lanes: Lanes::default(),
            aborted: false,
            keys: dbs.iter().map(Table::len).sum(),
            saved: 0,
            left_out: 0,
            copied: 0,
        }
    }

    pub(super) fn stats(&self) -> SnapshotStats {
        SnapshotStats {
            keys: self.keys as u64,
            saved: self.saved,
            left_out: self.left_out,
            copied: self.copied,
            bytes: self.lanes.written,
            pending: self.lanes.pending(),
            version: self.lanes.version,
            done: self.is_done(),
        }
    }

    /// Whether every entry of the cut is written.
    pub(super) fn is_done(&self) -> bool {
        self.current.is_none()
            && self.kept.is_empty()
            && self.flushed.is_empty()
            && self.walks.iter().all(|walk| walk.done)
    }

    /// Bytes of the flushed tables, without their entries.
    pub(in crate::shard) fn table_memory(&self) -> usize {
        self.flushed.iter().map(|(_, table)| table.memory()).sum()
    }

    /// An entry of a database is about to change or to leave the shard.
    #[cold]
    pub(in crate::shard) fn save(&mut self, db: usize, entry: &mut Entry) {
        if entry.snapshot_bit() == self.parity {
            return;
        }
        let db = self.walks[db].db;
        if !self.aborted {
            self.copied += 1;
            match self.take_current(db, entry.key()) {
                Some(current) => self.write_rest(current, entry),
                None => self.write_whole(db, entry),
            }
        }
        entry.set_snapshot_bit(self.parity);
    }

    /// The value of an entry of a database is about to go for good. If it is a big one, an integer
    /// takes its place.
    #[cold]
    pub(in crate::shard) fn give_up(&mut self, db: usize, entry: &mut Entry) {
        if entry.snapshot_bit() == self.parity {
            return;
        }
        let big = |value| matches!(value, ValueRef::Object(object) if object.elements() > self.sizes.elements);
        if self.aborted || !big(entry.value()) {
            return self.save(db, entry);
        }
        let Some(value) = entry.take_object() else { return };
        let mut kept = Entry::object(entry.key(), value, entry.expire_at());
        kept.set_access(entry.access());
        entry.set_snapshot_bit(self.parity);
        self.copied += 1;
        let db = self.walks[db].db;
        match self.take_current(db, kept.key()) {
            Some(current) => self.current = Some(Current { kept: Some(kept), ..current }),
            None => self.kept.push_back((db, kept)),
        }
    }

    /// The table of a database has been replaced by an empty one. Gives it back if it has nothing
    /// to save.
    pub(in crate::shard) fn flush(&mut self, db: usize, table: Table) -> Option<Table> {
        let done = Walk { done: true, ..self.walks[db] };
        let walk = std::mem::replace(&mut self.walks[db], done);
        if self.aborted || walk.done || table.is_empty() {
            return Some(table);
        }
        self.flushed.push((walk, table));
        None
    }

    pub(in crate::shard) fn swap(&mut self, a: usize, b: usize) {
        self.walks.swap(a, b);
    }

    /// Writes nothing from now on.
    pub(super) fn abort(&mut self, graveyard: &mut Graveyard) {
        self.aborted = true;
        self.lanes = Lanes::default();
        self.flushed.drain(..).for_each(|(_, table)| graveyard.bury_table(table));
        self.kept.drain(..).for_each(|(_, entry)| graveyard.bury(entry));
        if let Some(kept) = self.current.take().and_then(|current| current.kept) {
            graveyard.bury(kept);
        }
    }

    /// The entry that is written in steps, if it is this one and still in its table.
    fn take_current(&mut self, db: usize, key: &[u8]) -> Option<Current> {
        self.current
            .take_if(|current| current.db == db && *current.key == *key && current.kept.is_none())
    }

    /// Does some of what is left to do; whether more is left.
    pub(super) fn advance(&mut self, dbs: &mut [Table], graveyard: &mut Graveyard) -> bool {
        if let Some(current) = self.current.take() {
            self.go_on(current, dbs, graveyard);
        } else if let Some((db, entry)) = self.kept.pop_front() {
            match self.begin(db, &entry) {
                Some(current) => self.current = Some(Current { kept: Some(entry), ..current }),
                None => graveyard.bury(entry),
            }
        } else if let Some((mut walk, mut table)) = self.flushed.pop() {
            self.walk(&mut walk, &mut table);
            match walk.done {
                true => graveyard.bury_table(table),
                false => self.flushed.push((walk, table)),
            }
        } else if let Some(at) = self.walks.iter().position(|walk| !walk.done) {
            let mut walk = self.walks[at];
            self.walk(&mut walk, &mut dbs[at]);
            self.walks[at] = walk;
        }
        !self.is_done()
    }

    /// Walks on in a table until an entry turns out to be a big one or it is time to look at the clock.
    fn walk(&mut self, walk: &mut Walk, table: &mut Table) {
        let until = self.lanes.written + self.sizes.bytes as u64;
        let mut passed = true;
        for _ in 0..self.sizes.buckets {
            let next = table.scan_mut(walk.position, &mut |entry| {
                if entry.snapshot_bit() == self.parity {
                    return;
                }
                if !passed || self.lanes.written >= until {
                    passed = false;
                    return;
                }
                match self.begin(walk.db, entry) {
                    None => entry.set_snapshot_bit(self.parity),
                    current => {
                        self.current = current;
                        passed = false;
                    }
                }
            });
            if !passed {
                return;
            }
            walk.position = next;
            walk.done = next == 0;
            if walk.done {
                return;
            }
        }
    }

    /// Writes an entry, or gives what is left of a big one.
    fn begin(&mut self, db: usize, entry: &Entry) -> Option<Current> {
        if self.aborted {
            return None;
        }
        if self.has_lost_its_parts(entry) {
            self.left_out += 1;
            return None;
        }
        let (usage, now, max) = (self.usage(entry), self.cut.now, self.sizes.bytes);
        let value = entry.value();
        let mut writing = Writing::new(&value, self.sizes.text);
        let step = |out: &mut Output| writing.step(&value, now, max, out);
        if self.lanes.begin(db, entry, usage, step) {
            self.saved += 1;
            return None;
        }
        Some(Current { db, key: entry.key().into(), kept: None, writing })
    }

    /// Writes more of the entry that is written in steps.
    fn go_on(&mut self, mut current: Current, dbs: &mut [Table], graveyard: &mut Graveyard) {
        let (now, max) = (self.cut.now, self.sizes.bytes);
        let Current { db, key, kept, writing } = &mut current;
        let mut more =
            |entry: &Entry| self.lanes.go_on(|out| writing.step(&entry.value(), now, max, out));
        let whole = match kept {
            Some(entry) => more(entry),
            None => {
                let place = self.walks.iter().position(|walk| !walk.done && walk.db == *db);
                let table = match place {
                    Some(at) => Some(&mut dbs[at]),
                    None => {
                        let mut flushed = self.flushed.iter_mut();
                        flushed.find(|(walk, _)| walk.db == *db).map(|(_, table)| table)
                    }
                };
                let entry = table.and_then(|table| table.get_mut(table.hash(key), key));
                let mut entry = entry.expect("it leaves its table by `save` and `give_up` only");
                let whole = more(&entry);
                if whole {
                    entry.set_snapshot_bit(self.parity);
                }
                whole
            }
        };
        if !whole {
            self.current = Some(current);
            return;
        }
        self.saved += 1;
        if let Some(entry) = current.kept {
            graveyard.bury(entry);
        }
    }

    /// Writes what is left of the entry that was written in steps.
    fn write_rest(&mut self, mut current: Current, entry: &Entry) {
        let (value, now, max) = (entry.value(), self.cut.now, self.sizes.bytes);
        current.writing.hurry();
        while !self.lanes.go_on(|out| current.writing.step(&value, now, max, out)) {}
        self.saved += 1;
    }

    /// Writes an entry at once, behind the one that is written in steps if there is one.
    fn write_whole(&mut self, db: usize, entry: &Entry) {
        if !self.lanes.is_parted() {
            if let Some(current) = self.begin(db, entry) {
                self.write_rest(current, entry);
            }
            return;
        }
        if self.has_lost_its_parts(entry) {
            self.left_out += 1;
            return;
        }
        let (usage, now, value) = (self.usage(entry), self.cut.now, entry.value());
        let mut writing = Writing::new(&value, self.sizes.text);
        writing.hurry();
        self.lanes.begin(db, entry, usage, |out| writing.step(&value, now, usize::MAX, out));
        self.saved += 1;
    }

    /// Whether nothing of a hash was left at the cut: it has no form.
    fn has_lost_its_parts(&self, entry: &Entry) -> bool {
        let now = self.cut.now;
        entry.is_expired(now)
            && matches!(
                entry.value(),
                ValueRef::Object(Object::Hash(hash)) if hash.live_len(now) == 0
            )
    }

    fn usage(&self, entry: &Entry) -> Usage {
        let (field, now) = (entry.access(), self.cut.now);
        match self.cut.access {
            None => Usage::Unwanted,
            Some(Access::Lru) => Usage::Idle(Access::idle_seconds_before(field, now)),
            Some(lfu) => Usage::Frequency(lfu.frequency(field, now) as u8),
        }
    }
}

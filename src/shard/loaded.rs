//! The keys of a shard that was filled apart from the others, on their way to those who own them.

use super::SlotTable;
use super::keyspace::{Keyspace, Table, hash_of};
use crate::data::Entry;

/// How keys come together with those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loading {
    /// These go.
    #[default]
    Replace,
    /// These go where there are others of the same names.
    Merge,
    /// There should be none of the same names.
    Add,
}

/// The databases of one shard.
pub struct Loaded {
    dbs: Vec<Table>,
    /// The snapshot bit of all entries.
    parity: bool,
}

/// Entries that are moved between two looks at what else there is to do.
const STEP: usize = 1024;

impl Loaded {
    /// No keys in so many databases, for shards that hash as this one does.
    fn empty(dbs: usize, hasher: &ahash::RandomState) -> Loaded {
        Loaded {
            dbs: (0..dbs).map(|_| Table::with_hasher(hasher.clone())).collect(),
            parity: false,
        }
    }

    pub fn keys(&self) -> usize {
        self.dbs.iter().map(Table::len).sum()
    }

    /// How many keys are not those of this shard.
    pub fn strangers(&self, slots: &SlotTable, shard: usize) -> usize {
        let mut found = 0;
        for table in &self.dbs {
            let mut position = 0;
            loop {
                position = table.scan(position, &mut |entry: &Entry| {
                    found += usize::from(slots.owner_of(entry.key()) != shard);
                });
                if position == 0 {
                    break;
                }
            }
        }
        found
    }

    /// Sorts keys by the shards that own their slots.
    pub fn distribute(all: Vec<Loaded>, slots: &SlotTable) -> Vec<Loaded> {
        let Some(first) = all.first() else { return Vec::new() };
        let hasher = first.dbs[0].hasher().clone();
        let empty = |_| Loaded::empty(first.dbs.len(), &hasher);
        let mut owners: Vec<Loaded> = (0..slots.shards()).map(empty).collect();
        for loaded in all {
            for (db, mut table) in loaded.dbs.into_iter().enumerate() {
                let mut move_one = |mut entry: Entry| {
                    entry.set_snapshot_bit(false);
                    let owner = slots.owner_of(entry.key());
                    let hash = hash_of(&hasher, entry.key());
                    owners[owner].dbs[db].insert(hash, entry);
                };
                while !table.drain_step(STEP, &mut move_one) {}
            }
        }
        owners
    }
}

impl Keyspace {
    /// Ends a keyspace that was filled for others.
    pub fn into_loaded(self) -> Loaded {
        debug_assert!(self.saving.is_none(), "a snapshot still needs the tables");
        Loaded { dbs: self.dbs, parity: self.parity }
    }

    /// Takes in keys while commands are served. Both hash alike. Gives how many were left out because they
    /// were there already.
    pub fn load_in(&mut self, loaded: Loaded, how: Loading, now: i64) -> usize {
        let mut left_out = 0;
        if how == Loading::Replace {
            for db in 0..self.dbs.len() {
                self.keys(db, now, false).flush(db);
            }
            self.adopt(loaded);
        } else {
            for (db, mut table) in loaded.dbs.into_iter().enumerate() {
                let mut keys = self.keys(db, now, false);
                let mut take =
                    |entry: Entry| match how == Loading::Add && keys.contains(entry.key()) {
                        true => left_out += 1,
                        false => keys.adopt(entry),
                    };
                while !table.drain_step(STEP, &mut take) {}
                self.publish(db);
            }
        }
        // Whoever waits for keys may find them.
        (0..self.dbs.len()).for_each(|db| self.changed_all(db));
        left_out
    }

    /// Takes in keys in place of those that are here. Both hash alike. No snapshot may run.
    pub fn adopt(&mut self, loaded: Loaded) {
        let databases = self.dbs.len();
        debug_assert!(self.saving.is_none(), "a snapshot still needs the tables");
        let old = std::mem::replace(&mut self.dbs, loaded.dbs);
        self.parity = loaded.parity;
        old.into_iter().for_each(|table| self.graveyard.bury_table(table));
        debug_assert_eq!(self.dbs.len(), databases);
        (0..databases).for_each(|db| self.publish(db));
    }
}

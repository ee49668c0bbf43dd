//! What watching adds to a keyspace: clients come and go, and changes reach them.
//!
//! A key that has expired when it is watched is removed first, so that its removal later is no
//! change. A key that expires while it is watched has changed, whether it was removed meanwhile or
//! not. The same holds for parts of a value, unless more have expired than can be removed at once:
//! then the removal of the others is a change.

use super::keyspace::{Keys, Keyspace};
use crate::session::ClientRef;

/// Expired parts of a value to remove when its key is watched.
const PARTS_MAX: usize = 1000;

impl Keyspace {
    /// Forgets what a client watches; whether any of it has changed.
    pub fn unwatch(&mut self, client: u64, now: i64) -> bool {
        let Some(watches) = &self.watches else { return false };
        for (db, key) in watches.of(client).to_vec() {
            self.keys(db, now, false).purge_parts(&key, 1);
        }
        let Some(watches) = &mut self.watches else { return false };
        let dirty = watches.remove(client);
        if watches.is_empty() {
            self.watches = None;
        }
        dirty
    }

    /// The keys that a client watches, with their databases.
    pub fn watched_by(&self, client: u64) -> &[(usize, Box<[u8]>)] {
        self.watches.as_ref().map_or(&[], |watches| watches.of(client))
    }

    /// Whether somebody watches a key.
    pub fn is_watched(&self, db: usize, key: &[u8]) -> bool {
        self.watches.as_ref().is_some_and(|watches| watches.contains(db, key))
    }

    /// How many clients watch something.
    pub fn watchers(&self) -> usize {
        self.watches.as_ref().map_or(0, |watches| watches.len())
    }

    /// Whether any key is watched.
    pub fn watches_any(&self) -> bool {
        self.watches.is_some()
    }
}

impl Keys<'_> {
    /// Has a client know whether `key` changes from now on.
    pub fn watch(&mut self, client: u64, key: &[u8]) {
        self.purge_parts(key, PARTS_MAX);
        let db = self.db_index();
        self.space.watches.get_or_insert_default().add(client, db, key);
    }

    /// A key has changed, or is about to.
    #[inline]
    pub(super) fn touch_watched(&mut self, key: &[u8]) {
        if let Some(watches) = &mut self.space.watches {
            watches.touch(self.db, key);
        }
        self.touch_tracked(key);
    }

    /// A key has expired.
    pub(super) fn touch_expired(&mut self, key: &[u8]) {
        if let Some(watches) = &mut self.space.watches {
            watches.touch(self.db, key);
        }
        let hash = self.space.hash(key);
        if let Some(tracking) = &mut self.space.tracking {
            tracking.touch(hash, key, ClientRef::NOBODY);
        }
    }

    /// A key is in the hand of a command that may change it in place and then says so.
    #[inline]
    pub(super) fn look(&mut self, key: &[u8]) {
        if let Some(watches) = &mut self.space.watches {
            watches.look(self.db, key, !self.looked);
            self.looked = true;
        }
        self.look_tracked(key);
    }

    /// Of the watched keys of database `db`, touches those that exist there or in `other`, which is
    /// about to take its place.
    pub(super) fn touch_present(&mut self, db: usize, other: usize) {
        let Some(watches) = &self.space.watches else { return };
        let keys: Vec<Box<[u8]>> = watches.in_db(db).map(Box::from).collect();
        for key in keys {
            if self.in_db(db).contains(&key) || self.in_db(other).contains(&key) {
                self.in_db(db).touch_watched(&key);
            }
        }
    }
}

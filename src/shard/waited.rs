//! Which keys of a shard clients wait for, and which of those may have something for them now.
//!
//! Only the keys are known here. Who waits, in which order, and how they are served is `net`'s; it
//! looks at what is ready when a whole command, block or transaction is done.

use std::collections::{HashMap, VecDeque};

/// The keys of one shard that somebody waits for.
#[derive(Debug, Default)]
pub struct Waited {
    /// By database: how many wait for a key.
    keys: Vec<HashMap<Box<[u8]>, usize>>,
    ready: VecDeque<(usize, Box<[u8]>)>,
}

impl Waited {
    pub fn is_empty(&self) -> bool {
        self.keys.iter().all(HashMap::is_empty)
    }

    pub fn add(&mut self, db: usize, key: &[u8]) {
        if self.keys.len() <= db {
            self.keys.resize_with(db + 1, HashMap::new);
        }
        *self.keys[db].entry(key.into()).or_default() += 1;
    }

    pub fn remove(&mut self, db: usize, key: &[u8]) {
        let Some(keys) = self.keys.get_mut(db) else { return };
        if let Some(waiters) = keys.get_mut(key) {
            *waiters -= 1;
            if *waiters == 0 {
                keys.remove(key);
            }
        }
    }

    /// The value of a key has come, gone or grown.
    pub fn changed(&mut self, db: usize, key: &[u8]) {
        let waited = self.keys.get(db).is_some_and(|keys| keys.contains_key(key));
        // The last one is often the same: a stream to which much is added at once.
        if waited && self.ready.back().is_none_or(|(own, last)| *own != db || **last != *key) {
            self.ready.push_back((db, key.into()));
        }
    }

    /// Much has changed in a database.
    pub fn changed_all(&mut self, db: usize) {
        let keys = self.keys.get(db).into_iter().flat_map(HashMap::keys);
        self.ready.extend(keys.map(|key| (db, key.clone())));
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many keys are ready.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Only so many keys are ready, the first ones.
    pub(super) fn take_back(&mut self, len: usize) {
        self.ready.truncate(len);
    }

    /// The key that has been ready for longest.
    pub fn next_ready(&mut self) -> Option<(usize, Box<[u8]>)> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waited_keys_become_ready_and_once_in_a_row() {
        let mut waited = Waited::default();
        waited.changed(0, b"a");
        assert!(waited.is_empty() && !waited.has_ready());
        waited.add(0, b"a");
        waited.add(0, b"a");
        waited.add(3, b"b");
        for key in [b"a", b"a", b"x"] {
            waited.changed(0, key);
        }
        waited.changed(1, b"b");
        waited.changed_all(3);
        assert_eq!(waited.next_ready(), Some((0, b"a".as_slice().into())));
        assert_eq!(waited.next_ready(), Some((3, b"b".as_slice().into())));
        assert_eq!(waited.next_ready(), None);
        waited.remove(0, b"a");
        waited.remove(3, b"b");
        assert!(!waited.is_empty());
        waited.changed(0, b"a");
        assert!(waited.has_ready());
        waited.remove(0, b"a");
        assert!(waited.is_empty());
    }
}

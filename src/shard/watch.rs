//! WATCH: which clients watch which keys of a shard, and whose keys have changed since.
//!
//! Only watched keys are known here, so that a shard without any pays one branch for a change.
//! What counts as a change is for the keyspace to say; see [`super::Keys`].

use std::collections::{HashMap, HashSet};

/// What one client watches on this shard.
#[derive(Debug, Default)]
struct Watcher {
    /// One of its keys has changed since it was watched.
    dirty: bool,
    keys: Vec<(usize, Box<[u8]>)>,
}

/// The watched keys of one shard.
#[derive(Debug, Default)]
pub struct Watches {
    /// By database: who watches a key.
    keys: Vec<HashMap<Box<[u8]>, HashSet<u64>>>,
    clients: HashMap<u64, Watcher>,
    /// Watched keys that the running command may be changing in place.
    looked_at: Vec<(usize, Box<[u8]>)>,
    /// Clients that have seen their first change since [`Watches::begin_log`].
    log: Option<Vec<u64>>,
}

impl Watches {
    /// How many clients watch something.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub fn add(&mut self, client: u64, db: usize, key: &[u8]) {
        if self.keys.len() <= db {
            self.keys.resize_with(db + 1, HashMap::new);
        }
        let watcher = self.clients.entry(client).or_default();
        let watched = &mut self.keys[db];
        let new = match watched.get_mut(key) {
            Some(clients) => clients.insert(client),
            None => watched.insert(key.into(), HashSet::from([client])).is_none(),
        };
        if new {
            watcher.keys.push((db, key.into()));
        }
    }

    /// Forgets a client; whether one of its keys has changed.
    pub fn remove(&mut self, client: u64) -> bool {
        let Some(watcher) = self.clients.remove(&client) else { return false };
        for (db, key) in &watcher.keys {
            if let Some(clients) = self.keys[*db].get_mut(key) {
                clients.remove(&client);
                if clients.is_empty() {
                    self.keys[*db].remove(key);
                }
            }
        }
        watcher.dirty
    }

    pub fn contains(&self, db: usize, key: &[u8]) -> bool {
        self.keys.get(db).is_some_and(|watched| watched.contains_key(key))
    }

    /// The keys that a client watches, with their databases.
    pub fn of(&self, client: u64) -> &[(usize, Box<[u8]>)] {
        self.clients.get(&client).map_or(&[], |watcher| &watcher.keys)
    }

    /// The watched keys of a database.
    pub fn in_db(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.keys.get(db).into_iter().flat_map(|watched| watched.keys().map(|key| &**key))
    }

    /// A key has changed.
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        let Some(clients) = self.keys.get(db).and_then(|watched| watched.get(key)) else { return };
        for client in clients {
            if let Some(watcher) = self.clients.get_mut(client) {
                if let Some(log) = self.log.as_mut().filter(|_| !watcher.dirty) {
                    log.push(*client);
                }
                watcher.dirty = true;
            }
        }
    }

    /// What happens from now on may be taken back.
    pub fn begin_log(&mut self) {
        self.log = Some(Vec::new());
    }

    pub fn end_log(&mut self) {
        self.log = None;
    }

    /// Nothing has changed since [`Watches::begin_log`].
    pub fn take_back(&mut self) {
        for client in self.log.take().unwrap_or_default() {
            if let Some(watcher) = self.clients.get_mut(&client) {
                watcher.dirty = false;
            }
        }
    }

    /// The command that runs has a key in hand and may change it; `first` for its first one.
    pub fn look(&mut self, db: usize, key: &[u8], first: bool) {
        if first {
            self.looked_at.clear();
        }
        if self.contains(db, key) {
            self.looked_at.push((db, key.into()));
        }
    }

    /// The command that runs has changed what it had in hand.
    pub fn touch_looked_at(&mut self) {
        for (db, key) in std::mem::take(&mut self.looked_at) {
            self.touch(db, &key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_those_who_watch_the_key() {
        let mut watches = Watches::default();
        watches.add(1, 0, b"a");
        watches.add(1, 3, b"b");
        watches.add(2, 0, b"b");
        watches.add(2, 0, b"b");
        watches.touch(0, b"b");
        watches.touch(3, b"a");
        watches.touch(15, b"a");
        assert!(watches.contains(3, b"b") && !watches.contains(3, b"a"));
        assert_eq!(watches.of(1).len(), 2);
        assert!(!watches.remove(1));
        assert!(!watches.contains(0, b"a"));
        assert!(watches.remove(2));
        assert!(watches.is_empty() && !watches.contains(0, b"b"));
        assert!(!watches.remove(2));
    }

    #[test]
    fn changes_that_are_taken_back_were_none() {
        let mut watches = Watches::default();
        watches.add(1, 0, b"a");
        watches.add(2, 0, b"b");
        watches.touch(0, b"a");
        watches.begin_log();
        watches.touch(0, b"a");
        watches.touch(0, b"b");
        watches.take_back();
        assert!(!watches.remove(2), "its key is as it was");
        assert!(watches.remove(1), "its key had changed before");
    }

    #[test]
    fn a_look_is_no_change_until_the_command_says_so() {
        let mut watches = Watches::default();
        watches.add(1, 0, b"a");
        watches.look(0, b"a", true);
        watches.look(0, b"other", true);
        watches.touch_looked_at();
        assert!(!watches.remove(1));
        watches.add(1, 0, b"a");
        watches.look(0, b"a", true);
        watches.look(0, b"other", false);
        watches.touch_looked_at();
        assert!(watches.remove(1));
    }
}

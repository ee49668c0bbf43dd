//! Which keys of a shard are promised to transactions that are under way.
//!
//! A transaction over several shards visits them in ascending order (see `net::tour`). Where it
//! has been and is not done yet, its keys are *held*: shared by what it only reads, exclusively by
//! what it changes. Commands of one shard wait for a held key, so nobody sees half a transaction.
//!
//! Another transaction may go on over a held key when it cannot be done before the first one
//! is: when it has the same shards before it in the same order, and on each shard those that come
//! the same way keep their order. Then it sees and overwrites what the first one wrote,
//! and nobody else sees any of it before both are done. (Early release with dependent commits,
//! as in DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984, and
//! Johnson et al., "Aether: A Scalable Approach to Logging", 2010; there the dependency is on a log, here
//! on queues.) So a key that everybody changes is not held for the length of a round trip by each.
//!
//! Keys are known by their hashes. Two keys with one hash only wait for each other needlessly.

use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What a transaction wants to do to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    pub hash: u64,
    pub exclusive: bool,
}

/// The shards that a transaction has still to visit, in order.
pub type Path = SmallVec<[u16; 4]>;

/// A key that is held.
#[derive(Debug, Default)]
struct Hold {
    shared: u32,
    exclusive: u32,
    /// The way that all holders have before them, the longest where one is the beginning of
    /// another; none when they differ.
    path: Option<Path>,
}

/// Hashes are spread well enough already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole hashes are keys");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The held keys of one shard.
#[derive(Debug, Default)]
pub struct Intents {
    keys: HashMap<u64, Hold, BuildHasherDefault<AsItIs>>,
    /// All keys are held by one transaction.
    all: bool,
    /// What each transaction holds, by the number that it was given.
    held: Vec<SmallVec<[Intent; 4]>>,
    free: Vec<u32>,
    /// For tests, which prove so that they would see it: nothing is ever held.
    ignored: bool,
}

/// Hashes for which room is kept when nothing is held any more.
const KEPT: usize = 1024;

impl Intents {
    /// Intents that count for nothing.
    pub fn ignored() -> Intents {
        Intents { ignored: true, ..Intents::default() }
    }

    /// Whether no key is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.all
    }

    pub fn holds_all(&self) -> bool {
        self.all
    }

    /// Whether a command of one shard must wait.
    #[inline]
    pub fn bars(&self, intent: Intent) -> bool {
        self.all
            || self
                .keys
                .get(&intent.hash)
                .is_some_and(|hold| intent.exclusive || hold.exclusive > 0)
    }

    /// Whether a transaction that goes on to `path` may run and hold a key now. Who goes nowhere
    /// afterwards has an empty path.
    pub fn admits(&self, intent: Intent, path: &[u16]) -> bool {
        if self.all {
            return false;
        }
        let Some(hold) = self.keys.get(&intent.hash) else { return true };
        let shares = !intent.exclusive && hold.exclusive == 0;
        shares || hold.path.as_ref().is_some_and(|held| path.starts_with(held))
    }

    /// Holds keys for a transaction that goes on to `path`, or without one for somebody whom nobody
    /// may follow. The number is for [`Intents::release`].
    pub fn hold(&mut self, mut intents: SmallVec<[Intent; 4]>, path: Option<&[u16]>) -> u32 {
        if self.ignored {
            intents.clear();
        }
        for intent in &intents {
            let fresh = !self.keys.contains_key(&intent.hash);
            let hold = self.keys.entry(intent.hash).or_default();
            match intent.exclusive {
                true => hold.exclusive += 1,
                false => hold.shared += 1,
            }
            hold.path = match (&hold.path, path) {
                (_, Some(path)) if fresh => Some(path.into()),
                (Some(held), Some(path)) if path.starts_with(held) => Some(path.into()),
                (Some(held), Some(path)) if held.starts_with(path) => Some(held.clone()),
                _ => None,
            };
        }
        match self.free.pop() {
            Some(number) => {
                self.held[number as usize] = intents;
                number
            }
            None => {
                self.held.push(intents);
                self.held.len() as u32 - 1
            }
        }
    }

    pub fn release(&mut self, number: u32) {
        for intent in std::mem::take(&mut self.held[number as usize]) {
            let std::collections::hash_map::Entry::Occupied(mut hold) =
                self.keys.entry(intent.hash)
            else {
                debug_assert!(false, "a held key is known");
                continue;
            };
            let count = match intent.exclusive {
                true => &mut hold.get_mut().exclusive,
                false => &mut hold.get_mut().shared,
            };
            *count -= 1;
            if hold.get().shared == 0 && hold.get().exclusive == 0 {
                hold.remove();
            }
        }
        self.free.push(number);
        if self.keys.is_empty() && self.keys.capacity() > KEPT {
            self.keys = HashMap::default();
        }
    }

    /// Holds all keys; nothing may be held.
    pub fn hold_all(&mut self) {
        debug_assert!(self.is_empty(), "all keys are held by one");
        self.all = !self.ignored;
    }

    pub fn release_all(&mut self) {
        self.all = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Intent = Intent { hash: 7, exclusive: false };
    const WRITE: Intent = Intent { hash: 7, exclusive: true };

    fn holding(holders: &[(Intent, Option<&[u16]>)]) -> Intents {
        let mut intents = Intents::default();
        for &(intent, path) in holders {
            intents.hold([intent].into_iter().collect(), path);
        }
        intents
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let intents = holding(&[(READ, None)]);
        assert!(!intents.bars(READ) && intents.bars(WRITE));
        assert!(intents.admits(READ, &[]) && !intents.admits(WRITE, &[]));
        let intents = holding(&[(WRITE, None)]);
        assert!(intents.bars(READ) && !intents.admits(READ, &[]));
        assert!(!intents.bars(Intent { hash: 8, exclusive: true }));
    }

    #[test]
    fn who_goes_the_same_way_may_follow() {
        let intents = holding(&[(WRITE, Some(&[1, 3]))]);
        assert!(intents.bars(READ));
        assert!(intents.admits(WRITE, &[1, 3]) && intents.admits(READ, &[1, 3, 4]));
        assert!(!intents.admits(WRITE, &[1]) && !intents.admits(WRITE, &[3]));
        assert!(!intents.admits(READ, &[]) && !intents.admits(READ, &[1, 2, 3]));
    }

    #[test]
    fn the_longest_way_counts_and_different_ways_bar() {
        let intents = holding(&[(WRITE, Some(&[1])), (WRITE, Some(&[1, 2]))]);
        assert!(!intents.admits(WRITE, &[1]) && intents.admits(WRITE, &[1, 2]));
        let intents = holding(&[(READ, Some(&[1])), (READ, Some(&[2]))]);
        assert!(!intents.admits(WRITE, &[1]) && !intents.admits(WRITE, &[2]));
        assert!(intents.admits(READ, &[5]));
        let intents = holding(&[(READ, None), (READ, Some(&[2]))]);
        assert!(!intents.admits(WRITE, &[2]));
    }

    #[test]
    fn what_is_released_is_free_again() {
        let mut intents = Intents::default();
        let first = intents.hold([WRITE, READ].into_iter().collect(), Some(&[1]));
        let second = intents.hold([READ].into_iter().collect(), Some(&[1]));
        intents.release(first);
        assert!(!intents.bars(READ) && intents.bars(WRITE));
        intents.release(second);
        assert!(intents.is_empty() && !intents.bars(WRITE));
        assert_eq!(intents.hold([READ].into_iter().collect(), None), second);
        let mut intents = Intents::default();
        intents.hold_all();
        assert!(!intents.is_empty() && intents.bars(READ) && !intents.admits(READ, &[1]));
        intents.release_all();
        assert!(intents.is_empty());
    }
}

//! The keys that are used most, by sampling.
//!
//! Of one command in so many the key is counted in a small sketch (Metwally, Agrawal, El Abbadi:
//! "Efficient computation of frequent and top-k elements in data streams", 2005): a key that is not
//! there takes the place of the one with the lowest count and goes on from that. So a key that
//! is used often enough is always there, and its count is never too low.

use std::collections::HashMap;

/// Keys that are counted.
const KEYS_MAX: usize = 128;
/// Longer keys are not counted, bytes.
const KEY_BYTES_MAX: usize = 1024;

type Key = (u8, Box<[u8]>);

/// See the module.
#[derive(Debug)]
pub struct HotKeys {
    /// One command of so many is counted.
    every: u32,
    /// Commands until the next one.
    left: u32,
    random: fastrand::Rng,
    counts: HashMap<Key, u64, ahash::RandomState>,
}

/// A key with how often it was used, as far as the samples tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKey {
    pub db: u8,
    pub key: Box<[u8]>,
    pub uses: u64,
}

impl HotKeys {
    pub fn new(every: u32) -> HotKeys {
        let random = fastrand::Rng::with_seed(u64::from(every));
        HotKeys { every: every.max(1), left: 0, random, counts: HashMap::default() }
    }

    pub fn every(&self) -> u32 {
        self.every
    }

    /// Whether the command that runs now is one that is counted.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        match self.left {
            0 => {
                // By chance, so that a pattern of commands is not always hit in the same place.
                self.left = self.random.u32(0..2 * self.every - 1);
                true
            }
            _ => {
                self.left -= 1;
                false
            }
        }
    }

    pub fn count(&mut self, db: u8, key: &[u8]) {
        if key.len() > KEY_BYTES_MAX {
            return;
        }
        let key: Key = (db, key.into());
        if let Some(count) = self.counts.get_mut(&key) {
            *count += 1;
            return;
        }
        let mut count = 1;
        if self.counts.len() == KEYS_MAX
            && let Some((least, uses)) = self.counts.iter().min_by_key(|(_, uses)| **uses)
        {
            let (least, uses) = (least.clone(), *uses);
            self.counts.remove(&least);
            count += uses;
        }
        self.counts.insert(key, count);
    }

    /// The most used ones first.
    pub fn top(&self, count: usize) -> Vec<HotKey> {
        let mut all: Vec<(&Key, u64)> =
            self.counts.iter().map(|(key, uses)| (key, *uses)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let every = u64::from(self.every);
        let hot = |((db, key), uses): (&Key, u64)| HotKey {
            db: *db,
            key: key.clone(),
            uses: uses * every,
        };
        all.into_iter().take(count).map(hot).collect()
    }
}

impl super::Keyspace {
    /// Has the key of one command in so many counted from now on, or of none for 0.
    pub fn count_hot_keys(&mut self, every: u32) {
        if self.hot_keys.as_ref().map_or(0, |hot| hot.every()) != every {
            self.hot_keys = (every > 0).then(|| Box::new(HotKeys::new(every)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_used_often_are_found_among_many() {
        let mut hot = HotKeys::new(10);
        let mut random = fastrand::Rng::with_seed(7);
        let mut real = [0u64; 3];
        for _ in 0..400_000 {
            let key = match random.u32(0..100) {
                at @ 0..3 => {
                    real[at as usize] += 1;
                    format!("hot-{at}")
                }
                _ => format!("cold-{}", random.u32(0..1_000_000)),
            };
            if hot.is_due() {
                hot.count(0, key.as_bytes());
            }
        }
        let top = hot.top(3);
        let mut names: Vec<_> = top.iter().map(|k| String::from_utf8_lossy(&k.key)).collect();
        names.sort();
        assert_eq!(names, ["hot-0", "hot-1", "hot-2"]);
        assert!(hot.counts.len() <= KEYS_MAX);
        // Never too low but for the samples' noise, and too high by no more than what is shared.
        for found in &top {
            assert!((3_000..9_000).contains(&found.uses), "{found:?} {real:?}");
        }
    }

    #[test]
    fn databases_are_told_apart_and_long_keys_left_out() {
        let mut hot = HotKeys::new(1);
        for _ in 0..3 {
            assert!(hot.is_due());
            hot.count(1, b"k");
        }
        hot.count(0, b"k");
        hot.count(0, &[b'x'; KEY_BYTES_MAX + 1]);
        let key = |db, uses| HotKey { db, key: b"k"[..].into(), uses };
        assert_eq!(hot.top(10), [key(1, 3), key(0, 1)]);
        assert_eq!(hot.top(1), [key(1, 3)]);
    }
}

//! Eviction: which key goes when memory is short.
//!
//! As in Redis, keys are sampled, and the best candidates met so far wait in a small pool:
//!
//! ```text
//!   a bucket at a random position ──> urgency of each of its keys ──> pool: the 16 most urgent
//!                                                                       │ the most urgent of all
//!                                          still there, not used since, <┘
//!                                          not held ──> goes
//! ```
//!
//! An *urgency* says how much sooner than others a key should go. It means the same on all shards and
//! does not change with time alone, so shards can compare theirs (see `net::memory`):
//!
//! ```text
//!   LRU   the earlier the last use, the higher
//!   LFU   the lower the counter, the higher; of equal ones, the earlier the last use
//!   TTL   the sooner the end, the higher
//! ```
//!
//! A sample is a bucket: its keys have nothing in common but bits of their hashes, and together they
//! cost one line of the table. Where few keys may go, those without an expiry are passed over by the
//! marks in the buckets, from where the last look ended.
//!
//! Absent: when it is done and how much of it (`net::memory`); lists of keys in the order of use, which would
//! cost memory for each key and work for each use.

use super::keyspace::{Keys, Keyspace};
use super::{Access, Shard};
use crate::config::EventClass;
use crate::data::Entry;
use crate::metrics::ShardStats;
use smallvec::SmallVec;

/// Candidates that wait.
const POOL: usize = 16;
/// Buckets that one look passes over in search of keys that may go.
const BUCKETS_MAX: usize = 1024;
/// Looks for one victim.
const LOOKS_MAX: usize = 8;

/// What makes a key go sooner than others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What entries remember of their use, by [`Access`]: LRU or LFU.
    Use,
    Ttl,
    Random,
}

/// How victims are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    pub order: Order,
    /// Only keys with an expiry may go.
    pub volatile: bool,
    /// Keys to look at for one that goes.
    pub samples: usize,
    /// What goes is recorded as UNLINK, not as DEL.
    pub lazy: bool,
}

impl Eviction {
    /// How many keys of a shard may go, as it has told.
    pub fn eligible(&self, stats: &ShardStats) -> u64 {
        let count = |db: &crate::metrics::DbStats| match self.volatile {
            true => db.expires.get(),
            false => db.keys.get(),
        };
        stats.per_db.iter().map(count).sum()
    }
}

/// A key that may go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub urgency: u64,
    db: usize,
    hash: u64,
}

/// What of the search goes on from one victim to the next.
#[derive(Debug, Default)]
pub(super) struct Victims {
    /// The most urgent last.
    pool: SmallVec<[Candidate; POOL]>,
    /// By database: where the search for keys with an expiry goes on.
    hands: Vec<u64>,
}

impl Victims {
    fn offer(&mut self, candidate: Candidate) {
        let is_it = |own: &Candidate| own.hash == candidate.hash && own.db == candidate.db;
        if let Some(at) = self.pool.iter().position(is_it) {
            self.pool.remove(at);
        } else if self.pool.len() == POOL {
            if candidate.urgency <= self.pool[0].urgency {
                return;
            }
            self.pool.remove(0);
        }
        let at = self.pool.partition_point(|own| own.urgency < candidate.urgency);
        self.pool.insert(at, candidate);
    }
}

impl Access {
    /// How urgently an entry should go that was used as its field says.
    fn urgency(self, field: u32, now: i64) -> u64 {
        match self {
            Access::Lfu { .. } => {
                let rarity = 255 - u64::from(self.frequency(field, now).min(255));
                (rarity << 32) | (u64::from(Access::idle_minutes(field, now)) + 1)
            }
            Access::Lru | Access::Fixed(_) => {
                let used_at = now / 1000 - i64::from(Access::idle_seconds(field, now));
                u64::MAX - used_at.max(0) as u64
            }
        }
    }
}

impl Eviction {
    /// How urgently an entry should go; nothing when it may not.
    fn urgency(&self, entry: &Entry, access: Access, now: i64) -> Option<u64> {
        let expire_at = entry.expire_at();
        if self.volatile && expire_at.is_none() {
            return None;
        }
        Some(match self.order {
            Order::Use => access.urgency(entry.access(), now),
            Order::Ttl => u64::MAX - expire_at.unwrap_or(i64::MAX).max(0) as u64,
            Order::Random => 1,
        })
    }
}

impl Shard {
    /// The candidates are to be found anew: others may be better now.
    pub fn forget_candidates(&mut self) {
        self.victims.pool.clear();
    }

    /// Looks at some more keys and gives the one that should go first. Those that `is_held` says are not
    /// to go now.
    pub fn next_victim(
        &mut self,
        rules: &Eviction,
        now: i64,
        is_held: &dyn Fn(u64) -> bool,
    ) -> Option<Candidate> {
        let Shard { keyspace, victims, random, .. } = self;
        if rules.order == Order::Random {
            let mut looks = 0..LOOKS_MAX;
            return looks.find_map(|_| keyspace.any_victim(rules, victims, random, is_held));
        }
        for _ in 0..LOOKS_MAX {
            for db in 0..keyspace.dbs.len() {
                keyspace.sample(rules, db, now, victims, random);
            }
            while let Some(best) = victims.pool.last() {
                if keyspace.is_still(rules, best, now) && !is_held(best.hash) {
                    return Some(*best);
                }
                victims.pool.pop();
            }
        }
        None
    }

    /// Removes what [`Shard::next_victim`] has given; `false` when it is not there.
    pub fn evict(&mut self, victim: &Candidate, rules: &Eviction, now: i64) -> bool {
        self.victims.pool.retain(|own| *own != *victim);
        let Some(key) = self.keyspace.key_of(victim) else { return false };
        self.keyspace.keys(victim.db, now, false).evict(&key, rules.lazy);
        true
    }
}

impl Keyspace {
    /// Puts keys of one database into the pool.
    fn sample(
        &self,
        rules: &Eviction,
        db: usize,
        now: i64,
        victims: &mut Victims,
        random: &mut fastrand::Rng,
    ) {
        let access = self.access;
        let mut seen: SmallVec<[Candidate; POOL]> = SmallVec::new();
        let mut chance = random.fork();
        self.look(rules, db, rules.samples, victims, &mut chance, &mut |_, hash, entry| {
            let urgency = rules.urgency(entry, access, now);
            seen.extend(urgency.map(|urgency| Candidate { urgency, db, hash }));
        });
        // Under LFU, what has come just now is always among the least used: to look at no more keys than
        // are wanted, and at none sooner than at others, gives it a chance to be used again.
        if matches!((access, rules.order), (Access::Lfu { .. }, Order::Use)) {
            let len = seen.len();
            seen.rotate_left(random.usize(..len.max(1)));
            seen.truncate(rules.samples);
        }
        seen.into_iter().for_each(|candidate| victims.offer(candidate));
    }

    /// Shows about so many keys of a database that may go, if they can be found soon enough.
    fn look(
        &self,
        rules: &Eviction,
        db: usize,
        enough: usize,
        victims: &mut Victims,
        random: &mut fastrand::Rng,
        each: &mut dyn FnMut(&mut Victims, u64, &Entry),
    ) {
        let table = &self.dbs[db];
        if table.is_empty() || rules.volatile && table.marked_len() == table.marked_in_part_len() {
            return;
        }
        victims.hands.resize(self.dbs.len(), 0);
        let sparse = rules.volatile && table.marked_len() < table.len() / 8;
        let (mut seen, mut buckets) = (0, 0);
        while seen < enough && buckets < BUCKETS_MAX {
            let position = if sparse { victims.hands[db] } else { random.u64(..) };
            let mut show = |entry: &Entry| {
                if !rules.volatile || entry.expire_at().is_some() {
                    seen += 1;
                    each(victims, self.hash(entry.key()), entry);
                }
            };
            let next = match rules.volatile {
                true => table.scan_marked(position, &mut show),
                false => table.scan(position, &mut show),
            };
            victims.hands[db] = next;
            buckets += 1;
        }
    }

    /// A key of any database, all being about equally likely.
    fn any_victim(
        &self,
        rules: &Eviction,
        victims: &mut Victims,
        random: &mut fastrand::Rng,
        is_held: &dyn Fn(u64) -> bool,
    ) -> Option<Candidate> {
        let eligible = |db: usize| match rules.volatile {
            true => self.dbs[db].marked_len() - self.dbs[db].marked_in_part_len(),
            false => self.dbs[db].len(),
        };
        let all: usize = (0..self.dbs.len()).map(eligible).sum();
        let mut at = random.usize(..all.max(1));
        let db = (0..self.dbs.len()).find(|&db| {
            let before = at;
            at = at.saturating_sub(eligible(db));
            before < eligible(db)
        })?;
        let mut found: SmallVec<[u64; POOL]> = SmallVec::new();
        let mut chance = random.fork();
        self.look(rules, db, 1, victims, &mut chance, &mut |_, hash, _| found.push(hash));
        found.retain(|hash| !is_held(*hash));
        let hash = *found.get(random.usize(..found.len().max(1)))?;
        Some(Candidate { urgency: 1, db, hash })
    }

    /// Whether a candidate is there and has not been used since it was found.
    fn is_still(&self, rules: &Eviction, candidate: &Candidate, now: i64) -> bool {
        self.entry_of(candidate)
            .and_then(|entry| rules.urgency(entry, self.access, now))
            .is_some_and(|urgency| urgency >= candidate.urgency)
    }

    fn entry_of(&self, candidate: &Candidate) -> Option<&Entry> {
        let Candidate { db, hash, .. } = *candidate;
        self.dbs.get(db)?.get_where(hash, |entry| self.hash(entry.key()) == hash)
    }

    fn key_of(&self, candidate: &Candidate) -> Option<SmallVec<[u8; 64]>> {
        self.entry_of(candidate).map(|entry| SmallVec::from_slice(entry.key()))
    }
}

impl Keys<'_> {
    /// Removes a key to make room. One whose time was over has expired instead.
    fn evict(&mut self, key: &[u8], lazy: bool) {
        let Some(entry) = self.pull(key) else { return };
        self.space.recorder.evicted(self.db, key, lazy);
        self.space.throw_away(self.db, entry);
        self.space.stats.evicted_keys.add(1);
        self.notify(EventClass::Evicted, "evicted", key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EventClasses;
    use crate::shard::{Encodings, Expiry, Settings};
    use std::sync::Arc;

    const START: i64 = 1_700_000_000_000;
    const LRU: Eviction = Eviction { order: Order::Use, volatile: false, samples: 5, lazy: false };

    fn shard(access: Access) -> Shard {
        let settings = Settings {
            bulk_len_max: 1 << 20,
            access,
            timing: crate::shard::TimingRules::QUIET,
            expire_effort: 1,
            lazy_flush: false,
            events: EventClasses::default(),
            encodings: Encodings::default(),
        };
        Shard::new(0, 7, settings, Arc::new(ShardStats::new(1, 16)))
    }

    fn set(shard: &mut Shard, key: u64, now: i64, ttl: Option<i64>) {
        let expiry = ttl.map_or(Expiry::Clear, |ttl| Expiry::At(now + ttl));
        let key = key.to_string();
        shard.keyspace.keys(0, now, true).set_string(key.as_bytes(), b"v", expiry);
    }

    fn has(shard: &mut Shard, key: u64, now: i64) -> bool {
        shard.keyspace.keys(0, now, false).contains(key.to_string().as_bytes())
    }

    fn evict(shard: &mut Shard, rules: &Eviction, now: i64, keys: usize) -> usize {
        (0..keys)
            .take_while(|_| {
                let victim = shard.next_victim(rules, now, &|_| false);
                victim.is_some_and(|victim| shard.evict(&victim, rules, now))
            })
            .count()
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let mut shard = shard(Access::Lru);
        (0..1000).for_each(|key| set(&mut shard, key, START + key as i64 * 1000, None));
        let now = START + 1_000_000;
        assert_eq!(evict(&mut shard, &LRU, now, 500), 500);
        let old = (0..500).filter(|&key| has(&mut shard, key, now)).count();
        assert!(old < 60, "{old} of the older half are left");
        assert!(
            (900..1000).all(|key| has(&mut shard, key, now)),
            "of the youngest tenth none goes"
        );
        assert_eq!(shard.stats.evicted_keys.get(), 500);
    }

    #[test]
    fn the_least_often_used_go_first() {
        let mut shard = shard(Access::Lfu { log_factor: 1, decay_minutes: 1 });
        (0..1000).for_each(|key| set(&mut shard, key, START, None));
        for key in 0..1000u64 {
            for _ in 0..if key < 500 { 1 } else { 50 } {
                shard.keyspace.keys(0, START, true).get(key.to_string().as_bytes());
            }
        }
        evict(&mut shard, &LRU, START, 450);
        let rare = (0..500).filter(|&key| has(&mut shard, key, START)).count();
        assert!(rare < 65, "{rare} of the rarely used half are left");
    }

    #[test]
    fn what_was_used_meanwhile_stays() {
        let mut shard = shard(Access::Lru);
        (0..40).for_each(|key| set(&mut shard, key, START, None));
        let now = START + 60_000;
        let first = shard.next_victim(&LRU, now, &|_| false).unwrap();
        let pool = shard.victims.pool.clone();
        assert!(pool.len() > 1 && pool.contains(&first));
        for used in &pool[1..] {
            let key = shard.keyspace.key_of(used).unwrap();
            shard.keyspace.keys(0, now, true).get(&key);
        }
        for _ in 0..10 {
            let next = shard.next_victim(&LRU, now, &|_| false).unwrap();
            assert!(!pool[1..].contains(&next), "it was used since it was found");
            assert_eq!(next.urgency, first.urgency);
        }
    }

    #[test]
    fn keys_with_an_expiry_are_found_among_many_without() {
        let mut shard = shard(Access::Lru);
        (0..30_000).for_each(|key| set(&mut shard, key, START, None));
        (30_000..30_010).for_each(|key| set(&mut shard, key, START, Some(1000 + key as i64)));
        for order in [Order::Ttl, Order::Random] {
            let rules = Eviction { order, volatile: true, ..LRU };
            assert_eq!(rules.eligible(&shard.stats), if order == Order::Ttl { 10 } else { 5 });
            let mut gone = 0;
            for _ in 0..1000 {
                gone += evict(&mut shard, &rules, START, 1);
                if gone == 5 {
                    break;
                }
            }
            assert_eq!(gone, 5);
        }
        assert_eq!(shard.keyspace.dbs[0].len(), 30_000);
        let rules = Eviction { volatile: true, ..LRU };
        assert_eq!((evict(&mut shard, &rules, START, 1), rules.eligible(&shard.stats)), (0, 0));
    }

    #[test]
    fn the_soonest_to_end_goes_first() {
        let mut shard = shard(Access::Lru);
        (0..200).for_each(|key| set(&mut shard, key, START, Some(1000 + key as i64)));
        let rules = Eviction { order: Order::Ttl, volatile: true, ..LRU };
        evict(&mut shard, &rules, START, 100);
        let sooner = (0..100).filter(|&key| has(&mut shard, key, START)).count();
        assert!(sooner < 15, "{sooner} of those that end sooner are left");
    }

    #[test]
    fn what_is_held_stays() {
        let mut shard = shard(Access::Lru);
        (0..50).for_each(|key| set(&mut shard, key, START, None));
        let held: Vec<u64> =
            (0..25u64).map(|key| shard.keyspace.hash(key.to_string().as_bytes())).collect();
        for order in [Order::Use, Order::Random] {
            let rules = Eviction { order, ..LRU };
            for _ in 0..1000 {
                if let Some(victim) = shard.next_victim(&rules, START, &|hash| held.contains(&hash))
                {
                    shard.evict(&victim, &rules, START);
                }
            }
        }
        assert!((0..25).all(|key| has(&mut shard, key, START)));
        assert!((25..50).all(|key| !has(&mut shard, key, START)));
    }

    #[test]
    fn random_takes_from_all_databases() {
        let mut shard = shard(Access::Lru);
        for db in [0, 3, 9] {
            for key in 0..100u64 {
                let mut keys = shard.keyspace.keys(db, START, true);
                keys.set_string(key.to_string().as_bytes(), b"v", Expiry::Clear);
            }
        }
        evict(&mut shard, &Eviction { order: Order::Random, ..LRU }, START, 150);
        for db in [0, 3, 9] {
            let left = shard.keyspace.dbs[db].len();
            assert!((25..75).contains(&left), "{left} in {db}");
        }
    }
}

//! Active expiry: removes keys whose time has come though nobody asks for them.
//!
//! Each database has a hand that goes round its buckets in the order of SCAN and looks at the
//! marked entries only. What the hand is about to reach has waited longest, so the expired share
//! of what it meets bounds the expired share of the whole database (of the keys with an expiry).
//! The hand has a pace, entries per call, which rises while that share is above the target and
//! falls slowly while it is below; and when the share is far above, a call does not end before it
//! has fallen, one whole round is done, or the time that the caller gives is up.
//!
//! A hash with fields that have expired is met like an expired key, loses all of them in small
//! steps, and stays.
//!
//! At the lowest pace, where entries with an expiry are rare, a call also ends after a fixed part
//! of the buckets, so that a round takes at most [`CALLS_PER_ROUND`] calls.
//!
//! Absent: a queue of keys ordered by their time. It would cost memory for every key with an
//! expiry and work whenever one changes; a mark in the bucket costs a bit.

use super::events::raise_expired;
use super::keyspace::hash_of;
use super::{Keyspace, Shard};
use crate::session::ClientRef;

/// With so many calls the hand has gone round, however few entries have an expiry. Called ten times
/// a second, that is ten seconds.
const CALLS_PER_ROUND: usize = 100;
/// Fewest buckets for a call to look at.
const BUCKETS_MIN: usize = 16;
/// The share is that of the last entries met: half of so many to all of them.
const MEMORY: usize = 200;
/// Times the target from which on a call does not end.
const FAR_ABOVE: usize = 2;
/// Percent of the pace to which one call can change it.
const PACE_FALL: usize = 95;
const PACE_RISE: usize = 150;
/// Parts of a value to remove between two looks at the clock.
const PARTS_STEP: usize = 256;
/// Buckets between two looks at the clock.
const BUCKETS_PER_CHECK: usize = 16;

/// Where the hands are.
#[derive(Debug, Default)]
pub(super) struct ExpireCycle {
    /// The database to begin with.
    first_db: usize,
    hands: Vec<Hand>,
}

/// What is known of one database.
#[derive(Debug, Default, Clone, Copy)]
struct Hand {
    position: u64,
    /// Marked entries to meet in one call.
    pace: usize,
    /// Of the marked entries met lately, how many there were and how many had expired.
    seen: usize,
    expired: usize,
}

/// How hard the hand works, from `active-expire-effort` (1 to 10).
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// The lowest pace.
    pace_min: usize,
    /// Permille of expired entries in front of the hand to aim at.
    target: usize,
}

impl Effort {
    fn new(level: u32) -> Effort {
        let extra = (level.clamp(1, 10) - 1) as usize;
        Effort { pace_min: 20 + 5 * extra, target: 60 - 6 * extra }
    }
}

impl Shard {
    /// Removes expired keys until few are left or `time_is_up`; `true` when it was the time and
    /// another call should follow soon.
    ///
    /// To be called about ten times a second. What a caller spends on calls that follow soon is
    /// the share of the processor that expiry may take.
    pub fn expire_cycle(&mut self, now: i64, time_is_up: &mut dyn FnMut() -> bool) -> bool {
        let Shard { keyspace, expire, settings, .. } = self;
        if !keyspace.active_expire {
            return false;
        }
        let effort = Effort::new(settings.expire_effort);
        let count = keyspace.dbs.len();
        expire.hands.resize(count, Hand::default());
        for _ in 0..count {
            // The next call begins elsewhere, so that one database cannot take all the time.
            let db = expire.first_db % count;
            expire.first_db = (db + 1) % count;
            if !expire.hands[db].advance(keyspace, db, now, effort, time_is_up) {
                return true;
            }
        }
        false
    }
}

impl Hand {
    /// Goes on in one database; `false` when the time was up before it was done.
    fn advance(
        &mut self,
        keyspace: &mut Keyspace,
        db: usize,
        now: i64,
        effort: Effort,
        time_is_up: &mut dyn FnMut() -> bool,
    ) -> bool {
        let round = keyspace.dbs[db].buckets();
        let enough = (round / CALLS_PER_ROUND).max(BUCKETS_MIN);
        self.pace = self.pace.max(effort.pace_min);
        let (mut met, mut worn) = (0, Vec::new());
        for visited in 1..=round {
            if keyspace.dbs[db].marked_len() == 0 {
                *self = Hand { position: self.position, ..Hand::default() };
                return true;
            }
            let here = self.position;
            let (seen, expired) = keyspace.expire_bucket(db, &mut self.position, now, &mut worn);
            for key in worn.drain(..) {
                while keyspace.keys(db, now, false).purge_parts(&key, PARTS_STEP) {
                    if time_is_up() {
                        self.position = here;
                        return false;
                    }
                }
            }
            met += seen;
            self.record(seen, expired);
            let far_enough =
                met >= self.pace || (self.pace == effort.pace_min && visited >= enough);
            if far_enough && self.share() <= effort.target * FAR_ABOVE {
                break;
            }
            if visited % BUCKETS_PER_CHECK == 0 && time_is_up() {
                return false;
            }
        }
        let rise = (self.share() * 100 / effort.target).clamp(PACE_FALL, PACE_RISE);
        let pace_max = keyspace.dbs[db].marked_len().max(effort.pace_min);
        self.pace = (self.pace * rise).div_ceil(100).clamp(effort.pace_min, pace_max);
        true
    }

    fn record(&mut self, seen: usize, expired: usize) {
        self.seen += seen;
        self.expired += expired;
        if self.seen > MEMORY {
            self.seen /= 2;
            self.expired /= 2;
        }
    }

    /// Permille of the entries met lately that had expired.
    fn share(&self) -> usize {
        self.expired * 1000 / self.seen.max(1)
    }
}

impl Keyspace {
    /// Removes the expired keys of the bucket at `position` and moves on to the next one. Adds to
    /// `worn` the keys of whose values parts have expired. Gives how many keys with an expiry
    /// there were and how many of them went or are worn.
    fn expire_bucket(
        &mut self,
        db: usize,
        position: &mut u64,
        now: i64,
        worn: &mut Vec<Box<[u8]>>,
    ) -> (usize, usize) {
        let (mut seen, mut expired) = (0, 0);
        let mut wanted = |entry: &crate::data::Entry| {
            seen += 1;
            let expired = entry.is_expired(now);
            if !expired && entry.has_expired_parts(now) {
                worn.push(entry.key().into());
            }
            expired
        };
        let Keyspace {
            dbs,
            watches,
            tracking,
            graveyard,
            channels,
            notifies,
            hasher,
            recorder,
            saving,
            ..
        } = self;
        let mut taken = |mut entry: crate::data::Entry| {
            expired += 1;
            if let Some(watches) = watches {
                watches.touch(db, entry.key());
            }
            if *notifies {
                raise_expired(channels, (db, hash_of(hasher, entry.key())), &entry, now);
            }
            if recorder.is_on() {
                recorder.expired(db, entry.key());
            }
            if let Some(tracking) = tracking {
                tracking.touch(hash_of(hasher, entry.key()), entry.key(), ClientRef::NOBODY);
            }
            if let Some(saving) = saving {
                saving.give_up(db, &mut entry);
            }
            graveyard.bury(entry);
        };
        *position = dbs[db].extract_marked(*position, &mut wanted, &mut taken);
        if expired > 0 {
            self.stats.expired_keys.add(expired as u64);
            self.publish(db);
        }
        (seen, expired + worn.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EventClasses;
    use crate::metrics::ShardStats;
    use crate::shard::{Access, Encodings, Expiry, Settings};
    use std::sync::Arc;

    fn shard() -> Shard {
        let settings = Settings {
            bulk_len_max: 1 << 20,
            access: Access::Lru,
            expire_effort: 1,
            lazy_flush: false,
            events: EventClasses::default(),
            encodings: Encodings::default(),
            timing: crate::shard::TimingRules::QUIET,
        };
        Shard::new(0, 7, settings, Arc::new(ShardStats::new(1, 16)))
    }

    fn set(shard: &mut Shard, db: usize, key: u64, now: i64, ttl: Option<i64>) {
        let expiry = ttl.map_or(Expiry::Clear, |ttl| Expiry::At(now + ttl));
        let key = key.to_string();
        shard.keyspace.keys(db, now, true).set_string(key.as_bytes(), b"v", expiry);
    }

    fn expired_and_all(shard: &Shard, db: usize, now: i64) -> (usize, usize) {
        let table = &shard.keyspace.dbs[db];
        let late = |entry: &&crate::data::Entry| entry.expire_at().is_some_and(|at| now > at);
        (table.iter().filter(late).count(), table.marked_len())
    }

    /// Runs `seconds` of a load that adds keys with mixed times to live, each tenth of a second
    /// one cycle of at most `slices` slices; checks the share of expired keys from `warm` on.
    fn simulate(per_tick: u64, lasting: u64, seconds: i64, warm: i64, slices: usize) -> usize {
        let mut shard = shard();
        let mut random = fastrand::Rng::with_seed(3);
        let mut now = 1_700_000_000_000;
        for key in 0..lasting {
            set(&mut shard, 0, key, now, None);
        }
        let (mut key, mut checks, mut worst) = (lasting, 0, 0);
        for tick in 0..seconds * 10 {
            now += 100;
            for _ in 0..per_tick {
                let ttl = match random.u32(0..10) {
                    0..4 => random.i64(100..2000),
                    4..8 => random.i64(2000..20_000),
                    _ => 3_600_000,
                };
                set(&mut shard, 0, key, now, Some(ttl));
                key += 1;
            }
            let mut left = slices;
            let mut time_is_up = || {
                checks += 1;
                left = left.saturating_sub(1);
                left == 0
            };
            shard.expire_cycle(now, &mut time_is_up);
            let (expired, all) = expired_and_all(&shard, 0, now);
            if tick >= warm * 10 {
                worst = worst.max(expired * 100 / all.max(1));
            }
        }
        let (_, all) = expired_and_all(&shard, 0, now);
        assert_eq!(shard.stats.per_db[0].expires.get(), all as u64);
        assert_eq!(shard.stats.per_db[0].keys.get(), all as u64 + lasting);
        assert!(worst < 10, "{worst} % of the keys with an expiry had expired");
        checks * BUCKETS_PER_CHECK / (seconds as usize * 10)
    }

    #[test]
    fn expired_keys_stay_under_a_tenth_whatever_their_times() {
        let buckets = simulate(200, 0, 60, 5, 1000);
        assert!(buckets < 600, "{buckets} buckets per cycle for 200 new keys");
    }

    #[test]
    fn rare_expiries_in_a_big_table_are_found_too() {
        let buckets = simulate(5, 100_000, 60, 5, 10_000);
        assert!(buckets < 12_000, "{buckets} buckets per cycle of about 20,000");
    }

    #[test]
    fn a_burst_is_worked_off_in_slices() {
        let mut shard = shard();
        for key in 0..20_000 {
            set(&mut shard, (key % 2) as usize * 5, key, 0, Some(1000));
        }
        assert!(!shard.expire_cycle(1000, &mut || false));
        assert_eq!(shard.keyspace.dbs[5].len(), 10_000, "their last millisecond has not passed");
        let mut calls = 0;
        let mut checks = 0;
        while shard.keyspace.dbs[0].len() + shard.keyspace.dbs[5].len() > 0 {
            let mut left = 10;
            let more = shard.expire_cycle(1001, &mut || {
                checks += 1;
                left -= 1;
                left == 0
            });
            calls += 1;
            assert!(more || calls > 10);
            assert!(calls < 1000);
        }
        assert!(calls >= checks / 10 && checks < 2000, "{calls} calls, {checks} checks");
        assert_eq!(shard.stats.expired_keys.get(), 20_000);
        assert!(!shard.expire_cycle(1001, &mut || panic!("nothing is left to do")));
    }

    #[test]
    fn it_can_be_switched_off() {
        let mut shard = shard();
        set(&mut shard, 0, 1, 0, Some(1));
        shard.keyspace.active_expire = false;
        assert!(!shard.expire_cycle(5000, &mut || false));
        assert_eq!(shard.keyspace.dbs[0].len(), 1);
        shard.keyspace.active_expire = true;
        shard.expire_cycle(5000, &mut || false);
        assert_eq!(shard.keyspace.dbs[0].len(), 0);
    }
}

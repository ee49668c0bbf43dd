//! Active expiry: removes keys whose time has come though nobody asks for them.
//!
//! Each database has a hand that goes round its buckets in the order of SCAN and looks at the
//! marked entries only. What the hand is about to reach has waited longest, so the expired share
//! of what it meets bounds the expired share of the whole database (of the keys with an expiry).
//! The hand stops after a few entries while that share is acceptable, and goes on as long as it
//! is not, up to one whole round or to the end of the time that the caller gives.
//!
//! Where entries with an expiry are rare, a stop after a few of them would come late; there the
//! hand stops after a fixed part of the buckets, so that a round takes [`CALLS_PER_ROUND`] calls.
//!
//! Absent: a queue of keys ordered by their time. It would cost memory for every key with an
//! expiry and work whenever one changes; a mark in the bucket costs a bit.

use super::{Keyspace, Shard};

/// With so many calls the hand has gone round, however few entries have an expiry. Called ten times
/// a second, that is ten seconds.
const CALLS_PER_ROUND: usize = 100;
/// Fewest buckets for a call to look at.
const BUCKETS_MIN: usize = 16;
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
    /// Marked entries seen since the share was last judged, and those of them that had expired.
    seen: usize,
    expired: usize,
    /// Whether the share was too high when it was last judged.
    late: bool,
}

/// How hard the hand works, from `active-expire-effort` (1 to 10).
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// So many entries make a judgement.
    sample: usize,
    /// Percent of expired entries that are no reason to go on.
    acceptable: usize,
}

impl Effort {
    fn new(level: u32) -> Effort {
        let extra = (level.clamp(1, 10) - 1) as usize;
        Effort { sample: 20 + 5 * extra, acceptable: 10 - extra }
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
        let mut judged = false;
        for visited in 1..=round {
            if keyspace.dbs[db].marked_len() == 0 {
                *self = Hand { position: self.position, ..Hand::default() };
                return true;
            }
            let (seen, expired) = keyspace.expire_bucket(db, &mut self.position, now);
            self.seen += seen;
            self.expired += expired;
            if self.seen >= effort.sample {
                self.judge(effort);
                judged = true;
            }
            if !self.late && (judged || visited >= enough) {
                return true;
            }
            if visited % BUCKETS_PER_CHECK == 0 && time_is_up() {
                return false;
            }
        }
        self.judge(effort);
        true
    }

    fn judge(&mut self, effort: Effort) {
        self.late = self.expired * 100 > self.seen * effort.acceptable;
        self.seen = 0;
        self.expired = 0;
    }
}

impl Keyspace {
    /// Removes the expired keys of the bucket at `position` and moves on to the next one. Gives
    /// how many keys with an expiry there were and how many of them went.
    fn expire_bucket(&mut self, db: usize, position: &mut u64, now: i64) -> (usize, usize) {
        let (mut seen, mut expired) = (0, 0);
        let mut wanted = |entry: &crate::data::Entry| {
            seen += 1;
            entry.expire_at().is_some_and(|at| now > at)
        };
        let mut taken = |entry| {
            expired += 1;
            drop(entry);
        };
        *position = self.dbs[db].extract_marked(*position, &mut wanted, &mut taken);
        if expired > 0 {
            self.stats.expired_keys.add(expired as u64);
            self.publish(db);
        }
        (seen, expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ShardStats;
    use crate::shard::{Access, Expiry, Settings};
    use std::sync::Arc;

    fn shard() -> Shard {
        let settings = Settings { bulk_len_max: 1 << 20, access: Access::Lru, expire_effort: 1 };
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
        assert!(buckets < 400, "{buckets} buckets per cycle for 200 new keys");
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

//! How much memory connections use, and closing those that use most (`maxmemory-clients`).
//!
//! What a connection uses is counted now and then, and while there is a limit whenever it was served. A shard
//! sorts its connections into buckets of about the same use, each for twice as much as the one before:
//!
//! ```text
//!   bucket 0: below 32 kB │ 1: below 64 kB │ ... │ 18: 4 GB and more      the last ones go first
//! ```
//!
//! The limit is for the clients of all shards together. The shard with the fullest bucket closes the clients in
//! it; another one that sees the limit passed wakes that.
//!
//! Absent: exact order within a bucket, as in Redis.

use super::conn::Conn;
use super::worker::Worker;
use crate::config::Values;
use crate::rt::Token;
use std::collections::BTreeSet;

/// Bits of the largest use in the first bucket.
const FIRST_BITS: u32 = 15;
const BUCKETS: u32 = 19;
/// A lower limit would leave no room to set another one, bytes.
const LIMIT_MIN: u64 = 128 << 10;

/// The connections of a shard by what they use.
#[derive(Default)]
pub struct Crowd {
    /// 0 is no limit.
    limit: u64,
    /// Those that may be closed. The one that has been in its bucket for longest comes first.
    buckets: BTreeSet<(u8, u64, Token)>,
    turn: u64,
}

/// What of that a connection knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    bytes: u32,
    /// Its bucket and 1, or 0, and since when it is there.
    bucket: u8,
    turn: u64,
}

impl Counted {
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// What connections are beyond [`u32::MAX`] bytes makes no difference to who goes first.
fn clipped(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn limit(config: &Values) -> u64 {
    match config.maxmemory_clients.limit(config.maxmemory) {
        0 => 0,
        limit => limit.max(LIMIT_MIN),
    }
}

fn bucket_of(bytes: usize) -> u8 {
    (usize::BITS - (bytes >> FIRST_BITS).leading_zeros()).min(BUCKETS - 1) as u8
}

impl Crowd {
    pub fn new(config: &Values) -> Crowd {
        Crowd { limit: limit(config), ..Crowd::default() }
    }

    #[inline]
    pub fn is_limited(&self) -> bool {
        self.limit > 0
    }
}

impl Worker {
    /// Counts anew what a connection uses; one that is about to be closed uses nothing.
    pub(super) fn count_client(&mut self, token: Token, conn: &mut Conn) {
        let bytes = if conn.kill_now { 0 } else { conn.memory() };
        let may_go = self.crowd.is_limited() && !conn.session.no_evict && !conn.kill_now;
        self.recount(token, conn, bytes, may_go);
    }

    /// Counts anew what a connection uses to which nothing has happened.
    pub(super) fn with_counted(&mut self, token: Token) {
        if let Some(mut conn) = self.take(token) {
            self.count_client(token, &mut conn);
            self.put(token, conn);
        }
    }

    /// A connection leaves this shard.
    pub(super) fn uncount_client(&mut self, token: Token, conn: &mut Conn) {
        self.recount(token, conn, 0, false);
    }

    fn recount(&mut self, token: Token, conn: &mut Conn, bytes: usize, may_go: bool) {
        let Counted { bytes: before, bucket: old, turn } = conn.counted;
        let stats = &self.shard.stats;
        stats.clients_memory.add(u64::from(clipped(bytes)).wrapping_sub(u64::from(before)));
        conn.counted.bytes = clipped(bytes);
        let new = if may_go { bucket_of(bytes) + 1 } else { 0 };
        if new == old {
            return;
        }
        let Crowd { buckets, turn: turns, .. } = &mut self.crowd;
        if old > 0 {
            buckets.remove(&(old, turn, token));
        }
        if new > 0 {
            *turns += 1;
            conn.counted.turn = *turns;
            buckets.insert((new, *turns, token));
        }
        conn.counted.bucket = new;
        let fullest = buckets.last().map_or(0, |(bucket, ..)| *bucket);
        stats.fullest_bucket.set(u64::from(fullest));
    }

    /// How much more clients use than all together may, if some of them can be closed.
    #[inline]
    pub(super) fn clients_beyond_limit(&self) -> u64 {
        if !self.crowd.is_limited() {
            return 0;
        }
        let all = &self.shared.env.stats;
        match all.iter().any(|stats| stats.fullest_bucket.get() > 0) {
            true => self.clients_memory().saturating_sub(self.crowd.limit),
            false => 0,
        }
    }

    fn clients_memory(&self) -> u64 {
        self.shared.env.stats.iter().map(|stats| stats.clients_memory.get()).sum()
    }

    /// Closes clients while all together use more than they may.
    pub(super) fn evict_clients(&mut self) {
        while self.crowd.is_limited() {
            let all = &self.shared.env.stats;
            if self.clients_memory() < self.crowd.limit {
                return;
            }
            let fullest = |shard: &usize| all[*shard].fullest_bucket.get();
            // Of equally full ones it is the first one's turn, lest two close clients at the same time.
            let first = (0..all.len()).rev().max_by_key(fullest).unwrap_or(self.index);
            if fullest(&first) == 0 {
                return;
            }
            if first != self.index {
                return self.wake_evictor(first);
            }
            if !self.close_largest() {
                return;
            }
        }
    }

    /// Closes the first client of the fullest bucket; `false` when there is none.
    fn close_largest(&mut self) -> bool {
        let Some(&(top, ..)) = self.crowd.buckets.last() else { return false };
        let first = self.crowd.buckets.range((top, 0, Token { index: 0, generation: 0 })..).next();
        let Some(&(bucket, turn, token)) = first else { return false };
        let Some(mut conn) = self.take(token) else {
            // It is being served, and comes back when it was.
            self.crowd.buckets.remove(&(bucket, turn, token));
            return true;
        };
        tracing::info!(
            client = conn.session.id,
            address = conn.session.peer.address(),
            bytes = conn.memory(),
            "evicting a client: maxmemory-clients"
        );
        self.shard.stats.evicted_clients.add(1);
        conn.kill_now = true;
        self.note_passing(conn.memory());
        self.count_client(token, &mut conn);
        self.put(token, conn);
        true
    }

    /// Counts all clients of this shard by a new configuration.
    pub(super) fn limit_clients(&mut self, config: &Values) {
        self.crowd.limit = limit(config);
        for token in self.tokens() {
            let Some(mut conn) = self.take(token) else { continue };
            self.count_client(token, &mut conn);
            self.put(token, conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        let of = |kilobytes: usize| bucket_of(kilobytes << 10);
        assert_eq!([0, 31, 32, 63, 64, 128].map(of), [0, 0, 1, 1, 2, 3]);
        assert_eq!((bucket_of(1 << 40), bucket_of(usize::MAX)), (18, 18));
    }
}

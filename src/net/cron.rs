//! What a worker does now and then: expiry, freeing, clients that have been silent for too long.
//!
//! All of it in slices, so that no command waits for more than one of them.

use super::worker::Worker;
use crate::clock;
use crate::metrics::{LatencyEvent, Rates};
use crate::rt::Io;
use std::time::Duration;

/// Connections looked at in one round, at least; with `dynamic-hz` more of them mean more rounds.
const CONNS_ROUND: usize = 256;
const HZ_MAX: u32 = 500;
/// Longest piece of expiry work between two turns of the loop.
const EXPIRE_SLICE: Duration = Duration::from_micros(500);

/// Work of the background that is under way.
#[derive(Debug, Default)]
pub(super) struct Background {
    /// When the next round begins, milliseconds since the epoch.
    next_round: i64,
    /// CPU time that expiry may still use in this round.
    expire_budget: Duration,
    /// Expiry stopped because its slice was over, not because it was done.
    expire_more: bool,
    /// Where the walk over the connections goes on.
    conn_walk: usize,
    pub(super) rates: Rates,
    /// What the walk has seen of the connections so far.
    seen: Seen,
}

/// The state of some connections together.
#[derive(Debug, Default)]
struct Seen {
    watching_clients: u64,
    watched_keys: u64,
    input_buffer_max: u64,
    output_buffer_max: u64,
}

impl Worker {
    /// Milliseconds until there is something to do.
    pub(super) fn background_wait(&self) -> i64 {
        self.background.next_round - self.now
    }

    /// Begins a round when it is time, and does a slice of what is under way.
    pub(super) fn work_in_background(&mut self, io: &mut dyn Io) {
        let round_ms = self.round_ms();
        let due = self.now >= self.background.next_round;
        // A clock that was set back must not stop the rounds.
        if due || self.background_wait() > round_ms {
            self.background.next_round = self.now + round_ms;
            self.background.expire_budget = self.expire_budget();
            self.background.expire_more = true;
            self.look_at_conns(io);
            self.background.rates.sample(self.now, &self.shard.stats, clock::thread_cpu);
            self.look_after_saves(io);
            self.look_after_memory();
        }
        if self.background.expire_more
            && !self.pause.keeps_expired()
            && !self.line.intents.holds_all()
        {
            self.expire_slice();
            if self.has_ready() {
                self.serve();
            }
        }
        self.look_after_tracking(due);
        self.save_slice();
        self.more |= self.shard.keyspace.free_piece();
    }

    /// The time between two rounds.
    fn round_ms(&self) -> i64 {
        let mut hz = self.limits.hz.max(1);
        while self.limits.dynamic_hz && self.conn_slots() / hz as usize > CONNS_ROUND && hz < HZ_MAX
        {
            hz = (hz * 2).min(HZ_MAX);
        }
        i64::from(1000 / hz)
    }

    /// As in Redis: a quarter of the CPU, and two hundredths more for each step of effort above 1.
    fn expire_budget(&self) -> Duration {
        let percent = 25 + 2 * (self.shard.settings.expire_effort.clamp(1, 10) - 1);
        Duration::from_millis(self.round_ms() as u64) * percent / 100
    }

    fn expire_slice(&mut self) {
        let slice = EXPIRE_SLICE.min(self.background.expire_budget);
        let start = clock::monotonic();
        let more = self.shard.expire_cycle(self.now, &mut || start.elapsed() >= slice);
        let spent = start.elapsed();
        self.note_event(LatencyEvent::ExpireCycle, spent);
        let budget = &mut self.background.expire_budget;
        *budget = budget.saturating_sub(spent);
        let stopped = more && budget.is_zero();
        self.background.expire_more = more && !stopped;
        self.shard.stats.expire_ns.add(spent.as_nanos() as u64);
        self.shard.stats.expire_stops.add(u64::from(stopped));
        self.more |= self.background.expire_more;
    }

    /// Looks at some of the connections: closes those that have been silent for too long, has those
    /// that are owed too much looked at although nothing happens to them, and adds up their state.
    fn look_at_conns(&mut self, io: &mut dyn Io) {
        let silence_ms = i64::from(self.limits.timeout_s) * 1000;
        let slots = self.conn_slots();
        // All of them within a second, as in Redis.
        let round = CONNS_ROUND.max(slots * self.round_ms() as usize / 1000);
        for _ in 0..slots.min(round) {
            self.background.conn_walk = (self.background.conn_walk + 1) % slots;
            if self.background.conn_walk == 0 {
                self.publish_seen();
            }
            let Some((token, conn)) = self.conn_at(self.background.conn_walk) else { continue };
            if conn.memory() != conn.counted.bytes() {
                self.with_counted(token);
            }
            let Some((token, conn)) = self.conn_at(self.background.conn_walk) else { continue };
            let (session, facts) = (&conn.session, conn.facts(0));
            let late = conn.tls.as_ref().is_some_and(|tls| tls.is_late(self.now));
            let (watched, output) = (session.watched as u64, facts.omem as u64);
            let (silent, over) = (
                silence_ms > 0
                    && !session.is_subscriber()
                    && !session.monitor
                    && self.now - session.active_at > silence_ms
                    && conn.waits_for_peer(),
                conn.over_soft_limit_since.is_some(),
            );
            let seen = &mut self.background.seen;
            seen.watching_clients += u64::from(watched > 0);
            seen.watched_keys += watched;
            seen.input_buffer_max = seen.input_buffer_max.max(facts.qbuf as u64);
            seen.output_buffer_max = seen.output_buffer_max.max(output);
            if over {
                self.mark_dirty(token);
            } else if late && let Some(conn) = self.take(token) {
                tracing::debug!(client = conn.session.id, "a TLS handshake takes too long");
                self.drop_conn(io, token, conn);
            } else if silent && let Some(conn) = self.take(token) {
                tracing::debug!(client = conn.session.id, "closing a client that has been idle");
                self.drop_conn(io, token, conn);
            }
        }
    }

    /// Says what the walk has seen of all connections.
    fn publish_seen(&mut self) {
        let (seen, stats) = (std::mem::take(&mut self.background.seen), &self.shard.stats);
        stats.watching_clients.set(seen.watching_clients);
        stats.watched_keys.set(seen.watched_keys);
        stats.input_buffer_max.set(seen.input_buffer_max);
        stats.output_buffer_max.set(seen.output_buffer_max);
    }
}

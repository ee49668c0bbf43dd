//! Keeping the server below its memory limit.
//!
//! ```text
//!   turn ends ──> the shard shows its balance        (metrics::MemorySum)
//!   a command comes, a batch, a turn ends:
//!     balance + what the others have shown > limit ──> make_room
//!        └─ frees what is gone ─ evicts the best candidate ─ ... until there is room, or the slice is over
//! ```
//!
//! The limit is for the whole server, and so is the order in which keys go: each shard shows how urgently its
//! best candidate should go. A shard that is short of memory evicts its own keys while they are the most
//! urgent; else it wakes the shard with better ones. For that there is some slack below the limit: within it
//! shards defer to each other, and beyond the limit nobody waits, and a shard evicts what it has. The slack
//! is 2 kB while keys come one by one, and up to a 256th of the limit when they come in masses.
//!
//! Keys that are promised to a transaction stay. Nothing is evicted in the middle of a block or a script: these
//! are only asked before they begin.
//!
//! What is in use can pass the limit for a moment, by no more than:
//! - one command's growth on each shard, since it is asked before it runs, and what the others have allocated in
//!   their present turn, which is shown at its end;
//! - invalidations that were sent just now, until the shard's next turn;
//! - buffers of what clients send and are sent in the turn: they are counted, and nobody refuses them. With 20
//!   clients that pipeline 50 SETs of 1 kB and `noeviction` that is the most, 0.6 MB on two shards.
//!
//! When nothing may be evicted, on no shard, commands that could make the data grow are refused, as in
//! Redis; by the shard of the client, before any part of them runs.

use super::conn::Conn;
use super::worker::Worker;
use crate::clock;
use crate::command::{Command, CommandId, DENYOOM, InMulti, Run};
use crate::config::{EvictionPolicy, Values};
use crate::error::CmdError;
use crate::metrics::{Drift, LatencyEvent};
use crate::resp::Args;
use crate::rt::heap;
use crate::shard::{Candidate, Eviction, Intent, Order};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(super) const OUT_OF_MEMORY: CmdError =
    CmdError::fixed("OOM command not allowed when used memory > 'maxmemory'.");

/// Evictions between two looks at the clock.
const AT_ONCE: u32 = 16;
/// Elements that are freed between two of them.
const FREE_STEP: usize = 512;

/// Work is bounded by the number of samples, so it has a bound that can be afforded.
const SAMPLES_MAX: u32 = 64;
/// Rounds of background work between two looks at all that the allocator has, some tens of microseconds.
const DRIFT_ROUNDS: u32 = 5;
/// As many between two looks at what is resident: a multiple of it.
const RESIDENT_ROUNDS: u32 = 50;
/// Empty pages that are worth giving back, bytes.
const EMPTY_MIN: u64 = 16 << 20;

/// How it stands with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// It is being made, here or by another shard.
    Making,
    /// None, and there is nothing that may go.
    None,
}

/// What a shard knows of memory.
pub struct Memory {
    /// Most bytes of the whole server; 0 is no limit.
    limit: i64,
    /// Most bytes of slack.
    slack_max: i64,
    /// Where shards begin to make room, as of this turn.
    soft: i64,
    /// None: nothing may go.
    rules: Option<Eviction>,
    slice: Duration,
    /// Everything but what this shard has allocated, as of this turn.
    beside: i64,
    /// That was in this turn.
    is_seen: bool,
    /// A command came when there was no room and nothing to evict.
    pub(super) out: bool,
    /// Since when there is too little room.
    exceeded: Option<Instant>,
    /// Bytes that will soon be free, as of this turn and of the one before.
    passing: [i64; 2],
    /// Shards with better candidates, to be woken at the end of the turn.
    to_wake: Vec<usize>,
    drift: Drift,
    /// Rounds of the background work, counted.
    rounds: u32,
}

impl Memory {
    pub fn new(config: &Values, shards: usize) -> Memory {
        let limit = i64::try_from(config.maxmemory).unwrap_or(i64::MAX);
        let slack_max = if shards > 1 { (limit / 256).clamp(0, 4 << 20) } else { 0 };
        Memory {
            limit,
            slack_max,
            soft: limit,
            rules: rules(config),
            slice: slice(config.maxmemory_eviction_tenacity),
            beside: 0,
            is_seen: false,
            out: false,
            exceeded: None,
            passing: [0; 2],
            to_wake: Vec::new(),
            drift: Drift::default(),
            rounds: 0,
        }
    }

    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.limit > 0
    }
}

fn rules(config: &Values) -> Option<Eviction> {
    use EvictionPolicy as Policy;
    let (volatile, order) = match config.maxmemory_policy {
        Policy::NoEviction => return None,
        Policy::VolatileLru | Policy::VolatileLfu => (true, Order::Use),
        Policy::AllKeysLru | Policy::AllKeysLfu => (false, Order::Use),
        Policy::VolatileTtl => (true, Order::Ttl),
        Policy::VolatileRandom => (true, Order::Random),
        Policy::AllKeysRandom => (false, Order::Random),
    };
    let samples = config.maxmemory_samples.min(SAMPLES_MAX) as usize;
    Some(Eviction { order, volatile, samples, lazy: config.lazyfree_lazy_eviction })
}

/// As in Redis: up to 10 in steps of 50 microseconds, and then each step is 15 percent longer.
fn slice(tenacity: u32) -> Duration {
    match tenacity {
        0..=10 => Duration::from_micros(50 * u64::from(tenacity)),
        11..100 => Duration::from_micros((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64),
        _ => Duration::MAX,
    }
}

impl Worker {
    /// What this shard has allocated less what it has freed.
    #[inline]
    fn balance(&self) -> i64 {
        match self.shared.env.memory.per_key() {
            None => heap::balance(),
            Some(bytes) => {
                let keys: u64 = self.shard.stats.per_db.iter().map(|db| db.keys.get()).sum();
                keys as i64 * bytes
            }
        }
    }

    /// Bytes that are to be below the limit: as in Redis, without what evictions only add to, which is
    /// what waits to be written to files and invalidations on their way; and without clients that are being
    /// closed, or will be since together they use too much.
    #[inline]
    fn used(&self) -> i64 {
        self.memory.beside + self.balance()
    }

    /// Whether there is no room for more.
    #[inline]
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.is_limited() && self.used() > self.memory.limit
    }

    /// Shows what this shard uses, and sees what the others do.
    #[inline]
    pub(super) fn show_memory(&mut self) {
        self.show_balance();
        self.memory.is_seen = false;
        self.see_memory();
    }

    /// Shows what this shard uses: also before others are told of what has changed that.
    #[inline]
    pub(super) fn show_balance(&self) {
        let balance = self.balance();
        self.shared.env.memory.show(self.index, balance);
        if let Some(rules) = &self.memory.rules
            && self.memory.is_limited()
        {
            self.shared.env.memory.show_eligible(self.index, rules.eligible(&self.shard.stats));
        }
    }

    /// Keys of a shard that may go. Those of another one as of when it last showed what it uses, so
    /// that both fit together.
    fn eligible(&self, rules: &Eviction, shard: usize) -> u64 {
        match shard == self.index {
            true => rules.eligible(&self.shard.stats),
            false => self.shared.env.memory.eligible(shard),
        }
    }

    /// Whether there are keys that may go, on any shard.
    fn has_eligible(&self, rules: &Eviction) -> bool {
        (0..self.slots.shards()).any(|shard| self.eligible(rules, shard) > 0)
    }

    /// Sees what the others use, once a turn.
    #[inline]
    pub(super) fn see_memory(&mut self) {
        if self.memory.is_limited() && !self.memory.is_seen {
            self.memory.is_seen = true;
            let pending = self.shared.env.persist.pending.load(Ordering::Relaxed);
            let memory = &self.shared.env.memory;
            let passing = memory.passing() + pending as i64 + self.clients_beyond_limit() as i64;
            self.memory.beside = memory.beside(self.index) - passing;
            let slack = memory.slack().min(self.memory.slack_max);
            self.memory.soft = self.memory.limit - slack;
        }
    }

    /// So many bytes are free within a turn or two: of an invalidation that was sent, unless its client does not
    /// read, or of a client that is closed. If they counted, an eviction could lead to ever more of them.
    #[inline]
    pub(super) fn note_passing(&mut self, bytes: usize) {
        let memory = &mut self.memory;
        memory.passing[0] += bytes as i64;
        memory.beside -= bytes as i64;
        self.shared.env.memory.show_passing(self.index, memory.passing.iter().sum());
    }

    /// At the end of a turn: makes room if there is too little.
    #[inline]
    pub(super) fn watch_memory(&mut self) {
        self.memory.passing = [0, self.memory.passing[0]];
        self.shared.env.memory.show_passing(self.index, self.memory.passing[1]);
        self.show_memory();
        // What is done from here on is the next turn's, which may come after a long sleep.
        self.memory.is_seen = false;
        let memory = &self.memory;
        if memory.is_limited() && (self.used() > memory.soft || memory.exceeded.is_some()) {
            self.more |= self.make_room() == Room::Making && self.memory.to_wake.is_empty();
        }
    }

    /// Before commands that may need memory: makes room if there is none.
    #[inline(always)]
    pub(super) fn ask_for_room(&mut self) {
        if self.memory.is_limited() {
            self.look_for_room();
        }
    }

    fn look_for_room(&mut self) {
        self.see_memory();
        self.memory.out = self.is_short_of_memory() && self.make_room() == Room::None;
    }

    /// Evicts until there is room, for as long as a slice of work may take.
    #[cold]
    pub(super) fn make_room(&mut self) -> Room {
        if self.shared.loading.load(Ordering::Relaxed) > 0
            || self.busy.is_on()
            || self.pause.keeps_expired()
        {
            return Room::Enough;
        }
        let room = self.try_to_make_room();
        self.show_balance();
        self.note_exceeded(room);
        if self.has_ready() {
            self.serve();
        }
        room
    }

    fn try_to_make_room(&mut self) -> Room {
        let limit = if self.memory.rules.is_some() { self.memory.soft } else { self.memory.limit };
        let to_free = self.used() - limit;
        if to_free <= 0 {
            return Room::Enough;
        }
        let Some(rules) = self.memory.rules else {
            self.memory.is_seen = false;
            self.see_memory();
            return if self.is_short_of_memory() { Room::None } else { Room::Enough };
        };
        let start = clock::monotonic();
        let room = self.evict_within(&rules, to_free, start);
        if self.shard.timing.watches_events() {
            self.note_event(LatencyEvent::EvictionCycle, start.elapsed());
        }
        if let Some(room) = room {
            return room;
        }
        self.memory.is_seen = false;
        self.see_memory();
        match self.has_eligible(&rules) || self.used() <= self.memory.limit {
            true => Room::Making,
            false => Room::None,
        }
    }

    /// Evicts until so many bytes are free or a slice's time is over; `None` when there is nothing to do here.
    fn evict_within(&mut self, rules: &Eviction, mut to_free: i64, start: Instant) -> Option<Room> {
        // What evictions cost elsewhere, in messages to clients, must not lead to ever more of them.
        let kept =
            |worker: &Worker| worker.balance() - worker.shard.keyspace.invalidation_bytes() as i64;
        for round in 1u32.. {
            let before = kept(self);
            let went_on = match self.shard.keyspace.has_garbage() {
                true => {
                    self.shard.keyspace.free_step(FREE_STEP);
                    true
                }
                false => self.evict_one(rules, to_free),
            };
            to_free -= before - kept(self);
            if to_free <= 0 {
                return Some(Room::Enough);
            }
            if !went_on {
                break;
            }
            if round.is_multiple_of(AT_ONCE) && start.elapsed() >= self.memory.slice {
                return Some(Room::Making);
            }
        }
        None
    }

    /// Evicts the best candidate, unless another shard has a better one; `false` when there is nothing to
    /// do here.
    fn evict_one(&mut self, rules: &Eviction, to_free: i64) -> bool {
        if self.line.intents.holds_all() {
            return false;
        }
        let victim = self.find_victim(rules);
        let urgency = victim.map_or(0, |victim| victim.urgency);
        self.shared.env.memory.show_urgency(self.index, urgency);
        let is_beyond = to_free > self.memory.limit - self.memory.soft;
        if let Some(other) = self.better_shard(rules, urgency) {
            if !is_beyond || victim.is_none() {
                self.wake_evictor(other);
                return false;
            }
            self.shared.env.memory.widen_slack(self.memory.slack_max);
        }
        let Some(victim) = victim else {
            self.wake_others(rules);
            return false;
        };
        self.shard.evict(&victim, rules, self.now)
    }

    /// There is nothing here that may go: whoever has such keys is to look for them.
    fn wake_others(&mut self, rules: &Eviction) {
        for shard in 0..self.slots.shards() {
            if shard != self.index && self.eligible(rules, shard) > 0 {
                self.wake_evictor(shard);
            }
        }
    }

    fn find_victim(&mut self, rules: &Eviction) -> Option<Candidate> {
        let intents = &self.line.intents;
        let is_held = |hash| !intents.is_empty() && intents.bars(Intent { hash, exclusive: true });
        self.shard.next_victim(rules, self.now, &is_held)
    }

    /// The shard with the best candidate, if that is another one.
    fn better_shard(&mut self, rules: &Eviction, urgency: u64) -> Option<usize> {
        let shards = self.slots.shards();
        if shards == 1 {
            return None;
        }
        let mut chance = self.shard.random.fork();
        let env = &self.shared.env;
        if rules.order == Order::Random {
            let eligible = |shard: usize| self.eligible(rules, shard);
            let all: u64 = (0..shards).map(eligible).sum();
            let mut at = chance.u64(..all.max(1));
            let chosen = (0..shards).find(|&shard| {
                let before = at;
                at = at.saturating_sub(eligible(shard));
                before < eligible(shard)
            });
            return chosen.filter(|&shard| shard != self.index);
        }
        let others = (0..shards).filter(|&shard| shard != self.index);
        let best = others.max_by_key(|&shard| env.memory.urgency(shard))?;
        (env.memory.urgency(best) > urgency).then_some(best)
    }

    /// Has a shard woken at the end of the turn, to make room where it is better made.
    pub(super) fn wake_evictor(&mut self, shard: usize) {
        if !self.memory.to_wake.contains(&shard) {
            self.memory.to_wake.push(shard);
        }
    }

    /// Wakes the shards that have better candidates.
    pub(super) fn wake_evictors(&mut self, io: &mut dyn crate::rt::Io) {
        for shard in std::mem::take(&mut self.memory.to_wake) {
            io.ring(shard, true);
        }
    }

    fn note_exceeded(&mut self, room: Room) {
        // Within the slack there is room enough.
        let room = if self.is_short_of_memory() { room } else { Room::Enough };
        let stats = &self.shard.stats;
        match (room, self.memory.exceeded) {
            (Room::Enough, Some(since)) => {
                stats.exceeded_us.add(since.elapsed().as_micros() as u64);
                stats.exceeded_since_us.set(0);
                self.memory.exceeded = None;
            }
            (Room::Making | Room::None, None) => {
                let now = clock::monotonic();
                let since = now.duration_since(self.shared.env.born);
                stats.exceeded_since_us.set(since.as_micros().max(1) as u64);
                self.memory.exceeded = Some(now);
            }
            _ => {}
        }
    }

    /// A few times a second: corrects the sum, and has the other shards know of this one's candidates
    /// although it does nothing.
    pub(super) fn look_after_memory(&mut self) {
        self.shard.keyspace.publish_memory();
        self.memory.rounds += 1;
        if self.index == 0 {
            self.shared.env.memory.narrow_slack();
        }
        let looks = self.memory.rounds.is_multiple_of(DRIFT_ROUNDS);
        if self.index == 0 && looks && self.shared.env.memory.per_key().is_none() {
            self.memory.drift.look(&self.shared.env.memory, heap::state().allocated);
            self.watch_resident();
        }
        let near = self.memory.limit - self.memory.limit / 32;
        if let Some(rules) = self.memory.rules
            && self.memory.is_limited()
            && self.slots.shards() > 1
            && self.used() > near
            && !self.line.intents.holds_all()
        {
            let urgency = self.find_victim(&rules).map_or(0, |victim| victim.urgency);
            self.shared.env.memory.show_urgency(self.index, urgency);
        }
    }

    /// Data have come that were loaded elsewhere: corrects the sum at once.
    pub(super) fn settle_memory(&mut self) {
        if self.shared.env.memory.per_key().is_none() {
            self.show_memory();
            let memory = &self.shared.env.memory;
            memory.correct(memory.gap(heap::state().allocated));
        }
    }

    /// Sees to it that what is resident follows what is in use. Evictions leave gaps, and pages that are
    /// empty go back to the system within a second or so; when much more stays resident than is
    /// allowed to be in use, all that can is given back at once.
    fn watch_resident(&mut self) {
        if !self.memory.is_limited() || !self.memory.rounds.is_multiple_of(RESIDENT_ROUNDS) {
            return;
        }
        let (resident, limit) = (crate::metrics::memory().resident, self.memory.limit as u64);
        let state = heap::state();
        let empty = state.resident.saturating_sub(state.active);
        if resident > limit + limit / 4 && empty > EMPTY_MIN.max(limit / 16) {
            tracing::info!(resident, limit, empty, "giving empty pages back to the system");
            heap::purge();
        }
    }

    /// Works by another configuration from now on.
    pub(super) fn limit_memory(&mut self, config: &Values) {
        let new = Memory::new(config, self.slots.shards());
        let Memory { limit, slack_max, soft, rules, slice, .. } = new;
        self.limit_pools(config.maxmemory);
        let by_use = rules.is_some_and(|rules| rules.order == Order::Use);
        self.shard.keyspace.shares_integers = limit == 0 || !by_use;
        if rules != self.memory.rules {
            self.shard.forget_candidates();
            self.shared.env.memory.show_urgency(self.index, 0);
        }
        let before = std::mem::replace(&mut self.memory, new);
        self.memory = Memory { limit, slack_max, soft, rules, slice, ..before };
        self.show_memory();
        let (used, limit) = (self.used(), self.memory.limit);
        if self.index == 0 && self.memory.is_limited() && used > limit {
            tracing::warn!(
                used,
                limit,
                "maxmemory is below what is in use: keys are evicted, or writes refused, by maxmemory-policy"
            );
        }
        if !self.memory.is_limited() {
            self.memory.out = false;
            self.note_exceeded(Room::Enough);
        }
        // The end of the turn sees to it.
        self.more = true;
    }

    /// Whether there is no room, and nothing that may go: what a script asks that is about to write.
    pub(super) fn is_out_of_memory(&self) -> bool {
        let has_eligible = |rules: Eviction| self.has_eligible(&rules);
        self.is_short_of_memory() && !self.memory.rules.is_some_and(has_eligible)
    }

    /// Whether a command is refused while there is no room.
    #[cold]
    pub(super) fn needs_memory(
        &mut self,
        conn: &Conn,
        command: &'static Command,
        args: &Args,
    ) -> bool {
        match (conn.session.multi.is_some(), command.in_multi) {
            (true, InMulti::Executes) => self.any_queued(conn, Worker::may_grow),
            // What waits takes memory, too.
            (true, InMulti::Waits) => true,
            _ => self.may_grow(command, args),
        }
    }

    /// Whether a command may make the data grow; scripts say of themselves whether they do.
    fn may_grow(&mut self, command: &'static Command, args: &Args) -> bool {
        match command.run {
            Run::Script(call) => self.script_denies_oom(call, args),
            _ => command.flags.has(DENYOOM),
        }
    }

    /// Refuses a request for which there is no room.
    pub(super) fn count_refusal(&self, id: CommandId) {
        self.shard.stats.per_command[id.0 as usize].rejected.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_makes_slices_longer() {
        let micros = |tenacity| slice(tenacity).as_micros();
        assert_eq!((micros(0), micros(5), micros(10)), (0, 250, 500));
        assert!(micros(50) > 100_000 && micros(99) > 100_000_000);
        assert_eq!(slice(100), Duration::MAX);
    }
}

//! Counters of one shard, written by its thread and read by whoever answers INFO, and what the
//! kernel knows of the process.
//!
//! Each counter has one writer, so adding is a plain load and store: no locked instruction.

mod command_log;
mod histogram;
mod latency;
mod memory;

pub use command_log::{CommandLogs, LogEntry, LogKind, shorten};
pub use histogram::{Distribution, Histogram, Sum};
pub use latency::{
    LatencyEvent, LatencyEvents, LatencyMonitor, LatencySample, LatencySeries, LatencySummary,
};
pub use memory::{Drift, MemorySum, tell_balance};

use crate::error::CmdError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A number with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Raises the counter to `n` if it is lower.
    pub fn raise(&self, n: u64) {
        if n > self.get() {
            self.set(n);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What persistence is about, written by its threads.
#[derive(Debug, Default)]
pub struct PersistStats {
    /// Effects cannot be written now; or not synced.
    pub write_failing: AtomicBool,
    pub sync_failing: AtomicBool,
    /// Nothing that is appended counts before a first rewrite is done.
    pub appending_waits: AtomicBool,
    /// What could not be synced is lost for the files: a rewrite has to write it.
    pub rewrite_needed: AtomicBool,
    /// Bytes of the append-only files, and as of the start or the last rewrite.
    pub size: AtomicU64,
    pub base_size: AtomicU64,
    /// Syncs that took so long that writes had to wait.
    pub delayed_syncs: AtomicU64,
    pub syncing: AtomicBool,
    /// Bytes handed over and not written.
    pub pending: AtomicU64,
    /// Rounds of effects written.
    pub rounds: AtomicU64,
    /// Milliseconds since the epoch.
    pub last_sync_at: AtomicI64,
    /// While data is loaded: since when, milliseconds since the epoch; else 0.
    pub loading_since: AtomicI64,
    pub loading_bytes: AtomicU64,
    pub loaded_bytes: AtomicU64,
    /// Keys that were loaded at the start.
    pub loaded_keys: AtomicU64,
    /// Those that had expired.
    pub left_out_keys: AtomicU64,
    /// What snapshot is under way: one of the numbers below. And since when, milliseconds since the
    /// epoch.
    pub saving: AtomicU8,
    pub saving_since: AtomicI64,
    /// Keys of it: all, and those that are written.
    pub saving_keys: AtomicU64,
    pub saved_keys: AtomicU64,
    /// Snapshots to be begun when none is under way, as bits: 1 and 2 shifted by the numbers below.
    pub wanted_saves: AtomicU8,
    /// Seconds since the epoch.
    pub last_save_at: AtomicI64,
    pub saves: AtomicU64,
    pub save_failed: AtomicBool,
    /// How long the last one took, seconds and one more; 0 before the first.
    pub last_save_seconds: AtomicU64,
    pub rewrite_failed: AtomicBool,
    /// How many have failed since one has not.
    pub rewrites_failed: AtomicU64,
    pub rewrites: AtomicU64,
    pub last_rewrite_seconds: AtomicU64,
    /// Changes of all shards as of the last snapshot.
    pub changes_at_save: AtomicU64,
    /// As of the cut of the one that is under way.
    pub changes_at_cut: AtomicU64,
    /// When a snapshot was tried last, milliseconds since the epoch.
    pub tried_save_at: AtomicI64,
}

/// The numbers in [`PersistStats::saving`].
pub const SAVING_NOTHING: u8 = 0;
pub const SAVING_SNAPSHOT: u8 = 1;
pub const SAVING_REWRITE: u8 = 2;
/// None can begin, since data is being loaded.
pub const SAVING_BARRED: u8 = 3;

impl PersistStats {
    /// Whether writes are refused, and what with.
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.write_failing.load(Ordering::Relaxed) || self.sync_failing.load(Ordering::Relaxed)
    }
}

/// What one command did on one shard.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct CommandStats {
    pub calls: Counter,
    /// Time in it, nanoseconds.
    pub ns: Counter,
    /// Calls that were refused before they ran (arity, authentication, ...).
    pub rejected: Counter,
    /// Calls that answered an error.
    pub failed: Counter,
    /// How long the calls took; made for the first one.
    histogram: OnceLock<Histogram>,
}

impl CommandStats {
    /// `count` calls have taken `ns` each; for the thread that writes the counters.
    #[inline]
    pub fn took(&self, ns: u64, count: u64, in_histogram: bool) {
        self.ns.add(ns * count);
        if in_histogram {
            self.histogram.get_or_init(Histogram::default).record(ns, count);
        }
    }

    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.get()
    }

    fn reset(&self) {
        [&self.calls, &self.ns, &self.rejected, &self.failed].iter().for_each(|c| c.set(0));
        self.histogram.get().into_iter().for_each(Histogram::reset);
    }
}

/// Keys of one database on one shard.
#[derive(Debug, Default)]
pub struct DbStats {
    pub keys: Counter,
    pub expires: Counter,
    /// Bytes of the table without its keys, as of a moment ago.
    pub table_bytes: Counter,
}

/// Codes of scripts' own errors that are told apart, as many as in Redis.
const OTHER_CODES_MAX: usize = 128;

/// The codes of the server's own error replies.
pub const ERROR_CODES: [&str; 16] = [
    "BUSYGROUP",
    "BUSYKEY",
    "CROSSSLOT",
    "ERR",
    "EXECABORT",
    "INVALIDOBJ",
    "MOVED",
    "NOAUTH",
    "NOGROUP",
    "NOPERM",
    "NOPROTO",
    "OOM",
    "READONLY",
    "UNBLOCKED",
    "WRONGPASS",
    "WRONGTYPE",
];

/// All counters of one shard; INFO adds up those of all shards.
#[derive(Debug)]
pub struct ShardStats {
    pub commands_processed: Counter,
    pub connections_received: Counter,
    pub connections_rejected: Counter,
    pub connections_now: Counter,
    pub blocked_clients: Counter,
    /// Bytes that connections use, as of a moment ago.
    pub clients_memory: Counter,
    /// How much those use that use most: a step for each doubling.
    pub fullest_bucket: Counter,
    /// Clients that listen to channels, and what somebody listens to of what the shard owns.
    pub pubsub_clients: Counter,
    pub pubsub_channels: Counter,
    pub pubsub_shard_channels: Counter,
    /// The same on all shards.
    pub pubsub_patterns: Counter,
    /// Clients that track keys.
    pub tracking_clients: Counter,
    /// Keys of the shard that such clients have read, and these clients of all keys together.
    pub tracked_keys: Counter,
    pub tracked_items: Counter,
    /// Prefixes that clients follow; the same on all shards.
    pub tracking_prefixes: Counter,
    /// Keys that clients wait for, and those of them for which some wait until they are gone.
    pub blocking_keys: Counter,
    pub blocking_keys_on_nokey: Counter,
    pub connection_migrations: Counter,
    pub input_bytes: Counter,
    pub output_bytes: Counter,
    pub keyspace_hits: Counter,
    pub keyspace_misses: Counter,
    pub expired_keys: Counter,
    /// Keys that had to make room, and clients.
    pub evicted_keys: Counter,
    pub evicted_clients: Counter,
    /// For how long more memory was used than is allowed, until it last was not; and since when it is
    /// now, 0 if it is not. Microseconds, of the process' own time.
    pub exceeded_us: Counter,
    pub exceeded_since_us: Counter,
    /// Values that are gone but not freed, and those that were freed after they had gone.
    pub lazyfree_pending: Counter,
    pub lazyfreed_objects: Counter,
    /// Fields of hashes that have expired before their hashes did.
    pub expired_fields: Counter,
    pub error_replies: Counter,
    /// Bytes that Lua uses.
    pub lua_memory: Counter,
    /// Error replies by code, in the order of [`ERROR_CODES`]; those with too rare codes at the end.
    pub per_error: [Counter; ERROR_CODES.len() + 1],
    /// Those with other codes, which scripts make up. Locked for such an error, and by INFO.
    pub other_errors: Mutex<BTreeMap<Vec<u8>, u64>>,
    /// AUTH and HELLO with a wrong password or user.
    pub auth_failures: Counter,
    /// Commands, keys and channels that a user has asked for and may not use.
    pub denied_commands: Counter,
    pub denied_keys: Counter,
    pub denied_channels: Counter,
    pub output_limit_disconnections: Counter,
    pub query_limit_disconnections: Counter,
    /// Messages with commands that this shard sent to others.
    pub hops_sent: Counter,
    /// Scripts that have run with everything held, and with the keys that they were expected to touch.
    pub scripts_whole: Counter,
    pub scripts_foretold: Counter,
    /// Of the latter, runs that were given up: to hold a key more, or to hold everything.
    pub scripts_extended: Counter,
    pub scripts_given_up: Counter,
    /// Writes since the start, the source of `rdb_changes_since_last_save`.
    pub changes: Counter,
    /// Longest single insert into a table, nanoseconds.
    pub insert_ns_max: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// CPU time of the shard's thread, nanoseconds.
    pub busy_ns: Counter,
    /// How much of the last seconds that was, in hundredths of a percent.
    pub busy_share: Counter,
    /// Reads from clients that had something, and sends to them.
    pub reads: Counter,
    pub sends: Counter,
    /// Most messages of other shards that were there at once, lately.
    pub queue_depth: Counter,
    /// Of all connections, as of the last walk over them: those that watch keys, these keys, the
    /// longest buffers.
    pub watching_clients: Counter,
    pub watched_keys: Counter,
    pub input_buffer_max: Counter,
    pub output_buffer_max: Counter,
    /// Time spent on the removal of expired keys, nanoseconds, and how often it had to stop early.
    pub expire_ns: Counter,
    pub expire_stops: Counter,
    /// What the shard does a second at present.
    pub commands_a_second: Counter,
    pub turns_a_second: Counter,
    pub busy_ns_a_second: Counter,
    pub input_bytes_a_second: Counter,
    pub output_bytes_a_second: Counter,
    pub per_command: Box<[CommandStats]>,
    pub per_db: Box<[DbStats]>,
}

impl ShardStats {
    pub fn new(commands: usize, databases: usize) -> ShardStats {
        ShardStats {
            commands_processed: Counter::default(),
            connections_received: Counter::default(),
            connections_rejected: Counter::default(),
            connections_now: Counter::default(),
            blocked_clients: Counter::default(),
            clients_memory: Counter::default(),
            fullest_bucket: Counter::default(),
            pubsub_clients: Counter::default(),
            pubsub_channels: Counter::default(),
            pubsub_shard_channels: Counter::default(),
            pubsub_patterns: Counter::default(),
            tracking_clients: Counter::default(),
            tracked_keys: Counter::default(),
            tracked_items: Counter::default(),
            tracking_prefixes: Counter::default(),
            blocking_keys: Counter::default(),
            blocking_keys_on_nokey: Counter::default(),
            connection_migrations: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            keyspace_hits: Counter::default(),
            keyspace_misses: Counter::default(),
            expired_keys: Counter::default(),
            evicted_keys: Counter::default(),
            evicted_clients: Counter::default(),
            exceeded_us: Counter::default(),
            exceeded_since_us: Counter::default(),
            lazyfree_pending: Counter::default(),
            lazyfreed_objects: Counter::default(),
            expired_fields: Counter::default(),
            error_replies: Counter::default(),
            lua_memory: Counter::default(),
            per_error: Default::default(),
            other_errors: Mutex::default(),
            auth_failures: Counter::default(),
            denied_commands: Counter::default(),
            denied_keys: Counter::default(),
            denied_channels: Counter::default(),
            output_limit_disconnections: Counter::default(),
            query_limit_disconnections: Counter::default(),
            hops_sent: Counter::default(),
            scripts_whole: Counter::default(),
            scripts_foretold: Counter::default(),
            scripts_extended: Counter::default(),
            scripts_given_up: Counter::default(),
            changes: Counter::default(),
            insert_ns_max: Counter::default(),
            turns: Counter::default(),
            busy_ns: Counter::default(),
            busy_share: Counter::default(),
            reads: Counter::default(),
            sends: Counter::default(),
            queue_depth: Counter::default(),
            watching_clients: Counter::default(),
            watched_keys: Counter::default(),
            input_buffer_max: Counter::default(),
            output_buffer_max: Counter::default(),
            expire_ns: Counter::default(),
            expire_stops: Counter::default(),
            commands_a_second: Counter::default(),
            turns_a_second: Counter::default(),
            busy_ns_a_second: Counter::default(),
            input_bytes_a_second: Counter::default(),
            output_bytes_a_second: Counter::default(),
            per_command: (0..commands).map(|_| CommandStats::default()).collect(),
            per_db: (0..databases).map(|_| DbStats::default()).collect(),
        }
    }

    /// Counts an error reply.
    pub fn count_error(&self, error: &CmdError) {
        let code = error.as_bytes().split(|&byte| byte == b' ').next().unwrap_or_default();
        self.error_replies.add(1);
        if let Some(at) = ERROR_CODES.iter().position(|own| own.as_bytes() == code) {
            return self.per_error[at].add(1);
        }
        let mut others = self.other_errors.lock().unwrap_or_else(PoisonError::into_inner);
        let room = others.len() < OTHER_CODES_MAX;
        match others.get_mut(code) {
            Some(count) => *count += 1,
            None if room => drop(others.insert(code.to_vec(), 1)),
            None => self.per_error[ERROR_CODES.len()].add(1),
        }
    }

    /// Sets what CONFIG RESETSTAT resets back to zero; for the thread that writes the counters.
    pub fn reset(&self) {
        self.other_errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let counters = [
            &self.commands_processed,
            &self.connections_received,
            &self.connections_rejected,
            &self.connection_migrations,
            &self.input_bytes,
            &self.output_bytes,
            &self.keyspace_hits,
            &self.keyspace_misses,
            &self.expired_keys,
            &self.evicted_keys,
            &self.evicted_clients,
            &self.exceeded_us,
            &self.lazyfreed_objects,
            &self.expired_fields,
            &self.error_replies,
            &self.auth_failures,
            &self.denied_commands,
            &self.denied_keys,
            &self.denied_channels,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
            &self.hops_sent,
            &self.scripts_whole,
            &self.scripts_foretold,
            &self.scripts_extended,
            &self.scripts_given_up,
            &self.insert_ns_max,
            &self.turns,
            &self.busy_ns,
            &self.reads,
            &self.sends,
            &self.expire_ns,
            &self.expire_stops,
        ];
        counters.into_iter().chain(&self.per_error).for_each(|c| c.set(0));
        self.per_command.iter().for_each(CommandStats::reset);
    }
}

/// Samples whose mean is the present rate.
const RATE_SAMPLES: usize = 16;
/// Least time between two samples, milliseconds.
const RATE_STEP_MS: i64 = 100;

/// What one shard does a second at present: the means of the last samples.
#[derive(Debug, Default)]
pub struct Rates {
    sampled_at: i64,
    commands: Rate,
    input: Rate,
    output: Rate,
    turns: Rate,
    busy: Rate,
    /// CPU time of the thread as of the last sample.
    cpu: Duration,
    queue_depth: u64,
}

impl Rates {
    /// So many messages of other shards were there at once.
    #[inline]
    pub fn saw_messages(&mut self, count: u64) {
        self.queue_depth = self.queue_depth.max(count);
    }

    /// Takes a sample when it is time and publishes the means in `stats`; `cpu` is asked for the CPU
    /// time of this thread.
    pub fn sample(&mut self, now: i64, stats: &ShardStats, cpu: impl FnOnce() -> Duration) {
        let passed_ms = now - self.sampled_at;
        if (0..RATE_STEP_MS).contains(&passed_ms) {
            return;
        }
        let cpu = cpu();
        stats.busy_ns.add(cpu.saturating_sub(self.cpu).as_nanos() as u64);
        self.cpu = cpu;
        stats.queue_depth.set(std::mem::take(&mut self.queue_depth));
        self.sampled_at = now;
        // A clock that was set back measures nothing.
        let passed_ms = passed_ms.max(1) as u64;
        stats.commands_a_second.set(self.commands.mean(stats.commands_processed.get(), passed_ms));
        stats.input_bytes_a_second.set(self.input.mean(stats.input_bytes.get(), passed_ms));
        stats.output_bytes_a_second.set(self.output.mean(stats.output_bytes.get(), passed_ms));
        stats.turns_a_second.set(self.turns.mean(stats.turns.get(), passed_ms));
        let busy = self.busy.mean(stats.busy_ns.get(), passed_ms);
        stats.busy_ns_a_second.set(busy);
        // A second has 10^9 of them; the kernel's account may run a little ahead.
        stats.busy_share.set((busy / 100_000).min(10_000));
    }
}

#[derive(Debug, Default)]
struct Rate {
    last: u64,
    samples: [u64; RATE_SAMPLES],
    next: usize,
}

impl Rate {
    /// Takes in what a counter has counted after `passed_ms` more; answers the mean rate.
    fn mean(&mut self, count: u64, passed_ms: u64) -> u64 {
        // A counter that was reset begins anew.
        let more = count.checked_sub(self.last).unwrap_or(count);
        self.last = count;
        self.samples[self.next] = more * 1000 / passed_ms;
        self.next = (self.next + 1) % RATE_SAMPLES;
        self.samples.iter().sum::<u64>() / RATE_SAMPLES as u64
    }
}

/// Memory of the process in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub resident: u64,
    /// Most that was ever resident.
    pub peak: u64,
}

pub fn memory() -> Memory {
    let status = read("/proc/self/status");
    let resident = kilobytes(&status, "VmRSS:");
    // The kernel updates the peak less often.
    Memory { resident, peak: kilobytes(&status, "VmHWM:").max(resident) }
}

/// Memory of the machine in bytes.
pub fn memory_of_machine() -> u64 {
    kilobytes(&read("/proc/meminfo"), "MemTotal:")
}

/// CPU time in microseconds; the kernel tells it in steps of 10 ms.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime {
    pub user: u64,
    pub system: u64,
    /// Of processes that it started and that have ended.
    pub user_children: u64,
    pub system_children: u64,
}

/// CPU time of the process, all threads together.
pub fn cpu_time() -> CpuTime {
    cpu_time_of("/proc/self/stat")
}

/// CPU time of the thread that has started all others.
pub fn cpu_time_of_main() -> CpuTime {
    cpu_time_of(&format!("/proc/self/task/{}/stat", std::process::id()))
}

fn cpu_time_of(path: &str) -> CpuTime {
    /// What `/proc` counts in is fixed at 100 a second on every Linux, whatever the kernel's own tick.
    const TICK_US: u64 = 10_000;
    let stat = read(path);
    // The name, in parentheses, may contain spaces; behind it the third field of all comes next.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut times = fields.split_whitespace().skip(11).map(|n| n.parse().unwrap_or(0) * TICK_US);
    let mut next = || times.next().unwrap_or(0);
    CpuTime { user: next(), system: next(), user_children: next(), system_children: next() }
}

/// A file of `/proc`, which is memory and no disk; empty where there is none.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.and_then(|n| n.parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_code() {
        let stats = ShardStats::new(1, 1);
        stats.count_error(&CmdError::SYNTAX);
        stats.count_error(&CmdError::WRONG_TYPE);
        stats.count_error(&CmdError::fixed("MINE of a script"));
        let count =
            |code| stats.per_error[ERROR_CODES.iter().position(|c| *c == code).unwrap()].get();
        assert_eq!((count("ERR"), count("WRONGTYPE")), (1, 1));
        let mine = stats.other_errors.lock().unwrap().get(&b"MINE"[..]).copied();
        assert_eq!((mine, stats.error_replies.get()), (Some(1), 3));
        stats.reset();
        assert_eq!((count("ERR"), stats.error_replies.get()), (0, 0));
    }

    #[test]
    fn rates_are_means_of_the_last_samples() {
        let (mut rates, stats) = (Rates::default(), ShardStats::new(1, 1));
        rates.sample(1_000_000, &stats, Default::default);
        for step in 1..=16 {
            stats.commands_processed.add(100);
            let busy = || Duration::from_millis(50 * step as u64);
            rates.sample(1_000_000 + step * 200, &stats, busy);
            rates.sample(1_000_000 + step * 200 + 50, &stats, busy);
        }
        assert_eq!(stats.commands_a_second.get(), 500);
        assert_eq!((stats.busy_share.get(), stats.busy_ns.get()), (2_500, 800_000_000));
        stats.reset();
        stats.commands_processed.add(1);
        rates.sample(1_010_000, &stats, Default::default);
        assert_eq!(stats.commands_a_second.get(), 468);
    }

    #[test]
    fn the_kernel_knows_the_process() {
        let memory = memory();
        assert!(memory.resident > 100_000 && memory.peak >= memory.resident);
        assert!(memory_of_machine() > memory.resident);
        let before = cpu_time();
        let start = crate::clock::monotonic();
        while start.elapsed().as_millis() < 60 {
            std::hint::spin_loop();
        }
        let after = cpu_time();
        assert!(after.user + after.system > before.user + before.system);
        assert!(after.user + after.system < 3_600_000_000);
    }
}

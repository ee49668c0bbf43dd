//! Counters of one shard, written by its thread and read by whoever answers INFO.
//!
//! Each counter has one writer, so adding is a plain load and store: no locked instruction.

use crate::error::CmdError;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What one command did on one shard.
#[derive(Debug, Default)]
pub struct CommandStats {
    pub calls: Counter,
    /// Calls that were refused before they ran (arity, authentication, ...).
    pub rejected: Counter,
    /// Calls that answered an error.
    pub failed: Counter,
}

/// Keys of one database on one shard.
#[derive(Debug, Default)]
pub struct DbStats {
    pub keys: Counter,
    pub expires: Counter,
}

/// The codes of error replies that are counted apart. What a client can make up (a script's own
/// errors) is not among them, so their number is bounded.
pub const ERROR_CODES: [&str; 12] = [
    "BUSYKEY",
    "CROSSSLOT",
    "ERR",
    "INVALIDOBJ",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOPROTO",
    "OOM",
    "READONLY",
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
    pub connection_migrations: Counter,
    pub input_bytes: Counter,
    pub output_bytes: Counter,
    pub keyspace_hits: Counter,
    pub keyspace_misses: Counter,
    pub expired_keys: Counter,
    pub error_replies: Counter,
    /// Error replies by code, in the order of [`ERROR_CODES`]; all others together at the end.
    pub per_error: [Counter; ERROR_CODES.len() + 1],
    /// AUTH and HELLO with a wrong password or user.
    pub auth_failures: Counter,
    pub output_limit_disconnections: Counter,
    pub query_limit_disconnections: Counter,
    /// Messages with commands that this shard sent to others.
    pub hops_sent: Counter,
    /// Writes since the start, the source of `rdb_changes_since_last_save`.
    pub changes: Counter,
    /// Longest single insert into a table, nanoseconds.
    pub insert_ns_max: Counter,
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
            connection_migrations: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            keyspace_hits: Counter::default(),
            keyspace_misses: Counter::default(),
            expired_keys: Counter::default(),
            error_replies: Counter::default(),
            per_error: Default::default(),
            auth_failures: Counter::default(),
            output_limit_disconnections: Counter::default(),
            query_limit_disconnections: Counter::default(),
            hops_sent: Counter::default(),
            changes: Counter::default(),
            insert_ns_max: Counter::default(),
            per_command: (0..commands).map(|_| CommandStats::default()).collect(),
            per_db: (0..databases).map(|_| DbStats::default()).collect(),
        }
    }

    /// Counts an error reply.
    pub fn count_error(&self, error: &CmdError) {
        let code = error.0.split(' ').next().unwrap_or_default();
        let at = ERROR_CODES.iter().position(|own| *own == code).unwrap_or(ERROR_CODES.len());
        self.error_replies.add(1);
        self.per_error[at].add(1);
    }

    /// Sets what CONFIG RESETSTAT resets back to zero; for the thread that writes the counters.
    pub fn reset(&self) {
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
            &self.error_replies,
            &self.auth_failures,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
            &self.hops_sent,
            &self.insert_ns_max,
        ];
        counters.into_iter().chain(&self.per_error).for_each(|c| c.set(0));
        for command in &self.per_command {
            command.calls.set(0);
            command.rejected.set(0);
            command.failed.set(0);
        }
    }
}

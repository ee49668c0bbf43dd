//! The last minutes, a point a second, so that a console that is opened has something to show.

use crate::command::Env;
use crate::metrics::{Counter, Distribution, ShardStats};
use std::collections::VecDeque;

/// Seconds that are remembered.
const POINTS_MAX: usize = 300;

/// One second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// A second each.
    pub commands: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub hits: u64,
    pub misses: u64,
    /// Of commands, microseconds; none when nothing ran.
    pub median_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub memory: u64,
    pub clients: u64,
    /// By shard, percent of a core and commands a second.
    pub busy: Vec<f64>,
    pub shard_commands: Vec<u64>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub points: VecDeque<Point>,
    last: Totals,
}

/// Counters as of a moment, from which the next point is told.
#[derive(Debug, Clone, Default)]
struct Totals {
    at: i64,
    input_bytes: u64,
    output_bytes: u64,
    hits: u64,
    misses: u64,
    shard_commands: Vec<u64>,
    times: Distribution,
}

impl Totals {
    fn of(env: &Env, at: i64) -> Totals {
        let sum = |counter: fn(&ShardStats) -> &Counter| {
            env.stats.iter().map(|stats| counter(stats).get()).sum()
        };
        let mut times = Distribution::default();
        for stats in &env.stats {
            let histograms = stats.per_command.iter().filter_map(|command| command.histogram());
            histograms.for_each(|histogram| times.add(histogram));
        }
        Totals {
            at,
            input_bytes: sum(|s| &s.input_bytes),
            output_bytes: sum(|s| &s.output_bytes),
            hits: sum(|s| &s.keyspace_hits),
            misses: sum(|s| &s.keyspace_misses),
            shard_commands: env.stats.iter().map(|s| s.commands_processed.get()).collect(),
            times,
        }
    }
}

impl History {
    /// Takes a point from what the counters say now.
    pub fn sample(&mut self, env: &Env, at: i64) {
        let now = Totals::of(env, at);
        let last = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        if last.at == 0 {
            return;
        }
        let passed_ms = (now.at - last.at).max(1) as u64;
        // A counter that was reset begins anew.
        let rate = |now: u64, last: u64| now.checked_sub(last).unwrap_or(now) * 1000 / passed_ms;
        let commands = now.shard_commands.iter().zip(&last.shard_commands);
        let shard_commands: Vec<u64> = commands.map(|(now, last)| rate(*now, *last)).collect();
        let times = now.times.since(&last.times);
        let percentile = |percent| times.percentile(percent).map(|ns| ns as f64 / 1000.0);
        let point = Point {
            at,
            commands: shard_commands.iter().sum(),
            input_bytes: rate(now.input_bytes, last.input_bytes),
            output_bytes: rate(now.output_bytes, last.output_bytes),
            hits: rate(now.hits, last.hits),
            misses: rate(now.misses, last.misses),
            median_us: percentile(50.0),
            p99_us: percentile(99.0),
            memory: env.memory.used(),
            clients: env.stats.iter().map(|s| s.connections_now.get()).sum(),
            busy: env.stats.iter().map(|s| s.busy_share.get() as f64 / 100.0).collect(),
            shard_commands,
        };
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }
}

//! Metrics in Prometheus' text format, under the names of redis_exporter.
//!
//! So dashboards and alerts made for that work unchanged, without a process that asks INFO. What only
//! this server has is called `corelane_...`.

mod names;

use crate::clock;
use crate::command::{Env, command_totals, error_totals, histograms, info_of_all};
use crate::config::Values;
use crate::metrics::LogKind;
use crate::net::Shared;
use crate::shard::SlotTable;
use names::{COUNTER, FIELDS, GAUGE};
use std::collections::HashMap;
use std::fmt::{Display, Write};

/// Options with a number as the value that are metrics.
const NUMERIC_OPTIONS: &[&str] = &[
    "maxclients",
    "maxmemory",
    "timeout",
    "tcp-keepalive",
    "databases",
    "hz",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "latency-monitor-threshold",
];

/// Lines written so far.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    /// Says what the samples that follow are.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text += name;
        for (at, (label, text)) in labels.iter().enumerate() {
            self.text += if at == 0 { "{" } else { "," };
            let _ = write!(self.text, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text += "\\\\",
                    '"' => self.text += "\\\"",
                    '\n' => self.text += "\\n",
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// A metric with one sample.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.begin(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// All metrics of the server.
pub fn metrics(shared: &Shared) -> String {
    let env = &shared.env;
    let now = clock::wall_ms();
    let info = info_of_all(env, &SlotTable::contiguous(env.stats.len()), now);
    let fields: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let mut lines = Lines::default();
    lines.one("redis_up", GAUGE, "Whether the server answers.", 1);
    let exporter = "redis_exporter_last_scrape_error";
    lines.begin(exporter, GAUGE, "Whether the last look at the server failed.");
    lines.sample(exporter, &[("err", "")], 0);
    of_info(&fields, &mut lines);
    instance(&fields, &mut lines);
    databases(&fields, &mut lines);
    commands(env, &mut lines);
    latencies(env, &mut lines);
    errors(env, &mut lines);
    logs(env, &mut lines);
    events(env, &mut lines);
    options(&env.config(), &mut lines);
    shards(env, &mut lines);
    lines.one("redis_start_time_seconds", GAUGE, "When the server began.", env.started_at / 1000);
    lines.text
}

/// A field's value as a number.
fn number(value: &str) -> Option<f64> {
    match value {
        "ok" => Some(1.0),
        "err" => Some(0.0),
        _ => value.trim_end_matches('%').parse().ok(),
    }
}

fn of_info(fields: &HashMap<&str, &str>, lines: &mut Lines) {
    for (field, name, kind) in FIELDS {
        if let Some(value) = fields.get(field).and_then(|value| number(value)) {
            lines.one(&format!("redis_{name}"), kind, &format!("{field} of INFO."), value);
        }
    }
}

fn instance(fields: &HashMap<&str, &str>, lines: &mut Lines) {
    let names = [
        "role",
        "redis_version",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
        "corelane_version",
    ];
    let labels = names.map(|name| (name, fields.get(name).copied().unwrap_or_default()));
    lines.begin("redis_instance_info", GAUGE, "What the server is.");
    lines.sample("redis_instance_info", &labels, 1);
}

fn databases(fields: &HashMap<&str, &str>, lines: &mut Lines) {
    let all = (0..16).map(|db| format!("db{db}"));
    let all: Vec<(String, HashMap<&str, &str>)> = all
        .map(|db| {
            let pairs = fields.get(db.as_str()).map_or("", |line| line);
            let pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.collect();
            (db, pairs)
        })
        .collect();
    for (name, pair, help) in [
        ("redis_db_keys", "keys", "Keys by database."),
        ("redis_db_keys_expiring", "expires", "Keys with an expiry by database."),
        ("redis_db_avg_ttl_seconds", "avg_ttl", "Mean time to live."),
    ] {
        lines.begin(name, GAUGE, help);
        for (db, pairs) in &all {
            let value: f64 = pairs.get(pair).and_then(|n| n.parse().ok()).unwrap_or(0.0);
            match pair {
                // Nothing is known of it, rather than 0.
                "avg_ttl" if value == 0.0 => {}
                "avg_ttl" => lines.sample(name, &[("db", db)], value / 1000.0),
                _ => lines.sample(name, &[("db", db)], value),
            }
        }
    }
}

fn commands(env: &Env, lines: &mut Lines) {
    let totals = command_totals(env);
    let mut each = |name: &str, help: &str, value: &dyn Fn(usize) -> f64| {
        lines.begin(name, COUNTER, help);
        for (at, (command, _)) in totals.iter().enumerate() {
            lines.sample(name, &[("cmd", command)], value(at));
        }
    };
    each("redis_commands_total", "Calls by command.", &|at| totals[at].1.calls as f64);
    each("redis_commands_duration_seconds_total", "Time in commands.", &|at| {
        totals[at].1.ns as f64 / 1e9
    });
    each("redis_commands_failed_calls_total", "Calls that answered an error.", &|at| {
        totals[at].1.failed as f64
    });
    each("redis_commands_rejected_calls_total", "Calls that were refused.", &|at| {
        totals[at].1.rejected as f64
    });
}

fn latencies(env: &Env, lines: &mut Lines) {
    let percentiles = env.config().latency_tracking_info_percentiles.0.clone();
    let totals: HashMap<&str, _> = command_totals(env).into_iter().collect();
    let all = histograms(env);
    let name = "redis_latency_percentiles_usec";
    lines.begin(name, "summary", "Times of commands, microseconds.");
    for (command, sum) in &all {
        for percent in &percentiles {
            let quantile = (percent / 100.0).to_string();
            let value = sum.percentile(*percent) as f64 / 1000.0;
            lines.sample(name, &[("cmd", command), ("quantile", &quantile)], value);
        }
        let us = totals.get(command).map_or(0.0, |totals| totals.ns as f64 / 1000.0);
        lines.sample(&format!("{name}_sum"), &[("cmd", command)], us);
        lines.sample(&format!("{name}_count"), &[("cmd", command)], sum.count());
    }
    let name = "redis_commands_latencies_usec";
    lines.begin(name, "histogram", "Times of commands, microseconds.");
    for (command, sum) in &all {
        let bucket = format!("{name}_bucket");
        for (ns, count) in sum.by_powers_of_two() {
            let le = (ns / 1000).to_string();
            lines.sample(&bucket, &[("cmd", command), ("le", &le)], count);
        }
        lines.sample(&bucket, &[("cmd", command), ("le", "+Inf")], sum.count());
        let us = totals.get(command).map_or(0.0, |totals| totals.ns as f64 / 1000.0);
        lines.sample(&format!("{name}_sum"), &[("cmd", command)], us);
        lines.sample(&format!("{name}_count"), &[("cmd", command)], sum.count());
    }
}

fn errors(env: &Env, lines: &mut Lines) {
    lines.begin("redis_errors_total", COUNTER, "Error replies by code.");
    for (code, count) in error_totals(env) {
        lines.sample("redis_errors_total", &[("err", &code)], count);
    }
}

fn logs(env: &Env, lines: &mut Lines) {
    let logs = env.logs();
    let newest = logs.entries(LogKind::Slow).next();
    lines.one("redis_slowlog_length", GAUGE, "Entries of the slow log.", logs.len(LogKind::Slow));
    let id = newest.map_or(0, |entry| entry.id);
    lines.one("redis_slowlog_last_id", GAUGE, "Id of the newest of them.", id);
    let seconds = newest.map_or(0.0, |entry| entry.value as f64 / 1e6);
    let name = "redis_last_slow_execution_duration_seconds";
    lines.one(name, GAUGE, "How long that one took.", seconds);
    for (kind, name) in [
        (LogKind::Slow, "redis_commandlog_slow_length"),
        (LogKind::LargeRequest, "redis_commandlog_large_request_length"),
        (LogKind::LargeReply, "redis_commandlog_large_reply_length"),
    ] {
        lines.one(name, GAUGE, "Entries of a log of commands.", logs.len(kind));
    }
    drop(logs);
    let config = env.config();
    let (slower, request) = (config.slowlog_log_slower_than, config.commandlog_request_larger_than);
    let reply = config.commandlog_reply_larger_than;
    for (name, value) in [
        ("redis_commandlog_execution_slower_than", slower),
        ("redis_commandlog_request_larger_than", request),
        ("redis_commandlog_reply_larger_than", reply),
        ("redis_commandlog_slow_execution_max_len", config.slowlog_max_len as i64),
        ("redis_commandlog_large_request_max_len", config.commandlog_large_request_max_len as i64),
        ("redis_commandlog_large_reply_max_len", config.commandlog_large_reply_max_len as i64),
    ] {
        lines.one(name, GAUGE, "An option of the logs of commands.", value);
    }
}

fn events(env: &Env, lines: &mut Lines) {
    let events = env.latency();
    let last = "redis_latency_spike_last";
    lines.begin(last, GAUGE, "When something last took long.");
    for (event, series) in events.iter() {
        lines.sample(last, &[("event_name", event.name())], series.last().at);
    }
    let duration = "redis_latency_spike_duration_seconds";
    lines.begin(duration, GAUGE, "How long that took.");
    for (event, series) in events.iter() {
        let seconds = series.last().ms as f64 / 1000.0;
        lines.sample(duration, &[("event_name", event.name())], seconds);
    }
}

fn options(config: &crate::config::Config, lines: &mut Lines) {
    let shown = |name: &str| {
        let found = config.get(&[name.as_bytes()], |pattern, own| pattern == own.as_bytes());
        found.into_iter().next().map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
    };
    let text = "redis_config_key_value";
    lines.begin(text, GAUGE, "Options and their values.");
    for name in ["maxmemory-policy", "save", "appendonly", "appendfsync"] {
        if let Some(value) = shown(name) {
            lines.sample(text, &[("key", name), ("value", &value)], 1);
        }
    }
    let numeric = "redis_config_value";
    lines.begin(numeric, GAUGE, "Options that are numbers.");
    for name in NUMERIC_OPTIONS {
        if let Some(value) = shown(name).and_then(|value| value.parse::<f64>().ok()) {
            lines.sample(numeric, &[("key", name)], value);
        }
    }
    buffer_limits(config, lines);
}

fn buffer_limits(config: &Values, lines: &mut Lines) {
    let limits = &config.client_output_buffer_limit;
    let classes = [("normal", limits.normal), ("slave", limits.replica), ("pubsub", limits.pubsub)];
    let bytes = "redis_config_client_output_buffer_limit_bytes";
    lines.begin(bytes, GAUGE, "Limits of output buffers.");
    for (class, limit) in &classes {
        lines.sample(bytes, &[("class", class), ("limit", "hard")], limit.hard);
        lines.sample(bytes, &[("class", class), ("limit", "soft")], limit.soft);
    }
    let seconds = "redis_config_client_output_buffer_limit_overcome_seconds";
    lines.begin(seconds, GAUGE, "For how long the soft limit may be exceeded.");
    for (class, limit) in &classes {
        lines.sample(seconds, &[("class", class), ("limit", "soft")], limit.soft_seconds);
    }
}

fn shards(env: &Env, lines: &mut Lines) {
    type Get = fn(&crate::metrics::ShardStats) -> f64;
    let all: [(&str, &str, &str, Get); 7] = [
        ("corelane_shard_keys", GAUGE, "Keys by shard.", |s| {
            s.per_db.iter().map(|db| db.keys.get()).sum::<u64>() as f64
        }),
        ("corelane_shard_connections", GAUGE, "Connections by shard.", |s| {
            s.connections_now.get() as f64
        }),
        ("corelane_shard_commands_total", COUNTER, "Commands by shard.", |s| {
            s.commands_processed.get() as f64
        }),
        ("corelane_shard_hops_total", COUNTER, "Messages with commands to other shards.", |s| {
            s.hops_sent.get() as f64
        }),
        ("corelane_shard_migrations_total", COUNTER, "Connections handed over.", |s| {
            s.connection_migrations.get() as f64
        }),
        ("corelane_shard_queue_depth", GAUGE, "Most messages that waited lately.", |s| {
            s.queue_depth.get() as f64
        }),
        ("corelane_shard_cpu_seconds_total", COUNTER, "CPU time of the shard's thread.", |s| {
            s.busy_ns.get() as f64 / 1e9
        }),
    ];
    for (name, kind, help, get) in all {
        lines.begin(name, kind, help);
        for (shard, stats) in env.stats.iter().enumerate() {
            lines.sample(name, &[("shard", &shard.to_string())], get(stats));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_values_are_numbers() {
        let mut lines = Lines::default();
        lines.one("a", GAUGE, "Help.", 1.5);
        lines.sample("b", &[("x", "1\"\\\n"), ("y", "")], 2);
        assert_eq!(
            lines.text,
            "# HELP a Help.\n# TYPE a gauge\na 1.5\nb{x=\"1\\\"\\\\\\n\",y=\"\"} 2\n"
        );
        assert_eq!(
            (number("ok"), number("err"), number("12.5%")),
            (Some(1.0), Some(0.0), Some(12.5))
        );
        assert_eq!(number("standalone"), None);
    }

    #[test]
    fn names_stand_once() {
        let mut names: Vec<&str> = FIELDS.iter().map(|(_, name, _)| *name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

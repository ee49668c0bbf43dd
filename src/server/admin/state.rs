//! What the console shows, as JSON.

use super::history::{History, Point};
use super::json::Json;
use crate::clock;
use crate::command::{command_totals, histograms, info_of_all};
use crate::metrics::LogKind;
use crate::net::{DeskAnswer, DeskQuestion, Shared};
use crate::shard::SlotTable;
use std::collections::HashMap;
use std::time::Duration;

/// How long shards are waited for; one that runs something slow is left out.
const PATIENCE: Duration = Duration::from_millis(300);
/// Entries of the slow log, commands and clients that are shown.
const SLOW_MAX: usize = 20;
const COMMANDS_MAX: usize = 12;
const CLIENTS_MAX: usize = 50;
const HOT_KEYS_MAX: usize = 12;

/// Fields of INFO that the page shows.
const FIELDS: &[&str] = &[
    "redis_version",
    "corelane_version",
    "redis_mode",
    "os",
    "process_id",
    "tcp_port",
    "uptime_in_seconds",
    "connected_clients",
    "maxclients",
    "blocked_clients",
    "pubsub_clients",
    "tracking_clients",
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "maxmemory",
    "maxmemory_policy",
    "total_commands_processed",
    "total_connections_received",
    "rejected_connections",
    "keyspace_hits",
    "keyspace_misses",
    "expired_keys",
    "evicted_keys",
    "total_error_replies",
    "shard_hops",
    "loading",
    "loading_loaded_perc",
    "loading_eta_seconds",
    "rdb_changes_since_last_save",
    "rdb_bgsave_in_progress",
    "rdb_last_save_time",
    "rdb_last_bgsave_status",
    "rdb_last_bgsave_time_sec",
    "current_save_keys_processed",
    "current_save_keys_total",
    "aof_enabled",
    "aof_rewrite_in_progress",
    "aof_last_bgrewrite_status",
    "aof_last_write_status",
    "aof_current_size",
    "aof_base_size",
    "aof_buffer_length",
    "aof_delayed_fsync",
];

/// All that the page shows; `keys` are those whose lengths somebody wants to see.
pub fn state(shared: &Shared, history: &History, keys: &[Vec<u8>]) -> String {
    let env = &shared.env;
    let now = clock::wall_ms();
    let info = info_of_all(env, &SlotTable::contiguous(env.stats.len()), now);
    let fields: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let question = DeskQuestion { keys: keys.to_vec() };
    let answers = shared.desk.ask(question, &shared.bells, PATIENCE);
    let silent = answers.iter().filter(|answer| answer.is_none()).count();
    let answers: Vec<DeskAnswer> = answers.into_iter().flatten().collect();
    let mut json = Json::default();
    json.object(|json| {
        json.key("now").value(now);
        json.key("silent_shards").value(silent);
        json.key("info").object(|json| {
            for name in FIELDS {
                if let Some(value) = fields.get(name) {
                    json.key(name).string(value);
                }
            }
        });
        write_history(history, json.key("history"));
        write_shards(shared, json.key("shards"));
        write_databases(&fields, json.key("databases"));
        write_commands(shared, json.key("commands"));
        write_slow(shared, json.key("slow"));
        write_queues(keys, &answers, json.key("queues"));
        write_clients(&answers, json.key("clients"));
        write_hot_keys(&answers, json.key("hot_keys"));
    });
    json.finish()
}

fn write_history(history: &History, json: &mut Json) {
    type Get = fn(&Point) -> Option<f64>;
    let columns: [(&str, Get); 10] = [
        ("at", |p| Some(p.at as f64)),
        ("commands", |p| Some(p.commands as f64)),
        ("input", |p| Some(p.input_bytes as f64)),
        ("output", |p| Some(p.output_bytes as f64)),
        ("hits", |p| Some(p.hits as f64)),
        ("misses", |p| Some(p.misses as f64)),
        ("median", |p| p.median_us),
        ("p99", |p| p.p99_us),
        ("memory", |p| Some(p.memory as f64)),
        ("clients", |p| Some(p.clients as f64)),
    ];
    json.object(|json| {
        for (name, get) in columns {
            json.key(name).array(|json| {
                for point in &history.points {
                    match get(point) {
                        Some(value) => json.value(value),
                        None => json.value("null"),
                    }
                }
            });
        }
        let shards = history.points.back().map_or(0, |point| point.busy.len());
        json.key("busy").array(|json| {
            for shard in 0..shards {
                json.array(|json| {
                    for point in &history.points {
                        json.value(point.busy.get(shard).copied().unwrap_or(0.0));
                    }
                });
            }
        });
    });
}

fn write_shards(shared: &Shared, json: &mut Json) {
    json.array(|json| {
        for stats in &shared.env.stats {
            json.object(|json| {
                let keys: u64 = stats.per_db.iter().map(|db| db.keys.get()).sum();
                json.key("keys").value(keys);
                json.key("connections").value(stats.connections_now.get());
                json.key("ops").value(stats.commands_a_second.get());
                json.key("hops").value(stats.hops_sent.get());
                json.key("queue").value(stats.queue_depth.get());
                json.key("busy").value(stats.busy_share.get() as f64 / 100.0);
            });
        }
    });
}

fn write_databases(fields: &HashMap<&str, &str>, json: &mut Json) {
    json.array(|json| {
        for db in 0..16 {
            let Some(line) = fields.get(format!("db{db}").as_str()) else { continue };
            json.object(|json| {
                json.key("db").value(db);
                for (name, value) in line.split(',').filter_map(|pair| pair.split_once('=')) {
                    json.key(name).value(value);
                }
            });
        }
    });
}

/// The commands in which most time was spent.
fn write_commands(shared: &Shared, json: &mut Json) {
    let mut totals = command_totals(&shared.env);
    totals.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.ns));
    let times = histograms(&shared.env);
    json.array(|json| {
        for (name, totals) in totals.iter().take(COMMANDS_MAX) {
            json.object(|json| {
                json.key("name").string(name);
                json.key("calls").value(totals.calls);
                json.key("us").value(totals.ns as f64 / 1000.0);
                json.key("failed").value(totals.failed + totals.rejected);
                if let Some(times) = times.get(name) {
                    json.key("median").value(times.percentile(50.0) as f64 / 1000.0);
                    json.key("p99").value(times.percentile(99.0) as f64 / 1000.0);
                }
            });
        }
    });
}

fn write_slow(shared: &Shared, json: &mut Json) {
    let logs = shared.env.logs();
    json.array(|json| {
        for entry in logs.entries(LogKind::Slow).take(SLOW_MAX) {
            json.object(|json| {
                json.key("id").value(entry.id);
                json.key("at").value(entry.at);
                json.key("us").value(entry.value);
                json.key("address").string(&entry.address);
                json.key("name").bytes(&entry.name);
                json.key("args").array(|json| entry.args.iter().for_each(|arg| json.bytes(arg)));
            });
        }
    });
}

/// Keys in the order in which they were asked for; one that no shard has has no length.
fn write_queues(keys: &[Vec<u8>], answers: &[DeskAnswer], json: &mut Json) {
    let lengths = || answers.iter().flat_map(|answer| &answer.lengths);
    json.array(|json| {
        for (at, key) in keys.iter().enumerate() {
            json.object(|json| {
                json.key("key").bytes(key);
                if let Some((_, kind, len)) = lengths().find(|(own, ..)| *own == at) {
                    json.key("type").string(kind);
                    json.key("length").value(len);
                }
            });
        }
    });
}

/// Clients by field of CLIENT LIST, the oldest first.
fn write_clients(answers: &[DeskAnswer], json: &mut Json) {
    let lines = answers.iter().flat_map(|answer| &answer.clients);
    let client = |line: &str| -> HashMap<String, String> {
        let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let mut clients: Vec<_> = lines.map(|line| client(line)).collect();
    clients.sort_by_key(|client| client.get("id").and_then(|id| id.parse::<u64>().ok()));
    json.array(|json| {
        for client in clients.iter().take(CLIENTS_MAX) {
            json.object(|json| {
                for name in [
                    "id", "addr", "name", "age", "idle", "flags", "db", "cmd", "user", "tot-mem",
                    "lib-name",
                ] {
                    json.key(name).string(client.get(name).map_or("", String::as_str));
                }
            });
        }
    });
}

fn write_hot_keys(answers: &[DeskAnswer], json: &mut Json) {
    let mut keys: Vec<_> = answers.iter().flat_map(|answer| &answer.hot_keys).collect();
    keys.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
    json.array(|json| {
        for (key, uses) in keys.into_iter().take(HOT_KEYS_MAX) {
            json.object(|json| {
                json.key("key").bytes(key);
                json.key("uses").value(uses);
            });
        }
    });
}

//! INFO: the state of the server in sections of `name:value` lines.
//!
//! The counters of all shards are added up. A field stands here only when its value is true: what
//! is not measured is left out rather than shown as zero.

mod persistence;

use super::connection::REDIS_VERSION;
use super::control::{Control, Env, SessionCx};
use super::registry::CommandId;
use super::spec::*;
use crate::clock;
use crate::config::ClusterMode;
use crate::error::CmdError;
use crate::metrics::{self, Counter, ERROR_CODES, ShardStats};
use crate::resp::Args;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::PoisonError;

pub const COMMANDS: &[Command] = &[session("info", -1, LOADING.with(STALE), info)
    .doc(
        Group::Server,
        "1.0.0",
        "O(1)",
        "[section [section ...]]",
        "Describes the server's state, or some sections of it.",
    )
    .categories(&["dangerous"])
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])];

/// One section: its name in a request, its title, whether it is shown without being asked for.
struct Section {
    name: &'static str,
    title: &'static str,
    default: bool,
    write: fn(&SessionCx, &mut Fields),
}

const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", default: true, write: server },
    Section { name: "clients", title: "Clients", default: true, write: clients },
    Section { name: "memory", title: "Memory", default: true, write: memory },
    Section {
        name: "persistence",
        title: "Persistence",
        default: true,
        write: persistence::persistence,
    },
    Section { name: "stats", title: "Stats", default: true, write: stats },
    Section { name: "replication", title: "Replication", default: true, write: replication },
    Section { name: "cpu", title: "CPU", default: true, write: cpu },
    Section { name: "modules", title: "Modules", default: true, write: |_, _| () },
    Section { name: "commandstats", title: "Commandstats", default: false, write: commandstats },
    Section { name: "errorstats", title: "Errorstats", default: true, write: errorstats },
    Section { name: "cluster", title: "Cluster", default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", default: true, write: keyspace },
    Section { name: "shards", title: "Shards", default: true, write: shards },
];

fn info(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let asked = |name: &str| (1..args.len()).any(|at| args.is(at, name));
    let all = asked("all") || asked("everything");
    let default = args.len() == 1 || asked("default");
    let mut fields = Fields::default();
    for section in SECTIONS {
        if all || asked(section.name) || default && section.default {
            let gap = if fields.text.is_empty() { "" } else { "\r\n" };
            fields.text += &format!("{gap}# {}\r\n", section.title);
            (section.write)(cx, &mut fields);
        }
    }
    cx.out.verbatim("txt", fields.text.as_bytes());
    Ok(Control::Done)
}

/// The lines written so far.
#[derive(Default)]
struct Fields {
    text: String,
}

impl Fields {
    fn add(&mut self, name: impl Display, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    /// A number of bytes, and again for people.
    fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(format_args!("{name}_human"), human(bytes));
    }
}

fn human(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match units.iter().find(|(shift, _)| bytes >> shift != 0) {
        Some((shift, unit)) => format!("{:.2}{unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes}B"),
    }
}

/// A counter of all shards together.
fn sum(env: &Env, counter: impl Fn(&ShardStats) -> &Counter) -> u64 {
    env.stats.iter().map(|stats| counter(stats).get()).sum()
}

fn server(cx: &SessionCx, fields: &mut Fields) {
    let env = cx.env;
    let kernel = |name: &str| {
        let path = format!("/proc/sys/kernel/{name}");
        std::fs::read_to_string(path).unwrap_or_default().trim().to_string()
    };
    let path = |path: Option<std::path::PathBuf>| path.unwrap_or_default().display().to_string();
    let now = clock::wall();
    let uptime = ((now.as_millis() as i64 - env.started_at) / 1000).max(0);
    let config = env.config();
    let cluster = config.cluster_mode == ClusterMode::Emulated;
    fields.add("redis_version", REDIS_VERSION);
    fields.add("corelane_version", env!("CARGO_PKG_VERSION"));
    fields.add("redis_mode", if cluster { "cluster" } else { "standalone" });
    let arch = std::env::consts::ARCH;
    fields.add("os", format_args!("{} {} {arch}", kernel("ostype"), kernel("osrelease")));
    fields.add("arch_bits", usize::BITS);
    fields.add("multiplexing_api", "io_uring");
    fields.add("process_id", std::process::id());
    fields.add("process_supervised", "no");
    fields.add("run_id", &env.run_id);
    fields.add("tcp_port", config.port);
    fields.add("server_time_usec", now.as_micros());
    fields.add("uptime_in_seconds", uptime);
    fields.add("uptime_in_days", uptime / 86400);
    fields.add("hz", config.hz);
    fields.add("configured_hz", config.hz);
    fields.add("lru_clock", now.as_secs() & 0x00ff_ffff);
    fields.add("executable", path(std::env::current_exe().ok()));
    fields.add("config_file", path(config.file().map(Into::into)));
}

fn clients(cx: &SessionCx, fields: &mut Fields) {
    fields.add("connected_clients", sum(cx.env, |s| &s.connections_now));
    fields.add("maxclients", cx.env.config().maxclients);
    fields.add("blocked_clients", sum(cx.env, |s| &s.blocked_clients));
    fields.add("tracking_clients", sum(cx.env, |s| &s.tracking_clients));
    fields.add("pubsub_clients", sum(cx.env, |s| &s.pubsub_clients));
    fields.add("total_blocking_keys", sum(cx.env, |s| &s.blocking_keys));
    fields.add("total_blocking_keys_on_nokey", sum(cx.env, |s| &s.blocking_keys_on_nokey));
}

fn memory(cx: &SessionCx, fields: &mut Fields) {
    let (used, memory) = (metrics::memory_used(), metrics::memory());
    let peak = memory.peak.max(used);
    let config = cx.env.config();
    fields.add_bytes("used_memory", used);
    fields.add_bytes("used_memory_rss", memory.resident);
    fields.add_bytes("used_memory_peak", peak);
    let percent = used as f64 * 100.0 / peak.max(1) as f64;
    fields.add("used_memory_peak_perc", format_args!("{percent:.2}%"));
    let ratio = memory.resident as f64 / used.max(1) as f64;
    fields.add("mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    fields.add("mem_fragmentation_bytes", memory.resident.saturating_sub(used));
    fields.add_bytes("total_system_memory", metrics::memory_of_machine());
    fields.add_bytes("maxmemory", config.maxmemory);
    fields.add("maxmemory_policy", config.maxmemory_policy.name());
    let (scripts, bytes) = cx.env.scripts.size();
    let libraries = cx.env.scripts.libraries();
    fields.add("used_memory_lua", sum(cx.env, |s| &s.lua_memory));
    fields.add("used_memory_scripts_eval", bytes);
    fields.add("number_of_cached_scripts", scripts);
    fields.add("number_of_functions", libraries.function_count());
    fields.add("number_of_libraries", libraries.library_count());
    fields.add("lazyfree_pending_objects", sum(cx.env, |s| &s.lazyfree_pending));
    fields.add("lazyfreed_objects", sum(cx.env, |s| &s.lazyfreed_objects));
}

fn stats(cx: &SessionCx, fields: &mut Fields) {
    type Get = fn(&ShardStats) -> &Counter;
    let counters: [(&str, Get); 15] = [
        ("total_connections_received", |s| &s.connections_received),
        ("total_commands_processed", |s| &s.commands_processed),
        ("total_net_input_bytes", |s| &s.input_bytes),
        ("total_net_output_bytes", |s| &s.output_bytes),
        ("rejected_connections", |s| &s.connections_rejected),
        ("expired_keys", |s| &s.expired_keys),
        ("expired_fields", |s| &s.expired_fields),
        ("keyspace_hits", |s| &s.keyspace_hits),
        ("keyspace_misses", |s| &s.keyspace_misses),
        ("total_error_replies", |s| &s.error_replies),
        ("client_query_buffer_limit_disconnections", |s| &s.query_limit_disconnections),
        ("client_output_buffer_limit_disconnections", |s| &s.output_limit_disconnections),
        ("acl_access_denied_auth", |s| &s.auth_failures),
        ("connection_migrations", |s| &s.connection_migrations),
        ("shard_hops", |s| &s.hops_sent),
    ];
    for (name, counter) in counters {
        fields.add(name, sum(cx.env, counter));
    }
    fields.add("evicted_keys", 0);
    fields.add("pubsub_channels", sum(cx.env, |s| &s.pubsub_channels));
    // Every shard knows all patterns.
    fields.add("pubsub_patterns", cx.stats().pubsub_patterns.get());
    fields.add("pubsubshard_channels", sum(cx.env, |s| &s.pubsub_shard_channels));
    fields.add("tracking_total_keys", sum(cx.env, |s| &s.tracked_keys));
    fields.add("tracking_total_items", sum(cx.env, |s| &s.tracked_items));
    fields.add("tracking_total_prefixes", cx.stats().tracking_prefixes.get());
    fields.add("instantaneous_ops_per_sec", sum(cx.env, |s| &s.commands_a_second));
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    let (input, output) =
        (sum(cx.env, |s| &s.input_bytes_a_second), sum(cx.env, |s| &s.output_bytes_a_second));
    fields.add("instantaneous_input_kbps", kilobytes(input));
    fields.add("instantaneous_output_kbps", kilobytes(output));
    let slowest = cx.env.stats.iter().map(|s| s.insert_ns_max.get()).max();
    fields.add("table_insert_ns_max", slowest.unwrap_or(0));
}

fn replication(cx: &SessionCx, fields: &mut Fields) {
    // The id of the history of the data, which begins with the run.
    let (head, tail) = cx.env.run_id.split_at(cx.env.run_id.len() / 2);
    fields.add("role", "master");
    fields.add("connected_slaves", 0);
    fields.add("master_failover_state", "no-failover");
    fields.add("master_replid", format_args!("{tail}{head}"));
    fields.add("master_replid2", "0".repeat(40));
    fields.add("master_repl_offset", 0);
    fields.add("second_repl_offset", -1);
    fields.add("repl_backlog_active", 0);
}

fn cpu(_: &SessionCx, fields: &mut Fields) {
    let time = metrics::cpu_time();
    for (name, us) in [
        ("used_cpu_sys", time.system),
        ("used_cpu_user", time.user),
        ("used_cpu_sys_children", time.system_children),
        ("used_cpu_user_children", time.user_children),
    ] {
        fields.add(name, format_args!("{}.{:06}", us / 1_000_000, us % 1_000_000));
    }
}

fn commandstats(cx: &SessionCx, fields: &mut Fields) {
    let env = cx.env;
    for id in 0..env.registry.len() {
        let calls = sum(env, |s| &s.per_command[id].calls);
        let rejected = sum(env, |s| &s.per_command[id].rejected);
        let failed = sum(env, |s| &s.per_command[id].failed);
        if calls + rejected + failed > 0 {
            let name = env.registry.command(CommandId(id as u16)).name;
            fields.add(
                format_args!("cmdstat_{name}"),
                format_args!("calls={calls},rejected_calls={rejected},failed_calls={failed}"),
            );
        }
    }
}

fn errorstats(cx: &SessionCx, fields: &mut Fields) {
    let mut counts = BTreeMap::new();
    for (at, code) in ERROR_CODES.iter().chain(&["other"]).enumerate() {
        counts.insert(code.to_string(), sum(cx.env, |s| &s.per_error[at]));
    }
    for stats in &cx.env.stats {
        let others = stats.other_errors.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, count) in others.iter() {
            // A client has made it up: it must stay on its line.
            let clean = |c: char| if c.is_control() || c == ':' || c == '=' { '_' } else { c };
            let code: String = String::from_utf8_lossy(code).chars().map(clean).collect();
            *counts.entry(code).or_default() += count;
        }
    }
    for (code, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        fields.add(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn cluster(cx: &SessionCx, fields: &mut Fields) {
    let enabled = cx.env.config().cluster_mode == ClusterMode::Emulated;
    fields.add("cluster_enabled", u8::from(enabled));
}

fn keyspace(cx: &SessionCx, fields: &mut Fields) {
    let databases = cx.env.stats.first().map_or(0, |stats| stats.per_db.len());
    for db in 0..databases {
        let keys = sum(cx.env, |s| &s.per_db[db].keys);
        let expires = sum(cx.env, |s| &s.per_db[db].expires);
        if keys > 0 {
            fields.add(
                format_args!("db{db}"),
                format_args!("keys={keys},expires={expires},avg_ttl=0"),
            );
        }
    }
}

fn shards(cx: &SessionCx, fields: &mut Fields) {
    fields.add("shards", cx.env.stats.len());
    let mut slots = vec![0; cx.env.stats.len()];
    for (first, last, shard) in cx.slots.ranges() {
        slots[shard] += u32::from(last - first) + 1;
    }
    for (shard, stats) in cx.env.stats.iter().enumerate() {
        let keys: u64 = stats.per_db.iter().map(|db| db.keys.get()).sum();
        let line = format!(
            "slots={},keys={keys},connections={},commands={},hops={},migrations={}",
            slots[shard],
            stats.connections_now.get(),
            stats.commands_processed.get(),
            stats.hops_sent.get(),
            stats.connection_migrations.get(),
        );
        fields.add(format_args!("shard{shard}"), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::SessionBench;

    fn titles(reply: &str) -> Vec<&str> {
        reply.split("\r\n").filter_map(|line| line.strip_prefix("# ")).collect()
    }

    #[test]
    fn sections_are_chosen() {
        let mut bench = SessionBench::new();
        let default = bench.run("info");
        assert_eq!(titles(&default)[..3], ["Server", "Clients", "Memory"]);
        assert!(!titles(&default).contains(&"Commandstats"));
        assert_eq!(titles(&bench.run("info everything")).len(), SECTIONS.len());
        assert_eq!(titles(&bench.run("info all")).len(), SECTIONS.len());
        assert_eq!(titles(&bench.run("info KEYSPACE cpu")), ["CPU", "Keyspace"]);
        assert_eq!(titles(&bench.run("info default commandstats")).len(), SECTIONS.len());
        assert_eq!(bench.run("info nothing"), "$0\r\n\r\n");
        assert_eq!(bench.run("info cluster"), "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
        bench.run("hello 3");
        assert!(bench.run("info cluster").starts_with("=34\r\ntxt:# Cluster\r\n"));
    }

    #[test]
    fn counters_of_all_shards_are_added_up() {
        let mut bench = SessionBench::new();
        for stats in &bench.env.stats {
            stats.commands_processed.add(10);
            stats.keyspace_hits.add(3);
            stats.per_db[9].keys.add(4);
            stats.per_db[9].expires.add(1);
            stats.changes.add(5);
        }
        bench.run("ping a b");
        let info = bench.run("info everything");
        for line in [
            "redis_version:7.2.4",
            "redis_mode:standalone",
            "tcp_port:6379",
            "config_file:",
            "total_commands_processed:20",
            "keyspace_hits:6",
            "rdb_changes_since_last_save:10",
            "role:master",
            "maxmemory_human:0B",
            "maxmemory_policy:noeviction",
            "cmdstat_ping:calls=1,rejected_calls=0,failed_calls=1",
            "cmdstat_info:calls=1,rejected_calls=0,failed_calls=0",
            "errorstat_ERR:count=1",
            "db9:keys=8,expires=2,avg_ttl=0",
            "shards:2",
            "shard1:slots=8192,keys=4,connections=0,commands=10,hops=0,migrations=0",
        ] {
            assert!(info.contains(&format!("\r\n{line}\r\n")), "{line} in {info}");
        }
        assert!(!info.contains("cmdstat_echo") && !info.contains("db0:"));
    }

    #[test]
    fn bytes_are_readable() {
        let shown = [0, 1023, 1024, 1536, 1 << 20, 5 << 30, 3 << 40].map(human);
        assert_eq!(shown, ["0B", "1023B", "1.00K", "1.50K", "1.00M", "5.00G", "3.00T"]);
    }
}

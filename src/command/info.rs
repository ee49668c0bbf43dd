//! INFO: the state of the server in sections of `name:value` lines.
//!
//! The counters of all shards are added up. A field stands here only when its value is true: what
//! is not measured is left out rather than shown as zero.

mod commands;
pub(super) mod memory;
mod persistence;
mod shards;

pub use commands::{CommandTotals, command_totals, error_totals};

use super::connection::REDIS_VERSION;
use super::control::{Control, Env, SessionCx};
use super::spec::*;
use crate::clock;
use crate::config::{ClusterMode, Supervised};
use crate::error::CmdError;
use crate::metrics::{self, Counter, ShardStats};
use crate::resp::{Args, Encoder, Protocol};
use crate::script::Sha;
use crate::session::{Peer, Session};
use crate::shard::SlotTable;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

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
    Section { name: "memory", title: "Memory", default: true, write: memory::memory },
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
    Section {
        name: "commandstats",
        title: "Commandstats",
        default: false,
        write: commands::commandstats,
    },
    Section { name: "errorstats", title: "Errorstats", default: true, write: commands::errorstats },
    Section {
        name: "latencystats",
        title: "Latencystats",
        default: false,
        write: commands::latencystats,
    },
    Section { name: "cluster", title: "Cluster", default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", default: true, write: keyspace },
    Section { name: "shards", title: "Shards", default: true, write: shards::shards },
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

/// All sections, for others than clients.
pub fn info_of_all(env: &Env, slots: &SlotTable, now: i64) -> String {
    let peer = Peer::Unix { path: String::new() };
    let mut session = Session::new(0, peer, &env.acl.users(), now);
    let mut reply = Vec::new();
    let out = Encoder::new(&mut reply, Protocol::Resp3);
    let cx = SessionCx {
        session: &mut session,
        out,
        env,
        slots,
        shard: 0,
        now,
        frozen: None,
        name: "info",
        refused_as: None,
    };
    let mut fields = Fields::default();
    SECTIONS.iter().for_each(|section| (section.write)(&cx, &mut fields));
    fields.text
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
    fields.add("monotonic_clock", "POSIX clock_gettime");
    fields.add("multiplexing_api", env.runtime);
    fields.add("process_id", std::process::id());
    let supervised = match config.supervised {
        Supervised::Systemd => "systemd",
        Supervised::Auto if std::env::var_os("NOTIFY_SOCKET").is_some() => "systemd",
        _ => "no",
    };
    fields.add("process_supervised", supervised);
    fields.add("run_id", &env.run_id);
    let port = if config.port > 0 { config.port } else { config.tls_port };
    fields.add("tcp_port", port);
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
    fields.add("cluster_connections", 0);
    fields.add("maxclients", cx.env.config().maxclients);
    let most = |counter: fn(&ShardStats) -> &Counter| {
        cx.env.stats.iter().map(|stats| counter(stats).get()).max().unwrap_or(0)
    };
    fields.add("client_recent_max_input_buffer", most(|s| &s.input_buffer_max));
    fields.add("client_recent_max_output_buffer", most(|s| &s.output_buffer_max));
    fields.add("blocked_clients", sum(cx.env, |s| &s.blocked_clients));
    fields.add("tracking_clients", sum(cx.env, |s| &s.tracking_clients));
    fields.add("pubsub_clients", sum(cx.env, |s| &s.pubsub_clients));
    fields.add("watching_clients", sum(cx.env, |s| &s.watching_clients));
    fields.add("total_watched_keys", sum(cx.env, |s| &s.watched_keys));
    fields.add("total_blocking_keys", sum(cx.env, |s| &s.blocking_keys));
    fields.add("total_blocking_keys_on_nokey", sum(cx.env, |s| &s.blocking_keys_on_nokey));
}

/// What needs replicas, forks, MIGRATE, or pages that are moved: there is nothing of it.
const NOTHING: [&str; 16] = [
    "total_net_repl_input_bytes",
    "total_net_repl_output_bytes",
    "sync_full",
    "sync_partial_ok",
    "sync_partial_err",
    "slave_expires_tracked_keys",
    "latest_fork_usec",
    "total_forks",
    "migrate_cached_sockets",
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
    "unexpected_error_replies",
];

fn stats(cx: &SessionCx, fields: &mut Fields) {
    type Get = fn(&ShardStats) -> &Counter;
    let counters: [(&str, Get); 24] = [
        ("total_connections_received", |s| &s.connections_received),
        ("total_commands_processed", |s| &s.commands_processed),
        ("total_net_input_bytes", |s| &s.input_bytes),
        ("total_net_output_bytes", |s| &s.output_bytes),
        ("rejected_connections", |s| &s.connections_rejected),
        ("expired_keys", |s| &s.expired_keys),
        ("expired_fields", |s| &s.expired_fields),
        ("evicted_keys", |s| &s.evicted_keys),
        ("evicted_clients", |s| &s.evicted_clients),
        ("keyspace_hits", |s| &s.keyspace_hits),
        ("keyspace_misses", |s| &s.keyspace_misses),
        ("total_error_replies", |s| &s.error_replies),
        ("client_query_buffer_limit_disconnections", |s| &s.query_limit_disconnections),
        ("client_output_buffer_limit_disconnections", |s| &s.output_limit_disconnections),
        ("acl_access_denied_auth", |s| &s.auth_failures),
        ("acl_access_denied_cmd", |s| &s.denied_commands),
        ("acl_access_denied_key", |s| &s.denied_keys),
        ("acl_access_denied_channel", |s| &s.denied_channels),
        ("connection_migrations", |s| &s.connection_migrations),
        ("shard_hops", |s| &s.hops_sent),
        ("scripts_whole", |s| &s.scripts_whole),
        ("scripts_foretold", |s| &s.scripts_foretold),
        ("scripts_extended", |s| &s.scripts_extended),
        ("scripts_given_up", |s| &s.scripts_given_up),
    ];
    for (name, counter) in counters {
        fields.add(name, sum(cx.env, counter));
    }
    let (all, current) = memory::exceeded(cx);
    fields.add("total_eviction_exceeded_time", all);
    fields.add("current_eviction_exceeded_time", current);
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
    fields.add("expired_time_cap_reached_count", sum(cx.env, |s| &s.expire_stops));
    fields.add("expire_cycle_cpu_milliseconds", sum(cx.env, |s| &s.expire_ns) / 1_000_000);
    fields.add("total_reads_processed", sum(cx.env, |s| &s.reads));
    fields.add("total_writes_processed", sum(cx.env, |s| &s.sends));
    shards::loops(cx, fields);
    NOTHING.iter().for_each(|name| fields.add(name, 0));
    fields.add("instantaneous_input_repl_kbps", "0.00");
    fields.add("instantaneous_output_repl_kbps", "0.00");
    let slowest = cx.env.stats.iter().map(|s| s.insert_ns_max.get()).max();
    fields.add("table_insert_ns_max", slowest.unwrap_or(0));
}

fn replication(cx: &SessionCx, fields: &mut Fields) {
    // The id of the history of the data, which begins with the run, or is given anew.
    let (head, tail) = cx.env.run_id.split_at(cx.env.run_id.len() / 2);
    let changes = cx.env.repl_changes.load(Ordering::Relaxed);
    let anew = Sha::of(format!("{head}{changes}").as_bytes()).to_string();
    fields.add("role", "master");
    fields.add("connected_slaves", 0);
    fields.add("master_failover_state", "no-failover");
    fields.add("master_replid", if changes > 0 { anew } else { format!("{tail}{head}") });
    fields.add("master_replid2", "0".repeat(40));
    fields.add("master_repl_offset", 0);
    fields.add("second_repl_offset", -1);
    for name in [
        "repl_backlog_active",
        "repl_backlog_size",
        "repl_backlog_first_byte_offset",
        "repl_backlog_histlen",
    ] {
        fields.add(name, 0);
    }
}

fn cpu(_: &SessionCx, fields: &mut Fields) {
    let (time, main) = (metrics::cpu_time(), metrics::cpu_time_of_main());
    for (name, us) in [
        ("used_cpu_sys", time.system),
        ("used_cpu_user", time.user),
        ("used_cpu_sys_children", time.system_children),
        ("used_cpu_user_children", time.user_children),
        ("used_cpu_sys_main_thread", main.system),
        ("used_cpu_user_main_thread", main.user),
    ] {
        fields.add(name, format_args!("{}.{:06}", us / 1_000_000, us % 1_000_000));
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
        assert_eq!(titles(&bench.run("info default commandstats")).len(), SECTIONS.len() - 1);
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
            "cmdstat_ping:calls=0,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=1",
            "errorstat_ERR:count=1",
            "db9:keys=8,expires=2,avg_ttl=0",
            "shards:2",
            "shard1:slots=8192,keys=4,connections=0,commands=10,ops=0,hops=0,migrations=0,queue_depth=0,busy=0.00%",
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

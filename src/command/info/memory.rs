//! INFO's section on memory, and what of it MEMORY tells, too.

use super::{Fields, SessionCx, sum};
use crate::command::control::Env;
use crate::metrics;
use crate::rt::heap::{self, Heap};
use std::sync::atomic::Ordering;

/// Where memory goes, in bytes.
pub(in crate::command) struct Usage {
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    pub resident: u64,
    pub heap: Heap,
    pub clients: u64,
    pub journal: u64,
    pub scripts: u64,
    pub functions: u64,
    /// Of the tables of each database, without their keys: the database, bytes, keys.
    pub tables: Vec<(usize, u64, u64)>,
}

impl Usage {
    pub fn of(env: &Env) -> Usage {
        let memory = metrics::memory();
        let used = env.memory.used();
        let databases = env.stats.first().map_or(0, |stats| stats.per_db.len());
        let table = |db: usize| {
            (db, sum(env, |s| &s.per_db[db].table_bytes), sum(env, |s| &s.per_db[db].keys))
        };
        Usage {
            used,
            peak: env.memory.peak().max(used),
            startup: env.memory.startup(),
            resident: memory.resident,
            heap: heap::state(),
            clients: sum(env, |s| &s.clients_memory),
            journal: env.persist.pending.load(Ordering::Relaxed),
            scripts: env.scripts.size().1 as u64,
            functions: env.scripts.libraries().memory() as u64,
            tables: (0..databases).map(table).filter(|(.., keys)| *keys > 0).collect(),
        }
    }

    pub fn keys(&self) -> u64 {
        self.tables.iter().map(|(.., keys)| keys).sum()
    }

    /// What is not data.
    pub fn overhead(&self) -> u64 {
        let tables: u64 = self.tables.iter().map(|(_, bytes, _)| bytes).sum();
        let rest = self.clients + self.journal + self.scripts + self.functions;
        (self.startup + tables + rest).min(self.used)
    }

    pub fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }

    /// What is used beyond what was used without any data.
    pub fn net(&self) -> u64 {
        self.used.saturating_sub(self.startup).max(1)
    }

    pub fn dataset_percent(&self) -> f64 {
        self.dataset() as f64 * 100.0 / self.net() as f64
    }

    pub fn peak_percent(&self) -> f64 {
        self.used as f64 * 100.0 / self.peak.max(1) as f64
    }

    /// Ratio and difference of two of them, by the names that Redis has for both.
    pub fn overheads(&self) -> [(&'static str, f64, i64); 4] {
        let Heap { allocated, active, resident, .. } = self.heap;
        let of = |name, more: u64, less: u64| {
            (name, more as f64 / less.max(1) as f64, more as i64 - less as i64)
        };
        [
            of("allocator_frag", active, allocated),
            of("allocator_rss", resident, active),
            of("rss_overhead", self.resident, resident),
            of("mem_fragmentation", self.resident, self.used),
        ]
    }
}

/// What needs replicas, or links between nodes: there is nothing of it.
const NOTHING: [&str; 4] = [
    "mem_replication_backlog",
    "mem_total_replication_buffers",
    "mem_clients_slaves",
    "mem_cluster_links",
];

pub(super) fn memory(cx: &SessionCx, fields: &mut Fields) {
    let env = cx.env;
    let usage = Usage::of(env);
    let config = env.config();
    fields.add_bytes("used_memory", usage.used);
    fields.add_bytes("used_memory_rss", usage.resident);
    fields.add_bytes("used_memory_peak", usage.peak);
    fields.add("used_memory_peak_perc", format_args!("{:.2}%", usage.peak_percent()));
    fields.add("used_memory_overhead", usage.overhead());
    fields.add("used_memory_startup", usage.startup);
    fields.add("used_memory_dataset", usage.dataset());
    fields.add("used_memory_dataset_perc", format_args!("{:.2}%", usage.dataset_percent()));
    fields.add("allocator_allocated", usage.heap.allocated);
    fields.add("allocator_active", usage.heap.active);
    fields.add("allocator_resident", usage.heap.resident);
    fields.add_bytes("total_system_memory", metrics::memory_of_machine());
    let lua = sum(env, |s| &s.lua_memory);
    fields.add_bytes("used_memory_lua", lua);
    fields.add("used_memory_vm_eval", lua);
    // Functions run where scripts do.
    fields.add("used_memory_vm_functions", 0);
    fields.add_bytes("used_memory_vm_total", lua);
    fields.add("used_memory_scripts_eval", usage.scripts);
    fields.add("number_of_cached_scripts", env.scripts.size().0);
    let libraries = env.scripts.libraries();
    fields.add("number_of_functions", libraries.function_count());
    fields.add("number_of_libraries", libraries.library_count());
    fields.add("used_memory_functions", usage.functions);
    fields.add_bytes("used_memory_scripts", usage.scripts + usage.functions);
    fields.add_bytes("maxmemory", config.maxmemory);
    fields.add("maxmemory_policy", config.maxmemory_policy.name());
    for (name, ratio, bytes) in usage.overheads() {
        fields.add(format_args!("{name}_ratio"), format_args!("{ratio:.2}"));
        fields.add(format_args!("{name}_bytes"), bytes);
    }
    fields.add("mem_not_counted_for_evict", usage.journal);
    for nothing in NOTHING {
        fields.add(nothing, 0);
    }
    fields.add("mem_clients_normal", usage.clients);
    fields.add("mem_aof_buffer", usage.journal);
    fields.add("mem_allocator", heap::NAME);
    fields.add("active_defrag_running", 0);
    fields.add("lazyfree_pending_objects", sum(env, |s| &s.lazyfree_pending));
    fields.add("lazyfreed_objects", sum(env, |s| &s.lazyfreed_objects));
}

/// For how long more memory was used than is allowed, in milliseconds: in all, and at present.
pub(super) fn exceeded(cx: &SessionCx) -> (u64, u64) {
    let now = crate::clock::monotonic().duration_since(cx.env.born).as_micros() as u64;
    let one = |stats: &std::sync::Arc<metrics::ShardStats>| {
        let since = stats.exceeded_since_us.get();
        let current = if since > 0 { now.saturating_sub(since) } else { 0 };
        (stats.exceeded_us.get() + current, current)
    };
    // All shards see the same memory.
    let times = cx.env.stats.iter().map(one);
    let (all, current) = times.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
    (all / 1000, current / 1000)
}

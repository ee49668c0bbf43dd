//! Rows about memory and expiry.

use super::super::{
    row::{Group, Kind, Row},
    values::EvictionPolicy,
};
use super::special;
use super::{bool_row, choice_row, int_row, memory_row};

const COUNT_MAX: i64 = i32::MAX as i64;

/// The rate of the background work stays within these, whatever is asked for.
const HZ_MIN: i64 = 1;
const HZ_MAX: i64 = 500;

pub(super) const ROWS: &[Row] = &[
    memory_row!(
        Memory,
        "maxmemory",
        maxmemory,
        0,
        u64::MAX,
        "0",
        "Most bytes that the whole server may use, with all shards' keys and all buffers; 0 is no \
         limit. What happens beyond it is maxmemory-policy's to say. Data that are loaded at the \
         start are loaded whole."
    )
    .mutable(),
    choice_row!(
        Memory,
        "maxmemory-policy",
        maxmemory_policy: EvictionPolicy,
        "noeviction",
        "Which keys go first at the memory limit. volatile-* takes only keys that expire, allkeys-* \
         any; lru the least recently used, lfu the least often used, ttl those that expire \
         soonest. noeviction refuses writes instead."
    )
    .mutable(),
    int_row!(
        Memory,
        "maxmemory-samples",
        maxmemory_samples,
        1,
        COUNT_MAX,
        "5",
        "Keys looked at for each eviction. More comes closer to true LRU or LFU and costs more CPU; beyond \
         64 it makes no difference."
    )
    .mutable()
    .unit("keys"),
    int_row!(
        Memory,
        "maxmemory-eviction-tenacity",
        maxmemory_eviction_tenacity,
        0,
        100,
        "10",
        "How long evictions may hold up a shard, from 0 to 100. 10 is half a millisecond, less is less; \
         each step above 10 is 15 percent longer, and 100 is without an end."
    )
    .mutable(),
    Row::new(
        Group::Memory,
        "maxmemory-clients",
        Kind::Special(special::CLIENT_MEMORY),
        "0",
        "Most bytes that all clients' connections may use together, or a percentage of maxmemory; 0 is \
         no limit. Beyond it the clients that use most are closed.",
    )
    .mutable(),
    int_row!(
        Memory,
        "lfu-log-factor",
        lfu_log_factor,
        0,
        COUNT_MAX,
        "10",
        "How slowly a key's use counter grows. With 10 it is full at about a million uses; lower \
         tells rarely used keys apart better."
    )
    .mutable()
    .unit("factor"),
    int_row!(
        Memory,
        "lfu-decay-time",
        lfu_decay_time,
        0,
        COUNT_MAX,
        "1",
        "Minutes after which a key's use counter loses one. 0 never lowers it."
    )
    .mutable()
    .unit("minutes"),
    int_row!(
        Memory,
        "tracking-table-max-keys",
        tracking_table_max_keys,
        0,
        i64::MAX,
        "1000000",
        "Most keys remembered as read by clients that track keys (CLIENT TRACKING). Beyond, keys chosen \
         at random are forgotten, and their clients told as if they had changed. 0 is no limit."
    )
    .mutable()
    .unit("keys"),
    bool_row!(
        Memory,
        "lazyfree-lazy-eviction",
        lazyfree_lazy_eviction,
        "no",
        "Record evicted keys as UNLINK in the append-only files instead of as DEL. It makes no other \
         difference, since big values always go in small steps."
    )
    .mutable(),
    bool_row!(
        Memory,
        "lazyfree-lazy-expire",
        lazyfree_lazy_expire,
        "no",
        "Whether expired values are freed lazily. Big ones always go in small steps, so it makes no \
         difference."
    )
    .mutable(),
    bool_row!(
        Memory,
        "lazyfree-lazy-server-del",
        lazyfree_lazy_server_del,
        "no",
        "Whether values that a command replaces, as RENAME does, are freed lazily. Big ones always \
         go in small steps, so it makes no difference."
    )
    .mutable(),
    bool_row!(
        Memory,
        "lazyfree-lazy-user-del",
        lazyfree_lazy_user_del,
        "no",
        "Whether DEL frees values lazily, as UNLINK does. Big ones always go in small steps, so it \
         makes no difference."
    )
    .mutable(),
    bool_row!(
        Memory,
        "lazyfree-lazy-user-flush",
        lazyfree_lazy_user_flush,
        "no",
        "Let FLUSHALL and FLUSHDB without SYNC or ASYNC free in the background, as ASYNC does. With \
         no they free at once."
    )
    .mutable(),
    Row::new(
        Group::Expiry,
        "hz",
        Kind::Int {
            min: 0,
            max: COUNT_MAX,
            get: |v| i64::from(v.hz),
            set: |v, new| v.hz = new.clamp(HZ_MIN, HZ_MAX) as u32,
        },
        "10",
        "Rounds of background work a second in each shard. Expired keys and idle clients are found \
         then. It is brought into 1 to 500; above 100 costs CPU on an idle server.",
    )
    .mutable()
    .unit("rounds/second"),
    bool_row!(
        Expiry,
        "dynamic-hz",
        dynamic_hz,
        "yes",
        "Raise hz for a time when there are many clients. An idle server keeps the configured rate."
    )
    .mutable(),
    int_row!(
        Expiry,
        "active-expire-effort",
        active_expire_effort,
        1,
        10,
        "1",
        "How hard expired keys are looked for, from 1 to 10. More frees memory sooner and takes a \
         larger, still bounded, share of CPU."
    )
    .mutable()
    .unit("effort"),
];

//! Rows about memory and expiry.

use super::super::{
    row::{Group, Kind, Row},
    values::EvictionPolicy,
};
use super::{bool_row, choice_row, int_row, memory_row};

const COUNT_MAX: i64 = i32::MAX as i64;

/// Work is bounded by the number of samples, so it has a bound that can be afforded.
const SAMPLES_MAX: i64 = 64;

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
        "Most bytes for the data of the whole server; 0 is no limit. Only 0 is accepted so far, \
         since keys aren't evicted yet."
    )
    .mutable()
    .refuse(
        |v| v.maxmemory != 0,
        "a memory limit isn't supported yet: only maxmemory 0 (no limit) is accepted; limit the \
         process with its cgroup instead",
    ),
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
        SAMPLES_MAX,
        "5",
        "Keys looked at for each eviction. More comes closer to true LRU or LFU and costs more CPU."
    )
    .mutable()
    .unit("keys"),
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
        "Whether evicted values are freed lazily. Big ones always go in small steps, so it makes no \
         difference."
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

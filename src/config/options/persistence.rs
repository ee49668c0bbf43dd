//! Rows about persistence and events.

use super::super::{
    row::{Action, Group, Kind, Row},
    values::{FsyncPolicy, SnapshotFiles},
};
use super::{bool_row, choice_row, int_row, memory_row, special};

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Group::Persistence,
        "save",
        Kind::Special(special::SAVE),
        "\"\"",
        "When to write a snapshot: pairs of seconds and changes. It is written when one of them says that so \
         many changes were made and so many seconds have passed; and at the end, if there is any. The empty \
         value is never.",
    )
    .mutable(),
    bool_row!(
        Persistence,
        "appendonly",
        appendonly,
        "no",
        "Append every write to files, from which the data is loaded at the next start. There is a \
         segment for each shard, in the directory appenddirname. Replies to writes leave when the \
         system has them, so a crash of the server loses nothing."
    )
    .mutable()
    .acts(Action::AppendOnly),
    choice_row!(
        Persistence,
        "appendfsync",
        appendfsync: FsyncPolicy,
        "everysec",
        "When appended writes are made to survive a power failure. With always that is before \
         replies leave, with everysec within a second, with no whenever the system does it."
    )
    .mutable(),
    bool_row!(
        Persistence,
        "no-appendfsync-on-rewrite",
        no_appendfsync_on_rewrite,
        "no",
        "Do as with appendfsync no while a snapshot is written. The disk may be too busy then to sync \
         in time."
    )
    .mutable(),
    Row::new(
        Group::Persistence,
        "appenddirname",
        Kind::Text {
            get: |v| Some(v.appenddirname.as_str()),
            set: |v, new| v.appenddirname = new.unwrap_or_default(),
        },
        "\"appendonlydir\"",
        "Directory of the append-only files, a name in dir.",
    ),
    Row::new(
        Group::Persistence,
        "appendfilename",
        Kind::Text {
            get: |v| Some(v.appendfilename.as_str()),
            set: |v, new| v.appendfilename = new.unwrap_or_default(),
        },
        "\"appendonly.aof\"",
        "The name with which Redis' append-only files begin. These are loaded when there are none of this \
         server.",
    ),
    int_row!(
        Persistence,
        "auto-aof-rewrite-percentage",
        auto_aof_rewrite_percentage,
        0,
        i32::MAX as i64,
        "100",
        "Rewrite the append-only files when they have grown by so much since the last time; 0 is never."
    )
    .mutable()
    .unit("percent"),
    memory_row!(
        Persistence,
        "auto-aof-rewrite-min-size",
        auto_aof_rewrite_min_size,
        0,
        i64::MAX as u64,
        "64mb",
        "Size from which on the append-only files are rewritten by themselves."
    )
    .mutable(),
    bool_row!(
        Persistence,
        "aof-rewrite-incremental-fsync",
        aof_rewrite_incremental_fsync,
        "yes",
        "Sync what a rewrite writes every few megabytes, rather than all of it at the end."
    )
    .mutable(),
    bool_row!(
        Persistence,
        "aof-timestamp-enabled",
        aof_timestamp_enabled,
        "no",
        "Accepted for files written for Redis and without effect: there are always times in segments."
    )
    .mutable()
    .acts(Action::TellNoEffect)
    .hidden(),
    bool_row!(
        Persistence,
        "aof-use-rdb-preamble",
        aof_use_rdb_preamble,
        "yes",
        "Accepted for files written for Redis and without effect: segments always follow snapshots."
    )
    .mutable()
    .acts(Action::TellNoEffect)
    .hidden(),
    choice_row!(
        Persistence,
        "snapshot-files",
        snapshot_files: SnapshotFiles,
        "one",
        "What a snapshot is written to. With one it is a single file, dbfilename, as Redis has it. With shards it \
         is a file for each shard, each of which Redis can read, in a directory with dbfilename's name and .shards \
         behind it: these are loaded at the same time."
    )
    .mutable(),
    Row::new(
        Group::Persistence,
        "dbfilename",
        Kind::Text {
            get: |v| Some(v.dbfilename.as_str()),
            set: |v, new| v.dbfilename = new.unwrap_or_default(),
        },
        "\"dump.rdb\"",
        "Name of the file of a snapshot, in the directory dir.",
    ),
    int_row!(
        Persistence,
        "snapshot-max-cpu",
        snapshot_max_cpu,
        1,
        100,
        "50",
        "Most of its time that a shard spends on a snapshot, in percent. Less is slower and disturbs less."
    )
    .mutable()
    .unit("percent"),
    bool_row!(
        Persistence,
        "rdbcompression",
        rdbcompression,
        "yes",
        "Compress long strings in snapshots, which takes time and saves space."
    )
    .mutable(),
    bool_row!(
        Persistence,
        "rdb-save-incremental-fsync",
        rdb_save_incremental_fsync,
        "yes",
        "Sync what a snapshot writes every few megabytes, rather than all of it at the end."
    )
    .mutable(),
    bool_row!(
        Persistence,
        "stop-writes-on-bgsave-error",
        stop_writes_on_bgsave_error,
        "yes",
        "Refuse writes when the last snapshot has failed, so that it is noticed. That holds only if there \
         are rules for snapshots (save)."
    )
    .mutable(),
    bool_row!(
        Persistence,
        "rdb-del-sync-files",
        rdb_del_sync_files,
        "no",
        "Accepted for files written for Redis and without effect: no snapshots come from a primary."
    )
    .mutable()
    .acts(Action::TellNoEffect)
    .hidden(),
    int_row!(
        Persistence,
        "rdb-key-save-delay",
        rdb_key_save_delay,
        i32::MIN as i64,
        i32::MAX as i64,
        "0",
        "How long a snapshot takes for a key at least, for tests; of so many keys together if it is negative."
    )
    .mutable()
    .unit("microseconds")
    .hidden(),
    bool_row!(
        Persistence,
        "rdbchecksum",
        rdbchecksum,
        "yes",
        "Check the checksums of snapshots when they are loaded. They are always written."
    ),
    bool_row!(
        Persistence,
        "aof-load-truncated",
        aof_load_truncated,
        "yes",
        "Cut off what was being written when the server ended, and start. With no the server does \
         not start then."
    )
    .mutable(),
    Row::new(
        Group::Persistence,
        "notify-keyspace-events",
        Kind::Special(special::NOTIFY_KEYSPACE_EVENTS),
        "\"\"",
        "Keyspace events to publish, by letters; none by default. K sends them to \
         __keyspace@<db>__:<key>, E to __keyevent@<db>__:<event>. The classes are g (any type), $ \
         (strings), l (lists), s (sets), h (hashes), z (sorted sets), t (streams), x (expired), e \
         (evicted), d (modules), A (all of these), n (new keys), m (missed keys).",
    )
    .mutable(),
];

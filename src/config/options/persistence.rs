//! Rows about persistence and events.

use super::super::{
    row::{Action, Group, Kind, Row},
    values::FsyncPolicy,
};
use super::{bool_row, choice_row, special};

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Group::Persistence,
        "save",
        Kind::Special(special::SAVE),
        "\"\"",
        "When to write a snapshot: pairs of seconds and changes. Only the empty value (never) is \
         accepted so far, since snapshots aren't written yet; in a file other values give a \
         warning.",
    )
    .mutable()
    .warn(|v| !v.save.is_empty(), "snapshots aren't written yet: nothing is saved to disk"),
    bool_row!(
        Persistence,
        "appendonly",
        appendonly,
        "no",
        "Log every write to append-only files, from which the data is loaded at the next start: a \
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

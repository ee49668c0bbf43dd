//! Rows about the logs of commands, latencies, and the HTTP port for people and monitoring.

use super::super::row::{Group, Kind, Row};
use super::{bool_row, int_row, special};

pub(super) const ROWS: &[Row] = &[
    int_row!(
        Observability,
        "admin-port",
        admin_port,
        0,
        65535,
        "0",
        "TCP port for HTTP; 0 is none. It has a console for people at /, metrics for Prometheus at /metrics, and \
         /healthz and /readyz for those who watch the process."
    )
    .example("9121"),
    Row::new(
        Group::Observability,
        "admin-bind",
        Kind::Text { get: |v| v.admin_bind.as_deref(), set: |v, new| v.admin_bind = new },
        "127.0.0.1",
        "Address on which admin-port listens. With one that others can reach, set a password.",
    ),
    Row::new(
        Group::Observability,
        "admin-password",
        Kind::Secret { get: |v| v.admin_password.as_ref(), set: |v, new| v.admin_password = new },
        "\"\"",
        "Password for HTTP on admin-port (any user name, or as a bearer token). Without it users of the \
         ACL log in there who may run INFO, CLIENT LIST and SLOWLOG GET and read all keys (for /metrics: \
         INFO); another name is the default user, and where that needs no password, none is asked for. \
         /healthz and /readyz never ask.",
    )
    .mutable()
    .sensitive()
    .example("a-long-random-password"),
    Row::new(
        Group::Observability,
        "admin-hosts",
        Kind::Text { get: |v| v.admin_hosts.as_deref(), set: |v, new| v.admin_hosts = new },
        "\"\"",
        "Names, with spaces between them, by which admin-port may be called while there is no password. \
         Addresses, localhost and the machine's own name always may; * is any name. It keeps web pages from reading the console through names that they make up.",
    )
    .mutable()
    .example("redis.example.org"),
    int_row!(
        Observability,
        "slowlog-log-slower-than",
        slowlog_log_slower_than,
        -1,
        i64::MAX,
        "10000",
        "Commands that run for so long are kept in the slow log (SLOWLOG, COMMANDLOG). 0 logs every \
         command, -1 none. Below 10000 every command is timed alone, which costs a little; from \
         there on brief ones of a pipeline are timed together, and yet none that is slow is missed."
    )
    .aliases(&["commandlog-execution-slower-than"])
    .mutable()
    .unit("microseconds"),
    int_row!(
        Observability,
        "slowlog-max-len",
        slowlog_max_len,
        0,
        i64::MAX,
        "128",
        "Entries of the slow log; older ones are dropped."
    )
    .aliases(&["commandlog-slow-execution-max-len"])
    .mutable()
    .unit("entries"),
    int_row!(
        Observability,
        "commandlog-request-larger-than",
        commandlog_request_larger_than,
        -1,
        i64::MAX,
        "1048576",
        "Commands whose requests have so many bytes are kept in the log of large requests \
         (COMMANDLOG). -1 logs none."
    )
    .mutable()
    .unit("bytes"),
    int_row!(
        Observability,
        "commandlog-large-request-max-len",
        commandlog_large_request_max_len,
        0,
        i64::MAX,
        "128",
        "Entries of the log of large requests; older ones are dropped."
    )
    .mutable()
    .unit("entries"),
    int_row!(
        Observability,
        "commandlog-reply-larger-than",
        commandlog_reply_larger_than,
        -1,
        i64::MAX,
        "1048576",
        "Commands whose replies have so many bytes are kept in the log of large replies \
         (COMMANDLOG). -1 logs none."
    )
    .mutable()
    .unit("bytes"),
    int_row!(
        Observability,
        "commandlog-large-reply-max-len",
        commandlog_large_reply_max_len,
        0,
        i64::MAX,
        "128",
        "Entries of the log of large replies; older ones are dropped."
    )
    .mutable()
    .unit("entries"),
    int_row!(
        Observability,
        "latency-monitor-threshold",
        latency_monitor_threshold,
        0,
        i64::MAX,
        "0",
        "Commands and work in the background that take so long are remembered for LATENCY. 0 is off."
    )
    .mutable()
    .unit("milliseconds"),
    bool_row!(
        Observability,
        "latency-tracking",
        latency_tracking,
        "yes",
        "Keep a histogram of the times of each command, for INFO latencystats and LATENCY HISTOGRAM."
    )
    .mutable(),
    int_row!(
        Observability,
        "hot-keys-sampling",
        hot_keys_sampling,
        0,
        1_000_000,
        "0",
        "Count the key of one command in so many, for HOTKEYS and the console. 100 costs next to \
         nothing; 0 is off."
    )
    .mutable()
    .unit("commands"),
    Row::new(
        Group::Observability,
        "latency-tracking-info-percentiles",
        Kind::Special(special::PERCENTILES),
        "50 99 99.9",
        "Percentiles that INFO latencystats shows.",
    )
    .mutable(),
];

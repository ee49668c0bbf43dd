//! Rows about listening and about the limits of clients.

use super::super::row::{Action, Group, Kind, Row};
use super::{bool_row, int_row, memory_row, path_row, special};

const MB: u64 = 1 << 20;
const SECONDS_MAX: i64 = i32::MAX as i64;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Group::Network,
        "bind",
        Kind::Special(special::BIND),
        "* -::*",
        "Addresses to listen on for TCP. A leading - makes an address optional: the server starts \
         also when the machine doesn't have it. * stands for all IPv4 and ::* for all IPv6 \
         addresses; an empty value turns TCP off.",
    )
    .mutable()
    .acts(Action::Listen),
    bool_row!(
        Network,
        "protected-mode",
        protected_mode,
        "yes",
        "Serve only clients of this machine while no password is set. Others get an error that \
         names the ways out: a password, a narrower bind, or protected-mode no."
    )
    .mutable(),
    int_row!(
        Network,
        "port",
        port,
        0,
        u16::MAX as i64,
        "6379",
        "TCP port; 0 turns TCP off. All shards listen on this one port. With cluster-mode emulated \
         shard i also listens on port + 1 + i."
    )
    .mutable()
    .acts(Action::Listen)
    .unit("port"),
    path_row!(
        Network,
        "unixsocket",
        unixsocket,
        "Path of a Unix socket to listen on as well. Without it there is none."
    )
    .example("/run/corelane/corelane.sock"),
    Row::new(
        Group::Network,
        "unixsocketperm",
        Kind::Octal {
            max: 0o777,
            get: |v| i64::from(v.unixsocketperm),
            set: |v, new| v.unixsocketperm = new as u32,
        },
        "0",
        "Permissions of the Unix socket as an octal number, as in 770. 0 leaves them to the umask.",
    ),
    int_row!(
        Network,
        "tcp-backlog",
        tcp_backlog,
        0,
        SECONDS_MAX,
        "511",
        "Connections that the kernel may hold until they are accepted. The kernel cuts it down to \
         /proc/sys/net/core/somaxconn."
    )
    .unit("connections"),
    int_row!(
        Network,
        "tcp-keepalive",
        tcp_keepalive,
        0,
        SECONDS_MAX,
        "300",
        "Seconds of silence after which the kernel probes a connection. A peer that is gone is \
         found after about twice this time; 0 turns the probes off."
    )
    .mutable()
    .unit("seconds"),
    int_row!(
        Clients,
        "maxclients",
        maxclients,
        1,
        u32::MAX as i64,
        "10000",
        "Most clients at one time, over all shards. One more gets an error and is closed. Each \
         client needs a file descriptor, so the limit of open files is raised at start as far as \
         the system allows."
    )
    .mutable()
    .acts(Action::Descriptors)
    .unit("clients"),
    int_row!(
        Clients,
        "timeout",
        timeout,
        0,
        SECONDS_MAX,
        "0",
        "Close a client after this many seconds without a command. 0 never does; clients that \
         subscribe or wait in a blocking command are spared."
    )
    .mutable()
    .unit("seconds"),
    int_row!(
        Clients,
        "busy-reply-threshold",
        busy_reply_threshold,
        i64::MIN,
        i64::MAX,
        "5000",
        "How long a script may run before requests that need its keys get -BUSY and it can be ended \
         with SCRIPT KILL. 0 is for ever: others wait until it is done."
    )
    .aliases(&["lua-time-limit"])
    .mutable()
    .unit("milliseconds"),
    memory_row!(
        Clients,
        "proto-max-bulk-len",
        proto_max_bulk_len,
        MB,
        i64::MAX as u64,
        "512mb",
        "Longest single argument that a client may send. It is also the longest string value."
    )
    .mutable(),
    memory_row!(
        Clients,
        "client-query-buffer-limit",
        client_query_buffer_limit,
        MB,
        i64::MAX as u64,
        "1gb",
        "Most bytes of an unfinished command that are held for one client. A client beyond it is \
         closed."
    )
    .mutable(),
    Row::new(
        Group::Clients,
        "client-output-buffer-limit",
        Kind::Special(special::OUTPUT_LIMIT),
        "normal 1gb 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
        "When a client that doesn't read its replies is closed: class, hard limit, soft limit and \
         seconds. It is closed at once above the hard limit, and after that many seconds in a row \
         above the soft one; 0 is no limit. Classes are normal, replica and pubsub.",
    )
    .mutable(),
];

//! Rows about shards, security, the process and its log.

use super::super::{
    row::{Action, Group, Kind, Mutability, Row},
    values::{
        ClusterMode, LogFormat, LogLevel, ProtectedAction, PubsubDefault, RuntimeChoice,
        SanitizePayload, Supervised,
    },
};
use super::{bool_row, choice_row, int_row, path_row, special};

pub(super) const ROWS: &[Row] = &[
    int_row!(
        Shards,
        "shards",
        shards,
        0,
        1024,
        "0",
        "Shard threads, each with its own part of the keys. 0 starts one for each core that the \
         process may use, by its CPU affinity and its cgroup."
    )
    .unit("threads"),
    choice_row!(
        Shards,
        "runtime",
        runtime: RuntimeChoice,
        "auto",
        "What shards get their connections' bytes by. With auto it is io_uring, or epoll on a host that \
         forbids it, as Docker and containerd do unless told otherwise; the log says so. epoll costs \
         more processor time for each request."
    ),
    int_row!(
        Shards,
        "databases",
        databases,
        1,
        16,
        "16",
        "Logical databases, chosen with SELECT. Each is spread over all shards."
    )
    .unit("databases"),
    choice_row!(
        Shards,
        "cluster-mode",
        cluster_mode: ClusterMode,
        "no",
        "With emulated, show the shards to clients as the nodes of one Redis Cluster. A \
         cluster-aware client then talks to the shard that owns the key, each on its own port; \
         other clients see no difference."
    ),
    Row::new(
        Group::Shards,
        "cluster-announce-ip",
        Kind::Text {
            get: |v| v.cluster_announce_ip.as_deref(),
            set: |v, new| v.cluster_announce_ip = new,
        },
        "\"\"",
        "Address that cluster-mode emulated gives to clients. Without it they get the one that they \
         connected to; set it behind NAT or in a container.",
    )
    .mutable()
    .example("192.0.2.10"),
    Row::new(
        Group::Security,
        "requirepass",
        Kind::Secret { get: |v| v.requirepass.as_ref(), set: |v, new| v.requirepass = new },
        "\"\"",
        "Password of the default user. Clients must send it with AUTH or HELLO before any other \
         command. Choose a long one: many guesses can be made in a second.",
    )
    .mutable()
    .sensitive()
    .example("a-long-random-password"),
    Row::new(
        Group::Security,
        "user",
        Kind::Special(special::USER),
        "",
        "A user with its rules, as ACL SETUSER takes them. May stand several times, once for each \
         user, and not together with aclfile.",
    )
    .with_mutability(Mutability::FileOnly)
    .sensitive()
    .example("worker on >password ~celery* &* +@all -@dangerous"),
    path_row!(
        Security,
        "aclfile",
        aclfile,
        "File that holds the users, one a line. ACL LOAD reads it again and ACL SAVE writes it; with \
         it there are no user lines here, and requirepass has no effect."
    )
    .example("/etc/corelane/users.acl"),
    int_row!(
        Security,
        "acllog-max-len",
        acllog_max_len,
        0,
        i64::MAX,
        "128",
        "Entries of ACL LOG, which tells what was denied to users. The oldest ones go first."
    )
    .mutable()
    .unit("entries"),
    choice_row!(
        Security,
        "acl-pubsub-default",
        acl_pubsub_default: PubsubDefault,
        "resetchannels",
        "Channels that a new user may use before its rules say more. All of them with allchannels, \
         none with resetchannels."
    )
    .mutable(),
    Row::new(
        Group::Security,
        "masteruser",
        Kind::Text { get: |v| v.masteruser.as_deref(), set: |v, new| v.masteruser = new },
        "\"\"",
        "Accepted for files written for Redis and kept: this server is nobody's replica, so it logs in \
         nowhere.",
    )
    .mutable()
    .hidden(),
    Row::new(
        Group::Security,
        "masterauth",
        Kind::Secret { get: |v| v.masterauth.as_ref(), set: |v, new| v.masterauth = new },
        "\"\"",
        "Accepted for files written for Redis and kept: this server is nobody's replica, so it logs in \
         nowhere.",
    )
    .mutable()
    .sensitive()
    .hidden(),
    Row::new(
        Group::Security,
        "rename-command",
        Kind::Special(special::RENAME_COMMAND),
        "",
        "Give a command another name; an empty name takes it away. May stand several times, once \
         for each command.",
    )
    .with_mutability(Mutability::FileOnly)
    .example("FLUSHALL \"\""),
    choice_row!(
        Security,
        "enable-debug-command",
        enable_debug_command: ProtectedAction,
        "no",
        "Who may use DEBUG: nobody, everybody, or clients of this machine (local). It can stop or \
         slow down the server."
    ),
    choice_row!(
        Security,
        "enable-protected-configs",
        enable_protected_configs: ProtectedAction,
        "no",
        "Who may change dir by CONFIG SET: nobody, everybody, or clients of this machine (local). It \
         has the server write files at a place of their choice."
    ),
    choice_row!(
        Security,
        "sanitize-dump-payload",
        sanitize_dump_payload: SanitizePayload,
        "yes",
        "Accepted with yes only: RESTORE checks all of every payload before it makes a key of it."
    )
    .mutable()
    .warn(
        |v| v.sanitize_dump_payload != SanitizePayload::Yes,
        "every payload is checked: only sanitize-dump-payload yes is accepted",
    ),
    bool_row!(
        Process,
        "daemonize",
        daemonize,
        "no",
        "Accepted with no only, for files written for Redis. The server stays in the foreground, as \
         systemd and containers want it."
    )
    .refuse(
        |v| v.daemonize,
        "the server doesn't put itself into the background: run it under systemd or in a \
         container, or start it with setsid or nohup",
    ),
    choice_row!(
        Process,
        "supervised",
        supervised: Supervised,
        "no",
        "Service manager to report to. With systemd or auto it is told when all data are loaded and when the \
         server stops, if it has set NOTIFY_SOCKET, as for Type=notify."
    )
    .refuse(
        |v| v.supervised == Supervised::Upstart,
        "upstart is not supported: use supervised systemd, auto or no",
    ),
    path_row!(
        Process,
        "pidfile",
        pidfile,
        "File that holds the process id while the server runs. Without it none is written."
    )
    .example("/run/corelane/corelane.pid"),
    Row::new(
        Group::Process,
        "dir",
        Kind::Special(special::DIR),
        "./",
        "Working directory. It must exist; relative paths of other options start here.",
    )
    .with_mutability(Mutability::Protected),
    choice_row!(
        Process,
        "loglevel",
        loglevel: LogLevel,
        "notice",
        "Least severity that is logged. debug is for development, verbose adds what may interest at \
         times, notice is for production, warning keeps only what matters, nothing is silence."
    )
    .mutable()
    .acts(Action::LogLevel),
    path_row!(
        Process,
        "logfile",
        logfile,
        "File to append the log to. Without it the log goes to standard output."
    )
    .example("/var/log/corelane/corelane.log"),
    choice_row!(
        Process,
        "log-format",
        log_format: LogFormat,
        "human",
        "How log lines look: human for people, json for one JSON object a line."
    ),
    bool_row!(
        Process,
        "always-show-logo",
        always_show_logo,
        "no",
        "Accepted for files written for Redis and without effect: there is no logo."
    )
    .hidden(),
    bool_row!(
        Process,
        "set-proc-title",
        set_proc_title,
        "yes",
        "Accepted for files written for Redis and without effect: the process keeps its title."
    )
    .hidden(),
];

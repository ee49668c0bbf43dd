//! The values that the server reads, typed.
//!
//! Nothing outside this module's parent writes them: a value changes only through its row in
//! the option table, which is what keeps CONFIG GET, the file and the server's behaviour one.

use super::events::EventClasses;
use std::{fmt, net::IpAddr, path::PathBuf};

/// Declares an option's fixed set of words as an enum that knows them, in the order in which
/// error texts list them.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word that stands for it in the file and in CONFIG.
            #[must_use]
            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }
    };
}

choices!(
    /// What is logged: this severity and all that follow it.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
);
choices!(
    /// How a log line is written.
    LogFormat { Human = "human", Json = "json" }
);
choices!(
    /// Whether the shards show themselves to clients as the nodes of a cluster.
    ClusterMode { No = "no", Emulated = "emulated" }
);
choices!(
    /// What shards sleep in and get their connections' bytes by.
    RuntimeChoice { Auto = "auto", IoUring = "io_uring", Epoll = "epoll" }
);
choices!(
    /// Who may use a command that can harm the server.
    ProtectedAction { No = "no", Yes = "yes", Local = "local" }
);
impl ProtectedAction {
    /// Whether a client may, which is or is not of this machine.
    #[must_use]
    pub fn allows(self, is_local: bool) -> bool {
        match self {
            Self::Yes => true,
            Self::Local => is_local,
            Self::No => false,
        }
    }
}
choices!(
    /// What a new user may listen to.
    PubsubDefault { AllChannels = "allchannels", ResetChannels = "resetchannels" }
);
choices!(
    /// Which payloads of RESTORE are checked before they are taken.
    SanitizePayload { No = "no", Yes = "yes", Clients = "clients" }
);
choices!(
    /// What a snapshot is written to.
    SnapshotFiles { One = "one", Shards = "shards" }
);
choices!(
    /// When what was appended is synced.
    FsyncPolicy { Always = "always", EverySecond = "everysec", No = "no" }
);
choices!(
    /// Whether clients of the TLS port must have certificates.
    ClientCertificates { No = "no", Yes = "yes", Optional = "optional" }
);
choices!(
    /// The service manager that watches the process.
    Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no" }
);
choices!(
    /// Which keys go first when the memory limit is reached.
    EvictionPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllKeysLru = "allkeys-lru",
        AllKeysLfu = "allkeys-lfu",
        AllKeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }
);

/// The value of every option. Reach it through [`super::Config`], which dereferences to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    // Network
    pub bind: Vec<String>,
    pub protected_mode: bool,
    pub port: u16,
    pub unixsocket: Option<PathBuf>,
    /// Mode bits for the socket file; 0 leaves them to the umask.
    pub unixsocketperm: u32,
    pub tcp_backlog: u32,
    /// Seconds; 0 is off.
    pub tcp_keepalive: u32,

    // TLS
    /// 0 is none.
    pub tls_port: u16,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub tls_key_file_pass: Option<Secret>,
    pub tls_ca_cert_file: Option<PathBuf>,
    pub tls_ca_cert_dir: Option<PathBuf>,
    pub tls_auth_clients: ClientCertificates,
    pub tls_protocols: Option<String>,
    pub tls_ciphers: Option<String>,
    pub tls_ciphersuites: Option<String>,
    pub tls_prefer_server_ciphers: bool,
    pub tls_session_caching: bool,
    /// 0 is no limit.
    pub tls_session_cache_size: u32,
    /// Seconds.
    pub tls_session_cache_timeout: u32,
    pub tls_dh_params_file: Option<PathBuf>,

    // Clients
    pub maxclients: u32,
    /// Seconds without a command before a client is closed; 0 is never.
    pub timeout: u32,
    pub proto_max_bulk_len: u64,
    pub client_query_buffer_limit: u64,
    pub client_output_buffer_limit: OutputLimits,

    // Shards
    /// 0 is one for each core that the process may use.
    pub shards: u32,
    pub runtime: RuntimeChoice,
    pub databases: u32,
    pub cluster_mode: ClusterMode,
    pub cluster_announce_ip: Option<String>,

    // Security
    pub requirepass: Option<Secret>,
    /// The words of each `user` directive, the user's name first.
    pub user: Vec<Vec<Vec<u8>>>,
    pub aclfile: Option<PathBuf>,
    pub acllog_max_len: u64,
    pub acl_pubsub_default: PubsubDefault,
    pub masteruser: Option<String>,
    pub masterauth: Option<Secret>,
    pub rename_command: Vec<Rename>,
    pub enable_debug_command: ProtectedAction,
    pub enable_protected_configs: ProtectedAction,
    pub sanitize_dump_payload: SanitizePayload,

    // Process and logging
    pub daemonize: bool,
    pub supervised: Supervised,
    pub pidfile: Option<PathBuf>,
    /// Absolute, or `.` when the process' own directory has been removed.
    pub dir: PathBuf,
    pub loglevel: LogLevel,
    /// None is standard output.
    pub logfile: Option<PathBuf>,
    pub log_format: LogFormat,
    pub always_show_logo: bool,
    pub set_proc_title: bool,

    // Observability
    /// 0 is none.
    pub admin_port: u16,
    pub admin_bind: Option<String>,
    pub admin_password: Option<Secret>,
    pub admin_hosts: Option<String>,
    /// Microseconds; negative is off, as for the sizes in bytes below.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: u64,
    pub commandlog_request_larger_than: i64,
    pub commandlog_large_request_max_len: u64,
    pub commandlog_reply_larger_than: i64,
    pub commandlog_large_reply_max_len: u64,
    /// Milliseconds; 0 is off.
    pub latency_monitor_threshold: u64,
    pub latency_tracking: bool,
    /// One command of so many; 0 is off.
    pub hot_keys_sampling: u32,
    pub latency_tracking_info_percentiles: Percentiles,

    // Memory and expiry
    /// 0 is no limit.
    pub maxmemory: u64,
    pub maxmemory_policy: EvictionPolicy,
    pub maxmemory_samples: u32,
    /// 0 to 100.
    pub maxmemory_eviction_tenacity: u32,
    pub maxmemory_clients: ClientMemory,
    pub lfu_log_factor: u32,
    pub lfu_decay_time: u32,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,
    /// Background rounds a second, 1 to 500.
    pub hz: u32,
    pub dynamic_hz: bool,
    /// 1 to 10.
    pub tracking_table_max_keys: u64,
    pub active_expire_effort: u32,
    /// Milliseconds; for ever when it is not positive.
    pub busy_reply_threshold: i64,

    // Encodings of the data types
    pub hash_max_listpack_entries: u32,
    pub hash_max_listpack_value: u64,
    pub list_max_listpack_size: i32,
    pub list_compress_depth: u32,
    pub set_max_intset_entries: u32,
    pub set_max_listpack_entries: u32,
    pub set_max_listpack_value: u64,
    pub zset_max_listpack_entries: u32,
    pub zset_max_listpack_value: u64,
    pub hll_sparse_max_bytes: u64,
    pub stream_node_max_bytes: u64,
    pub stream_node_max_entries: u32,

    // Persistence and events
    pub save: Vec<SaveRule>,
    pub appendonly: bool,
    pub appendfsync: FsyncPolicy,
    pub appenddirname: String,
    pub aof_load_truncated: bool,
    pub auto_aof_rewrite_percentage: u32,
    pub auto_aof_rewrite_min_size: u64,
    pub snapshot_files: SnapshotFiles,
    pub dbfilename: String,
    /// 1 to 100.
    pub snapshot_max_cpu: u32,
    pub rdbchecksum: bool,
    pub rdbcompression: bool,
    pub rdb_save_incremental_fsync: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub aof_rewrite_incremental_fsync: bool,
    pub no_appendfsync_on_rewrite: bool,
    pub aof_timestamp_enabled: bool,
    pub aof_use_rdb_preamble: bool,
    pub rdb_del_sync_files: bool,
    /// Microseconds; spread over more keys when it is negative.
    pub rdb_key_save_delay: i32,
    pub appendfilename: String,
    pub notify_keyspace_events: EventClasses,
}

impl Values {
    /// `bind` as addresses to listen on.
    pub fn bind_addresses(&self) -> impl Iterator<Item = BindAddress> + '_ {
        self.bind.iter().map(|text| BindAddress::parse(text))
    }
}

/// One address of `bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// Written with a leading `-`: the server starts also when this machine doesn't have it.
    pub optional: bool,
    pub host: BindHost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindHost {
    /// `*`
    AnyV4,
    /// `::*`
    AnyV6,
    Ip(IpAddr),
    /// To be resolved.
    Name(String),
}

impl BindAddress {
    fn parse(text: &str) -> Self {
        let (optional, host) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = match host {
            "*" => BindHost::AnyV4,
            "::*" => BindHost::AnyV6,
            other => match other.parse() {
                Ok(ip) => BindHost::Ip(ip),
                Err(_) => BindHost::Name(other.to_owned()),
            },
        };
        Self { optional, host }
    }
}

/// A password. It doesn't print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A command's other name; an empty `to` takes the command away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

/// Percentiles, 0 to 100, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Percentiles(pub Vec<f64>);

impl PartialEq for Percentiles {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|p| p.to_bits()).eq(other.0.iter().map(|p| p.to_bits()))
    }
}

impl Eq for Percentiles {}

/// Save when at least `changes` keys changed within `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveRule {
    pub seconds: u64,
    pub changes: u32,
}

/// How much memory all clients together may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// 0 is no limit.
    Bytes(u64),
    /// Of `maxmemory`.
    Percent(u32),
}

impl Default for ClientMemory {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl ClientMemory {
    /// The limit in bytes; none is 0.
    #[must_use]
    pub fn limit(self, maxmemory: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (u128::from(maxmemory) * u128::from(percent) / 100) as u64,
        }
    }
}

/// When a client that doesn't read its replies is closed: at once above `hard` bytes, or after
/// `soft_seconds` in a row above `soft` bytes. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard: u64,
    pub soft: u64,
    pub soft_seconds: u32,
}

/// One limit for each class of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_the_order_of_the_variants() {
        for level in LogLevel::ALL {
            assert_eq!(LogLevel::NAMES[*level as usize], level.name());
        }
        assert!(LogLevel::Debug < LogLevel::Nothing);
        assert_eq!(EvictionPolicy::AllKeysLru.name(), "allkeys-lru");
    }

    #[test]
    fn bind_addresses_are_understood() {
        let of = |text: &str| BindAddress::parse(text);
        assert_eq!(of("*"), BindAddress { optional: false, host: BindHost::AnyV4 });
        assert_eq!(of("-::*"), BindAddress { optional: true, host: BindHost::AnyV6 });
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(of("127.0.0.1"), BindAddress { optional: false, host: BindHost::Ip(loopback) });
        assert_eq!(of("-::1").host, BindHost::Ip("::1".parse().unwrap()));
        assert_eq!(of("db.local").host, BindHost::Name("db.local".into()));
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        let values =
            Values { requirepass: Some(Secret::new(b"hush".to_vec())), ..Values::default() };
        assert!(!format!("{values:?}").contains("hush"));
    }
}

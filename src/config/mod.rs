//! The server's configuration.
//!
//! ```text
//!                       options: one Row per option
//!        ┌───────────────┬──────────┴─────┬────────────────┬────────────────┐
//!   args: --help    file: redis.conf   change: CONFIG   rewrite: CONFIG   render:
//!   and argv        syntax, include    GET and SET      REWRITE           default.conf
//!        └───────┬───────┘                 │
//!             Loader ─────► Values ◄───────┘   (typed; what the server reads)
//! ```
//!
//! Invariants:
//! - A value changes only through its row, so what CONFIG GET shows is what the server does.
//! - CONFIG SET changes all of its options or none.
//! - An option that is accepted has its effect. A value that isn't served yet is refused by the
//!   row, with the reason; an option of Redis that isn't here is named in a warning.
//!
//! Deliberately absent: environment variables, a file that is read without being named, any
//! effect on the process. Changing the directory, opening sockets and logging are the server's.

mod args;
mod change;
mod events;
mod file;
mod include;
mod options;
mod render;
mod rewrite;
mod row;
mod suggest;
mod tools;
mod units;
mod unsupported;
mod values;

use std::{ops::Deref, path::PathBuf};

pub use args::{Invocation, command, parse};
pub use change::{Change, CmdErrorText};
pub use events::{EventClass, EventClasses};
pub use file::{Place, Warning, split_args};
pub use options::{find, rows};
pub use render::default_conf;
pub use rewrite::replace as replace_file;
pub use row::{Action, Group, Kind, Mutability, Row};
pub use tools::{Names, PingTls, Tool};
pub use values::{
    BindAddress, BindHost, ClientCertificates, ClientMemory, ClusterMode, EvictionPolicy,
    FsyncPolicy, LogFormat, LogLevel, OutputLimit, OutputLimits, ProtectedAction, PubsubDefault,
    Rename, RuntimeChoice, SaveRule, Secret, SnapshotFiles, Supervised, Values,
};

/// The configuration of a server: its values and the file that they came from.
///
/// Read an option as a field (`config.port`); change it with [`Config::set`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    values: Values,
    /// The file named on the command line, absolute; CONFIG REWRITE writes it.
    file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { values: defaults(), file: None }
    }
}

impl Deref for Config {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

impl Config {
    /// The configuration file, if one was named on the command line.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }
}

/// The values with nothing configured.
fn defaults() -> Values {
    let mut values = Values::default();
    for row in rows() {
        set_default(row, &mut values);
    }
    values
}

fn set_default(row: &Row, values: &mut Values) {
    let words = file::split_args(row.default.as_bytes()).expect("a default is well quoted: tested");
    row.set(values, &words, row::Turn::First).expect("a default is valid: tested");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_redis_where_it_has_them() {
        let config = Config::default();
        assert_eq!(config.bind, ["*", "-::*"]);
        assert!(config.protected_mode);
        assert_eq!((config.port, config.tcp_backlog, config.tcp_keepalive), (6379, 511, 300));
        assert_eq!((config.maxclients, config.databases, config.hz), (10000, 16, 10));
        assert_eq!(config.proto_max_bulk_len, 512 << 20);
        assert_eq!(config.maxmemory_policy, EvictionPolicy::NoEviction);
        assert_eq!(config.loglevel, LogLevel::Notice);
        assert_eq!(config.supervised, Supervised::No);
        assert_eq!(config.client_output_buffer_limit.normal.hard, 1 << 30);
        assert_eq!(config.requirepass, None);
        assert!(config.save.is_empty() && config.file().is_none());
        assert!(config.dir.is_absolute());
    }

    #[test]
    fn no_default_is_refused() {
        let values = defaults();
        for row in rows() {
            assert!(row.refused(&values).is_none(), "{}", row.name);
        }
    }
}

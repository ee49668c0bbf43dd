//! What commands do: a file per family, each with its rows, handlers and unit tests.
//!
//! The rows of all families together are the command table. Whatever the server knows of a
//! command (arity, flags, keys, where it runs, how its parts merge, documentation) is in its row,
//! and no other code compares command names.

mod client;
mod cluster;
mod connection;
mod control;
mod execute;
mod info;
mod introspect;
mod registry;
mod server;
mod spec;
mod string;
mod syntax;
#[cfg(test)]
mod testing;

pub use connection::REDIS_VERSION;
pub use control::write_client_line;
pub use control::{ClientFilter, ClientsAnswer, ClientsRequest, Control, Env, Pairs, SessionCx};
pub use execute::{Caller, execute, execute_session};
pub use registry::{CommandId, KeyIndexes, KeyShape, Registry, Unknown};
pub use spec::{ADMIN, NO_AUTH, READONLY, WRITE};
pub use spec::{Command, Flags, Merge, MergeFn, Run, SessionFn, ShardFn, Spread};

/// The families, in the order in which COMMAND lists them.
const FAMILIES: [&[Command]; 7] = [
    string::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    introspect::COMMANDS,
    server::COMMANDS,
    info::COMMANDS,
    cluster::COMMANDS,
];

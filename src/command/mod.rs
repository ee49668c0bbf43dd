//! What commands do: a file per family, each with its rows, handlers and unit tests.
//!
//! The rows of all families together are the command table. Whatever the server knows of a
//! command (arity, flags, keys, where it runs, how its parts merge, documentation) is in its row,
//! and no other code compares command names.

mod control;
mod database;
mod debug;
mod execute;
mod expire;
mod help;
mod key;
mod number;
mod object;
mod registry;
mod scan;
mod spec;
mod string;
#[cfg(test)]
mod testing;

pub use control::{ClientFilter, ClientsRequest, Control, Env, SessionCx};
pub use execute::{Caller, execute};
pub use help::help;
pub use registry::{CommandId, KeyIndexes, KeyShape, Registry, Unknown};
pub use scan::{scan_cursor, scan_cursor_join, scan_cursor_split};
pub use spec::{ADMIN, NO_AUTH, READONLY, WRITE};
pub use spec::{Command, Flags, Merge, MergeFn, Run, SessionFn, ShardFn, Spread};

/// The families, in the order in which COMMAND lists them.
const FAMILIES: [&[Command]; 7] = [
    string::COMMANDS,
    key::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    object::COMMANDS,
    database::COMMANDS,
    debug::COMMANDS,
];

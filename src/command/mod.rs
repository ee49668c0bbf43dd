//! What commands do: a file per family, each with its rows, handlers and unit tests.
//!
//! The rows of all families together are the command table. Whatever the server knows of a
//! command (arity, flags, keys, where it runs, how its parts merge, documentation) is in its row,
//! and no other code compares command names.

mod bitfield;
mod bitmap;
mod control;
mod counter;
mod execute;
mod extended;
mod lcs;
mod registry;
mod spec;
mod string;
#[cfg(test)]
mod testing;
mod value;

pub use control::{ClientFilter, ClientsRequest, Control, Env, SessionCx};
pub use execute::{Caller, execute};
pub use registry::{CommandId, KeyIndexes, KeyShape, Registry, Unknown};
pub use spec::{Command, Flags, Merge, MergeFn, Run, SessionFn, ShardFn, Spread};
pub use spec::{ADMIN, NO_AUTH, READONLY, WRITE};

/// The families, in the order in which COMMAND lists them.
const FAMILIES: [&[Command]; 5] = [
    string::COMMANDS,
    counter::COMMANDS,
    lcs::COMMANDS,
    bitmap::COMMANDS,
    bitfield::COMMANDS,
];

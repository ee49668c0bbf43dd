//! What commands do: a file per family, each with its rows, handlers and unit tests.
//!
//! The rows of all families together are the command table. Whatever the server knows of a
//! command (arity, flags, keys, where it runs, how its parts merge, documentation) is in its row,
//! and no other code compares command names.

mod bitfield;
mod bitmap;
mod client;
mod cluster;
mod connection;
mod control;
mod counter;
mod database;
mod debug;
mod dump;
mod effect;
mod execute;
mod expire;
mod extended;
mod function;
mod geo;
mod hash;
mod help;
mod hyperloglog;
mod info;
mod introspect;
mod key;
mod lcs;
mod list;
mod number;
mod object;
mod persistence;
mod pubsub;
mod registry;
mod scan;
mod script;
mod server;
mod set;
mod sort;
mod sorted_set;
mod spec;
mod stream;
mod string;
mod syntax;
#[cfg(test)]
mod testing;
mod tracking;
mod transaction;
mod undo;
mod value;

pub use connection::REDIS_VERSION;
pub use control::SessionCx;
pub use control::SubscriptionChange;
pub use control::write_client_line;
pub use control::{
    Act, AofWait, ClientFilter, ClientsAnswer, ClientsRequest, Control, Env, Faults, SaveKind,
    SaveRequest,
};
pub use dump::load_limits;
pub use execute::{Caller, execute, execute_session};
pub use function::{
    delete_library, flush_libraries, load_library, restore_libraries, restore_payload,
};
pub use help::help;
pub use pubsub::write_message;
pub use registry::{CommandId, KeyIndexes, KeyShape, Registry, Unknown};
pub use scan::{scan_cursor, scan_cursor_join, scan_cursor_split};
pub use script::{NO_SCRIPT, busy_with, split_script_args};
pub use spec::{
    ADMIN, BLOCKING, KEEPS_CACHING, LOADING, NO_AUTH, NO_MULTI, PLAIN, PROTECTED, READONLY,
    SERVED_WHOLE, WRITE,
};
pub use spec::{ALLOW_BUSY, BEHIND, NOSCRIPT, ScriptCall, ScriptName};
pub use spec::{APART, MAY_REPLICATE, PUBSUB, SUBSCRIBED};
pub use spec::{
    Begin, Command, Find, Flags, InMulti, Merge, MergeFn, Run, SessionFn, ShardFn, Spread,
};
pub use tracking::{TrackingChange, TrackingOptions, TrackingRequest};
pub use transaction::EXEC_ABORT;

/// The families, in the order in which COMMAND lists them.
const FAMILIES: [&[Command]; 31] = [
    string::COMMANDS,
    counter::COMMANDS,
    lcs::COMMANDS,
    bitmap::COMMANDS,
    bitfield::COMMANDS,
    list::COMMANDS,
    hash::COMMANDS,
    set::COMMANDS,
    sorted_set::COMMANDS,
    stream::COMMANDS,
    hyperloglog::COMMANDS,
    geo::COMMANDS,
    sort::COMMANDS,
    key::COMMANDS,
    dump::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    object::COMMANDS,
    database::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    introspect::COMMANDS,
    debug::COMMANDS,
    server::COMMANDS,
    info::COMMANDS,
    persistence::COMMANDS,
    cluster::COMMANDS,
    transaction::COMMANDS,
    pubsub::COMMANDS,
    script::COMMANDS,
    function::COMMANDS,
];

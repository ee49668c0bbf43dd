//! What commands do: a file per family, each with its rows, handlers and unit tests.
//!
//! The rows of all families together are the command table. Whatever the server knows of a
//! command (arity, flags, keys, where it runs, how its parts merge, documentation) is in its row,
//! and no other code compares command names.

mod acl;
mod bitfield;
mod bitmap;
mod client;
mod cluster;
mod connection;
mod control;
mod counter;
mod database;
mod debug;
mod digest;
mod dump;
mod effect;
mod execute;
mod expire;
mod extended;
mod function;
mod geo;
mod hash;
mod help;
mod hotkeys;
mod hyperloglog;
mod info;
mod introspect;
mod key;
mod latency;
mod lcs;
mod list;
mod memory;
mod names;
mod number;
mod object;
#[cfg(test)]
mod page;
mod permit;
mod persistence;
mod pubsub;
mod registry;
mod scan;
mod script;
mod server;
mod set;
mod slowlog;
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

pub use acl::gives_all_channels;
pub use connection::REDIS_VERSION;
pub use control::SessionCx;
pub use control::SubscriptionChange;
pub use control::write_client_line;
pub use control::{
    Act, AofWait, ClientFilter, ClientsAnswer, ClientsRequest, Control, Env, Faults, ReloadRequest,
    SaveKind, SaveRequest,
};
pub use dump::load_limits;
pub use execute::{Caller, Ran, execute, execute_session, is_brief, look_at};
pub use function::{
    delete_library, flush_libraries, load_library, restore_libraries, restore_payload,
};
pub use help::help;
pub use info::{CommandTotals, command_totals, error_totals, info_of_all};
pub use latency::histograms;
pub use permit::Denied;
pub use pubsub::write_message;
pub use registry::{CommandId, KeyIndexes, KeyShape, Registry, Unknown};
pub use scan::{scan_cursor, scan_cursor_join, scan_cursor_split};
pub use script::{NO_SCRIPT, busy_with, split_script_args};
pub use spec::{
    ADMIN, BLOCKING, DENYOOM, KEEPS_CACHING, LOADING, NO_AUTH, NO_MULTI, PLAIN, PROTECTED,
    READONLY, SERVED_WHOLE, WRITE,
};
pub use spec::{ALLOW_BUSY, BEHIND, NOSCRIPT, ScriptCall, ScriptName};
pub use spec::{APART, MAY_REPLICATE, NEEDS_DISK, PUBSUB, SUBSCRIBED};
pub use spec::{
    Begin, Command, Find, Flags, InMulti, Merge, MergeFn, Run, SessionFn, ShardFn, Spread,
};
pub use tracking::{TrackingChange, TrackingOptions, TrackingRequest};
pub use transaction::EXEC_ABORT;

/// The families, in the order in which COMMAND lists them.
const FAMILIES: [&[Command]; 36] = [
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
    memory::COMMANDS,
    database::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    acl::COMMANDS,
    introspect::COMMANDS,
    debug::COMMANDS,
    server::COMMANDS,
    info::COMMANDS,
    slowlog::COMMANDS,
    latency::COMMANDS,
    hotkeys::COMMANDS,
    persistence::COMMANDS,
    cluster::COMMANDS,
    transaction::COMMANDS,
    pubsub::COMMANDS,
    script::COMMANDS,
    function::COMMANDS,
];

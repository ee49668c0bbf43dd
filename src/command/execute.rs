//! The one place where a shard's handler is called.

use super::registry::{CommandId, Registry};
use super::spec::ShardFn;
use crate::resp::{Args, Encoder, Protocol};
use crate::shard::{Cx, Shard};

/// What a request brings along from its connection.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub db: u8,
    pub protocol: Protocol,
    /// Whether reading a key counts as using it.
    pub touch: bool,
}

/// Runs `handler` for a request of command `id` and appends its reply to `out`.
///
/// `now` is the time at which the command happens, in milliseconds since the epoch.
pub fn execute(
    registry: &Registry,
    shard: &mut Shard,
    (id, handler): (CommandId, ShardFn),
    args: Args,
    caller: Caller,
    now: i64,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let Shard { keyspace, settings, random, stats, .. } = shard;
    let counters = &stats.per_command[id.0 as usize];
    counters.calls.add(1);
    let mut cx = Cx {
        keys: keyspace.keys(caller.db as usize, now, caller.touch),
        out: Encoder::new(out, caller.protocol),
        settings,
        random,
        name: registry.command(id).name,
    };
    if let Err(error) = handler(&mut cx, args) {
        cx.out.truncate(start);
        cx.out.error(&error);
        counters.failed.add(1);
        stats.error_replies.add(1);
    }
}

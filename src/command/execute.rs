//! The one place where handlers are called: those of a shard's keys, and those of a client's state.

use super::control::{Control, SessionCx};
use super::effect;
use super::registry::{CommandId, KeyShape, Registry};
use super::spec::{PUBSUB, READONLY, SessionFn, ShardFn};
use crate::resp::{Args, Encoder, Protocol};
use crate::session::ClientRef;
use crate::shard::{Cx, Shard, Wait};

/// What a request brings along from its connection.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub client: ClientRef,
    pub db: u8,
    pub protocol: Protocol,
    /// Whether reading a key counts as using it.
    pub touch: bool,
    /// Whether a blocking command may keep the client waiting.
    pub may_wait: bool,
    /// A script is the caller.
    pub in_script: bool,
    /// Whether what the client reads is remembered, so that it is told of changes.
    pub tracks: bool,
}

impl Caller {
    /// Nobody in particular, on database 0.
    pub const fn nobody(protocol: Protocol) -> Caller {
        Caller {
            client: ClientRef::NOBODY,
            db: 0,
            protocol,
            touch: true,
            may_wait: false,
            in_script: false,
            tracks: false,
        }
    }
}

/// Runs `handler` for a request of command `id` and appends its reply to `out`, unless it answers
/// what the client is to wait for.
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
) -> Option<Wait> {
    let start = out.len();
    let is_tracked = caller.tracks || shard.keyspace.is_tracked();
    if is_tracked {
        shard.keyspace.run_for(caller.client);
    }
    let is_recorded = shard.keyspace.recorder.is_on();
    if is_recorded {
        shard.keyspace.recorder.effects.begin_command();
    }
    let Shard { keyspace, settings, random, stats, .. } = shard;
    let changes = stats.changes.get();
    let counters = &stats.per_command[id.0 as usize];
    let mut cx = Cx {
        keys: keyspace.keys(caller.db as usize, now, caller.touch),
        out: Encoder::new(out, caller.protocol),
        settings,
        random,
        name: registry.command(id).name,
        may_wait: caller.may_wait,
        in_script: caller.in_script,
        wait: None,
    };
    let result = handler(&mut cx, args);
    let failed = result.is_err();
    if let Err(error) = result {
        cx.out.truncate(start);
        cx.out.error(&error);
        counters.failed.add(1);
        stats.count_error(&error);
    }
    // Who waits is counted when the wait is over.
    counters.calls.add(u64::from(cx.wait.is_none()));
    let wait = cx.wait;
    if is_recorded && stats.changes.get() != changes {
        let at = (caller.db as usize, now);
        effect::record(registry, &mut shard.keyspace, (id, failed), &args, at);
    }
    if is_tracked {
        end_tracked(registry, shard, id, &args, caller);
    }
    wait
}

/// Remembers what a command has read for its client, if that tracks keys, as in Redis also when the
/// command has failed or found nothing.
#[cold]
fn end_tracked(registry: &Registry, shard: &mut Shard, id: CommandId, args: &Args, caller: Caller) {
    shard.keyspace.run_for(ClientRef::NOBODY);
    let command = registry.command(id);
    if !caller.tracks || !command.flags.has(READONLY) || command.flags.has(PUBSUB) {
        return;
    }
    let mut remember = |key| shard.keyspace.remember_read(key, caller.client);
    match registry.shape(id) {
        KeyShape::None => {}
        KeyShape::One(at) => args.get(at as usize).into_iter().for_each(remember),
        KeyShape::Several => {
            let indexes = command.key_indexes(args).unwrap_or_default();
            indexes.iter().for_each(|&at| remember(args.at(at as usize)));
        }
    }
}

/// Runs a `handler` on a client's own state for a request of command `id`, and says what remains
/// to be done; an error is a reply like any other.
pub fn execute_session(
    cx: &mut SessionCx,
    (id, handler): (CommandId, SessionFn),
    args: Args,
) -> Control {
    let start = cx.out.position();
    // Inside EXEC the client's command is EXEC.
    if !cx.session.is_executing() {
        cx.session.last_command = cx.name;
    }
    let env = cx.env;
    let stats = &env.stats[cx.shard];
    let counters = &stats.per_command[id.0 as usize];
    counters.calls.add(1);
    handler(cx, args).unwrap_or_else(|error| {
        cx.out.truncate(start);
        cx.out.error(&error);
        counters.failed.add(1);
        stats.count_error(&error);
        Control::Done
    })
}

//! The one place where handlers are called: those of a shard's keys, and those of a client's state.

use super::control::{Control, SessionCx};
use super::effect;
use super::registry::{CommandId, KeyShape, Registry};
use super::spec::{BRIEF, Command, FAST, PUBSUB, READONLY, SKIP_SLOWLOG, SessionFn, ShardFn};
use crate::acl::UserId;
use crate::metrics::{LatencyEvent, shorten};
use crate::resp::{Args, Encoder, Protocol};
use crate::session::ClientRef;
use crate::shard::{BRIEF_ARGS, BRIEF_BYTES, Cx, Noted, Shard, Wait};

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
    /// It is a part of a command, which is counted and timed as a whole where it comes together.
    pub is_part: bool,
    /// Whether what the client reads is remembered, so that it is told of changes.
    pub tracks: bool,
    /// Whether a command may read keys that it does not name.
    pub reads_all_keys: bool,
    /// Whose rights the commands of a script have; nobody's when it may use all.
    pub rights: Option<UserId>,
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
            is_part: false,
            tracks: false,
            reads_all_keys: true,
            rights: None,
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
    if shard.keyspace.hot_keys.is_some() {
        count_key(registry, shard, id, &args, caller.db);
    }
    let is_recorded = shard.keyspace.recorder.is_on();
    if is_recorded {
        shard.keyspace.recorder.effects.begin_command();
    }
    let command = registry.command(id);
    let Shard { keyspace, settings, random, stats, timing, .. } = shard;
    let changes = stats.changes.get();
    let counters = &stats.per_command[id.0 as usize];
    let mut brief = is_brief(command, &args) && !caller.may_wait && !caller.in_script;
    if !caller.is_part {
        timing.begin(brief, &stats.per_command);
    }
    let mut cx = Cx {
        keys: keyspace.keys(caller.db as usize, now, caller.touch),
        out: Encoder::new(out, caller.protocol),
        settings,
        random,
        name: command.name,
        may_wait: caller.may_wait,
        in_script: caller.in_script,
        reads_all_keys: caller.reads_all_keys,
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
    let wait = cx.wait;
    // Who waits is counted when the wait is over.
    counters.calls.add(u64::from(wait.is_none() && !caller.is_part));
    if !caller.is_part {
        brief &= out.len() - start.min(out.len()) <= BRIEF_BYTES;
        if let Some(ns) = timing.end(id.0, brief, wait.is_some(), &stats.per_command) {
            let reply = out.len() - start.min(out.len());
            let ran = Ran { ns, reply, waits: wait.is_some() };
            look_at(registry, shard, id, &args, caller.client, (now, ran));
        }
    }
    if is_recorded && shard.stats.changes.get() != changes {
        let at = (caller.db as usize, now);
        effect::record(registry, &mut shard.keyspace, (id, failed), &args, at);
    }
    if is_tracked {
        end_tracked(registry, shard, id, &args, caller);
    }
    wait
}

/// Counts a command's first key if it is this command's turn.
#[cold]
fn count_key(registry: &Registry, shard: &mut Shard, id: CommandId, args: &Args, db: u8) {
    let Some(hot) = &mut shard.keyspace.hot_keys else { return };
    if !hot.is_due() {
        return;
    }
    let key = match registry.shape(id) {
        KeyShape::None => None,
        KeyShape::One(at) => Some(at as usize),
        KeyShape::Several => {
            let indexes = registry.command(id).key_indexes(args).unwrap_or_default();
            indexes.first().map(|at| *at as usize)
        }
    };
    if let Some(key) = key.and_then(|at| args.get(at)) {
        hot.count(db, key);
    }
}

/// Whether it cannot take long, as far as that is known before it runs.
#[inline]
pub fn is_brief(command: &Command, args: &Args) -> bool {
    command.flags.has_any(FAST.with(BRIEF))
        && args.len() <= BRIEF_ARGS
        && args.stretch().0.len() <= BRIEF_BYTES
}

/// How a command has run.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    pub ns: u64,
    /// Bytes of its reply.
    pub reply: usize,
    /// It is not over: its client waits.
    pub waits: bool,
}

/// Notes a command that was timed alone if it was slow or large, for the logs of commands, and tells
/// the monitor of latencies of it.
pub fn look_at(
    registry: &Registry,
    shard: &mut Shard,
    id: CommandId,
    args: &Args,
    client: ClientRef,
    (now, ran): (i64, Ran),
) {
    let command = registry.command(id);
    let timing = &mut shard.timing;
    if let Some(ms) = timing.event_ms(ran.ns) {
        let is_fast = command.flags.has(FAST);
        let event = if is_fast { LatencyEvent::FastCommand } else { LatencyEvent::Command };
        timing.events.push((event, now / 1000, ms));
    }
    if ran.waits || command.flags.has(SKIP_SLOWLOG) {
        return;
    }
    if let Some(values) = timing.logged_with(ran.ns, args.request_len(), ran.reply) {
        let args = shorten(command.shown_args(args).into_iter());
        timing.noted.push(Noted { client, at: now / 1000, args, values });
    }
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
/// to be done; an error is a reply like any other. Its call is counted by who calls this.
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
    handler(cx, args).unwrap_or_else(|error| {
        cx.out.truncate(start);
        cx.out.error(&error);
        counters.failed.add(1);
        stats.count_error(&error);
        Control::Done
    })
}

//! INFO's section on shards, and on the loops that they run.

use super::{Fields, SessionCx, sum};
use crate::command::registry::CommandId;
use crate::command::spec::{Run, SKIP_SLOWLOG};

pub(super) fn shards(cx: &SessionCx, fields: &mut Fields) {
    fields.add("shards", cx.env.stats.len());
    let mut slots = vec![0; cx.env.stats.len()];
    for (first, last, shard) in cx.slots.ranges() {
        slots[shard] += u32::from(last - first) + 1;
    }
    for (shard, stats) in cx.env.stats.iter().enumerate() {
        let keys: u64 = stats.per_db.iter().map(|db| db.keys.get()).sum();
        let busy = stats.busy_share.get();
        let line = format!(
            "slots={},keys={keys},connections={},commands={},ops={},hops={},migrations={},\
             queue_depth={},busy={}.{:02}%",
            slots[shard],
            stats.connections_now.get(),
            stats.commands_processed.get(),
            stats.commands_a_second.get(),
            stats.hops_sent.get(),
            stats.connection_migrations.get(),
            stats.queue_depth.get(),
            busy / 100,
            busy % 100,
        );
        fields.add(format_args!("shard{shard}"), line);
    }
}

/// What the shards' loops have done, as Redis tells it of its one loop. Their time is the CPU time of
/// their threads, as of the last tenth of a second.
pub(super) fn loops(cx: &SessionCx, fields: &mut Fields) {
    let env = cx.env;
    let commands: u64 = (0..env.registry.len())
        .filter(|id| {
            // What those take that run others is counted with the others.
            let command = env.registry.command(CommandId(*id as u16));
            !command.flags.has(SKIP_SLOWLOG) && !matches!(command.run, Run::Script(_))
        })
        .map(|id| sum(env, |s| &s.per_command[id].ns))
        .sum();
    let (turns, busy) = (sum(env, |s| &s.turns_a_second), sum(env, |s| &s.busy_ns_a_second));
    fields.add("eventloop_cycles", sum(env, |s| &s.turns));
    fields.add("eventloop_duration_sum", sum(env, |s| &s.busy_ns) / 1000);
    fields.add("eventloop_duration_cmd_sum", commands / 1000);
    fields.add("instantaneous_eventloop_cycles_per_sec", turns);
    let each = (busy / 1000).checked_div(turns).unwrap_or(0);
    fields.add("instantaneous_eventloop_duration_usec", each);
}

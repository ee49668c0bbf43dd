//! A shard without a server: it runs commands at a time that the test sets, records their effects,
//! and runs recorded effects as recovery does.

use crate::harness::reply::Parsed;
use crate::harness::{Cmd, Reply};
use corelane::command::{Caller, Registry, Run, execute};
use corelane::config::EventClasses;
use corelane::metrics::ShardStats;
use corelane::resp::{Args, Protocol, Span};
use corelane::shard::{Access, Encodings, NO_CLOCK, Settings, Shard, SlotTable};
use std::collections::BTreeSet;
use std::sync::Arc;

/// When programs begin: late enough that no server of today takes anything for expired.
pub const START: i64 = 4_000_000_000_000;

pub struct Rig {
    pub shard: Shard,
    registry: Arc<Registry>,
    caller: Caller,
    pub now: i64,
    /// The commands that have changed something.
    pub writers: BTreeSet<&'static str>,
}

impl Rig {
    pub fn new(registry: &Arc<Registry>, seed: u64) -> Rig {
        let settings = Settings {
            bulk_len_max: 512 << 20,
            access: Access::Lru,
            expire_effort: 1,
            lazy_flush: false,
            events: EventClasses::default(),
            encodings: Encodings::default(),
            timing: corelane::shard::TimingRules::QUIET,
        };
        let stats = Arc::new(ShardStats::new(registry.len(), 16));
        let shard = Shard::new(0, seed, settings, stats);
        let caller = Caller::nobody(Protocol::Resp2);
        Rig { shard, registry: registry.clone(), caller, now: START, writers: BTreeSet::new() }
    }

    /// One that records, as the first of so many shards.
    pub fn recording(registry: &Arc<Registry>, seed: u64, shards: usize) -> Rig {
        let mut rig = Rig::new(registry, seed);
        rig.shard.keyspace.record_effects(0, &SlotTable::contiguous(shards));
        rig
    }

    /// One that runs what another has recorded.
    pub fn replaying(registry: &Arc<Registry>, seed: u64) -> Rig {
        let mut rig = Rig::new(registry, seed);
        rig.shard.keyspace.active_expire = false;
        rig.now = NO_CLOCK;
        rig
    }

    /// Runs a command; nothing if it is none that a shard runs, or is not well-formed.
    pub fn run(&mut self, cmd: &Cmd) -> Option<Reply> {
        if cmd.name() == "SELECT" {
            let db: u8 = std::str::from_utf8(cmd.0.get(1)?).ok()?.parse().ok()?;
            self.caller.db = if db < 16 { db } else { return None };
            return Some(Reply::Simple(b"OK".to_vec()));
        }
        if cmd.upper(1) == "SET" && cmd.name() == "CONFIG" {
            self.configure(cmd);
        }
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for word in &cmd.0 {
            spans.push(Span::new(buffer.len(), buffer.len() + word.len()));
            buffer.extend_from_slice(word);
        }
        let args = Args::new(&buffer, &spans);
        let id = self.registry.find(&args).ok()?;
        let command = self.registry.command(id);
        let Run::Shard(handler) = command.run else { return None };
        // The client would get an error from whoever looks for the keys.
        if !command.accepts(args.len()) || !has_keys(&self.registry, id, &args) {
            return None;
        }
        let mut out = Vec::new();
        let (shard, caller) = (&mut self.shard, self.caller);
        let changes = shard.stats.changes.get();
        execute(&self.registry, shard, (id, handler), args, caller, self.now, &mut out);
        if self.shard.stats.changes.get() != changes {
            self.writers.insert(command.name);
        }
        match Reply::parse(&out) {
            Parsed::Whole(reply, used) if used == out.len() => Some(reply),
            _ if out.is_empty() => None,
            _ => panic!("{cmd:?} is answered by {:?}", String::from_utf8_lossy(&out)),
        }
    }

    /// How big nodes of streams are.
    fn configure(&mut self, cmd: &Cmd) {
        let encodings = &mut self.shard.settings.encodings;
        for at in (2..cmd.0.len() - 1).step_by(2) {
            let value = String::from_utf8_lossy(&cmd.0[at + 1]).parse().unwrap_or(0);
            match cmd.upper(at).as_str() {
                "STREAM-NODE-MAX-ENTRIES" => encodings.stream_node_max_entries = value,
                "STREAM-NODE-MAX-BYTES" => encodings.stream_node_max_bytes = value,
                // What has to do with encodings alone.
                _ => {}
            }
        }
    }

    /// What was recorded since the last time.
    pub fn recorded(&mut self) -> Vec<u8> {
        self.shard.keyspace.recorder.effects.take()
    }

    /// Runs recorded commands, of which none may fail.
    pub fn replay(&mut self, bytes: &[u8]) {
        for cmd in commands(bytes) {
            match (cmd.name().as_str(), self.run(&cmd)) {
                ("MULTI" | "EXEC", _) => {}
                (_, Some(reply)) if !reply.is_error() => {}
                (_, reply) => panic!("{cmd:?} was recorded, and then {reply:?}"),
            }
        }
    }
}

fn has_keys(registry: &Registry, id: corelane::command::CommandId, args: &Args) -> bool {
    use corelane::command::KeyShape;
    match registry.shape(id) {
        KeyShape::Several => registry.command(id).key_indexes(args).is_ok(),
        _ => true,
    }
}

/// The commands that stand in recorded bytes.
pub fn commands(mut bytes: &[u8]) -> Vec<Cmd> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Parsed::Whole(Reply::Array(words), used) = Reply::parse(bytes) else {
            panic!("no command in {:?}", String::from_utf8_lossy(bytes))
        };
        let word = |word| match word {
            Reply::Bulk(bytes) => bytes,
            other => panic!("{other:?} in a command"),
        };
        all.push(Cmd(words.into_iter().map(word).collect()));
        bytes = &bytes[used..];
    }
    all
}

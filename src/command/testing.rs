//! A shard and a registry for the unit tests of command families.

use super::{Caller, Registry, Run, execute};
use crate::metrics::ShardStats;
use crate::resp::{Args, Protocol, Span};
use crate::shard::{Access, Settings, Shard};
use std::sync::Arc;

/// One shard with all commands, at a time that the test sets.
pub struct Bench {
    pub shard: Shard,
    pub registry: Registry,
    pub caller: Caller,
    pub now: i64,
}

impl Bench {
    pub fn new() -> Bench {
        let registry = Registry::new(&[]).unwrap();
        let settings = Settings { bulk_len_max: 512 << 20, access: Access::Lru, expire_effort: 1 };
        let stats = Arc::new(ShardStats::new(registry.len(), 16));
        let shard = Shard::new(0, 1, settings, stats);
        let caller = Caller { db: 0, protocol: Protocol::Resp2, touch: true };
        Bench { shard, registry, caller, now: 1_700_000_000_000 }
    }

    /// Runs a command given as words (no quotes) and answers the encoded reply.
    pub fn run(&mut self, words: &str) -> String {
        let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.run_args(&words)).into_owned()
    }

    /// Keys of a database, as INFO has them.
    pub fn keys(&self, db: usize) -> u64 {
        self.shard.stats.per_db[db].keys.get()
    }

    /// Keys of a database that have an expiry, as INFO has them.
    pub fn expires(&self, db: usize) -> u64 {
        self.shard.stats.per_db[db].expires.get()
    }

    /// Runs a command given as arguments and answers the encoded reply.
    pub fn run_args(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let mut spans = Vec::new();
        for word in words {
            spans.push(Span::new(buffer.len(), buffer.len() + word.len()));
            buffer.extend_from_slice(word);
        }
        let args = Args::new(&buffer, &spans);
        let id = self.registry.find(&args).expect("a known command");
        let command = self.registry.command(id);
        assert!(command.accepts(args.len()), "arity of {}", command.name);
        let Run::Shard(handler) = command.run else { panic!("{} needs a session", command.name) };
        let mut out = Vec::new();
        let (shard, caller, now) = (&mut self.shard, self.caller, self.now);
        execute(&self.registry, shard, (id, handler), args, caller, now, &mut out);
        out
    }
}

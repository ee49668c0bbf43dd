//! Doing again what commands have done.
//!
//! Effects are commands; they run as clients' commands do, at a time at which nothing expires, on a
//! shard of their own.

use crate::command::{Caller, CommandId, Registry, Run, execute};
use crate::resp::{Args, Limits, Parser, Protocol, Span, Step};
use crate::shard::Shard;

/// When replayed commands happen: before any key's time is over.
pub const REPLAY_TIME: i64 = 0;

/// What is done with commands that are not about keys: libraries of functions.
pub type Other<'a> = &'a mut dyn FnMut(&Args) -> Result<(), String>;

/// Replays effects on one shard.
pub struct Replay<'a> {
    registry: &'a Registry,
    pub shard: Shard,
    db: u8,
    reply: Vec<u8>,
    spans: Vec<Span>,
    pub commands: u64,
}

impl<'a> Replay<'a> {
    /// `now` is when keys are taken to have been used.
    pub fn new(registry: &'a Registry, mut shard: Shard, now: i64) -> Replay<'a> {
        shard.keyspace.active_expire = false;
        shard.keyspace.used_at = Some(now);
        Replay { registry, shard, db: 0, reply: Vec::new(), spans: Vec::new(), commands: 0 }
    }

    /// Replays commands that stand one behind the other. What is wrong, and where, when they cannot be.
    pub fn run(&mut self, effects: &mut [u8], other: Other) -> Result<(), (usize, String)> {
        const LIMITS: Limits =
            Limits { bulk_len_max: 3 << 30, multibulk_max: i32::MAX as usize, authenticated: true };
        let mut spans = std::mem::take(&mut self.spans);
        let mut at = 0;
        while at < effects.len() {
            spans.clear();
            let mut parser = Parser::default();
            match parser.parse(effects, at, &mut spans, &LIMITS) {
                Step::Request { end } => {
                    let args = Args::new(effects, &spans);
                    if !spans.is_empty() {
                        self.command(&args, other).map_err(|problem| (at, problem))?;
                    }
                    at = end;
                }
                Step::Incomplete => return Err((at, "a command is cut off".to_string())),
                Step::Error(error) => {
                    return Err((at, String::from_utf8_lossy(&error.text()).into_owned()));
                }
            }
        }
        self.spans = spans;
        Ok(())
    }

    /// Replays one command.
    pub fn command(&mut self, args: &Args, other: Other) -> Result<(), String> {
        if args.is(0, "multi") || args.is(0, "exec") {
            return Ok(());
        }
        if args.is(0, "select") {
            let db = args.get(1).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            let databases = self.shard.stats.per_db.len();
            self.db = db.filter(|&db: &u8| usize::from(db) < databases).ok_or_else(|| {
                format!("it selects a database that is not there: there are {databases}")
            })?;
            return Ok(());
        }
        let unknown = || format!("it has the command '{}'", args.at(0).escape_ascii());
        let id = self.registry.find(args).map_err(|_| unknown())?;
        let command = self.registry.command(id);
        if !command.accepts(args.len()) {
            return Err(format!("the command '{}' has a wrong number of arguments", command.name));
        }
        self.commands += 1;
        match command.run {
            Run::Shard(handler) => self.execute(id, handler, args),
            Run::Session(_) if command.name.starts_with("function") => other(args)?,
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn execute(&mut self, id: CommandId, handler: crate::command::ShardFn, args: &Args) {
        self.reply.clear();
        let caller = Caller { db: self.db, touch: false, ..Caller::nobody(Protocol::Resp2) };
        let (shard, reply) = (&mut self.shard, &mut self.reply);
        execute(self.registry, shard, (id, handler), *args, caller, REPLAY_TIME, reply);
        if reply.first() == Some(&b'-') {
            // What has failed has failed the first time too.
            tracing::debug!(
                command = self.registry.command(id).name,
                reply = %reply.escape_ascii(),
                "a replayed command fails"
            );
        }
        while self.shard.keyspace.free_step(FREE_AT_ONCE) {}
    }
}

/// Elements that are freed between two looks at what is left.
const FREE_AT_ONCE: usize = 1 << 16;

//! A shard into which data are loaded.
//!
//! Commands run at the epoch, a time before all others, so that nothing expires which was there when they ran first.
//! What they record of the time is put right in the end, to when they were loaded: when keys were used, when
//! consumers of streams were heard of, and when keys expire whose time was told as from now. Redis 7 writes
//! no such times; Redis before has scripts that do.

use super::script::{Scripts, database};
use super::{Done, Kept, Target};
use crate::command::{
    Caller, Command, Registry, Run, delete_library, execute, flush_libraries, load_library,
    load_limits, restore_libraries, restore_payload,
};
use crate::data::stream::Stream;
use crate::data::{Entry, Object, ValueRef};
use crate::error::CmdError;
use crate::rdb::dump::seal;
use crate::rdb::file::{Options, Stored, Value, opcode};
use crate::rdb::output::Output;
use crate::rdb::{self};
use crate::resp::{Args, Protocol};
use crate::script::{RestorePolicy, Sha, Store};
use crate::shard::{Access, Shard};

/// When commands are replayed.
pub(super) const REPLAYED_AT: i64 = 0;
/// No key of Redis expires before it came to be, in 2009. What does was told as from the time of the replay.
const FIRST_TIME: i64 = 1_230_000_000_000;

pub struct ShardTarget<'a> {
    registry: &'a Registry,
    shard: &'a mut Shard,
    scripts: Scripts<'a>,
    /// `rdbchecksum`
    checksum: bool,
    now: i64,
    /// What entries record of their use once all is loaded.
    access: Access,
    caller: Caller,
    reply: Vec<u8>,
    /// A command has changed consumers of streams.
    has_consumers: bool,
    /// A command may have told when a key expires as from now.
    has_relative_times: bool,
}

impl<'a> ShardTarget<'a> {
    /// `now` is when the data are loaded.
    pub fn new(
        registry: &'a Registry,
        shard: &'a mut Shard,
        scripts: &'a Store,
        checksum: bool,
        now: i64,
    ) -> ShardTarget<'a> {
        let access = shard.settings.access;
        let fixed = Access::Fixed(access.fresh(now));
        (shard.settings.access, shard.keyspace.access) = (fixed, fixed);
        ShardTarget {
            registry,
            shard,
            scripts: Scripts { registry, store: scripts, interpreter: None },
            checksum,
            now,
            access,
            caller: Caller::nobody(Protocol::Resp2),
            reply: Vec::new(),
            has_consumers: false,
            has_relative_times: false,
        }
    }

    /// Runs what is no command on keys; nothing if it is none of those that an AOF may have.
    fn apart(&mut self, command: &Command, args: &Args) -> Option<Result<(), CmdError>> {
        let scripts = self.scripts.store;
        Some(match command.name {
            "select" => database(args.at(1), self.shard).map(|db| self.caller.db = db),
            "function|load" => load_library(scripts, args).map(|_| ()),
            "function|delete" => delete_library(scripts, args),
            "function|flush" => flush_libraries(scripts),
            "function|restore" => restore_libraries(scripts, args),
            "script|load" => {
                scripts.keep(Sha::of(args.at(2)), args.at(2), true);
                Ok(())
            }
            "script|flush" => {
                scripts.flush();
                Ok(())
            }
            "ping" | "echo" => Ok(()),
            _ => return None,
        })
    }

    /// What the reply says.
    fn outcome(&self, command: &Command) -> Done {
        if self.reply.first() != Some(&b'-') {
            return Done::Well;
        }
        let text = String::from_utf8_lossy(&self.reply[1..]).trim_end().to_string();
        Done::Failed(format!("{}: {text}", command.name))
    }

    /// Keys of a database of which something is to be put right.
    fn keys_with(&mut self, db: usize, is_meant: fn(&Entry) -> bool) -> Vec<Box<[u8]>> {
        let keys = self.shard.keyspace.keys(db, REPLAYED_AT, false);
        let (mut found, mut position): (Vec<Box<[u8]>>, _) = (Vec::new(), 0);
        loop {
            position = keys.scan(position, &mut |entry| {
                if is_meant(entry) {
                    found.push(entry.key().into());
                }
            });
            if position == 0 {
                return found;
            }
        }
    }

    /// Consumers of streams that have changed are as if that had happened now.
    fn settle_consumers(&mut self, db: usize) {
        let streams = |entry: &Entry| matches!(entry.value(), ValueRef::Object(Object::Stream(_)));
        for key in self.keys_with(db, streams) {
            let mut keys = self.shard.keyspace.keys(db, REPLAYED_AT, false);
            let entry = keys.get_mut_unwatched(&key);
            if let Some(Object::Stream(stream)) = entry.and_then(Entry::object_mut) {
                settle(stream, self.now);
            }
        }
    }

    /// Keys that were told how long they live do so from now on.
    fn settle_times(&mut self, db: usize) {
        let is_early = |entry: &Entry| {
            entry.expire_at().is_some_and(|at| (REPLAYED_AT..FIRST_TIME).contains(&at))
        };
        for key in self.keys_with(db, is_early) {
            let mut keys = self.shard.keyspace.keys(db, REPLAYED_AT, false);
            if let Some(at) = keys.find_any(&key).and_then(Entry::expire_at) {
                keys.set_expire(&key, Some(at - REPLAYED_AT + self.now));
            }
        }
    }
}

/// Whether a command may say when a key expires as from now.
fn tells_relative_time(name: &str, args: &Args) -> bool {
    match name {
        "expire" | "pexpire" | "setex" | "psetex" | "restore" => true,
        "set" | "getex" => (2..args.len()).any(|at| args.is(at, "ex") || args.is(at, "px")),
        _ => false,
    }
}

fn settle(stream: &mut Stream, now: i64) {
    let names: Vec<Box<[u8]>> = stream.groups().map(|(name, _)| name.into()).collect();
    for name in &names {
        let Some((_, group)) = stream.group_mut(name) else { continue };
        let consumers: Vec<Box<[u8]>> = group.consumers().map(|c| c.name().into()).collect();
        for id in consumers.iter().filter_map(|name| group.find(name)).collect::<Vec<_>>() {
            let consumer = group.consumer_mut(id);
            if consumer.seen_at == REPLAYED_AT {
                consumer.seen_at = now;
            }
            if consumer.active_at == Some(REPLAYED_AT) {
                consumer.active_at = Some(now);
            }
        }
    }
}

impl Target for ShardTarget<'_> {
    fn options(&mut self, is_base: bool) -> Options {
        let keys = self.shard.keyspace.keys(0, self.now, false);
        Options {
            checksum: self.checksum,
            now: if is_base { REPLAYED_AT } else { self.now },
            string_max: usize::MAX,
            limits: load_limits(&self.shard.settings, keys.hasher()),
        }
    }

    fn begin_file(&mut self) {
        self.caller.db = 0;
    }

    fn entry(&mut self, stored: Stored, is_base: bool) -> Result<Kept, String> {
        let Stored { db, key, value, expire_at, idle, frequency } = stored;
        if expire_at.is_some_and(|at| at < self.now) && !is_base {
            return Ok(Kept::Expired);
        }
        let db = db as usize;
        if db >= self.shard.stats.per_db.len() {
            return Err(format!("there is no database {db}: the option databases is too small"));
        }
        let mut entry = match value {
            Value::String(text) => Entry::string(key, text, expire_at),
            Value::Owned(text) => Entry::string(key, &text, expire_at),
            Value::Object(object) => Entry::object(key, object, expire_at),
        };
        let (access, now) = (self.access, self.now);
        let idle = idle.and_then(|idle| access.idle_for(idle.min(i64::MAX as u64) as i64, now));
        let counted = || access.counted(frequency?, now);
        entry.set_access(idle.or_else(counted).unwrap_or_else(|| access.fresh(now)));
        let mut keys = self.shard.keyspace.keys(db, REPLAYED_AT, false);
        let before = keys.len();
        // It keeps its history, and nobody is there to be told of it.
        keys.take_back(entry);
        match keys.len() > before {
            true => Ok(Kept::Yes),
            false => Err(format!("key \"{}\" of database {db} comes twice", key.escape_ascii())),
        }
    }

    fn function(&mut self, code: &[u8]) -> Result<(), String> {
        let mut payload = Output::default();
        payload.put_byte(opcode::FUNCTION);
        payload.put_string(code);
        let payload = seal(payload.bytes, rdb::VERSION);
        restore_payload(self.scripts.store, &payload, RestorePolicy::Append)
            .map_err(|error| format!("a library of functions: {error}"))
    }

    fn command(&mut self, args: Args) -> Result<Done, String> {
        let registry = self.registry;
        let id = registry
            .find(&args)
            .map_err(|unknown| registry.unknown_error(&args, unknown).to_string())?;
        let command = registry.command(id);
        if !command.accepts(args.len()) {
            return Err(CmdError::wrong_arity(command.name).to_string());
        }
        self.reply.clear();
        if let Run::Script(call) = command.run {
            self.has_relative_times = true;
            self.has_consumers = true;
            let ShardTarget { scripts, shard, caller, reply, .. } = self;
            let done = scripts.run(call.named_by, &args, shard, *caller, reply);
            return Ok(match done {
                Ok(()) => self.outcome(command),
                Err(error) => Done::Failed(format!("{}: {error}", command.name)),
            });
        }
        let Run::Shard(handler) = command.run else {
            return match self.apart(command, &args) {
                Some(Ok(())) => Ok(Done::Well),
                // Commands behind it would go to the wrong place, or lack what it brings.
                Some(Err(error)) => Err(format!("{}: {error}", command.name)),
                None => Err(format!(
                    "{} is no command that can be replayed; a Redis that knows the file can rewrite it: BGREWRITEAOF",
                    command.name
                )),
            };
        };
        self.has_consumers |= matches!(
            command.name,
            "xclaim" | "xautoclaim" | "xreadgroup" | "xgroup|createconsumer"
        );
        self.has_relative_times |= tells_relative_time(command.name, &args);
        let (caller, call) = (self.caller, (id, handler));
        execute(registry, self.shard, call, args, caller, REPLAYED_AT, &mut self.reply);
        Ok(self.outcome(command))
    }

    fn end(&mut self) {
        for db in 0..self.shard.stats.per_db.len() {
            if self.has_consumers {
                self.settle_consumers(db);
            }
            if self.has_relative_times {
                self.settle_times(db);
            }
        }
    }
}

impl Drop for ShardTarget<'_> {
    fn drop(&mut self) {
        (self.shard.settings.access, self.shard.keyspace.access) = (self.access, self.access);
    }
}

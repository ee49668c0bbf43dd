//! A shard into which data are loaded.
//!
//! Commands run at a time before all others, so that nothing expires which was there when they ran first. What
//! they record of the time is put right in the end: when keys were used, and when consumers of streams were
//! heard of, is when they were loaded.

use super::{Done, Kept, Target};
use crate::command::{
    Caller, Command, Registry, Run, delete_library, execute, flush_libraries, load_library,
    load_limits, restore_libraries, restore_payload,
};
use crate::data::stream::Stream;
use crate::data::{Entry, Object};
use crate::error::CmdError;
use crate::rdb::dump::seal;
use crate::rdb::file::{Options, Stored, Value, opcode};
use crate::rdb::output::Output;
use crate::rdb::{self};
use crate::resp::{Args, Protocol};
use crate::script::{RestorePolicy, Sha, Store};
use crate::shard::{Access, Shard};

/// When commands are replayed.
const BEFORE_ALL_TIMES: i64 = i64::MIN;

pub struct ShardTarget<'a> {
    registry: &'a Registry,
    shard: &'a mut Shard,
    scripts: &'a Store,
    /// `rdbchecksum`
    checksum: bool,
    now: i64,
    /// What entries record of their use once all is loaded.
    access: Access,
    caller: Caller,
    reply: Vec<u8>,
    /// A command has changed consumers of streams.
    has_consumers: bool,
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
        let caller = Caller::nobody(Protocol::Resp2);
        let (reply, has_consumers) = (Vec::new(), false);
        ShardTarget {
            registry,
            shard,
            scripts,
            checksum,
            now,
            access,
            caller,
            reply,
            has_consumers,
        }
    }

    /// Runs what is no command on keys; nothing if it is none of those that an AOF may have.
    fn apart(&mut self, command: &Command, args: &Args) -> Option<Result<(), CmdError>> {
        Some(match command.name {
            "select" => self.select(args),
            "function|load" => load_library(self.scripts, args).map(|_| ()),
            "function|delete" => delete_library(self.scripts, args),
            "function|flush" => flush_libraries(self.scripts),
            "function|restore" => restore_libraries(self.scripts, args),
            "script|load" => {
                self.scripts.keep(Sha::of(args.at(2)), args.at(2), true);
                Ok(())
            }
            "script|flush" => {
                self.scripts.flush();
                Ok(())
            }
            "ping" | "echo" => Ok(()),
            _ => return None,
        })
    }

    fn select(&mut self, args: &Args) -> Result<(), CmdError> {
        let number = std::str::from_utf8(args.at(1)).ok().and_then(|text| text.parse().ok());
        let count = self.shard.stats.per_db.len();
        let known = number.filter(|db: &u8| usize::from(*db) < count);
        self.caller.db = known.ok_or(CmdError::DB_INDEX)?;
        Ok(())
    }

    /// Consumers of streams that have changed are as if that had happened now.
    fn settle_consumers(&mut self) {
        for db in 0..self.shard.stats.per_db.len() {
            let mut keys = self.shard.keyspace.keys(db, BEFORE_ALL_TIMES, false);
            let mut position = 0;
            loop {
                let mut streams: Vec<Box<[u8]>> = Vec::new();
                position = keys.scan(position, &mut |entry| {
                    if let crate::data::ValueRef::Object(Object::Stream(_)) = entry.value() {
                        streams.push(entry.key().into());
                    }
                });
                for key in &streams {
                    let entry = keys.get_mut_unwatched(key);
                    if let Some(Object::Stream(stream)) = entry.and_then(Entry::object_mut) {
                        settle(stream, self.now);
                    }
                }
                if position == 0 {
                    break;
                }
            }
        }
    }
}

fn settle(stream: &mut Stream, now: i64) {
    let names: Vec<Box<[u8]>> = stream.groups().map(|(name, _)| name.into()).collect();
    for name in &names {
        let Some((_, group)) = stream.group_mut(name) else { continue };
        let consumers: Vec<Box<[u8]>> = group.consumers().map(|c| c.name().into()).collect();
        for id in consumers.iter().filter_map(|name| group.find(name)).collect::<Vec<_>>() {
            let consumer = group.consumer_mut(id);
            if consumer.seen_at == BEFORE_ALL_TIMES {
                consumer.seen_at = now;
            }
            if consumer.active_at == Some(BEFORE_ALL_TIMES) {
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
            now: if is_base { BEFORE_ALL_TIMES } else { self.now },
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
            Value::Object(object) => Entry::object(key, object, expire_at),
        };
        let (access, now) = (self.access, self.now);
        let idle = idle.and_then(|idle| access.idle_for(idle.min(i64::MAX as u64) as i64, now));
        let counted = || access.counted(frequency?, now);
        entry.set_access(idle.or_else(counted).unwrap_or_else(|| access.fresh(now)));
        let mut keys = self.shard.keyspace.keys(db, BEFORE_ALL_TIMES, false);
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
        restore_payload(self.scripts, &payload, RestorePolicy::Append)
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
        self.reply.clear();
        let (caller, call) = (self.caller, (id, handler));
        execute(registry, self.shard, call, args, caller, BEFORE_ALL_TIMES, &mut self.reply);
        if self.reply.first() != Some(&b'-') {
            return Ok(Done::Well);
        }
        let text = String::from_utf8_lossy(&self.reply[1..]).trim_end().to_string();
        Ok(Done::Failed(format!("{}: {text}", command.name)))
    }

    fn end(&mut self) {
        if self.has_consumers {
            self.settle_consumers();
        }
    }
}

impl Drop for ShardTarget<'_> {
    fn drop(&mut self) {
        (self.shard.settings.access, self.shard.keyspace.access) = (self.access, self.access);
    }
}

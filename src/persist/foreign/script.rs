//! Scripts in an AOF: Redis before 7 writes the script, not its effects.
//!
//! As there, a script sees the data as they are when its turn comes, and its commands happen at the time of the
//! replay. What it may call is not limited: it was allowed when it ran first.

use super::shard_target::REPLAYED_AT;
use crate::command::{Caller, Registry, Run, execute, split_script_args};
use crate::command::{NO_SCRIPT, ScriptName};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol, Span};
use crate::script::{Host, Interpreter, LogLevel, Sha, Store, Tick, log_line};
use crate::shard::Shard;

/// What scripts run with.
pub struct Scripts<'a> {
    pub registry: &'a Registry,
    pub store: &'a Store,
    /// Made for the first of them.
    pub interpreter: Option<Interpreter>,
}

impl Scripts<'_> {
    /// Runs EVAL, EVALSHA or FCALL.
    pub fn run(
        &mut self,
        named_by: ScriptName,
        args: &Args,
        shard: &mut Shard,
        caller: Caller,
        out: &mut Vec<u8>,
    ) -> Result<(), CmdError> {
        let (keys, argv) = split_script_args(args, named_by == ScriptName::Function)?;
        let [keys, argv] = [keys, argv].map(|part| part.iter().collect::<Vec<&[u8]>>());
        let interpreter = match &mut self.interpreter {
            Some(interpreter) => interpreter,
            None => self.interpreter.insert(Interpreter::new().map_err(CmdError::err)?),
        };
        let mut host = Running { registry: self.registry, shard, caller };
        let mut out = Encoder::new(out, Protocol::Resp2);
        let sha = match named_by {
            ScriptName::Body => {
                let sha = Sha::of(args.at(1));
                self.store.keep(sha, args.at(1), false);
                sha
            }
            ScriptName::Sha => Sha::parse(args.at(1)).ok_or(NO_SCRIPT)?,
            ScriptName::Function => {
                let libraries = self.store.libraries();
                let done =
                    interpreter.call(&libraries, args.at(1), &keys, &argv, &mut host, &mut out);
                return done.map(|_| ()).map_err(|failure| failure.error);
            }
        };
        let body = self.store.body(&sha).ok_or(NO_SCRIPT)?;
        interpreter.load(&sha, &body)?;
        let done = interpreter.run(&sha, &keys, &argv, &mut host, &mut out);
        done.map(|_| ()).map_err(|failure| failure.error)
    }
}

/// A script that runs.
struct Running<'a> {
    registry: &'a Registry,
    shard: &'a mut Shard,
    caller: Caller,
}

impl Running<'_> {
    fn try_call(
        &mut self,
        args: &Args,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<(), CmdError> {
        let registry = self.registry;
        let id = registry.find(args).map_err(|unknown| registry.unknown_error(args, unknown))?;
        let command = registry.command(id);
        if !command.accepts(args.len()) {
            return Err(CmdError::wrong_arity(command.name));
        }
        match command.run {
            Run::Shard(handler) => {
                let caller = Caller { protocol, in_script: true, ..self.caller };
                execute(registry, self.shard, (id, handler), *args, caller, REPLAYED_AT, out);
            }
            // It counts for this script only.
            Run::Session(_) if command.name == "select" => {
                self.caller.db = database(args.at(1), self.shard)?;
                Encoder::new(out, protocol).ok();
            }
            _ => return Err(CmdError::fixed("ERR This command cannot be replayed in a script")),
        }
        Ok(())
    }
}

/// The database that SELECT names.
pub fn database(word: &[u8], shard: &Shard) -> Result<u8, CmdError> {
    let number = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    number.filter(|db: &u8| usize::from(*db) < shard.stats.per_db.len()).ok_or(CmdError::DB_INDEX)
}

impl Host for Running<'_> {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Tick {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for word in args {
            spans.push(Span::new(bytes.len(), bytes.len() + word.len()));
            bytes.extend_from_slice(word);
        }
        let start = out.len();
        if let Err(error) = self.try_call(&Args::new(&bytes, &spans), protocol, out) {
            out.truncate(start);
            Encoder::new(out, protocol).error(&error);
        }
        Tick::GoOn
    }

    fn tick(&mut self) -> Tick {
        Tick::GoOn
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log_line(level, message);
    }

    fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
        Some(true)
    }

    fn set_repl(&mut self, _: u8) {}
}

//! Where scripts run, and what they can reach.
//!
//! A script may touch any key, also one that it was not given. So with several shards there are two ways:
//!
//! ```text
//!   all its commands name keys that it     as a command with these keys: where they are, or
//!   was given, as its text shows           with them borrowed (gather)
//!   any other                              with all shards' keys borrowed (whole)
//! ```
//!
//! Either way all that it can touch is held before it begins, so it never stops half-way and never has
//! to be undone. Which way a script goes is decided once, when a shard first meets it.

use super::conn::Conn;
use super::gather::Loans;
use super::operation::flat;
use super::worker::Worker;
use crate::clock;
use crate::command::{
    Caller, Command, CommandId, Control, MAY_REPLICATE, NO_SCRIPT, NOSCRIPT, Run, ScriptCall,
    ScriptName, SessionCx, SessionFn, Unknown, WRITE, execute, execute_session, split_script_args,
};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::rt::{Io, Peer};
use crate::script::{
    Failure, Host, Interpreter, Libraries, LogLevel, Outcome, ScriptFlags, Sha, Slow, Tick,
    log_line, uses_only_declared_keys,
};
use crate::session::Session;
use crate::shard::Wait;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const NO_FUNCTION: CmdError = CmdError::fixed("ERR Function not found");

/// Scripts that a shard has compiled; with more it begins anew.
const COMPILED_MAX: usize = 2000;

/// The scripts that a shard has met.
#[derive(Default)]
pub struct Scripts {
    /// Made for the first script; not there while one runs.
    interpreter: Option<Box<Interpreter>>,
    /// As of the server's scripts when it last looked.
    epoch: u64,
    met: HashMap<Sha, Met, ahash::RandomState>,
    /// The libraries of functions, as of when it last looked.
    libraries: Arc<Libraries>,
}

/// What a shard knows of a script.
#[derive(Debug, Clone, Copy)]
struct Met {
    flags: ScriptFlags,
    /// It touches no keys but those that it is given.
    declares_all: bool,
}

/// What a request runs.
enum Code {
    Script(Sha),
    Function,
}

/// What a script may touch.
enum Reach<'a> {
    /// Everything that is here.
    Here,
    /// These keys of several shards, and nothing else.
    Declared(Args<'a>),
    /// The keys of all shards.
    All(&'a mut Loans),
}

impl Worker {
    /// Runs a command on keys that are at hand here, unless it has to wait.
    pub(super) fn run_command(
        &mut self,
        io: &mut dyn Io,
        id: CommandId,
        args: Args,
        caller: Caller,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Option<Wait> {
        let registry = &self.shared.env.registry;
        if let Run::Shard(handler) = registry.command(id).run {
            return execute(registry, &mut self.shard, (id, handler), args, caller, now, out);
        }
        self.run_script(io, (id, now), &args, caller, None, out);
        None
    }

    /// Runs a script for a connection of this shard.
    pub(super) fn run_script_here(
        &mut self,
        io: &mut dyn Io,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
    ) {
        let (caller, mut reply) = (super::dispatch::caller(conn), self.buffer());
        self.run_script(io, (id, self.now), args, caller, None, &mut reply);
        self.reply_to_command(conn, |out| out.raw(&reply));
        self.keep_buffer(reply);
        self.serve_unless_executing(conn);
    }

    /// Whether a request needs the keys of all shards at hand. One that names no script that is known
    /// answers an error, unless it runs `later`: by then its script may be.
    pub(super) fn reaches_all(&mut self, command: &Command, args: &Args, later: bool) -> bool {
        match command.run {
            Run::Script(call) => {
                self.prepare(call, args).map_or(later, |(_, met)| !met.declares_all)
            }
            _ => command.uses_unnamed(args),
        }
    }

    /// Makes sure that this shard can run what a request names.
    fn prepare(&mut self, call: ScriptCall, args: &Args) -> Result<(Code, Met), CmdError> {
        self.look_at_epoch();
        let word = args.at(1);
        let sha = match call.named_by {
            ScriptName::Sha => Sha::parse(word).ok_or(NO_SCRIPT)?,
            ScriptName::Body => Sha::of(word),
            ScriptName::Function => {
                let flags = self.scripts.libraries.function(word).ok_or(NO_FUNCTION)?.flags;
                return Ok((Code::Function, Met { flags, declares_all: false }));
            }
        };
        if let Some(met) = self.scripts.met.get(&sha) {
            return Ok((Code::Script(sha), *met));
        }
        let met = match call.named_by {
            ScriptName::Sha => {
                let body = self.shared.env.scripts.body(&sha).ok_or(NO_SCRIPT)?;
                self.compile(sha, &body)?
            }
            _ => {
                let met = self.compile(sha, word)?;
                self.shared.env.scripts.keep(sha, word, false);
                met
            }
        };
        Ok((Code::Script(sha), met))
    }

    /// Forgets what was compiled if the server has forgotten its scripts, and takes its new libraries.
    fn look_at_epoch(&mut self) {
        let store = &self.shared.env.scripts;
        if store.libraries_version() != self.scripts.libraries.version() {
            self.scripts.libraries = store.libraries();
        }
        let epoch = store.epoch();
        if self.scripts.epoch != epoch || self.scripts.met.len() >= COMPILED_MAX {
            self.scripts.epoch = epoch;
            self.scripts.met.clear();
            // The next script makes a new one.
            self.scripts.interpreter = None;
        }
    }

    fn compile(&mut self, sha: Sha, body: &[u8]) -> Result<Met, CmdError> {
        let interpreter = match &mut self.scripts.interpreter {
            Some(interpreter) => interpreter,
            none => none.insert(new_interpreter()?),
        };
        let flags = interpreter.load(&sha, body)?;
        let registry = &self.shared.env.registry;
        let several = self.slots.shards() > 1;
        let declares_all =
            several && uses_only_declared_keys(body, &|name| registry.key_rule(name));
        let met = Met { flags, declares_all };
        self.scripts.met.insert(sha, met);
        Ok(met)
    }

    /// Runs a script or function and appends its reply.
    pub(super) fn run_script(
        &mut self,
        io: &mut dyn Io,
        (id, now): (CommandId, i64),
        args: &Args,
        caller: Caller,
        loans: Option<&mut Loans>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let done = self.try_script(io, (id, now), args, caller, loans, out);
        let stats = &self.shard.stats;
        let counters = &stats.per_command[id.0 as usize];
        counters.calls.add(1);
        match done {
            Ok(Outcome::Reply) => {}
            Ok(Outcome::ErrorReply { counted }) => {
                counters.failed.add(1);
                if !counted {
                    stats.count_error(&CmdError::of_bytes(out[start + 1..].trim_ascii_end()));
                }
            }
            Err(Failure { error, counted }) => {
                counters.failed.add(1);
                if !counted {
                    stats.count_error(&error);
                }
                out.truncate(start);
                Encoder::new(out, caller.protocol).error(&error);
            }
        }
    }

    fn try_script(
        &mut self,
        io: &mut dyn Io,
        (id, now): (CommandId, i64),
        args: &Args,
        caller: Caller,
        loans: Option<&mut Loans>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Failure> {
        let command = self.shared.env.registry.command(id);
        let Run::Script(call) = command.run else { return Err(NO_SCRIPT.into()) };
        let function = call.named_by == ScriptName::Function;
        if call.named_by == ScriptName::Sha && Sha::parse(args.at(1)).is_none() {
            return Err(NO_SCRIPT.into());
        }
        if function {
            self.prepare(call, args)?;
        }
        let (keys, argv) = split_script_args(args, function)?;
        let (code, met) = self.prepare(call, args)?;
        if call.read_only && (met.flags.has_shebang || function) && !met.flags.no_writes {
            let text = "ERR Can not execute a script with write flag using *_ro command.";
            return Err(CmdError::fixed(text).into());
        }
        // It has become known on its way here, which must have been that of one that is not: it would
        // have needed all shards' keys.
        if self.slots.shards() > 1 && loans.is_none() && !met.declares_all {
            return Err(if function { NO_FUNCTION } else { NO_SCRIPT }.into());
        }
        // Only commands that are no scripts run inside of one, so it is free.
        let mut interpreter = match self.scripts.interpreter.take() {
            Some(interpreter) => interpreter,
            None => new_interpreter()?,
        };
        let libraries = self.scripts.libraries.clone();
        let reach = match loans {
            Some(loans) => Reach::All(loans),
            None if self.slots.shards() > 1 => Reach::Declared(keys),
            None => Reach::Here,
        };
        let read_only = call.read_only || met.flags.no_writes;
        let mut out = Encoder::new(out, caller.protocol);
        let mut host = Running {
            worker: self,
            io,
            caller: Caller { may_wait: false, in_script: true, ..caller },
            now,
            reach,
            read_only,
            wrote: false,
            request: *args,
            function: function.then(|| args.at(1)),
            began: None,
            session: None,
        };
        let keys: SmallVec<[&[u8]; 8]> = keys.iter().collect();
        let argv: SmallVec<[&[u8]; 8]> = argv.iter().collect();
        host.worker.begin_unit();
        let done = match code {
            Code::Script(sha) => interpreter.run(&sha, &keys, &argv, &mut host, &mut out),
            Code::Function => {
                interpreter.call(&libraries, args.at(1), &keys, &argv, &mut host, &mut out)
            }
        };
        self.record_rest();
        self.shard.stats.lua_memory.set(interpreter.memory() as u64);
        self.scripts.interpreter = Some(interpreter);
        self.end_busy();
        done
    }
}

fn new_interpreter() -> Result<Box<Interpreter>, CmdError> {
    Interpreter::new().map(Box::new).map_err(CmdError::err)
}

/// A script that runs: how its commands reach the keys.
struct Running<'a> {
    worker: &'a mut Worker,
    io: &'a mut dyn Io,
    caller: Caller,
    now: i64,
    reach: Reach<'a>,
    read_only: bool,
    wrote: bool,
    request: Args<'a>,
    /// The function's name, if it is one.
    function: Option<&'a [u8]>,
    /// When it was asked first whether it runs for long.
    began: Option<Instant>,
    /// The script as a client, once it has used a command on clients.
    session: Option<Box<Session>>,
}

impl Running<'_> {
    fn try_call(
        &mut self,
        args: &Args,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<(), CmdError> {
        let registry = &self.worker.shared.env.registry;
        let id = match registry.find(args) {
            Ok(id) if registry.command(id).accepts(args.len()) => id,
            Err(Unknown::Words(id)) if registry.command(id).flags.has(NOSCRIPT) => id,
            Ok(_) | Err(Unknown::MissingSubcommand | Unknown::Words(_)) => {
                return Err(CmdError::fixed(
                    "ERR Wrong number of args calling Redis command from script",
                ));
            }
            Err(_) => {
                return Err(CmdError::fixed("ERR Unknown Redis command called from script"));
            }
        };
        let command = registry.command(id);
        let refusal = self.refusal(command);
        if let Some(error) = refusal.or_else(|| self.is_out_of_reach(command, args)) {
            self.worker.shard.stats.per_command[id.0 as usize].rejected.add(1);
            return Err(error);
        }
        self.wrote |= command.flags.has(WRITE);
        self.worker.shard.stats.commands_processed.add(1);
        self.worker.show_call(usize::from(self.caller.db), command, args);
        let caller = Caller { protocol, ..self.caller };
        match (command.run, &mut self.reach) {
            (Run::Session(handler), _) => {
                return self.run_on_session((id, handler), *args, protocol, out);
            }
            (_, Reach::All(loans)) => {
                self.worker.run_on_all(self.io, (id, self.now), args, caller, loans, out);
            }
            (Run::Shard(_), _) => {
                let wait = self.worker.run_command(self.io, id, *args, caller, self.now, out);
                debug_assert!(wait.is_none(), "a script never waits");
            }
            (Run::Script(_) | Run::Container, _) => {}
        }
        Ok(())
    }

    /// Why a script must not use a command.
    fn refusal(&self, command: &Command) -> Option<CmdError> {
        let writes = command.flags.has(WRITE) || command.flags.has(MAY_REPLICATE);
        let all = &self.worker.shared.env.all_in_scripts;
        if command.flags.has(NOSCRIPT) && !all.load(Ordering::Relaxed) {
            Some(CmdError::fixed("ERR This Redis command is not allowed from script"))
        } else if self.read_only && writes {
            Some(CmdError::fixed("ERR Write commands are not allowed from read-only scripts."))
        } else {
            None
        }
    }

    /// A script that runs with the keys that it was given was shown to use no others.
    fn is_out_of_reach(&self, command: &Command, args: &Args) -> Option<CmdError> {
        let Reach::Declared(declared) = &self.reach else { return None };
        let indexes = command.key_indexes(args).unwrap_or_default();
        let mut keys = indexes.iter().map(|&at| args.at(at as usize));
        let inside = keys.all(|key| declared.iter().any(|own| own == key));
        debug_assert!(inside, "a script was taken for one that uses its own keys only");
        (!inside)
            .then(|| CmdError::fixed("ERR Script attempted to use a key that it was not given"))
    }

    /// Runs a command on a client's own state: the script is the client.
    fn run_on_session(
        &mut self,
        (id, handler): (CommandId, SessionFn),
        args: Args,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<(), CmdError> {
        let shared = self.worker.shared.clone();
        let session = self.session.get_or_insert_with(|| {
            Box::new(Session::new(0, Peer::Unix { path: String::new() }, true, self.now))
        });
        session.db = usize::from(self.caller.db);
        session.protocol = protocol;
        let mut cx = SessionCx {
            session,
            out: Encoder::new(out, protocol),
            env: &shared.env,
            slots: &self.worker.slots,
            shard: self.worker.index,
            now: self.now,
            frozen: Some(Duration::from_millis(self.now.max(0) as u64)),
            name: shared.env.registry.command(id).name,
        };
        match execute_session(&mut cx, (id, handler), args) {
            Control::Done => {
                self.caller.db = session.db as u8;
                Ok(())
            }
            _ => Err(CmdError::fixed("ERR This Redis command is not allowed from script")),
        }
    }
}

impl Host for Running<'_> {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) {
        let start = out.len();
        let (bytes, spans) = flat(args.iter().copied());
        if let Err(error) = self.try_call(&Args::new(&bytes, &spans), protocol, out) {
            self.worker.shard.stats.count_error(&error);
            out.truncate(start);
            Encoder::new(out, protocol).error(&error);
        }
    }

    fn tick(&mut self) -> Tick {
        let now = clock::monotonic();
        let ran = now.duration_since(*self.began.get_or_insert(now)).as_millis() as u64;
        let limit = self.worker.limits.busy_after_ms;
        if self.worker.shared.stopping.load(Ordering::Relaxed) {
            return Tick::Kill;
        }
        if limit == 0 || ran < limit {
            return Tick::GoOn;
        }
        let slow = Slow {
            shard: self.worker.index,
            function: self.function.map(<[u8]>::to_vec),
            command: self.request.iter().map(<[u8]>::to_vec).collect(),
            running_for: ran,
            wrote: self.wrote,
            killed: false,
        };
        let holds_all = matches!(self.reach, Reach::All(_));
        match self.worker.busy_turn(self.io, slow, holds_all) {
            true => Tick::Kill,
            false => Tick::GoOn,
        }
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log_line(level, message);
    }

    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool> {
        let (bytes, spans) = flat(args.iter().copied());
        let found = self.worker.shared.env.registry.find(&Args::new(&bytes, &spans));
        found.ok().map(|_| true)
    }

    /// There is no journal and no replica: nothing that could be left out.
    fn set_repl(&mut self, _flags: u8) {}
}

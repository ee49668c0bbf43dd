//! Where scripts run, and what they can reach.
//!
//! A script may touch any key, also one that it was not given. So with several shards there are three ways:
//!
//! ```text
//!   all its commands name keys that it     as a command with these keys: where they are, or
//!   was given, as its text shows           with them borrowed (gather)
//!   its runs have shown which keys it      with the keys that it is expected to touch borrowed
//!   touches beside those                   (foretold)
//!   any other                              with all shards' keys borrowed (whole)
//! ```
//!
//! In the first way and the last, all that it can touch is held before it begins. In the second it may touch
//! a key that nobody foretold; then it is given up without effect, and runs again.

use super::conn::Conn;
use super::foretold::Trying;
use super::gather::Loans;
use super::memory::OUT_OF_MEMORY;
use super::operation::flat;
use super::worker::Worker;
use crate::acl::{Context, Entry, UserId};
use crate::clock;
use crate::command::{
    APART, Caller, Command, CommandId, Control, DENYOOM, MAY_REPLICATE, NO_SCRIPT, NOSCRIPT,
    PUBSUB, Run, ScriptCall, ScriptName, SessionCx, SessionFn, Spread, Unknown, WRITE, execute,
    execute_session, split_script_args,
};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::rt::{Io, Peer};
use crate::script::{
    Failure, Host, Interpreter, Learned, Libraries, LogLevel, Outcome, ScriptFlags, Sha, Slow,
    Sort, Tick, Touched, log_line, uses_only_declared_keys,
};
use crate::session::Session;
use crate::shard::Wait;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MAY_WRITE: CmdError =
    CmdError::fixed("ERR Can not execute a script with write flag using *_ro command.");
const NEEDS_ROOM: CmdError = CmdError::fixed(
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
);
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
    /// What is known of those that do not show which keys they touch, and of functions.
    learned: HashMap<Sha, Learned, ahash::RandomState>,
    learned_functions: HashMap<Box<[u8]>, Learned, ahash::RandomState>,
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
#[derive(Clone, Copy)]
enum Code {
    Script(Sha),
    Function,
}

/// What is held for a script when it begins.
pub(super) enum Holds<'a> {
    /// The keys that it was given.
    Declared,
    /// Those and these, to which it is expected to keep.
    Foretold(&'a [Touched]),
    /// The keys of all shards.
    All(&'a mut Loans),
}

/// How a run of a script has ended.
pub(super) enum Ended {
    /// The reply is there.
    Done,
    /// It has had no effect: it needs these keys too, which are not at hand.
    Needs(Vec<Touched>),
    /// The same: it needs all there is.
    NeedsAll,
}

/// Which way a request goes.
pub(super) enum Way {
    Declared,
    /// It is expected to touch these keys beside its own.
    Foretold(Vec<Touched>),
    All,
}

/// What a script may touch.
enum Reach<'a> {
    /// Everything that is here.
    Here,
    /// These keys of several shards, and nothing else.
    Declared(Args<'a>),
    /// These keys, and others that are found to be at hand.
    Foretold(Box<Trying<'a>>),
    /// The keys of all shards.
    All(&'a mut Loans, Seen),
}

/// What a script that has everything at hand has made use of.
#[derive(Default)]
struct Seen {
    touched: Vec<Touched>,
    /// More than some keys.
    all: bool,
}

/// Keys and channels of a script that touches some beyond its own; with more it is one that touches all.
const TOUCHED_MAX: usize = 64;

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
        self.run_script(io, (id, now), &args, caller, Holds::Declared, out);
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
        self.run_script(io, (id, self.now), args, caller, Holds::Declared, &mut reply);
        self.reply_to_command(conn, |out| out.raw(&reply));
        self.log_noted(Some(conn), None);
        if !self.rights.is_settled() {
            self.log_denied_in_scripts(io, Some((conn.token, conn)));
        }
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

    /// Which way a request goes that is not in a block.
    pub(super) fn way(&mut self, command: &Command, args: &Args) -> Way {
        let Run::Script(call) = command.run else {
            return if command.uses_unnamed(args) { Way::All } else { Way::Declared };
        };
        let Ok((code, met)) = self.prepare(call, args) else { return Way::Declared };
        if met.declares_all {
            return Way::Declared;
        }
        let function = matches!(code, Code::Function);
        let Ok((keys, argv)) = split_script_args(args, function) else { return Way::Declared };
        let Some(learned) = self.scripts.learned(code, args) else { return Way::All };
        let keys: SmallVec<[&[u8]; 8]> = keys.iter().collect();
        let argv: SmallVec<[&[u8]; 8]> = argv.iter().collect();
        learned.foretell(&keys, &argv).map_or(Way::All, Way::Foretold)
    }

    /// A script could not be run with the keys that it was expected to touch.
    pub(super) fn note_failure(&mut self, id: CommandId, args: &Args) {
        if let Run::Script(call) = self.shared.env.registry.command(id).run
            && let Ok((code, _)) = self.prepare(call, args)
        {
            self.scripts.learn(code, args).failed();
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

    /// Whether a script is refused as a whole while there is no room: those that say nothing of
    /// themselves are stopped when they write.
    pub(super) fn script_denies_oom(&mut self, call: ScriptCall, args: &Args) -> bool {
        let function = call.named_by == ScriptName::Function;
        self.prepare(call, args).is_ok_and(|(_, met)| denies_oom(met.flags, function))
    }

    /// Whether a script or a function may write; one that does not say otherwise may.
    pub(super) fn script_may_write(&mut self, call: ScriptCall, args: &Args) -> bool {
        !self.prepare(call, args).is_ok_and(|(_, met)| met.flags.no_writes)
    }

    /// Forgets what was compiled if the server has forgotten its scripts, and takes its new libraries.
    fn look_at_epoch(&mut self) {
        let store = &self.shared.env.scripts;
        if store.libraries_version() != self.scripts.libraries.version() {
            self.scripts.libraries = store.libraries();
            self.scripts.learned_functions.clear();
        }
        let epoch = store.epoch();
        if self.scripts.epoch != epoch || self.scripts.met.len() >= COMPILED_MAX {
            self.scripts.epoch = epoch;
            self.scripts.met.clear();
            self.scripts.learned.clear();
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
        holds: Holds,
        out: &mut Vec<u8>,
    ) -> Ended {
        let start = out.len();
        self.shard.timing.restart(&self.shard.stats.per_command);
        let began = clock::monotonic();
        let mut ended = Ended::Done;
        let done = self.try_script(io, (id, now), args, caller, (holds, &mut ended), out);
        let spent = began.elapsed();
        self.shard.timing.restart(&self.shard.stats.per_command);
        if !matches!(ended, Ended::Done) {
            out.truncate(start);
            return ended;
        }
        let stats = &self.shard.stats;
        let counters = &stats.per_command[id.0 as usize];
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
        self.count_whole(id, args, caller.client, spent, out.len().saturating_sub(start));
        ended
    }

    /// What a request runs, with which KEYS and ARGV; `declared`: with no other keys.
    fn look_up<'a>(
        &mut self,
        call: ScriptCall,
        args: &Args<'a>,
        declared: bool,
    ) -> Result<(Code, Met, [Args<'a>; 2]), CmdError> {
        let function = call.named_by == ScriptName::Function;
        if call.named_by == ScriptName::Sha && Sha::parse(args.at(1)).is_none() {
            return Err(NO_SCRIPT);
        }
        if function {
            self.prepare(call, args)?;
        }
        let (keys, argv) = split_script_args(args, function)?;
        let (code, met) = self.prepare(call, args)?;
        if call.read_only && (met.flags.has_shebang || function) && !met.flags.no_writes {
            return Err(MAY_WRITE);
        }
        // It has become known on its way here, which must have been that of one that is not: it would
        // have needed more keys.
        if declared && !met.declares_all {
            return Err(if function { NO_FUNCTION } else { NO_SCRIPT });
        }
        Ok((code, met, [keys, argv]))
    }

    fn try_script(
        &mut self,
        io: &mut dyn Io,
        (id, now): (CommandId, i64),
        args: &Args,
        caller: Caller,
        (holds, ended): (Holds, &mut Ended),
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Failure> {
        let command = self.shared.env.registry.command(id);
        let Run::Script(call) = command.run else { return Err(NO_SCRIPT.into()) };
        let function = call.named_by == ScriptName::Function;
        let declared = self.slots.shards() > 1 && matches!(holds, Holds::Declared);
        let (code, met, [keys, argv]) = self.look_up(call, args, declared)?;
        let out_of_memory = self.is_out_of_memory() && !met.flags.allow_oom;
        if out_of_memory && denies_oom(met.flags, function) {
            return Err(NEEDS_ROOM.into());
        }
        // Only commands that are no scripts run inside of one, so it is free.
        let own = self.scripts.interpreter.take();
        let mut interpreter = own.map_or_else(new_interpreter, Ok)?;
        let libraries = self.scripts.libraries.clone();
        let reach = self.reach(holds, keys);
        let mark = interpreter.mark();
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
            out_of_memory,
            request: *args,
            function: function.then(|| args.at(1)),
            began: None,
            session: None,
            denied: Vec::new(),
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
        let Running { worker, reach, denied, .. } = host;
        let unit = worker.end_unit();
        if worker.close(reach, (code, args), (&keys, &argv), (ended, now)) {
            worker.record_unit(unit);
            worker.note_denied_in_script(caller.client, denied);
        } else {
            interpreter.rewind(mark);
        }
        self.shard.stats.lua_memory.set(interpreter.memory() as u64);
        self.scripts.interpreter = Some(interpreter);
        self.end_busy();
        done
    }

    /// What a script with these KEYS may touch.
    fn reach<'a>(&mut self, holds: Holds<'a>, keys: Args<'a>) -> Reach<'a> {
        match holds {
            Holds::All(loans) => Reach::All(loans, Seen::default()),
            Holds::Foretold(told) => Reach::Foretold(Box::new(self.trying(keys, told))),
            Holds::Declared if self.slots.shards() > 1 => Reach::Declared(keys),
            Holds::Declared => Reach::Here,
        }
    }

    /// Learns from a run, or undoes it; whether it counts.
    fn close(
        &mut self,
        reach: Reach,
        (code, args): (Code, &Args),
        words: (&[&[u8]], &[&[u8]]),
        (ended, now): (&mut Ended, i64),
    ) -> bool {
        match reach {
            Reach::Here | Reach::Declared(_) => true,
            Reach::All(_, seen) => {
                self.shard.stats.scripts_whole.add(1);
                if self.slots.shards() > 1 {
                    let learned = self.scripts.learn(code, args);
                    learned.saw(words, &seen.touched, (true, seen.all));
                }
                true
            }
            Reach::Foretold(trying) => {
                let (touched, came_to) = self.end_trying(*trying, now);
                *ended = came_to;
                let learned = self.scripts.learn(code, args);
                match ended {
                    Ended::Done => learned.saw(words, &touched, (false, false)),
                    Ended::Needs(_) => {}
                    Ended::NeedsAll => learned.failed(),
                }
                matches!(ended, Ended::Done)
            }
        }
    }
}

impl Scripts {
    /// What is known of the script or function that a request names.
    fn learned(&self, code: Code, args: &Args) -> Option<&Learned> {
        match code {
            Code::Script(sha) => self.learned.get(&sha),
            Code::Function => self.learned_functions.get(&args.at(1).to_ascii_lowercase()[..]),
        }
    }

    /// As [`Scripts::learned`], to be added to.
    fn learn(&mut self, code: Code, args: &Args) -> &mut Learned {
        match code {
            Code::Script(sha) => self.learned.entry(sha).or_default(),
            Code::Function => {
                let name = args.at(1).to_ascii_lowercase();
                self.learned_functions.entry(name.into()).or_default()
            }
        }
    }
}

fn denies_oom(flags: ScriptFlags, function: bool) -> bool {
    (flags.has_shebang || function) && !flags.allow_oom && !flags.no_writes
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
    /// There was no room when it began: it must not begin to write what takes more.
    out_of_memory: bool,
    request: Args<'a>,
    /// The function's name, if it is one.
    function: Option<&'a [u8]>,
    /// When it was asked first whether it runs for long.
    began: Option<Instant>,
    /// The script as a client, once it has used a command on clients.
    session: Option<Box<Session>>,
    /// What its user was denied, to be logged if the run counts.
    denied: Vec<Entry>,
}

impl Seen {
    /// A command is about to run.
    fn note(
        &mut self,
        (request, function): (&Args, Option<&[u8]>),
        command: &Command,
        args: &Args,
    ) {
        self.all |= needs_all(command, args);
        if self.all {
            return;
        }
        let sort = sort(command);
        let Ok((declared, _)) = split_script_args(request, function.is_some()) else { return };
        for &at in &command.key_indexes(args).unwrap_or_default() {
            let name = args.at(at as usize);
            let known = sort == Sort::Key && declared.iter().any(|own| own == name);
            if !known && !self.touched.iter().any(|own| own.is(sort, name)) {
                self.touched.push(Touched { sort, name: name.into() });
            }
        }
        self.all |= self.touched.len() > TOUCHED_MAX;
    }
}

/// What a command names where others name keys.
pub(super) fn sort(command: &Command) -> Sort {
    match (command.flags.has(PUBSUB), command.keys.is_empty()) {
        (false, _) => Sort::Key,
        (true, true) => Sort::Channel,
        (true, false) => Sort::ShardChannel,
    }
}

/// Whether a command needs more than the keys that it names.
pub(super) fn needs_all(command: &Command, args: &Args) -> bool {
    matches!(command.spread, Spread::EveryShard { .. } | Spread::Cursor)
        || command.uses_unnamed(args)
        || command.flags.has(APART)
        || (matches!(command.run, Run::Session(_)) && command.flags.has(NOSCRIPT))
}

impl Running<'_> {
    fn try_call(
        &mut self,
        args: &Args,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Result<Tick, CmdError> {
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
        let refusal = self.refusal((id, command), args);
        match &mut self.reach {
            Reach::Foretold(trying) => {
                let is_admitted = trying.admits(self.worker, (id, command), args);
                if !is_admitted {
                    return Ok(Tick::Kill);
                }
            }
            Reach::All(_, seen) => seen.note((&self.request, self.function), command, args),
            _ => {}
        }
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
            (_, Reach::All(loans, _)) => {
                self.worker.run_on_all(self.io, (id, self.now), args, caller, loans, out);
            }
            (Run::Shard(_), _) => {
                let wait = self.worker.run_command(self.io, id, *args, caller, self.now, out);
                debug_assert!(wait.is_none(), "a script never waits");
            }
            (Run::Script(_) | Run::Container, _) => {}
        }
        Ok(Tick::GoOn)
    }

    /// Why a script must not use a command.
    fn refusal(&mut self, (id, command): (CommandId, &Command), args: &Args) -> Option<CmdError> {
        let writes = command.flags.has(WRITE) || command.flags.has(MAY_REPLICATE);
        let all = &self.worker.shared.env.all_in_scripts;
        if command.flags.has(NOSCRIPT) && !all.load(Ordering::Relaxed) {
            Some(CmdError::fixed("ERR This Redis command is not allowed from script"))
        } else if let Some(rights) = self.caller.rights
            && let Some(error) = self.denial(rights, (id, command), args)
        {
            Some(error)
        } else if self.read_only && writes {
            Some(CmdError::fixed("ERR Write commands are not allowed from read-only scripts."))
        } else if self.out_of_memory && !self.wrote && command.flags.has(DENYOOM) {
            Some(OUT_OF_MEMORY)
        } else if !self.wrote && command.flags.has(WRITE) {
            // What has begun to write goes on.
            self.worker.unwritable()
        } else {
            None
        }
    }

    /// Why the user who runs the script may not use a command; it is logged. Whether the command may read
    /// other keys is found out, too.
    #[cold]
    fn denial(
        &mut self,
        rights: UserId,
        (id, command): (CommandId, &Command),
        args: &Args,
    ) -> Option<CmdError> {
        let Some(user) = self.worker.user_of(rights) else {
            return Some(CmdError::fixed("ERR ACL failure in script: the user was removed"));
        };
        let registry = &self.worker.shared.env.registry;
        match registry.permit(&user, id, args) {
            Ok(()) => {
                self.caller.reads_all_keys =
                    command.unnamed_keys.is_some() && registry.permits_all_reads(&user, id, args);
                None
            }
            Err(denied) => {
                let command = registry.command(registry.ruled_by(id));
                let kind = (denied.reason, Context::Script);
                let object = denied.object(command, args);
                let entry = Entry::new(kind, object, &user.name, String::new(), self.now);
                self.denied.push(entry);
                let text = denied.text(&user.name, command);
                Some(CmdError::err_of(&[b"ACL failure in script: ", &text]))
            }
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
    ) -> Result<Tick, CmdError> {
        let shared = self.worker.shared.clone();
        let session = self.session.get_or_insert_with(|| {
            let users = &self.worker.users;
            let peer = Peer::Unix { path: String::new() };
            let mut session = Box::new(Session::new(0, peer, users, self.now));
            let user = self.caller.rights.and_then(|id| self.worker.user_of(id));
            session.log_in(user.unwrap_or_else(|| users.default_user().clone()), users);
            session
        });
        session.db = usize::from(self.caller.db);
        session.protocol = protocol;
        let (began, before) = (clock::monotonic(), out.len());
        let mut cx = SessionCx {
            session,
            out: Encoder::new(out, protocol),
            env: &shared.env,
            slots: &self.worker.slots,
            shard: self.worker.index,
            now: self.now,
            frozen: Some(Duration::from_millis(self.now.max(0) as u64)),
            name: shared.env.registry.command(id).name,
            refused_as: None,
        };
        let done = execute_session(&mut cx, (id, handler), args);
        let (spent, reply) = (began.elapsed(), out.len() - before);
        self.worker.count_whole(id, &args, self.caller.client, spent, reply);
        match done {
            Control::Done | Control::Slept => {
                let moved = usize::from(self.caller.db) != session.db;
                self.caller.db = session.db as u8;
                match &mut self.reach {
                    // What is held is at hand in one database.
                    Reach::Foretold(trying) if moved => {
                        trying.needs_all();
                        return Ok(Tick::Kill);
                    }
                    Reach::All(_, seen) => seen.all |= moved,
                    _ => {}
                }
                Ok(Tick::GoOn)
            }
            _ => Err(CmdError::fixed("ERR This Redis command is not allowed from script")),
        }
    }
}

impl Host for Running<'_> {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Tick {
        let start = out.len();
        let (bytes, spans) = flat(args.iter().copied());
        self.try_call(&Args::new(&bytes, &spans), protocol, out).unwrap_or_else(|error| {
            self.worker.shard.stats.count_error(&error);
            out.truncate(start);
            Encoder::new(out, protocol).error(&error);
            Tick::GoOn
        })
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
        let holds_all = matches!(self.reach, Reach::All(..));
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
        let args = Args::new(&bytes, &spans);
        let registry = &self.worker.shared.env.registry;
        let id = match registry.find(&args) {
            Ok(id) | Err(Unknown::Words(id)) => id,
            Err(_) => return None,
        };
        let Some(rights) = self.caller.rights else { return Some(true) };
        let user = self.worker.user_of(rights);
        Some(user.is_some_and(|user| registry.permit(&user, id, &args).is_ok()))
    }

    /// There is no journal and no replica: nothing that could be left out.
    fn set_repl(&mut self, _flags: u8) {}
}

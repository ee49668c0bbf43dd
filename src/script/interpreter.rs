//! Scripts and functions: compiled, run, forgotten.

use super::flags::{self, ScriptFlags};
use super::host::Host;
use super::libraries::{FunctionInfo, Libraries, Library, Metadata, Registration};
use super::libs::JsonConfig;
use super::lua::{self, Kind, Lua, Machine, Ref};
use super::random::Random;
use super::reply::{self, until_nul};
use super::sandbox::{self, Sandbox};
use super::sha::Sha;
use crate::clock;
use crate::error::{CmdError, Fatal};
use crate::resp::{Encoder, Protocol};
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

/// A library must have registered its functions by then.
const LOAD_MAX: Duration = Duration::from_millis(500);
/// After so many runs the collector does as many kilobytes of its work.
const COLLECT_RUNS: u32 = 50;
/// Of a text that is no error of a script, bytes.
const RAW_TEXT_MAX: usize = 100;

/// What a script that has come to its end has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Reply,
    /// An error reply that the script gave back. It has been counted already if it is that of a command.
    ErrorReply {
        counted: bool,
    },
}

/// How a script has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub error: CmdError,
    /// It is the error of a command, which has been counted already.
    pub counted: bool,
}

impl From<CmdError> for Failure {
    fn from(error: CmdError) -> Failure {
        Failure { error, counted: false }
    }
}

/// What one run leaves to the next.
#[derive(Clone, Copy)]
pub struct Mark {
    random: Random,
    json: JsonConfig,
}

struct Script {
    code: Ref,
    flags: ScriptFlags,
}

/// A library whose code has run.
struct Loaded {
    library: Arc<Library>,
    /// In the order of the library's functions.
    callbacks: Vec<Ref>,
}

/// What a call runs.
enum Code {
    Script(Ref),
    Function(Ref),
}

/// An interpreter. It stays on its thread.
pub struct Interpreter {
    machine: Machine,
    sandbox: Sandbox,
    scripts: HashMap<Sha, Script, ahash::RandomState>,
    loaded: Vec<Loaded>,
    /// Libraries that have been loaded for a version to come.
    fresh: Vec<Loaded>,
    /// By their names in lower case.
    functions: HashMap<Vec<u8>, (Ref, Vec<u8>), ahash::RandomState>,
    /// Of the libraries that are loaded.
    version: u64,
    runs: u32,
}

impl Interpreter {
    pub fn new() -> Result<Interpreter, Fatal> {
        let machine = Machine::new();
        let machine = machine.ok_or_else(|| Fatal::system("start Lua", "out of memory"))?;
        let sandbox = sandbox::build(machine.lua());
        Ok(Interpreter {
            machine,
            sandbox,
            scripts: HashMap::default(),
            loaded: Vec::new(),
            fresh: Vec::new(),
            functions: HashMap::default(),
            version: 0,
            runs: 0,
        })
    }

    /// Compiles a script, unless that is done already.
    pub fn load(&mut self, sha: &Sha, body: &[u8]) -> Result<ScriptFlags, CmdError> {
        if let Some(script) = self.scripts.get(sha) {
            return Ok(script.flags);
        }
        let (flags, code) = flags::of_script(body)?;
        let code = self.compile(code, c"@user_script", "compiling script (new function)")?;
        self.scripts.insert(*sha, Script { code, flags });
        Ok(flags)
    }

    fn compile(&mut self, code: &[u8], name: &CStr, doing: &str) -> Result<Ref, CmdError> {
        let lua = self.machine.lua();
        if lua.load(code, name).is_ok() {
            return Ok(lua.keep());
        }
        let text = until_nul(lua.text(-1).unwrap_or_default());
        let error = CmdError::err_of(&[b"Error ", doing.as_bytes(), b": ", text]);
        lua.pop(1);
        Err(error)
    }

    pub fn knows(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// The flags of a script that it knows.
    pub fn flags(&self, sha: &Sha) -> Option<ScriptFlags> {
        self.scripts.get(sha).map(|script| script.flags)
    }

    pub fn script_count(&self) -> usize {
        self.scripts.len()
    }

    pub fn forget(&mut self, sha: &Sha) {
        if let Some(script) = self.scripts.remove(sha) {
            self.machine.lua().forget(script.code);
        }
    }

    /// Forgets all scripts; libraries stay.
    pub fn forget_all(&mut self) {
        let lua = self.machine.lua();
        self.scripts.drain().for_each(|(_, script)| lua.forget(script.code));
        lua.collect();
    }

    /// What a run changes that the next one sees: to be put back by [`Interpreter::rewind`] after
    /// one that is to have had no effect.
    pub fn mark(&self) -> Mark {
        let state = self.machine.lua();
        let state = state.state();
        Mark { random: state.random.get(), json: state.json.get() }
    }

    pub fn rewind(&mut self, mark: Mark) {
        let state = self.machine.lua();
        let state = state.state();
        state.random.set(mark.random);
        state.json.set(mark.json);
    }

    /// Bytes that Lua uses.
    pub fn memory(&self) -> usize {
        self.machine.lua().memory()
    }

    /// Runs a script that it knows and writes its reply, in the protocol that `out` has.
    pub fn run(
        &mut self,
        sha: &Sha,
        keys: &[&[u8]],
        argv: &[&[u8]],
        host: &mut dyn Host,
        out: &mut Encoder,
    ) -> Result<Outcome, Failure> {
        let Some(script) = self.scripts.get(sha) else {
            let text = "NOSCRIPT No matching script. Please use EVAL.";
            return Err(CmdError::fixed(text).into());
        };
        let code = Code::Script(script.code);
        self.execute(code, [keys, argv], host, out).map_err(|failure| failure.of(&sha.hex()))
    }

    /// Runs a function of these libraries and writes its reply, in the protocol that `out` has.
    pub fn call(
        &mut self,
        libraries: &Libraries,
        function: &[u8],
        keys: &[&[u8]],
        argv: &[&[u8]],
        host: &mut dyn Host,
        out: &mut Encoder,
    ) -> Result<Outcome, Failure> {
        self.follow(libraries);
        let Some((code, name)) = self.functions.get(&function.to_ascii_lowercase()) else {
            return Err(CmdError::fixed("ERR Function not found").into());
        };
        let (code, name) = (Code::Function(*code), name.clone());
        self.execute(code, [keys, argv], host, out).map_err(|failure| failure.of(&name))
    }

    fn execute(
        &mut self,
        code: Code,
        arguments: [&[&[u8]]; 2],
        host: &mut dyn Host,
        out: &mut Encoder,
    ) -> Result<Outcome, Thrown> {
        let sandbox = &self.sandbox;
        self.machine.lua().state().protocol.set(Protocol::Resp2);
        let result = self.machine.with_host(host, |lua| {
            lua.push_kept(sandbox.handler);
            match code {
                Code::Script(code) => {
                    lua.push_kept(sandbox.script_content);
                    for (name, values) in [&b"KEYS"[..], b"ARGV"].iter().zip(arguments) {
                        push_array(lua, values);
                        lua.set_field(name);
                    }
                    lua.pop(1);
                    lua.push_kept(code);
                    lua.pcall(0, 1, 1)
                }
                Code::Function(code) => {
                    lua.push_kept(sandbox.function_globals);
                    lua.set_globals();
                    lua.push_kept(code);
                    arguments.iter().for_each(|values| push_array(lua, values));
                    let result = lua.pcall(2, 1, 1);
                    lua.push_kept(sandbox.script_globals);
                    lua.set_globals();
                    result
                }
            }
        });
        let lua = self.machine.lua();
        let result = match result {
            Ok(()) => {
                let outcome = outcome(lua);
                reply::write(lua, lua.state().protocol.get(), out);
                Ok(outcome)
            }
            Err(failure) => Err(Thrown::read(lua, failure)),
        };
        lua.set_top(0);
        self.collect();
        result
    }

    fn collect(&mut self) {
        self.runs += 1;
        if self.runs == COLLECT_RUNS {
            self.runs = 0;
            self.machine.lua().collect_step(COLLECT_RUNS as i32);
        }
    }

    /// Loads what it has not loaded of these libraries, and forgets others.
    fn follow(&mut self, libraries: &Libraries) {
        if self.version == libraries.version() {
            return;
        }
        self.version = libraries.version();
        let mut have = std::mem::take(&mut self.loaded);
        have.append(&mut self.fresh);
        for library in libraries.iter() {
            let at = have.iter().position(|loaded| Arc::ptr_eq(&loaded.library, library));
            let loaded = match at {
                Some(at) => Some(have.swap_remove(at)),
                // It has been loaded once, elsewhere.
                None => self.loaded_again(library),
            };
            self.loaded.extend(loaded);
        }
        have.drain(..).for_each(|loaded| self.unload(loaded));
        self.functions.clear();
        for Loaded { library, callbacks } in &self.loaded {
            for (function, callback) in library.functions.iter().zip(callbacks) {
                let entry = (*callback, function.name.clone());
                self.functions.insert(function.name.to_ascii_lowercase(), entry);
            }
        }
    }

    fn loaded_again(&mut self, library: &Arc<Library>) -> Option<Loaded> {
        let code = Metadata::of(&library.code).ok()?.code;
        let registration = self.register(code, None, None).ok()?;
        let callback = |function: &FunctionInfo| {
            let mut registered = registration.functions.iter();
            registered.find(|r| r.name == function.name).map(|r| r.callback)
        };
        let callbacks = library.functions.iter().map(callback).collect::<Option<Vec<Ref>>>()?;
        Some(Loaded { library: library.clone(), callbacks })
    }

    fn unload(&mut self, loaded: Loaded) {
        loaded.callbacks.into_iter().for_each(|callback| self.machine.lua().forget(callback));
    }

    /// Forgets what was loaded for libraries that there will not be.
    pub(super) fn discard_fresh(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        fresh.into_iter().for_each(|loaded| self.unload(loaded));
    }

    /// Runs the code of a library, for what it registers.
    pub(super) fn load_library(
        &mut self,
        name: &[u8],
        whole: &[u8],
        code: &[u8],
        limited: bool,
        host: &mut dyn Host,
    ) -> Result<Arc<Library>, CmdError> {
        let limit = limited.then_some(LOAD_MAX);
        let registration = self.register(code, limit, Some(host))?;
        let mut callbacks = Vec::new();
        let mut functions = Vec::new();
        for function in registration.functions {
            callbacks.push(function.callback);
            let super::libraries::Registered { name, description, flags, .. } = function;
            functions.push(FunctionInfo { name, description, flags });
        }
        let library = Library { name: name.to_vec(), code: whole.to_vec(), functions };
        let library = Arc::new(library);
        self.fresh.push(Loaded { library: library.clone(), callbacks });
        Ok(library)
    }

    fn register(
        &mut self,
        code: &[u8],
        limit: Option<Duration>,
        host: Option<&mut dyn Host>,
    ) -> Result<Registration, CmdError> {
        let lua = self.machine.lua();
        lua.push_kept(self.sandbox.function_globals);
        lua.set_globals();
        let code = self.compile(code, c"@user_function", "compiling function");
        let result = code.and_then(|code| {
            self.set_function_content(self.sandbox.library_content);
            let state = lua.state();
            state.deadline.set(limit.map(|limit| clock::monotonic() + limit));
            *state.registration.borrow_mut() = Some(Registration::default());
            lua.push_kept(code);
            let result = match host {
                Some(host) => self.machine.with_host(host, |lua| lua.pcall(0, 0, 0)),
                None => {
                    self.machine.set_hook();
                    lua.pcall(0, 0, 0)
                }
            };
            state.deadline.set(None);
            self.set_function_content(self.sandbox.function_content);
            lua.forget(code);
            let registration = state.registration.take().unwrap_or_default();
            let Err(failure) = result else { return Ok(registration) };
            registration.functions.iter().for_each(|function| lua.forget(function.callback));
            let thrown = Thrown::read(lua, failure);
            Err(CmdError::err_of(&[b"Error registering functions: ", &thrown.text]))
        });
        lua.push_kept(self.sandbox.script_globals);
        lua.set_globals();
        lua.set_top(0);
        result
    }

    fn set_function_content(&self, content: Ref) {
        let lua = self.machine.lua();
        lua.push_kept(self.sandbox.function_metatable);
        lua.push_kept(content);
        lua.set_field(b"__index");
        lua.pop(1);
    }
}

fn push_array(lua: Lua, values: &[&[u8]]) {
    lua.push_table(values.len(), 0);
    for (at, value) in values.iter().enumerate() {
        lua.push_bytes(value);
        lua.raw_set_index(-2, at + 1);
    }
}

/// What the value on top will be as a reply.
fn outcome(lua: Lua) -> Outcome {
    if lua.kind(-1) != Kind::Table {
        return Outcome::Reply;
    }
    lua.push_field(b"err");
    let is_error = lua.kind(-1) == Kind::String;
    lua.pop(1);
    if is_error { Outcome::ErrorReply { counted: is_counted(lua) } } else { Outcome::Reply }
}

/// Whether the error in the table on top has been counted.
fn is_counted(lua: Lua) -> bool {
    lua.push_field(b"ignore_error_stats_update");
    let counted = lua.kind(-1) == Kind::Boolean && lua.bool(-1);
    lua.pop(1);
    counted
}

/// An error of a script.
struct Thrown {
    text: Vec<u8>,
    place: Option<(Vec<u8>, Vec<u8>)>,
    counted: bool,
    raw: bool,
}

impl Thrown {
    /// Reads the error on top.
    fn read(lua: Lua, failure: lua::Failure) -> Thrown {
        let field = |name: &[u8]| {
            lua.push_field(name);
            let text = lua.text(-1).map(|text| until_nul(text).to_vec());
            lua.pop(1);
            text
        };
        let text = lua.text(-1).map(until_nul);
        match (lua.kind(-1), failure) {
            (Kind::Table, _) => Thrown {
                text: field(b"err").unwrap_or_else(|| b"ERR unknown error".to_vec()),
                place: field(b"source").zip(field(b"line")),
                counted: is_counted(lua),
                raw: false,
            },
            (_, lua::Failure::Error) => Thrown {
                text: [b"ERR ", text.unwrap_or(b"unknown error")].concat(),
                place: None,
                counted: false,
                raw: false,
            },
            (_, lua::Failure::Raw) => Thrown {
                text: text.unwrap_or(b"execution failure").to_vec(),
                place: None,
                counted: false,
                raw: true,
            },
        }
    }

    /// As Redis tells it of a script.
    fn of(self, script: &[u8]) -> Failure {
        if self.raw {
            let text = &self.text[..self.text.len().min(RAW_TEXT_MAX)];
            return CmdError::err_of(&[b"Error running script ", script, b", ", text]).into();
        }
        let mut text = self.text;
        if let Some((source, line)) = self.place {
            text = [&text[..], b" script: ", script, b", on ", &source, b":", &line, b"."].concat();
        }
        Failure { error: CmdError::of_bytes(text), counted: self.counted }
    }
}

#[cfg(test)]
mod tests;

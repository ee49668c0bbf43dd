//! Libraries of functions as data: what FUNCTION LOAD, DELETE, FLUSH, DUMP, RESTORE and LIST work on.
//!
//! All threads have the same libraries: whoever changes them makes a new [`Libraries`] and gives it to all,
//! and each interpreter loads what is new before it runs a function.
//!
//! A payload of DUMP is, for each library,
//!
//! ```text
//!   [ 245 ][ code, a string ] ... [ version, u16 LE ][ CRC64 of all before, u64 LE ]
//! ```

use super::flags::ScriptFlags;
use super::host::Host;
use super::interpreter::Interpreter;
use super::lua::Ref;
use crate::config::split_args;
use crate::data::glob;
use crate::error::CmdError;
use crate::rdb::dump::{seal, unseal};
use crate::rdb::input::Input;
use crate::rdb::output::Output;
use crate::rdb::{self};
use crate::resp::Encoder;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The only engine.
pub const ENGINE: &str = "LUA";
/// What comes before the code of a library in an RDB file and in a payload of DUMP.
pub const OPCODE: u8 = 245;
/// The same in a version that was never final.
const OPCODE_PRE_GA: u8 = 246;

pub(super) const NAME_RULE: &str = "Library names can only contain letters, numbers, or underscores(_) \
                                    and must be at least one character long";

/// Whether this may be the name of a library or a function.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What a library has registered while it was loaded.
#[derive(Default)]
pub struct Registration {
    pub functions: Vec<Registered>,
}

/// A function of a library, and its callback.
pub struct Registered {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
    pub callback: Ref,
}

/// A function, as FUNCTION LIST tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionInfo {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub name: Vec<u8>,
    /// With its first line.
    pub code: Vec<u8>,
    pub functions: Vec<FunctionInfo>,
}

/// What the first line of a library says.
#[derive(Debug)]
pub(super) struct Metadata<'a> {
    engine: Vec<u8>,
    name: Vec<u8>,
    /// What follows it.
    pub code: &'a [u8],
}

impl<'a> Metadata<'a> {
    pub fn of(code: &'a [u8]) -> Result<Metadata<'a>, CmdError> {
        const INVALID: CmdError = CmdError::fixed("ERR Invalid library metadata");
        if !code.starts_with(b"#!") {
            return Err(CmdError::fixed("ERR Missing library metadata"));
        }
        let end = code.iter().position(|&byte| byte == b'\n').ok_or(INVALID)?;
        let words = split_args(&code[..end]).ok_or(INVALID)?;
        let (engine, words) = words.split_first().ok_or(INVALID)?;
        let mut name = None;
        for word in words {
            let is_name = word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"name="));
            if !is_name {
                return Err(CmdError::err_of(&[b"Invalid metadata value given: ", word]));
            }
            if name.replace(word[5..].to_vec()).is_some() {
                let text = "ERR Invalid metadata value, name argument was given multiple times";
                return Err(CmdError::fixed(text));
            }
        }
        let name = name.ok_or(CmdError::fixed("ERR Library name was not given"))?;
        Ok(Metadata { engine: engine[2..].to_vec(), name, code: &code[end..] })
    }
}

/// What RESTORE does with libraries that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestorePolicy {
    Flush,
    #[default]
    Append,
    Replace,
}

/// A set of libraries.
#[derive(Clone, Default)]
pub struct Libraries {
    /// No two different sets have the same; 0 is that of the empty one at the start.
    version: u64,
    all: BTreeMap<Vec<u8>, Arc<Library>>,
    /// By name in lower case: the library, and which of its functions it is.
    functions: HashMap<Vec<u8>, (Arc<Library>, usize), ahash::RandomState>,
}

impl Libraries {
    pub fn version(&self) -> u64 {
        self.version
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.all.values()
    }

    pub fn library_count(&self) -> usize {
        self.all.len()
    }

    /// Bytes of their code.
    pub fn memory(&self) -> usize {
        self.iter().map(|library| library.code.len()).sum()
    }

    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// A function by its name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<&FunctionInfo> {
        let (library, at) = self.functions.get(&name.to_ascii_lowercase())?;
        library.functions.get(*at)
    }

    fn changed(&mut self) {
        static VERSIONS: AtomicU64 = AtomicU64::new(1);
        self.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
    }

    fn add(&mut self, library: Arc<Library>) {
        for (at, function) in library.functions.iter().enumerate() {
            self.functions.insert(function.name.to_ascii_lowercase(), (library.clone(), at));
        }
        self.all.insert(library.name.clone(), library);
        self.changed();
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Library>> {
        let library = self.all.remove(name)?;
        for function in &library.functions {
            self.functions.remove(&function.name.to_ascii_lowercase());
        }
        self.changed();
        Some(library)
    }

    /// A function that both have.
    fn clash<'l>(&self, library: &'l Library) -> Option<&'l [u8]> {
        let mut names = library.functions.iter().map(|function| &function.name[..]);
        names.find(|name| self.functions.contains_key(&name.to_ascii_lowercase()))
    }

    /// FUNCTION LOAD: runs the code with limits and adds the library. On failure nothing has changed.
    pub fn load(
        &mut self,
        code: &[u8],
        replace: bool,
        interpreter: &mut Interpreter,
        host: &mut dyn Host,
    ) -> Result<Arc<Library>, CmdError> {
        let mut new = self.clone();
        let loaded = new.load_into(code, replace, true, interpreter, host);
        match &loaded {
            Ok(_) => *self = new,
            Err(_) => interpreter.discard_fresh(),
        }
        loaded
    }

    /// May have changed on failure.
    fn load_into(
        &mut self,
        code: &[u8],
        replace: bool,
        limited: bool,
        interpreter: &mut Interpreter,
        host: &mut dyn Host,
    ) -> Result<Arc<Library>, CmdError> {
        let metadata = Metadata::of(code)?;
        let name = &metadata.name;
        if !is_name(name) {
            return Err(CmdError::err(NAME_RULE));
        }
        if !metadata.engine.eq_ignore_ascii_case(ENGINE.as_bytes()) {
            return Err(CmdError::err_of(&[b"Engine '", &metadata.engine, b"' not found"]));
        }
        if self.all.contains_key(name) && !replace {
            return Err(CmdError::err_of(&[b"Library '", name, b"' already exists"]));
        }
        self.remove(name);
        let library = interpreter.load_library(name, code, metadata.code, limited, host)?;
        if library.functions.is_empty() {
            return Err(CmdError::fixed("ERR No functions registered"));
        }
        if let Some(function) = self.clash(&library) {
            return Err(CmdError::err_of(&[b"Function ", function, b" already exists"]));
        }
        self.add(library.clone());
        Ok(library)
    }

    /// FUNCTION DELETE.
    pub fn delete(&mut self, name: &[u8]) -> Result<(), CmdError> {
        match self.remove(name) {
            Some(_) => Ok(()),
            None => Err(CmdError::fixed("ERR Library not found")),
        }
    }

    /// FUNCTION FLUSH.
    pub fn flush(&mut self) {
        self.all.clear();
        self.functions.clear();
        self.changed();
    }

    /// FUNCTION DUMP.
    pub fn dump(&self) -> Vec<u8> {
        let mut out = Output::default();
        for library in self.iter() {
            out.put_byte(OPCODE);
            out.put_string(&library.code);
        }
        seal(out.bytes, rdb::VERSION)
    }

    /// FUNCTION RESTORE. On failure nothing has changed.
    pub fn restore(
        &mut self,
        payload: &[u8],
        policy: RestorePolicy,
        interpreter: &mut Interpreter,
        host: &mut dyn Host,
    ) -> Result<(), CmdError> {
        let Some((_, content)) = unseal(payload) else {
            return Err(CmdError::fixed("ERR DUMP payload version or checksum are wrong"));
        };
        let mut restored = Libraries::default();
        let joined = restored
            .load_all(content, interpreter, host)
            .and_then(|()| self.joined(restored, policy));
        match joined {
            Ok(joined) => {
                *self = joined;
                Ok(())
            }
            Err(error) => {
                interpreter.discard_fresh();
                Err(error)
            }
        }
    }

    /// Loads the libraries in a payload.
    fn load_all(
        &mut self,
        content: &[u8],
        interpreter: &mut Interpreter,
        host: &mut dyn Host,
    ) -> Result<(), CmdError> {
        let mut input = Input::new(content, usize::MAX);
        let mut scratch = Vec::new();
        while let Ok(kind) = input.byte() {
            match kind {
                OPCODE => {}
                OPCODE_PRE_GA => {
                    return Err(CmdError::fixed("ERR Pre-GA function format not supported"));
                }
                _ => return Err(CmdError::fixed("ERR given type is not a function")),
            }
            let Ok(code) = input.string(&mut scratch) else {
                return Err(CmdError::fixed("ERR Failed loading library payload"));
            };
            self.load_into(code, false, false, interpreter, host)?;
        }
        Ok(())
    }

    /// These and others, as a policy says.
    fn joined(&self, others: Libraries, policy: RestorePolicy) -> Result<Libraries, CmdError> {
        if policy == RestorePolicy::Flush {
            let mut joined = others;
            joined.changed();
            return Ok(joined);
        }
        let mut joined = self.clone();
        for library in others.iter() {
            let there = joined.remove(&library.name).is_some();
            if there && policy == RestorePolicy::Append {
                return Err(CmdError::err_of(&[b"Library ", &library.name, b" already exists"]));
            }
        }
        for library in others.iter() {
            if let Some(function) = joined.clash(library) {
                return Err(CmdError::err_of(&[b"Function ", function, b" already exists"]));
            }
        }
        others.iter().for_each(|library| joined.add(library.clone()));
        joined.changed();
        Ok(joined)
    }

    /// The reply to FUNCTION LIST.
    pub fn list(&self, pattern: Option<&[u8]>, with_code: bool, out: &mut Encoder) {
        let is_listed = |library: &&Arc<Library>| {
            pattern.is_none_or(|pattern| glob::matches_ignore_case(pattern, &library.name))
        };
        out.array(self.iter().filter(is_listed).count());
        for library in self.iter().filter(is_listed) {
            out.map(if with_code { 4 } else { 3 });
            out.bulk(b"library_name");
            out.bulk(&library.name);
            out.bulk(b"engine");
            out.bulk(ENGINE.as_bytes());
            out.bulk(b"functions");
            out.array(library.functions.len());
            library.functions.iter().for_each(|function| function.list(out));
            if with_code {
                out.bulk(b"library_code");
                out.bulk(&library.code);
            }
        }
    }

    /// The part of the reply to FUNCTION STATS that follows `engines`.
    pub fn stats(&self, out: &mut Encoder) {
        out.map(1);
        out.bulk(ENGINE.as_bytes());
        out.map(2);
        out.bulk(b"libraries_count");
        out.int(self.library_count() as i64);
        out.bulk(b"functions_count");
        out.int(self.function_count() as i64);
    }
}

impl FunctionInfo {
    fn list(&self, out: &mut Encoder) {
        out.map(3);
        out.bulk(b"name");
        out.bulk(&self.name);
        out.bulk(b"description");
        match &self.description {
            Some(description) => out.bulk(description),
            None => out.null(),
        }
        out.bulk(b"flags");
        out.set(self.flags.names().count());
        self.flags.names().for_each(|name| out.simple(name));
    }
}

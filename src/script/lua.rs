//! The seam to Lua's C library: the only `unsafe` of this room.
//!
//! Lua is PUC Lua 5.1, the one that Redis has, driven through its C interface rather than through a safe
//! wrapper. A wrapper turns errors into objects of its own, where scripts look into Redis' tables
//! (`err`, `source`, `line`), and it pays for every value that crosses: the script that releases a
//! lock takes 1.0 µs with `mlua`'s functions, and more with its scopes; ours takes half of that (`tests::cost` beside the interpreter).
//!
//! # Invariants
//!
//! - A [`Lua`] is made by [`Machine`] and by what Lua calls back, and lives no longer than these.
//! - Lua raises errors by jumping to the innermost `pcall`. Functions of ours are called through
//!   [`trampoline`]: they return `Err`, everything of theirs is dropped, and only then it jumps. So they
//!   use only calls that raise nothing but "not enough memory": raw access, never metamethods.
//!   "Not enough memory" comes only when the system refuses memory; it may leak what a
//!   function of ours held.
//! - Indices are those of values that the function was given or has pushed. A function has room for 20
//!   values beyond its arguments, and asks [`Lua::room`] for more.
//! - Bytes of a string are valid for as long as the string is on the stack. Arguments stay there until the
//!   function returns.
//! - The host is reachable only while [`Machine::with_host`] runs, which borrows it and the machine.
//! - No bytecode: [`Lua::load`] refuses it.

// Every block here stands on the invariants above; only what needs more says so.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::host::{Host, Tick};
use super::state::State;
use mlua_sys as ffi;
use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::ptr::{self, NonNull};

/// A function of ours that scripts can call: takes its arguments from the stack, pushes results and
/// says how many they are.
pub type Function = fn(Lua) -> Result<c_int, Raise>;
/// What looks at the arguments before one of Lua's own functions gets them.
pub type Check = fn(Lua) -> Result<(), Raise>;

/// How a function fails.
#[derive(Debug, Clone, Copy)]
pub enum Raise {
    /// With the value on top of the stack.
    Value,
    /// An argument is not as it must be.
    Argument(c_int, &'static CStr),
    /// The same; the text is on top of the stack.
    ArgumentText(c_int),
    /// An argument is not of this type.
    Type(c_int, &'static CStr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No value at this index.
    Nothing,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

/// How a protected call failed. The error value is on top of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Error,
    /// Out of memory, or an error in the handler of errors: the value is a string.
    Raw,
}

/// A value kept in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ref(c_int);

/// Where an error came from.
pub struct Origin {
    pub source: Vec<u8>,
    pub line: c_int,
}

/// Lua's own functions that make its libraries.
#[derive(Clone, Copy)]
pub enum Library {
    Base,
    Table,
    String,
    Math,
    Os,
}

const TICK_INSTRUCTIONS: c_int = 100_000;
/// Bytecode begins with it.
const ESCAPE: u8 = 0x1b;

/// One thread of Lua's. It counts its indices from 1, or from the top with -1.
#[derive(Clone, Copy)]
pub struct Lua(NonNull<ffi::lua_State>);

impl Lua {
    fn raw(self) -> *mut ffi::lua_State {
        self.0.as_ptr()
    }

    /// What all functions of the interpreter share.
    pub fn state(&self) -> &State {
        let mut shared = ptr::null_mut();
        // SAFETY: the allocator's word is the State that the Machine owns and that outlives Lua.
        unsafe {
            ffi::lua_getallocf(self.raw(), &mut shared);
            &*shared.cast::<State>()
        }
    }

    /// How many values are on the stack.
    pub fn top(self) -> c_int {
        unsafe { ffi::lua_gettop(self.raw()) }
    }

    pub fn set_top(self, top: c_int) {
        unsafe { ffi::lua_settop(self.raw(), top) }
    }

    pub fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    /// Makes sure that so many values can be pushed.
    #[must_use]
    pub fn room(self, count: c_int) -> bool {
        unsafe { ffi::lua_checkstack(self.raw(), count) != 0 }
    }

    pub fn copy(self, index: c_int) {
        unsafe { ffi::lua_pushvalue(self.raw(), index) }
    }

    pub fn insert(self, index: c_int) {
        unsafe { ffi::lua_insert(self.raw(), index) }
    }

    pub fn remove(self, index: c_int) {
        unsafe { ffi::lua_remove(self.raw(), index) }
    }

    pub fn replace(self, index: c_int) {
        unsafe { ffi::lua_replace(self.raw(), index) }
    }

    pub fn kind(self, index: c_int) -> Kind {
        match unsafe { ffi::lua_type(self.raw(), index) } {
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Kind::LightUserdata,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            ffi::LUA_TUSERDATA => Kind::Userdata,
            ffi::LUA_TTHREAD => Kind::Thread,
            _ => Kind::Nothing,
        }
    }

    /// The name of the type of a value, as `type` gives it.
    pub fn type_name(self, index: c_int) -> &'static str {
        let name = unsafe {
            CStr::from_ptr(ffi::lua_typename(self.raw(), ffi::lua_type(self.raw(), index)))
        };
        name.to_str().unwrap_or("no value")
    }

    pub fn push_nil(self) {
        unsafe { ffi::lua_pushnil(self.raw()) }
    }

    pub fn push_bool(self, value: bool) {
        unsafe { ffi::lua_pushboolean(self.raw(), c_int::from(value)) }
    }

    pub fn push_number(self, number: f64) {
        unsafe { ffi::lua_pushnumber(self.raw(), number) }
    }

    pub fn push_bytes(self, bytes: &[u8]) {
        // SAFETY: Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.raw(), bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Pushes a value that is nothing else, for `null` in tables.
    pub fn push_null(self) {
        unsafe { ffi::lua_pushlightuserdata(self.raw(), ptr::null_mut()) }
    }

    pub fn is_null(self, index: c_int) -> bool {
        self.kind(index) == Kind::LightUserdata
            && unsafe { ffi::lua_touserdata(self.raw(), index).is_null() }
    }

    pub fn push_function(self, function: Function) {
        // SAFETY: the trampoline reads the first upvalue as what is put there.
        unsafe {
            ffi::lua_pushlightuserdata(self.raw(), function as *mut c_void);
            ffi::lua_pushcclosure(self.raw(), trampoline, 1);
        }
    }

    /// Puts in place of the function on top, one of Lua's own without upvalues, one that checks first.
    pub fn put_check(self, check: Check) {
        // SAFETY: `guarded` reads its upvalues as what is put there.
        unsafe {
            let Some(original) = ffi::lua_tocfunction(self.raw(), -1) else { return };
            ffi::lua_settop(self.raw(), -2);
            ffi::lua_pushlightuserdata(self.raw(), check as *mut c_void);
            ffi::lua_pushlightuserdata(self.raw(), original as *mut c_void);
            ffi::lua_pushcclosure(self.raw(), guarded, 2);
        }
    }

    pub fn push_table(self, array: usize, fields: usize) {
        let size = |n: usize| c_int::try_from(n).unwrap_or(c_int::MAX);
        unsafe { ffi::lua_createtable(self.raw(), size(array), size(fields)) }
    }

    /// The table of globals that code loaded from now on gets.
    pub fn push_globals(self) {
        unsafe { ffi::lua_pushvalue(self.raw(), ffi::LUA_GLOBALSINDEX) }
    }

    /// Makes the table on top the one of globals, and takes it.
    pub fn set_globals(self) {
        unsafe { ffi::lua_replace(self.raw(), ffi::LUA_GLOBALSINDEX) }
    }

    pub fn bool(self, index: c_int) -> bool {
        unsafe { ffi::lua_toboolean(self.raw(), index) != 0 }
    }

    /// The bytes of a string.
    pub fn bytes<'a>(self, index: c_int) -> Option<&'a [u8]> {
        (self.kind(index) == Kind::String).then(|| self.string(index))
    }

    /// The bytes of a string, or of a number, which becomes its text.
    pub fn text<'a>(self, index: c_int) -> Option<&'a [u8]> {
        matches!(self.kind(index), Kind::String | Kind::Number).then(|| self.string(index))
    }

    fn string<'a>(self, index: c_int) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the value is a string or a number, so there are bytes; they live as the module says.
        unsafe {
            let bytes = ffi::lua_tolstring(self.raw(), index, &mut len);
            std::slice::from_raw_parts(bytes.cast(), len)
        }
    }

    /// The number that a value is or, as a string, reads as; 0 for others.
    pub fn number(self, index: c_int) -> f64 {
        unsafe { ffi::lua_tonumber(self.raw(), index) }
    }

    pub fn is_number(self, index: c_int) -> bool {
        unsafe { ffi::lua_isnumber(self.raw(), index) != 0 }
    }

    /// The argument at `index`, which must be a number or read as one.
    pub fn check_number(self, index: c_int) -> Result<f64, Raise> {
        let number = self.number(index);
        if number == 0.0 && !self.is_number(index) {
            return Err(Raise::Type(index, c"number"));
        }
        Ok(number)
    }

    /// The argument at `index`, which must be a number, without its fraction.
    pub fn check_int(self, index: c_int) -> Result<i64, Raise> {
        self.check_number(index).map(truncate)
    }

    /// The argument at `index`, as [`Lua::check_int`], or another number when it is not there.
    pub fn optional_int(self, index: c_int, other: i64) -> Result<i64, Raise> {
        match self.kind(index) {
            Kind::Nothing | Kind::Nil => Ok(other),
            _ => self.check_int(index),
        }
    }

    /// The argument at `index`, which must be a string or a number.
    pub fn check_text<'a>(self, index: c_int) -> Result<&'a [u8], Raise> {
        self.text(index).ok_or(Raise::Type(index, c"string"))
    }

    pub fn check_table(self, index: c_int) -> Result<(), Raise> {
        match self.kind(index) {
            Kind::Table => Ok(()),
            _ => Err(Raise::Type(index, c"table")),
        }
    }

    pub fn pointer(self, index: c_int) -> usize {
        unsafe { ffi::lua_topointer(self.raw(), index) as usize }
    }

    /// The length of a string or table.
    pub fn len(self, index: c_int) -> usize {
        unsafe { ffi::lua_objlen(self.raw(), index) }
    }

    /// Puts what the table at `index` has for the key on top in the key's place.
    pub fn raw_get(self, index: c_int) {
        unsafe { ffi::lua_rawget_(self.raw(), index) }
    }

    pub fn raw_get_index(self, index: c_int, at: usize) {
        let at = c_int::try_from(at).unwrap_or(c_int::MAX);
        unsafe { ffi::lua_rawgeti_(self.raw(), index, at) }
    }

    /// Sets what the table at `index` has for a key to a value; they are on top, and taken. The key
    /// is neither nil nor NaN.
    pub fn raw_set(self, index: c_int) {
        unsafe { ffi::lua_rawset(self.raw(), index) }
    }

    pub fn raw_set_index(self, index: c_int, at: usize) {
        let at = c_int::try_from(at).unwrap_or(c_int::MAX);
        unsafe { ffi::lua_rawseti_(self.raw(), index, at) }
    }

    /// Pushes what the table on top has for a name.
    pub fn push_field(self, name: &[u8]) {
        self.push_bytes(name);
        self.raw_get(-2);
    }

    /// Gives the table below the top the value on top for a name, and takes the value.
    pub fn set_field(self, name: &[u8]) {
        self.push_bytes(name);
        self.insert(-2);
        self.raw_set(-3);
    }

    /// Gives the table on top a function for a name.
    pub fn set_function(self, name: &str, function: Function) {
        self.push_function(function);
        self.set_field(name.as_bytes());
    }

    /// Puts the key after the one on top, and its value, in the place of that. Takes the key when it
    /// was the last.
    pub fn next(self, index: c_int) -> bool {
        unsafe { ffi::lua_next(self.raw(), index) != 0 }
    }

    pub fn push_metatable(self, index: c_int) -> bool {
        unsafe { ffi::lua_getmetatable(self.raw(), index) != 0 }
    }

    /// Gives the value at `index` the metatable on top, and takes that.
    pub fn set_metatable(self, index: c_int) {
        unsafe { ffi::lua_setmetatable(self.raw(), index) };
    }

    /// Keeps the value on top, and takes it.
    pub fn keep(self) -> Ref {
        Ref(unsafe { ffi::luaL_ref(self.raw(), ffi::LUA_REGISTRYINDEX) })
    }

    pub fn forget(self, kept: Ref) {
        unsafe { ffi::luaL_unref(self.raw(), ffi::LUA_REGISTRYINDEX, kept.0) }
    }

    pub fn push_kept(self, kept: Ref) {
        unsafe { ffi::lua_rawgeti_(self.raw(), ffi::LUA_REGISTRYINDEX, kept.0) }
    }

    /// Compiles code into a function, or says why not; either is on top.
    pub fn load(self, code: &[u8], name: &CStr) -> Result<(), ()> {
        if code.first() == Some(&ESCAPE) {
            let shown = name.to_string_lossy();
            let shown = shown.strip_prefix(['@', '=']).unwrap_or(&shown);
            self.push_bytes(format!("{shown}:1: unexpected symbol near 'char(27)'").as_bytes());
            return Err(());
        }
        // SAFETY: Lua reads the code before it returns.
        let status = unsafe {
            ffi::luaL_loadbuffer(self.raw(), code.as_ptr().cast(), code.len(), name.as_ptr())
        };
        if status == ffi::LUA_OK { Ok(()) } else { Err(()) }
    }

    /// Calls the function below its `args` arguments, for so many results or, with -1, all. On failure it
    /// leaves what the handler of errors, at an index that is not 0, makes of the error.
    pub fn pcall(self, args: c_int, results: c_int, handler: c_int) -> Result<(), Failure> {
        // SAFETY: errors are caught by it.
        match unsafe { ffi::lua_pcall(self.raw(), args, results, handler) } {
            ffi::LUA_OK => Ok(()),
            ffi::LUA_ERRRUN => Err(Failure::Error),
            _ => Err(Failure::Raw),
        }
    }

    /// Where an error came from, for the function that handles it: the innermost function or, when
    /// that is one of C's, its caller.
    pub fn origin(self) -> Option<Origin> {
        // SAFETY: a lua_Debug may be all zeros; its source is a C string while the function is there.
        unsafe {
            let mut debug: ffi::lua_Debug = mem::zeroed();
            for level in 1..=2 {
                if ffi::lua_getstack(self.raw(), level, &mut debug) == 0
                    || ffi::lua_getinfo(self.raw(), c"Sl".as_ptr(), &mut debug) == 0
                {
                    return None;
                }
                if CStr::from_ptr(debug.what) != c"C" {
                    break;
                }
            }
            let source = CStr::from_ptr(debug.source).to_bytes().to_vec();
            Some(Origin { source, line: debug.currentline })
        }
    }

    /// An error with this text behind the place of the caller, as Lua words its own.
    pub fn error(self, text: &[u8]) -> Raise {
        // SAFETY: two strings are concatenated, which needs no metamethod.
        unsafe {
            ffi::luaL_where(self.raw(), 1);
            self.push_bytes(text);
            ffi::lua_concat(self.raw(), 2);
        }
        Raise::Value
    }

    /// An argument is not as it must be, for this reason.
    pub fn argument_error(self, index: c_int, reason: &str) -> Raise {
        self.push_bytes(reason.as_bytes());
        Raise::ArgumentText(index)
    }

    /// Runs the function that makes one of Lua's own libraries.
    pub fn open(self, library: Library) {
        let function: unsafe extern "C-unwind" fn(*mut ffi::lua_State) -> c_int = match library {
            Library::Base => ffi::luaopen_base,
            Library::Table => ffi::luaopen_table,
            Library::String => ffi::luaopen_string,
            Library::Math => ffi::luaopen_math,
            Library::Os => ffi::luaopen_os,
        };
        // SAFETY: they want to be called so, and raise nothing.
        unsafe {
            let top = ffi::lua_gettop(self.raw());
            ffi::lua_pushcclosure(self.raw(), function, 0);
            ffi::lua_call(self.raw(), 0, 0);
            ffi::lua_settop(self.raw(), top);
        }
    }

    /// Bytes in use.
    pub fn memory(self) -> usize {
        let count = |what| unsafe { ffi::lua_gc(self.raw(), what, 0) as usize };
        count(ffi::LUA_GCCOUNT) * 1024 + count(ffi::LUA_GCCOUNTB)
    }

    /// A piece of the collector's work, of so many kilobytes.
    pub fn collect_step(self, size: c_int) {
        unsafe { ffi::lua_gc(self.raw(), ffi::LUA_GCSTEP, size) };
    }

    pub fn collect(self) {
        unsafe { ffi::lua_gc(self.raw(), ffi::LUA_GCCOLLECT, 0) };
    }
}

/// A number without its fraction, as C casts it.
pub fn truncate(number: f64) -> i64 {
    let fits = number > -9.3e18 && number < 9_223_372_036_854_775_808.0;
    if fits { number as i64 } else { i64::MIN }
}

/// Calls a function of ours. Nothing of Rust's is left on its frame when it jumps.
unsafe extern "C-unwind" fn trampoline(lua: *mut ffi::lua_State) -> c_int {
    // SAFETY: `push_function` and `push_closure` have put the function there.
    unsafe {
        let function = ffi::lua_touserdata(lua, ffi::lua_upvalueindex(1));
        let function = mem::transmute::<*mut c_void, Function>(function);
        match function(Lua(NonNull::new_unchecked(lua))) {
            Ok(results) => results,
            Err(raise) => fail(lua, raise),
        }
    }
}

/// Calls a function of Lua's own after a check of its arguments.
unsafe extern "C-unwind" fn guarded(lua: *mut ffi::lua_State) -> c_int {
    // SAFETY: `put_check` has put both there.
    unsafe {
        let check = ffi::lua_touserdata(lua, ffi::lua_upvalueindex(1));
        let check = mem::transmute::<*mut c_void, Check>(check);
        if let Err(raise) = check(Lua(NonNull::new_unchecked(lua))) {
            return fail(lua, raise);
        }
        let original = ffi::lua_touserdata(lua, ffi::lua_upvalueindex(2));
        mem::transmute::<*mut c_void, ffi::lua_CFunction>(original)(lua)
    }
}

unsafe fn fail(lua: *mut ffi::lua_State, raise: Raise) -> c_int {
    // SAFETY: the callers have nothing to drop.
    unsafe {
        match raise {
            Raise::Value => ffi::lua_error(lua),
            Raise::Argument(index, text) => ffi::luaL_argerror(lua, index, text.as_ptr()),
            Raise::ArgumentText(index) => {
                let text = ffi::lua_tolstring(lua, -1, ptr::null_mut());
                ffi::luaL_argerror(lua, index, text)
            }
            Raise::Type(index, name) => ffi::luaL_typerror(lua, index, name.as_ptr()),
        }
    }
}

/// Comes every so many instructions; once a script must end, at every one.
unsafe extern "C-unwind" fn hook(raw: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: the callers of Lua have nothing to drop that they have not given to a `pcall`.
    unsafe {
        let lua = Lua(NonNull::new_unchecked(raw));
        if lua.must_end() {
            lua.hook_always();
            ffi::lua_error(raw);
        }
    }
}

impl Lua {
    /// Ends the script with an error that it cannot catch: what it does from now on fails at once.
    pub fn end(self, text: &'static str) -> Raise {
        self.state().ending.set(Some(text));
        self.hook_always();
        super::reply::push_error(self, text.as_bytes());
        Raise::Value
    }

    /// Lets the hook come at every instruction.
    fn hook_always(self) {
        let every = ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT;
        // SAFETY: the hook is made for that.
        unsafe { ffi::lua_sethook(self.raw(), Some(hook), every, 1) };
    }

    /// Whether the script must end; then the error is on top.
    fn must_end(self) -> bool {
        let state = self.state();
        let error = state.ending.get().or_else(|| match state.is_late() {
            true => Some("FUNCTION LOAD timeout"),
            false => (state.host.ask(|host| host.tick()) == Some(Tick::Kill))
                .then_some("Script killed by user with SCRIPT KILL..."),
        });
        let Some(text) = error else { return false };
        state.ending.set(Some(text));
        super::reply::push_error(self, text.as_bytes());
        true
    }
}

/// Memory for Lua, from the allocator that all others use.
unsafe extern "C" fn allocate(
    _: *mut c_void,
    old: *mut c_void,
    old_size: usize,
    new_size: usize,
) -> *mut c_void {
    // No value of Lua's needs more than 8; 16 is what C's malloc gives, and costs nothing.
    const ALIGN: usize = 16;
    // SAFETY: `old` was given by this function with `old_size`, if it is anything.
    unsafe {
        let layout = Layout::from_size_align(old_size, ALIGN);
        match (old.is_null(), new_size, layout) {
            (true, 0, _) => ptr::null_mut(),
            (true, _, _) => match Layout::from_size_align(new_size, ALIGN) {
                Ok(layout) => alloc::alloc(layout).cast(),
                Err(_) => ptr::null_mut(),
            },
            (false, 0, Ok(layout)) => {
                alloc::dealloc(old.cast(), layout);
                ptr::null_mut()
            }
            (false, _, Ok(layout)) if isize::try_from(new_size).is_ok() => {
                alloc::realloc(old.cast(), layout, new_size).cast()
            }
            _ => ptr::null_mut(),
        }
    }
}

/// Owns Lua and what its functions share.
pub struct Machine {
    lua: Lua,
    state: NonNull<State>,
}

impl Machine {
    /// Nothing when there is no memory.
    pub fn new() -> Option<Machine> {
        let state = NonNull::from(Box::leak(Box::<State>::default()));
        // SAFETY: the allocator's word points to the state until `drop`.
        let lua = unsafe { ffi::lua_newstate(allocate, state.as_ptr().cast()) };
        match NonNull::new(lua) {
            Some(lua) => Some(Machine { lua: Lua(lua), state }),
            None => {
                // SAFETY: it came from a Box, and nobody has it.
                drop(unsafe { Box::from_raw(state.as_ptr()) });
                None
            }
        }
    }

    pub fn lua(&self) -> Lua {
        self.lua
    }

    /// Runs what calls scripts, which can reach the host meanwhile.
    pub fn with_host<R>(&mut self, host: &mut dyn Host, run: impl FnOnce(Lua) -> R) -> R {
        struct Guard<'a>(&'a State);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.host.0.set(None);
            }
        }
        let host = NonNull::from(host);
        // SAFETY: only the lifetime changes; the guard takes the pointer back before it ends.
        let host = unsafe { mem::transmute::<NonNull<dyn Host + '_>, NonNull<dyn Host>>(host) };
        // SAFETY: the state lives as long as `self`.
        let guard = Guard(unsafe { self.state.as_ref() });
        guard.0.host.0.set(Some(host));
        self.set_hook();
        run(self.lua)
    }

    /// Lets the hook come from now on.
    pub fn set_hook(&mut self) {
        self.lua.state().ending.set(None);
        // SAFETY: the hook is made for that.
        unsafe {
            ffi::lua_sethook(self.lua.raw(), Some(hook), ffi::LUA_MASKCOUNT, TICK_INSTRUCTIONS)
        };
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: nobody uses them after this.
        unsafe {
            ffi::lua_close(self.lua.raw());
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}

/// Whom scripts ask, while one runs.
#[derive(Default)]
pub struct HostCell(Cell<Option<NonNull<dyn Host>>>);

impl HostCell {
    /// Asks the host, if a script runs and it is not being asked already.
    pub fn ask<R>(&self, ask: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
        let mut host = self.0.take()?;
        // SAFETY: it is there only while `Machine::with_host` borrows it, and is taken by one at a time.
        let answer = ask(unsafe { host.as_mut() });
        self.0.set(Some(host));
        Some(answer)
    }
}

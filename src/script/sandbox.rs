//! What scripts find in their globals, and what they cannot change.
//!
//! Lua 5.1 has no read-only tables. A script sees an empty table, a *shield*, in the place of each table that
//! is not its own:
//!
//! ```text
//!   shield {} ── metatable ─┬─ __index ────> content { ... } ── globals only ──> error "nonexistent"
//!                           └─ __newindex ─> error "readonly"
//! ```
//!
//! Functions that go past metatables (`rawset`, `table.insert`, `setmetatable`, ...) refuse shields, those that
//! read past them (`rawget`, `next`, ...) get the content, `getmetatable` shows a shield, too. No
//! function gives the content to a script.
//!
//! There are two tables of globals. That of EVAL has KEYS and ARGV. That of functions has as its content, while
//! a library is loaded, nothing but a small `redis`.
//!
//! Deliberately absent: `print`, `dofile`, `loadfile`, `require`, `newproxy`, `io`, `debug`, `os` (but `os.clock`),
//! bytecode, `setfenv(0)`, and settings of the collector.

use super::api::{self, Place};
use super::lua::{Check, Function, Kind, Library, Lua, Raise, Ref};
use super::state::Shield;
use super::{random, reply};
use std::ffi::{CString, c_int};

const READONLY: &[u8] = b"Attempt to modify a readonly table";

/// What the interpreter needs of the sandbox.
pub struct Sandbox {
    /// Makes a table of every error.
    pub handler: Ref,
    /// Globals of EVAL: what scripts see, and the content.
    pub script_globals: Ref,
    pub script_content: Ref,
    pub function_globals: Ref,
    /// The metatable of `function_globals`, and the two contents that it can have.
    pub function_metatable: Ref,
    pub function_content: Ref,
    pub library_content: Ref,
}

/// Makes the globals.
pub fn build(lua: Lua) -> Sandbox {
    open_libraries(lua);
    replace_functions(lua);
    lua.push_globals();
    super::libs::open(lua);
    let script_content = lua.keep();
    shield_libraries(lua, script_content);
    let function_content = copied(lua, script_content);
    add_redis(lua, script_content, Place::Script);
    add_redis(lua, function_content, Place::Function);
    lua.push_table(0, 2);
    let library_content = lua.keep();
    make_missing_an_error(lua, library_content);
    add_redis(lua, library_content, Place::Library);
    let script_globals = shielded_globals(lua, script_content);
    let function_globals = shielded_globals(lua, function_content);
    lua.push_kept(function_globals);
    lua.push_metatable(-1);
    let function_metatable = lua.keep();
    lua.pop(1);
    lua.push_kept(script_globals);
    lua.set_globals();
    lua.push_function(handle_error);
    let handler = lua.keep();
    Sandbox {
        handler,
        script_globals,
        script_content,
        function_globals,
        function_metatable,
        function_content,
        library_content,
    }
}

fn open_libraries(lua: Lua) {
    for library in [Library::Base, Library::Table, Library::String, Library::Math, Library::Os] {
        lua.open(library);
    }
    lua.push_globals();
    for name in ["dofile", "loadfile", "print", "newproxy"] {
        lua.push_nil();
        lua.set_field(name.as_bytes());
    }
    lua.push_field(b"os");
    lua.push_table(0, 1);
    lua.insert(-2);
    lua.push_field(b"clock");
    lua.insert(-2);
    lua.pop(1);
    lua.set_field(b"clock");
    lua.set_field(b"os");
    lua.pop(1);
}

/// Puts functions that know shields in the place of Lua's own.
fn replace_functions(lua: Lua) {
    lua.push_globals();
    lua.push_field(b"next");
    let plain = lua.keep();
    let checks: [(&str, Check); 5] = [
        ("rawset", refuse_shield),
        ("setmetatable", refuse_shield),
        ("rawget", look_behind_shield),
        ("next", look_behind_shield),
        ("setfenv", refuse_thread),
    ];
    put_checks(lua, &checks);
    lua.push_field(b"next");
    let ours = lua.keep();
    lua.state().next.set(Some((plain, ours)));
    let functions: [(&str, Function); 6] = [
        ("pairs", pairs),
        ("getmetatable", get_metatable),
        ("pcall", pcall),
        ("load", load),
        ("loadstring", load_string),
        ("collectgarbage", collect_garbage),
    ];
    functions.iter().for_each(|(name, function)| lua.set_function(name, *function));
    lua.push_field(b"table");
    // Others do nothing to a table without elements, as shields and what is behind them are.
    let checks: [(&str, Check); 2] = [("insert", refuse_shield), ("foreach", look_behind_shield)];
    put_checks(lua, &checks);
    lua.pop(1);
    lua.push_field(b"math");
    lua.set_function("random", random::random);
    lua.set_function("randomseed", random::seed);
    lua.pop(2);
}

fn put_checks(lua: Lua, checks: &[(&str, Check)]) {
    for (name, check) in checks {
        lua.push_field(name.as_bytes());
        lua.put_check(*check);
        lua.set_field(name.as_bytes());
    }
}

fn shield_libraries(lua: Lua, content: Ref) {
    lua.push_kept(content);
    for name in ["string", "table", "math", "coroutine", "os", "cjson", "cmsgpack", "struct", "bit"]
    {
        lua.push_field(name.as_bytes());
        if lua.kind(-1) == Kind::Table {
            let library = lua.keep();
            lua.push_kept(shielded(lua, library, None));
            lua.set_field(name.as_bytes());
        } else {
            lua.pop(1);
        }
    }
    lua.push_field(b"string");
    lua.push_table(0, 1);
    lua.insert(-2);
    lua.set_field(b"__index");
    let shown = lua.keep();
    lua.state().string_metatable.set(Some(shielded(lua, shown, None)));
    lua.pop(1);
}

/// A copy of a table.
fn copied(lua: Lua, table: Ref) -> Ref {
    lua.push_table(0, 48);
    lua.push_kept(table);
    lua.push_nil();
    while lua.next(-2) {
        lua.copy(-2);
        lua.insert(-2);
        lua.raw_set(-5);
    }
    lua.pop(1);
    lua.keep()
}

fn set_in(lua: Lua, table: Ref, name: &str, value: Ref) {
    lua.push_kept(table);
    lua.push_kept(value);
    lua.set_field(name.as_bytes());
    lua.pop(1);
}

/// Adds `redis`, and `server`, which is the same, to globals.
fn add_redis(lua: Lua, globals: Ref, place: Place) {
    api::push(lua, place);
    let redis = lua.keep();
    if place == Place::Library {
        make_missing_an_error(lua, redis);
    }
    let redis = shielded(lua, redis, None);
    set_in(lua, globals, "redis", redis);
    set_in(lua, globals, "server", redis);
}

/// Shields globals, and gives them `_G`.
fn shielded_globals(lua: Lua, content: Ref) -> Ref {
    make_missing_an_error(lua, content);
    lua.push_table(0, 1);
    lua.set_function("__index", missing);
    let shown = lua.keep();
    let shown = shielded(lua, shown, None);
    let globals = shielded(lua, content, Some(shown));
    set_in(lua, content, "_G", globals);
    globals
}

fn make_missing_an_error(lua: Lua, table: Ref) {
    lua.push_kept(table);
    lua.push_table(0, 1);
    lua.set_function("__index", missing);
    lua.set_metatable(-2);
    lua.pop(1);
}

/// A shield before a table; `metatable` is what `getmetatable` gives for it.
fn shielded(lua: Lua, content: Ref, metatable: Option<Ref>) -> Ref {
    lua.push_table(0, 0);
    lua.state().add_shield(Shield { address: lua.pointer(-1), content, metatable });
    lua.push_table(0, 2);
    lua.push_kept(content);
    lua.set_field(b"__index");
    lua.set_function("__newindex", refuse_assignment);
    lua.set_metatable(-2);
    lua.keep()
}

fn shield_at(lua: Lua, index: c_int) -> Option<Shield> {
    lua.state().shield(lua.pointer(index))
}

fn missing(lua: Lua) -> Result<c_int, Raise> {
    let Some(name) = lua.text(2) else {
        let text = b"Second argument to luaProtectedTableError must be a string or number";
        return Err(lua.error(text));
    };
    let start = b"Script attempted to access nonexistent global variable '";
    let text = [start, reply::until_nul(name), b"'"].concat();
    Err(lua.error(&text))
}

fn refuse_assignment(lua: Lua) -> Result<c_int, Raise> {
    Err(lua.error(READONLY))
}

fn refuse_shield(lua: Lua) -> Result<(), Raise> {
    if shield_at(lua, 1).is_none() {
        return Ok(());
    }
    lua.push_bytes(READONLY);
    Err(Raise::Value)
}

fn look_behind_shield(lua: Lua) -> Result<(), Raise> {
    if let Some(shield) = shield_at(lua, 1) {
        lua.push_kept(shield.content);
        lua.replace(1);
    }
    Ok(())
}

/// The environment of a thread is what all later scripts would get.
fn refuse_thread(lua: Lua) -> Result<(), Raise> {
    if lua.is_number(1) && lua.number(1) == 0.0 {
        return Err(lua.error(b"'setfenv' cannot change environment of given object"));
    }
    Ok(())
}

fn pairs(lua: Lua) -> Result<c_int, Raise> {
    lua.check_table(1)?;
    if let Some((plain, ours)) = lua.state().next.get() {
        lua.push_kept(if shield_at(lua, 1).is_some() { ours } else { plain });
    }
    lua.copy(1);
    lua.push_nil();
    Ok(3)
}

fn get_metatable(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() == 0 {
        return Err(Raise::Argument(1, c"value expected"));
    }
    match (lua.kind(1), shield_at(lua, 1)) {
        (Kind::String, _) => match lua.state().string_metatable.get() {
            Some(metatable) => lua.push_kept(metatable),
            None => lua.push_nil(),
        },
        (_, Some(Shield { metatable: Some(metatable), .. })) => lua.push_kept(metatable),
        (_, Some(_)) => lua.push_nil(),
        _ if lua.push_metatable(1) => {
            lua.push_field(b"__metatable");
            if lua.kind(-1) == Kind::Nil {
                lua.pop(1);
            }
        }
        _ => lua.push_nil(),
    }
    Ok(1)
}

/// As Lua's, but of an error that is a table with a text it gives the text; and it does not catch the
/// end of a script.
fn pcall(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() == 0 {
        return Err(Raise::Argument(1, c"value expected"));
    }
    lua.push_bool(true);
    lua.insert(1);
    if lua.pcall(lua.top() - 2, -1, 0).is_err() {
        if lua.state().ending.get().is_some() {
            return Err(Raise::Value);
        }
        lua.remove(1);
        if lua.kind(-1) == Kind::Table {
            lua.push_field(b"err");
            if lua.text(-1).is_some() {
                lua.replace(-2);
            }
        }
        lua.push_bool(false);
        lua.insert(1);
    }
    Ok(lua.top())
}

/// A name for code, as C wants it.
fn chunk_name(name: &[u8]) -> CString {
    CString::new(reply::until_nul(name)).unwrap_or_default()
}

/// The results of `load`: the function on top, or nil and the error on top.
fn loaded(lua: Lua, result: Result<(), ()>) -> c_int {
    match result {
        Ok(()) => 1,
        Err(()) => {
            lua.push_nil();
            lua.insert(-2);
            2
        }
    }
}

fn load_string(lua: Lua) -> Result<c_int, Raise> {
    let code = lua.check_text(1)?;
    let name = match lua.kind(2) {
        Kind::Nothing | Kind::Nil => code,
        _ => lua.check_text(2)?,
    };
    Ok(loaded(lua, lua.load(code, &chunk_name(name))))
}

/// Code in pieces, from a function that gives nil or an empty string at the end.
fn load(lua: Lua) -> Result<c_int, Raise> {
    if lua.kind(1) != Kind::Function {
        return Err(Raise::Type(1, c"function"));
    }
    let name: &[u8] = match lua.kind(2) {
        Kind::Nothing | Kind::Nil => b"=(load)",
        _ => lua.check_text(2)?,
    };
    let mut code = Vec::new();
    loop {
        lua.copy(1);
        if lua.pcall(0, 1, 0).is_err() {
            if lua.state().ending.get().is_some() {
                return Err(Raise::Value);
            }
            return Ok(loaded(lua, Err(())));
        }
        match (lua.kind(-1), lua.text(-1)) {
            (Kind::Nil, _) | (_, Some(b"")) => break,
            (_, Some(piece)) => code.extend_from_slice(piece),
            (_, None) => {
                lua.push_bytes(b"reader function must return a string");
                return Ok(loaded(lua, Err(())));
            }
        }
        lua.pop(1);
    }
    Ok(loaded(lua, lua.load(&code, &chunk_name(name))))
}

/// The collector is the server's: scripts can run it, and ask, but not set it.
fn collect_garbage(lua: Lua) -> Result<c_int, Raise> {
    let option: &[u8] = match lua.kind(1) {
        Kind::Nothing | Kind::Nil => b"collect",
        _ => lua.check_text(1)?,
    };
    match option {
        b"collect" => {
            lua.collect();
            lua.push_number(0.0);
        }
        b"count" => lua.push_number(lua.memory() as f64 / 1024.0),
        b"step" => {
            lua.collect_step(0);
            lua.push_bool(false);
        }
        b"stop" | b"restart" => lua.push_number(0.0),
        // Their settings, in percent.
        b"setpause" | b"setstepmul" => lua.push_number(200.0),
        _ => {
            let option = String::from_utf8_lossy(reply::until_nul(option));
            let reason = format!("invalid option '{option}'");
            return Err(lua.argument_error(1, &reason));
        }
    }
    Ok(1)
}

/// Makes of an error a table with its text and where it came from.
fn handle_error(lua: Lua) -> Result<c_int, Raise> {
    let origin = lua.origin();
    if lua.kind(1) != Kind::Table {
        let text = match lua.kind(1) {
            Kind::Nil => b"nil".to_vec(),
            Kind::Boolean => lua.bool(1).to_string().into_bytes(),
            Kind::String | Kind::Number => lua.text(1).unwrap_or_default().to_vec(),
            _ => format!("{}: {:#x}", lua.type_name(1), lua.pointer(1)).into_bytes(),
        };
        lua.push_table(0, 4);
        lua.push_bytes(&[b"ERR ", &text[..]].concat());
        lua.set_field(b"err");
        lua.replace(1);
    }
    if let Some(origin) = origin
        && shield_at(lua, 1).is_none()
    {
        lua.set_top(1);
        lua.push_bytes(&origin.source);
        lua.set_field(b"source");
        lua.push_number(f64::from(origin.line));
        lua.set_field(b"line");
    }
    lua.set_top(1);
    Ok(1)
}

#[cfg(test)]
mod tests;

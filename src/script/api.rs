//! The table `redis`: what scripts ask the server, and what goes with it.

use super::host::{LogLevel, REPL_AOF, REPL_REPLICA, Tick};
use super::lua::{Function, Kind, Lua, Raise, truncate};
use super::reply;
use super::sha::Sha;
use super::{VERSION, VERSION_NUMBER};
use crate::data::double;
use crate::resp::Protocol;
use smallvec::SmallVec;
use std::ffi::c_int;

/// A buffer for replies that has become larger is not kept.
const REPLY_KEPT_MAX: usize = 64 << 10;

type Arguments<'a> = SmallVec<[&'a [u8]; 8]>;

/// Where a table `redis` is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Script,
    Function,
    /// A library, while it is loaded.
    Library,
}

/// Pushes a table `redis`.
pub fn push(lua: Lua, place: Place) {
    lua.push_table(0, 32);
    lua.set_function("log", log);
    for (name, level) in
        [("LOG_DEBUG", 0.0), ("LOG_VERBOSE", 1.0), ("LOG_NOTICE", 2.0), ("LOG_WARNING", 3.0)]
    {
        set_number(lua, name, level);
    }
    set_number(lua, "REDIS_VERSION_NUM", f64::from(VERSION_NUMBER));
    lua.push_bytes(VERSION.as_bytes());
    lua.set_field(b"REDIS_VERSION");
    if place == Place::Library {
        lua.set_function("register_function", super::functions::register);
        return;
    }
    let functions: [(&str, Function); 8] = [
        ("call", call),
        ("pcall", pcall),
        ("setresp", set_protocol),
        ("sha1hex", sha1hex),
        ("error_reply", error_reply),
        ("status_reply", status_reply),
        ("set_repl", set_repl),
        ("acl_check_cmd", acl_check_cmd),
    ];
    functions.iter().for_each(|(name, function)| lua.set_function(name, *function));
    let all = REPL_AOF | REPL_REPLICA;
    for (name, flags) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", REPL_AOF),
        ("REPL_SLAVE", REPL_REPLICA),
        ("REPL_REPLICA", REPL_REPLICA),
        ("REPL_ALL", all),
    ] {
        set_number(lua, name, f64::from(flags));
    }
    if place == Place::Script {
        lua.set_function("breakpoint", breakpoint);
        lua.set_function("debug", debug);
        lua.set_function("replicate_commands", replicate_commands);
    }
}

fn set_number(lua: Lua, name: &str, number: f64) {
    lua.push_number(number);
    lua.set_field(name.as_bytes());
}

/// Fails with `{err = "ERR <text>"}`.
pub fn fail(lua: Lua, text: &str) -> Raise {
    reply::push_error(lua, text.as_bytes());
    Raise::Value
}

/// The arguments as a command's words.
fn arguments<'a>(lua: Lua) -> Result<Arguments<'a>, &'static str> {
    let count = lua.top();
    if count == 0 {
        return Err("Please specify at least one argument for this redis lib call");
    }
    let mut arguments = Arguments::new();
    for index in 1..=count {
        if lua.kind(index) == Kind::Number {
            // Integers as such, others so that they can be read back; -0 is 0.
            lua.push_bytes(double::shortest(lua.number(index) + 0.0).as_bytes());
            lua.replace(index);
        }
        let Some(bytes) = lua.bytes(index) else {
            return Err("Lua redis lib command arguments must be strings or integers");
        };
        arguments.push(bytes);
    }
    Ok(arguments)
}

/// Runs a command and pushes the value of its reply. Whether it is an error. Fails only when the script
/// is to end.
fn run(lua: Lua) -> Result<bool, Raise> {
    let state = lua.state();
    let mut out = state.reply.take();
    out.clear();
    let asked = arguments(lua).and_then(|arguments| {
        let protocol = state.protocol.get();
        let asked = state.host.ask(|host| host.call(&arguments, protocol, &mut out));
        asked.ok_or("redis.call can only be used inside a script invocation")
    });
    let ends = match asked {
        Ok(tick) => tick == Tick::Kill,
        Err(text) => {
            state.reply.set(out);
            lua.set_top(0);
            reply::push_error(lua, text.as_bytes());
            return Ok(true);
        }
    };
    if ends {
        state.reply.set(out);
        lua.set_top(0);
        return Err(lua.end("The script was given up"));
    }
    // They may have taken all the room there is.
    lua.set_top(0);
    reply::push(lua, &out);
    let failed = out.first() == Some(&b'-');
    if out.capacity() <= REPLY_KEPT_MAX {
        state.reply.set(out);
    }
    Ok(failed)
}

fn call(lua: Lua) -> Result<c_int, Raise> {
    if run(lua)? { Err(Raise::Value) } else { Ok(1) }
}

fn pcall(lua: Lua) -> Result<c_int, Raise> {
    run(lua)?;
    Ok(1)
}

fn sha1hex(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() != 1 {
        return Err(fail(lua, "wrong number of arguments"));
    }
    lua.push_bytes(&Sha::of(lua.text(1).unwrap_or_default()).hex());
    Ok(1)
}

/// The only argument, a string.
fn only_text<'a>(lua: Lua) -> Option<&'a [u8]> {
    lua.bytes(1).filter(|_| lua.top() == 1)
}

fn error_reply(lua: Lua) -> Result<c_int, Raise> {
    match only_text(lua) {
        Some(text) => {
            let text = reply::until_nul(text);
            reply::push_error_reply(lua, text.strip_prefix(b"-").unwrap_or(text));
        }
        None => reply::push_error(lua, b"wrong number or type of arguments"),
    }
    Ok(1)
}

fn status_reply(lua: Lua) -> Result<c_int, Raise> {
    match only_text(lua) {
        Some(text) => {
            lua.push_table(0, 1);
            lua.push_bytes(text);
            lua.set_field(b"ok");
        }
        None => reply::push_error(lua, b"wrong number or type of arguments"),
    }
    Ok(1)
}

fn set_protocol(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() != 1 {
        return Err(fail(lua, "redis.setresp() requires one argument."));
    }
    let protocol = match truncate(lua.number(1)) {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => return Err(fail(lua, "RESP version must be 2 or 3.")),
    };
    lua.state().protocol.set(protocol);
    Ok(0)
}

fn set_repl(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() != 1 {
        return Err(fail(lua, "redis.set_repl() requires one argument."));
    }
    let flags = truncate(lua.number(1)) as i32;
    if flags & !i32::from(REPL_AOF | REPL_REPLICA) != 0 {
        let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(fail(lua, text));
    }
    lua.state().host.ask(|host| host.set_repl(flags as u8));
    Ok(0)
}

fn acl_check_cmd(lua: Lua) -> Result<c_int, Raise> {
    let allowed = match arguments(lua) {
        Ok(arguments) => lua.state().host.ask(|host| host.may_call(&arguments)).flatten(),
        Err(text) => return Err(fail(lua, text)),
    };
    let Some(allowed) = allowed else {
        return Err(fail(lua, "Invalid command passed to redis.acl_check_cmd()"));
    };
    lua.push_bool(allowed);
    Ok(1)
}

fn log(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() < 2 {
        return Err(fail(lua, "redis.log() requires two arguments or more."));
    }
    if !lua.is_number(1) {
        return Err(fail(lua, "First argument must be a number (log level)."));
    }
    let level = match truncate(lua.number(1)) {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Err(fail(lua, "Invalid debug level.")),
    };
    let mut message = Vec::new();
    for index in 2..=lua.top() {
        let Some(text) = lua.text(index) else { continue };
        if index != 2 {
            message.push(b' ');
        }
        message.extend_from_slice(text);
    }
    lua.state().host.ask(|host| host.log(level, &message));
    Ok(0)
}

/// There is no debugger: nothing stops.
fn breakpoint(lua: Lua) -> Result<c_int, Raise> {
    lua.push_bool(false);
    Ok(1)
}

/// There is no debugger to write to.
fn debug(_: Lua) -> Result<c_int, Raise> {
    Ok(0)
}

/// Effects are what is replicated, always.
fn replicate_commands(lua: Lua) -> Result<c_int, Raise> {
    lua.push_bool(true);
    Ok(1)
}

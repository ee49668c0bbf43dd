//! `redis.register_function`: how a library says what functions it has.

use super::api::fail;
use super::flags::ScriptFlags;
use super::libraries::{NAME_RULE, Registered, is_name};
use super::lua::{Kind, Lua, Raise, Ref};
use std::ffi::c_int;

/// What one call of `register_function` says, as far as it has been read.
#[derive(Default)]
struct Words {
    name: Option<Vec<u8>>,
    description: Option<Vec<u8>>,
    flags: ScriptFlags,
    callback: Option<Ref>,
}

pub fn register(lua: Lua) -> Result<c_int, Raise> {
    if lua.state().registration.borrow().is_none() {
        let text = "redis.register_function can only be called on FUNCTION LOAD command";
        return Err(fail(lua, text));
    }
    let mut words = Words::default();
    let read = match lua.top() {
        1 => read_named(lua, &mut words),
        2 => read_positional(lua, &mut words),
        _ => Err("wrong number of arguments to redis.register_function"),
    };
    let added = read.and_then(|()| add(lua, &mut words));
    if let (Err(_), Some(callback)) = (&added, words.callback) {
        lua.forget(callback);
    }
    drop(words);
    match added {
        Ok(()) => Ok(0),
        Err(text) => Err(fail(lua, text)),
    }
}

fn add(lua: Lua, words: &mut Words) -> Result<(), &'static str> {
    let name = words.name.take();
    let name = name.ok_or("redis.register_function must get a function name argument")?;
    let callback = words.callback;
    let callback = callback.ok_or("redis.register_function must get a callback argument")?;
    if !is_name(&name) {
        return Err(NAME_RULE);
    }
    let mut registration = lua.state().registration.borrow_mut();
    let functions = &mut registration.get_or_insert_default().functions;
    if functions.iter().any(|other| other.name == name) {
        return Err("Function already exists in the library");
    }
    let description = words.description.take();
    functions.push(Registered { name, description, flags: words.flags, callback });
    Ok(())
}

fn read_positional(lua: Lua, words: &mut Words) -> Result<(), &'static str> {
    let name = lua.text(1).ok_or("first argument to redis.register_function must be a string")?;
    words.name = Some(name.to_vec());
    if lua.kind(2) != Kind::Function {
        return Err("second argument to redis.register_function must be a function");
    }
    words.callback = Some(lua.keep());
    Ok(())
}

fn read_named(lua: Lua, words: &mut Words) -> Result<(), &'static str> {
    if lua.kind(1) != Kind::Table {
        return Err(
            "calling redis.register_function with a single argument is only applicable to Lua \
                    table (representing named arguments).",
        );
    }
    lua.push_nil();
    while lua.next(1) {
        // Of a key that is a number the text would change the key itself.
        let Some(key) = lua.bytes(-2) else {
            return Err(match lua.kind(-2) {
                Kind::Number => "unknown argument given to redis.register_function",
                _ => "named argument key given to redis.register_function is not a string",
            });
        };
        read_argument(lua, key, words)?;
        lua.pop(1);
    }
    Ok(())
}

/// Reads the argument on top, which it leaves.
fn read_argument(lua: Lua, key: &[u8], words: &mut Words) -> Result<(), &'static str> {
    match &key.to_ascii_lowercase()[..] {
        b"function_name" => {
            let text = "function_name argument given to redis.register_function must be a string";
            words.name = Some(lua.text(-1).ok_or(text)?.to_vec());
        }
        b"description" => {
            let text = "description argument given to redis.register_function must be a string";
            words.description = Some(lua.text(-1).ok_or(text)?.to_vec());
        }
        b"callback" => {
            if lua.kind(-1) != Kind::Function {
                return Err(
                    "callback argument given to redis.register_function must be a function",
                );
            }
            lua.copy(-1);
            words.callback = Some(lua.keep());
        }
        b"flags" => {
            if lua.kind(-1) != Kind::Table {
                return Err("flags argument to redis.register_function must be a table \
                            representing function flags");
            }
            words.flags = read_flags(lua).ok_or("unknown flag given")?;
        }
        _ => return Err("unknown argument given to redis.register_function"),
    }
    Ok(())
}

/// The flags in the array on top.
fn read_flags(lua: Lua) -> Option<ScriptFlags> {
    let mut flags = ScriptFlags { has_shebang: true, ..ScriptFlags::default() };
    for at in 1.. {
        lua.raw_get_index(-1, at);
        let nothing = lua.kind(-1) == Kind::Nil;
        let name = lua.text(-1).unwrap_or_default();
        let known = flags.set(|known| known.as_bytes().eq_ignore_ascii_case(name));
        lua.pop(1);
        if nothing {
            break;
        }
        if !known {
            return None;
        }
    }
    Some(flags)
}

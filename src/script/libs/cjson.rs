//! `cjson`: values as JSON, and back.
//!
//! Settings are those of the interpreter: a script that changes them changes them for later ones, as in Redis.
//! One thing differs: `cjson.new` gives a table of its own, but with the same settings.

mod decode;
mod encode;

use super::super::lua::{Function, Kind, Lua, Raise};
use std::ffi::c_int;

/// What to do with numbers that JSON has no form for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    Refuse,
    Accept,
    Null,
}

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// A table with few of the keys up to its greatest becomes an object; otherwise it is refused.
    pub sparse_convert: bool,
    /// It has few when the greatest is more than so many times their number; 0 turns that off.
    pub sparse_ratio: i32,
    /// Up to this greatest key it does not matter.
    pub sparse_safe: i32,
    pub encode_depth: i32,
    pub decode_depth: i32,
    pub encode_invalid: Invalid,
    pub decode_invalid: bool,
    /// Significant digits.
    pub precision: i32,
    /// Makes no difference here.
    pub keep_buffer: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: 1000,
            decode_depth: 1000,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
            precision: 14,
            keep_buffer: true,
        }
    }
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("encode", encode::encode),
    ("decode", decode::decode),
    ("encode_sparse_array", sparse_array),
    ("encode_max_depth", |lua| int_setting(lua, 1, i32::MAX, |config| &mut config.encode_depth)),
    ("decode_max_depth", |lua| int_setting(lua, 1, i32::MAX, |config| &mut config.decode_depth)),
    ("encode_number_precision", |lua| int_setting(lua, 1, 14, |config| &mut config.precision)),
    ("encode_keep_buffer", |lua| bool_setting(lua, |config| &mut config.keep_buffer)),
    ("encode_invalid_numbers", invalid_numbers),
    ("decode_invalid_numbers", |lua| bool_setting(lua, |config| &mut config.decode_invalid)),
    ("new", |lua| {
        push(lua);
        Ok(1)
    }),
];

/// Pushes the library.
pub fn push(lua: Lua) {
    super::push_functions(lua, FUNCTIONS);
    lua.push_null();
    lua.set_field(b"null");
    super::set_texts(lua, &[("_NAME", "cjson"), ("_VERSION", "2.1.0")]);
}

type Field<T> = fn(&mut Config) -> &mut T;

/// A function takes no more arguments than that; those that are missing are nil.
fn arguments(lua: Lua, count: c_int) -> Result<(), Raise> {
    if lua.top() > count {
        return Err(Raise::Argument(count + 1, c"found too many arguments"));
    }
    lua.set_top(count);
    Ok(())
}

/// Changes a setting if there is an argument, and pushes what it is.
fn set_int(lua: Lua, index: c_int, min: i32, max: i32, field: Field<i32>) -> Result<(), Raise> {
    let mut config = lua.state().json.get();
    if lua.kind(index) != Kind::Nil {
        let value = lua.check_int(index)? as i32;
        if !(min..=max).contains(&value) {
            let reason = format!("expected integer between {min} and {max}");
            return Err(lua.argument_error(1, &reason));
        }
        *field(&mut config) = value;
        lua.state().json.set(config);
    }
    lua.push_number(f64::from(*field(&mut config)));
    Ok(())
}

/// Which of the options an argument names.
fn option(lua: Lua, index: c_int, options: &[&str]) -> Result<usize, Raise> {
    let text = lua.check_text(index)?;
    let at = options.iter().position(|option| option.as_bytes() == text);
    at.ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        lua.argument_error(index, &format!("invalid option '{text}'"))
    })
}

fn set_bool(lua: Lua, index: c_int, field: Field<bool>) -> Result<(), Raise> {
    let mut config = lua.state().json.get();
    match lua.kind(index) {
        Kind::Nil => {}
        Kind::Boolean => *field(&mut config) = lua.bool(index),
        _ => *field(&mut config) = option(lua, index, &["off", "on"])? == 1,
    }
    lua.state().json.set(config);
    lua.push_bool(*field(&mut config));
    Ok(())
}

fn int_setting(lua: Lua, min: i32, max: i32, field: Field<i32>) -> Result<c_int, Raise> {
    arguments(lua, 1)?;
    set_int(lua, 1, min, max, field)?;
    Ok(1)
}

fn bool_setting(lua: Lua, field: Field<bool>) -> Result<c_int, Raise> {
    arguments(lua, 1)?;
    set_bool(lua, 1, field)?;
    Ok(1)
}

fn sparse_array(lua: Lua) -> Result<c_int, Raise> {
    arguments(lua, 3)?;
    set_bool(lua, 1, |config| &mut config.sparse_convert)?;
    set_int(lua, 2, 0, i32::MAX, |config| &mut config.sparse_ratio)?;
    set_int(lua, 3, 0, i32::MAX, |config| &mut config.sparse_safe)?;
    Ok(3)
}

fn invalid_numbers(lua: Lua) -> Result<c_int, Raise> {
    arguments(lua, 1)?;
    let mut config = lua.state().json.get();
    config.encode_invalid = match lua.kind(1) {
        Kind::Nil => config.encode_invalid,
        Kind::Boolean if lua.bool(1) => Invalid::Accept,
        Kind::Boolean => Invalid::Refuse,
        _ => match option(lua, 1, &["off", "on", "null"])? {
            0 => Invalid::Refuse,
            1 => Invalid::Accept,
            _ => Invalid::Null,
        },
    };
    lua.state().json.set(config);
    match config.encode_invalid {
        Invalid::Refuse => lua.push_bool(false),
        Invalid::Accept => lua.push_bool(true),
        Invalid::Null => lua.push_bytes(b"null"),
    }
    Ok(1)
}

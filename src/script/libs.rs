//! The libraries that Redis gives scripts beside Lua's own: `cjson` 2.1.0, `cmsgpack` 0.4.0, `struct`, `bit`.

mod bits;
mod cjson;
mod cmsgpack;
mod structs;
#[cfg(test)]
mod tests;

pub use cjson::Config as JsonConfig;

use super::lua::{Function, Lua};

/// Adds them to the table on top.
pub fn open(lua: Lua) {
    cjson::push(lua);
    lua.set_field(b"cjson");
    for (name, functions) in [
        ("cmsgpack", cmsgpack::FUNCTIONS),
        ("struct", structs::FUNCTIONS),
        ("bit", bits::FUNCTIONS),
    ] {
        push_functions(lua, functions);
        if name == "cmsgpack" {
            cmsgpack::add_facts(lua);
        }
        lua.set_field(name.as_bytes());
    }
}

fn push_functions(lua: Lua, functions: &[(&str, Function)]) {
    lua.push_table(0, functions.len() + 4);
    functions.iter().for_each(|(name, function)| lua.set_function(name, *function));
}

/// Gives the table on top texts.
fn set_texts(lua: Lua, texts: &[(&str, &str)]) {
    for (name, text) in texts {
        lua.push_bytes(text.as_bytes());
        lua.set_field(name.as_bytes());
    }
}

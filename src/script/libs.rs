//! The libraries that Redis gives scripts beside Lua's own.

use super::lua::Lua;

/// Adds them to the table on top.
pub fn open(_: Lua) {}

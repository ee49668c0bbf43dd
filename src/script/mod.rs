//! Lua scripts and functions as Redis 7.2 has them: one interpreter of one thread.
//!
//! | file | what it is |
//! |---|---|
//! | [`interpreter`] | scripts and functions: compiled, run, forgotten |
//! | [`host`] | what a running script asks of the server |
//! | [`libraries`] | libraries of functions as data, shared by all threads |
//! | [`sandbox`], [`api`], [`functions`] | what scripts see: their globals, `redis`, `register_function` |
//! | [`reply`] | replies of commands as values of Lua, and back |
//! | [`libs`] | `cjson`, `cmsgpack`, `struct`, `bit` |
//! | [`store`], [`slow`] | the scripts of the whole server; those that run for long |
//! | [`flags`], [`sha`], [`random`] | the first line of a script; its name; `math.random` |
//! | [`certify`] | whether a script touches only the keys that it is given, as its text shows |
//! | [`learned`] | which other keys it touches, as its runs have shown |
//! | [`lua`], [`state`] | the seam to Lua, and what hangs on it |
//!
//! A script is a call from the server into Lua, and a command of it a call back:
//!
//! ```text
//!   Interpreter::run ──> Lua ──> redis.call ──> Host::call ──> reply ──> Lua ──> ... ──> reply
//! ```
//!
//! Deliberately absent: keys, routing, permissions, time limits (the host's), a debugger.

mod api;
mod certify;
mod flags;
mod functions;
mod host;
mod interpreter;
mod learned;
mod libraries;
mod libs;
mod lua;
mod random;
mod reply;
mod sandbox;
mod sha;
mod slow;
mod state;
mod store;
#[cfg(test)]
mod testing;

pub use certify::{KeyRule, uses_only_declared_keys};
pub use flags::ScriptFlags;
pub use host::{Host, LogLevel, REPL_AOF, REPL_REPLICA, Tick, log_line};
pub use interpreter::{Failure, Interpreter, Outcome};
pub use learned::{Learned, Sort, Touched};
pub use libraries::{FunctionInfo, Libraries, Library, RestorePolicy};
pub use sha::Sha;
pub use slow::{Killed, Slow, SlowScripts};
pub use store::Store;

/// The version of Redis that scripts are told.
pub const VERSION: &str = "7.2.4";
/// The same, a byte for each of its numbers.
pub const VERSION_NUMBER: u32 = 0x0007_0204;

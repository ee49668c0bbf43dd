//! What a running script asks of the server.

use crate::resp::Protocol;

/// The server, as a script sees it.
pub trait Host {
    /// Runs a command of the script, `args[0]` being its name, and appends its reply in this protocol
    /// to `out`. What is not allowed gets an error reply: an unknown command, a wrong number of
    /// arguments, a command that scripts must not use, a write of a script that may not write.
    /// A script that is to end here has no reply; what it still asks for, as the handler of an error, must be
    /// answered in the same way.
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Tick;

    /// Comes every 100,000 instructions of the script, a millisecond or so.
    fn tick(&mut self) -> Tick;

    /// `redis.log`. The host knows which levels are wanted.
    fn log(&mut self, level: LogLevel, message: &[u8]);

    /// Whether the user of the script may run this command with these arguments; nothing when
    /// there is no such command.
    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool>;

    /// `redis.set_repl`: where effects go from now on, [`REPL_AOF`] and [`REPL_REPLICA`] or'ed.
    fn set_repl(&mut self, flags: u8);
}

pub const REPL_AOF: u8 = 1;
pub const REPL_REPLICA: u8 = 2;

/// Whether a script goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    GoOn,
    /// It ends here, with an error that it cannot catch.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// Writes what a script has to say into the server's log.
pub fn log_line(level: LogLevel, message: &[u8]) {
    let message = String::from_utf8_lossy(message);
    match level {
        LogLevel::Debug => tracing::trace!("script: {message}"),
        LogLevel::Verbose => tracing::debug!("script: {message}"),
        LogLevel::Notice => tracing::info!("script: {message}"),
        LogLevel::Warning => tracing::warn!("script: {message}"),
    }
}

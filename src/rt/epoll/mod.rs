//! The driver over epoll, for hosts that forbid io_uring, as containers by default do.
//!
//! ```text
//!   one turn:  handler.turn_end ── sends at once, remembers bells ──> ring bells, report what is sent
//!              epoll_pwait2 ──> accept, receive (one buffer a connection), go on with sends
//! ```
//!
//! A socket is watched for input for as long as it is here; that it can be written to again is asked
//! for only when a send got stuck. One that is not to be read is let be until there is something to
//! read, and taken out then: to pause and go on again costs nothing as a rule.

mod port;
mod turn;

use super::Handler;
use super::bell::Bells;
use super::listen::Listener;
use crate::error::Fatal;
use port::Port;
use std::io;

/// One shard's epoll instance with everything on it.
pub struct Driver {
    port: Port,
}

impl Driver {
    /// Builds what `shard` sleeps in.
    pub fn new(shard: usize, bells: Bells, listeners: Vec<Listener>) -> Result<Driver, Fatal> {
        let fatal = |error: io::Error| {
            Fatal::system(format!("set up epoll for shard {shard}"), error.to_string())
        };
        Ok(Driver { port: Port::new(shard, bells, listeners).map_err(fatal)? })
    }

    /// Serves until the handler has stopped.
    pub fn run(mut self, handler: &mut impl Handler) -> Result<(), Fatal> {
        let port = &mut self.port;
        loop {
            port.begin_turn();
            handler.turn_end(port);
            port.ring_bells();
            port.report(handler);
            if handler.stopped() {
                return Ok(());
            }
            let wait = match port.has_reports() {
                false => handler.before_sleep(),
                true => None,
            };
            let slept = port.wait(wait);
            port.disarm();
            slept.map_err(|error| {
                let action = format!("wait for events on shard {}", port.shard);
                Fatal::system(action, error.to_string())
            })?;
            port.begin_turn();
            port.complete_all(handler);
        }
    }
}

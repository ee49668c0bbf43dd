//! The driver over io_uring: one ring per shard that owns its sockets and the thread's sleep.
//!
//! One turn of the loop is one `io_uring_enter`: it submits the sends and re-arms of the last turn,
//! runs what the kernel deferred, and waits if there is nothing to do.
//!
//! ```text
//!   listener  ── multishot accept ──┐
//!   sockets   ── multishot receive ─┤ completions → Handler::{accepted, received, ended, sent}
//!               (provided buffers)  │
//!   sends     ──────────────────────┤
//!   bells     ── message from another ring, or a poll on an eventfd ─┘
//! ```

mod buffers;
mod port;
mod turn;

use super::Handler;
use super::bell::Bells;
use super::listen::Listener;
use crate::error::Fatal;
use buffers::{Buffers, GROUP};
use io_uring::{IoUring, opcode, types};
use port::Port;
use std::io;
use std::os::fd::AsRawFd;

/// Requests that may be prepared between two submissions; more only cost a submission in between.
const SUBMISSIONS: u32 = 1024;
/// Completions that the kernel keeps without falling back to its overflow list.
const COMPLETIONS: u32 = 8192;

/// One shard's ring with everything on it.
pub struct Driver {
    port: Port,
}

impl Driver {
    /// Builds the ring of `shard`, which must be called on the thread that will run it.
    pub fn new(shard: usize, bells: Bells, listeners: Vec<Listener>) -> Result<Driver, Fatal> {
        let fatal = |what: &str| {
            let action = format!("{what} for shard {shard}");
            move |error: io::Error| Fatal::system(action, error.to_string())
        };
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // Without the flag a submission that waits for nothing would leave deferred work undone.
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)
            .map_err(fatal("set up io_uring"))?;
        let buffers = Buffers::register(&ring).map_err(fatal("register receive buffers"))?;
        bells[shard].set_ring_fd(ring.as_raw_fd());
        Ok(Driver { port: Port::new(shard, ring, buffers, bells, listeners) })
    }

    /// Serves until the handler has stopped.
    pub fn run(mut self, handler: &mut impl Handler) -> Result<(), Fatal> {
        let port = &mut self.port;
        port.listen();
        loop {
            port.begin_turn();
            handler.turn_end(port);
            if handler.stopped() {
                // The replies of this turn go out as far as they can at once.
                let _ = port.ring.submit();
                return Ok(());
            }
            let wait = match port.has_completed() {
                false => handler.before_sleep(),
                true => None,
            };
            let slept = port.enter(wait);
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

/// The result of a bell that another ring has posted.
const RUNG: i32 = 0x0c0e;

/// A receive request for a connection, into whatever provided buffer is next.
fn receive(fd: i32) -> io_uring::squeue::Entry {
    opcode::RecvMulti::new(types::Fd(fd), GROUP).build()
}

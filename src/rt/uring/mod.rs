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

use super::bell::Bells;
use super::listen::Listener;
use super::{Handler, Peer, listen};
use crate::error::Fatal;
use buffers::{Buffers, GROUP};
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, types};
use port::{Operation, Port};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Requests that may be prepared between two submissions; more only cost a submission in between.
const SUBMISSIONS: u32 = 1024;
/// Completions that the kernel keeps without falling back to its overflow list.
const COMPLETIONS: u32 = 8192;

/// One shard's ring with everything on it.
pub struct Driver {
    port: Port,
    buffers: Buffers,
    bells: Bells,
    shard: usize,
    /// What has happened and is not worked off, oldest first.
    completed: VecDeque<(u64, i32, u32)>,
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
        let port = Port::new(ring, bells.clone(), listeners);
        Ok(Driver { port, buffers, bells, shard, completed: VecDeque::new() })
    }

    /// Serves until the handler has stopped. Never yields to other tasks: there are none.
    pub async fn run(mut self, handler: &mut impl Handler) -> Result<(), Fatal> {
        for index in 0..self.port.listeners.len() {
            self.arm_accept(index);
        }
        let poll =
            opcode::PollAdd::new(types::Fd(self.bells[self.shard].event_fd()), libc::POLLIN as u32);
        self.port.push(poll.multi(true).build().user_data(Operation::Bell.encode()));
        loop {
            self.port.begin_turn();
            handler.turn_end(&mut self.port);
            if handler.stopped() {
                // The replies of this turn go out as far as they can at once.
                let _ = self.port.ring.submit();
                return Ok(());
            }
            let wait = match self.completed.is_empty() {
                true => handler.before_sleep(),
                false => None,
            };
            let slept = self.enter(wait);
            self.bells[self.shard].disarm();
            slept.map_err(|error| {
                let action = format!("wait for events on shard {}", self.shard);
                Fatal::system(action, error.to_string())
            })?;
            self.port.begin_turn();
            self.collect();
            self.complete_all(handler);
        }
    }

    /// Submits what is prepared; waits for a completion for at most `wait` if that is given.
    fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let timeout;
        let (want, args) = match wait {
            None => (0, SubmitArgs::new()),
            Some(wait) => {
                timeout = Timespec::from(wait);
                (1, SubmitArgs::new().timespec(&timeout))
            }
        };
        match self.port.ring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn collect(&mut self) {
        let completions = self.port.ring.completion();
        self.completed.extend(completions.map(|c| (c.user_data(), c.result(), c.flags())));
    }

    /// Works off what has completed, but for each connection one buffer of what it has sent: the
    /// rest waits for the next turns, so that nobody has the shard for itself. Whoever sends faster
    /// than that runs out of buffers, and is read again when its own are worked off.
    fn complete_all(&mut self, handler: &mut impl Handler) {
        for _ in 0..self.completed.len() {
            let Some((data, result, flags)) = self.completed.pop_front() else { return };
            match Operation::decode(data) {
                Some(Operation::Receive(token)) if !self.port.is_its_turn(token) => {
                    self.completed.push_back((data, result, flags));
                }
                Some(operation) => self.complete(handler, operation, result, flags),
                None => {}
            }
        }
    }

    fn complete(
        &mut self,
        handler: &mut impl Handler,
        operation: Operation,
        result: i32,
        flags: u32,
    ) {
        match operation {
            Operation::Receive(token) => {
                let more = cqueue::more(flags);
                if let Some(id) = cqueue::buffer_select(flags) {
                    if result > 0 && self.port.is_open(token) {
                        // SAFETY: the kernel has just handed this buffer over with its first
                        // `result` bytes written, and takes it back only by `release` below.
                        let bytes = unsafe { self.buffers.filled(id, result as usize) };
                        handler.received(&mut self.port, token, bytes);
                    }
                    self.buffers.release(id);
                }
                self.port.receive_done(handler, token, result, more);
            }
            Operation::Send(token) => self.port.send_done(handler, token, result),
            Operation::Accept(listener) => {
                if result >= 0 {
                    self.accepted(handler, result, listener);
                }
                if !cqueue::more(flags) {
                    self.accept_ended(result, listener);
                }
            }
            Operation::AcceptAgain(listener) => self.arm_accept(listener),
            // A bell only ends the sleep; a poll that ended must be armed again.
            Operation::Bell if result == RUNG => {}
            Operation::Bell => {
                self.drain_event();
                if !cqueue::more(flags) {
                    let fd = types::Fd(self.bells[self.shard].event_fd());
                    let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true);
                    self.port.push(poll.build().user_data(Operation::Bell.encode()));
                }
            }
            // The shard sleeps on: it is woken the other way.
            Operation::Message(shard) => self.bells[shard].ring(),
            Operation::Cancel => {}
        }
    }

    fn accepted(&mut self, handler: &mut impl Handler, fd: i32, listener: usize) {
        let peer = match &self.port.listeners[listener].address {
            Some(own) => match listen::addresses(fd) {
                Some((remote, local)) => Peer::Tcp { remote, local },
                None => Peer::Tcp { remote: *own, local: *own },
            },
            None => Peer::Unix { path: self.port.listeners[listener].path.clone() },
        };
        let token = self.port.open(fd);
        handler.accepted(&mut self.port, token, peer, listener);
    }

    fn arm_accept(&mut self, index: usize) {
        let fd = types::Fd(self.port.listeners[index].raw_fd());
        let accept = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.port.push(accept.user_data(Operation::Accept(index).encode()));
    }

    /// Accepts again: at once after an accident of one connection, else after a while. Without free
    /// descriptors or memory it would fail at once again, and do nothing but that.
    fn accept_ended(&mut self, result: i32, listener: usize) {
        let accident = [-libc::ECONNABORTED, -libc::EINTR, -libc::EPROTO].contains(&result);
        if result >= 0 || accident {
            return self.arm_accept(listener);
        }
        let cause = io::Error::from_raw_os_error(-result);
        tracing::warn!(shard = self.shard, %cause, "cannot accept a connection");
        let timeout = opcode::Timeout::new(&raw const ACCEPT_PAUSE).build();
        self.port.push(timeout.user_data(Operation::AcceptAgain(listener).encode()));
    }

    fn drain_event(&self) {
        let mut count = [0u8; 8];
        let fd = self.bells[self.shard].event_fd();
        // SAFETY: reads at most eight bytes into a live array; empty is an error that is ignored.
        let _ = unsafe { libc::read(fd, count.as_mut_ptr().cast(), 8) };
    }
}

/// How long no connection is accepted after it has failed.
static ACCEPT_PAUSE: Timespec = Timespec::new().nsec(100_000_000);

/// The result of a bell that another ring has posted.
const RUNG: i32 = 0x0c0e;

/// A receive request for a connection, into whatever provided buffer is next.
fn receive(fd: i32) -> io_uring::squeue::Entry {
    opcode::RecvMulti::new(types::Fd(fd), GROUP).build()
}

//! What has completed, and telling the handler.

use super::super::Handler;
use super::RUNG;
use super::port::{Operation, Port};
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{cqueue, opcode, types};
use std::io;
use std::time::Duration;

impl Port {
    /// Submits what is prepared; waits for a completion for at most `wait` if that is given.
    pub fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let timeout;
        let (want, args) = match wait {
            None => (0, SubmitArgs::new()),
            Some(wait) => {
                timeout = Timespec::from(wait);
                (1, SubmitArgs::new().timespec(&timeout))
            }
        };
        match self.ring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Works off what has completed, but for each connection one buffer of what it has sent: the
    /// rest waits for the next turns, so that nobody has the shard for itself. Whoever sends faster
    /// than that runs out of buffers, and is read again when its own are worked off.
    pub fn complete_all(&mut self, handler: &mut (impl Handler + ?Sized)) {
        let completions = self.ring.completion();
        self.completed.extend(completions.map(|c| (c.user_data(), c.result(), c.flags())));
        for _ in 0..self.completed.len() {
            let Some((data, result, flags)) = self.completed.pop_front() else { return };
            match Operation::decode(data) {
                Some(Operation::Receive(token)) if !self.is_its_turn(token) => {
                    self.completed.push_back((data, result, flags));
                }
                Some(operation) => self.complete(handler, operation, result, flags),
                None => {}
            }
        }
    }

    fn complete(
        &mut self,
        handler: &mut (impl Handler + ?Sized),
        operation: Operation,
        result: i32,
        flags: u32,
    ) {
        match operation {
            Operation::Receive(token) => {
                let more = cqueue::more(flags);
                if let Some(id) = cqueue::buffer_select(flags) {
                    if result > 0 && self.is_open(token) {
                        // SAFETY: the kernel has just handed this buffer over with its first
                        // `result` bytes written, and takes it back only by `release` below.
                        let bytes = unsafe { self.buffers.filled(id, result as usize) };
                        handler.received(self, token, bytes);
                    }
                    self.buffers.release(id);
                }
                self.receive_done(handler, token, result, more);
            }
            Operation::Send(token) => self.send_done(handler, token, result),
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
                    self.arm_bell();
                }
            }
            // The shard sleeps on: it is woken the other way.
            Operation::Message(shard) => self.bells[shard].ring(),
            Operation::Cancel => {}
        }
    }

    fn accepted(&mut self, handler: &mut (impl Handler + ?Sized), fd: i32, listener: usize) {
        let peer = self.listeners[listener].peer_of(fd);
        let token = self.open(fd);
        handler.accepted(self, token, peer, listener);
    }

    /// Listens, on the listeners and to the other shards.
    pub fn listen(&mut self) {
        for index in 0..self.listeners.len() {
            self.arm_accept(index);
        }
        self.arm_bell();
    }

    fn arm_bell(&mut self) {
        let fd = types::Fd(self.bells[self.shard].event_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(Operation::Bell.encode()));
    }

    /// Awake: whoever has something for this shard need not ring.
    pub fn disarm(&self) {
        self.bells[self.shard].disarm();
    }

    fn arm_accept(&mut self, index: usize) {
        let fd = types::Fd(self.listeners[index].raw_fd());
        let accept = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.push(accept.user_data(Operation::Accept(index).encode()));
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
        self.push(timeout.user_data(Operation::AcceptAgain(listener).encode()));
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

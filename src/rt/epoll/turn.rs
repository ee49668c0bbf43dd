//! What has happened, and telling the handler.

use super::super::{Handler, Io, Token};
use super::port::{EVENTS, Port, RECEIVE_BYTES, Subject};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Connections that a listener's event accepts; who comes after them waits for the next turn.
const ACCEPTS: usize = 64;
/// How long no connection is accepted after it has failed, in milliseconds.
const ACCEPT_PAUSE_MS: i64 = 100;

impl Port {
    /// Takes what has happened; waits for it for at most `wait` if that is given.
    pub fn wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let mut wait = wait.unwrap_or_default();
        if self.pauses.iter().any(Option::is_some) {
            wait = wait.min(Duration::from_millis(ACCEPT_PAUSE_MS as u64));
        }
        let timeout =
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        self.events.clear();
        self.events.reserve(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Works off what has happened: of each connection one buffer of what it has sent, so that nobody
    /// has the shard for itself.
    pub fn complete_all(&mut self, handler: &mut (impl Handler + ?Sized)) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match Subject::decode(event.data) {
                Some(Subject::Connection(token)) => self.connection(handler, token, event.flags),
                Some(Subject::Listener(index)) => self.accept(handler, index),
                // It only ends the sleep.
                Some(Subject::Bell) | None => {}
            }
        }
        // A turn in the middle of this one has had a list of its own.
        if self.events.is_empty() {
            self.events = events;
        }
        self.report(handler);
        self.accept_again();
    }

    fn connection(
        &mut self,
        handler: &mut (impl Handler + ?Sized),
        token: Token,
        flags: EventFlags,
    ) {
        let broken = EventFlags::ERR | EventFlags::HUP;
        if flags.intersects(EventFlags::OUT | broken) && self.send_rest(token) {
            handler.progressed(self, token);
        }
        if flags.intersects(EventFlags::IN | broken) {
            self.receive(handler, token);
        }
    }

    fn receive(&mut self, handler: &mut (impl Handler + ?Sized), token: Token) {
        let Some(socket) = self.sockets.get(token) else { return };
        if !socket.wanted || socket.ended {
            // Nothing is to be heard of it until it is.
            return self.watch(token);
        }
        // Who is told may have a turn in the middle of its own, with a buffer of its own then.
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            buffer = vec![0; RECEIVE_BYTES].into_boxed_slice();
        }
        let result = recv(&socket.fd, &mut *buffer, RecvFlags::DONTWAIT);
        match result {
            Ok((0, _)) => self.end(handler, token),
            Ok((bytes, _)) => handler.received(self, token, &mut buffer[..bytes]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.end(handler, token),
        }
        self.buffer = buffer;
    }

    fn end(&mut self, handler: &mut (impl Handler + ?Sized), token: Token) {
        if let Some(socket) = self.sockets.get_mut(token) {
            socket.ended = true;
            self.watch(token);
            handler.ended(self, token);
        }
    }

    fn accept(&mut self, handler: &mut (impl Handler + ?Sized), index: usize) {
        for _ in 0..ACCEPTS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&self.listeners[index], flags) {
                Ok(fd) => {
                    let peer = self.listeners[index].peer_of(fd.as_raw_fd());
                    let token = self.open(fd);
                    handler.accepted(self, token, peer, index);
                }
                Err(Errno::AGAIN) => return,
                // An accident of one connection.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(cause) => {
                    // Without free descriptors or memory it would fail at once again, and do
                    // nothing but that.
                    tracing::warn!(shard = self.shard, %cause, "cannot accept a connection");
                    if epoll::delete(&self.epoll, &self.listeners[index]).is_ok() {
                        self.pauses[index] = Some(self.now() + ACCEPT_PAUSE_MS);
                    }
                    return;
                }
            }
        }
    }

    fn accept_again(&mut self) {
        for index in 0..self.pauses.len() {
            if self.pauses[index].is_some_and(|until| until <= self.now) {
                self.pauses[index] = match self.watch_listener(index) {
                    Ok(()) => None,
                    Err(_) => Some(self.now + ACCEPT_PAUSE_MS),
                };
            }
        }
    }
}

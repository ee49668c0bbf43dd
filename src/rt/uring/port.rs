//! The driver's hands: sockets, submissions, wake-ups. What a handler reaches through [`Io`].

use super::super::bell::Bells;
use super::super::listen::Listener;
use super::super::slots::{GENERATION_MASK, Slots};
use super::super::{Handler, Io, Socket, Token};
use super::buffers::Buffers;
use super::{RUNG, receive};
use crate::clock;
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use rustix::net::{SendFlags, send};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// What a completion belongs to, packed into its 64 bits: kind, generation, index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Receive(Token),
    Send(Token),
    Accept(usize),
    /// Accepting on this listener failed some time ago and is tried again.
    AcceptAgain(usize),
    Bell,
    /// A message to this shard's ring, which is reported only when it could not be posted.
    Message(usize),
    Cancel,
}

impl Operation {
    pub fn encode(self) -> u64 {
        let (kind, token) = match self {
            Operation::Receive(token) => (1u64, token),
            Operation::Send(token) => (2, token),
            Operation::Accept(listener) => (3, Token { index: listener as u32, generation: 0 }),
            Operation::Bell => (4, Token { index: 0, generation: 0 }),
            Operation::Cancel => (5, Token { index: 0, generation: 0 }),
            Operation::AcceptAgain(listener) => {
                (6, Token { index: listener as u32, generation: 0 })
            }
            Operation::Message(shard) => (7, Token { index: shard as u32, generation: 0 }),
        };
        kind << 56 | u64::from(token.generation & GENERATION_MASK) << 32 | u64::from(token.index)
    }

    pub fn decode(data: u64) -> Option<Operation> {
        let generation = (data >> 32) as u32 & GENERATION_MASK;
        let token = Token { index: data as u32, generation };
        match data >> 56 {
            1 => Some(Operation::Receive(token)),
            2 => Some(Operation::Send(token)),
            3 => Some(Operation::Accept(token.index as usize)),
            4 => Some(Operation::Bell),
            5 => Some(Operation::Cancel),
            6 => Some(Operation::AcceptAgain(token.index as usize)),
            7 => Some(Operation::Message(token.index as usize)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// A multishot receive is armed.
    Armed,
    /// It is being cancelled; its last completion is still to come.
    Ending,
    Idle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    Detaching,
    /// The handler has let go; the descriptor is closed when the last operation has ended.
    Closing,
}

struct OpenSocket {
    fd: OwnedFd,
    life: Life,
    receiving: Receiving,
    /// Whether the handler wants to read.
    wanted: bool,
    /// The turn in which something was received last.
    received_in: u32,
    /// The buffer being sent and how much of it is out.
    sending: Option<(Vec<u8>, usize)>,
}

/// The sockets of one driver and the way to its ring.
///
/// The ring goes before the buffers, which it knows. A buffer in `sending` is not touched, moved in memory or freed until its send has completed.
pub(super) struct Port {
    pub ring: IoUring,
    sockets: Slots<OpenSocket>,
    pub listeners: Vec<Listener>,
    pub bells: Bells,
    pub buffers: Buffers,
    pub shard: usize,
    /// What has happened and is not worked off, oldest first.
    pub completed: VecDeque<(u64, i32, u32)>,
    now: i64,
    turn: u32,
}

impl Port {
    pub fn new(
        shard: usize,
        ring: IoUring,
        buffers: Buffers,
        bells: Bells,
        listeners: Vec<Listener>,
    ) -> Port {
        Port {
            ring,
            sockets: Slots::new(),
            listeners,
            bells,
            buffers,
            shard,
            completed: VecDeque::new(),
            now: clock::wall_ms(),
            turn: 0,
        }
    }

    pub fn has_completed(&self) -> bool {
        !self.completed.is_empty()
    }

    /// Reads the clock for the turn that begins.
    pub fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        self.now = clock::wall_ms();
    }

    pub fn push(&mut self, entry: Entry) {
        loop {
            // SAFETY: every buffer that an entry points to is owned by `sockets` (sends) or by the
            // driver (receives) and stays in place until its completion.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: hand over what is there. An error shows again at the turn's own submission.
            let _ = self.ring.submit();
        }
    }

    /// Takes a new descriptor in and begins to receive from it.
    pub fn open(&mut self, fd: RawFd) -> Token {
        // SAFETY: the kernel (or another driver) has just handed over this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let token = self.sockets.insert(OpenSocket {
            fd,
            life: Life::Open,
            receiving: Receiving::Idle,
            wanted: true,
            received_in: self.turn,
            sending: None,
        });
        self.arm(token);
        token
    }

    fn socket(&mut self, token: Token) -> Option<&mut OpenSocket> {
        self.sockets.get_mut(token)
    }

    pub fn is_open(&mut self, token: Token) -> bool {
        self.socket(token).is_some_and(|socket| socket.life != Life::Closing)
    }

    /// Whether what a connection has sent is to be looked at now, which it is once a turn.
    pub fn is_its_turn(&mut self, token: Token) -> bool {
        let turn = self.turn;
        let socket = self.socket(token);
        socket.is_none_or(|socket| std::mem::replace(&mut socket.received_in, turn) != turn)
    }

    fn arm(&mut self, token: Token) {
        let Some(socket) = self.socket(token) else { return };
        socket.receiving = Receiving::Armed;
        let entry = receive(socket.fd.as_raw_fd());
        self.push(entry.user_data(Operation::Receive(token).encode()));
    }

    fn cancel_receive(&mut self, token: Token) {
        let Some(socket) = self.socket(token) else { return };
        if socket.receiving != Receiving::Armed {
            return;
        }
        socket.receiving = Receiving::Ending;
        let cancel = opcode::AsyncCancel::new(Operation::Receive(token).encode()).build();
        self.push(cancel.user_data(Operation::Cancel.encode()));
    }

    /// A receive has completed: arms it again, or reports the end, as the result says.
    pub fn receive_done(
        &mut self,
        handler: &mut (impl Handler + ?Sized),
        token: Token,
        result: i32,
        more: bool,
    ) {
        let Some(socket) = self.socket(token) else { return };
        if more {
            return;
        }
        socket.receiving = Receiving::Idle;
        let (life, wanted) = (socket.life, socket.wanted);
        let retry =
            result > 0 || [-libc::ENOBUFS, -libc::ECANCELED, -libc::EINTR].contains(&result);
        match life {
            Life::Closing => self.release_if_quiet(token),
            Life::Detaching => self.finish_detach(handler, token),
            Life::Open if retry && wanted => self.arm(token),
            Life::Open if retry => {}
            Life::Open => handler.ended(self, token),
        }
    }

    /// A send has completed: goes on with the rest, or gives the buffer back.
    pub fn send_done(&mut self, handler: &mut (impl Handler + ?Sized), token: Token, result: i32) {
        let Some(socket) = self.socket(token) else { return };
        let Some((buffer, sent)) = &mut socket.sending else { return };
        if result > 0 {
            *sent += result as usize;
        }
        let retry = result > 0 || [-libc::EINTR, -libc::EAGAIN].contains(&result);
        if socket.life != Life::Closing && retry && *sent < buffer.len() {
            self.submit_send(token);
            return handler.progressed(self, token);
        }
        let whole = *sent == buffer.len();
        let buffer = socket.sending.take().map(|(buffer, _)| buffer).unwrap_or_default();
        match socket.life {
            Life::Closing => self.release_if_quiet(token),
            _ => handler.sent(self, token, buffer, whole),
        }
    }

    fn submit_send(&mut self, token: Token) {
        let Some(socket) = self.socket(token) else { return };
        let fd = types::Fd(socket.fd.as_raw_fd());
        let Some((buffer, sent)) = &socket.sending else { return };
        let rest = &buffer[*sent..];
        let len = rest.len().min(u32::MAX as usize >> 1) as u32;
        let send = opcode::Send::new(fd, rest.as_ptr(), len).flags(libc::MSG_NOSIGNAL).build();
        self.push(send.user_data(Operation::Send(token).encode()));
    }

    /// Closes the descriptor once no operation refers to it.
    fn release_if_quiet(&mut self, token: Token) {
        let Some(socket) = self.socket(token) else { return };
        if socket.receiving == Receiving::Idle && socket.sending.is_none() {
            self.sockets.remove(token);
        }
    }

    fn finish_detach(&mut self, handler: &mut (impl Handler + ?Sized), token: Token) {
        if let Some(socket) = self.sockets.remove(token) {
            handler.detached(self, token, Socket::Real(socket.fd));
        }
    }
}

impl Io for Port {
    fn send(&mut self, connection: Token, buffer: Vec<u8>) {
        let Some(socket) = self.socket(connection) else { return };
        debug_assert!(socket.sending.is_none(), "one send at a time");
        socket.sending = Some((buffer, 0));
        self.submit_send(connection);
    }

    fn send_last(&mut self, connection: Token, bytes: &[u8]) {
        if let Some(socket) = self.socket(connection) {
            // Who does not take it now misses it.
            let _ = send(&socket.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    fn close(&mut self, connection: Token) {
        let Some(socket) = self.socket(connection) else { return };
        socket.life = Life::Closing;
        if socket.sending.is_some() {
            // Ends a send that waits for a reader who does not read.
            // SAFETY: no pointers; the descriptor is ours.
            let _ = unsafe { libc::shutdown(socket.fd.as_raw_fd(), libc::SHUT_RDWR) };
        }
        self.cancel_receive(connection);
        self.release_if_quiet(connection);
    }

    fn pause(&mut self, connection: Token, paused: bool) {
        let Some(socket) = self.socket(connection) else { return };
        socket.wanted = !paused;
        match paused {
            true => self.cancel_receive(connection),
            false if socket.receiving == Receiving::Idle => self.arm(connection),
            false => {}
        }
    }

    fn detach(&mut self, connection: Token) {
        let Some(socket) = self.socket(connection) else { return };
        debug_assert!(socket.sending.is_none(), "a connection moves when its replies are out");
        socket.life = Life::Detaching;
        if socket.receiving == Receiving::Idle {
            // Paused: a receive is armed so that there is a completion to end the detaching with.
            self.arm(connection);
        }
        self.cancel_receive(connection);
    }

    fn adopt(&mut self, socket: Socket) -> Token {
        match socket {
            Socket::Real(fd) => self.open(fd.into_raw_fd()),
            Socket::Simulated(_) => unreachable!("a real driver has no simulated sockets"),
        }
    }

    fn ring(&mut self, shard: usize, urgent: bool) {
        if !self.bells[shard].take(urgent) {
            return;
        }
        match self.bells[shard].ring_fd() {
            Some(fd) => {
                let data = Operation::Bell.encode();
                let message = opcode::MsgRingData::new(types::Fd(fd), RUNG, data, None).build();
                let quiet = message.flags(Flags::SKIP_SUCCESS);
                self.push(quiet.user_data(Operation::Message(shard).encode()));
            }
            None => self.bells[shard].ring(),
        }
    }

    fn serve_meanwhile(&mut self, handler: &mut dyn Handler) {
        // An error shows again at the turn's own submission.
        let _ = self.enter(None);
        self.begin_turn();
        self.complete_all(handler);
        let _ = self.enter(None);
    }

    fn set_keepalive(&mut self, seconds: u32) {
        self.listeners.iter().for_each(|listener| listener.set_keepalive(seconds));
    }

    fn fd(&self, connection: Token) -> i32 {
        self.sockets.get(connection).map_or(-1, |socket| socket.fd.as_raw_fd())
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn look_at_clock(&mut self) {
        self.now = clock::wall_ms();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_survive_their_64_bits() {
        let token = Token { index: u32::MAX, generation: GENERATION_MASK };
        for operation in [
            Operation::Receive(token),
            Operation::Send(token),
            Operation::Accept(7),
            Operation::AcceptAgain(7),
            Operation::Message(9),
            Operation::Cancel,
            Operation::Bell,
        ] {
            assert_eq!(Operation::decode(operation.encode()), Some(operation));
        }
        assert_eq!(Operation::decode(0), None);
    }
}

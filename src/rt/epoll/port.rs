//! The driver's hands: sockets, sends, wake-ups. What a handler reaches through [`Io`].

use super::super::bell::Bells;
use super::super::listen::Listener;
use super::super::slots::{GENERATION_MASK, Slots};
use super::super::{Handler, Io, Socket, Token};
use crate::clock;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{SendFlags, send};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes; Redis reads as much at once.
pub(super) const RECEIVE_BYTES: usize = 16 << 10;
/// Events taken from the kernel at once.
pub(super) const EVENTS: usize = 1024;

/// What an event is about, packed into its 64 bits: kind, generation, index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Connection(Token),
    Listener(usize),
    Bell,
}

impl Subject {
    fn encode(self) -> EventData {
        EventData::new_u64(match self {
            Subject::Connection(token) => {
                1 << 56
                    | u64::from(token.generation & GENERATION_MASK) << 32
                    | u64::from(token.index)
            }
            Subject::Listener(index) => 2 << 56 | index as u64,
            Subject::Bell => 3 << 56,
        })
    }

    pub fn decode(data: EventData) -> Option<Subject> {
        let data = data.u64();
        let generation = (data >> 32) as u32 & GENERATION_MASK;
        match data >> 56 {
            1 => Some(Subject::Connection(Token { index: data as u32, generation })),
            2 => Some(Subject::Listener(data as u32 as usize)),
            3 => Some(Subject::Bell),
            _ => None,
        }
    }
}

/// What the handler has asked for and hears of after its call.
pub(super) enum Report {
    Sent { connection: Token, buffer: Vec<u8>, whole: bool },
    Detached(Token),
}

pub(super) struct OpenSocket {
    pub fd: OwnedFd,
    /// What epoll watches it for; `None` when it is taken out.
    watched: Option<EventFlags>,
    /// Whether the handler wants to read.
    pub wanted: bool,
    /// The peer has ended, or the connection is broken, and the handler knows.
    pub ended: bool,
    /// The buffer whose rest is to be sent when the system takes more, and how much of it is out.
    stuck: Option<(Vec<u8>, usize)>,
}

/// The sockets of one driver and what it sleeps in.
pub(super) struct Port {
    pub epoll: OwnedFd,
    pub events: Vec<epoll::Event>,
    pub sockets: Slots<OpenSocket>,
    pub listeners: Vec<Listener>,
    /// Listeners that are not watched until then, since accepting has failed.
    pub pauses: Vec<Option<i64>>,
    bells: Bells,
    /// Shards to be woken at the end of the turn.
    to_wake: Vec<usize>,
    pub shard: usize,
    /// What all receives of a shard are read into.
    pub buffer: Box<[u8]>,
    reports: VecDeque<Report>,
    pub now: i64,
}

impl Port {
    pub fn new(shard: usize, bells: Bells, listeners: Vec<Listener>) -> io::Result<Port> {
        let port = Port {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            sockets: Slots::new(),
            pauses: vec![None; listeners.len()],
            listeners,
            bells,
            to_wake: Vec::new(),
            shard,
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            reports: VecDeque::new(),
            now: clock::wall_ms(),
        };
        for (index, listener) in port.listeners.iter().enumerate() {
            ioctl_fionbio(listener, true)?;
            port.watch_listener(index)?;
        }
        // Each ring is an edge of its own, so that the count need never be read.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&port.epoll, port.bells[shard].event(), Subject::Bell.encode(), edge)?;
        Ok(port)
    }

    pub fn watch_listener(&self, index: usize) -> io::Result<()> {
        let data = Subject::Listener(index).encode();
        Ok(epoll::add(&self.epoll, &self.listeners[index], data, EventFlags::IN)?)
    }

    /// Reads the clock for the turn that begins.
    pub fn begin_turn(&mut self) {
        self.now = clock::wall_ms();
    }

    /// Awake: whoever has something for this shard need not ring.
    pub fn disarm(&self) {
        self.bells[self.shard].disarm();
    }

    pub fn ring_bells(&mut self) {
        for shard in self.to_wake.drain(..) {
            self.bells[shard].ring();
        }
    }

    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Tells the handler what has become of its requests so far.
    pub fn report(&mut self, handler: &mut (impl Handler + ?Sized)) {
        for _ in 0..self.reports.len() {
            match self.reports.pop_front() {
                Some(Report::Sent { connection, buffer, whole }) => {
                    if self.sockets.get(connection).is_some() {
                        handler.sent(self, connection, buffer, whole);
                    }
                }
                Some(Report::Detached(token)) => {
                    if let Some(socket) = self.sockets.remove(token) {
                        handler.detached(self, token, Socket::Real(socket.fd));
                    }
                }
                None => return,
            }
        }
    }

    /// Takes a new descriptor in and begins to receive from it.
    pub fn open(&mut self, fd: OwnedFd) -> Token {
        let socket = OpenSocket { fd, watched: None, wanted: true, ended: false, stuck: None };
        let token = self.sockets.insert(socket);
        self.watch(token);
        token
    }

    /// Has epoll watch a socket for what it is to be watched for.
    pub fn watch(&mut self, token: Token) {
        let Some(socket) = self.sockets.get_mut(token) else { return };
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, socket.wanted && !socket.ended);
        flags.set(EventFlags::OUT, socket.stuck.is_some());
        // What is watched for nothing still reports a hang-up, over and over.
        let flags = (!flags.is_empty()).then_some(flags);
        if flags == socket.watched {
            return;
        }
        let data = Subject::Connection(token).encode();
        let done = match (socket.watched, flags) {
            (None, Some(flags)) => epoll::add(&self.epoll, &socket.fd, data, flags),
            (Some(_), Some(flags)) => epoll::modify(&self.epoll, &socket.fd, data, flags),
            (_, None) => epoll::delete(&self.epoll, &socket.fd),
        };
        socket.watched = flags;
        if let Err(error) = done {
            tracing::warn!(shard = self.shard, %error, "cannot watch a connection");
        }
    }

    /// Goes on with a send that got stuck; whether some of it went out and the rest did not.
    pub fn send_rest(&mut self, token: Token) -> bool {
        let Some(socket) = self.sockets.get_mut(token) else { return false };
        let Some((buffer, before)) = socket.stuck.take() else { return false };
        self.send_from(token, buffer, before);
        let stuck = self.sockets.get(token).and_then(|socket| socket.stuck.as_ref());
        stuck.is_some_and(|(_, sent)| *sent > before)
    }

    /// Sends what the system takes of `buffer[sent..]`; the rest waits until it takes more.
    fn send_from(&mut self, connection: Token, buffer: Vec<u8>, mut sent: usize) {
        let Some(socket) = self.sockets.get_mut(connection) else { return };
        let broken = loop {
            if sent == buffer.len() {
                break false;
            }
            match send(&socket.fd, &buffer[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(bytes) => sent += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    socket.stuck = Some((buffer, sent));
                    return self.watch(connection);
                }
                Err(_) => break true,
            }
        };
        self.reports.push_back(Report::Sent { connection, buffer, whole: !broken });
        self.watch(connection);
    }
}

impl Io for Port {
    fn send(&mut self, connection: Token, buffer: Vec<u8>) {
        self.send_from(connection, buffer, 0);
    }

    fn send_last(&mut self, connection: Token, bytes: &[u8]) {
        if let Some(socket) = self.sockets.get(connection) {
            // Who does not take it now misses it.
            let _ = send(&socket.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    fn close(&mut self, connection: Token) {
        // The system takes a closed socket out of the epoll instance.
        self.sockets.remove(connection);
    }

    fn pause(&mut self, connection: Token, paused: bool) {
        let Some(socket) = self.sockets.get_mut(connection) else { return };
        socket.wanted = !paused;
        if !paused {
            self.watch(connection);
        }
    }

    fn detach(&mut self, connection: Token) {
        let Some(socket) = self.sockets.get_mut(connection) else { return };
        debug_assert!(socket.stuck.is_none(), "a connection moves when its replies are out");
        socket.wanted = false;
        self.watch(connection);
        self.reports.push_back(Report::Detached(connection));
    }

    fn adopt(&mut self, socket: Socket) -> Token {
        match socket {
            Socket::Real(fd) => self.open(fd),
            Socket::Simulated(_) => unreachable!("a real driver has no simulated sockets"),
        }
    }

    fn ring(&mut self, shard: usize, urgent: bool) {
        if self.bells[shard].take(urgent) {
            self.to_wake.push(shard);
        }
    }

    fn serve_meanwhile(&mut self, handler: &mut dyn Handler) {
        self.ring_bells();
        // An error shows again at the turn's own wait.
        let _ = self.wait(None);
        self.begin_turn();
        self.complete_all(handler);
        self.ring_bells();
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
    fn subjects_survive_their_64_bits() {
        let token = Token { index: u32::MAX, generation: GENERATION_MASK };
        for subject in [Subject::Connection(token), Subject::Listener(7), Subject::Bell] {
            assert_eq!(Subject::decode(subject.encode()), Some(subject));
        }
        assert_eq!(Subject::decode(EventData::new_u64(0)), None);
    }
}

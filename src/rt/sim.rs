//! The simulated driver: many shards and clients in one thread, in an order that one seed decides.
//!
//! Nothing here is a socket, a thread or a clock. What the real driver leaves to chance is drawn from
//! the seed: how bytes are cut into reads, when a shard has its turn, when a send is through, how late
//! a message is seen, how time goes by. Handlers, mailboxes and everything above are the real ones.
//! The same seed gives the same run.

use super::{Handler, Io, Peer, Socket, Token};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

/// One client's end of a simulated connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(u64);

#[derive(Default)]
struct Link {
    /// The shard that has the socket, and its name there; `None` on the way between shards.
    at: Option<(usize, Token)>,
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    closed: bool,
    /// The client reads nothing: what is being sent stays under way.
    deaf: bool,
    /// Nothing more can be sent to the client.
    broken: bool,
    /// The client has closed its side, and whether the server has been told.
    ended: bool,
    told: bool,
}

/// One shard's driver.
struct SimIo {
    sockets: Vec<Option<SimSocket>>,
    generation: u32,
    now: i64,
    /// Connections taken in during the current call, and those closed by it.
    adopted: Vec<(u64, Token)>,
    closed: Vec<u64>,
}

struct SimSocket {
    token: Token,
    link: u64,
    paused: bool,
    detaching: bool,
    sending: Option<Vec<u8>>,
}

/// A whole server in one thread.
pub struct Simulation<H> {
    shards: Vec<(H, SimIo)>,
    links: BTreeMap<u64, Link>,
    random: fastrand::Rng,
    now: i64,
    next_link: u64,
}

/// Where simulated time begins, milliseconds since the epoch.
const START: i64 = 1_700_000_000_000;

enum Action {
    Deliver(u64),
    End(u64),
    Sent(usize, usize),
    Detach(usize, usize),
    Turn(usize),
}

impl<H: Handler> Simulation<H> {
    pub fn new(handlers: Vec<H>, seed: u64) -> Simulation<H> {
        let io = || SimIo {
            sockets: Vec::new(),
            generation: 0,
            now: START,
            adopted: Vec::new(),
            closed: Vec::new(),
        };
        Simulation {
            shards: handlers.into_iter().map(|handler| (handler, io())).collect(),
            links: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            now: START,
            next_link: 0,
        }
    }

    /// Connects a client to a shard.
    pub fn connect(&mut self, shard: usize) -> Client {
        let id = self.next_link;
        self.next_link += 1;
        let (handler, io) = &mut self.shards[shard];
        let token = io.open(id);
        self.links.insert(id, Link { at: Some((shard, token)), ..Link::default() });
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1024 + id as u16);
        handler.accepted(io, token, Peer::Tcp { remote: address, local: address }, 0);
        self.apply(shard);
        Client(id)
    }

    /// Puts bytes on their way to the server.
    pub fn write(&mut self, client: Client, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(&client.0) {
            link.to_server.extend(bytes);
        }
    }

    /// Takes the bytes that have arrived at a client.
    pub fn read(&mut self, client: Client) -> Vec<u8> {
        let link = self.links.get_mut(&client.0);
        link.map(|link| std::mem::take(&mut link.to_client)).unwrap_or_default()
    }

    /// Closes the client's side; what it has written still arrives.
    pub fn hang_up(&mut self, client: Client) {
        if let Some(link) = self.links.get_mut(&client.0) {
            link.ended = true;
        }
    }

    /// Breaks the connection: what it has written is lost, nothing can be sent to it.
    pub fn cut(&mut self, client: Client) {
        if let Some(link) = self.links.get_mut(&client.0) {
            link.to_server.clear();
            (link.ended, link.broken, link.deaf) = (true, true, false);
        }
    }

    /// Whether the client reads nothing from now on, as when its window is full.
    pub fn stop_reading(&mut self, client: Client, stopped: bool) {
        if let Some(link) = self.links.get_mut(&client.0) {
            link.deaf = stopped;
        }
    }

    pub fn is_closed(&self, client: Client) -> bool {
        self.links.get(&client.0).is_none_or(|link| link.closed)
    }

    /// The shard that serves a client now.
    pub fn shard_of(&self, client: Client) -> Option<usize> {
        self.links.get(&client.0)?.at.map(|(shard, _)| shard)
    }

    pub fn handler(&self, shard: usize) -> &H {
        &self.shards[shard].0
    }

    /// Sockets that are open, on all shards.
    pub fn open_sockets(&self) -> usize {
        self.shards.iter().map(|(_, io)| io.sockets.iter().flatten().count()).sum()
    }

    /// Lets one thing happen, whatever the seed picks.
    pub fn step(&mut self) {
        if self.random.u8(..) < 8 {
            self.now += self.random.i64(0..50);
        }
        let mut actions: Vec<Action> = (0..self.shards.len()).map(Action::Turn).collect();
        self.add_waiting(&mut actions);
        let picked = self.random.usize(..actions.len());
        self.perform(actions.swap_remove(picked));
    }

    /// Runs until nothing is under way; panics when that takes more than `steps` steps.
    pub fn settle(&mut self, steps: usize) {
        let mut quiet = 0;
        for _ in 0..steps {
            self.step();
            let mut waiting = Vec::new();
            self.add_waiting(&mut waiting);
            let asleep =
                self.shards.iter_mut().all(|(handler, _)| handler.before_sleep().is_some());
            // Every shard has turns enough to have seen what the others sent it last.
            quiet = if waiting.is_empty() && asleep { quiet + 1 } else { 0 };
            if quiet > 20 * self.shards.len() {
                return;
            }
        }
        panic!("still busy after {steps} steps");
    }

    fn add_waiting(&self, actions: &mut Vec<Action>) {
        for (&id, link) in &self.links {
            if let Some((shard, token)) = link.at
                && !link.closed
                && self.shards[shard].1.reads(token)
            {
                match link.to_server.is_empty() {
                    false => actions.push(Action::Deliver(id)),
                    true if link.ended && !link.told => actions.push(Action::End(id)),
                    true => {}
                }
            }
        }
        for (shard, (_, io)) in self.shards.iter().enumerate() {
            for (index, socket) in io.sockets.iter().enumerate() {
                match socket {
                    Some(socket) if socket.sending.is_some() => {
                        if self.links.get(&socket.link).is_some_and(|link| link.deaf) {
                            continue;
                        }
                        actions.push(Action::Sent(shard, index));
                    }
                    Some(socket) if socket.detaching => actions.push(Action::Detach(shard, index)),
                    _ => {}
                }
            }
        }
    }

    fn perform(&mut self, action: Action) {
        let shard = match action {
            Action::Deliver(id) => self.deliver(id),
            Action::End(id) => self.end(id),
            Action::Sent(shard, index) => self.sent(shard, index),
            Action::Detach(shard, index) => self.detach(shard, index),
            Action::Turn(shard) => {
                let (handler, io) = &mut self.shards[shard];
                io.now = self.now;
                handler.turn_end(io);
                shard
            }
        };
        self.apply(shard);
    }

    fn deliver(&mut self, id: u64) -> usize {
        let link = self.links.get_mut(&id).expect("picked from the links");
        let (shard, token) = link.at.expect("picked because it is at a shard");
        let most = link.to_server.len().min(1 << self.random.u32(0..13));
        let len = self.random.usize(1..=most);
        let mut bytes: Vec<u8> = link.to_server.drain(..len).collect();
        let (handler, io) = &mut self.shards[shard];
        io.now = self.now;
        handler.received(io, token, &mut bytes);
        shard
    }

    fn end(&mut self, id: u64) -> usize {
        let link = self.links.get_mut(&id).expect("picked from the links");
        link.told = true;
        let (shard, token) = link.at.expect("picked because it is at a shard");
        let (handler, io) = &mut self.shards[shard];
        io.now = self.now;
        handler.ended(io, token);
        shard
    }

    fn sent(&mut self, shard: usize, index: usize) -> usize {
        let (handler, io) = &mut self.shards[shard];
        let socket = io.sockets[index].as_mut().expect("picked because it sends");
        let (token, id) = (socket.token, socket.link);
        let buffer = socket.sending.take().expect("picked because it sends");
        let mut whole = false;
        if let Some(link) = self.links.get_mut(&id)
            && !link.broken
        {
            link.to_client.extend_from_slice(&buffer);
            whole = true;
        }
        io.now = self.now;
        handler.sent(io, token, buffer, whole);
        shard
    }

    fn detach(&mut self, shard: usize, index: usize) -> usize {
        let (handler, io) = &mut self.shards[shard];
        let socket = io.sockets[index].take().expect("picked because it is being detached");
        if let Some(link) = self.links.get_mut(&socket.link) {
            link.at = None;
            link.told = false;
        }
        io.now = self.now;
        handler.detached(io, socket.token, Socket::Simulated(socket.link));
        shard
    }

    /// Makes the links agree with what a shard has just done.
    fn apply(&mut self, shard: usize) {
        let io = &mut self.shards[shard].1;
        for (id, token) in io.adopted.drain(..) {
            if let Some(link) = self.links.get_mut(&id) {
                link.at = Some((shard, token));
            }
        }
        for id in io.closed.drain(..) {
            if let Some(link) = self.links.get_mut(&id) {
                link.closed = true;
            }
        }
    }
}

impl SimIo {
    fn open(&mut self, link: u64) -> Token {
        let index = match self.sockets.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.sockets.push(None);
                self.sockets.len() - 1
            }
        };
        self.generation += 1;
        let token = Token { index: index as u32, generation: self.generation };
        let socket = SimSocket { token, link, paused: false, detaching: false, sending: None };
        self.sockets[index] = Some(socket);
        token
    }

    fn socket(&mut self, token: Token) -> Option<&mut SimSocket> {
        self.sockets.get_mut(token.index as usize)?.as_mut().filter(|s| s.token == token)
    }

    fn reads(&self, token: Token) -> bool {
        let socket = self.sockets.get(token.index as usize).and_then(Option::as_ref);
        socket.is_some_and(|socket| socket.token == token && !socket.paused)
    }
}

impl Io for SimIo {
    fn send(&mut self, connection: Token, buffer: Vec<u8>) {
        if let Some(socket) = self.socket(connection) {
            assert!(socket.sending.is_none(), "one send at a time");
            socket.sending = Some(buffer);
        }
    }

    fn send_last(&mut self, _connection: Token, _bytes: &[u8]) {}

    fn close(&mut self, connection: Token) {
        if let Some(socket) = self.socket(connection) {
            let link = socket.link;
            self.closed.push(link);
            self.sockets[connection.index as usize] = None;
        }
    }

    fn pause(&mut self, connection: Token, paused: bool) {
        if let Some(socket) = self.socket(connection) {
            socket.paused = paused;
        }
    }

    fn detach(&mut self, connection: Token) {
        if let Some(socket) = self.socket(connection) {
            socket.detaching = true;
        }
    }

    fn adopt(&mut self, socket: Socket) -> Token {
        let Socket::Simulated(link) = socket else {
            unreachable!("a simulated driver has no real sockets")
        };
        let token = self.open(link);
        self.adopted.push((link, token));
        token
    }

    fn ring(&mut self, _shard: usize, _urgent: bool) {}

    fn serve_meanwhile(&mut self, _handler: &mut dyn Handler) {}

    fn set_keepalive(&mut self, _seconds: u32) {}

    fn fd(&self, connection: Token) -> i32 {
        connection.index as i32
    }

    fn now(&self) -> i64 {
        self.now
    }

    /// The world's time passes between turns alone.
    fn look_at_clock(&mut self) {}
}

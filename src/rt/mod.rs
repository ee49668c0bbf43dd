//! The runtime seam: executors, sockets, timers, wake-ups. Only this room names glommio and io_uring.
//!
//! ```text
//!   executor (one pinned thread per shard)
//!      └─ driver: own ring ── completions ──> Handler (net) ── calls ──> Io (the driver's hands)
//!             ^
//!             └ bells of other shards arrive on the same ring
//! ```
//!
//! A [`Handler`] is told what happened and calls [`Io`] to make things happen; it never waits. So
//! the same handler runs on the driver over io_uring (`uring`), on the one over epoll where a host forbids
//! that (`epoll`), and in the seeded single-thread simulator (`sim`).
//!
//! The driver owns the sleep: a shard thread blocks in its own ring (or epoll instance) and nowhere else.
//! Nothing on a shard's executor waits on glommio's reactor, whose park costs three rings' work each
//! time. Without io_uring there is no glommio either: a plain pinned thread runs the driver.

mod background;
mod bell;
mod driver;
mod epoll;
mod executor;
pub mod heap;
mod listen;
mod peer;
mod probe;
mod signals;
pub mod sim;
mod slots;
mod uring;

pub use background::yield_to_all;
pub use bell::{Bell, Bells};
pub use driver::Driver;
pub use executor::{on_core, usable_cores};
pub use listen::{ListenOptions, Listener, tcp_listener, tcp_port_is_taken, unix_listener};
pub use peer::Peer;
pub use probe::{check_host, raise_descriptors};
pub use signals::Signals;

use std::os::fd::OwnedFd;
use std::time::Duration;

/// What a shard's thread sleeps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// glommio's executor and a ring.
    IoUring,
    /// A plain thread and an epoll instance.
    Epoll,
}

impl Runtime {
    pub fn name(self) -> &'static str {
        match self {
            Runtime::IoUring => "io_uring",
            Runtime::Epoll => "epoll",
        }
    }
}

/// A connection on one driver. Never used again for another one: the generation differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    pub index: u32,
    /// 24 bits.
    pub generation: u32,
}

/// A connected socket on its way from one driver to another.
#[derive(Debug)]
pub enum Socket {
    Real(OwnedFd),
    /// The number of a simulated connection.
    Simulated(u64),
}

/// What a handler may ask of its driver. No call waits or fails: what comes of it is reported to
/// the handler later.
pub trait Io {
    /// Sends a buffer; at most one per connection at a time. Answered by [`Handler::sent`].
    fn send(&mut self, connection: Token, buffer: Vec<u8>);

    /// Sends a few bytes, as far as that can be done at once, on a connection that sends nothing else
    /// and is about to be closed.
    fn send_last(&mut self, connection: Token, bytes: &[u8]);

    /// Closes a connection at once; nothing more is reported of it.
    fn close(&mut self, connection: Token);

    /// Stops (or goes on) reading from a connection. What is under way may still arrive.
    fn pause(&mut self, connection: Token, paused: bool);

    /// Takes the socket out of this driver. Answered by [`Handler::detached`].
    fn detach(&mut self, connection: Token);

    /// Puts a socket into this driver and begins to read from it.
    fn adopt(&mut self, socket: Socket) -> Token;

    /// Wakes another shard, if it sleeps, once this turn's work is done; for what is not urgent
    /// only if it expects something.
    fn ring(&mut self, shard: usize, urgent: bool);

    /// Tells the handler, in the middle of something else, what has happened meanwhile, and sends what
    /// it has written.
    fn serve_meanwhile(&mut self, handler: &mut dyn Handler);

    /// After how many seconds of silence the system probes connections accepted from now on; 0 is
    /// never.
    fn set_keepalive(&mut self, seconds: u32);

    /// The connection's number in the system, for people.
    fn fd(&self, connection: Token) -> i32;

    /// Wall-clock milliseconds since the epoch at the beginning of this turn.
    fn now(&self) -> i64;

    /// Has the turn begin now, after the handler has slept in it.
    fn look_at_clock(&mut self);
}

/// What a driver reports to; one per shard.
pub trait Handler {
    /// A client has connected to the listener with this number.
    fn accepted(&mut self, io: &mut dyn Io, connection: Token, peer: Peer, listener: usize);

    /// Bytes arrived; they are gone when the call returns.
    fn received(&mut self, io: &mut dyn Io, connection: Token, bytes: &mut [u8]);

    /// The peer will send nothing more, or the connection broke.
    fn ended(&mut self, io: &mut dyn Io, connection: Token);

    /// A buffer has been sent whole (`true`) or cannot be, and comes back.
    fn sent(&mut self, io: &mut dyn Io, connection: Token, buffer: Vec<u8>, whole: bool);

    /// Some of a buffer has been sent, and the rest goes on.
    fn progressed(&mut self, _io: &mut dyn Io, _connection: Token) {}

    /// A socket asked for by [`Io::detach`]; nothing more is reported of its token.
    fn detached(&mut self, io: &mut dyn Io, connection: Token, socket: Socket);

    /// The end of a turn: read the mailboxes, flush what the turn has written.
    fn turn_end(&mut self, io: &mut dyn Io);

    /// About to sleep: for how long at most, or `None` when there is work to do at once.
    fn before_sleep(&mut self) -> Option<Duration>;

    /// Whether the driver shall return.
    fn stopped(&self) -> bool;
}

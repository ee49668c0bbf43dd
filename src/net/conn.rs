//! One connection: its session, what it has sent and not got an answer to, what is to be sent to it.

use super::client_memory::Counted;
use super::migrate::Traffic;
use super::operation::Operation;
use super::tls::Tls;
use super::transaction::Transaction;
use crate::resp::{Parser, Span};
use crate::route::ReplyQueue;
use crate::rt::Token;
use crate::session::{ClientRef, ConnectionFacts, Session};
use bytes::BytesMut;
use std::collections::VecDeque;

/// A buffer beyond this size is given back instead of being kept for the next use, bytes.
pub const KEPT_BUFFER: usize = 64 << 10;

/// Output is kept in pieces of about this size, bytes.
const PIECE: usize = 256 << 10;

/// Output that leaves when the journal has written so far.
pub struct Piece {
    bytes: Vec<u8>,
    written_at: u64,
}

/// A connection on the shard that serves it.
pub struct Conn {
    pub session: Session,
    /// Where the worker keeps it.
    pub token: Token,
    pub client: ClientRef,
    /// What a client of a TLS listener has between its socket and all else here.
    pub tls: Option<Box<Tls>>,
    /// Replies in order, ready to be sent.
    pub out: Vec<u8>,
    /// Replies before those in `out`, in pieces: one buffer for all of them would have to be copied
    /// whenever it grows, and would have room for twice as much as is in it.
    pub pieces: VecDeque<Piece>,
    /// Bytes in `pieces`.
    pub pieces_len: usize,
    /// What is in `out` leaves when the journal has written so far.
    pub written_at: u64,
    /// It is looked at again when the journal has written more.
    pub awaits_journal: bool,
    /// Not read from, because the journal is far behind.
    pub behind: bool,
    /// Bytes of the buffer that is being sent; 0 when none is.
    pub sending: usize,
    /// Bytes received that are not a whole request yet, or that must wait.
    pub query: BytesMut,
    /// Not read from, because what has arrived waits for an operation.
    pub far_ahead: bool,
    pub parser: Parser,
    /// Arguments of the request at the head of `query`, as far as it has been read.
    pub spans: Vec<Span>,
    pub queue: ReplyQueue,
    /// What the connection waits for; until then it runs no further request.
    pub operation: Option<Operation>,
    /// In the list of connections to flush at the end of the turn.
    pub dirty: bool,
    /// The peer has closed its side: to be closed once the replies are out.
    pub ended: bool,
    /// To be closed at the end of the turn, whatever is still to be sent.
    pub kill_now: bool,
    /// Not read from, until the queue to this shard has room.
    pub held_back_by: Option<usize>,
    pub traffic: Traffic,
    /// The shard to which it moves as soon as nothing is under way.
    pub moving_to: Option<usize>,
    /// The socket is being taken out of the driver.
    pub detaching: bool,
    /// Since when the output is above the soft limit, milliseconds since the epoch.
    pub over_soft_limit_since: Option<i64>,
    /// Batches of this connection that its own shard has put off.
    pub put_off: usize,
    /// Counted among those who listen to channels.
    pub listens: bool,
    /// Other clients' invalidations may be sent to it.
    pub is_target: bool,
    /// Messages that have come while a request was on its way whose reply is to be first.
    pub early: Vec<u8>,
    /// Requests since MULTI, watched keys.
    pub transaction: Option<Box<Transaction>>,
    pub counted: Counted,
}

impl Conn {
    pub fn new(session: Session, token: Token, shard: usize) -> Conn {
        Conn {
            client: ClientRef::new(shard, session.id),
            token,
            session,
            tls: None,
            out: Vec::new(),
            pieces: VecDeque::new(),
            pieces_len: 0,
            written_at: 0,
            awaits_journal: false,
            behind: false,
            sending: 0,
            query: BytesMut::new(),
            far_ahead: false,
            parser: Parser::default(),
            spans: Vec::new(),
            queue: ReplyQueue::default(),
            operation: None,
            dirty: false,
            ended: false,
            kill_now: false,
            held_back_by: None,
            traffic: Traffic::default(),
            moving_to: None,
            detaching: false,
            over_soft_limit_since: None,
            put_off: 0,
            listens: false,
            is_target: false,
            early: Vec::new(),
            transaction: None,
            counted: Counted::default(),
        }
    }

    /// Whether requests that have arrived must wait, or will never run.
    pub fn is_held(&self) -> bool {
        self.operation.is_some() || self.detaching || self.session.closing || self.kill_now
    }

    /// Whether it waits for something that may never come.
    pub fn is_blocked(&self) -> bool {
        match &self.operation {
            Some(Operation::Blocking(blocking)) => blocking.is_waiting(),
            Some(Operation::Syncing) => true,
            _ => false,
        }
    }

    /// Whether nothing is read for now.
    pub fn is_paused(&self) -> bool {
        self.far_ahead || self.held_back_by.is_some() || self.behind
    }

    /// Whether there is something to send that is not being sent yet.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.pieces.is_empty() || self.has_sealed_output()
    }

    /// Whether there is something to send that waits for nothing but the socket.
    pub fn has_sealed_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_output())
    }

    /// Whether replies must wait for a handshake.
    pub fn is_in_handshake(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_open())
    }

    /// Begins a new piece of output when the last one is long enough.
    pub fn seal(&mut self) {
        if self.out.len() >= PIECE {
            self.seal_written();
        }
    }

    /// Ends the present piece, so that what follows need not wait for the journal longer than it must, nor
    /// this.
    pub fn seal_written(&mut self) {
        if !self.out.is_empty() {
            self.pieces_len += self.out.len();
            let bytes = std::mem::take(&mut self.out);
            self.pieces.push_back(Piece { bytes, written_at: self.written_at });
        }
    }

    /// How far the journal must have written for the next buffer to be sent.
    pub fn next_written_at(&self) -> u64 {
        self.pieces.front().map_or(self.written_at, |piece| piece.written_at)
    }

    /// Takes the replies whose turn has come out of the queue.
    pub fn drain(&mut self, random: &mut fastrand::Rng) {
        while self.queue.drain(&mut self.out, PIECE, random) {
            self.seal();
        }
        self.seal();
    }

    /// The next buffer to send.
    pub fn next_piece(&mut self) -> Vec<u8> {
        match self.pieces.pop_front() {
            Some(Piece { bytes, .. }) => {
                self.pieces_len -= bytes.len();
                bytes
            }
            None => std::mem::take(&mut self.out),
        }
    }

    /// Whether it stays on its shard, since others send messages to it there.
    pub fn is_pinned(&self) -> bool {
        self.session.is_subscriber() || self.session.monitor || self.hears_of_changes()
    }

    /// Whether it may be told that keys have changed.
    #[inline]
    pub fn hears_of_changes(&self) -> bool {
        self.session.tracking.is_some() || self.is_target
    }

    /// Whether messages must wait for the reply that comes next: it is on its way, and they may tell of
    /// what has happened since it was made.
    pub fn owes_reply(&self) -> bool {
        let is_made = match &self.operation {
            Some(Operation::Blocking(blocking)) => !blocking.is_waiting() || blocking.is_served(),
            Some(operation) => operation.is_brief(),
            None => false,
        };
        is_made || self.session.is_executing()
    }

    /// Whether all that was asked has been answered and sent.
    pub fn is_quiet(&self) -> bool {
        !self.has_output()
            && self.sending == 0
            && self.queue.is_empty()
            && self.operation.is_none()
            && self.put_off == 0
    }

    /// Whether only the peer can make something happen: by asking, or by reading its replies.
    pub fn waits_for_peer(&self) -> bool {
        self.queue.is_empty() && self.operation.is_none() && self.put_off == 0
    }

    /// Whether something is to be done at the end of the turn beyond sending.
    pub fn wants_settling(&self) -> bool {
        self.session.closing || self.ended || self.kill_now || self.moving_to.is_some()
    }

    /// Bytes that wait to be read by the client.
    pub fn output_len(&self) -> usize {
        let sealed = self.tls.as_ref().map_or(0, |tls| tls.output_len());
        self.pieces_len + self.out.len() + self.sending + self.queue.byte_len() + sealed
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        let requests = self.query.capacity() + self.spans.capacity() * size_of::<Span>();
        let replies = self.out.capacity() + self.pieces_len + self.sending + self.queue.byte_len();
        let multi = self.session.multi.map_or(0, |multi| multi.bytes);
        let watched =
            self.transaction.as_ref().map_or(0, |transaction| transaction.watched_bytes());
        let other = self.session.memory()
            + self.early.capacity()
            + self.tls.as_ref().map_or(0, |tls| tls.memory() + tls.output_len());
        size_of::<Conn>() + requests + replies + multi + watched + other
    }

    /// What CLIENT LIST shows of the connection itself.
    pub fn facts(&self, fd: i32) -> ConnectionFacts {
        let sealed = self.tls.as_ref().map_or(0, |tls| tls.output_len());
        let omem = self.pieces_len + self.out.capacity() + self.sending + sealed;
        ConnectionFacts {
            fd,
            // As in Redis, without the arguments that it has come by.
            qbuf: self.query.len().saturating_sub(self.parser.passed()),
            qbuf_free: self.query.capacity() - self.query.len(),
            rbs: self.out.capacity(),
            rbp: self.out.len(),
            obl: self.out.len(),
            oll: self.pieces.len() + usize::from(self.sending > 0),
            omem,
            tot_mem: self.memory(),
        }
    }
}

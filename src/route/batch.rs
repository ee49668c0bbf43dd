//! One read's worth of a connection's requests for one shard, and later their replies.

use crate::command::{Caller, CommandId};
use crate::resp::{Args, Protocol, Span};
use crate::rt::Token;
use std::sync::Arc;

use super::waiting::Waiting;

/// One request of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub id: CommandId,
    /// Whether the command's part handler runs, or the whole command.
    pub part: bool,
    pub caller: Caller,
    spans_end: u32,
}

/// What a batch is to its owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Requests, each with its own reply.
    #[default]
    Requests,
    /// The requests between a MULTI and its EXEC: they run as one and have one reply, unless
    /// a key that this client watches has changed.
    Block { watcher: Option<u64>, protocol: Protocol },
    /// What a tour does on one shard: one thing with what it does on the others.
    Stop,
    /// This client watches the keys that are the words of the one request.
    Watch { client: u64 },
    /// This client watches nothing any more; there is no request.
    Unwatch { client: u64 },
}

/// Requests that travel together; the same allocation brings the replies back.
///
/// ```text
///   bytes    SET..k1..v1GET..k2...   the arguments, perhaps with what lay between them
///   spans    (0,3)(5,7)(9,11)...     where each argument is in `bytes`
///   requests SET..spans 0-3, GET..   which spans are one request
///   replies  +OK\r\n$2\r\n..         encoded, end to end
///   ends     5, ...                  where each reply ends in `replies`
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    /// The shard that runs the requests.
    pub owner: usize,
    /// The connection's shard.
    pub origin: usize,
    pub connection: Option<Token>,
    /// Whether the replies go to the connection's operation and not into its order of replies.
    pub operation: bool,
    pub kind: Kind,
    /// Tells the operation from others of the connection.
    pub turn: u64,
    /// The one request, which is of an operation, has found nothing, and the client waits.
    pub waiting: Option<Arc<Waiting>>,
    /// The one request, which is of an operation, does not wait when it finds nothing: then its reply is
    /// empty.
    pub looks: bool,
    /// The replies are more than the client may be owed, and the rest was not run: the connection
    /// is to be closed.
    pub overflowed: bool,
    /// One of its requests has changed something: its replies wait until that is written.
    pub wrote: bool,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    requests: Vec<Request>,
    pub replies: Vec<u8>,
    ends: Vec<usize>,
    /// At the owner: requests run. At the origin: replies handed out.
    next: usize,
}

/// A buffer beyond this size is not kept for the next batch, bytes.
const KEPT_BYTES: usize = 64 << 10;

fn trim<T>(buffer: &mut Vec<T>) {
    if buffer.capacity() * size_of::<T>() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}

impl Batch {
    /// Makes a batch ready for new requests.
    pub fn reset(&mut self, owner: usize, origin: usize, connection: Token) {
        self.owner = owner;
        self.origin = origin;
        self.connection = Some(connection);
        self.operation = false;
        self.kind = Kind::Requests;
        self.turn = 0;
        self.waiting = None;
        self.looks = false;
        self.overflowed = false;
        self.wrote = false;
        self.bytes.clear();
        self.replies.clear();
        self.spans.clear();
        self.requests.clear();
        self.ends.clear();
        self.next = 0;
    }

    /// Bytes for which there is room.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.replies.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.requests.capacity() * size_of::<Request>()
            + self.ends.capacity() * size_of::<usize>()
    }

    /// Gives back what is too large to be kept for the next requests.
    pub fn shrink(&mut self) {
        trim(&mut self.bytes);
        trim(&mut self.replies);
        trim(&mut self.spans);
        trim(&mut self.requests);
        trim(&mut self.ends);
    }

    /// Sends the batch elsewhere than it was made for.
    pub fn address(&mut self, owner: usize, origin: usize, connection: Token) {
        self.owner = owner;
        self.origin = origin;
        self.connection = Some(connection);
    }

    /// Bytes of memory that the requests take.
    pub fn memory(&self) -> usize {
        self.bytes.len()
            + self.spans.len() * size_of::<Span>()
            + self.requests.len() * size_of::<Request>()
    }

    /// Appends a request with all its arguments.
    pub fn push(&mut self, id: CommandId, part: bool, caller: Caller, args: &Args) {
        // One copy of all of it, headers included, is cheaper than one for each argument.
        let (bytes, from) = args.stretch();
        let to = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let moved = |span: &Span| {
            let start = span.start as usize - from + to;
            Span::new(start, start + span.len())
        };
        self.spans.extend(args.spans().iter().map(moved));
        self.requests.push(Request { id, part, caller, spans_end: self.spans.len() as u32 });
    }

    /// Appends a request with the given arguments, the name first.
    pub fn push_words<'a>(
        &mut self,
        id: CommandId,
        part: bool,
        caller: Caller,
        words: impl Iterator<Item = &'a [u8]>,
    ) {
        for word in words {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(word);
            self.spans.push(Span::new(start, self.bytes.len()));
        }
        self.requests.push(Request { id, part, caller, spans_end: self.spans.len() as u32 });
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes of arguments so far.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub fn request(&self, index: usize) -> (Request, Args<'_>) {
        let request = self.requests[index];
        let from = if index == 0 { 0 } else { self.requests[index - 1].spans_end };
        let spans = &self.spans[from as usize..request.spans_end as usize];
        (request, Args::new(&self.bytes, spans))
    }

    /// How many requests have been run, which is where the owner goes on.
    pub fn done(&self) -> usize {
        self.ends.len()
    }

    /// A request with the buffer for its reply, side by side.
    pub fn split(&mut self, index: usize) -> (Request, Args<'_>, &mut Vec<u8>) {
        let request = self.requests[index];
        let from = if index == 0 { 0 } else { self.requests[index - 1].spans_end };
        let spans = &self.spans[from as usize..request.spans_end as usize];
        (request, Args::new(&self.bytes, spans), &mut self.replies)
    }

    /// Marks the end of the reply to the request that has just run.
    pub fn end_reply(&mut self) {
        self.ends.push(self.replies.len());
    }

    /// The reply to one of the requests that have run.
    pub fn reply(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.replies[start..self.ends[index]]
    }

    /// The next reply that has not been handed out, at the origin.
    pub fn next_reply(&mut self) -> Option<&[u8]> {
        if self.is_spent() {
            return None;
        }
        self.next += 1;
        Some(self.reply(self.next - 1))
    }

    /// Whether all replies have been handed out.
    pub fn is_spent(&self) -> bool {
        self.next == self.ends.len()
    }
}

//! Replies in the order of the requests, whatever shard answered first.

use super::batch::Batch;
use super::merge::merge;
use crate::command::Merge;
use crate::resp::{Encoder, Protocol};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// What stands in the queue for one request.
#[derive(Debug)]
enum Pending {
    /// This many bytes of `ready`.
    Ready {
        len: usize,
    },
    /// The next reply that arrives from this shard.
    Remote {
        shard: u16,
        silent: bool,
    },
    Merged(Box<Merging>),
}

/// A request whose parts run on several shards.
pub struct Merging {
    pub merge: Merge,
    pub protocol: Protocol,
    /// The shard of each part, in order.
    pub parts: SmallVec<[u16; 16]>,
    /// The shard whose parts have run already, and their replies.
    pub local: Option<(u16, Box<Batch>)>,
    /// Whether the reply is left out (CLIENT REPLY).
    pub silent: bool,
    collected: Vec<u8>,
    ends: SmallVec<[usize; 16]>,
}

impl std::fmt::Debug for Merging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merging").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Merging {
    pub fn new(merge: Merge, protocol: Protocol, silent: bool) -> Merging {
        Merging {
            merge,
            protocol,
            parts: SmallVec::new(),
            local: None,
            silent,
            collected: Vec::new(),
            ends: SmallVec::new(),
        }
    }

    /// Collects the parts that are there; `true` when none is missing.
    fn collect(&mut self, arrived: &mut Arrived) -> bool {
        while let Some(&shard) = self.parts.get(self.ends.len()) {
            let found = match &mut self.local {
                Some((own, batch)) if *own == shard => match batch.next_reply() {
                    Some(reply) => {
                        self.collected.extend_from_slice(reply);
                        true
                    }
                    None => false,
                },
                _ => arrived.take(shard, |reply| self.collected.extend_from_slice(reply)),
            };
            if !found {
                return false;
            }
            self.ends.push(self.collected.len());
        }
        true
    }

    fn write(&self, out: &mut Vec<u8>, random: &mut fastrand::Rng) {
        let mut start = 0;
        let mut parts: SmallVec<[&[u8]; 16]> = SmallVec::new();
        for &end in &self.ends {
            parts.push(&self.collected[start..end]);
            start = end;
        }
        merge(self.merge, &parts, &mut Encoder::new(out, self.protocol), random);
    }
}

/// Batches that came back, oldest first.
#[derive(Debug, Default)]
struct Arrived {
    batches: Vec<Box<Batch>>,
    /// Batches without anything left in them, to be used again.
    spent: Vec<Box<Batch>>,
}

impl Arrived {
    /// Hands the next reply from `shard` to `give`, if it is there.
    fn take(&mut self, shard: u16, give: impl FnOnce(&[u8])) -> bool {
        let Some(at) = self.batches.iter().position(|b| b.owner == shard as usize) else {
            return false;
        };
        let Some(reply) = self.batches[at].next_reply() else { return false };
        give(reply);
        if self.batches[at].is_spent() {
            let batch = self.batches.remove(at);
            self.spent.push(batch);
        }
        true
    }
}

/// A buffer beyond this size is not kept for the next replies, bytes.
const KEPT_BYTES: usize = 16 << 10;

/// Room for as many replies is kept.
const KEPT_PENDING: usize = 1024;

/// One connection's replies that cannot leave yet.
#[derive(Debug, Default)]
pub struct ReplyQueue {
    pending: VecDeque<Pending>,
    /// Replies that are known but stand behind one that is not.
    ready: Vec<u8>,
    /// How many bytes of `ready` have left.
    left: usize,
    arrived: Arrived,
    /// Bytes of replies in `arrived` and in what is being merged.
    foreign: usize,
}

impl ReplyQueue {
    /// Whether a reply made now may leave now.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether some of the replies are still to come.
    pub fn awaits_others(&self) -> bool {
        self.pending.iter().any(|pending| !matches!(pending, Pending::Ready { .. }))
    }

    /// Replies that cannot leave yet; known ones in a row count as one.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Bytes that are held back.
    pub fn byte_len(&self) -> usize {
        self.ready.len() - self.left + self.foreign
    }

    /// A reply that `write` makes now; left out when it answers `false`. Gives its length.
    pub fn push_ready(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> usize {
        self.reclaim();
        let start = self.ready.len();
        if !write(&mut self.ready) {
            self.ready.truncate(start);
        }
        let added = self.ready.len() - start;
        match self.pending.back_mut() {
            Some(Pending::Ready { len }) => *len += added,
            _ => self.pending.push_back(Pending::Ready { len: added }),
        }
        added
    }

    /// Takes away what has left, so that a queue which never runs empty does not grow for ever.
    fn reclaim(&mut self) {
        if self.left >= KEPT_BYTES && self.left >= self.ready.len() / 2 {
            self.ready.drain(..self.left);
            self.left = 0;
        }
    }

    /// The next reply that comes from `shard`; left out when `silent`.
    pub fn push_remote(&mut self, shard: usize, silent: bool) {
        self.pending.push_back(Pending::Remote { shard: shard as u16, silent });
    }

    pub fn push_merging(&mut self, merging: Box<Merging>) {
        self.foreign += merging.local.as_ref().map_or(0, |(_, batch)| batch.replies.len());
        self.pending.push_back(Pending::Merged(merging));
    }

    /// A batch has come back with its replies.
    pub fn arrive(&mut self, batch: Box<Batch>) {
        self.foreign += batch.replies.len();
        self.arrived.batches.push(batch);
    }

    /// A batch that may be used again.
    pub fn recycle(&mut self) -> Option<Box<Batch>> {
        self.arrived.spent.pop()
    }

    /// Appends to `out` the replies whose turn has come, until it has `enough` bytes: then `true`.
    pub fn drain(&mut self, out: &mut Vec<u8>, enough: usize, random: &mut fastrand::Rng) -> bool {
        while let Some(front) = self.pending.front_mut() {
            if out.len() >= enough {
                return true;
            }
            match front {
                Pending::Ready { len } => {
                    out.extend_from_slice(&self.ready[self.left..self.left + *len]);
                    self.left += *len;
                }
                Pending::Remote { shard, silent } => {
                    let start = out.len();
                    if !self.arrived.take(*shard, |reply| out.extend_from_slice(reply)) {
                        return false;
                    }
                    self.foreign -= out.len() - start;
                    if *silent {
                        out.truncate(start);
                    }
                }
                Pending::Merged(merging) => {
                    if !merging.collect(&mut self.arrived) {
                        return false;
                    }
                    self.foreign -= merging.collected.len();
                    if !merging.silent {
                        merging.write(out, random);
                    }
                    if let Some((_, batch)) = merging.local.take() {
                        self.arrived.spent.push(batch);
                    }
                }
            }
            self.pending.pop_front();
        }
        self.ready.clear();
        self.left = 0;
        if self.ready.capacity() > KEPT_BYTES {
            self.ready = Vec::new();
        }
        if self.pending.capacity() > KEPT_PENDING {
            self.pending = VecDeque::new();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Caller, CommandId};
    use crate::rt::Token;
    use std::io::Write;

    fn batch(owner: usize, replies: &[&str]) -> Box<Batch> {
        let mut batch = Box::new(Batch::default());
        batch.reset(owner, 0, Token { index: 0, generation: 0 });
        let caller = Caller::nobody(Protocol::Resp2);
        for reply in replies {
            batch.push_words(CommandId(0), false, caller, [b"X".as_slice()].into_iter());
            batch.replies.extend_from_slice(reply.as_bytes());
            batch.end_reply();
        }
        batch
    }

    #[test]
    fn replies_leave_in_the_order_of_the_requests() {
        let mut queue = ReplyQueue::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut out = Vec::new();
        queue.push_remote(1, false);
        queue.push_ready(|out| out.write_all(b"+b\r\n").is_ok());
        queue.push_remote(2, false);
        queue.push_remote(1, true);
        let mut merging = Box::new(Merging::new(Merge::Sum, Protocol::Resp2, false));
        merging.parts.extend([2, 0, 1]);
        merging.local = Some((0, batch(0, &[":10\r\n"])));
        queue.push_merging(merging);
        queue.push_ready(|out| out.write_all(b"+f\r\n").is_ok());
        queue.arrive(batch(2, &["+c\r\n", ":1\r\n"]));
        queue.drain(&mut out, usize::MAX, &mut random);
        assert!(out.is_empty());
        queue.arrive(batch(1, &["+a\r\n"]));
        queue.drain(&mut out, usize::MAX, &mut random);
        assert_eq!(out, b"+a\r\n+b\r\n+c\r\n");
        queue.arrive(batch(1, &["+silent\r\n", ":100\r\n"]));
        queue.drain(&mut out, usize::MAX, &mut random);
        assert_eq!(out, b"+a\r\n+b\r\n+c\r\n:111\r\n+f\r\n");
        assert!(queue.is_empty());
        assert_eq!(std::iter::from_fn(|| queue.recycle()).count(), 4);
    }

    #[test]
    fn a_queue_that_never_runs_empty_does_not_grow() {
        let mut queue = ReplyQueue::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut sent = 0;
        queue.push_remote(1, false);
        for _ in 0..2_000 {
            queue.push_ready(|out| out.write_all(&[b'x'; 1000]).is_ok());
            queue.push_remote(1, false);
            queue.arrive(batch(1, &["+a\r\n"]));
            assert_eq!(queue.byte_len(), 1004);
            let mut out = Vec::new();
            queue.drain(&mut out, usize::MAX, &mut random);
            sent += out.len();
            assert_eq!(queue.byte_len(), 0);
            while queue.recycle().is_some() {}
        }
        assert_eq!(sent, 2_000 * 1004);
        assert!(queue.ready.capacity() < 4 * KEPT_BYTES, "{} bytes", queue.ready.capacity());
    }
}

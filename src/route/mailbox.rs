//! The queues between shards: one bounded ring of messages per pair and direction.

use std::collections::VecDeque;

/// Messages that one shard may have under way to another before senders are held back.
const CAPACITY: usize = 1024;

/// One shard's ends of all its queues, by the other shard's index.
pub struct Mailboxes<M> {
    outgoing: Vec<Outgoing<M>>,
    incoming: Vec<rtrb::Consumer<M>>,
}

struct Outgoing<M> {
    ring: rtrb::Producer<M>,
    /// What did not fit. Its length is bounded: whoever sees [`Mailboxes::is_backed_up`] stops
    /// reading from the connection that fills it, and answers are as many as requests.
    waiting: VecDeque<M>,
    /// Something was pushed since the last flush.
    fresh: bool,
    /// Something was pushed that need not be read at once.
    quiet: bool,
}

/// The queues between `shards` shards: element `i` holds shard `i`'s ends.
pub fn mesh<M>(shards: usize) -> Vec<Mailboxes<M>> {
    let mut ends: Vec<Mailboxes<M>> =
        (0..shards).map(|_| Mailboxes { outgoing: Vec::new(), incoming: Vec::new() }).collect();
    for from in 0..shards {
        for to in 0..shards {
            // Nobody writes to itself; the queue exists so that indexes are shard numbers.
            let capacity = if from == to { 1 } else { CAPACITY };
            let (ring, consumer) = rtrb::RingBuffer::new(capacity);
            ends[from].outgoing.push(Outgoing {
                ring,
                waiting: VecDeque::new(),
                fresh: false,
                quiet: false,
            });
            ends[to].incoming.push(consumer);
        }
    }
    ends
}

impl<M> Mailboxes<M> {
    pub fn shards(&self) -> usize {
        self.outgoing.len()
    }

    /// Sends a message, behind all that were sent to the same shard before.
    pub fn push(&mut self, to: usize, message: M) {
        let outgoing = &mut self.outgoing[to];
        outgoing.fresh = true;
        if !outgoing.waiting.is_empty() {
            outgoing.waiting.push_back(message);
        } else if let Err(rtrb::PushError::Full(message)) = outgoing.ring.push(message) {
            outgoing.waiting.push_back(message);
        }
    }

    /// As [`Mailboxes::push`], for a message that a sleeping shard need not be woken for.
    pub fn push_quietly(&mut self, to: usize, message: M) {
        let fresh = self.outgoing[to].fresh;
        self.push(to, message);
        self.outgoing[to].fresh = fresh;
        self.outgoing[to].quiet = true;
    }

    /// Whether more is on its way to this shard than the queue holds.
    pub fn is_backed_up(&self, to: usize) -> bool {
        !self.outgoing[to].waiting.is_empty()
    }

    /// Moves what waited into the queues and calls `ring` for each shard that has new messages, and
    /// whether one of them is to be read at once.
    pub fn flush(&mut self, mut ring: impl FnMut(usize, bool)) {
        for (to, outgoing) in self.outgoing.iter_mut().enumerate() {
            while let Some(message) = outgoing.waiting.pop_front() {
                if let Err(rtrb::PushError::Full(message)) = outgoing.ring.push(message) {
                    outgoing.waiting.push_front(message);
                    break;
                }
                outgoing.fresh = true;
            }
            let (fresh, quiet) = (outgoing.fresh, outgoing.quiet);
            (outgoing.fresh, outgoing.quiet) = (false, false);
            if fresh || quiet {
                ring(to, fresh);
            }
        }
    }

    /// Whether something still waits for room in a queue, so that this shard must not sleep long.
    pub fn has_waiting(&self) -> bool {
        self.outgoing.iter().any(|outgoing| !outgoing.waiting.is_empty())
    }

    pub fn pop(&mut self, from: usize) -> Option<M> {
        self.incoming[from].pop().ok()
    }

    /// How many messages from a shard are there to be read.
    pub fn arrived(&self, from: usize) -> usize {
        self.incoming[from].slots()
    }

    /// Whether a message has arrived from any shard.
    pub fn has_mail(&self) -> bool {
        self.incoming.iter().any(|consumer| !consumer.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_beyond_the_capacity() {
        let mut ends = mesh::<usize>(2);
        for n in 0..CAPACITY * 2 {
            ends[0].push(1, n);
        }
        assert!(ends[0].is_backed_up(1) && ends[0].has_waiting());
        let mut rung = Vec::new();
        let mut expected = 0;
        while expected < CAPACITY * 2 {
            while let Some(n) = ends[1].pop(0) {
                assert_eq!(n, expected);
                expected += 1;
            }
            ends[0].flush(|to, _| rung.push(to));
        }
        assert!(!ends[0].is_backed_up(1) && !ends[1].has_mail());
        assert!(!rung.is_empty() && rung.iter().all(|&to| to == 1));
    }
}

//! A client that waits for keys, as all shards of the keys know it.

use crate::command::{Caller, CommandId};
use crate::data::Type;
use crate::resp::Args;
use crate::rt::Token;
use crate::shard::{TimedOut, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody serves the client yet.
const OPEN: u8 = 0;
/// A shard tries to serve it right now.
pub const CLAIMED: u8 = 1;
/// It has been served, or has given up.
pub const DONE: u8 = 2;

/// A client that waits, as all shards of its keys know it.
#[derive(Debug)]
pub struct Waiting {
    pub origin: usize,
    pub token: Token,
    /// Tells this wait from others of the same connection.
    pub turn: u64,
    pub id: CommandId,
    pub caller: Caller,
    pub words: Vec<Vec<u8>>,
    pub keys: Vec<Box<[u8]>>,
    /// What a key must hold to be of use.
    pub kind: Type,
    pub until: Option<i64>,
    pub timed_out: TimedOut,
    claim: AtomicU8,
}

impl Waiting {
    /// A client that has found nothing.
    pub fn new(
        (origin, token, turn): (usize, Token, u64),
        (id, caller): (CommandId, Caller),
        args: &Args,
        wait: Wait,
    ) -> Arc<Waiting> {
        let keys = args.range(wait.keys.start, wait.keys.end).iter().map(Box::from).collect();
        let words = wait.retry.unwrap_or_else(|| args.iter().map(<[u8]>::to_vec).collect());
        Arc::new(Waiting {
            origin,
            token,
            turn,
            id,
            caller,
            words,
            keys,
            kind: wait.kind,
            until: wait.until,
            timed_out: wait.timed_out,
            claim: AtomicU8::new(OPEN),
        })
    }

    /// Whoever succeeds may serve the client, or end its wait, and says by [`Waiting::settle`] what
    /// became of it. Fails with [`CLAIMED`] or [`DONE`].
    pub fn claim(&self) -> Result<(), u8> {
        let taken = self.claim.compare_exchange(OPEN, CLAIMED, Ordering::AcqRel, Ordering::Acquire);
        taken.map(|_| ())
    }

    /// After a successful [`Waiting::claim`]: the client has got its reply, or still waits.
    pub fn settle(&self, done: bool) {
        self.claim.store(if done { DONE } else { OPEN }, Ordering::Release);
    }

    pub fn is_done(&self) -> bool {
        self.claim.load(Ordering::Acquire) == DONE
    }
}

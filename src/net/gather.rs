//! Commands that need keys of several shards in one place: RENAME, COPY, BITOP, MSETNX, ...
//!
//! The shard of the connection borrows the entries (pointers travel, not values), runs the
//! ordinary handler on them as if they were its own, and gives them back:
//!
//! ```text
//!   borrower                    owner A            owner B        (in the order of the shards)
//!      │── Lend(keys) ──────────> holds the keys
//!      │<──────────── Lent(entries)
//!      │── Lend(keys) ─────────────────────────────> holds the keys
//!      │<─────────────────────────────── Lent(entries)
//!      │ runs the command
//!      │── Return(entries) ─────> │ ────────────────> lets go, runs what waited
//! ```
//!
//! A held key is out of sight: whatever touches it waits at its owner, in order, and so does what
//! sees all keys. All keys are held before the command runs, so it is atomic. Everybody asks
//! the shards in the same order, so nobody waits in a circle.

use super::conn::Conn;
use super::mail::Message;
use super::operation::Operation;
use super::worker::Worker;
use crate::command::{Caller, Command, CommandId, Run, Spread, execute};
use crate::data::entry::Entry;
use crate::resp::Args;
use crate::route::Batch;
use crate::rt::{Io, Token};
use std::collections::{HashMap, HashSet, VecDeque};

/// Keys of one shard, on loan to another.
pub struct Loan {
    borrower: usize,
    owner: usize,
    gather: u64,
    keys: Vec<Box<[u8]>>,
    /// The entries of these keys with their databases.
    entries: Vec<(usize, Entry)>,
}

/// A command that is gathering its keys.
struct Gather {
    token: Token,
    id: CommandId,
    caller: Caller,
    words: Vec<Vec<u8>>,
    /// What is still to be borrowed, the lowest shard last.
    wanted: Vec<Box<Loan>>,
    borrowed: Vec<Box<Loan>>,
}

/// One shard's side of all gathering: what it holds for others and what it gathers itself.
#[derive(Default)]
pub struct Gathers {
    held: HashSet<Box<[u8]>>,
    /// Batches that met a held key, and those behind them, in the order of their arrival.
    waiting: Vec<Box<Batch>>,
    /// Loans that must wait for held keys.
    lending: VecDeque<Box<Loan>>,
    gathers: HashMap<u64, Gather>,
    next: u64,
    /// Something was let go or put off since the waiting were tried last.
    retry: bool,
}

impl Gathers {
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a request would see a key that is out on loan.
    pub fn is_held(&self, command: &Command, args: &Args) -> bool {
        if self.held.is_empty() {
            return false;
        }
        match command.spread {
            Spread::EveryShard { .. } | Spread::Cursor => true,
            // A part may have fewer arguments than its command; any of them may be a key.
            _ => args.iter().skip(1).any(|word| self.held.contains(word)),
        }
    }

    /// Whether a batch must wait behind an earlier one of the same connection.
    pub fn must_wait(&self, batch: &Batch) -> bool {
        self.waiting.iter().any(|w| w.origin == batch.origin && w.connection == batch.connection)
    }

    pub fn put_off(&mut self, batch: Box<Batch>) {
        self.waiting.push(batch);
        self.retry = true;
    }

    fn holds_one_of(&self, keys: &[Box<[u8]>]) -> bool {
        keys.iter().any(|key| self.held.contains(key))
    }
}

impl Worker {
    /// Begins a command whose keys are on several shards.
    pub(super) fn begin_gather(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
        indexes: &[u32],
    ) {
        self.flush_batches();
        let mut by_shard: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.slots.shards()];
        for &index in indexes {
            let key = args.at(index as usize);
            let keys = &mut by_shard[self.slots.owner_of(key)];
            if !keys.iter().any(|own| **own == *key) {
                keys.push(key.into());
            }
        }
        let gather = self.gathers.next;
        self.gathers.next += 1;
        let borrower = self.index;
        let loan = |(owner, keys): (usize, Vec<Box<[u8]>>)| {
            Box::new(Loan { borrower, owner, gather, keys, entries: Vec::new() })
        };
        let wanted = by_shard.into_iter().enumerate().rev();
        let wanted = wanted.filter(|(_, keys)| !keys.is_empty()).map(loan).collect();
        let words = args.iter().map(<[u8]>::to_vec).collect();
        let caller = super::dispatch::caller(conn);
        conn.operation = Some(Operation::Gathering);
        let begun = Gather { token, id, caller, words, wanted, borrowed: Vec::new() };
        self.gathers.gathers.insert(gather, begun);
        // What this connection has sent elsewhere arrives there before the loans do; what it has
        // put off here is tried before.
        self.borrow_next(io, gather, Some(conn));
    }

    fn borrow_next(&mut self, io: &mut dyn Io, gather: u64, conn: Option<&mut Conn>) {
        let Some(state) = self.gathers.gathers.get_mut(&gather) else { return };
        match state.wanted.pop() {
            Some(loan) if loan.owner == self.index => self.lend_or_wait(io, loan, conn),
            Some(loan) => self.mail.push(loan.owner, Message::Lend(loan)),
            None => self.run_gathered(io, gather, conn),
        }
    }

    /// Another shard wants to borrow keys of this one.
    pub(super) fn lend(&mut self, io: &mut dyn Io, loan: Box<Loan>) {
        self.lend_or_wait(io, loan, None);
    }

    fn lend_or_wait(&mut self, io: &mut dyn Io, mut loan: Box<Loan>, conn: Option<&mut Conn>) {
        if self.gathers.holds_one_of(&loan.keys) || self.is_asked_before(&loan) {
            return self.gathers.lending.push_back(loan);
        }
        self.gathers.held.extend(loan.keys.iter().cloned());
        if loan.borrower == self.index {
            return self.borrowed(io, loan, conn);
        }
        loan.entries = self.take_entries(&loan.keys);
        let borrower = loan.borrower;
        self.mail.push(borrower, Message::Lent(loan));
    }

    /// Whether a loan that waits already wants one of the same keys.
    fn is_asked_before(&self, loan: &Loan) -> bool {
        let wants = |key: &Box<[u8]>| loan.keys.contains(key);
        self.gathers.lending.iter().any(|earlier| earlier.keys.iter().any(wants))
    }

    /// Keys have arrived from another shard.
    pub(super) fn lent(&mut self, io: &mut dyn Io, loan: Box<Loan>) {
        self.borrowed(io, loan, None);
    }

    fn borrowed(&mut self, io: &mut dyn Io, loan: Box<Loan>, conn: Option<&mut Conn>) {
        let gather = loan.gather;
        if let Some(state) = self.gathers.gathers.get_mut(&gather) {
            state.borrowed.push(loan);
        }
        self.borrow_next(io, gather, conn);
    }

    /// All keys are held: runs the command and gives the entries back.
    fn run_gathered(&mut self, io: &mut dyn Io, gather: u64, conn: Option<&mut Conn>) {
        let Some(mut state) = self.gathers.gathers.remove(&gather) else { return };
        for loan in &mut state.borrowed {
            for (db, entry) in loan.entries.drain(..) {
                self.shard.keyspace.keys(db, self.now, false).insert(entry);
            }
        }
        let mut batch = self.batch(self.index, state.token);
        batch.push_words(state.id, false, state.caller, state.words.iter().map(Vec::as_slice));
        let (request, args, out) = batch.split(0);
        let registry = &self.shared.env.registry;
        if let Run::Shard(handler) = registry.command(state.id).run {
            let now = self.now;
            execute(registry, &mut self.shard, (state.id, handler), args, request.caller, now, out);
        }
        for mut loan in state.borrowed {
            if loan.owner == self.index {
                self.let_go(&loan.keys);
                continue;
            }
            loan.entries = self.take_entries(&loan.keys);
            let owner = loan.owner;
            self.mail.push(owner, Message::Return(loan));
        }
        match conn {
            Some(conn) => self.finish_gather(conn, &batch.replies),
            None => {
                let replies = std::mem::take(&mut batch.replies);
                self.with_conn(io, state.token, |worker, io, conn| {
                    worker.finish_gather(conn, &replies);
                    worker.resume(io, state.token, conn);
                });
            }
        }
        self.keep_batch(batch);
    }

    fn finish_gather(&mut self, conn: &mut Conn, reply: &[u8]) {
        conn.operation = None;
        self.reply_to_command(conn, |out| out.raw(reply));
    }

    /// Borrowed entries come back to their owner.
    pub(super) fn take_back(&mut self, io: &mut dyn Io, loan: Box<Loan>) {
        for (db, entry) in loan.entries {
            self.shard.keyspace.keys(db, self.now, false).insert(entry);
        }
        self.let_go(&loan.keys);
        self.retry_waiting(io);
    }

    fn let_go(&mut self, keys: &[Box<[u8]>]) {
        for key in keys {
            self.gathers.held.remove(key);
        }
        self.gathers.retry = true;
    }

    /// Takes the entries of `keys` out of all databases.
    fn take_entries(&mut self, keys: &[Box<[u8]>]) -> Vec<(usize, Entry)> {
        let mut entries = Vec::new();
        let databases = self.shard.stats.per_db.len();
        for db in 0..databases {
            let mut own = self.shard.keyspace.keys(db, self.now, false);
            if !own.is_empty() {
                entries.extend(keys.iter().filter_map(|key| Some((db, own.remove(key)?))));
            }
        }
        entries
    }

    /// Tries again what waited for held keys, in the order of arrival.
    pub(super) fn retry_waiting(&mut self, io: &mut dyn Io) {
        while std::mem::take(&mut self.gathers.retry) {
            for loan in std::mem::take(&mut self.gathers.lending) {
                self.lend_or_wait(io, loan, None);
            }
            for mut batch in std::mem::take(&mut self.gathers.waiting) {
                let waits = self.gathers.must_wait(&batch) || !self.run_batch(&mut batch);
                match waits {
                    true => self.gathers.waiting.push(batch),
                    false => self.send_back(io, batch),
                }
            }
        }
    }
}

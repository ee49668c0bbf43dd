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
//! sees all keys. All keys are held before the command runs, so it is atomic.
//!
//! Who waits at a shard, waits there in one line, loans and batches alike. A loan overtakes neither
//! requests of its own connection nor anybody who waits for one of its keys, and a batch overtakes
//! none of its own connection. So a connection's requests take effect in their order, and nobody
//! starves.
//!
//! Nobody waits in a circle: everybody asks the shards in the same order, so who holds keys of a
//! shard waits only at later ones, and who waits at a shard waits for holders there, or for
//! those before it in the line.

use super::conn::Conn;
use super::mail::Message;
use super::operation::Operation;
use super::worker::Worker;
use crate::command::{Caller, Command, CommandId, Run, Spread, execute};
use crate::data::entry::Entry;
use crate::resp::Args;
use crate::route::Batch;
use crate::rt::{Io, Token};
use std::collections::{HashMap, HashSet};

/// Keys of one shard, on loan to another.
pub struct Loan {
    borrower: usize,
    owner: usize,
    /// The connection at the borrower.
    token: Token,
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

/// What waits for keys that are out on loan.
enum Waiter {
    Batch(Box<Batch>),
    Loan(Box<Loan>),
}

/// What those stand for who go on waiting, against those behind them in the line.
#[derive(Default)]
struct Ahead {
    /// By their hashes: two keys with the same one only wait for each other needlessly.
    keys: HashSet<u64>,
    /// Somebody waits for all keys.
    all: bool,
    /// Connections that have requests here, by their shard.
    connections: HashSet<(usize, Option<Token>)>,
}

/// One shard's side of all gathering: what it holds for others and what it gathers itself.
#[derive(Default)]
pub struct Gathers {
    held: HashSet<Box<[u8]>>,
    /// Those who were tried and must wait, in the order of their arrival.
    waiting: Vec<Waiter>,
    /// Those who have come since.
    arrived: Vec<Waiter>,
    gathers: HashMap<u64, Gather>,
    next: u64,
    /// Something was let go or put off since the waiting were tried last.
    retry: bool,
}

impl Gathers {
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether nothing is held, put off or gathered.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && !self.has_line() && self.gathers.is_empty()
    }

    /// Whether somebody waits, so that whoever comes stands behind.
    pub fn has_line(&self) -> bool {
        !self.waiting.is_empty() || !self.arrived.is_empty()
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

    /// Puts a batch at the end of the line.
    pub fn put_off(&mut self, batch: Box<Batch>) {
        self.arrived.push(Waiter::Batch(batch));
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
            Box::new(Loan { borrower, owner, token, gather, keys, entries: Vec::new() })
        };
        let wanted = by_shard.into_iter().enumerate().rev();
        let wanted = wanted.filter(|(_, keys)| !keys.is_empty()).map(loan).collect();
        let words = args.iter().map(<[u8]>::to_vec).collect();
        let caller = super::dispatch::caller(conn);
        conn.operation = Some(Operation::Gathering);
        let begun = Gather { token, id, caller, words, wanted, borrowed: Vec::new() };
        self.gathers.gathers.insert(gather, begun);
        // What this connection has sent elsewhere arrives there before the loans do.
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

    fn lend_or_wait(&mut self, io: &mut dyn Io, loan: Box<Loan>, conn: Option<&mut Conn>) {
        if self.gathers.has_line() || self.gathers.holds_one_of(&loan.keys) {
            self.gathers.arrived.push(Waiter::Loan(loan));
            self.gathers.retry = true;
            return;
        }
        self.grant(io, loan, conn);
    }

    fn grant(&mut self, io: &mut dyn Io, mut loan: Box<Loan>, conn: Option<&mut Conn>) {
        self.gathers.held.extend(loan.keys.iter().cloned());
        if loan.borrower == self.index {
            return self.borrowed(io, loan, conn);
        }
        loan.entries = self.take_entries(&loan.keys);
        let borrower = loan.borrower;
        self.mail.push(borrower, Message::Lent(loan));
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
                self.shard.keyspace.keys(db, self.now, false).adopt(entry);
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
    pub(super) fn take_back(&mut self, loan: Box<Loan>) {
        for (db, entry) in loan.entries {
            self.shard.keyspace.keys(db, self.now, false).adopt(entry);
        }
        self.let_go(&loan.keys);
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

    /// Tries again what waited for held keys, in the order of arrival: once a turn, all together.
    pub(super) fn retry_waiting(&mut self, io: &mut dyn Io) {
        while std::mem::take(&mut self.gathers.retry) {
            let mut line = std::mem::take(&mut self.gathers.waiting);
            line.append(&mut self.gathers.arrived);
            let mut ahead = Ahead::default();
            for waiter in line {
                let left = match waiter {
                    Waiter::Batch(batch) => self.retry_batch(io, batch, &mut ahead),
                    Waiter::Loan(loan) => self.retry_loan(io, loan, &mut ahead),
                };
                self.gathers.waiting.extend(left);
            }
        }
    }

    /// Runs a batch, or gives it back because it must wait on.
    fn retry_batch(
        &mut self,
        io: &mut dyn Io,
        mut batch: Box<Batch>,
        ahead: &mut Ahead,
    ) -> Option<Waiter> {
        let connection = (batch.origin, batch.connection);
        if !ahead.connections.contains(&connection) {
            if self.run_batch(&mut batch) {
                self.send_back(io, batch);
                return None;
            }
            ahead.connections.insert(connection);
            let (request, args) = batch.request(batch.done());
            match self.shared.env.registry.command(request.id).spread {
                Spread::EveryShard { .. } | Spread::Cursor => ahead.all = true,
                _ => {
                    let keyspace = &self.shard.keyspace;
                    ahead.keys.extend(args.iter().skip(1).map(|word| keyspace.hash(word)));
                }
            }
        }
        Some(Waiter::Batch(batch))
    }

    /// Grants a loan, or gives it back because it must wait on.
    fn retry_loan(
        &mut self,
        io: &mut dyn Io,
        loan: Box<Loan>,
        ahead: &mut Ahead,
    ) -> Option<Waiter> {
        let keyspace = &self.shard.keyspace;
        let is_wanted = |key: &[u8]| ahead.keys.contains(&keyspace.hash(key));
        let waits = ahead.all
            || ahead.connections.contains(&(loan.borrower, Some(loan.token)))
            || loan.keys.iter().any(|key| is_wanted(key))
            || self.gathers.holds_one_of(&loan.keys);
        if waits {
            ahead.keys.extend(loan.keys.iter().map(|key| keyspace.hash(key)));
            return Some(Waiter::Loan(loan));
        }
        self.grant(io, loan, None);
        None
    }
}

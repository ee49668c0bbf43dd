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
use crate::resp::Args;
use crate::route::{Batch, Kind};
use crate::rt::{Io, Token};
use crate::shard::{Parcel, Tables};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};

/// Keys of one shard, or all of them, on loan to another.
pub struct Loan {
    borrower: usize,
    owner: usize,
    /// The connection at the borrower.
    token: Token,
    gather: u64,
    parcel: Parcel,
    whole: bool,
    /// All keys, when the owner is another shard.
    pub tables: Option<Tables>,
    /// A client that watches keys here until this loan, and whether they have changed.
    watcher: Option<u64>,
    pub dirty: bool,
}

/// Loans in the boxes in which they travel.
pub type Loans = SmallVec<[Box<Loan>; 4]>;

impl Loan {
    pub fn owner(&self) -> usize {
        self.owner
    }

    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

/// What keys are gathered for.
enum Work {
    Command {
        id: CommandId,
        caller: Caller,
        words: Vec<Vec<u8>>,
    },
    /// The connection's requests between MULTI and EXEC.
    Block,
}

/// A command or block that is gathering its keys.
struct Gather {
    token: Token,
    work: Work,
    /// What is still to be borrowed, the lowest shard last.
    wanted: Loans,
    borrowed: Loans,
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
    /// Not empty while all keys are held.
    held: HashSet<Box<[u8]>, ahash::RandomState>,
    all: bool,
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
            _ if self.all => true,
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

    pub fn holds(&self, key: &[u8]) -> bool {
        self.all || self.held.contains(key)
    }

    pub fn holds_all(&self) -> bool {
        self.all
    }

    /// Whether a loan must wait for keys that are held.
    fn holds_one_of(&self, loan: &Loan) -> bool {
        match loan.whole {
            true => self.holds_any(),
            false => self.all || loan.parcel.keys.iter().any(|key| self.held.contains(key)),
        }
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
        let keys = indexes.iter().map(|&index| args.at(index as usize).into()).collect();
        let words = args.iter().map(<[u8]>::to_vec).collect();
        let work = Work::Command { id, caller: super::dispatch::caller(conn), words };
        self.gather(io, token, conn, work, keys, &[], false);
    }

    /// Borrows `keys` (or with `whole` everything) for a block; `watched_on` are the shards where
    /// the client watches some of them.
    pub(super) fn gather_block(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        keys: Vec<Box<[u8]>>,
        watched_on: &[usize],
        whole: bool,
    ) {
        self.gather(io, token, conn, Work::Block, keys, watched_on, whole);
    }

    #[allow(clippy::too_many_arguments)] // the two above say which belong together
    fn gather(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        work: Work,
        keys: Vec<Box<[u8]>>,
        watched_on: &[usize],
        whole: bool,
    ) {
        self.flush_batches();
        let mut by_shard: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.slots.shards()];
        for key in keys {
            by_shard[self.slots.owner_of(&key)].push(key);
        }
        let gather = self.gathers.next;
        self.gathers.next += 1;
        let (borrower, client) = (self.index, conn.session.id);
        let loan = |(owner, mut keys): (usize, Vec<Box<[u8]>>)| {
            keys.sort_unstable();
            keys.dedup();
            Box::new(Loan {
                borrower,
                owner,
                token,
                gather,
                parcel: Parcel::new(keys),
                whole,
                tables: None,
                watcher: watched_on.contains(&owner).then_some(client),
                dirty: false,
            })
        };
        let wanted = by_shard.into_iter().enumerate().rev();
        let wanted = wanted.filter(|(_, keys)| whole || !keys.is_empty()).map(loan).collect();
        conn.operation = Some(Operation::Gathering);
        let begun = Gather { token, work, wanted, borrowed: Loans::new() };
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
        if self.gathers.has_line() || self.gathers.holds_one_of(&loan) {
            self.gathers.arrived.push(Waiter::Loan(loan));
            self.gathers.retry = true;
            return;
        }
        self.grant(io, loan, conn);
    }

    fn grant(&mut self, io: &mut dyn Io, mut loan: Box<Loan>, conn: Option<&mut Conn>) {
        if loan.whole {
            self.gathers.all = true;
            self.gathers.held.insert(Box::default());
        } else {
            self.gathers.held.extend(loan.parcel.keys.iter().cloned());
        }
        let (keyspace, now) = (&mut self.shard.keyspace, self.now);
        loan.dirty = loan.watcher.is_some_and(|client| keyspace.unwatch(client, now));
        if loan.borrower == self.index {
            return self.borrowed(io, loan, conn);
        }
        match loan.whole {
            true => loan.tables = Some(keyspace.lend_all()),
            false => keyspace.pack(&mut loan.parcel, now),
        }
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
        let (token, now) = (state.token, self.now);
        let Work::Command { id, caller, words } = state.work else {
            return self.run_gathered_block(io, token, state.borrowed, conn);
        };
        self.unpack(&mut state.borrowed);
        let mut batch = self.batch(self.index, token);
        batch.push_words(id, false, caller, words.iter().map(Vec::as_slice));
        let (request, args, out) = batch.split(0);
        let registry = &self.shared.env.registry;
        if let Run::Shard(handler) = registry.command(id).run {
            execute(registry, &mut self.shard, (id, handler), args, request.caller, now, out);
        }
        self.repack(&mut state.borrowed);
        self.give_back(state.borrowed);
        match conn {
            Some(conn) => self.finish_gather(conn, &batch.replies),
            None => {
                let replies = std::mem::take(&mut batch.replies);
                self.with_conn(io, token, |worker, io, conn| {
                    worker.finish_gather(conn, &replies);
                    worker.resume(io, token, conn);
                });
            }
        }
        self.keep_batch(batch);
    }

    fn run_gathered_block(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        loans: Loans,
        conn: Option<&mut Conn>,
    ) {
        if let Some(conn) = conn {
            return self.begin_block(io, token, conn, loans);
        }
        match self.take(token) {
            Some(mut conn) => {
                self.begin_block(io, token, &mut conn, loans);
                self.resume(io, token, &mut conn);
                self.put(token, conn);
            }
            None => self.give_back(loans),
        }
    }

    fn finish_gather(&mut self, conn: &mut Conn, reply: &[u8]) {
        conn.operation = None;
        self.reply_to_command(conn, |out| out.raw(reply));
    }

    /// Puts what was borrowed among the own keys, to run commands and for no longer: nobody else
    /// must see it there.
    pub(super) fn unpack(&mut self, loans: &mut [Box<Loan>]) {
        for loan in loans.iter_mut().filter(|loan| loan.owner != self.index && !loan.whole) {
            self.shard.keyspace.unpack(&mut loan.parcel, self.now);
        }
    }

    pub(super) fn repack(&mut self, loans: &mut [Box<Loan>]) {
        for loan in loans.iter_mut().filter(|loan| loan.owner != self.index && !loan.whole) {
            self.shard.keyspace.repack(&mut loan.parcel, self.now);
        }
    }

    /// Gives back what was borrowed.
    pub(super) fn give_back(&mut self, loans: Loans) {
        for loan in loans {
            if loan.owner == self.index {
                self.let_go(&loan);
                continue;
            }
            let owner = loan.owner;
            self.mail.push(owner, Message::Return(loan));
        }
    }

    /// Borrowed entries come back to their owner.
    pub(super) fn take_back(&mut self, mut loan: Box<Loan>) {
        match loan.tables.take() {
            Some(tables) => self.shard.keyspace.accept_all(tables),
            None => self.shard.keyspace.accept(&mut loan.parcel, self.now),
        }
        self.let_go(&loan);
    }

    fn let_go(&mut self, loan: &Loan) {
        if loan.whole {
            self.gathers.all = false;
            self.gathers.held.clear();
        }
        for key in &loan.parcel.keys {
            self.gathers.held.remove(key);
        }
        self.gathers.retry = true;
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
            self.stand_for(&batch, ahead);
        }
        Some(Waiter::Batch(batch))
    }

    /// Notes what a batch that goes on waiting stands for.
    fn stand_for(&self, batch: &Batch, ahead: &mut Ahead) {
        let keyspace = &self.shard.keyspace;
        let requests = match batch.kind {
            // The others cannot be met before this one.
            Kind::Requests => batch.done()..batch.done() + 1,
            _ => 0..batch.len(),
        };
        for at in requests {
            let (request, args) = batch.request(at);
            match self.shared.env.registry.command(request.id).spread {
                Spread::EveryShard { .. } | Spread::Cursor => ahead.all = true,
                // The name is no key, but what keeps the watched keys has none.
                _ => ahead.keys.extend(args.iter().map(|word| keyspace.hash(word))),
            }
        }
        if let Kind::Block { watcher: Some(client), .. } = batch.kind {
            let watched = keyspace.watched_by(client);
            ahead.keys.extend(watched.iter().map(|(_, key)| keyspace.hash(key)));
        }
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
            || (loan.whole && !ahead.keys.is_empty())
            || ahead.connections.contains(&(loan.borrower, Some(loan.token)))
            || loan.parcel.keys.iter().any(|key| is_wanted(key))
            || self.gathers.holds_one_of(&loan);
        if waits {
            ahead.keys.extend(loan.parcel.keys.iter().map(|key| keyspace.hash(key)));
            ahead.all |= loan.whole;
            return Some(Waiter::Loan(loan));
        }
        self.grant(io, loan, None);
        None
    }
}

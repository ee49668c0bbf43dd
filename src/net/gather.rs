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
//! A held key is out of sight: whatever touches it waits at its owner, in order (see `line`), and so
//! does what sees all keys. All keys are held before the command runs, so it is atomic.

use super::conn::Conn;
use super::foretold::Foretold;
use super::mail::Message;
use super::operation::Operation;
use super::worker::Worker;
use crate::command::{Caller, CommandId};
use crate::journal::Unit;
use crate::resp::Args;
use crate::route::Waiting;
use crate::rt::{Io, Token};
use crate::shard::{Everything, Foreign, Intent, Parcel};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Keys of one shard, or all of them, on loan to another.
pub struct Loan {
    borrower: usize,
    owner: usize,
    /// The connection at the borrower.
    token: Token,
    gather: u64,
    parcel: Parcel,
    /// What it wants of the keys in the parcel.
    pub intents: SmallVec<[Intent; 4]>,
    /// What it holds at the owner, once it is granted.
    hold: u32,
    whole: bool,
    /// All that the owner has, when that is another shard.
    pub everything: Option<Everything>,
    /// A client that watches keys here until this loan, and whether they have changed.
    watcher: Option<u64>,
    pub dirty: bool,
    /// A client that has found nothing, or is trying again: it waits for the keys as soon as they
    /// are back.
    pub waiting: Option<Arc<Waiting>>,
    /// Channels of the owner to which the borrower will publish, and how many clients listen.
    channels: Vec<Channel>,
    /// What it has published there.
    published: Vec<Foreign>,
    /// It does not wait for keys that are held: then it comes back with nothing.
    if_free: bool,
    refused: bool,
}

/// A channel to which a block publishes.
pub(super) struct Channel {
    pub name: Box<[u8]>,
    pub sharded: bool,
    /// As the owner has counted.
    pub clients: u64,
}

/// What is to be borrowed.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub keys: Vec<Box<[u8]>>,
    pub channels: Vec<Channel>,
    /// Where the client watches some of the keys.
    pub watched_on: &'a [usize],
    /// Everything, of all shards.
    pub whole: bool,
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

    /// Has it come back with nothing rather than wait.
    pub(super) fn if_free(mut self: Box<Loan>) -> Box<Loan> {
        self.if_free = true;
        self
    }

    /// Whether it has come back with nothing.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Has it bring along how many clients listen to these channels of the owner, which are among the keys.
    pub(super) fn with_channels(mut self: Box<Loan>, channels: Vec<Channel>) -> Box<Loan> {
        self.channels = channels;
        self
    }

    pub fn keys(&self) -> &[Box<[u8]>] {
        &self.parcel.keys
    }

    /// Who borrows: the shard and its connection.
    pub fn connection(&self) -> (usize, Option<Token>) {
        (self.borrower, Some(self.token))
    }
}

/// What keys are gathered for.
pub(super) enum Work {
    Command {
        id: CommandId,
        caller: Caller,
        words: Vec<Vec<u8>>,
    },
    /// A script with the keys that it is expected to touch.
    Script(Box<Foretold>),
    /// The connection's requests between MULTI and EXEC.
    Block,
    /// A command that waited and may find something now.
    Retry(Arc<Waiting>),
}

/// A command or block that is gathering its keys.
struct Gather {
    token: Token,
    work: Work,
    /// What is still to be borrowed, the lowest shard last.
    wanted: Loans,
    borrowed: Loans,
}

/// What one shard gathers.
#[derive(Default)]
pub struct Gathers {
    gathers: HashMap<u64, Gather>,
    next: u64,
}

impl Gathers {
    pub fn is_idle(&self) -> bool {
        self.gathers.is_empty()
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
        let may_wait = matches!(conn.operation, Some(Operation::Blocking(_)));
        let caller = Caller { may_wait, ..super::dispatch::caller(conn) };
        let work = Work::Command { id, caller, words };
        self.gather(io, token, conn, work, Wanted { keys, ..Wanted::default() });
    }

    /// Begins a command that needs the keys of all shards.
    pub(super) fn begin_gather_all(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
    ) {
        let words = args.iter().map(<[u8]>::to_vec).collect();
        let work = Work::Command { id, caller: super::dispatch::caller(conn), words };
        self.gather(io, token, conn, work, Wanted { whole: true, ..Wanted::default() });
    }

    /// Borrows what a block needs.
    pub(super) fn gather_block(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        wanted: Wanted,
    ) {
        self.gather(io, token, conn, Work::Block, wanted);
    }

    /// Borrows the keys of a command that waited and is to run again.
    pub(super) fn gather_retry(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        waiting: Arc<Waiting>,
        keys: Vec<Box<[u8]>>,
    ) {
        let wanted = Wanted { keys, ..Wanted::default() };
        self.gather(io, token, conn, Work::Retry(waiting), wanted);
    }

    pub(super) fn gather(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        work: Work,
        wanted: Wanted,
    ) {
        let Wanted { keys, channels, watched_on, whole } = wanted;
        self.flush_batches();
        let mut by_shard: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.slots.shards()];
        for key in keys {
            by_shard[self.slots.owner_of(&key)].push(key);
        }
        let mut channels_of: Vec<Vec<Channel>> = by_shard.iter().map(|_| Vec::new()).collect();
        for channel in channels {
            channels_of[self.slots.owner_of(&channel.name)].push(channel);
        }
        let gather = self.gathers.next;
        self.gathers.next += 1;
        let client = conn.session.id;
        let mut loan = |(owner, keys): (usize, Vec<Box<[u8]>>)| {
            let mut loan = self.loan((gather, token), owner, keys);
            loan.whole = whole;
            loan.watcher = watched_on.contains(&owner).then_some(client);
            loan.channels = std::mem::take(&mut channels_of[owner]);
            loan
        };
        let wanted = by_shard.into_iter().enumerate().rev();
        let wanted = wanted.filter(|(_, keys)| whole || !keys.is_empty()).map(&mut loan).collect();
        if conn.operation.is_none() {
            conn.operation = Some(Operation::Gathering);
        }
        let begun = Gather { token, work, wanted, borrowed: Loans::new() };
        self.gathers.gathers.insert(gather, begun);
        // What this connection has sent elsewhere arrives there before the loans do.
        self.borrow_next(io, gather, Some(conn));
    }

    /// A loan of keys of one shard.
    pub(super) fn loan(
        &self,
        (gather, token): (u64, Token),
        owner: usize,
        mut keys: Vec<Box<[u8]>>,
    ) -> Box<Loan> {
        keys.sort_unstable();
        keys.dedup();
        let keyspace = &self.shard.keyspace;
        let intent = |key: &[u8]| Intent { hash: keyspace.hash(key), exclusive: true };
        Box::new(Loan {
            borrower: self.index,
            owner,
            token,
            gather,
            intents: keys.iter().map(|key| intent(key)).collect(),
            hold: 0,
            parcel: Parcel::new(keys),
            whole: false,
            everything: None,
            watcher: None,
            dirty: false,
            waiting: None,
            channels: Vec::new(),
            published: Vec::new(),
            if_free: false,
            refused: false,
        })
    }

    /// Goes on gathering for what has found that it needs more than it has borrowed.
    pub(super) fn gather_more(
        &mut self,
        io: &mut dyn Io,
        (gather, token): (u64, Token),
        work: Work,
        (wanted, borrowed): (Loans, Loans),
        conn: Option<&mut Conn>,
    ) {
        self.gathers.gathers.insert(gather, Gather { token, work, wanted, borrowed });
        self.borrow_next(io, gather, conn);
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
        if loan.if_free && !self.can_lend(&loan) {
            loan.refused = true;
            return match loan.borrower == self.index {
                true => self.borrowed(io, loan, conn),
                false => self.mail.push(loan.borrower, Message::Lent(loan)),
            };
        }
        if loan.if_free {
            return self.grant(io, loan, conn);
        }
        if self.line.is_waited_in() || !self.can_lend(&loan) {
            return self.line.stand_loan(loan);
        }
        self.grant(io, loan, conn);
    }

    /// Whether nobody holds what a loan wants.
    pub(super) fn can_lend(&self, loan: &Loan) -> bool {
        let intents = &self.line.intents;
        match loan.whole {
            true => intents.is_empty(),
            false => loan.intents.iter().all(|&intent| !intents.bars(intent)),
        }
    }

    pub(super) fn grant(&mut self, io: &mut dyn Io, mut loan: Box<Loan>, conn: Option<&mut Conn>) {
        match loan.whole {
            true => self.line.intents.hold_all(),
            false => loan.hold = self.line.intents.hold(loan.intents.clone(), None),
        }
        // What was done here before is in the journal before what is done with the keys.
        self.hand_over_effects();
        for channel in &mut loan.channels {
            channel.clients =
                self.shard.keyspace.channels.receivers(&channel.name, channel.sharded);
        }
        let now = self.now;
        let keyspace = &mut self.shard.keyspace;
        loan.dirty = loan.watcher.is_some_and(|client| keyspace.unwatch(client, now));
        if loan.borrower == self.index {
            return self.borrowed(io, loan, conn);
        }
        match loan.whole {
            true => loan.everything = Some(self.shard.lend_all()),
            false => self.shard.keyspace.pack(&mut loan.parcel, now),
        }
        // Some of the keys may turn out to have expired.
        self.send_invalidations();
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
            if loan.refused {
                state.wanted.clear();
            }
            state.borrowed.push(loan);
        }
        self.borrow_next(io, gather, conn);
    }

    /// All keys are held: runs the command and gives the entries back.
    fn run_gathered(&mut self, io: &mut dyn Io, gather: u64, conn: Option<&mut Conn>) {
        let Some(mut state) = self.gathers.gathers.remove(&gather) else { return };
        let token = state.token;
        let (id, caller, words) = match state.work {
            Work::Command { id, caller, words } => (id, caller, words),
            Work::Block => return self.run_gathered_block(io, token, state.borrowed, conn),
            Work::Script(script) => {
                return self.run_foretold(io, (gather, token), script, state.borrowed, conn);
            }
            Work::Retry(waiting) => return self.run_gathered_retry(&waiting, state.borrowed),
        };
        let whole = state.borrowed.iter().any(|loan| loan.is_whole());
        let gone = conn.is_none() && !self.is_connected(token);
        if gone && (whole || caller.may_wait) {
            // What it would take would be lost.
            return self.give_back(state.borrowed);
        }
        let (bytes, spans) = super::operation::flat(words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &spans);
        if whole {
            return self.run_gathered_on_all(io, token, (id, args, caller), state.borrowed, conn);
        }
        self.unpack(&mut state.borrowed);
        let mut reply = Vec::new();
        let wait = self.run_command(io, id, args, caller, self.now, &mut reply);
        let effects = self.repack(&mut state.borrowed);
        self.record_unit(effects);
        let mark = self.take_mark();
        let turn = self.waiters.turn();
        let waiting =
            wait.map(|wait| Waiting::new((self.index, token, turn), (id, caller), &args, wait));
        state.borrowed.iter_mut().for_each(|loan| loan.waiting = waiting.clone());
        self.finish_gathered(io, token, (&reply, mark), waiting, conn);
        self.give_back(state.borrowed);
    }

    /// A command has run that had borrowed keys: the connection gets its reply, and goes on.
    pub(super) fn finish_gathered(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        (reply, mark): (&[u8], u64),
        waiting: Option<Arc<Waiting>>,
        conn: Option<&mut Conn>,
    ) {
        match conn {
            Some(conn) => self.finish_gather(conn, (reply, mark), waiting),
            None => self.with_conn(io, token, |worker, io, conn| {
                worker.finish_gather(conn, (reply, mark), waiting);
                worker.resume(io, token, conn);
            }),
        }
    }

    /// Runs a command that has borrowed the keys of all shards.
    fn run_gathered_on_all(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        (id, args, caller): (CommandId, Args, Caller),
        mut loans: Loans,
        conn: Option<&mut Conn>,
    ) {
        let mut reply = Vec::new();
        self.begin_unit();
        self.run_on_all(io, (id, self.now), &args, caller, &mut loans, &mut reply);
        let effects = self.end_unit();
        self.record_unit(effects);
        let mark = self.take_mark();
        self.give_back(loans);
        let finish = |worker: &mut Worker, conn: &mut Conn| {
            conn.operation = None;
            conn.written_at = conn.written_at.max(mark);
            worker.reply_to_command(conn, |out| out.raw(&reply));
        };
        match conn {
            Some(conn) => finish(self, conn),
            None => self.with_conn(io, token, |worker, io, conn| {
                finish(worker, conn);
                worker.resume(io, token, conn);
            }),
        }
    }

    /// Runs a command again whose client waits, unless it has given up meanwhile.
    fn run_gathered_retry(&mut self, waiting: &Arc<Waiting>, mut loans: Loans) {
        loans.iter_mut().for_each(|loan| loan.waiting = Some(waiting.clone()));
        self.unpack(&mut loans);
        let served = self.run_retry(waiting);
        let effects = self.repack(&mut loans);
        self.record_unit(effects);
        if let Some(served) = served {
            self.keep_served(served);
        }
        self.give_back(loans);
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

    fn finish_gather(
        &mut self,
        conn: &mut Conn,
        (reply, mark): (&[u8], u64),
        waiting: Option<Arc<Waiting>>,
    ) {
        conn.written_at = conn.written_at.max(mark);
        self.attempted(conn, reply, waiting);
    }

    /// Puts what was borrowed among the own keys, to run commands and for no longer: nobody else
    /// must see it there. What is recorded until it is packed again belongs together.
    pub(super) fn unpack(&mut self, loans: &mut [Box<Loan>]) {
        self.begin_unit();
        for loan in loans.iter_mut().filter(|loan| loan.owner != self.index && !loan.whole) {
            self.shard.keyspace.channels.begin_block();
            for Channel { name, sharded, clients } in &loan.channels {
                self.shard.keyspace.channels.borrow(name, *sharded, *clients);
            }
            self.shard.keyspace.unpack(&mut loan.parcel, self.now);
        }
    }

    /// Answers what was recorded since [`Worker::unpack`].
    pub(super) fn repack(&mut self, loans: &mut [Box<Loan>]) -> Unit {
        for loan in loans.iter_mut().filter(|loan| loan.owner != self.index && !loan.whole) {
            self.shard.keyspace.repack(&mut loan.parcel, self.now);
        }
        for foreign in self.shard.keyspace.channels.end_block() {
            let owner = self.slots.owner_of(foreign.home());
            match loans.iter_mut().find(|loan| loan.owner == owner && owner != self.index) {
                Some(loan) => loan.published.push(foreign),
                None => self.shard.keyspace.publish_foreign(foreign),
            }
        }
        self.end_unit()
    }

    /// Gives back what was borrowed.
    ///
    /// What clients are to be told of changes is sent before others can read the keys again.
    pub(super) fn give_back(&mut self, loans: Loans) {
        self.show_balance();
        self.send_invalidations();
        if loans.iter().any(|loan| loan.owner != self.index) {
            // What is done with them next is behind it in the journal.
            self.hand_over_effects();
        }
        for loan in loans {
            if loan.owner == self.index {
                self.let_go(loan);
                continue;
            }
            let owner = loan.owner;
            match loan.whole || !loan.published.is_empty() {
                true => self.mail.push(owner, Message::Return(loan)),
                false => self.mail.push_quietly(owner, Message::Return(loan)),
            }
        }
    }

    /// Borrowed entries come back to their owner.
    pub(super) fn take_back(&mut self, mut loan: Box<Loan>) {
        match loan.everything.take() {
            Some(everything) => {
                self.shard.accept_all(everything);
            }
            None => self.shard.keyspace.accept(&mut loan.parcel, self.now),
        }
        self.let_go(loan);
    }

    fn let_go(&mut self, mut loan: Box<Loan>) {
        for foreign in loan.published.drain(..) {
            self.shard.keyspace.publish_foreign(foreign);
        }
        self.send_effects();
        self.wait_for_loan(&mut loan);
        self.release((!loan.whole).then_some(loan.hold));
    }
}

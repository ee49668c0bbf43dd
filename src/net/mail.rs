//! What shards say to each other, and what a shard does about it.

use super::blocking::Served;
use super::conn::Conn;
use super::dispatch::regulate;
use super::gather::Loan;
use super::monitor::Line;
use super::operation::{Answer, Operation, Question};
use super::subscribers::Listening;
use super::tour::Tour;
use super::tracking::{Changes, Redirected};
use super::worker::Worker;
use crate::acl::Entry;
use crate::command::{KeyShape, Run, Spread, execute};
use crate::resp::Args;
use crate::route::{Batch, Kind, Request, Waiting};
use crate::rt::{Io, Socket, Token};
use crate::session::ClientRef;
use crate::shard::{Noted, Published, Stale};
use smallvec::SmallVec;
use std::sync::Arc;

/// A message from one shard to another.
pub enum Message {
    /// Requests to run.
    Run(Box<Batch>),
    /// The same with their replies, on the way back.
    Answer(Box<Batch>),
    /// A connection that moves here.
    Adopt(Box<Conn>, Socket),
    /// A question to all shards' connections or counters: the asker's shard and connection.
    Ask {
        from: usize,
        connection: Token,
        question: Box<Question>,
    },
    Told {
        connection: Token,
        answer: Answer,
    },
    /// Keys that another shard's command needs, to be lent.
    Lend(Box<Loan>),
    /// The keys' entries, on loan.
    Lent(Box<Loan>),
    /// The entries come back.
    Return(Box<Loan>),
    /// What a client of the receiver has waited for.
    Served(Box<Served>),
    /// A client of the receiver may find something when its command runs again.
    Retry(Arc<Waiting>),
    /// A client waits no more.
    Forget(Arc<Waiting>),
    /// Runs its part and goes on.
    Visit(Box<Tour>),
    /// Has run all its parts.
    Toured(Box<Tour>),
    /// Clients of the sender listen to what the receiver owns, or no more.
    Listen(Box<Listening>),
    /// The receiver's client is known to listen.
    Heard(Token),
    /// For those of the receiver's clients who listen.
    Deliver(Arc<Published>),
    /// A slow script has the receiver's keys.
    Busy {
        function: bool,
    },
    /// Clients of the receiver have read a key that has changed.
    Stale(Box<Stale>),
    /// Keys have changed with prefixes that clients of the receiver follow.
    Changed(Box<Changes>),
    /// For a client of the receiver, to which another one's invalidations go.
    Redirected(Box<Redirected>),
    /// The receiver's client has its invalidations sent to one that is gone.
    Broken {
        client: u64,
        target: u64,
    },
    /// What clients of the sender do, for those of the receiver who are shown it.
    Shown(Arc<Vec<Line>>),
    /// What was denied to a script of the receiver's client.
    Denied(Box<(ClientRef, Entry)>),
    /// A command of a client of the receiver is to be logged; the connection, if it is known.
    Noted(Option<Token>, Box<Noted>),
    /// What a tour held here is let go; without a number it held all keys.
    Release(Option<u32>),
}

/// Requests of a batch that are looked up ahead.
const AHEAD: usize = 32;

/// By request: where its one key is among the arguments, and that key's hash.
pub(super) type Hashes = SmallVec<[Option<(u8, u64)>; AHEAD]>;

/// Messages read from one shard before the others have their turn.
const ROUND: usize = 128;

impl Worker {
    /// Does what other shards ask and takes what they answer.
    pub(super) fn read_mail(&mut self, io: &mut dyn Io) {
        let mut messages = 0;
        for from in 0..self.mail.shards() {
            let mut left = ROUND;
            while left > 0
                && let Some(message) = self.mail.pop(from)
            {
                left -= 1;
                self.handle(io, message);
            }
            self.more |= left == 0;
            messages += ROUND - left;
        }
        self.background.rates.saw_messages(messages as u64);
        self.release_held_back(io);
    }

    /// As [`Worker::read_mail`], what has arrived until now and nothing that comes meanwhile.
    pub(super) fn read_arrived(&mut self, io: &mut dyn Io) {
        for from in 0..self.mail.shards() {
            for _ in 0..self.mail.arrived(from) {
                if let Some(message) = self.mail.pop(from) {
                    self.handle(io, message);
                }
            }
        }
    }

    pub(super) fn handle(&mut self, io: &mut dyn Io, message: Message) {
        match message {
            Message::Run(batch) => self.run_or_put_off(io, batch),
            Message::Answer(batch) => self.take_answer(io, batch),
            Message::Adopt(conn, socket) => self.adopt(io, conn, socket),
            Message::Ask { from, connection, question } => {
                if let Question::Pause { until, all } = *question {
                    return self.begin_pause(until, all, (from, connection));
                }
                let answer = self.answer(io, &question);
                self.mail.push(from, Message::Told { connection, answer });
            }
            Message::Told { connection, answer } => self.told(io, connection, answer),
            Message::Lend(loan) => self.lend(io, loan),
            Message::Lent(loan) => self.lent(io, loan),
            Message::Return(loan) => self.take_back(loan),
            Message::Served(served) => self.finish_served(io, *served),
            Message::Retry(waiting) => self.retry_blocked(io, waiting),
            Message::Forget(waiting) => self.forget_waiting(&waiting),
            Message::Visit(tour) => self.take_in(io, tour, None),
            Message::Toured(tour) => self.toured(io, tour, None),
            Message::Listen(listening) => self.listen(&listening),
            Message::Heard(token) => self.heard(io, token),
            Message::Deliver(published) => self.deliver(&published),
            Message::Busy { function } => self.refuse_waiting(io, function),
            Message::Stale(stale) => self.tell_readers(&stale),
            Message::Changed(changes) => self.note_changes(*changes),
            Message::Redirected(redirected) => self.take_redirected(&redirected),
            Message::Broken { client, target } => self.break_redirect(client, target),
            Message::Shown(lines) => self.monitors.take_in(&lines),
            Message::Denied(denied) => self.rights.denied_in_scripts.push(*denied),
            Message::Noted(token, noted) => self.log_elsewhere(*noted, token),
            Message::Release(hold) => self.release(hold),
        }
    }

    pub(super) fn run_or_put_off(&mut self, io: &mut dyn Io, mut batch: Box<Batch>) {
        self.ask_for_room();
        if self.line.is_waited_in() || self.busy.is_on() {
            return self.put_off(io, batch);
        }
        match self.run_batch(io, &mut batch) {
            true => self.send_back(io, batch),
            false => self.put_off(io, batch),
        }
    }

    /// Runs a batch from where it stands; `false` when it met a key that is on loan.
    pub(super) fn run_batch(&mut self, io: &mut dyn Io, batch: &mut Batch) -> bool {
        match batch.kind {
            Kind::Requests => {}
            Kind::Stop => unreachable!("a tour runs its stops itself"),
            Kind::Block { .. } => return self.run_block(io, batch),
            Kind::Watch { .. } | Kind::Unwatch { .. } => return self.run_watch(batch),
        }
        let hashes = self.prefetch_batch(batch);
        self.shard.timing.begin_reading();
        let mut whole = true;
        for index in batch.done()..batch.len() {
            let (Request { id, part, .. }, args) = batch.request(index);
            if self.is_barred(id, part, &args) {
                whole = false;
                break;
            }
            self.remember(&hashes, index, &args);
            self.run_request(io, batch, index, self.now);
            batch.end_reply();
            if self.has_ready() {
                self.serve();
            }
        }
        self.shard.timing.end_reading(&self.shard.stats.per_command);
        whole
    }

    /// Runs one request of a batch, whoever holds its keys.
    pub(super) fn run_request(
        &mut self,
        io: &mut dyn Io,
        batch: &mut Batch,
        index: usize,
        now: i64,
    ) {
        let hard_limit = self.limits.output.normal.hard as usize;
        let registry = &self.shared.env.registry;
        let whole = batch.kind != Kind::Requests;
        let (origin, connection, turn) = (batch.origin, batch.connection, batch.turn);
        let looks = batch.looks;
        let mut waiting = None;
        let (Request { id, part, caller, .. }, args, out) = batch.split(index);
        let command = registry.command(id);
        let handler = match (command.spread, command.run) {
            (
                Spread::PerKey { part: handler, .. } | Spread::EveryShard { part: handler, .. },
                _,
            ) if part => Some(handler),
            (_, Run::Shard(handler)) => Some(handler),
            (_, Run::Script(_)) => None,
            (_, Run::Session(_) | Run::Container) => {
                unreachable!("only commands on keys travel")
            }
        };
        // A client that is owed more than its limit is closed at its own shard; the rest of its
        // requests would only add to it. What is one thing is done whole all the same.
        let start = out.len();
        // Parts' replies become another one, which may be short.
        let overflowed = hard_limit > 0 && start > hard_limit && !part;
        if whole || !overflowed {
            let wait = match handler {
                Some(handler) => {
                    execute(registry, &mut self.shard, (id, handler), args, caller, now, out)
                }
                None => self.run_command(io, id, args, caller, now, out),
            };
            waiting = wait.zip(connection).filter(|_| !looks).map(|(wait, token)| {
                Waiting::new((origin, token, turn), (id, caller), &args, wait)
            });
        }
        if overflowed {
            out.truncate(start);
            batch.overflowed = true;
        }
        batch.wrote |= self.shard.keyspace.recorder.effects.take_wrote();
        if let Some(waiting) = waiting {
            self.wait_here(&waiting);
            batch.waiting = Some(waiting);
        }
    }

    /// Saves a request from hashing its key again.
    pub(super) fn remember(&mut self, hashes: &Hashes, index: usize, args: &Args) {
        if let Some(&Some((at, hash))) = hashes.get(index) {
            self.shard.keyspace.remember(args.at(at as usize), hash);
        }
    }

    /// Brings what the first requests will look up on its way to the cache. Answers, by request,
    /// where its one key is and that key's hash.
    pub(super) fn prefetch_batch(&self, batch: &Batch) -> Hashes {
        let registry = &self.shared.env.registry;
        let keyspace = &self.shard.keyspace;
        let mut hashes = Hashes::new();
        for index in 0..batch.len().min(AHEAD) {
            let (request, args) = batch.request(index);
            let at = match registry.shape(request.id) {
                KeyShape::One(at) => Some(at),
                // A part has its one key behind the name.
                KeyShape::Several if request.part => Some(1),
                _ => None,
            };
            hashes.push(at.and_then(|at| {
                let hash = keyspace.hash(args.get(at as usize)?);
                keyspace.prefetch_bucket(request.caller.db as usize, hash);
                Some((at, hash))
            }));
        }
        if hashes.len() > 1 {
            for (index, (_, hash)) in
                hashes.iter().enumerate().filter_map(|(i, h)| Some((i, (*h)?)))
            {
                keyspace.prefetch_entry(batch.request(index).0.caller.db as usize, hash);
            }
        }
        hashes
    }

    /// Sends a batch with its replies to where it came from, which may be here.
    pub(super) fn send_back(&mut self, io: &mut dyn Io, batch: Box<Batch>) {
        // Before the replies: who has them finds what was slow in the log.
        self.log_noted(None, batch.connection);
        if batch.origin == self.index {
            self.take_answer(io, batch);
        } else {
            self.send_answer(batch);
        }
    }

    fn take_answer(&mut self, io: &mut dyn Io, batch: Box<Batch>) {
        let token = batch.connection.filter(|_| batch.done() > 0);
        let Some((token, mut conn)) = token.and_then(|t| Some((t, self.take(t)?))) else {
            if let Some(waiting) = &batch.waiting {
                self.forget_gone(waiting);
            }
            return self.keep_batch(batch);
        };
        if batch.owner == self.index {
            conn.put_off -= 1;
            self.note_writes_of(&mut conn, &batch);
        }
        conn.kill_now |= batch.overflowed;
        match batch.operation {
            true if matches!(conn.operation, Some(Operation::Blocking(_))) => {
                self.blocking_answered(io, token, &mut conn, batch);
            }
            true => self.scan_answered(io, token, &mut conn, batch),
            false => {
                conn.queue.arrive(batch);
                self.begin_output(&mut conn);
                conn.drain(&mut self.shard.random);
                while let Some(batch) = conn.queue.recycle() {
                    self.keep_batch(batch);
                }
                if conn.queue.is_empty() {
                    self.begin_waiting_tour(io, &mut conn);
                    self.step_forward(io, token, &mut conn);
                }
                if conn.far_ahead {
                    regulate(io, token, &mut conn);
                }
            }
        }
        self.put(token, conn);
    }

    /// Reads again from connections that were held back by a full queue that has room now.
    fn release_held_back(&mut self, io: &mut dyn Io) {
        if self.held_back.is_empty() {
            return;
        }
        for token in std::mem::take(&mut self.held_back) {
            let Some(mut conn) = self.take(token) else { continue };
            match conn.held_back_by {
                Some(owner) if self.mail.is_backed_up(owner) => {
                    io.pause(token, true);
                    self.held_back.push(token);
                }
                _ => {
                    conn.held_back_by = None;
                    io.pause(token, conn.is_paused());
                }
            }
            self.put(token, conn);
        }
    }
}

//! A script that runs for long, and what its shard does meanwhile.
//!
//! A script runs on its shard's thread to its end. When it has run for longer than
//! `busy-reply-threshold`, it lets the shard take a short turn now and then, in the middle of it:
//!
//! - requests of the shard's own connections, and those that other shards send, are refused with
//!   `-BUSY`, but for the few that are allowed (SCRIPT KILL, SHUTDOWN, ...);
//! - all else that happens (keys that come back, transactions that want to begin, bytes of the
//!   script's own connection) is kept for later, in its order;
//! - other shards refuse at once what would need keys that the script has; the rest they run.

use super::conn::Conn;
use super::mail::Message;
use super::operation::Question;
use super::script::Way;
use super::worker::Worker;
use crate::command::{ClientsRequest, Command, InMulti, Run, Spread, busy_with};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::route::{Batch, Kind};
use crate::rt::{Io, Token};
use crate::script::Slow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which shards have no time for anything but a slow script. Read by all, written when such a script
/// is found, and when it ends.
pub struct BusyShards {
    shards: Box<[AtomicBool]>,
    any: AtomicUsize,
}

impl BusyShards {
    pub fn new(shards: usize) -> BusyShards {
        let shards = (0..shards).map(|_| AtomicBool::new(false)).collect();
        BusyShards { shards, any: AtomicUsize::new(0) }
    }

    #[inline]
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed) > 0
    }

    pub fn is(&self, shard: usize) -> bool {
        self.shards[shard].load(Ordering::Relaxed)
    }

    fn set(&self, shard: usize, busy: bool) {
        if self.shards[shard].swap(busy, Ordering::Relaxed) != busy {
            match busy {
                true => self.any.fetch_add(1, Ordering::Relaxed),
                false => self.any.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }
}

/// Something that happened to a connection whose script runs.
enum Late {
    Received(Vec<u8>),
    Sent(Vec<u8>, bool),
    Ended,
}

/// What a shard has put off for a slow script.
#[derive(Default)]
pub struct Busy {
    /// A slow script runs here, in the middle of which this shard takes a turn.
    on: bool,
    /// It is a function.
    function: bool,
    /// It has the keys of all shards.
    holds_all: bool,
    events: Vec<(Token, Late)>,
    pub(super) mail: VecDeque<Message>,
}

impl Busy {
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }
}

impl Worker {
    /// Takes a turn in the middle of a slow script; answers whether the script is to end.
    pub(super) fn busy_turn(&mut self, io: &mut dyn Io, slow: Slow, holds_all: bool) -> bool {
        if !self.busy.on {
            tracing::warn!(
                shard = self.index,
                milliseconds = slow.running_for,
                "a script runs for long: requests get -BUSY until it ends, or SCRIPT KILL ends it"
            );
            self.busy.on = true;
            self.busy.function = slow.function.is_some();
            self.busy.holds_all = holds_all;
            let (function, own) = (self.busy.function, self.index);
            let held = (0..self.slots.shards()).filter(|&shard| holds_all || shard == own);
            for shard in held {
                self.shared.busy.set(shard, true);
                match shard == own {
                    true => self.refuse_waiting(io, function),
                    false => self.mail.push(shard, Message::Busy { function }),
                }
            }
        }
        let killed = self.shared.env.slow_scripts.report(slow);
        let now = self.now;
        io.serve_meanwhile(self);
        for from in 0..self.mail.shards() {
            while let Some(message) = self.mail.pop(from) {
                self.take_while_busy(io, message);
            }
        }
        // Before replies leave that may tell of it.
        self.hand_over_effects();
        self.send_while_busy(io);
        self.mail.flush(|shard, urgent| io.ring(shard, urgent));
        self.now = now;
        killed
    }

    /// The slow script has ended.
    pub(super) fn end_busy(&mut self) {
        if std::mem::take(&mut self.busy.on) {
            self.shared.env.slow_scripts.ended(self.index);
            let (all, own) = (self.busy.holds_all, self.index);
            let held = (0..self.slots.shards()).filter(|&shard| all || shard == own);
            held.for_each(|shard| self.shared.busy.set(shard, false));
            self.more = true;
        }
    }

    /// Keeps what happened to a connection that is being served in the middle of something.
    pub(super) fn keep_received(&mut self, token: Token, bytes: &[u8]) {
        if self.busy.on {
            self.busy.events.push((token, Late::Received(bytes.to_vec())));
        }
    }

    pub(super) fn keep_sent(&mut self, token: Token, buffer: Vec<u8>, whole: bool) {
        if self.busy.on {
            self.busy.events.push((token, Late::Sent(buffer, whole)));
        }
    }

    pub(super) fn keep_ended(&mut self, token: Token) {
        if self.busy.on {
            self.busy.events.push((token, Late::Ended));
        }
    }

    /// Does what was put off for a slow script.
    pub(super) fn work_off_late(&mut self, io: &mut dyn Io) {
        use crate::rt::Handler;
        for (token, event) in std::mem::take(&mut self.busy.events) {
            match event {
                Late::Received(mut bytes) => self.received(io, token, &mut bytes),
                Late::Sent(buffer, whole) => self.sent(io, token, buffer, whole),
                Late::Ended => self.ended(io, token),
            }
        }
        while let Some(message) = self.busy.mail.pop_front() {
            self.handle(io, message);
        }
    }

    fn take_while_busy(&mut self, io: &mut dyn Io, message: Message) {
        match message {
            Message::Run(batch) if batch.kind == Kind::Requests && !batch.operation => {
                self.refuse_batch(io, batch, self.busy.function);
            }
            // What goes on when its answer is there could run on keys here.
            Message::Answer(ref batch) if self.only_waits_for(batch) => self.handle(io, message),
            Message::Deliver(_) => self.handle(io, message),
            Message::Ask { ref question, .. }
                if matches!(**question, Question::Clients(ClientsRequest::List(_))) =>
            {
                self.handle(io, message);
            }
            _ => self.busy.mail.push_back(message),
        }
    }

    /// Whether an answer is all that its connection waits for.
    fn only_waits_for(&self, batch: &Batch) -> bool {
        !batch.operation && batch.connection.is_some_and(|token| self.is_free(token))
    }

    pub(super) fn busy_error(&self) -> CmdError {
        busy_with(self.busy.function)
    }

    /// Refuses the requests that wait for keys which a slow script has.
    pub(super) fn refuse_waiting(&mut self, io: &mut dyn Io, function: bool) {
        for batch in self.line.take_requests() {
            self.refuse_batch(io, batch, function);
        }
    }

    /// Has a batch wait for held keys, unless a slow script has them.
    pub(super) fn put_off(&mut self, io: &mut dyn Io, batch: Box<Batch>) {
        let plain = batch.kind == Kind::Requests && !batch.operation;
        if plain && self.shared.busy.is_any() && self.shared.busy.is(self.index) {
            let functions = self.shared.env.slow_scripts.list();
            let function = functions.iter().any(|slow| slow.function.is_some());
            return self.refuse_batch(io, batch, function);
        }
        self.line.put_off(batch);
    }

    fn refuse_batch(&mut self, io: &mut dyn Io, mut batch: Box<Batch>, function: bool) {
        let error = busy_with(function);
        for at in batch.done()..batch.len() {
            let (request, _, out) = batch.split(at);
            Encoder::new(out, request.caller.protocol).error(&error);
            batch.end_reply();
            self.shard.stats.per_command[request.id.0 as usize].rejected.add(1);
            self.shard.stats.count_error(&error);
        }
        self.send_back(io, batch);
    }

    /// Why a request can't run now, if a slow script has what it needs.
    #[cold]
    pub(super) fn busy_refusal(
        &mut self,
        conn: &Conn,
        command: &Command,
        owner: Option<usize>,
        args: &Args,
    ) -> Option<CmdError> {
        let busy = |worker: &Worker, shard: usize| worker.shared.busy.is(shard);
        let all = || 0..self.slots.shards();
        let meets = match (command.run, command.in_multi, owner) {
            (_, InMulti::Executes, _) => {
                let shards = conn.transaction.as_ref().map(|transaction| transaction.shards());
                shards.is_some_and(|(one, several)| {
                    one.is_some_and(|shard| busy(self, shard))
                        || (several && all().any(|shard| busy(self, shard)))
                })
            }
            (Run::Session(_), ..) => false,
            (.., Some(owner)) => busy(self, owner),
            _ => {
                let indexes = command.key_indexes(args).unwrap_or_default();
                let mut owners =
                    indexes.iter().map(|&at| self.slots.owner_of(args.at(at as usize)));
                let whole = matches!(command.spread, Spread::EveryShard { .. } | Spread::Cursor);
                owners.any(|shard| busy(self, shard))
                    || (all().any(|shard| busy(self, shard))
                        && (whole
                            || match self.way(command, args) {
                                Way::Declared => false,
                                Way::Foretold(told) => told
                                    .iter()
                                    .any(|own| busy(self, self.slots.owner_of(&own.name))),
                                Way::All => true,
                            }))
            }
        };
        let function = || self.shared.env.slow_scripts.list().iter().any(|s| s.function.is_some());
        meets.then(|| busy_with(function()))
    }
}

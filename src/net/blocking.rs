//! Commands that wait until there is something: BLPOP, BLMOVE, BZPOPMIN, XREAD BLOCK, ...
//!
//! A first attempt runs as any command does. When there is nothing, the client is registered at
//! all keys it waits for in the same step: the keys of one shard before its next command, those of
//! several before they are given back (see `gather`). Who waits costs nothing until then.
//!
//! ```text
//!   client's shard              shard of k1                    shard of k2
//!      │ registered ────────────> k1: [A, B]                     k2: [B]
//!      │                          a push; then A's command runs again, in A's name
//!      │<── Served (the reply) ───│
//! ```
//!
//! - Those who wait for a key are served in the order in which they came, whatever shard they are
//!   connected to, after the whole command, block or transaction that made the key ready.
//! - One who waits on several shards is served by one of them: they share a word, its claim, which
//!   whoever serves takes first. So do timeouts and CLIENT UNBLOCK.
//! - A command that also needs keys of other shards (BLMOVE) runs again at the client's shard,
//!   with its keys gathered; meanwhile nobody behind it is served from its key.
//! - What was taken for a client that has gone meanwhile is put back where it was.

use super::conn::Conn;
use super::gather::Loan;
use super::mail::Message;
use super::operation::Operation;
use super::worker::Worker;
use crate::clock;
use crate::command::{Begin, Caller, Command, CommandId, Find, Run, SERVED_WHOLE, execute};
use crate::data::Type;
use crate::error::CmdError;
use crate::metrics::LatencyEvent;
use crate::resp::Args;
use crate::route::{Batch, CLAIMED, DONE, Waiting};
use crate::rt::{Io, Token};
use crate::shard::{Intent, TimedOut, Wait};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What a connection that runs a blocking command is about.
pub struct Blocking {
    turn: u64,
    /// Set when the first attempt found nothing.
    waiting: Option<Arc<Waiting>>,
    /// The whole request, while it is looked whether its first keys will do.
    whole: Option<Box<(CommandId, Vec<Vec<u8>>)>>,
}

impl Blocking {
    /// Whether the client waits, and its command does not run.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// What it waits to run.
    pub fn request(&self) -> Option<(CommandId, &[Vec<u8>])> {
        self.waiting.as_ref().map(|waiting| (waiting.id, &waiting.words[..]))
    }

    /// Whether it has been served, and its reply is on its way.
    pub fn is_served(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.is_done())
    }
}

/// A reply for a client that has waited.
pub struct Served {
    waiting: Arc<Waiting>,
    shard: usize,
    reply: Vec<u8>,
    /// It leaves when its shard's journal has written so far.
    mark: u64,
}

/// One place in the line for a key.
struct Place {
    waiting: Arc<Waiting>,
    /// Its command is running again elsewhere.
    busy: bool,
}

/// The line for one key.
#[derive(Default)]
struct Queue {
    places: VecDeque<Place>,
    /// How many of them are served also when the key is gone.
    whole: usize,
}

/// Who waits for the keys of one shard, and until when its own clients wait.
#[derive(Default)]
pub struct Waiters {
    queues: HashMap<(usize, Box<[u8]>), Queue>,
    /// Ready keys that a transaction holds, or whose first waiter another shard is trying to serve.
    deferred: Vec<(usize, Box<[u8]>)>,
    /// Replies for clients of this shard.
    served: Vec<Served>,
    /// Clients of this shard whose commands are to run again.
    retries: Vec<Arc<Waiting>>,
    /// Of the clients of this shard.
    deadlines: BTreeSet<(i64, u64, Token)>,
    turns: u64,
}

impl Waiters {
    /// Whether some would be served if keys were let go.
    pub fn expects(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// When the next client has waited for long enough, milliseconds since the epoch.
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(until, ..)| *until)
    }

    /// A number for a wait.
    pub fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    pub fn is_idle(&self) -> bool {
        self.queues.is_empty() && self.served.is_empty() && self.retries.is_empty()
    }
}

/// What serving one place in a line came to.
enum Attempt {
    /// The client has got its reply, or has gone.
    Gone,
    /// It is not for this client.
    Nothing,
    /// Nobody behind it may be served for now.
    Stop,
}

/// When the shards at whose keys a client has waited learn that it waits no more.
#[derive(Clone, Copy)]
enum Forget {
    /// So that INFO soon counts right.
    Now,
    /// When they wake for something else: who has served it knows already, and the others are not worth
    /// a wake-up for every message of a busy queue.
    AtLeisure,
}

impl Worker {
    /// Runs a command that may have to wait.
    pub(super) fn begin_blocking(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, command): (CommandId, &'static Command),
        args: &Args,
    ) {
        let Ok(indexes) = command.key_indexes(args) else {
            // The command says itself what is wrong.
            return self.run_here(io, conn, id, args, None);
        };
        self.flush_batches();
        let turn = self.waiters.turn();
        conn.operation =
            Some(Operation::Blocking(Box::new(Blocking { turn, waiting: None, whole: None })));
        let mut owners = indexes.iter().map(|&i| self.slots.owner_of(args.at(i as usize)));
        let owner = owners.next().unwrap_or(self.index);
        if owners.any(|other| other != owner) {
            return match takes_first(command) {
                true => self.look_at_first(io, token, conn, id, args),
                false => self.begin_gather(io, token, conn, id, args, &indexes),
            };
        }
        let mut batch = self.batch(owner, token);
        batch.operation = true;
        batch.turn = turn;
        batch.push(id, false, Caller { may_wait: true, ..super::dispatch::caller(conn) }, args);
        conn.traffic.note(owner, self.index, self.slots.shards());
        if owner != self.index {
            self.shard.stats.hops_sent.add(1);
            return self.mail.push(owner, Message::Run(batch));
        }
        if conn.put_off > 0 || self.is_barred(id, false, args) {
            conn.put_off += 1;
            return self.line.put_off(batch);
        }
        self.run_batch(io, &mut batch);
        let waiting = batch.waiting.take();
        self.note_writes_of(conn, &batch);
        self.attempted(conn, batch.reply(0), waiting);
        self.keep_batch(batch);
    }

    /// The first attempt of a blocking command has run.
    pub(super) fn attempted(
        &mut self,
        conn: &mut Conn,
        reply: &[u8],
        waiting: Option<Arc<Waiting>>,
    ) {
        let Some(waiting) = waiting else {
            conn.operation = None;
            return self.reply_to_command(conn, |out| out.raw(reply));
        };
        if let Some(until) = waiting.until {
            self.waiters.deadlines.insert((until, waiting.turn, waiting.token));
        }
        self.shard.stats.blocked_clients.add(1);
        conn.session.blocked = true;
        if let Some(Operation::Blocking(blocking)) = &mut conn.operation {
            blocking.turn = waiting.turn;
            blocking.waiting = Some(waiting);
        }
        if !conn.session.is_unrestricted() {
            // Its user may have changed while the attempt was on its way.
            self.rights.waits.push(conn.token);
        }
    }

    /// Registers a client at all its keys that are here.
    ///
    /// Answers whether it has stood there before.
    pub(super) fn wait_here(&mut self, waiting: &Arc<Waiting>) -> bool {
        let db = waiting.caller.db as usize;
        let whole = self.is_served_whole(waiting);
        let mut stood = false;
        for key in &waiting.keys {
            if self.slots.owner_of(key) != self.index {
                continue;
            }
            let queue = self.waiters.queues.entry((db, key.clone())).or_default();
            match queue.places.iter_mut().find(|place| Arc::ptr_eq(&place.waiting, waiting)) {
                // It has tried in vain, and keeps its place. Or a key is named twice.
                Some(place) => {
                    stood |= place.busy;
                    place.busy = false;
                }
                None => {
                    queue.places.push_back(Place { waiting: waiting.clone(), busy: false });
                    queue.whole += usize::from(whole);
                    let stats = &self.shard.stats;
                    stats.blocking_keys.add(u64::from(queue.places.len() == 1));
                    stats.blocking_keys_on_nokey.add(u64::from(whole && queue.whole == 1));
                    self.shard.keyspace.waited.get_or_insert_default().add(db, key);
                }
            }
        }
        stood
    }

    fn is_served_whole(&self, waiting: &Waiting) -> bool {
        self.shared.env.registry.command(waiting.id).flags.has(SERVED_WHOLE)
    }

    /// A loan is back whose borrower has found nothing: it waits for the keys, or goes on waiting.
    pub(super) fn wait_for_loan(&mut self, loan: &mut Loan) {
        let Some(waiting) = loan.waiting.take() else { return };
        if waiting.is_done() {
            return self.forget_waiting(&waiting);
        }
        let db = waiting.caller.db as usize;
        // Something may have come for those behind it while it tried.
        if self.wait_here(&waiting)
            && let Some(waited) = &mut self.shard.keyspace.waited
        {
            waiting.keys.iter().for_each(|key| waited.changed(db, key));
        }
    }

    /// Takes a client out of the lines for its keys that are here.
    pub(super) fn forget_waiting(&mut self, waiting: &Arc<Waiting>) {
        let db = waiting.caller.db as usize;
        let whole = self.is_served_whole(waiting);
        for key in &waiting.keys {
            let at = (db, key.clone());
            let Some(queue) = self.waiters.queues.get_mut(&at) else { continue };
            let places = &mut queue.places;
            let before = places.len();
            let is_it = |place: &Place| Arc::ptr_eq(&place.waiting, waiting);
            let was_busy = places.iter().any(|place| place.busy && is_it(place));
            // Nearly always it is the first.
            match places.front().is_some_and(is_it) {
                true => drop(places.pop_front()),
                false => places.retain(|place| !is_it(place)),
            }
            let (left, gone) = (places.len(), before - places.len());
            if whole && gone > 0 {
                queue.whole -= gone;
                self.shard.stats.blocking_keys_on_nokey.sub(u64::from(queue.whole == 0));
            }
            if left == 0 {
                self.waiters.queues.remove(&at);
                self.shard.stats.blocking_keys.sub(1);
            }
            let Some(waited) = &mut self.shard.keyspace.waited else { continue };
            (0..gone).for_each(|_| waited.remove(db, key));
            if gone > 0 && was_busy {
                waited.changed(db, key);
            }
        }
        if self.waiters.queues.is_empty() {
            self.shard.keyspace.waited = None;
        }
    }

    /// Whether clients may have something to get: what they wait for, or messages.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        let waited = self.shard.keyspace.waited.as_ref();
        self.shard.keyspace.channels.has_mail()
            || self.shard.keyspace.has_invalidations()
            || waited.is_some_and(|waited| waited.has_ready())
    }

    /// Serves those who wait for keys that have become ready. To be called after a whole command,
    /// block or transaction, and never in the middle of one.
    #[cold]
    pub(super) fn serve(&mut self) {
        self.send_effects();
        while let Some((db, key)) =
            self.shard.keyspace.waited.as_mut().and_then(|waited| waited.next_ready())
        {
            let intent = Intent { hash: self.shard.keyspace.hash(&key), exclusive: true };
            match self.line.intents.bars(intent) {
                true => self.waiters.deferred.push((db, key)),
                false if self.shard.timing.watches_events() => {
                    let start = clock::monotonic();
                    self.serve_key(db, key);
                    self.note_event(LatencyEvent::CommandUnblocking, start.elapsed());
                }
                false => self.serve_key(db, key),
            }
            self.send_effects();
        }
        // What it did to the keys of those who were served.
        self.send_published();
    }

    /// Sends what clients are to be told of what has been done here.
    pub(super) fn send_effects(&mut self) {
        self.send_invalidations();
        self.send_flushed();
        self.send_published();
    }

    /// Keys that were held are free, or a shard has done with a client: those that were ready are so again.
    pub(super) fn serve_deferred(&mut self) {
        for (db, key) in std::mem::take(&mut self.waiters.deferred) {
            if let Some(waited) = &mut self.shard.keyspace.waited {
                waited.changed(db, &key);
            }
        }
        if self.has_ready() {
            self.serve();
        }
    }

    fn serve_key(&mut self, db: usize, key: Box<[u8]>) {
        let at = (db, key);
        let mut place = 0;
        loop {
            let kind = self.kind_of(&at);
            let Some(queue) = self.waiters.queues.get(&at) else { return };
            let Some(Place { waiting, busy }) = queue.places.get(place) else { return };
            if kind != Some(waiting.kind) && !self.is_served_whole(waiting) {
                match kind {
                    // Nothing is there for those behind it either: they are all like it.
                    None if queue.whole == 0 => return,
                    _ => place += 1,
                }
                continue;
            }
            let waiting = waiting.clone();
            let attempt = if *busy { Attempt::Stop } else { self.serve_one(&waiting, &at) };
            match attempt {
                Attempt::Gone => self.forget_waiting(&waiting),
                Attempt::Nothing => place += 1,
                Attempt::Stop => return,
            }
        }
    }

    fn kind_of(&mut self, (db, key): &(usize, Box<[u8]>)) -> Option<Type> {
        let mut keys = self.shard.keyspace.keys(*db, self.now, false);
        keys.peek(key).map(|entry| entry.kind())
    }

    /// Runs the command of a client that waits once more, if it can run here.
    fn serve_one(&mut self, waiting: &Arc<Waiting>, at: &(usize, Box<[u8]>)) -> Attempt {
        if waiting.is_done() {
            return Attempt::Gone;
        }
        let command = self.shared.env.registry.command(waiting.id);
        let (bytes, spans) = super::operation::flat(waiting.words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &spans);
        if self.needs_other_shards(command, waiting, &args) {
            if let Some(queue) = self.waiters.queues.get_mut(at)
                && let Some(place) =
                    queue.places.iter_mut().find(|p| Arc::ptr_eq(&p.waiting, waiting))
            {
                place.busy = true;
            }
            match waiting.origin == self.index {
                true => self.waiters.retries.push(waiting.clone()),
                false => self.mail.push(waiting.origin, Message::Retry(waiting.clone())),
            }
            return Attempt::Stop;
        }
        if self.is_barred(waiting.id, false, &args) {
            self.waiters.deferred.push(at.clone());
            return Attempt::Stop;
        }
        match waiting.claim() {
            Ok(()) => {}
            Err(DONE) => return Attempt::Gone,
            Err(_) => {
                // Another shard has it in hand, for a moment.
                self.waiters.deferred.push(at.clone());
                self.more = true;
                return Attempt::Stop;
            }
        }
        let mut reply = Vec::new();
        let waits = self.run_again_here(waiting, command, args, &mut reply).is_some();
        waiting.settle(!waits);
        if waits {
            return Attempt::Nothing;
        }
        let mark = self.mark();
        let served = Served { waiting: waiting.clone(), shard: self.index, reply, mark };
        match waiting.origin == self.index {
            true => self.waiters.served.push(served),
            // At once: it is to be there before what is sent next.
            false => self.send_written(mark, waiting.origin, Message::Served(Box::new(served))),
        }
        Attempt::Gone
    }

    /// As [`Worker::run_again`], with none but the keys of this shard: that the others are not here is
    /// not to be told of.
    fn run_again_here(
        &mut self,
        waiting: &Waiting,
        command: &Command,
        args: Args,
        reply: &mut Vec<u8>,
    ) -> Option<Wait> {
        self.shard.keyspace.channels.begin_block();
        let wait = self.run_again(waiting, command, args, reply);
        for event in self.shard.keyspace.channels.end_block() {
            if self.slots.owner_of(event.home()) == self.index {
                self.shard.keyspace.publish_foreign(event);
            }
        }
        wait
    }

    fn run_again(
        &mut self,
        waiting: &Waiting,
        command: &Command,
        args: Args,
        reply: &mut Vec<u8>,
    ) -> Option<Wait> {
        let Run::Shard(handler) = command.run else { return None };
        let registry = &self.shared.env.registry;
        execute(
            registry,
            &mut self.shard,
            (waiting.id, handler),
            args,
            waiting.caller,
            self.now,
            reply,
        )
    }

    /// Whether a command can run only with keys of other shards at hand. Those for which it waits
    /// are empty there, as far as it matters, unless the command says otherwise.
    fn needs_other_shards(&self, command: &Command, waiting: &Waiting, args: &Args) -> bool {
        let indexes = command.key_indexes(args).unwrap_or_default();
        let mut elsewhere = indexes
            .iter()
            .map(|&index| args.at(index as usize))
            .filter(|key| self.slots.owner_of(key) != self.index);
        match command.flags.has(SERVED_WHOLE) {
            true => elsewhere.next().is_some(),
            false => elsewhere.any(|key| !waiting.keys.iter().any(|own| **own == *key)),
        }
    }

    /// At the client's shard: a key is ready, and the command is to run again with all its keys.
    pub(super) fn retry_blocked(&mut self, io: &mut dyn Io, waiting: Arc<Waiting>) {
        let Some(mut conn) = self.take(waiting.token) else { return };
        if is_blocked_in(&conn, &waiting) {
            self.gather_again(io, &mut conn, waiting.clone());
        }
        self.put(waiting.token, conn);
    }

    fn gather_again(&mut self, io: &mut dyn Io, conn: &mut Conn, waiting: Arc<Waiting>) {
        let command = self.shared.env.registry.command(waiting.id);
        let (bytes, spans) = super::operation::flat(waiting.words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &spans);
        let indexes = command.key_indexes(&args).unwrap_or_default();
        let keys = indexes.iter().map(|&index| args.at(index as usize).into()).collect();
        self.gather_retry(io, waiting.token, conn, waiting, keys);
    }

    /// All keys of a command that runs again are here.
    pub(super) fn run_retry(&mut self, waiting: &Arc<Waiting>) -> Option<Served> {
        waiting.claim().ok()?;
        let command = self.shared.env.registry.command(waiting.id);
        let (bytes, spans) = super::operation::flat(waiting.words.iter().map(Vec::as_slice));
        let mut reply = Vec::new();
        let args = Args::new(&bytes, &spans);
        let waits = self.run_again(waiting, command, args, &mut reply).is_some();
        waiting.settle(!waits);
        (!waits).then(|| Served { waiting: waiting.clone(), shard: self.index, reply, mark: 0 })
    }

    /// Hands out at the end of the turn what a client of this shard has got.
    pub(super) fn keep_served(&mut self, served: Served) {
        let mark = self.mark();
        self.waiters.served.push(Served { mark, ..served });
    }

    /// Hands out what clients have got in this turn.
    pub(super) fn deliver_served(&mut self, io: &mut dyn Io) {
        while !self.waiters.served.is_empty() || !self.waiters.retries.is_empty() {
            for waiting in std::mem::take(&mut self.waiters.retries) {
                self.retry_blocked(io, waiting);
            }
            for served in std::mem::take(&mut self.waiters.served) {
                self.finish_served(io, served);
            }
        }
    }

    /// A client of this shard has got what it waited for.
    pub(super) fn finish_served(&mut self, io: &mut dyn Io, served: Served) {
        let waiting = &served.waiting;
        let conn = self.take(waiting.token);
        let Some(mut conn) = conn.filter(|conn| is_blocked_in(conn, waiting)) else {
            return self.put_back(served);
        };
        if served.shard == self.index {
            conn.written_at = conn.written_at.max(served.mark);
        }
        self.end_wait(&mut conn, waiting, Forget::AtLeisure);
        self.reply_to_command(&mut conn, |out| out.raw(&served.reply));
        self.resume(io, waiting.token, &mut conn);
        self.put(waiting.token, conn);
    }

    /// A client does not wait any more.
    fn end_wait(&mut self, conn: &mut Conn, waiting: &Arc<Waiting>, forget: Forget) {
        conn.operation = None;
        conn.session.blocked = false;
        self.shard.stats.blocked_clients.sub(1);
        self.forget_everywhere(waiting, forget);
    }

    /// The first attempt of a client that has gone meanwhile has registered it.
    pub(super) fn forget_gone(&mut self, waiting: &Arc<Waiting>) {
        if waiting.claim().is_ok() {
            waiting.settle(true);
            self.forget_everywhere(waiting, Forget::Now);
        }
    }

    fn forget_everywhere(&mut self, waiting: &Arc<Waiting>, forget: Forget) {
        if let Some(until) = waiting.until {
            self.waiters.deadlines.remove(&(until, waiting.turn, waiting.token));
        }
        let mut owners: SmallVec<[usize; 4]> =
            waiting.keys.iter().map(|key| self.slots.owner_of(key)).collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            let message = Message::Forget(waiting.clone());
            match forget {
                _ if owner == self.index => self.forget_waiting(waiting),
                Forget::Now => self.mail.push(owner, message),
                Forget::AtLeisure => self.mail.push_quietly(owner, message),
            }
        }
    }

    /// What was taken for a client that is gone goes back to where it was.
    fn put_back(&mut self, served: Served) {
        let Waiting { id, caller, words, token, .. } = &*served.waiting;
        let command = self.shared.env.registry.command(*id);
        let (bytes, spans) = super::operation::flat(words.iter().map(Vec::as_slice));
        let Some(undo) = command.undo else { return };
        let Some(words) = undo(&Args::new(&bytes, &spans), &served.reply) else { return };
        let (bytes, spans) = super::operation::flat(words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &spans);
        let Ok(id) = self.shared.env.registry.find(&args) else { return };
        let mut batch = self.batch(served.shard, *token);
        batch.connection = None;
        batch.push(id, false, Caller { may_wait: false, ..*caller }, &args);
        match served.shard == self.index {
            true => self.line.put_off(batch),
            false => self.mail.push(served.shard, Message::Run(batch)),
        }
    }

    /// Ends the waits whose time is up.
    pub(super) fn look_at_deadlines(&mut self, io: &mut dyn Io) {
        let mut late: Vec<(i64, u64, Token)> = Vec::new();
        while let Some(&(until, turn, token)) = self.waiters.deadlines.first()
            && until <= self.now
        {
            self.waiters.deadlines.pop_first();
            let Some(mut conn) = self.take(token) else { continue };
            if self.unblock(io, token, &mut conn, None) == Err(CLAIMED) {
                late.push((until, turn, token));
            }
            self.put(token, conn);
        }
        self.more |= !late.is_empty();
        self.waiters.deadlines.extend(late);
    }

    /// Ends the wait of a client as if its time were up, or with an error. Fails when the client does
    /// not wait, with what else is the matter.
    pub(super) fn unblock(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        error: Option<&CmdError>,
    ) -> Result<(), u8> {
        let waiting = self.give_up(conn)?;
        self.end_wait(conn, &waiting, Forget::Now);
        let counters = &self.shard.stats.per_command[waiting.id.0 as usize];
        match error {
            Some(error) if error.is_denial() => counters.rejected.add(1),
            _ => {
                counters.calls.add(1);
                counters.failed.add(u64::from(error.is_some()));
            }
        }
        if let Some(error) = error {
            self.shard.stats.count_error(error);
        }
        self.reply_to_command(conn, |out| match (error, waiting.timed_out) {
            (Some(error), _) => out.error(error),
            (None, TimedOut::NullArray) => out.null_array(),
            (None, TimedOut::Null) => out.null(),
        });
        self.resume(io, token, conn);
        Ok(())
    }

    /// Takes a client out of everybody's reach.
    fn give_up(&mut self, conn: &mut Conn) -> Result<Arc<Waiting>, u8> {
        let Some(Operation::Blocking(blocking)) = &conn.operation else { return Err(DONE) };
        let Some(waiting) = &blocking.waiting else { return Err(DONE) };
        waiting.claim()?;
        waiting.settle(true);
        Ok(waiting.clone())
    }

    /// A connection is gone that may be waiting.
    pub(super) fn forget_blocked(&mut self, conn: &mut Conn) {
        let Some(Operation::Blocking(blocking)) = &conn.operation else { return };
        let Some(waiting) = blocking.waiting.clone() else { return };
        // Who has served it meanwhile, or is about to, finds that it is gone.
        let _ = self.give_up(conn);
        self.end_wait(conn, &waiting, Forget::Now);
    }

    /// The first attempt has run elsewhere, or after all here.
    pub(super) fn blocking_answered(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        mut batch: Box<Batch>,
    ) {
        let (waiting, looks) = (batch.waiting.take(), batch.looks);
        match batch.next_reply() {
            Some(b"") if looks => self.look_at_all(io, token, conn),
            Some(reply) => self.attempted(conn, reply, waiting),
            None => {}
        }
        self.keep_batch(batch);
        self.resume(io, token, conn);
    }

    /// Tries a command that takes from the first key where there is something with those of its first
    /// keys that one shard has: in a busy queue they will do, and nothing has to be gathered.
    fn look_at_first(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
    ) {
        let owner = self.slots.owner_of(args.at(1));
        let mut batch = self.batch(owner, token);
        let keys = args.range(1, args.len() - 1);
        let first = keys.iter().take_while(|key| self.slots.owner_of(key) == owner);
        let words = [args.at(0)].into_iter().chain(first).chain([args.at(args.len() - 1)]);
        batch.operation = true;
        batch.looks = true;
        batch.turn = self.waiters.turn();
        let caller = Caller { may_wait: true, ..super::dispatch::caller(conn) };
        batch.push_words(id, false, caller, words);
        let whole = Box::new((id, args.iter().map(<[u8]>::to_vec).collect()));
        if let Some(Operation::Blocking(blocking)) = &mut conn.operation {
            blocking.whole = Some(whole);
        }
        conn.traffic.note(owner, self.index, self.slots.shards());
        if owner != self.index {
            self.shard.stats.hops_sent.add(1);
            return self.mail.push(owner, Message::Run(batch));
        }
        if conn.put_off > 0 || self.is_barred(id, false, &batch.request(0).1) {
            conn.put_off += 1;
            return self.line.put_off(batch);
        }
        self.run_batch(io, &mut batch);
        self.note_writes_of(conn, &batch);
        match batch.reply(0) {
            b"" => self.look_at_all(io, token, conn),
            reply => self.attempted(conn, reply, None),
        }
        self.keep_batch(batch);
    }

    /// The first keys of a command have nothing: it is tried with all of them.
    fn look_at_all(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        let Some(Operation::Blocking(blocking)) = &mut conn.operation else { return };
        let Some(whole) = blocking.whole.take() else { return };
        let (id, words) = *whole;
        let (bytes, spans) = super::operation::flat(words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &spans);
        let indexes = self.shared.env.registry.command(id).key_indexes(&args);
        self.begin_gather(io, token, conn, id, &args, &indexes.unwrap_or_default());
    }
}

/// Whether a command's keys are all its arguments but the last, and it needs no more than the first of
/// them where there is something.
fn takes_first(command: &Command) -> bool {
    let keys = command.keys.iter().all(|spec| {
        matches!(spec.begin, Begin::Index(1))
            && matches!(spec.find, Find::Range { last: -2, step: 1, limit: 0 })
    });
    keys && command.keys.len() == 1 && !command.flags.has(SERVED_WHOLE)
}

/// Whether it is this wait that a connection is in.
fn is_blocked_in(conn: &Conn, waiting: &Waiting) -> bool {
    matches!(&conn.operation, Some(Operation::Blocking(blocking)) if blocking.turn == waiting.turn)
}

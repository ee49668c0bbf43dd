//! MULTI to EXEC, and WATCH, on the side of the connection.
//!
//! Requests wait in a batch as if they were to travel. EXEC takes the shortest way that runs them as one:
//!
//! ```text
//!   no keys, or keys of this shard     run here, one after the other
//!   keys of one other shard            the batch is sent there, flagged as a whole; one reply
//!   keys of several shards, each       a tour visits the shards (see squash, tour); not when keys
//!   request's on one of them           are watched
//!   other keys of several shards       the keys are borrowed (see gather), then they run here
//!   a command on all keys among them   the shards' whole tables are borrowed
//! ```
//!
//! A command on the client's own state (SELECT, CLIENT, ...) can only run here, in its place.
//!
//! Watched keys are registered where they live, under the client's id. EXEC asks there, when it holds
//! the keys, whether they have changed; that ends the registration. The watched keys are
//! borrowed like those of the requests, so that nothing comes between the answer and the EXEC.

use super::conn::Conn;
use super::dispatch::end_caching;
use super::gather::{Channel, Loans, Wanted};
use super::worker::Worker;
use crate::acl::User;
use crate::command::{
    APART, Command, CommandId, EXEC_ABORT, InMulti, KeyShape, MAY_REPLICATE, Merge, PUBSUB, Run,
    Spread, Unknown, WRITE,
};
use crate::error::CmdError;
use crate::journal::Unit;
use crate::resp::{Args, Encoder};
use crate::route::{Batch, Kind, Merging};
use crate::rt::{Io, Token};
use crate::shard::Intent;
use std::collections::HashSet;
use std::sync::Arc;

/// Where the requests of a block must run.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Place {
    /// The shards of its keys: none, this one, or several.
    owner: Option<usize>,
    several: bool,
    /// All keys of all shards.
    everywhere: bool,
    /// One of the requests can only run at the connection.
    here: bool,
}

impl Place {
    fn add(&mut self, owner: usize) {
        self.several |= self.owner.is_some_and(|own| own != owner);
        self.owner = Some(owner);
    }
}

/// What a connection has under way between MULTI or WATCH and the end of EXEC.
#[derive(Default)]
pub struct Transaction {
    /// The requests since MULTI.
    queue: Option<Box<Batch>>,
    place: Place,
    /// Whose rights were looked at when the requests were queued; `None` for several users', or one that
    /// has changed meanwhile.
    user: Option<Arc<User>>,
    watched: HashSet<(usize, Box<[u8]>)>,
    /// Bytes of their names.
    watched_bytes: usize,
    /// The shards of the watched keys.
    watched_on: Vec<usize>,
    /// EXEC has begun: what it has borrowed, and the next request to run.
    pub(super) running: Option<Running>,
    /// The words of the EXEC, as clients are to be shown them behind its requests.
    pub(super) unshown: Option<Vec<u8>>,
}

impl Transaction {
    /// The requests since MULTI.
    pub(super) fn queue(&self) -> Option<&Batch> {
        self.queue.as_deref()
    }

    /// Bytes of memory of what is watched, here and where it lives.
    pub(super) fn watched_bytes(&self) -> usize {
        const EACH: usize = 2 * size_of::<(usize, Box<[u8]>)>() + 32;
        self.watched.len() * EACH + 2 * self.watched_bytes
    }

    /// Whether one of the requests can only run at the connection, of this user.
    ///
    /// Where the rights have changed since a request was queued, each is looked at again when it runs.
    pub(super) fn needs_client(&self, user: &Arc<User>) -> bool {
        let is_same = self.user.as_ref().is_some_and(|own| Arc::ptr_eq(own, user));
        self.place.here || (self.queue.is_some() && !is_same)
    }

    /// The shards of its requests' keys: the only one, or `None` when there are more or none, and then
    /// whether there are more.
    pub(super) fn shards(&self) -> (Option<usize>, bool) {
        match (self.place.everywhere || self.place.several, self.place.owner) {
            (true, _) => (None, true),
            (false, owner) => (owner, false),
        }
    }
}

#[derive(Default)]
pub(super) struct Running {
    pub loans: Loans,
    next: usize,
    /// What its requests have done so far.
    effects: Unit,
}

impl Worker {
    /// A request was refused; if that happens after MULTI, EXEC will be refused, too.
    pub(super) fn refused(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        found: &Result<CommandId, Unknown>,
        (mut error, args): (CmdError, &Args),
    ) {
        if let Some(multi) = &mut conn.session.multi {
            multi.failed = true;
        }
        let registry = &self.shared.env.registry;
        let command = found.ok().map(|id| registry.command(id));
        if let Some(command) = command.filter(|command| command.in_multi == InMulti::Executes) {
            let reason = error.as_bytes();
            let reason = reason.strip_prefix(b"ERR ").unwrap_or(reason);
            let text = [b"EXECABORT Transaction discarded because of: ", reason].concat();
            error = CmdError::of_bytes(text);
            self.forget(io, token, conn);
            self.show(conn, command, args);
        }
        end_caching(conn, command);
        self.shard.stats.count_error(&error);
        self.reply_to_command(conn, |out| out.error(&error));
    }

    /// Has a request wait for EXEC.
    pub(super) fn wait_for_exec(
        &mut self,
        token: Token,
        conn: &mut Conn,
        (id, command): (CommandId, &'static Command),
        owner: Option<usize>,
        args: &Args,
    ) {
        conn.session.last_command = command.name;
        let (caller, user) = (super::dispatch::caller(conn), conn.session.user().clone());
        let Some(multi) = &mut conn.session.multi else { return };
        if !multi.failed {
            let transaction = conn.transaction.get_or_insert_default();
            self.place(&mut transaction.place, command, owner, args);
            let same = transaction.user.as_ref().is_some_and(|own| Arc::ptr_eq(own, &user));
            if multi.requests == 0 {
                transaction.user = Some(user);
            } else if !same {
                transaction.user = None;
            }
            let queue = match &mut transaction.queue {
                Some(queue) => queue,
                none => none.insert(self.batch(self.index, token)),
            };
            queue.push(id, false, caller, args);
            multi.requests += 1;
            multi.writes |= command.flags.has(WRITE) || command.flags.has(MAY_REPLICATE);
            multi.bytes = queue.memory();
            // What waits counts as query that was not run yet.
            if multi.bytes > self.limits.query_bytes {
                self.shard.stats.query_limit_disconnections.add(1);
                tracing::warn!(
                    client = conn.session.id,
                    "closing a client that has asked for too much since MULTI: \
                     client-query-buffer-limit"
                );
                conn.kill_now = true;
            }
        }
        self.reply_to_command(conn, |out| out.simple("QUEUED"));
    }

    fn place(&mut self, place: &mut Place, command: &Command, owner: Option<usize>, args: &Args) {
        match (command.run, command.spread) {
            (Run::Session(_), _) => place.here = true,
            (_, Spread::EveryShard { .. } | Spread::Cursor) => place.everywhere = true,
            _ if command.flags.has(APART) => place.everywhere = true,
            _ if self.reaches_all(command, args, true) => place.everywhere = true,
            _ => match (owner, command.key_indexes(args)) {
                (Some(owner), _) => place.add(owner),
                (None, Ok(indexes)) => {
                    let owners = indexes.iter().map(|&i| self.slots.owner_of(args.at(i as usize)));
                    owners.for_each(|owner| place.add(owner));
                }
                // The command answers an error.
                (None, Err(_)) => place.here = true,
            },
        }
    }

    /// Whether one of the commands that wait for EXEC is such that `test` says so.
    pub(super) fn any_queued(
        &mut self,
        conn: &Conn,
        test: fn(&mut Worker, &'static Command, &Args) -> bool,
    ) -> bool {
        let Some(queue) = conn.transaction.as_ref().and_then(|t| t.queue()) else { return false };
        (0..queue.len()).any(|at| {
            let (request, args) = queue.request(at);
            test(self, self.shared.env.registry.command(request.id), &args)
        })
    }

    pub(super) fn exec(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn, id: CommandId) {
        let failed = conn.session.multi.is_some_and(|multi| multi.failed);
        if failed {
            self.forget(io, token, conn);
            self.shard.stats.per_command[id.0 as usize].failed.add(1);
            self.shard.stats.count_error(&EXEC_ABORT);
            return self.reply_to_command(conn, |out| out.error(&EXEC_ABORT));
        }
        let mut transaction = conn.transaction.take().unwrap_or_default();
        let mut place = transaction.place;
        place.here = transaction.needs_client(conn.session.user());
        transaction.watched_on.iter().for_each(|&owner| place.add(owner));
        let mut queue = match transaction.queue.take() {
            Some(queue) => queue,
            None => self.batch(self.index, token),
        };
        let watcher = (!transaction.watched.is_empty()).then_some(conn.session.id);
        conn.session.watched = 0;
        let shards = self.slots.shards();
        let alone = place.owner.is_none_or(|owner| owner == self.index) && !place.several;
        // To show its requests, if they run, it must be known here whether they do.
        let leaves = watcher.is_none() || !self.monitors.are_there();
        if shards == 1 || (alone && !place.everywhere && (!place.here || place.owner.is_none())) {
            // A block that needs its client has no keys here, or there is but one shard.
            queue.kind = Kind::Block { watcher, protocol: conn.session.protocol };
            let waits = !place.here && (conn.put_off > 0 || self.block_must_wait(&queue));
            match waits {
                false => return self.exec_here(io, token, conn, queue, watcher),
                true if leaves => {
                    return self.send_block(io, token, conn, self.index, queue, watcher);
                }
                true => {}
            }
        } else if let (Some(owner), false, false, false, true) =
            (place.owner, place.several, place.everywhere, place.here, leaves)
        {
            return self.send_block(io, token, conn, owner, queue, watcher);
        }
        if watcher.is_none()
            && !place.everywhere
            && !place.here
            && let Some(tour) = self.squash(token, conn, &queue)
        {
            self.show_queue(conn, &queue);
            conn.session.multi = None;
            self.keep_batch(queue);
            return self.begin_tour(io, conn, tour);
        }
        let keys = self.keys_of(&queue, &transaction);
        let channels = self.channels_of(&queue);
        let watched_on = std::mem::take(&mut transaction.watched_on);
        transaction.queue = Some(queue);
        conn.transaction = Some(transaction);
        self.running(conn);
        let whole = place.everywhere;
        let wanted = Wanted { keys, channels, watched_on: &watched_on, whole };
        self.gather_block(io, token, conn, wanted);
    }

    fn running(&mut self, conn: &mut Conn) {
        if let Some(multi) = &mut conn.session.multi {
            multi.running = true;
        }
    }

    /// The keys of all requests and those that are watched.
    fn keys_of(&self, queue: &Batch, transaction: &Transaction) -> Vec<Box<[u8]>> {
        let registry = &self.shared.env.registry;
        let mut keys: Vec<Box<[u8]>> =
            transaction.watched.iter().map(|(_, key)| key.clone()).collect();
        for at in 0..queue.len() {
            let (request, args) = queue.request(at);
            match registry.shape(request.id) {
                KeyShape::None => {}
                KeyShape::One(at) => keys.extend(args.get(at as usize).map(Box::from)),
                KeyShape::Several => {
                    let indexes = registry.command(request.id).key_indexes(&args);
                    let indexes = indexes.into_iter().flatten();
                    keys.extend(indexes.map(|at| Box::from(args.at(at as usize))));
                }
            }
        }
        keys
    }

    /// The channels to which requests publish.
    fn channels_of(&self, queue: &Batch) -> Vec<Channel> {
        let publishes = PUBSUB.with(MAY_REPLICATE);
        let channel = |at| {
            let (request, args) = queue.request(at);
            let command = self.shared.env.registry.command(request.id);
            command.flags.has(publishes).then(|| {
                let sharded = !command.keys.is_empty();
                Channel { name: args.at(1).into(), sharded, clients: 0 }
            })
        };
        (0..queue.len()).filter_map(channel).collect()
    }

    /// A block whose keys are here.
    fn exec_here(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        queue: Box<Batch>,
        watcher: Option<u64>,
    ) {
        if watcher.is_some_and(|client| self.shard.keyspace.unwatch(client, self.now)) {
            conn.session.multi = None;
            self.keep_batch(queue);
            return self.reply_to_command(conn, |out| out.null_array());
        }
        let transaction = Transaction { queue: Some(queue), ..Transaction::default() };
        conn.transaction = Some(Box::new(transaction));
        self.running(conn);
        self.begin_block(io, token, conn, Loans::new());
    }

    /// Has another shard run a block, or this one as soon as its keys are back.
    fn send_block(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        owner: usize,
        mut queue: Box<Batch>,
        watcher: Option<u64>,
    ) {
        conn.traffic.note(owner, self.index, self.slots.shards());
        self.show_queue(conn, &queue);
        conn.session.multi = None;
        queue.address(owner, self.index, token);
        queue.kind = Kind::Block { watcher, protocol: conn.session.protocol };
        let silent = !conn.session.take_reply();
        conn.queue.push_remote(owner, silent);
        self.post(io, token, conn, queue);
    }

    /// Sends a batch that is complete behind what this connection has sent before; one for this
    /// shard joins those that wait.
    fn post(&mut self, _io: &mut dyn Io, token: Token, conn: &mut Conn, batch: Box<Batch>) {
        let owner = batch.owner;
        if owner == self.index {
            conn.put_off += 1;
            return self.line.put_off(batch);
        }
        self.flush_batches();
        self.hold_back(token, conn, owner);
        self.shard.stats.hops_sent.add(1);
        self.mail.push(owner, super::Message::Run(batch));
    }

    /// All keys of a block are here: runs it, or answers that watched keys have changed.
    pub(super) fn begin_block(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        loans: Loans,
    ) {
        conn.operation = None;
        let dirty = loans.iter().any(|loan| loan.dirty);
        let Some(transaction) = &mut conn.transaction else { return };
        let requests = transaction.queue.as_ref().map_or(0, |queue| queue.len());
        let next = if dirty { requests } else { 0 };
        transaction.running = Some(Running { loans, next, effects: Unit::new() });
        if conn.session.wants_reply() {
            self.reply(conn, |out| match dirty {
                true => out.null_array(),
                false => out.array(requests),
            });
        }
        self.go_on_with_block(io, token, conn);
    }

    /// Runs the requests of a block from where it stands.
    pub(super) fn go_on_with_block(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        let Some(transaction) = &mut conn.transaction else { return };
        let Some(mut running) = transaction.running.take() else { return };
        let Some(queue) = transaction.queue.take() else { return };
        self.unpack(&mut running.loans);
        while running.next < queue.len() {
            let (request, args) = queue.request(running.next);
            running.next += 1;
            let command = self.shared.env.registry.command(request.id);
            if !conn.session.is_unrestricted()
                && let Some(error) = self.denial_in_exec(io, token, conn, (request.id, &args))
            {
                self.reply_to_command(conn, |out| out.error(&error));
                continue;
            }
            match command.run {
                Run::Session(handler) => {
                    self.run_session(io, token, conn, (request.id, handler), args);
                    self.show(conn, command, &args);
                }
                _ => self.run_in_block(io, conn, request.id, &args, &mut running),
            }
            if conn.operation.is_some()
                && let Some(transaction) = &mut conn.transaction
            {
                // Other shards were asked something.
                let effects = self.repack(&mut running.loans);
                running.effects.extend(effects);
                transaction.running = Some(running);
                transaction.queue = Some(queue);
                return;
            }
        }
        self.keep_batch(queue);
        let unshown = conn.transaction.take().and_then(|transaction| transaction.unshown);
        self.show_exec(conn, unshown);
        conn.session.multi = None;
        end_caching(conn, None);
        conn.session.take_reply();
        let effects = self.repack(&mut running.loans);
        running.effects.extend(effects);
        let wrote = !running.effects.is_empty();
        self.record_unit(running.effects);
        if wrote {
            conn.written_at = self.mark();
        }
        self.give_back(running.loans);
        if self.has_ready() {
            self.serve();
        }
    }

    fn run_in_block(
        &mut self,
        io: &mut dyn Io,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
        running: &mut Running,
    ) {
        self.show(conn, self.shared.env.registry.command(id), args);
        match running.loans.iter().any(|loan| loan.is_whole()) {
            true => {
                let (caller, mut reply) = (super::dispatch::caller(conn), Vec::new());
                self.run_on_all(io, (id, self.now), args, caller, &mut running.loans, &mut reply);
                self.reply_to_command(conn, |out| out.raw(&reply));
            }
            false => self.run_here(io, conn, id, args, None),
        }
    }

    /// Whether a block would see a key that is held.
    pub(super) fn block_must_wait(&self, batch: &Batch) -> bool {
        if self.line.is_free() {
            return false;
        }
        // Those who watch may be away with the keys.
        if self.line.intents.holds_all() {
            return true;
        }
        let barred = |at| {
            let (request, args) = batch.request(at);
            self.is_barred(request.id, false, &args)
        };
        let watched = match batch.kind {
            Kind::Block { watcher: Some(client), .. } => self.shard.keyspace.watched_by(client),
            _ => &[],
        };
        (0..batch.len()).any(barred) || watched.iter().any(|(_, key)| self.is_being_changed(key))
    }

    /// Whether a transaction that is under way may have changed a key, or will.
    fn is_being_changed(&self, key: &[u8]) -> bool {
        let hash = self.shard.keyspace.hash(key);
        self.line.intents.bars(Intent { hash, exclusive: false })
    }

    /// Runs a block for another shard's connection; `false` when it must wait.
    pub(super) fn run_block(&mut self, io: &mut dyn Io, batch: &mut Batch) -> bool {
        let Kind::Block { watcher, protocol } = batch.kind else { return false };
        if self.block_must_wait(batch) {
            return false;
        }
        let changed = watcher.is_some_and(|client| self.shard.keyspace.unwatch(client, self.now));
        let requests = batch.len();
        let mut out = Encoder::new(&mut batch.replies, protocol);
        match changed {
            true => out.null_array(),
            false => out.array(requests),
        }
        let hashes = self.prefetch_batch(batch);
        self.begin_unit();
        for at in 0..if changed { 0 } else { requests } {
            self.remember(&hashes, at, &batch.request(at).1);
            self.run_request(io, batch, at, self.now);
        }
        let effects = self.end_unit();
        self.record_unit(effects);
        batch.end_reply();
        if self.has_ready() {
            self.serve();
        }
        true
    }

    /// Runs a request to watch keys or to forget a client; `false` when it must wait.
    pub(super) fn run_watch(&mut self, batch: &mut Batch) -> bool {
        match batch.kind {
            Kind::Watch { client } => {
                let (request, args) = batch.request(0);
                if args.iter().any(|key| self.is_being_changed(key)) {
                    return false;
                }
                let db = request.caller.db as usize;
                let mut keys = self.shard.keyspace.keys(db, self.now, false);
                args.iter().for_each(|key| keys.watch(client, key));
            }
            // Those who watch are away with the keys.
            Kind::Unwatch { .. } if self.line.intents.holds_all() => return false,
            Kind::Unwatch { client } => drop(self.shard.keyspace.unwatch(client, self.now)),
            _ => return false,
        }
        batch.replies.extend_from_slice(b"+OK\r\n");
        batch.end_reply();
        true
    }

    pub(super) fn watch(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
    ) {
        let (client, db) = (conn.session.id, conn.session.db);
        let caller = super::dispatch::caller(conn);
        let transaction = conn.transaction.get_or_insert_default();
        let mut new: Vec<Vec<&[u8]>> = vec![Vec::new(); self.slots.shards()];
        for key in args.iter().skip(1) {
            if transaction.watched.insert((db, key.into())) {
                transaction.watched_bytes += key.len();
                new[self.slots.owner_of(key)].push(key);
            }
        }
        conn.session.watched = transaction.watched.len();
        let mut batches = Vec::new();
        for (owner, keys) in new.into_iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            if !transaction.watched_on.contains(&owner) {
                transaction.watched_on.push(owner);
            }
            let mut batch = self.batch(owner, token);
            batch.kind = Kind::Watch { client };
            batch.push_words(id, false, caller, keys.into_iter());
            batches.push(batch);
        }
        let silent = !conn.session.take_reply();
        self.post_all(io, token, conn, batches, silent);
    }

    pub(super) fn unwatch(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        let silent = !conn.session.take_reply();
        let batches = self.unwatching(token, conn);
        self.post_all(io, token, conn, batches, silent);
    }

    /// The requests of a connection since MULTI will not run, and it watches nothing any more.
    pub(super) fn forget(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        conn.session.multi = None;
        let batches = self.unwatching(token, conn);
        if !batches.is_empty() {
            self.post_all(io, token, conn, batches, true);
        }
        let queue = conn.transaction.take().and_then(|transaction| transaction.queue);
        queue.into_iter().for_each(|queue| self.keep_batch(queue));
    }

    /// A connection is gone: whatever it watches is forgotten.
    pub(super) fn forget_closed(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        for batch in self.unwatching(token, conn) {
            match batch.owner == self.index {
                true => self.run_or_put_off(io, batch),
                false => self.mail.push(batch.owner, super::Message::Run(batch)),
            }
        }
    }

    /// Requests to all shards that know the client to forget it.
    fn unwatching(&mut self, token: Token, conn: &mut Conn) -> Vec<Box<Batch>> {
        conn.session.watched = 0;
        let Some(transaction) = &mut conn.transaction else { return Vec::new() };
        transaction.watched.clear();
        transaction.watched_bytes = 0;
        let owners = std::mem::take(&mut transaction.watched_on);
        let client = conn.session.id;
        let batch = |owner| {
            let mut batch = self.batch(owner, token);
            batch.kind = Kind::Unwatch { client };
            batch
        };
        owners.into_iter().map(batch).collect()
    }

    /// Sends batches whose replies make one reply, or none when there is no batch: then it is `+OK`.
    fn post_all(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        batches: Vec<Box<Batch>>,
        silent: bool,
    ) {
        let mut merging = Box::new(Merging::new(Merge::FirstError, conn.session.protocol, silent));
        for mut batch in batches {
            merging.parts.push(batch.owner as u16);
            let here = batch.owner == self.index && conn.put_off == 0;
            match here && self.run_watch(&mut batch) {
                true => merging.local = Some((self.index as u16, batch)),
                false => self.post(io, token, conn, batch),
            }
        }
        conn.queue.push_merging(merging);
        conn.drain(&mut self.shard.random);
    }
}

//! From bytes to running commands.
//!
//! A read's requests are parsed first, a few at a time, and the memory that they will touch is
//! prefetched; then they run in order. So a pipeline waits for several cache misses at once
//! instead of one after the other.

use super::conn::{Conn, KEPT_BUFFER};
use super::memory::OUT_OF_MEMORY;
use super::operation::Operation;
use super::script::Way;
use super::tour::Tour;
use super::worker::{STRANGER_OUTPUT_MAX, Worker};
use crate::command::{
    ADMIN, ALLOW_BUSY, BEHIND, BLOCKING, Caller, Command, CommandId, Flags, InMulti, KEEPS_CACHING,
    KeyShape, LOADING, NEEDS_DISK, NO_AUTH, NO_MULTI, PLAIN, PROTECTED, Registry, Run, SUBSCRIBED,
    Spread, Unknown, WRITE, execute,
};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Limits, Protocol, Span, Step};
use crate::route::Batch;
use crate::rt::{Io, Token};
use bytes::Buf;
use std::sync::atomic::Ordering;

/// Requests that are parsed ahead of the one that runs.
const AHEAD: usize = 32;
/// Bytes that a connection may be ahead of an operation before it is no longer read from.
const FAR_AHEAD: usize = KEPT_BUFFER;
/// Requests of a connection that may be under way to other shards; beyond, others' requests there
/// would wait for too many of its own.
const IN_FLIGHT: usize = 2048;
/// Room for arguments that is kept for the next request.
const KEPT_SPANS: usize = 8 << 10;
/// Arguments of one request, as in Redis.
const MULTIBULK_MAX: usize = 1024 * 1024;

/// A parsed request that is about to run.
#[derive(Debug)]
pub(super) struct Planned {
    /// Its arguments' spans.
    first: u32,
    last: u32,
    /// Where it begins in the buffer.
    start: u32,
    found: Result<CommandId, Unknown>,
    /// The owner of its key, when it has exactly one.
    owner: Option<usize>,
    /// The hash of that key, when this shard owns it.
    hash: Option<u64>,
    /// It may be one for which the next ones have to wait.
    holds_up: bool,
}

impl Worker {
    /// Takes in bytes of a connection and runs the requests that they complete.
    #[inline]
    pub(super) fn feed(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        bytes: &mut [u8],
    ) {
        conn.session.input_bytes += bytes.len() as u64;
        conn.session.active_at = self.now;
        self.shard.stats.input_bytes.add(bytes.len() as u64);
        self.shard.stats.reads.add(1);
        if conn.session.closing {
            return;
        }
        if conn.query.is_empty() && !conn.is_held() {
            let used = self.consume(io, token, conn, bytes);
            keep_query(conn, &bytes[used..]);
        } else {
            keep_query(conn, bytes);
            self.resume(io, token, conn);
        }
        if let Some(target) = conn.traffic.verdict.take()
            && !conn.is_pinned()
        {
            conn.moving_to = Some(target);
        }
        // What waits for an operation is no unfinished request: the client is made to wait.
        if !conn.is_held() && conn.query.len() > self.limits.query_bytes {
            self.shard.stats.query_limit_disconnections.add(1);
            tracing::warn!(
                client = conn.session.id,
                "closing a client whose request is too long: client-query-buffer-limit"
            );
            conn.kill_now = true;
        }
        regulate(io, token, conn);
    }

    /// Runs the requests that a connection has sent already and that may run now.
    pub(super) fn resume(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        self.push_early(conn);
        self.push_own(conn);
        if conn.is_held() || conn.query.is_empty() {
            return;
        }
        let mut query = std::mem::take(&mut conn.query);
        let used = self.consume(io, token, conn, &mut query);
        query.advance(used);
        if !query.is_empty() {
            conn.query = query;
        }
        regulate(io, token, conn);
    }

    /// Runs the whole requests in `buffer`; answers how many bytes they took.
    fn consume(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        buffer: &mut [u8],
    ) -> usize {
        self.begin_output(conn);
        let mut planned = std::mem::take(&mut self.planned);
        // Moved, not copied: a request with many arguments arrives in many reads.
        let mut spans = std::mem::take(match conn.spans.is_empty() {
            true => &mut self.spans,
            false => &mut conn.spans,
        });
        let mut offset = 0;
        // Nothing is parsed in vain: an inline request is unquoted in its place, and only once.
        while !conn.is_held() && !self.is_worn_out_by(conn) {
            planned.clear();
            let (end, step) = self.plan_ahead(conn, buffer, offset, &mut spans, &mut planned);
            self.prefetch(conn, &planned);
            self.shard.timing.begin_reading();
            let mut stopped_at = None;
            for plan in &planned {
                let args = Args::new(buffer, &spans[plan.first as usize..plan.last as usize]);
                if self.must_wait(token, conn, plan, &args) {
                    stopped_at = Some(plan.start as usize);
                    break;
                }
                self.run(io, token, conn, args, plan);
                self.push_own(conn);
            }
            self.shard.timing.end_reading(&self.shard.stats.per_command);
            if let Some(start) = stopped_at {
                // What was read behind it is read again when it is its turn.
                conn.parser = Default::default();
                offset = start;
                break;
            }
            offset = end;
            match step {
                Step::Request { .. } => spans.clear(),
                Step::Incomplete if offset == 0 && planned.is_empty() => {
                    conn.spans = std::mem::take(&mut spans);
                    break;
                }
                Step::Incomplete => {
                    let parsed = planned.last().map_or(0, |plan| plan.last as usize);
                    let rebased = spans[parsed..].iter().map(|span| span.moved_back(offset));
                    conn.spans.extend(rebased);
                    break;
                }
                // It is found again when its turn has come, behind the reply that is waited for.
                Step::Error(_) if conn.is_held() => conn.parser = Default::default(),
                Step::Error(error) => {
                    self.refuse_input(conn, CmdError::of_bytes(error.text()));
                    offset = buffer.len();
                    break;
                }
            }
        }
        self.flush_batches();
        self.keep_plans(planned, spans);
        if conn.out.is_empty() && conn.out.capacity() > 0 {
            let buffer = std::mem::take(&mut conn.out);
            self.keep_buffer(buffer);
        }
        offset
    }

    /// Whether a client that has not logged in has been refused too often to be listened to: refusals
    /// cost time, too, which others wait for.
    fn is_worn_out_by(&self, conn: &mut Conn) -> bool {
        let worn_out = conn.session.is_stranger() && conn.out.len() > STRANGER_OUTPUT_MAX;
        if worn_out {
            self.shard.stats.output_limit_disconnections.add(1);
            conn.kill_now = true;
        }
        worn_out
    }

    /// What a client sends is not RESP: it is told so, and closed.
    #[cold]
    fn refuse_input(&mut self, conn: &mut Conn, error: CmdError) {
        self.flush_batches();
        self.reply(conn, |out| out.error(&error));
        conn.session.closing = true;
    }

    /// Keeps the room for plans and arguments for the next read.
    fn keep_plans(&mut self, planned: Vec<Planned>, mut spans: Vec<Span>) {
        self.planned = planned;
        if (self.spans.capacity()..=KEPT_SPANS).contains(&spans.capacity()) {
            spans.clear();
            self.spans = spans;
        }
    }

    /// Parses up to [`AHEAD`] requests from `offset` on. Answers where the next one begins, and the
    /// last step: a request when there may be more.
    fn plan_ahead(
        &mut self,
        conn: &mut Conn,
        buffer: &mut [u8],
        mut offset: usize,
        spans: &mut Vec<Span>,
        planned: &mut Vec<Planned>,
    ) -> (usize, Step) {
        let limits = Limits {
            bulk_len_max: self.limits.bulk_len_max,
            multibulk_max: MULTIBULK_MAX,
            authenticated: !conn.session.is_stranger(),
        };
        // A stranger's next request may be read under other limits.
        let ahead = if limits.authenticated { AHEAD } else { 1 };
        let mut first = 0;
        loop {
            let inline = buffer.get(offset).is_some_and(|&first| first != b'*');
            if inline && !planned.is_empty() {
                return (offset, Step::Request { end: offset });
            }
            let step = conn.parser.parse(buffer, offset, spans, &limits);
            let Step::Request { end } = step else { return (offset, step) };
            let last = spans.len();
            if last > first {
                let args = Args::new(buffer, &spans[first..last]);
                planned.push(self.plan(&args, first, offset));
            }
            first = last;
            offset = end;
            // What is read behind one that must wait would be read once more.
            let waits = planned.last().is_some_and(|plan| plan.holds_up);
            if waits || planned.len() >= ahead {
                return (offset, Step::Request { end });
            }
        }
    }

    fn plan(&self, args: &Args, first: usize, start: usize) -> Planned {
        let registry = &self.shared.env.registry;
        let several = self.slots.shards() > 1;
        let found = registry.find(args);
        let (mut owner, mut hash, mut holds_up) = (None, None, false);
        match found.map(|id| (id, registry.shape(id))) {
            Ok((_, KeyShape::One(at))) => {
                if let Some(key) = args.get(at as usize) {
                    let shard = self.slots.owner_of(key);
                    owner = Some(shard);
                    if shard == self.index {
                        hash = Some(self.shard.keyspace.hash(key));
                    }
                }
            }
            Ok((id, KeyShape::None)) => {
                holds_up = several && registry.command(id).in_multi == InMulti::Executes;
            }
            Ok((_, KeyShape::Several)) => holds_up = several,
            _ => {}
        }
        let (first, last) = (first as u32, (first + args.len()) as u32);
        Planned { first, last, start: start as u32, found, owner, hash, holds_up }
    }

    /// Brings the buckets, then the entries, of several requests on their way to the cache.
    fn prefetch(&self, conn: &Conn, planned: &[Planned]) {
        if planned.len() < 2 {
            return;
        }
        let db = conn.session.db;
        let hashes = || planned.iter().filter_map(|plan| plan.hash);
        hashes().for_each(|hash| self.shard.keyspace.prefetch_bucket(db, hash));
        hashes().for_each(|hash| self.shard.keyspace.prefetch_entry(db, hash));
    }

    /// Whether a request, and with it all that follow, must wait.
    #[inline]
    fn must_wait(&mut self, token: Token, conn: &mut Conn, plan: &Planned, args: &Args) -> bool {
        conn.is_held()
            || (self.pause.is_on() && self.holds_up(token, conn, plan, args))
            || (!conn.queue.is_empty() && self.stands_behind(conn, plan, args))
    }

    /// Has a request wait for the end of a pause, if it must.
    #[cold]
    fn holds_up(&mut self, token: Token, conn: &mut Conn, plan: &Planned, args: &Args) -> bool {
        let Ok(id) = plan.found else { return false };
        let command = self.shared.env.registry.command(id);
        if !command.accepts(args.len()) {
            // It is refused at once.
            return false;
        }
        let paused = self.is_paused_for(conn, command, args);
        if paused {
            self.hold(token, conn);
        }
        paused
    }

    /// Has a request wait until all before it are answered, if it changes how others run: what was
    /// sent before CONFIG SET must not run by the new configuration, on no shard. So does a script that
    /// may touch keys before which nobody sees it coming.
    fn stands_behind(&mut self, conn: &mut Conn, plan: &Planned, args: &Args) -> bool {
        let (Ok(id), None) = (plan.found, plan.owner) else { return false };
        let command = self.shared.env.registry.command(id);
        let now = match (conn.session.multi.is_some(), command.in_multi) {
            (true, InMulti::Waits) => false,
            (true, InMulti::Executes) => {
                let user = conn.session.user();
                conn.transaction.as_ref().is_some_and(|t| t.needs_client(user))
            }
            _ => match command.run {
                Run::Session(_) => command.flags.has(ADMIN) || command.flags.has(BEHIND),
                Run::Script(_) => self.slots.shards() > 1 && self.reaches_all(command, args, true),
                _ => false,
            },
        };
        if now {
            conn.operation = Some(Operation::Behind);
        }
        now
    }

    /// All earlier requests of a connection are answered: the one that waited for that runs.
    pub(super) fn step_forward(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        if matches!(conn.operation, Some(Operation::Behind)) {
            conn.operation = None;
            self.resume(io, token, conn);
        }
    }

    fn run(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn, args: Args, plan: &Planned) {
        conn.session.commands += 1;
        self.shard.stats.commands_processed.add(1);
        if plan.found == Err(Unknown::OtherProtocol) {
            tracing::warn!(
                client = conn.session.id,
                peer = conn.session.peer.address(),
                "closing a connection that speaks HTTP: an attempt to reach this server through a browser?"
            );
            conn.kill_now = true;
            return;
        }
        self.ask_for_room();
        let id = match self.admit(io, token, conn, &args, &plan.found) {
            Ok(id) => id,
            Err(error) => return self.refused(io, token, conn, &plan.found, (error, &args)),
        };
        let command = self.shared.env.registry.command(id);
        if self.memory.out && self.needs_memory(conn, command, &args) {
            self.count_refusal(id);
            return self.refused(io, token, conn, &plan.found, (OUT_OF_MEMORY, &args));
        }
        if self.shared.busy.is_any()
            && let Some(error) = self.busy_refusal(conn, command, plan.owner, &args)
        {
            self.shard.stats.per_command[id.0 as usize].rejected.add(1);
            return self.refused(io, token, conn, &plan.found, (error, &args));
        }
        if conn.session.multi.is_some() && command.in_multi == InMulti::Waits {
            return self.wait_for_exec(token, conn, (id, command), plan.owner, &args);
        }
        match command.run {
            Run::Session(handler) => {
                self.run_session(io, token, conn, (id, handler), args);
                self.show_session(conn, command, &args);
            }
            Run::Shard(_) | Run::Script(_) | Run::Container => {
                conn.session.last_command = command.name;
                self.show(conn, command, &args);
                match plan.owner {
                    _ if command.flags.has(BLOCKING) => {
                        self.begin_blocking(io, token, conn, (id, command), &args);
                    }
                    Some(owner) => self.run_on(io, token, conn, id, owner, &args, plan.hash),
                    None => self.spread(io, token, conn, (id, command), &args),
                }
            }
        }
        end_caching(conn, Some(command));
    }

    /// Whether the request may run: a known command, enough arguments, a known client.
    fn admit(
        &self,
        io: &dyn Io,
        token: Token,
        conn: &mut Conn,
        args: &Args,
        found: &Result<CommandId, Unknown>,
    ) -> Result<CommandId, CmdError> {
        let registry = &self.shared.env.registry;
        let (id, right) = match found {
            Ok(id) => (*id, registry.command(*id).accepts(args.len())),
            Err(Unknown::Words(id)) => (*id, false),
            Err(unknown) => return Err(registry.unknown_error(args, *unknown)),
        };
        let flags = registry.command(id).flags;
        let refused = if flags.has(PROTECTED) && !self.may_use_protected(conn) {
            NOT_ALLOWED
        } else if !right && !flags.has(PLAIN) {
            CmdError::wrong_arity(registry.command(id).name)
        } else if conn.session.is_stranger() && !flags.has(NO_AUTH) {
            CmdError::NO_AUTH
        } else if flags.has(NO_MULTI) && conn.session.multi.is_some() {
            CmdError::fixed("ERR Command not allowed inside a transaction")
        } else if !conn.session.is_unrestricted()
            && let Some(denied) = self.denial(io, token, conn, (id, args))
        {
            denied
        } else if !right {
            registry.wrong_words(args)
        } else if conn.session.is_subscriber() && !may_be_sent_by_listeners(conn, flags) {
            let name = registry.command(id).name.as_bytes();
            CmdError::err_of(&[b"Can't execute '", name, ONLY_PUBSUB])
        } else if self.shared.loading.load(Ordering::Relaxed) > 0 && !flags.has(LOADING) {
            CmdError::LOADING
        } else if flags.has_any(WRITE.with(NEEDS_DISK))
            && let Some(error) = self.unwritable()
            && needs_disk(registry, conn, id)
        {
            error
        } else if self.busy.is_on() && !flags.has(ALLOW_BUSY) {
            self.busy_error()
        } else {
            return Ok(id);
        };
        self.shard.stats.per_command[id.0 as usize].rejected.add(1);
        Err(refused)
    }

    /// Why nothing may be written: what was written before cannot be put on disk.
    pub(super) fn unwritable(&self) -> Option<CmdError> {
        let persist = &self.shared.env.persist;
        if persist.is_failing() {
            Some(CmdError::fixed("MISCONF Errors writing to the AOF file: see the log"))
        } else if self.limits.stops_unsaved && persist.save_failed.load(Ordering::Relaxed) {
            Some(UNSAVED)
        } else {
            None
        }
    }

    fn may_use_protected(&self, conn: &Conn) -> bool {
        self.limits.protected_commands.allows(conn.session.peer.is_local())
    }

    /// Runs a command whose keys are all on shard `owner`, or sends it there.
    #[expect(clippy::too_many_arguments)]
    fn run_on(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        id: CommandId,
        owner: usize,
        args: &Args,
        hash: Option<u64>,
    ) {
        conn.traffic.note(owner, self.index, self.slots.shards());
        let here = owner == self.index && conn.put_off == 0 && !self.is_barred(id, false, args);
        if here {
            return self.run_here(io, conn, id, args, hash);
        }
        let caller = caller(conn);
        let silent = !conn.session.take_reply();
        conn.queue.push_remote(owner, silent);
        self.append(token, conn, owner, |batch| batch.push(id, false, caller, args));
    }

    pub(super) fn run_here(
        &mut self,
        io: &mut dyn Io,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
        hash: Option<u64>,
    ) {
        let caller = caller(conn);
        let handler = match self.shared.env.registry.command(id).run {
            Run::Shard(handler) => handler,
            _ => return self.run_script_here(io, conn, id, args),
        };
        let registry = &self.shared.env.registry;
        if let (Some(hash), KeyShape::One(at)) = (hash, registry.shape(id)) {
            self.shard.keyspace.remember(args.at(at as usize), hash);
        }
        if conn.queue.is_empty() {
            let start = conn.out.len();
            let out = &mut conn.out;
            execute(registry, &mut self.shard, (id, handler), *args, caller, self.now, out);
            if !conn.session.take_reply() {
                conn.out.truncate(start);
            }
            self.log_noted(Some(conn), None);
            self.note_write(conn);
            self.serve_unless_executing(conn);
            if conn.out.len() > KEPT_BUFFER {
                conn.kill_now |= self.is_over_hard_limit(conn);
                conn.seal();
            }
            return;
        }
        let (shard, session, now) = (&mut self.shard, &mut conn.session, self.now);
        let len = conn.queue.push_ready(|out| {
            execute(registry, shard, (id, handler), *args, caller, now, out);
            session.take_reply()
        });
        self.log_noted(Some(conn), None);
        self.note_write(conn);
        if len > KEPT_BUFFER && self.is_over_hard_limit(conn) {
            conn.kill_now = true;
        }
        self.serve_unless_executing(conn);
    }

    #[inline]
    pub(super) fn serve_unless_executing(&mut self, conn: &Conn) {
        if self.has_ready() && !conn.session.is_executing() {
            self.serve();
        }
    }

    /// Runs a command that has no key, several, or all of them.
    fn spread(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, command): (CommandId, &'static Command),
        args: &Args,
    ) {
        let indexes = match command.key_indexes(args) {
            Ok(indexes) => indexes,
            // The command says itself what is wrong.
            Err(_) => return self.run_on(io, token, conn, id, self.index, args, None),
        };
        if self.slots.shards() > 1 {
            match self.way(command, args) {
                Way::Declared => {}
                Way::Foretold(told) => {
                    return self.begin_foretold(io, token, conn, (id, args), &indexes, told);
                }
                Way::All => return self.begin_gather_all(io, token, conn, id, args),
            }
        }
        let mut owners = indexes.iter().map(|&i| self.slots.owner_of(args.at(i as usize)));
        let first = owners.next();
        let together = owners.all(|owner| Some(owner) == first);
        match command.spread {
            Spread::EveryShard { .. } if self.slots.shards() > 1 => {
                let tour = self.tour_of_all(token, conn, id, args);
                self.begin_tour(io, conn, tour);
            }
            Spread::Cursor if self.slots.shards() > 1 => {
                self.begin_scan(io, token, conn, id, args);
            }
            _ if together => {
                self.run_on(io, token, conn, id, first.unwrap_or(self.index), args, None);
            }
            Spread::PerKey { .. } if evenly_spaced(&indexes, args.len()) => {
                let mut tour = Tour::new(self.index, token, conn.session.protocol);
                self.add_parts(&mut tour, id, caller(conn), args, &indexes);
                self.begin_tour(io, conn, tour);
            }
            // Not as many arguments as the keys need: the command says so itself.
            Spread::PerKey { .. } => self.run_on(io, token, conn, id, self.index, args, None),
            _ => self.begin_gather(io, token, conn, id, args, &indexes),
        }
    }

    /// Appends a request to the batch for `owner` that this read is building.
    fn append(
        &mut self,
        token: Token,
        conn: &mut Conn,
        owner: usize,
        push: impl FnOnce(&mut Batch),
    ) {
        let mut batch = match self.building[owner].take() {
            Some(batch) => batch,
            None => self.batch(owner, token),
        };
        push(&mut batch);
        if owner == self.index {
            // What this shard has held back from its own connection waits here, not in a queue.
            conn.put_off += 1;
            self.line.put_off(batch);
            return;
        }
        self.hold_back(token, conn, owner);
        self.building[owner] = Some(batch);
    }

    /// Stops reading from a connection for as long as the queue to a shard is full.
    pub(super) fn hold_back(&mut self, token: Token, conn: &mut Conn, owner: usize) {
        if self.mail.is_backed_up(owner) && conn.held_back_by.is_none() {
            conn.held_back_by = Some(owner);
            self.held_back.push(token);
        }
    }

    /// Sends the batches that this read has built.
    pub(super) fn flush_batches(&mut self) {
        for owner in 0..self.building.len() {
            if let Some(batch) = self.building[owner].take() {
                self.shard.stats.hops_sent.add(1);
                self.mail.push(owner, super::Message::Run(batch));
            }
        }
    }

    /// Writes a reply of the connection's own, in its turn.
    pub(super) fn reply(&mut self, conn: &mut Conn, write: impl FnOnce(&mut Encoder)) {
        let protocol = conn.session.protocol;
        if conn.queue.is_empty() {
            self.begin_output(conn);
            return write(&mut Encoder::new(&mut conn.out, protocol));
        }
        conn.queue.push_ready(|out| {
            write(&mut Encoder::new(out, protocol));
            true
        });
    }

    /// As [`Worker::reply`], for a command whose reply the client may have switched off.
    pub(super) fn reply_to_command(&mut self, conn: &mut Conn, write: impl FnOnce(&mut Encoder)) {
        if conn.session.take_reply() {
            self.reply(conn, write);
        }
    }

    pub(super) fn is_over_hard_limit(&self, conn: &Conn) -> bool {
        let hard = self.output_limit(conn).hard;
        hard > 0 && conn.output_len() as u64 > hard
    }
}

/// In RESP2 what is sent to a client that listens could be taken for a reply.
fn may_be_sent_by_listeners(conn: &Conn, flags: Flags) -> bool {
    conn.session.protocol != Protocol::Resp2 || flags.has(SUBSCRIBED)
}

/// Whether a command that may be refused while nothing can be put on disk is: EXEC only if its block writes.
#[cold]
fn needs_disk(registry: &Registry, conn: &Conn, id: CommandId) -> bool {
    let command = registry.command(id);
    let queue = conn.transaction.as_ref().and_then(|transaction| transaction.queue());
    let writes = |id| registry.command(id).flags.has(WRITE);
    match command.in_multi {
        InMulti::Executes => {
            queue.is_some_and(|queue| (0..queue.len()).any(|at| writes(queue.request(at).0.id)))
        }
        _ => true,
    }
}

const ONLY_PUBSUB: &[u8] =
    b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";

const UNSAVED: CmdError = CmdError::fixed(
    "MISCONF The last snapshot could not be written, so commands that may modify the data set are \
     disabled. See the log for the reason, or switch this off by stop-writes-on-bgsave-error no.",
);

const NOT_ALLOWED: CmdError = CmdError::fixed(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
     run it from a local connection, otherwise you need to set this option in the configuration \
     file, and then restart the server.",
);

/// Keeps bytes that cannot be used yet.
fn keep_query(conn: &mut Conn, bytes: &[u8]) {
    // The length of a long argument is known before it arrives; no more is reserved than what has
    // arrived already justifies.
    let have = conn.query.len() + bytes.len();
    let wanted = conn.parser.wanted(have);
    if wanted > 0 && wanted <= 4 * have {
        conn.query.reserve(bytes.len() + wanted);
    }
    conn.query.extend_from_slice(bytes);
}

/// Whether each key has as many arguments of its own as the others.
pub(super) fn evenly_spaced(indexes: &[u32], len: usize) -> bool {
    let step = indexes.get(1).map_or(1, |second| second - indexes[0]) as usize;
    indexes.last().is_none_or(|&last| last as usize + step == len)
}

/// What CLIENT CACHING has said holds for one command, or for one block.
#[inline]
pub(super) fn end_caching(conn: &mut Conn, command: Option<&Command>) {
    if let Some(tracking) = &mut conn.session.tracking
        && conn.session.multi.is_none()
        && !command.is_some_and(|command| command.flags.has(KEEPS_CACHING))
    {
        tracking.caching = false;
    }
}

pub(super) fn caller(conn: &Conn) -> Caller {
    Caller {
        client: conn.client,
        db: conn.session.db as u8,
        protocol: conn.session.protocol,
        touch: !conn.session.no_touch,
        may_wait: false,
        in_script: false,
        is_part: false,
        tracks: conn.session.tracks_reads(),
        reads_all_keys: conn.session.reads_all_keys,
        rights: conn.session.rights(),
    }
}

/// Stops reading from a connection that is far ahead of the replies it waits for, or goes on.
pub(super) fn regulate(io: &mut dyn Io, token: Token, conn: &mut Conn) {
    let crowd = if conn.far_ahead { IN_FLIGHT / 4 } else { IN_FLIGHT };
    let waits = conn.is_held() && conn.query.len() > FAR_AHEAD;
    let far_ahead = waits || conn.queue.len() > crowd;
    if far_ahead != conn.far_ahead {
        conn.far_ahead = far_ahead;
        io.pause(token, conn.is_paused());
    }
}

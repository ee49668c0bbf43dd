//! One shard's half of the server: its connections and its keys.

use super::blocking::Waiters;
use super::busy::{Busy, BusyShards};
use super::client_memory::Crowd;
use super::conn::Conn;
use super::cron::Background;
use super::desk::Desk;
use super::dispatch::Planned;
use super::gather::Gathers;
use super::line::Line;
use super::mail::Message;
use super::memory::Memory;
use super::monitor::Monitors;
use super::pause::Pause;
use super::pool::Pool;
use super::recording::Recording;
use super::reloading::{LoadAgain, ReloadHere, Reloads};
use super::rights::Rights;
use super::saving::{Saves, SavingHere};
use super::script::Scripts;
use super::subscribers::Subscribers;
use super::syncing::SyncWaits;
use super::tls::TlsContext;
use super::tracking::Trackers;
use crate::acl::Users;
use crate::command::Env;
use crate::config::{EvictionPolicy, OutputLimit, OutputLimits, ProtectedAction, SaveRule, Values};
use crate::metrics::ShardStats;
use crate::persist::Journal;
use crate::resp::Span;
use crate::route::{Batch, Mailboxes};
use crate::rt::{Bells, Handler, Io, Peer, Socket, Token};
use crate::session::Session;
use crate::shard::{Access, Encodings, Loaded, Noted, Settings, Shard, SlotTable, TimingRules};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What all workers share. The atomics are touched when a client comes or goes, not by commands.
pub struct Shared {
    pub env: Env,
    pub bells: Bells,
    /// All shards hash keys alike, by a secret.
    pub key_seed: u64,
    /// The id that the next client gets.
    pub next_client: AtomicU64,
    /// Connections of all shards, against `maxclients`.
    pub connections: AtomicUsize,
    pub stopping: AtomicBool,
    pub busy: BusyShards,
    pub desk: Desk,
    /// Shards that have not got yet what was loaded for them; until it is 0, commands on keys are
    /// refused.
    pub loading: AtomicUsize,
    /// What was loaded, by shard.
    pub loaded: Box<[Mutex<Option<Loaded>>]>,
    /// Where effects are recorded, if they are.
    pub journal: Arc<Journal>,
    pub saves: Saves,
    pub reloads: Reloads,
    /// How DEBUG RELOAD loads.
    pub load_again: LoadAgain,
    /// What clients of TLS listeners begin with.
    pub tls: Arc<TlsContext>,
    /// A shard is giving up tracked keys; not two at once, or they would give up too many.
    pub giving_up: AtomicBool,
}

impl Shared {
    /// Asks every shard to stop, from any thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.bells.iter().for_each(|bell| bell.ring());
    }
}

/// What of the configuration connections look at.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub query_bytes: usize,
    pub output: OutputLimits,
    pub clients: usize,
    pub timeout_s: u32,
    pub bulk_len_max: usize,
    /// Clients from elsewhere are turned away while anybody could do anything.
    pub protected: bool,
    /// Who may use commands that can harm the server.
    pub protected_commands: ProtectedAction,
    /// Rounds of background work a second.
    pub hz: u32,
    /// Keys remembered as read by clients that track them; 0 is no limit.
    pub tracked_keys: u64,
    /// More rounds when there are many connections.
    pub dynamic_hz: bool,
    pub keepalive_s: u32,
    /// How long a script may run before others get `-BUSY`, milliseconds; 0 is for ever.
    pub busy_after_ms: u64,
    /// Most of its time that a shard spends on a snapshot, percent.
    pub snapshot_percent: u32,
    /// By how much, percent, and to how much, bytes, append-only files grow before they are rewritten.
    pub rewrite_at: (u32, u64),
    pub save: Vec<SaveRule>,
    /// Writes are refused while the last snapshot has failed.
    pub stops_unsaved: bool,
    /// Snapshots have long strings compressed.
    pub compresses: bool,
    /// Microseconds that a snapshot takes for a key; for so many keys when it is negative.
    pub key_save_delay: i32,
}

impl Limits {
    pub fn new(config: &Values) -> Limits {
        Limits {
            query_bytes: config.client_query_buffer_limit.min(SPAN_MAX) as usize,
            output: config.client_output_buffer_limit,
            clients: config.maxclients as usize,
            timeout_s: config.timeout,
            bulk_len_max: config.proto_max_bulk_len.min(SPAN_MAX) as usize,
            protected: config.protected_mode,
            protected_commands: config.enable_debug_command,
            hz: config.hz,
            tracked_keys: config.tracking_table_max_keys,
            dynamic_hz: config.dynamic_hz,
            keepalive_s: config.tcp_keepalive,
            busy_after_ms: config.busy_reply_threshold.max(0) as u64,
            snapshot_percent: config.snapshot_max_cpu,
            rewrite_at: (config.auto_aof_rewrite_percentage, config.auto_aof_rewrite_min_size),
            save: config.save.clone(),
            stops_unsaved: config.stop_writes_on_bgsave_error && !config.save.is_empty(),
            compresses: config.rdbcompression,
            key_save_delay: config.rdb_key_save_delay,
        }
    }
}

/// Longest request or argument, whatever the configuration says, bytes: offsets in a query buffer
/// have 32 bits, and a batch of requests is a little longer than what was read of them.
const SPAN_MAX: u64 = 3 << 30;

/// What of the configuration a shard's commands look at.
pub fn shard_settings(config: &Values) -> Settings {
    let lfu =
        Access::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time };
    Settings {
        bulk_len_max: config.proto_max_bulk_len as usize,
        access: match config.maxmemory_policy {
            EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu => lfu,
            _ => Access::Lru,
        },
        expire_effort: config.active_expire_effort,
        lazy_flush: config.lazyfree_lazy_user_flush,
        events: config.notify_keyspace_events,
        encodings: encodings(config),
        timing: timing_rules(config),
    }
}

fn timing_rules(config: &Values) -> TimingRules {
    let limit = |value: i64| u64::try_from(value).ok();
    TimingRules {
        slower_than_us: limit(config.slowlog_log_slower_than),
        request_larger_than: limit(config.commandlog_request_larger_than),
        reply_larger_than: limit(config.commandlog_reply_larger_than),
        event_ms: Some(config.latency_monitor_threshold).filter(|ms| *ms > 0),
        histograms: config.latency_tracking,
        hot_keys_every: config.hot_keys_sampling,
    }
}

fn encodings(config: &Values) -> Encodings {
    Encodings {
        hash_max_listpack_entries: config.hash_max_listpack_entries as usize,
        hash_max_listpack_value: config.hash_max_listpack_value as usize,
        list_max_listpack_size: config.list_max_listpack_size,
        set_max_intset_entries: config.set_max_intset_entries as usize,
        set_max_listpack_entries: config.set_max_listpack_entries as usize,
        set_max_listpack_value: config.set_max_listpack_value as usize,
        zset_max_listpack_entries: config.zset_max_listpack_entries as usize,
        zset_max_listpack_value: config.zset_max_listpack_value as usize,
        hll_sparse_max_bytes: config.hll_sparse_max_bytes as usize,
        stream_node_max_bytes: config.stream_node_max_bytes as usize,
        stream_node_max_entries: config.stream_node_max_entries as usize,
    }
}

/// Replies of so many bytes leave although more are to come, bytes.
const ENOUGH_TO_SEND: usize = 16 << 10;

/// Replies that may wait for a client that has not logged in and does not read, bytes. No honest one has
/// asked for more before it has seen the first of them.
pub(super) const STRANGER_OUTPUT_MAX: usize = 4 << 10;

/// One shard's worker; see the module's drawing.
pub struct Worker {
    pub(super) index: usize,
    pub(super) shard: Shard,
    pub(super) shared: Arc<Shared>,
    pub(super) slots: SlotTable,
    pub(super) mail: Mailboxes<Message>,
    pub(super) limits: Limits,
    /// The users, as of when this shard was last told of a change.
    pub(super) users: Arc<Users>,
    /// By number, whether a listener is one for TLS.
    tls_listeners: Vec<bool>,
    /// Room for what TLS opens of a read.
    pub(super) plain: Vec<u8>,
    pub(super) memory: Memory,
    pub(super) crowd: Crowd,
    /// By token index; the token tells whether it is the connection that was meant.
    conns: Vec<Option<(Token, Box<Conn>)>>,
    /// Connections with something to send or to settle at the end of the turn.
    dirty: Vec<Token>,
    buffers: Pool<Vec<u8>>,
    batches: Pool<Box<Batch>>,
    /// Batches of the connection being served, by target shard.
    pub(super) building: Vec<Option<Box<Batch>>>,
    pub(super) planned: Vec<Planned>,
    pub(super) spans: Vec<Span>,
    pub(super) gathers: Gathers,
    pub(super) line: Line,
    pub(super) waiters: Waiters,
    pub(super) subscribers: Subscribers,
    pub(super) trackers: Trackers,
    pub(super) monitors: Monitors,
    pub(super) pause: Pause,
    pub(super) recording: Recording,
    pub(super) saving: SavingHere,
    pub(super) reloading: ReloadHere,
    pub(super) sync_waits: SyncWaits,
    pub(super) busy: Busy,
    /// Commands to be logged whose clients were not found yet.
    pub(super) unplaced: Vec<Noted>,
    /// The last question of the admin port that was answered.
    pub(super) desk_seen: u64,
    pub(super) scripts: Scripts,
    pub(super) rights: Rights,
    /// Connections that are not read from because the queue to a shard is full.
    pub(super) held_back: Vec<Token>,
    /// Milliseconds since the epoch, as of this turn.
    pub(super) now: i64,
    pub(super) background: Background,
    /// There is more to do than this turn did.
    pub(super) more: bool,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, shard: Shard, mail: Mailboxes<Message>) -> Worker {
        let shards = mail.shards();
        let limits = Limits::new(&shared.env.config());
        let memory = Memory::new(&shared.env.config(), shards);
        let crowd = Crowd::new(&shared.env.config());
        let line = Line::new(shared.env.faults);
        let users = shared.env.acl.users();
        let mut worker = Worker {
            index: shard.index,
            shard,
            shared,
            slots: SlotTable::contiguous(shards),
            mail,
            limits,
            users,
            tls_listeners: Vec::new(),
            plain: Vec::new(),
            memory,
            crowd,
            conns: Vec::new(),
            dirty: Vec::new(),
            buffers: Pool::default(),
            batches: Pool::default(),
            building: (0..shards).map(|_| None).collect(),
            planned: Vec::new(),
            spans: Vec::new(),
            gathers: Gathers::default(),
            line,
            waiters: Waiters::default(),
            subscribers: Subscribers::default(),
            trackers: Trackers::default(),
            monitors: Monitors::default(),
            pause: Pause::default(),
            recording: Recording::default(),
            saving: SavingHere::default(),
            reloading: ReloadHere::default(),
            sync_waits: SyncWaits::default(),
            busy: Busy::default(),
            unplaced: Vec::new(),
            desk_seen: 0,
            scripts: Scripts::default(),
            rights: Rights::default(),
            held_back: Vec::new(),
            now: 0,
            background: Background::default(),
            more: false,
        };
        let shared = worker.shared.clone();
        worker.limit_memory(&shared.env.config());
        worker
    }

    /// Whose connections are to be served over TLS, of the listeners that its driver has.
    pub fn set_tls_listeners(&mut self, listeners: Vec<bool>) {
        self.tls_listeners = listeners;
    }

    /// Takes a connection out, to be put back by [`Worker::put`] unless it is closed.
    pub(super) fn take(&mut self, token: Token) -> Option<Box<Conn>> {
        let slot = self.conns.get_mut(token.index as usize)?;
        match slot {
            Some((own, _)) if *own == token => slot.take().map(|(_, conn)| conn),
            _ => None,
        }
    }

    /// Whether a connection is still there; the one being served is not.
    pub(super) fn is_connected(&self, token: Token) -> bool {
        let slot = self.conns.get(token.index as usize);
        slot.is_some_and(|slot| slot.as_ref().is_some_and(|(own, _)| *own == token))
    }

    /// Whether a connection that is not being served has no operation under way.
    pub(super) fn is_free(&self, token: Token) -> bool {
        let slot = self.conns.get(token.index as usize).and_then(Option::as_ref);
        slot.is_some_and(|(own, conn)| *own == token && conn.operation.is_none())
    }

    /// Whether a connection that is not being served has said good-bye.
    pub(super) fn is_closing(&self, token: Token) -> bool {
        let slot = self.conns.get(token.index as usize).and_then(Option::as_ref);
        slot.is_some_and(|(own, conn)| *own == token && conn.session.closing)
    }

    pub(super) fn put(&mut self, token: Token, mut conn: Box<Conn>) {
        self.push_early(&mut conn);
        self.note_write(&mut conn);
        if self.crowd.is_limited() {
            self.count_client(token, &mut conn);
        }
        if !conn.dirty && (conn.has_output() || conn.wants_settling()) {
            conn.dirty = true;
            self.dirty.push(token);
        }
        let index = token.index as usize;
        if self.conns.len() <= index {
            self.conns.resize_with(index + 1, || None);
        }
        self.conns[index] = Some((token, conn));
    }

    /// Runs `work` on a connection if it is still there.
    pub(super) fn with_conn(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        work: impl FnOnce(&mut Worker, &mut dyn Io, &mut Conn),
    ) {
        if let Some(mut conn) = self.take(token) {
            work(self, io, &mut conn);
            self.put(token, conn);
        }
    }

    /// The tokens of all connections of this shard.
    pub(super) fn tokens(&self) -> Vec<Token> {
        self.conns.iter().flatten().map(|(token, _)| *token).collect()
    }

    /// As [`Worker::mark_dirty`], for a connection that waited for the journal.
    pub(super) fn mark_for_output(&mut self, token: Token) {
        if let Some(Some((own, conn))) = self.conns.get_mut(token.index as usize)
            && *own == token
        {
            conn.awaits_journal = false;
            self.mark_dirty(token);
        }
    }

    /// Has a connection looked at again at the end of the turn.
    pub(super) fn mark_dirty(&mut self, token: Token) {
        if let Some(Some((own, conn))) = self.conns.get_mut(token.index as usize)
            && *own == token
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Whether nothing is under way: no keys are on loan, no request waits, all replies are out.
    pub fn is_idle(&self) -> bool {
        let conns = || self.conns.iter().flatten().map(|(_, conn)| conn);
        self.gathers.is_idle()
            && self.line.is_idle()
            && self.waiters.is_idle()
            && self.recording.is_idle()
            && !self.mail.has_waiting()
            && conns().all(|conn| conn.is_quiet())
    }

    /// What this shard counts.
    pub fn stats(&self) -> Arc<ShardStats> {
        self.shard.stats.clone()
    }

    /// How many clients watch keys of this shard.
    pub fn watchers(&self) -> usize {
        self.shard.keyspace.watchers()
    }

    pub(super) fn conn_slot(&self, token: Token) -> Option<&Conn> {
        let slot = self.conns.get(token.index as usize)?.as_ref();
        slot.filter(|(own, _)| *own == token).map(|(_, conn)| &**conn)
    }

    pub(super) fn conn_slots(&self) -> usize {
        self.conns.len()
    }

    pub(super) fn conn_at(&self, index: usize) -> Option<(Token, &Conn)> {
        self.conns[index].as_ref().map(|(token, conn)| (*token, &**conn))
    }

    /// Keeps less to be used again when there is less memory.
    pub(super) fn limit_pools(&mut self, memory: u64) {
        let shards = self.slots.shards();
        self.buffers.limit(memory, shards);
        self.batches.limit(memory, shards);
    }

    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.take()
    }

    pub(super) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        self.buffers.keep(buffer);
    }

    /// Has a connection a buffer into which replies can be written.
    #[inline]
    pub(super) fn begin_output(&mut self, conn: &mut Conn) {
        if conn.out.capacity() == 0 {
            conn.out = self.buffer();
        }
    }

    pub(super) fn batch(&mut self, owner: usize, connection: Token) -> Box<Batch> {
        let mut batch = self.batches.take();
        batch.reset(owner, self.index, connection);
        batch
    }

    pub(super) fn keep_batch(&mut self, batch: Box<Batch>) {
        self.batches.keep(batch);
    }

    /// Closes a connection at once and forgets it.
    pub(super) fn drop_conn(&mut self, io: &mut dyn Io, token: Token, mut conn: Box<Conn>) {
        if conn.session.is_executing() {
            // An EXEC that has begun is finished, whoever reads its replies.
            conn.kill_now = true;
            self.conns[token.index as usize] = Some((token, conn));
            return;
        }
        self.take_leave(io, token, &mut conn);
        self.forget_closed(io, token, &mut conn);
        self.forget_blocked(&mut conn);
        self.forget_sync_wait(token, &mut conn);
        self.forget_held(token, &conn);
        self.unsubscribe_all(token, &mut conn);
        self.stop_tracking(&mut conn);
        self.stop_monitoring(&mut conn);
        self.forget_target(&conn);
        self.uncount_client(token, &mut conn);
        io.close(token);
        self.keep_buffer(conn.out);
        self.shard.stats.connections_now.sub(1);
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// At the end of a turn: sends what a connection has got, and settles what waited for that.
    fn settle(&mut self, io: &mut dyn Io, token: Token) {
        let Some(mut conn) = self.take(token) else { return };
        conn.dirty = false;
        if conn.kill_now || (conn.ended && (conn.is_blocked() || conn.is_in_handshake())) {
            return self.drop_conn(io, token, conn);
        }
        if self.is_over_output_limit(&mut conn) {
            self.shard.stats.output_limit_disconnections.add(1);
            tracing::warn!(
                client = conn.session.id,
                bytes = conn.output_len(),
                "closing a client that does not read its replies: client-output-buffer-limit"
            );
            return self.drop_conn(io, token, conn);
        }
        // Replies that others are about to follow wait for them: one send instead of two.
        let complete = match &conn.operation {
            None => conn.queue.is_empty(),
            Some(operation) => !operation.is_brief(),
        } || conn.pieces_len + conn.out.len() >= ENOUGH_TO_SEND;
        if conn.sending == 0
            && conn.has_output()
            && (conn.has_sealed_output() || (complete && !self.holds_output(token, &mut conn)))
            && !conn.detaching
        {
            self.send(io, token, &mut conn);
        }
        let behind = self.is_behind(&conn);
        if behind != conn.behind {
            conn.behind = behind;
            io.pause(token, conn.is_paused());
        }
        if conn.is_quiet() {
            if conn.session.closing || (conn.ended && !conn.detaching) {
                return self.drop_conn(io, token, conn);
            }
            if conn.moving_to.is_some() && !conn.detaching {
                conn.detaching = true;
                io.detach(token);
            }
        }
        if self.crowd.is_limited() {
            self.count_client(token, &mut conn);
        }
        let index = token.index as usize;
        self.conns[index] = Some((token, conn));
    }

    /// The limit of the class of clients to which a connection belongs.
    pub(super) fn output_limit(&self, conn: &Conn) -> &OutputLimit {
        let limits = &self.limits.output;
        if conn.session.is_subscriber() { &limits.pubsub } else { &limits.normal }
    }

    fn is_over_output_limit(&self, conn: &mut Conn) -> bool {
        let limit = self.output_limit(conn);
        let bytes = conn.output_len() as u64;
        let is_stranger = conn.session.is_stranger();
        if is_stranger && conn.sending > 0 && bytes > STRANGER_OUTPUT_MAX as u64 {
            return true;
        }
        if limit.hard > 0 && bytes > limit.hard {
            return true;
        }
        if limit.soft == 0 || bytes <= limit.soft {
            conn.over_soft_limit_since = None;
            return false;
        }
        let since = *conn.over_soft_limit_since.get_or_insert(self.now);
        self.now - since > i64::from(limit.soft_seconds) * 1000
    }

    fn welcome(&self, peer: Peer) -> (Session, Option<&'static str>) {
        let id = self.shared.next_client.fetch_add(1, Ordering::Relaxed);
        let refusal = if self.shared.connections.load(Ordering::Relaxed) >= self.limits.clients {
            Some(TOO_MANY)
        } else if self.limits.protected
            && !peer.is_local()
            && self.users.default_user().needs_no_password()
        {
            Some(PROTECTED)
        } else {
            None
        };
        (Session::new(id, peer, &self.users, self.now), refusal)
    }

    /// Sends what connections have got, in the middle of a slow script; they are settled later.
    pub(super) fn send_while_busy(&mut self, io: &mut dyn Io) {
        for at in 0..self.dirty.len() {
            let token = self.dirty[at];
            self.with_conn(io, token, |worker, io, conn| {
                let ready = conn.sending == 0 && conn.has_output() && !conn.kill_now;
                if ready && (conn.has_sealed_output() || !worker.holds_output(token, conn)) {
                    worker.send(io, token, conn);
                }
            });
        }
    }

    /// Sends the next piece of what a connection has got.
    #[inline]
    fn send(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        let (buffer, replies) = match conn.tls.is_some() {
            false => {
                let piece = conn.next_piece();
                let len = piece.len();
                (piece, len)
            }
            true => match self.next_sealed(conn) {
                Some(sealed) => sealed,
                None => return,
            },
        };
        conn.sending = buffer.len();
        conn.session.output_bytes += replies as u64;
        self.shard.stats.output_bytes.add(replies as u64);
        self.shard.stats.sends.add(1);
        io.send(token, buffer);
    }

    /// Sleeps while all shards are to (`DEBUG SLEEP`).
    #[inline]
    fn sleep_along(&self, io: &mut dyn Io) {
        if self.shared.env.is_asleep() {
            self.shared.env.sleep_along();
            io.look_at_clock();
        }
    }

    fn flush(&mut self, io: &mut dyn Io) {
        while let Some(token) = self.dirty.pop() {
            self.settle(io, token);
        }
        self.mail.flush(|shard, urgent| io.ring(shard, urgent));
        self.wake_evictors(io);
    }
}

const TOO_MANY: &str = "-ERR max number of clients reached\r\n";

const PROTECTED: &str = "-DENIED Corelane is in protected mode: no password is set for the default \
    user, so only clients on this machine are served. Set a password (requirepass), or turn the \
    mode off (CONFIG SET protected-mode no, from this machine, or the option of that name) if \
    nobody else can reach this port.\r\n";

// Every pair of shards has room for a thousand messages, and a shard for many connections.
const _: () = assert!(size_of::<Message>() <= 48 && size_of::<Conn>() <= 784);

impl Handler for Worker {
    fn accepted(&mut self, io: &mut dyn Io, connection: Token, peer: Peer, listener: usize) {
        self.now = io.now();
        let (session, refusal) = self.welcome(peer);
        let mut conn = Box::new(Conn::new(session, connection, self.index));
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.shard.stats.connections_now.add(1);
        let is_tls = self.tls_listeners.get(listener) == Some(&true);
        if is_tls && (!self.begin_tls(&mut conn) || refusal == Some(TOO_MANY)) {
            // No text can be sent before a handshake, and for that there is no room.
            self.shard.stats.connections_rejected.add(1);
            return self.drop_conn(io, connection, conn);
        }
        match refusal {
            None => self.shard.stats.connections_received.add(1),
            Some(text) => {
                self.shard.stats.connections_rejected.add(1);
                conn.out.extend_from_slice(text.as_bytes());
                conn.session.closing = true;
            }
        }
        self.put(connection, conn);
    }

    fn received(&mut self, io: &mut dyn Io, connection: Token, bytes: &mut [u8]) {
        self.sleep_along(io);
        self.now = io.now();
        let Some(mut conn) = self.take(connection) else {
            return self.keep_received(connection, bytes);
        };
        if (conn.hears_of_changes() || self.ends_flush()) && !self.busy.is_on() {
            // What it asks now is answered behind what it has to hear until now.
            self.put(connection, conn);
            self.hear_of_changes(io);
            conn = match self.take(connection) {
                Some(conn) => conn,
                None => return,
            };
        }
        match conn.tls.is_some() {
            false => self.feed(io, connection, &mut conn, bytes),
            true => self.feed_sealed(io, connection, &mut conn, bytes),
        }
        self.put(connection, conn);
        self.evict_clients();
    }

    fn ended(&mut self, io: &mut dyn Io, connection: Token) {
        match self.is_connected(connection) {
            true => self.with_conn(io, connection, |_, _, conn| conn.ended = true),
            false => self.keep_ended(connection),
        }
    }

    fn sent(&mut self, io: &mut dyn Io, connection: Token, buffer: Vec<u8>, whole: bool) {
        let Some(mut conn) = self.take(connection) else {
            return self.keep_sent(connection, buffer, whole);
        };
        self.keep_buffer(buffer);
        conn.sending = 0;
        conn.session.active_at = self.now;
        match whole {
            true => self.put(connection, conn),
            false => self.drop_conn(io, connection, conn),
        }
    }

    fn progressed(&mut self, _io: &mut dyn Io, connection: Token) {
        if let Some(Some((token, conn))) = self.conns.get_mut(connection.index as usize)
            && *token == connection
        {
            conn.session.active_at = self.now;
        }
    }

    fn detached(&mut self, io: &mut dyn Io, connection: Token, socket: Socket) {
        self.now = io.now();
        self.hand_over(connection, socket);
    }

    fn turn_end(&mut self, io: &mut dyn Io) {
        self.sleep_along(io);
        self.now = io.now();
        self.more = false;
        self.shard.stats.turns.add(1);
        self.release_written();
        if self.shared.loading.load(Ordering::Relaxed) > 0 {
            self.take_loaded();
        }
        self.work_off_late(io);
        self.push_kept();
        self.read_mail(io);
        self.serve_deferred();
        self.retry_waiting(io);
        self.serve_deferred();
        self.look_at_deadlines(io);
        self.tell_of_saves(io);
        self.look_at_syncs(io);
        if self.is_reloading() {
            self.look_at_reload(io);
        }
        if self.pause.is_on() || self.pause.has_held() {
            self.look_at_pause(io);
        }
        self.shard.keyspace.keeps_expired = self.pause.keeps_expired();
        self.deliver_served(io);
        self.push_kept();
        self.work_in_background(io);
        self.evict_clients();
        self.watch_memory();
        self.send_published();
        self.tell_followers();
        self.push_kept();
        self.show_lines();
        self.log_rest();
        if self.is_asked_at_desk() {
            self.answer_at_desk(io);
        }
        self.hand_over_effects();
        if !self.rights.is_settled() {
            self.look_at_rights(io);
        }
        self.flush(io);
    }

    fn before_sleep(&mut self) -> Option<Duration> {
        if self.more || !self.dirty.is_empty() {
            return None;
        }
        let bell = &self.shared.bells[self.index];
        // Who waits for held keys is to hear at once that they are let go.
        bell.arm(self.line.is_waited_in() || self.waiters.expects());
        if self.mail.has_mail()
            || self.has_news_of_journal()
            || self.has_news_of_saves()
            || self.has_news_of_syncs()
            || self.is_loaded()
            || self.is_asked_at_desk()
        {
            bell.disarm();
            return None;
        }
        // A queue that was full is tried again soon; its reader does not ring for room.
        let wait = if self.mail.has_waiting() { 1 } else { self.background_wait() };
        let deadlines =
            [self.waiters.next_deadline(), self.pause.deadline(), self.sync_waits.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min().map_or(wait, |at| at - self.now);
        let wait = wait.min(deadline);
        let most = if self.is_reloading() { 2 } else { 1000 };
        let wait = Duration::from_millis(wait.clamp(1, most) as u64);
        Some(self.saving.wait().map_or(wait, |slice| slice.min(wait)))
    }

    fn stopped(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }
}

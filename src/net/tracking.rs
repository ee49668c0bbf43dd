//! Client tracking on the side of the clients: who tracks keys on this shard, and telling them.
//!
//! ```text
//!   reader's shard              owner of the key                  writer's shard
//!      │────── Run(GET k) ─────────>│ remembers who has read k
//!      │<──────────────── :v ───────│
//!      │                            │<─────────── Run(SET k) ───────────│
//!      │<─────────────── Stale(k) ──│
//!      │ invalidate k               │────────────── +OK ───────────────>│
//! ```
//!
//! **Order.** A client that has cached what it has read must not be answered as if it had been told when
//! it has not, and must not be told before it has what it is to forget.
//!
//! - The owner sends `Stale` before the answer to the write, to whomever that goes: a command's or
//!   block's effects are sent as soon as it has run (`serve`), a tour's at each stop, a loan's by the
//!   borrower before the loan goes back. So `Stale` is in the queue to the reader's shard before the
//!   writer can know that it has written.
//! - Keys that are held meanwhile, by a tour or as a loan, are let go later still. So who reads such a
//!   key again is answered by its owner behind `Stale`: messages between two shards arrive in order.
//! - A client that tracks has its shard look into its queues before it takes in what the client has
//!   sent ([`Worker::hear_of_changes`]). So a client that asks for anything, of any shard, after it
//!   could know of a write has been told of it, unless the queue between two shards was full.
//! - A message goes behind all replies that its client waits for. What was read before the change is
//!   among them, or was sent; so the message is never too early. It can only be late against reads that
//!   were under way at the time, which costs the client one more read.
//! - A flush is not over at one shard before it is at all of them, and what was read at one can be
//!   flushed after another's clients have been told. So each shard tells its own when it lets go.
//!
//! Those who follow prefixes are told once a turn, of all keys together.
//!
//! Nobody who is told of changes, for himself or for others, moves to another shard.

use super::conn::Conn;
use super::mail::Message;
use super::operation::{Answer, Operation, Question};
use super::subscribers::{Interest, Push};
use super::worker::Worker;
use crate::command::{TrackingChange, TrackingOptions, TrackingRequest};
use crate::data::prefixes::Prefixes;
use crate::error::CmdError;
use crate::resp::{Encoder, Protocol};
use crate::rt::{Io, Token};
use crate::session::{ClientRef, Name, Tracking};
use crate::shard::Stale;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The channel of invalidations for those who cannot be sent pushes.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Tracked keys that are given up in one go, times the rounds that were not enough.
const GIVE_UP_STEP: usize = 100;
/// Keys of what was forgotten that are freed in one go.
const FREE_STEP: usize = 256;

/// Keys that have changed, and who has changed them.
pub type Changes = Vec<(Arc<[u8]>, ClientRef)>;

/// An invalidation for a client to which another one's go.
pub struct Redirected {
    to: ClientRef,
    from: ClientRef,
    keys: Invalid,
}

/// What is to be forgotten.
#[derive(Clone)]
pub(super) enum Invalid {
    /// An array of keys, encoded.
    Keys(Arc<[u8]>),
    All,
}

impl Invalid {
    fn keys<'a>(keys: impl ExactSizeIterator<Item = &'a [u8]>) -> Invalid {
        let mut bytes = Vec::new();
        // Arrays and bulk strings look the same in both protocols.
        let mut out = Encoder::new(&mut bytes, Protocol::Resp2);
        out.array(keys.len());
        keys.for_each(|key| out.bulk(key));
        Invalid::Keys(bytes.into())
    }

    fn len(&self) -> usize {
        match self {
            Invalid::Keys(bytes) => bytes.len(),
            Invalid::All => 0,
        }
    }

    fn write(&self, out: &mut Encoder) {
        match self {
            Invalid::Keys(bytes) => out.raw(bytes),
            Invalid::All => out.null(),
        }
    }
}

/// A client of this shard that tracks keys.
#[derive(Clone, Copy)]
struct Tracker {
    token: Token,
    broadcast: bool,
    no_loop: bool,
    redirect: Option<ClientRef>,
}

/// The clients of this shard that follow a prefix.
#[derive(Default)]
struct Followers {
    clients: BTreeSet<u64>,
    /// Keys that have changed and of which they are not told yet, and who has changed them last.
    changed: BTreeMap<Arc<[u8]>, ClientRef>,
}

/// Who tracks keys on this shard.
#[derive(Default)]
pub struct Trackers {
    clients: HashMap<u64, Tracker>,
    /// Clients to which others' invalidations go.
    targets: HashMap<u64, Token>,
    prefixes: Prefixes<Followers>,
    /// Those of them with keys that have changed.
    changed: BTreeSet<Name>,
    /// All keys were flushed by a tour that still holds the shard.
    flushed: bool,
    /// Rounds in which not enough keys were given up, in a row.
    effort: usize,
}

impl Worker {
    /// Does what CLIENT TRACKING asks for.
    pub(super) fn track(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        request: TrackingRequest,
    ) {
        match request.redirect {
            Some(_) => self.ask(io, token, conn, Question::Redirect(Box::new(request))),
            None => self.change_tracking(conn, request.change, None),
        }
    }

    /// Finds the client to which another one's invalidations are to go, and keeps it here.
    pub(super) fn visit_target(
        &mut self,
        conn: &mut Conn,
        wanted: Option<u64>,
        answer: &mut Answer,
    ) {
        if wanted != Some(conn.session.id) {
            return;
        }
        conn.is_target = true;
        conn.moving_to = None;
        self.trackers.targets.insert(conn.session.id, conn.token);
        answer.target = Some(conn.client);
    }

    /// A client to which others' invalidations go has got another name.
    pub(super) fn rename_target(&mut self, conn: &Conn) {
        if conn.is_target {
            self.trackers.targets.insert(conn.session.id, conn.token);
        }
    }

    /// The question to put once more to all shards when none has found the client: it may have been
    /// on its way from one to the other.
    pub(super) fn search_again(conn: &Conn) -> Option<Question> {
        let Some(Operation::Asking { question, waiting: 0, answers }) = &conn.operation else {
            return None;
        };
        let Question::Redirect(request) = &**question else { return None };
        let found = answers.iter().any(|answer| answer.target.is_some());
        let tries = request.tries.checked_sub(1).filter(|_| !found)?;
        Some(Question::Redirect(Box::new(TrackingRequest { tries, ..(**request).clone() })))
    }

    /// All shards have answered whether they have that client.
    pub(super) fn finish_redirect(
        &mut self,
        conn: &mut Conn,
        request: TrackingRequest,
        answers: &[Answer],
    ) {
        const NO_CLIENT: CmdError =
            CmdError::fixed("ERR The client ID you want redirect to does not exist");
        match answers.iter().find_map(|answer| answer.target) {
            Some(redirect) => self.change_tracking(conn, request.change, Some(redirect)),
            None => self.change_tracking(conn, Err(NO_CLIENT), None),
        }
    }

    fn change_tracking(
        &mut self,
        conn: &mut Conn,
        change: Result<TrackingChange, CmdError>,
        redirect: Option<ClientRef>,
    ) {
        match change {
            Ok(TrackingChange::On(options)) => self.begin_tracking(conn, options, redirect),
            Ok(TrackingChange::Off) => {
                self.stop_tracking(conn);
                self.reply_to_command(conn, |out| out.ok());
            }
            Err(error) => {
                self.shard.stats.count_error(&error);
                self.reply_to_command(conn, |out| out.error(&error));
            }
        }
    }

    fn begin_tracking(
        &mut self,
        conn: &mut Conn,
        mut options: TrackingOptions,
        redirect: Option<ClientRef>,
    ) {
        // What it is told comes to where it is.
        conn.moving_to = None;
        let (id, token) = (conn.session.id, conn.token);
        let TrackingOptions { broadcast, opt_in, opt_out, no_loop, .. } = options;
        let tracking = conn.session.tracking.get_or_insert_default();
        let Tracking { caching, prefixes, .. } = std::mem::take(&mut **tracking);
        **tracking = Tracking {
            broadcast,
            opt_in,
            opt_out,
            no_loop,
            caching,
            redirect,
            broken: false,
            prefixes,
        };
        if broadcast && options.prefixes.is_empty() {
            options.prefixes.push(Name::from(&b""[..]));
        }
        options.prefixes.retain(|prefix| tracking.prefixes.insert(prefix.clone()));
        let tracker = Tracker { token, broadcast, no_loop, redirect };
        if self.trackers.clients.insert(id, tracker).is_none() {
            self.shard.stats.tracking_clients.add(1);
        }
        self.shard.keyspace.expect_tracking();
        for prefix in &options.prefixes {
            self.trackers.prefixes.get_or_default(prefix).clients.insert(id);
        }
        let follow = |name| Interest::Prefix { name, more: true };
        let interests = options.prefixes.into_iter().map(follow).collect();
        let reply: &[u8] = if conn.session.take_reply() { b"+OK\r\n" } else { b"" };
        self.announce(conn, interests, reply);
    }

    /// A client tracks no keys any more.
    pub(super) fn stop_tracking(&mut self, conn: &mut Conn) {
        let Some(tracking) = conn.session.tracking.take() else { return };
        let id = conn.session.id;
        self.trackers.clients.remove(&id);
        self.shard.stats.tracking_clients.sub(1);
        for prefix in &tracking.prefixes {
            if let Some(followers) = self.trackers.prefixes.get_mut(prefix) {
                followers.clients.remove(&id);
                if followers.clients.is_empty() {
                    self.trackers.prefixes.remove(prefix);
                }
            }
        }
        let leave = |name| Interest::Prefix { name, more: false };
        self.tell_owners(None, tracking.prefixes.into_iter().map(leave).collect());
    }

    /// A connection is gone to which others' invalidations may have gone.
    pub(super) fn forget_target(&mut self, conn: &Conn) {
        if conn.is_target {
            self.trackers.targets.remove(&conn.session.id);
        }
    }

    /// Sends what has become of keys that clients have read, or whose prefixes they follow.
    pub(super) fn send_invalidations(&mut self) {
        if !self.shard.keyspace.has_invalidations() {
            return;
        }
        let (stale, changed) = self.shard.keyspace.take_invalidations();
        for Stale { key, clients, by } in stale {
            for clients in clients.chunk_by(|a, b| a.shard() == b.shard()) {
                let shard = clients[0].shard();
                let stale = Stale { key: key.clone(), clients: clients.to_vec(), by };
                if shard == self.index {
                    self.tell_readers(&stale);
                } else {
                    self.note_passing(stale.bytes());
                    self.mail.push(shard, Message::Stale(Box::new(stale)));
                }
            }
        }
        if changed.is_empty() {
            return;
        }
        let mut by_shard: Vec<Changes> = vec![Vec::new(); self.slots.shards()];
        for change in changed {
            let shards = change.shards.iter();
            shards.for_each(|&s| by_shard[usize::from(s)].push((change.key.clone(), change.by)));
        }
        for (shard, changes) in by_shard.into_iter().enumerate().filter(|(_, c)| !c.is_empty()) {
            match shard == self.index {
                true => self.note_changes(changes),
                false => self.mail.push(shard, Message::Changed(Box::new(changes))),
            }
        }
    }

    /// Clients of this shard have read a key that has changed.
    pub(super) fn tell_readers(&mut self, stale: &Stale) {
        let keys = Invalid::keys(std::iter::once(&*stale.key));
        for &client in &stale.clients {
            if let Some(&tracker) = self.trackers.clients.get(&client.id())
                && !tracker.broadcast
                && !(tracker.no_loop && client == stale.by)
            {
                self.tell(client.id(), tracker, &keys);
            }
        }
    }

    /// Sends an invalidation to a client, or to the one that gets them in its place.
    fn tell(&mut self, client: u64, tracker: Tracker, keys: &Invalid) {
        // A buffer that is full becomes twice as large.
        self.note_passing(2 * keys.len());
        let Some(to) = tracker.redirect else {
            let push = Push::Invalid { keys: keys.clone(), redirected: false };
            return self.send_push(tracker.token, &push);
        };
        let from = ClientRef::new(self.index, client);
        let redirected = Redirected { to, from, keys: keys.clone() };
        match to.shard() {
            shard if shard == self.index => self.take_redirected(&redirected),
            shard => self.mail.push(shard, Message::Redirected(Box::new(redirected))),
        }
    }

    /// An invalidation has come for a client of this shard in place of another one.
    pub(super) fn take_redirected(&mut self, redirected: &Redirected) {
        let Redirected { to, from, keys } = redirected;
        let target = to.id();
        if let Some(&token) = self.trackers.targets.get(&target)
            && !self.is_closing(token)
        {
            let push = Push::Invalid { keys: keys.clone(), redirected: true };
            return self.send_push(token, &push);
        }
        match from.shard() {
            shard if shard == self.index => self.break_redirect(from.id(), target),
            shard => self.mail.push(shard, Message::Broken { client: from.id(), target }),
        }
    }

    /// The client is gone to which another one's invalidations go.
    pub(super) fn break_redirect(&mut self, client: u64, target: u64) {
        if let Some(&Tracker { token, redirect: Some(to), .. }) = self.trackers.clients.get(&client)
            && to.id() == target
        {
            self.send_push(token, &Push::Broken { target });
        }
    }

    pub(super) fn hand_broken(&mut self, conn: &mut Conn, target: u64) {
        let Some(tracking) = &mut conn.session.tracking else { return };
        tracking.broken = true;
        if conn.session.protocol == Protocol::Resp3 {
            let mut bytes = Vec::new();
            let mut out = Encoder::new(&mut bytes, Protocol::Resp3);
            out.push(2);
            out.bulk(b"tracking-redir-broken");
            out.int(target as i64);
            self.push_bytes(conn, &bytes);
        }
    }

    pub(super) fn hand_invalid(&mut self, conn: &mut Conn, keys: &Invalid, redirected: bool) {
        let protocol = conn.session.protocol;
        let mut bytes = Vec::new();
        let mut out = Encoder::new(&mut bytes, protocol);
        match protocol {
            Protocol::Resp3 => {
                out.push(2);
                out.bulk(b"invalidate");
            }
            // For those who have asked for this, a message among those of channels.
            Protocol::Resp2 if redirected && conn.session.is_subscriber() => {
                out.array(3);
                out.bulk(b"message");
                out.bulk(CHANNEL);
            }
            Protocol::Resp2 => return,
        }
        keys.write(&mut out);
        self.push_bytes(conn, &bytes);
    }

    /// Keys have changed with prefixes that clients of this shard follow.
    pub(super) fn note_changes(&mut self, changes: Changes) {
        let Trackers { prefixes, changed, .. } = &mut self.trackers;
        for (key, by) in changes {
            prefixes.each_of(&key, &mut |prefix, followers| {
                if followers.changed.is_empty() {
                    changed.insert(prefix.into());
                }
                followers.changed.insert(key.clone(), by);
            });
        }
    }

    /// Tells those who follow prefixes what has changed.
    pub(super) fn tell_followers(&mut self) {
        for prefix in std::mem::take(&mut self.trackers.changed) {
            let Some(followers) = self.trackers.prefixes.get_mut(&prefix) else { continue };
            let changed = std::mem::take(&mut followers.changed);
            let all = Invalid::keys(changed.keys().map(|key| &**key));
            for client in followers.clients.iter().copied().collect::<Vec<_>>() {
                let Some(&tracker) = self.trackers.clients.get(&client) else { continue };
                let own = ClientRef::new(self.index, client);
                if !tracker.no_loop || changed.values().all(|by| *by != own) {
                    self.tell(client, tracker, &all);
                    continue;
                }
                let others = changed.iter().filter(|(_, by)| **by != own).map(|(key, _)| &**key);
                let others: Vec<&[u8]> = others.collect();
                if !others.is_empty() {
                    self.tell(client, tracker, &Invalid::keys(others.into_iter()));
                }
            }
        }
    }

    /// Whether all keys are held, perhaps by a flush that is over: who tracks keys from now on is to
    /// hear nothing of it.
    #[inline]
    pub(super) fn ends_flush(&self) -> bool {
        self.shard.keyspace.is_tracked() && self.line.intents.holds_all()
    }

    /// Takes in what has changed until now.
    pub(super) fn hear_of_changes(&mut self, io: &mut dyn Io) {
        self.read_arrived(io);
        self.tell_followers();
        self.push_kept();
    }

    /// Tells all who track keys that all keys were flushed, if they were.
    pub(super) fn send_flushed(&mut self) {
        if self.shard.keyspace.take_flushed() {
            self.tell_flushed();
        }
    }

    fn tell_flushed(&mut self) {
        let mut clients: Vec<(u64, Tracker)> =
            self.trackers.clients.iter().map(|(id, tracker)| (*id, *tracker)).collect();
        clients.sort_unstable_by_key(|(id, _)| *id);
        for (client, tracker) in clients {
            self.tell(client, tracker, &Invalid::All);
        }
    }

    /// Keeps it until a tour lets go that keys were flushed; whether they were.
    pub(super) fn keep_flushed(&mut self, hold: Option<u32>) -> bool {
        let flushed = hold.is_none() && self.shard.keyspace.take_flushed();
        self.trackers.flushed |= flushed;
        flushed
    }

    pub(super) fn send_kept_flush(&mut self, hold: Option<u32>) {
        if hold.is_none() && std::mem::take(&mut self.trackers.flushed) {
            self.tell_flushed();
        }
    }

    /// Gives up keys that clients have read when all shards together remember too many.
    pub(super) fn limit_tracked(&mut self) {
        let most = self.limits.tracked_keys;
        let stats = &self.shared.env.stats;
        let count = || stats.iter().map(|stats| stats.tracked_keys.get()).sum::<u64>();
        if most == 0 || count() <= most {
            self.trackers.effort = 0;
            return;
        }
        // Whoever else is about it leaves enough to do for the next round, or nothing.
        if self.shared.giving_up.swap(true, Ordering::Acquire) {
            return;
        }
        self.trackers.effort += 1;
        let step = GIVE_UP_STEP * self.trackers.effort;
        let excess = count().saturating_sub(most);
        self.shard.keyspace.give_up_tracked(step.min(excess as usize));
        self.shared.giving_up.store(false, Ordering::Release);
        self.send_invalidations();
    }

    /// Bounds and frees what is remembered of clients that track keys; in each round, or when keys
    /// have been added.
    pub(super) fn look_after_tracking(&mut self, round: bool) {
        if !self.shard.keyspace.is_tracked() {
            return;
        }
        if self.shard.keyspace.has_more_tracked() || round {
            self.limit_tracked();
        }
        // Who has begun to track since then has read nothing here that the shard knows of.
        let stats = &self.shared.env.stats;
        if round && stats.iter().all(|stats| stats.tracking_clients.get() == 0) {
            self.shard.keyspace.forget_tracked();
        }
        self.more |= self.shard.keyspace.free_tracked(FREE_STEP);
    }
}

//! Pub/sub on the side of the clients: who listens on this shard, and handing out messages.
//!
//! ```text
//!   subscriber's shard            owner of the channel            publisher's shard
//!      │── Listen(names) ──────────>│ counts the shard
//!      │<──────────────── Heard ────│
//!      │ replies                    │<────────── Run(PUBLISH) ──────────│
//!      │<──────────────── Deliver ──│
//!      │ to each that listens       │────────────── :n ────────────────>│
//! ```
//!
//! - A client is told that it listens when all owners know, and that it listens no more likewise.
//!   What arrives before its acknowledgement is kept behind that; after the last one nothing comes.
//! - All messages of a channel are sent by its owner, in the order in which it ran the PUBLISHes, so
//!   all who listen get them in that order. Keyspace events are sent by the owners of the keys
//!   instead, so there is an order for each key; all shards know who listens to their channels.
//! - What a transaction publishes while it holds keys is sent when it lets go.

use super::conn::{Conn, KEPT_BUFFER};
use super::mail::Message;
use super::operation::Operation;
use super::tracking::Invalid;
use super::worker::Worker;
use crate::command::{SubscriptionChange, write_message};
use crate::resp::Protocol;
use crate::rt::{Io, Token};
use crate::session::{Name, Topic};
use crate::shard::{Published, is_event_channel};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Clients of another shard that begin or cease to listen to what the receiver owns.
#[derive(Clone)]
pub struct Listening {
    from: usize,
    /// Who waits to hear that it is known; nobody when the client is gone.
    connection: Option<Token>,
    interests: Vec<Interest>,
}

/// What a client begins to be told of, or is told of no more.
#[derive(Clone)]
pub(super) enum Interest {
    Topic(SubscriptionChange),
    /// All keys that begin so.
    Prefix {
        name: Name,
        more: bool,
    },
    /// All that clients do.
    Commands {
        more: bool,
    },
}

/// A connection that has changed what it listens to, until all owners know.
pub struct Subscribing {
    reply: Vec<u8>,
    /// Shards that have not answered.
    waiting: usize,
}

/// The clients of this shard that listen to one channel or pattern: nearly always one.
enum Listeners {
    One(Token),
    Many(HashSet<Token, ahash::RandomState>),
}

impl Listeners {
    fn add(&mut self, token: Token) {
        match self {
            Listeners::One(first) => *self = Listeners::Many([*first, token].into_iter().collect()),
            Listeners::Many(all) => drop(all.insert(token)),
        }
    }

    /// Whether some are left.
    fn remove(&mut self, token: Token) -> bool {
        match self {
            Listeners::One(first) => *first != token,
            Listeners::Many(all) => {
                all.remove(&token);
                !all.is_empty()
            }
        }
    }

    fn each(&self, f: &mut dyn FnMut(Token)) {
        match self {
            Listeners::One(token) => f(*token),
            Listeners::Many(all) => all.iter().copied().for_each(f),
        }
    }
}

/// What is sent to a client that has not asked for it just now.
#[derive(Clone)]
pub(super) enum Push {
    /// A message of a channel, in RESP2 and in RESP3.
    Message([Arc<[u8]>; 2]),
    /// Keys that the client has to forget, or another one for which it listens.
    Invalid { keys: Invalid, redirected: bool },
    /// The client to which its invalidations went is gone.
    Broken { target: u64 },
}

type Names = HashMap<Name, Listeners, ahash::RandomState>;

/// What transactions have published that still hold keys here, by their holds, in the order in
/// which they came.
///
/// A key may meet several of them, when they only read it, and it may expire meanwhile; so its
/// events stand behind those that are kept already.
#[derive(Default)]
struct Unsent {
    kept: Vec<(Option<u32>, Vec<Arc<Published>>)>,
    /// How many of them are about a key, by its hash.
    about: HashMap<u64, usize>,
}

impl Unsent {
    fn keep(&mut self, hold: Option<u32>, published: Vec<Arc<Published>>) {
        for hash in published.iter().filter_map(|published| published.about) {
            *self.about.entry(hash).or_default() += 1;
        }
        self.kept.push((hold, published));
    }

    /// What is kept for a hold, and its place.
    fn take(&mut self, hold: Option<u32>) -> Option<(usize, Vec<Arc<Published>>)> {
        let place = self.kept.iter().position(|(own, _)| *own == hold)?;
        let (_, published) = self.kept.remove(place);
        for hash in published.iter().filter_map(|published| published.about) {
            let count = self.about.entry(hash).or_default();
            *count -= 1;
            if *count == 0 {
                self.about.remove(&hash);
            }
        }
        Some((place, published))
    }

    /// Puts a message behind another one about its key that has been kept before the `place`-th;
    /// gives it back if there is none.
    fn behind(&mut self, published: Arc<Published>, place: usize) -> Option<Arc<Published>> {
        let Some(hash) = published.about.filter(|hash| self.about.contains_key(hash)) else {
            return Some(published);
        };
        let mut before = self.kept.iter_mut().take(place).rev();
        let found = before.find(|(_, kept)| kept.iter().any(|other| other.about == Some(hash)));
        let Some((_, kept)) = found else { return Some(published) };
        kept.push(published);
        *self.about.entry(hash).or_default() += 1;
        None
    }
}

/// Who listens to what on this shard.
#[derive(Default)]
pub struct Subscribers {
    channels: Names,
    patterns: Names,
    sharded: Names,
    /// Who has begun or ceased to listen while the channels were lent.
    late: Vec<Listening>,
    /// For connections that were being served when a message came for them.
    kept: Vec<(Token, Push)>,
    unsent: Unsent,
}

impl Subscribers {
    /// Whether a message came for a connection that was being served.
    #[inline]
    pub fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    pub(super) fn keep(&mut self, token: Token, push: Push) {
        self.kept.push((token, push));
    }

    fn change(&mut self, change: &SubscriptionChange, token: Token) {
        let names = match change.topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Sharded => &mut self.sharded,
        };
        let Some(listeners) = names.get_mut(&change.name) else {
            if change.more {
                names.insert(change.name.clone(), Listeners::One(token));
            }
            return;
        };
        if change.more {
            listeners.add(token);
        } else if !listeners.remove(token) {
            names.remove(&change.name);
        }
    }
}

/// A message in both protocols, written when the first one wants it.
struct Wire<'a> {
    published: &'a Published,
    pattern: Option<&'a [u8]>,
    written: [Option<Arc<[u8]>>; 2],
}

impl<'a> Wire<'a> {
    fn new(published: &'a Published, pattern: Option<&'a [u8]>) -> Wire<'a> {
        Wire { published, pattern, written: [None, None] }
    }

    fn bytes(&mut self, protocol: Protocol) -> &Arc<[u8]> {
        let Published { channel, message, sharded, .. } = self.published;
        let at = usize::from(protocol == Protocol::Resp3);
        self.written[at].get_or_insert_with(|| {
            let mut bytes = Vec::with_capacity(channel.len() + message.len() + 64);
            write_message(&mut bytes, protocol, (channel, message, *sharded), self.pattern);
            bytes.into()
        })
    }
}

impl Worker {
    /// What a client listens to has changed; `reply` says so.
    pub(super) fn change_subscriptions(
        &mut self,
        token: Token,
        conn: &mut Conn,
        changes: Vec<SubscriptionChange>,
        reply: &[u8],
    ) {
        // Its messages come to where it is.
        conn.moving_to = None;
        self.count_listener(conn);
        changes.iter().for_each(|change| self.subscribers.change(change, token));
        self.announce(conn, changes.into_iter().map(Interest::Topic).collect(), reply);
    }

    /// Tells others what a client is to be told of, and replies when all of them know.
    pub(super) fn announce(&mut self, conn: &mut Conn, interests: Vec<Interest>, reply: &[u8]) {
        let waiting = self.tell_owners(Some(conn.token), interests);
        if waiting == 0 {
            return self.reply(conn, |out| out.raw(reply));
        }
        let subscribing = Subscribing { reply: reply.to_vec(), waiting };
        conn.operation = Some(Operation::Subscribing(Box::new(subscribing)));
    }

    fn count_listener(&self, conn: &mut Conn) {
        let listens = conn.session.is_subscriber();
        match (conn.listens, listens) {
            (false, true) => self.shard.stats.pubsub_clients.add(1),
            (true, false) => self.shard.stats.pubsub_clients.sub(1),
            _ => {}
        }
        conn.listens = listens;
    }

    /// Tells those who own the channels, and all shards of the rest; gives how many will answer.
    pub(super) fn tell_owners(
        &mut self,
        connection: Option<Token>,
        interests: Vec<Interest>,
    ) -> usize {
        self.flush_batches();
        let mut by_shard: Vec<Vec<Interest>> = vec![Vec::new(); self.slots.shards()];
        for interest in interests {
            match &interest {
                Interest::Topic(SubscriptionChange { topic, name, .. })
                    if *topic != Topic::Pattern
                        && (*topic == Topic::Sharded || !is_event_channel(name)) =>
                {
                    by_shard[self.slots.owner_of(name)].push(interest);
                }
                _ => by_shard.iter_mut().for_each(|all| all.push(interest.clone())),
            }
        }
        let mut told = 0;
        let from = self.index;
        for (shard, interests) in by_shard.into_iter().enumerate().filter(|(_, i)| !i.is_empty()) {
            let listening = Listening { from, connection, interests };
            match shard == self.index {
                true => self.note_listeners(&listening),
                false => {
                    told += 1;
                    self.mail.push(shard, Message::Listen(Box::new(listening)));
                }
            }
        }
        told
    }

    /// While the channels are with another shard nobody publishes here, so it is enough to note who
    /// listens when they are back.
    pub(super) fn note_late_listeners(&mut self) {
        for listening in std::mem::take(&mut self.subscribers.late) {
            self.note_listeners(&listening);
        }
    }

    fn note_listeners(&mut self, listening: &Listening) {
        if self.line.intents.holds_all() {
            return self.subscribers.late.push(listening.clone());
        }
        let from = listening.from;
        for interest in &listening.interests {
            match interest {
                Interest::Topic(SubscriptionChange { topic, name, more }) => {
                    let copied =
                        *topic == Topic::Channel && self.slots.owner_of(name) != self.index;
                    let channels = &mut self.shard.keyspace.channels;
                    match copied {
                        true => channels.listen_elsewhere(name, from, *more),
                        false => channels.listen(*topic, name, from, *more),
                    }
                }
                Interest::Prefix { name, more } => self.shard.keyspace.follow(name, from, *more),
                Interest::Commands { more } => self.monitors.note(from, *more),
            }
        }
        let channels = &self.shard.keyspace.channels;
        let [channels, sharded, patterns] = channels.counts();
        let stats = &self.shard.stats;
        stats.pubsub_channels.set(channels);
        stats.pubsub_shard_channels.set(sharded);
        stats.pubsub_patterns.set(patterns);
    }

    /// Clients of another shard listen to what is owned here, or no more.
    pub(super) fn listen(&mut self, listening: &Listening) {
        self.note_listeners(listening);
        if let Some(connection) = listening.connection {
            self.mail.push(listening.from, Message::Heard(connection));
        }
    }

    /// An owner knows what a client listens to.
    pub(super) fn heard(&mut self, io: &mut dyn Io, token: Token) {
        let Some(mut conn) = self.take(token) else { return };
        if let Some(Operation::Subscribing(mut subscribing)) = conn.operation.take() {
            subscribing.waiting -= 1;
            if subscribing.waiting > 0 {
                conn.operation = Some(Operation::Subscribing(subscribing));
            } else {
                self.reply(&mut conn, |out| out.raw(&subscribing.reply));
                self.go_on_with_block(io, token, &mut conn);
                self.resume(io, token, &mut conn);
            }
        }
        self.put(token, conn);
    }

    /// A client listens to nothing any more, without having said so.
    pub(super) fn unsubscribe_all(&mut self, token: Token, conn: &mut Conn) {
        let Some(subscriptions) = conn.session.subscriptions.take() else { return };
        self.count_listener(conn);
        let mut changes = Vec::new();
        for topic in [Topic::Channel, Topic::Pattern, Topic::Sharded] {
            let names = subscriptions.all(topic).into_iter();
            changes.extend(names.map(|name| SubscriptionChange { topic, name, more: false }));
        }
        changes.iter().for_each(|change| self.subscribers.change(change, token));
        self.tell_owners(None, changes.into_iter().map(Interest::Topic).collect());
    }

    /// Sends what was published here.
    pub(super) fn send_published(&mut self) {
        if !self.shard.keyspace.channels.has_mail() {
            return;
        }
        for published in self.shard.keyspace.channels.take_outbox() {
            if let Some(published) = self.subscribers.unsent.behind(published, usize::MAX) {
                self.send_to_shards(published);
            }
        }
    }

    fn send_to_shards(&mut self, published: Arc<Published>) {
        for &shard in &published.shards {
            match usize::from(shard) == self.index {
                true => self.deliver(&published),
                false => self.mail.push(usize::from(shard), Message::Deliver(published.clone())),
            }
        }
    }

    /// Keeps what a transaction has published until it lets go of its keys here; whether there is
    /// something.
    pub(super) fn keep_published(&mut self, hold: Option<u32>) -> bool {
        let published = self.shard.keyspace.channels.has_mail();
        if published {
            let outbox = self.shard.keyspace.channels.take_outbox();
            self.subscribers.unsent.keep(hold, outbox);
        }
        published
    }

    pub(super) fn send_kept(&mut self, hold: Option<u32>) {
        let Some((place, kept)) = self.subscribers.unsent.take(hold) else { return };
        for published in kept {
            if let Some(published) = self.subscribers.unsent.behind(published, place) {
                self.send_to_shards(published);
            }
        }
    }

    /// Hands a message to those on this shard who listen.
    pub(super) fn deliver(&mut self, published: &Published) {
        let subscribers = std::mem::take(&mut self.subscribers);
        let channel = &published.channel[..];
        let names = if published.sharded { &subscribers.sharded } else { &subscribers.channels };
        if let Some(listeners) = names.get(channel) {
            let mut wire = Wire::new(published, None);
            listeners.each(&mut |token| self.push(token, &mut wire));
        }
        let patterns = subscribers.patterns.iter().filter(|_| !published.sharded);
        for (pattern, listeners) in patterns {
            if crate::data::glob::matches(pattern, channel) {
                let mut wire = Wire::new(published, Some(pattern));
                listeners.each(&mut |token| self.push(token, &mut wire));
            }
        }
        let kept = std::mem::replace(&mut self.subscribers, subscribers).kept;
        self.subscribers.kept.extend(kept);
    }

    fn push(&mut self, token: Token, wire: &mut Wire) {
        match self.take(token) {
            Some(mut conn) => {
                let bytes = wire.bytes(conn.session.protocol);
                self.push_bytes(&mut conn, bytes);
                self.put(token, conn);
            }
            // It has sent this itself, and gets it behind its reply.
            None => {
                let bytes = [Protocol::Resp2, Protocol::Resp3].map(|p| wire.bytes(p).clone());
                self.subscribers.keep(token, Push::Message(bytes));
            }
        }
    }

    pub(super) fn push_bytes(&mut self, conn: &mut Conn, bytes: &[u8]) {
        if conn.session.closing || conn.kill_now {
            return;
        }
        if conn.owes_reply() {
            return conn.early.extend_from_slice(bytes);
        }
        self.reply(conn, |out| out.raw(bytes));
        if conn.out.len() > KEPT_BUFFER {
            conn.kill_now |= self.is_over_hard_limit(conn);
            conn.seal();
        }
    }

    /// Lets messages follow the reply for which they had to wait.
    pub(super) fn push_early(&mut self, conn: &mut Conn) {
        if !conn.early.is_empty() && !conn.owes_reply() {
            let early = std::mem::take(&mut conn.early);
            self.reply(conn, |out| out.raw(&early));
        }
    }

    /// Hands out what came for connections while they were being served.
    pub(super) fn push_kept(&mut self) {
        for (token, push) in std::mem::take(&mut self.subscribers.kept) {
            if let Some(mut conn) = self.take(token) {
                self.hand(&mut conn, &push);
                self.put(token, conn);
            }
        }
    }

    /// As [`Worker::push_kept`], for the connection that is being served: behind the reply to what it
    /// has done, before what it does next.
    #[inline]
    pub(super) fn push_own(&mut self, conn: &mut Conn) {
        if self.subscribers.has_kept() {
            self.push_kept_to(conn);
        }
    }

    #[cold]
    fn push_kept_to(&mut self, conn: &mut Conn) {
        let own = |(token, _): &mut (Token, Push)| *token == conn.token;
        let pushes: Vec<(Token, Push)> = self.subscribers.kept.extract_if(.., own).collect();
        pushes.iter().for_each(|(_, push)| self.hand(conn, push));
    }

    fn hand(&mut self, conn: &mut Conn, push: &Push) {
        match push {
            Push::Message(bytes) => {
                let at = usize::from(conn.session.protocol == Protocol::Resp3);
                self.push_bytes(conn, &bytes[at]);
            }
            Push::Invalid { keys, redirected } => self.hand_invalid(conn, keys, *redirected),
            Push::Broken { target } => self.hand_broken(conn, *target),
        }
    }

    /// Sends something to a client, which may be the one being served.
    pub(super) fn send_push(&mut self, token: Token, push: &Push) {
        match self.take(token) {
            Some(mut conn) => {
                self.hand(&mut conn, push);
                self.put(token, conn);
            }
            None => self.subscribers.keep(token, push.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str, about: Option<u64>) -> Arc<Published> {
        let (channel, message) = (Box::from(b"c".as_slice()), text.as_bytes().into());
        Arc::new(Published { channel, message, sharded: false, shards: Default::default(), about })
    }

    fn texts(kept: &[Arc<Published>]) -> String {
        kept.iter().map(|one| String::from_utf8_lossy(&one.message).into_owned()).collect()
    }

    #[test]
    fn events_of_a_key_stand_behind_those_that_are_kept() {
        let mut unsent = Unsent::default();
        unsent.keep(Some(1), vec![message("a", Some(7)), message("b", Some(8))]);
        unsent.keep(Some(2), vec![message("c", Some(7)), message("d", None)]);
        // Not so what is about another key, or about none.
        assert!(unsent.behind(message("e", Some(9)), usize::MAX).is_some());
        assert!(unsent.behind(message("e", None), usize::MAX).is_some());
        assert!(unsent.behind(message("e", Some(7)), usize::MAX).is_none());
        assert!(unsent.behind(message("f", Some(8)), usize::MAX).is_none());
        // The second is let go first: what is about the key of the first has to wait for that.
        let (place, kept) = unsent.take(Some(2)).unwrap();
        assert_eq!((place, texts(&kept).as_str()), (1, "cde"));
        let sent: Vec<_> = kept.into_iter().filter_map(|one| unsent.behind(one, place)).collect();
        assert_eq!(texts(&sent), "d");
        let (place, kept) = unsent.take(Some(1)).unwrap();
        assert_eq!((place, texts(&kept).as_str()), (0, "abfce"));
        assert!(kept.into_iter().all(|one| unsent.behind(one, place).is_some()));
        assert!(unsent.kept.is_empty() && unsent.about.is_empty());
        assert!(unsent.take(Some(1)).is_none());
    }
}

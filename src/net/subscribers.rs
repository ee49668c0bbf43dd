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
use super::worker::Worker;
use crate::command::{SubscriptionChange, write_message};
use crate::resp::Protocol;
use crate::rt::{Io, Token};
use crate::session::{Name, Topic};
use crate::shard::{Published, is_event_channel};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Clients of another shard that begin or cease to listen to what the receiver owns.
pub struct Listening {
    from: usize,
    /// Who waits to hear that it is known; nobody when the client is gone.
    connection: Option<Token>,
    changes: Vec<SubscriptionChange>,
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
    /// For connections that were being served when a message came for them.
    kept: Vec<(Token, [Arc<[u8]>; 2])>,
    unsent: Unsent,
}

impl Subscribers {
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
        let waiting = self.tell_owners(Some(token), changes);
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

    /// Tells those who own the channels, and all shards of patterns; gives how many will answer.
    fn tell_owners(
        &mut self,
        connection: Option<Token>,
        changes: Vec<SubscriptionChange>,
    ) -> usize {
        self.flush_batches();
        let mut by_shard: Vec<Vec<SubscriptionChange>> = vec![Vec::new(); self.slots.shards()];
        for change in changes {
            match change.topic {
                Topic::Pattern => by_shard.iter_mut().for_each(|all| all.push(change.clone())),
                Topic::Channel if is_event_channel(&change.name) => {
                    by_shard.iter_mut().for_each(|all| all.push(change.clone()));
                }
                _ => by_shard[self.slots.owner_of(&change.name)].push(change),
            }
        }
        let mut told = 0;
        let from = self.index;
        for (shard, changes) in by_shard.into_iter().enumerate().filter(|(_, c)| !c.is_empty()) {
            let listening = Listening { from, connection, changes };
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

    fn note_listeners(&mut self, listening: &Listening) {
        let channels = &mut self.shard.keyspace.channels;
        for change in &listening.changes {
            let SubscriptionChange { topic, name, more } = change;
            let copied = *topic == Topic::Channel && self.slots.owner_of(name) != self.index;
            match copied {
                true => channels.listen_elsewhere(name, listening.from, *more),
                false => channels.listen(*topic, name, listening.from, *more),
            }
        }
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
        self.tell_owners(None, changes);
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
                self.subscribers.kept.push((token, bytes));
            }
        }
    }

    fn push_bytes(&mut self, conn: &mut Conn, bytes: &[u8]) {
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
        for (token, bytes) in std::mem::take(&mut self.subscribers.kept) {
            if let Some(mut conn) = self.take(token) {
                let at = usize::from(conn.session.protocol == Protocol::Resp3);
                self.push_bytes(&mut conn, &bytes[at]);
                self.put(token, conn);
            }
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

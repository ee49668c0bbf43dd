//! Who listens to the channels that a shard owns, and what is published to them.
//!
//! A channel belongs to the shard to which a key of its name would belong. Its owner knows how many
//! clients on each shard listen to it, so a message costs one look-up and one message to each of those
//! shards. Patterns may match any channel: every shard knows all of them. So it does with the channels
//! of keyspace events, to which all shards publish (see `events`).
//!
//! What a command publishes stands in an outbox until the whole command, block or transaction is
//! done; then it is sent. So nobody hears of half a transaction.
//!
//! Absent: the clients themselves, which their own shards know (`net::subscribers`).

use crate::config::EventClasses;
use crate::data::glob;
use crate::session::{Name, Topic};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// How many clients listen, by shard.
type Listeners = SmallVec<[(u16, u32); 2]>;

/// A message on its way to the shards where somebody listens.
#[derive(Debug)]
pub struct Published {
    pub channel: Box<[u8]>,
    pub message: Box<[u8]>,
    pub sharded: bool,
    pub shards: SmallVec<[u16; 8]>,
    /// The hash of the key whose event it is: those of one key stay in their order.
    pub about: Option<u64>,
}

/// A message for another shard to send: the owner of its channel, or of the key whose event it is.
#[derive(Debug)]
pub struct Foreign {
    pub channel: Box<[u8]>,
    pub message: Box<[u8]>,
    pub sharded: bool,
    pub about: Option<Box<[u8]>>,
}

impl Foreign {
    /// The channel or key by which it is known who sends it.
    pub fn home(&self) -> &[u8] {
        self.about.as_ref().unwrap_or(&self.channel)
    }
}

type Names = HashMap<Name, Listeners, ahash::RandomState>;

/// The channels of one shard.
#[derive(Default)]
pub struct Channels {
    channels: Names,
    sharded: Names,
    patterns: Names,
    /// Channels of keyspace events that other shards own.
    copies: Names,
    outbox: Vec<Arc<Published>>,
    /// Keys or channels of other shards are in use here.
    block: bool,
    /// How many listen to other shards' channels, while a block that publishes there runs here.
    borrowed: HashMap<(bool, Box<[u8]>), u64>,
    pub(super) foreign: Vec<Foreign>,
    /// The keyspace events to publish.
    pub(super) wanted: EventClasses,
}

impl Channels {
    /// One client more on `shard` listens, or one less.
    pub fn listen(&mut self, topic: Topic, name: &Name, shard: usize, more: bool) {
        let names = match topic {
            Topic::Channel => &mut self.channels,
            Topic::Sharded => &mut self.sharded,
            Topic::Pattern => &mut self.patterns,
        };
        note(names, name, shard, more);
    }

    /// As [`Channels::listen`], to a channel of keyspace events that another shard owns.
    pub fn listen_elsewhere(&mut self, name: &Name, shard: usize, more: bool) {
        note(&mut self.copies, name, shard, more);
    }

    /// Puts a message into the outbox; answers how many clients it is for.
    pub fn publish(&mut self, channel: &[u8], message: &[u8], sharded: bool) -> u64 {
        if !self.borrowed.is_empty()
            && let Some(&count) = self.borrowed.get(&(sharded, Box::from(channel)))
        {
            let (channel, message) = (channel.into(), message.into());
            self.foreign.push(Foreign { channel, message, sharded, about: None });
            return count;
        }
        self.put_out(channel, message, sharded, None)
    }

    /// Puts a message into the outbox that is about the key with this hash.
    pub fn publish_about(&mut self, channel: &[u8], message: &[u8], about: Option<u64>) {
        self.put_out(channel, message, false, about);
    }

    fn put_out(
        &mut self,
        channel: &[u8],
        message: &[u8],
        sharded: bool,
        about: Option<u64>,
    ) -> u64 {
        let mut shards = SmallVec::new();
        let clients = self.listeners(channel, sharded, &mut |shard| {
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        });
        if clients > 0 {
            let (channel, message) = (channel.into(), message.into());
            self.outbox.push(Arc::new(Published { channel, message, sharded, shards, about }));
        }
        clients
    }

    /// How many clients get what is published to a channel; calls `each` with their shards.
    fn listeners(&self, channel: &[u8], sharded: bool, each: &mut dyn FnMut(u16)) -> u64 {
        let names = if sharded { &self.sharded } else { &self.channels };
        let copied = self.copies.get(channel).filter(|_| !sharded);
        let direct = names.get(channel).into_iter().chain(copied);
        let patterns = self.patterns.iter().filter(|_| !sharded);
        let matching = patterns.filter(|(name, _)| glob::matches(name, channel));
        let mut clients = 0;
        for &(shard, count) in direct.chain(matching.map(|(_, listeners)| listeners)).flatten() {
            each(shard);
            clients += u64::from(count);
        }
        clients
    }

    /// How many clients would get a message.
    pub fn receivers(&self, channel: &[u8], sharded: bool) -> u64 {
        self.listeners(channel, sharded, &mut |_| {})
    }

    /// How many clients listen to a channel by its name.
    pub fn subscribers(&self, channel: &[u8], sharded: bool) -> u64 {
        let names = if sharded { &self.sharded } else { &self.channels };
        let listeners = names.get(channel).into_iter().flatten();
        listeners.map(|(_, count)| u64::from(*count)).sum()
    }

    /// The channels to which somebody listens.
    pub fn names(&self, sharded: bool) -> impl Iterator<Item = &[u8]> {
        let names = if sharded { &self.sharded } else { &self.channels };
        names.keys().map(|name| &name[..])
    }

    /// Channels with listeners; sharded ones; patterns.
    pub fn counts(&self) -> [u64; 3] {
        [self.channels.len(), self.sharded.len(), self.patterns.len()].map(|n| n as u64)
    }

    /// Whether there is something to send.
    #[inline]
    pub fn has_mail(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// How many messages wait to be sent, here and by others.
    pub(super) fn mail(&self) -> (usize, usize) {
        (self.outbox.len(), self.foreign.len())
    }

    /// Only so many messages were published, the first ones.
    pub(super) fn take_back(&mut self, outbox: usize, foreign: usize) {
        self.outbox.truncate(outbox);
        self.foreign.truncate(foreign);
    }

    pub fn take_outbox(&mut self) -> Vec<Arc<Published>> {
        std::mem::take(&mut self.outbox)
    }

    /// All that is known leaves; what stays has no listeners.
    pub(super) fn lend(&mut self) -> Channels {
        let stand_in = Channels { wanted: self.wanted, ..Channels::default() };
        std::mem::replace(self, stand_in)
    }

    /// What was lent is back.
    pub(super) fn accept(&mut self, lent: Channels) {
        // Which events are wanted may have been changed meanwhile.
        *self = Channels { wanted: self.wanted, ..lent };
    }

    /// Until [`Channels::end_block`], keys or channels of other shards are in use.
    pub fn begin_block(&mut self) {
        self.block = true;
    }

    pub(super) fn is_block_running(&self) -> bool {
        self.block
    }

    /// Until [`Channels::end_block`], how many listen to a channel of another shard.
    pub fn borrow(&mut self, channel: &[u8], sharded: bool, clients: u64) {
        self.borrowed.insert((sharded, channel.into()), clients);
    }

    /// What has been published to borrowed channels, which are given back, and the events of keys.
    pub fn end_block(&mut self) -> Vec<Foreign> {
        self.block = false;
        self.borrowed.clear();
        std::mem::take(&mut self.foreign)
    }
}

fn note(names: &mut Names, name: &Name, shard: usize, more: bool) {
    if more {
        return count(names.entry(name.clone()).or_default(), shard, true);
    }
    let Some(listeners) = names.get_mut(name) else { return };
    count(listeners, shard, false);
    if listeners.is_empty() {
        names.remove(name);
    }
}

pub fn count(listeners: &mut Listeners, shard: usize, more: bool) {
    let shard = shard as u16;
    match listeners.iter().position(|(own, _)| *own == shard) {
        Some(at) if more => listeners[at].1 += 1,
        Some(at) => {
            listeners[at].1 -= 1;
            if listeners[at].1 == 0 {
                listeners.swap_remove(at);
            }
        }
        None if more => listeners.push((shard, 1)),
        None => debug_assert!(false, "who leaves has come"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.as_bytes().into()
    }

    #[test]
    fn a_message_goes_to_each_shard_once_and_counts_each_listener() {
        let mut channels = Channels::default();
        for (topic, text, shard) in [
            (Topic::Channel, "news", 0),
            (Topic::Channel, "news", 2),
            (Topic::Channel, "news", 2),
            (Topic::Pattern, "n*", 2),
            (Topic::Pattern, "n*", 3),
            (Topic::Pattern, "x*", 5),
            (Topic::Sharded, "news", 7),
        ] {
            channels.listen(topic, &name(text), shard, true);
        }
        assert_eq!(channels.publish(b"news", b"hi", false), 5);
        assert_eq!(channels.publish(b"none", b"hi", true), 0);
        assert_eq!(channels.publish(b"news", b"hi", true), 1);
        let sent: Vec<_> = channels.take_outbox().iter().map(|m| m.shards.to_vec()).collect();
        assert_eq!(sent, [vec![0, 2, 3], vec![7]]);
        assert!(!channels.has_mail());
        assert_eq!(channels.subscribers(b"news", false), 3);
        assert_eq!(channels.counts(), [1, 1, 2]);
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let mut channels = Channels::default();
        for topic in [Topic::Channel, Topic::Pattern, Topic::Sharded] {
            for more in [true, true, false, false] {
                channels.listen(topic, &name("a"), 1, more);
            }
        }
        assert_eq!(channels.counts(), [0, 0, 0]);
        assert_eq!(channels.publish(b"a", b"x", false), 0);
    }

    #[test]
    fn a_copy_is_published_to_and_not_told_of() {
        let mut channels = Channels::default();
        channels.listen_elsewhere(&name("__keyevent@0__:del"), 3, true);
        channels.listen(Topic::Pattern, &name("__key*"), 1, true);
        channels.publish_about(b"__keyevent@0__:del", b"k", Some(7));
        let sent: Vec<_> = channels.take_outbox();
        assert_eq!((sent[0].shards.to_vec(), sent[0].about), (vec![3, 1], Some(7)));
        assert_eq!(channels.names(false).count(), 0);
        assert_eq!(channels.counts(), [0, 0, 1]);
        assert_eq!(channels.subscribers(b"__keyevent@0__:del", false), 0);
        assert_eq!(channels.receivers(b"__keyevent@0__:del", true), 0);
        channels.listen_elsewhere(&name("__keyevent@0__:del"), 3, false);
        assert_eq!(channels.receivers(b"__keyevent@0__:del", false), 1);
    }

    #[test]
    fn a_borrowed_channel_is_written_to_by_its_owner() {
        let mut channels = Channels::default();
        channels.borrow(b"far", false, 4);
        assert_eq!(channels.publish(b"far", b"m", false), 4);
        assert_eq!(channels.publish(b"far", b"m", true), 0);
        assert!(!channels.has_mail());
        let foreign = channels.end_block();
        assert_eq!((&*foreign[0].channel, &*foreign[0].message), (&b"far"[..], &b"m"[..]));
        assert_eq!(channels.publish(b"far", b"m", false), 0);
    }
}

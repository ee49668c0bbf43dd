//! Keyspace events: what happens to keys, published to those who listen for it.
//!
//! ```text
//!   Keys::notify(class, event, key)            a command says what it has done
//!     │ nothing is wanted: one branch
//!     └─ Channels::raise ──┬─ __keyspace@<db>__:<key>     <event>
//!                          └─ __keyevent@<db>__:<event>   <key>
//! ```
//!
//! Every shard knows who listens to these channels, as it knows the patterns; so the shard where
//! a key lives publishes the key's events itself, and they come in the order in which they
//! were raised. What happens to a key in the hands of another shard is sent by its owner when the key
//! is back.
//!
//! Commands raise their own events, each at its place among the changes. What no command knows is raised
//! here and in the keyspace: keys that come (`new`), that have expired (`expired`, for fields
//! `hexpired`), and reads that miss (`keymiss`).
//!
//! Absent: events of what has no key (FLUSHALL, SWAPDB), as in Redis.

use super::channels::{Channels, Foreign};
use super::keyspace::{Keys, Keyspace};
use crate::config::{EventClass, EventClasses};
use crate::data::Entry;

/// Whether a channel's messages are keyspace events, which come from any shard.
pub fn is_event_channel(name: &[u8]) -> bool {
    name.starts_with(b"__keyspace@") || name.starts_with(b"__keyevent@")
}

/// What has happened to a key.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub class: EventClass,
    pub name: &'static str,
    pub db: usize,
    pub key: &'a [u8],
    pub hash: u64,
}

impl Channels {
    /// Publishes an event where it is wanted.
    pub(super) fn raise(&mut self, event: Event) {
        if !self.wanted.has(event.class) {
            return;
        }
        let Event { name, db, key, .. } = event;
        if self.wanted.keyspace() {
            self.publish_event(event, ("__keyspace@", key), name.as_bytes(), db);
        }
        if self.wanted.keyevent() {
            self.publish_event(event, ("__keyevent@", name.as_bytes()), key, db);
        }
    }

    fn publish_event(&mut self, event: Event, (kind, what): (&str, &[u8]), text: &[u8], db: usize) {
        let mut number = itoa::Buffer::new();
        let number = number.format(db);
        let channel = [kind.as_bytes(), number.as_bytes(), b"__:", what].concat();
        if !self.is_block_running() {
            self.publish_about(&channel, text, Some(event.hash));
        } else if self.receivers(&channel, false) > 0 {
            // Whose key it is, and who is to send it, is seen when the keys are given back.
            let (channel, message) = (channel.into(), text.into());
            let about = Some(event.key.into());
            self.foreign.push(Foreign { channel, message, sharded: false, about });
        }
    }
}

impl Keyspace {
    /// Which events are wanted from now on.
    pub fn want_events(&mut self, wanted: EventClasses) {
        self.notifies = wanted.any();
        self.channels.wanted = wanted;
    }

    /// Publishes what another shard has left to this one.
    pub fn publish_foreign(&mut self, foreign: Foreign) {
        let Foreign { channel, message, sharded, about } = foreign;
        match about {
            Some(key) => {
                let hash = self.hash(&key);
                self.channels.publish_about(&channel, &message, Some(hash));
            }
            None => drop(self.channels.publish(&channel, &message, sharded)),
        }
    }
}

impl Keys<'_> {
    /// The channels of this shard.
    pub fn channels(&mut self) -> &mut Channels {
        &mut self.space.channels
    }

    /// Says that something has happened to a key.
    #[inline]
    pub fn notify(&mut self, class: EventClass, event: &'static str, key: &[u8]) {
        if self.space.notifies {
            self.raise(class, event, key);
        }
    }

    /// Removes a key and says so; whether there was one.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let removed = self.remove(key);
        if removed {
            self.notify(EventClass::Generic, "del", key);
        }
        removed
    }

    /// Puts nothing in the place of what is at a key, and says so; whether there was something. As in
    /// Redis, nobody asks whether its time was over.
    pub fn replace_by_nothing(&mut self, key: &[u8]) -> bool {
        let cleared = self.clear(key);
        if cleared {
            self.notify(EventClass::Generic, "del", key);
        }
        cleared
    }

    #[cold]
    fn raise(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        let (db, hash) = (self.db, self.space.hash(key));
        self.space.channels.raise(Event { class, name, db, key, hash });
    }
}

/// An entry whose time was over is gone: its key's, or that of all parts of its value.
#[cold]
pub(super) fn raise_expired(
    channels: &mut Channels,
    (db, hash): (usize, u64),
    gone: &Entry,
    now: i64,
) {
    let key = gone.key();
    let mut raise = |class, name| channels.raise(Event { class, name, db, key, hash });
    match gone.expire_at().is_some_and(|at| now > at) {
        true => raise(EventClass::Expired, "expired"),
        false => {
            raise(EventClass::Hash, "hexpired");
            raise(EventClass::Generic, "del");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ShardStats;
    use crate::session::{Name, Topic};
    use crate::shard::{Access, Expiry};
    use std::sync::Arc;

    fn keyspace(classes: &[u8]) -> Keyspace {
        let mut space = Keyspace::new(1, Access::Lru, Arc::new(ShardStats::new(1, 16)));
        space.want_events(EventClasses::parse(classes).unwrap());
        space.channels.listen(Topic::Pattern, &Name::from(b"__key*".as_slice()), 0, true);
        space
    }

    /// What has been published since the last look, a word each.
    fn heard(space: &mut Keyspace) -> String {
        let all = space.channels.take_outbox();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let one =
            |p: &Arc<super::super::Published>| text(&p.channel[10..]) + "=" + &text(&p.message);
        all.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_that_come_expire_or_are_missed_are_told_of() {
        let mut space = keyspace(b"KAnm");
        let mut keys = space.keys(3, 1000, true);
        keys.set_string(b"a", b"1", Expiry::At(1500));
        keys.set_string(b"a", b"2", Expiry::Keep);
        keys.insert(Entry::string(b"b", b"1", Some(1500)));
        keys.insert(Entry::string(b"b", b"2", Some(1500)));
        assert_eq!(heard(&mut space), "@3__:a=new @3__:b=new");
        let mut keys = space.keys(3, 1501, true);
        assert!(keys.get(b"a").is_none() && keys.get_mut(b"a").is_none());
        assert!(keys.inspect_quietly(b"a").is_none() && !keys.contains(b"a"));
        keys.insert(Entry::string(b"b", b"3", None));
        assert_eq!(heard(&mut space), "@3__:a=expired @3__:a=keymiss @3__:b=expired @3__:b=new");
        let mut keys = space.keys(3, 1501, true);
        let entry = keys.lend(b"b").unwrap();
        keys.take_back(entry);
        keys.insert_anew(Entry::string(b"b", b"4", Some(1600)));
        assert_eq!(heard(&mut space), "@3__:b=new");
        let mut keys = space.keys(3, 1601, true);
        assert!(!keys.delete(b"b") && !keys.replace_by_nothing(b"b"));
        keys.set_string(b"c", b"1", Expiry::At(1700));
        assert!(space.keys(3, 1701, true).replace_by_nothing(b"c"));
        assert_eq!(heard(&mut space), "@3__:b=expired @3__:c=new @3__:c=del");
    }

    #[test]
    fn only_what_is_wanted_is_published() {
        for (classes, expected) in [
            ("KE$", "@0__:k=set @0__:set=k"),
            ("E$g", "@0__:set=k @0__:del=k"),
            ("Kg", "@0__:k=del"),
            ("KEl", ""),
            ("A", ""),
        ] {
            let mut space = keyspace(classes.as_bytes());
            let mut keys = space.keys(0, 0, true);
            keys.notify(EventClass::String, "set", b"k");
            keys.notify(EventClass::Generic, "del", b"k");
            assert_eq!(heard(&mut space), expected, "{classes}");
        }
    }

    #[test]
    fn events_among_borrowed_keys_wait_to_be_given_back() {
        let mut space = keyspace(b"KA");
        space.channels.begin_block();
        space.keys(0, 0, true).notify(EventClass::String, "set", b"k");
        assert_eq!(heard(&mut space), "");
        let foreign = space.channels.end_block();
        assert_eq!(foreign[0].home(), b"k");
        foreign.into_iter().for_each(|foreign| space.publish_foreign(foreign));
        let hash = space.hash(b"k");
        let sent = space.channels.take_outbox();
        assert_eq!((sent.len(), sent[0].about, &*sent[0].message), (1, Some(hash), &b"set"[..]));
    }
}

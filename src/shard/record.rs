//! What a shard's commands have done is recorded, for the files and for whoever follows.
//!
//! A command that has changed something is recorded as it was given, unless it says what else has
//! the same effect whenever it is run ([`Keys::effect`]). Keys whose time is over are recorded as
//! deleted when they go, before what the command does that has met them.

use super::SlotTable;
use super::keyspace::{Keys, Keyspace};
use crate::journal::Effects;

/// The time at which recorded effects are run again: nothing has expired then, and the times that
/// commands give are taken as they are.
pub const NO_CLOCK: i64 = 0;

/// Things that one recorded command names; even, since some come in pairs.
pub const THINGS_MAX: usize = 1024;

/// Records effects, each with the shard whose key it is about.
pub struct Recorder {
    pub effects: Effects,
    slots: SlotTable,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder { effects: Effects::default(), slots: SlotTable::contiguous(1) }
    }
}

impl Recorder {
    #[inline]
    pub fn is_on(&self) -> bool {
        self.effects.is_on()
    }

    /// Whose key this is. Keys of several shards are at hand in a unit only.
    pub fn owner_of(&self, key: &[u8]) -> usize {
        match self.effects.is_in_unit() {
            true if self.slots.shards() > 1 => self.slots.owner_of(key),
            _ => self.effects.shard(),
        }
    }

    /// A key has gone whose time was over.
    #[cold]
    pub(super) fn expired(&mut self, db: usize, key: &[u8]) {
        let owner = self.owner_of(key);
        self.effects.record(owner, db, [b"DEL".as_slice(), key].into_iter());
    }

    /// A key has gone to make room.
    pub(super) fn evicted(&mut self, db: usize, key: &[u8], lazy: bool) {
        if self.is_on() {
            let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            let owner = self.owner_of(key);
            self.effects.record(owner, db, [name, key].into_iter());
        }
    }

    /// Fields of the hash at a key have gone whose time was over.
    #[cold]
    pub(super) fn expired_fields(&mut self, db: usize, key: &[u8], fields: &[Box<[u8]>]) {
        let owner = self.owner_of(key);
        for part in fields.chunks(THINGS_MAX) {
            let head = [b"HDEL".as_slice(), key];
            let words: Vec<&[u8]> = head.into_iter().chain(part.iter().map(|f| &**f)).collect();
            self.effects.record(owner, db, words.into_iter());
        }
    }
}

impl Keyspace {
    /// Records effects from now on.
    pub fn record_effects(&mut self, shard: usize, slots: &SlotTable) {
        self.recorder.slots = slots.clone();
        self.recorder.effects.switch_on(shard);
    }
}

impl Keys<'_> {
    /// Whether effects are recorded at all; who computes them asks first.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.space.recorder.is_on()
    }

    /// What the running command has done to `key` of this database, in place of the command as it
    /// was given: a command that has the same effect whenever it is run, on this key alone. May be
    /// called several times.
    pub fn effect(&mut self, key: &[u8], words: &[&[u8]]) {
        let db = self.db;
        let recorder = &mut self.space.recorder;
        if recorder.is_on() {
            recorder.effects.set_given();
            recorder.effects.set_wrote();
            let owner = recorder.owner_of(key);
            recorder.effects.record(owner, db, words.iter().copied());
        }
    }

    /// As [`Keys::effect`], for what is about whole databases: those of the shard whose keys are at
    /// hand.
    pub fn effect_on_all<'w>(&mut self, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        let db = self.db;
        let effects = &mut self.space.recorder.effects;
        if effects.is_on() {
            effects.set_given();
            effects.set_wrote();
            effects.record(effects.shard(), db, words);
        }
    }

    /// As [`Keys::effect`], for a command that may name very many things: as many commands as it
    /// takes, each with the `head` and up to [`THINGS_MAX`] of the `things`.
    pub fn effect_of_many(&mut self, key: &[u8], head: &[&[u8]], things: &[&[u8]]) {
        for part in things.chunks(THINGS_MAX) {
            self.effect(key, &[head, part].concat());
        }
    }

    /// The running command has no effect but those given, if any.
    pub fn no_more_effects(&mut self) {
        self.space.recorder.effects.set_given();
    }

    /// Whether keys belong to one shard, so that one recorded command can name them all.
    pub fn are_together(&self, keys: &[&[u8]]) -> bool {
        let recorder = &self.space.recorder;
        let mut owners = keys.iter().map(|key| recorder.owner_of(key));
        let first = owners.next();
        owners.all(|owner| Some(owner) == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ShardStats;
    use crate::shard::Access;
    use std::sync::Arc;

    fn keyspace(shards: usize) -> Keyspace {
        let mut space = Keyspace::new(1, Access::Lru, Arc::new(ShardStats::new(1, 16)));
        space.record_effects(0, &SlotTable::contiguous(shards));
        space
    }

    #[test]
    fn very_many_things_are_several_commands() {
        let mut space = keyspace(1);
        let things = vec![b"thing".as_slice(); THINGS_MAX * 2 + 1];
        let mut keys = space.keys(0, 0, false);
        keys.effect_of_many(b"k", &[b"SREM", b"k"], &things);
        keys.effect_of_many(b"k", &[b"SREM", b"k"], &[]);
        assert!(space.recorder.effects.take_wrote() && space.recorder.effects.is_given());
        let recorded = space.recorder.effects.take();
        let heads = [format!("*{}\r\n$4\r\nSREM", THINGS_MAX + 2), "*3\r\n$4\r\nSREM".to_string()];
        let recorded = String::from_utf8_lossy(&recorded).into_owned();
        let counts = heads.map(|head| recorded.matches(&head).count());
        assert_eq!((counts, recorded.matches("SREM").count()), ([2, 1], 3));
    }

    #[test]
    fn keyless_effects_are_those_of_the_shard_at_hand() {
        let mut space = keyspace(3);
        space.recorder.effects.begin_unit();
        space.recorder.effects.at_shard(2);
        space.keys(3, 0, false).effect_on_all([b"FLUSHDB".as_slice()].into_iter());
        let unit = space.recorder.effects.end_unit();
        assert_eq!(unit.len(), 1);
        assert!(unit[0].0 == 2 && String::from_utf8_lossy(&unit[0].1).contains("FLUSHDB"));
        assert!(String::from_utf8_lossy(&unit[0].1).starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n3"));
    }

    #[test]
    fn keys_are_together_that_one_shard_owns() {
        let mut space = keyspace(2);
        assert!(space.keys(0, 0, false).are_together(&[b"a", b"b"]), "all that is at hand is ours");
        space.recorder.effects.begin_unit();
        let keys = space.keys(0, 0, false);
        assert!(!keys.are_together(&[b"a", b"b"]) && keys.are_together(&[b"{a}1", b"a"]));
        assert!(keys.are_together(&[]));
    }
}

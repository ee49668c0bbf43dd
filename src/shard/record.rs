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

//! What the commands do, on one thread and with all changes undoable: the model that a search asks.
//!
//! A value is a number: that of its last token behind the value before it. So an append is one look-up, a
//! comparison is one of numbers, and the whole state has a hash that each change brings up to date.

use super::command::{Answer, Command, Key, Token};
use std::collections::HashMap;

/// A value by its number; 0 is none.
pub type ValueId = u32;

pub const ABSENT: ValueId = 0;

/// All values that have come up.
#[derive(Default)]
pub struct Values {
    numbers: HashMap<(ValueId, Token), ValueId, ahash::RandomState>,
    /// What each is made of: the value before its last token, that token, and the length.
    known: Vec<(ValueId, Token, u32)>,
}

impl Values {
    pub fn append(&mut self, value: ValueId, token: Token) -> ValueId {
        let known = &mut self.known;
        *self.numbers.entry((value, token)).or_insert_with(|| {
            let len = value.checked_sub(1).map_or(0, |n| known[n as usize].2);
            known.push((value, token, len + 1));
            known.len() as ValueId
        })
    }

    pub fn of(&mut self, tokens: &[Token]) -> ValueId {
        tokens.iter().fold(ABSENT, |value, token| self.append(value, *token))
    }

    /// The tokens of a value.
    fn tokens(&self, mut value: ValueId) -> Vec<Token> {
        let mut tokens = Vec::new();
        while let Some(n) = value.checked_sub(1) {
            let (before, token, _) = self.known[n as usize];
            tokens.push(token);
            value = before;
        }
        tokens.reverse();
        tokens
    }

    /// A value as a client is told it.
    fn answer(&self, value: ValueId) -> Answer {
        match value {
            ABSENT => Answer::Nil,
            value => Answer::Value(self.tokens(value)),
        }
    }

    pub fn len(&self, value: ValueId) -> i64 {
        value.checked_sub(1).map_or(0, |n| i64::from(self.known[n as usize].2))
    }
}

/// An answer to compare with, its values as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    Ok,
    Int(i64),
    /// The values that were read; 0 for nil.
    Values(Vec<ValueId>),
    Keys(Vec<Key>),
    Missing,
}

impl Expected {
    pub fn new(answer: &Answer, values: &mut Values) -> Expected {
        match answer {
            Answer::Ok => Expected::Ok,
            Answer::Nil => Expected::Values(vec![ABSENT]),
            Answer::Int(n) => Expected::Int(*n),
            Answer::Value(tokens) => Expected::Values(vec![values.of(tokens)]),
            Answer::Values(all) => {
                let value =
                    |tokens: &Option<Vec<Token>>| values.of(tokens.as_deref().unwrap_or(&[]));
                Expected::Values(all.iter().map(value).collect())
            }
            Answer::Keys(keys) => Expected::Keys(keys.clone()),
            Answer::Missing => Expected::Missing,
        }
    }

    /// What a client is told that has asked for several values, or for one.
    pub fn answer(&self, values: &Values, several: bool) -> Answer {
        match self {
            Expected::Ok => Answer::Ok,
            Expected::Int(n) => Answer::Int(*n),
            Expected::Values(all) if several => {
                let value = |id: &ValueId| (*id != ABSENT).then(|| values.tokens(*id));
                Answer::Values(all.iter().map(value).collect())
            }
            Expected::Values(all) => values.answer(all[0]),
            Expected::Keys(keys) => Answer::Keys(keys.clone()),
            Expected::Missing => Answer::Missing,
        }
    }
}

/// What a client watches from a first WATCH to an EXEC.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    pub watched: Vec<(u8, Key)>,
    /// Something of it has changed.
    pub dirty: bool,
}

/// How to take a change back.
enum Undo {
    Cell(u8, Key, ValueId),
    Swap(u8, u8),
    Watch(u32, Watch),
    Dirty(u32),
}

/// What is known beforehand about a value that comes up once and never again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    /// Operations that see it and have not been carried out.
    pub waiting: u32,
    /// The one that writes behind it.
    pub next: Option<u32>,
}

/// The state of the server.
pub struct Model {
    pub values: Values,
    /// By value; those without one may come and go.
    pub guards: Vec<Guard>,
    /// The operation that is being carried out.
    pub current: u32,
    /// It has written over a value that others must see or write behind.
    pub trespassed: bool,
    dbs: Vec<Vec<ValueId>>,
    /// Keys that are there, by database.
    counts: Vec<i64>,
    watches: Vec<Watch>,
    /// Who watches a key.
    watched: HashMap<(u8, Key), Vec<u32>, ahash::RandomState>,
    undo: Vec<Undo>,
    /// Of all keys and of what is dirty.
    pub hash: u128,
}

/// Spreads a small number over all bits.
pub fn scatter(n: u64) -> u128 {
    let half = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let first = half(n.wrapping_add(0x9e37_79b9_7f4a_7c15));
    let second = half(n.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0xa5a5_a5a5_5a5a_5a5a);
    u128::from(first) << 64 | u128::from(second)
}

fn cell_hash(db: u8, key: Key, value: ValueId) -> u128 {
    match value {
        ABSENT => 0,
        value => scatter(u64::from(db) << 60 | u64::from(key) << 32 | u64::from(value)),
    }
}

fn dirty_hash(watch: u32) -> u128 {
    scatter(u64::MAX - u64::from(watch))
}

impl Model {
    pub fn new(watches: usize, dbs: usize, keys: usize) -> Model {
        Model {
            values: Values::default(),
            guards: Vec::new(),
            current: 0,
            trespassed: false,
            dbs: vec![vec![ABSENT; keys]; dbs],
            counts: vec![0; dbs],
            watches: vec![Watch::default(); watches],
            watched: HashMap::default(),
            undo: Vec::new(),
            hash: 0,
        }
    }

    pub fn state(&self, watch: u32) -> &Watch {
        &self.watches[watch as usize]
    }

    /// Where the changes stand, to go back there.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    pub fn go_back(&mut self, mark: usize) {
        while self.undo.len() > mark {
            match self.undo.pop().expect("longer than the mark") {
                Undo::Cell(db, key, old) => self.put(db, key, old),
                Undo::Swap(a, b) => self.exchange(a, b),
                Undo::Watch(watch, old) => drop(self.replace_watch(watch, old)),
                Undo::Dirty(watch) => {
                    self.watches[watch as usize].dirty = false;
                    self.hash ^= dirty_hash(watch);
                }
            }
        }
    }

    /// The value of a key, for reports.
    pub fn show(&self, db: u8, key: Key) -> Answer {
        self.values.answer(self.get(db, key))
    }

    fn put(&mut self, db: u8, key: Key, value: ValueId) {
        let cell = &mut self.dbs[db as usize][key as usize];
        let old = std::mem::replace(cell, value);
        self.hash ^= cell_hash(db, key, old) ^ cell_hash(db, key, value);
        self.counts[db as usize] += i64::from(value != ABSENT) - i64::from(old != ABSENT);
    }

    fn replace_watch(&mut self, watch: u32, new: Watch) -> Watch {
        let slot = &mut self.watches[watch as usize];
        if slot.dirty != new.dirty {
            self.hash ^= dirty_hash(watch);
        }
        for place in &slot.watched {
            let watches = self.watched.get_mut(place).expect("what is watched is known");
            watches.retain(|other| *other != watch);
            if watches.is_empty() {
                self.watched.remove(place);
            }
        }
        for place in &new.watched {
            self.watched.entry(*place).or_default().push(watch);
        }
        std::mem::replace(slot, new)
    }

    fn change_watch(&mut self, watch: u32, change: impl FnOnce(&mut Watch)) {
        let mut new = self.watches[watch as usize].clone();
        change(&mut new);
        let old = self.replace_watch(watch, new);
        self.undo.push(Undo::Watch(watch, old));
    }

    pub fn watch(&mut self, watch: u32, db: u8, keys: &[Key]) {
        self.change_watch(watch, |watch| {
            watch.watched.extend(keys.iter().map(|key| (db, *key)));
        });
    }

    pub fn unwatch(&mut self, watch: u32) {
        let own = &self.watches[watch as usize];
        if own.dirty || !own.watched.is_empty() {
            self.change_watch(watch, |watch| {
                watch.watched.clear();
                watch.dirty = false;
            });
        }
    }

    fn touch(&mut self, db: u8, key: Key) {
        for watch in self.watched.get(&(db, key)).map_or(&[][..], Vec::as_slice) {
            let state = &mut self.watches[*watch as usize];
            if !state.dirty {
                state.dirty = true;
                self.hash ^= dirty_hash(*watch);
                self.undo.push(Undo::Dirty(*watch));
            }
        }
    }

    fn get(&self, db: u8, key: Key) -> ValueId {
        self.dbs[db as usize][key as usize]
    }

    fn set(&mut self, db: u8, key: Key, value: ValueId) {
        let old = self.get(db, key);
        if let Some(guard) = self.guards.get(old as usize) {
            let may_write = guard.next.is_none_or(|next| next == self.current);
            self.trespassed |= guard.waiting > 0 || !may_write;
        }
        self.touch(db, key);
        self.undo.push(Undo::Cell(db, key, old));
        self.put(db, key, value);
    }

    /// Removes a key; answers whether it was there.
    fn remove(&mut self, db: u8, key: Key) -> bool {
        let is_there = self.get(db, key) != ABSENT;
        if is_there {
            self.set(db, key, ABSENT);
        }
        is_there
    }

    fn flush(&mut self, db: u8) {
        if self.counts[db as usize] > 0 {
            for key in 0..self.dbs[db as usize].len() as Key {
                self.remove(db, key);
            }
        }
    }

    fn exchange(&mut self, a: u8, b: u8) {
        let (a, b) = (a.min(b), a.max(b));
        let hashes = |model: &Model| {
            let of = |db: u8| {
                let cells = (0..).zip(&model.dbs[db as usize]);
                cells.fold(0, |sum, (key, value)| sum ^ cell_hash(db, key, *value))
            };
            of(a) ^ of(b)
        };
        self.hash ^= hashes(self);
        self.dbs.swap(a as usize, b as usize);
        self.counts.swap(a as usize, b as usize);
        self.hash ^= hashes(self);
    }

    /// Those who watch a key that is in one of two databases see it change when they are swapped.
    fn swap(&mut self, a: u8, b: u8) {
        if a == b {
            return;
        }
        let watched: Vec<(u8, Key)> = self.watched.keys().copied().collect();
        for (db, key) in watched {
            let is_there = self.get(a, key) != ABSENT || self.get(b, key) != ABSENT;
            if (db == a || db == b) && is_there {
                self.touch(db, key);
            }
        }
        self.exchange(a, b);
        self.undo.push(Undo::Swap(a, b));
    }

    /// Carries out a command in a database and answers.
    pub fn run(&mut self, db: u8, command: &Command) -> Expected {
        match command {
            Command::Get(key) => Expected::Values(vec![self.get(db, *key)]),
            Command::MGet(keys) => {
                Expected::Values(keys.iter().map(|key| self.get(db, *key)).collect())
            }
            Command::Strlen(key) => Expected::Int(self.values.len(self.get(db, *key))),
            Command::Exists(keys) => {
                let there = keys.iter().filter(|key| self.get(db, **key) != ABSENT).count();
                Expected::Int(there as i64)
            }
            Command::DbSize => Expected::Int(self.counts[db as usize]),
            Command::Keys => {
                let cells = (0..).zip(&self.dbs[db as usize]);
                let there = cells.filter(|(_, value)| **value != ABSENT).map(|(key, _)| key);
                Expected::Keys(there.collect())
            }
            // Where the next commands run is the caller's business.
            Command::Select(_) => Expected::Ok,
            _ => self.write(db, command),
        }
    }

    fn write(&mut self, db: u8, command: &Command) -> Expected {
        match command {
            Command::Set(key, token) => {
                self.set_token(db, *key, *token);
                Expected::Ok
            }
            Command::SetGet(key, token) => {
                let old = self.get(db, *key);
                self.set_token(db, *key, *token);
                Expected::Values(vec![old])
            }
            Command::Append(key, token) => {
                let value = self.values.append(self.get(db, *key), *token);
                self.set(db, *key, value);
                Expected::Int(self.values.len(value))
            }
            Command::MSet(pairs) => {
                pairs.iter().for_each(|(key, token)| self.set_token(db, *key, *token));
                Expected::Ok
            }
            Command::MSetNx(pairs) => {
                let free = pairs.iter().all(|(key, _)| self.get(db, *key) == ABSENT);
                if free {
                    pairs.iter().for_each(|(key, token)| self.set_token(db, *key, *token));
                }
                Expected::Int(i64::from(free))
            }
            Command::GetDel(key) => {
                let old = self.get(db, *key);
                self.remove(db, *key);
                Expected::Values(vec![old])
            }
            Command::Del(keys) => {
                Expected::Int(keys.iter().filter(|key| self.remove(db, **key)).count() as i64)
            }
            Command::Rename(from, to) | Command::RenameNx(from, to) | Command::Copy(from, to) => {
                self.carry(db, command, *from, *to)
            }
            Command::FlushDb => {
                self.flush(db);
                Expected::Ok
            }
            Command::FlushAll => {
                (0..self.dbs.len()).for_each(|db| self.flush(db as u8));
                Expected::Ok
            }
            Command::SwapDb(a, b) => {
                self.swap(*a, *b);
                Expected::Ok
            }
            _ => unreachable!("the reads are done"),
        }
    }

    fn set_token(&mut self, db: u8, key: Key, token: Token) {
        let value = self.values.append(ABSENT, token);
        self.set(db, key, value);
    }

    /// RENAME, RENAMENX and COPY of two different keys.
    fn carry(&mut self, db: u8, command: &Command, from: Key, to: Key) -> Expected {
        let value = self.get(db, from);
        let taken = self.get(db, to) != ABSENT;
        match command {
            Command::Copy(..) if value == ABSENT => return Expected::Int(0),
            _ if value == ABSENT => return Expected::Missing,
            Command::RenameNx(..) if taken => return Expected::Int(0),
            _ => {}
        }
        self.set(db, to, value);
        if matches!(command, Command::Copy(..)) {
            return Expected::Int(1);
        }
        self.remove(db, from);
        match command {
            Command::Rename(..) => Expected::Ok,
            _ => Expected::Int(1),
        }
    }
}

//! Random programs of clients, on few keys that all want.

use super::command::{Command, Key, Token};
use super::conversation::{Names, Request};
use super::history::Action;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// How often each sort of request comes, against the others.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// One key: GET, SET, APPEND, ...
    pub single: u32,
    /// A part for each key: MGET, MSET, DEL, EXISTS.
    pub split: u32,
    /// Several keys at once: MSETNX, RENAME, COPY.
    pub joint: u32,
    /// RENAME and COPY among those, and SWAPDB in blocks: values come to keys for which they were not
    /// written, and tell less.
    pub carries: bool,
    /// All keys: FLUSHALL, DBSIZE, KEYS.
    pub whole: u32,
    /// SWAPDB, and SELECT to be elsewhere afterwards.
    pub databases: u32,
    /// MULTI, EXEC, and at times DISCARD, with commands of all sorts inside.
    pub blocks: u32,
    /// Lua scripts of such commands.
    pub scripts: u32,
    /// Lua scripts that compute the names of their keys.
    pub computed: u32,
    /// WATCH, reads, MULTI, EXEC.
    pub watches: u32,
    /// Of 256 writes of one key, how many are APPEND.
    pub appends: u8,
}

/// Everything.
pub const ALL: Mix = Mix {
    single: 8,
    split: 8,
    joint: 5,
    carries: true,
    whole: 2,
    databases: 1,
    blocks: 8,
    scripts: 4,
    computed: 2,
    watches: 4,
    appends: 128,
};

/// Only what leaves values that tell who wrote what: an order can be read off long histories.
pub const TRACED: Mix = Mix { carries: false, databases: 0, whole: 1, appends: 224, ..ALL };

/// The keys in use: few, of which the first are wanted most. After so many writes one is
/// retired and another takes its place, so that a long history is one of many short ones.
pub struct Keys {
    in_use: Vec<(AtomicU32, AtomicU32)>,
    next: AtomicU32,
    writes_max: u32,
}

impl Keys {
    pub fn new(count: u32, writes_max: u32) -> Keys {
        let in_use = (0..count).map(|key| (AtomicU32::new(key), AtomicU32::new(0))).collect();
        Keys { in_use, next: AtomicU32::new(count), writes_max }
    }

    pub fn in_use(&self) -> Vec<Key> {
        self.in_use.iter().map(|(key, _)| key.load(Relaxed)).collect()
    }

    fn key(&self, place: usize) -> Key {
        self.in_use[place].0.load(Relaxed)
    }

    /// Counts a write of a key in a place.
    fn count(&self, place: usize) {
        let (key, writes) = &self.in_use[place];
        // Who counts the last one makes the change.
        if writes.fetch_add(1, Relaxed) + 1 == self.writes_max {
            key.store(self.next.fetch_add(1, Relaxed), Relaxed);
            writes.store(0, Relaxed);
        }
    }
}

/// What a client's next requests are drawn from.
pub struct Source {
    pub random: fastrand::Rng,
    pub mix: Mix,
    pub keys: Arc<Keys>,
    /// The tokens that this source hands out: its next one, and the step to the one after.
    pub token: Token,
    pub step: Token,
}

impl Source {
    fn place(&mut self) -> usize {
        // Zipf's law with exponent 1, near enough: the logarithm is spread evenly.
        let count = self.keys.in_use.len();
        let n = ((count + 1) as f64).powf(self.random.f64()) as usize - 1;
        n.min(count - 1)
    }

    fn key(&mut self) -> Key {
        let place = self.place();
        self.keys.key(place)
    }

    /// A key that will be written.
    fn target(&mut self) -> Key {
        let place = self.place();
        let key = self.keys.key(place);
        self.keys.count(place);
        key
    }

    /// Two to four different keys.
    fn some_keys(&mut self, least: usize) -> Vec<Key> {
        let mut keys: Vec<Key> = (0..self.random.usize(2..=4)).map(|_| self.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        while keys.len() < least {
            let key = self.keys.key(self.random.usize(..self.keys.in_use.len()));
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        self.random.shuffle(&mut keys);
        keys
    }

    fn token(&mut self) -> Token {
        let token = self.token;
        self.token += self.step;
        token
    }

    fn pairs(&mut self) -> Vec<(Key, Token)> {
        self.some_keys(2).into_iter().map(|key| (key, self.token())).collect()
    }

    fn single(&mut self) -> Command {
        let key = self.key();
        match self.random.u8(0..10) {
            0..=3 => Command::Get(key),
            4 => match self.random.u8(0..4) {
                0 => Command::Strlen(key),
                1 => Command::Exists(vec![key]),
                2 => Command::Del(vec![key]),
                _ => Command::GetDel(key),
            },
            _ if self.random.u8(..) < self.mix.appends => {
                Command::Append(self.target(), self.token())
            }
            5..=7 => Command::SetGet(self.target(), self.token()),
            _ => Command::Set(self.target(), self.token()),
        }
    }

    fn split(&mut self) -> Command {
        match self.random.u8(0..8) {
            0..=3 => Command::MGet(self.some_keys(2)),
            4 | 5 => Command::MSet(self.pairs()),
            6 => Command::Exists(self.some_keys(2)),
            _ => Command::Del(self.some_keys(2)),
        }
    }

    fn joint(&mut self) -> Command {
        let keys = self.some_keys(2);
        match self.random.u8(0..4) {
            0 if self.mix.carries => Command::Rename(keys[0], keys[1]),
            1 if self.mix.carries => Command::RenameNx(keys[0], keys[1]),
            2 if self.mix.carries => Command::Copy(keys[0], keys[1]),
            _ => Command::MSetNx(self.pairs()),
        }
    }

    fn whole(&mut self) -> Command {
        match self.random.u8(0..8) {
            0 => Command::FlushAll,
            1 => Command::FlushDb,
            2..=4 => Command::DbSize,
            _ => Command::Keys,
        }
    }

    fn database(&mut self) -> Command {
        match self.random.u8(0..4) {
            0 => Command::SwapDb(0, 1),
            1 => Command::Select(1),
            _ => Command::Select(0),
        }
    }

    /// A command of some sorts; what is not given a weight does not come.
    fn command(&mut self, weights: [u32; 5]) -> Command {
        let mut draw = self.random.u32(..weights.iter().sum::<u32>());
        let mut sort = 0;
        while draw >= weights[sort] {
            draw -= weights[sort];
            sort += 1;
        }
        match sort {
            0 => self.single(),
            1 => self.split(),
            2 => self.joint(),
            3 => self.whole(),
            _ => self.database(),
        }
    }

    fn block(&mut self) -> Vec<Command> {
        let databases = u32::from(self.mix.carries);
        let commands = self.random.usize(1..=4);
        (0..commands).map(|_| self.command([12, 6, 5, 1, databases])).collect()
    }

    fn script(&mut self, computed: bool) -> Vec<Request> {
        let names = match self.random.bool() {
            _ if computed => {
                Names::Computed { script: self.random.u8(..2), given: self.random.u8(..) }
            }
            true => Names::Declared,
            false => Names::Arguments,
        };
        let mut commands = self.block();
        // A script's SELECT is forgotten when it ends; and one that needs all keys now and then is not
        // expected to need some for a long time.
        let seldom = computed && self.random.u8(..) > 2;
        commands.retain(|command| {
            !(matches!(command, Command::Select(_)) || seldom && command.is_whole())
        });
        match commands.is_empty() {
            true => self.next(),
            false => vec![Request::Script { commands, names }],
        }
    }

    /// What a client does next: one request, or some that belong together.
    pub fn next(&mut self) -> Vec<Request> {
        let Mix { single, split, joint, whole, databases, blocks, watches, .. } = self.mix;
        let scripts = self.mix.scripts + self.mix.computed;
        let plain = single + split + joint + whole + databases;
        let draw = self.random.u32(..plain + blocks + scripts + watches);
        if draw < plain {
            let command = self.command([single, split, joint, whole, databases]);
            return vec![Request::Act(Action::One(command))];
        }
        if draw < plain + blocks {
            let commands = self.block();
            return vec![match self.random.u8(0..12) {
                0 => Request::Discard(commands),
                _ => Request::Act(Action::Block(commands)),
            }];
        }
        if draw < plain + blocks + scripts {
            return self.script(draw - plain - blocks < self.mix.computed);
        }
        let keys = self.some_keys(1);
        let mut requests = vec![Request::Act(Action::Watch(keys.clone()))];
        for key in &keys {
            requests.push(Request::Act(Action::One(Command::Get(*key))));
        }
        match self.random.u8(0..12) {
            0 => requests.push(Request::Act(Action::Unwatch)),
            _ => {
                let mut commands = self.block();
                commands.insert(0, Command::Set(keys[0], self.token()));
                requests.push(Request::Act(Action::Block(commands)));
            }
        }
        requests
    }
}

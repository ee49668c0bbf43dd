//! Random programs of clients, on few keys that all want.

use super::command::{Command, Key, Token};
use super::conversation::Request;
use super::history::Action;

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
    watches: 4,
    appends: 128,
};

/// Only what leaves values that tell who wrote what: an order can be read off long histories.
pub const TRACED: Mix = Mix { carries: false, databases: 0, whole: 1, appends: 224, ..ALL };

/// What a client's next requests are drawn from.
pub struct Source {
    pub random: fastrand::Rng,
    pub mix: Mix,
    /// The keys that are in use, from `first` on; the first are wanted most.
    pub keys: u32,
    pub first: Key,
    /// The tokens that this source hands out: its next one, and the step to the one after.
    pub token: Token,
    pub step: Token,
}

impl Source {
    fn key(&mut self) -> Key {
        // Zipf's law with exponent 1, near enough: the logarithm is spread evenly.
        let n = f64::from(self.keys + 1).powf(self.random.f64()) as u32 - 1;
        self.first + n.min(self.keys - 1)
    }

    /// Up to four different keys.
    fn some_keys(&mut self, least: usize) -> Vec<Key> {
        let mut keys: Vec<Key> = (0..self.random.usize(2..=4)).map(|_| self.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        while keys.len() < least.min(self.keys as usize) {
            let key = self.first + self.random.u32(..self.keys);
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
            _ if self.random.u8(..) < self.mix.appends => Command::Append(key, self.token()),
            5..=7 => Command::SetGet(key, self.token()),
            _ => Command::Set(key, self.token()),
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

    /// What a client does next: one request, or some that belong together.
    pub fn next(&mut self) -> Vec<Request> {
        let Mix { single, split, joint, whole, databases, blocks, watches, .. } = self.mix;
        let plain = single + split + joint + whole + databases;
        let draw = self.random.u32(..plain + blocks + watches);
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

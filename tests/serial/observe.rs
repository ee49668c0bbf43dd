//! What each operation saw of the others and left to them, key by key.
//!
//! Inside a block, reads see the block's own writes. From outside only two things count for a key:
//! what was there when the block began, and what it left. This takes them apart, and reports where a
//! block contradicts itself.

use super::anomaly::{Anomaly, Kind};
use super::command::{Answer, Command, Key, Token};
use super::history::{Action, History, Outcome};
use std::collections::{HashMap, HashSet};

/// A key of a database, numbered.
pub type Place = u32;

/// What was there when an operation began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Absent,
    /// Something, whatever it was.
    Present,
    /// As many tokens.
    Length(usize),
    Value(Vec<Token>),
}

/// One operation's view of one key.
#[derive(Debug)]
pub struct View {
    pub operation: u32,
    pub place: Place,
    pub seen: Option<Seen>,
    /// Nothing of what was there is left.
    pub reset: bool,
    /// What it has written after that, or behind what was there.
    pub tokens: Vec<Token>,
}

impl View {
    pub fn writes(&self) -> bool {
        self.reset || !self.tokens.is_empty()
    }

    /// Whether it leaves no value.
    pub fn removes(&self) -> bool {
        self.reset && self.tokens.is_empty()
    }
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is the last one that its operation left on its key.
    Last,
    /// The operation has written another one behind it.
    Followed,
    /// The operation itself has removed it.
    Overwritten,
    /// The operation was not carried out.
    Void,
}

#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub operation: u32,
    pub place: Place,
    pub fate: Fate,
}

#[derive(Default)]
pub struct Observations {
    pub views: Vec<View>,
    pub tokens: HashMap<Token, Written, ahash::RandomState>,
    /// Operations that have emptied a database, or all of them.
    pub wipes: Vec<(u32, Option<u8>)>,
    /// Places whose values come from elsewhere: nothing is concluded from them.
    pub tainted: HashSet<Place, ahash::RandomState>,
    /// The number of each key, and back.
    places: HashMap<(u8, Key), Place, ahash::RandomState>,
    pub names: Vec<(u8, Key)>,
    /// Where operations contradict themselves.
    pub problems: Vec<(Place, Anomaly)>,
}

/// What a client watches: the places, and what it has read of them since.
#[derive(Default)]
struct Client {
    db: u8,
    watched: HashMap<Place, Option<Vec<Token>>>,
}

/// One operation being taken apart.
struct Block<'o> {
    all: &'o mut Observations,
    operation: u32,
    /// Whether its answers are known.
    done: bool,
    db: u8,
    views: Vec<View>,
    overwritten: Vec<(Place, Token)>,
    wiped: Vec<Option<u8>>,
    problems: Vec<(Place, String)>,
}

pub fn observe(history: &History) -> Observations {
    let mut all = Observations::default();
    // KEYS tells of every key of its database: all must have their numbers first.
    let databases = history.databases();
    for (operation, first) in history.operations.iter().zip(&databases) {
        let mut db = *first;
        for command in operation.commands() {
            if let Command::Select(other) = command {
                db = *other;
            }
            for key in command.keys() {
                all.place(db, key);
            }
        }
    }
    for operations in history.by_client() {
        let mut client = Client::default();
        for index in operations {
            client.db = databases[index as usize];
            all.observe_operation(history, index, &mut client);
        }
    }
    if history
        .operations
        .iter()
        .flat_map(|op| op.commands())
        .any(|c| matches!(c, Command::SwapDb(..)))
    {
        all.tainted.extend(0..all.names.len() as Place);
    }
    all
}

impl Observations {
    fn place(&mut self, db: u8, key: Key) -> Place {
        *self.places.entry((db, key)).or_insert_with(|| {
            self.names.push((db, key));
            self.names.len() as Place - 1
        })
    }

    /// The contradictions, except of keys from which nothing is concluded.
    pub fn take_problems(&mut self) -> Vec<Anomaly> {
        let problems = std::mem::take(&mut self.problems).into_iter();
        let counts = problems.filter(|(place, _)| !self.tainted.contains(place));
        counts.map(|(_, anomaly)| anomaly).collect()
    }

    pub fn place_name(&self, place: Place) -> String {
        match self.names[place as usize] {
            (0, key) => super::command::key_name(key),
            (db, key) => format!("{} of database {db}", super::command::key_name(key)),
        }
    }

    fn observe_operation(&mut self, history: &History, index: u32, client: &mut Client) {
        let operation = &history.operations[index as usize];
        match &operation.action {
            Action::Watch(keys) => {
                for key in keys {
                    let place = self.place(client.db, *key);
                    client.watched.entry(place).or_default();
                }
                return;
            }
            Action::Unwatch => return client.watched.clear(),
            _ => {}
        }
        let watched = match operation.action {
            Action::Block(_) => std::mem::take(&mut client.watched),
            _ => HashMap::new(),
        };
        if operation.is_void() {
            for (key, token) in operation.commands().iter().flat_map(Command::tokens) {
                let place = self.place(client.db, key);
                self.write(index, place, token, Fate::Void);
            }
            return;
        }
        let answers = operation.answers();
        let mut block = Block {
            all: self,
            operation: index,
            done: matches!(operation.outcome, Outcome::Done(_)),
            db: client.db,
            views: Vec::new(),
            overwritten: Vec::new(),
            wiped: Vec::new(),
            problems: Vec::new(),
        };
        if block.done {
            // Nothing has changed since they were read: the block has seen the same.
            for (place, value) in watched {
                value.into_iter().for_each(|value| block.read(place, &value));
            }
        }
        for (n, command) in operation.commands().iter().enumerate() {
            block.command(command, answers.map(|answers| &answers[n]));
        }
        if let Action::One(command) = &operation.action {
            block.note_reads(command, answers, client);
        }
        let problems = block.finish();
        for (place, problem) in problems {
            let anomaly = Anomaly::new(Kind::Internal, format!("{problem}\n  {operation}"));
            self.problems.push((place, anomaly));
        }
    }

    fn write(&mut self, operation: u32, place: Place, token: Token, fate: Fate) {
        let old = self.tokens.insert(token, Written { operation, place, fate });
        assert!(old.is_none(), "token {token} is written twice: the history proves nothing");
    }
}

impl Block<'_> {
    fn place(&mut self, key: Key) -> Place {
        self.all.place(self.db, key)
    }

    fn view(&mut self, place: Place) -> &mut View {
        let at = match self.views.iter().position(|view| view.place == place) {
            Some(at) => at,
            None => {
                let db = self.all.names[place as usize].0;
                let reset = self.wiped.iter().any(|wiped| wiped.is_none_or(|own| own == db));
                let operation = self.operation;
                self.views.push(View { operation, place, seen: None, reset, tokens: Vec::new() });
                self.views.len() - 1
            }
        };
        &mut self.views[at]
    }

    fn command(&mut self, command: &Command, answer: Option<&Answer>) {
        match (command, answer) {
            (Command::Get(_) | Command::MGet(_), _) => self.reads(&command.keys(), answer),
            (Command::GetDel(key), _) => {
                self.reads(&[*key], answer);
                self.remove(&[*key]);
            }
            (Command::SetGet(key, token), _) => {
                self.reads(&[*key], answer);
                self.set(*key, *token);
            }
            (Command::Set(key, token), _) => self.set(*key, *token),
            (Command::Append(key, token), _) => self.append(*key, *token, answer),
            (Command::MSet(pairs), _) => pairs.iter().for_each(|(k, t)| self.set(*k, *t)),
            (Command::MSetNx(pairs), Some(Answer::Int(0))) => {
                for (key, token) in pairs {
                    let place = self.place(*key);
                    self.all.write(self.operation, place, *token, Fate::Void);
                }
                if let [(key, _)] = pairs.as_slice() {
                    self.all_exist(&[*key], true);
                }
            }
            (Command::MSetNx(_), None) => {
                // Whether it has written is not known, nor what came after in the same block.
                for key in command.keys() {
                    let place = self.place(key);
                    self.all.tainted.insert(place);
                }
                command.tokens().into_iter().for_each(|(key, token)| self.set(key, token));
            }
            (Command::MSetNx(pairs), _) => {
                self.all_exist(&command.keys(), false);
                pairs.iter().for_each(|(k, t)| self.set(*k, *t));
            }
            (Command::Strlen(key), Some(Answer::Int(n))) => {
                let place = self.place(*key);
                self.length(place, *n as usize);
            }
            (Command::Exists(keys), _) => self.count_present(keys, answer),
            (Command::Del(keys), _) => {
                self.count_present(keys, answer);
                self.remove(keys);
            }
            (Command::Keys, Some(Answer::Keys(found))) => self.present(found),
            (Command::Rename(..) | Command::RenameNx(..) | Command::Copy(..), _) => {
                for key in command.keys() {
                    let place = self.place(key);
                    self.all.tainted.insert(place);
                }
            }
            (Command::FlushDb, _) => self.wipe(Some(self.db)),
            (Command::FlushAll, _) => self.wipe(None),
            (Command::Select(db), _) => self.db = *db,
            // All places are tainted when databases are swapped; what DBSIZE and answers that are not
            // known tell is not used here.
            (Command::SwapDb(..) | Command::DbSize | Command::Keys | Command::Strlen(_), _) => {}
        }
    }

    /// Which keys KEYS has found, and so which not.
    fn present(&mut self, found: &[Key]) {
        // Of many keys, each look at all would tell little about too much.
        const KEYS_MAX: usize = 256;
        if self.all.names.len() > KEYS_MAX {
            return;
        }
        let names = self.all.names.iter().enumerate();
        let own = names.filter(|(_, (db, _))| *db == self.db);
        let own: Vec<(Place, Key)> = own.map(|(n, (_, key))| (n as Place, *key)).collect();
        for (place, key) in own {
            self.exists(place, found.binary_search(&key).is_ok());
        }
    }

    fn reads(&mut self, keys: &[Key], answer: Option<&Answer>) {
        match answer {
            Some(Answer::Values(values)) => {
                for (key, value) in keys.iter().zip(values) {
                    let place = self.place(*key);
                    self.read(place, value.as_deref().unwrap_or_default());
                }
            }
            Some(Answer::Value(value)) => {
                let place = self.place(keys[0]);
                self.read(place, value);
            }
            Some(Answer::Nil) => {
                let place = self.place(keys[0]);
                self.read(place, &[]);
            }
            _ => {}
        }
    }

    /// A read of a whole value; no tokens when there is none.
    fn read(&mut self, place: Place, value: &[Token]) {
        let view = self.view(place);
        let outside = match value.strip_suffix(view.tokens.as_slice()) {
            Some(outside) if !view.reset => outside,
            Some([]) => return,
            _ => return self.problem(place, format!("reads {value:?} after its own writes")),
        };
        let seen = match outside {
            [] => Seen::Absent,
            tokens => Seen::Value(tokens.to_vec()),
        };
        self.see(place, seen);
    }

    fn length(&mut self, place: Place, len: usize) {
        let view = self.view(place);
        let own = view.tokens.len();
        match len.checked_sub(own) {
            Some(0) if view.reset => {}
            Some(0) => self.see(place, Seen::Absent),
            Some(n) if !view.reset => self.see(place, Seen::Length(n)),
            _ => self.problem(place, format!("finds {len} tokens after its own writes")),
        }
    }

    fn exists(&mut self, place: Place, exists: bool) {
        let view = self.view(place);
        match (view.writes(), view.tokens.is_empty(), exists) {
            (false, _, true) => self.see(place, Seen::Present),
            (false, _, false) => self.see(place, Seen::Absent),
            (true, empty, exists) if empty != exists => {}
            _ => self.problem(place, format!("exists: {exists}, after its own writes")),
        }
    }

    /// `answer` of `keys` are there: that says something of each when it is all of them or none.
    fn count_present(&mut self, keys: &[Key], answer: Option<&Answer>) {
        match answer {
            Some(Answer::Int(0)) => self.all_exist(keys, false),
            Some(Answer::Int(n)) if *n as usize == keys.len() => self.all_exist(keys, true),
            _ => {}
        }
    }

    fn all_exist(&mut self, keys: &[Key], exist: bool) {
        for key in keys {
            let place = self.place(*key);
            self.exists(place, exist);
        }
    }

    fn append(&mut self, key: Key, token: Token, answer: Option<&Answer>) {
        let place = self.place(key);
        self.view(place).tokens.push(token);
        if let Some(Answer::Int(len)) = answer {
            self.length(place, *len as usize);
        }
    }

    fn set(&mut self, key: Key, token: Token) {
        self.remove(&[key]);
        let place = self.place(key);
        self.view(place).tokens.push(token);
    }

    fn remove(&mut self, keys: &[Key]) {
        for key in keys {
            let place = self.place(*key);
            let view = self.view(place);
            view.reset = true;
            let gone = std::mem::take(&mut view.tokens);
            self.overwritten.extend(gone.into_iter().map(|token| (place, token)));
        }
    }

    fn wipe(&mut self, db: Option<u8>) {
        self.wiped.push(db);
        for view in &mut self.views {
            if db.is_none_or(|db| db == self.all.names[view.place as usize].0) {
                view.reset = true;
                let gone = std::mem::take(&mut view.tokens);
                self.overwritten.extend(gone.into_iter().map(|token| (view.place, token)));
            }
        }
    }

    fn see(&mut self, place: Place, new: Seen) {
        let view = self.view(place);
        let merged = match (view.seen.take(), new) {
            (None, new) => Some(new),
            (Some(old), new) if old == new => Some(new),
            (Some(Seen::Present), new @ (Seen::Length(_) | Seen::Value(_))) => Some(new),
            (Some(old @ (Seen::Length(_) | Seen::Value(_))), Seen::Present) => Some(old),
            (Some(Seen::Value(old)), Seen::Length(n)) if old.len() == n => Some(Seen::Value(old)),
            (Some(Seen::Length(n)), Seen::Value(new)) if new.len() == n => Some(Seen::Value(new)),
            (Some(old), new) => {
                let what = format!("saw {old:?} and then {new:?}");
                view.seen = Some(old);
                return self.problem(place, what);
            }
        };
        self.view(place).seen = merged;
    }

    fn problem(&mut self, place: Place, what: String) {
        let name = self.all.place_name(place);
        self.problems.push((place, format!("{name} {what}")));
    }

    /// Remembers what a single command has read of watched keys.
    fn note_reads(&mut self, command: &Command, answers: Option<&[Answer]>, client: &mut Client) {
        let mut note = |key: &Key, value: &[Token]| {
            let place = self.all.place(self.db, *key);
            if let Some(known) = client.watched.get_mut(&place) {
                *known = Some(value.to_vec());
            }
        };
        match (command, answers) {
            (Command::Get(key), Some([Answer::Value(value)])) => note(key, value),
            (Command::Get(key), Some([Answer::Nil])) => note(key, &[]),
            (Command::MGet(keys), Some([Answer::Values(values)])) => {
                for (key, value) in keys.iter().zip(values) {
                    note(key, value.as_deref().unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    fn finish(self) -> Vec<(Place, String)> {
        let Block { all, operation, views, overwritten, wiped, problems, .. } = self;
        for (place, token) in overwritten {
            all.write(operation, place, token, Fate::Overwritten);
        }
        for view in &views {
            for (n, token) in view.tokens.iter().enumerate() {
                let last = n + 1 == view.tokens.len();
                let fate = if last { Fate::Last } else { Fate::Followed };
                all.write(operation, view.place, *token, fate);
            }
        }
        all.views.extend(views);
        all.wipes.extend(wiped.into_iter().map(|db| (operation, db)));
        problems
    }
}

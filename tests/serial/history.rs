//! Histories: who asked what, when, and what came back.
//!
//! A history can be written down, which is how tests state theirs and how findings are reported. A
//! line is a client, when it asked and when it knew, and what it asked:
//!
//! ```text
//!   A 0-3  APPEND k1 7 -> 1                     the value is one token long now
//!   B 1-5  MULTI GET k1 -> [7]; SET k2 8 -> ok  a block, done at its EXEC
//!   B 6-?  MULTI SET k2 9                       never answered: it may have been done or not
//!   C 1-2  WATCH k1 k2
//!   C 3-9  MULTI SET k1 10 -> aborted           EXEC answered nil; `discarded` after DISCARD
//! ```
//!
//! Times order what happened as one observer saw it and have no other meaning. Lines of one client are
//! in the order in which it asked. It may ask before it knows (a pipeline); then the server keeps its
//! order on each shard, and so do the checkers: see [`Operation::lanes`].

use super::command::{Answer, Command, Key, Token, key_name};
use std::fmt;

/// The time of what never happened.
pub const NEVER: u64 = u64::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    One(Command),
    /// MULTI, commands, EXEC or DISCARD.
    Block(Vec<Command>),
    Watch(Vec<Key>),
    Unwatch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No answer came: it may have been done or not.
    Unknown,
    /// The answers to a command or to the commands of a block; none for WATCH and UNWATCH.
    Done(Vec<Answer>),
    /// EXEC found that what was watched had changed.
    Aborted,
    Discarded,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub client: u32,
    pub invoked: u64,
    /// [`NEVER`] when no answer came.
    pub completed: u64,
    pub action: Action,
    pub outcome: Outcome,
    /// A bit for each shard where it does something. Of two operations of one client that share one,
    /// the first comes first also when it was not answered before the second was sent.
    pub lanes: u64,
}

/// Operations, those of one client in the order in which it asked.
#[derive(Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
}

impl Operation {
    pub fn commands(&self) -> &[Command] {
        match &self.action {
            Action::One(command) => std::slice::from_ref(command),
            Action::Block(commands) => commands,
            Action::Watch(_) | Action::Unwatch => &[],
        }
    }

    /// The answers, when there are some.
    pub fn answers(&self) -> Option<&[Answer]> {
        match &self.outcome {
            Outcome::Done(answers) => Some(answers),
            _ => None,
        }
    }

    /// Its lanes, where `lane` tells those of a key.
    pub fn find_lanes(&self, lane: impl Fn(Key) -> u64) -> u64 {
        if self.outcome == Outcome::Discarded {
            return 0;
        }
        let own = match &self.action {
            Action::Watch(keys) => keys.iter().fold(0, |all, key| all | lane(*key)),
            _ => 0,
        };
        let of = |command: &Command| match command {
            // Where the next requests go is known before anything is sent.
            Command::Select(_) => 0,
            command if command.is_whole() => u64::MAX,
            command => command.keys().iter().fold(0, |all, key| all | lane(*key)),
        };
        self.commands().iter().fold(own, |all, command| all | of(command))
    }

    /// Whether it certainly has left every key as it was: it only reads, or was told that there was
    /// nothing to do.
    pub fn has_left_all(&self) -> bool {
        match self.answers() {
            Some(answers) => {
                let mut all = self.commands().iter().zip(answers);
                all.all(|(command, answer)| command.has_left_all(answer))
            }
            None => self.is_void() || self.commands().iter().all(Command::is_read),
        }
    }

    /// Whether its commands certainly had no effect.
    pub fn is_void(&self) -> bool {
        matches!(self.outcome, Outcome::Aborted | Outcome::Discarded)
    }
}

impl History {
    /// The operations of each client, in its order.
    pub fn by_client(&self) -> Vec<Vec<u32>> {
        let clients = self.operations.iter().map(|op| op.client + 1).max().unwrap_or(0);
        let mut all = vec![Vec::new(); clients as usize];
        for (index, operation) in self.operations.iter().enumerate() {
            all[operation.client as usize].push(index as u32);
        }
        all
    }

    /// The database in which each operation begins, as far as it is known to have been carried out.
    pub fn databases(&self) -> Vec<u8> {
        let mut databases = vec![0; self.operations.len()];
        for operations in self.by_client() {
            let mut db = 0;
            for index in operations {
                databases[index as usize] = db;
                let operation = &self.operations[index as usize];
                for command in operation.commands() {
                    if let (Command::Select(other), false) = (command, operation.is_void()) {
                        db = *other;
                    }
                }
            }
        }
        databases
    }

    /// Reads the notation; for tests, so it panics on mistakes.
    pub fn parse(text: &str) -> History {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        History { operations: lines.map(parse_operation).collect() }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            client @ 0..26 => write!(f, "{}", char::from(b'A' + client as u8))?,
            client => write!(f, "#{client}")?,
        }
        write!(f, " {}-", self.invoked)?;
        match self.completed {
            NEVER => write!(f, "? ")?,
            completed => write!(f, "{completed} ")?,
        }
        match &self.action {
            Action::Watch(keys) => {
                write!(f, "WATCH")?;
                keys.iter().try_for_each(|key| write!(f, " {}", key_name(*key)))?;
            }
            Action::Unwatch => write!(f, "UNWATCH")?,
            Action::One(_) => {}
            Action::Block(_) => write!(f, "MULTI ")?,
        }
        for (n, command) in self.commands().iter().enumerate() {
            write!(f, "{}{command}", if n > 0 { "; " } else { "" })?;
            if let Some(answer) = self.answers().and_then(|answers| answers.get(n)) {
                write!(f, " -> {answer}")?;
            }
        }
        match self.outcome {
            Outcome::Aborted => write!(f, " -> aborted"),
            Outcome::Discarded => write!(f, " -> discarded"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

fn parse_operation(line: &str) -> Operation {
    let (who, rest) = line.split_once(' ').expect("a client");
    let (when, what) = rest.trim().split_once(' ').expect("times");
    let client = match who.strip_prefix('#') {
        Some(number) => number.parse().expect("a client's number"),
        None => u32::from(who.bytes().next().expect("a letter") - b'A'),
    };
    let (invoked, completed) = when.split_once('-').expect("two times");
    let completed = if completed == "?" { NEVER } else { completed.parse().expect("a time") };
    let mut operation = Operation {
        client,
        invoked: invoked.parse().expect("a time"),
        completed,
        action: Action::Unwatch,
        outcome: if completed == NEVER { Outcome::Unknown } else { Outcome::Done(Vec::new()) },
        lanes: u64::MAX,
    };
    let what = what.trim();
    if what == "UNWATCH" {
        return operation;
    }
    if let Some(keys) = what.strip_prefix("WATCH ") {
        operation.action = Action::Watch(keys.split_whitespace().map(key).collect());
        return operation;
    }
    let block = what.strip_prefix("MULTI ");
    let mut commands = Vec::new();
    let mut answers = Vec::new();
    for part in block.unwrap_or(what).split(';') {
        let (command, answer) = match part.split_once("->") {
            Some((command, answer)) => (command, Some(answer.trim())),
            None => (part, None),
        };
        commands.push(parse_command(command.trim()));
        match answer {
            Some("aborted") => operation.outcome = Outcome::Aborted,
            Some("discarded") => operation.outcome = Outcome::Discarded,
            Some(answer) => answers.push(parse_answer(answer, commands.last().expect("pushed"))),
            None => {}
        }
    }
    if let Outcome::Done(done) = &mut operation.outcome {
        assert_eq!(answers.len(), commands.len(), "an answer each: {line}");
        *done = answers;
    }
    operation.action = match block {
        Some(_) => Action::Block(commands),
        None => Action::One(commands.remove(0)),
    };
    operation
}

fn key(word: &str) -> Key {
    super::command::parse_key(word.as_bytes()).unwrap_or_else(|| panic!("no key: {word}"))
}

fn token(word: &str) -> Token {
    word.parse().unwrap_or_else(|_| panic!("no token: {word}"))
}

fn parse_command(text: &str) -> Command {
    let words: Vec<&str> = text.split_whitespace().collect();
    let keys = || words[1..].iter().map(|word| key(word)).collect();
    let pairs = || words[1..].chunks(2).map(|pair| (key(pair[0]), token(pair[1]))).collect();
    match (words[0], words.len()) {
        ("GET", 2) => Command::Get(key(words[1])),
        ("MGET", _) => Command::MGet(keys()),
        ("STRLEN", 2) => Command::Strlen(key(words[1])),
        ("EXISTS", _) => Command::Exists(keys()),
        ("DBSIZE", 1) => Command::DbSize,
        ("KEYS", 2) => Command::Keys,
        ("SET", 3) => Command::Set(key(words[1]), token(words[2])),
        ("SET", 4) => Command::SetGet(key(words[1]), token(words[2])),
        ("APPEND", 3) => Command::Append(key(words[1]), token(words[2])),
        ("MSET", _) => Command::MSet(pairs()),
        ("MSETNX", _) => Command::MSetNx(pairs()),
        ("GETDEL", 2) => Command::GetDel(key(words[1])),
        ("DEL", _) => Command::Del(keys()),
        ("RENAME", 3) => Command::Rename(key(words[1]), key(words[2])),
        ("RENAMENX", 3) => Command::RenameNx(key(words[1]), key(words[2])),
        ("COPY", 3) => Command::Copy(key(words[1]), key(words[2])),
        ("FLUSHDB", 1) => Command::FlushDb,
        ("FLUSHALL", 1) => Command::FlushAll,
        ("SWAPDB", 3) => Command::SwapDb(token(words[1]) as u8, token(words[2]) as u8),
        ("SELECT", 2) => Command::Select(token(words[1]) as u8),
        _ => panic!("no command: {text}"),
    }
}

fn parse_value(text: &str) -> Vec<Token> {
    text.trim_matches(['[', ']']).split_whitespace().map(token).collect()
}

fn parse_answer(text: &str, command: &Command) -> Answer {
    match text {
        "ok" => Answer::Ok,
        "missing" => Answer::Missing,
        _ if matches!(command, Command::MGet(_)) => {
            let mut values = Vec::new();
            let mut rest = text;
            while !rest.is_empty() {
                let end = match rest.starts_with('[') {
                    true => rest.find(']').expect("a closed value") + 1,
                    false => rest.find(' ').unwrap_or(rest.len()),
                };
                let word = &rest[..end];
                values.push((word != "nil").then(|| parse_value(word)));
                rest = rest[end..].trim_start();
            }
            Answer::Values(values)
        }
        "nil" => Answer::Nil,
        _ if text.starts_with('[') => Answer::Value(parse_value(text)),
        _ if text.starts_with('{') => {
            Answer::Keys(text.trim_matches(['{', '}']).split_whitespace().map(key).collect())
        }
        _ => Answer::Int(text.parse().unwrap_or_else(|_| panic!("no answer: {text}"))),
    }
}

#[test]
fn the_notation_is_read_back() {
    let text = "\
A 0-3 APPEND k1 7 -> 1
B 1-5 MULTI GET k1 -> [7]; SET k2 8 -> ok; KEYS * -> {k1 k2}
B 6-? MULTI SET k2 9
C 1-2 WATCH k1 k2
C 3-9 MULTI SET k1 10 -> aborted
#30 4-6 MGET k1 k2 k3 -> [7 8] nil [9]
D 7-8 SWAPDB 0 1 -> ok
";
    assert_eq!(History::parse(text).to_string(), text);
}

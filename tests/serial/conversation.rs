//! One client's side of a connection, recorded: what it sends, when, and what it gets.

use super::anomaly::{Anomaly, Kind};
use super::command::{Answer, Command, Key, encode_words, key_name};
use super::history::{Action, History, NEVER, Operation, Outcome};
use crate::harness::Reply;
use crate::harness::reply::Parsed;
use corelane::shard::SlotTable;
use std::collections::VecDeque;

/// What a client sends at once.
#[derive(Debug, Clone)]
pub enum Request {
    Act(Action),
    /// MULTI, commands, DISCARD.
    Discard(Vec<Command>),
    /// The commands in a Lua script, which answers as EXEC does.
    Script {
        commands: Vec<Command>,
        names: Names,
    },
}

/// How a script gets at the names of its keys.
#[derive(Debug, Clone, Copy)]
pub enum Names {
    /// All are in KEYS, as its text shows.
    Declared,
    /// All are in ARGV, where no server can tell which words are keys.
    Arguments,
    /// Some are in KEYS, and it computes the others, which are not to be seen in its arguments. It is one
    /// script for all programs, so that a server can learn which keys it touches, and be mistaken. There are
    /// so many of the kind; a number below 256 says of which keys each is given.
    Computed { script: u8, given: u8 },
}

/// An operation that waits for replies.
struct Waiting {
    /// Among the operations of this client.
    operation: usize,
    /// Replies that come before the one that counts: to MULTI and to what is queued.
    queued: usize,
}

/// A connection with its recorder; its operations are its own part of a history.
pub struct Conversation {
    client: u32,
    pub operations: Vec<Operation>,
    waiting: VecDeque<Waiting>,
    buffer: Vec<u8>,
}

impl Conversation {
    pub fn new(client: u32) -> Conversation {
        Conversation {
            client,
            operations: Vec::new(),
            waiting: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    /// Operations that wait for an answer.
    pub fn pending(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request that is sent now to the bytes in `out`.
    pub fn ask(&mut self, request: Request, now: u64, out: &mut Vec<u8>) {
        let mut script = None;
        let (action, outcome) = match request {
            Request::Script { commands, names } => {
                script = Some(names);
                (Action::Block(commands), Outcome::Unknown)
            }
            Request::Act(action) => (action, Outcome::Unknown),
            Request::Discard(commands) => (Action::Block(commands), Outcome::Discarded),
        };
        let mut queued = 0;
        match &action {
            Action::Block(commands) if let Some(names) = script => match names {
                Names::Computed { script, given } => {
                    encode_computing(commands, (script, given), out);
                }
                _ => encode_script(commands, matches!(names, Names::Declared), out),
            },
            Action::One(command) => command.encode(out),
            Action::Block(commands) => {
                word("MULTI", out);
                commands.iter().for_each(|command| command.encode(out));
                word(if outcome == Outcome::Unknown { "EXEC" } else { "DISCARD" }, out);
                queued = commands.len() + 1;
            }
            Action::Watch(keys) => {
                let names: Vec<String> = keys.iter().map(|key| key_name(*key)).collect();
                let mut words = vec!["WATCH".as_bytes()];
                words.extend(names.iter().map(String::as_bytes));
                encode_words(words.into_iter(), out);
            }
            Action::Unwatch => word("UNWATCH", out),
        }
        self.waiting.push_back(Waiting { operation: self.operations.len(), queued });
        let client = self.client;
        let operation =
            Operation { client, invoked: now, completed: NEVER, action, outcome, lanes: u64::MAX };
        self.operations.push(operation);
    }

    /// Takes in bytes that have arrived by now. An error is a reply that makes no sense.
    pub fn hear(&mut self, bytes: &[u8], now: u64) -> Result<(), Anomaly> {
        self.buffer.extend_from_slice(bytes);
        let mut used = 0;
        while used < self.buffer.len() {
            match Reply::parse(&self.buffer[used..]) {
                Parsed::Whole(reply, len) => {
                    used += len;
                    self.take(&reply, now)?;
                }
                Parsed::Partial => break,
                Parsed::Broken(why) => return Err(Anomaly::new(Kind::StrangeReply, why)),
            }
        }
        self.buffer.drain(..used);
        Ok(())
    }

    fn take(&mut self, reply: &Reply, now: u64) -> Result<(), Anomaly> {
        let strange = |what: &dyn std::fmt::Display| {
            Anomaly::new(Kind::StrangeReply, format!("{what} was answered {reply:?}"))
        };
        let Some(waiting) = self.waiting.front_mut() else { return Err(strange(&"nothing")) };
        let operation = &mut self.operations[waiting.operation];
        if waiting.queued > 0 {
            waiting.queued -= 1;
            return match reply {
                Reply::Simple(text) if text == b"OK" || text == b"QUEUED" => Ok(()),
                _ => Err(strange(operation)),
            };
        }
        self.waiting.pop_front();
        operation.completed = now;
        match (&operation.action, reply) {
            (Action::One(command), _) => {
                let answer = command.answer(reply);
                let answer = answer.map_err(|what| Anomaly::new(Kind::StrangeReply, what))?;
                operation.outcome = Outcome::Done(vec![answer]);
            }
            (Action::Block(_), Reply::Simple(_)) if operation.outcome == Outcome::Discarded => {}
            (Action::Block(_), Reply::NilArray) => operation.outcome = Outcome::Aborted,
            (Action::Block(commands), Reply::Array(replies)) if replies.len() == commands.len() => {
                let all = commands.iter().zip(replies);
                let answers: Result<Vec<Answer>, String> =
                    all.map(|(command, reply)| command.answer(reply)).collect();
                let answers = answers.map_err(|what| Anomaly::new(Kind::StrangeReply, what))?;
                operation.outcome = Outcome::Done(answers);
            }
            (Action::Watch(_) | Action::Unwatch, Reply::Simple(text)) if text == b"OK" => {
                operation.outcome = Outcome::Done(Vec::new());
            }
            _ => return Err(strange(operation)),
        }
        Ok(())
    }
}

/// The commands as one EVAL: with their keys in KEYS, as its text shows, or in ARGV, where no server
/// can tell which are keys.
fn encode_script(commands: &[Command], declares_keys: bool, out: &mut Vec<u8>) {
    let (mut keys, mut arguments, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for command in commands {
        let words = command.words();
        let named: Vec<String> = command.keys().into_iter().map(key_name).collect();
        let mut call = format!("redis.pcall('{}'", words[0]);
        for word in &words[1..] {
            let (list, name) = match declares_keys && named.contains(word) {
                true => (&mut keys, "KEYS"),
                false => (&mut arguments, "ARGV"),
            };
            list.push(word.clone());
            call += &format!(",{name}[{}]", list.len());
        }
        calls.push(call + ")");
    }
    let body = format!("return {{{}}}", calls.join(","));
    let count = keys.len().to_string();
    let mut words = vec!["EVAL".as_bytes(), body.as_bytes(), count.as_bytes()];
    words.extend(keys.iter().chain(&arguments).map(String::as_bytes));
    encode_words(words.into_iter(), out);
}

/// The commands as words of a script's ARGV: how many words the first has, these, and so on. `<n` is a
/// key that is KEYS[n], `@n` one that it computes.
const COMPUTING: &str = "\
local replies, at = {}, 1
local call = redis.pcall
while ARGV[at] do
  local words, count = {}, tonumber(ARGV[at])
  for n = 1, count do
    local word = ARGV[at + n]
    local sort = string.sub(word, 1, 1)
    if sort == '<' then
      word = KEYS[tonumber(string.sub(word, 2))]
    elseif sort == '@' then
      word = 'k' .. (tonumber(string.sub(word, 2)) - 1000)
    end
    words[n] = word
  end
  replies[#replies + 1] = call(unpack(words))
  at = at + count + 1
end
return replies";

fn encode_computing(commands: &[Command], (script, given): (u8, u8), out: &mut Vec<u8>) {
    let (mut keys, mut arguments) = (Vec::new(), Vec::new());
    for command in commands {
        let words = command.words();
        let named: Vec<Key> = command.keys();
        arguments.push(words.len().to_string());
        for word in words {
            let key = named.iter().find(|key| key_name(**key) == word);
            arguments.push(match key {
                Some(key) if given >> (key % 8) & 1 == 1 => {
                    keys.push(word);
                    format!("<{}", keys.len())
                }
                Some(key) => format!("@{}", key + 1000),
                None => word,
            });
        }
    }
    let body = format!("{COMPUTING} --{script}");
    let count = keys.len().to_string();
    let mut words = vec!["EVAL".as_bytes(), body.as_bytes(), count.as_bytes()];
    words.extend(keys.iter().chain(&arguments).map(String::as_bytes));
    encode_words(words.into_iter(), out);
}

fn word(word: &str, out: &mut Vec<u8>) {
    encode_words([word.as_bytes()].into_iter(), out);
}

impl History {
    /// The history of all that some connections have recorded on a server with `shards` shards.
    pub fn of(conversations: impl IntoIterator<Item = Conversation>, shards: usize) -> History {
        let slots = SlotTable::contiguous(shards);
        let lane = |key: Key| 1 << slots.owner_of(key_name(key).as_bytes());
        let mut operations = Vec::new();
        for mut operation in conversations.into_iter().flat_map(|talk| talk.operations) {
            if let Action::Watch(keys) = &operation.action {
                // Each shard begins to watch when it is its turn: those are as many operations.
                let mut lanes: Vec<u64> = keys.iter().map(|key| lane(*key)).collect();
                lanes.sort_unstable();
                lanes.dedup();
                for own in lanes {
                    let keys = keys.iter().copied().filter(|key| lane(*key) == own).collect();
                    let mut part = Operation { action: Action::Watch(keys), ..operation.clone() };
                    part.lanes = part.find_lanes(lane);
                    operations.push(part);
                }
                continue;
            }
            operation.lanes = operation.find_lanes(lane);
            operations.push(operation);
        }
        History { operations }
    }
}

#[test]
fn a_conversation_becomes_a_history() {
    let mut talk = Conversation::new(1);
    let mut out = Vec::new();
    let block = vec![Command::Set(1, 2), Command::Get(1)];
    talk.ask(Request::Act(Action::Watch(vec![1])), 0, &mut out);
    talk.ask(Request::Act(Action::Block(block.clone())), 1, &mut out);
    talk.ask(Request::Act(Action::Block(block.clone())), 2, &mut out);
    talk.ask(Request::Discard(block), 3, &mut out);
    talk.ask(Request::Act(Action::One(Command::Append(1, 4))), 4, &mut out);
    assert_eq!(talk.pending(), 5);
    talk.hear(b"+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$5\r\n0000", 10).unwrap();
    talk.hear(b"2\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n", 20).unwrap();
    talk.hear(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+OK\r\n", 30).unwrap();
    let expected = "\
B 0-10 WATCH k1
B 1-20 MULTI SET k1 2 -> ok; GET k1 -> [2]
B 2-20 MULTI SET k1 2; GET k1 -> aborted
B 3-30 MULTI SET k1 2; GET k1 -> discarded
B 4-? APPEND k1 4
";
    assert_eq!(History::of([talk], 2).to_string(), expected);
    let mut talk = Conversation::new(0);
    talk.ask(Request::Act(Action::One(Command::Get(1))), 0, &mut out);
    assert_eq!(talk.hear(b"+OK\r\n", 1).unwrap_err().kind, Kind::StrangeReply);
}

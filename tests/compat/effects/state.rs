//! All that there is in a server or a shard, in a form that does not depend on how it is stored.

use super::rig::Rig;
use crate::harness::{Client, Cmd, Reply};
use std::collections::BTreeMap;

/// What a value is, by database and key.
pub type State = BTreeMap<(usize, Vec<u8>), Vec<String>>;

/// Whoever answers commands.
pub trait Target {
    fn ask(&mut self, words: &[&[u8]]) -> Reply;
    /// Whether it knows fields that expire.
    fn has_field_expiry(&self) -> bool;
}

impl Target for Rig {
    fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.run(&Cmd::new(words)).unwrap_or_else(|| panic!("{:?}", Cmd::new(words)))
    }

    fn has_field_expiry(&self) -> bool {
        true
    }
}

/// A server, and whether it knows fields that expire.
pub struct Peer(pub Client, pub bool);

impl Target for Peer {
    fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.0.call(&Cmd::new(words))
    }

    fn has_field_expiry(&self) -> bool {
        self.1
    }
}

/// Databases that programs use.
const DBS: [usize; 4] = [0, 1, 2, 15];

/// Shows since when entries are pending only if the target's `clock` can tell.
pub fn state(target: &mut dyn Target, clock: bool) -> State {
    let mut state = State::new();
    for db in DBS {
        target.ask(&[b"SELECT", db.to_string().as_bytes()]);
        for key in texts(&target.ask(&[b"KEYS", b"*"])) {
            let value = describe(target, &key, clock);
            state.insert((db, key), value);
        }
    }
    target.ask(&[b"SELECT", b"0"]);
    state
}

fn bytes(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) => bytes.clone(),
        other => format!("{other:?}").into_bytes(),
    }
}

fn texts(reply: &Reply) -> Vec<Vec<u8>> {
    reply.items().iter().map(bytes).collect()
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn describe(target: &mut dyn Target, key: &[u8], clock: bool) -> Vec<String> {
    let kind = target.ask(&[b"TYPE", key]).text();
    let expiry = target.ask(&[b"PEXPIRETIME", key]).int();
    let mut lines = vec![format!("{kind}, expires {expiry}")];
    let mut tell = |words: &[&[u8]]| {
        let reply = target.ask(words);
        let mut all: Vec<String> = match &reply {
            Reply::Array(_) => texts(&reply).iter().map(|text| shown(text)).collect(),
            other => vec![shown(&bytes(other))],
        };
        if matches!(words[0], b"SMEMBERS" | b"HKEYS") {
            all.sort();
        }
        lines.extend(all);
        reply
    };
    match kind.as_str() {
        "string" => drop(tell(&[b"GET", key])),
        "list" => drop(tell(&[b"LRANGE", key, b"0", b"-1"])),
        "set" => drop(tell(&[b"SMEMBERS", key])),
        "zset" => {
            let elements = texts(&target.ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]));
            for pair in elements.chunks(2) {
                // Redis 7.0 writes more digits than it takes to read the same number.
                let score: f64 = shown(&pair[1]).parse().expect("a score");
                lines.push(format!("{} {score:?}", shown(&pair[0])));
            }
        }
        "hash" => fields(target, key, &mut lines),
        "stream" => stream(target, key, &mut lines, clock),
        other => panic!("a key of type {other:?}"),
    }
    lines
}

fn fields(target: &mut dyn Target, key: &[u8], lines: &mut Vec<String>) {
    let mut fields = texts(&target.ask(&[b"HKEYS", key]));
    fields.sort();
    for field in fields {
        let value = bytes(&target.ask(&[b"HGET", key, &field]));
        let at = match target.has_field_expiry() {
            true => target.ask(&[b"HPEXPIRETIME", key, b"FIELDS", b"1", &field]).items()[0].int(),
            false => -1,
        };
        lines.push(format!("{} = {}, expires {at}", shown(&field), shown(&value)));
    }
}

/// Entries, counts, groups, and who has what since when; not when a consumer was heard of last.
fn stream(target: &mut dyn Target, key: &[u8], lines: &mut Vec<String>, clock: bool) {
    let info = target.ask(&[b"XINFO", b"STREAM", key]);
    for field in
        ["length", "last-generated-id", "max-deleted-entry-id", "entries-added", "first-entry"]
    {
        lines.push(format!("{field} {:?}", info.field(field)));
    }
    lines.push(format!("{:?}", target.ask(&[b"XRANGE", key, b"-", b"+"])));
    for group in target.ask(&[b"XINFO", b"GROUPS", key]).items() {
        for field in ["name", "consumers", "pending", "last-delivered-id", "entries-read"] {
            lines.push(format!("{field} {:?}", group.field(field)));
        }
        if clock {
            // Newer servers compute it in another way.
            lines.push(format!("lag {:?}", group.field("lag")));
        }
        let name = bytes(group.field("name").expect("a group has a name"));
        for consumer in target.ask(&[b"XINFO", b"CONSUMERS", key, &name]).items() {
            lines.push(format!("{:?} {:?}", consumer.field("name"), consumer.field("pending")));
        }
        let pending = target.ask(&[b"XPENDING", key, &name, b"-", b"+", b"1000000"]);
        for entry in pending.items() {
            let mut parts = entry.items().to_vec();
            if !clock {
                parts.remove(2);
            }
            lines.push(format!("{parts:?}"));
        }
    }
}

/// The keys that differ.
pub fn differences(expected: &State, found: &State) -> Vec<String> {
    let mut keys: Vec<_> = expected.keys().chain(found.keys()).collect();
    keys.sort();
    keys.dedup();
    let differ = keys.into_iter().filter(|key| expected.get(*key) != found.get(*key));
    let show = |key: &(usize, Vec<u8>)| {
        let lines = |state: &State| state.get(key).map(|lines| format!("{lines:#.2000?}"));
        format!(
            "database {} key {}\n  expected {:.3000}\n  found {:.3000}",
            key.0,
            shown(&key.1),
            lines(expected).unwrap_or_default(),
            lines(found).unwrap_or_default()
        )
    };
    differ.map(show).collect()
}

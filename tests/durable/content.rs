//! What is in a server, so that it can be compared with what is in another one.

use crate::harness::{Client, Cmd, Reply};
use std::collections::BTreeMap;

/// How far two servers can be the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Encodings, and all that streams know of their consumers.
    All,
    /// Without encodings, which another history of the same value may have made.
    Values,
    /// Without what Redis before 7.2 does not have or has in another form.
    Older,
}

/// What the commands answer by which a key is shown.
pub type Shown = Vec<Reply>;

/// All keys with their databases; libraries of functions stand under a database that there is not.
pub fn content(client: &mut Client, detail: Detail) -> BTreeMap<(i64, Vec<u8>), Shown> {
    let mut all = BTreeMap::new();
    for db in 0..16 {
        client.run(&format!("SELECT {db}"));
        let Reply::Array(keys) = client.run("KEYS *") else { panic!("KEYS") };
        let keys: Vec<Vec<u8>> = keys.into_iter().map(bulk).collect();
        let types: Vec<Cmd> = keys.iter().map(|key| Cmd::new([b"TYPE", &key[..]])).collect();
        let types = client.pipeline(&types).unwrap();
        let questions: Vec<Vec<Cmd>> = keys
            .iter()
            .zip(&types)
            .map(|(key, kind)| questions(key, &kind.text(), detail))
            .collect();
        let mut answers = client.pipeline(&questions.concat()).unwrap().into_iter();
        for ((key, kind), questions) in keys.into_iter().zip(types).zip(&questions) {
            let mut shown = vec![kind];
            for question in questions {
                shown.push(settled(question, answers.next().unwrap(), detail));
            }
            // It has expired in between.
            if shown[0].text() != "none" && shown[1] != Reply::Int(-2) {
                all.insert((db, key), shown);
            }
        }
    }
    client.run("SELECT 0");
    let libraries = client.run("FUNCTION LIST WITHCODE");
    all.insert((-1, Vec::new()), vec![libraries]);
    all
}

fn bulk(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn questions(key: &[u8], kind: &str, detail: Detail) -> Vec<Cmd> {
    let mut all: Vec<Vec<&[u8]>> = vec![vec![b"PEXPIRETIME", key]];
    match kind {
        "string" => all.push(vec![b"GET", key]),
        "list" => all.push(vec![b"LRANGE", key, b"0", b"-1"]),
        "set" => all.push(vec![b"SMEMBERS", key]),
        "zset" => all.push(vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
        "hash" => all.push(vec![b"HGETALL", key]),
        "stream" => all.push(vec![b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"]),
        _ => {}
    }
    if detail == Detail::All {
        all.push(vec![b"OBJECT", b"ENCODING", key]);
    }
    all.into_iter().map(Cmd::new).collect()
}

/// A reply without an order that means nothing, and without what `detail` leaves out.
fn settled(question: &Cmd, reply: Reply, detail: Detail) -> Reply {
    let name = question.name();
    match reply {
        Reply::Array(parts) if name == "SMEMBERS" => {
            let mut parts = parts;
            parts.sort();
            Reply::Array(parts)
        }
        Reply::Array(parts) if name == "HGETALL" => {
            let mut pairs: Vec<Reply> =
                parts.chunks(2).map(|pair| Reply::Array(pair.to_vec())).collect();
            pairs.sort();
            Reply::Array(pairs)
        }
        Reply::Array(mut parts) if name == "ZRANGE" => {
            for score in parts.iter_mut().skip(1).step_by(2) {
                let number: f64 = score.text().parse().unwrap();
                *score = Reply::Double(format!("{number:?}"));
            }
            Reply::Array(parts)
        }
        reply if name == "XINFO" && detail != Detail::All => without_times(reply, detail),
        reply => reply,
    }
}

/// Redis does not record that somebody has asked for entries and got none, 7.0 not when either.
fn without_times(reply: Reply, detail: Detail) -> Reply {
    let Reply::Array(parts) = reply else { return reply };
    let mut kept = Vec::new();
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        let left_out: &[&[u8]] = match detail {
            Detail::Older => {
                &[b"seen-time", b"active-time", b"radix-tree-keys", b"radix-tree-nodes"]
            }
            _ => &[b"seen-time", b"radix-tree-keys", b"radix-tree-nodes"],
        };
        match &part {
            Reply::Bulk(name) if left_out.contains(&&name[..]) => drop(parts.next()),
            _ => kept.push(without_times(part, detail)),
        }
    }
    Reply::Array(kept)
}

/// Panics with the first differences.
#[track_caller]
pub fn assert_same(
    what: &str,
    expected: &BTreeMap<(i64, Vec<u8>), Shown>,
    found: &BTreeMap<(i64, Vec<u8>), Shown>,
) {
    let mut lines = Vec::new();
    let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(key)));
    for key in keys.filter(|key| expected.get(key) != found.get(key)) {
        let shown =
            |content: &BTreeMap<_, Shown>| format!("{:.800}", format!("{:?}", content.get(key)));
        let name = key.1.escape_ascii();
        lines.push(format!("{} {name}:\n  {}\n  {}", key.0, shown(expected), shown(found)));
    }
    let count = lines.len();
    lines.truncate(5);
    assert!(count == 0, "{what}: {count} of {} differ:\n{}", expected.len(), lines.join("\n"));
}

/// Compares by values as DUMP gives them, restored into a redis-server, and its digests: `subject` is
/// any server, `norm` a redis-server that has the same keys, `scratch` one that is used up.
pub fn assert_same_digests(
    what: &str,
    norm: &mut Client,
    subject: &mut Client,
    scratch: &mut Client,
) {
    for db in 0..16 {
        for client in [&mut *norm, &mut *subject] {
            client.run(&format!("SELECT {db}"));
        }
        scratch.run("FLUSHALL");
        let Reply::Array(keys) = norm.run("KEYS *") else { panic!("KEYS") };
        for key in keys.into_iter().map(bulk) {
            let payload = bulk(subject.call(&Cmd::new([b"DUMP", &key[..]])));
            let Reply::Int(at) = subject.call(&Cmd::new([b"PEXPIRETIME", &key[..]])) else {
                panic!("{what}: {}", key.escape_ascii())
            };
            let at = at.max(0).to_string();
            let restore = Cmd::new([&b"RESTORE"[..], &key, at.as_bytes(), &payload, b"ABSTTL"]);
            assert_eq!(scratch.call(&restore).text(), "OK", "{what}: {}", key.escape_ascii());
            let digest = Cmd::new([&b"DEBUG"[..], b"DIGEST-VALUE", &key]);
            let (expected, found) = (norm.call(&digest), scratch.call(&digest));
            assert_eq!(found, expected, "{what}: {} in {db}", key.escape_ascii());
        }
    }
    for client in [norm, subject] {
        client.run("SELECT 0");
    }
}

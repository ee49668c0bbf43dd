//! Commands whose replies list the fields of a hash. Packed hashes have an order, which must be the
//! same; in all others the order is each server's own. What HRANDFIELD chooses is up to chance, and
//! the pages of HSCAN are up to the server.

use super::compare::same;
use super::pair::{Both, Difference, difference};
use super::script::Cmd;
use super::{Client, Reply};
use std::collections::BTreeMap;

/// Whether a command's replies need a look at the hash itself.
pub fn is_of_fields(cmd: &Cmd) -> bool {
    let listing = matches!(cmd.name().as_str(), "HGETALL" | "HKEYS" | "HVALS" | "HRANDFIELD");
    let whole_scan = cmd.name() == "HSCAN" && cmd.0.get(2).is_some_and(|cursor| cursor == b"0");
    listing && cmd.0.len() > 1 || whole_scan
}

/// The rule for replies that are compared without such a look.
pub fn loosely(cmd: &Cmd, oracle: &Reply, subject: &Reply) -> Option<Result<(), String>> {
    if cmd.name() == "HRANDFIELD" && matches!(oracle, Reply::Bulk(_) | Reply::Array(_)) {
        let agree = shape(oracle) == shape(subject);
        return Some(if agree { Ok(()) } else { Err("not of the same form".into()) });
    }
    let (Reply::Array(a), Reply::Array(b)) = (oracle, subject) else { return None };
    let agree = match cmd.name().as_str() {
        "HGETALL" => sorted(a, 2) == sorted(b, 2),
        "HKEYS" | "HVALS" => sorted(a, 1) == sorted(b, 1),
        "HTTL" | "HEXPIRETIME" => near(a, b, 5),
        "HPTTL" | "HPEXPIRETIME" => near(a, b, 5_000),
        _ => return None,
    };
    Some(if agree { Ok(()) } else { Err("not the same fields".into()) })
}

fn sorted(items: &[Reply], each: usize) -> Vec<&[Reply]> {
    let mut records: Vec<_> = items.chunks(each).collect();
    records.sort();
    records
}

/// Whether all numbers are the same but for the time that may have passed.
fn near(a: &[Reply], b: &[Reply], limit: i64) -> bool {
    let close = |pair: (&Reply, &Reply)| match pair {
        (Reply::Int(a), Reply::Int(b)) if *a > 0 && *b > 0 => (a - b).abs() <= limit,
        (a, b) => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(close)
}

/// A reply of HRANDFIELD without what chance decides.
fn shape(reply: &Reply) -> Reply {
    match reply {
        Reply::Bulk(_) => Reply::Bulk(Vec::new()),
        Reply::Array(items) => Reply::Array(items.iter().map(shape).collect()),
        other => other.clone(),
    }
}

/// All strings of a reply, however it is nested.
fn bulks(reply: &Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::Bulk(bulk) => vec![bulk.clone()],
        Reply::Array(items) => items.iter().flat_map(bulks).collect(),
        Reply::Map(pairs) => {
            pairs.iter().flat_map(|(k, v)| [bulks(k), bulks(v)].concat()).collect()
        }
        _ => Vec::new(),
    }
}

impl Both<'_> {
    /// Runs a command that [`is_of_fields`] on both.
    pub(super) fn fields(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        if cmd.name() == "HSCAN" {
            let (redis, ours) =
                (whole_scan(&mut self.redis, cmd), whole_scan(&mut self.corelane, cmd));
            return self.check(step, cmd, redis, &ours);
        }
        let (redis, ours) = (self.redis.call(cmd), self.corelane.call(cmd));
        let about = |name: &[u8]| Cmd(vec![name.to_vec(), cmd.0[1].clone()]);
        let differ = |why| Err(difference(step, &redis, &format!("{ours:?}"), why));
        if cmd.name() == "HRANDFIELD" {
            let all = bulks(&self.corelane.call(&about(b"HGETALL")));
            if let Err(why) = chosen(cmd, &ours, &all) {
                return differ(why);
            }
        } else {
            let [_, key] = &about(b"").0[..] else { unreachable!("two words") };
            let encoding = Cmd::new([&b"OBJECT"[..], b"ENCODING", key]);
            let packed = Reply::Bulk(b"listpack".to_vec());
            if self.corelane.call(&encoding) == packed && bulks(&redis) != bulks(&ours) {
                return differ("not in the same order");
            }
        }
        self.check(step, cmd, redis, &ours)
    }
}

/// Whether what HRANDFIELD answers are fields of the hash, with their values, none twice.
fn chosen(cmd: &Cmd, ours: &Reply, all: &[Vec<u8>]) -> Result<(), &'static str> {
    let all: BTreeMap<_, _> = all.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
    let chosen = bulks(ours);
    let each = if cmd.0.len() > 3 { 2 } else { 1 };
    let mut records: Vec<_> = chosen.chunks(each).collect();
    if records.iter().any(|r| all.get(&r[0]).is_none_or(|v| r.len() > 1 && **v != r[1])) {
        return Err("not fields of the hash");
    }
    let count = records.len();
    records.sort();
    records.dedup();
    let again = cmd.upper(2).starts_with('-');
    if records.len() < count && !again { Err("a field chosen twice") } else { Ok(()) }
}

/// HSCAN from cursor 0 until the cursor is 0 again, as one set of records; errors as they are.
fn whole_scan(client: &mut Client, cmd: &Cmd) -> Reply {
    let each = if cmd.0.iter().any(|arg| arg.eq_ignore_ascii_case(b"novalues")) { 1 } else { 2 };
    let mut cmd = cmd.clone();
    let mut records = std::collections::BTreeSet::new();
    for _ in 0..100_000 {
        let reply = client.call(&cmd);
        let Reply::Array(parts) = &reply else { return reply };
        let [Reply::Bulk(cursor), Reply::Array(page)] = &parts[..] else { return reply };
        records.extend(page.chunks(each).map(|record| Reply::Array(record.to_vec())));
        if cursor == b"0" {
            return Reply::Set(records.into_iter().collect());
        }
        cmd.0[2] = cursor.clone();
    }
    panic!("{cmd:?} never comes to an end");
}

#[test]
fn rules_are_no_wider_than_they_say() {
    use super::compare::OracleAge::Current;
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let list = |words: &str| Reply::Array(words.split(' ').map(bulk).collect());
    let verdict = |line: &str, a: &Reply, b: &Reply| same(&super::parse_line(line), Current, a, b);
    assert!(verdict("HGETALL h", &list("a 1 b 2"), &list("b 2 a 1")).is_ok());
    assert!(verdict("HGETALL h", &list("a 1 b 2"), &list("b 1 a 2")).is_err());
    assert!(verdict("HKEYS h", &list("a b"), &list("b a")).is_ok());
    assert!(verdict("HMGET h a b", &list("a b"), &list("b a")).is_err());
    let ints = |a, b| Reply::Array(vec![Reply::Int(a), Reply::Int(b)]);
    assert!(verdict("HTTL h FIELDS 2 a b", &ints(100, -1), &ints(99, -1)).is_ok());
    assert!(verdict("HTTL h FIELDS 2 a b", &ints(100, -1), &ints(99, -2)).is_err());
    assert!(verdict("HTTL h FIELDS 2 a b", &ints(100, 5), &ints(90, 5)).is_err());
    let random = super::parse_line("HRANDFIELD h 2 WITHVALUES");
    let all = ["a", "1", "b", "2"].map(|word| word.as_bytes().to_vec());
    assert!(chosen(&random, &list("b 2 a 1"), &all).is_ok());
    assert!(chosen(&random, &list("b 1"), &all).is_err());
    assert!(chosen(&random, &list("a 1 a 1"), &all).is_err());
}

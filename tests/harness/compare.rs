//! When two servers' replies count as the same.
//!
//! The rule is equality of the whole reply tree. The exceptions below are each the
//! smallest that a correct server needs: time passes, orders are unspecified, ids differ.

use super::reply::Reply;
use super::scores::{has_scores, same_numbers};
use super::script::Cmd;
use super::streams;

/// How much later one server may have run the same command.
const DRIFT_MS: i64 = 5_000;

/// Behaviour that changed between the oracle's version (Debian has 7.0) and 7.2, which is the norm.
struct Newer {
    /// Whether this row is about the command.
    applies: fn(&Cmd) -> bool,
    /// What 7.2 replies.
    reply: fn(&Cmd) -> Reply,
    /// Why the two differ; printed with a failure.
    why: &'static str,
}

const NEWER: &[Newer] = &[
    Newer {
        applies: |c| c.name() == "CLIENT" && c.upper(1) == "SETINFO",
        reply: client_setinfo,
        why: "CLIENT SETINFO came with 7.2",
    },
    Newer {
        applies: |c| hello_name_error(c).is_some(),
        reply: |c| error(hello_name_error(c).unwrap_or_default()),
        why: "since 7.2 HELLO checks all of its options before the password",
    },
    Newer {
        applies: |c| c.name() == "COMMAND" && c.upper(1).starts_with("GETKEYS") && c.0.len() == 3,
        reply: command_getkeys,
        why: "since 7.2 COMMAND GETKEYS takes a command without arguments",
    },
    Newer {
        applies: |c| c.name() == "CLIENT" && c.upper(1) == "NO-TOUCH",
        reply: client_no_touch,
        why: "CLIENT NO-TOUCH came with 7.2",
    },
];

fn error(text: &str) -> Reply {
    Reply::Error(text.as_bytes().to_vec())
}

fn client_setinfo(cmd: &Cmd) -> Reply {
    let [_, _, attribute, value] = &cmd.0[..] else {
        return error("ERR wrong number of arguments for 'client|setinfo' command");
    };
    let shown = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let name = cmd.upper(2);
    if name != "LIB-NAME" && name != "LIB-VER" {
        return error(&format!("ERR Unrecognized option '{}'", shown(attribute)));
    }
    if value.iter().any(|b| !(b'!'..=b'~').contains(b)) {
        return error(&format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            shown(attribute)
        ));
    }
    Reply::Simple(b"OK".to_vec())
}

/// Of a command that stands alone.
fn command_getkeys(cmd: &Cmd) -> Reply {
    match cmd.upper(2).as_str() {
        "GET" | "SET" | "MSET" | "COPY" | "BITOP" => {
            error("ERR Invalid number of arguments specified for command")
        }
        "PING" | "COMMAND" => error("ERR The command has no key arguments"),
        _ => error("ERR Invalid command specified"),
    }
}

fn client_no_touch(cmd: &Cmd) -> Reply {
    match (cmd.0.len(), cmd.upper(2).as_str()) {
        (3, "ON" | "OFF") => Reply::Simple(b"OK".to_vec()),
        (3, _) => error("ERR syntax error"),
        _ => error("ERR wrong number of arguments for 'client|no-touch' command"),
    }
}

/// What 7.2 says to a HELLO whose AUTH, right or wrong, is followed by a wrong name or option.
fn hello_name_error(cmd: &Cmd) -> Option<&'static str> {
    let version = matches!(cmd.0.get(1).map(Vec::as_slice), Some(b"2" | b"3"));
    let auth_first = cmd.name() == "HELLO" && version && cmd.upper(2) == "AUTH";
    let name = cmd.0.get(6).filter(|_| auth_first && cmd.upper(5) == "SETNAME")?;
    let wrong = name.iter().any(|b| !(b'!'..=b'~').contains(b));
    wrong.then_some("ERR Client names cannot contain spaces, newlines or special characters.")
}

/// Whether the oracle is older than 7.2, so that `NEWER` applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OracleAge {
    Older,
    Current,
}

/// Compares the two replies to one command; an error says by which rule they differ.
pub fn same(cmd: &Cmd, age: OracleAge, oracle: &Reply, subject: &Reply) -> Result<(), String> {
    if age == OracleAge::Older
        && let Some(row) = NEWER.iter().find(|row| (row.applies)(cmd))
    {
        let expected = (row.reply)(cmd);
        return check(expected == *subject, &format!("{}: expected {expected:?}", row.why));
    }
    if oracle.is_error() && subject.is_error() && cmd.0.iter().any(|arg| arg.contains(&0)) {
        // redis-server quotes arguments up to their first NUL only.
        let start = |r: &Reply| r.text().split(' ').take(3).collect::<Vec<_>>().join(" ");
        return check(start(oracle) == start(subject), "the errors differ");
    }
    if age == OracleAge::Older && is_small_list(cmd, oracle, subject) {
        return Ok(());
    }
    if let Some(verdict) = super::rights::loosely(cmd, age, oracle, subject) {
        return verdict;
    }
    if let Some(verdict) = streams::loosely(cmd, age, oracle, subject) {
        return verdict;
    }
    if age == OracleAge::Older && cmd.upper(1) == "ENCODING" {
        // Small sets are packed since 7.2, also integers that are left of others.
        let is = |r: &Reply, encodings: &[&str]| matches!(r, Reply::Bulk(name) if encodings.iter().any(|e| e.as_bytes() == name));
        if is(oracle, &["hashtable", "intset"]) && is(subject, &["listpack"]) {
            return Ok(());
        }
    }
    if let Some(verdict) = loosely(cmd, oracle, subject) {
        return verdict;
    }
    if age == OracleAge::Older && has_scores(cmd) {
        return check(same_numbers(oracle, subject), "the replies differ, also as numbers");
    }
    check(ordered(oracle) == ordered(subject), "the replies differ")
}

/// Whether SORT is asked not to: a set's elements then come in any order.
fn is_unsorted(cmd: &Cmd) -> bool {
    (1..cmd.0.len()).any(|at| cmd.upper(at) == "BY" && !cmd.upper(at + 1).contains('*'))
}

fn check(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_string()) }
}

/// Whether the two name the encoding of a list that is small enough to be a listpack since 7.2.
fn is_small_list(cmd: &Cmd, oracle: &Reply, subject: &Reply) -> bool {
    (cmd.name() == "OBJECT" && cmd.upper(1) == "ENCODING")
        && matches!((oracle, subject), (Reply::Bulk(a), Reply::Bulk(b))
            if a == b"quicklist" && b == b"listpack")
}

/// The commands whose replies need not be equal. `None`: no rule, or the replies aren't of the
/// kind that the rule is about (errors, say), and must be equal.
fn loosely(cmd: &Cmd, oracle: &Reply, subject: &Reply) -> Option<Result<(), String>> {
    let within = |least: i64, limit: i64| match (oracle, subject) {
        (Reply::Int(a), Reply::Int(b)) if *a >= least && *b >= least => {
            Some(check((a - b).abs() <= limit, &format!("further apart than {limit}")))
        }
        _ => None,
    };
    match (cmd.name().as_str(), cmd.upper(1).as_str()) {
        ("TTL" | "EXPIRETIME", _) => within(1, DRIFT_MS / 1000),
        ("PTTL" | "PEXPIRETIME", _) => within(1, DRIFT_MS),
        // Redis shares the small integers' objects, which are as old as the server.
        ("OBJECT", "IDLETIME") => match (oracle, subject) {
            (Reply::Int(_), Reply::Int(idle)) => {
                Some(check((0..DRIFT_MS / 1000).contains(idle), "idle for too long"))
            }
            _ => None,
        },
        // Redis shares the small integers' objects; only that there is an object is a promise.
        ("OBJECT", "REFCOUNT") => within(1, i64::MAX / 2),
        ("CLIENT", "ID") => within(1, i64::MAX / 2),
        // Which key is up to the server; `Pair` checks that it exists.
        ("RANDOMKEY", _) => match (oracle, subject) {
            (Reply::Bulk(_), Reply::Bulk(_)) => Some(Ok(())),
            _ => None,
        },
        ("KEYS", _) => match (oracle, subject) {
            (Reply::Array(a), Reply::Array(b)) => {
                Some(check(sorted(a) == sorted(b), "not the same keys"))
            }
            _ => None,
        },
        // Members have no order; what is chosen at random is compared by `chance`.
        ("SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "SPOP" | "SORT" | "SORT_RO", _)
            if !cmd.name().starts_with("SORT") || is_unsorted(cmd) =>
        {
            match (oracle, subject) {
                (Reply::Array(a), Reply::Array(b)) => {
                    Some(check(sorted(a) == sorted(b), "not the same members"))
                }
                _ => None,
            }
        }
        ("HELLO", _) => hello(oracle, subject),
        // The options asked for come in no order; in RESP2 they are names and values in turn.
        ("CONFIG", "GET") => match (oracle, subject) {
            (Reply::Array(a), Reply::Array(b)) => {
                let pairs = |items: &[Reply]| -> Vec<Vec<Reply>> {
                    let mut pairs: Vec<_> = items.chunks(2).map(<[Reply]>::to_vec).collect();
                    pairs.sort();
                    pairs
                };
                Some(check(pairs(a) == pairs(b), "not the same options"))
            }
            _ => None,
        },
        // What the lines say is each server's own.
        (_, "HELP") => match (oracle, subject) {
            (Reply::Array(a), Reply::Array(b)) => {
                let lines = |r: &[Reply]| {
                    r.len() > 2 && r.iter().all(|line| matches!(line, Reply::Simple(_)))
                };
                Some(check(lines(a) && lines(b), "not a list of lines"))
            }
            _ => None,
        },
        _ => super::fields::loosely(cmd, oracle, subject),
    }
}

/// HELLO's fields, but for the version and the connection's id.
fn hello(oracle: &Reply, subject: &Reply) -> Option<Result<(), String>> {
    let is_queued = matches!(oracle, Reply::Simple(_));
    let alike = std::mem::discriminant(oracle) == std::mem::discriminant(subject);
    if !alike || is_queued || oracle.is_error() {
        return None;
    }
    for name in ["server", "proto", "mode", "role", "modules"] {
        if oracle.field(name) != subject.field(name) {
            return Some(Err(format!("the field {name} differs")));
        }
    }
    let both = |r: &Reply| {
        matches!(r.field("version"), Some(Reply::Bulk(_)))
            && matches!(r.field("id"), Some(Reply::Int(_)))
    };
    Some(check(both(oracle) && both(subject), "version or id is missing"))
}

fn sorted(items: &[Reply]) -> Vec<&Reply> {
    let mut items: Vec<&Reply> = items.iter().collect();
    items.sort();
    items
}

/// The reply with the members of its sets and maps, which have no order, in one order.
pub fn ordered(reply: &Reply) -> Reply {
    let each = |items: &[Reply]| -> Vec<Reply> { items.iter().map(ordered).collect() };
    match reply {
        Reply::Array(v) => Reply::Array(each(v)),
        Reply::Push(v) => Reply::Push(each(v)),
        Reply::Set(v) => {
            let mut v = each(v);
            v.sort();
            Reply::Set(v)
        }
        Reply::Map(m) => {
            let mut m: Vec<_> = m.iter().map(|(k, v)| (ordered(k), ordered(v))).collect();
            m.sort();
            Reply::Map(m)
        }
        other => other.clone(),
    }
}

#[test]
fn rules_are_no_wider_than_they_say() {
    let cmd = |line: &str| super::parse_line(line);
    let int = Reply::Int;
    let verdict = |line: &str, a: Reply, b: Reply| same(&cmd(line), OracleAge::Current, &a, &b);
    assert!(verdict("TTL k", int(100), int(99)).is_ok());
    assert!(verdict("TTL k", int(100), int(90)).is_err());
    assert!(verdict("TTL k", int(-1), int(-2)).is_err());
    assert!(verdict("PTTL k", int(1), int(-2)).is_err());
    assert!(verdict("GET k", Reply::NilBulk, Reply::Null).is_err());
    assert!(
        verdict("KEYS *", Reply::Array(vec![int(1), int(2)]), Reply::Array(vec![int(2), int(1)]))
            .is_ok()
    );
    assert!(
        verdict("MGET a b", Reply::Array(vec![int(1), int(2)]), Reply::Array(vec![int(2), int(1)]))
            .is_err()
    );
    let older =
        |line: &str, b: Reply| same(&cmd(line), OracleAge::Older, &error("ERR unknown"), &b);
    assert!(older("CLIENT SETINFO lib-name x", Reply::Simple(b"OK".to_vec())).is_ok());
    assert!(older("CLIENT SETINFO lib-name x", error("ERR unknown")).is_err());
}

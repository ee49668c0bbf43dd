//! When two replies about streams count as the same.
//!
//! Times differ by what passes between the two servers. An oracle older than 7.2 makes a consumer
//! only when there is something for it, says nothing of when it was active, and knows no `+`.

use super::compare::{OracleAge, ordered};
use super::reply::Reply;
use super::script::Cmd;

/// How much later one server may have run the same command.
const DRIFT_MS: i64 = 5_000;

/// Later times than this are of the clock.
const CLOCK_MS: i64 = 1_000_000_000_000;

/// Fields whose values are times.
const TIMES: [&[u8]; 4] = [b"idle", b"inactive", b"seen-time", b"active-time"];

/// `None` when the replies must be equal, else whether they differ beyond what is allowed.
pub fn loosely(
    cmd: &Cmd,
    age: OracleAge,
    oracle: &Reply,
    subject: &Reply,
) -> Option<Result<(), String>> {
    let older = age == OracleAge::Older;
    let name = cmd.name();
    let same = match (name.as_str(), cmd.upper(1).as_str()) {
        ("XPENDING", _) => pending(oracle, subject),
        ("XINFO", "CONSUMERS" | "STREAM" | "GROUPS") => info(oracle, subject, older),
        ("XGROUP", "CREATECONSUMER") if older => {
            matches!((oracle, subject), (Reply::Int(0 | 1), Reply::Int(0 | 1))) || oracle == subject
        }
        ("XREAD" | "XREADGROUP", _) if older && oracle.is_error() => {
            oracle == subject || newer_error(cmd, &oracle.text(), subject)
        }
        ("XADD", _) if older && oracle.is_error() && subject.is_error() => {
            oracle == subject || oracle.text().contains("Elements are too large")
        }
        _ => return None,
    };
    Some(if same { Ok(()) } else { Err("the replies differ by more than time".into()) })
}

/// What an older server refuses in other words, or refuses at all.
fn newer_error(cmd: &Cmd, oracle: &str, subject: &Reply) -> bool {
    if oracle.starts_with("ERR Unbalanced XREAD list") {
        return subject.is_error() && subject.text().starts_with("ERR Unbalanced 'xread");
    }
    let plus = cmd.0.iter().any(|word| word == b"+");
    plus && oracle.starts_with("ERR Invalid stream ID")
}

/// Two numbers that may be times.
fn near(a: i64, b: i64) -> bool {
    a == b || (a >= 0 && b >= 0 && (a - b).abs() <= DRIFT_MS)
}

/// The extended form: id, consumer, idle time, deliveries.
fn pending(oracle: &Reply, subject: &Reply) -> bool {
    let (Reply::Array(a), Reply::Array(b)) = (oracle, subject) else { return oracle == subject };
    let same = |a: &Reply, b: &Reply| match (a, b) {
        (Reply::Array(a), Reply::Array(b)) => match (&a[..], &b[..]) {
            (
                [id, consumer, Reply::Int(idle), times],
                [id_b, consumer_b, Reply::Int(idle_b), times_b],
            ) => id == id_b && consumer == consumer_b && near(*idle, *idle_b) && times == times_b,
            _ => a == b,
        },
        _ => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn info(oracle: &Reply, subject: &Reply, older: bool) -> bool {
    let (mut a, mut b) = (ordered(oracle), ordered(subject));
    if older {
        simplify(&mut a, None);
        simplify(&mut b, None);
    }
    similar(&a, &b, false)
}

fn similar(a: &Reply, b: &Reply, time: bool) -> bool {
    match (a, b) {
        (Reply::Int(a), Reply::Int(b)) => {
            a == b || ((time || (*a > CLOCK_MS && *b > CLOCK_MS)) && near(*a, *b))
        }
        (Reply::Array(a), Reply::Array(b)) => {
            let is_time = |at: usize| at > 0 && is_one_of(&TIMES, &a[at - 1]);
            a.len() == b.len() && (0..a.len()).all(|at| similar(&a[at], &b[at], is_time(at)))
        }
        (Reply::Map(a), Reply::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.0 == b.0 && similar(&a.1, &b.1, is_one_of(&TIMES, &a.0)))
        }
        _ => a == b,
    }
}

fn is_one_of(names: &[&[u8]], reply: &Reply) -> bool {
    matches!(reply, Reply::Bulk(name) if names.contains(&&name[..]))
}

/// Takes away what only one version tells: how many consumers there are, those with nothing
/// pending, and when they were active.
fn simplify(reply: &mut Reply, field: Option<&[u8]>) {
    const NEW: [&[u8]; 2] = [b"inactive", b"active-time"];
    if field == Some(b"consumers") && matches!(reply, Reply::Int(_)) {
        *reply = Reply::Null;
    }
    let named = |reply: &Reply| match reply {
        Reply::Bulk(name) => Some(name.clone()),
        _ => None,
    };
    match reply {
        Reply::Array(items) => {
            if let Some(at) = items.iter().position(|item| is_one_of(&NEW, item)) {
                items.drain(at..at + 2);
            }
            items.retain(|item| !is_idle_consumer(item));
            for at in 0..items.len() {
                let name = at.checked_sub(1).and_then(|before| named(&items[before]));
                simplify(&mut items[at], name.as_deref());
            }
        }
        Reply::Map(pairs) => {
            pairs.retain(|(name, _)| !is_one_of(&NEW, name));
            for (name, value) in pairs {
                simplify(value, named(name).as_deref());
            }
        }
        _ => {}
    }
}

/// Whether this is what is told of a consumer that has nothing pending.
fn is_idle_consumer(reply: &Reply) -> bool {
    let field = |name: &[u8]| match reply {
        Reply::Map(pairs) => {
            pairs.iter().find(|(own, _)| is_one_of(&[name], own)).map(|(_, value)| value)
        }
        Reply::Array(items) => {
            items.chunks(2).find(|pair| is_one_of(&[name], &pair[0])).and_then(|pair| pair.get(1))
        }
        _ => None,
    };
    let consumer = field(b"idle").or(field(b"seen-time")).is_some();
    consumer
        && field(b"pending").or(field(b"pel-count")).is_some_and(|n| match n {
            Reply::Int(pending) => *pending == 0,
            Reply::Array(pending) => pending.is_empty(),
            _ => false,
        })
}

#[test]
fn only_times_may_differ() {
    let cmd = |line: &str| super::parse_line(line);
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let int = Reply::Int;
    let consumer = |name: &str, pending: i64, idle: i64| {
        let fields =
            [bulk("name"), bulk(name), bulk("pending"), int(pending), bulk("idle"), int(idle)];
        Reply::Array(fields.to_vec())
    };
    let line = cmd("XINFO CONSUMERS k g");
    let verdict = |age, a: Vec<Reply>, b: Vec<Reply>| {
        loosely(&line, age, &Reply::Array(a), &Reply::Array(b)).unwrap()
    };
    let current = |a, b| verdict(OracleAge::Current, vec![a], vec![b]);
    assert!(current(consumer("c", 1, 5), consumer("c", 1, 70)).is_ok());
    assert!(current(consumer("c", 1, 5), consumer("c", 1, 70_000)).is_err());
    assert!(current(consumer("c", 1, 5), consumer("c", 2, 5)).is_err());
    let both = || vec![consumer("c", 1, 5), consumer("d", 0, 5)];
    assert!(verdict(OracleAge::Current, vec![consumer("c", 1, 5)], both()).is_err());
    assert!(verdict(OracleAge::Older, vec![consumer("c", 1, 5)], both()).is_ok());
    let entry =
        |idle| Reply::Array(vec![Reply::Array(vec![bulk("1-1"), bulk("c"), int(idle), int(1)])]);
    let line = cmd("XPENDING k g - + 1");
    let verdict = |a, b| loosely(&line, OracleAge::Current, &entry(a), &entry(b)).unwrap();
    assert!(verdict(1, 2).is_ok() && verdict(1, 100_000).is_err());
    assert!(loosely(&cmd("XRANGE k - +"), OracleAge::Older, &int(1), &int(2)).is_none());
}

//! When replies about users and their rights count as the same.

use super::compare::{OracleAge, ordered};
use super::reply::Reply;
use super::script::Cmd;

/// The fields of an entry of ACL LOG that tell nothing of time, client and server.
const ENTRY: [&str; 5] = ["count", "reason", "context", "object", "username"];

/// Redis 7.0 told what was denied in other words, and users by other rules.
fn since_7_2(cmd: &Cmd, oracle: &Reply, subject: &Reply) -> Option<Result<(), String>> {
    if let ("EXEC", Reply::Array(a), Reply::Array(b)) = (&cmd.name()[..], oracle, subject)
        && a.len() == b.len()
    {
        let verdict = |(a, b): (&Reply, &Reply)| {
            let equal = || check(ordered(a) == ordered(b), "replies in the block differ");
            since_7_2(&Cmd(Vec::new()), a, b).unwrap_or_else(equal)
        };
        return Some(a.iter().zip(b).try_for_each(verdict));
    }
    let text = |reply: &Reply| match reply {
        Reply::Error(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).to_lowercase(),
        _ => String::new(),
    };
    let denied = |text: &str| text.contains("no permissions");
    let (theirs, ours) = (text(oracle), text(subject));
    if theirs.starts_with("err unmatched parenthesis") {
        return Some(check(ours.starts_with("err unmatched parenthesis"), "another error"));
    }
    if denied(&theirs) || theirs.contains("executing the script") {
        return Some(check(denied(&ours), "denied, and not denied"));
    }
    let tells = matches!(cmd.upper(1).as_str(), "LIST" | "GETUSER") && cmd.name() == "ACL";
    let alike = std::mem::discriminant(oracle) == std::mem::discriminant(subject);
    (tells && alike).then_some(Ok(()))
}

fn check(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_string()) }
}

/// `None`: there is no rule, and the replies must be equal.
pub fn loosely(
    cmd: &Cmd,
    age: OracleAge,
    oracle: &Reply,
    subject: &Reply,
) -> Option<Result<(), String>> {
    if age == OracleAge::Older
        && let Some(verdict) = since_7_2(cmd, oracle, subject)
    {
        return Some(verdict);
    }
    match (cmd.name().as_str(), cmd.upper(1).as_str()) {
        ("ACL", "LOG") => match (oracle, subject) {
            (Reply::Array(a), Reply::Array(b)) => Some(entries(a, b)),
            _ => None,
        },
        _ => None,
    }
}

fn entries(oracle: &[Reply], subject: &[Reply]) -> Result<(), String> {
    if oracle.len() != subject.len() {
        return Err(format!("{} entries and {}", oracle.len(), subject.len()));
    }
    for (at, (a, b)) in oracle.iter().zip(subject).enumerate() {
        for name in ENTRY {
            if a.field(name) != b.field(name) || a.field(name).is_none() {
                return Err(format!("entry {at}: the field {name} differs"));
            }
        }
    }
    Ok(())
}

//! COMMAND and its subcommands against redis-server's own table.

use crate::harness::pair::everywhere;
use crate::harness::{Reply, Server};
use std::collections::BTreeSet;

/// What differs between 7.0's table and 7.2's for commands that both have.
const CHANGED: &[(&str, &str)] = &[
    ("command|getkeys", "arity"),
    ("command|getkeysandflags", "arity"),
    ("cluster|shards", "flags"),
    ("cluster|slots", "flags"),
    // Scripts may call them: there they answer at once.
    ("blpop", "flags"),
    ("brpop", "flags"),
    ("blmove", "flags"),
    ("brpoplpush", "flags"),
    ("zrank", "arity"),
    ("zrevrank", "arity"),
    ("bzpopmin", "flags"),
    ("bzpopmax", "flags"),
];

#[test]
fn subcommands() {
    everywhere(
        r#"
        COMMAND INFO nosuch
        COMMAND GETKEYS GET k
        COMMAND GETKEYS SET k v EX 10
        COMMAND GETKEYS MSET a 1 b 2 c 3
        COMMAND GETKEYS DEL a b c
        COMMAND GETKEYS BITOP AND dest a b
        COMMAND GETKEYS COPY a b
        COMMAND GETKEYS LCS a b LEN
        COMMAND GETKEYS OBJECT ENCODING k
        COMMAND GETKEYS PING x
        COMMAND GETKEYS nosuch a
        COMMAND GETKEYS MSET a
        COMMAND GETKEYSANDFLAGS SET k v
        COMMAND GETKEYSANDFLAGS SET k v GET
        COMMAND GETKEYSANDFLAGS COPY a b
        COMMAND GETKEYSANDFLAGS BITOP AND d a b
        COMMAND GETKEYSANDFLAGS DEL a b
        COMMAND GETKEYSANDFLAGS BITFIELD k GET u8 0
        COMMAND GETKEYSANDFLAGS BITFIELD k SET u8 0 1
        COMMAND LIST FILTERBY PATTERN setx*
        COMMAND LIST FILTERBY PATTERN getr*
        COMMAND LIST FILTERBY FOO x
        COMMAND LIST FILTERBY MODULE nosuch
        COMMAND DOCS nosuch
        COMMAND COUNT x
        COMMAND FOO
        "#,
    );
}

/// A set of words, whatever their order and whether simple strings or bulks.
fn words(reply: &Reply) -> BTreeSet<String> {
    reply.items().iter().map(Reply::text).collect()
}

/// Compares one command's row field by field; the differences as text.
fn row_differences(name: &str, redis: &Reply, ours: &Reply, found: &mut Vec<String>) {
    let (a, b) = (redis.items(), ours.items());
    let mut differ = |what: &str, a: String, b: String| {
        if a != b && !CHANGED.contains(&(name, what)) {
            found.push(format!("{name} {what}: redis {a}, ours {b}"));
        }
    };
    differ("length", a.len().to_string(), b.len().to_string());
    for (i, what) in [(0, "name"), (1, "arity"), (3, "first key"), (4, "last key"), (5, "step")] {
        differ(what, format!("{:?}", a[i]), format!("{:?}", b[i]));
    }
    differ("flags", format!("{:?}", words(&a[2])), format!("{:?}", words(&b[2])));
    differ("categories", format!("{:?}", words(&a[6])), format!("{:?}", words(&b[6])));
    differ("key specs", specs(&a[8]), specs(&b[8]));
}

/// Key specifications without their notes, which are prose.
fn specs(reply: &Reply) -> String {
    let one = |spec: &Reply| {
        let flags = spec.field("flags").map(words);
        format!("{flags:?} {:?} {:?}", spec.field("begin_search"), spec.field("find_keys"))
    };
    reply.items().iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn rows_agree_with_redis() {
    let (redis, corelane) = (Server::redis(), Server::corelane(2));
    let (mut redis, mut corelane) = (redis.client(), corelane.client());
    let ours = corelane.run("COMMAND");
    let count = corelane.run("COMMAND COUNT").int();
    assert_eq!(count as usize, ours.items().len());
    let names: Vec<String> = ours.items().iter().map(|row| row.items()[0].text()).collect();
    for needed in [
        "get", "set", "mset", "lcs", "bitfield", "scan", "copy", "hello", "client", "config",
        "info",
    ] {
        assert!(names.iter().any(|n| n == needed), "COMMAND lacks {needed}");
    }
    let theirs = redis.run(&format!("COMMAND INFO {}", names.join(" ")));
    let mut found = Vec::new();
    for (row, ours) in theirs.items().iter().zip(ours.items()) {
        if row.is_nil() {
            continue; // newer than the oracle
        }
        let name = row.items()[0].text();
        row_differences(&name, row, ours, &mut found);
        let subs = |r: &Reply| -> Vec<Reply> { r.items()[9].items().to_vec() };
        for sub in subs(ours) {
            let same = |r: &&Reply| r.items()[0] == sub.items()[0];
            if let Some(row) = subs(row).iter().find(same) {
                row_differences(&sub.items()[0].text(), row, &sub, &mut found);
            }
        }
    }
    assert!(found.is_empty(), "{} rows differ:\n{}", found.len(), found.join("\n"));
}

/// redis-cli builds its hints from this at its interactive start.
#[test]
fn docs_cover_every_command() {
    let server = Server::corelane(1);
    let mut client = server.client();
    client.run("HELLO 3");
    let names = words(&client.run("COMMAND LIST"));
    let Reply::Map(docs) = client.run("COMMAND DOCS") else { panic!("not a map") };
    let top: BTreeSet<String> = names.iter().filter(|n| !n.contains('|')).cloned().collect();
    let documented: BTreeSet<String> = docs.iter().map(|(name, _)| name.text()).collect();
    assert_eq!(top, documented);
    for (name, doc) in &docs {
        for field in ["summary", "since", "group"] {
            let text = doc.field(field).map(Reply::text).unwrap_or_default();
            assert!(!text.is_empty(), "{name:?} has no {field}: {doc:?}");
        }
    }
}

/// What redis-server has is there, or the page of commands says that it is not, and why.
#[test]
fn absent_commands_are_named() {
    let page = include_str!("../../src/command/COMMANDS.md");
    let (_, absent) = page.split_once("## Not there").expect("a section");
    let (_, absent) = absent.split_once("|---|---|").expect("a table");
    let named: BTreeSet<String> = absent
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|names| names.split(", "))
        .map(str::to_lowercase)
        .collect();
    let list = |server: &Server| words(&server.client().run("COMMAND LIST"));
    let (redis, ours) = (list(&Server::redis()), list(&Server::corelane(1)));
    let top = |names: &BTreeSet<String>| -> BTreeSet<String> {
        names.iter().filter(|name| !name.contains('|')).cloned().collect()
    };
    let missing: Vec<String> = top(&redis).difference(&ours).cloned().collect();
    let untold: Vec<&String> = missing.iter().filter(|name| !named.contains(*name)).collect();
    assert!(untold.is_empty(), "{untold:?} are neither there nor named as absent");
    let both: Vec<&String> = named.intersection(&ours).collect();
    assert!(both.is_empty(), "{both:?} are named as absent and there");
}

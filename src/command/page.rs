//! `COMMANDS.md` beside this file: the compatibility table, derived from the rows.

use super::FAMILIES;
use super::spec::*;
use std::fmt::Write;

/// Commands of Redis 7.2 and of Valkey 9 that are not there, and why.
const ABSENT: &[(&str, &str)] = &[
    ("replicaof, slaveof, failover, sync, psync, replconf, wait", "there is no replication"),
    ("migrate", "there are no other nodes that keys could move to"),
    ("sentinel", "there is no Sentinel mode"),
    ("delifeq, msetex, clusterscan", "new in Valkey 9: not yet"),
];

const HEAD: &str = "# Commands

Written from the command table by `CORELANE_WRITE_COMMANDS=1 cargo test --lib commands_page`; a test keeps it true,
another compares the table with a redis-server's `COMMAND`. Arguments, replies and errors are those of Redis 7.2,
unless the page of differences ([DIFFERENCES.md](../DIFFERENCES.md)) says otherwise.

With several shards a command runs

| | |
|---|---|
| here | on the client's own connection |
| key | on the shard that owns its key |
| keys | with all its keys at one shard, whoever owns them, at one moment |
| each | on the shards that own its keys, each doing its part, at one moment |
| all | on all shards at one moment |
| cursor | on one shard after the other, as the cursor says |
| script | with the keys that it names, those that it is known to use, or all keys, at one moment |
| group | as its subcommands do |
";

fn place(command: &Command) -> &'static str {
    match (command.run, command.spread) {
        (Run::Session(_), _) => "here",
        (Run::Container, _) => "group",
        (Run::Script(_), _) => "script",
        (_, Spread::PerKey { .. }) => "each",
        (_, Spread::EveryShard { .. }) => "all",
        (_, Spread::Cursor) => "cursor",
        (_, Spread::OneShard) => match command.keys {
            [] if command.routes.is_empty() => "here",
            [] => "key",
            [one] if matches!(one.find, Find::Range { last: 0, .. }) => "key",
            _ => "keys",
        },
    }
}

fn page() -> String {
    let mut groups: Vec<(&str, Vec<&Command>)> = Vec::new();
    for command in FAMILIES.iter().copied().flatten() {
        let name = command.group.name();
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, rows)) => rows.push(command),
            None => groups.push((name, vec![command])),
        }
    }
    let mut page = String::from(HEAD);
    for (group, mut rows) in groups {
        rows.sort_by_key(|command| command.name);
        let _ = write!(
            page,
            "\n## {group}\n\n| command | in Redis since | runs | |\n|---|---|---|---|\n"
        );
        for command in rows {
            let subcommands: Vec<String> = command
                .subcommands
                .iter()
                .filter_map(|sub| sub.name.split_once('|').map(|(_, word)| word.to_uppercase()))
                .collect();
            let notes = match subcommands.is_empty() {
                true => command.summary.to_string(),
                false => subcommands.join(", "),
            };
            let (name, since) = (command.name.to_uppercase(), command.since);
            let _ = writeln!(page, "| {name} | {since} | {} | {notes} |", place(command));
        }
    }
    page.push_str("\n## Not there\n\n| command | why |\n|---|---|\n");
    for (names, why) in ABSENT {
        let _ = writeln!(page, "| {} | {why} |", names.to_uppercase());
    }
    page
}

#[test]
fn the_commands_page_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/COMMANDS.md");
    if std::env::var_os("CORELANE_WRITE_COMMANDS").is_some() {
        std::fs::write(path, page()).expect("the page is written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page(),
        "{path} is out of date: run\n  CORELANE_WRITE_COMMANDS=1 cargo test --lib commands_page"
    );
}

//! What a key looks like inside: OBJECT.

use super::help::help;
use super::spec::*;
use crate::data::entry::Entry;
use crate::data::value::ValueRef;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Access, Cx};

pub const COMMANDS: &[Command] = &[container("object", -2, OBJECT).doc(
    Group::Generic,
    "2.2.3",
    "Depends on the subcommand.",
    "",
    "Tells how the value of a key is stored and used.",
)];

const OBJECT: &[Command] = &[
    shard("object|help", 2, LOADING.with(STALE), &[], object_help).doc(
        Group::Generic,
        "6.2.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    object_row("object|encoding", encoding).doc(
        Group::Generic,
        "2.2.3",
        "O(1)",
        "key",
        "Names the encoding of a value.",
    ),
    object_row("object|freq", freq).doc(
        Group::Generic,
        "4.0.0",
        "O(1)",
        "key",
        "Tells the logarithmic counter of a key's uses.",
    ),
    object_row("object|idletime", idletime).doc(
        Group::Generic,
        "2.2.3",
        "O(1)",
        "key",
        "Tells how many seconds ago a key was used.",
    ),
    object_row("object|refcount", refcount).doc(
        Group::Generic,
        "2.2.3",
        "O(1)",
        "key",
        "Tells how many references to a value there are.",
    ),
];

const fn object_row(name: &'static str, run: ShardFn) -> Command {
    shard(name, 3, READONLY, const { &[KeySpec::one(2, RO)] }, run)
        .tips(&["nondeterministic_output"])
}

fn object_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "ENCODING <key>",
        "    Names the way in which the value of <key> is stored.",
        "FREQ <key>",
        "    Tells how often <key> is used: a counter that grows with the logarithm of the uses",
        "    and falls with time. Only under an LFU policy.",
        "IDLETIME <key>",
        "    Tells for how many seconds <key> has not been used. Not under an LFU policy.",
        "REFCOUNT <key>",
        "    Tells how many references to the value of <key> there are.",
    ];
    help(&mut cx.out, "OBJECT", &lines);
    Ok(())
}

fn encoding(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.inspect_quietly(args.at(2)) {
        Some(entry) => cx.out.bulk(entry.encoding().name().as_bytes()),
        None => cx.out.null(),
    }
    Ok(())
}

fn freq(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (now, access) = (cx.now(), cx.settings.access);
    match cx.keys.inspect_quietly(args.at(2)) {
        None => cx.out.null(),
        Some(_) if access == Access::Lru => {
            return Err(CmdError::fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
                 Please note that when switching between policies at runtime LRU and LFU data \
                 will take some time to adjust.",
            ));
        }
        Some(entry) => cx.out.int(i64::from(access.frequency(entry.access(), now))),
    }
    Ok(())
}

fn idletime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (now, access) = (cx.now(), cx.settings.access);
    match cx.keys.inspect_quietly(args.at(2)) {
        None => cx.out.null(),
        Some(_) if access != Access::Lru => {
            return Err(CmdError::fixed(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note \
                 that when switching between policies at runtime LRU and LFU data will take some \
                 time to adjust.",
            ));
        }
        Some(entry) => cx.out.int(i64::from(Access::idle_seconds(entry.access(), now))),
    }
    Ok(())
}

fn refcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let shared = cx.keys.shares_integers();
    match cx.keys.inspect_quietly(args.at(2)) {
        Some(entry) => cx.out.int(references(entry, shared)),
        None => cx.out.null(),
    }
    Ok(())
}

/// As Redis has it: small integers are one shared object each, with a count that means "many", unless it
/// evicts by use.
pub fn references(entry: &Entry, shared: bool) -> i64 {
    match entry.value() {
        ValueRef::Int(0..10_000) if shared => i64::from(i32::MAX),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::shard::Access;

    #[test]
    fn encodings_are_named_as_in_redis() {
        let mut bench = Bench::new();
        bench.run("SET i 12345");
        bench.run("SET e abc");
        bench.run(&format!("SET e44 {}", "x".repeat(44)));
        bench.run(&format!("SET r45 {}", "x".repeat(45)));
        for (key, encoding) in [("i", "int"), ("e", "embstr"), ("e44", "embstr"), ("r45", "raw")] {
            let reply = bench.run(&format!("OBJECT ENCODING {key}"));
            assert_eq!(reply, format!("${}\r\n{encoding}\r\n", encoding.len()));
        }
        assert_eq!(bench.run("object encoding none"), "$-1\r\n");
        assert_eq!(bench.run("OBJECT REFCOUNT e"), ":1\r\n");
        bench.run("SET i 42");
        assert_eq!(bench.run("OBJECT REFCOUNT i"), ":2147483647\r\n");
        assert!(bench.run("OBJECT HELP").starts_with("*12\r\n+OBJECT <subcommand> "));
    }

    #[test]
    fn idle_time_counts_from_the_last_use() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.now += 10_000;
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":10\r\n");
        for command in ["TTL k", "TYPE k", "EXISTS k", "OBJECT ENCODING k", "MEMORY USAGE k"] {
            bench.run(command);
        }
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":10\r\n");
        bench.caller.touch = false;
        bench.run("GET k");
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":10\r\n");
        bench.run("TOUCH k");
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":0\r\n");
        bench.caller.touch = true;
        bench.now += 5000;
        bench.run("GET k");
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":0\r\n");
        bench.now += 5000;
        bench.run("RENAME k l");
        assert_eq!(bench.run("OBJECT IDLETIME l"), ":0\r\n");
        assert!(bench.run("OBJECT FREQ l").starts_with("-ERR An LFU maxmemory policy is not "));
        assert_eq!(bench.run("OBJECT FREQ none"), "$-1\r\n");
    }

    #[test]
    fn frequency_is_counted_under_lfu() {
        let mut bench = Bench::new();
        let mut settings = bench.shard.settings;
        settings.access = Access::Lfu { log_factor: 0, decay_minutes: 1 };
        bench.shard.configure(settings);
        bench.run("SET k v");
        assert_eq!(bench.run("OBJECT FREQ k"), ":5\r\n");
        bench.run("GET k");
        bench.run("SET k w");
        assert_eq!(bench.run("OBJECT FREQ k"), ":7\r\n");
        bench.run("COPY k l");
        assert_eq!(bench.run("OBJECT FREQ l"), ":5\r\n");
        bench.now += 3 * 60_000;
        assert_eq!(bench.run("OBJECT FREQ k"), ":5\r\n");
        assert!(bench.run("OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is "));
    }
}

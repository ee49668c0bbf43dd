//! Where memory goes: MEMORY.
//!
//! USAGE counts exactly: every value knows its size, so nothing is sampled, whatever SAMPLES says.

use super::control::{Control, SessionCx};
use super::help::help;
use super::info::memory::Usage;
use super::number::integer;
use super::spec::*;
use crate::error::CmdError;
use crate::resp::Args;
use crate::rt::heap;
use crate::shard::Cx;
use std::fmt::Write;

pub const COMMANDS: &[Command] = &[container("memory", -2, MEMORY).doc(
    Group::Server,
    "4.0.0",
    "Depends on the subcommand.",
    "",
    "Tells where memory goes.",
)];

const MEMORY: &[Command] = &[
    session("memory|doctor", 2, Flags::NONE, doctor)
        .doc(
            Group::Server,
            "4.0.0",
            "O(1)",
            "",
            "Tells what is remarkable about the use of memory.",
        )
        .tips(ANY_SHARD),
    shard("memory|help", 2, LOADING.with(STALE), &[], memory_help).doc(
        Group::Server,
        "4.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
    session("memory|malloc-stats", 2, Flags::NONE, malloc_stats)
        .doc(
            Group::Server,
            "4.0.0",
            "Depends on how much memory is allocated, could be slow",
            "",
            "Answers the allocator's own report.",
        )
        .tips(ANY_SHARD),
    session("memory|purge", 2, Flags::NONE, purge)
        .doc(
            Group::Server,
            "4.0.0",
            "Depends on how much memory is allocated, could be slow",
            "",
            "Gives memory back to the system that the allocator keeps for later.",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    session("memory|stats", 2, Flags::NONE, stats)
        .doc(Group::Server, "4.0.0", "O(1)", "", "Tells how much memory is used by what.")
        .tips(ANY_SHARD),
    shard("memory|usage", -3, READONLY, &[KeySpec::one(2, RO)], usage).doc(
        Group::Server,
        "4.0.0",
        "O(N) where N is the number of samples.",
        "key [SAMPLES count]",
        "Tells how many bytes of memory a key takes.",
    ),
];

const ANY_SHARD: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

fn memory_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "DOCTOR",
        "    Tells what is remarkable about the use of memory, and what to do about it.",
        "MALLOC-STATS",
        "    Answers the allocator's own report.",
        "PURGE",
        "    Gives memory back to the system that the allocator keeps for later.",
        "STATS",
        "    Tells how much memory is used by what.",
        "USAGE <key> [SAMPLES <count>]",
        "    Tells how many bytes <key>, its value and its place in the table take. All elements",
        "    are counted, whatever <count> is.",
    ];
    help(&mut cx.out, "MEMORY", &lines);
    Ok(())
}

fn usage(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    for at in (3..args.len()).step_by(2) {
        let samples = args.get(at + 1).filter(|_| args.is(at, "samples"));
        if integer(samples.ok_or(CmdError::SYNTAX)?)? < 0 {
            return Err(CmdError::SYNTAX);
        }
    }
    match cx.keys.find_any(args.at(2)) {
        Some(entry) => cx.out.int((entry.allocated() + cx.keys.table_share()) as i64),
        None => cx.out.null(),
    }
    Ok(())
}

fn purge(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    heap::purge();
    cx.out.ok();
    Ok(Control::Done)
}

fn malloc_stats(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.verbatim("txt", heap::report().as_bytes());
    Ok(Control::Done)
}

/// The values of MEMORY STATS beside those of the databases, in Redis' order.
enum Value {
    Int(i64),
    Float(f64),
}

fn stats(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    use Value::{Float, Int};
    let usage = Usage::of(cx.env);
    let int = |bytes: u64| Int(bytes as i64);
    let [frag, rss, overhead, total] = usage.overheads();
    let before = [
        ("peak.allocated", int(usage.peak)),
        ("total.allocated", int(usage.used)),
        ("startup.allocated", int(usage.startup)),
        ("replication.backlog", Int(0)),
        ("clients.slaves", Int(0)),
        ("clients.normal", int(usage.clients)),
        ("cluster.links", Int(0)),
        ("aof.buffer", int(usage.journal)),
        ("lua.caches", int(usage.scripts)),
        ("functions.caches", int(usage.functions)),
    ];
    let keys = usage.keys();
    let after = [
        ("overhead.total", int(usage.overhead())),
        ("keys.count", int(keys)),
        ("keys.bytes-per-key", int(usage.net().checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", int(usage.dataset())),
        ("dataset.percentage", Float(usage.dataset_percent())),
        ("peak.percentage", Float(usage.peak_percent())),
        ("allocator.allocated", int(usage.heap.allocated)),
        ("allocator.active", int(usage.heap.active)),
        ("allocator.resident", int(usage.heap.resident)),
        ("allocator-fragmentation.ratio", Float(frag.1)),
        ("allocator-fragmentation.bytes", Int(frag.2)),
        ("allocator-rss.ratio", Float(rss.1)),
        ("allocator-rss.bytes", Int(rss.2)),
        ("rss-overhead.ratio", Float(overhead.1)),
        ("rss-overhead.bytes", Int(overhead.2)),
        ("fragmentation", Float(total.1)),
        ("fragmentation.bytes", Int(total.2)),
    ];
    cx.out.map(before.len() + usage.tables.len() + after.len());
    let write = |cx: &mut SessionCx, (name, value): (&str, Value)| {
        cx.out.bulk(name.as_bytes());
        match value {
            Int(n) => cx.out.int(n),
            Float(x) => cx.out.double(&format!("{x}")),
        }
    };
    before.into_iter().for_each(|pair| write(cx, pair));
    for (db, bytes, _) in usage.tables {
        cx.out.bulk(format!("db.{db}").as_bytes());
        cx.out.map(3);
        // Which keys expire is a mark in the one table.
        write(cx, ("overhead.hashtable.main", int(bytes)));
        write(cx, ("overhead.hashtable.expires", Int(0)));
        write(cx, ("overhead.hashtable.slot-to-keys", Int(0)));
    }
    after.into_iter().for_each(|pair| write(cx, pair));
    Ok(Control::Done)
}

fn doctor(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let clients: u64 = cx.env.stats.iter().map(|stats| stats.connections_now.get()).sum();
    let scripts = cx.env.scripts.size().0;
    let text = diagnosis(&Usage::of(cx.env), clients, scripts, cx.env.config().maxmemory);
    cx.out.verbatim("txt", text.as_bytes());
    Ok(Control::Done)
}

/// Less than this says nothing, bytes.
const TOO_LITTLE: u64 = 5 << 20;
/// A difference that is worth a word, bytes.
const MUCH: i64 = 10 << 20;
/// What a client may use on average, bytes.
const PER_CLIENT: u64 = 200 << 10;
const SCRIPTS: usize = 1000;

fn diagnosis(usage: &Usage, clients: u64, scripts: usize, limit: u64) -> String {
    if usage.used < TOO_LITTLE {
        return "There is hardly any data, so there is nothing to say about memory yet.\n".into();
    }
    let [frag, rss, overhead, total] = usage.overheads();
    let is_much = |(_, ratio, bytes): (&str, f64, i64), most: f64| ratio > most && bytes > MUCH;
    let findings = [
        (
            usage.peak as f64 > usage.used as f64 * 1.5,
            "Peak: at some time half as much again as now, or more, was in use. What was freed since can \
             stay resident for a while; MEMORY PURGE gives it back at once.",
        ),
        (
            is_much(total, 1.4),
            "Resident: the process takes 1.4 times what is in use, or more. After a peak, or with values \
             whose sizes change much, pages are partly used.",
        ),
        (
            is_much(frag, 1.1),
            "Fragmentation: more than a tenth of the pages in use is free space between values. New values \
             of the same sizes fill it; a restart with persistence does away with it.",
        ),
        (
            is_much(rss, 1.1),
            "Allocator: pages without any values are still resident. They go back to the system within \
             seconds, or at once by MEMORY PURGE.",
        ),
        (
            is_much(overhead, 1.1),
            "Process: more is resident than the allocator knows of, as with scripts that use much memory.",
        ),
        (
            limit > 0 && usage.resident > limit + limit / 4,
            "Limit: the process takes a quarter more than maxmemory, or more. The limit is for what is in \
             use; leave room for the difference, or lower it.",
        ),
        (
            usage.clients / clients.max(1) > PER_CLIENT,
            "Clients: they use more than 200 kB each, on average. CLIENT LIST tells which (tot-mem); \
             maxmemory-clients and client-output-buffer-limit set limits.",
        ),
        (
            scripts > SCRIPTS,
            "Scripts: more than 1000 are cached. Scripts that differ in values only should get them by \
             KEYS and ARGV; SCRIPT FLUSH forgets all.",
        ),
    ];
    let mut text = String::new();
    for (_, finding) in findings.iter().filter(|(is_so, _)| *is_so) {
        // Writing to a string cannot fail.
        let _ = write!(text, " * {finding}\n\n");
    }
    match text.is_empty() {
        true => "Nothing is remarkable about the use of memory.\n".into(),
        false => format!("What is remarkable about the use of memory:\n\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Bench, SessionBench};
    use crate::rt::heap::Heap;

    #[test]
    fn memory_of_a_key_covers_entry_and_table() {
        let mut bench = Bench::new();
        bench.run(&format!("SET k {}", "x".repeat(10_000)));
        let usage: usize = bench.run("MEMORY USAGE k")[1..].trim().parse().unwrap();
        assert!((10_000..12_000).contains(&usage), "{usage}");
        assert_eq!(bench.run("MEMORY USAGE k SAMPLES 0"), bench.run("MEMORY USAGE k"));
        assert_eq!(bench.run("MEMORY USAGE none"), "$-1\r\n");
        assert_eq!(bench.run("MEMORY USAGE k SAMPLES -1"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("MEMORY USAGE k SAMPLES"), "-ERR syntax error\r\n");
        assert_eq!(
            bench.run("MEMORY USAGE k SAMPLES x"),
            "-ERR value is not an integer or out of range\r\n"
        );
    }

    #[test]
    fn stats_tell_what_uses_what() {
        let mut bench = SessionBench::new();
        for stats in &bench.env.stats {
            stats.per_db[3].keys.set(10);
            stats.per_db[3].table_bytes.set(500);
            stats.clients_memory.set(1000);
        }
        bench.env.memory.begin(1 << 20);
        bench.env.memory.show(0, 1 << 21);
        let stats = bench.run("memory stats");
        assert!(stats.starts_with("*56\r\n$14\r\npeak.allocated\r\n:3145728\r\n"), "{stats}");
        for line in
            ["clients.normal\r\n:2000", "keys.count\r\n:20", "keys.bytes-per-key\r\n:104857"]
        {
            assert!(stats.contains(line), "{line} in {stats}");
        }
        assert!(stats.contains("$4\r\ndb.3\r\n*6\r\n$23\r\noverhead.hashtable.main\r\n:1000\r\n"));
        assert_eq!(bench.run("memory purge"), "+OK\r\n");
        assert!(bench.run("memory doctor").contains("hardly any data"));
        assert!(bench.run("memory malloc-stats").contains("jemalloc"));
    }

    #[test]
    fn a_diagnosis_names_what_stands_out() {
        let heap = Heap {
            allocated: 100 << 20,
            active: 105 << 20,
            resident: 106 << 20,
            ..Heap::default()
        };
        let mut usage = Usage {
            used: 100 << 20,
            peak: 101 << 20,
            startup: 1 << 20,
            resident: 110 << 20,
            heap,
            clients: 1 << 20,
            journal: 0,
            scripts: 0,
            functions: 0,
            tables: Vec::new(),
        };
        assert_eq!(
            diagnosis(&usage, 100, 10, 100 << 20),
            "Nothing is remarkable about the use of memory.\n"
        );
        usage.peak = 200 << 20;
        usage.resident = 150 << 20;
        let text = diagnosis(&usage, 1, 1001, 100 << 20);
        for word in ["Peak:", "Resident:", "Process:", "Limit:", "Clients:", "Scripts:"] {
            assert!(text.contains(&format!(" * {word}")), "{word} in {text}");
        }
        assert!(!text.contains("Fragmentation:") && !text.contains("Allocator:"));
    }
}

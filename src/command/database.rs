//! Whole databases: DBSIZE, FLUSHDB, FLUSHALL, SWAPDB.

use super::number::{db_index, integer_32};
use super::spec::*;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::Cx;

const ALL_SUCCEEDED: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const KEYSPACE_DANGEROUS: &[&str] = &["keyspace", "dangerous"];
/// FLUSHDB and FLUSHALL in SYNC mode free so many entries before they answer; the rest of a
/// bigger database goes bit by bit afterwards, as with ASYNC.
const SYNC_FREE_MAX: usize = 20_000;

pub const COMMANDS: &[Command] = &[
    shard("dbsize", 1, READONLY.with(FAST), &[], dbsize)
        .spread(Spread::EveryShard { part: dbsize, merge: Merge::Sum })
        .categories(&["keyspace"])
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .doc(Group::Server, "1.0.0", "O(1)", "", "Counts the keys of the database."),
    shard("flushdb", -1, WRITE, &[], flushdb)
        .spread(Spread::EveryShard { part: flushdb, merge: Merge::FirstError })
        .categories(KEYSPACE_DANGEROUS)
        .tips(ALL_SUCCEEDED)
        .doc(
            Group::Server,
            "1.0.0",
            "O(N) where N is the number of keys in the database, spread over time.",
            "[ASYNC | SYNC]",
            "Removes all keys of the database.",
        ),
    shard("flushall", -1, WRITE, &[], flushall)
        .spread(Spread::EveryShard { part: flushall, merge: Merge::FirstError })
        .categories(KEYSPACE_DANGEROUS)
        .tips(ALL_SUCCEEDED)
        .doc(
            Group::Server,
            "1.0.0",
            "O(N) where N is the number of keys in all databases, spread over time.",
            "[ASYNC | SYNC]",
            "Removes all keys of all databases.",
        ),
    shard("swapdb", 3, WRITE.with(FAST), &[], swapdb)
        .spread(Spread::EveryShard { part: swapdb, merge: Merge::FirstError })
        .categories(KEYSPACE_DANGEROUS)
        .doc(
            Group::Server,
            "4.0.0",
            "O(1)",
            "index1 index2",
            "Exchanges the keys of two databases.",
        ),
];

fn dbsize(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.int(cx.keys.len() as i64);
    Ok(())
}

fn flushdb(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let db = cx.keys.db_index();
    flush(cx, args, db..db + 1)
}

fn flushall(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let all = 0..cx.keys.db_count();
    flush(cx, args, all)
}

fn flush(cx: &mut Cx, args: Args, dbs: std::ops::Range<usize>) -> Result<(), CmdError> {
    let wait = match args.len() {
        1 => !cx.settings.lazy_flush,
        2 if args.is(1, "sync") => true,
        2 if args.is(1, "async") => false,
        _ => return Err(CmdError::SYNTAX),
    };
    let removed: usize = dbs.map(|db| cx.keys.flush(db)).sum();
    if wait {
        cx.keys.free_step(SYNC_FREE_MAX);
    }
    cx.keys.changed(removed as u64);
    // Also of what is empty: other shards' keys, or a follower's, may not be.
    cx.keys.effect_on_all(args.iter());
    cx.out.ok();
    Ok(())
}

fn swapdb(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    const FIRST: CmdError = CmdError::fixed("ERR invalid first DB index");
    const SECOND: CmdError = CmdError::fixed("ERR invalid second DB index");
    let count = cx.keys.db_count();
    // Both must be numbers before either is looked at.
    integer_32(args.at(1), Some(FIRST))?;
    integer_32(args.at(2), Some(SECOND))?;
    let first = db_index(args.at(1), count, None)?;
    let second = db_index(args.at(2), count, None)?;
    cx.keys.swap(first, second);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    fn filled(keys: usize) -> Bench {
        let mut bench = Bench::new();
        for db in [0, 3] {
            bench.caller.db = db;
            for n in 0..keys {
                bench.run(&format!("SET {n} v"));
            }
            bench.run("EXPIRE 0 10");
        }
        bench.caller.db = 0;
        bench
    }

    #[test]
    fn a_flush_empties_one_or_all() {
        let mut bench = filled(100);
        assert_eq!(bench.run("FLUSHDB now"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("FLUSHDB SYNC ASYNC"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("DBSIZE"), ":100\r\n");
        assert_eq!(bench.run("FLUSHDB"), "+OK\r\n");
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
        assert_eq!(bench.expires(0), 0);
        assert_eq!((bench.keys(0), bench.keys(3)), (0, 100));
        bench.run("SET a 1");
        assert_eq!(bench.run("FLUSHALL async"), "+OK\r\n");
        assert_eq!((bench.keys(0), bench.keys(3)), (0, 0));
        assert_eq!(bench.run("GET a"), "$-1\r\n");
        bench.run("SET a 2");
        assert_eq!(bench.run("GET a"), "$1\r\n2\r\n");
    }

    #[test]
    fn flushed_memory_goes_in_steps() {
        let mut bench = filled(1000);
        let full = bench.shard.keyspace.table_memory();
        bench.run("FLUSHALL ASYNC");
        assert_eq!(bench.shard.keyspace.table_memory(), full);
        let mut checks = 0;
        assert!(bench.shard.cron(bench.now, &mut || true));
        assert!(bench.shard.keyspace.table_memory() < full);
        while bench.shard.cron(bench.now, &mut || {
            checks += 1;
            checks % 3 == 0
        }) {}
        assert!((5..15).contains(&checks), "{checks}");
        assert_eq!(bench.shard.keyspace.table_memory(), 0);
        assert!(!bench.shard.keyspace.free_step(100));
    }

    #[test]
    fn a_flush_waits_unless_it_may_be_lazy() {
        for (lazy, command, waits) in [
            (false, "FLUSHALL", true),
            (true, "FLUSHALL", false),
            (true, "FLUSHALL SYNC", true),
            (false, "FLUSHALL ASYNC", false),
        ] {
            let mut bench = Bench::new();
            bench.shard.settings.lazy_flush = lazy;
            (0..100).for_each(|n| drop(bench.run(&format!("SET {n} v"))));
            assert_eq!(bench.run(command), "+OK\r\n");
            assert_eq!(bench.shard.keyspace.table_memory() == 0, waits, "{lazy} {command}");
        }
    }

    #[test]
    fn swapped_databases_keep_their_counts() {
        let mut bench = filled(10);
        bench.run("DEL 5");
        assert_eq!(bench.run("SWAPDB 0 3"), "+OK\r\n");
        assert_eq!((bench.keys(0), bench.keys(3)), (10, 9));
        assert_eq!(bench.run("EXISTS 5"), ":1\r\n");
        assert_eq!(bench.run("SWAPDB 3 3"), "+OK\r\n");
        for (command, error) in [
            ("SWAPDB a b", "invalid first DB index"),
            ("SWAPDB 99 b", "invalid second DB index"),
            ("SWAPDB 99999999999 0", "invalid first DB index"),
            ("SWAPDB 0 16", "DB index is out of range"),
            ("SWAPDB -1 0", "DB index is out of range"),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
    }
}

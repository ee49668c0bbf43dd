//! Snapshots of one instant, while clients keep changing what is in them.

use super::rig::{Dir, Process};
use crate::harness::{Cmd, Reply, Rng, wait_until};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PAIRS: usize = 40;
const ACCOUNTS: usize = 40;
const BALANCE: i64 = 1000;
const MEMBERS: usize = 60_000;

/// Moves some money from one account to another, if it is there.
const TRANSFER: &str = "local n = tonumber(redis.call('GET', KEYS[1])) \
    if n < tonumber(ARGV[1]) then return 0 end \
    redis.call('DECRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[1])";

fn prepare(process: &Process) {
    let mut client = process.client();
    let mut cmds: Vec<Cmd> = Vec::new();
    for at in 0..ACCOUNTS {
        cmds.push(Cmd::new(["SET", &format!("account:{at}"), &BALANCE.to_string()]));
    }
    for at in 0..PAIRS {
        cmds.push(Cmd::new(["MSET", &format!("left:{at}"), "0", &format!("right:{at}"), "0"]));
    }
    for at in 0..MEMBERS / 100 {
        let mut words = vec!["ZADD".to_string(), "ranks".into()];
        (at * 100..at * 100 + 100).for_each(|n| words.extend([n.to_string(), format!("m{n}")]));
        cmds.push(Cmd::new(words));
    }
    // Something that takes a snapshot a while.
    for at in 0..2000 {
        cmds.push(Cmd::new(["SET", &format!("filler:{at}"), &"x".repeat(500)]));
    }
    client.pipeline(&cmds).unwrap();
}

/// Changes things so that sums and equalities stay, until told to stop.
fn keep_busy(process: &Process, salt: u64, stop: &AtomicBool, done: &AtomicU64) {
    let mut client = process.client();
    let mut rng = Rng::new(salt);
    while !stop.load(Ordering::Relaxed) {
        let (from, to) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS));
        let (from, to) = (format!("account:{from}"), format!("account:{to}"));
        let pair = rng.below(PAIRS);
        let (left, right) = (format!("left:{pair}"), format!("right:{pair}"));
        let amount = rng.below(50).to_string();
        let member = format!("m{}", rng.below(MEMBERS));
        let cmds = match rng.below(5) {
            0 => vec![Cmd::new(["EVAL", TRANSFER, "2", &from, &to, &amount])],
            1 => vec![
                Cmd::new(["MULTI"]),
                Cmd::new(["INCR", &left]),
                Cmd::new(["INCR", &right]),
                Cmd::new(["EXEC"]),
            ],
            2 => vec![
                Cmd::new(["MULTI"]),
                Cmd::new(["DECRBY", &from, &amount]),
                Cmd::new(["INCRBY", &to, &amount]),
                Cmd::new(["EXEC"]),
            ],
            // Two scores change places: the sum and the number stay.
            3 => vec![
                Cmd::new(["MULTI"]),
                Cmd::new(["ZINCRBY", "ranks", "1", &member]),
                Cmd::new(["ZINCRBY", "ranks", "-1", "m0"]),
                Cmd::new(["EXEC"]),
            ],
            _ => vec![
                Cmd::new(["MULTI"]),
                Cmd::new(["DEL", &format!("filler:{}", rng.below(2000))]),
                Cmd::new(["RENAME", &left, "moved"]),
                Cmd::new(["RENAME", "moved", &left]),
                Cmd::new(["EXEC"]),
            ],
        };
        let replies = client.pipeline(&cmds).unwrap();
        let last = replies.last().unwrap();
        assert!(!last.is_error() && *last != Reply::NilArray, "{last:?}");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// What holds at each instant.
fn check(what: &str, process: &Process) {
    let mut client = process.client();
    let mut sum = 0;
    for at in 0..ACCOUNTS {
        sum += client.run(&format!("GET account:{at}")).text().parse::<i64>().unwrap();
    }
    assert_eq!(sum, ACCOUNTS as i64 * BALANCE, "{what}: money");
    for at in 0..PAIRS {
        let left = client.run(&format!("GET left:{at}")).text();
        assert_eq!(left, client.run(&format!("GET right:{at}")).text(), "{what}: pair {at}");
    }
    assert_eq!(client.run("EXISTS moved"), Reply::Int(0), "{what}: half a transaction");
    let script = "local t = redis.call('ZRANGE', 'ranks', 0, -1, 'WITHSCORES') local sum = 0 \
                  for i = 2, #t, 2 do sum = sum + tonumber(t[i]) end return sum";
    let sum = client.call(&Cmd::new(["EVAL", script, "1", "ranks"]));
    assert_eq!(sum, Reply::Int((MEMBERS * (MEMBERS - 1) / 2) as i64), "{what}: scores");
    assert_eq!(client.run("ZCARD ranks"), Reply::Int(MEMBERS as i64), "{what}: members");
}

fn started_with(what: &str, dir: &Dir, appendonly: &str) {
    check(what, &Process::corelane(dir, 2, &["--appendonly", appendonly]));
}

/// A directory with nothing but this dump.
fn with_dump(path: &std::path::Path) -> Dir {
    let dir = Dir::new();
    std::fs::copy(path, dir.file("dump.rdb")).unwrap();
    dir
}

/// A directory whose data are the bases alone.
fn with_bases(dir: &Dir, shards: usize) -> Dir {
    let made = Dir::new();
    let to = made.file("appendonlydir");
    std::fs::create_dir_all(&to).unwrap();
    let bases = dir.appended("base.");
    assert_eq!(bases.len(), shards, "{bases:?}");
    for path in &bases {
        std::fs::copy(path, to.join(path.file_name().unwrap())).unwrap();
    }
    let name = bases[0].file_name().unwrap().to_string_lossy().into_owned();
    let number = name.split('.').nth(1).unwrap();
    let manifest = format!("corelane-manifest 1\nbase {number} {shards}\nend\n");
    std::fs::write(to.join("corelane.manifest"), manifest).unwrap();
    made
}

#[test]
fn what_belongs_together_is_in_the_same_snapshot() {
    let (dir, shards) = (Dir::new(), 3);
    let args = ["--appendonly", "yes", "--snapshot-max-cpu", "20"];
    let process = Process::corelane(&dir, shards, &args);
    prepare(&process);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let guard = StopAtEnd(&stop);
        for salt in 1..4 {
            let (process, stop, done) = (&process, &stop, &done);
            scope.spawn(move || keep_busy(process, salt, stop, done));
        }
        for round in 0..3 {
            let before = done.load(Ordering::Relaxed);
            assert_eq!(process.run("SAVE").text(), "OK");
            let during = done.load(Ordering::Relaxed) - before;
            started_with(&format!("SAVE {round}"), &with_dump(&dir.file("dump.rdb")), "no");
            let saves = process.number("rdb_saves");
            assert!(!process.run("BGSAVE").is_error());
            wait_until("it is saved", || process.number("rdb_saves") > saves);
            started_with(&format!("BGSAVE {round}"), &with_dump(&dir.file("dump.rdb")), "no");
            process.rewrite();
            started_with(&format!("rewrite {round}"), &with_bases(&dir, shards), "yes");
            assert!(during > 0, "nothing was written during a snapshot");
        }
        drop(guard);
    });
    process.kill();
    started_with("killed", &dir, "yes");
}

/// Also when a check fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_big_collection_that_changes() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &["--snapshot-max-cpu", "10"]);
    let mut client = process.client();
    let count = 300_000;
    for part in 0..count / 1000 {
        let mut words = vec!["ZADD".to_string(), "big".into()];
        for n in part * 1000..part * 1000 + 1000 {
            words.extend([n.to_string(), format!("member:{n}")]);
        }
        client.call(&Cmd::new(words));
    }
    let mut rng = Rng::new(5);
    assert!(!process.run("BGSAVE").is_error());
    let mut changes = 0;
    while process.number("rdb_saves") == 0 {
        // All scores move by one, in one step: a snapshot has a multiple of their number more.
        let cmds: Vec<Cmd> = (0..100)
            .map(|_| {
                let n = rng.below(count);
                Cmd::new(["ZADD", "big", "XX", &(n + count).to_string(), &format!("member:{n}")])
            })
            .collect();
        changes += client.pipeline(&cmds).unwrap().len();
    }
    assert_eq!(process.info("rdb_last_bgsave_status"), "ok");
    let loaded = Process::corelane(&with_dump(&dir.file("dump.rdb")), 1, &[]);
    assert_eq!(loaded.run("ZCARD big"), Reply::Int(count as i64), "after {changes} changes");
    // The cut came before the first change.
    assert_eq!(loaded.run(&format!("ZCOUNT big {count} +inf")), Reply::Int(0));
    assert_eq!(loaded.run(&format!("ZCOUNT big 0 {}", count - 1)), Reply::Int(count as i64));
}

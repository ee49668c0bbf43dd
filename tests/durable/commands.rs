//! SAVE and its kin: what they answer, when snapshots come by themselves, what happens at the end.

use super::rig::{Dir, Process};
use crate::harness::{Cmd, Reply, Server, wait_until};

/// So many keys that a snapshot takes a while, with little time for it.
fn with_much(dir: &Dir, args: &[&str]) -> Process {
    let process = Process::corelane(dir, 2, args);
    let cmds: Vec<Cmd> = (0..200)
        .map(|at| {
            let pairs = (0..100).flat_map(|n| [format!("key:{at}:{n}"), "v".repeat(200)]);
            Cmd::new(["MSET".to_string()].into_iter().chain(pairs))
        })
        .collect();
    process.client().pipeline(&cmds).unwrap();
    process.run("CONFIG SET snapshot-max-cpu 1");
    process
}

const SAVES: &str = "ERR Background save already in progress";
const REWRITES: &str = "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE \
                        SCHEDULE in order to schedule a BGSAVE whenever possible.";

#[test]
fn replies_while_one_is_under_way() {
    let dir = Dir::new();
    let process = with_much(&dir, &["--appendonly", "yes"]);
    let mut client = process.client();
    let mut says = |line: &str, text: &str| assert_eq!(client.run(line).text(), text, "{line}");
    says("BGSAVE", "Background saving started");
    says("BGSAVE", SAVES);
    says("BGSAVE SCHEDULE", SAVES);
    says("SAVE", SAVES);
    says("BGREWRITEAOF", "Background append only file rewriting scheduled");
    says("BGSAVE NOW", "ERR syntax error");
    assert_eq!(process.info("rdb_bgsave_in_progress"), "1");
    assert_eq!(process.info("aof_rewrite_scheduled"), "1");
    assert!(process.number("current_save_keys_total") >= 20_000);
    process.run("CONFIG SET snapshot-max-cpu 100");
    process.wait_info("aof_rewrites", "1");
    assert_eq!(process.info("rdb_saves"), "1");
    process.run("CONFIG SET snapshot-max-cpu 1");
    says("BGREWRITEAOF", "Background append only file rewriting started");
    says("BGREWRITEAOF", "ERR Background append only file rewriting already in progress");
    says("BGSAVE", REWRITES);
    says("BGSAVE SCHEDULE", "Background saving scheduled");
    assert_eq!(process.info("aof_rewrite_in_progress"), "1");
    process.run("CONFIG SET snapshot-max-cpu 100");
    process.wait_info("rdb_saves", "2");
    assert_eq!(process.info("aof_rewrites"), "2");
    process.terminate();
}

#[test]
fn save_waits_for_a_rewrite() {
    let dir = Dir::new();
    let process = with_much(&dir, &["--appendonly", "yes"]);
    let mut client = process.client();
    client.run("BGREWRITEAOF");
    client.run("SET last 1");
    client.send(&Cmd::new(["SAVE"])).unwrap();
    process.run("CONFIG SET snapshot-max-cpu 100");
    assert_eq!(client.recv().unwrap().text(), "OK");
    assert_eq!((process.number("rdb_saves"), process.number("aof_rewrites")), (1, 1));
    process.kill();
    let again = Process::corelane(&dir, 2, &["--appendonly", "no"]);
    assert_eq!(again.run("GET last").text(), "1");
}

#[test]
fn the_same_as_redis() {
    let (redis, dir) = (Server::redis(), Dir::new());
    let process = Process::corelane(&dir, 2, &[]);
    let (mut theirs, mut ours) = (redis.client(), process.client());
    for line in [
        "SAVE",
        "SAVE x",
        "BGSAVE x",
        "BGSAVE SCHEDULE x",
        "BGREWRITEAOF x",
        "LASTSAVE x",
        "MULTI",
        "SAVE",
        "EXEC",
        "EVAL \"return redis.pcall('save')\" 0",
        "EVAL \"return redis.pcall('bgsave')\" 0",
        "SHUTDOWN SAVE NOSAVE",
        "SHUTDOWN x",
        "SHUTDOWN ABORT",
        "CONFIG SET save x",
        "CONFIG SET save \"1\"",
        "CONFIG SET save \"900 1 300 10\"",
        "CONFIG GET save",
        "CONFIG SET save \"\"",
        "CONFIG GET save",
        "CONFIG SET dir /nowhere/at/all",
        "MULTI",
        "BGSAVE",
        "LASTSAVE x",
        "EXEC",
    ] {
        let (expected, found) = (theirs.run(line), ours.run(line));
        let settled = |reply: Reply| format!("{reply:?}");
        assert_eq!(settled(found), settled(expected), "{line}");
    }
    for client in [&mut theirs, &mut ours] {
        let before = client.run("LASTSAVE");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        client.run("SAVE");
        let after = client.run("LASTSAVE");
        let (Reply::Int(before), Reply::Int(after)) = (before, after) else { panic!("LASTSAVE") };
        assert!((1..5).contains(&(after - before)), "{before} {after}");
        for line in ["MULTI", "SET in_multi 1", "BGSAVE", "SET in_multi 2"] {
            assert!(!client.run(line).is_error(), "{line}");
        }
        let Reply::Array(replies) = client.run("EXEC") else { panic!("EXEC") };
        assert!(replies[1].text().starts_with("Background saving "), "{replies:?}");
    }
    process.wait_info("rdb_bgsave_in_progress", "0");
}

#[test]
fn fields_of_info() {
    let args = ["--appendonly", "yes"];
    let (redis, dir) = (Server::redis_with(&args), Dir::new());
    let process = Process::corelane(&dir, 2, &args);
    let names = |text: String| -> Vec<String> {
        let fields = text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_string()));
        fields.collect()
    };
    let theirs = names(redis.client().run("INFO persistence").text());
    let ours = names(process.run("INFO persistence").text());
    // Nothing is forked: there are no pages to be copied, and no time for it.
    let missing: Vec<_> = theirs.iter().filter(|name| !ours.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let before = process.number("aof_current_size");
    for at in 0..10 {
        process.run(&format!("SET key:{at} value"));
    }
    assert_eq!(process.number("rdb_changes_since_last_save"), 10);
    wait_until("the size has grown", || process.number("aof_current_size") > before);
    process.run("SAVE");
    assert_eq!(process.number("rdb_changes_since_last_save"), 0);
    assert_eq!(process.info("rdb_saves"), "1");
    assert!(process.number("rdb_last_bgsave_time_sec") >= 0);
    assert_eq!(process.info("aof_last_rewrite_time_sec"), "-1");
    process.rewrite();
    assert_eq!(process.info("aof_rewrites"), "1");
    assert!(process.number("aof_last_rewrite_time_sec") >= 0);
    assert_eq!(process.number("aof_base_size"), process.number("aof_current_size"));
    process.terminate();
}

#[test]
fn rules_for_snapshots() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &[]);
    process.run("SET a 1");
    assert_eq!(process.run("CONFIG SET save \"1 2\"").text(), "OK");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(process.info("rdb_saves"), "0", "one change is not enough");
    process.run("SET a 2");
    process.wait_info("rdb_saves", "1");
    process.run("SET a 3");
    // The rules count at the end, too.
    let log = process.terminate();
    assert!(log.contains("snapshot"), "{log}");
    let process = Process::corelane(&dir, 1, &[]);
    assert_eq!(process.run("GET a").text(), "3");
    process.run("SET a 4");
    process.terminate();
    let process = Process::corelane(&dir, 1, &[]);
    assert_eq!(process.run("GET a").text(), "3", "there were no rules");
}

#[test]
fn rewrites_by_themselves() {
    let dir = Dir::new();
    let args = ["--appendonly", "yes", "--auto-aof-rewrite-min-size", "100kb"];
    let process = Process::corelane(&dir, 2, &args);
    let value = "v".repeat(1000);
    for at in 0..300 {
        process.client().call(&Cmd::new(["SET", &format!("key:{}", at % 20), &value]));
    }
    wait_until("a rewrite", || process.number("aof_rewrites") > 0);
    process.wait_info("aof_rewrite_in_progress", "0");
    let size: u64 = std::fs::read_dir(dir.file("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 250_000, "{size}");
    process.kill();
    let process = Process::corelane(&dir, 1, &["--appendonly", "yes"]);
    assert_eq!(process.run("DBSIZE"), Reply::Int(20));
}

/// Sends SHUTDOWN and gives the value that is there at the next start.
fn after_shutdown(before: impl Fn(&mut Process), line: &str) -> String {
    let dir = Dir::new();
    let mut process = with_much(&dir, &[]);
    process.run("SET a old");
    process.run("CONFIG SET snapshot-max-cpu 100");
    process.run("SAVE");
    before(&mut process);
    process.run("SET a new");
    let mut client = process.client();
    client.send(&Cmd::new(line.split(' '))).unwrap();
    let answer = client.recv();
    assert!(answer.is_err(), "{line}: {answer:?}");
    assert!(process.wait_end().success());
    Process::corelane(&dir, 2, &[]).run("GET a").text()
}

#[test]
fn shutting_down() {
    assert_eq!(after_shutdown(|_| (), "SHUTDOWN"), "old");
    assert_eq!(after_shutdown(|_| (), "SHUTDOWN SAVE"), "new");
    let rules = |process: &mut Process| drop(process.run("CONFIG SET save \"1000 1000\""));
    assert_eq!(after_shutdown(rules, "SHUTDOWN"), "new");
    assert_eq!(after_shutdown(rules, "SHUTDOWN NOSAVE"), "old");
}

#[test]
fn shutting_down_during_a_snapshot() {
    // What is written after the cut of a snapshot under way is not left out.
    let saves = |process: &mut Process| {
        process.run("CONFIG SET snapshot-max-cpu 1");
        assert!(!process.run("BGSAVE").is_error());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(process.info("rdb_bgsave_in_progress"), "1");
    };
    assert_eq!(after_shutdown(saves, "SHUTDOWN SAVE"), "new");
    assert_eq!(after_shutdown(saves, "SHUTDOWN NOSAVE"), "old");
}

#[test]
fn shutting_down_during_a_rewrite() {
    let dir = Dir::new();
    let mut process = with_much(&dir, &["--appendonly", "yes"]);
    process.run("BGREWRITEAOF");
    let mut client = process.client();
    client.run("SET a new");
    client.send(&Cmd::new(["SHUTDOWN", "SAVE"])).unwrap();
    process.run("CONFIG SET snapshot-max-cpu 100");
    assert!(client.recv().is_err());
    assert!(process.wait_end().success());
    for appendonly in ["yes", "no"] {
        let again = Process::corelane(&dir, 1, &["--appendonly", appendonly]);
        assert_eq!(again.run("GET a").text(), "new");
        assert_eq!(again.run("DBSIZE"), Reply::Int(20_001));
    }
}

#[test]
fn a_directory_that_is_gone() {
    let dir = Dir::new();
    let mut process = Process::corelane(&dir, 2, &[]);
    process.run("SET a 1");
    std::fs::remove_dir_all(dir.data()).unwrap();
    std::fs::write(dir.data(), "in the way").unwrap();
    assert_eq!(process.run("BGSAVE").text(), "Background saving started");
    process.wait_info("rdb_last_bgsave_status", "err");
    process.wait_info("rdb_bgsave_in_progress", "0");
    assert!(process.run("SAVE").is_error());
    let answer = process.run("SHUTDOWN SAVE").text();
    assert_eq!(answer, "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(process.run("GET a").text(), "1");
    std::fs::remove_file(dir.data()).unwrap();
    std::fs::create_dir_all(dir.data()).unwrap();
    assert_eq!(process.run("SAVE").text(), "OK");
    assert_eq!(process.info("rdb_last_bgsave_status"), "ok");
    assert!(dir.file("dump.rdb").exists());
    process.signal(libc::SIGTERM);
    assert!(process.wait_end().success());
}

#[test]
fn nothing_is_written_when_snapshots_fail() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &["--save", "3600 1"]);
    let mut client = process.client();
    client.run("SET before 1");
    // A file in the place of the directory that it works in.
    std::fs::remove_dir_all(dir.data()).unwrap();
    std::fs::write(dir.data(), "").unwrap();
    client.run("BGSAVE");
    process.wait_info("rdb_last_bgsave_status", "err");
    let write = "EVAL 'return redis.call(\"SET\", KEYS[1], 1)' 1 after";
    let late = "EVAL 'return redis.call(\"SET\", ARGV[1], 1)' 0 after";
    for line in ["SET after 1", "DEL before", write, late, "PING"] {
        let reply = client.run(line).text();
        assert!(reply.starts_with("MISCONF"), "{line}: {reply}");
    }
    assert_eq!(client.run("EVAL 'return redis.call(\"GET\", KEYS[1])' 1 before").text(), "1");
    assert_eq!(client.run("GET after"), Reply::NilBulk);
    for line in ["MULTI", "GET before", "PUBLISH channel x"] {
        assert!(!client.run(line).is_error(), "{line}");
    }
    assert_eq!(client.run("EXEC").items().len(), 2, "a block that writes nothing runs");
    client.run("CONFIG SET stop-writes-on-bgsave-error no");
    client.run("MULTI");
    client.run("SET after 1");
    process.client().run("CONFIG SET stop-writes-on-bgsave-error yes");
    let refused = client.run("EXEC").text();
    assert!(
        refused.starts_with("EXECABORT Transaction discarded because of: MISCONF"),
        "{refused}"
    );
    assert_eq!(client.run("GET after"), Reply::NilBulk);
    // Writes go on when that is wanted, or when snapshots can be written again.
    client.run("CONFIG SET stop-writes-on-bgsave-error no");
    assert_eq!(client.run(write).text(), "OK");
    client.run("CONFIG SET stop-writes-on-bgsave-error yes");
    assert!(client.run("SET after 2").text().starts_with("MISCONF"));
    std::fs::remove_file(dir.data()).unwrap();
    client.run("BGSAVE");
    process.wait_info("rdb_last_bgsave_status", "ok");
    assert_eq!(client.run("SET after 2").text(), "OK");
    process.kill();
}

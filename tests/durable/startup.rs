//! Starts that take long, that cannot be, or that find damage.

use super::rig::{Dir, Process};
use crate::harness::{Client, Cmd, Reply, now, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn make_big(dir: &Dir) {
    let binary = std::env::var_os("CORELANE_ORACLE").unwrap_or_else(|| "redis-server".into());
    let redis = Process::redis(Path::new(&binary), dir, &[]);
    assert_eq!(redis.run("DEBUG POPULATE 1500000 key 30").text(), "OK");
    assert_eq!(redis.run("SAVE").text(), "OK");
}

fn connect(process: &Process) -> Client {
    let mut client = None;
    wait_until("it listens", || {
        client = Client::try_connect(process.port).ok();
        client.is_some()
    });
    client.unwrap()
}

#[test]
fn while_it_loads() {
    let dir = Dir::new();
    make_big(&dir);
    for appendonly in ["no", "yes"] {
        let own = dir.copy();
        let args = ["--appendonly", appendonly, "--save", "1 1"];
        let mut process = Process::begin_corelane(&own, 2, &args);
        let mut client = connect(&process);
        let loading = Reply::Error(b"LOADING Redis is loading the dataset in memory".to_vec());
        for line in ["PING", "GET a", "SET a 1", "DBSIZE", "SAVE", "BGSAVE", "FLUSHALL", "KEYS *"] {
            assert_eq!(client.run(line), loading, "{line}");
        }
        assert_eq!(process.info("loading"), "1");
        let part = |field| process.number(field);
        wait_until("something is loaded", || part("loading_loaded_bytes") > 0);
        assert!(part("loading_total_bytes") > 40_000_000);
        assert!(part("loading_loaded_bytes") < part("loading_total_bytes"));
        let info = client.run("INFO persistence").text();
        assert!(info.contains("loading_eta_seconds:") && info.contains("loading_start_time:"));
        assert_eq!(
            client.run("CONFIG GET appendonly").field("appendonly").unwrap().text(),
            appendonly
        );
        // Nothing is written that is not there yet.
        let start = now();
        process.signal(libc::SIGTERM);
        let status = process.wait_end();
        assert!(status.success(), "{status}: {}", process.log());
        assert!(now() - start < Duration::from_secs(20), "{:?}", now() - start);
        let len = |dir: &Dir| fs::metadata(dir.file("dump.rdb")).unwrap().len();
        assert_eq!(len(&own), len(&dir));
    }
}

fn args(truncated: &str) -> [&str; 4] {
    ["--appendonly", "yes", "--aof-load-truncated", truncated]
}

/// A directory with some writes of two shards in segments.
fn with_segments() -> Dir {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &["--appendonly", "yes", "--appendfsync", "no"]);
    for at in 0..50 {
        process.run(&format!("SET key:{at} value"));
    }
    process.kill();
    dir
}

/// The segment with the most in it.
fn segment(dir: &Dir) -> PathBuf {
    let len = |path: &PathBuf| fs::metadata(path).unwrap().len();
    dir.appended("segment.").into_iter().max_by_key(len).unwrap()
}

#[test]
fn a_torn_tail() {
    let dir = with_segments();
    let path = segment(&dir);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let text = Process::refused(&dir, 2, &args("no"));
    let shown = path.display().to_string();
    for part in [&shown[..], "in the middle of a round", "at byte ", "aof-load-truncated yes"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64 - 3, "nothing is touched");
    let process = Process::corelane(&dir, 2, &args("yes"));
    let Reply::Int(keys) = process.run("DBSIZE") else { panic!("DBSIZE") };
    assert!((1..50).contains(&keys), "{keys}");
    assert!(process.log().contains("what follows is cut off"), "{}", process.log());
    assert_eq!(process.run("SET later 1").text(), "OK");
    process.kill();
    // What was cut off is not found again.
    let process = Process::corelane(&dir, 2, &args("no"));
    assert_eq!(process.run("DBSIZE"), Reply::Int(keys + 1));
}

#[test]
fn damage_in_the_middle() {
    let dir = with_segments();
    // It is known by then that all of it was on disk.
    let process = Process::corelane(&dir, 2, &["--appendonly", "yes", "--appendfsync", "always"]);
    for at in 0..20 {
        process.run(&format!("SET key:{at} other"));
    }
    process.kill();
    let path = segment(&dir);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&path, &bytes).unwrap();
    for truncated in ["yes", "no"] {
        let text = Process::refused(&dir, 2, &args(truncated));
        let shown = path.display().to_string();
        for part in [&shown[..], "at byte ", "corelane check"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is touched");
    }
}

#[test]
fn files_that_are_damaged_or_missing() {
    let dir = with_segments();
    let process = Process::corelane(&dir, 2, &["--appendonly", "yes"]);
    process.rewrite();
    process.run("SET after 1");
    process.kill();
    let base = dir.appended("base.").remove(0);
    let manifest = dir.file("appendonlydir/corelane.manifest");
    for path in [base, segment(&dir), manifest] {
        let (shown, bytes) = (path.display().to_string(), fs::read(&path).unwrap());
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        let is_manifest = shown.ends_with(".manifest");
        for content in [Some(&b""[..]), Some(&damaged), None] {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                // Without a manifest there is nothing.
                None if is_manifest => continue,
                None => fs::remove_file(&path).unwrap(),
            }
            let text = Process::refused(&dir, 2, &args("no"));
            assert!(text.contains(&shown), "{text}");
            assert!(text.contains("keep a copy") || text.contains("aof-load-truncated"), "{text}");
        }
        fs::write(&path, bytes).unwrap();
    }
    let process = Process::corelane(&dir, 2, &args("no"));
    assert_eq!(process.run("DBSIZE"), Reply::Int(51));
}

#[test]
fn data_without_their_manifest_are_not_overwritten() {
    let dir = with_segments();
    fs::remove_file(dir.file("appendonlydir/corelane.manifest")).unwrap();
    let before = fs::read(segment(&dir)).unwrap();
    let text = Process::refused(&dir, 2, &["--appendonly", "yes"]);
    assert!(text.contains("corelane.manifest") && text.contains("segment."), "{text}");
    assert_eq!(fs::read(segment(&dir)).unwrap(), before);
}

#[test]
fn damaged_files_of_redis() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 1, &[]);
    process.client().call(&Cmd::new(["SET", "a", &"abc".repeat(100)]));
    process.run("SAVE");
    process.kill();
    let path = dir.file("dump.rdb");
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    let last = bytes.len() - 12;
    damaged[last] ^= 1;
    for content in [&bytes[..bytes.len() - 4], &damaged, b"REDIS", b""] {
        fs::write(&path, content).unwrap();
        for appendonly in ["yes", "no"] {
            let text = Process::refused(&dir, 1, &["--appendonly", appendonly]);
            assert!(text.contains(&path.display().to_string()), "{text}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}

#[test]
fn a_directory_that_cannot_be_written() {
    let dir = Dir::new();
    fs::write(dir.file("appendonlydir"), "a file").unwrap();
    let text = Process::refused(&dir, 1, &["--appendonly", "yes"]);
    assert!(text.contains("appendonlydir"), "{text}");
    let text = Process::refused(&dir, 1, &["--appendonly", "yes", "--dir", "/proc/self"]);
    assert!(text.contains("cannot open the directory /proc/"), "{text}");
}

#[test]
fn two_servers_in_one_directory() {
    let dir = Dir::new();
    let args = ["--appendonly", "yes"];
    let first = Process::corelane(&dir, 1, &args);
    first.run("SET a 1");
    let text = Process::refused(&dir, 1, &args);
    assert!(text.contains("appendonlydir") && text.contains("another server"), "{text}");
    assert_eq!(first.run("INCR a"), Reply::Int(2));
    first.kill();
    let second = Process::corelane(&dir, 2, &args);
    assert_eq!(second.run("GET a").text(), "2");
}

//! Files that are written here pass the checkers of Redis and Valkey, and their servers have from them what was here.

use super::loaded::Loaded;
use crate::harness::{Cmd, Reply, Server, parse_line};
use corelane::persist::foreign::Source;
use corelane::rdb::writer::Options;
use corelane::rdb::{self};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const NOW: i64 = 1_700_000_000_000;

/// A shard with values of each type and encoding.
pub fn filled() -> Loaded {
    let mut loaded = Loaded::at(NOW);
    let far = NOW * 2;
    for db in [0, 3] {
        for line in [
            "SET int 12345".to_string(),
            "SET big 9223372036854775807".to_string(),
            "SET text \"\\x00\\xffhello\"".to_string(),
            format!("SET long {} PXAT {far}", "abc".repeat(2000)),
            "RPUSH list a 1 -5 70000 \"\"".to_string(),
            "SADD ints 1 2 300000".to_string(),
            "SADD words a b 3".to_string(),
            "ZADD scores 1 a 2.5 b -inf c inf d".to_string(),
            "HSET hash f v g 1".to_string(),
            "XADD stream 1-1 a 1 b 2".to_string(),
            "XADD stream 1-2 a 3 b 4".to_string(),
            "XADD stream 5-0 c 5".to_string(),
            "XDEL stream 1-2".to_string(),
            "XGROUP CREATE stream group 0".to_string(),
            "XREADGROUP GROUP group one COUNT 1 STREAMS stream >".to_string(),
            "XGROUP CREATECONSUMER stream group two".to_string(),
            format!("PEXPIREAT hash {far}"),
        ] {
            let reply = loaded.call(db, &parse_line(&line));
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
        for n in 0..1000 {
            let text = format!("element:{n}:{}", "x".repeat(n % 50));
            for cmd in [
                Cmd::new(["RPUSH", "big_list", &text]),
                Cmd::new(["SADD", "big_set", &text]),
                Cmd::new(["SADD", "big_ints", &(n * 7).to_string()]),
                Cmd::new(["ZADD", "big_scores", &format!("{}", n as f64 / 3.0), &text]),
                Cmd::new(["HSET", "big_hash", &text, &n.to_string()]),
                Cmd::new(["XADD", "big_stream", &format!("{n}-1"), "text", &text]),
                Cmd::new(["PFADD", "hll", &text]),
            ] {
                loaded.call(db, &cmd);
            }
        }
    }
    loaded
}

fn options(version: u16, compress: bool) -> Options {
    Options { version, compress, checksum: true }
}

/// Has the server's own program look at a file.
fn assert_checked(variable: &str, checker: &str, path: &Path) {
    let mut command = Command::new(std::env::var_os(variable).unwrap());
    let output = command.arg0(checker).arg(path).output().expect("the checker runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_right = output.status.success() && text.contains("RDB looks OK");
    // A wrapper has its own idea of its name; the server reads the file in any case.
    assert!(is_right || text.is_empty(), "{text}");
}

/// A server with this file, compared key by key.
fn assert_served(variable: &str, bytes: &[u8], loaded: &mut Loaded) {
    let dir = std::env::temp_dir().join(format!("corelane-{variable}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("ours.rdb"), bytes).unwrap();
    let place = dir.to_str().unwrap();
    let mut server =
        Server::named_by(variable, &["--dir", place, "--dbfilename", "ours.rdb"]).unwrap();
    let mut client = server.client();
    let keys = loaded.keys();
    for db in 0..16u8 {
        client.run(&format!("SELECT {db}"));
        let count = keys.iter().filter(|key| key.db == usize::from(db)).count();
        assert_eq!(client.run("DBSIZE"), Reply::Int(count as i64), "database {db}");
        for key in keys.iter().filter(|key| key.db == usize::from(db)) {
            let mut ask = |words: &[&[u8]]| client.call(&Cmd::new(words));
            // What comes back by DUMP is loaded again, and must be what was written.
            let Reply::Bulk(payload) = ask(&[b"DUMP", &key.name]) else { panic!("DUMP") };
            let at = key.expire_at.unwrap_or(-1);
            assert_eq!(ask(&[b"PEXPIRETIME", &key.name]), Reply::Int(at));
            let restore = Cmd::new([&b"RESTORE"[..], &key.name, b"0", &payload, b"REPLACE"]);
            let mut back = Loaded::at(NOW);
            assert_eq!(back.call(0, &restore).text(), "OK");
            let back = back.keys().remove(0).payload;
            let (ours, theirs) = (settled(&key.payload), settled(&back));
            assert_eq!(ours, theirs, "{}", key.name.escape_ascii());
        }
    }
    server.end(libc::SIGKILL);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The parts of a payload in an order that does not depend on where tables have them.
fn settled(payload: &[u8]) -> Vec<Reply> {
    let mut shard = Loaded::at(NOW);
    let restore = Cmd::new([&b"RESTORE"[..], b"k", b"0", payload]);
    assert_eq!(shard.call(0, &restore).text(), "OK");
    let mut all: Vec<Reply> = match &shard.run("TYPE k").text()[..] {
        "hash" => match (shard.run("HGETALL k"), shard.run("HKEYS k")) {
            (Reply::Array(parts), Reply::Array(fields)) => {
                let names: Vec<Vec<u8>> = fields.iter().map(|f| f.text().into_bytes()).collect();
                let count = names.len().to_string().into_bytes();
                let head = [b"HPEXPIRETIME".to_vec(), b"k".to_vec(), b"FIELDS".to_vec(), count];
                let times = shard.call(0, &Cmd::new(head.into_iter().chain(names)));
                let Reply::Array(times) = times else { panic!("{times:?}") };
                let pair = |(pair, time): (&[Reply], Reply)| Reply::Array([pair, &[time]].concat());
                parts.chunks(2).zip(times).map(pair).collect()
            }
            other => panic!("{other:?}"),
        },
        "set" => match shard.run("SMEMBERS k") {
            Reply::Array(parts) => parts,
            other => panic!("{other:?}"),
        },
        "string" => vec![shard.run("GET k")],
        "list" => vec![shard.run("LRANGE k 0 -1")],
        "zset" => vec![shard.run("ZRANGE k 0 -1 WITHSCORES")],
        "stream" => vec![shard.run("XINFO STREAM k FULL COUNT 0")],
        other => panic!("{other}"),
    };
    all.sort();
    all
}

#[test]
fn redis_takes_what_is_written() {
    const SERVER: &str = "CORELANE_REDIS_7_2";
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    let mut loaded = filled();
    for compress in [true, false] {
        let bytes = loaded.write(options(rdb::VERSION, compress));
        let path = std::env::temp_dir().join(format!("corelane-{}.rdb", std::process::id()));
        std::fs::write(&path, &bytes).unwrap();
        assert_checked(SERVER, "redis-check-rdb", &path);
        assert_served(SERVER, &bytes, &mut loaded);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn valkey_takes_fields_that_expire() {
    const SERVER: &str = "CORELANE_VALKEY";
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    let mut loaded = filled();
    let far = NOW * 2;
    loaded.run(&format!("HPEXPIREAT big_hash {far} FIELDS 2 element:0: element:1:x"));
    let bytes = loaded.write(options(rdb::VERSION_VALKEY, true));
    assert_eq!(bytes[..9], *b"VALKEY080");
    assert_served(SERVER, &bytes, &mut loaded);
}

#[test]
fn what_is_written_is_loaded() {
    let mut loaded = filled();
    loaded.run(&format!("HPEXPIREAT big_hash {} FIELDS 1 element:0:", NOW + 5000));
    let keys = loaded.keys();
    let dir = std::env::temp_dir().join(format!("corelane-again-{}", std::process::id()));
    for compress in [true, false] {
        std::fs::write(&dir, loaded.write(options(rdb::VERSION_VALKEY, compress))).unwrap();
        let mut again = Loaded::at(NOW);
        let report = again.load(&Source::Rdb(dir.clone())).unwrap();
        assert_eq!(report.progress.keys, keys.len() as u64);
        for (ours, theirs) in keys.iter().zip(again.keys()) {
            assert_eq!((&ours.name, ours.expire_at), (&theirs.name, theirs.expire_at));
            assert_eq!(settled(&ours.payload), settled(&theirs.payload));
        }
        assert_eq!(again.run("OBJECT IDLETIME int"), Reply::Int(3));
    }
    std::fs::remove_file(dir).unwrap();
}

//! Files of every version of the format that was ever read or written here, which stay readable for ever.
//!
//! A file `name.rdb` has its content beside it as `name.txt`: a line for each key. `CORELANE_GOLDEN=write` makes
//! those anew that the servers at hand and this writer make.

use super::loaded::Loaded;
use super::writing::filled;
use crate::harness::{Reply, Server};
use corelane::persist::foreign::Source;
use corelane::rdb::writer::Options;
use corelane::rdb::{self};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const NOW: i64 = 1_700_000_000_000;

/// One small value of each type and encoding, as commands that Redis 7.0 knows.
pub const SMALL: &str = "\
    SET int 12345\nSET text hello\nSET empty ''\nSET lasting v PXAT 3400000000000\nAPPEND raw abc\n\
    RPUSH list a 1 -5\nRPUSH long_list \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" b\n\
    SADD ints 1 2 300000\nSADD words a b\n\
    SADD long_set aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
    ZADD scores 1 a 2.5 b -inf c\nZADD long_scores 1.5 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
    HSET hash f v g 1\nHSET long_hash f aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
    XADD stream 1-1 a 1\nXADD stream 1-2 a 2\nXDEL stream 1-1\nXGROUP CREATE stream group 0\n\
    XREADGROUP GROUP group one STREAMS stream >\nSELECT 5\nSET five 5\nSELECT 0";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn content(path: &Path) -> String {
    let mut loaded = Loaded::at(NOW);
    let report = loaded.load(&Source::Rdb(path.into())).unwrap();
    let mut text = String::new();
    writeln!(text, "keys {} functions {}", report.progress.keys, report.functions).unwrap();
    for key in loaded.keys() {
        let (name, payload) = (key.name.escape_ascii(), key.payload.escape_ascii());
        writeln!(text, "{} {name} {:?} {payload}", key.db, key.expire_at).unwrap();
    }
    text
}

fn write(name: &str, bytes: Vec<u8>) {
    let path = directory().join(name).with_extension("rdb");
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(path.with_extension("txt"), content(&path)).unwrap();
}

fn make(name: &str, server: Server, more: &str) {
    let mut client = server.client();
    client.run(
        "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"",
    );
    for line in SMALL.lines().chain(more.lines()) {
        let reply = client.run(line.trim());
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    assert_eq!(client.run("SAVE"), Reply::Simple(b"OK".to_vec()));
    write(name, std::fs::read(server.dir.join("dump.rdb")).unwrap());
}

fn make_all() {
    make("redis-7-0", Server::redis(), "");
    if let Some(server) =
        Server::named_by("CORELANE_REDIS_7_2", &["--maxmemory-policy", "allkeys-lfu"])
    {
        make("redis-7-2", server, "");
    }
    if let Some(server) =
        Server::named_by("CORELANE_VALKEY", &["--maxmemory-policy", "allkeys-lru"])
    {
        make("valkey-9", server, "HPEXPIREAT hash 3400000000000 FIELDS 1 f");
    }
    let mut loaded = filled();
    loaded.run("DEL big_list big_set big_ints big_scores big_hash big_stream hll");
    for key in ["big_list", "big_set", "big_ints", "big_scores", "big_hash", "big_stream", "hll"] {
        loaded.call(3, &crate::harness::Cmd::new(["DEL", key]));
    }
    let options = |version| Options { version, compress: true, checksum: true };
    write("ours-11", loaded.write(options(rdb::VERSION)));
    loaded.run("HPEXPIREAT hash 3400000000000 FIELDS 1 f");
    write("ours-80", loaded.write(options(rdb::VERSION_VALKEY)));
}

#[test]
fn old_files_are_read_as_ever() {
    if std::env::var("CORELANE_GOLDEN").is_ok_and(|what| what == "write") {
        make_all();
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(directory()).expect("the golden files") {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rdb") {
            let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap();
            assert_eq!(content(&path), expected, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} golden files");
}

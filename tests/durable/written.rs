//! What is written here is read by Redis, and passes its own checks.

use super::content::{Detail, assert_same, assert_same_digests, content};
use super::rig::{Dir, Process, check_with, redis_7_2};
use crate::harness::Reply;
use crate::persist::foreign::{GO_ON, fill, run_all};
use std::path::Path;

fn check(tool: &str, binary: &Path, path: &Path) {
    let (is_right, text) = check_with(tool, binary, path);
    assert!(is_right, "{tool} {}: {text}", path.display());
}

/// Has a redis-server load what is in `dir`, and compares.
fn redis_has_the_same(what: &str, binary: &Path, dir: &Dir, ours: &Process, args: &[&str]) {
    let redis = Process::redis(binary, dir, args);
    // Consumers are active when commands are replayed.
    let detail = if args.is_empty() { Detail::Values } else { Detail::Older };
    let expected = content(&mut redis.client(), detail);
    let found = content(&mut ours.client(), detail);
    assert!(expected.len() > 50, "{} keys", expected.len());
    assert_same(what, &expected, &found);
    let scratch = Process::redis(binary, &Dir::new(), &[]);
    let mut clients = (redis.client(), ours.client(), scratch.client());
    assert_same_digests(what, &mut clients.0, &mut clients.1, &mut clients.2);
}

#[test]
fn a_dump_is_loaded_by_redis() {
    let Some(binary) = redis_7_2() else { return };
    for shards in [1, 3] {
        let dir = Dir::new();
        let ours = Process::corelane(&dir, shards, &[]);
        fill(&mut ours.client());
        run_all(&mut ours.client(), GO_ON);
        assert_eq!(ours.run("SAVE").text(), "OK");
        check("redis-check-rdb", &binary, &dir.file("dump.rdb"));
        let names: Vec<_> = std::fs::read_dir(dir.data()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        redis_has_the_same(&format!("{shards} shards"), &binary, &dir.copy(), &ours, &[]);
    }
}

/// The keys of several servers together are those of one.
fn together(what: &str, binary: &Path, files: &[std::path::PathBuf], ours: &Process) {
    let mut all = std::collections::BTreeMap::new();
    for path in files {
        check("redis-check-rdb", binary, path);
        let dir = Dir::new();
        std::fs::copy(path, dir.file("dump.rdb")).unwrap();
        let redis = Process::redis(binary, &dir, &[]);
        for (key, shown) in content(&mut redis.client(), Detail::Values) {
            // Libraries are in one of them.
            if key.0 >= 0 || shown[0] != Reply::Array(Vec::new()) {
                assert!(all.insert(key, shown).is_none(), "{what}: a key is in two files");
            }
        }
    }
    assert!(all.len() > 50, "{} keys", all.len());
    assert_same(what, &all, &content(&mut ours.client(), Detail::Values));
}

#[test]
fn files_of_shards_are_loaded_by_redis() {
    let Some(binary) = redis_7_2() else { return };
    let dir = Dir::new();
    let args = ["--appendonly", "yes", "--snapshot-files", "shards"];
    let ours = Process::corelane(&dir, 3, &args);
    fill(&mut ours.client());
    run_all(&mut ours.client(), GO_ON);
    assert_eq!(ours.run("SAVE").text(), "OK");
    let part = |shard| dir.file("dump.rdb.shards").join(format!("base.1.{shard}.rdb"));
    let parts: Vec<_> = (0..3).map(part).collect();
    together("files of shards", &binary, &parts, &ours);
    ours.rewrite();
    let bases = dir.appended("base.");
    assert_eq!(bases.len(), 3, "{bases:?}");
    together("bases", &binary, &bases, &ours);
    // They are what a server without append-only files starts with.
    let own = dir.copy();
    let again = Process::corelane(&own, 2, &["--appendonly", "no"]);
    let expected = content(&mut ours.client(), Detail::Values);
    assert_same("started", &expected, &content(&mut again.client(), Detail::Values));
    // A snapshot in one file is later then.
    assert_eq!(again.run("SET later 1").text(), "OK");
    assert_eq!(again.run("SAVE").text(), "OK");
    let expected = content(&mut again.client(), Detail::Values);
    again.kill();
    let again = Process::corelane(&own, 1, &["--appendonly", "no"]);
    assert_same("started again", &expected, &content(&mut again.client(), Detail::Values));
}

/// Makes a directory as Redis has it of a base and a segment of a server with one shard.
fn as_redis_has_it(dir: &Dir) -> Dir {
    let made = Dir::new();
    let to = made.file("appendonlydir");
    std::fs::create_dir_all(&to).unwrap();
    let mut manifest = String::new();
    for path in dir.appended("base.") {
        std::fs::copy(path, to.join("appendonly.aof.1.base.rdb")).unwrap();
        manifest += "file appendonly.aof.1.base.rdb seq 1 type b\n";
    }
    for (at, path) in (1..).zip(dir.appended("segment.")) {
        let name = format!("appendonly.aof.{at}.incr.aof");
        std::fs::copy(path, to.join(&name)).unwrap();
        manifest += &format!("file {name} seq {at} type i\n");
    }
    std::fs::write(to.join("appendonly.aof.manifest"), manifest).unwrap();
    made
}

#[test]
fn segments_are_replayed_by_redis() {
    let Some(binary) = redis_7_2() else { return };
    let dir = Dir::new();
    let ours = Process::corelane(&dir, 1, &["--appendonly", "yes"]);
    let args = ["--appendonly", "yes", "--aof-load-truncated", "no"];
    fill(&mut ours.client());
    for what in ["a segment alone", "a base and a segment"] {
        run_all(&mut ours.client(), GO_ON);
        for path in dir.appended("segment.") {
            check("redis-check-aof", &binary, &path);
        }
        redis_has_the_same(what, &binary, &as_redis_has_it(&dir), &ours, &args);
        ours.rewrite();
        ours.run("FLUSHALL");
        ours.run("FUNCTION FLUSH");
        fill(&mut ours.client());
    }
    let dir = Dir::new();
    let ours = Process::corelane(&dir, 3, &["--appendonly", "yes"]);
    fill(&mut ours.client());
    run_all(&mut ours.client(), GO_ON);
    let segments = dir.appended("segment.");
    assert_eq!(segments.len(), 3);
    segments.iter().for_each(|path| check("redis-check-aof", &binary, path));
}

//! Recorded effects as an append-only file that servers of the Redis family load.

use super::mortal::Maker;
use super::rig::Rig;
use super::shards::perform_in_units;
use super::state::{Peer, differences, state};
use super::{mortal_program, perform, registry};
use crate::harness::{Server, cases, seed};
use std::fs;
use std::path::{Path, PathBuf};

/// Commands of one file.
const LEN: usize = 20_000;

/// Writes a data directory whose only file has these bytes.
pub fn write_data(dir: &Path, bytes: &[u8]) {
    let files = dir.join("appendonlydir");
    fs::create_dir_all(&files).expect("a directory");
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(files.join("appendonly.aof.manifest"), manifest).expect("a manifest");
    fs::write(files.join("appendonly.aof.1.incr.aof"), bytes).expect("a file");
}

fn data_dir(name: &str, seed: u64) -> PathBuf {
    let name = format!("corelane-effects-{}-{name}-{seed}", std::process::id());
    std::env::temp_dir().join(name)
}

/// Has a server load what one long program has left, and compares.
fn load(name: &str, fields: bool, start: impl Fn(&[&str]) -> Server) {
    for round in 0..u64::from(cases(4)) {
        let mut rig = Rig::recording(&registry(), 11, 1);
        let program = mortal_program(&mut Maker::new(100 + round, fields), LEN);
        let mut recorded = perform(&mut rig, &program);
        // All that has expired goes, since the server's clock says that it has not.
        for _ in 0..2000 {
            rig.shard.expire_cycle(rig.now, &mut || false);
        }
        let expected = state(&mut rig, false);
        recorded.extend(rig.recorded());
        let dir = data_dir(name, round);
        write_data(&dir, &recorded);
        let path = dir.display().to_string();
        let server =
            start(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--dir", &path]);
        let found = state(&mut Peer(server.client(), fields), false);
        let differences = differences(&expected, &found);
        assert!(
            differences.is_empty(),
            "{name}, round {round}, CORELANE_SEED={}, in {path}:\n{}",
            seed(),
            differences.join("\n")
        );
        drop(server);
        fs::remove_dir_all(dir).expect("the directory goes");
        println!("{name}: {LEN} commands, {} bytes, {} keys", recorded.len(), expected.len());
    }
}

#[test]
fn a_redis_server_loads_them() {
    load("redis", false, Server::redis_with);
}

/// What several shards have recorded can stand in one file, one behind the other. A value that went
/// to another shard is there in a form that Redis knows since 7.2.
#[test]
fn a_newer_redis_server_loads_those_of_several_shards() {
    let version = Server::redis().client().run("INFO server").text();
    if version.contains("redis_version:7.0") {
        eprintln!("CORELANE_ORACLE names no redis-server 7.2, nothing was compared");
        return;
    }
    for round in 0..u64::from(cases(4)) {
        let mut rig = Rig::recording(&registry(), 11, 3);
        let program = mortal_program(&mut Maker::new(200 + round, false), LEN);
        let mut parts = perform_in_units(&mut rig, &program, 3);
        rig.shard.keyspace.recorder.effects.begin_unit();
        for _ in 0..2000 {
            rig.shard.expire_cycle(rig.now, &mut || false);
        }
        for (owner, bytes) in rig.shard.keyspace.recorder.effects.end_unit() {
            parts[owner].extend(bytes);
        }
        let dir = data_dir("shards", round);
        write_data(&dir, &parts.concat());
        let path = dir.display().to_string();
        let server = Server::redis_with(&["--appendonly", "yes", "--dir", &path]);
        let expected = state(&mut rig, false);
        let found = state(&mut Peer(server.client(), false), false);
        let differences = differences(&expected, &found);
        assert!(differences.is_empty(), "round {round}, in {path}:\n{}", differences.join("\n"));
        drop(server);
        fs::remove_dir_all(dir).expect("the directory goes");
        println!("several shards: {LEN} commands, {} keys", expected.len());
    }
}

#[test]
fn a_valkey_server_loads_them() {
    if std::env::var_os("CORELANE_VALKEY").is_none() {
        eprintln!("CORELANE_VALKEY names no valkey-server 9, nothing was compared");
        return;
    }
    load("valkey", true, |args| Server::valkey_with(args).expect("it is named"));
}

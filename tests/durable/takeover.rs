//! What Redis has left in its directory is taken over as it is, and goes on from there.

use super::content::{Detail, assert_same, assert_same_digests, content};
use super::rig::{Dir, Process, redis_7_2, redis_binaries};
use crate::harness::Reply;
use crate::persist::foreign::{GO_ON, fill, run_all};
use std::path::Path;

/// What can be done to any of it.
const LATER: &str = "\
    INCR counter\nSET new v\nXADD stream * n 1\nRPUSH list z\nHSET hash new 1\nZINCRBY scores 2 b\n\
    MULTI\nSET x 1\nSADD ints 77\nINCR y\nEXEC\nSELECT 3\nSET three 3\nSELECT 0\nPEXPIRE list 90000000";

/// Starts Corelane where Redis has been, compares, writes, kills it, and compares again.
fn take_over(
    binary: &Path,
    dir: &Dir,
    left_by: &mut Process,
    detail: Detail,
    appendonly: &str,
    later: &str,
) {
    let expected = content(&mut left_by.client(), detail);
    assert!(expected.len() > 50, "{} keys", expected.len());
    for shards in [1, 2, 3] {
        let what = format!("appendonly {appendonly}, {shards} shards");
        let own = dir.copy();
        let args = ["--appendonly", appendonly];
        let process = Process::corelane(&own, shards, &args);
        assert_same(&what, &expected, &content(&mut process.client(), detail));
        // Digests of scores are other ones before 7.2.
        if let Some(binary) = redis_7_2().filter(|own| shards == 2 && own == binary) {
            let scratch = Process::redis(&binary, &Dir::new(), &[]);
            let mut clients = (left_by.client(), process.client(), scratch.client());
            assert_same_digests(&what, &mut clients.0, &mut clients.1, &mut clients.2);
        }
        run_all(&mut process.client(), later);
        let written = content(&mut process.client(), Detail::Values);
        match appendonly {
            "yes" => process.kill(),
            _ => {
                assert_eq!(process.run("SAVE").text(), "OK");
                process.kill();
            }
        }
        let again = Process::corelane(&own, 4 - shards, &args);
        let found = content(&mut again.client(), Detail::Values);
        assert_same(&format!("{what}, started again"), &written, &found);
        again.kill();
    }
}

fn detail(binary: &Path) -> Detail {
    match redis_7_2().as_deref() == Some(binary) {
        true => Detail::All,
        false => Detail::Older,
    }
}

#[test]
fn a_dump_of_redis() {
    for binary in redis_binaries() {
        let dir = Dir::new();
        let mut redis = Process::redis(&binary, &dir, &[]);
        fill(&mut redis.client());
        assert_eq!(redis.run("SAVE").text(), "OK");
        assert_eq!(redis.run("DEBUG RELOAD NOSAVE").text(), "OK");
        for appendonly in ["no", "yes"] {
            take_over(&binary, &dir, &mut redis, detail(&binary), appendonly, GO_ON);
        }
    }
}

#[test]
fn append_only_files_of_redis() {
    for binary in redis_binaries() {
        let dir = Dir::new();
        let mut redis = Process::redis(&binary, &dir, &["--appendonly", "yes"]);
        fill(&mut redis.client());
        redis.rewrite();
        run_all(&mut redis.client(), GO_ON);
        assert_eq!(redis.run("DEBUG LOADAOF").text(), "OK");
        // To Redis consumers are active when commands are replayed.
        take_over(&binary, &dir, &mut redis, Detail::Older, "yes", LATER);
    }
}

#[test]
fn without_appendonly_the_append_only_files_of_redis_stay_as_they_are() {
    let Some(binary) = redis_7_2() else { return };
    let dir = Dir::new();
    let redis = Process::redis(&binary, &dir, &["--appendonly", "yes"]);
    redis.run("SET a 1");
    redis.terminate();
    let process = Process::corelane(&dir, 2, &["--appendonly", "no"]);
    assert_eq!(process.run("DBSIZE"), Reply::Int(0));
    process.terminate();
    let redis = Process::redis(&binary, &dir, &["--appendonly", "yes"]);
    assert_eq!(redis.run("GET a").text(), "1");
}

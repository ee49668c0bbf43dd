//! A data directory in version 1 of the format, which is loaded for ever.
//!
//! `CORELANE_GOLDEN=write` makes one that is not there: `tests/golden/format-1` has the directory of two
//! shards with a base and segments behind it, and `content.txt` what is in it. A version is made once.

use super::content::{Detail, content};
use super::rig::{Dir, Process, copy_all};
use crate::persist::foreign::run_all;
use crate::persist::golden::SMALL;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What comes behind the base.
const LATER: &str = "\
    SET a 1\nMULTI\nSET b 2\nINCR a\nRPUSH c x y\nSELECT 3\nSET d 4\nEXEC\nSELECT 0\nDEL text\n\
    MSET e 5 f 6 g 7\nEVAL \"redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])\" 2 a b\n\
    RENAME int other\nSMOVE words moved a\nLMOVE list list RIGHT LEFT\nXADD stream 5-5 a 5\n\
    XREADGROUP GROUP group two STREAMS stream >\nHINCRBYFLOAT hash g 0.5\nPEXPIREAT list 3400000000001\n\
    ZADD scores 7 d\nSELECT 5\nAPPEND five x\nSELECT 0\nSWAPDB 3 4\nGETDEL lasting\n\
    FUNCTION LOAD \"#!lua name=more\\nredis.register_function('g', function() return 2 end)\"";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

fn text_of(process: &Process) -> String {
    let mut text = String::new();
    for ((db, key), shown) in content(&mut process.client(), Detail::Values) {
        writeln!(text, "{db} {} {shown:?}", key.escape_ascii()).unwrap();
    }
    text
}

fn make() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &["--appendonly", "yes"]);
    let library =
        "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"";
    run_all(&mut process.client(), library);
    run_all(&mut process.client(), SMALL);
    process.rewrite();
    run_all(&mut process.client(), LATER);
    let text = text_of(&process);
    process.kill();
    copy_all(&dir.data(), &directory());
    std::fs::write(directory().join("content.txt"), text).unwrap();
}

#[test]
fn a_directory_of_version_1() {
    let is_made = directory().exists();
    if !is_made && std::env::var("CORELANE_GOLDEN").is_ok_and(|what| what == "write") {
        make();
    }
    let expected = std::fs::read_to_string(directory().join("content.txt")).unwrap();
    assert!(expected.lines().count() > 20);
    for shards in [1, 2, 3] {
        let dir = Dir::new();
        copy_all(&directory(), &dir.data());
        assert_eq!((dir.appended("base.").len(), dir.appended("segment.").len()), (2, 2));
        let process = Process::corelane(&dir, shards, &["--appendonly", "yes"]);
        assert_eq!(text_of(&process), expected, "{shards} shards");
    }
}

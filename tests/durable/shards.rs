//! Restarts with other numbers of shards.

use super::content::{Detail, assert_same, content};
use super::rig::{Dir, Process};
use crate::compat;
use crate::harness::{Client, Reply, Rng, cases};

/// Runs a random program, and keeps copies of what it leaves.
fn run_program(client: &mut Client, program: &[crate::harness::Cmd], name: &str, rng: &mut Rng) {
    client.run(&format!("SELECT {}", rng.below(3)));
    for cmd in program {
        let ends = ["FLUSHALL", "FLUSHDB", "RESET", "QUIT", "HELLO", "CLIENT", "SUBSCRIBE"];
        if !ends.contains(&&*cmd.name()) {
            client.call(cmd);
        }
    }
    client.run("DISCARD");
    client.run("SELECT 1");
    let Reply::Array(keys) = client.run("KEYS *") else { panic!("KEYS") };
    for key in keys {
        let Reply::Bulk(key) = key else { panic!("a key") };
        if !key.starts_with(b"copy:") {
            let copy = [format!("copy:{name}:").as_bytes(), &key].concat();
            client.call(&crate::harness::Cmd::new([b"COPY", &key[..], &copy, b"REPLACE"]));
        }
    }
}

fn restarts(name: &str, appendonly: bool, rewrites: bool) {
    let dir = Dir::new();
    let mut rng = Rng::new(7);
    let args: &[&str] = match appendonly {
        true => &["--appendonly", "yes", "--appendfsync", "no"],
        false => &["--appendonly", "no", "--snapshot-files", "shards"],
    };
    let mut expected = None;
    let rounds = [1, 2, 4, 3, 1, 2];
    for (at, &shards) in rounds.iter().enumerate() {
        let process = Process::corelane(&dir, shards, args);
        let mut client = process.client();
        let what = format!("{name}: {:?} shards", &rounds[..=at]);
        if let Some(expected) = &expected {
            assert_same(&what, expected, &content(&mut client, Detail::Values));
        }
        let programs = compat::programs(&what, cases(12) as usize);
        for (number, program) in programs.iter().enumerate() {
            if rewrites && number == programs.len() / 2 {
                process.rewrite();
            }
            run_program(&mut process.client(), program, &format!("{at}.{number}"), &mut rng);
        }
        expected = Some(content(&mut client, Detail::Values));
        match (appendonly, at % 2) {
            (false, _) => assert_eq!(client.run("SAVE").text(), "OK"),
            (true, 0) => {
                process.terminate();
                continue;
            }
            _ => {}
        }
        process.kill();
    }
    assert!(expected.is_some_and(|content| content.len() > 200));
}

#[test]
fn with_segments_alone() {
    restarts("segments", true, false);
}

#[test]
fn with_rewrites_in_between() {
    restarts("rewrites", true, true);
}

#[test]
fn with_snapshots_of_shards() {
    restarts("snapshots", false, false);
}

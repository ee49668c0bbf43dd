//! DEBUG RELOAD and DEBUG LOADAOF.

use super::content::{Detail, assert_same, content};
use super::rig::{Dir, Process};
use crate::harness::{Client, Reply};
use std::sync::atomic::{AtomicBool, Ordering};

fn fill(client: &mut Client) {
    for db in [0, 5] {
        client.run(&format!("SELECT {db}"));
        for n in 0..200 {
            client.run(&format!("SET text:{n} rep({n},\"x\") PX 100000000"));
            client.run(&format!("RPUSH list:{} {n}", n % 7));
            client.run(&format!("ZADD scores {n}.5 m{n}"));
            client.run(&format!("HSET hash f{n} {n}"));
            client.run(&format!("SADD set s{n}"));
            client.run(&format!("XADD stream {}-1 f {n}", n + 1));
        }
        client.run("XGROUP CREATE stream group 0");
        client.run("XREADGROUP GROUP group one COUNT 3 STREAMS stream >");
    }
    client.run("SELECT 0");
    client.run(
        "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 7 end)\"",
    );
}

#[test]
fn all_is_there_again() {
    for (shards, appendonly) in [(1, "no"), (3, "no"), (1, "yes"), (3, "yes")] {
        let dir = Dir::new();
        let process = Process::corelane(&dir, shards, &["--appendonly", appendonly]);
        let mut client = process.client();
        fill(&mut client);
        let before = content(&mut client, Detail::Values);
        let digest = client.run("DEBUG DIGEST");
        for line in ["DEBUG RELOAD", "DEBUG RELOAD NOSAVE", "DEBUG RELOAD NOSAVE NOFLUSH MERGE"] {
            assert_eq!(client.run(line).text(), "OK", "{}", process.log());
            assert_same(line, &before, &content(&mut client, Detail::Values));
            assert_eq!(client.run("DEBUG DIGEST"), digest, "{line}");
        }
        if appendonly == "no" {
            let refused = client.run("DEBUG LOADAOF").text();
            assert_eq!(refused, "ERR Error trying to load the AOF files, check server logs.");
            client.run("BGREWRITEAOF");
            process.wait_info("aof_rewrite_in_progress", "0");
        }
        for _ in 0..2 {
            assert_eq!(client.run("DEBUG LOADAOF").text(), "OK", "{}", process.log());
            assert_same("LOADAOF", &before, &content(&mut client, Detail::Values));
        }
        assert_eq!(client.run("FCALL f 0"), Reply::Int(7));
        assert!(client.run("DEBUG RELOAD NOFLUSH").is_error(), "the library is in both");
        assert_eq!(client.run("SET more 1").text(), "OK");
        let before = content(&mut client, Detail::Values);
        if appendonly == "yes" {
            process.kill();
            let process = Process::corelane(&dir, 2, &["--appendonly", "yes"]);
            assert_same("restart", &before, &content(&mut process.client(), Detail::Values));
        }
    }
}

#[test]
fn what_was_saved_takes_the_place_of_what_is_there_or_comes_beside_it() {
    for appendonly in ["no", "yes"] {
        let dir = Dir::new();
        let process = Process::corelane(&dir, 3, &["--appendonly", appendonly]);
        let mut client = process.client();
        let failed = "ERR Error trying to load the RDB dump, check server logs.";
        client.run("SET before 1");
        assert_eq!(client.run("DEBUG RELOAD NOSAVE").text(), failed, "there is no file");
        assert_eq!(client.run("GET before").text(), "1");
        client.run("MSET a 1 b 1 c 1");
        assert_eq!(client.run("SAVE").text(), "OK");
        client.run("MSET a 2 d 2 e 2 f 2");
        client.run("DEL c");
        assert_eq!(client.run("DEBUG RELOAD NOSAVE NOFLUSH").text(), failed, "a is in both");
        assert_eq!(client.run("GET a").text(), "2");
        assert_eq!(client.run("DEBUG RELOAD NOSAVE NOFLUSH MERGE").text(), "OK");
        let values = |client: &mut Client| -> Vec<String> {
            client.run("MGET a b c d e f").items().iter().map(Reply::text).collect()
        };
        assert_eq!(values(&mut client)[..5], ["1", "1", "1", "2", "2"]);
        let mut watcher = process.client();
        for line in ["WATCH d", "MULTI", "PING"] {
            watcher.run(line);
        }
        assert_eq!(client.run("DEBUG RELOAD NOSAVE").text(), "OK");
        assert_eq!(client.run("EXISTS a b c d e f before"), Reply::Int(4));
        assert_eq!(watcher.run("EXEC"), Reply::NilArray, "d was taken away");
        assert_eq!(
            client.run("DEBUG RELOAD NOSAVE SOON").text(),
            "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."
        );
        client.run("MULTI");
        assert!(client.run("DEBUG RELOAD").is_error(), "it waits for transactions");
        client.run("DISCARD");
        if appendonly == "yes" {
            // What was appended leads to what there was, until a rewrite.
            process.wait_rewritten();
            process.kill();
            let process = Process::corelane(&dir, 3, &["--appendonly", "yes"]);
            assert_eq!(process.run("EXISTS a b c d e f before"), Reply::Int(4));
        }
    }
}

#[test]
fn what_is_written_meanwhile_is_not_lost() {
    for (shards, appendonly) in [(1, "no"), (3, "no"), (3, "yes")] {
        let dir = Dir::new();
        let process = Process::corelane(&dir, shards, &["--appendonly", appendonly]);
        let mut client = process.client();
        fill(&mut client);
        let (stop, port) = (AtomicBool::new(false), process.port);
        let counts: Vec<i64> = std::thread::scope(|scope| {
            let count = |n: usize| {
                let stop = &stop;
                move || {
                    let (mut client, mut last) = (Client::connect(port), 0);
                    while !stop.load(Ordering::Relaxed) {
                        match client.run(&format!("INCR counter:{n}")) {
                            Reply::Int(count) => {
                                assert_eq!(count, last + 1, "something was lost");
                                last = count;
                            }
                            reply => assert!(reply.text().starts_with("LOADING"), "{reply:?}"),
                        }
                        client.run(&format!("LMOVE list:{} list:{} LEFT RIGHT", n, n + 1));
                    }
                    last
                }
            };
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(count(n))).collect();
            // One who waits for what does not come, and one who goes away.
            let mut waits = process.client();
            waits.send_raw(b"BLPOP nothing 0\r\n").unwrap();
            for round in 0..6 {
                let line = match (appendonly, round % 2) {
                    ("yes", 1) => "DEBUG LOADAOF",
                    _ => "DEBUG RELOAD",
                };
                assert_eq!(client.run(line).text(), "OK", "{}", process.log());
            }
            let mut gone = process.client();
            gone.send_raw(b"DEBUG RELOAD\r\n").unwrap();
            drop(gone);
            assert_eq!(client.run("PING").text(), "PONG");
            std::thread::sleep(std::time::Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            let counts = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            client.run("RPUSH nothing 1");
            assert!(!waits.recv().unwrap().is_error());
            counts
        });
        for (n, count) in counts.into_iter().enumerate() {
            assert!(count > 0);
            assert_eq!(client.run(&format!("GET counter:{n}")).text(), count.to_string());
        }
        let lists: i64 = (0..7)
            .map(|n| match client.run(&format!("LLEN list:{n}")) {
                Reply::Int(len) => len,
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(lists, 200, "elements only move");
    }
}

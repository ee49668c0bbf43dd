//! CONFIG SET appendonly while the server runs.

use super::content::{Detail, assert_same, content};
use super::rig::{Dir, Process};
use crate::harness::{Client, Reply, wait_until};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const APPENDING: [&str; 2] = ["--appendonly", "yes"];

fn fill(client: &mut Client, from: usize, to: usize) {
    for n in from..to {
        client.run(&format!("SET text:{n} {n} PX 100000000"));
        client.run(&format!("RPUSH list:{} {n}", n % 7));
        client.run(&format!("MSET a:{n} 1 b:{n} 2 c:{n} 3"));
    }
    client.run("SELECT 3");
    client.run(&format!("HSET hash {from} {to}"));
    client.run("SELECT 0");
}

fn switch(process: &Process, value: &str) {
    let reply = process.run(&format!("CONFIG SET appendonly {value}"));
    assert_eq!(reply.text(), "OK", "{}", process.log());
}

/// Until what is appended counts.
fn wait_on(process: &Process) {
    process.wait_rewritten();
    assert_eq!(process.info("aof_last_bgrewrite_status"), "ok");
}

#[test]
fn what_was_written_before_and_after_survives() {
    for shards in [1, 3] {
        let dir = Dir::new();
        let process = Process::corelane(&dir, shards, &[]);
        let mut client = process.client();
        client.run("FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"");
        fill(&mut client, 0, 100);
        assert_eq!(process.info("aof_enabled"), "0");
        switch(&process, "yes");
        assert_eq!(process.info("aof_enabled"), "1");
        fill(&mut client, 100, 200);
        assert_eq!(
            client.run("WAITAOF 1 0 20000"),
            Reply::Array(vec![Reply::Int(1), Reply::Int(0)])
        );
        wait_on(&process);
        fill(&mut client, 200, 300);
        let before = content(&mut client, Detail::All);
        process.kill();
        let process = Process::corelane(&dir, 2, &APPENDING);
        assert_same("switched on", &before, &content(&mut process.client(), Detail::All));
        // Off and on again, in one life.
        switch(&process, "no");
        assert_eq!(process.info("aof_enabled"), "0");
        let mut client = process.client();
        let refused = client.run("WAITAOF 1 0 0");
        assert!(refused.text().ends_with("when numlocal is set but appendonly is disabled."));
        fill(&mut client, 300, 350);
        switch(&process, "yes");
        wait_on(&process);
        fill(&mut client, 350, 400);
        let before = content(&mut client, Detail::All);
        process.kill();
        let process = Process::corelane(&dir, shards, &APPENDING);
        assert_same("off and on", &before, &content(&mut process.client(), Detail::All));
    }
}

#[test]
fn what_is_there_when_it_is_switched_off_stays_there() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &APPENDING);
    let mut client = process.client();
    fill(&mut client, 0, 200);
    let before = content(&mut client, Detail::All);
    switch(&process, "no");
    fill(&mut client, 200, 300);
    process.kill();
    let process = Process::corelane(&dir, 2, &APPENDING);
    assert_same("off", &before, &content(&mut process.client(), Detail::All));
}

/// Clients who count, and what was acknowledged to them.
fn count_up(port: u16, counter: usize, stop: &AtomicBool, acked: &AtomicU64) {
    let Ok(mut client) = Client::try_connect(port) else { return };
    while !stop.load(Ordering::Relaxed) {
        // Keys of several shards, which must not differ.
        let line = format!(
            "EVAL \"redis.call('INCR', KEYS[1]); return redis.call('INCR', KEYS[2])\" \
                            2 x:{counter} y:{counter}"
        );
        let sent = client.send_raw(format!("{line}\r\n").as_bytes());
        match sent.and_then(|()| client.recv()) {
            Ok(Reply::Int(n)) => acked.store(n as u64, Ordering::Release),
            Ok(reply) => panic!("{reply:?}"),
            Err(_) => return,
        }
    }
}

#[test]
fn switched_under_load_nothing_is_lost_or_half_done() {
    const COUNTERS: usize = 4;
    let dir = Dir::new();
    let acked: Vec<AtomicU64> = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
    for round in 0..8u64 {
        let shards = [1, 2, 4][round as usize % 3];
        let args: &[&str] = if round == 0 { &[] } else { &APPENDING };
        let process = Process::corelane(&dir, shards, args);
        for (n, acked) in acked.iter().enumerate() {
            let number = |reply: Reply| match reply {
                Reply::NilBulk => 0,
                reply => reply.text().parse::<u64>().unwrap(),
            };
            let (x, y) = (process.run(&format!("GET x:{n}")), process.run(&format!("GET y:{n}")));
            assert_eq!(x, y, "half of a transaction");
            let (there, acked) = (number(x), acked.load(Ordering::Acquire));
            assert!(there >= acked, "{there} of {acked}: {}", process.log());
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (n, acked) in acked.iter().enumerate() {
                let (port, stop) = (process.port, &stop);
                scope.spawn(move || count_up(port, n, stop, acked));
            }
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(10 + 7 * round));
                if process.info("aof_enabled") == "1" {
                    switch(&process, "no");
                }
                std::thread::sleep(Duration::from_millis(3 * round));
                switch(&process, "yes");
                if round % 2 == 0 {
                    wait_on(&process);
                }
            }
            wait_on(&process);
            std::thread::sleep(Duration::from_millis(20));
            process.signal(libc::SIGKILL);
            stop.store(true, Ordering::Relaxed);
        });
        process.kill();
    }
    assert!(acked.iter().all(|acked| acked.load(Ordering::Relaxed) > 0));
}

#[test]
fn a_first_rewrite_that_is_cut_short_leaves_what_was_there() {
    for (snapshot, pause_ms) in [(false, 0), (true, 0), (true, 3), (false, 8), (true, 20)] {
        let dir = Dir::new();
        let process = Process::corelane(&dir, 2, &[]);
        let mut client = process.client();
        fill(&mut client, 0, 100);
        if snapshot {
            assert_eq!(client.run("SAVE").text(), "OK");
        }
        let before = content(&mut client, Detail::All);
        client.run("CONFIG SET rdb-key-save-delay 1000000");
        switch(&process, "yes");
        fill(&mut client, 100, 120);
        assert_eq!(process.info("aof_rewrite_in_progress"), "1");
        std::thread::sleep(Duration::from_millis(pause_ms));
        process.kill();
        let process = Process::corelane(&dir, 3, &APPENDING);
        let after = content(&mut process.client(), Detail::All);
        match snapshot {
            true => assert_same("the snapshot", &before, &after),
            false => assert_eq!(after.len(), 1, "nothing but libraries, of which there are none"),
        }
        // And from there it goes on.
        let mut client = process.client();
        fill(&mut client, 0, 10);
        let before = content(&mut client, Detail::All);
        process.kill();
        let process = Process::corelane(&dir, 2, &APPENDING);
        assert_same("it goes on", &before, &content(&mut process.client(), Detail::All));
    }
}

#[test]
fn a_rewrite_under_way_is_given_up_with_it() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, &[]);
    let mut client = process.client();
    fill(&mut client, 0, 100);
    client.run("CONFIG SET rdb-key-save-delay 1000000");
    switch(&process, "yes");
    assert_eq!(process.info("aof_rewrite_in_progress"), "1");
    switch(&process, "no");
    process.wait_info("aof_rewrite_in_progress", "0");
    assert_eq!(process.info("aof_last_bgrewrite_status"), "ok");
    client.run("CONFIG SET rdb-key-save-delay 0");
    switch(&process, "yes");
    wait_on(&process);
    let before = content(&mut client, Detail::All);
    process.kill();
    let process = Process::corelane(&dir, 2, &APPENDING);
    assert_same("given up once", &before, &content(&mut process.client(), Detail::All));
}

#[test]
fn what_cannot_be_begun_is_refused() {
    let dir = Dir::new();
    std::fs::write(dir.file("appendonlydir"), b"no directory").unwrap();
    let process = Process::corelane(&dir, 2, &[]);
    assert_eq!(
        process.run("CONFIG SET appendonly yes").text(),
        "ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. \
         Check server logs."
    );
    let off = Reply::Array(["appendonly", "no"].map(|s| Reply::Bulk(s.into())).into());
    assert_eq!(process.run("CONFIG GET appendonly"), off);
    assert_eq!(process.info("aof_enabled"), "0");
    std::fs::remove_file(dir.file("appendonlydir")).unwrap();
    let mut client = process.client();
    for line in ["MULTI", "SET k 1", "CONFIG SET appendonly yes", "SET k 2", "EXEC"] {
        let reply = client.run(line);
        assert!(!reply.is_error(), "{reply:?}");
    }
    wait_on(&process);
    for line in ["MULTI", "CONFIG SET appendonly no", "SET k 3", "EXEC"] {
        client.run(line);
    }
    process.wait_info("aof_enabled", "0");
    wait_until("it can be begun again", || !process.run("CONFIG SET appendonly yes").is_error());
    wait_on(&process);
    process.kill();
    let process = Process::corelane(&dir, 2, &APPENDING);
    assert_eq!(process.run("GET k").text(), "3");
    assert_eq!(process.run("SET k 4").text(), "OK");
}

//! Peers that write slowly, never read, or go away: memory stays bounded, others notice nothing.

use super::{LONG, time_of_ping};
use crate::harness::client::{Client, Ending};
use crate::harness::{Cmd, Server, now, wait_until};
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Asks for far more than is read and goes on asking until the server closes or all is sent.
fn ask_without_reading(client: &mut Client, requests: usize) {
    client.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let batch = "GET big\r\n".repeat(50);
    for _ in 0..requests / 50 {
        // A server may also stop reading from one that does not read.
        if client.send_raw(batch.as_bytes()).is_err() {
            return;
        }
    }
}

/// The slowest of `rounds` pings.
fn slowest_ping(client: &mut Client, rounds: usize) -> Duration {
    (0..rounds).map(|_| time_of_ping(client)).max().unwrap_or_default()
}

#[test]
fn a_reader_that_never_reads_is_bounded_by_the_hard_limit() {
    let server = Server::corelane_with(3, &["--client-output-buffer-limit", "normal 16mb 0 0"]);
    let mut witness = server.client();
    assert_eq!(witness.run("SET big rep(1048576,\"x\")").text(), "OK");
    let before = server.rss();
    let mut lazy: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut peak = 0;
    lazy.iter_mut().for_each(|c| ask_without_reading(c, 2_000));
    let start = now();
    // Long enough to make 2 GB for each, if nothing held the server back.
    while start.elapsed() < Duration::from_secs(5) {
        peak = peak.max(server.rss());
        let slowest = slowest_ping(&mut witness, 20);
        assert!(slowest < LONG, "another client waited {slowest:?}");
    }
    let grown = peak.saturating_sub(before);
    println!("4 clients ask for 2 GB each and read nothing: {} MiB at most", grown / MIB);
    // The limit holds for a connection's own shard; what other shards have answered it meanwhile, and
    // what the allocator keeps of grown buffers for a second, comes on top.
    assert!(grown < 2 << 30, "{} MiB", grown / MIB);
    for client in &mut lazy {
        let (bytes, ending) = client.drain(Duration::from_secs(5));
        assert_eq!(ending, Ending::Closed, "after {} bytes", bytes.len());
    }
    wait_until("the memory is given back", || server.rss() < before + 96 * MIB);
}

#[test]
fn what_is_one_thing_is_done_whole_beyond_the_limit() {
    for shards in [1, 2, 5] {
        let limit = ["--client-output-buffer-limit", "normal 100000 0 0"];
        let server = Server::corelane_with(shards, &limit);
        let mut witness = server.client();
        for round in 0..8 {
            let [gone, made, list] = ["gone", "made", "list"].map(|name| format!("{name}{round}"));
            witness.run(&format!("SET {gone} v"));
            for _ in 0..15 {
                witness.run(&format!("RPUSH {list} rep(10000,\"x\")"));
            }
            let mut client = server.client();
            client.run("MULTI");
            for line in [
                format!("GET {gone}"),
                format!("LRANGE {list} 0 -1"),
                format!("SET {made} v"),
                format!("LRANGE {list} 0 -1"),
                format!("DEL {gone}"),
                format!("RPUSH {list} last"),
            ] {
                assert_eq!(client.run(&line).text(), "QUEUED");
            }
            client.send_raw(b"EXEC\r\n").unwrap();
            let (_, ending) = client.drain(Duration::from_secs(5));
            assert_eq!(ending, Ending::Closed, "{shards} shards");
            wait_until("the block is done", || witness.run(&format!("EXISTS {gone}")).int() == 0);
            assert_eq!(witness.run(&format!("EXISTS {made}")).int(), 1, "{shards} shards");
            assert_eq!(witness.run(&format!("LLEN {list}")).int(), 16, "{shards} shards");
        }
        // The parts' replies are longer than the limit, but theirs together is short.
        let names: Vec<String> = (0..60_000).map(|n| format!("key{n}")).collect();
        let set = names.iter().flat_map(|name| [name.as_str(), "v"]);
        let set = Cmd::new(["MSET"].into_iter().chain(set));
        assert_eq!(witness.call(&set).text(), "OK");
        let delete = Cmd::new(["DEL"].into_iter().chain(names.iter().map(String::as_str)));
        assert_eq!(witness.call(&delete).int(), 60_000, "{shards} shards");
    }
}

#[test]
fn a_slow_reader_is_bounded_by_the_soft_limit() {
    let server = Server::corelane_with(2, &["--client-output-buffer-limit", "normal 0 1mb 1"]);
    let mut client = server.client();
    assert_eq!(client.run("SET big rep(1048576,\"x\")").text(), "OK");
    let mut lazy = server.client();
    lazy.send_raw("GET big\r\n".repeat(30).as_bytes()).unwrap();
    let start = now();
    wait_until("the slow reader is closed", || {
        client.run("CLIENT LIST").text().lines().count() == 1
    });
    assert!(start.elapsed() > Duration::from_millis(700), "closed after {:?}", start.elapsed());
    // One below the limit stays.
    let mut modest = server.client();
    modest.send_raw(b"STRLEN big\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(modest.recv().unwrap().int(), 1 << 20);
}

/// Without a limit all that was asked for arrives in the end, however late it is read.
#[test]
fn a_late_reader_gets_everything() {
    let server = Server::corelane(3);
    let mut client = server.client();
    client.run("SET big rep(262144,\"0123\")");
    client.send_raw("GET big\r\n".repeat(100).as_bytes()).unwrap();
    client.send_raw(b"PING end\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for i in 0..100 {
        let reply = client.recv().unwrap().text();
        assert!(
            reply.len() == 1 << 20 && reply.starts_with("0123"),
            "reply {i}: {} bytes",
            reply.len()
        );
    }
    assert_eq!(client.recv().unwrap().text(), "end");
}

/// One byte at a time from many: each request is answered when whole, others go on at once.
#[test]
fn slow_writers_hold_nobody_up() {
    let server = Server::corelane(2);
    let mut writers: Vec<Client> = (0..50).map(|_| server.client()).collect();
    let mut witness = server.client();
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n";
    for &byte in request {
        writers.iter_mut().for_each(|w| w.send_raw(&[byte]).unwrap());
        assert!(slowest_ping(&mut witness, 1) < LONG);
    }
    for writer in &mut writers {
        assert_eq!(writer.recv().unwrap().text(), "OK");
    }
}

/// Clients that leave in the middle of a reply leave nothing behind.
#[test]
fn peers_that_vanish_leave_nothing() {
    let mut server = Server::corelane(3);
    let mut client = server.client();
    client.run("SET big rep(1048576,\"x\")");
    let fds = server.resting_fds();
    let vanish = || {
        for _ in 0..200 {
            let mut gone = server.client();
            gone.send_raw("GET big\r\n".repeat(10).as_bytes()).unwrap();
            drop(gone);
        }
        server.wait_fds(fds);
    };
    // The allocator gives back what has not been used for a second.
    let before = server.rss();
    for round in ["once", "twice"] {
        vanish();
        wait_until(&format!("2 GB are given back {round}"), || server.rss() < before + 128 * MIB);
    }
    server.assert_healthy();
}

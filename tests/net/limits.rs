//! Limits that a client meets: sizes of requests, number of clients, idle time.

use crate::harness::client::{Client, Ending};
use crate::harness::pair::everywhere_with;
use crate::harness::{Cmd, Pair, Reply, Server, now, wait_until};
use std::time::Duration;

#[test]
fn bulk_length_limit_is_an_option() {
    everywhere_with(&["--proto-max-bulk-len", "1mb"], |both| {
        both.script("SET k rep(1048576,\"x\")\nSTRLEN k\nCONFIG GET proto-max-bulk-len");
        both.script("SETRANGE k 1048576 x\nAPPEND k x\nSTRLEN k\nSETRANGE k 2000000 x");
        for client in [&mut both.redis, &mut both.corelane] {
            client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n").unwrap();
            let (bytes, ending) = client.drain(Duration::from_secs(5));
            assert_eq!(
                String::from_utf8_lossy(&bytes),
                "-ERR Protocol error: invalid bulk length\r\n"
            );
            assert_eq!(ending, Ending::Closed);
        }
    });
}

/// A client whose unprocessed input passes the limit is closed, and its memory is given back.
#[test]
fn query_buffer_limit_closes_the_client() {
    let pair = Pair::start(3, &["--client-query-buffer-limit", "2mb"]);
    for server in [&pair.redis, &pair.corelane] {
        let mut client = server.client();
        client.send_raw(b"*2\r\n$4\r\nECHO\r\n$10000000\r\n").unwrap();
        let mut sent = 0;
        while sent < 10_000_000 && client.send_raw(&[b'x'; 100_000]).is_ok() {
            sent += 100_000;
        }
        let (bytes, ending) = client.drain(Duration::from_secs(5));
        assert_eq!((bytes.len(), ending), (0, Ending::Closed), "port {}", server.port);
        let mut other = server.client();
        assert_eq!(other.run("ECHO rep(1000000,\"x\")").text().len(), 1_000_000);
    }
}

#[test]
fn the_client_after_the_last_gets_the_error() {
    let pair = Pair::start(3, &["--maxclients", "30"]);
    let refused = |server: &Server| -> (Vec<u8>, Ending) {
        let mut clients: Vec<Client> = (0..30).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|c| assert_eq!(c.run("PING").text(), "PONG"));
        let mut late = server.client();
        let outcome = late.drain(Duration::from_secs(5));
        // One that leaves makes room for one.
        clients.pop();
        wait_until("a place is free", || {
            let mut next = server.client();
            next.send_raw(b"PING\r\n").is_ok() && next.recv().is_ok_and(|r| r.text() == "PONG")
        });
        outcome
    };
    let (redis, ours) = (refused(&pair.redis), refused(&pair.corelane));
    assert_eq!(redis, ours);
    assert_eq!(String::from_utf8_lossy(&ours.0), "-ERR max number of clients reached\r\n");
    pair.corelane.wait_info("connected_clients", "1");
    assert!(pair.corelane.info("rejected_connections").is_some_and(|n| n != "0"));
}

#[test]
fn maxclients_changes_while_running() {
    let server = Server::corelane(2);
    let mut client = server.client();
    assert_eq!(client.run("CONFIG SET maxclients 2").text(), "OK");
    let mut second = server.client();
    assert_eq!(second.run("PING").text(), "PONG");
    let (bytes, ending) = server.client().drain(Duration::from_secs(5));
    assert_eq!(String::from_utf8_lossy(&bytes), "-ERR max number of clients reached\r\n");
    assert_eq!(ending, Ending::Closed);
    assert_eq!(client.run("CONFIG SET maxclients 100").text(), "OK");
    assert_eq!(server.client().run("PING").text(), "PONG");
}

#[test]
fn idle_clients_are_closed_after_the_timeout() {
    let server = Server::corelane_with(3, &["--timeout", "1"]);
    let start = now();
    let mut idle: Vec<Client> = (0..20).map(|_| server.client()).collect();
    idle.iter_mut().for_each(|c| assert_eq!(c.run("PING").text(), "PONG"));
    let mut busy = server.client();
    while start.elapsed() < Duration::from_millis(3_500) {
        assert_eq!(busy.run("PING").text(), "PONG");
        std::thread::sleep(Duration::from_millis(100));
    }
    for client in &mut idle {
        let (bytes, ending) = client.drain(Duration::from_millis(500));
        assert_eq!((bytes.len(), ending), (0, Ending::Closed));
    }
    assert_eq!(busy.run("CONFIG SET timeout 0").text(), "OK");
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(busy.run("PING").text(), "PONG", "no timeout any more");
}

/// A request whose parts come late, each in a packet of its own, is not held back by Nagle's
/// algorithm or by delayed acknowledgements.
#[test]
fn replies_leave_at_once() {
    let server = Server::corelane(3);
    let mut client = server.client();
    let mut rounds = Vec::new();
    for i in 0..100 {
        let start = now();
        client.send_raw(b"*2\r\n$4\r\nECHO\r\n").unwrap();
        client.send_raw(b"$3\r\nabc\r\nPING\r\n").unwrap();
        assert_eq!(client.recv().unwrap(), Reply::Bulk(b"abc".to_vec()), "round {i}");
        assert_eq!(client.recv().unwrap().text(), "PONG");
        rounds.push(start.elapsed());
    }
    // An acknowledgement is delayed by 40 ms: each round would take so long.
    rounds.sort();
    assert!(rounds[50] < Duration::from_millis(35), "half of the rounds took {:?}", rounds[50]);
}

/// redis-server's own limit of 2^31 - 1 arguments bounds nothing; here it is 1024 * 1024.
#[test]
fn more_than_a_million_arguments_are_refused() {
    let server = Server::corelane(2);
    let mut client = server.client();
    client.send_raw(b"*1048577\r\n$4\r\nPING\r\n").unwrap();
    let (bytes, ending) = client.drain(Duration::from_secs(5));
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        "-ERR Protocol error: invalid multibulk length\r\n"
    );
    assert_eq!(ending, Ending::Closed);
}

/// The request of the most arguments that anyone sends.
#[test]
fn a_million_arguments() {
    let pair = Pair::start(3, &[]);
    let mut args = vec!["DEL".to_string()];
    args.extend((0..1_000_000).map(|i| format!("k{i}")));
    let delete = Cmd::new(args);
    for server in [&pair.redis, &pair.corelane] {
        let mut client = server.client();
        client.run("MSET k0 a k1 b k500000 c k999999 d other e");
        assert_eq!(client.call(&delete), Reply::Int(4));
        assert_eq!(client.run("DBSIZE"), Reply::Int(1));
    }
}

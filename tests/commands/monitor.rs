//! MONITOR: the lines that one or more clients are shown, compared with redis-server's.

use crate::harness::client::Client;
use crate::harness::{Reply, Server, parse_line, wait_until};

/// The next line without its time; the port of its client as a number of its own.
fn line(monitor: &mut Client, ports: &mut Vec<String>) -> String {
    let text = monitor.recv().expect("a line").text();
    let (time, rest) = text.split_once(' ').expect("a time");
    let (seconds, micros) = time.split_once('.').expect("microseconds");
    assert!(seconds.len() == 10 && micros.len() == 6, "{text}");
    let (client, words) = rest.split_once("] ").expect("a client");
    let (db, address) = client[1..].split_once(' ').expect("a database");
    let (host, port) = address.rsplit_once(':').expect("an address");
    let at = ports.iter().position(|known| known == port).unwrap_or_else(|| {
        ports.push(port.to_string());
        ports.len() - 1
    });
    format!("[{db} {host}:{at}] {words}")
}

/// Runs the lines of a script on two clients in turn and gives what a third one is shown.
fn shown(server: &Server, script: &str) -> Vec<String> {
    let mut monitor = server.client();
    assert_eq!(monitor.run("MONITOR"), Reply::Simple(b"OK".to_vec()));
    let mut clients = [server.client(), server.client()];
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (client, line) = line.split_once(' ').expect("a client and a command");
        clients[client.parse::<usize>().expect("a number")].run(line);
    }
    clients[0].run("ECHO the-end");
    let (mut ports, mut lines) = (Vec::new(), Vec::new());
    loop {
        lines.push(line(&mut monitor, &mut ports));
        if lines.last().is_some_and(|line| line.ends_with("\"ECHO\" \"the-end\"")) {
            return lines;
        }
    }
}

fn agree(script: &str) {
    let expected = shown(&Server::redis(), script);
    for shards in [1, 3] {
        let lines = shown(&Server::corelane(shards), script);
        assert_eq!(expected, lines, "with {shards} shards");
    }
}

#[test]
fn requests_are_shown_as_they_run() {
    agree(
        r#"0 SET k v
        1 GET k
        0 set "quoted \"word\"" "\\ \n\r\t\a\b\x00\x7f\xff"
        1 MSET a 1 b 2 c 3
        0 RENAME a d
        0 SELECT 5
        0 GET k
        0 SINTERSTORE s1 s2 s3
        1 CLIENT SETNAME me
        1 CLIENT LIST
        1 CONFIG GET maxmemory
        1 DEBUG SLEEP 0
        1 ECHO """#,
    );
}

#[test]
fn what_is_refused_is_not_shown_and_secrets_neither() {
    agree(
        "0 NOSUCH a
        0 GET
        0 AUTH secret
        0 AUTH someone secret
        0 HELLO 3 AUTH someone secret SETNAME me
        0 HELLO 2 SETNAME me
        0 LPUSH l x
        0 GET l
        0 CLIENT NOSUCH
        0 PING",
    );
}

#[test]
fn blocks_are_shown_when_they_run() {
    agree(
        "0 MULTI
        0 SET k 1
        0 GET k
        1 PING
        0 EXEC
        0 MULTI
        0 SET k 1
        0 SET l 1
        0 MGET k l m
        0 EXEC
        0 MULTI
        0 SET k 1
        0 RENAME k l
        0 SELECT 3
        0 DBSIZE
        0 EXEC
        0 SELECT 0
        0 MULTI
        0 SET k
        0 EXEC
        0 MULTI
        0 SET k 1
        0 DISCARD
        0 MULTI
        0 EXEC x
        0 EXEC
        0 MULTI
        0 CLIENT ID
        0 CLIENT LIST
        0 EXEC",
    );
    for key in ["k", "l", "m"] {
        agree(&format!(
            "0 WATCH {key}
            0 MULTI
            0 SET {key} 1
            0 EXEC
            0 WATCH {key}
            1 SET {key} 2
            0 MULTI
            0 SET {key} 1
            0 GET {key}
            0 EXEC
            0 WATCH k l m
            0 MULTI
            0 MSET k 1 l 1 m 1
            0 EXEC"
        ));
    }
}

#[test]
fn a_client_that_waits_is_shown_once() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut monitor, mut waiter) = (server.client(), server.client());
        let mut pusher = server.client();
        monitor.run("MONITOR");
        waiter.send(&parse_line("BLPOP q r s 0")).expect("written");
        let mut ports = Vec::new();
        assert!(line(&mut monitor, &mut ports).ends_with("\"BLPOP\" \"q\" \"r\" \"s\" \"0\""));
        pusher.run("RPUSH r 1");
        waiter.recv().expect("served");
        pusher.run("RPUSH r 2");
        for n in ["1", "2"] {
            let shown = line(&mut monitor, &mut ports);
            assert!(shown.ends_with(&format!("\"RPUSH\" \"r\" \"{n}\"")), "{shown}");
        }
    }
}

#[test]
fn a_client_is_shown_things_until_it_wants_no_more() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut first, mut second) = (server.client(), server.client());
        let mut client = server.client();
        first.run("MONITOR");
        second.run("HELLO 3");
        assert!(matches!(first.recv(), Ok(Reply::Simple(_))));
        second.run("MONITOR");
        assert_eq!(client.run("CLIENT LIST").text().matches("flags=O ").count(), 2);
        assert_eq!(client.run("CLIENT LIST TYPE normal").text().lines().count(), 3);
        // Once more is nothing new and has no reply.
        first.send(&parse_line("MONITOR")).expect("written");
        client.run("GET k");
        for monitor in [&mut first, &mut second] {
            assert!(line(monitor, &mut Vec::new()).ends_with("\"GET\" \"k\""));
        }
        assert_eq!(first.run("RESET"), Reply::Simple(b"RESET".to_vec()));
        assert!(line(&mut second, &mut Vec::new()).ends_with("\"RESET\""));
        assert_eq!(first.run("PING"), Reply::Simple(b"PONG".to_vec()));
        assert!(line(&mut second, &mut Vec::new()).ends_with("\"PING\""));
        assert_eq!(second.run("QUIT"), Reply::Simple(b"OK".to_vec()));
        client.run("MULTI");
        client.run("MONITOR");
        assert!(format!("{:?}", client.run("EXEC")).contains("isn't allowed for DENY BLOCKING"));
        wait_until("nobody is shown anything", || {
            !client.run("CLIENT LIST").text().contains("flags=O ")
        });
        client.run("GET k");
        assert_eq!(first.run("PING"), Reply::Simple(b"PONG".to_vec()));
    }
}

/// What one client does after another's reply is shown behind that one's request.
#[test]
fn what_follows_a_reply_is_shown_behind_its_request() {
    let server = Server::corelane(4);
    let mut monitor = server.client();
    monitor.run("MONITOR");
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for n in 0..4_000 {
        clients[n % 8].run(&format!("GET {n}"));
    }
    let mut ports = Vec::new();
    for n in 0..4_000 {
        let shown = line(&mut monitor, &mut ports);
        assert!(shown.ends_with(&format!("\"GET\" \"{n}\"")), "{n}: {shown}");
    }
    assert_eq!(ports.len(), 8);
}

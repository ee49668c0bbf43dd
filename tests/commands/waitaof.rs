//! WAITAOF. The servers beside which others are tested have no append-only files, so these run alone.

use crate::harness::process::is_stand_in;
use crate::harness::{Cmd, Reply, Server, now};
use std::time::Duration;

fn server(shards: usize, policy: &str) -> Server {
    Server::corelane_with(shards, &["--appendonly", "yes", "--appendfsync", policy])
}

fn pair(local: i64, replicas: i64) -> Reply {
    Reply::Array(vec![Reply::Int(local), Reply::Int(replicas)])
}

#[test]
fn arguments_are_looked_at() {
    if is_stand_in() {
        return;
    }
    let with = server(2, "everysec");
    let without = Server::corelane(2);
    let mut client = with.client();
    for (line, error) in [
        ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF x 0 0", "ERR value is not an integer or out of range"),
        ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
        ("WAITAOF 0 0 -1", "ERR timeout is negative"),
        ("WAITAOF 0 0 x", "ERR timeout is not an integer or out of range"),
        ("WAITAOF 0 0", "ERR wrong number of arguments for 'waitaof' command"),
        (
            "EVAL \"return redis.call('waitaof', 0, 0, 0)\" 0",
            "ERR This Redis command is not allowed",
        ),
    ] {
        let reply = client.run(line);
        assert!(reply.is_error() && reply.text().starts_with(error), "{line}: {reply:?}");
    }
    let mut client = without.client();
    assert_eq!(
        client.run("WAITAOF 1 0 0").text(),
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    );
    assert_eq!(client.run("WAITAOF 0 0 0"), pair(0, 0));
    assert_eq!(client.run("WAITAOF 0 1 30"), pair(0, 0));
}

#[test]
fn it_waits_for_the_disk_and_earlier_requests() {
    if is_stand_in() {
        return;
    }
    for policy in ["always", "everysec", "no"] {
        let server = server(3, policy);
        let mut client = server.client();
        let mut cmds: Vec<Cmd> = Vec::new();
        for n in 0..50 {
            cmds.push(Cmd::new(["SET", &format!("k{n}"), "v"]));
            cmds.push(Cmd::new(["MSET", &format!("a{n}"), "1", &format!("b{n}"), "2"]));
        }
        cmds.push(Cmd::new(["WAITAOF", "1", "0", "0"]));
        cmds.push(Cmd::new(["GET", "b49"]));
        let start = now();
        let replies = client.pipeline(&cmds).unwrap();
        assert!(replies[..100].iter().all(|reply| reply.text() == "OK"));
        assert_eq!(replies[100], pair(1, 0), "{policy}");
        assert_eq!(replies[101].text(), "2");
        // It does not wait for the next sync of the policy: that of `no` comes after half a minute.
        assert!(now() - start < Duration::from_secs(10));
        assert_eq!(client.run("WAITAOF 1 0 0"), pair(1, 0));
    }
}

#[test]
fn replicas_are_waited_for_in_vain() {
    if is_stand_in() {
        return;
    }
    let server = server(2, "everysec");
    let mut client = server.client();
    client.run("SET a 1");
    let start = now();
    assert_eq!(client.run("WAITAOF 1 1 200"), pair(1, 0));
    assert!(now() - start >= Duration::from_millis(190));
    client.run("MULTI");
    client.run("SET a 2");
    client.run("WAITAOF 1 1 0");
    let reply = client.run("EXEC");
    assert_eq!(reply, Reply::Array(vec![Reply::Simple("OK".into()), pair(0, 0)]));
}

#[test]
fn a_wait_can_be_ended() {
    if is_stand_in() {
        return;
    }
    let server = server(2, "everysec");
    let mut admin = server.client();
    let blocked = |count: usize| {
        server.wait_info("blocked_clients", &count.to_string());
    };
    for (how, expected) in [("TIMEOUT", None), ("ERROR", Some("UNBLOCKED client unblocked"))] {
        let mut client = server.client();
        let Reply::Int(id) = client.run("CLIENT ID") else { panic!() };
        client.run("SET a 1");
        client.send(&Cmd::new(["WAITAOF", "1", "1", "0"])).unwrap();
        client.send(&Cmd::new(["PING"])).unwrap();
        blocked(1);
        // What it has written is on disk soon, but no replica has it.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(admin.run(&format!("CLIENT UNBLOCK {id} {how}")), Reply::Int(1));
        let reply = client.recv().unwrap();
        match expected {
            None => assert_eq!(reply, pair(1, 0)),
            Some(text) => assert!(reply.is_error() && reply.text().starts_with(text), "{reply:?}"),
        }
        assert_eq!(client.recv().unwrap().text(), "PONG");
        assert_eq!(admin.run(&format!("CLIENT UNBLOCK {id}")), Reply::Int(0));
    }
    let mut gone = server.client();
    gone.send(&Cmd::new(["WAITAOF", "0", "1", "0"])).unwrap();
    blocked(1);
    drop(gone);
    blocked(0);
    // Nor does it keep a pause from beginning.
    let mut waits = server.client();
    waits.send(&Cmd::new(["WAITAOF", "0", "1", "0"])).unwrap();
    blocked(1);
    assert_eq!(admin.run("CLIENT PAUSE 10 WRITE").text(), "OK");
}

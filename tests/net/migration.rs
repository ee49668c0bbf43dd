//! A connection that uses one other shard's keys moves to that shard, and its client cannot tell.

use crate::harness::process::is_stand_in;
use crate::harness::{Client, Cmd, Reply, Server};

fn migrations(server: &Server) -> u64 {
    let text = server.info("connection_migrations").expect("INFO has connection_migrations");
    text.parse().expect("a number")
}

/// Works on the keys of one tag, which all live on one shard.
fn work(client: &mut Client, tag: usize, from: i64, count: i64) {
    let mut cmds = Vec::new();
    for i in from..from + count {
        cmds.push(Cmd::new(["INCR".to_string(), format!("{{tag{tag}}}n")]));
        cmds.push(Cmd::new(["SET".to_string(), format!("{{tag{tag}}}k"), i.to_string()]));
        cmds.push(Cmd::new(["GET".to_string(), format!("{{tag{tag}}}k")]));
    }
    let replies = client.pipeline(&cmds).expect("all replies");
    for (i, three) in replies.chunks(3).enumerate() {
        let now = from + i as i64;
        assert_eq!(three[0], Reply::Int(now + 1), "tag {tag}: an INCR lost, repeated or reordered");
        assert_eq!(three[1].text(), "OK");
        assert_eq!(three[2].text(), now.to_string());
    }
}

#[test]
fn connections_follow_their_keys() {
    if is_stand_in() {
        return;
    }
    let server = Server::corelane(3);
    let mut clients: Vec<Client> = (0..30).map(|_| server.client()).collect();
    let mut ids = Vec::new();
    for (tag, client) in clients.iter_mut().enumerate() {
        ids.push(client.run("CLIENT ID").int());
        assert_eq!(client.run(&format!("CLIENT SETNAME worker-{tag}")).text(), "OK");
        assert_eq!(client.run("SELECT 5").text(), "OK");
        if tag % 2 == 0 {
            client.run("HELLO 3");
        }
    }
    let before = migrations(&server);
    for (tag, client) in clients.iter_mut().enumerate() {
        for round in 0..5 {
            work(client, tag, round * 2_000, 2_000);
        }
    }
    let moved = migrations(&server) - before;
    println!("{moved} of 30 connections moved");
    // Two in three land on another shard than their keys'; far fewer would be no migration at all.
    assert!(moved >= 8, "only {moved} of 30 connections moved");
    assert!(moved <= 60, "{moved} moves of 30 connections: they go to and fro");
    for (tag, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.run("CLIENT ID").int(), ids[tag], "the id stays");
        assert_eq!(client.run("CLIENT GETNAME").text(), format!("worker-{tag}"));
        let info = client.run("CLIENT INFO").text();
        assert!(info.contains(" db=5 "), "{info}");
        let nil = client.run("GET missing");
        assert_eq!(nil, if tag % 2 == 0 { Reply::Null } else { Reply::NilBulk });
    }
    let listed = clients[0].run("CLIENT LIST").text();
    for id in ids {
        assert_eq!(
            listed.lines().filter(|l| l.starts_with(&format!("id={id} "))).count(),
            1,
            "{listed}"
        );
    }
}

/// The bytes keep coming while the connection moves, cut at any place.
#[test]
fn nothing_is_lost_while_moving() {
    let server = Server::corelane(3);
    let before = if is_stand_in() { 0 } else { migrations(&server) };
    std::thread::scope(|scope| {
        for tag in 0..16 {
            let port = server.port;
            scope.spawn(move || {
                let mut client = Client::connect(port);
                let mut bytes = Vec::new();
                for i in 0..12_000 {
                    // The second half goes to another shard's keys, so some connections move twice.
                    let tag = if i < 6_000 { tag } else { tag + 100 };
                    Cmd::new(["INCR".to_string(), format!("{{tag{tag}}}n")]).encode(&mut bytes);
                }
                let pieces: Vec<&[u8]> = bytes.chunks(7_919).collect();
                let replies = client.stream_in(&pieces, 12_000).expect("all replies");
                for (i, reply) in replies.iter().enumerate() {
                    assert_eq!(*reply, Reply::Int(i as i64 % 6_000 + 1), "reply {i} of tag {tag}");
                }
            });
        }
    });
    if !is_stand_in() {
        println!("{} moves", migrations(&server) - before);
    }
}

/// A connection whose keys are everywhere stays where it is.
#[test]
fn scattered_traffic_moves_nobody() {
    if is_stand_in() {
        return;
    }
    let server = Server::corelane(3);
    let before = migrations(&server);
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for client in &mut clients {
        let cmds: Vec<Cmd> = (0..6_000)
            .map(|i| Cmd::new(["SET".to_string(), format!("key:{i}"), i.to_string()]))
            .collect();
        client.pipeline(&cmds).unwrap();
    }
    assert!(migrations(&server) - before <= 2, "{} moves", migrations(&server) - before);
}

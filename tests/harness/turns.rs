//! Scripts of several clients that are told of what others do.

use super::client::Client;
use super::{Cmd, Server, parse_line};

/// One client's turn: what it sends, and how many replies or messages it then reads.
struct Turn<'a> {
    client: usize,
    line: &'a str,
    reads: usize,
}

/// Lines `client [command] [=reads]`; a command is answered once if nothing else is said.
fn turns(script: &str) -> Vec<Turn<'_>> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (client, rest) = line.split_once(' ').expect("a client and what it does");
            let (line, reads) = match rest.rsplit_once('=') {
                Some((line, reads)) => (line.trim(), reads.parse().expect("a count")),
                None => (rest, 1),
            };
            Turn { client: client.parse().expect("a number"), line, reads }
        })
        .collect()
}

/// What the clients of a script hear; `<n>` in a command stands for the id of client n.
fn play(server: &Server, script: &str, in_order: bool) -> Vec<String> {
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let ids: Vec<i64> = clients.iter_mut().map(|client| client.run("CLIENT ID").int()).collect();
    let mut heard = Vec::new();
    for Turn { client, line, reads } in turns(script) {
        let mut sent = line.to_string();
        for (n, id) in ids.iter().enumerate() {
            sent = sent.replace(&format!("<{n}>"), &id.to_string());
        }
        if !sent.is_empty() {
            clients[client].send(&parse_line(&sent)).expect("the server reads");
        }
        let start = heard.len();
        for _ in 0..reads {
            let reply = clients[client].recv();
            // HELLO tells the version and the client's id.
            if !line.starts_with("HELLO 3") {
                heard.push(format!("{client} {line}: {reply:?}"));
            }
        }
        if !in_order {
            heard[start..].sort();
        }
    }
    // Nothing else has come for anybody.
    for (client, own) in clients.iter_mut().enumerate() {
        own.send(&Cmd::new(["PING", "the end"])).expect("the server reads");
        heard.push(format!("{client} ends: {:?}", own.recv()));
    }
    heard
}

fn agree_how(script: &str, in_order: bool) {
    let expected = play(&Server::redis(), script, in_order);
    for shards in [1, 3] {
        let heard = play(&Server::corelane(shards), script, in_order);
        for (expected, heard) in expected.iter().zip(&heard) {
            assert_eq!(expected, heard, "with {shards} shards");
        }
        assert_eq!(expected.len(), heard.len());
    }
}

/// Plays a script on redis-server and on servers of one and of three shards.
///
/// What one turn reads may come in any order: before 7.2 one's own messages came before the reply, and
/// what one block sends to different channels may come as it likes.
pub fn agree(script: &str) {
    agree_how(script, false);
}

/// As [`agree`], with what is read in the very same order.
pub fn agree_in_order(script: &str) {
    agree_how(script, true);
}

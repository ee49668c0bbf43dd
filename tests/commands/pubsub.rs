//! Pub/sub: scripts of several clients, the same on redis-server and here, and what crosses shards.

use crate::harness::client::Client;
use crate::harness::turns::agree;
use crate::harness::{Cmd, Reply, Server, parse_line};

#[test]
fn messages_reach_those_who_listen() {
    agree(
        "0 SUBSCRIBE a b c a =4
        1 PSUBSCRIBE a* [bc] =2
        2 SSUBSCRIBE a =1
        3 PUBLISH a one
        0 =1
        1 =1
        3 PUBLISH b two
        0 =1
        1 =1
        3 SPUBLISH a three
        2 =1
        3 PUBLISH nobody x
        3 SPUBLISH nobody x
        0 UNSUBSCRIBE a x =2
        3 PUBLISH a four
        1 =1
        1 PUNSUBSCRIBE a* =1
        3 PUBLISH a five
        0 UNSUBSCRIBE b c =2
        1 PUNSUBSCRIBE =1
        2 SUNSUBSCRIBE =1
        3 PUBLISH b six
        0 UNSUBSCRIBE
        0 PUNSUBSCRIBE
        0 SUNSUBSCRIBE
        0 GET works-again",
    );
}

#[test]
fn listeners_in_resp2_may_do_little() {
    agree(
        "0 SUBSCRIBE a
        0 GET a
        0 MULTI
        0 HELLO 3
        0 PING
        0 PING hi
        0 PING a b
        0 NOSUCHCOMMAND
        0 SET a
        0 PSUBSCRIBE p*
        0 UNSUBSCRIBE a
        0 CLIENT GETNAME
        0 RESET
        0 PING
        3 PUBLISH a lost
        3 PUBSUB NUMPAT
        1 SSUBSCRIBE s
        1 GET a
        1 SUNSUBSCRIBE s
        1 GET a
        1 SUBSCRIBE
        1 PUBLISH a
        1 PUBSUB NOPE
        1 PUBSUB NUMPAT x",
    );
}

#[test]
fn resp3_listeners_go_on() {
    agree(
        "0 HELLO 3
        0 SUBSCRIBE a b =2
        0 SET k v
        0 PUBLISH a to-myself =2
        0 PSUBSCRIBE * =1
        0 PUBLISH b both =3
        0 CLIENT REPLY SKIP =0
        0 PUBLISH none x =1
        0 UNSUBSCRIBE a b =2
        0 PUNSUBSCRIBE
        0 PING
        0 PING x",
    );
}

/// Before 7.2 such messages stood among the elements of EXEC's reply.
#[test]
fn what_ones_own_block_publishes_comes_behind_its_reply() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        client.run("HELLO 3");
        client.run("SUBSCRIBE c");
        for line in ["MULTI", "SET k v", "PUBLISH c one", "SET l v"] {
            client.run(line);
        }
        let ok = || Reply::Simple(b"OK".to_vec());
        assert_eq!(client.run("EXEC"), Reply::Array(vec![ok(), Reply::Int(1), ok()]));
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let message = vec![bulk("message"), bulk("c"), bulk("one")];
        assert_eq!(client.recv().expect("the message"), Reply::Push(message));
    }
}

#[test]
fn who_listens_is_told() {
    agree(
        "0 SUBSCRIBE one =1
        1 SUBSCRIBE one =1
        2 SSUBSCRIBE one =1
        1 PSUBSCRIBE x* =1
        2 PSUBSCRIBE x* =1
        3 PUBSUB NUMSUB one two
        3 PUBSUB NUMSUB
        3 PUBSUB SHARDNUMSUB one two three
        3 PUBSUB CHANNELS
        3 PUBSUB CHANNELS t*
        3 PUBSUB SHARDCHANNELS
        3 PUBSUB NUMPAT",
    );
}

#[test]
fn blocks_publish_when_they_are_done() {
    // `k` and `c` belong to different shards of three, as do some of the others.
    agree(
        "0 SUBSCRIBE c d e f =4
        1 MULTI
        1 SET k 1
        1 PUBLISH c one
        1 SET l 2
        1 PUBLISH d two
        1 PUBLISH c three
        1 EXEC
        0 =3",
    );
    // A block that brings its keys together: RENAME over shards, and a watched key.
    for (watch, set) in [("1 WATCH w", "1 RENAME k r"), ("1 WATCH k l m", "1 SET l 2")] {
        let script = format!(
            "1 MSET k 1 w 2
            0 SUBSCRIBE c d =2
            2 PSUBSCRIBE * =1
            {watch}
            1 MULTI
            {set}
            1 PUBLISH c one
            1 PUBLISH none two
            1 PUBLISH c three
            1 EXEC
            0 =2
            2 =3"
        );
        agree(&script);
    }
    // A command on all keys brings everything together.
    agree(
        "0 SUBSCRIBE c =1
        1 MULTI
        1 FLUSHALL
        1 PUBLISH c one
        1 PUBLISH nobody two
        1 DBSIZE
        1 EXEC
        0 =1",
    );
}

#[test]
fn blocks_tell_who_listens() {
    agree(
        "0 SUBSCRIBE c d =2
        2 PSUBSCRIBE x* =1
        3 SSUBSCRIBE c =1
        1 MULTI
        1 SET k 1
        1 PUBSUB CHANNELS c*
        1 PUBSUB NUMSUB c d e f
        1 PUBSUB NUMSUB d
        1 PUBSUB NUMSUB
        1 PUBSUB NUMPAT
        1 PUBSUB SHARDCHANNELS
        1 PUBSUB SHARDNUMSUB c d
        1 PUBLISH d one
        1 EXEC
        0 =1
        1 MULTI
        1 PUBSUB NUMPAT
        1 EXEC",
    );
}

#[test]
fn a_block_that_does_not_run_publishes_nothing() {
    agree(
        "0 SUBSCRIBE c
        1 WATCH k
        2 SET k 1
        1 MULTI
        1 PUBLISH c lost
        1 SET l 1
        1 EXEC
        1 MULTI
        1 PUBLISH c lost
        1 DISCARD
        1 MULTI
        1 PUBLISH c
        1 EXEC",
    );
}

#[test]
fn one_publishers_messages_come_in_order_on_every_shard() {
    const MESSAGES: usize = 2_000;
    let server = Server::corelane(4);
    let mut listeners: Vec<Client> = (0..12).map(|_| server.client()).collect();
    for (n, listener) in listeners.iter_mut().enumerate() {
        match n % 2 {
            0 => drop(listener.run("SUBSCRIBE news")),
            _ => drop(listener.run("PSUBSCRIBE n*s")),
        }
    }
    let mut publisher = server.client();
    // Alone, in pipelines, and in blocks over several shards.
    for n in 0..MESSAGES / 2 {
        assert_eq!(publisher.run(&format!("PUBLISH news {n}")), Reply::Int(12));
    }
    let mut pipeline = Vec::new();
    for n in (MESSAGES / 2..MESSAGES).step_by(2) {
        pipeline.push(parse_line("MULTI"));
        pipeline.push(parse_line(&format!("SET k{n} v")));
        pipeline.push(parse_line(&format!("PUBLISH news {n}")));
        pipeline.push(parse_line(&format!("SET other{n} v")));
        pipeline.push(parse_line("EXEC"));
        pipeline.push(parse_line(&format!("PUBLISH news {}", n + 1)));
    }
    publisher.pipeline(&pipeline).expect("all replies");
    for listener in &mut listeners {
        for n in 0..MESSAGES {
            let Reply::Array(parts) = listener.recv().expect("a message") else {
                panic!("no message")
            };
            assert_eq!(parts.last(), Some(&Reply::Bulk(n.to_string().into_bytes())));
        }
    }
}

/// Whoever hears of a block finds all that it did.
#[test]
fn a_message_comes_after_what_its_block_did() {
    let server = Server::corelane(4);
    let (mut listener, mut reader) = (server.client(), server.client());
    listener.run("SUBSCRIBE a b c d e f g h");
    (0..7).for_each(|_| drop(listener.recv().expect("an acknowledgement")));
    let mut writer = server.client();
    for n in 0..2_000 {
        let channel = char::from(b'a' + (n % 8) as u8);
        writer.send(&parse_line("MULTI")).expect("written");
        for line in [
            format!("PUBLISH {channel} {n}"),
            format!("SET result:{n} done"),
            format!("SET other:{n} done"),
            "EXEC".to_string(),
        ] {
            writer.send(&parse_line(&line)).expect("written");
        }
        listener.recv().expect("the message");
        let there = reader.run(&format!("MGET result:{n} other:{n}"));
        let done = Reply::Bulk(b"done".to_vec());
        assert_eq!(there, Reply::Array(vec![done.clone(), done]));
        (0..5).for_each(|_| drop(writer.recv().expect("a reply")));
    }
}

#[test]
fn a_client_listens_to_very_many_channels_and_leaves_nothing() {
    const CHANNELS: usize = 100_000;
    let server = Server::corelane(3);
    let mut client = server.client();
    let subscribe: Vec<Cmd> = (0..CHANNELS / 100)
        .map(|n| {
            let names = (0..100).map(|i| format!("celery-task-meta-{n}-{i}"));
            Cmd::new(std::iter::once("SUBSCRIBE".to_string()).chain(names))
        })
        .collect();
    for command in &subscribe {
        client.send(command).expect("written");
        (0..100).for_each(|_| drop(client.recv().expect("an acknowledgement")));
    }
    let mut other = server.client();
    assert_eq!(server.info("pubsub_channels"), Some(CHANNELS.to_string()));
    assert_eq!(other.run("PUBLISH celery-task-meta-77-7 x"), Reply::Int(1));
    assert!(matches!(client.recv(), Ok(Reply::Array(_))));
    drop(client);
    server.wait_info("pubsub_channels", "0");
    assert_eq!(server.info("pubsub_clients"), Some("0".to_string()));
    assert_eq!(other.run("PUBLISH celery-task-meta-77-7 x"), Reply::Int(0));
}

#[test]
fn one_who_does_not_read_is_closed_and_harms_nobody() {
    let limit = ["--client-output-buffer-limit", "pubsub 1mb 0 0"];
    let server = Server::corelane_with(2, &limit);
    let (mut slow, mut quick) = (server.client(), server.client());
    slow.run("SUBSCRIBE news");
    quick.run("SUBSCRIBE news");
    let mut publisher = server.client();
    let publish = Cmd::new(["PUBLISH".to_string(), "news".to_string(), "x".repeat(100_000)]);
    let mut counts = Vec::new();
    for _ in 0..300 {
        counts.push(publisher.call(&publish));
        assert!(matches!(quick.recv(), Ok(Reply::Array(_))));
    }
    assert_eq!(counts.first(), Some(&Reply::Int(2)));
    assert_eq!(counts.last(), Some(&Reply::Int(1)));
}

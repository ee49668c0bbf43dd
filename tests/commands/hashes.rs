//! Hashes: what scripts show better than random programs, and fields that go as time passes.

use crate::harness::pair::{Both, everywhere, everywhere_with};
use crate::harness::{Client, Reply, Server, wait_until};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn fields_and_values() {
    everywhere(
        r#"
        HSET h a 1 b 2 a 3
        HSET h a
        HSET h a 1 b
        HMSET h a 1 b
        HGETALL h
        HMGET h a x b a
        HSETNX h a 9
        HSETNX h c 9
        HSTRLEN h c
        HDEL h a a b
        HINCRBY h c 1
        HINCRBY h d -9223372036854775808
        HINCRBY h d -1
        HINCRBYFLOAT h c 0.1
        HINCRBYFLOAT h c 1e5
        HINCRBYFLOAT h c nan
        HINCRBYFLOAT h c inf
        HINCRBYFLOAT h c 1e4932
        HINCRBYFLOAT h x 1.0x
        HINCRBY h c 1
        HGETALL h
        HDEL h c d
        EXISTS h
        SET s v
        HSET s a 1
        HINCRBY s a x
        HINCRBY s a 1
        HINCRBYFLOAT s a inf
        HRANDFIELD s 5 WITHVALUES
        HSCAN s 0 FOO
        "#,
    );
}

#[test]
fn encodings() {
    everywhere_with(&["--hash-max-listpack-entries", "4"], |both: &mut Both| {
        both.script(
            r#"
            HSET h a 1 b 2 c 3 d 4
            OBJECT ENCODING h
            HSET h d 5
            OBJECT ENCODING h
            HSET h e 5
            OBJECT ENCODING h
            HDEL h a b c d
            OBJECT ENCODING h
            COPY h copy
            OBJECT ENCODING copy
            RENAME copy other
            HGETALL other
            HSET long f aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
            OBJECT ENCODING long
            HSET n f 1
            HINCRBYFLOAT n aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1
            OBJECT ENCODING n
            "#,
        );
    });
}

/// All fields that a whole HSCAN returns while `between` runs between its pages.
fn walk(client: &mut Client, mut between: impl FnMut(&mut Client)) -> BTreeSet<String> {
    let (mut cursor, mut seen) = ("0".to_string(), BTreeSet::new());
    loop {
        let reply = client.run(&format!("HSCAN h {cursor} COUNT 50 NOVALUES"));
        let [next, page] = reply.items() else { panic!("{reply:?}") };
        seen.extend(page.items().iter().map(Reply::text));
        cursor = next.text();
        if cursor == "0" {
            return seen;
        }
        between(client);
    }
}

#[test]
fn what_stays_is_returned_while_others_come_and_go() {
    let server = Server::corelane(2);
    let mut client = server.client();
    for n in 0..3000 {
        client.run(&format!("HSET h stay:{n} v"));
    }
    let mut n = 0;
    let seen = walk(&mut client, |client| {
        for _ in 0..100 {
            match n {
                0..3000 => client.run(&format!("HSET h go:{n} v")),
                _ => client.run(&format!("HDEL h go:{}", n - 3000)),
            };
            n += 1;
        }
    });
    assert!(n >= 6000, "{n}");
    assert_eq!(seen.iter().filter(|field| field.starts_with("stay:")).count(), 3000);
}

#[test]
fn fields_go_when_their_time_is_over() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        for key in 0..20 {
            for field in 0..100 {
                client.run(&format!("HSETEX h{key} EX 1000 FIELDS 1 f{field} v"));
            }
            client.run(&format!("HSET h{key} stays v"));
            client.run(&format!("HSETEX all{key} EX 1000 FIELDS 2 a 1 b 2"));
        }
        assert_eq!(server.info("db0").as_deref(), Some("keys=40,expires=0,avg_ttl=0"));
        let fields: Vec<String> = (0..100).map(|field| format!("f{field}")).collect();
        for key in 0..20 {
            client.run(&format!("HPEXPIRE h{key} 50 FIELDS 100 {}", fields.join(" ")));
            client.run(&format!("HPEXPIRE all{key} 50 FIELDS 2 a b"));
        }
        wait_until("nothing else is seen", || {
            client.run("HLEN h7") == Reply::Int(1) && client.run("EXISTS all7") == Reply::Int(0)
        });
        assert_eq!(client.run("HKEYS h7").items().len(), 1);
        server.wait_info("expired_fields", "2000");
        server.wait_info("expired_keys", "20");
        assert_eq!(server.info("db0").as_deref(), Some("keys=20,expires=0,avg_ttl=0"));
    }
}

#[test]
fn fields_expire_on_whatever_shard_the_hash_was() {
    let server = Server::corelane(3);
    let mut client = server.client();
    for key in ["a", "b", "c", "d"] {
        client.run(&format!("HSET {key} stays v"));
        client.run(&format!("HSETEX {key} PX 200 FIELDS 1 f v"));
    }
    // Both keys are for a while where the block runs.
    for line in ["MULTI", "HSET a more v", "HSET b more v", "HSET c more v", "RENAME d e", "EXEC"] {
        assert!(!client.run(line).is_error(), "{line}");
    }
    server.wait_info("expired_fields", "4");
    for key in ["a", "b", "c"] {
        assert_eq!(client.run(&format!("HLEN {key}")), Reply::Int(2));
    }
    assert_eq!(client.run("HLEN e"), Reply::Int(1));
}

#[test]
fn a_field_that_expires_is_a_change() {
    let server = Server::corelane(2);
    let (mut client, mut other) = (server.client(), server.client());
    for active in ["0", "1"] {
        other.run(&format!("DEBUG SET-ACTIVE-EXPIRE {active}"));
        other.run("HSETEX h PX 1 FIELDS 1 early v");
        other.run("HSETEX h PX 3000 FIELDS 1 late v");
        other.run("HSET h stays v");
        std::thread::sleep(Duration::from_millis(20));
        client.run("WATCH h");
        client.run("MULTI");
        client.run("PING");
        let fields = client.run("EXEC");
        assert_eq!(fields.items().len(), 1, "what had expired before is no change");
        client.run("WATCH h");
        std::thread::sleep(Duration::from_millis(3100));
        client.run("MULTI");
        client.run("PING");
        assert!(client.run("EXEC").is_nil());
    }
}

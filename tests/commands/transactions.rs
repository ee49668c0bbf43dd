//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use crate::harness::pair::{everywhere, everywhere_with};
use crate::harness::{Client, Pair, Reply, parse_line, wait_until};

#[test]
fn blocks() {
    everywhere(
        r#"
        MULTI
        EXEC
        MULTI
        SET a 1
        SET b 2
        SET c 3
        MGET a b c none
        INCR a
        EXEC
        MULTI
        SET foo 1
        APPEND foo 2
        GET foo
        STRLEN foo
        EXEC
        multi
        set a 5
        get a
        exec
        MULTI
        PING
        ECHO hello
        EXEC
        MULTI
        DEL a b c
        RENAME foo bar
        COPY bar x
        MSET k1 1 k2 2 k3 3
        MSETNX k3 3 k4 4
        BITOP OR dest k1 k2 k3
        MGET k1 k2 k3 k4 dest bar foo x
        EXISTS k1 k2 k3 k4
        UNLINK k1 k2
        TOUCH k1 k2 k3
        EXEC
        MULTI
        SETEX foo 100 bar
        TTL foo
        PERSIST foo
        TTL foo
        OBJECT ENCODING foo
        TYPE foo
        EXEC
        "#,
    );
}

#[test]
fn errors_while_queueing() {
    everywhere(
        r#"
        EXEC
        DISCARD
        MULTI
        MULTI
        SET a 1
        EXEC
        MULTI
        WATCH a
        SET a 2
        EXEC
        GET a
        MULTI
        NOSUCH x
        SET a 3
        EXEC
        GET a
        MULTI
        SET a
        SET a 3
        EXEC
        GET a
        MULTI
        CLIENT NOSUCH
        EXEC
        MULTI
        SET a 4
        EXEC x
        EXEC
        EXEC x
        MULTI
        DISCARD x
        DISCARD
        DISCARD
        MULTI
        MULTI x
        EXEC
        MULTI
        UNWATCH x
        EXEC
        WATCH
        GET a
        MULTI
        SET a 5
        DISCARD
        GET a
        MULTI
        NOSUCH
        DISCARD
        MULTI
        GET a
        EXEC
        "#,
    );
}

#[test]
fn errors_while_running() {
    everywhere(
        r#"
        SET s abc
        MULTI
        SET x 1
        INCR s
        SET y 2
        LCS s s IDX LEN
        SET z 3 NOSUCH
        RENAME none other
        EXEC
        MGET x y z
        MULTI
        MSET a 1 b
        GET a
        EXEC
        MULTI
        MSET a 1 foo 2 b
        SET l 1
        SET foo 5
        EXEC
        MGET a l foo
        MULTI
        SELECT 99
        SET q 1
        SELECT x
        EXEC
        GET q
        COPY x y
        "#,
    );
}

#[test]
fn the_clients_own_commands_run_in_their_place() {
    everywhere(
        r#"
        MULTI
        SET k zero
        SELECT 1
        SET k one
        SET j one
        GET k
        SELECT 0
        GET k
        EXEC
        GET k
        SELECT 1
        GET k
        MULTI
        SELECT 3
        SET only here
        EXEC
        DBSIZE
        GET only
        SELECT 0
        MULTI
        CLIENT SETNAME me
        CLIENT GETNAME
        SET foo 1
        CLIENT NO-EVICT ON
        GET foo
        CLIENT NO-EVICT OFF
        ECHO done
        EXEC
        CLIENT GETNAME
        MULTI
        CONFIG SET lfu-log-factor 20
        CONFIG GET lfu-log-factor
        SET bar 1
        EXEC
        MULTI
        UNWATCH
        GET foo
        GET bar
        EXEC
        MULTI
        SET foo 2
        RESET
        EXEC
        GET foo
        "#,
    );
}

#[test]
fn commands_on_all_keys() {
    everywhere(
        r#"
        MSET a 1 b 2 c 3 d 4 e 5
        SET t 1 EX 1000
        MULTI
        DBSIZE
        SET f 6
        DBSIZE
        DEL a b
        DBSIZE
        KEYS none*
        KEYS f
        RENAME c g
        MGET a b c d e f g
        COPY d foo
        EXEC
        DBSIZE
        MULTI
        FLUSHALL
        SET x 1
        SET y 2
        DBSIZE
        EXEC
        MGET a d x y
        DBSIZE
        MULTI
        SWAPDB 0 1
        DBSIZE
        MGET x y
        SELECT 1
        MGET x y
        SET z 1
        DBSIZE
        SWAPDB 0 1
        DBSIZE
        SELECT 0
        DBSIZE
        FLUSHDB NOSUCH
        FLUSHDB ASYNC
        DBSIZE
        RANDOMKEY
        MSETNX x 1 y 2 w 3
        SCAN 0 COUNT 1000 MATCH none
        SCAN x
        SCAN 0 COUNT 0
        MGET x y w
        EXEC
        DBSIZE
        MGET x y w
        SELECT 1
        DBSIZE
        MULTI
        FLUSHALL
        FLUSHALL x
        EXEC
        "#,
    );
}

#[test]
fn the_protocol_can_change_inside() {
    everywhere_with(&[], |both| {
        let replies = [&mut both.redis, &mut both.corelane].map(|client| {
            client.run("HELLO 2");
            client.run("MULTI");
            for line in ["GET none", "SET foo 1", "HELLO 3", "GET none", "HELLO 2", "GET none"] {
                assert_eq!(client.run(line).text(), "QUEUED");
            }
            let replies = client.run("EXEC").items().to_vec();
            assert_eq!(replies[2].field("proto"), Some(&Reply::Int(3)));
            [0, 1, 3, 5].map(|at| format!("{:?}", replies[at]))
        });
        assert_eq!(replies[0], replies[1]);
    });
}

#[test]
fn watching_ones_own_keys() {
    everywhere(
        r#"
        WATCH k
        MULTI
        SET k 1
        EXEC
        WATCH k
        SET k 2
        MULTI
        SET k 3
        SET other 3
        EXEC
        MGET k other
        MULTI
        SET k 4
        EXEC
        WATCH a foo bar
        GET a
        SET unrelated 1
        MULTI
        MSET a 1 foo 1 bar 1 x 1
        EXEC
        MGET a foo bar x
        WATCH a foo bar
        DEL bar
        MULTI
        SET a 2
        EXEC
        GET a
        WATCH a
        SET a 3
        UNWATCH
        MULTI
        SET a 4
        EXEC
        WATCH a
        SET a 5
        MULTI
        DISCARD
        MULTI
        GET a
        EXEC
        WATCH a
        SET a 6
        MULTI
        NOSUCH
        EXEC
        MULTI
        GET a
        EXEC
        WATCH a a a
        WATCH a
        RESET
        "#,
    );
}

#[test]
fn what_dirties() {
    everywhere(
        r#"
        MSET k 1 a 2
        WATCH k
        EXPIRE k 100
        MULTI
        PING
        EXEC
        WATCH k
        PERSIST k
        MULTI
        EXEC
        WATCH k
        PERSIST k
        MULTI
        EXEC
        WATCH k a
        GET k
        MGET k a
        TTL k
        SETRANGE k 0 ""
        SET k x NX
        RENAMENX k a
        MULTI
        EXEC
        WATCH a
        RENAME k a
        MULTI
        EXEC
        WATCH k
        COPY a k
        MULTI
        EXEC
        WATCH k
        MSETNX k 1 foo 2
        MULTI
        EXEC
        WATCH foo
        BITOP OR foo k a
        MULTI
        EXEC
        WATCH none
        DEL none
        FLUSHALL
        MULTI
        EXEC
        "#,
    );
}

#[test]
fn what_dirties_whole_databases() {
    everywhere(
        r#"
        MSET k 1 a 2
        WATCH k
        FLUSHALL
        MULTI
        EXEC
        SET k 1
        WATCH k
        FLUSHDB
        MULTI
        EXEC
        SET k 1
        WATCH k
        SWAPDB 0 1
        MULTI
        EXEC
        WATCH k
        SWAPDB 2 3
        MULTI
        EXEC
        WATCH k
        SWAPDB 1 0
        MULTI
        EXEC
        SELECT 1
        SET k 1
        SELECT 0
        WATCH k
        SELECT 1
        SET k 2
        SELECT 0
        MULTI
        EXEC
        WATCH k
        MOVE k 5
        MULTI
        EXEC
        "#,
    );
}

#[test]
fn others_dirty_watched_keys() {
    everywhere_with(&[], |both| {
        let ports = [both.redis_port(), both.corelane_port()];
        let clients = ports.into_iter().zip([&mut both.redis, &mut both.corelane]);
        for (port, client) in clients {
            let mut other = Client::connect(port);
            for (watched, change, block, clean) in [
                ("k", "GET k", "SET k 1", true),
                ("k", "SET k 2", "SET k 1", false),
                ("k", "SET k 2", "MSET a 1 b 1 c 1 d 1", false),
                ("a b c d e", "SET x 1", "SET y 1", true),
                ("a b c d e", "DEL e", "MSET a 1 b 1 c 1 d 1 e 1", true),
                ("a b c d e", "DEL e", "MSET a 1 b 1 c 1 d 1 e 1", false),
                ("a b c d e", "APPEND c 1", "DBSIZE", false),
                ("a b c d e", "RENAME c e", "PING", false),
                ("a b c d e", "RENAME none e", "PING", true),
                ("a b", "MSETNX a 1 z 1", "CLIENT ID", true),
                ("a b f", "COPY a f", "CLIENT ID", false),
            ] {
                client.run("DEL none");
                assert_eq!(client.run(&format!("WATCH {watched}")).text(), "OK");
                other.run(change);
                client.run("MULTI");
                client.run(block);
                let done = matches!(client.run("EXEC"), Reply::Array(_));
                assert_eq!(done, clean, "port {port}: WATCH {watched}; {change}; {block}");
            }
            // Whatever changed them, in a block of its own.
            client.run("WATCH a b c d");
            other.run("MULTI");
            other.run("SET a 7");
            other.run("SET zzz 7");
            other.run("EXEC");
            client.run("MULTI");
            assert!(!matches!(client.run("EXEC"), Reply::Array(_)), "port {port}");
        }
    });
}

#[test]
fn a_key_that_expires_is_changed() {
    everywhere_with(&[], |both| {
        for client in [&mut both.redis, &mut both.corelane] {
            client.run("DEBUG SET-ACTIVE-EXPIRE 0");
            for (ttl_ms, wait_before, clean) in [(1, true, true), (30, false, false)] {
                client.run("MSET a 1 foo 1");
                client.run(&format!("SET k v PX {ttl_ms}"));
                let wait = || std::thread::sleep(std::time::Duration::from_millis(60));
                if wait_before {
                    wait();
                }
                client.run("WATCH k a foo");
                if !wait_before {
                    wait();
                }
                client.run("MULTI");
                client.run("SET a 2");
                let done = matches!(client.run("EXEC"), Reply::Array(_));
                assert_eq!(done, clean, "{ttl_ms} ms");
            }
            client.run("DEBUG SET-ACTIVE-EXPIRE 1");
        }
    });
}

#[test]
fn a_stranger_cannot_open_a_block() {
    let pair = Pair::start_with_password();
    for port in [pair.redis.port, pair.corelane.port] {
        let mut client = Client::connect(port);
        assert!(client.run("MULTI").text().starts_with("NOAUTH"));
        let text = client.run("EXEC").text();
        assert_eq!(
            text,
            "EXECABORT Transaction discarded because of: NOAUTH Authentication required."
        );
        client.run("AUTH secret");
        client.run("MULTI");
        client.run("SET a 1");
        assert_eq!(client.run("RESET").text(), "RESET");
        assert!(client.run("SET a 1").text().starts_with("NOAUTH"));
    }
}

#[test]
fn replies_can_be_switched_off_inside() {
    everywhere_with(&[], |both| {
        for program in [
            "CLIENT REPLY OFF;MULTI;SET a 1;SET foo 1;CLIENT REPLY ON;GET a;EXEC;PING",
            "MULTI;SET a 1;CLIENT REPLY OFF;GET a;CLIENT REPLY ON;GET foo;EXEC;PING",
            "MULTI;CLIENT REPLY SKIP;GET a;EXEC;PING;ECHO x",
            "CLIENT REPLY SKIP;MULTI;SET a 1;SET foo 3;EXEC",
            "MULTI;SET a 1;SET foo 3;CLIENT REPLY SKIP;EXEC;PING;PING",
            "MULTI;SET a 1;SET foo 3;SET x 1;DBSIZE;CLIENT REPLY OFF;EXEC;PING",
            "CLIENT REPLY SKIP;WATCH a foo;MULTI;EXEC",
        ] {
            // The header may count more replies than follow: bytes are compared.
            let mut bytes = Vec::new();
            let end = ["CLIENT REPLY ON", "ECHO the-end"];
            let lines = program.split(';').chain(end);
            lines.for_each(|line| parse_line(line).encode(&mut bytes));
            let replies = [both.redis_port(), both.corelane_port()].map(|port| {
                let mut client = Client::connect(port);
                client.send_raw(&bytes).expect("it is connected");
                let mut replies = String::new();
                wait_until("all replies are there", || {
                    let (more, _) = client.drain(std::time::Duration::from_millis(20));
                    replies += &String::from_utf8_lossy(&more);
                    replies.ends_with("the-end\r\n")
                });
                replies
            });
            assert_eq!(replies[0], replies[1], "{program}");
        }
    });
}

#[test]
fn the_list_of_clients_shows_blocks() {
    for shards in [1, 3] {
        let pair = Pair::start(shards, &[]);
        for port in [pair.redis.port, pair.corelane.port] {
            let (mut client, mut other) = (Client::connect(port), Client::connect(port));
            client.run("CLIENT SETNAME blocky");
            let line = |other: &mut Client| {
                let list = other.run("CLIENT LIST").text();
                let line = list.lines().find(|line| line.contains("name=blocky"));
                line.expect("it is connected").to_string()
            };
            assert!(line(&mut other).contains(" multi=-1 "));
            client.run("WATCH a foo");
            client.run("MULTI");
            let own = line(&mut other);
            assert!(own.contains(" multi=0 ") && own.contains(" flags=x "), "{own}");
            client.run("SET a 1");
            client.run("SET foo 1");
            client.run("CLIENT LIST");
            client.run("CLIENT INFO");
            let own = line(&mut other);
            assert!(own.contains(" multi=4 ") && own.contains(" cmd=client|info "), "{own}");
            assert!(!own.contains(" multi-mem=0 "), "{own}");
            if port == pair.corelane.port {
                assert!(own.contains(" watch=2 "), "{own}");
            }
            let replies = client.run("EXEC");
            let info = replies.items()[3].text();
            assert!(info.contains(" multi=4 ") && info.contains(" cmd=exec "), "{info}");
            assert!(info.contains(" flags=x "), "{info}");
            assert!(replies.items()[2].text().contains("name=blocky"));
            assert!(line(&mut other).contains(" multi=-1 "));
            assert!(line(&mut other).contains(" flags=N "));
        }
    }
}

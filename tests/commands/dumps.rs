//! RESTORE of given payloads, alone and in transactions. What DUMP gives is compared in `compat`.

use crate::harness::pair::{Pair, everywhere};
use crate::harness::{Protocol, parse_line};

/// The string `hello`, the list `a 1 -5`, as redis-server 7.0 dumps them.
const HELLO: &str = r#""\x00\x05hello\x0a\x00cr\xdfve4 \x0a""#;
const LIST: &str = r#""\x12\x01\x02\x0f\x0f\x00\x00\x00\x03\x00\x81a\x02\x01\x01\xdf\xfb\x02\xff\x0a\x00\xaf7@;\x85\xfeU9""#;

fn filled(script: &str) -> String {
    script.replace("HELLO", HELLO).replace("LIST", LIST)
}

#[test]
fn options_and_errors() {
    everywhere(&filled(
        r#"
        RESTORE k 0 HELLO
        GET k
        RESTORE k 0 LIST
        RESTORE k 0 LIST REPLACE
        LRANGE k 0 -1
        RESTORE k 100000 HELLO replace
        PTTL k
        RESTORE k 1 HELLO ABSTTL REPLACE
        EXISTS k
        RESTORE k 1 HELLO ABSTTL
        RESTORE k 4000000000000 LIST ABSTTL IDLETIME 10
        PEXPIRETIME k
        RESTORE k 0 HELLO IDLETIME 5 FREQ 5
        RESTORE k 0 HELLO FREQ 5 IDLETIME 5
        RESTORE k 0 HELLO FREQ
        RESTORE k 0 HELLO REPLACE FREQ 5 FREQ 6
        RESTORE l -1 HELLO
        RESTORE l abc HELLO
        RESTORE l 0 ""
        RESTORE l 0 "0123456789"
        RESTORE l 0
        RESTORE-ASKING l 0 LIST
        LLEN l
        DUMP
        DUMP none
        DUMP a b
        COMMAND GETKEYS RESTORE k 0 x
        COMMAND GETKEYSANDFLAGS RESTORE k 0 x
        "#,
    ));
}

#[test]
fn in_transactions() {
    everywhere(&filled(
        r#"
        WATCH k
        RESTORE k 0 HELLO
        MULTI
        SET x 1
        EXEC
        WATCH k
        RESTORE k 0 HELLO
        MULTI
        SET x 2
        RESTORE k 0 LIST REPLACE
        RESTORE k 0 LIST
        RESTORE y 1 HELLO ABSTTL
        LLEN k
        EXEC
        WATCH k
        RESTORE k 1 HELLO ABSTTL REPLACE
        MULTI
        SET x 3
        EXEC
        MGET x k y
        "#,
    ));
}

/// Who waits for a list is served from one that is restored.
#[test]
fn a_restored_list_ends_the_waiting() {
    for shards in [1, 3] {
        let pair = Pair::start(shards, &[]);
        let both = pair.connect(Protocol::Resp2);
        for (mut client, server) in [(both.redis, &pair.redis), (both.corelane, &pair.corelane)] {
            client.send(&parse_line("BLPOP none k 20")).unwrap();
            let mut other = server.client();
            crate::harness::wait_until("the client waits", || {
                other.run("INFO clients").text().contains("blocked_clients:1")
            });
            assert_eq!(other.run(&filled("RESTORE k 0 LIST")).text(), "OK");
            let reply = client.recv().unwrap();
            assert_eq!(reply.items()[1].text(), "a");
            assert_eq!(other.run("LLEN k").int(), 2);
        }
    }
}

//! Sets and HyperLogLogs: what random programs meet too seldom.

use crate::harness::pair::everywhere;
use crate::harness::{Cmd, Server, wait_until};

#[test]
fn what_does_not_change_is_no_change_to_those_who_watch() {
    everywhere(
        r#"
        SADD a x
        SADD b x y
        WATCH b
        SMOVE a b x
        MULTI
        SCARD b
        EXEC
        WATCH a
        SADD a z
        MULTI
        SCARD a
        EXEC
        WATCH a
        SADD a z
        SREM a none
        SMOVE a a z
        SMOVE a b none
        SRANDMEMBER a
        SPOP a 0
        SINTERSTORE missing a none
        MULTI
        SCARD a
        EXEC
        WATCH a b
        SMOVE b a y
        MULTI
        SCARD a
        EXEC
        WATCH missing
        SDIFFSTORE missing a b
        MULTI
        SCARD missing
        EXEC
        PFADD h 1 2 3
        WATCH h
        PFCOUNT h
        MULTI
        PFCOUNT h
        EXEC
        WATCH h
        PFCOUNT h
        PFADD h 1
        PFCOUNT h missing
        MULTI
        PFCOUNT h
        EXEC
        "#,
    );
}

#[test]
fn several_keys_in_one_transaction() {
    everywhere(
        r#"
        SADD a 1 2 3
        SADD b 2 3 4
        MULTI
        SINTERSTORE c a b
        SUNIONSTORE d a b c
        SDIFFSTORE e d c
        SMOVE a e 3
        SINTERCARD 2 d e LIMIT 2
        SINTERCARD 3 a b
        SINTERCARD x a b
        PFADD h 1 2
        PFMERGE i h none
        PFCOUNT h i a
        EXEC
        SUNION a b c
        SUNION d e
        PFCOUNT h i
        "#,
    );
}

#[test]
fn other_types_stay_what_they_are() {
    everywhere(
        r#"
        SET text value
        SADD set a b
        SADD text a
        SUNIONSTORE set set text
        SMOVE set text a
        SINTERCARD 2 set text
        PFADD set a
        PFCOUNT text
        PFMERGE set text
        PFMERGE text set
        GET text
        SMEMBERS set
        SUNIONSTORE text set
        TYPE text
        RENAME text other
        COPY other set REPLACE
        EXPIRE set 100
        SREM set a b
        EXISTS set
        SADD set c
        TTL set
        "#,
    );
}

/// A big value is out of sight at once, and its memory comes back without anybody's asking.
#[test]
fn big_values_are_freed_in_the_background() {
    let server = Server::corelane(3);
    let mut client = server.client();
    let info = |field: &str| -> u64 { server.info(field).expect(field).parse().expect(field) };
    let members = (0..20_000).map(|n| format!("a member of the set number {n}"));
    let head = ["SADD".to_string(), "big".to_string()];
    let fill = Cmd::new(head.into_iter().chain(members));
    for (go, answer) in [
        ("DEL big", ":1"),
        ("UNLINK big", ":1"),
        ("SET big small", "+OK"),
        ("PEXPIRE big 1", ":1"),
        ("SINTERSTORE big none none", ":0"),
        ("RENAME small big", "+OK"),
        ("FLUSHALL", "+OK"),
    ] {
        client.run("DEL big");
        client.run("SET small value");
        wait_until("all is freed", || info("lazyfree_pending_objects") == 0);
        let before = info("lazyfreed_objects");
        assert_eq!(client.call(&fill).int(), 20_000);
        let reply = client.run(go);
        assert_eq!(format!("{reply:?}"), answer, "{go}");
        wait_until("the set is freed", || {
            client.run("EXISTS big");
            info("lazyfree_pending_objects") == 0 && info("lazyfreed_objects") > before
        });
    }
}

//! The numbered databases: SELECT, SWAPDB, the flushes.

use crate::harness::pair::everywhere;

#[test]
fn selecting() {
    everywhere(
        r#"
        SET k zero
        SELECT 1
        GET k
        SET k one
        DBSIZE
        SELECT 15
        SET k fifteen
        SELECT 0
        GET k
        SELECT 16
        SELECT -1
        SELECT abc
        SELECT 1.0
        SELECT 99999999999999999999
        SELECT
        SELECT 0 1
        GET k
        "#,
    );
}

#[test]
fn swapping() {
    everywhere(
        r#"
        MSET a 0 b 0 c 0
        SET t 0 EX 100
        SELECT 1
        MSET a 1 d 1
        SWAPDB 0 1
        MGET a b c d
        TTL t
        DBSIZE
        SELECT 0
        MGET a b c d
        DBSIZE
        SWAPDB 0 0
        MGET a b c d
        SWAPDB 0 16
        SWAPDB 16 0
        SWAPDB -1 0
        SWAPDB abc 0
        SWAPDB 0 abc
        SWAPDB 0
        SWAPDB 3 4
        SWAPDB 0 3
        DBSIZE
        SELECT 3
        MGET a b c d
        "#,
    );
}

#[test]
fn flushing() {
    everywhere(
        r#"
        MSET a 1 b 2 c 3
        SELECT 1
        MSET a 1 b 2
        FLUSHDB
        DBSIZE
        SELECT 0
        DBSIZE
        FLUSHDB ASYNC
        DBSIZE
        MSET a 1 b 2 c 3
        FLUSHDB SYNC
        DBSIZE
        MSET a 1 b 2 c 3
        SELECT 5
        SET x 1 EX 100
        FLUSHDB FOO
        FLUSHALL FOO
        FLUSHALL SYNC ASYNC
        FLUSHALL async
        DBSIZE
        SELECT 0
        DBSIZE
        KEYS *
        SCAN 0
        RANDOMKEY
        SET x 2
        TTL x
        FLUSHALL SYNC
        EXISTS x
        DBSIZE x
        "#,
    );
}

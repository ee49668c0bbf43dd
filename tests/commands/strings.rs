//! GET, SET and all that works on one string or on many.

use crate::harness::pair::{everywhere, everywhere_with};

#[test]
fn set_and_its_options() {
    everywhere(
        r#"
        SET k v
        GET k
        SET k w GET
        SET k x XX GET
        SET k y NX
        SET k y NX GET
        GET k
        SET missing y XX
        SET missing y XX GET
        EXISTS missing
        SET missing y NX GET
        GET missing
        SET k v EX 100
        TTL k
        SET k v KEEPTTL
        TTL k
        SET k v
        TTL k
        SET k v PX 100000
        PTTL k
        SET k v EXAT 4000000000
        EXPIRETIME k
        SET k v PXAT 4000000000123
        PEXPIRETIME k
        SET k v ex 10 nx
        set k v xx px 10000 get
        SET k v EXAT 1
        GET k
        SET k v EX 0
        SET k v EX -1
        SET k v PX 0
        SET k v EX abc
        SET k v EX 9223372036854775807
        SET k v PX 9223372036854775807
        SET k v EXAT 0
        SET k v PXAT -5
        SET k v NX XX
        SET k v XX NX
        SET k v EX 10 PX 10
        SET k v EX 10 KEEPTTL
        SET k v KEEPTTL EX 10
        SET k v EX
        SET k v foo
        SET k v GET GET
        SET k v NX NX
        SET k
        SET
        SET k v EXAT 10 PXAT 10
        SET k v PERSIST
        DBSIZE
        "#,
    );
}

#[test]
fn getex_getdel_getset() {
    everywhere(
        r#"
        GETEX k
        SET k v
        GETEX k EX 100
        TTL k
        GETEX k
        TTL k
        GETEX k PERSIST
        TTL k
        GETEX k PX 100000
        GETEX k EXAT 4000000000
        EXPIRETIME k
        GETEX k PXAT 4000000000001
        PEXPIRETIME k
        GETEX k EX 0
        GETEX k EX -1
        GETEX k EX abc
        GETEX k EX
        GETEX k PERSIST EX 10
        GETEX k EX 10 PERSIST
        GETEX k EX 10 PX 10
        GETEX k NX
        GETEX k KEEPTTL
        GETEX
        GETEX k PXAT 1
        EXISTS k
        GETEX k EXAT 1
        SET k v EX 100
        GETDEL k
        GETDEL k
        EXISTS k
        GETSET k a
        GETSET k b
        EXPIRE k 100
        GETSET k c
        TTL k
        GET k
        GETDEL
        GETSET k
        "#,
    );
}

#[test]
fn many_keys_at_once() {
    everywhere(
        r#"
        MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8
        MGET a b c d e f g h missing a
        MSET a x a y
        GET a
        MSETNX a 0 new 1
        EXISTS new
        MSETNX n1 1 n2 2 n3 3 n4 4
        MGET n1 n2 n3 n4
        MSETNX m 1 m 2
        GET m
        EXPIRE a 100
        MSET a z
        TTL a
        MSET a
        MSET a 1 b
        MSETNX a 1 b
        MGET
        MSET
        MSET "" empty "\x00" nul
        MGET "" "\x00"
        "#,
    );
}

#[test]
fn appending_and_ranges() {
    everywhere(
        r#"
        APPEND k Hello
        APPEND k " World"
        APPEND k ""
        GET k
        STRLEN k
        STRLEN missing
        APPEND missing ""
        EXISTS missing
        GETRANGE k 0 -1
        GETRANGE k 0 3
        GETRANGE k -3 -1
        GETRANGE k 3 1
        GETRANGE k -1 -5
        GETRANGE k 5 1000
        GETRANGE k -1000 2
        GETRANGE k 1000 2000
        GETRANGE k a 1
        GETRANGE k 0 9223372036854775807
        GETRANGE k -9223372036854775808 -1
        GETRANGE k 0 9223372036854775808
        GETRANGE absent 0 -1
        SUBSTR k 0 4
        SETRANGE k 6 Redis
        GET k
        SETRANGE k 20 far
        GET k
        SETRANGE pad 5 x
        GET pad
        SETRANGE empty 5 ""
        EXISTS empty
        SETRANGE k 0 ""
        SETRANGE k -1 x
        SETRANGE k abc x
        SETRANGE k 536870912 x
        SETRANGE k 9223372036854775807 x
        SETRANGE new 536870912 ""
        SET n 123
        APPEND n 4
        GET n
        INCR n
        SETRANGE n 1 9
        GET n
        OBJECT ENCODING n
        EXPIRE n 100
        APPEND n 5
        TTL n
        SETRANGE n 0 7
        TTL n
        "#,
    );
}

#[test]
fn counters() {
    everywhere(
        r#"
        INCR n
        INCRBY n 41
        DECR n
        DECRBY n 40
        GET n
        INCRBY n -10
        DECRBY n -10
        SET n 9223372036854775806
        INCR n
        INCR n
        GET n
        DECRBY n -1
        SET n -9223372036854775808
        DECR n
        DECRBY n 9223372036854775807
        DECRBY n -9223372036854775808
        INCRBY n -1
        INCRBY n abc
        INCRBY n 1.5
        INCRBY n 9223372036854775808
        SET s abc
        INCR s
        SET s " 1"
        INCR s
        SET s 1.0
        INCR s
        SET s ""
        INCR s
        SET s 007
        INCR s
        SET s +1
        INCR s
        SET s -0
        INCR s
        SET s 18446744073709551615
        INCR s
        INCRBY n
        INCR
        SET t 10 EX 100
        INCR t
        TTL t
        "#,
    );
}

#[test]
fn floating_point_counters() {
    everywhere(
        r#"
        INCRBYFLOAT f 10.50
        INCRBYFLOAT f 0.1
        INCRBYFLOAT f -5
        INCRBYFLOAT f 5.0e3
        INCRBYFLOAT f 1e-10
        GET f
        SET f 3.0e3
        INCRBYFLOAT f 200
        SET f 3
        INCRBYFLOAT f 1.1
        SET f 1
        INCRBYFLOAT f 0
        OBJECT ENCODING f
        INCRBYFLOAT f 1
        OBJECT ENCODING f
        SET f 0.1
        INCRBYFLOAT f 0.2
        SET f 1e17
        INCRBYFLOAT f 1
        SET f 123456789012345678
        INCRBYFLOAT f 0.5
        SET f 0
        INCRBYFLOAT f 1e400
        INCRBYFLOAT f 1e4932
        INCRBYFLOAT f 1e5000
        INCRBYFLOAT f inf
        INCRBYFLOAT f -inf
        INCRBYFLOAT f nan
        INCRBYFLOAT f abc
        INCRBYFLOAT f ""
        INCRBYFLOAT f " 1"
        INCRBYFLOAT f "1 "
        INCRBYFLOAT f 0x10
        SET f abc
        INCRBYFLOAT f 1
        SET f "1\x00"
        INCRBYFLOAT f 1
        SET f 1 EX 100
        INCRBYFLOAT f 0.00000000000000001
        TTL f
        INCRBYFLOAT f
        "#,
    );
}

#[test]
fn longest_common_subsequence() {
    everywhere(
        r#"
        MSET a ohmytext b mynewtext
        LCS a b
        LCS a b LEN
        LCS a b IDX
        LCS a b IDX WITHMATCHLEN
        LCS a b IDX MINMATCHLEN 4
        LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN
        LCS a b WITHMATCHLEN
        LCS a b MINMATCHLEN 4
        LCS a b IDX MINMATCHLEN -5
        LCS a b IDX MINMATCHLEN abc
        LCS a b LEN IDX
        LCS a b IDX LEN
        LCS a b MINMATCHLEN
        LCS a b foo
        LCS a missing
        LCS a missing LEN
        LCS a missing IDX
        LCS missing missing IDX WITHMATCHLEN
        LCS a a IDX
        MSET a rep(200,"abc") b rep(150,"acbb")
        LCS a b
        LCS a b IDX WITHMATCHLEN MINMATCHLEN 2
        LCS a
        "#,
    );
}

#[test]
fn setnx_setex_psetex() {
    everywhere(
        r#"
        SETNX k v
        SETNX k w
        GET k
        SETEX k 100 v
        TTL k
        SETEX k 0 v
        SETEX k -1 v
        SETEX k abc v
        SETEX k 9223372036854775807 v
        SETEX k 10
        PSETEX k 100000 v
        PTTL k
        PSETEX k 0 v
        PSETEX k 9223372036854775807 v
        PSETEX k 1.5 v
        GET k
        "#,
    );
}

#[test]
fn encodings() {
    everywhere(
        r#"
        SET k 1
        OBJECT ENCODING k
        SET k -9223372036854775808
        OBJECT ENCODING k
        SET k 9223372036854775808
        OBJECT ENCODING k
        SET k 007
        OBJECT ENCODING k
        SET k "1 "
        OBJECT ENCODING k
        SET k 12345678901234567890
        OBJECT ENCODING k
        SET k rep(44,"a")
        OBJECT ENCODING k
        SET k rep(45,"a")
        OBJECT ENCODING k
        SET k ""
        OBJECT ENCODING k
        APPEND k x
        OBJECT ENCODING k
        SET k 1
        APPEND k 2
        OBJECT ENCODING k
        GET k
        SET k 1
        SETRANGE k 0 2
        OBJECT ENCODING k
        INCR k
        OBJECT ENCODING k
        APPEND new 5
        OBJECT ENCODING new
        SETRANGE newer 0 5
        OBJECT ENCODING newer
        SETBIT bits 1 1
        OBJECT ENCODING bits
        GETSET k 5
        OBJECT ENCODING k
        MSET m1 5 m2 x m3 rep(50,"y")
        OBJECT ENCODING m1
        OBJECT ENCODING m2
        OBJECT ENCODING m3
        COPY m3 m4
        OBJECT ENCODING m4
        RENAME m1 m5
        OBJECT ENCODING m5
        OBJECT ENCODING missing
        OBJECT REFCOUNT m5
        OBJECT IDLETIME m5
        OBJECT FREQ m5
        OBJECT
        OBJECT FOO m5
        OBJECT ENCODING
        OBJECT ENCODING a b
        "#,
    );
}

#[test]
fn values_of_every_size() {
    everywhere_with(&[], |both| {
        let sizes =
            [0, 1, 15, 16, 31, 63, 64, 255, 256, 4095, 4096, 16_383, 16_384, 65_536, 1 << 20];
        for size in sizes {
            both.script(&format!("SET big rep({size},\"x\")\nSTRLEN big\nGET big\nAPPEND big y"));
        }
        both.script(
            "SET huge rep(9000000,\"0123456\")\nGETRANGE huge 62999990 -1\nGET huge\nDEL huge",
        );
    });
}

//! Bits and bit fields of strings.

use crate::harness::pair::everywhere;

#[test]
fn single_bits() {
    everywhere(
        r#"
        SETBIT k 7 1
        GETBIT k 7
        GETBIT k 6
        GETBIT k 1000
        GETBIT missing 0
        SETBIT k 7 0
        GET k
        SETBIT k 100 1
        STRLEN k
        SET n 1
        SETBIT n 6 1
        GET n
        SETBIT k -1 1
        SETBIT k 4294967296 1
        SETBIT k abc 1
        SETBIT k 1 2
        SETBIT k 1 -1
        SETBIT k 1 x
        SETBIT k 1
        GETBIT k -1
        GETBIT k 4294967296
        GETBIT k
        EXPIRE k 100
        SETBIT k 3 1
        TTL k
        "#,
    );
}

#[test]
fn counting_and_finding() {
    everywhere(
        r#"
        SET k foobar
        BITCOUNT k
        BITCOUNT k 0 0
        BITCOUNT k 1 1
        BITCOUNT k 1 1 BYTE
        BITCOUNT k 5 30 BIT
        BITCOUNT k -2 -1
        BITCOUNT k -20 -1 BIT
        BITCOUNT k 3 1
        BITCOUNT k 0 1000
        BITCOUNT k 0 1000 BIT
        BITCOUNT missing
        BITCOUNT missing 0 -1
        BITCOUNT k 0
        BITCOUNT k 0 a
        BITCOUNT k 0 1 BITS
        BITCOUNT k 0 1 BIT x
        SET k "\xff\xf0\x00"
        BITPOS k 0
        BITPOS k 1
        BITPOS k 1 2
        BITPOS k 0 0 1
        BITPOS k 0 0 0
        BITPOS k 1 2 2
        BITPOS k 0 -1
        BITPOS k 1 -3 -1
        BITPOS k 0 10 15 BIT
        BITPOS k 0 2 11 BIT
        BITPOS k 1 12 23 BIT
        BITPOS k 0 0 -1 BYTE
        SET ones "\xff\xff"
        BITPOS ones 0
        BITPOS ones 0 0
        BITPOS ones 0 0 -1
        BITPOS ones 1 5
        BITPOS missing 0
        BITPOS missing 1
        BITPOS k 2
        BITPOS k x
        BITPOS k 1 a
        BITPOS k 1 0 1 BITS
        BITPOS k
        SET long rep(5000,"\x00")
        SETBIT long 39999 1
        BITPOS long 1
        BITPOS long 1 100 -1 BYTE
        BITCOUNT long
        SET long rep(5000,"\xff")
        BITPOS long 0
        BITCOUNT long 17 39000 BIT
        "#,
    );
}

#[test]
fn operations_between_keys() {
    everywhere(
        r#"
        MSET a foobar b abcdef short ab n 12
        BITOP AND dest a b
        GET dest
        BITOP OR dest a b short
        GET dest
        BITOP XOR dest a b short n
        GET dest
        BITOP NOT dest a
        GET dest
        BITOP AND dest a missing
        GET dest
        BITOP OR dest a missing
        GET dest
        BITOP XOR dest missing other
        EXISTS dest
        BITOP NOT dest missing
        BITOP NOT a a
        GET a
        BITOP NOT dest a b
        BITOP NAND dest a b
        BITOP AND dest
        BITOP and dest n n
        GET dest
        OBJECT ENCODING dest
        SET dest x EX 100
        BITOP OR dest b
        TTL dest
        SET long1 rep(10000,"\xaa\x0f")
        SET long2 rep(9999,"\x55\xf0")
        BITOP XOR dest long1 long2
        BITCOUNT dest
        BITOP AND dest long1 long2
        BITCOUNT dest
        STRLEN dest
        "#,
    );
}

#[test]
fn fields() {
    everywhere(
        r#"
        BITFIELD k SET i8 0 100 GET u4 0 INCRBY i8 0 27
        BITFIELD k INCRBY i8 0 1
        BITFIELD k OVERFLOW SAT INCRBY i8 0 1000 GET i8 0
        BITFIELD k OVERFLOW FAIL INCRBY i8 0 1 GET i8 0
        BITFIELD k OVERFLOW WRAP INCRBY i8 0 1 OVERFLOW SAT INCRBY u2 #3 7 OVERFLOW FAIL INCRBY u2 #3 1
        BITFIELD k SET u63 0 9223372036854775807 GET i64 0
        BITFIELD k SET i64 #1 -9223372036854775808 INCRBY i64 #1 -1 OVERFLOW SAT INCRBY i64 #1 -1
        BITFIELD k OVERFLOW SAT SET u8 3 300 GET u8 3
        BITFIELD k OVERFLOW FAIL SET u8 3 300 GET u8 3
        BITFIELD k SET u8 3 -1 GET u8 3
        BITFIELD k GET i1 0 GET u1 0 GET i2 1 GET u63 5
        BITFIELD k SET u1 1000 1
        STRLEN k
        BITFIELD k OVERFLOW FAIL INCRBY u8 5000 300
        STRLEN k
        BITFIELD k GET u8 100000
        BITFIELD k
        BITFIELD missing GET u8 0
        EXISTS missing
        BITFIELD missing
        BITFIELD missing OVERFLOW SAT
        EXISTS missing
        BITFIELD k GET u64 0
        BITFIELD k GET i65 0
        BITFIELD k GET i0 0
        BITFIELD k GET x8 0
        BITFIELD k GET u8
        BITFIELD k GET u8 -1
        BITFIELD k GET u8 #-1
        BITFIELD k GET u8 abc
        BITFIELD k SET u8 0 abc
        BITFIELD k SET u8 4294967296 1
        BITFIELD k OVERFLOW foo
        BITFIELD k FOO u8 0
        BITFIELD k SET u8 0 1 FOO
        BITFIELD_RO k GET u8 0 GET i5 3
        BITFIELD_RO k SET u8 0 1
        BITFIELD_RO k OVERFLOW SAT GET u8 0
        BITFIELD_RO missing GET u8 0
        BITFIELD_RO k
        SET n 12
        BITFIELD n SET u8 8 51 GET u8 0
        GET n
        OBJECT ENCODING n
        EXPIRE n 100
        BITFIELD n INCRBY u8 0 1
        TTL n
        "#,
    );
}

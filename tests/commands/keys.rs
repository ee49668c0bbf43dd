//! Commands on keys whatever they hold: existence, names, copies.

use crate::harness::pair::everywhere;

#[test]
fn existence_and_deletion() {
    everywhere(
        r#"
        MSET a 1 b 2 c 3 d 4 e 5 f 6
        EXISTS a b c d e f g
        EXISTS a a a
        TOUCH a b g
        TYPE a
        TYPE missing
        DEL a b b missing
        UNLINK c d missing
        EXISTS a b c d e f
        DBSIZE
        KEYS *
        DEL
        UNLINK
        EXISTS
        TOUCH
        TYPE
        TYPE a b
        DEL "" "\x00"
        SET "" v
        EXISTS ""
        DEL ""
        "#,
    );
}

#[test]
fn renaming() {
    everywhere(
        r#"
        SET a 1
        RENAME a b
        EXISTS a
        GET b
        RENAME missing x
        RENAME b b
        RENAME missing missing
        SET c 3 EX 100
        RENAME c b
        GET b
        TTL b
        SET d 4
        RENAME d b
        TTL b
        RENAMENX b e
        SET f 6
        RENAMENX f e
        RENAMENX e e
        RENAMENX missing e
        MGET a b c d e f
        RENAME a
        RENAMENX a
        SET big rep(100000,"x")
        RENAME big k1
        RENAME k1 k2
        RENAME k2 k3
        RENAME k3 k4
        STRLEN k4
        OBJECT ENCODING k4
        "#,
    );
}

#[test]
fn copying_and_moving() {
    everywhere(
        r#"
        SET a 1 EX 1000
        COPY a b
        GET b
        TTL b
        COPY a b
        SET a 2
        COPY a b REPLACE
        GET b
        TTL b
        COPY a a
        COPY a a DB 0
        COPY a a DB 1
        COPY a c DB 1
        COPY a c DB 1
        COPY a c DB 1 REPLACE
        COPY a c REPLACE DB 1
        COPY missing d
        COPY missing d REPLACE
        COPY a d DB 16
        COPY a d DB -1
        COPY a d DB abc
        COPY a d DB
        COPY a d FOO
        COPY a
        SELECT 1
        MGET a c d
        MOVE c 0
        SELECT 0
        GET c
        MOVE c 0
        MOVE c 16
        MOVE c -1
        MOVE c abc
        MOVE missing 1
        SET c x EX 500
        MOVE c 2
        SELECT 2
        TTL c
        SET a here
        SELECT 0
        MOVE a 2
        EXISTS a
        MOVE a
        "#,
    );
}

#[test]
fn glob_patterns() {
    everywhere(
        r#"
        MSET hello 1 hallo 1 hxllo 1 hllo 1 heello 1 h*llo 1 h[a]llo 1 "h\\llo" 1 h-llo 1 "" 1 "\xff" 1
        KEYS *
        KEYS h?llo
        KEYS h*llo
        KEYS h[ae]llo
        KEYS h[^e]llo
        KEYS h[a-e]llo
        KEYS h[e-a]llo
        KEYS h\*llo
        KEYS "h\\[a\\]llo"
        KEYS "h\\\\llo"
        KEYS h[-]llo
        KEYS h[
        KEYS h[a
        KEYS h[a-
        KEYS "h\\"
        KEYS ""
        KEYS **
        KEYS *l*l*o
        KEYS ?
        KEYS "\xff"
        KEYS "[\xf0-\xff]"
        KEYS H*
        KEYS rep(100,"*a")b
        KEYS
        KEYS a b
        "#,
    );
}

#[test]
fn random_keys() {
    everywhere(
        r#"
        RANDOMKEY
        SET only 1
        RANDOMKEY
        MSET a 1 b 2 c 3 d 4
        RANDOMKEY
        RANDOMKEY
        RANDOMKEY x
        DEL only a b c d
        RANDOMKEY
        "#,
    );
}

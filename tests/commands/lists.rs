//! Lists and SORT, as clients use them.

use crate::harness::pair::everywhere;

#[test]
fn pushing_and_popping() {
    everywhere(
        r#"
        RPUSH l a b c
        LPUSH l 1 2 3
        LPUSHX none x
        RPUSHX l d
        LRANGE l 0 -1
        LPOP l
        RPOP l 2
        LPOP l 0
        LPOP l -1
        LPOP l x
        LPOP l 1 2
        LPOP none
        LPOP none 0
        LPOP none 2
        RPOP l 100
        EXISTS l
        SET s 1
        RPUSH s a
        LPUSHX s a
        LPOP s
        LLEN s
        LINDEX s x
        LRANGE s 0 0
        LRANGE s x 0
        GET none
        RPUSH l
        RPUSH l rep(10000,"x") rep(70000,"ab") ""
        LRANGE l 0 -1
        STRLEN l
        APPEND l x
        "#,
    );
}

#[test]
fn moving_between_shards() {
    everywhere(
        r#"
        RPUSH a 1 2 3
        LMOVE a b LEFT RIGHT
        LMOVE a c RIGHT LEFT
        RPOPLPUSH a d
        EXISTS a b c d
        RPOPLPUSH a d
        LMOVE d d LEFT RIGHT
        RPUSH d 7
        RPOPLPUSH d d
        LRANGE d 0 -1
        SET s 1
        LMOVE s d LEFT LEFT
        LMOVE d s LEFT LEFT
        LMOVE none s LEFT LEFT
        LMOVE d e UP LEFT
        LMPOP 4 none a b c LEFT COUNT 5
        LMPOP 2 s b LEFT
        LMPOP 2 none s LEFT
        LMPOP 1 none LEFT
        LMPOP 0 none LEFT
        LMPOP 5 none LEFT
        LMPOP 1 d RIGHT COUNT 0
        LMPOP 1 d RIGHT COUNT 1 COUNT 1
        LMPOP -1 d RIGHT
        COMMAND GETKEYS LMPOP 2 a b LEFT
        COMMAND GETKEYS LMPOP 5 a b LEFT
        COMMAND GETKEYS BLMPOP 0 1 a LEFT
        COMMAND GETKEYS BLPOP a b 0
        COMMAND GETKEYS LMOVE a b LEFT LEFT
        "#,
    );
}

/// Whoever finds something does not wait, and in a transaction nobody does.
#[test]
fn blocking_without_waiting() {
    everywhere(
        r#"
        RPUSH l a b c d e f
        BLPOP none l 0
        BRPOP l other 10.5
        BLMOVE l m LEFT RIGHT 0
        BRPOPLPUSH l m 0
        BLMPOP 0 2 none m LEFT COUNT 3
        BLPOP l -1
        BLPOP l abc
        BLPOP l nan
        BLMOVE l m UP LEFT x
        BLMOVE l m LEFT LEFT x
        BRPOPLPUSH l m x
        BLMPOP x 0 l LEFT
        BLMPOP x 1 l LEFT
        BLMPOP x 1 l LEFT COUNT 0
        SET s 1
        BLPOP s l 0
        BLPOP none s 0
        BLMOVE s l LEFT LEFT 0
        BLMOVE l s LEFT LEFT 0
        MULTI
        BLPOP none other 0
        BRPOP none 0.1
        BLMOVE none l LEFT LEFT 0
        BLMOVE none s LEFT LEFT 0
        BRPOPLPUSH none l 0
        BLMPOP 0 1 none LEFT
        BLMPOP 0 0 none LEFT
        BLPOP l 0
        EXEC
        LRANGE l 0 -1
        "#,
    );
}

#[test]
fn inside_a_list() {
    everywhere(
        r#"
        RPUSH l a b c a b c a
        LINDEX l 3
        LINDEX l -9
        LINDEX none x
        LSET l 1 x
        LSET l 7 x
        LSET l x x
        LSET none 0 x
        LINSERT l BEFORE x 1
        LINSERT l after x 2
        LINSERT l AFTER nosuch 2
        LINSERT none AFTER x 2
        LINSERT l NEAR x 2
        LPOS l a
        LPOS l a RANK -1
        LPOS l a RANK 0
        LPOS l a RANK x
        LPOS l a COUNT 0
        LPOS l a COUNT -1
        LPOS l a COUNT 2 RANK -2
        LPOS l a MAXLEN -1
        LPOS l c MAXLEN 2
        LPOS l nosuch COUNT 1
        LPOS none a
        LPOS none a COUNT 1
        LPOS l a COUNT
        LREM l 1 a
        LREM l -1 a
        LREM l 0 nosuch
        LREM l x a
        LTRIM l 1 -2
        LTRIM l x 1
        LRANGE l 0 -1
        LRANGE l 2 1
        LRANGE l -100 100
        LTRIM l 5 1
        EXISTS l
        "#,
    );
}

#[test]
fn sorting() {
    everywhere(
        r#"
        RPUSH {t}l 3 1 2 10
        SORT {t}l
        SORT {t}l DESC LIMIT 1 2
        SORT {t}l ALPHA
        MSET {t}w_1 5 {t}w_2 4 {t}w_3 3 {t}n_1 one {t}n_3 three
        SORT {t}l BY {t}w_*
        SORT {t}l BY {t}w_* DESC GET # GET {t}n_*
        SORT {t}l BY {t}n_*
        SORT {t}l BY {t}n_* ALPHA
        SORT {t}l BY nosort
        SORT {t}l BY nosort DESC LIMIT 0 3
        SORT {t}l GET {t}n_* STORE {t}r
        LRANGE {t}r 0 -1
        SORT {t}l STORE elsewhere
        LRANGE elsewhere 0 -1
        SORT none STORE elsewhere
        EXISTS elsewhere
        SORT_RO {t}l LIMIT 0 2
        SORT_RO {t}l STORE x
        SORT {t}n_1
        SORT {t}l FOO
        SORT {t}l LIMIT x 1
        RPUSH {t}l x
        SORT {t}l
        COMMAND GETKEYS SORT a BY w_* STORE b STORE c
        COMMAND GETKEYS SORT_RO a GET x_*
        COMMAND GETKEYSANDFLAGS SORT a STORE b
        "#,
    );
}

/// Lists as other commands see them.
#[test]
fn lists_as_keys() {
    everywhere(
        r#"
        RPUSH l a b c
        TYPE l
        COPY l m
        RENAME m n
        LRANGE n 0 -1
        MOVE n 1
        EXPIRE l 100
        RPUSH l d
        TTL l
        OBJECT FREQ l
        WATCH l
        MULTI
        LPUSH l x
        EXEC
        SCAN 0 TYPE list
        SET l 1
        GET l
        "#,
    );
}

#[test]
fn sort_finds_keys_wherever_they_are() {
    everywhere(
        r#"
        RPUSH ids 3 1 2 5 4
        MSET w_1 50 w_2 40 w_3 30 w_4 20 w_5 10
        MSET n_1 one n_2 two n_3 three n_4 four
        SORT ids BY w_*
        SORT ids BY w_* DESC GET # GET n_* GET w_*
        SORT_RO ids BY w_* LIMIT 1 2 GET n_*
        SORT ids BY n_* ALPHA STORE out
        LRANGE out 0 -1
        SORT ids GET n_* STORE ids
        LRANGE ids 0 -1
        SET w_3 x
        RPUSH l2 1 2 3
        SORT l2 BY w_*
        SET text 1
        SORT text BY w_*
        SORT none BY w_* STORE out
        EXISTS out
        MULTI
        SET w_3 1
        SORT l2 BY w_* GET n_*
        INCR w_3
        SORT l2 BY w_* STORE out
        EXEC
        LRANGE out 0 -1
        "#,
    );
}

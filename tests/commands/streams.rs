//! Streams, their groups, and who notices changes of which kind.

use crate::harness::pair::{everywhere, everywhere_with};
use crate::harness::{Cmd, parse_line};

#[test]
fn a_worker_queue() {
    everywhere(
        r#"
        XADD jobs 99999999999990-5 task resize path /a.png
        XADD jobs * task resize path /b.png
        XADD jobs * task resize path /c.png size 12
        XADD jobs 99999999999990-* task crop path /d.png
        XADD jobs 99999999999991-* task crop path ""
        XADD jobs 99999999999991 task late path x
        XLEN jobs
        XRANGE jobs - +
        XREVRANGE jobs + - COUNT 2
        XGROUP CREATE jobs workers 0
        XGROUP CREATE jobs workers 0
        XREADGROUP GROUP workers w1 COUNT 2 STREAMS jobs >
        XREADGROUP GROUP workers w2 COUNT 2 STREAMS jobs >
        XACK jobs workers 99999999999990-5 99999999999990-5 1-1
        XREADGROUP GROUP workers w1 STREAMS jobs 0
        XPENDING jobs workers
        XPENDING jobs workers - + 10 w2
        XDEL jobs 99999999999990-7
        XREADGROUP GROUP workers w2 STREAMS jobs 0
        XAUTOCLAIM jobs workers w3 0 - COUNT 10
        XINFO GROUPS jobs
        XINFO STREAM jobs
        XGROUP DELCONSUMER jobs workers w3
        XINFO CONSUMERS jobs workers
        XREADGROUP GROUP workers w1 NOACK STREAMS jobs >
        XREADGROUP GROUP workers w1 STREAMS jobs >
        XTRIM jobs MAXLEN 1
        XINFO STREAM jobs FULL
        COPY jobs copy
        XINFO STREAM copy FULL
        XGROUP DESTROY jobs workers
        XREADGROUP GROUP workers w1 STREAMS jobs >
        XREAD COUNT 1 STREAMS jobs copy none 0 0 0
        DEL jobs
        XADD jobs NOMKSTREAM * a b
        XLEN jobs
        "#,
    );
}

#[test]
fn several_streams_at_once() {
    everywhere(
        r#"
        XADD a 1-1 f 1
        XADD b 2-1 f 2
        XADD c 3-1 f 3
        SET s v
        XREAD STREAMS a b c 0 2-1 0
        XREAD STREAMS a s 0 0
        XREAD STREAMS s
        XREAD STREAMS a b c 9 9 9
        XGROUP CREATE a g 0
        XGROUP CREATE b g $
        XREADGROUP GROUP g x STREAMS a b > >
        XREADGROUP GROUP g x STREAMS a b 0 0
        XREADGROUP GROUP g x STREAMS a c > >
        XREADGROUP GROUP g x STREAMS a a b b > > 0 >
        MULTI
        XADD a 4-1 f 4
        XADD b 2-2 f 5
        XREADGROUP GROUP g x BLOCK 0 STREAMS b c > >
        XREAD BLOCK 0 STREAMS b c $ $
        XREADGROUP GROUP g x BLOCK 0 STREAMS b >
        XACK b g 2-2
        EXEC
        COMMAND GETKEYS XREAD COUNT 1 STREAMS a b 0 0
        COMMAND GETKEYS XREADGROUP GROUP g c STREAMS a b > >
        COMMAND GETKEYS XGROUP CREATE a g $
        COMMAND GETKEYS XADD a * f v
        "#,
    );
}

#[test]
fn only_entries_are_what_is_watched() {
    // What changes a group is no change to those who watch the stream.
    let unnoticed = [
        "XGROUP CREATE k h 0",
        "XGROUP SETID k g 0",
        "XGROUP CREATECONSUMER k g d",
        "XREADGROUP GROUP g c STREAMS k >",
        "XACK k g 1-1",
        "XCLAIM k g d 0 1-2 FORCE",
        "XAUTOCLAIM k g c 0 -",
        "XGROUP DELCONSUMER k g c",
        "XSETID k 9-9",
        "XGROUP DESTROY k g",
        "XTRIM k MAXLEN 100",
        "XDEL k 7-7",
    ];
    let noticed = [
        "XADD k 20-* f v",
        "XDEL k 1-1",
        "XTRIM k MAXLEN 1",
        "XADD none 1-1 f v",
        "XGROUP CREATE none g $ MKSTREAM",
    ];
    everywhere_with(&[], |both| {
        both.script("XADD k 1-1 f v\nXADD k 1-2 f v\nXADD k 1-3 f v\nXGROUP CREATE k g 0");
        for (line, executes) in
            unnoticed.map(|l| (l, true)).into_iter().chain(noticed.map(|l| (l, false)))
        {
            both.script(&format!("WATCH k none\n{line}\nMULTI\nPING"));
            let exec: Cmd = parse_line("EXEC");
            let reply = both.step(0, &exec).unwrap_or_else(|d| panic!("{line}: {d:?}"));
            assert_eq!(!reply.is_nil(), executes, "{line}");
            both.script("DEL none");
        }
    });
}

#[test]
fn mistakes() {
    everywhere(
        r#"
        XADD k 1-1
        XADD k 1-1 f
        XADD k 1-1 f v g
        XADD k 0-0 f v
        XADD k MAXLEN -1 * f v
        XADD k MAXLEN 5 MINID 3 * f v
        XADD k MAXLEN 5 LIMIT 3 * f v
        XADD k LIMIT 3 * f v
        XADD k MAXLEN ~ 5 LIMIT -3 * f v
        XADD k nonsense f v
        XTRIM k MAXLEN
        XTRIM k FOO 5
        XTRIM k LIMIT 5 MAXLEN
        XRANGE k - + COUNT
        XRANGE k (- +
        XRANGE k - (0-0
        XRANGE k (18446744073709551615-18446744073709551615 +
        XADD k 5-5 f v
        XADD k 5-5 f v
        XADD k 4-* f v
        XSETID k 4-4
        XSETID k 5-5 ENTRIESADDED 0
        XSETID k 5-5 ENTRIESADDED -1
        XSETID k 5-5 MAXDELETEDID 6-6
        XSETID none 1-1
        XREADGROUP GROUP g c STREAMS k >
        XREADGROUP GROUP g c COUNT 1 NOACK
        XREADGROUP COUNT 1 NOACK STREAMS k >
        XGROUP CREATE none g $
        XGROUP CREATE k g nonsense
        XGROUP CREATE k g $ ENTRIESREAD -2
        XGROUP CREATE k g $ MKSTREAM MKSTREAM MKSTREAM MKSTREAM
        XGROUP SETID k g $
        XGROUP DESTROY none g
        XGROUP NONSENSE k g
        XACK none g nonsense
        XPENDING k g
        XPENDING k g - +
        XPENDING k g IDLE 5 - +
        XCLAIM k g c 0 1-1
        XGROUP CREATE k g 0
        XCLAIM k g c nonsense 1-1
        XCLAIM k g c 0 1-1 NONSENSE
        XCLAIM k g c 0 1-1 RETRYCOUNT x
        XAUTOCLAIM k g c 0 0 COUNT 0
        XAUTOCLAIM k g c 0 (18446744073709551615-18446744073709551615
        XINFO STREAM none
        XINFO STREAM k FULL COUNT
        XINFO STREAM k FUL
        XINFO CONSUMERS k none
        SET s v
        XADD s * f v
        XLEN s
        XINFO GROUPS s
        XREAD STREAMS s 0
        GET k
        "#,
    );
}

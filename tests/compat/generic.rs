//! Random commands on keys of any type and on whole databases.

use super::run::Mode;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

fn database() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => one_of(&["0", "1", "0"]),
        2 => one_of(&["2", "15"]),
        1 => one_of(&["16", "-1", "abc", "9999999999999", "", "1.0"]),
    ]
    .boxed()
}

fn condition() -> Args {
    let words = option(vec![one_of(&["NX", "XX", "GT", "LT", "nx", "gt"])]);
    prop_oneof![
        3 => Just(Vec::new()),
        5 => words.clone(),
        1 => joined(vec![words.clone(), words]),
        1 => option(vec![one_of(&["foo", ""])]),
    ]
    .boxed()
}

fn expire() -> BoxedStrategy<Cmd> {
    prop_oneof![
        with_tail("EXPIRE", vec![key(), span(1)], condition()),
        with_tail("PEXPIRE", vec![key(), span(1000)], condition()),
        with_tail("EXPIREAT", vec![key(), instant(1)], condition()),
        with_tail("PEXPIREAT", vec![key(), instant(1000)], condition()),
    ]
    .boxed()
}

fn copy() -> BoxedStrategy<Cmd> {
    let all = vec![
        option(vec![spelling("DB"), database()]),
        option(vec![spelling("REPLACE")]),
        option(vec![one_of(&["foo", "DB"])]),
    ];
    with_tail("COPY", vec![key(), key()], options(all))
}

/// A whole iteration; the harness follows the cursor.
fn scan() -> BoxedStrategy<Cmd> {
    let all = vec![
        option(vec![spelling("MATCH"), pattern()]),
        option(vec![spelling("COUNT"), one_of(&["1", "2", "10", "1000"])]),
        option(vec![spelling("COUNT"), one_of(&["0", "-1", "abc", ""])]),
        option(vec![spelling("TYPE"), one_of(&["string", "STRING", "list", "hash", "nosuch"])]),
        option(vec![one_of(&["foo", "MATCH", "TYPE"])]),
    ];
    let whole = with_tail("SCAN", vec![word("0")], options(all));
    let odd = cmd("SCAN", vec![one_of(&["abc", "1.5", " 1", "99999999999999999999"])]);
    prop_oneof![12 => whole, 1 => odd].boxed()
}

fn object() -> BoxedStrategy<Cmd> {
    prop_oneof![
        4 => cmd("OBJECT ENCODING", vec![key()]),
        1 => cmd("OBJECT REFCOUNT", vec![key()]),
        1 => cmd("OBJECT IDLETIME", vec![key()]),
        1 => cmd("OBJECT FREQ", vec![key()]),
    ]
    .boxed()
}

/// Commands on all keys of a database or of the server.
fn whole_databases() -> BoxedStrategy<Cmd> {
    let flush_mode = || {
        let word = option(vec![one_of(&["SYNC", "ASYNC", "async", "foo"])]);
        prop_oneof![2 => Just(Vec::new()), 1 => word].boxed()
    };
    prop_oneof![
        5 => cmd("DBSIZE", vec![]),
        3 => cmd("KEYS", vec![pattern()]),
        3 => cmd("RANDOMKEY", vec![]),
        1 => with_tail("FLUSHDB", vec![], flush_mode()),
        1 => with_tail("FLUSHALL", vec![], flush_mode()),
        2 => cmd("SWAPDB", vec![database(), database()]),
        3 => cmd("SELECT", vec![database()]),
    ]
    .boxed()
}

pub fn command(mode: Mode) -> BoxedStrategy<Cmd> {
    let reads = prop_oneof![
        3 => with_tail("EXISTS", vec![], list(key(), 1, 5)),
        2 => with_tail("TOUCH", vec![], list(key(), 1, 5)),
        2 => cmd("TYPE", vec![key()]),
        3 => cmd("TTL", vec![key()]),
        3 => cmd("PTTL", vec![key()]),
        2 => cmd("EXPIRETIME", vec![key()]),
        2 => cmd("PEXPIRETIME", vec![key()]),
        3 => cmd("GET", vec![key()]),
        2 => object(),
    ];
    let writes = prop_oneof![
        5 => cmd("SET", vec![key(), value()]),
        2 => cmd("SETEX", vec![key(), far(1), value()]),
        3 => with_tail("DEL", vec![], list(key(), 1, 4)),
        1 => with_tail("UNLINK", vec![], list(key(), 1, 4)),
        7 => expire(),
        2 => cmd("PERSIST", vec![key()]),
        4 => cmd("RENAME", vec![key(), key()]),
        3 => cmd("RENAMENX", vec![key(), key()]),
        4 => copy(),
        3 => cmd("MOVE", vec![key(), database()]),
    ];
    // A cursor's pages are the server's own affair: only whole iterations can be compared.
    let scans = match mode {
        Mode::Stepwise | Mode::Scripted => scan(),
        Mode::Pipelined => cmd("KEYS", vec![pattern()]),
    };
    prop_oneof![6 => reads, 10 => writes, 3 => whole_databases(), 2 => scans].boxed()
}

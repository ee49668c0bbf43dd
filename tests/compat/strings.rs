//! Random string commands.

use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The options that set an expiry, as SET and GETEX take them.
fn expiry_options(instant: fn(i64) -> BoxedStrategy<Arg>) -> Vec<Args> {
    vec![
        option(vec![spelling("EX"), span(1)]),
        option(vec![spelling("PX"), span(1000)]),
        option(vec![spelling("EXAT"), instant(1)]),
        option(vec![spelling("PXAT"), instant(1000)]),
    ]
}

fn set() -> BoxedStrategy<Cmd> {
    // SET keeps a key whose time is over until somebody meets it: when that is differs.
    let mut all = expiry_options(future);
    all.extend(["NX", "XX", "GET", "KEEPTTL"].map(|w| option(vec![spelling(w)])));
    all.push(option(vec![one_of(&["EX", "foo", "PXAT", "", "PERSIST"])]));
    with_tail("SET", vec![key(), value()], options(all))
}

fn getex() -> BoxedStrategy<Cmd> {
    let mut all = expiry_options(instant);
    all.push(option(vec![spelling("PERSIST")]));
    all.push(option(vec![one_of(&["EX", "foo", "NX", "KEEPTTL"])]));
    with_tail("GETEX", vec![key()], options(all))
}

fn lcs() -> BoxedStrategy<Cmd> {
    let all = vec![
        option(vec![spelling("LEN")]),
        option(vec![spelling("IDX")]),
        option(vec![spelling("WITHMATCHLEN")]),
        option(vec![spelling("MINMATCHLEN"), integer()]),
        option(vec![one_of(&["foo", "MINMATCHLEN"])]),
    ];
    with_tail("LCS", vec![text_key(), text_key()], options(all))
}

/// LCS takes time and memory by the product of the lengths: its keys never get a big value.
fn text_key() -> BoxedStrategy<Arg> {
    one_of(&["text0", "text1", "text2", "text3"])
}

/// Texts with something in common, for LCS.
fn text() -> BoxedStrategy<Arg> {
    prop_oneof![
        one_of(&["ohmytext", "mynewtext", "abcdefgh", "axbxcxdx", "abab", "baba"]),
        proptest::collection::vec(proptest::sample::select(b"abc".to_vec()), 0..12),
    ]
    .boxed()
}

fn pairs_of(key: BoxedStrategy<Arg>, value: BoxedStrategy<Arg>) -> Args {
    let pairs = proptest::collection::vec(vec![key, value], 1..5).prop_map(|p| p.concat());
    // An odd number of arguments now and then.
    (pairs, prop_oneof![9 => Just(false), 1 => Just(true)])
        .prop_map(|(mut args, odd)| {
            if odd {
                args.pop();
            }
            args
        })
        .boxed()
}

/// An offset for SETRANGE that does not make strings of megabytes.
fn offset() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => (0i64..80).prop_map(|n| n.to_string().into_bytes()),
        1 => one_of(&["-1", "536870912", "536870913", "9223372036854775807", "abc", "1000", ""]),
    ]
    .boxed()
}

pub fn command() -> BoxedStrategy<Cmd> {
    let reads = prop_oneof![
        6 => cmd("GET", vec![key()]),
        2 => cmd("STRLEN", vec![key()]),
        3 => cmd("GETRANGE", vec![key(), integer(), integer()]),
        1 => cmd("SUBSTR", vec![key(), integer(), integer()]),
        3 => with_tail("MGET", vec![], list(key(), 1, 6)),
        2 => lcs(),
        2 => cmd("OBJECT ENCODING", vec![key()]),
    ];
    let writes = prop_oneof![
        8 => set(),
        3 => cmd("SET", vec![text_key(), text()]),
        3 => getex(),
        2 => cmd("GETDEL", vec![key()]),
        2 => cmd("GETSET", vec![key(), value()]),
        2 => cmd("SETNX", vec![key(), value()]),
        1 => cmd("SETEX", vec![key(), span(1), value()]),
        1 => cmd("PSETEX", vec![key(), span(1000), value()]),
        3 => with_tail("MSET", vec![], pairs_of(key(), value())),
        2 => with_tail("MSETNX", vec![], pairs_of(key(), value())),
        3 => cmd("APPEND", vec![key(), value()]),
        3 => cmd("SETRANGE", vec![key(), offset(), value()]),
    ];
    let counters = prop_oneof![
        2 => cmd("INCR", vec![key()]),
        2 => cmd("DECR", vec![key()]),
        3 => cmd("INCRBY", vec![key(), integer()]),
        2 => cmd("DECRBY", vec![key(), integer()]),
        4 => cmd("INCRBYFLOAT", vec![key(), float()]),
    ];
    prop_oneof![3 => reads, 5 => writes, 2 => counters, 1 => cmd("PTTL", vec![key()])].boxed()
}

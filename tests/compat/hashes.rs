//! Random commands on hashes.

use super::run::Mode;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Few enough that commands meet on them, more than the limit that [`limits`] sets; of any length.
pub fn field() -> BoxedStrategy<Arg> {
    prop_oneof![
        12 => one_of(&["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9"]),
        4 => one_of(&["n0", "n1", "1", "12", "-7", "01"]),
        1 => prop_oneof![
            Just(Vec::new()),
            Just(b"\x00\xff\r\n".to_vec()),
            (63usize..66).prop_map(|n| vec![b'L'; n]),
            (125usize..130).prop_map(|n| vec![b'M'; n]),
            Just(vec![b'N'; 300]),
        ],
    ]
    .boxed()
}

/// Mostly a number, for the fields that are counted.
fn number_field() -> BoxedStrategy<Arg> {
    prop_oneof![3 => one_of(&["n0", "n1"]), 1 => field()].boxed()
}

/// Fields with values; now and then one is missing.
pub fn pairs(most: usize) -> Args {
    let pairs = proptest::collection::vec(vec![field(), value()], 1..=most);
    (pairs, 0u8..20)
        .prop_map(|(pairs, chance)| {
            let mut args = pairs.concat();
            if chance == 0 {
                args.pop();
            }
            args
        })
        .boxed()
}

/// Many different fields at once. Since 7.2 the number of arguments decides about the encoding, and
/// not how many of them are different.
fn many() -> Args {
    let names: Vec<Arg> = (0..14).map(|n| format!("f{n}").into_bytes()).collect();
    (proptest::sample::subsequence(names, 1..14), value())
        .prop_map(|(names, value)| names.into_iter().flat_map(|n| [n, value.clone()]).collect())
        .boxed()
}

/// Makes hashes change their encoding within reach of a short program.
fn limits() -> BoxedStrategy<Cmd> {
    prop_oneof![
        2 => cmd("CONFIG SET", vec![word("hash-max-listpack-entries"), one_of(&["0", "4", "8", "8"])]),
        1 => cmd("CONFIG SET", vec![word("hash-max-listpack-value"), one_of(&["0", "20", "64", "64"])]),
        1 => cmd("CONFIG SET", vec![word("hash-max-ziplist-entries"), one_of(&["512", "8"])]),
    ]
    .boxed()
}

fn scan() -> BoxedStrategy<Cmd> {
    let all = vec![
        option(vec![spelling("MATCH"), pattern()]),
        option(vec![spelling("MATCH"), one_of(&["f*", "f[0-4]", "*1*", "n?", "*"])]),
        option(vec![spelling("COUNT"), one_of(&["1", "2", "10", "1000"])]),
        option(vec![spelling("COUNT"), one_of(&["0", "-1", "abc", ""])]),
        option(vec![one_of(&["foo", "MATCH", "TYPE"])]),
    ];
    with_tail("HSCAN", vec![key(), word("0")], options(all))
}

fn random_field() -> BoxedStrategy<Cmd> {
    let count = prop_oneof![
        6 => (-30i64..30).prop_map(|n| n.to_string().into_bytes()),
        1 => one_of(&[
            "9223372036854775807", "-9223372036854775808", "abc", "", "4611686018427387904", "1.0",
        ]),
    ];
    let count = || count.clone().boxed();
    prop_oneof![
        2 => cmd("HRANDFIELD", vec![key()]),
        3 => cmd("HRANDFIELD", vec![key(), count()]),
        3 => cmd("HRANDFIELD", vec![key(), count(), spelling("WITHVALUES")]),
        1 => cmd("HRANDFIELD", vec![key(), count(), one_of(&["foo", "WITHSCORES", ""])]),
        1 => cmd("HRANDFIELD", vec![key(), count(), word("WITHVALUES"), one_of(&["foo", "1"])]),
    ]
    .boxed()
}

pub fn reads(mode: Mode) -> BoxedStrategy<Cmd> {
    // A cursor's pages are the server's own affair: only whole walks can be compared.
    let scans = match mode {
        Mode::Stepwise | Mode::Scripted => scan(),
        Mode::Pipelined => cmd("HLEN", vec![key()]),
    };
    prop_oneof![
        4 => cmd("HGET", vec![key(), field()]),
        3 => with_tail("HMGET", vec![key()], list(field(), 1, 5)),
        4 => cmd("HGETALL", vec![key()]),
        2 => cmd("HKEYS", vec![key()]),
        2 => cmd("HVALS", vec![key()]),
        2 => cmd("HLEN", vec![key()]),
        2 => cmd("HSTRLEN", vec![key(), field()]),
        2 => cmd("HEXISTS", vec![key(), field()]),
        3 => scans,
        3 => random_field(),
        3 => cmd("OBJECT ENCODING", vec![key()]),
    ]
    .boxed()
}

pub fn command(mode: Mode) -> BoxedStrategy<Cmd> {
    let writes = prop_oneof![
        10 => with_tail("HSET", vec![key()], pairs(4)),
        1 => with_tail("HSET", vec![key()], many()),
        2 => with_tail("HMSET", vec![key()], pairs(3)),
        3 => cmd("HSETNX", vec![key(), field(), value()]),
        6 => with_tail("HDEL", vec![key()], list(field(), 1, 5)),
        4 => cmd("HINCRBY", vec![key(), number_field(), integer()]),
        4 => cmd("HINCRBYFLOAT", vec![key(), number_field(), float()]),
        1 => cmd("HSCAN", vec![key(), one_of(&["abc", "1.5", " 1", "99999999999999999999"])]),
        1 => limits(),
    ];
    let keys = prop_oneof![
        2 => cmd("DEL", vec![key()]),
        1 => cmd("TYPE", vec![key()]),
        1 => cmd("EXISTS", vec![key()]),
        1 => cmd("SET", vec![key(), value()]),
        1 => cmd("GET", vec![key()]),
        2 => cmd("COPY", vec![key(), key()]),
        2 => cmd("RENAME", vec![key(), key()]),
        1 => cmd("EXPIRE", vec![key(), far(1)]),
        1 => cmd("PERSIST", vec![key()]),
    ];
    prop_oneof![8 => reads(mode), 10 => writes, 3 => keys].boxed()
}

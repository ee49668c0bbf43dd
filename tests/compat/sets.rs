//! Random commands on sets.

use super::run::Mode;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Few enough that sets have members in common; now and then one that decides the encoding.
fn member() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => (0i64..30).prop_map(|n| n.to_string().into_bytes()),
        6 => one_of(&["a", "b", "c", "foo", "bar", "Hello World", "", "01", "-1", "-0"]),
        2 => integer(),
        1 => value(),
    ]
    .boxed()
}

fn members(most: usize) -> Args {
    list(member(), 1, most)
}

/// As many as take a set to its limits and beyond, with a part in common with others.
fn many_members() -> Args {
    let start = 0usize..3;
    let count = prop_oneof![6 => 20usize..60, 4 => 120usize..140, 2 => 500usize..530];
    let prefix = one_of(&["", "", "m", "a-longer-member-", "-"]);
    (start, count, prefix)
        .prop_map(|(start, count, prefix)| {
            let name = |n: usize| [prefix.clone(), n.to_string().into_bytes()].concat();
            (start * 50..start * 50 + count).map(name).collect()
        })
        .boxed()
}

fn count() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => (0i64..8).prop_map(|n| n.to_string().into_bytes()),
        2 => one_of(&["20", "100", "125", "450", "1000"]),
        1 => integer().prop_filter("not a reply of a gigabyte", |n| !n.starts_with(b"-9")
            && !n.starts_with(b"-2")),
        1 => one_of(&["-9223372036854775808"]),
    ]
    .boxed()
}

fn intersection_count() -> BoxedStrategy<Cmd> {
    let limit = || option(vec![spelling("LIMIT"), one_of(&["0", "1", "2", "10", "-1", "x"])]);
    let tail = prop_oneof![
        4 => Just(Vec::new()),
        4 => limit(),
        1 => joined(vec![limit(), limit()]),
        1 => option(vec![one_of(&["LIMIT", "foo"])]),
    ];
    let right = list(key(), 1, 3).prop_map(|keys| {
        let count = keys.len().to_string().into_bytes();
        [vec![count], keys].concat()
    });
    let any = joined(vec![option(vec![integer()]), list(key(), 1, 3)]);
    let head = prop_oneof![6 => right, 1 => any];
    with_tail("SINTERCARD", vec![], joined(vec![head.boxed(), tail.boxed()]))
}

fn scan() -> BoxedStrategy<Cmd> {
    let all = vec![
        option(vec![spelling("MATCH"), one_of(&["*", "1*", "m?", "[a-f]*", "", "*1"])]),
        option(vec![spelling("COUNT"), one_of(&["1", "10", "100", "1000"])]),
        option(vec![one_of(&["COUNT", "MATCH"]), one_of(&["0", "-1", "abc", ""])]),
        option(vec![spelling("TYPE"), word("set")]),
        option(vec![one_of(&["foo", "MATCH", "NOVALUES"])]),
    ];
    let odd = cmd("SSCAN", vec![key(), one_of(&["abc", "1.5", "99999999999999999999"])]);
    let whole = with_tail("SSCAN", vec![key(), word("0")], options(all));
    prop_oneof![8 => whole, 1 => odd].boxed()
}

/// What chooses at random; all at once where the choice could not be evened out.
fn chance(mode: Mode) -> BoxedStrategy<Cmd> {
    let odd = || option(vec![count(), count()]);
    match mode {
        Mode::Stepwise | Mode::Scripted => prop_oneof![
            3 => cmd("SPOP", vec![key()]),
            4 => cmd("SPOP", vec![key(), count()]),
            3 => cmd("SRANDMEMBER", vec![key()]),
            4 => cmd("SRANDMEMBER", vec![key(), count()]),
            1 => with_tail("SPOP", vec![key()], odd()),
            1 => with_tail("SRANDMEMBER", vec![key()], odd()),
        ]
        .boxed(),
        Mode::Pipelined => cmd("SPOP", vec![key(), one_of(&["0", "1000", "-1", "x"])]),
    }
}

pub fn command(mode: Mode) -> BoxedStrategy<Cmd> {
    let single = prop_oneof![
        8 => with_tail("SADD", vec![key()], members(6)),
        4 => with_tail("SADD", vec![key()], many_members()),
        6 => with_tail("SREM", vec![key()], members(5)),
        2 => with_tail("SREM", vec![key()], many_members()),
        4 => cmd("SMOVE", vec![key(), key(), member()]),
        3 => cmd("SISMEMBER", vec![key(), member()]),
        2 => with_tail("SMISMEMBER", vec![key()], members(4)),
        3 => cmd("SCARD", vec![key()]),
        3 => cmd("SMEMBERS", vec![key()]),
    ];
    let several = prop_oneof![
        3 => with_tail("SINTER", vec![], list(key(), 1, 4)),
        3 => with_tail("SUNION", vec![], list(key(), 1, 4)),
        3 => with_tail("SDIFF", vec![], list(key(), 1, 4)),
        3 => with_tail("SINTERSTORE", vec![key()], list(key(), 1, 4)),
        3 => with_tail("SUNIONSTORE", vec![key()], list(key(), 1, 4)),
        3 => with_tail("SDIFFSTORE", vec![key()], list(key(), 1, 4)),
        3 => intersection_count(),
    ];
    let walks = match mode {
        Mode::Stepwise | Mode::Scripted => scan(),
        Mode::Pipelined => cmd("SMEMBERS", vec![key()]),
    };
    prop_oneof![12 => single, 6 => several, 4 => around(), 2 => walks, 4 => chance(mode)].boxed()
}

//! Random list commands, and SORT of lists.

use super::run::{Mode, differential_with};
use super::values::*;
use crate::harness::Cmd;
use crate::harness::Protocol::Resp2;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Elements that meet again, and some of every kind.
fn element() -> BoxedStrategy<Arg> {
    prop_oneof![
        12 => one_of(&["a", "b", "c", "1", "2", "-1", "127", "128", "", "01", "a b", "1.5"]),
        2 => (-5i64..5).prop_map(|n| n.to_string().into_bytes()),
        2 => value().prop_filter("in range", in_range),
    ]
    .boxed()
}

/// Not a number that overflows: once it has met one, redis-server's SORT may take the next empty
/// text for another.
fn in_range(arg: &Arg) -> bool {
    !["1e400", "1e5000", "-1e5000"].iter().any(|number| arg == number.as_bytes())
}

fn index() -> BoxedStrategy<Arg> {
    prop_oneof![
        12 => (-8i64..12).prop_map(|n| n.to_string().into_bytes()),
        4 => (-200i64..400).prop_map(|n| n.to_string().into_bytes()),
        1 => integer(),
    ]
    .boxed()
}

/// LSET of 7.2 looks at no more than the low 32 bits of an index.
fn index_of_32_bits() -> BoxedStrategy<Arg> {
    let is_long = |n: &Arg| {
        std::str::from_utf8(n)
            .is_ok_and(|n| n.parse::<i64>().is_ok_and(|n| i32::try_from(n).is_err()))
    };
    index().prop_filter("32 bits", move |n| !is_long(n)).boxed()
}

fn count() -> BoxedStrategy<Arg> {
    prop_oneof![8 => one_of(&["0", "1", "2", "3", "10", "1000"]), 1 => integer()].boxed()
}

fn end() -> BoxedStrategy<Arg> {
    prop_oneof![12 => one_of(&["LEFT", "RIGHT", "left", "Right"]), 1 => one_of(&["UP", ""])].boxed()
}

/// Elements to push: mostly a few, now and then enough for several blocks.
fn elements() -> Args {
    prop_oneof![
        10 => list(element(), 1, 6),
        2 => list(element(), 20, 100),
        1 => (1usize..700).prop_map(|n| (0..n).map(|i| i.to_string().into_bytes()).collect()),
        1 => list(Just(vec![b'x'; 900]).boxed(), 5, 30),
    ]
    .boxed()
}

fn lpos() -> BoxedStrategy<Cmd> {
    // Redis 7.0 takes the least integer for a rank.
    let rank = prop_oneof![
        8 => one_of(&["1", "2", "3", "-1", "-2", "-3"]),
        1 => integer().prop_filter("a rank", |n| !n.starts_with(b"-92233720368547758")),
    ];
    let all = vec![
        option(vec![spelling("RANK"), rank.boxed()]),
        option(vec![spelling("COUNT"), count()]),
        option(vec![spelling("MAXLEN"), count()]),
        option(vec![one_of(&["foo", "COUNT", "RANK"])]),
    ];
    with_tail("LPOS", vec![key(), element()], options(all))
}

/// Some keys behind their number, an end, and what LMPOP and BLMPOP have behind that.
fn counted_keys() -> Args {
    let keys = list(key(), 1, 4);
    let numbered = prop_oneof![
        12 => keys.clone().prop_map(|k| [vec![k.len().to_string().into_bytes()], k].concat()),
        1 => (one_of(&["0", "-1", "5", "x", "1", "99999999999"]), keys)
            .prop_map(|(n, k)| [vec![n], k].concat()),
    ];
    let tail = options(vec![
        option(vec![spelling("COUNT"), count()]),
        option(vec![one_of(&["foo", "COUNT"])]),
    ]);
    joined(vec![numbered.boxed(), option(vec![end()]), tail])
}

/// A time to wait that is over soon, or not accepted.
fn timeout() -> BoxedStrategy<Arg> {
    prop_oneof![8 => one_of(&["0.001", "1e-3", "0x1p-10", "+0.0005"]), 1 => wrong_timeout()].boxed()
}

fn wrong_timeout() -> BoxedStrategy<Arg> {
    one_of(&["-1", "abc", "", "nan", "-inf", "1,5", " 1"])
}

/// Commands that block, with a timeout that ends soon.
fn blocking() -> BoxedStrategy<Cmd> {
    let keys_and_timeout = || joined(vec![list(key(), 1, 3), option(vec![timeout()])]);
    prop_oneof![
        with_tail("BLPOP", vec![], keys_and_timeout()),
        with_tail("BRPOP", vec![], keys_and_timeout()),
        with_tail("BLMPOP", vec![timeout()], counted_keys()),
        cmd("BLMOVE", vec![key(), key(), end(), end(), wrong_timeout()]),
        cmd("BRPOPLPUSH", vec![key(), key(), wrong_timeout()]),
    ]
    .boxed()
}

pub fn command() -> BoxedStrategy<Cmd> {
    let range = || vec![key(), index(), index()];
    let optional_count = || prop_oneof![Just(Vec::new()), option(vec![count()])].boxed();
    let around = prop_oneof![8 => one_of(&["BEFORE", "AFTER", "after"]), 1 => one_of(&["NEAR"])];
    prop_oneof![
        12 => with_tail("RPUSH", vec![key()], elements()),
        6 => with_tail("LPUSH", vec![key()], elements()),
        2 => with_tail("RPUSHX", vec![key()], elements()),
        2 => with_tail("LPUSHX", vec![key()], elements()),
        5 => with_tail("LPOP", vec![key()], optional_count()),
        5 => with_tail("RPOP", vec![key()], optional_count()),
        2 => cmd("LLEN", vec![key()]),
        4 => cmd("LINDEX", vec![key(), index()]),
        4 => cmd("LSET", vec![key(), index_of_32_bits(), element()]),
        6 => cmd("LRANGE", range()),
        4 => cmd("LRANGE", vec![key(), word("0"), word("-1")]),
        4 => cmd("LREM", vec![key(), index(), element()]),
        3 => cmd("LTRIM", range()),
        5 => cmd("LINSERT", vec![key(), around.boxed(), element(), element()]),
        6 => lpos(),
        5 => cmd("LMOVE", vec![key(), key(), end(), end()]),
        3 => cmd("RPOPLPUSH", vec![key(), key()]),
        4 => with_tail("LMPOP", vec![], counted_keys()),
        3 => blocking(),
        2 => with_tail("SORT", vec![key()], sort_options(key())),
        1 => cmd("SET", vec![key(), value()]),
        1 => cmd("DEL", vec![key()]),
        1 => cmd("TYPE", vec![key()]),
        1 => cmd("COPY", vec![key(), key()]),
        1 => cmd("RENAME", vec![key(), key()]),
        1 => cmd("GETEX", vec![key()]),
    ]
    .boxed()
}

/// What SORT and SORT_RO take, without patterns that name keys.
fn sort_options(target: BoxedStrategy<Arg>) -> Args {
    options(vec![
        option(vec![spelling("LIMIT"), index(), index()]),
        option(vec![spelling("ASC")]),
        option(vec![spelling("DESC")]),
        option(vec![spelling("ALPHA")]),
        option(vec![spelling("STORE"), target]),
        option(vec![spelling("BY"), one_of(&["nosort", "", "#"])]),
        option(vec![spelling("GET"), one_of(&["#", "nostar", "h->f"])]),
        option(vec![one_of(&["foo", "LIMIT", "BY", "GET", "STORE"])]),
    ])
}

/// SORT with patterns. All keys are in one slot: which ones it reads, no request can say.
pub fn sort() -> BoxedStrategy<Cmd> {
    let names = ["a", "b", "c", "1", "2", "10", "1.5", "-3"];
    let lists = || one_of(&["{t}l0", "{t}l1", "{t}l2"]);
    let weighed = || {
        let keys = names.map(|n| ["{t}w_", "{t}n_"].map(|w| format!("{w}{n}"))).concat();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        one_of(&keys)
    };
    let weight = prop_oneof![
        10 => (-20i64..20).prop_map(|n| n.to_string().into_bytes()),
        3 => float().prop_filter("in range", in_range),
        3 => one_of(&["anna", "bert", "", " 7", "0x1A", "inf", "-inf", "1\u{0}2", "0x"]),
    ];
    let named = prop_oneof![8 => one_of(&names), 1 => element()].boxed();
    let pattern = || {
        one_of(&[
            "{t}w_*",
            "{t}n_*",
            "{t}w_*->f",
            "{t}*_a",
            "{t}l*",
            "nosort",
            "#",
            "{t}w_*->",
            "*",
        ])
    };
    let sort = joined(vec![
        option(vec![lists()]),
        options(vec![
            option(vec![spelling("BY"), pattern()]),
            option(vec![spelling("GET"), pattern()]),
            option(vec![spelling("GET"), word("#"), spelling("GET"), pattern()]),
            option(vec![spelling("LIMIT"), index(), index()]),
            option(vec![spelling("DESC")]),
            option(vec![spelling("ALPHA")]),
            option(vec![spelling("STORE"), lists()]),
        ]),
    ]);
    // With equal weights, what LIMIT cuts off is anybody's choice.
    let sort = sort.prop_filter("ties", |args| {
        let has = |word: &str| args.iter().any(|a| a.eq_ignore_ascii_case(word.as_bytes()));
        !(has("by") && has("alpha") && has("limit"))
    });
    let sort = sort.boxed();
    prop_oneof![
        4 => with_tail("RPUSH", vec![lists()], list(named.clone(), 1, 8)),
        1 => with_tail("LPUSH", vec![lists()], list(named, 20, 80)),
        6 => cmd("SET", vec![weighed(), weight.boxed()]),
        1 => cmd("DEL", vec![weighed()]),
        1 => cmd("DEL", vec![lists()]),
        1 => with_tail("RPUSH", vec![weighed()], list(element(), 1, 2)),
        14 => with_tail("SORT", vec![], sort.clone()),
        4 => with_tail("SORT_RO", vec![], sort),
        2 => cmd("LRANGE", vec![lists(), word("0"), word("-1")]),
    ]
    .boxed()
}

/// Lists and their encodings, which are as in 7.2 only with such an oracle.
fn encodings() -> BoxedStrategy<Cmd> {
    // Valkey refuses the least integer as a count of LREM, and a list of one element of more than
    // 8 kB is big in it, whatever the limit.
    let least = i64::MIN.to_string().into_bytes();
    let usual = move |arg: &Arg| *arg != least && arg.len() < 8000;
    prop_oneof![
        12 => command().prop_filter("as in 7.2", move |cmd| cmd.0.iter().all(&usual)),
        6 => cmd("OBJECT ENCODING", vec![key()]),
    ]
    .boxed()
}

#[test]
#[ignore = "the oracle must be 7.2 or later: CORELANE_ORACLE=valkey-server"]
fn list_encodings() {
    for limit in ["-1", "-2", "-3", "0", "1", "2", "3", "5", "20", "128"] {
        let args = ["--list-max-listpack-size", limit];
        let name = format!("list_encodings_{limit}");
        differential_with(&args, &name, |_| encodings(), 1, Resp2, Mode::Stepwise, 200);
    }
}

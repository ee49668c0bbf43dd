//! Random programs of stream commands.
//!
//! Ids are given, since those of `*` are the clock's. Idle times are either some milliseconds or
//! half a century, so that limits on them mean the same on both servers. Nodes are small, by
//! configuration, so that few entries make several.

use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

fn stream_key() -> BoxedStrategy<Arg> {
    prop_oneof![
        10 => word("k0"),
        6 => word("k1"),
        2 => word("k2"),
        1 => one_of(&["k3", "streams", ""]),
    ]
    .boxed()
}

fn group() -> BoxedStrategy<Arg> {
    prop_oneof![20 => word("g"), 3 => word("h"), 1 => one_of(&["nope", "", "streams"])].boxed()
}

fn consumer() -> BoxedStrategy<Arg> {
    one_of(&["alice", "bob", "bob2", "carol", "", "STREAMS"])
}

/// An id among those that entries have.
fn id() -> BoxedStrategy<Arg> {
    prop_oneof![
        12 => (0u64..14, 0u64..4).prop_map(|(ms, seq)| format!("{ms}-{seq}").into_bytes()),
        2 => (0u64..14).prop_map(|ms| ms.to_string().into_bytes()),
        1 => odd_id(),
    ]
    .boxed()
}

fn odd_id() -> BoxedStrategy<Arg> {
    one_of(&[
        "0-0",
        "0",
        "-",
        "+",
        "$",
        "*",
        ">",
        "abc",
        "",
        "1-",
        "-1",
        "1-2-3",
        "1--1",
        "007-01",
        " 3-1",
        "3-+1",
        "18446744073709551615-18446744073709551615",
        "18446744073709551615",
        "18446744073709551616-0",
        "5-18446744073709551615",
        "9999999999999-1",
        "1-*",
        "(1-1",
        "(-",
    ])
}

/// The id of a new entry; most follow upon the last one.
fn new_id() -> BoxedStrategy<Arg> {
    prop_oneof![
        10 => (11u64..14).prop_map(|ms| format!("{ms}-*").into_bytes()),
        3 => (1u64..14, 0u64..200).prop_map(|(ms, seq)| format!("{ms}-{seq}").into_bytes()),
        2 => (100u64..300).prop_map(|seq| format!("13-{seq}").into_bytes()),
        1 => one_of(&["0-1", "0-*", "0-0", "0", "abc", "", "-", "+", "5", "12-", "9999999999999-*"]),
    ]
    .boxed()
}

/// Ids one after the other.
fn new_ids() -> BoxedStrategy<Vec<Arg>> {
    proptest::collection::vec((0u64..12, proptest::option::weighted(0.2, 0u64..4)), 3..14)
        .prop_map(|mut ids| {
            ids.sort();
            let id = |(ms, seq): (u64, Option<u64>)| match seq {
                Some(seq) => format!("{ms}-{seq}").into_bytes(),
                None => format!("{ms}-*").into_bytes(),
            };
            ids.into_iter().map(id).collect()
        })
        .boxed()
}

fn field_value() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => (-300i64..100_000).prop_map(|n| n.to_string().into_bytes()),
        6 => one_of(&["", "x", "red", "some longer value", "-0", "1.5"]),
        1 => integer(),
        1 => proptest::sample::select(vec![63usize, 64, 127, 128, 300, 5000])
            .prop_map(|n| b"v".repeat(n)),
        1 => proptest::collection::vec(any::<u8>(), 0..24),
    ]
    .boxed()
}

/// Mostly the same names, as streams have them.
fn pairs() -> Args {
    let names: Vec<&[&str]> = vec![&["a", "b"], &["a", "b"], &["a"], &["b", "a"], &["a", "b", "7"]];
    (proptest::sample::select(names), prop_oneof![30 => Just(0), 1 => Just(1), 1 => Just(2)])
        .prop_flat_map(|(names, missing)| {
            let values = proptest::collection::vec(field_value(), names.len());
            values.prop_map(move |values| {
                let names = names.iter().map(|name| name.as_bytes().to_vec());
                let mut pairs: Vec<Arg> = names.zip(values).flat_map(|(n, v)| [n, v]).collect();
                pairs.truncate(pairs.len() - missing);
                pairs
            })
        })
        .boxed()
}

fn amount() -> BoxedStrategy<Arg> {
    prop_oneof![
        12 => (0i64..20).prop_map(|n| n.to_string().into_bytes()),
        1 => one_of(&["-1", "1000", "abc", "", "9223372036854775807"]),
    ]
    .boxed()
}

fn trimming() -> Args {
    let how = one_of(&["", "=", "~", "~"]);
    let what = prop_oneof![
        3 => (spelling("MAXLEN"), amount()),
        3 => (spelling("MINID"), id()),
        1 => (one_of(&["MINID", "LIMIT", "MAXLEN"]), one_of(&["5", "=", "~", "x"])),
    ];
    let limit = prop_oneof![
        4 => Just(Vec::new()),
        1 => amount().prop_map(|n| vec![b"LIMIT".to_vec(), n]),
    ];
    (what, how, limit)
        .prop_map(|((word, value), how, limit)| {
            let how = Some(how).filter(|how| !how.is_empty());
            [word].into_iter().chain(how).chain([value]).chain(limit).collect()
        })
        .boxed()
}

fn maybe(args: Args, weight: u32) -> Args {
    prop_oneof![8 => Just(Vec::new()), weight => args].boxed()
}

fn xadd() -> BoxedStrategy<Cmd> {
    let tail = joined(vec![
        maybe(option(vec![spelling("NOMKSTREAM")]), 1),
        maybe(trimming(), 1),
        option(vec![new_id()]),
        pairs(),
    ]);
    with_tail("XADD", vec![stream_key()], tail)
}

/// Several entries, so that there are nodes.
fn burst() -> BoxedStrategy<Vec<Cmd>> {
    let entries = new_ids().prop_flat_map(|ids| {
        let pairs = proptest::collection::vec(pairs(), ids.len());
        (Just(ids), pairs)
    });
    (stream_key(), entries)
        .prop_map(|(key, (ids, pairs))| {
            let command = |(id, pairs): (Arg, Vec<Arg>)| {
                let head = [b"XADD".to_vec(), key.clone(), id];
                Cmd(head.into_iter().chain(pairs).collect())
            };
            ids.into_iter().zip(pairs).map(command).collect()
        })
        .boxed()
}

/// A bound of an interval.
fn bound() -> BoxedStrategy<Arg> {
    prop_oneof![
        4 => one_of(&["-", "+"]),
        4 => id(),
        2 => id().prop_map(|id| [b"(", &id[..]].concat()),
    ]
    .boxed()
}

fn count() -> Args {
    maybe(option(vec![spelling("COUNT"), amount()]), 6)
}

fn junk() -> Args {
    prop_oneof![30 => Just(Vec::new()), 1 => one_of(&["COUNT", "junk", ""]).prop_map(|w| vec![w])]
        .boxed()
}

fn xread(name: &'static str, group: Args, id: fn() -> BoxedStrategy<Arg>) -> BoxedStrategy<Cmd> {
    let streams = proptest::collection::vec((stream_key(), id()), 1..4).prop_flat_map(|streams| {
        let (mut keys, ids): (Vec<Arg>, Vec<Arg>) = streams.into_iter().unzip();
        keys.extend(ids);
        let cut = keys.len() - 1;
        prop_oneof![30 => Just(keys.clone()), 1 => Just(keys[..cut].to_vec())]
    });
    // Nothing blocks in a transaction, and else only the client that asks.
    let tail = joined(vec![
        count(),
        group,
        maybe(option(vec![one_of(&["NOACK", "noack", "junk"])]), 1),
        maybe(option(vec![spelling("BLOCK"), one_of(&["1", "2", "-1", "x"])]), 1),
        option(vec![spelling("STREAMS")]),
        streams.boxed(),
    ]);
    with_tail(name, vec![], tail)
}

fn read_id() -> BoxedStrategy<Arg> {
    prop_oneof![6 => id(), 3 => word("0"), 1 => word("$"), 1 => word("+")].boxed()
}

fn group_read_id() -> BoxedStrategy<Arg> {
    prop_oneof![12 => word(">"), 4 => word("0"), 2 => id()].boxed()
}

fn xreadgroup() -> BoxedStrategy<Cmd> {
    xread("XREADGROUP", option(vec![spelling("GROUP"), group(), consumer()]), group_read_id)
}

fn xgroup() -> BoxedStrategy<Cmd> {
    let entries_read =
        option(vec![spelling("ENTRIESREAD"), one_of(&["0", "1", "3", "100", "-1", "-2", "x"])]);
    let create = joined(vec![
        maybe(option(vec![spelling("MKSTREAM")]), 6),
        maybe(entries_read.clone(), 2),
        junk(),
    ]);
    let set = joined(vec![maybe(entries_read, 3), junk()]);
    let at = || prop_oneof![4 => word("0"), 3 => word("$"), 4 => id()].boxed();
    prop_oneof![
        8 => with_tail("XGROUP CREATE", vec![stream_key(), group(), at()], create),
        2 => with_tail("XGROUP SETID", vec![stream_key(), group(), at()], set),
        1 => cmd("XGROUP DESTROY", vec![stream_key(), group()]),
        2 => cmd("XGROUP CREATECONSUMER", vec![stream_key(), group(), consumer()]),
        2 => cmd("XGROUP DELCONSUMER", vec![stream_key(), group(), consumer()]),
        1 => one_of(&["XGROUP HELP", "XGROUP", "XGROUP NOPE k", "XGROUP CREATE k0 g", "XGROUP DESTROY k0"])
            .prop_map(|line| Cmd(line.split(|&b| b == b' ').map(<[u8]>::to_vec).collect())),
    ]
    .boxed()
}

fn ids() -> Args {
    list(id(), 1, 5)
}

/// Milliseconds that are far from all that can pass in a test.
fn idle() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => word("0"),
        4 => one_of(&["1000000", "100000000000"]),
        1 => one_of(&["-1", "x", ""]),
    ]
    .boxed()
}

fn xclaim() -> BoxedStrategy<Cmd> {
    let all = vec![
        option(vec![spelling("IDLE"), one_of(&["500000000", "0", "-5", "x"])]),
        option(vec![spelling("TIME"), one_of(&["1000", "0", "-1", "9999999999999999", "x"])]),
        option(vec![spelling("RETRYCOUNT"), amount()]),
        option(vec![spelling("FORCE")]),
        option(vec![spelling("JUSTID")]),
        option(vec![spelling("LASTID"), id()]),
        option(vec![one_of(&["FORCE", "junk", "TIME"])]),
    ];
    let tail = joined(vec![ids(), options(all)]);
    with_tail("XCLAIM", vec![stream_key(), group(), consumer(), idle()], tail)
}

fn xautoclaim() -> BoxedStrategy<Cmd> {
    let count = one_of(&["1", "2", "5", "100", "0", "-1", "x"]);
    let all = vec![
        option(vec![spelling("COUNT"), count]),
        option(vec![spelling("JUSTID")]),
        option(vec![one_of(&["junk", "COUNT"])]),
    ];
    with_tail("XAUTOCLAIM", vec![stream_key(), group(), consumer(), idle(), bound()], options(all))
}

fn xpending() -> BoxedStrategy<Cmd> {
    let extended = joined(vec![
        maybe(option(vec![spelling("IDLE"), idle()]), 3),
        option(vec![bound(), bound(), amount()]),
        prop_oneof![2 => Just(Vec::new()), 1 => option(vec![consumer()])].boxed(),
        junk(),
    ]);
    let all = option(vec![word("-"), word("+"), word("100")]);
    let tail = prop_oneof![3 => Just(Vec::new()).boxed(), 3 => extended, 3 => all, 1 => junk()];
    with_tail("XPENDING", vec![stream_key(), group()], tail.boxed())
}

fn xsetid() -> BoxedStrategy<Cmd> {
    // Not back behind what was deleted, which an older oracle lets happen.
    let odd = one_of(&["-", "+", "$", "*", "abc", "", "1-", "-1", "14-*", "1-2-3"]);
    let id = prop_oneof![6 => one_of(&["13-5000", "14-0", "14-3"]), 1 => odd];
    let all = vec![
        option(vec![
            spelling("ENTRIESADDED"),
            prop_oneof![
                4 => amount(),
                1 => one_of(&["100", "1000"]),
            ]
            .boxed(),
        ]),
        option(vec![spelling("MAXDELETEDID"), super::streams::id()]),
        option(vec![one_of(&["junk", "MAXDELETEDID"])]),
    ];
    with_tail("XSETID", vec![stream_key(), id.boxed()], options(all))
}

fn xinfo() -> BoxedStrategy<Cmd> {
    let full =
        joined(vec![maybe(joined(vec![option(vec![spelling("FULL")]), count()]), 8), junk()]);
    prop_oneof![
        6 => with_tail("XINFO STREAM", vec![stream_key()], full),
        4 => cmd("XINFO GROUPS", vec![stream_key()]),
        3 => cmd("XINFO CONSUMERS", vec![stream_key(), group()]),
        1 => one_of(&["XINFO HELP", "XINFO", "XINFO NOPE k", "XINFO STREAM", "XINFO CONSUMERS k0"])
            .prop_map(|line| Cmd(line.split(|&b| b == b' ').map(<[u8]>::to_vec).collect())),
    ]
    .boxed()
}

fn other() -> BoxedStrategy<Cmd> {
    prop_oneof![
        1 => cmd("SET", vec![stream_key(), word("v")]),
        2 => cmd("DEL", vec![stream_key()]),
        2 => cmd("TYPE", vec![stream_key()]),
        1 => cmd("OBJECT ENCODING", vec![stream_key()]),
        2 => cmd("COPY", vec![stream_key(), stream_key(), word("REPLACE")]),
        1 => cmd("RENAME", vec![stream_key(), stream_key()]),
    ]
    .boxed()
}

pub fn command() -> BoxedStrategy<Cmd> {
    let entries = prop_oneof![
        12 => xadd(),
        6 => with_tail("XRANGE", vec![stream_key(), bound(), bound()], joined(vec![count(), junk()])),
        6 => with_tail("XREVRANGE", vec![stream_key(), bound(), bound()], joined(vec![count(), junk()])),
        4 => with_tail("XDEL", vec![stream_key()], ids()),
        4 => with_tail("XTRIM", vec![stream_key()], trimming()),
        2 => cmd("XLEN", vec![stream_key()]),
        1 => xsetid(),
        5 => xread("XREAD", junk(), read_id),
    ];
    let groups = prop_oneof![
        8 => xreadgroup(),
        6 => xgroup(),
        4 => with_tail("XACK", vec![stream_key(), group()], ids()),
        4 => xpending(),
        4 => xclaim(),
        3 => xautoclaim(),
    ];
    prop_oneof![5 => entries, 5 => groups, 3 => xinfo(), 1 => other()].boxed()
}

/// What a command does to those who watch a key.
fn watched() -> BoxedStrategy<Vec<Cmd>> {
    (stream_key(), command())
        .prop_map(|(key, command)| {
            let words = |words: &[&[u8]]| Cmd(words.iter().map(|w| w.to_vec()).collect());
            vec![
                words(&[b"WATCH", &key]),
                command,
                words(&[b"MULTI"]),
                words(&[b"XLEN", &key]),
                words(&[b"EXEC"]),
            ]
        })
        .boxed()
}

/// Programs that begin with a group, and with how big nodes are.
pub fn programs() -> BoxedStrategy<Vec<Cmd>> {
    let entries = proptest::sample::select(vec!["1", "2", "3", "5", "5", "100", "0"]);
    let bytes = proptest::sample::select(vec!["0", "60", "120", "250", "4096", "4096"]);
    let step = prop_oneof![
        20 => command().prop_map(|command| vec![command]),
        2 => burst(),
        1 => watched(),
    ];
    (entries, bytes, burst(), proptest::collection::vec(step, 1..40))
        .prop_map(|(entries, bytes, start, steps)| {
            let line = |text: String| Cmd(text.split(' ').map(|w| w.as_bytes().to_vec()).collect());
            let mut program = vec![line(format!(
                "CONFIG SET stream-node-max-entries {entries} stream-node-max-bytes {bytes}"
            ))];
            program.extend(start);
            program.push(line("XGROUP CREATE k0 g 0 MKSTREAM".into()));
            program.push(line("XGROUP CREATE k1 g 0 MKSTREAM".into()));
            program.extend(steps.into_iter().flatten());
            program
        })
        .boxed()
}

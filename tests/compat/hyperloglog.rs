//! Random commands on HyperLogLogs, whose bytes must be the same as well.

use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

fn element() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => (0u32..2000).prop_map(|n| n.to_string().into_bytes()),
        1 => value(),
    ]
    .boxed()
}

/// As many as fill the sparse form, or make it dense.
fn many_elements() -> Args {
    let count = prop_oneof![6 => 10u32..100, 4 => 300u32..1200, 1 => 2000u32..3000];
    (0u32..2000, count)
        .prop_map(|(start, count)| {
            (start..start + count).map(|n| format!("element:{n}").into_bytes()).collect()
        })
        .boxed()
}

/// A string of the sparse form, of runs that may or may not make a whole.
fn runs() -> BoxedStrategy<Arg> {
    let zeros = |len: usize| vec![((len - 1) >> 8) as u8 | 0x40, (len - 1) as u8];
    let run = prop_oneof![
        3 => (1u8..=64).prop_map(|len| (vec![len - 1], usize::from(len))),
        2 => (1usize..300).prop_map(move |len| (zeros(len), len)),
        6 => (1u8..=32, 1u8..=4)
            .prop_map(|(value, len)| (vec![0x80 | (value - 1) << 2 | (len - 1)], usize::from(len))),
    ];
    let rest = prop_oneof![8 => Just(0usize), 1 => 1usize..10];
    (proptest::collection::vec(run, 0..8), rest, any::<bool>())
        .prop_map(move |(runs, missing, fresh)| {
            let card = if fresh { [7, 0, 0, 0, 0, 0, 0, 0] } else { [0, 0, 0, 0, 0, 0, 0, 0x80] };
            let covered: usize = runs.iter().map(|(_, len)| len).sum();
            let mut bytes = [b"HYLL\x01\0\0\0".as_slice(), &card].concat();
            bytes.extend(runs.into_iter().flat_map(|(run, _)| run));
            bytes.extend(zeros(16_384 - covered - missing));
            bytes
        })
        .boxed()
}

fn debug() -> BoxedStrategy<Cmd> {
    let sub = prop_oneof![
        4 => spelling("DECODE"),
        3 => spelling("ENCODING"),
        2 => spelling("TODENSE"),
        1 => spelling("GETREG"),
        1 => one_of(&["FOO", ""]),
    ];
    cmd("PFDEBUG", vec![sub.boxed(), key()])
}

pub fn command() -> BoxedStrategy<Cmd> {
    let sparse_max = one_of(&["3000", "3000", "0", "20", "100", "1000", "20000"]);
    let counting = prop_oneof![
        6 => with_tail("PFADD", vec![key()], list(element(), 0, 6)),
        5 => with_tail("PFADD", vec![key()], many_elements()),
        5 => cmd("PFCOUNT", vec![key()]),
        3 => with_tail("PFCOUNT", vec![], list(key(), 2, 4)),
        5 => with_tail("PFMERGE", vec![key()], list(key(), 0, 4)),
        3 => debug(),
    ];
    let around = prop_oneof![
        6 => cmd("GET", vec![key()]),
        2 => cmd("STRLEN", vec![key()]),
        2 => cmd("OBJECT ENCODING", vec![key()]),
        3 => cmd("SET", vec![key(), runs()]),
        1 => cmd("SET", vec![key(), value()]),
        1 => cmd("APPEND", vec![key(), one_of(&["\u{0}", "x", "HYLL"])]),
        1 => cmd("SETRANGE", vec![key(), one_of(&["0", "4", "8", "15"]), one_of(&["\u{0}", "H"])]),
        1 => with_tail("SADD", vec![key()], list(element(), 1, 2)),
        1 => cmd("COPY", vec![key(), key()]),
        2 => cmd("DEL", vec![key()]),
        1 => cmd("EXPIRE", vec![key(), far(1)]),
        1 => cmd("PTTL", vec![key()]),
        1 => cmd("CONFIG SET", vec![word("hll-sparse-max-bytes"), sparse_max]),
    ];
    prop_oneof![5 => counting, 3 => around].boxed()
}

//! Random bitmap commands, and the strings that they work on.

use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

fn bit_offset() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => (0i64..120).prop_map(|n| n.to_string().into_bytes()),
        1 => one_of(&["8191", "8192", "100000"]),
        1 => one_of(&["-1", "4294967296", "4294967295999", "abc", "", "1.5"]),
    ]
    .boxed()
}

fn bit() -> BoxedStrategy<Arg> {
    prop_oneof![12 => one_of(&["0", "1"]), 1 => one_of(&["2", "-1", "x", "01", ""])].boxed()
}

fn unit() -> BoxedStrategy<Arg> {
    prop_oneof![8 => one_of(&["BYTE", "BIT", "byte", "Bit"]), 1 => one_of(&["BITS", "", "x"])]
        .boxed()
}

fn encoding() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => (one_of(&["i", "u"]), 1u32..64)
            .prop_map(|(sign, width)| [sign, width.to_string().into_bytes()].concat()),
        2 => one_of(&["i64", "u63", "i1", "u1", "i8", "u8", "u16", "i32", "I8", "U8"]),
        1 => one_of(&["u64", "i65", "i0", "u0", "x8", "i", "", "8", "u-1", "i 8"]),
    ]
    .boxed()
}

fn field_offset() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => (0i64..100).prop_map(|n| n.to_string().into_bytes()),
        3 => (0i64..20).prop_map(|n| format!("#{n}").into_bytes()),
        1 => one_of(&["-1", "#-1", "#", "", "4294967296", "abc", "#4294967296", "9223372036854775807"]),
    ]
    .boxed()
}

/// Not the least integers: in redis-server the room above them overflows, and SET saturates to the
/// wrong end.
fn field_value() -> BoxedStrategy<Arg> {
    integer()
        .prop_map(|n| if n.starts_with(b"-9223372036854775") { b"-9".to_vec() } else { n })
        .boxed()
}

fn field_get() -> Args {
    option(vec![spelling("GET"), encoding(), field_offset()])
}

/// BITFIELD's operations in a row.
fn field_operations() -> Args {
    let operation = prop_oneof![
        4 => field_get(),
        4 => option(vec![spelling("SET"), encoding(), field_offset(), field_value()]),
        5 => option(vec![spelling("INCRBY"), encoding(), field_offset(), field_value()]),
        3 => option(vec![spelling("OVERFLOW"), one_of(&["WRAP", "SAT", "FAIL", "wrap", "fail"])]),
        1 => one_of(&["OVERFLOW", "FOO", "GET", "SET"]).prop_map(|w| vec![w]),
    ];
    proptest::collection::vec(operation, 0..5).prop_map(|o| o.concat()).boxed()
}

fn bitop() -> BoxedStrategy<Cmd> {
    let operation = prop_oneof![
        12 => one_of(&["AND", "OR", "XOR", "NOT", "and", "Not"]),
        1 => one_of(&["NAND", ""]),
    ];
    with_tail("BITOP", vec![operation.boxed(), key()], list(key(), 1, 4))
}

pub fn command() -> BoxedStrategy<Cmd> {
    let range = || option(vec![integer(), integer()]);
    let range_unit = || option(vec![integer(), integer(), unit()]);
    let ranges = || {
        let bare = option(vec![integer()]);
        prop_oneof![2 => Just(Vec::new()), 3 => range(), 3 => range_unit(), 1 => bare].boxed()
    };
    let gets = proptest::collection::vec(field_get(), 0..4).prop_map(|g| g.concat());
    prop_oneof![
        6 => cmd("SETBIT", vec![key(), bit_offset(), bit()]),
        3 => cmd("GETBIT", vec![key(), bit_offset()]),
        4 => with_tail("BITCOUNT", vec![key()], ranges()),
        4 => with_tail("BITPOS", vec![key(), bit()], ranges()),
        5 => bitop(),
        8 => with_tail("BITFIELD", vec![key()], field_operations()),
        2 => with_tail("BITFIELD_RO", vec![key()], gets.boxed()),
        1 => with_tail("BITFIELD_RO", vec![key()], field_operations()),
        3 => cmd("SET", vec![key(), value()]),
        2 => cmd("GET", vec![key()]),
        1 => cmd("OBJECT ENCODING", vec![key()]),
        1 => cmd("DEL", vec![key()]),
    ]
    .boxed()
}

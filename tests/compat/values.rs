//! The keys, values, numbers and option words that random commands are made of.

use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::BoxedStrategy;

pub type Arg = Vec<u8>;
pub type Args = BoxedStrategy<Vec<Arg>>;

fn words(list: &[&str]) -> Vec<Arg> {
    list.iter().map(|w| w.as_bytes().to_vec()).collect()
}

/// One of the words.
pub fn one_of(list: &[&str]) -> BoxedStrategy<Arg> {
    select(words(list)).boxed()
}

/// A word as it is.
pub fn word(text: &str) -> BoxedStrategy<Arg> {
    Just(text.as_bytes().to_vec()).boxed()
}

/// Few enough that commands meet on them, spread over all shards of three.
pub fn key() -> BoxedStrategy<Arg> {
    prop_oneof![
        20 => one_of(&["k0", "k1", "k2", "k3", "k4", "k5"]),
        3 => one_of(&["{t}a", "{t}b", "{}c", "a{t", "user:1000:name"]),
        1 => select(vec![Vec::new(), b"\x00\xff\r\n\"'".to_vec(), vec![b'L'; 300], b" ".to_vec()]),
    ]
    .boxed()
}

/// Text of integers and of what is nearly one.
pub fn integer() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => (-20i64..200).prop_map(|n| n.to_string().into_bytes()),
        2 => one_of(&[
            "9223372036854775807", "-9223372036854775808", "9223372036854775806", "2147483647",
            "2147483648", "-2147483648", "4294967295", "4294967296", "1000000", "10000", "9999",
        ]),
        1 => one_of(&[
            "9223372036854775808", "-9223372036854775809", "18446744073709551616", "", " 1", "1 ",
            "+1", "-0", "007", "1.0", "1e3", "0x10", "abc", "--1", "\u{0}", "1\r\n", "٣",
        ]),
    ]
    .boxed()
}

/// Text of floating-point numbers and of what is nearly one.
pub fn float() -> BoxedStrategy<Arg> {
    prop_oneof![
        4 => (-1000i32..1000, 0u32..5)
            .prop_map(|(n, d)| format!("{}", f64::from(n) / 10f64.powi(d as i32)).into_bytes()),
        2 => one_of(&[
            "0", "1", "-1", "3.0", "3.14", "5.0e3", "1e10", "-1e-10", "0.1", "0.2", "1e17", "1e18",
            "123456789.123456789", ".5", "5.", "0.00000000000000001", "-0", "-0.0",
        ]),
        1 => one_of(&[
            "", "nan", "NaN", "inf", "-inf", "Infinity", "1e400", "1e5000", "-1e5000", "0x10", "0x1p3",
            " 1", "1 ", "+1", "abc", "1,5", "1e", "--1", "1.5\u{0}",
        ]),
    ]
    .boxed()
}

/// What a string can hold: each encoding, the limits between them, binary, big ones.
pub fn value() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => one_of(&["", "a", "foo", "foobar", "Hello World", "ohmytext", "mynewtext", "\u{0}"]),
        6 => integer(),
        2 => float(),
        3 => proptest::collection::vec(any::<u8>(), 0..24),
        1 => select(vec![43usize, 44, 45, 63, 64, 65, 127, 128, 129, 255, 256, 300])
            .prop_map(|n| b"v".repeat(n)),
        1 => (select(vec![1_000usize, 16_384, 70_000]), one_of(&["x", "ab", "\u{ff}\u{0}1"]))
            .prop_map(|(n, unit)| unit.repeat(n / unit.len())),
    ]
    .boxed()
}

/// A number of seconds, milliseconds, or a point in time that no run can reach.
///
/// Wide and not shrunk: two equal relative times would make GT and LT depend on the millisecond.
pub fn far(per_second: i64) -> BoxedStrategy<Arg> {
    (10_000i64..2_000_000_000)
        .prop_map(move |n| (n * per_second).to_string().into_bytes())
        .no_shrink()
        .boxed()
}

/// A point in time that is far away, or not accepted.
pub fn future(per_second: i64) -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => select(vec![4_000_000_000i64, 5_000_000_000, 6_000_000_000])
            .prop_map(move |n| (n * per_second).to_string().into_bytes()),
        2 => one_of(&["0", "-1"]),
        1 => odd_time(),
    ]
    .boxed()
}

/// A point in time: far away, past, or at the limits of what is accepted.
pub fn instant(per_second: i64) -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => select(vec![4_000_000_000i64, 5_000_000_000, 6_000_000_000])
            .prop_map(move |n| (n * per_second).to_string().into_bytes()),
        2 => one_of(&["0", "-1", "1", "1000"]),
        1 => odd_time(),
    ]
    .boxed()
}

/// A span of time: far away, zero, negative, or at the limits of what is accepted.
pub fn span(per_second: i64) -> BoxedStrategy<Arg> {
    prop_oneof![
        10 => far(per_second),
        1 => one_of(&["0", "-1", "-1000000"]),
        1 => odd_time(),
    ]
    .boxed()
}

fn odd_time() -> BoxedStrategy<Arg> {
    one_of(&[
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775",
        "9223372036854776",
        "9223370399119966",
        "1.5",
        "",
        "abc",
        "99999999999999999999",
    ])
}

/// A glob of KEYS, SCAN and the like.
pub fn pattern() -> BoxedStrategy<Arg> {
    prop_oneof![
        4 => one_of(&["*", "k*", "k?", "k[0-2]", "k[^0]", "{t}*", "*0*", "k0", "", "?", "[k]1", "k[2-0]"]),
        1 => one_of(&["k[", "\\k0", "k\\", "[", "]", "k[a-", "**", "*?*", "k[\\0]", "k[^]", "[^k]*"]),
        1 => proptest::collection::vec(select(b"k01*?[]^-\\".to_vec()), 0..8),
    ]
    .boxed()
}

/// A command of fixed parts, its name in one of several spellings.
pub fn cmd(name: &'static str, parts: Vec<BoxedStrategy<Arg>>) -> BoxedStrategy<Cmd> {
    with_tail(name, parts, Just(Vec::new()).boxed())
}

/// A command of fixed parts and a tail of any length.
pub fn with_tail(
    name: &'static str,
    parts: Vec<BoxedStrategy<Arg>>,
    tail: Args,
) -> BoxedStrategy<Cmd> {
    (spelling(name), parts, tail)
        .prop_map(|(name, parts, tail)| {
            // A name of two words is a command and its subcommand.
            let words = name.split(|&b| b == b' ').map(<[u8]>::to_vec);
            Cmd(words.chain(parts).chain(tail).collect())
        })
        .boxed()
}

/// Names are case-insensitive: mostly capitals, some small, some mixed.
pub fn spelling(name: &str) -> BoxedStrategy<Arg> {
    let mixed: String = name
        .char_indices()
        .map(|(i, c)| if i % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
        .collect();
    let (upper, lower) = (name.to_uppercase(), name.to_lowercase());
    prop_oneof![
        10 => Just(upper.into_bytes()),
        2 => Just(lower.into_bytes()),
        1 => Just(mixed.into_bytes()),
    ]
    .boxed()
}

/// Several of one kind.
pub fn list(item: BoxedStrategy<Arg>, least: usize, most: usize) -> Args {
    proptest::collection::vec(item, least..=most).boxed()
}

/// Groups of arguments, joined in order.
pub fn joined(groups: Vec<Args>) -> Args {
    groups.prop_map(|g| g.concat()).boxed()
}

/// An option of some words and arguments.
pub fn option(parts: Vec<BoxedStrategy<Arg>>) -> Args {
    parts.boxed()
}

/// A few of the options in any order; now and then an order or a mix that must be refused.
pub fn options(all: Vec<Args>) -> Args {
    let count = all.len();
    let chosen = prop_oneof![
        8 => subsequence((0..count).collect::<Vec<_>>(), 0..=count.min(2)),
        2 => proptest::collection::vec(0..count, 0..4),
    ];
    (chosen.prop_shuffle(), all)
        .prop_map(|(chosen, all)| chosen.into_iter().flat_map(|i| all[i].clone()).collect())
        .boxed()
}

/// What may happen to any key, and what is asked of it.
pub fn around() -> BoxedStrategy<Cmd> {
    prop_oneof![
        4 => cmd("OBJECT ENCODING", vec![key()]),
        1 => cmd("TYPE", vec![key()]),
        1 => cmd("SET", vec![key(), value()]),
        2 => cmd("DEL", vec![key()]),
        2 => cmd("COPY", vec![key(), key()]),
        1 => cmd("RENAME", vec![key(), key()]),
        1 => cmd("EXPIRE", vec![key(), far(1)]),
        1 => cmd("PTTL", vec![key()]),
        1 => cmd("GET", vec![key()]),
    ]
    .boxed()
}

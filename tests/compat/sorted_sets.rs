//! Random commands on sorted sets.

use super::run::Mode;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// A score: often the same as others, now and then at a limit of what doubles can be.
pub fn score() -> BoxedStrategy<Arg> {
    prop_oneof![
        8 => (-5i64..20).prop_map(|n| n.to_string().into_bytes()),
        4 => (-400i32..400).prop_map(|n| format!("{}", f64::from(n) / 8.0).into_bytes()),
        4 => float(),
        2 => any::<u64>()
            .prop_map(f64::from_bits)
            .prop_map(|score| format!("{score:e}").into_bytes()),
        1 => (any::<f64>(), -30i32..30)
            .prop_map(|(n, power)| format!("{}", n.fract() * 10f64.powi(power)).into_bytes()),
        2 => one_of(&[
            "inf", "-inf", "+inf", "Infinity", "1e308", "-1.7976931348623157e308", "5e-324",
            "9007199254740993", "4611686018427387904", "1e21", "0x1.8p3", "1e-7", "123456.789e-10",
        ]),
    ]
    .boxed()
}

fn member() -> BoxedStrategy<Arg> {
    prop_oneof![
        10 => one_of(&["a", "b", "c", "d", "e", "foo", "bar", "", "a\u{0}", "-", "+", "[a", "Hello World"]),
        4 => (0i64..12).prop_map(|n| n.to_string().into_bytes()),
        1 => value(),
    ]
    .boxed()
}

/// Members with a score each, some so many or so long that they decide the encoding.
fn elements() -> Args {
    let few = proptest::collection::vec((score(), member()), 1..6)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(s, m)| [s, m]).collect());
    let many =
        (one_of(&["m", "member:", ""]), prop_oneof![6 => 5usize..40, 2 => 120usize..132], 0i64..4)
            .prop_map(|(prefix, count, step)| {
                let element = |n: usize| {
                    let score = (n as i64 * 7919 % 100 * step).to_string().into_bytes();
                    [score, [prefix.clone(), n.to_string().into_bytes()].concat()]
                };
                (0..count).flat_map(element).collect()
            });
    prop_oneof![6 => few, 2 => many].boxed()
}

/// Members of one score, for ranges of members.
fn equal_elements() -> Args {
    proptest::collection::vec(lex_member(), 1..8)
        .prop_map(|members| members.into_iter().flat_map(|m| [b"0".to_vec(), m]).collect())
        .boxed()
}

fn lex_member() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 0..4),
        1 => one_of(&["\u{0}", "a\u{0}", "zz", "\u{ff}"]),
    ]
    .boxed()
}

/// Keys of their own, where all scores stay equal.
fn lex_key() -> BoxedStrategy<Arg> {
    one_of(&["lex0", "lex1", "{t}lex"])
}

fn rank() -> BoxedStrategy<Arg> {
    prop_oneof![8 => (-8i64..12).prop_map(|n| n.to_string().into_bytes()), 1 => integer()].boxed()
}

fn score_limit() -> BoxedStrategy<Arg> {
    let excluded = score().prop_map(|score| [b"(".to_vec(), score].concat());
    prop_oneof![
        5 => score(),
        4 => excluded,
        4 => one_of(&["-inf", "+inf", "(inf", "inf"]),
        1 => one_of(&["", "(", " 1", "( 1", "nan", "(nan", "1e400", "-1e400", "1\u{0}x", "((1", "[1", "x"]),
    ]
    .boxed()
}

fn lex_limit() -> BoxedStrategy<Arg> {
    let limit = (one_of(&["[", "("]), lex_member()).prop_map(|(kind, m)| [kind, m].concat());
    prop_oneof![
        8 => limit,
        4 => one_of(&["-", "+"]),
        1 => one_of(&["", "a", "--", "+a", "[", "(", "1", "-\u{0}", "+\u{0}x"]),
    ]
    .boxed()
}

fn limit() -> Args {
    let number = || {
        prop_oneof![8 => (-2i64..8).prop_map(|n| n.to_string().into_bytes()), 1 => integer()]
            .boxed()
    };
    prop_oneof![
        8 => option(vec![spelling("LIMIT"), number(), number()]),
        1 => option(vec![spelling("LIMIT"), number()]),
    ]
    .boxed()
}

fn adding() -> BoxedStrategy<Cmd> {
    let words = || {
        let flag = |name| option(vec![spelling(name)]);
        options(vec![flag("NX"), flag("XX"), flag("GT"), flag("LT"), flag("CH"), flag("INCR")])
    };
    let one = || option(vec![score(), member()]);
    let odd = prop_oneof![
        option(vec![member()]),
        option(vec![score(), member(), score()]),
        option(vec![one_of(&["nan", "abc", "", "1.5x", "NX"]), member()]),
        joined(vec![one(), option(vec![one_of(&["nan", "x"]), member()])]),
    ];
    let arguments = prop_oneof![6 => elements(), 5 => one(), 1 => odd];
    let with_words = joined(vec![words(), arguments.boxed()]);
    prop_oneof![
        6 => with_tail("ZADD", vec![key()], elements()),
        8 => with_tail("ZADD", vec![key()], with_words),
        3 => cmd("ZINCRBY", vec![key(), score(), member()]),
        1 => with_tail("ZADD", vec![key()], joined(vec![option(vec![spelling("INCR")]), one()])),
    ]
    .boxed()
}

fn single(mode: Mode) -> BoxedStrategy<Cmd> {
    let with_score = || {
        if mode == Mode::Pipelined {
            return Just(Vec::new()).boxed(); // newer than the older oracle
        }
        prop_oneof![
            3 => Just(Vec::new()),
            2 => option(vec![spelling("WITHSCORE")]),
            1 => options(vec![option(vec![spelling("WITHSCORES")]), option(vec![word("x")])]),
        ]
        .boxed()
    };
    prop_oneof![
        4 => with_tail("ZREM", vec![key()], list(member(), 1, 5)),
        3 => cmd("ZCARD", vec![key()]),
        3 => cmd("ZSCORE", vec![key(), member()]),
        2 => with_tail("ZMSCORE", vec![key()], list(member(), 1, 4)),
        3 => with_tail("ZRANK", vec![key(), member()], with_score()),
        3 => with_tail("ZREVRANK", vec![key(), member()], with_score()),
    ]
    .boxed()
}

/// Words that ZRANGE knows; `more` are those of the command at hand.
fn range_words(more: Vec<Args>) -> Args {
    let odd = option(vec![one_of(&["foo", "LIMIT", "WITHSCORE", ""])]);
    let all: Vec<Args> = [limit(), odd].into_iter().chain(more).collect();
    options(all)
}

fn ranges() -> BoxedStrategy<Cmd> {
    let flag = |name| option(vec![spelling(name)]);
    let any_words =
        || range_words(vec![flag("REV"), flag("BYSCORE"), flag("BYLEX"), flag("WITHSCORES")]);
    let scores = || range_words(vec![flag("WITHSCORES"), flag("REV")]);
    let ranks = || prop_oneof![4 => flag("WITHSCORES"), 1 => any_words()].boxed();
    let by_score =
        || joined(vec![flag("BYSCORE"), options(vec![flag("REV"), flag("WITHSCORES"), limit()])]);
    let by_rank = || options(vec![flag("REV"), flag("WITHSCORES")]);
    prop_oneof![
        4 => with_tail("ZRANGE", vec![key(), rank(), rank()], by_rank()),
        4 => with_tail("ZRANGE", vec![key(), score_limit(), score_limit()], by_score()),
        2 => with_tail("ZRANGE", vec![key(), rank(), rank()], any_words()),
        2 => with_tail("ZRANGESTORE", vec![key(), key(), rank(), rank()], any_words()),
        2 => with_tail("ZRANGESTORE", vec![key(), key(), score_limit(), score_limit()], by_score()),
        2 => with_tail("ZREVRANGE", vec![key(), rank(), rank()], ranks()),
        3 => with_tail("ZRANGEBYSCORE", vec![key(), score_limit(), score_limit()], scores()),
        3 => with_tail("ZREVRANGEBYSCORE", vec![key(), score_limit(), score_limit()], scores()),
        3 => cmd("ZCOUNT", vec![key(), score_limit(), score_limit()]),
        2 => cmd("ZREMRANGEBYRANK", vec![key(), rank(), rank()]),
        2 => cmd("ZREMRANGEBYSCORE", vec![key(), score_limit(), score_limit()]),
    ]
    .boxed()
}

fn lex() -> BoxedStrategy<Cmd> {
    let flag = |name| option(vec![spelling(name)]);
    let words = || {
        prop_oneof![
            6 => options(vec![limit()]),
            1 => range_words(vec![flag("WITHSCORES"), flag("REV")]),
        ]
        .boxed()
    };
    let by_lex = || joined(vec![flag("BYLEX"), options(vec![flag("REV"), limit()])]);
    prop_oneof![
        6 => with_tail("ZADD", vec![lex_key()], equal_elements()),
        2 => with_tail("ZREM", vec![lex_key()], list(lex_member(), 1, 3)),
        3 => with_tail("ZRANGEBYLEX", vec![lex_key(), lex_limit(), lex_limit()], words()),
        3 => with_tail("ZREVRANGEBYLEX", vec![lex_key(), lex_limit(), lex_limit()], words()),
        3 => with_tail("ZRANGE", vec![lex_key(), lex_limit(), lex_limit()], by_lex()),
        2 => with_tail("ZRANGESTORE", vec![key(), lex_key(), lex_limit(), lex_limit()], by_lex()),
        3 => cmd("ZLEXCOUNT", vec![lex_key(), lex_limit(), lex_limit()]),
        2 => cmd("ZREMRANGEBYLEX", vec![lex_key(), lex_limit(), lex_limit()]),
        1 => cmd("OBJECT ENCODING", vec![lex_key()]),
    ]
    .boxed()
}

fn popping(mode: Mode) -> BoxedStrategy<Cmd> {
    let count = || {
        prop_oneof![6 => (0i64..5).prop_map(|n| n.to_string().into_bytes()), 1 => integer()].boxed()
    };
    let one_or_more = || options(vec![option(vec![count()])]);
    let ends = || prop_oneof![8 => one_of(&["MIN", "MAX", "min", "Max"]), 1 => word("x")].boxed();
    let several = || {
        let right = (list(key(), 1, 3), ends()).prop_map(|(keys, end)| {
            let count = keys.len().to_string().into_bytes();
            [vec![count], keys, vec![end]].concat()
        });
        let any = joined(vec![option(vec![integer()]), list(key(), 1, 3), option(vec![ends()])]);
        let words = options(vec![
            option(vec![spelling("COUNT"), count()]),
            option(vec![one_of(&["COUNT", "foo"])]),
        ]);
        joined(vec![prop_oneof![8 => right, 1 => any].boxed(), words])
    };
    let timeout = || {
        prop_oneof![
            12 => one_of(&["0.001", "0.002", "1e-3", "0x1p-10"]),
            // Too large a one gets another error since 7.2.
            1 => one_of(&["-1", "x", "", "nan"]),
        ]
        .boxed()
    };
    let pops = prop_oneof![
        3 => with_tail("ZPOPMIN", vec![key()], one_or_more()),
        3 => with_tail("ZPOPMAX", vec![key()], one_or_more()),
        3 => with_tail("ZMPOP", vec![], several()),
    ];
    let blocking = prop_oneof![
        1 => with_tail("BZPOPMIN", vec![], joined(vec![list(key(), 1, 3), option(vec![timeout()])])),
        1 => with_tail("BZPOPMAX", vec![], joined(vec![list(key(), 1, 3), option(vec![timeout()])])),
        1 => with_tail("BZMPOP", vec![timeout()], several()),
    ];
    match mode {
        Mode::Stepwise | Mode::Scripted => prop_oneof![3 => pops, 1 => blocking].boxed(),
        Mode::Pipelined => pops.boxed(),
    }
}

fn combining() -> BoxedStrategy<Cmd> {
    let weight = || {
        prop_oneof![
            6 => one_of(&["1", "2", "-1", "0", "0.5", "3.25", "inf", "-inf"]),
            1 => one_of(&["nan", "x", ""]),
            1 => score(),
        ]
        .boxed()
    };
    let sources = move || {
        let weights = (list(key(), 1, 4), list(weight(), 4, 4), any::<bool>(), spelling("WEIGHTS"))
            .prop_map(|(keys, weights, with, name)| {
                let count = keys.len();
                let tail = match with {
                    true => [vec![name], weights[..count].to_vec()].concat(),
                    false => Vec::new(),
                };
                [vec![count.to_string().into_bytes()], keys, tail].concat()
            });
        let odd = joined(vec![option(vec![integer()]), list(key(), 1, 3)]);
        prop_oneof![10 => weights, 1 => odd].boxed()
    };
    let aggregate =
        || option(vec![spelling("AGGREGATE"), one_of(&["SUM", "MIN", "MAX", "max", "x"])]);
    let words = move || {
        options(vec![
            aggregate(),
            option(vec![spelling("WITHSCORES")]),
            option(vec![one_of(&["foo", "AGGREGATE", "WEIGHTS", "LIMIT"])]),
            option(vec![spelling("WEIGHTS"), weight(), weight()]),
        ])
    };
    let stored = || options(vec![aggregate(), aggregate(), option(vec![spelling("WITHSCORES")])]);
    let few = || joined(vec![sources(), words()]);
    let counting = || {
        let right = list(key(), 1, 3)
            .prop_map(|keys| [vec![keys.len().to_string().into_bytes()], keys].concat());
        let limit = option(vec![spelling("LIMIT"), one_of(&["0", "1", "2", "5", "-1", "x"])]);
        joined(vec![right.boxed(), options(vec![limit, option(vec![word("x")])])])
    };
    let plain = || {
        let right = list(key(), 1, 3)
            .prop_map(|keys| [vec![keys.len().to_string().into_bytes()], keys].concat());
        joined(vec![right.boxed(), options(vec![option(vec![spelling("WITHSCORES")])])])
    };
    prop_oneof![
        3 => with_tail("ZUNION", vec![], few()),
        3 => with_tail("ZINTER", vec![], few()),
        1 => with_tail("ZDIFF", vec![], few()),
        3 => with_tail("ZDIFF", vec![], plain()),
        3 => with_tail("ZINTERCARD", vec![], counting()),
        3 => with_tail("ZUNIONSTORE", vec![key()], joined(vec![sources(), stored()])),
        3 => with_tail("ZINTERSTORE", vec![key()], joined(vec![sources(), stored()])),
        2 => with_tail("ZDIFFSTORE", vec![key()], plain()),
    ]
    .boxed()
}

fn walking() -> BoxedStrategy<Cmd> {
    let scan = vec![
        option(vec![spelling("MATCH"), one_of(&["*", "m1*", "?", "[a-c]", "", "*1"])]),
        option(vec![spelling("COUNT"), one_of(&["1", "5", "10", "1000"])]),
        option(vec![one_of(&["COUNT", "MATCH"]), one_of(&["0", "-1", "abc", ""])]),
        option(vec![spelling("TYPE"), word("zset")]),
        option(vec![one_of(&["foo", "MATCH", "NOVALUES"])]),
    ];
    let count = || {
        prop_oneof![
            8 => (-10i64..10).prop_map(|n| n.to_string().into_bytes()),
            1 => one_of(&["100", "130", "1000", "-300", "x", "", "1.5", "-9223372036854775808"]),
        ]
        .boxed()
    };
    let scores = || options(vec![option(vec![spelling("WITHSCORES")])]);
    prop_oneof![
        4 => with_tail("ZSCAN", vec![key(), word("0")], options(scan)),
        1 => cmd("ZSCAN", vec![key(), one_of(&["abc", "1.5", "99999999999999999999"])]),
        2 => cmd("ZRANDMEMBER", vec![key()]),
        4 => with_tail("ZRANDMEMBER", vec![key(), count()], scores()),
        1 => cmd("ZRANDMEMBER", vec![key(), count(), member()]),
        1 => cmd("ZRANDMEMBER", vec![key(), word("-5000000000000000000"), spelling("WITHSCORES")]),
    ]
    .boxed()
}

pub fn command(mode: Mode) -> BoxedStrategy<Cmd> {
    let others = match mode {
        Mode::Stepwise | Mode::Scripted => walking(),
        Mode::Pipelined => cmd("ZCARD", vec![key()]),
    };
    prop_oneof![
        10 => adding(),
        6 => single(mode),
        10 => ranges(),
        6 => lex(),
        5 => popping(mode),
        8 => combining(),
        4 => around(),
        4 => others,
    ]
    .boxed()
}

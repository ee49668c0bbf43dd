//! Random commands on places.

use super::run::Mode;
use super::sorted_sets;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

const MEMBERS: usize = 24;

/// Few keys, so that searches meet many members.
fn geo_key() -> BoxedStrategy<Arg> {
    prop_oneof![12 => one_of(&["g0", "g1", "{t}g"]), 1 => key()].boxed()
}

fn member() -> BoxedStrategy<Arg> {
    (0..MEMBERS + 2).prop_map(name).boxed()
}

fn name(member: usize) -> Arg {
    format!("m{member}").into_bytes()
}

/// Coordinates that one member alone can have: in searches with COUNT, equal distances
/// would come in any order.
fn coordinates(member: usize, variant: usize) -> [Arg; 2] {
    let unit =
        |n: usize| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1u64 << 24) as f64;
    let at = member * 8 + variant;
    // Around one place, over a continent, over the whole map.
    let (longitude, latitude) = match at % 4 {
        0 => (13.0 + unit(at) * 0.01, 38.0 + unit(at + 1000) * 0.01),
        1 => (10.0 + unit(at) * 5.0, 36.0 + unit(at + 1000) * 5.0),
        2 => (unit(at) * 60.0 - 20.0, unit(at + 1000) * 50.0),
        _ => (unit(at) * 360.0 - 180.0, unit(at + 1000) * 170.0 - 85.0),
    };
    [longitude, latitude].map(|number| format!("{number}").into_bytes())
}

fn element() -> Args {
    let own = (0..MEMBERS, 0usize..8).prop_map(|(member, variant)| {
        let [longitude, latitude] = coordinates(member, variant);
        vec![longitude, latitude, name(member)]
    });
    let odd = (odd_number(180), odd_number(85), member()).prop_map(|(x, y, m)| vec![x, y, m]);
    prop_oneof![12 => own, 1 => odd].boxed()
}

fn odd_number(limit: i32) -> BoxedStrategy<Arg> {
    prop_oneof![
        2 => (-limit - 5..limit + 5).prop_map(|n| n.to_string().into_bytes()),
        1 => one_of(&["-180", "180", "85.05112878", "-85.05112878", "85.0511288", "0", "-0", "1e300"]),
        1 => one_of(&["nan", "inf", "x", "", "0x10", " 1"]),
    ]
    .boxed()
}

fn center() -> Args {
    let own = (0..MEMBERS, 0usize..8).prop_map(|(m, variant)| coordinates(m, variant).to_vec());
    let odd = (odd_number(180), odd_number(85)).prop_map(|(x, y)| vec![x, y]);
    prop_oneof![8 => own, 1 => odd].boxed()
}

fn size() -> BoxedStrategy<Arg> {
    prop_oneof![
        3 => (0u32..2000).prop_map(|n| n.to_string().into_bytes()),
        3 => (1u32..100_000).prop_map(|n| format!("{}", f64::from(n) * 0.37).into_bytes()),
        2 => one_of(&["100000", "1000000", "5000000", "8000000", "10000000", "20000000", "1e8", "0"]),
        1 => one_of(&["-1", "x", "", "nan", "inf", "1e300", "0.0001"]),
    ]
    .boxed()
}

fn unit() -> BoxedStrategy<Arg> {
    prop_oneof![8 => one_of(&["m", "km", "ft", "mi", "KM", "Mi"]), 1 => one_of(&["x", "", "kms"])]
        .boxed()
}

fn circle() -> Args {
    option(vec![size(), unit()])
}

fn words(name: &'static str) -> Args {
    option(vec![spelling(name)])
}

fn counted() -> Args {
    let count =
        prop_oneof![6 => (1i64..12).prop_map(|n| n.to_string().into_bytes()), 1 => integer()];
    let any = prop_oneof![3 => Just(Vec::new()), 1 => words("ANY")];
    joined(vec![option(vec![spelling("COUNT"), count.boxed()]), any.boxed()])
}

/// What all of the searching commands know.
fn shown() -> Vec<Args> {
    vec![
        words("WITHDIST"),
        words("WITHHASH"),
        words("WITHCOORD"),
        words("ASC"),
        words("DESC"),
        counted(),
        counted(),
    ]
}

fn some(mut all: Vec<Args>, odd: Vec<Args>) -> Args {
    let mut rare: Vec<Args> = odd;
    rare.push(words("ANY"));
    rare.push(option(vec![one_of(&["foo", "COUNT", ""])]));
    let usual = options(std::mem::take(&mut all));
    let with_odd = joined(vec![usual.clone(), options(rare)]);
    prop_oneof![8 => usual, 1 => with_odd].boxed()
}

fn shape() -> Args {
    let rectangle = option(vec![spelling("BYBOX"), size(), size(), unit()]);
    prop_oneof![
        4 => joined(vec![words("BYRADIUS"), circle()]),
        4 => rectangle,
    ]
    .boxed()
}

fn from() -> Args {
    prop_oneof![
        3 => option(vec![spelling("FROMMEMBER"), member()]),
        3 => joined(vec![words("FROMLONLAT"), center()]),
    ]
    .boxed()
}

/// Where distances are stored. Read as places they would all be one, of which COUNT takes any.
fn distances() -> BoxedStrategy<Arg> {
    one_of(&["{t}d", "d0"])
}

fn searching() -> BoxedStrategy<Cmd> {
    let odd =
        || vec![from(), shape(), words("STOREDIST"), option(vec![spelling("STORE"), geo_key()])];
    let search = || joined(vec![from(), shape(), some(shown(), odd())]);
    let stored = || {
        let usual = vec![words("ASC"), words("DESC"), counted()];
        joined(vec![from(), shape(), some(usual, shown())])
    };
    let measured = || joined(vec![stored(), option(vec![spelling("STOREDIST")])]);
    let loose = || options(vec![from(), shape(), counted(), words("ASC"), words("FROMMEMBER")]);
    let padded = || joined(vec![loose(), list(word("ASC"), 4, 4)]);
    prop_oneof![
        8 => with_tail("GEOSEARCH", vec![geo_key()], search()),
        3 => with_tail("GEOSEARCHSTORE", vec![geo_key(), geo_key()], stored()),
        2 => with_tail("GEOSEARCHSTORE", vec![distances(), geo_key()], measured()),
        1 => with_tail("GEOSEARCH", vec![geo_key()], padded()),
        1 => with_tail("GEOSEARCHSTORE", vec![geo_key(), geo_key()], padded()),
    ]
    .boxed()
}

fn older_searching() -> BoxedStrategy<Cmd> {
    let store = || {
        vec![
            option(vec![spelling("STORE"), geo_key()]),
            option(vec![spelling("STOREDIST"), distances()]),
        ]
    };
    let storing = || {
        let one = prop_oneof![store()[0].clone(), store()[1].clone()];
        let usual = vec![words("ASC"), words("DESC"), counted()];
        joined(vec![one.boxed(), some(usual, [shown(), store()].concat())])
    };
    let reading = || some(shown(), store());
    let around = |tail: Args| joined(vec![center(), circle(), tail]);
    let near = |tail: Args| joined(vec![option(vec![member()]), circle(), tail]);
    prop_oneof![
        3 => with_tail("GEORADIUS", vec![geo_key()], around(reading())),
        3 => with_tail("GEORADIUS", vec![geo_key()], around(storing())),
        3 => with_tail("GEORADIUS_RO", vec![geo_key()], around(reading())),
        3 => with_tail("GEORADIUSBYMEMBER", vec![geo_key()], near(reading())),
        3 => with_tail("GEORADIUSBYMEMBER", vec![geo_key()], near(storing())),
        3 => with_tail("GEORADIUSBYMEMBER_RO", vec![geo_key()], near(reading())),
    ]
    .boxed()
}

pub fn command(_: Mode) -> BoxedStrategy<Cmd> {
    let elements =
        |most| proptest::collection::vec(element(), 1..most).prop_map(|all| all.concat()).boxed();
    let adding = joined(vec![options(vec![words("NX"), words("XX"), words("CH")]), elements(4)]);
    let odd = joined(vec![options(vec![words("CH"), words("GT")]), list(odd_number(90), 3, 5)]);
    let units =
        prop_oneof![2 => Just(Vec::new()), 3 => option(vec![unit()]), 1 => list(unit(), 2, 2)];
    let around = prop_oneof![
        4 => with_tail("ZRANGE", vec![geo_key(), word("0"), word("-1")], words("WITHSCORES")),
        2 => with_tail("ZRANGE", vec![distances(), word("0"), word("-1")], words("WITHSCORES")),
        1 => cmd("DEL", vec![geo_key()]),
        1 => cmd("SET", vec![geo_key(), value()]),
        2 => cmd("ZREM", vec![geo_key(), member()]),
        // Scores that are no place's.
        1 => cmd("ZADD", vec![one_of(&["odd"]), sorted_sets::score(), member()]),
    ];
    let asking = |key: BoxedStrategy<Arg>| {
        prop_oneof![
            with_tail("GEOPOS", vec![key.clone()], list(member(), 0, 3)),
            with_tail("GEOHASH", vec![key.clone()], list(member(), 0, 3)),
        ]
    };
    prop_oneof![
        8 => with_tail("GEOADD", vec![geo_key()], elements(14)),
        6 => with_tail("GEOADD", vec![geo_key()], adding),
        1 => with_tail("GEOADD", vec![geo_key()], odd),
        4 => asking(geo_key()),
        1 => asking(word("odd")),
        3 => with_tail("GEODIST", vec![geo_key(), member(), member()], units.boxed()),
        12 => searching(),
        9 => older_searching(),
        4 => around,
    ]
    .boxed()
}

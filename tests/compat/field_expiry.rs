//! Random commands on fields that expire, compared with the Valkey that `CORELANE_VALKEY` names:
//! redis-server 7 does not know them. Without it these tests do nothing and say so.

use super::hashes::{field, pairs, reads};
use super::run::{Mode, differential_on};
use super::values::*;
use crate::harness::Protocol::{Resp2, Resp3};
use crate::harness::{Cmd, Pair, Protocol, Server};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// FIELDS with a count and as many groups of arguments; now and then something is wrong.
fn fields(each: fn() -> Args) -> Args {
    let count = prop_oneof![
        30 => Just(None),
        1 => one_of(&["0", "-1", "2", "x", "", "99999999999999999999"]).prop_map(Some),
    ];
    let word = prop_oneof![
        12 => spelling("FIELDS"),
        12 => word("FIELDS"),
        1 => one_of(&["FIELD", "", "NX"]),
    ];
    (word, count, proptest::collection::vec(each(), 1..5))
        .prop_map(|(word, count, groups)| {
            let right = groups.len().to_string().into_bytes();
            let mut args = vec![word, count.unwrap_or(right)];
            args.extend(groups.concat());
            args
        })
        .boxed()
}

fn names() -> Args {
    fields(|| option(vec![field()]))
}

fn records() -> Args {
    fields(|| prop_oneof![20 => option(vec![field(), value()]), 1 => option(vec![field()])].boxed())
}

fn condition() -> Args {
    let one = || option(vec![one_of(&["NX", "XX", "GT", "LT", "nx", "gt"])]);
    prop_oneof![
        4 => Just(Vec::new()),
        6 => one(),
        1 => joined(vec![one(), one()]),
        1 => option(vec![one_of(&["foo", ""])]),
    ]
    .boxed()
}

fn expire() -> BoxedStrategy<Cmd> {
    let tail = || joined(vec![condition(), names()]);
    prop_oneof![
        with_tail("HEXPIRE", vec![key(), span(1)], tail()),
        with_tail("HPEXPIRE", vec![key(), span(1000)], tail()),
        with_tail("HEXPIREAT", vec![key(), instant(1)], tail()),
        with_tail("HPEXPIREAT", vec![key(), instant(1000)], tail()),
    ]
    .boxed()
}

fn terms() -> Vec<Args> {
    vec![
        option(vec![spelling("EX"), span(1)]),
        option(vec![spelling("PX"), span(1000)]),
        option(vec![spelling("EXAT"), instant(1)]),
        option(vec![spelling("PXAT"), instant(1000)]),
        option(vec![one_of(&["EX", "foo", "PXAT", "", "PERSIST", "KEEPTTL"])]),
    ]
}

fn getex() -> BoxedStrategy<Cmd> {
    let mut all = terms();
    all.push(option(vec![spelling("PERSIST")]));
    with_tail("HGETEX", vec![key()], joined(vec![options(all), names()]))
}

fn setex() -> BoxedStrategy<Cmd> {
    let mut all = terms();
    all.extend(["KEEPTTL", "NX", "XX", "FNX", "FXX"].map(|word| option(vec![spelling(word)])));
    with_tail("HSETEX", vec![key()], joined(vec![options(all), records()]))
}

pub fn command(mode: Mode) -> BoxedStrategy<Cmd> {
    let expiry = prop_oneof![
        8 => expire(),
        6 => setex(),
        4 => getex(),
        2 => with_tail("HGETDEL", vec![key()], names()),
        3 => with_tail("HPERSIST", vec![key()], names()),
        3 => with_tail("HTTL", vec![key()], names()),
        3 => with_tail("HPTTL", vec![key()], names()),
        2 => with_tail("HEXPIRETIME", vec![key()], names()),
        2 => with_tail("HPEXPIRETIME", vec![key()], names()),
    ];
    let others = prop_oneof![
        6 => with_tail("HSET", vec![key()], pairs(4)),
        1 => cmd("HSETNX", vec![key(), field(), value()]),
        2 => with_tail("HDEL", vec![key()], list(field(), 1, 4)),
        1 => cmd("HINCRBY", vec![key(), field(), integer()]),
        1 => cmd("HINCRBYFLOAT", vec![key(), field(), float()]),
        1 => cmd("HSCAN", vec![key(), word("0"), spelling("NOVALUES")]),
        1 => cmd("COPY", vec![key(), key()]),
        1 => cmd("RENAME", vec![key(), key()]),
        1 => cmd("DEL", vec![key()]),
        // Valkey 9 names the encodings of long strings otherwise.
        1 => cmd("SET", vec![key(), one_of(&["1", "text"])]),
        1 => cmd("EXISTS", vec![key()]),
        1 => cmd("EXPIRE", vec![key(), far(1)]),
        1 => cmd("TTL", vec![key()]),
    ];
    prop_oneof![6 => expiry, 3 => others, 3 => reads(mode)].boxed()
}

fn against_valkey(name: &str, shards: usize, protocol: Protocol) {
    let Some(valkey) = Server::valkey() else {
        eprintln!("{name}: CORELANE_VALKEY names no valkey-server 9, nothing was compared");
        return;
    };
    let pair = Pair::with_oracle(valkey, shards, &[]);
    differential_on(&pair, name, command, protocol, Mode::Stepwise, 2_000);
}

#[test]
fn field_expiry_on_one_shard() {
    against_valkey("field_expiry_on_one_shard", 1, Resp2);
}

#[test]
fn field_expiry_on_three_shards() {
    against_valkey("field_expiry_on_three_shards", 3, Resp3);
}

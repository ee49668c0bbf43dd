//! Random commands that are wrong: unknown names and subcommands, arities, arguments of no kind.

use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Every command that the random tests know, so that each meets every number of arguments.
const KNOWN: &[&str] = &[
    "APPEND",
    "BITCOUNT",
    "BITFIELD",
    "BITFIELD_RO",
    "BITOP",
    "BITPOS",
    "COPY",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "ECHO",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "FLUSHDB",
    "GET",
    "GETBIT",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "KEYS",
    "LCS",
    "MGET",
    "MOVE",
    "MSET",
    "MSETNX",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PFADD",
    "PFCOUNT",
    "PFDEBUG",
    "PFMERGE",
    "PING",
    "PSETEX",
    "PTTL",
    "RANDOMKEY",
    "RENAME",
    "RENAMENX",
    "SADD",
    "SCARD",
    "SDIFF",
    "SDIFFSTORE",
    "SELECT",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SINTER",
    "SINTERCARD",
    "SINTERSTORE",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SMOVE",
    "SREM",
    "STRLEN",
    "SUBSTR",
    "SUNION",
    "SUNIONSTORE",
    "SWAPDB",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
];

/// Commands with subcommands: a wrong one must be refused by the parent's own error.
const PARENTS: &[&str] = &["CLIENT", "OBJECT", "CONFIG", "COMMAND", "DEBUG"];

fn argument() -> BoxedStrategy<Arg> {
    prop_oneof![3 => key(), 2 => value(), 2 => integer(), 1 => float()].boxed()
}

/// Any known command with any number of any arguments.
fn any_arity() -> BoxedStrategy<Cmd> {
    let known: Vec<BoxedStrategy<Arg>> = KNOWN.iter().map(|n| spelling(n)).collect();
    let name = proptest::strategy::Union::new(known);
    (name, proptest::collection::vec(argument(), 0..6))
        .prop_map(|(name, args)| Cmd([vec![name], args].concat()))
        .boxed()
}

fn unknown() -> BoxedStrategy<Cmd> {
    let name = prop_oneof![
        4 => one_of(&["FOO", "GETX", "foo bar", "ge", "SETS", "get\n", "\u{0}", "'quoted'"]),
        1 => Just(b"x".repeat(200)),
        1 => value().prop_filter("not a name", |v| v.len() < 40 && v.iter().all(|b| !b.is_ascii_alphabetic())),
    ];
    (name, proptest::collection::vec(argument(), 0..5))
        .prop_map(|(name, args)| Cmd([vec![name], args].concat()))
        .boxed()
}

fn unknown_subcommand() -> BoxedStrategy<Cmd> {
    let parents: Vec<BoxedStrategy<Arg>> = PARENTS.iter().map(|n| spelling(n)).collect();
    let parent = proptest::strategy::Union::new(parents);
    let sub =
        one_of(&["FOO", "", "foo bar", "GETX", "\u{0}\r\n", "nosuchsubcommandofanyparentatall"]);
    (parent, sub, proptest::collection::vec(argument(), 0..3))
        .prop_map(|(parent, sub, args)| Cmd([vec![parent, sub], args].concat()))
        .boxed()
}

fn bare_parent() -> BoxedStrategy<Cmd> {
    prop_oneof![
        cmd("CLIENT", vec![]),
        cmd("OBJECT", vec![]),
        cmd("CONFIG", vec![]),
        cmd("CONFIG GET", vec![]),
        cmd("CONFIG SET", vec![word("port")]),
        cmd("CONFIG SET", vec![word("nosuchoption"), value()]),
        cmd("CONFIG SET", vec![word("client-query-buffer-limit"), one_of(&["abc", "-1", "1xb"])]),
        cmd("CONFIG RESETSTAT", vec![value()]),
        cmd("COMMAND INFO", vec![one_of(&["nosuch", "", "client|nosuch"])]),
        cmd("COMMAND GETKEYS", vec![]),
        cmd("COMMAND GETKEYS", vec![one_of(&["nosuch", "PING", "GET", "MSET"]), key()]),
        cmd(
            "COMMAND GETKEYS",
            vec![one_of(&["GET", "MSET", "COPY", "BITOP"]), key(), key(), key()]
        ),
        cmd("OBJECT ENCODING", vec![]),
        cmd("OBJECT ENCODING", vec![key(), key()]),
        cmd("CLIENT SETNAME", vec![]),
        cmd("CLIENT GETNAME", vec![value()]),
        cmd("TIME", vec![value()]),
        cmd("LOLWUT", vec![word("VERSION"), word("abc")]),
    ]
    .boxed()
}

pub fn command() -> BoxedStrategy<Cmd> {
    prop_oneof![6 => any_arity(), 2 => unknown(), 2 => unknown_subcommand(), 2 => bare_parent()]
        .boxed()
}

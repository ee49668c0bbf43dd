//! Random rules, and random commands of the users that have them.
//!
//! One connection is now this user and now that one. What a user must not do is refused with the same
//! words, and the log tells the same of it.

use super::run::Mode;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

const HASH: &str = "#ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const NOT_HASH: &str = "!ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn user() -> BoxedStrategy<Arg> {
    one_of(&["ann", "bob"])
}

fn password() -> BoxedStrategy<Arg> {
    one_of(&["abc", "pw", "no"])
}

fn own_key() -> BoxedStrategy<Arg> {
    one_of(&["a1", "a2", "b1", "b2", "c", "d1", "k", "other"])
}

fn channel() -> BoxedStrategy<Arg> {
    one_of(&["news", "ch1", "ch2", "ch*", "n?ws"])
}

/// Not among them: `%` alone, after which redis-server stops when it is asked for the user.
fn rule() -> BoxedStrategy<Arg> {
    prop_oneof![
        4 => one_of(&["on", "off", "ON", "nopass", ">abc", ">pw", "<pw", HASH, NOT_HASH, "resetpass"]),
        4 => one_of(&["+get", "-get", "+SET", "-set", "+mget", "+del", "+eval", "+multi", "+exec"]),
        4 => one_of(&["+@read", "-@read", "+@write", "-@WRITE", "+@all", "-@all", "+@keyspace"]),
        2 => one_of(&["+@fast", "-@slow", "-@dangerous", "+@pubsub", "+@scripting", "+@connection"]),
        2 => one_of(&["allcommands", "nocommands", "+config|get", "-config|GET", "+config"]),
        2 => one_of(&["+select|1", "+get|a1", "+acl|whoami", "-client|id", "+debug|object"]),
        5 => one_of(&["~*", "~a*", "~a?", "%R~b*", "%W~b*", "%RW~c", "%r~c*", "%W~[a-d]*", "%WR~k"]),
        2 => one_of(&["allkeys", "resetkeys", "allchannels", "resetchannels"]),
        3 => one_of(&["&*", "&ch*", "&news", "&n?ws"]),
        2 => one_of(&["(+get ~b*)", "(%R~a* +@read)", "(+set %W~c* +get)", "(&ch* +publish)", "()"]),
        1 => one_of(&["(+mget", "~k)", "(", ")", "clearselectors", "reset", "sanitize-payload"]),
        1 => one_of(&["+nosuch", "-nosuch|x", "+@nosuch", "+config|nosuch", "+config|get|x", "+get|"]),
        1 => one_of(&["%X~a", "%~a", "foo", "", "~a b", "&a\tb", "#12", "!12", "skip-sanitize-payload"]),
    ]
    .boxed()
}

/// Rules with which a user can do something.
fn open() -> Args {
    let some = one_of(&["+@all", "+@read", "+@write", "+@string"]);
    let keys = one_of(&["~*", "~a*", "%R~*", "%W~b*", "(+@all %R~b*)"]);
    joined(vec![option(vec![word("on"), word("nopass"), some, keys]), list(rule(), 0, 3)])
}

fn admin() -> BoxedStrategy<Cmd> {
    let setuser = prop_oneof![
        4 => with_tail("ACL SETUSER", vec![user()], list(rule(), 0, 5)),
        4 => with_tail("ACL SETUSER", vec![user()], open()),
        1 => with_tail("ACL SETUSER", vec![one_of(&["a b", "tmp"])], list(rule(), 0, 2)),
    ];
    prop_oneof![
        8 => setuser,
        3 => cmd("ACL GETUSER", vec![one_of(&["ann", "bob", "tmp", "nobody"])]),
        2 => cmd("ACL LIST", vec![]),
        1 => cmd("ACL USERS", vec![]),
        2 => cmd("ACL WHOAMI", vec![]),
        3 => with_tail("ACL LOG", vec![], list(one_of(&["1", "3", "0", "-1", "x"]), 0, 1)),
        1 => cmd("ACL LOG", vec![word("RESET")]),
        1 => cmd("ACL DELUSER", vec![one_of(&["tmp", "nobody", "default"])]),
        1 => cmd("ACL CAT", vec![one_of(&["nosuch", ""])]),
        1 => cmd("ACL GENPASS", vec![one_of(&["0", "-1", "4097", "x"])]),
        1 => with_tail("ACL GENPASS", vec![word("1")], list(word("1"), 1, 1)),
        1 => cmd("ACL SAVE", vec![]),
        1 => cmd("ACL LOAD", vec![]),
    ]
    .boxed()
}

fn login() -> BoxedStrategy<Cmd> {
    prop_oneof![
        4 => cmd("AUTH", vec![user(), password()]),
        3 => cmd("AUTH", vec![word("default"), word("x")]),
        1 => cmd("AUTH", vec![one_of(&["nobody", "tmp"]), password()]),
        1 => cmd("HELLO", vec![word("2"), word("AUTH"), user(), password()]),
        1 => cmd("RESET", vec![]),
    ]
    .boxed()
}

/// What users ask for: commands of all kinds of rights.
fn asked() -> BoxedStrategy<Vec<Arg>> {
    let key = own_key;
    let words = |name: &'static str, args: Vec<BoxedStrategy<Arg>>| -> Args {
        let mut all: Vec<BoxedStrategy<Arg>> = name.split(' ').map(word).collect();
        all.extend(args);
        all.boxed()
    };
    prop_oneof![
        4 => words("GET", vec![key()]),
        4 => words("SET", vec![key(), one_of(&["1", "x"])]),
        2 => words("SET", vec![key(), word("2"), one_of(&["GET", "NX", "EX"])]),
        2 => words("MGET", vec![key(), key()]),
        2 => words("MSET", vec![key(), word("1"), key(), word("2")]),
        2 => words("DEL", vec![key(), key()]),
        1 => words("EXISTS", vec![key(), key()]),
        1 => words("TYPE", vec![key()]),
        2 => words("COPY", vec![key(), key()]),
        2 => words("RENAME", vec![key(), key()]),
        1 => words("GETDEL", vec![key()]),
        1 => words("APPEND", vec![key(), word("x")]),
        1 => words("BITFIELD", vec![key(), one_of(&["GET", "SET"]), word("u8"), word("0")]),
        1 => words("BITOP AND", vec![key(), key(), key()]),
        2 => words("RPUSH", vec![key(), one_of(&["1", "2"])]),
        1 => words("LMOVE", vec![key(), key(), word("LEFT"), word("RIGHT")]),
        2 => words("SORT", vec![key(), one_of(&["BY", "GET", "STORE"]), one_of(&["a1", "b*", "nosort"])]),
        1 => words("SORT_RO", vec![key(), word("GET"), one_of(&["#", "b*"])]),
        1 => words("SUNIONSTORE", vec![key(), key(), key()]),
        1 => words("ZUNIONSTORE", vec![key(), one_of(&["1", "2", "9"]), key(), key()]),
        1 => words("XREAD STREAMS", vec![key(), key(), word("0"), word("0")]),
        1 => words("OBJECT", vec![one_of(&["ENCODING", "encoding"]), key()]),
        2 => words("PUBLISH", vec![channel(), word("m")]),
        1 => words("SPUBLISH", vec![channel(), word("m")]),
        1 => words("SELECT", vec![one_of(&["0", "1"])]),
        1 => words("PING", vec![]),
        1 => words("DBSIZE", vec![]),
        1 => words("CONFIG GET", vec![one_of(&["port*x", "nosuch"])]),
        1 => words("CLIENT", vec![one_of(&["GETNAME", "getname"])]),
        1 => words("DEBUG", vec![word("OBJECT"), word("nosuch")]),
        1 => words("CONFIG", vec![word("nosuch")]),
        1 => words("nosuch", vec![key()]),
        1 => words("GET", vec![key(), key()]),
        2 => words("EVAL", vec![word("return redis.call('get', KEYS[1])"), word("1"), key()]),
        2 => words("EVAL", vec![
            word("return redis.pcall(ARGV[1], ARGV[2])"),
            word("0"),
            one_of(&["get", "incr", "del", "publish", "type"]),
            key(),
        ]),
        1 => words("EVAL", vec![
            word("return redis.acl_check_cmd(unpack(ARGV))"),
            word("0"),
            one_of(&["get", "set", "nosuch"]),
            key(),
            word("1"),
        ]),
        1 => words("EVAL_RO", vec![word("return redis.call('get', KEYS[1])"), word("1"), key()]),
    ]
    .boxed()
}

fn listened() -> BoxedStrategy<Vec<Arg>> {
    let name = one_of(&["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE"]);
    joined(vec![option(vec![name]), list(channel(), 1, 2)])
}

fn dryrun() -> BoxedStrategy<Cmd> {
    let user = || one_of(&["ann", "bob", "ann", "bob", "nobody"]);
    prop_oneof![
        4 => with_tail("ACL DRYRUN", vec![user()], asked()),
        2 => with_tail("ACL DRYRUN", vec![user()], listened()),
        1 => cmd("ACL DRYRUN", vec![user(), one_of(&["config", "get", "debug", "acl"])]),
    ]
    .boxed()
}

fn command() -> BoxedStrategy<Cmd> {
    prop_oneof![
        6 => admin(),
        5 => login(),
        16 => asked().prop_map(Cmd),
        4 => dryrun(),
        2 => cmd("MULTI", vec![]),
        2 => cmd("EXEC", vec![]),
        1 => cmd("DISCARD", vec![]),
    ]
    .boxed()
}

/// Programs that begin with the same two users.
///
/// Between MULTI and EXEC nobody asks for what is compared by more than equality. In a pipeline the log is not
/// read: what a shard has denied to a script is in it before the reply, and what comes behind may be before that.
pub fn programs(mode: Mode) -> BoxedStrategy<Vec<Cmd>> {
    let line = |line: &str| crate::harness::parse_line(line);
    proptest::collection::vec(command(), 1..50)
        .prop_map(move |commands| {
            let mut program: Vec<Cmd> = BEGIN.iter().map(|begin| line(begin)).collect();
            let mut in_block = false;
            for command in commands {
                in_block = match command.name().as_str() {
                    "MULTI" => true,
                    "EXEC" | "DISCARD" | "RESET" => false,
                    _ => in_block,
                };
                let name = (command.name(), command.upper(1));
                program.push(match (name.0.as_str(), name.1.as_str()) {
                    ("HELLO", _) if in_block => line("AUTH default x"),
                    ("ACL", "LOG") if mode == Mode::Pipelined => line("ACL USERS"),
                    ("ACL", "LOG" | "LIST" | "GETUSER") if in_block => line("ACL WHOAMI"),
                    ("OBJECT", _) if in_block => line("PING"),
                    ("ACL", "SETUSER") => opened_once(command),
                    _ => command,
                });
            }
            program
        })
        .boxed()
}

/// Redis 7.0 forgot what stood in a parenthesis when another one opened in it.
fn opened_once(Cmd(mut words): Cmd) -> Cmd {
    let mut opened = 0;
    words.retain(|word| {
        opened += usize::from(word.starts_with(b"(") && !word.ends_with(b")"));
        opened < 2 || !word.starts_with(b"(") || word.ends_with(b")")
    });
    Cmd(words)
}

const BEGIN: [&str; 6] = [
    "ACL DELUSER ann bob tmp",
    "ACL LOG RESET",
    "ACL SETUSER ann on nopass ~a* +@all -@dangerous +acl|whoami",
    "ACL SETUSER bob on >pw %R~* +@read +@write +eval",
    "SET a1 1",
    "SET b1 2",
];

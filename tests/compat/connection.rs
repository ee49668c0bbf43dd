//! Random commands on the connection itself.

use super::run::Mode;
use super::values::*;
use crate::harness::Cmd;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

fn name() -> BoxedStrategy<Arg> {
    prop_oneof![
        6 => one_of(&["alice", "bob", "", "conn-1"]),
        1 => one_of(&["with space", "line\nbreak", "\u{7f}", "ümlaut"]),
        1 => value(),
    ]
    .boxed()
}

fn hello() -> BoxedStrategy<Cmd> {
    let version =
        prop_oneof![6 => one_of(&["2", "3"]), 1 => one_of(&["1", "4", "abc", "", "-1", "03"])];
    let auth = || {
        let user = one_of(&["default", "nobody"]);
        option(vec![spelling("AUTH"), user, one_of(&["", "secret"])])
    };
    let setname = || option(vec![spelling("SETNAME"), name()]);
    // Before 7.2 a name was set even when what followed it was refused: the name comes last.
    let tail = prop_oneof![
        3 => Just(Vec::new()),
        2 => setname(),
        2 => auth(),
        1 => joined(vec![auth(), option(vec![spelling("SETNAME"), one_of(&["alice", ""])])]),
        1 => option(vec![one_of(&["SETNAME", "AUTH", "foo"])]),
    ];
    prop_oneof![
        4 => with_tail("HELLO", vec![version.boxed()], tail.boxed()),
        1 => cmd("HELLO", vec![]),
    ]
    .boxed()
}

fn client() -> BoxedStrategy<Cmd> {
    let switch =
        || prop_oneof![4 => one_of(&["ON", "OFF", "on"]), 1 => one_of(&["", "maybe"])].boxed();
    let attribute = prop_oneof![6 => one_of(&["LIB-NAME", "lib-ver"]), 1 => one_of(&["LIB", ""])];
    prop_oneof![
        4 => cmd("CLIENT SETNAME", vec![name()]),
        4 => cmd("CLIENT GETNAME", vec![]),
        2 => cmd("CLIENT ID", vec![]),
        3 => cmd("CLIENT SETINFO", vec![attribute.boxed(), name()]),
        2 => cmd("CLIENT NO-EVICT", vec![switch()]),
        1 => cmd("CLIENT NO-TOUCH", vec![switch()]),
        1 => cmd("CLIENT REPLY", vec![one_of(&["ON", "foo", ""])]),
        1 => cmd("CLIENT KILL", vec![one_of(&["127.0.0.1:1", "abc", ""])]),
        1 => cmd("CLIENT KILL", vec![word("ID"), one_of(&["0", "abc", "-1", "999999999"])]),
        1 => cmd("CLIENT LIST", vec![one_of(&["foo", "TYPE", "ID"])]),
        1 => cmd("CLIENT LIST", vec![word("TYPE"), one_of(&["pubsub", "replica", "foo"])]),
    ]
    .boxed()
}

pub fn command(mode: Mode) -> BoxedStrategy<Cmd> {
    let texts = prop_oneof![
        3 => cmd("PING", vec![]),
        2 => cmd("PING", vec![value()]),
        3 => cmd("ECHO", vec![value()]),
    ];
    let auth = with_tail("AUTH", vec![], list(one_of(&["default", "", "secret"]), 0, 3));
    let session = prop_oneof![
        4 => hello(),
        1 => cmd("RESET", vec![]),
        1 => auth,
        2 => cmd("SELECT", vec![one_of(&["0", "1", "16", "x"])]),
        2 => cmd("SET", vec![key(), value()]),
        2 => cmd("MGET", vec![key(), key()]),
    ];
    let _ = mode;
    prop_oneof![3 => texts, 3 => session, 6 => client()].boxed()
}

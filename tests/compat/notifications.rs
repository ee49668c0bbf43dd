//! What listeners hear of the keyspace while random programs of all families run.
//!
//! Each program runs on both servers, command by command; then the messages of a client that listens
//! to all keyspace events are compared: on one shard as one sequence, on several for each key, since
//! there is no order among keys of different shards.
//!
//! Programs have blocks between MULTI and EXEC, and keys whose time is over when they are met.
//! Left out is what the two servers may do differently by right: choosing members at random, and
//! walking. Older than 7.2, redis-server makes a consumer when it has something to give
//! to it, so what is told of consumers is left out as well.

use super::run::{Mode, rng};
use super::values::*;
use super::{bitmaps, dumps, field_expiry, geo, hashes, hyperloglog, lists, sets};
use super::{sorted_sets, streams, strings};
use crate::harness::compare::OracleAge;
use crate::harness::events::{self, Listener, Message};
use crate::harness::pair::{Difference, report};
use crate::harness::{Cmd, Pair, Server, cases, seed};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use std::cell::{Cell, RefCell};

const CLASSES: &[&str] = &["--notify-keyspace-events", "KEAnm"];

fn words(words: &[&[u8]]) -> Cmd {
    Cmd(words.iter().map(|word| word.to_vec()).collect())
}

/// Keys whatever they hold, and whole databases.
fn generic() -> BoxedStrategy<Cmd> {
    let database = || one_of(&["0", "0", "1", "2"]);
    prop_oneof![
        3 => with_tail("EXISTS", vec![], list(key(), 1, 5)),
        2 => with_tail("TOUCH", vec![], list(key(), 1, 5)),
        2 => cmd("TYPE", vec![key()]),
        2 => cmd("TTL", vec![key()]),
        1 => cmd("OBJECT ENCODING", vec![key()]),
        1 => cmd("DUMP", vec![key()]),
        3 => with_tail("DEL", vec![], list(key(), 1, 4)),
        2 => with_tail("UNLINK", vec![], list(key(), 1, 4)),
        4 => cmd("PEXPIRE", vec![key(), span(1000)]),
        2 => cmd("EXPIREAT", vec![key(), instant(1)]),
        2 => cmd("PERSIST", vec![key()]),
        4 => cmd("RENAME", vec![key(), key()]),
        3 => cmd("RENAMENX", vec![key(), key()]),
        2 => cmd("COPY", vec![key(), key()]),
        2 => cmd("COPY", vec![key(), key(), word("REPLACE")]),
        2 => cmd("COPY", vec![key(), key(), word("DB"), database()]),
        3 => cmd("MOVE", vec![key(), database()]),
        2 => cmd("SELECT", vec![database()]),
        1 => cmd("SWAPDB", vec![database(), database()]),
        1 => cmd("FLUSHDB", vec![]),
    ]
    .boxed()
}

/// All families, without what is up to chance.
fn command() -> BoxedStrategy<Cmd> {
    let mode = Mode::Stepwise;
    prop_oneof![
        8 => strings::command(),
        3 => bitmaps::command(),
        8 => lists::command(),
        2 => lists::sort(),
        6 => sorted_sets::command(mode),
        2 => geo::command(mode),
        6 => sets::command(mode),
        2 => hyperloglog::command(),
        6 => hashes::command(mode),
        3 => dumps::command(),
        10 => streams::command(),
        8 => generic(),
    ]
    .prop_map(comparable)
    .boxed()
}

/// Something else in the place of what redis-server 7.0 does otherwise, or by chance.
fn comparable(cmd: Cmd) -> Cmd {
    match cmd.name().as_str() {
        "SPOP" if cmd.0.len() > 1 => words(&[b"SPOP", &cmd.0[1], b"10000"]),
        "SCAN" | "KEYS" | "RANDOMKEY" => words(&[b"PING"]),
        // Scores beside ranks came with 7.2.
        "ZRANK" | "ZREVRANK" if cmd.0.len() > 3 => words(&[b"PING"]),
        // The last entry as an id came with 7.4.
        "XREAD" if cmd.0.iter().any(|word| word == b"+") => words(&[b"PING"]),
        _ => cmd,
    }
}

fn of_streams() -> BoxedStrategy<Vec<Cmd>> {
    let all = |program: Vec<Cmd>| program.into_iter().map(comparable).collect();
    streams::programs().prop_map(all).boxed()
}

/// A key whose time is over, which nobody has noticed.
fn past() -> BoxedStrategy<Vec<Cmd>> {
    key()
        .prop_map(|key| {
            vec![words(&[b"PEXPIRE", &key, b"1"]), words(&[b"DEBUG", b"SLEEP", b"0.003"])]
        })
        .boxed()
}

fn block(command: BoxedStrategy<Cmd>) -> BoxedStrategy<Vec<Cmd>> {
    proptest::collection::vec(command, 1..6)
        .prop_map(|mut block| {
            block.insert(0, words(&[b"MULTI"]));
            block.push(words(&[b"EXEC"]));
            block
        })
        .boxed()
}

fn programs(command: fn() -> BoxedStrategy<Cmd>) -> BoxedStrategy<Vec<Cmd>> {
    let step = prop_oneof![
        30 => command().prop_map(|command| vec![command]),
        3 => block(command()),
        1 => past(),
    ];
    proptest::collection::vec(step, 1..40).prop_map(|steps| steps.concat()).boxed()
}

/// What is heard while a program runs.
fn heard(server: &Server, program: &[Cmd]) -> Vec<Message> {
    let mut client = server.client();
    assert_eq!(client.run("FLUSHALL").text(), "OK");
    let mut listener = Listener::new(server);
    for command in program {
        client.call(command);
    }
    listener.heard()
}

fn is_of_consumers(message: &Message) -> bool {
    message.event().1.ends_with(b"consumer")
}

fn check(pair: &Pair, program: &[Cmd]) -> Result<(), Difference> {
    let (mut redis, mut ours) = (heard(&pair.redis, program), heard(&pair.corelane, program));
    if pair.age == OracleAge::Older {
        redis.retain(|message| !is_of_consumers(message));
        ours.retain(|message| !is_of_consumers(message));
    }
    let Some(why) = events::difference(&redis, &ours, pair.shards == 1) else { return Ok(()) };
    let (redis, corelane) = (format!("{redis:#?}"), format!("{ours:#?}"));
    Err(Difference { step: program.len(), redis, corelane, why })
}

fn compare(name: &str, pair: &Pair, programs: BoxedStrategy<Vec<Cmd>>, count: u32) {
    for server in [&pair.redis, &pair.corelane] {
        assert_eq!(server.client().run("DEBUG SET-ACTIVE-EXPIRE 0").text(), "OK");
    }
    let config = Config {
        cases: cases(count),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let (commands, last) = (Cell::new(0), RefCell::new(String::new()));
    let verdict = TestRunner::new_with_rng(config, rng(name)).run(&programs, |program| {
        commands.set(commands.get() + program.len());
        // A key with a millisecond to live has it or has it not, as fast as the server is at the time.
        let differs = check(pair, &program).or_else(|_| check(pair, &program));
        differs.map_err(|d| {
            *last.borrow_mut() = report(&program, &d, pair.shards);
            TestCaseError::fail(d.why)
        })
    });
    match verdict {
        Ok(()) => println!("{name}: {} commands without a difference", commands.get()),
        Err(TestError::Fail(_, program)) => {
            let text = match check(pair, &program) {
                Err(d) => report(&program, &d, pair.shards),
                Ok(()) => format!("\n--- differs only at times, the last time so:{}", last.take()),
            };
            panic!("{name}, CORELANE_SEED={}{text}", seed());
        }
        Err(TestError::Abort(why)) => panic!("{name}: {why}"),
    }
}

#[test]
fn events_on_one_shard() {
    let pair = Pair::start(1, CLASSES);
    compare("events_on_one_shard", &pair, programs(command), 1_000);
}

#[test]
fn events_on_three_shards() {
    let pair = Pair::start(3, CLASSES);
    compare("events_on_three_shards", &pair, programs(command), 1_000);
}

#[test]
fn events_of_streams_on_one_shard() {
    let pair = Pair::start(1, CLASSES);
    compare("events_of_streams", &pair, of_streams(), 500);
}

#[test]
fn events_of_streams_on_three_shards() {
    let pair = Pair::start(3, CLASSES);
    compare("events_of_streams_3", &pair, of_streams(), 500);
}

/// Against the Valkey that `CORELANE_VALKEY` names: redis-server 7 has no fields that expire.
fn compare_fields(name: &str, shards: usize) {
    let Some(valkey) = Server::valkey() else {
        eprintln!("{name}: CORELANE_VALKEY names no valkey-server 9, nothing was compared");
        return;
    };
    let pair = Pair::with_oracle(valkey, shards, CLASSES);
    let set = pair.redis.client().run("CONFIG SET notify-keyspace-events KEAnm");
    assert_eq!(set.text(), "OK");
    compare(name, &pair, programs(|| field_expiry::command(Mode::Stepwise)), 1_000);
}

#[test]
fn events_of_fields_on_one_shard() {
    compare_fields("events_of_fields", 1);
}

#[test]
fn events_of_fields_on_three_shards() {
    compare_fields("events_of_fields_3", 3);
}

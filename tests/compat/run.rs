//! Runs a strategy's programs on a pair of servers and reports the smallest that differs.

use crate::harness::pair::{Difference, Pair, report};
use crate::harness::{Cmd, Protocol, cases, seed};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::{Cell, RefCell};

/// How a program reaches the servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A command after the reply of the one before.
    Stepwise,
    /// All at once, cut into pieces at random bytes.
    Pipelined,
    /// Each from a Lua script that was not told of its keys.
    Scripted,
}

impl Mode {
    /// For which of the other two ways programs are made.
    fn of_programs(self) -> Mode {
        if self == Mode::Scripted { Mode::Stepwise } else { self }
    }
}

/// What scripts may use, or get another error for, since Redis 7.2.
const LATER: [&str; 11] = [
    "ZRANK",
    "ZREVRANK",
    "CLIENT",
    "BLPOP",
    "BRPOP",
    "BLMOVE",
    "BLMPOP",
    "BRPOPLPUSH",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
];

/// Commands in one program.
const PROGRAM_MAX: usize = 40;

/// Compares the two servers on `count` random programs; panics with the smallest difference.
pub fn differential(
    name: &str,
    commands: impl Fn(Mode) -> BoxedStrategy<Cmd>,
    shards: usize,
    protocol: Protocol,
    mode: Mode,
    count: u32,
) {
    differential_with(&[], name, commands, shards, protocol, mode, count);
}

/// As [`differential`], on servers that are given these options.
pub fn differential_with(
    args: &[&str],
    name: &str,
    commands: impl Fn(Mode) -> BoxedStrategy<Cmd>,
    shards: usize,
    protocol: Protocol,
    mode: Mode,
    count: u32,
) {
    let mut command = commands(mode.of_programs());
    if mode == Mode::Scripted {
        // Redis 7.0 did not let scripts use some, and did not know others.
        let why = "a command that scripts may use";
        command = command.prop_filter(why, |cmd| !LATER.contains(&&cmd.name()[..])).boxed();
    }
    let programs = proptest::collection::vec(command, 1..PROGRAM_MAX).boxed();
    differential_programs(args, name, programs, shards, protocol, mode, count);
}

/// As [`differential`], on a pair that runs already.
pub fn differential_on(
    pair: &Pair,
    name: &str,
    commands: impl Fn(Mode) -> BoxedStrategy<Cmd>,
    protocol: Protocol,
    mode: Mode,
    count: u32,
) {
    let programs = proptest::collection::vec(commands(mode.of_programs()), 1..PROGRAM_MAX).boxed();
    compare_programs(pair, name, programs, protocol, mode, count);
}

/// As [`differential_with`], of whole programs.
#[allow(clippy::too_many_arguments)]
pub fn differential_programs(
    args: &[&str],
    name: &str,
    programs: BoxedStrategy<Vec<Cmd>>,
    shards: usize,
    protocol: Protocol,
    mode: Mode,
    count: u32,
) {
    compare_programs(&Pair::start(shards, args), name, programs, protocol, mode, count);
}

fn compare_programs(
    pair: &Pair,
    name: &str,
    programs: BoxedStrategy<Vec<Cmd>>,
    protocol: Protocol,
    mode: Mode,
    count: u32,
) {
    // A key that has expired goes when it is met, not at a moment of the server's own.
    for server in [&pair.redis, &pair.corelane] {
        assert_eq!(server.client().run("DEBUG SET-ACTIVE-EXPIRE 0").text(), "OK");
    }
    let config = Config {
        cases: cases(count),
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng(name));
    let cuts = match mode {
        Mode::Stepwise | Mode::Scripted => proptest::collection::vec(any::<usize>(), 0..1).boxed(),
        Mode::Pipelined => proptest::collection::vec(any::<usize>(), 0..6).boxed(),
    };
    let last = RefCell::new(String::new());
    let commands = Cell::new(0);
    let verdict = runner.run(&(programs, cuts), |(program, cuts)| {
        commands.set(commands.get() + program.len());
        run(pair, protocol, mode, &program, &cuts).map_err(|d| {
            *last.borrow_mut() = report(&program, &d, pair.shards);
            TestCaseError::fail(format!("{} {d:?}", d.why))
        })
    });
    match verdict {
        Ok(()) => println!("{name}: {} commands without a difference", commands.get()),
        Err(TestError::Fail(_, (program, cuts))) => {
            // Once more, for the whole difference of the smallest program.
            let text = match run(pair, protocol, mode, &program, &cuts) {
                Err(d) => report(&program, &d, pair.shards),
                Ok(()) => format!("\n--- differs only at times, the last time so:{}", last.take()),
            };
            panic!(
                "{name}, {protocol:?}, {mode:?}, cut at {cuts:?}, CORELANE_SEED={}{text}",
                seed()
            );
        }
        Err(TestError::Abort(why)) => panic!("{name}: {why}"),
    }
}

fn run(
    pair: &Pair,
    protocol: Protocol,
    mode: Mode,
    program: &[Cmd],
    cuts: &[usize],
) -> Result<(), Difference> {
    let mut both = pair.connect(protocol);
    match mode {
        Mode::Stepwise => both.sequence(program),
        Mode::Scripted => {
            let script = match protocol {
                Protocol::Resp2 => "return redis.pcall(unpack(ARGV))",
                Protocol::Resp3 => "redis.setresp(3); return redis.pcall(unpack(ARGV))",
            };
            both.redis.script = Some(script);
            both.corelane.script = Some(script);
            both.sequence(program)
        }
        Mode::Pipelined => both.pipelined(program, cuts),
    }
}

/// A generator from the test's name and `CORELANE_SEED`.
pub fn rng(name: &str) -> TestRng {
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    for (i, b) in name.bytes().enumerate() {
        bytes[8 + i % 24] = bytes[8 + i % 24].rotate_left(3) ^ b;
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

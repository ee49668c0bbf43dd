//! Effects of commands whose keys belong to several shards: each part, run by its own shard, leaves
//! what the whole command has left.

use super::mortal::Maker;
use super::rig::Rig;
use super::state::{State, differences, state};
use super::{PROGRAM_LEN, Step, mortal_program, programs_of, registry, shrunk_by};
use crate::compat::any_command;
use crate::compat::run::{Mode, rng};
use crate::harness::{Cmd, cases, parse_line, seed};
use corelane::command::Registry;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

const SHARDS: usize = 3;

/// What the server has each shard do for itself.
fn is_of_every_shard(cmd: &Cmd) -> bool {
    matches!(cmd.name().as_str(), "FLUSHALL" | "FLUSHDB" | "SWAPDB")
}

/// Runs a program, each command as a transaction of its own; answers what each shard has recorded.
pub fn perform_in_units(rig: &mut Rig, program: &[Step], shards: usize) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new(); shards];
    for (pause, cycle, cmd) in program.iter().filter(|(.., cmd)| !is_of_every_shard(cmd)) {
        rig.now += pause;
        rig.shard.keyspace.recorder.effects.begin_unit();
        if *cycle {
            rig.shard.expire_cycle(rig.now, &mut || false);
        }
        rig.run(cmd);
        for (owner, bytes) in rig.shard.keyspace.recorder.effects.end_unit() {
            parts[owner].extend(bytes);
        }
    }
    parts
}

fn failure(registry: &Arc<Registry>, program: &[Step]) -> Option<String> {
    let mut rig = Rig::recording(registry, 11, SHARDS);
    let mut owners: Vec<Rig> = (0..SHARDS).map(|n| Rig::replaying(registry, n as u64)).collect();
    let parts = perform_in_units(&mut rig, program, SHARDS);
    let mut log = Vec::new();
    for (owner, bytes) in parts.iter().enumerate() {
        log.extend(super::commands(bytes).iter().map(|effect| format!("{owner}: {effect:?}")));
        owners[owner].replay(bytes);
    }
    assert!(rig.recorded().is_empty(), "all was in units");
    rig.shard.keyspace.recorder.effects.begin_unit();
    let expected = state(&mut rig, true);
    let mut found = State::new();
    for owner in &mut owners {
        owner.now = rig.now;
        for (key, value) in state(owner, true) {
            assert!(found.insert(key.clone(), value).is_none(), "two shards have {key:?}");
        }
    }
    let differences = differences(&expected, &found);
    let text = || format!("{}\nrecorded:\n{}", differences.join("\n"), log.join("\n"));
    (!differences.is_empty()).then(text)
}

fn check(registry: &Arc<Registry>, program: Vec<Step>) {
    if failure(registry, &program).is_some() {
        let program = shrunk_by(program, |less| failure(registry, less).is_some());
        let lines: Vec<String> = program.iter().map(|step| format!("{step:?}")).collect();
        let why = failure(registry, &program).unwrap_or_default();
        panic!("CORELANE_SEED={}:\n{}\n{why}", seed(), lines.join("\n"));
    }
}

#[test]
fn what_passes_away_on_several_shards() {
    let registry = registry();
    let mut maker = Maker::new(5, true);
    for _ in 0..cases(1000) {
        check(&registry, mortal_program(&mut maker, PROGRAM_LEN));
    }
}

/// Keys that lie on the shards 2, 0 and 1 of three: a, b, c. Effects are told with their shard.
const TABLE: &str = "
MSET a 1 b 2 -> 2: SET a 1 | 0: SET b 2
MSETNX a 1 c 2 -> 2: SET a 1 | 1: SET c 2
RPUSH a x y; LMOVE a b RIGHT LEFT -> 2: RPOP a | 0: LPUSH b y
RPUSH a x y; RPOPLPUSH a b -> 2: RPOP a | 0: LPUSH b y
RPUSH a x; BLMOVE a b LEFT RIGHT 0 -> 2: LPOP a | 0: RPUSH b x
RPUSH a x; BRPOPLPUSH a a 0 -> 2: RPOPLPUSH a a
RPUSH b x; BLPOP a b 0 -> 0: LPOP b
SADD a x y; SMOVE a b x -> 2: SREM a x | 0: SADD b x
SET a 1; SET b 1; DEL a b c -> 2: DEL a | 0: DEL b | 1: DEL c
SET a 1; RENAME a b -> 2: DEL a | 0: RESTORE b 0 PAYLOAD REPLACE ABSTTL
SET a 1; COPY a b DB 1 -> 0: SELECT 1 | 0: RESTORE b 0 PAYLOAD REPLACE ABSTTL | 0: SELECT 0
SADD a x; SADD b x; SINTERSTORE c a b -> 1: RESTORE c 0 PAYLOAD REPLACE ABSTTL
SADD a x; SINTERSTORE {a}1 a a -> 2: SINTERSTORE {a}1 a a
SET c 1; SADD a x; SINTERSTORE c a b -> 1: DEL c
RPUSH a 2 1; SORT a STORE b -> 0: DEL b | 0: RPUSH b 1 2
SET a 1 PX 5; WAIT; MSET a 2 b 3 -> 2: DEL a | 2: SET a 2 | 0: SET b 3
";

#[test]
fn keys_of_several_shards_have_effects_of_their_own() {
    let registry = registry();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let (run, expected) = line.split_once(" -> ").expect("an arrow");
        let mut rig = Rig::recording(&registry, 1, SHARDS);
        let mut unit = Vec::new();
        for text in run.split("; ") {
            if text == "WAIT" {
                rig.now += 10;
                continue;
            }
            rig.shard.keyspace.recorder.effects.begin_unit();
            let reply = rig.run(&parse_line(text)).expect("an answer");
            assert!(!reply.is_error(), "{text}: {reply:?}");
            unit = rig.shard.keyspace.recorder.effects.end_unit();
        }
        let mut found = Vec::new();
        for (owner, bytes) in unit {
            for mut cmd in super::commands(&bytes) {
                if cmd.name() == "RESTORE" {
                    cmd.0[3] = b"PAYLOAD".to_vec();
                }
                if !["MULTI", "EXEC"].contains(&&*cmd.name()) {
                    found.push(format!("{owner}: {cmd:?}"));
                }
            }
        }
        assert_eq!(found.join(" | "), expected, "{run}");
    }
}

#[test]
fn all_families_on_several_shards() {
    let (registry, mut maker) = (registry(), Maker::new(6, false));
    let programs = programs_of(any_command(Mode::Stepwise));
    let mut runner = TestRunner::new_with_rng(Config::default(), rng("on several shards"));
    for _ in 0..cases(1000) {
        let program = programs.new_tree(&mut runner).expect("a program").current();
        let step = |cmd| (maker.pause(), maker.rng.below(10) == 0, cmd);
        check(&registry, program.into_iter().map(step).collect());
    }
}

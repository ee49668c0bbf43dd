//! Effects of commands whose keys belong to several shards: each part, run by its own shard, leaves
//! what the whole command has left.

use super::mortal::Maker;
use super::rig::Rig;
use super::state::{State, differences, state};
use super::{PROGRAM_LEN, Step, mortal_program, programs_of, registry, shrunk_by};
use crate::compat::any_command;
use crate::compat::run::{Mode, rng};
use crate::harness::{Cmd, cases, seed};
use corelane::command::Registry;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

const SHARDS: usize = 3;

/// What the server has each shard do for itself.
fn is_of_every_shard(cmd: &Cmd) -> bool {
    matches!(cmd.name().as_str(), "FLUSHALL" | "FLUSHDB" | "SWAPDB")
}

fn failure(registry: &Arc<Registry>, program: &[Step]) -> Option<String> {
    let mut rig = Rig::recording(registry, 11, SHARDS);
    let mut owners: Vec<Rig> = (0..SHARDS).map(|n| Rig::replaying(registry, n as u64)).collect();
    let mut log = Vec::new();
    for (pause, cycle, cmd) in program {
        rig.now += pause;
        rig.shard.keyspace.recorder.effects.begin_unit();
        if *cycle {
            rig.shard.expire_cycle(rig.now, &mut || false);
        }
        rig.run(cmd);
        for (owner, bytes) in rig.shard.keyspace.recorder.effects.end_unit() {
            log.extend(super::commands(&bytes).iter().map(|effect| format!("{owner}: {effect:?}")));
            owners[owner].replay(&bytes);
        }
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

fn check(registry: &Arc<Registry>, mut program: Vec<Step>) {
    program.retain(|(_, _, cmd)| !is_of_every_shard(cmd));
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

//! What commands record, run again: by a shard of ours, and by servers of the Redis family.
//!
//! ```text
//!   random program ─> recording shard ─┬─> what there is      ─┐
//!     (time passes)                    │                       ├─ the same
//!                                      └─> effects ─> replay ──┘
//! ```

mod mortal;
mod redis;
mod rig;
mod shards;
mod state;
mod table;

use super::run::{Mode, rng};
use super::{any_command, dumps, field_expiry, streams};
use crate::harness::{Cmd, cases, seed};
use corelane::command::{Command, Registry, Run, WRITE};
use mortal::Maker;
use proptest::prelude::*;
use proptest::strategy::{BoxedStrategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use rig::{Rig, commands};
use state::{differences, state};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A command, the time that passes before it, and whether expired keys are looked for then.
type Step = (i64, bool, Cmd);

fn registry() -> Arc<Registry> {
    Arc::new(Registry::new(&[]).expect("the table of commands is right"))
}

/// Runs a program as clients would; answers what was recorded.
fn perform(rig: &mut Rig, program: &[Step]) -> Vec<u8> {
    let mut recorded = Vec::new();
    for (pause, cycle, cmd) in program {
        rig.now += pause;
        if *cycle {
            rig.shard.expire_cycle(rig.now, &mut || false);
            recorded.extend(rig.recorded());
        }
        let changes = rig.shard.stats.changes.get();
        rig.run(cmd);
        let effects = rig.recorded();
        if rig.shard.stats.changes.get() == changes {
            check_unchanged(cmd, &effects);
        }
        recorded.extend(effects);
    }
    recorded
}

/// What has changed nothing has at most met what had expired. Flushing is always recorded, and that
/// BITFIELD has a string grow counts as no change.
fn check_unchanged(cmd: &Cmd, effects: &[u8]) {
    const MAY: [&str; 6] = ["DEL", "HDEL", "SELECT", "FLUSHDB", "FLUSHALL", "BITFIELD"];
    let effects = commands(effects);
    let may = effects.iter().all(|effect| MAY.contains(&&*effect.name()));
    assert!(may, "{cmd:?} has changed nothing, but there is {effects:?}");
}

/// The differences between what a program leaves and what its effects leave.
fn replayed(registry: &Arc<Registry>, program: &[Step]) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut rig = Rig::recording(registry, 11, 1);
        let recorded = perform(&mut rig, program);
        let mut again = Rig::replaying(registry, 99);
        again.replay(&recorded);
        let expected = state(&mut rig, true);
        again.now = rig.now;
        let found = state(&mut again, true);
        let lines: Vec<String> = commands(&recorded).iter().map(|cmd| format!("{cmd:?}")).collect();
        (differences(&expected, &found), lines)
    }));
    match outcome {
        Ok((differences, _)) if differences.is_empty() => Ok(()),
        Ok((differences, recorded)) => {
            Err(format!("{}\nrecorded:\n{}", differences.join("\n"), recorded.join("\n")))
        }
        Err(panic) => Err(match panic.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => "a panic".to_string(),
        }),
    }
}

/// Leaves out steps as long as the program still `fails`.
fn shrunk_by(mut program: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut size = program.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < program.len() {
            let end = (at + size).min(program.len());
            let mut less = program.clone();
            let pause: i64 = less.drain(at..end).map(|(pause, ..)| pause).sum();
            if let Some(next) = less.get_mut(at) {
                next.0 += pause;
            }
            match fails(&less) {
                true => program = less,
                false => at += size,
            }
        }
        size /= 2;
    }
    program
}

fn check(registry: &Arc<Registry>, name: &str, program: Vec<Step>) {
    let Err(_) = replayed(registry, &program) else { return };
    std::panic::set_hook(Box::new(|_| ()));
    let program = shrunk_by(program, |less| replayed(registry, less).is_err());
    let why = replayed(registry, &program).err().unwrap_or_default();
    let _ = std::panic::take_hook();
    let lines: Vec<String> =
        program.iter().map(|(pause, cycle, cmd)| format!("{pause} {cycle} {cmd:?}")).collect();
    panic!("{name}, CORELANE_SEED={}:\n{}\n{why}", seed(), lines.join("\n"));
}

const PROGRAM_LEN: usize = 80;

fn mortal_program(maker: &mut Maker, len: usize) -> Vec<Step> {
    let mut now = rig::START;
    let step = |_| {
        let pause = maker.pause();
        now += pause;
        (pause, maker.rng.below(8) == 0, maker.make(now))
    };
    (0..len).map(step).collect()
}

/// Commands that these programs need not run: they would tell nothing new, or are for tests only.
const NOT_NEEDED: [&str; 5] =
    ["restore", "restore-asking", "pfdebug", "pfselftest", "debug|set-active-expire"];

#[test]
fn every_command_that_writes_is_among_them() {
    let registry = registry();
    let mut rig = Rig::recording(&registry, 3, 1);
    let program = mortal_program(&mut Maker::new(3, true), 40_000);
    perform(&mut rig, &program);
    let rows = registry.named().into_iter().map(|(_, id)| registry.command(id));
    let rows = rows.flat_map(|row| match row.run {
        Run::Container => row.subcommands.iter().collect(),
        _ => vec![row],
    });
    let writes = |row: &&Command| {
        row.flags.has(WRITE) && matches!(row.run, Run::Shard(_)) && !NOT_NEEDED.contains(&row.name)
    };
    let missing: Vec<&str> = rows
        .filter(writes)
        .map(|row| row.name)
        .filter(|name| !rig.writers.contains(name))
        .collect();
    assert!(missing.is_empty(), "never changed anything: {missing:?}");
    assert!(rig.shard.stats.expired_keys.get() > 100 && rig.shard.stats.expired_fields.get() > 100);
}

#[test]
fn what_passes_away() {
    let registry = registry();
    let mut maker = Maker::new(1, true);
    let programs = cases(1500);
    for _ in 0..programs {
        let program = mortal_program(&mut maker, PROGRAM_LEN);
        check(&registry, "what passes away", program);
    }
    println!("{} commands without a difference", programs as usize * PROGRAM_LEN);
}

/// Runs programs of the suites that compare replies; time passes here, too.
fn of_strategy(name: &str, programs: BoxedStrategy<Vec<Cmd>>, count: u32) {
    let registry = registry();
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(name));
    let mut maker = Maker::new(2, false);
    let mut total = 0;
    for _ in 0..cases(count) {
        let program = programs.new_tree(&mut runner).expect("a program").current();
        total += program.len();
        let step = |cmd| (maker.pause(), maker.rng.below(10) == 0, cmd);
        check(&registry, name, program.into_iter().map(step).collect());
    }
    println!("{name}: {total} commands without a difference");
}

fn programs_of(command: BoxedStrategy<Cmd>) -> BoxedStrategy<Vec<Cmd>> {
    proptest::collection::vec(command, 1..PROGRAM_LEN).boxed()
}

#[test]
fn all_families() {
    of_strategy("all families", programs_of(any_command(Mode::Stepwise)), 2000);
}

#[test]
fn entries_of_streams() {
    of_strategy("streams", streams::programs(), 1500);
}

#[test]
fn fields_with_times() {
    of_strategy("fields", programs_of(field_expiry::command(Mode::Stepwise)), 1000);
}

#[test]
fn restored_values() {
    of_strategy("restored", programs_of(dumps::command()), 500);
}

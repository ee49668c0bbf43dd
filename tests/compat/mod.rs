//! Random programs against redis-server and Corelane.
//!
//! A program is a list of commands over a handful of keys, values and options, weighted towards
//! what interacts. It runs command by command, or as one pipelined stream cut at random bytes;
//! in RESP2 and RESP3; on one shard and on three. proptest shrinks a program on which the
//! replies differ, and the test prints what is left as redis-cli lines, ready to become a
//! script in `commands/`.
//!
//! Programs are the same in every run unless `CORELANE_SEED` says otherwise; `CORELANE_CASES=50`
//! runs fifty times as many.
//!
//! Deliberately absent: short expiry times. What depends on the moment is for `commands/`.

mod acl;
mod bitmaps;
mod connection;
mod dumps;
mod effects;
mod field_expiry;
mod generic;
mod geo;
mod hashes;
mod hyperloglog;
mod invalid;
mod lists;
mod notifications;
mod run;
mod scripts;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod values;

use crate::harness::Cmd;
use crate::harness::Protocol::{Resp2, Resp3};
use proptest::prelude::*;
use run::{Mode, differential, differential_programs};

/// All families together, as they meet in one keyspace.
fn any_command(mode: Mode) -> BoxedStrategy<Cmd> {
    prop_oneof![
        8 => strings::command(),
        4 => bitmaps::command(),
        6 => lists::command(),
        4 => sorted_sets::command(mode),
        2 => geo::command(mode),
        4 => sets::command(mode),
        2 => hyperloglog::command(),
        4 => hashes::command(mode),
        6 => generic::command(mode),
        2 => streams::command(),
        1 => connection::command(mode),
        1 => invalid::command(),
    ]
    .boxed()
}

/// Random programs of all families, for other suites.
pub fn programs(name: &str, count: usize) -> Vec<Vec<Cmd>> {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, TestRunner};
    let mut runner = TestRunner::new_with_rng(Config::default(), run::rng(name));
    let commands = proptest::collection::vec(any_command(Mode::Stepwise), 20..60).boxed();
    let any = prop_oneof![4 => commands, 1 => streams::programs()].boxed();
    (0..count).map(|_| any.new_tree(&mut runner).expect("a program").current()).collect()
}

macro_rules! differential_tests {
    ($($name:ident: $commands:expr, $shards:expr, $protocol:expr, $mode:expr, $cases:expr;)*) => {
        $(#[test]
        fn $name() {
            differential(stringify!($name), $commands, $shards, $protocol, $mode, $cases);
        })*
    };
}

differential_tests! {
    strings_on_one_shard: |_| strings::command(), 1, Resp2, Mode::Stepwise, 2_000;
    strings_on_three_shards: |_| strings::command(), 3, Resp3, Mode::Stepwise, 2_000;
    bitmaps_on_one_shard: |_| bitmaps::command(), 1, Resp3, Mode::Stepwise, 2_000;
    bitmaps_on_three_shards: |_| bitmaps::command(), 3, Resp2, Mode::Stepwise, 2_000;
    lists_on_one_shard_resp2: |_| lists::command(), 1, Resp2, Mode::Stepwise, 1_000;
    lists_on_one_shard_resp3: |_| lists::command(), 1, Resp3, Mode::Stepwise, 1_000;
    lists_on_three_shards_resp2: |_| lists::command(), 3, Resp2, Mode::Stepwise, 1_000;
    lists_on_three_shards_resp3: |_| lists::command(), 3, Resp3, Mode::Stepwise, 1_000;
    sort_on_one_shard: |_| lists::sort(), 1, Resp2, Mode::Stepwise, 1_000;
    sort_on_three_shards: |_| lists::sort(), 3, Resp3, Mode::Stepwise, 1_000;
    sorted_sets_on_one_shard_resp2: sorted_sets::command, 1, Resp2, Mode::Stepwise, 2_000;
    sorted_sets_on_one_shard_resp3: sorted_sets::command, 1, Resp3, Mode::Stepwise, 2_000;
    sorted_sets_on_three_shards_resp2: sorted_sets::command, 3, Resp2, Mode::Stepwise, 2_000;
    sorted_sets_on_three_shards_resp3: sorted_sets::command, 3, Resp3, Mode::Stepwise, 2_000;
    geo_on_one_shard_resp2: geo::command, 1, Resp2, Mode::Stepwise, 1_000;
    geo_on_one_shard_resp3: geo::command, 1, Resp3, Mode::Stepwise, 1_000;
    geo_on_three_shards_resp2: geo::command, 3, Resp2, Mode::Stepwise, 1_000;
    geo_on_three_shards_resp3: geo::command, 3, Resp3, Mode::Stepwise, 1_000;
    sets_on_one_shard_resp2: sets::command, 1, Resp2, Mode::Stepwise, 2_000;
    sets_on_one_shard_resp3: sets::command, 1, Resp3, Mode::Stepwise, 2_000;
    sets_on_three_shards_resp2: sets::command, 3, Resp2, Mode::Stepwise, 2_000;
    sets_on_three_shards_resp3: sets::command, 3, Resp3, Mode::Stepwise, 2_000;
    hyperloglog_on_one_shard_resp2: |_| hyperloglog::command(), 1, Resp2, Mode::Stepwise, 1_000;
    hyperloglog_on_one_shard_resp3: |_| hyperloglog::command(), 1, Resp3, Mode::Stepwise, 1_000;
    hyperloglog_on_three_shards_resp2: |_| hyperloglog::command(), 3, Resp2, Mode::Stepwise, 1_000;
    hyperloglog_on_three_shards_resp3: |_| hyperloglog::command(), 3, Resp3, Mode::Stepwise, 1_000;
    hashes_on_one_shard_resp2: hashes::command, 1, Resp2, Mode::Stepwise, 2_000;
    hashes_on_one_shard_resp3: hashes::command, 1, Resp3, Mode::Stepwise, 2_000;
    hashes_on_three_shards_resp2: hashes::command, 3, Resp2, Mode::Stepwise, 2_000;
    hashes_on_three_shards_resp3: hashes::command, 3, Resp3, Mode::Stepwise, 2_000;
    keys_on_one_shard: generic::command, 1, Resp2, Mode::Stepwise, 2_000;
    keys_on_three_shards: generic::command, 3, Resp3, Mode::Stepwise, 3_000;
    restoring_on_one_shard: |_| dumps::command(), 1, Resp3, Mode::Stepwise, 1_000;
    restoring_on_three_shards: |_| dumps::command(), 3, Resp3, Mode::Stepwise, 1_000;
    connection_on_three_shards: connection::command, 3, Resp2, Mode::Stepwise, 1_000;
    invalid_on_one_shard: |_| invalid::command(), 1, Resp2, Mode::Stepwise, 2_000;
    invalid_on_three_shards: |_| invalid::command(), 3, Resp3, Mode::Stepwise, 1_000;
    all_on_one_shard_resp2: any_command, 1, Resp2, Mode::Stepwise, 2_000;
    all_on_one_shard_resp3: any_command, 1, Resp3, Mode::Stepwise, 2_000;
    all_on_three_shards_resp2: any_command, 3, Resp2, Mode::Stepwise, 3_000;
    all_on_three_shards_resp3: any_command, 3, Resp3, Mode::Stepwise, 3_000;
    hashes_pipelined_on_one_shard: hashes::command, 1, Resp3, Mode::Pipelined, 1_000;
    hashes_pipelined_on_three_shards: hashes::command, 3, Resp2, Mode::Pipelined, 2_000;
    pipelined_on_one_shard: any_command, 1, Resp2, Mode::Pipelined, 3_000;
    pipelined_on_three_shards_resp2: any_command, 3, Resp2, Mode::Pipelined, 4_000;
    pipelined_on_three_shards_resp3: any_command, 3, Resp3, Mode::Pipelined, 4_000;
    scripted_on_one_shard_resp3: any_command, 1, Resp3, Mode::Scripted, 2_000;
    scripted_on_three_shards_resp2: any_command, 3, Resp2, Mode::Scripted, 2_000;
    scripted_on_three_shards_resp3: any_command, 3, Resp3, Mode::Scripted, 2_000;
}

#[test]
fn acl_on_one_shard() {
    differential_programs(
        &[],
        "acl_1",
        acl::programs(Mode::Stepwise),
        1,
        Resp2,
        Mode::Stepwise,
        1_000,
    );
}

#[test]
fn acl_on_three_shards() {
    differential_programs(
        &[],
        "acl_3",
        acl::programs(Mode::Stepwise),
        3,
        Resp3,
        Mode::Stepwise,
        1_000,
    );
}

#[test]
fn acl_pipelined_on_three_shards() {
    let programs = acl::programs(Mode::Pipelined);
    differential_programs(&[], "acl_3p", programs, 3, Resp2, Mode::Pipelined, 1_000);
}

#[test]
fn streams_on_one_shard_resp2() {
    let programs = streams::programs();
    differential_programs(&[], "streams_1_2", programs, 1, Resp2, Mode::Stepwise, 1_000);
}

#[test]
fn streams_on_one_shard_resp3() {
    let programs = streams::programs();
    differential_programs(&[], "streams_1_3", programs, 1, Resp3, Mode::Stepwise, 1_000);
}

#[test]
fn streams_on_three_shards_resp2() {
    let programs = streams::programs();
    differential_programs(&[], "streams_3_2", programs, 3, Resp2, Mode::Stepwise, 1_000);
}

#[test]
fn streams_on_three_shards_resp3() {
    let programs = streams::programs();
    differential_programs(&[], "streams_3_3", programs, 3, Resp3, Mode::Stepwise, 1_000);
}

#[test]
fn streams_pipelined_on_three_shards() {
    let programs = streams::programs();
    differential_programs(&[], "streams_pipelined", programs, 3, Resp3, Mode::Pipelined, 1_000);
}

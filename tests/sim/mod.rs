//! The whole server in one thread: reads cut anywhere, messages late, turns in any order.
//!
//! A failing test prints the seed, and `CORELANE_SIM_SEED=<seed>` runs that one alone.

mod blocking;
mod caches;
mod fairness;
mod foretold;
mod memory;
mod order;
mod serial;
mod snapshots;
mod trouble;

use crate::harness::reply::Parsed;
use crate::harness::{Reply, cases, parse_line};
use corelane::config::{Config, Invocation, parse};
use corelane::net::Worker;
use corelane::rt::sim::{self, Simulation};
use corelane::server::workers;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

mod transactions;

/// Steps after which a run counts as stuck.
const STEPS: usize = 2_000_000;

fn simulation(shards: usize, seed: u64) -> Simulation<Worker> {
    simulation_with(shards, seed, &[])
}

fn simulation_with(shards: usize, seed: u64, options: &[&str]) -> Simulation<Worker> {
    let workers = workers(configuration(options), shards, seed);
    Simulation::new(workers.expect("workers"), seed)
}

fn configuration(options: &[&str]) -> Config {
    let words = ["--port", "0", "--dir", "/tmp"].iter().chain(options).map(Into::into);
    let Ok(Invocation::Run { config, .. }) = parse(words) else { panic!("a configuration") };
    *config
}

/// Runs a test for many seeds and names the one that fails.
fn for_seeds(test: &str, seeds: u32, run: impl Fn(u64)) {
    let one = std::env::var("CORELANE_SIM_SEED").ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..u64::from(cases(seeds)),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay: CORELANE_SIM_SEED={seed} cargo test --test it {test}");
            resume_unwind(panic);
        }
    }
}

fn encode(command: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    parse_line(command).encode(&mut bytes);
    bytes
}

fn key(random: &mut fastrand::Rng) -> String {
    format!("k{}", random.u8(0..12))
}

/// A command of any kind of routing: here, elsewhere, in parts, gathered, everywhere.
fn any_command(random: &mut fastrand::Rng) -> String {
    let (a, b, c) = (key(random), key(random), key(random));
    let n = random.u16(..);
    match random.u8(0..22) {
        0..=3 => format!("SET {a} {n}"),
        4..=6 => format!("GET {a}"),
        7 => format!("APPEND {a} x{n}"),
        8 => format!("MGET {a} {b} {c}"),
        9 => format!("MSET {a} {n} {b} y{n} {c} z{n}"),
        10 => format!("DEL {a} {b}"),
        11 => format!("EXISTS {a} {b} {c} {a}"),
        12 => format!("RENAME {a} {b}"),
        13 => format!("RENAMENX {a} {b}"),
        14 => format!("COPY {a} {b} REPLACE"),
        15 => format!("MSETNX {a} {n} {b} {n} {c} {n}"),
        16 => format!("BITOP OR {a} {b} {c}"),
        17 => "DBSIZE".to_string(),
        18 => format!("STRLEN {a}"),
        19 => format!("MSET {a} {n} {b}"),
        20 => format!("COPY {a} {b} DB {}", random.u8(0..2)),
        _ => match random.u8(0..8) {
            0 => "FLUSHALL".to_string(),
            1 => "SELECT 1".to_string(),
            2 => "SELECT 0".to_string(),
            _ => "PING".to_string(),
        },
    }
}

/// Runs one client's program, all of it sent at once, and gives the replies.
fn run_alone(shards: usize, seed: u64, program: &[String]) -> Vec<u8> {
    let mut simulation = simulation(shards, seed);
    let client = simulation.connect(seed as usize % shards);
    program.iter().for_each(|command| simulation.write(client, &encode(command)));
    simulation.settle(STEPS);
    simulation.read(client)
}

#[test]
fn one_clients_pipeline_is_as_if_there_were_one_shard() {
    for_seeds("one_clients_pipeline", 300, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let program: Vec<_> = (0..200).map(|_| any_command(&mut random)).collect();
        let alone = run_alone(1, seed, &program);
        for shards in [2, 3, 5] {
            let spread = run_alone(shards, seed, &program);
            let (alone, spread) =
                (String::from_utf8_lossy(&alone), String::from_utf8_lossy(&spread));
            assert_eq!(alone, spread, "{shards} shards, seed {seed}");
        }
    });
}

fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let Parsed::Whole(reply, used) = Reply::parse(bytes) else { panic!("whole replies") };
        replies.push(reply);
        bytes = &bytes[used..];
    }
    replies
}

#[test]
fn renames_across_shards_lose_and_double_nothing() {
    for_seeds("renames_across_shards", 200, |seed| {
        let shards = 2 + seed as usize % 4;
        let mut simulation = simulation(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let setup = simulation.connect(0);
        let tokens = 6;
        for token in 0..tokens {
            simulation.write(setup, &encode(&format!("SET k{token} token{token}")));
        }
        simulation.settle(STEPS);
        let clients: Vec<_> = (0..5).map(|n| simulation.connect(n % shards)).collect();
        let mut asked = vec![0; clients.len()];
        for _ in 0..40 {
            let n = random.usize(..clients.len());
            let (a, b) = (key(&mut random), key(&mut random));
            let command = match random.u8(0..5) {
                0 => "DBSIZE".to_string(),
                1 => format!("SET {a} other XX GET"),
                _ => format!("RENAMENX {a} {b}"),
            };
            simulation.write(clients[n], &encode(&command));
            asked[n] += 1;
            (0..random.u8(0..30)).for_each(|_| simulation.step());
        }
        simulation.settle(STEPS);
        for (client, asked) in clients.iter().zip(asked) {
            let replies = replies(&simulation.read(*client));
            assert_eq!(replies.len(), asked, "every request is answered, seed {seed}");
            // RENAMENX of a key that is not there is the only error that can come.
            for reply in replies.iter().filter(|reply| reply.is_error()) {
                assert!(reply.text().contains("no such key"), "{} with seed {seed}", reply.text());
            }
        }
        simulation.read(setup);
        simulation.write(setup, &encode("DBSIZE"));
        simulation.settle(STEPS);
        assert_eq!(simulation.read(setup), format!(":{tokens}\r\n").into_bytes(), "seed {seed}");
    });
}

#[test]
fn msetnx_across_shards_is_all_or_nothing() {
    for_seeds("msetnx_across_shards", 200, |seed| {
        let shards = 2 + seed as usize % 4;
        let mut simulation = simulation(shards, seed);
        let clients: Vec<_> = (0..4).map(|n| simulation.connect(n % shards)).collect();
        for (n, client) in clients.iter().enumerate() {
            let pairs =
                (0..6).map(|k| format!("k{} {n}", (k + n) % 6)).collect::<Vec<_>>().join(" ");
            simulation.write(*client, &encode(&format!("MSETNX {pairs}")));
        }
        simulation.settle(STEPS);
        let won: Vec<_> = clients.iter().map(|c| simulation.read(*c) == b":1\r\n").collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "seed {seed}");
        let winner = won.iter().position(|won| *won).expect("one has won");
        let get = encode("MGET k0 k1 k2 k3 k4 k5");
        simulation.write(clients[0], &get);
        simulation.settle(STEPS);
        let all = format!("$1\r\n{winner}\r\n").repeat(6);
        assert_eq!(String::from_utf8_lossy(&simulation.read(clients[0])), format!("*6\r\n{all}"));
    });
}

#[test]
fn a_connection_moves_to_its_keys_without_losing_or_reordering() {
    for_seeds("a_connection_moves", 20, |seed| {
        let mut simulation = simulation(4, seed);
        let client: sim::Client = simulation.connect(0);
        // `foo` is slot 12182, on the third of four shards.
        let total = 6000;
        for n in 0..total {
            simulation.write(client, &encode(&format!("APPEND foo {}", n % 10)));
            if n % 50 == 0 {
                simulation.settle(STEPS);
            }
        }
        simulation.settle(STEPS);
        let replies = simulation.read(client);
        let expected: String = (1..=total).map(|n| format!(":{n}\r\n")).collect();
        assert_eq!(String::from_utf8_lossy(&replies), expected, "seed {seed}");
        assert_eq!(simulation.shard_of(client), Some(2), "seed {seed}");
    });
}

//! Nobody waits for ever: neither a transaction behind those who use its keys one by one, nor they
//! behind transactions that follow each other without a gap.

use super::{STEPS, encode, for_seeds, replies, simulation};
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};

/// A client that asks again as soon as it has its answer.
struct Busy {
    client: Client,
    command: Vec<u8>,
    answers: usize,
}

impl Busy {
    fn new(simulation: &mut Simulation<Worker>, shard: usize, command: &str) -> Busy {
        let client = simulation.connect(shard);
        let command = encode(command);
        simulation.write(client, &command);
        Busy { client, command, answers: 0 }
    }

    fn go_on(&mut self, simulation: &mut Simulation<Worker>) {
        let answers = replies(&simulation.read(self.client)).len();
        if answers > 0 {
            self.answers += answers;
            simulation.write(self.client, &self.command);
        }
    }
}

/// Runs busy clients until one of them has had `answers`; the others must have had as many, but for
/// a factor that does not depend on how long it goes on.
fn share(seed: u64, shards: usize, commands: &[&str], answers: usize) {
    let mut simulation = simulation(shards, seed);
    let mut clients: Vec<Busy> = commands
        .iter()
        .enumerate()
        .map(|(n, command)| Busy::new(&mut simulation, (n + seed as usize) % shards, command))
        .collect();
    for _ in 0..STEPS {
        simulation.step();
        clients.iter_mut().for_each(|client| client.go_on(&mut simulation));
        if clients.iter().any(|client| client.answers >= answers) {
            let least = clients.iter().map(|client| client.answers).min().unwrap_or(0);
            let all: Vec<_> = clients.iter().map(|client| client.answers).collect();
            assert!(least * 40 >= answers, "answers {all:?} to {commands:?}, seed {seed}");
            return;
        }
    }
    panic!("nobody had {answers} answers, seed {seed}");
}

#[test]
fn a_transaction_is_not_starved_by_single_keys() {
    for_seeds("a_transaction_is_not_starved", 30, |seed| {
        let singles = ["SET k0 1", "GET k0", "SET k1 2", "GET k2", "SET k2 3", "APPEND k3 x"];
        for transaction in [
            "MSET k0 1 k1 2 k2 3 k3 4",
            "MGET k0 k1 k2 k3",
            "RENAME k0 k0",
            "DBSIZE",
            "BITOP OR k4 k0 k2",
        ] {
            let commands: Vec<&str> = singles.iter().copied().chain([transaction]).collect();
            share(seed, 2 + seed as usize % 3, &commands, 400);
        }
    });
}

#[test]
fn single_keys_are_not_starved_by_transactions() {
    for_seeds("single_keys_are_not_starved", 30, |seed| {
        let commands = [
            "MSET k0 1 k1 2",
            "MSET k0 3 k1 4",
            "MSET k0 5 k2 6 k1 7",
            "MGET k0 k1",
            "BITOP OR k3 k0 k1",
            "MSETNX k0 1 k5 2",
            "GET k0",
            "SET k1 8",
        ];
        share(seed, 2 + seed as usize % 3, &commands, 400);
    });
}

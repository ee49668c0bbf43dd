//! Random programs of several clients, checked for strict serializability.
//!
//! One seed decides everything: how many shards and clients, what they ask, whether they wait for
//! answers, who goes away, and in which order all of it happens.

use super::{STEPS, for_seeds, simulation};
use crate::serial::anomaly::{Anomaly, assert_none};
use crate::serial::command::Command;
use crate::serial::conversation::{Conversation, Request};
use crate::serial::history::Action;
use crate::serial::workload::{self, Mix, Source};
use crate::serial::{History, check};
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};
use std::collections::VecDeque;

/// Databases that the programs use.
const DATABASES: u8 = 2;

/// Steps of the search for an order, for each operation.
const SEARCH_STEPS: usize = 5_000;

struct Guest {
    client: Client,
    talk: Conversation,
    /// What it will ask.
    plan: VecDeque<Request>,
    /// Requests that it sends before it waits for an answer.
    depth: usize,
    /// It asks nothing any more, and may not be answered.
    cut: bool,
    /// It asks nothing any more.
    leaving: bool,
}

/// A server and its clients.
struct Party {
    simulation: Simulation<Worker>,
    shards: usize,
    source: Source,
    guests: Vec<Guest>,
    now: u64,
    strange: Vec<Anomaly>,
}

impl Party {
    fn new(seed: u64, shards: usize, mix: Mix, simulation: Simulation<Worker>) -> Party {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5e11_a1b2_c3d4_e5f6);
        let keys = random.u32(4..=10);
        let source = Source { random, mix, keys, first: 0, token: 1, step: 1 };
        let guests = Vec::new();
        Party { simulation, shards, source, guests, now: 1, strange: Vec::new() }
    }

    fn arrive(&mut self) {
        let random = &mut self.source.random;
        let client = self.simulation.connect(random.usize(..self.shards));
        let depth = [1, 1, 2, 6][random.usize(..4)];
        self.guests.push(Guest {
            client,
            talk: Conversation::new(self.guests.len() as u32),
            plan: VecDeque::new(),
            depth,
            cut: false,
            leaving: false,
        });
    }

    /// One client asks something, or goes away.
    fn act(&mut self) {
        let n = self.source.random.usize(..self.guests.len());
        let guest = &mut self.guests[n];
        if guest.leaving || guest.talk.pending() >= guest.depth {
            return;
        }
        match self.source.random.u8(..) {
            0 => {
                self.simulation.cut(guest.client);
                (guest.cut, guest.leaving) = (true, true);
                return self.arrive();
            }
            1 => {
                self.simulation.hang_up(guest.client);
                guest.leaving = true;
                return self.arrive();
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        for _ in guest.talk.pending()..guest.depth {
            if guest.plan.is_empty() {
                guest.plan.extend(self.source.next());
            }
            let request = guest.plan.pop_front().expect("filled");
            guest.talk.ask(request, self.now, &mut bytes);
            self.now += 1;
        }
        self.simulation.write(guest.client, &bytes);
    }

    fn step(&mut self) {
        self.simulation.step();
        self.now += 1;
        for guest in &mut self.guests {
            let bytes = self.simulation.read(guest.client);
            if !bytes.is_empty() {
                self.strange.extend(guest.talk.hear(&bytes, self.now).err());
            }
        }
    }

    /// Waits until all that was asked is answered.
    fn finish(&mut self) {
        let mut steps = 0;
        while self.guests.iter().any(|guest| !guest.cut && guest.talk.pending() > 0) {
            self.step();
            steps += 1;
            assert!(steps < STEPS, "somebody waits for ever");
        }
        self.simulation.settle(STEPS);
        self.step();
    }

    /// Looks at everything that is there in the end.
    fn take_stock(&mut self) {
        self.arrive();
        let guest = self.guests.last_mut().expect("just arrived");
        guest.leaving = true;
        let mut bytes = Vec::new();
        for db in 0..DATABASES {
            let all = (0..self.source.keys).collect();
            let look =
                vec![Command::Select(db), Command::MGet(all), Command::DbSize, Command::Keys];
            guest.talk.ask(Request::Act(Action::Block(look)), self.now, &mut bytes);
            self.now += 1;
        }
        self.simulation.write(guest.client, &bytes);
        self.finish();
    }

    fn run(mut self, operations: usize) -> History {
        for _ in 0..self.source.random.usize(3..=8) {
            self.arrive();
        }
        let asked = |party: &Party| -> usize {
            party.guests.iter().map(|guest| guest.talk.operations.len()).sum()
        };
        while asked(&self) < operations {
            self.act();
            (0..self.source.random.u8(0..12)).for_each(|_| self.step());
        }
        self.finish();
        self.take_stock();
        for shard in 0..self.shards {
            assert!(self.simulation.handler(shard).is_idle(), "shard {shard} has something to do");
        }
        assert_none(&self.strange);
        History::of(self.guests.into_iter().map(|guest| guest.talk), self.shards)
    }
}

/// The history of one seed.
fn history(seed: u64, mix: Mix) -> History {
    let shards = [2, 3, 5][seed as usize % 3];
    let party = Party::new(seed, shards, mix, simulation(shards, seed));
    party.run(120)
}

/// What is atomic today: nothing that is done in parts outside of a block.
const JOINT: Mix = Mix { split: 0, whole: 0, databases: 0, ..workload::ALL };

#[test]
fn joint_commands_and_blocks_are_strictly_serializable() {
    for_seeds("joint_commands_and_blocks", 150, |seed| {
        let history = history(seed, JOINT);
        if std::env::var_os("CORELANE_SIM_SEED").is_some() {
            eprintln!("{history}");
        }
        assert_none(&check(&history, SEARCH_STEPS));
    });
}

#[test]
fn figures() {
    for (name, mix) in [("joint", JOINT), ("all", workload::ALL), ("traced", workload::TRACED)] {
        let mut kinds = std::collections::BTreeMap::new();
        let (mut bad, mut slow) = (0, 0);
        let begin = crate::harness::now();
        let mut checking = std::time::Duration::ZERO;
        for seed in 0..300 {
            let history = history(seed, mix);
            let start = crate::harness::now();
            let found = check(&history, SEARCH_STEPS);
            let took = start.elapsed();
            checking += took;
            if took.as_millis() > 100 {
                slow += 1;
                eprintln!("seed {seed} took {took:?}");
            }
            bad += usize::from(!found.is_empty());
            for anomaly in &found {
                *kinds.entry(anomaly.kind).or_insert(0) += 1;
                if kinds[&anomaly.kind] == 1 {
                    eprintln!("{seed}: {anomaly}");
                }
            }
        }
        eprintln!(
            "{name}: {bad} of 300 bad, {slow} slow, {:?}, checking {checking:?}: {kinds:?}",
            begin.elapsed()
        );
    }
}

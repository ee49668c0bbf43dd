//! Random programs of several clients, checked for strict serializability.
//!
//! One seed decides everything: how many shards and clients, what they ask, whether they wait for
//! answers, who goes away, and in which order all of it happens.

use super::snapshots::{Photographer, Seen};
use super::{STEPS, configuration, for_seeds};
use crate::serial::anomaly::{Anomaly, Kind, assert_none};
use crate::serial::command::{Command, Key};
use crate::serial::conversation::{Conversation, Request};
use crate::serial::history::Action;
use crate::serial::workload::{self, Keys, Mix, Source};
use crate::serial::{History, check, suspects};
use corelane::command::Faults;
use corelane::metrics::{Counter, ShardStats};
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};
use corelane::server::faulty_workers;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

/// Databases that the programs use.
pub(super) const DATABASES: u8 = 2;

/// Operations of one history.
const OPERATIONS: usize = 120;

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
pub(super) struct Party {
    simulation: Simulation<Worker>,
    shards: usize,
    source: Source,
    guests: Vec<Guest>,
    now: u64,
    strange: Vec<Anomaly>,
    /// Looks at snapshots, if there are to be any.
    pub(super) photographer: Option<Photographer>,
}

impl Party {
    pub(super) fn new(seed: u64, shards: usize, mix: Mix, simulation: Simulation<Worker>) -> Party {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5e11_a1b2_c3d4_e5f6);
        let keys = Arc::new(Keys::new(random.u32(4..=10), u32::MAX));
        let source = Source { random, mix, keys, token: 1, step: 1 };
        let guests = Vec::new();
        let strange = Vec::new();
        Party { simulation, shards, source, guests, now: 1, strange, photographer: None }
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
        if let Some(photographer) = &mut self.photographer {
            photographer.act(&mut self.simulation, self.now);
        }
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
        if let Some(photographer) = &mut self.photographer {
            photographer.look(&self.simulation, self.shards, self.now);
        }
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
        let is_busy = |party: &Party| {
            party.photographer.as_ref().is_some_and(Photographer::is_busy)
                || party.guests.iter().any(|guest| !guest.cut && guest.talk.pending() > 0)
        };
        while is_busy(self) {
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
            let all = self.source.keys.in_use();
            let look =
                vec![Command::Select(db), Command::MGet(all), Command::DbSize, Command::Keys];
            guest.talk.ask(Request::Act(Action::Block(look)), self.now, &mut bytes);
            self.now += 1;
        }
        self.simulation.write(guest.client, &bytes);
        self.finish();
    }

    /// What was said, about which keys, and what snapshots have seen.
    pub(super) fn run(mut self, operations: usize) -> (Vec<Conversation>, Vec<Key>, Vec<Seen>) {
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
        let talks = self.guests.into_iter().map(|guest| guest.talk).collect();
        let seen = self.photographer.map(|photographer| photographer.seen);
        (talks, self.source.keys.in_use(), seen.unwrap_or_default())
    }
}

/// The history of one seed.
fn history(seed: u64, mix: Mix, faults: Faults) -> History {
    history_of_runs(seed, mix, faults).0
}

/// As [`history`], with how scripts have run: with everything held, as expected, and given up to hold
/// more or to hold everything.
fn history_of_runs(seed: u64, mix: Mix, faults: Faults) -> (History, [u64; 4]) {
    let shards = match mix.computed > mix.scripts {
        true => [2, 4][seed as usize % 2],
        false => [2, 3, 5][seed as usize % 3],
    };
    let workers = faulty_workers(configuration(&[]), shards, seed, faults).expect("workers");
    let stats: Vec<_> = workers.iter().map(|worker| worker.stats()).collect();
    let party = Party::new(seed, shards, mix, Simulation::new(workers, seed));
    let history = History::of(party.run(OPERATIONS).0, shards);
    let sum = |of: fn(&ShardStats) -> &Counter| stats.iter().map(|stats| of(stats).get()).sum();
    let runs = [
        sum(|stats| &stats.scripts_whole),
        sum(|stats| &stats.scripts_foretold),
        sum(|stats| &stats.scripts_extended),
        sum(|stats| &stats.scripts_given_up),
    ];
    (history, runs)
}

/// Looks at the histories of many seeds. One in a thousand may be too hard to decide.
fn assert_serializable(test: &str, seeds: u32, mix: Mix) {
    assert_in_order(test, seeds, &|seed| history(seed, mix, Faults::default()));
}

/// As [`assert_serializable`], of histories that others make.
pub(super) fn assert_in_order(test: &str, seeds: u32, history: &dyn Fn(u64) -> History) {
    let (all, undecided) = (Cell::new(0), Cell::new(0));
    for_seeds(test, seeds, |seed| {
        all.set(all.get() + 1);
        if !is_decided(history(seed)) {
            undecided.set(undecided.get() + 1);
            eprintln!("seed {seed} of {test} is undecided");
        }
    });
    assert!(undecided.get() <= 1 + all.get() / 1000, "too many histories are undecided");
}

/// Whether a history has turned out to be in order; panics when it is not.
fn is_decided(mut history: History) -> bool {
    let found = check(&history);
    if found.iter().all(|anomaly| anomaly.kind == Kind::Undecided) {
        return found.is_empty();
    }
    eprintln!("{history}would be in order if one of these had been answered otherwise:");
    for index in suspects(&mut history) {
        eprintln!("  {}", history.operations[index as usize]);
    }
    assert_none(&found);
    true
}

/// Blocks, and commands whose keys are brought together.
const JOINT: Mix = Mix { split: 0, whole: 0, databases: 0, ..workload::ALL };

#[test]
fn blocks_and_joint_commands_are_strictly_serializable() {
    assert_serializable("sim::serial::blocks", 400, JOINT);
}

#[test]
fn everything_is_strictly_serializable() {
    assert_serializable("sim::serial::everything", 400, workload::ALL);
}

#[test]
fn traced_values_are_strictly_serializable() {
    assert_serializable("sim::serial::traced", 400, workload::TRACED);
}

/// Mostly scripts that compute the names of their keys.
const COMPUTED: Mix = Mix { computed: 60, single: 12, whole: 1, ..workload::ALL };
/// The same, with values that tell who wrote what.
const COMPUTED_TRACED: Mix = Mix { computed: 60, single: 12, ..workload::TRACED };

#[test]
fn scripts_that_compute_their_keys_are_strictly_serializable() {
    assert_serializable("sim::serial::scripts_that_compute", 300, COMPUTED);
    assert_serializable("sim::serial::scripts_that_compute", 100, COMPUTED_TRACED);
}

#[test]
fn such_scripts_run_as_expected_and_are_given_up_now_and_then() {
    let mut all = [0; 4];
    for seed in 0..20 {
        let (_, runs) = history_of_runs(seed, COMPUTED, Faults::default());
        all.iter_mut().zip(runs).for_each(|(sum, runs)| *sum += runs);
    }
    println!("with everything held, as expected, to hold more, to hold everything: {all:?}");
    assert!(all.iter().all(|runs| *runs > 20), "{all:?}");
}

#[test]
fn what_is_not_undone_is_found() {
    let faults = Faults { keep_given_up: true, ..Faults::default() };
    for mix in [COMPUTED, COMPUTED_TRACED] {
        let is_bad = |seed: &u64| !check(&history(*seed, mix, faults)).is_empty();
        let bad = (0..40).filter(is_bad).count();
        assert!(bad > 10, "a server that leaves half of a script is found out, not by {bad} of 40");
    }
}

#[test]
fn without_intents_an_anomaly_is_found() {
    let faults = Faults { ignore_intents: true, ..Faults::default() };
    for mix in [JOINT, workload::ALL, workload::TRACED] {
        let is_bad = |seed: &u64| !check(&history(*seed, mix, faults)).is_empty();
        let bad = (0..100).filter(is_bad).count();
        assert!(
            bad > 50,
            "a server that ignores what is promised is found out, not by {bad} of 100"
        );
    }
}

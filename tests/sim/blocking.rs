//! Consumers that wait, producers that push, some of whom go away: nothing is lost, nothing comes twice,
//! and nobody waits for a key that has something.

use super::{STEPS, encode, for_seeds, simulation};
use crate::harness::Reply;
use crate::harness::reply::Parsed;
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};
use std::collections::BTreeSet;

const KEYS: usize = 6;

/// One who takes elements by blocking commands.
struct Consumer {
    client: Client,
    /// What it waits for: it has no reply yet.
    keys: Vec<usize>,
    unread: Vec<u8>,
    got: Vec<String>,
    gone: bool,
}

struct World {
    simulation: Simulation<Worker>,
    random: fastrand::Rng,
    shards: usize,
    consumers: Vec<Consumer>,
    producers: Vec<Client>,
    pushed: BTreeSet<String>,
    cut: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let shards = [1, 2, 3, 5][seed as usize % 4];
        let mut simulation = simulation(shards, seed);
        let producers = (0..3).map(|n| simulation.connect(n % shards)).collect();
        let random = fastrand::Rng::with_seed(seed);
        let (consumers, pushed) = (Vec::new(), BTreeSet::new());
        World { simulation, random, shards, consumers, producers, pushed, cut: 0 }
    }

    fn key(&mut self) -> usize {
        self.random.usize(..KEYS)
    }

    fn ask(&mut self, n: usize) {
        let count = 1 + self.random.usize(..3);
        let keys: Vec<usize> = (0..count).map(|_| self.key()).collect();
        let names: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
        let (command, keys) = match self.random.u8(0..6) {
            0 => (format!("BLMOVE {} moved{} LEFT RIGHT 0", names[0], keys[0]), vec![keys[0]]),
            1 => (format!("BLMPOP 0 {count} {} RIGHT", names.join(" ")), keys),
            2 => (format!("BRPOP {} 0", names.join(" ")), keys),
            _ => (format!("BLPOP {} 0", names.join(" ")), keys),
        };
        let consumer = &mut self.consumers[n];
        consumer.keys = keys;
        self.simulation.write(consumer.client, &encode(&command));
    }

    /// Reads what a consumer has got; whether its command is answered.
    fn listen(&mut self, n: usize) -> bool {
        let consumer = &mut self.consumers[n];
        consumer.unread.extend(self.simulation.read(consumer.client));
        let Parsed::Whole(reply, used) = Reply::parse(&consumer.unread) else { return false };
        consumer.unread.drain(..used);
        match &reply {
            // It is in the list that it was moved to.
            Reply::Bulk(_) => {}
            Reply::Array(parts) => match &parts[1] {
                Reply::Array(elements) => consumer.got.extend(elements.iter().map(Reply::text)),
                element => consumer.got.push(element.text()),
            },
            other => panic!("{other:?}"),
        }
        consumer.keys.clear();
        true
    }

    fn push(&mut self) {
        let producer = self.producers[self.random.usize(..self.producers.len())];
        let (a, b) = (self.key(), self.key());
        let mut fresh = || {
            let element = format!("e{}", self.pushed.len());
            self.pushed.insert(element.clone());
            element
        };
        let (x, y) = (fresh(), fresh());
        let commands = match self.random.u8(0..5) {
            0 => vec![format!("RPUSH k{a} {x} {y}")],
            1 => vec![
                "MULTI".into(),
                format!("RPUSH k{a} {x}"),
                format!("LPUSH k{b} {y}"),
                "EXEC".into(),
            ],
            2 => vec![
                format!("RPUSH other {x} {y}"),
                format!("LMOVE other k{a} LEFT LEFT"),
                format!("LMOVE other k{b} LEFT LEFT"),
            ],
            _ => vec![format!("LPUSH k{a} {x}"), format!("RPUSH k{b} {y}")],
        };
        for command in commands {
            self.simulation.write(producer, &encode(&command));
        }
    }

    fn act(&mut self) {
        match self.random.u8(0..10) {
            0..=3 => self.push(),
            4 if self.consumers.len() < 8 => {
                let client = self.simulation.connect(self.random.usize(..self.shards));
                let unread = Vec::new();
                self.consumers.push(Consumer {
                    client,
                    keys: Vec::new(),
                    unread,
                    got: Vec::new(),
                    gone: false,
                });
                self.ask(self.consumers.len() - 1);
            }
            5 if !self.consumers.is_empty() && self.random.u8(0..4) == 0 => {
                let n = self.random.usize(..self.consumers.len());
                if !self.consumers[n].gone {
                    self.listen(n);
                    self.simulation.cut(self.consumers[n].client);
                    self.consumers[n].gone = true;
                    self.cut += 1;
                }
            }
            _ => {}
        }
        (0..self.random.usize(..40)).for_each(|_| self.simulation.step());
        for n in 0..self.consumers.len() {
            if !self.consumers[n].gone && self.listen(n) {
                self.ask(n);
            }
        }
    }

    fn list(&mut self, client: Client, key: &str) -> Vec<String> {
        self.simulation.write(client, &encode(&format!("LRANGE {key} 0 -1")));
        self.simulation.settle(STEPS);
        let bytes = self.simulation.read(client);
        let Parsed::Whole(reply, _) = Reply::parse(&bytes) else { panic!("no reply") };
        reply.items().iter().map(Reply::text).collect()
    }

    fn check(mut self, seed: u64) {
        let mut busy = true;
        while std::mem::take(&mut busy) {
            self.simulation.settle(STEPS);
            for n in 0..self.consumers.len() {
                if !self.consumers[n].gone && self.listen(n) {
                    self.ask(n);
                    busy = true;
                }
            }
        }
        let observer = self.simulation.connect(0);
        let mut found: Vec<String> = Vec::new();
        for key in 0..KEYS {
            let left = self.list(observer, &format!("k{key}"));
            let waits = |consumer: &Consumer| !consumer.gone && consumer.keys.contains(&key);
            let waiting = self.consumers.iter().filter(|consumer| waits(consumer)).count();
            assert!(
                left.is_empty() || waiting == 0,
                "{waiting} wait for k{key} = {left:?}, seed {seed}"
            );
            found.extend(left);
            found.extend(self.list(observer, &format!("moved{key}")));
        }
        found.extend(self.list(observer, "other"));
        found.extend(self.consumers.iter().flat_map(|consumer| consumer.got.clone()));
        let all: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(all.len(), found.len(), "something came twice, seed {seed}");
        let lost: Vec<_> = self.pushed.difference(&all).collect();
        // A reply can be on its way to a client when its connection breaks.
        assert!(
            lost.len() <= self.cut,
            "lost {lost:?} with {} broken connections, seed {seed}",
            self.cut
        );
    }
}

#[test]
fn what_is_pushed_is_taken_once() {
    for_seeds("what_is_pushed_is_taken_once", 300, |seed| {
        let mut world = World::new(seed);
        (0..60).for_each(|_| world.act());
        world.check(seed);
    });
}

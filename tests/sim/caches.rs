//! Clients that cache what they read and believe what they are told: when all is quiet no cache has
//! anything but the server's values, and who could know of a write finds nothing older.

use super::{STEPS, encode, for_seeds, simulation};
use crate::harness::Reply;
use crate::harness::reply::Parsed;
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};
use std::collections::{HashMap, VecDeque};

const KEYS: usize = 8;

/// What the next reply is.
enum Expected {
    /// Of no interest.
    Anything,
    Value(usize),
    Values(Vec<usize>),
    /// The elements of EXEC's reply.
    Block(Vec<Expected>),
    /// Tracking begins, or ends.
    Begun,
    Ended,
}

/// A client with a cache.
struct Cacher {
    client: Client,
    /// How it tracks keys.
    mode: &'static str,
    tracks: bool,
    expected: VecDeque<Expected>,
    unread: Vec<u8>,
    /// Values by key; there may be none.
    cache: HashMap<usize, Option<String>>,
}

impl Cacher {
    fn take(&mut self, reply: &Reply, expected: &Expected) {
        let value = |reply: &Reply| (!reply.is_nil()).then(|| reply.text());
        match expected {
            Expected::Anything => {}
            Expected::Begun => self.tracks = true,
            Expected::Ended => {
                self.tracks = false;
                self.cache.clear();
            }
            Expected::Value(key) if self.tracks => drop(self.cache.insert(*key, value(reply))),
            Expected::Values(keys) if self.tracks => {
                let values = keys.iter().copied().zip(reply.items().iter().map(value));
                self.cache.extend(values);
            }
            Expected::Value(_) | Expected::Values(_) => {}
            Expected::Block(all) => {
                for (reply, expected) in reply.items().iter().zip(all) {
                    self.take(reply, expected);
                }
            }
        }
    }

    fn forget(&mut self, parts: &[Reply]) {
        assert_eq!(parts[0].text(), "invalidate");
        match &parts[1] {
            Reply::Null => self.cache.clear(),
            keys => keys.items().iter().for_each(|key| {
                let key = key.text().strip_prefix('k').and_then(|n| n.parse::<usize>().ok());
                self.cache.remove(&key.expect("a key"));
            }),
        }
    }
}

struct World {
    simulation: Simulation<Worker>,
    random: fastrand::Rng,
    cachers: Vec<Cacher>,
    writers: Vec<Client>,
    written: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let shards = [1, 2, 3, 5][seed as usize % 4];
        let mut simulation = simulation(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let writers = (0..3).map(|n| simulation.connect(n % shards)).collect();
        let modes = ["ON", "ON BCAST", "ON BCAST PREFIX k PREFIX x", "ON OPTOUT", "ON NOLOOP"];
        let cachers = modes.map(|mode| Cacher {
            client: simulation.connect(random.usize(..shards)),
            mode,
            tracks: false,
            expected: VecDeque::new(),
            unread: Vec::new(),
            cache: HashMap::new(),
        });
        let mut world = World { simulation, random, cachers: cachers.into(), writers, written: 0 };
        for n in 0..world.cachers.len() {
            world.ask(n, "HELLO 3", Expected::Anything);
            world.begin(n);
        }
        world
    }

    fn ask(&mut self, n: usize, command: &str, expected: Expected) {
        let cacher = &mut self.cachers[n];
        cacher.expected.push_back(expected);
        self.simulation.write(cacher.client, &encode(command));
    }

    fn begin(&mut self, n: usize) {
        let command = format!("CLIENT TRACKING {}", self.cachers[n].mode);
        self.ask(n, &command, Expected::Begun);
    }

    fn key(&mut self) -> usize {
        self.random.usize(..KEYS)
    }

    fn read(&mut self, n: usize) {
        let (a, b, c) = (self.key(), self.key(), self.key());
        match self.random.u8(0..12) {
            0..=4 => self.ask(n, &format!("GET k{a}"), Expected::Value(a)),
            5 | 6 => self.ask(n, &format!("MGET k{a} k{b} k{c}"), Expected::Values(vec![a, b, c])),
            7 | 8 => {
                self.ask(n, "MULTI", Expected::Anything);
                self.ask(n, &format!("GET k{a}"), Expected::Anything);
                self.ask(n, &format!("MGET k{b} k{c}"), Expected::Anything);
                let mut all = vec![Expected::Value(a), Expected::Values(vec![b, c])];
                if self.random.bool() {
                    self.ask(n, "DBSIZE", Expected::Anything);
                    all.push(Expected::Anything);
                }
                self.ask(n, "EXEC", Expected::Block(all));
            }
            9 if self.cachers[n].mode != "ON NOLOOP" => {
                self.written += 1;
                let command = format!("SET k{a} {}", self.written);
                self.ask(n, &command, Expected::Anything);
                self.ask(n, &format!("GET k{a}"), Expected::Value(a));
            }
            10 if self.random.u8(..4) == 0 => {
                self.ask(n, "CLIENT TRACKING OFF", Expected::Ended);
                self.ask(n, &format!("GET k{a}"), Expected::Value(a));
                self.begin(n);
            }
            _ => self.ask(n, "CLIENT LIST", Expected::Anything),
        }
    }

    fn write(&mut self) {
        self.written += 1;
        let (a, b, n) = (self.key(), self.key(), self.written);
        let commands = match self.random.u8(0..16) {
            0..=3 => vec![format!("SET k{a} {n}")],
            4 => vec![format!("MSET k{a} {n} k{b} {n}")],
            5 => vec![format!("DEL k{a} k{b}")],
            6 => vec![format!("SET k{a} {n}"), format!("RENAME k{a} k{b}")],
            7 => vec![format!("COPY k{a} k{b} REPLACE")],
            8 => vec![
                "MULTI".into(),
                format!("SET k{a} {n}"),
                format!("SET k{b} {n}"),
                "EXEC".into(),
            ],
            9 => vec!["MULTI".into(), format!("APPEND k{a} 0"), "DBSIZE".into(), "EXEC".into()],
            10 => vec![
                format!("WATCH k{a} k{b}"),
                "MULTI".into(),
                format!("RENAME k{a} k{b}"),
                "EXEC".into(),
            ],
            11 => vec![format!("PEXPIRE k{a} 3")],
            12 if n.is_multiple_of(3) => vec!["FLUSHALL".into()],
            13 if n.is_multiple_of(3) => vec!["MULTI".into(), "FLUSHDB".into(), "EXEC".into()],
            14 if n.is_multiple_of(3) => vec!["SWAPDB 0 1".into()],
            _ => vec![format!("APPEND k{a} 1")],
        };
        let writer = self.writers[self.random.usize(..self.writers.len())];
        commands.iter().for_each(|command| self.simulation.write(writer, &encode(command)));
    }

    fn listen(&mut self) {
        for cacher in &mut self.cachers {
            cacher.unread.extend(self.simulation.read(cacher.client));
            while let Parsed::Whole(reply, used) = Reply::parse(&cacher.unread) {
                cacher.unread.drain(..used);
                match &reply {
                    Reply::Push(parts) => cacher.forget(parts),
                    reply => {
                        let expected = cacher.expected.pop_front().expect("a question");
                        cacher.take(reply, &expected);
                    }
                }
            }
        }
    }

    fn act(&mut self) {
        match self.random.u8(0..5) {
            0 | 1 => self.write(),
            _ => {
                let n = self.random.usize(..self.cachers.len());
                (0..=self.random.usize(..4)).for_each(|_| self.read(n));
            }
        }
        (0..self.random.usize(..60)).for_each(|_| self.simulation.step());
        self.listen();
    }

    /// When all is quiet, the caches are right.
    fn check_quiet(&mut self, seed: u64) {
        self.simulation.settle(STEPS);
        let writer = self.writers[0];
        self.simulation.read(writer);
        let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key}")).collect();
        self.simulation.write(writer, &encode(&format!("MGET {}", keys.join(" "))));
        self.simulation.settle(STEPS);
        let bytes = self.simulation.read(writer);
        let Parsed::Whole(reply, _) = Reply::parse(&bytes) else { panic!("no reply") };
        self.listen();
        for (n, cacher) in self.cachers.iter().enumerate() {
            assert!(cacher.expected.is_empty());
            for (key, cached) in &cacher.cache {
                let own = &reply.items()[*key];
                let own = (!own.is_nil()).then(|| own.text());
                assert_eq!(&own, cached, "k{key} at {n} ({}), seed {seed}", cacher.mode);
            }
        }
    }

    /// After the reply to a write, whoever asks anything has been told.
    fn check_known(&mut self, seed: u64) {
        let (key, writer) = (self.key(), self.writers[self.random.usize(..3)]);
        self.written += 1;
        let value = self.written.to_string();
        let command = match self.random.u8(0..4) {
            0 => format!("MSET k{} x k{key} {value} k{} x", (key + 1) % KEYS, (key + 2) % KEYS),
            _ => format!("SET k{key} {value}"),
        };
        self.simulation.read(writer);
        self.simulation.write(writer, &encode(&command));
        while self.simulation.read(writer).is_empty() {
            self.simulation.step();
        }
        let n = self.random.usize(..self.cachers.len());
        self.ask(n, "PING", Expected::Anything);
        while !self.cachers[n].expected.is_empty() {
            self.simulation.step();
            self.listen();
        }
        let cached = self.cachers[n].cache.get(&key);
        let mode = self.cachers[n].mode;
        assert!(cached.is_none_or(|cached| cached.as_ref() == Some(&value)), "{mode}, seed {seed}");
    }
}

#[test]
fn caches_are_right_when_all_is_quiet_and_for_those_who_know() {
    for_seeds("caches_are_right", 400, |seed| {
        let mut world = World::new(seed);
        for _ in 0..6 {
            (0..20).for_each(|_| world.act());
            world.check_quiet(seed);
            (0..6).for_each(|n| {
                world.read(n % 5);
                world.simulation.settle(STEPS);
                world.listen();
                world.check_known(seed);
            });
        }
    });
}

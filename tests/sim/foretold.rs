//! Scripts that compute the names of their keys: how they run once they are known, and that nobody
//! sees it when one was given up on the way.

use super::{STEPS, encode, for_seeds, replies, simulation_with};
use crate::harness::Reply;
use crate::serial::command::encode_words;
use corelane::metrics::{Counter, ShardStats};
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};
use corelane::script::Sha;
use corelane::shard::SlotTable;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Adds a job to a queue, as task queues do: the job's key depends on what a counter says.
const ADD: &str = "\
local id = redis.call('incr', KEYS[1])
local job = ARGV[1] .. id
redis.call('hset', job, 'name', ARGV[2])
redis.call('lpush', ARGV[1] .. 'wait', id)
redis.call('publish', ARGV[1] .. 'events', id)
return id";

/// How a script is sent.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Eval,
    Function,
}

struct Queues {
    simulation: Simulation<Worker>,
    shards: usize,
    form: Form,
    added: BTreeMap<String, Vec<i64>>,
}

fn words(words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_words(words.iter().map(|word| word.as_bytes()), &mut out);
    out
}

impl Queues {
    fn new(shards: usize, seed: u64, form: Form) -> Queues {
        let events = ["--notify-keyspace-events", "KEA"];
        let simulation = simulation_with(shards, seed, &events);
        let mut queues = Queues { simulation, shards, form, added: BTreeMap::new() };
        let library = format!(
            "#!lua name=queues\nredis.register_function('add', function(KEYS, ARGV) {ADD} end)"
        );
        let loaded = queues.ask(&words(&["FUNCTION", "LOAD", &library]));
        assert_eq!(loaded.text(), "queues");
        queues
    }

    /// What a new client is answered.
    fn ask(&mut self, request: &[u8]) -> Reply {
        let client = self.simulation.connect(0);
        self.simulation.write(client, request);
        self.simulation.settle(STEPS);
        let mut all = replies(&self.simulation.read(client));
        self.simulation.hang_up(client);
        self.simulation.settle(STEPS);
        all.pop().expect("a reply")
    }

    fn add(&mut self, client: Client, queue: &str) {
        let (counter, prefix) = (format!("{queue}:id"), format!("{queue}:"));
        let (name, code) = match self.form {
            Form::Eval => ("EVAL", ADD),
            Form::Function => ("FCALL", "add"),
        };
        self.simulation.write(client, &words(&[name, code, "1", &counter, &prefix, "work"]));
    }

    fn hear(&mut self, client: Client, queue: &str) {
        let ids = replies(&self.simulation.read(client));
        let ids = ids.iter().map(|reply| match reply {
            Reply::Int(id) => *id,
            other => panic!("{queue}: {other:?}"),
        });
        self.added.entry(queue.into()).or_default().extend(ids);
    }

    fn sum(&self, of: fn(&ShardStats) -> &Counter) -> u64 {
        (0..self.shards).map(|shard| of(&self.simulation.handler(shard).stats()).get()).sum()
    }

    /// Everything has happened once, as the replies say.
    fn check(&mut self, heard: &[Reply]) {
        let mut total = 0;
        for (queue, mut ids) in std::mem::take(&mut self.added) {
            ids.sort_unstable();
            let all: Vec<i64> = (1..=ids.len() as i64).collect();
            assert_eq!(ids, all, "{queue}");
            total += all.len();
            let wait = self.ask(&encode(&format!("LRANGE {queue}:wait 0 {}", all.len() - 1)));
            let wait: Vec<i64> =
                wait.items().iter().rev().map(|id| id.text().parse().unwrap()).collect();
            assert_eq!(wait, all, "{queue}");
            for id in &all {
                let job = self.ask(&encode(&format!("HGET {queue}:{id} name")));
                assert_eq!(job.text(), "work", "{queue} {id}");
            }
            let message = |channel: &str| -> Vec<String> {
                let of = heard.iter().filter(|m| m.items()[2].text() == channel);
                of.map(|message| message.items()[3].text()).collect()
            };
            let events: Vec<i64> =
                message(&format!("{queue}:events")).iter().map(|id| id.parse().unwrap()).collect();
            assert_eq!(events, all, "{queue}");
            assert_eq!(message(&format!("__keyspace@0__:{queue}:id")).len(), all.len());
            for id in &all {
                let events = message(&format!("__keyspace@0__:{queue}:{id}"));
                assert_eq!(events, ["hset"], "{queue} {id}");
            }
        }
        let stats = self.ask(&encode("INFO commandstats")).text();
        for command in ["incr", "hset", "publish"] {
            let line = format!("cmdstat_{command}:calls={total},");
            assert!(stats.contains(&line), "{line}\n{stats}");
        }
    }
}

fn listen(queues: &mut Queues) -> Client {
    let listener = queues.simulation.connect(queues.shards - 1);
    queues.simulation.write(listener, &encode("PSUBSCRIBE *"));
    queues.simulation.settle(STEPS);
    queues.simulation.read(listener);
    listener
}

#[test]
fn queues_do_not_stop_each_other_once_their_script_is_known() {
    for_seeds("sim::foretold::queues_do_not_stop", 60, |seed| {
        let shards = [2, 4][seed as usize % 2];
        let form = [Form::Eval, Form::Function][seed as usize / 2 % 2];
        let mut queues = Queues::new(shards, seed, form);
        let listener = listen(&mut queues);
        let clients: Vec<(Client, String)> =
            (0..shards).map(|n| (queues.simulation.connect(n), format!("q{n}"))).collect();
        for _ in 0..4 {
            for (client, queue) in &clients {
                queues.add(*client, queue);
                queues.simulation.settle(STEPS);
            }
        }
        let whole = queues.sum(|stats| &stats.scripts_whole);
        assert_eq!(whole, 2 * shards as u64, "two runs on each shard, to see what it does");
        for round in 0..40 {
            for (client, queue) in &clients {
                queues.add(*client, queue);
            }
            (0..round % 7).for_each(|_| queues.simulation.step());
        }
        queues.simulation.settle(STEPS);
        assert_eq!(queues.sum(|stats| &stats.scripts_whole), whole, "nothing is held as a whole");
        assert_eq!(queues.sum(|stats| &stats.scripts_given_up), 0);
        assert_eq!(queues.sum(|stats| &stats.scripts_foretold), 42 * shards as u64);
        assert!(queues.sum(|stats| &stats.scripts_extended) > 0);
        for (client, queue) in &clients {
            queues.hear(*client, queue);
        }
        let heard = replies(&queues.simulation.read(listener));
        queues.check(&heard);
    });
}

#[test]
fn nobody_sees_a_script_that_was_given_up() {
    for_seeds("sim::foretold::nobody_sees", 60, |seed| {
        let shards = [2, 4][seed as usize % 2];
        let form = [Form::Eval, Form::Function][seed as usize / 2 % 2];
        let mut queues = Queues::new(shards, seed, form);
        // What is too big to be undone is not tried: the script has written when it comes there.
        let many = "x ".repeat(600);
        queues.ask(&encode(&format!("LPUSH q0:wait {many}")));
        let listener = listen(&mut queues);
        let clients: Vec<(Client, String)> = (0..2 * shards)
            .map(|n| (queues.simulation.connect(n % shards), format!("q{}", n % 2)))
            .collect();
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..60 {
            let (client, queue) = &clients[random.usize(..clients.len())];
            queues.add(*client, queue);
            (0..random.u8(..40)).for_each(|_| queues.simulation.step());
        }
        queues.simulation.settle(STEPS);
        assert!(queues.sum(|stats| &stats.scripts_given_up) > 0);
        for (client, queue) in &clients {
            queues.hear(*client, queue);
        }
        let heard = replies(&queues.simulation.read(listener));
        queues.check(&heard);
        for shard in 0..shards {
            assert!(queues.simulation.handler(shard).is_idle(), "shard {shard}");
        }
    });
}

/// A script may become known on the way of a request that names it: it is not run then with the keys
/// alone that the request gave it.
#[test]
fn a_script_that_becomes_known_on_the_way_of_its_name_has_all_its_keys_or_does_not_run() {
    let (unknown, ran) = (Cell::new(0), Cell::new(0));
    for_seeds("sim::foretold::a_script_that_becomes_known", 200, |seed| {
        let mut simulation = simulation_with(2, seed, &[]);
        let body = "return redis.call('incr', ARGV[1])";
        let sha = String::from_utf8(Sha::of(body.as_bytes()).hex().to_vec()).expect("digits");
        let mut random = fastrand::Rng::with_seed(seed);
        let (asks, brings) = (simulation.connect(0), simulation.connect(1));
        let slots = SlotTable::contiguous(2);
        let of = |shard| {
            let mut keys = (0..20).map(|n| format!("k{n}"));
            keys.find(|key| slots.owner_of(key.as_bytes()) == shard).expect("a key of each shard")
        };
        let (declared, other) = (&of(1), &of(0));
        simulation.write(asks, &words(&["EVALSHA", &sha, "1", declared, other]));
        (0..random.u8(..6)).for_each(|_| simulation.step());
        simulation.write(brings, &words(&["EVAL", body, "0", other]));
        simulation.settle(STEPS);
        match &replies(&simulation.read(asks))[..] {
            [Reply::Error(text)] if text.starts_with(b"NOSCRIPT") => unknown.set(unknown.get() + 1),
            [Reply::Int(1 | 2)] => ran.set(ran.get() + 1),
            other => panic!("seed {seed}: {other:?}"),
        }
    });
    assert!(unknown.get() > 0 && ran.get() > 0, "{unknown:?} {ran:?}");
}

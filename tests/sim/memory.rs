//! Transactions while memory is short: what they hold is not evicted under them, and all come to an end.

use super::transactions::{assert_idle, call, next_reply};
use super::{STEPS, any_command, encode, for_seeds, replies, simulation_with};
use crate::harness::Reply;
use corelane::net::Worker;
use corelane::rt::sim::Simulation;

/// In a simulation every key weighs a thousand bytes.
const KEYS: u64 = 8;

fn short_of_memory(shards: usize, seed: u64) -> Simulation<Worker> {
    let policies = ["allkeys-lru", "allkeys-random", "allkeys-lfu"];
    let limit = (KEYS * 1000).to_string();
    let policy = policies[seed as usize % policies.len()];
    simulation_with(shards, seed, &["--maxmemory", &limit, "--maxmemory-policy", policy])
}

fn field(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.expect(name).parse().expect(name)
}

#[test]
fn what_a_transaction_holds_is_not_evicted_under_it() {
    for_seeds("what_a_transaction_holds", 150, |seed| {
        let shards = 1 + seed as usize % 4;
        let mut simulation = short_of_memory(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let clients: Vec<_> = (0..4).map(|n| simulation.connect(n % shards)).collect();
        let mut expected = vec![Vec::new(); clients.len()];
        for n in 0..60u32 {
            let at = random.usize(..clients.len());
            let (a, b) = (format!("a{n}"), format!("b{n}"));
            let (lines, reply) = match random.u8(..4) {
                0 => (vec![format!("SET {a} {n}")], None),
                // Their keys are borrowed,
                1 => (
                    vec![format!("SET {a} {n}"), format!("RENAME {a} {b}"), format!("GET {b}")],
                    Some(2),
                ),
                // the shards visited,
                2 => (
                    vec![format!("MSET {a} {n} {b} {n}"), format!("GET {a}"), format!("GET {b}")],
                    Some(1),
                ),
                // or everything is borrowed.
                _ => (vec![format!("SET {a} {n}"), "DBSIZE".into(), format!("GET {a}")], Some(2)),
            };
            simulation.write(clients[at], &encode("MULTI"));
            lines.iter().for_each(|line| simulation.write(clients[at], &encode(line)));
            simulation.write(clients[at], &encode("EXEC"));
            expected[at].push((lines.len() + 2, reply, n));
            (0..random.u8(0..60)).for_each(|_| simulation.step());
        }
        simulation.settle(STEPS);
        for (client, expected) in clients.iter().zip(expected) {
            let all = replies(&simulation.read(*client));
            let mut rest = all.as_slice();
            for (count, reply, n) in expected {
                let block = &rest[count - 1];
                if let Some(at) = reply {
                    assert_eq!(block.items()[at].text(), n.to_string(), "seed {seed}: {block:?}");
                }
                rest = &rest[count..];
            }
            assert!(rest.is_empty());
        }
        assert_idle(&simulation, shards);
    });
}

#[test]
fn many_clients_get_their_replies_while_keys_go() {
    for_seeds("many_clients_get_their_replies", 100, |seed| {
        let shards = 1 + seed as usize % 4;
        let mut simulation = short_of_memory(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let clients: Vec<_> = (0..5).map(|n| simulation.connect(n % shards)).collect();
        let mut asked = vec![0; clients.len()];
        for _ in 0..80 {
            let at = random.usize(..clients.len());
            simulation.write(clients[at], &encode(&any_command(&mut random)));
            asked[at] += 1;
            (0..random.u8(0..40)).for_each(|_| simulation.step());
        }
        simulation.settle(STEPS);
        for (client, asked) in clients.iter().zip(asked) {
            let replies = replies(&simulation.read(*client));
            assert_eq!(replies.len(), asked, "seed {seed}");
            let oom = |reply: &&Reply| format!("{reply:?}").contains("OOM");
            assert_eq!(
                replies.iter().filter(oom).count(),
                0,
                "seed {seed}: there is something to evict"
            );
        }
        let client = simulation.connect(0);
        (0..20).for_each(|n| drop(call(&mut simulation, client, &format!("SET last{n} v"))));
        simulation.settle(STEPS);
        simulation.write(client, &encode("DBSIZE"));
        let keys = next_reply(&mut simulation, client).int() as u64;
        let info = call(&mut simulation, client, "INFO").text();
        assert!(keys <= KEYS, "seed {seed}: {keys} keys");
        assert!(field(&info, "evicted_keys") > 0);
        simulation.settle(STEPS);
        assert_idle(&simulation, shards);
    });
}

//! MULTI and WATCH on several shards: atomic, in order, and nothing is left behind.

use super::{STEPS, any_command, encode, for_seeds, key, replies, run_alone, simulation};
use crate::harness::Reply;
use corelane::net::Worker;
use corelane::rt::sim::{Client, Simulation};

/// Lets the simulation run until a client has a whole reply.
pub(super) fn next_reply(simulation: &mut Simulation<Worker>, client: Client) -> Reply {
    let mut bytes = Vec::new();
    for _ in 0..STEPS {
        bytes.extend(simulation.read(client));
        if let crate::harness::reply::Parsed::Whole(reply, used) = Reply::parse(&bytes) {
            assert_eq!(used, bytes.len(), "one reply at a time");
            return reply;
        }
        simulation.step();
    }
    panic!("no reply after {STEPS} steps");
}

pub(super) fn call(simulation: &mut Simulation<Worker>, client: Client, command: &str) -> Reply {
    simulation.write(client, &encode(command));
    next_reply(simulation, client)
}

pub(super) fn assert_idle(simulation: &Simulation<Worker>, shards: usize) {
    for shard in 0..shards {
        assert!(simulation.handler(shard).is_idle(), "shard {shard} has something left to do");
        assert_eq!(simulation.handler(shard).watchers(), 0, "shard {shard} knows watchers");
    }
}

/// A program with blocks, watches and mistakes among ordinary commands.
fn program(random: &mut fastrand::Rng, lines: usize) -> Vec<String> {
    let mut program = Vec::new();
    while program.len() < lines {
        match random.u8(0..8) {
            0..=2 => program.push(any_command(random)),
            3 => program.push(format!("WATCH {} {}", key(random), key(random))),
            4 => {
                program.push(["UNWATCH", "EXEC", "DISCARD", "CLIENT ID"][random.usize(0..4)].into())
            }
            _ => {
                program.push("MULTI".into());
                for _ in 0..random.u8(0..6) {
                    program.push(match random.u8(0..40) {
                        0 => "NOSUCH".into(),
                        1 => "CLIENT GETNAME".into(),
                        2 => "CONFIG SET lfu-log-factor 5".into(),
                        3 => "CLIENT KILL ID 999".into(),
                        4 => "UNWATCH".into(),
                        5 => format!("WATCH {}", key(random)),
                        6 => "SWAPDB 0 1".into(),
                        7 => "FLUSHDB".into(),
                        8 => "KEYS nothing".into(),
                        _ => any_command(random),
                    });
                }
                program.push(["EXEC", "EXEC", "EXEC", "DISCARD"][random.usize(0..4)].into());
            }
        }
    }
    program.push("DISCARD".into());
    program.push("UNWATCH".into());
    program
}

#[test]
fn one_clients_blocks_are_as_if_there_were_one_shard() {
    for_seeds("one_clients_blocks", 300, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut program = program(&mut random, 200);
        // Which is answered by ids that tell the number of connections.
        program.retain(|line| line != "CLIENT ID");
        let alone = run_alone(1, seed, &program);
        for shards in [2, 3, 5] {
            let spread = run_alone(shards, seed, &program);
            let (alone, spread) =
                (String::from_utf8_lossy(&alone), String::from_utf8_lossy(&spread));
            assert_eq!(alone, spread, "{shards} shards, seed {seed}");
        }
    });
}

#[test]
fn many_clients_blocks_come_to_an_end() {
    for_seeds("many_clients_blocks", 150, |seed| {
        let shards = 2 + seed as usize % 4;
        let mut simulation = simulation(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let clients: Vec<_> = (0..5).map(|n| simulation.connect(n % shards)).collect();
        let mut asked = vec![0; clients.len()];
        for _ in 0..12 {
            for (client, asked) in clients.iter().zip(&mut asked) {
                for line in program(&mut random, 6) {
                    simulation.write(*client, &encode(&line));
                    *asked += 1;
                }
            }
            (0..random.u8(0..200)).for_each(|_| simulation.step());
        }
        simulation.settle(STEPS);
        for (client, asked) in clients.iter().zip(asked) {
            let replies = replies(&simulation.read(*client));
            assert_eq!(replies.len(), asked, "every request is answered, seed {seed}");
        }
        assert_idle(&simulation, shards);
        // What each shard counts is what is there.
        let counted = call(&mut simulation, clients[0], "DBSIZE").int();
        let found = call(&mut simulation, clients[0], "SCAN 0 COUNT 1000");
        let now = call(&mut simulation, clients[0], "DBSIZE").int();
        assert_eq!((counted, now), (found.items()[1].items().len() as i64, counted), "seed {seed}");
    });
}

#[test]
fn a_counter_under_watch_counts_every_exec() {
    for_seeds("a_counter_under_watch", 150, |seed| {
        let shards = 1 + seed as usize % 4;
        let mut simulation = simulation(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let clients: Vec<_> = (0..4).map(|n| simulation.connect(n % shards)).collect();
        // Each client is at a step of: WATCH, GET, MULTI, SET, SET, EXEC.
        let mut steps = vec![0; clients.len()];
        let mut values = vec![0; clients.len()];
        let mut buffers = vec![Vec::new(); clients.len()];
        let (mut done, mut failed) = (0, 0);
        simulation.write(clients[0], &encode("WATCH counter"));
        clients[1..].iter().for_each(|c| simulation.write(*c, &encode("WATCH counter")));
        while done < 40 {
            simulation.step();
            for n in 0..clients.len() {
                buffers[n].extend(simulation.read(clients[n]));
                let got: &mut Vec<u8> = &mut buffers[n];
                let crate::harness::reply::Parsed::Whole(reply, used) = Reply::parse(got) else {
                    continue;
                };
                got.drain(..used);
                let ask = match steps[n] {
                    0 => "GET counter".to_string(),
                    1 => {
                        values[n] = if reply.is_nil() { 0 } else { reply.text().parse().unwrap() };
                        "MULTI".to_string()
                    }
                    2 => format!("SET counter {}", values[n] + 1),
                    3 => format!("SET copy{} {}", random.u8(0..5), values[n] + 1),
                    4 => "EXEC".to_string(),
                    _ => {
                        match reply {
                            Reply::Array(_) => done += 1,
                            _ => failed += 1,
                        }
                        "WATCH counter".to_string()
                    }
                };
                steps[n] = (steps[n] + 1) % 6;
                simulation.write(clients[n], &encode(&ask));
            }
        }
        simulation.settle(STEPS);
        // What was under way may have succeeded, too.
        for n in 0..clients.len() {
            buffers[n].extend(simulation.read(clients[n]));
            if steps[n] == 5 {
                let last = replies(&buffers[n]).pop();
                done += i64::from(matches!(last, Some(Reply::Array(_))));
            }
        }
        let reader = simulation.connect(0);
        let counter = call(&mut simulation, reader, "GET counter").text();
        assert_eq!(counter, done.to_string(), "seed {seed}, {failed} have failed");
        assert!(failed > 0, "seed {seed}: nobody has disturbed anybody");
    });
}

#[test]
fn pairs_on_two_shards_are_always_equal() {
    for_seeds("pairs_on_two_shards", 150, |seed| {
        let shards = 2 + seed as usize % 4;
        let mut simulation = simulation(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let clients: Vec<_> = (0..5).map(|n| simulation.connect(n % shards)).collect();
        let mut asked = vec![0; clients.len()];
        for round in 0..60 {
            let n = random.usize(..clients.len());
            let block: &[String] = &match random.u8(0..7) {
                0..=2 => vec![format!("SET foo {round}"), format!("SET b {round}")],
                3 => vec![format!("MSET foo x{round} b x{round} c {round}")],
                4 => vec!["FLUSHALL".into(), format!("MSET foo y{round} b y{round}")],
                5 => vec!["MGET foo b".into(), "DBSIZE".into()],
                _ => vec!["MGET foo b".into()],
            };
            let all = ["MULTI".to_string()].into_iter().chain(block.iter().cloned());
            for line in all.chain(["EXEC".to_string()]) {
                simulation.write(clients[n], &encode(&line));
                asked[n] += 1;
            }
            (0..random.u8(0..60)).for_each(|_| simulation.step());
        }
        simulation.settle(STEPS);
        let mut read = 0;
        for (client, asked) in clients.iter().zip(asked) {
            let replies = replies(&simulation.read(*client));
            assert_eq!(replies.len(), asked, "seed {seed}");
            for reply in replies {
                if let Reply::Array(elements) = reply
                    && let Some(Reply::Array(pair)) = elements.first()
                {
                    assert_eq!(pair[0], pair[1], "seed {seed}");
                    read += 1;
                }
            }
        }
        assert!(read > 0, "seed {seed}");
        assert_idle(&simulation, shards);
    });
}

#[test]
fn a_client_that_goes_away_leaves_no_watch() {
    for_seeds("a_client_that_goes_away", 100, |seed| {
        let shards = 2 + seed as usize % 3;
        let mut simulation = simulation(shards, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let stays = simulation.connect(0);
        for n in 0..6 {
            let client = simulation.connect(n % shards);
            for line in program(&mut random, 10).iter().take(10) {
                simulation.write(client, &encode(line));
            }
            simulation.write(client, &encode("WATCH k1 k2 k3 foo"));
            simulation.write(client, &encode("QUIT"));
            simulation.write(stays, &encode("MSET k1 1 k2 2 k3 3 k4 4"));
            simulation.write(stays, &encode("RENAME k1 k5"));
        }
        simulation.settle(STEPS);
        assert_idle(&simulation, shards);
    });
}

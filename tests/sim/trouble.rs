//! Clients that leave, are killed, do not read or ask for too much, at any moment.

use super::*;

/// What a client did that excuses the server from answering it.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Served,
    /// It has closed its side and is owed all replies, and then the end.
    HungUp,
    /// It was cut off, or somebody wanted to kill it.
    Lost,
}

struct Guest {
    client: sim::Client,
    asked: usize,
    fate: Fate,
}

struct Party {
    simulation: Simulation<Worker>,
    random: fastrand::Rng,
    guests: Vec<Guest>,
    shards: usize,
}

impl Party {
    fn arrive(&mut self) {
        let client = self.simulation.connect(self.random.usize(..self.shards));
        self.guests.push(Guest { client, asked: 0, fate: Fate::Served });
    }

    fn ask(&mut self, command: &str) {
        let n = self.random.usize(..self.guests.len());
        if self.guests[n].fate == Fate::Served {
            self.simulation.write(self.guests[n].client, &encode(command));
            self.guests[n].asked += 1;
        }
    }

    fn act(&mut self) {
        let n = self.random.usize(..self.guests.len());
        let guest = &mut self.guests[n];
        match self.random.u8(0..40) {
            0 => {
                self.simulation.cut(guest.client);
                guest.fate = Fate::Lost;
            }
            1 if guest.fate == Fate::Served => {
                self.simulation.hang_up(guest.client);
                guest.fate = Fate::HungUp;
            }
            2 | 3 => self.simulation.stop_reading(guest.client, self.random.bool()),
            // Ids are given in the order of the connections, from 1 on.
            4 => {
                guest.fate = Fate::Lost;
                self.ask(&format!("CLIENT KILL ID {}", n + 1));
            }
            5 | 6 if self.guests.len() < 30 => self.arrive(),
            7 => self.ask("CLIENT LIST"),
            8 => self.ask("SCAN 0 COUNT 3"),
            9..=20 => {
                let (a, b) = (key(&mut self.random), key(&mut self.random));
                self.ask(&format!("RENAMENX {a} {b}"));
            }
            _ => {
                let a = key(&mut self.random);
                let command = match self.random.u8(0..4) {
                    0 => "DBSIZE".to_string(),
                    1 => format!("MGET {a} k1 k2 k3"),
                    2 => format!("BITOP AND none {a} nokey"),
                    _ => format!("GET {a}"),
                };
                self.ask(&command);
            }
        }
    }

    /// Nobody is deaf any more; everything comes to rest.
    fn end(&mut self, seed: u64) {
        for guest in &self.guests {
            self.simulation.stop_reading(guest.client, false);
        }
        self.simulation.settle(STEPS);
        for guest in &self.guests {
            let replies = replies(&self.simulation.read(guest.client));
            let closed = self.simulation.is_closed(guest.client);
            match guest.fate {
                Fate::Served => assert_eq!((replies.len(), closed), (guest.asked, false)),
                Fate::HungUp => assert_eq!((replies.len(), closed), (guest.asked, true)),
                Fate::Lost => assert!(replies.len() <= guest.asked, "seed {seed}"),
            }
        }
        for shard in 0..self.shards {
            assert!(self.simulation.handler(shard).is_idle(), "shard {shard}, seed {seed}");
        }
    }
}

#[test]
fn clients_that_leave_or_are_killed_leave_nothing_behind() {
    for_seeds("clients_that_leave", 300, |seed| {
        let shards = 2 + seed as usize % 4;
        let mut party = Party {
            simulation: simulation(shards, seed),
            random: fastrand::Rng::with_seed(seed),
            guests: Vec::new(),
            shards,
        };
        let setup = party.simulation.connect(0);
        party.guests.push(Guest { client: setup, asked: 6, fate: Fate::Served });
        (0..6).for_each(|n| party.simulation.write(setup, &encode(&format!("SET k{n} v{n}"))));
        party.simulation.settle(STEPS);
        (0..4).for_each(|_| party.arrive());
        for _ in 0..150 {
            party.act();
            (0..party.random.u8(0..25)).for_each(|_| party.simulation.step());
        }
        party.end(seed);
        let witness = party.simulation.connect(0);
        // Six keys, whoever renamed them and whoever went away meanwhile.
        party.simulation.write(witness, &encode("DEL none"));
        party.simulation.settle(STEPS);
        party.simulation.read(witness);
        party.simulation.write(witness, &encode("DBSIZE"));
        party.simulation.settle(STEPS);
        let size = party.simulation.read(witness);
        assert_eq!(String::from_utf8_lossy(&size), ":6\r\n", "seed {seed}");
        let open = party.guests.iter().filter(|g| !party.simulation.is_closed(g.client)).count();
        assert_eq!(party.simulation.open_sockets(), open + 1, "seed {seed}");
    });
}

#[test]
fn what_a_client_is_owed_is_limited_wherever_it_comes_from() {
    for_seeds("what_a_client_is_owed", 60, |seed| {
        let shards = 1 + seed as usize % 4;
        let limit = ["--client-output-buffer-limit", "normal 300kb 0 0"];
        let mut simulation = simulation_with(shards, seed, &limit);
        let mut random = fastrand::Rng::with_seed(seed);
        let setup = simulation.connect(0);
        let value = "x".repeat(100_000);
        (0..8).for_each(|n| simulation.write(setup, &encode(&format!("SET k{n} {value}"))));
        simulation.settle(STEPS);
        assert_eq!(simulation.read(setup), b"+OK\r\n".repeat(8));
        let greedy = simulation.connect(random.usize(..shards));
        simulation.stop_reading(greedy, true);
        let modest = simulation.connect(random.usize(..shards));
        for _ in 0..20 {
            let command = match random.u8(0..3) {
                0 => "MGET k0 k1".to_string(),
                _ => format!("GET {}", key(&mut random).replace("k1", "k")),
            };
            simulation.write(greedy, &encode(&command));
            simulation.write(greedy, &encode("MGET k5 k6"));
            simulation.write(modest, &encode("STRLEN k3"));
        }
        simulation.settle(STEPS);
        assert!(simulation.is_closed(greedy), "seed {seed}");
        assert_eq!(simulation.read(modest), b":100000\r\n".repeat(20), "seed {seed}");
        assert!((0..shards).all(|shard| simulation.handler(shard).is_idle()), "seed {seed}");
    });
}

#[test]
fn a_client_far_ahead_of_its_renames_is_not_read_from() {
    for_seeds("a_client_far_ahead", 10, |seed| {
        let mut simulation = simulation(3, seed);
        let client = simulation.connect(seed as usize % 3);
        let total = 30_000;
        let mut program = encode("SET a1 v");
        for n in 1..total {
            program.extend(encode(&format!("RENAME a{n} a{}", n + 1)));
        }
        simulation.write(client, &program);
        simulation.settle(10 * STEPS);
        assert_eq!(simulation.read(client), b"+OK\r\n".repeat(total), "seed {seed}");
    });
}

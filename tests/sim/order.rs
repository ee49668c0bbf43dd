//! A connection's requests take effect in their order, and nobody waits for ever.

use super::*;

/// A command as a line, with its last word in quotes.
fn quoted(command: &str) -> Vec<u8> {
    match command.rsplit_once(' ') {
        Some((words, last)) => format!("{words} \"{last}\"\r\n").into_bytes(),
        None => format!("{command}\r\n").into_bytes(),
    }
}

#[test]
fn lines_and_errors_behind_a_waiting_command_are_read_in_their_turn() {
    for_seeds("lines_and_errors_behind", 150, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut program = Vec::new();
        for _ in 0..100 {
            let command = any_command(&mut random);
            program.extend(match random.bool() {
                true => quoted(&command),
                false => encode(&command),
            });
        }
        program.extend(match random.u8(0..3) {
            0 => b"*1\r\n+PING\r\n".to_vec(),
            1 => b"SET k \"never closed\r\n".to_vec(),
            _ => encode("QUIT"),
        });
        program.extend(b"*x\r\nSET k0 late\r\n");
        let run = |shards: usize| {
            let mut simulation = simulation(shards, seed);
            let client = simulation.connect(seed as usize % shards);
            simulation.write(client, &program);
            simulation.settle(STEPS);
            assert!(simulation.is_closed(client), "{shards} shards");
            String::from_utf8_lossy(&simulation.read(client)).into_owned()
        };
        let alone = run(1);
        for shards in [2, 4] {
            assert_eq!(alone, run(shards), "{shards} shards, seed {seed}");
        }
    });
}

/// A command that uses and changes only keys of one writer.
fn own_command(random: &mut fastrand::Rng, writer: usize) -> String {
    let mut key = || format!("w{writer}k{}", random.u8(0..4));
    let (a, b) = (key(), key());
    let n = random.u16(..);
    match random.u8(0..12) {
        0..=2 => format!("SET {a} {n}"),
        3..=5 => format!("GET {a}"),
        6 => format!("APPEND {a} {n}"),
        7 => format!("RENAME {a} {b}"),
        8 => format!("MGET {a} {b}"),
        9 => format!("MSET {a} {n} {b} x{n}"),
        10 => format!("COPY {a} {b} REPLACE"),
        _ => format!("EXISTS {a} {b}"),
    }
}

#[test]
fn a_writer_sees_its_own_order_while_others_borrow_its_keys() {
    for_seeds("a_writer_sees_its_own_order", 300, |seed| {
        let shards = 2 + seed as usize % 4;
        let mut random = fastrand::Rng::with_seed(seed);
        let programs: Vec<Vec<String>> =
            (0..3).map(|w| (0..60).map(|_| own_command(&mut random, w)).collect()).collect();
        let mut simulation = simulation(shards, seed);
        let writers: Vec<_> = (0..3).map(|n| simulation.connect((n + 1) % shards)).collect();
        let borrowers: Vec<_> = (0..4).map(|n| simulation.connect(n % shards)).collect();
        for step in 0..60 {
            for (writer, program) in writers.iter().zip(&programs) {
                simulation.write(*writer, &encode(&program[step]));
            }
            for borrower in &borrowers {
                let mut key = || format!("w{}k{}", random.u8(0..3), random.u8(0..4));
                let (a, b) = (key(), key());
                simulation.write(*borrower, &encode(&format!("BITOP OR junk {a} {b}")));
            }
            (0..random.u8(0..60)).for_each(|_| simulation.step());
        }
        simulation.settle(STEPS);
        for (writer, program) in writers.iter().zip(&programs) {
            let alone = run_alone(1, seed, program);
            let shared = simulation.read(*writer);
            let (alone, shared) =
                (String::from_utf8_lossy(&alone), String::from_utf8_lossy(&shared));
            assert_eq!(alone, shared, "seed {seed}");
        }
    });
}

#[test]
fn a_key_that_is_always_borrowed_is_still_read() {
    for_seeds("a_key_that_is_always_borrowed", 40, |seed| {
        let mut simulation = simulation(3, seed);
        let borrowers: Vec<_> = (0..6).map(|n| simulation.connect(n % 3)).collect();
        let reader = simulation.connect(seed as usize % 3);
        let copy = encode("BITOP OR other{b} hot{a} cold{c}").repeat(3);
        borrowers.iter().for_each(|client| simulation.write(*client, &copy));
        (0..500).for_each(|_| simulation.step());
        simulation.write(reader, &encode("GET hot{a}"));
        simulation.write(reader, &encode("DBSIZE"));
        let mut got = Vec::new();
        for _ in 0..20_000 {
            simulation.step();
            for client in &borrowers {
                let answered = simulation.read(*client).iter().filter(|&&b| b == b'\n').count();
                let more = encode("BITOP OR other{b} hot{a} cold{c}").repeat(answered);
                simulation.write(*client, &more);
            }
            got.extend(simulation.read(reader));
            if got.ends_with(b":0\r\n") {
                return;
            }
        }
        panic!("no reply but {:?}, seed {seed}", String::from_utf8_lossy(&got));
    });
}

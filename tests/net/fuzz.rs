//! Mutated requests on the wire. Same seed, same bytes: `CORELANE_SEED` and the number of the
//! input repeat a failure, whose bytes are printed.

#[path = "../fuzz/property.rs"]
mod property;

use super::corpus;
use crate::harness::client::{Client, Ending};
use crate::harness::script::quote;
use crate::harness::{Cmd, Pair, Rng, Server, cases, parse_line};
use std::net::Shutdown;
use std::time::Duration;

/// Commands whose replies depend on nothing but the data, and which mutate into nothing harmful.
const COMMANDS: &[&str] = &[
    "PING",
    "PING hi",
    "ECHO abc",
    "SET k v",
    "SET k v NX GET",
    "SET k 10 KEEPTTL",
    "GET k",
    "GET missing",
    "DEL k",
    "MSET a 1 b 2 c 3",
    "MGET a b c d",
    "INCR n",
    "INCRBY n 5",
    "DECRBY n 3",
    "APPEND s xyz",
    "STRLEN s",
    "GETRANGE s 0 -1",
    "EXISTS a b c",
    "TYPE a",
    "OBJECT ENCODING a",
    "GETSET k w",
    "SETNX k x",
    "INCRBYFLOAT f 1.5",
    "COPY a b",
    "RENAME a b",
    "DBSIZE",
    "ECHO \"\\x00\\xff\\r\\n\"",
    "SELECT 1",
    "SELECT 0",
];

/// Bytes that mean something to a parser.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"*",
    b"$",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"*1\r\n",
    b"$4\r\n",
    b"\"",
    b"'",
    b"\\x",
    b" ",
    b"\0",
    b"\xff",
    b"*2147483648\r\n",
    b"$536870913\r\n",
    b"*99999999999999999999\r\n",
    b"PING\r\n",
    b"+OK\r\n",
    b"%1\r\n",
    b"-",
    b"1",
    b"9",
];

/// A few commands in a row, some of them inline.
fn well_formed(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=rng.below(6) {
        let line = COMMANDS[rng.below(COMMANDS.len())];
        if rng.below(4) == 0 && !line.contains('\\') {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        } else {
            parse_line(line).encode(&mut bytes);
        }
    }
    bytes
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + 1 + rng.below(8)).min(bytes.len());
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            2 => drop(bytes.splice(at..at, TOKENS[rng.below(TOKENS.len())].iter().copied())),
            3 => drop(bytes.splice(at..end, TOKENS[rng.below(TOKENS.len())].iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copy));
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

/// An input: a mutated pipeline, or a mutated case of the corpus.
fn input(rng: &mut Rng, seeds: &[corpus::Case]) -> Vec<u8> {
    let mut bytes = match rng.below(4) {
        0 => {
            let mut bytes = seeds[rng.below(seeds.len())].1.clone();
            bytes.truncate(4_000);
            bytes
        }
        _ => well_formed(rng),
    };
    mutate(rng, &mut bytes);
    bytes
}

/// redis-server finds no end of a line behind a NUL (see `corpus`): comparisons do without.
fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().filter(|b| **b == 0).for_each(|b| *b = 1);
    bytes
}

/// Sends the input and the end of the stream, and reads all that comes until the server closes.
fn exchange(port: u16, bytes: &[u8]) -> (Vec<u8>, Ending) {
    let mut client = Client::connect(port);
    let _ = client.send_raw(bytes);
    let _ = client.stream().shutdown(Shutdown::Write);
    client.drain(Duration::from_secs(10))
}

/// Whether a count lies above Corelane's limit of 1024 * 1024 arguments and below redis-server's of
/// 2^31 - 1, so that the two must differ.
fn counts_between_the_limits(bytes: &[u8]) -> bool {
    bytes.split(|&b| b == b'*').skip(1).any(|tail| {
        let digits: String =
            tail.iter().take_while(|b| b.is_ascii_digit()).map(|&b| b as char).collect();
        digits.parse::<i64>().is_ok_and(|n| (1024 * 1024 + 1..1 << 31).contains(&n))
    })
}

/// Whether the replies part where Corelane doesn't know a command that redis-server has: a byte
/// makes MSET an LSET.
fn lacks_a_command(pair: &Pair, redis: &[u8], ours: &[u8]) -> bool {
    let (redis, ours) = (String::from_utf8_lossy(redis), String::from_utf8_lossy(ours));
    let parted = redis.split("\r\n").zip(ours.split("\r\n")).find(|(a, b)| a != b);
    let unknown = parted.and_then(|(_, b)| b.strip_prefix("-ERR unknown command '"));
    let Some(name) = unknown.and_then(|rest| rest.split('\'').next()) else { return false };
    let row = pair.redis.client().call(&Cmd::new(["COMMAND", "INFO", name]));
    row.items().first().is_some_and(|row| !row.is_nil())
}

/// Both servers must give the same bytes back and close.
fn compare(shards: usize, salt: u64, count: u32) {
    let mut pair = Pair::start(shards, &[]);
    let seeds = corpus::cases();
    let mut rng = Rng::new(salt);
    let before = pair.corelane.rss();
    let mut different = Vec::new();
    for number in 0..cases(count) {
        let bytes = without_nul(input(&mut rng, &seeds));
        if counts_between_the_limits(&bytes) {
            continue;
        }
        let redis = exchange(pair.redis.port, &bytes);
        let ours = exchange(pair.corelane.port, &bytes);
        if redis != ours && !lacks_a_command(&pair, &redis.0, &ours.0) {
            different.push(format!(
                "input {number}: {}\n  redis-server: {:?} {}\n  corelane:     {:?} {}",
                quote(&bytes),
                redis.1,
                quote(&redis.0),
                ours.1,
                quote(&ours.0)
            ));
        }
        if different.len() == 5 {
            break;
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
    pair.corelane.assert_healthy();
    let grown = pair.corelane.rss().saturating_sub(before);
    assert!(grown < 64 << 20, "{} KiB more after the inputs", grown >> 10);
    same_data(&pair);
}

/// After the same inputs both must hold the same data.
fn same_data(pair: &Pair) {
    let (mut redis, mut ours) = (pair.redis.client(), pair.corelane.client());
    for db in 0..2 {
        redis.run(&format!("SELECT {db}"));
        ours.run(&format!("SELECT {db}"));
        let mut keys = redis.run("KEYS *").items().to_vec();
        let mut own = ours.run("KEYS *").items().to_vec();
        keys.sort();
        own.sort();
        assert_eq!(keys, own, "the keys of database {db}");
        for key in keys {
            let crate::harness::Reply::Bulk(key) = key else { panic!("a key is a bulk") };
            let get = Cmd::new([b"GET".as_slice(), &key]);
            assert_eq!(redis.call(&get), ours.call(&get), "{get:?}");
        }
    }
}

#[test]
fn mutations_are_answered_alike_on_one_shard() {
    compare(1, 1, 4_000);
}

#[test]
fn mutations_are_answered_alike_on_three_shards() {
    compare(3, 2, 4_000);
}

/// Inputs cut into pieces, on many connections at once, some of which go away in the middle: only
/// that the server stays well is asked, and that a client beside them sees nothing of it.
#[test]
fn mutations_in_pieces_leave_the_server_well() {
    let mut server = Server::corelane(3);
    let port = server.port;
    let before = server.rss();
    let count = cases(1_500);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                let seeds = corpus::cases();
                let mut rng = Rng::new(100 + thread);
                for _ in 0..count {
                    let bytes = input(&mut rng, &seeds);
                    let mut client = Client::connect(port);
                    let step = 1 + rng.below(bytes.len().max(1));
                    for piece in bytes.chunks(step).take(20) {
                        if client.send_raw(piece).is_err() {
                            break;
                        }
                    }
                    match rng.below(3) {
                        0 => drop(client), // with unread replies: the server gets a reset
                        1 => drop(client.drain(Duration::from_millis(1))),
                        _ => {
                            let _ = client.stream().shutdown(Shutdown::Write);
                            let (_, ending) = client.drain(Duration::from_secs(10));
                            assert_eq!(ending, Ending::Closed, "{}", quote(&bytes));
                        }
                    }
                }
            });
        }
        let mut witness = server.client();
        witness.run("SET witness 1");
        for i in 0..2_000 {
            assert_eq!(witness.run(&format!("ECHO {i}")).text(), i.to_string());
        }
    });
    server.assert_healthy();
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 64 << 20, "{} KiB more after the inputs", grown >> 10);
}

/// The parser by itself, on far more inputs than a socket could carry in the time.
#[test]
fn the_parser_reads_the_same_however_input_is_cut() {
    let seeds = corpus::cases();
    let mut rng = Rng::new(3);
    for _ in 0..cases(100_000) {
        let bytes = input(&mut rng, &seeds);
        let step = 1 + rng.below(16);
        let verdict = std::panic::catch_unwind(|| property::however_it_is_cut(&bytes, step));
        assert!(verdict.is_ok(), "pieces of {step} of {}", quote(&bytes));
    }
}

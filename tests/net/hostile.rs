//! Clients that mean harm: what they cost in memory, and how long others wait meanwhile.
//!
//! Each attack runs for a while on many connections at once, next to clients that work. A line is
//! printed for each: connections, memory at most, what the others' requests took. `CORELANE_HOSTILE=10`
//! has ten times as many connections attack.

use super::LONG;
use crate::harness::{Client, Server, now};
use std::io::Read;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;
const SECONDS: Duration = Duration::from_secs(3);
/// Threads that attack; each has its share of the connections.
const THREADS: usize = 4;

fn factor() -> usize {
    std::env::var("CORELANE_HOSTILE").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// What an attack does with one of its connections, again and again; `false` when that is gone.
type Attack = fn(&mut Client, usize) -> bool;

struct Outcome {
    /// Connections that the server closed, and that came anew.
    closed: usize,
    grown: usize,
    waits: Vec<Duration>,
}

impl Outcome {
    fn at(&self, percent: usize) -> Duration {
        self.waits[(self.waits.len() - 1) * percent / 100]
    }
}

/// Runs an attack on `connections` and measures what others see of it.
fn attack(server: &Server, connections: usize, attack: Attack) -> Outcome {
    let before = server.rss();
    let (stop, closed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut peak = before;
    let mut waits = Vec::new();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| assail(server.port, connections / THREADS, attack, &stop, &closed));
        }
        let mut workers: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for worker in &mut workers {
            assert_eq!(worker.run("AUTH secret").text(), "OK");
        }
        let begin = now();
        for round in 0.. {
            if begin.elapsed() > SECONDS {
                break;
            }
            let worker = &mut workers[round % 4];
            let start = now();
            assert_eq!(worker.run(&format!("SET key:{round} x")).text(), "OK");
            waits.push(start.elapsed());
            if round % 16 == 0 {
                peak = peak.max(server.rss());
                thread::sleep(Duration::from_millis(1));
            }
        }
        peak = peak.max(server.rss());
        stop.store(true, Ordering::Relaxed);
    });
    waits.sort_unstable();
    let closed = closed.load(Ordering::Relaxed);
    Outcome { closed, grown: peak.saturating_sub(before), waits }
}

fn assail(port: u16, share: usize, attack: Attack, stop: &AtomicBool, closed: &AtomicUsize) {
    let connect = || {
        let client = Client::try_connect(port).ok()?;
        // What the server does not take must not hold the others of this thread up.
        client.stream().set_write_timeout(Some(Duration::from_millis(1))).ok()?;
        Some(client)
    };
    let mut clients: Vec<Option<Client>> = (0..share).map(|_| connect()).collect();
    for round in 0.. {
        for client in &mut clients {
            if stop.load(Ordering::Relaxed) {
                // At once, and not after what is still under way.
                for client in clients.iter().flatten() {
                    let _ = client.stream().shutdown(Shutdown::Both);
                }
                return;
            }
            let alive = client.as_mut().is_some_and(|client| attack(client, round));
            if !alive {
                closed.fetch_add(1, Ordering::Relaxed);
                *client = connect();
            }
        }
    }
}

/// Sends what is taken; `false` when the connection is gone.
fn push(client: &mut Client, bytes: &[u8]) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match client.send_raw(bytes) {
        Ok(()) => true,
        Err(error) => matches!(error.kind(), TimedOut | WouldBlock),
    }
}

/// A byte of a request now and then.
fn slowloris(client: &mut Client, round: usize) -> bool {
    const REQUEST: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhello";
    if round == 0 {
        return push(client, &REQUEST[..8]);
    }
    thread::sleep(Duration::from_micros(500));
    push(client, &REQUEST[round % REQUEST.len()..][..1])
}

/// Announces a million arguments of half a gigabyte each.
fn headers(client: &mut Client, _: usize) -> bool {
    push(client, b"*1048576\r\n$536870912\r\n") && !is_closed(client)
}

/// The same within what strangers may send: ten arguments of 16 kB, never finished.
fn small_headers(client: &mut Client, round: usize) -> bool {
    if round == 0 {
        return push(client, b"*10\r\n$16384\r\n");
    }
    push(client, &[b'x'; 64]) && !is_closed(client)
}

/// Commands without an end, and no reply is read.
fn deaf(client: &mut Client, _: usize) -> bool {
    push(client, "PING\r\n".repeat(500).as_bytes())
}

/// The same of one who has logged in: replies are longer than requests.
fn deaf_member(client: &mut Client, round: usize) -> bool {
    if round == 0 {
        return push(client, b"AUTH secret\r\n");
    }
    push(client, "GET big\r\n".repeat(100).as_bytes())
}

/// Guesses.
fn guesses(client: &mut Client, round: usize) -> bool {
    let guess = format!("AUTH guess:{round}\r\n").repeat(20);
    let mut replies = vec![0; 4096];
    push(client, guess.as_bytes()) && matches!(client.stream().read(&mut replies), Ok(1..))
}

/// Long guesses, each of which must be hashed.
fn long_guesses(client: &mut Client, round: usize) -> bool {
    let guess = format!("*2\r\n$4\r\nAUTH\r\n$16384\r\n{}\r\n", "x".repeat(16384));
    let mut replies = vec![0; 4096];
    let _ = round;
    push(client, guess.as_bytes()) && matches!(client.stream().read(&mut replies), Ok(1..))
}

/// Comes and goes.
fn knocking(_: &mut Client, _: usize) -> bool {
    false
}

fn is_closed(client: &Client) -> bool {
    let stream = client.stream();
    let quick = stream.set_read_timeout(Some(Duration::from_micros(100)));
    let mut replies = [0; 512];
    let closed = match stream.peek(&mut replies) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    closed || quick.is_err()
}

/// Memory that an attack may cost, for each connection and besides, bytes.
const fn bound(connections: usize, each: usize) -> usize {
    connections * each + 48 * MIB
}

#[test]
fn attacks_are_bounded_and_others_are_served() {
    let limits = ["--requirepass", "secret", "--client-output-buffer-limit", "normal 1mb 0 0"];
    let attacks: [(&str, usize, Attack, usize); 8] = [
        ("slowloris", 400, slowloris, 16 << 10),
        ("huge headers", 100, headers, 64 << 10),
        ("ten arguments of 16 kB", 200, small_headers, 256 << 10),
        ("strangers that do not read", 100, deaf, 512 << 10),
        ("members that do not read", 40, deaf_member, 6 * MIB),
        ("guesses", 100, guesses, 64 << 10),
        ("guesses of 16 kB", 100, long_guesses, 128 << 10),
        ("connections that come and go", 100, knocking, 64 << 10),
    ];
    println!(
        "{:32} {:>11} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "attack", "connections", "closed", "peak RSS", "p50", "p99", "longest"
    );
    for (name, connections, run, each) in attacks {
        let server = Server::corelane_with(2, &limits);
        let mut admin = server.client();
        assert_eq!(admin.run("AUTH secret").text(), "OK");
        assert_eq!(admin.run("SET big rep(10000,\"x\")").text(), "OK");
        let connections = connections * factor();
        let outcome = attack(&server, connections, run);
        println!(
            "{name:32} {connections:11} {:8} {:5} MiB {:6} µs {:6} µs {:6} µs",
            outcome.closed,
            outcome.grown / MIB,
            outcome.at(50).as_micros(),
            outcome.at(99).as_micros(),
            outcome.at(100).as_micros()
        );
        assert!(outcome.grown < bound(connections, each), "{name}: {} MiB", outcome.grown / MIB);
        assert!(outcome.at(100) < LONG, "{name}: another client waited {:?}", outcome.at(100));
        assert_eq!(admin.run("GET key:0").text(), "x");
        assert_eq!(admin.run("PING").text(), "PONG");
        drop(admin);
        let mut last = server.client();
        assert_eq!(last.run("AUTH secret").text(), "OK");
        assert!(last.run("INFO clients").text().contains("connected_clients:"));
    }
}

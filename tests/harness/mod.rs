//! Servers, connections and comparisons that all tests share.
//!
//! Deliberately absent: any knowledge of Corelane's insides. A test sees a process, its port, its
//! log and what `/proc` says about it.

pub mod chance;
pub mod client;
pub mod compare;
pub mod events;
pub mod fields;
pub mod pair;
pub mod process;
pub mod reply;
mod rights;
pub mod scores;
pub mod script;
pub mod spawn;
mod streams;
pub mod tls;
pub mod turns;

pub use client::Client;
pub use pair::{Pair, Protocol};
pub use process::Server;
pub use reply::Reply;
pub use script::{Cmd, parse_line};

use std::time::{Duration, Instant};

/// The tests' only reader of time.
#[allow(clippy::disallowed_methods)] // deadlines of the tests themselves
pub fn now() -> Instant {
    Instant::now()
}

/// After this time what a test waits for will not come. Much more than it ever takes: what comes late, on
/// a machine that others use, is no failure.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Calls `probe` until it answers true; panics with `what` when [`PATIENCE`] has passed.
pub fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !probe() {
        assert!(now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A field of what INFO has answered.
pub fn info_field<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
}

/// Whether the append-only files are being rewritten, or are to be; by one answer of INFO, as it goes from
/// one to the other.
pub fn is_rewriting(text: &str) -> bool {
    ["aof_rewrite_scheduled", "aof_rewrite_in_progress"]
        .iter()
        .any(|field| info_field(text, field) != Some("0"))
}

/// `CORELANE_CASES` multiplies the number of random cases of every test.
pub fn cases(default: u32) -> u32 {
    let factor: f64 =
        std::env::var("CORELANE_CASES").ok().map_or(1.0, |v| v.parse().expect("CORELANE_CASES"));
    ((f64::from(default) * factor) as u32).max(1)
}

/// `CORELANE_SEED` selects another sequence of random cases; the same seed repeats a run.
pub fn seed() -> u64 {
    std::env::var("CORELANE_SEED").ok().map_or(0, |v| v.parse().expect("CORELANE_SEED"))
}

/// A small generator for data that need not shrink (xorshift64*, seeded).
pub struct Rng(u64);

impl Rng {
    pub fn new(salt: u64) -> Rng {
        Rng((seed().wrapping_add(salt)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

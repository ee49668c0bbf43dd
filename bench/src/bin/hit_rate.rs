//! Hit rates of caches that are short of memory, several servers side by side.
//!
//! `hit-rate <lru|lfu> <zipf:THETA|scan> <keys> <requests> <name=port>...`
//!
//! Each server is used as a cache: GET, and SET with another value where there was none. All get the same
//! keys in the same order at the same time. What is counted is the second half of the requests, when the
//! caches are full. Beside it stands what an exact LRU or LFU comes to that has room for as many keys as
//! the server has at the end.
//!
//! `scan` is zipf:1 with, one time in ten, the next of all keys in turn. Values are 200 to 1800 bytes, by key.

#[path = "../keys.rs"]
#[allow(dead_code)]
mod keys;

use keys::{Rng, Zipf};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

/// Requests that are sent at once.
const BATCH: usize = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hit-rate: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let usage = "hit-rate <lru|lfu> <zipf:THETA|scan> <keys> <requests> <name=port>...";
    let [policy, load, keys, requests, servers @ ..] = words else { return Err(usage.into()) };
    let number = |text: &String| text.parse::<usize>().map_err(|_| usage.to_string());
    let (keys, requests) = (number(keys)?, number(requests)?);
    let drawn = draw(load, keys, requests).ok_or(usage)?;
    let mut caches = Vec::new();
    for server in servers {
        let (name, port) = server.split_once('=').ok_or(usage)?;
        let port = port.parse().map_err(|_| usage)?;
        let cache = Cache::connect(port).map_err(|e| format!("{server}: {e}"))?;
        caches.push((name, cache));
    }
    let failed = |error: io::Error| error.to_string();
    let mut hits = vec![0; caches.len()];
    for (n, batch) in drawn.chunks(BATCH).enumerate() {
        for (_, cache) in &mut caches {
            cache.ask(batch).map_err(failed)?;
        }
        for ((_, cache), hits) in caches.iter_mut().zip(&mut hits) {
            let found = cache.take(batch).map_err(failed)?;
            if n * BATCH >= requests / 2 {
                *hits += found;
            }
        }
    }
    let counted = requests - (requests / 2).next_multiple_of(BATCH).min(requests);
    let percent = |hits: usize| hits as f64 * 100.0 / counted.max(1) as f64;
    for ((name, cache), hits) in caches.iter_mut().zip(hits) {
        let room = cache.size().map_err(failed)?;
        let exact = match policy.as_str() {
            "lru" => simulate(&drawn, keys, room, |_, turn| (0, turn)),
            _ => simulate(&drawn, keys, room, |uses, turn| (uses, turn)),
        };
        println!("{name} {room} {:.2} {:.2}", percent(hits), percent(exact));
    }
    Ok(())
}

/// The numbers of the keys that are asked for.
fn draw(load: &str, keys: usize, requests: usize) -> Option<Vec<u32>> {
    let scans = load == "scan";
    let theta = match load.strip_prefix("zipf:") {
        Some(theta) => theta.parse().ok()?,
        None if scans => 1.0,
        None => return None,
    };
    let (zipf, mut rng) = (Zipf::new(keys as u64, theta), Rng::new(7));
    let mut next = 0;
    let one = |_| match scans && rng.below(10) == 0 {
        true => {
            next = (next + 1) % keys;
            next as u32
        }
        false => (zipf.rank(&mut rng) - 1) as u32,
    };
    Some((0..requests).map(one).collect())
}

/// A server used as a cache.
struct Cache {
    input: BufReader<TcpStream>,
    output: TcpStream,
    line: Vec<u8>,
}

impl Cache {
    fn connect(port: u16) -> io::Result<Cache> {
        let output = TcpStream::connect(("127.0.0.1", port))?;
        output.set_nodelay(true)?;
        let input = BufReader::with_capacity(1 << 20, output.try_clone()?);
        Ok(Cache { input, output, line: Vec::new() })
    }

    fn ask(&mut self, batch: &[u32]) -> io::Result<()> {
        let mut out = Vec::with_capacity(batch.len() * 40);
        for key in batch {
            write!(out, "*2\r\n$3\r\nGET\r\n$14\r\nkey:{key:010}\r\n")?;
        }
        self.output.write_all(&out)
    }

    /// Reads the answers and fills in what was not there; gives how many were.
    fn take(&mut self, batch: &[u32]) -> io::Result<usize> {
        let (mut out, mut missed) = (Vec::new(), 0);
        for key in batch {
            if self.read_value()? {
                continue;
            }
            missed += 1;
            let len =
                200 + (u64::from(*key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % 1600;
            write!(out, "*3\r\n$3\r\nSET\r\n$14\r\nkey:{key:010}\r\n${len}\r\n")?;
            out.resize(out.len() + len, b'v');
            out.extend_from_slice(b"\r\n");
        }
        self.output.write_all(&out)?;
        for _ in 0..missed {
            self.read_line()?;
            if self.line != b"+OK\r\n" {
                return Err(io::Error::other(String::from_utf8_lossy(&self.line).into_owned()));
            }
        }
        Ok(batch.len() - missed)
    }

    fn size(&mut self) -> io::Result<usize> {
        self.output.write_all(b"*1\r\n$6\r\nDBSIZE\r\n")?;
        self.read_line()?;
        Ok(number(&self.line).max(0) as usize)
    }

    /// Whether there is a value.
    fn read_value(&mut self) -> io::Result<bool> {
        self.read_line()?;
        let len = number(&self.line);
        if len < 0 {
            return Ok(false);
        }
        self.line.resize(len as usize + 2, 0);
        self.input.read_exact(&mut self.line)?;
        Ok(true)
    }

    fn read_line(&mut self) -> io::Result<()> {
        self.line.clear();
        match self.input.read_until(b'\n', &mut self.line)? {
            0 => Err(io::Error::other("the server has closed the connection")),
            _ => Ok(()),
        }
    }
}

/// The number in a line of the protocol.
fn number(line: &[u8]) -> i64 {
    let text = line.get(1..).map(String::from_utf8_lossy).unwrap_or_default();
    text.trim().parse().unwrap_or(-1)
}

/// Hits of a cache with room for so many keys, of which the one with the least `worth` goes: that is
/// told how often a key was used since it came, and when.
fn simulate(
    drawn: &[u32],
    keys: usize,
    room: usize,
    worth: impl Fn(u64, u64) -> (u64, u64),
) -> usize {
    let mut uses = vec![0u64; keys];
    let mut worths: Vec<Option<(u64, u64)>> = vec![None; keys];
    let mut order: BTreeSet<((u64, u64), u32)> = BTreeSet::new();
    let mut hits = 0;
    for (turn, &key) in drawn.iter().enumerate() {
        let at = key as usize;
        match worths[at].take() {
            Some(worth) => {
                order.remove(&(worth, key));
                // As many as are counted for the servers.
                hits += usize::from(turn >= (drawn.len() / 2).next_multiple_of(BATCH));
            }
            None => {
                if order.len() >= room
                    && let Some((_, gone)) = order.pop_first()
                {
                    worths[gone as usize] = None;
                }
                uses[at] = 0;
            }
        }
        uses[at] += 1;
        let worth = worth(uses[at], turn as u64);
        worths[at] = Some(worth);
        order.insert((worth, key));
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_caches_keep_what_they_should() {
        let drawn: Vec<u32> = (0..1000).map(|n| [0, 1, 0, 2, 0, 3][n % 6]).collect();
        let lru = simulate(&drawn, 4, 2, |_, turn| (0, turn));
        let lfu = simulate(&drawn, 4, 2, |uses, turn| (uses, turn));
        let counted = 1000 - 512;
        assert_eq!((lru, lfu), (counted / 2, counted / 2));
        let all = simulate(&drawn, 4, 4, |_, turn| (0, turn));
        assert_eq!(all, counted);
    }
}

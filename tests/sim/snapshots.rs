//! Snapshots are of one instant of the order of everything.
//!
//! While programs run, BGSAVE is asked for again and again, and shards write their parts bucket by bucket, in the
//! seed's order. What is then in the files enters the history as what a reader has seen who looks at all keys of
//! all databases at once, at some time between the request and the last shard's beginning: there must be one
//! order of all operations in which it sees that.

use super::configuration;
use super::serial::{DATABASES, Party, assert_in_order};
use super::{STEPS, encode, for_seeds};
use crate::harness::Reply;
use crate::persist::loaded::Loaded;
use crate::serial::check;
use crate::serial::command::{Command, Key, key_name};
use crate::serial::conversation::{Conversation, Request};
use crate::serial::history::{Action, History};
use crate::serial::workload::{self, Mix};
use corelane::command::Faults;
use corelane::net::Worker;
use corelane::persist::foreign::Source;
use corelane::persist::manifest::{Manifest, NAME};
use corelane::rt::sim::{Client, Simulation};
use corelane::server::faulty_workers;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Operations of one history.
const OPERATIONS: usize = 100;

/// A directory in memory, if there is such a thing here.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let dir = root.join(format!("corelane-sim-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was found in a snapshot, and between which steps it was cut.
pub struct Seen {
    invoked: u64,
    cut: u64,
    dbs: Vec<Vec<(Key, Vec<u8>)>>,
}

/// Who asks for snapshots and reads them.
pub struct Photographer {
    dir: Dir,
    in_parts: bool,
    client: Client,
    random: fastrand::Rng,
    asked: u64,
    invoked: u64,
    cut: Option<u64>,
    under_way: bool,
    pub seen: Vec<Seen>,
}

impl Photographer {
    pub fn is_busy(&self) -> bool {
        self.under_way
    }

    /// Asks for a snapshot, or does not.
    pub fn act(&mut self, simulation: &mut Simulation<Worker>, now: u64) {
        if !self.under_way && self.random.u8(0..8) == 0 {
            simulation.write(self.client, &encode("BGSAVE"));
            self.asked += 1;
            (self.invoked, self.cut, self.under_way) = (now, None, true);
        }
    }

    /// Looks how far the shards are.
    pub fn look(&mut self, simulation: &Simulation<Worker>, shards: usize, now: u64) {
        if !self.under_way {
            return;
        }
        let parts = || (0..shards).map(|shard| simulation.handler(shard).saved_parts());
        if self.cut.is_none() && parts().all(|(begun, ..)| begun == self.asked) {
            self.cut = Some(now);
        }
        let Some(cut) = self.cut.filter(|_| parts().all(|(_, ended, _)| ended == self.asked))
        else {
            return;
        };
        // The files are written by a thread of their own; here nothing happens meanwhile.
        while parts().any(|(.., is_saving)| is_saving) {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        self.under_way = false;
        self.seen.push(Seen { invoked: self.invoked, cut, dbs: self.read() });
    }

    fn read(&self) -> Vec<Vec<(Key, Vec<u8>)>> {
        let mut loaded = Loaded::at(0);
        let files = match self.in_parts {
            false => vec![self.dir.0.join("dump.rdb")],
            true => {
                let dir = self.dir.0.join("dump.rdb.shards");
                let text = std::fs::read(dir.join(NAME)).expect("a manifest");
                let manifest = Manifest::parse(&text).expect("a manifest");
                manifest.files().iter().map(|name| dir.join(name)).collect()
            }
        };
        for file in files {
            loaded.load(&Source::Rdb(file)).expect("a sound file");
        }
        let mut dbs: Vec<Vec<(Key, Vec<u8>)>> = vec![Vec::new(); usize::from(DATABASES)];
        for key in loaded.keys() {
            let name = String::from_utf8(key.name).expect("a name");
            let Reply::Bulk(value) =
                loaded.call(key.db as u8, &crate::harness::Cmd::new(["GET", &name]))
            else {
                panic!("a string")
            };
            let key_of = |name: &str| name.strip_prefix('k')?.parse().ok();
            dbs[key.db].push((key_of(&name).expect("one of these keys"), value));
        }
        dbs
    }
}

impl Seen {
    /// As if somebody had asked for all at once.
    fn tell(&self, keys: &[Key], talk: &mut Conversation) {
        let mut asked = Vec::new();
        let mut replies: Vec<u8> = Vec::new();
        for (db, found) in self.dbs.iter().enumerate() {
            asked.extend([
                Command::Select(db as u8),
                Command::MGet(keys.to_vec()),
                Command::DbSize,
                Command::Keys,
            ]);
            replies.extend(format!("+OK\r\n*{}\r\n", keys.len()).bytes());
            for key in keys {
                match found.iter().find(|(found, _)| found == key) {
                    Some((_, value)) => put_bulk(value, &mut replies),
                    None => replies.extend(b"$-1\r\n"),
                }
            }
            replies.extend(format!(":{}\r\n*{}\r\n", found.len(), found.len()).bytes());
            found.iter().for_each(|(key, _)| put_bulk(key_name(*key).as_bytes(), &mut replies));
        }
        let count = asked.len();
        talk.ask(Request::Act(Action::Block(asked)), self.invoked, &mut Vec::new());
        let mut bytes = [b"+OK\r\n".to_vec(), b"+QUEUED\r\n".repeat(count)].concat();
        bytes.extend(format!("*{count}\r\n").bytes());
        bytes.extend(replies);
        talk.hear(&bytes, self.cut).expect("answers to these commands");
    }
}

fn put_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("${}\r\n", bytes.len()).bytes());
    out.extend(bytes);
    out.extend(b"\r\n");
}

/// The history of one seed with its snapshots, and how many they are.
fn history(seed: u64, mix: Mix, faults: Faults) -> (History, usize) {
    let shards = [2, 3, 5][seed as usize % 3];
    let dir = Dir::new();
    let in_parts = seed.is_multiple_of(2);
    let path = dir.0.display().to_string();
    let files = if in_parts { "shards" } else { "one" };
    let options = ["--dir", &path, "--snapshot-files", files];
    let faults = Faults { small_slices: true, ..faults };
    let workers = faulty_workers(configuration(&options), shards, seed, faults).expect("workers");
    let mut simulation = Simulation::new(workers, seed);
    let client = simulation.connect(seed as usize % shards);
    let photographer = Photographer {
        dir,
        in_parts,
        client,
        random: fastrand::Rng::with_seed(seed ^ 0xcafe),
        asked: 0,
        invoked: 0,
        cut: None,
        under_way: false,
        seen: Vec::new(),
    };
    let mut party = Party::new(seed, shards, mix, simulation);
    party.photographer = Some(photographer);
    let (talks, keys, seen) = party.run(OPERATIONS);
    let mut talk = Conversation::new(talks.len() as u32);
    seen.iter().for_each(|seen| seen.tell(&keys, &mut talk));
    (History::of(talks.into_iter().chain([talk]), shards), seen.len())
}

fn assert_cut_at_one_instant(test: &str, seeds: u32, mix: Mix) {
    let (all, snapshots) = (Cell::new(0), Cell::new(0));
    assert_in_order(test, seeds, &|seed| {
        let (history, count) = history(seed, mix, Faults::default());
        all.set(all.get() + 1);
        snapshots.set(snapshots.get() + count);
        history
    });
    println!("{} snapshots in {} histories", snapshots.get(), all.get());
    assert!(snapshots.get() >= all.get(), "only {} snapshots", snapshots.get());
}

#[test]
fn what_is_saved_was_there_at_one_instant() {
    assert_cut_at_one_instant("sim::snapshots::what", 200, workload::ALL);
}

#[test]
fn traced_values_are_saved_as_of_one_instant() {
    assert_cut_at_one_instant("sim::snapshots::traced", 200, workload::TRACED);
}

#[test]
fn a_loose_cut_is_found_out() {
    let faults = Faults { loose_cut: true, ..Faults::default() };
    let is_bad = |seed: &u64| {
        let (history, _) = history(*seed, workload::ALL, faults);
        !check(&history).is_empty()
    };
    let bad = (0..60).filter(is_bad).count();
    assert!(bad > 30, "shards that are cut one after the other are found out, not by {bad} of 60");
}

/// Elements wander from list to list, through scripts and blocks too; counters are paid from one to another.
const TRANSFERS: [&str; 6] = [
    "LMOVE l{a} l{b} LEFT RIGHT",
    "BLMOVE l{a} l{b} RIGHT LEFT 0.01",
    "EVAL \"redis.call('DECRBY', 'c' .. ARGV[1], ARGV[3]) redis.call('INCRBY', 'c' .. ARGV[2], ARGV[3])\" 0 {a} {b} {n}",
    "MULTI\nINCRBY c{a} {n}\nDECRBY c{b} {n}\nLMOVE l{b} l{a} RIGHT RIGHT\nEXEC",
    "MSET v1 {t} v2 {t} v3 {t} v4 {t} v5 {t}",
    "SMOVE s{a} s{b} m{n}",
];
const PLACES: usize = 5;
const ELEMENTS: usize = 12;

fn transfer(random: &mut fastrand::Rng, turn: usize) -> String {
    let line = TRANSFERS[random.usize(..TRANSFERS.len())];
    let (a, b) = (random.usize(..PLACES), random.usize(..PLACES));
    let n = random.usize(..ELEMENTS);
    line.replace("{a}", &a.to_string())
        .replace("{b}", &b.to_string())
        .replace("{n}", &n.to_string())
        .replace("{t}", &turn.to_string())
}

/// What is wrong with a snapshot.
fn look_for_halves(files: Vec<PathBuf>) -> Result<(), String> {
    let mut loaded = Loaded::at(0);
    for file in files {
        loaded.load(&Source::Rdb(file)).expect("a sound file");
    }
    let mut call = |line: String| loaded.call(0, &crate::harness::parse_line(&line));
    let number =
        |reply: Reply| if reply.is_nil() { 0 } else { reply.text().parse::<i64>().unwrap() };
    let sum: i64 = (0..PLACES).map(|n| number(call(format!("GET c{n}")))).sum();
    let values: Vec<i64> = (1..=5).map(|n| number(call(format!("GET v{n}")))).collect();
    let mut elements = Vec::new();
    let mut members = Vec::new();
    for n in 0..PLACES {
        let texts = |reply: Reply| reply.items().iter().map(Reply::text).collect::<Vec<_>>();
        elements.extend(texts(call(format!("LRANGE l{n} 0 -1"))));
        members.extend(texts(call(format!("SMEMBERS s{n}"))));
    }
    for found in [&mut elements, &mut members] {
        found.sort();
        let all = found.len();
        found.dedup();
        if (all, found.len()) != (ELEMENTS, ELEMENTS) {
            return Err(format!("{all} elements, {} different ones", found.len()));
        }
    }
    if sum != 0 || values.iter().any(|value| *value != values[0]) {
        return Err(format!("the sum is {sum}, the values {values:?}"));
    }
    Ok(())
}

/// Snapshots while transfers are made; how many there were, or what is wrong with one.
fn transfers(seed: u64, faults: Faults) -> Result<usize, String> {
    let shards = 2 + seed as usize % 4;
    let dir = Dir::new();
    let path = dir.0.display().to_string();
    let faults = Faults { small_slices: true, ..faults };
    let options = configuration(&["--dir", &path]);
    let mut simulation =
        Simulation::new(faulty_workers(options, shards, seed, faults).expect("workers"), seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let saver = simulation.connect(0);
    for n in 0..ELEMENTS {
        simulation.write(saver, &encode(&format!("RPUSH l{} el{n}", n % PLACES)));
        simulation.write(saver, &encode(&format!("SADD s{} m{n}", n % PLACES)));
    }
    simulation.settle(STEPS);
    let clients: Vec<_> = (0..5).map(|n| simulation.connect(n % shards)).collect();
    let parts = |simulation: &Simulation<Worker>, n: u64| {
        (0..shards).all(|shard| simulation.handler(shard).saved_parts().1 == n)
    };
    for round in 1..=4 {
        for turn in 0..random.usize(10..40) {
            if turn == 5 {
                simulation.write(saver, &encode("BGSAVE"));
            }
            let client = clients[random.usize(..clients.len())];
            for line in transfer(&mut random, turn + 100 * round as usize).lines() {
                simulation.write(client, &encode(line));
            }
            (0..random.u8(0..20)).for_each(|_| simulation.step());
        }
        let mut steps = 0;
        while !parts(&simulation, round) {
            simulation.step();
            steps += 1;
            assert!(steps < STEPS, "a snapshot does not end");
        }
        while (0..shards).any(|shard| simulation.handler(shard).saved_parts().2) {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        look_for_halves(vec![dir.0.join("dump.rdb")])?;
    }
    simulation.settle(STEPS);
    Ok(4)
}

#[test]
fn transfers_are_saved_whole() {
    for_seeds("sim::snapshots::transfers", 150, |seed| {
        let saved = transfers(seed, Faults::default());
        assert_eq!(saved, Ok(4), "seed {seed}");
    });
}

#[test]
fn half_transfers_are_found_out() {
    let faults = Faults { loose_cut: true, ..Faults::default() };
    let bad = (0..40).filter(|seed| transfers(*seed, faults).is_err()).count();
    assert!(bad > 20, "shards that are cut one after the other are found out, not by {bad} of 40");
}

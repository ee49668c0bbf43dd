//! Snapshots against a model: commands of all families on two shards that lend each other keys and tables,
//! and what a snapshot wrote must be what was there at its cut, entry for entry.

use super::with_args;
use crate::command::{Caller, Registry, Run, execute};
use crate::config::EventClasses;
use crate::data::{Entry, hash, list, set, sorted_set};
use crate::metrics::ShardStats;
use crate::rdb::input::Input;
use crate::rdb::load::{Limits, Value, load};
use crate::rdb::{VERSION, VERSION_VALKEY, dump, kind};
use crate::resp::Protocol;
use crate::shard::{Access, Encodings, Parcel, Settings, Shard};
use std::collections::BTreeMap;
use std::sync::Arc;

const SHARDS: usize = 2;
const DBS: usize = 3;
const KEYS: usize = 9;
/// Operations of one run.
const STEPS: usize = 160;
const RUNS: u64 = 150;

/// K a key, V a value, E an element, N a small number, T a time to live, D a database.
const COMMANDS: &[&str] = &[
    "SET K V",
    "SET K V",
    "SET K N PX T",
    "SET K V KEEPTTL",
    "SET K V GET",
    "GET K",
    "APPEND K V",
    "INCR K",
    "INCRBYFLOAT K N",
    "SETRANGE K N V",
    "GETDEL K",
    "GETEX K PX T",
    "GETEX K PERSIST",
    "MSET K V K V",
    "MSETNX K V K V",
    "SETBIT K N 1",
    "BITOP XOR K K K",
    "BITFIELD K SET u8 N N",
    "PFADD K E E E",
    "PFCOUNT K",
    "PFMERGE K K",
    "LPUSH K E E E",
    "RPUSH K V V V V",
    "LPOP K",
    "RPOP K N",
    "LTRIM K N -1",
    "LSET K 0 V",
    "LREM K 0 E",
    "LINSERT K BEFORE E E",
    "LMOVE K K LEFT RIGHT",
    "SADD K E E E E",
    "SADD K N N N",
    "SREM K E E",
    "SPOP K",
    "SPOP K N",
    "SMOVE K K E",
    "SUNIONSTORE K K K",
    "SDIFFSTORE K K K",
    "HSET K E V E V E V",
    "HDEL K E E",
    "HINCRBY K E N",
    "HPEXPIRE K T FIELDS 2 E E",
    "HPEXPIRE K T FIELDS 1 E",
    "HPEXPIRE K T FIELDS 3 E E E",
    "HPERSIST K FIELDS 1 E",
    "HGETALL K",
    "ZADD K N E N E N E",
    "ZINCRBY K N E",
    "ZREM K E E",
    "ZPOPMIN K",
    "ZPOPMAX K N",
    "ZREMRANGEBYRANK K 0 N",
    "ZUNIONSTORE K 2 K K",
    "ZRANGESTORE K K 0 N",
    "GEOADD K N N E",
    "XADD K * E V",
    "XADD K MAXLEN N * E V",
    "XADD K * E V E V",
    "XTRIM K MAXLEN N",
    "XGROUP CREATE K g 0 MKSTREAM",
    "XGROUP CREATE K g 0",
    "XGROUP DESTROY K g",
    "XREADGROUP GROUP g c COUNT 1 STREAMS K >",
    "XREADGROUP GROUP g c COUNT 1 STREAMS K >",
    "XREADGROUP GROUP g d NOACK STREAMS K >",
    "XCLAIM K g d 0 1700000000000-0 FORCE",
    "XACK K g 1700000000000-0",
    "XAUTOCLAIM K g d 0 0",
    "XSETID K 9999999999999-0",
    "SORT K ALPHA STORE K",
    "DEL K",
    "UNLINK K K",
    "PEXPIRE K T",
    "PEXPIRE K T",
    "PERSIST K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K REPLACE",
    "COPY K K DB D REPLACE",
    "MOVE K D",
    "TOUCH K",
    "RANDOMKEY",
    "TTL K",
    "FLUSHDB",
    "FLUSHALL ASYNC",
    "SWAPDB D D",
    "SWAPDB D D",
];

/// What stands for an entry: its database and key, its expiry, its type and value.
type Image = BTreeMap<(usize, Vec<u8>), (Option<i64>, Vec<u8>)>;

struct World {
    registry: Registry,
    shards: Vec<Shard>,
    random: fastrand::Rng,
    now: i64,
    /// For each shard what its running snapshot must come to, and what it has written.
    running: Vec<Option<(Image, Vec<u8>)>>,
    /// One of so many chances to go on with a snapshot is taken.
    slowness: u32,
    /// Snapshots that were compared, entries in them, and those that were saved before a change.
    figures: [u64; 3],
}

fn settings(random: &mut fastrand::Rng) -> Settings {
    let (entries, value) = (random.usize(0..40), random.usize(8..64));
    let encodings = Encodings {
        hash_max_listpack_entries: entries,
        hash_max_listpack_value: value,
        list_max_listpack_size: random.i32(1..6),
        set_max_intset_entries: entries,
        set_max_listpack_entries: entries,
        set_max_listpack_value: value,
        zset_max_listpack_entries: entries,
        zset_max_listpack_value: value,
        stream_node_max_entries: random.usize(1..5),
        ..Encodings::default()
    };
    let lfu = Access::Lfu { log_factor: 10, decay_minutes: 1 };
    Settings {
        bulk_len_max: 1 << 20,
        access: if random.bool() { Access::Lru } else { lfu },
        expire_effort: random.u32(1..=10),
        lazy_flush: random.bool(),
        events: EventClasses::parse(if random.bool() { b"KEA" } else { b"" }).unwrap(),
        encodings,
        timing: crate::shard::TimingRules::QUIET,
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let registry = Registry::new(&[]).unwrap();
        let (settings, slowness) = (settings(&mut random), random.u32(1..20));
        let stats = || Arc::new(ShardStats::new(registry.len(), DBS));
        let shard = |index| Shard::new(index, seed + index as u64, settings, stats());
        let shards: Vec<Shard> = (0..SHARDS).map(shard).collect();
        World {
            shards,
            registry,
            random,
            now: 1_700_000_000_000,
            running: vec![None; SHARDS],
            slowness,
            figures: [0; 3],
        }
    }

    fn own_keys(shard: usize) -> Vec<Vec<u8>> {
        (0..KEYS).map(|n| format!("{}{n}", ["a", "b"][shard]).into_bytes()).collect()
    }

    fn word(&mut self, word: &str, keys: &[Vec<u8>]) -> Vec<u8> {
        let random = &mut self.random;
        match word {
            "K" => keys[random.usize(..keys.len())].clone(),
            "V" => match random.u32(..4) {
                0 => random.i64(-1000..100_000).to_string().into_bytes(),
                1 => vec![b'x'; random.usize(..200)],
                _ => (0..random.usize(..60)).map(|_| random.alphanumeric() as u8).collect(),
            },
            "E" => format!("e{}", random.u32(..12)).into_bytes(),
            "N" => random.u32(..30).to_string().into_bytes(),
            "T" => random.u32(1..600).to_string().into_bytes(),
            "D" => random.usize(..DBS).to_string().into_bytes(),
            word => word.as_bytes().to_vec(),
        }
    }

    /// A command in the tables that a shard has at the moment.
    fn command(&mut self, shard: usize, keys: &[Vec<u8>]) {
        let words: Vec<Vec<u8>> = match self.random.u32(..20) {
            0 => {
                let kind = ["RPUSH K", "SADD K", "HSET K", "ZADD K"][self.random.usize(..4)];
                let mut words: Vec<_> = kind.split(' ').map(|word| self.word(word, keys)).collect();
                let elements = 2 * self.random.usize(1..60);
                words.extend((0..elements).map(|n| (n + 1000).to_string().into_bytes()));
                words
            }
            1 => {
                let source = self.word("K", keys);
                let payload = self.run(shard, &[b"DUMP", &source]);
                let Some(start) = payload.windows(2).position(|two| two == b"\r\n") else { return };
                let payload = payload[start + 2..].strip_suffix(b"\r\n").unwrap_or(b"").to_vec();
                let key = self.word("K", keys);
                vec![b"RESTORE".to_vec(), key, b"0".to_vec(), payload, b"REPLACE".to_vec()]
            }
            _ => {
                let command = COMMANDS[self.random.usize(..COMMANDS.len())];
                // What empties much comes less often.
                if command.contains("FLUSH") && self.random.u32(..6) > 0 {
                    return;
                }
                command.split(' ').map(|word| self.word(word, keys)).collect()
            }
        };
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        self.run(shard, &words);
    }

    fn run(&mut self, shard: usize, words: &[&[u8]]) -> Vec<u8> {
        let db = self.random.usize(..DBS) as u8;
        let caller = Caller { db, ..Caller::nobody(Protocol::Resp2) };
        with_args(words, |args| {
            let id = self.registry.find(&args).expect("a known command");
            let command = self.registry.command(id);
            let Run::Shard(handler) = command.run else { panic!("{} has none", command.name) };
            let mut out = Vec::new();
            let shard = &mut self.shards[shard];
            execute(&self.registry, shard, (id, handler), args, caller, self.now, &mut out);
            assert!(!out.starts_with(b"-ERR unknown") && !out.starts_with(b"-ERR syntax"));
            out
        })
    }

    /// What a shard does in between commands.
    fn background(&mut self, shard: usize) {
        let mut left = self.random.u32(1..5);
        let mut time_is_up = || {
            left -= 1;
            left == 0
        };
        match self.random.u32(..6) {
            0 => {
                self.shards[shard].cron(self.now, &mut time_is_up);
            }
            1 => {
                self.shards[shard].keyspace.free_step(7);
            }
            _ if self.random.u32(..self.slowness) > 0 => {}
            _ => {
                self.shards[shard].keyspace.snapshot_step(&mut time_is_up);
                self.take_output(shard);
            }
        }
    }

    fn take_output(&mut self, shard: usize) {
        let keyspace = &mut self.shards[shard].keyspace;
        let Some((_, written)) = &mut self.running[shard] else {
            assert!(keyspace.take_output().is_none() && keyspace.snapshot_stats().is_none());
            return;
        };
        while self.random.bool()
            && let Some(bytes) = keyspace.take_output()
        {
            written.extend(bytes);
        }
        if keyspace.snapshot_stats().is_some_and(|stats| stats.done) && self.random.bool() {
            self.end(shard);
        }
    }

    fn end(&mut self, shard: usize) {
        let keyspace = &mut self.shards[shard].keyspace;
        let Some((image, mut written)) = self.running[shard].take() else { return };
        while keyspace.snapshot_step(&mut || false) {}
        std::iter::from_fn(|| keyspace.take_output()).for_each(|bytes| written.extend(bytes));
        let stats = keyspace.end_snapshot().expect("it is done");
        assert!(keyspace.snapshot_bits_are_even() && keyspace.can_begin_snapshot());
        assert_eq!(stats.bytes, written.len() as u64);
        assert_eq!(stats.saved, image.len() as u64);
        let (parsed, version) = self.parse(&written);
        assert_eq!(stats.version, version);
        assert_images_equal(&parsed, &image);
        let figures = [1, stats.saved, stats.copied];
        self.figures = std::array::from_fn(|n| self.figures[n] + figures[n]);
    }

    fn image(&mut self, shard: usize) -> Image {
        let (mut image, now) = (Image::new(), self.now);
        for db in 0..DBS {
            let mut add = |entry: &Entry| {
                let payload = dump::dump(entry.value(), now);
                let (_, content) = dump::unseal(&payload).unwrap();
                if !is_empty_hash(content) {
                    let value = (entry.expire_at(), content.to_vec());
                    image.insert((db, entry.key().to_vec()), value);
                }
            };
            let keys = self.shards[shard].keyspace.keys(db, now, false);
            let mut position = 0;
            let mut seen = std::collections::HashSet::new();
            loop {
                position = keys.scan(position, &mut |entry| {
                    if seen.insert(entry.key().to_vec()) {
                        add(entry);
                    }
                });
                if position == 0 {
                    break;
                }
            }
            assert_eq!(seen.len(), keys.len());
        }
        image
    }

    /// A cut through all shards.
    fn begin(&mut self) {
        if !self.shards.iter().all(|shard| shard.keyspace.can_begin_snapshot()) {
            return;
        }
        let (now, with_usage) = (self.now, self.random.bool());
        let images: Vec<Image> = (0..SHARDS).map(|shard| self.image(shard)).collect();
        // One of the shards may have lent all to the other.
        let lent = self.random.bool().then(|| self.shards[1].lend_all());
        let mut begin = |shard: &mut Shard| {
            assert!(shard.keyspace.begin_snapshot(now, with_usage));
            let [buckets, bytes] = [self.random.usize(1..5), self.random.usize(1..300)];
            let [text, elements] = [self.random.usize(..100), self.random.usize(..40)];
            shard.keyspace.snapshot_sizes([buckets, bytes, text, elements]);
            assert!(!shard.keyspace.begin_snapshot(now, with_usage));
        };
        begin(&mut self.shards[0]);
        match lent {
            Some(mut everything) => {
                assert!(!self.shards[1].keyspace.begin_snapshot(now, with_usage));
                self.shards[0].exchange(&mut everything);
                begin(&mut self.shards[0]);
                self.shards[0].exchange(&mut everything);
                self.shards[1].accept_all(everything);
            }
            None => begin(&mut self.shards[1]),
        }
        self.running = images.into_iter().map(|image| Some((image, Vec::new()))).collect();
    }

    fn abort(&mut self) {
        for shard in 0..SHARDS {
            if self.running[shard].take().is_some() {
                self.shards[shard].keyspace.abort_snapshot();
            }
        }
    }

    /// Some commands with keys of another shard.
    fn borrow(&mut self, borrower: usize) {
        let (owner, now) = (1 - borrower, self.now);
        let mut keys = World::own_keys(owner);
        self.random.shuffle(&mut keys);
        keys.truncate(self.random.usize(1..5));
        let lent = keys.iter().map(|key| key.as_slice().into()).collect();
        let mut parcel = Parcel::new(lent);
        self.shards[owner].keyspace.pack(&mut parcel, now);
        self.background(owner);
        self.shards[borrower].keyspace.unpack(&mut parcel, now);
        keys.extend(World::own_keys(borrower));
        for _ in 0..self.random.u32(1..5) {
            self.command(borrower, &keys);
            let any = self.random.usize(..SHARDS);
            self.background(any);
        }
        self.shards[borrower].keyspace.repack(&mut parcel, now);
        self.background(owner);
        self.shards[owner].keyspace.accept(&mut parcel, now);
    }

    /// Some commands on all keys of another shard, and its own with some of them.
    fn borrow_all(&mut self, borrower: usize) {
        let (owner, now) = (1 - borrower, self.now);
        let mut everything = self.shards[owner].lend_all();
        self.background(owner);
        let aborts = self.random.u32(..20) == 0;
        if aborts && self.running[owner].take().is_some() {
            self.shards[owner].keyspace.abort_snapshot();
        }
        let mut parcel = Parcel::new(vec![b"a0".as_slice().into(), b"b0".as_slice().into()]);
        parcel.keys.retain(|key| World::own_keys(owner).iter().any(|own| **own == **key));
        for _ in 0..self.random.u32(1..4) {
            self.shards[borrower].exchange(&mut everything);
            self.command(borrower, &World::own_keys(owner));
            assert!(!self.shards[borrower].keyspace.snapshot_step(&mut || false));
            assert!(self.shards[borrower].keyspace.take_output().is_none());
            self.shards[borrower].keyspace.pack(&mut parcel, now);
            self.shards[borrower].exchange(&mut everything);
            self.shards[borrower].keyspace.unpack(&mut parcel, now);
            let mut keys = World::own_keys(borrower);
            keys.extend(parcel.keys.iter().map(|key| key.to_vec()));
            self.command(borrower, &keys);
            self.background(borrower);
            self.shards[borrower].keyspace.repack(&mut parcel, now);
            self.shards[borrower].exchange(&mut everything);
            self.shards[borrower].keyspace.accept(&mut parcel, now);
            self.shards[borrower].exchange(&mut everything);
        }
        self.shards[owner].accept_all(everything);
    }

    fn watch(&mut self, shard: usize) {
        let (db, client, now) = (self.random.usize(..DBS), self.random.u64(1..4), self.now);
        let key = self.word("K", &World::own_keys(shard));
        let keyspace = &mut self.shards[shard].keyspace;
        match self.random.bool() {
            true => keyspace.keys(db, now, false).watch(client, &key),
            false => {
                keyspace.unwatch(client, now);
            }
        }
    }

    fn step(&mut self) {
        let shard = self.random.usize(..SHARDS);
        match self.random.u32(..100) {
            0..50 => self.command(shard, &World::own_keys(shard)),
            50..75 => self.background(shard),
            75..80 => self.now += self.random.i64(1..300),
            80..86 => self.borrow(shard),
            86..90 => self.borrow_all(shard),
            90..93 => self.watch(shard),
            93 if self.random.u32(..8) == 0 => self.abort(),
            93..96 => {
                // A number of keys that makes the tables grow, and their end, makes them shrink.
                let db = self.random.usize(..DBS);
                let (present, count) = (self.random.bool(), self.random.u32(1..60));
                for n in 0..count {
                    let key = format!("many {n}");
                    let mut keys = self.shards[shard].keyspace.keys(db, self.now, true);
                    match present {
                        true => keys.insert(Entry::int(key.as_bytes(), n.into(), None)),
                        false => drop(keys.delete(key.as_bytes())),
                    }
                }
            }
            _ => self.begin(),
        }
        let idle = |(shard, running): (&Shard, &Option<_>)| {
            running.is_some()
                || !shard.keyspace.can_begin_snapshot()
                || shard.keyspace.snapshot_bits_are_even()
        };
        assert!(self.shards.iter().zip(&self.running).all(idle));
    }

    fn parse(&self, mut bytes: &[u8]) -> (Image, u16) {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let limits = limits(&hasher);
        let (mut image, mut db, mut expire_at) = (Image::new(), None, None);
        let mut newest = VERSION;
        while !bytes.is_empty() {
            let mut input = Input::new(&mut bytes, 1 << 20);
            match input.byte().unwrap() {
                0xfe => db = Some(input.number().unwrap() as usize),
                0xfc => expire_at = Some(input.i64().unwrap()),
                0xf8 => assert!(input.number().unwrap() < 200, "idle for so many seconds"),
                0xf9 => drop(input.byte().unwrap()),
                kind => {
                    let mut scratch = Vec::new();
                    let key = input.string(&mut scratch).unwrap().to_vec();
                    let before = bytes;
                    let version = if kind == kind::HASH_2 { VERSION_VALKEY } else { VERSION };
                    newest = newest.max(version);
                    let mut input = Input::new(&mut bytes, 1 << 20);
                    let value = load(&mut input, kind, version, i64::MIN, &limits);
                    assert!(value.unwrap().is_some());
                    let value = &before[..before.len() - bytes.len()];
                    let content = [&[kind], value].concat();
                    let at = (db.expect("a database is named first"), key);
                    let old = image.insert(at, (expire_at.take(), content));
                    assert!(old.is_none(), "a key was written twice");
                }
            }
        }
        assert_eq!(expire_at, None);
        (image, newest)
    }
}

/// A hash without fields.
fn is_empty_hash(content: &[u8]) -> bool {
    content == [kind::HASH_2, 0]
}

fn limits(hasher: &ahash::RandomState) -> Limits {
    Limits {
        hash: hash::Limits { fields: 8, string: 8 },
        list: list::Limit::new(-2),
        set: set::Limits {
            intset_entries: 8,
            listpack_entries: 8,
            listpack_value: 8,
            hasher: hasher.clone(),
        },
        sorted_set: sorted_set::Limits { entries: 8, value: 8 },
    }
}

fn assert_images_equal(parsed: &Image, model: &Image) {
    for (key, (expire_at, content)) in model {
        let Some((parsed_expire_at, parsed_content)) = parsed.get(key) else {
            panic!("{key:?} was not written")
        };
        assert_eq!(parsed_expire_at, expire_at, "{key:?}");
        if parsed_content != content {
            assert_eq!(text(parsed_content), text(content), "{key:?}");
        }
    }
    let more: Vec<_> = parsed.keys().filter(|key| !model.contains_key(key)).collect();
    assert!(more.is_empty(), "{more:?} were not there");
}

/// The string that a value is, which may be compressed or not.
fn text(content: &[u8]) -> Vec<u8> {
    assert_eq!(content[0], kind::STRING, "{} is not as it was", content.escape_ascii());
    let (mut rest, hasher) = (&content[1..], ahash::RandomState::with_seeds(1, 2, 3, 4));
    let limits = limits(&hasher);
    match load(&mut Input::new(&mut rest, 1 << 20), kind::STRING, VERSION, 0, &limits) {
        Ok(Some(Value::String(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_has_what_was_there_at_its_cut() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<f64>().ok();
    let first = number("CORELANE_SEED").unwrap_or(0.0) as u64;
    let runs = ((RUNS as f64 * number("CORELANE_CASES").unwrap_or(1.0)) as u64).max(1);
    let mut figures = [0; 3];
    for seed in first..first + runs {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            (0..SHARDS).for_each(|shard| world.end(shard));
            world.figures
        });
        let more = run.unwrap_or_else(|_| panic!("CORELANE_SEED={seed}"));
        figures = std::array::from_fn(|n| figures[n] + more[n]);
    }
    let [snapshots, entries, copied] = figures;
    println!("{runs} runs, {snapshots} snapshots, {entries} entries, {copied} before a change");
    assert!(snapshots > runs && entries > 10 * snapshots && copied > entries / 10);
}

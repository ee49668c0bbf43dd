//! A shard into which files are loaded, and a look at what it has.

use corelane::command::{Caller, Registry, Run, execute};
use corelane::config::EventClasses;
use corelane::data::ValueRef;
use corelane::metrics::ShardStats;
use corelane::persist::foreign::{self, LoadError, Progress, Report, ShardTarget, Source};
use corelane::rdb::dump::dump;
use corelane::rdb::writer::{self, Access as History, Facts, Writer};
use corelane::resp::{Args, Protocol, Span};
use corelane::script::Store;
use corelane::shard::{self, Access, Encodings, Settings, Shard, SlotTable};
use std::sync::Arc;

use crate::harness::reply::Parsed;
use crate::harness::{Cmd, Reply, parse_line};

/// A key with its database, its payload as DUMP gives it, and when it expires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub db: usize,
    pub name: Vec<u8>,
    pub payload: Vec<u8>,
    pub expire_at: Option<i64>,
}

pub struct Loaded {
    pub registry: Registry,
    pub shard: Shard,
    pub scripts: Store,
    pub now: i64,
    /// How far loading was, as it was told.
    pub told: Vec<Progress>,
}

impl Loaded {
    pub fn at(now: i64) -> Loaded {
        Loaded::with(now, Access::Lru)
    }

    pub fn with(now: i64, access: Access) -> Loaded {
        let registry = Registry::new(&[]).unwrap();
        let shard = Loaded::empty_shard(&registry, access);
        Loaded { registry, shard, scripts: Store::default(), now, told: Vec::new() }
    }

    fn empty_shard(registry: &Registry, access: Access) -> Shard {
        let stats = Arc::new(ShardStats::new(registry.len(), 16));
        let settings = Settings {
            bulk_len_max: 512 << 20,
            access,
            expire_effort: 1,
            lazy_flush: false,
            events: EventClasses::default(),
            encodings: Encodings::default(),
            timing: corelane::shard::TimingRules::QUIET,
        };
        Shard::new(0, 1, settings, stats)
    }

    /// Loads files, of which the last may be torn.
    pub fn load(&mut self, source: &Source) -> Result<Report, LoadError> {
        self.load_with(source, true)
    }

    pub fn load_with(&mut self, source: &Source, torn: bool) -> Result<Report, LoadError> {
        let Loaded { registry, shard, scripts, now, told } = self;
        let mut target = ShardTarget::new(registry, shard, scripts, true, *now);
        let settings = foreign::Settings { load_truncated: torn };
        foreign::load(source, &mut target, settings, &mut |progress| told.push(progress))
    }

    /// Loads files by several threads into so many shards, and takes all keys together.
    pub fn spread(&mut self, source: &Source, shards: usize) -> Result<Report, LoadError> {
        let settings = foreign::Settings { load_truncated: true };
        let spread = foreign::Spread {
            registry: &self.registry,
            shard: &|_| Loaded::empty_shard(&self.registry, self.shard.settings.access),
            scripts: &self.scripts,
            checksum: true,
            now: self.now,
            shards,
            threads: 2,
        };
        let (report, loaded) = foreign::load_spread(source, &spread, settings, &mut |_| ())?;
        assert_eq!(loaded.len(), shards);
        let slots = SlotTable::contiguous(shards);
        let strangers = loaded.iter().enumerate().map(|(at, keys)| keys.strangers(&slots, at));
        assert_eq!(strangers.sum::<usize>(), 0);
        let mut whole = shard::Loaded::distribute(loaded, &SlotTable::contiguous(1));
        self.shard.keyspace.adopt(whole.pop().expect("one shard"));
        Ok(report)
    }

    /// The reply to a command in a database.
    pub fn call(&mut self, db: u8, cmd: &Cmd) -> Reply {
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for word in &cmd.0 {
            spans.push(Span::new(buffer.len(), buffer.len() + word.len()));
            buffer.extend_from_slice(word);
        }
        let args = Args::new(&buffer, &spans);
        let id = self.registry.find(&args).expect("a known command");
        let Run::Shard(handler) = self.registry.command(id).run else { panic!("{cmd:?}") };
        let caller = Caller { db, ..Caller::nobody(Protocol::Resp2) };
        let mut out = Vec::new();
        let (shard, call) = (&mut self.shard, (id, handler));
        execute(&self.registry, shard, call, args, caller, self.now, &mut out);
        let Parsed::Whole(reply, _) = Reply::parse(&out) else { panic!("{cmd:?}: {out:?}") };
        reply
    }

    pub fn run(&mut self, line: &str) -> Reply {
        self.call(0, &parse_line(line))
    }

    /// All keys, in order.
    pub fn keys(&mut self) -> Vec<Key> {
        let mut all = Vec::new();
        for db in 0..16 {
            let keys = self.shard.keyspace.keys(db, self.now, false);
            let mut position = 0;
            loop {
                position = keys.scan(position, &mut |entry| {
                    all.push(Key {
                        db,
                        name: entry.key().to_vec(),
                        payload: dump(entry.value(), i64::MIN),
                        expire_at: entry.expire_at(),
                    });
                });
                if position == 0 {
                    break;
                }
            }
        }
        all.sort();
        all
    }

    /// All of it as an RDB file.
    pub fn write(&mut self, options: writer::Options) -> Vec<u8> {
        let facts = Facts {
            redis_version: "7.2.4",
            made_at: self.now / 1000,
            used_memory: 1 << 20,
            is_aof_base: false,
        };
        let mut writer = Writer::begin(Vec::new(), options, &facts).unwrap();
        for library in self.scripts.libraries().iter() {
            writer.function(&library.code).unwrap();
        }
        for db in 0..16 {
            let keys = self.shard.keyspace.keys(db, self.now, false);
            if keys.is_empty() {
                continue;
            }
            writer.begin_db(db as u32, keys.len() as u64, keys.expiring_len() as u64).unwrap();
            let mut position = 0;
            loop {
                position = keys.scan(position, &mut |entry| {
                    let (value, at): (ValueRef, _) = (entry.value(), entry.expire_at());
                    writer.entry(entry.key(), &value, at, History::Idle(3), self.now).unwrap();
                });
                if position == 0 {
                    break;
                }
            }
        }
        writer.end().unwrap().0
    }
}

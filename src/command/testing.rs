//! A shard or a client, and a registry, for the unit tests of command families.

mod snapshots;

use super::{Caller, Control, Env, Registry, Run, SessionCx, execute, execute_session};
use crate::config::{self, Config, EventClasses, Invocation, Secret};
use crate::metrics::{MemorySum, ShardStats};
use crate::resp::{Args, Encoder, Protocol, Span};
use crate::session::{Peer, Session};
use crate::shard::{Access, Encodings, Settings, Shard, SlotTable, Wait};
use std::sync::{Arc, Mutex};

/// One shard with all commands, at a time that the test sets.
pub struct Bench {
    pub shard: Shard,
    pub registry: Registry,
    pub caller: Caller,
    pub now: i64,
    /// What the last command has its client wait for.
    pub wait: Option<Wait>,
}

impl Bench {
    pub fn new() -> Bench {
        let registry = Registry::new(&[]).unwrap();
        let settings = Settings {
            bulk_len_max: 512 << 20,
            access: Access::Lru,
            expire_effort: 1,
            lazy_flush: false,
            events: EventClasses::default(),
            encodings: Encodings::default(),
            timing: crate::shard::TimingRules::QUIET,
        };
        let stats = Arc::new(ShardStats::new(registry.len(), 16));
        let shard = Shard::new(0, 1, settings, stats);
        let caller = Caller::nobody(Protocol::Resp2);
        Bench { shard, registry, caller, now: 1_700_000_000_000, wait: None }
    }

    /// Runs a command given as words (no quotes) and answers the encoded reply.
    pub fn run(&mut self, words: &str) -> String {
        let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.run_args(&words)).into_owned()
    }

    /// Keys of a database, as INFO has them.
    pub fn keys(&self, db: usize) -> u64 {
        self.shard.stats.per_db[db].keys.get()
    }

    /// Keys of a database that have an expiry, as INFO has them.
    pub fn expires(&self, db: usize) -> u64 {
        self.shard.stats.per_db[db].expires.get()
    }

    /// Runs a command given as arguments and answers the encoded reply.
    pub fn run_args(&mut self, words: &[&[u8]]) -> Vec<u8> {
        with_args(words, |args| {
            let id = self.registry.find(&args).expect("a known command");
            let command = self.registry.command(id);
            assert!(command.accepts(args.len()), "arity of {}", command.name);
            let Run::Shard(handler) = command.run else {
                panic!("{} needs a session", command.name)
            };
            let mut out = Vec::new();
            let (shard, caller, now) = (&mut self.shard, self.caller, self.now);
            self.wait = execute(&self.registry, shard, (id, handler), args, caller, now, &mut out);
            out
        })
    }
}

/// Passes words as the arguments of a request.
pub fn with_args<T>(words: &[&[u8]], call: impl FnOnce(Args) -> T) -> T {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for word in words {
        spans.push(Span::new(buffer.len(), buffer.len() + word.len()));
        buffer.extend_from_slice(word);
    }
    call(Args::new(&buffer, &spans))
}

/// One client of a server with two shards and the default configuration.
pub struct SessionBench {
    pub env: Env,
    pub slots: SlotTable,
    pub session: Session,
    pub shard: usize,
    pub now: i64,
    /// What the last command left to do.
    pub control: Control,
    options: Vec<String>,
}

impl SessionBench {
    pub fn new() -> SessionBench {
        let registry = Registry::new(&[]).unwrap();
        let stats = |_| Arc::new(ShardStats::new(registry.len(), 16));
        let now = 1_700_000_000_000;
        let peer = Peer::Tcp {
            remote: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:6379".parse().unwrap(),
        };
        let env = Env {
            runtime: "none",
            scripts: Default::default(),
            slow_scripts: Default::default(),
            persist: Default::default(),
            memory: Arc::new(MemorySum::new(2)),
            born: crate::clock::monotonic(),
            logs: Default::default(),
            latency: Default::default(),
            asleep_until_us: Default::default(),
            all_in_scripts: Default::default(),
            config: Mutex::new(Config::default()),
            stats: (0..2).map(stats).collect(),
            registry,
            acl: Default::default(),
            run_id: "0123456789abcdef0123456789abcdef01234567".to_string(),
            repl_changes: std::sync::atomic::AtomicU64::new(0),
            started_at: now - 90_000_000,
            act: Box::new(|_, _| Ok(())),
            faults: Default::default(),
        };
        let session = Session::new(3, peer, &env.acl.users(), now - 5000);
        let slots = SlotTable::contiguous(2);
        SessionBench {
            env,
            slots,
            session,
            shard: 0,
            now,
            control: Control::Done,
            options: Vec::new(),
        }
    }

    /// Sets an option as the file and the command line can, also one that CONFIG SET cannot.
    pub fn configure(&mut self, option: &str, value: &str) {
        self.options.extend([format!("--{option}"), value.to_string()]);
        let words = self.options.iter().map(|word| word.into());
        match config::parse(words) {
            Ok(Invocation::Run { config, .. }) => {
                let password = config.requirepass.as_ref().map(Secret::as_bytes);
                self.env.acl.set_default_password(password);
                *self.env.config() = *config;
            }
            other => panic!("{option} {value}: {other:?}"),
        }
    }

    /// Runs a command given as words (no quotes) and answers the encoded reply.
    pub fn run(&mut self, words: &str) -> String {
        let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
        self.run_args(&words)
    }

    pub fn run_args(&mut self, words: &[&[u8]]) -> String {
        let mut buffer = Vec::new();
        self.control = with_args(words, |args| {
            let registry = &self.env.registry;
            let id = registry.find(&args).expect("a known command");
            let command = registry.command(id);
            assert!(command.accepts(args.len()), "arity of {}", command.name);
            let Run::Session(handler) = command.run else { panic!("{} needs keys", command.name) };
            let mut cx = SessionCx {
                out: Encoder::new(&mut buffer, self.session.protocol),
                session: &mut self.session,
                env: &self.env,
                slots: &self.slots,
                shard: self.shard,
                now: self.now,
                frozen: None,
                name: command.name,
                refused_as: None,
            };
            execute_session(&mut cx, (id, handler), args)
        });
        String::from_utf8_lossy(&buffer).into_owned()
    }
}

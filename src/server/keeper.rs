//! What looks after the files: loads them at the start while the shards refuse commands on keys,
//! and sees to it that all is written at the end.

use crate::clock;
use crate::command::{Run, SessionCx, execute_session};
use crate::config::Values;
use crate::error::Fatal;
use crate::metrics::ShardStats;
use crate::net::{Shared, shard_settings};
use crate::persist::{Directory, Disk, Loading, Recovered, Threads, Writer, recover};
use crate::resp::{Args, Encoder, Protocol};
use crate::rt::Peer;
use crate::session::Session;
use crate::shard::{Loaded, Shard, SlotTable};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Has the data loaded and kept.
pub(super) struct Keeper {
    loader: Option<JoinHandle<()>>,
    outcome: Arc<Mutex<Option<Result<Threads, Fatal>>>>,
}

impl Keeper {
    /// Begins to load if there is something to be kept. The shards must not run yet.
    pub fn begin(shared: &Arc<Shared>) -> Result<Keeper, Fatal> {
        let outcome = Arc::new(Mutex::new(None));
        if shared.journal.is_none() {
            return Ok(Keeper { loader: None, outcome });
        }
        let shards = shared.loaded.len();
        shared.loading.store(shards, Ordering::Release);
        shared.env.persist.loading_since.store(clock::wall_ms(), Ordering::Relaxed);
        let (own, done) = (shared.clone(), outcome.clone());
        let run = move || {
            let result = open(&own);
            if result.is_err() {
                own.stopping.store(true, Ordering::Release);
                own.stop();
            }
            *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        };
        let loader = std::thread::Builder::new().name("loader".to_string()).spawn(run);
        let loader = loader.map_err(|e| Fatal::system("start a thread", e.to_string()))?;
        Ok(Keeper { loader: Some(loader), outcome })
    }

    /// The shards have ended: writes what they have handed over.
    pub fn end(self) -> Result<(), Fatal> {
        let Some(loader) = self.loader else { return Ok(()) };
        let outcome = || self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome() {
            Some(Ok(threads)) => threads.stop(),
            Some(Err(fatal)) => return Err(fatal),
            // It still loads; nothing has been written.
            None if !loader.is_finished() => tracing::warn!("stopping while data is loaded"),
            None => return Err(Fatal::system("load the data", "the loader has panicked")),
        }
        Ok(())
    }
}

/// How long it takes to append to a file of a disk that is slow on purpose.
const SLOW: Duration = Duration::from_millis(3);

/// Loads the data and gives it to the shards; from then on it is kept.
fn open(shared: &Arc<Shared>) -> Result<Threads, Fatal> {
    let config = shared.env.config().clone();
    let path = config.dir.join(&config.appenddirname);
    let disk = Directory::open(&path);
    let disk =
        disk.map_err(|e| Fatal::file("open the directory of append-only files", &path, e))?;
    let disk = match shared.env.faults.slow_appends {
        true => disk.slowed(SLOW),
        false => disk,
    };
    let shards = shared.loaded.len();
    let started = clock::monotonic();
    let recovered = load(shared, &config, &disk)?;
    let Recovered { loaded, manifest, last_round, lens } = match recovered {
        Some(recovered) => recovered,
        None => Recovered {
            loaded: (0..shards).map(|index| empty(shared, &config, index)).collect(),
            manifest: Default::default(),
            last_round: 0,
            lens: Vec::new(),
        },
    };
    let keys: usize = loaded.iter().map(Loaded::keys).sum();
    shared.env.persist.loaded_keys.store(keys as u64, Ordering::Relaxed);
    tracing::info!(keys, seconds = started.elapsed().as_secs_f64(), "the data is loaded");
    let writer = Writer::open(Arc::new(disk), manifest, shards, last_round, &lens);
    let writer = writer.map_err(|failure| {
        Fatal::system("go on with the append-only files", failure.to_string())
    })?;
    let journal = shared.journal.as_ref().expect("a keeper begins when there is a journal");
    let threads = journal.start(writer);
    let threads = threads.map_err(|e| Fatal::system("start a thread", e.to_string()))?;
    for (slot, loaded) in shared.loaded.iter().zip(loaded) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }
    shared.bells.iter().for_each(|bell| bell.ring());
    Ok(threads)
}

fn empty(shared: &Shared, config: &Values, index: usize) -> Loaded {
    shard(shared, config, index).keyspace.into_loaded()
}

/// A shard that is filled apart from those that serve.
fn shard(shared: &Shared, config: &Values, index: usize) -> Shard {
    let databases = config.databases as usize;
    let stats = Arc::new(ShardStats::new(shared.env.registry.len(), databases));
    Shard::new(index, shared.key_seed, shard_settings(config), stats)
}

fn load(
    shared: &Arc<Shared>,
    config: &Values,
    disk: &dyn Disk,
) -> Result<Option<Recovered>, Fatal> {
    recover(&Loading {
        disk,
        registry: &shared.env.registry,
        shard: &|index| shard(shared, config, index),
        function: &|args| run_function(shared, args),
        shards: shared.loaded.len(),
        cut: config.aof_load_truncated,
        now: clock::wall_ms(),
        stats: &shared.env.persist,
        trusting: shared.env.faults.ignore_participants,
    })
}

/// Does again what a FUNCTION command has done.
fn run_function(shared: &Shared, args: &Args) -> Result<(), String> {
    let registry = &shared.env.registry;
    let Ok(id) = registry.find(args) else { return Err("it has no such command".to_string()) };
    let command = registry.command(id);
    let Run::Session(handler) = command.run else { return Ok(()) };
    let now = clock::wall_ms();
    let mut session = Session::new(0, Peer::Unix { path: String::new() }, true, now);
    let mut reply = Vec::new();
    let mut cx = SessionCx {
        session: &mut session,
        out: Encoder::new(&mut reply, Protocol::Resp2),
        env: &shared.env,
        slots: &SlotTable::contiguous(1),
        shard: 0,
        now,
        frozen: None,
        name: command.name,
    };
    execute_session(&mut cx, (id, handler), *args);
    match reply.first() {
        Some(b'-') => Err(format!("{} answers {}", command.name, reply.escape_ascii())),
        _ => Ok(()),
    }
}

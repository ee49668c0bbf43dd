//! What looks after the files: loads them at the start while the shards refuse commands on keys,
//! and sees to it that all is written at the end.

use crate::clock;
use crate::command::REDIS_VERSION;
use crate::config::Values;
use crate::error::Fatal;
use crate::metrics::ShardStats;
use crate::metrics::memory_used;
use crate::net::functions;
use crate::net::{Shared, shard_settings};
use crate::persist::foreign::{self, Progress, ShardTarget, Source, find_aof, find_rdb};
use crate::persist::manifest::{self, Manifest};
use crate::persist::save::{About, write_base};
use crate::persist::scan::scan;
use crate::persist::{Directory, Disk, Loading, Recovered, Threads, Writer, recover};
use crate::shard::{Keyspace, Loaded, Shard, SlotTable};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The name that Redis gives its append-only files.
const APPENDFILENAME: &str = "appendonly.aof";

/// The threads that keep what is done, if it is to be kept; or why the data cannot be loaded.
type Outcome = Result<Option<Threads>, Fatal>;

/// Has the data loaded and kept.
pub(super) struct Keeper {
    loader: Option<JoinHandle<()>>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Keeper {
    /// Begins to load if there is something to be kept. The shards must not run yet.
    pub fn begin(shared: &Arc<Shared>) -> Result<Keeper, Fatal> {
        let outcome = Arc::new(Mutex::new(None));
        if shared.journal.is_none() && !has_snapshot(&shared.env.config()) {
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
            Some(Ok(threads)) => threads.into_iter().for_each(Threads::stop),
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

/// Loads the data and gives it to the shards; from then on it is kept, if there is a journal.
fn open(shared: &Arc<Shared>) -> Result<Option<Threads>, Fatal> {
    let config = shared.env.config().clone();
    let started = clock::monotonic();
    let (loaded, threads) = match &shared.journal {
        None => (load_snapshot(shared, &config)?, None),
        Some(journal) => {
            let (loaded, writer) = open_segments(shared, &config)?;
            let threads = journal.start(writer);
            let threads = threads.map_err(|e| Fatal::system("start a thread", e.to_string()))?;
            (loaded, Some(threads))
        }
    };
    let keys: usize = loaded.iter().map(Loaded::keys).sum();
    shared.env.persist.loaded_keys.store(keys as u64, Ordering::Relaxed);
    tracing::info!(keys, seconds = started.elapsed().as_secs_f64(), "the data is loaded");
    for (slot, loaded) in shared.loaded.iter().zip(loaded) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }
    shared.bells.iter().for_each(|bell| bell.ring());
    Ok(threads)
}

/// Loads the append-only files, or what else there is to begin with, and opens them to go on.
fn open_segments(shared: &Arc<Shared>, config: &Values) -> Result<(Vec<Loaded>, Writer), Fatal> {
    let path = config.dir.join(&config.appenddirname);
    let disk = directory(&path)?.claimed().map_err(|e| {
        Fatal::file("use the directory", &path, e)
            .with_way_out("stop the other server, or give this one another dir or appenddirname")
    })?;
    let disk = Arc::new(match shared.env.faults.slow_appends {
        true => disk.slowed(SLOW),
        false => disk,
    });
    let shards = shared.loaded.len();
    let (loaded, manifest, last_round, lens) = match load(shared, config, &*disk)? {
        Some(Recovered { loaded, manifest, last_round, lens }) => {
            (loaded, manifest, last_round, lens)
        }
        None => {
            check_for_orphans(&*disk)?;
            let loaded = load_foreign(shared, config)?;
            let (loaded, manifest) = keep(shared, config, &*disk, loaded)?;
            (loaded, manifest, 0, Vec::new())
        }
    };
    let writer = Writer::open(disk, manifest, shards, last_round, &lens);
    let failed = |failure| Fatal::system("go on with the append-only files", format!("{failure}"));
    Ok((loaded, writer.map_err(failed)?))
}

/// Makes sure that nothing is written over what a manifest has named that is gone.
fn check_for_orphans(disk: &dyn Disk) -> Result<(), Fatal> {
    let failed = |e| Fatal::file("open the directory", &disk.path(""), e);
    let names = disk.list().map_err(failed)?;
    let is_segment = |name: &&String| manifest::is_data_file(name) && name.ends_with(".aof");
    // A first start that was cut short leaves segments in which nothing is yet.
    let has_effects = |name: &&String| scan(disk, name).is_ok_and(|scan| !scan.parts.is_empty());
    match names.iter().filter(is_segment).find(has_effects) {
        None => Ok(()),
        Some(name) => {
            let path = disk.path(manifest::NAME);
            let problem = format!("it is missing, but there is {name}");
            Err(Fatal::system(format!("load {}", path.display()), problem).with_way_out(
                "bring the manifest back from a copy, or move the files away to begin without them",
            ))
        }
    }
}

fn directory(path: &Path) -> Result<Directory, Fatal> {
    Directory::open(path).map_err(|e| Fatal::file("open the directory", path, e))
}

/// Writes what was loaded from elsewhere, so that it is there at the next start.
fn keep(
    shared: &Shared,
    config: &Values,
    disk: &dyn Disk,
    loaded: Vec<Loaded>,
) -> Result<(Vec<Loaded>, Manifest), Fatal> {
    if loaded.iter().all(|loaded| loaded.keys() == 0) && functions(&shared.env).is_empty() {
        return Ok((loaded, Manifest::default()));
    }
    let keyspace = |(index, loaded)| {
        let mut keyspace = shard(shared, config, index).keyspace;
        keyspace.adopt(loaded);
        keyspace
    };
    let mut keyspaces: Vec<Keyspace> = loaded.into_iter().enumerate().map(keyspace).collect();
    let about = About {
        redis_version: REDIS_VERSION,
        made_at: clock::wall_ms() / 1000,
        used_memory: memory_used(),
        functions: functions(&shared.env),
    };
    let manifest = write_base(disk, about, &mut keyspaces);
    let manifest =
        manifest.map_err(|e| Fatal::file("write what was loaded to", &disk.path(""), e))?;
    tracing::info!("what was loaded is kept in append-only files from now on");
    Ok((keyspaces.into_iter().map(Keyspace::into_loaded).collect(), manifest))
}

/// The append-only files of Redis, or a snapshot, or nothing.
fn load_foreign(shared: &Arc<Shared>, config: &Values) -> Result<Vec<Loaded>, Fatal> {
    match find_aof(&config.dir, &config.appenddirname, APPENDFILENAME)? {
        Some(source) => load_source(shared, config, &source),
        None => load_snapshot(shared, config),
    }
}

/// The later one of the snapshots in a file and in a file for each shard, or nothing.
fn load_snapshot(shared: &Arc<Shared>, config: &Values) -> Result<Vec<Loaded>, Fatal> {
    let parts = config.dir.join(format!("{}.shards", config.dbfilename));
    let made_at = |path: &Path| std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    let in_parts = made_at(&parts.join(manifest::NAME));
    if in_parts.is_some() && in_parts >= made_at(&config.dir.join(&config.dbfilename)) {
        let disk = directory(&parts)?;
        tracing::info!(path = %parts.display(), "loading a snapshot");
        if let Some(recovered) = load(shared, config, &disk)? {
            return Ok(recovered.loaded);
        }
    }
    match find_rdb(&config.dir, &config.dbfilename)? {
        Some(source) => load_source(shared, config, &source),
        None => {
            let shards = shared.loaded.len();
            Ok((0..shards).map(|index| empty(shared, config, index)).collect())
        }
    }
}

/// Whether there is anything to load without append-only files.
fn has_snapshot(config: &Values) -> bool {
    let name = &config.dbfilename;
    let parts = config.dir.join(format!("{name}.shards")).join(manifest::NAME);
    [config.dir.join(name), parts].iter().any(|path| path.exists())
}

/// Loads files as Redis writes them, and gives each shard its keys.
fn load_source(
    shared: &Arc<Shared>,
    config: &Values,
    source: &Source,
) -> Result<Vec<Loaded>, Fatal> {
    let persist = shared.env.persist.clone();
    let mut tell = |progress: Progress| {
        persist.loading_bytes.store(progress.total, Ordering::Relaxed);
        persist.loaded_bytes.store(progress.done, Ordering::Relaxed);
    };
    let mut shard = shard(shared, config, 0);
    let now = clock::wall_ms();
    let registry = &shared.env.registry;
    let scripts = &shared.env.scripts;
    let mut target = ShardTarget::new(registry, &mut shard, scripts, config.rdbchecksum, now);
    let settings = foreign::Settings { load_truncated: config.aof_load_truncated };
    tracing::info!(?source, "loading what Redis has left");
    let report = foreign::load(source, &mut target, settings, &mut tell)?;
    drop(target);
    persist.left_out_keys.store(report.expired, Ordering::Relaxed);
    tell_of(&report);
    while shard.keyspace.free_step(FREE_AT_ONCE) {}
    let slots = SlotTable::contiguous(shared.loaded.len());
    Ok(Loaded::distribute(vec![shard.keyspace.into_loaded()], &slots))
}

/// Elements that are freed between two looks at what is left.
const FREE_AT_ONCE: usize = 1 << 16;

/// What somebody who moves here should know.
fn tell_of(report: &foreign::Report) {
    let foreign::Report { expired, empty, failed, first_failure, modules, torn, .. } = report;
    tracing::info!(expired, empty, "keys left out: expired, and collections without elements");
    if let Some(first) = first_failure {
        tracing::warn!(failed, first, "some commands of the append-only file have failed");
    }
    if !modules.is_empty() {
        tracing::warn!(?modules, "what modules keep beside keys was left out");
    }
    if let Some((path, at)) = torn {
        tracing::warn!(path = %path.display(), at, "the file is torn: what follows was left out");
    }
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
        scripts: &shared.env.scripts,
        checksum: config.rdbchecksum,
        shards: shared.loaded.len(),
        cut: config.aof_load_truncated,
        now: clock::wall_ms(),
        stats: &shared.env.persist,
        trusting: shared.env.faults.ignore_participants,
    })
}

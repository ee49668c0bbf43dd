//! What looks after the files: loads them at the start while the shards refuse commands on keys,
//! and sees to it that all is written at the end.

use crate::clock;
use crate::command::{Faults, REDIS_VERSION, ReloadRequest};
use crate::config::Values;
use crate::error::Fatal;
use crate::metrics::ShardStats;
use crate::metrics::tell_balance;
use crate::net::functions;
use crate::net::{Shared, shard_settings};
use crate::persist::foreign::{self, Progress, Source, Spread, find_aof, find_rdb};
use crate::persist::manifest::{self, Manifest};
use crate::persist::save::{About, write_base};
use crate::persist::scan::scan;
use crate::persist::{Directory, Disk, Journal, Loading, Recovered, Writer, recover};
use crate::rt::{self, heap};
use crate::script::Store;
use crate::shard::{Keyspace, Loaded, Shard};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Why the data cannot be loaded.
type Outcome = Result<(), Fatal>;

/// Has the data loaded and kept.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    loader: Option<JoinHandle<()>>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Keeper {
    /// Begins to load if there is something to be kept. The shards must not run yet.
    pub fn begin(shared: &Arc<Shared>) -> Result<Keeper, Fatal> {
        let outcome = Arc::new(Mutex::new(None));
        let config = shared.env.config().clone();
        if !config.appendonly && !has_snapshot(&config) {
            return Ok(Keeper { shared: shared.clone(), loader: None, outcome });
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
            tell_balance(heap::balance());
        };
        let loader = std::thread::Builder::new().name("loader".to_string()).spawn(run);
        let loader = loader.map_err(|e| Fatal::system("start a thread", e.to_string()))?;
        Ok(Keeper { shared: shared.clone(), loader: Some(loader), outcome })
    }

    /// The shards have ended: writes what they have handed over.
    pub fn end(self) -> Result<(), Fatal> {
        let Keeper { shared, loader, outcome } = self;
        shared.journal.stop();
        let Some(loader) = loader else { return Ok(()) };
        let outcome = || outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome() {
            Some(Ok(())) => {}
            Some(Err(fatal)) => return Err(fatal),
            // It still loads; nothing has been written.
            None if !loader.is_finished() => tracing::warn!("stopping while data is loaded"),
            None => return Err(Fatal::system("load the data", "the loader has panicked")),
        }
        Ok(())
    }
}

/// Whether it is another server that has the directory, and not the system that refuses it.
fn is_claimed(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

const CLAIM_PATIENCE: Duration = Duration::from_millis(500);
const CLAIM_RETRY: Duration = Duration::from_millis(5);

/// Loads the data and gives it to the shards; from then on it is kept, if there is a journal.
fn open(shared: &Arc<Shared>) -> Outcome {
    let config = shared.env.config().clone();
    let started = clock::monotonic();
    let loaded = match config.appendonly {
        false => load_snapshot(shared, &config, &shared.env.scripts)?,
        true => {
            let (loaded, writer) = open_segments(shared, &config)?;
            let started = shared.journal.start(writer);
            started.map_err(|e| Fatal::system("start a thread", e.to_string()))?;
            loaded
        }
    };
    let keys: usize = loaded.iter().map(Loaded::keys).sum();
    shared.env.persist.loaded_keys.store(keys as u64, Ordering::Relaxed);
    tracing::info!(keys, seconds = started.elapsed().as_secs_f64(), "the data is loaded");
    for (slot, loaded) in shared.loaded.iter().zip(loaded) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }
    shared.bells.iter().for_each(|bell| bell.ring());
    Ok(())
}

/// The directory of the append-only files, for this server alone.
fn append_to(journal: &Journal, config: &Values, faults: Faults) -> io::Result<Arc<dyn Disk>> {
    let directory = journal.directory(&config.dir.join(&config.appenddirname))?;
    Ok(match faults.slow_disk {
        true => Arc::new(Directory::clone(&directory).slowed()),
        false => directory,
    })
}

/// CONFIG SET appendonly yes.
pub(super) fn begin_to_append(
    journal: &Arc<Journal>,
    config: &Values,
    faults: Faults,
) -> Result<(), String> {
    let opened = append_to(journal, config, faults);
    let opened = opened.map_err(|e| {
        let path = config.dir.join(&config.appenddirname);
        format!("cannot use {}: {}", path.display(), crate::error::io_text(&e))
    });
    journal.set_policy(config.appendfsync);
    opened.and_then(|disk| journal.begin(disk)).map_err(|problem| {
        tracing::error!("cannot begin to append writes to files: {problem}");
        "Unable to turn on AOF. Check server logs.".to_string()
    })
}

/// Loads the append-only files, or what else there is to begin with, and opens them to go on.
fn open_segments(shared: &Arc<Shared>, config: &Values) -> Result<(Vec<Loaded>, Writer), Fatal> {
    let begun = clock::monotonic();
    let disk = loop {
        match append_to(&shared.journal, config, shared.env.faults) {
            // A server that has just ended may still have it for a moment.
            Err(e) if is_claimed(&e) && begun.elapsed() < CLAIM_PATIENCE => {
                std::thread::sleep(CLAIM_RETRY);
            }
            result => break result,
        }
    };
    let disk = disk.map_err(|e| {
        let path = config.dir.join(&config.appenddirname);
        match is_claimed(&e) {
            true => Fatal::file("use the directory", &path, e).with_way_out(
                "stop the other server, or give this one another dir or appenddirname",
            ),
            false => Fatal::file("open the directory", &path, e),
        }
    })?;
    let shards = shared.loaded.len();
    let (loaded, manifest, last_round, tails) =
        match load(shared, config, &shared.env.scripts, &*disk)? {
            Some(Recovered { loaded, manifest, last_round, tails }) => {
                (loaded, manifest, last_round, tails)
            }
            None => {
                check_for_orphans(&*disk)?;
                let loaded = load_foreign(shared, config)?;
                let (loaded, manifest) = keep(shared, config, &*disk, loaded)?;
                (loaded, manifest, 0, Vec::new())
            }
        };
    let writer = Writer::open(disk, manifest, shards, last_round, &tails);
    let failed = |failure| Fatal::system("go on with the append-only files", format!("{failure}"));
    Ok((loaded, writer.map_err(failed)?))
}

/// Loads what is in the files while the server runs, with libraries of functions of their own.
pub(super) fn load_again(
    shared: &Arc<Shared>,
    request: &ReloadRequest,
) -> Result<(Vec<Loaded>, Store), String> {
    let config = shared.env.config().clone();
    let scripts = Store::default();
    let loaded = match request.appended {
        true => load_appended(shared, &config, &scripts),
        false if !has_snapshot(&config) => {
            return Err(format!("there is no {}", config.dir.join(&config.dbfilename).display()));
        }
        false => load_snapshot(shared, &config, &scripts),
    };
    loaded.map(|loaded| (loaded, scripts)).map_err(|fatal| fatal.to_string())
}

/// The append-only files, of this server or of Redis.
fn load_appended(
    shared: &Arc<Shared>,
    config: &Values,
    scripts: &Store,
) -> Result<Vec<Loaded>, Fatal> {
    let path = config.dir.join(&config.appenddirname);
    // What is being appended to is not to be cut, whatever is found.
    let careful = Values {
        aof_load_truncated: config.aof_load_truncated && !shared.journal.is_used(),
        ..config.clone()
    };
    if let Some(recovered) = load(shared, &careful, scripts, &directory(&path)?)? {
        return Ok(recovered.loaded);
    }
    match find_aof(&config.dir, &config.appenddirname, &config.appendfilename)? {
        Some(source) => load_source(shared, config, scripts, &source),
        None => Err(Fatal::system("load the append-only files", "there are none")),
    }
}

/// Makes sure that nothing is written over what a manifest has named that is gone.
fn check_for_orphans(disk: &dyn Disk) -> Result<(), Fatal> {
    let failed = |e| Fatal::file("open the directory", &disk.path(""), e);
    let names = disk.list().map_err(failed)?;
    if names.iter().any(|name| name == manifest::NAME) {
        // It says that there is nothing yet: what was written behind it is of a first rewrite.
        return Ok(());
    }
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
        used_memory: shared.env.memory.used(),
        functions: functions(&shared.env),
        sync_steps: false,
    };
    let manifest = write_base(disk, about, &mut keyspaces);
    let manifest =
        manifest.map_err(|e| Fatal::file("write what was loaded to", &disk.path(""), e))?;
    tracing::info!("what was loaded is kept in append-only files from now on");
    Ok((keyspaces.into_iter().map(Keyspace::into_loaded).collect(), manifest))
}

/// The append-only files of Redis, or a snapshot, or nothing.
fn load_foreign(shared: &Arc<Shared>, config: &Values) -> Result<Vec<Loaded>, Fatal> {
    match find_aof(&config.dir, &config.appenddirname, &config.appendfilename)? {
        Some(source) => load_source(shared, config, &shared.env.scripts, &source),
        None => load_snapshot(shared, config, &shared.env.scripts),
    }
}

/// The later one of the snapshots in a file and in a file for each shard, or nothing.
fn load_snapshot(
    shared: &Arc<Shared>,
    config: &Values,
    scripts: &Store,
) -> Result<Vec<Loaded>, Fatal> {
    let parts = config.dir.join(format!("{}.shards", config.dbfilename));
    let made_at = |path: &Path| std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    let in_parts = made_at(&parts.join(manifest::NAME));
    if in_parts.is_some() && in_parts >= made_at(&config.dir.join(&config.dbfilename)) {
        let disk = directory(&parts)?;
        tracing::info!(path = %parts.display(), "loading a snapshot");
        if let Some(recovered) = load(shared, config, scripts, &disk)? {
            return Ok(recovered.loaded);
        }
    }
    match find_rdb(&config.dir, &config.dbfilename)? {
        Some(source) => load_source(shared, config, scripts, &source),
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
    scripts: &Store,
    source: &Source,
) -> Result<Vec<Loaded>, Fatal> {
    let persist = shared.env.persist.clone();
    let mut tell = |progress: Progress| {
        persist.loading_bytes.store(progress.total, Ordering::Relaxed);
        persist.loaded_bytes.store(progress.done, Ordering::Relaxed);
    };
    let spread = Spread {
        registry: &shared.env.registry,
        shard: &|index| shard(shared, config, index),
        scripts,
        checksum: config.rdbchecksum,
        now: clock::wall_ms(),
        shards: shared.loaded.len(),
        threads: rt::usable_cores().len(),
    };
    let settings = foreign::Settings { load_truncated: config.aof_load_truncated };
    tracing::info!(?source, "loading what Redis has left");
    let (report, loaded) = foreign::load_spread(source, &spread, settings, &mut tell)?;
    persist.left_out_keys.store(report.expired, Ordering::Relaxed);
    tell_of(&report);
    Ok(loaded)
}

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
    scripts: &Store,
    disk: &dyn Disk,
) -> Result<Option<Recovered>, Fatal> {
    recover(&Loading {
        disk,
        registry: &shared.env.registry,
        shard: &|index| shard(shared, config, index),
        scripts,
        checksum: config.rdbchecksum,
        shards: shared.loaded.len(),
        cut: config.aof_load_truncated,
        now: clock::wall_ms(),
        stats: &shared.env.persist,
        threads: rt::usable_cores().len(),
        trusting: shared.env.faults.ignore_participants,
    })
}

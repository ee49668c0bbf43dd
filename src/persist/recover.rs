//! From the files back to the keys.
//!
//! The segments of a generation are read at the same time, a thread for each. Those of the last one are
//! first looked through for the last round that is whole in all of them; what follows it is cut off.
//! Rounds that were on disk and are not whole any more are no sudden end but damage: then the server does
//! not start.

use super::disk::Disk;
use super::foreign::{ShardTarget, Target};
use super::manifest::{self, Generation, Manifest};
use super::replay::replay;
use super::scan::{self, Scan, Unusable};
use crate::command::Registry;
use crate::error::Fatal;
use crate::metrics::PersistStats;
use crate::metrics::tell_balance;
use crate::rdb::buffered::Buffered;
use crate::rdb::file::{Item, Reader};
use crate::rt::heap;
use crate::script::Store;
use crate::shard::{Loaded, Shard, SlotTable};
use std::io::{BufReader, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What loading needs of the server.
pub struct Loading<'a> {
    pub disk: &'a dyn Disk,
    pub registry: &'a Registry,
    /// Makes the shard of this number, empty.
    pub shard: &'a (dyn Fn(usize) -> Shard + Sync),
    /// Libraries of functions are loaded into it.
    pub scripts: &'a Store,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// How many shards there are to be.
    pub shards: usize,
    /// `aof-load-truncated`: what was not finished when the server ended is cut off.
    pub cut: bool,
    pub now: i64,
    pub stats: &'a PersistStats,
    /// So many files are read at the same time.
    pub threads: usize,
    /// Every segment is taken as far as it goes, which is wrong, and for tests.
    pub trusting: bool,
}

/// What was loaded, and where writing goes on.
pub struct Recovered {
    /// By shard.
    pub loaded: Vec<Loaded>,
    pub manifest: Manifest,
    /// The last whole round.
    pub last_round: u64,
    /// The segments in the order of the manifest.
    pub tails: Vec<Tail>,
}

/// Where a segment ends.
#[derive(Debug, Clone)]
pub struct Tail {
    pub name: String,
    pub len: u64,
    /// So much of it was known to be on disk.
    pub safe: u64,
}

/// A damaged or unreadable file.
fn damaged(loading: &Loading, name: &str, problem: impl std::fmt::Display) -> Fatal {
    let path = loading.disk.path(name);
    Fatal::system(format!("load {}", path.display()), problem.to_string()).with_way_out(
        "keep a copy of the directory, then see what can be saved with: corelane check DIRECTORY",
    )
}

/// Loads what the manifest names; `None` if there is none, or it names nothing.
pub fn recover(loading: &Loading) -> Result<Option<Recovered>, Fatal> {
    let names = loading.disk.list().map_err(|e| damaged(loading, "", crate::error::io_text(&e)))?;
    if !names.iter().any(|name| name == manifest::NAME) {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = loading.disk.read(manifest::NAME).and_then(|mut file| file.read_to_end(&mut text));
    read.map_err(|e| damaged(loading, manifest::NAME, crate::error::io_text(&e)))?;
    let manifest =
        Manifest::parse(&text).map_err(|problem| damaged(loading, manifest::NAME, problem))?;
    if manifest.is_empty() {
        return Ok(None);
    }
    let sizes = manifest.files().iter().map(|name| loading.disk.len(name).unwrap_or(0)).sum();
    loading.stats.loading_bytes.store(sizes, Ordering::Relaxed);
    let mut loaded = load_base(loading, &manifest)?;
    let (mut last_round, mut synced, mut all) = (0, 0, Vec::new());
    for (at, &generation) in manifest.segments.iter().enumerate() {
        let later = &manifest.segments[at + 1..];
        let before = (at > 0).then_some(last_round);
        let scans = scan_all(loading, generation)?;
        last_round = whole_until(loading, &scans, before, later)?;
        let lens: Vec<u64> = scans.iter().map(|scan| scan.end_of(last_round)).collect();
        synced = scans.iter().map(|scan| scan.synced).fold(synced, u64::max);
        cut_off(loading, &scans, &lens)?;
        loaded = replay_all(loading, loaded, generation, &scans, &lens)?;
        all.extend(scans.into_iter().zip(lens));
    }
    let slots = SlotTable::contiguous(loading.shards);
    let written_by = manifest.segments.last().or(manifest.base.as_ref()).map(|g| g.shards);
    if written_by != Some(loading.shards) {
        loaded = Loaded::distribute(loaded, &slots);
    }
    let tail = |(scan, len): (Scan, u64)| {
        let safe = scan.end_of(synced).min(len);
        Tail { name: scan.name, len, safe }
    };
    let tails = all.into_iter().map(tail).collect();
    Ok(Some(Recovered { loaded, manifest, last_round, tails }))
}

fn load_base(loading: &Loading, manifest: &Manifest) -> Result<Vec<Loaded>, Fatal> {
    match manifest.base {
        None => {
            let shards = manifest.segments.first().map_or(loading.shards, |g| g.shards);
            Ok((0..shards).map(|shard| (loading.shard)(shard).keyspace.into_loaded()).collect())
        }
        Some(base) => at_once(loading.threads, base.shards, |index| {
            let mut shard = (loading.shard)(index);
            load_snapshot(loading, &base.base(index), &mut shard)?;
            Ok(shard.keyspace.into_loaded())
        }),
    }
}

/// Runs something for each number at the same time; the first failure counts.
pub(super) fn at_once<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, Fatal> + Sync,
) -> Result<Vec<T>, Fatal> {
    let threads = threads.min(count);
    let next = AtomicU64::new(0);
    let results: Vec<Mutex<Option<Result<T, Fatal>>>> =
        (0..count).map(|_| Mutex::new(None)).collect();
    let take_turns = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(result) = results.get(at) else { return };
            let done = work(at);
            *result.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(done);
        }
    };
    std::thread::scope(|scope| {
        let help = || {
            take_turns();
            tell_balance(heap::balance());
        };
        (1..threads).for_each(|_| drop(scope.spawn(help)));
        take_turns();
    });
    let lost = || Err(Fatal::system("load the data", "a thread has ended before its time"));
    results
        .into_iter()
        .map(|result| result.into_inner().ok().flatten().unwrap_or_else(lost))
        .collect()
}

/// Elements that are freed between two looks at what is left.
pub(super) const FREE_AT_ONCE: usize = 1 << 16;

pub(super) fn target<'a>(loading: &Loading<'a>, shard: &'a mut Shard) -> ShardTarget<'a> {
    ShardTarget::new(loading.registry, shard, loading.scripts, loading.checksum, loading.now)
}

/// Loads one shard's snapshot.
pub(super) fn load_snapshot(loading: &Loading, name: &str, shard: &mut Shard) -> Result<(), Fatal> {
    let file = loading.disk.read(name);
    let file = file.map_err(|e| damaged(loading, name, crate::error::io_text(&e)))?;
    let mut target = target(loading, shard);
    let reader = Reader::new(Buffered::new(file), target.options(true));
    let mut reader = reader.map_err(|error| damaged(loading, name, error))?;
    let mut told = 0;
    while let Some(item) = reader.next().map_err(|error| damaged(loading, name, error))? {
        let taken = match item {
            Item::Entry(stored) => target.entry(stored, true).map(drop),
            Item::Function { code } => target.function(code),
            _ => Ok(()),
        };
        let at = reader.position();
        taken.map_err(|problem| damaged(loading, name, format!("{problem}, at byte {at}")))?;
        if at - told > TELL_STEP {
            loading.stats.loaded_bytes.fetch_add(at - told, Ordering::Relaxed);
            told = at;
        }
    }
    loading.stats.loaded_bytes.fetch_add(reader.position() - told, Ordering::Relaxed);
    target.end();
    Ok(())
}

/// Bytes between two looks at how far it is.
const TELL_STEP: u64 = 4 << 20;

fn scan_all(loading: &Loading, generation: Generation) -> Result<Vec<Scan>, Fatal> {
    at_once(loading.threads, generation.shards, |shard| {
        let name = generation.segment(shard);
        let scan = scan::scan(loading.disk, &name).map_err(|unusable| match unusable {
            Unusable::Unreadable(error) => damaged(loading, &name, crate::error::io_text(&error)),
            Unusable::Foreign(problem) => damaged(loading, &name, problem),
        })?;
        match scan.head.shard == shard && scan.head.shards == generation.shards {
            true => Ok(scan),
            false => Err(damaged(loading, &name, "it belongs to another shard")),
        }
    })
}

/// The last round that is whole, as all before it are; `before` is that of the segments before these.
fn whole_until(
    loading: &Loading,
    scans: &[Scan],
    before: Option<u64>,
    later: &[Generation],
) -> Result<u64, Fatal> {
    if loading.trusting {
        let last = scans.iter().filter_map(|scan| scan.parts.last()).map(|part| part.round).max();
        return Ok(last.or(before).unwrap_or(0));
    }
    let first = scans.iter().map(|scan| scan.head.first).max().unwrap_or(1).max(1);
    if let Some(scan) = scans.first()
        && before.is_some_and(|before| before + 1 < first)
    {
        let problem = format!("rounds before {first} are missing at the end of earlier segments");
        return Err(damaged(loading, &scan.name, problem));
    }
    let whole = whole_rounds(scans, before.unwrap_or(0).max(first - 1));
    let synced = scans.iter().map(|scan| scan.synced).max().unwrap_or(0);
    let mut cut: Vec<&Scan> = scans.iter().filter(|scan| scan.end_of(whole) < scan.len).collect();
    // Where something is wrong comes before what cannot be used for that reason.
    cut.sort_by_key(|scan| scan.problem.is_none() || scan.end_of(whole) < scan.end());
    let is_last = cut.is_empty() || are_empty(loading, later)?;
    for scan in cut {
        let at = scan.end_of(whole);
        let problem = match scan.problem {
            Some(problem) if at == scan.end() => problem,
            _ => "what follows was not written in all segments",
        };
        let dropped = scan.len - at;
        if synced > whole || !is_last {
            let problem = format!(
                "{problem}, at byte {at} of {}, and this is no accident of a sudden end: more than \
                 that was on disk",
                scan.len
            );
            return Err(damaged(loading, &scan.name, problem));
        }
        if !loading.cut {
            let problem = format!("{problem}, at byte {at} of {}", scan.len);
            return Err(damaged(loading, &scan.name, problem).with_way_out(
                "aof-load-truncated yes cuts off what was not finished when the server ended",
            ));
        }
        tracing::warn!(
            file = %loading.disk.path(&scan.name).display(),
            at,
            dropped,
            "{problem}: what follows is cut off, since it was not finished when the server ended"
        );
    }
    Ok(whole)
}

/// Whether nothing was written to these, which were made before the server ended.
fn are_empty(loading: &Loading, generations: &[Generation]) -> Result<bool, Fatal> {
    for &generation in generations {
        let scans = scan_all(loading, generation)?;
        if scans.iter().any(|scan| scan.len > scan.start) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Cuts off what is not used: it must not be there when more rounds have been written.
fn cut_off(loading: &Loading, scans: &[Scan], lens: &[u64]) -> Result<(), Fatal> {
    for (scan, &len) in scans.iter().zip(lens).filter(|(scan, len)| scan.len > **len) {
        let cut = loading.disk.append_from(&scan.name, len).and_then(|file| file.sync());
        cut.map_err(|e| damaged(loading, &scan.name, crate::error::io_text(&e)))?;
    }
    Ok(())
}

/// The last of the consecutive rounds behind `before` that are there in all segments that have a part.
pub fn whole_rounds(scans: &[Scan], before: u64) -> u64 {
    let mut next = vec![0; scans.len()];
    let mut whole = before;
    loop {
        let round = whole + 1;
        let mut parts = (0..scans.len()).filter_map(|shard| {
            let part = scans[shard].parts.get(next[shard]).filter(|part| part.round == round)?;
            Some((shard, part.shards))
        });
        let Some((shard, shards)) = parts.next() else { return whole };
        let taking_part = &scans[shard].shards[shards as usize];
        let is_there = |shard: usize| {
            scans.get(shard).is_some_and(|scan| {
                scan.parts.get(next[shard]).is_some_and(|part| part.round == round)
            })
        };
        if !taking_part.iter().all(is_there) {
            return whole;
        }
        taking_part.iter().for_each(|shard| next[shard] += 1);
        whole = round;
    }
}

fn replay_all(
    loading: &Loading,
    loaded: Vec<Loaded>,
    generation: Generation,
    scans: &[Scan],
    lens: &[u64],
) -> Result<Vec<Loaded>, Fatal> {
    let loaded = match loaded.len() == generation.shards {
        true => loaded,
        false => Loaded::distribute(loaded, &SlotTable::contiguous(generation.shards)),
    };
    let loaded: Vec<Mutex<Option<Loaded>>> =
        loaded.into_iter().map(|loaded| Mutex::new(Some(loaded))).collect();
    at_once(loading.threads, generation.shards, |index| {
        let mut shard = (loading.shard)(index);
        if let Ok(mut loaded) = loaded[index].lock()
            && let Some(loaded) = loaded.take()
        {
            shard.keyspace.adopt(loaded);
        }
        // What became dense is recorded as that.
        shard.settings.encodings.hll_sparse_max_bytes = usize::MAX;
        let mut target = target(loading, &mut shard);
        replay_segment(loading, &mut target, &scans[index], lens[index])?;
        target.end();
        drop(target);
        while shard.keyspace.free_step(FREE_AT_ONCE) {}
        Ok(shard.keyspace.into_loaded())
    })
}

fn replay_segment(
    loading: &Loading,
    target: &mut ShardTarget,
    scan: &Scan,
    len: u64,
) -> Result<(), Fatal> {
    let unreadable = |e: std::io::Error| damaged(loading, &scan.name, crate::error::io_text(&e));
    let mut file = loading.disk.read(&scan.name).map_err(unreadable)?;
    std::io::copy(&mut file.by_ref().take(scan.start), &mut std::io::sink()).map_err(unreadable)?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let (mut line, mut effects, mut at) = (Vec::new(), Vec::new(), scan.start);
    while at < len {
        let part = scan::read_part(&mut file, len - at, &mut line, &mut effects);
        let part = part.map_err(unreadable)?;
        let round = part.map_err(|problem| damaged(loading, &scan.name, problem))?;
        let begin = at + line.len() as u64;
        replay(target, &mut effects).map_err(|(offset, problem)| {
            let place = begin + offset as u64;
            damaged(loading, &scan.name, format!("{problem}, at byte {place}"))
        })?;
        let part = line.len() as u64 + round.bytes;
        at += part;
        loading.stats.loaded_bytes.fetch_add(part, Ordering::Relaxed);
    }
    Ok(())
}

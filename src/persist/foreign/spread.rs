//! An RDB file of Redis, loaded by all cores at once.
//!
//! ```text
//!   file ── skim ──> batches of keys and values as they are ──> a thread for each core
//!                     by the shard that owns the key              makes the values, fills its shards
//! ```
//!
//! One thread reads, which is all that has to be done in the order of the file: it finds where values end, and
//! sums. A batch is for one shard, and a thread has few of them ahead, so memory is bounded by what one value
//! takes. What is wrong with a value is told as the first thing that is wrong, whichever thread finds it first.

use super::{Kept, Loader, Problem, ShardTarget, Tale, Target};
use crate::command::Registry;
use crate::metrics::tell_balance;
use crate::rdb::buffered::Buffered;
use crate::rdb::file::{FileError, Next, Nothing, Options, Raw, Reader, Stored, Value, value_of};
use crate::rt::heap;
use crate::script::Store;
use crate::shard::{Loaded, Shard, SlotTable};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a batch, unless one value has more.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that a thread may have ahead of it.
const AHEAD: usize = 8;

/// The shards to be filled.
pub struct Spread<'a> {
    pub registry: &'a Registry,
    /// Makes the shard of this number, empty.
    pub shard: &'a (dyn Fn(usize) -> Shard + Sync),
    pub scripts: &'a Store,
    /// `rdbchecksum`
    pub checksum: bool,
    /// When the data are loaded.
    pub now: i64,
    pub shards: usize,
    /// So many make values, beside the one that reads.
    pub threads: usize,
}

/// Keys for one shard.
#[derive(Default)]
struct Batch {
    shard: usize,
    bytes: Vec<u8>,
    raws: Vec<Raw>,
}

/// What a thread has made.
#[derive(Default)]
struct Filled {
    loaded: Vec<(usize, Loaded)>,
    keys: u64,
    expired: u64,
    empty: u64,
}

impl Spread<'_> {
    pub(super) fn target<'s>(&'s self, shard: &'s mut Shard) -> ShardTarget<'s> {
        ShardTarget::new(self.registry, shard, self.scripts, self.checksum, self.now)
    }

    /// How values are read.
    fn options(&self, is_base: bool) -> Options {
        let mut shard = (self.shard)(0);
        self.target(&mut shard).options(is_base)
    }

    /// Loads an RDB file; gives the stream behind its end too.
    pub(super) fn rdb(
        &self,
        stream: Buffered<File>,
        is_base: bool,
        tale: &mut Tale,
    ) -> Result<(Buffered<File>, Vec<Loaded>), Problem> {
        let options = self.options(is_base);
        let mut reader = Reader::new(stream, options.clone()).map_err(Problem::Rdb)?;
        let threads = self.threads.min(self.shards).max(1);
        let has_failed = AtomicBool::new(false);
        let version = reader.version();
        let (read, filled) = std::thread::scope(|scope| {
            let (mut senders, mut fillers) = (Vec::new(), Vec::new());
            for thread in 0..threads {
                let (sender, batches) = sync_channel(AHEAD);
                senders.push(sender);
                let (options, has_failed) = (&options, &has_failed);
                fillers.push(scope.spawn(move || {
                    let filled = self.fill((thread, threads), batches, version, options, is_base);
                    has_failed.fetch_or(filled.is_err(), Ordering::Relaxed);
                    tell_balance(heap::balance());
                    filled
                }));
            }
            let read = self.read(&mut reader, senders, &has_failed, is_base, tale);
            let filled: Vec<_> = fillers.into_iter().map(|filler| filler.join()).collect();
            (read, filled)
        });
        let mut problem = read.err();
        let mut loaded: Vec<Option<Loaded>> = (0..self.shards).map(|_| None).collect();
        for filled in filled {
            match filled {
                Ok(Ok(filled)) => {
                    tale.report.progress.keys += filled.keys;
                    tale.report.expired += filled.expired;
                    tale.report.empty += filled.empty;
                    filled.loaded.into_iter().for_each(|(shard, keys)| loaded[shard] = Some(keys));
                }
                Ok(Err(other)) => problem = Some(earlier(problem, other)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match problem {
            Some(problem) => Err(problem),
            None => Ok((reader.into_source(), loaded.into_iter().flatten().collect())),
        }
    }

    /// Reads all, and hands out what it finds.
    fn read(
        &self,
        reader: &mut Reader<File>,
        senders: Vec<SyncSender<Batch>>,
        has_failed: &AtomicBool,
        is_base: bool,
        tale: &mut Tale,
    ) -> Result<(), Problem> {
        let slots = SlotTable::contiguous(self.shards);
        let mut batches: Vec<Batch> = (0..self.shards).map(Batch::of).collect();
        // A thread that does not take it has failed, and says why.
        let send = |batch: Batch| drop(senders[batch.shard % senders.len()].send(batch));
        let mut functions = (self.shard)(0);
        let mut functions = self.target(&mut functions);
        loop {
            let mut owner = 0;
            let next = reader.next_raw(|key| {
                owner = slots.owner_of(key);
                &mut batches[owner].bytes
            });
            let taken = match next.map_err(Problem::Rdb)? {
                Some(Next::Raw(raw)) => {
                    let batch = &mut batches[owner];
                    batch.raws.push(raw);
                    if batch.bytes.len() >= BATCH_BYTES {
                        send(std::mem::replace(batch, Batch::of(owner)));
                    }
                    Ok(())
                }
                Some(Next::Other(item)) => {
                    Loader { target: &mut functions, tale }.item(item, is_base)
                }
                None => break,
            };
            let offset = reader.position();
            taken.map_err(|text| Problem::Refused { offset, text })?;
            tale.tell_of(offset);
            if has_failed.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        batches.into_iter().for_each(send);
        Ok(())
    }

    /// Fills every so manieth shard.
    fn fill(
        &self,
        (first, step): (usize, usize),
        batches: Receiver<Batch>,
        version: u16,
        options: &Options,
        is_base: bool,
    ) -> Result<Filled, Problem> {
        let mut shards: Vec<Shard> =
            (first..self.shards).step_by(step).map(|index| (self.shard)(index)).collect();
        let mut filled = Filled::default();
        {
            let mut targets: Vec<ShardTarget> =
                shards.iter_mut().map(|shard| self.target(shard)).collect();
            for batch in batches {
                let target = &mut targets[batch.shard / step];
                for raw in batch.raws {
                    let offset = raw.offset;
                    let key = &batch.bytes[raw.key.clone()];
                    let value = &batch.bytes[raw.value.clone()];
                    let value = value_of(value, raw.kind, version, options).map_err(|cause| {
                        let key = Some(key.to_vec());
                        Problem::Rdb(FileError { offset, key, cause })
                    })?;
                    let kept = match value {
                        Ok(value) => target.entry(stored(&raw, key, value), is_base),
                        Err(Nothing::Empty) => {
                            filled.empty += 1;
                            continue;
                        }
                        Err(Nothing::Expired) => Ok(Kept::Expired),
                    };
                    match kept.map_err(|text| Problem::Refused { offset, text })? {
                        Kept::Yes => filled.keys += 1,
                        Kept::Expired => filled.expired += 1,
                    }
                }
            }
            targets.iter_mut().for_each(|target| target.end());
        }
        let indexes = (first..self.shards).step_by(step);
        filled.loaded =
            indexes.zip(shards.into_iter().map(|shard| shard.keyspace.into_loaded())).collect();
        Ok(filled)
    }
}

impl Batch {
    fn of(shard: usize) -> Batch {
        Batch { shard, ..Batch::default() }
    }
}

fn stored<'a>(raw: &Raw, key: &'a [u8], value: Value<'a>) -> Stored<'a> {
    let Raw { db, expire_at, idle, frequency, .. } = *raw;
    Stored { db, key, value, expire_at, idle, frequency }
}

/// What stands first in the file.
fn earlier(one: Option<Problem>, other: Problem) -> Problem {
    let offset = |problem: &Problem| match problem {
        Problem::Rdb(error) => error.offset,
        Problem::Refused { offset, .. } => *offset,
        _ => 0,
    };
    match one {
        Some(one) if offset(&one) <= offset(&other) => one,
        _ => other,
    }
}

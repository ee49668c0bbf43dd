//! How fast an RDB file is read, loaded into a shard by one thread and into several by all cores, and written again.
//!
//! `rdb <file>`: prints MB of the file per second and what it took, once for each.

use corelane::command::Registry;
use corelane::config::EventClasses;
use corelane::metrics::ShardStats;
use corelane::persist::foreign::{
    self, Settings as LoadSettings, ShardTarget, Source, Spread, Target,
};
use corelane::rdb::VERSION_VALKEY;
use corelane::rdb::buffered::Buffered;
use corelane::rdb::crc64::crc64;
use corelane::rdb::file::{Item, Reader};
use corelane::rdb::writer::{Access as History, Facts, Options, Writer};
use corelane::script::Store;
use corelane::shard::{Access, Encodings, Settings, Shard};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: i64 = 1_700_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file?")?;
    let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let told = |what: &str, start: Instant, keys: u64| {
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {:.0} MB/s, {seconds:.3} s, {keys} keys", megabytes / seconds);
    };
    let registry = Registry::new(&[])?;
    let stats = Arc::new(ShardStats::new(registry.len(), 16));
    let settings = || Settings {
        bulk_len_max: 512 << 20,
        access: Access::Lru,
        expire_effort: 1,
        lazy_flush: false,
        events: EventClasses::default(),
        encodings: Encodings::default(),
    };
    let mut shard = Shard::new(0, 1, settings(), stats.clone());
    let scripts = Store::default();

    let start = Instant::now();
    let bytes = std::fs::read(&path)?;
    told("file read", start, 0);
    let start = Instant::now();
    std::hint::black_box(crc64(0, &bytes));
    told("checksum", start, 0);
    drop(bytes);

    let mut target = ShardTarget::new(&registry, &mut shard, &scripts, true, NOW);
    let start = Instant::now();
    let mut reader = Reader::new(Buffered::new(File::open(&path)?), target.options(false))?;
    let mut keys = 0;
    while let Some(item) = reader.next()? {
        keys += u64::from(matches!(item, Item::Entry(_)));
    }
    told("parsed", start, keys);

    let start = Instant::now();
    let load = LoadSettings { load_truncated: true };
    let report = foreign::load(&Source::Rdb(path.clone().into()), &mut target, load, &mut |_| {})?;
    told("loaded", start, report.progress.keys);
    drop(target);
    for shards in [1, 2, 4] {
        let start = Instant::now();
        let make = |index| Shard::new(index, 1, settings(), stats.clone());
        let keys = spread(Source::Rdb(path.clone().into()), &registry, &make, shards)?;
        told(&format!("loaded into {shards} shards"), start, keys);
    }

    for compress in [true, false] {
        let (start, mut keys) = (Instant::now(), 0);
        let len = write(&mut shard, compress, &mut keys)?;
        let seconds = start.elapsed().as_secs_f64();
        let rate = len as f64 / 1e6 / seconds;
        println!(
            "written, compression {compress}: {rate:.0} MB/s, {seconds:.3} s, {len} bytes, {keys} keys"
        );
    }
    // Its memory is not given back piece by piece.
    std::process::exit(0);
}

/// Loads a file by all cores; gives the number of its keys.
fn spread(
    source: Source,
    registry: &Registry,
    shard: &(dyn Fn(usize) -> Shard + Sync),
    shards: usize,
) -> Result<u64, Box<dyn std::error::Error>> {
    let threads = std::thread::available_parallelism()?.get();
    let scripts = &Store::default();
    let spread = Spread { registry, shard, scripts, checksum: true, now: NOW, shards, threads };
    let load = LoadSettings { load_truncated: true };
    let (report, loaded) = foreign::load_spread(&source, &spread, load, &mut |_| {})?;
    // To give all back takes as long as to load it.
    std::mem::forget(loaded);
    Ok(report.progress.keys)
}

fn write(shard: &mut Shard, compress: bool, written: &mut u64) -> io::Result<u64> {
    let facts =
        Facts { redis_version: "7.2.4", made_at: NOW / 1000, used_memory: 0, is_aof_base: false };
    // Fields may expire.
    let options = Options { version: VERSION_VALKEY, compress, checksum: true };
    let mut writer = Writer::begin(io::sink(), options, &facts)?;
    for db in 0..16 {
        let keys = shard.keyspace.keys(db, NOW, false);
        if keys.is_empty() {
            continue;
        }
        writer.begin_db(db as u32, keys.len() as u64, keys.expiring_len() as u64)?;
        let (mut position, mut failed) = (0, Ok(()));
        loop {
            position = keys.scan(position, &mut |entry| {
                *written += 1;
                let value = entry.value();
                let wrote =
                    writer.entry(entry.key(), &value, entry.expire_at(), History::Untold, NOW);
                if wrote.is_err() {
                    failed = wrote;
                }
            });
            if position == 0 {
                break;
            }
        }
        failed?;
    }
    Ok(writer.end()?.1)
}

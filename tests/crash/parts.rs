//! A snapshot in a file for each shard, on a disk that fails: there is always the last one that was reported as
//! written, or a later one.

use super::sim_disk::SimDisk;
use super::torn::{LANES, SLOTS, contents, empty_shard, for_seeds, lane_key, load, run};
use corelane::persist::Disk;
use corelane::persist::save::{Purpose, Saving};
use corelane::persist::shard_files::About;
use corelane::shard::Shard;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Writes a snapshot in which this number stands everywhere.
fn save(disk: &SimDisk, shards: usize, number: u64) -> io::Result<u64> {
    let slots = &SLOTS[shards];
    let mut all: Vec<Shard> = (0..shards).map(empty_shard).collect();
    for lane in 0..LANES {
        let key = lane_key(lane);
        run(&mut all[slots.owner_of(key.as_bytes())], &format!("RPUSH {key} {number}"));
    }
    let about = About {
        redis_version: "7",
        made_at: 0,
        used_memory: 0,
        functions: Vec::new(),
        sync_steps: false,
    };
    let (sender, result) = channel();
    let own: Arc<dyn Disk> = Arc::new(disk.clone());
    let saving = Saving::start(
        Box::new(move || Ok(Purpose::Files(own))),
        shards,
        about,
        Box::new(move |result| sender.send(result).expect("somebody waits")),
    )?;
    saving.has_functions(Vec::new());
    for (index, shard) in all.iter_mut().enumerate() {
        let keyspace = &mut shard.keyspace;
        assert!(keyspace.begin_snapshot(0, false));
        loop {
            keyspace.snapshot_step(&mut || true);
            while let Some(bytes) = keyspace.take_output() {
                saving.write(index, bytes);
            }
            if let Some(stats) = keyspace.end_snapshot() {
                saving.done(index, stats.version);
                break;
            }
        }
    }
    result.recv().expect("the thread says how it went")
}

#[test]
fn a_snapshot_in_parts_is_there_as_a_whole_or_the_one_before_it() {
    let (failed, kept) = (Cell::new(0), Cell::new(0));
    for_seeds("crash::parts", 1_000, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::new(random.u64(..));
        let (mut number, mut safe) = (0, 0);
        for _ in 0..random.usize(1..5) {
            match random.u8(0..3) {
                0 => disk.light_fuse(random.u32(..60)),
                1 => disk.fail_at_times(Some(random.u32(4..40))),
                _ => {}
            }
            for _ in 0..random.usize(1..4) {
                number += 1;
                match save(&disk, random.usize(1..5), number) {
                    Ok(_) => safe = number,
                    Err(_) => failed.set(failed.get() + 1),
                }
            }
            match disk.is_dead() || random.bool() {
                true => disk.crash(),
                false => disk.kill(),
            }
            let shards = random.usize(1..5);
            let found = match load(&disk, shards, true).expect("what is there can be loaded") {
                None => 0,
                Some(recovered) => {
                    let lanes = contents(recovered.loaded);
                    assert!(lanes.iter().all(|lane| lane.len() == 1 && *lane == lanes[0]));
                    lanes[0][0]
                }
            };
            assert!((safe..=number).contains(&found), "{found} is there, {safe} was written");
            kept.set(kept.get() + u64::from(found > 0));
            safe = found;
        }
    });
    println!("{} snapshots have failed, {} times there was one", failed.get(), kept.get());
}

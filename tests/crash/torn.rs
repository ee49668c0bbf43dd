//! A disk whose power fails: the writer, snapshots and the recovery in one thread, thousands of times.
//!
//! What is written are units, each a number appended to lists of one or several shards. So what is there
//! after a failure tells by itself whether it is a prefix of the queue, in units.

use super::sim_disk::SimDisk;
use crate::harness::reply::Parsed;
use crate::harness::{Reply, cases, seed};
use corelane::command::{Caller, Registry, Run, execute};
use corelane::error::Fatal;
use corelane::journal::Effects;
use corelane::metrics::{PersistStats, ShardStats};
use corelane::net::shard_settings;
use corelane::persist::disk::Appender;
use corelane::persist::manifest::Generation;
use corelane::persist::recover::Loading;
use corelane::persist::scan::scan;
use corelane::persist::shard_files::{About, ShardFiles};
use corelane::persist::writer::Failure;
use corelane::persist::{Handed, Recovered, Writer, recover};
use corelane::resp::{Args, Limits, Parser, Protocol, Step};
use corelane::script::Store;
use corelane::shard::{Loaded, Shard, SlotTable};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, LazyLock};

/// Lists to which units append, spread over the shards.
pub(super) const LANES: usize = 8;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(&[]).expect("no renames"));

/// By the number of shards.
pub(super) static SLOTS: LazyLock<Vec<SlotTable>> =
    LazyLock::new(|| (0..6).map(|shards| SlotTable::contiguous(shards.max(1))).collect());

pub(super) fn lane_key(lane: usize) -> String {
    format!("lane{lane}")
}

#[derive(Debug, Clone)]
struct Unit {
    number: u64,
    lanes: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Policy {
    Always,
    EverySecond,
    Never,
}

/// A sync that goes on beside the rounds.
struct Background {
    files: Vec<Arc<dyn Appender>>,
    round: u64,
    /// Units that are on disk when it has succeeded.
    units: usize,
    failed: bool,
}

/// A rewrite of the files, from its cut on.
struct Rewrite {
    generation: Generation,
    files: ShardFiles,
    /// By shard, as they were at the cut, until they are written.
    shards: Vec<Option<Shard>>,
    begun: bool,
    /// Units that it has.
    units: usize,
}

/// How a step of a rewrite went.
enum Progress {
    GoesOn,
    Done,
    Failed,
    /// The power has failed.
    Dead,
}

struct World {
    disk: SimDisk,
    random: fastrand::Rng,
    shards: usize,
    policy: Policy,
    /// All that was handed over and has not been lost.
    units: Vec<Unit>,
    next: u64,
    /// So many of them were reported as written,
    written: usize,
    /// and so many must be there whatever happens.
    safe: usize,
    /// The power has not failed since: all that was written must be there.
    lit: bool,
    /// Rewrites that were begun, finished, and cut short by a failure of the power.
    rewrites: [u32; 3],
}

pub(super) fn empty_shard(index: usize) -> Shard {
    static STATS: LazyLock<Arc<ShardStats>> =
        LazyLock::new(|| Arc::new(ShardStats::new(REGISTRY.len(), 2)));
    Shard::new(index, 7, shard_settings(configuration()), STATS.clone())
}

fn configuration() -> &'static corelane::config::Values {
    static CONFIG: LazyLock<corelane::config::Config> = LazyLock::new(|| {
        use corelane::config::{Invocation, parse};
        let words = ["--port", "0", "--dir", "/tmp", "--databases", "2"];
        let Ok(Invocation::Run { config, .. }) = parse(words.iter().map(Into::into)) else {
            panic!("a configuration")
        };
        *config
    });
    &CONFIG
}

pub(super) fn load(disk: &SimDisk, shards: usize, cut: bool) -> Result<Option<Recovered>, Fatal> {
    recover(&Loading {
        disk,
        registry: &REGISTRY,
        shard: &empty_shard,
        scripts: &Store::default(),
        checksum: true,
        shards,
        cut,
        now: 0,
        stats: &PersistStats::default(),
        threads: 1,
        trusting: false,
    })
}

/// The numbers in a list of a shard.
fn list(shard: &mut Shard, key: &str) -> Vec<u64> {
    let reply = run(shard, &format!("LRANGE {key} 0 -1"));
    reply.items().iter().map(|item| item.text().parse().expect("a number")).collect()
}

pub(super) fn run(shard: &mut Shard, line: &str) -> Reply {
    let mut bytes = Vec::new();
    crate::harness::parse_line(line).encode(&mut bytes);
    let limits = Limits { bulk_len_max: 1 << 20, multibulk_max: 100, authenticated: true };
    let mut spans = Vec::new();
    let step = Parser::default().parse(&mut bytes, 0, &mut spans, &limits);
    assert!(matches!(step, Step::Request { .. }));
    let args = Args::new(&bytes, &spans);
    let id = REGISTRY.find(&args).expect("a command");
    let Run::Shard(handler) = REGISTRY.command(id).run else { panic!("a command on keys") };
    let mut reply = Vec::new();
    execute(&REGISTRY, shard, (id, handler), args, Caller::nobody(Protocol::Resp2), 1, &mut reply);
    let Parsed::Whole(reply, _) = Reply::parse(&reply) else { panic!("a reply") };
    reply
}

/// What all lists hold, each looked for on the shard that owns it.
pub(super) fn contents(loaded: Vec<Loaded>) -> Vec<Vec<u64>> {
    let slots = &SLOTS[loaded.len()];
    let mut shards: Vec<Shard> = loaded
        .into_iter()
        .enumerate()
        .map(|(index, loaded)| {
            let mut shard = empty_shard(index);
            shard.keyspace.adopt(loaded);
            shard
        })
        .collect();
    (0..LANES)
        .map(|lane| {
            let key = lane_key(lane);
            list(&mut shards[slots.owner_of(key.as_bytes())], &key)
        })
        .collect()
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = [Policy::Always, Policy::EverySecond, Policy::Never][random.usize(..3)];
        let disk = SimDisk::new(random.u64(..));
        if random.bool() {
            disk.forget(false);
        }
        World {
            disk,
            shards: random.usize(1..5),
            policy,
            random,
            units: Vec::new(),
            next: 1,
            written: 0,
            safe: 0,
            lit: true,
            rewrites: [0; 3],
        }
    }

    /// What there must be after so many units.
    fn expected(&self, units: usize) -> Vec<Vec<u64>> {
        let mut lanes = vec![Vec::new(); LANES];
        for unit in &self.units[..units] {
            unit.lanes.iter().for_each(|&lane| lanes[lane].push(unit.number));
        }
        lanes
    }

    /// Compares what was loaded with what may be there, and takes it from there.
    fn compare(&mut self, loaded: Vec<Loaded>) {
        let found = contents(loaded);
        let last = found.iter().filter_map(|lane| lane.last()).max().copied().unwrap_or(0);
        let count = self.units.partition_point(|unit| unit.number <= last);
        assert_eq!(found, self.expected(count), "a prefix of {} units", self.units.len());
        let safe = if self.lit { self.written } else { self.safe };
        let all = self.units.len();
        assert!(count >= safe, "{count} of {all} units are there, {safe} were safe");
        self.units.truncate(count);
        self.written = count;
    }

    fn fail_power(&mut self) {
        self.disk.crash();
        self.lit = false;
    }

    /// Starts until it has started: the power may fail meanwhile.
    fn start(&mut self) -> Writer {
        loop {
            if self.random.u8(0..4) == 0 {
                self.disk.light_fuse(self.random.u32(..16));
            }
            match self.try_start() {
                Some(writer) => {
                    (self.safe, self.lit) = (self.written, true);
                    return writer;
                }
                None => self.fail_power(),
            }
        }
    }

    fn try_start(&mut self) -> Option<Writer> {
        let (manifest, last_round, tails) = match load(&self.disk, self.shards, true) {
            Ok(Some(Recovered { loaded, manifest, last_round, tails })) => {
                self.compare(loaded);
                (manifest, last_round, tails)
            }
            Ok(None) => {
                assert!(self.units.is_empty(), "everything is gone");
                Default::default()
            }
            Err(_) if self.disk.is_dead() => return None,
            Err(fatal) => panic!("{fatal}"),
        };
        let disk = Arc::new(self.disk.clone());
        match Writer::open(disk, manifest, self.shards, last_round, &tails) {
            Ok(writer) => Some(writer),
            Err(_) if self.disk.is_dead() => None,
            Err(failure) => panic!("{failure}"),
        }
    }

    fn hand_over(&mut self, writer: &mut Writer) {
        let slots = &SLOTS[self.shards];
        let mut lanes: Vec<usize> = (0..LANES).collect();
        self.random.shuffle(&mut lanes);
        lanes.truncate([1, 1, 2, 3, LANES][self.random.usize(..5)]);
        let unit = Unit { number: self.next, lanes };
        self.next += 1;
        let mut effects = Effects::default();
        let owner = |lane: usize| slots.owner_of(lane_key(lane).as_bytes());
        effects.switch_on(owner(unit.lanes[0]));
        effects.begin_unit();
        for &lane in &unit.lanes {
            let words = ["RPUSH", &lane_key(lane), &unit.number.to_string()].map(str::to_string);
            effects.record(owner(lane), 0, words.iter().map(String::as_bytes));
        }
        let parts = effects.end_unit().into_iter().collect();
        writer.collect(Handed { by: effects.shard(), number: unit.number, parts });
        self.units.push(unit);
    }

    /// Tries until it succeeds; `false` when the power has failed.
    ///
    /// A disk that fails at every third call is repaired in the end: a round that has to be written again in
    /// several segments takes dozens of calls in a row.
    fn insist(&mut self, mut work: impl FnMut() -> Result<(), Failure>) -> bool {
        let mut failures = 0;
        while work().is_err() {
            if self.disk.is_dead() {
                return false;
            }
            failures += 1;
            if failures == 30 {
                self.disk.fail_at_times(None);
            }
        }
        true
    }

    fn write_round(&mut self, writer: &mut Writer) -> bool {
        for _ in 0..self.random.usize(1..6) {
            self.hand_over(writer);
        }
        let always = self.policy == Policy::Always;
        let now = self.random.i64(..1 << 40);
        if !self.insist(|| writer.write_round(now, always, || ())) {
            return false;
        }
        self.written = self.units.len();
        if always {
            self.safe = self.written;
        }
        true
    }

    fn sync_beside(&mut self, writer: &mut Writer, background: &mut Option<Background>) {
        let Some(sync) = background else {
            let (files, round) = writer.to_sync();
            if !files.is_empty() {
                let units = self.written;
                *background = Some(Background { files, round, units, failed: false });
            }
            return;
        };
        match sync.files.pop() {
            Some(file) if !sync.failed => sync.failed = file.sync().is_err(),
            Some(_) => {}
            None => {
                writer.synced(sync.round, !sync.failed);
                if !sync.failed {
                    self.safe = self.safe.max(sync.units);
                }
                *background = None;
            }
        }
    }

    /// Has the sync that goes on beside end, as whoever wants to sync himself does.
    fn end_sync_beside(&mut self, writer: &mut Writer, background: &mut Option<Background>) {
        while background.is_some() && !self.disk.is_dead() {
            self.sync_beside(writer, background);
        }
    }

    /// Has new segments from here on, and the shards' keys at this point, as a rewrite does.
    fn begin_rewrite(&mut self, writer: &mut Writer) -> Option<Rewrite> {
        // Whoever has it begun goes on without when it fails.
        let generation = writer.begin_generation(self.shards).ok()?;
        self.safe = self.written;
        self.rewrites[0] += 1;
        let slots = &SLOTS[self.shards];
        let mut shards: Vec<Shard> = (0..self.shards).map(empty_shard).collect();
        for unit in &self.units {
            for &lane in &unit.lanes {
                let key = lane_key(lane);
                let shard = &mut shards[slots.owner_of(key.as_bytes())];
                run(shard, &format!("RPUSH {key} {}", unit.number));
            }
        }
        let small = self.random.u8(0..4) == 0;
        for shard in &mut shards {
            assert!(shard.keyspace.begin_snapshot(0, false));
            if small {
                shard.keyspace.save_in_small_pieces();
            }
        }
        let shards = shards.into_iter().map(Some).collect();
        let (files, units) = (ShardFiles::default(), self.units.len());
        Some(Rewrite { generation, files, shards, begun: false, units })
    }

    /// Writes a piece of the snapshots, in the end has them be the beginning of the data.
    fn go_on_rewriting(&mut self, writer: &mut Writer, rewrite: &mut Rewrite) -> Progress {
        let disk = self.disk.clone();
        match self.write_piece(&disk, rewrite) {
            Ok(false) => return Progress::GoesOn,
            Ok(true) => {}
            Err(_) if disk.is_dead() => return Progress::Dead,
            Err(_) => {
                rewrite.files.remove(&disk);
                return Progress::Failed;
            }
        }
        let base = rewrite.generation;
        if !self.insist(|| writer.rebase(base)) {
            return Progress::Dead;
        }
        assert!(self.safe >= rewrite.units);
        Progress::Done
    }

    /// Whether all is written and on disk.
    fn write_piece(&mut self, disk: &SimDisk, rewrite: &mut Rewrite) -> std::io::Result<bool> {
        let Rewrite { generation, files, shards, begun, .. } = rewrite;
        if !*begun {
            let about = About {
                redis_version: "7",
                made_at: 0,
                used_memory: 0,
                functions: Vec::new(),
                sync_steps: self.random.bool(),
            };
            *begun = true;
            return files.begin(disk, *generation, &about, true).map(|()| false);
        }
        let left: Vec<usize> = (0..shards.len()).filter(|&at| shards[at].is_some()).collect();
        if left.is_empty() {
            return files.end(disk).map(|_| true);
        }
        let at = left[self.random.usize(..left.len())];
        let keyspace = &mut shards[at].as_mut().expect("it is left").keyspace;
        keyspace.snapshot_step(&mut || true);
        while let Some(bytes) = keyspace.take_output() {
            let cut = self.random.usize(..=bytes.len());
            files.append(at, &bytes[..cut])?;
            files.append(at, &bytes[cut..])?;
        }
        if let Some(stats) = keyspace.end_snapshot() {
            files.is_filled(at, stats.version);
            shards[at] = None;
        }
        Ok(false)
    }

    /// A step of the rewrite under way, or the beginning of one; `false` when the power has failed.
    fn rewrite(&mut self, writer: &mut Writer, rewrite: &mut Option<Rewrite>) -> bool {
        let Some(running) = rewrite else {
            *rewrite = self.begin_rewrite(writer);
            return true;
        };
        match self.go_on_rewriting(writer, running) {
            Progress::GoesOn => true,
            Progress::Failed => {
                *rewrite = None;
                true
            }
            Progress::Done => {
                *rewrite = None;
                self.rewrites[1] += 1;
                true
            }
            Progress::Dead => false,
        }
    }

    /// One life of a server, to its sudden end.
    fn live(&mut self) {
        let mut writer = self.start();
        let mut background = None;
        let mut rewrite = None;
        let rewrites = self.random.u8(0..3) > 0;
        if self.random.bool() {
            self.disk.light_fuse(self.random.u32(..150));
        }
        if self.random.u8(0..3) == 0 {
            self.disk.fail_at_times(Some(self.random.u32(3..20)));
        }
        for _ in 0..self.random.usize(..60) {
            let action = self.random.u8(0..24);
            let is_filled = |rewrite: &Rewrite| rewrite.shards.iter().all(Option::is_none);
            let switches = (10..18).contains(&action) && rewrite.as_ref().is_none_or(is_filled);
            if action < 2 || switches || self.policy == Policy::Always {
                self.end_sync_beside(&mut writer, &mut background);
            }
            let going_on = match action {
                0 if rewrite.is_none() => self.rewrite(&mut writer, &mut rewrite),
                1 => {
                    if writer.sync().is_ok() {
                        self.safe = self.written;
                    }
                    true
                }
                2 => {
                    let all = [Policy::Always, Policy::EverySecond, Policy::Never];
                    self.policy = all[self.random.usize(..3)];
                    true
                }
                3..10 if self.policy == Policy::EverySecond && writer.is_suspect() => {
                    self.end_sync_beside(&mut writer, &mut background);
                    if writer.sync().is_ok() {
                        self.safe = self.written;
                    }
                    true
                }
                3..10 if self.policy == Policy::EverySecond => {
                    self.sync_beside(&mut writer, &mut background);
                    true
                }
                10..18 if rewrites => self.rewrite(&mut writer, &mut rewrite),
                _ => self.write_round(&mut writer),
            };
            if !going_on || self.disk.is_dead() {
                break;
            }
        }
        self.rewrites[2] += u32::from(rewrite.is_some());
        match self.disk.is_dead() || self.random.u8(0..4) > 0 {
            true => self.fail_power(),
            // The process alone has ended.
            false => self.disk.kill(),
        }
        if self.random.u8(0..3) == 0 {
            self.shards = self.random.usize(1..5);
        }
    }
}

fn one_seed() -> Option<u64> {
    std::env::var("CORELANE_SIM_SEED").ok().and_then(|n| n.parse().ok())
}

/// Runs something for many seeds and names the one that fails.
pub(super) fn for_seeds(test: &str, seeds: u32, run: impl Fn(u64)) {
    let seeds = match one_seed() {
        Some(seed) => seed..seed + 1,
        None => seed()..seed() + u64::from(cases(seeds)),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay: CORELANE_SIM_SEED={seed} cargo test --test it {test}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn what_is_there_after_a_power_failure_is_a_prefix_with_all_that_was_synced() {
    let total = std::cell::Cell::new([0; 3]);
    for_seeds("crash::torn::what", 5_000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..world.random.usize(1..5) {
            world.live();
        }
        world.start();
        let mut sum = total.get();
        sum.iter_mut().zip(world.rewrites).for_each(|(sum, n)| *sum += n);
        total.set(sum);
    });
    let [begun, done, cut] = total.get();
    println!("{begun} rewrites, {done} were finished, {cut} were cut short by an end");
    assert!(done > 100 && cut > 100 || cases(5_000) < 5_000 || one_seed().is_some());
}

#[test]
fn damage_in_what_was_synced_is_told_and_not_dropped() {
    for_seeds("crash::torn::damage", 1_000, |seed| {
        let mut world = World::new(seed);
        let mut writer = world.try_start().expect("nothing fails");
        for _ in 0..world.random.usize(2..30) {
            world.write_round(&mut writer);
            if world.random.bool() {
                writer.sync().expect("nothing fails");
            }
        }
        let generation = *writer.manifest().segments.last().expect("a generation");
        let scans: Vec<_> = (0..generation.shards)
            .map(|shard| scan(&world.disk, &generation.segment(shard)).expect("it is sound"))
            .collect();
        let synced = scans.iter().map(|scan| scan.synced).max().unwrap_or(0);
        let scan = &scans[world.random.usize(..scans.len())];
        let at = world.random.usize(..scan.end_of(synced) as usize);
        world.disk.damage(&scan.name, at, 1 << world.random.u8(..8));
        match load(&world.disk, world.shards, true) {
            // Another way to write the same.
            Ok(recovered) => {
                let found = contents(recovered.expect("a manifest").loaded);
                assert_eq!(found, world.expected(world.units.len()));
            }
            Err(fatal) => {
                let text = fatal.to_string();
                assert!(text.contains(&scan.name), "{text}: it is {} at {at}", scan.name);
                if at as u64 >= scan.start {
                    let before = scan.parts.iter().rev().map(|part| part.end);
                    let begin = before.chain([scan.start]).find(|&end| end <= at as u64);
                    let place = format!("at byte {} ", begin.expect("behind the head"));
                    assert!(text.contains(&place), "{text}: it is {} {place}", scan.name);
                }
            }
        }
    });
}

#[test]
fn an_unfinished_end_is_refused_when_it_is_not_to_be_cut() {
    let refused = std::cell::Cell::new(0);
    for_seeds("crash::torn::an_unfinished", 200, |seed| {
        let mut world = World::new(seed);
        world.live();
        let before: Vec<_> = corelane::persist::Disk::list(&world.disk).expect("names");
        let sizes = |disk: &SimDisk| before.iter().map(|n| disk.content(n).len()).sum::<usize>();
        let size = sizes(&world.disk);
        if load(&world.disk, world.shards, false).is_err() {
            assert_eq!(sizes(&world.disk), size, "nothing is cut");
            refused.set(refused.get() + 1);
            world.start();
        }
    });
    assert!(refused.get() > 10, "{} of 200", refused.get());
}

//! The queue of effects, the threads that write and sync, and what shards see of them.
//!
//! ```text
//!   shard ── hand_over ──> queue ──> writer thread: a round ──> written[shard], the shard's bell
//!                                        └─ everysec ──> sync thread
//! ```
//!
//! A shard lets go of a reply to a write when `written` has reached what it handed over. While rounds cannot be
//! written, the queue waits and [`PersistStats::is_failing`], so that new writes are refused.

use super::manifest::Generation;
use super::save::Saving;
use super::writer::{Failure, Handed, Writer};
use crate::clock;
use crate::command::Faults;
use crate::config::FsyncPolicy;
use crate::metrics::PersistStats;
use crate::rt::Bells;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two tries to write after a failure.
const RETRY: Duration = Duration::from_millis(100);
/// A sync that takes longer holds back what would be written meanwhile.
const SYNC_PATIENCE: Duration = Duration::from_secs(2);
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// With the policy `no` files are synced too, so that it is known how far they are.
const LAZY_SYNC_PERIOD: Duration = Duration::from_secs(30);

/// What the writer thread is to do, in this order.
enum Order {
    Write(Handed),
    /// All that was handed over before is to be on disk.
    Sync {
        by: usize,
        number: u64,
    },
    /// What follows goes to new segments, behind the snapshots that are being made.
    Switch(Arc<Saving>),
    /// The data begins with these snapshots; the sender goes when that is so.
    Rebase(Generation, Sender<()>),
}

#[derive(Default)]
struct Queue {
    orders: Vec<Order>,
    /// The writer sleeps.
    idle: bool,
    stop: bool,
}

/// What the sync thread is to do.
#[derive(Default)]
struct SyncWork {
    files: Vec<Arc<dyn super::disk::Appender>>,
    round: u64,
    /// It has been given work and is not done.
    busy: bool,
    /// The result of what it has done last, until the writer takes it.
    done: Option<(u64, bool)>,
    stop: bool,
}

/// The journal of all shards.
pub struct Journal {
    queue: Mutex<Queue>,
    wake: Condvar,
    sync_work: Mutex<SyncWork>,
    sync_wake: Condvar,
    policy: AtomicU8,
    /// By shard: the number of what it has handed over last that is written, and on disk with `always`.
    written: Box<[AtomicU64]>,
    /// What is handed over counts as written ([`Faults::ack_before_write`]).
    early: bool,
    /// By shard: the number of the last thing that is on disk because it has asked for that.
    synced: Box<[AtomicU64]>,
    bells: Bells,
    pub stats: Arc<PersistStats>,
}

/// The threads; joined by [`Threads::stop`].
pub struct Threads {
    journal: Arc<Journal>,
    writer: JoinHandle<()>,
    sync: JoinHandle<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// A journal of so many shards; nothing is written before [`Journal::start`].
    pub fn new(
        shards: usize,
        policy: FsyncPolicy,
        bells: Bells,
        stats: Arc<PersistStats>,
        faults: Faults,
    ) -> Journal {
        let zeros = || (0..shards).map(|_| AtomicU64::new(0)).collect();
        Journal {
            queue: Mutex::default(),
            wake: Condvar::new(),
            sync_work: Mutex::default(),
            sync_wake: Condvar::new(),
            policy: AtomicU8::new(policy as u8),
            written: zeros(),
            early: faults.ack_before_write,
            synced: zeros(),
            bells,
            stats,
        }
    }

    /// Starts the threads.
    pub fn start(self: &Arc<Journal>, writer: Writer) -> std::io::Result<Threads> {
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_string()).spawn(run)
        };
        self.stats.size.store(writer.size(), Ordering::Relaxed);
        self.stats.base_size.store(writer.size(), Ordering::Relaxed);
        let (a, b) = (self.clone(), self.clone());
        Ok(Threads {
            journal: self.clone(),
            writer: thread("journal-write", Box::new(move || a.write(writer)))?,
            sync: thread("journal-sync", Box::new(move || b.sync()))?,
        })
    }

    pub fn policy(&self) -> FsyncPolicy {
        FsyncPolicy::ALL[usize::from(self.policy.load(Ordering::Relaxed))]
    }

    pub fn set_policy(&self, policy: FsyncPolicy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    /// Puts effects into the queue.
    pub fn hand_over(&self, handed: Handed) {
        self.stats.pending.fetch_add(handed.bytes(), Ordering::Relaxed);
        if self.early {
            self.written[handed.by].store(handed.number, Ordering::Release);
        }
        self.push(Order::Write(handed));
    }

    /// Asks for all that was handed over until now to be on disk; `number` is then published as synced.
    pub fn ask_for_sync(&self, by: usize, number: u64) {
        self.push(Order::Sync { by, number });
    }

    /// Has what is handed over from now on go to new segments, and tells `saving` which.
    pub fn switch(&self, saving: Arc<Saving>) {
        self.push(Order::Switch(saving));
    }

    /// These snapshots take the place of the segments before them. Returns when that is so.
    pub fn rebase(&self, base: Generation) {
        let (sender, done) = channel();
        self.push(Order::Rebase(base, sender));
        // Nothing is ever sent.
        let _ = done.recv();
    }

    fn push(&self, order: Order) {
        let mut queue = locked(&self.queue);
        queue.orders.push(order);
        if std::mem::take(&mut queue.idle) {
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Up to which number a shard's effects are written.
    #[inline]
    pub fn written(&self, shard: usize) -> u64 {
        self.written[shard].load(Ordering::Acquire)
    }

    pub fn synced(&self, shard: usize) -> u64 {
        self.synced[shard].load(Ordering::Acquire)
    }

    /// The writer thread.
    fn write(&self, mut writer: Writer) {
        loop {
            let (orders, stop) = self.next_orders(&mut writer);
            if !orders.is_empty() {
                self.write_orders(&mut writer, orders);
            }
            if stop {
                return self.finish(&mut writer);
            }
        }
    }

    /// Waits for something to do.
    fn next_orders(&self, writer: &mut Writer) -> (Vec<Order>, bool) {
        let mut queue = locked(&self.queue);
        while queue.orders.is_empty() && !queue.stop {
            queue.idle = true;
            let waited = self.wake.wait_timeout(queue, SYNC_PERIOD / 4);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle = false;
            if queue.orders.is_empty() {
                drop(queue);
                self.look_after_sync(writer);
                queue = locked(&self.queue);
            }
        }
        (std::mem::take(&mut queue.orders), queue.stop)
    }

    fn write_orders(&self, writer: &mut Writer, orders: Vec<Order>) {
        let mut reached: Vec<Option<u64>> = vec![None; self.written.len()];
        let mut to_sync = Vec::new();
        let mut bytes = 0;
        for order in orders {
            match order {
                Order::Write(handed) => {
                    reached[handed.by] = Some(handed.number);
                    bytes += handed.bytes();
                    writer.collect(handed);
                }
                Order::Sync { by, number } => to_sync.push((by, number)),
                Order::Switch(saving) => self.switch_segments(writer, &saving),
                Order::Rebase(base, done) => {
                    self.insist(|| writer.rebase(base));
                    self.stats.size.store(writer.size(), Ordering::Relaxed);
                    self.stats.base_size.store(writer.size(), Ordering::Relaxed);
                    drop(done);
                }
            }
        }
        let always = self.policy() == FsyncPolicy::Always;
        self.wait_for_slow_sync(writer);
        self.insist(|| writer.write_round(clock::wall_ms(), always));
        self.stats.pending.fetch_sub(bytes, Ordering::Relaxed);
        self.stats.size.store(writer.size(), Ordering::Relaxed);
        self.stats.rounds.store(writer.last_round(), Ordering::Relaxed);
        if !to_sync.is_empty() {
            self.wait_for_sync(writer);
            self.insist(|| writer.sync());
        }
        for &(by, number) in &to_sync {
            self.synced[by].store(number, Ordering::Release);
        }
        for (shard, number) in reached.iter().enumerate() {
            if let Some(number) = number {
                self.written[shard].store(*number, Ordering::Release);
            }
        }
        let asked = |shard| to_sync.iter().any(|&(by, _)| by == shard);
        for shard in (0..reached.len()).filter(|&s| reached[s].is_some() || asked(s)) {
            if self.bells[shard].take(true) {
                self.bells[shard].ring();
            }
        }
        self.look_after_sync(writer);
    }

    /// Writes what was handed over until now, and begins new segments.
    fn switch_segments(&self, writer: &mut Writer, saving: &Saving) {
        let always = self.policy() == FsyncPolicy::Always;
        self.wait_for_sync(writer);
        self.insist(|| writer.write_round(clock::wall_ms(), always));
        let shards = self.written.len();
        let mut generation = None;
        self.insist(|| {
            generation = Some(writer.begin_generation(shards)?);
            Ok(())
        });
        match generation {
            Some(generation) => saving.belongs_to(generation),
            None => saving.give_up(),
        }
    }

    /// Tries something until it succeeds, or the server stops. Meanwhile writes are refused.
    fn insist(&self, mut work: impl FnMut() -> Result<(), Failure>) {
        let mut failed = false;
        while let Err(failure) = work() {
            if !failed {
                tracing::error!(
                    "{failure}: writes get -MISCONF and those under way wait until it can be \
                     written; make room on the disk, or repair it"
                );
            }
            failed = true;
            self.stats.write_failing.store(true, Ordering::Relaxed);
            if locked(&self.queue).stop {
                tracing::error!("stopping without having written the last effects: {failure}");
                return;
            }
            std::thread::sleep(RETRY);
        }
        if failed {
            tracing::warn!("the append-only file can be written again");
            self.stats.write_failing.store(false, Ordering::Relaxed);
        }
    }

    /// Takes what the sync thread has done, and gives it more when it is time.
    fn look_after_sync(&self, writer: &mut Writer) {
        let period_ms = match self.policy() {
            FsyncPolicy::Always => return,
            FsyncPolicy::EverySecond => SYNC_PERIOD.as_millis() as i64,
            FsyncPolicy::No => LAZY_SYNC_PERIOD.as_millis() as i64,
        };
        let now = clock::wall_ms();
        let mut work = locked(&self.sync_work);
        if let Some((round, done)) = work.done.take() {
            writer.synced(round, done);
        }
        let last = &self.stats.last_sync_at;
        if work.busy || now - last.load(Ordering::Relaxed) < period_ms {
            return;
        }
        let (files, round) = writer.to_sync();
        if !files.is_empty() {
            (work.files, work.round, work.busy) = (files, round, true);
            last.store(now, Ordering::Relaxed);
            self.stats.syncing.store(true, Ordering::Relaxed);
            self.sync_wake.notify_one();
        }
    }

    /// Holds back what is to be written while a sync takes too long, so that no more than a few seconds
    /// can be lost: as long as it lasts, the disk is behind.
    fn wait_for_slow_sync(&self, writer: &mut Writer) {
        let since = self.stats.last_sync_at.load(Ordering::Relaxed);
        let is_slow = || clock::wall_ms() - since > SYNC_PATIENCE.as_millis() as i64;
        if self.policy() == FsyncPolicy::EverySecond && locked(&self.sync_work).busy && is_slow() {
            self.stats.delayed_syncs.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("syncing the append-only file takes long: the disk is busy");
            self.wait_for_sync(writer);
        }
    }

    fn wait_for_sync(&self, writer: &mut Writer) {
        let mut work = locked(&self.sync_work);
        while work.busy {
            work = self.sync_wake.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some((round, done)) = work.done.take() {
            writer.synced(round, done);
        }
    }

    /// The sync thread.
    fn sync(&self) {
        let mut work = locked(&self.sync_work);
        loop {
            while work.files.is_empty() && !work.stop {
                work = self.sync_wake.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
            if work.files.is_empty() {
                return;
            }
            let files = std::mem::take(&mut work.files);
            drop(work);
            let result = files.iter().try_for_each(|file| file.sync());
            if let Err(cause) = &result
                && !self.stats.sync_failing.load(Ordering::Relaxed)
            {
                tracing::error!(
                    "cannot sync the append-only file: {}: writes get -MISCONF until it can be",
                    crate::error::io_text(cause)
                );
            }
            self.stats.sync_failing.store(result.is_err(), Ordering::Relaxed);
            work = locked(&self.sync_work);
            work.done = Some((work.round, result.is_ok()));
            work.busy = false;
            self.stats.syncing.store(false, Ordering::Relaxed);
            self.sync_wake.notify_all();
        }
    }

    /// The server stops: all is to be on disk.
    fn finish(&self, writer: &mut Writer) {
        self.wait_for_sync(writer);
        if let Err(failure) = writer.sync() {
            tracing::error!("{failure}: what was written last may not be on disk");
        }
    }
}

impl Threads {
    /// Writes all that was handed over, syncs it, and ends the threads.
    pub fn stop(self) {
        let Threads { journal, writer, sync } = self;
        locked(&journal.queue).stop = true;
        journal.wake.notify_one();
        // A thread that panicked has said so.
        let _ = writer.join();
        locked(&journal.sync_work).stop = true;
        journal.sync_wake.notify_all();
        let _ = sync.join();
    }
}

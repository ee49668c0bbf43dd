//! The queue of effects, the threads that write and sync, and what shards see of them.
//!
//! ```text
//!   shard ── hand_over ──> queue ──> writer thread: a round ──> written[shard], the shard's bell
//!                                        └─ everysec ──> sync thread
//! ```
//!
//! A shard lets go of a reply to a write when `written` has reached what it handed over. While rounds cannot be
//! written, the queue waits and [`PersistStats::is_failing`], so that new writes are refused.
//!
//! # Begun and ended while the server runs
//!
//! ```text
//!   off ── begin ──> waiting ── the first rewrite is done ──> on
//!    ^                  │ close                               │ close
//!    └── all is written and synced ── ending <────────────────┘
//! ```
//!
//! While it waits, shards record from the cut of that rewrite on, and all is written; but no manifest names
//! the files before the snapshots are there too. Whoever wants to know that something is on disk waits as long.
//!
//! # A sync that has failed
//!
//! The system may take what it could not write for written, so that the next sync succeeds in vain. So
//! what is not known to be on disk is written again before another sync counts ([`Writer::restore`]), or,
//! when it cannot be read any more, everything, by a rewrite. Until then writes are refused.

use super::disk::{Directory, Disk};
use super::manifest::Generation;
use super::save::Saving;
use super::writer::{Failure, Handed, Writer};
use crate::clock;
use crate::command::Faults;
use crate::config::FsyncPolicy;
use crate::metrics::{LatencyEvent, LatencyMonitor, PersistStats, SAVING_NOTHING, tell_balance};
use crate::rt::{Bells, heap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    /// The data begins with these snapshots; the sender is told when that is so.
    Rebase(Generation, Sender<()>),
    /// Nothing follows.
    End,
}

#[derive(Default)]
struct Queue {
    orders: Vec<Order>,
    /// The writer sleeps.
    idle: bool,
    stop: bool,
    /// [`Order::End`] is in the queue, or nothing takes from it any more.
    ends: bool,
}

/// What becomes of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Off,
    /// The first rewrite is not done.
    Waiting,
    On,
    /// What was recorded is still being written.
    Ending,
}

impl State {
    const ALL: [State; 4] = [State::Off, State::Waiting, State::On, State::Ending];
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
    state: AtomicU8,
    /// `no-appendfsync-on-rewrite`
    lenient: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The directory in use, with the claim to it.
    directory: Mutex<Option<(PathBuf, Weak<Directory>)>>,
    bells: Bells,
    pub stats: Arc<PersistStats>,
    latency: Arc<LatencyMonitor>,
}

/// What cannot be told to shards before a rewrite is done.
struct Deferred {
    /// Orders to sync.
    syncs: Vec<(usize, u64)>,
    /// By shard: what it has handed over last that is written and should be on disk.
    reached: Vec<Option<u64>>,
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
        (stats, latency): (Arc<PersistStats>, Arc<LatencyMonitor>),
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
            state: AtomicU8::new(State::Off as u8),
            lenient: AtomicBool::new(false),
            threads: Mutex::default(),
            directory: Mutex::default(),
            bells,
            stats,
            latency,
        }
    }

    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// Whether writes are to be found after a restart.
    pub fn is_on(&self) -> bool {
        self.state() == State::On
    }

    /// Whether there are effects to be written, now or soon.
    pub fn is_used(&self) -> bool {
        matches!(self.state(), State::Waiting | State::On)
    }

    fn change_state(&self, from: State, to: State) -> bool {
        let (order, other) = (Ordering::AcqRel, Ordering::Acquire);
        let changed = self.state.compare_exchange(from as u8, to as u8, order, other).is_ok();
        if changed {
            self.stats.appending_waits.store(to == State::Waiting, Ordering::Relaxed);
        }
        changed
    }

    /// The directory of this path, claimed for this server.
    pub fn directory(&self, path: &Path) -> io::Result<Arc<Directory>> {
        let mut known = locked(&self.directory);
        if let Some((own, directory)) = &*known
            && own == path
            && let Some(directory) = directory.upgrade()
        {
            return Ok(directory);
        }
        let directory = Arc::new(Directory::open(path)?.claimed()?);
        *known = Some((path.to_path_buf(), Arc::downgrade(&directory)));
        Ok(directory)
    }

    /// Starts the threads, to go on with what was loaded.
    pub fn start(self: &Arc<Journal>, writer: Writer) -> io::Result<()> {
        self.start_threads(writer)?;
        self.state.store(State::On as u8, Ordering::Release);
        Ok(())
    }

    /// Starts the threads, to write nothing that counts until the first rewrite is done.
    pub fn begin(self: &Arc<Journal>, disk: Arc<dyn Disk>) -> Result<(), String> {
        if !self.change_state(State::Off, State::Waiting) {
            return Err("what was appended until now is still being written".to_string());
        }
        let writer = Writer::begin(disk).map_err(|failure| failure.to_string());
        let started = writer.and_then(|writer| {
            let text =
                |e: io::Error| format!("cannot start a thread: {}", crate::error::io_text(&e));
            self.start_threads(writer).map_err(text)
        });
        if started.is_err() {
            self.change_state(State::Waiting, State::Off);
        }
        started
    }

    fn start_threads(self: &Arc<Journal>, writer: Writer) -> io::Result<()> {
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_string()).spawn(run)
        };
        let mut threads = locked(&self.threads);
        // Those of the last time have ended.
        threads.drain(..).for_each(|thread| drop(thread.join()));
        *locked(&self.queue) = Queue::default();
        *locked(&self.sync_work) = SyncWork::default();
        self.stats.pending.store(0, Ordering::Relaxed);
        self.stats.write_failing.store(false, Ordering::Relaxed);
        self.stats.sync_failing.store(false, Ordering::Relaxed);
        self.stats.rewrite_needed.store(false, Ordering::Relaxed);
        self.stats.size.store(writer.size(), Ordering::Relaxed);
        self.stats.base_size.store(writer.size(), Ordering::Relaxed);
        let (a, b) = (self.clone(), self.clone());
        threads.push(thread("journal-write", Box::new(move || a.write(writer)))?);
        threads.push(thread("journal-sync", Box::new(move || b.sync()))?);
        Ok(())
    }

    /// Nothing more is to be recorded: whether somebody has to see to that, and then to call
    /// [`Journal::close`].
    pub fn begin_to_end(&self) -> bool {
        self.change_state(State::On, State::Ending)
            || self.change_state(State::Waiting, State::Ending)
    }

    /// Nothing is handed over any more. What was is written if that is possible, and synced.
    pub fn close(&self) {
        self.push(Order::End);
    }

    /// The server stops: writes all that was handed over, syncs it, and ends the threads.
    pub fn stop(&self) {
        let threads = std::mem::take(&mut *locked(&self.threads));
        locked(&self.queue).stop = true;
        self.wake.notify_one();
        for thread in threads {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }

    pub fn policy(&self) -> FsyncPolicy {
        FsyncPolicy::ALL[usize::from(self.policy.load(Ordering::Relaxed))]
    }

    pub fn set_policy(&self, policy: FsyncPolicy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    /// Syncs are left out while a snapshot is written, or not.
    pub fn set_lenient(&self, lenient: bool) {
        self.lenient.store(lenient, Ordering::Relaxed);
    }

    /// The policy as of now.
    fn present_policy(&self) -> FsyncPolicy {
        let saves = || self.stats.saving.load(Ordering::Relaxed) != SAVING_NOTHING;
        match self.lenient.load(Ordering::Relaxed) && saves() {
            true => FsyncPolicy::No,
            false => self.policy(),
        }
    }

    /// Whether all that is written is on disk.
    pub fn is_synced_when_written(&self) -> bool {
        self.is_on() && self.present_policy() == FsyncPolicy::Always
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

    /// These snapshots take the place of the segments before them. Returns when that is so, or is not to be.
    pub fn rebase(&self, base: Generation) -> io::Result<()> {
        let (sender, done) = channel();
        self.push(Order::Rebase(base, sender));
        let gone =
            |_| io::Error::new(io::ErrorKind::Interrupted, "the append-only files were given up");
        done.recv().map_err(gone)
    }

    fn push(&self, order: Order) {
        let mut queue = locked(&self.queue);
        if queue.ends {
            // Nobody would take it.
            return;
        }
        queue.ends = matches!(order, Order::End);
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
        let reached = vec![None; self.written.len()];
        let mut deferred = Deferred { syncs: Vec::new(), reached };
        loop {
            let (orders, stop) = self.next_orders(&mut writer);
            let ends = matches!(orders.last(), Some(Order::End));
            if !orders.is_empty() {
                self.write_orders(&mut writer, orders, &mut deferred);
                tell_balance(heap::balance());
            }
            if stop || ends {
                self.finish(&mut writer);
                // So that somebody else can have the directory.
                drop(writer);
                locked(&self.sync_work).stop = true;
                self.sync_wake.notify_all();
                if ends {
                    self.tell_end();
                }
                return;
            }
        }
    }

    /// It is off now.
    fn tell_end(&self) {
        tracing::info!("writes are not appended to files any more");
        self.stats.write_failing.store(false, Ordering::Relaxed);
        self.stats.sync_failing.store(false, Ordering::Relaxed);
        self.stats.rewrite_needed.store(false, Ordering::Relaxed);
        self.state.store(State::Off as u8, Ordering::Release);
        self.bells.iter().for_each(|bell| bell.ring());
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

    /// Writes a round, and syncs it if the policy is `always`. What took long is remembered: with what
    /// it had to wait for, since `begun`, when something may have been being synced.
    fn write_round(
        &self,
        writer: &mut Writer,
        always: bool,
        (begun, was_syncing): (Instant, bool),
    ) {
        let waited = begun.elapsed();
        self.insist(|| {
            let (tried, mut appending) = (clock::monotonic(), None);
            let is_synced = always && !writer.is_lost();
            let appended = || appending = Some(tried.elapsed());
            let written = writer.write_round(clock::wall_ms(), is_synced, appended);
            if let Some(appending) = appending {
                let now = clock::wall_ms();
                let saves = self.stats.saving.load(Ordering::Relaxed) != SAVING_NOTHING;
                let detail = match () {
                    _ if was_syncing => LatencyEvent::AofWritePendingFsync,
                    _ if saves => LatencyEvent::AofWriteActiveChild,
                    _ => LatencyEvent::AofWriteAlone,
                };
                self.latency.note(detail, now, waited + appending);
                self.latency.note(LatencyEvent::AofWrite, now, waited + appending);
                if is_synced {
                    self.latency.note(LatencyEvent::AofFsync, now, tried.elapsed() - appending);
                }
            }
            if writer.is_lost() {
                self.stats.sync_failing.store(true, Ordering::Relaxed);
                self.stats.rewrite_needed.store(true, Ordering::Relaxed);
            }
            written
        });
    }

    fn write_orders(&self, writer: &mut Writer, orders: Vec<Order>, deferred: &mut Deferred) {
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
                Order::Sync { by, number } => deferred.syncs.push((by, number)),
                Order::Switch(saving) => self.switch_segments(writer, &saving),
                Order::Rebase(base, done) => self.put_base(writer, base, &done),
                Order::End => {}
            }
        }
        let always = self.present_policy() == FsyncPolicy::Always;
        let (begun, syncing) = (clock::monotonic(), self.stats.syncing.load(Ordering::Relaxed));
        match always {
            // Since the policy was another one.
            true => self.wait_for_sync(writer),
            false => self.wait_for_slow_sync(writer),
        }
        self.write_round(writer, always, (begun, syncing));
        self.stats.pending.fetch_sub(bytes, Ordering::Relaxed);
        self.stats.size.store(writer.size(), Ordering::Relaxed);
        self.stats.rounds.store(writer.last_round(), Ordering::Relaxed);
        let is_lost = self.stats.rewrite_needed.load(Ordering::Relaxed);
        if writer.is_named() && !is_lost && !deferred.syncs.is_empty() {
            to_sync.append(&mut deferred.syncs);
            self.wait_for_sync(writer);
            self.insist(|| writer.sync());
        }
        for &(by, number) in &to_sync {
            self.synced[by].fetch_max(number, Ordering::AcqRel);
        }
        if always && is_lost {
            // They leave when a rewrite has it.
            let late = deferred.reached.iter_mut().zip(&mut reached);
            late.for_each(|(late, number)| *late = number.take().or(*late));
        } else {
            let late = deferred.reached.iter_mut().zip(&mut reached);
            late.for_each(|(late, number)| *number = number.or(late.take()));
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

    /// The data begins with snapshots that are there.
    fn put_base(&self, writer: &mut Writer, base: Generation, done: &Sender<()>) {
        self.wait_for_sync(writer);
        let mut lost = false;
        let begun = clock::monotonic();
        let written = self.insist(|| match writer.rebase(base) {
            Err(failure) if writer.is_lost() => {
                tracing::error!("{failure}");
                lost = true;
                Ok(())
            }
            result => result,
        });
        if lost || !written {
            return;
        }
        self.latency.note(LatencyEvent::AofRename, clock::wall_ms(), begun.elapsed());
        self.stats.size.store(writer.size(), Ordering::Relaxed);
        self.stats.base_size.store(writer.size(), Ordering::Relaxed);
        if !writer.is_lost() && self.stats.rewrite_needed.swap(false, Ordering::Relaxed) {
            tracing::warn!("what could not be synced is in the snapshots now");
            self.stats.sync_failing.store(false, Ordering::Relaxed);
        }
        if self.change_state(State::Waiting, State::On) {
            tracing::info!("writes are appended to files from now on");
        }
        let _ = done.send(());
    }

    /// Writes what was handed over until now, and begins new segments.
    fn switch_segments(&self, writer: &mut Writer, saving: &Saving) {
        let always = self.present_policy() == FsyncPolicy::Always;
        self.wait_for_sync(writer);
        self.insist(|| writer.write_round(clock::wall_ms(), always, || ()));
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

    /// Tries something until it succeeds, or all ends: then it answers `false`. Meanwhile writes are refused.
    fn insist(&self, mut work: impl FnMut() -> Result<(), Failure>) -> bool {
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
            let queue = locked(&self.queue);
            if queue.stop || queue.ends {
                tracing::error!("stopping without having written the last effects: {failure}");
                return false;
            }
            drop(queue);
            std::thread::sleep(RETRY);
        }
        if failed {
            tracing::warn!("the append-only file can be written again");
            self.stats.write_failing.store(false, Ordering::Relaxed);
        }
        true
    }

    /// Takes what the sync thread has done, and gives it more when it is time.
    fn look_after_sync(&self, writer: &mut Writer) {
        self.take_synced(writer);
        if writer.is_suspect() {
            return self.restore(writer);
        }
        let period_ms = match self.present_policy() {
            FsyncPolicy::Always => return,
            FsyncPolicy::EverySecond => SYNC_PERIOD.as_millis() as i64,
            FsyncPolicy::No => LAZY_SYNC_PERIOD.as_millis() as i64,
        };
        let now = clock::wall_ms();
        let mut work = locked(&self.sync_work);
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
        drop(work);
        self.take_synced(writer);
    }

    /// Tells the writer what the sync thread has done.
    fn take_synced(&self, writer: &mut Writer) {
        if let Some((round, done)) = locked(&self.sync_work).done.take() {
            writer.synced(round, done);
        }
    }

    /// A sync has failed: writes what may be lost again, and syncs that.
    fn restore(&self, writer: &mut Writer) {
        self.stats.sync_failing.store(true, Ordering::Relaxed);
        self.wait_for_sync(writer);
        if self.stats.rewrite_needed.load(Ordering::Relaxed) {
            return;
        }
        match writer.sync() {
            Ok(()) => {
                tracing::warn!("what could not be synced was written again, and is on disk");
                self.stats.sync_failing.store(false, Ordering::Relaxed);
            }
            Err(failure) if writer.is_lost() => {
                tracing::error!("{failure}: a rewrite is to take its place");
                self.stats.rewrite_needed.store(true, Ordering::Relaxed);
            }
            Err(failure) => tracing::debug!("{failure}"),
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
            if result.is_err() {
                // It is no more when the writer has seen to that.
                self.stats.sync_failing.store(true, Ordering::Relaxed);
            }
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

//! Snapshots: when one begins, the cut, and each shard's part of it.
//!
//! The cut is a tour through all shards that holds all keys: at each it begins the shard's snapshot (see
//! `shard::snapshot`), and at the last one, while all are still held, the journal goes to new segments.
//! So the snapshots of all shards are of one point in the order of everything, and what follows
//! them in the journal is what was done after that point.
//!
//! Then each shard writes its keys in slices of its turns, for no more than `snapshot-max-cpu` of its time, and
//! only as fast as the files take it.

use super::conn::Conn;
use super::operation::Operation;
use super::tour::Tour;
use super::worker::Worker;
use crate::clock;
use crate::command::{Env, REDIS_VERSION, SaveKind, SaveRequest};
use crate::config::SnapshotFiles;
use crate::error::CmdError;
use crate::metrics::{SAVING_NOTHING, SAVING_REWRITE, SAVING_SNAPSHOT};
use crate::persist::save::{About, Purpose, Saving};
use crate::persist::{Directory, State};
use crate::resp::Protocol;
use crate::rt::{Bells, Io, Token};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest piece of a snapshot between two turns of the loop.
const SLICE: Duration = Duration::from_micros(200);
/// Bytes that a snapshot may have given to its files and that are not written; with more it waits.
const PENDING_MAX: u64 = 16 << 20;
/// Longest pause on purpose between two looks at whether it is still wanted.
const DELAY_STEP: Duration = Duration::from_millis(50);
/// After a snapshot that failed, the next one is not begun by itself earlier.
const RETRY_MS: i64 = 5000;

/// What all shards know of snapshots.
#[derive(Default)]
pub struct Saves {
    /// How many have ended, well or not; rewrites do not count.
    ended: AtomicU64,
    /// The last one was written.
    well: AtomicBool,
    /// How many times the server could not stop, since its last snapshot failed.
    stops_failed: AtomicU64,
    /// The server stops when the one under way has been written.
    then_stop: AtomicBool,
    /// The server is to stop after one more.
    stop_wanted: AtomicBool,
    /// The one under way.
    running: Mutex<Option<Arc<Saving>>>,
}

impl Saves {
    /// Has the server stop as soon as a last snapshot is written. From any thread; the first shard's bell is
    /// to be rung.
    pub fn stop_after_save(&self) {
        self.stop_wanted.store(true, Ordering::Release);
    }

    /// A snapshot has ended. Whether the server is to stop now.
    fn end(&self, well: bool) -> bool {
        self.well.store(well, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::AcqRel);
        let stops = self.then_stop.swap(false, Ordering::AcqRel);
        if stops && !well {
            tracing::error!("not stopping, since the last snapshot has failed");
            self.stops_failed.fetch_add(1, Ordering::AcqRel);
        }
        stops && well
    }

    /// Whether the server ends with the snapshot under way.
    fn stops(&self) -> bool {
        self.then_stop.load(Ordering::Relaxed) || self.stop_wanted.load(Ordering::Relaxed)
    }
}

/// What is done on all shards while all keys are held.
pub enum Cut {
    Snapshot(SnapshotCut),
    /// No effects are recorded any more, so the journal ends where no transaction is under way.
    EndOfRecording,
}

/// The cut of a snapshot, on its way through the shards.
pub struct SnapshotCut {
    saving: Arc<Saving>,
    kind: SaveKind,
    /// The journal goes to new segments behind it.
    switches: bool,
    /// The server stops when it is written.
    stops: bool,
    /// Milliseconds since the epoch.
    at: i64,
    changes: AtomicU64,
    keys: AtomicU64,
}

/// A shard's part of a snapshot.
#[derive(Default)]
pub(super) struct SavingHere {
    saving: Option<Arc<Saving>>,
    /// The cut that has come here and was not taken, for how many more turns
    /// ([`Faults::loose_cut`](crate::command::Faults::loose_cut)).
    missed: Option<(Arc<Saving>, i64, usize)>,
    /// How many parts were begun here, and ended.
    parts: (u64, u64),
    /// When the next slice may begin.
    next: Option<Instant>,
    reported: u64,
    /// How much longer it has to take for the keys that are written (`rdb-key-save-delay`).
    owed: Duration,
    /// Connections that wait for snapshots to end, with how many must have.
    waiting: Vec<(Token, u64)>,
    /// Connections that wait for the server to stop.
    stopping: Vec<Token>,
    /// No writes are let in any more.
    is_last: bool,
    /// How many times the server could not stop, as far as was told here.
    stops_failed: u64,
    /// Connections that wait until nothing is appended to files any more.
    ending: Vec<Token>,
}

impl SavingHere {
    /// How long until there is something to do.
    pub fn wait(&self) -> Option<Duration> {
        let next = self.next.filter(|_| self.saving.is_some())?;
        Some(next.saturating_duration_since(clock::monotonic()))
    }
}

const IN_PROGRESS: CmdError = CmdError::fixed("ERR Background save already in progress");
const REWRITES: CmdError = CmdError::fixed(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
     schedule a BGSAVE whenever possible.",
);

impl Worker {
    /// SAVE, BGSAVE, BGREWRITEAOF.
    pub(super) fn save(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        request: SaveRequest,
    ) {
        let persist = self.shared.env.persist.clone();
        let ended = self.shared.saves.ended.load(Ordering::Acquire);
        let running = persist.saving.load(Ordering::Acquire);
        let number = match request.kind {
            SaveKind::Snapshot => SAVING_SNAPSHOT,
            SaveKind::Rewrite => SAVING_REWRITE,
        };
        let refusal = match (running, request.later) {
            (SAVING_NOTHING, _) => self.begin_save(io, request.kind).err(),
            (SAVING_REWRITE, true) | (SAVING_SNAPSHOT, true) if running != number => {
                persist.wanted_saves.fetch_or(1 << number, Ordering::Relaxed);
                return self.reply_to_command(conn, |out| {
                    out.simple(match request.kind {
                        SaveKind::Snapshot => "Background saving scheduled",
                        SaveKind::Rewrite => "Background append only file rewriting scheduled",
                    });
                });
            }
            // It comes behind the rewrite.
            (SAVING_REWRITE, false) if request.wait => {
                persist.wanted_saves.fetch_or(1 << number, Ordering::Relaxed);
                None
            }
            (SAVING_REWRITE, _) => Some(REWRITES),
            _ => Some(IN_PROGRESS),
        };
        if let Some(error) = refusal {
            self.shard.stats.count_error(&error);
            return self.reply_to_command(conn, |out| out.error(&error));
        }
        if request.wait {
            self.saving.waiting.push((token, ended + 1));
            conn.operation = Some(Operation::Saving);
            return;
        }
        self.reply_to_command(conn, |out| {
            out.simple(match request.kind {
                SaveKind::Snapshot => "Background saving started",
                SaveKind::Rewrite => "Background append only file rewriting started",
            });
        });
    }

    /// How many snapshots have ended, well or not.
    pub(super) fn snapshots_ended(&self) -> u64 {
        self.shared.saves.ended.load(Ordering::Acquire)
    }

    /// Begins a snapshot, if none is under way.
    pub(super) fn begin_save(&mut self, io: &mut dyn Io, kind: SaveKind) -> Result<(), CmdError> {
        let shared = self.shared.clone();
        let persist = &shared.env.persist;
        let number = match kind {
            SaveKind::Snapshot => SAVING_SNAPSHOT,
            SaveKind::Rewrite => SAVING_REWRITE,
        };
        let claimed = persist.saving.compare_exchange(
            SAVING_NOTHING,
            number,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if claimed.is_err() {
            return Err(IN_PROGRESS);
        }
        persist.wanted_saves.fetch_and(!(1 << number), Ordering::Relaxed);
        persist.saving_since.store(self.now, Ordering::Relaxed);
        persist.tried_save_at.store(self.now, Ordering::Relaxed);
        persist.saved_keys.store(0, Ordering::Relaxed);
        let switches = kind == SaveKind::Rewrite && shared.journal.is_used();
        let started = self.start_saver(kind, switches);
        let saving = match started {
            Ok(saving) => Arc::new(saving),
            Err(error) => {
                persist.saving.store(SAVING_NOTHING, Ordering::Release);
                if kind == SaveKind::Snapshot {
                    // Who waits for it hears of that.
                    shared.saves.end(false);
                    shared.bells.iter().for_each(|bell| bell.ring());
                }
                return Err(CmdError::err(error.to_string()));
            }
        };
        *locked(&shared.saves.running) = Some(saving.clone());
        let stops = kind == SaveKind::Snapshot && shared.saves.then_stop.load(Ordering::Acquire);
        let (changes, keys) = (AtomicU64::new(0), AtomicU64::new(0));
        let cut = SnapshotCut { saving, kind, switches, stops, at: self.now, changes, keys };
        self.send_cut(io, Cut::Snapshot(cut));
        Ok(())
    }

    /// Has something done on all shards, with all keys held.
    fn send_cut(&mut self, io: &mut dyn Io, cut: Cut) {
        // Nobody waits for its end.
        let nobody = Token { index: u32::MAX, generation: 0 };
        let mut tour = Tour::new(self.index, nobody, Protocol::Resp2).of_all();
        tour.cut = Some(Arc::new(cut));
        (0..self.slots.shards()).for_each(|shard| self.add_stop(&mut tour, shard));
        self.set_out(io, tour, None);
    }

    /// The configuration has changed: begins to append writes to files, or ends it.
    pub(super) fn follow_appendonly(&mut self, io: &mut dyn Io) {
        let (shared, appendonly) = (self.shared.clone(), self.shared.env.config().appendonly);
        let persist = &shared.env.persist;
        match (appendonly, shared.journal.state()) {
            // While something else is written, that comes first.
            (true, State::Waiting) if persist.saving.load(Ordering::Relaxed) == SAVING_NOTHING => {
                if let Err(error) = self.begin_save(io, SaveKind::Rewrite) {
                    tracing::error!("cannot begin the first rewrite: {error}");
                }
            }
            (false, State::Waiting | State::On) if shared.journal.begin_to_end() => {
                persist.wanted_saves.fetch_and(!(1 << SAVING_REWRITE), Ordering::Relaxed);
                self.send_cut(io, Cut::EndOfRecording);
            }
            _ => {}
        }
    }

    /// Has a connection whose CONFIG SET is done wait until what was recorded is written; `false` if it is.
    pub(super) fn waits_for_end(&mut self, token: Token, conn: &mut Conn) -> bool {
        let is_done = self.shared.journal.state() != State::Ending;
        // What a transaction holds is needed for that.
        if is_done || conn.session.is_executing() {
            return false;
        }
        self.saving.ending.push(token);
        conn.operation = Some(Operation::Saving);
        true
    }

    fn tell_of_end(&mut self, io: &mut dyn Io) {
        if !self.has_news_of_end() {
            return;
        }
        for token in std::mem::take(&mut self.saving.ending) {
            self.with_conn(io, token, |worker, io, conn| {
                conn.operation = None;
                worker.reply_to_command(conn, |out| out.ok());
                worker.resume(io, token, conn);
            });
        }
    }

    fn has_news_of_end(&self) -> bool {
        !self.saving.ending.is_empty() && self.shared.journal.state() != State::Ending
    }

    /// Starts the thread that writes the files; `switches` says whether it is a journal's.
    fn start_saver(&self, kind: SaveKind, switches: bool) -> io::Result<Saving> {
        let shared = self.shared.clone();
        let config = shared.env.config();
        let (dir, appenddirname) = (config.dir.clone(), config.appenddirname.clone());
        let (name, files) = (config.dbfilename.clone(), config.snapshot_files);
        let sync_steps = match kind {
            SaveKind::Snapshot => config.rdb_save_incremental_fsync,
            SaveKind::Rewrite => config.aof_rewrite_incremental_fsync,
        };
        drop(config);
        let journal = shared.journal.clone();
        let is_slow = shared.env.faults.slow_disk;
        let purpose = move || -> io::Result<Purpose> {
            // Two servers that write to the same files would spoil them.
            let claim = |path: PathBuf| {
                let claimed = Directory::open(&path)?.claimed();
                let claimed = claimed.map_err(|e| {
                    io::Error::other(format!("{}: {}", path.display(), crate::error::io_text(&e)))
                });
                claimed.map(Arc::new)
            };
            Ok(match (kind, files) {
                (SaveKind::Rewrite, _) if switches => {
                    let disk = Directory::open(&dir.join(appenddirname))?;
                    let disk = if is_slow { disk.slowed() } else { disk };
                    Purpose::Base(Arc::new(disk), journal)
                }
                (SaveKind::Rewrite, _) => {
                    Purpose::Beginning(journal.directory(&dir.join(appenddirname))?)
                }
                (_, SnapshotFiles::Shards) => {
                    Purpose::Files(claim(dir.join(format!("{name}.shards")))?)
                }
                _ => Purpose::OneFile(claim(dir)?, name),
            })
        };
        let about = About {
            redis_version: REDIS_VERSION,
            made_at: self.now / 1000,
            used_memory: self.shared.env.memory.used(),
            // Those of the cut.
            functions: Vec::new(),
            sync_steps,
        };
        let bells = shared.bells.clone();
        let finished = move |result: io::Result<u64>| finish(&shared, &bells, kind, result);
        Saving::start(Box::new(purpose), self.slots.shards(), about, Box::new(finished))
    }

    /// The cut has come here: all keys of this shard are held.
    pub(super) fn take_cut(&mut self, cut: &Cut, is_last: bool) {
        match cut {
            Cut::Snapshot(cut) => self.take_snapshot_cut(cut, is_last),
            Cut::EndOfRecording => {
                self.stop_recording();
                if is_last {
                    self.close_journal();
                }
            }
        }
    }

    /// All shards have stopped to record.
    fn close_journal(&mut self) {
        let persist = &self.shared.env.persist;
        if persist.saving.load(Ordering::Relaxed) == SAVING_REWRITE
            && let Some(saving) = &*locked(&self.shared.saves.running)
        {
            saving.give_up();
        }
        self.shared.journal.close();
    }

    fn take_snapshot_cut(&mut self, cut: &SnapshotCut, is_last: bool) {
        if cut.stops && self.shared.saves.then_stop.load(Ordering::Acquire) {
            // What is written from here on would be lost.
            self.saving.is_last = true;
            self.hold_writes();
        }
        match self.shared.env.faults.loose_cut {
            false => self.begin_part(cut.saving.clone(), cut.at),
            true => self.saving.missed = Some((cut.saving.clone(), cut.at, 1 + 2 * self.index)),
        }
        let journal = &self.shared.journal;
        if cut.switches && journal.state() == State::Waiting {
            self.record_in(journal.clone());
        }
        let keys = self.shard.keyspace.snapshot_stats().map_or(0, |stats| stats.keys);
        cut.keys.fetch_add(keys, Ordering::Relaxed);
        cut.changes.fetch_add(self.shard.stats.changes.get(), Ordering::Relaxed);
        if !is_last {
            return;
        }
        let persist = &self.shared.env.persist;
        persist.saving_keys.store(cut.keys.load(Ordering::Relaxed), Ordering::Relaxed);
        match cut.kind {
            SaveKind::Rewrite if !cut.switches => {}
            SaveKind::Rewrite if self.shared.journal.is_used() => {
                self.shared.journal.switch(cut.saving.clone());
            }
            SaveKind::Rewrite => cut.saving.give_up(),
            SaveKind::Snapshot => {
                let changes = cut.changes.load(Ordering::Relaxed);
                persist.changes_at_cut.store(changes, Ordering::Relaxed);
            }
        }
        // After the journal was told: what a client loads meanwhile is recorded behind the cut, at worst also.
        cut.saving.has_functions(functions(&self.shared.env));
    }

    /// From here on the snapshot has what is there now.
    fn begin_part(&mut self, saving: Arc<Saving>, at: i64) {
        let keyspace = &mut self.shard.keyspace;
        if !keyspace.begin_snapshot(at, false) {
            // The last one is still being given up.
            return saving.give_up();
        }
        if self.shared.env.faults.small_slices {
            keyspace.save_in_small_pieces();
        }
        keyspace.compress_snapshot(self.limits.compresses);
        self.saving.saving = Some(saving);
        self.saving.owed = Duration::ZERO;
        (self.saving.next, self.saving.reported) = (Some(clock::monotonic()), 0);
        self.saving.parts.0 += 1;
        self.more = true;
    }

    /// How many snapshots were begun and ended by this shard, and whether one is under way; for tests.
    pub fn saved_parts(&self) -> (u64, u64, bool) {
        let saving = self.shared.env.persist.saving.load(Ordering::Acquire);
        (self.saving.parts.0, self.saving.parts.1, saving != SAVING_NOTHING)
    }

    /// Writes a slice of this shard's part of a snapshot.
    pub(super) fn save_slice(&mut self) {
        if let Some((saving, at, turns)) = self.saving.missed.take() {
            match turns {
                0 if self.shard.keyspace.can_begin_snapshot() => self.begin_part(saving, at),
                _ => self.saving.missed = Some((saving, at, turns.saturating_sub(1))),
            }
        }
        let Some(saving) = self.saving.saving.clone() else { return self.clean_up_snapshot() };
        let keyspace = &mut self.shard.keyspace;
        if saving.has_failed() {
            self.saving.saving = None;
            keyspace.abort_snapshot();
            return;
        }
        let start = clock::monotonic();
        let small = self.shared.env.faults.small_slices;
        if !small && self.saving.next.is_some_and(|next| start < next) {
            return;
        }
        if self.limits.key_save_delay != 0 && !self.saving.owed.is_zero() {
            let pause = self.saving.owed.min(DELAY_STEP);
            self.saving.owed -= pause;
            self.saving.next = Some(start + pause);
            return;
        }
        if saving.pending() < PENDING_MAX {
            keyspace.snapshot_step(&mut || small || start.elapsed() >= SLICE);
        }
        while let Some(bytes) = keyspace.take_output() {
            saving.write(self.index, bytes);
        }
        if let Some(stats) = keyspace.snapshot_stats() {
            let saved = stats.saved + stats.left_out;
            let persist = &self.shared.env.persist;
            let keys = saved - self.saving.reported;
            persist.saved_keys.fetch_add(keys, Ordering::Relaxed);
            self.saving.reported = saved;
            self.saving.owed = match self.limits.key_save_delay {
                delay @ 0.. => Duration::from_micros(keys.saturating_mul(delay as u64)),
                parts => Duration::from_micros(keys / u64::from(parts.unsigned_abs())),
            };
        }
        if !self.saving.owed.is_zero() {
            self.saving.next = Some(start);
            return;
        }
        if let Some(stats) = keyspace.end_snapshot() {
            saving.done(self.index, stats.version);
            self.saving.saving = None;
            self.saving.parts.1 += 1;
            return;
        }
        let spent = start.elapsed();
        let percent = match self.shared.saves.stops() {
            true => 100,
            false => self.limits.snapshot_percent.clamp(1, 100),
        };
        let pause = match saving.pending() < PENDING_MAX {
            true => spent * (100 - percent) / percent,
            // The files take their time.
            false => Duration::from_millis(1),
        };
        self.saving.next = Some(start + spent + pause);
    }

    /// Cleans up behind a snapshot that was given up.
    fn clean_up_snapshot(&mut self) {
        if !self.shard.keyspace.can_begin_snapshot() {
            let start = clock::monotonic();
            self.more |= self.shard.keyspace.snapshot_step(&mut || start.elapsed() >= SLICE);
        }
    }

    /// Tells those who wait for a snapshot that it has ended.
    pub(super) fn tell_of_saves(&mut self, io: &mut dyn Io) {
        self.tell_of_end(io);
        if !self.has_news_of_saves() {
            return;
        }
        self.tell_of_stops(io);
        let ended = self.shared.saves.ended.load(Ordering::Acquire);
        let well = self.shared.saves.well.load(Ordering::Relaxed);
        for (token, number) in std::mem::take(&mut self.saving.waiting) {
            if number > ended {
                self.saving.waiting.push((token, number));
                continue;
            }
            self.with_conn(io, token, |worker, io, conn| {
                conn.operation = None;
                worker.reply_to_command(conn, |out| match well {
                    true => out.ok(),
                    false => out.error(&CmdError::fixed("ERR see the log for the reason")),
                });
                worker.resume(io, token, conn);
            });
        }
    }

    /// Tells those who wait for the end that it does not come.
    fn tell_of_stops(&mut self, io: &mut dyn Io) {
        let failed = self.shared.saves.stops_failed.load(Ordering::Acquire);
        if failed == self.saving.stops_failed {
            return;
        }
        self.saving.stops_failed = failed;
        if std::mem::take(&mut self.saving.is_last) {
            self.end_pause();
        }
        for token in std::mem::take(&mut self.saving.stopping) {
            self.with_conn(io, token, |worker, io, conn| {
                conn.operation = None;
                let error = CmdError::fixed("ERR Errors trying to SHUTDOWN. Check logs.");
                worker.reply_to_command(conn, |out| out.error(&error));
                worker.resume(io, token, conn);
            });
        }
    }

    /// Whether a snapshot has ended for which somebody here waits.
    pub(super) fn has_news_of_saves(&self) -> bool {
        let saves = &self.shared.saves;
        if saves.stops_failed.load(Ordering::Relaxed) != self.saving.stops_failed
            || self.has_news_of_end()
        {
            return true;
        }
        let ended = saves.ended.load(Ordering::Acquire);
        self.saving.waiting.iter().any(|&(_, number)| number <= ended)
    }

    /// Begins the snapshots that are due by themselves. The first shard does so for all.
    pub(super) fn look_after_saves(&mut self, io: &mut dyn Io) {
        let persist = self.shared.env.persist.clone();
        let is_loading = self.shared.loading.load(Ordering::Relaxed) > 0;
        let is_free = persist.saving.load(Ordering::Relaxed) == SAVING_NOTHING;
        if self.index != 0 || is_loading || !is_free {
            return;
        }
        if self.shared.saves.stop_wanted.swap(false, Ordering::AcqRel) {
            self.shared.saves.then_stop.store(true, Ordering::Release);
            if let Err(error) = self.begin_save(io, SaveKind::Snapshot) {
                tracing::error!("cannot begin the last snapshot: {error}");
            }
            return;
        }
        let mut wanted = persist.wanted_saves.load(Ordering::Relaxed);
        let journal = &self.shared.journal;
        // Nothing that is appended counts until it is done.
        let must_rewrite = journal.state() == State::Waiting
            || (journal.is_on() && persist.rewrite_needed.load(Ordering::Relaxed));
        let failed = persist.save_failed.load(Ordering::Relaxed)
            || persist.rewrite_failed.load(Ordering::Relaxed);
        let waits = failed && self.now - persist.tried_save_at.load(Ordering::Relaxed) < RETRY_MS;
        if must_rewrite {
            wanted &= !(1 << SAVING_REWRITE);
            wanted |= u8::from(!waits) << SAVING_REWRITE;
        }
        let kind = if wanted & (1 << SAVING_REWRITE) != 0 || (!waits && self.has_grown()) {
            SaveKind::Rewrite
        } else if wanted & (1 << SAVING_SNAPSHOT) != 0 || (!waits && self.is_save_due()) {
            SaveKind::Snapshot
        } else {
            return;
        };
        if let Err(error) = self.begin_save(io, kind) {
            tracing::error!("cannot begin a snapshot: {error}");
        }
    }

    /// Whether the append-only files have grown by so much that they are to be rewritten.
    fn has_grown(&self) -> bool {
        let (percent, min) = self.limits.rewrite_at;
        let persist = &self.shared.env.persist;
        let size = persist.size.load(Ordering::Relaxed);
        let base = persist.base_size.load(Ordering::Relaxed).max(1);
        self.shared.journal.is_on()
            && percent > 0
            && size > min
            && (size.saturating_sub(base)) as u128 * 100 >= u128::from(base) * u128::from(percent)
    }

    /// Whether one of the rules of `save` asks for a snapshot.
    fn is_save_due(&self) -> bool {
        if self.limits.save.is_empty() {
            return false;
        }
        let persist = &self.shared.env.persist;
        let last = persist.last_save_at.load(Ordering::Relaxed);
        let last = if last > 0 { last } else { self.shared.env.started_at / 1000 };
        let (passed, changes) = (self.now / 1000 - last, unsaved_changes(&self.shared.env));
        let is_due = |rule: &crate::config::SaveRule| {
            changes >= u64::from(rule.changes) && passed > rule.seconds as i64
        };
        self.limits.save.iter().any(is_due)
    }

    /// SHUTDOWN: stops, after a snapshot if that is asked for, or if there are rules for snapshots.
    pub(super) fn shut_down(&mut self, token: Token, conn: &mut Conn, save: Option<bool>) {
        let is_loading = self.shared.loading.load(Ordering::Relaxed) > 0;
        if !save.unwrap_or(!self.limits.save.is_empty()) || is_loading {
            conn.session.closing = true;
            return self.shared.stop();
        }
        // One that is under way does not have what was written since its cut.
        self.shared.saves.stop_after_save();
        self.shared.bells[0].ring();
        self.saving.stopping.push(token);
        conn.operation = Some(Operation::Saving);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes since the last snapshot.
pub fn unsaved_changes(env: &Env) -> u64 {
    let changes: u64 = env.stats.iter().map(|stats| stats.changes.get()).sum();
    changes.saturating_sub(env.persist.changes_at_save.load(Ordering::Relaxed))
}

/// The texts of the libraries of functions.
pub fn functions(env: &Env) -> Vec<Vec<u8>> {
    env.scripts.libraries().iter().map(|library| library.code.clone()).collect()
}

/// On the thread that has written: the snapshot has ended.
fn finish(shared: &super::Shared, bells: &Bells, kind: SaveKind, result: io::Result<u64>) {
    let persist = &shared.env.persist;
    let now = clock::wall_ms();
    let seconds = (now - persist.saving_since.load(Ordering::Relaxed)).max(0) as u64 / 1000;
    let name = if kind == SaveKind::Rewrite { "rewrite" } else { "snapshot" };
    // It ends with what it was for, which is no failure.
    let was_given_up =
        result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
    match &result {
        Ok(bytes) => {
            tracing::info!(
                bytes,
                keys = persist.saving_keys.load(Ordering::Relaxed),
                "{name} done"
            );
        }
        Err(_) if was_given_up => {
            tracing::info!("the rewrite was given up");
        }
        Err(error) => {
            let cause = crate::error::io_text(error);
            tracing::error!("the {name} has failed: {cause}; the files are as they were before");
        }
    }
    match kind {
        SaveKind::Snapshot => {
            persist.save_failed.store(result.is_err(), Ordering::Relaxed);
            if result.is_ok() {
                persist.last_save_at.store(now / 1000, Ordering::Relaxed);
                persist.saves.fetch_add(1, Ordering::Relaxed);
                let changes = persist.changes_at_cut.load(Ordering::Relaxed);
                persist.changes_at_save.store(changes, Ordering::Relaxed);
            }
            persist.last_save_seconds.store(seconds + 1, Ordering::Relaxed);
        }
        SaveKind::Rewrite if was_given_up => {}
        SaveKind::Rewrite => {
            persist.rewrite_failed.store(result.is_err(), Ordering::Relaxed);
            persist.rewrites.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
            match result {
                Ok(_) => persist.rewrites_failed.store(0, Ordering::Relaxed),
                Err(_) => drop(persist.rewrites_failed.fetch_add(1, Ordering::Relaxed)),
            }
            persist.last_rewrite_seconds.store(seconds + 1, Ordering::Relaxed);
        }
    }
    *locked(&shared.saves.running) = None;
    persist.saving.store(SAVING_NOTHING, Ordering::Release);
    if kind == SaveKind::Snapshot && shared.saves.end(result.is_ok()) {
        shared.stop();
    }
    bells.iter().for_each(|bell| bell.ring());
}

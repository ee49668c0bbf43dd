//! DEBUG RELOAD and DEBUG LOADAOF: the data are read back from the files in place of those in memory.
//!
//! ```text
//!   hold      no shard lets anything begin; each says when nothing is under way
//!   settle    once more, so that what they have sent each other before has arrived
//!   work      writes wait, reads go on: a snapshot is written, or what was appended is synced;
//!             then a thread loads the files, and commands on keys get -LOADING
//!   take      each shard puts what was loaded in the place of what it has
//! ```
//!
//! The shard whose client has asked leads; the client may be gone meanwhile. What cannot be loaded
//! leaves the data as they are.

use super::conn::Conn;
use super::operation::Operation;
use super::worker::{Shared, Worker};
use crate::clock;
use crate::command::{ReloadRequest, SaveKind};
use crate::error::CmdError;
use crate::metrics::{SAVING_BARRED, SAVING_NOTHING, SAVING_REWRITE, tell_balance};
use crate::rt::{Io, Token, heap};
use crate::script::Store;
use crate::shard::{Loaded, Loading};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Loads the files again, and the libraries of functions into a store of their own; or says why not.
pub type LoadAgain = fn(&Arc<Shared>, &ReloadRequest) -> Result<(Vec<Loaded>, Store), String>;

const IDLE: u8 = 0;
const HOLD: u8 = 1;
const SETTLE: u8 = 2;
const WORK: u8 = 3;

/// What all shards know of a reload.
#[derive(Default)]
pub struct Reloads {
    phase: AtomicU8,
    /// Which one it is.
    run: AtomicU64,
    /// Shards that have done their part of the phase.
    passed: AtomicUsize,
    /// How what is loaded comes together with what is there.
    mode: Mutex<Loading>,
    /// Keys that were there already and should not have been.
    conflicts: AtomicUsize,
    /// What has become of loading, until the leader takes it.
    outcome: Mutex<Option<Result<(), String>>>,
}

impl Reloads {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }

    /// How shards take what was loaded.
    pub(super) fn mode(&self) -> Option<Loading> {
        (self.phase() != IDLE).then(|| *locked(&self.mode))
    }
}

/// What one shard has to do with a reload.
#[derive(Default)]
pub(super) struct ReloadHere {
    /// Nothing that writes begins here because of it.
    holds: bool,
    /// The last one, and its phase, in which this shard has done its part.
    passed: (u64, u8),
    /// It is one of this shard's clients.
    leads: Option<Leading>,
}

struct Leading {
    token: Token,
    request: ReloadRequest,
    step: Step,
}

/// What the leader waits for.
#[derive(Clone, Copy)]
enum Step {
    /// Nothing is under way on any shard.
    Quiet,
    /// No other snapshot runs.
    Save,
    /// So many snapshots have ended.
    Saving(u64),
    /// No snapshot runs, and none is to begin.
    Bar,
    /// What was appended is on disk, as this shard's order with this number tells.
    Syncing(u64),
    /// The thread has loaded the files.
    Loading,
    /// All shards have what is theirs.
    Taking,
}

const FAILED: CmdError =
    CmdError::fixed("ERR Error trying to load the RDB dump, check server logs.");
const FAILED_AOF: CmdError =
    CmdError::fixed("ERR Error trying to load the AOF files, check server logs.");

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// DEBUG RELOAD, DEBUG LOADAOF.
    pub(super) fn reload(&mut self, token: Token, conn: &mut Conn, request: ReloadRequest) {
        let shared = self.shared.clone();
        let reloads = &shared.reloads;
        let (order, failed) = (Ordering::AcqRel, Ordering::Acquire);
        if reloads.phase.compare_exchange(IDLE, HOLD, order, failed).is_err() {
            return self.reply_to_command(conn, |out| {
                out.error(&CmdError::fixed("ERR another reload is under way"));
            });
        }
        *locked(&reloads.mode) = request.mode;
        *locked(&reloads.outcome) = None;
        reloads.conflicts.store(0, Ordering::Relaxed);
        reloads.passed.store(0, Ordering::Relaxed);
        reloads.run.fetch_add(1, Ordering::AcqRel);
        self.reloading.leads = Some(Leading { token, request, step: Step::Quiet });
        conn.operation = Some(Operation::Reloading);
        shared.bells.iter().for_each(|bell| bell.ring());
        self.more = true;
    }

    /// Whether there is a reload, or one has just ended.
    #[inline]
    pub(super) fn is_reloading(&self) -> bool {
        self.shared.reloads.phase.load(Ordering::Relaxed) != IDLE || self.reloading.holds
    }

    /// Once a turn, while there is a reload.
    #[cold]
    pub(super) fn look_at_reload(&mut self, io: &mut dyn Io) {
        let shared = self.shared.clone();
        let reloads = &shared.reloads;
        let (phase, run) = (reloads.phase(), reloads.run.load(Ordering::Acquire));
        match phase {
            HOLD | SETTLE => {
                self.reloading.holds = true;
                self.pause.hold(true);
                if self.reloading.passed != (run, phase)
                    && self.has_run_dry()
                    && !self.mail.has_mail()
                {
                    self.reloading.passed = (run, phase);
                    self.hand_over_effects();
                    if reloads.passed.fetch_add(1, Ordering::AcqRel) + 1 == self.slots.shards() {
                        shared.bells.iter().for_each(|bell| bell.ring());
                    }
                }
            }
            WORK => {
                self.reloading.holds = true;
                self.pause.hold(false);
            }
            _ => {
                self.reloading.holds = false;
                self.pause.let_go();
            }
        }
        if let Some(leading) = self.reloading.leads.take() {
            self.lead_reload(io, leading);
        }
    }

    fn lead_reload(&mut self, io: &mut dyn Io, mut leading: Leading) {
        match self.reload_step(io, &leading) {
            Ok(Some(step)) => {
                leading.step = step;
                self.reloading.leads = Some(leading);
                self.more = true;
            }
            Ok(None) if matches!(leading.step, Step::Taking) => self.end_reload(io, &leading, None),
            Ok(None) => self.reloading.leads = Some(leading),
            Err(error) => self.end_reload(io, &leading, Some(error)),
        }
    }

    /// The next step if the present one is done; nothing if it is not, or was the last.
    fn reload_step(
        &mut self,
        io: &mut dyn Io,
        leading: &Leading,
    ) -> Result<Option<Step>, CmdError> {
        let shared = self.shared.clone();
        let (reloads, persist) = (&shared.reloads, &shared.env.persist);
        let failed = if leading.request.appended { FAILED_AOF } else { FAILED };
        Ok(match leading.step {
            Step::Quiet => {
                if reloads.passed.load(Ordering::Acquire) < self.slots.shards() {
                    return Ok(None);
                }
                reloads.passed.store(0, Ordering::Release);
                let is_settled = reloads.phase() == SETTLE;
                reloads.phase.store(if is_settled { WORK } else { SETTLE }, Ordering::Release);
                shared.bells.iter().for_each(|bell| bell.ring());
                Some(match (is_settled, leading.request.saves) {
                    (false, _) => Step::Quiet,
                    (true, true) => Step::Save,
                    (true, false) => Step::Bar,
                })
            }
            Step::Save if persist.saving.load(Ordering::Acquire) != SAVING_NOTHING => None,
            Step::Save => {
                let ended = self.snapshots_ended();
                self.begin_save(io, SaveKind::Snapshot)?;
                Some(Step::Saving(ended + 1))
            }
            Step::Saving(number) => match self.snapshots_ended() >= number {
                true if persist.save_failed.load(Ordering::Relaxed) => {
                    return Err(CmdError::fixed("ERR"));
                }
                true => Some(Step::Bar),
                false => None,
            },
            Step::Bar => {
                let claimed = persist.saving.compare_exchange(
                    SAVING_NOTHING,
                    SAVING_BARRED,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                match claimed {
                    Err(_) => None,
                    Ok(_) if leading.request.appended && shared.journal.is_on() => {
                        Some(Step::Syncing(self.ask_for_sync()))
                    }
                    Ok(_) => Some(self.begin_to_load(leading, failed)?),
                }
            }
            Step::Syncing(number) if self.synced_until() < number => None,
            Step::Syncing(_) => Some(self.begin_to_load(leading, failed)?),
            Step::Loading => match locked(&reloads.outcome).take() {
                None => None,
                Some(Ok(())) => Some(Step::Taking),
                Some(Err(problem)) => {
                    tracing::error!("the data are as they were before: {problem}");
                    return Err(failed);
                }
            },
            Step::Taking if shared.loading.load(Ordering::Acquire) > 0 => Some(Step::Taking),
            Step::Taking if reloads.conflicts.load(Ordering::Relaxed) > 0 => return Err(failed),
            Step::Taking => None,
        })
    }

    /// Starts the thread that loads.
    fn begin_to_load(&mut self, leading: &Leading, failed: CmdError) -> Result<Step, CmdError> {
        let (shared, request) = (self.shared.clone(), leading.request);
        let persist = &shared.env.persist;
        persist.loading_since.store(self.now, Ordering::Relaxed);
        persist.loaded_bytes.store(0, Ordering::Relaxed);
        shared.loading.store(self.slots.shards(), Ordering::Release);
        let own = shared.clone();
        let run = move || {
            let started = clock::monotonic();
            let outcome = (own.load_again)(&own, &request).and_then(|(loaded, scripts)| {
                let taken = own.env.take_libraries(&scripts, request.mode);
                taken.map_err(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())?;
                let keys: usize = loaded.iter().map(Loaded::keys).sum();
                tracing::info!(keys, seconds = started.elapsed().as_secs_f64(), "loaded again");
                for (slot, loaded) in own.loaded.iter().zip(loaded) {
                    *locked(slot) = Some(loaded);
                }
                Ok(())
            });
            *locked(&own.reloads.outcome) = Some(outcome);
            tell_balance(heap::balance());
            own.bells.iter().for_each(|bell| bell.ring());
        };
        match std::thread::Builder::new().name("loader".to_string()).spawn(run) {
            Ok(_) => Ok(Step::Loading),
            Err(error) => {
                tracing::error!("cannot start a thread: {error}");
                Err(failed)
            }
        }
    }

    /// This shard's part of what was loaded takes its place.
    pub(super) fn take_reloaded(&mut self, loaded: Loaded, mode: Loading) {
        let keyspace = &mut self.shard.keyspace;
        // A snapshot that was given up may have to be cleaned up behind.
        while !keyspace.can_begin_snapshot() && keyspace.snapshot_step(&mut || false) {}
        let conflicts = keyspace.load_in(loaded, mode, self.now);
        self.shared.reloads.conflicts.fetch_add(conflicts, Ordering::Relaxed);
        self.send_invalidations();
    }

    fn end_reload(&mut self, io: &mut dyn Io, leading: &Leading, error: Option<CmdError>) {
        let shared = self.shared.clone();
        let persist = &shared.env.persist;
        if error.is_some() {
            shared.loading.store(0, Ordering::Release);
        }
        persist.loading_since.store(0, Ordering::Relaxed);
        let (order, other) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = persist.saving.compare_exchange(SAVING_BARRED, SAVING_NOTHING, order, other);
        if error.is_none() && leading.request.appended {
            let changes = shared.env.stats.iter().map(|stats| stats.changes.get()).sum();
            persist.changes_at_save.store(changes, Ordering::Relaxed);
        }
        let differs = !leading.request.appended && !leading.request.saves;
        if differs && error.is_none() && shared.journal.is_used() {
            // What was appended until now does not lead to what is there now.
            persist.wanted_saves.fetch_or(1 << SAVING_REWRITE, Ordering::Relaxed);
        }
        shared.reloads.phase.store(IDLE, Ordering::Release);
        shared.bells.iter().for_each(|bell| bell.ring());
        self.more = true;
        self.with_conn(io, leading.token, |worker, io, conn| {
            conn.operation = None;
            worker.reply_to_command(conn, |out| match &error {
                None => out.ok(),
                Some(error) => out.error(error),
            });
            worker.resume(io, leading.token, conn);
        });
    }
}

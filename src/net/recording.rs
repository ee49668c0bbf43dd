//! Effects on their way to the journal, and replies that wait for them to be written.
//!
//! ```text
//!   commands ──> Effects ── at the end of the turn, before keys leave, with a transaction ──> Journal
//!   replies to writes <── held until the journal has written so far ──────────────────────────────┘
//! ```
//!
//! A reply leaves when what was recorded until its command is written (with `appendfsync always`: on
//! disk). A connection's own shard holds its output; a reply for another shard's connection is held
//! here as the message in which it travels. Replies to reads are not held, unless they stand behind one that is.
//!
//! So that the journal's queue is in the order of causes, a shard hands over what it has recorded
//! before a transaction takes keys away or goes on to the next shard (see [`crate::persist`]).

use super::conn::Conn;
use super::mail::Message;
use super::worker::Worker;
use crate::command::{CommandId, WRITE};
use crate::journal::Unit;
use crate::journal::effects::push_command;
use crate::persist::{Handed, Journal, Parts};
use crate::resp::Args;
use crate::route::Batch;
use crate::rt::Token;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Effects that a shard may have handed over and that are not written, bytes; with more, connections
/// that write are not read from.
const PENDING_MAX: u64 = 64 << 20;

/// What waits for effects to be written.
enum Held {
    /// A connection's output.
    Output(Token),
    /// An answer to another shard's connection.
    Answer(Box<Batch>),
    Message(usize, Message),
}

/// What a shard knows of the journal.
#[derive(Default)]
pub struct Recording {
    journal: Option<Arc<Journal>>,
    /// The number of what was handed over last.
    handed: u64,
    /// Up to which number all is written.
    written: u64,
    /// In the order of the numbers.
    held: VecDeque<(u64, Held)>,
    /// Of the connections that have answers among those: the number of the last one. No answer may overtake another.
    answers: HashMap<(usize, Token), u64>,
    /// Answers that leave when what was recorded before them has been handed over: who reads them may
    /// write elsewhere what follows from them, which must not come before it in the queue. Empty when nothing
    /// is recorded that has not been handed over.
    late: Vec<Box<Batch>>,
}

impl Recording {
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.late.is_empty()
    }

    /// Whether replies up to this number can leave.
    #[inline]
    pub fn is_written(&self, number: u64) -> bool {
        number <= self.written
    }

    fn hold(&mut self, number: u64, held: Held) {
        // What is recorded later is handed over later, but a tour may end with an older number.
        let at = self.held.partition_point(|(other, _)| *other <= number);
        self.held.insert(at, (number, held));
    }
}

impl Worker {
    /// Records effects in `journal` from now on.
    pub fn record_in(&mut self, journal: Arc<Journal>) {
        self.shard.keyspace.record_effects(self.index, &self.slots);
        self.recording.journal = Some(journal);
    }

    /// Records nothing from now on. What was recorded is written, and replies wait for that.
    pub(super) fn stop_recording(&mut self) {
        self.hand_over_effects();
        self.shard.keyspace.recorder.effects.switch_off();
    }

    /// Takes what was loaded for this shard, if it is there.
    #[cold]
    pub(super) fn take_loaded(&mut self) {
        let shared = self.shared.clone();
        let slot = &shared.loaded[self.index];
        let Some(loaded) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        match shared.reloads.mode() {
            None => self.shard.keyspace.adopt(loaded),
            Some(mode) => {
                self.take_reloaded(loaded, mode);
                if shared.loading.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.settle_memory();
                }
                return;
            }
        }
        if shared.journal.is_on() {
            self.record_in(shared.journal.clone());
        }
        if shared.loading.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.env.persist.loading_since.store(0, Ordering::Relaxed);
            self.settle_memory();
            tracing::info!("ready to serve the data that was loaded");
        }
    }

    /// Whether something was loaded for this shard that it has not taken.
    pub(super) fn is_loaded(&self) -> bool {
        self.shared.loading.load(Ordering::Acquire) > 0
            && self.shared.loaded[self.index].lock().is_ok_and(|loaded| loaded.is_some())
    }

    /// The number with which everything recorded until now will be written; 0 without a journal.
    pub(super) fn mark(&self) -> u64 {
        let effects = &self.shard.keyspace.recorder.effects;
        self.recording.handed + u64::from(!effects.is_empty())
    }

    /// The number for which the reply waits to what has just run; 0 if it has changed nothing.
    #[inline]
    pub(super) fn take_mark(&mut self) -> u64 {
        let effects = &mut self.shard.keyspace.recorder.effects;
        // In a unit it is asked again when the unit is recorded.
        match !effects.is_in_unit() && effects.take_wrote() {
            true => self.mark(),
            false => 0,
        }
    }

    /// Has a connection's output wait for the effects of what has just run for it.
    #[inline]
    pub(super) fn note_write(&mut self, conn: &mut Conn) {
        let mark = self.take_mark();
        conn.written_at = conn.written_at.max(mark);
    }

    /// As [`Worker::note_write`], for what a batch of its own has done here.
    pub(super) fn note_writes_of(&self, conn: &mut Conn, batch: &Batch) {
        if batch.wrote {
            conn.written_at = self.mark();
        }
    }

    /// Hands over what was recorded.
    #[inline]
    pub(super) fn hand_over_effects(&mut self) {
        let effects = &mut self.shard.keyspace.recorder.effects;
        // What a unit that runs has done is kept apart, and comes behind this.
        if !effects.is_empty() {
            let bytes = effects.take();
            self.hand_over_parts(Parts::from_iter([(self.index, bytes)]));
            for batch in std::mem::take(&mut self.recording.late) {
                self.mail.push(batch.origin, Message::Answer(batch));
            }
        }
    }

    fn hand_over_parts(&mut self, parts: Parts) {
        let Some(journal) = &self.recording.journal else { return };
        self.recording.handed += 1;
        journal.hand_over(Handed { by: self.index, number: self.recording.handed, parts });
    }

    /// What is recorded from now on belongs together.
    #[inline]
    pub(super) fn begin_unit(&mut self) {
        self.shard.keyspace.recorder.effects.begin_unit();
    }

    /// Ends what [`Worker::begin_unit`] has begun.
    #[inline]
    pub(super) fn end_unit(&mut self) -> Unit {
        self.shard.keyspace.recorder.effects.end_unit()
    }

    /// Records a command that changes what belongs to no shard: libraries of functions. The first shard
    /// keeps it.
    pub(super) fn record_for_all(
        &mut self,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
        reply: &[u8],
    ) {
        let changes = self.shared.env.registry.command(id).flags.has(WRITE);
        if changes && !reply.starts_with(b"-") && self.shard.keyspace.recorder.is_on() {
            let mut bytes = Vec::new();
            push_command(&mut bytes, args.iter());
            self.record_unit(vec![(0, bytes)]);
            conn.written_at = self.mark();
        }
    }

    /// Ends what [`Worker::begin_unit`] has begun, and hands it over unless more belongs to it.
    pub(super) fn record_rest(&mut self) {
        let effects = self.end_unit();
        self.record_unit(effects);
    }

    /// Hands over what a transaction has done; if that is on this shard only, with what else is done here.
    pub(super) fn record_unit(&mut self, unit: Unit) {
        if unit.is_empty() {
            return;
        }
        let effects = &mut self.shard.keyspace.recorder.effects;
        if unit.iter().all(|(shard, _)| *shard == self.index) {
            return unit.iter().for_each(|(_, bytes)| effects.append(bytes));
        }
        self.hand_over_effects();
        self.hand_over_parts(unit.into_iter().collect());
    }

    /// Sends an answer when what it tells of is written.
    pub(super) fn send_answer(&mut self, batch: Box<Batch>) {
        self.show_balance();
        let origin = batch.origin;
        let number = if batch.wrote { self.mark() } else { 0 };
        if let Some(token) = batch.connection
            && self.recording.journal.is_some()
        {
            let last = self.recording.answers.get(&(origin, token));
            let number = number.max(last.copied().unwrap_or(0));
            if !self.recording.is_written(number) {
                self.recording.answers.insert((origin, token), number);
                return self.recording.hold(number, Held::Answer(batch));
            }
        }
        match self.shard.keyspace.recorder.effects.is_empty() {
            true => self.mail.push(origin, Message::Answer(batch)),
            // It may tell of them.
            false => self.recording.late.push(batch),
        }
    }

    /// As [`Worker::send_answer`], for a message of another kind.
    pub(super) fn send_written(&mut self, number: u64, to: usize, message: Message) {
        match self.recording.is_written(number) {
            true => self.mail.push(to, message),
            false => self.recording.hold(number, Held::Message(to, message)),
        }
    }

    /// Whether a connection has to wait before it can send what is next; then it is looked at again.
    pub(super) fn holds_output(&mut self, token: Token, conn: &mut Conn) -> bool {
        let number = conn.next_written_at();
        if self.recording.is_written(number) {
            return false;
        }
        conn.seal_written();
        if !conn.awaits_journal {
            conn.awaits_journal = true;
            self.recording.hold(number, Held::Output(token));
        }
        true
    }

    /// Whether a connection's writes come faster than they are written.
    pub(super) fn is_behind(&self, conn: &Conn) -> bool {
        conn.awaits_journal
            && self
                .recording
                .journal
                .as_ref()
                .is_some_and(|journal| journal.stats.pending.load(Ordering::Relaxed) > PENDING_MAX)
    }

    /// Whether the journal has written something since this was looked at.
    #[inline]
    pub(super) fn has_news_of_journal(&self) -> bool {
        let recording = &self.recording;
        let is_new = |journal: &Arc<Journal>| journal.written(self.index) != recording.written;
        !recording.held.is_empty() && recording.journal.as_ref().is_some_and(is_new)
    }

    /// Lets replies go whose effects are written.
    pub(super) fn release_written(&mut self) {
        let Some(journal) = &self.recording.journal else { return };
        self.recording.written = journal.written(self.index);
        while let Some((number, _)) = self.recording.held.front()
            && self.recording.is_written(*number)
        {
            let Some((number, held)) = self.recording.held.pop_front() else { return };
            match held {
                Held::Output(token) => self.mark_for_output(token),
                Held::Message(to, message) => self.mail.push(to, message),
                Held::Answer(batch) => {
                    if let Some(token) = batch.connection {
                        let key = (batch.origin, token);
                        if self.recording.answers.get(&key).is_some_and(|&last| last <= number) {
                            self.recording.answers.remove(&key);
                        }
                    }
                    self.mail.push(batch.origin, Message::Answer(batch));
                }
            }
        }
    }
}

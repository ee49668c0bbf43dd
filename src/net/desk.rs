//! What the admin port is told by the shards.
//!
//! ```text
//!   admin thread                       each shard, at the end of a turn
//!      │ puts a question on the desk       │
//!      │── bells ─────────────────────────>│ sees that there is a new one
//!      │                                   │ writes its answer beside it
//!      │ takes the answers that are there when its patience ends
//! ```
//!
//! A shard looks at one word a turn, and answers with what is at hand: it never waits, and a lock
//! that the admin thread holds is held for as long as it takes to move a pointer.

use super::worker::Worker;
use crate::clock;
use crate::data::Type;
use crate::rt::{Bells, Io};
use crate::session::client_line;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Clients that one shard tells of; there may be thousands.
const CLIENTS_MAX: usize = 100;
/// Most used keys that one shard tells of.
const HOT_KEYS_MAX: usize = 12;

/// What is asked: these keys of database 0.
#[derive(Debug, Clone, Default)]
pub struct DeskQuestion {
    pub keys: Vec<Vec<u8>>,
}

/// What one shard answers.
#[derive(Debug, Clone, Default)]
pub struct DeskAnswer {
    /// Lines as CLIENT LIST has them.
    pub clients: Vec<String>,
    /// Of the keys that are here: their places in the question, types and lengths.
    pub lengths: Vec<(usize, &'static str, usize)>,
    /// The keys that are used most: key and uses, if they are counted.
    pub hot_keys: Vec<(Vec<u8>, u64)>,
}

/// See the module.
pub struct Desk {
    /// The number of the question that lies here.
    number: AtomicU64,
    question: Mutex<Arc<DeskQuestion>>,
    answers: Box<[Mutex<(u64, DeskAnswer)>]>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub fn new(shards: usize) -> Desk {
        Desk {
            number: AtomicU64::new(0),
            question: Mutex::default(),
            answers: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    /// Asks all shards and waits for their answers for as long as `patience` lasts; for the admin
    /// thread. A shard that is busy for longer has no answer.
    pub fn ask(
        &self,
        question: DeskQuestion,
        bells: &Bells,
        patience: Duration,
    ) -> Vec<Option<DeskAnswer>> {
        *lock(&self.question) = Arc::new(question);
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        bells.iter().for_each(|bell| bell.ring());
        let begun = clock::monotonic();
        let is_answered = |answer: &Mutex<(u64, DeskAnswer)>| lock(answer).0 >= number;
        while begun.elapsed() < patience && !self.answers.iter().all(is_answered) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let take = |answer: &Mutex<(u64, DeskAnswer)>| {
            let mut answer = lock(answer);
            (answer.0 >= number).then(|| std::mem::take(&mut answer.1))
        };
        self.answers.iter().map(take).collect()
    }
}

impl Worker {
    /// Whether the admin port has asked something new.
    #[inline]
    pub(super) fn is_asked_at_desk(&self) -> bool {
        self.shared.desk.number.load(Ordering::Relaxed) != self.desk_seen
    }

    /// Answers what lies on the desk.
    #[cold]
    pub(super) fn answer_at_desk(&mut self, io: &mut dyn Io) {
        let shared = self.shared.clone();
        let number = shared.desk.number.load(Ordering::Acquire);
        self.desk_seen = number;
        let question = lock(&shared.desk.question).clone();
        let mut answer = DeskAnswer::default();
        let conns = (0..self.conn_slots()).filter_map(|at| self.conn_at(at));
        for (token, conn) in conns.take(CLIENTS_MAX) {
            let facts = conn.facts(io.fd(token));
            answer.clients.push(client_line(&conn.session, &facts, self.now));
        }
        for (at, key) in question.keys.iter().enumerate() {
            if self.slots.owner_of(key) == self.index
                && let Some((kind, len)) = self.length_of(key)
            {
                answer.lengths.push((at, kind.name(), len));
            }
        }
        if let Some(hot) = &self.shard.keyspace.hot_keys {
            let top = hot.top(HOT_KEYS_MAX).into_iter();
            answer.hot_keys = top.map(|hot| (hot.key.into_vec(), hot.uses)).collect();
        }
        *lock(&shared.desk.answers[self.index]) = (number, answer);
    }

    /// The type of a key's value and how many elements or bytes it has; looking does not count as use.
    fn length_of(&mut self, key: &[u8]) -> Option<(Type, usize)> {
        let keys = self.shard.keyspace.keys(0, self.now, false);
        let entry = keys.find_any(key).filter(|entry| !entry.is_expired(self.now))?;
        Some((entry.kind(), entry.size()))
    }
}

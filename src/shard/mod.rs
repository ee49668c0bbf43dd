//! One core's slice of the data: synchronous, no I/O, no socket, no clock of its own.
//!
//! A shard runs one command after another, each to its end. Whatever time it is, whoever asks and
//! where the reply goes comes in with the call.

mod access;
mod channels;
mod cx;
mod events;
mod evict;
mod expire;
mod free;
mod hot_keys;
mod intents;
mod keyspace;
mod lend;
mod loaded;
mod record;
mod slot;
mod snapshot;
mod timing;
mod tracking;
mod trial;
mod waited;
mod watch;
mod watching;

pub use crate::config::EventClass as Class;
pub use access::Access;
pub use channels::{Channels, Foreign, Published, count as count_listener};
pub use cx::{Cx, TimedOut, Wait};
pub use events::is_event_channel;
pub use evict::{Candidate, Eviction, Order};
pub use hot_keys::{HotKey, HotKeys};
pub use intents::{Intent, Intents, Path};
pub use keyspace::{Expiry, Keys, Keyspace};
pub use lend::{Everything, Parcel};
pub use loaded::{Loaded, Loading};
pub use record::{NO_CLOCK, Recorder, THINGS_MAX};
pub use slot::{SLOTS, SlotTable, slot_of};
pub use snapshot::SnapshotStats;
pub use timing::{BRIEF_ARGS, BRIEF_BYTES, Noted, Timing, TimingRules};
pub use tracking::{Changed, Stale, Tracking};
pub use trial::Trial;
pub use waited::Waited;

use crate::config::EventClasses;
use crate::metrics::ShardStats;
use evict::Victims;
use expire::ExpireCycle;
use std::sync::Arc;

/// What of the configuration a shard's commands look at, copied so that reading it costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// `proto-max-bulk-len`: also the longest string value, bytes.
    pub bulk_len_max: usize,
    pub access: Access,
    /// `active-expire-effort`, 1 to 10.
    pub expire_effort: u32,
    /// `lazyfree-lazy-user-flush`: a flush that names no mode is ASYNC.
    pub lazy_flush: bool,
    /// `notify-keyspace-events`.
    pub events: EventClasses,
    pub encodings: Encodings,
    pub timing: TimingRules,
}

/// Up to where collections are packed; the options' names say what of each is meant. Counts,
/// and lengths in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Encodings {
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    /// Elements when positive, else -1 to -5 for 4 to 64 kB.
    pub list_max_listpack_size: i32,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    pub hll_sparse_max_bytes: usize,
    /// 0 is no limit, here and below.
    pub stream_node_max_bytes: usize,
    pub stream_node_max_entries: usize,
}

impl Default for Encodings {
    /// As the options' defaults.
    fn default() -> Encodings {
        Encodings {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}

/// Elements and entries that are freed between two looks at the clock.
const FREE_STEP: usize = 256;

/// The state of one shard.
pub struct Shard {
    pub index: usize,
    pub keyspace: Keyspace,
    pub settings: Settings,
    pub random: fastrand::Rng,
    pub stats: Arc<ShardStats>,
    pub timing: Timing,
    expire: ExpireCycle,
    victims: Victims,
}

impl Shard {
    pub fn new(index: usize, seed: u64, settings: Settings, stats: Arc<ShardStats>) -> Shard {
        let mut keyspace = Keyspace::new(seed, settings.access, stats.clone());
        keyspace.want_events(settings.events);
        let random = fastrand::Rng::with_seed(seed ^ index as u64);
        keyspace.count_hot_keys(settings.timing.hot_keys_every);
        let timing = Timing::new(settings.timing);
        let (expire, victims) = (ExpireCycle::default(), Victims::default());
        Shard { index, keyspace, settings, random, stats, timing, expire, victims }
    }

    /// What is to be done without being asked for, about ten times a second: expiry and freeing
    /// what is gone. `true` when the time was up before all was done: call again soon.
    pub fn cron(&mut self, now: i64, time_is_up: &mut dyn FnMut() -> bool) -> bool {
        let late = self.expire_cycle(now, time_is_up);
        let mut freeing = self.keyspace.free_step(FREE_STEP);
        while freeing && !time_is_up() {
            freeing = self.keyspace.free_step(FREE_STEP);
        }
        late || freeing
    }

    /// Works by another configuration from now on.
    pub fn configure(&mut self, settings: Settings) {
        if self.settings.access != settings.access {
            self.forget_candidates();
        }
        self.settings = settings;
        self.keyspace.access = settings.access;
        self.keyspace.want_events(settings.events);
        self.timing.configure(settings.timing);
        self.keyspace.count_hot_keys(settings.timing.hot_keys_every);
    }
}

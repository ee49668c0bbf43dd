//! The journal's threads on a disk that is slow to sync, and on one that fails to.

use super::sim_disk::SimDisk;
use super::torn::{contents, load};
use crate::harness::wait_until;
use corelane::command::Faults;
use corelane::config::FsyncPolicy;
use corelane::journal::effects::push_command;
use corelane::metrics::{LatencyEvent, LatencyMonitor, PersistStats};
use corelane::persist::manifest::Manifest;
use corelane::persist::save::{About, Purpose, Saving};
use corelane::persist::{Handed, Journal, Parts, Writer};
use corelane::rt::Bell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

struct Rig {
    disk: SimDisk,
    journal: Arc<Journal>,
    stats: Arc<PersistStats>,
    latency: Arc<LatencyMonitor>,
    handed: u64,
}

impl Rig {
    fn new(policy: FsyncPolicy) -> Rig {
        let disk = SimDisk::new(1);
        let stats = Arc::new(PersistStats::default());
        let bells = [Bell::new().expect("an eventfd")].into();
        let latency = Arc::new(LatencyMonitor::default());
        latency.set_threshold(1);
        let told = (stats.clone(), latency.clone());
        let journal = Arc::new(Journal::new(1, policy, bells, told, Faults::default()));
        let writer = Writer::open(Arc::new(disk.clone()), Manifest::default(), 1, 0, &[]);
        journal.start(writer.expect("a writer")).expect("threads");
        Rig { disk, journal, stats, latency, handed: 0 }
    }

    /// Appends a number to the list of numbers.
    fn hand_over(&mut self) {
        self.handed += 1;
        let number = self.handed.to_string();
        let mut bytes = Vec::new();
        push_command(&mut bytes, ["RPUSH", "lane0", &number].map(str::as_bytes).into_iter());
        let parts = Parts::from_iter([(0, bytes)]);
        self.journal.hand_over(Handed { by: 0, number: self.handed, parts });
    }

    fn is_written(&self) -> bool {
        self.journal.written(0) == self.handed
    }

    fn wait_written(&self) {
        wait_until("all is written", || self.is_written());
    }

    fn failing(&self) -> bool {
        self.stats.is_failing()
    }

    /// The longest of an event, milliseconds.
    fn longest(&self, event: LatencyEvent) -> Option<u64> {
        self.latency.events().get(event).map(|series| series.ms_max)
    }

    /// All numbers are there after a power failure.
    #[track_caller]
    fn assert_durable(self) {
        self.disk.crash();
        let loaded = load(&self.disk, 1, true).expect("it loads").expect("a manifest").loaded;
        let expected: Vec<u64> = (1..=self.handed).collect();
        assert_eq!(contents(loaded)[0], expected);
    }
}

#[test]
fn what_is_written_waits_for_a_sync_that_takes_too_long() {
    let mut rig = Rig::new(FsyncPolicy::EverySecond);
    rig.hand_over();
    rig.wait_written();
    rig.disk.hold_syncs(true);
    rig.hand_over();
    wait_until("a sync has begun", || rig.stats.syncing.load(Relaxed));
    let begun = corelane::clock::monotonic();
    // At first that does not matter.
    rig.hand_over();
    rig.wait_written();
    assert_eq!(rig.stats.delayed_syncs.load(Relaxed), 0);
    wait_until("it takes too long", || {
        rig.hand_over();
        std::thread::sleep(Duration::from_millis(50));
        !rig.is_written()
    });
    assert!(begun.elapsed() >= Duration::from_millis(1800), "{:?}", begun.elapsed());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!rig.is_written() && rig.stats.pending.load(Relaxed) > 0);
    assert_eq!(rig.stats.delayed_syncs.load(Relaxed), 1);
    assert!(!rig.failing(), "slow is not broken");
    rig.disk.hold_syncs(false);
    rig.wait_written();
    assert_eq!(rig.stats.pending.load(Relaxed), 0);
    // Some waited for 300 ms at least, and for no sync of their own.
    let waited = rig.longest(LatencyEvent::AofWritePendingFsync);
    assert!(waited.is_some_and(|ms| ms >= 300), "{waited:?}");
    assert_eq!(rig.longest(LatencyEvent::AofWrite), waited);
    assert_eq!(rig.longest(LatencyEvent::AofFsync), None);
    rig.journal.stop();
    rig.assert_durable();
}

#[test]
fn a_sync_that_writes_wait_for_is_told() {
    let mut rig = Rig::new(FsyncPolicy::Always);
    rig.disk.hold_syncs(true);
    rig.hand_over();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!rig.is_written());
    rig.disk.hold_syncs(false);
    rig.wait_written();
    let took = rig.longest(LatencyEvent::AofFsync);
    assert!(took.is_some_and(|ms| ms >= 50), "{took:?}");
    assert_eq!(rig.longest(LatencyEvent::AofWritePendingFsync), None);
    rig.journal.stop();
    rig.assert_durable();
}

#[test]
fn what_a_failed_sync_has_lost_is_written_again() {
    let mut rig = Rig::new(FsyncPolicy::EverySecond);
    rig.disk.forget(false);
    rig.disk.fail_syncs(true);
    (0..5).for_each(|_| rig.hand_over());
    wait_until("the sync fails", || rig.failing());
    // What was accepted before is still written.
    rig.hand_over();
    rig.wait_written();
    std::thread::sleep(Duration::from_millis(600));
    assert!(rig.failing());
    rig.disk.fail_syncs(false);
    wait_until("it has recovered", || !rig.failing());
    assert!(!rig.stats.rewrite_needed.load(Relaxed));
    rig.assert_durable();
}

#[test]
fn what_can_not_be_written_again_needs_a_rewrite() {
    let mut rig = Rig::new(FsyncPolicy::EverySecond);
    rig.disk.forget(true);
    rig.disk.fail_syncs(true);
    (0..5).for_each(|_| rig.hand_over());
    wait_until("it is lost", || rig.stats.rewrite_needed.load(Relaxed));
    rig.disk.fail_syncs(false);
    std::thread::sleep(Duration::from_millis(600));
    assert!(rig.failing(), "that syncs succeed again is not enough");
    // Who waits for the disk waits for the rewrite.
    rig.journal.ask_for_sync(0, 1);
    let (disk, journal) = (rig.disk.clone(), rig.journal.clone());
    let about = About {
        redis_version: "7.2.0",
        made_at: 0,
        used_memory: 0,
        functions: Vec::new(),
        sync_steps: true,
    };
    let purpose = move || Ok(Purpose::Base(Arc::new(disk), journal));
    let finished = |result: std::io::Result<u64>| assert!(result.is_ok(), "{result:?}");
    let saving = Saving::start(Box::new(purpose), 1, about, Box::new(finished));
    let saving = Arc::new(saving.expect("a thread"));
    rig.journal.switch(saving.clone());
    saving.has_functions(Vec::new());
    std::thread::sleep(Duration::from_millis(300));
    assert!(rig.failing() && rig.journal.synced(0) == 0);
    // What is there at the cut: nothing, for this test.
    rig.handed = 0;
    saving.done(0, corelane::rdb::VERSION);
    wait_until("it has recovered", || !rig.failing());
    wait_until("who waited hears of it", || rig.journal.synced(0) == 1);
    rig.hand_over();
    rig.journal.ask_for_sync(0, 2);
    wait_until("it is on disk", || rig.journal.synced(0) == 2);
    rig.assert_durable();
}

#[test]
fn the_policy_changes_between_rounds() {
    let mut rig = Rig::new(FsyncPolicy::No);
    rig.disk.hold_syncs(true);
    rig.hand_over();
    rig.wait_written();
    rig.journal.set_policy(FsyncPolicy::Always);
    rig.hand_over();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!rig.is_written(), "it waits for the disk");
    rig.disk.hold_syncs(false);
    rig.wait_written();
    // It was synced with all before it.
    let written = rig.handed;
    for policy in [FsyncPolicy::EverySecond, FsyncPolicy::No, FsyncPolicy::Always] {
        rig.journal.set_policy(policy);
        rig.hand_over();
        rig.wait_written();
    }
    assert_eq!(rig.handed, written + 3);
    rig.assert_durable();
}

#[test]
fn syncs_are_left_out_while_a_snapshot_is_written_if_that_is_wanted() {
    let mut rig = Rig::new(FsyncPolicy::Always);
    rig.disk.hold_syncs(true);
    rig.stats.saving.store(corelane::metrics::SAVING_SNAPSHOT, Relaxed);
    rig.journal.set_lenient(true);
    rig.hand_over();
    rig.wait_written();
    rig.stats.saving.store(corelane::metrics::SAVING_NOTHING, Relaxed);
    rig.hand_over();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!rig.is_written(), "the snapshot has ended");
    rig.disk.hold_syncs(false);
    rig.wait_written();
    rig.assert_durable();
}

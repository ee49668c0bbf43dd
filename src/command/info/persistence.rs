//! INFO's section on files.

use super::{Fields, SessionCx, sum};
use crate::metrics::{PersistStats, SAVING_NOTHING, SAVING_REWRITE};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn persistence(cx: &SessionCx, fields: &mut Fields) {
    let persist = &cx.env.persist;
    let since = persist.loading_since.load(Ordering::Relaxed);
    fields.add("loading", u8::from(since > 0));
    fields.add("async_loading", 0);
    // Nothing is forked: no pages are copied for snapshots.
    for name in ["current_cow_peak", "current_cow_size", "current_cow_size_age"] {
        fields.add(name, 0);
    }
    fields.add("current_fork_perc", "0.00");
    snapshots(cx, persist, fields);
    let appendonly = cx.env.config().appendonly;
    fields.add("aof_enabled", u8::from(appendonly));
    // In this order: what is not wanted any more is under way.
    let wanted = persist.wanted_saves.load(Ordering::Acquire);
    let appending_waits = persist.appending_waits.load(Ordering::Acquire);
    let saving = persist.saving.load(Ordering::Acquire);
    let is_due = appending_waits && saving != SAVING_REWRITE;
    fields.add("aof_rewrite_in_progress", u8::from(saving == SAVING_REWRITE));
    let scheduled = wanted & (1 << SAVING_REWRITE) != 0 || is_due;
    fields.add("aof_rewrite_scheduled", u8::from(scheduled));
    fields.add("aof_last_rewrite_time_sec", lasted(&persist.last_rewrite_seconds));
    fields.add("aof_current_rewrite_time_sec", since_begin(cx, saving == SAVING_REWRITE));
    let failed = persist.rewrite_failed.load(Ordering::Relaxed);
    fields.add("aof_last_bgrewrite_status", if failed { "err" } else { "ok" });
    fields.add("aof_rewrites", number(&persist.rewrites));
    fields.add("aof_rewrites_consecutive_failures", number(&persist.rewrites_failed));
    fields.add("aof_last_cow_size", 0);
    fields.add("module_fork_in_progress", 0);
    fields.add("module_fork_last_cow_size", 0);
    if appendonly {
        let failing = persist.is_failing();
        fields.add("aof_last_write_status", if failing { "err" } else { "ok" });
        fields.add("aof_current_size", number(&persist.size));
        fields.add("aof_base_size", number(&persist.base_size));
        fields.add("aof_pending_rewrite", 0);
        fields.add("aof_buffer_length", number(&persist.pending));
        fields.add("aof_pending_bio_fsync", u8::from(persist.syncing.load(Ordering::Relaxed)));
        fields.add("aof_delayed_fsync", number(&persist.delayed_syncs));
    }
    if since > 0 {
        loading(persist, cx.now - since, fields);
    }
}

/// Seconds since the snapshot under way was begun, if it is the one that is asked for.
fn since_begin(cx: &SessionCx, is_running: bool) -> i64 {
    let since = cx.env.persist.saving_since.load(Ordering::Relaxed);
    if is_running { (cx.now - since).max(0) / 1000 } else { -1 }
}

/// Seconds as INFO has them: -1 before the first time.
fn lasted(seconds: &AtomicU64) -> i64 {
    number(seconds) as i64 - 1
}

fn snapshots(cx: &SessionCx, persist: &PersistStats, fields: &mut Fields) {
    let saving = persist.saving.load(Ordering::Relaxed);
    let is_running = saving != SAVING_NOTHING;
    fields.add("current_save_keys_processed", number(&persist.saved_keys));
    fields.add("current_save_keys_total", number(&persist.saving_keys));
    let changes = sum(cx.env, |s| &s.changes);
    let changes = changes.saturating_sub(number(&persist.changes_at_save));
    fields.add("rdb_changes_since_last_save", changes);
    let snapshot = is_running && saving != SAVING_REWRITE;
    fields.add("rdb_bgsave_in_progress", u8::from(snapshot));
    let at = persist.last_save_at.load(Ordering::Relaxed);
    fields.add("rdb_last_save_time", if at > 0 { at } else { cx.env.started_at / 1000 });
    let failed = persist.save_failed.load(Ordering::Relaxed);
    fields.add("rdb_last_bgsave_status", if failed { "err" } else { "ok" });
    fields.add("rdb_last_bgsave_time_sec", lasted(&persist.last_save_seconds));
    fields.add("rdb_current_bgsave_time_sec", since_begin(cx, snapshot));
    fields.add("rdb_saves", number(&persist.saves));
    fields.add("rdb_last_cow_size", 0);
    fields.add("rdb_last_load_keys_expired", number(&persist.left_out_keys));
    fields.add("rdb_last_load_keys_loaded", number(&persist.loaded_keys));
}

fn number(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// How far loading is, after so many milliseconds.
fn loading(persist: &PersistStats, elapsed_ms: i64, fields: &mut Fields) {
    let (total, done) = (number(&persist.loading_bytes), number(&persist.loaded_bytes));
    let started = persist.loading_since.load(Ordering::Relaxed) / 1000;
    let left = (total.saturating_sub(done)) as f64 * elapsed_ms as f64;
    let eta = if done == 0 { 1.0 } else { left / done as f64 / 1000.0 };
    fields.add("loading_start_time", started);
    fields.add("loading_total_bytes", total);
    fields.add("loading_loaded_bytes", done);
    let percent = done as f64 * 100.0 / total.max(1) as f64;
    fields.add("loading_loaded_perc", format_args!("{percent:.2}"));
    fields.add("loading_eta_seconds", eta as u64);
}

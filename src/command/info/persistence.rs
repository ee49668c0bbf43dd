//! INFO's section on files.

use super::{Fields, SessionCx, sum};
use crate::metrics::PersistStats;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn persistence(cx: &SessionCx, fields: &mut Fields) {
    let persist = &cx.env.persist;
    let since = persist.loading_since.load(Ordering::Relaxed);
    fields.add("loading", u8::from(since > 0));
    fields.add("async_loading", 0);
    fields.add("rdb_changes_since_last_save", sum(cx.env, |s| &s.changes));
    fields.add("rdb_bgsave_in_progress", 0);
    fields.add("rdb_last_save_time", cx.env.started_at / 1000);
    fields.add("rdb_last_bgsave_status", "ok");
    fields.add("rdb_saves", 0);
    let appendonly = cx.env.config().appendonly;
    fields.add("aof_enabled", u8::from(appendonly));
    fields.add("aof_rewrite_in_progress", 0);
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

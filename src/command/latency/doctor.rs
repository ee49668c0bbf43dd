//! What took long, in words, with advice.

use crate::config::{FsyncPolicy, Values};
use crate::metrics::{LatencyEvent, LatencyEvents};

/// The report for a person.
pub fn report(events: &LatencyEvents, config: &Values, now_s: i64) -> String {
    let threshold = config.latency_monitor_threshold;
    if events.iter().len() == 0 {
        return match threshold {
            0 => "The latency monitor is off. Switch it on with 'CONFIG SET \
                  latency-monitor-threshold <milliseconds>' and ask again when there was some load.\n"
                .to_string(),
            _ => "Nothing has taken longer than latency-monitor-threshold: no latency spike was seen.\n"
                .to_string(),
        };
    }
    let mut text = "Latency spikes were seen:\n\n".to_string();
    let mut advice: Vec<String> = Vec::new();
    for (number, (event, series)) in events.iter().enumerate() {
        let summary = series.summary(now_s);
        text += &format!(
            "{}. {}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). \
             Worst all time event {}ms.\n",
            number + 1,
            event.name(),
            summary.samples,
            summary.mean_ms,
            summary.deviation_ms,
            summary.period_s,
            series.ms_max
        );
        for line in advice_on(event, config) {
            if !advice.contains(&line) {
                advice.push(line);
            }
        }
    }
    text += "\nWhat may help:\n\n";
    for line in advice {
        text += &format!("- {line}\n");
    }
    text
}

fn advice_on(event: LatencyEvent, config: &Values) -> Vec<String> {
    let slower_than = config.slowlog_log_slower_than;
    let threshold_us = config.latency_monitor_threshold.max(1).saturating_mul(1000);
    let set = format!("'CONFIG SET slowlog-log-slower-than {threshold_us}'");
    let line = |text: &str| text.to_string();
    match event {
        LatencyEvent::Command => {
            let log = match u64::try_from(slower_than) {
                Err(_) => Some(format!("The slow log is off; {set} has it name slow commands.")),
                Ok(limit) if limit > threshold_us => Some(format!(
                    "The slow log leaves out some of these commands; {set} adds them."
                )),
                Ok(_) => None,
            };
            log.into_iter()
                .chain([
                    line("SLOWLOG GET names the commands that took long."),
                    line(
                        "A command holds up all others on its shard. Ask for less at once: SCAN in \
                         place of KEYS, ranges in place of whole collections.",
                    ),
                ])
                .collect()
        }
        LatencyEvent::FastCommand => vec![
            line(
                "Commands that cannot take long did: their shard's core was taken away. Give the \
                 server cores of its own, and no more shards than cores.",
            ),
            line(
                "Look for other load on this machine, for noisy neighbours of a virtual one, and for \
                 swapping.",
            ),
        ],
        LatencyEvent::ExpireCycle => vec![line(
            "Many keys expire at once. Spread their expiry times, or lower active-expire-effort.",
        )],
        LatencyEvent::EvictionCycle => vec![line(
            "Much has to go at once to make room. Give the server more memory, or lower \
             maxmemory-eviction-tenacity.",
        )],
        LatencyEvent::CommandUnblocking => vec![line(
            "Clients that waited take much at once. Have them ask for less (COUNT), or push less at \
             a time.",
        )],
        LatencyEvent::AofWrite | LatencyEvent::AofWriteAlone => vec![line(
            "The disk is slow to take in writes. Give the data directory a disk of its own, not a \
             remote one.",
        )],
        LatencyEvent::AofWritePendingFsync => vec![line(
            "Writes wait while the disk syncs what was written before. Use a local SSD for the data \
             directory.",
        )],
        LatencyEvent::AofWriteActiveChild => vec![line(
            "A snapshot takes the disk's time. 'no-appendfsync-on-rewrite yes' leaves syncs out \
             meanwhile, and snapshot-max-cpu has snapshots go slower.",
        )],
        LatencyEvent::AofRename => vec![line(
            "It took long to name new files and to remove old ones. Look at the file system of the \
             data directory.",
        )],
        LatencyEvent::AofFsync => {
            let always = config.appendfsync == FsyncPolicy::Always;
            let relax = "With 'appendfsync everysec' writes do not wait for the disk's syncs.";
            let disk = "Syncs are slow: use a local SSD for the data directory.";
            always.then(|| line(relax)).into_iter().chain([line(disk)]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn advice_follows_what_was_seen_and_the_options() {
        let mut events = LatencyEvents::default();
        let mut config = Config::default();
        assert!(report(&events, &config, 100).starts_with("The latency monitor is off."));
        let mut set = |name: &str, value: &str| {
            let pairs = [(name.as_bytes().to_vec(), value.as_bytes().to_vec())];
            let change = config.prepare(&pairs, true).unwrap();
            config.commit(change);
        };
        set("latency-monitor-threshold", "5");
        assert!(report(&events, &config, 100).starts_with("Nothing has taken longer"));
        events.add(LatencyEvent::Command, 90, 12);
        events.add(LatencyEvent::Command, 95, 20);
        let text = report(&events, &config, 100);
        let line = "1. command: 2 latency spikes (average 16ms, mean deviation 4ms, period 5.00 sec). \
                    Worst all time event 20ms.\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("slowlog-log-slower-than 5000' adds them"));
        assert!(!text.contains("core was taken away"));
        events.add(LatencyEvent::FastCommand, 99, 6);
        assert!(report(&events, &config, 100).contains("2. fast-command: 1 latency spikes"));
        assert!(report(&events, &config, 100).contains("core was taken away"));
    }
}

//! INFO's sections on commands: how often they were called, how long they took, how they failed.

use super::{Fields, SessionCx, sum};
use crate::command::latency::{histograms, shown_name};
use crate::command::registry::CommandId;
use crate::metrics::ERROR_CODES;
use std::collections::BTreeMap;
use std::sync::PoisonError;

pub(super) fn commandstats(cx: &SessionCx, fields: &mut Fields) {
    for (name, stats) in command_totals(cx.env) {
        let CommandTotals { calls, ns, rejected, failed } = stats;
        let usec = ns / 1000;
        let each = if calls > 0 { ns as f64 / 1000.0 / calls as f64 } else { 0.0 };
        fields.add(
            format_args!("cmdstat_{name}"),
            format_args!(
                "calls={calls},usec={usec},usec_per_call={each:.2},rejected_calls={rejected},\
                 failed_calls={failed}"
            ),
        );
    }
}

/// What all shards have counted of a command.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandTotals {
    pub calls: u64,
    pub ns: u64,
    pub rejected: u64,
    pub failed: u64,
}

/// The commands that were asked for, by the name that clients know, in the order of the table.
pub fn command_totals(env: &super::Env) -> Vec<(&'static str, CommandTotals)> {
    let mut all: Vec<(&str, CommandTotals)> = Vec::new();
    for id in 0..env.registry.len() {
        let of = |counter: fn(&crate::metrics::CommandStats) -> &crate::metrics::Counter| {
            sum(env, |stats| counter(&stats.per_command[id]))
        };
        let more = CommandTotals {
            calls: of(|s| &s.calls),
            ns: of(|s| &s.ns),
            rejected: of(|s| &s.rejected),
            failed: of(|s| &s.failed),
        };
        if more.calls + more.rejected + more.failed == 0 {
            continue;
        }
        let name = shown_name(env.registry.command(CommandId(id as u16)));
        match all.iter_mut().find(|(own, _)| *own == name) {
            None => all.push((name, more)),
            Some((_, totals)) => {
                totals.calls += more.calls;
                totals.ns += more.ns;
                totals.rejected += more.rejected;
                totals.failed += more.failed;
            }
        }
    }
    all
}

pub(super) fn latencystats(cx: &SessionCx, fields: &mut Fields) {
    let percentiles = cx.env.config().latency_tracking_info_percentiles.0.clone();
    for (name, sum) in histograms(cx.env) {
        let shown =
            percentiles.iter().map(|p| format!("p{p}={:.3}", sum.percentile(*p) as f64 / 1000.0));
        let shown = shown.collect::<Vec<_>>().join(",");
        fields.add(format_args!("latency_percentiles_usec_{name}"), shown);
    }
}

pub(super) fn errorstats(cx: &SessionCx, fields: &mut Fields) {
    for (code, count) in error_totals(cx.env) {
        fields.add(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// The error replies of all shards, by code.
pub fn error_totals(env: &super::Env) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (at, code) in ERROR_CODES.iter().chain(&["other"]).enumerate() {
        counts.insert(code.to_string(), sum(env, |s| &s.per_error[at]));
    }
    for stats in &env.stats {
        let others = stats.other_errors.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, count) in others.iter() {
            // A client has made it up: it must stay on its line.
            let clean = |c: char| if c.is_control() || c == ':' || c == '=' { '_' } else { c };
            let code: String = String::from_utf8_lossy(code).chars().map(clean).collect();
            *counts.entry(code).or_default() += count;
        }
    }
    counts.retain(|_, count| *count > 0);
    counts
}

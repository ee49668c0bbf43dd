//! The figures of a run, as a table for people and as JSON for scripts.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::clock;
use crate::options::Options;
use crate::reply::ReplyCounts;
use crate::server::ServerSample;
use crate::worker::Outcome;

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

pub struct Report {
    pub load: String,
    pub elapsed_ns: u64,
    pub requests: u64,
    pub replies: ReplyCounts,
    pub unserved: u64,
    pub first_error: Option<String>,
    pub latency: Histogram<u64>,
    pub generator_cpu_ns: u64,
    pub server: Option<ServerCost>,
}

pub struct ServerCost {
    pub cpu_ns: u64,
    pub rss_before_kib: u64,
    pub rss_kib: u64,
    pub rss_peak_kib: u64,
}

impl ServerCost {
    pub fn between(before: &ServerSample, after: &ServerSample) -> ServerCost {
        ServerCost {
            cpu_ns: after.cpu_ns_since(before),
            rss_before_kib: before.rss_kib,
            rss_kib: after.rss_kib,
            rss_peak_kib: after.rss_peak_kib,
        }
    }
}

impl Report {
    /// Adds up the threads' outcomes.
    pub fn new(
        load: String,
        outcomes: Vec<Outcome>,
        elapsed_ns: u64,
        generator_cpu_ns: u64,
        server: Option<ServerCost>,
    ) -> Result<Report, String> {
        let mut report = Report {
            load,
            elapsed_ns,
            requests: 0,
            replies: ReplyCounts::default(),
            unserved: 0,
            first_error: None,
            latency: Histogram::new(3).map_err(|e| e.to_string())?,
            generator_cpu_ns,
            server,
        };
        for outcome in outcomes {
            report.requests += outcome.requests;
            report.replies.replies += outcome.replies.replies;
            report.replies.errors += outcome.replies.errors;
            report.replies.nulls += outcome.replies.nulls;
            report.unserved += outcome.unserved;
            report.first_error = report.first_error.take().or(outcome.first_error);
            report.latency.add(&outcome.latency).map_err(|e| e.to_string())?;
        }
        Ok(report)
    }

    fn throughput(&self) -> f64 {
        self.requests as f64 / clock::seconds(self.elapsed_ns.max(1))
    }

    fn us_per_request(&self, ns: u64) -> f64 {
        ns as f64 / 1e3 / self.requests.max(1) as f64
    }

    fn latency_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    fn cores(&self, ns: u64) -> f64 {
        ns as f64 / self.elapsed_ns.max(1) as f64
    }

    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.load);
        let mut row = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<16}{value}");
        };
        row("requests", format!("{} in {:.3} s", self.requests, clock::seconds(self.elapsed_ns)));
        row("throughput", format!("{:.0} /s", self.throughput()));
        let quantiles = QUANTILES.map(|(name, q)| format!("{name} {:.1}", self.latency_us(q)));
        let max = self.latency.max() as f64 / 1e3;
        row("latency us", format!("{}  max {max:.1}", quantiles.join("  ")));
        let ReplyCounts { replies, errors, nulls } = self.replies;
        row("replies", format!("{replies}, {errors} errors, {nulls} nulls"));
        if let Some(error) = &self.first_error {
            row("first error", error.clone());
        }
        if self.unserved > 0 {
            row("unserved", format!("{} requests were due and never sent", self.unserved));
        }
        let mut cost = |name: &str, ns: u64| {
            let (us, cores) = (self.us_per_request(ns), self.cores(ns));
            row(name, format!("{us:.3} us/request, {cores:.2} cores"));
        };
        if let Some(server) = &self.server {
            cost("server CPU", server.cpu_ns);
        }
        cost("generator CPU", self.generator_cpu_ns);
        if let Some(server) = &self.server {
            let mib = |kib: u64| kib as f64 / 1024.0;
            let (before, after) = (mib(server.rss_before_kib), mib(server.rss_kib));
            let peak = mib(server.rss_peak_kib);
            row("server RSS", format!("{before:.1} -> {after:.1} MiB, peak {peak:.1} MiB"));
        }
        text
    }

    pub fn json(&self) -> String {
        let mut fields = vec![
            ("load", quoted(&self.load)),
            ("seconds", format!("{:.6}", clock::seconds(self.elapsed_ns))),
            ("requests", self.requests.to_string()),
            ("throughput", format!("{:.1}", self.throughput())),
        ];
        for ((_, q), name) in QUANTILES.into_iter().zip(["p50_us", "p99_us", "p999_us"]) {
            fields.push((name, format!("{:.3}", self.latency_us(q))));
        }
        fields.extend([
            ("max_us", format!("{:.3}", self.latency.max() as f64 / 1e3)),
            ("mean_us", format!("{:.3}", self.latency.mean() / 1e3)),
            ("replies", self.replies.replies.to_string()),
            ("errors", self.replies.errors.to_string()),
            ("nulls", self.replies.nulls.to_string()),
            ("first_error", self.first_error.as_deref().map_or("null".into(), quoted)),
            ("unserved", self.unserved.to_string()),
            ("generator_cpu_us", format!("{:.4}", self.us_per_request(self.generator_cpu_ns))),
        ]);
        if let Some(server) = &self.server {
            fields.extend([
                ("server_cpu_us", format!("{:.4}", self.us_per_request(server.cpu_ns))),
                ("server_cores", format!("{:.4}", self.cores(server.cpu_ns))),
                ("rss_before_kib", server.rss_before_kib.to_string()),
                ("rss_kib", server.rss_kib.to_string()),
                ("rss_peak_kib", server.rss_peak_kib.to_string()),
            ]);
        }
        let fields: Vec<_> = fields.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}\n", fields.join(","))
    }
}

/// One line that says what was run.
pub fn describe(options: &Options, templates: &[String], shards: usize) -> String {
    let loop_kind = match options.rate {
        Some(rate) => format!("open loop at {rate} /s"),
        None => "closed loop".into(),
    };
    let keys = match options.load {
        true => format!("{} keys once", options.keys),
        false => format!("{} keys {}", options.keys, options.distribution),
    };
    let cluster = if options.cluster { format!(", {shards} shards") } else { String::new() };
    format!(
        "{}:{}{cluster}: {} threads, {} clients, pipeline {}, {loop_kind}, {keys}, {} bytes: {}",
        options.host,
        options.port,
        options.threads,
        options.clients,
        options.pipeline,
        options.data_size,
        templates.join(" | "),
    )
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let outcome = |value, requests, errors| {
            let mut latency = Histogram::new(3).unwrap();
            latency.record_n(value, requests).unwrap();
            let replies = ReplyCounts { replies: requests, errors, nulls: 0 };
            let first_error = (errors > 0).then(|| "ERR \"x\"\n".to_string());
            Outcome { requests, replies, latency, unserved: 1, first_error }
        };
        let cost =
            ServerCost { cpu_ns: 400_000, rss_before_kib: 1024, rss_kib: 2048, rss_peak_kib: 2048 };
        let outcomes = vec![outcome(10_000, 100, 0), outcome(90_000, 100, 2)];
        Report::new("load".into(), outcomes, 1_000_000_000, 100_000, Some(cost)).unwrap()
    }

    #[test]
    fn threads_add_up() {
        let json = report().json();
        for part in [
            "\"requests\":200,",
            "\"throughput\":200.0,",
            "\"errors\":2,",
            "\"unserved\":2,",
            "\"server_cpu_us\":2.0000,",
            "\"generator_cpu_us\":0.5000,",
            "\"first_error\":\"ERR \\\"x\\\"\\u000a\",",
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
    }

    #[test]
    fn the_table_names_what_went_wrong() {
        let table = report().table();
        assert!(table.contains("2 errors") && table.contains("ERR"), "{table}");
        assert!(table.contains("never sent") && table.contains("2.000 us/request"), "{table}");
    }
}

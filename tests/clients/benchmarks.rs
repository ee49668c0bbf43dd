//! redis-benchmark and memtier_benchmark in short: that they run to their end without an error and
//! that what they report and what the server counted is what they were asked to do.

use super::run::{installed, run};
use crate::harness::process::is_stand_in;
use crate::harness::{Reply, Server};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

fn redis_benchmark(server: &Server, args: &[&str]) -> String {
    let port = server.port.to_string();
    let text = run("redis-benchmark", &[&["-p", &port, "-q"], args].concat(), b"", LIMIT).ok();
    assert!(!text.contains("rror"), "{text}");
    text
}

/// The requests per second that a quiet report gives for a test.
fn rate(report: &str, test: &str) -> f64 {
    let wanted =
        |l: &&str| l.starts_with(&format!("{test}: ")) && l.contains("requests per second");
    let line = report.split(['\r', '\n']).rfind(wanted);
    let line = line.unwrap_or_else(|| panic!("no {test} in\n{report}"));
    line[test.len() + 2..].split(' ').next().unwrap_or_default().parse().expect("a rate")
}

fn calls(server: &Server, command: &str) -> u64 {
    let stat = server.info(&format!("cmdstat_{command}")).unwrap_or_default();
    let calls = stat.split(',').find_map(|f| f.strip_prefix("calls="));
    calls.map_or(0, |n| n.parse().expect("a count"))
}

#[test]
fn redis_benchmark_defaults_for_strings() {
    let server = Server::corelane(3);
    let report = redis_benchmark(&server, &["-n", "10000", "-t", "ping,set,get,incr,mset"]);
    for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
        assert!(rate(&report, test) > 100.0, "{report}");
    }
    for (command, count) in [("set", 10_000), ("get", 10_000), ("incr", 10_000), ("mset", 10_000)] {
        assert!(calls(&server, command) >= count, "{command}: {}", calls(&server, command));
    }
    assert_eq!(server.client().run("GET counter:__rand_int__").text(), "10000");
}

#[test]
fn redis_benchmark_with_pipelines_threads_and_random_keys() {
    let server = Server::corelane(3);
    let report = redis_benchmark(
        &server,
        &[
            "-n",
            "50000",
            "-t",
            "set,get,mset",
            "-P",
            "16",
            "-c",
            "50",
            "-r",
            "100000",
            "-d",
            "64",
            "--threads",
            "2",
        ],
    );
    for test in ["SET", "GET", "MSET (10 keys)"] {
        assert!(rate(&report, test) > 100.0, "{report}");
    }
    let keys = server.client().run("DBSIZE").int();
    assert!((60_000..=100_000).contains(&keys), "{keys} keys");
    assert_eq!(server.client().run("STRLEN key:000000000001").int() % 64, 0);
    redis_benchmark(&server, &["-n", "5000", "-3", "-c", "10", "SET", "k:__rand_int__", "v"]);
    redis_benchmark(&server, &["-n", "5000", "-k", "0", "-c", "10", "-t", "ping"]);
}

/// The `Totals` row: operations, hits and misses per second.
fn memtier_totals(text: &str) -> Vec<f64> {
    let row = text
        .lines()
        .find(|l| l.starts_with("Totals"))
        .unwrap_or_else(|| panic!("no totals in\n{text}"));
    row.split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect()
}

fn memtier(port: u16, args: &[&str]) -> String {
    let port = port.to_string();
    let text =
        run("memtier_benchmark", &[&["-p", &port, "--hide-histogram"], args].concat(), b"", LIMIT)
            .ok();
    for bad in ["rror response", "connection error", "Connection error", "dropped"] {
        assert!(!text.contains(bad) || text.contains("0 connection errors"), "{text}");
    }
    text
}

fn without_memtier() -> bool {
    let missing = !installed("memtier_benchmark");
    if missing {
        println!("memtier_benchmark is not installed: not run");
    }
    missing
}

#[test]
fn memtier_defaults() {
    if without_memtier() {
        return;
    }
    let server = Server::corelane(3);
    // The default run of 200 connections and a ratio of 1:10, with fewer requests by each.
    let text = memtier(server.port, &["-n", "200"]);
    assert!(memtier_totals(&text)[0] > 100.0, "{text}");
    let (sets, gets) = (calls(&server, "set"), calls(&server, "get"));
    assert_eq!(sets + gets, 200 * 200, "{sets} sets, {gets} gets");
    assert!(gets > 8 * sets && gets <= 11 * sets, "{sets} sets, {gets} gets");
}

#[test]
fn memtier_protocols_pipelines_and_verification() {
    if without_memtier() {
        return;
    }
    let server = Server::corelane(3);
    for protocol in ["resp2", "resp3"] {
        let args = [
            "-P",
            protocol,
            "-n",
            "2000",
            "-c",
            "5",
            "-t",
            "2",
            "--pipeline",
            "16",
            "-d",
            "100",
            "--key-maximum",
            "5000",
        ];
        assert!(memtier_totals(&memtier(server.port, &args))[0] > 100.0);
    }
    let load = [
        "-c",
        "1",
        "-t",
        "1",
        "-n",
        "allkeys",
        "--ratio",
        "1:0",
        "--key-pattern",
        "P:P",
        "--key-maximum",
        "3000",
    ];
    memtier(server.port, &load);
    let expiring = ["-n", "500", "-c", "2", "-t", "1", "--expiry-range", "50-60", "--ratio", "1:1"];
    memtier(server.port, &expiring);
    assert!(calls(&server, "setex") > 0);
    let reads = [
        "-c",
        "2",
        "-t",
        "1",
        "-n",
        "1000",
        "--ratio",
        "0:1",
        "--key-maximum",
        "3000",
        "--key-minimum",
        "1",
    ];
    let totals = memtier_totals(&memtier(server.port, &reads));
    assert!(totals[2] == 0.0 && totals[1] > 0.0, "misses: {totals:?}");
}

#[test]
fn memtier_in_cluster_mode_goes_to_the_shards_ports() {
    if without_memtier() || is_stand_in() {
        return;
    }
    let server = Server::corelane_with(3, &["--cluster-mode", "emulated"]);
    let text = memtier(
        server.port,
        &["--cluster-mode", "-n", "500", "-c", "4", "-t", "2", "--key-maximum", "10000"],
    );
    let totals = memtier_totals(&text);
    assert!(totals[0] > 100.0, "{text}");
    let moved = text.lines().find(|l| l.starts_with("Totals")).unwrap_or_default();
    println!("{moved}");
    // Ops, hits, misses, then MOVED and ASK per second.
    assert!(totals[3] == 0.0 && totals[4] == 0.0, "{text}");
    assert_eq!(
        server.client().run("DBSIZE"),
        Reply::Int(server.client().run("KEYS *").items().len() as i64)
    );
}

//! LATENCY, INFO latencystats and commandstats: shapes as redis-server's, with what was measured.

use crate::harness::pair::everywhere;
use crate::harness::{Cmd, Reply, Server, parse_line, wait_until};
use std::time::Duration;

#[test]
fn shapes_and_errors_are_redis() {
    everywhere(
        r#"
        CONFIG GET latency-*
        CONFIG SET latency-monitor-threshold -1
        CONFIG SET latency-tracking maybe
        CONFIG SET latency-tracking-info-percentiles "10 x"
        CONFIG SET latency-tracking-info-percentiles "10 101"
        CONFIG SET latency-tracking-info-percentiles "0.0 50.0 100.0"
        CONFIG GET latency-tracking-info-percentiles
        CONFIG SET latency-tracking-info-percentiles ""
        CONFIG GET latency-tracking-info-percentiles
        CONFIG SET latency-tracking-info-percentiles "50 99 99.9"
        LATENCY LATEST
        LATENCY HISTORY command
        LATENCY HISTORY nosuch
        LATENCY GRAPH command
        LATENCY GRAPH nosuch
        LATENCY RESET
        LATENCY RESET command nosuch
        LATENCY HISTOGRAM nosuch
        LATENCY HISTOGRAM
        LATENCY NOSUCH
        LATENCY GRAPH
        LATENCY HISTORY
        LATENCY LATEST x
        LATENCY DOCTOR x
        LATENCY
        "#
        .replace("\n        LATENCY HISTOGRAM\n", "\n")
        .as_str(),
    );
}

/// `name=value` pairs of a line of INFO.
fn pairs(server: &Server, field: &str) -> Vec<(String, f64)> {
    let section = match field.starts_with("cmdstat_") {
        true => "commandstats",
        false => "latencystats",
    };
    let info = server.client().run(&format!("INFO {section}")).text();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    let pairs = line.unwrap_or_default().split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_string(), value.parse().expect("a number"))).collect()
}

#[test]
fn histograms_count_every_call_once() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        client.run("CONFIG RESETSTAT");
        let requests: Vec<Cmd> = (0..100).map(|n| Cmd::new(["GET", &format!("k{n}")])).collect();
        client.pipeline(&requests).expect("replies");
        client.run("MGET a b c d e f");
        client.run("MGET a b");
        client.run("DEBUG SLEEP 0.01");
        client.run("CLIENT ID");
        client.run("EVAL \"return redis.call('SET','k','v')\" 0");
        let map = client.run("LATENCY HISTOGRAM get mget client debug set eval");
        let fields = map.items();
        let names: Vec<String> = fields.iter().step_by(2).map(Reply::text).collect();
        assert_eq!(names, ["get", "mget", "client|id", "debug", "set", "eval"], "{shards}");
        let calls = |at: usize| fields[2 * at + 1].items()[1].int();
        assert_eq!([0, 1, 2, 3, 4, 5].map(calls), [100, 2, 1, 1, 1, 1], "{shards} shards");
        for at in 0..6 {
            let steps = fields[2 * at + 1].items()[3].items();
            let numbers: Vec<i64> = steps.iter().map(Reply::int).collect();
            let (times, counts): (Vec<_>, Vec<_>) =
                numbers.as_chunks::<2>().0.iter().map(|pair| (pair[0], pair[1])).unzip();
            assert!(times.is_sorted() && counts.is_sorted(), "{numbers:?}");
            assert_eq!(counts.last(), Some(&calls(at)));
        }
        for (name, count) in
            [("get", 100.0), ("mget", 2.0), ("debug", 1.0), ("config|resetstat", 1.0)]
        {
            let stats = pairs(&server, &format!("cmdstat_{name}"));
            assert_eq!(stats[0], ("calls".to_string(), count), "{name} on {shards} shards");
            assert_eq!(
                stats.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                ["calls", "usec", "usec_per_call", "rejected_calls", "failed_calls"]
            );
            assert!((stats[2].1 - stats[1].1 / count).abs() <= 1.0, "{stats:?}");
        }
        let sleep = pairs(&server, "latency_percentiles_usec_debug");
        assert_eq!(sleep[0].0, "p50");
        assert!(sleep[0].1 >= 10_000.0 && sleep[0].1 < 5_000_000.0, "{sleep:?}");
    }
}

#[test]
fn histograms_can_be_switched_off_and_reset() {
    let server = Server::corelane(3);
    let mut client = server.client();
    client.run("CONFIG RESETSTAT");
    client.run("CONFIG SET latency-tracking no");
    client.run("SET a b");
    assert!(client.run("LATENCY HISTOGRAM set").items().is_empty());
    assert_eq!(pairs(&server, "cmdstat_set")[0].1, 1.0);
    client.run("CONFIG SET latency-tracking yes");
    client.run("CONFIG SET latency-tracking-info-percentiles \"0 100\"");
    client.run("SET a b");
    let names: Vec<String> =
        pairs(&server, "latency_percentiles_usec_set").into_iter().map(|pair| pair.0).collect();
    assert_eq!(names, ["p0", "p100"]);
    client.run("CONFIG RESETSTAT");
    assert!(pairs(&server, "latency_percentiles_usec_set").is_empty());
    assert!(client.run("LATENCY HISTOGRAM set").items().is_empty());
}

#[test]
fn events_are_remembered_from_the_threshold_on() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        client.run("DEBUG SLEEP 0.03");
        assert!(client.run("LATENCY LATEST").items().is_empty());
        client.run("CONFIG SET latency-monitor-threshold 20");
        client.run("DEBUG SLEEP 0.03");
        std::thread::sleep(Duration::from_millis(1100));
        client.run("DEBUG SLEEP 0.05");
        let latest = client.run("LATENCY LATEST");
        let command = latest.items().iter().find(|event| event.items()[0].text() == "command");
        let command = command.expect("an event").items();
        assert!((50..5000).contains(&command[2].int()) && command[3].int() >= command[2].int());
        let history = client.run("LATENCY HISTORY command");
        assert!(history.items().len() >= 2, "{history:?}");
        let graph = client.run("LATENCY GRAPH command").text();
        assert!(graph.starts_with("command - high "), "{graph}");
        assert!(client.run("LATENCY DOCTOR").text().contains(". command: "));
        assert!(client.run("LATENCY RESET").int() >= 1);
        assert!(client.run("LATENCY LATEST").items().is_empty());
    }
}

#[test]
fn an_exec_that_is_refused_has_failed() {
    let server = Server::corelane(3);
    let mut client = server.client();
    client.run("MULTI");
    client.run("SET");
    assert!(client.run("EXEC").text().starts_with("EXECABORT"));
    let stats = pairs(&server, "cmdstat_exec");
    assert_eq!((stats[0].1, stats[3].1, stats[4].1), (1.0, 0.0, 1.0), "{stats:?}");
}

fn events(server: &Server) -> Vec<String> {
    let latest = server.client().run("LATENCY LATEST");
    latest.items().iter().map(|event| event.items()[0].text()).collect()
}

#[test]
fn evictions_and_those_who_waited_are_told_of() {
    for shards in [1, 3] {
        let args = "--maxmemory-policy allkeys-random --maxmemory-eviction-tenacity 100";
        let args: Vec<&str> = args.split(' ').collect();
        let server = Server::corelane_with(shards, &args);
        let mut client = server.client();
        client.run("CONFIG SET latency-monitor-threshold 1");
        for thousand in 0..100 {
            let pairs = (0..1000).flat_map(|n| [format!("key:{thousand}:{n}"), "value".into()]);
            client.call(&Cmd::new(["MSET".to_string()].into_iter().chain(pairs)));
        }
        client.run("CONFIG SET maxmemory 4mb");
        wait_until("evictions took long", || events(&server).contains(&"eviction-cycle".into()));
        client.run("CONFIG SET maxmemory 0");
        let mut waiter = server.client();
        waiter.send(&parse_line("BLMPOP 0 1 list LEFT COUNT 200000")).expect("sent");
        server.wait_info("blocked_clients", "1");
        let values = (0..200_000).map(|n| n.to_string());
        let push = Cmd::new(["RPUSH".to_string(), "list".to_string()].into_iter().chain(values));
        assert_eq!(client.call(&push).int(), 200_000);
        assert_eq!(waiter.recv().expect("a reply").items()[1].items().len(), 200_000);
        assert!(events(&server).contains(&"command-unblocking".into()), "{:?}", events(&server));
        let advice = client.run("LATENCY DOCTOR").text();
        assert!(advice.contains(". eviction-cycle: ") && advice.contains(". command-unblocking: "));
    }
}

#[test]
fn the_journal_tells_what_took_it_long() {
    for shards in [1, 3] {
        // Beside a rewrite or a sync the writes would be told of as such.
        let args = "--appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0";
        let args: Vec<&str> = args.split(' ').collect();
        let server = Server::corelane_with(shards, &args);
        let mut client = server.client();
        // Even the page cache does not take so much in a millisecond.
        let value = "x".repeat(40 << 20);
        let set = Cmd::new(["SET", "k", &value]);
        assert_eq!(client.call(&set).text(), "OK");
        assert!(events(&server).is_empty(), "it is off");
        client.run("CONFIG SET latency-monitor-threshold 1");
        assert_eq!(client.call(&set).text(), "OK");
        let found = events(&server);
        for name in ["aof-write", "aof-write-alone"] {
            assert!(found.iter().any(|own| own == name), "{name} in {found:?}, {shards} shards");
        }
        assert!(client.run("LATENCY DOCTOR").text().contains(". aof-write-alone: "));
    }
}

#[test]
fn hot_keys_are_found_on_their_shards() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        assert!(client.run("HOTKEYS GET").is_error());
        client.run("CONFIG SET hot-keys-sampling 1");
        for n in 0..300 {
            client.run(&format!("GET cold-{n}"));
            client.run("INCR hot-1");
            client.run("MGET hot-2 x");
        }
        let top = client.run("HOTKEYS GET 2");
        let uses = |name: &str| {
            let found = top.items().iter().find(|key| key.items()[0].text() == name);
            found.map_or(0, |key| key.items()[2].int())
        };
        assert!((300..=700).contains(&uses("hot-1")), "{shards} shards: {top:?}");
        assert!((300..=700).contains(&uses("hot-2")), "{shards} shards: {top:?}");
        client.run("HOTKEYS RESET");
        assert!(client.run("HOTKEYS GET").items().is_empty());
        client.run("CONFIG SET hot-keys-sampling 0");
        assert!(client.run("HOTKEYS GET").is_error());
    }
}

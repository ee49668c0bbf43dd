//! SCAN's options and its guarantee: a key that is there throughout is returned.

use crate::harness::pair::{everywhere, everywhere_with};
use crate::harness::{Client, Cmd, Reply, Server};
use std::collections::BTreeMap;

#[test]
fn options() {
    everywhere_with(&[], |both| {
        for i in 0..300 {
            both.script(&format!("SET key:{i} {i}"));
        }
        both.script(
            "SCAN 0\nSCAN 0 COUNT 1\nSCAN 0 COUNT 1000000\nSCAN 0 MATCH key:1*\nSCAN 0 MATCH nothing*
            SCAN 0 MATCH key:1? COUNT 5\nSCAN 0 TYPE string\nSCAN 0 TYPE hash\nSCAN 0 TYPE STRING
            SCAN 0 TYPE string MATCH key:2*\nSCAN 0 match key:3* type string count 7",
        );
    });
}

#[test]
fn refusals() {
    everywhere(
        r#"
        SCAN
        SCAN abc
        SCAN 1.5
        SCAN 0 COUNT 0
        SCAN 0 COUNT -1
        SCAN 0 COUNT abc
        SCAN 0 COUNT
        SCAN 0 MATCH
        SCAN 0 FOO
        SCAN 0 FOO bar
        SCAN 99999999999999999999999
        "#,
    );
}

/// One page; the cursor must be the decimal text of a u64.
fn page(client: &mut Client, cursor: u64, count: u32) -> (u64, Vec<String>) {
    let reply = client.run(&format!("SCAN {cursor} COUNT {count}"));
    let cursor = reply.items()[0].text().parse().expect("a decimal cursor");
    (cursor, reply.items()[1].items().iter().map(Reply::text).collect())
}

fn set(range: std::ops::Range<u32>, name: &str) -> Vec<Cmd> {
    range.map(|i| Cmd::new(["SET".to_string(), format!("{name}:{i}"), "v".to_string()])).collect()
}

/// The table grows from 2,000 to 60,000 keys and shrinks again while the scan runs.
#[test]
fn what_stays_is_returned_while_others_come_and_go() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut scanner = server.client();
        let mut writer = server.client();
        writer.pipeline(&set(0..2_000, "stays")).unwrap();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let (mut cursor, mut round) = (0, 0);
        loop {
            let (next, keys) = page(&mut scanner, cursor, 20);
            keys.into_iter().for_each(|k| *seen.entry(k).or_default() += 1);
            if round < 58 {
                writer.pipeline(&set(round * 1_000..(round + 1) * 1_000, "comes")).unwrap();
            } else if round < 100 {
                let goes = (0..1_000).map(|i| format!("comes:{}", (round - 58) * 1_000 + i));
                writer.call(&Cmd::new(std::iter::once("DEL".to_string()).chain(goes)));
            }
            round += 1;
            cursor = next;
            if cursor == 0 {
                break;
            }
            assert!(round < 100_000, "the scan never comes to an end");
        }
        let missing = (0..2_000).filter(|i| !seen.contains_key(&format!("stays:{i}"))).count();
        assert_eq!(missing, 0, "with {shards} shards, in {round} pages");
        let strange = seen.keys().find(|k| !k.starts_with("stays:") && !k.starts_with("comes:"));
        assert_eq!(strange, None);
        let twice = seen.values().filter(|&&n| n > 1).count();
        println!("{shards} shards: {round} pages, {} keys, {twice} returned twice", seen.len());
    }
}

/// Without changes each key comes exactly once, whatever COUNT says, and pages stay near COUNT: the
/// rest of one shard and a page of the next may come together.
#[test]
fn a_quiet_scan_returns_each_key_once() {
    let server = Server::corelane(3);
    let mut client = server.client();
    client.pipeline(&set(0..20_000, "key")).unwrap();
    for count in [1, 10, 100, 5_000, 100_000] {
        let (mut cursor, mut keys, mut largest, mut pages) = (0, Vec::new(), 0, 0u32);
        loop {
            let (next, found) = page(&mut client, cursor, count);
            largest = largest.max(found.len());
            keys.extend(found);
            cursor = next;
            pages += 1;
            if cursor == 0 {
                break;
            }
        }
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!((all, keys.len()), (20_000, 20_000), "COUNT {count}, {pages} pages");
        assert!(largest <= 2 * count as usize + 256, "COUNT {count}: a page of {largest}");
    }
}

//! What the comparison with redis-server cannot see: waiting, the clock, what is newer than it.

use crate::command::execute;
use crate::command::spec::Run;
use crate::command::testing::{Bench, with_args};
use crate::data::Type;
use crate::resp::Protocol;
use crate::shard::{TimedOut, Wait};

/// Runs a command of a client that may be kept waiting.
fn run_waiting(bench: &mut Bench, words: &str) -> (String, Option<Wait>) {
    let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
    with_args(&words, |args| {
        let id = bench.registry.find(&args).expect("a known command");
        let Run::Shard(handler) = bench.registry.command(id).run else { panic!("no handler") };
        let mut out = Vec::new();
        let caller = crate::command::Caller { may_wait: true, ..bench.caller };
        let (registry, shard, now) = (&bench.registry, &mut bench.shard, bench.now);
        let wait = execute(registry, shard, (id, handler), args, caller, now, &mut out);
        (String::from_utf8_lossy(&out).into_owned(), wait)
    })
}

fn words(line: &str) -> Option<Vec<Vec<u8>>> {
    Some(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

#[test]
fn a_reader_waits_for_what_comes_behind_the_ids_it_saw() {
    let mut bench = Bench::new();
    bench.run("XADD a 5-1 f v");
    let (reply, wait) = run_waiting(&mut bench, "XREAD BLOCK 250 COUNT 2 STREAMS a b 5-1 $");
    assert_eq!(reply, "");
    let wait = wait.unwrap();
    assert_eq!(wait.until, Some(bench.now + 250));
    assert_eq!((wait.keys.clone(), wait.kind), (6..8, Type::Stream));
    assert_eq!(wait.retry, words("XREAD BLOCK 250 COUNT 2 STREAMS a b 5-1 0-0"));
    assert_eq!(wait.timed_out, TimedOut::NullArray);
    // 0 is for ever, and a request without `$` is tried again as it is.
    let (_, wait) = run_waiting(&mut bench, "XREAD BLOCK 0 STREAMS a 5-1");
    let wait = wait.unwrap();
    assert_eq!((wait.until, wait.retry), (None, None));
    let (_, wait) = run_waiting(&mut bench, "XREAD BLOCK 0 STREAMS a $");
    assert_eq!(wait.unwrap().retry, words("XREAD BLOCK 0 STREAMS a 5-1"));
    // The last entry is there or, when it was deleted, the next one is waited for.
    let (reply, wait) = run_waiting(&mut bench, "XREAD BLOCK 0 STREAMS a +");
    assert_eq!((reply.contains("5-1"), wait), (true, None));
    bench.run("XDEL a 5-1");
    let (_, wait) = run_waiting(&mut bench, "XREAD BLOCK 0 STREAMS a +");
    assert_eq!(wait.unwrap().retry, words("XREAD BLOCK 0 STREAMS a 5-0"));
}

#[test]
fn a_group_waits_for_new_entries_only() {
    let mut bench = Bench::new();
    bench.run("XGROUP CREATE a g $ MKSTREAM");
    let (reply, wait) =
        run_waiting(&mut bench, "XREADGROUP GROUP g c BLOCK 7 NOACK STREAMS a a > >");
    assert_eq!(reply, "");
    let wait = wait.unwrap();
    assert_eq!((wait.keys, wait.retry, wait.until), (8..10, None, Some(bench.now + 7)));
    let (reply, wait) = run_waiting(&mut bench, "XREADGROUP GROUP g c BLOCK 7 STREAMS a 0");
    assert_eq!((reply.as_str(), wait), ("*1\r\n*2\r\n$1\r\na\r\n*0\r\n", None));
    // The consumer was made by waiting.
    assert_eq!(bench.run("XGROUP CREATECONSUMER a g c"), ":0\r\n");
    let (reply, wait) = run_waiting(&mut bench, "XREADGROUP GROUP h c BLOCK 7 STREAMS a >");
    let gone = "-NOGROUP No such key 'a' or consumer group 'h' in XREADGROUP with GROUP option\r\n";
    assert_eq!((reply.as_str(), wait), (gone, None));
}

#[test]
fn who_may_not_wait_is_told_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("XREAD BLOCK 0 STREAMS a $"), "*-1\r\n");
    bench.caller.protocol = Protocol::Resp3;
    assert_eq!(bench.run("XREAD BLOCK 10 STREAMS a $"), "_\r\n");
    let far = format!("XREAD BLOCK {} STREAMS a $", i64::MAX);
    assert_eq!(bench.run(&far), "-ERR timeout is out of range\r\n");
    assert_eq!(bench.run("XREAD BLOCK -1 STREAMS a $"), "-ERR timeout is negative\r\n");
    let text = "-ERR timeout is not an integer or out of range\r\n";
    assert_eq!(bench.run("XREAD BLOCK 1.5 STREAMS a $"), text);
}

#[test]
fn the_last_entry_is_read_by_a_plus() {
    let mut bench = Bench::new();
    bench.run("XADD a 5-1 f v");
    bench.run("XADD a 5-7 f w");
    let last = "*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n5-7\r\n*2\r\n$1\r\nf\r\n$1\r\nw\r\n";
    assert_eq!(bench.run("XREAD STREAMS a +"), last);
    assert_eq!(bench.run("XREAD COUNT 5 STREAMS a none + +"), last);
    bench.run("XGROUP CREATE e g $ MKSTREAM");
    assert_eq!(bench.run("XREAD STREAMS e +"), "-ERR the stream last element ID is 0-0\r\n");
    let error = bench.run("XREADGROUP GROUP g c STREAMS e +");
    assert!(error.starts_with("-ERR The + ID is meaningless in the context of XREADGROUP: "));
}

#[test]
fn ids_come_from_the_clock() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("XADD a * f v"), "$15\r\n1700000000000-0\r\n");
    assert_eq!(bench.run("XADD a * f v"), "$15\r\n1700000000000-1\r\n");
    bench.now += 1;
    assert_eq!(bench.run("XADD a * f v"), "$15\r\n1700000000001-0\r\n");
    bench.now -= 1000;
    assert_eq!(bench.run("XADD a * f v"), "$15\r\n1700000000001-1\r\n");
    assert_eq!(bench.run("XADD a 18446744073709551615-* f v"), "$22\r\n18446744073709551615-0\r\n");
    bench.run("XADD a 18446744073709551615-18446744073709551615 f v");
    let full = "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n";
    assert_eq!(bench.run("XADD a * f v"), full);
}

#[test]
fn times_count_from_the_last_delivery() {
    let mut bench = Bench::new();
    bench.run("XADD a 1-1 f v");
    bench.run("XGROUP CREATE a g 0");
    bench.run("XREADGROUP GROUP g c STREAMS a >");
    bench.now += 500;
    let pending = |idle: &str, count: &str| {
        format!("*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:{idle}\r\n:{count}\r\n")
    };
    assert_eq!(bench.run("XPENDING a g - + 10"), pending("500", "1"));
    assert_eq!(bench.run("XPENDING a g IDLE 501 - + 10"), "*0\r\n");
    assert_eq!(bench.run("XAUTOCLAIM a g d 501 0 JUSTID"), "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n");
    bench.run("XREADGROUP GROUP g c STREAMS a 0");
    assert_eq!(bench.run("XPENDING a g - + 10"), pending("0", "2"));
    bench.run("XCLAIM a g c 0 1-1 IDLE 70 RETRYCOUNT 9");
    assert_eq!(bench.run("XPENDING a g - + 10"), pending("70", "9"));
    bench.now += 30;
    let idle = "$4\r\nidle\r\n:30\r\n$8\r\ninactive\r\n:30\r\n";
    assert!(bench.run("XINFO CONSUMERS a g").contains(idle));
    assert!(bench.run("XINFO CONSUMERS a g").contains("$1\r\nd\r\n$7\r\npending\r\n:0\r\n"));
}

#[test]
fn an_id_cannot_be_set_back_behind_what_was_deleted() {
    let mut bench = Bench::new();
    bench.run("XADD a 5-1 f v");
    bench.run("XDEL a 5-1");
    let error = "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id\r\n";
    assert_eq!(bench.run("XSETID a 5-0"), error);
    assert_eq!(bench.run("XSETID a 5-1 MAXDELETEDID 1-1"), "+OK\r\n");
    assert_eq!(bench.run("XSETID a 5-0"), "+OK\r\n");
}

#[test]
fn keys_are_found_behind_names_that_look_like_options() {
    let bench = Bench::new();
    let keys = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        with_args(&words, |args| {
            let id = bench.registry.find(&args).unwrap();
            bench.registry.command(id).key_indexes(&args).unwrap().to_vec()
        })
    };
    assert_eq!(keys("XREAD COUNT 2 STREAMS a b 0 0"), [4, 5]);
    assert_eq!(keys("XREADGROUP COUNT 1 GROUP streams STREAMS NOACK streams k >"), [8]);
    assert_eq!(keys("XREADGROUP GROUP BLOCK GROUP BLOCK 5 STREAMS streams 0"), [7]);
    assert_eq!(keys("XREAD COUNT 2 a b"), [] as [u32; 0]);
    assert_eq!(keys("XREAD BLOCK 0 STREAMS"), [] as [u32; 0]);
    // An odd word is not taken for a key.
    assert_eq!(keys("XREAD STREAMS a b 0"), [2]);
}

#[test]
fn the_size_of_nodes_is_configured() {
    let mut bench = Bench::new();
    bench.shard.settings.encodings.stream_node_max_entries = 10;
    for id in 1..=35 {
        bench.run(&format!("XADD a {id}-0 f v"));
    }
    assert!(bench.run("XINFO STREAM a").contains("radix-tree-keys\r\n:4\r\n"));
    assert_eq!(bench.run("XTRIM a MAXLEN ~ 12"), ":20\r\n");
    assert_eq!(bench.run("XTRIM a MAXLEN = 12"), ":3\r\n");
    assert_eq!(bench.run("XTRIM a MINID ~ 35"), ":7\r\n");
    assert_eq!(bench.run("XLEN a"), ":5\r\n");
    assert!(
        bench.run("MEMORY USAGE a").trim_start_matches(':').trim().parse::<u64>().unwrap() > 300
    );
}

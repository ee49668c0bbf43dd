//! Handlers on one shard. That they agree with Redis in everything is shown by `tests/compat`.

use crate::command::testing::{Bench, with_args};
use crate::command::{Run, execute};
use crate::data::Type;
use crate::resp::Protocol;
use crate::shard::{TimedOut, Wait};
use std::collections::HashMap;

fn bench(setup: &[&str]) -> Bench {
    let mut bench = Bench::new();
    for words in setup {
        bench.run(words);
    }
    bench
}

/// The reply without lengths and line ends: `*3 $1 a :1` is `[3] a :1`.
fn brief(reply: &str) -> String {
    let lines = reply.split("\r\n").filter(|line| !line.is_empty());
    let words: Vec<String> = lines
        .filter(|line| !line.starts_with('$') || *line == "$-1")
        .map(|line| line.strip_prefix('*').map_or(line.to_string(), |len| format!("[{len}]")))
        .collect();
    words.join(" ")
}

#[track_caller]
fn check(bench: &mut Bench, lines: &[(&str, &str)]) {
    for (words, reply) in lines {
        assert_eq!(brief(&bench.run(words)), *reply, "{words}");
    }
}

#[test]
fn conditions_decide_what_is_added() {
    let mut bench = Bench::new();
    check(
        &mut bench,
        &[
            ("zadd z 1 a 2 b", ":2"),
            ("zadd z 1 a 3 b 4 c", ":1"),
            ("zadd z ch 1 a 5 b 5 d", ":2"),
            ("zadd z nx 9 a 9 e", ":1"),
            ("zadd z xx ch 8 a 8 f", ":1"),
            ("zadd z gt ch 7 a 10 e 1 g", ":2"),
            ("zadd z lt ch 7 a 11 e", ":1"),
            ("zadd z incr 0.5 a", "7.5"),
            ("zadd z nx incr 1 a", "$-1"),
            ("zadd z gt incr -1 a", "$-1"),
            ("zadd none xx 1 a", ":0"),
            ("zadd none xx incr 1 a", "$-1"),
            ("exists none", ":0"),
            ("zincrby z 2.5 a", "10"),
            ("zincrby new -1.5 m", "-1.5"),
            ("zrange z 0 -1 withscores", "[12] g 1 c 4 b 5 d 5 a 10 e 10"),
        ],
    );
}

#[test]
fn options_that_contradict_are_told() {
    let mut bench = bench(&["zadd z inf a"]);
    check(
        &mut bench,
        &[
            ("zadd z nx xx 1 a", "-ERR XX and NX options at the same time are not compatible"),
            (
                "zadd z gt lt 1 a",
                "-ERR GT, LT, and/or NX options at the same time are not compatible",
            ),
            (
                "zadd z nx gt 1 a",
                "-ERR GT, LT, and/or NX options at the same time are not compatible",
            ),
            ("zadd z incr 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("zadd z 1 a 2", "-ERR syntax error"),
            ("zadd z nx xx", "-ERR syntax error"),
            ("zadd z 1 b x c", "-ERR value is not a valid float"),
            ("zadd z nan b", "-ERR value is not a valid float"),
            ("zincrby z -inf a", "-ERR resulting score is not a number (NaN)"),
            ("zcard z", ":1"),
            ("zrange z 0 x", "-ERR value is not an integer or out of range"),
            ("zrange z 0 1 byscore bylex", "-ERR syntax error"),
            ("zrange z a b byscore", "-ERR min or max is not a float"),
            ("zrange z a b bylex", "-ERR min or max not valid string range item"),
            (
                "zrange z 0 1 limit 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ),
            (
                "zrange z - + bylex withscores",
                "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ),
            ("zrangebyscore z 0 1 rev", "-ERR syntax error"),
            ("zrank z a x", "-ERR syntax error"),
            ("zrank z a withscore x", "-ERR wrong number of arguments for 'zrank' command"),
            ("zpopmin z -1", "-ERR value is out of range, must be positive"),
            ("zmpop 0 z min", "-ERR numkeys should be greater than 0"),
            ("zmpop 1 z min count 0", "-ERR count should be greater than 0"),
            ("zmpop 2 z min", "-ERR syntax error"),
            ("zunion 0 z", "-ERR at least 1 input key is needed for 'zunion' command"),
            ("zunion 2 z", "-ERR syntax error"),
            ("zunion 1 z weights x", "-ERR weight value is not a float"),
            ("zintercard 1 z limit -1", "-ERR LIMIT can't be negative"),
        ],
    );
}

#[test]
fn other_types_are_refused() {
    let mut bench = bench(&["set s v"]);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for words in [
        "zadd s 1 a",
        "zrem s a",
        "zcard s",
        "zscore s a",
        "zrank s a",
        "zrange s 0 -1",
        "zrangestore d s 0 -1",
        "zcount s 0 1",
        "zremrangebyrank s 0 1",
        "zpopmin s",
        "zmpop 2 none s min",
        "bzpopmin s 0",
        "zrandmember s",
        "zscan s 0",
        "zunion 1 s foo",
        "zdiffstore s 1 s",
        "geopos s a",
        "geosearch s frommember a byradius x m",
    ] {
        assert_eq!(brief(&bench.run(words)), wrong, "{words}");
    }
    check(&mut bench, &[("get s", "v")]);
}

#[test]
fn ranges_are_read_both_ways() {
    let mut bench = bench(&["zadd z 1 a 2 b 3 c 4 d 5 e"]);
    check(
        &mut bench,
        &[
            ("zrange z 1 2", "[2] b c"),
            ("zrange z -2 -1 rev", "[2] b a"),
            ("zrevrange z 0 1 withscores", "[4] e 5 d 4"),
            ("zrange z 0 -9", "[0]"),
            ("zrange z 4 9", "[1] e"),
            ("zrange z (1 3 byscore", "[2] b c"),
            ("zrange z 3 (1 byscore rev withscores", "[4] c 3 b 2"),
            ("zrangebyscore z -inf +inf limit 1 2", "[2] b c"),
            ("zrangebyscore z -inf +inf limit 1 -1", "[4] b c d e"),
            ("zrangebyscore z -inf +inf limit -1 2", "[0]"),
            ("zrevrangebyscore z +inf -inf limit 1 2", "[2] d c"),
            ("zcount z (1 (5", ":3"),
            ("zrank z c", ":2"),
            ("zrevrank z c withscore", "[2] :2 3"),
            ("zrank z none withscore", "[-1]"),
            ("zrank z none", "$-1"),
            ("zscore z b", "2"),
            ("zmscore z b none", "[2] 2 $-1"),
            ("zrangestore d z 1 3 rev", ":3"),
            ("zrange d 0 -1 withscores", "[6] b 2 c 3 d 4"),
            ("zrangestore z z 9 9", ":0"),
            ("exists z", ":0"),
        ],
    );
}

#[test]
fn members_of_equal_scores_have_an_order() {
    let mut bench = bench(&["zadd z 0 a 0 b 0 ba 0 c"]);
    check(
        &mut bench,
        &[
            ("zrangebylex z [b (c", "[2] b ba"),
            ("zrevrangebylex z (c - limit 1 1", "[1] b"),
            ("zrange z + [ba bylex rev", "[2] c ba"),
            ("zlexcount z - +", ":4"),
            ("zlexcount z + -", ":0"),
            ("zremrangebylex z [b [ba", ":2"),
            ("zrange z 0 -1", "[2] a c"),
        ],
    );
}

#[test]
fn removing_all_removes_the_key() {
    let mut bench = bench(&["zadd z 1 a 2 b 3 c 4 d 5 e"]);
    check(
        &mut bench,
        &[
            ("zremrangebyrank z 0 0", ":1"),
            ("zremrangebyscore z (4 5", ":1"),
            ("zpopmax z", "[2] d 4"),
            ("zrem z none b", ":1"),
            ("zmpop 2 none z max count 5", "[2] z [1] [2] c 3"),
            ("exists z", ":0"),
            ("zpopmin z", "[0]"),
            ("zmpop 1 z min", "[-1]"),
        ],
    );
}

#[test]
fn pops_are_nested_in_resp3() {
    let mut bench = bench(&["zadd z 1 a 2 b 3 c 0.5 d"]);
    bench.caller.protocol = Protocol::Resp3;
    check(
        &mut bench,
        &[
            ("zpopmin z", "[2] d ,0.5"),
            ("zpopmin z 1", "[1] [2] a ,1"),
            ("zpopmax z 0", "[0]"),
            ("bzpopmin none z 0", "[3] z b ,2"),
            ("zrange z 0 -1 withscores", "[1] [2] c ,3"),
            ("zscore z none", "_"),
            ("bzmpop 1 1 none min", "_"),
        ],
    );
}

#[test]
fn a_client_may_wait_for_a_member() {
    let mut bench = bench(&["zadd z 1 a", "set s v"]);
    bench.caller.may_wait = true;
    let mut run = |words: &[&[u8]]| {
        let (registry, shard, now) = (&bench.registry, &mut bench.shard, bench.now);
        with_args(words, |args| {
            let id = registry.find(&args).unwrap();
            let Run::Shard(handler) = registry.command(id).run else { panic!("not a handler") };
            let mut out = Vec::new();
            let wait = execute(registry, shard, (id, handler), args, bench.caller, now, &mut out);
            (wait, String::from_utf8(out).unwrap())
        })
    };
    let wait = |until, keys| Wait {
        until,
        keys,
        kind: Type::SortedSet,
        retry: None,
        timed_out: TimedOut::NullArray,
    };
    let until = Some(1_700_000_000_000 + 1_501);
    let (waits, reply) = run(&[b"bzpopmax", b"x", b"y", b"1.5001"]);
    assert_eq!((waits, reply.as_str()), (Some(wait(until, 1..3)), ""));
    let (waits, reply) = run(&[b"bzmpop", b"0", b"2", b"x", b"y", b"MIN", b"COUNT", b"3"]);
    assert_eq!((waits, reply.as_str()), (Some(wait(None, 3..5)), ""));
    let (waits, reply) = run(&[b"bzpopmin", b"x", b"z", b"0"]);
    assert_eq!((waits, brief(&reply)), (None, "[3] z a 1".to_string()));
    let (waits, reply) = run(&[b"bzpopmin", b"x", b"z", b"-1"]);
    assert_eq!((waits, reply.as_str()), (None, "-ERR timeout is negative\r\n"));
    let (waits, reply) = run(&[b"bzpopmin", b"x", b"s", b"0"]);
    assert!(waits.is_none() && reply.starts_with("-WRONGTYPE"));
}

#[test]
fn sets_are_combined_with_weights() {
    let mut bench = bench(&["zadd a 1 x 2 y inf i", "zadd b 10 y 20 z -inf i"]);
    check(
        &mut bench,
        &[
            ("zunion 2 a b", "[4] i x y z"),
            ("zunion 2 a b withscores", "[8] i 0 x 1 y 12 z 20"),
            ("zunion 2 a b weights 2 0.5 withscores aggregate max", "[8] x 2 y 5 z 10 i inf"),
            ("zunion 1 a weights 0 withscores", "[6] i 0 x 0 y 0"),
            ("zinter 2 a b withscores aggregate min", "[4] i -inf y 2"),
            ("zinter 2 a none", "[0]"),
            ("zintercard 2 a b", ":2"),
            ("zintercard 2 a b limit 1", ":1"),
            ("zdiff 2 a b withscores", "[2] x 1"),
            ("zdiff 2 none a", "[0]"),
            ("zunionstore a 2 a b", ":4"),
            ("zscore a y", "12"),
            ("zinterstore d 2 a b weights 1 2", ":3"),
            ("zrange d 0 -1 withscores", "[6] i -inf y 32 z 60"),
            ("zdiffstore d 2 a a", ":0"),
            ("exists d", ":0"),
        ],
    );
}

#[test]
fn many_small_others_are_walked_for_a_difference() {
    let mut bench = Bench::new();
    for n in 0..100 {
        bench.run(&format!("zadd big {n} m{n}"));
    }
    for n in 0..8 {
        bench.run(&format!("zadd o{n} 1 m{n} 1 other"));
    }
    bench.run("zdiffstore d 9 big o0 o1 o2 o3 o4 o5 o6 o7");
    check(&mut bench, &[("zcard d", ":92"), ("zscore d m7", "$-1"), ("zscore d m8", "8")]);
}

#[test]
fn encodings_follow_the_options() {
    let mut bench = Bench::new();
    bench.shard.settings.encodings.zset_max_listpack_entries = 3;
    bench.shard.settings.encodings.zset_max_listpack_value = 4;
    check(
        &mut bench,
        &[
            ("zadd a 1 a 2 b 3 c", ":3"),
            ("object encoding a", "listpack"),
            ("zadd a 4 d", ":1"),
            ("object encoding a", "skiplist"),
            ("zadd b 1 abcde", ":1"),
            ("object encoding b", "skiplist"),
            ("zadd c 1 a 1 a 1 a 1 a", ":1"),
            ("object encoding c", "skiplist"),
            ("zrangestore d a 0 1", ":2"),
            ("object encoding d", "listpack"),
            ("zunionstore e 1 a", ":4"),
            ("object encoding e", "skiplist"),
            ("copy a f", ":1"),
            ("object encoding f", "skiplist"),
            ("zrange f 0 -1", "[4] a b c d"),
            // Scores of a table are written with all their digits.
            ("zadd d 0.1 t", ":1"),
            ("zscan d 0 match t", "[2] 0 [2] t 0.1"),
            ("zadd b 0.1 t", ":1"),
            ("zscan b 0 match t", "[2] 0 [2] t 0.10000000000000001"),
        ],
    );
}

#[test]
fn a_walk_shows_all_that_stays() {
    let mut bench = Bench::new();
    for n in 0..1000 {
        bench.run(&format!("zadd z {n} stays:{n}"));
    }
    let (mut cursor, mut seen, mut steps) = ("0".to_string(), HashMap::new(), 0);
    loop {
        let reply = bench.run(&format!("zscan z {cursor} match stays:* count 20"));
        let words: Vec<String> = brief(&reply).split(' ').map(str::to_string).collect();
        cursor = words[1].clone();
        for pair in words[3..].chunks(2) {
            seen.insert(pair[0].clone(), pair[1].clone());
        }
        if cursor == "0" {
            break;
        }
        for n in 0..10 {
            bench.run(&format!("zadd z 1 comes:{steps}:{n}"));
            bench.run(&format!("zrem z comes:{}:{n}", steps / 2));
        }
        steps += 1;
    }
    assert_eq!(seen.len(), 1000);
    assert!(steps > 20 && seen.iter().all(|(m, score)| *m == format!("stays:{score}")));
}

/// Chi-square of counts that should be equal, for each way of choosing.
#[test]
fn every_member_is_as_likely_as_any_other() {
    for (members, entries) in [(10, 128), (10, 0), (60, 0), (60, 128)] {
        let mut bench = Bench::new();
        bench.shard.settings.encodings.zset_max_listpack_entries = entries;
        for n in 0..members {
            bench.run(&format!("zadd z {n} m{n}"));
        }
        for (words, chosen) in [
            ("zrandmember z", 1),
            ("zrandmember z -5", 5),
            ("zrandmember z 2", 2),
            ("zrandmember z 8", 8),
        ] {
            let mut counts: HashMap<String, u32> = HashMap::new();
            let rounds = 3000;
            for _ in 0..rounds {
                let reply = brief(&bench.run(words));
                let members: Vec<&str> = reply.split(' ').filter(|w| w.starts_with('m')).collect();
                assert_eq!(members.len(), chosen);
                members.iter().for_each(|m| *counts.entry(m.to_string()).or_default() += 1);
            }
            let expected = f64::from(rounds * chosen as u32) / f64::from(members);
            let squares = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected);
            let (sum, free) = (squares.sum::<f64>(), f64::from(members - 1));
            // Five standard deviations.
            assert!(sum < free + 5.0 * (2.0 * free).sqrt(), "{words} of {members}: {sum}");
            assert_eq!(counts.len(), members as usize);
        }
    }
}

#[test]
fn random_members_come_in_the_form_asked_for() {
    let mut bench = bench(&["zadd z 1 a 2 b"]);
    check(
        &mut bench,
        &[
            ("zrandmember none", "$-1"),
            ("zrandmember none 5", "[0]"),
            ("zrandmember z 0", "[0]"),
            ("zrandmember z 5 withscores", "[4] a 1 b 2"),
            (
                "zrandmember z -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
            ("zrandmember z -9223372036854775807 withscores", "-ERR value is out of range"),
            ("zrandmember z -9223372036854775807", "-ERR value is out of range"),
            ("zrandmember z 1 x", "-ERR syntax error"),
        ],
    );
    bench.caller.protocol = Protocol::Resp3;
    check(&mut bench, &[("zrandmember z 5 withscores", "[2] [2] a ,1 [2] b ,2")]);
}

#[test]
fn only_changes_are_counted() {
    let mut bench = bench(&["zadd z 1 a 2 b 3 c"]);
    let mut changes = |words: &str| {
        let before = bench.shard.stats.changes.get();
        bench.run(words);
        bench.shard.stats.changes.get() - before
    };
    for (words, count) in [
        ("zadd z 1 a 2 b", 0),
        ("zadd z 5 a 9 new", 2),
        ("zincrby z 0 a", 0),
        ("zrem z none", 0),
        ("zremrangebyscore z 100 200", 0),
        ("zpopmin z 2", 2),
        ("zunionstore d 1 none", 0),
        ("zunionstore d 1 z", 1),
        ("zrangestore d z 9 9", 1),
        ("zrandmember z 3", 0),
    ] {
        assert_eq!(changes(words), count, "{words}");
    }
}

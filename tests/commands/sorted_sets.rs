//! Sorted sets and places across shards, in transactions, and in sizes that no random program has.

use crate::harness::pair::{everywhere, everywhere_with};
use crate::harness::{Cmd, Reply};

#[test]
fn commands_span_shards() {
    everywhere(
        r#"
        ZADD a 1 x 2 y 3 z
        ZADD b 10 y 20 z 30 q
        ZADD c 1 z
        ZUNIONSTORE d 3 a b c WEIGHTS 1 2 3
        ZRANGE d 0 -1 WITHSCORES
        ZINTERSTORE a 2 a b AGGREGATE MAX
        ZRANGE a 0 -1 WITHSCORES
        ZDIFF 3 b a c WITHSCORES
        ZINTERCARD 3 a b c
        ZRANGESTORE e d (1 +inf BYSCORE LIMIT 1 2
        ZRANGE e 0 -1 WITHSCORES
        ZMPOP 4 none1 none2 c b MAX COUNT 2
        ZMPOP 4 none1 none2 c b MAX COUNT 2
        ZMPOP 4 none1 none2 c b MIN
        ZUNION 5 a b
        ZUNION x a
        ZUNIONSTORE d -1 a
        EXISTS a b c d e
        GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        GEORADIUS places 15 37 200 km STORE f
        GEORADIUS places 15 37 200 km STORE g STORE h STOREDIST i
        GEOSEARCHSTORE j places FROMMEMBER Palermo BYRADIUS 1 km
        ZRANGE f 0 -1
        ZRANGE i 0 -1
        EXISTS g h
        ZRANGE j 0 -1
        GEORADIUS places 15 37 200 km STORE
        "#,
    );
}

#[test]
fn they_run_in_transactions() {
    everywhere(
        r#"
        ZADD a 1 x
        WATCH a b
        ZADD b 2 y
        MULTI
        ZADD a 5 z
        EXEC
        WATCH a
        ZADD a 1 x
        ZREM a none
        MULTI
        ZADD a 5 z
        ZUNIONSTORE c 2 a b
        BZPOPMIN none c 0
        BZPOPMAX none 0
        BZMPOP 0 1 none MIN
        ZUNION 9 a
        ZADD a nx xx 1 m
        ZRANGE c 0 -1 WITHSCORES
        EXEC
        OBJECT ENCODING c
        "#,
    );
}

/// A set with several levels of nodes, filled in a few orders, asked everywhere.
#[test]
fn large_sets_agree() {
    everywhere_with(&[], |both| {
        for (key, step) in [("up", 1u64), ("down", 19_999), ("mixed", 7_919)] {
            for chunk in 0..20u64 {
                let mut words = vec![b"ZADD".to_vec(), key.as_bytes().to_vec()];
                for n in chunk * 1000..chunk * 1000 + 1000 {
                    let score = n * step % 20_000 / 2;
                    words.push(score.to_string().into_bytes());
                    words.push(format!("member:{n}").into_bytes());
                }
                let added = both.step(0, &Cmd(words)).expect("the same reply");
                assert_eq!(added, Reply::Int(1000));
            }
        }
        both.script(
            r#"
            ZRANK mixed member:7777
            ZREVRANK down member:3 WITHSCORE
            ZRANGE mixed 9990 10010 WITHSCORES
            ZRANGE up 19990 -1 REV
            ZREVRANGE mixed 5000 5100
            ZRANGEBYSCORE mixed (100 130
            ZREVRANGEBYSCORE mixed 5000 (4980 WITHSCORES LIMIT 3 20
            ZCOUNT mixed 1234.5 (9000
            ZREMRANGEBYRANK mixed 50 12000
            ZCARD mixed
            ZRANGE mixed 40 60 WITHSCORES
            ZREMRANGEBYSCORE up 10 9990
            ZRANGE up 0 -1
            ZPOPMIN down 30
            ZPOPMAX down 30
            ZINTERCARD 2 mixed down
            ZUNIONSTORE all 3 up down mixed AGGREGATE MIN
            ZRANGE all 15000 15020 WITHSCORES
            ZDIFFSTORE rest 2 all down
            ZRANGE rest 0 -1 WITHSCORES
            ZINCRBY mixed 100000 member:1
            ZREVRANK mixed member:1
            ZREMRANGEBYRANK down 0 -1
            EXISTS down
            ZSCAN rest 0
            "#,
        );
    });
}

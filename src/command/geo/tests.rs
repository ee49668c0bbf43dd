//! Handlers on one shard. That they agree with Redis in everything is shown by `tests/compat`.

use crate::command::testing::Bench;

fn sicily() -> Bench {
    let mut bench = Bench::new();
    bench.run("geoadd Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    bench
}

#[track_caller]
fn check(bench: &mut Bench, lines: &[(&str, &str)]) {
    for (words, reply) in lines {
        let lines = bench.run(words);
        let lines = lines.split("\r\n").filter(|l| !l.is_empty());
        let kept: Vec<&str> = lines.filter(|l| !l.starts_with('$') || *l == "$-1").collect();
        assert_eq!(kept.join(" "), *reply, "{words}");
    }
}

#[test]
fn places_are_answered() {
    check(
        &mut sicily(),
        &[
            ("zscore Sicily Palermo", "3479099956230698"),
            ("geodist Sicily Palermo Catania", "166274.1516"),
            ("geodist Sicily Palermo Catania km", "166.2742"),
            ("geodist Sicily Palermo none", "$-1"),
            ("geohash Sicily Palermo none Catania", "*3 sqc8b49rny0 $-1 sqdtr74hyu0"),
            ("geopos Sicily Palermo none", "*2 *2 13.36138933897018433 38.11555639549629859 *-1"),
            ("geoadd Sicily xx ch 14 38 Palermo 14 38 new", ":1"),
            ("geopos none a", "*1 *-1"),
            ("geodist none a b", "$-1"),
        ],
    );
}

#[test]
fn searches_find_what_is_near() {
    check(
        &mut sicily(),
        &[
            ("georadius Sicily 15 37 200 km asc", "*2 Catania Palermo"),
            (
                "geosearch Sicily fromlonlat 15 37 byradius 200 km withdist desc",
                "*2 *2 Palermo 190.4424 *2 Catania 56.4413",
            ),
            ("geosearch Sicily fromlonlat 15 37 bybox 400 150 km", "*1 Catania"),
            (
                "geosearch Sicily frommember Palermo byradius 1 m withhash",
                "*1 *2 Palermo :3479099956230698",
            ),
            ("georadiusbymember Sicily Palermo 500 km count 1", "*1 Palermo"),
            ("georadiusbymember_ro Sicily Palermo 500 km count 1 desc", "*1 Catania"),
            ("geosearchstore near Sicily fromlonlat 15 37 byradius 100 km storedist", ":1"),
            ("zrange near 0 -1 withscores", "*2 Catania 56.4412578701582"),
            ("georadius Sicily 15 37 1 m store near", ":0"),
            ("exists near", ":0"),
            ("geosearch none frommember a byradius 1 m", "*0"),
        ],
    );
}

#[test]
fn wrong_words_are_told() {
    check(
        &mut sicily(),
        &[
            ("geoadd k 200 100 m", "-ERR invalid longitude,latitude pair 200.000000,100.000000"),
            ("geoadd k x 1 m", "-ERR value is not a valid float"),
            ("geoadd k nx xx 1 1 m", "-ERR syntax error"),
            ("geoadd k 1 1 m 1", "-ERR syntax error"),
            ("geodist Sicily a b x", "-ERR unsupported unit provided. please use M, KM, FT, MI"),
            ("georadius Sicily 1 1 -1 m", "-ERR radius cannot be negative"),
            ("georadius Sicily 1 1 x m", "-ERR need numeric radius"),
            ("georadius_ro Sicily 1 1 1 m store k", "-ERR syntax error"),
            ("georadius Sicily 1 1 1 m count 0", "-ERR COUNT must be > 0"),
            ("georadius Sicily 1 1 1 m any", "-ERR the ANY argument requires COUNT argument"),
            (
                "georadius Sicily 1 1 1 m withdist store k",
                "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
                 WITHCOORD options",
            ),
            ("georadiusbymember Sicily x 1 m", "-ERR could not decode requested zset member"),
            (
                "GeoSearch Sicily byradius 1 m asc asc asc",
                "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GeoSearch",
            ),
            (
                "geosearch Sicily fromlonlat 1 1 asc asc asc",
                "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch",
            ),
            (
                "geosearch Sicily fromlonlat 1 1 bybox -1 1 m",
                "-ERR height or width cannot be negative",
            ),
            ("geosearch Sicily fromlonlat 1 1 byradius 1 m bybox 1 1 m", "-ERR syntax error"),
        ],
    );
}

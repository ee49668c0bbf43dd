//! Files that are torn, damaged, missing, or contradict themselves.

use super::loaded::Loaded;
use corelane::persist::aof_reader::Cause;
use corelane::persist::foreign::{LoadError, Problem, Report, Source, find_aof};
use corelane::rdb::writer::Options;
use corelane::rdb::{self};
use std::path::{Path, PathBuf};

const NOW: i64 = 1_700_000_000_000;

/// A directory that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir =
            std::env::temp_dir().join(format!("corelane-tails-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{bulks}", words.len())
}

fn commands(lines: &[&str]) -> String {
    lines.iter().map(|line| command(line)).collect()
}

fn load(paths: &[&Path], torn: bool) -> (Loaded, Result<Report, LoadError>) {
    let mut loaded = Loaded::at(NOW);
    let source = Source::Aof(paths.iter().map(|path| path.to_path_buf()).collect());
    let report = loaded.load_with(&source, torn);
    (loaded, report)
}

#[test]
fn a_torn_tail_takes_whole_units_with_it() {
    let dir = Dir::new("torn");
    let units = [
        commands(&["SELECT 2", "SET a 1"]),
        commands(&["MULTI", "SET b 1", "INCR a", "EXEC"]),
        format!("#TS:1\r\n{}", command("DEL a")),
    ];
    let text = units.concat();
    let keys = [vec![], vec!["a"], vec!["a", "b"], vec!["b"]];
    let ends = [0, units[0].len(), units[0].len() + units[1].len(), text.len()];
    for cut in 1..=text.len() {
        let path = dir.file("appendonly.aof", &text.as_bytes()[..cut]);
        let (mut loaded, report) = load(&[&path], true);
        let torn = report.unwrap().torn;
        let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
        let names: Vec<_> =
            loaded.keys().iter().map(|key| String::from_utf8(key.name.clone()).unwrap()).collect();
        assert_eq!(names, keys[whole], "cut at {cut}");
        // Between the commands of the first unit, and behind the annotation, nothing is torn.
        let is_whole = ends.contains(&cut)
            || cut == command("SELECT 2").len()
            || cut == ends[2] + "#TS:1\r\n".len();
        assert_eq!(torn.is_none(), is_whole, "cut at {cut}: {torn:?}");
        if let Some((_, at)) = torn {
            assert!(at as usize >= ends[whole] && (at as usize) < cut);
            let (_, strict) = load(&[&path], false);
            let Err(LoadError { problem: Problem::Aof(error), .. }) = strict else {
                panic!("{cut}")
            };
            assert!(matches!(error.cause, Cause::Truncated));
        }
    }
}

#[test]
fn only_the_last_file_may_be_torn() {
    let dir = Dir::new("last");
    let first = dir.file("1", &command("SET a 1")[..20]);
    let second = dir.file("2", command("SET b 1"));
    let empty = dir.file("3", "");
    let (_, report) = load(&[&first, &second], true);
    assert!(matches!(report.unwrap_err().problem, Problem::TornBefore(_)));
    let (_, report) = load(&[&second, &empty, &first], true);
    assert_eq!(report.unwrap().torn, Some((first, 0)));
    let (_, report) = load(&[&second, &dir.0.join("none")], true);
    assert!(matches!(report.unwrap_err().problem, Problem::Io(_)));
}

#[test]
fn each_file_begins_in_database_0() {
    let dir = Dir::new("select");
    let first = dir.file("1", commands(&["SELECT 5", "SET a 1"]));
    let second = dir.file("2", command("SET b 1"));
    let (mut loaded, report) = load(&[&first, &second], false);
    report.unwrap();
    let dbs: Vec<usize> = loaded.keys().iter().map(|key| key.db).collect();
    assert_eq!(dbs, [0, 5]);
}

#[test]
fn damage_stops_the_loading() {
    let dir = Dir::new("damage");
    let good = command("SET a 1");
    for (bad, message) in [
        ("\0\0\0\0", "at byte 27: there is no command"),
        ("*2\r\n$3\r\nGETx\r\n", "at byte 31: an argument does not end where it should"),
        (&command("NOSUCH a"), "ERR unknown command 'NOSUCH', with args beginning with: 'a' "),
        (&command("SET a"), "ERR wrong number of arguments for 'set' command"),
        (&command("SELECT 16"), "select: ERR DB index is out of range"),
        (&command("MONITOR"), "monitor is no command that can be replayed"),
        (&command("EXEC"), "at byte 27: EXEC comes without MULTI"),
    ] {
        let path = dir.file("appendonly.aof", format!("{good}{bad}{good}"));
        let (_, report) = load(&[&path], true);
        let error = report.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(corelane::error::Fatal::from(error).to_string().contains(message));
    }
    // As in Redis, a command may answer an error.
    let path = dir.file("appendonly.aof", commands(&["SET a x", "INCR a", "LPUSH a b"]));
    let report = load(&[&path], true).1.unwrap();
    assert_eq!(report.failed, 2);
    let text = "incr: ERR value is not an integer or out of range";
    assert_eq!(report.first_failure.as_deref(), Some(text));
}

#[test]
fn scripts_and_relative_times_of_old_versions() {
    let dir = Dir::new("scripts");
    let body = "redis.call('SELECT',ARGV[1]);redis.call('SET',KEYS[1],redis.call('INCR','n'));\
                redis.call('EXPIRE',KEYS[1],100)";
    let sha = corelane::script::Sha::of(body.as_bytes()).hex();
    let sha = std::str::from_utf8(&sha).unwrap();
    let text = commands(&[
        &format!("EVAL {body} 1 k 3"),
        &format!("EVALSHA {sha} 1 l 3"),
        "SETEX a 10 v",
        "SET b v PX 5000",
        "SET c v",
        "PEXPIRE c 7000",
        "SET d v PXAT 1800000000000",
        "MULTI",
        "EVAL return{redis.call('PTTL','d'),redis.call('EXISTS','d')} 0",
        "EXEC",
        "EVAL return(redis.error_reply('no')) 0",
        "EVALSHA 0000000000000000000000000000000000000000 0",
    ]);
    let path = dir.file("appendonly.aof", text);
    let (mut loaded, report) = load(&[&path], false);
    let report = report.unwrap();
    assert_eq!(report.failed, 2, "{report:?}");
    let times = |db: u8, loaded: &mut Loaded| -> Vec<(String, Option<i64>)> {
        let keys = loaded.keys().into_iter().filter(|key| key.db == usize::from(db));
        let name = |name: Vec<u8>| String::from_utf8(name).unwrap();
        keys.map(|key| (name(key.name), key.expire_at.map(|at| at - NOW))).collect()
    };
    let expected = [("a", 10_000), ("b", 5000), ("c", 7000), ("d", 100_000_000_000)];
    let expected = expected.map(|(name, at)| (name.to_string(), Some(at)));
    assert_eq!(times(0, &mut loaded), expected);
    let expected = [("k", Some(100_000)), ("l", Some(100_000)), ("n", None)];
    assert_eq!(times(3, &mut loaded), expected.map(|(name, at)| (name.to_string(), at)));
}

fn rdb(version: u16, keys: &[&str]) -> Vec<u8> {
    let mut loaded = Loaded::at(NOW);
    for key in keys {
        loaded.run(&format!("SET {key} v"));
    }
    loaded.write(Options { version, compress: true, checksum: true })
}

#[test]
fn an_rdb_file_is_whole_or_nothing() {
    let dir = Dir::new("rdb");
    let bytes = rdb(rdb::VERSION, &["a", "b"]);
    for cut in 0..bytes.len() {
        let path = dir.file("dump.rdb", &bytes[..cut]);
        let report = Loaded::at(NOW).load(&Source::Rdb(path));
        assert!(matches!(report.unwrap_err().problem, Problem::Rdb(_)), "cut at {cut}");
        if cut > 9 {
            // Nor may the base of an AOF be torn.
            let path = dir.file("base", &bytes[..cut]);
            assert!(matches!(load(&[&path], true).1.unwrap_err().problem, Problem::Rdb(_)));
        }
    }
}

#[test]
fn what_is_there_twice_or_has_no_place_is_refused() {
    let dir = Dir::new("twice");
    let twice = b"REDIS0011\xfe\x01\x00\x01k\x01v\x00\x01k\x01w\xff\0\0\0\0\0\0\0\0";
    let error = Loaded::at(NOW).load(&Source::Rdb(dir.file("dump.rdb", twice))).unwrap_err();
    assert!(
        error.to_string().ends_with("before byte 21: key \"k\" of database 1 comes twice"),
        "{error}"
    );
    let far = b"REDIS0011\xfe\x10\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let error = Loaded::at(NOW).load(&Source::Rdb(dir.file("dump.rdb", far))).unwrap_err();
    assert!(error.to_string().contains("there is no database 16"), "{error}");
    let library = b"REDIS0011\xf5\x03abc\xff\0\0\0\0\0\0\0\0";
    let error = Loaded::at(NOW).load(&Source::Rdb(dir.file("dump.rdb", library))).unwrap_err();
    assert!(
        error.to_string().contains("a library of functions: ERR Missing library metadata"),
        "{error}"
    );
}

#[test]
fn keys_whose_time_is_over_stay_in_a_base() {
    let dir = Dir::new("base");
    let mut loaded = Loaded::at(NOW);
    loaded.run(&format!("SET a 1 PXAT {}", NOW + 10));
    loaded.run("SET b 1");
    let bytes = loaded.write(Options { version: rdb::VERSION, compress: true, checksum: true });
    let path = dir.file("dump.rdb", &bytes);
    let mut later = Loaded::at(NOW + 100);
    let report = later.load(&Source::Rdb(path.clone())).unwrap();
    assert_eq!((report.expired, later.keys().len()), (1, 1));
    // It was there when the commands ran that follow.
    let incr = dir.file("incr", commands(&["INCR a", "PERSIST a", "RENAME b c"]));
    let mut later = Loaded::at(NOW + 100);
    let report = later.load(&Source::Aof(vec![path, incr])).unwrap();
    assert_eq!((report.expired, report.failed), (0, 0));
    assert_eq!(later.run("GET a").text(), "2");
}

#[test]
fn the_right_files_are_found() {
    let dir = Dir::new("found");
    let find = || find_aof(&dir.0, "appendonlydir", "appendonly.aof");
    assert_eq!(find().unwrap(), None);
    let old = dir.file("appendonly.aof", "");
    assert_eq!(find().unwrap(), Some(Source::Aof(vec![old.clone()])));
    let manifest = "appendonlydir/appendonly.aof.manifest";
    dir.file(manifest, "file appendonly.aof seq 1 type b\n");
    assert_eq!(find().unwrap(), Some(Source::Aof(vec![old])), "it has not moved yet");
    let moved = dir.file("appendonlydir/appendonly.aof", "");
    assert_eq!(find().unwrap(), Some(Source::Aof(vec![moved])));
    dir.file(manifest, "file x seq 2 type b\nfile y seq 1 type h\nfile z seq 3 type i\n");
    let parts = ["x", "z"].map(|name| dir.0.join("appendonlydir").join(name));
    assert_eq!(find().unwrap(), Some(Source::Aof(parts.to_vec())));
    dir.file(manifest, "file x\n");
    let error = find().unwrap_err();
    assert!(error.to_string().contains("appendonly.aof.manifest: line 1: "), "{error}");
}

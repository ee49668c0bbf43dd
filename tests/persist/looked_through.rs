//! `corelane check`: what it finds in directories of a real server, and what it leaves of them.

use crate::harness::process::corelane_binary;
use crate::harness::{Cmd, Reply, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of a directory that goes with its test.
pub struct Copy(pub PathBuf);

impl Copy {
    pub fn of(dir: &Path, name: &str) -> Copy {
        let copy = std::env::temp_dir().join(format!("corelane-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&copy);
        copy_all(dir, &copy);
        Copy(copy)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join("appendonlydir").join(name)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Runs the program; its exit code and all that it says.
pub fn corelane(args: &[&str]) -> (i32, String) {
    let output = Command::new(corelane_binary()).args(args).output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn check(dir: &Path, more: &[&str]) -> (i32, String) {
    corelane(&[&["check", dir.to_str().unwrap()], more].concat())
}

/// A server that has written a base and segments, and has been killed.
pub fn written(shards: usize) -> Server {
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::corelane_with(shards, &args);
    let mut client = server.client();
    for line in [
        "MSET a 1 b 2 c 3 d 4 e 5",
        "RPUSH list 1 2 3",
        "SADD set x y z",
        "ZADD scores 1 a 2 b",
        "HSET hash f v",
        "XADD stream 1-1 f v",
        "SET far 1 PXAT 4000000000000",
        "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"",
        "BGREWRITEAOF",
    ] {
        let reply = client.run(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    server.wait_info("aof_rewrites", "1");
    for n in 0..40 {
        let n = n.to_string();
        let (k, j) = (format!("k{n}"), format!("j{n}"));
        client.call(&Cmd::new(["MSET", &k, &n, &j, &n]));
    }
    client.run("SELECT 3");
    client.run("SET other 1");
    server.end(libc::SIGKILL);
    server
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir.join("appendonlydir")).unwrap();
    let mut found: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "aof"));
    found.sort();
    found
}

fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// How many keys a server has that starts with this directory.
fn keys_served(dir: &Path) -> usize {
    let dir = dir.to_str().unwrap();
    let server = Server::corelane_with(2, &["--appendonly", "yes", "--dir", dir]);
    let mut client = server.client();
    let first = int(client.run("DBSIZE"));
    // All of a command or nothing.
    for n in 0..40 {
        let found = int(client.run(&format!("EXISTS k{n} j{n}")));
        assert!(found == 0 || found == 2, "half a command: {n}");
    }
    client.run("SELECT 3");
    first + int(client.run("DBSIZE"))
}

fn int(reply: Reply) -> usize {
    match reply {
        Reply::Int(n) => n as usize,
        other => panic!("{other:?}"),
    }
}

fn keys_told(text: &str) -> usize {
    let before = text.split(" keys\n").find(|part| part.contains("commands replayed, "));
    before.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_is_right_is_said_to_be() {
    for shards in [1, 3] {
        let server = written(shards);
        for path in [server.dir.clone(), server.dir.join("appendonlydir")] {
            let (code, text) = check(&path, &[]);
            assert_eq!(code, 0, "{text}");
            assert!(text.contains("all is well") && !text.contains("wrong"), "{text}");
            assert_eq!(keys_told(&text), 11 + 80 + 1, "{text}");
        }
    }
}

#[test]
fn damage_is_found_and_cut() {
    let server = written(2);
    for part in [1, 3, 5] {
        let copy = Copy::of(&server.dir, &format!("damage-{part}"));
        let segment = segments(&copy.0)[0].clone();
        let len = fs::metadata(&segment).unwrap().len() as usize;
        damage(&segment, len * part / 7);
        let before = fs::read(&segment).unwrap();
        let (code, text) = check(&copy.0, &[]);
        assert_eq!(code, 1, "{text}");
        let name = segment.file_name().unwrap().to_str().unwrap().to_string();
        assert!(text.contains(&format!("wrong: {name}, at byte ")), "{text}");
        assert!(text.contains("no accident of a sudden end"), "{text}");
        assert!(text.contains("rounds are dropped: ") && text.contains(" UTC"), "{text}");
        assert_eq!(fs::read(&segment).unwrap(), before, "looking changes nothing");
        let (code, told) = check(&copy.0, &["--repair"]);
        assert_eq!(code, 1, "{told}");
        let (says, does) = (told.find("are dropped").unwrap(), told.find("repaired").unwrap());
        assert!(says < does, "{told}");
        assert_eq!(fs::read(copy.file(&format!("{name}.before-repair"))).unwrap(), before);
        let (code, after) = check(&copy.0, &[]);
        assert_eq!(code, 0, "{after}");
        let keys = keys_told(&after);
        assert!((11..11 + 80).contains(&keys), "{after}");
        assert_eq!((keys, keys_served(&copy.0)), (keys_told(&text), keys));
    }
}

#[test]
fn a_torn_end_is_no_damage() {
    let server = written(2);
    let copy = Copy::of(&server.dir, "torn");
    // The one that has the last round.
    let ends: Vec<(PathBuf, usize)> = segments(&copy.0)
        .into_iter()
        .map(|path| {
            let text = fs::read(&path).unwrap();
            let at = text.windows(3).rposition(|word| word == b"#r ").unwrap();
            (path, at)
        })
        .collect();
    let round = |(path, at): &(PathBuf, usize)| {
        let text = fs::read(path).unwrap()[*at..].to_vec();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let last = ends.iter().max_by_key(|end| round(end)).unwrap();
    let len = fs::metadata(&last.0).unwrap().len();
    fs::File::options().write(true).open(&last.0).unwrap().set_len(len - 3).unwrap();
    let (code, text) = check(&copy.0, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("ended in the middle of a round"), "{text}");
    assert!(text.contains("it ends in the middle of a round"), "{text}");
    let (_, text) = check(&copy.0, &["--repair"]);
    assert!(text.contains(" 1 rounds are dropped"), "{text}");
    assert_eq!(check(&copy.0, &[]).0, 0);
}

#[test]
fn a_segment_without_a_head_or_gone_loses_all_rounds_of_it() {
    let server = written(2);
    for gone in [false, true] {
        let copy = Copy::of(&server.dir, &format!("head-{gone}"));
        let segment = segments(&copy.0)[1].clone();
        match gone {
            true => fs::remove_file(&segment).unwrap(),
            false => damage(&segment, 2),
        }
        let (code, text) = check(&copy.0, &["--repair"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("anew") && text.contains("repaired"), "{text}");
        let (code, after) = check(&copy.0, &[]);
        assert_eq!(code, 0, "{after}");
        assert_eq!(keys_served(&copy.0), keys_told(&after));
    }
}

#[test]
fn a_damaged_base_is_not_repaired() {
    let server = written(2);
    let copy = Copy::of(&server.dir, "base");
    let names = fs::read_dir(copy.0.join("appendonlydir")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().path());
    let base = names.find(|path| path.extension().is_some_and(|e| e == "rdb")).unwrap();
    let len = fs::metadata(&base).unwrap().len() as usize;
    damage(&base, len - 12);
    let (code, text) = check(&copy.0, &["--repair"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("wrong: base.") && text.contains("cannot be repaired"), "{text}");
}

#[test]
fn a_directory_in_use_is_not_repaired() {
    let server = written(2);
    let copy = Copy::of(&server.dir, "used");
    let dir = copy.0.to_str().unwrap();
    let server = Server::corelane_with(2, &["--appendonly", "yes", "--dir", dir]);
    let segment = segments(&copy.0)[0].clone();
    damage(&segment, fs::metadata(&segment).unwrap().len() as usize / 2);
    let before = fs::read(&segment).unwrap();
    let (code, text) = check(&copy.0, &["--repair"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("the process {} has files", server.pid())), "{text}");
    assert_eq!(fs::read(&segment).unwrap(), before);
}

#[test]
fn files_of_redis_are_looked_through() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/redis-7-2.rdb");
    let (code, text) = check(&golden, &[]);
    assert!(code == 0 && text.contains("all is well"), "{text}");
    let mut dir = Server::redis_with(&["--appendonly", "yes"]);
    dir.client().run("SET a 1");
    dir.client().run("RPUSH l 1 2 3");
    dir.end(libc::SIGTERM);
    let copy = Copy::of(&dir.dir, "redis");
    let (code, text) = check(&copy.0, &[]);
    assert!(code == 0 && text.contains("2 keys, "), "{text}");
    let increment = copy.file("appendonly.aof.1.incr.aof");
    let whole = fs::read(&increment).unwrap();
    fs::write(&increment, &whole[..whole.len() - 3]).unwrap();
    let (code, text) = check(&copy.0, &[]);
    assert!(code == 1 && text.contains("it is torn behind byte"), "{text}");
    let wrong = copy.0.join("wrong.rdb");
    fs::write(&wrong, [fs::read(&golden).unwrap(), b"x".to_vec()].concat()).unwrap();
    damage(&wrong, 200);
    let (code, text) = check(&wrong, &[]);
    assert!(code == 1 && text.contains("wrong: "), "{text}");
    let (code, text) = check(Path::new("/nowhere"), &[]);
    assert!(code == 1 && text.contains("No such file"), "{text}");
}

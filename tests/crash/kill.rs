//! A server that is killed again and again, and goes on with what it has left.

use super::players::{
    Checked, PLAYERS, Player, Trouble, check_keys, check_lists, check_observed, prepare_lists,
};
use super::saves::{Disturber, Holding, ONE_FILE, PARTS, POINTS, WISHES, Wish};
use crate::harness::{Client, Reply, Server, cases, now, seed, wait_until};
use corelane::command::Faults;
use corelane::config::{Invocation, parse};
use corelane::server::run_faulty;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keys that nobody changes, so that it takes a while to write all; in a database of their own.
const BALLAST: usize = 3_000;

/// A directory, and the servers that live in it one after the other.
struct Saga {
    dir: PathBuf,
    policy: &'static str,
    shards: usize,
    /// The test that serves, when it is not the real binary.
    host: Option<&'static str>,
    players: Vec<Player>,
    random: fastrand::Rng,
    kills: u32,
    /// What is asked for meanwhile.
    wishes: &'static [Wish],
    /// Kills within a rewrite, by the point to which it had come.
    rewrites: [u32; POINTS.len()],
    /// Kills within a snapshot.
    saves: u32,
    /// Snapshots that were looked at.
    snapshots: u32,
}

impl Drop for Saga {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => eprintln!("the data is left in {}", self.dir.display()),
            false => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

impl Saga {
    fn new(policy: &'static str, shards: usize, host: Option<&'static str>, salt: u64) -> Saga {
        let seed = seed() << 16 ^ salt << 8 ^ shards as u64;
        Saga {
            dir: Server::make_dir(),
            policy,
            shards,
            host,
            players: (0..PLAYERS).map(|id| Player::new(id, seed)).collect(),
            random: fastrand::Rng::with_seed(seed),
            kills: 0,
            wishes: &WISHES,
            rewrites: [0; POINTS.len()],
            saves: 0,
            snapshots: 0,
        }
    }

    fn start(&self) -> Server {
        let args =
            ["--appendonly", "yes", "--appendfsync", self.policy, "--snapshot-max-cpu", "10"];
        match self.host {
            None => Server::corelane_in(&self.dir, self.shards, &args),
            Some(test) => {
                let shards = self.shards.to_string();
                let args: Vec<&str> = args.into_iter().chain(["--shards", &shards]).collect();
                Server::hosted_in(&self.dir, test, &args)
            }
        }
    }

    fn prepare(&mut self) {
        let mut server = self.start();
        let mut client = server.client();
        wait_loaded(&mut client);
        prepare_lists(&mut client);
        client.run("SELECT 1");
        for first in (0..BALLAST).step_by(100) {
            let pairs: Vec<String> = (first..first + 100).map(ballast).collect();
            client.run(&format!("MSET {}", pairs.join(" ")));
        }
        client.run("SELECT 0");
        self.players.iter().for_each(|player| player.prepare(&mut client));
        // Also one that acknowledges too early has written it by then.
        std::thread::sleep(Duration::from_millis(300));
        server.end(libc::SIGKILL);
    }

    /// Lets the players play, kills the server, and looks at what is there after the next start.
    fn run(&mut self, signal: i32) -> Checked {
        let mut server = self.start();
        let mut client = server.client();
        wait_loaded(&mut client);
        drop(client);
        let time = Duration::from_micros(self.random.u64(10_000..300_000));
        let port = server.port;
        let mut disturber = Disturber::new(self.wishes, self.random.u64(..));
        let saves = disturber.as_ref().is_some_and(|disturber| disturber.wish() != Wish::Rewrites);
        let before = Holding::of(&self.dir);
        let played: Vec<Result<(), Trouble>> = std::thread::scope(|scope| {
            let players = self.players.iter_mut();
            let mut threads: Vec<_> =
                players.map(|player| scope.spawn(move || player.play(port))).collect();
            threads.extend(
                disturber.as_mut().map(|disturber| scope.spawn(move || disturber.play(port))),
            );
            std::thread::sleep(time);
            server.end(signal);
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        self.kills += 1;
        self.count_what_was_under_way(&before);
        let log = server.log();
        if let Some(line) = log.lines().find(|line| line.contains("has failed")) {
            return Err(line.to_string());
        }
        for played in played {
            match played {
                Ok(()) | Err(Trouble::Cut) => {}
                Err(Trouble::Wrong(problem)) => return Err(problem),
            }
        }
        if saves && self.random.u8(0..3) == 0 {
            self.check_snapshot()?;
        }
        if self.random.u8(0..4) == 0 {
            self.shards = [1, 2, 4][self.random.usize(..3)];
        }
        if self.random.u8(0..4) == 0 && self.host.is_none() {
            self.kill_while_it_starts();
        }
        let mut server = self.start();
        let checked = self.check(&mut server.client());
        server.end(libc::SIGKILL);
        checked
    }

    fn kill_while_it_starts(&mut self) {
        let args = ["--appendonly", "yes", "--appendfsync", self.policy];
        let mut server = Server::begin_in(&self.dir, self.shards, &args);
        std::thread::sleep(Duration::from_micros(self.random.u64(..60_000)));
        server.end(libc::SIGKILL);
        self.kills += 1;
    }

    fn count_what_was_under_way(&mut self, before: &Holding) {
        let left = Holding::of(&self.dir);
        let point = left.rewrite_since(before);
        if let Some(at) = POINTS.iter().position(|at| Some(*at) == point) {
            self.rewrites[at] += 1;
        } else if left.is_saving_since(before) {
            self.saves += 1;
        }
    }

    /// Loads the last snapshot that is whole: it must be of one instant, whichever.
    fn check_snapshot(&mut self) -> Checked {
        let name = [ONE_FILE, PARTS][self.random.usize(..2)];
        let source = self.dir.join(name);
        if !source.exists() || name == PARTS && !source.join("corelane.manifest").exists() {
            return Ok(());
        }
        self.snapshots += 1;
        let dir = Server::make_dir();
        copy(&source, &dir.join(name));
        let mut server = Server::corelane_in(&dir, self.shards, &["--appendonly", "no"]);
        let mut players: Vec<Player> = self.players.iter().map(Player::in_the_past).collect();
        let checked = check(&mut server.client(), &mut players);
        server.end(libc::SIGKILL);
        drop(server);
        let _ = std::fs::remove_dir_all(dir);
        checked.map_err(|problem| format!("in the snapshot {name}: {problem}"))
    }

    fn check(&mut self, client: &mut Client) -> Checked {
        check(client, &mut self.players)
    }

    fn describe(&self) -> String {
        let operations: u64 = self.players.iter().map(|player| player.operations).sum();
        let Saga { policy, shards, kills, saves, snapshots, .. } = self;
        format!(
            "appendfsync {policy}, {shards} shards now, {kills} kills, {} of them within a rewrite {:?}, {saves} \
             within a snapshot, {snapshots} snapshots loaded, {operations} operations",
            self.within_rewrites(),
            self.rewrites,
        )
    }

    fn within_rewrites(&self) -> u32 {
        self.rewrites.iter().sum()
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).expect("a copy");
        return;
    }
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// A key and its value.
fn ballast(n: usize) -> String {
    let text = fastrand::Rng::with_seed(n as u64).u128(..);
    format!("ballast{n} {text:x}{n}{text:x}")
}

fn check_ballast(client: &mut Client) -> Checked {
    client.run("SELECT 1");
    let pairs: Vec<String> = (0..BALLAST).map(ballast).collect();
    let (keys, values): (Vec<&str>, Vec<&str>) =
        pairs.iter().map(|pair| pair.split_once(' ').expect("two words")).unzip();
    let found = client.run(&format!("MGET {}", keys.join(" ")));
    let is_there = |(found, value): (&Reply, &&str)| *found == Reply::Bulk(value.as_bytes().into());
    let there = found.items().iter().zip(&values).filter(|pair| is_there(*pair)).count();
    let keys = client.run("DBSIZE").int();
    client.run("SELECT 0");
    match there == BALLAST && keys == BALLAST as i64 {
        true => Ok(()),
        false => Err(format!("{there} of {BALLAST} keys that nobody has changed, of {keys}")),
    }
}

fn check(client: &mut Client, players: &mut [Player]) -> Checked {
    wait_loaded(client);
    check_keys(client, players)?;
    for player in &mut *players {
        player.check(client)?;
    }
    check_observed(client, players)?;
    check_lists(client, players)?;
    check_ballast(client)
}

/// Commands on keys are refused until the data is loaded.
fn wait_loaded(client: &mut Client) {
    wait_until("the data is loaded", || match client.run("EXISTS key") {
        Reply::Int(_) => true,
        reply => {
            assert!(reply.text().starts_with("LOADING"), "{reply:?}");
            false
        }
    });
}

fn nothing_is_lost(policy: &'static str, shards: &[usize]) {
    for (salt, &shards) in shards.iter().enumerate() {
        let start = now();
        let mut saga = Saga::new(policy, shards, None, salt as u64);
        saga.prepare();
        for _ in 0..cases(2) {
            let signal = if saga.random.u8(0..6) == 0 { libc::SIGTERM } else { libc::SIGKILL };
            if let Err(problem) = saga.run(signal) {
                panic!("{problem}; {}", saga.describe());
            }
        }
        println!("{} in {:.1?}", saga.describe(), start.elapsed());
        let within = saga.within_rewrites() + saga.saves;
        assert!(saga.kills < 20 || within * 3 > saga.kills, "too seldom within: {within}");
    }
}

#[test]
fn nothing_is_lost_with_always() {
    nothing_is_lost("always", &[1, 2, 4]);
}

#[test]
fn nothing_is_lost_with_everysec() {
    nothing_is_lost("everysec", &[4, 1, 2]);
}

#[test]
fn nothing_is_lost_with_no() {
    nothing_is_lost("no", &[2, 4, 1]);
}

/// Serves with something wrong.
fn serve(faults: Faults) {
    let Ok(options) = std::env::var("CORELANE_HOSTED") else { return };
    let Ok(Invocation::Run { config, .. }) = parse(options.split('\n').map(Into::into)) else {
        panic!("a configuration")
    };
    run_faulty(*config, |_| (), faults).expect("it serves until it is killed");
}

#[test]
#[ignore = "a server, which another test starts"]
fn server_that_is_slow() {
    serve(Faults { slow_disk: true, ..Faults::default() });
}

#[test]
#[ignore = "a server, which another test starts"]
fn server_that_acknowledges_early() {
    serve(Faults { slow_disk: true, ack_before_write: true, ..Faults::default() });
}

#[test]
#[ignore = "a server, which another test starts"]
fn server_that_ignores_participants() {
    serve(Faults { slow_disk: true, ignore_participants: true, ..Faults::default() });
}

/// What is found within so many kills.
fn find(host: &'static str, wishes: &'static [Wish], kills: u32) -> Option<String> {
    let mut saga = Saga::new("everysec", 4, Some(host), 77);
    saga.wishes = wishes;
    saga.prepare();
    (0..kills).find_map(|_| saga.run(libc::SIGKILL).err())
}

/// Within so many kills a fault must be found.
const PATIENCE: u32 = 12;

#[test]
fn nothing_is_lost_on_a_slow_disk() {
    assert_eq!(find("crash::kill::server_that_is_slow", &WISHES, 4), None);
}

/// On a slow disk a rewrite spends its time at all of its points.
#[test]
fn nothing_is_lost_wherever_a_rewrite_is_cut_short() {
    let (mut kills, mut points) = (0, [0; POINTS.len()]);
    for (salt, policy) in ["always", "everysec", "no"].into_iter().enumerate() {
        let host = Some("crash::kill::server_that_is_slow");
        let mut saga = Saga::new(policy, 2, host, 90 + salt as u64);
        saga.wishes = &[Wish::Rewrites];
        saga.prepare();
        for _ in 0..cases(4) {
            if let Err(problem) = saga.run(libc::SIGKILL) {
                panic!("{problem}; {}", saga.describe());
            }
        }
        println!("{}", saga.describe());
        kills += saga.kills;
        points.iter_mut().zip(saga.rewrites).for_each(|(sum, kills)| *sum += kills);
    }
    let within: u32 = points.iter().sum();
    // A few kills may all be too early where the machine has other work.
    assert!(
        within > 0 && (kills < 12 || within * 2 > kills),
        "{within} of {kills} within a rewrite"
    );
    assert!(kills < 200 || !points.contains(&0), "points that were never hit: {points:?}");
}

#[test]
fn early_acknowledgements_are_found_out() {
    let found = find("crash::kill::server_that_acknowledges_early", &[], PATIENCE);
    let found = found.expect("what was acknowledged and not written is missed");
    println!("{found}");
}

#[test]
fn half_transactions_are_found_out() {
    let found = find("crash::kill::server_that_ignores_participants", &[], PATIENCE);
    let found = found.expect("half of a transaction is seen");
    println!("{found}");
}

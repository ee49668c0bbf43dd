//! A server that is killed again and again, and goes on with what it has left.

use super::players::{
    Checked, PLAYERS, Player, Trouble, check_keys, check_lists, check_observed, prepare_lists,
};
use crate::harness::{Client, Reply, Server, cases, now, seed, wait_until};
use corelane::command::Faults;
use corelane::config::{Invocation, parse};
use corelane::server::run_faulty;
use std::path::PathBuf;
use std::time::Duration;

/// By the test, after a sound server's worst start.
const LOADED: Duration = Duration::from_secs(60);

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
        }
    }

    fn start(&self) -> Server {
        let args = ["--appendonly", "yes", "--appendfsync", self.policy];
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
        let time = Duration::from_micros(self.random.u64(10_000..300_000));
        let port = server.port;
        let played: Vec<Result<(), Trouble>> = std::thread::scope(|scope| {
            let players = self.players.iter_mut();
            let threads: Vec<_> =
                players.map(|player| scope.spawn(move || player.play(port))).collect();
            std::thread::sleep(time);
            server.end(signal);
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        self.kills += 1;
        for played in played {
            match played {
                Ok(()) | Err(Trouble::Cut) => {}
                Err(Trouble::Wrong(problem)) => return Err(problem),
            }
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

    fn check(&mut self, client: &mut Client) -> Checked {
        wait_loaded(client);
        check_keys(client, &self.players)?;
        for player in &mut self.players {
            player.check(client)?;
        }
        check_observed(client, &self.players)?;
        check_lists(client, &mut self.players)
    }

    fn describe(&self) -> String {
        let operations: u64 = self.players.iter().map(|player| player.operations).sum();
        let Saga { policy, shards, kills, .. } = self;
        format!("appendfsync {policy}, {shards} shards now, {kills} kills, {operations} operations")
    }
}

/// Commands on keys are refused until the data is loaded.
fn wait_loaded(client: &mut Client) {
    wait_until("the data is loaded", LOADED, || match client.run("EXISTS key") {
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
    serve(Faults { slow_appends: true, ..Faults::default() });
}

#[test]
#[ignore = "a server, which another test starts"]
fn server_that_acknowledges_early() {
    serve(Faults { slow_appends: true, ack_before_write: true, ..Faults::default() });
}

#[test]
#[ignore = "a server, which another test starts"]
fn server_that_ignores_participants() {
    serve(Faults { slow_appends: true, ignore_participants: true, ..Faults::default() });
}

/// What is found within so many kills.
fn find(host: &'static str, kills: u32) -> Option<String> {
    let mut saga = Saga::new("everysec", 4, Some(host), 77);
    saga.prepare();
    (0..kills).find_map(|_| saga.run(libc::SIGKILL).err())
}

/// Within so many kills a fault must be found.
const PATIENCE: u32 = 12;

#[test]
fn nothing_is_lost_on_a_slow_disk() {
    assert_eq!(find("crash::kill::server_that_is_slow", 4), None);
}

#[test]
fn early_acknowledgements_are_found_out() {
    let found = find("crash::kill::server_that_acknowledges_early", PATIENCE);
    let found = found.expect("what was acknowledged and not written is missed");
    println!("{found}");
}

#[test]
fn half_transactions_are_found_out() {
    let found = find("crash::kill::server_that_ignores_participants", PATIENCE);
    let found = found.expect("half of a transaction is seen");
    println!("{found}");
}

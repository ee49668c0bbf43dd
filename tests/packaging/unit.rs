//! The systemd unit, and what the server tells the manager that started it.

use super::{Scratch, has, read};
use crate::clients::run::run;
use crate::harness::process::{corelane_binary, free_port};
use crate::harness::{Client, PATIENCE, Reply, Server, wait_until};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

/// What `systemd-analyze security` may say at most: 0 is a locked door, 10 an open one.
const EXPOSURE_MAX: f64 = 1.5;

/// The unit with the server under test in place of the installed one.
fn unit(scratch: &Scratch) -> String {
    let text = read("configs/systemd/corelane.service");
    let installed = "ExecStart=/usr/bin/corelane ";
    assert!(text.contains(installed), "{text}");
    let ours = format!("ExecStart={} ", corelane_binary().display());
    let file = scratch.file("corelane.service");
    fs::write(&file, text.replace(installed, &ours)).unwrap();
    file.display().to_string()
}

#[test]
fn systemd_finds_no_fault() {
    if !has("systemd-analyze") {
        return;
    }
    let scratch = Scratch::new();
    let unit = unit(&scratch);
    let output = run("systemd-analyze", &["verify", "--man=no", &unit], b"", PATIENCE);
    let text = output.ok();
    assert!(!text.contains("corelane"), "{text}");
}

#[test]
fn the_sandbox_is_tight() {
    if !has("systemd-analyze") {
        return;
    }
    let scratch = Scratch::new();
    let unit = unit(&scratch);
    let text = run("systemd-analyze", &["security", "--offline=true", &unit], b"", PATIENCE).ok();
    let (_, level) = text.split_once("Overall exposure level for").expect("a level");
    let figure = level.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let figure = figure.unwrap_or_else(|| panic!("no figure: {level}"));
    assert!(figure <= EXPOSURE_MAX, "the exposure is {figure}: {text}");
}

#[test]
fn the_unit_has_what_the_server_needs() {
    let unit = read("configs/systemd/corelane.service");
    let conf = read("configs/debian/corelane.conf");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    assert!(start.ends_with("/etc/corelane/corelane.conf --supervised systemd"), "{start}");
    let lines: Vec<&str> = unit.lines().collect();
    for line in ["Type=notify", "LimitMEMLOCK=infinity", "StateDirectory=corelane", "User=corelane"]
    {
        assert!(lines.contains(&line), "{line} is not there");
    }
    // The directories that the unit makes are those of the configuration.
    assert_eq!(super::option(&conf, "dir"), Some("/var/lib/corelane"));
    assert_eq!(super::option(&conf, "unixsocket"), Some("/run/corelane/corelane.sock"));
    assert!(lines.contains(&"RuntimeDirectory=corelane"));
}

/// The manager's side.
struct Manager {
    socket: UnixDatagram,
    scratch: Scratch,
}

impl Manager {
    fn new() -> Manager {
        let scratch = Scratch::new();
        let socket = UnixDatagram::bind(scratch.file("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, scratch }
    }

    /// Starts a server with a data directory of the caller's, and does not wait.
    fn start(&self, dir: &Path, supervised: &str, more: &[&str]) -> Server {
        let port = free_port();
        let mut command = Command::new(corelane_binary());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--shards", "2"]);
        command.args(["--save", "3600 1", "--dir", &dir.display().to_string()]);
        command.args(["--supervised", supervised]).args(more);
        command.env("NOTIFY_SOCKET", self.scratch.file("notify"));
        Server::begin(command, port, Server::make_dir(), "supervised")
    }

    /// What the manager has been told since it was asked last.
    fn told(&self) -> String {
        let mut all = String::new();
        let mut message = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut message) {
            all.push_str(std::str::from_utf8(&message[..len]).expect("text"));
            all.push('\n');
        }
        all
    }

    fn wait(&self, word: &str) -> String {
        let mut all = String::new();
        wait_until(&format!("{word} is told"), || {
            all.push_str(&self.told());
            all.lines().any(|line| line == word)
        });
        all
    }
}

fn ping(port: u16) -> Option<Reply> {
    let mut client = Client::try_connect(port).ok()?;
    client.send_raw(b"PING\r\n").ok()?;
    client.recv().ok()
}

/// Data that take a while to load.
fn with_much_data() -> Scratch {
    let scratch = Scratch::new();
    let dir = scratch.0.display().to_string();
    let mut redis = Server::redis_with(&["--dir", &dir]);
    assert_eq!(redis.client().run("DEBUG POPULATE 1000000 key 30").text(), "OK");
    assert_eq!(redis.client().run("SAVE").text(), "OK");
    redis.end(libc::SIGKILL);
    scratch
}

#[test]
fn the_manager_hears_when_it_serves_and_when_it_stops() {
    let data = with_much_data();
    let manager = Manager::new();
    let mut server = manager.start(&data.0, "systemd", &[]);
    let mut was_loading = false;
    let mut told = String::new();
    wait_until("it is ready", || {
        // First what is told, then what is answered: who is told of readiness finds it ready.
        told.push_str(&manager.told());
        let ready = told.lines().any(|line| line == "READY=1");
        let reply = ping(server.port);
        if ready {
            assert_eq!(reply.expect("it listens").text(), "PONG");
        } else {
            was_loading |= reply.is_some_and(|reply| reply.text().starts_with("LOADING"));
        }
        ready
    });
    assert!(was_loading, "it was not seen loading");
    assert!(!told.contains("STOPPING=1"), "{told}");
    assert_eq!(server.client().run("SET k v").text(), "OK");
    let before = fs::metadata(data.file("dump.rdb")).unwrap().modified().unwrap();
    let status = server.end(libc::SIGTERM);
    assert!(status.success(), "{status}");
    let told = manager.wait("STOPPING=1");
    assert!(!told.contains("READY=1"), "ready twice: {told}");
    // The save point has it write what it has before it goes.
    assert!(fs::metadata(data.file("dump.rdb")).unwrap().modified().unwrap() > before);
}

#[test]
fn the_manager_hears_nothing_unless_the_configuration_says_so() {
    let manager = Manager::new();
    let data = Scratch::new();
    let server = manager.start(&data.0, "no", &[]);
    wait_until("it answers", || ping(server.port).is_some_and(|r| r.text() == "PONG"));
    assert_eq!(manager.told(), "");
    let server = manager.start(&data.0, "auto", &[]);
    manager.wait("READY=1");
    assert_eq!(ping(server.port).expect("it listens").text(), "PONG");
}

/// What `corelane ping` says, and whether it is content, with a password for it or without.
fn probe(port: u16, password: Option<&str>) -> (bool, String) {
    let mut command = Command::new(corelane_binary());
    command.args(["ping", "--port", &port.to_string()]).env_remove("REDISCLI_AUTH");
    if let Some(password) = password {
        command.env("REDISCLI_AUTH", password);
    }
    let output = command.output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_probe_with_the_password_sees_that_data_are_loading() {
    let data = with_much_data();
    let manager = Manager::new();
    let server = manager.start(&data.0, "systemd", &["--requirepass", "a b\"c"]);
    wait_until("it listens", || ping(server.port).is_some());
    let (loading, without) = (probe(server.port, Some("a b\"c")), probe(server.port, None));
    assert!(!loading.0 && loading.1.starts_with("-LOADING"), "{loading:?}");
    assert!(without.0 && without.1.starts_with("-NOAUTH"), "{without:?}");
    manager.wait("READY=1");
    assert_eq!(probe(server.port, Some("a b\"c")), (true, "+PONG\n".to_string()));
    assert!(probe(server.port, Some("wrong")).1.starts_with("-NOAUTH"));
}

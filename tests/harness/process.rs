//! A server process: Corelane or the redis-server it is compared with.

use super::client::Client;
use super::spawn::spawn;
use super::{info_field, now, wait_until};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

/// A running server with a directory of its own. Dropping it kills the process by its pid, and
/// fails the test when the server had ended by itself or its log tells of a panic.
pub struct Server {
    child: Child,
    pub port: u16,
    pub dir: PathBuf,
    name: String,
    /// The test ended the process itself.
    ended: bool,
    /// The directory is the test's and stays.
    kept: bool,
}

/// Below the ephemeral range, so that no client's own port can be in the way.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Shard ports follow the main port: that many stay free after each one handed out.
const PORT_STEP: u16 = 40;

impl Server {
    /// The server under test with `shards` shards.
    pub fn corelane(shards: usize) -> Server {
        Server::corelane_with(shards, &[])
    }

    pub fn corelane_with(shards: usize, args: &[&str]) -> Server {
        Server::corelane_at(free_port(), shards, args)
    }

    /// The server under test on a port that the caller knows to be free.
    pub fn corelane_at(port: u16, shards: usize, args: &[&str]) -> Server {
        let binary = corelane_binary();
        let mut all: Vec<String> = Vec::new();
        if !is_stand_in() {
            all.extend(["--shards".into(), shards.to_string()]);
            all.extend(runtime());
        }
        all.extend(args.iter().map(|a| a.to_string()));
        Server::start(&binary, port, &all, "corelane")
    }

    /// The server under test in a directory of the caller's, which it leaves there.
    pub fn corelane_in(dir: &Path, shards: usize, args: &[&str]) -> Server {
        let mut server = Server::begin_in(dir, shards, args);
        server.wait_ready();
        server
    }

    /// As [`Server::corelane_in`], without waiting until it serves.
    pub fn begin_in(dir: &Path, shards: usize, args: &[&str]) -> Server {
        let port = free_port();
        let mut command = Command::new(corelane_binary());
        command.args(Server::options(port, dir)).args(["--shards", &shards.to_string()]);
        command.args(runtime()).args(args);
        let mut server = Server::begin(command, port, dir.into(), "corelane");
        server.kept = true;
        server
    }

    /// The redis-server whose replies are the norm.
    pub fn redis() -> Server {
        Server::redis_with(&[])
    }

    pub fn redis_with(args: &[&str]) -> Server {
        let binary = std::env::var("CORELANE_ORACLE").unwrap_or_else(|_| "redis-server".into());
        let all: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        Server::start(Path::new(&binary), free_port(), &all, "redis")
    }

    /// The Valkey named by `CORELANE_VALKEY`, 9.0 or later, for what redis-server 7 does not have.
    pub fn valkey() -> Option<Server> {
        Server::valkey_with(&[])
    }

    pub fn valkey_with(args: &[&str]) -> Option<Server> {
        let binary = std::env::var_os("CORELANE_VALKEY")?;
        let all: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        Some(Server::start(Path::new(&binary), free_port(), &all, "valkey"))
    }

    /// A server of Redis' kin that an environment variable names, if it does.
    pub fn named_by(variable: &str, args: &[&str]) -> Option<Server> {
        let binary = std::env::var_os(variable)?;
        let all: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        Some(Server::start(Path::new(&binary), free_port(), &all, variable))
    }

    /// The test `name` of these, run alone in a process of its own, where it serves as the options in
    /// `CORELANE_HOSTED` tell, one a line.
    pub fn hosted(name: &str, args: &[&str]) -> Server {
        Server::host(name, args, Server::make_dir())
    }

    /// As [`Server::hosted`], in a directory of the caller's, which it leaves there.
    pub fn hosted_in(dir: &Path, name: &str, args: &[&str]) -> Server {
        let mut server = Server::host(name, args, dir.into());
        server.kept = true;
        server
    }

    fn host(name: &str, args: &[&str], dir: PathBuf) -> Server {
        let tests = std::env::current_exe().expect("the tests are a file");
        let port = free_port();
        let mut options: Vec<String> = Server::options(port, &dir);
        options.extend(args.iter().map(|a| a.to_string()));
        let mut command = Command::new(tests);
        command.args([name, "--exact", "--ignored", "--nocapture"]);
        command.env("CORELANE_HOSTED", options.join("\n"));
        Server::launch(command, port, dir, name)
    }

    fn start(binary: &Path, port: u16, args: &[String], name: &str) -> Server {
        let dir = Server::make_dir();
        let mut command = Command::new(binary);
        command.args(Server::options(port, &dir)).args(args);
        Server::launch(command, port, dir, name)
    }

    pub fn make_dir() -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("corelane-it-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        dir
    }

    /// What all servers of the tests are told.
    fn options(port: u16, dir: &Path) -> Vec<String> {
        let (port, dir) = (port.to_string(), dir.display().to_string());
        let words = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let more = ["--enable-debug-command", "yes", "--protected-mode", "no", "--dir", &dir];
        words.iter().chain(&more).map(|word| word.to_string()).collect()
    }

    /// A server by a command of the caller's, which has it listen on `port`; it is removed with `dir`.
    pub fn launch(command: Command, port: u16, dir: PathBuf, name: &str) -> Server {
        let mut server = Server::begin(command, port, dir, name);
        server.wait_ready();
        server
    }

    /// As [`Server::launch`], without waiting until it serves.
    pub fn begin(mut command: Command, port: u16, dir: PathBuf, name: &str) -> Server {
        let log = fs::File::create(dir.join("log")).expect("a log file");
        let program = command.get_program().to_os_string();
        command.current_dir(&dir).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a second handle")).stdout(log);
        let child = spawn(command).unwrap_or_else(|e| panic!("start {}: {e}", program.display()));
        Server { child, port, dir, name: format!("{name}:{port}"), ended: false, kept: false }
    }

    fn wait_ready(&mut self) {
        let name = self.name.clone();
        wait_until(&format!("{name} answers"), || {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.ended = true;
                panic!("{name} ended at its start, {status}:\n{}", self.log_tail());
            }
            // With requirepass any reply, also an error, says that it serves.
            Client::try_connect(self.port)
                .and_then(|mut c| {
                    c.send_raw(b"PING\r\n")?;
                    c.recv()
                })
                .is_ok_and(|r| !r.is_error() || !r.text().starts_with("LOADING"))
        });
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS in /proc");
        let kib: usize = line.split_whitespace().nth(1).expect("a figure").parse().expect("KiB");
        kib << 10
    }

    /// Open file descriptors.
    pub fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("/proc").count()
    }

    /// Open file descriptors once their number rests: shards may still be starting.
    pub fn resting_fds(&self) -> usize {
        let mut last = (0, 0);
        wait_until("the number of open files rests", || {
            std::thread::sleep(Duration::from_millis(50));
            let open = self.fds();
            last = if open == last.0 { (open, last.1 + 1) } else { (open, 0) };
            last.1 >= 6
        });
        last.0
    }

    /// Waits until no more than `most` file descriptors are open.
    pub fn wait_fds(&self, most: usize) {
        let mut open = 0;
        let deadline = now() + Duration::from_secs(20);
        while now() < deadline {
            open = self.fds();
            if open <= most {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} still has {open} files open, not {most}", self.name);
    }

    /// User and system CPU time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc");
        let after_name = stat.rsplit(')').next().expect("a name in brackets");
        let field = |i: usize| -> u64 {
            after_name.split_whitespace().nth(i).expect("a field").parse().expect("ticks")
        };
        Duration::from_millis((field(11) + field(12)) * 10)
    }

    /// A field of INFO.
    pub fn info(&self, field: &str) -> Option<String> {
        let text = self.client().run("INFO everything").text();
        info_field(&text, field).map(str::to_string)
    }

    /// Waits until INFO says so.
    pub fn wait_info(&self, field: &str, value: &str) {
        wait_until(&format!("{field} is {value}"), || self.info(field).as_deref() == Some(value));
    }

    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Sends a signal (0: none) and waits for the end of the process.
    pub fn end(&mut self, signal: i32) -> std::process::ExitStatus {
        self.ended = true;
        // SAFETY: kill takes two integers; the pid is our own unreaped child's.
        unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().expect("wait for a child");
            status.is_some()
        });
        status.expect("set above")
    }

    /// Panics unless the process runs and answers.
    pub fn assert_healthy(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            self.ended = true;
            panic!("{} ended by itself, {status}:\n{}", self.name, self.log_tail());
        }
        assert_eq!(self.client().run("PING").text(), "PONG");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let early = match self.child.try_wait() {
            Ok(Some(status)) if !self.ended => Some(status),
            _ => None,
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        let tail = self.log_tail();
        if !self.kept {
            let _ = fs::remove_dir_all(&self.dir);
        }
        if std::thread::panicking() {
            if early.is_some() || log.contains("panicked at") {
                eprintln!("--- {} ended ({early:?}), the end of its log:\n{tail}", self.name);
            }
            return;
        }
        assert!(early.is_none(), "{} ended by itself, {early:?}:\n{tail}", self.name);
        assert!(!log.contains("panicked at"), "{} panicked:\n{tail}", self.name);
    }
}

/// The server under test: `CORELANE_BIN`, or the binary that cargo built.
pub fn corelane_binary() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_corelane"));
    std::env::var_os("CORELANE_BIN").map_or(built, PathBuf::from)
}

/// `CORELANE_BIN` may name a redis-server or valkey-server, to test the tests: such a stand-in has
/// no shards, and what only Corelane has is skipped.
pub fn is_stand_in() -> bool {
    let name = corelane_binary();
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name == "redis-server" || name == "valkey-server"
}

/// `CORELANE_RUNTIME` names what the shards of the server under test sleep in, `epoll` say.
fn runtime() -> Vec<String> {
    let named = std::env::var("CORELANE_RUNTIME").ok();
    named.into_iter().flat_map(|name| ["--runtime".to_string(), name]).collect()
}

/// A port that nobody else of this process is given, with free ones behind it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let steps = (PORTS.end - PORTS.start) / PORT_STEP;
    let first = (std::process::id() as u16).wrapping_mul(7) % steps;
    for _ in 0..steps {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(first) % steps;
        let port = PORTS.start + step * PORT_STEP;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

//! Data directories that outlive the servers that run in them.

use crate::harness::process::{corelane_binary, free_port};
use crate::harness::spawn::spawn;
use crate::harness::{Client, Reply, info_field, is_rewriting, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with its test.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("corelane-durable-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("data")).unwrap();
        Dir(dir)
    }

    /// Where the servers have their files.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// Another directory with the same files.
    pub fn copy(&self) -> Dir {
        let other = Dir::new();
        copy_all(&self.data(), &other.data());
        other
    }

    /// The names of the data files of the append-only directory that match.
    pub fn appended(&self, head: &str) -> Vec<PathBuf> {
        let names = fs::read_dir(self.file("appendonlydir")).unwrap();
        let mut paths: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(head));
        paths.sort();
        paths
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        match std::thread::panicking() && std::env::var_os("CORELANE_KEEP").is_some() {
            true => eprintln!("kept {}", self.0.display()),
            false => drop(fs::remove_dir_all(&self.0)),
        }
    }
}

pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A server in a directory that is not its own.
pub struct Process {
    child: Child,
    pub port: u16,
    log: PathBuf,
    ended: bool,
}

impl Process {
    /// The server under test, as soon as it has loaded its data.
    pub fn corelane(dir: &Dir, shards: usize, args: &[&str]) -> Process {
        let mut process = Process::begin_corelane(dir, shards, args);
        process.wait_ready();
        process
    }

    /// The server under test, whatever becomes of it.
    pub fn begin_corelane(dir: &Dir, shards: usize, args: &[&str]) -> Process {
        let shards = shards.to_string();
        let all: Vec<&str> = ["--shards", &shards].iter().chain(args).copied().collect();
        Process::begin(&corelane_binary(), dir, &all)
    }

    pub fn redis(binary: &Path, dir: &Dir, args: &[&str]) -> Process {
        let mut process = Process::begin(binary, dir, args);
        process.wait_ready();
        process
    }

    /// Starts the server under test, which is not to come up; gives what it says.
    pub fn refused(dir: &Dir, shards: usize, args: &[&str]) -> String {
        let mut process = Process::begin_corelane(dir, shards, args);
        let status = process.wait_end();
        assert!(!status.success(), "{status}: {}", process.log());
        process.log()
    }

    fn begin(binary: &Path, dir: &Dir, args: &[&str]) -> Process {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (port, data) = (free_port(), dir.data());
        let log = dir.0.join(format!("log-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut command = Command::new(binary);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(&data);
        command.args(["--enable-debug-command", "yes", "--protected-mode", "no"]);
        if !args.contains(&"--save") {
            command.args(["--save", ""]);
        }
        command.args(args).stdin(Stdio::null());
        let file = fs::File::create(&log).unwrap();
        command.stderr(file.try_clone().unwrap()).stdout(file);
        Process { child: spawn(command).unwrap(), port, log, ended: false }
    }

    pub fn wait_ready(&mut self) {
        wait_until("the server has its data", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.ended = true;
                panic!("the server ended at its start, {status}:\n{}", self.log());
            }
            let answer = Client::try_connect(self.port).and_then(|mut client| {
                client.send_raw(b"PING\r\n")?;
                client.recv()
            });
            answer.is_ok_and(|reply| reply.text() == "PONG")
        });
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn run(&self, line: &str) -> Reply {
        self.client().run(line)
    }

    /// A field of INFO.
    pub fn info(&self, field: &str) -> String {
        let text = self.run("INFO everything").text();
        let value = info_field(&text, field);
        value.unwrap_or_else(|| panic!("no field {field} in {text}")).to_string()
    }

    pub fn number(&self, field: &str) -> i64 {
        let text = self.info(field);
        text.parse().unwrap_or_else(|_| panic!("{field}:{text}"))
    }

    /// Waits until INFO says so.
    pub fn wait_info(&self, field: &str, value: &str) {
        wait_until(&format!("{field} is {value}"), || self.info(field) == value);
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes two integers; the pid is our own unreaped child's.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Waits for the end of the process.
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.ended = true;
        status.unwrap()
    }

    /// Ends it without a warning.
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        self.wait_end();
    }

    /// Ends it as an operator does.
    pub fn terminate(mut self) -> String {
        self.signal(libc::SIGTERM);
        let status = self.wait_end();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }

    /// Until no rewrite of the append-only files is under way, nor is to come.
    pub fn wait_rewritten(&self) {
        wait_until("the rewrite is done", || !is_rewriting(&self.run("INFO persistence").text()));
    }

    /// Rewrites the append-only files and waits for the end of that.
    pub fn rewrite(&self) {
        self.wait_info("aof_rewrite_in_progress", "0");
        let reply = self.run("BGREWRITEAOF");
        assert!(!reply.is_error(), "{reply:?}");
        self.wait_rewritten();
        assert_eq!(self.info("aof_last_bgrewrite_status"), "ok", "{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let early = match self.child.try_wait() {
            Ok(Some(status)) if !self.ended => Some(status),
            _ => None,
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the log of port {}:\n{log}", self.port);
            return;
        }
        assert!(early.is_none(), "a server ended by itself, {early:?}:\n{log}");
        assert!(!log.contains("panicked at"), "a server panicked:\n{log}");
    }
}

/// The redis-servers at hand: of Debian, and the 7.2 that `CORELANE_REDIS_7_2` names.
pub fn redis_binaries() -> Vec<PathBuf> {
    let debian = std::env::var_os("CORELANE_ORACLE").unwrap_or_else(|| "redis-server".into());
    [Some(debian.into()), redis_7_2()].into_iter().flatten().collect()
}

/// A redis-server that reads what is written here, if there is one.
pub fn redis_7_2() -> Option<PathBuf> {
    std::env::var_os("CORELANE_REDIS_7_2").map(PathBuf::from)
}

/// What redis-check-rdb or redis-check-aof of that version says of a file, and whether it is content.
pub fn check_with(tool: &str, binary: &Path, path: &Path) -> (bool, String) {
    use std::os::unix::process::CommandExt;
    // It is the same program under another name.
    let output = Command::new(binary).arg0(tool).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

//! redis-cli as a person uses it: on a terminal, with its hints and its help.

use crate::harness::{Server, now, spawn::spawn};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A redis-cli on a pseudo-terminal.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(args: &[&str]) -> Terminal {
        let (mut master, mut slave) = (-1, -1);
        let size = libc::winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the two descriptors are written by the call and owned below; no name, no attributes.
        let (master, slave) = unsafe {
            let (no_name, no_attributes) = (std::ptr::null_mut(), std::ptr::null());
            assert_eq!(libc::openpty(&mut master, &mut slave, no_name, no_attributes, &size), 0);
            (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        let home = std::env::temp_dir();
        let mut command = Command::new("redis-cli");
        command
            .args(args)
            .env("TERM", "xterm")
            .env("HOME", &home)
            .env("REDISCLI_HISTFILE", "/dev/null");
        let handle = || Stdio::from(slave.try_clone().expect("a second handle"));
        command.stdin(handle()).stdout(handle()).stderr(handle());
        let child = spawn(command).expect("start redis-cli");
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, shown) = (keyboard.try_clone().expect("a second handle"), screen.clone());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut chunk) {
                shown.lock().expect("no panic").push_str(&String::from_utf8_lossy(&chunk[..n]));
            }
        });
        Terminal { child, keyboard, screen }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until the screen has shown `text` since the last call, and forgets what it showed.
    /// Colours and movements of the cursor don't count.
    fn shows(&mut self, text: &str) -> String {
        let deadline = now() + Duration::from_secs(15);
        loop {
            let mut screen = self.screen.lock().expect("no panic");
            let plain = without_escapes(&screen);
            if plain.contains(text) {
                screen.clear();
                return plain;
            }
            assert!(now() < deadline, "{text:?} never appears:\n{screen:?}");
            drop(screen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The text without `ESC [ … letter`.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let after = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |n| n + 1);
        plain.push_str(&part[after..]);
    }
    plain
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn starts_hints_helps_and_quits() {
    let server = Server::corelane(3);
    let port = server.port.to_string();
    let mut terminal = Terminal::start(&["-p", &port]);
    terminal.shows(&format!("127.0.0.1:{port}> "));
    terminal.keys("set greeting \"hello there\"\r");
    terminal.shows("OK");
    terminal.keys("get greeting\r");
    terminal.shows("\"hello there\"");
    // The hint of the arguments follows the cursor as one types.
    terminal.keys("setrange ");
    terminal.shows("key offset value");
    terminal.keys("greeting 0 J\r");
    terminal.shows("(integer) 11");
    terminal.keys("help getrange\r");
    let help = terminal.shows("group: string");
    assert!(help.contains("GETRANGE") && help.contains("since: 2.4.0"), "{help}");
    terminal.keys("select 3\r");
    terminal.shows(&format!("127.0.0.1:{port}[3]> "));
    terminal.keys("incr\r");
    terminal.shows("(error) ERR wrong number of arguments for 'incr' command");
    terminal.keys("hello 3\r");
    terminal.shows("\"proto\" => (integer) 3");
    terminal.keys("quit\r");
    let ended = now() + Duration::from_secs(10);
    while terminal.child.try_wait().expect("wait for a child").is_none() {
        assert!(now() < ended, "redis-cli does not quit");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// redis-cli connects again by itself when the server is back.
#[test]
fn reconnects_after_a_restart() {
    let mut server = Server::corelane(2);
    let port = server.port;
    let mut terminal = Terminal::start(&["-p", &port.to_string()]);
    terminal.shows("> ");
    terminal.keys("ping\r");
    terminal.shows("PONG");
    server.end(libc::SIGTERM);
    terminal.keys("ping\r");
    terminal.shows("not connected> ");
    let _again = Server::corelane_at(port, 2, &[]);
    terminal.keys("ping\r");
    terminal.shows("PONG");
}

//! Runs a client program with a time limit.

use crate::harness::{now, spawn::spawn};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

pub struct Output {
    /// Standard output, then standard error.
    pub text: String,
    /// `None` when the time limit ended it.
    pub code: Option<i32>,
}

impl Output {
    /// The text of a program that ended well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.text);
        self.text
    }
}

/// Runs `program` to its end, or ends it when `limit` is over: some clients never end by themselves.
pub fn run(program: &str, args: &[&str], input: &[u8], limit: Duration) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command).unwrap_or_else(|e| panic!("start {program}: {e}"));
    let (mut stdin, mut stdout, mut stderr) =
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(i), Some(o), Some(e)) => (i, o, e),
            _ => unreachable!("all three are pipes"),
        };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        let out = scope.spawn(move || read_all(&mut stdout));
        let err = scope.spawn(move || read_all(&mut stderr));
        let deadline = now() + limit;
        let code = loop {
            if let Some(status) = child.try_wait().expect("wait for a child") {
                break status.code();
            }
            if now() >= deadline {
                child.kill().expect("end a child");
                child.wait().expect("wait for a child");
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = out.join().expect("a reader") + &err.join().expect("a reader");
        Output { text, code }
    })
}

fn read_all(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a program is on the PATH.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|d| d.join(program).is_file())
}

//! A host for tests: remembers what it was asked, and answers as it is told to.

use super::{Host, Interpreter, LogLevel, Sha, Tick};
use crate::resp::{Encoder, Protocol};

/// Answers a command.
pub type Answer = fn(&[&[u8]], Protocol) -> Vec<u8>;

pub struct MockHost {
    pub calls: Vec<Vec<Vec<u8>>>,
    pub logged: Vec<(LogLevel, Vec<u8>)>,
    pub repl: Option<u8>,
    pub ticks: u32,
    /// At which tick the script is killed.
    pub killed_at: u32,
    pub answer: Answer,
    /// It has ended the script.
    pub ended: bool,
}

impl Default for MockHost {
    fn default() -> MockHost {
        MockHost {
            calls: Vec::new(),
            logged: Vec::new(),
            repl: None,
            ticks: 0,
            killed_at: u32::MAX,
            answer,
            ended: false,
        }
    }
}

/// `echo x` gives x, `raw x` the reply x, `list` an array; `get` of `lock` a token. `end` ends the script.
fn answer(args: &[&[u8]], protocol: Protocol) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut out = Encoder::new(&mut buffer, protocol);
    match args {
        [b"echo", text] => out.bulk(text),
        [b"raw", reply] => out.raw(reply),
        [b"get", b"lock"] => out.bulk(b"token"),
        [b"get", _] => out.null(),
        [b"del", ..] => out.int(args.len() as i64 - 1),
        [b"ping"] => out.simple("PONG"),
        [b"protocol"] => out.int(protocol.number()),
        [b"hgetall"] => {
            out.map(1);
            out.bulk(b"field");
            out.bulk(b"value");
        }
        _ => out.raw(b"-ERR Unknown Redis command called from script\r\n"),
    }
    buffer
}

impl Host for MockHost {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Tick {
        self.ended |= args[0] == b"end";
        if self.ended {
            return Tick::Kill;
        }
        self.calls.push(args.iter().map(|arg| arg.to_vec()).collect());
        out.extend((self.answer)(args, protocol));
        Tick::GoOn
    }

    fn tick(&mut self) -> Tick {
        self.ticks += 1;
        if self.ticks >= self.killed_at { Tick::Kill } else { Tick::GoOn }
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.logged.push((level, message.to_vec()));
    }

    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool> {
        match args[0] {
            b"get" => Some(true),
            b"set" => Some(false),
            _ => None,
        }
    }

    fn set_repl(&mut self, flags: u8) {
        self.repl = Some(flags);
    }
}

/// An interpreter with a host.
pub struct Bench {
    pub interpreter: Interpreter,
    pub host: MockHost,
    pub protocol: Protocol,
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            interpreter: Interpreter::new().unwrap(),
            host: MockHost::default(),
            protocol: Protocol::Resp2,
        }
    }

    /// The reply to EVAL, errors included.
    pub fn eval_with(&mut self, body: &str, keys: &[&[u8]], argv: &[&[u8]]) -> String {
        let sha = Sha::of(body.as_bytes());
        let mut buffer = Vec::new();
        let mut out = Encoder::new(&mut buffer, self.protocol);
        let run = match self.interpreter.load(&sha, body.as_bytes()) {
            Ok(_) => {
                let host = &mut self.host;
                let result = self.interpreter.run(&sha, keys, argv, host, &mut out);
                result.map_err(|failure| failure.error)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = run {
            out.error(&error);
        }
        String::from_utf8_lossy(&buffer).into_owned()
    }

    pub fn eval(&mut self, body: &str) -> String {
        self.eval_with(body, &[], &[])
    }

    /// The error of a script, without its `-` and what says where it came from.
    pub fn error(&mut self, body: &str) -> String {
        let reply = self.eval(body);
        let text = reply.strip_prefix('-').unwrap_or_else(|| panic!("no error: {reply}"));
        text.split(" script: ").next().unwrap().trim_end().to_string()
    }

    /// The text of a script's reply that is a bulk string.
    pub fn text(&mut self, body: &str) -> String {
        let reply = self.eval(body);
        let (header, text) = reply.split_once("\r\n").unwrap();
        assert!(header.starts_with('$'), "{reply}");
        text.trim_end().to_string()
    }
}

//! Scripts that need no keys, run by redis-server's EVAL and by our interpreter: by hand (`scripts.txt`, a line
//! each) and at random. Libraries of functions that travel between both.
//!
//! redis-server 7.0 writes fractions, in arguments of commands and in doubles, with 17 digits, 7.2 with as few as
//! needed: the random scripts have none that differ. An error that is a table without a text ends 7.0: they raise none.

use crate::harness::reply::Parsed;
use crate::harness::{Cmd, Reply, Rng, Server, cases};
use corelane::rdb::dump::{seal, unseal};
use corelane::resp::{Encoder, Protocol};
use corelane::script::{Host, Interpreter, Libraries, LogLevel, RestorePolicy, Sha, Tick};

/// Knows the two commands that scripts here use.
struct Echo;

impl Host for Echo {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Vec<u8>) -> Tick {
        let mut out = Encoder::new(out, protocol);
        let lower = args[0].to_ascii_lowercase();
        match (&lower[..], &args[1..]) {
            (b"ping", []) => out.simple("PONG"),
            (b"ping" | b"echo", [text]) => out.bulk(text),
            (b"ping" | b"echo", _) => {
                out.raw(b"-ERR Wrong number of args calling Redis command from script\r\n");
            }
            _ => out.raw(b"-ERR Unknown Redis command called from script\r\n"),
        }
        Tick::GoOn
    }

    fn tick(&mut self) -> Tick {
        Tick::GoOn
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}

    fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
        Some(true)
    }

    fn set_repl(&mut self, _: u8) {}
}

fn ours(interpreter: &mut Interpreter, body: &str, argv: &[&[u8]], protocol: Protocol) -> Reply {
    let sha = Sha::of(body.as_bytes());
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes, protocol);
    let run = interpreter.load(&sha, body.as_bytes()).and_then(|_| {
        let run = interpreter.run(&sha, &[], argv, &mut Echo, &mut out);
        run.map_err(|failure| failure.error)
    });
    if let Err(error) = run {
        out.error(&error);
    }
    parsed(&bytes)
}

fn parsed(bytes: &[u8]) -> Reply {
    match Reply::parse(bytes) {
        Parsed::Whole(reply, len) if len == bytes.len() => reply,
        _ => panic!("not one reply: {}", bytes.escape_ascii()),
    }
}

/// Runs the scripts on both, and prints those whose replies differ.
fn compare(bodies: impl Iterator<Item = String>, protocol: Protocol) -> usize {
    let redis = Server::redis();
    let mut client = redis.client();
    client.run(&format!("HELLO {}", protocol.number()));
    let mut interpreter = Interpreter::new().unwrap();
    let argv: [&[u8]; 3] = [b"3", b"ab\0c", b""];
    let mut count = 0;
    let mut different = Vec::new();
    for body in bodies {
        let mut eval: Vec<&[u8]> = vec![b"EVAL", body.as_bytes(), b"0"];
        eval.extend(argv);
        let theirs = client.call(&Cmd::new(eval));
        let ours = ours(&mut interpreter, &body, &argv, protocol);
        count += 1;
        if ours != theirs {
            different.push(format!("{body}\n  redis-server: {theirs:?}\n  Corelane:     {ours:?}"));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {count} differ:\n{}",
        different.len(),
        different.join("\n")
    );
    count
}

#[test]
fn written_scripts() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let bodies = include_str!("scripts.txt").lines().map(str::to_string);
        assert!(compare(bodies, protocol) > 300);
    }
}

#[test]
fn random_scripts() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut rng = Rng::new(protocol.number() as u64);
        let bodies = (0..cases(3_000)).map(|_| script(&mut rng));
        compare(bodies, protocol);
    }
}

fn script(rng: &mut Rng) -> String {
    let setup = if rng.below(4) == 0 { "redis.setresp(3) " } else { "" };
    let local = expression(rng, 3);
    match rng.below(4) {
        0 => format!("{setup}local a = {local} return {}", expression(rng, 3)),
        1 => format!(
            "{setup}local a = {local} return {{pcall(function() return {} end)}}",
            expression(rng, 3)
        ),
        2 => format!("{setup}return {{{local}, {}}}", expression(rng, 2)),
        _ => format!("{setup}return {local}"),
    }
}

fn pick<'t>(rng: &mut Rng, of: &[&'t str]) -> &'t str {
    of[rng.below(of.len())]
}

const NUMBERS: &[&str] = &[
    "0", "1", "-1", "2", "3", "7", "10", "127", "128", "255", "256", "-129", "65535", "65536",
    "2^31", "-2^31", "2^32", "2^53", "2^63", "-2^63", "1e15", "1e300", "0.5", "-1.5", "0.1", "1/3",
    "1/0", "0/0", "-0", "'12'",
];

const TEXTS: &[&str] = &[
    "''",
    "'a'",
    "'abc'",
    "'12'",
    "'0x1f'",
    "' 7 '",
    "'1e2'",
    "'é'",
    "'a\\0b'",
    "'\\r\\n'",
    "'\"/\\\\'",
    "'\\1\\127\\255'",
    "'a b'",
    "'%d'",
    "'x=1'",
    "ARGV[1]",
    "ARGV[2]",
    "ARGV[9]",
    "('x'):rep(40)",
];

const JSON: &[&str] = &[
    "'[1,2,[3]]'",
    "'{\"a\":{\"b\":null}}'",
    "'{}'",
    "'[]'",
    "'null'",
    "' true '",
    "'\"a\\\\u00e9\\\\n\"'",
    "'1e3'",
    "'-0'",
    "'nan'",
    "'[1,'",
    "'{\"a\" 1}'",
    "'{1:2}'",
    "'tru'",
    "'\"'",
    "'[1]x'",
    "'0x10'",
    "''",
    "'[1.5e-3,-7]'",
    "'\"\\\\ud83d\\\\ude00\"'",
    "'\"\\\\ud83d\"'",
    "'.5'",
];

const FORMATS: &[&str] = &[
    "'b'", "'>h'", "'<H'", "'i3'", "'>I5'", "'l'", "'f'", "'>d'", "'s'", "'c0'", "'c2'", "'bc0'",
    "'!4bi'", "'xb'", "'>bhs'", "'i9'", "'z'", "'!3b'", "''", "' b '",
];

const BYTES: &[&str] = &[
    "'\\1\\2\\3\\4\\5\\6\\7\\8\\9'",
    "'\\255\\254\\253\\252'",
    "'ab\\0cd\\0'",
    "'\\2abc'",
    "''",
    "'\\129\\161a\\146\\1\\192'",
    "'\\204'",
    "'\\193'",
    "'\\148\\1\\2\\195\\194'",
    "'\\202\\63\\0\\0\\0'",
    "'\\211\\255\\255\\255\\255\\255\\255\\255\\0'",
    "'\\217\\3abc'",
    "'\\130\\1\\2\\3'",
    "'\\129\\192\\1'",
    "'\\222\\0\\1\\1\\2'",
];

fn number(rng: &mut Rng) -> &'static str {
    pick(rng, NUMBERS)
}

/// An expression whose value does not depend on where things lie in memory.
fn expression(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 || rng.below(4) == 0 {
        return match rng.below(8) {
            0..3 => number(rng).to_string(),
            3..6 => pick(rng, TEXTS).to_string(),
            6 => pick(rng, &["true", "false", "nil", "cjson.null"]).to_string(),
            _ => "{}".to_string(),
        };
    }
    let (a, b) = (expression(rng, depth - 1), expression(rng, depth - 1));
    match rng.below(9) {
        0 => format!("{{{a}, {b}}}"),
        1 => format!(
            "{{x = {a}, [{}] = {b}}}",
            pick(rng, &["1", "2", "3", "20", "'k'", "1.5", "-1"])
        ),
        2 => format!(
            "({a} {} {b})",
            pick(rng, &["+", "-", "*", "/", "%", "..", "==", "~=", "<", "and", "or"])
        ),
        3 => format!("({}({a}))", pick(rng, &["not ", "-", "#"])),
        4 => redis(rng, &a),
        5 => json_or_message(rng, &a, &b),
        6 => structure_or_bits(rng),
        7 => of_strings(rng, &a),
        _ => of_numbers(rng),
    }
}

fn redis(rng: &mut Rng, a: &str) -> String {
    match rng.below(9) {
        0 => format!("redis.call('echo', {})", pick(rng, TEXTS)),
        1 => format!(
            "redis.pcall({}, {})",
            pick(rng, &["'echo'", "'PING'", "'foo'", "nil", "{}"]),
            pick(rng, TEXTS)
        ),
        2 => format!("redis.{}({a})", pick(rng, &["status_reply", "error_reply"])),
        3 => format!("redis.sha1hex({})", pick(rng, TEXTS)),
        4 => format!(
            "{{double = {}}}",
            pick(rng, &["0", "-0", "0.5", "-3", "1e10", "1/0", "-1/0", "'1'"])
        ),
        5 => format!("{{map = {{{a}, k = {a}}}}}"),
        6 => format!("{{set = {{[{}] = true}}}}", pick(rng, &["1", "'a'", "true", "1.5"])),
        7 => format!("{{big_number = {}}}", pick(rng, TEXTS)),
        _ => format!(
            "{{verbatim_string = {{string = {}, format = {}}}}}",
            pick(rng, TEXTS),
            pick(rng, TEXTS)
        ),
    }
}

fn json_or_message(rng: &mut Rng, a: &str, b: &str) -> String {
    match rng.below(8) {
        0 | 1 => format!("cjson.encode({a})"),
        2 => format!("cjson.decode({})", pick(rng, JSON)),
        3 => format!("cjson.encode(cjson.decode({}))", pick(rng, JSON)),
        4 => format!("cmsgpack.pack({a}, {b})"),
        5 => format!("{{cmsgpack.unpack(cmsgpack.pack({a}, {b}))}}"),
        6 => format!("{{cmsgpack.unpack({})}}", pick(rng, BYTES)),
        _ => format!(
            "{{cmsgpack.unpack_limit({}, {}, {})}}",
            pick(rng, BYTES),
            rng.below(3),
            rng.below(4)
        ),
    }
}

fn structure_or_bits(rng: &mut Rng) -> String {
    const BITS: &[&str] = &["band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror"];
    // Beyond that it depends on the compiler which bits a double has.
    const SMALL: &[&str] =
        &["0", "1", "-1", "5", "31", "33", "255", "65535", "-2^31", "2^31", "1.5", "'7'"];
    let (format, bytes) = (pick(rng, FORMATS), pick(rng, BYTES));
    match rng.below(5) {
        0 => format!("struct.pack({format}, {}, {})", pick(rng, SMALL), pick(rng, TEXTS)),
        1 => format!("struct.pack({format}, {})", pick(rng, TEXTS)),
        2 => format!("{{struct.unpack({format}, {bytes}, {})}}", 1 + rng.below(4)),
        3 => format!("bit.{}({}, {})", pick(rng, BITS), pick(rng, SMALL), pick(rng, SMALL)),
        _ => {
            format!("bit.{}({})", pick(rng, &["tohex", "bnot", "bswap", "tobit"]), pick(rng, SMALL))
        }
    }
}

fn of_strings(rng: &mut Rng, a: &str) -> String {
    let text = pick(rng, TEXTS);
    match rng.below(10) {
        0 => format!(
            "string.format({}, {})",
            pick(rng, &["'%s'", "'%d'", "'%5.2f'", "'%q'", "'%x'", "'%g'", "'%'"]),
            text
        ),
        1 => format!("string.rep({text}, {})", rng.below(4)),
        2 => format!(
            "string.sub({text}, {}, {})",
            pick(rng, &["1", "-2", "0"]),
            pick(rng, &["1", "-1", "9"])
        ),
        3 => format!(
            "{{string.find({text}, {})}}",
            pick(rng, &["'a'", "'%d'", "'[a-c]+'", "'('", "''"])
        ),
        4 => format!(
            "string.gsub({text}, {}, {})",
            pick(rng, &["'a'", "'%w'", "'.'"]),
            pick(rng, &["'b'", "'%0%0'", "{a = 'z'}", "{}"])
        ),
        5 => format!("{{string.byte({text}, 1, -1)}}"),
        6 => format!("string.{}({text})", pick(rng, &["upper", "lower", "len", "reverse"])),
        7 => format!("table.concat({{{text}, {}}}, {})", number(rng), pick(rng, TEXTS)),
        8 => format!("type({a})"),
        _ => format!("tonumber({text}{})", pick(rng, &["", ", 16", ", 8", ", 2"])),
    }
}

fn of_numbers(rng: &mut Rng) -> String {
    let (a, b) = (number(rng), number(rng));
    match rng.below(6) {
        0 => format!("math.{}({a})", pick(rng, &["floor", "ceil", "abs", "sqrt"])),
        1 => format!("math.{}({a}, {b})", pick(rng, &["max", "min"])),
        2 => format!("tostring({a})"),
        3 => format!("select({}, {a}, {b})", pick(rng, &["1", "2", "-1", "'#'", "0"])),
        4 => format!("unpack({{{a}, {b}, {a}}}, {})", 1 + rng.below(3)),
        _ => format!("{{pcall(error, {})}}", pick(rng, &["'x'", "{err = 'X y'}", "12", "'x', 2"])),
    }
}

const LIBRARY: &str = "#!lua name=mylib
local function keep(keys, args)
  return {keys[1], args[1], #keys}
end
redis.register_function('keep', keep)
redis.register_function{function_name='described', callback=keep, description='a longer description, \
that repeats itself, that repeats itself, that repeats itself', flags={'no-writes', 'allow-stale'}}
";

#[test]
fn libraries_travel_both_ways() {
    let redis = Server::redis();
    let mut client = redis.client();
    assert_eq!(client.call(&Cmd::new(["FUNCTION", "LOAD", LIBRARY])).text(), "mylib");
    let Reply::Bulk(payload) = client.run("FUNCTION DUMP") else { panic!("a payload") };
    let mut interpreter = Interpreter::new().unwrap();
    let mut libraries = Libraries::default();
    let policy = RestorePolicy::Append;
    libraries.restore(&payload, policy, &mut interpreter, &mut Echo).unwrap();
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes, Protocol::Resp2);
    let (keys, argv): (&[&[u8]], &[&[u8]]) = (&[b"k"], &[b"v"]);
    interpreter.call(&libraries, b"KEEP", keys, argv, &mut Echo, &mut out).unwrap();
    assert_eq!(bytes, b"*3\r\n$1\r\nk\r\n$1\r\nv\r\n:1\r\n");
    // 7.0 takes version 10 at most.
    let dumped = libraries.dump();
    let (version, content) = unseal(&dumped).unwrap();
    assert_eq!(version, 11);
    let older = seal(content.to_vec(), 10);
    client.run("FUNCTION FLUSH");
    let restore: [&[u8]; 3] = [b"FUNCTION", b"RESTORE", &older];
    assert_eq!(client.call(&Cmd::new(restore)).text(), "OK");
    assert_eq!(client.run("FCALL described 1 k v"), parsed(&bytes));
    let theirs = client.run("FUNCTION LIST WITHCODE");
    assert_eq!(theirs.items()[0].field("library_code").unwrap().text(), LIBRARY);
}

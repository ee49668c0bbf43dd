//! Malformed and unusual input, byte for byte against redis-server: the same reply, the same close.
//!
//! The cases are also the seeds of `fuzz`.

use crate::harness::client::{Client, Ending};
use crate::harness::{Pair, Server};
use std::time::Duration;

/// A name and the bytes to send.
pub type Case = (&'static str, Vec<u8>);

fn case(name: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    (name, bytes.as_ref().to_vec())
}

/// Broken headers and counts.
fn headers() -> Vec<Case> {
    vec![
        case("count not a number", "*abc\r\n"),
        case("count empty", "*\r\n"),
        case("count zero", "*0\r\nPING\r\n"),
        case("count minus one", "*-1\r\nPING\r\n"),
        case("count very negative", "*-1000000000\r\nPING\r\n"),
        case("count beyond i64", "*99999999999999999999\r\n"),
        case("count beyond i32", "*2147483648\r\n"),
        case("count with a sign", "*+1\r\n$4\r\nPING\r\n"),
        case("count with a leading zero", "*01\r\n$4\r\nPING\r\n"),
        case("count with spaces", "* 1\r\n$4\r\nPING\r\n"),
        case("bulk length not a number", "*1\r\n$abc\r\n"),
        case("bulk length empty", "*1\r\n$\r\n"),
        case("bulk length minus one", "*1\r\n$-1\r\nPING\r\n"),
        case("bulk length beyond the limit", "*2\r\n$3\r\nGET\r\n$536870913\r\n"),
        case("bulk length of 2 GB", "*2\r\n$3\r\nGET\r\n$2147483648\r\n"),
        case("bulk length beyond i64", "*2\r\n$3\r\nGET\r\n$99999999999999999999\r\n"),
        case("bulk length with a sign", "*1\r\n$+4\r\nPING\r\n"),
        case("bulk length with a leading zero", "*1\r\n$04\r\nPING\r\n"),
        case("no dollar", "*1\r\nPING\r\n"),
        case("colon for dollar", "*2\r\n$3\r\nGET\r\n:1\r\n"),
        case("a high byte for dollar", b"*1\r\n\xff4\r\n"),
        case("star in star", "*2\r\n*1\r\n$4\r\nPING\r\n"),
        case("nested far", "*1\r\n".repeat(1000)),
        case(
            "a line without an end, 64 KB of digits",
            [b"*".as_slice(), &b"1".repeat(66_000)].concat(),
        ),
        case(
            "a bulk header without an end",
            [b"*1\r\n$".as_slice(), &b"1".repeat(66_000)].concat(),
        ),
        case("empty requests before a good one", "*0\r\n*0\r\n*-5\r\n*1\r\n$4\r\nPING\r\n"),
    ]
}

/// Bodies that are longer or shorter than they say, and requests that stop half-way.
fn bodies() -> Vec<Case> {
    vec![
        case("half a header", "*2\r\n$3\r\nGE"),
        case("half a bulk", "*2\r\n$3\r\nGET\r\n$10\r\nabc"),
        case("header only", "*3\r\n"),
        case("one byte", "*"),
        case("body longer than it says", "*2\r\n$3\r\nGET\r\n$1\r\nkk\r\n*1\r\n$4\r\nPING\r\n"),
        case("body shorter than it says", "*2\r\n$3\r\nGET\r\n$5\r\nk\r\n*1\r\n$4\r\nPING\r\n"),
        case("terminator of other bytes", "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n"),
        case("LF alone after a bulk", "*1\r\n$4\r\nPING\n"),
        case("LF alone after the count", "*1\n$4\r\nPING\r\n"),
        case("CR and another byte", "*1\rx$4\r\nPING\r\n"),
        case("empty command name", "*1\r\n$0\r\n\r\n"),
        case("empty command name with arguments", "*2\r\n$0\r\n\r\n$1\r\na\r\n"),
        case("NUL bytes in the name", b"*1\r\n$4\r\nPI\0G\r\n"),
        case("binary arguments", b"*2\r\n$4\r\nECHO\r\n$6\r\n\x00\xff\r\n\"'\r\n"),
        case("CR LF in the name", "*1\r\n$6\r\nPI\r\nNG\r\n"),
        case(
            "a long unknown name",
            [b"*1\r\n$300\r\n".as_slice(), &b"x".repeat(300), b"\r\n"].concat(),
        ),
        case("unknown with long arguments", long_unknown()),
        case("good, then garbage", "*1\r\n$4\r\nPING\r\n*x\r\n*1\r\n$4\r\nPING\r\n"),
        case("good, then a bad bulk, then good", "PING\r\n*1\r\n$x\r\nPING\r\n"),
        case("good, then half", "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$2\r\nk"),
        case("ten thousand pings", "PING\r\n".repeat(10_000)),
        case("many arguments", many_arguments(5_000)),
    ]
}

fn long_unknown() -> Vec<u8> {
    let mut bytes = b"*20\r\n$3\r\nFOO\r\n".to_vec();
    for i in 0..19 {
        let argument = format!("argument-{i}-").repeat(3);
        bytes.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
    bytes
}

fn many_arguments(count: usize) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n$6\r\nEXISTS\r\n", count + 1).into_bytes();
    for i in 0..count {
        let key = format!("k{i}");
        bytes.extend_from_slice(format!("${}\r\n{key}\r\n", key.len()).as_bytes());
    }
    bytes
}

/// Inline requests, as typed into telnet.
fn inline() -> Vec<Case> {
    vec![
        case("inline", "PING\r\n"),
        case("inline with LF alone", "PING\nPING\n"),
        case("inline small letters", "ping\r\n"),
        case("inline with spaces around", "   PING   \r\n"),
        case("inline tabs", "ECHO\ta\r\n"),
        case("empty lines", "\r\n\r\n\n  \r\nPING\r\n"),
        case("a bare LF", "\n"),
        case("a bare CR", "\r"),
        case("a bare CR LF", "\r\n"),
        case("double quotes", "ECHO \"a b\\x41\\n\\\"\\q\"\r\n"),
        case("single quotes", "ECHO 'a b\\'c\\n'\r\n"),
        case("empty quotes", "ECHO \"\"\r\n"),
        case("quotes open", "ECHO \"abc\r\nPING\r\n"),
        case("single quotes open", "ECHO 'abc\r\nPING\r\n"),
        case("quotes followed by a letter", "ECHO \"a\"b\r\nPING\r\n"),
        case("single quotes followed by a letter", "ECHO 'a'b\r\nPING\r\n"),
        case("a quote inside a word", "ECHO a\"b\"\r\n"),
        case("bad hex", "ECHO \"\\xZZ\"\r\n"),
        case("high bytes", b"ECHO \xff\xfe\r\n"),
        case("unknown inline", "HELP me please\r\n"),
        case("64 KB without an end", "x".repeat(65_537)),
        case("70 KB with an end", [b"ECHO ".as_slice(), &b"x".repeat(70_000), b"\r\n"].concat()),
        case("60 KB with an end", [b"ECHO ".as_slice(), &b"x".repeat(60_000), b"\r\n"].concat()),
        case("inline, then multibulk, then inline", "PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n"),
        case("an HTTP request", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        case("an HTTP post", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n"),
        case("a host header", "Host: localhost\r\nPING\r\n"),
        case("RESP replies as requests", "+OK\r\n-ERR x\r\n:1\r\n$3\r\nabc\r\n_\r\n%1\r\n"),
        case("TLS hello", b"\x16\x03\x01\x02\x01\x01\xfc\x03\x03\n"),
    ]
}

pub fn cases() -> Vec<Case> {
    [headers(), bodies(), inline()].concat()
}

/// What a connection got for its bytes, and whether it was closed.
fn outcome(port: u16, pieces: &[&[u8]], patience: Duration) -> (Vec<u8>, Ending) {
    let mut client = Client::connect(port);
    for piece in pieces {
        // A server that has closed already refuses the rest.
        if client.send_raw(piece).is_err() {
            break;
        }
        if pieces.len() > 1 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    client.drain(patience)
}

/// Compares one way of sending; a mismatch is looked at again with more patience, since a loaded
/// machine is slow to close.
fn same_outcome(pair: &Pair, pieces: &[&[u8]]) -> Result<(), String> {
    let mut difference = String::new();
    for patience in [150, 2_000] {
        let patience = Duration::from_millis(patience);
        let redis = outcome(pair.redis.port, pieces, patience);
        let ours = outcome(pair.corelane.port, pieces, patience);
        if redis == ours {
            return Ok(());
        }
        let show = |(bytes, ending): &(Vec<u8>, Ending)| {
            let end = bytes.len().min(300);
            format!("{ending:?} {} bytes {:?}", bytes.len(), String::from_utf8_lossy(&bytes[..end]))
        };
        difference =
            format!("\n    redis-server: {}\n    corelane:     {}", show(&redis), show(&ours));
    }
    Err(difference)
}

fn compare_all(pair: &Pair, pieces_of: impl for<'a> Fn(&'a [u8]) -> Option<Vec<&'a [u8]>>) {
    let mut witness = pair.corelane.client();
    let mut differences = Vec::new();
    for (name, bytes) in &cases() {
        let Some(pieces) = pieces_of(bytes) else { continue };
        if let Err(difference) = same_outcome(pair, &pieces) {
            differences.push(format!("  {name}:{difference}"));
        }
        assert_eq!(witness.run("PING").text(), "PONG", "another client, after {name}");
    }
    assert!(
        differences.is_empty(),
        "{} cases differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn answered_as_redis_does() {
    for shards in [1, 3] {
        compare_all(&Pair::start(shards, &[]), |bytes| Some(vec![bytes]));
    }
}

/// Byte by byte, as from a slow writer; the long cases would take long and are left out.
#[test]
fn answered_as_redis_does_byte_by_byte() {
    let pair = Pair::start(3, &[]);
    compare_all(&pair, |bytes| (bytes.len() < 200).then(|| bytes.chunks(1).collect()));
}

/// redis-server looks for the end of a line only as far as the first NUL and then waits for ever.
/// Here the line counts as what it is.
#[test]
fn a_nul_does_not_hide_the_end_of_a_line() {
    let server = Server::corelane(2);
    let reply = |bytes: &[u8]| {
        let (bytes, ending) = outcome(server.port, &[bytes], Duration::from_millis(500));
        (String::from_utf8_lossy(&bytes).into_owned(), ending)
    };
    let (text, ending) = reply(b"ECHO a\0b\r\nPING\r\n");
    assert!(text.ends_with("\r\n+PONG\r\n"), "{text:?}");
    assert_eq!(ending, Ending::Open);
    let (text, ending) = reply(b"*1\r\n\0\r\nPING\r\n");
    assert!(text.starts_with("-ERR Protocol error: expected '$', got '"), "{text:?}");
    assert_eq!(ending, Ending::Closed);
    let (text, ending) = reply(b"*1\0\r\nPING\r\n");
    assert_eq!(
        (text.as_str(), ending),
        ("-ERR Protocol error: invalid multibulk length\r\n", Ending::Closed)
    );
}

/// The same limits hold before a password was given, where they are far lower.
#[test]
fn unauthenticated_clients_get_less() {
    let pair = Pair::start_with_password();
    let multibulk = "*11\r\n".to_string() + &"$1\r\na\r\n".repeat(11);
    for bytes in [
        multibulk.as_str(),
        "*10\r\n$4\r\nMGET\r\n",
        "*2\r\n$4\r\nAUTH\r\n$16385\r\n",
        "*2\r\n$4\r\nAUTH\r\n$16384\r\n",
        "GET k\r\nPING\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        "AUTH secret\r\n*11\r\n$6\r\nEXISTS\r\n",
        "QUIT\r\nPING\r\n",
    ] {
        let verdict = same_outcome(&pair, &[bytes.as_bytes()]);
        assert!(verdict.is_ok(), "{bytes:?}:{}", verdict.unwrap_err());
    }
}

/// Headers that announce much cost little until it arrives.
#[test]
fn announced_bytes_take_no_memory() {
    let server = Server::corelane(2);
    let mut clients: Vec<Client> = (0..200).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|c| assert_eq!(c.run("PING").text(), "PONG"));
    let before = server.rss();
    for client in &mut clients {
        client.send_raw(b"*1000000\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc").unwrap();
    }
    let mut witness = server.client();
    for _ in 0..100 {
        assert_eq!(witness.run("PING").text(), "PONG");
    }
    let grown = server.rss().saturating_sub(before);
    println!("200 headers of 512 MB each: {} KiB more", grown >> 10);
    // Redis keeps 1.6 MB per such client at once; 64 KiB each is ample for the few bytes that came.
    assert!(grown < 200 * (64 << 10) + (4 << 20), "{} KiB for nothing", grown >> 10);
}

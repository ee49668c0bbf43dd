//! The TLS port under peers that send garbage, half of a handshake, too slowly, or do not read.

use super::LONG;
use crate::harness::process::is_stand_in;
use crate::harness::tls::{TlsClient, TlsServer};
use crate::harness::{Cmd, PATIENCE, Rng, now, wait_until};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What a client says first.
fn hello(server: &TlsServer) -> Vec<u8> {
    let config = server.authority.client(Some(&server.client));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = ClientConnection::new(config, name).unwrap();
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    bytes
}

/// What comes until the connection ends; it must.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => panic!("still open"),
        _ => bytes,
    }
}

#[test]
fn garbage_ends_its_connection_alone() {
    if is_stand_in() {
        return;
    }
    let mut server = TlsServer::start(2, &[]);
    let mut good = server.client();
    let fds = server.server.resting_fds();
    for plain in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = connect(server.tls_port);
        stream.write_all(plain).unwrap();
        assert_eq!(rest(stream), b"", "who speaks no TLS is closed without a word");
    }
    let first = hello(&server);
    let mut random = Rng::new(7);
    for round in 0..300 {
        let mut bytes = first.clone();
        match round % 3 {
            0 => bytes = (0..1 + random.below(600)).map(|_| random.next() as u8).collect(),
            1 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            _ => bytes.extend((0..200).map(|_| random.next() as u8)),
        }
        let mut stream = connect(server.tls_port);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        rest(stream);
        assert_eq!(good.run("PING").text(), "PONG");
    }
    // Also in the middle of a conversation.
    let mut broken = server.client();
    broken.socket().write_all(&[23, 3, 3, 0, 40]).unwrap();
    broken.socket().write_all(&[7; 40]).unwrap();
    assert!(broken.recv().is_err());
    drop(broken);
    server.server.wait_fds(fds);
    assert_eq!(good.run("PING").text(), "PONG");
    server.server.assert_healthy();
}

#[test]
fn half_handshakes_hold_little_and_leave_nothing() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(2, &[]);
    let mut good = server.client();
    let fds = server.server.resting_fds();
    // Memory that the first ones leave in pools does not count.
    drop((0..100).map(|_| connect(server.tls_port)).collect::<Vec<_>>());
    server.server.wait_fds(fds);
    let before = server.server.rss();
    let first = hello(&server);
    let open: Vec<TcpStream> = (0..1_000)
        .map(|i| {
            let mut stream = connect(server.tls_port);
            // Nothing, a part, or all that comes before the client's own part of the keys.
            stream.write_all(&first[..[0, 3, first.len() / 2, first.len()][i % 4]]).unwrap();
            stream
        })
        .collect();
    wait_until("all are there", || server.server.fds() >= fds + 1_000);
    std::thread::sleep(Duration::from_millis(300));
    let grown = server.server.rss().saturating_sub(before);
    println!("1,000 half handshakes: {} KB", grown >> 10);
    assert!(grown < 24 << 20, "1,000 half handshakes take {} KB", grown >> 10);
    assert_eq!(good.run("PING").text(), "PONG");
    drop(open);
    server.server.wait_fds(fds);
}

#[test]
fn a_handshake_without_end_is_cut_off() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(1, &[]);
    let before = server.server.rss();
    let mut stream = connect(server.tls_port);
    // Pieces of one message that says to be of 16 MB.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut sent = 0;
    while sent < 8 << 20 && stream.write_all(&record).is_ok() {
        sent += record.len();
        record[5..9].fill(0);
    }
    assert!(sent < 8 << 20, "a handshake of {sent} bytes is taken in");
    assert!(server.server.rss() < before + (8 << 20));
    assert_eq!(server.client().run("PING").text(), "PONG");
}

#[test]
fn slow_handshakes_succeed_and_slow_nobody_down() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(1, &[]);
    let config = server.authority.client(Some(&server.client));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = ClientConnection::new(config, name).unwrap();
    let mut stream = connect(server.tls_port);
    stream.set_nodelay(true).unwrap();
    let mut good = server.client();
    session.writer().write_all(b"PING\r\n").unwrap();
    let mut answer = Vec::new();
    while answer.len() < 7 {
        let mut bytes = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut bytes).unwrap();
        }
        for byte in bytes.chunks(3) {
            stream.write_all(byte).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        let begun = now();
        assert_eq!(good.run("PING").text(), "PONG");
        assert!(begun.elapsed() < LONG);
        if session.wants_read() && !session.wants_write() {
            session.read_tls(&mut stream).unwrap();
            session.process_new_packets().unwrap();
        }
        let mut part = [0; 16];
        if let Ok(len) = session.reader().read(&mut part) {
            answer.extend_from_slice(&part[..len]);
        }
    }
    assert_eq!(answer, b"+PONG\r\n");
}

#[test]
fn output_that_nobody_reads_is_limited() {
    if is_stand_in() {
        return;
    }
    let limit = "normal 4mb 0 0 pubsub 4mb 0 0";
    let server = TlsServer::start(2, &["--client-output-buffer-limit", limit]);
    let mut admin = server.client();
    let value = "x".repeat(1 << 20);
    assert_eq!(admin.call(&Cmd::new(["SET", "k", &value])).text(), "OK");
    let mut deaf = server.client();
    let mut bytes = Vec::new();
    for _ in 0..64 {
        Cmd::new(["GET", "k"]).encode(&mut bytes);
    }
    deaf.send_raw(&bytes).unwrap();
    wait_until("it is closed", || admin.run("CLIENT LIST").text().lines().count() == 1);
    let mut subscriber = server.client();
    subscriber.run("SUBSCRIBE news");
    let cmds: Vec<Cmd> = (0..64).map(|_| Cmd::new(["PUBLISH", "news", &value])).collect();
    let heard = admin.pipeline(&cmds).unwrap();
    assert_eq!((heard[0].int(), heard[63].int()), (1, 0), "it is closed on the way");
    assert_eq!(admin.run("PING").text(), "PONG");
}

#[test]
fn no_more_clients_than_allowed() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(2, &["--maxclients", "5"]);
    let mut clients: Vec<TlsClient> = (0..5).map(|_| server.client()).collect();
    let config = server.authority.client(Some(&server.client));
    let config: &Arc<_> = &config;
    assert!(TlsClient::connect(server.tls_port, config).is_err());
    assert!(clients.iter_mut().all(|client| client.run("PING").text() == "PONG"));
    clients.pop();
    wait_until("there is room again", || TlsClient::connect(server.tls_port, config).is_ok());
}

//! Connections in great number: coming and going, and idle.

use crate::harness::client::{Client, Ending};
use crate::harness::{Server, now, wait_until};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Connects from another loopback address: each has ephemeral ports of its own, so that ports
/// still in TIME_WAIT are in nobody's way.
fn connect_from(source: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let address = |ip: Ipv4Addr, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
        sin_zero: [0; 8],
    };
    let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let check = |status: i32| match status {
        -1 => Err(std::io::Error::last_os_error()),
        n => Ok(n),
    };
    // SAFETY: the descriptor is new and owned by `socket`; the addresses outlive the calls and have
    // the size given.
    unsafe {
        let fd = check(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(fd);
        let on: i32 = 1;
        // Without this, bind would take a port at once, before the peer's address is known.
        let (level, option) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
        check(libc::setsockopt(fd, level, option, (&raw const on).cast(), 4))?;
        let (local, peer) = (address(source, 0), address(Ipv4Addr::LOCALHOST, port));
        check(libc::bind(fd, (&raw const local).cast(), size))?;
        check(libc::connect(fd, (&raw const peer).cast(), size))?;
        Ok(TcpStream::from(socket))
    }
}

/// Closing then sends a reset instead of a FIN.
fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a whole `linger` that outlives the call.
    unsafe {
        let value = (&raw const linger).cast();
        let size = size_of::<libc::linger>() as libc::socklen_t;
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size);
    }
}

/// Opens, pings and closes `count` connections from several threads; every second one is reset.
fn churn(port: u16, count: usize) {
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let source = Ipv4Addr::new(127, 0, 0, 2 + thread as u8);
                let mut reply = [0; 7];
                for i in 0..count / THREADS {
                    let mut stream = connect_from(source, port).expect("connect");
                    stream.write_all(b"PING\r\n").expect("write");
                    stream.read_exact(&mut reply).expect("read");
                    assert_eq!(&reply, b"+PONG\r\n");
                    if i % 2 == 0 {
                        reset_on_close(&stream);
                    }
                }
            });
        }
    });
}

#[test]
fn a_hundred_thousand_come_and_go_without_a_trace() {
    let mut server = Server::corelane(3);
    let fds = server.resting_fds();
    churn(server.port, 5_000);
    server.wait_fds(fds);
    let before = server.rss();
    let start = now();
    churn(server.port, 100_000);
    let took = start.elapsed();
    server.wait_fds(fds);
    let grown = server.rss() as i64 - before as i64;
    println!("100,000 connections in {took:.1?}: {} KiB more", grown >> 10);
    assert!(grown < 4 << 20, "{} KiB more", grown >> 10);
    server.assert_healthy();
    let received: u64 = server.info("total_connections_received").unwrap().parse().unwrap();
    assert!(received >= 105_000, "{received}");
}

/// As many idle connections as both processes may have, at most 10,000.
#[test]
fn ten_thousand_idle_connections() {
    let limit = raise_descriptor_limit();
    let count = (limit as usize).saturating_sub(500).min(10_000);
    let server = Server::corelane_with(3, &["--maxclients", "10100"]);
    let may: usize =
        server.client().run("CONFIG GET maxclients").items()[1].text().parse().unwrap();
    let count = count.min(may - 50);
    let mut witness = server.client();
    witness.run("PING");
    let before = server.rss();
    let open = |i: usize| {
        let source = Ipv4Addr::new(127, 0, 1, (i % 8) as u8 + 1);
        let mut stream = connect_from(source, server.port).expect("connect");
        stream.write_all(b"PING\r\n").expect("write");
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).expect("read");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..count).map(open).collect();
    let each = server.rss().saturating_sub(before) / count;
    println!("{count} idle connections: {each} bytes of RSS each");
    assert!(each < 16 << 10, "{each} bytes for an idle connection");
    let connected: usize = server.info("connected_clients").unwrap().parse().unwrap();
    assert!((count + 1..=count + 3).contains(&connected), "{connected} of {count}");
    for stream in streams.iter_mut().step_by(97) {
        stream.write_all(b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n").unwrap();
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"$2\r\nhi\r\n");
    }
    drop(streams);
    wait_until("the connections are gone", || {
        server.info("connected_clients").unwrap().parse::<usize>().unwrap() <= 3
    });
}

/// Sets the soft limit of open files to the hard one and returns it.
fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a whole `rlimit` that outlives them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    limit.rlim_cur
}

/// `printf 'PING\r\n' | nc`: the end of the input does not cut off the replies.
#[test]
fn a_half_closed_connection_gets_its_replies() {
    let server = Server::corelane(3);
    for _ in 0..50 {
        let mut client = server.client();
        let keys: String =
            (0..200).map(|i| format!("SET key:{i} {i}\r\nGET key:{i}\r\n")).collect();
        client.send_raw(keys.as_bytes()).unwrap();
        client.stream().shutdown(Shutdown::Write).unwrap();
        let (bytes, ending) = client.drain(Duration::from_secs(10));
        let expected: String = (0..200)
            .map(|i: usize| format!("+OK\r\n${}\r\n{i}\r\n", i.to_string().len()))
            .collect();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(ending, Ending::Closed);
    }
}

/// A server that ends closes its clients; a second one may take the port at once.
#[test]
fn the_port_is_free_after_the_end() {
    let mut server = Server::corelane(2);
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|c| assert_eq!(c.run("PING").text(), "PONG"));
    server.end(libc::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.drain(Duration::from_secs(5)).1, Ending::Closed);
    }
    assert!(Client::try_connect(server.port).is_err());
    let again = Server::corelane_at(server.port, 2, &[]);
    assert_eq!(again.client().run("PING").text(), "PONG");
}

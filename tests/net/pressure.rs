//! Scarce descriptors, busy shards, a port in use: the server goes on, or says why not.

use super::{LONG, time_of_ping};
use crate::harness::client::Client;
use crate::harness::process::corelane_binary;
use crate::harness::{Server, now, wait_until};
use std::time::Duration;

/// A server that may open so many files only.
struct Poor {
    child: std::process::Child,
    port: u16,
}

impl Poor {
    fn start(files: usize) -> Poor {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut command = std::process::Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).arg(corelane_binary());
        command.args(["--port", &port.to_string(), "--shards", "2", "--dir", "/tmp"]);
        let child = command.stdout(std::process::Stdio::null()).spawn().expect("a server");
        let poor = Poor { child, port };
        wait_until("the server answers", || {
            Client::try_connect(port).is_ok_and(|mut c| c.send_raw(b"PING\r\n").is_ok())
        });
        poor
    }

    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("/proc");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
        Duration::from_millis((ticks(12) + ticks(13)) * 10)
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_descriptors_the_server_waits_and_then_goes_on() {
    let server = Poor::start(64);
    // The first is served before the others come: they may take the last descriptors on one shard
    // before the other has looked at its listener.
    let mut clients = vec![Client::connect(server.port)];
    assert_eq!(clients[0].run("PING").text(), "PONG");
    clients.extend((1..80).map(|_| Client::connect(server.port)));
    std::thread::sleep(Duration::from_millis(300));
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(1));
    let used = server.cpu() - before;
    assert!(used < Duration::from_millis(150), "{used:?} in a second, with nothing to do");
    assert_eq!(clients[0].run("PING").text(), "PONG");
    let mut late = clients.split_off(60);
    drop(clients);
    late.iter_mut().for_each(|client| assert_eq!(client.run("PING").text(), "PONG"));
}

#[test]
fn clients_are_served_while_a_large_database_is_freed() {
    let server = Server::corelane(1);
    let mut client = server.client();
    // Where others use the machine a ping may be slow for no reason of the server's, but not each time.
    wait_until("pings are quick while a million keys are freed", || {
        for thousand in 0..1000 {
            let pairs: String = (0..1000).map(|n| format!(" key:{thousand}:{n} v")).collect();
            client.send_raw(format!("MSET{pairs}\r\n").as_bytes()).unwrap();
            assert_eq!(client.recv().unwrap().text(), "OK");
        }
        assert_eq!(client.run("FLUSHALL").text(), "OK");
        let pings: Vec<Duration> = (0..50).map(|_| time_of_ping(&mut client)).collect();
        println!("pings while a million keys are freed: {:?} at most", pings.iter().max());
        // Freeing takes some 30 ms: whoever is not served meanwhile waits so long with the first.
        pings[0] < Duration::from_millis(15)
    });
}

#[test]
fn a_port_that_another_server_has_is_refused() {
    let server = Server::corelane(2);
    let mut second = std::process::Command::new(corelane_binary());
    second.args(["--port", &server.port.to_string(), "--bind", "127.0.0.1", "--shards", "2"]);
    second.arg("--dir").arg(&server.dir).stdout(std::process::Stdio::null());
    let mut second = second.stderr(std::process::Stdio::null()).spawn().expect("a second server");
    let mut status = None;
    wait_until("it ends", || {
        status = second.try_wait().expect("its status");
        status.is_some()
    });
    assert!(status.is_some_and(|status| !status.success()), "{status:?}");
    assert_eq!(server.client().run("PING").text(), "PONG");
}

#[test]
fn a_client_that_reads_nothing_is_closed_after_the_timeout() {
    let server = Server::corelane_with(2, &["--timeout", "1"]);
    let mut client = server.client();
    assert_eq!(client.run("SET big rep(8388608,\"x\")").text(), "OK");
    let mut lazy = server.client();
    lazy.send_raw("GET big\r\n".repeat(8).as_bytes()).unwrap();
    wait_until("the lazy client is closed", || {
        client.run("CLIENT LIST").text().lines().count() == 1
    });
}

#[test]
fn a_stop_with_many_connections_is_prompt() {
    let mut server = Server::corelane(2);
    let clients: Vec<Client> = (0..500).map(|_| server.client()).collect();
    let start = now();
    assert!(server.end(libc::SIGTERM).success());
    let took = start.elapsed();
    assert!(took < LONG, "{took:?} with {} connections", clients.len());
}

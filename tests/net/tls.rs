//! Clients over TLS: what they can do, what certificates they need, and what CONFIG SET changes.

use crate::clients::run::run;
use crate::harness::process::{corelane_binary, free_port, is_stand_in};
use crate::harness::tls::{Authority, Paths, TlsClient, TlsServer, Use};
use crate::harness::{Cmd, PATIENCE, Reply, Server, wait_until};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

fn set(client: &mut TlsClient, words: &[&str]) -> String {
    client.call(&Cmd::new([&["CONFIG", "SET"], words].concat())).text()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn commands_of_all_kinds() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(3, &[]);
    let (mut a, mut b) = (server.client(), server.client());
    for i in 0..50 {
        assert_eq!(a.run(&format!("SET k{i} v{i}")).text(), "OK");
    }
    let names: Vec<String> = (0..50).map(|i| format!("k{i}")).collect();
    let all = b.run(&format!("MGET {}", names.join(" ")));
    assert!(all.items().iter().enumerate().all(|(i, reply)| reply.text() == format!("v{i}")));
    // A plain client sees the same keys.
    assert_eq!(server.server.client().run("GET k7").text(), "v7");

    b.send(&Cmd::new(["BLPOP", "list", "0"])).unwrap();
    server.server.wait_info("blocked_clients", "1");
    assert_eq!(a.run("RPUSH list x").int(), 1);
    assert_eq!(b.recv().unwrap().items()[1].text(), "x");

    b.run("SUBSCRIBE news");
    assert_eq!(a.run("PUBLISH news hello").int(), 1);
    assert_eq!(b.recv().unwrap().items()[2].text(), "hello");

    for line in ["MULTI", "SET k1 a", "SET k2 b", "MGET k1 k2"] {
        a.run(line);
    }
    assert_eq!(a.run("EXEC").items().len(), 3);

    let mut monitor = server.client();
    assert_eq!(monitor.run("MONITOR").text(), "OK");
    a.run("GET k3");
    let shown = monitor.recv().unwrap().text();
    assert!(shown.ends_with("\"GET\" \"k3\""), "{shown}");
    let listed = a.run("CLIENT LIST").text();
    assert_eq!(listed.lines().filter(|line| line.contains("cmd=subscribe")).count(), 1);
}

#[test]
fn big_values_and_long_pipelines() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(2, &[]);
    for versions in [[&TLS12], [&TLS13]] {
        let config = server.authority.client_of(Some(&server.client), &versions);
        let mut client = TlsClient::connect(server.tls_port, &config).unwrap();
        let big: Vec<u8> = (0..64u32 << 20).map(|i| (i ^ (i >> 11)) as u8).collect();
        assert_eq!(client.call(&Cmd::new([&b"SET"[..], b"big", &big])).text(), "OK");
        assert!(client.run("GET big") == Reply::Bulk(big), "64 MB came back otherwise");
        let cmds: Vec<Cmd> = (0..10_000)
            .map(|i| match i % 2 {
                0 => Cmd::new(["SET".to_string(), format!("p{i}"), format!("value-{i}")]),
                _ => Cmd::new(["GET".to_string(), format!("p{}", i - 1)]),
            })
            .collect();
        let replies = client.pipeline(&cmds).unwrap();
        for (i, reply) in replies.iter().enumerate() {
            let expected = if i % 2 == 0 { "OK".to_string() } else { format!("value-{}", i - 1) };
            assert_eq!(reply.text(), expected);
        }
    }
}

#[test]
fn connections_follow_their_keys() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(3, &[]);
    let mut clients: Vec<TlsClient> = (0..12).map(|_| server.client()).collect();
    for round in 1..=4 {
        for (tag, client) in clients.iter_mut().enumerate() {
            let cmds: Vec<Cmd> =
                (0..1_000).map(|_| Cmd::new(["INCR".to_string(), format!("n{tag}")])).collect();
            let replies = client.pipeline(&cmds).unwrap();
            assert_eq!(replies[999].int(), round * 1_000);
        }
    }
    let moved = server.server.info("connection_migrations").unwrap();
    assert!(moved.parse::<u32>().unwrap() > 0, "no connection has moved");
}

#[test]
fn certificates_of_clients() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(2, &["--loglevel", "verbose"]);
    let other = Authority::new(&server.authority.dir, "other");
    let stranger = other.issue("stranger", Use::Client);
    let expired = server.authority.issue("expired", Use::ExpiredClient);
    let wrong = server.authority.issue("wrong", Use::Server);
    let tries = |own: Option<&Paths>| {
        [[&TLS12], [&TLS13]].map(|versions| {
            let config = server.authority.client_of(own, &versions);
            TlsClient::connect(server.tls_port, &config).is_ok()
        })
    };
    let mut admin = server.client();
    let bad = [&stranger, &expired, &wrong];
    for (mode, without, with_bad) in
        [("yes", false, false), ("optional", true, false), ("no", true, true)]
    {
        assert_eq!(set(&mut admin, &["tls-auth-clients", mode]), "OK");
        assert_eq!(tries(Some(&server.client)), [true; 2], "{mode}, with a certificate");
        assert_eq!(tries(None), [without; 2], "{mode}, without one");
        for (i, own) in bad.iter().enumerate() {
            assert_eq!(tries(Some(own)), [with_bad; 2], "{mode}, with bad certificate {i}");
        }
    }
    let log = server.server.log();
    for reason in ["peer sent no certificates", "UnknownIssuer", "certificate expired"] {
        assert!(
            log.lines().any(|line| line.contains("handshake has failed") && line.contains(reason)),
            "no word of {reason} in\n{log}"
        );
    }
    // An authority in a directory is as good as one in a file.
    let dir = text(&other.dir);
    assert_eq!(
        set(
            &mut admin,
            &["tls-ca-cert-dir", &dir, "tls-ca-cert-file", "", "tls-auth-clients", "yes"]
        ),
        "OK"
    );
    assert_eq!((tries(Some(&stranger)), tries(Some(&server.client))), ([true; 2], [false; 2]));
}

#[test]
fn versions_and_ciphers() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(1, &["--tls-auth-clients", "no"]);
    let mut admin = server.client();
    let with = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let config = server.authority.client_of(None, versions);
        let mut client = TlsClient::connect(server.tls_port, &config).ok()?;
        let suite = client.session().negotiated_cipher_suite().expect("a suite").suite();
        Some(format!("{suite:?}"))
    };
    assert!(with(&[&TLS12]).is_some() && with(&[&TLS13]).is_some());
    for (listed, old, new) in
        [("TLSv1.2", true, false), ("TLSv1.3", false, true), ("TLSv1.2 TLSv1.3", true, true)]
    {
        assert_eq!(set(&mut admin, &["tls-protocols", listed]), "OK");
        assert_eq!((with(&[&TLS12]).is_some(), with(&[&TLS13]).is_some()), (old, new), "{listed}");
    }
    let failed = |option: &str| {
        format!(
            "ERR CONFIG SET failed (possibly related to argument '{option}') - Unable to update TLS \
             configuration. Check server logs."
        )
    };
    for (option, value) in [
        ("tls-protocols", "TLSv1.1"),
        ("tls-protocols", "SSLv3"),
        ("tls-ciphers", "RC4-SHA"),
        ("tls-ciphersuites", "none"),
    ] {
        assert_eq!(set(&mut admin, &[option, value]), failed(option));
        assert!(with(&[&TLS12]).is_some() && with(&[&TLS13]).is_some());
    }
    set(&mut admin, &["tls-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]);
    set(&mut admin, &["tls-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]);
    assert_eq!(with(&[&TLS12]).unwrap(), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert_eq!(with(&[&TLS13]).unwrap(), "TLS13_CHACHA20_POLY1305_SHA256");
    set(&mut admin, &["tls-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"]);
    assert_eq!(with(&[&TLS13]).unwrap(), "TLS13_AES_256_GCM_SHA384", "the client's order");
    assert_eq!(set(&mut admin, &["tls-prefer-server-ciphers", "yes"]), "OK");
    assert_eq!(with(&[&TLS13]).unwrap(), "TLS13_AES_128_GCM_SHA256");
    let refused = set(&mut admin, &["tls-dh-params-file", "/etc/hostname"]);
    assert!(refused.contains("elliptic curves only"), "{refused}");
    assert_eq!(
        set(&mut admin, &["tls-auth-clients", "maybe"]),
        "ERR CONFIG SET failed (possibly related to argument 'tls-auth-clients') - argument(s) must be \
         one of the following: no, yes, optional"
    );
}

#[test]
fn sessions_are_taken_up_again() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(2, &[]);
    let mut admin = server.client();
    for versions in [[&TLS12], [&TLS13]] {
        let config = || server.authority.client_of(Some(&server.client), &versions);
        let again = |config: &_| {
            TlsClient::connect(server.tls_port, config).unwrap();
            TlsClient::connect(server.tls_port, config).unwrap().handshake()
        };
        assert_eq!(again(&config()), Some(HandshakeKind::Resumed));
        assert_eq!(set(&mut admin, &["tls-session-caching", "no"]), "OK");
        assert_eq!(again(&config()), Some(HandshakeKind::Full));
        assert_eq!(set(&mut admin, &["tls-session-caching", "yes"]), "OK");
        assert_eq!(set(&mut admin, &["tls-session-cache-timeout", "0"]), "OK");
        assert_eq!(again(&config()), Some(HandshakeKind::Full));
        assert_eq!(set(&mut admin, &["tls-session-cache-timeout", "300"]), "OK");
    }
}

#[test]
fn certificates_change_while_clients_go_on() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(3, &[]);
    let mut old = server.client();
    let shown = || {
        let shown: Vec<_> = (0..12)
            .map(|_| server.client().session().peer_certificates().unwrap()[0].to_vec())
            .collect();
        assert!(shown.iter().all(|one| *one == shown[0]), "shards show different certificates");
        shown[0].clone()
    };
    let is_shown = |paths: &Paths| shown() == paths.chain()[0].to_vec();
    assert!(is_shown(&server.own));
    let new = server.authority.issue("new", Use::Server);
    let (certificate, key) = (text(&new.certificate), text(&new.key));
    // One without the other does not fit, and nothing changes.
    for words in [
        &["tls-cert-file", &certificate][..],
        &["tls-key-file", &key],
        &["tls-cert-file", "/no/such/file", "tls-key-file", &key],
        &["tls-cert-file", "", "tls-key-file", ""],
        &["tls-ca-cert-file", &key],
        &["tls-ca-cert-file", ""],
        &["timeout", "7", "tls-cert-file", &key],
    ] {
        let answer = set(&mut old, words);
        assert!(
            answer.ends_with("Unable to update TLS configuration. Check server logs."),
            "{answer}"
        );
        assert!(is_shown(&server.own), "{words:?}");
    }
    assert_eq!(old.run("CONFIG GET timeout").items()[1].text(), "0");
    let log = server.server.log();
    assert!(log.contains("it is not the key to the certificate") && log.contains("/no/such/file"));
    assert_eq!(set(&mut old, &["tls-cert-file", &certificate, "tls-key-file", &key]), "OK");
    assert!(is_shown(&new));
    assert_eq!(old.run("CONFIG GET tls-cert-file").items()[1].text(), certificate);
    // The same names again read the files again.
    let newer = server.authority.issue("new", Use::Server);
    assert_eq!(set(&mut old, &["tls-cert-file", &certificate, "tls-key-file", &key]), "OK");
    assert!(is_shown(&newer));
    assert_eq!(old.run("SET k v").text(), "OK", "the first connection goes on");
}

#[test]
fn only_over_tls() {
    if is_stand_in() {
        return;
    }
    let dir = Server::make_dir();
    let authority = Authority::new(&dir, "authority");
    let (own, client) =
        (authority.issue("server", Use::Server), authority.issue("client", Use::Client));
    let port = free_port();
    let (port_text, ca) = (port.to_string(), text(&authority.file()));
    let own = own.options();
    let mut args: Vec<&str> = own.iter().map(String::as_str).collect();
    args.extend(["--port", "0", "--tls-port", &port_text, "--tls-ca-cert-file", &ca]);
    let server = Server::begin_in(&dir, 2, &args);
    let config = authority.client(Some(&client));
    wait_until("the server answers", || TlsClient::connect(port, &config).is_ok());
    let info = TlsClient::connect(port, &config).unwrap().run("INFO server").text();
    assert!(info.contains(&format!("\r\ntcp_port:{port}\r\n")), "{info}");

    let (crt, key) = (text(&client.certificate), text(&client.key));
    let common = ["-p", &port_text, "--tls", "--cacert", &ca];
    let cli = |args: &[&str]| run("redis-cli", &[&common, args].concat(), b"", PATIENCE);
    assert_eq!(cli(&["--cert", &crt, "--key", &key, "SET", "k", "v"]).ok(), "OK\n");
    assert!(!cli(&["GET", "k"]).text.starts_with('v'));
    let binary = corelane_binary();
    let ping = |args: &[&str]| {
        let args = [&["ping", "--port", &port_text], args].concat();
        run(&binary.display().to_string(), &args, b"", PATIENCE)
    };
    let shown = ["--cert", &crt, "--key", &key];
    assert_eq!(ping(&[&["--tls", "--cacert", &ca][..], &shown].concat()).ok(), "+PONG\n");
    assert_eq!(ping(&[&["--tls"][..], &shown].concat()).ok(), "+PONG\n");
    // Without TLS, without a certificate, and with an authority that did not make the server's.
    let wrong = Authority::new(&dir, "wrong");
    let wrong = text(&wrong.file());
    for args in [&[][..], &["--tls"], &[&["--tls", "--cacert", &wrong][..], &shown].concat()] {
        assert_eq!(ping(args).code, Some(1), "{args:?}");
    }
    drop(server);
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn shards_show_their_tls_ports() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(3, &["--cluster-mode", "emulated"]);
    let slots = server.client().run("CLUSTER SLOTS");
    let config = server.authority.client(Some(&server.client));
    for range in slots.items() {
        let port = range.items()[2].items()[1].int() as u16;
        assert!(port > server.tls_port && port <= server.tls_port + 3);
        TlsClient::connect(port, &config).unwrap();
    }
    let plain = server.server.client().run("CLUSTER SLOTS");
    let port = plain.items()[0].items()[2].items()[1].int() as u16;
    assert!(port > server.server.port && port < server.tls_port);
}

#[test]
fn a_start_without_what_is_needed_ends_with_the_reason() {
    if is_stand_in() {
        return;
    }
    let dir = Server::make_dir();
    let authority = Authority::new(&dir, "authority");
    let own = authority.issue("server", Use::Server);
    let other = authority.issue("other", Use::Server);
    let (crt, key, ca) = (text(&own.certificate), text(&own.key), text(&authority.file()));
    let encrypted = dir.join("encrypted.key");
    let marked = fs::read_to_string(&own.key).unwrap().replace("PRIVATE", "ENCRYPTED PRIVATE");
    fs::write(&encrypted, marked).unwrap();
    let (encrypted, other) = (text(&encrypted), text(&other.key));
    let port = free_port().to_string();
    for (args, reason) in [
        (&[][..], "tls-cert-file is not set"),
        (&["--tls-cert-file", &crt][..], "tls-key-file is not set"),
        (&["--tls-cert-file", &crt, "--tls-key-file", &other], "not the key to the certificate"),
        (&["--tls-cert-file", &crt, "--tls-key-file", &ca], "no private key"),
        (&["--tls-cert-file", &key, "--tls-key-file", &key], "no certificate"),
        (
            &["--tls-cert-file", &crt, "--tls-key-file", &encrypted, "--tls-key-file-pass", "pw"],
            "the key is encrypted",
        ),
        (
            &["--tls-cert-file", &crt, "--tls-key-file", &key, "--tls-port", &port],
            "for plain connections and for TLS",
        ),
    ] {
        let common = ["--port", &port, "--bind", "127.0.0.1", "--shards", "1", "--tls-port", "1"];
        let needs_ca = ["--tls-auth-clients", "no"];
        let args = [&common[..], &needs_ca, args].concat();
        let ended = run(&text(&corelane_binary()), &args, b"", PATIENCE);
        assert!(ended.code == Some(1) && ended.text.contains(reason), "{args:?}: {}", ended.text);
    }
    let args =
        ["--port", &port, "--tls-port", "1", "--tls-cert-file", &crt, "--tls-key-file", &key];
    let ended = run(&text(&corelane_binary()), &args, b"", PATIENCE);
    assert!(ended.text.contains("set tls-ca-cert-file or tls-ca-cert-dir"), "{}", ended.text);
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn whoever_is_closed_is_told_so() {
    if is_stand_in() {
        return;
    }
    let server = TlsServer::start(2, &[]);
    let mut admin = server.client();
    let mut quits = server.client();
    assert_eq!(quits.run("QUIT").text(), "OK");
    assert_eq!(quits.recv().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    let mut killed = server.client();
    let id = killed.run("CLIENT ID").int();
    assert_eq!(admin.run(&format!("CLIENT KILL ID {id}")).int(), 1);
    assert_eq!(killed.recv().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    // A client that has said that it will send no more still gets all of its replies.
    let mut half = server.client();
    let mut bytes = Vec::new();
    for i in 0..2_000 {
        Cmd::new(["ECHO".to_string(), format!("{i}")]).encode(&mut bytes);
    }
    half.send_raw(&bytes).unwrap();
    half.close_notify();
    for i in 0..2_000 {
        assert_eq!(half.recv().unwrap().text(), i.to_string());
    }
    assert_eq!(half.recv().unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

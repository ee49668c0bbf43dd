//! Both sides of a connection in memory: whole, in pieces, and with bits that fall over.

use super::*;
use crate::config::{ClientCertificates, Config, Values};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// A certificate that is its own authority, and files of it.
struct Rig {
    context: TlsContext,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    dir: PathBuf,
}

impl Rig {
    fn new(name: &str, auth: ClientCertificates) -> Rig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = std::env::temp_dir().join(format!("corelane-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("crt"), certificate.pem()).unwrap();
        std::fs::write(dir.join("key"), key.serialize_pem()).unwrap();
        let mut values: Values = (*Config::default()).clone();
        values.tls_port = 1;
        values.tls_auth_clients = auth;
        values.tls_cert_file = Some(dir.join("crt"));
        values.tls_key_file = Some(dir.join("key"));
        values.tls_ca_cert_file = Some(dir.join("crt"));
        let context = TlsContext::default();
        context.load(&values).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Rig { context, certificate: certificate.der().clone(), key, dir }
    }

    fn pair(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Pair {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let chain = vec![self.certificate.clone()];
        let config = builder.with_client_auth_cert(chain, self.key.clone_key()).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Pair {
            client: ClientConnection::new(Arc::new(config), name).unwrap(),
            server: Tls::new(self.context.begin().unwrap(), 0),
            heard: Vec::new(),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

struct Pair {
    client: ClientConnection,
    server: Tls,
    /// What the server has opened.
    heard: Vec<u8>,
}

impl Pair {
    fn sent_by_client(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn hand_to_client(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// Until neither side has more to say; what the client sends goes through `wire`.
    fn talk(&mut self, wire: &mut dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>) -> Result<(), Broken> {
        loop {
            let bytes = self.sent_by_client();
            if !bytes.is_empty() {
                for mut piece in wire(bytes) {
                    self.server.open(&mut piece, &mut self.heard)?;
                }
            }
            let answer = std::mem::take(&mut self.server.own);
            let refused = self.hand_to_client(&answer).is_err();
            if refused || (answer.is_empty() && !self.client.wants_write()) {
                return Ok(());
            }
        }
    }

    /// Sends replies of a server to the client.
    fn reply(&mut self, text: &[u8]) -> Vec<u8> {
        (self.server.rest, self.server.sealed) = (text.to_vec(), 0);
        let mut read = Vec::new();
        while self.server.has_output() {
            let mut sealed = Vec::new();
            self.server.seal(&mut sealed).unwrap();
            assert!(sealed.len() < PART + PART / 50, "no more than a part at once");
            for piece in sealed.chunks(16 << 10) {
                self.hand_to_client(piece).unwrap();
                let mut part = [0; 64 << 10];
                while let Ok(len @ 1..) = self.client.reader().read(&mut part) {
                    read.extend_from_slice(&part[..len]);
                }
            }
        }
        read
    }
}

const VERSIONS: [&[&rustls::SupportedProtocolVersion]; 2] =
    [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

#[test]
fn both_sides_hear_what_the_other_says() {
    let rig = Rig::new("both", ClientCertificates::Yes);
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..40 {
        let mut pair = rig.pair(VERSIONS[round % 2]);
        pair.client.writer().write_all(b"PING").unwrap();
        // From a byte at a time to all at once.
        let most = 1usize << (round % 13);
        let mut cut = |bytes: Vec<u8>| {
            let len = random.usize(1..=most);
            bytes.chunks(len).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        pair.talk(&mut cut).unwrap();
        assert!(pair.server.is_open() && pair.heard == b"PING");
        let text: Vec<u8> = (0..(PART * 2 + 77)).map(|i| i as u8).collect();
        assert!(pair.reply(&text) == text);
        let many = vec![b'x'; 40_000];
        pair.client.writer().write_all(&many).unwrap();
        pair.heard.clear();
        pair.talk(&mut cut).unwrap();
        assert!(pair.heard == many);
        assert_eq!(pair.reply(b"+PONG"), b"+PONG");
        // New keys in the midst of it.
        if round % 2 == 1 {
            pair.client.refresh_traffic_keys().unwrap();
            pair.talk(&mut cut).unwrap();
            assert_eq!(pair.reply(b"+NEXT"), b"+NEXT");
        }
        pair.client.send_close_notify();
        pair.talk(&mut cut).unwrap();
        assert!(pair.server.ended && pair.server.incoming.is_empty());
        assert_eq!(pair.reply(b"late"), b"late", "who says no more may still listen");
        let last = pair.server.farewell();
        pair.hand_to_client(&last).unwrap();
        assert!(matches!(pair.client.reader().read(&mut [0; 8]), Ok(0)), "told that it ends");
    }
}

#[test]
fn whatever_comes_is_refused_or_waited_for() {
    let rig = Rig::new("noise", ClientCertificates::Optional);
    let mut random = fastrand::Rng::with_seed(2);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..3_000 {
        let mut pair = rig.pair(VERSIONS[round % 2]);
        pair.client.writer().write_all(b"PING").unwrap();
        let (spoiled, mut seen) = (random.usize(0..3), 0);
        let most = 1usize << random.u32(0..12);
        let mut wire = |mut bytes: Vec<u8>| {
            if seen == spoiled {
                match random.u8(0..4) {
                    0 => bytes.truncate(random.usize(0..bytes.len())),
                    1 => {
                        let (at, noise) = (random.usize(0..bytes.len()), random.usize(1..300));
                        let noise: Vec<u8> = (0..noise).map(|_| random.u8(..)).collect();
                        bytes.splice(at..at, noise);
                    }
                    _ => {
                        for _ in 0..random.usize(1..4) {
                            let at = random.usize(0..bytes.len());
                            bytes[at] ^= 1 << random.u8(0..8);
                        }
                    }
                }
            }
            seen += 1;
            let len = random.usize(1..=most);
            bytes.chunks(len).map(<[u8]>::to_vec).collect()
        };
        match pair.talk(&mut wire) {
            Ok(()) => opened += usize::from(pair.server.is_open()),
            Err(_) => {
                refused += 1;
                // More may come before the connection is closed, and a last word may go out.
                pair.server.open(&mut [22; 100], &mut pair.heard).unwrap();
                pair.server.farewell();
            }
        }
        assert!(pair.server.incoming.len() <= INCOMING_MAX);
    }
    assert!(opened > 200 && refused > 1_000, "{opened} opened, {refused} refused");
}

#[test]
fn what_is_no_tls_gets_no_answer() {
    let rig = Rig::new("plain", ClientCertificates::No);
    let mut pair = rig.pair(VERSIONS[1]);
    let result = pair.server.open(&mut b"PING\r\n".to_vec(), &mut pair.heard);
    assert!(matches!(result, Err(Broken::NotTls)));
    assert!(pair.server.farewell().is_empty() && pair.heard.is_empty());
}

#[test]
fn a_handshake_has_a_size_and_a_time() {
    let rig = Rig::new("size", ClientCertificates::No);
    let mut pair = rig.pair(VERSIONS[1]);
    assert!(!pair.server.is_late(HANDSHAKE_MS) && pair.server.is_late(HANDSHAKE_MS + 1));
    // A message that says to be of 60 KB, in records of one byte each.
    let mut record = vec![22, 3, 1, 0, 4, 1, 0, 0xea, 0x60];
    let mut sent = 0;
    let error = loop {
        if let Err(error) = pair.server.open(&mut record.clone(), &mut pair.heard) {
            break error;
        }
        sent += record.len();
        assert!(sent < 2 << 20, "{} bytes are held", pair.server.incoming.len());
        record = vec![22, 3, 1, 0, 1, 0];
    };
    assert!(matches!(error, Broken::TooLong | Broken::Tls(_)), "{error}");
}

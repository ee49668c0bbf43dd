//! Certificates made for a test, a server with a TLS port, and a client of it.

use super::PATIENCE;
use super::process::free_port;
use super::reply::Parsed;
use super::{Cmd, Reply, Server, parse_line};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Behind the ports that the shards of a test's server can have.
const TLS_PORT: u16 = 20;

/// Who makes certificates, and where its files lie.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub dir: PathBuf,
}

/// The files of a certificate and its key.
#[derive(Clone)]
pub struct Paths {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate may be used for, if it is not expired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Server,
    Client,
    ExpiredClient,
    Both,
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("ca.crt"), certificate.pem()).unwrap();
        let der = certificate.der().clone();
        Authority { issuer: Issuer::new(params, key), certificate: der, dir }
    }

    /// The authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Makes a certificate; one of that name is replaced.
    pub fn issue(&self, name: &str, usage: Use) -> Paths {
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        params.extended_key_usages = match usage {
            Use::Server => vec![ServerAuth],
            Use::Client | Use::ExpiredClient => vec![ClientAuth],
            Use::Both => vec![ServerAuth, ClientAuth],
        };
        if usage == Use::ExpiredClient {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate_file, key_file) =
            (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        fs::write(&certificate_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Paths { certificate: certificate_file, key: key_file }
    }

    /// What a client of this authority's servers is told.
    pub fn client(&self, own: Option<&Paths>) -> Arc<ClientConfig> {
        self.client_of(own, rustls::ALL_VERSIONS)
    }

    pub fn client_of(
        &self,
        own: Option<&Paths>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(paths) => builder.with_client_auth_cert(paths.chain(), paths.key()).unwrap(),
        })
    }
}

impl Paths {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_file_iter(&self.certificate).unwrap();
        all.collect::<Result<_, _>>().unwrap()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).unwrap()
    }

    /// The options that have a server use them.
    pub fn options(&self) -> [String; 4] {
        let text = |path: &Path| path.display().to_string();
        let (certificate, key) = (text(&self.certificate), text(&self.key));
        ["--tls-cert-file".into(), certificate, "--tls-key-file".into(), key]
    }
}

/// A server that has a TLS port beside its plain one, with an authority and a client of its own.
pub struct TlsServer {
    pub server: Server,
    pub authority: Authority,
    /// What the server shows.
    pub own: Paths,
    /// What its clients may show.
    pub client: Paths,
    pub tls_port: u16,
    dir: PathBuf,
}

impl TlsServer {
    pub fn start(shards: usize, args: &[&str]) -> TlsServer {
        let dir = Server::make_dir();
        let authority = Authority::new(&dir, "authority");
        let own = authority.issue("server", Use::Server);
        let client = authority.issue("client", Use::Client);
        let port = free_port();
        let tls_port = port + TLS_PORT;
        let mut all: Vec<String> = own.options().into();
        let ca = authority.file().display().to_string();
        all.extend(["--tls-port".into(), tls_port.to_string(), "--tls-ca-cert-file".into(), ca]);
        all.extend(args.iter().map(|word| word.to_string()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let server = Server::corelane_at(port, shards, &all);
        TlsServer { server, authority, own, client, tls_port, dir }
    }

    /// A client with a certificate.
    pub fn client(&self) -> TlsClient {
        let config = self.authority.client(Some(&self.client));
        TlsClient::connect(self.tls_port, &config).expect("a TLS connection")
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A blocking client over TLS.
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl TlsClient {
    /// Connects and asks for something, since a server of TLSv1.3 refuses after the client's handshake.
    pub fn connect(port: u16, config: &Arc<ClientConfig>) -> io::Result<TlsClient> {
        let mut client = TlsClient::open(port, config)?;
        client.send(&parse_line("PING"))?;
        match client.recv()? {
            reply if reply.text() == "PONG" => Ok(client),
            reply => Err(io::Error::other(format!("{reply:?}"))),
        }
    }

    /// Connects, and leaves the handshake to whoever reads or writes first.
    pub fn open(port: u16, config: &Arc<ClientConfig>) -> io::Result<TlsClient> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(TlsClient { stream: StreamOwned::new(session, socket), buffer: Vec::new() })
    }

    pub fn session(&mut self) -> &mut ClientConnection {
        &mut self.stream.conn
    }

    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub fn send(&mut self, cmd: &Cmd) -> io::Result<()> {
        let mut bytes = Vec::new();
        cmd.encode(&mut bytes);
        self.send_raw(&bytes)
    }

    /// Says that nothing more will be sent.
    pub fn close_notify(&mut self) {
        self.stream.conn.send_close_notify();
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut self.stream.sock).unwrap();
        }
    }

    /// The next whole reply; the end of the connection is `UnexpectedEof`, and
    /// `ConnectionAborted` when the server has said that it ends.
    pub fn recv(&mut self) -> io::Result<Reply> {
        loop {
            if let Parsed::Whole(reply, used) = Reply::parse(&self.buffer) {
                self.buffer.drain(..used);
                return Ok(reply);
            }
            self.fill()?;
        }
    }

    /// Reads as much as is buffered already, if it is long: a reply is parsed again from its start.
    fn fill(&mut self) -> io::Result<()> {
        let have = self.buffer.len();
        let least = if have > (1 << 20) { have } else { 1 };
        self.buffer.resize(have + least.max(64 << 10), 0);
        let mut read = 0;
        let result = loop {
            match self.stream.read(&mut self.buffer[have + read..]) {
                Ok(0) => break Err(ErrorKind::ConnectionAborted.into()),
                Ok(bytes) => read += bytes,
                Err(error) => break Err(error),
            }
            let found = matches!(Reply::parse(&self.buffer[..have + read]), Parsed::Whole(..));
            if read >= least || found {
                break Ok(());
            }
        };
        self.buffer.truncate(have + read);
        result
    }

    pub fn call(&mut self, cmd: &Cmd) -> Reply {
        let reply = self.send(cmd).and_then(|()| self.recv());
        reply.unwrap_or_else(|e| panic!("{:.200}: {e}", format!("{cmd:?}")))
    }

    pub fn run(&mut self, line: &str) -> Reply {
        self.call(&parse_line(line))
    }

    /// Sends all, then reads as many replies.
    pub fn pipeline(&mut self, cmds: &[Cmd]) -> io::Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        cmds.iter().for_each(|cmd| cmd.encode(&mut bytes));
        self.send_raw(&bytes)?;
        cmds.iter().map(|_| self.recv()).collect()
    }
}

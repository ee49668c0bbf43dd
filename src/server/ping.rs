//! `corelane ping`: asks a server whether it serves, also over TLS.
//!
//! While a server loads its data, who has no password is told to log in and not that it is loading: with
//! the password in `REDISCLI_AUTH`, as redis-cli takes it, the answer is about serving.

use crate::config::PingTls;
use crate::error::{Fatal, io_text};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

/// Asks the server whether it serves; what it has answered is told.
pub fn ping(
    host: &str,
    port: u16,
    alive: bool,
    tls: Option<&PingTls>,
    out: &mut impl Write,
) -> Result<bool, Fatal> {
    let (is_well, answer) = match ask(host, port, tls) {
        Ok(answer) => {
            // Who cannot write to the disk serves reads, and a restart would not help.
            let serves =
                ["+PONG", "-NOAUTH", "-MISCONF"].iter().any(|well| answer.starts_with(well));
            (serves || (alive && answer.starts_with(['+', '-'])), answer)
        }
        Err(error) => (false, format!("{host}:{port}: {error}")),
    };
    writeln!(out, "{}", answer.trim_end()).map_err(|e| Fatal::system("answer", io_text(&e)))?;
    Ok(is_well)
}

fn ask(host: &str, port: u16, tls: Option<&PingTls>) -> io::Result<String> {
    /// For each step.
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(server) => {
                server.set_read_timeout(Some(PATIENCE))?;
                server.set_write_timeout(Some(PATIENCE))?;
                return match tls {
                    None => talk(server),
                    Some(tls) => {
                        let name = ServerName::try_from(host.to_string()).map_err(other)?;
                        let session = ClientConnection::new(client_config(tls)?, name);
                        talk(StreamOwned::new(session.map_err(other)?, server))
                    }
                };
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn talk(mut server: impl Read + Write) -> io::Result<String> {
    let password = std::env::var_os("REDISCLI_AUTH").filter(|password| !password.is_empty());
    if let Some(password) = &password {
        let word = password.as_bytes();
        write!(server, "*2\r\n$4\r\nAUTH\r\n${}\r\n", word.len())?;
        server.write_all(word)?;
        server.write_all(b"\r\n")?;
    }
    server.write_all(b"PING\r\n")?;
    let mut line = String::new();
    // Nobody but a server of this kind is to be listened to for long.
    let mut answers = BufReader::new(server.take(1024));
    if password.is_some() {
        // What comes of a wrong one shows in the answer to PING.
        answers.read_line(&mut line)?;
        line.clear();
    }
    answers.read_line(&mut line)?;
    Ok(line)
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

fn client_config(tls: &PingTls) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let pem = |path| CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain = match &tls.authorities {
        None => None,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let certificates: Vec<CertificateDer> = pem(path).map_err(other)?;
            for certificate in certificates {
                roots.add(certificate).map_err(other)?;
            }
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            Some(builder.build().map_err(other)?)
        }
    };
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(other)?;
    let verifier = Arc::new(Verifier { chain, provider });
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(match &tls.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificates = pem(certificate).map_err(other)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(other)?;
            builder.with_client_auth_cert(certificates, key).map_err(other)?
        }
    }))
}

/// Looks whether the server's certificate comes from a known authority, if one is given, and not at
/// names: a probe asks 127.0.0.1, which certificates seldom name. redis-cli does the same.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Names come last, when all else was good.
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.chain {
            Some(chain) => chain.verify_tls12_signature(message, cert, dss),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.chain {
            Some(chain) => chain.verify_tls13_signature(message, cert, dss),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! What new connections of TLS listeners begin with, made from the options.

use super::ciphers;
use super::files;
use super::sessions::Sessions;
use crate::clock;
use crate::config::{ClientCertificates, Values};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, StoresServerSessions, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::{Arc, Mutex, PoisonError};

/// Certificates, keys and rules, the same for all shards at any time. Looked at once for each connection,
/// so a lock is good enough.
#[derive(Default)]
pub struct TlsContext {
    config: Mutex<Option<Arc<ServerConfig>>>,
}

impl TlsContext {
    /// Reads what the options name, and gives it to the connections to come. When it cannot be had, they
    /// get what was there before, and the reason is the answer.
    pub fn load(&self, values: &Values) -> Result<(), String> {
        let is_used = values.tls_port > 0;
        let config = if is_used { Some(Arc::new(build(values)?)) } else { None };
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// The server's side of a new connection.
    pub(super) fn begin(&self) -> Result<UnbufferedServerConnection, &'static str> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = config.ok_or("there are no certificates")?;
        UnbufferedServerConnection::new(config).map_err(|_| "the certificates are of no use")
    }
}

/// The library asks for the time of day, for certificates that expire.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::wall()))
    }
}

fn build(values: &Values) -> Result<ServerConfig, String> {
    let versions = versions(values.tls_protocols.as_deref())?;
    let provider = Arc::new(provider(values, &versions)?);
    let verifier = verifier(values, &provider)?;
    let certified = files::certified_key(values, &provider)?;
    let builder = ServerConfig::builder_with_details(provider, Arc::new(WallClock));
    let builder = builder.with_protocol_versions(&versions).map_err(|error| error.to_string())?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.ignore_client_order = values.tls_prefer_server_ciphers;
    config.session_storage = sessions(values);
    if !values.tls_session_caching {
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn sessions(values: &Values) -> Arc<dyn StoresServerSessions> {
    let (size, seconds) = (values.tls_session_cache_size, values.tls_session_cache_timeout);
    match values.tls_session_caching {
        true => Arc::new(Sessions::new(size as usize, u64::from(seconds))),
        false => Arc::new(NoServerSessionStorage {}),
    }
}

/// The versions that an option lists; those that are too old are left out, and it is said.
fn versions(listed: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let Some(listed) = listed else { return Ok(vec![&TLS13, &TLS12]) };
    let mut versions = Vec::new();
    for word in listed.split(' ') {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1.2" => versions.push(&TLS12),
            "tlsv1.3" => versions.push(&TLS13),
            "tlsv1" | "tlsv1.1" => {
                tracing::warn!("{word} of tls-protocols is too old and is not spoken");
            }
            _ => return Err(format!("tls-protocols: '{word}' is no version of TLS")),
        }
    }
    match versions.is_empty() {
        true => Err("tls-protocols: only TLSv1.2 and TLSv1.3 are spoken".to_string()),
        false => Ok(versions),
    }
}

fn provider(
    values: &Values,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<CryptoProvider, String> {
    let mut suites = Vec::new();
    if versions.contains(&&TLS13) {
        suites.extend(ciphers::of_tls13(values.tls_ciphersuites.as_deref())?);
    }
    if versions.contains(&&TLS12) {
        suites.extend(ciphers::of_tls12(values.tls_ciphers.as_deref())?);
    }
    Ok(CryptoProvider { cipher_suites: suites, ..ring::default_provider() })
}

/// What looks at clients' certificates.
fn verifier(
    values: &Values,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if values.tls_auth_clients == ClientCertificates::No {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    files::add_authorities(values, &mut roots)?;
    if roots.is_empty() {
        return Err(
            "clients' certificates need authorities: set tls-ca-cert-file or tls-ca-cert-dir, or \
                    tls-auth-clients no"
                .to_string(),
        );
    }
    // Clients are not sent the names of the authorities, of which there may be many.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .clear_root_hint_subjects();
    let builder = match values.tls_auth_clients {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_as_in_redis() {
        let of = |listed| versions(listed).map(|versions| versions.len());
        assert_eq!(of(None), Ok(2));
        assert_eq!(of(Some("TLSv1.2")), Ok(1));
        assert_eq!(of(Some("tlsv1.1 TLSV1.3")), Ok(1));
        assert!(of(Some("TLSv1 TLSv1.1")).unwrap_err().contains("only TLSv1.2"));
        assert!(of(Some("TLSv1.4")).unwrap_err().contains("'TLSv1.4'"));
    }
}

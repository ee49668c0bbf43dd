//! Certificates and keys from files in PEM.

use crate::config::Values;
use crate::error::io_text;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};

/// Nothing longer is read, bytes: a file with all authorities of the world has a few hundred thousand.
const FILE_MAX: u64 = 16 << 20;

/// The server's own certificates and key.
pub fn certified_key(values: &Values, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let path = set(&values.tls_cert_file, "tls-cert-file")?;
    let chain = certificates(path)?;
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it", path.display()));
    }
    let path = set(&values.tls_key_file, "tls-key-file")?;
    let key = private_key(path)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    // Looked for in the bytes: a certificate of the first version, as simple tools make, would not be
    // parsed.
    if let Some(public) = key.public_key()
        && !chain[0].windows(public.len()).any(|part| part == public.as_ref())
    {
        return Err(format!("{}: it is not the key to the certificate", path.display()));
    }
    Ok(CertifiedKey::new(chain, key))
}

fn set<'a>(path: &'a Option<PathBuf>, option: &str) -> Result<&'a Path, String> {
    path.as_deref().ok_or_else(|| format!("{option} is not set, and tls-port needs it"))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let path = path.display();
        match pem.windows(9).any(|part| part == b"ENCRYPTED") {
            true => format!(
                "{path}: the key is encrypted, which is not supported, with tls-key-file-pass or without: \
                 decrypt it (openssl pkey -in FILE -out FILE) and protect the file"
            ),
            false => format!("{path}: there is no private key in it"),
        }
    })
}

/// Adds the authorities that clients' certificates may come from.
pub fn add_authorities(values: &Values, roots: &mut RootCertStore) -> Result<(), String> {
    if let Some(path) = &values.tls_ca_cert_file {
        let found = certificates(path)?;
        if found.is_empty() {
            return Err(format!("{}: there is no certificate in it", path.display()));
        }
        for certificate in found {
            roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if let Some(dir) = &values.tls_ca_cert_dir {
        add_directory(dir, roots).map_err(|reason| format!("{}: {reason}", dir.display()))?;
    }
    Ok(())
}

fn add_directory(dir: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    for entry in std::fs::read_dir(dir).map_err(|error| io_text(&error))? {
        let path = entry.map_err(|error| io_text(&error))?.path();
        // Other things may lie there, and links to what has gone.
        if !path.is_file() {
            continue;
        }
        for certificate in certificates(&path).unwrap_or_default() {
            if let Err(reason) = roots.add(certificate) {
                tracing::warn!(path = %path.display(), %reason, "an authority is left out");
            }
        }
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error:?}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let text = |reason: &str| format!("{}: {reason}", path.display());
    let facts = std::fs::metadata(path).map_err(|error| text(&io_text(&error)))?;
    if !facts.is_file() {
        return Err(text("it is no file"));
    }
    if facts.len() > FILE_MAX {
        return Err(text("it is too long"));
    }
    std::fs::read(path).map_err(|error| text(&io_text(&error)))
}

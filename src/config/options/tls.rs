//! Rows about TLS.

use super::super::{
    row::{Action, Group, Kind, Row},
    values::ClientCertificates,
};
use super::{bool_row, choice_row, int_row, path_row};

const NUMBER_MAX: i64 = i32::MAX as i64;

pub(super) const ROWS: &[Row] = &[
    int_row!(
        Tls,
        "tls-port",
        tls_port,
        0,
        u16::MAX as i64,
        "0",
        "TCP port for TLS, on the addresses of bind; 0 is none. With port 0 clients are served over TLS \
         alone. With cluster-mode emulated shard i also listens on tls-port + 1 + i."
    )
    .mutable()
    .acts(Action::Listen)
    .unit("port")
    .example("6380"),
    path_row!(
        Tls,
        "tls-cert-file",
        tls_cert_file,
        "The server's certificate in PEM, with those between it and the authority behind it. CONFIG SET \
         reads it again, also when the name is the same, for the connections that come then."
    )
    .mutable()
    .acts(Action::Tls)
    .volatile()
    .example("/etc/corelane/server.crt"),
    path_row!(
        Tls,
        "tls-key-file",
        tls_key_file,
        "The private key to tls-cert-file in PEM. It must not be encrypted."
    )
    .mutable()
    .acts(Action::Tls)
    .volatile()
    .example("/etc/corelane/server.key"),
    Row::new(
        Group::Tls,
        "tls-key-file-pass",
        Kind::Secret {
            get: |v| v.tls_key_file_pass.as_ref(),
            set: |v, new| v.tls_key_file_pass = new,
        },
        "\"\"",
        "Password of tls-key-file. Encrypted keys cannot be read here: with one the server says so and \
         does not start. A password for a key that is not encrypted is not used.",
    )
    .mutable()
    .acts(Action::Tls)
    .sensitive()
    .hidden(),
    path_row!(
        Tls,
        "tls-ca-cert-file",
        tls_ca_cert_file,
        "Certificates in PEM of the authorities that clients' certificates must come from. This or \
         tls-ca-cert-dir is needed unless tls-auth-clients is no."
    )
    .mutable()
    .acts(Action::Tls)
    .volatile()
    .example("/etc/corelane/ca.crt"),
    path_row!(
        Tls,
        "tls-ca-cert-dir",
        tls_ca_cert_dir,
        "Directory of such certificates, which are added to those of tls-ca-cert-file. All of its files \
         that have certificates in PEM are read, whatever they are called."
    )
    .mutable()
    .acts(Action::Tls)
    .volatile()
    .example("/etc/corelane/authorities"),
    choice_row!(
        Tls,
        "tls-auth-clients",
        tls_auth_clients: ClientCertificates,
        "yes",
        "Whether clients must have a certificate of an authority that tls-ca-cert-file or tls-ca-cert-dir \
         names. With optional they need none, but one that they show must be good."
    )
    .mutable()
    .acts(Action::Tls),
    Row::new(
        Group::Tls,
        "tls-protocols",
        Kind::Text {
            get: |v| v.tls_protocols.as_deref(),
            set: |v, new| v.tls_protocols = new,
        },
        "\"\"",
        "Versions of TLS that are spoken, with spaces between them. Without it they are TLSv1.2 and \
         TLSv1.3; older ones are never spoken.",
    )
    .mutable()
    .acts(Action::Tls)
    .example("TLSv1.3"),
    Row::new(
        Group::Tls,
        "tls-ciphers",
        Kind::Text { get: |v| v.tls_ciphers.as_deref(), set: |v, new| v.tls_ciphers = new },
        "\"\"",
        "Ciphers for TLSv1.2 as OpenSSL names them, with colons between them. DEFAULT, HIGH, ECDHE, \
         AESGCM, CHACHA20, a+b, !a and the like may stand for several; there are those with ECDHE and \
         AES-GCM or ChaCha20-Poly1305.",
    )
    .mutable()
    .acts(Action::Tls)
    .example("ECDHE+AESGCM"),
    Row::new(
        Group::Tls,
        "tls-ciphersuites",
        Kind::Text {
            get: |v| v.tls_ciphersuites.as_deref(),
            set: |v, new| v.tls_ciphersuites = new,
        },
        "\"\"",
        "Ciphers for TLSv1.3, with colons between them. There are TLS_AES_256_GCM_SHA384, \
         TLS_AES_128_GCM_SHA256 and TLS_CHACHA20_POLY1305_SHA256.",
    )
    .mutable()
    .acts(Action::Tls)
    .example("TLS_AES_128_GCM_SHA256"),
    bool_row!(
        Tls,
        "tls-prefer-server-ciphers",
        tls_prefer_server_ciphers,
        "no",
        "Choose the cipher by the server's order instead of the client's."
    )
    .mutable()
    .acts(Action::Tls),
    bool_row!(
        Tls,
        "tls-session-caching",
        tls_session_caching,
        "yes",
        "Remember sessions, so that clients that come back need not do all of the handshake again."
    )
    .mutable()
    .acts(Action::Tls),
    int_row!(
        Tls,
        "tls-session-cache-size",
        tls_session_cache_size,
        0,
        NUMBER_MAX,
        "20480",
        "Most sessions that are remembered, over all shards; the oldest go first. 0 is no limit."
    )
    .mutable()
    .acts(Action::Tls)
    .unit("sessions"),
    int_row!(
        Tls,
        "tls-session-cache-timeout",
        tls_session_cache_timeout,
        0,
        NUMBER_MAX,
        "300",
        "Seconds for which a session is remembered."
    )
    .mutable()
    .acts(Action::Tls)
    .unit("seconds"),
    path_row!(
        Tls,
        "tls-dh-params-file",
        tls_dh_params_file,
        "Parameters for key exchange over finite fields. There is none here, only over elliptic curves: \
         a file warns, and CONFIG SET is refused."
    )
    .mutable()
    .hidden()
    .warn(
        |v| v.tls_dh_params_file.is_some(),
        "keys are exchanged over elliptic curves only, which need no tls-dh-params-file",
    ),
];

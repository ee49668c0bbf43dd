//! Listening sockets, with the options that accepted connections inherit.

use super::Peer;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What connections get from their listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// `tcp-backlog`
    pub backlog: i32,
    /// `tcp-keepalive`, seconds; 0 turns it off.
    pub keepalive_s: u32,
}

/// The longest time of silence that Linux accepts.
const KEEPALIVE_S_MAX: u32 = 32767;

/// A bound socket that listens; several of them share a port.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The Unix socket's path; empty for TCP.
    pub path: String,
    /// Its connections are to be served over TLS, which is the handler's business.
    pub tls: bool,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Listener {
    /// Listens on the same socket: whoever is first accepts a connection.
    pub fn another(&self) -> io::Result<Listener> {
        let fd = self.fd.try_clone()?;
        Ok(Listener { fd, address: self.address, path: self.path.clone(), tls: self.tls })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Who has connected to this listener and got this descriptor.
    pub(super) fn peer_of(&self, connection: RawFd) -> Peer {
        match self.address {
            Some(own) => match (peer_address(connection), local_address(connection)) {
                (Some(remote), Some(local)) => Peer::Tcp { remote, local },
                // It has gone already.
                _ => Peer::Tcp { remote: own, local: own },
            },
            None => Peer::Unix { path: self.path.clone() },
        }
    }

    /// Changes `tcp-keepalive` for the connections to come.
    pub(super) fn set_keepalive(&self, seconds: u32) {
        if self.address.is_some()
            && let Err(error) = set_keepalive(self.raw_fd(), seconds)
        {
            tracing::warn!(%error, seconds, "tcp-keepalive could not be changed");
        }
    }
}

/// Listens on an address, together with the other shards' listeners on it.
pub fn tcp_listener(address: SocketAddr, options: &ListenOptions) -> io::Result<Listener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = socket(family)?;
    let raw = fd.as_raw_fd();
    set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    if address.is_ipv6() {
        set_option(raw, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    // Linux hands these on to every accepted connection, which saves their system calls.
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_keepalive(raw, options.keepalive_s)?;
    let (storage, len) = encode_address(address);
    bind_and_listen(raw, (&raw const storage).cast(), len, options.backlog)?;
    Ok(Listener { address: local_address(raw), path: String::new(), fd, tls: false })
}

/// Whether another process serves this address: it would share the port with us and take a part of
/// the connections. To be asked before the first listener on it is made.
pub fn tcp_port_is_taken(address: SocketAddr) -> io::Result<bool> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = socket(family)?;
    let raw = fd.as_raw_fd();
    // Without SO_REUSEPORT: connections that linger don't count, listeners do.
    set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        set_option(raw, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let (storage, len) = encode_address(address);
    // SAFETY: points to a live, initialised address of `len` bytes.
    match check(unsafe { libc::bind(raw, (&raw const storage).cast(), len) }) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
        // Any other failure comes again where it is reported.
        _ => Ok(false),
    }
}

/// Listens on a path, whose socket of an earlier server is replaced.
pub fn unix_listener(path: &Path, mode: u32, options: &ListenOptions) -> io::Result<Listener> {
    use std::os::unix::fs::PermissionsExt;
    let fd = socket(libc::AF_UNIX)?;
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: an all-zero sockaddr_un is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.len() >= address.sun_path.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long"));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    bind_and_listen(fd.as_raw_fd(), (&raw const address).cast(), len, options.backlog)?;
    if mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(Listener { fd, address: None, path: path.display().to_string(), tls: false })
}

fn set_keepalive(fd: RawFd, seconds: u32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, i32::from(seconds > 0))?;
    if seconds > 0 {
        // The system takes no more than this.
        let seconds = seconds.min(KEEPALIVE_S_MAX) as i32;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds)?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (seconds / 3).max(1))?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)?;
    }
    Ok(())
}

fn socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointers; the result is checked before it is owned.
    unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: points to a live i32 of the stated length.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })
}

fn bind_and_listen(
    fd: RawFd,
    address: *const libc::sockaddr,
    len: libc::socklen_t,
    backlog: i32,
) -> io::Result<()> {
    // SAFETY: both callers pass a live, initialised address of `len` bytes.
    check(unsafe { libc::bind(fd, address, len) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd, backlog) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn encode_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: an all-zero sockaddr_storage is valid, and it is large and aligned enough for both
    // address types that are written over its beginning.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let len = match address {
            SocketAddr::V4(v4) => {
                let to = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let to = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_addr.s6_addr = v6.ip().octets();
                to.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, len as libc::socklen_t)
    }
}

type NameCall = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    name(fd, libc::getpeername)
}

fn local_address(fd: RawFd) -> Option<SocketAddr> {
    name(fd, libc::getsockname)
}

fn name(fd: RawFd, call: NameCall) -> Option<SocketAddr> {
    // SAFETY: the storage is zeroed, large enough for any address, and its length is passed;
    // it is read as the type that its family field names.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        if call(fd, (&raw mut storage).cast(), &mut len) != 0 {
            return None;
        }
        match storage.ss_family as i32 {
            libc::AF_INET => {
                let from = &*(&raw const storage).cast::<libc::sockaddr_in>();
                let ip = IpAddr::from(from.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::new(ip, u16::from_be(from.sin_port)))
            }
            libc::AF_INET6 => {
                let from = &*(&raw const storage).cast::<libc::sockaddr_in6>();
                let ip = IpAddr::from(from.sin6_addr.s6_addr);
                Some(SocketAddr::new(ip, u16::from_be(from.sin6_port)))
            }
            _ => None,
        }
    }
}

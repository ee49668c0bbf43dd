//! Boot and shutdown: from a configuration to shard threads, and back.
//!
//! ```text
//!   main thread            shard threads (one per core, pinned)
//!     check the host
//!     bind the ports ────> Driver + Worker, each with its own listeners
//!     wait for a signal
//!     stop ── bells ─────> return
//!     join
//! ```

mod keeper;
pub mod offline;

use crate::clock;
use crate::command::{Act, Env, Faults, Registry};
use crate::config::{Action, BindHost, ClusterMode, Config, LogLevel, Values};
use crate::error::Fatal;
use crate::metrics::{PersistStats, ShardStats};
use crate::net::{BusyShards, Message, Shared, Worker, shard_settings};
use crate::persist::Journal;
use crate::route::{Mailboxes, mesh};
use crate::rt::{self, Bell, Bells, Driver, ListenOptions, Listener, Signals};
use crate::script::{SlowScripts, Store};
use crate::shard::Shard;
use keeper::Keeper;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Serves until a signal or a client's SHUTDOWN.
///
/// `set_log_level` is called when CONFIG SET changes the level.
pub fn run(
    config: Config,
    set_log_level: impl Fn(LogLevel) + Send + Sync + 'static,
) -> Result<(), Fatal> {
    run_faulty(config, set_log_level, Faults::default())
}

/// As [`run`], with something wrong on purpose.
pub fn run_faulty(
    config: Config,
    set_log_level: impl Fn(LogLevel) + Send + Sync + 'static,
    faults: Faults,
) -> Result<(), Fatal> {
    let cores = rt::usable_cores();
    let shards = match config.shards {
        0 => cores.len(),
        n => n as usize,
    };
    rt::check_host(shards, u64::from(config.maxclients))?;
    let listeners = listen_all(&config, shards)?;
    let signals = Signals::block()?;
    let pidfile = config.pidfile.clone();
    if let Some(path) = &pidfile {
        let pid = format!("{}\n", std::process::id());
        std::fs::write(path, pid).map_err(|e| Fatal::file("write the pid file", path, e))?;
    }
    let unixsocket = config.unixsocket.clone();
    let (port, cluster) = (config.port, config.cluster_mode);
    let act = move |action, values: &Values| act(action, values, &set_log_level);
    let shared = Arc::new(share(config, shards, Box::new(act), faults)?);
    let keeper = Keeper::begin(&shared)?;
    let mut threads = Vec::new();
    for (mail, listeners) in mesh::<Message>(shards).into_iter().zip(listeners) {
        let index = threads.len();
        threads.push(start_shard(&shared, index, cores[index % cores.len()], mail, listeners)?);
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        shards,
        port,
        pid = std::process::id(),
        cluster = cluster.name(),
        "ready to accept connections"
    );
    signals.wait(&shared.stopping);
    let saves = !shared.env.config().save.is_empty();
    let is_loaded = shared.loading.load(Ordering::Acquire) == 0;
    if saves && is_loaded && !shared.stopping.load(Ordering::Acquire) {
        tracing::info!("writing the last snapshot; another signal stops at once");
        shared.saves.stop_after_save();
        shared.bells[0].ring();
        signals.wait(&shared.stopping);
    }
    tracing::info!("stopping");
    shared.stop();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
    for path in pidfile.iter().chain(&unixsocket) {
        // Gone already is as good.
        let _ = std::fs::remove_file(path);
    }
    let kept = keeper.end();
    for result in results {
        match result {
            Ok(result) => result?,
            Err(_) => return Err(Fatal::system("go on", "a shard thread has panicked")),
        }
    }
    kept?;
    tracing::info!("bye");
    Ok(())
}

fn share(config: Config, shards: usize, act: Act, faults: Faults) -> Result<Shared, Fatal> {
    let renames: Vec<(String, String)> = config
        .rename_command
        .iter()
        .map(|rename| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&rename.from), text(&rename.to))
        })
        .collect();
    let registry =
        Registry::new(&renames).map_err(|problem| Fatal::system("rename commands", problem))?;
    let databases = config.databases as usize;
    let stats = (0..shards).map(|_| Arc::new(ShardStats::new(registry.len(), databases)));
    let bells: Result<Vec<Bell>, _> = (0..shards).map(|_| Bell::new()).collect();
    let bells: Bells = bells.map_err(|e| Fatal::system("make an eventfd", e.to_string()))?.into();
    let persist = Arc::new(PersistStats::default());
    let journal = config.appendonly.then(|| {
        let (bells, stats) = (bells.clone(), persist.clone());
        Arc::new(Journal::new(shards, config.appendfsync, bells, stats, faults))
    });
    Ok(Shared {
        loading: AtomicUsize::new(0),
        saves: Default::default(),
        loaded: (0..shards).map(|_| Mutex::new(None)).collect(),
        journal,
        env: Env {
            stats: stats.collect(),
            registry,
            config: Mutex::new(config),
            run_id: run_id(),
            started_at: clock::wall_ms(),
            act,
            scripts: Store::default(),
            slow_scripts: SlowScripts::default(),
            persist,
            all_in_scripts: AtomicBool::new(false),
            faults,
        },
        bells,
        key_seed: seed(),
        next_client: AtomicU64::new(1),
        giving_up: AtomicBool::new(false),
        connections: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        busy: BusyShards::new(shards),
    })
}

fn worker(shared: &Arc<Shared>, index: usize, mail: Mailboxes<Message>, seed: u64) -> Worker {
    let settings = shard_settings(&shared.env.config());
    let stats = shared.env.stats[index].clone();
    Worker::new(shared.clone(), Shard::new(index, seed, settings, stats), mail)
}

/// The workers of a server without threads, for the simulator: all chance comes from `seed`.
pub fn workers(config: Config, shards: usize, seed: u64) -> Result<Vec<Worker>, Fatal> {
    faulty_workers(config, shards, seed, Faults::default())
}

/// As [`workers`], with something wrong on purpose.
pub fn faulty_workers(
    config: Config,
    shards: usize,
    seed: u64,
    faults: Faults,
) -> Result<Vec<Worker>, Fatal> {
    let act = |action, values: &Values| act(action, values, &|_| ());
    let shared = Arc::new(share(config, shards, Box::new(act), faults)?);
    let mail = mesh::<Message>(shards).into_iter().enumerate();
    Ok(mail.map(|(index, mail)| worker(&shared, index, mail, seed)).collect())
}

/// What a CONFIG SET needs beyond letting every shard know; the reason when it cannot be done.
fn act(action: Action, values: &Values, set_log_level: &dyn Fn(LogLevel)) -> Result<(), String> {
    match action {
        Action::Descriptors => rt::raise_descriptors(u64::from(values.maxclients)),
        Action::Listen => Err("the listeners can't be changed while the server runs".to_string()),
        Action::AppendOnly => Err("appendonly can't be changed while the server runs".to_string()),
        Action::LogLevel => {
            set_log_level(values.loglevel);
            Ok(())
        }
    }
}

type ShardThread = std::thread::JoinHandle<Result<(), Fatal>>;

fn start_shard(
    shared: &Arc<Shared>,
    index: usize,
    core: usize,
    mail: Mailboxes<Message>,
    listeners: Vec<Listener>,
) -> Result<ShardThread, Fatal> {
    let shared = shared.clone();
    let name = format!("shard-{index}");
    rt::on_core(core, &name, move || async move {
        let mut worker = worker(&shared, index, mail, shared.key_seed);
        let driver = Driver::new(index, shared.bells.clone(), listeners);
        let result = match driver {
            Ok(driver) => driver.run(&mut worker).await,
            Err(error) => Err(error),
        };
        // One shard that cannot go on ends all: the others cannot serve its keys.
        shared.stopping.store(true, Ordering::Release);
        shared.stop();
        result
    })
}

/// Each shard's listeners: one per address on the port, the shard's own port, the Unix socket.
fn listen_all(config: &Values, shards: usize) -> Result<Vec<Vec<Listener>>, Fatal> {
    let options =
        ListenOptions { backlog: config.tcp_backlog as i32, keepalive_s: config.tcp_keepalive };
    let mut all: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    if config.port > 0 {
        let emulated = config.cluster_mode == ClusterMode::Emulated;
        check_ports(config, if emulated { shards } else { 0 })?;
        for address in config.bind_addresses() {
            for ip in resolve(&address.host)? {
                for (index, own) in all.iter_mut().enumerate() {
                    let mut ports = vec![config.port];
                    if emulated {
                        ports.push(shard_port(config.port, index)?);
                    }
                    for port in ports {
                        match rt::tcp_listener(SocketAddr::new(ip, port), &options) {
                            Ok(listener) => own.push(listener),
                            Err(error) if address.optional => {
                                tracing::debug!(%ip, %error, "not listening on an optional address");
                            }
                            Err(error) => return Err(cannot_listen(ip, port, &error)),
                        }
                    }
                }
            }
        }
    }
    if let Some(path) = &config.unixsocket {
        let listener = rt::unix_listener(path, config.unixsocketperm, &options)
            .map_err(|error| Fatal::file("listen on the Unix socket", path, error))?;
        all[0].push(listener);
    }
    match all.iter().all(Vec::is_empty) && config.port > 0 {
        true => Err(Fatal::system("listen", "no address of bind is on this machine")),
        false => Ok(all),
    }
}

/// Makes sure that no other server has the port, or one of the shards' own ports. Shards share a
/// port among themselves, and the kernel would let another server's shards join them.
fn check_ports(config: &Values, own_ports: usize) -> Result<(), Fatal> {
    let mut ports = vec![config.port];
    for shard in 0..own_ports {
        ports.push(shard_port(config.port, shard)?);
    }
    for host in config.bind_addresses() {
        for ip in resolve(&host.host)? {
            for &port in &ports {
                // What cannot be found out is found out when the listener is made.
                if rt::tcp_port_is_taken(SocketAddr::new(ip, port)).unwrap_or(false) {
                    let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
                    return Err(cannot_listen(ip, port, &taken));
                }
            }
        }
    }
    Ok(())
}

fn shard_port(port: u16, shard: usize) -> Result<u16, Fatal> {
    let own = usize::from(port) + 1 + shard;
    u16::try_from(own).map_err(|_| {
        Fatal::system("give each shard a port", format!("{own} is no port"))
            .with_way_out("choose a lower port, or fewer shards")
    })
}

fn cannot_listen(ip: IpAddr, port: u16, error: &std::io::Error) -> Fatal {
    let address = SocketAddr::new(ip, port);
    let fatal = Fatal::system(format!("listen on {address}"), error.to_string());
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            fatal.with_way_out("another server has this port: stop it, or choose another by --port")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            fatal.with_way_out("this machine does not have the address: see the option bind")
        }
        _ => fatal,
    }
}

fn resolve(host: &BindHost) -> Result<Vec<IpAddr>, Fatal> {
    match host {
        BindHost::AnyV4 => Ok(vec![Ipv4Addr::UNSPECIFIED.into()]),
        BindHost::AnyV6 => Ok(vec![Ipv6Addr::UNSPECIFIED.into()]),
        BindHost::Ip(ip) => Ok(vec![*ip]),
        BindHost::Name(name) => match (name.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
            Err(error) => Err(Fatal::system(format!("resolve '{name}'"), error.to_string())),
        },
    }
}

/// A number nobody can guess, from the system's randomness by way of the standard hasher.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(clock::wall())
}

fn run_id() -> String {
    let mut id: String = (0..3).map(|_| format!("{:016x}", seed())).collect();
    id.truncate(40);
    id
}

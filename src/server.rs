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

mod admin;
mod keeper;
pub mod offline;
mod ping;
mod supervisor;

use crate::acl::{Acl, users_of_config, users_of_file};
use crate::clock;
use crate::command::{Act, Env, Faults, Registry, gives_all_channels};
use crate::config::{
    Action, BindHost, ClusterMode, Config, LogLevel, RuntimeChoice, Secret, Values,
};
use crate::error::Fatal;
use crate::metrics::{LatencyMonitor, MemorySum, PersistStats, ShardStats};
use crate::net::{BusyShards, Desk, Message, Shared, TlsContext, Worker, shard_settings};
use crate::persist::Journal;
use crate::route::{Mailboxes, mesh};
use crate::rt::{self, Bell, Bells, Driver, ListenOptions, Listener, Runtime, Signals};
use crate::script::{SlowScripts, Store};
use crate::shard::Shard;
use keeper::Keeper;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use supervisor::Supervisor;

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
    tell_without_effect(&config, &Config::default());
    let cores = rt::usable_cores();
    let shards = match config.shards {
        0 => cores.len(),
        n => n as usize,
    };
    let runtime = rt::check_host(wanted_runtime(&config), shards, u64::from(config.maxclients))?;
    let listeners = listen_all(&config, shards)?;
    let signals = Signals::block()?;
    let pidfile = config.pidfile.clone();
    pidfile.iter().try_for_each(|path| write_pid(path))?;
    let unixsocket = config.unixsocket.clone();
    let (port, tls_port, cluster) = (config.port, config.tls_port, config.cluster_mode);
    let supervisor = Supervisor::new(config.supervised);
    let act = move |action, values: &Values| act(action, values, &set_log_level);
    let memory = MemorySum::new(shards);
    let place = (shards, runtime.name());
    let shared = Arc::new(share(config, memory, place, Box::new(act), faults)?);
    shared.env.memory.begin(rt::heap::state().allocated);
    let keeper = Keeper::begin(&shared)?;
    let admin = admin::start(&shared)?;
    let starting = Arc::new(AtomicUsize::new(shards));
    let mut threads = Vec::new();
    for (mail, listeners) in mesh::<Message>(shards).into_iter().zip(listeners) {
        let index = threads.len();
        let core = cores[index % cores.len()];
        let on = (runtime, core);
        threads.push(start_shard(&shared, (index, &starting), on, mail, listeners)?);
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        shards,
        port,
        tls_port,
        pid = std::process::id(),
        runtime = runtime.name(),
        cluster = cluster.name(),
        "ready to accept connections"
    );
    wait_for_the_end(&shared, &signals, supervisor);
    tracing::info!("stopping");
    shared.stop();
    let admin = admin.map(|thread| thread.join());
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
    for path in pidfile.iter().chain(&unixsocket) {
        // Gone already is as good.
        let _ = std::fs::remove_file(path);
    }
    let kept = keeper.end();
    if admin.is_some_and(|ended| ended.is_err()) {
        tracing::error!("the admin thread has panicked");
    }
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

/// The runtime that is asked for; none is the best one that there is.
fn wanted_runtime(config: &Values) -> Option<Runtime> {
    match config.runtime {
        RuntimeChoice::Auto => None,
        RuntimeChoice::IoUring => Some(Runtime::IoUring),
        RuntimeChoice::Epoll => Some(Runtime::Epoll),
    }
}

fn write_pid(path: &Path) -> Result<(), Fatal> {
    let pid = format!("{}\n", std::process::id());
    std::fs::write(path, pid).map_err(|e| Fatal::file("write the pid file", path, e))
}

/// Waits for a signal or a client's SHUTDOWN, and then for the last snapshot.
fn wait_for_the_end(shared: &Shared, signals: &Signals, mut supervisor: Supervisor) {
    let is_loading = || shared.loading.load(Ordering::Acquire) > 0;
    signals.wait(&shared.stopping, || supervisor.look(is_loading()));
    supervisor.stopping();
    let saves = !shared.env.config().save.is_empty();
    if saves && !is_loading() && !shared.stopping.load(Ordering::Acquire) {
        tracing::info!("writing the last snapshot; another signal stops at once");
        shared.saves.stop_after_save();
        shared.bells[0].ring();
        signals.wait(&shared.stopping, || ());
    }
}

/// Says which options are set that do nothing here.
fn tell_without_effect(values: &Values, before: &Values) {
    let told = [
        ("aof-timestamp-enabled", values.aof_timestamp_enabled != before.aof_timestamp_enabled),
        ("aof-use-rdb-preamble", values.aof_use_rdb_preamble != before.aof_use_rdb_preamble),
        ("rdb-del-sync-files", values.rdb_del_sync_files != before.rdb_del_sync_files),
    ];
    for (option, _) in told.iter().filter(|(_, is_changed)| *is_changed) {
        tracing::warn!("{option} is accepted and has no effect: see its description in the help");
    }
}

fn share(
    config: Config,
    memory: MemorySum,
    (shards, runtime): (usize, &'static str),
    act: Act,
    faults: Faults,
) -> Result<Shared, Fatal> {
    let registry = registry(&config)?;
    let databases = config.databases as usize;
    let acl = first_users(&config, &registry)?;
    let stats = (0..shards).map(|_| Arc::new(ShardStats::new(registry.len(), databases)));
    let bells: Result<Vec<Bell>, _> = (0..shards).map(|_| Bell::new()).collect();
    let bells: Bells = bells.map_err(|e| Fatal::system("make an eventfd", e.to_string()))?.into();
    let persist = Arc::new(PersistStats::default());
    let latency = Arc::new(LatencyMonitor::default());
    latency.set_threshold(config.latency_monitor_threshold);
    let journal = {
        let told = (persist.clone(), latency.clone());
        Arc::new(Journal::new(shards, config.appendfsync, bells.clone(), told, faults))
    };
    journal.set_lenient(config.no_appendfsync_on_rewrite);
    let tls = Arc::new(TlsContext::default());
    tls.load(&config).map_err(|reason| Fatal::system("set up TLS", reason))?;
    let act = act_on(journal.clone(), tls.clone(), act, faults);
    Ok(Shared {
        loading: AtomicUsize::new(0),
        saves: Default::default(),
        reloads: Default::default(),
        load_again: keeper::load_again,
        loaded: (0..shards).map(|_| Mutex::new(None)).collect(),
        journal,
        env: Env {
            stats: stats.collect(),
            registry,
            acl,
            config: Mutex::new(config),
            run_id: run_id(),
            repl_changes: AtomicU64::new(0),
            started_at: clock::wall_ms(),
            runtime,
            act,
            scripts: Store::default(),
            slow_scripts: SlowScripts::default(),
            persist,
            memory: Arc::new(memory),
            born: clock::monotonic(),
            logs: Default::default(),
            latency,
            asleep_until_us: AtomicU64::new(0),
            all_in_scripts: AtomicBool::new(false),
            faults,
        },
        bells,
        key_seed: seed(),
        next_client: AtomicU64::new(1),
        tls,
        giving_up: AtomicBool::new(false),
        connections: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        busy: BusyShards::new(shards),
        desk: Desk::new(shards),
    })
}

/// The commands, under the names that the configuration gives them.
fn registry(config: &Values) -> Result<Registry, Fatal> {
    let renames: Vec<(String, String)> = config
        .rename_command
        .iter()
        .map(|rename| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&rename.from), text(&rename.to))
        })
        .collect();
    Registry::new(&renames).map_err(|problem| Fatal::system("rename commands", problem))
}

/// The users as the configuration or their file declares them.
fn first_users(config: &Values, registry: &Registry) -> Result<Acl, Fatal> {
    let acl = Acl::default();
    acl.set_default_password(config.requirepass.as_ref().map(Secret::as_bytes));
    let all_channels = gives_all_channels(config);
    let wrong = |problem: String| Fatal::system("load the users", problem);
    match &config.aclfile {
        Some(_) if !config.user.is_empty() => {
            let both = "there are user lines in the configuration and an aclfile".to_string();
            return Err(wrong(both).with_way_out("declare the users in one of the two places"));
        }
        Some(path) => {
            let text = std::fs::read(path)
                .map_err(|error| Fatal::file("read the file of the users", path, error))?;
            let shown = path.display().to_string();
            acl.change(|users| {
                *users = users_of_file(users, &shown, &text, registry, all_channels)
                    .map_err(|errors| wrong(String::from_utf8_lossy(&errors).into_owned()))?;
                Ok::<_, Fatal>(())
            })?;
        }
        None => acl.change(|users| {
            users_of_config(users, &config.user, registry, all_channels).map_err(wrong)
        })?,
    }
    Ok(acl)
}

/// What carries out a CONFIG SET on what all shards share; the rest is left to `act`.
fn act_on(journal: Arc<Journal>, tls: Arc<TlsContext>, act: Act, faults: Faults) -> Act {
    Box::new(move |action, values: &Values| match action {
        Action::AppendOnly if values.appendonly => {
            keeper::begin_to_append(&journal, values, faults)
        }
        // Shards see to that once they know.
        Action::AppendOnly => Ok(()),
        Action::Tls => tls.load(values).map_err(|reason| {
            tracing::warn!(reason, "TLS stays as it is");
            "Unable to update TLS configuration. Check server logs.".to_string()
        }),
        _ => act(action, values),
    })
}

fn worker(shared: &Arc<Shared>, index: usize, mail: Mailboxes<Message>, seed: u64) -> Worker {
    let settings = shard_settings(&shared.env.config());
    let stats = shared.env.stats[index].clone();
    Worker::new(shared.clone(), Shard::new(index, seed, settings, stats), mail)
}

/// What a key weighs in a simulation.
const KEY_BYTES: i64 = 1000;

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
    let memory = MemorySum::of_keys(shards, KEY_BYTES);
    let place = (shards, "simulated");
    let shared = Arc::new(share(config, memory, place, Box::new(act), faults)?);
    let mail = mesh::<Message>(shards).into_iter().enumerate();
    Ok(mail.map(|(index, mail)| worker(&shared, index, mail, seed)).collect())
}

/// What a CONFIG SET needs beyond letting every shard know; the reason when it cannot be done.
fn act(action: Action, values: &Values, set_log_level: &dyn Fn(LogLevel)) -> Result<(), String> {
    match action {
        Action::Descriptors => rt::raise_descriptors(u64::from(values.maxclients)),
        Action::Listen => Err("the listeners can't be changed while the server runs".to_string()),
        Action::TellNoEffect => {
            tell_without_effect(values, &Config::default());
            Ok(())
        }
        // Done by who knows the journal, and who has the certificates.
        Action::AppendOnly | Action::Tls => Ok(()),
        Action::LogLevel => {
            set_log_level(values.loglevel);
            Ok(())
        }
    }
}

type ShardThread = std::thread::JoinHandle<Result<(), Fatal>>;

fn start_shard(
    shared: &Arc<Shared>,
    (index, starting): (usize, &Arc<AtomicUsize>),
    (runtime, core): (Runtime, usize),
    mail: Mailboxes<Message>,
    listeners: Vec<Listener>,
) -> Result<ShardThread, Fatal> {
    let (shared, starting) = (shared.clone(), starting.clone());
    let name = format!("shard-{index}");
    rt::on_core(runtime, core, &name, move || async move {
        let mut worker = worker(&shared, index, mail, shared.key_seed);
        worker.set_tls_listeners(listeners.iter().map(|listener| listener.tls).collect());
        let driver = Driver::new(runtime, index, shared.bells.clone(), listeners);
        shared.env.memory.begin_shard(index, rt::heap::balance());
        starting.fetch_sub(1, Ordering::AcqRel);
        wait_for_the_others(&starting, &shared.stopping);
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

/// Waits until all shards have what they need, descriptors above all: the clients of the first could take those of the
/// others. One that could not begin says so itself, and nobody waits for it for ever.
fn wait_for_the_others(starting: &AtomicUsize, stopping: &AtomicBool) {
    const PATIENCE: Duration = Duration::from_secs(10);
    let begun = clock::monotonic();
    while starting.load(Ordering::Acquire) > 0
        && !stopping.load(Ordering::Acquire)
        && begun.elapsed() < PATIENCE
    {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Each shard's listeners: for plain connections and for TLS one per address on the port and one on
/// the shard's own port; the Unix socket.
fn listen_all(config: &Values, shards: usize) -> Result<Vec<Vec<Listener>>, Fatal> {
    let options =
        ListenOptions { backlog: config.tcp_backlog as i32, keepalive_s: config.tcp_keepalive };
    let mut all: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    check_ports(config, shards)?;
    for (tls, port) in main_ports(config) {
        for (index, own) in all.iter_mut().enumerate() {
            for port in shard_ports(config, port, index)? {
                for mut listener in listen_on(config, port, &options)? {
                    listener.tls = tls;
                    own.push(listener);
                }
            }
        }
    }
    if let Some(path) = &config.unixsocket {
        let wrong = |error| Fatal::file("listen on the Unix socket", path, error);
        let listener = rt::unix_listener(path, config.unixsocketperm, &options).map_err(wrong)?;
        for own in &mut all[1..] {
            own.push(listener.another().map_err(wrong)?);
        }
        all[0].push(listener);
    }
    match all.iter().all(Vec::is_empty) && main_ports(config).next().is_some() {
        true => Err(Fatal::system("listen", "no address of bind is on this machine")),
        false => Ok(all),
    }
}

/// The ports that all shards share, and whether each is for TLS.
fn main_ports(config: &Values) -> impl Iterator<Item = (bool, u16)> + use<> {
    [(false, config.port), (true, config.tls_port)].into_iter().filter(|(_, port)| *port > 0)
}

/// The ports of one shard: the shared one, and its own behind that when shards show themselves.
fn shard_ports(config: &Values, port: u16, shard: usize) -> Result<Vec<u16>, Fatal> {
    Ok(match config.cluster_mode {
        ClusterMode::Emulated => vec![port, shard_port(port, shard)?],
        ClusterMode::No => vec![port],
    })
}

/// One listener on a port for each address of `bind`.
fn listen_on(config: &Values, port: u16, options: &ListenOptions) -> Result<Vec<Listener>, Fatal> {
    let mut listeners = Vec::new();
    for address in config.bind_addresses() {
        for ip in resolve(&address.host)? {
            match rt::tcp_listener(SocketAddr::new(ip, port), options) {
                Ok(listener) => listeners.push(listener),
                Err(error) if address.optional => {
                    tracing::debug!(%ip, %error, "not listening on an optional address");
                }
                Err(error) => return Err(cannot_listen(ip, port, &error)),
            }
        }
    }
    Ok(listeners)
}

/// Makes sure that no other server has the ports, nor one of them two purposes. Shards share a
/// port among themselves, and the kernel would let another server's shards join them.
fn check_ports(config: &Values, shards: usize) -> Result<(), Fatal> {
    let mut ports = Vec::new();
    for (tls, main) in main_ports(config) {
        let mut own: Vec<u16> = Vec::new();
        for shard in 0..shards {
            own.extend(shard_ports(config, main, shard)?);
        }
        own.sort_unstable();
        own.dedup();
        if let Some(port) = own.iter().find(|port| ports.contains(*port)) {
            debug_assert!(tls, "plain ports come first");
            let cause = format!("port {port} would be one for plain connections and for TLS");
            return Err(Fatal::system("listen", cause).with_way_out(
                "choose a tls-port further from port: with cluster-mode emulated each shard has \
                 a port of its own behind either",
            ));
        }
        ports.extend(own);
    }
    for host in config.bind_addresses() {
        for ip in resolve(&host.host)? {
            for &port in &ports {
                if !is_free_soon(SocketAddr::new(ip, port)) {
                    let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
                    return Err(cannot_listen(ip, port, &taken));
                }
            }
        }
    }
    Ok(())
}

/// The kernel closes the listeners of a server that has ended a little later than the server.
const PORT_PATIENCE: Duration = Duration::from_millis(500);
const PORT_RETRY: Duration = Duration::from_millis(5);

/// Whether nobody has the port, or not for much longer.
fn is_free_soon(address: SocketAddr) -> bool {
    let begun = clock::monotonic();
    loop {
        // What cannot be found out is found out when the listener is made.
        if !rt::tcp_port_is_taken(address).unwrap_or(false) {
            return true;
        }
        if begun.elapsed() >= PORT_PATIENCE {
            return false;
        }
        std::thread::sleep(PORT_RETRY);
    }
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

//! The admin port: HTTP for people and for monitoring, apart from the shards.
//!
//! ```text
//!   GET /             the console: one page that asks for the rest
//!   GET /state.json   what the console shows; ?keys=a,b for the lengths of some keys
//!   GET /metrics      for Prometheus, under the names of redis_exporter
//!   GET /healthz      200 as long as the process runs
//!   GET /readyz       200 when commands are served, 503 while data is loaded or the server stops
//! ```
//!
//! One thread takes connections and remembers how the last minutes were; each connection has a thread
//! of its own for its one request, and there are few of them. What they tell comes from counters
//! that the shards publish anyway, and from the desk (see `net::Desk`): no shard waits for them.
//!
//! - Nothing can be changed here: all that is not GET or HEAD is refused, so a page of another origin
//!   has nothing to forge.
//! - With `admin-password`, or when the default user needs a password, is off or may not see it all, the
//!   console, its state and the metrics ask for a password (see [`login`]). Else requests must name the
//!   server by an address, localhost, the machine's name or one of `admin-hosts`: a name that somebody
//!   else has pointed here is refused.
//!
//! Absent: TLS, connections that are kept, anything that writes.

mod history;
mod http;
mod json;
mod login;
mod metrics;
mod state;

use crate::clock;
use crate::error::Fatal;
use crate::net::Shared;
use history::History;
use http::{Request, Response};
use login::Admission;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests at once; more are turned away.
const REQUESTS_MAX: usize = 16;
/// How long the thread sleeps when nobody comes.
const PAUSE: Duration = Duration::from_millis(20);
/// Time between two points of the history.
const STEP: Duration = Duration::from_secs(1);

const PAGE: &str = include_str!("admin/console.html");

/// What all requests look at.
struct Admin {
    shared: Arc<Shared>,
    history: Mutex<History>,
    requests: AtomicUsize,
    /// The machine's name.
    host_name: String,
}

/// Begins to serve if there is an admin port; the thread ends when the server stops.
pub(super) fn start(shared: &Arc<Shared>) -> Result<Option<JoinHandle<()>>, Fatal> {
    let (port, address) = {
        let config = shared.env.config();
        (config.admin_port, config.admin_bind.clone().unwrap_or_default())
    };
    if port == 0 {
        return Ok(None);
    }
    let what = format!("listen on admin-port {port}");
    let ip: IpAddr = match address.as_str() {
        "" => IpAddr::from([127, 0, 0, 1]),
        "*" => IpAddr::from([0, 0, 0, 0]),
        text => text
            .parse()
            .map_err(|_| Fatal::system(what.clone(), format!("admin-bind {text} is no address")))?,
    };
    let fatal = |error: std::io::Error| Fatal::system(what.clone(), error.to_string());
    let listener = TcpListener::bind((ip, port)).map_err(fatal)?;
    listener.set_nonblocking(true).map_err(fatal)?;
    let env = &shared.env;
    if !ip.is_loopback() && login::is_open(&env.config(), &env.acl.users()) {
        tracing::warn!(
            "admin-port is open to others than this machine and asks for no password: see the option \
             admin-password"
        );
    }
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let admin = Arc::new(Admin {
        shared: shared.clone(),
        history: Mutex::default(),
        requests: AtomicUsize::new(0),
        host_name: host_name.trim().to_lowercase(),
    });
    tracing::info!(%ip, port, "admin port");
    let thread = std::thread::Builder::new().name("admin".to_string());
    thread.spawn(move || serve(&admin, &listener)).map(Some).map_err(fatal)
}

fn serve(admin: &Arc<Admin>, listener: &TcpListener) {
    let mut next = clock::monotonic();
    while !admin.shared.stopping.load(Ordering::Acquire) {
        let now = clock::monotonic();
        if now >= next {
            next = now + STEP;
            let mut history = admin.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.sample(&admin.shared.env, clock::wall_ms());
        }
        match listener.accept() {
            Ok((stream, _)) => begin(admin, stream),
            // Nobody is there, or no descriptor is left: both may change.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn begin(admin: &Arc<Admin>, stream: TcpStream) {
    if admin.requests.fetch_add(1, Ordering::AcqRel) >= REQUESTS_MAX {
        admin.requests.fetch_sub(1, Ordering::AcqRel);
        // The peer sees that the connection is closed.
        return;
    }
    let own = admin.clone();
    let work = move || {
        http::converse(stream, |request| own.answer(request));
        own.requests.fetch_sub(1, Ordering::AcqRel);
    };
    if std::thread::Builder::new().name("admin-request".to_string()).spawn(work).is_err() {
        admin.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admin {
    fn answer(&self, request: &Request) -> Response {
        if !request.is_read {
            return Response::text(405, "only GET and HEAD are served here\n")
                .header("Allow", "GET, HEAD");
        }
        // Those who watch the process have no password, and learn nothing.
        match request.path.as_str() {
            "/healthz" => return Response::text(200, "ok\n"),
            "/readyz" => return self.readiness(),
            _ => {}
        }
        if let Some(refusal) = self.refusal(request) {
            return refusal;
        }
        match request.path.as_str() {
            "/" => self.console(),
            "/state.json" => {
                let history = self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Response::json(state::state(&self.shared, &history, &request.keys()))
            }
            "/metrics" => Response::metrics(metrics::metrics(&self.shared)),
            _ => Response::text(404, "there is nothing here\n"),
        }
    }

    fn readiness(&self) -> Response {
        let loading = self.shared.loading.load(Ordering::Acquire) > 0;
        match () {
            _ if self.shared.stopping.load(Ordering::Acquire) => Response::text(503, "stopping\n"),
            _ if loading => Response::text(503, "loading\n"),
            _ => Response::text(200, "ready\n"),
        }
    }

    /// The page, with a word of its own for its one script and style.
    fn console(&self) -> Response {
        let nonce = format!("{:016x}", super::seed());
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Response::page(PAGE.replace("__NONCE__", &nonce)).header("Content-Security-Policy", &policy)
    }

    fn refusal(&self, request: &Request) -> Option<Response> {
        let env = &self.shared.env;
        let page = match request.path.as_str() {
            "/metrics" => login::FIGURES,
            _ => login::ALL,
        };
        let users = env.acl.users();
        let (admission, hosts) = {
            let config = env.config();
            let admission = login::admit(&config, &users, &env.registry, request, page);
            (admission, config.admin_hosts.clone().unwrap_or_default())
        };
        match admission {
            Admission::Known => None,
            Admission::Refused => Some(
                Response::text(401, "a password is needed\n")
                    .header("WWW-Authenticate", "Basic realm=\"Corelane\", charset=\"UTF-8\""),
            ),
            Admission::Open if is_own_name(&request.host, &self.host_name, &hosts) => None,
            Admission::Open => Some(Response::text(
                421,
                "this name of the server is not known: see the option admin-hosts\n",
            )),
        }
    }
}

/// Whether a Host header names this server by something that nobody else can point here.
fn is_own_name(host: &str, host_name: &str, hosts: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_lowercase();
    name == "localhost"
        || name.parse::<IpAddr>().is_ok()
        || (!name.is_empty() && name == host_name)
        || hosts.split_whitespace().any(|own| own == "*" || own.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_may_have_made_up_are_refused() {
        for host in ["127.0.0.1:9121", "localhost", "[::1]:9121", "10.1.2.3", "Box:1"] {
            assert!(is_own_name(host, "box", ""), "{host}");
        }
        for host in ["evil.example:9121", "", ":9121", "localhost.evil.example", "boxes"] {
            assert!(!is_own_name(host, "box", "redis.example"), "{host}");
        }
        assert!(is_own_name("redis.example:80", "box", "a redis.example"));
        assert!(is_own_name("any.name", "box", "*"));
    }
}

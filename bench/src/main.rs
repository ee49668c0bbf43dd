//! `corelane-bench`: drives a Redis-compatible server and reads what that cost it.
//!
//! ```text
//!   main ── connects all, samples /proc/PID ──┬── Worker 0 ── conns ──┐
//!     │                                       ├── Worker 1 ── conns ──┼── server
//!     └── samples again, adds up, reports ────┴── ...                 ┘
//!
//!   Worker: Source (template, key) → Conn (bytes out) → ReplyCounter (bytes in) → histogram
//! ```
//!
//! The generator shares the machine with the server, so it does little per request: templates are
//! RESP already, only key digits are written anew; replies are checked and counted, never kept.
//! Threads share nothing while they run. Deliberately absent: an async runtime, TLS, AUTH.

mod clock;
mod cluster;
mod conn;
mod keys;
mod options;
mod reply;
mod report;
mod server;
mod source;
mod system;
mod template;
mod worker;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use cluster::{SlotMap, Value};
use conn::Conn;
use keys::{Draw, Rng};
use options::Options;
use report::{Report, ServerCost};
use server::ServerSample;
use source::Source;
use template::Template;
use worker::{Outcome, Pace, Phase, Worker};

/// Without `--seconds`, `--requests` and `--load`.
const SECONDS_DEFAULT: f64 = 10.0;

fn main() -> ExitCode {
    let options = Options::parse();
    let report = match run(&options) {
        Ok(report) => report,
        Err(what) => {
            eprintln!("corelane-bench: {what}");
            return ExitCode::FAILURE;
        }
    };
    let text = if options.json { report.json() } else { report.table() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(options: &Options) -> Result<Report, String> {
    if !options.cpus.is_empty() {
        system::pin(&options.cpus).map_err(|e| format!("--cpus: {e}"))?;
    }
    let templates: Arc<[Template]> = templates(options)?.into();
    let slots = match options.cluster {
        true => {
            let stream = connect(&options.host, options.port, options)?;
            Some(Arc::new(SlotMap::ask(&stream, &options.host)?))
        }
        false => None,
    };
    let shards = slots.as_ref().map_or(1, |map| map.addresses.len());
    let texts: Vec<String> = templates.iter().map(|t| format!("{}:{}", t.weight, t.text)).collect();
    let load = report::describe(options, &texts, shards);
    let mut workers = (0..options.threads)
        .map(|thread| worker(options, thread, &templates, slots.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    if options.warmup > 0.0 {
        let phases = phases(options, clock::ns(options.warmup), u64::MAX);
        all_threads(&mut workers, &phases)?;
    }
    let default = (options.requests.is_none() && !options.load).then_some(SECONDS_DEFAULT);
    let duration = options.seconds.or(default).map_or(u64::MAX, clock::ns);
    let phases = phases(options, duration, options.requests.unwrap_or(u64::MAX));
    let sample = || options.pid.map(ServerSample::take).transpose();
    let before = sample()?;
    let (start, cpu) = (clock::now_ns(), system::own_cpu_ns());
    let outcomes = all_threads(&mut workers, &phases)?;
    let (elapsed, cpu) = (clock::now_ns() - start, system::own_cpu_ns() - cpu);
    let cost = before.zip(sample()?).map(|(before, after)| ServerCost::between(&before, &after));
    Report::new(load, outcomes, elapsed, cpu, cost)
}

fn templates(options: &Options) -> Result<Vec<Template>, String> {
    // Letters, so that no server stores the value as a number.
    let data: Vec<u8> = (0..options.data_size).map(|i| b'a' + (i * 7 % 26) as u8).collect();
    let parse = |text: &String| Template::parse(text, &data);
    if options.command.is_empty() {
        return template::mix(if options.load { "0:1" } else { &options.mix }, &data);
    }
    let templates = options.command.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    match templates.iter().find(|template| options.load && template.keys != 1) {
        Some(template) => Err(format!("'{}': --load needs exactly one __key__", template.text)),
        None => Ok(templates),
    }
}

/// Connects one thread's share of the clients.
fn worker(
    options: &Options,
    thread: u32,
    templates: &Arc<[Template]>,
    slots: Option<&Arc<SlotMap>>,
) -> Result<Worker, String> {
    let clients = share(u64::from(options.clients), thread, options.threads);
    let main_address = [(options.host.clone(), options.port)];
    let addresses = slots.map_or(&main_address[..], |map| &map.addresses);
    let mut conns = Vec::new();
    for _ in 0..clients {
        for (shard, (host, port)) in addresses.iter().enumerate() {
            let stream = connect(host, *port, options)?;
            conns.push(Conn::new(stream, shard).map_err(|e| format!("{host}:{port}: {e}"))?);
        }
    }
    let (keys, number, threads) =
        (u64::from(options.keys), u64::from(thread), u64::from(options.threads));
    let draw = match options.load {
        true => Draw::once(keys, number, threads),
        false => Draw::new(options.distribution, keys, number, threads),
    };
    let rng = Rng::new(options.seed.wrapping_mul(1 << 16).wrapping_add(number));
    let format = options.key_format.clone();
    let source =
        Source::new(templates.clone(), format, slots.cloned(), draw, rng).in_turn(options.in_turn);
    Worker::new(conns, source, addresses.len(), options.pipeline)
}

fn connect(host: &str, port: u16, options: &Options) -> Result<TcpStream, String> {
    let named = |e: std::io::Error| format!("{host}:{port}: {e}");
    let mut stream = TcpStream::connect((host, port)).map_err(named)?;
    stream.set_read_timeout(Some(Duration::from_secs_f64(options.timeout))).map_err(named)?;
    if options.resp3 {
        stream.write_all(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n").map_err(named)?;
        if let Value::Error(text) = cluster::read_value(&mut BufReader::new(&stream), 0)? {
            return Err(format!("HELLO 3: {text}"));
        }
    }
    Ok(stream)
}

fn phases(options: &Options, duration_ns: u64, requests: u64) -> Vec<Phase> {
    let threads = options.threads;
    let phase = |thread| Phase {
        duration_ns,
        requests: match requests {
            u64::MAX => u64::MAX,
            requests => share(requests, thread, threads),
        },
        pace: options.rate.map(|rate| {
            let interval_ns = 1e9 * f64::from(threads) / rate;
            Pace { interval_ns, offset_ns: interval_ns * f64::from(thread) / f64::from(threads) }
        }),
        stall_ns: clock::ns(options.timeout),
    };
    (0..threads).map(phase).collect()
}

/// This thread's part of `whole`; the parts add up to it.
fn share(whole: u64, thread: u32, threads: u32) -> u64 {
    let (thread, threads) = (u128::from(thread), u128::from(threads));
    let upto = |n: u128| (u128::from(whole) * n / threads) as u64;
    upto(thread + 1) - upto(thread)
}

fn all_threads(workers: &mut [Worker], phases: &[Phase]) -> Result<Vec<Outcome>, String> {
    std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .zip(phases)
            .map(|(worker, phase)| scope.spawn(move || worker.run(phase)))
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|outcome| outcome.unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (whole, threads) in [(50u64, 3u32), (1, 4), (7, 7), (u64::MAX - 1, 2)] {
            let sum: u64 = (0..threads).map(|thread| share(whole, thread, threads)).sum();
            assert_eq!(sum, whole);
        }
    }

    #[test]
    fn a_fill_takes_templates_of_one_key_only() {
        let parse = |arguments: &[&str]| {
            templates(&Options::parse_from(std::iter::once(&"bench").chain(arguments)))
                .map(|t| t.len())
        };
        assert_eq!(parse(&["--load"]), Ok(1));
        assert_eq!(parse(&["--load", "--command", "HSET __key__ f __data__"]), Ok(1));
        assert!(parse(&["--load", "--command", "MSET __pair:2__"]).is_err());
        assert_eq!(parse(&["--command", "MSET __pair:2__"]), Ok(1));
        assert_eq!(parse(&["--mix", "1:1"]), Ok(2));
    }
}

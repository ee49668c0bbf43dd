//! The command line: reads the configuration, starts the logs, runs the server.

use corelane::config::{Invocation, LogFormat, LogLevel, Values, parse};
use corelane::error::Fatal;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{fmt, reload};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How the allocator works: a thread of its own gives back to the system what has not been used for a
/// second, so that memory follows its use also while a shard has nothing to do.
// SAFETY: the symbol is the one that this build of jemalloc reads at its start: a pointer to a text
// that ends with a NUL.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: Option<&'static [u8; 43]> =
    Some(b"background_thread:true,dirty_decay_ms:1000\0");

fn main() -> ExitCode {
    corelane::rt::yield_to_all();
    match start() {
        Ok(code) => code,
        Err(fatal) => {
            eprintln!("corelane: {fatal}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode, Fatal> {
    match parse(std::env::args_os().skip(1))? {
        Invocation::Print(text) => {
            println!("{}", text.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Invocation::Check { warnings } => {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("the configuration is valid");
            Ok(ExitCode::SUCCESS)
        }
        Invocation::Tool(tool) => match corelane::server::offline::run(&tool)? {
            true => Ok(ExitCode::SUCCESS),
            false => Ok(ExitCode::FAILURE),
        },
        Invocation::Run { config, warnings } => {
            std::env::set_current_dir(&config.dir)
                .map_err(|error| Fatal::file("change to the directory", &config.dir, error))?;
            let set_log_level = start_logs(&config)?;
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let result = corelane::server::run(*config, set_log_level);
            if let Err(fatal) = &result {
                tracing::error!("{fatal}");
            }
            result.map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Lines for people, or an object a line; to standard output or a file. Answers what changes the
/// level from then on.
fn start_logs(config: &Values) -> Result<impl Fn(LogLevel) + Send + Sync + 'static, Fatal> {
    let (level, handle) = reload::Layer::new(filter(config.loglevel));
    let lines = fmt::layer().with_target(false);
    let to_file = match &config.logfile {
        None => None,
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(file.map_err(|error| Fatal::file("open the log file", path, error))?)
        }
    };
    let lines = match (config.log_format, to_file) {
        (LogFormat::Human, None) => lines.with_ansi(std::io::stdout().is_terminal()).boxed(),
        (LogFormat::Json, None) => lines.json().boxed(),
        (LogFormat::Human, Some(file)) => {
            lines.with_ansi(false).with_writer(Mutex::new(file)).boxed()
        }
        (LogFormat::Json, Some(file)) => lines.json().with_writer(Mutex::new(file)).boxed(),
    };
    tracing_subscriber::registry().with(level).with(lines).init();
    // It fails only when there is no log any more.
    Ok(move |level| drop(handle.reload(filter(level))))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

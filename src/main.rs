//! The command line: reads the configuration, starts the logs, runs the server.

use corelane::config::{Invocation, LogFormat, LogLevel, Values, parse};
use corelane::error::Fatal;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use tracing_subscriber::filter::LevelFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("corelane: {fatal}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Fatal> {
    match parse(std::env::args_os().skip(1))? {
        Invocation::Print(text) => {
            println!("{}", text.trim_end());
            Ok(())
        }
        Invocation::Check { warnings } => {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("the configuration is valid");
            Ok(())
        }
        Invocation::Run { config, warnings } => {
            std::env::set_current_dir(&config.dir)
                .map_err(|error| Fatal::file("change to the directory", &config.dir, error))?;
            start_logs(&config)?;
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let result = corelane::server::run(*config);
            if let Err(fatal) = &result {
                tracing::error!("{fatal}");
            }
            result
        }
    }
}

/// Lines for people, or an object a line; to standard output or a file.
fn start_logs(config: &Values) -> Result<(), Fatal> {
    let level = match config.loglevel {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    let to_file = match &config.logfile {
        None => None,
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(file.map_err(|error| Fatal::file("open the log file", path, error))?)
        }
    };
    match (config.log_format, to_file) {
        (LogFormat::Human, None) => builder.with_ansi(std::io::stdout().is_terminal()).init(),
        (LogFormat::Json, None) => builder.json().init(),
        (LogFormat::Human, Some(file)) => {
            builder.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        (LogFormat::Json, Some(file)) => builder.json().with_writer(Mutex::new(file)).init(),
    }
    Ok(())
}

//! The command line, as redis-server takes it:
//!
//! ```text
//! corelane [/path/to/file.conf] [-] [--option value ...]...
//! corelane check|export ...             see `tools`
//! ```
//!
//! Every option of the table is a `--option`; it and its values are a line that is read after
//! the file and after standard input (`-`, first or last), so the last one wins.
//!
//! The help is clap's, built from the rows. The words are split here, since redis-server's
//! rules are not a flag parser's: any number of values, values that start with a dash
//! (`--bind 127.0.0.1 -::1`), a name with its value in one word (`"--port 7000"`), and
//! options that only deserve a warning.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};

use super::{
    Config, Warning, defaults,
    file::{Loader, Place, split_args},
    options::rows,
    render::{facts, first_sentence, wrap},
    row::Group,
    tools::{self, Tool},
};
use crate::error::Fatal;

/// Of the long help's text, which clap sets off by ten spaces.
const HELP_WIDTH: usize = 86;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Start the server, after logging the warnings.
    Run { config: Box<Config>, warnings: Vec<Warning> },
    /// The configuration was read and is valid: say so, print the warnings, and end.
    Check { warnings: Vec<Warning> },
    /// Do this with files; there is no server.
    Tool(Tool),
    /// Print this, the help or the version, and end.
    Print(String),
}

/// Reads the command line (without the program's name) and the files that it names.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, Fatal> {
    parse_with(args.map(OsString::into_vec).collect(), &mut io::stdin())
}

fn parse_with(args: Vec<Vec<u8>>, stdin: &mut impl Read) -> Result<Invocation, Fatal> {
    match args.first().map(Vec::as_slice) {
        Some(b"-h") => return Ok(Invocation::Print(command().render_help().to_string())),
        Some(b"-v" | b"-V") => return Ok(Invocation::Print(command().render_version())),
        _ => {}
    }
    if let Some(invocation) = tools::parse(&args) {
        return invocation;
    }
    let words = split(args)?;
    match words.request {
        Some(Request::Help) => {
            return Ok(Invocation::Print(command().render_long_help().to_string()));
        }
        Some(Request::Version) => return Ok(Invocation::Print(command().render_version())),
        Some(Request::Check) | None => {}
    }
    let mut loader = Loader::new(defaults());
    if let Some(path) = &words.file {
        loader.file(path).map_err(|fatal| match fatal {
            Fatal::File { way_out: None, .. } => {
                fatal.with_way_out("usage: corelane [/path/to/file.conf] [--option value ...]")
            }
            other => other,
        })?;
    }
    if words.stdin {
        let mut bytes = Vec::new();
        stdin.read_to_end(&mut bytes).map_err(|cause| {
            Fatal::file("read the configuration from", Path::new("standard input"), cause)
        })?;
        loader.stdin(&bytes)?;
    }
    for directive in &words.directives {
        loader.directive(&Place::CommandLine, directive)?;
    }
    let (values, warnings) = loader.finish()?;
    if words.request == Some(Request::Check) {
        return Ok(Invocation::Check { warnings });
    }
    let config = Box::new(Config { values, file: words.file });
    Ok(Invocation::Run { config, warnings })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Help,
    Version,
    Check,
}

/// The command line, taken apart.
#[derive(Debug, Default)]
struct Words {
    file: Option<PathBuf>,
    stdin: bool,
    request: Option<Request>,
    /// Each an option's name and its values.
    directives: Vec<Vec<Vec<u8>>>,
}

fn split(args: Vec<Vec<u8>>) -> Result<Words, Fatal> {
    let mut words = Words::default();
    let last = args.len().saturating_sub(1);
    let mut rest = args.into_iter().enumerate().peekable();
    if let Some((_, path)) = rest.next_if(|(_, arg)| !arg.starts_with(b"-")) {
        let path = PathBuf::from(OsString::from_vec(path));
        let absolute = std::path::absolute(&path)
            .map_err(|cause| Fatal::file("read the configuration file", &path, cause))?;
        words.file = Some(absolute);
    }
    // An option's name takes the next word whatever it is, even one that looks like an option.
    let mut has_value = true;
    while let Some((index, arg)) = rest.next() {
        if arg == b"-" && (index == 0 || index == last) {
            words.stdin = true;
            continue;
        }
        let Some(option) = arg.strip_prefix(b"--").filter(|_| has_value) else {
            let Some(directive) = words.directives.last_mut() else {
                return Err(refuse(&arg, "a value without an option before it"));
            };
            directive.push(arg);
            has_value = true;
            continue;
        };
        match option {
            b"help" => words.request = words.request.or(Some(Request::Help)),
            b"version" => words.request = words.request.or(Some(Request::Version)),
            b"check-config" => words.request = words.request.or(Some(Request::Check)),
            option => {
                let mut directive =
                    split_option(option).ok_or_else(|| refuse(&arg, "unbalanced quotes"))?;
                let next_is_option = rest.peek().is_none_or(|(_, next)| next.starts_with(b"--"));
                // `--save` without a value has long meant `--save ""`.
                if directive.len() == 1
                    && directive[0].eq_ignore_ascii_case(b"save")
                    && next_is_option
                {
                    directive.push(Vec::new());
                }
                has_value = directive.len() > 1;
                if directive.is_empty() {
                    return Err(refuse(&arg, "an option's name is missing"));
                }
                words.directives.push(directive);
            }
        }
    }
    Ok(words)
}

/// The name, and the value if it stands in the same word: `port`, `port 7000` or `port=7000`.
fn split_option(option: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let name = option.iter().take_while(|byte| is_name(byte)).count();
    if name > 0 && option.get(name) == Some(&b'=') {
        return Some(vec![option[..name].to_vec(), option[name + 1..].to_vec()]);
    }
    split_args(option)
}

fn refuse(arg: &[u8], problem: &str) -> Fatal {
    Fatal::Config {
        place: Place::CommandLine.to_string(),
        directive: String::from_utf8_lossy(arg).into_owned(),
        problem: problem.to_owned(),
        way_out: Some("usage: corelane [/path/to/file.conf] [--option value ...]".to_owned()),
    }
}

/// The program as clap knows it: what `--help` and `--version` print.
#[must_use]
pub fn command() -> Command {
    let file = Arg::new("file")
        .value_name("FILE")
        .help("Configuration file in the syntax of redis.conf; - reads standard input");
    let check = Arg::new("check-config")
        .long("check-config")
        .action(ArgAction::SetTrue)
        .help("Read the configuration, report what is wrong with it, and end");
    let help = Arg::new("help")
        .long("help")
        .short('h')
        .action(ArgAction::Help)
        .help("Print this help; -h is short, --help has all that is to say");
    let version = Arg::new("version")
        .long("version")
        .short('v')
        .action(ArgAction::Version)
        .help("Print the version");
    let mut command = Command::new("corelane")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .override_usage(
            "corelane [FILE] [-] [--option value ...]...\n       \
             corelane check DIR [--repair]\n       \
             corelane export FILE --dir DIR [--force]",
        )
        .subcommands(tools::commands())
        .disable_help_subcommand(true)
        .after_help(
            "Options override the file. Sizes take a unit: 1k is 1000 bytes, 1kb is 1024, also m, mb, \
             g, gb.\nExample: corelane /etc/corelane.conf --port 7000 --bind 127.0.0.1 -::1",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([file, help, version, check]);
    for group in Group::ALL {
        command = command.next_help_heading(group.title());
        for row in rows().filter(|row| row.group == *group && !row.hidden) {
            let short = format!(
                "{} [{}]",
                first_sentence(row.doc).trim_end_matches('.'),
                short_default(row)
            );
            let arg = Arg::new(row.name)
                .long(row.name)
                .value_name(row.hint())
                .num_args(1)
                .help(short)
                .long_help(long_help(row));
            command = command.arg(arg);
        }
    }
    command
}

fn long_help(row: &super::Row) -> String {
    [row.doc, &facts(row)]
        .into_iter()
        .flat_map(|part| wrap(part, HELP_WIDTH))
        .collect::<Vec<_>>()
        .join("\n")
}

fn short_default(row: &super::Row) -> String {
    match row.example {
        Some(_) => "not set".to_owned(),
        None => format!("default: {}", row.default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(args: &[&str], mut stdin: &[u8]) -> Result<Invocation, String> {
        let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        parse_with(args, &mut stdin).map_err(|fatal| fatal.to_string())
    }

    fn run(args: &[&str]) -> Result<(Config, Vec<Warning>), String> {
        match run_with(args, b"")? {
            Invocation::Run { config, warnings } => Ok((*config, warnings)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_and_their_values() {
        let args =
            ["--port", "7000", "--save", "", "--bind", "127.0.0.1", "-::1", "--LogLevel", "debug"];
        let (config, warnings) = run(&args).unwrap();
        assert_eq!(config.port, 7000);
        assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
        assert_eq!(config.loglevel, super::super::LogLevel::Debug);
        assert!(warnings.is_empty());
        assert_eq!(run(&[]).unwrap().0, Config::default());
    }

    #[test]
    fn a_name_and_its_value_in_one_word() {
        let (config, _) =
            run(&["--port 7000", "--timeout=5", "--requirepass", "--odd", "--hz", "20"]).unwrap();
        assert_eq!((config.port, config.timeout, config.hz), (7000, 5, 20));
        assert_eq!(config.requirepass.as_ref().unwrap().as_bytes(), b"--odd");
    }

    #[test]
    fn save_may_stand_alone() {
        let (config, warnings) = run(&["--save", "--port", "7000", "--save"]).unwrap();
        assert!(config.save.is_empty() && warnings.is_empty());
        assert_eq!(config.port, 7000);
        assert_eq!(run(&["--save", "3600 1"]).unwrap().0.save.len(), 1);
    }

    #[test]
    fn options_override_standard_input_and_the_file() {
        let path = std::env::temp_dir().join(format!("corelane-args-{}.conf", std::process::id()));
        std::fs::write(&path, "port 1\ntimeout 1\nhz 11\n").unwrap();
        let path = path.to_str().unwrap();
        let invocation = run_with(&[path, "--hz", "13", "-"], b"timeout 2\nhz 12\n").unwrap();
        let Invocation::Run { config, .. } = invocation else { panic!("{invocation:?}") };
        assert_eq!((config.port, config.timeout, config.hz), (1, 2, 13));
        assert_eq!(config.file(), Some(Path::new(path)));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn mistakes_are_explained() {
        for (args, expected) in [
            (
                &["--prot", "1"][..],
                "configuration error at the command line: `prot`: unknown option\n  \
                 did you mean 'port'?",
            ),
            (
                &["--port"],
                "configuration error at the command line: `port`: wrong number of arguments",
            ),
            (
                &["--port", "1", "2"],
                "configuration error at the command line: `port 1 2`: wrong number of arguments",
            ),
            (
                &["-x"],
                "configuration error at the command line: `-x`: a value without an option before it\n  \
                 usage: corelane [/path/to/file.conf] [--option value ...]",
            ),
        ] {
            assert_eq!(run(args).unwrap_err(), expected);
        }
        let error = run(&["/no/such.conf"]).unwrap_err();
        assert!(
            error.starts_with("cannot read the configuration file /no/such.conf: No such file")
        );
        assert!(run(&["--"]).is_err());
        assert!(run(&["--port \"7"]).is_err());
        let (_, warnings) = run(&["--syslog-ident", "10"]).unwrap();
        assert!(warnings[0].to_string().starts_with("the command line: 'syslog-ident'"));
    }

    #[test]
    fn help_shows_every_option_that_is_not_hidden() {
        command().debug_assert();
        for args in [["--help"], ["-h"]] {
            let Ok(Invocation::Print(help)) = run_with(&args, b"") else { panic!() };
            for row in rows() {
                let shown = help.contains(&format!("--{} ", row.name));
                assert_eq!(shown, !row.hidden, "{}", row.name);
            }
            assert!(help.contains("6379") && help.contains("Memory:"));
        }
        for args in [["--version"], ["-v"]] {
            let Ok(Invocation::Print(version)) = run_with(&args, b"") else { panic!() };
            assert_eq!(version, format!("corelane {}\n", env!("CARGO_PKG_VERSION")));
        }
    }

    #[test]
    fn check_config_ends_without_a_server() {
        let invocation = run_with(&["--check-config", "--syslog-ident", "1"], b"").unwrap();
        assert!(matches!(invocation, Invocation::Check { warnings } if warnings.len() == 1));
        assert!(run_with(&["--check-config", "--port", "x"], b"").is_err());
    }
}

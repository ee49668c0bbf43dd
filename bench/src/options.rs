//! The command line.

use clap::Parser;

use crate::keys::{Distribution, KeyFormat};

/// Load generator for Redis-compatible servers that also reads what the load cost the server.
///
/// One request is one command, or one block of commands, from a template. See bench/README.md.
#[derive(Parser, Debug)]
#[command(name = "corelane-bench", version)]
pub struct Options {
    /// Server address.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    #[arg(short, long, default_value_t = 6379)]
    pub port: u16,
    /// Load threads.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Clients over all threads, each with one connection (with --cluster: one per shard).
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Requests in flight per connection.
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// Ends after so many requests.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Ends after so many seconds [default: 10, or no limit with --requests or --load].
    #[arg(short, long, value_parser = positive_seconds)]
    pub seconds: Option<f64>,
    /// Seconds of the same load before anything is measured.
    #[arg(long, default_value = "0", value_parser = not_negative)]
    pub warmup: f64,
    /// Gives up after so many seconds without any reply.
    #[arg(long, default_value = "10", value_parser = positive_seconds)]
    pub timeout: f64,
    /// Ratio of GET to SET.
    #[arg(long, default_value = "9:1", value_name = "GET:SET")]
    pub mix: String,
    /// Request template instead of --mix, with an optional weight, as in "3:SET __key__ __data__";
    /// also __key:N__, __pair:N__, __same__, and ";" between the commands of a block. Repeatable.
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "mix")]
    pub command: Vec<String>,
    /// Each connection sends the templates one after the other, all of a round on one key.
    #[arg(long, requires = "command", conflicts_with_all = ["cluster", "load"])]
    pub in_turn: bool,
    /// Number of different keys.
    #[arg(short, long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// How a key's number becomes a key.
    #[arg(long, default_value = "key:%012d")]
    pub key_format: KeyFormat,
    /// uniform, sequential, zipf or zipf:THETA (0.99).
    #[arg(long, default_value = "uniform")]
    pub distribution: Distribution,
    /// Bytes of __data__.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=512 << 20))]
    pub data_size: u32,
    /// Open loop: requests per second over all threads, latency from the intended send time.
    #[arg(long, value_parser = positive)]
    pub rate: Option<f64>,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Greets with HELLO 3.
    #[arg(long)]
    pub resp3: bool,
    /// Sends each key to its owner as told by CLUSTER SLOTS (the first key of a request decides).
    #[arg(long)]
    pub cluster: bool,
    /// Sets every key once in sequence, with SET or the given --command.
    #[arg(long, conflicts_with_all = ["mix", "distribution", "requests", "seconds", "warmup"])]
    pub load: bool,
    /// Process id of the server, to report its CPU time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// CPUs to run on, as in 1 or 1,3.
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
}

fn number(text: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse().ok().filter(|&n: &f64| n.is_finite() && fits(n)).ok_or("out of range".into())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0)
}

/// A day is long enough for a load.
fn positive_seconds(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n <= 86_400.0)
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |n| (0.0..=86_400.0).contains(&n))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_declaration_holds() {
        Options::command().debug_assert();
    }

    #[test]
    fn contradictions_are_refused() {
        for wrong in [
            &["--load", "--mix", "1:1"][..],
            &["--load", "--seconds", "1"],
            &["--command", "PING", "--mix", "1:1"],
            &["--seconds", "0"],
            &["--rate", "0"],
            &["--keys", "0"],
            &["--in-turn"],
            &["--in-turn", "--command", "PING", "--cluster"],
            &["--distribution", "zipf:0"],
        ] {
            let parsed = Options::try_parse_from(std::iter::once(&"bench").chain(wrong));
            assert!(parsed.is_err(), "{wrong:?}");
        }
    }
}

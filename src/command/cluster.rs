//! CLUSTER for `cluster-mode emulated`: the shards as the masters of one Redis Cluster.
//!
//! A cluster-aware client asks once which slots are where and then talks to each shard on the
//! shard's own port (the server's port + 1 + the shard's number), where its keys are local. Any
//! shard serves any key all the same, so there is no MOVED and no ASK, and nothing to fail over.
//!
//! Absent: whatever changes a cluster, and the bus between nodes: its port is shown as 0.

use super::control::{Control, SessionCx};
use super::introspect::help;
use super::spec::*;
use crate::config::ClusterMode;
use crate::error::{CmdError, shown};
use crate::resp::{Args, Encoder};
use crate::session::Peer;
use crate::shard::{SLOTS, slot_of};
use std::fmt::Write;

const CHANGING: &[&str] = &["nondeterministic_output"];
const CONNECTION: &[&str] = &["connection"];
const STARTING: Flags = LOADING.with(STALE);

pub const COMMANDS: &[Command] = &[
    session("asking", 1, FAST, asking)
        .doc(Group::Cluster, "3.0.0", "O(1)", "", "Says that an ASK redirection is followed.")
        .categories(CONNECTION),
    container("cluster", -2, SUBCOMMANDS).doc(
        Group::Cluster,
        "3.0.0",
        "Depends on subcommand.",
        "",
        "Commands about the shards as nodes of a cluster.",
    ),
    session("readonly", 1, STARTING.with(FAST), readonly)
        .doc(Group::Cluster, "3.0.0", "O(1)", "", "Accepts answers of replicas.")
        .categories(CONNECTION),
    session("readwrite", 1, STARTING.with(FAST), readwrite)
        .doc(Group::Cluster, "3.0.0", "O(1)", "", "Accepts answers of masters only.")
        .categories(CONNECTION),
];

/// A row with its documentation. All but KEYSLOT take a time that grows with the nodes.
const fn row(
    name: &'static str,
    (arity, flags, since): (i32, Flags, &'static str),
    run: SessionFn,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    session(name, arity, flags, run).doc(
        Group::Cluster,
        since,
        "O(N) where N is the number of nodes",
        syntax,
        summary,
    )
}

const SUBCOMMANDS: &[Command] = &[
    row("cluster|help", (2, STARTING, "5.0.0"), cluster_help, "", "Lists the subcommands."),
    row("cluster|info", (2, STALE, "3.0.0"), info, "", "Describes the cluster's state.")
        .tips(CHANGING),
    session("cluster|keyslot", 3, STALE, keyslot).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) where N is the length of the key",
        "key",
        "Answers the slot of a key.",
    ),
    row("cluster|links", (2, STALE, "7.0.0"), links, "", "Lists links of nodes: there are none.")
        .tips(CHANGING),
    row("cluster|myid", (2, STALE, "3.0.0"), myid, "", "Answers the id of this node."),
    row("cluster|myshardid", (2, STALE, "7.2.0"), myshardid, "", "Answers the id of its shard.")
        .tips(CHANGING),
    row("cluster|nodes", (2, STALE, "3.0.0"), nodes, "", "Describes the nodes, one a line.")
        .tips(CHANGING),
    row(
        "cluster|replicas",
        (3, ADMIN.with(STALE), "5.0.0"),
        replicas,
        "node-id",
        "Lists the replicas of a node: there are none.",
    )
    .tips(CHANGING),
    row("cluster|shards", (2, STARTING, "7.0.0"), shards, "", "Tells the slots of every shard.")
        .tips(CHANGING),
    row(
        "cluster|slaves",
        (3, ADMIN.with(STALE), "3.0.0"),
        replicas,
        "node-id",
        "Lists the replicas of a node: there are none.",
    )
    .deprecated("5.0.0", "`CLUSTER REPLICAS`")
    .tips(CHANGING),
    row("cluster|slots", (2, STARTING, "3.0.0"), slots, "", "Tells which node has which slots.")
        .deprecated("7.0.0", "`CLUSTER SHARDS`")
        .tips(CHANGING),
];

/// What a client is told of the shards, all as one cluster.
struct View {
    host: String,
    /// Port of the first shard.
    first_port: u32,
    /// The shard that the client thinks it talks to.
    myself: usize,
    /// Slot ranges of each shard.
    ranges: Vec<Vec<(u16, u16)>>,
    /// Hash of the run id, from which the ids of this run's nodes are made.
    seed: u64,
}

impl View {
    fn new(cx: &SessionCx) -> Result<View, CmdError> {
        enabled(cx)?;
        let config = cx.env.config();
        let local = match &cx.session.peer {
            Peer::Tcp { local, .. } => Some(*local),
            Peer::Unix { .. } => None,
        };
        // A client of a Unix socket is on this machine.
        let connected_to = || match local {
            Some(local) => local.ip().to_canonical().to_string(),
            None => "127.0.0.1".to_string(),
        };
        let host = config.cluster_announce_ip.clone().unwrap_or_else(connected_to);
        // Who came by TLS goes on by TLS.
        let port = if cx.session.tls { config.tls_port } else { config.port };
        let first_port = u32::from(port) + 1;
        let count = cx.slots.shards();
        // The port says it; the connection itself may have moved to another shard.
        let by_port = local.and_then(|local| u32::from(local.port()).checked_sub(first_port));
        let myself = by_port.map(|n| n as usize).filter(|&n| n < count).unwrap_or(cx.shard);
        let mut ranges = vec![Vec::new(); count];
        for (first, last, shard) in cx.slots.ranges() {
            ranges[shard].push((first, last));
        }
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let seed = cx.env.run_id.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        Ok(View { host, first_port, myself, ranges, seed })
    }

    fn port(&self, shard: usize) -> u32 {
        self.first_port + shard as u32
    }

    fn node_id(&self, shard: usize) -> String {
        hex40(self.seed.wrapping_add(shard as u64))
    }

    fn shard_id(&self, shard: usize) -> String {
        hex40((!self.seed).wrapping_add(shard as u64))
    }
}

fn hex40(seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..40).map(|_| random.digit(16)).collect()
}

fn enabled(cx: &SessionCx) -> Result<(), CmdError> {
    match cx.env.config().cluster_mode {
        ClusterMode::Emulated => Ok(()),
        ClusterMode::No => Err(CmdError::fixed("ERR This instance has cluster support disabled")),
    }
}

fn cluster_help(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    enabled(cx)?;
    help(cx, args)
}

fn keyslot(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    enabled(cx)?;
    cx.out.int(i64::from(slot_of(args.at(2))));
    Ok(Control::Done)
}

fn myid(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    cx.out.bulk(view.node_id(view.myself).as_bytes());
    Ok(Control::Done)
}

fn myshardid(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    cx.out.bulk(view.shard_id(view.myself).as_bytes());
    Ok(Control::Done)
}

fn links(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    enabled(cx)?;
    cx.out.array(0);
    Ok(Control::Done)
}

fn replicas(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    let id = args.at(2);
    if !(0..view.ranges.len()).any(|shard| view.node_id(shard).as_bytes() == id) {
        return Err(CmdError::err_of(&[b"Unknown node ", shown(id, usize::MAX)]));
    }
    cx.out.array(0);
    Ok(Control::Done)
}

fn info(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    let owners = view.ranges.iter().filter(|ranges| !ranges.is_empty()).count();
    let text = format!(
        "cluster_state:ok\r\n\
         cluster_slots_assigned:{SLOTS}\r\n\
         cluster_slots_ok:{SLOTS}\r\n\
         cluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\n\
         cluster_known_nodes:{nodes}\r\n\
         cluster_size:{owners}\r\n\
         cluster_current_epoch:{nodes}\r\n\
         cluster_my_epoch:{epoch}\r\n\
         cluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        nodes = view.ranges.len(),
        epoch = view.myself + 1,
    );
    cx.out.verbatim("txt", text.as_bytes());
    Ok(Control::Done)
}

fn nodes(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    let mut text = String::new();
    for (shard, ranges) in view.ranges.iter().enumerate() {
        let flags = if shard == view.myself { "myself,master" } else { "master" };
        let (id, host, port) = (view.node_id(shard), &view.host, view.port(shard));
        // Writing to a string cannot fail.
        let _ = write!(text, "{id} {host}:{port}@0 {flags} - 0 0 {} connected", shard + 1);
        for (first, last) in ranges {
            let _ = match first == last {
                true => write!(text, " {first}"),
                false => write!(text, " {first}-{last}"),
            };
        }
        text.push('\n');
    }
    cx.out.verbatim("txt", text.as_bytes());
    Ok(Control::Done)
}

fn slots(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    let ranges = cx.slots.ranges();
    let out = &mut cx.out;
    out.array(ranges.len());
    for (first, last, shard) in ranges {
        out.array(3);
        out.int(i64::from(first));
        out.int(i64::from(last));
        out.array(4);
        out.bulk(view.host.as_bytes());
        out.int(i64::from(view.port(shard)));
        out.bulk(view.node_id(shard).as_bytes());
        out.map(0);
    }
    Ok(Control::Done)
}

fn shards(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let view = View::new(cx)?;
    let out = &mut cx.out;
    out.array(view.ranges.len());
    for (shard, ranges) in view.ranges.iter().enumerate() {
        out.map(2);
        out.bulk(b"slots");
        out.array(ranges.len() * 2);
        for (first, last) in ranges {
            out.int(i64::from(*first));
            out.int(i64::from(*last));
        }
        out.bulk(b"nodes");
        out.array(1);
        write_node(&view, shard, out);
    }
    Ok(Control::Done)
}

fn write_node(view: &View, shard: usize, out: &mut Encoder) {
    let text = |out: &mut Encoder, name: &str, value: &str| {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    };
    out.map(7);
    text(out, "id", &view.node_id(shard));
    out.bulk(b"port");
    out.int(i64::from(view.port(shard)));
    text(out, "ip", &view.host);
    text(out, "endpoint", &view.host);
    text(out, "role", "master");
    out.bulk(b"replication-offset");
    out.int(0);
    text(out, "health", "online");
}

fn readonly(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    enabled(cx)?;
    cx.session.readonly = true;
    cx.out.ok();
    Ok(Control::Done)
}

fn readwrite(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    enabled(cx)?;
    cx.session.readonly = false;
    cx.out.ok();
    Ok(Control::Done)
}

/// Every shard serves every slot, so the next command is served here whatever its slot.
fn asking(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    enabled(cx)?;
    cx.out.ok();
    Ok(Control::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::SessionBench;
    use crate::resp::Protocol;

    fn emulated() -> SessionBench {
        let mut bench = SessionBench::new();
        bench.configure("cluster-mode", "emulated");
        bench
    }

    #[test]
    fn without_cluster_mode_all_is_refused() {
        let mut bench = SessionBench::new();
        for words in ["cluster slots", "cluster help", "cluster keyslot k", "readonly", "asking"] {
            let error = "-ERR This instance has cluster support disabled\r\n";
            assert_eq!(bench.run(words), error);
        }
    }

    #[test]
    fn slots_name_a_port_for_each_shard() {
        let mut bench = emulated();
        let ids: Vec<String> = (0..2)
            .map(|shard| {
                bench.shard = shard;
                bench.run("cluster myid").split("\r\n").nth(1).unwrap().to_string()
            })
            .collect();
        assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 40));
        let node = |port: u16, id: &str| {
            format!("*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{id}\r\n*0\r\n")
        };
        let expected = format!(
            "*2\r\n*3\r\n:0\r\n:8191\r\n{}*3\r\n:8192\r\n:16383\r\n{}",
            node(6380, &ids[0]),
            node(6381, &ids[1])
        );
        assert_eq!(bench.run("cluster slots"), expected);
        bench.session.protocol = Protocol::Resp3;
        assert_eq!(bench.run("cluster slots"), expected.replace("*0\r\n", "%0\r\n"));
        let shards = bench.run("cluster shards");
        assert!(shards.starts_with(
            "*2\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:8191\r\n$5\r\nnodes\r\n*1\r\n%7"
        ));
    }

    #[test]
    fn nodes_show_who_answers() {
        let mut bench = emulated();
        bench.configure("cluster-announce-ip", "192.0.2.1");
        bench.session.peer = Peer::Tcp {
            remote: "127.0.0.1:5000".parse().unwrap(),
            local: "127.0.0.1:6381".parse().unwrap(),
        };
        let nodes = bench.run("cluster nodes");
        let lines: Vec<&str> = nodes.lines().skip(1).collect();
        assert!(lines[0].ends_with(" 192.0.2.1:6380@0 master - 0 0 1 connected 0-8191"));
        assert!(lines[1].ends_with(" 192.0.2.1:6381@0 myself,master - 0 0 2 connected 8192-16383"));
        let id = &lines[1][..40];
        assert_eq!(bench.run("cluster myid"), format!("$40\r\n{id}\r\n"));
        assert_ne!(bench.run("cluster myshardid"), format!("$40\r\n{id}\r\n"));
        assert_eq!(bench.run(&format!("cluster replicas {id}")), "*0\r\n");
        assert_eq!(bench.run("cluster slaves x"), "-ERR Unknown node x\r\n");
        assert!(bench.run("cluster info").contains("cluster_size:2\r\n"));
    }

    #[test]
    fn small_questions_are_answered() {
        let mut bench = emulated();
        assert_eq!(bench.run("cluster keyslot 123456789"), ":12739\r\n");
        assert_eq!(bench.run("cluster links"), "*0\r\n");
        assert_eq!(bench.run("readonly"), "+OK\r\n");
        assert!(bench.session.readonly);
        assert_eq!(bench.run("readwrite"), "+OK\r\n");
        assert!(!bench.session.readonly);
        assert_eq!(bench.run("asking"), "+OK\r\n");
    }
}

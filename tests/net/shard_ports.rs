//! `cluster-mode emulated`: each shard has a port of its own, and CLUSTER names them as nodes.

use crate::harness::process::is_stand_in;
use crate::harness::{Client, Cmd, Reply, Server};

fn emulated(shards: usize) -> Option<Server> {
    (!is_stand_in()).then(|| Server::corelane_with(shards, &["--cluster-mode", "emulated"]))
}

/// Start, end and port of each range of CLUSTER SLOTS.
fn slots(client: &mut Client) -> Vec<(i64, i64, i64)> {
    let reply = client.run("CLUSTER SLOTS");
    let range = |r: &Reply| {
        let parts = r.items();
        assert_eq!(parts[2].items()[0].text(), "127.0.0.1");
        (parts[0].int(), parts[1].int(), parts[2].items()[1].int())
    };
    let mut ranges: Vec<_> = reply.items().iter().map(range).collect();
    ranges.sort_unstable();
    ranges
}

#[test]
fn slots_name_every_shard_once() {
    for shards in [1, 3] {
        let Some(server) = emulated(shards) else { return };
        let ranges = slots(&mut server.client());
        let mut next = 0;
        for (start, end, _) in &ranges {
            assert_eq!(*start, next, "{ranges:?}");
            next = end + 1;
        }
        assert_eq!(next, 16_384);
        let mut ports: Vec<i64> = ranges.iter().map(|r| r.2).collect();
        ports.sort_unstable();
        ports.dedup();
        let expected: Vec<i64> =
            (0..shards as i64).map(|i| i64::from(server.port) + 1 + i).collect();
        assert_eq!(ports, expected);
    }
}

#[test]
fn keys_are_served_at_their_own_port_and_at_the_others() {
    let Some(server) = emulated(3) else { return };
    let mut main = server.client();
    let ranges = slots(&mut main);
    let owner = |client: &mut Client, key: &str| {
        let slot = client.run(&format!("CLUSTER KEYSLOT {key}")).int();
        ranges.iter().find(|r| (r.0..=r.1).contains(&slot)).expect("a range").2 as u16
    };
    assert_eq!(main.run("CLUSTER KEYSLOT foo").int(), 12_182);
    assert_eq!(
        main.run("CLUSTER KEYSLOT {user}1").int(),
        main.run("CLUSTER KEYSLOT {user}2").int()
    );
    let mut nodes: Vec<Client> = (1..=3).map(|i| Client::connect(server.port + i)).collect();
    for i in 0..300 {
        let key = format!("key:{i}");
        let at = usize::from(owner(&mut main, &key) - server.port - 1);
        assert_eq!(nodes[at].run(&format!("SET {key} {i}")).text(), "OK");
        assert_eq!(main.run(&format!("GET {key}")).text(), i.to_string());
        // A client that knows nothing of slots finds every key at every port.
        assert_eq!(nodes[(at + 1) % 3].run(&format!("GET {key}")).text(), i.to_string());
    }
    assert_eq!(main.run("DBSIZE"), Reply::Int(300));
}

#[test]
fn cluster_commands_agree_with_each_other() {
    let Some(server) = emulated(3) else { return };
    let mut client = server.client();
    let info = client.run("CLUSTER INFO").text();
    for line in [
        "cluster_state:ok",
        "cluster_slots_assigned:16384",
        "cluster_known_nodes:3",
        "cluster_size:3",
    ] {
        assert!(info.lines().any(|l| l == line), "no {line} in\n{info}");
    }
    let nodes = client.run("CLUSTER NODES").text();
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
    assert_eq!(nodes.lines().filter(|l| l.contains("myself,master")).count(), 1, "{nodes}");
    let mut ids: Vec<String> = Vec::new();
    for port in 1..=3 {
        let mut node = Client::connect(server.port + port);
        let id = node.run("CLUSTER MYID").text();
        let seen = node.run("CLUSTER NODES").text();
        let myself = seen.lines().find(|l| l.contains("myself")).expect("myself in CLUSTER NODES");
        assert!(myself.starts_with(&id), "{myself} is not {id}");
        assert!(myself.contains(&format!("127.0.0.1:{}@", server.port + port)), "{myself}");
        assert_eq!(id.len(), 40);
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let shards = client.run("CLUSTER SHARDS");
    assert_eq!(shards.items().len(), 3);
    for shard in shards.items() {
        let slots = shard.field("slots").expect("slots").items();
        let nodes = shard.field("nodes").expect("nodes").items();
        assert_eq!((slots.len(), nodes.len()), (2, 1), "{shard:?}");
        assert_eq!(nodes[0].field("role").map(Reply::text).as_deref(), Some("master"));
        assert!(ids.contains(&nodes[0].field("id").expect("id").text()));
    }
    assert_eq!(server.info("cluster_enabled").as_deref(), Some("1"));
    let odd = client.run("CLUSTER NOSUCH");
    assert_eq!(odd.text(), "ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP.");
}

/// A client that sends each command to its owner causes no messages between shards, so all its
/// connections stay where they are.
#[test]
fn owners_ports_need_no_migration() {
    let Some(server) = emulated(3) else { return };
    let mut main = server.client();
    let ranges = slots(&mut main);
    let before = server.info("connection_migrations");
    for (start, end, port) in ranges {
        let mut node = Client::connect(port as u16);
        let mut keys = Vec::new();
        for i in 0.. {
            let key = format!("k{i}");
            if (start..=end).contains(&main.run(&format!("CLUSTER KEYSLOT {key}")).int()) {
                keys.push(Cmd::new(["SET".to_string(), key, "v".to_string()]));
            }
            if keys.len() == 300 {
                break;
            }
        }
        for _ in 0..20 {
            assert!(node.pipeline(&keys).unwrap().iter().all(|r| r.text() == "OK"));
        }
    }
    assert_eq!(server.info("connection_migrations"), before);
}

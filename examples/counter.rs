//! A replicated, durable counter: three nodes, here in one process, each with its own directory.
//! Run it twice: it goes on counting where it stopped.
//!
//! `cargo run --example counter`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use oarlock::{
    EntryId, Node, PeerId, ReplicatedOptions, RestoreError, SiteOptions, StateMachine, Wire,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Add(u64);
impl Wire for Add {}

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Command = Add;
    type Output = u64;
    fn apply(&mut self, _id: EntryId, Add(n): Add) -> u64 {
        self.0 += n;
        self.0
    }
    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0 = u64::from_le_bytes(snapshot.try_into().map_err(|_| RestoreError("?".into()))?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ids = [1, 2, 3].map(PeerId);
    let members: BTreeMap<_, _> =
        ids.map(|id| (id, format!("127.0.0.1:{}", 7300 + id.0))).into_iter().collect();
    let mut nodes = BTreeMap::new();
    for id in ids {
        let dir = format!("counter-data/node-{id}").into();
        let site = SiteOptions {
            id,
            members: members.clone(),
            dir,
            cluster_id: None,
            joins: false,
            segment_bytes: None,
        };
        nodes.insert(id, Node::start(&site, Counter::default(), ReplicatedOptions::default())?);
    }
    let patience = Instant::now() + Duration::from_secs(5);
    let (term, leader) = nodes[&ids[0]].wait_for_leader((0, None), patience);
    let leader = leader.ok_or("no leader in 5 s")?;
    println!("node {leader} leads term {term}; it counts to {}", nodes[&leader].submit(&Add(1))?);
    Ok(())
}

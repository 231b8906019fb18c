//! Oarlock: three peers over `oarlock-labrpc` without faults, which is the network that it ships for
//! peers within one process. Commands and messages go through the codec, as they do between machines.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_labrpc::Network;
use oarlock_raft::{
    EntryId, Options, PeerId, Replicated, ReplicatedOptions, RestoreError, StateMachine,
};
use oarlock_rpc::codec::{self, CodecError, Wire};
use oarlock_rpc::{End, Router};
use oarlock_storage::{DiskOptions, DiskPersister, MemoryPersister, Payload, Persister};

use super::System;
use super::command::{Answer, Applied, Tally, command};
use super::window::Window;

const IDS: [PeerId; 3] = [PeerId(1), PeerId(2), PeerId(3)];
const ELECTED_MAX: Duration = Duration::from_secs(10);

#[derive(serde::Serialize, serde::Deserialize)]
struct Command(#[serde(with = "serde_bytes")] Vec<u8>);
impl Wire for Command {}

/// A [`Command`] as it lies in an entry.
#[derive(serde::Deserialize)]
struct BorrowedCommand<'a>(&'a [u8]);

struct Machine(Tally);

impl StateMachine for Machine {
    type Command = Command;
    type Output = Answer;

    fn apply(&mut self, _id: EntryId, command: Command) -> Answer {
        self.0.apply(&command.0)
    }

    /// Looks at the command where it lies, as those of the other systems do.
    fn apply_encoded(&mut self, _id: EntryId, bytes: &Payload) -> Result<Answer, CodecError> {
        let BorrowedCommand(command) = codec::decode_as::<Command, _>(bytes)?;
        Ok(self.0.apply(command))
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let restored = self.0.restore(snapshot);
        restored.then_some(()).ok_or_else(|| RestoreError("no state of a tally".to_owned()))
    }
}

/// Three peers, and who leads them.
pub struct Ours {
    peers: Vec<Replicated<Machine>>,
    leader: usize,
    applied: Vec<Arc<Applied>>,
    network: Network,
}

impl Ours {
    /// Peers with the default options, but for time-outs so long that a busy machine elects nobody,
    /// as for all systems. Their logs are in directories in `dir`, or in memory.
    pub fn start(dir: Option<&Path>) -> Self {
        let election_timeout = Duration::from_secs(1)..=Duration::from_secs(2);
        Self::start_with(dir, &Options { election_timeout, ..Options::default() })
    }

    /// Peers in memory, with time-outs of their own.
    pub fn start_paced(heartbeat: Duration, election: RangeInclusive<Duration>) -> Self {
        let (heartbeat_interval, election_timeout) = (heartbeat, election);
        Self::start_with(
            None,
            &Options { heartbeat_interval, election_timeout, ..Options::default() },
        )
    }

    fn start_with(dir: Option<&Path>, options: &Options) -> Self {
        let network = Network::new(1);
        let (mut peers, mut applied) = (Vec::new(), Vec::new());
        for id in IDS {
            let to_others = IDS.into_iter().filter(|&to| to != id);
            let ends: BTreeMap<_, _> = to_others.map(|to| (to, end(&network, id, to))).collect();
            let persister: Box<dyn Persister> = match dir {
                None => Box::new(MemoryPersister::new()),
                Some(dir) => {
                    let options = DiskOptions { cluster_id: Some(1), ..DiskOptions::new(id.0) };
                    let dir = dir.join(format!("oarlock-{id}"));
                    Box::new(DiskPersister::open(&dir, options).expect("a new directory"))
                }
            };
            let seen: Arc<Applied> = Arc::default();
            let machine = Machine(Tally::new(Arc::clone(&seen)));
            let options = ReplicatedOptions { raft: options.clone(), ..Default::default() };
            let peer = Replicated::open(id, ends, persister, machine, options);
            let peer = peer.expect("an empty peer starts");
            network.add_server(id, Arc::new(Router::new().with("Raft", peer.service())));
            peers.push(peer);
            applied.push(seen);
        }
        let (_, leader) = peers[0].wait_for_leader((0, None), Instant::now() + ELECTED_MAX);
        let leader = position(leader.expect("a leader in time"));
        Self { peers, leader, applied, network }
    }

    /// Cuts the leader off, and returns how long it took until another one had a command committed.
    pub fn isolate_leader(self) -> Duration {
        // All have heard from it, and know that it leads.
        self.submit(0);
        std::thread::sleep(Duration::from_millis(500));
        let led = self.peers[self.leader].leader();
        let began = Instant::now();
        for other in IDS.into_iter().filter(|&id| position(id) != self.leader) {
            self.network.enable(end_name(IDS[self.leader], other), false);
            self.network.enable(end_name(other, IDS[self.leader]), false);
        }
        let rest = &self.peers[(self.leader + 1) % IDS.len()];
        let (_, leader) = rest.wait_for_leader(led, began + ELECTED_MAX);
        let leader = leader.expect("another leader in time");
        let answer = self.peers[position(leader)].submit(&Command(command(1)));
        assert_eq!(answer.expect("it leads").number, 1);
        began.elapsed()
    }
}

fn position(id: PeerId) -> usize {
    IDS.iter().position(|&other| other == id).expect("one of the three")
}

fn end_name(from: PeerId, to: PeerId) -> String {
    format!("{from}-{to}")
}

fn end(network: &Network, from: PeerId, to: PeerId) -> Arc<dyn End> {
    let name = end_name(from, to);
    let end = network.make_end(&name);
    network.connect(&name, to);
    network.enable(&name, true);
    end
}

impl System for Ours {
    fn submit(&self, number: u64) -> Answer {
        let answer = self.peers[self.leader].submit(&Command(command(number)));
        answer.expect("a leader that stays")
    }

    fn submit_all(&self, first: u64, count: u64, window: &Arc<Window>) {
        let commands: Vec<_> =
            (first..first + count).map(|number| Command(command(number))).collect();
        let window = Arc::clone(window);
        self.peers[self.leader].submit_all_with(&commands, move |_, answer| {
            window.answered([answer.expect("a leader that stays")]);
        });
    }

    fn applied(&self) -> Vec<Arc<Applied>> {
        self.applied.clone()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.peers.iter().for_each(Replicated::kill);
        self.network.shutdown();
    }
}

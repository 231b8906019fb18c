//! Scenes with two peers, each calling the other on its own threads, as a prompt network does:
//! replication threads, completions, elections, a member that leaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use oarlock_rpc::{Completion, End, Method, Service};
use oarlock_sync::model::{self, explore};
use oarlock_sync::thread;

use super::alone::far_off;
use super::disk::{Disk, Platter};
use super::{Append, List, NEVER, Prompt, SCHEDULES, Told, options};
use crate::cluster::Cluster;
use crate::{Change, Configuration, Connect, PeerId, Replicated};

type Services = Arc<Mutex<BTreeMap<PeerId, Arc<dyn Service>>>>;

struct Direct(Services, PeerId);

impl End for Direct {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        let service = self.0.lock().expect("nobody panics with it").get(&self.1).cloned();
        if let Some(service) = service {
            service.handle(method.name, &args, done).expect("a known method");
        }
    }
}

struct Everybody(Services);

impl Connect for Everybody {
    fn connect(&self, peer: PeerId, _address: &str) -> Option<Arc<dyn End>> {
        Some(Arc::new(Direct(Arc::clone(&self.0), peer)))
    }
}

struct Pair {
    services: Services,
    peers: Vec<Replicated<List>>,
    lists: Vec<List>,
    platters: Vec<Platter>,
}

impl Pair {
    fn start(disk: fn(&Platter) -> Disk) -> Self {
        let services = Services::default();
        let mut pair =
            Self { services, peers: Vec::new(), lists: Vec::new(), platters: Vec::new() };
        for id in [PeerId(1), PeerId(2)] {
            let (list, platter) = (List::default(), Platter::default());
            let cluster = Cluster {
                initial: Configuration::of_voters([PeerId(1), PeerId(2)]),
                connect: Arc::new(Everybody(Arc::clone(&pair.services))),
            };
            let disk = Box::new(disk(&platter));
            let peer = Replicated::open_in(id, cluster, disk, list.clone(), options())
                .expect("an empty disk opens");
            let mut services = pair.services.lock().expect("nobody panics with it");
            services.insert(id, peer.service());
            drop(services);
            pair.peers.push(peer);
            pair.lists.push(list);
            pair.platters.push(platter);
        }
        pair
    }

    /// Whoever leads, once one is known to lead.
    fn leader(&self) -> Replicated<List> {
        let (_, leader) = self.peers[0].wait_for_leader((0, None), far_off());
        let leader = leader.expect("one is found");
        self.peers[usize::try_from(leader.0).expect("1 or 2") - 1].clone()
    }

    /// Ends both. The services hold on to their peers, as a network does.
    fn end(self) {
        self.services.lock().expect("nobody panics with it").clear();
        for (peer, platter) in self.peers.iter().zip(&self.platters) {
            peer.kill();
            assert!(platter.held().closed, "killed, and its disk is in use");
        }
    }
}

/// Two callers and a read, at the leader.
pub(super) fn callers() {
    let pair = Pair::start(Disk::slow);
    let leader = pair.leader();
    let told = Told::default();
    let prompt = Prompt::begin();
    let other = thread::spawn({
        let (leader, tell) = (leader.clone(), told.expect());
        move || leader.submit_with(&Append(2), |_| tell())
    });
    let answer = leader.submit(&Append(1));
    let seen = leader.read(List::items);
    other.join().expect("a caller");
    if !model::deadlines_come_early() {
        let place = answer.expect("it leads");
        let seen = seen.expect("it leads");
        assert_eq!(seen[place - 1].1, 1, "{seen:?}");
        let durable = pair.platters.iter().filter(|p| p.held().last >= seen[place - 1].0).count();
        assert_eq!(durable, 2, "a majority of two");
        prompt.end();
    }
    let lists = pair.lists.clone();
    pair.end();
    told.check();
    let (a, b) = (lists[0].items(), lists[1].items());
    assert!(a.starts_with(&b) || b.starts_with(&a), "{a:?}, {b:?}");
}

/// The leader lets the other one go, whose replication thread ends with that, while commands come.
pub(super) fn member_leaves() {
    let pair = Pair::start(Disk::slow);
    let leader = pair.leader();
    let told = Told::default();
    let caller = thread::spawn({
        let (leader, tell) = (leader.clone(), told.expect());
        move || leader.submit_with(&Append(1), |_| tell())
    });
    let other = pair.peers.iter().map(|peer| peer.status().id).find(|id| *id != leader.status().id);
    let other = other.expect("there are two");
    let changed = leader.change_membership(&Change::default().removing(other), NEVER);
    if !model::deadlines_come_early() {
        let configuration = changed.expect("it leads, and both are there");
        assert_eq!(configuration.voters().len(), 1, "{configuration}");
        let prompt = Prompt::begin();
        while leader.raft().end_to(other).is_some() {
            thread::yield_now();
        }
        prompt.end();
    }
    caller.join().expect("a caller");
    pair.end();
    told.check();
}

/// The leader passes its leadership on while a command comes, and perhaps is killed meanwhile.
pub(super) fn hands_over(with_kill: bool) {
    let pair = Pair::start(Disk::slow);
    let leader = pair.leader();
    let told = Told::default();
    let prompt = Prompt::begin();
    let caller = thread::spawn({
        let (leader, tell) = (leader.clone(), told.expect());
        move || leader.submit_with(&Append(1), |_| tell())
    });
    let old = leader.status().id;
    let hand_over = thread::spawn({
        let leader = leader.clone();
        move || leader.raft().hand_over(NEVER)
    });
    if with_kill {
        leader.kill();
    }
    let outcome = hand_over.join().expect("whoever asked");
    if !with_kill && !model::deadlines_come_early() {
        assert_ne!(outcome, Ok(old));
        outcome.expect("the other is there");
        prompt.end();
    }
    caller.join().expect("a caller");
    drop(leader);
    pair.end();
    told.check();
}

/// One is killed while the other works on.
pub(super) fn one_is_killed() {
    let pair = Pair::start(Disk::slow);
    let told = Told::default();
    let callers: Vec<_> = pair
        .peers
        .iter()
        .map(|peer| {
            let (peer, tell) = (peer.clone(), told.expect());
            thread::spawn(move || {
                peer.wait_for_leader((0, None), far_off());
                peer.submit_with(&Append(1), |_| tell());
            })
        })
        .collect();
    pair.peers[0].wait_for_leader((0, None), far_off());
    pair.peers[0].kill();
    assert!(pair.platters[0].held().closed, "killed, and its disk is in use");
    pair.end();
    for caller in callers {
        caller.join().expect("a caller");
    }
    told.check();
}

/// Two callers at a leader that nobody answers any more: their commands are in its log at once, though
/// they are not answered.
pub(super) fn cut_off(disk: fn(&Platter) -> Disk) {
    let pair = Pair::start(disk);
    let leader = pair.leader();
    let answer = leader.submit(&Append(0));
    pair.services.lock().expect("nobody panics with it").clear();
    let id = usize::try_from(leader.status().id.0).expect("1 or 2");
    let platter = pair.platters[id - 1].clone();
    let last_index = move || platter.held().last.index;
    let before = last_index();
    let prompt = Prompt::begin();
    let callers = [1, 2].map(|item| {
        let leader = leader.clone();
        thread::spawn(move || leader.submit(&Append(item)).expect_err("nobody else has it"))
    });
    if !model::deadlines_come_early() {
        answer.expect("it leads, and both are there");
        while last_index() < before + 2 {
            thread::yield_now();
        }
        prompt.end();
    }
    leader.kill();
    for caller in callers {
        caller.join().expect("a caller");
    }
    drop(leader);
    pair.end();
}

#[test]
fn two_peers_serve_callers() {
    explore(SCHEDULES / 3, callers);
}

#[test]
fn a_member_leaves() {
    explore(SCHEDULES / 3, member_leaves);
}

#[test]
fn commands_are_written_though_nobody_answers() {
    explore(SCHEDULES / 3, || cut_off(Disk::instant));
    explore(SCHEDULES / 3, || cut_off(Disk::slow));
}

#[test]
fn a_leader_hands_over() {
    explore(SCHEDULES / 3, || hands_over(false));
    explore(SCHEDULES / 3, || hands_over(true));
}

#[test]
fn one_of_two_is_killed() {
    explore(SCHEDULES / 3, one_is_killed);
}

//! One peer as the labs see it: `make`, `start`, `get_state`, `snapshot`, `cond_install_snapshot`,
//! `kill`.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use oarlock_rpc::codec::{self, CodecError, Wire};
use oarlock_rpc::{End, ReplySlot, Service, UnknownMethod};
use oarlock_storage::{Payload, Persister, Recovered, SnapshotStage};

use crate::cluster::{Cluster, Peers};
use crate::configuration::Configuration;
use crate::error::{OpenError, Stopped};
use crate::message::{
    APPEND_ENTRIES, AppendEntriesArgs, INSTALL_SNAPSHOT, InstallSnapshotArgs, REQUEST_VOTE,
    RequestVoteArgs, TIMEOUT_NOW, TimeoutNowArgs,
};
use crate::options::Options;
use crate::rules::{Role, Rules};
use crate::shared::Shared;
use crate::threads::applier::{ChannelSink, Sink, applier_thread};
use crate::threads::election::election_thread;
use crate::threads::log_writer::{LogWriter, log_writer_thread};
use crate::threads::members::Members;
use crate::threads::spawn;
use crate::types::{EntryId, Index, PeerId, Snapshot, Term};

/// What the labs' interface delivers on its apply channel.
#[derive(Clone, Debug)]
pub enum ApplyMsg {
    /// A committed command. Indexes come in order, without a gap.
    Command {
        /// Where it stands in the log.
        index: Index,
        /// The term of the leader that appended it.
        term: Term,
        /// What was given to [`Raft::start`].
        command: Arc<[u8]>,
    },
    /// The state up to and including `last_included`, in place of the commands up to there.
    Snapshot {
        /// The last entry it covers.
        last_included: EntryId,
        /// What was given to [`Raft::snapshot`], at some peer.
        snapshot: Snapshot,
    },
}

/// What [`Raft::start`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where the command will stand if it is ever committed.
    pub index: Index,
    /// The current term.
    pub term: Term,
    /// Whether this peer believes it leads. If not, nothing was appended.
    pub is_leader: bool,
}

/// The role of a peer, as a value to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads its term.
    Leader,
}

/// What a peer knows of the cluster, at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// This peer.
    pub id: PeerId,
    /// Its role.
    pub role: RoleName,
    /// Its `current_term`.
    pub term: Term,
    /// Who leads that term, as far as it knows.
    pub leader: Option<PeerId>,
    /// Its `commit_index`.
    pub commit_index: Index,
    /// What its state machine has been given.
    pub last_applied: Index,
    /// The last index of its log.
    pub last_index: Index,
    /// The first index of its log: what is before it is in the snapshot.
    pub first_index: Index,
    /// The size of its logical state without the snapshot, in bytes.
    pub raft_state_bytes: u64,
    /// Whether its disk has room for new entries.
    pub has_room: bool,
    /// The configuration in force: the latest in the log, committed or not.
    pub configuration: Configuration,
    /// The other members, as a leader knows them; empty at any other peer.
    pub peers: Vec<PeerStatus>,
}

/// What a leader knows of another member.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Which member.
    pub id: PeerId,
    /// How far its log matches the leader's, durably.
    pub match_index: Index,
    /// How long ago it last answered (or this leader was elected).
    pub last_contact: Duration,
}

/// A handle on one peer. The peer is killed with its last handle.
#[derive(Clone)]
pub struct Raft {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    stage: Arc<dyn SnapshotStage>,
}

impl Raft {
    /// Starts a peer with the labs' pace: `peers[i]` is the end to peer `i`, and `me` is this one's
    /// place among them. What is committed comes on `apply_ch`, which may be unbuffered.
    pub fn make(
        peers: Vec<Arc<dyn End>>,
        me: usize,
        persister: Box<dyn Persister>,
        apply_ch: Sender<ApplyMsg>,
    ) -> Result<Self, OpenError> {
        let peers = (0u64..).map(PeerId).zip(peers).collect();
        Self::make_with(PeerId(me as u64), peers, persister, apply_ch, Options::lab())
    }

    /// Starts a peer of a cluster of `me` and `peers`, all of them voters.
    ///
    /// A snapshot found on disk is not delivered: the service has loaded it already, or reads it
    /// from the persister before.
    pub fn make_with(
        me: PeerId,
        peers: Peers,
        mut persister: Box<dyn Persister>,
        apply_ch: Sender<ApplyMsg>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let recovered = persister.load();
        let cluster = Cluster::of(me, peers);
        Self::launch(me, cluster, recovered, persister, options, |shared| ChannelSink {
            apply_ch,
            stop_signal: shared.stop_signal(),
        })
    }

    /// Starts a peer whose committed work goes to a sink.
    pub(crate) fn launch<S: Sink>(
        me: PeerId,
        cluster: Cluster,
        recovered: Recovered,
        persister: Box<dyn Persister>,
        options: Options,
        sink: impl FnOnce(&Arc<Shared>) -> S,
    ) -> Result<Self, OpenError> {
        let Cluster { initial, connect } = cluster;
        let rules = Rules::recovered(me, initial, recovered, options, Shared::now())?;
        let stage = persister.snapshot_stage();
        let shared = Shared::new(rules, LogWriter::new(persister));
        let raft = Self { inner: Arc::new(Inner { shared: Arc::clone(&shared), stage }) };
        let sink = sink(&shared);
        spawn(&shared, me, "log-writer", log_writer_thread)?;
        spawn(&shared, me, "applier", move |shared| applier_thread(shared, sink))?;
        let members = Members::connect(&shared, me, connect)?;
        spawn(&shared, me, "members", move |shared| members.run(shared))?;
        spawn(&shared, me, "election", election_thread)?;
        Ok(raft)
    }

    /// Appends `command` to the log if this peer leads, and returns at once: there is no promise
    /// that it will ever be committed.
    pub fn start(&self, command: impl Into<Arc<[u8]>>) -> Start {
        let command: Arc<[u8]> = command.into();
        let command = Payload::from(command);
        let started = self.inner.shared.step(|rules, now| {
            let id = rules.start(command, now);
            let term = rules.current_term();
            let index = id.map_or(rules.log().last().index + 1, |id| id.index);
            Start { index, term, is_leader: id.is_some() }
        });
        started.unwrap_or_else(|_| {
            let (term, _) = self.get_state();
            Start { index: 0, term, is_leader: false }
        })
    }

    /// The current term, and whether this peer believes it leads.
    pub fn get_state(&self) -> (Term, bool) {
        let running = self.stopped().is_none();
        self.inner.shared.look(|rules, _| (rules.current_term(), running && rules.is_leader()))
    }

    /// Tells the peer that the service has put everything up to and including `index` into
    /// `bytes`: the log up to there is discarded. Returns once the snapshot is durable. An index
    /// that is in a snapshot already changes nothing.
    ///
    /// May be called from the thread that reads the apply channel.
    pub fn snapshot(&self, index: Index, bytes: &[u8]) -> Result<(), SnapshotError> {
        let shared = &self.inner.shared;
        let Some(meta) = shared.step(|rules, _| rules.snapshot_meta(index))? else { return Ok(()) };
        let staged = self.inner.stage.write_all(meta, bytes)?;
        let compacted = shared.step(|rules, _| rules.compact(staged))?;
        drop(shared.durable(compacted)?);
        Ok(())
    }

    /// Always true: a snapshot is delivered only when nothing newer has been. It stays for services
    /// written against the labs of 2021 and 2022.
    pub fn cond_install_snapshot(&self, _term: Term, _index: Index, _bytes: &[u8]) -> bool {
        true
    }

    /// Stops the peer and waits for all its threads. Its durable state can be opened again at once.
    /// A panic in one of its threads is raised again here.
    ///
    /// Must not be called from a thread of the peer itself, such as a completion.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// What answers the other peers: the methods named `Raft.…`.
    pub fn service(&self) -> Arc<dyn Service> {
        Arc::new(RaftService { shared: Arc::clone(&self.inner.shared) })
    }

    /// What this peer knows of the cluster now.
    pub fn status(&self) -> Status {
        self.inner.shared.look(status_of)
    }

    /// Why the peer stopped, if it has.
    pub fn stopped(&self) -> Option<Stopped> {
        self.inner.shared.stopped()
    }

    /// A channel that is disconnected once the peer has stopped, for whatever reason: see
    /// [`stopped`](Self::stopped).
    pub fn stop_signal(&self) -> Receiver<()> {
        self.inner.shared.stop_signal()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }
}

impl Inner {
    fn kill(&self) {
        self.shared.stop(Stopped::killed());
        if let Err(panic) = self.shared.join_threads()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A snapshot of the service's could not be made current.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The peer does not run any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It could not be written; the log is as it was.
    #[error("the snapshot could not be written: {0}")]
    Storage(#[from] oarlock_storage::StorageError),
    /// The state machine could not write its state down; the log is as it was.
    #[error("the state machine could not write its state: {0}")]
    StateMachine(String),
}

fn status_of(rules: &Rules, now: std::time::Instant) -> Status {
    let (role, peers) = match rules.role() {
        Role::Follower => (RoleName::Follower, Vec::new()),
        Role::PreCandidate { .. } => (RoleName::PreCandidate, Vec::new()),
        Role::Candidate { .. } => (RoleName::Candidate, Vec::new()),
        Role::Leader { progress } => {
            let peer_status = |(&id, progress): (&PeerId, &crate::rules::Progress)| PeerStatus {
                id,
                match_index: progress.match_index(),
                last_contact: now.saturating_duration_since(progress.last_contact()),
            };
            (RoleName::Leader, progress.iter().map(peer_status).collect())
        }
    };
    Status {
        id: rules.me(),
        role,
        term: rules.current_term(),
        leader: rules.leader(),
        commit_index: rules.commit_index(),
        last_applied: rules.last_applied(),
        last_index: rules.log().last().index,
        first_index: rules.log().base().index + 1,
        raft_state_bytes: rules.log().entries_bytes(),
        has_room: rules.has_room(),
        configuration: rules.configuration().clone(),
        peers,
    }
}

/// Decodes requests, takes one step, and answers when that is durable.
struct RaftService {
    shared: Arc<Shared>,
}

impl RaftService {
    fn append_entries(&self, args: Result<AppendEntriesArgs, CodecError>, reply: ReplySlot) {
        let args = readable(APPEND_ENTRIES.name, args);
        if let Some(args) = args.filter(AppendEntriesArgs::is_well_formed) {
            self.shared.answer(reply, |rules, now| rules.handle_append_entries(args, now));
        }
    }
}

impl Service for RaftService {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        if method == REQUEST_VOTE.name {
            if let Some(args) = decode::<RequestVoteArgs>(method, args) {
                self.shared.answer(reply, |rules, now| rules.handle_request_vote(&args, now));
            }
        } else if method == APPEND_ENTRIES.name {
            self.append_entries(AppendEntriesArgs::decode(args), reply);
        } else if method == TIMEOUT_NOW.name {
            if let Some(args) = decode::<TimeoutNowArgs>(method, args) {
                self.shared.answer(reply, |rules, now| rules.handle_timeout_now(&args, now));
            }
        } else if method == INSTALL_SNAPSHOT.name {
            let args = decode::<InstallSnapshotArgs>(method, args);
            if let Some(args) = args.filter(|args| args.configuration().is_ok()) {
                self.shared.answer(reply, |rules, now| rules.handle_install_snapshot(args, now));
            }
        } else {
            return Err(UnknownMethod(method.to_owned()));
        }
        Ok(())
    }

    fn handle_owned(
        &self,
        method: &str,
        args: Vec<u8>,
        reply: ReplySlot,
    ) -> Result<(), UnknownMethod> {
        if method != APPEND_ENTRIES.name {
            return self.handle(method, &args, reply);
        }
        self.append_entries(AppendEntriesArgs::decode_owned(args), reply);
        Ok(())
    }

    fn hung_up(&self, peer: u64) {
        // A peer that has stopped follows nobody.
        drop(self.shared.step(|rules, now| rules.on_hang_up(PeerId(peer), now)));
    }

    /// One step under the lock; what waits for the disk, the log writer sends, without it.
    fn is_prompt(&self) -> bool {
        true
    }
}

fn decode<T: Wire>(method: &str, args: &[u8]) -> Option<T> {
    readable(method, codec::decode(args))
}

/// What cannot be read is not answered; the sender is of another build, and the log says so.
fn readable<T>(method: &str, args: Result<T, CodecError>) -> Option<T> {
    args.map_err(|error| log::warn!(target: "NETW", "{method}: {error}")).ok()
}

//! What a node says of itself, for people and tools to look at.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oarlock_raft::{Configuration, Index, PeerId, RoleName, Status, Term};
use oarlock_rpc::codec::Wire;
use serde::{Deserialize, Serialize};

use crate::machine::Gauges;

/// The state of one node at one moment, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which node.
    pub id: PeerId,
    /// Its role.
    pub role: NodeRole,
    /// Its current term.
    pub term: Term,
    /// Who leads that term, as far as it knows.
    pub leader: Option<PeerId>,
    /// Up to where it knows the log to be committed.
    pub commit_index: Index,
    /// Up to where its state machine has been given the log.
    pub last_applied: Index,
    /// The last index of its log.
    pub last_index: Index,
    /// The first index of its log: what is before it is in the snapshot.
    pub first_index: Index,
    /// The size of its log and hard state, in bytes.
    pub raft_state_bytes: u64,
    /// Whether its disk has room for new entries.
    pub has_room: bool,
    /// How many keys its state has.
    pub keys: u64,
    /// The length of all its keys and values, in bytes.
    pub data_bytes: u64,
    /// How many clients its state remembers.
    pub sessions: u64,
    /// All members of the cluster, this one included, in order.
    pub members: Vec<MemberStatus>,
}

impl Wire for NodeStatus {}

/// What a node knows of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Which member.
    pub id: PeerId,
    /// What it counts for.
    pub role: MemberRole,
    /// Where it listens for the other members, if the configuration says so.
    pub peer_addr: Option<String>,
    /// Where its clients connect, if that is known.
    pub client_addr: Option<String>,
    /// Up to where its log matches the leader's, durably; known to the leader only.
    pub match_index: Option<Index>,
    /// How long ago it last answered the leader; known to the leader only, of others.
    pub last_contact: Option<Duration>,
}

/// What a member counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberRole {
    /// It votes.
    Voter,
    /// It receives the log, and counts in nothing.
    Learner,
    /// A change is under way that makes it a voter.
    Joining,
    /// A change is under way after which it is a member no more.
    Leaving,
}

impl MemberRole {
    /// The role of member `id`.
    pub(crate) fn of(id: PeerId, configuration: &Configuration) -> Self {
        let joint = configuration.is_joint();
        match (configuration.voters().contains(&id), configuration.outgoing().contains(&id)) {
            (true, false) if joint => Self::Joining,
            (true, _) => Self::Voter,
            (false, true) => Self::Leaving,
            (false, false) => Self::Learner,
        }
    }

    /// Whether it is a voter once no change is under way.
    fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Joining)
    }
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Joining => "joining",
            Self::Leaving => "leaving",
        })
    }
}

/// A node's role, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRole {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads its term.
    Leader,
}

impl From<RoleName> for NodeRole {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Follower => Self::Follower,
            RoleName::PreCandidate => Self::PreCandidate,
            RoleName::Candidate => Self::Candidate,
            RoleName::Leader => Self::Leader,
        }
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

impl NodeStatus {
    /// Puts together what consensus and the state machine say.
    pub(crate) fn new(raft: Status, gauges: &Gauges, mut members: Vec<MemberStatus>) -> Self {
        for member in &mut members {
            if let Some(peer) = raft.peers.iter().find(|peer| peer.id == member.id) {
                member.match_index = Some(peer.match_index);
                member.last_contact = Some(peer.last_contact);
            }
        }
        Self {
            id: raft.id,
            role: raft.role.into(),
            term: raft.term,
            leader: raft.leader,
            commit_index: raft.commit_index,
            last_applied: raft.last_applied,
            last_index: raft.last_index,
            first_index: raft.first_index,
            raft_state_bytes: raft.raft_state_bytes,
            has_room: raft.has_room,
            keys: gauges.keys.load(Ordering::Relaxed),
            data_bytes: gauges.data_bytes.load(Ordering::Relaxed),
            sessions: gauges.sessions.load(Ordering::Relaxed),
            members,
        }
    }

    /// Its disk in one word: whether there is room for new entries.
    pub fn disk(&self) -> &'static str {
        if self.has_room { "ok" } else { "full" }
    }

    /// How many members vote.
    pub fn voters(&self) -> usize {
        self.members.iter().filter(|member| member.role.votes()).count()
    }

    /// How many members must agree on anything.
    pub fn majority(&self) -> usize {
        self.voters() / 2 + 1
    }

    /// Why there is no leader to execute requests, as far as this node can tell.
    pub(crate) fn why_no_leader(&self, silent_after: Duration) -> String {
        let (voters, need) = (self.voters(), self.majority());
        if self.role != NodeRole::Leader {
            let (id, term) = (self.id, self.term);
            return match self.leader {
                Some(leader) => format!("n{leader} leads term {term} and does not answer"),
                None => format!(
                    "n{id} is {} in term {term} and knows none; {need} of {voters} voters must \
                     reach each other",
                    self.role
                ),
            };
        }
        if !self.has_room {
            let (id, term) = (self.id, self.term);
            return format!(
                "n{id} leads term {term}, but its disk is full, and no other can take over yet"
            );
        }
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|m| m.role.votes())
            .filter_map(|m| Some((m.id, m.last_contact.filter(|t| *t >= silent_after)?)))
            .map(|(id, silence)| format!("n{id} silent {:.1}s", silence.as_secs_f64()))
            .collect();
        let reachable = voters - silent.len();
        format!("{reachable} of {voters} voters reachable, need {need} ({})", silent.join(", "))
    }
}

/// One `name:value` line for each fact, then one for each member.
impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leader = self.leader.map_or_else(|| "none".to_owned(), |id| format!("n{id}"));
        writeln!(f, "id:n{}", self.id)?;
        writeln!(f, "role:{}", self.role)?;
        writeln!(f, "term:{}", self.term)?;
        writeln!(f, "leader:{leader}")?;
        writeln!(f, "commit_index:{}", self.commit_index)?;
        writeln!(f, "last_applied:{}", self.last_applied)?;
        writeln!(f, "first_index:{}", self.first_index)?;
        writeln!(f, "last_index:{}", self.last_index)?;
        writeln!(f, "raft_state_bytes:{}", self.raft_state_bytes)?;
        writeln!(f, "disk:{}", self.disk())?;
        writeln!(f, "keys:{}", self.keys)?;
        writeln!(f, "data_bytes:{}", self.data_bytes)?;
        writeln!(f, "sessions:{}", self.sessions)?;
        writeln!(f, "members:{}", self.members.len())?;
        for member in &self.members {
            let addr = member.client_addr.as_deref().unwrap_or("unknown");
            write!(f, "member_n{}:addr={addr},role={}", member.id, member.role)?;
            if let (Some(index), Some(contact)) = (member.match_index, member.last_contact) {
                write!(f, ",match_index={index},last_contact_ms={}", contact.as_millis())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, silence: Option<u64>) -> MemberStatus {
        MemberStatus {
            id: PeerId(id),
            role: MemberRole::Voter,
            peer_addr: None,
            client_addr: None,
            match_index: silence.map(|_| 3),
            last_contact: silence.map(Duration::from_millis),
        }
    }

    fn status(role: NodeRole, leader: Option<u64>) -> NodeStatus {
        NodeStatus {
            id: PeerId(1),
            role,
            term: 7,
            leader: leader.map(PeerId),
            commit_index: 3,
            last_applied: 3,
            last_index: 4,
            first_index: 1,
            raft_state_bytes: 10,
            has_room: true,
            keys: 2,
            data_bytes: 5,
            sessions: 1,
            members: vec![member(1, None), member(2, Some(4100)), member(3, Some(20))],
        }
    }

    #[test]
    fn the_reason_names_who_is_silent() {
        let why = |role, leader| status(role, leader).why_no_leader(Duration::from_secs(1));
        assert_eq!(
            why(NodeRole::Leader, Some(1)),
            "2 of 3 voters reachable, need 2 (n2 silent 4.1s)"
        );
        assert_eq!(
            why(NodeRole::Candidate, None),
            "n1 is candidate in term 7 and knows none; 2 of 3 voters must reach each other"
        );
        assert_eq!(why(NodeRole::Follower, Some(3)), "n3 leads term 7 and does not answer");
    }

    #[test]
    fn a_leader_that_wants_to_hand_over_says_why() {
        let status = NodeStatus { has_room: false, ..status(NodeRole::Leader, Some(1)) };
        let why = status.why_no_leader(Duration::from_secs(1));
        assert!(why.starts_with("n1 leads term 7, but its disk is full"), "{why}");
    }

    #[test]
    fn the_text_has_a_line_for_each_fact_and_member() {
        let text = status(NodeRole::Leader, Some(1)).to_string();
        assert!(text.contains("role:leader\nterm:7\nleader:n1\n"), "{text}");
        assert!(text.contains("member_n1:addr=unknown,role=voter\n"), "{text}");
        assert!(
            text.contains("member_n3:addr=unknown,role=voter,match_index=3,last_contact_ms=20\n"),
            "{text}"
        );
    }
}

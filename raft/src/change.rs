//! A change of who the members are: what is asked for, how far it has come, why it is refused.

use std::collections::{BTreeMap, BTreeSet};

use oarlock_rpc::codec::Wire;
use serde::{Deserialize, Serialize};

use crate::configuration::{ADDRESS_BYTES_MAX, Configuration, MEMBERS_MAX};
use crate::error::Stopped;
use crate::types::{Index, PeerId};

/// Who shall vote that does not, and who shall be a member no more.
///
/// It names the goal, not the steps: asked for again, perhaps of another leader, it goes on where it
/// was, and a change that is there already is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Voters to be, and where each is found.
    pub add: BTreeMap<PeerId, String>,
    /// Members who leave. Those who voted retire: their ids are never used again.
    pub remove: BTreeSet<PeerId>,
}

impl Wire for Change {}

impl Change {
    /// Makes `peer`, found at `address`, a voter.
    #[must_use]
    pub fn adding(mut self, peer: PeerId, address: impl Into<String>) -> Self {
        self.add.insert(peer, address.into());
        self
    }

    /// Lets `peer` leave.
    #[must_use]
    pub fn removing(mut self, peer: PeerId) -> Self {
        self.remove.insert(peer);
        self
    }

    /// Whether `configuration` is what was asked for, or is on its way there.
    pub(crate) fn is_reached_by(&self, configuration: &Configuration) -> bool {
        let stays = |peer: &PeerId| {
            configuration.voters().contains(peer) || configuration.is_learner(*peer)
        };
        self.add.keys().all(|peer| configuration.voters().contains(peer))
            && !self.remove.iter().any(stays)
    }

    /// The voters there shall be, from those there are.
    pub(crate) fn voters_after(&self, configuration: &Configuration) -> BTreeSet<PeerId> {
        let all = configuration.voters().iter().chain(self.add.keys()).copied();
        all.filter(|peer| !self.remove.contains(peer)).collect()
    }

    /// Whether it makes sense in `configuration`.
    pub(crate) fn check(&self, configuration: &Configuration) -> Result<(), ChangeError> {
        if let Some(&id) = self.add.keys().find(|peer| self.remove.contains(peer)) {
            return Err(ChangeError::AddedAndRemoved { id });
        }
        for (&id, address) in &self.add {
            if configuration.is_retired(id) {
                return Err(ChangeError::Retired { id });
            }
            if address.len() > ADDRESS_BYTES_MAX {
                return Err(ChangeError::LongAddress { id, len_max: ADDRESS_BYTES_MAX });
            }
            let known = configuration.address(id).filter(|known| known != address);
            if let Some(known) = known {
                return Err(ChangeError::OtherAddress { id, known: known.to_owned() });
            }
        }
        let voters = self.voters_after(configuration);
        if voters.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        if voters.len() + configuration.members().len() > MEMBERS_MAX {
            return Err(ChangeError::TooMany { members_max: MEMBERS_MAX });
        }
        Ok(())
    }
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeState {
    /// It is committed.
    Done(Configuration),
    /// These members receive the log, and may vote once they are level with it.
    CatchingUp(Vec<CatchingUp>),
    /// An entry of the log must be committed before it goes on.
    Committing(Configuration),
}

/// A member that is not level with the log yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchingUp {
    /// Which member.
    pub id: PeerId,
    /// How far its log matches the leader's; 0 as long as it has answered nothing.
    pub match_index: Index,
    /// The last index of the leader's log.
    pub last_index: Index,
}

impl std::fmt::Display for ChangeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(configuration) => write!(f, "the voters are {configuration}"),
            Self::Committing(configuration) => {
                write!(f, "{configuration} waits for a majority to have it")
            }
            Self::CatchingUp(members) => {
                for (nth, CatchingUp { id, match_index, last_index }) in members.iter().enumerate()
                {
                    let separator = if nth == 0 { "" } else { "; " };
                    if *match_index == 0 {
                        write!(f, "{separator}peer {id} has not answered yet")?;
                    } else {
                        let has = format_args!("has {match_index} of {last_index} entries");
                        write!(f, "{separator}peer {id} {has}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ChangeError {
    /// This peer does not lead; nothing was done.
    #[error("this peer is not the leader")]
    NotLeader {
        /// Who does, as far as this peer knows.
        leader: Option<PeerId>,
    },
    /// Another change is under way; nothing was done.
    #[error("another change is under way: {configuration}; try again when it is done")]
    InProgress {
        /// The configuration in force: both sets of voters.
        configuration: String,
    },
    /// The id was that of a voter who was removed.
    #[error("peer {id} was removed, and an id is never used again; choose a new one")]
    Retired {
        /// The id.
        id: PeerId,
    },
    /// The id is a member's, who is elsewhere.
    #[error("peer {id} is a member already, at {known}; choose a new id, or give that address")]
    OtherAddress {
        /// The id.
        id: PeerId,
        /// Where that member is.
        known: String,
    },
    /// The same peer is to come and to go.
    #[error("peer {id} is to be added and removed at once")]
    AddedAndRemoved {
        /// The id.
        id: PeerId,
    },
    /// An address is too long.
    #[error("the address of peer {id} is longer than {len_max} bytes")]
    LongAddress {
        /// The id.
        id: PeerId,
        /// The limit, in bytes.
        len_max: usize,
    },
    /// Nobody would be left.
    #[error("no voter would be left; to end a cluster, stop its peers")]
    NoVoters,
    /// More members than there may be.
    #[error("there may be no more than {members_max} members, those who leave included")]
    TooMany {
        /// The limit.
        members_max: usize,
    },
    /// A majority of the voters there would be does not answer now: nothing could be committed any
    /// more.
    #[error(
        "of the {voters} voters there would be, only {reachable} answer now; bring the others \
         back first, or remove those that are gone for good"
    )]
    Unreachable {
        /// How many there would be.
        voters: usize,
        /// How many of those answered lately.
        reachable: usize,
    },
    /// It took too long.
    #[error("the change is not done in time: {state}")]
    TimedOut {
        /// How far it had come.
        state: Box<ChangeState>,
        /// Whether the members it had begun to add were dropped again, so that all is as before.
        undone: bool,
    },
    /// The peer stopped.
    #[error("this peer has stopped: {0}")]
    Stopped(String),
}

impl Wire for ChangeState {}
impl Wire for ChangeError {}

impl From<Stopped> for ChangeError {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped.0)
    }
}

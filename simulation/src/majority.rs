//! Majorities, counted once more: what is checked must not do its own sums.

use std::collections::BTreeSet;

use oarlock_raft::{Configuration, PeerId};

/// Whether `agrees` holds for more than half of the new voters, and of the old ones if there are any.
pub(crate) fn is_agreed(configuration: &Configuration, agrees: impl Fn(PeerId) -> bool) -> bool {
    [configuration.voters(), configuration.outgoing()].iter().all(|set| {
        let yes = set.iter().filter(|&&peer| agrees(peer)).count();
        set.is_empty() || 2 * yes > set.len()
    })
}

/// Whether no two decisions, one in each configuration, can be made without a voter in common.
pub(crate) fn overlap(one: &Configuration, other: &Configuration) -> bool {
    let (one, other) = (masks(one), masks(other));
    if one.iter().any(|set| other.contains(set)) {
        return true;
    }
    let all = one.iter().chain(&other).fold(0, |all, set| all | set);
    // Every set of peers, from the largest down: if it decides in one, the rest must not in the other.
    let mut some = all;
    loop {
        if decides(&one, some) && decides(&other, all & !some) {
            return false;
        }
        if some == 0 {
            return true;
        }
        some = (some - 1) & all;
    }
}

/// The sets of voters, one bit for each peer.
fn masks(configuration: &Configuration) -> Vec<u64> {
    let mask = |set: &BTreeSet<PeerId>| set.iter().fold(0, |mask, peer| mask | 1 << peer.0);
    let sets = [configuration.voters(), configuration.outgoing()];
    sets.into_iter().filter(|set| !set.is_empty()).map(mask).collect()
}

fn decides(sets: &[u64], some: u64) -> bool {
    sets.iter().all(|set| 2 * (set & some).count_ones() > set.count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: &[u64]) -> Configuration {
        Configuration::of_voters(voters.iter().copied().map(PeerId))
    }

    #[test]
    fn one_voter_more_or_less_overlaps_and_two_such_changes_need_not() {
        let (four, five, three) = (of(&[1, 2, 3, 4]), of(&[1, 2, 3, 4, 5]), of(&[2, 3, 4]));
        assert!(overlap(&four, &five) && overlap(&four, &three));
        assert!(!overlap(&five, &three), "1, 2, 5 and 3, 4");
        assert!(!overlap(&three, &five));
    }

    #[test]
    fn strangers_do_not_overlap() {
        assert!(!overlap(&of(&[1, 2, 3]), &of(&[4, 5, 6])));
        assert!(!overlap(&of(&[1, 2, 3]), &of(&[2, 3, 4])), "1, 2 and 3, 4");
        assert!(overlap(&of(&[1, 2, 3]), &of(&[1, 2, 3])));
    }
}

//! Damage: a directory that no crash can have left is refused, with file, offset and index, and
//! untouched; or it is opened, and every value is right. Never anything else.
//!
//! One exception is inherent: sectors of the last batch that are what was there before (zeros, mostly), or
//! end with zeros where they should not, look like a write that a crash cut short, and nothing else on
//! the disk speaks of that batch, unless it held a vote.
//!
//! All of it is tried on segments that stand on zeros, and on ones that stand on the bytes of others.
//!
//! Every test says how many cases there were of each kind: `cargo test -p oarlock-storage damage --
//! --nocapture`.

pub(super) mod reference;

use crate::disk::format::is_zero;
use crate::fs::sim::SimFs;
use reference::{
    Contents, Ground, Outcome, Reference, SECTOR, Tally, next, range, reference, vote,
};

const GROUNDS: [Ground; 2] = [Ground::Zeros, Ground::Used];

/// Lets two threads share the cases: each is given its number, and does every second one.
fn on_two_threads(work: impl Fn(usize) -> Tally + Sync) -> Tally {
    std::thread::scope(|scope| {
        let work = &work;
        let other = scope.spawn(move || work(1));
        let own = work(0);
        own.and(other.join().unwrap())
    })
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    GROUNDS.into_iter().for_each(flip_bits);
}

fn flip_bits(ground: Ground) {
    let reference = reference(ground, next(900, 3));
    let tally = on_two_threads(|nth| {
        let mut tally = Tally::default();
        let mut disk = SimFs::holding(&reference.contents);
        for (name, content) in &reference.contents {
            for bit in (nth..content.len() * 8).step_by(2) {
                disk.flip(name, bit);
                let outcome = reference.check_disk(&disk, &|| format!("{name}, bit {bit}"));
                tally.count(outcome);
                if outcome == Outcome::Refused {
                    disk.flip(name, bit);
                } else {
                    disk = SimFs::holding(&reference.contents);
                }
            }
        }
        tally
    });
    tally.tell(ground, "every bit flipped");
    assert_eq!(tally.without_last, 0, "no flipped bit loses anything");
    let refused_min = ground.read_whole(300_000, 250_000);
    assert!(tally.refused > refused_min && tally.same > 5_000, "{tally:?}");
}

/// Sectors of the last batch that are, by right, what was there before are no sign of a cut.
#[test]
fn a_flipped_bit_beside_unchanged_sectors_is_refused() {
    let mut unchanged = 0;
    for fill in 0..4 {
        let reference = reference(Ground::Used, next(2600, fill));
        let (name, last, _) = &reference.last_batch;
        let is_unchanged = |sector: &usize| {
            let content = &reference.contents[name];
            reference.before_last(name, *sector) == &content[range(content, *sector)]
        };
        unchanged += (last.start / SECTOR..last.end / SECTOR).filter(is_unchanged).count();
        for bit in (last.start * 8..last.end * 8).step_by(7) {
            let context = || format!("{fill}: {name}, bit {bit}");
            let outcome = reference.check_changed(name, &context, |content| {
                content[bit / 8] ^= 1 << (bit % 8);
            });
            assert_eq!(outcome, Outcome::Refused, "{}", context());
        }
    }
    assert!(unchanged > 0, "{unchanged} sectors");
}

#[test]
fn every_zeroed_sector_is_refused_or_harmless() {
    GROUNDS.into_iter().for_each(zero_sectors);
}

fn zero_sectors(ground: Ground) {
    let reference = reference(ground, next(900, 3));
    let mut tally = Tally::default();
    for (name, sector) in reference.sectors() {
        let context = || format!("{name}, sector {sector}");
        let outcome = reference.check_changed(name, &context, |content| {
            let range = range(content, sector);
            content[range].fill(0);
        });
        let may_lose_last = reference.may_lose_last(name, sector);
        assert!(outcome != Outcome::WithoutLast || may_lose_last, "{}", context());
        tally.count(outcome);
    }
    tally.tell(ground, "every sector zeroed");
    let (name, last, _) = &reference.last_batch;
    let blank = |sector: usize| is_zero(reference.before_last(name, sector));
    let unwritten =
        (last.start / SECTOR..last.end / SECTOR).filter(|sector| blank(*sector)).count();
    assert_eq!(
        tally.without_last, unwritten as u64,
        "those of the last batch that were zeros before"
    );
    assert_eq!(unwritten, if ground == Ground::Zeros { 3 } else { 2 });
    assert!(tally.refused > ground.read_whole(50, 40), "{tally:?}");
}

#[test]
fn every_sector_of_earlier_content_is_refused_or_harmless() {
    GROUNDS.into_iter().for_each(go_back);
}

fn go_back(ground: Ground) {
    let reference = reference(ground, next(900, 3));
    let mut tally = Tally::default();
    for earlier in &reference.earlier {
        for (name, sector) in reference.sectors() {
            let Some(old) = earlier.get(name) else { continue };
            let context = || format!("{name}, sector {sector}");
            let outcome = reference.check_changed(name, &context, |content| {
                let range = range(content, sector);
                if let Some(old) = old.get(range.clone()) {
                    content[range].copy_from_slice(old);
                }
            });
            let may_lose_last = reference.may_lose_last(name, sector);
            assert!(outcome != Outcome::WithoutLast || may_lose_last, "{}", context());
            tally.count(outcome);
        }
    }
    tally.tell(ground, "every sector as it was before each step");
    assert!(tally.refused > ground.read_whole(50, 25), "{tally:?}");
}

#[test]
fn every_swap_of_two_sectors_is_refused_or_harmless() {
    GROUNDS.into_iter().for_each(swap_sectors);
}

fn swap_sectors(ground: Ground) {
    let reference = reference(ground, next(900, 3));
    let whole: Vec<(&String, usize)> = reference
        .sectors()
        .filter(|(name, sector)| range(&reference.contents[*name], *sector).len() == SECTOR)
        .collect();
    let tally = on_two_threads(|nth| {
        let mut tally = Tally::default();
        for (one, a) in whole.iter().enumerate().skip(nth).step_by(2) {
            for b in &whole[..one] {
                tally.count(check_swapped(&reference, *a, *b));
            }
        }
        tally
    });
    tally.tell(ground, "every two sectors swapped, of one file or of two");
    assert!(tally.refused > 5_000, "{tally:?}");
}

/// Checks the directory with two sectors swapped.
fn check_swapped(reference: &Reference, a: (&String, usize), b: (&String, usize)) -> Outcome {
    let sector = |(name, sector): (&String, usize)| {
        let content = &reference.contents[name];
        &content[range(content, sector)]
    };
    if sector(a) == sector(b) {
        return Outcome::Same;
    }
    let described = || format!("{a:?} and {b:?}");
    let mut contents = reference.contents.clone();
    let mut put = |to: (&String, usize), from| {
        let content = contents.get_mut(to.0).unwrap();
        let range = range(content, to.1);
        content[range].copy_from_slice(sector(from));
    };
    put(a, b);
    put(b, a);
    let outcome = reference.check(&contents, &described);
    // A sector of another file that ends with zeros, and is not missed there; or where there were
    // others, just what was there.
    let may_lose = |to: (&String, usize), from| {
        let looks_unwritten = match reference.ground {
            Ground::Zeros => sector(from).ends_with(&[0; 8]),
            Ground::Used => sector(from) == reference.before_last(to.0, to.1),
        };
        reference.may_lose_last(to.0, to.1) && looks_unwritten
    };
    let may_lose_last = a.0 != b.0 && (may_lose(a, b) || may_lose(b, a));
    assert!(outcome != Outcome::WithoutLast || may_lose_last, "{}", described());
    outcome
}

#[test]
fn every_file_cut_removed_or_exchanged_is_refused_or_harmless() {
    GROUNDS.into_iter().for_each(cut_and_exchange);
}

fn cut_and_exchange(ground: Ground) {
    let reference = reference(ground, next(900, 3));
    let mut tally = Tally::default();
    let mut check = |contents: &Contents, context: &dyn Fn() -> String| {
        let outcome = reference.check(contents, context);
        assert_ne!(outcome, Outcome::WithoutLast, "{}", context());
        tally.count(outcome);
        outcome
    };
    for (name, content) in &reference.contents {
        for len in (0..content.len()).step_by(SECTOR) {
            let mut contents = reference.contents.clone();
            contents.get_mut(name).unwrap().truncate(len);
            check(&contents, &|| format!("{name} cut to {len}"));
        }
        let mut contents = reference.contents.clone();
        contents.get_mut(name).unwrap().extend_from_slice(&[0; SECTOR]);
        check(&contents, &|| format!("{name} made longer"));
        contents.remove(name);
        let outcome = check(&contents, &|| format!("{name} removed"));
        assert_eq!(outcome == Outcome::Refused, name.starts_with("wal-") || name == "IDENTITY");
        for other in reference.contents.keys() {
            let mut contents = reference.contents.clone();
            contents.insert(name.clone(), reference.contents[other].clone());
            check(&contents, &|| format!("{other} in place of {name}"));
        }
    }
    tally.tell(
        ground,
        "every file cut at each sector, made longer, removed, or replaced by another",
    );
    assert!(tally.refused > 100, "{tally:?}");
}

/// One damaged copy of a vote, whichever and however, never costs the vote, and the node starts.
#[test]
fn a_vote_outlives_any_damage_to_one_of_its_copies() {
    GROUNDS.into_iter().for_each(damage_a_vote);
}

fn damage_a_vote(ground: Ground) {
    let reference = reference(ground, vote(99));
    let (wal, last, _) = &reference.last_batch;
    let places = [(wal.as_str(), last.clone()), ("VOTE", 0..512), ("VOTE", 4096..4608)];
    for (name, place) in places {
        for bit in place.start * 8..place.end * 8 {
            let outcome =
                reference.check_changed(name, &|| format!("{name}, bit {bit}"), |content| {
                    content[bit / 8] ^= 1 << (bit % 8);
                });
            assert_eq!(outcome, Outcome::Same, "{name}, bit {bit}");
        }
        for earlier in [vec![0; 512], vec![0xff; 512]] {
            let outcome = reference.check_changed(name, &|| name.to_owned(), |content| {
                content[place.clone()].copy_from_slice(&earlier);
            });
            assert_eq!(outcome, Outcome::Same, "{name}");
        }
    }
}

//! The search for an order of the calls of one key.
//!
//! A configuration is the set of calls that are done and the state they led to. From each, the
//! calls that may be next are those made before any call that is left returned. The search goes
//! deeper until nothing that returned is left, or no call can be next: then it goes back. These
//! rules keep it short; *order* is short for a linearization of what is left:
//!
//! 1. A call that changes nothing and may happen now is done at once, without an alternative: a get
//!    that finds the present state, an append of nothing, and, in a state that is lost to all gets
//!    ([`State::LOST`]), a write no get can see (not `visible`). In any order that has it later it
//!    can be moved to the front: it may be next, and what the others find stays the same. For the
//!    unseen write: at its later place it led to a lost state, so no get followed before the next
//!    put; what the state is instead without it there, nobody finds out.
//! 2. A state that no get that is left begins with is lost, too.
//! 3. Of the writes that do the same and may be next, only the one that returns first is tried: in
//!    an order that begins with another, the two can change places, as that other one may be later
//!    whenever the one that returns first may.
//! 4. Of the unseen writes only one is tried: after it the state is lost and the others follow by
//!    rule 1, so that it does not matter which was first.
//! 5. A get is *bound* if all puts that its value may have begun with are done. No later put helps
//!    it: the state must be a beginning of what it found, and no other put may come before it. If
//!    the state is not, there is no order.
//! 6. A write that must have happened in one certain state (`only_in`) is tried in no other.

use std::collections::HashSet;
use std::time::Instant;

use crate::problem::{Event, Problem, Span, Step};
use crate::tally::Tally;
use crate::texts::State;

/// The place before the first event.
const HEAD: usize = 0;
/// The configurations that are remembered; a bound on memory. Beyond it, the search goes on and may
/// visit some again.
const SEEN_MAX: usize = 1 << 23;
/// Configurations from one look at the clock to the next.
const ROUND: usize = 64;

/// The search for one key, which can be interrupted.
pub(crate) struct Search<'a> {
    problem: Problem<'a>,
    /// The events that are left, as a list.
    next: Vec<usize>,
    prev: Vec<usize>,
    state: State,
    /// The set of the calls done, as the exclusive or of their marks: two sets look alike with a
    /// probability that no run will see.
    done: u128,
    /// The calls that returned and are left.
    left: usize,
    /// The gets that are left, and of these the bound ones, by slot.
    gets: Tally,
    bound: Tally,
    /// For each get, how many puts that are left its value may have begun with.
    sources: Vec<usize>,
    taken: Vec<Taken>,
    choices: Vec<Choice>,
    seen: HashSet<(u128, State)>,
    /// The longest row of calls that was found to have an order, in that order.
    longest: Vec<usize>,
}

/// A call that was done, and the state before.
struct Taken {
    call: usize,
    state: State,
}

/// A configuration, and the calls that may be next in it.
struct Choice {
    state: State,
    /// The length of `taken` when the configuration was reached.
    depth: usize,
    calls: Vec<usize>,
    tried: usize,
}

impl<'a> Search<'a> {
    pub(crate) fn new(mut problem: Problem<'a>) -> Self {
        let places = problem.events.len() + 1;
        let (mut gets, mut bound) =
            (Tally::new(problem.ranks.len()), Tally::new(problem.ranks.len()));
        for slot in 0..problem.ranks.len() {
            gets.add(slot);
            if problem.sources.counts[slot] == 0 {
                bound.add(slot);
            }
        }
        Self {
            next: (1..=places).collect(),
            prev: (0..places).map(|place| place.saturating_sub(1)).collect(),
            state: problem.texts.empty(),
            done: 0,
            left: problem.spans.iter().filter(|span| span.return_at != Span::NEVER).count(),
            gets,
            bound,
            sources: problem.sources.counts.clone(),
            taken: Vec::new(),
            choices: Vec::new(),
            seen: HashSet::new(),
            longest: Vec::new(),
            problem,
        }
    }

    /// Whether there is an order; `None` if it is not known at `deadline`. Another call goes on
    /// from there.
    pub(crate) fn run(&mut self, deadline: Instant) -> Option<bool> {
        if self.problem.hopeless {
            return Some(false);
        }
        for round in 0usize.. {
            if round.is_multiple_of(ROUND) && Instant::now() >= deadline {
                self.note_longest();
                return None;
            }
            // At the very beginning there is no choice to be made yet.
            let has_begun = round > 0 || !self.choices.is_empty();
            if has_begun && !self.choose() {
                return Some(false);
            }
            self.do_the_harmless();
            if self.left == 0 {
                self.note_longest();
                return Some(true);
            }
            let is_new = self.seen.len() >= SEEN_MAX || self.seen.insert((self.done, self.state));
            let calls = if is_new { self.candidates() } else { Vec::new() };
            let (state, depth) = (self.state, self.taken.len());
            self.choices.push(Choice { state, depth, calls, tried: 0 });
        }
        unreachable!("the loop ends by itself")
    }

    /// The longest row of calls that was found to have an order, in that order, as numbers in the
    /// history.
    pub(crate) fn longest(&self) -> Vec<usize> {
        self.longest.iter().map(|&call| self.problem.calls[call].index).collect()
    }

    /// Takes the next choice, going back as far as necessary; false if there is none.
    fn choose(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            let Some(&call) = choice.calls.get(choice.tried) else {
                self.note_longest();
                self.choices.pop();
                continue;
            };
            choice.tried += 1;
            let (depth, state) = (choice.depth, choice.state);
            self.note_longest_beyond(depth);
            self.undo_to(depth);
            self.state = state;
            self.take(call);
            if self.is_viable() {
                return true;
            }
        }
        false
    }

    /// Rules 1 and 2.
    fn do_the_harmless(&mut self) {
        loop {
            if self.state != State::LOST && self.count_of(&self.gets) == 0 {
                self.state = State::LOST;
            }
            let (state, before) = (self.state, self.taken.len());
            let mut place = HEAD;
            while let Some((next, call)) = self.call_after(place) {
                let harmless = match self.problem.steps[call] {
                    Step::Get { state: found, .. } => found == state,
                    Step::Write { class } => {
                        let class = &self.problem.classes[class];
                        class.is_void() || state == State::LOST && !class.visible
                    }
                };
                if harmless {
                    self.take(call);
                } else {
                    place = next;
                }
            }
            if self.taken.len() == before {
                return;
            }
        }
    }

    /// The writes that may be next, the most promising first. Rules 3, 4 and 6.
    fn candidates(&mut self) -> Vec<usize> {
        let mut found: Vec<(usize, usize, usize, usize)> = Vec::new();
        let mut place = HEAD;
        while let Some((next, call)) = self.call_after(place) {
            place = next;
            let Step::Write { class: number } = self.problem.steps[call] else { continue };
            let class = &self.problem.classes[number];
            if class.only_in.is_some_and(|state| state != self.state) {
                continue;
            }
            let after = if class.visible && !class.is_put {
                self.problem.texts.append(self.state, class.text)
            } else {
                State::LOST
            };
            let class = &self.problem.classes[number];
            // First what goes on with the present value, then another value, then none; a write
            // that gets may see is better kept for them.
            let (worth, kind) = match (class.visible, class.is_put) {
                (false, _) => (2, usize::MAX),
                (true, true) => (1, number),
                (true, false) if after == State::LOST => (3, number),
                (true, false) => (0, number),
            };
            let return_at = self.problem.spans[call].return_at;
            match found.iter_mut().find(|other| other.2 == kind) {
                Some(other) if other.1 <= return_at => {}
                Some(other) => *other = (worth, return_at, kind, call),
                None => found.push((worth, return_at, kind, call)),
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, _, call)| call).collect()
    }

    /// Rule 5: all bound gets begin with the state.
    fn is_viable(&self) -> bool {
        self.count_of(&self.bound) == self.bound.total()
    }

    /// How many of these gets begin with the state.
    fn count_of(&self, gets: &Tally) -> usize {
        gets.within(self.problem.texts.longer(self.state, &self.problem.ranks))
    }

    /// The next call in the list, and its place, if it was made before any return that is left.
    fn call_after(&self, place: usize) -> Option<(usize, usize)> {
        let next = self.next[place];
        match self.problem.events.get(next - 1) {
            Some(&Event::Call(call)) => Some((next, call)),
            Some(Event::Return(_)) | None => None,
        }
    }

    fn take(&mut self, call: usize) {
        self.taken.push(Taken { call, state: self.state });
        self.done ^= mark(call);
        self.unlink(call);
        if self.problem.spans[call].return_at != Span::NEVER {
            self.left -= 1;
        }
        match self.problem.steps[call] {
            Step::Get { slot, .. } => {
                self.gets.remove(slot);
                if self.sources[slot] == 0 {
                    self.bound.remove(slot);
                }
            }
            Step::Write { class } => self.write(call, class),
        }
    }

    fn write(&mut self, call: usize, class: usize) {
        let class = &self.problem.classes[class];
        if class.is_void() {
            return;
        }
        let texts = &mut self.problem.texts;
        let before = if class.is_put { texts.empty() } else { self.state };
        self.state = if class.visible { texts.append(before, class.text) } else { State::LOST };
        for &slot in &self.problem.sources.of_put[call] {
            self.sources[slot] -= 1;
            if self.sources[slot] == 0 && self.gets.within(slot..slot + 1) == 1 {
                self.bound.add(slot);
            }
        }
    }

    fn undo_to(&mut self, depth: usize) {
        while self.taken.len() > depth {
            let Taken { call, state } = self.taken.pop().expect("there are more than `depth`");
            self.state = state;
            self.done ^= mark(call);
            self.link(call);
            if self.problem.spans[call].return_at != Span::NEVER {
                self.left += 1;
            }
            if let Step::Get { slot, .. } = self.problem.steps[call] {
                self.gets.add(slot);
                if self.sources[slot] == 0 {
                    self.bound.add(slot);
                }
            }
            for &slot in &self.problem.sources.of_put[call] {
                if self.sources[slot] == 0 && self.gets.within(slot..slot + 1) == 1 {
                    self.bound.remove(slot);
                }
                self.sources[slot] += 1;
            }
        }
    }

    /// Takes a call and its return out of the list.
    fn unlink(&mut self, call: usize) {
        let Span { call_at, return_at } = self.problem.spans[call];
        for place in [call_at, return_at].into_iter().filter(|&place| place != Span::NEVER) {
            let (prev, next) = (self.prev[place], self.next[place]);
            self.next[prev] = next;
            if let Some(prev_of_next) = self.prev.get_mut(next) {
                *prev_of_next = prev;
            }
        }
    }

    /// Undoes the latest [`unlink`](Self::unlink) that is not undone.
    fn link(&mut self, call: usize) {
        let Span { call_at, return_at } = self.problem.spans[call];
        for place in [return_at, call_at].into_iter().filter(|&place| place != Span::NEVER) {
            let (prev, next) = (self.prev[place], self.next[place]);
            self.next[prev] = place;
            if let Some(prev_of_next) = self.prev.get_mut(next) {
                *prev_of_next = place;
            }
        }
    }

    fn note_longest(&mut self) {
        self.note_longest_beyond(0);
    }

    /// Notes the calls taken, if they are the most so far, and more than `depth`.
    fn note_longest_beyond(&mut self, depth: usize) {
        if self.taken.len() > depth.max(self.longest.len()) {
            self.longest.clear();
            self.longest.extend(self.taken.iter().map(|taken| taken.call));
        }
    }
}

/// The mark of a call in the set of those done: 128 bits from a number (`SplitMix64`'s; Steele,
/// Lea and Flood, 2014).
fn mark(call: usize) -> u128 {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let i = 2 * call as u64;
    u128::from(mix(i + 1)) << 64 | u128::from(mix(i + 2))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::calls;
    use crate::history::{Action, History, Operation};

    const APPENDS: u64 = 2000;

    /// Appends of one letter, one behind the other, and a get that finds `found` letters.
    fn history(found: usize) -> History {
        let operation = |action, called| Operation {
            client: 0,
            key: "k".to_owned(),
            action,
            called: Duration::from_millis(called),
            returned: Some(Duration::from_millis(called)),
        };
        let appends = (0..APPENDS).map(|at| operation(Action::Append("z".to_owned()), at));
        let get = operation(Action::Get { found: "z".repeat(found) }, APPENDS);
        appends.chain([get]).collect()
    }

    #[test]
    fn a_search_that_is_interrupted_goes_on_where_it_was() {
        for (found, expected) in [(2000, true), (1999, false)] {
            let history = history(found);
            let mut search = Search::new(Problem::new(&history, 0, &calls(&history, 0)));
            let (mut interruptions, mut longest) = (0, 0);
            let verdict = loop {
                if let Some(verdict) = search.run(Instant::now() + Duration::from_micros(1)) {
                    break verdict;
                }
                interruptions += 1;
                assert!(longest <= search.longest().len(), "it lost what it had");
                longest = search.longest().len();
            };
            assert_eq!(verdict, expected);
            assert!(interruptions > 3, "{interruptions}");
            assert!(longest > 100, "{longest}");
        }
    }
}

//! The calls of one key, made ready for the search.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::{Effect, History};
use crate::reading;
use crate::sources::Sources;
use crate::texts::{State, Texts};

/// A call that is to be placed. Of one that never returned, a get is none, as it changes nothing.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Its number in the history.
    pub(crate) index: usize,
    pub(crate) called: Duration,
    pub(crate) returned: Option<Duration>,
}

/// What a call does to the state.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Leaves it as it is, and must find it like this. `slot` is its place among all gets, by rank.
    Get {
        state: State,
        slot: usize,
    },
    Write {
        class: usize,
    },
}

/// The writes that do the same.
pub(crate) struct Class<'a> {
    pub(crate) is_put: bool,
    pub(crate) text: &'a [u8],
    pub(crate) count: usize,
    /// Whether a found value can be read with this write in it. If not, no get finds anything
    /// between this write and the next put.
    pub(crate) visible: bool,
    /// The one state in which the one append of this class must have happened, if a found value
    /// cannot be read otherwise.
    pub(crate) only_in: Option<State>,
}

/// A moment at which a call was made or returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Call(usize),
    Return(usize),
}

/// The moments of a call, as places in the order of all events, from 1 on.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) call_at: usize,
    /// [`NEVER`](Self::NEVER) if it did not return.
    pub(crate) return_at: usize,
}

impl Span {
    pub(crate) const NEVER: usize = usize::MAX;
}

pub(crate) struct Problem<'a> {
    pub(crate) calls: Vec<Call>,
    /// By call, as are the spans.
    pub(crate) steps: Vec<Step>,
    pub(crate) spans: Vec<Span>,
    pub(crate) classes: Vec<Class<'a>>,
    /// In the order of time.
    pub(crate) events: Vec<Event>,
    pub(crate) texts: Texts<'a>,
    /// The ranks of what the gets found, sorted: a get's slot is its place here.
    pub(crate) ranks: Vec<(usize, usize)>,
    pub(crate) sources: Sources,
    /// A value was found that no writes of this key add up to.
    pub(crate) hopeless: bool,
}

impl<'a> Problem<'a> {
    /// The calls are all of key number `key`; each takes part until it returns, if it does.
    pub(crate) fn new(history: &'a History, key: usize, calls: &[Call]) -> Self {
        let is_get = |call: &Call| matches!(history.entry(call.index).effect, Effect::Get { .. });
        let calls: Vec<Call> =
            calls.iter().copied().filter(|call| call.returned.is_some() || !is_get(call)).collect();
        let (mut texts, root_and_len) = texts(history, key, &calls);
        let (mut classes, class_of) = classes(history, &calls);
        let hopeless = !reading::read(&mut texts, &root_and_len, &mut classes);
        // Nobody can tell whether these happened.
        let is_void = |call: usize| {
            class_of[call].is_some_and(|class: usize| {
                calls[call].returned.is_none()
                    && (!classes[class].visible || classes[class].is_void())
            })
        };
        let (events, spans) = in_time(&calls, is_void);

        let mut gets: Vec<(usize, State)> = Vec::new();
        for (call, at) in root_and_len.iter().enumerate() {
            if let Some((root, len)) = *at {
                gets.push((call, texts.beginning(root, len)));
            }
        }
        gets.sort_by_key(|&(_, state)| texts.rank(state));
        let ranks: Vec<_> = gets.iter().map(|&(_, state)| texts.rank(state)).collect();
        let mut steps: Vec<Step> = class_of
            .iter()
            .map(|class| Step::Write { class: class.unwrap_or(usize::MAX) })
            .collect();
        for (slot, &(call, state)) in gets.iter().enumerate() {
            steps[call] = Step::Get { state, slot };
        }

        let empty = texts.empty();
        let mut puts = Vec::new();
        for (call, class) in class_of.iter().enumerate() {
            let Some(class) = class.map(|class| &classes[class]).filter(|class| class.is_put)
            else {
                continue;
            };
            let state = if class.visible { texts.append(empty, class.text) } else { State::LOST };
            puts.push((call, texts.longer(state, &ranks)));
        }
        let gets: Vec<usize> = gets.into_iter().map(|(call, _)| call).collect();
        let sources = Sources::new(&spans, &gets, &puts);
        Self { calls, steps, spans, classes, events, texts, ranks, sources, hopeless }
    }
}

impl Class<'_> {
    /// Whether such a write changes nothing, in any state.
    pub(crate) fn is_void(&self) -> bool {
        !self.is_put && self.text.is_empty()
    }
}

/// What the gets among `calls` found: as texts, and for each call its root in them and its length.
fn texts<'a>(
    history: &'a History,
    key: usize,
    calls: &[Call],
) -> (Texts<'a>, Vec<Option<(usize, usize)>>) {
    let found: Vec<Option<(usize, usize)>> = calls
        .iter()
        .map(|call| match history.entry(call.index).effect {
            Effect::Get { text, len } => Some((text, len)),
            Effect::Put(_) | Effect::Append(_) => None,
        })
        .collect();
    // Of each text, what these calls found of it.
    let mut longest: HashMap<usize, usize> = HashMap::new();
    for &(text, len) in found.iter().flatten() {
        let longest = longest.entry(text).or_default();
        *longest = len.max(*longest);
    }
    let numbers: Vec<usize> = longest.keys().copied().collect();
    let all = history.texts_of(key);
    let slices: Vec<&[u8]> =
        numbers.iter().map(|text| &all[*text].as_bytes()[..longest[text]]).collect();
    let texts = Texts::new(&slices);
    let root_of: HashMap<usize, usize> =
        numbers.into_iter().enumerate().map(|(i, text)| (text, texts.root_of(i))).collect();
    let located = found.into_iter().map(|at| at.map(|(text, len)| (root_of[&text], len))).collect();
    (texts, located)
}

/// The classes of the writes among `calls`, and for each call the number of its class.
fn classes<'a>(history: &'a History, calls: &[Call]) -> (Vec<Class<'a>>, Vec<Option<usize>>) {
    let mut classes: Vec<Class<'a>> = Vec::new();
    let mut numbers: HashMap<(bool, &'a str), usize> = HashMap::new();
    let class_of = calls
        .iter()
        .map(|call| {
            let (is_put, text) = match &history.entry(call.index).effect {
                Effect::Get { .. } => return None,
                Effect::Put(text) => (true, text),
                Effect::Append(text) => (false, text),
            };
            let number = *numbers.entry((is_put, text)).or_insert(classes.len());
            if number == classes.len() {
                let text = text.as_bytes();
                classes.push(Class { is_put, text, count: 0, visible: false, only_in: None });
            }
            classes[number].count += 1;
            Some(number)
        })
        .collect();
    (classes, class_of)
}

/// The events of all calls but the void ones, in the order of time, and where those of each are.
fn in_time(calls: &[Call], is_void: impl Fn(usize) -> bool) -> (Vec<Event>, Vec<Span>) {
    let mut events: Vec<(Duration, bool, Event)> = Vec::new();
    for (i, call) in calls.iter().enumerate().filter(|&(i, _)| !is_void(i)) {
        // Of equal times, calls come before returns.
        events.push((call.called, false, Event::Call(i)));
        events.extend(call.returned.map(|returned| (returned, true, Event::Return(i))));
    }
    events.sort_by_key(|&(time, is_return, _)| (time, is_return));
    let mut spans = vec![Span { call_at: Span::NEVER, return_at: Span::NEVER }; calls.len()];
    for (i, &(_, _, event)) in events.iter().enumerate() {
        match event {
            Event::Call(call) => spans[call].call_at = i + 1,
            Event::Return(call) => spans[call].return_at = i + 1,
        }
    }
    (events.into_iter().map(|(_, _, event)| event).collect(), spans)
}

//! The loop that asks and hears.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::Plan;
use super::book::{Book, value};
use super::connection::{Connection, Pending};
use super::protocol::{Answer, Ask};
use super::workload::{Kind, Workload, key_name};

/// How long a connection may take to be made: at first, when many come at once and some are told to
/// come again, and after a loss, when all others wait for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RECONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a client waits before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_millis(10);
/// How long an answer takes before the node is reminded, and how often it is.
const REMIND_AFTER: Duration = Duration::from_millis(100);
/// How long answers are waited for at the end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long filling may take, and how many keys are under way on each connection.
const FILL_MAX: Duration = Duration::from_secs(300);
const FILL_PIPELINE: usize = 16;
/// Latencies are told apart up to a minute, by three digits.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// The most sockets one wait tells of; the others are next.
const EVENTS_MAX: usize = 1024;
/// The most wrong answers that are kept.
const WRONG_MAX: usize = 20;

/// What was measured.
pub(super) struct Outcome {
    pub(super) measured: Duration,
    pub(super) sets: Histogram<u64>,
    pub(super) gets: Histogram<u64>,
    pub(super) pings: Histogram<u64>,
    /// How often each kind of error came.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) wrong: Vec<String>,
    /// The longest time without any answer.
    pub(super) pause: Duration,
}

/// When each phase ends.
#[derive(Clone, Copy)]
struct Phases {
    measures_from: Instant,
    ends: Instant,
}

struct Driver<'a> {
    plan: &'a Plan,
    workload: Workload,
    book: Book,
    poll: OwnedFd,
    /// What the last wait found.
    events: Vec<Event>,
    /// `None` from a loss until it is connected again.
    clients: Vec<Option<Connection>>,
    /// Who is to connect again, and when, soonest first.
    lost: VecDeque<(Instant, usize)>,
    connects: usize,
    /// Keys that are still to be filled.
    to_fill: Option<std::ops::Range<usize>>,
    /// When nodes are to be reminded next.
    reminds_at: Option<Instant>,
    /// Requests of the open loop that found every client busy, by when they were due.
    backlog: VecDeque<Instant>,
    /// When the next one is due.
    due: Instant,
    /// Where to look for an idle client first.
    next_idle: usize,
    phases: Option<Phases>,
    last_answer: Instant,
    outcome: Outcome,
}

/// Runs the plan.
pub(super) fn run(plan: &Plan, workload: Workload) -> anyhow::Result<Outcome> {
    let histogram = || Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).expect("sane bounds");
    let now = Instant::now();
    if plan.interval.is_some() {
        // Else the system may let it sleep 50 µs longer; if that is how it is, it is only less exact.
        _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1000));
    }
    let mut driver = Driver {
        book: Book::new(workload.keys()),
        to_fill: workload.needs_filling().then(|| 0..workload.keys()),
        workload,
        plan,
        poll: epoll::create(CreateFlags::CLOEXEC)?,
        events: Vec::with_capacity(EVENTS_MAX),
        clients: Vec::new(),
        lost: VecDeque::new(),
        connects: 0,
        reminds_at: plan.speak.reminds().then(|| now + REMIND_AFTER),
        backlog: VecDeque::new(),
        due: now,
        next_idle: 0,
        phases: None,
        last_answer: now,
        outcome: Outcome {
            measured: plan.measured,
            sets: histogram(),
            gets: histogram(),
            pings: histogram(),
            errors: BTreeMap::new(),
            wrong: Vec::new(),
            pause: Duration::ZERO,
        },
    };
    for client in 0..plan.clients {
        driver.clients.push(None);
        let addr = driver.addr_of(client);
        let connected = driver.connect(client);
        connected.with_context(|| format!("cannot connect to {addr}; is a node running there?"))?;
    }
    if driver.to_fill.is_some() {
        driver.fill()?;
        // Whoever measures what the nodes take begins here.
        eprintln!("{} keys are written", driver.workload.keys());
    }
    driver.measure()?;
    for connection in driver.clients.iter_mut().flatten() {
        connection.say_goodbye();
    }
    Ok(driver.outcome)
}

impl Driver<'_> {
    fn addr_of(&self, client: usize) -> std::net::SocketAddr {
        // Another node than the last time, after a loss.
        self.plan.addrs[(client + self.connects / self.plan.clients) % self.plan.addrs.len()]
    }

    fn connect(&mut self, client: usize) -> std::io::Result<()> {
        let addr = self.addr_of(client);
        let is_first = self.connects < self.plan.clients;
        let timeout = if is_first { CONNECT_TIMEOUT } else { RECONNECT_TIMEOUT };
        self.connects += 1;
        let connection = Connection::open(addr, self.plan.speak, timeout)?;
        let token = EventData::new_u64(client as u64);
        epoll::add(&self.poll, &connection.stream, token, EventFlags::IN)?;
        self.clients[client] = Some(connection);
        // Once all are connected, who is again goes on at once.
        if !is_first {
            self.refill(client);
        }
        self.send(client);
        Ok(())
    }

    /// Writes every key once.
    fn fill(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FILL_MAX;
        self.ask_more();
        while self.to_fill.is_some() {
            self.turn(deadline)?;
            let errors = &self.outcome.errors;
            ensure!(errors.is_empty(), "keys were not written: {errors:?}");
            ensure!(Instant::now() < deadline, "the keys were not written within {FILL_MAX:?}");
            let all_asked = self.to_fill.as_ref().is_some_and(std::ops::Range::is_empty);
            let nothing_open = self.clients.iter().flatten().all(|c| c.pending.is_empty());
            if all_asked && nothing_open {
                self.to_fill = None;
            }
        }
        Ok(())
    }

    fn measure(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let measures_from = now + self.plan.warmup;
        let ends = measures_from + self.plan.measured;
        self.phases = Some(Phases { measures_from, ends });
        self.due = now;
        self.ask_more();
        while Instant::now() < ends {
            self.turn(ends)?;
        }
        self.note_silence(ends);
        let deadline = ends + DRAIN_MAX;
        while self.clients.iter().flatten().any(|c| !c.pending.is_empty())
            && Instant::now() < deadline
        {
            self.turn(deadline)?;
        }
        Ok(())
    }

    /// Waits for something, at most until `deadline`, and does what it asks for.
    fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let mut until = deadline;
        if let Some((at, _)) = self.lost.front() {
            until = until.min(*at);
        }
        if let Some(at) = self.reminds_at {
            until = until.min(at);
        }
        // While some wait for a client, no other can go before they do.
        let is_open = self.plan.interval.is_some() && self.to_fill.is_none();
        if is_open && self.backlog.is_empty() && self.asks(Instant::now()) {
            until = until.min(self.due);
        }
        let wait = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        self.wait(&timeout)?;
        for at in 0..self.events.len() {
            let data = self.events[at].data;
            self.ready(data.u64() as usize);
        }
        let now = Instant::now();
        while self.lost.front().is_some_and(|(at, _)| *at <= now) {
            let (_, client) = self.lost.pop_front().expect("looked at");
            if self.connect(client).is_err() {
                self.lost.push_back((Instant::now() + RECONNECT_AFTER, client));
            }
        }
        if self.plan.interval.is_some() {
            self.ask_more();
        }
        self.remind(now);
        Ok(())
    }

    /// Waits until sockets are ready, which [`Driver::events`] are of then, or for this long.
    fn wait(&mut self, timeout: &Timespec) -> anyhow::Result<()> {
        let passes = |result| match result {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        };
        // `epoll::wait` waits for whole milliseconds, in which an open loop has many requests to begin.
        let is_open = self.plan.interval.is_some() && self.to_fill.is_none();
        if is_open {
            passes(event::poll(&mut [PollFd::new(&self.poll, PollFlags::IN)], Some(timeout)))?;
        }
        let timeout = if is_open { &Timespec::default() } else { timeout };
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        Ok(passes(epoll::wait(&self.poll, room, Some(timeout)))?)
    }

    /// Reminds nodes of what they should have answered long ago.
    fn remind(&mut self, now: Instant) {
        if self.reminds_at.is_none_or(|at| now < at) {
            return;
        }
        self.reminds_at = Some(now + REMIND_AFTER);
        for client in 0..self.clients.len() {
            if let Some(connection) = &mut self.clients[client] {
                connection.remind(now, REMIND_AFTER);
                self.send(client);
            }
        }
    }

    /// Whether requests are still begun.
    fn asks(&self, now: Instant) -> bool {
        self.to_fill.is_some() || self.phases.is_some_and(|phases| now < phases.ends)
    }

    /// A client's socket has something, or room.
    fn ready(&mut self, client: usize) {
        let Some(connection) = &mut self.clients[client] else { return };
        if let Err(error) = connection.receive() {
            return self.lose(client, &error.to_string());
        }
        loop {
            let Some(connection) = &mut self.clients[client] else { return };
            match connection.next_answer() {
                Ok(Some((pending, answer))) => self.answered(pending, answer),
                Ok(None) => break,
                Err(error) => return self.lose(client, &error),
            }
        }
        self.refill(client);
        self.send(client);
    }

    fn answered(&mut self, pending: Pending, answer: Answer) {
        let now = Instant::now();
        let measured =
            self.phases.is_some_and(|phases| (phases.measures_from..phases.ends).contains(&now));
        if measured {
            self.note_silence(now);
        }
        self.last_answer = now;
        let checked = match (pending.kind, answer) {
            (_, Answer::Error(text)) => return self.count_error(&text),
            (Kind::Set, Answer::Done) => {
                self.book.answered(pending.key, pending.number, now);
                Ok(())
            }
            (Kind::Ping, Answer::Done) => Ok(()),
            (Kind::Get, Answer::Value(found)) => {
                let bytes = self.workload.value_bytes();
                self.book.check(pending.key, pending.settled, found.as_deref(), bytes)
            }
            (kind, answer) => Err(format!("{kind:?} is answered by {answer:?}")),
        };
        match checked {
            Err(wrong) if self.outcome.wrong.len() < WRONG_MAX => self.outcome.wrong.push(wrong),
            Ok(()) if measured => {
                let histogram = match pending.kind {
                    Kind::Set => &mut self.outcome.sets,
                    Kind::Get => &mut self.outcome.gets,
                    Kind::Ping => &mut self.outcome.pings,
                };
                let latency = now.saturating_duration_since(pending.since).as_nanos();
                histogram.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }

    /// Nothing was answered from the last answer until `now`, as far as that is measured: who has many
    /// keys, or connections, takes a while before the first request.
    fn note_silence(&mut self, now: Instant) {
        let measures_from = self.phases.map_or(now, |phases| phases.measures_from);
        let silent = now.saturating_duration_since(self.last_answer.max(measures_from));
        self.outcome.pause = self.outcome.pause.max(silent);
    }

    fn count_error(&mut self, text: &str) {
        let first_word = text.split(' ').next().unwrap_or_default().to_owned();
        *self.outcome.errors.entry(first_word).or_default() += 1;
    }

    fn lose(&mut self, client: usize, why: &str) {
        let Some(connection) = self.clients[client].take() else { return };
        for _ in &connection.pending {
            self.count_error("connection");
        }
        if connection.pending.is_empty() {
            log::debug!("a connection was lost: {why}");
        }
        self.lost.push_back((Instant::now() + RECONNECT_AFTER, client));
    }

    /// Gives every client that may ask something to ask.
    fn ask_more(&mut self) {
        let now = Instant::now();
        if self.plan.interval.is_none() || self.to_fill.is_some() {
            for client in 0..self.clients.len() {
                let busy = self.clients[client].as_ref().is_none_or(|c| !c.pending.is_empty());
                if !busy {
                    self.refill(client);
                    self.send(client);
                }
            }
            return;
        }
        let interval = self.plan.interval.expect("the open loop has one");
        while self.due <= now && self.asks(now) {
            self.backlog.push_back(self.due);
            self.due += interval;
        }
        while let Some(&since) = self.backlog.front() {
            let Some(client) = self.idle_client() else { return };
            self.backlog.pop_front();
            self.ask(client, since);
            self.send(client);
        }
    }

    fn idle_client(&mut self) -> Option<usize> {
        let count = self.clients.len();
        let is_idle = |client: &usize| {
            self.clients[*client].as_ref().is_some_and(|c| c.pending.len() < self.plan.pipeline)
        };
        let found = (0..count).map(|step| (self.next_idle + step) % count).find(is_idle)?;
        self.next_idle = found + 1;
        Some(found)
    }

    /// Has one client ask as much as it may.
    fn refill(&mut self, client: usize) {
        let now = Instant::now();
        let fills_many = self.to_fill.is_some() && self.plan.speak.takes_pipelines();
        let pipeline = if fills_many { FILL_PIPELINE } else { self.plan.pipeline };
        loop {
            let Some(connection) = &self.clients[client] else { return };
            if connection.pending.len() >= pipeline || !self.asks(now) {
                return;
            }
            let since = match self.plan.interval {
                Some(_) if self.to_fill.is_none() => match self.backlog.pop_front() {
                    Some(since) => since,
                    None => return,
                },
                _ => now,
            };
            if !self.ask(client, since) {
                return;
            }
        }
    }

    /// Has a client ask something. Whether there was anything to ask.
    fn ask(&mut self, client: usize, since: Instant) -> bool {
        let (kind, key) = match &mut self.to_fill {
            Some(keys) => match keys.next() {
                Some(key) => (Kind::Set, key),
                None => return false,
            },
            None => self.workload.draw(),
        };
        let now = Instant::now();
        let name = key_name(key);
        let mut pending = Pending { kind, key, number: 0, settled: None, since };
        let connection = self.clients[client].as_mut().expect("it was looked at");
        match kind {
            Kind::Set => {
                pending.number = self.book.begin(key, now);
                let value = value(pending.number, &name, self.workload.value_bytes());
                connection.ask(Ask::Set { key: name.as_bytes(), value: &value }, pending);
            }
            Kind::Get => {
                pending.settled = self.book.settled(key);
                connection.ask(Ask::Get { key: name.as_bytes() }, pending);
            }
            Kind::Ping => connection.ask(Ask::Ping, pending),
        }
        true
    }

    /// Sends what a client has to say; if its socket is full, goes on when it has room.
    fn send(&mut self, client: usize) {
        let Some(connection) = &mut self.clients[client] else { return };
        let sent = connection.send().and_then(|is_left| {
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, is_left);
            if is_left != connection.waits_for_room {
                connection.waits_for_room = is_left;
                let token = EventData::new_u64(client as u64);
                epoll::modify(&self.poll, &connection.stream, token, flags)?;
            }
            Ok(())
        });
        if let Err(error) = sent {
            self.lose(client, &error.to_string());
        }
    }
}

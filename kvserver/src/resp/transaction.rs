//! What is between `MULTI` and `EXEC`: queued, then executed as one request, so that it is one
//! entry of the log and nothing comes in between. A change of leader does not touch the queue; it is
//! here, not there.

use super::ask::{Ask, BYTES_MAX, Company};
use super::conversation::Context;
use super::data_commands::{Planned, Rest, Shape};
use super::front_end::error_reply;
use super::parse::Words;
use super::reply::{Reply, Writer};
use super::table::{Handler, Spec};
use crate::error::ExecuteError;
use crate::op::{ANSWER_BYTES_MAX, Answer, Op};
use crate::request::REQUEST_BYTES_MAX;

/// Commands that wait for `EXEC`.
#[derive(Default)]
pub(super) struct Transaction {
    queue: Vec<Queued>,
    bytes: usize,
    spoiled: bool,
}

enum Queued {
    /// On data: part of the one request.
    Data(Planned),
    /// Answered here, when its turn comes.
    Local(&'static Spec, Words),
    /// Not understood; this is its reply.
    Refused(String),
}

impl Transaction {
    /// How many commands wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Notes that a command could not be queued: then `EXEC` executes none.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Queues a command.
    pub(super) fn queue(&mut self, spec: &'static Spec, words: Words) -> Reply {
        self.bytes += words.iter().map(|word| word.len() + 32).sum::<usize>();
        if self.bytes > REQUEST_BYTES_MAX {
            self.spoil();
            self.queue = Vec::new();
            return Reply::error(format_args!(
                "the transaction exceeds {REQUEST_BYTES_MAX} bytes; split it up"
            ));
        }
        self.queue.push(match spec.handler {
            Handler::Data(plan) => match plan(Rest::new(words)) {
                Ok(planned) => Queued::Data(planned),
                Err(refusal) => Queued::Refused(refusal),
            },
            Handler::Local(_) | Handler::Special(_) => Queued::Local(spec, words),
        });
        Reply::status("QUEUED")
    }

    /// What the store is to be asked, if anything, and what the answers are for; `None` if nothing
    /// is to be executed because of a mistake.
    pub(super) fn ask(self) -> Option<(Option<Ask>, AskedTransaction)> {
        if self.spoiled {
            return None;
        }
        let mut ops: Vec<Op> = Vec::new();
        let expected = self.queue.into_iter().map(|queued| queued.expect(&mut ops)).collect();
        let bytes = self.bytes;
        let ask = (!ops.is_empty()).then(|| {
            let answer_bytes_max =
                ops.iter().map(Op::answer_bytes_max).fold(0, usize::saturating_add);
            let small = bytes <= BYTES_MAX && answer_bytes_max <= ANSWER_BYTES_MAX;
            // In company, reads would be asked again one by one, and see different states.
            let writes = !ops.iter().all(Op::is_read);
            let company = if writes && small { Company::Writes } else { Company::None };
            Ask { ops, bytes, answer_bytes_max, company }
        });
        Some((ask, AskedTransaction { expected }))
    }
}

/// A transaction that is being executed.
pub(super) struct AskedTransaction {
    expected: Vec<Expected>,
}

impl AskedTransaction {
    /// Writes the one reply that holds all replies.
    pub(super) fn answer(
        self,
        result: Result<&[Answer], &ExecuteError>,
        context: &mut Context<'_>,
        writer: &mut Writer<'_>,
    ) {
        let stats = &context.front.stats;
        let answers = match result {
            Ok(answers) => answers,
            Err(error) => {
                stats.count_error();
                return writer.error(&error_reply(error));
            }
        };
        let mut answers = answers.iter();
        writer.array(self.expected.len());
        for expected in self.expected {
            match expected {
                Expected::Answer(shape) => {
                    let answer = answers.next().expect("one for each operation");
                    stats.count_answer(answer);
                    shape.write(answer, writer);
                }
                Expected::Local(spec, words) => writer.reply(&answer_local(context, spec, words)),
                Expected::Refused(refusal) => {
                    stats.count_error();
                    writer.error(&refusal);
                }
            }
        }
    }
}

/// What a queued command's reply will be made of.
enum Expected {
    Answer(Shape),
    Local(&'static Spec, Words),
    Refused(String),
}

impl Queued {
    /// Adds the operation to `ops`, if there is one.
    fn expect(self, ops: &mut Vec<Op>) -> Expected {
        match self {
            Self::Data(Planned { op, shape }) => {
                ops.push(op);
                Expected::Answer(shape)
            }
            Self::Local(spec, words) => Expected::Local(spec, words),
            Self::Refused(refusal) => Expected::Refused(refusal),
        }
    }
}

fn answer_local(context: &mut Context<'_>, spec: &Spec, words: Words) -> Reply {
    match spec.handler {
        Handler::Local(answer) => answer(context, words),
        Handler::Data(_) | Handler::Special(_) => unreachable!("{} is not local", spec.name),
    }
}

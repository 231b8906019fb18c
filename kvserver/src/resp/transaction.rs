//! What is between `MULTI` and `EXEC`: queued, then executed as one request, so that it is one
//! entry of the log and nothing comes in between. A change of leader does not touch the queue; it is
//! here, not there.

use super::connection::Context;
use super::data_commands::{Planned, Rest, Shape};
use super::front_end::error_reply;
use super::parse::Words;
use super::reply::{Reply, Writer};
use super::table::{Handler, Spec};
use crate::op::Op;
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

    /// Executes everything, and writes the one reply that holds all replies.
    pub(super) fn execute(self, context: &mut Context<'_>, writer: &mut Writer<'_>) {
        let stats = &context.front.stats;
        if self.spoiled {
            stats.count_error();
            return writer.error("EXECABORT Transaction discarded because of previous errors.");
        }
        let mut ops: Vec<Op> = Vec::new();
        let expected: Vec<Expected> =
            self.queue.into_iter().map(|queued| queued.expect(&mut ops)).collect();
        let answers =
            if ops.is_empty() { Ok(Vec::new().into()) } else { context.front.store.execute(ops) };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                stats.count_error();
                return writer.error(&error_reply(&error));
            }
        };
        let mut answers = answers.iter();
        writer.array(expected.len());
        for expected in expected {
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

//! A conversation for whoever moves the bytes by other means than our sockets, and is free to wait.

use std::sync::Arc;

use super::clients::Client;
use super::conversation::{Conversation, Next};
use super::front_end::FrontEnd;

/// What to do after [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Send the replies, then feed more bytes.
    NeedsInput,
    /// Send the replies, then advance again.
    More,
    /// Send the replies, then close.
    Close,
}

/// One client's conversation: call [`Connection::feed`] with what has come, then
/// [`Connection::advance`] until it asks for more.
pub struct Connection {
    front: Arc<FrontEnd>,
    conversation: Conversation,
}

impl Connection {
    /// A conversation that begins. `client` is in the front end's list until it is dropped.
    pub(super) fn new(front: Arc<FrontEnd>, client: Arc<Client>) -> Self {
        let conversation = Conversation::new(Arc::clone(&front), client);
        Self { front, conversation }
    }

    /// Takes bytes that have come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.conversation.feed(bytes);
    }

    /// Executes what has come, and adds the replies to `out`. May wait for the store.
    pub fn advance(&mut self, out: &mut Vec<u8>) -> Flow {
        loop {
            let mut asked = match self.conversation.advance(out) {
                Next::NeedsInput => return Flow::NeedsInput,
                Next::More => return Flow::More,
                Next::Close => return Flow::Close,
                Next::Ask(ask) => Some(ask),
            };
            while let Some(ask) = asked {
                let result = self.front.store.execute(ask.ops);
                asked = self.conversation.answer(result.as_deref(), out);
            }
        }
    }
}

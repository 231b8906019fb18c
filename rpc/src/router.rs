//! Several services behind one name, told apart by the part of a method's name before the dot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ReplySlot, Service, UnknownMethod};

/// A bundle of services: what one server of the labs is, and what one listener serves.
#[derive(Clone, Default)]
pub struct Router {
    services: BTreeMap<&'static str, Arc<dyn Service>>,
}

impl Router {
    /// A router with no services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `service`, to answer every method named `<name>.…`.
    #[must_use]
    pub fn with(mut self, name: &'static str, service: Arc<dyn Service>) -> Self {
        let previous = self.services.insert(name, service);
        assert!(previous.is_none(), "service {name} is registered twice");
        self
    }

    fn service_of(&self, method: &str) -> Result<&dyn Service, UnknownMethod> {
        let service = method.split_once('.').and_then(|(name, _)| self.services.get(name));
        service.map(|service| &**service).ok_or_else(|| UnknownMethod(method.to_owned()))
    }
}

impl Service for Router {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        self.service_of(method)?.handle(method, args, reply)
    }

    fn handle_owned(
        &self,
        method: &str,
        args: Vec<u8>,
        reply: ReplySlot,
    ) -> Result<(), UnknownMethod> {
        self.service_of(method)?.handle_owned(method, args, reply)
    }

    fn hung_up(&self, peer: u64) {
        self.services.values().for_each(|service| service.hung_up(peer));
    }

    fn is_prompt(&self) -> bool {
        self.services.values().all(|service| service.is_prompt())
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
mod tests {
    use super::*;
    use crate::Call;

    /// Says how its arguments came.
    struct Tells;

    impl Service for Tells {
        fn handle(&self, _: &str, _: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
            reply.reply(b"lent".to_vec());
            Ok(())
        }

        fn handle_owned(&self, _: &str, _: Vec<u8>, reply: ReplySlot) -> Result<(), UnknownMethod> {
            reply.reply(b"given".to_vec());
            Ok(())
        }
    }

    /// What `Tells` is told by one of these calls, of a router.
    fn outcome(
        call: impl FnOnce(&Router, ReplySlot) -> Result<(), UnknownMethod>,
    ) -> Result<Option<Vec<u8>>, UnknownMethod> {
        let router = Router::new().with("Tells", Arc::new(Tells));
        let (waits, done) = Call::pair();
        call(&router, ReplySlot::new(move |answer| done.complete(answer)))?;
        Ok(waits.wait())
    }

    #[test]
    fn arguments_reach_the_service_as_they_came() {
        let lent = outcome(|router, slot| router.handle("Tells.Us", b"x", slot));
        let given = outcome(|router, slot| router.handle_owned("Tells.Us", b"x".to_vec(), slot));
        assert_eq!([lent, given], [b"lent".to_vec(), b"given".to_vec()].map(|told| Ok(Some(told))));
    }

    #[test]
    fn nobody_answers_for_a_service_that_is_not_there() {
        let lent = outcome(|router, slot| router.handle("Other.Us", b"x", slot));
        let given = outcome(|router, slot| router.handle_owned("Other.Us", b"x".to_vec(), slot));
        assert_eq!([lent, given], [(); 2].map(|()| Err(UnknownMethod("Other.Us".to_owned()))));
    }
}
